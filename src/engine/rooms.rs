//! What the rooms see and hear, fanned out: one stream per realtime sound, each with the picture beside it, so that a
//! listener is woken for the packets it wants and for no others.
//!
//! **Bound.** [`ROOM`] per stream; payloads are shared. The writer never waits, a slow reader gets a typed lag.

use super::{AudioSpec, RoomSpec};
use crate::hub;
use crate::media::{Dur, Packet, TrackId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Three seconds: a reader that joins finds the newest key frame of the picture, which comes every two.
const ROOM: hub::Limits = hub::Limits { bytes: 8 << 20, time: Dur::from_secs(3) };

/// The streams by the track id of their sound. Clones are the same streams.
#[derive(Clone, Default)]
pub struct RoomStreams {
    streams: Arc<Mutex<BTreeMap<u16, (hub::Publisher, hub::Stream)>>>,
}

impl RoomStreams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, (hub::Publisher, hub::Stream)>> {
        // Held for a look-up or a push, never across an await; what a panic left is whole.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the streams of the floor and of the realtime mixes in `audio`, opens those that are new, ends all others.
    pub fn set(&self, room: Option<&RoomSpec>, audio: &[AudioSpec]) {
        let wanted: Vec<TrackId> = match room {
            Some(room) => std::iter::once(room.floor).chain(audio.iter().filter_map(|a| a.realtime)).collect(),
            None => Vec::new(),
        };
        let mut streams = self.lock();
        streams.retain(|id, _| wanted.contains(&TrackId(*id)));
        for id in wanted {
            streams.entry(id.0).or_insert_with(|| hub::stream(ROOM));
        }
    }

    /// The stream of this sound and the picture.
    pub fn get(&self, sound: TrackId) -> Option<hub::Stream> {
        self.lock().get(&sound.0).map(|s| s.1.clone())
    }

    /// To the readers of its sound, or of all when it is a picture.
    pub fn publish(&self, packet: &Packet) {
        let streams = self.lock();
        if packet.track.is_video() {
            streams.values().for_each(|s| s.0.publish(packet.clone()));
        } else if let Some(stream) = streams.get(&packet.track.id.0) {
            stream.0.publish(packet.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioCodec, AudioFormat, Media, Track, Ts, VideoCodec, VideoFormat};
    use bytes::Bytes;

    fn packet(id: u16, video: bool) -> Packet {
        let config = Bytes::new();
        let media = match video {
            true => Media::Video(VideoFormat {
                codec: VideoCodec::H264,
                config,
                width: 640,
                height: 360,
                frame_rate: None,
                sample_aspect: None,
            }),
            false => Media::Audio(AudioFormat { codec: AudioCodec::Opus, config, sample_rate: 48_000, channels: 2 }),
        };
        Packet {
            track: Arc::new(Track { id: TrackId(id), media }),
            epoch: 0,
            dts: Ts::ZERO,
            pts: Ts::ZERO,
            duration: Dur::ZERO,
            key: video,
            decode_only: false,
            arrival: Ts::ZERO,
            data: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn a_listener_gets_its_sound_and_the_picture_and_streams_end_with_their_language() {
        let rooms = RoomStreams::default();
        let spec = RoomSpec::new(TrackId(1), TrackId(2));
        let german = AudioSpec { realtime: Some(TrackId(3)), ..AudioSpec::new(TrackId(10), "de", 0, 128_000) };
        rooms.set(Some(&spec), std::slice::from_ref(&german));
        assert!(rooms.get(TrackId(10)).is_none());
        let mut floor = rooms.get(TrackId(2)).expect("floor").subscribe(hub::Start::Live);
        let mut de = rooms.get(TrackId(3)).expect("de").subscribe(hub::Start::Live);
        for (id, video) in [(1, true), (2, false), (3, false), (9, false)] {
            rooms.publish(&packet(id, video));
        }
        let ids = |s: &mut hub::Subscriber| {
            std::iter::from_fn(|| s.try_recv().ok().flatten()).map(|p| p.track.id.0).collect::<Vec<_>>()
        };
        assert_eq!((ids(&mut floor), ids(&mut de)), (vec![1, 2], vec![1, 3]));
        rooms.set(Some(&spec), &[]);
        assert!(matches!(de.try_recv(), Err(hub::RecvError::Ended)));
        assert!(floor.try_recv().expect("goes on").is_none());
    }
}
