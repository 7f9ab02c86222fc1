//! The grid on which every rendition is cut, where video frames and AAC frames meet.
//!
//! | fps | part | segment | AAC frames in a segment |
//! |---|---|---|---|
//! | 25, 50 | 0.32 s | 1.92 s | 90 |
//! | 30, 60 | 0.5333 s | 2.1333 s | 100 |
//! | 24 | 8 frames, 0.3333 s | 2.6667 s | 125 |
//!
//! At 24 fps a part's end falls between AAC frames: sound is cut at the nearest one. Segments always cut exactly.

use super::time::{Dur, FLICKS_PER_SECOND, Ts};

/// Samples per second of all sound after the engine.
pub const AUDIO_RATE: u32 = 48_000;
/// Samples in an AAC frame (ISO/IEC 14496-3, AAC-LC).
pub const AAC_FRAME: u32 = 1024;
/// How long an AAC frame lasts at [`AUDIO_RATE`].
pub const AAC_FRAME_DUR: Dur = Dur::from_flicks(FLICKS_PER_SECOND / AUDIO_RATE as i64 * AAC_FRAME as i64);

/// Output frame rates with an exact grid.
pub const FRAME_RATES: [u32; 5] = [24, 25, 30, 50, 60];

/// The cut of an event. The timeline is Unix time, so that two daemons, or one before and after a restart, number alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    fps: u32,
    frames_per_part: u32,
    parts_per_segment: u32,
}

impl Grid {
    /// The grid of one of [`FRAME_RATES`]; none for any other rate.
    pub fn new(fps: u32) -> Option<Grid> {
        let (frames_per_part, parts_per_segment) = match fps {
            24 => (8, 8),
            25 => (8, 6),
            30 => (16, 4),
            50 => (16, 6),
            60 => (32, 4),
            _ => return None,
        };
        Some(Grid { fps, frames_per_part, parts_per_segment })
    }

    /// The grid for a source's rate as a fraction: the rate itself or its 1001-form when it has a grid; for a slower
    /// source the rate that repeats each picture equally often (15 → 30, 12.5 → 25, 12 → 24), else the nearest.
    pub fn for_source(numerator: u32, denominator: u32) -> Grid {
        let rate = f64::from(numerator.max(1)) / f64::from(denominator.max(1));
        let off = |fps: u32, multiple: u32| (rate * f64::from(multiple) - f64::from(fps)).abs() / f64::from(fps);
        // 0.2 % covers the 1001-rates and a source clock that is badly off.
        let exact = [1, 2, 4].into_iter().find_map(|m| FRAME_RATES.into_iter().find(|&fps| off(fps, m) < 0.002));
        let fps = exact
            .unwrap_or_else(|| FRAME_RATES.into_iter().min_by(|&a, &b| off(a, 1).total_cmp(&off(b, 1))).unwrap_or(25));
        Grid::new(fps).unwrap_or(Grid { fps: 25, frames_per_part: 8, parts_per_segment: 6 })
    }

    /// Output frames per second.
    pub fn fps(self) -> u32 {
        self.fps
    }

    /// Video frames in a part.
    pub fn frames_per_part(self) -> u32 {
        self.frames_per_part
    }

    /// Parts in a segment.
    pub fn parts_per_segment(self) -> u32 {
        self.parts_per_segment
    }

    /// Video frames in a segment: the closed GOP of every rendition.
    pub fn frames_per_segment(self) -> u32 {
        self.frames_per_part * self.parts_per_segment
    }

    /// How long a video frame is shown.
    pub fn frame(self) -> Dur {
        Dur::from_flicks(FLICKS_PER_SECOND / i64::from(self.fps))
    }

    /// How long a part of video lasts.
    pub fn part(self) -> Dur {
        self.frame() * i64::from(self.frames_per_part)
    }

    /// How long a segment lasts.
    pub fn segment(self) -> Dur {
        self.frame() * i64::from(self.frames_per_segment())
    }

    /// AAC frames in a segment; whole for every grid.
    pub fn aac_frames_per_segment(self) -> u32 {
        (self.segment().flicks() / AAC_FRAME_DUR.flicks()) as u32
    }

    /// The number, since 1970, of the video frame shown at `ts`.
    pub fn frame_number(self, ts: Ts) -> i64 {
        ts.div_floor(self.frame())
    }

    /// When the video frame `number` begins.
    pub fn frame_start(self, number: i64) -> Ts {
        Ts::ZERO + self.frame() * number
    }

    /// The number, since 1970, of the AAC frame that sounds at `ts`.
    pub fn aac_number(self, ts: Ts) -> i64 {
        ts.div_floor(AAC_FRAME_DUR)
    }

    /// When the AAC frame `number` begins.
    pub fn aac_start(self, number: i64) -> Ts {
        Ts::ZERO + AAC_FRAME_DUR * number
    }

    /// The number, since 1970, of the segment that holds `ts`.
    pub fn segment_number(self, ts: Ts) -> u64 {
        ts.div_floor(self.segment()).max(0) as u64
    }

    /// When the segment `number` begins.
    pub fn segment_start(self, number: u64) -> Ts {
        Ts::ZERO + self.segment() * i64::try_from(number).unwrap_or(i64::MAX)
    }

    /// Segment and part of a video frame.
    pub fn video_part(self, frame: i64) -> (u64, u32) {
        let per = i64::from(self.frames_per_segment());
        (frame.div_euclid(per).max(0) as u64, frame.rem_euclid(per) as u32 / self.frames_per_part)
    }

    /// The first AAC frame of part `part` within its segment: the one nearest to the video's cut.
    pub fn aac_part_start(self, part: u32) -> u32 {
        let at = self.part().flicks() * i64::from(part);
        ((at + AAC_FRAME_DUR.flicks() / 2) / AAC_FRAME_DUR.flicks()) as u32
    }

    /// Segment and part of an AAC frame.
    pub fn aac_part(self, number: i64) -> (u64, u32) {
        let per = i64::from(self.aac_frames_per_segment());
        let within = number.rem_euclid(per) as u32;
        let part = (0..self.parts_per_segment).rev().find(|&p| self.aac_part_start(p) <= within).unwrap_or(0);
        (number.div_euclid(per).max(0) as u64, part)
    }

    /// The longest part of any rendition: the playlist's PART-TARGET.
    pub fn part_target(self) -> Dur {
        let ends = (1..=self.parts_per_segment).map(|p| self.aac_part_start(p) - self.aac_part_start(p - 1));
        let audio = AAC_FRAME_DUR * i64::from(ends.max().unwrap_or(0));
        audio.max(self.part())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_and_sound_cut_at_the_same_instants() {
        for fps in FRAME_RATES {
            let g = Grid::new(fps).expect("listed rate");
            assert_eq!(g.segment().flicks() % AAC_FRAME_DUR.flicks(), 0, "{fps}");
            assert_eq!(g.aac_part_start(g.parts_per_segment()), g.aac_frames_per_segment());
            if fps != 24 {
                assert_eq!(g.part().flicks() % AAC_FRAME_DUR.flicks(), 0, "{fps}");
                assert_eq!(g.part_target(), g.part());
            }
            for segment in [0u64, 931_000_000] {
                let start = g.segment_start(segment);
                assert_eq!(g.segment_number(start), segment);
                assert_eq!(g.video_part(g.frame_number(start)), (segment, 0));
                assert_eq!(g.aac_part(g.aac_number(start)), (segment, 0));
                assert_eq!(g.aac_start(g.aac_number(start)), start);
            }
        }
        assert_eq!(Grid::new(25).map(|g| (g.part().as_millis(), g.segment().as_millis())), Some((320, 1920)));
    }

    #[test]
    fn every_frame_belongs_to_the_part_that_holds_it() {
        for fps in FRAME_RATES {
            let g = Grid::new(fps).expect("listed rate");
            let mut counts = vec![0u32; g.parts_per_segment() as usize];
            for k in 0..i64::from(g.aac_frames_per_segment()) {
                counts[g.aac_part(k).1 as usize] += 1;
            }
            let (min, max) = (counts.iter().min(), counts.iter().max());
            assert!(max.unwrap_or(&0) - min.unwrap_or(&0) <= 1, "{fps}: {counts:?}");
        }
    }

    #[test]
    fn a_source_rate_finds_its_grid() {
        let cases = [
            ((24000, 1001), 24),
            ((25, 1), 25),
            ((30000, 1001), 30),
            ((15, 1), 30),
            ((25, 2), 25),
            ((12, 1), 24),
            ((60000, 1001), 60),
            ((50, 1), 50),
            ((20, 1), 24),
            ((120, 1), 60),
            ((48, 1), 50),
        ];
        for ((n, d), fps) in cases {
            assert_eq!(Grid::for_source(n, d).fps(), fps, "{n}/{d}");
        }
    }
}
