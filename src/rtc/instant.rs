//! The one place where the core's `Instant`s come from: [`Ts`] of the daemon's clock, carried over.

use crate::media::{Dur, Ts};
use std::time::Instant;

/// A fixed relation between the daemon's clock and the `Instant`s that DTLS and SCTP take. They compare and subtract
/// them, nothing more, so that simulated time passes for them as it does for us.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    instant: Instant,
    at: Ts,
}

impl Anchor {
    /// `at` is now.
    #[allow(clippy::disallowed_methods)]
    pub fn new(at: Ts) -> Anchor {
        Anchor { instant: Instant::now(), at }
    }

    /// The instant of `ts`; what lies before the anchor is the anchor.
    pub fn instant(&self, ts: Ts) -> Instant {
        self.instant + (ts - self.at).max(Dur::ZERO).to_std()
    }

    /// The time of `instant`, rounded up to a millisecond, so that a timer that is set for it has come due.
    pub fn ts(&self, instant: Instant) -> Ts {
        let since = instant.saturating_duration_since(self.instant);
        self.at + Dur::from_std(since) + Dur::from_millis(1)
    }
}
