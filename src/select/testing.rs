//! A made-up encoder for the tests of this module.

use crate::media::{AudioCodec, AudioFormat, Dur, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat};
use bytes::Bytes;
use std::sync::Arc;

/// 2023-11-14: times are of the size that they have in use.
pub fn start() -> Ts {
    Ts::from_millis(1_700_000_000_000)
}

pub fn ms(v: i64) -> Dur {
    Dur::from_millis(v)
}

/// An encoder: 25 fps with two reordered pictures, and sound of 20 ms packets muxed a little ahead. Made up of the
/// packets that it would send, each with the time of its arrival.
#[derive(Clone)]
pub struct Encoder {
    pub video: Option<Arc<Track>>,
    pub audio: Option<Arc<Track>>,
    /// Pictures from key frame to key frame.
    pub gop: i64,
    /// Source time of its first packet.
    pub base: i64,
    /// Packets arrive up to so many ms late.
    pub jitter: i64,
    /// How much later than it was made a packet arrives at least.
    pub delay: i64,
    /// What it shows: encoders with the same content send the same bytes for the same source time since they began.
    pub content: u64,
}

impl Encoder {
    pub fn new() -> Encoder {
        let config = Bytes::new();
        let video = VideoFormat {
            codec: VideoCodec::H264,
            config,
            width: 16,
            height: 16,
            frame_rate: None,
            sample_aspect: None,
        };
        let config = Bytes::new();
        let audio = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 };
        Encoder {
            video: Some(Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(video) })),
            audio: Some(Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(audio) })),
            gop: 25,
            base: 0,
            jitter: 0,
            delay: 0,
            content: 0,
        }
    }

    pub fn sound_only() -> Encoder {
        Encoder { video: None, ..Encoder::new() }
    }

    /// Packets of `from..to` ms after the start of the test, for an encoder that started at `since`.
    pub fn packets(&self, since: i64, from: i64, to: i64, epoch: u32, random: &mut Random) -> Vec<Packet> {
        let mut out = Vec::new();
        for t in (from..to).filter(|t| (t - since) % 20 == 0) {
            let source = Ts::from_millis(self.base + t - since);
            let arrival = start() + ms(t + self.delay + random.below(self.jitter + 1));
            // Encoders that show nothing in particular share no byte with any other, nor with themselves.
            let content = if self.content == 0 { random.0 | 1 << 63 } else { self.content };
            let packet = |track: &Arc<Track>, pts: Ts, duration: Dur, key: bool| Packet {
                track: track.clone(),
                epoch,
                dts: source,
                pts,
                duration,
                key,
                decode_only: false,
                arrival,
                data: data(content, t - since, track.id),
            };
            if let Some(video) = self.video.as_ref().filter(|_| (t - since) % 40 == 0) {
                let frame = (t - since) / 40;
                let place = frame % self.gop;
                // I P B P B …: every other picture is shown before the one decoded ahead of it.
                let shown = if place == 0 || (place % 2 == 1 && place == self.gop - 1) {
                    40
                } else if place % 2 == 1 {
                    80
                } else {
                    0
                };
                out.push(packet(video, source + ms(shown), ms(40), place == 0));
            }
            if let Some(audio) = &self.audio {
                out.push(packet(audio, source, ms(20), false));
            }
        }
        out
    }
}

/// Bytes that only this instant of this track and content has.
fn data(content: u64, at: i64, track: TrackId) -> Bytes {
    let mut data = [0; 100];
    data[..8].copy_from_slice(&content.to_be_bytes());
    data[8..16].copy_from_slice(&at.to_be_bytes());
    data[16..18].copy_from_slice(&track.0.to_be_bytes());
    Bytes::copy_from_slice(&data)
}

/// When an encoder with content made this packet, in ms since it began.
pub fn made_at(packet: &Packet) -> i64 {
    i64::from_be_bytes(packet.data[8..16].try_into().expect("eight bytes"))
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as i64).rem_euclid(n.max(1))
    }
}
