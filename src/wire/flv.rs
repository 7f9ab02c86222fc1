//! FLV tag bodies (Adobe FLV specification 10.1, annex E) and their extension by Enhanced RTMP v1 and v2 (Veovera).
//!
//! **Role.** What an RTMP audio or video message holds → codec configurations and access units, per track.
//! **Bounds.** Slices of the message; nothing is copied and nothing is kept.

use super::amf0::Value;
use crate::media::{AudioCodec, VideoCodec};
use bytes::{Buf, Bytes};

/// Why a tag could not be read. Such a tag is left out; the ones after it are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tag ends inside a field.
    #[error("{0} tag ends early")]
    Short(&'static str),
    /// A codec of the original specification that is not taken, by its number.
    #[error("{media} codec {id} is not supported")]
    Codec {
        /// `audio` or `video`.
        media: &'static str,
        /// `CodecID` or `SoundFormat`.
        id: u8,
    },
    /// A codec of Enhanced RTMP that is not taken.
    #[error("{media} codec {} is not supported", .four_cc.escape_ascii())]
    FourCc {
        /// `audio` or `video`.
        media: &'static str,
        /// The code.
        four_cc: [u8; 4],
    },
    /// A reserved packet or multitrack type.
    #[error("{media} packet type {value} is not known")]
    PacketType {
        /// `audio` or `video`.
        media: &'static str,
        /// The value.
        value: u8,
    },
}

/// A part of a video tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoUnit {
    /// Track of a multitrack tag; 0 otherwise.
    pub track: u8,
    /// Nanoseconds to add to the message's timestamp (`TimestampOffsetNano`), below a millisecond.
    pub nanos: u32,
    /// The codec.
    pub codec: VideoCodec,
    /// What it is.
    pub body: VideoBody,
}

/// What a part of a video tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoBody {
    /// The codec's configuration record.
    Config(Bytes),
    /// An access unit.
    Frame {
        /// The container's word that decoding can begin here.
        key: bool,
        /// Presentation minus decoding time in milliseconds.
        composition: i32,
        /// NAL units with lengths, or OBUs.
        data: Bytes,
    },
    /// The sequence is over.
    End,
}

/// A part of an audio tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioUnit {
    /// Track of a multitrack tag; 0 otherwise.
    pub track: u8,
    /// Nanoseconds to add to the message's timestamp, below a millisecond.
    pub nanos: u32,
    /// The codec.
    pub codec: AudioCodec,
    /// What it is.
    pub body: AudioBody,
}

/// What a part of an audio tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioBody {
    /// The codec's configuration: `AudioSpecificConfig` or `OpusHead`.
    Config(Bytes),
    /// A frame.
    Frame(Bytes),
    /// The sequence is over.
    End,
}

/// `VideoPacketType` and `AudioPacketType` (Enhanced RTMP v2). 0, 1, 2 and 7 mean the same in both.
mod packet {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    pub const VIDEO_CODED_FRAMES_X: u8 = 3;
    pub const VIDEO_METADATA: u8 = 4;
    pub const VIDEO_MPEG2TS_START: u8 = 5;
    pub const VIDEO_MULTITRACK: u8 = 6;
    pub const AUDIO_MULTICHANNEL_CONFIG: u8 = 4;
    pub const AUDIO_MULTITRACK: u8 = 5;
    pub const MOD_EX: u8 = 7;
}

/// The frame type of a message to the player instead of a picture.
const COMMAND_FRAME: u8 = 5;

fn u8_of(data: &mut Bytes, what: &'static str) -> Result<u8, Error> {
    data.try_get_u8().map_err(|_| Error::Short(what))
}

fn u24_of(data: &mut Bytes, what: &'static str) -> Result<u32, Error> {
    if data.len() < 3 {
        return Err(Error::Short(what));
    }
    Ok(data.get_uint(3) as u32)
}

/// SI24: composition offsets are signed.
fn i24_of(data: &mut Bytes, what: &'static str) -> Result<i32, Error> {
    Ok((u24_of(data, what)? << 8) as i32 >> 8)
}

fn four_cc_of(data: &mut Bytes, what: &'static str) -> Result<[u8; 4], Error> {
    data.try_get_u32().map(u32::to_be_bytes).map_err(|_| Error::Short(what))
}

fn split(data: &mut Bytes, length: usize, what: &'static str) -> Result<Bytes, Error> {
    if data.len() < length { Err(Error::Short(what)) } else { Ok(data.split_to(length)) }
}

fn video_codec(four_cc: [u8; 4]) -> Result<VideoCodec, Error> {
    match &four_cc {
        b"avc1" => Ok(VideoCodec::H264),
        b"hvc1" => Ok(VideoCodec::Hevc),
        b"av01" => Ok(VideoCodec::Av1),
        _ => Err(Error::FourCc { media: "video", four_cc }),
    }
}

fn audio_codec(four_cc: [u8; 4]) -> Result<AudioCodec, Error> {
    match &four_cc {
        b"mp4a" => Ok(AudioCodec::Aac),
        b"Opus" => Ok(AudioCodec::Opus),
        b".mp3" => Ok(AudioCodec::Mp3),
        b"ac-3" => Ok(AudioCodec::Ac3),
        _ => Err(Error::FourCc { media: "audio", four_cc }),
    }
}

/// `ModEx` prefixes: each has data, then its own type and the type of what follows. Returns the latter and the nanoseconds.
fn mod_ex(data: &mut Bytes, mut kind: u8, what: &'static str) -> Result<(u8, u32), Error> {
    let mut nanos = 0;
    while kind == packet::MOD_EX {
        let mut size = usize::from(u8_of(data, what)?) + 1;
        if size == 256 {
            size = data.try_get_u16().map(usize::from).map_err(|_| Error::Short(what))? + 1;
        }
        let value = split(data, size, what)?;
        let next = u8_of(data, what)?;
        kind = next & 15;
        // TimestampOffsetNano; the other types are reserved and stepped over.
        if let (0, [a, b, c, ..]) = (next >> 4, &value[..]) {
            nanos = (u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c)).min(999_999);
        }
    }
    Ok((kind, nanos))
}

/// How a multitrack tag is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracks {
    Single,
    One,
    Many,
    ManyCodecs,
}

impl Tracks {
    fn multi(kind: u8, media: &'static str) -> Result<Tracks, Error> {
        match kind {
            0 => Ok(Tracks::One),
            1 => Ok(Tracks::Many),
            2 => Ok(Tracks::ManyCodecs),
            value => Err(Error::PacketType { media, value }),
        }
    }
}

/// Walks the tracks of an enhanced tag: for each its id, FourCC and body.
fn each_track(
    mut data: Bytes,
    tracks: Tracks,
    what: &'static str,
    mut visit: impl FnMut(u8, [u8; 4], Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    let common = if tracks == Tracks::ManyCodecs { [0; 4] } else { four_cc_of(&mut data, what)? };
    match tracks {
        Tracks::Single => visit(0, common, data),
        Tracks::One => {
            let track = u8_of(&mut data, what)?;
            visit(track, common, data)
        }
        Tracks::Many | Tracks::ManyCodecs => {
            // One track that cannot be read does not cost the others.
            let mut result = Ok(());
            // A track's id is a byte, so a tag has no use for more of them.
            for _ in 0..=u8::MAX {
                if data.is_empty() {
                    break;
                }
                let four_cc = if tracks == Tracks::ManyCodecs { four_cc_of(&mut data, what)? } else { common };
                let track = u8_of(&mut data, what)?;
                let length = u24_of(&mut data, what)? as usize;
                let body = split(&mut data, length, what)?;
                result = result.and(visit(track, four_cc, body));
            }
            result
        }
    }
}

/// Reads a video tag's body and hands each part to `sink`. Command frames and metadata have none.
///
/// # Errors
/// [`Error`]; parts before the error were handed out.
pub fn video(tag: Bytes, mut sink: impl FnMut(VideoUnit)) -> Result<(), Error> {
    const WHAT: &str = "video";
    let mut data = tag;
    let first = u8_of(&mut data, WHAT)?;
    if first & 0x80 == 0 {
        return legacy_video(first, data, sink);
    }
    let frame = (first >> 4) & 7;
    let (mut kind, nanos) = mod_ex(&mut data, first & 15, WHAT)?;
    if kind == packet::VIDEO_METADATA || frame == COMMAND_FRAME {
        return Ok(());
    }
    let mut tracks = Tracks::Single;
    if kind == packet::VIDEO_MULTITRACK {
        let types = u8_of(&mut data, WHAT)?;
        tracks = Tracks::multi(types >> 4, WHAT)?;
        kind = types & 15;
    }
    each_track(data, tracks, WHAT, |track, four_cc, mut data| {
        let codec = video_codec(four_cc)?;
        let key = frame == 1;
        let body = match kind {
            packet::SEQUENCE_START => VideoBody::Config(data),
            packet::CODED_FRAMES => {
                // AV1 has no reordering that a container must know of, and so no field for it.
                let composition = if codec == VideoCodec::Av1 { 0 } else { i24_of(&mut data, WHAT)? };
                VideoBody::Frame { key, composition, data }
            }
            packet::VIDEO_CODED_FRAMES_X => VideoBody::Frame { key, composition: 0, data },
            packet::SEQUENCE_END => VideoBody::End,
            // A sequence header in MPEG-TS form (AV1 video descriptor): the stream's own header says the same.
            packet::VIDEO_METADATA | packet::VIDEO_MPEG2TS_START => return Ok(()),
            value => return Err(Error::PacketType { media: WHAT, value }),
        };
        sink(VideoUnit { track, nanos, codec, body });
        Ok(())
    })
}

fn legacy_video(first: u8, mut data: Bytes, mut sink: impl FnMut(VideoUnit)) -> Result<(), Error> {
    const WHAT: &str = "video";
    if first >> 4 == COMMAND_FRAME {
        return Ok(());
    }
    let codec = match first & 15 {
        7 => VideoCodec::H264,
        // Not in the specification, but what encoders and servers used for HEVC before Enhanced RTMP.
        12 => VideoCodec::Hevc,
        id => return Err(Error::Codec { media: WHAT, id }),
    };
    let kind = u8_of(&mut data, WHAT)?;
    let composition = i24_of(&mut data, WHAT)?;
    let body = match kind {
        0 => VideoBody::Config(data),
        1 => VideoBody::Frame { key: first >> 4 == 1, composition, data },
        2 => VideoBody::End,
        value => return Err(Error::PacketType { media: WHAT, value }),
    };
    sink(VideoUnit { track: 0, nanos: 0, codec, body });
    Ok(())
}

/// Reads an audio tag's body and hands each part to `sink`.
///
/// # Errors
/// [`Error`]; parts before the error were handed out.
pub fn audio(tag: Bytes, mut sink: impl FnMut(AudioUnit)) -> Result<(), Error> {
    const WHAT: &str = "audio";
    let mut data = tag;
    let first = u8_of(&mut data, WHAT)?;
    let unit = |codec, body| AudioUnit { track: 0, nanos: 0, codec, body };
    match first >> 4 {
        9 => {}
        10 => {
            let body = match u8_of(&mut data, WHAT)? {
                0 => AudioBody::Config(data),
                1 => AudioBody::Frame(data),
                value => return Err(Error::PacketType { media: WHAT, value }),
            };
            sink(unit(AudioCodec::Aac, body));
            return Ok(());
        }
        2 | 14 => {
            sink(unit(AudioCodec::Mp3, AudioBody::Frame(data)));
            return Ok(());
        }
        id => return Err(Error::Codec { media: WHAT, id }),
    }
    let (mut kind, nanos) = mod_ex(&mut data, first & 15, WHAT)?;
    let mut tracks = Tracks::Single;
    if kind == packet::AUDIO_MULTITRACK {
        let types = u8_of(&mut data, WHAT)?;
        tracks = Tracks::multi(types >> 4, WHAT)?;
        kind = types & 15;
    }
    each_track(data, tracks, WHAT, |track, four_cc, data| {
        let codec = audio_codec(four_cc)?;
        let body = match kind {
            packet::SEQUENCE_START => AudioBody::Config(data),
            packet::CODED_FRAMES => AudioBody::Frame(data),
            packet::SEQUENCE_END => AudioBody::End,
            // Speaker positions; the codec's own header has them in the order that decoders use.
            packet::AUDIO_MULTICHANNEL_CONFIG => return Ok(()),
            value => return Err(Error::PacketType { media: WHAT, value }),
        };
        sink(AudioUnit { track, nanos, codec, body });
        Ok(())
    })
}

/// What `onMetaData` says of the stream; hints only, all optional, and never trusted over the bitstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// Kilobits per second of the picture.
    pub video_kbps: Option<f64>,
    /// Kilobits per second of the sound.
    pub audio_kbps: Option<f64>,
    /// What made it.
    pub encoder: Option<String>,
}

/// Longest encoder name that is kept: names are tens of characters, and they are shown on pages.
const MAX_ENCODER: usize = 128;

impl Metadata {
    /// Reads the object or associative array. Whatever is missing or wrong is left out.
    pub fn read(value: &Value) -> Metadata {
        let number = |name: &str, least: f64, most: f64| {
            value.get(name).and_then(Value::as_number).filter(|n| (least..=most).contains(n))
        };
        let side = |name: &str| number(name, 1.0, 16_384.0).map(|n| n as u32);
        Metadata {
            width: side("width"),
            height: side("height"),
            frame_rate: number("framerate", 1.0, 300.0).or_else(|| number("fps", 1.0, 300.0)),
            video_kbps: number("videodatarate", 0.0, 1e6),
            audio_kbps: number("audiodatarate", 0.0, 1e5),
            encoder: value.get("encoder").and_then(Value::as_str).and_then(encoder_name),
        }
    }
}

/// An encoder's name for people: printable and short; none when nothing is left.
pub fn encoder_name(text: &str) -> Option<String> {
    let name: String = text.chars().filter(|c| !c.is_control()).take(MAX_ENCODER).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
#[path = "flv_tests.rs"]
mod tests;
