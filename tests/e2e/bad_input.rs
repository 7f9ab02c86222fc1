//! Wrong, hostile and changing input: a clear error for whoever sent it, nothing for anybody else.

use crate::support::daemon::{Daemon, Options, boothcast};
use crate::support::ffmpeg;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{AAC, Programme};
use crate::support::signal::{frames, sound};
use crate::support::{api, eventually};
use serde_json::json;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Runs the binary with a configuration and waits for its end.
async fn run(arguments: &[&str], config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("boothcast.toml");
    std::fs::write(&file, format!("{config}\n")).unwrap();
    let mut command = boothcast();
    command.args(arguments).arg(&file).env("BOOTHCAST_ADMIN_TOKEN", "e2e-0123456789abcdef0123456789abcdef");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(15), output).await.expect("it ends by itself").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configuration_says_where_and_what_to_write() {
    let wrong = "[http]\nlisten = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"";
    for arguments in [&["check-config"][..], &["serve", "--config"][..]] {
        let output = run(arguments, wrong).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} took an unknown key");
        assert!(said.contains('3') && said.contains("listen_tls") && said.contains("tls_listen"), "{said}");
    }
    for (wrong, word) in [
        ("[http]\nlisten = 8080", "line 2"),
        ("[hls]\nmemory_segments = \"many\"", "line 2"),
        ("[http", "line"),
        (
            "[tls]\ncertificate = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n[http]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\n[store]\ndir = \"/tmp/boothcast-nowhere\"\n[rtmp]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"",
            "/nowhere/cert.pem",
        ),
    ] {
        let output = run(&["serve", "--config"], wrong).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{wrong}: {said}");
    }
    let output = run(&["check-config"], "[http]\nlisten = \"127.0.0.1:0\"").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let daemon = Daemon::start().await;
    for section in ["http", "rtmp", "metrics"] {
        let taken = daemon.addresses[section];
        let dir = tempfile::tempdir().unwrap();
        let mut config = format!("[store]\ndir = {:?}\n", dir.path());
        for name in ["http", "rtmp", "metrics"] {
            let at = if name == section { taken.to_string() } else { "127.0.0.1:0".to_owned() };
            config += &format!("[{name}]\nlisten = {at:?}\n");
        }
        let output = run(&["serve", "--config"], &config).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{section}: it started on a port in use");
        assert!(said.contains(&taken.to_string()), "{section}: {said}");
    }
    daemon.api().get("/readyz").await.expect(200);
}

/// Bytes that look random and are the same each time.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    })
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_disturbs_nobody() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let mut encoder = card.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let first = eventually(Duration::from_secs(15), "a segment", || async {
        Media::get(&viewer, &master.video(360)).await.newest()
    })
    .await;

    let pid = daemon.pid();
    let mut idle = Vec::new();
    for name in ["http", "rtmp", "metrics"] {
        let at = daemon.addresses[name];
        for seed in 1..20u64 {
            let mut socket = TcpStream::connect(at).await.unwrap();
            // RTMP's version byte first for half of them, so that the handshake is reached and passed.
            let mut bytes = noise(40_000, seed * 7919);
            if name == "rtmp" && seed % 2 == 0 {
                bytes[0] = 3;
            }
            // The peer may close while this is written: that is one right answer.
            let _ = socket.write_all(&bytes).await;
            let _ = tokio::time::timeout(Duration::from_millis(20), socket.read(&mut [0; 4096])).await;
        }
        // Peers that connect and say nothing, or half of something, and stay.
        for opening in
            [&b""[..], b"\x03", b"GET /live/", b"POST /api/v1/events HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n{"]
        {
            let mut socket = TcpStream::connect(at).await.unwrap();
            socket.write_all(opening).await.unwrap();
            idle.push(socket);
        }
    }
    let problem = api.post("/api/v1/events", json!({"name": "x", "colour": "red"})).await;
    assert!(problem.status.is_client_error(), "{}", problem.status);
    assert!(
        problem.header("content-type").starts_with("application/problem+json") && problem.text().contains("colour")
    );
    let huge = "x".repeat(3_000_000);
    let refused = api.try_call(reqwest::Method::POST, "/api/v1/events", Some(json!({"name": huge}))).await;
    assert!(refused.is_err() || refused.is_ok_and(|r| r.status.is_client_error()), "a body of 3 MB is no event");

    let dir = tempfile::tempdir().unwrap();
    let recording = record(&viewer, &master.video(360), first + 1..first + 5, dir.path()).await;
    let frames = frames(&recording.file).await;
    let steps =
        frames.windows(2).filter(|w| w[0].number.is_some() && w[1].number == w[0].number.map(|n| n + 1)).count();
    assert!(steps + 4 >= frames.len(), "the programme went on untouched: {steps} of {}", frames.len());
    assert!(encoder.running() && daemon.pid() == pid, "{}", encoder.log());
    let metrics = api::client().get(format!("http://{}/metrics", daemon.addresses["metrics"])).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("boothcast_") && !metrics.contains("boothcast_task_panics_total"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_keeps_the_ladder() {
    let card = Programme::card().await;
    let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1500k", "-g", "30", "-bf", "2"];
    let encode = [&encode[..], AAC, &["-ac", "1"]].concat();
    let other = Programme::card_with(&ffmpeg(), (854, 480, 30), 44_100, &encode).await;
    let daemon =
        Daemon::with(Options { sections: "[programme]\ndelay_seconds = 0.75".into(), ..Options::default() }).await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let viewer = api.anonymous();
    let first = card.publish(&event.publish_url());
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let video = master.video(360);
    let begin =
        eventually(Duration::from_secs(15), "a segment", || async { Media::get(&viewer, &video).await.newest() }).await;

    // The same encoder comes back with another size, rate and sound; the event has one frame rate all the same.
    first.kill().await;
    let mut second = other.publish(&event.publish_url());
    let dir = tempfile::tempdir().unwrap();
    let seen = record(&viewer, &video, begin..begin + 7, dir.path()).await;
    let heard = record(&viewer, &master.sound(), begin..begin + 7, dir.path()).await;
    assert!(second.running(), "{}", second.log());
    assert!(seen.segments.iter().chain(&heard.segments).all(|s| !s.gap && !s.discontinuity), "{:#?}", seen.segments);
    let frames = frames(&seen.file).await;
    assert_eq!(frames.len(), 7 * 48);
    assert!(frames.windows(2).all(|w| (w[1].at - w[0].at - 0.04).abs() < 1e-3), "one timeline at one rate");
    let sound = sound(&heard.file).await;
    assert_eq!((sound.runs.len(), sound.rate), (1, 48_000));
    let inputs = event.inputs().await;
    assert_eq!(
        (&inputs["main"]["video"]["width"], &inputs["main"]["video"]["height"]),
        (&json!(854), &json!(480)),
        "{inputs:#}"
    );
    // The second source is on screen: its numbers began again at 0 after those of the first.
    let numbers: Vec<u32> = frames.iter().filter_map(|f| f.number).collect();
    assert!(numbers.windows(2).any(|w| w[1] < w[0]), "{numbers:?}");
    assert!(numbers.last().is_some_and(|n| *n > 60), "{numbers:?}");
}
