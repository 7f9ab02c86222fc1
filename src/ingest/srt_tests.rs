use super::super::{BoxFuture, Health};
use super::*;
use crate::hub::{self, RecvError, Start, Subscriber};
use crate::media::clock::SimClock;
use crate::media::{Clock, Packet, SystemClock, TrackId};
use crate::srt::End;
use bytes::Bytes;
use secrecy::ExposeSecret;
use std::path::Path;
use tokio::process::Command;
use tokio::sync::mpsc;

const KEY: &str = "sekrit-key-0815";

/// What was handed out for a session.
type Admitted = (Subscriber, hub::Stream, Arc<Health>, super::super::Stop);

/// Admits [`KEY`] and keeps what it handed out.
#[derive(Default)]
struct Desk(Mutex<Option<Admitted>>);

impl Admission for Desk {
    fn admit(&self, request: Request) -> BoxFuture<'_, Result<Session, Refusal>> {
        Box::pin(async move {
            assert_eq!(request.protocol, Protocol::Srt);
            if request.key.expose_secret() != KEY {
                return Err(Refusal::WrongKey);
            }
            let (publisher, stream) = hub::stream(hub::Limits { bytes: 64 << 20, ..hub::Limits::default() });
            let health = Arc::new(Health::new(request.protocol, request.peer, Ts::ZERO));
            let stop = super::super::Stop::new();
            *self.0.lock().unwrap() = Some((stream.subscribe(Start::Live), stream, health.clone(), stop.clone()));
            Ok(Session { event: "event1".into(), input: crate::media::InputName::Main, publisher, health, stop })
        })
    }
}

impl Screen for Desk {
    fn screen(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal> {
        match key.expose_secret() {
            KEY => Ok(None),
            "secret" => Ok(Some("0123456789".into())),
            "busy" => Err(Refusal::Busy),
            "ended" => Err(Refusal::Inactive { status: "ended".into() }),
            _ => Err(Refusal::WrongKey),
        }
    }
}

/// A connection without a network.
struct Wire {
    id: String,
    batches: mpsc::Receiver<Bytes>,
    stats: Stats,
}

impl Link for Wire {
    fn peer(&self) -> SocketAddr {
        ([192, 0, 2, 9], 1000).into()
    }
    fn stream_id(&self) -> &str {
        &self.id
    }
    fn receive(&mut self) -> crate::srt::BoxFuture<'_, Option<Bytes>> {
        Box::pin(self.batches.recv())
    }
    fn stats(&self) -> Stats {
        self.stats
    }
    fn end(&self) -> Option<End> {
        Some(End::Peer)
    }
}

fn wire(id: &str, stats: Stats) -> (mpsc::Sender<Bytes>, Box<Wire>) {
    let (sender, batches) = mpsc::channel(1024);
    (sender, Box::new(Wire { id: id.into(), batches, stats }))
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

/// Two seconds by ffmpeg: 25 fps with B-frames and a key frame each second, and two sound tracks.
async fn programme(dir: &Path, codecs: &[&str]) -> Vec<u8> {
    let file = dir.join("x.ts");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25"])
        .args(["-f", "lavfi", "-i", "sine=440:r=48000", "-f", "lavfi", "-i", "sine=880:r=44100", "-t", "2"])
        .args(["-map", "0", "-map", "1", "-map", "2", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "25"])
        .args(["-sc_threshold", "0", "-threads", "1", "-metadata:s:a:0", "language=eng"])
        .args(["-metadata:s:a:1", "language=deu", "-ac", "2"])
        .args(codecs)
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(file).unwrap()
}

/// Publishes a stream in datagrams, and gives what came of it.
async fn published(stream: &[u8]) -> (Vec<Packet>, Arc<Health>) {
    let desk = Desk::default();
    let clock: SharedClock = Arc::new(SystemClock::new());
    let stats = Stats {
        rtt: Dur::from_millis(45),
        latency: Dur::from_millis(120),
        received: 990,
        lost: 40,
        dropped: 10,
        ..Stats::default()
    };
    let (sender, link) = wire(KEY, stats);
    let feed = async {
        for datagram in stream.chunks(1316) {
            sender.send(Bytes::copy_from_slice(datagram)).await.unwrap();
        }
        drop(sender);
    };
    tokio::join!(publish(link, &desk, &clock), feed);
    let (reader, stream, health, _) = desk.0.lock().unwrap().take().unwrap();
    assert!(stream.ended());
    (all_packets(reader).await, health)
}

#[tokio::test]
async fn a_transport_stream_becomes_packets_of_a_picture_and_languages() {
    let dir = tempfile::tempdir().unwrap();
    let ts = programme(dir.path(), &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]).await;
    let (packets, _) = published(&ts).await;
    let video: Vec<&Packet> = packets.iter().filter(|p| p.track.is_video()).collect();
    assert_eq!(video.len(), 50);
    assert!(video.windows(2).all(|w| w[0].dts < w[1].dts) && video.iter().all(|p| p.epoch == 0));
    let keys: Vec<usize> = video.iter().enumerate().filter(|(_, p)| p.key).map(|(i, _)| i).collect();
    assert_eq!(keys, [0, 25]);
    let mut shown: Vec<i64> = video.iter().map(|p| p.pts.as_millis()).collect();
    shown.sort_unstable();
    assert!(shown.windows(2).all(|w| w[1] - w[0] == 40), "{shown:?}");
    let format = video[0].track.video().unwrap();
    assert_eq!((format.width, format.height, format.frame_rate), (320, 180, Some((25, 1))));
    for (index, rate, frames) in [(0, 48_000, 94..=96), (1, 44_100, 86..=89)] {
        let sound: Vec<&Packet> = packets.iter().filter(|p| p.track.id == TrackId::audio(index)).collect();
        assert!(frames.contains(&sound.len()), "track {index}: {}", sound.len());
        let format = sound[0].track.audio().unwrap();
        assert_eq!((format.sample_rate, format.channels), (rate, 2));
        // Frames follow each other to a tick of 90 kHz.
        let off = |w: &[&Packet]| (w[1].pts - w[0].pts - w[0].duration).abs();
        assert!(sound.windows(2).all(|w| off(w) <= Dur::from_scale(2, 90_000)), "track {index}");
        assert!(sound.iter().all(|p| p.data[0] != 0xff), "without the ADTS header");
    }
}

#[tokio::test]
async fn other_codecs_come_in_too() {
    let dir = tempfile::tempdir().unwrap();
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25:min-keyint=25"];
    for (codec, name, frames) in
        [("ac3", "ac3", 56..=64), ("libmp3lame", "mp3", 70..=86), ("libopus", "opus", 98..=102)]
    {
        let rate: &[&str] = if codec == "libopus" { &["-ar", "48000"] } else { &[] };
        let args = [&hevc[..], &["-c:a", codec], rate].concat();
        let (packets, _) = published(&programme(dir.path(), &args).await).await;
        std::fs::remove_file(dir.path().join("x.ts")).unwrap();
        let video: Vec<&Packet> = packets.iter().filter(|p| p.track.is_video()).collect();
        assert_eq!((video.len(), video[0].track.video().unwrap().codec.to_string()), (50, "hevc".to_owned()));
        assert!(video[0].key && video.iter().filter(|p| p.key).count() == 2, "{codec}");
        let sound: Vec<&Packet> = packets.iter().filter(|p| p.track.id == TrackId::audio(0)).collect();
        assert_eq!(sound[0].track.audio().unwrap().codec.to_string(), name);
        assert!(frames.contains(&sound.len()), "{codec}: {}", sound.len());
        let off = |w: &[&Packet]| (w[1].pts - w[0].pts - w[0].duration).abs();
        assert!(sound.windows(2).all(|w| off(w) <= Dur::from_scale(2, 90_000)), "{codec}");
    }
}

#[tokio::test]
async fn after_a_loss_pictures_wait_for_a_key_frame() {
    let dir = tempfile::tempdir().unwrap();
    let ts = programme(dir.path(), &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]).await;
    let whole = published(&ts).await.0;
    // A datagram out of the first second, with something of a picture in it.
    let first = ts.len() / 5 / 1316;
    let of_picture = |n: &usize| ts[n * 1316..][..1316].chunks(188).any(|p| p[1..3] == [0x01, 0x00]);
    let at = (first..).find(of_picture).unwrap() * 1316;
    let (packets, _) = published(&[&ts[..at], &ts[at + 1316..]].concat()).await;
    let pictures = |packets: &[Packet]| -> Vec<Bytes> {
        packets.iter().filter(|p| p.track.is_video()).map(|p| p.data.clone()).collect()
    };
    let (before, after) = (pictures(&whole), pictures(&packets));
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    assert!((1..25).contains(&same), "{same} pictures before the loss");
    assert_eq!(after[same..], before[25..], "then from the next key frame on, and none that is not whole");
}

#[tokio::test]
async fn health_names_languages_and_what_the_network_does() {
    let dir = tempfile::tempdir().unwrap();
    let ts = programme(dir.path(), &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]).await;
    let desk = Arc::new(Desk::default());
    let clock = SimClock::new(Ts::from_millis(1_000_000));
    let shared: SharedClock = Arc::new(clock.clone());
    let stats = Stats {
        rtt: Dur::from_millis(45),
        latency: Dur::from_millis(120),
        received: 990,
        lost: 40,
        dropped: 10,
        encrypted: true,
        ..Stats::default()
    };
    let (sender, link) = wire(&format!("#!::r={KEY},m=publish"), stats);
    let group = Group::new();
    let (door, time) = (desk.clone(), shared.clone());
    group.spawn("publish", async move { publish(link, &*door, &time).await });
    for datagram in ts.chunks(1316) {
        sender.send(Bytes::copy_from_slice(datagram)).await.unwrap();
    }
    clock.run(Dur::from_millis(1500)).await;
    let health = desk.0.lock().unwrap().as_ref().unwrap().2.clone();
    let shown = health.snapshot(clock.now());
    let languages: Vec<Option<&str>> = shown.audio.iter().map(|a| a.language.as_deref()).collect();
    assert_eq!(languages, [Some("eng"), Some("deu")]);
    let srt = shown.srt.expect("measured");
    assert_eq!((srt.latency_seconds, srt.lost, srt.dropped, srt.loss, srt.encrypted), (0.12, 40, 10, 0.04, true));
    assert_eq!(shown.rtt_seconds, Some(0.045));
    let warned = |text: &str| shown.warnings.iter().any(|w| w == text);
    assert!(
        warned("latency 120 ms is less than 4 × RTT (45 ms): set latency to 180 ms in the encoder"),
        "{:?}",
        shown.warnings
    );
    assert!(
        warned("10 packets did not come in time and are missing: set a longer latency than 120 ms, or a lower bitrate"),
        "{:?}",
        shown.warnings
    );
    // Who sends nothing any more makes room.
    clock.run(Dur::from_secs(12)).await;
    assert_ne!(health.snapshot(clock.now()).state, super::super::health::InputState::Offline);
    clock.run(Dur::from_secs(5)).await;
    assert_eq!(health.snapshot(clock.now()).state, super::super::health::InputState::Offline);
    assert!(group.close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_stop_from_outside_ends_the_session() {
    let desk = Arc::new(Desk::default());
    let clock: SharedClock = Arc::new(SystemClock::new());
    let (sender, link) = wire(KEY, Stats::default());
    let group = Group::new();
    let (door, time) = (desk.clone(), clock.clone());
    let task = group.spawn("publish", async move { publish(link, &*door, &time).await });
    while desk.0.lock().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    desk.0.lock().unwrap().as_ref().unwrap().3.stop(Refusal::Revoked);
    task.await.unwrap();
    assert!(sender.is_closed());
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

#[test]
fn the_gate_says_why_and_never_shows_a_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let clock = SimClock::new(Ts::from_millis(1_000_000));
    let door = Door::new(Arc::new(Desk::default()), Arc::new(clock.clone()));
    let peer: SocketAddr = ([192, 0, 2, 9], 1000).into();
    let ask = |stream_id: &str| door.admit(Caller { peer, stream_id });
    for (id, answer) in [
        (KEY, Ok(false)),
        ("#!::r=secret,m=publish", Ok(true)),
        ("", Err(Reject::BadRequest)),
        ("#!::m=publish,u=sekrit", Err(Reject::BadRequest)),
        ("#!::r=sekrit,m=request", Err(Reject::BadMode)),
        ("#!::r=sekrit,m=sekrit", Err(Reject::BadMode)),
        ("#!::r=sekrit,t=file", Err(Reject::Media)),
        ("sekrit-but-wrong", Err(Reject::Unauthorized)),
        ("busy", Err(Reject::Conflict)),
        ("ended", Err(Reject::Forbidden)),
    ] {
        assert_eq!(ask(id).map(|p| p.is_some()), answer, "{id}");
    }
    door.failed(peer, true);
    door.failed(peer, false);
    let text = || String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    for part in ["not known", "event is ended", "somebody else is publishing", "passphrase is wrong", "192.0.2.9:1000"]
    {
        assert!(text().contains(part), "{part} in {}", text());
    }
    // A flood has few lines, and one that says how many there were.
    for _ in 0..1000 {
        let _ = ask("sekrit-flood");
    }
    assert_eq!(text().matches("caller refused").count(), LOG_BURST as usize);
    clock.advance(LOG_WINDOW);
    let _ = ask("sekrit-flood");
    assert!(text().contains("more SRT callers were refused") && text().contains("callers=990"), "{}", text());
    assert!(!text().contains("sekrit"), "{}", text());
}
