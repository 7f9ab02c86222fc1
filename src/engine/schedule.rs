//! When a slot leaves and which picture fills it. Pure: time is an argument.

use crate::media::grid::{AAC_FRAME, AAC_FRAME_DUR, AUDIO_RATE};
use crate::media::{Dur, Grid, Ts};

/// The least delay of pictures. Timestamps rest up to 31 ms before arrival (the band of `select`'s clock map), and the
/// picture of a slot may be up to half a frame after it (≤ 21 ms at 24 fps); what is left pays for decoding it and for
/// jitter of the network.
pub const MIN_VIDEO_DELAY: Dur = Dur::from_millis(110);
/// The least delay of sound after the end of its frame: the same band, and encoders interleave sound up to some frames
/// behind the picture.
pub const MIN_AUDIO_DELAY: Dur = Dur::from_millis(130);
/// How far the encoder of sound looks ahead: AAC frame `k` comes out when frame `k + 2` goes in (one frame of overlap,
/// 1024 samples of priming; one of the psychoacoustic model).
pub const AAC_LOOKAHEAD: i64 = 2;
/// Decoding of a slot's picture begins this long before the slot is due: two frames at 50 fps, the time that a decoder
/// needs for a large key frame.
pub const DECODE_LEAD: Dur = Dur::from_millis(40);
/// A slot missed by more than this is not made up for: the output skips to a segment's start, and the playlist says so.
pub const CATCH_UP: Dur = Dur::from_secs(3);
/// How far beyond half a frame a picture may lie from its slot before a repeated picture is made up for by leaving one out,
/// or the reverse: more than the rounding of millisecond timestamps, so that a source whose pictures fall between two slots
/// does not flicker between them.
pub const CADENCE_HYSTERESIS: Dur = Dur::from_millis(2);

/// When slot `n` of the frame grid is due.
pub fn video_due(grid: Grid, n: i64, delay: Dur) -> Ts {
    grid.frame_start(n) + delay.max(MIN_VIDEO_DELAY)
}

/// When frame `k` of sound is mixed, so that it leaves with the pictures of its instant although the encoder looks ahead.
pub fn audio_due(k: i64, delay: Dur) -> Ts {
    let start = Ts::ZERO + AAC_FRAME_DUR * k;
    let ahead = AAC_FRAME_DUR * AAC_LOOKAHEAD;
    start + (delay - ahead).max(AAC_FRAME_DUR + MIN_AUDIO_DELAY)
}

/// Samples since 1970 before AAC frame `k`.
pub fn aac_samples(k: i64) -> i64 {
    k.saturating_mul(i64::from(AAC_FRAME))
}

/// Samples since 1970 at `ts`, to the nearest.
pub fn samples_at(ts: Ts) -> i64 {
    ts.to_scale(AUDIO_RATE)
}

/// Where a track's output begins or goes on: first frame of pictures, first AAC frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// For tracks of pictures.
    pub video: i64,
    /// For tracks of sound.
    pub audio: i64,
}

/// Where output begins that has no past: the start of the segment that is due now, so that the first segment is whole.
pub fn begin(grid: Grid, now: Ts, delay: Dur) -> Begin {
    let segment = grid.segment_number(now - delay.max(MIN_VIDEO_DELAY));
    let start = grid.segment_start(segment);
    Begin { video: grid.frame_number(start), audio: grid.aac_number(start) }
}

/// Where a track goes on: with the one after its last, unless that is missed by more than [`CATCH_UP`]; then, and all
/// tracks alike, at the segment that is due now.
pub fn resume(grid: Grid, next: i64, video: bool, now: Ts, delay: Dur) -> i64 {
    let at = if video { grid.frame_start(next) } else { grid.aac_start(next) };
    if (now - delay) - at <= CATCH_UP {
        return next;
    }
    let begin = begin(grid, now, delay);
    next.max(if video { begin.video } else { begin.audio })
}

/// The slot that an encoder goes on with that is due to make `slot`: the same, unless it is late by more than `most`; then
/// the start of the first segment that is not yet missed, so that the segments between are gaps and the next one is whole.
pub fn skip(grid: Grid, slot: i64, now: Ts, delay: Dur, most: Dur) -> i64 {
    if now - video_due(grid, slot, delay) <= most {
        return slot;
    }
    let due = grid.frame_number(now - delay.max(MIN_VIDEO_DELAY));
    let per_segment = i64::from(grid.frames_per_segment());
    slot.max(due.div_euclid(per_segment) * per_segment + per_segment)
}

/// Which of two decoded pictures a slot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The earlier one: for the first time when it is fresh, else again.
    Earlier,
    /// The later one.
    Later,
}

/// What is known of a decoded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When it should be shown.
    pub pts: Ts,
    /// Whether no slot has shown it yet.
    pub fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A slot showed the picture of the slot before once more.
    Repeated,
    /// A picture was left out.
    Dropped,
}

/// Chooses the picture of each slot in turn: the latest that is at most half a frame after the slot. So what begins to
/// show begins within half a frame of its time, whatever the source's rate.
///
/// A change of the cadence needs no margin, so that a source whose rate differs a little, which passes the border once, is
/// never more than half a frame off. Only undoing the last change needs [`CADENCE_HYSTERESIS`], until pictures have moved
/// away from the border by as much.
#[derive(Clone, Debug, Default)]
pub struct Cadence {
    last: Option<Change>,
}

impl Cadence {
    /// Chooses for the slot at `slot`, which is `frame` long, between `earlier` (the last picture before the slot, if any)
    /// and `later` (the first at or after it).
    pub fn choose(&mut self, frame: Dur, slot: Ts, earlier: Option<Candidate>, later: Ts) -> Choice {
        let Some(earlier) = earlier else { return Choice::Later };
        let half = frame / 2;
        let limit = match (self.last, earlier.fresh) {
            (Some(Change::Repeated), true) => half - CADENCE_HYSTERESIS,
            (Some(Change::Dropped), false) => half + CADENCE_HYSTERESIS,
            _ => half,
        };
        let choice = if later - slot <= limit { Choice::Later } else { Choice::Earlier };
        match (choice, earlier.fresh) {
            (Choice::Later, true) => self.last = Some(Change::Dropped),
            (Choice::Earlier, false) => self.last = Some(Change::Repeated),
            _ => {
                let shown = if choice == Choice::Later { later } else { earlier.pts };
                if (shown - slot).abs() < half - CADENCE_HYSTERESIS {
                    self.last = None;
                }
            }
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays pictures at `pts` into slots as the worker does; returns which picture each slot shows.
    fn play(grid: Grid, pts: &[Ts], slots: std::ops::Range<i64>) -> Vec<usize> {
        let (mut earlier, mut next, mut shown) = (None::<(usize, bool)>, 0usize, Vec::new());
        let mut cadence = Cadence::default();
        for n in slots {
            let slot = grid.frame_start(n);
            while next < pts.len() && pts[next] < slot {
                earlier = Some((next, true));
                next += 1;
            }
            let candidate = earlier.map(|(i, fresh)| Candidate { pts: pts[i], fresh });
            let take = match pts.get(next) {
                Some(&later) => cadence.choose(grid.frame(), slot, candidate, later) == Choice::Later,
                None => false,
            };
            if take {
                earlier = Some((next, false));
                next += 1;
            }
            if let Some((i, fresh)) = &mut earlier {
                *fresh = false;
                shown.push(*i);
            }
        }
        shown
    }

    fn steady(rate: f64, start: f64, n: usize, jitter: impl Fn(usize) -> f64) -> Vec<Ts> {
        (0..n).map(|i| Ts::ZERO + Dur::from_secs_f64(start + i as f64 / rate + jitter(i))).collect()
    }

    #[test]
    fn an_encoder_that_is_far_behind_goes_on_at_a_segment_that_is_not_missed() {
        let grid = Grid::for_source(25, 1);
        let (delay, most) = (Dur::from_millis(750), Dur::from_secs(5));
        let slot = grid.frame_number(Ts::from_millis(1_700_000_000_000));
        let due = video_due(grid, slot, delay);
        assert_eq!(skip(grid, slot, due + most, delay, most), slot);
        let next = skip(grid, slot, due + most + Dur::from_millis(1), delay, most);
        assert_eq!(next.rem_euclid(i64::from(grid.frames_per_segment())), 0);
        let wait = video_due(grid, next, delay) - (due + most);
        assert!(wait > Dur::ZERO && wait <= grid.segment() + grid.frame(), "{wait}");
    }

    #[test]
    fn a_source_of_the_same_rate_shows_every_picture_once_at_any_phase_and_with_rounded_timestamps() {
        let grid = Grid::new(25).expect("rate");
        for phase in 0..40 {
            let exact = steady(25.0, 100.0 + f64::from(phase) / 1000.0, 500, |_| 0.0);
            let rounded: Vec<Ts> = exact
                .iter()
                .enumerate()
                .map(|(i, t)| Ts::from_millis(t.as_millis() + (i as i64 * 7 % 3 - 1)))
                .collect();
            let shown = play(grid, &rounded, 2505..2990);
            // The first slots choose the cadence.
            assert!(shown[3..].windows(2).all(|w| w[1] == w[0] + 1), "phase {phase}: {shown:?}");
        }
    }

    #[test]
    fn other_rates_repeat_or_drop_evenly_and_begin_to_show_within_half_a_frame() {
        let ntsc = 1000.0 / 1001.0;
        for (rate, fps) in [
            (24.0, 25),
            (50.0, 25),
            (30.0 * ntsc, 30),
            (60.0 * ntsc, 60),
            (24.0 * ntsc, 24),
            (12.5, 25),
            (25.0, 50),
            (60.0, 50),
            (25.0025, 25),
            (24.9975, 25),
            (50.005, 50),
            (59.994, 60),
        ] {
            let grid = Grid::new(fps).expect("rate");
            let pts = steady(rate, 10.0, (rate * 30.0) as usize, |_| 0.0);
            let first = i64::from(fps) * 11;
            let shown = play(grid, &pts, first..first + i64::from(fps) * 15);
            for k in (1..shown.len()).filter(|&k| shown[k] != shown[k - 1]) {
                let off = (pts[shown[k]] - grid.frame_start(first + k as i64)).abs();
                assert!(off <= grid.frame() / 2, "{rate} to {fps}: off {off}");
            }
            let advanced = (shown[shown.len() - 1] - shown[0]) as f64 / 15.0;
            assert!((advanced - rate).abs() < 0.2, "{rate} to {fps}: {advanced}");
        }
    }

    proptest! {
        #[test]
        fn pictures_are_never_shown_backwards(steps in proptest::collection::vec(0i64..200, 2..200)) {
            let mut t = 2_000;
            let pts: Vec<Ts> = steps.iter().map(|s| { t += s; Ts::from_millis(t) }).collect();
            let shown = play(Grid::new(30).expect("rate"), &pts, 60..1500);
            prop_assert!(shown.windows(2).all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn a_restart_goes_on_with_the_next_slot_or_skips_whole_segments() {
        let grid = Grid::new(25).expect("rate");
        let delay = Dur::from_millis(750);
        let now = Ts::ZERO + Dur::from_secs(1_800_000_000);
        let next = grid.frame_number(now - delay) - 40;
        assert_eq!(resume(grid, next, true, now, delay), next);
        let aac = grid.aac_number(now - delay) - 90;
        assert_eq!(resume(grid, aac, false, now, delay), aac);
        let old = next - 25 * 60;
        let (v, a) = (resume(grid, old, true, now, delay), resume(grid, aac - 50 * 60, false, now, delay));
        assert_eq!(grid.frame_start(v), grid.aac_start(a));
        assert_eq!(grid.segment_start(grid.segment_number(grid.frame_start(v))), grid.frame_start(v));
        assert!((now - delay) - grid.frame_start(v) < grid.segment());
        assert_eq!(begin(grid, now, delay), Begin { video: v, audio: a });
    }

    #[test]
    fn sound_leaves_with_the_pictures_of_its_instant() {
        let delay = Dur::from_millis(750);
        let k = 10_000;
        let leaves = audio_due(k + AAC_LOOKAHEAD, delay);
        assert_eq!(leaves, Ts::ZERO + AAC_FRAME_DUR * k + delay);
        assert_eq!(audio_due(k, Dur::ZERO), Ts::ZERO + AAC_FRAME_DUR * (k + 1) + MIN_AUDIO_DELAY);
    }
}
