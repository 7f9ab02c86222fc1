//! The engine process, `boothcast engine`: everything that runs codecs.
//!
//! **Threads.** The main thread reads the socket (standard input) into the [`queue`]s of pictures and sound; [`video`] and
//! [`sound`] make the programme, [`realtime`] and [`room`] what the rooms hear and see; one thread writes to the socket,
//! one to the rooms' socket (standard output), one reports how things are. **Ends** when the socket closes,
//! when the daemon is silent, and, with a message on standard error, when a codec is beyond repair: the daemon starts
//! another one.

pub mod av;
pub mod compare;
pub mod opus;
pub mod out;
pub mod queue;
pub mod realtime;
pub mod room;
pub mod sandbox;
pub mod slate;
pub mod sound;
pub mod stage;
pub mod threads;
pub mod video;
pub mod voices;

pub use video::PICTURES;

use super::EngineConfig;
use super::protocol::{FromEngine, InPacket, Start, ToEngine, check_length};
use crate::media::{Clock, Packet, Track};
use bytes::Bytes;
use compare::{Compare, Compared};
use out::RoomQueue;
use queue::{Item, PacketQueue};
use realtime::{Inbox, RoomItem};
use room::RoomInput;
use stage::Shared;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
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
    let rooms = match std::io::stdout().as_fd().try_clone_to_owned().map(UnixStream::from) {
        Ok(rooms) if rooms.peer_addr().is_ok() => rooms,
        _ => {
            eprintln!("boothcast engine is started by boothcast serve: standard output is not its socket");
            return 2;
        }
    };
    let mut read = BufReader::with_capacity(256 << 10, socket);
    match receive(&mut read) {
        Ok(ToEngine::Start(start)) => match run(*start, read, write, rooms) {
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

fn run(start: Start, mut read: impl Read, write: UnixStream, rooms: UnixStream) -> Result<(), String> {
    let hardware = start.config.video.iter().any(|v| v.encoder != "libx264");
    // Else libav writes everything to standard error while the encoders open; what fails there comes back as an error.
    av::set_log(|_| {});
    let mut missing = sandbox::enter(&start.config.limits, hardware);
    let (out, messages) = sync_channel(OUT_MESSAGES);
    threads::spawn_prompt("write", move || write_all(write, &messages))?;
    let clock = start.clock();
    let heard = Arc::new(AtomicI64::new(clock.now().flicks()));
    let pipeline = Pipeline::start(&start, out)?;
    let shared = pipeline.shared.clone();
    let room = shared.clone();
    threads::spawn_prompt("write rooms", move || write_rooms(rooms, &room.room))?;
    // This thread takes in the voices; the encoders, which would inherit it, are open by now.
    missing.extend(threads::hurry().err());
    if !missing.is_empty() {
        shared.log(false, format!("the engine process runs without: {}", missing.join("; ")));
    }
    log_libav(&shared);
    let (reporter, last) = (shared, heard.clone());
    threads::spawn("report", move || {
        loop {
            reporter.try_send(FromEngine::Report(Box::new(reporter.report())));
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

fn put(socket: &mut impl Write, message: &FromEngine) -> std::io::Result<()> {
    let frame = message.encode();
    socket.write_all(&frame.head)?;
    socket.write_all(&frame.tail)
}

fn write_all(socket: UnixStream, messages: &Receiver<FromEngine>) {
    let mut socket = BufWriter::with_capacity(256 << 10, socket);
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

fn write_rooms(socket: UnixStream, queue: &RoomQueue) -> ! {
    let mut socket = BufWriter::with_capacity(64 << 10, socket);
    let mut messages = Vec::new();
    loop {
        queue.take(&mut messages);
        let written = messages.drain(..).try_for_each(|m| put(&mut socket, &m));
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
    /// Where there are rooms, in paced runs.
    rooms: Option<Rooms>,
    live: AtomicBool,
    /// In paced runs.
    compare: Option<Compare>,
}

/// The ways into what rooms see and hear.
struct Rooms {
    sound: Arc<Inbox>,
    video: Arc<RoomInput>,
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
        let rooms = match start.config.room.as_ref().filter(|_| start.paced) {
            Some(room) => {
                let rooms = Rooms { sound: Arc::default(), video: Arc::default() };
                threads.push(realtime::start(start, room, &rooms.sound, &shared)?);
                threads.push(room::start(start, room, &rooms.video, &shared)?);
                Some(rooms)
            }
            None => None,
        };
        let live = AtomicBool::new(false);
        let compare = start.paced.then(|| Compare::start(&shared)).transpose()?;
        Ok(Pipeline { video: video_input, sound: sound_input, shared, threads, rooms, live, compare })
    }

    fn push(&self, video: bool, item: Item) {
        let queue = if video { &self.video } else { &self.sound };
        if !queue.push(item) {
            self.shared.dropped.fetch_add(u64::from(video), Ordering::Relaxed);
        }
    }

    fn push_room(&self, item: RoomItem) {
        if let Some(rooms) = &self.rooms
            && !rooms.sound.push(item)
        {
            self.shared.room_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn compare(&self, item: Compared) {
        if self.compare.as_ref().is_some_and(|c| !c.push(item)) {
            self.shared.sounds_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A packet of the programme.
    fn packet(&self, packet: InPacket) {
        let video = packet.track.audio_index().is_none();
        match &self.rooms {
            // What is kept for the programme's restart is past for the rooms, but for the picture's GOP.
            Some(rooms) if video => rooms.video.packet(&packet),
            Some(_) if self.live.load(Ordering::Relaxed) => {
                self.push_room(RoomItem::Packet(packet.clone(), self.shared.clock().now()));
            }
            _ => {}
        }
        self.push(video, Item::Packet(packet));
    }

    /// Takes one message; in unpaced runs waits for room.
    pub fn take(&self, message: ToEngine) {
        match message {
            ToEngine::Track(track) => {
                let (video, track) = (track.is_video(), Arc::new(track));
                match &self.rooms {
                    Some(rooms) if video => rooms.video.track(track.clone()),
                    _ => self.push_room(RoomItem::Track(track.clone())),
                }
                self.push(video, Item::Track(track));
            }
            ToEngine::Packet(packet) => self.packet(packet),
            ToEngine::Voice(packet) => {
                self.push_room(RoomItem::Voice(packet.clone()));
                self.push(false, Item::Voice(packet));
            }
            ToEngine::Plan(plan) => {
                self.push_room(RoomItem::Plan(plan.clone()));
                self.push(false, Item::Plan(plan));
            }
            ToEngine::Audio { specs, first } => {
                self.push_room(RoomItem::Audio(specs.clone()));
                self.push(false, Item::Audio(specs, first));
            }
            ToEngine::Rooms(wanted) => {
                if let Some(rooms) = &self.rooms {
                    rooms.video.set_on(wanted.video);
                }
                self.push_room(RoomItem::Wanted(wanted.realtime));
            }
            ToEngine::KeyFrame => {
                if let Some(rooms) = &self.rooms {
                    rooms.video.key();
                }
            }
            ToEngine::SoundTrack(input, track) => self.compare(Compared::Track(input, track)),
            ToEngine::Sound(input, packet) => self.compare(Compared::Packet(input, packet)),
            ToEngine::Live => {
                self.live.store(true, Ordering::Relaxed);
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
    threads::spawn("feed", move || {
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
        shared.send(FromEngine::Report(Box::new(shared.report())));
    })?;
    for message in messages {
        on(message);
    }
    Ok(())
}
