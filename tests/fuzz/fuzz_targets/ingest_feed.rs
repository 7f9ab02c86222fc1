//! Tags of a hostile encoder through the whole ingest: what is published keeps the promises of a packet.
#![no_main]

use boothcast::hub::{self, Start};
use boothcast::ingest::{Feed, Health, Protocol, Session, Stop};
use boothcast::media::timeline::RawTime;
use boothcast::media::{Dur, InputName, Ts};
use boothcast::wire::flv::{self, AudioBody, VideoBody};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let (publisher, stream) = hub::stream(hub::Limits::default());
    let mut reader = stream.subscribe(Start::Live);
    let health = Arc::new(Health::new(Protocol::Rtmp, ([127, 0, 0, 1], 1).into(), Ts::ZERO));
    let session =
        Session { event: "e".into(), input: InputName::Main, publisher, health: health.clone(), stop: Stop::new() };
    let mut feed = Feed::new(session);
    let mut rest = data;
    let mut now = Ts::ZERO;
    // Each tag: kind, time step, length, body.
    while let [kind, step, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now += Dur::from_millis(i64::from(*step));
        let time = now.as_millis() as u32;
        let body = Bytes::copy_from_slice(body);
        if kind % 2 == 0 {
            let _ = flv::video(body, |unit| match unit.body {
                VideoBody::Config(record) => feed.video_config(unit.codec, record, now),
                VideoBody::Frame { key, composition, data } => {
                    feed.video(unit.codec, RawTime::rtmp(time, composition), Dur::ZERO, key, data, now);
                }
                VideoBody::End => {}
            });
        } else {
            let _ = flv::audio(body, |unit| match unit.body {
                AudioBody::Config(config) => feed.audio_config(unit.track.into(), unit.codec, config, now),
                AudioBody::Frame(data) => {
                    feed.audio(unit.track.into(), unit.codec, RawTime::rtmp(time, 0), Dur::ZERO, data, now);
                }
                AudioBody::End => {}
            });
        }
        while let Ok(Some(packet)) = reader.try_recv() {
            assert!(packet.pts >= packet.dts && !packet.data.is_empty());
            assert!(!packet.key || packet.track.is_video());
        }
    }
    let _ = health.snapshot(now);
});
