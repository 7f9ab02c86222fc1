//! Requests to values, with every mistake in them told as a [`Problem`].

use super::api::Api;
use super::problem::Problem;
use crate::media::InputName;
use crate::store::EventId;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of a request's body: an event with all its texts and languages is some 30 KB at most.
pub const MAX_BODY: usize = 256 << 10;
/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A JSON body.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts) {
            let detail = "Send the body as JSON, with `Content-Type: application/json`.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Unsupported media type", detail));
        }
        json(&read(body, MAX_BODY).await?).map(JsonBody)
    }
}

fn is_json(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a body of `most` bytes at most.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("The body may have {most} bytes at most.");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large", detail))
        }
        Ok(Err(_)) => {
            let detail = "The body ended before it was complete.";
            Err(Problem::new(StatusCode::BAD_REQUEST, "broken-body", "Body broken off", detail))
        }
        Err(_) => {
            let detail = format!("The body was not complete after {} s.", BODY_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "Body too slow", detail))
        }
    }
}

/// Text that is no JSON is the request's fault as a whole (400); JSON that is not what is asked for is a field's (422).
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &serde_json::Error| {
        let detail = format!("The body is not valid JSON: {error}.");
        Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON", detail)
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value: T = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                let text = inner.to_string();
                // The place in the text says less than the field's name.
                let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
                let field = if path == "." { "(body)".to_owned() } else { path };
                Problem::field(field, message)
            }
            _ => malformed(&inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// The event that the path names by `{id}`. Whether it exists is the handler's to find out.
pub(super) struct EventPath(pub EventId);

impl FromRequestParts<Api> for EventPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<EventPath, Problem> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let path = Path::<Named>::from_request_parts(parts, api).await.map_err(|_| no_event())?;
        EventId::parse(&path.id).map(EventPath).ok_or_else(no_event)
    }
}

/// 404 for an event.
pub(super) fn no_event() -> Problem {
    Problem::not_found("event with this id")
}

/// The input that the path names by `{input}`.
pub(super) struct InputPath(pub InputName);

impl FromRequestParts<Api> for InputPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<InputPath, Problem> {
        #[derive(Deserialize)]
        struct Named {
            input: InputName,
        }
        let path = Path::<Named>::from_request_parts(parts, api).await;
        path.map(|p| InputPath(p.0.input)).map_err(|_| Problem::not_found("such input: there are `main` and `backup`"))
    }
}

/// The query string, without unknown parameters where `T` refuses them.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Query<T>, Problem> {
        AxumQuery::<T>::from_request_parts(parts, api).await.map(|q| Query(q.0)).map_err(|rejection| {
            let text = rejection.body_text();
            let message = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, message)| message).to_owned();
            Problem::field("(query)", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{\"name\":"))]);
        let stalled = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let problem = read(Body::from_stream(stalled), MAX_BODY).await.expect_err("given up");
        assert_eq!(problem.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
