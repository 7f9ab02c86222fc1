//! Webhooks, with a real server behind them.

use super::*;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::time::Duration;

const PRIVATE: &str = "[outgoing]\nallow_private = true";

/// What the server got: path and query, headers, body.
type Got = (String, HeaderMap, Bytes);

/// A server that answers with these statuses, one after the other, and then with 204.
#[derive(Clone, Default)]
struct Server {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Server {
    async fn start(world: &World, answers: &[u16]) -> (Server, String) {
        let server = Server { answers: Arc::new(Mutex::new(answers.to_vec().into())), ..Server::default() };
        let taken = server.clone();
        let take = post(move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| async move {
            taken.got.lock().unwrap().push((uri.to_string(), headers, body));
            let answer = taken.answers.lock().unwrap().pop_front().unwrap_or(204);
            StatusCode::from_u16(answer).unwrap()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router: Router = Router::new().route("/hook/{token}", take);
        world.tasks.spawn_until_cancelled("webhook server", async move {
            axum::serve(listener, router).await.expect("serves");
        });
        (server, format!("http://{address}"))
    }

    /// Waits until it got so many.
    async fn until(&self, count: usize) -> Vec<Got> {
        for _ in 0..1000 {
            let got = self.got.lock().unwrap().clone();
            if got.len() >= count {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {count}: {:?}", self.got.lock().unwrap());
    }
}

fn body(got: &Got) -> Value {
    serde_json::from_slice(&got.2).expect("JSON")
}

fn named<'a>(got: &'a Got, name: &str) -> &'a str {
    got.1.get(name).expect(name).to_str().expect("text")
}

/// Whether it is signed as Standard Webhooks says.
fn is_signed(got: &Got, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("its prefix")).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signed = [named(got, "webhook-id").as_bytes(), named(got, "webhook-timestamp").as_bytes(), &got.2].join(&b'.');
    let tag = STANDARD.decode(named(got, "webhook-signature").strip_prefix("v1,").expect("version 1")).expect("base64");
    ring::hmac::verify(&key, &signed, &tag).is_ok()
}

async fn listed(world: &World, id: &Value) -> Value {
    let list = world.get("/api/v1/webhooks").await.json();
    list["items"].as_array().expect("items").iter().find(|w| w["id"] == *id).expect("listed").clone()
}

/// Waits until the webhook is shown so.
async fn shown(world: &World, id: &Value, so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1000 {
        let webhook = listed(world, id).await;
        if so(&webhook) {
            return webhook;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:#}", listed(world, id).await);
}

#[tokio::test]
async fn notices_are_signed_and_sent_in_order_and_again_after_a_failure() {
    let world = world_with(Double::default(), PRIVATE).await;
    let event = world.event(json!({"name": "A"})).await;
    let (server, url) = Server::start(&world, &[500, 301]).await;
    let made =
        world.call("POST", "/api/v1/webhooks", Some(json!({"url": format!("{url}/hook/t0ken?key=s3cret")}))).await;
    assert_eq!((made.status, made.header("cache-control")), (StatusCode::CREATED, "no-store"));
    let made = made.json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();

    for status in ["started", "paused"] {
        assert_eq!(world.set_status(id_of(&event), status).await.status, 200);
    }
    let got = server.until(4).await;
    // The first one three times, and only then the second.
    let ids: Vec<&str> = got.iter().map(|g| named(g, "webhook-id")).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    for (n, status) in [(0, "started"), (2, "started"), (3, "paused")] {
        let told = body(&got[n]);
        assert_eq!((&told["type"], &told["status"], &told["event"]), (&json!("status"), &json!(status), &event["id"]));
        assert!(told["at"].is_string() && got[n].0 == "/hook/t0ken?key=s3cret", "{told} {}", got[n].0);
        assert!(is_signed(&got[n], &secret), "{:?}", got[n]);
        assert_eq!(named(&got[n], "content-type"), "application/json");
    }
    let mut forged = got[0].clone();
    forged.2 = Bytes::from_static(b"{}");
    assert!(!is_signed(&forged, &secret));

    let now = shown(&world, &made["id"], |w| w["delivered"] == 2).await;
    assert_eq!((&now["failed_attempts"], &now["given_up"], &now["last_error"]), (&json!(2), &json!(0), &Value::Null));
    // Neither the path nor the secret is shown again.
    assert_eq!(now["url"], url);
    let text = world.get("/api/v1/webhooks").await.body;
    let text = String::from_utf8_lossy(&text);
    assert!(!text.contains("t0ken") && !text.contains("s3cret") && !text.contains(&secret), "{text}");
}

#[tokio::test]
async fn it_hears_of_what_it_asked_for_and_nothing_once_it_is_deleted() {
    let world = world_with(Double::default(), PRIVATE).await;
    let (one, other) = (world.event(json!({"name": "A"})).await, world.event(json!({"name": "B"})).await);
    let (server, url) = Server::start(&world, &[]).await;
    let edit = json!({"url": format!("{url}/hook/a"), "event": one["id"], "types": ["status", "switch", "status"]});
    let made = world.call("POST", "/api/v1/webhooks", Some(edit)).await.json();
    assert_eq!(made["types"], json!(["status", "switch"]));
    for event in [&other, &one] {
        let change = json!({"name": "C"});
        world.call("PATCH", &format!("/api/v1/events/{}", id_of(event)), Some(change)).await;
        world.set_status(id_of(event), "started").await;
    }
    let got = server.until(1).await;
    assert_eq!((&body(&got[0])["event"], &body(&got[0])["type"]), (&one["id"], &json!("status")));

    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().expect("id"));
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    assert_eq!(world.call("DELETE", &path, None).await.status, 404);
    world.set_status(id_of(&one), "paused").await;
    // One that is made later is told of what comes after, which is then all that the server hears.
    let later = world.call("POST", "/api/v1/webhooks", Some(json!({"url": format!("{url}/hook/b")}))).await;
    assert_eq!(later.status, 201);
    world.set_status(id_of(&one), "ended").await;
    let got = server.until(2).await;
    assert_eq!((got[1].0.as_str(), &body(&got[1])["status"], got.len()), ("/hook/b", &json!("ended"), 2));
}

#[tokio::test]
async fn one_that_is_gone_is_given_up_and_recorded() {
    let world = world_with(Double::default(), PRIVATE).await;
    let event = world.event(json!({"name": "A"})).await;
    let (server, url) = Server::start(&world, &[410]).await;
    let made = world.call("POST", "/api/v1/webhooks", Some(json!({"url": format!("{url}/hook/a")}))).await.json();
    world.set_status(id_of(&event), "started").await;
    let now = shown(&world, &made["id"], |w| w["given_up"] == 1).await;
    assert_eq!(now["last_error"], "the server answers 410");
    assert!(now["last_given_up_at"].is_string() && now["next_attempt_at"].is_null() && now["waiting"] == 0, "{now:#}");
    world.set_status(id_of(&event), "paused").await;
    assert_eq!(body(&server.until(2).await[1])["status"], "paused");

    // Nobody there: what waits is counted and tried again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let edit = json!({"url": format!("http://{free}/hook/a"), "types": ["status"]});
    let nobody = world.call("POST", "/api/v1/webhooks", Some(edit)).await.json();
    for status in ["started", "paused"] {
        world.set_status(id_of(&event), status).await;
    }
    let now = shown(&world, &nobody["id"], |w| w["failed_attempts"].as_u64() > Some(0)).await;
    assert!(now["last_error"].as_str().is_some_and(|e| e.contains("cannot be connected to")), "{now:#}");
    assert!(now["next_attempt_at"].is_string() && now["waiting"] == 1 && now["delivered"] == 0, "{now:#}");
}

#[tokio::test]
async fn they_outlive_a_restart_and_go_with_their_event() {
    let world = world_with(Double::default(), PRIVATE).await;
    let event = world.event(json!({"name": "A"})).await;
    let (server, url) = Server::start(&world, &[]).await;
    let edit = json!({"url": format!("{url}/hook/a"), "event": event["id"]});
    let made = world.call("POST", "/api/v1/webhooks", Some(edit)).await.json();
    // As a daemon that has just begun.
    let config: Config = crate::config::parse(PRIVATE, []).expect("valid");
    let notices = Notices::new();
    let again = Api::new(Setup {
        store: world.store.clone(),
        live: world.live.clone(),
        media: world.media.clone(),
        notices: notices.clone(),
        clock: Arc::new(SystemClock::new()),
        tasks: world.tasks.child(),
        addresses: Addresses::default(),
        guard: crate::net::Guard::new(true),
        config: &config,
    });
    again.resume_webhooks().await.expect("read");
    let id = EventId::parse(id_of(&event)).expect("id");
    notices.publish(&id, Notice::status(OffsetDateTime::UNIX_EPOCH, Status::Ended));
    let got = server.until(1).await;
    assert!(is_signed(&got[0], made["secret"].as_str().expect("a secret")) && body(&got[0])["status"] == "ended");

    world.call("DELETE", &format!("/api/v1/events/{}", id_of(&event)), None).await;
    assert_eq!(world.get("/api/v1/webhooks").await.json()["items"], json!([]));
}

#[tokio::test]
async fn only_managers_make_them_and_only_of_public_addresses() {
    let world = world().await;
    let ask =
        async |role, edit: Value| world.ask(world.request(Some(role), "POST", "/api/v1/webhooks", Some(edit))).await;
    let good = json!({"url": "https://example.org/hook"});
    assert_eq!(ask(Role::Operator, good).await.status, 403);
    for (edit, field) in [
        (json!({"url": "http://127.0.0.1:9/hook"}), "url"),
        (json!({"url": "http://169.254.169.254/latest"}), "url"),
        (json!({"url": "ftp://example.org/"}), "url"),
        (json!({"url": "example.org"}), "url"),
        (json!({"url": "https://example.org/", "types": ["status", "weather"]}), "types[1]"),
        (json!({"url": "https://example.org/", "event": "no"}), "event"),
        (json!({"url": "https://example.org/", "secret": "mine"}), "secret"),
    ] {
        let answer = ask(Role::Manager, edit.clone()).await;
        assert_eq!(answer.problem(), "invalid-fields", "{edit}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{edit}");
    }
    let missing = json!({"url": "https://example.org/", "event": "0123456789abcdef"});
    assert_eq!(ask(Role::Manager, missing).await.status, 404);
}
