//! The HTTP side that WHIP (RFC 9725) and WHEP have in common: what is taken, what is answered, and the sessions that a
//! `Location` names.
//!
//! A route calls [`offer`] with the request's headers and body to get the session description, opens a session by [`super::Rtc`],
//! and answers by [`Sessions::created`]. The session's own resource is [`Sessions::patch`] and [`Sessions::delete`]:
//!
//! ```ignore
//! let text = match http::offer(&headers, &body) { Ok(text) => text, Err(refusal) => return refusal };
//! match rtc.voice(text, sink).await {
//!     Ok(accepted) => sessions.created(&format!("/booth/{secret}/whip"), accepted, None).0,
//!     Err(error) => http::refusal(&error),
//! }
//! ```
//!
//! **Bound.** Sessions that have ended are forgotten when the next is kept; there are no more than the driver admits.

use super::{Accepted, Patched, PeerState, RtcError, Session};
use crate::wire::sdp::MAX_SIZE;
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH,
    LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The type of offers and answers.
pub const SDP: &str = "application/sdp";

/// The type of what a PATCH carries.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// The most bytes of a request's body: for a route's `DefaultBodyLimit`. One more than a description may have, so that
/// the answer can say so.
pub const MAX_BODY: usize = MAX_SIZE + 1;

/// A problem in words, with its status.
pub fn problem(status: StatusCode, text: &str) -> Response {
    let mut response = (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response();
    cors(&mut response);
    response
}

/// The answer to an offer or a PATCH that was refused.
pub fn refusal(error: &RtcError) -> Response {
    let status = match error {
        RtcError::Description(crate::wire::sdp::Error::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
        RtcError::Description(_) => StatusCode::BAD_REQUEST,
        RtcError::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
        RtcError::Full | RtcError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        RtcError::Gone => StatusCode::NOT_FOUND,
        RtcError::Outdated => StatusCode::PRECONDITION_FAILED,
    };
    let mut response = problem(status, &error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// The media type of a request, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// The text of a request's body, which has to be of `expected` type.
///
/// # Errors
/// The refusal: 415 for another type, 413 for too much, 400 for what is no text.
#[allow(clippy::result_large_err)]
fn text<'a>(headers: &HeaderMap, body: &'a [u8], expected: &'static str) -> Result<&'a str, Response> {
    if !media_type(headers).is_some_and(|t| t.eq_ignore_ascii_case(expected)) {
        let mut response = problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("send {expected}"));
        let accepted = HeaderValue::from_static(expected);
        response.headers_mut().insert(if expected == SDP { ACCEPT_POST } else { ACCEPT_PATCH }, accepted);
        return Err(response);
    }
    if body.len() > MAX_SIZE {
        let text = format!("a session description has at most {MAX_SIZE} bytes");
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &text));
    }
    std::str::from_utf8(body).map_err(|_| problem(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

/// The offer in a POST.
///
/// # Errors
/// The refusal: 415, 413, 400, or 406 for a client that takes no answer.
#[allow(clippy::result_large_err)]
pub fn offer<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a str, Response> {
    let accepts = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).is_none_or(|accept| {
        let types = accept.split(',').filter_map(|t| t.split(';').next());
        types.map(str::trim).any(|t| matches!(t, "*/*" | "application/*" | "") || t.eq_ignore_ascii_case(SDP))
    });
    if !accepts {
        return Err(problem(StatusCode::NOT_ACCEPTABLE, "the answer is application/sdp"));
    }
    text(headers, body, SDP)
}

/// Adds the headers by which pages of other origins may use the resource; these protocols are made for that, and what
/// they may do hangs on secrets in the URL, not on cookies.
pub fn cors(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Location, ETag, Link, Accept-Patch, Retry-After"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The answer to an `OPTIONS` request (CORS preflight, and what RFC 9725 §4.2 has clients ask).
pub fn options() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    cors(&mut response);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, PATCH, DELETE, OPTIONS"));
    let allowed = HeaderValue::from_static("Authorization, Content-Type, If-Match");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    response
}

/// The answer to a method that the resource has not.
pub fn not_allowed(allow: &'static str) -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allow}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// What goes with a session: dropped when the session is.
pub type Keep = Box<dyn Send + Sync>;

struct Kept {
    session: Arc<Session>,
    /// Dropped with it.
    _keep: Option<Keep>,
}

/// The sessions of one kind of resource, by their names. Clones are the same.
#[derive(Clone, Default)]
pub struct Sessions {
    kept: Arc<Mutex<BTreeMap<String, Kept>>>,
}

impl Sessions {
    /// None yet.
    pub fn new() -> Sessions {
        Sessions::default()
    }

    fn get(&self, name: &str) -> Option<Arc<Session>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).map(|k| k.session.clone()).filter(|s| s.stats().borrow().state != PeerState::Closed)
    }

    /// Keeps a session until it is deleted or has ended, with `keep`, which is dropped then, and gives it back for those
    /// that watch it.
    pub fn keep(&self, session: Session, keep: Option<Keep>) -> Arc<Session> {
        let session = Arc::new(session);
        let gone: Vec<Kept> = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let over = |k: &Kept| k.session.stats().borrow().state == PeerState::Closed;
            let ended: Vec<String> = kept.iter().filter(|(_, k)| over(k)).map(|(n, _)| n.clone()).collect();
            let gone = ended.iter().filter_map(|n| kept.remove(n)).collect();
            kept.insert(session.id().to_owned(), Kept { session: session.clone(), _keep: keep });
            gone
        };
        // Outside the lock: what goes with a session may do anything when it is dropped.
        drop(gone);
        session
    }

    /// Closes a session and forgets it.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        removed.is_some_and(|k| {
            let live = k.session.stats().borrow().state != PeerState::Closed;
            k.session.close();
            live
        })
    }

    /// 201 with the answer, and the session for those that watch it. `resource` is the path under which the session's own
    /// is, `keep` goes with the session.
    pub fn created(&self, resource: &str, accepted: Accepted, keep: Option<Keep>) -> (Response, Arc<Session>) {
        let Accepted { answer, session } = accepted;
        let etag = format!("\"{}\"", session.etag());
        let location = format!("{}/{}", resource.trim_end_matches('/'), session.id());
        let session = self.keep(session, keep);
        (created(&location, &etag, answer), session)
    }

    /// `PATCH`: trickled candidates (204) or an ICE restart (200 with the fragment and a new entity tag).
    pub async fn patch(&self, name: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        let mut response = self.patched(name, headers, body).await;
        cors(&mut response);
        response
    }

    async fn patched(&self, name: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        let fragment = match text(headers, body, FRAGMENT) {
            Ok(text) => text,
            Err(refusal) => return refusal,
        };
        let Some(session) = self.get(name) else { return refusal(&RtcError::Gone) };
        let etag = headers.get(IF_MATCH).and_then(|v| v.to_str().ok()).map(|v| v.trim().trim_matches('"'));
        match session.patch(fragment, etag).await {
            Ok(Patched::Trickled) => StatusCode::NO_CONTENT.into_response(),
            Ok(Patched::Restarted { fragment, etag }) => {
                let mut response = (StatusCode::OK, [(CONTENT_TYPE, FRAGMENT)], fragment).into_response();
                if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
                    response.headers_mut().insert(ETAG, value);
                }
                response
            }
            Err(error) => refusal(&error),
        }
    }

    /// `DELETE`: 200, or 404 where there is no such session.
    pub fn delete(&self, name: &str) -> Response {
        let mut response = if self.remove(name) { StatusCode::OK.into_response() } else { refusal(&RtcError::Gone) };
        cors(&mut response);
        response
    }
}

fn created(location: &str, etag: &str, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, [(CONTENT_TYPE, SDP)], answer).into_response();
    cors(&mut response);
    let headers = response.headers_mut();
    for (name, value) in [(LOCATION, location), (ETAG, etag)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    response
}
