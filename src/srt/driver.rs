//! The thread that waits for all sockets of libsrt.
//!
//! It does nothing that waits for one peer: reads what is due, hands it on, closes. libsrt's own threads do the protocol.

use super::ffi::{self, Opt, Poll, Socket, State, event};
use super::{BACKLOG, ConnectError, Connection, End, Gate, MAX_CONNECTIONS, QUEUE_BATCHES, QUEUE_BYTES, Shared};
use crate::media::{Dur, SharedClock, Ts};
use bytes::Bytes;
use secrecy::SecretString;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// How long a wait lasts without any event, and so how late a command may be. libsrt looks every 10 ms itself.
const WAIT_MS: i64 = 10;

/// Commands that wait for the thread.
const COMMANDS: usize = 256;

/// How often connections are looked at that have no event: readers that are gone, handshakes that failed.
const CHORES: Dur = Dur::from_millis(20);

/// How often a connection is measured.
const STATS: Dur = Dur::from_secs(1);

/// What is held back when the peer says goodbye is due within the latency; the clocks of both sides may differ by some more.
const LEAVE_MARGIN: Dur = Dur::from_secs(1);

/// Bytes that one batch takes at most, so that one connection's backlog does not hold up the others.
pub(super) const BATCH: usize = 64 << 10;

/// What is asked of the thread.
pub(super) enum Command {
    /// Watch a listener.
    Listen { socket: Socket, hook: Arc<Hook>, accepted: mpsc::Sender<Connection> },
    /// Call somebody.
    Connect {
        socket: Socket,
        address: SocketAddr,
        stream_id: SecretString,
        reply: oneshot::Sender<Result<Connection, ConnectError>>,
    },
}

/// A caller that the gate let in and that is not accepted yet.
struct Pending {
    socket: i32,
    peer: SocketAddr,
    needed: bool,
}

/// A listener's gate, as libsrt asks it.
pub(super) struct Hook {
    gate: Arc<dyn Gate>,
    open: Arc<AtomicUsize>,
    /// Held for a push or a look, never across a call that waits.
    pending: Mutex<VecDeque<Pending>>,
}

impl Hook {
    pub(super) fn new(gate: Arc<dyn Gate>, open: Arc<AtomicUsize>) -> Hook {
        Hook { gate, open, pending: Mutex::default() }
    }

    fn accepted(&self, socket: i32) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| p.socket != socket);
    }

    /// Names those whose handshake failed after the gate had let them in: by their passphrase, for nothing else is asked then.
    fn failures(&self) {
        let mut failed = Vec::new();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| {
            let gone = ffi::state(p.socket) == State::Gone;
            if gone {
                failed.push((p.peer, p.needed));
            }
            !gone
        });
        for (peer, needed) in failed {
            self.gate.failed(peer, needed);
        }
    }
}

impl ffi::Hook for Hook {
    fn handshake(&self, socket: i32, peer: SocketAddr, stream_id: &str) -> Result<ffi::Entry, i32> {
        if self.open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            return Err(super::Reject::Overload.code());
        }
        let passphrase = self.gate.admit(super::Caller { peer, stream_id }).map_err(super::Reject::code)?;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as libsrt lets wait; who is beyond them is refused by it.
        if pending.len() >= 2 * BACKLOG as usize {
            pending.pop_front();
        }
        pending.push_back(Pending { socket, peer, needed: passphrase.is_some() });
        Ok(ffi::Entry { passphrase })
    }
}

/// Starts the thread; the receiver ends with it.
pub(super) fn start(
    clock: SharedClock,
    stop: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
) -> io::Result<(SyncSender<Command>, oneshot::Receiver<()>)> {
    let library = ffi::Library::start()?;
    let poll = Poll::new()?;
    let (commands, inbox) = sync_channel(COMMANDS);
    let (done, ended) = oneshot::channel();
    let now = clock.now();
    let mut driver = Driver {
        poll,
        clock,
        inbox,
        stop,
        open,
        entries: HashMap::new(),
        leaving: Vec::new(),
        buffer: vec![0; BATCH + ffi::MAX_MESSAGE],
        chores_due: now,
        stats_due: now,
    };
    std::thread::Builder::new().name("srt".into()).spawn(move || {
        driver.run();
        // Sockets before the library.
        drop(driver);
        drop(library);
        drop(done);
    })?;
    Ok((commands, ended))
}

enum Entry {
    Listener {
        socket: Socket,
        hook: Arc<Hook>,
        accepted: mpsc::Sender<Connection>,
    },
    Calling {
        socket: Socket,
        address: SocketAddr,
        stream_id: SecretString,
        reply: oneshot::Sender<Result<Connection, ConnectError>>,
    },
    Open(Open),
}

struct Open {
    socket: Arc<Socket>,
    queue: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    overrun: u64,
    count: Arc<AtomicUsize>,
    /// The peer has said goodbye; until then what libsrt still holds back becomes due.
    leaves: Option<Ts>,
}

/// What may still come of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Whatever the peer sends.
    Open,
    /// What libsrt holds back.
    Leaving,
    /// Nothing.
    Over,
}

impl Open {
    /// Reads all that is due.
    fn read(&mut self, buffer: &mut [u8]) -> Rest {
        let mut filled = 0;
        let rest = loop {
            match self.socket.receive(&mut buffer[filled..]) {
                Ok(Some(length)) => {
                    filled += length;
                    if filled >= BATCH {
                        self.hand_on(&buffer[..filled]);
                        filled = 0;
                    }
                }
                Ok(None) => break Rest::Open,
                // After a goodbye libsrt gives what is due, and this error in between, until all was read.
                Err(error) if error.is_goodbye() && self.socket.get(Opt::ReceiveData).is_ok_and(|n| n > 0) => {
                    break Rest::Leaving;
                }
                Err(_) => break Rest::Over,
            }
        };
        if filled > 0 {
            self.hand_on(&buffer[..filled]);
        }
        rest
    }

    fn hand_on(&mut self, data: &[u8]) {
        let room = self.shared.queued.load(Ordering::Relaxed) + data.len() <= QUEUE_BYTES;
        // Counted before the reader can take it away again.
        self.shared.queued.fetch_add(data.len(), Ordering::Relaxed);
        if !room || self.queue.try_send(Bytes::copy_from_slice(data)).is_err() {
            self.shared.queued.fetch_sub(data.len(), Ordering::Relaxed);
            self.overrun += data.len() as u64;
            metrics::counter!("boothcast_srt_overrun_bytes_total").increment(data.len() as u64);
        }
    }

    fn measure(&self) {
        if let Some(mut stats) = self.socket.stats() {
            stats.overrun = self.overrun;
            *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.socket.close();
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Driver {
    poll: Poll,
    clock: SharedClock,
    inbox: Receiver<Command>,
    stop: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    entries: HashMap<i32, Entry>,
    /// Those whose peer has said goodbye.
    leaving: Vec<i32>,
    buffer: Vec<u8>,
    chores_due: Ts,
    stats_due: Ts,
}

impl Driver {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let ready = match self.poll.wait(WAIT_MS) {
                Ok(ready) => ready.to_vec(),
                Err(error) => {
                    // A fault of the system that may pass; never a reason to spin.
                    tracing::debug!(%error, "waiting for SRT sockets failed");
                    std::thread::sleep(std::time::Duration::from_millis(WAIT_MS as u64));
                    Vec::new()
                }
            };
            for (id, events) in ready {
                self.ready(id, events);
            }
            for id in self.leaving.clone() {
                self.ready(id, event::IN);
            }
            if !self.commands() {
                break;
            }
            let now = self.clock.now();
            if now >= self.chores_due {
                self.chores_due = now + CHORES;
                self.chores();
            }
            if now >= self.stats_due {
                self.stats_due = now + STATS;
                for entry in self.entries.values() {
                    if let Entry::Open(open) = entry {
                        open.measure();
                    }
                }
            }
        }
        for entry in self.entries.values() {
            if let Entry::Open(open) = entry {
                let _ = open.shared.end.set(End::Here);
            }
        }
        self.entries.clear();
    }

    fn ready(&mut self, id: i32, events: i32) {
        match self.entries.get_mut(&id) {
            Some(Entry::Open(open)) => match open.read(&mut self.buffer) {
                Rest::Open => {}
                Rest::Leaving if open.leaves.is_none() => {
                    open.measure();
                    open.leaves = Some(self.clock.now() + open.shared.stats().latency + LEAVE_MARGIN);
                    // It would be reported all the time.
                    self.poll.remove(&open.socket);
                    self.leaving.push(id);
                }
                Rest::Leaving if open.leaves.is_some_and(|at| self.clock.now() < at) => {}
                Rest::Leaving | Rest::Over => {
                    open.measure();
                    let _ = open.shared.end.set(End::Peer);
                    self.forget(id);
                }
            },
            Some(Entry::Listener { .. }) => self.accept(id),
            Some(Entry::Calling { .. }) => self.connected(id, events),
            None => {}
        }
    }

    fn accept(&mut self, id: i32) {
        loop {
            let Some(Entry::Listener { socket, hook, accepted }) = self.entries.get(&id) else { return };
            let (socket, peer) = match socket.accept() {
                Ok(Some(caller)) => caller,
                Ok(None) => return,
                Err(error) => {
                    // The caller is gone again, mostly; the listener itself fails only with the library.
                    tracing::debug!(%error, "an SRT caller was not accepted");
                    return;
                }
            };
            hook.accepted(socket.id());
            let stream_id = socket.text(Opt::StreamId).unwrap_or_default();
            // Kept while the entry for the connection is made.
            let accepted = accepted.clone();
            let Some(connection) = self.adopt(socket, peer, stream_id.into()) else { continue };
            if accepted.try_send(connection).is_err() {
                metrics::counter!("boothcast_srt_unaccepted_total").increment(1);
            }
        }
    }

    fn connected(&mut self, id: i32, events: i32) {
        let Some(Entry::Calling { socket, .. }) = self.entries.get(&id) else { return };
        let (state, reason) = (socket.state(), socket.reject_reason());
        if state == State::Opening && events & event::ERROR == 0 {
            return;
        }
        let Some(Entry::Calling { socket, address, stream_id, reply }) = self.entries.remove(&id) else { return };
        self.poll.remove(&socket);
        if state != State::Connected {
            // SRT_REJ_TIMEOUT and SRT_REJ_UNKNOWN: nobody said anything.
            let error = if matches!(reason, 0 | 16) { ConnectError::Timeout } else { ConnectError::Refused(reason) };
            let _ = reply.send(Err(error));
            return;
        }
        let connection = self
            .adopt(socket, address, stream_id)
            .ok_or(ConnectError::Local("the connection cannot be watched".into()));
        // Who asked may have gone: then the connection is dropped here and closed.
        let _ = reply.send(connection);
    }

    fn adopt(&mut self, socket: Socket, peer: SocketAddr, stream_id: SecretString) -> Option<Connection> {
        let watched = self.poll.add(&socket, event::IN | event::ERROR);
        if let Err(error) = watched {
            tracing::debug!(%error, "an SRT connection cannot be watched");
            return None;
        }
        let (socket, shared) = (Arc::new(socket), Arc::new(Shared::default()));
        let (queue, receiver) = mpsc::channel(QUEUE_BATCHES);
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            socket: socket.clone(),
            queue,
            shared: shared.clone(),
            overrun: 0,
            count: self.open.clone(),
            leaves: None,
        };
        open.measure();
        self.entries.insert(socket.id(), Entry::Open(open));
        Some(Connection { peer, stream_id, socket, queue: receiver, shared })
    }

    /// Takes commands; false when nobody can give any more.
    fn commands(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Listen { socket, hook, accepted }) => {
                    if let Err(error) = self.poll.add(&socket, event::IN | event::ERROR) {
                        tracing::error!(%error, "the SRT listener cannot be watched");
                        continue;
                    }
                    self.entries.insert(socket.id(), Entry::Listener { socket, hook, accepted });
                }
                Ok(Command::Connect { socket, address, stream_id, reply }) => {
                    let begun =
                        self.poll.add(&socket, event::OUT | event::ERROR).and_then(|()| socket.connect(address));
                    if let Err(error) = begun {
                        self.poll.remove(&socket);
                        let _ = reply.send(Err(ConnectError::Local(error.to_string())));
                        continue;
                    }
                    self.entries.insert(socket.id(), Entry::Calling { socket, address, stream_id, reply });
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Closes what nobody wants any more.
    fn chores(&mut self) {
        let mut unwanted = Vec::new();
        for (id, entry) in &self.entries {
            let gone = match entry {
                Entry::Listener { hook, accepted, .. } => {
                    hook.failures();
                    accepted.is_closed()
                }
                Entry::Calling { reply, .. } => reply.is_closed(),
                Entry::Open(open) => open.queue.is_closed(),
            };
            if gone {
                unwanted.push(*id);
            }
        }
        for id in unwanted {
            if let Some(Entry::Open(open)) = self.entries.get(&id) {
                let _ = open.shared.end.set(End::Here);
            }
            self.forget(id);
        }
    }

    fn forget(&mut self, id: i32) {
        self.leaving.retain(|l| *l != id);
        match self.entries.remove(&id) {
            Some(Entry::Open(open)) => self.poll.remove(&open.socket),
            Some(Entry::Listener { socket, .. } | Entry::Calling { socket, .. }) => self.poll.remove(&socket),
            None => {}
        }
    }
}
