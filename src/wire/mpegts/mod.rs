//! MPEG-TS (ISO/IEC 13818-1): from the bytes of a transport stream to access units.
//!
//! **Data flow.** [`Demux::push`] → packets of 188 bytes, found again after a loss → tables ([`tables`]: which streams there are) and
//! PES packets ([`pes`]) → access units: pictures as NAL units behind lengths, sound cut into frames ([`frames`]).
//! Packets, tables and PES headers are read by `mpeg2ts-reader`; what is kept between them, and how much of it, is decided here.
//! **What is taken.** The first programme, its first picture, and its sound streams in the order of the PMT as tracks 0, 1, 2…;
//! sound that cannot be decoded keeps its number and is named in words.
//! **Loss.** A continuity error drops the access unit that it hits and is reported ([`Event::Lost`]), so that whoever decodes waits for
//! a key frame. Times stay raw: wraps and jumps are the timeline's to police.
//! **Bound.** [`pes::MAX_PICTURE`] for a picture, [`pes::MAX_SOUND`] and [`frames::MAX_FRAME`] for each of [`MAX_SOUND_STREAMS`], one
//! section per table of 1024 bytes.

pub mod frames;
pub mod pes;
pub mod tables;
#[cfg(test)]
mod tests;

use crate::media::{AudioCodec, VideoCodec};
use crate::wire::bitstream::nal;
use bytes::Bytes;
use frames::Framer;
use mpeg2ts_reader::packet::Packet;
use pes::{Assembler, Pes};
use tables::{Kind, Program, Section};

/// Bytes of a packet (§2.4.3.2).
pub const PACKET: usize = 188;

/// The first byte of every packet.
const SYNC: u8 = 0x47;

/// Stuffing (§2.4.1).
const NULL_PID: u16 = 0x1fff;

/// Sound streams of a programme that are looked at: as many as a contribution may have tracks.
pub const MAX_SOUND_STREAMS: usize = 32;

/// NAL units of a picture: level 6.2 admits 600 slices. A hostile one is made of empty units.
const MAX_UNITS: usize = 1024;

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The programme's sound streams, whenever they change.
    Tracks(Vec<Track>),
    /// A sound track's decoder configuration, whenever it changes.
    AudioConfig {
        /// Counted from 0.
        track: u16,
        /// Its codec.
        codec: AudioCodec,
        /// As in [`AudioCodec`].
        config: Bytes,
    },
    /// An access unit of the picture.
    Video {
        /// Its codec.
        codec: VideoCodec,
        /// Decoding time in units of 90 kHz, 33 bits.
        dts: u64,
        /// Presentation time, likewise.
        pts: u64,
        /// The stream says that decoding can begin here.
        random_access: bool,
        /// NAL units behind 4-byte lengths.
        data: Bytes,
    },
    /// A frame of sound.
    Audio {
        /// Counted from 0.
        track: u16,
        /// Its codec.
        codec: AudioCodec,
        /// Presentation time in units of 90 kHz, 33 bits.
        pts: u64,
        /// The frame, as in [`AudioCodec`].
        data: Bytes,
    },
    /// Packets are missing: the access unit that they belong to is left out.
    Lost {
        /// Of the picture, so that what follows cannot be decoded before a key frame.
        video: bool,
    },
    /// Something that cannot be used, in words. `topic` keeps one problem to one place.
    Problem {
        /// What it is about.
        topic: &'static str,
        /// What to do.
        text: String,
    },
}

/// A sound stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Counted from 0.
    pub track: u16,
    /// Its codec; none for one that cannot be decoded.
    pub codec: Option<AudioCodec>,
    /// ISO 639 code of three letters, when the stream says.
    pub language: Option<String>,
}

/// How a packet follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuity {
    Next,
    /// Sent twice, as §2.4.3.3 allows.
    Again,
    Lost,
}

/// The continuity counter of a stream (§2.4.3.3).
#[derive(Clone, Copy, Debug, Default)]
struct Counter(Option<u8>);

impl Counter {
    fn check(&mut self, packet: &Packet<'_>) -> Continuity {
        let count = packet.continuity_counter().count();
        let last = self.0.replace(count);
        match last {
            _ if flags(packet) & 0x80 != 0 => Continuity::Next,
            None => Continuity::Next,
            Some(last) if count == (last + 1) & 15 => Continuity::Next,
            Some(last) if count == last => Continuity::Again,
            Some(_) => Continuity::Lost,
        }
    }
}

/// The flags of the adaptation field (§2.4.3.4); 0 without one.
fn flags(packet: &Packet<'_>) -> u8 {
    match packet.buffer() {
        [_, _, _, control, length, flags, ..] if control & 0x20 != 0 && *length > 0 => *flags,
        _ => 0,
    }
}

/// An elementary stream that is taken.
struct Stream {
    pid: u16,
    kind: Kind,
    counter: Counter,
    assembler: Assembler,
    framer: Framer,
}

/// A demultiplexer of one transport stream.
#[derive(Default)]
pub struct Demux {
    /// The beginning of a packet whose end has not come yet.
    partial: Vec<u8>,
    pat: Table,
    pmt: Table,
    /// Programme number and PID of its map.
    selected: Option<(u16, u16)>,
    program: Option<Program>,
    streams: Vec<Stream>,
}

/// A stream of tables.
#[derive(Default)]
struct Table {
    counter: Counter,
    section: Section,
}

impl Table {
    fn packet(&mut self, packet: &Packet<'_>, whole: impl FnMut(&[u8])) {
        let Some(payload) = packet.payload() else { return };
        match self.counter.check(packet) {
            Continuity::Again => return,
            Continuity::Lost => self.section.reset(),
            Continuity::Next => {}
        }
        self.section.push(payload, packet.payload_unit_start_indicator(), whole);
    }
}

impl Demux {
    /// At the beginning of a stream.
    pub fn new() -> Demux {
        Demux::default()
    }

    /// Takes the next bytes; gives what they complete, in order.
    pub fn push(&mut self, data: &[u8], sink: &mut dyn FnMut(Event)) {
        let mut rest = data;
        if !self.partial.is_empty() {
            let (head, tail) = rest.split_at((PACKET - self.partial.len()).min(rest.len()));
            self.partial.extend_from_slice(head);
            rest = tail;
            if self.partial.len() < PACKET {
                return;
            }
            let packet = std::mem::take(&mut self.partial);
            self.packet(&packet, sink);
            self.partial = packet;
            self.partial.clear();
        }
        while !rest.is_empty() {
            if rest[0] != SYNC {
                let at = |p: &usize| rest[*p] == SYNC && rest.get(p + PACKET).is_none_or(|b| *b == SYNC);
                let skip = (1..rest.len()).find(at).unwrap_or(rest.len());
                let text = "the transport stream has bytes between its packets: check what carries it";
                sink(Event::Problem { topic: "transport stream", text: text.into() });
                rest = &rest[skip..];
                continue;
            }
            let Some((packet, tail)) = rest.split_at_checked(PACKET) else {
                self.partial.extend_from_slice(rest);
                return;
            };
            self.packet(packet, sink);
            rest = tail;
        }
    }

    /// The stream has ended: what has no length of its own and is complete by that.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Event)) {
        for stream in &mut self.streams {
            if let Some(pes) = stream.assembler.finish() {
                stream.deliver(pes, sink);
            }
        }
    }

    fn packet(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Event)) {
        let Some(packet) = Packet::try_new(bytes) else { return };
        let pid = u16::from(packet.pid());
        if pid == NULL_PID {
            return;
        }
        if let Some(stream) = self.streams.iter_mut().find(|s| s.pid == pid) {
            return stream.packet(&packet, sink);
        }
        if packet.transport_error_indicator() || packet.transport_scrambling_control().is_scrambled() {
            return;
        }
        if pid == 0 {
            let mut found = None;
            self.pat.packet(&packet, |section| found = tables::programs(section).or(found.take()));
            if let Some(programs) = found {
                self.select(&programs, sink);
            }
        } else if let Some((number, map)) = self.selected
            && map == pid
        {
            let mut found = None;
            self.pmt.packet(&packet, |section| found = tables::program(section, number).or(found.take()));
            if let Some(program) = found {
                self.take(program, sink);
            }
        }
    }

    /// The first programme, or the one that is taken already as long as it is there.
    fn select(&mut self, programs: &[(u16, u16)], sink: &mut dyn FnMut(Event)) {
        if programs.len() > 1 {
            let text = "several programmes in the transport stream: only the first is used";
            sink(Event::Problem { topic: "programmes", text: text.into() });
        }
        if self.selected.is_none_or(|s| !programs.contains(&s)) {
            self.selected = programs.first().copied();
            self.pmt = Table::default();
        }
    }

    fn take(&mut self, program: Program, sink: &mut dyn FnMut(Event)) {
        for (topic, text) in &program.problems {
            sink(Event::Problem { topic, text: text.clone() });
        }
        if self.program.as_ref() == Some(&program) {
            return;
        }
        let mut before = std::mem::take(&mut self.streams);
        for &(pid, kind) in &program.streams {
            let known = before.iter().position(|s| s.pid == pid && s.kind == kind);
            self.streams.push(match known {
                Some(i) => before.swap_remove(i),
                None => Stream {
                    pid,
                    kind,
                    counter: Counter::default(),
                    assembler: Assembler::new(kind.is_video()),
                    framer: Framer::new(kind),
                },
            });
        }
        // What is not sent any more may still hold its last access unit.
        for mut stream in before {
            if let Some(pes) = stream.assembler.finish() {
                stream.deliver(pes, sink);
            }
        }
        sink(Event::Tracks(program.tracks.clone()));
        self.program = Some(program);
    }
}

impl Stream {
    fn packet(&mut self, packet: &Packet<'_>, sink: &mut dyn FnMut(Event)) {
        if packet.transport_error_indicator() {
            // Its counter cannot be believed either: the next packet shows the gap.
            return self.lost(sink);
        }
        if !packet.adaptation_control().has_payload() {
            return;
        }
        match self.counter.check(packet) {
            Continuity::Again => return,
            Continuity::Lost => self.lost(sink),
            Continuity::Next => {}
        }
        if packet.transport_scrambling_control().is_scrambled() {
            let text = "the transport stream is scrambled: send it in the clear, and set a passphrase for SRT instead";
            sink(Event::Problem { topic: "scrambled", text: text.into() });
            return self.assembler.reset();
        }
        let Some(payload) = packet.payload() else { return };
        if packet.payload_unit_start_indicator() {
            if let Some(pes) = self.assembler.finish() {
                self.deliver(pes, sink);
            }
            // Bit 6: random_access_indicator.
            self.assembler.begin(payload, flags(packet) & 0x40 != 0);
        } else if !self.assembler.push(payload) {
            let text = "a picture or a piece of sound is larger than any can be, and is left out";
            sink(Event::Problem { topic: "access unit size", text: text.into() });
            self.lost(sink);
        }
        if self.assembler.is_whole()
            && let Some(pes) = self.assembler.finish()
        {
            self.deliver(pes, sink);
        }
    }

    fn lost(&mut self, sink: &mut dyn FnMut(Event)) {
        self.assembler.reset();
        self.framer.reset();
        sink(Event::Lost { video: self.kind.is_video() });
    }

    fn deliver(&mut self, pes: Pes, sink: &mut dyn FnMut(Event)) {
        let Kind::Video(codec) = self.kind else { return self.framer.push(&pes, sink) };
        let Some(pts) = pes.pts else {
            let text = "a picture without a time is left out: let the muxer begin a PES packet with each picture";
            return sink(Event::Problem { topic: "picture time", text: text.into() });
        };
        let units: Vec<&[u8]> = nal::annex_b(&pes.data).take(MAX_UNITS + 1).collect();
        if units.is_empty() || units.len() > MAX_UNITS {
            let text = "a picture cannot be read and is left out";
            return sink(Event::Problem { topic: "picture", text: text.into() });
        }
        sink(Event::Video {
            codec,
            dts: pes.dts.unwrap_or(pts),
            pts,
            random_access: pes.random_access,
            data: nal::to_length_prefixed(units.iter().copied()),
        });
    }
}
