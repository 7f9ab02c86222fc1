//! libsrt's C interface: declarations, and safe wrappers around them. The only file of the crate with `unsafe` in it.
//!
//! Declared by hand from `srt.h` of 1.5 (the interface is stable since 1.4; fields of the statistics are only ever added at
//! the end). Sockets are non-blocking throughout: no call here waits for a peer. libsrt is thread-safe and checks each
//! socket's number, so a socket that was closed meanwhile gives an error and nothing worse.

use super::Stats;
use crate::media::Dur;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock, Weak};

/// `SRT_LIVE_MAX_PLSIZE`: the largest message of live mode, what is left of an Ethernet frame.
pub(super) const MAX_MESSAGE: usize = 1456;

/// `SRTO_STREAMID` holds at most 512 characters; with room to see that one is too long.
const MAX_TEXT: usize = 640;

/// `SRT_SOCKOPT`, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Opt {
    SendBlocks = 1,
    ReceiveBlocks = 2,
    ReceiveData = 20,
    Latency = 23,
    Passphrase = 26,
    KeyLength = 27,
    ConnectTimeout = 36,
    ReceiveKeyState = 41,
    ReceiveLatency = 43,
    StreamId = 46,
    Ipv6Only = 54,
}

/// `SRT_SOCKSTATUS`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected yet.
    Opening,
    Connected,
    /// Broken, closing, closed or forgotten.
    Gone,
}

/// `SRT_EPOLL_OPT`.
pub(super) mod event {
    pub const IN: i32 = 1;
    pub const OUT: i32 = 4;
    pub const ERROR: i32 = 8;
}

/// `SRT_EASYNCSND` and `SRT_EASYNCRCV`: nothing can be sent or read now.
const WOULD_BLOCK: [c_int; 2] = [6001, 6002];

/// `SRT_ECONNLOST`: the peer said goodbye or is gone.
const CONNECTION_LOST: c_int = 2001;

/// `SRT_EPOLL_ENABLE_EMPTY`: waiting without sockets is waiting.
const ENABLE_EMPTY: i32 = 1;

/// `LOG_CRIT` of syslog: what a peer does wrong is not worth a line of libsrt's; refusals have lines of their own.
const LOG_CRITICAL: c_int = 2;

#[repr(C)]
struct PollEvent {
    socket: c_int,
    events: c_int,
}

/// `CBytePerfMon` of 1.5.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_snake_case)]
struct PerfMon {
    msTimeStamp: i64,
    pktSentTotal: i64,
    pktRecvTotal: i64,
    pktSndLossTotal: c_int,
    pktRcvLossTotal: c_int,
    pktRetransTotal: c_int,
    pktSentACKTotal: c_int,
    pktRecvACKTotal: c_int,
    pktSentNAKTotal: c_int,
    pktRecvNAKTotal: c_int,
    usSndDurationTotal: i64,
    pktSndDropTotal: c_int,
    pktRcvDropTotal: c_int,
    pktRcvUndecryptTotal: c_int,
    byteSentTotal: u64,
    byteRecvTotal: u64,
    byteRcvLossTotal: u64,
    byteRetransTotal: u64,
    byteSndDropTotal: u64,
    byteRcvDropTotal: u64,
    byteRcvUndecryptTotal: u64,
    pktSent: i64,
    pktRecv: i64,
    pktSndLoss: c_int,
    pktRcvLoss: c_int,
    pktRetrans: c_int,
    pktRcvRetrans: c_int,
    pktSentACK: c_int,
    pktRecvACK: c_int,
    pktSentNAK: c_int,
    pktRecvNAK: c_int,
    mbpsSendRate: f64,
    mbpsRecvRate: f64,
    usSndDuration: i64,
    pktReorderDistance: c_int,
    pktRcvAvgBelatedTime: f64,
    pktRcvBelated: i64,
    pktSndDrop: c_int,
    pktRcvDrop: c_int,
    pktRcvUndecrypt: c_int,
    byteSent: u64,
    byteRecv: u64,
    byteRcvLoss: u64,
    byteRetrans: u64,
    byteSndDrop: u64,
    byteRcvDrop: u64,
    byteRcvUndecrypt: u64,
    usPktSndPeriod: f64,
    pktFlowWindow: c_int,
    pktCongestionWindow: c_int,
    pktFlightSize: c_int,
    msRTT: f64,
    mbpsBandwidth: f64,
    byteAvailSndBuf: c_int,
    byteAvailRcvBuf: c_int,
    mbpsMaxBW: f64,
    byteMSS: c_int,
    pktSndBuf: c_int,
    byteSndBuf: c_int,
    msSndBuf: c_int,
    msSndTsbPdDelay: c_int,
    pktRcvBuf: c_int,
    byteRcvBuf: c_int,
    msRcvBuf: c_int,
    msRcvTsbPdDelay: c_int,
    pktSndFilterExtraTotal: c_int,
    pktRcvFilterExtraTotal: c_int,
    pktRcvFilterSupplyTotal: c_int,
    pktRcvFilterLossTotal: c_int,
    pktSndFilterExtra: c_int,
    pktRcvFilterExtra: c_int,
    pktRcvFilterSupply: c_int,
    pktRcvFilterLoss: c_int,
    pktReorderTolerance: c_int,
    pktSentUniqueTotal: i64,
    pktRecvUniqueTotal: i64,
    byteSentUniqueTotal: u64,
    byteRecvUniqueTotal: u64,
    pktSentUnique: i64,
    pktRecvUnique: i64,
    byteSentUnique: u64,
    byteRecvUnique: u64,
}

// What `sizeof` says of it in C.
const _: () = assert!(size_of::<PerfMon>() == 496);

type ListenCallback = extern "C" fn(*mut c_void, c_int, c_int, *const libc::sockaddr, *const c_char) -> c_int;

#[link(name = "srt-gnutls")]
unsafe extern "C" {
    safe fn srt_startup() -> c_int;
    safe fn srt_cleanup() -> c_int;
    safe fn srt_setloglevel(level: c_int);
    safe fn srt_create_socket() -> c_int;
    fn srt_bind(socket: c_int, name: *const libc::sockaddr, length: c_int) -> c_int;
    safe fn srt_listen(socket: c_int, backlog: c_int) -> c_int;
    fn srt_listen_callback(socket: c_int, hook: ListenCallback, opaque: *mut c_void) -> c_int;
    fn srt_accept(socket: c_int, name: *mut libc::sockaddr, length: *mut c_int) -> c_int;
    fn srt_connect(socket: c_int, name: *const libc::sockaddr, length: c_int) -> c_int;
    safe fn srt_close(socket: c_int) -> c_int;
    fn srt_getsockname(socket: c_int, name: *mut libc::sockaddr, length: *mut c_int) -> c_int;
    fn srt_getsockflag(socket: c_int, option: c_int, value: *mut c_void, length: *mut c_int) -> c_int;
    fn srt_setsockflag(socket: c_int, option: c_int, value: *const c_void, length: c_int) -> c_int;
    fn srt_recvmsg(socket: c_int, buffer: *mut c_char, length: c_int) -> c_int;
    fn srt_sendmsg(socket: c_int, buffer: *const c_char, length: c_int, ttl: c_int, inorder: c_int) -> c_int;
    safe fn srt_getsockstate(socket: c_int) -> c_int;
    fn srt_bistats(socket: c_int, stats: *mut PerfMon, clear: c_int, instantaneous: c_int) -> c_int;
    safe fn srt_setrejectreason(socket: c_int, value: c_int) -> c_int;
    safe fn srt_getrejectreason(socket: c_int) -> c_int;
    fn srt_getlasterror(system: *mut c_int) -> c_int;
    fn srt_getlasterror_str() -> *const c_char;
    safe fn srt_epoll_create() -> c_int;
    safe fn srt_epoll_set(epoll: c_int, flags: i32) -> i32;
    fn srt_epoll_add_usock(epoll: c_int, socket: c_int, events: *const c_int) -> c_int;
    safe fn srt_epoll_remove_usock(epoll: c_int, socket: c_int) -> c_int;
    fn srt_epoll_uwait(epoll: c_int, ready: *mut PollEvent, count: c_int, milliseconds: i64) -> c_int;
    safe fn srt_epoll_release(epoll: c_int) -> c_int;
}

/// What a call said when it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code})")]
pub struct Error {
    /// `SRT_ERRNO`.
    pub code: i32,
    /// libsrt's words for it.
    pub text: String,
}

impl Error {
    /// The error of the call that just failed on this thread.
    fn last() -> Error {
        // SAFETY: the pointer to the system's own error may be null.
        let code = unsafe { srt_getlasterror(std::ptr::null_mut()) };
        // SAFETY: a text that lives until this thread's next call of libsrt, and ends in a zero.
        let text = unsafe { CStr::from_ptr(srt_getlasterror_str()) }.to_string_lossy().into_owned();
        Error { code, text }
    }

    /// Whether the peer is gone, as against a socket that is.
    pub(super) fn is_goodbye(&self) -> bool {
        self.code == CONNECTION_LOST
    }

    fn check(result: c_int) -> Result<c_int, Error> {
        if result < 0 { Err(Error::last()) } else { Ok(result) }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        // SRT_EBINDCONFLICT and what the system says to a port in use.
        let kind = match error.code {
            5015 => io::ErrorKind::AddrInUse,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// libsrt runs while one of these is there.
pub(super) struct Library(());

impl Library {
    /// Starts its threads, if nobody did before.
    pub(super) fn start() -> Result<Library, Error> {
        Error::check(srt_startup())?;
        srt_setloglevel(LOG_CRITICAL);
        Ok(Library(()))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        srt_cleanup();
    }
}

/// An address as the system's calls take it.
union RawAddress {
    any: libc::sockaddr,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    storage: libc::sockaddr_storage,
}

impl RawAddress {
    fn new(address: SocketAddr) -> (RawAddress, c_int) {
        match address {
            SocketAddr::V4(a) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: a.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (RawAddress { v4 }, size_of::<libc::sockaddr_in>() as c_int)
            }
            SocketAddr::V6(a) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: a.port().to_be(),
                    sin6_flowinfo: a.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
                    sin6_scope_id: a.scope_id(),
                };
                (RawAddress { v6 }, size_of::<libc::sockaddr_in6>() as c_int)
            }
        }
    }

    fn empty() -> (RawAddress, c_int) {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let storage = unsafe { std::mem::zeroed() };
        (RawAddress { storage }, size_of::<libc::sockaddr_storage>() as c_int)
    }

    fn read(&self) -> Option<SocketAddr> {
        // SAFETY: every constructor fills the family, and the family says which fields the system wrote.
        unsafe {
            match c_int::from(self.any.sa_family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddr::new(ip.into(), u16::from_be(self.v4.sin_port)))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), u16::from_be(self.v6.sin6_port)))
                }
                _ => None,
            }
        }
    }
}

/// A socket. Closed once: by [`Socket::close`] or when dropped.
pub(super) struct Socket {
    id: c_int,
    closed: AtomicBool,
    /// Keeps the callback of a listener from being called once the socket is gone.
    hook: Option<usize>,
}

impl Socket {
    /// A new one, non-blocking.
    pub(super) fn new() -> Result<Socket, Error> {
        let id = Error::check(srt_create_socket())?;
        Socket::adopt(id)
    }

    fn adopt(id: c_int) -> Result<Socket, Error> {
        let socket = Socket { id, closed: AtomicBool::new(false), hook: None };
        socket.set(Opt::ReceiveBlocks, 0)?;
        socket.set(Opt::SendBlocks, 0)?;
        Ok(socket)
    }

    pub(super) fn id(&self) -> i32 {
        self.id
    }

    /// Sets a number or a flag.
    pub(super) fn set(&self, option: Opt, value: i32) -> Result<(), Error> {
        set(self.id, option, &value.to_ne_bytes())
    }

    /// Sets a text.
    pub(super) fn set_text(&self, option: Opt, text: &str) -> Result<(), Error> {
        set(self.id, option, text.as_bytes())
    }

    /// A number or a flag.
    pub(super) fn get(&self, option: Opt) -> Result<i32, Error> {
        let (mut value, mut length): (c_int, c_int) = (0, 4);
        // SAFETY: `length` says how much room `value` has; each option of type int is written whole.
        let done =
            unsafe { srt_getsockflag(self.id, option as c_int, (&raw mut value).cast::<c_void>(), &raw mut length) };
        Error::check(done).map(|_| value)
    }

    /// A text; what is no UTF-8 in it is replaced.
    pub(super) fn text(&self, option: Opt) -> Result<String, Error> {
        let mut buffer = [0u8; MAX_TEXT];
        let mut length = buffer.len() as c_int;
        // SAFETY: `length` says how much room there is, and then how much was written.
        let done =
            unsafe { srt_getsockflag(self.id, option as c_int, buffer.as_mut_ptr().cast::<c_void>(), &raw mut length) };
        Error::check(done)?;
        let text = buffer.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        Ok(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }

    /// Binds it.
    pub(super) fn bind(&self, address: SocketAddr) -> Result<(), Error> {
        if address.is_ipv6() {
            // libsrt refuses the unspecified address unless told; `::` takes IPv4 too, as the other listeners do.
            self.set(Opt::Ipv6Only, 0)?;
        }
        let (raw, length) = RawAddress::new(address);
        // SAFETY: an address of that length, which is only read.
        Error::check(unsafe { srt_bind(self.id, (&raw const raw).cast(), length) }).map(|_| ())
    }

    /// Begins to take callers; at most `backlog` wait to be accepted. `hook` is asked about each.
    pub(super) fn listen(&mut self, backlog: i32, hook: Weak<dyn Hook>) -> Result<(), Error> {
        let key = hooks::add(hook);
        self.hook = Some(key);
        // SAFETY: what is handed back to `on_handshake` is a number and never followed as a pointer.
        Error::check(unsafe { srt_listen_callback(self.id, on_handshake, key as *mut c_void) })?;
        Error::check(srt_listen(self.id, backlog)).map(|_| ())
    }

    /// The next caller; none when nobody waits.
    pub(super) fn accept(&self) -> Result<Option<(Socket, SocketAddr)>, Error> {
        let (mut raw, mut length) = RawAddress::empty();
        // SAFETY: `length` says how much room the address has.
        let id = unsafe { srt_accept(self.id, (&raw mut raw).cast(), &raw mut length) };
        match Error::check(id) {
            Ok(id) => {
                let peer = raw.read().unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
                Ok(Some((Socket::adopt(id)?, peer)))
            }
            Err(error) if WOULD_BLOCK.contains(&error.code) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to connect; [`event::OUT`] says when it is.
    pub(super) fn connect(&self, address: SocketAddr) -> Result<(), Error> {
        let (raw, length) = RawAddress::new(address);
        // SAFETY: an address of that length, which is only read.
        Error::check(unsafe { srt_connect(self.id, (&raw const raw).cast(), length) }).map(|_| ())
    }

    /// Where it is bound.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        let (mut raw, mut length) = RawAddress::empty();
        // SAFETY: `length` says how much room the address has.
        let done = unsafe { srt_getsockname(self.id, (&raw mut raw).cast(), &raw mut length) };
        Error::check(done).ok().and_then(|_| raw.read())
    }

    /// Reads a message; none when there is none now. `buffer` must hold [`MAX_MESSAGE`], or the rest of one is lost.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let room = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: at most `room` bytes are written.
        let done = unsafe { srt_recvmsg(self.id, buffer.as_mut_ptr().cast(), room) };
        match Error::check(done) {
            Ok(length) => Ok(Some((length as usize).min(buffer.len()))),
            Err(error) if WOULD_BLOCK.contains(&error.code) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a message; false when there is no room for it now.
    pub(super) fn send(&self, message: &[u8]) -> Result<bool, Error> {
        let length = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
        // SAFETY: `length` bytes are read and copied.
        let done = unsafe { srt_sendmsg(self.id, message.as_ptr().cast(), length, -1, 1) };
        match Error::check(done) {
            Ok(_) => Ok(true),
            Err(error) if WOULD_BLOCK.contains(&error.code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it is connected.
    pub(super) fn state(&self) -> State {
        state(self.id)
    }

    /// Why the peer, or we, refused the connection: `SRT_REJECT_REASON`, or from 1000 on an access control code.
    pub(super) fn reject_reason(&self) -> i32 {
        srt_getrejectreason(self.id)
    }

    /// What libsrt has measured since the connection began.
    pub(super) fn stats(&self) -> Option<Stats> {
        // SAFETY: all zeros is a valid PerfMon.
        let mut raw: PerfMon = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is the structure of this version of the interface; a newer library writes no field that this one has not,
        // since its own size is part of its soname.
        Error::check(unsafe { srt_bistats(self.id, &raw mut raw, 0, 1) }).ok()?;
        let count = |n: c_int| u64::try_from(n).unwrap_or(0);
        let millis = |ms: c_int| Dur::from_millis(i64::from(ms.max(0)));
        let latency = self.get(Opt::ReceiveLatency).map_or(raw.msRcvTsbPdDelay, |ms| ms.max(raw.msRcvTsbPdDelay));
        Some(Stats {
            rtt: Dur::from_secs_f64((raw.msRTT / 1000.0).clamp(0.0, 60.0)),
            received: u64::try_from(raw.pktRecvUniqueTotal).unwrap_or(0),
            bytes: raw.byteRecvUniqueTotal,
            lost: count(raw.pktRcvLossTotal),
            retransmitted: u64::try_from(raw.pktRecvTotal.saturating_sub(raw.pktRecvUniqueTotal)).unwrap_or(0),
            dropped: count(raw.pktRcvDropTotal),
            undecrypted: count(raw.pktRcvUndecryptTotal),
            sent: u64::try_from(raw.pktSentUniqueTotal).unwrap_or(0),
            resent: count(raw.pktRetransTotal),
            send_dropped: count(raw.pktSndDropTotal),
            receive_rate: (raw.mbpsRecvRate.clamp(0.0, 1e5) * 1e6) as u64,
            latency: millis(latency),
            buffered: millis(raw.msRcvBuf),
            // SRT_KM_S_SECURED.
            encrypted: self.get(Opt::ReceiveKeyState).is_ok_and(|s| s == 2),
            overrun: 0,
        })
    }

    /// Tells the peer and closes. The second time does nothing.
    pub(super) fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            srt_close(self.id);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
        if let Some(key) = self.hook {
            hooks::remove(key);
        }
    }
}

fn set(id: c_int, option: Opt, value: &[u8]) -> Result<(), Error> {
    let length = c_int::try_from(value.len()).unwrap_or(c_int::MAX);
    // SAFETY: `length` bytes are read; the options of type int get four, those of type text any number.
    Error::check(unsafe { srt_setsockflag(id, option as c_int, value.as_ptr().cast(), length) }).map(|_| ())
}

/// The state of a socket that may not be ours any more.
pub(super) fn state(id: i32) -> State {
    match srt_getsockstate(id) {
        1..=4 => State::Opening,
        5 => State::Connected,
        _ => State::Gone,
    }
}

/// What a listener asks about each caller, on a thread of libsrt: it must not wait for anything.
pub(super) trait Hook: Send + Sync {
    /// What the caller needs to get in, or the code that it is refused with.
    fn handshake(&self, socket: i32, peer: SocketAddr, stream_id: &str) -> Result<Entry, i32>;
}

/// What a caller needs to get in.
#[derive(Default)]
pub(super) struct Entry {
    /// It must know this.
    pub passphrase: Option<secrecy::SecretString>,
}

/// Listeners' hooks by number: what libsrt keeps for us is that number, which may outlive the listener.
mod hooks {
    use super::*;
    use std::collections::HashMap;

    static NEXT: AtomicUsize = AtomicUsize::new(1);
    static ALL: LazyLock<RwLock<HashMap<usize, Weak<dyn Hook>>>> = LazyLock::new(RwLock::default);

    pub fn add(hook: Weak<dyn Hook>) -> usize {
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        ALL.write().unwrap_or_else(PoisonError::into_inner).insert(key, hook);
        key
    }

    pub fn remove(key: usize) {
        ALL.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    pub fn get(key: usize) -> Option<std::sync::Arc<dyn Hook>> {
        ALL.read().unwrap_or_else(PoisonError::into_inner).get(&key)?.upgrade()
    }
}

/// `srt_listen_callback_fn`: 0 lets the caller in.
extern "C" fn on_handshake(
    opaque: *mut c_void,
    socket: c_int,
    _version: c_int,
    peer: *const libc::sockaddr,
    stream_id: *const c_char,
) -> c_int {
    // A panic must not reach C++.
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let hook = hooks::get(opaque as usize)?;
        let stream_id = if stream_id.is_null() {
            String::new()
        } else {
            // SAFETY: a text of at most 512 bytes that ends in a zero, valid during this call.
            unsafe { CStr::from_ptr(stream_id) }.to_string_lossy().into_owned()
        };
        let peer = (!peer.is_null()).then(|| read_peer(peer)).flatten();
        let peer = peer.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        Some(hook.handshake(socket, peer, &stream_id))
    }));
    // SRT_REJX_DOWN where nobody can say.
    let entry = answer.ok().flatten().unwrap_or(Err(1503));
    let entry = entry.and_then(|entry| {
        use secrecy::ExposeSecret;
        match entry.passphrase {
            Some(secret) => set(socket, Opt::Passphrase, secret.expose_secret().as_bytes()).map_err(|_| 1500),
            None => Ok(()),
        }
    });
    match entry {
        Ok(()) => 0,
        Err(code) => {
            srt_setrejectreason(socket, code);
            -1
        }
    }
}

fn read_peer(peer: *const libc::sockaddr) -> Option<SocketAddr> {
    let (mut raw, _) = RawAddress::empty();
    // SAFETY: libsrt hands over a sockaddr_in or sockaddr_in6, as its family says; that many bytes are copied.
    unsafe {
        match c_int::from((*peer).sa_family) {
            libc::AF_INET => raw.v4 = peer.cast::<libc::sockaddr_in>().read_unaligned(),
            libc::AF_INET6 => raw.v6 = peer.cast::<libc::sockaddr_in6>().read_unaligned(),
            _ => return None,
        }
    }
    raw.read()
}

/// Waits for many sockets.
pub(super) struct Poll {
    id: c_int,
    ready: Vec<(i32, i32)>,
}

/// Sockets that one wait reports; the rest comes with the next.
const READY: usize = 128;

impl Poll {
    pub(super) fn new() -> Result<Poll, Error> {
        let id = Error::check(srt_epoll_create())?;
        Error::check(srt_epoll_set(id, ENABLE_EMPTY))?;
        Ok(Poll { id, ready: Vec::with_capacity(READY) })
    }

    pub(super) fn add(&self, socket: &Socket, events: i32) -> Result<(), Error> {
        // SAFETY: `events` is only read.
        Error::check(unsafe { srt_epoll_add_usock(self.id, socket.id, &raw const events) }).map(|_| ())
    }

    /// One that is gone already is no error.
    pub(super) fn remove(&self, socket: &Socket) {
        srt_epoll_remove_usock(self.id, socket.id);
    }

    /// Sockets with their events; none after `milliseconds` without any.
    pub(super) fn wait(&mut self, milliseconds: i64) -> Result<&[(i32, i32)], Error> {
        let mut raw = [const { PollEvent { socket: 0, events: 0 } }; READY];
        // SAFETY: at most READY events are written.
        let count = Error::check(unsafe { srt_epoll_uwait(self.id, raw.as_mut_ptr(), READY as c_int, milliseconds) })?;
        let count = usize::try_from(count).unwrap_or(0).min(READY);
        self.ready.clear();
        self.ready.extend(raw.iter().take(count).map(|e| (e.socket, e.events)));
        Ok(&self.ready)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        srt_epoll_release(self.id);
    }
}
