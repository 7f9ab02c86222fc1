//! SRT contribution by many makes of callers, and by those who should not get in.

use crate::support::api::Event;
use crate::support::daemon::Daemon;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{H264, Programme, Publisher};
use crate::support::signal::{frames, sound, tone};
use crate::support::{eventually, ffmpeg, free_port};
use bytes::Bytes;
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::process::Command;

const SECRET: &str = "two-ducks-and-a-goose";

fn srt_url(event: &Event) -> String {
    event.made["inputs"]["main"]["srt_url"].as_str().expect("an address for SRT").to_owned()
}

/// The same of the other input, which nobody feeds.
fn backup_url(event: &Event) -> String {
    event.made["inputs"]["backup"]["srt_url"].as_str().expect("an address for SRT").to_owned()
}

/// Waits until the input's health is as `wanted` says, and gives it.
async fn input(event: &Event, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(Duration::from_secs(30), what, || async {
        let main = event.inputs().await["main"].clone();
        wanted(&main).then_some(main)
    })
    .await
}

async fn live(event: &Event) -> Value {
    input(event, "the input is live", |main| main["state"] == "live" && main["video"]["fps"].is_number()).await
}

/// The test programme with 440 Hz on one sound track and 880 Hz on another.
async fn two_languages() -> Programme {
    let wave = "aevalsrc='0.3*sin(2*PI*440*t)|0.3*sin(2*PI*880*t)':s=48000";
    let split = "[1:a]asplit[a][b];[a]pan=mono|c0=c0[l];[b]pan=mono|c0=c1[r]";
    let maps = ["-filter_complex", split, "-map", "0:v", "-map", "[l]", "-map", "[r]"];
    let named = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"];
    let encode = [&maps[..], H264, &["-c:a", "aac", "-b:a", "96k"], &named].concat();
    Programme::new(&ffmpeg(), (320, 180, 25), wave, &encode).await
}

fn by_ffmpeg(programme: &Programme, url: &str) -> Publisher {
    programme.send(&["-f", "mpegts", url])
}

/// Two segments of the picture: every frame of them follows the one before.
async fn plays_without_a_gap(daemon: &Daemon, event: &Event) {
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(30)).await;
    let playlist = master.video(180);
    let newest = eventually(Duration::from_secs(20), "a first segment", || async {
        Media::get(&viewer, &playlist).await.newest()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recording = record(&viewer, &playlist, newest + 1..newest + 3, dir.path()).await;
    let frames = frames(&recording.file).await;
    // A copied source is cut at its own key frames.
    assert!((90..=150).contains(&frames.len()), "{}", frames.len());
    let steps = frames.windows(2).filter(|w| w[0].number.is_some() && w[1].number == w[0].number.map(|n| n + 1));
    let steps = steps.count();
    assert!(
        steps + 3 >= frames.len(),
        "{steps} of {} steps are from one frame to the next: {frames:?}",
        frames.len() - 1
    );
}

/// An event that copies its source's picture, so that a test's machine need not encode.
async fn copied(daemon: &Daemon, more: Value) -> Event {
    let mut settings = json!({"ladder": "passthrough"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let event = daemon.api().event_with(settings).await;
    event.status("started").await;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sound_tracks_of_ffmpeg_are_two_languages() {
    let programme = two_languages().await;
    let daemon = Daemon::start().await;
    assert!(daemon.addresses.contains_key("srt"), "{:?}", daemon.addresses);
    let languages = json!([{"language": "de", "kind": "broadcast", "track": 1}]);
    let event = daemon.api().event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    let url = srt_url(&event);
    let encoder = by_ffmpeg(&programme, &url);
    let main = live(&event).await;
    assert_eq!(main["protocol"], "srt");
    let named: Vec<(&Value, &Value)> =
        main["audio"].as_array().unwrap().iter().map(|a| (&a["track"], &a["language"])).collect();
    assert_eq!(named, [(&json!(0), &json!("eng")), (&json!(1), &json!("deu"))]);
    let main = input(&event, "SRT is measured", |m| m["srt"]["packets"].as_u64() > Some(0)).await;
    assert!(main["srt"]["latency_seconds"].as_f64() >= Some(0.12) && main["srt"]["encrypted"] == false, "{main:#}");
    assert!(main["rtt_seconds"].as_f64().is_some_and(|rtt| rtt > 0.0), "{main:#}");
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(30)).await;
    assert_eq!(master.languages(), ["en English", "de Deutsch"], "{}", encoder.log());
    let newest = eventually(Duration::from_secs(20), "a first segment", || async {
        Media::get(&viewer, &master.sound()).await.newest()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    for (playlist, own, other) in [(master.sound(), 440.0, 880.0), (master.language("de"), 880.0, 440.0)] {
        let heard = sound(&record(&viewer, &playlist, newest + 1..newest + 2, dir.path()).await.file).await;
        let samples = &heard.runs[0].1;
        let level = |hertz| tone(samples, heard.rate, hertz);
        assert!(level(own) > 0.1 && level(other) < level(own) / 30.0, "{own}: {} {}", level(own), level(other));
    }
    // A key is shown once; who sees the log sees none.
    let shown = event.get().await["inputs"]["main"]["srt_url"].as_str().unwrap().to_owned();
    assert!(url.contains("streamid=") && !shown.contains("streamid") && !shown.contains('?'), "{shown}");
    assert!(!daemon.log().contains(&event.rtmp_key), "a key in the log");
    encoder.kill().await;
    input(&event, "the input is offline", |m| m["state"] == "offline").await;
}

/// Calls once with a second of ffmpeg's, and gives what it said.
async fn called(url: &str) -> (bool, String) {
    let mut command = Command::new(ffmpeg());
    command.args(["-hide_banner", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25", "-t", "1"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-f", "mpegts", url]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn passphrases_of_both_lengths_open_and_wrong_ones_do_not() {
    let programme = Programme::small_card().await;
    let daemon = Daemon::start().await;
    let event = copied(&daemon, json!({})).await;
    let plain = srt_url(&event);
    for wrong in ["short", "ä-is-no-ascii-character", &"x".repeat(80)] {
        let body = json!({"inputs": {"main": {"srt_passphrase": wrong}}});
        let reply = daemon.api().patch(&format!("/api/v1/events/{}", event.id), body).await.expect(422);
        assert_eq!(reply.json()["errors"][0]["field"], "inputs.main.srt_passphrase");
    }
    let both = json!({"main": {"srt_passphrase": SECRET}, "backup": {"srt_passphrase": SECRET}});
    event.change(json!({"inputs": both})).await;
    let input_view = event.get().await["inputs"]["main"].clone();
    let secret = format!("passphrase={SECRET}&pbkeylen=32");
    assert!(input_view["srt_url"].as_str().unwrap().ends_with(&format!("?{secret}")), "{input_view:#}");
    assert_eq!(input_view["srt_encrypted"], true);

    let aes256 = by_ffmpeg(&programme, &format!("{plain}&{secret}"));
    let main = live(&event).await;
    let main = if main["srt"]["encrypted"] == true {
        main
    } else {
        input(&event, "it is encrypted", |m| m["srt"]["encrypted"] == true).await
    };
    let since = main["connected_since"].clone();

    // Those who do not get in are told why, and the publisher notices nothing of them.
    let idle = backup_url(&event);
    let request = plain.replace(&event.rtmp_key, &format!("%23!::r={},m=request", event.rtmp_key));
    for (url, reason) in [
        (format!("{idle}&passphrase=another-passphrase"), "Incorrect passphrase"),
        (idle.clone(), "Password required or unexpected"),
        // Of the codes of its access control libsrt 1.5.1 says no more than that.
        (format!("{plain}&{secret}"), "Application-defined rejection reason"),
        (plain.replace(&event.rtmp_key, "not-a-key"), "Application-defined rejection reason"),
        (plain.replace(&event.rtmp_key, "%23!::m=publish"), "Application-defined rejection reason"),
        (request, "Application-defined rejection reason"),
    ] {
        let (through, said) = called(&url).await;
        assert!(!through && said.contains(reason), "{reason}:\n{said}");
    }
    plays_without_a_gap(&daemon, &event).await;
    let main = input(&event, "it goes on", |m| m["state"] == "live").await;
    assert_eq!((&main["connected_since"], &main["timeline"]["dropped"]), (&since, &json!(0)), "{main:#}");
    let log = daemon.log();
    for reason in ["passphrase is wrong", "somebody else is publishing", "not known", "names no resource", "m=publish"]
    {
        assert!(log.contains(reason), "{reason} in\n{log}");
    }
    assert!(!log.contains(&event.rtmp_key) && !log.contains(SECRET), "a secret in the log");
    aes256.kill().await;
    input(&event, "the input is offline", |m| m["state"] == "offline").await;

    // The sender chooses the length; the form with names opens too.
    let named = plain.replace(&event.rtmp_key, &format!("%23!::r={},m=publish", event.rtmp_key));
    let _aes128 = by_ffmpeg(&programme, &format!("{named}&passphrase={SECRET}&pbkeylen=16"));
    let fed = |m: &Value| m["state"] == "live" && m["srt"]["encrypted"] == true && m["video"]["fps"].is_number();
    input(&event, "AES-128 gets in", fed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_event_says_so_to_libsrts_own_tool() {
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!("passthrough")).await;
    let port = free_port();
    let programme = Programme::small_card().await;
    let tool = Publisher::spawn(
        Path::new("srt-live-transmit"),
        &["-a:no", "-loglevel:note", &format!("udp://127.0.0.1:{port}"), &srt_url(&event)],
    );
    // It calls once there is something to send.
    let _encoder = programme.send(&["-f", "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316")]);
    eventually(Duration::from_secs(30), "both name the reason", || async {
        let told = tool.log().contains("Application-defined rejection reason");
        (told && daemon.log().contains("the event is inactive")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libsrts_own_tool_relays_a_transport_stream() {
    let programme = Programme::small_card().await;
    let daemon = Daemon::start().await;
    let event = copied(&daemon, json!({})).await;
    let port = free_port();
    let relay = Publisher::spawn(
        Path::new("srt-live-transmit"),
        &["-loglevel:error", &format!("udp://127.0.0.1:{port}"), &srt_url(&event)],
    );
    let _encoder = programme.send(&["-f", "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316")]);
    let main = live(&event).await;
    assert_eq!(
        (&main["video"]["codec"], &main["audio"][0]["codec"]),
        (&json!("h264"), &json!("aac")),
        "{}",
        relay.log()
    );
    plays_without_a_gap(&daemon, &event).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_srtsink() {
    let daemon = Daemon::start().await;
    let event = copied(&daemon, json!({"inputs": {"main": {"srt_passphrase": SECRET}}})).await;
    let address = daemon.addresses["srt"];
    let pipeline = format!(
        "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency \
         speed-preset=ultrafast key-int-max=25 bitrate=600 ! video/x-h264,profile=main ! h264parse ! mpegtsmux \
         alignment=7 name=mux ! srtsink uri=srt://{address} mode=caller streamid={} passphrase={SECRET} pbkeylen=16 \
         audiotestsrc is-live=true freq=440 ! audioconvert ! audio/x-raw,rate=48000,channels=2 ! voaacenc \
         bitrate=128000 ! aacparse ! mux.",
        event.rtmp_key
    );
    let args: Vec<&str> = ["-e", "-q"].into_iter().chain(pipeline.split_whitespace()).collect();
    let encoder = Publisher::spawn(Path::new("gst-launch-1.0"), &args);
    let main = live(&event).await;
    assert_eq!(
        (&main["video"]["codec"], &main["audio"][0]["codec"]),
        (&json!("h264"), &json!("aac")),
        "{}",
        encoder.log()
    );
    assert!((20.0..30.0).contains(&main["video"]["fps"].as_f64().unwrap()), "{main:#}");
    input(&event, "it is encrypted", |m| m["srt"]["encrypted"] == true).await;
    assert!(!encoder.log().contains("ERROR"), "{}", encoder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_implementation_gets_in() {
    let programme = Programme::small_card().await;
    let daemon = Daemon::start().await;
    let event = copied(&daemon, json!({"inputs": {"main": {"srt_passphrase": SECRET}}})).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let _encoder = programme.send(&["-f", "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316")]);
    let caller = srt_tokio::SrtSocket::builder().latency(Duration::from_millis(300)).encryption(16, SECRET);
    let address = daemon.addresses["srt"].to_string();
    let mut caller = caller.call(address.as_str(), Some(&event.rtmp_key)).await.expect("it gets in");
    let pump = tokio::spawn(async move {
        let mut datagram = [0; 2048];
        while let Ok(length) = socket.recv(&mut datagram).await {
            caller.send((Instant::now(), Bytes::copy_from_slice(&datagram[..length]))).await.expect("it is sent");
        }
    });
    let main = live(&event).await;
    assert_eq!(main["video"]["width"], 320);
    plays_without_a_gap(&daemon, &event).await;
    pump.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_and_ac3_come_in_a_transport_stream() {
    let hevc =
        ["-c:v", "libx265", "-preset", "ultrafast", "-b:v", "600k", "-g", "25", "-x265-params", "log-level=error"];
    let encode = [&hevc[..], &["-pix_fmt", "yuv420p", "-c:a", "ac3", "-b:a", "192k", "-ac", "2"]].concat();
    let wave = "aevalsrc='0.3*sin(2*PI*660*t)|0.3*sin(2*PI*660*t)':s=48000";
    let programme = Programme::new(&ffmpeg(), (320, 180, 25), wave, &encode).await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let encoder = by_ffmpeg(&programme, &srt_url(&event));
    let main = live(&event).await;
    assert_eq!(
        (&main["video"]["codec"], &main["audio"][0]["codec"]),
        (&json!("hevc"), &json!("ac3")),
        "{}",
        encoder.log()
    );
    plays_without_a_gap(&daemon, &event).await;
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(5)).await;
    // Those that exist may have begun before the sound did.
    let newest = Media::get(&viewer, &master.sound()).await.newest().expect("a segment");
    let dir = tempfile::tempdir().unwrap();
    let heard = sound(&record(&viewer, &master.sound(), newest + 1..newest + 3, dir.path()).await.file).await;
    assert!(tone(&heard.runs[0].1, heard.rate, 660.0) > 0.1);
}

/// The first message of a handshake: SRT's draft §3.2.1, version 4, induction.
fn induction(socket: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [0x8000_0000u32, 0, 0, 0, 4, 0x0000_0002, 1, 1500, 8192, 1, socket, 0, 0x0100_007f, 0, 0, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_disturb_a_publisher() {
    let programme = Programme::small_card().await;
    let daemon = Daemon::start().await;
    let event = copied(&daemon, json!({})).await;
    let url = srt_url(&event);
    let _encoder = by_ffmpeg(&programme, &url);
    let since = live(&event).await["connected_since"].clone();
    let at: SocketAddr = daemon.addresses["srt"];
    let noise = tokio::spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut seed = 1u64;
        let mut answer = [0; 2048];
        let mut cookies = 0;
        for round in 0..400u32 {
            let garbage: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            })
            .take((round as usize * 7) % 1472)
            .collect();
            let _ = socket.send_to(&garbage, at).await;
            // Handshakes that go no further.
            let _ = socket.send_to(&induction(round + 1), at).await;
            while let Ok(length) = socket.try_recv(&mut answer) {
                cookies += usize::from(length == 64);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cookies
    });
    // An encrypted caller to an event without a passphrase, by two implementations.
    let idle = backup_url(&event);
    let (through, said) = called(&format!("{idle}&passphrase={SECRET}")).await;
    assert!(!through && said.contains("Password required or unexpected"), "{said}");
    let key = event.made["inputs"]["backup"]["rtmp_key"].as_str().unwrap();
    let foreign = srt_tokio::SrtSocket::builder().encryption(16, SECRET);
    let refused = tokio::time::timeout(Duration::from_secs(20), foreign.call(at.to_string().as_str(), Some(key))).await;
    assert!(!matches!(refused, Ok(Ok(_))), "it got in");
    plays_without_a_gap(&daemon, &event).await;
    assert!(noise.await.unwrap() > 100, "handshakes are answered");
    let main = event.inputs().await["main"].clone();
    assert_eq!((&main["connected_since"], &main["timeline"]["dropped"]), (&since, &json!(0)), "{main:#}");
}
