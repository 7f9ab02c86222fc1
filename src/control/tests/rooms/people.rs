//! Who is in a booth, speaks, is muted, calls and writes.

use super::*;

#[tokio::test]
async fn an_interpreter_comes_in_goes_on_air_and_is_mixed() {
    let o = open().await;
    let info = o.w.ask(o.w.request(None, "GET", &format!("{}/info", o.booth("de")), None)).await.json();
    assert_eq!((&info["booth"]["language"], &info["event"]["status"]), (&json!("de"), &json!("preview")));
    let (mut page, you) = o.interpreter("de", "Ana").await;
    let state = page.state(|s| person(s, &you)["name"] == "Ana").await;
    assert_eq!(state["booths"].as_array().map(Vec::len), Some(2));
    assert_eq!(state["booths"][0]["floor_level_db"], -14.0);
    assert_eq!(person(&state, &you)["on_air"], false);
    assert_eq!(state["relays"][0]["source"], "floor");
    page.send(json!({"type": "on_air", "value": true})).await;
    page.state(|s| person(s, &you)["on_air"] == true && person(s, &you)["heard"] == false).await;
    let answer = o.offer(&format!("{}/whip?person={you}", o.booth("de"))).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (201, "application/sdp"), "{answer:?}");
    let session = answer.header("location").to_owned();
    assert!(session.starts_with(&format!("{}/whip/", o.booth("de"))), "{session}");
    assert_eq!(o.w.media.on_air(), [vec![], vec![]], "no packet yet");
    let voice = o.w.media.speak();
    assert_eq!(o.w.media.on_air(), [vec![voice], vec![]]);
    // One packet is a voice for less than half a second, and the state may come later.
    let heard = |s: &Value| {
        o.w.media.speak();
        person(s, &you)["heard"] == true && s["booths"][0]["on_air"] == true
    };
    page.state(heard).await;
    let packet = o.w.media.packets.lock().unwrap()[0].clone();
    assert_eq!((packet.voice, packet.sequence), (voice, 1));
    assert!(packet.lead > Dur::ZERO && packet.lead < Dur::from_secs(1), "{}", packet.lead);
    // Cough: out of the mix at once.
    page.send(json!({"type": "cough", "value": true})).await;
    eventually("the cough is heard", || o.w.media.on_air()[0].is_empty()).await;
    page.send(json!({"type": "cough", "value": false})).await;
    let back = || {
        o.w.media.speak();
        o.w.media.on_air()[0] == [voice]
    };
    eventually("the voice is not back", back).await;
    // Packets stop: not heard within half a second, and again with the next one.
    eventually("a voice without packets is heard", || o.w.media.on_air()[0].is_empty()).await;
    page.state(|s| person(s, &you)["connected"] == false).await;
    o.w.media.speak();
    assert_eq!(o.w.media.on_air()[0], [voice]);
    // Its session ends by a DELETE.
    let request = |method: &str, kind: &str, body: &str| {
        let request = Request::builder().method(method).uri(&session).header("content-type", kind);
        request.body(Body::from(body.to_owned())).expect("request")
    };
    let kind = "application/trickle-ice-sdpfrag";
    assert_eq!(o.w.ask(request("PATCH", kind, "a=candidate:x")).await.status, 204);
    assert_eq!(o.w.ask(request("PATCH", kind, "?")).await.status, 400);
    // A restart is conditional on the session that it is for (RFC 9725 §4.3).
    let restart = |etag: &str| {
        let mut request = request("PATCH", kind, "a=ice-ufrag:x");
        request.headers_mut().insert("if-match", etag.parse().expect("a value"));
        request
    };
    assert_eq!(o.w.ask(restart("\"other\"")).await.status, 412);
    let restarted = o.w.ask(restart("\"one\"")).await;
    assert_eq!((restarted.status.as_u16(), restarted.header("etag")), (200, "\"two\""));
    assert_eq!(o.w.ask(request("PATCH", "text/plain", "a=x")).await.status, 415);
    assert_eq!(o.w.ask(request("DELETE", kind, "")).await.status, 200);
    assert!(o.w.media.on_air()[0].is_empty());
    assert!(o.w.media.voices.lock().unwrap()[0].1.closed.load(Ordering::SeqCst));
    assert_eq!(o.w.ask(request("DELETE", kind, "")).await.status, 404);
    assert_eq!(o.w.ask(request("PATCH", kind, "a=x")).await.status, 404);
}

#[tokio::test]
async fn a_page_that_is_gone_is_off_air_at_once_and_comes_back_as_it_was() {
    let o = open().await;
    let path = format!("{}/ws", o.booth("de"));
    let (mut page, welcome) = o.hello(&path, json!({"name": "Ana"})).await;
    let you = welcome["you"].as_str().unwrap().to_owned();
    o.offer(&format!("{}/whip?person={you}", o.booth("de"))).await;
    page.send(json!({"type": "on_air", "value": true})).await;
    page.send(json!({"type": "listen", "source": "fr"})).await;
    page.state(|s| person(s, &you)["listen"] == "fr").await;
    let voice = o.w.media.speak();
    assert_eq!(o.w.media.on_air()[0], [voice]);
    drop(page);
    eventually("still on air", || o.w.media.on_air()[0].is_empty()).await;
    let (mut page, again) = o.hello(&path, json!({"name": "Ana", "resume": welcome["resume"]})).await;
    assert_eq!(again["you"], welcome["you"]);
    let state = page.state(|s| person(s, &you)["on_air"] == true).await;
    assert_eq!(person(&state, &you)["listen"], "fr");
    o.w.media.speak();
    assert_eq!(o.w.media.on_air()[0], [voice]);
    // From another page, while this one is open: it is replaced.
    let (_other, third) = o.hello(&path, json!({"name": "Ana", "resume": welcome["resume"]})).await;
    assert_eq!(third["you"], welcome["you"]);
    assert_eq!(page.closed().await, "replaced");
    // What nobody gave out resumes nobody.
    let (_stranger, fourth) = o.hello(&path, json!({"name": "Eve", "resume": "guess"})).await;
    assert_ne!(fourth["you"], welcome["you"]);
    assert_ne!(fourth["resume"], welcome["resume"]);
}

#[tokio::test]
async fn managers_mute_set_levels_answer_calls_and_chat() {
    let o = open().await;
    let (mut page, you) = o.interpreter("de", "Ana").await;
    let mut room = o.manager().await;
    o.offer(&format!("{}/whip?person={you}", o.booth("de"))).await;
    page.send(json!({"type": "on_air", "value": true})).await;
    page.send(json!({"type": "call_manager"})).await;
    room.state(|s| person(s, &you)["calling"] == true && person(s, &you)["on_air"] == true).await;
    o.w.media.speak();
    room.send(json!({"type": "answer_call", "person": you})).await;
    room.state(|s| person(s, &you)["calling"] == false).await;
    room.send(json!({"type": "manage", "booth": "de", "muted": true, "floor_level_db": -13.7})).await;
    page.state(|s| s["booths"][0]["muted"] == true && s["booths"][0]["floor_level_db"] == -13.7).await;
    assert!(o.w.media.on_air()[0].is_empty());
    let path = format!("/api/v1/events/{}/booths", o.id);
    let stored = o.w.get(&path).await.json();
    assert_eq!((&stored["items"][0]["muted"], &stored["items"][0]["floor_level_db"]), (&json!(true), &json!(-13.7)));
    assert_eq!(stored["items"][0]["people"][0]["name"], "Ana");
    assert_eq!((&stored["open"], &stored["managers"][0]["name"]), (&json!(true), &json!("Max")));
    // The same by the API, seen in the rooms, and null is no floor.
    let set = o.w.call("PATCH", &format!("{path}/de"), Some(json!({"muted": false, "floor_level_db": null}))).await;
    assert_eq!((set.status.as_u16(), &set.json()["floor_level_db"]), (200, &Value::Null));
    room.state(|s| s["booths"][0]["muted"] == false && s["booths"][0]["floor_level_db"].is_null()).await;
    let level = o.w.media.plans.lock().unwrap().last().unwrap().languages[0].floor_level_db;
    assert_eq!(level, f32::NEG_INFINITY);
    for (body, status) in
        [(json!({"floor_level_db": 1}), 422), (json!({"floor_level_db": -61}), 422), (json!({"x": 1}), 422)]
    {
        assert_eq!(o.w.call("PATCH", &format!("{path}/de"), Some(body)).await.status, status);
    }
    assert_eq!(o.w.call("PATCH", &format!("{path}/es"), Some(json!({"muted": true}))).await.status, 404);
    // Chat and slow down.
    page.send(json!({"type": "chat", "to": "managers", "text": " hello "})).await;
    let chat = room.until("chat").await;
    assert_eq!((&chat["text"], &chat["name"], &chat["role"]), (&json!("hello"), &json!("Ana"), &json!("interpreter")));
    room.send(json!({"type": "chat", "to": "booth", "booth": "de", "text": "hi"})).await;
    page.until("chat").await;
    page.send(json!({"type": "slow_down"})).await;
    assert_eq!(room.until("slow_down").await["booth"], "de");
    room.state(|s| s["booths"][0]["slow_down"] == true).await;
    // What a role may not do.
    room.send(json!({"type": "on_air", "value": true})).await;
    assert!(room.until("error").await["detail"].as_str().unwrap().contains("interpreters"));
    page.send(json!({"type": "manage", "booth": "de", "muted": true})).await;
    assert!(page.until("error").await["detail"].as_str().unwrap().contains("managers"));
    // A read-only token opens no management room.
    let path = format!("/manage/{}/info?token={}", o.id, o.w.token(Role::ReadOnly));
    assert_eq!(o.w.ask(o.w.request(None, "GET", &path, None)).await.status, 403);
    assert_eq!(o.w.ask(o.w.request(None, "GET", &format!("/manage/{}/info", o.id), None)).await.status, 401);
}

#[tokio::test]
async fn a_bad_message_is_answered_and_the_socket_stays() {
    let o = open().await;
    let (mut page, you) = o.interpreter("de", "Ana").await;
    for bad in ["{", "[]", r#"{"type":"shout"}"#, r#"{"type":"on_air","value":1}"#, r#"{"type":"ping","at":1,"x":2}"#] {
        page.send_text(bad).await;
        page.until("error").await;
    }
    page.send(json!({"type": "hello", "name": "Again"})).await;
    page.until("error").await;
    page.send(json!({"type": "ping", "at": 12.5})).await;
    assert_eq!(page.until("pong").await["at"], 12.5);
    page.send(json!({"type": "quality", "rtt_ms": 1e300, "loss": -1, "playout_ms": "x"})).await;
    page.until("error").await;
    page.send(json!({"type": "on_air", "value": true})).await;
    page.state(|s| person(s, &you)["on_air"] == true).await;
    // Before `hello` nothing else is taken.
    let mut stranger = Page::open(o.address, &format!("{}/ws", o.booth("de"))).await;
    stranger.send(json!({"type": "on_air", "value": true})).await;
    stranger.until("error").await;
    assert!(stranger.next().await.is_none());
    let mut nameless = Page::open(o.address, &format!("{}/ws", o.booth("de"))).await;
    nameless.send(json!({"type": "hello", "name": ""})).await;
    nameless.until("error").await;
    assert!(nameless.next().await.is_none());
    // More than any message: the socket ends, nothing else does.
    let mut flood = Page::open(o.address, &format!("{}/ws", o.booth("de"))).await;
    flood.send_text(&"x".repeat(20_000)).await;
    assert!(flood.next().await.is_none());
    // Without an upgrade it is an address like others.
    let plain = o.w.ask(o.w.request(None, "GET", &format!("{}/ws", o.booth("de")), None)).await;
    assert_eq!(plain.problem(), "not-a-websocket");
}

#[tokio::test]
async fn rooms_open_and_close_with_the_event() {
    let o = open().await;
    let (mut page, _) = o.interpreter("de", "Ana").await;
    assert_eq!(o.offer(&format!("{}/whep", o.booth("de"))).await.status, 201);
    o.w.set_status(&o.id, "started").await;
    page.state(|s| s["event"]["status"] == "started").await;
    o.w.set_status(&o.id, "paused").await;
    page.state(|s| s["event"]["status"] == "paused").await;
    o.w.set_status(&o.id, "ended").await;
    assert_eq!(page.closed().await, "event");
    assert!(o.w.media.players.lock().unwrap()[0].1.closed.load(Ordering::SeqCst));
    let answer = o.offer(&format!("{}/whip", o.booth("de"))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "rooms-closed".into()));
    assert_eq!(Page::open(o.address, &format!("{}/ws", o.booth("de"))).await.closed().await, "event");
    let booths = o.w.get(&format!("/api/v1/events/{}/booths", o.id)).await.json();
    assert_eq!((&booths["open"], booths["items"].as_array().map(Vec::len)), (&json!(false), Some(2)));
    // A daemon that starts again finds them open, with what was set.
    o.w.set_status(&o.id, "preview").await;
    o.w.api.rooms().resume().await.expect("resumed");
    let (mut page, _) = o.interpreter("fr", "Eva").await;
    // A language that goes takes its booth along.
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    o.w.call("PATCH", &format!("/api/v1/events/{}", o.id), Some(json!({"languages": languages}))).await;
    assert_eq!(page.closed().await, "event");
    let (mut page, _) = o.interpreter("de", "Ana").await;
    o.w.call("DELETE", &format!("/api/v1/events/{}", o.id), None).await;
    assert_eq!(page.closed().await, "event");
    assert_eq!(o.offer(&format!("{}/whip", o.booth("de"))).await.status, 404);
}

#[tokio::test]
async fn staff_hears_of_booths_on_the_event_stream() {
    let o = open().await;
    let id = EventId::parse(&o.id).expect("form");
    let mut staff = o.w.notices.subscribe(&id, notices::Audience::Staff);
    let mut public = o.w.notices.subscribe(&id, notices::Audience::Public);
    let (mut page, you) = o.interpreter("de", "Ana").await;
    page.send(json!({"type": "on_air", "value": true})).await;
    page.state(|s| person(s, &you)["on_air"] == true).await;
    let found = async {
        loop {
            let notice = staff.recv().await.expect("told");
            let json: Value = serde_json::from_slice(notice.json()).expect("JSON");
            if json["type"] == "booth" && json["language"] == "de" && json["people"][0]["on_air"] == true {
                return json;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(5), found).await.expect("told in time");
    assert_eq!((&told["people"][0]["name"], &told["event"]), (&json!("Ana"), &json!(o.id)));
    assert!(public.try_recv().is_err(), "names are not for viewers");
}
