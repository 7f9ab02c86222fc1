//! Time as a type with a scale: flicks.
//!
//! A flick is 1/705 600 000 s. Every frame duration of 24…120 fps including the 1001-rates, every sample of
//! 8…192 kHz, a 90 kHz tick and a millisecond are whole numbers of flicks, so rescaling is exact both ways.
//! An `i64` of flicks spans ±414 years, which holds Unix time. Operators saturate: a hostile timestamp can
//! reach the end of the scale but can neither panic nor wrap.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// Flicks in one second.
pub const FLICKS_PER_SECOND: i64 = 705_600_000;

/// A point on some timeline. Which one is a matter of place: the source's own up to `select`, the event's
/// (Unix time) after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ts(i64);

/// A signed distance between two points of one timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dur(i64);

/// `value / scale` seconds in flicks, rounded to nearest, saturating.
fn to_flicks(value: i64, scale: u32) -> i64 {
    if scale == 0 {
        return 0;
    }
    let scaled = i128::from(value) * i128::from(FLICKS_PER_SECOND);
    let half = i128::from(scale) / 2;
    let rounded = (scaled + half).div_euclid(i128::from(scale));
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// `flicks` in units of `1/scale` s, rounded to nearest (ties up).
fn from_flicks(flicks: i64, scale: u32) -> i64 {
    let scaled = i128::from(flicks) * i128::from(scale);
    let rounded = (scaled + i128::from(FLICKS_PER_SECOND) / 2).div_euclid(i128::from(FLICKS_PER_SECOND));
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl Ts {
    /// The start of the timeline.
    pub const ZERO: Ts = Ts(0);
    /// The last representable point.
    pub const MAX: Ts = Ts(i64::MAX);

    /// From a count of flicks.
    pub const fn from_flicks(flicks: i64) -> Ts {
        Ts(flicks)
    }

    /// The count of flicks.
    pub const fn flicks(self) -> i64 {
        self.0
    }

    /// `value` units of `1/scale` s, to the nearest flick; exact for the scales of the field. A scale of 0 gives 0.
    pub fn from_scale(value: i64, scale: u32) -> Ts {
        Ts(to_flicks(value, scale))
    }

    /// In units of `1/scale` s, to the nearest.
    pub fn to_scale(self, scale: u32) -> i64 {
        from_flicks(self.0, scale)
    }

    /// Milliseconds.
    pub fn from_millis(ms: i64) -> Ts {
        Ts::from_scale(ms, 1000)
    }

    /// Whole milliseconds, to the nearest.
    pub fn as_millis(self) -> i64 {
        self.to_scale(1000)
    }

    /// Seconds, for display and for ratios.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / FLICKS_PER_SECOND as f64
    }

    /// How many whole `unit`s lie before this point (floor); 0 for a unit that is not positive.
    pub fn div_floor(self, unit: Dur) -> i64 {
        if unit.0 <= 0 { 0 } else { self.0.div_euclid(unit.0) }
    }

    /// The distance from `earlier` to `self`; negative when `earlier` is later.
    pub fn since(self, earlier: Ts) -> Dur {
        self - earlier
    }
}

impl Dur {
    /// No distance.
    pub const ZERO: Dur = Dur(0);
    /// The longest distance.
    pub const MAX: Dur = Dur(i64::MAX);

    /// From a count of flicks.
    pub const fn from_flicks(flicks: i64) -> Dur {
        Dur(flicks)
    }

    /// The count of flicks.
    pub const fn flicks(self) -> i64 {
        self.0
    }

    /// `value` units of `1/scale` s, to the nearest flick. A scale of 0 gives 0.
    pub fn from_scale(value: i64, scale: u32) -> Dur {
        Dur(to_flicks(value, scale))
    }

    /// In units of `1/scale` s, to the nearest.
    pub fn to_scale(self, scale: u32) -> i64 {
        from_flicks(self.0, scale)
    }

    /// Milliseconds.
    pub const fn from_millis(ms: i64) -> Dur {
        Dur(ms.saturating_mul(FLICKS_PER_SECOND / 1000))
    }

    /// Seconds.
    pub const fn from_secs(s: i64) -> Dur {
        Dur(s.saturating_mul(FLICKS_PER_SECOND))
    }

    /// Seconds as a float; NaN gives zero, infinities saturate.
    pub fn from_secs_f64(s: f64) -> Dur {
        Dur((s * FLICKS_PER_SECOND as f64).round() as i64)
    }

    /// Whole milliseconds, to the nearest.
    pub fn as_millis(self) -> i64 {
        self.to_scale(1000)
    }

    /// Seconds, for display and for ratios.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / FLICKS_PER_SECOND as f64
    }

    /// The size without the sign.
    pub const fn abs(self) -> Dur {
        Dur(self.0.saturating_abs())
    }

    /// For timers; a negative distance is none.
    pub fn to_std(self) -> std::time::Duration {
        let flicks = self.0.max(0);
        let nanos = i128::from(flicks) * 1_000_000_000 / i128::from(FLICKS_PER_SECOND);
        std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// From a timer's duration, saturating.
    pub fn from_std(d: std::time::Duration) -> Dur {
        let flicks = d.as_nanos() as f64 * (FLICKS_PER_SECOND as f64 / 1e9);
        Dur(flicks as i64)
    }
}

impl Add<Dur> for Ts {
    type Output = Ts;
    fn add(self, rhs: Dur) -> Ts {
        Ts(self.0.saturating_add(rhs.0))
    }
}
impl AddAssign<Dur> for Ts {
    fn add_assign(&mut self, rhs: Dur) {
        *self = *self + rhs;
    }
}
impl Sub<Dur> for Ts {
    type Output = Ts;
    fn sub(self, rhs: Dur) -> Ts {
        Ts(self.0.saturating_sub(rhs.0))
    }
}
impl SubAssign<Dur> for Ts {
    fn sub_assign(&mut self, rhs: Dur) {
        *self = *self - rhs;
    }
}
impl Sub for Ts {
    type Output = Dur;
    fn sub(self, rhs: Ts) -> Dur {
        Dur(self.0.saturating_sub(rhs.0))
    }
}
impl Add for Dur {
    type Output = Dur;
    fn add(self, rhs: Dur) -> Dur {
        Dur(self.0.saturating_add(rhs.0))
    }
}
impl AddAssign for Dur {
    fn add_assign(&mut self, rhs: Dur) {
        *self = *self + rhs;
    }
}
impl Sub for Dur {
    type Output = Dur;
    fn sub(self, rhs: Dur) -> Dur {
        Dur(self.0.saturating_sub(rhs.0))
    }
}
impl SubAssign for Dur {
    fn sub_assign(&mut self, rhs: Dur) {
        *self = *self - rhs;
    }
}
impl Neg for Dur {
    type Output = Dur;
    fn neg(self) -> Dur {
        Dur(self.0.saturating_neg())
    }
}
impl Mul<i64> for Dur {
    type Output = Dur;
    fn mul(self, rhs: i64) -> Dur {
        Dur(self.0.saturating_mul(rhs))
    }
}
impl Div<i64> for Dur {
    type Output = Dur;
    /// Division by zero gives zero.
    fn div(self, rhs: i64) -> Dur {
        Dur(self.0.checked_div(rhs).unwrap_or(0))
    }
}
impl fmt::Display for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}
impl fmt::Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rates_of_the_field_are_whole_flicks() {
        for fps in [24, 25, 30, 48, 50, 60, 100, 120] {
            assert_eq!(FLICKS_PER_SECOND % fps, 0, "{fps} fps");
            assert_eq!(FLICKS_PER_SECOND * 1001 % (fps * 1000), 0, "{fps}000/1001 fps");
        }
        for rate in
            [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000, 90_000, 1000]
        {
            assert_eq!(FLICKS_PER_SECOND % rate, 0, "{rate} Hz");
        }
    }

    proptest! {
        #[test]
        fn rescaling_is_exact_both_ways(v in -1_000_000_000_000i64..1_000_000_000_000, i in 0usize..5) {
            let scale = [1000u32, 48_000, 90_000, 44_100, 24][i];
            let ts = Ts::from_scale(v % 10_000_000_000, scale);
            prop_assert_eq!(ts.to_scale(scale), v % 10_000_000_000);
        }

        #[test]
        fn arithmetic_never_panics(a in any::<i64>(), b in any::<i64>(), s in any::<u32>()) {
            let (x, y) = (Ts::from_flicks(a), Dur::from_flicks(b));
            let _ = (x + y, x - y, x - Ts::from_flicks(b), y * b, y / a, -y, y.abs(), y.to_std());
            let _ = (Ts::from_scale(a, s), x.to_scale(s), x.div_floor(y));
        }
    }
}
