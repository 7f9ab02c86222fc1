//! The selector without its task: packets and times in, packets and switches out. No IO, no clock.

use super::clockmap::ClockMap;
use super::policy::{Cause, Failover, Heard};
use super::splice::{Edge, MAX_SHIFT, MAX_SHIFT_OF_OLD};
use super::{BACKLOG_BYTES, Config, REACH_BACK, SWITCHES_KEPT, State, Switch};
use crate::media::{Dur, InputName, Packet, TrackId, Ts};
use std::collections::VecDeque;
use std::sync::Arc;

/// An input that cannot be entered because it is behind what is on air is entered with a gap after this long.
const PATIENCE: Dur = Dur::from_secs(10);

/// A key frame younger than this has just come: it only waited for its input's clock to settle.
const FRESH: Dur = Dur::from_millis(300);

/// What happened.
#[derive(Debug, Default)]
pub struct Output {
    /// Programme packets on the event timeline, in order.
    pub packets: Vec<Packet>,
    /// Changes of the active input, in order.
    pub switches: Vec<Switch>,
}

#[derive(Debug)]
struct Input {
    attached: bool,
    map: ClockMap,
    source_epoch: Option<u32>,
    /// The track that the clock is read from, and whether it is the picture: that, or the first sound.
    reference: Option<(TrackId, bool)>,
    /// Packets since the newest key frame, which stands first.
    backlog: VecDeque<Packet>,
    backlog_bytes: usize,
    /// The map is anchored and everything since has been sent: the next packet simply goes on.
    live: bool,
}

impl Input {
    fn new(config: &Config) -> Input {
        Input {
            attached: false,
            map: ClockMap::new(config.clock),
            source_epoch: None,
            reference: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            live: false,
        }
    }

    fn forget(&mut self) {
        self.backlog.clear();
        self.backlog_bytes = 0;
    }

    /// The programme cannot go on with the next packet.
    fn interrupt(&mut self) {
        self.live = false;
        self.map.release();
        self.forget();
    }

    /// Holds a packet for a splice. Sound that is muxed ahead of its key frame stays.
    fn hold(&mut self, packet: &Packet, now: Ts) {
        if packet.key {
            self.backlog.retain(|p| !p.track.is_video() && p.dts >= packet.dts);
            self.backlog.push_front(packet.clone());
            self.backlog_bytes = self.backlog.iter().map(Packet::cost).sum();
        } else if self.backlog.front().is_some_and(|p| p.key) || !packet.track.is_video() {
            self.backlog.push_back(packet.clone());
            self.backlog_bytes += packet.cost();
        }
        self.expire(now);
    }

    fn expire(&mut self, now: Ts) {
        // Without its key frame the rest is of no use; sound alone just keeps the newest.
        while self.backlog_bytes > BACKLOG_BYTES || self.backlog.front().is_some_and(|p| now - p.arrival > REACH_BACK) {
            match self.backlog.pop_front() {
                Some(p) if p.key => self.forget(),
                Some(p) => self.backlog_bytes -= p.cost(),
                None => self.backlog_bytes = 0,
            }
        }
    }
}

/// The programme's current epoch.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    number: u32,
    /// Whether it began with a picture.
    picture: bool,
    /// The first packet's pts on the source's timeline: pictures before it belong to the GOP before.
    source_pts: Ts,
    /// The same on the event timeline: sound before it is dropped.
    pts: Ts,
}

/// See the module's text.
#[derive(Debug)]
pub struct Core {
    config: Config,
    failover: Failover,
    inputs: [Input; 2],
    on_air: Option<InputName>,
    since: Ts,
    epoch: Option<Epoch>,
    edge: Edge,
    /// Why the target is not yet on air.
    cause: Cause,
    /// Since when the target waits to be entered.
    waiting: Option<Ts>,
    switches: Arc<[Switch]>,
}

const fn index(input: InputName) -> usize {
    match input {
        InputName::Main => 0,
        InputName::Backup => 1,
    }
}

impl Core {
    /// Nothing is attached.
    pub fn new(config: Config, now: Ts) -> Core {
        Core {
            failover: Failover::new(config.failover),
            inputs: [Input::new(&config), Input::new(&config)],
            config,
            on_air: None,
            since: now,
            epoch: None,
            edge: Edge::default(),
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
        }
    }

    /// The clock error of an input on air, for metrics.
    pub fn clock_error(&self, input: InputName) -> Option<Dur> {
        self.inputs[index(input)].map.error()
    }

    /// When [`Core::tick`] is due if nothing arrives.
    pub fn deadline(&self) -> Option<Ts> {
        let settles = self.candidate().and_then(|i| {
            let input = &self.inputs[index(i)];
            (!input.backlog.is_empty()).then(|| input.map.settles_at()).flatten()
        });
        let settles = settles.filter(|&at| at > self.failover.now());
        self.failover.deadline().into_iter().chain(settles).min()
    }

    /// A publisher has come; one that was there before has been replaced.
    pub fn attach(&mut self, name: InputName, now: Ts, out: &mut Output) {
        if self.inputs[index(name)].attached {
            self.detach(name, now, out);
        }
        self.inputs[index(name)].attached = true;
        self.failover.attached(name);
    }

    /// The publisher is gone.
    pub fn detach(&mut self, name: InputName, now: Ts, out: &mut Output) {
        self.inputs[index(name)] = Input::new(&self.config);
        self.failover.detached(name);
        self.decide(now, out);
    }

    /// A person chooses an input, or, with none, the automation.
    pub fn choose(&mut self, input: Option<InputName>, now: Ts, out: &mut Output) {
        self.failover.choose(input);
        self.tick(now, out);
    }

    /// Packets of the input were missed.
    pub fn lagged(&mut self, name: InputName, now: Ts, out: &mut Output) {
        if !self.inputs[index(name)].attached {
            return;
        }
        self.inputs[index(name)].interrupt();
        self.failover.broken(name, now);
        self.decide(now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Ts, out: &mut Output) {
        self.decide(now, out);
        self.enter_candidate(None, now, out);
    }

    /// A packet of an input, in the order of arrival.
    pub fn packet(&mut self, name: InputName, packet: &Packet, out: &mut Output) {
        let now = packet.arrival;
        let video = packet.track.is_video();
        let input = &mut self.inputs[index(name)];
        if !input.attached {
            return;
        }
        if input.source_epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch) {
            input.interrupt();
            input.map.reset();
            input.reference = None;
            self.failover.broken(name, now);
        }
        let input = &mut self.inputs[index(name)];
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
        self.decide(now, out);

        if self.inputs[index(name)].live && self.failover.target() == Some(name) && self.on_air.is_none() {
            self.resume(name, packet, now, out);
        }
        if self.inputs[index(name)].live && self.on_air == Some(name) {
            let begins_picture = packet.key && self.epoch.is_some_and(|e| !e.picture);
            if begins_picture {
                self.add_picture(name, packet);
            }
            self.send(name, packet.clone(), out);
            return;
        }
        let input = &mut self.inputs[index(name)];
        if video || input.reference == Some((packet.track.id, false)) {
            // A picture that is not sent is missing from then on.
            input.live = false;
        }
        input.hold(packet, now);
        self.enter_candidate(Some(name), now, out);
    }

    /// Which input waits to be entered.
    fn candidate(&self) -> Option<InputName> {
        self.failover.target().filter(|&i| !(self.on_air == Some(i) && self.inputs[index(i)].live))
    }

    fn decide(&mut self, now: Ts, out: &mut Output) {
        while let Some(decision) = self.failover.poll(now) {
            self.waiting = Some(now);
            self.cause = decision.cause;
            if decision.to.is_none() {
                let from = self.on_air.take();
                self.failover.entered(None);
                if from.is_some() {
                    self.switched(from, None, now, None, None, out);
                }
            }
        }
    }

    /// An input that fell silent goes on where it was: nothing is missing.
    fn resume(&mut self, name: InputName, packet: &Packet, now: Ts, out: &mut Output) {
        let dts = self.inputs[index(name)].map.map(packet.dts);
        let gap = dts.and_then(|dts| self.edge.gap(packet.track.id, dts));
        self.on_air = Some(name);
        self.waiting = None;
        self.failover.entered(Some(name));
        self.switched(None, Some(name), now, gap, None, out);
    }

    /// Begins the programme's next epoch with the input that is waited for, if it can be entered.
    fn enter_candidate(&mut self, heard: Option<InputName>, now: Ts, out: &mut Output) {
        let Some(name) = self.candidate() else { return };
        if heard.is_some_and(|h| h != name) {
            return;
        }
        let sound_only = self.failover.sound_only(name, now);
        let input = &mut self.inputs[index(name)];
        input.expire(now);
        if sound_only {
            // Pictures that stopped long ago are not what one begins with, nor what tells the time.
            input.backlog.retain(|p| !p.track.is_video());
            input.backlog_bytes = input.backlog.iter().map(Packet::cost).sum();
        }
        let stale = sound_only && input.reference.is_some_and(|(_, video)| video);
        if stale || !input.map.settled(now) {
            return;
        }
        let Some(first) = input.backlog.front().filter(|p| p.key || sound_only) else { return };
        let most = if now - first.arrival <= FRESH { MAX_SHIFT } else { MAX_SHIFT_OF_OLD };
        let (dts, pts, plan) = loop {
            let input = &mut self.inputs[index(name)];
            let Some(first) = input.backlog.front() else { return };
            let (Some(dts), Some(pts)) = (input.map.preview(first.dts), input.map.preview(first.pts)) else { return };
            match self.edge.plan(first.track.id, dts, pts, most) {
                Ok(plan) => break (dts, pts, plan),
                // Sound can begin anywhere.
                Err(_) if sound_only => drop(input.backlog.pop_front()),
                Err(_) => {
                    // It would always be behind what is on air: what is on air must stop for it.
                    if self.waiting.is_some_and(|since| now - since > PATIENCE)
                        && let Some(active) = self.on_air.filter(|&active| active != name)
                    {
                        self.inputs[index(active)].interrupt();
                    }
                    return;
                }
            }
        };
        for other in InputName::ALL.into_iter().filter(|&i| i != name) {
            let other = &mut self.inputs[index(other)];
            other.live = false;
            other.map.release();
        }
        let input = &mut self.inputs[index(name)];
        let backlog = std::mem::take(&mut input.backlog);
        let Some(first) = backlog.front() else { return };
        input.map.anchor(first.dts, dts + plan.shift);
        input.live = true;
        input.forget();
        let number = self.epoch.map_or(0, |e| e.number.wrapping_add(1));
        let pts = pts + plan.shift;
        self.epoch = Some(Epoch { number, picture: first.key, source_pts: first.pts, pts });
        self.waiting = None;
        let from = self.on_air.replace(name);
        self.failover.entered(Some(name));
        if from != Some(name) {
            self.switched(from, Some(name), now, plan.gap, Some(number), out);
        }
        for packet in backlog {
            self.send(name, packet, out);
        }
    }

    /// The picture joins a sound that is on air: a new epoch by the same clock.
    fn add_picture(&mut self, name: InputName, key: &Packet) {
        let input = &mut self.inputs[index(name)];
        let (Some(dts), Some(pts)) = (input.map.map(key.dts), input.map.map(key.pts)) else { return };
        // What an earlier epoch showed ends before this: else the picture waits for the next key frame.
        if self.edge.plan(key.track.id, dts, pts, Dur::ZERO).is_ok()
            && let Some(epoch) = &mut self.epoch
        {
            *epoch = Epoch { number: epoch.number.wrapping_add(1), picture: true, source_pts: key.pts, pts };
        }
    }

    /// Maps a packet of the input on air and sends it.
    fn send(&mut self, name: InputName, mut packet: Packet, out: &mut Output) {
        let Some(epoch) = self.epoch else { return };
        let video = packet.track.is_video();
        if video && (!epoch.picture || packet.pts < epoch.source_pts) {
            return;
        }
        let input = &mut self.inputs[index(name)];
        let (Some(dts), Some(pts)) = (input.map.map(packet.dts), input.map.map(packet.pts)) else { return };
        if !video && pts < epoch.pts {
            return;
        }
        packet.epoch = epoch.number;
        packet.dts = dts;
        packet.pts = pts;
        packet.decode_only = false;
        if self.edge.follow(&mut packet) {
            out.packets.push(packet);
        }
    }

    fn switched(
        &mut self,
        from: Option<InputName>,
        to: Option<InputName>,
        at: Ts,
        gap: Option<Dur>,
        epoch: Option<u32>,
        out: &mut Output,
    ) {
        self.since = at;
        let switch = Switch { at, from, to, cause: self.cause, gap, epoch };
        let kept = self.switches.len().saturating_sub(SWITCHES_KEPT - 1);
        self.switches = self.switches[kept..].iter().chain([&switch]).cloned().collect();
        out.switches.push(switch);
    }
}

#[cfg(test)]
mod tests;
