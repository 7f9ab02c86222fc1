//! Resident memory of the daemon with one event without DVR on disk: a source of 6 Mbps passed on beside an encoded rung.

use crate::source;
use crate::support::daemon::{Daemon, resident};
use crate::support::hls::Master;
use crate::table::{Figure, Limit, quantile};
use serde_json::json;
use std::time::{Duration, Instant};

/// Segments, ring and history are full after it.
const WARM_UP: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_secs(2);
/// Growth from the first third of the time to the last that is no growth: a page here and there.
const FLAT: f64 = 1.0;

pub async fn run(minutes: f64) -> Vec<Figure> {
    let file = source::six().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let body = json!({
        "name": "Memory", "floor_language": "en", "ladder": ["source", "360p"], "dvr_window_seconds": 0,
    });
    let event = api.post("/api/v1/events", body).await.expect(201).json();
    let id = event["id"].as_str().unwrap();
    api.put(&format!("/api/v1/events/{id}/status"), json!({"status": "started"})).await.expect(200);
    let main = &event["inputs"]["main"];
    let url = format!("{}/{}", main["rtmp_url"].as_str().unwrap(), main["rtmp_key"].as_str().unwrap());
    let mut publisher = source::looped(&file, &url);
    let playlist = format!("{}/live/{id}/index.m3u8", daemon.http());
    Master::wait(&api, &playlist, Duration::from_secs(20)).await;
    tokio::time::sleep(WARM_UP).await;
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs_f64(minutes * 60.0) {
        samples.push((began.elapsed().as_secs_f64() / 3600.0, resident(daemon.pid())));
        tokio::time::sleep(SAMPLE).await;
    }
    assert!(publisher.running(), "the source runs");
    let values: Vec<f64> = samples.iter().map(|s| s.1).collect();
    let third = values.len() / 3;
    let growth = quantile(&values[values.len() - third..], 0.5) - quantile(&values[..third], 0.5);
    let most = quantile(&values, 1.0);
    vec![
        Figure::new(format!("memory: one event, most in {minutes} min"), most, "MB", Limit::Most(60.0)),
        Figure::new("memory: growth, last third on first", growth, "MB", Limit::Most(FLAT)),
        Figure::new("memory: slope", slope(&samples), "MB per h", Limit::None),
    ]
}

/// Least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let n = samples.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| samples.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(|s| s.0), mean(|s| s.1));
    let covariance: f64 = samples.iter().map(|s| (s.0 - x) * (s.1 - y)).sum();
    covariance / samples.iter().map(|s| (s.0 - x).powi(2)).sum::<f64>()
}
