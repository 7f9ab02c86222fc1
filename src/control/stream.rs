//! Server-sent events (HTML Living Standard §9.2).
//!
//! **Data flow.** [`Notices`](super::Notices) → one response body per listener, which hyper asks for the next message
//! when the connection has room.
//! **Bound.** [`MAX_STREAMS`] for viewers and [`MAX_STAFF_STREAMS`] beside them for staff.
//! **A slow reader** falls [`BACKLOG`](super::notices::BACKLOG) messages behind and is disconnected; one that reads
//! nothing at all is disconnected by `net` when its socket makes no progress, which the comment every [`KEEP_ALIVE`]
//! sees to.

use super::api::Api;
use super::auth::Principal;
use super::extract::{EventPath, no_event};
use super::notices::{Audience, Notice};
use super::problem::Problem;
use super::{events, openapi};
use crate::media::{Dur, SharedClock, Ts};
use crate::store::{Event, EventId};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Streams open to viewers' pages at once: as many as the listener has connections by default.
pub const MAX_STREAMS: usize = 20_000;
/// Streams open to staff at once.
const MAX_STAFF_STREAMS: usize = 1_000;
/// How often a silent stream sends a comment: below the 30 s after which proxies give up.
const KEEP_ALIVE: Dur = Dur::from_secs(15);
/// How long a stream lives. A client that wants to hear more connects again, and a revoked token cannot.
const MAX_AGE: Dur = Dur::from_secs(3_600);

/// Room for streams.
pub(super) struct Slots {
    public: Arc<Semaphore>,
    staff: Arc<Semaphore>,
}

impl Slots {
    pub fn new() -> Slots {
        Slots { public: Arc::new(Semaphore::new(MAX_STREAMS)), staff: Arc::new(Semaphore::new(MAX_STAFF_STREAMS)) }
    }

    fn take(&self, audience: Audience) -> Result<Slot, Problem> {
        let (slots, label) = match audience {
            Audience::Public => (&self.public, "public"),
            Audience::Staff => (&self.staff, "staff"),
        };
        let permit = slots.clone().try_acquire_owned().map_err(|_| {
            let detail = "Too many streams are open; ask for the JSON form, or try again.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "Too many streams", detail)
                .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
        })?;
        metrics::gauge!("boothcast_event_streams", "audience" => label).increment(1.0);
        Ok(Slot { _permit: permit, label })
    }
}

/// One stream's place; given back when dropped.
struct Slot {
    _permit: OwnedSemaphorePermit,
    label: &'static str,
}

impl Drop for Slot {
    fn drop(&mut self) {
        metrics::gauge!("boothcast_event_streams", "audience" => self.label).decrement(1.0);
    }
}

/// Tells everything that happens in an event, as it happens.
///
/// Each message is JSON `{type, at, …}`: `status` `{status}`, `event` `{event, status, revision}` (settings changed;
/// also the first message), `state` (what viewers see changed), `languages` (the playlist's tracks changed), `input`,
/// `switch`, `booth` `{event, language, on_air, muted, floor_level_db, second_language, people}` (a booth changed).
#[utoipa::path(get, path = "/api/v1/events/{id}/stream", tag = "events", params(openapi::Id),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        openapi::Refused, openapi::NotFound, openapi::Full))]
pub(super) async fn staff(
    State(api): State<Api>,
    _principal: Principal,
    EventPath(id): EventPath,
) -> Result<Response, Problem> {
    let (listener, event) = Listener::new(&api, &id, Audience::Staff).await?;
    Ok(listener.respond(&events::changed(&event, api.now())))
}

/// A stream that is about to be answered.
pub(super) struct Listener {
    slot: Slot,
    notices: Receiver<Arc<Notice>>,
    clock: SharedClock,
    closing: CancellationToken,
}

impl Listener {
    /// Listens to an event, and the event as it is: what changes after it is heard.
    pub async fn new(api: &Api, id: &EventId, audience: Audience) -> Result<(Listener, Event), Problem> {
        let slot = api.streams().take(audience)?;
        // Asked for twice: before, so that a ring is only made for an event that exists, and after, so that nothing
        // falls between.
        api.store().event(id).await?.ok_or_else(no_event)?;
        let notices = api.notices().subscribe(id, audience);
        let event = api.store().event(id).await?.ok_or_else(no_event)?;
        let listener = Listener { slot, notices, clock: api.clock().clone(), closing: api.tasks().token() };
        Ok((listener, event))
    }

    /// The answer: `first`, then what happens.
    pub fn respond(self, first: &Notice) -> Response {
        // A lost stream is tried again after a second, where browsers would wait three.
        let mut begin = b"retry: 1000\n".to_vec();
        begin.extend_from_slice(first.frame());
        let end = self.clock.now() + MAX_AGE;
        let stream = Stream { listener: self, begin: Some(begin.into()), end };
        let body = futures_util::stream::unfold(stream, |mut stream| async move {
            stream.next().await.map(|bytes| (Ok::<Bytes, Infallible>(bytes), stream))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // nginx would hold messages back until its buffer is full.
            (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(body)).into_response()
    }
}

struct Stream {
    listener: Listener,
    begin: Option<Bytes>,
    end: Ts,
}

impl Stream {
    /// The next message; none ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(begin) = self.begin.take() {
            return Some(begin);
        }
        let Listener { slot, notices, clock, closing } = &mut self.listener;
        let now = clock.now();
        if now >= self.end {
            return None;
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => None,
            notice = notices.recv() => match notice {
                Ok(notice) => Some(notice.frame().clone()),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(_)) => {
                    metrics::counter!("boothcast_event_streams_lagged_total", "audience" => slot.label).increment(1);
                    None
                }
            },
            () = clock.sleep_until((now + KEEP_ALIVE).min(self.end)) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}
