//! What a server that asked for it is told when an input is lost, by a signed webhook.

use crate::support::daemon::{Daemon, Options};
use crate::support::eventually;
use crate::support::publish::Programme;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_input_is_told_to_a_server_that_was_away() {
    let programme = Programme::small_card().await;
    let sections = "[outgoing]\nallow_private = true".to_owned();
    let daemon = Daemon::with(Options { sections, ..Options::default() }).await;
    let api = daemon.api();
    let event = api.event(json!("passthrough")).await;
    event.status("started").await;

    // Bound, and closed for now: the server is away.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edit = json!({"url": format!("http://{address}/told"), "event": event.id, "types": ["switch"]});
    let made = api.post("/api/v1/webhooks", edit).await.expect(201).json();
    let encoder = programme.publish(&event.publish_url());
    event.on_air("main", Duration::from_secs(30)).await;
    encoder.kill().await;
    event.on_air("slate", Duration::from_secs(30)).await;
    let webhook = async || api.get("/api/v1/webhooks").await.expect(200).json()["items"][0].clone();
    eventually(Duration::from_secs(20), "a failed attempt", || async {
        (webhook().await["failed_attempts"].as_u64() > Some(0)).then_some(())
    })
    .await;

    let told: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
    let into = told.clone();
    let take = axum::routing::post(move |headers: HeaderMap, body: Bytes| async move {
        into.lock().unwrap().push((headers, body));
        StatusCode::NO_CONTENT
    });
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/told", take)).await });
    eventually(Duration::from_secs(40), "both switches", || async { (told.lock().unwrap().len() >= 2).then_some(()) })
        .await;

    let told = told.lock().unwrap().clone();
    let key = STANDARD.decode(made["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    for ((headers, body), (to, cause)) in told.iter().zip([("main", "start"), ("slate", "disconnected")]) {
        let named = |name: &str| headers[name].to_str().unwrap();
        let signed = [named("webhook-id").as_bytes(), named("webhook-timestamp").as_bytes(), body].join(&b'.');
        let tag = STANDARD.decode(named("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        assert!(hmac::verify(&key, &signed, &tag).is_ok(), "{headers:?}");
        let notice: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&notice["type"], &notice["event"]), (&json!("switch"), &json!(event.id)), "{notice:#}");
        assert_eq!((&notice["to"], &notice["cause"]), (&json!(to), &json!(cause)), "{notice:#}");
    }
    assert_eq!(webhook().await["delivered"], 2);
    assert!(!daemon.log().contains(made["secret"].as_str().unwrap()), "the secret in the log");
}
