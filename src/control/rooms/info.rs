//! What a room's page asks for before anything else: whether its link opens, and what it opens.

use super::link::{BoothLink, Managing, ParticipantLink, TestLink, event_of};
use crate::control::Problem;
use crate::control::api::Api;
use crate::control::openapi;
use crate::store::{Event, Status};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// The event of a room.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct RoomEvent {
    /// The event.
    id: String,
    /// What people call it.
    name: String,
    /// Where it stands. The rooms are open in preview, started and paused.
    status: Status,
    /// BCP 47 tag of the floor, or `original` when it is mixed.
    floor_language: String,
}

impl RoomEvent {
    fn new(event: &Event) -> RoomEvent {
        RoomEvent {
            id: event.id.as_str().to_owned(),
            name: event.settings.name.clone(),
            status: event.status,
            floor_language: event.settings.floor_language.clone(),
        }
    }
}

/// A booth, before one is in it.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct RoomBooth {
    /// The booth's language.
    language: String,
    /// What the language calls itself.
    name: String,
    /// The other language of a bilingual booth.
    second_language: Option<String>,
}

/// What an interpreter's link opens.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct BoothInfo {
    /// The event.
    event: RoomEvent,
    /// The booth.
    booth: RoomBooth,
}

/// Shows what an interpreter's link opens.
#[utoipa::path(get, path = "/booth/{secret}/info", tag = "rooms", params(openapi::SecretOf), security(()),
    responses((status = 200, description = "The booth", body = BoothInfo), openapi::LinkRefused))]
pub(in crate::control) async fn booth(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
) -> Result<Json<BoothInfo>, Problem> {
    let link = opened.check()?;
    let event = event_of(&api, &link).await?;
    let language = link.language.unwrap_or_default();
    let rows = api.store().booths(&event.id).await?;
    let second_language = rows.into_iter().find(|r| r.language == language).and_then(|r| r.second_language);
    let booth = RoomBooth { name: api.rooms().media().name(&language), language, second_language };
    Ok(Json(BoothInfo { event: RoomEvent::new(&event), booth }))
}

/// What a participant's link opens.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct ParticipantInfo {
    /// The event.
    event: RoomEvent,
    /// The language to be heard.
    language: String,
    /// What the language calls itself.
    language_name: String,
    /// Whether there is a picture.
    video: bool,
}

/// Shows what a participant's link opens.
#[utoipa::path(get, path = "/participant/{secret}/info", tag = "rooms", params(openapi::SecretOf), security(()),
    responses((status = 200, description = "The language", body = ParticipantInfo), openapi::LinkRefused))]
pub(in crate::control) async fn participant(
    State(api): State<Api>,
    ParticipantLink(opened): ParticipantLink,
) -> Result<Json<ParticipantInfo>, Problem> {
    let link = opened.check()?;
    let event = event_of(&api, &link).await?;
    let language = link.language.unwrap_or_default();
    let language_name = api.rooms().media().name(&language);
    Ok(Json(ParticipantInfo { event: RoomEvent::new(&event), language, language_name, video: link.video }))
}

/// What the management room is of.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct ManageInfo {
    /// The event.
    event: RoomEvent,
}

/// Shows what the management room is of.
#[utoipa::path(get, path = "/manage/{id}/info", tag = "rooms", params(openapi::Id, openapi::ManageBy), security(()),
    responses((status = 200, description = "The event", body = ManageInfo), openapi::LinkRefused))]
pub(in crate::control) async fn manage(managing: Managing) -> Result<Json<ManageInfo>, Problem> {
    match managing.ended {
        Some(ended) => Err(ended.problem()),
        None => Ok(Json(ManageInfo { event: RoomEvent::new(&managing.event) })),
    }
}

/// That a connection test's link opens.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct TestInfo {
    /// The name of the event whose link it is; null of the standing link.
    event_name: Option<String>,
}

/// Shows whether a connection test's link opens.
#[utoipa::path(get, path = "/test/{secret}/info", tag = "rooms", params(openapi::SecretOf), security(()),
    responses((status = 200, description = "It opens", body = TestInfo), openapi::LinkRefused))]
pub(in crate::control) async fn test(
    State(api): State<Api>,
    TestLink(opened): TestLink,
) -> Result<Json<TestInfo>, Problem> {
    let link = opened.check()?;
    let event_name = match link.event {
        Some(_) => Some(event_of(&api, &link).await?.settings.name.clone()),
        None => None,
    };
    Ok(Json(TestInfo { event_name }))
}
