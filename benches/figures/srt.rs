//! SRT beside srt-live-transmit, libsrt's own tool: CPU of receiving, and what a bad network takes from each.

use crate::process::cpu;
use crate::source;
use crate::support::api::Event;
use crate::support::daemon::Daemon;
use crate::support::ffmpeg;
use crate::support::hls::{Master, Media};
use crate::support::lossy::{Link, Lossy};
use crate::support::publish::Publisher;
use crate::table::{Figure, Limit};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STREAMS: usize = 5;
/// Connections made, playlists begun.
const WARM_UP: Duration = Duration::from_secs(8);
const MEASURE: Duration = Duration::from_secs(30);
/// Of the network that loses, each way.
const DELAY: Duration = Duration::from_millis(25);
/// Of SRT on that network, in milliseconds.
const LATENCY: u64 = 200;
const LOSSES: [f64; 3] = [0.02, 0.05, 0.1];
/// How long each loss is measured: at 2 % some minutes pass between two packets that are lost for good.
const LOSSY: Duration = Duration::from_secs(60);
/// What an SRT packet carries.
const TS_PACKETS: f64 = 7.0;

/// srt-live-transmit as a listener that throws away what it gets.
struct Tool {
    process: Child,
    address: SocketAddr,
    stats: tempfile::NamedTempFile,
}

impl Tool {
    fn start() -> Tool {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let stats = tempfile::NamedTempFile::new().unwrap();
        let from = format!("srt://127.0.0.1:{port}?mode=listener");
        let out = stats.path().to_str().expect("a path that is text");
        let process = Command::new("srt-live-transmit")
            .args(["-loglevel:error", "-stats:500", "-fullstats", "-statspf:json", &format!("-statsout:{out}")])
            .args([&from, "file://con"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("srt-live-transmit starts: run scripts/setup bench");
        Tool { process, address: SocketAddr::from(([127, 0, 0, 1], port)), stats }
    }

    /// Packets that it got, and those that it gave up, since it began.
    fn counted(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(self.stats.path()).unwrap();
        // The last line may be half written.
        let last = text.lines().rev().find_map(|l| serde_json::from_str::<Value>(l.trim_matches(',')).ok());
        let last = last.unwrap_or_else(|| panic!("srt-live-transmit tells nothing:\n{text}"));
        let recv = |name: &str| last["recv"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {last:#}"));
        (recv("packets"), recv("packetsDropped"))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// ffmpeg calling an SRT listener with the file in a loop, in real time.
fn called(file: &Path, url: &str) -> Publisher {
    let args = ["-hide_banner", "-nostdin", "-v", "warning", "-re", "-stream_loop", "-1", "-i"];
    Publisher::spawn(&ffmpeg(), &[&args[..], &[file.to_str().unwrap(), "-c", "copy", "-f", "mpegts", url]].concat())
}

async fn events(daemon: &Daemon, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..count {
        let event = daemon.api().event(json!("passthrough")).await;
        event.status("started").await;
        events.push(event);
    }
    events
}

fn url(event: &Event) -> &str {
    event.made["inputs"]["main"]["srt_url"].as_str().expect("an address for SRT")
}

/// Cores per stream that processes take together while the streams run.
async fn per_stream(pids: &[u32]) -> f64 {
    tokio::time::sleep(WARM_UP).await;
    let used = || pids.iter().map(|&pid| cpu(pid)).sum::<f64>();
    let (began, before) = (Instant::now(), used());
    tokio::time::sleep(MEASURE).await;
    (used() - before) / began.elapsed().as_secs_f64() / STREAMS as f64
}

/// Cores per stream, ours and the tool's. Ours also takes the transport stream apart and makes low-latency HLS of it; the
/// tool copies it to nowhere.
async fn receiving(file: &Path) -> (f64, f64) {
    let ours = {
        let daemon = Daemon::start().await;
        let events = events(&daemon, STREAMS).await;
        let mut publishers: Vec<Publisher> = events.iter().map(|event| called(file, url(event))).collect();
        let ours = per_stream(&[daemon.pid()]).await;
        assert!(publishers.iter_mut().all(Publisher::running), "all are taken");
        let api = daemon.api();
        for event in &events {
            let master = Master::wait(&api, &event.playlist(), Duration::from_secs(5)).await;
            assert!(Media::get(&api, &master.video(1080)).await.segments.len() > 10, "it is played");
        }
        ours
    };
    let tools: Vec<Tool> = (0..STREAMS).map(|_| Tool::start()).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut publishers: Vec<Publisher> =
        tools.iter().map(|tool| called(file, &format!("srt://{}", tool.address))).collect();
    let pids: Vec<u32> = tools.iter().map(|tool| tool.process.id()).collect();
    let theirs = per_stream(&pids).await;
    assert!(publishers.iter_mut().all(Publisher::running), "all are taken");
    assert!(tools.iter().all(|tool| tool.counted().0 > 10_000), "all get what is sent");
    (ours, theirs)
}

/// Transport stream packets that ours and the tool's streams miss, of how many, both at the same time behind networks of
/// their own that lose so much.
async fn missing(file: &Path, loss: f64) -> (f64, f64, f64) {
    let daemon = Daemon::start().await;
    let event = events(&daemon, 1).await.remove(0);
    let tool = Tool::start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let link = Link { loss, delay: DELAY, ..Link::default() };
    let (near, far) = (daemon.addresses["srt"], tool.address);
    let (ours, theirs) = (Lossy::before(near, link).await, Lossy::before(far, link).await);
    // ffmpeg counts the latency in microseconds.
    let latency = format!("latency={}", LATENCY * 1000);
    let to_us = url(&event).replace(&near.to_string(), &ours.address.to_string());
    let mut publishers =
        [called(file, &format!("{to_us}&{latency}")), called(file, &format!("srt://{}?{latency}", theirs.address))];
    tokio::time::sleep(WARM_UP).await;
    let counted = async || {
        let srt = event.inputs().await["main"]["srt"].clone();
        assert_eq!(srt["latency_seconds"], LATENCY as f64 / 1e3, "{srt:#}");
        [srt["packets"].as_u64().unwrap(), srt["dropped"].as_u64().unwrap()]
    };
    let (before, peers_before) = (counted().await, tool.counted());
    tokio::time::sleep(LOSSY).await;
    let (after, peers_after) = (counted().await, tool.counted());
    assert!(publishers.iter_mut().all(Publisher::running), "both go on");
    let ts = |packets: u64| packets as f64 * TS_PACKETS;
    (ts(after[1] - before[1]), ts(peers_after.1 - peers_before.1), ts(after[0] - before[0]))
}

pub async fn run() -> Vec<Figure> {
    let file = source::six().await;
    let (ours, theirs) = receiving(&file).await;
    let mut figures = vec![
        Figure::new("srt: received and made HLS, five of 6 Mbps", ours, "core each", Limit::RatioMost(1.0))
            .beside("srt-live-transmit", theirs),
    ];
    for loss in LOSSES {
        let (ours, theirs, of) = missing(&file, loss).await;
        let name = format!("srt: TS packets missing of {of:.0}, {:.0} % loss", loss * 100.0);
        let limit = Limit::CountMost(TS_PACKETS);
        figures.push(Figure::new(name, ours, "packets", limit).beside("srt-live-transmit", theirs));
    }
    figures
}
