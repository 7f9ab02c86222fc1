//! What crosses the socket pair between the daemon and the engine process.
//!
//! A message is a length (u32, little endian, of what follows), a kind (u8) and a body of fixed-width little-endian
//! fields; strings and byte strings carry a u32 length. Either side may be fed garbage by a broken peer: every length is
//! checked against a cap before anything is allocated, and decoding never panics.

use super::{AudioSpec, EngineConfig, Level, Limits, RungSpec, SlateConfig};
use crate::media::{
    AudioCodec, AudioFormat, Dur, Grid, Media, Packet, SystemClock, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use bytes::{Buf, Bytes};
use std::sync::Arc;

/// The longest message: a 16 MB access unit is an intra picture of a 4K mezzanine, ten times what an ingest may bring.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The longest decoder configuration: parameter sets are a few hundred bytes; 64 KB is what an RTMP header may carry.
pub const MAX_CONFIG: usize = 64 << 10;
/// The longest name, text or log line.
pub const MAX_TEXT: usize = 4 << 10;
/// The largest slate file.
pub const MAX_SLATE: usize = 8 << 20;
/// The most rungs or sound renditions of one event; also the most sound tracks with levels.
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
    Report(Report),
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

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }
    fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }
    fn bool(&mut self, v: bool) -> &mut Self {
        self.u8(u8::from(v))
    }
    fn u16(&mut self, v: u16) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn i64(&mut self, v: i64) -> &mut Self {
        self.u64(v as u64)
    }
    fn f32(&mut self, v: f32) -> &mut Self {
        self.u32(v.to_bits())
    }
    fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.u32(v.len() as u32);
        self.0.extend_from_slice(v);
        self
    }
    fn text(&mut self, v: &str) -> &mut Self {
        self.bytes(clip(v).as_bytes())
    }
    fn end(self) -> Frame {
        self.end_with(Bytes::new())
    }
    fn end_with(mut self, tail: Bytes) -> Frame {
        let n = (self.0.len() - 4 + tail.len()) as u32;
        self.0[..4].copy_from_slice(&n.to_le_bytes());
        Frame { head: self.0, tail }
    }
}

/// At most [`MAX_TEXT`] bytes of a string, cut between characters.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

struct Reader(Bytes);

impl Reader {
    fn need(&self, n: usize) -> Result<(), ProtocolError> {
        if self.0.remaining() < n { Err(ProtocolError::Short) } else { Ok(()) }
    }
    fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }
    fn bool(&mut self) -> Result<bool, ProtocolError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ProtocolError::Unknown("flag")),
        }
    }
    fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.need(2)?;
        Ok(self.0.get_u16_le())
    }
    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }
    fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }
    fn i64(&mut self) -> Result<i64, ProtocolError> {
        Ok(self.u64()? as i64)
    }
    fn f32(&mut self) -> Result<f32, ProtocolError> {
        Ok(f32::from_bits(self.u32()?))
    }
    fn size(&mut self, what: &'static str, most: usize) -> Result<usize, ProtocolError> {
        let size = self.u32()? as usize;
        if size > most { Err(ProtocolError::Size { what, size, most }) } else { Ok(size) }
    }
    fn bytes(&mut self, what: &'static str, most: usize) -> Result<Bytes, ProtocolError> {
        let n = self.size(what, most)?;
        self.need(n)?;
        Ok(self.0.split_to(n))
    }
    fn text(&mut self) -> Result<String, ProtocolError> {
        let bytes = self.bytes("text", MAX_TEXT)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| ProtocolError::Unknown("text encoding"))
    }
    /// A list whose items each take at least one byte, so that its length cannot ask for more than the message holds.
    fn list<T>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Reader) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let n = self.size(what, MAX_TRACKS)?;
        (0..n).map(|_| item(self)).collect()
    }
    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }
    fn end<T>(self, value: T) -> Result<T, ProtocolError> {
        if self.0.is_empty() { Ok(value) } else { Err(ProtocolError::Trailing(self.0.len())) }
    }
}

fn write_track(w: &mut Writer, track: &Track) {
    w.u16(track.id.0);
    match &track.media {
        Media::Video(v) => {
            let codec = match v.codec {
                VideoCodec::H264 => 0,
                VideoCodec::Hevc => 1,
                VideoCodec::Av1 => 2,
            };
            let (n, d) = v.frame_rate.unwrap_or((0, 0));
            w.u8(codec).u32(v.width).u32(v.height).u32(n).u32(d).bytes(&v.config);
        }
        Media::Audio(a) => {
            let codec = match a.codec {
                AudioCodec::Aac => 16,
                AudioCodec::Opus => 17,
                AudioCodec::Mp3 => 18,
                AudioCodec::Ac3 => 19,
            };
            w.u8(codec).u32(a.sample_rate).u8(a.channels).bytes(&a.config);
        }
    }
}

fn read_track(r: &mut Reader) -> Result<Track, ProtocolError> {
    let id = TrackId(r.u16()?);
    let codec = r.u8()?;
    let media = if codec < 16 {
        let codec = match codec {
            0 => VideoCodec::H264,
            1 => VideoCodec::Hevc,
            2 => VideoCodec::Av1,
            _ => return Err(ProtocolError::Unknown("video codec")),
        };
        let (width, height, n, d) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let frame_rate = (d != 0).then_some((n, d));
        Media::Video(VideoFormat { codec, width, height, frame_rate, config: r.bytes("configuration", MAX_CONFIG)? })
    } else {
        let codec = match codec {
            16 => AudioCodec::Aac,
            17 => AudioCodec::Opus,
            18 => AudioCodec::Mp3,
            19 => AudioCodec::Ac3,
            _ => return Err(ProtocolError::Unknown("audio codec")),
        };
        let (sample_rate, channels) = (r.u32()?, r.u8()?);
        Media::Audio(AudioFormat { codec, sample_rate, channels, config: r.bytes("configuration", MAX_CONFIG)? })
    };
    Ok(Track { id, media })
}

fn write_start(w: &mut Writer, s: &Start) {
    let c = &s.config;
    w.u32(c.grid.fps()).i64(c.clock_anchor.flicks()).i64(c.delay.flicks());
    w.u32(c.video.len() as u32);
    for v in &c.video {
        w.u16(v.id.0).text(&v.name).u32(v.width).u32(v.height).u32(v.bitrate);
        w.bool(v.profile.is_some()).text(v.profile.as_deref().unwrap_or("")).text(&v.preset).text(&v.encoder);
    }
    w.u32(c.audio.len() as u32);
    for a in &c.audio {
        w.u16(a.id.0).text(&a.name).u16(a.source).u32(a.bitrate);
    }
    for v in c.slate.colour {
        w.u8(v);
    }
    w.text(&c.slate.text).bool(c.slate.picture.is_some());
    w.bytes(c.slate.picture.as_deref().unwrap_or(&[])).i64(c.slate.after.flicks());
    w.u64(c.limits.memory).i64(c.limits.hang.flicks()).bool(c.preview).bool(s.paced);
    w.u32(s.resume.len() as u32);
    for (id, number) in &s.resume {
        w.u16(id.0).i64(*number);
    }
}

fn read_start(r: &mut Reader) -> Result<Start, ProtocolError> {
    let grid = Grid::new(r.u32()?).ok_or(ProtocolError::Unknown("frame rate"))?;
    let (clock_anchor, delay) = (Dur::from_flicks(r.i64()?), Dur::from_flicks(r.i64()?));
    let video = r.list("rungs", |r| {
        let (id, name) = (TrackId(r.u16()?), r.text()?);
        let (width, height, bitrate) = (r.u32()?, r.u32()?, r.u32()?);
        let size = width.max(height) as usize;
        if size > MAX_DIMENSION as usize {
            return Err(ProtocolError::Size { what: "picture", size, most: MAX_DIMENSION as usize });
        }
        let (has, profile) = (r.bool()?, r.text()?);
        let profile = has.then_some(profile);
        Ok(RungSpec { id, name, width, height, bitrate, profile, preset: r.text()?, encoder: r.text()? })
    })?;
    let audio = r.list("sound renditions", |r| {
        Ok(AudioSpec { id: TrackId(r.u16()?), name: r.text()?, source: r.u16()?, bitrate: r.u32()? })
    })?;
    let colour = [r.u8()?, r.u8()?, r.u8()?];
    let (text, has) = (r.text()?, r.bool()?);
    let picture = r.bytes("slate", MAX_SLATE)?;
    let slate = SlateConfig { colour, text, picture: has.then_some(picture), after: Dur::from_flicks(r.i64()?) };
    let limits = Limits { memory: r.u64()?, hang: Dur::from_flicks(r.i64()?) };
    let (preview, paced) = (r.bool()?, r.bool()?);
    let resume = r.list("resume points", |r| Ok((TrackId(r.u16()?), r.i64()?)))?;
    let config = EngineConfig {
        event: String::new(),
        grid,
        clock_anchor,
        delay,
        video,
        audio,
        slate,
        limits,
        preview,
        program: None,
    };
    Ok(Start { config, resume, paced })
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
                w.u16(p.track.0).u32(p.epoch).i64(p.dts.flicks()).i64(p.pts.flicks()).bool(p.key).bool(p.decode_only);
                w.end_with(p.data.clone())
            }
            ToEngine::Live => Writer::new(4).end(),
            ToEngine::Ping => Writer::new(5).end(),
            ToEngine::End => Writer::new(6).end(),
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
            3 => {
                let (track, epoch) = (TrackId(r.u16()?), r.u32()?);
                let (dts, pts) = (Ts::from_flicks(r.i64()?), Ts::from_flicks(r.i64()?));
                let (key, decode_only) = (r.bool()?, r.bool()?);
                ToEngine::Packet(InPacket { track, epoch, dts, pts, key, decode_only, data: r.rest() })
            }
            4 => r.end(ToEngine::Live)?,
            5 => r.end(ToEngine::Ping)?,
            6 => r.end(ToEngine::End)?,
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
                w.u64(s.repeated).u64(s.dropped).u64(s.overload).u64(s.corrupt);
                let levels = &s.levels[..s.levels.len().min(MAX_TRACKS)];
                w.u32(levels.len() as u32);
                for l in levels {
                    w.u16(l.track).f32(l.peak_db).f32(l.rms_db);
                }
                w.end()
            }
            FromEngine::Preview(jpeg) => Writer::new(4).end_with(jpeg.clone()),
            FromEngine::Log { warn, text } => {
                let mut w = Writer::new(5);
                w.bool(*warn).text(text);
                w.end()
            }
            FromEngine::Done => Writer::new(6).end(),
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
                let (repeated, dropped, overload, corrupt) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                let levels =
                    r.list("levels", |r| Ok(Level { track: r.u16()?, peak_db: r.f32()?, rms_db: r.f32()? }))?;
                r.end(FromEngine::Report(Report {
                    busy_ms,
                    busy_stage,
                    video_input,
                    audio_input,
                    slate,
                    repeated,
                    dropped,
                    overload,
                    corrupt,
                    levels,
                }))?
            }
            4 => FromEngine::Preview(r.rest()),
            5 => {
                let (warn, text) = (r.bool()?, r.text()?);
                r.end(FromEngine::Log { warn, text })?
            }
            6 => r.end(FromEngine::Done)?,
            _ => return Err(ProtocolError::Unknown("kind")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(frame: Frame) -> Bytes {
        let n = u32::from_le_bytes(frame.head[..4].try_into().expect("four bytes")) as usize;
        assert_eq!(n, frame.head.len() - 4 + frame.tail.len());
        check_length(n as u32).expect("within bounds");
        [&frame.head[4..], &frame.tail[..]].concat().into()
    }

    fn track() -> impl Strategy<Value = Track> {
        let config = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let video = (0..3usize, config.clone(), any::<u32>(), any::<u32>(), any::<u32>(), 0..5u32).prop_map(
            |(c, config, width, height, n, d)| {
                Media::Video(VideoFormat {
                    codec: [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1][c],
                    config,
                    width,
                    height,
                    frame_rate: (d != 0).then_some((n, d)),
                })
            },
        );
        let audio = (0..4usize, config, any::<u32>(), any::<u8>()).prop_map(|(c, config, sample_rate, channels)| {
            let codec = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3, AudioCodec::Ac3][c];
            Media::Audio(AudioFormat { codec, config, sample_rate, channels })
        });
        (any::<u16>(), prop_oneof![video, audio]).prop_map(|(id, media)| Track { id: TrackId(id), media })
    }

    fn start() -> impl Strategy<Value = Start> {
        let rung = (any::<u16>(), "[a-z0-9]{0,9}", 0..=MAX_DIMENSION, any::<u32>(), any::<bool>()).prop_map(
            |(id, name, width, bitrate, profile)| {
                let mut r = RungSpec::new(TrackId(id), &name, width, width / 2, bitrate);
                r.profile = profile.then(|| "main".to_owned());
                r
            },
        );
        let sound = (any::<u16>(), ".{0,9}", any::<u16>(), any::<u32>())
            .prop_map(|(id, name, source, bitrate)| AudioSpec { id: TrackId(id), name, source, bitrate });
        let slate = (any::<[u8; 3]>(), ".{0,40}", proptest::option::of(any::<[u8; 30]>()), any::<i64>()).prop_map(
            |(colour, text, picture, after)| SlateConfig {
                colour,
                text,
                picture: picture.map(|p| Bytes::copy_from_slice(&p)),
                after: Dur::from_flicks(after),
            },
        );
        let lists = (
            proptest::collection::vec(rung, 0..6),
            proptest::collection::vec(sound, 0..6),
            proptest::collection::vec((any::<u16>().prop_map(TrackId), any::<i64>()), 0..9),
        );
        (0..5usize, any::<[i64; 3]>(), any::<u64>(), lists, slate, any::<[bool; 2]>()).prop_map(
            |(fps, [anchor, delay, hang], memory, (video, audio, resume), slate, [preview, paced])| Start {
                config: EngineConfig {
                    event: String::new(),
                    grid: Grid::new(crate::media::grid::FRAME_RATES[fps]).expect("listed"),
                    clock_anchor: Dur::from_flicks(anchor),
                    delay: Dur::from_flicks(delay),
                    video,
                    audio,
                    slate,
                    limits: Limits { memory, hang: Dur::from_flicks(hang) },
                    preview,
                    program: None,
                },
                resume,
                paced,
            },
        )
    }

    proptest! {
        #[test]
        fn starts_and_tracks_survive_the_wire(s in start(), t in track()) {
            match ToEngine::decode(body(ToEngine::Start(Box::new(s.clone())).encode())) {
                Ok(ToEngine::Start(got)) => prop_assert_eq!(*got, s),
                other => prop_assert!(false, "{:?}", other),
            }
            match ToEngine::decode(body(ToEngine::Track(t.clone()).encode())) {
                Ok(ToEngine::Track(got)) => prop_assert_eq!(&got, &t),
                other => prop_assert!(false, "{:?}", other),
            }
            let out = FromEngine::Track(Arc::new(t));
            prop_assert_eq!(FromEngine::decode(body(out.encode())), Ok(out));
        }

        #[test]
        fn packets_and_reports_survive_the_wire(
            id: u16, n: i64, m: i64, key: bool, only: bool, counters: [u64; 4],
            data in proptest::collection::vec(any::<u8>(), 0..500),
            levels in proptest::collection::vec((any::<u16>(), -120f32..0.0, -120f32..0.0), 0..9),
            text in ".{0,100}",
        ) {
            let data = Bytes::from(data);
            let p = InPacket {
                track: TrackId(id), epoch: id.into(), dts: Ts::from_flicks(n), pts: Ts::from_flicks(m), key,
                decode_only: only, data: data.clone(),
            };
            match ToEngine::decode(body(ToEngine::Packet(p.clone()).encode())) {
                Ok(ToEngine::Packet(got)) => prop_assert_eq!(got, p),
                other => prop_assert!(false, "{:?}", other),
            }
            let [repeated, dropped, overload, corrupt] = counters;
            let levels = levels.into_iter().map(|(track, peak_db, rms_db)| Level { track, peak_db, rms_db }).collect();
            let report = Report {
                busy_ms: id.into(), busy_stage: text.clone(), video_input: key, audio_input: only, slate: key,
                repeated, dropped, overload, corrupt, levels,
            };
            for m in [
                FromEngine::Packet { track: TrackId(id), number: n, key, data: data.clone() },
                FromEngine::Report(report),
                FromEngine::Preview(data),
                FromEngine::Log { warn: key, text },
                FromEngine::Done,
            ] {
                prop_assert_eq!(FromEngine::decode(body(m.encode())), Ok(m));
            }
        }

        #[test]
        fn garbage_never_panics(mut data in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..8) {
            let _ = ToEngine::decode(data.clone().into());
            let _ = FromEngine::decode(data.clone().into());
            if let Some(first) = data.first_mut() {
                *first = kind;
            }
            let _ = ToEngine::decode(data.clone().into());
            let _ = FromEngine::decode(data.into());
        }

        #[test]
        fn a_cut_message_is_an_error(s in start(), cut in 1usize..40) {
            let whole = body(ToEngine::Start(Box::new(s)).encode());
            let n = whole.len().saturating_sub(cut);
            prop_assert!(ToEngine::decode(whole.slice(..n)).is_err());
        }
    }

    #[test]
    fn sizes_are_capped_before_anything_is_allocated() {
        assert_eq!(check_length(0), Err(ProtocolError::Length(0)));
        assert!(check_length(u32::MAX).is_err());
        let mut w = Writer::new(5);
        w.bool(true).u32(u32::MAX);
        assert!(matches!(FromEngine::decode(body(w.end())), Err(ProtocolError::Size { what: "text", .. })));
        let long = "é".repeat(MAX_TEXT);
        let log = FromEngine::Log { warn: false, text: long };
        assert!(
            matches!(FromEngine::decode(body(log.encode())), Ok(FromEngine::Log { text, .. }) if text.len() <= MAX_TEXT)
        );
    }
}
