//! Who may see what of an event, and when.
//!
//! Two questions are answered here for each request: what right it comes with (the app's [`Access`]), and what the
//! event shows to the public now ([`Viewing`]). Someone with [`Verdict::Preview`] sees everything in any state;
//! everybody else sees what [`Gate`] lets through.
//!
//! **What the public sees** begins with the first segment that begins after the event was opened: what was said in
//! preview or in a pause is on no public playlist, and its URLs are 404 however well guessed.
//!
//! **Hold-back.** When the event pauses or ends, playlists answer 404 at once, held ones too. The segments and parts
//! that were public up to that instant stay fetchable for one hold-back time. That serves those who were watching, and
//! needs nobody to be tracked: their players hold these URLs, and who was not watching learns nothing from guessing
//! them that was not public a moment before. What is made after the instant is not served.

use crate::media::{Dur, Ts};
use axum::http::HeaderMap;
use std::net::IpAddr;

/// What a request comes with, for [`Access::check`].
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The event's id.
    pub event: &'a str,
    /// `preview=` or `token=` of the query; at most 512 URL-safe characters.
    pub token: Option<&'a str>,
    /// The peer's address, when known.
    pub peer: Option<IpAddr>,
    /// The request's headers (referer, forwarded address).
    pub headers: &'a HeaderMap,
}

/// What right a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A viewer: sees what is public. A token that came with it is not needed and not passed on.
    Viewer,
    /// A viewer by its token: sees what is public, and the token goes into every URI of playlists.
    TokenViewer,
    /// A manager with a preview token: sees everything, whatever the public sees. Where managers see nothing either
    /// (`inactive`, `ended`) the app does not give this verdict. The token goes into every URI of playlists.
    Preview,
    /// No right: 403 where a viewer would see something, else 404.
    Denied,
}

/// Decides on rights. Called for every request on the serving thread: it must not block, and compares secrets in
/// constant time.
pub trait Access: Send + Sync + 'static {
    /// The right that `asking` has.
    fn check(&self, asking: &Asking<'_>) -> Verdict;
}

impl<F: Fn(&Asking<'_>) -> Verdict + Send + Sync + 'static> Access for F {
    fn check(&self, asking: &Asking<'_>) -> Verdict {
        self(asking)
    }
}

/// What an event shows to the public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewing {
    /// Nothing.
    Closed,
    /// Everything made since the event was opened; `since` is when its status became `started`, on the daemon's clock
    /// (kept over a restart).
    Open {
        /// The start of what is public.
        since: Ts,
    },
    /// Nothing new; what was public can still be fetched for one hold-back time.
    HoldBack,
}

/// A stretch of the event's timeline that is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Ts,
    to: Ts,
}

/// The public side of an event in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    open: Option<Ts>,
    /// What was public until the event was paused, and when that ends.
    rest: Option<(Span, Ts)>,
}

impl Gate {
    /// Opens: everything that begins at or after `since` is public.
    pub fn open(&mut self, since: Ts) {
        self.open = Some(since);
    }

    /// Closes at once.
    pub fn close(&mut self) {
        *self = Gate::default();
    }

    /// Closes at `now`; what was public stays fetchable for `hold_back`.
    pub fn hold_back(&mut self, now: Ts, hold_back: Dur) {
        if let Some(from) = self.open.take() {
            self.rest = Some((Span { from, to: now }, now + hold_back));
        }
    }

    /// Where public playlists begin, when there are any.
    pub fn since(&self) -> Option<Ts> {
        self.open
    }

    /// Whether media from `start` to `end` on the event's timeline may be fetched at `now`.
    pub fn serves(&self, start: Ts, end: Ts, now: Ts) -> bool {
        self.open.is_some_and(|since| start >= since)
            || self.rest.is_some_and(|(span, until)| now < until && start >= span.from && end <= span.to)
    }

    /// Whether anything at all may be fetched at `now`.
    pub fn serves_any(&self, now: Ts) -> bool {
        self.open.is_some() || self.rest.is_some_and(|(_, until)| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Ts {
        Ts::ZERO + Dur::from_secs(seconds)
    }

    fn serves(gate: &Gate, second: i64, now: i64) -> bool {
        gate.serves(at(second), at(second + 1), at(now))
    }

    #[test]
    fn a_gate_shows_what_was_made_while_it_was_open_and_the_rest_for_a_while() {
        let mut gate = Gate::default();
        assert!(!gate.serves_any(at(0)) && !serves(&gate, 0, 0));
        gate.open(at(100));
        assert!(!serves(&gate, 99, 101), "made in preview");
        assert!(serves(&gate, 100, 101));
        gate.hold_back(at(200), Dur::from_secs(6));
        assert_eq!(gate.since(), None);
        assert!(serves(&gate, 199, 205));
        assert!(!serves(&gate, 99, 205), "still private");
        assert!(!serves(&gate, 200, 205), "made in the pause");
        assert!(!gate.serves(at(199), at(201), at(205)), "reaches into the pause");
        assert!(!serves(&gate, 199, 206), "the hold-back time is over");
        assert!(!gate.serves_any(at(206)));
        // Resumed within the hold-back time: those behind live still get the rest.
        gate.open(at(203));
        assert!(serves(&gate, 199, 205) && !serves(&gate, 201, 205) && serves(&gate, 203, 205));
        gate.hold_back(at(210), Dur::from_secs(6));
        gate.hold_back(at(212), Dur::from_secs(6));
        assert!(serves(&gate, 209, 215) && !serves(&gate, 209, 216), "the second call changes nothing");
        gate.close();
        assert!(!gate.serves_any(at(212)));
    }
}
