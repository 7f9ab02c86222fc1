//! ICE-lite (RFC 8445 §2.5): answers the peer's checks, follows its nominations, and measures the way by checks of its own.

use super::crypto::{Identity, token};
use crate::media::{Dur, Ts};
use crate::wire::stun::{self, Request, Response};
use std::net::SocketAddr;

/// Over what a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// The UDP socket, to this address.
    Udp(SocketAddr),
    /// A TCP connection, by its number.
    Tcp(u64, SocketAddr),
}

impl Route {
    /// The peer's address.
    pub const fn address(&self) -> SocketAddr {
        match self {
            Route::Udp(a) | Route::Tcp(_, a) => *a,
        }
    }

    /// `udp` or `tcp`.
    pub const fn name(&self) -> &'static str {
        match self {
            Route::Udp(_) => "udp",
            Route::Tcp(..) => "tcp",
        }
    }

    const fn is_udp(&self) -> bool {
        matches!(self, Route::Udp(_))
    }
}

/// When the present way has been silent for so long, a nomination of TCP is followed, and so is a check from a new address
/// without a nomination: a peer that works checks every second or two, some nominate every pair they try, and some do not
/// nominate again when their router gives them another address.
const PATIENCE: Dur = Dur::from_secs(5);

/// User fragments are looked up by their text, so they must not collide: 8 characters of 62 are 47 bits.
const FRAGMENT: usize = 8;

/// RFC 8445 §5.3 wants 128 bits; 24 characters are 142.
const PASSWORD: usize = 24;

/// A fragment and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

impl Credentials {
    /// New ones, at random.
    pub fn random() -> Credentials {
        Credentials { ufrag: token(FRAGMENT), pwd: token(PASSWORD) }
    }
}

/// The agent of one session.
pub struct Ice {
    local: Credentials,
    remote: Credentials,
    /// Before a restart: the peer may still check with them until it has our answer.
    before: Option<(Credentials, Credentials)>,
    route: Option<Route>,
    heard: Ts,
    ping: Option<([u8; 12], Ts)>,
    rtt: Option<Dur>,
}

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// Not for us, or forged.
    Ignored,
    /// To be answered; `nominated` where the way to the peer has changed.
    Answer {
        /// The response.
        response: Vec<u8>,
        /// Media goes there from now on.
        nominated: bool,
    },
    /// A response to our own check: the round trip is measured.
    Measured,
}

impl Ice {
    /// For a peer with `remote` credentials.
    pub fn new(remote: Credentials, now: Ts) -> Ice {
        Ice { local: Credentials::random(), remote, before: None, route: None, heard: now, ping: None, rtt: None }
    }

    /// Our credentials.
    pub fn local(&self) -> &Credentials {
        &self.local
    }

    /// The peer's.
    pub fn remote(&self) -> &Credentials {
        &self.remote
    }

    /// Fragments by which checks for this session are known.
    pub fn fragments(&self) -> impl Iterator<Item = &str> {
        [Some(&self.local), self.before.as_ref().map(|b| &b.0)].into_iter().flatten().map(|c| c.ufrag.as_str())
    }

    /// The peer starts again, with new credentials (RFC 8445 §9): so do we. The way there stays until it nominates.
    pub fn restart(&mut self, remote: Credentials) {
        let local = std::mem::replace(&mut self.local, Credentials::random());
        let remote = std::mem::replace(&mut self.remote, remote);
        self.before = Some((local, remote));
        self.ping = None;
    }

    /// Where media goes.
    pub fn route(&self) -> Option<Route> {
        self.route
    }

    /// When the peer was heard last.
    pub fn heard(&self) -> Ts {
        self.heard
    }

    /// The smoothed round trip.
    pub fn rtt(&self) -> Option<Dur> {
        self.rtt
    }

    /// Something authentic came this way.
    pub fn hear(&mut self, from: Route, now: Ts) {
        if self.route == Some(from) {
            self.heard = now;
        }
    }

    /// A TCP connection is gone: nothing goes there any more.
    pub fn lost(&mut self, route: Route) {
        if self.route == Some(route) {
            self.route = None;
        }
    }

    /// Takes a STUN message.
    pub fn check(&mut self, identity: &Identity, from: Route, data: &[u8], now: Ts) -> Checked {
        if let Some(transaction) = stun::success(data) {
            return self.measured(identity, transaction, data, now);
        }
        let Some(request) = Request::parse(data) else { return Checked::Ignored };
        let pairs = [Some((&self.local, &self.remote)), self.before.as_ref().map(|(l, r)| (l, r))];
        let ours = pairs.into_iter().flatten().find(|(local, remote)| {
            request.local_fragment() == local.ufrag && request.remote_fragment() == remote.ufrag
        });
        let Some((local, _)) = ours else { return Checked::Ignored };
        let current = *local == self.local;
        let pwd = local.pwd.clone();
        if !request.verify(identity.hmac(&pwd)) {
            return Checked::Ignored;
        }
        let answer = if request.controlled { Response::Error(487) } else { Response::Success(from.address()) };
        let Some(response) = answer.write(request.transaction, identity.hmac(&pwd)) else { return Checked::Ignored };
        let mut nominated = false;
        if !request.controlled && self.follows(from, request.use_candidate, now) {
            nominated = self.route != Some(from);
            self.route = Some(from);
            if current {
                self.before = None;
            }
        }
        self.hear(from, now);
        Checked::Answer { response, nominated }
    }

    /// Whether media goes there from now on.
    fn follows(&self, to: Route, nominated: bool, now: Ts) -> bool {
        let silent = now - self.heard > PATIENCE;
        match self.route {
            None => nominated,
            Some(present) if present.is_udp() && !to.is_udp() => nominated && silent,
            Some(present) => nominated || (present != to && silent),
        }
    }

    /// A check of our own, which measures the round trip. Lite agents need not check (RFC 8445 §6.2), but may.
    pub fn ping(&mut self, identity: &Identity, now: Ts) -> Option<(Route, Vec<u8>)> {
        let route = self.route?;
        let transaction: [u8; 12] = rand::random();
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let message = stun::request(transaction, &username, identity.hmac(&self.remote.pwd))?;
        self.ping = Some((transaction, now));
        Some((route, message))
    }

    fn measured(&mut self, identity: &Identity, transaction: [u8; 12], data: &[u8], now: Ts) -> Checked {
        let Some((_, sent)) = self.ping.filter(|(t, _)| *t == transaction) else { return Checked::Ignored };
        if !stun::verify(data, identity.hmac(&self.remote.pwd)) {
            return Checked::Ignored;
        }
        self.ping = None;
        self.measure((now - sent).max(Dur::ZERO));
        Checked::Measured
    }

    /// One more measurement of the round trip: an average over the last eight or so.
    pub fn measure(&mut self, rtt: Dur) {
        self.rtt = Some(self.rtt.map_or(rtt, |before| before + (rtt - before) / 4));
    }
}
