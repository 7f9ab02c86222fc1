//! Voices, contributions, connection tests.

use super::sim::{Link, PICTURE, SOUND, Wish, World};
use crate::media::{Dur, Ts};
use crate::rtc::{MediaSink, PeerStats, Role, VoiceSink};
use crate::wire::rtp::h264::packetize;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<(i64, i64, Ts, Bytes)>>,
}

impl VoiceSink for Ear {
    fn packet(&self, sequence: i64, rtp: i64, arrival: Ts, data: Bytes) {
        self.heard.lock().unwrap().push((sequence, rtp, arrival, data));
    }
}

#[derive(Clone, Default)]
struct Desk(Arc<Mutex<DeskState>>);

#[derive(Default)]
struct DeskState {
    pictures: Vec<(Ts, bool, Bytes)>,
    sounds: Vec<(Ts, Bytes)>,
    stats: Option<PeerStats>,
}

impl MediaSink for Desk {
    fn video(&mut self, at: Ts, key: bool, data: Bytes, _arrival: Ts) {
        self.0.lock().unwrap().pictures.push((at, key, data));
    }
    fn video_sets(&mut self, _sets: Vec<Bytes>, _arrival: Ts) {}
    fn audio(&mut self, at: Ts, data: Bytes, _arrival: Ts) {
        self.0.lock().unwrap().sounds.push((at, data));
    }
    fn stats(&mut self, stats: &PeerStats, _now: Ts) {
        self.0.lock().unwrap().stats = Some(*stats);
    }
}

/// Opus every 20 ms, payload type as the client offered it.
fn speak(world: &mut World, client: usize, n: i64) {
    let (anchor, now) = (world.anchor, world.now);
    let data = Bytes::from(vec![0xf8, (n % 256) as u8, (n / 256) as u8, 9, 9]);
    world.clients[client].send(anchor, now, SOUND, 111, (n * 960) as u32, n == 0, data);
}

#[test]
fn a_voice_arrives_with_its_numbers_unwrapped_and_nothing_twice() {
    let link = Link { loss: 0.1, duplicate: 0.1, jitter: Dur::from_millis(60), ..Link::default() };
    let mut world = World::new(11, link, 10);
    let ear = Arc::new(Ear::default());
    let client = world.join(Wish::Voice, Role::Voice(ear.clone()), None, false);
    assert!(world.connect(Dur::from_secs(10)));
    let zero = world.now;
    let mut n = 0;
    world.run(Dur::from_secs(10), |w| {
        while zero + Dur::from_millis(n * 20) <= w.now {
            speak(w, client, n);
            n += 1;
        }
    });
    let heard = ear.heard.lock().unwrap();
    let mut sequences: Vec<i64> = heard.iter().map(|h| h.0).collect();
    assert!(sequences.windows(2).any(|w| w[1] < w[0]), "reordered ones are passed on as they come");
    let first = heard[0].0 - i64::from(heard[0].3[1]) - 256 * i64::from(heard[0].3[2]);
    for (sequence, rtp, arrival, data) in heard.iter() {
        let n = i64::from(data[1]) + 256 * i64::from(data[2]);
        assert_eq!((*sequence - first, *rtp), (n, n * 960));
        let late = *arrival - (zero + Dur::from_millis(n * 20));
        assert!(late >= Dur::from_millis(19) && late <= Dur::from_millis(84), "{late}");
    }
    sequences.sort_unstable();
    let count = sequences.len();
    sequences.dedup();
    assert_eq!(sequences.len(), count, "none twice");
    assert!((420..480).contains(&count), "{count} of 500 at 10 % loss");
    let stats = world.stats(client);
    assert!(stats.loss_up.is_some_and(|l| (0.02..0.25).contains(&l)), "{stats:?}");
    assert!(stats.jitter.is_some_and(|j| j > Dur::from_millis(8) && j < Dur::from_millis(40)), "{stats:?}");
    assert!(stats.rtt.is_some_and(|r| r > Dur::from_millis(40) && r < Dur::from_millis(170)), "{stats:?}");
    assert!((stats.packets_in as usize).abs_diff(count) <= 60, "{} of {count}: up to a second old", stats.packets_in);
}

fn picture(n: i64, key: bool) -> Bytes {
    let size = if key { 30_000 } else { 3000 };
    let mut nal = vec![(n % 251) as u8; size];
    nal[0] = if key { 0x65 } else { 0x41 };
    [&(size as u32).to_be_bytes()[..], &nal].concat().into()
}

/// 25 pictures a second and sound, for `length`; a key frame every second. The sender says that what it sends as sound
/// was said `early` before what it shows at the same moment.
fn film(world: &mut World, client: usize, length: Dur, early: Dur) {
    let zero = world.now;
    let mut seconds = 1;
    let (mut pictures, mut sounds) = (0, 0);
    let sets = [crate::wire::rtp::h264::tests::sps(), Bytes::from_static(b"\x68\xce\x3c\x80")];
    world.run(length, |w| {
        if w.now - zero >= Dur::from_secs(seconds) {
            seconds += 1;
            let (anchor, now) = (w.anchor, w.now);
            let (picture, sound) = ((now - zero).to_scale(90_000) + 77, (now - zero + early).to_scale(48_000));
            w.clients[client].sender_report(anchor, now, SOUND, sound as u32);
            w.clients[client].sender_report(anchor, now, PICTURE, picture as u32);
        }
        while zero + Dur::from_millis(pictures * 40) <= w.now {
            let key = pictures % 25 == 0;
            let unit = picture(pictures, key);
            let payloads = packetize(&unit, if key { &sets } else { &[] }, 1180);
            let last = payloads.len() - 1;
            for (n, payload) in payloads.into_iter().enumerate() {
                let (anchor, now) = (w.anchor, w.now);
                let kind = w.clients[client].h264;
                w.clients[client].send(anchor, now, PICTURE, kind, (pictures * 3600 + 77) as u32, n == last, payload);
            }
            pictures += 1;
        }
        while zero + Dur::from_millis(sounds * 20) <= w.now {
            speak(w, client, sounds);
            sounds += 1;
        }
    });
}

#[test]
fn a_contribution_arrives_whole_and_in_sync() {
    let mut world = World::new(12, Link::default(), 10);
    let desk = Desk::default();
    let client = world.join(Wish::Contribute, Role::Contribute(Box::new(desk.clone())), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    film(&mut world, client, Dur::from_secs(6), Dur::from_millis(80));
    let desk = desk.0.lock().unwrap();
    assert!(desk.pictures.len() >= 147, "{}", desk.pictures.len());
    assert!(desk.sounds.len() >= 295, "{}", desk.sounds.len());
    assert!(desk.pictures[0].1);
    // Until the sender has said more they are placed as they came, then as it says.
    let apart = |n: usize| desk.pictures[n].0 - desk.sounds[2 * n].0;
    assert!(apart(20).abs() <= Dur::from_millis(5), "picture 20 and sound 40 are {} apart", apart(20));
    let late = apart(140) - Dur::from_millis(80);
    assert!(late.abs() <= Dur::from_millis(5), "picture 140 and sound 280 are {} apart", apart(140));
    for pair in desk.pictures.windows(2) {
        let step = pair[1].0 - pair[0].0;
        assert!(step >= Dur::from_millis(39) && step <= Dur::from_millis(121), "a step of {step}");
    }
    let expected = picture(99, false);
    assert_eq!(desk.pictures[99].2, expected);
    assert!(desk.stats.is_some_and(|s| s.loss_up == Some(0.0) && s.rtt.is_some()));
}

#[test]
fn what_a_contribution_loses_is_asked_for_again() {
    let link = Link { loss: 0.1, jitter: Dur::from_millis(10), ..Link::default() };
    let mut world = World::new(13, link, 10);
    let desk = Desk::default();
    let client = world.join(Wish::Contribute, Role::Contribute(Box::new(desk.clone())), None, false);
    assert!(world.connect(Dur::from_secs(10)));
    film(&mut world, client, Dur::from_secs(10), Dur::ZERO);
    let desk = desk.0.lock().unwrap();
    assert!(desk.pictures.len() > 235, "{} of 250 pictures", desk.pictures.len());
    for pair in desk.pictures.windows(2) {
        assert!(pair[1].0 > pair[0].0, "in order");
        // After a hole it goes on at a key frame.
        let step = pair[1].0 - pair[0].0;
        assert!(step < Dur::from_millis(70) || pair[1].1, "a hole of {step} without a key frame");
    }
}

#[test]
fn a_connection_test_answers_and_counts() {
    let link = Link { loss: 0.05, ..Link::default() };
    let mut world = World::new(14, link, 10);
    let client = world.join(Wish::Probe, Role::Probe, None, false);
    assert!(world.connect(Dur::from_secs(10)));
    let zero = world.now;
    let (mut n, mut said) = (0, false);
    world.run(Dur::from_secs(10), |w| {
        let (anchor, now) = (w.anchor, w.now);
        if !said && now - zero > Dur::from_secs(1) {
            said = w.clients[client].say(anchor, now, "ping 17") && w.clients[client].say(anchor, now, "hello");
        }
        while zero + Dur::from_millis(n * 20) <= now {
            speak(w, client, n);
            n += 1;
        }
    });
    assert_eq!(world.clients[client].messages, ["pong 17", "hello"]);
    let got = &world.clients[client].got;
    assert!((450..=500).contains(&got.len()), "{} of 500 packets of silence", got.len());
    assert!(got.iter().all(|g| g.payload.len() == 160));
    assert_eq!(opus_samples(&got[0].payload), 960);
    let stats = world.stats(client);
    assert!(stats.lost_in >= 10 && stats.lost_in <= 45, "{stats:?}");
    assert!(stats.loss_down.is_some() && stats.jitter_down.is_some() && stats.jitter.is_some());
}

fn opus_samples(packet: &[u8]) -> usize {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
    let mut out = vec![0f32; 5760];
    let samples = decoder.decode_float(packet, &mut out, false).unwrap();
    assert!(out[..samples].iter().all(|s| s.abs() < 1e-3), "it is silence");
    samples
}
