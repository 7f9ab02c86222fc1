//! Segments and playlists to `wrk` over kept connections, beside nginx serving the same bytes from files: segments by
//! sendfile, playlists compressed beforehand.

use crate::process::{Nginx, cpu};
use crate::source;
use crate::support::daemon::{Daemon, Options};
use crate::support::hls::{Master, Media};
use crate::support::{api, eventually};
use crate::table::{Figure, Limit};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Ours and nginx take turns, so that what else the machine does meets both.
const ROUNDS: usize = 3;
const ROUND_SECONDS: u32 = 5;
/// Segments that the players of a live event ask for at a time.
const SEGMENTS: usize = 4;
const CONNECTIONS: u32 = 32;

/// What one load took of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    requests: f64,
    bytes: f64,
    cpu: f64,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.cpu += other.cpu;
    }

    fn cpu_per_gigabyte(self) -> f64 {
        self.cpu / (self.bytes / 1e9)
    }

    fn requests_per_cpu(self) -> f64 {
        self.requests / self.cpu
    }
}

/// Asks for the paths in turn; every answer must be 200.
async fn load(dir: &Path, port: u16, pid: u32, paths: &[String], gzip: bool) -> Load {
    let script = dir.join("load.lua");
    let list: Vec<String> = paths.iter().map(|p| format!("{p:?}")).collect();
    let header = if gzip { "wrk.headers['Accept-Encoding'] = 'gzip'\n" } else { "" };
    let text = format!(
        "{header}local paths, requests, n = {{{}}}, {{}}, 0\n\
         function init()\n for i, path in ipairs(paths) do requests[i] = wrk.format('GET', path) end\nend\n\
         function request()\n n = n % #paths + 1\n return requests[n]\nend\n\
         function done(summary)\n local e = summary.errors\n\
         print(string.format('TOTAL %d %d %d', summary.requests, summary.bytes, \
         e.connect + e.read + e.write + e.status + e.timeout))\nend\n",
        list.join(", ")
    );
    std::fs::write(&script, text).unwrap();
    let before = cpu(pid);
    let out = Command::new("wrk")
        .args(["-t1", "--timeout", "20s", &format!("-c{CONNECTIONS}"), &format!("-d{ROUND_SECONDS}"), "-s"])
        .arg(&script)
        .arg(format!("http://127.0.0.1:{port}"))
        .output()
        .await
        .expect("wrk starts: run scripts/setup bench");
    let cpu = cpu(pid) - before;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let total = text.lines().find_map(|l| l.strip_prefix("TOTAL ")).unwrap_or_else(|| panic!("wrk said\n{text}"));
    let numbers: Vec<f64> = total.split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(numbers[0] > 0.0 && numbers[2] == 0.0, "errors in {text}");
    Load { requests: numbers[0], bytes: numbers[1], cpu }
}

/// The path of an address of the daemon.
fn path(url: &str) -> String {
    reqwest::Url::parse(url).unwrap().path().to_owned()
}

/// Puts what the daemon answers where nginx finds it; gives its length.
async fn keep(client: &reqwest::Client, url: &str, gzip: bool, root: &Path) -> usize {
    let mut request = client.get(url);
    if gzip {
        request = request.header("accept-encoding", "gzip");
    }
    let answer = request.send().await.unwrap();
    let packed = answer.headers().get("content-encoding").is_some_and(|v| v == "gzip");
    assert!(answer.status() == 200 && packed == gzip, "{url}: {answer:?}");
    let bytes = answer.bytes().await.unwrap();
    let name = path(url);
    let file = root.join(name.trim_start_matches('/')).with_added_extension(if gzip { "gz" } else { "" });
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    bytes.len()
}

fn nginx(root: &Path) -> Nginx {
    let root = root.display().to_string();
    Nginx::start(|port, _| {
        format!(
            "worker_processes auto;\nevents {{ worker_connections 4096; }}\nhttp {{ include /etc/nginx/mime.types; \
             access_log off; sendfile on; tcp_nopush on; gzip_static on; keepalive_requests 1000000000; \
             server {{ listen 127.0.0.1:{port}; root {root}; add_header Cache-Control 'public, max-age=1'; \
             add_header Access-Control-Allow-Origin '*'; }} }}"
        )
    })
}

pub async fn run() -> Vec<Figure> {
    let file = source::six().await;
    // The load comes from one address.
    let daemon = Daemon::with(Options { http: "head_timeout_seconds = 60.0".into(), ..Options::default() }).await;
    let api = daemon.api();
    let event = api.event(json!("passthrough")).await;
    event.status("started").await;
    let publisher = source::looped(&file, &event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let video = master.video(1080);
    let media = eventually(Duration::from_secs(40), "ten segments", || async {
        let media = Media::get(&viewer, &video).await;
        (media.segments.iter().filter(|s| !s.gap).count() >= 10).then_some(media)
    })
    .await;
    // From here on nothing changes, and both serve the same bytes.
    publisher.kill().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let segments: Vec<String> = media.segments.iter().rev().take(SEGMENTS).map(|s| s.uri.clone()).collect();
    let dir = tempfile::tempdir().unwrap();
    let client = api::builder().no_gzip().build().unwrap();
    for url in &segments {
        keep(&client, url, false, dir.path()).await;
    }
    // nginx answers the compressed form only where the plain one is, too.
    keep(&client, &video, false, dir.path()).await;
    let length = keep(&client, &video, true, dir.path()).await;
    let nginx = nginx(dir.path());
    let (ours, theirs) = ((daemon.addresses["http"].port(), daemon.pid()), (nginx.port, nginx.pid()));
    let segments: Vec<String> = segments.iter().map(|s| path(s)).collect();
    let playlist = [path(&video)];
    let mut measured = [[Load::default(); 2]; 2];
    for _ in 0..ROUNDS {
        for (who, (port, pid)) in [ours, theirs].into_iter().enumerate() {
            measured[0][who].add(load(dir.path(), port, pid, &segments, false).await);
            measured[1][who].add(load(dir.path(), port, pid, &playlist, true).await);
        }
    }
    let [segments, playlists] = measured;
    vec![
        Figure::new(
            "serving: segments of 1.5 MB",
            segments[0].cpu_per_gigabyte(),
            "CPU s per GB",
            Limit::RatioMost(1.0),
        )
        .beside("nginx", segments[1].cpu_per_gigabyte()),
        Figure::new(
            format!("serving: playlist, {length} bytes gzip"),
            playlists[0].requests_per_cpu(),
            "per CPU s",
            Limit::RatioLeast(1.0),
        )
        .beside("nginx", playlists[1].requests_per_cpu()),
    ]
}
