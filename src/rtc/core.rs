//! All peers behind one port, without IO: datagrams, packets of the hub and the time go in; datagrams, events and the
//! next
//! deadline come out.

pub use super::crypto::Identity;
use super::crypto::token;
use super::ice::{Credentials, Route};
use super::instant::Anchor;
use super::negotiate::{Plan, negotiate};
use super::peer::{End, Peer, is_stun};
use super::play::Unit;
use super::{Accept, KeyFrameRequest, MAX_HALF_OPEN, Patched, PeerState, PeerStats, Role, RtcError};
use crate::media::{Dur, Media, Packet, Track, TrackId, Ts, VideoCodec};
use crate::wire::bitstream::h264::AvcConfig;
use crate::wire::rtp::h264::{MAX_PAYLOAD, packetize};
use crate::wire::sdp::{Answer, Candidate, Fragment, Offer};
use crate::wire::stun::Request;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Addresses of one peer that are remembered: a machine with several interfaces tries them all.
pub const MAX_ROUTES: usize = 8;

/// The least time between two key frames that are asked for of one source. However many viewers join at once, one key
/// frame serves them.
pub const KEY_FRAME_INTERVAL: Dur = Dur::from_millis(500);

/// How often the round trip to each peer is measured.
const PING_INTERVAL: Dur = Dur::from_secs(1);

/// Characters of a session's id: 20 of 62 are 119 bits, for who knows the id may end the session.
const ID: usize = 20;

/// A peer's number, never used again.
pub type PeerId = u64;

/// A source's number.
pub type SourceId = u64;

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Over what and where to.
    pub route: Route,
    /// The datagram.
    pub data: Bytes,
}

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// New figures.
    Stats(PeerId, Box<PeerStats>),
    /// It is gone; nothing more comes of it.
    Ended(PeerId, End),
}

/// A session that was answered.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its number.
    pub id: PeerId,
    /// Its name in URLs.
    pub name: String,
    /// Its ICE session's entity tag, without quotes.
    pub etag: String,
    /// The answer.
    pub answer: String,
}

struct Slot {
    peer: Peer,
    /// It counts among those that have not connected.
    half_open: bool,
    routes: VecDeque<Route>,
    fragments: Vec<String>,
    due: Ts,
    plan: Plan,
    etag: String,
    /// What it plays.
    source: Option<(SourceId, Option<TrackId>, Option<TrackId>)>,
}

struct Source {
    request: Option<KeyFrameRequest>,
    asked: Ts,
    /// The picture's track as it was last, with its parameter sets.
    picture: Option<(Arc<Track>, Vec<Bytes>)>,
}

/// All peers.
pub struct Core {
    identity: Identity,
    anchor: Anchor,
    candidates: Vec<Candidate>,
    max_sessions: usize,
    peers: BTreeMap<PeerId, Slot>,
    next: PeerId,
    half_open: usize,
    routes: HashMap<Route, PeerId>,
    fragments: HashMap<String, PeerId>,
    timers: BTreeSet<(Ts, PeerId)>,
    sources: BTreeMap<SourceId, Source>,
    ping_due: Ts,
    out: VecDeque<Transmit>,
    events: VecDeque<Event>,
    requests: VecDeque<KeyFrameRequest>,
}

impl Core {
    /// Reached at `candidates`, for at most `max_sessions` peers.
    pub fn new(identity: Identity, candidates: Vec<Candidate>, max_sessions: u32, now: Ts) -> Core {
        Core {
            identity,
            anchor: Anchor::new(now),
            candidates,
            max_sessions: max_sessions as usize,
            peers: BTreeMap::new(),
            next: 1,
            half_open: 0,
            routes: HashMap::new(),
            fragments: HashMap::new(),
            timers: BTreeSet::new(),
            sources: BTreeMap::new(),
            ping_due: now,
            out: VecDeque::new(),
            events: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }

    /// Addresses that are remembered of a peer.
    #[cfg(test)]
    pub(super) fn routes_of(&self, id: PeerId) -> usize {
        self.routes.values().filter(|owner| **owner == id).count()
    }

    /// Peers, and how many of them have not connected.
    pub fn counts(&self) -> (usize, usize) {
        (self.peers.len(), self.half_open)
    }

    /// Answers an offer. `source` is what a player plays.
    ///
    /// # Errors
    /// Why not.
    pub fn open(&mut self, offer: &str, role: Role, source: Option<SourceId>, now: Ts) -> Result<Opened, RtcError> {
        let accept = match &role {
            Role::Play(s) => Accept::Play { video: s.video.is_some(), audio: s.audio.is_some() },
            Role::Voice(_) => Accept::Voice,
            Role::Contribute(_) => Accept::Contribute,
            Role::Probe => Accept::Probe,
        };
        let tracks = match &role {
            Role::Play(s) => (s.video, s.audio),
            _ => (None, None),
        };
        let offer = Offer::parse(offer)?;
        let plan = negotiate(&offer, accept)?;
        if self.peers.len() >= self.max_sessions || self.half_open >= MAX_HALF_OPEN {
            metrics::counter!("boothcast_webrtc_refused_total", "reason" => "full").increment(1);
            return Err(RtcError::Full);
        }
        let remote = Credentials { ufrag: offer.ufrag.clone(), pwd: offer.pwd.clone() };
        let mut peer = Peer::new(&self.identity, self.anchor, remote, offer.fingerprint, &plan, role, now)?;
        let answer = self.answer(&mut peer, &plan).write(&offer.media);
        let id = self.next;
        self.next += 1;
        let fragments: Vec<String> = peer.ice().fragments().map(str::to_owned).collect();
        for fragment in &fragments {
            self.fragments.insert(fragment.clone(), id);
        }
        let due = peer.poll_timeout();
        self.timers.insert((due, id));
        let source = source.map(|s| (s, tracks.0, tracks.1));
        let etag = token(ID);
        let opened = Opened { id, name: token(ID), etag: etag.clone(), answer };
        let slot = Slot { peer, half_open: true, routes: VecDeque::new(), fragments, due, plan, etag, source };
        self.peers.insert(id, slot);
        self.half_open += 1;
        Ok(opened)
    }

    fn answer(&self, peer: &mut Peer, plan: &Plan) -> Answer {
        let local = peer.ice().local().clone();
        Answer {
            session: rand::random(),
            ufrag: local.ufrag,
            pwd: local.pwd,
            fingerprint: self.identity.fingerprint,
            active: plan.active,
            candidates: self.candidates.clone(),
            sections: plan.sections.clone(),
        }
    }

    /// Takes the fragment of a PATCH (RFC 9725 §4.3). `etag` is what the request is conditional on; a restart must not
    /// be, but for `*`.
    ///
    /// # Errors
    /// [`RtcError::Gone`], [`RtcError::Outdated`], or that the fragment cannot be read.
    pub fn patch(&mut self, id: PeerId, fragment: &str, etag: Option<&str>) -> Result<Patched, RtcError> {
        let fragment = Fragment::parse(fragment)?;
        let slot = self.peers.get_mut(&id).ok_or(RtcError::Gone)?;
        let ice = slot.peer.ice();
        let present = ice.remote().clone();
        let fresh = fragment.ufrag.as_ref().is_some_and(|u| *u != present.ufrag);
        if !fresh {
            return match etag {
                Some(etag) if etag != "*" && etag != slot.etag => Err(RtcError::Outdated),
                _ => Ok(Patched::Trickled),
            };
        }
        if etag.is_some_and(|etag| etag != "*") {
            return Err(RtcError::Outdated);
        }
        let (Some(ufrag), Some(pwd)) = (fragment.ufrag, fragment.pwd) else {
            return Err(RtcError::Description(crate::wire::sdp::Error::Missing("no ICE password")));
        };
        ice.restart(Credentials { ufrag, pwd });
        let fragments: Vec<String> = ice.fragments().map(str::to_owned).collect();
        slot.etag = token(ID);
        for old in std::mem::replace(&mut slot.fragments, fragments.clone()) {
            self.fragments.remove(&old);
        }
        for new in fragments {
            self.fragments.insert(new, id);
        }
        let etag = slot.etag.clone();
        let plan = slot.plan.clone();
        let Some(mut slot) = self.peers.remove(&id) else { return Err(RtcError::Gone) };
        let answer = self.answer(&mut slot.peer, &plan);
        self.peers.insert(id, slot);
        Ok(Patched::Restarted { fragment: answer.write_fragment(plan.mid.as_deref()), etag })
    }

    /// Ends a session; the peer is told.
    pub fn close(&mut self, id: PeerId, now: Ts) {
        self.with(id, now, |peer, out, _| peer.close(now, out));
    }

    /// A source that peers may play; `request` makes its key frames.
    pub fn add_source(&mut self, id: SourceId, request: Option<KeyFrameRequest>) {
        self.sources.insert(id, Source { request, asked: Ts::ZERO, picture: None });
    }

    /// A source that nobody plays any more.
    pub fn remove_source(&mut self, id: SourceId) {
        self.sources.remove(&id);
    }

    /// Whether any peer plays a source.
    pub fn plays(&self, id: SourceId) -> bool {
        self.peers.values().any(|s| s.source.is_some_and(|(source, ..)| source == id))
    }

    /// A player plays other tracks, or another source, from now on.
    pub fn set_source(
        &mut self,
        id: PeerId,
        source: SourceId,
        video: Option<TrackId>,
        audio: Option<TrackId>,
        now: Ts,
    ) {
        let Some(slot) = self.peers.get_mut(&id) else { return };
        let before = slot.source.replace((source, video, audio));
        let same_picture = before.is_some_and(|(s, v, _)| (s, v) == (source, video));
        self.with(id, now, |peer, _, _| peer.switch(!same_picture));
    }

    /// A datagram came, or a frame of a TCP connection. False where it belongs to nobody.
    pub fn input(&mut self, from: Route, data: &[u8], now: Ts) -> bool {
        let id = if is_stun(data) {
            let named = Request::parse(data).and_then(|r| self.fragments.get(r.local_fragment()).copied());
            named.or_else(|| self.routes.get(&from).copied())
        } else {
            self.routes.get(&from).copied()
        };
        let Some(id) = id else { return false };
        let mut known = true;
        if is_stun(data) {
            let mut authentic = false;
            self.with(id, now, |peer, out, identity| authentic = peer.stun(identity, from, data, now, out));
            known = authentic;
            if authentic {
                self.learn(from, id);
            }
        } else {
            self.with(id, now, |peer, out, _| peer.input(from, data, now, out));
        }
        known
    }

    /// The address is this peer's.
    fn learn(&mut self, route: Route, id: PeerId) {
        let before = self.routes.insert(route, id);
        if before == Some(id) {
            return;
        }
        if let Some(other) = before.and_then(|b| self.peers.get_mut(&b)) {
            other.routes.retain(|r| *r != route);
        }
        let Some(slot) = self.peers.get_mut(&id) else {
            self.routes.remove(&route);
            return;
        };
        slot.routes.push_back(route);
        if slot.routes.len() > MAX_ROUTES {
            let used = slot.peer.ice().route();
            if let Some(at) = slot.routes.iter().position(|r| Some(*r) != used)
                && let Some(old) = slot.routes.remove(at)
            {
                self.routes.remove(&old);
            }
        }
    }

    /// A TCP connection is gone.
    pub fn disconnected(&mut self, route: Route) {
        if let Some(id) = self.routes.remove(&route)
            && let Some(slot) = self.peers.get_mut(&id)
        {
            slot.routes.retain(|r| *r != route);
            slot.peer.ice().lost(route);
        }
    }

    /// A TCP connection takes nothing more for now, or takes packets again.
    pub fn block(&mut self, route: Route, blocked: bool, now: Ts) {
        if let Some(id) = self.routes.get(&route).copied() {
            self.with(id, now, |peer, out, _| {
                if peer.ice().route() == Some(route) {
                    peer.block(blocked);
                    if !blocked {
                        peer.timeout(now, out);
                    }
                }
            });
        }
    }

    /// A packet of a source.
    pub fn media(&mut self, source: SourceId, packet: &Packet, now: Ts) {
        let track = packet.track.id;
        let wanted = |slot: &&Slot| match slot.source {
            Some((s, video, audio)) => s == source && (video == Some(track) || audio == Some(track)),
            None => false,
        };
        let ids: Vec<PeerId> = self.peers.iter().filter(|(_, s)| wanted(s)).map(|(id, _)| *id).collect();
        if ids.is_empty() || packet.decode_only {
            return;
        }
        let Some(unit) = self.sources.get_mut(&source).and_then(|s| s.unit(packet)) else { return };
        let unit = Arc::new(unit);
        for id in ids {
            self.with(id, now, |peer, out, _| peer.unit(&unit, now, out));
        }
    }

    /// Packets of a source were missed: its players go on at a key frame.
    pub fn lagged(&mut self, source: SourceId, now: Ts) {
        let players = self.peers.iter().filter(|(_, s)| s.source.is_some_and(|(id, ..)| id == source));
        let ids: Vec<PeerId> = players.map(|(id, _)| *id).collect();
        for id in ids {
            self.with(id, now, |peer, _, _| {
                if let Some(player) = peer.player() {
                    player.lag();
                }
            });
        }
    }

    /// What is due is done.
    pub fn timeout(&mut self, now: Ts) {
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.with(id, now, |peer, out, _| peer.timeout(now, out));
            // A timer that cannot be met yet (rounding, a closed peer) must not be asked again at once.
            if let Some(slot) = self.peers.get_mut(&id)
                && slot.due <= now
            {
                self.timers.remove(&(slot.due, id));
                slot.due = now + Dur::from_millis(1);
                self.timers.insert((slot.due, id));
            }
        }
        if now >= self.ping_due {
            self.ping_due = now + PING_INTERVAL;
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in ids {
                if let Some(slot) = self.peers.get_mut(&id) {
                    slot.peer.ping(&self.identity, now, &mut self.out);
                }
            }
        }
    }

    /// When [`Core::timeout`] wants to be called; none while there is nobody.
    pub fn poll_timeout(&self) -> Option<Ts> {
        self.timers.first().map(|&(due, _)| due.min(self.ping_due))
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next request for a key frame, to be called.
    pub fn poll_request(&mut self) -> Option<KeyFrameRequest> {
        self.requests.pop_front()
    }

    /// Lets a peer work, and takes up what came of it. The cores of DTLS, SRTP and SCTP are not ours: should one panic
    /// on
    /// what a peer sent, that peer ends and nobody else.
    fn with(&mut self, id: PeerId, now: Ts, work: impl FnOnce(&mut Peer, &mut VecDeque<Transmit>, &Identity)) {
        let Some(slot) = self.peers.get_mut(&id) else { return };
        let (out, identity) = (&mut self.out, &self.identity);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            work(&mut slot.peer, out, identity);
            slot.peer.poll_timeout()
        }));
        let Ok(due) = ran else {
            tracing::error!(peer = id, "WebRTC session ended by a fault of ours");
            metrics::counter!("boothcast_webrtc_faults_total").increment(1);
            return self.remove(id, End::Failed, None);
        };
        if slot.peer.state() == PeerState::Connected && std::mem::take(&mut slot.half_open) {
            self.half_open -= 1;
        }
        if due != slot.due {
            self.timers.remove(&(slot.due, id));
            slot.due = due;
            self.timers.insert((due, id));
        }
        let stats = slot.peer.take_stats();
        if slot.peer.take_key_request()
            && let Some((source, ..)) = slot.source
            && let Some(source) = self.sources.get_mut(&source)
            && now - source.asked >= KEY_FRAME_INTERVAL
        {
            source.asked = now;
            self.requests.extend(source.request.clone());
        }
        if let Some(end) = slot.peer.end() {
            return self.remove(id, end, stats);
        }
        self.events.extend(stats.map(|s| Event::Stats(id, Box::new(s))));
    }

    fn remove(&mut self, id: PeerId, end: End, stats: Option<PeerStats>) {
        let Some(slot) = self.peers.remove(&id) else { return };
        self.half_open -= usize::from(slot.half_open);
        self.timers.remove(&(slot.due, id));
        for route in &slot.routes {
            self.routes.remove(route);
        }
        for fragment in &slot.fragments {
            self.fragments.remove(fragment);
        }
        metrics::counter!("boothcast_webrtc_sessions_ended_total", "reason" => end.as_str()).increment(1);
        self.events.extend(stats.map(|s| Event::Stats(id, Box::new(s))));
        self.events.push_back(Event::Ended(id, end));
    }
}

impl Source {
    /// The packet, packetized; none for what cannot be played.
    fn unit(&mut self, packet: &Packet) -> Option<Unit> {
        let (video, payloads) = match &packet.track.media {
            Media::Video(format) if format.codec == VideoCodec::H264 => {
                let known = self.picture.as_ref().is_some_and(|(t, _)| Arc::ptr_eq(t, &packet.track));
                if !known {
                    let config = AvcConfig::parse(&format.config).ok()?;
                    let sets = config.sps.iter().chain(&config.pps).cloned().collect();
                    self.picture = Some((packet.track.clone(), sets));
                }
                let sets = self.picture.as_ref().map_or(&[][..], |(_, sets)| sets);
                let sets = if packet.key { sets } else { &[] };
                (true, packetize(&packet.data, sets, MAX_PAYLOAD))
            }
            Media::Audio(format) if format.codec == crate::media::AudioCodec::Opus => {
                (false, vec![packet.data.clone()])
            }
            _ => return None,
        };
        let bytes = payloads.iter().map(Bytes::len).sum();
        (bytes > 0).then_some(Unit { video, key: packet.key, pts: packet.pts, payloads, bytes })
    }
}
