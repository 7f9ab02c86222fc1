//! How often something may be done: a token bucket on time that is handed in.

use crate::media::{Dur, Ts};

/// How much at once, and how soon again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// One more each.
    pub every: Dur,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// When everything is there again.
    full_at: Ts,
}

impl Bucket {
    /// Full.
    pub fn new(now: Ts) -> Bucket {
        Bucket { full_at: now }
    }

    /// Whether everything is there again.
    pub fn full(&self, now: Ts) -> bool {
        self.full_at <= now
    }

    /// Takes one; false when none is left.
    pub fn take(&mut self, rate: Rate, now: Ts) -> bool {
        let full_at = self.full_at.max(now) + rate.every;
        let allowed = full_at - now <= rate.every * i64::from(rate.burst);
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let rate = Rate { burst: 3, every: Dur::from_secs(1) };
        let at = |ms: i64| Ts::from_millis(1_000_000 + ms);
        let mut bucket = Bucket::new(at(0));
        let taken: Vec<bool> = [0, 0, 0, 0, 999, 1000, 1001, 9000, 9000, 9000, 9000]
            .into_iter()
            .map(|ms| bucket.take(rate, at(ms)))
            .collect();
        assert_eq!(taken, [true, true, true, false, false, true, false, true, true, true, false]);
    }
}
