//! A look-ahead limiter for true peaks (ITU-R BS.1770-4 Annex 2): nothing leaves above [`CEILING`].
//!
//! **Transparent** below the ceiling: as long as nothing comes near it, samples leave bit for bit as they came,
//! [`LOOK_AHEAD`] later. **Gain.** What a peak needs is held over the look-ahead, released along an exponential, and
//! averaged over [`SMOOTH`] samples, so that the gain has arrived when the peak leaves and has no corner. Both channels
//! share it. Other interpolators than the standard's find up to 0.6 dB more between samples of loud sound above 15 kHz;
//! the ceiling leaves 1 dB for that.

use std::collections::VecDeque;

/// The ceiling, linear: −1 dBTP, less 0.05 dB for what moving the gain adds between samples.
pub const CEILING: f32 = 0.886_13;
/// Samples between what goes in and what comes out: 2.7 ms.
pub const LOOK_AHEAD: usize = 128;
/// Samples over which the gain is averaged. What is measured at a sample lies up to 6 samples before it, so the average
/// and these fit into the look-ahead.
const SMOOTH: usize = 120;
/// How long a needed gain is held: at least from its measurement to when its sample leaves.
const HOLD: usize = 126;
/// Part of the way back to full level per sample: a time constant of 80 ms.
const RELEASE: f64 = 1.0 / (0.08 * 48_000.0);
/// A gain nearer to full level than this is full level: −0.0001 dB.
const FULL: f64 = 1.0 - 1e-5;
/// Samples that are looked at together: most need no interpolation.
const CHUNK: usize = 32;
/// The interpolator's length.
const TAPS: usize = 12;
/// Beyond this sound is garbage, +24 dB.
const MOST: f32 = 16.0;

/// The interpolator of BS.1770-4 Annex 2, phases 0 and 1; the others are these backwards.
const PHASES: [[f32; TAPS]; 2] = [
    [
        0.001_708_984_4,
        0.010_986_328,
        -0.019_653_32,
        0.033_203_125,
        -0.059_448_242,
        0.137_329_1,
        0.972_167_97,
        -0.102_294_92,
        0.047_607_422,
        -0.026_611_328,
        0.014_892_578,
        -0.008_300_781,
    ],
    [
        -0.029_174_805,
        0.029_296_875,
        -0.051_757_813,
        0.089_111_33,
        -0.166_503_9,
        0.465_087_9,
        0.779_785_16,
        -0.200_317_38,
        0.101_562_5,
        -0.058_227_54,
        0.033_081_055,
        -0.018_920_898,
    ],
];
/// The most that the interpolator can make of samples of 1: the sum of a phase's sizes.
const MOST_GAIN: f32 = 2.03;

/// The highest interpolated value around the newest of `samples`.
fn between(samples: &[f32]) -> f32 {
    let mut sums = [0.0f32; 4];
    for (k, &x) in samples.iter().enumerate() {
        sums[0] += x * PHASES[0][k];
        sums[1] += x * PHASES[1][k];
        sums[2] += x * PHASES[1][TAPS - 1 - k];
        sums[3] += x * PHASES[0][TAPS - 1 - k];
    }
    sums.iter().fold(0.0, |most, s| most.max(s.abs()))
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// What has come in and not left, interleaved.
    waiting: VecDeque<f32>,
    /// The interpolator's past and a chunk, one channel after the other.
    past: [[f32; TAPS - 1 + CHUNK]; 2],
    /// Needed gains within [`HOLD`] that no later one undercuts, with their places.
    needed: VecDeque<(u64, f32)>,
    place: u64,
    /// After the release.
    held: f64,
    averaged: VecDeque<f64>,
    sum: f64,
    /// How many of the newest values in the average are full level.
    full: usize,
    least: f32,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter {
            waiting: VecDeque::from(vec![0.0; LOOK_AHEAD * 2]),
            past: [[0.0; TAPS - 1 + CHUNK]; 2],
            needed: VecDeque::with_capacity(HOLD + 1),
            place: 0,
            held: 1.0,
            averaged: VecDeque::from(vec![1.0; SMOOTH]),
            sum: SMOOTH as f64,
            full: SMOOTH,
            least: 1.0,
        }
    }
}

impl Limiter {
    /// Limits interleaved stereo in place, or only keeps it within full scale when not `on`; what leaves came in
    /// [`LOOK_AHEAD`] samples earlier. What is not a number is silence.
    pub fn process(&mut self, stereo: &mut [f32], on: bool) {
        for chunk in stereo.chunks_mut(CHUNK * 2) {
            self.chunk(chunk, on);
        }
    }

    /// The lowest gain since this was last asked.
    pub fn take_least(&mut self) -> f32 {
        std::mem::replace(&mut self.least, 1.0)
    }

    fn chunk(&mut self, chunk: &mut [f32], on: bool) {
        let frames = chunk.len() / 2;
        let mut peak = 0.0f32;
        for s in chunk.iter_mut() {
            *s = if s.is_finite() { s.clamp(-MOST, MOST) } else { 0.0 };
        }
        for (channel, past) in self.past.iter_mut().enumerate() {
            for (to, s) in past[TAPS - 1..].iter_mut().zip(chunk.iter().skip(channel).step_by(2)) {
                *to = *s;
            }
            peak = past[..TAPS - 1 + frames].iter().fold(peak, |most, s| most.max(s.abs()));
        }
        let quiet = !on || peak * MOST_GAIN <= CEILING;
        if quiet && self.full >= SMOOTH && self.needed.is_empty() {
            self.waiting.extend(chunk.iter());
            for s in chunk.iter_mut() {
                *s = self.waiting.pop_front().unwrap_or(0.0).clamp(-1.0, 1.0);
            }
        } else {
            for i in 0..frames {
                let high = match quiet {
                    true => 0.0,
                    false => self.past.iter().fold(0.0f32, |most, past| {
                        let samples = &past[i..i + TAPS];
                        most.max(between(samples)).max(samples[TAPS / 2].abs())
                    }),
                };
                let gain = self.gain(if high > CEILING { CEILING / high } else { 1.0 });
                self.waiting.extend([chunk[2 * i], chunk[2 * i + 1]]);
                for s in &mut chunk[2 * i..2 * i + 2] {
                    *s = (self.waiting.pop_front().unwrap_or(0.0) * gain).clamp(-1.0, 1.0);
                }
            }
        }
        for past in &mut self.past {
            past.copy_within(frames..frames + TAPS - 1, 0);
        }
    }

    /// The gain for the sample that leaves as the one comes in that needs `needed`.
    fn gain(&mut self, needed: f32) -> f32 {
        self.place += 1;
        while self.needed.back().is_some_and(|n| n.1 >= needed) {
            self.needed.pop_back();
        }
        if needed < 1.0 {
            self.needed.push_back((self.place, needed));
        }
        while self.needed.front().is_some_and(|n| n.0 + HOLD as u64 <= self.place) {
            self.needed.pop_front();
        }
        let least = self.needed.front().map_or(1.0, |n| n.1);
        let released = self.held + (1.0 - self.held) * RELEASE;
        self.held = released.min(f64::from(least));
        if self.held >= FULL {
            self.held = 1.0;
        }
        self.sum += self.held - self.averaged.pop_front().unwrap_or(1.0);
        self.averaged.push_back(self.held);
        self.full = if self.held == 1.0 { (self.full + 1).min(SMOOTH) } else { 0 };
        if self.full >= SMOOTH {
            // Exactly, whatever rounding has left.
            self.sum = SMOOTH as f64;
            return 1.0;
        }
        let gain = (self.sum / SMOOTH as f64) as f32;
        self.least = self.least.min(gain);
        gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebur128::{EbuR128, Mode};
    use proptest::prelude::*;

    /// −1 dBTP.
    const MINUS_ONE: f64 = 0.891_251;

    fn true_peak(stereo: &[f32]) -> f64 {
        let mut meter = EbuR128::new(2, 48_000, Mode::TRUE_PEAK).expect("meter");
        meter.add_frames_f32(stereo).expect("whole frames");
        meter.true_peak(0).expect("peak").max(meter.true_peak(1).expect("peak"))
    }

    fn limited(mut stereo: Vec<f32>, block: usize) -> Vec<f32> {
        let mut limiter = Limiter::default();
        stereo.chunks_mut(block * 2).for_each(|b| limiter.process(b, true));
        stereo
    }

    fn tone(hz: f32, level: f32, frames: usize) -> Vec<f32> {
        let step = 2.0 * std::f32::consts::PI * hz / 48_000.0;
        (0..frames).flat_map(|i| [level * (i as f32 * step + 0.4).sin(); 2]).collect()
    }

    #[test]
    fn below_the_ceiling_samples_leave_as_they_came() {
        let sound = tone(997.0, 0.88, 48_000);
        let out = limited(sound.clone(), 1024);
        assert!(out[LOOK_AHEAD * 2..] == sound[..sound.len() - LOOK_AHEAD * 2]);
        // And again after it had work to do.
        let mut sound = tone(997.0, 3.0, 4800);
        sound.extend(tone(500.0, 0.5, 96_000));
        let out = limited(sound.clone(), 960);
        let n = sound.len();
        assert!(out[n - 9600..] == sound[n - 9600 - LOOK_AHEAD * 2..n - LOOK_AHEAD * 2]);
    }

    #[test]
    fn a_loud_tone_keeps_to_the_ceiling_without_distortion() {
        let out = limited(tone(1000.0, 2.0, 48_000), 960);
        let peak = true_peak(&out);
        assert!(peak <= MINUS_ONE && peak > 0.85, "{peak}");
        // Least squares of the tone in the settled part: what is left is distortion.
        let part: Vec<f32> = out[48_000..96_000].iter().step_by(2).copied().collect();
        let (mut a, mut b) = (0.0f64, 0.0f64);
        let w = 2.0 * std::f64::consts::PI * 1000.0 / 48_000.0;
        for (i, &s) in part.iter().enumerate() {
            a += f64::from(s) * (w * i as f64).sin();
            b += f64::from(s) * (w * i as f64).cos();
        }
        let n = part.len() as f64 / 2.0;
        let (a, b) = (a / n, b / n);
        let rest = part
            .iter()
            .enumerate()
            .map(|(i, &s)| (f64::from(s) - a * (w * i as f64).sin() - b * (w * i as f64).cos()).powi(2));
        let thd = (rest.sum::<f64>() / part.len() as f64).sqrt() / (a.hypot(b) / 2f64.sqrt());
        assert!(20.0 * thd.log10() < -60.0, "{:.1} dB", 20.0 * thd.log10());
    }

    #[test]
    fn a_peak_between_samples_is_found() {
        // A tone of a quarter of the rate at 45°: samples at 0.707 of the peak.
        let sound: Vec<f32> = (0..9600)
            .flat_map(|i| [1.2 * (std::f32::consts::FRAC_PI_2 * i as f32 + std::f32::consts::FRAC_PI_4).sin(); 2])
            .collect();
        assert!(sound.iter().all(|s| s.abs() < 0.86));
        assert!(true_peak(&sound) > 1.0);
        assert!(true_peak(&limited(sound, 1024)) <= MINUS_ONE);
    }

    #[test]
    fn full_scale_noise_silence_and_what_is_no_number() {
        let mut seed = 7u32;
        let mut noise: Vec<f32> = (0..96_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed as f32 / u32::MAX as f32 * 4.0 - 2.0
            })
            .collect();
        let peak = true_peak(&limited(noise.clone(), 960));
        assert!(peak <= 0.93, "{peak}");
        noise[5000] = f32::NAN;
        noise[6001] = f32::INFINITY;
        noise[7000] = 1e30;
        assert!(limited(noise, 960).iter().all(|s| s.abs() <= 1.0));
        assert!(limited(vec![0.0; 9600], 960).iter().all(|&s| s == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_mix_clips(
            parts in proptest::collection::vec((20.0f32..18_000.0, 0.0f32..1.5, 0usize..4000), 1..6),
            block in 17usize..1500,
        ) {
            let mut sum = vec![0.0f32; 9600 * 2];
            for &(hz, level, from) in &parts {
                let part = tone(hz, level, 9600 - from);
                // Voices that begin at once, at their loudest.
                sum[from * 2..].iter_mut().zip(part).for_each(|(s, p)| *s += p);
            }
            let out = limited(sum, block);
            prop_assert!(out.iter().all(|s| s.abs() <= 0.892), "{}", out.iter().fold(0.0f32, |m, s| m.max(s.abs())));
            let peak = true_peak(&out);
            // −0.45 dBTP: the meter's interpolator is another than ours.
            prop_assert!(peak <= 0.95, "{peak}");
        }
    }
}
