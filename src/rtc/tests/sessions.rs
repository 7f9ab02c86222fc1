//! Sessions: who connects, who leaves, who never comes, and what odd peers send.

use super::sim::{Link, Wish, World};
use crate::media::{Dur, Ts};
use crate::rtc::core::MAX_ROUTES;
use crate::rtc::{MAX_HALF_OPEN, Patched, Role, Route, RtcError, VoiceSink};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

struct Deaf;

impl VoiceSink for Deaf {
    fn packet(&self, _: i64, _: i64, _: Ts, _: Bytes) {}
}

fn voice() -> Role {
    Role::Voice(Arc::new(Deaf))
}

fn offer(world: &World, number: u16) -> String {
    let address = super::sim::client_address(number);
    super::sim::Client::new(world.anchor, world.now, address, Wish::Voice, false).offer(world.anchor, world.now)
}

#[test]
fn those_that_never_connect_are_taken_away_and_hurt_nobody() {
    let mut world = World::new(21, Link::default(), 10_000);
    let offer = offer(&world, 900);
    for _ in 0..MAX_HALF_OPEN {
        world.core.open(&offer, voice(), None, world.now).unwrap();
    }
    assert_eq!(world.core.open(&offer, voice(), None, world.now).unwrap_err(), RtcError::Full);
    assert_eq!(world.core.counts(), (MAX_HALF_OPEN, MAX_HALF_OPEN));
    world.run(Dur::from_secs(16), |_| {});
    assert_eq!(world.core.counts(), (0, 0));
    assert_eq!(world.ended.values().filter(|e| **e == "timeout").count(), MAX_HALF_OPEN);
    world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    assert_eq!(world.core.counts(), (1, 0));
}

#[test]
fn there_are_no_more_sessions_than_may_be() {
    let mut world = World::new(22, Link::default(), 2);
    let offer = offer(&world, 900);
    let first = world.core.open(&offer, voice(), None, world.now).unwrap();
    world.core.open(&offer, voice(), None, world.now).unwrap();
    assert_eq!(world.core.open(&offer, voice(), None, world.now).unwrap_err(), RtcError::Full);
    let now = world.now;
    world.core.close(first.id, now);
    world.core.open(&offer, voice(), None, world.now).unwrap();
}

#[test]
fn a_peer_that_falls_silent_is_taken_away() {
    let mut world = World::new(23, Link::default(), 10);
    let client = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    world.link.udp = false;
    world.run(Dur::from_secs(29), |_| {});
    assert!(world.ended.is_empty());
    world.run(Dur::from_secs(3), |_| {});
    assert_eq!(world.ended.get(&world.clients[client].id), Some(&"silent"));
}

#[test]
fn a_peer_may_say_goodbye_and_is_told() {
    let mut world = World::new(24, Link::default(), 10);
    let leaves = world.join(Wish::Voice, voice(), None, false);
    let stays = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    world.run(Dur::from_secs(1), |_| {});
    let (anchor, now) = (world.anchor, world.now);
    assert!(world.clients[leaves].say(anchor, now, "bye"));
    world.run(Dur::from_millis(100), |_| {});
    assert_eq!(world.ended.get(&world.clients[leaves].id), Some(&"left"));
    let now = world.now;
    let id = world.clients[stays].id;
    world.core.close(id, now);
    world.run(Dur::from_millis(100), |_| {});
    assert_eq!(world.ended.get(&id), Some(&"closed"));
    assert_eq!(world.clients[stays].messages, ["bye"]);
    assert_eq!(world.core.counts(), (0, 0));
}

#[test]
fn a_peer_may_change_its_address() {
    let mut world = World::new(25, Link::default(), 10);
    let client = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    world.run(Dur::from_secs(2), |_| {});
    // Its router gives it another port: the link is told to deliver under the new one.
    let before = world.stats(client).peer.unwrap();
    let rebound = std::net::SocketAddr::new(before.ip(), before.port() + 5000);
    world.rebind(before, rebound);
    world.run(Dur::from_secs(40), |_| {});
    assert!(world.ended.is_empty(), "{:?}", world.ended);
    assert_eq!(world.stats(client).peer, Some(rebound));
}

#[test]
fn ice_is_restarted_and_trickled_as_rfc_9725_says() {
    let mut world = World::new(26, Link::default(), 10);
    let offer = offer(&world, 900);
    let opened = world.core.open(&offer, voice(), None, world.now).unwrap();
    let ufrag = offer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap().trim().to_owned();
    let trickle = format!("a=ice-ufrag:{ufrag}\r\na=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n");
    assert_eq!(world.core.patch(opened.id, &trickle, Some(&opened.etag)), Ok(Patched::Trickled));
    assert_eq!(world.core.patch(opened.id, &trickle, Some("other")), Err(RtcError::Outdated));
    let restart = "a=ice-ufrag:fresh\r\na=ice-pwd:0123456789012345678901\r\n";
    assert_eq!(world.core.patch(opened.id, restart, Some(&opened.etag)), Err(RtcError::Outdated));
    let Ok(Patched::Restarted { fragment, etag }) = world.core.patch(opened.id, restart, Some("*")) else {
        panic!("no restart")
    };
    assert_ne!(etag, opened.etag);
    let fresh = fragment.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap();
    assert!(!opened.answer.contains(fresh), "new credentials");
    assert!(fragment.contains("typ host tcptype passive"));
    assert!(world.core.patch(opened.id, "a=ice-ufrag:again\r\n", Some("*")).is_err(), "without a password");
    assert!(world.core.patch(opened.id, "rubbish", None).is_err());
    assert_eq!(world.core.patch(999, restart, None), Err(RtcError::Gone));
}

#[test]
fn a_live_session_goes_on_over_an_ice_restart() {
    let mut world = World::new(27, Link::default(), 10);
    let client = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    world.restart_ice(client);
    world.run(Dur::from_secs(40), |_| {});
    assert!(world.ended.is_empty(), "{:?}", world.ended);
    assert!(!world.clients[client].closed);
}

#[test]
fn datagrams_of_nobody_are_nothing() {
    let mut world = World::new(28, Link::default(), 10);
    let client = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    let stranger = Route::Udp("192.0.2.66:6666".parse().unwrap());
    let known = Route::Udp(world.clients[client].address);
    let now = world.now;
    assert!(!world.core.input(stranger, b"", now));
    assert!(!world.core.input(stranger, &[0x80; 100], now));
    for first in 0..=255u8 {
        for length in [1usize, 13, 60, 1200] {
            let mut data = vec![0x5a; length];
            data[0] = first;
            assert!(!world.core.input(stranger, &data, now));
            world.core.input(known, &data, now);
        }
    }
    world.run(Dur::from_secs(3), |_| {});
    assert!(world.ended.is_empty(), "rubbish from its address does not end a session: {:?}", world.ended);
}

#[test]
fn a_peer_has_no_more_addresses_than_may_be() {
    let mut world = World::new(29, Link::default(), 10);
    let client = world.join(Wish::Voice, voice(), None, false);
    assert!(world.connect(Dur::from_secs(5)));
    let mut at = world.clients[client].address;
    for n in 0..30 {
        let to = std::net::SocketAddr::new(at.ip(), 20_000 + n);
        world.rebind(at, to);
        at = to;
        world.run(Dur::from_secs(5), |_| {});
    }
    assert!(world.core.routes_of(world.clients[client].id) <= MAX_ROUTES);
    assert!(world.ended.is_empty());
}

#[test]
fn what_cannot_be_used_is_refused_in_words() {
    let mut world = World::new(30, Link::default(), 10);
    let offer = offer(&world, 900);
    let mut refused = |text: &str| world.core.open(text, voice(), None, super::sim::start()).unwrap_err().to_string();
    assert!(refused(&offer.replace("opus/48000", "pcmu/8000")).contains("Opus"));
    assert!(refused(&offer.replace("a=sendrecv", "a=recvonly")).contains("neither sound nor picture"));
    assert!(refused(&offer.replace("a=rtcp-mux\r\n", "")).contains("rtcp-mux"));
    assert!(refused("hello").contains("line 1"));
    assert_eq!(world.core.counts(), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn odd_offers_are_answered_or_refused(at: prop::sample::Index, by in "\\PC{0,4}", length in 0usize..60, which in 0u8..4) {
        let mut world = World::new(31, Link::default(), 10);
        let offer = offer(&world, 900);
        let (from, to) = (at.index(offer.len()), (at.index(offer.len()) + length).min(offer.len()));
        let odd = [&offer[..from], &by, &offer[to..]].concat();
        let role = match which {
            0 => voice(),
            1 => Role::Probe,
            _ => Role::Voice(Arc::new(Deaf)),
        };
        if let Ok(opened) = world.core.open(&odd, role, None, world.now) {
            prop_assert!(opened.answer.starts_with("v=0\r\n") && opened.answer.contains("a=ice-lite"));
        }
    }
}
