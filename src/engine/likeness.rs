//! How far apart the sounds of two inputs are that carry the same programme. Pure.
//!
//! Two encoders at one source make different bytes of it, but what they decode to is nearly the same sound. Of each input
//! the last [`REACH`] are kept as a waveform of [`RATE`] values a second and as the loudness of each 5 ms. The last 2.5 s of
//! one are looked for in the other: first their course of loudness, which is short; where that fits at one place and
//! nowhere else, the waveform around it says where exactly. Two finds in a row that agree are certain.
//!
//! What repeats itself (a test tone, beeps, a loop) fits at several places, and silence at all: both say nothing.
//!
//! **Bound.** [`REACH`] of each input; a search costs some three million multiplications, four times a second at most.

use crate::media::{Dur, InputName, Ts};

/// How far one input may be behind the other so that it is still found.
pub const REACH: Dur = Dur::from_secs(10);
/// Values of the waveform per second: what all encoders keep lies in its band.
const RATE: usize = 4000;
/// Values of the waveform that one of the loudness is made of.
const HOP: usize = 20;
/// How much sound is looked for, in values of the loudness.
const WINDOW: usize = 500;
/// Values of the loudness that are kept: [`REACH`] and the window.
const KEPT: usize = 10 * RATE / HOP + WINDOW;
/// How many more there may be before they are dropped: a second's.
const SLACK: usize = RATE / HOP;
/// Sound between two searches, in values of the waveform: until the inputs are known to be alike, and then.
const SEARCH: i64 = RATE as i64 / 4;
const FOLLOW: i64 = RATE as i64;
/// A hole in the sound up to this long is silence; a longer one is another clock, and so is a step back by a tenth of it.
const MOST_HOLE: i64 = RATE as i64;
/// Mean square that is added to all: what codecs leave of silence differs. −60 dB.
const NOISE: f32 = 1e-6;
/// Standard deviation of the loudness, in natural logarithms of the power, below which it has no course: 1.3 dB.
const LEAST_COURSE: f32 = 0.3;
/// How well the loudness must fit where it fits best, and how much worse everywhere else.
const FITS: f32 = 0.8;
const FITS_BETTER: f32 = 0.15;
/// The newest part of the window, one second, must not fit so well into the rest of it: then it repeats itself.
const BEAT: usize = RATE / HOP;
const REPEATS: f32 = 0.85;
/// Values of the loudness around the best place that are that place still: 100 ms.
const AROUND: usize = 20;
/// How well the waveform must fit at its best, whatever its polarity.
const FITS_EXACTLY: f32 = 0.5;
/// How far from the loudness's place the waveform is looked for, in its values: 15 ms.
const NEAR: usize = 60;
/// How far two finds in a row may differ, in values of the waveform: 2 ms.
const AGREE: i64 = 8;

/// What is kept of an input's sound. Values are counted from the source clock's zero; the series begin with a whole value
/// of the loudness.
#[derive(Debug, Default)]
struct Heard {
    /// The value that is being made; none before the first.
    next: Option<i64>,
    /// Its sum, and of how many samples.
    part: (f32, u32),
    waveform: Vec<f32>,
    loudness: Vec<f32>,
}

impl Heard {
    /// Takes a block of interleaved stereo.
    fn push(&mut self, pts: Ts, rate: u32, stereo: &[f32]) {
        let value = Dur::from_scale(1, RATE as u32).flicks();
        let second = Dur::from_secs(1).flicks();
        let index = |n: usize| {
            let at = pts.flicks().saturating_add(n as i64 * second / i64::from(rate.max(1)));
            at.div_euclid(value)
        };
        let first = index(0);
        if self.next.is_some_and(|next| first > next + MOST_HOLE || first < next - MOST_HOLE / 10) {
            *self = Heard::default();
        }
        let hop = HOP as i64;
        let mut next = *self.next.get_or_insert_with(|| (first + hop - 1).div_euclid(hop) * hop);
        for (n, pair) in stereo.chunks_exact(2).enumerate() {
            let index = index(n);
            // What comes before the first value, or twice, is left out.
            if index < next {
                continue;
            }
            while next < index {
                self.close(next);
                next += 1;
            }
            self.part.0 += pair[0] + pair[1];
            self.part.1 += 1;
        }
        self.next = Some(next);
        let over = self.loudness.len().saturating_sub(KEPT);
        if over > SLACK {
            self.loudness.drain(..over);
            self.waveform.drain(..over * HOP);
        }
    }

    /// The value is complete.
    fn close(&mut self, index: i64) {
        let (sum, samples) = std::mem::take(&mut self.part);
        self.waveform.push(if samples > 0 { sum / samples as f32 } else { 0.0 });
        if (index + 1).rem_euclid(HOP as i64) == 0 {
            let hop = &self.waveform[self.waveform.len() - HOP..];
            self.loudness.push((dot(hop, hop) / HOP as f32 + NOISE).ln());
        }
    }

    /// Index of the first value that is kept.
    fn start(&self) -> i64 {
        self.next.unwrap_or(0) - self.waveform.len() as i64
    }

    /// Where in `other` the newest sound of this one is: how much later its values are counted here than there.
    fn find_in(&self, other: &Heard) -> Option<i64> {
        // Not the very newest, so that two that arrive together have each other's surroundings.
        let from = self.loudness.len().checked_sub(WINDOW + AROUND)?;
        let window = &self.loudness[from..][..WINDOW];
        let newest = Fit::of(&window[WINDOW - BEAT..], LEAST_COURSE)?.places(&window[..WINDOW - AROUND]);
        if newest.iter().any(|&fits| fits >= REPEATS) {
            return None;
        }
        let place = Fit::of(window, LEAST_COURSE)?.only_place(&other.loudness)?;
        let wave = &self.waveform[from * HOP..][..WINDOW * HOP];
        let first = (place * HOP).saturating_sub(NEAR);
        let last = (place * HOP + NEAR + wave.len()).min(other.waveform.len());
        let (exactly, fits) = Fit::of(wave, 0.0)?.best(other.waveform.get(first..last)?)?;
        (fits >= FITS_EXACTLY).then(|| self.start() + (from * HOP) as i64 - other.start() - (first + exactly) as i64)
    }
}

/// Sum of products. In lanes, which a compiler can make one instruction of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a_rows, a_rest) = a.as_chunks::<8>();
    let (b_rows, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_rows.iter().zip(b_rows) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

/// A series that is looked for in longer ones, by normalised correlation: 1 where they are equal but for gain and offset.
struct Fit {
    series: Vec<f32>,
    /// Root of the sum of its squares.
    norm: f32,
}

impl Fit {
    /// None where its standard deviation is not above `least`.
    fn of(series: &[f32], least: f32) -> Option<Fit> {
        let mean = series.iter().sum::<f32>() / series.len() as f32;
        let series: Vec<f32> = series.iter().map(|v| v - mean).collect();
        let norm = dot(&series, &series).sqrt();
        (norm > least * (series.len() as f32).sqrt()).then_some(Fit { series, norm })
    }

    /// How well it fits at each place of `other`; nothing where that is shorter.
    fn places(&self, other: &[f32]) -> Vec<f32> {
        let length = self.series.len();
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        let mut add = |v: f32, sign: f64| {
            let v = f64::from(v);
            sum += sign * v;
            squares += sign * v * v;
            (squares - sum * sum / length as f64).max(0.0).sqrt() as f32
        };
        let mut norm = 0.0;
        other.iter().take(length).for_each(|&v| norm = add(v, 1.0));
        let mut fits = Vec::with_capacity(other.len().saturating_sub(length) + 1);
        for (place, part) in other.windows(length).enumerate() {
            if place > 0 {
                add(other[place - 1], -1.0);
                norm = add(other[place + length - 1], 1.0);
            }
            let product = self.norm * norm;
            fits.push(if product > f32::EPSILON { dot(&self.series, part) / product } else { 0.0 });
        }
        fits
    }

    /// Where it fits well, and nowhere else nearly as well. Not at either end: it might fit better beyond.
    fn only_place(&self, other: &[f32]) -> Option<usize> {
        let fits = self.places(other);
        let (best, most) = inner_most(&fits)?;
        let elsewhere = fits.iter().enumerate().filter(|(i, _)| i.abs_diff(best) > AROUND).map(|(_, &f)| f);
        let next = elsewhere.max_by(f32::total_cmp).unwrap_or(0.0);
        (most >= FITS && most - next >= FITS_BETTER).then_some(best)
    }

    /// Where it fits best, whatever its polarity, and how well; not at either end.
    fn best(&self, other: &[f32]) -> Option<(usize, f32)> {
        let fits: Vec<f32> = self.places(other).into_iter().map(f32::abs).collect();
        inner_most(&fits)
    }
}

/// The greatest value and its place, where that is not the first or the last.
fn inner_most(values: &[f32]) -> Option<(usize, f32)> {
    let (place, &most) = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    (place > 0 && place + 1 < values.len()).then_some((place, most))
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Likeness {
    inputs: [Heard; 2],
    /// The last find: main's count less backup's.
    found: Option<i64>,
    /// Whether it was certain.
    certain: bool,
    /// Values of main's waveform since the last search.
    since: i64,
}

impl Likeness {
    /// An input's clock begins anew.
    pub fn reset(&mut self, input: InputName) {
        self.inputs[input.index()] = Heard::default();
        (self.found, self.certain) = (None, false);
    }

    /// Decoded sound of an input at its place on the source's clock: interleaved stereo of `rate` samples per second. Gives
    /// main's clock less backup's at the same sound, where that was looked for now and is certain.
    pub fn heard(&mut self, input: InputName, pts: Ts, rate: u32, stereo: &[f32]) -> Option<Dur> {
        let heard = &mut self.inputs[input.index()];
        let before = heard.next;
        heard.push(pts, rate, stereo);
        if input == InputName::Main
            && let (Some(before), Some(now)) = (before, heard.next)
        {
            self.since += (now - before).clamp(0, FOLLOW);
        }
        if self.since < if self.certain { FOLLOW } else { SEARCH } {
            return None;
        }
        self.since = 0;
        self.search()
    }

    fn search(&mut self) -> Option<Dur> {
        let [main, backup] = &self.inputs;
        // The one that is behind has its newest sound in what the other one has had.
        let found = main.find_in(backup).or_else(|| backup.find_in(main).map(|apart| -apart));
        let before = std::mem::replace(&mut self.found, found);
        self.certain = before.zip(found).is_some_and(|(a, b)| (a - b).abs() <= AGREE);
        found.filter(|_| self.certain).map(|apart| Dur::from_scale(apart, RATE as u32))
    }
}

#[cfg(test)]
mod tests;
