//! WHEP: an event's picture and sound to those with the right, in under a second.
//!
//! **Data flow.** `POST /whep/{id}?language=…` with an offer → [`Viewing`] (who may see what now) → [`Rtc::play`]. The session's own
//! resource is `/whep/{id}/{session}`, for PATCH and DELETE. The media goes from the hub to the peer inside [`crate::rtc`].
//! **Bound.** The driver's sessions; a slow viewer is its own peer's matter. Whoever grants a view may end it again
//! through [`Granted::opened`]: a revoked link takes effect at once.

use crate::rtc::http::{self, Keep, MAX_BODY, Sessions};
use crate::rtc::{PlaySource, Rtc, Session};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{options, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Deserialize;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

/// What a viewer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The event's id.
    pub event: &'a str,
    /// The language whose sound is wanted; none: the event's first.
    pub language: Option<&'a str>,
    /// `token=` or `preview=` of the query, or the bearer token of the request.
    pub token: Option<&'a str>,
    /// The peer's address, when known.
    pub peer: Option<IpAddr>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// What a viewer with the right gets.
pub struct Granted {
    /// Picture and sound.
    pub source: PlaySource,
    /// Called with the session once it is open, so that it can be ended or given another source.
    pub opened: Option<Box<dyn FnOnce(Arc<Session>) + Send>>,
    /// Dropped when the session is over: a place that was taken, for example.
    pub keep: Option<Keep>,
}

/// Why a viewer gets nothing. The text is for the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such event, or none that the public may know of.
    #[error("there is no such event")]
    NoEvent,
    /// The event has no such language.
    #[error("the event has no sound in this language")]
    NoLanguage,
    /// The viewer has no right to it.
    #[error("you have no right to see this event; ask its organiser for a link")]
    Forbidden,
    /// The event is not running.
    #[error("the event is not live now")]
    NotLive,
    /// As many viewers as may be.
    #[error("the event has as many viewers as it may have; try again later")]
    Full,
}

impl Denied {
    const fn status(self) -> StatusCode {
        match self {
            Denied::NoEvent | Denied::NoLanguage => StatusCode::NOT_FOUND,
            Denied::Forbidden => StatusCode::FORBIDDEN,
            Denied::NotLive => StatusCode::CONFLICT,
            Denied::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A future as an object-safe trait returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who may see what. The composition root implements it, and compares secrets in constant time.
pub trait Viewing: Send + Sync + 'static {
    /// Decides about a request.
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Granted, Denied>>;
}

/// The routes' state.
#[derive(Clone)]
pub struct Whep {
    rtc: Rtc,
    viewing: Arc<dyn Viewing>,
    sessions: Sessions,
}

impl Whep {
    /// Plays through `rtc` to those whom `viewing` lets.
    pub fn new(rtc: Rtc, viewing: Arc<dyn Viewing>) -> Whep {
        Whep { rtc, viewing, sessions: Sessions::new() }
    }

    /// `/whep/{id}` and the sessions below it.
    pub fn router(self) -> Router {
        Router::new()
            .route(
                "/whep/{id}",
                post(play).options(preflight).fallback(|| async { http::not_allowed("POST, OPTIONS") }),
            )
            .route(
                "/whep/{id}/{session}",
                options(preflight)
                    .patch(patch)
                    .delete(delete)
                    .fallback(|| async { http::not_allowed("PATCH, DELETE, OPTIONS") }),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    language: Option<String>,
    token: Option<String>,
    preview: Option<String>,
}

async fn preflight() -> Response {
    http::options()
}

async fn play(
    State(whep): State<Whep>,
    Path(event): Path<String>,
    Query(wanted): Query<Wanted>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = match http::offer(&headers, &body) {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let bearer = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let asking = Asking {
        event: &event,
        language: wanted.language.as_deref(),
        token: wanted.preview.as_deref().or(wanted.token.as_deref()).or(bearer),
        peer: peer.map(|Extension(ConnectInfo(peer))| peer.ip()),
        headers: &headers,
    };
    let Granted { source, opened, keep } = match whep.viewing.ask(asking).await {
        Ok(granted) => granted,
        Err(denied) => return http::problem(denied.status(), &denied.to_string()),
    };
    match whep.rtc.play(text, source).await {
        Ok(accepted) => {
            let (response, session) = whep.sessions.created(&format!("/whep/{event}"), accepted, keep);
            if let Some(opened) = opened {
                opened(session);
            }
            response
        }
        Err(error) => http::refusal(&error),
    }
}

async fn patch(
    State(whep): State<Whep>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    whep.sessions.patch(&session, &headers, &body).await
}

async fn delete(State(whep): State<Whep>, Path((_, session)): Path<(String, String)>) -> Response {
    whep.sessions.delete(&session)
}

#[cfg(test)]
mod tests;
