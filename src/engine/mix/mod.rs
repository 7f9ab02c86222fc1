//! Sound between decoder and encoder: pure DSP, no IO, no clock.
//!
//! **Data flow.** Decoded blocks of the contribution → [`downmix`] to stereo → [`track::TrackLine`], which lays them on the
//! event's timeline and reads them back on the 48 kHz grid by asynchronous resampling. Voices → [`jitter`] →
//! [`voice::Line`]. Sources →
//! [`Carrier`] (which of them an output carries) → [`language::LanguageMixer`] (voices, ducking, R 128 matching, limiting) →
//! encoders. A block of the programme is one AAC frame
//! ([`BLOCK`] samples, stereo, interleaved), one of the rooms is an Opus frame of 20 ms.

pub mod delay;
pub mod downmix;
pub mod duck;
pub mod jitter;
pub mod language;
pub mod level;
pub mod limiter;
pub mod loudness;
pub mod ramp;
pub mod resample;
pub mod track;
pub mod voice;

use crate::media::grid::AAC_FRAME;

/// Samples per channel in a block.
pub const BLOCK: usize = AAC_FRAME as usize;

/// A block of stereo sound, interleaved, full scale ±1.
pub type Block = [f32; BLOCK * 2];

/// Silence.
pub const SILENCE: Block = [0.0; BLOCK * 2];

/// How many blocks a gain takes to reach its target: 3 × 20 ms, near the 50 ms attack of the product.
const RAMP_BLOCKS: f32 = 3.0;

/// Which source an output carries. A change is a cross-fade, so that it does not click.
#[derive(Clone, Debug)]
pub struct Carrier<S> {
    /// Sources that are heard, with their gains.
    gains: Vec<(S, f32)>,
}

impl<S> Default for Carrier<S> {
    fn default() -> Self {
        Carrier { gains: Vec::new() }
    }
}

impl<S: Copy + PartialEq> Carrier<S> {
    /// One block of what is carried when `wanted` should be. `source` gives a source's block; one that is not there is
    /// silent. A source that is carried alone at full level comes out as it is.
    pub fn process<'a>(&mut self, wanted: S, source: impl Fn(S) -> Option<&'a [f32]>, out: &mut [f32]) {
        let first = self.gains.is_empty();
        if !self.gains.iter().any(|g| g.0 == wanted) {
            self.gains.push((wanted, if first { 1.0 } else { 0.0 }));
        }
        out.fill(0.0);
        self.gains.retain_mut(|(id, gain)| {
            let end = approach(*gain, if *id == wanted { 1.0 } else { 0.0 });
            if let Some(block) = source(*id) {
                add(out, block, *gain, end);
            }
            *gain = end;
            end != 0.0 || *id == wanted
        });
    }
}

fn approach(gain: f32, target: f32) -> f32 {
    let step = 1.0 / RAMP_BLOCKS;
    let end = gain + (target - gain).clamp(-step, step);
    if (end - target).abs() < 1e-4 { target } else { end }
}

fn add(out: &mut [f32], block: &[f32], from: f32, to: f32) {
    if from == 1.0 && to == 1.0 {
        out.iter_mut().zip(block).for_each(|(o, s)| *o += s);
        return;
    }
    let step = (to - from) / (out.len() / 2).max(1) as f32;
    for (i, (o, s)) in out.iter_mut().zip(block).enumerate() {
        *o += s * (from + step * (i / 2) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_language_carries_the_floor_and_comes_back_without_a_click() {
        let floor = [0.5; BLOCK * 2];
        let language = [-0.25; BLOCK * 2];
        let source = |id: u16| match id {
            0 => Some(&floor[..]),
            1 => Some(&language[..]),
            _ => None,
        };
        let (mut carrier, mut out) = (Carrier::default(), SILENCE);
        carrier.process(0, source, &mut out);
        assert!(out == floor);
        let mut last = 0.5f32;
        for _ in 0..6 {
            carrier.process(1, source, &mut out);
            for &s in out.iter().step_by(2) {
                assert!((s - last).abs() < 0.001, "a step of {}", s - last);
                last = s;
            }
        }
        assert_eq!(last, -0.25);
        // Round and round again before it has arrived.
        for id in [0, 1, 0, 7, 1, 1, 1, 1, 1] {
            carrier.process(id, source, &mut out);
            assert!(out.iter().all(|s| s.abs() <= 1.0) && carrier.gains.len() <= 3);
        }
        assert!(out == language);
    }
}
