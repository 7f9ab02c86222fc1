//! Running it: health, metrics, the description of the API, tokens, stopping.

use crate::support::daemon::{Daemon, boothcast};
use crate::support::hls::Master;
use crate::support::publish::Programme;
use crate::support::{api, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_description_and_tokens() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let anyone = api.anonymous();
    anyone.get("/healthz").await.expect(200);
    anyone.get("/readyz").await.expect(200);
    let description = anyone.get("/api/v1/openapi.json").await.expect(200).json();
    for path in ["/api/v1/events", "/api/v1/events/{id}/status", "/api/v1/events/{id}/inputs"] {
        assert!(description["paths"].get(path).is_some(), "{path} is not described");
    }
    let docs = anyone.get("/api/docs").await.expect(200);
    assert!(docs.header("content-type").starts_with("text/html"));
    let metrics = api::client().get(format!("http://{}/metrics", daemon.addresses["metrics"])).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("boothcast_"));
    assert_ne!(anyone.get("/metrics").await.status, 200, "metrics are on their own listener alone");

    let config = daemon.config();
    let made = |role: &str| {
        let mut command = boothcast();
        command.args(["token", "create", "--role", role, "--config"]).arg(&config).kill_on_drop(true);
        async move {
            let out = command.output().await.unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
        }
    };
    let (manager, reader) = (made("manager").await, made("read-only").await);
    let manager = api::Api::new(&daemon.http(), Some(&manager));
    let reader = api::Api::new(&daemon.http(), Some(&reader));
    let event = manager.event(json!(["360p"])).await;
    let seen = reader.get(&format!("/api/v1/events/{}", event.id)).await.expect(200).json();
    assert_eq!(seen["name"], "End to end");
    reader.put(&format!("/api/v1/events/{}/status", event.id), json!({"status": "started"})).await.expect(403);
    reader.post("/api/v1/events", json!({"name": "no"})).await.expect(403);
    assert_eq!(event.get().await["status"], "inactive");
    let list = reader.get("/api/v1/events").await.expect(200).json();
    assert_eq!((list["items"].as_array().map(Vec::len), &list["next"]), (Some(1), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn terminating_drains_and_ends() {
    let card = Programme::card().await;
    let mut daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let mut encoder = card.publish(&event.publish_url());
    Master::wait(&api, &event.playlist(), Duration::from_secs(20)).await;
    let engines = daemon.engines();
    let asked = Instant::now();
    daemon.signal("TERM");
    let status = daemon.ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}:\n{}", daemon.log());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    encoder.ended(Duration::from_secs(5)).await;
    eventually(Duration::from_secs(2), "no codec process is left", || async {
        engines.iter().all(|e| !std::path::Path::new(&format!("/proc/{e}")).exists()).then_some(())
    })
    .await;
    daemon.restart().await;
    assert_eq!(event.get().await["status"], "started", "an orderly stop keeps events too");
}
