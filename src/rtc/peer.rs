//! One peer, without IO: from the offer to the last packet.

use super::channel::{Channels, Message};
use super::contribute::{Incoming, Sink};
use super::core::Transmit;
use super::crypto::{Identity, random};
use super::ice::{Checked, Credentials, Ice, Route};
use super::instant::Anchor;
use super::negotiate::Plan;
use super::outgoing::{Outgoing, Plain};
use super::play::{Player, Unit};
use super::secure::{Event, Secure};
use super::{CONNECT_TIMEOUT, PeerState, PeerStats, Role, RtcError, SILENCE_TIMEOUT};
use crate::media::{Dur, Ts};
use crate::wire::rtp::rtcp::{self, Compound, Packet, Report};
use crate::wire::rtp::{self, Header, is_rtcp};
use crate::wire::stun;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Reports, figures and the measurement of the round trip.
const REPORT_INTERVAL: Dur = Dur::from_secs(1);

/// Packets sent again to one peer in a second: a tenth of 30 Mbps. More loss than that is no way to repair.
const MAX_RESENT: u32 = 300;

/// The name of the channel that the peer controls its session by.
const CONTROL: &str = "ctl";

/// What the connection test sends: Opus packets of 20 ms of silence, filled up to the size that a
/// voice at 64 kbps has (RFC 6716 §3.2.5: code 3, one frame of silence, padding), 50 a second.
const PROBE_INTERVAL: Dur = Dur::from_millis(20);
const PROBE_SIZE: usize = 160;

/// Why a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It never connected.
    Timeout,
    /// It has fallen silent.
    Silent,
    /// It said so.
    Left,
    /// It broke the protocol, or is not who it said.
    Failed,
    /// We closed it.
    Closed,
}

impl End {
    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            End::Timeout => "timeout",
            End::Silent => "silent",
            End::Left => "left",
            End::Failed => "failed",
            End::Closed => "closed",
        }
    }
}

/// A peer.
pub struct Peer {
    ice: Ice,
    secure: Secure,
    channels: Option<Channels>,
    active: bool,
    role: Role,
    /// The source of our reports where we send no media.
    own: u32,
    cname: String,
    player: Option<Player>,
    incoming: Incoming,
    probe: Option<Ts>,
    created: Ts,
    state: PeerState,
    end: Option<End>,
    stats: PeerStats,
    changed: bool,
    report_due: Ts,
    resent: u32,
    /// Wants a key frame from its source.
    wants_key: bool,
    /// The peer's way takes nothing more for now (TCP).
    blocked: bool,
}

impl Peer {
    /// A session that was just answered.
    ///
    /// # Errors
    /// [`RtcError::Unavailable`] when the crypto library refuses.
    pub fn new(
        identity: &Identity,
        anchor: Anchor,
        remote: Credentials,
        fingerprint: [u8; 32],
        plan: &Plan,
        role: Role,
        now: Ts,
    ) -> Result<Peer, RtcError> {
        let secure = Secure::new(identity, anchor, fingerprint, plan.active).map_err(RtcError::Unavailable)?;
        let sound = plan.sound.as_ref().and_then(Outgoing::sound);
        let picture = plan.picture.as_ref().and_then(Outgoing::picture);
        let sends = sound.is_some() || picture.is_some();
        let probe = (matches!(role, Role::Probe) && sound.is_some()).then_some(now);
        let mut role = role;
        if let (Role::Contribute(sink), Some(picture)) = (&mut role, &plan.picture)
            && !picture.sets.is_empty()
        {
            sink.video_sets(picture.sets.clone(), now);
        }
        Ok(Peer {
            ice: Ice::new(remote, now),
            secure,
            channels: plan.data.then(|| Channels::new(anchor)),
            active: plan.active,
            role,
            own: random(),
            cname: plan.cname.clone(),
            player: sends.then(|| Player::new(sound, picture)),
            incoming: Incoming::new(plan.sound.as_ref(), plan.picture.as_ref()),
            probe,
            created: now,
            state: PeerState::Connecting,
            end: None,
            stats: PeerStats::default(),
            changed: true,
            report_due: now + REPORT_INTERVAL,
            resent: 0,
            wants_key: false,
            blocked: false,
        })
    }

    /// Its ICE agent.
    pub fn ice(&mut self) -> &mut Ice {
        &mut self.ice
    }

    /// How far it is.
    pub fn state(&self) -> PeerState {
        self.state
    }

    /// Why it ended, when it has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The figures, when they have changed since asked last.
    pub fn take_stats(&mut self) -> Option<PeerStats> {
        std::mem::take(&mut self.changed).then_some(self.stats)
    }

    /// Whether a key frame is wanted since asked last.
    pub fn take_key_request(&mut self) -> bool {
        std::mem::take(&mut self.wants_key)
    }

    /// What it plays.
    pub fn player(&mut self) -> Option<&mut Player> {
        self.player.as_mut()
    }

    /// Its way takes nothing more for now, or takes packets again.
    pub fn block(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Takes a STUN message; true where it is this peer's.
    pub fn stun(
        &mut self,
        identity: &Identity,
        from: Route,
        data: &[u8],
        now: Ts,
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        match self.ice.check(identity, from, data, now) {
            Checked::Ignored => return false,
            Checked::Measured => self.ice.hear(from, now),
            Checked::Answer { response, nominated } => {
                out.push_back(Transmit { route: from, data: response.into() });
                if nominated {
                    self.stats.transport = Some(from.name());
                    self.stats.peer = Some(from.address());
                    self.changed = true;
                    self.blocked = false;
                    self.secure.start(now);
                    self.flush(now, out);
                }
            }
        }
        true
    }

    /// Takes any other datagram of this peer's.
    pub fn input(&mut self, from: Route, data: &[u8], now: Ts, out: &mut VecDeque<Transmit>) {
        match data.first() {
            Some(20..=63) => self.dtls(from, data, now, out),
            Some(128..=191) if is_rtcp(data) => {
                if let Some(plain) = self.secure.open_rtcp(data) {
                    self.ice.hear(from, now);
                    self.rtcp(&plain, now, out);
                }
            }
            Some(128..=191) => {
                if let Some(plain) = self.secure.open_rtp(data) {
                    self.ice.hear(from, now);
                    self.rtp(plain.freeze(), now, out);
                }
            }
            _ => {}
        }
    }

    fn dtls(&mut self, from: Route, data: &[u8], now: Ts, out: &mut VecDeque<Transmit>) {
        let events = match self.secure.read(now, data) {
            Ok(events) => events,
            Err(error) => {
                tracing::info!(peer = %from.address(), error, "WebRTC session failed");
                self.flush(now, out);
                return self.finish(End::Failed);
            }
        };
        for event in events {
            match event {
                Event::Connected => {
                    self.state = PeerState::Connected;
                    self.stats.state = PeerState::Connected;
                    self.changed = true;
                    self.report_due = now;
                    self.wants_key = self.player.as_ref().is_some_and(Player::seeks_key);
                    self.probe = self.probe.map(|_| now);
                    if self.active
                        && let Some(channels) = &mut self.channels
                    {
                        channels.connect(now);
                    }
                }
                Event::Data(data) => {
                    self.ice.hear(from, now);
                    let messages = self.channels.as_mut().map(|c| c.read(now, data)).unwrap_or_default();
                    messages.into_iter().for_each(|m| self.message(m, now));
                }
                Event::Closed => self.finish(End::Left),
            }
        }
        self.flush(now, out);
    }

    /// A message on a data channel: `ping…` is answered by `pong…`, `bye` ends the session, in the connection test any
    /// other message comes back as it is.
    fn message(&mut self, message: Message, now: Ts) {
        let Message { stream, label, text, data } = message;
        let Some(channels) = &mut self.channels else { return };
        if data.starts_with(b"ping") {
            let pong = [b"pong", &data[4..]].concat();
            channels.send(now, stream, text, &pong.into());
        } else if label == CONTROL && &data[..] == b"bye" {
            self.finish(End::Left);
        } else if matches!(self.role, Role::Probe) {
            channels.send(now, stream, text, &data);
        }
    }

    fn rtp(&mut self, plain: Bytes, now: Ts, out: &mut VecDeque<Transmit>) {
        let Some((header, range)) = Header::parse(&plain) else { return };
        let payload = plain.slice(range);
        self.incoming.packet(&header, payload, now, &mut sink(&mut self.role));
        self.feedback(now, out);
    }

    /// Asks for what is missing.
    fn feedback(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        let mut compound = Compound::new();
        let rtt = self.ice.rtt().unwrap_or(Dur::from_millis(50));
        self.incoming.feedback(&mut compound, self.own, rtt, now);
        if !compound.is_empty() {
            let mut whole = Compound::new();
            whole.receiver(self.own, &[]);
            let bytes = [whole.finish(), compound.finish()].concat();
            self.send_rtcp(&bytes, out);
        }
    }

    fn rtcp(&mut self, plain: &[u8], now: Ts, out: &mut VecDeque<Transmit>) {
        for packet in rtcp::parse(plain) {
            match packet {
                Packet::Sender(report) => {
                    self.incoming.sender_report(report.ssrc, report.ntp, report.rtp, now);
                    self.reported(&report.reports, now);
                }
                Packet::Receiver { reports, .. } => self.reported(&reports, now),
                Packet::Nack { media, sequences } => self.nack(media, &sequences, now, out),
                Packet::Pli { media } => self.key_frame_asked(media),
                Packet::Fir { requests } => requests.iter().for_each(|(media, _)| self.key_frame_asked(*media)),
                // The transport says when a peer ends; a source that ends may be replaced.
                Packet::Bye(_) => {}
            }
        }
    }

    fn reported(&mut self, reports: &[Report], now: Ts) {
        let Some(player) = &mut self.player else { return };
        for report in reports {
            let mine = |out: Option<&mut Outgoing>| out.filter(|o| o.ssrc() == report.ssrc)?.heard(report, now);
            let measured = mine(player.sound());
            if let Some(rtt) = measured.or_else(|| mine(player.picture()))
                && self.ice.rtt().is_none()
            {
                self.ice.measure(rtt);
            }
        }
    }

    fn nack(&mut self, media: u32, sequences: &[u16], now: Ts, out: &mut VecDeque<Transmit>) {
        let Some(route) = self.ice.route() else { return };
        let Some(picture) = self.player.as_mut().and_then(Player::picture).filter(|p| p.ssrc() == media) else {
            return;
        };
        self.stats.nacks += sequences.len() as u64;
        for sequence in sequences {
            if self.resent >= MAX_RESENT {
                break;
            }
            if let Some(plain) = picture.again(*sequence, now) {
                self.resent += 1;
                self.stats.resent += 1;
                seal(&mut self.secure, &mut self.stats, route, &plain, out);
            }
        }
    }

    fn key_frame_asked(&mut self, media: u32) {
        let mine = self.player.as_mut().and_then(Player::picture).is_some_and(|p| p.ssrc() == media);
        if mine {
            self.stats.plis += 1;
            self.wants_key = true;
        }
    }

    /// A unit of the source that it plays.
    pub fn unit(&mut self, unit: &Arc<Unit>, now: Ts, out: &mut VecDeque<Transmit>) {
        if self.state != PeerState::Connected {
            return;
        }
        if let Some(player) = &mut self.player {
            self.wants_key |= player.push(unit, now);
            self.play(now, out);
        }
    }

    /// Sends what waits and may go.
    fn play(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        let (Some(player), Some(route), false) = (&mut self.player, self.ice.route(), self.blocked) else { return };
        let (secure, stats) = (&mut self.secure, &mut self.stats);
        player.poll(now, |plain| seal(secure, stats, route, &plain, out));
        stats.dropped_out = player.dropped();
    }

    /// What is due is done.
    pub fn timeout(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        let silent = now - self.ice.heard() >= SILENCE_TIMEOUT;
        match self.state {
            PeerState::Connecting if now - self.created >= CONNECT_TIMEOUT => return self.finish(End::Timeout),
            PeerState::Connected if silent => return self.finish(End::Silent),
            PeerState::Closed => return,
            _ => {}
        }
        self.secure.timeout(now);
        if let Some(channels) = &mut self.channels {
            channels.timeout(now);
        }
        if self.state == PeerState::Connected {
            self.probe(now);
            self.play(now, out);
            self.incoming.release(now, &mut sink(&mut self.role));
            self.feedback(now, out);
            if now >= self.report_due {
                self.report(now, out);
            }
        }
        self.flush(now, out);
    }

    /// The packets of the connection test that are due.
    fn probe(&mut self, now: Ts) {
        let (Some(due), Some(player)) = (&mut self.probe, &mut self.player) else { return };
        // A daemon that was held up leaves out what is late.
        *due = (*due).max(now - PROBE_INTERVAL * 5);
        while *due <= now {
            let mut packet = vec![0u8; PROBE_SIZE];
            // TOC: CELT, full band, 20 ms, code 3; one frame, padded; the length of the padding; the frame of silence.
            packet[..5].copy_from_slice(&[0xfb, 0x41, (PROBE_SIZE - 5) as u8, 0xff, 0xfe]);
            let unit = Unit { video: false, key: false, pts: *due, bytes: PROBE_SIZE, payloads: vec![packet.into()] };
            player.push(&Arc::new(unit), now);
            *due += PROBE_INTERVAL;
        }
    }

    fn report(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        self.report_due = now + REPORT_INTERVAL;
        self.resent = 0;
        let mut reports = self.incoming.reports(now);
        let mut compound = Compound::new();
        let mut source = self.own;
        if let Some(player) = &mut self.player {
            let shown = player.shown(now);
            let taken = std::mem::take(&mut reports);
            let mut waiting = Some(taken);
            for which in [Player::sound, Player::picture] {
                if let Some(outgoing) = which(player)
                    && let Some(report) = outgoing.report(now, shown, waiting.take().unwrap_or_default())
                {
                    source = report.ssrc;
                    compound.sender(&report);
                    compound.name(report.ssrc, &self.cname);
                }
            }
            reports = waiting.unwrap_or_default();
        }
        if compound.is_empty() {
            compound.receiver(source, &reports);
            compound.name(source, &self.cname);
        }
        self.send_rtcp(&compound.finish(), out);
        self.figures(now);
    }

    fn figures(&mut self, now: Ts) {
        let (loss, jitter, packets, bytes, lost) = self.incoming.figures();
        let stats = &mut self.stats;
        (stats.loss_up, stats.jitter) = (loss.or(stats.loss_up.filter(|_| packets > stats.packets_in)), jitter);
        (stats.packets_in, stats.bytes_in, stats.lost_in) = (packets, bytes, lost);
        stats.rtt = self.ice.rtt();
        if let Some(player) = &mut self.player {
            let sound = player.sound().and_then(|o| o.quality());
            let picture = player.picture().and_then(|o| o.quality());
            // The picture has more packets and so says more of loss; sound says more of jitter.
            stats.loss_down = picture.or(sound).map(|q| q.0);
            stats.jitter_down = sound.or(picture).map(|q| q.1);
            stats.dropped_out = player.dropped();
        }
        if let Role::Contribute(sink) = &mut self.role {
            sink.stats(stats, now);
        }
        self.changed = true;
    }

    /// Measures the round trip; asked once a second by the core, which has the keys.
    pub fn ping(&mut self, identity: &Identity, now: Ts, out: &mut VecDeque<Transmit>) {
        if self.state == PeerState::Connected
            && let Some((route, message)) = self.ice.ping(identity, now)
        {
            out.push_back(Transmit { route, data: message.into() });
        }
    }

    /// When [`Peer::timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Ts {
        let limit = match self.state {
            PeerState::Connecting => self.created + CONNECT_TIMEOUT,
            PeerState::Connected => self.report_due.min(self.ice.heard() + SILENCE_TIMEOUT),
            // It is taken away at once.
            PeerState::Closed => self.created,
        };
        let connected = self.state == PeerState::Connected;
        let rtt = self.ice.rtt().unwrap_or(Dur::from_millis(50));
        let play = self.player.as_ref().filter(|_| connected && !self.blocked).and_then(Player::poll_timeout);
        let incoming = connected.then(|| self.incoming.poll_timeout(rtt)).flatten();
        let channels = self.channels.as_ref().and_then(Channels::poll_timeout);
        let probe = self.probe.filter(|_| connected);
        let timers = [self.secure.poll_timeout(), channels, play, incoming, probe];
        timers.into_iter().flatten().fold(limit, Ts::min)
    }

    /// Another source; `picture` says whether the picture changes too.
    pub fn switch(&mut self, picture: bool) {
        if let Some(player) = &mut self.player {
            player.switch(picture);
            self.wants_key |= player.seeks_key();
        }
    }

    /// Ends it from our side: the peer is told.
    pub fn close(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        if self.state == PeerState::Connected {
            if let Some(channels) = &mut self.channels
                && let Some(stream) = channels.find(CONTROL)
            {
                channels.send(now, stream, true, &Bytes::from_static(b"bye"));
            }
            let sources: Vec<u32> = self.player.as_mut().map_or(vec![], |p| {
                [p.sound().map(|o| o.ssrc()), p.picture().map(|o| o.ssrc())].into_iter().flatten().collect()
            });
            if !sources.is_empty() {
                let mut compound = Compound::new();
                compound.receiver(self.own, &[]);
                compound.bye(&sources);
                self.send_rtcp(&compound.finish(), out);
            }
            self.flush(now, out);
        }
        self.secure.close(now);
        self.flush(now, out);
        self.finish(End::Closed);
    }

    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.state = PeerState::Closed;
        self.stats.state = PeerState::Closed;
        self.changed = true;
    }

    /// Sends what DTLS and SCTP have.
    fn flush(&mut self, now: Ts, out: &mut VecDeque<Transmit>) {
        if let Some(channels) = &mut self.channels {
            while let Some(packets) = channels.poll_transmit(now) {
                packets.iter().for_each(|p| self.secure.write(now, p));
            }
        }
        while let Some(data) = self.secure.poll_transmit() {
            if let Some(route) = self.ice.route() {
                out.push_back(Transmit { route, data: data.freeze() });
            }
        }
    }

    fn send_rtcp(&mut self, plain: &[u8], out: &mut VecDeque<Transmit>) {
        if let (Some(route), Some(data)) = (self.ice.route(), self.secure.seal_rtcp(plain)) {
            out.push_back(Transmit { route, data: data.freeze() });
        }
    }
}

fn sink(role: &mut Role) -> Sink<'_> {
    match role {
        Role::Voice(sink) => Sink::Voice(&**sink),
        Role::Contribute(sink) => Sink::Media(&mut **sink),
        Role::Play(_) | Role::Probe => Sink::Count,
    }
}

fn seal(secure: &mut Secure, stats: &mut PeerStats, route: Route, plain: &Plain, out: &mut VecDeque<Transmit>) {
    if let Some(data) = secure.seal_rtp(&plain.header, &plain.bytes) {
        stats.packets_out += 1;
        stats.bytes_out += (plain.bytes.len() - rtp::HEADER) as u64;
        out.push_back(Transmit { route, data: data.freeze() });
    }
}

/// Whether a datagram is for the ICE agent.
pub fn is_stun(data: &[u8]) -> bool {
    stun::is_stun(data)
}
