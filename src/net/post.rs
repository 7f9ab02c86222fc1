//! One message by HTTP to an address that somebody chose: webhooks.
//!
//! **Bound.** A connection each, [`LIMIT`] for all of it. Of the answer the status counts; its body is not read. Redirects
//! are answers like others: who wants notices elsewhere says so here.

use super::outgoing::{Guard, GuardError, OutgoingUrl};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// From the look-up of the name to the answer's status.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Why there is no answer. No text holds a part of the address but its host.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Where it leads is not connected to.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Neither `http` nor `https`.
    #[error("is no address of HTTP")]
    Scheme,
    /// Nothing accepts, or TLS fails.
    #[error("cannot be connected to: {0}")]
    Connect(std::io::Error),
    /// What answers does not speak HTTP, or breaks off.
    #[error("breaks off: {0}")]
    Http(#[from] hyper::Error),
    /// What would be sent is no header.
    #[error("has a part that HTTP cannot carry")]
    Form,
    /// [`LIMIT`].
    #[error("does not answer within {} s", LIMIT.as_secs())]
    Late,
}

/// Sends `body` with these headers by POST and gives the answer's status.
///
/// # Errors
/// [`PostError`] when there is none.
pub async fn post(guard: &Guard, url: &OutgoingUrl, headers: HeaderMap, body: Bytes) -> Result<StatusCode, PostError> {
    tokio::time::timeout(LIMIT, send(guard, url, headers, body)).await.map_err(|_| PostError::Late)?
}

async fn send(guard: &Guard, url: &OutgoingUrl, headers: HeaderMap, body: Bytes) -> Result<StatusCode, PostError> {
    let (tls, port) = match url.scheme() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err(PostError::Scheme),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = hyper::Method::POST;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    *request.uri_mut() = target.parse().map_err(|_| PostError::Form)?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&url.authority(port)).map_err(|_| PostError::Form)?;
    request.headers_mut().insert(HOST, host);
    if let Some((user, password)) = url.credentials() {
        let both = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let mut basic = HeaderValue::try_from(format!("Basic {both}")).map_err(|_| PostError::Form)?;
        basic.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, basic);
    }
    let addresses = guard.resolve(url.host(), url.port_or(port)).await?;
    let (stream, _) = guard.connect(&addresses).await.map_err(PostError::Connect)?;
    if tls {
        exchange(guard.tls(stream, url.host()).await.map_err(PostError::Connect)?, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, PostError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut answer => return Ok(answer?.status()),
            // The answer's own error says more.
            _ = &mut connection, if open => open = false,
        }
    }
}
