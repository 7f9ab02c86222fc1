use super::*;
use crate::control::notices::{Audience, BACKLOG};
use std::time::Duration;

/// A stream of server-sent events as a client reads it.
struct Reader {
    body: Body,
    held: Vec<u8>,
}

impl Reader {
    async fn open(w: &World, role: Option<Role>, path: &str) -> Reader {
        let mut request = w.request(role, "GET", path, None);
        request.headers_mut().insert("accept", "text/event-stream".parse().expect("header"));
        let response = w.send(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Reader { body: response.into_body(), held: Vec::new() }
    }

    /// The next message; none when the stream has ended. Fails when nothing comes within a second.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.held.windows(2).position(|w| w == b"\n\n") {
                let message: Vec<u8> = self.held.drain(..end + 2).collect();
                let text = String::from_utf8(message).expect("text");
                let Some(data) = text.lines().find_map(|l| l.strip_prefix("data: ")) else { continue };
                return Some(serde_json::from_str(data).expect("JSON"));
            }
            let frame = tokio::time::timeout(Duration::from_secs(1), self.body.frame()).await.expect("within 1 s");
            self.held.extend_from_slice(&frame?.expect("frame").into_data().expect("data"));
        }
    }
}

#[tokio::test]
async fn viewers_hear_of_a_status_within_a_second() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "appearance": {"texts": {"ended": "Good night"}}})).await;
    let id = id_of(&event);
    let mut viewer = Reader::open(&w, None, &format!("/api/v1/events/{id}/state")).await;
    let first = viewer.next().await.expect("the state");
    assert_eq!((&first["type"], &first["status"]), (&json!("state"), &json!("inactive")));
    assert_eq!(first["texts"], json!({"ended": "Good night"}));
    for status in ["started", "paused", "ended"] {
        assert_eq!(w.set_status(id, status).await.status, 200);
        let told = viewer.next().await.expect("the change");
        assert_eq!((&told["type"], &told["status"]), (&json!("status"), &json!(status)));
        assert!(told["at"].as_str().expect("time").ends_with('Z'));
    }
    let message = json!({"text": "Sound returns soon", "until": null});
    let path = format!("/api/v1/events/{id}");
    w.call("PATCH", &path, Some(json!({"appearance": {"service_message": message}}))).await;
    let told = viewer.next().await.expect("the change");
    assert_eq!((&told["type"], &told["service_message"]["text"]), (&json!("state"), &json!("Sound returns soon")));
    assert_eq!(told["texts"], json!({"ended": "Good night"}), "the rest is still there");
    w.call("DELETE", &path, None).await;
    assert_eq!(viewer.next().await, None, "a deleted event ends the stream");
}

#[tokio::test]
async fn the_state_is_the_same_as_json() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "scheduled_start": "2030-01-01T00:00:00Z"})).await;
    let path = format!("/api/v1/events/{}/state", id_of(&event));
    let mut first = Reader::open(&w, None, &path).await.next().await.expect("the state");
    let answer = w.ask(w.request(None, "GET", &path, None)).await;
    assert_eq!(answer.header("vary"), "accept, origin");
    let mut json = answer.json();
    for value in [&mut first, &mut json] {
        let object = value.as_object_mut().expect("object");
        object.remove("server_time").expect("there");
        object.remove("at");
    }
    assert_eq!(first, json);
}

#[tokio::test]
async fn staff_hears_what_viewers_do_not() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let id = EventId::parse(id_of(&event)).expect("id");
    let mut staff = Reader::open(&w, Some(Role::ReadOnly), &format!("/api/v1/events/{id}/stream")).await;
    let mut viewer = Reader::open(&w, None, &format!("/api/v1/events/{id}/state")).await;
    assert_eq!(staff.next().await.expect("first")["type"], "event");
    viewer.next().await;
    let fields = json!({"input": "main", "state": "live"}).as_object().cloned().expect("object");
    w.notices.publish(&id, Notice::new("input", Audience::Staff, OffsetDateTime::UNIX_EPOCH, fields));
    w.notices.publish(&id, Notice::languages(OffsetDateTime::UNIX_EPOCH));
    let told = staff.next().await.expect("told");
    assert_eq!(told, json!({"type": "input", "at": "1970-01-01T00:00:00Z", "input": "main", "state": "live"}));
    assert_eq!(staff.next().await.expect("told")["type"], "languages");
    assert_eq!(viewer.next().await.expect("told")["type"], "languages");
    w.call("PATCH", &format!("/api/v1/events/{id}"), Some(json!({"name": "y"}))).await;
    assert_eq!(staff.next().await.expect("told")["type"], "state");
    let told = staff.next().await.expect("told");
    assert_eq!((&told["type"], &told["revision"]), (&json!("event"), &json!(2)));
}

#[tokio::test]
async fn a_slow_reader_is_disconnected_and_delays_nobody() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let id = EventId::parse(id_of(&event)).expect("id");
    let path = format!("/api/v1/events/{id}/state");
    let mut slow = Reader::open(&w, None, &path).await;
    let mut fast = Reader::open(&w, None, &path).await;
    slow.next().await;
    fast.next().await;
    for _ in 0..BACKLOG + 10 {
        w.notices.publish(&id, Notice::languages(OffsetDateTime::UNIX_EPOCH));
        assert!(fast.next().await.is_some());
    }
    assert_eq!(slow.next().await, None);
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let mut viewer = Reader::open(&w, None, &format!("/api/v1/events/{}/state", id_of(&event))).await;
    viewer.next().await;
    assert!(w.tasks.close(Duration::from_secs(1)).await);
    assert_eq!(viewer.next().await, None);
}

#[tokio::test]
async fn other_pages_may_read_the_state_when_the_configuration_lists_them() {
    let w = world_with(Double::default(), "[http]\ncors = [\"https://a.example\"]").await;
    let event = w.event(json!({"name": "x"})).await;
    let ask = async |origin: &str| {
        let mut request = w.request(None, "GET", &format!("/api/v1/events/{}/state", id_of(&event)), None);
        request.headers_mut().insert("origin", origin.parse().expect("header"));
        w.ask(request).await.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(ask("https://a.example").await, "https://a.example");
    assert_eq!(ask("https://b.example").await, "");
}
