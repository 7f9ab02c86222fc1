//! The tables of a transport stream: programme association and programme map (ISO/IEC 13818-1 §2.4.4).

use super::{MAX_SOUND_STREAMS, Track};
use crate::media::{AudioCodec, VideoCodec};
use mpeg2ts_reader::descriptor::{Descriptor, DescriptorError};
use mpeg2ts_reader::mpegts_crc;
use mpeg2ts_reader::psi::pat::{PatSection, ProgramDescriptor};
use mpeg2ts_reader::psi::pmt::{PmtSection, StreamInfo};

/// Bytes of a section: `section_length` of these tables may not exceed 1021 (§2.4.4.5, §2.4.4.9).
const MAX_SECTION: usize = 1024;

/// Bytes before what a section is about, and of the CRC behind it.
const HEADER: usize = 8;
const CRC: usize = 4;

/// A section that is being put together.
#[derive(Debug, Default)]
pub struct Section(Vec<u8>);

impl Section {
    /// Forgets what is there.
    pub fn reset(&mut self) {
        self.0.clear();
    }

    /// Takes a packet's payload; `start` says that it begins with a pointer (§2.4.4.2). Whole sections with a right CRC are given on.
    pub fn push(&mut self, payload: &[u8], start: bool, mut whole: impl FnMut(&[u8])) {
        if !start {
            if !self.0.is_empty() {
                self.append(payload, &mut whole);
            }
            return;
        }
        let Some((pointer, rest)) = payload.split_first() else { return };
        let Some((before, after)) = rest.split_at_checked(usize::from(*pointer)) else { return self.reset() };
        if !self.0.is_empty() {
            self.append(before, &mut whole);
        }
        self.reset();
        self.append(after, &mut whole);
    }

    fn append(&mut self, data: &[u8], whole: &mut impl FnMut(&[u8])) {
        self.0.extend_from_slice(data);
        loop {
            // Stuffing fills the rest of a packet.
            if self.0.first().is_none_or(|b| *b == 0xff) {
                return self.reset();
            }
            let [_, high, low, ..] = self.0[..] else { return };
            let length = 3 + (usize::from(high & 0x0f) << 8 | usize::from(low));
            if length > MAX_SECTION {
                return self.reset();
            }
            if self.0.len() < length {
                return;
            }
            let section = &self.0[..length];
            // Long form, in force now, the only or first one of its table.
            let usable = length >= HEADER + CRC && high & 0x80 != 0 && section[5] & 1 == 1 && section[6] == 0;
            if usable && mpegts_crc::sum32(section) == 0 {
                whole(section);
            }
            self.0.drain(..length);
        }
    }
}

/// Programme numbers with the PIDs of their maps; none when this is no association table.
pub fn programs(section: &[u8]) -> Option<Vec<(u16, u16)>> {
    let body = body(section, 0)?;
    let programs = PatSection::new(body).programs().filter_map(|p| match p {
        ProgramDescriptor::Program { program_number, pid } => Some((program_number, u16::from(pid))),
        ProgramDescriptor::Network { .. } => None,
    });
    Some(programs.collect())
}

fn body(section: &[u8], table: u8) -> Option<&[u8]> {
    let end = section.len().checked_sub(CRC)?;
    (section.first() == Some(&table)).then(|| section.get(HEADER..end)).flatten()
}

/// What an elementary stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The picture.
    Video(VideoCodec),
    /// A sound track, and for Opus its channel configuration code.
    Audio(u16, AudioCodec, u8),
}

impl Kind {
    /// Whether it is the picture.
    pub const fn is_video(self) -> bool {
        matches!(self, Kind::Video(_))
    }
}

/// A programme map, as far as it is of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// PIDs of the streams that are taken, in the order of the map.
    pub streams: Vec<(u16, Kind)>,
    /// All sound streams, those that cannot be decoded too.
    pub tracks: Vec<Track>,
    /// What cannot be used, in words, each with its topic.
    pub problems: Vec<(&'static str, String)>,
}

/// A descriptor with its tag.
struct Raw<'a>(u8, &'a [u8]);

impl<'a> Descriptor<'a> for Raw<'a> {
    fn from_bytes(data: &'a [u8]) -> Result<Raw<'a>, DescriptorError> {
        match data {
            [tag, length, rest @ ..] => Ok(Raw(*tag, rest.get(..usize::from(*length)).unwrap_or(rest))),
            _ => Err(DescriptorError::BufferTooShort { buflen: data.len() }),
        }
    }
}

/// Descriptor tags: 13818-1 table 2-45, ETSI EN 300 468 table 12.
mod tag {
    pub const REGISTRATION: u8 = 0x05;
    pub const LANGUAGE: u8 = 0x0a;
    pub const AC3: u8 = 0x6a;
    pub const ENHANCED_AC3: u8 = 0x7a;
    pub const EXTENSION: u8 = 0x7f;
    /// Of an extension: the channel configuration of Opus.
    pub const OPUS: u8 = 0x80;
}

/// A stream of a programme.
enum Found {
    Video(VideoCodec),
    Audio(AudioCodec, u8),
    /// Sound that cannot be decoded: what it is, and what to set instead.
    OtherAudio(&'static str),
    OtherVideo(&'static str),
    Nothing,
}

/// Reads a programme map; none when this is none, or one of another programme.
pub fn program(section: &[u8], number: u16) -> Option<Program> {
    let body = body(section, 2)?;
    if section.get(3..5)? != number.to_be_bytes() {
        return None;
    }
    let map = PmtSection::from_bytes(body).ok()?;
    let mut program = Program { streams: Vec::new(), tracks: Vec::new(), problems: Vec::new() };
    let mut pictures = 0;
    for stream in map.streams() {
        let pid = u16::from(stream.elementary_pid());
        // A map that names a stream twice is broken; the first counts.
        if program.streams.iter().any(|(p, _)| *p == pid) {
            continue;
        }
        let (what, language) = classify(&stream);
        let track = u16::try_from(program.tracks.len()).unwrap_or(u16::MAX);
        match what {
            Found::Video(codec) => {
                pictures += 1;
                if pictures == 1 {
                    program.streams.push((pid, Kind::Video(codec)));
                }
            }
            Found::Audio(codec, extra) if program.tracks.len() < MAX_SOUND_STREAMS => {
                program.streams.push((pid, Kind::Audio(track, codec, extra)));
                program.tracks.push(Track { track, codec: Some(codec), language });
            }
            Found::OtherAudio(name) if program.tracks.len() < MAX_SOUND_STREAMS => {
                let text =
                    format!("sound track {track} is {name}, which cannot be used: set AAC in ADTS, AC-3, MP3 or Opus");
                program.problems.push(("audio codec", text));
                program.tracks.push(Track { track, codec: None, language });
            }
            Found::Audio(..) | Found::OtherAudio(_) => {
                let text = format!("there are more than {MAX_SOUND_STREAMS} sound tracks: the others are left out");
                program.problems.push(("audio tracks", text));
            }
            Found::OtherVideo(name) => {
                let text = format!("the picture is {name}, which cannot be used: set H.264 or HEVC");
                program.problems.push(("video codec", text));
            }
            Found::Nothing => {}
        }
    }
    if pictures > 1 {
        program.problems.push(("video tracks", "several video tracks: only the first is used".into()));
    }
    Some(program)
}

/// By stream type (13818-1 table 2-34), and for private data by its descriptors.
fn classify(stream: &StreamInfo<'_>) -> (Found, Option<String>) {
    let (mut format, mut language, mut ac3, mut enhanced, mut opus) = ([0; 4], None, false, false, 0);
    for Raw(tag, data) in stream.descriptors::<Raw<'_>>().flatten() {
        match (tag, data) {
            (tag::REGISTRATION, [a, b, c, d, ..]) => format = [*a, *b, *c, *d],
            (tag::LANGUAGE, [a, b, c, _, ..]) if language.is_none() => language = code([*a, *b, *c]),
            (tag::AC3, _) => ac3 = true,
            (tag::ENHANCED_AC3, _) => enhanced = true,
            (tag::EXTENSION, [tag::OPUS, code, ..]) => opus = *code,
            _ => {}
        }
    }
    let found = match (stream.stream_type().0, &format) {
        (0x1b, _) => Found::Video(VideoCodec::H264),
        (0x24, _) | (0x06, b"HEVC") => Found::Video(VideoCodec::Hevc),
        (0x01 | 0x02, _) => Found::OtherVideo("MPEG-2"),
        (0x10, _) => Found::OtherVideo("MPEG-4 part 2"),
        (0x33, _) | (0x06, b"VVC ") => Found::OtherVideo("VVC"),
        (0x06, b"AV01") => Found::OtherVideo("AV1 in a transport stream"),
        (0x0f, _) => Found::Audio(AudioCodec::Aac, 0),
        (0x11, _) => Found::OtherAudio("AAC in LATM"),
        (0x03 | 0x04, _) => Found::Audio(AudioCodec::Mp3, 0),
        (0x06, b"Opus") => Found::Audio(AudioCodec::Opus, opus),
        (0x87, _) | (0x06, b"EAC3") => Found::OtherAudio("Enhanced AC-3"),
        (0x06, _) if enhanced => Found::OtherAudio("Enhanced AC-3"),
        (0x81, _) | (0x06, b"AC-3") => Found::Audio(AudioCodec::Ac3, 0),
        (0x06, _) if ac3 => Found::Audio(AudioCodec::Ac3, 0),
        (0x82 | 0x8a | 0x85, _) => Found::OtherAudio("DTS"),
        (0x06, b"BSSD") => Found::OtherAudio("SMPTE 302M"),
        _ => Found::Nothing,
    };
    (found, language)
}

/// An ISO 639 code; none for what is none, or says nothing.
fn code(letters: [u8; 3]) -> Option<String> {
    let code: String = letters.iter().map(|b| char::from(b.to_ascii_lowercase())).collect();
    let known = letters.iter().all(u8::is_ascii_alphabetic) && !["und", "mis", "zxx", "mul"].contains(&code.as_str());
    known.then_some(code)
}
