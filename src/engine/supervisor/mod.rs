//! The daemon's side: starts the engine process, feeds it, watches it, replaces it.
//!
//! **Data flow.** Programme stream → [`History`] and the socket; socket → checked numbers → [`Output`].
//! Voices come by a ring that drops the oldest; plans, sound renditions and rooms are states: the latest is sent, and sent
//! again to the next child. What the rooms get comes by a socket of its own (the child's standard output), so that a slow
//! packager does not hold it back.
//! **Supervision.** The child reports ten times a second how long its longest codec call has been running; a call beyond
//! the limit, silence, an exit or a message that breaks the rules end it, and the next child continues with the access
//! unit after the last one received, fed from the history. Two deaths soon after the same input drop that input.
//! **A slow reader** of the output holds this task back, then the socket, then the child's encoders; only the time spent
//! waiting for the child counts as the child's silence.
//!
//! The child does not ask for a signal at its parent's death: that signal comes with the death of the *thread* that
//! started it, and a runtime may end threads. It exits when its socket closes.

mod feed;
mod rooms;

use super::history::History;
use super::protocol::{FromEngine, Report, Start, check_length};
use super::rooms::RoomStreams;
use super::{EngineConfig, Output, Preview, State, Status, Wishes, schedule};
use crate::hub;
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{
    AudioCodec, AudioFormat, Content, Dur, InputName, Media, Packet, SharedClock, Track, TrackId, Ts, VoicePacket,
};
use crate::task::Backoff;
use bytes::Bytes;
use feed::Feed;
use rooms::RoomCollector;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long [`super::Engine::stop`] waits; the child is killed, not asked.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Silence of the child that counts as a hang: twenty-five missed reports. Codec calls that hang are reported, so this is
/// for a process that is stopped as a whole.
const SILENCE_LIMIT: Duration = Duration::from_millis(2500);
/// As [`SILENCE_LIMIT`] until its first message: loading libav and opening encoders takes 60 ms on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How far an encoder may skip: what it is behind by when it does, and a segment.
const MOST_SKIPPED: Dur = Dur::from_secs(30);
/// A child that dies sooner than this after it was fed is taken to have died of what it was fed.
const POISON: Dur = Dur::from_secs(3);
/// Restarts at once after a run of this length; after shorter ones with growing waits.
const HEALTHY: Dur = Dur::from_secs(10);
/// Log lines of a child per [`LOG_WINDOW`]; the rest is counted. libav writes a line per broken macroblock.
const LOG_LINES: u32 = 20;
/// See [`LOG_LINES`].
const LOG_WINDOW: Dur = Dur::from_secs(10);
/// The longest line read from the child's standard error.
const LOG_LINE: u64 = 1000;
/// `OpusHead` (RFC 7845 §5.1) of a stem: version 1, one channel, no pre-skip that a reader must cut since packets carry
/// their place, 48 kHz, no gain, mapping family 0.
const OPUS_HEAD: Bytes = Bytes::from_static(b"OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00");

/// Why a session with a child ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("engine process could not be started: {0}")]
    Spawn(std::io::Error),
    #[error("engine process ended: {0}")]
    Gone(String),
    #[error("engine process was silent for {0} ms")]
    Silent(u128),
    #[error("engine hung for {0} ms in {1}")]
    Hung(u32, String),
    #[error("engine process broke the protocol: {0}")]
    Protocol(String),
    #[error("nobody takes the engine's output")]
    NoReader,
}

/// One output track over the lives of its engine processes.
struct Line {
    id: TrackId,
    video: bool,
    next: i64,
    track: Option<Arc<Track>>,
    /// Added while live, nothing came yet: its first number may lie further on.
    fresh: bool,
}

/// What connects the supervisor with its [`super::Engine`].
pub(super) struct Links {
    pub out: mpsc::Sender<Output>,
    pub rooms: RoomStreams,
    pub status: watch::Sender<Status>,
    pub preview: watch::Sender<Option<Preview>>,
    pub wishes: watch::Receiver<Wishes>,
    pub voices: broadcast::Receiver<VoicePacket>,
    pub sounds: broadcast::Receiver<(InputName, Packet)>,
}

/// See the module.
pub(super) struct Supervisor {
    clock: SharedClock,
    feed: Feed,
    collector: Collector,
    room: RoomCollector,
}

/// What becomes of the child's messages.
struct Collector {
    config: EngineConfig,
    clock: SharedClock,
    out: mpsc::Sender<Output>,
    status: watch::Sender<Status>,
    preview: watch::Sender<Option<Preview>>,
    lines: Vec<Line>,
    /// Counters of the children before this one.
    base: Report,
    last: Report,
    /// The slowest rung's number and when it was read, for the frame rate.
    pace: Option<(i64, Ts)>,
    log: LogLimit,
    wishes: watch::Receiver<Wishes>,
    /// The one track of all stems.
    stem: Arc<Track>,
}

impl Supervisor {
    /// Ready to [`Supervisor::run`].
    pub fn new(config: EngineConfig, programme: hub::Stream, links: Links, clock: SharedClock) -> Supervisor {
        let begin = schedule::begin(config.grid, clock.now(), config.delay);
        let line = |id, video, next| Line { id, video, next, track: None, fresh: false };
        let video = config.video.iter().map(|v| line(v.id, true, begin.video));
        let audio = config.audio.iter().map(|a| line(a.id, false, begin.audio));
        let stem = AudioFormat { codec: AudioCodec::Opus, config: OPUS_HEAD, sample_rate: 48_000, channels: 1 };
        let collector = Collector {
            lines: video.chain(audio).collect(),
            config: config.clone(),
            clock: clock.clone(),
            out: links.out,
            status: links.status,
            preview: links.preview,
            base: Report::default(),
            last: Report::default(),
            pace: None,
            log: LogLimit::default(),
            wishes: links.wishes.clone(),
            stem: Arc::new(Track { id: TrackId(0), media: Media::Audio(stem) }),
        };
        let room = RoomCollector { clock: clock.clone(), rooms: links.rooms, tracks: Vec::new() };
        let (wishes, voices, sounds) = (links.wishes, links.voices, links.sounds);
        let input = programme.subscribe(hub::Start::KeyFrame);
        let feed = Feed { config, clock: clock.clone(), input, history: History::default(), wishes, voices, sounds };
        Supervisor { clock, feed, collector, room }
    }

    /// Keeps a child running until cancelled, or until nobody takes the output.
    pub async fn run(mut self, token: CancellationToken) {
        let mut backoff = Backoff::new(Dur::from_millis(100), Dur::from_secs(5));
        let mut died_fed = false;
        loop {
            let began = self.clock.now();
            let error = tokio::select! {
                () = token.cancelled() => break,
                error = self.session() => error,
            };
            let lived = self.clock.now() - began;
            if matches!(error, SessionError::NoReader) {
                break;
            }
            tracing::warn!(event = %self.feed.config.event, %error, lived_ms = lived.as_millis(), "engine restarts");
            metrics::counter!("boothcast_engine_restarts_total", "event" => self.feed.config.event.clone())
                .increment(1);
            self.collector.child_gone(error.to_string());
            if lived < POISON && std::mem::replace(&mut died_fed, true) {
                self.feed.history.clear();
            }
            if lived >= POISON {
                died_fed = false;
            }
            if lived >= HEALTHY {
                backoff.reset();
                continue;
            }
            let wait = backoff.step(rand::random::<f64>());
            tokio::select! {
                () = token.cancelled() => break,
                () = self.clock.sleep_until(self.clock.now() + wait) => {}
            }
        }
        self.collector.status.send_modify(|s| {
            s.state = State::Stopped;
            s.pid = None;
        });
    }

    /// One child from start to end.
    async fn session(&mut self) -> SessionError {
        let Spawned { mut child, socket, rooms } = match spawn(&self.feed.config) {
            Ok(spawned) => spawned,
            Err(e) => return SessionError::Spawn(e),
        };
        let stderr = child.stderr.take();
        self.collector.child_started(child.id());
        let (read, write) = socket.into_split();
        let start = self.start_message();
        let error = {
            let log = forward_stderr(stderr, self.feed.config.event.clone(), self.clock.clone());
            let feed = self.feed.run(write, start);
            let collect = self.collector.collect(read);
            let room = self.room.collect(rooms);
            tokio::select! {
                error = collect => error,
                error = feed => error,
                error = room => error,
                () = log => SessionError::Gone("its output closed".to_owned()),
            }
        };
        let _ = child.start_kill();
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(Ok(status)) if matches!(error, SessionError::Gone(_)) => SessionError::Gone(status.to_string()),
            _ => error,
        }
    }

    fn start_message(&mut self) -> Start {
        let now = self.clock.now();
        let config = &mut self.feed.config;
        config.audio.clone_from(&self.feed.wishes.borrow().audio);
        self.collector.align(config, now);
        let made = |l: &&Line| config.video.iter().any(|v| v.id == l.id) || config.audio.iter().any(|a| a.id == l.id);
        let resume = self.collector.lines.iter().filter(made).map(|l| (l.id, l.next)).collect();
        Start { config: config.clone(), resume, paced: true }
    }
}

/// A child and our ends of its sockets.
struct Spawned {
    child: Child,
    socket: UnixStream,
    rooms: UnixStream,
}

fn spawn(config: &EngineConfig) -> std::io::Result<Spawned> {
    let pair = || {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        std::io::Result::Ok((ours, theirs))
    };
    let ((ours, theirs), (our_rooms, their_rooms)) = (pair()?, pair()?);
    // The running program itself, even when the file was replaced by an update.
    let program = config.program.clone().unwrap_or_else(|| "/proc/self/exe".into());
    let child = Command::new(program)
        .arg("engine")
        .env_clear()
        // Arenas per thread would reserve address space that the memory limit counts.
        .env("MALLOC_ARENA_MAX", "4")
        .envs(std::env::vars_os().filter(|(k, _)| k == "LD_LIBRARY_PATH" || k == "LIBVA_DRIVER_NAME"))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(their_rooms)))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(Spawned { child, socket: UnixStream::from_std(ours)?, rooms: UnixStream::from_std(our_rooms)? })
}

/// Reads one message; the length is checked before anything is allocated.
async fn receive(read: &mut (impl AsyncRead + Unpin)) -> Result<FromEngine, SessionError> {
    let gone = |e: std::io::Error| SessionError::Gone(e.to_string());
    let broke = |e: super::protocol::ProtocolError| SessionError::Protocol(e.to_string());
    let length = check_length(read.read_u32_le().await.map_err(gone)?).map_err(broke)?;
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.map_err(gone)?;
    FromEngine::decode(Bytes::from(body)).map_err(broke)
}

impl Collector {
    fn child_started(&mut self, pid: Option<u32>) {
        self.pace = None;
        self.status.send_modify(|s| {
            s.pid = pid;
            if s.state != State::Restarting {
                s.state = State::Starting;
            }
        });
    }

    fn child_gone(&mut self, error: String) {
        let last = std::mem::take(&mut self.last);
        self.base.repeated += last.repeated;
        self.base.dropped += last.dropped;
        self.base.overload += last.overload;
        self.base.corrupt += last.corrupt;
        self.base.mixes_late += last.mixes_late;
        self.base.room_dropped += last.room_dropped;
        self.base.sounds_dropped += last.sounds_dropped;
        self.status.send_modify(|s| {
            s.state = State::Restarting;
            s.pid = None;
            s.restarts += 1;
            // Nobody looks any more.
            s.content = Content::default();
            s.sound_match = None;
            s.last_error = Some(error);
        });
    }

    /// Takes messages until the session is over.
    async fn collect(&mut self, read: impl AsyncRead + Unpin) -> SessionError {
        let mut read = BufReader::with_capacity(256 << 10, read);
        let mut limit = START_LIMIT;
        loop {
            let message = match tokio::time::timeout(limit, receive(&mut read)).await {
                Ok(Ok(message)) => message,
                Ok(Err(e)) => return e,
                Err(_) => return SessionError::Silent(limit.as_millis()),
            };
            limit = SILENCE_LIMIT;
            if let Err(e) = self.take(message).await {
                return e;
            }
        }
    }

    async fn take(&mut self, message: FromEngine) -> Result<(), SessionError> {
        match message {
            FromEngine::Track(track) => self.track(track),
            FromEngine::Packet { track, number, key, data } => self.packet(track, number, key, data).await,
            FromEngine::Report(report) => self.report(*report),
            FromEngine::Preview(jpeg) => {
                let at = self.clock.now();
                self.preview.send_replace(Some(Preview { jpeg, at }));
                Ok(())
            }
            FromEngine::Log { warn, text } => {
                let event = &self.config.event;
                match self.log.admit(self.clock.now()) {
                    Some(0) if warn => tracing::warn!(%event, "{text}"),
                    Some(0) => tracing::info!(%event, "{text}"),
                    Some(skipped) => tracing::warn!(%event, skipped, "{text}"),
                    None => {}
                }
                Ok(())
            }
            FromEngine::Stem { voice, pts, duration, data } => {
                let arrival = self.clock.now();
                let (track, key, decode_only) = (self.stem.clone(), false, false);
                let packet = Packet { track, epoch: 0, dts: pts, pts, duration, key, decode_only, arrival, data };
                self.out.send(Output::Stem { voice, packet }).await.map_err(|_| SessionError::NoReader)
            }
            FromEngine::Room { .. } => Err(SessionError::Protocol("a room's packet on the wrong socket".to_owned())),
            FromEngine::Done => Err(SessionError::Protocol("end of a run that has no end".to_owned())),
        }
    }

    /// Lines for all that `config` makes, each at the number to go on with.
    fn align(&mut self, config: &EngineConfig, now: Ts) {
        let begin = schedule::begin(config.grid, now, config.delay);
        for a in &config.audio {
            if !self.lines.iter().any(|l| l.id == a.id) {
                self.lines.push(Line { id: a.id, video: false, next: begin.audio, track: None, fresh: false });
            }
        }
        for line in &mut self.lines {
            line.next = schedule::resume(config.grid, line.next, line.video, now, config.delay);
            line.fresh = false;
        }
    }

    /// Whether this is a sound rendition that was taken away, of which something may still be on its way; one that was
    /// added gets its line here.
    fn gone(&mut self, id: TrackId) -> bool {
        let wished = self.wishes.borrow().audio.iter().any(|a| a.id == id);
        match self.lines.iter_mut().find(|l| l.id == id) {
            Some(line) if line.video || wished => false,
            Some(line) => {
                line.fresh = true;
                true
            }
            None if wished => {
                let begin = schedule::begin(self.config.grid, self.clock.now(), self.config.delay);
                self.lines.push(Line { id, video: false, next: begin.audio, track: None, fresh: true });
                false
            }
            None => false,
        }
    }

    fn line(&mut self, id: TrackId) -> Result<&mut Line, SessionError> {
        let unknown = || SessionError::Protocol(format!("output on unknown track {}", id.0));
        self.lines.iter_mut().find(|l| l.id == id).ok_or_else(unknown)
    }

    fn track(&mut self, track: Arc<Track>) -> Result<(), SessionError> {
        if self.gone(track.id) {
            return Ok(());
        }
        let line = self.line(track.id)?;
        if line.video != track.is_video() {
            return Err(SessionError::Protocol(format!("track {} changed its kind", track.id.0)));
        }
        // The same format after a restart stays the same track: readers see no change.
        if line.track.as_deref() != Some(&*track) {
            line.track = Some(track);
        }
        Ok(())
    }

    async fn packet(&mut self, id: TrackId, number: i64, key: bool, data: Bytes) -> Result<(), SessionError> {
        if self.gone(id) {
            return Ok(());
        }
        let (grid, now) = (self.config.grid, self.clock.now());
        let present = grid.aac_number(now - self.config.delay);
        let line = self.line(id)?;
        // An encoder that is too slow goes on at a whole segment; what it has left out is a gap in the playlist.
        let per_segment = i64::from(grid.frames_per_segment());
        let skipped = line.video
            && key
            && number.rem_euclid(per_segment) == 0
            && (line.next..=line.next + MOST_SKIPPED.flicks() / grid.frame().flicks()).contains(&number);
        // A rendition that was added begins where its encoder was ready, near the present.
        let most = MOST_SKIPPED.flicks() / AAC_FRAME_DUR.flicks();
        let begun = line.fresh && !line.video && number >= line.next && (number - present).abs() <= most;
        let skipped = skipped || begun;
        if (number != line.next && !skipped) || data.is_empty() {
            return Err(SessionError::Protocol(format!("track {}: number {number} instead of {}", id.0, line.next)));
        }
        let Some(track) = line.track.clone() else {
            return Err(SessionError::Protocol(format!("track {}: no format", id.0)));
        };
        line.next = number + 1;
        line.fresh = false;
        let video = line.video;
        let (at, duration) =
            if video { (grid.frame_start(number), grid.frame()) } else { (grid.aac_start(number), AAC_FRAME_DUR) };
        if self.status.borrow().state != State::Running {
            self.status.send_modify(|s| s.state = State::Running);
        }
        let packet = Packet {
            track,
            epoch: 0,
            dts: at,
            pts: at,
            duration,
            key: key && video,
            decode_only: false,
            arrival: now,
            data,
        };
        self.out.send(Output::Packet(packet)).await.map_err(|_| SessionError::NoReader)
    }

    fn report(&mut self, report: Report) -> Result<(), SessionError> {
        if i64::from(report.busy_ms) > self.config.limits.hang.as_millis() {
            return Err(SessionError::Hung(report.busy_ms, report.busy_stage));
        }
        let now = self.clock.now();
        let slowest = self.lines.iter().filter(|l| l.video).map(|l| l.next).min();
        let fps = match (slowest, self.pace) {
            (Some(n), Some((n0, t0))) if now - t0 >= Dur::from_secs(1) => {
                self.pace = Some((n, now));
                Some((n - n0) as f64 / (now - t0).as_secs_f64())
            }
            (Some(n), None) => {
                self.pace = Some((n, now));
                None
            }
            _ => None,
        };
        let count = |name: &'static str, new: u64, old: u64| {
            let by = new.saturating_sub(old);
            if by > 0 {
                metrics::counter!(name, "event" => self.config.event.clone()).increment(by);
            }
        };
        count("boothcast_engine_frames_repeated_total", report.repeated, self.last.repeated);
        count("boothcast_engine_frames_dropped_total", report.dropped, self.last.dropped);
        count("boothcast_engine_frames_overload_total", report.overload, self.last.overload);
        count("boothcast_engine_corrupt_units_total", report.corrupt, self.last.corrupt);
        count("boothcast_engine_mixes_late_total", report.mixes_late, self.last.mixes_late);
        count("boothcast_engine_room_dropped_packets_total", report.room_dropped, self.last.room_dropped);
        count("boothcast_engine_sounds_dropped_packets_total", report.sounds_dropped, self.last.sounds_dropped);
        if let Some(fps) = fps {
            metrics::gauge!("boothcast_engine_output_fps", "event" => self.config.event.clone()).set(fps);
        }
        let base = &self.base;
        self.status.send_modify(|s| {
            s.levels.clone_from(&report.levels);
            s.video_input = report.video_input;
            s.audio_input = report.audio_input;
            s.slate = report.slate;
            s.content = report.content;
            s.sound_match = report.sound_match;
            s.output_fps = fps.unwrap_or(s.output_fps);
            s.frames_repeated = base.repeated + report.repeated;
            s.frames_dropped = base.dropped + report.dropped;
            s.frames_overload = base.overload + report.overload;
            s.corrupt = base.corrupt + report.corrupt;
            s.voices.clone_from(&report.voices);
            s.outputs.clone_from(&report.outputs);
            s.mix_cpu.clone_from(&report.mix_cpu);
            s.mixes_late = base.mixes_late + report.mixes_late;
            s.room_dropped = base.room_dropped + report.room_dropped;
            s.sounds_dropped = base.sounds_dropped + report.sounds_dropped;
        });
        self.last = report;
        Ok(())
    }
}

/// Lets some lines through and counts the rest.
#[derive(Debug, Default)]
struct LogLimit {
    since: Ts,
    lines: u32,
    skipped: u32,
}

impl LogLimit {
    /// How many lines were skipped before this one; none when this one is skipped too.
    fn admit(&mut self, now: Ts) -> Option<u32> {
        if now - self.since > LOG_WINDOW {
            self.since = now;
            self.lines = 0;
        }
        if self.lines >= LOG_LINES {
            self.skipped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

/// What the child writes to its standard error (a panic, a libc abort) goes to our log. Ends never, so that the end of a
/// session is read from the socket.
async fn forward_stderr(stderr: Option<ChildStderr>, event: String, clock: SharedClock) {
    let mut limit = LogLimit::default();
    if let Some(stderr) = stderr {
        let mut read = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut read).take(LOG_LINE).read_until(b'\n', &mut line).await {
                Ok(n) if n > 0 => {
                    if limit.admit(clock.now()).is_some() {
                        tracing::warn!(%event, "engine: {}", String::from_utf8_lossy(&line).trim_end());
                    }
                }
                _ => break,
            }
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
