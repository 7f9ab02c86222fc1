//! Players.

use super::sim::{FLOOR, Link, OTHER, Studio, VIDEO, Wish, World, start};
use crate::hub;
use crate::media::{Dur, TrackId};
use crate::rtc::{PlaySource, Role};
use crate::wire::bitstream::nal;
use std::collections::BTreeSet;

fn role(video: Option<TrackId>, audio: Option<TrackId>) -> Role {
    let (_publisher, stream) = hub::stream(hub::Limits::default());
    Role::Play(PlaySource::new(stream, video, audio))
}

fn floor() -> Role {
    role(Some(VIDEO), Some(FLOOR))
}

/// Sources of sound and picture that a client got: the picture's packets are larger.
fn sources(world: &World, client: usize) -> (u32, u32) {
    let got = &world.clients[client].got;
    let sound = got.iter().find(|g| g.payload.len() == 5).map_or(0, |g| g.ssrc);
    let picture = got.iter().find(|g| g.payload.len() > 100).map_or(0, |g| g.ssrc);
    (sound, picture)
}

#[test]
fn a_player_gets_whole_pictures_from_a_key_frame_on_and_sound() {
    let mut world = World::new(1, Link::default(), 10);
    let mut studio = Studio::new(&mut world, 1, start());
    let client = world.join(Wish::Play, floor(), Some(1), false);
    world.run(Dur::from_secs(8), |w| studio.play(w));
    assert!(world.clients[client].connected);
    let (sound, picture) = sources(&world, client);
    let (units, broken) = world.clients[client].pictures(picture);
    assert_eq!(broken, 0);
    assert!(units.len() > 120, "{} pictures", units.len());
    assert!(units[0].key, "the first picture is a key frame");
    // In band, in one packet, before each key frame: what a decoder needs.
    for unit in units.iter().filter(|u| u.key) {
        let kinds: Vec<u8> = nal::length_prefixed(&unit.data, 4).map(|n| n.unwrap()[0] & 0x1f).collect();
        assert_eq!(kinds, [7, 8, 5]);
    }
    assert!(units.windows(2).all(|w| w[1].timestamp - w[0].timestamp == 3600), "40 ms at 90 kHz");
    let sounds = world.clients[client].stream(sound);
    assert!(sounds.len() > 300 && sounds.windows(2).all(|w| w[1].timestamp - w[0].timestamp == 960));
    assert!(sounds.iter().all(|s| s.payload[0] == 1), "the floor, not the other language");
    let stats = world.stats(client);
    let rtt = stats.rtt.unwrap();
    assert!((rtt - Dur::from_millis(41)).abs() < Dur::from_millis(3), "round trip {rtt}");
    assert_eq!((stats.transport, stats.loss_down, stats.dropped_out), (Some("udp"), Some(0.0), 0));
    // The figures are up to a second old.
    assert!(stats.packets_out as usize + 300 >= world.clients[client].got.len());
}

#[test]
fn a_player_gets_the_same_over_tcp_where_udp_is_dropped() {
    let mut world = World::new(2, Link { udp: false, ..Link::default() }, 10);
    let mut studio = Studio::new(&mut world, 1, start());
    let client = world.join(Wish::Play, floor(), Some(1), true);
    world.run(Dur::from_secs(6), |w| studio.play(w));
    let (_, picture) = sources(&world, client);
    let (units, broken) = world.clients[client].pictures(picture);
    assert!(units.len() > 70 && broken == 0, "{} pictures, {broken} broken", units.len());
    assert_eq!(world.stats(client).transport, Some("tcp"));
}

#[test]
fn lost_reordered_repeated_and_corrupt_packets_are_made_good() {
    let link = Link { loss: 0.1, duplicate: 0.02, corrupt: 0.01, jitter: Dur::from_millis(15), ..Link::default() };
    let mut world = World::new(3, link, 10);
    let mut studio = Studio::new(&mut world, 1, start());
    let client = world.join(Wish::Play, floor(), Some(1), false);
    world.run(Dur::from_secs(12), |w| studio.play(w));
    assert!(world.clients[client].connected);
    let (_, picture) = sources(&world, client);
    let (units, broken) = world.clients[client].pictures(picture);
    let stats = world.stats(client);
    assert!(stats.nacks > 50 && stats.resent > 50, "{stats:?}");
    // At 10 % loss on the way, and as much of the requests and repairs, hardly a picture stays broken.
    assert!(units.len() > 180 && broken <= units.len() / 50, "{} pictures, {broken} broken", units.len());
    assert!(stats.loss_down.is_some_and(|l| (0.02..0.3).contains(&l)), "{:?}", stats.loss_down);
}

#[test]
fn key_frames_are_asked_for_once_however_many_want_them() {
    let mut world = World::new(4, Link::default(), 50);
    let mut studio = Studio::new(&mut world, 1, start());
    studio.gop = 100_000;
    for _ in 0..8 {
        world.join(Wish::Play, floor(), Some(1), false);
    }
    assert!(world.connect(Dur::from_secs(5)));
    world.run(Dur::from_millis(300), |w| studio.play(w));
    let first = world.requests;
    assert!((1..=4).contains(&first), "{first} requests for 8 viewers within some 100 ms");
    studio.key_next = true;
    world.run(Dur::from_secs(2), |w| studio.play(w));
    let before = world.requests;
    let picture = sources(&world, 0).1;
    assert_ne!(picture, 0);
    for _ in 0..20 {
        let (anchor, now) = (world.anchor, world.now);
        world.clients[0].pli(anchor, now, picture);
        world.run(Dur::from_millis(50), |w| studio.play(w));
    }
    let asked = world.requests - before;
    assert!((2..=3).contains(&asked), "{asked} requests for 20 in a second");
    world.run(Dur::from_millis(1100), |w| studio.play(w));
    assert!(world.stats(0).plis >= 20);
}

#[test]
fn another_language_comes_under_the_same_source_without_a_gap() {
    let mut world = World::new(5, Link::default(), 10);
    let mut studio = Studio::new(&mut world, 1, start());
    let client = world.join(Wish::Play, floor(), Some(1), false);
    world.run(Dur::from_secs(3), |w| studio.play(w));
    let id = world.clients[client].id;
    let now = world.now;
    world.core.set_source(id, 1, Some(VIDEO), Some(OTHER), now);
    world.run(Dur::from_secs(2), |w| studio.play(w));
    // Then a stream whose timeline is years behind.
    let mut archive = Studio::new(&mut world, 2, crate::media::Ts::from_millis(5_000));
    let now = world.now;
    world.core.set_source(id, 2, Some(VIDEO), Some(FLOOR), now);
    world.run(Dur::from_secs(4), |w| {
        studio.play(w);
        archive.play(w);
    });
    let (sound, picture) = sources(&world, client);
    let ssrcs: BTreeSet<u32> = world.clients[client].got.iter().map(|g| g.ssrc).collect();
    assert_eq!(ssrcs, BTreeSet::from([sound, picture]), "one source each");
    let sounds = world.clients[client].stream(sound);
    let marks: Vec<u8> = {
        let mut marks: Vec<u8> = sounds.iter().map(|s| s.payload[0]).collect();
        marks.dedup();
        marks
    };
    assert_eq!(marks, [1, 2, 1]);
    for pair in sounds.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        let step = pair[1].timestamp - pair[0].timestamp;
        assert!((1..48_000).contains(&step), "a step of {step} samples");
    }
    let pictures = world.clients[client].stream(picture);
    assert!(pictures.windows(2).all(|p| p[1].sequence == p[0].sequence + 1 && p[1].timestamp >= p[0].timestamp));
    let (units, broken) = world.clients[client].pictures(picture);
    assert_eq!(broken, 0);
    assert!(units.len() > 150, "{}", units.len());
}

#[test]
fn a_peer_that_takes_nothing_holds_a_bounded_queue_and_goes_on_at_a_key_frame() {
    let mut world = World::new(6, Link { udp: false, ..Link::default() }, 10);
    let mut studio = Studio::new(&mut world, 1, start());
    studio.size = 20_000;
    let client = world.join(Wish::Play, floor(), Some(1), true);
    world.run(Dur::from_secs(3), |w| studio.play(w));
    let route = crate::rtc::Route::Tcp(7, world.clients[client].address);
    let now = world.now;
    world.core.block(route, true, now);
    let (sent, requests) = (world.sent, world.requests);
    world.run(Dur::from_secs(10), |w| studio.play(w));
    assert!(world.sent - sent < 60, "only reports go out: {}", world.sent - sent);
    let stats = world.stats(client);
    assert!(stats.dropped_out > 1000, "{stats:?}");
    assert!(world.requests > requests, "a key frame was asked for");
    let now = world.now;
    world.core.block(route, false, now);
    let before = world.clients[client].got.len();
    world.run(Dur::from_millis(300), |w| studio.play(w));
    let late: usize = world.clients[client].got[before..].iter().map(|g| g.payload.len()).sum();
    assert!(late < (crate::rtc::play::MAX_QUEUED_BYTES), "{late} bytes had waited");
    world.run(Dur::from_secs(4), |w| studio.play(w));
    let (_, picture) = sources(&world, client);
    let (units, broken) = world.clients[client].pictures(picture);
    assert!(broken <= 1, "only the one that was under way: {broken}");
    let gap = units.windows(2).position(|w| w[1].timestamp - w[0].timestamp > 90_000).unwrap();
    assert!(units[gap + 1].key, "after the gap it goes on at a key frame");
}

#[test]
fn sound_alone_is_played_to_who_asks_for_sound_alone() {
    let mut world = World::new(7, Link::default(), 10);
    let mut studio = Studio::new(&mut world, 1, start());
    let client = world.join(Wish::Play, role(None, Some(OTHER)), Some(1), false);
    world.run(Dur::from_secs(3), |w| studio.play(w));
    let (sound, picture) = sources(&world, client);
    assert_eq!(picture, 0);
    assert!(world.clients[client].stream(sound).iter().all(|s| s.payload[0] == 2));
    assert!(world.clients[client].stream(sound).len() > 80);
}
