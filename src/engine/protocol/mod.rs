//! What crosses the socket pair between the daemon and the engine process.
//!
//! A message is a length (u32, little endian, of what follows), a kind (u8) and a body of fixed-width little-endian
//! fields; strings and byte strings carry a u32 length. Either side may be fed garbage by a broken peer: every length is
//! checked against a cap before anything is allocated, and decoding never panics.

mod fields;
mod inputs;
mod mixing;
mod start;

use super::{AudioSpec, EngineConfig, Level, MixCpu, OutputLevel};
use crate::media::{
    Content, Dur, InputName, MixPlan, Packet, SoundMatch, SystemClock, Track, TrackId, Ts, VoiceId, VoicePacket,
    VoiceReport,
};
use bytes::Bytes;
use fields::{Reader, Writer};
use inputs::{
    read_content, read_input, read_match, read_packet, write_content, write_input, write_match, write_packet,
};
use mixing::{
    read_cpu, read_outputs, read_plan, read_reports, read_voice, write_cpu, write_outputs, write_plan, write_reports,
    write_voice,
};
use start::{read_audio, read_numbers, read_start, read_track, write_audio, write_numbers, write_start, write_track};
use std::sync::Arc;

/// The longest message: a 16 MB access unit is an intra picture of a 4K mezzanine, ten times what an ingest may bring.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The longest decoder configuration: parameter sets are a few hundred bytes; 64 KB is what an RTMP header may carry.
pub const MAX_CONFIG: usize = 64 << 10;
/// The longest name, text or log line.
pub const MAX_TEXT: usize = 4 << 10;
/// The largest slate file.
pub const MAX_SLATE: usize = 8 << 20;
/// The longest Opus packet of a voice: 120 ms of the largest frames (RFC 6716 §3.2.5) and their lengths.
pub const MAX_VOICE: usize = 8 << 10;
/// The most rungs, sound renditions or voices of one event; also the most sound tracks with levels.
pub const MAX_TRACKS: usize = 256;
/// The largest width or height of an output picture: 4K, and what H.264 level 5.2 admits.
pub const MAX_DIMENSION: u32 = 4096;

/// Why a message could not be read. The engine side is then killed; the daemon side never sends such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The length field is zero or beyond [`MAX_MESSAGE`].
    #[error("message of {0} bytes is outside 1..={MAX_MESSAGE}")]
    Length(usize),
    /// The body ended within a field.
    #[error("message is short")]
    Short,
    /// A field inside is larger than its cap.
    #[error("{what} of {size} is beyond {most}")]
    Size {
        /// Which.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The cap.
        most: usize,
    },
    /// A kind or an enumeration value that does not exist.
    #[error("unknown {0} in message")]
    Unknown(&'static str),
    /// Bytes after the last field.
    #[error("{0} bytes too many in message")]
    Trailing(usize),
}

/// The first message to the child.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// What to make; `event` and `program` do not cross.
    pub config: EngineConfig,
    /// For each output track the number of the first access unit to make.
    pub resume: Vec<(TrackId, i64)>,
    /// Whether output keeps time with the clock; otherwise it goes as fast as the input allows (files, benches).
    pub paced: bool,
}

/// Daemon to engine.
#[derive(Clone, Debug)]
pub enum ToEngine {
    /// What to make; the first message.
    Start(Box<Start>),
    /// The format of a track, before its packets and whenever it changes.
    Track(Track),
    /// An access unit of the programme; `track` holds the id alone, the format stands in the last `Track`.
    Packet(InPacket),
    /// What was kept for a restart is complete; output may begin.
    Live,
    /// The daemon lives.
    Ping,
    /// No more input will come: finish and exit (unpaced runs).
    End,
    /// A voice's packet.
    Voice(VoicePacket),
    /// What to mix from now on.
    Plan(TimedPlan),
    /// Sound renditions that take the place of those before.
    Audio {
        /// All of them.
        specs: Vec<AudioSpec>,
        /// For each new one the number of the first access unit to make, or the earliest possible one after it.
        first: Vec<(TrackId, i64)>,
    },
    /// What of the rooms' tracks is wanted.
    Rooms(Rooms),
    /// A key frame of the rooms' picture, now.
    KeyFrame,
    /// The format of an input's sound, before its packets of [`ToEngine::Sound`] and whenever it changes.
    SoundTrack(InputName, Track),
    /// An access unit of an input's sound as it came, with the source's times, to compare the inputs by.
    Sound(InputName, InPacket),
}

/// A mix plan and when it was made, on the daemon's clock: the programme mix is behind the present, so it takes up each
/// plan where the sound of that moment is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimedPlan {
    /// When.
    pub at: Ts,
    /// The plan.
    pub plan: MixPlan,
}

/// What of the rooms' tracks is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms {
    /// The picture.
    pub video: bool,
    /// Realtime mixes, by the ids of their tracks; none: all.
    pub realtime: Option<Vec<TrackId>>,
}

/// A [`Packet`] without its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPacket {
    /// The track.
    pub track: TrackId,
    /// As [`Packet::epoch`].
    pub epoch: u32,
    /// As [`Packet::dts`].
    pub dts: Ts,
    /// As [`Packet::pts`].
    pub pts: Ts,
    /// As [`Packet::key`].
    pub key: bool,
    /// As [`Packet::decode_only`].
    pub decode_only: bool,
    /// As [`Packet::data`].
    pub data: Bytes,
}

impl From<&Packet> for InPacket {
    fn from(p: &Packet) -> InPacket {
        InPacket {
            track: p.track.id,
            epoch: p.epoch,
            dts: p.dts,
            pts: p.pts,
            key: p.key,
            decode_only: p.decode_only,
            data: p.data.clone(),
        }
    }
}

/// Engine to daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum FromEngine {
    /// The format of an output track; precedes its packets.
    Track(Arc<Track>),
    /// An access unit: of pictures number `number` of the frame grid, of sound number `number` of the AAC grid.
    Packet {
        /// The output track.
        track: TrackId,
        /// Its place on the grid since 1970.
        number: i64,
        /// Whether decoding can begin here.
        key: bool,
        /// The payload.
        data: Bytes,
    },
    /// How the engine is, ten times a second.
    Report(Box<Report>),
    /// A JPEG file.
    Preview(Bytes),
    /// A line for the daemon's log.
    Log {
        /// Whether it is worth a warning.
        warn: bool,
        /// The line.
        text: String,
    },
    /// All output of an unpaced run is made.
    Done,
    /// An access unit of a room's track. Crosses on a socket of its own, so that nothing else can hold it back.
    Room {
        /// The output track.
        track: TrackId,
        /// When it is shown or sounds, on the event's timeline.
        pts: Ts,
        /// How long.
        duration: Dur,
        /// Whether decoding can begin here.
        key: bool,
        /// The payload.
        data: Bytes,
    },
    /// One Opus packet of a voice as it came, at its place in the programme.
    Stem {
        /// Whose.
        voice: VoiceId,
        /// When it sounds, on the event's timeline.
        pts: Ts,
        /// How long.
        duration: Dur,
        /// The packet.
        data: Bytes,
    },
}

/// The engine's state as it reports it. Counters count since the child began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Milliseconds that the longest codec call has been running.
    pub busy_ms: u32,
    /// Which stage that is.
    pub busy_stage: String,
    /// See [`super::Status`].
    pub video_input: bool,
    /// See [`super::Status`].
    pub audio_input: bool,
    /// See [`super::Status`].
    pub slate: bool,
    /// See [`super::Status::content`].
    pub content: Content,
    /// See [`super::Status::frames_repeated`].
    pub repeated: u64,
    /// See [`super::Status::frames_dropped`].
    pub dropped: u64,
    /// See [`super::Status::frames_overload`].
    pub overload: u64,
    /// See [`super::Status::corrupt`].
    pub corrupt: u64,
    /// See [`super::Status::levels`].
    pub levels: Vec<Level>,
    /// See [`super::Status::voices`].
    pub voices: Vec<(VoiceId, VoiceReport)>,
    /// See [`super::Status::outputs`].
    pub outputs: Vec<OutputLevel>,
    /// See [`super::Status::mix_cpu`].
    pub mix_cpu: MixCpu,
    /// See [`super::Status::mixes_late`].
    pub mixes_late: u64,
    /// See [`super::Status::room_dropped`].
    pub room_dropped: u64,
    /// See [`super::Status::sound_match`].
    pub sound_match: Option<SoundMatch>,
    /// See [`super::Status::sounds_dropped`].
    pub sounds_dropped: u64,
}

/// A message ready to be written: `head`, then `tail`, so that a payload is not copied.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Length, kind and fields.
    pub head: Vec<u8>,
    /// The payload.
    pub tail: Bytes,
}

/// Checks a length field.
///
/// # Errors
/// [`ProtocolError::Length`] outside `1..=`[`MAX_MESSAGE`].
pub fn check_length(length: u32) -> Result<usize, ProtocolError> {
    let n = length as usize;
    if n == 0 || n > MAX_MESSAGE { Err(ProtocolError::Length(n)) } else { Ok(n) }
}

impl Start {
    /// The clock that the daemon reads.
    pub fn clock(&self) -> SystemClock {
        SystemClock::with_anchor(self.config.clock_anchor)
    }

    /// The first access unit to make of an output track.
    pub fn first(&self, id: TrackId) -> i64 {
        self.resume.iter().find(|(track, _)| *track == id).map_or(0, |&(_, number)| number)
    }
}

impl ToEngine {
    /// As written to the socket.
    pub fn encode(&self) -> Frame {
        match self {
            ToEngine::Start(s) => {
                let mut w = Writer::new(1);
                write_start(&mut w, s);
                w.end()
            }
            ToEngine::Track(t) => {
                let mut w = Writer::new(2);
                write_track(&mut w, t);
                w.end()
            }
            ToEngine::Packet(p) => {
                let mut w = Writer::new(3);
                write_packet(&mut w, p);
                w.end_with(p.data.clone())
            }
            ToEngine::Live => Writer::new(4).end(),
            ToEngine::Ping => Writer::new(5).end(),
            ToEngine::End => Writer::new(6).end(),
            ToEngine::Voice(p) => {
                let mut w = Writer::new(7);
                write_voice(&mut w, p);
                w.end_with(p.data.clone())
            }
            ToEngine::Plan(p) => {
                let mut w = Writer::new(8);
                write_plan(&mut w, p);
                w.end()
            }
            ToEngine::Audio { specs, first } => {
                let mut w = Writer::new(9);
                write_audio(&mut w, specs);
                write_numbers(&mut w, first);
                w.end()
            }
            ToEngine::Rooms(rooms) => {
                let mut w = Writer::new(10);
                w.bool(rooms.video).bool(rooms.realtime.is_some());
                w.list(rooms.realtime.as_deref().unwrap_or_default(), |w, id| {
                    w.u16(id.0);
                });
                w.end()
            }
            ToEngine::KeyFrame => Writer::new(11).end(),
            ToEngine::SoundTrack(input, t) => {
                let mut w = Writer::new(12);
                write_input(&mut w, *input);
                write_track(&mut w, t);
                w.end()
            }
            ToEngine::Sound(input, p) => {
                let mut w = Writer::new(13);
                write_input(&mut w, *input);
                write_packet(&mut w, p);
                w.end_with(p.data.clone())
            }
        }
    }

    /// Reads a message without its length field.
    ///
    /// # Errors
    /// Any [`ProtocolError`].
    pub fn decode(message: Bytes) -> Result<ToEngine, ProtocolError> {
        let mut r = Reader(message);
        Ok(match r.u8()? {
            1 => {
                let start = read_start(&mut r)?;
                r.end(ToEngine::Start(Box::new(start)))?
            }
            2 => {
                let track = read_track(&mut r)?;
                r.end(ToEngine::Track(track))?
            }
            3 => ToEngine::Packet(read_packet(&mut r)?),
            4 => r.end(ToEngine::Live)?,
            5 => r.end(ToEngine::Ping)?,
            6 => r.end(ToEngine::End)?,
            7 => ToEngine::Voice(read_voice(&mut r)?),
            8 => {
                let plan = read_plan(&mut r)?;
                r.end(ToEngine::Plan(plan))?
            }
            9 => {
                let (specs, first) = (read_audio(&mut r)?, read_numbers(&mut r)?);
                r.end(ToEngine::Audio { specs, first })?
            }
            10 => {
                let (video, has) = (r.bool()?, r.bool()?);
                let list = r.list("realtime mixes", |r| Ok(TrackId(r.u16()?)))?;
                r.end(ToEngine::Rooms(Rooms { video, realtime: has.then_some(list) }))?
            }
            11 => r.end(ToEngine::KeyFrame)?,
            12 => {
                let (input, track) = (read_input(&mut r)?, read_track(&mut r)?);
                r.end(ToEngine::SoundTrack(input, track))?
            }
            13 => ToEngine::Sound(read_input(&mut r)?, read_packet(&mut r)?),
            _ => return Err(ProtocolError::Unknown("kind")),
        })
    }
}

impl FromEngine {
    /// As written to the socket.
    pub fn encode(&self) -> Frame {
        match self {
            FromEngine::Track(t) => {
                let mut w = Writer::new(1);
                write_track(&mut w, t);
                w.end()
            }
            FromEngine::Packet { track, number, key, data } => {
                let mut w = Writer::new(2);
                w.u16(track.0).i64(*number).bool(*key);
                w.end_with(data.clone())
            }
            FromEngine::Report(s) => {
                let mut w = Writer::new(3);
                w.u32(s.busy_ms).text(&s.busy_stage).bool(s.video_input).bool(s.audio_input).bool(s.slate);
                write_content(&mut w, &s.content);
                w.u64(s.repeated).u64(s.dropped).u64(s.overload).u64(s.corrupt);
                w.list(&s.levels, |w, l| {
                    w.u16(l.track).f32(l.peak_db).f32(l.rms_db);
                });
                write_reports(&mut w, &s.voices);
                write_outputs(&mut w, &s.outputs);
                write_cpu(&mut w, &s.mix_cpu);
                w.u64(s.mixes_late).u64(s.room_dropped);
                write_match(&mut w, s.sound_match);
                w.u64(s.sounds_dropped);
                w.end()
            }
            FromEngine::Preview(jpeg) => Writer::new(4).end_with(jpeg.clone()),
            FromEngine::Log { warn, text } => {
                let mut w = Writer::new(5);
                w.bool(*warn).text(text);
                w.end()
            }
            FromEngine::Done => Writer::new(6).end(),
            FromEngine::Room { track, pts, duration, key, data } => {
                let mut w = Writer::new(7);
                w.u16(track.0).i64(pts.flicks()).i64(duration.flicks()).bool(*key);
                w.end_with(data.clone())
            }
            FromEngine::Stem { voice, pts, duration, data } => {
                let mut w = Writer::new(8);
                w.u32(voice.0).i64(pts.flicks()).i64(duration.flicks());
                w.end_with(data.clone())
            }
        }
    }

    /// Reads a message without its length field.
    ///
    /// # Errors
    /// Any [`ProtocolError`].
    pub fn decode(message: Bytes) -> Result<FromEngine, ProtocolError> {
        let mut r = Reader(message);
        Ok(match r.u8()? {
            1 => {
                let track = read_track(&mut r)?;
                r.end(FromEngine::Track(Arc::new(track)))?
            }
            2 => {
                let (track, number, key) = (TrackId(r.u16()?), r.i64()?, r.bool()?);
                FromEngine::Packet { track, number, key, data: r.rest() }
            }
            3 => {
                let (busy_ms, busy_stage) = (r.u32()?, r.text()?);
                let (video_input, audio_input, slate) = (r.bool()?, r.bool()?, r.bool()?);
                let content = read_content(&mut r)?;
                let (repeated, dropped, overload, corrupt) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                let levels =
                    r.list("levels", |r| Ok(Level { track: r.u16()?, peak_db: r.f32()?, rms_db: r.f32()? }))?;
                let (voices, outputs, mix_cpu) = (read_reports(&mut r)?, read_outputs(&mut r)?, read_cpu(&mut r)?);
                let (mixes_late, room_dropped) = (r.u64()?, r.u64()?);
                let (sound_match, sounds_dropped) = (read_match(&mut r)?, r.u64()?);
                r.end(FromEngine::Report(Box::new(Report {
                    busy_ms,
                    busy_stage,
                    video_input,
                    audio_input,
                    slate,
                    content,
                    repeated,
                    dropped,
                    overload,
                    corrupt,
                    levels,
                    voices,
                    outputs,
                    mix_cpu,
                    mixes_late,
                    room_dropped,
                    sound_match,
                    sounds_dropped,
                })))?
            }
            4 => FromEngine::Preview(r.rest()),
            5 => {
                let (warn, text) = (r.bool()?, r.text()?);
                r.end(FromEngine::Log { warn, text })?
            }
            6 => r.end(FromEngine::Done)?,
            7 => {
                let (track, pts, duration) = (TrackId(r.u16()?), Ts::from_flicks(r.i64()?), Dur::from_flicks(r.i64()?));
                FromEngine::Room { track, pts, duration, key: r.bool()?, data: r.rest() }
            }
            8 => {
                let (voice, pts, duration) = (VoiceId(r.u32()?), Ts::from_flicks(r.i64()?), Dur::from_flicks(r.i64()?));
                FromEngine::Stem { voice, pts, duration, data: r.rest() }
            }
            _ => return Err(ProtocolError::Unknown("kind")),
        })
    }
}

#[cfg(test)]
mod tests;
