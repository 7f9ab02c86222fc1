//! WebRTC sessions of the rooms: ears, participants, the connection test, figures.

use super::*;

#[tokio::test]
async fn the_ears_follow_what_their_person_listens_to() {
    let o = open().await;
    let (mut page, you) = o.interpreter("de", "Ana").await;
    assert_eq!(o.offer(&format!("{}/whep?person={you}", o.booth("de"))).await.status, 201);
    let (source, ears) = o.w.media.players.lock().unwrap()[0].clone();
    assert_eq!(source, RoomSource { sound: Sound::Floor, video: true });
    page.send(json!({"type": "listen", "source": "fr"})).await;
    let heard = |ears: &PeerState| ears.sources.lock().unwrap().last().map(|(_, s)| s.sound.clone());
    eventually("no relay", || heard(&ears) == Some(Sound::Mix("fr".into()))).await;
    // Who would hear themselves is told, and nothing changes; going on air with it puts them on the floor.
    page.send(json!({"type": "listen", "source": "de"})).await;
    page.state(|s| person(s, &you)["listen"] == "de").await;
    page.send(json!({"type": "on_air", "value": true})).await;
    let told = page.until("error").await;
    assert!(told["detail"].as_str().unwrap().contains("floor"), "{told}");
    page.state(|s| person(s, &you)["listen"] == "floor" && person(s, &you)["on_air"] == true).await;
    assert_eq!(heard(&ears), Some(Sound::Floor));
    page.send(json!({"type": "listen", "source": "de"})).await;
    assert!(page.until("error").await["detail"].as_str().unwrap().contains("hear yourself"));
    let refused = |s: &Value| s["relays"][1]["source"] == "de" && s["relays"][1]["refused"].is_string();
    page.state(refused).await;
    // New ears take the place of the old.
    assert_eq!(o.offer(&format!("{}/whep?person={you}", o.booth("de"))).await.status, 201);
    assert!(ears.closed.load(Ordering::SeqCst));
    // Somebody of another booth is nobody here.
    let (_page, other) = o.interpreter("fr", "Eva").await;
    let answer = o.offer(&format!("{}/whep?person={other}", o.booth("de"))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "not-in-the-room".into()));
    assert_eq!(o.offer(&format!("{}/whep?person=x", o.booth("de"))).await.status, 422);
    // The peer goes by itself.
    let (_, last) = o.w.media.players.lock().unwrap()[1].clone();
    last.gone.notify_one();
}

#[tokio::test]
async fn participants_hear_the_floor_with_picture_and_silence_without() {
    let o = open_with(json!({"participants_limit": 2})).await;
    let seeing = path_of(&o.link(json!({"role": "participant", "language": "de"})).await["url"]);
    let hearing = path_of(&o.link(json!({"role": "participant", "language": "de", "video": false})).await["url"]);
    let info = o.w.ask(o.w.request(None, "GET", &format!("{hearing}/info"), None)).await.json();
    assert_eq!((&info["language_name"], &info["video"]), (&json!("name of de"), &json!(false)));
    assert_eq!(o.offer(&format!("{seeing}/whep")).await.status, 201);
    assert_eq!(o.offer(&format!("{hearing}/whep?video=true")).await.status, 201);
    let players = o.w.media.players.lock().unwrap().clone();
    assert_eq!(players[0].0, RoomSource { sound: Sound::Mix("de".into()), video: true });
    assert_eq!(players[1].0, RoomSource { sound: Sound::Silence, video: false }, "the link gives no picture");
    let answer = o.offer(&format!("{hearing}/whep")).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (503, "too-many-participants".into()));
    let (mut page, you) = o.interpreter("de", "Ana").await;
    page.send(json!({"type": "on_air", "value": true})).await;
    page.state(|s| person(s, &you)["on_air"] == true).await;
    o.offer(&format!("{}/whip", o.booth("de"))).await;
    o.w.media.speak();
    let peer = &players[1].1;
    let heard = || peer.sources.lock().unwrap().last().map(|(_, s)| s.sound.clone());
    assert_eq!(heard(), Some(Sound::Mix("de".into())));
    let muted = format!("/api/v1/events/{}/booths/de", o.id);
    let (before, muted_at) = (peer.sources.lock().unwrap().len(), peer.clock.now());
    o.w.call("PATCH", &muted, Some(json!({"muted": true}))).await;
    eventually("the floor is heard", || heard() == Some(Sound::Silence)).await;
    // By the times that were noted: this test may look late.
    let silent = |(_, source): &&(Ts, RoomSource)| source.sound == Sound::Silence;
    let silent_at = peer.sources.lock().unwrap().iter().skip(before).find(silent).map(|(at, _)| *at);
    let tail = silent_at.expect("silence") - muted_at;
    assert!(tail >= Dur::from_millis(250), "what was said last was still on its way: {tail}");
    assert!(players[0].1.sources.lock().unwrap().is_empty(), "with picture nothing changes");
}

#[tokio::test]
async fn a_connection_test_is_measured_graded_kept_and_forgotten() {
    let o = open().await;
    let list = o.w.get("/api/v1/connection-tests").await.json();
    assert_eq!((&list["items"], &list["retention_days"]), (&json!([]), &json!(90)));
    let standing = path_of(&list["url"]);
    assert_eq!(path_of(&o.w.get("/api/v1/connection-tests").await.json()["url"]), standing);
    let own = o.booth("de").replace("/booth/", "/test/");
    let results = [
        (&standing, json!({"ping_ms": 20.0, "jitter_ms": 3.0, "loss_up": 0.0, "loss_down": 0.0}), json!("good")),
        (&own, json!({"ping_ms": 20, "jitter_ms": 40, "loss_up": 0.0, "loss_down": 0.05}), json!("average")),
        (&own, json!({"jitter_ms": 20, "loss_up": 0.2}), json!("bad")),
        (&own, json!({}), Value::Null),
    ];
    for (path, figures, grade) in &results {
        let mut body = json!({"name": "Ana", "email": "a@example.org", "place": "Gent"});
        body.as_object_mut().unwrap().extend(figures.as_object().cloned().unwrap());
        let answer = o.post(&format!("{path}/result"), "application/json", &body.to_string()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["grade"]), (201, grade), "{answer:?}");
    }
    // What the daemon measures itself fills in what the page does not know.
    let answer = o.offer(&format!("{standing}/rtc")).await;
    let session = answer.header("location").to_owned();
    let peer = o.w.media.probes.lock().unwrap()[0].clone();
    *peer.figures.lock().unwrap() = PeerFigures {
        rtt: Some(Dur::from_millis(300)),
        jitter: Some(Dur::from_millis(5)),
        transport: Some("tcp"),
        ..PeerFigures::default()
    };
    let name = session.rsplit('/').next().unwrap();
    let body = json!({"name": "Ben", "loss_up": 0, "loss_down": 0, "session": name}).to_string();
    let kept = o.post(&format!("{standing}/result"), "application/json", &body).await.json();
    assert_eq!(
        (&kept["grade"], &kept["ping_ms"], &kept["transport"]),
        (&json!("average"), &json!(300.0), &json!("tcp"))
    );
    let end = Request::builder().method("DELETE").uri(&session).body(Body::empty()).unwrap();
    assert_eq!(o.w.ask(end).await.status, 200);
    assert!(peer.closed.load(Ordering::SeqCst));
    for bad in [
        json!({"name": ""}),
        json!({"name": "x", "loss_up": 1.1}),
        json!({"name": "x", "ping_ms": -1}),
        json!({"x": 1}),
    ] {
        assert_eq!(o.post(&format!("{own}/result"), "application/json", &bad.to_string()).await.status, 422, "{bad}");
    }
    // The list, by pages, newest first; deleted one by one.
    let first = o.w.get("/api/v1/connection-tests?limit=2").await.json();
    assert_eq!(first["items"][0]["name"], "Ben");
    let next = first["next"].as_str().expect("more");
    let second = o.w.get(&format!("/api/v1/connection-tests?limit=200&cursor={next}")).await.json();
    assert_eq!((second["items"].as_array().map(Vec::len), &second["next"]), (Some(3), &Value::Null));
    assert_eq!(second["items"][2]["event"], Value::Null);
    assert_eq!(second["items"][1]["event"], o.id.as_str());
    assert_eq!(o.w.get("/api/v1/connection-tests?cursor=%C3%A9%C3%A9").await.status, 422);
    let one = format!("/api/v1/connection-tests/{}", first["items"][0]["id"].as_str().unwrap());
    assert_eq!(o.w.call("DELETE", &one, None).await.status, 204);
    assert_eq!(o.w.call("DELETE", &one, None).await.status, 404);
    let reader = o.w.request(Some(Role::Operator), "GET", "/api/v1/connection-tests", None);
    assert_eq!(o.w.ask(reader).await.status, 403, "names and addresses are for managers");
}

#[tokio::test]
async fn offers_are_bounded_and_explained() {
    let o = open().await;
    let whip = format!("{}/whip", o.booth("de"));
    assert_eq!(o.post(&whip, "application/json", "{}").await.status, 415);
    assert_eq!(o.post(&whip, "application/sdp", "hello").await.problem(), "bad-offer");
    let answer = o.post(&whip, "application/sdp", &"v=0".repeat(30_000)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (413, "too-large".into()));
    // Voices without a page are bounded, too.
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(o.offer(&whip).await.status.as_u16());
    }
    assert_eq!((seen[15], seen[16]), (201, 409), "{seen:?}");
    let open = o.w.media.voices.lock().unwrap().iter().filter(|(_, p)| !p.closed.load(Ordering::SeqCst)).count();
    assert_eq!(open, 16, "those refused are closed");
}

#[tokio::test]
async fn levels_and_statistics_reach_the_pages() {
    let o = open().await;
    let (mut page, you) = o.interpreter("de", "Ana").await;
    o.offer(&format!("{}/whip?person={you}", o.booth("de"))).await;
    let voice = o.w.media.speak();
    let figures = PeerFigures { rtt: Some(Dur::from_millis(42)), loss_up: Some(0.02), ..PeerFigures::default() };
    *o.w.media.voices.lock().unwrap()[0].1.figures.lock().unwrap() = figures;
    let id = EventId::parse(&o.id).expect("form");
    let report = VoiceReport {
        level_db: -20.0,
        peak_db: -10.0,
        jitter_ms: 7.0,
        loss: 0.5,
        concealed: 0.0,
        recovered: 0.0,
        delay_ms: 60.0,
    };
    o.w.api.rooms().voices(&id, &[(voice, report), (VoiceId(999), report)]);
    o.w.api.rooms().levels(&id, -30.0, &[("de".to_owned(), -18.5)]);
    let levels = page.until("levels").await;
    assert_eq!((&levels["floor"], &levels["booths"]["de"]), (&json!(-30.0), &json!(-18.5)));
    page.send(json!({"type": "quality", "loss": 0.2, "playout_ms": 120})).await;
    let state = page.state(|s| person(s, &you)["quality"]["grade"] == "bad").await;
    let quality = &person(&state, &you)["quality"];
    assert_eq!(quality, &json!({"rtt_ms": 42.0, "jitter_ms": 7.0, "loss_up": 0.02, "loss_down": 0.2, "grade": "bad"}));
    let stats = page.until("stats").await;
    assert_eq!((&stats["rtt_ms"], &stats["loss"]), (&json!(42.0), &json!(0.02)));
    let lead = |o: &Open| o.w.media.packets.lock().unwrap().last().unwrap().lead;
    o.w.media.speak();
    assert!(lead(&o) > Dur::from_millis(180), "round trip, buffers and capture: {}", lead(&o));
    let booths = o.w.get(&format!("/api/v1/events/{}/booths", o.id)).await.json();
    assert_eq!(booths["items"][0]["level_db"], -18.5);
    o.w.api.rooms().levels(&id, f32::NEG_INFINITY, &[("de".to_owned(), -50.0), ("fr".to_owned(), f32::NAN)]);
    let levels = page.until("levels").await;
    assert_eq!((&levels["floor"], &levels["booths"]["fr"]), (&json!(-120.0), &json!(-120.0)));
}
