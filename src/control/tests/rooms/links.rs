//! Links into rooms: who may have one, what it opens, and how it ends.

use super::*;

#[tokio::test]
async fn booths_have_links_that_managers_can_see_again() {
    let o = open().await;
    let path = format!("/api/v1/events/{}", o.id);
    let booths = o.event["booths"].as_array().expect("booths");
    assert_eq!(booths.iter().map(|b| b["language"].as_str().unwrap()).collect::<Vec<_>>(), ["de", "fr"]);
    assert!(o.booth("de").starts_with("/booth/") && o.booth("de").len() >= 7 + 26 && o.booth("de") != o.booth("fr"));
    assert_eq!(o.w.get(&path).await.json()["booths"], o.event["booths"]);
    assert_eq!(o.w.get("/api/v1/events").await.json()["items"][0]["booths"], o.event["booths"]);
    for role in [Role::ReadOnly, Role::Operator] {
        for path in [path.clone(), format!("{path}/booths"), format!("{path}/links")] {
            let text = o.w.ask(o.w.request(Some(role), "GET", &path, None)).await.json().to_string();
            assert!(text.contains("\"de\"") && !text.contains("/booth/"), "{role} at {path}: {text}");
        }
    }
    // A language that is added gets its booth, and the others keep theirs.
    let languages = json!([{"language": "de", "kind": "interpreted"}, {"language": "es", "kind": "interpreted"}]);
    let changed = o.w.call("PATCH", &path, Some(json!({"languages": languages}))).await.json();
    assert_eq!(changed["booths"][0], o.event["booths"][0]);
    assert_eq!(changed["booths"][1]["language"], "es");
    assert!(changed["booths"][1]["url"].is_string());
}

#[tokio::test]
async fn links_are_made_for_each_role_and_wrong_wishes_are_explained() {
    let o = open().await;
    for (body, path) in [
        (json!({"role": "interpreter", "language": "DE", "second_language": "fr"}), "/booth/"),
        (json!({"role": "participant", "language": "fr", "video": false}), "/participant/"),
        (json!({"role": "transcriber", "language": "de"}), "/transcribe/"),
        (json!({"role": "corrector", "language": "de"}), "/correct/"),
        (json!({"role": "manager"}), "/manage/"),
    ] {
        let link = o.link(body.clone()).await;
        assert!(path_of(&link["url"]).starts_with(path), "{body}: {link}");
        assert_eq!((&link["state"], &link["role"]), (&json!("open"), &body["role"]));
    }
    let booths = o.w.get(&format!("/api/v1/events/{}/booths", o.id)).await.json();
    assert_eq!(booths["items"][0]["second_language"], "fr", "the booth is bilingual");
    let links = o.w.get(&format!("/api/v1/events/{}/links", o.id)).await.json();
    assert_eq!(links["items"].as_array().map(Vec::len), Some(7), "two booths and five more");
    for (body, field) in [
        (json!({"role": "viewer"}), "role"),
        (json!({"role": "test"}), "role"),
        (json!({"role": "interpreter"}), "language"),
        (json!({"role": "interpreter", "language": "es"}), "language"),
        (json!({"role": "participant", "language": "xx"}), "language"),
        (json!({"role": "manager", "language": "de"}), "language"),
        (json!({"role": "interpreter", "language": "de", "second_language": "de"}), "second_language"),
        (json!({"role": "interpreter", "language": "de", "second_language": "es"}), "second_language"),
        (json!({"role": "participant", "language": "de", "second_language": "fr"}), "second_language"),
        (json!({"role": "manager", "expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
    ] {
        let answer = o.w.call("POST", &format!("/api/v1/events/{}/links", o.id), Some(body.clone())).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_then_not_looked_up_any_more() {
    let o = open().await;
    let mut seen = Vec::new();
    for n in 0..40 {
        let path = match n % 4 {
            0 => format!("/booth/{n:032}/info"),
            1 => format!("/participant/{n:032}/info"),
            2 => format!("/manage/{}/info?link={n:032}", o.id),
            _ => format!("/test/{n:032}/info"),
        };
        let answer = o.w.ask(o.w.request(None, "GET", &path, None)).await;
        seen.push(answer.status.as_u16());
    }
    assert_eq!((seen[0], seen[10]), (404, 404));
    assert_eq!(seen[39], 429, "{seen:?}");
    // Who has a link is not kept out by strangers behind the same address.
    assert_eq!(o.w.ask(o.w.request(None, "GET", &format!("{}/info", o.booth("de")), None)).await.status, 200);
    // A link of another kind is none here.
    let manager = o.link(json!({"role": "manager"})).await;
    let secret = manager["url"].as_str().unwrap().split_once("link=").unwrap().1.to_owned();
    let answer = o.w.ask(o.w.request(None, "GET", &format!("/booth/{secret}/info"), None)).await;
    assert!(matches!(answer.status.as_u16(), 404 | 429), "{answer:?}");
    let other = o.w.event(json!({"name": "other"})).await;
    let answer =
        o.w.ask(o.w.request(None, "GET", &format!("/manage/{}/info?link={secret}", id_of(&other)), None)).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_link_that_ends_ends_what_it_opened_at_once() {
    let o = open().await;
    let link = o.link(json!({"role": "interpreter", "language": "de"})).await;
    let path = path_of(&link["url"]);
    let (mut page, welcome) = o.hello(&format!("{path}/ws"), json!({"name": "Ana"})).await;
    let (mut other, _) = o.interpreter("de", "Ben").await;
    let you = welcome["you"].as_str().unwrap();
    page.send(json!({"type": "on_air", "value": true})).await;
    page.state(|s| person(s, you)["on_air"] == true).await;
    assert_eq!(o.offer(&format!("{path}/whip?person={you}")).await.status, 201);
    assert_eq!(o.offer(&format!("{path}/whep?person={you}")).await.status, 201);
    o.w.media.speak();
    assert_eq!(o.w.media.on_air()[0].len(), 1);
    let revoke = format!("/api/v1/events/{}/links/{}", o.id, link["id"].as_str().unwrap());
    assert_eq!(o.w.ask(o.w.request(Some(Role::Operator), "DELETE", &revoke, None)).await.status, 403);
    assert_eq!(o.w.call("DELETE", &revoke, None).await.status, 204);
    assert!(o.w.media.on_air()[0].is_empty(), "before the answer");
    assert!(o.w.media.voices.lock().unwrap()[0].1.closed.load(Ordering::SeqCst));
    assert!(o.w.media.players.lock().unwrap()[0].1.closed.load(Ordering::SeqCst));
    assert_eq!(page.closed().await, "revoked");
    other.state(|s| person(s, you).is_null()).await;
    assert_eq!(o.w.call("DELETE", &revoke, None).await.status, 404);
    // It says why it does not open any more.
    let answer = o.offer(&format!("{path}/whip")).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (403, "link-revoked".into()));
    assert_eq!(o.w.ask(o.w.request(None, "GET", &format!("{path}/info"), None)).await.status, 403);
    assert_eq!(Page::open(o.address, &format!("{path}/ws")).await.closed().await, "revoked");
    // One that runs out, with somebody there.
    let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(4);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let link = o.link(json!({"role": "manager", "expires_at": soon})).await;
    let path = path_of(&link["url"]);
    let (manage, query) = path.split_once('?').unwrap();
    let (mut page, _) = o.hello(&format!("{manage}/ws?{query}"), json!({"name": "Max"})).await;
    assert_eq!(o.offer(&format!("{manage}/whep?{query}&source=de")).await.status, 201);
    let (source, peer) = o.w.media.players.lock().unwrap().last().unwrap().clone();
    assert_eq!(source.sound, Sound::Mix("de".into()));
    assert_eq!(page.closed().await, "expired");
    eventually("the session goes on", || peer.closed.load(Ordering::SeqCst)).await;
    let answer = o.w.ask(o.w.request(None, "GET", &format!("{manage}/info?{query}"), None)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (410, "link-expired".into()));
    assert_eq!(Page::open(o.address, &format!("{manage}/ws?{query}")).await.closed().await, "expired");
}

#[tokio::test]
async fn rooms_pages_leak_no_secret_and_say_by_their_status_whether_they_open() {
    let o = open().await;
    let participant = path_of(&o.link(json!({"role": "participant", "language": "de"})).await["url"]);
    let expected: HashMap<String, u16> = HashMap::from([
        (o.booth("de"), 200),
        (participant, 200),
        (o.booth("de").replace("/booth/", "/test/"), 200),
        (format!("/manage/{}", o.id), 200),
        ("/booth/00000000000000000000000000000000".to_owned(), 404),
        ("/manage/0123456789abcdef".to_owned(), 404),
    ]);
    for (path, status) in expected {
        let page = o.w.ask(o.w.request(None, "GET", &path, None)).await;
        if page.status == 503 {
            assert_eq!(page.problem(), "no-pages");
            continue;
        }
        assert_eq!(page.status, status, "{path}");
        assert_eq!(page.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        let microphone = page.header("permissions-policy").contains("microphone=(self)");
        assert_eq!(microphone, path.starts_with("/booth/") || path.starts_with("/test/"), "{path}");
    }
}
