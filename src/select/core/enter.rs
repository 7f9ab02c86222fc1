//! How the programme goes on with another input, or with the same one anew.
//!
//! **Joined.** Where the inputs are equal and the new one holds the access unit that was sent last, the programme simply goes
//! on with what follows it: same epoch, no decoder notices.
//! **Spliced.** Else a new epoch begins with a key frame; what comes before the first picture that is missing is only
//! decoded. Its times are set against what is on air by what is known of both, else by arrival.
//!
//! An input that holds the unit a little later than the one on air never catches up with it. Where a switch is wished for
//! while both are good, what is on air is therefore held back for a moment ([`Config::wait`]), which the programme's delay
//! pays for.

use super::input::slots;
use super::{Core, Epoch, How, Output};
use crate::media::{Dur, InputName, Packet, Ts};
use crate::select::align::{Basis, NEAR};
use crate::select::splice::{Plan, ROUNDING};

/// An input that cannot be entered because it is behind what is on air is entered with a gap after this long.
const PATIENCE: Dur = Dur::from_secs(10);

/// Packets of what is on air that are held back at most: [`crate::select::LONGEST_WAIT`] of 60 pictures and 32 sounds a second
/// twice over. When there are more they are sent, and the switch is made without.
pub(super) const MOST_HELD: usize = 2048;

/// Times by content that differ from those by arrival by more than this are not used: the clock would have to step
/// them back at once.
const MOST_OFF: Dur = Dur::from_millis(700);

/// A programme that ended so long ago is not gone on with: what follows begins with its newest key frame.
const LONG_AGO: Dur = Dur::from_secs(2);

/// How long a wished-for switch waits for an input to come by itself before what is on air is held back.
const HOLD_AFTER: Dur = Dur::from_millis(200);

/// What a try to join came to.
enum Join {
    Done,
    /// Its packets have not yet come as far as what was sent.
    Behind,
    /// It does not hold what was sent.
    Apart,
}

/// How an epoch begins.
struct Entry {
    /// The first packet, in the backlog.
    from: usize,
    /// Added to source times.
    offset: Dur,
    basis: Basis,
    plan: Plan,
}

impl Core {
    /// Goes on with the input that is waited for, if it can be entered.
    pub(super) fn enter_candidate(&mut self, heard: Option<InputName>, now: Ts, out: &mut Output) {
        let Some(name) = self.candidate() else { return };
        if heard.is_some_and(|h| h != name) {
            return;
        }
        let sound_only = self.failover.sound_only(name, now);
        self.inputs[name.index()].expire(now);
        match self.join(name, now, out) {
            Join::Done => return,
            Join::Behind if self.may_wait(now) => return,
            Join::Behind | Join::Apart => {}
        }
        let input = &mut self.inputs[name.index()];
        if sound_only {
            // Pictures that stopped long ago are not what one begins with, nor what tells the time.
            input.forget_pictures();
        }
        let stale = sound_only && input.reference.is_some_and(|(_, video)| video);
        if stale || !input.map.settled(now) {
            return;
        }
        match self.entry(name, sound_only, now) {
            Some(entry) => self.begin(name, &entry, now, out),
            // It would always be behind what is on air: what is on air must stop for it.
            None if self.waiting.is_some_and(|since| now - since > PATIENCE) => {
                if let Some(active) = self.on_air.filter(|&active| active != name) {
                    self.inputs[active.index()].interrupt();
                }
            }
            None => {}
        }
    }

    /// Whether what is behind may still be waited for.
    fn may_wait(&self, now: Ts) -> bool {
        self.waiting.is_some_and(|since| now - since <= HOLD_AFTER + self.config.wait)
    }

    /// Whether packets of what is on air are held back now.
    pub(super) fn holds_back(&self, now: Ts) -> bool {
        let known = || self.aligner.to_other(self.candidate().filter(|&c| self.on_air != Some(c))?, now);
        let due = self.waiting.is_some_and(|since| now - since > HOLD_AFTER) && self.may_wait(now);
        due && self.held_back.len() < MOST_HELD && known().is_some()
    }

    /// Until when packets are held back at most.
    pub(super) fn held_until(&self) -> Option<Ts> {
        self.waiting.filter(|_| !self.held_back.is_empty()).map(|since| since + HOLD_AFTER + self.config.wait)
    }

    /// Sends what was held back: the switch it was for was not made.
    pub(super) fn let_go(&mut self, out: &mut Output) {
        let Some(name) = self.on_air else { return self.held_back.clear() };
        for packet in std::mem::take(&mut self.held_back) {
            self.send(name, packet, out);
        }
    }

    /// Goes on right after the last unit that was sent, where this input holds the same unit.
    fn join(&mut self, name: InputName, now: Ts, out: &mut Output) -> Join {
        let (Some(tail), Some(mut epoch)) = (&self.tail, self.epoch) else { return Join::Apart };
        let equal = self.aligner.to_other(name, now).filter(|(_, basis)| *basis == Basis::Content);
        let Some((offset, _)) = equal.filter(|_| tail.input != name) else {
            return Join::Apart;
        };
        let input = &mut self.inputs[name.index()];
        let same_track = |p: &&Packet| p.track.id == tail.track;
        let place = |p: &Packet| p.dts + offset - tail.dts;
        let found = input
            .backlog
            .iter()
            .position(|p| p.track.id == tail.track && place(p).abs() <= NEAR && p.data == tail.data);
        let Some(at) = found else {
            let newest = input.backlog.iter().rev().find(same_track);
            return if newest.is_none_or(|p| place(p) < -NEAR) { Join::Behind } else { Join::Apart };
        };
        // The clock would step such times back at once.
        let by_arrival = input.map.preview(input.backlog[at].dts).filter(|_| input.map.settled(now));
        if by_arrival.is_none_or(|t| (t - tail.at).abs() > MOST_OFF) {
            return Join::Apart;
        }
        let (anchor, tail_at) = (input.backlog[at].dts, tail.at);
        // Source times of the other input from now on.
        epoch.source_pts -= offset;
        let gap = {
            let next = input.backlog.iter().skip(at + 1).find(same_track).map(|p| p.dts - anchor);
            next.and_then(|step| self.edge.gap(tail.track, tail_at + step))
        };
        let from = self.edge.latest().unwrap_or(tail_at);
        self.leave_others(name);
        let input = &mut self.inputs[name.index()];
        input.map.anchor(anchor, tail_at);
        input.live = true;
        let backlog = input.take_backlog();
        input.shows(&backlog[at], self.frame);
        self.edge.join();
        self.epoch = Some(epoch);
        let how = How { gap: Some(gap.unwrap_or(Dur::ZERO)), epoch: None, basis: Basis::Content };
        self.taken(name, from, now, how, out);
        for (i, packet) in backlog.into_iter().enumerate() {
            if i > at || !packet.track.is_video() {
                self.send(name, packet, out);
            }
        }
        Join::Done
    }

    /// Where this input can begin a new epoch.
    fn entry(&self, name: InputName, sound_only: bool, now: Ts) -> Option<Entry> {
        let input = &self.inputs[name.index()];
        let first = input.backlog.front()?;
        let arrival = input.map.preview(first.dts)? - first.dts;
        let known = self.tail.as_ref().filter(|tail| tail.input != name).and_then(|tail| {
            let (to_other, basis) = self.aligner.to_other(name, now)?;
            let offset = to_other + (tail.at - tail.dts);
            ((offset - arrival).abs() <= MOST_OFF).then_some((offset, basis))
        });
        let ways = known.filter(|_| !sound_only).into_iter().chain([(arrival, Basis::Arrival)]);
        for (offset, basis) in ways {
            let entry = match sound_only {
                true => self.entry_of_sound(name, offset),
                false => self.entry_of_pictures(name, offset, now),
            };
            if let Some((from, plan)) = entry {
                return Some(Entry { from, offset, basis, plan });
            }
            // Behind by little: by its own times it will be there soon, by others it would show again what was shown.
            if basis > Basis::Arrival && self.may_wait(now) {
                return None;
            }
        }
        None
    }

    fn entry_of_sound(&self, name: InputName, offset: Dur) -> Option<(usize, Plan)> {
        let input = &self.inputs[name.index()];
        let (id, _) = input.reference?;
        let of_it = || input.backlog.iter().enumerate().filter(|(_, p)| p.track.id == id);
        let plan = self.edge.plan_sound(id, of_it().map(|(_, p)| p.pts + offset))?;
        let from = of_it().find(|(_, p)| p.pts + offset >= plan.splice)?.0;
        Some((from, plan))
    }

    fn entry_of_pictures(&self, name: InputName, offset: Dur, now: Ts) -> Option<(usize, Plan)> {
        let input = &self.inputs[name.index()];
        let keys = || input.backlog.iter().enumerate().filter(|(_, p)| p.key);
        let id = keys().next()?.1.track.id;
        let end = self.edge.end(id).filter(|&end| now - end <= LONG_AGO);
        // The last key frame from which what is missing can be decoded; where none is that early, the first there is.
        let early = end.and_then(|end| keys().filter(|(_, p)| p.pts + offset <= end).last().or_else(|| keys().next()));
        let (from, key) = early.or_else(|| keys().last())?;
        let pictures = || input.backlog.iter().skip(from).filter(|p| p.track.id == id && p.pts >= key.pts);
        let rate = key.track.video().and_then(|v| v.rate());
        let slots = slots(self.frame, rate).filter(|_| self.config.clock.correct);
        let mut plan = self.edge.plan(id, pictures().map(|p| p.pts + offset).collect(), slots)?;
        // Pictures that are shown before this one may be decoded after it: they are still to come, and belong to it.
        let steps = pictures().zip(pictures().skip(1)).map(|(a, b)| b.dts - a.dts);
        if let (Some(end), Some(newest), Some(step)) = (end, pictures().last(), steps.filter(|&s| s > ROUNDING).min()) {
            let moved = offset + plan.shift;
            let least = (end - ROUNDING).max(key.pts + moved);
            while plan.splice > newest.dts + moved + step && plan.splice - step >= least {
                plan.splice -= step;
            }
            plan.gap = Some((plan.splice - end).max(Dur::ZERO));
        }
        Some((from, plan))
    }

    /// Begins the programme's next epoch.
    fn begin(&mut self, name: InputName, entry: &Entry, now: Ts, out: &mut Output) {
        self.leave_others(name);
        let input = &mut self.inputs[name.index()];
        let backlog = input.take_backlog();
        let first = &backlog[entry.from];
        input.map.anchor(first.dts, first.dts + entry.offset + entry.plan.shift);
        input.live = true;
        input.shows(first, self.frame);
        let number = self.epoch.map_or(0, |e| e.number.wrapping_add(1));
        let splice = entry.plan.splice;
        self.epoch = Some(Epoch { number, picture: first.key, source_pts: first.pts, splice });
        let from = self.edge.latest().map_or(splice, |end| end.max(splice));
        self.taken(name, from, now, How { gap: entry.plan.gap, epoch: Some(number), basis: entry.basis }, out);
        self.primers.clear();
        // Sound that is muxed ahead of the key frame belongs to the epoch, which begins with that all the same.
        let key = first.key.then(|| first.clone());
        let after = if key.is_some() { entry.from + 1 } else { 0 };
        let rest = backlog.into_iter().enumerate().filter(|(i, p)| *i >= after || !p.track.is_video()).map(|(_, p)| p);
        for packet in key.into_iter().chain(rest) {
            self.send(name, packet, out);
        }
    }

    /// The others are only watched from now on.
    fn leave_others(&mut self, name: InputName) {
        for other in InputName::ALL.into_iter().filter(|&i| i != name) {
            let other = &mut self.inputs[other.index()];
            other.live = false;
            other.map.release();
        }
        self.held_back.clear();
    }

    /// The programme is this input: all of it that lies after `start`, up to where the one before had been sent.
    fn taken(&mut self, name: InputName, start: Ts, now: Ts, how: How, out: &mut Output) {
        self.waiting = None;
        let from = self.on_air.replace(name);
        self.failover.entered(name, start);
        if from != Some(name) {
            self.switched(from, Some(name), now, how, out);
        }
    }
}
