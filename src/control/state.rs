//! `/api/v1/events/{id}/state`: what viewers' pages need to know, public.

use super::api::Api;
use super::extract::{EventPath, no_event};
use super::notices::{Audience, Notice, rfc3339};
use super::openapi;
use super::problem::Problem;
use super::stream::Listener;
use crate::store::{Event, Images, Language, OtherOrigin, ServiceMessage, Status};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What viewers' pages need to know.
#[derive(Serialize, ToSchema)]
#[schema(title = "State")]
pub(super) struct StateView {
    /// `state`.
    #[serde(rename = "type")]
    #[schema(pattern = "^state$")]
    kind: &'static str,
    /// The event.
    id: String,
    /// What people call it.
    name: String,
    /// Plain text for people.
    description: String,
    /// Where it stands.
    status: Status,
    /// When it is meant to start.
    #[serde(with = "time::serde::rfc3339::option")]
    scheduled_start: Option<OffsetDateTime>,
    /// Whether the time until then is counted down.
    countdown: bool,
    /// Plain text by status, in place of the page's own words for it.
    texts: BTreeMap<Status, String>,
    /// Pictures.
    images: Images,
    /// A text over the running player.
    service_message: Option<ServiceMessage>,
    /// BCP 47 tag of the floor, or `original` when it is mixed.
    floor_language: String,
    /// Languages besides the floor, in the order of the menu.
    languages: Vec<Language>,
    /// Other servers that carry the same event: where to go on when this one is away.
    other_origins: Vec<OtherOrigin>,
    /// This server's clock, for the countdown.
    #[serde(with = "time::serde::rfc3339")]
    server_time: OffsetDateTime,
}

impl StateView {
    fn new(event: &Event, now: OffsetDateTime) -> StateView {
        let settings = event.settings.clone();
        StateView {
            kind: "state",
            id: event.id.as_str().to_owned(),
            name: settings.name,
            description: settings.description,
            status: event.status,
            scheduled_start: settings.scheduled_start,
            countdown: settings.appearance.countdown,
            texts: settings.appearance.texts,
            images: settings.appearance.images,
            service_message: settings.appearance.service_message,
            floor_language: settings.floor_language,
            languages: settings.languages,
            other_origins: settings.other_origins,
            server_time: now,
        }
    }
}

/// `{type: "state", at, …}`, the whole state again.
pub(super) fn notice(event: &Event, now: OffsetDateTime) -> Notice {
    let fields = match serde_json::to_value(StateView::new(event, now)) {
        Ok(serde_json::Value::Object(fields)) => fields,
        // Cannot be: a struct of strings and numbers. Without fields, pages ignore it and ask again by themselves.
        _ => serde_json::Map::from_iter([("server_time".to_owned(), rfc3339(now).into())]),
    };
    Notice::new("state", Audience::Public, now, fields)
}

/// Shows what viewers' pages need to know, or with `Accept: text/event-stream` tells it as it changes.
///
/// The first message of the stream is the whole state; later ones are `{type: "status", at, status}`, `{type: "languages", at}`
/// (the playlist's tracks changed: load them again), or the whole state again with `type: "state"`.
#[utoipa::path(get, path = "/api/v1/events/{id}/state", tag = "viewers", params(openapi::Id), security(()),
    responses((status = 200, description = "The state", content(
            (StateView = "application/json"),
            (String = "text/event-stream"))),
        openapi::NotFound, openapi::Full))]
pub(super) async fn serve(
    State(api): State<Api>,
    EventPath(id): EventPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut response = if wants_stream(&headers) {
        let (listener, event) = Listener::new(&api, &id, Audience::Public).await?;
        listener.respond(&notice(&event, api.now()))
    } else {
        let event = api.store().event(&id).await?.ok_or_else(no_event)?;
        Json(StateView::new(&event, api.now())).into_response()
    };
    let answer = response.headers_mut();
    answer.insert(header::VARY, HeaderValue::from_static("accept, origin"));
    if let Some(origin) = allowed_origin(&api.public().cors, headers.get(header::ORIGIN)) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    Ok(response)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    accept.flat_map(|v| v.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

/// What `Access-Control-Allow-Origin` says to a page of `origin`.
fn allowed_origin(allowed: &[String], origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin?;
    if allowed.iter().any(|a| a == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    allowed.iter().any(|a| a.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_may_read() {
        let origin = |text: &'static str| HeaderValue::from_static(text);
        let list = ["https://a.example".to_owned()];
        assert_eq!(allowed_origin(&list, Some(&origin("https://a.example"))), Some(origin("https://a.example")));
        assert_eq!(allowed_origin(&list, Some(&origin("https://a.example.evil"))), None);
        assert_eq!(allowed_origin(&list, None), None);
        assert_eq!(allowed_origin(&["*".to_owned()], Some(&origin("https://b.example"))), Some(origin("*")));
        assert_eq!(allowed_origin(&[], Some(&origin("https://b.example"))), None);
    }
}
