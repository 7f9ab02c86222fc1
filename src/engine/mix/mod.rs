//! Sound between decoder and encoder: pure DSP, no IO, no clock.
//!
//! **Data flow.** Decoded blocks → [`downmix`] to stereo → [`track::TrackLine`], which lays them on the event's timeline
//! and reads them back on the 48 kHz grid by asynchronous resampling → [`Mixer`], which makes one block per output by its
//! [`MixPlan`] → encoders. One block is one AAC frame ([`BLOCK`] samples, stereo, interleaved).

pub mod downmix;
pub mod level;
pub mod resample;
pub mod track;

use crate::media::grid::AAC_FRAME;
use std::collections::HashMap;

/// Samples per channel in a block.
pub const BLOCK: usize = AAC_FRAME as usize;

/// A block of stereo sound, interleaved, full scale ±1.
pub type Block = [f32; BLOCK * 2];

/// Silence.
pub const SILENCE: Block = [0.0; BLOCK * 2];

/// How much of each source goes into each output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixPlan {
    /// Per output: source number and linear gain.
    pub outputs: Vec<Vec<(u16, f32)>>,
}

impl MixPlan {
    /// Outputs that each carry one contribution track, or the floor (track 0) while theirs is absent.
    pub fn tracks(wanted: &[u16], present: impl Fn(u16) -> bool) -> MixPlan {
        let source = |&want: &u16| if present(want) { want } else { 0 };
        MixPlan { outputs: wanted.iter().map(|w| vec![(source(w), 1.0)]).collect() }
    }
}

/// How many blocks a gain takes to reach its target: 3 × 21 ms, near the 50 ms attack of the product.
const RAMP_BLOCKS: f32 = 3.0;

/// Mixes blocks by a plan; a changed gain is reached by a ramp, so that no change clicks.
#[derive(Clone, Debug, Default)]
pub struct Mixer {
    gains: Vec<HashMap<u16, f32>>,
}

impl Mixer {
    /// The outputs of one instant. `source` gives a source's block; a source that is not there is silent.
    pub fn process<'a>(&mut self, plan: &MixPlan, source: impl Fn(u16) -> Option<&'a Block>) -> Vec<Box<Block>> {
        let first = self.gains.len() != plan.outputs.len();
        if first {
            self.gains = vec![HashMap::new(); plan.outputs.len()];
        }
        let mut blocks = Vec::with_capacity(plan.outputs.len());
        for (targets, gains) in plan.outputs.iter().zip(&mut self.gains) {
            for &(id, gain) in targets {
                gains.entry(id).or_insert(if first { gain } else { 0.0 });
            }
            let mut out = Box::new(SILENCE);
            gains.retain(|&id, gain| {
                let target = targets.iter().find(|t| t.0 == id).map_or(0.0, |t| t.1);
                let end = approach(*gain, target);
                if let Some(block) = source(id) {
                    add(&mut out, block, *gain, end);
                }
                *gain = end;
                end != 0.0 || target != 0.0
            });
            for s in out.iter_mut() {
                *s = s.clamp(-1.0, 1.0);
            }
            blocks.push(out);
        }
        blocks
    }
}

fn approach(gain: f32, target: f32) -> f32 {
    let step = 1.0 / RAMP_BLOCKS;
    let end = gain + (target - gain).clamp(-step, step);
    if (end - target).abs() < 1e-4 { target } else { end }
}

fn add(out: &mut Block, block: &Block, from: f32, to: f32) {
    if from == 1.0 && to == 1.0 {
        out.iter_mut().zip(block).for_each(|(o, s)| *o += s);
        return;
    }
    let step = (to - from) / BLOCK as f32;
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
        let mut mixer = Mixer::default();
        let source = |id: u16| match id {
            0 => Some(&floor),
            1 => Some(&language),
            _ => None,
        };
        let absent = MixPlan::tracks(&[0, 1], |id| id == 0);
        let out = mixer.process(&absent, source);
        assert_eq!((out[0][0], out[1][0], out[1][2047]), (0.5, 0.5, 0.5));
        let present = MixPlan::tracks(&[0, 1], |_| true);
        let mut last = 0.5f32;
        for _ in 0..6 {
            let out = mixer.process(&present, source);
            assert!(out[0].iter().all(|&s| s == 0.5));
            for &s in out[1].iter().step_by(2) {
                assert!((s - last).abs() < 0.001, "a step of {}", s - last);
                last = s;
            }
        }
        assert_eq!(last, -0.25);
    }

    #[test]
    fn nothing_leaves_full_scale() {
        let loud = [0.9; BLOCK * 2];
        let plan = MixPlan { outputs: vec![vec![(0, 1.0), (1, 1.0)]] };
        let out = Mixer::default().process(&plan, |_| Some(&loud));
        assert!(out[0].iter().all(|&s| s == 1.0));
    }
}
