//! What one player gets: units of a stream, in its own time, with its own numbers.
//!
//! Units are packetized once per stream ([`Unit`]) and shared. A player that joins, switches or falls behind goes on with a
//! key frame; its numbers and timestamps go on without a gap.

use super::outgoing::{Outgoing, Plain};
use crate::media::{Dur, Ts};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Media time that waits for a slow peer before the picture is skipped to a key frame.
pub const MAX_QUEUED_TIME: Dur = Dur::from_millis(700);

/// The same in bytes: two key frames of 2160p.
pub const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Packets of sound that wait: half a second.
const MAX_QUEUED_SOUND: usize = 25;

/// Packets of a picture that go out at once; what is left waits for the next [`TICK`]. 16 in 5 ms are 30 Mbps: a picture
/// of 4 Mbps goes out at once, a key frame in some ticks, and neither overruns a home router's queue.
const BURST: usize = 16;

/// See [`BURST`].
const TICK: Dur = Dur::from_millis(5);

/// A step of the timeline that is another timeline.
const MAX_STEP: Dur = Dur::from_secs(2);

/// An access unit, packetized for everybody.
#[derive(Debug)]
pub struct Unit {
    /// A picture, not sound.
    pub video: bool,
    /// Decoding can begin here.
    pub key: bool,
    /// When it is shown.
    pub pts: Ts,
    /// RTP payloads in order.
    pub payloads: Vec<Bytes>,
    /// Bytes of all payloads.
    pub bytes: usize,
}

/// One player's side of a source.
pub struct Player {
    sound: Option<Outgoing>,
    picture: Option<Outgoing>,
    /// With their places on the peer's timeline.
    sounds: VecDeque<(Ts, Arc<Unit>)>,
    pictures: VecDeque<(Ts, Arc<Unit>)>,
    queued: usize,
    /// Payloads of the front picture that are out.
    sent: usize,
    /// Pictures are left out until one that decoding can begin with.
    seek_key: bool,
    /// What the source's timeline is to be moved by, so that the peer's goes on.
    shift: Dur,
    /// On the peer's timeline: the newest sound, the newest picture, and when either was queued.
    last_sound: Option<Ts>,
    last_picture: Option<Ts>,
    last_queued: Ts,
    /// The peer's timeline less the daemon's clock, for its reports.
    ahead: Option<Dur>,
    /// A new source is expected: what lies before the newest is left out.
    switched: bool,
    next: Ts,
    dropped: u64,
}

impl Player {
    /// With what was negotiated.
    pub fn new(sound: Option<Outgoing>, picture: Option<Outgoing>) -> Player {
        Player {
            sound,
            picture,
            sounds: VecDeque::new(),
            pictures: VecDeque::new(),
            queued: 0,
            sent: 0,
            seek_key: true,
            shift: Dur::ZERO,
            last_sound: None,
            last_picture: None,
            last_queued: Ts::ZERO,
            ahead: None,
            switched: false,
            next: Ts::ZERO,
            dropped: 0,
        }
    }

    /// The stream of sound.
    pub fn sound(&mut self) -> Option<&mut Outgoing> {
        self.sound.as_mut()
    }

    /// The stream of the picture.
    pub fn picture(&mut self) -> Option<&mut Outgoing> {
        self.picture.as_mut()
    }

    /// Packets' worth of media that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it waits for a key frame.
    pub fn seeks_key(&self) -> bool {
        self.picture.is_some() && self.seek_key
    }

    /// `now` on the peer's timeline: the same for sound and picture.
    pub fn shown(&self, now: Ts) -> Ts {
        now + self.ahead.unwrap_or(Dur::ZERO)
    }

    /// Another source follows. What waits of the one before is dropped; `picture` says whether the picture changes too.
    pub fn switch(&mut self, picture: bool) {
        self.switched = true;
        self.sounds.clear();
        if picture {
            self.skip_to_key();
        }
    }

    /// Units were missed: goes on at a key frame.
    pub fn lag(&mut self) {
        self.skip_to_key();
    }

    fn skip_to_key(&mut self) {
        let waiting: usize = self.pictures.iter().map(|(_, u)| u.payloads.len()).sum();
        self.dropped += waiting.saturating_sub(self.sent) as u64;
        self.pictures.clear();
        (self.queued, self.sent, self.seek_key) = (0, 0, true);
    }

    /// The unit's place on the peer's timeline; none where it lies before what the peer already has.
    fn place(&mut self, unit: &Unit, now: Ts) -> Option<Ts> {
        let newest = self.last_sound.max(self.last_picture);
        if let Some(newest) = newest {
            let due = newest + (now - self.last_queued).max(Dur::ZERO);
            if (unit.pts + self.shift - due).abs() > MAX_STEP {
                // Another timeline, or a jump: it goes on where the one before would be by now, for all tracks.
                self.shift = due + Dur::from_millis(1) - unit.pts;
            }
        }
        let at = unit.pts + self.shift;
        if self.ahead.is_none_or(|ahead| (at - now - ahead).abs() > MAX_STEP) {
            self.ahead = Some(at - now);
        }
        let own = if unit.video { self.last_picture } else { self.last_sound };
        let overlap = own.is_some_and(|own| at <= own);
        // Pictures may be reordered; sound is not, and after a switch neither goes back.
        if overlap && (!unit.video || self.switched) {
            return None;
        }
        Some(at)
    }

    /// Takes a unit. True where a key frame is to be asked for.
    pub fn push(&mut self, unit: &Arc<Unit>, now: Ts) -> bool {
        if unit.video {
            if self.picture.is_none() || (self.seek_key && !unit.key) {
                return self.picture.is_some() && self.seek_key;
            }
            let Some(at) = self.place(unit, now) else {
                // Its successors refer to it.
                self.seek_key = true;
                return true;
            };
            if self.overfull(unit) {
                self.skip_to_key();
                if !unit.key {
                    self.dropped += unit.payloads.len() as u64;
                    return true;
                }
            }
            (self.seek_key, self.switched) = (false, false);
            self.last_picture = self.last_picture.max(Some(at));
            self.last_queued = now;
            self.queued += unit.bytes;
            self.pictures.push_back((at, unit.clone()));
        } else if self.sound.is_some() {
            let Some(at) = self.place(unit, now) else { return false };
            if self.picture.is_none() {
                self.switched = false;
            }
            if self.sounds.len() >= MAX_QUEUED_SOUND {
                self.sounds.pop_front();
                self.dropped += 1;
            }
            self.last_sound = Some(at);
            self.last_queued = now;
            self.sounds.push_back((at, unit.clone()));
        }
        false
    }

    fn overfull(&self, next: &Unit) -> bool {
        let waits = self.pictures.front().map_or(Dur::ZERO, |(_, front)| next.pts - front.pts);
        !self.pictures.is_empty() && (waits > MAX_QUEUED_TIME || self.queued + next.bytes > MAX_QUEUED_BYTES)
    }

    /// The packets that go out now, sound first.
    pub fn poll(&mut self, now: Ts, mut send: impl FnMut(Plain)) {
        if let Some(out) = &mut self.sound {
            for (at, unit) in self.sounds.drain(..) {
                for payload in &unit.payloads {
                    send(out.packet(at, false, payload));
                }
            }
        }
        let Some(out) = &mut self.picture else { return };
        if now < self.next {
            return;
        }
        let mut left = BURST;
        while left > 0
            && let Some((at, unit)) = self.pictures.front()
        {
            while left > 0
                && let Some(payload) = unit.payloads.get(self.sent)
            {
                self.sent += 1;
                left -= 1;
                send(out.packet(*at, self.sent == unit.payloads.len(), payload));
            }
            if self.sent >= unit.payloads.len() {
                self.queued = self.queued.saturating_sub(unit.bytes);
                self.sent = 0;
                self.pictures.pop_front();
            }
        }
        if left == 0 {
            self.next = now + TICK;
        }
    }

    /// When [`Player::poll`] has more.
    pub fn poll_timeout(&self) -> Option<Ts> {
        (!self.pictures.is_empty()).then_some(self.next)
    }

    /// Whether anything waits.
    pub fn is_idle(&self) -> bool {
        self.pictures.is_empty() && self.sounds.is_empty()
    }
}
