//! WHIP (RFC 9725) and WHEP into the rooms: an offer is POSTed and answered, the session stands at its `Location`,
//! where a fragment is PATCHed and the end DELETEd.
//!
//! **Bound.** Offers and fragments [`MAX_SDP`]; sessions per event in the hall, participants as the event says.

use super::hall::{Grant, Hall, Use};
use super::link::{BoothLink, Managing, Opened, ParticipantLink, event_of, grant, hall};
use super::media::{Answered, OfferError, RoomSource, Sound, Taken};
use crate::booth::{PersonId, Refusal};
use crate::control::Problem;
use crate::control::api::Api;
use crate::control::extract::{Query, read};
use crate::control::openapi;
use crate::store::EventId;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Bytes of an offer or a fragment: a browser's with every codec and many candidates has some 20 KB.
pub(super) const MAX_SDP: usize = 64 << 10;

/// A body of `application/sdp`.
pub(in crate::control) struct Offer(pub(super) String);

async fn text(request: Request, kind: &'static str) -> Result<String, Problem> {
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case(kind) {
        let detail = format!("Send the body as `Content-Type: {kind}`.");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-type", "Unsupported media type", detail));
    }
    let bytes = read(body, MAX_SDP).await?;
    String::from_utf8(bytes.into()).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "malformed-sdp", "Malformed SDP", "The body is no UTF-8 text.")
    })
}

impl FromRequest<Api> for Offer {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Offer, Problem> {
        text(request, "application/sdp").await.map(Offer)
    }
}

/// A body of `application/trickle-ice-sdpfrag` (RFC 8840).
pub(in crate::control) struct Fragment {
    text: String,
    /// `If-Match`, without quotes.
    etag: Option<String>,
}

impl FromRequest<Api> for Fragment {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Fragment, Problem> {
        let etag = request.headers().get(header::IF_MATCH).and_then(|v| v.to_str().ok());
        let etag = etag.map(|v| v.trim().trim_matches('"').to_owned());
        text(request, "application/trickle-ice-sdpfrag").await.map(|text| Fragment { text, etag })
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Problem {
        let detail = error.to_string();
        match error {
            OfferError::Offer(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "bad-offer", "The offer cannot be used", detail)
            }
            OfferError::Full(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-sessions", "Full", detail)
                .header(header::RETRY_AFTER, HeaderValue::from_static("5")),
            OfferError::Outdated(_) => {
                Problem::new(StatusCode::PRECONDITION_FAILED, "outdated", "Not the present session", detail)
            }
            OfferError::Unavailable(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-running", "Not running now", detail)
                    .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
            }
        }
    }
}

/// A refusal of the rooms, as an answer over HTTP.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    let detail = format!("{refusal}.");
    match refusal {
        Refusal::Full(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-sessions", "Full", detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static("5")),
        Refusal::Often => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail),
        _ => Problem::conflict("not-in-the-room", "Not as the room stands", detail),
    }
}

/// `?person=`, the `you` of the welcome: several people share a booth's link.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct Whose {
    /// The `you` of the welcome.
    person: Option<String>,
}

impl Whose {
    fn id(&self) -> Result<Option<PersonId>, Problem> {
        let wrong = || {
            let message = "is not the `you` of a welcome".to_owned();
            Problem::field("person", message)
        };
        self.person.as_deref().map(|text| PersonId::parse(text).ok_or_else(wrong)).transpose()
    }
}

/// `?source=`.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct Which {
    /// `floor`, or the language of a booth.
    source: Option<String>,
    #[serde(rename = "link")]
    #[param(ignore)]
    _link: Option<String>,
    #[serde(rename = "token")]
    #[param(ignore)]
    _token: Option<String>,
}

/// `?video=`.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct Seeing {
    /// Whether the picture is wanted, where the link gives one; true if left out.
    video: Option<bool>,
}

/// What is said of a path's session.
#[derive(Deserialize)]
pub(in crate::control) struct SessionPath {
    pub(super) session: String,
}

/// A new session's name: no secret, since its link is needed with it.
pub(super) fn session_id() -> String {
    format!("{:020x}", rand::random::<u128>() >> 48)
}

fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::internal())
}

pub(super) fn created(location: &str, etag: &str, answer: String) -> Result<Response, Problem> {
    let headers = [
        (header::LOCATION, header_value(location)?),
        (header::ETAG, header_value(&format!("\"{etag}\""))?),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/sdp")),
    ];
    Ok((StatusCode::CREATED, headers, answer).into_response())
}

/// Answers an offer to receive and gives the session to the hall.
async fn play(
    api: &Api,
    hall: &Arc<Hall>,
    kind: Use,
    grant: Grant,
    source: RoomSource,
    Offer(offer): Offer,
    place: &str,
) -> Result<Response, Problem> {
    let Answered { answer, peer } = api.rooms().media().play(hall.id(), offer, source.clone()).await?;
    let (id, etag) = (session_id(), peer.etag());
    hall.add_session(&id, kind, grant, source, peer, None).map_err(|refusal| refused(&refusal))?;
    created(&format!("{place}/{id}"), &etag, answer)
}

/// Takes an interpreter's voice: Opus (WHIP).
#[utoipa::path(post, path = "/booth/{secret}/whip", tag = "rooms", params(openapi::SecretOf, Whose), security(()),
    request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, description = "The answer; `Location` names the session", content_type = "application/sdp", body = String),
        openapi::LinkRefused, openapi::RoomClosed, openapi::BadBody, openapi::Full))]
pub(in crate::control) async fn voice(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Query(whose): Query<Whose>,
    Offer(offer): Offer,
) -> Result<Response, Problem> {
    let link = opened.check()?;
    let event = event_of(&api, &link).await?;
    let hall = hall(&api, &event.id)?;
    let person = whose.id()?;
    let sink = hall.new_voice();
    let Answered { answer, peer } = api.rooms().media().voice(hall.id(), offer, sink.clone()).await?;
    let (id, etag) = (session_id(), peer.etag());
    let source = RoomSource { sound: Sound::Silence, video: false };
    let kind = Use::Voice(sink.voice());
    let added = hall.add_session(&id, kind, grant(&link), source, peer, Some((sink, person)));
    added.map_err(|refusal| refused(&refusal))?;
    created(&format!("/booth/{}/whip/{id}", link.secret.expose()), &etag, answer)
}

/// Sends what an interpreter listens to, with the picture (WHEP). What it is follows the room.
#[utoipa::path(post, path = "/booth/{secret}/whep", tag = "rooms", params(openapi::SecretOf, Whose), security(()),
    request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, description = "The answer; `Location` names the session", content_type = "application/sdp", body = String),
        openapi::LinkRefused, openapi::RoomClosed, openapi::BadBody, openapi::Full))]
pub(in crate::control) async fn ears(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Query(whose): Query<Whose>,
    offer: Offer,
) -> Result<Response, Problem> {
    let link = opened.check()?;
    let event = event_of(&api, &link).await?;
    let hall = hall(&api, &event.id)?;
    let (person, sound) = hall.ears_of(&link.id, whose.id()?).map_err(|refusal| refused(&refusal))?;
    let place = format!("/booth/{}/whep", link.secret.expose());
    play(&api, &hall, Use::Ears(person), grant(&link), RoomSource { sound, video: true }, offer, &place).await
}

/// Sends the floor or a booth's language, with the picture, to a manager (WHEP).
#[utoipa::path(post, path = "/manage/{id}/whep", tag = "rooms", params(openapi::Id, openapi::ManageBy, Which), security(()),
    request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, description = "The answer; `Location` names the session", content_type = "application/sdp", body = String),
        openapi::LinkRefused, openapi::RoomClosed, openapi::BadBody, openapi::Full))]
pub(in crate::control) async fn monitor(
    State(api): State<Api>,
    managing: Managing,
    Query(which): Query<Which>,
    offer: Offer,
) -> Result<Response, Problem> {
    if let Some(ended) = managing.ended {
        return Err(ended.problem());
    }
    let hall = hall(&api, &managing.event.id)?;
    let sound = match which.source.as_deref() {
        None | Some("floor") => Sound::Floor,
        Some(language) if hall.has_booth(language) => Sound::Mix(language.to_owned()),
        Some(_) => {
            let message = "is neither `floor` nor the language of a booth".to_owned();
            return Err(Problem::field("source", message));
        }
    };
    let place = format!("/manage/{}/whep", managing.event.id);
    play(&api, &hall, Use::Fixed, managing.grant, RoomSource { sound, video: true }, offer, &place).await
}

/// Sends a language without delay to a participant (WHEP). Without picture, silence while nobody is on air; with it,
/// the floor.
#[utoipa::path(post, path = "/participant/{secret}/whep", tag = "rooms", params(openapi::SecretOf, Seeing), security(()),
    request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, description = "The answer; `Location` names the session", content_type = "application/sdp", body = String),
        openapi::LinkRefused, openapi::RoomClosed, openapi::BadBody, openapi::Full))]
pub(in crate::control) async fn participate(
    State(api): State<Api>,
    ParticipantLink(opened): ParticipantLink,
    Query(seeing): Query<Seeing>,
    offer: Offer,
) -> Result<Response, Problem> {
    let link = opened.check()?;
    let event = event_of(&api, &link).await?;
    let hall = hall(&api, &event.id)?;
    let language = link.language.clone().unwrap_or_default();
    if !hall.has_booth(&language) {
        let detail = format!("{language} is not interpreted in this event any more.");
        return Err(Problem::conflict("no-booth", "No such booth", detail));
    }
    let most = event.settings.participants_limit as usize;
    if hall.participants() >= most {
        let detail = format!("All {most} places for participants are taken.");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-participants", "Full", detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static("10")));
    }
    // A link for sound alone gives no picture.
    let video = link.video && seeing.video.unwrap_or(true);
    let sound = hall.participant_sound(&language, video);
    let place = format!("/participant/{}/whep", link.secret.expose());
    play(&api, &hall, Use::Participant(language), grant(&link), RoomSource { sound, video }, offer, &place).await
}

fn no_session() -> Problem {
    Problem::not_found("such session; it may have ended")
}

async fn patched(hall: &Hall, session: &str, link: &str, fragment: Fragment) -> Result<Response, Problem> {
    let Fragment { text, etag } = fragment;
    match hall.patch_session(session, link, text, etag).ok_or_else(no_session)?.await? {
        Taken::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Taken::Restarted { fragment, etag } => {
            let kind = HeaderValue::from_static("application/trickle-ice-sdpfrag");
            let etag = header_value(&format!("\"{etag}\""))?;
            Ok(([(header::CONTENT_TYPE, kind), (header::ETAG, etag)], fragment).into_response())
        }
    }
}

fn hall_of(api: &Api, event: Option<&EventId>) -> Result<Arc<Hall>, Problem> {
    event.and_then(|event| api.rooms().hall(event)).ok_or_else(no_session)
}

async fn patch_by(api: &Api, opened: Opened, path: SessionPath, fragment: Fragment) -> Result<Response, Problem> {
    let link = opened.check()?;
    let hall = hall_of(api, link.event.as_ref())?;
    patched(&hall, &path.session, &link.id, fragment).await
}

fn end_by(api: &Api, opened: &Opened, path: &SessionPath) -> Result<StatusCode, Problem> {
    // Also with a link that has ended: there is nothing to be had by ending one's own session.
    let hall = hall_of(api, opened.link.event.as_ref())?;
    if hall.end_session(&path.session, Some(&opened.link.id)) { Ok(StatusCode::OK) } else { Err(no_session()) }
}

/// Hands a candidate or a restart to a voice.
#[utoipa::path(patch, path = "/booth/{secret}/whip/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses((status = 204, description = "Taken"), (status = 200, description = "The answer to a restart", content_type = "application/trickle-ice-sdpfrag", body = String),
        openapi::LinkRefused, openapi::BadBody))]
pub(in crate::control) async fn patch_voice(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Path(path): Path<SessionPath>,
    fragment: Fragment,
) -> Result<Response, Problem> {
    patch_by(&api, opened, path, fragment).await
}

/// Ends a voice.
#[utoipa::path(delete, path = "/booth/{secret}/whip/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    responses((status = 200, description = "It has ended"), openapi::LinkRefused))]
pub(in crate::control) async fn end_voice(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Path(path): Path<SessionPath>,
) -> Result<StatusCode, Problem> {
    end_by(&api, &opened, &path)
}

/// Hands a candidate or a restart to a listening session.
#[utoipa::path(patch, path = "/booth/{secret}/whep/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses((status = 204, description = "Taken"), (status = 200, description = "The answer to a restart", content_type = "application/trickle-ice-sdpfrag", body = String),
        openapi::LinkRefused, openapi::BadBody))]
pub(in crate::control) async fn patch_ears(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Path(path): Path<SessionPath>,
    fragment: Fragment,
) -> Result<Response, Problem> {
    patch_by(&api, opened, path, fragment).await
}

/// Ends a listening session.
#[utoipa::path(delete, path = "/booth/{secret}/whep/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    responses((status = 200, description = "It has ended"), openapi::LinkRefused))]
pub(in crate::control) async fn end_ears(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    Path(path): Path<SessionPath>,
) -> Result<StatusCode, Problem> {
    end_by(&api, &opened, &path)
}

/// Hands a candidate or a restart to a participant's session.
#[utoipa::path(patch, path = "/participant/{secret}/whep/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses((status = 204, description = "Taken"), (status = 200, description = "The answer to a restart", content_type = "application/trickle-ice-sdpfrag", body = String),
        openapi::LinkRefused, openapi::BadBody))]
pub(in crate::control) async fn patch_participant(
    State(api): State<Api>,
    ParticipantLink(opened): ParticipantLink,
    Path(path): Path<SessionPath>,
    fragment: Fragment,
) -> Result<Response, Problem> {
    patch_by(&api, opened, path, fragment).await
}

/// Ends a participant's session.
#[utoipa::path(delete, path = "/participant/{secret}/whep/{session}", tag = "rooms", params(openapi::SecretOf, openapi::SessionOf), security(()),
    responses((status = 200, description = "It has ended"), openapi::LinkRefused))]
pub(in crate::control) async fn end_participant(
    State(api): State<Api>,
    ParticipantLink(opened): ParticipantLink,
    Path(path): Path<SessionPath>,
) -> Result<StatusCode, Problem> {
    end_by(&api, &opened, &path)
}

/// Hands a candidate or a restart to a manager's session.
#[utoipa::path(patch, path = "/manage/{id}/whep/{session}", tag = "rooms", params(openapi::Id, openapi::SessionOf, openapi::ManageBy), security(()),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses((status = 204, description = "Taken"), (status = 200, description = "The answer to a restart", content_type = "application/trickle-ice-sdpfrag", body = String),
        openapi::LinkRefused, openapi::BadBody))]
pub(in crate::control) async fn patch_monitor(
    State(api): State<Api>,
    managing: Managing,
    Path(path): Path<SessionPath>,
    fragment: Fragment,
) -> Result<Response, Problem> {
    if let Some(ended) = managing.ended {
        return Err(ended.problem());
    }
    let hall = hall_of(&api, Some(&managing.event.id))?;
    patched(&hall, &path.session, &managing.grant.link, fragment).await
}

/// Ends a manager's session. Its name lets in here, without link or token: the address in `Location` has neither.
#[utoipa::path(delete, path = "/manage/{id}/whep/{session}", tag = "rooms", params(openapi::Id, openapi::SessionOf), security(()),
    responses((status = 200, description = "It has ended"), openapi::LinkRefused))]
pub(in crate::control) async fn end_monitor(
    State(api): State<Api>,
    crate::control::extract::EventPath(id): crate::control::extract::EventPath,
    Path(path): Path<SessionPath>,
) -> Result<StatusCode, Problem> {
    let hall = hall_of(&api, Some(&id))?;
    if hall.end_monitor(&path.session) { Ok(StatusCode::OK) } else { Err(no_session()) }
}
