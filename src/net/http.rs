//! Runs a site (a router, and what is answered before it) on a listener: HTTP/1.1 and HTTP/2, plain and TLS.
//!
//! **Data flow.** [`Listener`] → [`Guarded`] → TLS → hyper → [`Site`]; to the router with the peer's address as
//! `axum::extract::ConnectInfo<SocketAddr>` and [`Transport`] as request extensions.
//! **Bound.** Per connection: [`HttpOptions`]; in total: the listener's limits. One task per connection.
//! **A slow peer** is disconnected: [`HttpOptions::head_timeout`] to send a request's head (and between requests),
//! [`HttpOptions::stall_timeout`] without progress of an answer.
//! **Closing.** When the group is cancelled the listener closes, idle connections end at once and those with requests
//! in flight get [`HttpOptions::drain`] to finish them.

use super::io::Guarded;
use super::listen::{Admitted, Listener};
use crate::task::Group;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// What a connection came by; a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Whether this daemon terminated TLS for it.
    pub tls: bool,
}

/// Limits per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// To finish a TLS handshake.
    pub handshake_timeout: Duration,
    /// To send a request's head, and how long an idle HTTP/1.1 connection is kept.
    pub head_timeout: Duration,
    /// How long an answer may make no progress.
    pub stall_timeout: Duration,
    /// How long requests in flight may take when the daemon stops.
    pub drain: Duration,
}

impl Default for HttpOptions {
    /// 10 s for a handshake over a bad mobile network; 20 s heads, which is three reloads of a plain HLS player;
    /// 30 s stalls, longer than any buffer that a player can still save; 10 s drain, the longest blocking reload.
    fn default() -> Self {
        HttpOptions {
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Bytes of a request's head, HTTP/1.1: long signed URLs and cookies fit, nothing else has to.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Header fields of a request.
const MAX_HEADERS: usize = 100;
/// Bytes of a request's header list, HTTP/2, as it counts them (RFC 9113 §6.5.2).
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Requests at a time on one HTTP/2 connection: a player has ten or so open, a proxy some dozens.
const MAX_STREAMS: u32 = 128;
/// Bytes that hyper may hold per HTTP/2 stream until the peer takes them; file bytes are shared, not copied, before it.
const MAX_SEND_BUFFER: usize = 256 << 10;
/// How often an idle HTTP/2 connection is asked whether its peer is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The answer to a connection that is not admitted. The peer may not have sent its request yet: it is told anyway.
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

/// The answer to a request, on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Answers requests by their head alone and the peer's address.
pub type Direct = Arc<dyn Fn(Parts, SocketAddr) -> Answering + Send + Sync>;

/// What answers requests.
#[derive(Clone)]
pub struct Site {
    router: Router,
    direct: Option<(&'static str, Direct)>,
}

impl From<Router> for Site {
    fn from(router: Router) -> Site {
        Site { router, direct: None }
    }
}

impl Site {
    /// With `answer` for all paths that begin with `prefix`, before the router: matching, extensions and the boxes around
    /// a routed service cost an eighth of the requests per CPU second, and viewers ask for nothing else.
    #[must_use]
    pub fn direct(self, prefix: &'static str, answer: Direct) -> Site {
        Site { direct: Some((prefix, answer)), ..self }
    }

    fn answer(&self, request: Request<Incoming>, peer: SocketAddr, tls: bool) -> impl Future<Output = Routed> + use<> {
        if let Some((prefix, direct)) = &self.direct
            && request.uri().path().starts_with(prefix)
        {
            return Either::Left(direct(request.into_parts().0, peer));
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Transport { tls });
        Either::Right(self.router.clone().call(request))
    }
}

type Routed = Result<Response<Body>, Infallible>;

/// Serves `site` on `listener` until `group` is cancelled. With `tls`, every connection must speak it.
pub fn serve(
    group: &Group,
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    site: impl Into<Site>,
    options: HttpOptions,
) {
    let server = Arc::new(Server {
        acceptor: tls.map(TlsAcceptor::from),
        http: builder(options),
        site: site.into(),
        options,
        token: group.token(),
    });
    let connections = group.clone();
    group.spawn_until_cancelled("http listener", async move {
        loop {
            let admitted = listener.accept().await;
            connections.spawn("http connection", server.clone().connection(admitted));
        }
    });
}

fn builder(options: HttpOptions) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .writev(true);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    http
}

struct Server {
    acceptor: Option<TlsAcceptor>,
    http: auto::Builder<TokioExecutor>,
    site: Site,
    options: HttpOptions,
    token: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, admitted: Admitted) {
        let Admitted { stream, peer, permit } = admitted;
        let permit = match permit {
            Ok(permit) => permit,
            Err(_) => return self.refuse(stream).await,
        };
        let _open = Open::new();
        let stream = Guarded::new(stream, self.options.stall_timeout, Some(permit));
        match &self.acceptor {
            None => self.run(stream, peer, false).await,
            Some(acceptor) => {
                let handshake = tokio::time::timeout(self.options.handshake_timeout, acceptor.accept(stream));
                // A failed handshake is the peer's affair (a scanner, an untrusted certificate), so only counted.
                match self.token.run_until_cancelled(handshake).await {
                    Some(Ok(Ok(stream))) => self.run(stream, peer, true).await,
                    Some(Ok(Err(error))) => {
                        metrics::counter!("boothcast_tls_handshake_failures_total").increment(1);
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                    }
                    Some(Err(_)) => {
                        metrics::counter!("boothcast_tls_handshake_failures_total").increment(1);
                        tracing::debug!(%peer, "TLS handshake timed out");
                    }
                    None => {}
                }
            }
        }
    }

    /// Says why and closes, where that can be said: a TLS peer would not understand it.
    async fn refuse(&self, mut stream: TcpStream) {
        if self.acceptor.is_none() {
            let answer = async {
                stream.write_all(REFUSED).await?;
                stream.shutdown().await
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
        }
    }

    async fn run<S>(&self, stream: S, peer: SocketAddr, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seen = Arc::new(AtomicBool::new(false));
        let (site, first) = (self.site.clone(), seen.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            first.store(true, Ordering::Relaxed);
            site.answer(request, peer, tls)
        });
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // hyper's head timeout does not cover the bytes that tell HTTP/2 from HTTP/1.1; this does.
        let mut silent = std::pin::pin!(tokio::time::sleep(self.options.head_timeout));
        let mut draining = false;
        let mut drained = std::pin::pin!(tokio::time::sleep(Duration::MAX));
        let mut waiting_for_first = true;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::trace!(%peer, %error, "http connection ended");
                    }
                    return;
                }
                () = silent.as_mut(), if waiting_for_first => {
                    if !seen.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting_for_first = false;
                }
                () = self.token.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                    drained.set(tokio::time::sleep(self.options.drain));
                }
                () = drained.as_mut(), if draining => return,
            }
        }
    }
}

/// Counts an open connection.
struct Open;

impl Open {
    fn new() -> Open {
        metrics::gauge!("boothcast_http_connections").increment(1.0);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("boothcast_http_connections").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SystemClock;
    use crate::net::{Gate, Inherited, Limits, Source, Tls};
    use axum::Extension;
    use axum::routing::get;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    struct Running {
        group: Group,
        address: SocketAddr,
    }

    fn start(tls: Option<&Tls>, options: HttpOptions, limits: Limits) -> Running {
        let group = Group::new();
        let at = "127.0.0.1:0".parse().expect("address");
        let listener =
            Listener::bind("[http] listen", at, &Gate::new(limits), &mut Inherited::default()).expect("free port");
        let address = listener.local_addr();
        let router = Router::new()
            .route(
                "/who",
                get(|ConnectInfo(peer): ConnectInfo<SocketAddr>, Extension(t): Extension<Transport>| async move {
                    format!("{} {}", peer.ip(), t.tls)
                }),
            )
            .route(
                "/slow",
                get(|| async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    "late"
                }),
            )
            .route("/big", get(|| async { vec![7u8; 64 << 20] }));
        serve(&group, listener, tls.map(Tls::http), router, options);
        Running { group, address }
    }

    fn client(tls: Option<&Tls>) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().timeout(Duration::from_secs(10));
        match tls {
            None => builder.build().expect("client"),
            Some(tls) => {
                let pem = std::fs::read(tls.certificate_path()).expect("certificate");
                let root = reqwest::Certificate::from_pem(&pem).expect("certificate");
                builder.tls_certs_only([root]).build().expect("client")
            }
        }
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("the server closes").expect("text");
        text
    }

    #[tokio::test]
    async fn http1_and_http2_plain_and_tls_reach_the_router_with_their_peer() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = Source::SelfSigned { dir: dir.path().into(), names: Vec::new() };
        let tls = Tls::load(source, Arc::new(SystemClock::new())).expect("certificate");
        let plain = start(None, HttpOptions::default(), Limits::default());
        let secure = start(Some(&tls), HttpOptions::default(), Limits::default());
        let one = client(None).get(format!("http://{}/who", plain.address)).send().await.expect("answer");
        assert_eq!(one.version(), reqwest::Version::HTTP_11);
        assert_eq!(one.text().await.expect("body"), "127.0.0.1 false");
        let known = reqwest::Client::builder().http2_prior_knowledge().build().expect("client");
        let two = known.get(format!("http://{}/who", plain.address)).send().await.expect("answer");
        assert_eq!(two.version(), reqwest::Version::HTTP_2);
        let three = client(Some(&tls)).get(format!("https://{}/who", secure.address)).send().await.expect("answer");
        assert_eq!(three.version(), reqwest::Version::HTTP_2);
        assert_eq!(three.text().await.expect("body"), "127.0.0.1 true");
        assert!(plain.group.close(Duration::from_secs(5)).await);
        assert!(secure.group.close(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_new_certificate_is_used_for_new_connections_and_open_ones_go_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = |names: &[&str]| Source::SelfSigned {
            dir: dir.path().into(),
            names: names.iter().map(|s| s.to_string()).collect(),
        };
        let clock: crate::media::SharedClock = Arc::new(SystemClock::new());
        let first = Tls::load(source(&[]), clock.clone()).expect("certificate");
        let files =
            Source::Files { certificate: dir.path().join("self-signed.crt"), key: dir.path().join("self-signed.key") };
        let tls = Tls::load(files, clock.clone()).expect("loads");
        let server = start(Some(&tls), HttpOptions::default(), Limits::default());
        let url = format!("https://{}/who", server.address);
        let old = client(Some(&first));
        old.get(&url).send().await.expect("answer");
        // Another pair in the same files.
        Tls::load(source(&["other.example"]), clock).expect("renewed");
        tls.poll();
        let new = client(Some(&tls));
        assert!(new.get(&url).send().await.is_ok(), "a new connection gets the new certificate");
        assert!(old.get(&url).send().await.is_ok(), "the open connection goes on");
        let stranger = reqwest::Client::builder().build().expect("client");
        assert!(stranger.get(&url).send().await.is_err(), "nobody else trusts it");
        assert!(server.group.close(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn silent_slow_and_oversized_heads_are_cut_off() {
        let options = HttpOptions { head_timeout: Duration::from_millis(200), ..HttpOptions::default() };
        let server = start(None, options, Limits::default());
        for sent in ["", "P", "PRI * HT", "GET /who HTTP/1.1\r\nHost: a\r\n"] {
            let mut stream = TcpStream::connect(server.address).await.expect("connects");
            stream.write_all(sent.as_bytes()).await.expect("sends");
            let text = read_all(&mut stream).await;
            assert!(!text.contains(" 200 "), "{sent:?}: {text}");
        }
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let head = format!("GET /who HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
        // The server may answer and close before all is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut line = String::new();
        let _ = BufReader::new(&mut stream).read_line(&mut line).await;
        assert!(line.contains(" 431 ") || line.is_empty(), "{line}");
        // Another client is not touched by any of it.
        assert!(client(None).get(format!("http://{}/who", server.address)).send().await.is_ok());
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_disconnected() {
        let options = HttpOptions { stall_timeout: Duration::from_millis(200), ..HttpOptions::default() };
        let server = start(None, options, Limits::default());
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sends");
        tokio::time::sleep(Duration::from_millis(800)).await;
        let mut total = 0;
        let mut buf = vec![0; 1 << 20];
        loop {
            match stream.read(&mut buf).await {
                Ok(0) | Err(_) => break,
                Ok(n) => total += n,
            }
        }
        assert!(total < 64 << 20, "the rest was not sent: {total}");
    }

    #[tokio::test]
    async fn beyond_the_limit_the_answer_says_so() {
        let server = start(None, HttpOptions::default(), Limits { total: 10, per_address: 1 });
        let _first = TcpStream::connect(server.address).await.expect("connects");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut second = TcpStream::connect(server.address).await.expect("connects");
        let text = read_all(&mut second).await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("too many connections"), "{text}");
        let length: usize =
            text.lines().find_map(|l| l.strip_prefix("Content-Length: ")?.parse().ok()).expect("length");
        assert_eq!(text.split_once("\r\n\r\n").map(|(_, body)| body.len()), Some(length));
    }

    #[tokio::test]
    async fn closing_finishes_what_is_in_flight() {
        let server = start(None, HttpOptions::default(), Limits::default());
        let url = format!("http://{}/slow", server.address);
        let slow = async { client(None).get(url).send().await.expect("answer").text().await.expect("body") };
        let close = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.group.close(Duration::from_secs(5)).await
        };
        let (text, closed) = tokio::join!(slow, close);
        assert_eq!(text, "late");
        assert!(closed);
        assert!(TcpStream::connect(server.address).await.is_err(), "nothing listens any more");
    }
}
