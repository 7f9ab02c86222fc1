//! SRT: libsrt's sockets as listener and caller, for contribution and, later, for what is sent on.
//!
//! **Role.** [`Srt`] owns libsrt and one thread that waits for all sockets ([`driver`]). [`Srt::listen`] gives a [`Listener`], whose
//! callers were let in by a [`Gate`] during their handshake; [`Srt::connect`] calls somebody. Both end in a [`Connection`], which others
//! use as a [`Link`], so that they can be tested without a network.
//! **Data flow.** libsrt's threads (receive, order, retransmit, decrypt, hold back by the latency) → our thread reads every message
//! that is due → a bounded queue per connection → its reader.
//! **Bound.** [`QUEUE_BYTES`] and [`QUEUE_BATCHES`] per connection: when its reader is slow what arrives is left out and counted
//! ([`Stats::overrun`]), and nobody else waits. In libsrt at most 8192 packets (12 MB) per connection. [`MAX_CONNECTIONS`] in all.
//!
//! When a peer closes, what it had sent and libsrt had put in order is still delivered.

mod driver;
#[allow(unsafe_code, reason = "the one place that needs it: a C library")]
mod ffi;
pub mod stream_id;
#[cfg(test)]
mod tests;

use crate::media::{Dur, SharedClock};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub use stream_id::StreamId;

/// Connections at a time. Only those who showed a key get in, one for each input; this is against a fault of our own.
pub const MAX_CONNECTIONS: usize = 1024;

/// Bytes that wait for a connection's reader: three seconds at 20 Mbps.
pub const QUEUE_BYTES: usize = 8 << 20;

/// Batches of messages that wait for a connection's reader.
pub const QUEUE_BATCHES: usize = 4096;

/// Callers whose handshake is done and whom nobody has taken over yet.
const BACKLOG: i32 = 64;

/// Characters of a passphrase (`SRTO_PASSPHRASE`).
pub const PASSPHRASE: std::ops::RangeInclusive<usize> = 10..=79;

/// Bytes of a message that is sent: seven packets of a transport stream, what every receiver expects.
pub const PAYLOAD: usize = 1316;

/// AES key length, which the sender chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyLength {
    /// 16 bytes.
    Aes128,
    /// 32 bytes.
    #[default]
    Aes256,
}

impl KeyLength {
    /// `pbkeylen` of a URL.
    pub const fn bytes(self) -> u8 {
        match self {
            KeyLength::Aes128 => 16,
            KeyLength::Aes256 => 32,
        }
    }
}

/// How somebody is called.
#[derive(Clone, Debug)]
pub struct Options {
    /// The receiver holds packets back for so long to wait for lost ones; the larger of both sides' counts.
    pub latency: Dur,
    /// What the other side knows too; none: not encrypted.
    pub passphrase: Option<SecretString>,
    /// AES key length of what we send.
    pub key_length: KeyLength,
    /// What we ask for.
    pub stream_id: Option<SecretString>,
    /// After so long without an answer nobody is there.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            latency: Dur::from_millis(120),
            passphrase: None,
            key_length: KeyLength::default(),
            stream_id: None,
            timeout: Duration::from_secs(3),
        }
    }
}

/// What was measured of a connection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Round trip.
    pub rtt: Dur,
    /// Packets received, each counted once.
    pub received: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Packets that were missing when the next one came; most of them came later.
    pub lost: u64,
    /// Packets that came again.
    pub retransmitted: u64,
    /// Packets that did not come within the latency and are missing.
    pub dropped: u64,
    /// Packets that could not be decrypted.
    pub undecrypted: u64,
    /// Packets sent, each counted once.
    pub sent: u64,
    /// Packets sent again.
    pub resent: u64,
    /// Packets that were too late to be sent.
    pub send_dropped: u64,
    /// Bits per second received of late.
    pub receive_rate: u64,
    /// How long packets are held back, as both sides agreed.
    pub latency: Dur,
    /// How much of that is filled.
    pub buffered: Dur,
    /// Whether what is received is encrypted.
    pub encrypted: bool,
    /// Bytes that were left out because our reader was slow.
    pub overrun: u64,
}

/// Why a caller is refused, in the codes of libsrt's access control guidelines (`access_control.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The stream id cannot be understood.
    BadRequest,
    /// The key is not known.
    Unauthorized,
    /// Too many connections.
    Overload,
    /// The key is right, but not now.
    Forbidden,
    /// Not in this mode.
    BadMode,
    /// Somebody else is publishing.
    Conflict,
    /// Not this type of data.
    Media,
    /// We cannot say now.
    Unavailable,
}

impl Reject {
    /// `SRT_REJX_…`.
    pub const fn code(self) -> i32 {
        match self {
            Reject::BadRequest => 1400,
            Reject::Unauthorized => 1401,
            Reject::Overload => 1402,
            Reject::Forbidden => 1403,
            Reject::BadMode => 1405,
            Reject::Conflict => 1409,
            Reject::Media => 1415,
            Reject::Unavailable => 1503,
        }
    }
}

/// Somebody who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// From where.
    pub peer: SocketAddr,
    /// What for; holds a key.
    pub stream_id: &'a str,
}

/// Who gets in. Asked on a thread of libsrt during the handshake, which nobody else's packets pass meanwhile: the answer must be at
/// hand.
pub trait Gate: Send + Sync + 'static {
    /// The passphrase that the caller must know, if any; or why it is refused.
    ///
    /// # Errors
    /// The reason, which the caller is told.
    fn admit(&self, caller: Caller<'_>) -> Result<Option<SecretString>, Reject>;

    /// A caller that was admitted did not get in: its passphrase is wrong or missing (`needed`), or it has one where none is set.
    fn failed(&self, peer: SocketAddr, needed: bool);
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The peer closed it, or has not been heard of for 5 s.
    #[error("closed by the peer, or not heard of any more")]
    Peer,
    /// We closed it.
    #[error("closed here")]
    Here,
}

/// Why calling somebody failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The other side refused.
    #[error("refused: {}", reason(*.0))]
    Refused(i32),
    /// Nobody answered in time.
    #[error("no answer")]
    Timeout,
    /// The options cannot be, or the system has no socket.
    #[error("{0}")]
    Local(String),
    /// The driver has ended.
    #[error("SRT is shut down")]
    Closed,
}

/// A reject reason in words: `SRT_REJECT_REASON` below 1000, the access control codes from there on.
fn reason(code: i32) -> String {
    match code {
        9 => "not the version that is spoken there".into(),
        10 => "the passphrase is wrong".into(),
        11 => "one side has a passphrase and the other has none".into(),
        1400 => "the stream id is not understood (1400)".into(),
        1401 => "the stream id is not known (1401)".into(),
        1402 => "the server is full (1402)".into(),
        1403 => "not allowed now (1403)".into(),
        1404 => "there is no such stream (1404)".into(),
        1409 => "somebody else is publishing (1409)".into(),
        code => format!("reason {code}"),
    }
}

/// A future as an object-safe trait returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection as its reader sees it. Dropping it closes it.
pub trait Link: Send {
    /// Who is at the other end.
    fn peer(&self) -> SocketAddr;

    /// What a caller asked for; holds a key.
    fn stream_id(&self) -> &str;

    /// Whole messages in a row, as they are due; none when the connection has ended and everything was read.
    fn receive(&mut self) -> BoxFuture<'_, Option<Bytes>>;

    /// Measurements, at most a second old.
    fn stats(&self) -> Stats;

    /// Why it ended; none while it runs.
    fn end(&self) -> Option<End>;
}

/// What a connection and the driver share.
#[derive(Default)]
struct Shared {
    /// Bytes in the queue.
    queued: AtomicUsize,
    /// Held for a copy.
    stats: Mutex<Stats>,
    end: OnceLock<End>,
}

impl Shared {
    fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection.
pub struct Connection {
    peer: SocketAddr,
    stream_id: SecretString,
    socket: Arc<ffi::Socket>,
    queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

impl Connection {
    /// Sends data in messages of [`PAYLOAD`] bytes; gives back how many bytes found room. What found none is the caller's to count: it
    /// is late already, and the next will find room when the network has it.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&self, data: &[u8]) -> Result<usize, End> {
        let mut sent = 0;
        for message in data.chunks(PAYLOAD) {
            match self.socket.send(message) {
                Ok(true) => sent += message.len(),
                Ok(false) => break,
                Err(_) => return Err(self.shared.end.get().copied().unwrap_or(End::Peer)),
            }
        }
        Ok(sent)
    }
}

impl Link for Connection {
    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn stream_id(&self) -> &str {
        self.stream_id.expose_secret()
    }

    fn receive(&mut self) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let batch = self.queue.recv().await?;
            self.shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            Some(batch)
        })
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }

    fn end(&self) -> Option<End> {
        self.shared.end.get().copied()
    }
}

/// Takes callers whom its [`Gate`] let in. Dropping it closes the port; connections go on.
pub struct Listener {
    local: SocketAddr,
    accepted: mpsc::Receiver<Connection>,
}

impl Listener {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next caller; none once the driver has ended.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.accepted.recv().await
    }
}

struct Handle {
    commands: SyncSender<driver::Command>,
    stop: Arc<AtomicBool>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    open: Arc<AtomicUsize>,
}

/// libsrt with the thread that drives it. Clones are the same; the thread ends with the last one.
#[derive(Clone)]
pub struct Srt(Arc<Handle>);

impl Srt {
    /// Starts it.
    ///
    /// # Errors
    /// When the system has no thread or memory for it.
    pub fn start(clock: SharedClock) -> io::Result<Srt> {
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (commands, done) = driver::start(clock, stop.clone(), open.clone())?;
        Ok(Srt(Arc::new(Handle { commands, stop, done: Mutex::new(Some(done)), open })))
    }

    /// Listens on a UDP port; `latency` is the least that callers get.
    ///
    /// # Errors
    /// When the port is taken or not ours to take.
    pub fn listen(&self, address: SocketAddr, latency: Dur, gate: Arc<dyn Gate>) -> io::Result<Listener> {
        let hook = Arc::new(driver::Hook::new(gate, self.0.open.clone()));
        let mut socket = ffi::Socket::new()?;
        socket.set(ffi::Opt::Latency, milliseconds(latency))?;
        socket.bind(address)?;
        let weak: std::sync::Weak<dyn ffi::Hook> = Arc::downgrade(&(hook.clone() as Arc<dyn ffi::Hook>));
        socket.listen(BACKLOG, weak)?;
        let local = socket.local_addr().unwrap_or(address);
        let (sender, accepted) = mpsc::channel(BACKLOG as usize);
        self.tell(driver::Command::Listen { socket, hook, accepted: sender })?;
        Ok(Listener { local, accepted })
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, address: SocketAddr, options: &Options) -> Result<Connection, ConnectError> {
        let local = |error: ffi::Error| ConnectError::Local(error.to_string());
        let socket = ffi::Socket::new().map_err(local)?;
        socket.set(ffi::Opt::Latency, milliseconds(options.latency)).map_err(local)?;
        let timeout = i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX);
        socket.set(ffi::Opt::ConnectTimeout, timeout).map_err(local)?;
        if let Some(secret) = &options.passphrase {
            if !PASSPHRASE.contains(&secret.expose_secret().len()) {
                return Err(ConnectError::Local("a passphrase has 10 to 79 characters".into()));
            }
            socket.set(ffi::Opt::KeyLength, options.key_length.bytes().into()).map_err(local)?;
            socket.set_text(ffi::Opt::Passphrase, secret.expose_secret()).map_err(local)?;
        }
        let stream_id = options.stream_id.clone().unwrap_or_else(|| SecretString::from(""));
        if !stream_id.expose_secret().is_empty() {
            socket.set_text(ffi::Opt::StreamId, stream_id.expose_secret()).map_err(local)?;
        }
        let (reply, answer) = oneshot::channel();
        self.tell(driver::Command::Connect { socket, address, stream_id, reply }).map_err(|_| ConnectError::Closed)?;
        answer.await.unwrap_or(Err(ConnectError::Closed))
    }

    /// Closes all connections, telling their peers, and ends the thread; gives up after `limit` and says whether it had ended.
    pub async fn close(&self, limit: Duration) -> bool {
        self.0.stop.store(true, Ordering::Relaxed);
        let done = self.0.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        match done {
            // The thread answers by dropping its end.
            Some(done) => tokio::time::timeout(limit, done).await.is_ok(),
            None => true,
        }
    }

    fn tell(&self, command: driver::Command) -> io::Result<()> {
        self.0.commands.try_send(command).map_err(|_| io::Error::other("the SRT thread is busy or has ended"))
    }
}

fn milliseconds(duration: Dur) -> i32 {
    i32::try_from(duration.as_millis().max(0)).unwrap_or(i32::MAX)
}
