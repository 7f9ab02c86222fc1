//! The floor's gain under voices.
//!
//! Down to the floor level along the attack as soon as a voice is on air; after the last one it stays for the hold and
//! comes back along the release. A voice that is on air but lost ends in the release too, at once: the time in which
//! nothing came has stood for the hold, and the floor is at full level within a second of the last sound.

use super::ramp::Ramp;
use crate::media::grid::AUDIO_RATE;
use crate::media::{Dur, Ramps};

/// The release after a voice was lost takes at most this long: with [`super::voice::LOST`] and the realtime mix's buffer
/// that is less than a second.
pub const LOST_RELEASE: Dur = Dur::from_millis(480);
/// Ramps are believed up to this length.
const LONGEST: Dur = Dur::from_secs(10);

/// Who is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody is on air.
    Off,
    /// A voice is.
    On,
    /// Only voices that nothing has come of for a while.
    Lost,
}

/// A floor level as a linear gain: at most full, none for negative infinity and for what is not a number.
pub fn floor_gain(db: f32) -> f32 {
    match db {
        db if db.is_nan() || db <= -100.0 => 0.0,
        db => 10f32.powf(db.min(0.0) / 20.0),
    }
}

/// [`Ramps`] in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampSamples {
    attack: u32,
    hold: u32,
    release: u32,
}

impl From<Ramps> for RampSamples {
    fn from(r: Ramps) -> RampSamples {
        let samples = |d: Dur| d.clamp(Dur::ZERO, LONGEST).to_scale(AUDIO_RATE) as u32;
        RampSamples { attack: samples(r.attack), hold: samples(r.hold), release: samples(r.release) }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Duck {
    gain: Ramp,
    down: bool,
    /// What is left of the hold, samples; none while a voice is on air.
    hold: Option<u32>,
}

impl Default for Duck {
    /// The floor at full level.
    fn default() -> Duck {
        Duck { gain: Ramp::new(1.0), down: false, hold: None }
    }
}

impl Duck {
    /// The floor's gain for the next samples, throughout which `presence` holds and `floor` is the level under a voice.
    pub fn process(&mut self, presence: Presence, floor: f32, ramps: RampSamples, gains: &mut [f32]) {
        match presence {
            Presence::On => {
                self.down = true;
                self.hold = None;
                self.gain.go(floor, ramps.attack);
            }
            Presence::Lost if self.down => {
                self.up(ramps.release);
                self.gain.hurry(LOST_RELEASE.to_scale(AUDIO_RATE) as u32);
            }
            Presence::Off if self.down => {
                let left = self.hold.get_or_insert(ramps.hold);
                let held = (*left).min(gains.len() as u32);
                *left -= held;
                let ended = *left == 0;
                self.gain.fill(&mut gains[..held as usize]);
                if ended {
                    self.up(ramps.release);
                }
                return self.gain.fill(&mut gains[held as usize..]);
            }
            Presence::Off | Presence::Lost => {}
        }
        self.gain.fill(gains);
    }

    fn up(&mut self, release: u32) {
        self.down = false;
        self.hold = None;
        self.gain.go(1.0, release);
    }

    /// The gain now.
    pub fn gain(&self) -> f32 {
        self.gain.value()
    }

    /// Whether the floor is at full level and stays there.
    pub fn open(&self) -> bool {
        !self.down && self.gain.rests() && self.gain.target() == 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 240;

    /// Gains while `presence` is what it is at each millisecond.
    fn run(ms: usize, floor: f32, ramps: Ramps, presence: impl Fn(usize) -> Presence) -> Vec<f32> {
        let mut duck = Duck::default();
        let mut gains = vec![0.0; ms * 48];
        for (i, chunk) in gains.chunks_mut(CHUNK).enumerate() {
            duck.process(presence(i * CHUNK / 48), floor, ramps.into(), chunk);
        }
        gains
    }

    fn at(gains: &[f32], ms: usize) -> f32 {
        gains[ms * 48 - 1]
    }

    #[test]
    fn attack_hold_and_release_take_their_time() {
        let floor = floor_gain(-14.0);
        assert!((floor - 0.199_53).abs() < 1e-4);
        let on = |ms: usize| if (100..500).contains(&ms) { Presence::On } else { Presence::Off };
        let g = run(2000, floor, Ramps::default(), on);
        assert_eq!((at(&g, 100), at(&g, 152)), (1.0, floor));
        assert!(at(&g, 148) > floor && at(&g, 130) < 0.7);
        // Hold to 900 ms, release to 1500 ms.
        assert_eq!((at(&g, 900), at(&g, 1502)), (floor, 1.0));
        assert!(at(&g, 920) > floor && at(&g, 1490) < 1.0);
        let steepest = g.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.8 * 1.6 / 2400.0, "{steepest}");
    }

    #[test]
    fn a_pause_shorter_than_the_hold_moves_nothing_and_a_voice_in_the_release_turns_it_round() {
        let on = |ms: usize| match ms {
            100..500 | 800..1000 | 1600.. => Presence::On,
            _ => Presence::Off,
        };
        let g = run(2000, 0.2, Ramps::default(), on);
        assert!((160..1390).all(|ms| at(&g, ms) == 0.2));
        assert!(at(&g, 1600) > 0.3 && at(&g, 1600) < 1.0 && at(&g, 1655) == 0.2);
    }

    #[test]
    fn a_lost_voice_lets_the_floor_back_without_a_hold_and_soon() {
        let slow = Ramps { release: Dur::from_secs(5), ..Ramps::default() };
        for ramps in [Ramps::default(), slow] {
            let on = |ms: usize| match ms {
                100..1000 => Presence::On,
                _ if ms > 100 => Presence::Lost,
                _ => Presence::Off,
            };
            let g = run(2000, 0.0, ramps, on);
            assert_eq!((at(&g, 1000), at(&g, 1482)), (0.0, 1.0), "{ramps:?}");
        }
    }

    #[test]
    fn levels_out_of_range_are_brought_into_it() {
        assert_eq!([f32::NAN, f32::NEG_INFINITY, 6.0, f32::INFINITY].map(floor_gain), [0.0, 0.0, 1.0, 1.0]);
        let hostile = Ramps { attack: Dur::MAX, hold: -Dur::MAX, release: Dur::ZERO };
        let g = run(100, 0.2, hostile, |ms| if ms < 50 { Presence::On } else { Presence::Off });
        assert!(g.iter().all(|g| (0.2..=1.0).contains(g)));
        assert_eq!(at(&g, 99), 1.0);
    }
}
