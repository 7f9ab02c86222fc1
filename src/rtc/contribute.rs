//! What a peer sends: packets put in order, asked for again where they are missing, access units, one clock.
//!
//! **Bound.** [`MAX_HELD`] packets per track, each for [`PATIENCE`]; then what is missing is given up, the picture waits
//! for a key frame and asks for it.

use super::MediaSink;
use super::negotiate::{Picture, Sound};
use crate::media::{Dur, Ts};
use crate::wire::rtp::h264::{Broken, Depacketizer};
use crate::wire::rtp::receive::{Place, Reception};
use crate::wire::rtp::rtcp::{Compound, Report};
use crate::wire::rtp::{Header, Unwrap, rtx};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Packets that wait for one that is missing: half a second at 20 Mbps.
const MAX_HELD: usize = 1024;

/// How long what is missing is waited for: several round trips of a usual way, less than a programme delay.
const PATIENCE: Dur = Dur::from_millis(400);

/// The same for sound, which is not asked for again.
const SOUND_PATIENCE: Dur = Dur::from_millis(60);

/// Packets that are merely out of order come within this; then the missing is asked for.
const REORDER: Dur = Dur::from_millis(10);

/// How long the first packet waits for those before it.
const START: Dur = Dur::from_millis(20);

/// A packet is asked for so many times.
const ASKS: u8 = 8;

/// The least time between two requests for one packet, or for a key frame.
const ASK_INTERVAL: Dur = Dur::from_millis(30);
const KEY_FRAME_INTERVAL: Dur = Dur::from_millis(500);

/// Clocks of sound and picture are put together anew when they are found to be so far apart, on average. Some senders
/// report the timestamp of their newest packet as that of now, which is wrong by up to a frame.
const RESYNC: Dur = Dur::from_millis(30);

/// Reports that the average is taken over.
const RESYNC_REPORTS: i64 = 3;

/// A packet that waits for its turn.
struct Held {
    timestamp: i64,
    marker: bool,
    payload: Bytes,
    arrival: Ts,
}

struct Missing {
    since: Ts,
    asked: Ts,
    asks: u8,
}

/// Packets of one track in their order.
struct Order {
    next: Option<i64>,
    held: BTreeMap<i64, Held>,
    missing: BTreeMap<i64, Missing>,
    patience: Dur,
    /// When the first came, until one was passed on: those before it may still be on their way.
    begun: Option<Ts>,
    passed: bool,
}

enum Turn {
    Packet(Held),
    /// Some were given up before the next.
    Lost,
}

impl Order {
    fn new(patience: Dur) -> Order {
        Order { next: None, held: BTreeMap::new(), missing: BTreeMap::new(), patience, begun: None, passed: false }
    }

    fn push(&mut self, sequence: i64, packet: Held, now: Ts) {
        let mut next = *self.next.get_or_insert(sequence);
        self.begun.get_or_insert(now);
        if !self.passed && sequence < next && next - sequence < MAX_HELD as i64 {
            for s in sequence + 1..next {
                self.missing.entry(s).or_insert(Missing { since: now, asked: Ts::ZERO, asks: 0 });
            }
            self.next = Some(sequence);
            next = sequence;
        }
        self.missing.remove(&sequence);
        if sequence < next || self.held.contains_key(&sequence) {
            return;
        }
        let newest = self.held.keys().next_back().map_or(next, |k| k + 1);
        let gap = sequence - newest;
        if gap > 0 && gap < MAX_HELD as i64 {
            for s in newest..sequence {
                self.missing.entry(s).or_insert(Missing { since: now, asked: Ts::ZERO, asks: 0 });
            }
        }
        self.held.insert(sequence, packet);
    }

    /// The next in order, or what is said in its place.
    fn pop(&mut self, now: Ts) -> Option<Turn> {
        let next = self.next?;
        if !self.passed && self.begun.is_some_and(|begun| now - begun < START) {
            return None;
        }
        self.passed = true;
        let (&first, oldest) = self.held.first_key_value()?;
        if first != next {
            let since = self.missing.first_key_value().map_or(oldest.arrival, |(_, m)| m.since);
            if now - since < self.patience && self.held.len() < MAX_HELD {
                return None;
            }
            self.next = Some(first);
            self.missing = self.missing.split_off(&first);
            return Some(Turn::Lost);
        }
        self.next = Some(next + 1);
        self.held.pop_first().map(|(_, p)| Turn::Packet(p))
    }

    /// What is to be asked for again now.
    fn asks(&mut self, now: Ts, rtt: Dur) -> Vec<u16> {
        let interval = rtt.max(ASK_INTERVAL);
        let due = |m: &Missing| now - m.since >= REORDER && now - m.asked >= interval && m.asks < ASKS;
        let mut found = Vec::new();
        for (sequence, missing) in self.missing.iter_mut().filter(|(_, m)| due(m)).take(128) {
            missing.asked = now;
            missing.asks += 1;
            found.push(*sequence as u16);
        }
        found
    }

    fn timeout(&self, rtt: Dur) -> Option<Ts> {
        let interval = rtt.max(ASK_INTERVAL);
        let ask = self.missing.values().filter(|m| m.asks < ASKS);
        let ask = ask.map(|m| (m.since + REORDER).max(m.asked + interval)).min();
        let give_up = self.missing.values().next().map(|m| m.since + self.patience);
        let start = self.begun.filter(|_| !self.passed).map(|begun| begun + START);
        [ask, give_up, start].into_iter().flatten().min()
    }
}

/// One track's clock, on the way to the sender's.
struct TrackClock {
    rate: u32,
    /// What is added to the timestamp.
    offset: Option<Ts>,
    newest: i64,
    /// How far off its reports say it is: their sum and their number.
    error: (Dur, i64),
}

impl TrackClock {
    fn new(rate: u32) -> TrackClock {
        TrackClock { rate, offset: None, newest: 0, error: (Dur::ZERO, 0) }
    }

    fn at(&mut self, timestamp: i64, arrival: Ts) -> Ts {
        self.newest = timestamp;
        let media = Dur::from_scale(timestamp, self.rate);
        // Until the sender says more, the first packet is taken to have come at once.
        *self.offset.get_or_insert(arrival - media) + media
    }
}

/// The clock that the sender's tracks share: its NTP time, less a constant.
#[derive(Default)]
struct SenderClock {
    base: Option<Dur>,
}

impl SenderClock {
    /// A sender report ties a track's timestamps to the sender's clock.
    fn tie(&mut self, track: &mut TrackClock, ntp: u64, rtp: u32) {
        let Some(offset) = track.offset else { return };
        let mut near = Unwrap::<32>::default();
        near.unwrap(track.newest as u32);
        let timestamp = track.newest + (near.unwrap(rtp) - i64::from(track.newest as u32));
        let media = Dur::from_scale(timestamp, track.rate);
        let sender = Dur::from_secs((ntp >> 32) as i64) + Dur::from_scale((ntp & 0xffff_ffff) as i64, u32::MAX);
        let shown = offset + media - Ts::ZERO;
        let base = *self.base.get_or_insert(sender - shown);
        let error = (sender - base) - shown;
        // A sender whose clock was set has begun anew; its timestamps have not.
        if error.abs() > Dur::from_secs(10) {
            self.base = Some(sender - shown);
            return;
        }
        track.error = (track.error.0 + error, track.error.1 + 1);
        let (sum, count) = track.error;
        if count >= RESYNC_REPORTS {
            track.error = (Dur::ZERO, 0);
            if (sum / count).abs() > RESYNC {
                track.offset = Some(offset + sum / count);
            }
        }
    }
}

struct Track {
    payload: u8,
    source: Option<u32>,
    reception: Reception,
    order: Order,
    clock: TrackClock,
    /// The newest sender report's middle bits, and when it came.
    report: Option<(u32, Ts)>,
}

impl Track {
    fn new(payload: u8, rate: u32, patience: Dur) -> Track {
        let (reception, order, clock) = (Reception::new(rate), Order::new(patience), TrackClock::new(rate));
        Track { payload, source: None, reception, order, clock, report: None }
    }

    fn report(&mut self, now: Ts) -> Option<Report> {
        let ssrc = self.source?;
        let figures = self.reception.report();
        let (last_report, delay) =
            self.report.map_or((0, 0), |(middle, at)| (middle, (now - at).max(Dur::ZERO).to_scale(65_536) as u32));
        Some(Report {
            ssrc,
            fraction: figures.fraction,
            lost: figures.lost,
            highest: figures.highest,
            jitter: figures.jitter,
            last_report,
            delay,
        })
    }
}

/// The receiving side of a session: a voice's sound, or sound and picture of a contribution.
pub struct Incoming {
    sound: Option<Track>,
    picture: Option<Track>,
    rtx: Option<u8>,
    depacketizer: Depacketizer,
    clock: SenderClock,
    seek_key: bool,
    asked_key: Ts,
    /// Asked for again, and key frames asked for: by us.
    pub asked: u64,
}

/// Where what came goes.
pub enum Sink<'a> {
    /// A voice's packets, as they come.
    Voice(&'a dyn super::VoiceSink),
    /// A contribution.
    Media(&'a mut dyn MediaSink),
    /// Nowhere: only the figures count.
    Count,
}

impl Incoming {
    /// With what was negotiated to be received.
    pub fn new(sound: Option<&Sound>, picture: Option<&Picture>) -> Incoming {
        let sound = sound.filter(|s| s.receive).map(|s| Track::new(s.payload, 48_000, SOUND_PATIENCE));
        let rtx = picture.and_then(|p| p.rtx);
        let picture = picture.filter(|p| p.receive).map(|p| Track::new(p.payload, 90_000, PATIENCE));
        Incoming {
            sound,
            picture,
            rtx,
            depacketizer: Depacketizer::default(),
            clock: SenderClock::default(),
            seek_key: true,
            asked_key: Ts::ZERO,
            asked: 0,
        }
    }

    /// A packet, decrypted.
    pub fn packet(&mut self, header: &Header, payload: Bytes, now: Ts, sink: &mut Sink<'_>) {
        if let Some(sound) = self.sound.as_mut().filter(|s| s.payload == header.payload) {
            let place = take(sound, header, payload.len(), now);
            // Packets of padding alone probe the way (RFC 3550 §5.1).
            if place.duplicate || payload.is_empty() {
                return;
            }
            match sink {
                Sink::Voice(voice) => voice.packet(place.sequence, place.timestamp, now, payload),
                Sink::Media(_) => {
                    let held = Held { timestamp: place.timestamp, marker: header.marker, payload, arrival: now };
                    sound.order.push(place.sequence, held, now);
                }
                Sink::Count => {}
            }
        } else if let Some(picture) = self.picture.as_mut() {
            let (header, payload, again) = if self.rtx == Some(header.payload) {
                let Some((sequence, original)) = rtx::parse(&payload) else { return };
                let Some(source) = picture.source else { return };
                let header = Header { sequence, payload: picture.payload, ssrc: source, ..*header };
                (header, payload.slice_ref(original), true)
            } else if header.payload == picture.payload {
                (*header, payload, false)
            } else {
                return;
            };
            let place = if again {
                // A retransmission says nothing of jitter and loss.
                let place = picture.reception.place(header.sequence, header.timestamp);
                Place { sequence: place.0, timestamp: place.1, duplicate: false, skipped: 0 }
            } else {
                take(picture, &header, payload.len(), now)
            };
            if place.duplicate {
                return;
            }
            let held = Held { timestamp: place.timestamp, marker: header.marker, payload, arrival: now };
            picture.order.push(place.sequence, held, now);
        }
        self.release(now, sink);
    }

    /// Passes on what is in order, and gives up what did not come.
    pub fn release(&mut self, now: Ts, sink: &mut Sink<'_>) {
        let Sink::Media(sink) = sink else { return };
        if let Some(sound) = &mut self.sound {
            while let Some(turn) = sound.order.pop(now) {
                if let Turn::Packet(held) = turn {
                    let at = sound.clock.at(held.timestamp, held.arrival);
                    sink.audio(at, held.payload, held.arrival);
                }
            }
        }
        let Some(picture) = &mut self.picture else { return };
        while let Some(turn) = picture.order.pop(now) {
            let held = match turn {
                Turn::Lost => {
                    self.depacketizer.lost();
                    self.seek_key = true;
                    continue;
                }
                Turn::Packet(held) if held.payload.is_empty() => continue,
                Turn::Packet(held) => held,
            };
            for unit in self.depacketizer.push(held.timestamp, held.marker, &held.payload) {
                match unit {
                    Err(Broken) => self.seek_key = true,
                    Ok(unit) if self.seek_key && !unit.key => {}
                    Ok(unit) => {
                        self.seek_key = false;
                        let at = picture.clock.at(unit.timestamp, held.arrival);
                        sink.video(at, unit.key, unit.data, held.arrival);
                    }
                }
            }
        }
    }

    /// A sender report came.
    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp: u32, now: Ts) {
        for track in [&mut self.sound, &mut self.picture].into_iter().flatten() {
            if track.source == Some(ssrc) {
                track.report = Some(((ntp >> 16) as u32, now));
                self.clock.tie(&mut track.clock, ntp, rtp);
            }
        }
    }

    /// Adds what is to be asked for now.
    pub fn feedback(&mut self, out: &mut Compound, own: u32, rtt: Dur, now: Ts) {
        let Some(picture) = &mut self.picture else { return };
        let Some(source) = picture.source else { return };
        let asks = picture.order.asks(now, rtt);
        if !asks.is_empty() {
            self.asked += asks.len() as u64;
            out.nack(own, source, &asks);
        }
        if self.seek_key && now - self.asked_key >= KEY_FRAME_INTERVAL {
            self.asked_key = now;
            self.asked += 1;
            out.pli(own, source);
        }
    }

    /// Reception reports on what comes.
    pub fn reports(&mut self, now: Ts) -> Vec<Report> {
        let tracks = [&mut self.sound, &mut self.picture];
        tracks.into_iter().flatten().filter_map(|t| t.report(now)).collect()
    }

    /// When [`Incoming::release`] or [`Incoming::feedback`] have more to do.
    pub fn poll_timeout(&self, rtt: Dur) -> Option<Ts> {
        let orders = [&self.sound, &self.picture].into_iter().flatten().filter_map(|t| t.order.timeout(rtt));
        let wanted = self.seek_key && self.picture.as_ref().is_some_and(|p| p.source.is_some());
        orders.chain(wanted.then(|| self.asked_key + KEY_FRAME_INTERVAL)).min()
    }

    /// Share lost since asked last, jitter, packets, bytes, and packets lost in all: of sound where there is some, the
    /// counts of both.
    pub fn figures(&mut self) -> (Option<f64>, Option<Dur>, u64, u64, u64) {
        let mut all = (None, None, 0, 0, 0);
        for track in [&mut self.sound, &mut self.picture].into_iter().flatten() {
            if track.source.is_some() {
                let loss = track.reception.loss();
                all.0 = all.0.or(loss);
                all.1 = all.1.or(Some(track.reception.jitter()));
            }
            all.2 += track.reception.received();
            all.3 += track.reception.bytes();
            all.4 += track.reception.lost();
        }
        all
    }
}

fn take(track: &mut Track, header: &Header, bytes: usize, now: Ts) -> Place {
    if track.source != Some(header.ssrc) {
        // The first, or a sender that began anew under another source.
        track.source = Some(header.ssrc);
        track.reception = Reception::new(track.clock.rate);
        track.order = Order::new(track.order.patience);
        track.clock = TrackClock::new(track.clock.rate);
        track.report = None;
    }
    track.reception.packet(header.sequence, header.timestamp, bytes, now)
}
