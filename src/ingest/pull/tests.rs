// The servers of these tests end with their runtime.
#![allow(clippy::disallowed_methods)]

use super::super::Health;
use super::*;
use crate::hub;
use crate::media::{Clock, SimClock};
use crate::task::Group;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An input that notes what it is told.
#[derive(Clone, Default)]
struct Spot {
    taken: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<PullHealth>>>,
}

impl Place for Spot {
    fn taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    fn claim(&self, protocol: Protocol, peer: SocketAddr) -> Result<Session, Refusal> {
        let (publisher, _) = hub::stream(hub::Limits::default());
        let health = Arc::new(Health::new(protocol, peer, Ts::ZERO));
        Ok(Session { event: "event1".into(), input: InputName::Main, publisher, health, stop: Stop::new() })
    }

    fn changed(&self, health: &PullHealth) {
        self.told.lock().unwrap().push(health.clone());
    }
}

/// A pull on simulated time.
struct Rig {
    clock: SimClock,
    spot: Spot,
    status: Status,
    group: Group,
}

impl Rig {
    fn start(url: &str, spot: Spot) -> Rig {
        let clock = SimClock::new(Ts::from_millis(1_700_000_000_000));
        let source = Source::parse(url).unwrap();
        let status = Status::new(source.to_string(), clock.now());
        let (group, pull) = (
            Group::new(),
            Pull {
                source,
                place: spot.clone(),
                guard: Guard::new(true),
                srt: Srt::start(Arc::new(clock.clone())).unwrap(),
                clock: Arc::new(clock.clone()),
                status: status.clone(),
                event: "event1".into(),
                input: InputName::Main,
            },
        );
        group.spawn_until_cancelled("pull", run(pull));
        Rig { clock, spot, status, group }
    }

    /// Waits, in real time, until the state is so; sockets are real.
    async fn until(&self, what: &str, fits: impl Fn(&PullHealth) -> bool) -> PullHealth {
        for _ in 0..2000 {
            let health = self.status.health();
            if fits(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not {what}: {:#?}", self.status.health());
    }

    async fn waiting(&self, failures: u64) -> PullHealth {
        self.until("waiting", |h| h.state == PullState::Waiting && h.failures == failures).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.group.cancel();
    }
}

#[test]
fn only_what_can_be_pulled_is_an_address() {
    for good in [
        "rtmp://h/live/x",
        "rtmps://h:1/a/b?c=d",
        "rtsp://h/cam",
        "rtsp://h",
        "rtsps://h/cam",
        "srt://h",
        "srt://h:9000?mode=caller&latency=400&streamid=%23!::r=x&passphrase=0123456789&pbkeylen=16",
    ] {
        assert!(Source::parse(good).is_ok(), "{good}");
    }
    for (bad, words) in [
        ("srt://h:9000?mode=listener", "must listen"),
        ("srt://h:9000?passphrase=short", "10 to 79"),
        ("srt://h:9000?pbkeylen=7", "16 nor 32"),
        ("srt://h:9000?latency=9000", "milliseconds"),
        ("file:///etc/passwd", "host"),
        ("http://h/live.m3u8", "http://"),
        ("rtmp://h/live", "names no stream"),
        ("rtmp://h", "names no stream"),
        ("rtmp://user:secret@h/live/x", "no place"),
        ("h/live/x", "no address"),
    ] {
        let error = Source::parse(bad).unwrap_err().to_string();
        assert!(error.contains(words), "{bad}: {error}");
    }
    let source = Source::parse("rtsp://user:secret@h:8554/cam?key=secret").unwrap();
    assert_eq!(format!("{source} {source:?}"), "rtsp://***@h:8554/cam?*** rtsp://***@h:8554/cam?***");
}

#[tokio::test]
async fn waits_grow_and_every_failure_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::start(&format!("rtmp://{closed}/live/x?key=sekrit"), Spot::default());
    let mut bound = FIRST_WAIT;
    for failures in 1..=7 {
        let health = rig.waiting(failures).await;
        let error = health.last_error.unwrap();
        assert!(error.contains("cannot be reached") && !error.contains("sekrit"), "{error}");
        let next = health.next_attempt_at.unwrap().unix_timestamp_nanos() / 1_000_000;
        let wait = Dur::from_millis(next as i64 - rig.clock.now().as_millis());
        assert!(wait <= bound && wait >= bound / 2 - Dur::from_millis(1), "{wait} of {bound}");
        bound = (bound * 2).min(LONGEST_WAIT);
        rig.clock.advance(wait + Dur::from_millis(1));
    }
    let told = rig.spot.told.lock().unwrap();
    assert!(told.iter().any(|h| h.state == PullState::Waiting && h.last_error.is_some()));
}

#[tokio::test]
async fn an_input_that_an_encoder_has_is_left_alone_until_it_is_free() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            drop(socket);
        }
    });
    let spot = Spot::default();
    spot.taken.store(true, Ordering::Relaxed);
    let rig = Rig::start(&format!("rtsp://{at}/cam"), spot);
    for _ in 0..3 {
        let health = rig.waiting(0).await;
        assert!(health.last_error.unwrap().contains("somebody else"));
        rig.clock.advance(TAKEN_POLL);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(rig.spot.told.lock().unwrap().len(), 1, "told once");
    rig.spot.taken.store(false, Ordering::Relaxed);
    rig.clock.advance(TAKEN_POLL);
    rig.until("tried", |h| h.last_error.as_ref().is_some_and(|e| e.contains("closed"))).await;
    assert_eq!(count.load(Ordering::Relaxed), 1);
    server.abort();
}

/// What is told of an RTSP server that answers the first request so.
async fn answered(path: &str, answer: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let answer = answer.into();
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(&answer).await;
            let _ = socket.read(&mut [0; 4096]).await;
        }
    });
    let rig = Rig::start(&format!("rtsp://user:passw0rd@{at}/{path}"), Spot::default());
    let error = rig.waiting(1).await.last_error.unwrap();
    server.abort();
    assert!(!error.contains("passw0rd"), "{error}");
    error
}

#[tokio::test]
async fn what_an_rtsp_server_answers_is_told_in_words() {
    let head = "RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n";
    assert!(answered("cam", head).await.contains("no such stream"));
    assert!(answered("cam", "HTTP/1.1 400 Bad Request\r\n\r\n").await.len() > 10);
    assert!(answered("cam", "\u{16}\u{3}\u{1}").await.contains("does not speak RTSP"));
    let endless = format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: {}", "a".repeat(20_000));
    assert!(answered("cam", endless).await.contains("head of more than"));
    let large = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4000000000\r\n\r\n";
    assert!(answered("cam", large).await.contains("message of more than"));
    let sdp = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=control:a\r\n";
    let opus = format!(
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let error = answered("cam", opus).await;
    assert!(error.contains("nothing that can be used") && error.contains("audio opus"), "{error}");
}

#[tokio::test]
async fn redirects_are_read_anew_and_do_not_go_round_for_ever() {
    let to = |url: &str| format!("RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: {url}\r\n\r\n");
    let error = answered("cam", to("http://example.com/")).await;
    assert!(error.contains("redirects to an address that begins with http://"), "{error}");
    let error = answered("cam", to("rtsp://does-not-exist.invalid/x")).await;
    assert!(error.contains("cannot be resolved"), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let round = format!("RTSP/1.0 301 Moved\r\nCSeq: 1\r\nLocation: rtsp://{at}/round\r\n\r\n");
            let _ = socket.write_all(round.as_bytes()).await;
        }
    });
    let rig = Rig::start(&format!("rtsp://{at}/cam"), Spot::default());
    assert!(rig.waiting(1).await.last_error.unwrap().contains("more than 4 times"));
    server.abort();
}
