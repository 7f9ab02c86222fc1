use super::*;
use crate::media::{AudioCodec, AudioFormat, Media, Track, TrackId, VideoCodec, VideoFormat};
use crate::task::Group;
use bytes::Bytes;
use proptest::prelude::*;

fn track(id: TrackId) -> Arc<Track> {
    let media = if id == TrackId::VIDEO {
        let config = Bytes::new();
        Media::Video(VideoFormat {
            codec: VideoCodec::H264,
            config,
            width: 16,
            height: 16,
            frame_rate: None,
            sample_aspect: None,
        })
    } else {
        let config = Bytes::new();
        Media::Audio(AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 })
    };
    Arc::new(Track { id, media })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Delta,
    Sound,
}

/// A packet whose `duration` carries its serial number, to tell it from any other.
fn packet(kind: Kind, serial: u64, dts: Ts, size: usize) -> Packet {
    let id = if kind == Kind::Sound { TrackId::audio(0) } else { TrackId::VIDEO };
    Packet {
        track: track(id),
        epoch: 0,
        dts,
        pts: dts,
        duration: Dur::from_flicks(serial as i64),
        key: kind == Kind::Key,
        decode_only: false,
        arrival: dts,
        data: Bytes::from(vec![0; size]),
    }
}

fn serial(packet: &Packet) -> u64 {
    packet.duration.flicks() as u64
}

fn limits(packets: usize, millis: i64) -> Limits {
    Limits { bytes: packets * packet(Kind::Delta, 0, Ts::ZERO, 100).cost(), time: Dur::from_millis(millis) }
}

fn publish(publisher: &Publisher, kind: Kind, n: u64) {
    publisher.publish(packet(kind, n, Ts::from_millis(n as i64 * 10), 100));
}

/// All that is there now.
fn drain(reader: &mut Subscriber) -> Vec<Result<u64, RecvError>> {
    let mut out = Vec::new();
    loop {
        match reader.try_recv() {
            Ok(Some(p)) => out.push(Ok(serial(&p))),
            Ok(None) => return out,
            Err(RecvError::Ended) => {
                out.push(Err(RecvError::Ended));
                return out;
            }
            Err(lag) => out.push(Err(lag)),
        }
    }
}

fn lagged(packets: u64) -> Result<u64, RecvError> {
    Err(RecvError::Lagged(Lag { packets }))
}

#[test]
fn readers_begin_live_or_at_the_newest_key_frame() {
    let (publisher, stream) = stream(Limits::default());
    for (n, kind) in [Kind::Key, Kind::Delta, Kind::Key, Kind::Sound, Kind::Delta].into_iter().enumerate() {
        publish(&publisher, kind, n as u64);
    }
    let mut live = stream.subscribe(Start::Live);
    let mut key = stream.subscribe(Start::KeyFrame);
    publish(&publisher, Kind::Delta, 5);
    assert_eq!(drain(&mut live), [Ok(5)]);
    assert_eq!(drain(&mut key), [Ok(2), Ok(3), Ok(4), Ok(5)]);
    assert_eq!(stream.current_gop().iter().map(serial).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn a_lagging_reader_is_told_once_and_resumes_at_a_key_frame() {
    let (publisher, stream) = stream(limits(4, 10_000));
    let mut reader = stream.subscribe(Start::Live);
    publish(&publisher, Kind::Key, 0);
    assert_eq!(drain(&mut reader), [Ok(0)]);
    for n in 1..=6 {
        publish(&publisher, Kind::Delta, n);
    }
    // No key frame is left in the ring: everything up to the next one is skipped.
    assert_eq!(drain(&mut reader), [lagged(6)]);
    publish(&publisher, Kind::Delta, 7);
    publish(&publisher, Kind::Sound, 8);
    publish(&publisher, Kind::Key, 9);
    publish(&publisher, Kind::Delta, 10);
    assert_eq!(drain(&mut reader), [Ok(9), Ok(10)]);
    assert_eq!(reader.missed(), 8);
    // One is there: that is where it goes on.
    for n in 11..=14 {
        publish(&publisher, Kind::Delta, n);
    }
    publish(&publisher, Kind::Key, 15);
    assert_eq!(drain(&mut reader), [lagged(4), Ok(15)]);
}

#[test]
fn sound_alone_resumes_at_the_live_edge_also_when_the_picture_was_lost() {
    let (publisher, stream) = stream(limits(4, 10_000));
    let mut reader = stream.subscribe(Start::Live);
    publish(&publisher, Kind::Key, 0);
    for n in 1..=8 {
        publish(&publisher, Kind::Sound, n);
    }
    assert_eq!(drain(&mut reader), [lagged(9)]);
    publish(&publisher, Kind::Sound, 9);
    assert_eq!(drain(&mut reader), [Ok(9)]);

    // The picture stops while the reader waits for a key frame.
    for n in 10..=15 {
        publish(&publisher, Kind::Delta, n);
    }
    assert_eq!(drain(&mut reader), [lagged(6)]);
    for n in 16..=19 {
        publish(&publisher, Kind::Sound, n);
    }
    assert_eq!(drain(&mut reader), [Ok(16), Ok(17), Ok(18), Ok(19)]);
}

#[test]
fn a_packet_above_the_bound_still_reaches_those_that_keep_up() {
    let (publisher, stream) = stream(limits(2, 10_000));
    let mut reader = stream.subscribe(Start::Live);
    publisher.publish(packet(Kind::Key, 0, Ts::ZERO, 100_000));
    assert_eq!(drain(&mut reader), [Ok(0)]);
    publish(&publisher, Kind::Delta, 1);
    assert_eq!(stream.stats(), Stats { packets: 1, bytes: limits(1, 0).bytes, published: 2, evicted: 1 });
}

#[test]
fn a_timeline_that_steps_back_does_not_keep_the_old_packets() {
    let (publisher, stream) = stream(limits(1000, 1000));
    publisher.publish(packet(Kind::Key, 0, Ts::from_millis(1_000_000), 100));
    publisher.publish(packet(Kind::Key, 1, Ts::ZERO, 100));
    assert_eq!(stream.stats().packets, 1);
}

#[tokio::test]
async fn the_end_comes_after_what_was_published() {
    let (publisher, stream) = stream(Limits::default());
    let mut reader = stream.subscribe(Start::Live);
    let group = Group::new();
    let (tx, rx) = tokio::sync::oneshot::channel();
    let mut waiting = stream.subscribe(Start::Live);
    group.spawn("reader", async move {
        let mut got = Vec::new();
        let end = loop {
            match waiting.recv().await {
                Ok(p) => got.push(serial(&p)),
                Err(e) => break e,
            }
        };
        let _ = tx.send((got, end));
    });
    tokio::task::yield_now().await;
    publish(&publisher, Kind::Key, 0);
    publish(&publisher, Kind::Delta, 1);
    assert!(!stream.ended());
    drop(publisher);
    assert!(stream.ended());
    assert_eq!(drain(&mut reader), [Ok(0), Ok(1), Err(RecvError::Ended)]);
    assert_eq!(rx.await.expect("the reader ends"), (vec![0, 1], RecvError::Ended));
    assert_eq!(stream.subscribe(Start::Live).recv().await.map(|p| serial(&p)), Err(RecvError::Ended));
    assert_eq!(stream.subscribe(Start::KeyFrame).recv().await.map(|p| serial(&p)), Ok(0));
}

#[tokio::test]
async fn a_cancelled_recv_loses_nothing() {
    let (publisher, stream) = stream(Limits::default());
    let mut reader = stream.subscribe(Start::Live);
    for n in 0..100 {
        let pending = tokio::time::timeout(std::time::Duration::ZERO, reader.recv()).await;
        assert!(pending.is_err(), "nothing is there yet");
        publish(&publisher, Kind::Key, n);
        assert_eq!(reader.recv().await.map(|p| serial(&p)), Ok(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writer_and_readers_in_parallel() {
    const PACKETS: u64 = 20_000;
    let (publisher, stream) = stream(limits(64, 1_000_000));
    let group = Group::new();
    let mut results = Vec::new();
    for slow in [0u64, 1, 50, 1000] {
        let mut reader = stream.subscribe(Start::Live);
        let (tx, rx) = tokio::sync::oneshot::channel();
        results.push(rx);
        group.spawn("reader", async move {
            let (mut got, mut last, mut after_lag) = (0u64, None, false);
            loop {
                match reader.recv().await {
                    Ok(p) => {
                        assert!(last < Some(serial(&p)), "order");
                        assert!(!after_lag || p.key, "resumes at a key frame");
                        (last, after_lag) = (Some(serial(&p)), false);
                        got += 1;
                    }
                    Err(RecvError::Lagged(_)) => after_lag = true,
                    Err(RecvError::Ended) => break,
                }
                if slow > 0 && got.is_multiple_of(slow) {
                    tokio::task::yield_now().await;
                }
            }
            let _ = tx.send((got, reader.missed()));
        });
    }
    group.spawn("writer", async move {
        for n in 0..PACKETS {
            publish(&publisher, if n % 25 == 0 { Kind::Key } else { Kind::Delta }, n);
            if n % 97 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    for result in results {
        let (got, missed) = result.await.expect("the reader's checks hold");
        assert_eq!(got + missed, PACKETS);
    }
}

/// The same thing written the naive way: everything is kept, and what the ring holds is worked out anew each time.
struct Model {
    limits: Limits,
    all: Vec<Packet>,
    first: usize,
}

impl Model {
    fn publish(&mut self, packet: Packet) {
        self.all.push(packet);
        let newest = self.all.len() - 1;
        let fits = |from: usize| {
            let bytes: usize = self.all[from..].iter().map(Packet::cost).sum();
            bytes <= self.limits.bytes && (self.all[newest].dts - self.all[from].dts).abs() <= self.limits.time
        };
        self.first = (self.first..newest).find(|&from| fits(from)).unwrap_or(newest);
    }

    fn newest_key(&self) -> Option<usize> {
        (self.first..self.all.len()).rev().find(|&n| self.all[n].key)
    }

    fn has_pictures(&self) -> bool {
        self.all[self.first..].iter().any(|p| p.track.is_video())
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(Kind, i64, usize),
    Read(usize),
    Subscribe(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![1 => Just(Kind::Key), 5 => Just(Kind::Delta), 4 => Just(Kind::Sound)];
    let step = prop_oneof![
        10 => (kind, prop_oneof![20 => 0i64..60, 1 => -2000i64..3000], 0usize..300).prop_map(|(k, d, s)| Step::Publish(k, d, s)),
        4 => (0usize..4).prop_map(Step::Read),
        1 => any::<bool>().prop_map(Step::Subscribe),
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_ring_does_what_the_naive_model_does(steps in steps(), keep in 1usize..20, millis in 100i64..1500) {
        let limits = limits(keep, millis);
        let (publisher, stream) = stream(limits);
        let mut model = Model { limits, all: Vec::new(), first: 0 };
        // Each reader with the model's cursor, whether it seeks a key frame, and how many packets it missed.
        let mut readers: Vec<(Subscriber, usize, bool, u64)> = Vec::new();
        let mut now = 1_000_000i64;
        for step in steps {
            match step {
                Step::Publish(kind, wait, size) => {
                    now += wait;
                    let p = packet(kind, model.all.len() as u64, Ts::from_millis(now), size);
                    model.publish(p.clone());
                    publisher.publish(p);
                }
                Step::Subscribe(live) => {
                    let start = if live { Start::Live } else { Start::KeyFrame };
                    let key = if live { None } else { model.newest_key() };
                    readers.push((stream.subscribe(start), key.unwrap_or(model.all.len()), false, 0));
                }
                Step::Read(which) => {
                    let Some((reader, next, seek, missed)) = readers.get_mut(which) else { continue };
                    if *next < model.first {
                        let resume = model.newest_key().unwrap_or(model.all.len());
                        let packets = (resume - *next) as u64;
                        *seek = model.newest_key().is_none() && model.has_pictures();
                        *next = resume;
                        *missed += packets;
                        prop_assert_eq!(reader.try_recv().err(), Some(RecvError::Lagged(Lag { packets })));
                        prop_assert_eq!(reader.missed(), *missed);
                        continue;
                    }
                    while *seek && *next < model.all.len() && !model.all[*next].key && model.has_pictures() {
                        *next += 1;
                        *missed += 1;
                    }
                    let expected = (*next < model.all.len()).then_some(*next as u64);
                    let got = reader.try_recv().expect("neither lag nor end").map(|p| serial(&p));
                    prop_assert_eq!(got, expected);
                    prop_assert_eq!(reader.missed(), *missed);
                    if expected.is_some() {
                        *next += 1;
                        *seek = false;
                    }
                }
            }
            let stats = stream.stats();
            prop_assert_eq!(stats.packets, model.all.len() - model.first);
            prop_assert_eq!(stats.evicted, model.first as u64);
            prop_assert!(stats.bytes <= limits.bytes || stats.packets == 1);
            let gop: Vec<u64> = stream.current_gop().iter().map(serial).collect();
            let expected: Vec<u64> =
                model.newest_key().map_or(Vec::new(), |k| (k as u64..model.all.len() as u64).collect());
            prop_assert_eq!(gop, expected);
        }
        drop(publisher);
        for (mut reader, ..) in readers {
            let rest = drain(&mut reader);
            prop_assert_eq!(rest.last().cloned(), Some(Err(RecvError::Ended)));
            let serials: Vec<u64> = rest.into_iter().filter_map(Result::ok).collect();
            prop_assert!(serials.windows(2).all(|w| w[0] < w[1]));
        }
    }
}
