//! Listening on TCP and admitting connections.
//!
//! **Role.** Binds (or inherits from systemd) a listening socket and hands out connections with a [`Permit`] each.
//! **Bound.** [`Limits`]: connections in total and per peer address, over all listeners that share a [`Gate`]. One beyond
//! them comes back as [`Refusal`] with its stream, so that the protocol can say why in its own words before it closes.
//! **When the acceptor is slow** the kernel's backlog of [`BACKLOG`] fills and it refuses further connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the kernel holds while the acceptor is busy: the burst when a talk starts and all players come.
pub const BACKLOG: u32 = 4096;

/// The pause after `accept` failed, which it does when descriptors run out: waiting lets connections end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be had. The text names the configuration key and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{key} = \"{address}\": the address is in use by another process; stop that one or change {key}")]
    InUse {
        /// The configuration key.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The port needs a privilege.
    #[error(
        "{key} = \"{address}\": not permitted; ports below 1024 need CAP_NET_BIND_SERVICE or a systemd socket, or change {key}"
    )]
    NotPermitted {
        /// The configuration key.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address is not one of this host's.
    #[error("{key} = \"{address}\": this host has no such address; change {key}")]
    NoSuchAddress {
        /// The configuration key.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("{key} = \"{address}\": cannot listen: {error}")]
    Other {
        /// The configuration key.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

impl BindError {
    /// From the system's error for `address`, as asked for by the configuration key `key`. Also for UDP sockets.
    pub fn new(key: &'static str, address: SocketAddr, error: io::Error) -> BindError {
        match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { key, address },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { key, address },
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { key, address },
            _ => BindError::Other { key, address, error },
        }
    }
}

/// How many connections a [`Gate`] admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In total.
    pub total: usize,
    /// Per peer: an IPv4 address, or the /64 of an IPv6 address (one customer). 0 is no limit, for a listener that
    /// stands behind a proxy.
    pub per_address: usize,
}

impl Default for Limits {
    /// 20 000 in total: some 20 KB each stay under 400 MB. 1000 per address: a venue's network behind one address.
    fn default() -> Self {
        Limits { total: 20_000, per_address: 1_000 }
    }
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are as many as may be.
    #[error("too many connections")]
    Total,
    /// This peer has as many as one peer may have.
    #[error("too many connections from this address")]
    PerAddress,
}

impl Refusal {
    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Total => "total",
            Refusal::PerAddress => "per_address",
        }
    }
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// Counts what is open on the listeners that share it, such as the plain and the TLS one of a protocol. The lock is held
/// for a map access, never across an await.
#[derive(Clone)]
pub struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

/// One customer of the network: an IPv4 address (mapped ones too) or an IPv6 /64.
pub fn peer_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Gate {
    /// With nothing open.
    pub fn new(limits: Limits) -> Gate {
        Gate { limits, counts: Arc::default() }
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    fn admit(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        let group = peer_group(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.limits.total {
            return Err(Refusal::Total);
        }
        let mine = counts.by_peer.get(&group).copied().unwrap_or(0);
        if self.limits.per_address > 0 && mine >= self.limits.per_address {
            return Err(Refusal::PerAddress);
        }
        counts.total += 1;
        counts.by_peer.insert(group, mine + 1);
        Ok(Permit { gate: self.clone(), group })
    }
}

/// The right to one connection; given back when dropped.
pub struct Permit {
    gate: Gate,
    group: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(mine) = counts.by_peer.get_mut(&self.group) {
            *mine -= 1;
            if *mine == 0 {
                counts.by_peer.remove(&self.group);
            }
        }
    }
}

/// A connection with the peer's address.
pub struct Admitted {
    /// The connection, with `TCP_NODELAY` set.
    pub stream: TcpStream,
    /// The peer; an IPv4 peer of a dual-stack socket is shown as IPv4.
    pub peer: SocketAddr,
    /// To be kept as long as the connection is open; or why it must be closed.
    pub permit: Result<Permit, Refusal>,
}

/// Sockets that a service manager opened for us (`sd_listen_fds(3)`).
#[derive(Default)]
pub struct Inherited {
    tcp: Vec<std::net::TcpListener>,
}

impl Inherited {
    /// Takes what the environment names. Call once, at start.
    pub fn from_env() -> Inherited {
        let mut fds = listenfd::ListenFd::from_env();
        let tcp = (0..fds.len()).filter_map(|i| match fds.take_tcp_listener(i) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(socket = i, %error, "inherited socket is not a TCP listener, ignored");
                None
            }
        });
        Inherited { tcp: tcp.collect() }
    }

    /// The inherited socket for `address`: the same port and, unless one of the two is unspecified, the same address.
    fn take(&mut self, address: SocketAddr) -> Option<std::net::TcpListener> {
        let fits = |l: &std::net::TcpListener| {
            l.local_addr().is_ok_and(|have| {
                have.port() == address.port()
                    && (have.ip().to_canonical() == address.ip().to_canonical()
                        || have.ip().is_unspecified()
                        || address.ip().is_unspecified())
            })
        };
        let index = self.tcp.iter().position(fits)?;
        Some(self.tcp.swap_remove(index))
    }
}

/// A listening TCP socket.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    key: &'static str,
    gate: Gate,
}

impl Listener {
    /// Listens on `address`, or takes the socket from `inherited`. `key` is the configuration key that errors name,
    /// such as `[http] listen`. Port 0 is any free port. Must be called within the runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(
        key: &'static str,
        address: SocketAddr,
        gate: &Gate,
        inherited: &mut Inherited,
    ) -> Result<Listener, BindError> {
        let mut bind = || -> io::Result<Listener> {
            let socket = match inherited.take(address) {
                Some(socket) => {
                    socket.set_nonblocking(true)?;
                    TcpListener::from_std(socket)?
                }
                None => {
                    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    // Else a restarted daemon waits a minute for the connections of the one before.
                    socket.set_reuseaddr(true)?;
                    socket.bind(address)?;
                    socket.listen(BACKLOG)?
                }
            };
            let address = socket.local_addr()?;
            Ok(Listener { socket, address, key, gate: gate.clone() })
        };
        bind().map_err(|error| BindError::new(key, address, error))
    }

    /// The address with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Errors of single connections are skipped, lack of descriptors is waited out. Cancel safe.
    pub async fn accept(&self) -> Admitted {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    // Fails only for a connection that is gone already, which the first read will tell.
                    let _ = stream.set_nodelay(true);
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let permit = self.gate.admit(peer.ip());
                    match &permit {
                        Ok(_) => metrics::counter!("boothcast_connections_total", "listener" => self.key).increment(1),
                        Err(refusal) => metrics::counter!("boothcast_connections_refused_total",
                            "listener" => self.key, "reason" => refusal.as_str())
                        .increment(1),
                    }
                    return Admitted { stream, peer, permit };
                }
                Err(error) if peer_is_gone(&error) => {}
                Err(error) => {
                    metrics::counter!("boothcast_accept_errors_total", "listener" => self.key).increment(1);
                    tracing::warn!(listener = self.key, %error, "accept failed, waiting");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn peer_is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Raises the process's limit of open files to what the system allows it, and says what it is now. Each viewer
/// holds a descriptor; the usual soft limit of 1024 is below what one machine serves.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        "127.0.0.1:0".parse().expect("address")
    }

    fn bind(address: SocketAddr, limits: Limits) -> Result<Listener, BindError> {
        Listener::bind("[http] listen", address, &Gate::new(limits), &mut Inherited::default())
    }

    #[tokio::test]
    async fn a_port_in_use_names_the_key_to_change() {
        let first = bind(local(), Limits::default()).expect("free port");
        let error = bind(first.local_addr(), Limits::default()).err().expect("port is taken");
        assert!(matches!(error, BindError::InUse { .. }));
        let text = error.to_string();
        assert!(text.contains("[http] listen") && text.contains(&first.local_addr().to_string()), "{text}");
        let error = bind("192.0.2.1:0".parse().expect("address"), Limits::default()).err().expect("not ours");
        assert!(matches!(error, BindError::NoSuchAddress { .. }), "{error}");
    }

    #[tokio::test]
    async fn connections_beyond_the_limits_are_refused_until_one_closes() {
        let listener = bind(local(), Limits { total: 3, per_address: 2 }).expect("free port");
        let mut clients = Vec::new();
        let mut permits = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(listener.local_addr()).await.expect("connects"));
            permits.push(listener.accept().await.permit.expect("admitted"));
        }
        clients.push(TcpStream::connect(listener.local_addr()).await.expect("connects"));
        assert_eq!(listener.accept().await.permit.err(), Some(Refusal::PerAddress));
        permits.pop();
        clients.push(TcpStream::connect(listener.local_addr()).await.expect("connects"));
        permits.push(listener.accept().await.permit.expect("admitted again"));
        assert_eq!(listener.gate.open(), 2);
        let third = listener.gate.admit("192.0.2.1".parse().expect("address")).expect("another peer");
        assert_eq!(listener.gate.admit("192.0.2.2".parse().expect("address")).err(), Some(Refusal::Total));
        drop((third, permits));
        assert_eq!(listener.gate.open(), 0);
        assert!(listener.gate.counts.lock().expect("lock").by_peer.is_empty(), "nothing is kept of who has left");
    }

    #[tokio::test]
    async fn listeners_that_share_a_gate_share_its_limits() {
        let gate = Gate::new(Limits { total: 1, per_address: 0 });
        let bind = |key| Listener::bind(key, local(), &gate, &mut Inherited::default()).expect("free port");
        let (plain, tls) = (bind("[rtmp] listen"), bind("[rtmp] tls_listen"));
        let clients = (TcpStream::connect(plain.local_addr()).await, TcpStream::connect(tls.local_addr()).await);
        let first = plain.accept().await.permit.expect("admitted");
        assert_eq!(tls.accept().await.permit.err(), Some(Refusal::Total));
        drop((first, clients));
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn one_customer_is_an_ipv4_address_or_an_ipv6_network() {
        let group = |s: &str| peer_group(s.parse().expect("address"));
        assert_eq!(group("2001:db8:1:2:3::4"), group("2001:db8:1:2::ffff"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
    }

    #[tokio::test]
    async fn an_inherited_socket_is_used_for_its_address() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = socket.local_addr().expect("bound");
        let mut inherited = Inherited { tcp: vec![socket] };
        let gate = Gate::new(Limits::default());
        let other = Listener::bind("[rtmp] listen", local(), &gate, &mut inherited).expect("free port");
        assert_ne!(other.local_addr(), address);
        let mine = Listener::bind("[http] listen", address, &gate, &mut inherited).expect("inherited");
        assert_eq!(mine.local_addr(), address);
        assert!(inherited.tcp.is_empty());
    }
}
