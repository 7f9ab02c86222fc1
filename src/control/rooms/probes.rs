//! The connection test: its session, its results, and their list. Results are personal data: they are deleted after
//! `[retention] connection_tests_days`.

use super::link::TestLink;
use super::media::{Answered, Peer, PeerFigures};
use super::peers::{Offer, SessionPath};
use crate::booth::Quality;
use crate::control::Problem;
use crate::control::api::Api;
use crate::control::auth::Principal;
use crate::control::extract::{JsonBody, Query};
use crate::control::links::Base;
use crate::control::openapi;
use crate::control::problem::FieldError;
use crate::media::{Dur, Ts};
use crate::store::{ConnectionTest, NewConnectionTest};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// Tests at once: everybody who is to interpret at one event, when they are asked to test now.
const MAX_PROBES: usize = 100;
/// Tests of one link at once.
const MAX_PROBES_PER_LINK: usize = 40;
/// How long a test's session may last; the page's lasts half a minute.
const MAX_AGE: Dur = Dur::from_secs(120);
/// Characters of each text.
const MAX_TEXT: usize = 200;
/// Items of a page, unless the request asks for another number, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

struct Probe {
    link: String,
    peer: Box<dyn Peer>,
    since: Ts,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.peer.close();
    }
}

/// The sessions of connection tests that are under way.
#[derive(Clone, Default)]
pub(in crate::control) struct Probes(Arc<Mutex<HashMap<String, Probe>>>);

impl Probes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Probe>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that have lasted too long; peers close outside the lock.
    pub fn sweep(&self, now: Ts) {
        let old: Vec<Probe> = {
            let mut probes = self.lock();
            let ids: Vec<String> =
                probes.iter().filter(|(_, p)| now - p.since >= MAX_AGE).map(|(id, _)| id.clone()).collect();
            ids.iter().filter_map(|id| probes.remove(id)).collect()
        };
        drop(old);
    }

    fn room(&self, link: &str) -> bool {
        let probes = self.lock();
        probes.len() < MAX_PROBES && probes.values().filter(|p| p.link == link).count() < MAX_PROBES_PER_LINK
    }
}

fn full() -> Problem {
    let detail = "Too many tests are under way; try again in a minute.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-tests", "Too many tests", detail)
        .header(header::RETRY_AFTER, HeaderValue::from_static("60"))
}

/// Answers the offer of a connection test: a session that takes a voice, sends one, and answers pings on the data
/// channel `ctl`. It ends after two minutes by itself.
#[utoipa::path(post, path = "/test/{secret}/rtc", tag = "rooms", params(openapi::SecretOf), security(()),
    request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, description = "The answer; `Location` names the session", content_type = "application/sdp", body = String),
        openapi::LinkRefused, openapi::BadBody, openapi::Full))]
pub(in crate::control) async fn probe(
    State(api): State<Api>,
    TestLink(opened): TestLink,
    Offer(offer): Offer,
) -> Result<Response, Problem> {
    let link = opened.check()?;
    if !api.probes().room(&link.id) {
        return Err(full());
    }
    let Answered { answer, peer } = api.rooms().media().probe(offer).await?;
    let (id, etag) = (super::peers::session_id(), peer.etag());
    let ended = peer.ended();
    let now = api.clock().now();
    api.probes().lock().insert(id.clone(), Probe { link: link.id, peer, since: now });
    let (probes, name, clock) = (api.probes().clone(), id.clone(), api.clock().clone());
    api.tasks().spawn_until_cancelled("connection test", async move {
        tokio::select! {
            () = ended => {}
            () = clock.sleep_until(now + MAX_AGE) => {}
        }
        let gone = probes.lock().remove(&name);
        drop(gone);
    });
    super::peers::created(&format!("/test/{}/rtc/{id}", link.secret.expose()), &etag, answer)
}

/// Ends a connection test's session.
#[utoipa::path(delete, path = "/test/{secret}/rtc/{session}", tag = "rooms",
    params(openapi::SecretOf, openapi::SessionOf), security(()),
    responses((status = 200, description = "It has ended"), openapi::LinkRefused))]
pub(in crate::control) async fn end_probe(
    State(api): State<Api>,
    TestLink(opened): TestLink,
    Path(path): Path<SessionPath>,
) -> Result<StatusCode, Problem> {
    let gone = {
        let mut probes = api.probes().lock();
        let own = probes.get(&path.session).is_some_and(|p| p.link == opened.link.id);
        own.then(|| probes.remove(&path.session)).flatten()
    };
    gone.map(|_| StatusCode::OK).ok_or_else(|| Problem::not_found("such session; it may have ended"))
}

/// What a connection test found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct ResultEdit {
    /// Who made it, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Where they can be reached.
    #[serde(default)]
    #[schema(max_length = 200)]
    email: String,
    /// Where it was made.
    #[serde(default)]
    #[schema(max_length = 200)]
    place: String,
    /// The session, the last part of its `Location`: what the daemon itself has measured there fills in what the page
    /// has not.
    #[serde(default)]
    session: Option<String>,
    /// Average round trip in ms.
    #[serde(default)]
    ping_ms: Option<f64>,
    /// Average jitter in ms, of the worse way.
    #[serde(default)]
    jitter_ms: Option<f64>,
    /// Share of packets lost towards the daemon, 0 to 1.
    #[serde(default)]
    loss_up: Option<f64>,
    /// Share of packets lost from it, 0 to 1.
    #[serde(default)]
    loss_down: Option<f64>,
}

impl ResultEdit {
    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String| errors.push(FieldError { field: field.to_owned(), message });
        for (field, text) in [("name", &self.name), ("email", &self.email), ("place", &self.place)] {
            let length = text.chars().count();
            if length > MAX_TEXT {
                wrong(field, format!("has {length} characters; {MAX_TEXT} are the most"));
            }
            if text.chars().any(char::is_control) {
                wrong(field, "has control characters".to_owned());
            }
        }
        if self.name.trim().is_empty() {
            wrong("name", "is empty".to_owned());
        }
        for (field, value, most) in [
            ("ping_ms", self.ping_ms, 60_000.0),
            ("jitter_ms", self.jitter_ms, 60_000.0),
            ("loss_up", self.loss_up, 1.0),
            ("loss_down", self.loss_down, 1.0),
        ] {
            if value.is_some_and(|v| !(0.0..=most).contains(&v)) {
                wrong(field, format!("is not within 0 and {most}"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }
}

/// A result of a connection test.
#[derive(Serialize, ToSchema)]
#[schema(title = "Connection test")]
pub(in crate::control) struct TestView {
    /// Names it.
    id: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The event whose link it was made by; null: by the standing link.
    event: Option<String>,
    /// Who made it.
    name: String,
    /// Where they can be reached.
    email: String,
    /// Where it was made.
    place: String,
    /// Average round trip in ms.
    ping_ms: Option<f64>,
    /// Average jitter in ms.
    jitter_ms: Option<f64>,
    /// Share of packets lost towards the daemon, 0 to 1.
    loss_up: Option<f64>,
    /// Share of packets lost from it, 0 to 1.
    loss_down: Option<f64>,
    /// `udp` or `tcp`, where it is known.
    transport: Option<String>,
    /// `good`: round trip below 250 ms, jitter below 30 ms and no loss. `bad`: jitter of 100 ms, or loss of 15 %, or
    /// more. `average`: in between. Null when nothing was measured.
    #[schema(pattern = "^(good|average|bad)$")]
    grade: Option<String>,
}

impl TestView {
    fn new(test: ConnectionTest) -> TestView {
        let ConnectionTest { id, at, result } = test;
        TestView {
            id,
            at,
            event: result.event.map(|e| e.as_str().to_owned()),
            name: result.name,
            email: result.email,
            place: result.place,
            ping_ms: result.ping_ms,
            jitter_ms: result.jitter_ms,
            loss_up: result.loss_up,
            loss_down: result.loss_down,
            transport: result.transport,
            grade: result.grade,
        }
    }
}

/// Keeps the result of a connection test, graded.
#[utoipa::path(post, path = "/test/{secret}/result", tag = "rooms", params(openapi::SecretOf), security(()),
    request_body = ResultEdit,
    responses((status = 201, description = "The result with its grade", body = TestView), openapi::LinkRefused, openapi::BadBody))]
pub(in crate::control) async fn result(
    State(api): State<Api>,
    TestLink(opened): TestLink,
    JsonBody(edit): JsonBody<ResultEdit>,
) -> Result<Response, Problem> {
    let link = opened.check()?;
    edit.check()?;
    if !api.results().allow(&link.id) {
        return Err(full());
    }
    let measured = {
        let probes = api.probes().lock();
        let probe = edit.session.as_ref().and_then(|id| probes.get(id)).filter(|p| p.link == link.id);
        probe.map_or_else(PeerFigures::default, |p| p.peer.figures())
    };
    let ms = |dur: Dur| dur.as_secs_f64() * 1000.0;
    let ping_ms = edit.ping_ms.or(measured.rtt.map(ms));
    let jitter_ms = edit.jitter_ms.or(measured.jitter.map(ms));
    let (loss_up, loss_down) = (edit.loss_up.or(measured.loss_up), edit.loss_down.or(measured.loss_down));
    let dur = |ms: f64| Dur::from_secs_f64(ms / 1000.0);
    let quality = Quality { rtt: ping_ms.map(dur), jitter: jitter_ms.map(dur), loss_up, loss_down };
    let new = NewConnectionTest {
        event: link.event,
        name: edit.name.trim().to_owned(),
        email: edit.email.trim().to_owned(),
        place: edit.place.trim().to_owned(),
        ping_ms,
        jitter_ms,
        loss_up,
        loss_down,
        transport: measured.transport.map(str::to_owned),
        grade: quality.grade().map(|g| g.as_str().to_owned()),
    };
    let test = api.store().add_connection_test(new, api.now()).await?;
    Ok((StatusCode::CREATED, Json(TestView::new(test))).into_response())
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct TestsQuery {
    /// Items of a page, 1 to 200; 50 if left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of results.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct TestList {
    /// The results, newest first.
    items: Vec<TestView>,
    /// The `cursor` of the next page; null when this is the last.
    next: Option<String>,
    /// The page of the test, to hand out: the standing link, which belongs to no event.
    url: String,
    /// Results are deleted after so many days.
    retention_days: u32,
}

/// Lists the results of connection tests, newest first, with the test page's address.
#[utoipa::path(get, path = "/api/v1/connection-tests", tag = "rooms", params(TestsQuery),
    responses((status = 200, description = "A page of results", body = TestList), openapi::Refused, openapi::Invalid))]
pub(in crate::control) async fn list(
    State(api): State<Api>,
    base: Base,
    Query(query): Query<TestsQuery>,
) -> Result<Json<TestList>, Problem> {
    let wrong = |field: &str, message: String| Problem::field(field, message);
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(wrong("limit", format!("is not within 1 to {MAX_PAGE}")));
    }
    let read = |text: String| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text.get(..64.min(text.len()))?).ok()?).ok()?;
        text.parse().ok()
    };
    let cursor =
        query.cursor.map(|text| read(text).ok_or_else(|| wrong("cursor", "is not the `next` of a page".into())));
    let (tests, next) = api.store().connection_tests(cursor.transpose()?, limit).await?;
    let next = next.map(|place| URL_SAFE_NO_PAD.encode(place.to_string()));
    let standing = api.store().test_link(api.now()).await?;
    Ok(Json(TestList {
        items: tests.into_iter().map(TestView::new).collect(),
        next,
        url: base.url(&format!("/test/{}", standing.secret.expose())),
        retention_days: api.public().connection_tests_days,
    }))
}

/// `{test}` of a path.
#[derive(Deserialize)]
pub(in crate::control) struct TestPath {
    test: String,
}

/// Deletes a result.
#[utoipa::path(delete, path = "/api/v1/connection-tests/{test}", tag = "rooms", params(openapi::TestOf),
    responses((status = 204, description = "It is gone"), openapi::Refused,
        (status = 404, description = "No such result", body = Problem, content_type = "application/problem+json")))]
pub(in crate::control) async fn remove(
    State(api): State<Api>,
    principal: Principal,
    Path(path): Path<TestPath>,
) -> Result<StatusCode, Problem> {
    if !api.store().delete_connection_test(&path.test).await? {
        return Err(Problem::not_found("such result"));
    }
    tracing::info!(token = principal.token.id, test = path.test, "connection test deleted");
    Ok(StatusCode::NO_CONTENT)
}
