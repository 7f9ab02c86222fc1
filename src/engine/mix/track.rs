//! One sound track laid on the event's timeline, and read back on the 48 kHz grid.
//!
//! **Writing.** Decoded blocks come with timestamps that jitter (containers round to milliseconds), drift (the source's
//! clock against ours) and sometimes jump. The place of a block follows by counting samples; the timestamps steer a slow
//! correction of where sample 0 lies. A gap beyond [`JUMP`] becomes silence between fades, an overlap is trimmed.
//! **Reading.** The read position follows that mapping by changing its speed by at most [`SPEED_LIMIT`]: this is where
//! the source's clock is brought to the event's. What is not there is silence between fades.
//! **Bound.** [`TrackLine::new`]'s `capacity`; the oldest sound leaves first.

use super::resample::{HALF, Sinc};
use super::{BLOCK, Block};
use crate::media::grid::AUDIO_RATE;
use crate::media::{Dur, Ts};
use std::collections::VecDeque;

/// A timestamp that deviates by more than this from counting is a jump: three times an AAC frame's rounding and well
/// below what is seen against the picture.
const JUMP: Dur = Dur::from_millis(60);
/// A smaller deviation that stays beyond [`STEADY`] on the same side for this many blocks is a jump too: a splice or a loop
/// of the source, not jitter.
const STEADY_BLOCKS: u32 = 6;
/// See [`STEADY_BLOCKS`]: more than containers round, less than is noticed.
const STEADY: Dur = Dur::from_millis(6);
/// Part of each block's deviation that moves the mapping: a time constant of about 30 blocks, 0.6 s of AAC.
const FOLLOW: f64 = 1.0 / 30.0;
/// Part of each block's deviation that moves the mapping's drift: critically damped with [`FOLLOW`], so that timestamps
/// which rise steadily faster or slower than samples are followed without a lag.
const FOLLOW_DRIFT: f64 = FOLLOW * FOLLOW / 4.0;
/// The largest drift that is believed: what `select` slews and a crystal on top.
const MOST_DRIFT: f64 = 0.001;
/// How many output blocks a position error takes to be worked off.
const SETTLE_BLOCKS: f64 = 8.0;
/// The largest change of speed: 0.2 %, four cents of pitch, below what is heard.
const SPEED_LIMIT: f64 = 0.002;
/// A position error beyond this is set right at once, between fades.
const RESEEK: Dur = Dur::from_millis(30);
/// Length of a fade.
const FADE: usize = 240;
/// The most silence that a gap puts into the queue; what lies further on begins a new line.
const GAP_LIMIT: Dur = Dur::from_secs(2);

/// See the module.
pub struct TrackLine {
    rate: u32,
    sinc: Sinc,
    /// Interleaved stereo at `rate`.
    samples: VecDeque<f32>,
    /// Number of the first sample kept, counted since the line began.
    first: i64,
    /// Event time of sample 0 in seconds after `epoch`.
    origin: f64,
    /// By how much of a block's length `origin` moves with each block.
    drift: f64,
    /// A whole point of the timeline near the line's start, to keep floats small.
    epoch: Ts,
    /// Where the next output sample is read, in samples since the line began; none before the first read.
    position: Option<f64>,
    /// Whether the last read ended in sound.
    sounding: bool,
    /// Samples kept at most.
    capacity: usize,
    last_read: [f32; 2],
    /// Within an overlap that is being trimmed: to the sample, not only down to a jump's size.
    trimming: bool,
    /// Blocks in a row that deviated to the same side; negative for early ones.
    steady: i32,
    /// The next block begins another run of the input: its timestamp holds to the millisecond.
    splice: bool,
}

impl TrackLine {
    /// An empty line for sound of `rate` samples per second that keeps at most `capacity` of it.
    pub fn new(rate: u32, capacity: Dur) -> TrackLine {
        TrackLine {
            rate,
            sinc: Sinc::new(rate),
            samples: VecDeque::new(),
            first: 0,
            origin: 0.0,
            drift: 0.0,
            epoch: Ts::ZERO,
            position: None,
            sounding: false,
            capacity: capacity.to_scale(rate).max(0) as usize,
            last_read: [0.0; 2],
            trimming: false,
            steady: 0,
            splice: false,
        }
    }

    /// Samples per second of what is written.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    fn frames(&self) -> usize {
        self.samples.len() / 2
    }

    fn end(&self) -> i64 {
        self.first + self.frames() as i64
    }

    fn time_of(&self, sample: f64) -> f64 {
        self.origin + sample / f64::from(self.rate)
    }

    /// Event time up to which sound is there; none before the first write.
    pub fn until(&self) -> Option<Ts> {
        (!self.samples.is_empty() || self.first > 0)
            .then(|| self.epoch + Dur::from_secs_f64(self.time_of(self.end() as f64)))
    }

    fn begin(&mut self, pts: Ts) {
        self.samples.clear();
        self.first = 0;
        self.epoch = pts;
        self.origin = 0.0;
        self.drift = 0.0;
        self.position = None;
    }

    /// Another run of the input begins with the next block.
    pub fn splice(&mut self) {
        self.splice = true;
    }

    /// Appends interleaved stereo whose first sample sounds at `pts`.
    pub fn write(&mut self, pts: Ts, mut stereo: &[f32]) {
        if stereo.len() < 2 {
            return;
        }
        let rate = f64::from(self.rate);
        let fresh = self.samples.is_empty() && self.first == 0;
        if fresh {
            self.begin(pts);
        }
        let off = (pts - self.epoch).as_secs_f64() - self.time_of(self.end() as f64);
        let mut fade_in = fresh;
        self.steady = match off {
            o if o > STEADY.as_secs_f64() => self.steady.max(0) + 1,
            o if o < -STEADY.as_secs_f64() => self.steady.min(0) - 1,
            _ => 0,
        };
        let new_run = std::mem::take(&mut self.splice) && off.abs() > 0.001;
        let splice = new_run || self.steady.unsigned_abs() >= STEADY_BLOCKS || (self.trimming && off < 0.0);
        if off.abs() <= JUMP.as_secs_f64() && !splice {
            let length = (stereo.len() / 2) as f64 / rate;
            self.drift = (self.drift + off * FOLLOW_DRIFT / length).clamp(-MOST_DRIFT, MOST_DRIFT);
            self.origin += off * FOLLOW + self.drift * length;
        } else if off > GAP_LIMIT.as_secs_f64() || off < -GAP_LIMIT.as_secs_f64() {
            self.begin(pts);
            fade_in = true;
        } else if off > 0.0 {
            self.fade_out_end();
            let silence = (off * rate).round() as usize;
            self.samples.extend(std::iter::repeat_n(0.0, silence * 2));
            fade_in = true;
        } else {
            let skip = ((-off * rate).round() as usize).min(stereo.len() / 2);
            stereo = &stereo[skip * 2..];
            self.trimming = true;
            if stereo.is_empty() {
                return;
            }
            self.fade_out_end();
            fade_in = true;
        }
        self.trimming = false;
        if splice {
            self.steady = 0;
        }
        let start = self.samples.len();
        self.samples.extend(stereo.iter().take(stereo.len() / 2 * 2));
        if fade_in {
            for i in 0..FADE.min((self.samples.len() - start) / 2) {
                let gain = i as f32 / FADE as f32;
                self.samples[start + 2 * i] *= gain;
                self.samples[start + 2 * i + 1] *= gain;
            }
        }
        let surplus = self.frames().saturating_sub(self.capacity);
        self.forget(surplus);
    }

    fn forget(&mut self, frames: usize) {
        self.samples.drain(..(frames * 2).min(self.samples.len()));
        self.first += frames as i64;
    }

    /// Fades what has not been read yet; what has been read cannot be changed any more.
    fn fade_out_end(&mut self) {
        let unread = self.position.map_or(FADE as i64, |p| self.end() - p.ceil() as i64).clamp(0, FADE as i64) as usize;
        let (n, length) = (self.samples.len(), unread.min(self.frames()));
        for i in 0..length {
            let gain = i as f32 / length as f32;
            self.samples[n - 2 * i - 2] *= gain;
            self.samples[n - 2 * i - 1] *= gain;
        }
    }

    /// Whether the block that begins at `at` can be read whole.
    pub fn covers(&self, at: Ts) -> bool {
        let block = Dur::from_scale((BLOCK + HALF * 4) as i64, AUDIO_RATE);
        self.until().is_some_and(|until| until >= at + block)
    }

    /// The block of [`BLOCK`] samples at 48 kHz that begins at `at`, and whether any sound was in it. Blocks are read in
    /// order; what was read is forgotten.
    pub fn read(&mut self, at: Ts, out: &mut Block) -> bool {
        self.read_into(at, out)
    }

    /// As [`TrackLine::read`], for a block of another length, at least twice a fade's.
    pub fn read_into(&mut self, at: Ts, out: &mut [f32]) -> bool {
        let frames = out.len() / 2;
        out.fill(0.0);
        if self.samples.is_empty() {
            self.end_of_sound(out);
            return false;
        }
        let rate = f64::from(self.rate);
        let target = ((at - self.epoch).as_secs_f64() - self.origin) * rate;
        let step = rate / f64::from(AUDIO_RATE);
        let mut start = self.position.unwrap_or(target);
        let mut error = target - start;
        let reseek = error.abs() > RESEEK.as_secs_f64() * rate;
        if reseek {
            start = target;
            error = 0.0;
        }
        let correction = (error / (frames as f64 * step * SETTLE_BLOCKS)).clamp(-SPEED_LIMIT, SPEED_LIMIT);
        let speed = step * (1.0 + correction);
        // Positions whose window of samples is there, with a sample to spare on each side for rounding.
        let (low, high) = ((self.first + HALF as i64) as f64, (self.end() - HALF as i64 - 1) as f64);
        let begin = if start >= low { 0 } else { ((low - start) / speed).ceil() as usize };
        let until = if start >= high { 0 } else { ((high - start) / speed).ceil() as usize };
        let (begin, until) = (begin.min(frames), until.min(frames));
        self.position = Some(start + speed * frames as f64);
        if begin >= until {
            self.end_of_sound(out);
            self.drop_read();
            return false;
        }
        let samples = self.samples.make_contiguous();
        for i in begin..until {
            let place = start + speed * i as f64;
            let whole = place.floor();
            let from = (whole as i64 - self.first - (HALF as i64 - 1)) as usize * 2;
            let [l, r] = self.sinc.at(&samples[from..from + 4 * HALF], (place - whole) as f32);
            out[2 * i] = l;
            out[2 * i + 1] = r;
        }
        if !self.sounding || reseek || begin > 0 {
            fade(out, begin, until, |i| i);
        }
        if until < frames {
            fade(out, begin, until, |i| until - begin - 1 - i);
        }
        self.sounding = until == frames;
        self.last_read = [out[frames * 2 - 2], out[frames * 2 - 1]];
        self.drop_read();
        true
    }

    /// Sound ended with the block before: the last sample fades, so that the step to silence does not click.
    fn end_of_sound(&mut self, out: &mut [f32]) {
        if std::mem::take(&mut self.sounding) {
            for i in 0..FADE {
                let gain = 1.0 - i as f32 / FADE as f32;
                out[2 * i] = self.last_read[0] * gain;
                out[2 * i + 1] = self.last_read[1] * gain;
            }
        }
    }

    fn drop_read(&mut self) {
        let Some(position) = self.position else { return };
        let keep = position.floor() as i64 - HALF as i64 - 1;
        let gone = (keep - self.first).clamp(0, self.frames() as i64) as usize;
        self.forget(gone);
    }
}

/// Applies a ramp over the first [`FADE`] samples counted by `index` within `begin..until`.
fn fade(out: &mut [f32], begin: usize, until: usize, index: impl Fn(usize) -> usize) {
    for i in 0..until - begin {
        let n = index(i);
        if n < FADE {
            let gain = n as f32 / FADE as f32;
            out[2 * (begin + i)] *= gain;
            out[2 * (begin + i) + 1] *= gain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SILENCE;
    use super::*;

    const START: i64 = 1_800_000_000;

    fn at(seconds: f64) -> Ts {
        Ts::ZERO + Dur::from_secs(START) + Dur::from_secs_f64(seconds)
    }

    fn block_start(k: i64) -> Ts {
        Ts::ZERO + Dur::from_secs(START) + Dur::from_scale(k * BLOCK as i64, AUDIO_RATE)
    }

    /// Feeds a source whose clock is off by `ppm`, in blocks with timestamps rounded to milliseconds and mapped onto the
    /// event's timeline as `select` does; returns what is read from `from` to `to` seconds.
    fn run(rate: u32, ppm: f64, sound: impl Fn(f64) -> f32, from: f64, to: f64) -> Vec<f32> {
        let mut line = TrackLine::new(rate, Dur::from_secs(3));
        let mut out = Vec::new();
        let (mut written, mut k) = (0i64, 0i64);
        let scale = 1.0 + ppm * 1e-6;
        let mut block: Block = SILENCE;
        while (k as f64) * 1024.0 / 48_000.0 < to {
            let need = (k + 3) as f64 * 1024.0 / 48_000.0;
            // The source believes that `1 / rate` passes per sample; on the event's clock it is `scale / rate`.
            while (written as f64) * scale / f64::from(rate) < need {
                let t = written as f64 * scale / f64::from(rate);
                let rounded = (t * 1000.0).round() / 1000.0;
                let pcm: Vec<f32> =
                    (0..1024).flat_map(|i| [sound((written + i) as f64 * scale / f64::from(rate)); 2]).collect();
                line.write(at(rounded), &pcm);
                written += 1024;
            }
            // Reading follows the mapping without a memory of its own, so a long run is read near its end alone.
            if k as f64 * 1024.0 / 48_000.0 > from - 30.0 {
                line.read(block_start(k), &mut block);
            }
            if k as f64 * 1024.0 / 48_000.0 >= from {
                out.extend(block.iter().step_by(2));
            }
            k += 1;
        }
        out
    }

    /// Frequency by counting rising zero crossings, interpolated; and RMS.
    fn measure(pcm: &[f32]) -> (f64, f64) {
        let mut crossings = Vec::new();
        for i in 1..pcm.len() {
            if pcm[i - 1] < 0.0 && pcm[i] >= 0.0 {
                let frac = f64::from(-pcm[i - 1]) / f64::from(pcm[i] - pcm[i - 1]);
                crossings.push(i as f64 - 1.0 + frac);
            }
        }
        let span = crossings[crossings.len() - 1] - crossings[0];
        let rms = (pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / pcm.len() as f64).sqrt();
        ((crossings.len() - 1) as f64 / span * 48_000.0, rms)
    }

    #[test]
    fn a_tone_keeps_frequency_and_level_when_the_source_drifts() {
        for (rate, ppm) in [(48_000, 100.0), (48_000, -100.0), (44_100, 100.0), (48_000, 500.0), (48_000, 0.0)] {
            let tone = |t: f64| 0.5 * (2.0 * std::f64::consts::PI * 1000.0 * t).sin() as f32;
            let out = run(rate, ppm, tone, 5.0, 15.0);
            let (hz, rms) = measure(&out);
            assert!((hz - 1000.0).abs() < 0.02, "{rate} {ppm}: {hz}");
            assert!((20.0 * (rms / 0.353_553).log10()).abs() < 0.02, "{rate} {ppm}: {rms}");
        }
    }

    #[test]
    fn after_an_hour_of_drift_sound_is_where_the_picture_is() {
        // A click every second of the event's clock, carried by a source that is 100 ppm off. One hour is simulated at
        // one block written and read per step, sound made of clicks alone.
        for ppm in [100.0, -100.0] {
            let click = |t: f64| if (t - t.round()).abs() < 0.000_5 { 1.0 } else { 0.0 };
            let from = 3590.0;
            let out = run(8_000, ppm, click, from, 3600.0);
            let first = (from * 48_000.0 / 1024.0).ceil() * 1024.0 / 48_000.0;
            let mut found = 0;
            for (i, s) in out.iter().enumerate() {
                if *s > 0.5 && (i < 1 || out[i - 1] <= 0.5) {
                    let t = first + i as f64 / 48_000.0;
                    assert!((t - t.round()).abs() < 0.005, "{ppm} ppm: click at {t}");
                    found += 1;
                }
            }
            assert!(found >= 9, "{found} clicks");
        }
    }

    fn steps(out: &[f32]) -> f32 {
        out.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn gaps_are_silent_between_fades_and_overlaps_are_trimmed() {
        let mut line = TrackLine::new(48_000, Dur::from_secs(3));
        let mut out = Vec::new();
        let mut block = SILENCE;
        let tone = |n: i64| (0..1024).flat_map(|i| [0.5 * ((n * 1024 + i) as f32 * 0.02).sin(); 2]).collect::<Vec<_>>();
        let mut place = 0i64;
        for n in 0..60i64 {
            let shift = match n {
                20..40 => 4800,      // 100 ms are missing
                40.. => 4800 - 9600, // 200 ms come again
                _ => 0,
            };
            line.write(block_start(0) + Dur::from_scale(n * 1024 + shift, 48_000), &tone(n));
            while line.covers(block_start(place)) {
                line.read(block_start(place), &mut block);
                out.extend(block.iter().step_by(2).copied());
                place += 1;
            }
        }
        let silent = out.iter().skip(2000).filter(|s| s.abs() < 1e-4).count();
        assert!((4500..5600).contains(&silent), "{silent} silent samples");
        assert!(steps(&out) < 0.03, "a step of {}", steps(&out));
        let expected = (60 * 1024 + 4800 - 9600) / 1024;
        assert!((place - expected as i64).abs() <= 2, "{place} blocks of {expected}");
    }

    #[test]
    fn a_splice_smaller_than_a_jump_is_followed_within_a_quarter_of_a_second_and_jitter_is_not() {
        let mut line = TrackLine::new(48_000, Dur::from_secs(3));
        let mut block = SILENCE;
        let off =
            |line: &TrackLine, pts: Ts| ((pts - line.epoch).as_secs_f64() - line.time_of(line.end() as f64)).abs();
        let mut worst = 0.0f64;
        for n in 0..200i64 {
            let splice = if n >= 100 { -1000 } else { 0 };
            let jitter = [300, -380, 100, -20][n as usize % 4];
            let pts = block_start(0) + Dur::from_scale(n * 1024 + splice, 48_000);
            if n > 112 || (n > 20 && n < 100) {
                worst = worst.max(off(&line, pts));
            }
            line.write(pts + Dur::from_scale(jitter, 48_000), &[0.1; 2048]);
            line.read(block_start(n), &mut block);
        }
        assert!(worst < 0.004, "{worst}");
    }

    #[test]
    fn sound_that_stops_fades_out_and_what_comes_back_fades_in() {
        let mut line = TrackLine::new(48_000, Dur::from_secs(3));
        let mut out = Vec::new();
        let mut block = SILENCE;
        for k in 0..200i64 {
            if !(50..120).contains(&k) {
                let pcm = vec![0.5; 2048];
                line.write(block_start(k + 2), &pcm);
            }
            line.read(block_start(k), &mut block);
            out.extend(block.iter().step_by(2).copied());
        }
        assert!(steps(&out) < 0.01, "a step of {}", steps(&out));
        assert!(out[60 * 1024..110 * 1024].iter().all(|&s| s == 0.0));
        assert!((out[190 * 1024] - 0.5).abs() < 0.01);
    }

    #[test]
    fn hostile_timestamps_cost_neither_memory_nor_a_panic() {
        let mut line = TrackLine::new(48_000, Dur::from_secs(1));
        let mut block = SILENCE;
        let mut t = 1i64;
        for i in 0..2000i64 {
            t = t.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line.write(Ts::from_flicks(t), &[0.1; 256]);
            line.read(Ts::from_flicks(if i % 3 == 0 { t } else { t / 7 }), &mut block);
            assert!(line.frames() <= 48_000 && block.iter().all(|s| s.is_finite()));
        }
    }
}
