//! How loud a voice is beside the floor (EBU R 128, ITU-R BS.1770), and the gain that makes them alike.
//!
//! **What a floor level means.** The voice is brought to the loudness of the floor at *full* level, and the floor goes
//! down by the floor level: at −14 dB a voice stands 14 LU over the floor beneath it, whatever level its microphone came
//! with. The gain is bounded ([`MOST_GAIN_DB`]), so a voice that is quieter than the floor by more than that stays
//! quieter.
//!
//! **No pumping.** Loudness is that of the last ten seconds in which there was sound, gated as R 128 gates a programme, so
//! pauses change nothing; the gain moves only while the voice sounds, and slowly ([`SLEW_DB`]).

use crate::media::grid::AUDIO_RATE;
use ebur128::{Channel, EbuR128, Mode};

/// The most that a voice is raised or lowered.
pub const MOST_GAIN_DB: f32 = 12.0;
/// How fast the gain moves, dB per second of sounding voice.
pub const SLEW_DB: f32 = 3.0;
/// Momentary loudness is read this often.
const HOP: usize = AUDIO_RATE as usize / 10;
/// Readings that count: ten seconds of sound.
const WINDOW: usize = 100;
/// Readings until a loudness is believed: one second.
const ENOUGH: usize = 10;
/// What is quieter than this is no sound, LUFS: a quiet voice is 20 LU above it, a muted booth's noise below.
const ABSOLUTE_GATE: f32 = -55.0;
/// Readings this far below the mean do not count (BS.1770-4: relative threshold).
const RELATIVE_GATE: f32 = 10.0;

/// Loudness of one source, gated.
pub struct Loudness {
    meter: Option<EbuR128>,
    channels: usize,
    /// Frames until the next reading.
    left: usize,
    /// Energies of readings above the absolute gate, as a ring.
    energies: Vec<f32>,
    place: usize,
    value: Option<f32>,
    sounding: bool,
    /// Readings in a row with sound.
    run: u32,
}

impl Loudness {
    /// For interleaved stereo, or for one channel that is heard from both sides.
    pub fn new(stereo: bool) -> Loudness {
        let channels = if stereo { 2 } else { 1 };
        let meter = EbuR128::new(channels, AUDIO_RATE, Mode::M).and_then(|mut m| {
            if !stereo {
                m.set_channel(0, Channel::DualMono)?;
            }
            Ok(m)
        });
        let energies = Vec::with_capacity(WINDOW);
        let (left, place, value, sounding, run) = (HOP, 0, None, false, 0);
        // The settings are constants that the crate takes; without a meter nothing is matched.
        Loudness { meter: meter.ok(), channels: channels as usize, left, energies, place, value, sounding, run }
    }

    /// Measures what sounds next.
    pub fn add(&mut self, mut samples: &[f32]) {
        let Some(meter) = &mut self.meter else { return };
        while !samples.is_empty() {
            let (now, later) = samples.split_at((self.left * self.channels).min(samples.len()));
            samples = later;
            self.left -= now.len() / self.channels;
            if meter.add_frames_f32(now).is_err() {
                return;
            }
            if self.left == 0 {
                self.left = HOP;
                let loudness = meter.loudness_momentary().unwrap_or(f64::NEG_INFINITY) as f32;
                self.sounding = loudness > ABSOLUTE_GATE;
                self.run = if self.sounding { self.run.saturating_add(1) } else { 0 };
                // A reading spans 400 ms: at the beginning of sound it is in part of the silence before.
                if self.run >= 4 {
                    let energy = 10f32.powf(loudness / 10.0);
                    match self.energies.get_mut(self.place) {
                        Some(slot) => *slot = energy,
                        None => self.energies.push(energy),
                    }
                    self.place = (self.place + 1) % WINDOW;
                    self.value = gated(&self.energies);
                }
            }
            if now.is_empty() {
                return;
            }
        }
    }

    /// LUFS; none until there was a second of sound.
    pub fn value(&self) -> Option<f32> {
        self.value
    }

    /// Whether it sounds now, to a tenth of a second.
    pub fn sounding(&self) -> bool {
        self.sounding
    }
}

fn gated(energies: &[f32]) -> Option<f32> {
    if energies.len() < ENOUGH {
        return None;
    }
    let mean = energies.iter().sum::<f32>() / energies.len() as f32;
    let gate = mean * 10f32.powf(-RELATIVE_GATE / 10.0);
    let (sum, n) = energies.iter().filter(|&&e| e >= gate).fold((0.0, 0), |(s, n), e| (s + e, n + 1));
    (n > 0).then(|| 10.0 * (sum / n as f32).log10())
}

/// What is known of a source's loudness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// LUFS, once it is known.
    pub lufs: Option<f32>,
    /// Whether it sounds now.
    pub sounding: bool,
}

impl From<&Loudness> for Measured {
    fn from(l: &Loudness) -> Measured {
        Measured { lufs: l.value(), sounding: l.sounding() }
    }
}

/// The gain of one voice over one floor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Match {
    db: f32,
}

impl Match {
    /// The gain that would be right now, taken at once: for a voice that is not heard yet.
    pub fn settled(floor: Option<f32>, voice: Measured) -> Match {
        Match { db: wanted(floor, voice).unwrap_or(0.0) }
    }

    /// Moves on by `seconds` and returns the linear gain.
    pub fn step(&mut self, floor: Option<f32>, voice: Measured, seconds: f32) -> f32 {
        if let (Some(wanted), true) = (wanted(floor, voice), voice.sounding) {
            let most = SLEW_DB * seconds;
            self.db += (wanted - self.db).clamp(-most, most);
        }
        10f32.powf(self.db / 20.0)
    }
}

fn wanted(floor: Option<f32>, voice: Measured) -> Option<f32> {
    let wanted = floor? - voice.lufs?;
    wanted.is_finite().then(|| wanted.clamp(-MOST_GAIN_DB, MOST_GAIN_DB))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, level: f32, seconds: f32, channels: usize) -> Vec<f32> {
        let step = 2.0 * std::f32::consts::PI * hz / 48_000.0;
        (0..(seconds * 48_000.0) as usize)
            .flat_map(|i| std::iter::repeat_n(level * (i as f32 * step).sin(), channels))
            .collect()
    }

    #[test]
    fn a_tone_reads_as_the_standard_says_and_one_channel_as_two() {
        let mut stereo = Loudness::new(true);
        // EBU Tech 3341: 1 kHz at −23 dBFS in both channels is −23 LUFS.
        let level = 10f32.powf(-23.0 / 20.0);
        stereo.add(&tone(1000.0, level, 3.0, 2));
        let mut mono = Loudness::new(false);
        for part in tone(1000.0, level, 3.0, 1).chunks(1000) {
            mono.add(part);
        }
        for l in [&stereo, &mono] {
            assert!((l.value().expect("enough") + 23.0).abs() < 0.1 && l.sounding(), "{:?}", l.value());
        }
    }

    #[test]
    fn pauses_and_noise_between_words_change_nothing() {
        let mut l = Loudness::new(false);
        for _ in 0..10 {
            l.add(&tone(500.0, 0.2, 1.0, 1));
            l.add(&tone(500.0, 0.000_5, 2.0, 1));
        }
        let spoken = l.value().expect("enough");
        let mut steady = Loudness::new(false);
        steady.add(&tone(500.0, 0.2, 3.0, 1));
        assert!((spoken - steady.value().expect("enough")).abs() < 1.0, "{spoken}");
        let before = l.value();
        l.add(&vec![0.0; 48_000 * 60]);
        assert_eq!((l.value(), l.sounding()), (before, false));
        l.add(&[f32::MAX, f32::MIN]);
    }

    #[test]
    fn the_gain_is_slow_bounded_and_rests_in_silence() {
        let voice = |lufs, sounding| Measured { lufs: Some(lufs), sounding };
        let mut m = Match::default();
        let db = |g: f32| 20.0 * g.log10();
        assert_eq!(m.step(None, voice(-30.0, true), 10.0), 1.0);
        let g = m.step(Some(-23.0), voice(-30.0, true), 1.0);
        assert!((db(g) - 3.0).abs() < 0.01);
        assert_eq!(m.step(Some(-23.0), voice(-30.0, false), 60.0), g);
        let g = m.step(Some(-23.0), voice(-60.0, true), 60.0);
        assert!((db(g) - 12.0).abs() < 0.01);
        let g = m.step(Some(-60.0), voice(-10.0, true), 60.0);
        assert!((db(g) + 12.0).abs() < 0.01);
        assert!((Match::settled(Some(-20.0), voice(-26.0, false)).db - 6.0).abs() < 1e-3);
        assert_eq!(Match::default().step(Some(f32::NAN), voice(-20.0, true), 1.0), 1.0);
    }
}
