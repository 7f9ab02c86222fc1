use super::super::{BoxFuture, Health, Session};
use super::*;
use crate::hub::{self, RecvError, Start, Stream, Subscriber};
use crate::media::clock::SimClock;
use crate::media::{Dur, Packet, SystemClock, TrackId};
use crate::net::{Gate, Inherited, Limits};
use secrecy::ExposeSecret;
use std::process::Stdio;
use std::sync::Mutex;
use tokio::process::{Child, Command};

const KEY: &str = "sekrit-key-0815";

/// What was handed out for one session.
type Admitted = (Subscriber, Stream, Arc<Health>, Stop);

/// Admits [`KEY`] and keeps what it handed out.
struct Door {
    answer: Mutex<Result<(), Refusal>>,
    streams: Mutex<Vec<Admitted>>,
    asked: tokio::sync::Notify,
}

impl Door {
    fn new(answer: Result<(), Refusal>) -> Arc<Door> {
        Arc::new(Door { answer: Mutex::new(answer), streams: Mutex::default(), asked: tokio::sync::Notify::new() })
    }
}

impl Admission for Door {
    fn admit(&self, request: Request) -> BoxFuture<'_, Result<Session, Refusal>> {
        Box::pin(async move {
            if request.key.expose_secret() != KEY {
                return Err(Refusal::WrongKey);
            }
            self.answer.lock().unwrap().clone()?;
            let (publisher, stream) = hub::stream(hub::Limits::default());
            let health = Arc::new(Health::new(request.protocol, request.peer, SystemClock::new().now()));
            let stop = Stop::new();
            let reader = stream.subscribe(Start::Live);
            self.streams.lock().unwrap().push((reader, stream, health.clone(), stop.clone()));
            self.asked.notify_one();
            Ok(Session { event: "event1".into(), input: crate::media::InputName::Main, publisher, health, stop })
        })
    }
}

struct Server {
    door: Arc<Door>,
    port: u16,
    group: Group,
}

impl Server {
    fn start(answer: Result<(), Refusal>, tls: Option<Arc<Tls>>, limits: Limits) -> Server {
        let (at, gate) = (([127, 0, 0, 1], 0).into(), Gate::new(limits));
        let listener = Listener::bind("[rtmp] listen", at, &gate, &mut Inherited::default()).unwrap();
        let (door, group, port) = (Door::new(answer), Group::new(), listener.local_addr().port());
        let clock: SharedClock = Arc::new(SystemClock::new());
        group.spawn("rtmp-listener", serve(listener, tls, door.clone(), clock, group.clone()));
        Server { door, port, group }
    }

    /// ffmpeg with 25 fps, two B-frames, a key frame each second and AAC; at 25 times the speed of time unless `real_time`.
    fn ffmpeg(&self, scheme: &str, key: &str, seconds: u32, real_time: bool) -> Child {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin"]);
        if real_time {
            command.arg("-re");
        }
        command
            .args(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-f", "lavfi", "-i", "sine=r=48000"])
            .args(["-t", &seconds.to_string(), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"])
            .args([
                "-bf",
                "2",
                "-g",
                "25",
                "-sc_threshold",
                "0",
                "-threads",
                "1",
                "-c:a",
                "aac",
                "-ac",
                "2",
                "-f",
                "flv",
            ])
            .arg(format!("{scheme}://127.0.0.1:{}/live/{key}", self.port))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().unwrap()
    }
}

async fn all_packets(mut reader: Subscriber) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        match reader.recv().await {
            Ok(packet) => packets.push(packet),
            Err(RecvError::Ended) => return packets,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn ffmpeg_publishes_with_b_frames_and_aac() {
    let server = Server::start(Ok(()), None, Limits::default());
    let ffmpeg = server.ffmpeg("rtmp", &format!("{KEY}?user=x"), 2, false);
    server.door.asked.notified().await;
    let (reader, _, health, _) = server.door.streams.lock().unwrap().pop().unwrap();
    let packets = all_packets(reader).await;
    let out = ffmpeg.wait_with_output().await.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(health.snapshot(SystemClock::new().now()).state, super::super::health::InputState::Offline);

    let video: Vec<&Packet> = packets.iter().filter(|p| p.track.is_video()).collect();
    let audio: Vec<&Packet> = packets.iter().filter(|p| !p.track.is_video()).collect();
    assert_eq!(video.len(), 50);
    assert!((94..=96).contains(&audio.len()), "{} frames of sound", audio.len());
    for track in [&video, &audio] {
        assert!(track.windows(2).all(|w| w[0].dts < w[1].dts), "dts rises");
        assert!(track.iter().all(|p| p.pts >= p.dts && p.epoch == 0));
        assert!(track.iter().all(|p| Arc::ptr_eq(&p.track, &track[0].track)));
    }
    let keys: Vec<usize> = video.iter().enumerate().filter(|(_, p)| p.key).map(|(i, _)| i).collect();
    assert_eq!(keys, [0, 25]);
    assert!(video.iter().any(|p| p.pts > p.dts), "B-frames have a composition time");
    let mut shown: Vec<i64> = video.iter().map(|p| p.pts.as_millis()).collect();
    shown.sort_unstable();
    assert!(shown.windows(2).all(|w| w[1] - w[0] == 40), "{shown:?}");
    let format = video[0].track.video().unwrap();
    assert_eq!((format.width, format.height, format.frame_rate), (320, 180, Some((25, 1))));
    let sound = audio[0].track.audio().unwrap();
    assert_eq!((sound.sample_rate, sound.channels, audio[0].track.id), (48_000, 2, TrackId::audio(0)));
    assert!(audio.iter().all(|p| p.duration == Dur::from_scale(1024, 48_000)));
    assert!(server.group.close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn refusals_reach_ffmpeg_in_the_protocols_words() {
    let inactive = Err(Refusal::Inactive { status: "ended".into() });
    for (answer, key, code) in [
        (Ok(()), "wrong", "NetStream.Publish.BadName"),
        (Err(Refusal::Busy), KEY, "NetStream.Publish.BadName"),
        (inactive, KEY, "NetStream.Publish.Denied"),
    ] {
        let server = Server::start(answer.clone(), None, Limits::default());
        // A refused client is told before it has sent a picture, so the end is quick.
        let out = server.ffmpeg("rtmp", key, 20, true).wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        let words = answer.err().unwrap_or(Refusal::WrongKey).to_string();
        assert!(!out.status.success() && stderr.contains(&words), "{code}: {stderr}");
        assert!(server.group.close(Duration::from_secs(5)).await);
    }
    assert_eq!(code(&Refusal::WrongKey), "NetStream.Publish.BadName");
    assert_eq!(code(&Refusal::Inactive { status: String::new() }), "NetStream.Publish.Denied");
}

#[tokio::test]
async fn a_stopped_session_ends_and_rtmps_works() {
    let dir = tempfile::tempdir().unwrap();
    let clock: SharedClock = Arc::new(SystemClock::new());
    let source = crate::net::Source::SelfSigned { dir: dir.path().into(), names: vec![] };
    let tls = Tls::load(source, clock).unwrap();
    let server = Server::start(Ok(()), Some(tls), Limits::default());
    let ffmpeg = server.ffmpeg("rtmps", KEY, 30, true);
    server.door.asked.notified().await;
    let (mut reader, stream, health, stop) = server.door.streams.lock().unwrap().pop().unwrap();
    reader.recv().await.unwrap();
    assert_eq!(health.snapshot(SystemClock::new().now()).protocol, Some(Protocol::Rtmps));
    stop.stop(Refusal::Replaced);
    all_packets(reader).await;
    assert!(stream.ended());
    let out = ffmpeg.wait_with_output().await.unwrap();
    assert!(!out.status.success(), "the encoder sees its end");
    assert!(server.group.close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let server = Server::start(Ok(()), None, Limits { total: 1, per_address: 0 });
    let first = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let mut second = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
    drop(first);
    assert!(server.group.close(Duration::from_secs(5)).await);
}

/// A connection over memory, on simulated time, that has been sent `bytes`. True when it ended within `wait`.
async fn ends(bytes: &[u8], wait: Dur) -> bool {
    let clock = SimClock::new(Ts::from_millis(1_000_000));
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let door = Door::new(Ok(()));
    let peer: SocketAddr = ([192, 0, 2, 9], 1000).into();
    let group = Group::new();
    let task = {
        let clock = clock.clone();
        group.spawn("test", async move { connection(theirs, peer, Protocol::Rtmp, &*door, &clock).await })
    };
    ours.write_all(bytes).await.unwrap();
    clock.run(wait).await;
    // A refused connection lingers until its peer closes.
    let mut answer = vec![0; 8192];
    for _ in 0..20 {
        if task.is_finished() {
            return true;
        }
        if tokio::time::timeout(Duration::from_millis(20), ours.read(&mut answer))
            .await
            .is_ok_and(|r| r.is_ok_and(|n| n == 0))
        {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn slow_peers_are_disconnected() {
    assert!(!ends(&[], Dur::from_secs(14)).await);
    assert!(ends(&[], Dur::from_secs(16)).await);
    assert!(ends(&[3; 700], Dur::from_secs(16)).await, "half a handshake");
    let whole = [&[3][..], &[0; 3072]].concat();
    assert!(!ends(&whole, Dur::from_secs(14)).await);
    assert!(ends(&whole, Dur::from_secs(16)).await, "a handshake and no publish");
}

#[tokio::test]
async fn what_is_not_rtmp_is_disconnected() {
    assert!(ends(b"GET / HTTP/1.1\r\n\r\n", Dur::from_millis(1)).await);
    assert!(ends(&[0x16, 3, 1, 2, 0, 1], Dur::from_millis(1)).await);
    let garbage = [&[3][..], &[0; 3072], &[0xff; 500]].concat();
    assert!(ends(&garbage, Dur::from_millis(1)).await);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_never_shows_a_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    for (answer, key) in [(Ok(()), KEY), (Ok(()), "sekrit-but-wrong"), (Err(Refusal::Busy), KEY)] {
        let server = Server::start(answer, None, Limits::default());
        server.ffmpeg("rtmp", key, 1, false).wait_with_output().await.unwrap();
        assert!(server.group.close(Duration::from_secs(5)).await);
    }
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("publishing") && text.contains("event1") && text.contains("not known"), "{text}");
    assert!(!text.contains("sekrit"), "{text}");
}
