//! `/api/v1/events/{id}/links` and `/booths`: what managers see and set of the rooms.

use super::link::{Ended, ended};
use super::protocol::PersonState;
use super::specs;
use crate::control::api::Api;
use crate::control::auth::Principal;
use crate::control::extract::{EventPath, JsonBody, no_event};
use crate::control::links::Base;
use crate::control::openapi;
use crate::control::problem::Problem;
use crate::control::validate::{MIN_FLOOR_DB, Timestamp, nullable, present, tag};
use crate::media::VoiceReport;
use crate::store::{BoothRow, Event, EventId, LanguageKind, Link, LinkMade, LinkRole, MAX_LINKS, NewLink, Role};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A level as it was written: -13.7, not the nearest binary fraction.
pub(super) fn decibels(db: f32) -> f64 {
    if db.is_finite() { (f64::from(db) * 1_000.0).round() / 1_000.0 } else { f64::from(db) }
}

/// Where a link leads.
fn url(link: &Link, base: &Base) -> Option<String> {
    let secret = link.secret.expose();
    let path = match link.role {
        LinkRole::Interpreter => format!("/booth/{secret}"),
        LinkRole::Participant => format!("/participant/{secret}"),
        LinkRole::Transcriber => format!("/transcribe/{secret}"),
        LinkRole::Corrector => format!("/correct/{secret}"),
        LinkRole::Manager => format!("/manage/{}?link={secret}", link.event.as_ref()?),
        LinkRole::Test => format!("/test/{secret}"),
    };
    Some(base.url(&path))
}

/// A secret link into a room.
#[derive(Serialize, ToSchema)]
#[schema(title = "Link")]
pub(in crate::control) struct LinkView {
    /// Names it, to revoke it; no secret.
    id: String,
    /// What it opens.
    role: LinkRole,
    /// The language of its booth, or that it follows; null for managers.
    language: Option<String>,
    /// The other language of a bilingual booth, as the link was made with it.
    second_language: Option<String>,
    /// Whether a participant gets the picture, too.
    video: bool,
    /// The address to hand out. Only for managers and above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    /// The page on which the link's holder can test their connection first. Only for managers and above, of
    /// interpreters' and participants' links.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    test_url: Option<String>,
    /// `open`, `revoked` or `expired`.
    #[schema(pattern = "^(open|revoked|expired)$")]
    state: &'static str,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// When it runs out; null: never.
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

impl LinkView {
    fn new(link: &Link, base: &Base, role: Role, now: OffsetDateTime) -> LinkView {
        let shown = role >= Role::Manager;
        let tested = matches!(link.role, LinkRole::Interpreter | LinkRole::Participant);
        LinkView {
            id: link.id.clone(),
            role: link.role,
            language: link.language.clone(),
            second_language: link.second_language.clone(),
            video: link.video,
            url: url(link, base).filter(|_| shown),
            test_url: (shown && tested).then(|| base.url(&format!("/test/{}", link.secret.expose()))),
            state: ended(link, now).map_or("open", Ended::reason),
            created_at: link.created_at,
            expires_at: link.expires_at,
            revoked_at: link.revoked_at,
        }
    }
}

/// All links of an event.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct LinkList {
    /// The links, oldest first, those included that have ended.
    items: Vec<LinkView>,
    /// Always null: all are on one page.
    next: Option<String>,
}

/// A link that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct LinkEdit {
    /// What it opens: `interpreter`, `participant`, `transcriber`, `corrector` or `manager`.
    role: LinkRole,
    /// The language of its booth, or that it follows. Needed but for managers; of interpreters and participants it is
    /// an interpreted language of the event.
    #[serde(default)]
    language: Option<String>,
    /// Makes the booth bilingual: another interpreted language of the event, into which its interpreters can speak,
    /// too. Only for interpreters.
    #[serde(default)]
    second_language: Option<String>,
    /// Whether a participant gets the picture, too; true if left out.
    #[serde(default)]
    video: Option<bool>,
    /// When it runs out; left out or null: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

fn interpreted(event: &Event, language: &str) -> bool {
    event.settings.languages.iter().any(|l| l.language == language && l.kind == LanguageKind::Interpreted)
}

impl LinkEdit {
    fn check(self, event: &Event, now: OffsetDateTime) -> Result<NewLink, Problem> {
        let canonical = |field: &str, text: Option<String>| {
            text.map(|t| tag(&t).map_err(|message| Problem::field(field, message))).transpose()
        };
        let language = canonical("language", self.language)?;
        let second_language = canonical("second_language", self.second_language)?;
        let has = |language: &str| event.settings.languages.iter().any(|l| l.language == language);
        match (self.role, &language) {
            (LinkRole::Test, _) => {
                return Err(Problem::field(
                    "role",
                    "is none of interpreter, participant, transcriber, corrector, manager",
                ));
            }
            (LinkRole::Manager, Some(_)) => return Err(Problem::field("language", "is not for managers")),
            (LinkRole::Manager, None) => {}
            (_, None) => return Err(Problem::field("language", "is missing")),
            (LinkRole::Interpreter | LinkRole::Participant, Some(language)) if !interpreted(event, language) => {
                return Err(Problem::field("language", format!("{language} is not interpreted in this event")));
            }
            (_, Some(language)) if !has(language) && *language != event.settings.floor_language => {
                return Err(Problem::field("language", format!("{language} is no language of this event")));
            }
            _ => {}
        }
        if let Some(second) = &second_language {
            if self.role != LinkRole::Interpreter {
                return Err(Problem::field("second_language", "is for interpreters"));
            }
            check_second(event, language.as_deref().unwrap_or_default(), second)?;
        }
        let expires_at = self.expires_at.map(|t| t.0);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Problem::field("expires_at", "lies in the past"));
        }
        Ok(NewLink { role: self.role, language, second_language, video: self.video.unwrap_or(true), expires_at })
    }
}

fn check_second(event: &Event, language: &str, second: &str) -> Result<(), Problem> {
    if second == language {
        return Err(Problem::field("second_language", "is the booth's own language"));
    }
    if !interpreted(event, second) {
        return Err(Problem::field("second_language", format!("{second} has no booth of its own in this event")));
    }
    Ok(())
}

/// Lists an event's links. Their addresses are shown to managers and above.
#[utoipa::path(get, path = "/api/v1/events/{id}/links", tag = "rooms", params(openapi::Id),
    responses((status = 200, description = "All links", body = LinkList), openapi::Refused, openapi::NotFound))]
pub(in crate::control) async fn list_links(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
) -> Result<Json<LinkList>, Problem> {
    api.store().event(&id).await?.ok_or_else(no_event)?;
    let now = api.now();
    let links = api.store().links(&id).await?;
    let items = links.iter().map(|link| LinkView::new(link, &base, principal.token.role, now)).collect();
    Ok(Json(LinkList { items, next: None }))
}

/// Makes a secret link into a room.
#[utoipa::path(post, path = "/api/v1/events/{id}/links", tag = "rooms", params(openapi::Id), request_body = LinkEdit,
    responses((status = 201, description = "The link with its address", body = LinkView),
        (status = 409, description = "The event has too many links", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(in crate::control) async fn create_link(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    JsonBody(edit): JsonBody<LinkEdit>,
) -> Result<Response, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let making = async move {
        let event = work.store().event(&target).await?.ok_or_else(no_event)?;
        let new = edit.check(&event, work.now())?;
        let link = match work.store().create_link(&target, &new, work.now()).await? {
            LinkMade::Done(link) => link,
            LinkMade::Full => {
                let detail = format!("The event has {MAX_LINKS} links, those that have ended included.");
                return Err(Problem::conflict("too-many-links", "Too many links", detail));
            }
            LinkMade::Missing => return Err(no_event()),
        };
        if let (Some(language), Some(second)) = (&link.language, &link.second_language) {
            let second = second.clone();
            work.store().set_booth(&target, language, |booth| booth.second_language = Some(second)).await?;
            work.rooms().sync(&Arc::new(event)).await?;
        }
        Ok(link)
    };
    let link = api.in_turn(&id, making).await?;
    tracing::info!(
        token = principal.token.id,
        event = id.as_str(),
        link = link.id,
        role = link.role.as_str(),
        "link made"
    );
    let location = HeaderValue::from_str(&format!("/api/v1/events/{id}/links/{}", link.id));
    let location = location.map_err(|_| Problem::internal())?;
    let view = LinkView::new(&link, &base, principal.token.role, api.now());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// `{link}` of a path.
#[derive(Deserialize)]
pub(in crate::control) struct LinkPath {
    link: String,
}

/// Revokes a link: whoever is there by it is sent away at once.
#[utoipa::path(delete, path = "/api/v1/events/{id}/links/{link}", tag = "rooms", params(openapi::Id, openapi::LinkId),
    responses((status = 204, description = "It opens no more"), openapi::Refused,
        (status = 404, description = "No such event or link, or it was revoked before", body = Problem, content_type = "application/problem+json")))]
pub(in crate::control) async fn revoke_link(
    State(api): State<Api>,
    principal: Principal,
    EventPath(id): EventPath,
    Path(path): Path<LinkPath>,
) -> Result<StatusCode, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let revoking = async move {
        let found = work.store().revoke_link(&target, &path.link, work.now()).await?;
        let link = found.ok_or_else(|| Problem::not_found("such link that opens"))?;
        work.rooms().revoke(&target, &link.id, "revoked");
        Ok(link)
    };
    let link = api.in_turn(&id, revoking).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), link = link.id, "link revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// A booth of an event, as its answers show it.
#[derive(Serialize, ToSchema)]
#[schema(title = "Booth link")]
pub(in crate::control) struct BoothLinkView {
    /// The booth's language.
    language: String,
    /// The interpreters' page, by the oldest of their links that opens; null when all are revoked. Only for managers
    /// and above.
    #[schema(value_type = Option<String>, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Option<String>>,
}

/// The booths of events with the addresses of their pages, for those who may hand them out.
pub(in crate::control) async fn booth_links(
    api: &Api,
    events: &[&Event],
    base: &Base,
    role: Role,
) -> Result<Vec<Vec<BoothLinkView>>, Problem> {
    let shown = role >= Role::Manager;
    let ids: Vec<&EventId> = events.iter().map(|e| &e.id).collect();
    let links = if shown { api.store().booth_links(&ids, api.now()).await? } else { Vec::new() };
    let booths = |event: &Event| {
        let languages = event.settings.languages.iter().filter(|l| l.kind == LanguageKind::Interpreted);
        let booth = |language: &str| {
            let mut of = links.iter().filter(|l| l.event.as_ref() == Some(&event.id));
            let link = of.find(|l| l.language.as_deref() == Some(language));
            let url = shown.then(|| link.and_then(|l| url(l, base)));
            BoothLinkView { language: language.to_owned(), url }
        };
        languages.map(|l| booth(&l.language)).collect()
    };
    Ok(events.iter().map(|event| booths(event)).collect())
}

/// A booth as it is.
#[derive(Serialize, ToSchema)]
#[schema(title = "Booth")]
pub(in crate::control) struct BoothView {
    /// The booth's language.
    language: String,
    /// What the language calls itself.
    name: String,
    /// The interpreters' page; null when all links are revoked. Only for managers and above.
    #[schema(value_type = Option<String>, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Option<String>>,
    /// The other language of a bilingual booth.
    second_language: Option<String>,
    /// Nobody in it is heard.
    muted: bool,
    /// The floor's level under a voice, dB; null: no floor.
    floor_level_db: Option<f64>,
    /// Whether anyone is heard in its language.
    on_air: bool,
    /// The level of its language's mix, dB relative to full scale; null while it is not known.
    level_db: Option<f32>,
    /// Who is in it.
    people: Vec<Interpreter>,
}

/// Someone in a booth, with how their voice arrives.
#[derive(Clone, Serialize, ToSchema)]
pub(in crate::control) struct Interpreter {
    #[serde(flatten)]
    pub(super) person: PersonState,
    /// What carries their voice: `udp` or `tcp`; null while none does.
    #[schema(pattern = "^(udp|tcp)$")]
    pub(super) transport: Option<&'static str>,
    /// How it arrives and sounds; null while none does, or nothing is contributed.
    pub(super) voice: Option<VoiceView>,
}

/// How a voice arrives and sounds, over the last second.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(in crate::control) struct VoiceView {
    /// Root mean square, dB relative to full scale; −120 for silence.
    level_db: f32,
    /// Highest sample, likewise.
    peak_db: f32,
    /// Interarrival jitter, ms.
    jitter_ms: f32,
    /// Share of packets that never came or came too late, 0 to 1.
    loss: f32,
    /// Share of the sound that was lost and is guessed, 0 to 1.
    concealed: f32,
    /// Share of the sound that was lost and came again with the packet after it (forward error correction), 0 to 1.
    recovered: f32,
    /// What the realtime mix waits for late packets, ms.
    delay_ms: f32,
}

impl From<VoiceReport> for VoiceView {
    fn from(report: VoiceReport) -> VoiceView {
        let VoiceReport { level_db, peak_db, jitter_ms, loss, concealed, recovered, delay_ms } = report;
        VoiceView { level_db, peak_db, jitter_ms, loss, concealed, recovered, delay_ms }
    }
}

/// The booths of an event.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct BoothList {
    /// In the order of the event's languages.
    items: Vec<BoothView>,
    /// Always null: all are on one page.
    next: Option<String>,
    /// Whether the rooms are open.
    open: bool,
    /// Managers who are in their room.
    managers: Vec<PersonState>,
}

/// The booths of an event as they are: what is set, and who is there.
async fn booths(api: &Api, event: &Event, base: &Base, role: Role) -> Result<BoothList, Problem> {
    let rows = api.store().booths(&event.id).await?;
    let links = booth_links(api, &[event], base, role).await?.pop().unwrap_or_default();
    let hall = api.rooms().hall(&event.id);
    let people = hall.as_ref().map_or_else(Vec::new, |h| h.with(|state| state.interpreters()));
    let booth = |(spec, link): (crate::booth::BoothSpec, BoothLinkView)| {
        let language = spec.language;
        let on_air = hall.as_ref().is_some_and(|h| h.with(|s| s.room.on_air(&language)));
        let level = hall.as_ref().and_then(|h| h.with(|s| s.language_levels.get(&language).copied()));
        BoothView {
            name: api.rooms().media().name(&language),
            url: link.url,
            second_language: spec.second_language,
            muted: spec.muted,
            floor_level_db: spec.floor_level_db.is_finite().then_some(decibels(spec.floor_level_db)),
            on_air,
            level_db: level.filter(|db| db.is_finite()),
            people: people.iter().filter(|p| p.person.booth.as_ref() == Some(&language)).cloned().collect(),
            language,
        }
    };
    let items = specs(event, &rows).into_iter().zip(links).map(booth).collect();
    let managers = people.iter().filter(|p| p.person.booth.is_none()).map(|p| p.person.clone()).collect();
    Ok(BoothList { items, next: None, open: hall.is_some(), managers })
}

/// Shows an event's booths: who is in, on air, how loud, and how good their connection is.
#[utoipa::path(get, path = "/api/v1/events/{id}/booths", tag = "rooms", params(openapi::Id),
    responses((status = 200, description = "All booths", body = BoothList), openapi::Refused, openapi::NotFound))]
pub(in crate::control) async fn list_booths(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
) -> Result<Json<BoothList>, Problem> {
    let event = api.store().event(&id).await?.ok_or_else(no_event)?;
    booths(&api, &event, &base, principal.token.role).await.map(Json)
}

/// What to set of a booth. What is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct BoothEdit {
    /// Whether nobody in it is heard.
    #[serde(default, deserialize_with = "present")]
    muted: Option<bool>,
    /// The floor's level under a voice, dB, -60 to 0; null: no floor.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = -60, maximum = 0)]
    floor_level_db: Option<Option<f64>>,
    /// The other language of a bilingual booth, which has a booth of its own; null: the booth has one language.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    second_language: Option<Option<String>>,
}

/// A checked change of a booth.
pub(in crate::control) struct BoothChange {
    /// Whether nobody in it is heard.
    pub muted: Option<bool>,
    /// dB; negative infinity: no floor.
    pub floor_level_db: Option<f64>,
    /// The other language of a bilingual booth.
    pub second_language: Option<Option<String>>,
}

/// `{language}` of a path.
#[derive(Deserialize)]
pub(in crate::control) struct LanguagePath {
    language: String,
}

/// Stores a change of a booth, and takes it over in the room.
pub(in crate::control) async fn change(
    api: &Api,
    id: &EventId,
    language: String,
    edit: BoothChange,
) -> Result<Arc<Event>, Problem> {
    let (work, target) = (api.clone(), id.clone());
    let changing = async move {
        let event = work.store().event(&target).await?.ok_or_else(no_event)?;
        if !interpreted(&event, &language) {
            return Err(Problem::not_found("booth for this language in this event"));
        }
        if let Some(Some(second)) = &edit.second_language {
            check_second(&event, &language, second)?;
        }
        let set = |booth: &mut BoothRow| {
            booth.muted = edit.muted.unwrap_or(booth.muted);
            booth.floor_level_db = edit.floor_level_db.or(booth.floor_level_db);
            if let Some(second) = edit.second_language {
                booth.second_language = second;
            }
        };
        work.store().set_booth(&target, &language, set).await?.ok_or_else(no_event)?;
        let event = Arc::new(event);
        work.rooms().sync(&event).await?;
        Ok(event)
    };
    api.in_turn(id, changing).await
}

/// Sets a booth: mute, floor level, second language.
#[utoipa::path(patch, path = "/api/v1/events/{id}/booths/{language}", tag = "rooms",
    params(openapi::Id, openapi::LanguageOf), request_body = BoothEdit,
    responses((status = 200, description = "The booth", body = BoothView), openapi::Refused,
        (status = 404, description = "No such event, or no booth for the language", body = Problem, content_type = "application/problem+json"),
        openapi::BadBody))]
pub(in crate::control) async fn edit_booth(
    State(api): State<Api>,
    principal: Principal,
    base: Base,
    EventPath(id): EventPath,
    Path(path): Path<LanguagePath>,
    JsonBody(edit): JsonBody<BoothEdit>,
) -> Result<Json<BoothView>, Problem> {
    let level = match edit.floor_level_db {
        Some(Some(db)) if !(MIN_FLOOR_DB..=0.0).contains(&db) => {
            let message = format!("is not within {MIN_FLOOR_DB} and 0; null is no floor");
            return Err(Problem::field("floor_level_db", message));
        }
        Some(level) => Some(level.unwrap_or(f64::NEG_INFINITY)),
        None => None,
    };
    let second = match edit.second_language {
        Some(Some(text)) => Some(Some(tag(&text).map_err(|message| Problem::field("second_language", message))?)),
        other => other,
    };
    let language = tag(&path.language).map_err(|_| Problem::not_found("booth for this language in this event"))?;
    let edit = BoothChange { muted: edit.muted, floor_level_db: level, second_language: second };
    let event = change(&api, &id, language.clone(), edit).await?;
    tracing::info!(token = principal.token.id, event = id.as_str(), language, "booth set");
    let list = booths(&api, &event, &base, principal.token.role).await?;
    let booth = list.items.into_iter().find(|b| b.language == language);
    booth.map(Json).ok_or_else(|| Problem::not_found("booth for this language in this event"))
}
