//! The selector without its task: packets and times in, packets and switches out. No IO, no clock.

use super::align::{Aligner, Basis};
use super::policy::{Cause, Failover, Heard, Triggers};
use super::splice::Edge;
use super::{Alignment, Config, SWITCHES_KEPT, State, Switch};
use crate::media::{Content, Dur, InputName, Packet, SoundMatch, TrackId, Ts};
use bytes::Bytes;
use input::Input;
use std::sync::Arc;

mod enter;
mod input;

/// What happened.
#[derive(Debug, Default)]
pub struct Output {
    /// Programme packets on the event timeline, in order.
    pub packets: Vec<Packet>,
    /// Changes of the active input, in order.
    pub switches: Vec<Switch>,
}

/// The programme's current epoch.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    number: u32,
    /// Whether it began with a picture.
    picture: bool,
    /// The first packet's pts on the source's timeline: pictures before it belong to the GOP before.
    source_pts: Ts,
    /// From where on, on the event timeline, its pictures are shown. Sound before it is dropped, but for what follows the
    /// sound of the epoch before.
    splice: Ts,
}

/// How an input was entered: as in [`Switch`].
#[derive(Clone, Copy, Debug, Default)]
struct How {
    gap: Option<Dur>,
    epoch: Option<u32>,
    basis: Basis,
}

/// The last unit that was sent of the track that the clock is read from.
#[derive(Clone, Debug)]
struct Tail {
    input: InputName,
    track: TrackId,
    /// On the source's timeline, and on the event's.
    dts: Ts,
    at: Ts,
    data: Bytes,
}

/// See the module's text.
#[derive(Debug)]
pub struct Core {
    config: Config,
    /// The output's frame, where the programme is made into one and that one is known.
    frame: Option<Dur>,
    failover: Failover,
    inputs: [Input; 2],
    on_air: Option<InputName>,
    since: Ts,
    epoch: Option<Epoch>,
    edge: Edge,
    aligner: Aligner,
    tail: Option<Tail>,
    /// Of each sound, the last packet before the epoch: only decoded, since a frame of sound needs the one before it.
    primers: Vec<Packet>,
    /// Packets of what is on air while the input that is to follow it comes as far; at most [`enter::MOST_HELD`].
    held_back: Vec<Packet>,
    alignment: Option<Alignment>,
    /// Why the target is not yet on air.
    cause: Cause,
    /// Since when the target waits to be entered.
    waiting: Option<Ts>,
    switches: Arc<[Switch]>,
}

impl Core {
    /// Nothing is attached.
    pub fn new(config: Config, now: Ts) -> Core {
        Core {
            failover: Failover::new(config.failover),
            inputs: [Input::new(&config), Input::new(&config)],
            config,
            frame: None,
            on_air: None,
            since: now,
            epoch: None,
            edge: Edge::default(),
            aligner: Aligner::default(),
            tail: None,
            primers: Vec::new(),
            held_back: Vec::new(),
            alignment: None,
            cause: Cause::Start,
            waiting: None,
            switches: Arc::default(),
        }
    }

    /// What to publish.
    pub fn state(&self) -> State {
        State {
            active: self.on_air,
            since: self.since,
            pending: self.candidate().filter(|&i| self.on_air != Some(i)),
            mode: self.failover.mode(),
            switches: self.switches.clone(),
            alignment: self.alignment,
            faults: InputName::ALL.map(|i| self.failover.fault(i)),
        }
    }

    /// Looks how the two inputs' times belong together, for [`Core::state`].
    pub fn look(&mut self, now: Ts) {
        self.alignment = self.aligner.to_other(InputName::Backup, now).and_then(|(to_main, basis)| {
            let [main, backup] = InputName::ALL.map(|i| self.inputs[i.index()].map.preview(Ts::ZERO));
            // The same instant is `to_main` later on main's clock; what else the arrivals differ by is the networks'.
            Some(Alignment { basis, backup_behind: backup? - main? - to_main })
        });
    }

    /// The clock error of an input on air, for metrics.
    pub fn clock_error(&self, input: InputName) -> Option<Dur> {
        self.inputs[input.index()].map.error()
    }

    /// The output's frame is known: pictures fall on its slots from now on.
    pub fn set_frame(&mut self, frame: Dur) {
        self.frame = Some(frame);
        for input in self.inputs.iter_mut().filter(|i| i.live) {
            input.rest(Some(frame));
        }
    }

    /// When [`Core::tick`] is due if nothing arrives.
    pub fn deadline(&self) -> Option<Ts> {
        let settles = self.candidate().and_then(|i| {
            let input = &self.inputs[i.index()];
            (!input.backlog.is_empty()).then(|| input.map.settles_at()).flatten()
        });
        let settles = settles.filter(|&at| at > self.failover.now());
        let held = self.held_until().filter(|&at| at > self.failover.now());
        self.failover.deadline().into_iter().chain(settles).chain(held).min()
    }

    /// A publisher has come; one that was there before has been replaced.
    pub fn attach(&mut self, name: InputName, now: Ts, out: &mut Output) {
        if self.inputs[name.index()].attached {
            self.detach(name, now, out);
        }
        self.inputs[name.index()].attached = true;
        self.aligner.reset(name);
        self.failover.attached(name);
    }

    /// The publisher is gone.
    pub fn detach(&mut self, name: InputName, now: Ts, out: &mut Output) {
        if self.on_air == Some(name) {
            self.let_go(out);
        }
        self.inputs[name.index()] = Input::new(&self.config);
        self.failover.detached(name);
        self.decide(now, out);
    }

    /// A person chooses an input, or, with none, the automation.
    pub fn choose(&mut self, input: Option<InputName>, now: Ts, out: &mut Output) {
        self.failover.choose(input);
        self.tick(now, out);
    }

    /// Other triggers.
    pub fn set_triggers(&mut self, triggers: Triggers, now: Ts, out: &mut Output) {
        self.failover.set_triggers(triggers);
        self.tick(now, out);
    }

    /// What was measured of the programme where it is decoded.
    pub fn measured(&mut self, content: &Content, now: Ts, out: &mut Output) {
        self.failover.measured(content);
        self.tick(now, out);
    }

    /// The inputs were found to sound alike.
    pub fn alike(&mut self, found: SoundMatch) {
        self.aligner.alike(found);
    }

    /// The packet as what compares the inputs' sounds should get it; none where it should not: it is no sound that both
    /// have, or both are known to be equal.
    pub fn to_compare(&self, name: InputName, packet: &Packet) -> Option<Packet> {
        let both = self.inputs.iter().all(|i| i.attached);
        let known = || self.aligner.to_other(name, packet.arrival).is_some_and(|(_, basis)| basis == Basis::Content);
        (both && packet.track.id == TrackId::audio(0) && !known())
            .then(|| Packet { epoch: self.aligner.epoch(name), ..packet.clone() })
    }

    /// Packets of the input were missed.
    pub fn lagged(&mut self, name: InputName, now: Ts, out: &mut Output) {
        if !self.inputs[name.index()].attached {
            return;
        }
        self.inputs[name.index()].interrupt();
        self.failover.broken(name, now);
        self.decide(now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Ts, out: &mut Output) {
        self.decide(now, out);
        self.enter_candidate(None, now, out);
        if !self.held_back.is_empty() && !self.holds_back(now) {
            self.let_go(out);
        }
    }

    /// A packet of an input, in the order of arrival.
    pub fn packet(&mut self, name: InputName, packet: &Packet, out: &mut Output) {
        let now = packet.arrival;
        let video = packet.track.is_video();
        let input = &mut self.inputs[name.index()];
        if !input.attached {
            return;
        }
        if input.source_epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch) {
            input.interrupt();
            input.map.reset();
            input.reference = None;
            self.aligner.reset(name);
            self.failover.broken(name, now);
        }
        let input = &mut self.inputs[name.index()];
        // Sound comes first, then the picture, which has its own place in the interleaving; and one that has stopped long
        // ago says nothing of now.
        let better = match input.reference {
            Some((_, false)) => video,
            Some((_, true)) => !video && self.failover.sound_only(name, now),
            None => false,
        };
        if better && !input.live {
            input.map.reset();
            input.reference = None;
        }
        if input.reference.get_or_insert((packet.track.id, video)).0 == packet.track.id {
            input.map.observe(packet.dts, now);
            if input.live && input.map.must_step() {
                input.interrupt();
                input.map.restart();
            }
        }
        let heard = match (video, packet.key) {
            (true, true) => Heard::Key,
            (true, false) => Heard::Picture,
            (false, _) => Heard::Sound,
        };
        self.failover.heard(name, heard, now);
        self.aligner.heard(name, packet);
        self.decide(now, out);

        if self.inputs[name.index()].live && self.failover.target() == Some(name) && self.on_air.is_none() {
            self.resume(name, packet, now, out);
        }
        if self.inputs[name.index()].live && self.on_air == Some(name) {
            let begins_picture = packet.key && self.epoch.is_some_and(|e| !e.picture);
            if begins_picture {
                self.add_picture(name, packet);
            }
            if self.holds_back(now) {
                self.held_back.push(packet.clone());
                return;
            }
            self.let_go(out);
            self.send(name, packet.clone(), out);
            return;
        }
        let input = &mut self.inputs[name.index()];
        if video || input.reference == Some((packet.track.id, false)) {
            // A picture that is not sent is missing from then on.
            input.live = false;
        }
        input.hold(packet, now);
        self.enter_candidate(Some(name), now, out);
    }

    /// Which input waits to be entered.
    fn candidate(&self) -> Option<InputName> {
        self.failover.target().filter(|&i| !(self.on_air == Some(i) && self.inputs[i.index()].live))
    }

    fn decide(&mut self, now: Ts, out: &mut Output) {
        while let Some(decision) = self.failover.poll(now) {
            self.waiting = Some(now);
            self.cause = decision.cause;
            if decision.to.is_none() {
                self.let_go(out);
                let from = self.on_air.take();
                self.failover.left();
                if from.is_some() {
                    self.switched(from, None, now, How::default(), out);
                }
            }
        }
    }

    /// An input that fell silent goes on where it was: nothing is missing.
    fn resume(&mut self, name: InputName, packet: &Packet, now: Ts, out: &mut Output) {
        let dts = self.inputs[name.index()].map.map(packet.dts);
        let gap = dts.and_then(|dts| self.edge.gap(packet.track.id, dts));
        self.on_air = Some(name);
        self.waiting = None;
        self.failover.entered(name, dts.unwrap_or(now));
        self.switched(None, Some(name), now, How { gap, ..How::default() }, out);
    }

    /// The picture joins a sound that is on air: a new epoch by the same clock.
    fn add_picture(&mut self, name: InputName, key: &Packet) {
        let input = &mut self.inputs[name.index()];
        let Some(pts) = input.map.map(key.pts) else { return };
        // What an earlier epoch showed ends before this: else the picture waits for the next key frame.
        if self.edge.plan(key.track.id, vec![pts], None).is_some_and(|plan| plan.shift == Dur::ZERO)
            && let Some(epoch) = &mut self.epoch
        {
            input.shows(key, self.frame);
            let number = epoch.number.wrapping_add(1);
            *epoch = Epoch { number, picture: true, source_pts: key.pts, splice: pts };
        }
    }

    /// Maps a packet of the input on air and sends it.
    fn send(&mut self, name: InputName, mut packet: Packet, out: &mut Output) {
        let Some(epoch) = self.epoch else { return };
        let video = packet.track.is_video();
        if video && (!epoch.picture || packet.pts < epoch.source_pts) {
            return;
        }
        let input = &mut self.inputs[name.index()];
        let (Some(dts), Some(pts)) = (input.map.map(packet.dts), input.map.map(packet.pts)) else { return };
        if input.reference.is_some_and(|(id, _)| id == packet.track.id) {
            let data = packet.data.clone();
            self.tail = Some(Tail { input: name, track: packet.track.id, dts: packet.dts, at: dts, data });
        }
        packet.epoch = epoch.number;
        packet.dts = dts;
        packet.pts = pts;
        packet.decode_only = video && pts < epoch.splice;
        let from = self.edge.sound_from(packet.track.id, epoch.number, epoch.splice).filter(|_| !video);
        if from.is_some_and(|from| pts < from) {
            self.keep_primer(packet);
            return;
        }
        let primer = self.primers.iter().position(|p| p.track.id == packet.track.id);
        if let Some(mut primer) = primer.map(|i| self.primers.swap_remove(i))
            && self.edge.follow(&mut primer)
        {
            out.packets.push(primer);
        }
        if self.edge.follow(&mut packet) {
            out.packets.push(packet);
        }
    }

    fn keep_primer(&mut self, mut packet: Packet) {
        packet.decode_only = true;
        match self.primers.iter_mut().find(|p| p.track.id == packet.track.id) {
            Some(primer) => *primer = packet,
            None => self.primers.push(packet),
        }
    }

    fn switched(&mut self, from: Option<InputName>, to: Option<InputName>, at: Ts, how: How, out: &mut Output) {
        self.since = at;
        let How { gap, epoch, basis } = how;
        let switch = Switch { at, from, to, cause: self.cause, gap, epoch, basis };
        let kept = self.switches.len().saturating_sub(SWITCHES_KEPT - 1);
        self.switches = self.switches[kept..].iter().chain([&switch]).cloned().collect();
        out.switches.push(switch);
    }
}

#[cfg(test)]
mod tests;
