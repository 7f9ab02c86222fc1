//! How the world reaches this daemon, for the links in answers.

use super::api::Api;
use crate::net::Transport;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

/// Where the listeners are, with the ports that they really have; none for those that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Option<SocketAddr>,
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// RTMP.
    pub rtmp: Option<SocketAddr>,
    /// RTMPS.
    pub rtmps: Option<SocketAddr>,
    /// SRT.
    pub srt: Option<SocketAddr>,
}

/// The application name in RTMP addresses.
const RTMP_APP: &str = "live";

/// How a request reached us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `https://live.example.org:8443`, without a slash at the end.
    pub origin: String,
    /// Its host alone, for other protocols.
    host: String,
    addresses: Addresses,
}

impl Base {
    /// `origin` and `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Where an encoder publishes; `rtmp_url/key` is what it takes in one piece.
    pub fn rtmp(&self) -> Option<String> {
        self.addresses.rtmp.map(|a| format!("rtmp://{}:{}/{RTMP_APP}", self.host, a.port()))
    }

    /// The same over TLS.
    pub fn rtmps(&self) -> Option<String> {
        self.addresses.rtmps.map(|a| format!("rtmps://{}:{}/{RTMP_APP}", self.host, a.port()))
    }
}

impl Base {
    /// Where an encoder publishes by SRT, in the form that it takes in one piece; without a key, all but the stream id.
    pub fn srt(&self, key: Option<&str>, passphrase: Option<&str>) -> Option<String> {
        let address = self.addresses.srt?;
        let mut query = Vec::new();
        if let Some(key) = key {
            query.push(format!("streamid={}", percent_encoded(key)));
        }
        if let Some(passphrase) = passphrase {
            query.push(format!("passphrase={}", percent_encoded(passphrase)));
            query.push(format!("pbkeylen={SRT_KEY_LENGTH}"));
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        Some(format!("srt://{}:{}{query}", self.host, address.port()))
    }
}

/// AES-256. The sender chooses; a shorter key is taken too.
const SRT_KEY_LENGTH: u8 = 32;

/// All but unreserved characters encoded (RFC 3986 §2.3).
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl FromRequestParts<Api> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Base, Infallible> {
        let public = api.public();
        let origin = match &public.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let trusted = peer(parts).is_some_and(|p| public.trusted_proxies.contains(&p.ip().to_canonical()));
                let tls = parts.extensions.get::<Transport>().is_some_and(|t| t.tls);
                let forwarded = text(&parts.headers, "x-forwarded-proto").filter(|_| trusted);
                let scheme = match forwarded {
                    Some("https") => "https",
                    Some("http") => "http",
                    _ if tls => "https",
                    _ => "http",
                };
                let named = parts.uri.authority().map(|a| a.as_str()).or_else(|| text(&parts.headers, "host"));
                let fallback = || {
                    let listener = if tls { api.addresses().https } else { api.addresses().http };
                    listener.map_or_else(|| "localhost".to_owned(), |a| a.to_string())
                };
                format!("{scheme}://{}", named.filter(|n| is_authority(n)).map_or_else(fallback, str::to_owned))
            }
        };
        Ok(Base { host: host_of(&origin).to_owned(), origin, addresses: api.addresses() })
    }
}

/// The peer of the connection.
pub(super) fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0)
}

/// Who asks: the peer, or behind trusted proxies the last address in `X-Forwarded-For` that is not one of theirs.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut client = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter().rev().filter_map(|v| v.to_str().ok());
    for hop in forwarded.flat_map(|line| line.rsplit(',')) {
        if !trusted.contains(&client) {
            break;
        }
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(header::HeaderName::from_bytes(name.as_bytes()).ok()?)?.to_str().ok()
}

/// A host with or without a port; what comes from a `Host` header goes into links, so nothing else may be in it.
fn is_authority(text: &str) -> bool {
    // 253 for a name, 6 for a port.
    (1..=259).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

/// `host` of `scheme://host:port`, an IPv6 address with its brackets.
fn host_of(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    match authority.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &authority[..end + 2],
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_in_an_origin() {
        let cases = [
            ("http://a.example", "a.example"),
            ("https://a.example:8443", "a.example"),
            ("http://[::1]:8080", "[::1]"),
            ("http://[::1]", "[::1]"),
            ("http://127.0.0.1:1", "127.0.0.1"),
        ];
        for (origin, host) in cases {
            assert_eq!(host_of(origin), host);
        }
        for wrong in ["", "a b", "a/b", "a\"b", "user@host", "ho%73t", &"a".repeat(260)] {
            assert!(!is_authority(wrong), "{wrong}");
        }
    }

    #[test]
    fn srt_addresses_are_complete() {
        let addresses = Addresses { srt: Some(([0, 0, 0, 0], 9000).into()), ..Addresses::default() };
        let base = Base { origin: "https://[::1]:8443".into(), host: "[::1]".into(), addresses };
        let url = |key, passphrase| base.srt(key, passphrase).expect("a listener");
        assert_eq!(url(Some("k3y"), None), "srt://[::1]:9000?streamid=k3y");
        assert_eq!(
            url(Some("k3y"), Some("a b&c=d/é?1")),
            "srt://[::1]:9000?streamid=k3y&passphrase=a%20b%26c%3Dd%2F%C3%A9%3F1&pbkeylen=32"
        );
        assert_eq!(url(None, Some("0123456789")), "srt://[::1]:9000?passphrase=0123456789&pbkeylen=32");
        assert_eq!(url(None, None), "srt://[::1]:9000");
        assert_eq!(Base { addresses: Addresses::default(), ..base }.srt(Some("k"), None), None);
    }

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("address");
        let headers = |lines: &[&str]| {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("x-forwarded-for", line.parse().expect("header"));
            }
            map
        };
        let proxies = [ip("10.0.0.1"), ip("10.0.0.2")];
        let cases: [(&str, &[&str], &str); 7] = [
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // What the client itself wrote is not believed.
            ("10.0.0.1", &["1.2.3.4, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4", "198.51.100.7,10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["garbage"], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (peer, lines, expected) in cases {
            assert_eq!(client(ip(peer), &headers(lines), &proxies), ip(expected), "{peer} {lines:?}");
        }
    }
}
