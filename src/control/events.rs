//! `/api/v1/events`.

use super::api::Api;
use super::auth::Principal;
use super::extract::{EventPath, JsonBody, Query, no_event};
use super::links::Base;
use super::notices::Notice;
use super::problem::Problem;
use super::rooms::booths::booth_links;
use super::validate::EventEdit;
use super::view::{EventList, EventView};
use super::{openapi, origins, state};
use crate::store::{Change, Cursor, Event, Keys, Role, Status, StatusChange};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Items of a page, unless the request asks for another number.
const PAGE: u32 = 50;
/// Items of a page at most.
const MAX_PAGE: u32 = 200;

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only events with this status.
    status: Option<Status>,
    /// Items of a page, 1 to 200; 50 if left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// An event as it is shown to someone with `role`.
async fn view(api: &Api, event: &Event, base: &Base, role: Role, keys: Option<&Keys>) -> Result<EventView, Problem> {
    let booths = booth_links(api, &[event], base, role).await?.pop().unwrap_or_default();
    Ok(EventView::new(event, booths, base, role, keys))
}

/// Lists events, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(ListQuery),
    responses((status = 200, description = "A page of events", body = EventList), openapi::Refused, openapi::Invalid))]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    Query(query): Query<ListQuery>,
) -> Result<Json<EventList>, Problem> {
    let wrong = |field: &str, message: &str| Problem::field(field, message);
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(wrong("limit", &format!("is not within 1 to {MAX_PAGE}")));
    }
    let cursor =
        query.cursor.map(|text| read_cursor(&text).ok_or_else(|| wrong("cursor", "is not the `next` of a page")));
    let page = api.store().events(query.status, cursor.transpose()?.as_ref(), limit).await?;
    let role = principal.token.role;
    let booths = booth_links(&api, &page.items.iter().collect::<Vec<_>>(), &base, role).await?;
    let views = page.items.iter().zip(booths).map(|(e, booths)| EventView::new(e, booths, &base, role, None));
    let items = views.collect();
    Ok(Json(EventList { items, next: page.next.map(|c| write_cursor(&c)) }))
}

fn write_cursor(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", cursor.created_at, cursor.id))
}

fn read_cursor(text: &str) -> Option<Cursor> {
    // Longer than any that was given out: not worth decoding.
    if text.len() > 64 {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (created_at, id) = text.split_once('.')?;
    Some(Cursor { created_at: created_at.parse().ok()?, id: id.to_owned() })
}

/// Makes an event, `inactive`. Its stream keys stand in clear in this answer and in no other.
#[utoipa::path(post, path = "/api/v1/events", tag = "events", request_body = openapi::NewEvent,
    responses((status = 201, description = "The event with its keys", body = EventView,
            headers(("Location" = String, description = "The event's address"))),
        openapi::Refused, openapi::BadBody))]
pub(super) async fn create(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    JsonBody(edit): JsonBody<EventEdit>,
) -> Result<Response, Problem> {
    let (settings, inputs) = edit.create()?;
    origins::check_own(&settings, &api.public().pathway)?;
    let (event, keys) = api.store().create_event(&settings, &inputs, api.now()).await?;
    api.live().event_created(Arc::new(event.clone())).await;
    tracing::info!(token = principal.token.id, event = event.id.as_str(), "event made");
    let location = HeaderValue::from_str(&format!("/api/v1/events/{}", event.id)).map_err(|_| Problem::internal())?;
    let view = view(&api, &event, &base, principal.token.role, Some(&keys)).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Shows an event.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "events", params(openapi::Id),
    responses((status = 200, description = "The event", body = EventView), openapi::Refused, openapi::NotFound))]
pub(super) async fn show(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
) -> Result<Json<EventView>, Problem> {
    let event = api.store().event(&id).await?.ok_or_else(no_event)?;
    view(&api, &event, &base, principal.token.role, None).await.map(Json)
}

/// Changes an event. What is left out stays as it is; null takes a value away.
#[utoipa::path(patch, path = "/api/v1/events/{id}", tag = "events", params(openapi::Id), request_body = EventEdit,
    responses((status = 200, description = "The event", body = EventView),
        (status = 409, description = "Not while the event runs; `field` says what", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(super) async fn edit(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    JsonBody(edit): JsonBody<EventEdit>,
) -> Result<Json<EventView>, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let change = async move {
        let now = work.now();
        let mut before = 0;
        let change = work
            .store()
            .update_event(&target, now, |event, settings, inputs| {
                before = event.revision;
                edit.apply(event, settings, inputs)?;
                origins::check_own(settings, &work.public().pathway)
            })
            .await?;
        let event = match change {
            Change::Done(event) => Arc::new(event),
            Change::Refused(problem) => return Err(problem),
            Change::Missing => return Err(no_event()),
        };
        if event.revision != before {
            work.live().event_changed(event.clone()).await;
            work.rooms().sync(&event).await?;
            work.notices().publish(&target, state::notice(&event, now));
            work.notices().publish(&target, changed(&event, now));
        }
        Ok(event)
    };
    let event = api.in_turn(&id, change).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), revision = event.revision, "event changed");
    view(&api, &event, &base, principal.token.role, None).await.map(Json)
}

/// What staff hears when an event's settings changed: where to look. The event itself looks different to each of them.
pub(super) fn changed(event: &Event, at: time::OffsetDateTime) -> Notice {
    let fields = Map::from_iter([
        ("event".to_owned(), Value::from(event.id.as_str())),
        ("status".to_owned(), event.status.as_str().into()),
        ("revision".to_owned(), event.revision.into()),
    ]);
    Notice::new("event", super::notices::Audience::Staff, at, fields)
}

/// Deletes an event with all its data, whatever its status. A permanent event is refused.
#[utoipa::path(delete, path = "/api/v1/events/{id}", tag = "events", params(openapi::Id),
    responses((status = 204, description = "It is gone"),
        (status = 409, description = "The event is permanent", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound))]
pub(super) async fn remove(
    State(api): State<Api>,
    principal: Principal,
    EventPath(id): EventPath,
) -> Result<StatusCode, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let change = async move {
        match work.store().delete_event(&target, |event| !event.settings.permanent).await? {
            Change::Done(event) => {
                work.rooms().close(&target, "The event was deleted.");
                work.live().event_deleted(Arc::new(event)).await;
                work.notices().close(&target);
                work.webhooks().forget(&target);
                Ok(())
            }
            Change::Refused(_) => {
                let detail = "The event is permanent; set `permanent` to false first.";
                Err(Problem::conflict("event-permanent", "The event is permanent", detail))
            }
            Change::Missing => Err(no_event()),
        }
    };
    api.in_turn(&id, change).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), "event deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Where an event is to stand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusEdit {
    status: Status,
}

/// Changes the status. The same status again changes nothing.
#[utoipa::path(put, path = "/api/v1/events/{id}/status", tag = "events", params(openapi::Id), request_body = StatusEdit,
    responses((status = 200, description = "The event", body = EventView),
        (status = 409, description = "Not from the present status; `allowed` lists what may follow", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(super) async fn set_status(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    JsonBody(StatusEdit { status: next }): JsonBody<StatusEdit>,
) -> Result<Json<EventView>, Problem> {
    let (work, target, token) = (api.clone(), id.clone(), principal.token.id.clone());
    let change = async move {
        match work.store().set_status(&target, next, work.now()).await? {
            StatusChange::Done(event, from) => {
                let event = Arc::new(event);
                work.live().status_changed(event.clone(), from).await;
                // After what they play from runs; what closes is told why first.
                work.rooms().sync(&event).await?;
                work.notices().publish(&target, Notice::status(work.now(), next));
                tracing::info!(
                    token,
                    event = target.as_str(),
                    from = from.as_str(),
                    to = next.as_str(),
                    "status changed"
                );
                Ok(event)
            }
            StatusChange::Same(event) => Ok(Arc::new(event)),
            StatusChange::Refused(event) => {
                let from = event.status;
                let allowed: Vec<Value> = from.allowed().iter().map(|s| s.as_str().into()).collect();
                let words: Vec<&str> = from.allowed().iter().map(|s| s.as_str()).collect();
                let detail =
                    format!("An event that is {from} cannot become {next}; it can become {}.", words.join(" or "));
                Err(Problem::conflict("status-not-allowed", "Status not allowed", detail).with("allowed", allowed))
            }
            StatusChange::Missing => Err(no_event()),
        }
    };
    let event = api.in_turn(&id, change).await?;
    view(&api, &event, &base, principal.token.role, None).await.map(Json)
}
