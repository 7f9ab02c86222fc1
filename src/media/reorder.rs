//! Decoding times of pictures that come with presentation times alone (RTP).

use std::collections::VecDeque;

/// Pictures that may be reordered: what H.264 and HEVC allow at most.
pub const MAX_DEPTH: usize = 16;

/// Derives a decoding time for each picture of a track, from the presentation times in decoding order.
///
/// With `depth` pictures of reordering, the decoding time of a picture is the least presentation time of the `depth + 1` newest
/// ones that was not given out before: that is never after its own, and rises. Where a stream reorders more than was announced,
/// the depth grows with it, and the pictures up to then keep order by one unit. The first picture is taken for one that is shown
/// first, as a key frame that closes the group before it is.
#[derive(Debug)]
pub struct Reorder {
    depth: usize,
    /// Presentation times that are no decoding time yet, rising.
    waiting: Vec<i64>,
    /// Presentation times of the newest pictures, as they came.
    newest: VecDeque<i64>,
    last: Option<i64>,
    /// A picture's duration.
    step: i64,
}

impl Reorder {
    /// For a track with `depth` reordered pictures; `step` is a picture's duration in its units, as far as it is known.
    pub fn new(depth: usize, step: i64) -> Reorder {
        Reorder {
            depth: depth.min(MAX_DEPTH),
            waiting: Vec::new(),
            newest: VecDeque::new(),
            last: None,
            step: step.max(1),
        }
    }

    /// How many pictures are reordered, as far as it is known.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Takes over what new parameter sets announce.
    pub fn announce(&mut self, depth: usize) {
        self.depth = self.depth.max(depth.min(MAX_DEPTH));
    }

    /// The clock has jumped: what came before says nothing any more.
    pub fn restart(&mut self) {
        self.waiting.clear();
        self.newest.clear();
        self.last = None;
    }

    /// The decoding time of the next picture. Rises strictly; not after `pts`, but while the depth is found out.
    pub fn dts(&mut self, pts: i64) -> i64 {
        // The depth of H.264 §E.2.1: pictures that come before another one and are shown after it.
        self.depth = self.depth.max(self.newest.iter().filter(|&&p| p > pts).count());
        if self.newest.len() == MAX_DEPTH {
            self.newest.pop_front();
        }
        self.newest.push_back(pts);
        let at = self.waiting.partition_point(|&p| p <= pts);
        self.waiting.insert(at, pts);
        let dts = if self.waiting.len() > self.depth {
            self.waiting.remove(0)
        } else {
            // Not enough are known yet: they precede the first by as many steps as are missing.
            let missing = self.depth + 1 - self.waiting.len();
            self.waiting[0].saturating_sub(self.step.saturating_mul(missing as i64))
        };
        let dts = self.last.map_or(dts, |last| dts.max(last.saturating_add(1)));
        self.last = Some(dts);
        dts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reorder: &mut Reorder, pts: &[i64]) -> Vec<i64> {
        pts.iter().map(|&p| reorder.dts(p)).collect()
    }

    #[test]
    fn without_reordering_both_times_are_the_same() {
        assert_eq!(all(&mut Reorder::new(0, 10), &[0, 10, 20, 30]), [0, 10, 20, 30]);
    }

    #[test]
    fn announced_reordering_leaves_room_from_the_first_picture_on() {
        // I P B B P B B with one picture of delay at each level, and a pyramid with two.
        assert_eq!(all(&mut Reorder::new(1, 10), &[10, 40, 20, 30, 70, 50, 60]), [0, 10, 20, 30, 40, 50, 60]);
        assert_eq!(all(&mut Reorder::new(2, 10), &[20, 60, 40, 30, 50, 100, 80, 70]), [0, 10, 20, 30, 40, 50, 60, 70]);
    }

    #[test]
    fn reordering_that_was_not_announced_is_found_out() {
        let mut reorder = Reorder::new(0, 10);
        let pts: Vec<i64> = (0..20).flat_map(|i| [i * 30 + 30, i * 30 + 10, i * 30 + 20]).collect();
        let dts = all(&mut reorder, &pts);
        assert_eq!(reorder.depth(), 1);
        assert!(dts.windows(2).all(|w| w[0] < w[1]), "{dts:?}");
        assert!(dts.iter().zip(&pts).skip(4).all(|(d, p)| d <= p), "{dts:?} {pts:?}");
    }

    proptest! {
        #[test]
        fn any_times_give_rising_ones_in_bounded_memory(pts in prop::collection::vec(any::<i64>(), 0..200), depth in 0usize..40) {
            let mut reorder = Reorder::new(depth, i64::MAX);
            let mut last = None;
            for p in pts {
                let dts = reorder.dts(p);
                prop_assert!(last.is_none_or(|l| dts > l || l == i64::MAX));
                prop_assert!(reorder.waiting.len() <= MAX_DEPTH + 1);
                last = Some(dts);
            }
        }

        #[test]
        fn what_is_announced_right_never_decodes_after_it_is_shown(groups in prop::collection::vec(0usize..3, 1..40)) {
            // A key frame, which is shown first; then in each group one picture ahead and `b` before it.
            let (mut pts, mut at) = (vec![0], 0);
            for b in groups {
                pts.push(at + b as i64 * 10 + 10);
                pts.extend((0..b as i64).map(|i| at + i * 10 + 10));
                at += b as i64 * 10 + 10;
            }
            let mut reorder = Reorder::new(1, 10);
            for &p in &pts {
                prop_assert!(reorder.dts(p) <= p);
            }
            prop_assert_eq!(reorder.depth(), 1);
        }
    }
}
