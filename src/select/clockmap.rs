//! From a source's clock to the event timeline.
//!
//! A packet of source time `s` that arrives at `a` has the delay `a − s`: an unknown constant, the network's jitter, and
//! the drift between the source's clock and ours. Jitter only adds, so the smallest delay of the last two minutes, seen
//! along the drift that those minutes show, is nearly free of it. The map `T(s) = s + offset` begins with that delay as
//! its offset and then stays near it, so that everything after it is on the disciplined system clock.
//!
//! **Rest and correction.** The map rests: its slope is exactly 1 and the offset puts the source's pictures on the
//! output's slots ([`Slots`]), so that the engine shows each at its own time and reads the sound as it is. The offset may
//! be up to [`BAND`] away from the delay meanwhile. Beyond that it moves by whole output frames, at [`MAX_SLEW_PPM`], and
//! rests again: picture and sound part by up to half an output frame for a moment on the way, where a picture is
//! repeated or left out. At 25 fps one correction takes 80 s, and a source that is 20 ppm off needs one in half an hour.
//! A source whose frame rate differs from the output's (29.97 on 30) passes between two slots by its nature, every 33 s
//! here; resting changes nothing for it. Where the map begins without a picture, or before the output's frame rate is
//! known, the first correction brings it onto the slots.
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

/// How far the map may rest from the delay, or three quarters of an output frame where that is more: a correction then
/// leaves it well inside, so that the noise of the measured delay does not call for the reverse.
pub const BAND: Dur = Dur::from_millis(30);

/// The most that one correction moves, or one output frame where that is more. Longer ones follow each other.
const CORRECTION_MOST: Dur = Dur::from_millis(40);

/// What counts as an output frame while there are no slots.
const NO_FRAME: Dur = Dur::from_millis(40);

/// How often a correction may begin, in source time.
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

/// Changes of slope that are remembered for packets that come late: sixteen corrections, each at least [`UPDATE`] apart.
const KNOTS: usize = 32;

/// A publisher's first packets come in a burst (what it had buffered while it connected). Its delay has settled when the
/// minimum has not fallen by [`SETTLE_STEP`] for [`SETTLE_QUIET`], and at the latest after [`SETTLE_MOST`].
const SETTLE_QUIET: Dur = Dur::from_millis(200);
/// See [`SETTLE_QUIET`]: half a frame at 25 fps.
const SETTLE_STEP: Dur = Dur::from_millis(20);
/// See [`SETTLE_QUIET`]: beyond this, viewers wait for nothing.
const SETTLE_MOST: Dur = Dur::from_millis(1500);

/// Where the source's pictures should fall: the output's slots, which are whole frames since 1970.
///
/// The engine shows in a slot the latest picture up to half a frame after it. Where the source has two pictures per slot
/// that border must not lie on a picture, so they rest on both sides of the slot instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    frame: Dur,
    phase: Dur,
}

impl Slots {
    /// For an output frame of `frame` (at least one flick) and a source of so many pictures per second, numerator and
    /// denominator, where that is known.
    pub fn new(frame: Dur, rate: Option<(u32, u32)>) -> Slots {
        let frame = frame.max(Dur::from_flicks(1));
        let per_slot = rate.map_or(1, |(n, d)| {
            (frame.as_secs_f64() * f64::from(n) / f64::from(d.max(1))).round().clamp(1.0, 100.0) as i64
        });
        let phase = if per_slot % 2 == 0 { frame / (2 * per_slot) } else { Dur::ZERO };
        Slots { frame, phase }
    }

    /// From `t` to the place nearest to it; negative when that is earlier.
    pub fn to_nearest(self, t: Ts) -> Dur {
        let next = self.to_next(t);
        if next * 2 > self.frame { next - self.frame } else { next }
    }

    /// From `t` to the first place at or after it.
    pub fn to_next(self, t: Ts) -> Dur {
        let past = t - (Ts::ZERO + self.phase);
        Dur::from_flicks((-past).flicks().rem_euclid(self.frame.flicks()))
    }
}

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
    /// Oldest first; empty while not anchored. The last one rests.
    knots: VecDeque<Knot>,
    /// The slots, and a picture's pts on the source's timeline that should fall on one.
    rest: Option<(Slots, Ts)>,
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
            rest: None,
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

    /// Begins the map so that `s` falls on `t`; normally what [`ClockMap::preview`] said, moved to a slot, or later, to
    /// come after what was sent before. What is more than half a frame is slewed away.
    pub fn anchor(&mut self, s: Ts, t: Ts) {
        self.rest = None;
        self.knots.clear();
        self.knots.push_back(Knot { s, t, ppb: 0 });
        self.high = s;
        self.updated = s;
    }

    /// From now on the map rests where the picture at `pts`, on the source's timeline, falls on one of `slots`. Where it
    /// does not, it is brought there.
    pub fn rest_on(&mut self, slots: Slots, pts: Ts) {
        self.rest = Some((slots, pts));
    }

    /// Ends the map; watching goes on.
    pub fn release(&mut self) {
        self.rest = None;
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

    /// How far a map that rests with `offset` should move, when the delay is `error` more.
    fn step(&self, offset: Dur, error: Dur) -> Dur {
        let frame = self.rest.map_or(NO_FRAME, |(slots, _)| slots.frame);
        let to_slot = self.rest.map_or(Dur::ZERO, |(slots, pts)| slots.to_nearest(pts + offset));
        if to_slot == Dur::ZERO && error.abs() <= BAND.max(frame * 3 / 4) {
            return Dur::ZERO;
        }
        let most = (CORRECTION_MOST.flicks() / frame.flicks()).max(1);
        let frames = ((error - to_slot).flicks() as f64 / frame.flicks() as f64).round() as i64;
        to_slot + frame * frames.clamp(-most, most)
    }

    /// Begins a correction beyond what is mapped, where one is needed and none is under way.
    fn correct(&mut self, s: Ts) {
        let from = self.high.max(s);
        let (Some(&last), Some(wanted)) = (self.knots.back(), self.least()) else { return };
        if last.s >= from {
            return;
        }
        let offset = last.t - last.s;
        let step = self.step(offset, wanted - offset);
        if step == Dur::ZERO {
            return;
        }
        let ppb = MAX_SLEW_PPM * 1000 * step.flicks().signum();
        // Exact: the bend over this length is `step` to the flick.
        let length = step.abs() * (1_000_000 / MAX_SLEW_PPM);
        let t = from + offset;
        self.knots.push_back(Knot { s: from, t, ppb });
        self.knots.push_back(Knot { s: from + length, t: t + length + step, ppb: 0 });
        while self.knots.len() > KNOTS {
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
    /// largest and smallest deviation of T from the true time of capture after the first minutes, in ms, and the part
    /// of the time that the map rested.
    fn simulate(ppm: f64, jitter: i64, seed: u64) -> (f64, f64, f64) {
        let mut map = ClockMap::new(ClockConfig::default());
        let slots = Slots::new(Dur::from_millis(40), None);
        let (mut rested, mut frames) = (0, 0);
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
                    map.anchor(s, t + slots.to_nearest(t));
                    map.rest_on(slots, s);
                } else {
                    continue;
                }
            }
            let t = map.map(s).expect("anchored");
            frames += 1;
            rested += i64::from(slots.to_nearest(t) == Dur::ZERO);
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
        (low, high, rested as f64 / frames as f64)
    }

    #[test]
    fn two_hours_of_a_drifting_source_stay_within_the_band_and_rest_on_slots() {
        // 100 ppm need a correction of 80 s each 400 s; under jitter one more, of 1.1 % of two hours, while the delay is
        // learnt.
        let cases = [
            (100.0, 200, 1, 0.785),
            (-100.0, 200, 2, 0.785),
            (0.0, 200, 3, 0.97),
            (100.0, 0, 4, 0.785),
            (-100.0, 20, 5, 0.785),
            (20.0, 20, 6, 0.95),
            (0.0, 0, 7, 1.0),
        ];
        for (ppm, jitter, seed, least) in cases {
            let (low, high, rested) = simulate(ppm, jitter, seed);
            println!("{ppm} ppm, {jitter} ms: {low:.2}…{high:.2} ms, at rest {:.1} %", rested * 100.0);
            // What the delay's measurement is off by under jitter comes on top.
            let most = BAND.as_secs_f64() * 1000.0 + 8.0;
            assert!(low >= -most && high <= most, "{ppm} ppm, {jitter} ms: {low:.2}…{high:.2} ms");
            assert!(rested >= least, "{ppm} ppm, {jitter} ms: at rest {rested}");
        }
    }

    #[test]
    fn a_map_that_began_between_slots_is_brought_onto_them() {
        for (frame, off) in [(40, 17), (40, -13), (20, 9)] {
            let mut map = ClockMap::new(ClockConfig::default());
            let slots = Slots::new(Dur::from_millis(frame), None);
            let mut on = 0;
            for n in 0..3000i64 {
                let s = Ts::from_millis(n * 40);
                map.observe(s, NOW + Dur::from_millis(n * 40));
                if n == 10 {
                    map.anchor(s, NOW + Dur::from_millis(n * 40 + off));
                    map.rest_on(slots, s);
                }
                on += i64::from(map.map(s).is_some_and(|t| slots.to_nearest(t) == Dur::ZERO));
            }
            // 500 ppm move 20 ms in 40 s, of 120 s.
            assert!(on >= 1900, "{frame} ms, {off} ms: {on}");
            assert!(map.error().is_some_and(|e| e.abs() <= Dur::from_millis(frame / 2)), "{:?}", map.error());
        }
    }

    #[test]
    fn pictures_rest_away_from_the_border_between_slots() {
        let ms = Dur::from_millis;
        assert_eq!(Slots::new(ms(40), Some((25, 1))), Slots::new(ms(40), None));
        assert_eq!(Slots::new(ms(20), Some((25, 1))), Slots::new(ms(20), None));
        // Two pictures per slot, at −10 and 10 ms: the border is at 20 ms.
        let slots = Slots::new(ms(40), Some((50, 1)));
        assert_eq!((slots.to_nearest(NOW), slots.to_nearest(NOW + ms(31))), (ms(10), ms(19)));
        assert_eq!(Slots::new(Dur::ZERO, Some((0, 0))).to_nearest(NOW), Dur::ZERO);
        assert_eq!(Slots::new(ms(40), None).to_nearest(NOW + ms(21)), ms(19));
        assert_eq!(Slots::new(ms(40), None).to_next(NOW + ms(1)), ms(39));
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
            fps in 1i64..130,
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
                if i % 7 == anchor % 7 {
                    map.rest_on(Slots::new(Dur::from_secs(1) / fps, Some((50, 1))), s);
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
