//! The voices and plans of one mix, programme or realtime.
//!
//! The programme mix is behind the present: what a plan changes holds for what reached the daemon from that moment on, so
//! a sample is mixed by the plan that stood when it *arrived* ([`Plans::at`]). What an interpreter said before going on air
//! stays unheard, and what was said before a cough is heard.
//!
//! **Bound.** [`MAX_TRACKS`] voices, [`MOST_PLANS`] plans.

use super::opus::VoiceDecoder;
use crate::engine::mix::jitter::Policy;
use crate::engine::mix::language::{Heard, PARTS};
use crate::engine::mix::loudness::{Loudness, Measured};
use crate::engine::mix::voice::Line;
use crate::engine::protocol::{MAX_TRACKS, TimedPlan};
use crate::media::grid::AUDIO_RATE;
use crate::media::{LanguageMix, TrackId, VoiceId, VoicePacket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Plans of the last seconds: a manager's and a dozen interpreters' clicks.
const MOST_PLANS: usize = 64;
/// How long a voice that was disconnected is still mixed, samples: what the programme has not played of it, and its fade.
const LINGER: i64 = 2 * AUDIO_RATE as i64;

/// Plans by the time that they were made.
#[derive(Default)]
pub struct Plans {
    plans: VecDeque<(i64, Arc<TimedPlan>)>,
}

impl Plans {
    /// A new plan.
    pub fn push(&mut self, plan: TimedPlan) {
        let at = plan.at.to_scale(AUDIO_RATE);
        // Made in order; a clock that disagrees does not turn it round.
        let at = self.plans.back().map_or(at, |last| at.max(last.0));
        self.plans.push_back((at, Arc::new(plan)));
        if self.plans.len() > MOST_PLANS {
            self.plans.pop_front();
        }
    }

    /// Forgets what no sample that arrives from `arrival` on needs.
    pub fn forget_before(&mut self, arrival: i64) {
        while self.plans.get(1).is_some_and(|next| next.0 <= arrival) {
            self.plans.pop_front();
        }
    }

    /// The plan for what arrived at `arrival` (samples of the timeline). Before the first plan nobody is on air.
    pub fn at(&self, arrival: i64) -> Option<&TimedPlan> {
        self.plans.iter().rev().find(|p| p.0 <= arrival).map(|p| &*p.1)
    }

    /// The newest plan.
    pub fn newest(&self) -> Option<&TimedPlan> {
        self.plans.back().map(|p| &*p.1)
    }
}

/// What a plan says of a language.
pub fn language(plan: &TimedPlan, output: TrackId) -> Option<&LanguageMix> {
    plan.plan.languages.iter().find(|l| l.output == output)
}

/// One voice in one mix.
pub struct Voice {
    /// Its sound.
    pub line: Line<VoiceDecoder>,
    /// Its present block.
    pub block: Box<[f32]>,
    /// How loud it is, where this mix measures that.
    pub meter: Option<Loudness>,
    /// How loud it is.
    pub loudness: Measured,
    /// Whether it is lost in the present block.
    pub lost: bool,
    /// Blocks since it was last on air where somebody hears it.
    pub unheard: u32,
    /// In which languages it is on air, for each part of the present block.
    pub on_air: [Vec<TrackId>; PARTS],
    /// When it was disconnected, samples of the timeline.
    gone: Option<i64>,
}

impl Voice {
    /// As a language's mixer takes it.
    pub fn heard(&self, id: VoiceId, output: TrackId) -> Heard<'_> {
        let on_air = [0, 1, 2, 3].map(|part: usize| self.on_air[part].contains(&output));
        Heard { id, sound: &self.block, on_air, lost: self.lost, loudness: self.loudness }
    }
}

/// All voices of one mix.
pub struct Voices {
    /// By id.
    pub voices: BTreeMap<VoiceId, Voice>,
    /// What to mix.
    pub plans: Plans,
    policy: Policy,
    frames: usize,
    measured: bool,
    stems: bool,
}

impl Voices {
    /// For blocks of `frames` samples; `measured`: this mix measures loudness.
    pub fn new(policy: Policy, frames: usize, measured: bool, stems: bool) -> Voices {
        let (voices, plans) = (BTreeMap::new(), Plans::default());
        Voices { voices, plans, policy, frames, measured, stems }
    }

    /// A packet of a voice; of one that is not connected it is ignored.
    pub fn packet(&mut self, packet: &VoicePacket) {
        if let Some(voice) = self.voices.get_mut(&packet.voice) {
            voice.line.push(packet);
        }
    }

    /// A new plan: new voices begin, those that are not in it end soon after `now` (samples of the timeline).
    pub fn plan(&mut self, plan: TimedPlan, now: i64) -> Result<(), String> {
        for (id, voice) in &mut self.voices {
            let stays = plan.plan.voices.contains(id);
            voice.gone = if stays { None } else { voice.gone.or(Some(now)) };
        }
        for &id in &plan.plan.voices {
            if !self.voices.contains_key(&id) && self.voices.len() < MAX_TRACKS {
                let voice = Voice {
                    line: Line::new(self.policy, VoiceDecoder::new()?, self.stems),
                    block: vec![0.0; self.frames].into(),
                    meter: self.measured.then(|| Loudness::new(false)),
                    loudness: Measured::default(),
                    lost: true,
                    unheard: u32::MAX,
                    on_air: Default::default(),
                    gone: None,
                };
                self.voices.insert(id, voice);
            }
        }
        self.plans.push(plan);
        Ok(())
    }

    /// Ends what was disconnected long enough before `now`.
    pub fn end_gone(&mut self, now: i64) {
        self.voices.retain(|_, v| v.gone.is_none_or(|gone| now - gone < LINGER));
    }

    /// Who is on air where in the block that begins at `at`, by the plan of each sample's arrival, or by the newest.
    pub fn put_on_air(&mut self, at: i64, by_arrival: bool) {
        let part = (self.frames / PARTS) as i64;
        for (id, voice) in &mut self.voices {
            for (i, on) in voice.on_air.iter_mut().enumerate() {
                on.clear();
                let plan = match by_arrival {
                    true => self.plans.at(voice.line.arrival_of(at + i as i64 * part)),
                    false => self.plans.newest(),
                };
                let Some(plan) = plan else { continue };
                on.extend(plan.plan.languages.iter().filter(|l| l.on_air.contains(id)).map(|l| l.output));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{MixPlan, Ts};

    fn plan(ms: i64, on_air: &[u32]) -> TimedPlan {
        let language = LanguageMix {
            output: TrackId(5),
            on_air: on_air.iter().map(|&v| VoiceId(v)).collect(),
            floor_level_db: -14.0,
        };
        let plan = MixPlan { languages: vec![language], voices: vec![VoiceId(1)], ..MixPlan::default() };
        TimedPlan { at: Ts::from_millis(ms), plan }
    }

    #[test]
    fn a_plan_holds_for_what_arrives_from_then_on() {
        let mut voices = Voices::new(Policy::Placed { budget: 0 }, 1024, false, false);
        voices.put_on_air(0, true);
        for (ms, on) in [(1000, &[][..]), (2000, &[1]), (2010, &[])] {
            voices.plan(plan(ms, on), ms * 48).expect("decoder");
        }
        let on = |voices: &mut Voices, ms: i64| {
            voices.put_on_air(ms * 48, true);
            voices.voices[&VoiceId(1)].heard(VoiceId(1), TrackId(5)).on_air
        };
        assert_eq!(on(&mut voices, 500), [false; 4]);
        assert_eq!(on(&mut voices, 1989), [false, false, false, true]);
        assert_eq!(on(&mut voices, 2000), [true, true, false, false]);
        voices.put_on_air(0, false);
        assert_eq!(voices.voices[&VoiceId(1)].heard(VoiceId(1), TrackId(5)).on_air, [false; 4]);
        voices.plans.forget_before(2005 * 48);
        assert_eq!(voices.plans.plans.len(), 2);
        for n in 0..500 {
            voices.plan(plan(3000 + n, &[1]), 3000 * 48).expect("decoder");
        }
        assert_eq!(voices.plans.plans.len(), MOST_PLANS);
    }

    #[test]
    fn a_voice_that_left_ends_after_what_was_said() {
        let mut voices = Voices::new(Policy::Adaptive, 960, true, false);
        voices.plan(plan(0, &[1]), 0).expect("decoder");
        voices.plan(TimedPlan::default(), 1000).expect("decoder");
        voices.end_gone(1000 + LINGER - 1);
        assert_eq!(voices.voices.len(), 1);
        voices.end_gone(1000 + LINGER);
        assert!(voices.voices.is_empty());
        let many = MixPlan { voices: (0..1000).map(VoiceId).collect(), ..MixPlan::default() };
        voices.plan(TimedPlan { at: Ts::ZERO, plan: many }, 0).expect("decoder");
        assert_eq!(voices.voices.len(), MAX_TRACKS);
    }
}
