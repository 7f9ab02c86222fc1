//! The engine process, `boothcast engine`: everything that runs codecs.
//!
//! **Threads.** The main thread reads the socket (standard input) into the [`queue`]s of pictures and sound; [`video`] and
//! [`sound`] do the work; one thread writes to the socket, one reports how things are. **Ends** when the socket closes,
//! when the daemon is silent, and, with a message on standard error, when a codec is beyond repair: the daemon starts
//! another one.

pub mod av;
pub mod queue;
pub mod sandbox;
pub mod slate;
pub mod sound;
pub mod stage;
pub mod video;

pub use video::PICTURES;

use super::EngineConfig;
use super::protocol::{FromEngine, InPacket, Start, ToEngine, check_length};
use crate::media::{Clock, Packet, Track};
use bytes::Bytes;
use queue::{Item, PacketQueue};
use stage::Shared;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages on their way to the daemon: two seconds of a ladder with ten languages. When the daemon takes no more,
/// encoders wait.
const OUT_MESSAGES: usize = 1024;
/// How often the daemon hears how things are.
const REPORT: Duration = Duration::from_millis(100);
/// Silence of the daemon after which the process ends: it pings twice a second.
const DAEMON_SILENCE: crate::media::Dur = crate::media::Dur::from_secs(20);
/// Lines of libav passed on per report.
const LOG_LINES: i64 = 5;

/// Ends the process: a codec is beyond repair, and only a new process helps.
pub(super) fn die(why: &str) -> ! {
    eprintln!("{why}");
    let _ = std::io::stderr().flush();
    std::process::abort()
}

/// Ends the process without a word: the daemon is gone, and cleaning up after codecs that may hang is not worth it.
fn vanish() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

fn receive(read: &mut impl Read) -> std::io::Result<ToEngine> {
    let broke = |e: super::protocol::ProtocolError| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    let mut length = [0; 4];
    read.read_exact(&mut length)?;
    let length = check_length(u32::from_le_bytes(length)).map_err(broke)?;
    let mut body = vec![0; length];
    read.read_exact(&mut body)?;
    ToEngine::decode(Bytes::from(body)).map_err(broke)
}

/// What `boothcast engine` does. Standard input is one end of a socket pair; returns the exit code.
pub fn main() -> i32 {
    std::panic::set_hook(Box::new(|info| die(&format!("engine panicked: {info}"))));
    let socket = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => UnixStream::from(fd),
        Err(e) => {
            eprintln!("boothcast engine is started by boothcast serve: {e}");
            return 2;
        }
    };
    let write = match socket.try_clone() {
        Ok(write) if write.peer_addr().is_ok() => write,
        _ => {
            eprintln!("boothcast engine is started by boothcast serve: standard input is not its socket");
            return 2;
        }
    };
    let mut read = BufReader::with_capacity(256 << 10, socket);
    match receive(&mut read) {
        Ok(ToEngine::Start(start)) => match run(*start, read, write) {
            Ok(()) => 0,
            Err(e) => {
                eprintln!("{e}");
                1
            }
        },
        Ok(_) => 2,
        Err(_) => 1,
    }
}

fn run(start: Start, mut read: impl Read, write: UnixStream) -> Result<(), String> {
    let hardware = start.config.video.iter().any(|v| v.encoder != "libx264");
    // Else libav writes everything to standard error while the encoders open; what fails there comes back as an error.
    av::set_log(|_| {});
    let missing = sandbox::enter(&start.config.limits, hardware);
    let (out, messages) = sync_channel(OUT_MESSAGES);
    video::spawn("write", move || write_all(write, &messages))?;
    let clock = start.clock();
    let heard = Arc::new(AtomicI64::new(clock.now().flicks()));
    let pipeline = Pipeline::start(&start, out)?;
    let shared = pipeline.shared.clone();
    if !missing.is_empty() {
        shared.log(false, format!("the engine process runs without: {}", missing.join("; ")));
    }
    log_libav(&shared);
    let (reporter, last) = (shared, heard.clone());
    video::spawn("report", move || {
        loop {
            reporter.try_send(FromEngine::Report(reporter.report()));
            std::thread::sleep(REPORT);
            let silence = clock.now() - crate::media::Ts::from_flicks(last.load(Ordering::Relaxed));
            if silence > DAEMON_SILENCE {
                vanish();
            }
        }
    })?;
    loop {
        match receive(&mut read) {
            Ok(message) => {
                heard.store(clock.now().flicks(), Ordering::Relaxed);
                pipeline.take(message);
            }
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Err(e.to_string()),
            Err(_) => vanish(),
        }
    }
}

fn log_libav(shared: &Arc<Shared>) {
    let (shared, budget) = (shared.clone(), AtomicI64::new(LOG_LINES));
    let began = AtomicI64::new(0);
    av::set_log(move |text| {
        let now = shared.clock().now().as_millis() / 1000;
        if began.swap(now, Ordering::Relaxed) != now {
            budget.store(LOG_LINES, Ordering::Relaxed);
        }
        if budget.fetch_sub(1, Ordering::Relaxed) > 0 {
            shared.log(false, format!("libav: {text}"));
        }
    });
}

fn write_all(socket: UnixStream, messages: &Receiver<FromEngine>) {
    let mut socket = BufWriter::with_capacity(256 << 10, socket);
    fn put(socket: &mut impl Write, message: &FromEngine) -> std::io::Result<()> {
        let frame = message.encode();
        socket.write_all(&frame.head)?;
        socket.write_all(&frame.tail)
    }
    while let Ok(message) = messages.recv() {
        let mut written = put(&mut socket, &message);
        while let Ok(message) = messages.try_recv() {
            written = written.and_then(|()| put(&mut socket, &message));
        }
        if written.and_then(|()| socket.flush()).is_err() {
            vanish();
        }
    }
}

/// The codec threads and the way in.
pub struct Pipeline {
    video: Arc<PacketQueue>,
    sound: Arc<PacketQueue>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Opens all encoders and starts all threads; output goes to `out` once [`ToEngine::Live`] was taken.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn start(start: &Start, out: SyncSender<FromEngine>) -> Result<Pipeline, String> {
        let shared = Arc::new(Shared::new(out, start.clock()));
        let video_input = Arc::new(PacketQueue::new(start.paced, true));
        let sound_input = Arc::new(PacketQueue::new(start.paced, false));
        let mut threads = video::start(start, &video_input, &shared)?;
        threads.extend(sound::start(start, &sound_input, &shared)?);
        Ok(Pipeline { video: video_input, sound: sound_input, shared, threads })
    }

    fn push(&self, video: bool, item: Item) {
        let queue = if video { &self.video } else { &self.sound };
        if !queue.push(item) {
            self.shared.dropped.fetch_add(u64::from(video), Ordering::Relaxed);
        }
    }

    /// Takes one message; in unpaced runs waits for room.
    pub fn take(&self, message: ToEngine) {
        match message {
            ToEngine::Track(track) => self.push(track.is_video(), Item::Track(Arc::new(track))),
            ToEngine::Packet(packet) => self.push(packet.track.audio_index().is_none(), Item::Packet(packet)),
            ToEngine::Live => {
                self.video.set_live();
                self.sound.set_live();
            }
            ToEngine::End => {
                self.video.end();
                self.sound.end();
            }
            ToEngine::Start(_) | ToEngine::Ping => {}
        }
    }

    /// Waits for the threads of an ended, unpaced run.
    fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                die("an engine thread panicked");
            }
        }
        self.shared.send(FromEngine::Done);
    }
}

/// Runs the engine within this process over `packets`, as fast as they can be encoded: for files and benches. Output
/// begins with the frame nearest to the first picture. Counters come with the last [`FromEngine::Report`].
///
/// # Errors
/// What could not be opened.
pub fn transcode(
    config: EngineConfig,
    packets: impl IntoIterator<Item = Packet>,
    mut on: impl FnMut(FromEngine),
) -> Result<(), String> {
    let mut packets = packets.into_iter().peekable();
    let Some(first) = packets.peek().map(|p| p.pts) else { return Ok(()) };
    let video = config.grid.frame_number(first + config.grid.frame() / 2);
    let audio = config.grid.aac_number(first);
    let resume = config.video.iter().map(|v| (v.id, video)).chain(config.audio.iter().map(|a| (a.id, audio)));
    let start = Start { resume: resume.collect(), paced: false, config };
    let (out, messages) = sync_channel(OUT_MESSAGES);
    let pipeline = Pipeline::start(&start, out)?;
    pipeline.take(ToEngine::Live);
    // Feeding waits for the codecs and the codecs for `on`, so it has a thread of its own.
    let packets: Vec<Packet> = packets.collect();
    video::spawn("feed", move || {
        let mut known: Vec<Arc<Track>> = Vec::new();
        for packet in &packets {
            let slot = known.iter_mut().find(|t| t.id == packet.track.id);
            if slot.as_ref().is_none_or(|t| !Arc::ptr_eq(t, &packet.track)) {
                pipeline.take(ToEngine::Track((*packet.track).clone()));
                match slot {
                    Some(slot) => *slot = packet.track.clone(),
                    None => known.push(packet.track.clone()),
                }
            }
            pipeline.take(ToEngine::Packet(InPacket::from(packet)));
        }
        pipeline.take(ToEngine::End);
        let shared = pipeline.shared.clone();
        pipeline.join();
        shared.send(FromEngine::Report(shared.report()));
    })?;
    for message in messages {
        on(message);
    }
    Ok(())
}
