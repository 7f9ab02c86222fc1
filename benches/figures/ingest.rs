//! Ten RTMP streams of 6 Mbps into low-latency HLS without an engine, beside nginx-rtmp making plain HLS of the same.

use crate::process::{Nginx, cpu};
use crate::source;
use crate::support::daemon::Daemon;
use crate::support::hls::{Master, Media};
use crate::support::publish::Publisher;
use crate::table::{Figure, Limit};
use serde_json::json;
use std::time::{Duration, Instant};

const STREAMS: usize = 10;
/// Connections made, playlists begun, buffers at the size at which they stay.
const WARM_UP: Duration = Duration::from_secs(8);
const MEASURE: Duration = Duration::from_secs(30);
/// CPU cores that MediaMTX takes per stream of 6 Mbps at ten streams, on the machine where nginx-rtmp takes
/// [`NGINX_RTMP`].
const MEDIAMTX: f64 = 0.0094;
const NGINX_RTMP: f64 = 0.0069;

/// Cores per stream that a process takes while the streams run.
async fn per_stream(pid: u32) -> f64 {
    tokio::time::sleep(WARM_UP).await;
    let (began, before) = (Instant::now(), cpu(pid));
    tokio::time::sleep(MEASURE).await;
    (cpu(pid) - before) / began.elapsed().as_secs_f64() / STREAMS as f64
}

pub async fn run() -> Vec<Figure> {
    let file = source::six().await;
    let ours = {
        let daemon = Daemon::start().await;
        let api = daemon.api();
        let mut events = Vec::new();
        for _ in 0..STREAMS {
            let event = api.event(json!("passthrough")).await;
            event.status("started").await;
            events.push(event);
        }
        let mut publishers: Vec<Publisher> =
            events.iter().map(|event| source::looped(&file, &event.publish_url())).collect();
        let ours = per_stream(daemon.pid()).await;
        assert!(daemon.engines().is_empty(), "passthrough needs no codec process");
        assert!(publishers.iter_mut().all(Publisher::running), "all are taken");
        for event in &events {
            let master = Master::wait(&api, &event.playlist(), Duration::from_secs(5)).await;
            let media = Media::get(&api, &master.video(1080)).await;
            assert!(media.segments.len() > 10 && media.text.contains("#EXT-X-PART:"), "{}", media.text);
        }
        ours
    };
    let theirs = {
        let nginx = Nginx::start(|port, dir| {
            let module = "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\nworker_processes 1;\nevents {}\n";
            let hls = format!("hls on; hls_path {}/hls; hls_fragment 2s; hls_playlist_length 32s;", dir.display());
            format!(
                "{module}rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 65536; application live {{ live on; {hls} }} }} }}"
            )
        });
        let mut publishers: Vec<Publisher> = (0..STREAMS)
            .map(|n| source::looped(&file, &format!("rtmp://127.0.0.1:{}/live/stream{n}", nginx.port)))
            .collect();
        let theirs = per_stream(nginx.pid()).await;
        assert!(publishers.iter_mut().all(Publisher::running), "all are taken");
        assert!(theirs > 0.0, "nginx-rtmp works");
        theirs
    };
    let figure = |limit| Figure::new("ingest: RTMP to HLS, ten of 6 Mbps", ours, "core each", limit);
    vec![
        figure(Limit::Most(MEDIAMTX)),
        figure(Limit::RatioMost((MEDIAMTX / NGINX_RTMP * 100.0).round() / 100.0)).beside("nginx-rtmp", theirs),
    ]
}
