//! What a restarted engine must be fed again: the programme from the key frame before the oldest slot still to be made.
//!
//! **Bound.** [`HISTORY_BYTES`] and [`HISTORY_TIME`]; when a GOP is longer than that its head is given up, and a restart
//! then waits for the next key frame. Packets share their payload with the hub, so this costs bookkeeping alone while the
//! hub holds them too.

use crate::media::{Dur, Packet, Ts};
use std::collections::VecDeque;

/// Bytes kept at most, bookkeeping included: 10 s of 50 Mbps.
pub const HISTORY_BYTES: usize = 64 << 20;
/// Media time kept at most: the longest GOP that is supported in full (2 s) five times over.
pub const HISTORY_TIME: Dur = Dur::from_secs(10);

/// Sound that is fed from before the first output: what fills the encoder, and what the line of a track begins with.
const SOUND_LEAD: Dur = Dur::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Nothing is kept until the next key frame.
    seek_key: bool,
}

impl History {
    /// Appends a packet; `needed` is the event time of the oldest slot that a restart would have to make.
    pub fn push(&mut self, packet: Packet, needed: Ts) {
        if self.seek_key {
            if packet.track.is_video() && !packet.key {
                return;
            }
            self.seek_key &= !packet.key;
        }
        let newest = packet.dts;
        self.bytes += packet.cost();
        self.packets.push_back(packet);
        self.trim(needed);
        while self.packets.len() > 1
            && (self.bytes > HISTORY_BYTES
                || self.packets.front().is_some_and(|p| newest - p.dts > HISTORY_TIME.max(newest - needed)))
        {
            self.pop();
        }
    }

    /// Drops what lies before the last key frame at or before `needed`.
    fn trim(&mut self, needed: Ts) {
        // Only a key frame as the second of two key frames before `needed` makes the first one superfluous, so the scan
        // runs from the front and ends at the first picture after `needed`.
        let mut keep = None;
        for (i, p) in self.packets.iter().enumerate() {
            if p.pts > needed {
                break;
            }
            // A run that begins with pictures to decode only shows nothing before its splice.
            if p.key && !p.decode_only {
                keep = Some(i);
            }
        }
        for _ in 0..keep.unwrap_or(0) {
            self.pop();
        }
        // Without pictures, sound alone: what is past is not needed.
        while !self.packets.iter().any(|p| p.track.is_video())
            && self.packets.front().is_some_and(|p| p.pts < needed - Dur::from_secs(1))
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(p) = self.packets.pop_front() {
            self.bytes -= p.cost();
        }
    }

    /// Forgets all and keeps nothing until the next key frame: what is in here may be what killed the engine.
    pub fn clear(&mut self) {
        *self = History { seek_key: true, ..History::default() };
    }

    /// What to feed for output from `first` on, in order: pictures from the key frame before it, and the sound that may
    /// belong to it. Everything where no such key frame is kept.
    pub fn packets(&self, first: Ts) -> impl Iterator<Item = &Packet> {
        let key = self.packets.iter().rposition(|p| p.key && !p.decode_only && p.pts <= first).unwrap_or(0);
        let heard = first - SOUND_LEAD;
        let needed = move |&(i, p): &(usize, &Packet)| if p.track.is_video() { i >= key } else { p.pts >= heard };
        self.packets.iter().enumerate().filter(needed).map(|(_, p)| p)
    }

    /// Bytes kept, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioCodec, AudioFormat, Media, Track, TrackId, VideoCodec, VideoFormat};
    use bytes::Bytes;
    use std::sync::Arc;

    fn tracks() -> (Arc<Track>, Arc<Track>) {
        let video = VideoFormat {
            codec: VideoCodec::H264,
            config: Bytes::new(),
            width: 64,
            height: 64,
            frame_rate: None,
            sample_aspect: None,
        };
        let audio = AudioFormat { codec: AudioCodec::Aac, config: Bytes::new(), sample_rate: 48_000, channels: 2 };
        let track = |id, media| Arc::new(Track { id, media });
        (track(TrackId::VIDEO, Media::Video(video)), track(TrackId::audio(0), Media::Audio(audio)))
    }

    fn packet(track: &Arc<Track>, ms: i64, key: bool, size: usize) -> Packet {
        let at = Ts::from_millis(ms);
        let data = Bytes::from(vec![0; size]);
        let track = track.clone();
        Packet { track, epoch: 1, dts: at, pts: at, duration: Dur::ZERO, key, decode_only: false, arrival: at, data }
    }

    #[test]
    fn it_begins_with_the_key_frame_before_the_oldest_slot() {
        let (video, audio) = tracks();
        let mut h = History::default();
        for ms in (0..20_000).step_by(40) {
            let needed = Ts::from_millis(ms - 3000);
            h.push(packet(&video, ms, ms % 2000 == 0, 100), needed);
            h.push(packet(&audio, ms, false, 10), needed);
            let first = h.packets(Ts::ZERO).next().expect("kept");
            assert!(first.key);
            // A restart that has less to make up for is not fed what it does not need.
            let at = Ts::from_millis(ms - 700);
            let fed: Vec<&Packet> = h.packets(at).collect();
            let picture = fed.iter().find(|p| p.track.is_video()).expect("kept");
            assert!(picture.key && (ms < 3000 || at - picture.pts < Dur::from_secs(2)));
            let sound = fed.iter().find(|p| !p.track.is_video()).expect("kept");
            assert!(ms < 6000 || (at - sound.pts).as_millis() <= 500);
            if ms > 6000 {
                let behind = needed - first.pts;
                assert!(behind >= Dur::ZERO && behind < Dur::from_secs(2), "{behind}");
            }
        }
        assert!(h.bytes() < 200 * 400);
    }

    #[test]
    fn it_is_bounded_with_endless_gops_with_sound_alone_and_by_bytes() {
        let (video, audio) = tracks();
        let mut h = History::default();
        for ms in (0..60_000).step_by(40) {
            h.push(packet(&video, ms, ms == 0, 100), Ts::from_millis(ms - 1000));
        }
        assert!(h.packets(Ts::ZERO).count() <= 252);
        let mut h = History::default();
        for ms in (0..60_000).step_by(20) {
            h.push(packet(&audio, ms, false, 100), Ts::from_millis(ms - 1000));
        }
        assert!(h.packets(Ts::ZERO).count() <= 102);
        let mut h = History::default();
        for ms in (0..4_000).step_by(40) {
            h.push(packet(&video, ms, ms == 0, 1 << 20), Ts::from_millis(ms - 1000));
        }
        assert!(h.bytes() <= HISTORY_BYTES);
    }

    #[test]
    fn a_run_that_begins_with_what_is_only_decoded_does_not_replace_the_one_before() {
        let (video, _) = tracks();
        let mut h = History::default();
        for ms in (0..2000).step_by(40) {
            h.push(packet(&video, ms, ms % 1000 == 0, 9), Ts::from_millis(ms - 500));
        }
        for ms in (1500..2600).step_by(40) {
            let dark = Packet { decode_only: ms < 2000, ..packet(&video, ms, ms == 1500, 9) };
            h.push(dark, Ts::from_millis(1900));
        }
        let fed: Vec<&Packet> = h.packets(Ts::from_millis(1900)).collect();
        assert!(fed[0].key && fed[0].pts == Ts::from_millis(1000), "{:?}", fed[0]);
        assert!(fed.iter().any(|p| p.key && p.decode_only));
    }

    #[test]
    fn after_a_clear_it_waits_for_a_key_frame() {
        let (video, audio) = tracks();
        let mut h = History::default();
        h.push(packet(&video, 0, true, 9), Ts::ZERO);
        h.clear();
        h.push(packet(&video, 40, false, 9), Ts::ZERO);
        h.push(packet(&audio, 40, false, 9), Ts::ZERO);
        h.push(packet(&video, 80, true, 9), Ts::ZERO);
        let kinds: Vec<bool> = h.packets(Ts::ZERO).map(|p| p.key).collect();
        assert_eq!(kinds, [false, true]);
    }
}
