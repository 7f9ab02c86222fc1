//! The shell around [`Core`]: sockets, timers, tasks, channels.
//!
//! One task owns the core. It takes datagrams in batches of [`BATCH`], then gives every other input its turn, so that
//! neither a burst of datagrams nor a key frame for many viewers holds up a voice.

use super::core::{Core, Event, Opened, PeerId, SourceId, Transmit};
use super::crypto::Identity;
use super::ice::Route;
use super::session::Mailbox;
use super::{Config, Patched, PeerState, PeerStats, PlaySource, Role, RtcError, tcp};
use crate::hub::{RecvError, Start, Stream};
use crate::media::{Packet, SharedClock};
use crate::task::Group;
use crate::wire::sdp::Candidate;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};

/// Datagrams that are read before others get their turn.
const BATCH: usize = 64;

/// Packets of all sources that wait for the driver; behind it the hub's ring keeps them and says what was missed.
const MEDIA: usize = 256;

/// Commands that wait; who gives one waits for the answer anyway.
const COMMANDS: usize = 256;

/// Frames of all TCP connections that wait; behind it they wait in their sockets.
const FRAMES: usize = 1024;

/// Datagrams that wait for the socket when the system's buffer is full: the oldest is dropped.
const OUTBOX: usize = 4096;

/// The system's buffers of the UDP socket: key frames for many viewers go out at once.
const SOCKET_BUFFER: usize = 4 << 20;

/// Datagrams that are left free in a connection's queue for reports and handshakes when media must wait.
const TCP_RESERVE: usize = 64;

/// What others want.
pub enum Command {
    /// A new session.
    Open {
        /// The offer.
        offer: String,
        /// What for.
        role: Role,
        /// The answer.
        reply: oneshot::Sender<Result<OpenedSession, RtcError>>,
    },
    /// A PATCH.
    Patch {
        /// Of which session.
        id: PeerId,
        /// Its body.
        fragment: String,
        /// Its condition.
        etag: Option<String>,
        /// The outcome.
        reply: oneshot::Sender<Result<Patched, RtcError>>,
    },
}

/// A session that was answered.
pub struct OpenedSession {
    /// Its number.
    pub id: PeerId,
    /// Its name in URLs.
    pub name: String,
    /// Its entity tag.
    pub etag: String,
    /// The answer.
    pub answer: String,
    /// Its figures.
    pub stats: watch::Receiver<PeerStats>,
}

/// The writing side of a TCP connection.
pub struct TcpPeer {
    /// Datagrams for it.
    pub tx: mpsc::Sender<Bytes>,
    /// Media waits until it has written what it has.
    pub blocked: Arc<AtomicBool>,
}

/// What a TCP connection says.
pub enum FromTcp {
    /// It is there.
    Opened {
        /// Its number.
        number: u64,
        /// How to write to it.
        handle: TcpPeer,
    },
    /// A datagram came.
    Frame {
        /// Its number.
        number: u64,
        /// From where.
        peer: SocketAddr,
        /// What.
        data: Bytes,
    },
    /// It has written what it had.
    Drained {
        /// Its number.
        number: u64,
        /// From where.
        peer: SocketAddr,
    },
    /// It is gone.
    Closed {
        /// Its number.
        number: u64,
        /// From where.
        peer: SocketAddr,
    },
}

enum FromSource {
    Packet(SourceId, Packet),
    Lagged(SourceId),
}

struct Playing {
    stream: Stream,
    tasks: Group,
}

struct Driver {
    core: Core,
    clock: SharedClock,
    socket: UdpSocket,
    v6: bool,
    group: Group,
    sessions: BTreeMap<PeerId, watch::Sender<PeerStats>>,
    sources: BTreeMap<SourceId, Playing>,
    next_source: SourceId,
    media: mpsc::Sender<FromSource>,
    connections: HashMap<u64, TcpPeer>,
    outbox: VecDeque<(SocketAddr, Bytes)>,
    dropped: metrics::Counter,
}

/// Binds the sockets and starts the tasks.
pub(super) async fn start(
    config: &Config,
    group: &Group,
    clock: SharedClock,
) -> io::Result<(mpsc::Sender<Command>, Arc<Mailbox>, SocketAddr)> {
    let identity = Identity::new().map_err(io::Error::other)?;
    let (socket, listener) = bind(config.listen).await?;
    let local = socket.local_addr()?;
    // What the system does not grant is its limit; 4 MB are wished for.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    let candidates = candidates(&config.public_ips, local);
    let (commands, from_commands) = mpsc::channel(COMMANDS);
    let (media, from_media) = mpsc::channel(MEDIA);
    let (frames, from_tcp) = mpsc::channel(FRAMES);
    let mailbox = Arc::new(Mailbox::default());
    let driver = Driver {
        core: Core::new(identity, candidates, config.max_sessions, clock.now()),
        clock,
        socket,
        v6: local.is_ipv6(),
        group: group.clone(),
        sessions: BTreeMap::new(),
        sources: BTreeMap::new(),
        next_source: 1,
        media,
        connections: HashMap::new(),
        outbox: VecDeque::new(),
        dropped: metrics::counter!("boothcast_webrtc_dropped_datagrams_total"),
    };
    group.spawn("webrtc tcp listener", tcp::serve(listener, frames, group.clone()));
    group.spawn("webrtc", driver.run(from_commands, mailbox.clone(), from_media, from_tcp));
    Ok((commands, mailbox, local))
}

/// UDP and TCP on one number.
async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    /// Times that a free UDP port's TCP twin is looked for.
    const ATTEMPTS: usize = 20;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let socket = UdpSocket::bind(listen).await?;
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) if listen.port() != 0 || attempt >= ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

/// The addresses that peers are told.
fn candidates(public: &[IpAddr], local: SocketAddr) -> Vec<Candidate> {
    let mut ips: Vec<IpAddr> = public.to_vec();
    if ips.is_empty() && !local.ip().is_unspecified() {
        ips.push(local.ip());
    } else if ips.is_empty() {
        ips.extend(interfaces(local.is_ipv6()));
    }
    let both = ips.iter().map(|ip| SocketAddr::new(*ip, local.port()));
    let (udp, tcp) = (both.clone(), both);
    udp.map(|address| Candidate { address, tcp: false })
        .chain(tcp.map(|address| Candidate { address, tcp: true }))
        .collect()
}

/// The machine's own addresses: those that it would send from, and loopback.
fn interfaces(v6: bool) -> Vec<IpAddr> {
    // Connecting a UDP socket sends nothing; it only chooses the address that a packet would have.
    let toward = |from: IpAddr, to: IpAddr| {
        let socket = std::net::UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified())
    };
    let mut found = Vec::new();
    let public = Ipv4Addr::new(192, 0, 2, 1);
    found.extend(toward(Ipv4Addr::UNSPECIFIED.into(), public.into()));
    if v6 {
        let public = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        found.extend(toward(Ipv6Addr::UNSPECIFIED.into(), public.into()));
    }
    if let Ok(others) = ::rtc::shared::ifaces::ifaces() {
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => v6 && !ip.is_loopback() && !ip.is_unicast_link_local(),
        };
        for ip in others.into_iter().filter_map(|i| i.addr).map(|a| a.ip()).filter(usable) {
            if !found.contains(&ip) {
                found.push(ip);
            }
        }
    }
    found.push(Ipv4Addr::LOCALHOST.into());
    /// Each one costs every peer a check; machines with many bridges should be told their address.
    const MOST: usize = 8;
    let last = found.len().saturating_sub(1);
    if last >= MOST {
        found.drain(MOST - 1..last);
    }
    found
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mailbox: Arc<Mailbox>,
        mut media: mpsc::Receiver<FromSource>,
        mut tcp: mpsc::Receiver<FromTcp>,
    ) {
        let mut buffer = vec![0u8; 2048];
        let clock = self.clock.clone();
        let cancelled = self.group.token();
        loop {
            self.deliver();
            let deadline = self.core.poll_timeout();
            let timer = async {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = cancelled.cancelled() => break,
                ready = self.socket.readable() => {
                    if ready.is_ok() {
                        self.receive(&mut buffer);
                    }
                }
                ready = self.socket.writable(), if !self.outbox.is_empty() => {
                    if ready.is_ok() {
                        self.flush();
                    }
                }
                Some(command) = commands.recv() => self.command(command),
                () = mailbox.notify.notified() => {
                    let letters = mailbox.take();
                    letters.sources.into_iter().for_each(|(id, source)| self.set_source(id, source));
                    letters.closing.into_iter().for_each(|id| self.core.close(id, clock.now()));
                }
                Some(first) = media.recv() => {
                    let mut next = Some(first);
                    let mut left = BATCH;
                    while let Some(item) = next {
                        match item {
                            FromSource::Packet(id, packet) => self.core.media(id, &packet, clock.now()),
                            FromSource::Lagged(id) => self.core.lagged(id, clock.now()),
                        }
                        left -= 1;
                        next = if left > 0 { media.try_recv().ok() } else { None };
                    }
                }
                Some(message) = tcp.recv() => self.tcp(message),
                () = timer => {}
            }
            self.core.timeout(clock.now());
        }
        let ids: Vec<PeerId> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.core.close(id, clock.now()));
        self.deliver();
    }

    /// Takes the datagrams that are there.
    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok((length, from)) = self.socket.try_recv_from(buffer) else { return };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let Some(data) = buffer.get(..length) else { return };
            self.core.input(Route::Udp(from), data, self.clock.now());
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Open { offer, role, reply } => {
                let source = match &role {
                    Role::Play(source) => Some(self.source(source)),
                    _ => None,
                };
                let opened = self.core.open(&offer, role, source, now).map(|opened| {
                    let Opened { id, name, etag, answer } = opened;
                    let (tx, stats) = watch::channel(PeerStats::default());
                    self.sessions.insert(id, tx);
                    OpenedSession { id, name, etag, answer, stats }
                });
                let id = opened.as_ref().ok().map(|o| o.id);
                // Who asked may be gone meanwhile.
                if reply.send(opened).is_err()
                    && let Some(id) = id
                {
                    self.core.close(id, now);
                }
                self.forget_sources();
            }
            Command::Patch { id, fragment, etag, reply } => {
                let _ = reply.send(self.core.patch(id, &fragment, etag.as_deref()));
            }
        }
    }

    /// The source's number; one that is new is read from now on.
    fn source(&mut self, source: &PlaySource) -> SourceId {
        if let Some((id, _)) = self.sources.iter().find(|(_, s)| s.stream.is(&source.stream)) {
            return *id;
        }
        let id = self.next_source;
        self.next_source += 1;
        let tasks = self.group.child();
        let (mut reader, to) = (source.stream.subscribe(Start::Live), self.media.clone());
        tasks.spawn_until_cancelled("webrtc source", async move {
            loop {
                let message = match reader.recv().await {
                    Ok(packet) => FromSource::Packet(id, packet),
                    Err(RecvError::Lagged(_)) => FromSource::Lagged(id),
                    Err(RecvError::Ended) => return,
                };
                if to.send(message).await.is_err() {
                    return;
                }
            }
        });
        self.sources.insert(id, Playing { stream: source.stream.clone(), tasks });
        self.core.add_source(id, source.on_key_frame.clone());
        id
    }

    fn set_source(&mut self, id: PeerId, source: PlaySource) {
        if self.sessions.contains_key(&id) {
            let number = self.source(&source);
            self.core.set_source(id, number, source.video, source.audio, self.clock.now());
            self.forget_sources();
        }
    }

    /// Sources that nobody plays any more are not read any more.
    fn forget_sources(&mut self) {
        let core = &mut self.core;
        self.sources.retain(|id, playing| {
            let kept = core.plays(*id);
            if !kept {
                playing.tasks.cancel();
                core.remove_source(*id);
            }
            kept
        });
    }

    fn tcp(&mut self, message: FromTcp) {
        let now = self.clock.now();
        match message {
            FromTcp::Opened { number, handle } => drop(self.connections.insert(number, handle)),
            FromTcp::Frame { number, peer, data } => {
                self.core.input(Route::Tcp(number, peer), &data, now);
            }
            FromTcp::Drained { number, peer } => self.core.block(Route::Tcp(number, peer), false, now),
            FromTcp::Closed { number, peer } => {
                self.connections.remove(&number);
                self.core.disconnected(Route::Tcp(number, peer));
            }
        }
    }

    /// Passes on what the core has.
    fn deliver(&mut self) {
        while let Some(request) = self.core.poll_request() {
            request();
        }
        let mut gone = false;
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Stats(id, stats) => {
                    if let Some(tx) = self.sessions.get(&id) {
                        tx.send_replace(*stats);
                    }
                }
                Event::Ended(id, end) => {
                    if let Some(tx) = self.sessions.remove(&id) {
                        tx.send_modify(|s| s.state = PeerState::Closed);
                    }
                    tracing::debug!(session = id, reason = end.as_str(), "WebRTC session ended");
                    gone = true;
                }
            }
        }
        if gone {
            self.forget_sources();
        }
        while let Some(Transmit { route, data }) = self.core.poll_transmit() {
            match route {
                Route::Udp(to) => self.send(to, data),
                Route::Tcp(number, _) => self.send_tcp(number, route, data),
            }
        }
        metrics::gauge!("boothcast_webrtc_sessions").set(self.core.counts().0 as f64);
    }

    fn send(&mut self, to: SocketAddr, data: Bytes) {
        let to = match to.ip() {
            IpAddr::V4(ip) if self.v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        if self.outbox.is_empty() {
            match self.socket.try_send_to(&data, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Unreachable, or refused: the peer is found out to be gone by its silence.
                Ok(_) | Err(_) => return,
            }
        }
        if self.outbox.len() >= OUTBOX {
            self.outbox.pop_front();
            self.dropped.increment(1);
        }
        self.outbox.push_back((to, data));
    }

    fn flush(&mut self) {
        while let Some((to, data)) = self.outbox.front() {
            match self.socket.try_send_to(data, *to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => drop(self.outbox.pop_front()),
            }
        }
    }

    fn send_tcp(&mut self, number: u64, route: Route, data: Bytes) {
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.tx.try_send(data).is_err() {
            self.dropped.increment(1);
        }
        if connection.tx.capacity() >= TCP_RESERVE || connection.blocked.swap(true, Ordering::AcqRel) {
            return;
        }
        // It may have written everything before it could see the flag; then it would never say so.
        if connection.tx.capacity() < tcp::QUEUE {
            self.core.block(route, true, self.clock.now());
        } else {
            connection.blocked.store(false, Ordering::Release);
        }
    }
}
