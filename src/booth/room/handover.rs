//! Handing the microphone over, both ways.

use super::{Effect, Handover, HandoverAction, HandoverKind, Refusal, Room};
use crate::booth::PersonId;
use crate::media::Ts;

impl Room {
    /// Answers or begins a handover: the microphone passes in one step, so that it is neither open twice nor not at
    /// all.
    pub(super) fn hand_over(
        &mut self,
        id: PersonId,
        action: HandoverAction,
        now: Ts,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let person = self.people.get(&id).ok_or(Refusal::Unknown)?;
        let (on_air, booth) = (person.on_air, person.booth().unwrap_or_default().to_owned());
        let place = self.booths.iter().position(|b| b.spec.language == booth);
        let place = place.ok_or_else(|| Refusal::NoBooth(booth.clone()))?;
        let open = self.booths[place].handover.clone();
        let new = |kind| Some(Handover { kind, from: id, at: now });
        let agreed = match (action, &open) {
            (HandoverAction::Offer, _) if !on_air => {
                return Err(Refusal::Handover("only who is on air can offer the microphone"));
            }
            (HandoverAction::Ask, _) if on_air => {
                return Err(Refusal::Handover("you are on air already"));
            }
            (HandoverAction::Take | HandoverAction::Decline, None) => {
                return Err(Refusal::Handover("nobody offers the microphone or asks for it"));
            }
            (HandoverAction::Take, Some(open)) if open.from == id => {
                return Err(Refusal::Handover("somebody else has to answer"));
            }
            (HandoverAction::Take, Some(open)) if open.kind == HandoverKind::Ask && !on_air => {
                return Err(Refusal::Handover("only who is on air can hand the microphone over"));
            }
            // On air, to an asking: yes.
            (HandoverAction::Offer | HandoverAction::Take, Some(Handover { kind: HandoverKind::Ask, from, .. })) => {
                Some((id, *from))
            }
            // Off air, to an offer: yes.
            (HandoverAction::Ask | HandoverAction::Take, Some(Handover { kind: HandoverKind::Offer, from, .. })) => {
                Some((*from, id))
            }
            (HandoverAction::Offer, _) => {
                self.booths[place].handover = new(HandoverKind::Offer);
                None
            }
            (HandoverAction::Ask, _) => {
                self.booths[place].handover = new(HandoverKind::Ask);
                None
            }
            (HandoverAction::Decline, Some(open)) => {
                if open.from != id {
                    let text = match open.kind {
                        HandoverKind::Offer => "Your offer of the microphone was declined.",
                        HandoverKind::Ask => "Your wish for the microphone was declined.",
                    };
                    effects.push(Effect::Tell(open.from, text.to_owned()));
                }
                self.booths[place].handover = None;
                None
            }
        };
        if let Some((from, to)) = agreed {
            self.booths[place].handover = None;
            if let Some(person) = self.people.get_mut(&from) {
                person.on_air = false;
            }
            if let Some(person) = self.people.get_mut(&to) {
                person.on_air = true;
            }
            self.settle(to, effects);
            self.tidy();
        }
        Ok(())
    }

    /// Ends handovers that have no sense any more: the offerer is off air, the asker on air, or either gone.
    pub(super) fn tidy(&mut self) {
        for booth in &mut self.booths {
            booth.handover = booth.handover.take().filter(|open| {
                let from = self.people.get(&open.from).filter(|p| p.present());
                from.is_some_and(|p| p.on_air == (open.kind == HandoverKind::Offer))
            });
        }
    }
}
