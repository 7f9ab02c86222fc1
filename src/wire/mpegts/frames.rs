//! Sound of PES packets cut into frames: ADTS (ISO/IEC 14496-3 annex 1.A), MPEG audio, AC-3, Opus in MPEG-TS.
//!
//! A PES packet may hold several frames, and a frame may go on in the next packet. Its time is that of the first frame that
//! begins in it (13818-1 §2.4.3.7); the others follow by their lengths.

use super::pes::Pes;
use super::tables::Kind;
use super::{AudioCodec, Event};
use crate::media;
use crate::wire::bitstream::ac3::{self, Ac3Header};
use crate::wire::bitstream::mp3::Mp3Header;
use crate::wire::bitstream::opus::OpusHead;
use bytes::Bytes;

/// Bytes of a frame: `aac_frame_length` has 13 bits, the others are shorter.
pub const MAX_FRAME: usize = 8191;

/// The clock of PES packets and the bits that it has.
const CLOCK: u64 = 90_000;
const MASK: u64 = (1 << 33) - 1;

/// What is at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// A frame.
    Frame(Frame),
    /// Too few bytes to tell.
    More,
    /// No frame begins here.
    Nothing,
    /// A frame of a kind that cannot be decoded, in words.
    Unusable(&'static str),
}

/// A frame at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// Bytes before what a decoder takes.
    header: usize,
    /// Bytes in all.
    length: usize,
    /// Samples per channel, and how many of them are a second.
    samples: u32,
    rate: u32,
    /// The decoder configuration, where the frame says it.
    config: Option<[u8; 2]>,
}

/// Cuts the sound of one stream.
#[derive(Debug)]
pub struct Framer {
    track: u16,
    codec: AudioCodec,
    /// The channel configuration code of Opus.
    channels: u8,
    /// The beginning of a frame that goes on in the next packet.
    rest: Vec<u8>,
    /// The time that frames are counted from, and the samples since.
    anchor: Option<u64>,
    samples: u64,
    rate: u32,
    config: Option<Bytes>,
}

impl Framer {
    /// For a stream; one of a picture is never pushed to.
    pub fn new(kind: Kind) -> Framer {
        let (track, codec, channels) = match kind {
            Kind::Audio(track, codec, channels) => (track, codec, channels),
            Kind::Video(_) => (0, AudioCodec::Aac, 0),
        };
        Framer { track, codec, channels, rest: Vec::new(), anchor: None, samples: 0, rate: 0, config: None }
    }

    /// After a loss: what was begun cannot be finished, and times count from the next packet that has one.
    pub fn reset(&mut self) {
        self.rest.clear();
        self.anchor = None;
    }

    /// Takes a packet; gives its frames.
    pub fn push(&mut self, pes: &Pes, sink: &mut dyn FnMut(Event)) {
        if self.codec == AudioCodec::Opus {
            self.anchor_at(pes.pts);
            return self.opus(&pes.data, sink);
        }
        // Most packets begin with a frame, and are read where they are.
        let held = std::mem::take(&mut self.rest);
        let boundary = held.len();
        let joined;
        let data = if held.is_empty() {
            &pes.data[..]
        } else {
            joined = [&held[..], &pes.data].concat();
            &joined[..]
        };
        let mut stamp = pes.pts;
        let mut at = 0;
        while at < data.len() {
            match look(self.codec, &data[at..]) {
                Look::Frame(frame) => {
                    let Some(bytes) = data.get(at..at + frame.length) else { break };
                    if at >= boundary {
                        self.anchor_at(stamp.take());
                    }
                    self.frame(&frame, bytes, sink);
                    at += frame.length;
                }
                Look::More => break,
                Look::Unusable(what) => {
                    let text = format!("sound track {}: {what}", self.track);
                    sink(Event::Problem { topic: "audio codec", text });
                    return;
                }
                Look::Nothing => {
                    let next = (at + 1..data.len()).find(|p| begins(self.codec, &data[*p..]));
                    let text = format!("sound track {} has bytes between its frames", self.track);
                    sink(Event::Problem { topic: "audio frames", text });
                    at = next.unwrap_or(data.len());
                }
            }
        }
        let rest = &data[at.min(data.len())..];
        if rest.len() <= MAX_FRAME {
            self.rest = rest.to_vec();
            // A frame that begins at the end of this packet has its time, and is counted from it when the rest has come.
            if !rest.is_empty() && at >= boundary {
                self.anchor_at(stamp);
            }
        }
    }

    fn anchor_at(&mut self, pts: Option<u64>) {
        if pts.is_some() {
            (self.anchor, self.samples) = (pts, 0);
        }
    }

    /// The time of the next frame, which lasts `samples`.
    fn advance(&mut self, samples: u32, rate: u32) -> Option<u64> {
        let anchor = self.anchor?;
        let passed = |samples: u64, rate: u32| samples * CLOCK / u64::from(rate.max(1));
        if rate != self.rate {
            // What was counted before was at the other rate.
            self.anchor = Some((anchor + passed(self.samples, self.rate)) & MASK);
            (self.samples, self.rate) = (0, rate);
        }
        let time = (self.anchor.unwrap_or(anchor) + passed(self.samples, rate)) & MASK;
        // Times come with packets: far fewer than these many samples apart, or a hostile stream leaves them out.
        self.samples = (self.samples + u64::from(samples)).min(u64::MAX / (2 * CLOCK));
        Some(time)
    }

    fn frame(&mut self, frame: &Frame, bytes: &[u8], sink: &mut dyn FnMut(Event)) {
        if let Some(config) = frame.config {
            self.configure(Bytes::copy_from_slice(&config), sink);
        }
        let Some(pts) = self.advance(frame.samples, frame.rate) else { return };
        let data = Bytes::copy_from_slice(bytes.get(frame.header..).unwrap_or_default());
        sink(Event::Audio { track: self.track, codec: self.codec, pts, data });
    }

    fn configure(&mut self, config: Bytes, sink: &mut dyn FnMut(Event)) {
        if self.config.as_ref() != Some(&config) {
            self.config = Some(config.clone());
            sink(Event::AudioConfig { track: self.track, codec: self.codec, config });
        }
    }

    /// Access units behind control headers ("Opus in MPEG-TS", opus-codec.org, §4: `opus_control_header`).
    fn opus(&mut self, data: &[u8], sink: &mut dyn FnMut(Event)) {
        let Some(head) = opus_head(self.channels) else {
            let text = format!("sound track {}: this channel order of Opus cannot be used", self.track);
            return sink(Event::Problem { topic: "audio codec", text });
        };
        self.configure(head.build(), sink);
        let mut rest = data;
        while let Some((unit, after)) = opus_unit(rest) {
            rest = after;
            let Some(samples) = media::opus::samples(unit) else { continue };
            if let Some(pts) = self.advance(samples, crate::wire::bitstream::opus::SAMPLE_RATE) {
                let data = Bytes::copy_from_slice(unit);
                sink(Event::Audio { track: self.track, codec: AudioCodec::Opus, pts, data });
            }
        }
    }
}

/// Whether a frame may begin here.
fn begins(codec: AudioCodec, data: &[u8]) -> bool {
    match (codec, data) {
        (AudioCodec::Ac3, [0x0b, 0x77, ..]) => true,
        (AudioCodec::Ac3, [0x0b]) => true,
        (AudioCodec::Aac, [0xff, b, ..]) => b & 0xf6 == 0xf0,
        (AudioCodec::Mp3, [0xff, b, ..]) => b & 0xe0 == 0xe0,
        (AudioCodec::Aac | AudioCodec::Mp3, [0xff]) => true,
        _ => false,
    }
}

fn look(codec: AudioCodec, data: &[u8]) -> Look {
    if !begins(codec, data) {
        return Look::Nothing;
    }
    match codec {
        AudioCodec::Aac => adts(data),
        AudioCodec::Mp3 => mpeg(data),
        AudioCodec::Ac3 => ac3(data),
        AudioCodec::Opus => Look::Nothing,
    }
}

/// `adts_fixed_header` and `adts_variable_header` (14496-3 §1.A.2.2).
fn adts(data: &[u8]) -> Look {
    let &[_, b1, b2, b3, b4, b5, b6, ..] = data else { return Look::More };
    let header = if b1 & 1 == 1 { 7 } else { 9 };
    let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let (index, channels) = (b2 >> 2 & 15, (b2 & 1) << 2 | b3 >> 6);
    let Some(&rate) = RATES.get(usize::from(index)) else { return Look::Nothing };
    if length <= header {
        return Look::Nothing;
    }
    if channels == 0 {
        return Look::Unusable("its AAC has its channels in the stream: set mono, stereo or 5.1");
    }
    if b6 & 3 != 0 {
        return Look::Unusable("its AAC has several blocks in a frame: set one");
    }
    // AudioSpecificConfig: object type, rate, channels.
    let bits = u16::from((b2 >> 6) + 1) << 11 | u16::from(index) << 7 | u16::from(channels) << 3;
    Look::Frame(Frame { header, length, samples: 1024, rate, config: Some(bits.to_be_bytes()) })
}

/// ISO/IEC 11172-3 §2.4.3.1.
fn mpeg(data: &[u8]) -> Look {
    let &[_, b1, b2, _, ..] = data else { return Look::More };
    if b1 >> 1 & 3 == 2 {
        return Look::Unusable("MPEG audio layer II cannot be used: set AAC, AC-3 or MP3");
    }
    let Ok(header) = Mp3Header::parse(data) else { return Look::Nothing };
    if header.kbps == 0 {
        return Look::Nothing;
    }
    let slots = header.samples / 8 * header.kbps * 1000 / header.sample_rate + u32::from(b2 >> 1 & 1);
    let (samples, rate) = (header.samples, header.sample_rate);
    Look::Frame(Frame { header: 0, length: slots as usize, samples, rate, config: None })
}

/// ETSI TS 102 366 table 4.13.
fn ac3(data: &[u8]) -> Look {
    // The longest header; frames are far longer.
    if data.len() < 8 {
        return Look::More;
    }
    const KBPS: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
    let Ok(header) = Ac3Header::parse(data) else { return Look::Nothing };
    let code = data[4] & 0x3f;
    let Some(kbps) = KBPS.get(usize::from(code >> 1)) else { return Look::Nothing };
    let words = kbps * 96_000 / header.sample_rate;
    // At 44.1 kHz frames do not come out even; the lowest bit is the one word more.
    let words = if header.sample_rate == 44_100 { words + u32::from(code & 1) } else { words };
    let length = words as usize * 2;
    Look::Frame(Frame { header: 0, length, samples: ac3::SAMPLES, rate: header.sample_rate, config: None })
}

/// An Opus access unit and what follows it.
fn opus_unit(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x7f, flags, rest @ ..] = data else { return None };
    if flags & 0xe0 != 0xe0 {
        return None;
    }
    let (mut size, mut rest) = (0usize, rest);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        size += usize::from(*byte);
        if *byte != 0xff {
            break;
        }
    }
    for trim in [0x10, 0x08] {
        if flags & trim != 0 {
            rest = rest.get(2..)?;
        }
    }
    if flags & 0x04 != 0 {
        let (length, after) = rest.split_first()?;
        rest = after.get(usize::from(*length)..)?;
    }
    rest.split_at_checked(size)
}

/// The header of a channel configuration code: up to eight channels in Vorbis order; 0 is dual mono.
fn opus_head(code: u8) -> Option<OpusHead> {
    /// Streams, those that are stereo, and the order, by channels (RFC 7845 §5.1.1.2).
    const ORDERS: [&[u8]; 9] = [
        &[],
        &[],
        &[],
        &[2, 1, 0, 2, 1],
        &[2, 2, 0, 1, 2, 3],
        &[3, 2, 0, 4, 1, 2, 3],
        &[4, 2, 0, 4, 1, 2, 3, 5],
        &[4, 3, 0, 4, 1, 2, 3, 5, 6],
        &[5, 3, 0, 6, 1, 2, 3, 4, 5, 7],
    ];
    match code {
        0 => Some(OpusHead::simple(2, 0)),
        1 | 2 => Some(OpusHead::simple(code, 0)),
        3..=8 => {
            let mapping = Bytes::from_static(ORDERS[usize::from(code)]);
            Some(OpusHead { channels: code, family: 1, mapping, ..OpusHead::simple(2, 0) })
        }
        _ => None,
    }
}
