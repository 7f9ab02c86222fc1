//! Inputs that the daemon fetches itself: heard by viewers, back by themselves, and never from where they must not come.

use crate::support::api::{Api, Event};
use crate::support::booth::{levels, median};
use crate::support::daemon::{Daemon, Lines, Options, signal};
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{AAC, Programme, Publisher};
use crate::support::signal::sound;
use crate::support::sse::Events;
use crate::support::{eventually, ffmpeg, free_port, root};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// For what must come on a busy machine: reconnecting waits up to 15 s.
const SOON: Duration = Duration::from_secs(45);

async fn daemon() -> Daemon {
    let sections = "[outgoing]\nallow_private = true".to_owned();
    Daemon::with(Options { sections, ..Options::default() }).await
}

/// nginx-rtmp, without relays or files.
fn nginx(dir: &Path, port: u16) -> Publisher {
    let dir = dir.display();
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\ndaemon off; pid {dir}/pid; error_log stderr warn;\n\
         worker_processes 1;\nevents {{}}\nrtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}\n"
    );
    let file = format!("{dir}/nginx.conf");
    std::fs::write(&file, text).unwrap();
    // In the foreground with one process, which ends when it is killed.
    Publisher::spawn(Path::new("/usr/sbin/nginx"), &["-c", &file, "-e", "stderr", "-g", "master_process off;"])
}

async fn listens(port: u16) {
    eventually(SOON, "the server listens", || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
}

fn pull_path(event: &Event, input: &str) -> String {
    format!("/api/v1/events/{}/inputs/{input}/pull", event.id)
}

async fn pull(api: &Api, event: &Event, url: &str) -> Value {
    api.put(&pull_path(event, "main"), json!({"url": url})).await.expect(200).json()
}

/// Waits until an input is as it should be.
async fn main_is(event: &Event, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let last = std::sync::Mutex::new(Value::Null);
    let look = || async {
        let main = event.inputs().await["main"].clone();
        *last.lock().unwrap() = main.clone();
        fits(&main).then_some(main)
    };
    match tokio::time::timeout(SOON, eventually(SOON * 2, what, look)).await {
        Ok(main) => main,
        Err(_) => panic!("main is not {what}: {:#}", last.lock().unwrap()),
    }
}

async fn live(event: &Event) -> Value {
    main_is(event, "live", |main| main["state"] == "live" && main["pull"]["state"] == "receiving").await
}

/// The level of a tone in two segments that are still to come, dB.
async fn heard(viewer: &Api, event: &Event, hertz: f64) -> f64 {
    let master = Master::wait(viewer, &event.playlist(), SOON).await;
    let newest = eventually(SOON, "a segment", || async { Media::get(viewer, &master.sound()).await.newest() }).await;
    let dir = tempfile::tempdir().unwrap();
    let heard = sound(&record(viewer, &master.sound(), newest + 1..newest + 3, dir.path()).await.file).await;
    median(levels(&heard, hertz, 0.05).into_iter().map(|(_, db)| db).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rtmp_is_heard_comes_back_by_itself_and_ends_when_it_is_deleted() {
    let programme = Programme::tone(1000.0, 0.2).await;
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut daemon = daemon().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("started").await;
    let server = nginx(dir.path(), port);
    listens(port).await;
    let at = format!("rtmp://127.0.0.1:{port}/live/stream");
    let encoder = programme.publish(&at);

    let view = pull(&api, &event, &format!("{at}?token=sekrit-0815")).await;
    assert_eq!(view["pull"]["url"], format!("{at}?***"));
    let main = live(&event).await;
    assert_eq!((&main["protocol"], &main["video"]["codec"]), (&json!("rtmp"), &json!("h264")), "{main:#}");
    assert_eq!(main["pull"]["last_error"], Value::Null);
    let viewer = api.anonymous();
    let level = heard(&viewer, &event, 1000.0).await;
    assert!((level + 13.98).abs() < 0.5, "the tone is heard as it was sent: {level:.2} dB");

    server.kill().await;
    drop(encoder);
    let main = main_is(&event, "waiting", |main| main["state"] == "waiting").await;
    assert!(main["pull"]["last_error"].as_str().is_some_and(|e| e.len() > 10), "{main:#}");
    assert!(main["pull"]["next_attempt_at"].is_string(), "{main:#}");
    let server = nginx(dir.path(), port);
    listens(port).await;
    let encoder = programme.publish(&at);
    live(&event).await;

    // It belongs to the event, and so to its next run.
    daemon.kill().await;
    let log = daemon.log();
    daemon.restart().await;
    live(&event).await;
    assert!(!(log + &daemon.log()).contains("sekrit"), "no log line shows the query");

    api.call(reqwest::Method::DELETE, &pull_path(&event, "main"), None).await.expect(204);
    let main = event.inputs().await["main"].clone();
    assert_eq!((&main["state"], &main["pull"]), (&json!("offline"), &Value::Null), "at once: {main:#}");
    assert_eq!(event.get().await["inputs"]["main"]["pull"], Value::Null);
    // And the input is free for an encoder, which an address set meanwhile leaves alone.
    let pushed = programme.publish(&event.publish_url());
    main_is(&event, "published", |main| main["state"] == "live").await;
    pull(&api, &event, &at).await;
    let main = main_is(&event, "left to the encoder", |main| main["pull"]["state"] == "waiting").await;
    assert!(main["state"] == "live" && main["pull"]["last_error"].as_str().unwrap().contains("somebody else"));
    drop(pushed);
    live(&event).await;
    // An encoder that may take over does, as from any other publisher.
    event.change(json!({"inputs": {"main": {"takeover": true}}})).await;
    let pushed = programme.publish(&event.publish_url());
    main_is(&event, "taken over", |main| main["state"] == "live" && main["pull"]["state"] == "waiting").await;
    drop((server, encoder, pushed));
}

/// TLS with a certificate of its own for `localhost`, in front of another server; gives its port.
async fn tls_front(certificate: &Path, to: u16) -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(socket).await else { return };
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn rtmps_is_pulled_from_whom_this_machine_trusts_alone() {
    let programme = Programme::tone(1000.0, 0.2).await;
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let certificate = dir.path().join("server.crt");
    let front = tls_front(&certificate, port).await;
    let sections = "[outgoing]\nallow_private = true".to_owned();
    let env = vec![("SSL_CERT_FILE".to_owned(), certificate.display().to_string())];
    let daemon = Daemon::with(Options { sections, env, ..Options::default() }).await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("preview").await;
    let _server = nginx(dir.path(), port);
    listens(port).await;
    let _encoder = programme.publish(&format!("rtmp://127.0.0.1:{port}/live/stream"));
    // The certificate is for another name.
    pull(&api, &event, &format!("rtmps://127.0.0.1:{front}/live/stream")).await;
    let main = main_is(&event, "refused", |main| main["pull"]["last_error"].is_string()).await;
    assert!(main["pull"]["last_error"].as_str().unwrap().contains("no TLS"), "{main:#}");
    pull(&api, &event, &format!("rtmps://localhost:{front}/live/stream")).await;
    assert_eq!(live(&event).await["protocol"], "rtmps");
}

/// gst-rtsp-server, which plays a file to those who know the password.
struct RtspServer {
    child: tokio::process::Child,
    said: Lines,
    log: Lines,
}

impl RtspServer {
    async fn start(programme: &Programme, codec: &str, port: u16) -> RtspServer {
        // gstreamer's binding is Debian's.
        let mut child = tokio::process::Command::new("/usr/bin/python3")
            .arg(root().join("tests/e2e/peers/rtsp_server.py"))
            .arg(programme.file())
            .args([codec, &port.to_string(), "viewer", "p@ss-0815"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (said, log) = (Lines::read(child.stdout.take().unwrap()), Lines::read(child.stderr.take().unwrap()));
        let server = RtspServer { child, said, log };
        eventually(SOON, "the RTSP server listens", || async {
            server.said.find(|line| line.contains("ready").then_some(()))
        })
        .await;
        server
    }

    fn signal(&self, name: &str) {
        signal(self.child.id().expect("it runs"), name);
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the RTSP server\n{}\n---", self.log.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rtsp_is_heard_and_a_frozen_server_is_left_and_found_again() {
    // With B-frames, whose decoding times RTP does not tell.
    let h264 =
        ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "600k", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"];
    let tone = "aevalsrc='0.2*sin(2*PI*1000*t)|0.2*sin(2*PI*1000*t)':s=48000";
    let programme = Programme::new(&ffmpeg(), (320, 180, 25), tone, &[&h264[..], AAC].concat()).await;
    let daemon = daemon().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("started").await;
    let port = free_port();
    let server = RtspServer::start(&programme, "h264", port).await;

    pull(&api, &event, &format!("rtsp://viewer:wrong@127.0.0.1:{port}/stream")).await;
    let main = main_is(&event, "refused", |main| main["pull"]["last_error"].is_string()).await;
    assert!(main["pull"]["last_error"].as_str().unwrap().contains("user and password"), "{main:#}");

    let view = pull(&api, &event, &format!("rtsp://viewer:p%40ss-0815@127.0.0.1:{port}/stream")).await;
    assert_eq!(view["pull"]["url"], format!("rtsp://***@127.0.0.1:{port}/stream"));
    let main = live(&event).await;
    assert_eq!((&main["protocol"], &main["pull"]["last_error"]), (&json!("rtsp"), &Value::Null), "{main:#}");
    let level = heard(&api.anonymous(), &event, 1000.0).await;
    assert!((level + 13.98).abs() < 0.5, "the tone is heard as it was sent: {level:.2} dB");
    let main = event.inputs().await["main"].clone();
    assert_eq!((&main["video"]["b_frames"], &main["video"]["height"]), (&json!(true), &json!(180)), "{main:#}");
    assert_eq!((&main["timeline"]["jumps"], &main["timeline"]["dropped"]), (&json!(0), &json!(0)), "{main:#}");

    // It answers nothing any more and breaks no connection.
    server.signal("STOP");
    let left = |main: &Value| {
        let state = main["state"] == "waiting" || main["state"] == "connecting";
        // The state may be seen before why.
        state && main["pull"]["last_error"].is_string()
    };
    let main = main_is(&event, "left", left).await;
    assert!(main["pull"]["last_error"].as_str().unwrap().contains("no sound or picture"), "{main:#}");
    server.signal("CONT");
    live(&event).await;
    assert!(!daemon.log().contains("ss-0815"), "no log line shows the password");
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_is_pulled_by_rtsp() {
    let x265 = "keyint=25:bframes=3:log-level=error";
    let hevc =
        ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", x265, "-pix_fmt", "yuv420p", "-tag:v", "hvc1"];
    let tone = "aevalsrc='0.2*sin(2*PI*1000*t)':s=48000";
    let programme = Programme::new(&ffmpeg(), (320, 180, 25), tone, &[&hevc[..], AAC].concat()).await;
    let daemon = daemon().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("started").await;
    let port = free_port();
    let _server = RtspServer::start(&programme, "h265", port).await;
    pull(&api, &event, &format!("rtsp://viewer:p%40ss-0815@127.0.0.1:{port}/stream")).await;
    live(&event).await;
    let master = Master::wait(&api.anonymous(), &event.playlist(), SOON).await;
    assert_eq!(master.resolutions(), ["320x180"], "never above the source");
    let main = event.inputs().await["main"].clone();
    assert_eq!((&main["video"]["codec"], &main["video"]["b_frames"]), (&json!("hevc"), &json!(true)), "{main:#}");
    assert_eq!((&main["timeline"]["jumps"], &main["timeline"]["dropped"]), (&json!(0), &json!(0)), "{main:#}");
}

/// An address that the world takes for public, on this machine's loopback interface.
struct PublicAddress(&'static str);

impl PublicAddress {
    fn new(address: &'static str) -> PublicAddress {
        PublicAddress::ip("add", address);
        PublicAddress(address)
    }

    fn ip(what: &str, address: &str) {
        let args = ["addr", what, &format!("{address}/32"), "dev", "lo"];
        let done = std::process::Command::new("ip").args(args).output().unwrap();
        assert!(done.status.success() || what == "del", "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for PublicAddress {
    fn drop(&mut self) {
        PublicAddress::ip("del", self.0);
    }
}

/// Counts who connects, and says nothing.
async fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            held.push(socket);
        }
    });
    (at, count)
}

/// One AMF0 string with its marker.
fn string(text: &str) -> Vec<u8> {
    [&[2][..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A member's name in an object.
fn name(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// An RTMP server that sends everybody elsewhere, as Adobe's does.
async fn redirecting(at: &str, to: String) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut hello = [0; 1537];
            if socket.read_exact(&mut hello).await.is_err() {
                continue;
            }
            let answer = [&[3][..], &[0; 1536], &hello[1..]].concat();
            socket.write_all(&answer).await.unwrap();
            // C2 and the beginning of `connect`.
            let _ = socket.read_exact(&mut [0; 1600]).await;
            let end = [0, 0, 9];
            let ex = [&[3][..], &name("redirect"), &string(&to), &end].concat();
            let code = string("NetConnection.Connect.Rejected");
            let info = [&[3][..], &name("code"), &code, &name("ex"), &ex, &end].concat();
            let body = [string("_error"), [&[0][..], &1f64.to_be_bytes()].concat(), vec![5], info].concat();
            // A chunk size that holds all of it, then the command.
            let mut out = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
            let length = (body.len() as u32).to_be_bytes();
            out.extend([3, 0, 0, 0, length[1], length[2], length[3], 20, 0, 0, 0, 0]);
            out.extend(body);
            let _ = socket.write_all(&out).await;
            let _ = socket.read(&mut [0; 4096]).await;
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_is_refused_and_never_connected_to() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("preview").await;
    let (inside, connections) = silent().await;
    let wrong = [
        (format!("rtmp://{inside}/live/x"), "loopback"),
        (format!("rtmp://localhost:{}/live/x", inside.port()), "loopback"),
        (format!("rtmp://[::ffff:127.0.0.1]:{}/live/x", inside.port()), "loopback"),
        ("rtmp://169.254.169.254/latest/meta-data".to_owned(), "link-local"),
        ("rtmp://2130706433/live/x".to_owned(), "loopback"),
        ("rtmp://does-not-exist.invalid/live/x".to_owned(), "cannot be resolved"),
        (format!("srt://{inside}"), "loopback"),
        ("srt://203.0.113.1:9000?mode=listener".to_owned(), "must listen"),
        ("http://example.com/live.m3u8".to_owned(), "http://"),
        ("rtmp://example.com/live".to_owned(), "names no stream"),
        ("what?".to_owned(), "no address"),
    ];
    for (url, words) in wrong {
        let reply = api.put(&pull_path(&event, "main"), json!({"url": url})).await.expect(422).json();
        assert_eq!(reply["errors"][0]["field"], "url", "{reply:#}");
        let message = reply["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words) && reply["detail"].as_str().unwrap().contains(words), "{url}: {message}");
    }
    assert_eq!(event.get().await["inputs"]["main"]["pull"], Value::Null);

    // What is public may send elsewhere; there it is checked again.
    let public = PublicAddress::new("44.128.15.1");
    let at = redirecting(public.0, format!("rtmp://{inside}/live/x?key=sekrit-0815")).await;
    pull(&api, &event, &format!("rtmp://{at}/live/x")).await;
    let main = main_is(&event, "refused", |main| main["pull"]["last_error"].is_string()).await;
    let error = main["pull"]["last_error"].as_str().unwrap();
    assert!(error.contains("loopback") && !error.contains("sekrit"), "{main:#}");
    // By RTSP the same.
    let listener = TcpListener::bind((public.0, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let answer = format!("RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://{inside}/x\r\n\r\n");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    pull(&api, &event, &format!("rtsp://{at}/live/x")).await;
    let refused = |main: &Value| main["protocol"] == "rtsp" && main["pull"]["last_error"].is_string();
    let main = main_is(&event, "refused again", refused).await;
    assert!(main["pull"]["last_error"].as_str().unwrap().contains("loopback"), "{main:#}");
    assert_eq!(connections.load(Ordering::Relaxed), 0, "never connected to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_told_in_words_and_left() {
    let daemon = daemon().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    let (at, connections) = silent().await;
    pull(&api, &event, &format!("rtmp://{at}/live/x")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(connections.load(Ordering::Relaxed), 0, "an inactive event pulls nothing");
    let mut told = Events::new(api.stream(&format!("/api/v1/events/{}/stream", event.id), "text/event-stream").await);
    event.status("preview").await;
    main_is(&event, "connecting", |main| main["state"] == "connecting" && main["protocol"] == "rtmp").await;
    let main = main_is(&event, "told", |main| main["pull"]["last_error"].is_string()).await;
    assert!(main["pull"]["last_error"].as_str().unwrap().contains("did not answer"), "{main:#}");
    assert!(main["warnings"][0].as_str().unwrap().contains("did not answer"), "{main:#}");
    let (notice, _) = told.next(SOON, "a notice", |e| e["type"] == "input" && e["state"] == "waiting").await;
    assert_eq!((&notice["input"], &notice["protocol"]), (&json!("main"), &json!("rtmp")), "{notice:#}");
    assert!(notice["error"].as_str().unwrap().contains("did not answer") && notice["next_attempt_at"].is_string());
    eventually(SOON, "another attempt", || async { (connections.load(Ordering::Relaxed) > 1).then_some(()) }).await;
    event.status("inactive").await;
    let seen = connections.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(connections.load(Ordering::Relaxed), seen, "an event that ends pulls no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_is_called_with_its_passphrase_and_called_again() {
    let programme = Programme::tone(1000.0, 0.2).await;
    let daemon = daemon().await;
    let api = daemon.api();
    let event = api.event(json!(["240p"])).await;
    event.status("started").await;
    let port = free_port();
    // ffmpeg as the server: it waits for one caller, and is started again after each.
    let serve = || {
        programme.send(&["-f", "mpegts", &format!("srt://127.0.0.1:{port}?mode=listener&passphrase=right-passphrase")])
    };
    let server = serve();
    pull(&api, &event, &format!("srt://127.0.0.1:{port}?passphrase=wrong-passphrase")).await;
    // In words. Until the server listens there is no answer.
    let refused = |main: &Value| main["pull"]["last_error"].as_str().is_some_and(|e| e.contains("passphrase"));
    main_is(&event, "refused", refused).await;
    // Its port must be free for the next.
    server.kill().await;
    let server = serve();
    pull(&api, &event, &format!("srt://127.0.0.1:{port}?streamid=live/x&passphrase=right-passphrase")).await;
    let main = live(&event).await;
    assert_eq!(main["protocol"], "srt", "{main:#}");
    let viewer = api.anonymous();
    let level = heard(&viewer, &event, 1000.0).await;
    assert!((level + 13.98).abs() < 0.5, "the tone is heard as it was sent: {level:.2} dB");
    server.kill().await;
    main_is(&event, "waiting", |main| main["pull"]["state"] != "receiving").await;
    let _server = serve();
    live(&event).await;
    assert!(!daemon.log().contains("passphrase="), "no log line shows the query");
}
