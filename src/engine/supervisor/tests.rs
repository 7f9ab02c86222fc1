//! A child that breaks the rules, hangs or talks too much.

use super::*;
use crate::engine::{AudioSpec, Limits, RungSpec, SlateConfig};
use crate::media::{AudioCodec, AudioFormat, Clock, Grid, Media, SystemClock};

fn collector() -> (Collector, mpsc::Receiver<Output>) {
    let clock = SystemClock::new();
    let config = EngineConfig {
        event: "e".into(),
        grid: Grid::new(25).expect("rate"),
        clock_anchor: clock.anchor(),
        delay: Dur::ZERO,
        video: vec![RungSpec::new(TrackId(0), "360p", 640, 360, 600_000)],
        audio: vec![AudioSpec::new(TrackId(10), "floor", 0, 128_000)],
        room: None,
        stems: false,
        slate: SlateConfig::default(),
        limits: Limits::default(),
        preview: false,
        program: None,
    };
    let (out, rx) = mpsc::channel(8);
    let programme = hub::stream(hub::Limits::default()).1;
    let wishes = watch::channel(Wishes::new(config.audio.clone(), Ts::ZERO)).1;
    let links = Links {
        out,
        rooms: RoomStreams::default(),
        status: watch::channel(Status::default()).0,
        preview: watch::channel(None).0,
        wishes,
        voices: broadcast::channel(1).1,
        sounds: broadcast::channel(1).1,
    };
    let s = Supervisor::new(config, programme, links, Arc::new(clock));
    (s.collector, rx)
}

fn aac(id: u16, config: &'static [u8]) -> FromEngine {
    let config = Bytes::from_static(config);
    let media = Media::Audio(AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 });
    FromEngine::Track(Arc::new(Track { id: TrackId(id), media }))
}

#[tokio::test]
async fn a_child_that_breaks_the_rules_is_not_believed() {
    let (mut c, mut rx) = collector();
    let next = c.lines[1].next;
    let packet =
        |track, number| FromEngine::Packet { track: TrackId(track), number, key: true, data: Bytes::from_static(b"x") };
    let protocol = |r: Result<(), SessionError>| assert!(matches!(r, Err(SessionError::Protocol(_))), "{r:?}");
    protocol(c.take(packet(10, next)).await);
    protocol(c.take(aac(0, b"a")).await);
    protocol(c.take(aac(77, b"a")).await);
    c.take(aac(10, b"a")).await.expect("known track");
    protocol(c.take(packet(10, next + 1)).await);
    protocol(c.take(packet(10, i64::MAX)).await);
    c.take(packet(10, next)).await.expect("the number expected");
    protocol(c.take(packet(10, next)).await);
    let Some(Output::Packet(p)) = rx.recv().await else { panic!("packet") };
    assert!(!p.key && p.pts == c.config.grid.aac_start(next) && p.dts == p.pts);
    // The same format again, as after a restart, is the same track; another is another.
    c.take(aac(10, b"a")).await.expect("same");
    c.take(packet(10, next + 1)).await.expect("next");
    let Some(Output::Packet(q)) = rx.recv().await else { panic!("packet") };
    assert!(Arc::ptr_eq(&p.track, &q.track));
    c.take(aac(10, b"b")).await.expect("other");
    c.take(packet(10, next + 2)).await.expect("next");
    let Some(Output::Packet(q)) = rx.recv().await else { panic!("packet") };
    assert!(!Arc::ptr_eq(&p.track, &q.track));
}

#[tokio::test]
async fn a_long_codec_call_is_a_hang_and_counters_run_over_restarts() {
    let (mut c, _rx) = collector();
    let report = Box::new(Report { busy_ms: 100, repeated: 5, ..Report::default() });
    c.take(FromEngine::Report(report.clone())).await.expect("fine");
    c.child_gone("killed".into());
    c.take(FromEngine::Report(report)).await.expect("fine");
    assert_eq!(c.status.borrow().frames_repeated, 10);
    assert_eq!(c.status.borrow().restarts, 1);
    let hung = Box::new(Report { busy_ms: 900, busy_stage: "decode".into(), ..Report::default() });
    assert!(matches!(c.take(FromEngine::Report(hung)).await, Err(SessionError::Hung(900, s)) if s == "decode"));
}

#[tokio::test]
async fn a_length_beyond_the_cap_ends_the_session_before_anything_is_allocated() {
    let mut garbage: &[u8] = &[0xff; 64];
    assert!(matches!(receive(&mut garbage).await, Err(SessionError::Protocol(_))));
}

#[test]
fn log_lines_are_limited_and_counted() {
    let mut l = LogLimit::default();
    let now = SystemClock::new().now();
    assert_eq!((0..LOG_LINES + 5).filter(|_| l.admit(now).is_some()).count() as u32, LOG_LINES);
    assert_eq!(l.admit(now + Dur::from_secs(11)), Some(5));
}
