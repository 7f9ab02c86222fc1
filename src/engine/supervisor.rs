//! The daemon's side: starts the engine process, feeds it, watches it, replaces it.
//!
//! **Data flow.** Programme stream → [`History`] and the socket; socket → checked numbers → [`Output`].
//! **Supervision.** The child reports ten times a second how long its longest codec call has been running; a call beyond
//! the limit, silence, an exit or a message that breaks the rules end it, and the next child continues with the access
//! unit after the last one received, fed from the history. Two deaths soon after the same input drop that input.
//! **A slow reader** of the output holds this task back, then the socket, then the child's encoders; only the time spent
//! waiting for the child counts as the child's silence.
//!
//! The child does not ask for a signal at its parent's death: that signal comes with the death of the *thread* that
//! started it, and a runtime may end threads. It exits when its socket closes.

use super::history::History;
use super::protocol::{FromEngine, InPacket, Report, Start, ToEngine, check_length};
use super::schedule::{self, CATCH_UP, MIN_VIDEO_DELAY};
use super::{EngineConfig, Output, Preview, State, Status};
use crate::hub::{self, RecvError, Subscriber};
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{Dur, Packet, SharedClock, Track, TrackId, Ts};
use crate::task::Backoff;
use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long [`super::Engine::stop`] waits; the child is killed, not asked.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Silence of the child that counts as a hang: twenty-five missed reports. Codec calls that hang are reported, so this is
/// for a process that is stopped as a whole.
const SILENCE_LIMIT: Duration = Duration::from_millis(2500);
/// As [`SILENCE_LIMIT`] until its first message: loading libav and opening encoders takes 60 ms on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How often the child is told that the daemon lives.
const PING: Duration = Duration::from_millis(500);
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
}

/// See the module.
pub struct Supervisor {
    config: EngineConfig,
    clock: SharedClock,
    input: Subscriber,
    history: History,
    collector: Collector,
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
}

impl Supervisor {
    /// Ready to [`Supervisor::run`].
    pub fn new(
        config: EngineConfig,
        programme: hub::Stream,
        out: mpsc::Sender<Output>,
        clock: SharedClock,
        status: watch::Sender<Status>,
        preview: watch::Sender<Option<Preview>>,
    ) -> Supervisor {
        let begin = schedule::begin(config.grid, clock.now(), config.delay);
        let video = config.video.iter().map(|v| Line { id: v.id, video: true, next: begin.video, track: None });
        let audio = config.audio.iter().map(|a| Line { id: a.id, video: false, next: begin.audio, track: None });
        let collector = Collector {
            lines: video.chain(audio).collect(),
            config: config.clone(),
            clock: clock.clone(),
            out,
            status,
            preview,
            base: Report::default(),
            last: Report::default(),
            pace: None,
            log: LogLimit::default(),
        };
        let input = programme.subscribe(hub::Start::KeyFrame);
        Supervisor { config, clock, input, history: History::default(), collector }
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
            tracing::warn!(event = %self.config.event, %error, lived_ms = lived.as_millis(), "engine restarts");
            metrics::counter!("boothcast_engine_restarts_total", "event" => self.config.event.clone()).increment(1);
            self.collector.child_gone(error.to_string());
            if lived < POISON && std::mem::replace(&mut died_fed, true) {
                self.history.clear();
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
        let (mut child, socket) = match spawn(&self.config) {
            Ok(pair) => pair,
            Err(e) => return SessionError::Spawn(e),
        };
        let stderr = child.stderr.take();
        self.collector.child_started(child.id());
        let (read, write) = socket.into_split();
        let start = self.start_message();
        let error = {
            let feed = feed(write, start, &mut self.input, &mut self.history, &self.config, &self.clock);
            let collect = self.collector.collect(read);
            let log = forward_stderr(stderr, self.config.event.clone(), self.clock.clone());
            tokio::select! {
                error = collect => error,
                error = feed => error,
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
        for line in &mut self.collector.lines {
            line.next = schedule::resume(self.config.grid, line.next, line.video, now, self.config.delay);
        }
        let resume = self.collector.lines.iter().map(|l| (l.id, l.next)).collect();
        Start { config: self.config.clone(), resume, paced: true }
    }
}

fn spawn(config: &EngineConfig) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
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
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), message: &ToEngine) -> std::io::Result<()> {
    let frame = message.encode();
    socket.write_all(&frame.head).await?;
    socket.write_all(&frame.tail).await
}

/// Writes packets, preceded by the format of their track where the child does not know it yet.
struct Feeder<W> {
    socket: BufWriter<W>,
    known: Vec<Arc<Track>>,
}

impl<W: AsyncWrite + Unpin> Feeder<W> {
    async fn packet(&mut self, packet: &Packet) -> std::io::Result<()> {
        let known = self.known.iter_mut().find(|t| t.id == packet.track.id);
        if known.as_ref().is_none_or(|t| !Arc::ptr_eq(t, &packet.track)) {
            send(&mut self.socket, &ToEngine::Track((*packet.track).clone())).await?;
            match known {
                Some(slot) => *slot = packet.track.clone(),
                None => self.known.push(packet.track.clone()),
            }
        }
        send(&mut self.socket, &ToEngine::Packet(InPacket::from(packet))).await
    }
}

/// Sends what to make, what was kept, and then the programme as it comes.
async fn feed(
    write: impl AsyncWrite + Unpin,
    start: Start,
    input: &mut Subscriber,
    history: &mut History,
    config: &EngineConfig,
    clock: &SharedClock,
) -> SessionError {
    let gone = |e: std::io::Error| SessionError::Gone(e.to_string());
    let needed = || clock.now() - config.delay.max(MIN_VIDEO_DELAY) - CATCH_UP;
    let mut feeder = Feeder { socket: BufWriter::with_capacity(256 << 10, write), known: Vec::new() };
    let sent: std::io::Result<bool> = async {
        send(&mut feeder.socket, &ToEngine::Start(Box::new(start))).await?;
        // What waits in the hub belongs to what the child must know before its output begins.
        let mut ended = false;
        loop {
            match input.try_recv() {
                Ok(Some(packet)) => history.push(packet, needed()),
                Ok(None) => break,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Ended) => {
                    ended = true;
                    break;
                }
            }
        }
        for packet in history.packets() {
            feeder.packet(packet).await?;
        }
        send(&mut feeder.socket, &ToEngine::Live).await?;
        feeder.socket.flush().await?;
        Ok(ended)
    }
    .await;
    let mut ended = match sent {
        Ok(ended) => ended,
        Err(e) => return gone(e),
    };
    let mut ping = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            _ = ping.tick() => None,
            message = input.recv(), if !ended => Some(message),
        };
        let written = match message {
            None => send(&mut feeder.socket, &ToEngine::Ping).await,
            Some(Ok(packet)) => {
                let written = feeder.packet(&packet).await;
                history.push(packet, needed());
                written
            }
            Some(Err(RecvError::Lagged(lag))) => {
                tracing::warn!(event = %config.event, packets = lag.packets, "engine lagged behind the programme");
                metrics::counter!("boothcast_engine_input_lost_packets_total", "event" => config.event.clone())
                    .increment(lag.packets);
                Ok(())
            }
            Some(Err(RecvError::Ended)) => {
                ended = true;
                Ok(())
            }
        };
        let flushed = match written {
            Ok(()) => feeder.socket.flush().await,
            Err(e) => Err(e),
        };
        if let Err(e) = flushed {
            return gone(e);
        }
    }
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
        self.status.send_modify(|s| {
            s.state = State::Restarting;
            s.pid = None;
            s.restarts += 1;
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
            FromEngine::Report(report) => self.report(report),
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
            FromEngine::Done => Err(SessionError::Protocol("end of a run that has no end".to_owned())),
        }
    }

    fn line(&mut self, id: TrackId) -> Result<&mut Line, SessionError> {
        let unknown = || SessionError::Protocol(format!("output on unknown track {}", id.0));
        self.lines.iter_mut().find(|l| l.id == id).ok_or_else(unknown)
    }

    fn track(&mut self, track: Arc<Track>) -> Result<(), SessionError> {
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
        let (grid, now) = (self.config.grid, self.clock.now());
        let line = self.line(id)?;
        if number != line.next || data.is_empty() {
            return Err(SessionError::Protocol(format!("track {}: number {number} instead of {}", id.0, line.next)));
        }
        let Some(track) = line.track.clone() else {
            return Err(SessionError::Protocol(format!("track {}: no format", id.0)));
        };
        line.next += 1;
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
        if let Some(fps) = fps {
            metrics::gauge!("boothcast_engine_output_fps", "event" => self.config.event.clone()).set(fps);
        }
        let base = &self.base;
        self.status.send_modify(|s| {
            s.levels.clone_from(&report.levels);
            s.video_input = report.video_input;
            s.audio_input = report.audio_input;
            s.slate = report.slate;
            s.output_fps = fps.unwrap_or(s.output_fps);
            s.frames_repeated = base.repeated + report.repeated;
            s.frames_dropped = base.dropped + report.dropped;
            s.frames_overload = base.overload + report.overload;
            s.corrupt = base.corrupt + report.corrupt;
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
mod tests {
    use super::*;
    use crate::engine::{AudioSpec, Limits, RungSpec, SlateConfig};
    use crate::media::{AudioCodec, AudioFormat, Clock, Grid, Media, SystemClock};

    fn collector() -> (Collector, mpsc::Receiver<Output>) {
        let clock = SystemClock::new();
        let config = EngineConfig {
            event: "e".into(),
            grid: Grid::new(25).expect("rate"),
            clock_anchor: clock.anchor(),
            delay: Dur::ZERO,
            video: vec![RungSpec::new(TrackId(0), "360p", 640, 360, 600_000)],
            audio: vec![AudioSpec { id: TrackId(10), name: "floor".into(), source: 0, bitrate: 128_000 }],
            slate: SlateConfig::default(),
            limits: Limits::default(),
            preview: false,
            program: None,
        };
        let (out, rx) = mpsc::channel(8);
        let programme = hub::stream(hub::Limits::default()).1;
        let (status, preview) = (watch::channel(Status::default()).0, watch::channel(None).0);
        let s = Supervisor::new(config, programme, out, Arc::new(clock), status, preview);
        (s.collector, rx)
    }

    fn aac(id: u16, config: &'static [u8]) -> FromEngine {
        let config = Bytes::from_static(config);
        let media = Media::Audio(AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 });
        FromEngine::Track(Arc::new(Track { id: TrackId(id), media }))
    }

    #[tokio::test]
    async fn a_child_that_breaks_the_rules_is_not_believed() {
        let (mut c, mut rx) = collector();
        let next = c.lines[1].next;
        let packet = |track, number| FromEngine::Packet {
            track: TrackId(track),
            number,
            key: true,
            data: Bytes::from_static(b"x"),
        };
        let protocol = |r: Result<(), SessionError>| assert!(matches!(r, Err(SessionError::Protocol(_))), "{r:?}");
        protocol(c.take(packet(10, next)).await);
        protocol(c.take(aac(0, b"a")).await);
        protocol(c.take(aac(77, b"a")).await);
        c.take(aac(10, b"a")).await.expect("known track");
        protocol(c.take(packet(10, next + 1)).await);
        protocol(c.take(packet(10, i64::MAX)).await);
        c.take(packet(10, next)).await.expect("the number expected");
        protocol(c.take(packet(10, next)).await);
        let Output::Packet(p) = rx.recv().await.expect("packet");
        assert!(!p.key && p.pts == c.config.grid.aac_start(next) && p.dts == p.pts);
        // The same format again, as after a restart, is the same track; another is another.
        c.take(aac(10, b"a")).await.expect("same");
        c.take(packet(10, next + 1)).await.expect("next");
        let Output::Packet(q) = rx.recv().await.expect("packet");
        assert!(Arc::ptr_eq(&p.track, &q.track));
        c.take(aac(10, b"b")).await.expect("other");
        c.take(packet(10, next + 2)).await.expect("next");
        let Output::Packet(q) = rx.recv().await.expect("packet");
        assert!(!Arc::ptr_eq(&p.track, &q.track));
    }

    #[tokio::test]
    async fn a_long_codec_call_is_a_hang_and_counters_run_over_restarts() {
        let (mut c, _rx) = collector();
        let report = Report { busy_ms: 100, repeated: 5, ..Report::default() };
        c.take(FromEngine::Report(report.clone())).await.expect("fine");
        c.child_gone("killed".into());
        c.take(FromEngine::Report(report)).await.expect("fine");
        assert_eq!(c.status.borrow().frames_repeated, 10);
        assert_eq!(c.status.borrow().restarts, 1);
        let hung = Report { busy_ms: 900, busy_stage: "decode".into(), ..Report::default() };
        assert!(matches!(c.take(FromEngine::Report(hung)).await, Err(SessionError::Hung(900, s)) if s == "decode"));
    }

    #[tokio::test]
    async fn a_length_beyond_the_cap_ends_the_session_before_anything_is_allocated() {
        let mut garbage: &[u8] = &[0xff; 64];
        assert!(matches!(receive(&mut garbage).await, Err(SessionError::Protocol(_))));
    }

    #[test]
    fn log_lines_are_limited_and_counted() {
        let mut l = LogLimit::default();
        let now = SystemClock::new().now();
        assert_eq!((0..LOG_LINES + 5).filter(|_| l.admit(now).is_some()).count() as u32, LOG_LINES);
        assert_eq!(l.admit(now + Dur::from_secs(11)), Some(5));
    }
}
