//! A gain that moves along raised cosines: no corner in the gain, so no click in the sound.

/// A gain on its way to a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    from: f32,
    to: f32,
    /// Samples of the whole way, and of those already gone.
    length: u32,
    gone: u32,
}

impl Ramp {
    /// Resting at `value`.
    pub fn new(value: f32) -> Ramp {
        Ramp { from: value, to: value, length: 0, gone: 0 }
    }

    /// The gain of the next sample.
    pub fn value(&self) -> f32 {
        if self.gone >= self.length {
            return self.to;
        }
        let place = self.gone as f32 / self.length as f32;
        let part = 0.5 - 0.5 * (std::f32::consts::PI * place).cos();
        self.from + (self.to - self.from) * part
    }

    /// Where it is going.
    pub fn target(&self) -> f32 {
        self.to
    }

    /// Whether it has arrived.
    pub fn rests(&self) -> bool {
        self.gone >= self.length
    }

    /// Sets out from where it is to `to`, in `length` samples. Going on to the same target changes nothing.
    pub fn go(&mut self, to: f32, length: u32) {
        if to != self.to {
            *self = Ramp { from: self.value(), to, length, gone: 0 };
        }
    }

    /// Arrives within `length` samples, if it would take longer.
    pub fn hurry(&mut self, length: u32) {
        if self.length.saturating_sub(self.gone) > length {
            *self = Ramp { from: self.value(), to: self.to, length, gone: 0 };
        }
    }

    /// The gains of the next samples.
    pub fn fill(&mut self, gains: &mut [f32]) {
        for gain in gains {
            *gain = self.value();
            self.gone = self.gone.saturating_add(1).min(self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_time_without_a_corner_and_arrives_exactly() {
        let mut ramp = Ramp::new(1.0);
        ramp.go(0.2, 2400);
        let mut gains = [0.0; 3000];
        ramp.fill(&mut gains);
        assert_eq!((gains[0], gains[2400], gains[2999]), (1.0, 0.2, 0.2));
        assert!(gains[2399] > 0.2 && (gains[1200] - 0.6).abs() < 1e-4, "half of the way at half of the time");
        let second = |i: usize| gains[i + 1] - 2.0 * gains[i] + gains[i - 1];
        assert!((1..2998).all(|i| second(i).abs() < 5e-6), "no corner");
        // Turned round on its way: no step.
        ramp.go(1.0, 2400);
        ramp.fill(&mut gains[..1000]);
        let before = ramp.value();
        ramp.go(0.2, 480);
        assert_eq!(ramp.value(), before);
        ramp.hurry(100);
        ramp.fill(&mut gains[..101]);
        assert!(ramp.rests() && gains[100] == 0.2);
    }
}
