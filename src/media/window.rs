//! The minimum of a noisy delay over the recent past.
//!
//! A network adds to a packet's delay and never takes away, so the smallest delay of a window is nearly free of
//! jitter. Memory is bounded by the number of buckets, whatever the packet rate.

use super::time::{Dur, Ts};
use std::collections::VecDeque;

/// The smallest value of each of the last buckets of time.
#[derive(Clone, Debug)]
pub struct MinWindow {
    bucket: Dur,
    keep: usize,
    /// Start of a bucket and the smallest value within it, oldest first.
    minima: VecDeque<(Ts, Dur)>,
}

impl MinWindow {
    /// Buckets of `bucket` (at least one flick), of which the last `keep` (at least one) count.
    pub fn new(bucket: Dur, keep: usize) -> MinWindow {
        MinWindow { bucket: bucket.max(Dur::from_flicks(1)), keep: keep.max(1), minima: VecDeque::new() }
    }

    /// Takes in a value seen at `at`. Time that runs backwards counts into the newest bucket.
    pub fn push(&mut self, at: Ts, value: Dur) {
        match self.minima.back_mut() {
            Some((start, least)) if at < *start + self.bucket => *least = (*least).min(value),
            _ => self.minima.push_back((at, value)),
        }
        let span = self.bucket * i64::try_from(self.keep).unwrap_or(i64::MAX);
        while self.minima.len() > self.keep || self.minima.front().is_some_and(|&(start, _)| start <= at - span) {
            self.minima.pop_front();
        }
    }

    /// The smallest value in the window.
    pub fn min(&self) -> Option<Dur> {
        self.minima.iter().map(|&(_, v)| v).min()
    }

    /// The smallest value as of `at`, when all values rise by `ppm`: a steady drift then does not hold the older ones
    /// below.
    pub fn min_along(&self, ppm: f64, at: Ts) -> Option<Dur> {
        let moved = |since: Ts| Dur::from_flicks(((at - since).flicks() as f64 * ppm * 1e-6) as i64);
        // Where in its bucket a value was is not known: the middle is the fair guess.
        self.minima.iter().map(|&(start, v)| v + moved((start + self.bucket / 2).min(at))).min()
    }

    /// How much time the window covers now.
    pub fn span(&self) -> Dur {
        match (self.minima.front(), self.minima.back()) {
            (Some(&(first, _)), Some(&(last, _))) => last - first + self.bucket,
            _ => Dur::ZERO,
        }
    }

    /// The trend of the buckets' minima, in parts per million of time (least squares); none from fewer than `least`
    /// full buckets.
    pub fn slope_ppm(&self, least: usize) -> Option<f64> {
        // The newest bucket is still filling and so biased upwards.
        let full = self.minima.len().checked_sub(1)?;
        if full < least.max(2) {
            return None;
        }
        let (origin, base) = *self.minima.front()?;
        let points = || {
            let seconds = |&(at, v): &(Ts, Dur)| ((at - origin).as_secs_f64(), (v - base).as_secs_f64());
            self.minima.iter().take(full).map(seconds)
        };
        let n = full as f64;
        let (sx, sy) = points().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        let (mx, my) = (sx / n, sy / n);
        let (cov, var) = points().fold((0.0, 0.0), |(c, v), (x, y)| (c + (x - mx) * (y - my), v + (x - mx) * (x - mx)));
        (var > 0.0).then(|| cov / var * 1e6)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.minima.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_trend_is_found_under_jitter() {
        let mut w = MinWindow::new(Dur::from_secs(10), 30);
        let mut seed = 1u64;
        for ms in (0..300_000).step_by(20) {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let jitter = Dur::from_millis((seed >> 33) as i64 % 200);
            let drift = Dur::from_secs_f64(ms as f64 / 1000.0 * 80e-6);
            w.push(Ts::from_millis(ms), drift + jitter);
        }
        let slope = w.slope_ppm(3).expect("thirty buckets");
        assert!((slope - 80.0).abs() < 10.0, "{slope}");
    }

    proptest! {
        #[test]
        fn it_is_the_minimum_of_what_is_recent(values in prop::collection::vec((0i64..3000, -500i64..500), 1..200)) {
            let mut w = MinWindow::new(Dur::from_secs(1), 5);
            let mut all: Vec<(i64, i64)> = Vec::new();
            let mut now = 0;
            for (step, v) in values {
                now += step;
                w.push(Ts::from_millis(now), Dur::from_millis(v));
                all.push((now, v));
                let least = |window: i64| all.iter().filter(|(t, _)| *t > now - window).map(|&(_, v)| v).min();
                let got = w.min().map(Dur::as_millis);
                // A bucket leaves as a whole, so the window is between four and five buckets long.
                prop_assert!(got <= least(4000).or(got) && got >= least(5000).or(got));
                prop_assert!(w.minima.len() <= 5);
            }
        }
    }
}
