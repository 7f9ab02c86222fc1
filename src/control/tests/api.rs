use super::*;
use crate::control::api::{Access, table};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[tokio::test]
async fn an_event_is_made_with_its_keys_shown_once() {
    let w = world().await;
    let answer = w.call("POST", "/api/v1/events", Some(json!({"name": "Gala", "floor_language": "en"}))).await;
    assert_eq!(answer.status, 201);
    let event = answer.json();
    let id = id_of(&event);
    assert_eq!(answer.header("location"), format!("/api/v1/events/{id}"));
    assert_eq!(event["status"], "inactive");
    assert_eq!(event["ladder"], json!(["1080p", "720p", "480p", "360p", "240p"]));
    assert_eq!(event["inputs"]["main"]["rtmp_url"], "rtmp://live.example:1935/live");
    assert_eq!(event["inputs"]["backup"]["rtmps_url"], "rtmps://live.example:1936/live");
    assert_eq!(event["hls_url"], format!("http://live.example:8080/live/{id}/index.m3u8"));
    assert_eq!(event["watch_url"], format!("http://live.example:8080/watch/{id}"));
    let preview = event["preview_url"].as_str().expect("shown to an admin");
    assert!(preview.starts_with(&format!("http://live.example:8080/live/{id}/index.m3u8?preview=")));
    let key = event["inputs"]["main"]["rtmp_key"].as_str().expect("shown once");
    assert_ne!(event["inputs"]["backup"]["rtmp_key"], key);
    assert!(w.store.key_owner(key).await.expect("reads").is_some());

    let again = w.get(&format!("/api/v1/events/{id}")).await.json();
    assert!(again["inputs"]["main"]["key_set_at"].is_string());
    let mut expected = event.clone();
    for input in ["main", "backup"] {
        let shown = expected["inputs"][input].as_object_mut().expect("object");
        assert!(shown.remove("rtmp_key").is_some() && shown.remove("whip_url").is_some(), "shown once");
        // The stream id is the key.
        let url = shown.insert("srt_url".into(), json!("srt://live.example:9000"));
        assert!(url.is_some_and(|u| u.as_str().is_some_and(|u| u.starts_with("srt://live.example:9000?streamid="))));
    }
    assert_eq!(again, expected);
    let list = w.get("/api/v1/events").await.json();
    assert_eq!(list, json!({"items": [again], "next": null}));
}

#[tokio::test]
async fn times_are_rfc_3339_in_utc() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "scheduled_start": "2026-03-01T12:00:00+01:00"})).await;
    assert_eq!(event["scheduled_start"], "2026-03-01T11:00:00Z");
    let made = event["created_at"].as_str().expect("time");
    assert!(made.ends_with('Z'), "{made}");
    let state = w.get(&format!("/api/v1/events/{}/state", id_of(&event))).await.json();
    // As times: written, they have as many digits as they need.
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339");
    assert!(time(state["server_time"].as_str().expect("time")) >= time(made));
}

#[tokio::test]
async fn the_status_matrix_holds_over_http() {
    let w = world().await;
    let paths: [(&str, &[&str]); 5] = [
        ("inactive", &[]),
        ("preview", &["preview"]),
        ("started", &["started"]),
        ("paused", &["started", "paused"]),
        ("ended", &["started", "ended"]),
    ];
    for (from, path) in paths {
        let allowed = Status::ALL.into_iter().find(|s| s.as_str() == from).expect("status").allowed();
        for next in Status::ALL {
            let event = w.event(json!({"name": "x"})).await;
            let id = id_of(&event);
            for step in path {
                assert_eq!(w.set_status(id, step).await.status, 200);
            }
            w.told();
            let before = w.get(&format!("/api/v1/events/{id}")).await.json();
            let answer = w.set_status(id, next.as_str()).await;
            if from == next.as_str() {
                assert_eq!((answer.status, answer.json()), (StatusCode::OK, before), "the same again changes nothing");
                assert_eq!(w.told(), []);
            } else if allowed.contains(&next) {
                assert_eq!(answer.status, 200, "{from} to {next}");
                assert_eq!(answer.json()["status"], next.as_str());
                assert_eq!(w.told().len(), 1);
            } else {
                assert_eq!((answer.status.as_u16(), answer.problem()), (409, "status-not-allowed".into()));
                let names: Vec<&str> = allowed.iter().map(|s| s.as_str()).collect();
                assert_eq!(answer.json()["allowed"], json!(names), "{from} to {next}");
                assert_eq!(w.told(), []);
            }
        }
    }
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let w = world().await;
    for (n, route) in table().into_iter().enumerate() {
        let Access::Role(least) = route.access else { continue };
        for (role, _) in &w.tokens {
            let event = w.event(json!({"name": "x"})).await;
            let path = route.path.replace("{id}", id_of(&event)).replace("{input}", "main");
            let body = match (route.method, route.path) {
                ("post", "/api/v1/events") => Some(json!({"name": "x"})),
                ("patch", _) => Some(json!({})),
                ("put", p) if p.ends_with("status") => Some(json!({"status": "preview"})),
                ("put", _) => Some(json!({"input": "main"})),
                _ => None,
            };
            let method = route.method.to_uppercase();
            let response = w.send(w.request(Some(*role), &method, &path, body.clone())).await;
            let status = response.status();
            if *role >= least {
                assert!(!matches!(status.as_u16(), 401 | 403 | 405 | 500..), "{role} {method} {path}: {status}");
            } else {
                let answer = Answer::of(response).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.problem()),
                    (403, "forbidden".into()),
                    "{role} {method} {path}"
                );
            }
        }
        let path = route.path.replace("{id}", "0123456789abcdef").replace("{input}", "main");
        let mut request = w.request(None, &route.method.to_uppercase(), &path, None);
        // Somebody else each time: who fails often is asked to wait.
        let peer = std::net::SocketAddr::from(([10, 0, 0, n as u8], 1));
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        let answer = w.ask(request).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (401, "unauthorized".into()), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"boothcast\"");
    }
}

#[tokio::test]
async fn the_roles_are_those_that_were_decided() {
    let mut lines: Vec<String> = table()
        .iter()
        .filter_map(|r| match r.access {
            Access::Public => None,
            Access::Role(role) => Some(format!("{} {} {role}", r.method, r.path.trim_start_matches("/api/v1"))),
        })
        .collect();
    lines.sort();
    let expected = [
        "delete /connection-tests/{test} manager",
        "delete /events/{id} manager",
        "delete /events/{id}/inputs/{input}/pull manager",
        "delete /events/{id}/links/{link} manager",
        "delete /webhooks/{webhook} manager",
        "get /connection-tests manager",
        "get /events read-only",
        "get /events/{id} read-only",
        "get /events/{id}/booths read-only",
        "get /events/{id}/inputs read-only",
        "get /events/{id}/links read-only",
        "get /events/{id}/preview.jpg read-only",
        "get /events/{id}/stream read-only",
        "get /webhooks manager",
        "patch /events/{id} manager",
        "patch /events/{id}/booths/{language} operator",
        "post /events manager",
        "post /events/{id}/inputs/{input}/key manager",
        "post /events/{id}/links manager",
        "post /webhooks manager",
        "put /events/{id}/inputs/active operator",
        "put /events/{id}/inputs/{input}/pull manager",
        "put /events/{id}/status operator",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_reader_sees_no_secret() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let secrets = [
        event["inputs"]["main"]["rtmp_key"].as_str().expect("key"),
        event["preview_url"].as_str().and_then(|u| u.split('=').nth(1)).expect("token"),
    ];
    for (role, sees_preview) in [(Role::ReadOnly, false), (Role::Operator, true), (Role::Manager, true)] {
        let text =
            String::from_utf8(w.ask(w.request(Some(role), "GET", &path, None)).await.body.to_vec()).expect("text");
        assert!(!text.contains(secrets[0]), "{role}");
        assert_eq!(text.contains(secrets[1]), sees_preview, "{role}");
    }
    let state = w.ask(w.request(None, "GET", &format!("{path}/state"), None)).await;
    let text = String::from_utf8(state.body.to_vec()).expect("text");
    assert!(secrets.iter().all(|s| !text.contains(s)) && !text.contains("rtmp"), "{text}");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "frame_rate": 50, "description": "kept"})).await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let changed = w
        .call("PATCH", &path, Some(json!({"name": "y", "frame_rate": null, "inputs": {"backup": {"takeover": true}}})))
        .await;
    assert_eq!(changed.status, 200);
    let mut expected = w.get(&path).await.json();
    assert_eq!(changed.json(), expected);
    assert_eq!((&expected["name"], &expected["frame_rate"]), (&json!("y"), &Value::Null));
    assert_eq!((&expected["description"], &expected["revision"]), (&json!("kept"), &json!(2)));
    assert_eq!(expected["inputs"]["main"]["takeover"], false);
    assert_eq!(expected["inputs"]["backup"]["takeover"], true);
    assert_eq!(w.told(), [Told::Changed(2)]);
    // Nothing to change: nothing is told.
    assert_eq!(w.call("PATCH", &path, Some(json!({"name": "y"}))).await.json(), expected);
    assert_eq!(w.told(), []);
    // A wrong field spoils all of it.
    let answer = w.call("PATCH", &path, Some(json!({"name": "z", "frame_rate": 7}))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-fields".into()));
    assert_eq!(w.get(&path).await.json(), expected);
    // While it runs the ladder stays.
    assert_eq!(w.set_status(id_of(&event), "started").await.status, 200);
    let answer = w.call("PATCH", &path, Some(json!({"ladder": ["720p"]}))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "event-runs".into()));
    assert_eq!(answer.json()["field"], "ladder");
    let same = w.call("PATCH", &path, Some(json!({"ladder": expected["ladder"].take(), "name": "z"}))).await;
    assert_eq!((same.status.as_u16(), &same.json()["name"]), (200, &json!("z")));
}

#[tokio::test]
async fn deleting_removes_and_a_permanent_event_is_kept() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "permanent": true})).await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let answer = w.call("DELETE", &path, None).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "event-permanent".into()));
    w.call("PATCH", &path, Some(json!({"permanent": false}))).await;
    w.told();
    assert_eq!(w.call("DELETE", &path, None).await.status, 204);
    assert_eq!(w.told(), [Told::Deleted(id_of(&event).to_owned())]);
    for method in ["GET", "DELETE"] {
        let answer = w.call(method, &path, None).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not-found".into()), "{method}");
    }
}

#[tokio::test]
async fn a_rotated_key_is_shown_once_and_told() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let id = id_of(&event);
    let old = event["inputs"]["main"]["rtmp_key"].as_str().expect("key");
    let answer = w.call("POST", &format!("/api/v1/events/{id}/inputs/main/key"), None).await;
    assert_eq!(answer.status, 201);
    let made = answer.json();
    let new = made["rtmp_key"].as_str().expect("shown");
    assert_eq!(made["rtmp_url"], "rtmp://live.example:1935/live");
    assert!(w.store.key_owner(old).await.expect("reads").is_none());
    assert_eq!(w.store.key_owner(new).await.expect("reads").map(|o| o.input), Some(InputName::Main));
    assert_eq!(w.told(), [Told::Key(2, InputName::Main)]);
    let answer = w.call("POST", &format!("/api/v1/events/{id}/inputs/third/key"), None).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not-found".into()));
}

#[tokio::test]
async fn an_input_is_pulled_from_an_address_whose_secrets_nobody_sees() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let pull = format!("{path}/inputs/backup/pull");
    assert_eq!(event["inputs"]["backup"]["pull"], Value::Null);
    let url = "rtmp://user:passw0rd@host.example:1936/live/x?token=sekrit";
    let answer = w.call("PUT", &pull, Some(json!({"url": url}))).await;
    assert_eq!((answer.status.as_u16(), w.told()), (200, vec![Told::Pull(2, InputName::Backup)]));
    let shown = "rtmp://***@host.example:1936/live/x?***";
    assert_eq!(answer.json()["pull"]["url"], shown);
    for role in [Role::ReadOnly, Role::Admin] {
        let event = w.ask(w.request(Some(role), "GET", &path, None)).await.json();
        assert_eq!(
            (&event["inputs"]["backup"]["pull"]["url"], event.to_string().contains("passw0rd")),
            (&json!(shown), false)
        );
        assert!(!event.to_string().contains("sekrit") && event["inputs"]["main"]["pull"].is_null());
    }
    // The same again is no change.
    assert_eq!(w.call("PUT", &pull, Some(json!({"url": url}))).await.status, 200);
    assert_eq!(w.told(), []);
    let wrong = w.call("PUT", &pull, Some(json!({"url": "rtsp://h/x"}))).await;
    assert_eq!((wrong.status.as_u16(), wrong.problem()), (422, "invalid-fields".into()));
    assert_eq!(wrong.json()["errors"], json!([{"field": "url", "message": "cannot be pulled"}]));
    assert_eq!(w.call("PUT", &pull, Some(json!({"url": url, "x": 1}))).await.status, 422);
    assert_eq!(w.call("DELETE", &pull, None).await.status, 204);
    assert_eq!(w.told(), [Told::Pull(3, InputName::Backup)]);
    assert_eq!(w.call("DELETE", &pull, None).await.status, 204);
    assert_eq!(w.told(), []);
    let missing = w.call("PUT", "/api/v1/events/0123456789abcdef/inputs/main/pull", Some(json!({"url": url}))).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_passphrase_is_set_shown_to_those_who_may_publish_and_taken_away() {
    let w = world().await;
    let event = w.event(json!({"name": "x", "inputs": {"backup": {"srt_passphrase": "0123456789"}}})).await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let made = event["inputs"]["backup"]["srt_url"].as_str().expect("complete");
    let key = event["inputs"]["backup"]["rtmp_key"].as_str().expect("key");
    assert_eq!(made, format!("srt://live.example:9000?streamid={key}&passphrase=0123456789&pbkeylen=32"));
    assert_eq!(
        (&event["inputs"]["main"]["srt_encrypted"], &event["inputs"]["backup"]["srt_encrypted"]),
        (&json!(false), &json!(true))
    );
    let set = |value: Value| json!({"inputs": {"main": {"srt_passphrase": value}}});
    for (wrong, message) in [
        (json!("short"), "has 5 characters; write 10 to 79"),
        (json!("x".repeat(80)), "has 80 characters; write 10 to 79"),
        (json!("ü0123456789"), "has characters other than printable ASCII"),
    ] {
        let answer = w.call("PATCH", &path, Some(set(wrong))).await;
        assert_eq!(answer.status, 422);
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["field"], &error["message"]), (&json!("inputs.main.srt_passphrase"), &json!(message)));
    }
    assert_eq!(w.call("PATCH", &path, Some(set(json!("a b/c&d=e?f")))).await.status, 200);
    for (role, url) in [
        (Role::ReadOnly, "srt://live.example:9000"),
        (Role::Operator, "srt://live.example:9000?passphrase=a%20b%2Fc%26d%3De%3Ff&pbkeylen=32"),
    ] {
        let shown = w.ask(w.request(Some(role), "GET", &path, None)).await.json();
        assert_eq!(
            (&shown["inputs"]["main"]["srt_url"], &shown["inputs"]["main"]["srt_encrypted"]),
            (&json!(url), &json!(true))
        );
    }
    let cleared = w.call("PATCH", &path, Some(set(Value::Null))).await.json();
    assert_eq!(
        (&cleared["inputs"]["main"]["srt_url"], &cleared["inputs"]["main"]["srt_encrypted"]),
        (&json!("srt://live.example:9000"), &json!(false))
    );
}

#[tokio::test]
async fn inputs_are_shown_and_switched_while_the_event_runs() {
    let health = json!({"active": "main", "main": {"state": "live"}, "backup": {"state": "waiting"}});
    let w = world_with(Double { inputs: Some(health.clone()), ..Double::default() }, "").await;
    let event = w.event(json!({"name": "x"})).await;
    let path = format!("/api/v1/events/{}/inputs", id_of(&event));
    let answer = w.call("PUT", &format!("{path}/active"), Some(json!({"input": "backup"}))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "event-not-running".into()));
    w.set_status(id_of(&event), "preview").await;
    w.told();
    let answer = w.call("PUT", &format!("{path}/active"), Some(json!({"input": "backup"}))).await;
    let mut expected = health;
    expected["selected"] = "backup".into();
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, expected.clone()));
    assert_eq!(w.told(), [Told::Selected(3, "backup")]);
    assert_eq!(w.get(&path).await.json(), expected);

    let closed = world().await;
    let event = closed.event(json!({"name": "x"})).await;
    let shown = closed.get(&format!("/api/v1/events/{}/inputs", id_of(&event))).await.json();
    assert_eq!((&shown["active"], &shown["main"]["state"]), (&json!("slate"), &json!("offline")));
}

#[tokio::test]
async fn the_preview_is_a_picture_or_says_why_not() {
    let w = world_with(Double { picture: Some(Bytes::from_static(b"\xff\xd8jpeg")), ..Double::default() }, "").await;
    let event = w.event(json!({"name": "x"})).await;
    let answer = w.get(&format!("/api/v1/events/{}/preview.jpg", id_of(&event))).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "image/jpeg"));
    assert_eq!((answer.header("cache-control"), &answer.body[..]), ("private, max-age=1", &b"\xff\xd8jpeg"[..]));
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let answer = w.get(&format!("/api/v1/events/{}/preview.jpg", id_of(&event))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (404, "no-picture".into()));
}

#[tokio::test]
async fn lists_go_on_where_they_stopped() {
    let w = world().await;
    for i in 0..5 {
        w.event(json!({"name": i.to_string()})).await;
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/events?limit=2".to_owned();
    for _ in 0..3 {
        let page = w.get(&path).await.json();
        names.extend(page["items"].as_array().expect("list").iter().map(|e| e["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/events?limit=2&cursor={next}"),
            None => break,
        }
    }
    names.sort();
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
    assert_eq!(w.get("/api/v1/events?status=started").await.json()["items"], json!([]));
    for query in ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=YQ", "status=live", "page=2"] {
        let answer = w.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-fields".into()), "{query}");
    }
}

#[tokio::test]
async fn changes_of_one_event_are_applied_in_the_order_they_were_stored() {
    let w = Arc::new(world_with(Double { takes: std::time::Duration::from_millis(5), ..Double::default() }, "").await);
    let event = w.event(json!({"name": "x"})).await;
    let id = id_of(&event).to_owned();
    let path = format!("/api/v1/events/{id}");
    let calls = (0..20).map(|i| {
        let (w, path, id) = (w.clone(), path.clone(), id.clone());
        async move {
            match i % 3 {
                0 => w.call("PATCH", &path, Some(json!({"name": format!("name {i}")}))).await,
                1 => w.set_status(&id, if i % 2 == 0 { "started" } else { "inactive" }).await,
                _ => w.call("POST", &format!("{path}/inputs/main/key"), None).await,
            }
        }
    });
    futures_util::future::join_all(calls).await;
    let revisions: Vec<u64> = w
        .told()
        .iter()
        .map(|t| match t {
            Told::Status(r, ..) | Told::Changed(r) | Told::Key(r, _) | Told::Pull(r, _) | Told::Selected(r, _) => *r,
            Told::Deleted(_) => 0,
        })
        .collect();
    assert!(revisions.len() > 10 && revisions.is_sorted(), "{revisions:?}");
}

#[tokio::test]
async fn a_stored_change_is_applied_though_the_client_is_gone() {
    let w = world_with(Double { takes: std::time::Duration::from_millis(100), ..Double::default() }, "").await;
    let event = w.event(json!({"name": "x"})).await;
    let path = format!("/api/v1/events/{}/status", id_of(&event));
    let request = w.request(Some(Role::Admin), "PUT", &path, Some(json!({"status": "started"})));
    // The client leaves while the change is being applied.
    tokio::select! {
        _ = w.send(request) => panic!("answered before it was applied"),
        () = w.live.begun.notified() => {}
    }
    assert_eq!(w.told(), [], "it was still being applied");
    let applied = async {
        loop {
            let told = w.told();
            if !told.is_empty() {
                return told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), applied).await.expect("applied in time");
    assert_eq!(told, [Told::Status(2, Status::Inactive, Status::Started)]);
}

#[tokio::test]
async fn links_follow_the_configuration_and_the_proxy() {
    let url = async |w: &World, request: Request<Body>| {
        w.ask(request).await.json()["items"][0]["hls_url"].as_str().expect("url").to_owned()
    };
    let w = world().await;
    w.event(json!({"name": "x"})).await;
    let mut request = w.request(Some(Role::Admin), "GET", "/api/v1/events", None);
    request.headers_mut().insert("host", "evil.example/\"><x".parse().expect("header"));
    assert!(url(&w, request).await.starts_with("http://0.0.0.0:8080/live/"));
    let mut request = w.request(Some(Role::Admin), "GET", "/api/v1/events", None);
    request.extensions_mut().insert(crate::net::Transport { tls: true });
    assert!(url(&w, request).await.starts_with("https://live.example:8080/live/"));
    let mut request = w.request(Some(Role::Admin), "GET", "/api/v1/events", None);
    request.headers_mut().insert("x-forwarded-proto", "https".parse().expect("header"));
    assert!(url(&w, request).await.starts_with("http://"), "nobody is trusted");

    let w = world_with(Double::default(), "[http]\npublic_url = \"https://tv.example\"").await;
    w.event(json!({"name": "x"})).await;
    let answer = w.get("/api/v1/events").await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    let event = &answer.json()["items"][0];
    assert!(event["embed_url"].as_str().expect("url").starts_with("https://tv.example/embed/"));
    assert_eq!(event["inputs"]["main"]["rtmp_url"], "rtmp://tv.example:1935/live");
    let reloaded = crate::config::parse("[http]\npublic_url = \"http://other.example\"", []).expect("valid");
    w.api.reload(&reloaded);
    let answer = w.get("/api/v1/events").await;
    assert_eq!(answer.header("strict-transport-security"), "");
    assert!(answer.json()["items"][0]["hls_url"].as_str().expect("url").starts_with("http://other.example/live/"));
}

#[tokio::test]
async fn health_tells_what_is_down() {
    let w = world().await;
    let ask = async |w: &World, path: &str| {
        let answer = w.ask(w.request(None, "GET", path, None)).await;
        (answer.status.as_u16(), answer.json())
    };
    assert_eq!(ask(&w, "/healthz").await, (200, json!({"status": "ok"})));
    let checks = json!([{"name": "http", "ok": true}, {"name": "store", "ok": true}]);
    assert_eq!(ask(&w, "/readyz").await, (200, json!({"status": "ok", "checks": checks})));
    w.store.close().await;
    let checks = json!([{"name": "http", "ok": true}, {"name": "store", "ok": false}]);
    assert_eq!(ask(&w, "/readyz").await, (503, json!({"status": "unavailable", "checks": checks})));
    let w = world_with(Double { down: true, ..Double::default() }, "").await;
    assert_eq!(ask(&w, "/readyz").await.0, 503);
    assert_eq!(ask(&w, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_revoked_token_ends_at_once() {
    let w = world().await;
    assert_eq!(w.get("/api/v1/events").await.status, 200);
    for token in w.store.tokens().await.expect("reads") {
        w.store.revoke_token(&token.id, OffsetDateTime::UNIX_EPOCH).await.expect("revoked");
    }
    let answer = w.get("/api/v1/events").await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (401, "unauthorized".into()));
    assert!(answer.header("www-authenticate").contains("invalid_token"));
}

#[tokio::test]
async fn failures_are_limited_and_valid_tokens_are_not() {
    let w = world().await;
    let wrong = || {
        let mut request = w.request(None, "GET", "/api/v1/events", None);
        request.headers_mut().insert("authorization", "Bearer guess".parse().expect("header"));
        request
    };
    let mut last = w.ask(wrong()).await;
    for _ in 0..30 {
        last = w.ask(wrong()).await;
    }
    assert_eq!((last.status.as_u16(), last.problem()), (429, "too-many-failures".into()));
    assert!(last.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    assert_eq!(w.get("/api/v1/events").await.status, 200, "a valid token from the same address");
}
