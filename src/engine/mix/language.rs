//! The mix of one language: voices over the ducked floor.
//!
//! ```text
//!  floor ──────────────▶ × duck ──┐
//!  voice ▶ × gate ▶ × match ──────┼──▶ Σ ──▶ limiter ──▶
//!  voice ▶ × gate ▶ × match ──────┘
//! ```
//!
//! With nobody on air the floor passes at a gain of exactly 1, and what is below the limiter's ceiling leaves bit for bit
//! as it came, [`LOOK_AHEAD`](super::limiter::LOOK_AHEAD) samples later.

use super::duck::{Duck, Presence, RampSamples, floor_gain};
use super::limiter::Limiter;
use super::loudness::{Match, Measured};
use super::ramp::Ramp;
use crate::media::grid::AUDIO_RATE;
use crate::media::{Ramps, VoiceId};

/// Parts of a block in each of which who is on air is one state: 5 ms of either mix.
pub const PARTS: usize = 4;
/// Length of a voice's fade when it goes on or off air, samples: 10 ms.
const GATE: u32 = 480;
/// Voices of one language that are mixed at most; more are not heard.
const MAX_VOICES: usize = 16;

/// A voice in one block.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Whose.
    pub id: VoiceId,
    /// Its sound, one channel, as long as the block.
    pub sound: &'a [f32],
    /// Whether it is on air in each part of the block.
    pub on_air: [bool; PARTS],
    /// Whether nothing has come of it for a while.
    pub lost: bool,
    /// How loud it is.
    pub loudness: Measured,
}

/// How a block is mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The floor under a voice, dB.
    pub floor_db: f32,
    /// The floor's loudness at full level, once it is known.
    pub floor_lufs: Option<f32>,
    /// How the floor goes down and comes back.
    pub ramps: Ramps,
    /// Whether true peaks are limited: not where no voice can come.
    pub limit: bool,
}

struct Voice {
    id: VoiceId,
    gate: Ramp,
    matched: Match,
    gain: f32,
}

/// See the module.
pub struct LanguageMixer {
    duck: Duck,
    limiter: Limiter,
    voices: Vec<Voice>,
    gains: Vec<f32>,
}

impl Default for LanguageMixer {
    fn default() -> LanguageMixer {
        let (voices, gains) = (Vec::with_capacity(MAX_VOICES), Vec::new());
        LanguageMixer { duck: Duck::default(), limiter: Limiter::default(), voices, gains }
    }
}

impl LanguageMixer {
    /// Mixes one block. `out` holds the floor, interleaved stereo, and then the mix.
    pub fn process<'a>(&mut self, out: &mut [f32], level: Level, voices: impl Iterator<Item = Heard<'a>> + Clone) {
        self.floor(out, floor_gain(level.floor_db), level.ramps.into(), voices.clone());
        for heard in voices {
            self.add(out, level.floor_lufs, heard);
        }
        self.voices.retain(|v| v.gate.target() != 0.0 || !v.gate.rests());
        self.limiter.process(out, level.limit);
    }

    fn floor<'a>(
        &mut self,
        out: &mut [f32],
        level: f32,
        ramps: RampSamples,
        voices: impl Iterator<Item = Heard<'a>> + Clone,
    ) {
        let part = (out.len() / 2).div_ceil(PARTS);
        self.gains.resize(part, 1.0);
        for (i, chunk) in out.chunks_mut(part * 2).enumerate() {
            let mut presence = Presence::Off;
            for heard in voices.clone().filter(|h| h.on_air[i]) {
                match heard.lost {
                    false => presence = Presence::On,
                    true if presence == Presence::Off => presence = Presence::Lost,
                    true => {}
                }
            }
            let gains = &mut self.gains[..chunk.len() / 2];
            let open = self.duck.open() && presence != Presence::On;
            self.duck.process(presence, level, ramps, gains);
            if !open {
                chunk.chunks_exact_mut(2).zip(gains).for_each(|(s, g)| {
                    s[0] *= *g;
                    s[1] *= *g;
                });
            }
        }
    }

    fn add(&mut self, out: &mut [f32], floor_lufs: Option<f32>, heard: Heard) {
        let known = self.voices.iter().position(|v| v.id == heard.id);
        let voice = match known {
            Some(i) => &mut self.voices[i],
            None if heard.on_air.contains(&true) && self.voices.len() < MAX_VOICES => {
                let mut matched = Match::settled(floor_lufs, heard.loudness);
                let gain = matched.step(floor_lufs, heard.loudness, 0.0);
                self.voices.push(Voice { id: heard.id, gate: Ramp::new(0.0), matched, gain });
                let last = self.voices.len() - 1;
                &mut self.voices[last]
            }
            None => return,
        };
        let frames = out.len() / 2;
        let to = voice.matched.step(floor_lufs, heard.loudness, frames as f32 / AUDIO_RATE as f32);
        let step = (to - voice.gain) / frames.max(1) as f32;
        let part = frames.div_ceil(PARTS);
        for (i, chunk) in out.chunks_mut(part * 2).enumerate() {
            voice.gate.go(if heard.on_air[i] { 1.0 } else { 0.0 }, GATE);
            if voice.gate.rests() && voice.gate.target() == 0.0 {
                continue;
            }
            let gates = &mut self.gains[..chunk.len() / 2];
            voice.gate.fill(gates);
            let sound = heard.sound.iter().skip(i * part);
            for (k, ((s, gate), x)) in chunk.chunks_exact_mut(2).zip(gates).zip(sound).enumerate() {
                let x = x * *gate * (voice.gain + step * (i * part + k) as f32);
                s[0] += x;
                s[1] += x;
            }
        }
        voice.gain = to;
    }

    /// A voice that is not connected any more is not in `present`: what is left of it goes at once.
    pub fn forget(&mut self, present: impl Fn(VoiceId) -> bool) {
        self.voices.retain(|v| present(v.id));
    }

    /// The floor's gain now.
    pub fn floor_now(&self) -> f32 {
        self.duck.gain()
    }

    /// The limiter's lowest gain since this was last asked.
    pub fn take_limited(&mut self) -> f32 {
        self.limiter.take_least()
    }
}

#[cfg(test)]
mod tests {
    use super::super::limiter::LOOK_AHEAD;
    use super::super::loudness::Loudness;
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 1024;

    fn tone(hz: f32, level: f32, from: usize, n: usize) -> Vec<f32> {
        let step = 2.0 * std::f64::consts::PI * f64::from(hz) / 48_000.0;
        (from..from + n).map(|i| level * (i as f64 * step).sin() as f32).collect()
    }

    fn stereo(mono: &[f32]) -> Vec<f32> {
        mono.iter().flat_map(|&s| [s, s]).collect()
    }

    /// Level of a tone in the left channel, dB.
    fn level(pcm: &[f32], hz: f64) -> f64 {
        let (mut a, mut b) = (0.0, 0.0);
        let w = 2.0 * std::f64::consts::PI * hz / 48_000.0;
        let n = pcm.len() / 2;
        for (i, s) in pcm.iter().step_by(2).enumerate() {
            let window = 0.5 - 0.5 * (2.0 * std::f64::consts::PI * i as f64 / n as f64).cos();
            a += f64::from(*s) * window * (w * i as f64).sin();
            b += f64::from(*s) * window * (w * i as f64).cos();
        }
        20.0 * (4.0 * a.hypot(b) / n as f64).max(1e-9).log10()
    }

    struct Bench {
        mixer: LanguageMixer,
        floor: Loudness,
        voice: Loudness,
        place: usize,
        out: Vec<f32>,
    }

    impl Bench {
        fn new() -> Bench {
            let (floor, voice) = (Loudness::new(true), Loudness::new(false));
            Bench { mixer: LanguageMixer::default(), floor, voice, place: 0, out: Vec::new() }
        }

        /// A floor of 1000 Hz at `floor`, a voice of 440 Hz at `voice`, for `blocks`.
        fn run(&mut self, blocks: usize, floor: f32, voice: f32, on: bool, floor_db: f32) {
            for _ in 0..blocks {
                let mut block = stereo(&tone(1000.0, floor, self.place, BLOCK));
                let sound = tone(440.0, voice, self.place, BLOCK);
                self.floor.add(&block);
                self.voice.add(&sound);
                let heard = Heard {
                    id: VoiceId(1),
                    sound: &sound,
                    on_air: [on; PARTS],
                    lost: false,
                    loudness: (&self.voice).into(),
                };
                let level = Level { floor_db, floor_lufs: self.floor.value(), ramps: Ramps::default(), limit: true };
                self.mixer.process(&mut block, level, std::iter::once(heard));
                self.out.extend(block);
                self.place += BLOCK;
            }
        }

        fn last(&self, blocks: usize) -> &[f32] {
            &self.out[self.out.len() - blocks * BLOCK * 2..]
        }
    }

    #[test]
    fn a_voice_stands_over_the_floor_by_the_floor_level_whatever_its_own() {
        for (floor, voice) in [(0.25, 0.25), (0.1, 0.3), (0.3, 0.1)] {
            for floor_db in [-14.0f32, -20.0, -6.0] {
                let mut b = Bench::new();
                b.run(100, floor, voice, false, floor_db);
                b.run(150, floor, voice, true, floor_db);
                let (high, low) = (level(b.last(40), 440.0), level(b.last(40), 1000.0));
                let full = f64::from(20.0 * floor.log10());
                assert!((low - full - f64::from(floor_db)).abs() < 0.1, "floor {low} of {full}");
                assert!(
                    (high - low + f64::from(floor_db)).abs() < 1.0,
                    "{floor} {voice} {floor_db}: {high} over {low}"
                );
            }
        }
    }

    #[test]
    fn no_floor_is_no_floor_and_off_air_nothing_is_left_of_the_voice() {
        let mut b = Bench::new();
        b.run(60, 0.2, 0.2, false, f32::NEG_INFINITY);
        b.run(60, 0.2, 0.2, true, f32::NEG_INFINITY);
        assert!(level(b.last(40), 1000.0) < -100.0 && level(b.last(40), 440.0) > -17.0);
        b.run(100, 0.2, 0.2, false, f32::NEG_INFINITY);
        assert!(level(b.last(40), 440.0) < -100.0);
        let floor = stereo(&tone(1000.0, 0.2, b.place - 40 * BLOCK - LOOK_AHEAD, 40 * BLOCK));
        assert!(b.last(40) == floor, "bit for bit");
    }

    #[test]
    fn nothing_clicks_on_the_way() {
        let mut b = Bench::new();
        for on in [false, true, false, true, false] {
            b.run(70, 0.3, 0.3, on, -14.0);
        }
        // The steepest that the two tones can be together, and what the ramps add.
        let slope = 2.0 * std::f32::consts::PI / 48_000.0 * 0.3 * (1000.0 + 440.0 * 1.2);
        let left: Vec<f32> = b.out.iter().step_by(2).copied().collect();
        let steepest = left[LOOK_AHEAD + 2..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < slope * 1.02, "{steepest} of {slope}");
        let bend = |w: &[f32]| (w[2] - 2.0 * w[1] + w[0]).abs();
        let most = left[LOOK_AHEAD + 2..].windows(3).map(bend).fold(0.0, f32::max);
        let own = (2.0 * std::f32::consts::PI / 48_000.0f32).powi(2) * 0.3 * (1e6 + 440.0 * 440.0 * 1.5);
        assert!(most < own * 1.1, "{most} of {own}");
    }

    #[test]
    fn two_voices_are_both_heard_and_a_lost_one_ducks_nothing() {
        let mut mixer = LanguageMixer::default();
        let mut run = |lost: [bool; 2], blocks: usize| {
            let mut last = Vec::new();
            for k in 0..blocks {
                let mut block = stereo(&tone(1000.0, 0.2, k * BLOCK, BLOCK));
                let sounds = [tone(440.0, 0.1, k * BLOCK, BLOCK), tone(660.0, 0.1, k * BLOCK, BLOCK)];
                let heard = sounds.iter().zip(lost).zip(1..).map(|((sound, lost), id)| Heard {
                    id: VoiceId(id),
                    sound: if lost { &[0.0; BLOCK] } else { sound },
                    on_air: [true; PARTS],
                    lost,
                    loudness: Measured::default(),
                });
                let level = Level { floor_db: -14.0, floor_lufs: None, ramps: Ramps::default(), limit: true };
                mixer.process(&mut block, level, heard);
                last.extend(block);
            }
            last[last.len() - 20 * BLOCK * 2..].to_vec()
        };
        let both = run([false, false], 60);
        assert!((level(&both, 440.0) + 20.0).abs() < 0.1 && (level(&both, 660.0) + 20.0).abs() < 0.1);
        assert!((level(&both, 1000.0) + 28.0).abs() < 0.1);
        let one = run([false, true], 60);
        assert!((level(&one, 1000.0) + 28.0).abs() < 0.1);
        let none = run([true, true], 60);
        assert!((level(&none, 1000.0) + 14.0).abs() < 0.1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_mix_clips(
            levels in proptest::collection::vec((0.0f32..1.0, 50.0f32..8000.0), 1..5),
            on in proptest::collection::vec(any::<[bool; PARTS]>(), 12),
            floor in 0.0f32..1.0, floor_db in -30.0f32..0.0,
        ) {
            let mut mixer = LanguageMixer::default();
            for (k, on_air) in on.iter().enumerate() {
                let mut block = stereo(&tone(777.0, floor, k * BLOCK, BLOCK));
                let sounds: Vec<Vec<f32>> = levels.iter().map(|&(l, hz)| tone(hz, l, k * BLOCK, BLOCK)).collect();
                let heard = sounds.iter().zip(1..).map(|(sound, id)| Heard {
                    id: VoiceId(id), sound, on_air: *on_air, lost: false, loudness: Measured::default(),
                });
                let level = Level { floor_db, floor_lufs: Some(-20.0), ramps: Ramps::default(), limit: true };
                mixer.process(&mut block, level, heard);
                prop_assert!(block.iter().all(|s| s.abs() <= 0.892));
            }
        }
    }
}
