//! The router as clients see it, over a store on disk and a double of the running side.

mod api;
mod bodies;
mod description;
mod page;
mod rooms;
mod streams;
mod webhooks;

use super::*;
use crate::config::Config;
use crate::media::{InputName, SystemClock};
use crate::store::{Event, EventId, Role, Status, Store, TokenOrigin};
use crate::task::Group;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use time::OffsetDateTime;
use tower::ServiceExt;

/// What the double was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Status(u64, Status, Status),
    Changed(u64),
    Deleted(String),
    Key(u64, InputName),
    Pull(u64, InputName),
    Selected(u64, &'static str),
}

/// Stands in for the running side.
#[derive(Default)]
struct Double {
    told: Mutex<Vec<Told>>,
    /// Told when a change begins to be applied.
    begun: tokio::sync::Notify,
    /// How long it takes to apply a change.
    takes: std::time::Duration,
    inputs: Option<Value>,
    picture: Option<Bytes>,
    down: bool,
}

impl Double {
    fn tell(&self, told: Told) -> Job<'_, ()> {
        Box::pin(async move {
            self.begun.notify_one();
            tokio::time::sleep(self.takes).await;
            self.told.lock().unwrap().push(told);
        })
    }
}

impl Live for Double {
    fn event_created(&self, _: Arc<Event>) -> Job<'_, ()> {
        Box::pin(async {})
    }
    fn status_changed(&self, event: Arc<Event>, from: Status) -> Job<'_, ()> {
        assert!(event.settings.name != "panics", "expected by a test");
        self.tell(Told::Status(event.revision, from, event.status))
    }
    fn event_changed(&self, event: Arc<Event>) -> Job<'_, ()> {
        self.tell(Told::Changed(event.revision))
    }
    fn event_deleted(&self, event: Arc<Event>) -> Job<'_, ()> {
        self.tell(Told::Deleted(event.id.to_string()))
    }
    fn key_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()> {
        self.tell(Told::Key(event.revision, input))
    }
    fn check_pull<'a>(&'a self, url: &'a str) -> Job<'a, Result<(), String>> {
        Box::pin(async move { if url.starts_with("rtmp://") { Ok(()) } else { Err("cannot be pulled".into()) } })
    }
    fn pull_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()> {
        self.tell(Told::Pull(event.revision, input))
    }
    fn input_selected(&self, event: Arc<Event>) -> Job<'_, ()> {
        self.tell(Told::Selected(event.revision, event.input_selection.as_str()))
    }
    fn inputs(&self, _: &EventId) -> Option<Value> {
        self.inputs.clone()
    }
    fn preview(&self, _: &EventId) -> Job<'_, Option<Bytes>> {
        let picture = self.picture.clone();
        Box::pin(async move { picture })
    }
    fn readiness(&self) -> Vec<Check> {
        vec![Check { name: "http".into(), ok: !self.down }]
    }
}

/// A control side with a token of each role.
struct World {
    _dir: TempDir,
    store: Store,
    live: Arc<Double>,
    media: Arc<rooms::Media>,
    notices: Notices,
    tasks: Group,
    router: Router,
    api: Api,
    tokens: Vec<(Role, String)>,
}

async fn world() -> World {
    world_with(Double::default(), "").await
}

async fn world_with(double: Double, config: &str) -> World {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path()).await.expect("opens");
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let made = store.create_token(role, TokenOrigin::Command, OffsetDateTime::UNIX_EPOCH).await.expect("made");
        tokens.push((role, made.1.expose().to_owned()));
    }
    let config: Config = crate::config::parse(config, []).expect("valid");
    let live = Arc::new(double);
    let media = Arc::new(rooms::Media::default());
    let (notices, tasks) = (Notices::new(), Group::new());
    let at = |port| Some(([0, 0, 0, 0], port).into());
    let api = Api::new(Setup {
        store: store.clone(),
        live: live.clone(),
        media: media.clone(),
        notices: notices.clone(),
        clock: Arc::new(SystemClock::new()),
        tasks: tasks.clone(),
        addresses: Addresses { http: at(8080), https: None, rtmp: at(1935), rtmps: at(1936), srt: at(9000) },
        guard: crate::net::Guard::new(config.outgoing.allow_private),
        config: &config,
    });
    World { _dir: dir, store, live, media, notices, tasks, router: api.router(axum::Router::new()), api, tokens }
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn of(response: Response<Body>) -> Answer {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("text"))
    }

    /// Checks that this is a problem as RFC 9457 has it, and gives its kind.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        for member in ["title", "detail"] {
            assert!(json[member].as_str().is_some_and(|t| t.len() > 3), "{member}: {json}");
        }
        json["type"].as_str().and_then(|t| t.strip_prefix("urn:boothcast:problem:")).expect("type").to_owned()
    }
}

impl World {
    fn token(&self, role: Role) -> &str {
        self.tokens.iter().find(|(r, _)| *r == role).map(|(_, t)| t.as_str()).expect("made")
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        Answer::of(self.send(request).await).await
    }

    fn request(&self, role: Option<Role>, method: &str, path: &str, body: Option<Value>) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header("host", "live.example:8080");
        if let Some(role) = role {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token(role)));
        }
        match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        }
        .expect("request")
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask(self.request(Some(Role::Admin), method, path, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    /// A new event.
    async fn event(&self, body: Value) -> Value {
        let answer = self.call("POST", "/api/v1/events", Some(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    async fn set_status(&self, id: &str, status: &str) -> Answer {
        self.call("PUT", &format!("/api/v1/events/{id}/status"), Some(json!({"status": status}))).await
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.live.told.lock().unwrap())
    }
}

fn id_of(event: &Value) -> &str {
    event["id"].as_str().expect("id")
}
