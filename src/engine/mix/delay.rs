//! How long the realtime mix lets the contribution's sound wait: encoders interleave it in bursts, networks jitter.
//!
//! Grows at once, by a step that the reader of a [`super::track::TrackLine`] takes as a jump, since what was too late is
//! missing anyway; shrinks as slowly as a change of speed that nobody hears.

use crate::media::Dur;
use std::collections::VecDeque;

/// Before anything is known.
const FIRST: Dur = Dur::from_millis(80);
/// Least and most.
const LEAST: Dur = Dur::from_millis(10);
/// See [`LEAST`]. What comes later than this is lost.
const MOST: Dur = Dur::from_millis(1000);
/// Beyond what 98 of 100 blocks need.
const MARGIN: Dur = Dur::from_millis(10);
/// Blocks that count: ten seconds of AAC.
const WINDOW: usize = 470;
/// Growth is at least this: more than the reader would follow by its speed.
const STEP: Dur = Dur::from_millis(35);
/// Shrinks by one part in this many of the time that passes: 0.1 %, half of what the reader can follow.
const SHRINK: i64 = 1000;

/// See the module.
#[derive(Clone, Debug)]
pub struct FloorDelay {
    transits: VecDeque<Dur>,
    scratch: Vec<Dur>,
    wanted: Dur,
    delay: Dur,
}

impl Default for FloorDelay {
    fn default() -> FloorDelay {
        let (transits, scratch) = (VecDeque::with_capacity(WINDOW), Vec::with_capacity(WINDOW));
        FloorDelay { transits, scratch, wanted: FIRST, delay: FIRST }
    }
}

impl FloorDelay {
    /// A block came this long after its last sample's instant.
    pub fn push(&mut self, transit: Dur) {
        if self.transits.len() >= WINDOW {
            self.transits.pop_front();
        }
        self.transits.push_back(transit.clamp(-MOST, MOST));
        self.scratch.clear();
        self.scratch.extend(&self.transits);
        let place = (self.scratch.len() - 1) * 98 / 100;
        let late = *self.scratch.select_nth_unstable(place).1;
        self.wanted = (late + MARGIN).clamp(LEAST, MOST);
    }

    /// The delay after `passed` more time.
    pub fn step(&mut self, passed: Dur) -> Dur {
        if self.wanted > self.delay {
            self.delay = self.wanted.max(self.delay + STEP).min(MOST);
        } else {
            self.delay = (self.delay - passed / SHRINK).max(self.wanted);
        }
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_at_once_and_shrinks_unheard() {
        let ms = Dur::from_millis;
        let mut d = FloorDelay::default();
        assert_eq!(d.step(ms(20)), FIRST);
        for i in 0..100 {
            d.push(ms(if i % 4 == 0 { 120 } else { 20 }));
        }
        assert_eq!(d.step(ms(20)), ms(130));
        let mut last = ms(130);
        for _ in 0..WINDOW {
            d.push(ms(5));
            let now = d.step(ms(20));
            assert!(last - now <= Dur::from_flicks(ms(20).flicks() / 1000) && now <= last);
            last = now;
        }
        (0..20_000).for_each(|_| last = d.step(ms(20)));
        assert_eq!(last, ms(15));
        d.push(Dur::MAX);
        d.push(-Dur::MAX);
        assert!(d.step(ms(20)) <= MOST);
    }
}
