use super::*;

/// Whether web/dist was built. Without it, the pages say so, and these tests check that.
async fn built(w: &World) -> bool {
    w.ask(w.request(None, "GET", "/", None)).await.status == 200
}

#[tokio::test]
async fn pages_are_served_with_a_policy_or_say_that_they_are_missing() {
    let w = world().await;
    let event = w.event(json!({"name": "x"})).await;
    let id = id_of(&event);
    if !built(&w).await {
        let answer = w.ask(w.request(None, "GET", &format!("/watch/{id}"), None)).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (503, "no-pages".into()));
        return;
    }
    for (path, status, frames) in [
        ("/".to_owned(), 200, "frame-ancestors 'self'"),
        (format!("/watch/{id}"), 200, "frame-ancestors 'self'"),
        (format!("/embed/{id}"), 200, "frame-ancestors *"),
        ("/watch/0123456789abcdef".to_owned(), 404, "frame-ancestors 'self'"),
        ("/embed/nonsense".to_owned(), 404, "frame-ancestors *"),
    ] {
        let answer = w.ask(w.request(None, "GET", &path, None)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains(frames) && policy.contains("script-src 'self';"), "{path}: {policy}");
        assert!(String::from_utf8_lossy(&answer.body).contains("<div id=\"app\">"), "{path}");
        if status == 200 {
            let mut again = w.request(None, "GET", &path, None);
            again.headers_mut().insert("if-none-match", answer.headers["etag"].clone());
            let again = w.ask(again).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
            assert_eq!(again.header("content-security-policy"), policy, "{path}");
        }
    }
}

#[tokio::test]
async fn assets_are_cached_for_good_and_compressed_for_those_who_take_it() {
    let w = world().await;
    assert!(built(&w).await, "the pages are not built: scripts/setup test builds them");
    let event = w.event(json!({"name": "x"})).await;
    let page = w.ask(w.request(None, "GET", &format!("/watch/{}", id_of(&event)), None)).await;
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    let links: Vec<&str> = text.split('"').filter_map(|part| part.strip_prefix("../assets/")).collect();
    assert!(links.len() > 2, "{text}");
    for link in links {
        let path = format!("/assets/{link}");
        let plain = w.ask(w.request(None, "GET", &path, None)).await;
        assert_eq!(plain.status, 200, "{path}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(plain.header("content-encoding"), "");
        if plain.body.len() < 1_000 {
            continue;
        }
        let mut request = w.request(None, "GET", &path, None);
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().expect("header"));
        let small = w.ask(request).await;
        assert_eq!((small.header("content-encoding"), small.header("vary")), ("gzip", "accept-encoding"));
        assert_ne!(small.header("etag"), plain.header("etag"));
        let mut read = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&small.body[..]), &mut read).expect("decompresses");
        assert_eq!(read, plain.body);
    }
}
