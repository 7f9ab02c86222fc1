//! A windowed-sinc interpolator that reads stereo sound at any fractional position.
//!
//! The reader's position follows the packets' timestamps, so it is set per sample, not by a ratio per chunk: a restarted
//! engine reads the same samples at the same place of the grid as the one before.

/// Taps on each side of the position: with the window below the pass band is flat to 0.88 of Nyquist.
pub const HALF: usize = 24;
/// Positions between two samples in the table; linear interpolation between them keeps errors below −90 dB.
const PHASES: usize = 512;
/// Kaiser window shape: stop band below −90 dB.
const BETA: f64 = 9.0;

/// The filter for one ratio of rates.
pub struct Sinc {
    /// `(PHASES + 1) × 2·HALF` weights.
    table: Vec<f32>,
}

fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

impl Sinc {
    /// For input at `rate` samples per second, read at 48 kHz: a faster input is low-passed to 24 kHz.
    pub fn new(rate: u32) -> Sinc {
        // The transition band of the window, in units of the input's Nyquist, lies below the cut.
        let cut = (48_000.0 / f64::from(rate)).min(1.0) * 0.94;
        let taps = 2 * HALF;
        let mut table = Vec::with_capacity((PHASES + 1) * taps);
        for phase in 0..=PHASES {
            let frac = phase as f64 / PHASES as f64;
            let mut row = Vec::with_capacity(taps);
            for tap in 0..taps {
                let x = tap as f64 - (HALF as f64 - 1.0) - frac;
                let w = x / HALF as f64;
                let window =
                    if w.abs() >= 1.0 { 0.0 } else { bessel_i0(BETA * (1.0 - w * w).sqrt()) / bessel_i0(BETA) };
                let px = std::f64::consts::PI * x * cut;
                let sinc = if px.abs() < 1e-9 { 1.0 } else { px.sin() / px };
                row.push(cut * sinc * window);
            }
            let sum: f64 = row.iter().sum();
            table.extend(row.iter().map(|v| (v / sum) as f32));
        }
        Sinc { table }
    }

    /// The sound at `frac` (0..1) after sample `HALF − 1` of `window`, which holds `2·HALF` interleaved stereo frames.
    #[inline]
    pub fn at(&self, window: &[f32], frac: f32) -> [f32; 2] {
        const TAPS: usize = 2 * HALF;
        let place = frac * PHASES as f32;
        let phase = (place as usize).min(PHASES - 1);
        let between = place - phase as f32;
        let a = &self.table[phase * TAPS..(phase + 1) * TAPS];
        let b = &self.table[(phase + 1) * TAPS..(phase + 2) * TAPS];
        // Four accumulators per channel, for the vector unit.
        let (mut l, mut r) = ([0.0f32; 4], [0.0f32; 4]);
        for ((s, a), b) in window[..TAPS * 2].chunks_exact(8).zip(a.chunks_exact(4)).zip(b.chunks_exact(4)) {
            for k in 0..4 {
                let w = a[k] + (b[k] - a[k]) * between;
                l[k] += w * s[2 * k];
                r[k] += w * s[2 * k + 1];
            }
        }
        [l.iter().sum(), r.iter().sum()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest deviation from a sine of `hz`, read from input at `rate`, in dB relative to the sine.
    fn error_db(rate: u32, hz: f64) -> f64 {
        let sinc = Sinc::new(rate);
        let tone = |t: f64| (2.0 * std::f64::consts::PI * hz * t).sin();
        let input: Vec<f32> = (0..4000).flat_map(|i| [tone(f64::from(i) / f64::from(rate)) as f32; 2]).collect();
        let step = f64::from(rate) / 48_000.0 * 1.000_1;
        let (mut position, mut worst) = (100.0f64, 0.0f64);
        for _ in 0..1500 {
            let i = position.floor();
            let from = (i as usize - (HALF - 1)) * 2;
            let got = sinc.at(&input[from..from + 4 * HALF], (position - i) as f32);
            assert_eq!(got[0], got[1]);
            worst = worst.max((f64::from(got[0]) - tone(position / f64::from(rate))).abs());
            position += step;
        }
        20.0 * worst.log10()
    }

    #[test]
    fn a_tone_keeps_its_level_and_gains_no_noise() {
        for (rate, hz) in [(48_000, 1000.0), (48_000, 15_000.0), (44_100, 1000.0), (44_100, 14_000.0), (32_000, 997.0)]
        {
            let e = error_db(rate, hz);
            assert!(e < -70.0, "{rate} Hz, {hz} Hz: {e:.1} dB");
        }
        assert!(error_db(96_000, 10_000.0) < -60.0);
    }
}
