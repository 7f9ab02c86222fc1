//! One input as the core knows it: its clock, and what of it is held for a splice. Pure.

use crate::media::{Dur, Grid, Packet, TrackId, Ts};
use crate::select::clockmap::{ClockMap, Slots};
use crate::select::{BACKLOG_BYTES, Config, REACH_BACK};
use std::collections::VecDeque;

/// Sound that is muxed so far ahead of a key frame belongs to it.
const SOUND_AHEAD: Dur = Dur::from_millis(500);

#[derive(Debug)]
pub(super) struct Input {
    pub attached: bool,
    pub map: ClockMap,
    pub source_epoch: Option<u32>,
    /// The track that the clock is read from, and whether it is the picture: that, or the first sound.
    pub reference: Option<(TrackId, bool)>,
    /// Packets that are not on air, in the order of arrival.
    pub backlog: VecDeque<Packet>,
    bytes: usize,
    /// The map is anchored and everything since has been sent: the next packet simply goes on.
    pub live: bool,
    /// The picture on air: pts of one on the source's timeline, and how many it states per second.
    picture: Option<(Ts, Option<(u32, u32)>)>,
    /// How long a key frame stays what a splice may begin with although a newer one is there.
    keep: Dur,
}

impl Input {
    pub fn new(config: &Config) -> Input {
        Input {
            attached: false,
            map: ClockMap::new(config.clock),
            source_epoch: None,
            reference: None,
            backlog: VecDeque::new(),
            bytes: 0,
            live: false,
            picture: None,
            // A splice goes back to where the other input broke off, which is seen a timeout later; the packets of both
            // may differ by as much as the programme waits.
            keep: config.failover.loss_timeout + config.wait + Dur::from_millis(100),
        }
    }

    pub fn forget(&mut self) {
        self.backlog.clear();
        self.bytes = 0;
    }

    /// Takes out what is held.
    pub fn take_backlog(&mut self) -> VecDeque<Packet> {
        self.bytes = 0;
        std::mem::take(&mut self.backlog)
    }

    /// The programme begins with this packet of it, or its picture does.
    pub fn shows(&mut self, first: &Packet, frame: Option<Dur>) {
        self.picture = first.track.video().map(|v| (first.pts, v.rate()));
        self.rest(frame);
    }

    /// Lets the map rest where the picture on air falls on the output's slots, as far as both are known.
    pub fn rest(&mut self, frame: Option<Dur>) {
        if let Some((pts, rate)) = self.picture
            && let Some(slots) = slots(frame, rate)
        {
            self.map.rest_on(slots, pts);
        }
    }

    /// The programme cannot go on with the next packet.
    pub fn interrupt(&mut self) {
        self.live = false;
        self.map.release();
        self.forget();
    }

    /// Holds a packet for a splice.
    pub fn hold(&mut self, packet: &Packet, now: Ts) {
        self.bytes += packet.cost();
        self.backlog.push_back(packet.clone());
        self.expire(now);
    }

    /// Drops the pictures: the splice will be made with sound alone.
    pub fn forget_pictures(&mut self) {
        self.backlog.retain(|p| !p.track.is_video());
        self.bytes = self.backlog.iter().map(Packet::cost).sum();
    }

    /// Drops what no splice begins with any more.
    pub fn expire(&mut self, now: Ts) {
        let newest = self.backlog.iter().rposition(|p| p.key && now - p.arrival > self.keep);
        if let Some(newest) = newest.filter(|&i| i > 0) {
            let from = self.backlog[newest].dts - SOUND_AHEAD;
            let mut place = 0;
            self.backlog.retain(|p| {
                place += 1;
                place > newest || (!p.track.is_video() && p.dts >= from)
            });
            self.bytes = self.backlog.iter().map(Packet::cost).sum();
        }
        while self.bytes > BACKLOG_BYTES || self.backlog.front().is_some_and(|p| now - p.arrival > REACH_BACK) {
            self.bytes -= self.backlog.pop_front().map_or(self.bytes, |p| p.cost());
        }
    }
}

/// The output's slots as a source of so many pictures per second sees them. Before the output's frame is known it is taken
/// for what the source states, since that is what the output is made after.
pub(super) fn slots(frame: Option<Dur>, rate: Option<(u32, u32)>) -> Option<Slots> {
    let frame = frame.or(rate.map(|(n, d)| Grid::for_source(n, d).frame()));
    frame.map(|frame| Slots::new(frame, rate))
}
