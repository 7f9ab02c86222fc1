//! `/api/v1/events/{id}/inputs` and the preview picture.

use super::api::Api;
use super::auth::Principal;
use super::extract::{EventPath, InputPath, JsonBody, no_event};
use super::links::Base;
use super::openapi;
use super::problem::Problem;
use super::view::InputView;
use crate::media::InputName;
use crate::store::{Change, Event, EventId, Secret, Selection};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// The inputs as they are, with a manager's choice beside what is active.
fn report(api: &Api, event: &Event) -> Value {
    let mut report = api.live().inputs(&event.id).unwrap_or_else(|| {
        let nobody = json!({"state": "offline", "audio": [], "bitrate": 0, "bytes": 0, "warnings": []});
        json!({"active": "slate", "main": nobody, "backup": nobody})
    });
    if let Some(report) = report.as_object_mut() {
        report.insert("selected".into(), event.input_selection.as_str().into());
    }
    report
}

/// Shows the inputs and their health.
#[utoipa::path(get, path = "/api/v1/events/{id}/inputs", tag = "inputs", params(openapi::Id),
    responses((status = 200, description = "Both inputs", body = openapi::Inputs), openapi::Refused, openapi::NotFound))]
pub(super) async fn show(State(api): State<Api>, EventPath(id): EventPath) -> Result<Json<Value>, Problem> {
    let event = api.store().event(&id).await?.ok_or_else(no_event)?;
    Ok(Json(report(&api, &event)))
}

/// Which input is to feed the programme.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActiveEdit {
    input: Selection,
}

/// Switches the input by hand, or leaves it to the failover policy again (`auto`).
#[utoipa::path(put, path = "/api/v1/events/{id}/inputs/active", tag = "inputs", params(openapi::Id), request_body = ActiveEdit,
    responses((status = 200, description = "Both inputs", body = openapi::Inputs),
        (status = 409, description = "The event takes no contribution in its status", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(super) async fn select(
    State(api): State<Api>,
    principal: Principal,
    EventPath(id): EventPath,
    JsonBody(ActiveEdit { input }): JsonBody<ActiveEdit>,
) -> Result<Json<Value>, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let change = async move {
        let allowed = |event: &Event| event.status.accepts_ingest();
        match work.store().select_input(&target, input, work.now(), allowed).await? {
            Change::Done(event) => {
                let event = Arc::new(event);
                work.live().input_selected(event.clone()).await;
                Ok(event)
            }
            Change::Refused(event) => {
                let detail = format!("The event is {}; inputs run in preview, started and paused.", event.status);
                Err(Problem::conflict("event-not-running", "The event does not run", detail))
            }
            Change::Missing => Err(no_event()),
        }
    };
    let event = api.in_turn(&id, change).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), input = input.as_str(), "input selected");
    Ok(Json(report(&api, &event)))
}

/// Makes a new stream key. The old one ends with this, a publisher that used it too.
#[utoipa::path(post, path = "/api/v1/events/{id}/inputs/{input}/key", tag = "inputs", params(openapi::Id, openapi::Input),
    responses((status = 201, description = "Where to publish, with the key in clear", body = InputView),
        openapi::Refused, openapi::NotFound))]
pub(super) async fn rotate_key(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    InputPath(input): InputPath,
) -> Result<Response, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let change = async move {
        let (event, key) = work.store().rotate_key(&target, input, work.now()).await?.ok_or_else(no_event)?;
        let event = Arc::new(event);
        work.live().key_changed(event.clone(), input).await;
        work.notices().publish(&target, super::events::changed(&event, work.now()));
        Ok((event, key))
    };
    let (event, key) = api.in_turn(&id, change).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), input = input.as_str(), "stream key changed");
    let view = InputView::new(event.inputs.get(input), &base, principal.token.role, Some(&key));
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Where an input is to be pulled from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PullEdit {
    /// `rtmp://`, `rtmps://`, `rtsp://`, `rtsps://` or `srt://` (a server that listens; `streamid`, `passphrase`, `pbkeylen`
    /// and `latency` in milliseconds stand in the query). It is kept sealed; user and password (of RTSP) and a query are shown
    /// as `***`.
    url: String,
}

/// Sets what an input is pulled from. While the event runs the server is connected to at once, and again by itself whenever the
/// stream ends; `inputs` tells how it stands.
#[utoipa::path(put, path = "/api/v1/events/{id}/inputs/{input}/pull", tag = "inputs", params(openapi::Id, openapi::Input),
    request_body = PullEdit,
    responses((status = 200, description = "The input", body = InputView),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(super) async fn set_pull(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    InputPath(input): InputPath,
    JsonBody(PullEdit { url }): JsonBody<PullEdit>,
) -> Result<Json<InputView>, Problem> {
    let url = Secret::new(url.trim());
    if let Err(message) = api.live().check_pull(url.expose()).await {
        return Err(Problem::field("url", message));
    }
    let event = change_pull(&api, &id, input, Some(url)).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), input = input.as_str(), "pull set");
    Ok(Json(InputView::new(event.inputs.get(input), &base, principal.token.role, None)))
}

/// Ends pulling. What was being pulled ends with this; it is no error if nothing was.
#[utoipa::path(delete, path = "/api/v1/events/{id}/inputs/{input}/pull", tag = "inputs", params(openapi::Id, openapi::Input),
    responses((status = 204, description = "Nothing is pulled"), openapi::Refused, openapi::NotFound))]
pub(super) async fn remove_pull(
    State(api): State<Api>,
    principal: Principal,
    EventPath(id): EventPath,
    InputPath(input): InputPath,
) -> Result<StatusCode, Problem> {
    change_pull(&api, &id, input, None).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), input = input.as_str(), "pull removed");
    Ok(StatusCode::NO_CONTENT)
}

async fn change_pull(api: &Api, id: &EventId, input: InputName, url: Option<Secret>) -> Result<Arc<Event>, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let change = async move {
        let changed = work.store().set_pull(&target, input, url.as_ref(), work.now()).await?;
        let (event, news) = changed.ok_or_else(no_event)?;
        let event = Arc::new(event);
        if news {
            work.live().pull_changed(event.clone(), input).await;
            work.notices().publish(&target, super::events::changed(&event, work.now()));
        }
        Ok(event)
    };
    api.in_turn(id, change).await
}

/// The programme's present picture, at most a second old.
#[utoipa::path(get, path = "/api/v1/events/{id}/preview.jpg", tag = "inputs", params(openapi::Id),
    responses((status = 200, description = "The picture", content_type = "image/jpeg", body = [u8]),
        openapi::Refused, (status = 404, description = "No such event, or it has no picture now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn preview(State(api): State<Api>, EventPath(id): EventPath) -> Result<Response, Problem> {
    api.store().event(&id).await?.ok_or_else(no_event)?;
    let jpeg = api.live().preview(&id).await.ok_or_else(|| {
        let detail = "There is no picture now: the event does not run, or nothing has been published yet.";
        Problem::new(StatusCode::NOT_FOUND, "no-picture", "No picture", detail)
    })?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=1")];
    Ok((headers, jpeg).into_response())
}
