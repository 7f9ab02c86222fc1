//! Who a secret link lets in. A wrong secret is counted against its client as a wrong token is; a link that has ended
//! says so. Secrets stand in paths and queries, which are never logged ([`crate::control`]'s log knows the route
//! alone).

use super::hall::{Grant, Hall};
use crate::booth::Seat;
use crate::control::Problem;
use crate::control::api::Api;
use crate::control::auth;
use crate::media::Ts;
use crate::store::{Event, EventId, Link, LinkRole, Role};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;

/// The longest secret that is looked up; ours have 32 characters.
const MAX_SECRET: usize = 64;

/// Why a link does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Ended {
    /// Taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl Ended {
    /// As in `closed`.
    pub fn reason(self) -> &'static str {
        match self {
            Ended::Revoked => "revoked",
            Ended::Expired => "expired",
        }
    }

    pub fn problem(self) -> Problem {
        match self {
            Ended::Revoked => {
                let detail = "This link was revoked. Ask whoever gave it to you for another one.";
                Problem::new(StatusCode::FORBIDDEN, "link-revoked", "Link revoked", detail)
            }
            Ended::Expired => {
                let detail = "This link has run out. Ask whoever gave it to you for another one.";
                Problem::new(StatusCode::GONE, "link-expired", "Link expired", detail)
            }
        }
    }
}

/// Whether a link opens at `now`.
pub(super) fn ended(link: &Link, now: OffsetDateTime) -> Option<Ended> {
    if link.revoked_at.is_some() {
        Some(Ended::Revoked)
    } else if link.expires_at.is_some_and(|at| at <= now) {
        Some(Ended::Expired)
    } else {
        None
    }
}

fn ts(at: OffsetDateTime) -> Ts {
    Ts::from_millis(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

/// A link that exists; whether it still opens is asked for by [`Opened::check`].
#[derive(Clone, Debug)]
pub(in crate::control) struct Opened {
    /// The link.
    pub link: Link,
    /// Why it does not open.
    pub ended: Option<Ended>,
}

impl Opened {
    /// The link with this secret, for one of these roles.
    pub async fn find(api: &Api, parts: &Parts, secret: &str, roles: &[LinkRole]) -> Result<Opened, Problem> {
        let form = secret.len() <= MAX_SECRET && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        let found = if form { api.store().link(secret).await? } else { None };
        let Some(link) = found.filter(|link| roles.contains(&link.role)) else {
            auth::note_failure(api, parts, "a valid link")?;
            return Err(Problem::not_found("such link. Check that the address is complete"));
        };
        let ended = ended(&link, api.now());
        Ok(Opened { link, ended })
    }

    /// The link, where it opens.
    pub fn check(self) -> Result<Link, Problem> {
        match self.ended {
            Some(ended) => Err(ended.problem()),
            None => Ok(self.link),
        }
    }
}

/// What a link stands for in the hall.
pub(super) fn grant(link: &Link) -> Grant {
    Grant { link: link.id.clone(), expires_at: link.expires_at.map(ts) }
}

/// The open rooms of an event.
pub(super) fn hall(api: &Api, event: &EventId) -> Result<Arc<Hall>, Problem> {
    api.rooms().hall(event).ok_or_else(|| {
        let detail = "The rooms are open while the event is in preview, started or paused; it is not now.";
        Problem::conflict("rooms-closed", "The rooms are closed", detail)
    })
}

/// The event of a link, and the language that it is for.
pub(super) async fn event_of(api: &Api, link: &Link) -> Result<Arc<Event>, Problem> {
    let id = link.event.as_ref().ok_or_else(|| Problem::not_found("such link"))?;
    // Links go with their event.
    api.store().event(id).await?.map(Arc::new).ok_or_else(|| Problem::not_found("such link"))
}

/// `{secret}` of a path, of a link for interpreters.
pub(in crate::control) struct BoothLink(pub Opened);
/// `{secret}` of a path, of a link for participants.
pub(in crate::control) struct ParticipantLink(pub Opened);
/// `{secret}` of a path, of a link whose connection may be tested: the standing one, or that of an interpreter or a
/// participant.
pub(in crate::control) struct TestLink(pub Opened);

async fn by_path(parts: &mut Parts, api: &Api, roles: &[LinkRole]) -> Result<Opened, Problem> {
    #[derive(Deserialize)]
    struct Named {
        secret: String,
    }
    let path = Path::<Named>::from_request_parts(parts, api).await.map_err(|_| Problem::not_found("such link"))?;
    Opened::find(api, parts, &path.secret, roles).await
}

impl FromRequestParts<Api> for BoothLink {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<BoothLink, Problem> {
        by_path(parts, api, &[LinkRole::Interpreter]).await.map(BoothLink)
    }
}

impl FromRequestParts<Api> for ParticipantLink {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<ParticipantLink, Problem> {
        by_path(parts, api, &[LinkRole::Participant]).await.map(ParticipantLink)
    }
}

impl FromRequestParts<Api> for TestLink {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<TestLink, Problem> {
        by_path(parts, api, &[LinkRole::Test, LinkRole::Interpreter, LinkRole::Participant]).await.map(TestLink)
    }
}

/// Somebody who may manage the event of `{id}`: by `?link=` of a manager's link to it, by an operator's API token in
/// `?token=`, since a WebSocket of a page cannot send a header, or by the header.
pub(in crate::control) struct Managing {
    /// The event.
    pub event: Arc<Event>,
    /// What lets them in.
    pub grant: Grant,
    /// Why it does not.
    pub ended: Option<Ended>,
    /// The API token's secret, where it is one: it may be revoked meanwhile.
    pub token: Option<crate::store::Secret>,
}

impl FromRequestParts<Api> for Managing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Managing, Problem> {
        #[derive(Deserialize)]
        struct Asked {
            link: Option<String>,
            token: Option<String>,
        }
        let crate::control::extract::EventPath(id) =
            crate::control::extract::EventPath::from_request_parts(parts, api).await?;
        let asked = axum::extract::Query::<Asked>::from_request_parts(parts, api).await;
        let asked = asked.map_or(Asked { link: None, token: None }, |q| q.0);
        if let Some(secret) = asked.link {
            let Opened { link, ended } = Opened::find(api, parts, &secret, &[LinkRole::Manager]).await?;
            if link.event.as_ref() != Some(&id) {
                return Err(Problem::not_found("such link to this event"));
            }
            let event = event_of(api, &link).await?;
            return Ok(Managing { event, grant: grant(&link), ended, token: None });
        }
        let header = parts.headers.contains_key(header::AUTHORIZATION);
        let shown = asked.token.or_else(|| header.then(|| auth::bearer(&parts.headers).map(str::to_owned)).flatten());
        let token = match &shown {
            Some(secret) => api.store().token(secret).await?,
            None => None,
        };
        let Some(token) = token else {
            auth::note_failure(api, parts, "a valid link or token")?;
            let detail = "Open the management room by its link, or with an API token in `token=`.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not logged in", detail));
        };
        if token.role < Role::Operator {
            let detail = "The management room needs a token with the role operator or above.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail));
        }
        let event = api.store().event(&id).await?.ok_or_else(crate::control::extract::no_event)?;
        let grant = Grant { link: format!("token {}", token.id), expires_at: None };
        Ok(Managing { event: Arc::new(event), grant, ended: None, token: shown.map(crate::store::Secret::new) })
    }
}

/// Where an interpreter's link leads.
pub(super) fn seat(link: &Link) -> Seat {
    Seat::Interpreter(link.language.clone().unwrap_or_default())
}
