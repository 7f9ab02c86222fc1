//! Peak and RMS meters.

/// Silence in decibels.
pub const FLOOR_DB: f32 = -120.0;

/// A linear gain or level in dB, at least [`FLOOR_DB`].
pub fn decibels(linear: f32) -> f32 {
    if linear > 0.0 { (20.0 * linear.log10()).max(FLOOR_DB) } else { FLOOR_DB }
}

/// Collects what was heard since it was last read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    peak: f32,
    squares: f64,
    samples: u64,
}

impl Meter {
    /// Interleaved samples.
    pub fn add(&mut self, samples: &[f32]) {
        for &s in samples {
            self.peak = self.peak.max(s.abs());
            self.squares += f64::from(s) * f64::from(s);
        }
        self.samples += samples.len() as u64;
    }

    /// Peak and RMS in dB relative to full scale (a sine at full scale has an RMS of −3 dB), and begins anew.
    pub fn take(&mut self) -> (f32, f32) {
        let rms = if self.samples == 0 { 0.0 } else { (self.squares / self.samples as f64).sqrt() as f32 };
        let read = (decibels(self.peak), decibels(rms));
        *self = Meter::default();
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_reads_its_peak_and_three_decibels_less_and_silence_the_floor() {
        let mut m = Meter::default();
        let sine: Vec<f32> = (0..48_000).map(|i| 0.5 * (i as f32 * 0.1309).sin()).collect();
        m.add(&sine);
        let (peak, rms) = m.take();
        assert!((peak + 6.02).abs() < 0.02 && (rms + 9.03).abs() < 0.02, "{peak} {rms}");
        assert_eq!(m.take(), (FLOOR_DB, FLOOR_DB));
    }
}
