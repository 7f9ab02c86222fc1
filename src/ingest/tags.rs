//! From RTMP's messages to the feed: the same for publishers and for what is pulled.

use super::Feed;
use crate::media::timeline::RawTime;
use crate::media::{Dur, Ts};
use crate::wire::amf0::Value;
use crate::wire::flv::{self, AudioBody, VideoBody};
use bytes::Bytes;

/// A video message: `timestamp` in milliseconds modulo 2³², `data` a tag's body.
pub(super) fn video(feed: &mut Feed, timestamp: u32, data: Bytes, now: Ts) {
    let mut others = false;
    let result = flv::video(data, |unit| {
        // One picture per contribution: the first track.
        if unit.track != 0 {
            others = true;
            return;
        }
        match unit.body {
            VideoBody::Config(record) => feed.video_config(unit.codec, record, now),
            VideoBody::Frame { key, composition, data } => {
                let raw = RawTime::rtmp(timestamp, composition);
                feed.video(unit.codec, raw, nanos(unit.nanos), key, data, now);
            }
            VideoBody::End => {}
        }
    });
    if others {
        feed.warn("video tracks", "several video tracks: only the first is used".into(), now);
    }
    if let Err(error) = result {
        feed.warn("video tag", format!("{error}: set H.264, HEVC or AV1"), now);
    }
}

/// An audio message, as [`video`].
pub(super) fn audio(feed: &mut Feed, timestamp: u32, data: Bytes, now: Ts) {
    let result = flv::audio(data, |unit| match unit.body {
        AudioBody::Config(config) => feed.audio_config(unit.track.into(), unit.codec, config, now),
        AudioBody::Frame(data) => {
            let raw = RawTime::rtmp(timestamp, 0);
            feed.audio(unit.track.into(), unit.codec, raw, nanos(unit.nanos), data, now);
        }
        AudioBody::End => {}
    });
    if let Err(error) = result {
        feed.warn("audio tag", format!("{error}: set AAC, Opus, MP3 or AC-3"), now);
    }
}

/// `onMetaData`.
pub(super) fn metadata(feed: &mut Feed, value: &Value) {
    let metadata = flv::Metadata::read(value);
    feed.health().encoder(metadata.encoder.as_deref());
    if let Some(fps) = metadata.frame_rate {
        feed.frame_rate(fps);
    }
}

fn nanos(nanos: u32) -> Dur {
    Dur::from_scale(nanos.into(), 1_000_000_000)
}
