//! From a source's clock to the event timeline.
//!
//! A packet of source time `s` that arrives at `a` has the delay `a − s`: an unknown constant, the network's jitter, and
//! the drift between the source's clock and ours. Jitter only adds, so the smallest delay of the last two minutes, seen
//! along the drift that those minutes show, is nearly free of it. The map `T(s) = s + offset` begins with that delay as
//! its offset and then follows it, never faster than [`MAX_SLEW_PPM`], so that everything after it is on the
//! disciplined system clock.
//!
//! `T` is a function of source time alone: piecewise linear, continuous, rising. Corrections begin beyond everything
//! that was mapped before. So picture and sound, dts and pts, early and late packets of one instant all get the same
//! offset, and what rises in the source rises in the programme.
//!
//! An input that is not on air is only watched ([`ClockMap::observe`]); the map begins at a splice
//! ([`ClockMap::anchor`]), which is why it is right from its first packet when the input has been watched for a while.
//! Pure: no IO, no clock. Memory: a few dozen numbers.

use crate::media::window::MinWindow;
use crate::media::{Dur, Ts};
use std::collections::VecDeque;

/// The steepest correction. 500 ppm is below one cent of pitch, and well above what crystals are off by (≤ 100 ppm).
pub const MAX_SLEW_PPM: i64 = 500;

/// How long a correction aims to take: it smooths the staircase of the window.
const TIME_CONSTANT: Dur = Dur::from_secs(20);

/// How often the slope may change, in source time.
const UPDATE: Dur = Dur::from_secs(1);

/// The window of the smallest delay: two minutes, in which some packets meet an idle network even behind a queue that
/// holds up their successors.
const WINDOW_BUCKET: Dur = Dur::from_secs(5);
const WINDOW_BUCKETS: usize = 24;
/// Full buckets from which a drift is read: before, the window is so short that no drift matters.
const DRIFT_LEAST: usize = 12;
/// The most that is believed of a drift, in ppm: twice what a crystal may be off. The rest is jitter, or is slewed after.
const DRIFT_MOST: f64 = 200.0;
/// How much of a newly measured drift is taken in at each update: its noise goes down by averaging over 100 s.
const DRIFT_SHARE: f64 = 0.01;

/// The window that finds an input whose packets are all late: longer than a burst after a stall takes to catch up.
const LATE_BUCKET: Dur = Dur::from_millis(250);
const LATE_BUCKETS: usize = 8;

/// Slopes that are remembered for packets that come late: half a minute.
const KNOTS: usize = 32;

/// A publisher's first packets come in a burst (what it had buffered while it connected). Its delay has settled when the
/// minimum has not fallen by [`SETTLE_STEP`] for [`SETTLE_QUIET`], and at the latest after [`SETTLE_MOST`].
const SETTLE_QUIET: Dur = Dur::from_millis(200);
/// See [`SETTLE_QUIET`]: half a frame at 25 fps.
const SETTLE_STEP: Dur = Dur::from_millis(20);
/// See [`SETTLE_QUIET`]: beyond this, viewers wait for nothing.
const SETTLE_MOST: Dur = Dur::from_millis(1500);

/// How the source's clock is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockConfig {
    /// Follow drift; off for a pure passthrough, which keeps the source's clock.
    pub correct: bool,
    /// An error of more than this is not slewed but stepped over, at a splice.
    pub step: Dur,
}

impl Default for ClockConfig {
    fn default() -> Self {
        ClockConfig { correct: true, step: Dur::from_secs(1) }
    }
}

impl ClockConfig {
    /// For a programme that is not transcoded: no correction, and a step only where the times would be of no use to
    /// anybody (100 ppm need three days for that).
    pub fn passthrough() -> ClockConfig {
        ClockConfig { correct: false, step: Dur::from_secs(30) }
    }
}

/// A change of slope. Between two knots `T(s) = t + (s − knot.s) · (1 + ppb/10⁹)`.
#[derive(Clone, Copy, Debug)]
struct Knot {
    s: Ts,
    t: Ts,
    ppb: i64,
}

impl Knot {
    fn at(&self, s: Ts) -> Ts {
        let d = (s - self.s).flicks();
        // The slope is above zero, so that rounding down keeps the order.
        let bend = (i128::from(d) * i128::from(self.ppb)).div_euclid(1_000_000_000);
        self.t + Dur::from_flicks(d) + Dur::from_flicks(i64::try_from(bend).unwrap_or(0))
    }
}

/// The delay's first seconds.
#[derive(Clone, Copy, Debug)]
struct Settling {
    first: Ts,
    improved: Ts,
    least: Dur,
}

/// One input's clock. See the module's text.
#[derive(Clone, Debug)]
pub struct ClockMap {
    config: ClockConfig,
    delay: MinWindow,
    /// How fast the delay rises, in ppm; none before it is known.
    drift: Option<f64>,
    recent: MinWindow,
    settling: Option<Settling>,
    /// Arrival of the newest packet.
    now: Ts,
    /// Oldest first; empty while not anchored.
    knots: VecDeque<Knot>,
    /// The newest source time that was mapped.
    high: Ts,
    /// When the slope was last looked at, in source time.
    updated: Ts,
}

impl ClockMap {
    /// A clock that has seen nothing.
    pub fn new(config: ClockConfig) -> ClockMap {
        ClockMap {
            config,
            delay: MinWindow::new(WINDOW_BUCKET, WINDOW_BUCKETS),
            drift: None,
            recent: MinWindow::new(LATE_BUCKET, LATE_BUCKETS),
            settling: None,
            now: Ts::ZERO,
            knots: VecDeque::new(),
            high: Ts::ZERO,
            updated: Ts::ZERO,
        }
    }

    /// Forgets the source: its time has jumped, or another one has come.
    pub fn reset(&mut self) {
        *self = ClockMap::new(self.config);
    }

    /// Takes in the dts and arrival of a packet of the reference track (the picture; sound where there is none).
    pub fn observe(&mut self, s: Ts, arrival: Ts) {
        let delay = arrival - s;
        self.now = self.now.max(arrival);
        self.delay.push(arrival, delay);
        self.recent.push(arrival, delay);
        let settling = self.settling.get_or_insert(Settling { first: arrival, improved: arrival, least: delay });
        if delay < settling.least - SETTLE_STEP {
            settling.improved = arrival;
            settling.least = delay;
        }
        if s - self.updated >= UPDATE {
            self.updated = s;
            if let Some(measured) = self.delay.slope_ppm(DRIFT_LEAST) {
                let measured = measured.clamp(-DRIFT_MOST, DRIFT_MOST);
                let drift = self.drift.get_or_insert(measured);
                *drift += (measured - *drift) * DRIFT_SHARE;
            }
            if self.config.correct {
                self.correct(s);
            }
        }
    }

    /// Whether the delay is known well enough to begin. Monotone in `now` while nothing arrives.
    pub fn settled(&self, now: Ts) -> bool {
        self.settling.is_some_and(|s| now - s.improved >= SETTLE_QUIET || now - s.first >= SETTLE_MOST)
    }

    /// When the delay will have settled if nothing better arrives.
    pub fn settles_at(&self) -> Option<Ts> {
        self.settling.map(|s| (s.improved + SETTLE_QUIET).min(s.first + SETTLE_MOST))
    }

    /// Where `s` would fall if the map began now: nothing is committed. None before the first packet.
    pub fn preview(&self, s: Ts) -> Option<Ts> {
        self.least().map(|offset| s + offset)
    }

    /// Begins the map so that `s` falls on `t`; normally what [`ClockMap::preview`] said, or later, to come after what was
    /// sent before. A deviation is slewed away.
    pub fn anchor(&mut self, s: Ts, t: Ts) {
        self.knots.clear();
        self.knots.push_back(Knot { s, t, ppb: 0 });
        self.high = s;
        self.updated = s;
    }

    /// Ends the map; watching goes on.
    pub fn release(&mut self) {
        self.knots.clear();
    }

    /// The event time of source time `s`; none while not anchored.
    pub fn map(&mut self, s: Ts) -> Option<Ts> {
        let t = self.look_up(s)?;
        self.high = self.high.max(s);
        Some(t)
    }

    /// How far the map is from where it should be: positive when its times are too early. None while not anchored.
    pub fn error(&self) -> Option<Dur> {
        let offset = self.look_up(self.updated)? - self.updated;
        Some(self.least()? - offset)
    }

    /// Whether the error is beyond slewing: every packet of the last seconds came late by more than the limit, or one
    /// came early by more. The caller splices anew after [`ClockMap::restart`].
    pub fn must_step(&self) -> bool {
        let Some(offset) = self.look_up(self.updated).map(|t| t - self.updated) else {
            return false;
        };
        let late = self.recent.span() >= LATE_BUCKET * (LATE_BUCKETS as i64 - 1)
            && self.recent.min().is_some_and(|d| d - offset > self.config.step);
        late || self.delay.min().is_some_and(|d| offset - d > self.config.step)
    }

    /// Ends the map and takes the delay of the last seconds for the truth.
    pub fn restart(&mut self) {
        self.release();
        if let Some(recent) = self.recent.min() {
            self.delay.clear();
            self.drift = None;
            self.delay.push(self.now, recent);
        }
    }

    /// The delay that is free of jitter, as of now.
    fn least(&self) -> Option<Dur> {
        self.delay.min_along(self.drift.unwrap_or(0.0), self.now)
    }

    fn look_up(&self, s: Ts) -> Option<Ts> {
        let knot = self.knots.iter().rev().find(|k| k.s <= s).or(self.knots.front())?;
        Some(knot.at(s))
    }

    /// Chooses the slope from beyond what is mapped, towards the window's minimum.
    fn correct(&mut self, s: Ts) {
        let (Some(now), Some(wanted)) = (self.look_up(s), self.least()) else {
            return;
        };
        let error = wanted - (now - s);
        let most = MAX_SLEW_PPM * 1000;
        let ppm = self.drift.unwrap_or(0.0) + error.as_secs_f64() / TIME_CONSTANT.as_secs_f64() * 1e6;
        let ppb = (ppm * 1000.0) as i64;
        let from = self.high.max(s);
        let Some(t) = self.look_up(from) else {
            return;
        };
        // Presentation times reach ahead of decoding times; until the source has caught up, the last slope holds.
        if self.knots.back().is_some_and(|k| k.s >= from) {
            return;
        }
        self.knots.push_back(Knot { s: from, t, ppb: ppb.clamp(-most, most) });
        if self.knots.len() > KNOTS {
            self.knots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2023-11-14: times are of the size that they have in use.
    const NOW: Ts = Ts::from_flicks(1_700_000_000 * crate::media::time::FLICKS_PER_SECOND);

    struct Random(u64);

    impl Random {
        /// Uniform in 0..n.
        fn below(&mut self, n: i64) -> i64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) as i64).rem_euclid(n)
        }
    }

    /// Two hours of 25 fps and AAC from a source `ppm` fast, under 0…`jitter` ms that keep the order. Returns the
    /// largest and smallest deviation of T from the true time of capture after the first minutes, in ms.
    fn simulate(ppm: f64, jitter: i64, seed: u64, config: ClockConfig) -> (f64, f64) {
        let mut map = ClockMap::new(config);
        let mut random = Random(seed);
        let mut last_arrival = NOW;
        let (mut last_video, mut last_audio) = (None::<(Ts, Ts)>, None::<(Ts, Ts)>);
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for frame in 0..2 * 3600 * 25i64 {
            let s = Ts::from_millis(frame * 40);
            let captured = NOW + Dur::from_secs_f64(s.as_secs_f64() / (1.0 + ppm * 1e-6));
            let arrival = last_arrival.max(captured + Dur::from_millis(random.below(jitter.max(1))));
            last_arrival = arrival;
            map.observe(s, arrival);
            if map.look_up(s).is_none() {
                if map.settled(arrival) {
                    let t = map.preview(s).expect("observed");
                    map.anchor(s, t);
                } else {
                    continue;
                }
            }
            let t = map.map(s).expect("anchored");
            // Two pictures of reordering, and sound of a track that is muxed half a second late.
            let pts = map.map(s + Dur::from_millis(80)).expect("anchored");
            assert!(pts > t);
            let sound_s = s - Dur::from_millis(500);
            let sound = map.map(sound_s).expect("anchored");
            for (last, s, t) in [(&mut last_video, s, t), (&mut last_audio, sound_s, sound)] {
                if let Some((s0, t0)) = last.replace((s, t)) {
                    let (ds, dt) = ((s - s0).flicks() as f64, (t - t0).flicks() as f64);
                    assert!((dt / ds - 1.0).abs() <= 500.1e-6, "slope {}", dt / ds);
                }
            }
            if frame > 10 * 60 * 25 {
                let error = (t - captured).as_secs_f64() * 1000.0;
                (low, high) = (low.min(error), high.max(error));
            }
            assert!(!map.must_step());
        }
        (low, high)
    }

    #[test]
    fn two_hours_of_a_drifting_source_stay_within_ten_milliseconds() {
        for (ppm, jitter, seed) in [(100.0, 200, 1), (-100.0, 200, 2), (0.0, 200, 3), (100.0, 0, 4), (-100.0, 20, 5)] {
            let (low, high) = simulate(ppm, jitter, seed, ClockConfig::default());
            assert!(low >= -10.0 && high <= 10.0, "{ppm} ppm, {jitter} ms: {low:.2}…{high:.2} ms");
        }
    }

    #[test]
    fn passthrough_keeps_the_sources_clock() {
        let mut map = ClockMap::new(ClockConfig::passthrough());
        for frame in 0..100_000i64 {
            let s = Ts::from_millis(frame * 40);
            map.observe(s, NOW + (s - Ts::ZERO) + Dur::from_millis(frame / 100));
            if frame == 10 {
                map.anchor(s, NOW);
            }
            if frame >= 10 {
                assert_eq!(map.map(s), Some(NOW + Dur::from_millis((frame - 10) * 40)));
            }
        }
        assert!(!map.must_step());
    }

    #[test]
    fn a_burst_at_the_start_does_not_delay_the_programme() {
        let mut map = ClockMap::new(ClockConfig::default());
        // Half a second was buffered; it comes at once, then in real time.
        for frame in 0..13i64 {
            map.observe(Ts::from_millis(frame * 40), NOW + Dur::from_millis(frame));
            assert!(!map.settled(NOW + Dur::from_millis(frame)));
        }
        assert!(map.settled(NOW + Dur::from_millis(220)));
        assert_eq!(map.settles_at(), Some(NOW + Dur::from_millis(212)));
        let t = map.preview(Ts::ZERO).expect("observed");
        assert_eq!((t - NOW).as_millis(), 12 - 480);
    }

    #[test]
    fn lasting_lateness_and_earliness_ask_for_a_step_and_a_stall_does_not() {
        let run = |offset: &dyn Fn(i64) -> i64| {
            let mut map = ClockMap::new(ClockConfig::default());
            let mut stepped = None;
            for frame in 0..500i64 {
                let s = Ts::from_millis(frame * 40);
                map.observe(s, NOW + Dur::from_millis(frame * 40 + offset(frame)));
                if frame == 10 {
                    map.anchor(s, NOW + Dur::from_millis(400));
                }
                if map.must_step() && stepped.is_none() {
                    stepped = Some(frame);
                    map.restart();
                    let t = map.preview(s).expect("observed");
                    map.anchor(s, t);
                    assert!(!map.must_step(), "stepping ends it");
                }
            }
            stepped
        };
        // Three seconds of stall that are made up for at double speed.
        assert_eq!(run(&|f| if f < 250 { 0 } else { (3000 - (f - 250) * 40).max(0) }), None);
        // The source's clock stood still for five seconds.
        let late = run(&|f| if f < 250 { 0 } else { 5000 }).expect("late for good");
        assert!((290..310).contains(&late), "{late}");
        // A relay drops its five seconds of buffer.
        assert_eq!(run(&|f| if f < 250 { 0 } else { -1500 }), Some(250));
    }

    proptest! {
        #[test]
        fn the_map_rises_whatever_is_observed(
            steps in prop::collection::vec((0i64..3000, -100i64..3000, -2000i64..5000), 2..300),
            anchor in 0usize..20,
        ) {
            let mut map = ClockMap::new(ClockConfig::default());
            let (mut s, mut arrival) = (Ts::ZERO, NOW);
            let mut mapped: Vec<(Ts, Ts)> = Vec::new();
            for (i, (step, wait, lead)) in steps.into_iter().enumerate() {
                s += Dur::from_millis(step);
                arrival += Dur::from_millis(wait);
                map.observe(s, arrival);
                let _ = (map.must_step(), map.error(), map.settled(arrival));
                if i == anchor {
                    map.anchor(s, arrival);
                }
                if let Some(t) = map.map(s + Dur::from_millis(lead)) {
                    mapped.push((s + Dur::from_millis(lead), t));
                }
            }
            mapped.sort();
            for pair in mapped.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].1, "{:?}", pair);
            }
        }
    }
}
