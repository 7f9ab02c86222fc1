//! The router: every route with the least role that it needs, and what surrounds them all.

use super::auth::{self, Failures};
use super::links::Addresses;
use super::live::Live;
use super::notices::Notices;
use super::problem::Problem;
use super::rooms::{RoomMedia, Rooms, booths, info, peers, probes, socket};
use super::{docs, events, health, inputs, openapi, pages, state, stream, webhooks};
use crate::booth::{Bucket, Rate};
use crate::config::Config;
use crate::media::{Dur, SharedClock, Ts};
use crate::net::Guard;
use crate::store::{EventId, Role, Store, StoreError};
use crate::task::Group;
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use time::OffsetDateTime;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

/// How often what nobody uses any more is forgotten.
const SWEEP: Dur = Dur::from_secs(60);

/// What the control side is made of.
pub struct Setup<'a> {
    /// Events, keys and tokens.
    pub store: Store,
    /// The running side.
    pub live: Arc<dyn Live>,
    /// The media side of the rooms.
    pub media: Arc<dyn RoomMedia>,
    /// Where `app` tells of inputs and switches; status and settings are told here.
    pub notices: Notices,
    /// The daemon's clock.
    pub clock: SharedClock,
    /// Owns the work; cancelled, it ends all streams.
    pub tasks: Group,
    /// Where the listeners are.
    pub addresses: Addresses,
    /// What may be connected to.
    pub guard: Guard,
    /// The configuration at start.
    pub config: &'a Config,
}

/// What a reload can change.
#[derive(Clone, Debug)]
pub(super) struct Public {
    pub public_url: Option<String>,
    pub cors: Vec<String>,
    pub trusted_proxies: Vec<IpAddr>,
    pub connection_tests_days: u32,
    pub pathway: String,
}

impl Public {
    fn of(config: &Config) -> Public {
        Public {
            public_url: config.http.public_url.clone(),
            cors: config.http.cors.clone(),
            trusted_proxies: config.http.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            connection_tests_days: config.retention.connection_tests_days,
            pathway: config.origin.pathway.clone(),
        }
    }
}

struct Inner {
    store: Store,
    live: Arc<dyn Live>,
    notices: Notices,
    clock: SharedClock,
    tasks: Group,
    addresses: Addresses,
    public: ArcSwap<Public>,
    failures: Failures,
    streams: stream::Slots,
    pages: pages::Cache,
    rooms: Rooms,
    probes: probes::Probes,
    results: Results,
    webhooks: webhooks::Webhooks,
    /// One turn per event whose changes are under way. The map's lock is held for a look-up, never across an await; a turn is
    /// held while a change is stored and applied, by a task that nobody can drop half-way.
    turns: Mutex<HashMap<EventId, Weak<tokio::sync::Mutex<()>>>>,
}

/// The control side. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

impl Api {
    /// The control side, which begins to forget what is not used any more.
    pub fn new(setup: Setup<'_>) -> Api {
        let Setup { store, live, media, notices, clock, tasks, addresses, guard, config } = setup;
        let webhooks = webhooks::Webhooks::new(guard, &notices, clock.clone(), &tasks);
        let rooms = Rooms::new(media, store.clone(), notices.clone(), clock.clone(), tasks.clone());
        let public = ArcSwap::from_pointee(Public::of(config));
        let inner = Inner {
            store,
            live,
            notices,
            clock,
            tasks,
            addresses,
            public,
            failures: Failures::new(),
            streams: stream::Slots::new(),
            pages: pages::Cache::default(),
            rooms,
            probes: probes::Probes::default(),
            results: Results::default(),
            webhooks,
            turns: Mutex::default(),
        };
        let api = Api(Arc::new(inner));
        let weak = Arc::downgrade(&api.0);
        let clock = api.0.clock.clone();
        api.0.tasks.spawn_until_cancelled("control sweep", async move {
            loop {
                clock.sleep_until(clock.now() + SWEEP).await;
                let Some(inner) = weak.upgrade() else { return };
                inner.failures.sweep();
                inner.notices.sweep();
                inner.probes.sweep(clock.now());
                inner.results.sweep(clock.now());
                inner.forget_tests(wall(clock.now())).await;
            }
        });
        api
    }

    /// The rooms, for what the running side has to tell them.
    pub fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// Takes up the webhooks that the store has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume_webhooks(&self) -> Result<(), StoreError> {
        self.0.webhooks.resume(&self.0.store).await
    }

    pub(super) fn webhooks(&self) -> &webhooks::Webhooks {
        &self.0.webhooks
    }

    pub(super) fn probes(&self) -> &probes::Probes {
        &self.0.probes
    }

    pub(super) fn results(&self) -> ResultsOf<'_> {
        ResultsOf { results: &self.0.results, now: self.0.clock.now() }
    }

    /// Takes over what may be reloaded: `http.public_url`, `http.cors` and retention.
    pub fn reload(&self, config: &Config) {
        let (trusted_proxies, pathway) = (self.public().trusted_proxies.clone(), self.public().pathway.clone());
        self.0.public.store(Arc::new(Public { trusted_proxies, pathway, ..Public::of(config) }));
    }

    /// Everything but media: the API, its description, health and the pages, with answers to unknown addresses.
    /// `app` merges the origin's router into it.
    /// The routes, with `more` beside them, which other modules answer.
    pub fn router(&self, more: Router) -> Router {
        let mut router = Router::new();
        for Route { path, access, handler, .. } in table() {
            let handler = match access {
                Access::Public => handler,
                Access::Role(role) => {
                    handler.layer(middleware::from_fn_with_state((self.clone(), role), auth::require))
                }
            };
            router = router.route(path, handler);
        }
        router
            .merge(more.with_state(()))
            .fallback(|| async { Problem::not_found("such address; /api/docs lists what there is") })
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(self.clone(), surround))
            .with_state(self.clone())
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn live(&self) -> &dyn Live {
        &*self.0.live
    }

    pub(super) fn notices(&self) -> &Notices {
        &self.0.notices
    }

    pub(super) fn tasks(&self) -> &Group {
        &self.0.tasks
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.0.addresses
    }

    pub(super) fn public(&self) -> arc_swap::Guard<Arc<Public>> {
        self.0.public.load()
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.0.failures
    }

    pub(super) fn streams(&self) -> &stream::Slots {
        &self.0.streams
    }

    pub(super) fn pages(&self) -> &pages::Cache {
        &self.0.pages
    }

    /// The wall clock as the daemon's clock has it, in UTC with milliseconds.
    pub(super) fn now(&self) -> OffsetDateTime {
        wall(self.0.clock.now())
    }

    /// Does `job` when it is this event's turn, and to the end even when the client that asked is gone: a change that is stored is also
    /// applied.
    pub(super) async fn in_turn<T, F>(&self, id: &EventId, job: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            match turns.get(id).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    turns.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::new(tokio::sync::Mutex::new(()));
                    turns.insert(id.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        let (done, result) = tokio::sync::oneshot::channel();
        let work = async move {
            let _turn = turn.lock().await;
            // The client may be gone.
            drop(done.send(job.await));
        };
        self.0.tasks.spawn("event change", work.in_current_span());
        // The task ends without an answer only by a panic, which its group has logged.
        result.await.unwrap_or_else(|_| Err(Problem::internal()))
    }
}

/// A point of the daemon's clock, which is Unix time, in UTC with milliseconds.
pub(super) fn wall(at: Ts) -> OffsetDateTime {
    let ms = i128::from(at.as_millis());
    // A clock beyond the year 9999 is no clock.
    OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Results of connection tests that a link may leave: everybody of an event, some of them twice.
const RESULTS: Rate = Rate { burst: 60, every: Dur::from_secs(10) };

/// How many results each link has left of late.
#[derive(Default)]
struct Results(Mutex<HashMap<String, Bucket>>);

impl Results {
    /// Forgets links that have not been used for a while. There are no more of them than valid links.
    fn sweep(&self, now: Ts) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, bucket| !bucket.full(now));
    }
}

/// The same, at some time.
pub(super) struct ResultsOf<'a> {
    results: &'a Results,
    now: Ts,
}

impl ResultsOf<'_> {
    /// Whether a link may leave one more.
    pub fn allow(&self, link: &str) -> bool {
        let mut buckets = self.results.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(link.to_owned()).or_insert_with(|| Bucket::new(self.now)).take(RESULTS, self.now)
    }
}

impl Inner {
    /// Deletes results of connection tests whose time is over. A failure is logged and tried again a minute later.
    async fn forget_tests(&self, now: OffsetDateTime) {
        let days = i64::from(self.public.load().connection_tests_days);
        let limit = now.checked_sub(time::Duration::days(days)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        match self.store.sweep_connection_tests(limit).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old connection tests deleted"),
            Err(error) => tracing::error!(%error, "old connection tests are not deleted"),
        }
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone.
    Public,
    /// Tokens with this role and those above it.
    Role(Role),
}

/// A route. Its description stands in [`openapi`]; a test holds the two together.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
    handler: MethodRouter<Api>,
}

/// Which call needs what.
pub(super) fn table() -> Vec<Route> {
    use Access::{Public, Role as Least};
    use Role::{Manager, Operator, ReadOnly};
    let route = |method, path, access, handler| Route { method, path, access, handler };
    vec![
        route("get", "/healthz", Public, get(health::healthz)),
        route("get", "/readyz", Public, get(health::readyz)),
        route("get", "/api/v1/openapi.json", Public, get(openapi::serve)),
        route("get", "/api/docs", Public, get(docs::page)),
        route("get", "/api/docs/{file}", Public, get(docs::file)),
        route("get", "/api/v1/events", Least(ReadOnly), get(events::list)),
        route("post", "/api/v1/events", Least(Manager), post(events::create)),
        route("get", "/api/v1/events/{id}", Least(ReadOnly), get(events::show)),
        route("patch", "/api/v1/events/{id}", Least(Manager), patch(events::edit)),
        route("delete", "/api/v1/events/{id}", Least(Manager), delete(events::remove)),
        route("put", "/api/v1/events/{id}/status", Least(Operator), put(events::set_status)),
        route("get", "/api/v1/events/{id}/inputs", Least(ReadOnly), get(inputs::show)),
        route("put", "/api/v1/events/{id}/inputs/active", Least(Operator), put(inputs::select)),
        route("post", "/api/v1/events/{id}/inputs/{input}/key", Least(Manager), post(inputs::rotate_key)),
        route("put", "/api/v1/events/{id}/inputs/{input}/pull", Least(Manager), put(inputs::set_pull)),
        route("delete", "/api/v1/events/{id}/inputs/{input}/pull", Least(Manager), delete(inputs::remove_pull)),
        route("get", "/api/v1/events/{id}/preview.jpg", Least(ReadOnly), get(inputs::preview)),
        route("get", "/api/v1/events/{id}/stream", Least(ReadOnly), get(stream::staff)),
        route("get", "/api/v1/events/{id}/state", Public, get(state::serve)),
        route("get", "/api/v1/events/{id}/links", Least(ReadOnly), get(booths::list_links)),
        route("post", "/api/v1/events/{id}/links", Least(Manager), post(booths::create_link)),
        route("delete", "/api/v1/events/{id}/links/{link}", Least(Manager), delete(booths::revoke_link)),
        route("get", "/api/v1/events/{id}/booths", Least(ReadOnly), get(booths::list_booths)),
        route("patch", "/api/v1/events/{id}/booths/{language}", Least(Operator), patch(booths::edit_booth)),
        route("get", "/api/v1/webhooks", Least(Manager), get(webhooks::list)),
        route("post", "/api/v1/webhooks", Least(Manager), post(webhooks::create)),
        route("delete", "/api/v1/webhooks/{webhook}", Least(Manager), delete(webhooks::remove)),
        route("get", "/api/v1/connection-tests", Least(Manager), get(probes::list)),
        route("delete", "/api/v1/connection-tests/{test}", Least(Manager), delete(probes::remove)),
        route("get", "/booth/{secret}/info", Public, get(info::booth)),
        route("get", "/booth/{secret}/ws", Public, get(socket::booth)),
        route("post", "/booth/{secret}/whip", Public, post(peers::voice)),
        route("patch", "/booth/{secret}/whip/{session}", Public, patch(peers::patch_voice)),
        route("delete", "/booth/{secret}/whip/{session}", Public, delete(peers::end_voice)),
        route("post", "/booth/{secret}/whep", Public, post(peers::ears)),
        route("patch", "/booth/{secret}/whep/{session}", Public, patch(peers::patch_ears)),
        route("delete", "/booth/{secret}/whep/{session}", Public, delete(peers::end_ears)),
        route("get", "/manage/{id}/info", Public, get(info::manage)),
        route("get", "/manage/{id}/ws", Public, get(socket::manage)),
        route("post", "/manage/{id}/whep", Public, post(peers::monitor)),
        route("patch", "/manage/{id}/whep/{session}", Public, patch(peers::patch_monitor)),
        route("delete", "/manage/{id}/whep/{session}", Public, delete(peers::end_monitor)),
        route("get", "/participant/{secret}/info", Public, get(info::participant)),
        route("post", "/participant/{secret}/whep", Public, post(peers::participate)),
        route("patch", "/participant/{secret}/whep/{session}", Public, patch(peers::patch_participant)),
        route("delete", "/participant/{secret}/whep/{session}", Public, delete(peers::end_participant)),
        route("get", "/test/{secret}/info", Public, get(info::test)),
        route("post", "/test/{secret}/rtc", Public, post(probes::probe)),
        route("delete", "/test/{secret}/rtc/{session}", Public, delete(probes::end_probe)),
        route("post", "/test/{secret}/result", Public, post(probes::result)),
        route("get", "/booth/{secret}", Public, get(pages::booth)),
        route("get", "/manage/{id}", Public, get(pages::manage)),
        route("get", "/participant/{secret}", Public, get(pages::participant)),
        route("get", "/test/{secret}", Public, get(pages::test)),
        route("get", "/", Public, get(pages::index)),
        route("get", "/watch/{id}", Public, get(pages::watch)),
        route("get", "/embed/{id}", Public, get(pages::embed)),
        route("get", "/assets/{*path}", Public, get(pages::asset)),
        route("get", "/player.js", Public, get(pages::player)),
    ]
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Around every request: an id, a log line, a metric, and headers that make browsers careful.
async fn surround(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = format!("{:024x}", rand::random::<u128>() >> 32);
    // The pattern and never the path or query, in which secrets can stand.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", |m| m.as_str()).to_owned();
    let method = known_method(request.method());
    let span = tracing::info_span!("request", id, method, route);
    let began = api.clock().now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = api.clock().now() - began;
    let status = response.status();
    // The router's own answers without a body.
    if status == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(header::CONTENT_TYPE) {
        let allow = response.headers().get(header::ALLOW).cloned();
        let allowed = allow.as_ref().and_then(|a| a.to_str().ok()).unwrap_or("other methods");
        let detail = format!("This address takes {allowed}.");
        let problem = Problem::new(status, "method-not-allowed", "Method not allowed", detail);
        response = problem.into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::CACHE_CONTROL, "no-store");
    if api.public().public_url.as_ref().is_some_and(|url| url.starts_with("https://")) {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    span.in_scope(|| match status.as_u16() {
        500.. => tracing::error!(status = status.as_u16(), "request failed"),
        401 | 403 | 429 => tracing::warn!(status = status.as_u16(), "request refused"),
        _ => tracing::debug!(status = status.as_u16(), "request"),
    });
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_u16().to_string())];
    metrics::histogram!("boothcast_http_request_seconds", &labels).record(took.as_secs_f64());
    response
}

/// A method as a metric's label: clients can send any word.
fn known_method(method: &axum::http::Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].into_iter().find(|m| method == *m).unwrap_or("other")
}

/// A handler panicked: the client is told that it was not at fault, the log has the reason.
fn panicked(reason: Box<dyn Any + Send>) -> Response<Body> {
    let text = reason.downcast_ref::<String>().map(String::as_str).or_else(|| reason.downcast_ref::<&str>().copied());
    tracing::error!(reason = text.unwrap_or("unknown"), "a request handler panicked");
    metrics::counter!("boothcast_request_panics_total").increment(1);
    Problem::internal().into_response()
}
