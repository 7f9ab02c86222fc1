//! Offers to every kind of session, what a PATCH carries, and datagrams to the port: answered or refused.
#![no_main]

use boothcast::hub;
use boothcast::media::{Dur, TrackId, Ts};
use boothcast::rtc::core::{Core, Identity};
use boothcast::rtc::{MediaSink, PeerStats, PlaySource, Role, Route, VoiceSink};
use boothcast::wire::sdp::{Candidate, Offer};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, OnceLock};

struct Deaf;

impl VoiceSink for Deaf {
    fn packet(&self, _: i64, _: i64, _: Ts, _: Bytes) {}
}

impl MediaSink for Deaf {
    fn video(&mut self, _: Ts, _: bool, _: Bytes, _: Ts) {}
    fn video_sets(&mut self, _: Vec<Bytes>, _: Ts) {}
    fn audio(&mut self, _: Ts, _: Bytes, _: Ts) {}
    fn stats(&mut self, _: &PeerStats, _: Ts) {}
}

fuzz_target!(|data: &[u8]| {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::new().unwrap()).clone();
    let Some((which, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let now = Ts::from_millis(1_700_000_000_000);
    let address = "203.0.113.7:8189".parse().unwrap();
    let mut core = Core::new(identity, vec![Candidate { address, tcp: false }], 4, now);
    let (_publisher, stream) = hub::stream(hub::Limits::default());
    let role = match which % 4 {
        0 => Role::Play(PlaySource::new(stream, Some(TrackId(0)), Some(TrackId(1)))),
        1 => Role::Voice(Arc::new(Deaf)),
        2 => Role::Contribute(Box::new(Deaf)),
        _ => Role::Probe,
    };
    let opened = core.open(&text, role, None, now);
    assert!(opened.is_err() || Offer::parse(&text).is_ok());
    if let Ok(opened) = opened {
        assert!(opened.answer.starts_with("v=0\r\n"));
        let _ = core.patch(opened.id, &text, None);
    }
    core.input(Route::Udp("192.0.2.1:9".parse().unwrap()), rest, now);
    core.timeout(now + Dur::from_secs(20));
    assert_eq!(core.counts(), (0, 0));
});
