use super::*;
use proptest::prelude::*;

impl World {
    async fn raw(&self, kind: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method("POST").uri("/api/v1/events");
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token(Role::Manager)));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        self.ask(request.body(body.into()).expect("request")).await
    }
}

#[tokio::test]
async fn every_wrong_body_is_told_what_is_wrong() {
    let w = world().await;
    let json = Some("application/json");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(Option<&str>, String, u16, &str)> = vec![
        (None, "{}".into(), 415, "not-json"),
        (Some("text/plain"), "{\"name\":\"x\"}".into(), 415, "not-json"),
        (Some("application/x-www-form-urlencoded"), "name=x".into(), 415, "not-json"),
        (json, "".into(), 400, "malformed-json"),
        (json, "{".into(), 400, "malformed-json"),
        (json, "{\"name\":\"x\"} {}".into(), 400, "malformed-json"),
        (json, "{\"name\":\"\\ud800\"}".into(), 400, "malformed-json"),
        (json, "{\"name\":NaN}".into(), 400, "malformed-json"),
        (json, deep.clone(), 422, "invalid-fields"),
        (json, format!("{{\"languages\":{deep}}}"), 422, "invalid-fields"),
        (json, "[]".into(), 422, "invalid-fields"),
        (json, "null".into(), 422, "invalid-fields"),
        (json, "{}".into(), 422, "invalid-fields"),
        (json, "{\"name\":\"x\",\"name\":\"y\"}".into(), 422, "invalid-fields"),
        (json, format!("{{\"name\":\"{}\"}}", "x".repeat(MAX_BODY)), 413, "too-large"),
    ];
    for (kind, body, status, problem) in cases {
        let shown: String = body.chars().take(40).collect();
        let answer = w.raw(kind, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (status, problem.into()), "{shown}: {answer:?}");
    }
    assert_eq!(w.raw(Some("application/json; charset=utf-8"), "{\"name\":\"x\"}").await.status, 201);
    assert_eq!(w.raw(Some("APPLICATION/JSON"), "{\"name\":\"x\"}").await.status, 201);
    assert_eq!(w.raw(json, vec![b'"', 0xff, b'"']).await.status, 400);
}

#[tokio::test]
async fn a_wrong_field_is_named_with_its_path() {
    let w = world().await;
    let cases = [
        (json!({"name": "x", "colour": 1}), "colour", "unknown field `colour`"),
        (json!({"name": 5}), "name", "invalid type: integer `5`, expected a string"),
        (
            json!({"name": "x", "languages": [{"language": "de", "kind": "sung"}]}),
            "languages[0].kind",
            "unknown variant `sung`",
        ),
        (
            json!({"name": "x", "languages": [{"language": "de", "kind": "broadcast", "track": -1}]}),
            "languages[0].track",
            "integer `-1`",
        ),
        (json!({"name": "x", "ladder": "all"}), "ladder", "\"passthrough\" or a list of rungs"),
        (json!({"name": "x", "ladder": ["4320p"]}), "ladder[0]", "unknown variant `4320p`"),
        (json!({"name": "x", "scheduled_start": "soon"}), "scheduled_start", "is no RFC 3339 time"),
        (json!({"name": "x", "appearance": {"texts": {"soon": "x"}}}), "appearance.texts", "unknown variant `soon`"),
        (json!({"name": "x", "inputs": {"main": {"srt": 1}}}), "inputs.main.srt", "unknown field `srt`"),
        (json!({"name": "x", "floor_language": "Klingon"}), "floor_language", "is no BCP 47 tag"),
        (json!({"name": "x", "status": "started"}), "status", "unknown field `status`"),
    ];
    for (body, field, message) in cases {
        let answer = w.raw(Some("application/json"), body.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-fields".into()), "{body}");
        let error = &answer.json()["errors"][0];
        let path = error["field"].as_str().expect("field");
        assert!(path == field || path.starts_with(&format!("{field}.")), "{body}: {error}");
        assert!(error["message"].as_str().expect("message").contains(message), "{body}: {error}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_told() {
    let w = world().await;
    for path in [
        "/nothing",
        "/api/v1/event",
        "/api/v2/events",
        "/api/v1/events/0123456789abcdef",
        "/api/v1/events/0123456789ABCDEF",
        "/api/v1/events/..%2f..%2fetc%2fpasswd",
        "/api/v1/events/%ff",
        "/api/v1/events/0123456789abcdef/state",
        "/api/v1/events/0123456789abcdef/stream",
        "/api/v1/events/x/inputs",
        "/api/v1/events/",
        "/api/docs/../secret",
        "/api/docs/x.js",
        "/assets/../index.html",
        "/assets/..%2findex.html",
        "/metrics",
    ] {
        let answer = w.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not-found".into()), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/api/v1/events/0123456789abcdef", &["DELETE", "GET", "HEAD", "PATCH"][..]),
        ("DELETE", "/api/v1/events", &["GET", "HEAD", "POST"]),
        ("GET", "/api/v1/events/0123456789abcdef/status", &["PUT"]),
        ("PROPFIND", "/healthz", &["GET", "HEAD"]),
    ] {
        let answer = w.call(method, path, None).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (405, "method-not-allowed".into()), "{method} {path}");
        let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, allow, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let w = world().await;
    let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
    let answer = w.raw(Some("application/json"), Body::from_stream(broken)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (400, "broken-body".into()));
}

#[tokio::test]
async fn a_panic_is_one_answer_and_costs_nobody_else() {
    let w = world().await;
    let event = w.event(json!({"name": "panics"})).await;
    let answer = w.set_status(id_of(&event), "started").await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (500, "internal".into()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("expected by a test"), "the reason is for the log");
    assert_eq!(w.get("/api/v1/events").await.status, 200);
    // Its turn is free again.
    let path = format!("/api/v1/events/{}", id_of(&event));
    assert_eq!(w.call("PATCH", &path, Some(json!({"name": "calm"}))).await.status, 200);
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_not_a_crash() {
    let w = world().await;
    w.store.close().await;
    let answer = w.get("/api/v1/events").await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (500, "internal".into()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("boothcast.db"), "paths are for the log");
}

#[tokio::test]
async fn answers_carry_careful_headers_and_an_id() {
    let w = world().await;
    let mut ids = std::collections::HashSet::new();
    for path in ["/api/v1/events", "/nothing", "/healthz"] {
        let answer = w.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-request-id").len(), 24);
        assert!(ids.insert(answer.header("x-request-id").to_owned()));
        assert_eq!(answer.header("access-control-allow-origin"), "", "the API is for no other page");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_body_gets_a_server_error(body in "(\\{(\"(name|languages|ladder|appearance|inputs|frame_rate)\":(null|\"\\PC{0,6}\"|-?[0-9]{1,20}|\\[\\]|\\{\\}|1e999),?){0,3}\\}|\\PC{0,20})") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let w = world().await;
            let answer = w.raw(Some("application/json"), body.clone()).await;
            assert!(matches!(answer.status.as_u16(), 201 | 400 | 422), "{body}: {answer:?}");
        });
    }
}
