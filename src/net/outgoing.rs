//! What the daemon itself connects to: pulls, targets, webhooks, uploads.
//!
//! **Role.** People who may manage an event choose these addresses, and must not reach what only this machine reaches: its
//! own services, its network's, a cloud's metadata. [`Guard::resolve`] looks a host up, refuses every address that is not
//! public unless `[outgoing] allow_private` is set, and gives the addresses themselves. Whoever connects uses those and
//! never the name again, so that a name that resolves differently the next moment (DNS rebinding) changes nothing. Call it
//! anew for each connection and each redirect.
//! **Bound.** [`MAX_URL`] bytes of an address, [`MAX_ADDRESSES`] of a host, [`RESOLVE_TIMEOUT`] and [`CONNECT_TIMEOUT`].
//! An [`OutgoingUrl`] shows neither credentials nor query where it is printed.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

/// Bytes of an address: signed ones have some hundreds.
pub const MAX_URL: usize = 2_000;

/// Addresses of a host that are tried.
pub const MAX_ADDRESSES: usize = 4;

/// How long a name may take to resolve: the system's resolver tries its servers for about as long.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one address may take to accept: two lost SYNs.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with an address as text, in words for whoever wrote it. No part of the address is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than [`MAX_URL`].
    #[error("is longer than {MAX_URL} bytes")]
    Long,
    /// Not `scheme://host…`.
    #[error("is no address of the form scheme://host/path")]
    Form,
    /// There is no host, or what stands there is none.
    #[error("has no valid host name or address")]
    Host,
    /// Port 0.
    #[error("has port 0, which nobody can connect to")]
    Port,
    /// White space or a control character, which a person did not mean and a protocol would misread.
    #[error("holds white space or a control character; write it as %20")]
    Space,
}

/// An address to connect to. Printing it shows `scheme://***@host:port/path?***`; [`OutgoingUrl::expose`] gives all of it.
#[derive(Clone)]
pub struct OutgoingUrl {
    url: Url,
    host: Host<String>,
    full: SecretString,
}

impl OutgoingUrl {
    /// Reads an address of any scheme.
    ///
    /// # Errors
    /// [`UrlError`], in words that follow the field's name.
    pub fn parse(text: &str) -> Result<OutgoingUrl, UrlError> {
        if text.len() > MAX_URL {
            return Err(UrlError::Long);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Space);
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost
            | url::ParseError::InvalidIpv4Address
            | url::ParseError::InvalidIpv6Address
            | url::ParseError::InvalidDomainCharacter
            | url::ParseError::IdnaError => UrlError::Host,
            _ => UrlError::Form,
        })?;
        if url.cannot_be_a_base() || !text.contains("://") {
            return Err(UrlError::Form);
        }
        // Of schemes that browsers do not know, the host is kept as it was written: read it as they read theirs, with
        // internationalised names and the odd forms of IPv4 addresses.
        let written = url.host_str().filter(|h| !h.is_empty()).ok_or(UrlError::Host)?;
        let written = percent_decode_str(written).decode_utf8().map_err(|_| UrlError::Host)?;
        let host = Host::parse(&written).map_err(|_| UrlError::Host)?;
        if url.port() == Some(0) {
            return Err(UrlError::Port);
        }
        let full = SecretString::from(url.as_str().to_owned());
        Ok(OutgoingUrl { url, host, full })
    }

    /// In lower case.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Name or address.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// Its own port, or the scheme's.
    pub fn port_or(&self, default: u16) -> u16 {
        self.url.port_or_known_default().unwrap_or(default)
    }

    /// The path as it was written, from its slash on.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The query as it was written. It may hold secrets.
    pub fn query(&self) -> Option<&str> {
        self.url.query()
    }

    /// The query's parameters, decoded, in their order; one without a value has an empty one.
    pub fn query_pairs(&self) -> Vec<(String, SecretString)> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = self.url.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let split = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value).into())
        };
        pairs.map(split).collect()
    }

    /// User and password, decoded; none without either.
    pub fn credentials(&self) -> Option<(String, SecretString)> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return None;
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decode(self.url.username()), decode(self.url.password().unwrap_or("")).into()))
    }

    /// All of it, to be stored sealed or sent to whom it is for.
    pub fn expose(&self) -> &str {
        self.full.expose_secret()
    }

    /// The same without user and password.
    pub fn without_credentials(&self) -> Url {
        let mut url = self.url.clone();
        // Fails for addresses without a host alone, which were refused.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url
    }

    /// `host:port`, for logs: a path may be a stream key.
    pub fn authority(&self, default_port: u16) -> String {
        format!("{}:{}", self.host, self.port_or(default_port))
    }

    /// A peer's words without the secrets of this address, which servers like to repeat.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let password = self.credentials().map(|(_, password)| password);
        let mut secrets: Vec<&str> = [self.url.query(), self.url.password()].into_iter().flatten().collect();
        secrets.extend(password.as_ref().map(|p| p.expose_secret()));
        // Each parameter's value too; the longest first, so that none leaves a part of another.
        let values = self.url.query().into_iter().flat_map(|q| q.split('&')).filter_map(|p| p.split_once('='));
        secrets.extend(values.map(|(_, value)| value).filter(|v| v.len() >= 4));
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        for secret in secrets.into_iter().filter(|s| !s.is_empty()) {
            text = text.replace(secret, "***");
        }
        text
    }
}

impl fmt::Display for OutgoingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.url.scheme())?;
        if self.credentials().is_some() {
            f.write_str("***@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.url.path())?;
        if self.url.query().is_some() {
            f.write_str("?***")?;
        }
        Ok(())
    }
}

impl fmt::Debug for OutgoingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why nothing is connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The name has no address, or nobody could say.
    #[error("{host} cannot be resolved ({why}); check the name and this server's DNS")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// All its addresses are of networks that are not public.
    #[error(
        "{host} is {address}, {kind}: this server connects to public addresses only, unless [outgoing] allow_private is \
         set in its configuration"
    )]
    Private {
        /// The host as it was given.
        host: String,
        /// Its first address.
        address: IpAddr,
        /// What that address is.
        kind: &'static str,
    },
}

/// Decides what may be connected to, and connects. Clones share the setting.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow_private: Arc<AtomicBool>,
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl Guard {
    /// With `[outgoing] allow_private`.
    pub fn new(allow_private: bool) -> Guard {
        let guard = Guard::default();
        guard.set_allow_private(allow_private);
        guard
    }

    /// Takes over a reloaded setting, for connections from now on.
    pub fn set_allow_private(&self, allow_private: bool) {
        self.allow_private.store(allow_private, Ordering::Relaxed);
    }

    /// The addresses of a host that may be connected to, at most [`MAX_ADDRESSES`], in the resolver's order.
    ///
    /// # Errors
    /// [`GuardError`] when there is none.
    pub async fn resolve(&self, host: &Host<String>, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let found = match host {
            Host::Ipv4(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::Ipv6(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::Domain(name) => {
                let unresolved = |why: &str| GuardError::Resolve { host: name.clone(), why: why.to_owned() };
                match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name.as_str(), port))).await {
                    Ok(Ok(found)) => found.collect(),
                    Ok(Err(error)) => return Err(unresolved(&error.to_string())),
                    Err(_) => return Err(unresolved("no answer in time")),
                }
            }
        };
        self.admit(&host.to_string(), found)
    }

    /// Leaves those of a host's addresses that may be connected to.
    fn admit(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, GuardError> {
        let allow = self.allow_private.load(Ordering::Relaxed);
        let admitted = found.iter().filter(|at| allow || special(at.ip()).is_none());
        let admitted: Vec<SocketAddr> = admitted.take(MAX_ADDRESSES).copied().collect();
        if !admitted.is_empty() {
            return Ok(admitted);
        }
        metrics::counter!("boothcast_outgoing_refused_total").increment(1);
        Err(match found.first() {
            Some(at) => GuardError::Private {
                host: host.to_owned(),
                address: at.ip(),
                kind: special(at.ip()).unwrap_or("no public address"),
            },
            None => GuardError::Resolve { host: host.to_owned(), why: "it has no address".to_owned() },
        })
    }

    /// Connects to the first of `addresses` that accepts; they must come from [`Guard::resolve`].
    ///
    /// # Errors
    /// What the last one said.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for &at in addresses {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok((stream, at));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection request"),
            }
        }
        Err(last)
    }

    /// Speaks TLS on a connection, as client, and holds the server's certificate to `host` and this machine's authorities.
    ///
    /// # Errors
    /// When the handshake fails or takes too long.
    pub async fn tls(&self, stream: TcpStream, host: &Host<String>) -> io::Result<TlsStream<TcpStream>> {
        let config = self.tls.get_or_try_init(client_config).await?.clone();
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
        };
        let handshake = tokio_rustls::TlsConnector::from(config).connect(name, stream);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no end of the TLS handshake");
        tokio::time::timeout(TLS_TIMEOUT, handshake).await.map_err(|_| late())?
    }
}

/// With the certificate authorities that this machine trusts (`/etc/ssl`, or `SSL_CERT_FILE`): a private authority is added
/// there and not in a configuration of ours.
async fn client_config() -> io::Result<Arc<ClientConfig>> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(io::Error::other)?;
    let mut roots = rustls::RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err(io::Error::other("this machine has no certificate authorities: install ca-certificates"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What an address is that does not belong to the public internet; none for one that does (IANA's special-purpose
/// registries, RFC 6890). IPv6 forms that carry an IPv4 address are what that address is.
pub fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [0, ..] => Some("an unspecified address"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [169, 254, ..] => Some("a link-local address"),
        [100, 64..=127, ..] => Some("a shared address of a carrier's network"),
        [192, 0, 0, _] | [192, 88, 99, _] => Some("an address of a protocol's own"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("an address for documentation"),
        [198, 18..=19, ..] => Some("an address for benchmarks"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        special_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped (RFC 4291 §2.5.5.2) and by the well-known prefix of NAT64 (RFC 6052): what they carry.
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => embedded(a, b),
        // 6to4 (RFC 3056).
        [0x2002, a, b, ..] => embedded(a, b),
        [0xfc00..=0xfdff, ..] => Some("a unique-local address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // Teredo, benchmarks, ORCHID and the rest of IETF's own; documentation.
        [0x2001, 0..=0x1ff, ..] => Some("an address of a protocol's own"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("an address for documentation"),
        // Global unicast is 2000::/3 as yet (RFC 4291 §2.4 and IANA's registry).
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
