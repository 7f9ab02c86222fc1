//! The rooms' picture: without B-frames, without the programme delay, only while somebody looks.
//!
//! **Data flow.** [`RoomInput`] → a decoder of its own → canvas of the room's size → x264 without look-ahead → the rooms' way
//! out, each picture as soon as it is decoded, in the order of showing whatever the source's B-frames.
//!
//! **Why a second decoder.** The programme decodes a picture just before its slot is due, a programme delay after it came;
//! waiting with a switch of inputs, what a restart makes up for and what an overloaded machine leaves out all hang on that.
//! Decoding at arrival for both would hold raw pictures for the programme delay (60 MB for 0.75 s of 1080p25) and change
//! these rules; a second decoder changes nothing for viewers, and costs (measured: 8 to 13 ms of CPU per 1080p picture of
//! 6 Mbps, a quarter of that at 360p) only while a room looks. The ladder's share is 40 ms per picture.
//!
//! **Beginning.** While nobody looks the current GOP is kept, encoded, so that the picture is there as soon as it is wanted.
//! **Bounds.** [`INPUT_BYTES`] and [`INPUT_UNITS`]; a full input is dropped up to a key frame. What is [`TOO_LATE`] is
//! decoded and not encoded.
//! **No input.** The last picture stands, encoded again twice a second so that who joins sees it; then the slate.

use super::av::{Fit, Frame, PictureDecoder, PictureEncoder};
use super::slate;
use super::stage::{Shared, Stage};
use super::threads::spawn;
use crate::engine::protocol::{FromEngine, InPacket, Start};
use crate::engine::{RoomSpec, SlateConfig};
use crate::media::{Clock, Dur, Grid, SystemClock, Track, Ts};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Encoded pictures that wait, in bytes: a GOP of ten seconds of 12 Mbps.
const INPUT_BYTES: usize = 16 << 20;
/// And in number: ten seconds of 60 fps.
const INPUT_UNITS: usize = 600;
/// Slices of one picture; more would take the cores from the programme.
const DECODER_THREADS: usize = 1;
/// A picture that is this old when it is decoded is not shown: the next one is near.
const TOO_LATE: Dur = Dur::from_millis(400);
/// From one key frame to the next.
const KEY_EVERY: Dur = Dur::from_secs(2);
/// Requests within this time after a key frame are answered by one together.
const KEY_SPACING: Dur = Dur::from_millis(300);
/// A picture that stands is encoded again this often.
const REPEAT: Dur = Dur::from_millis(500);

/// What waits for the room's decoder.
#[derive(Default)]
struct Waiting {
    /// The newest format, when the decoder does not know it yet.
    items: VecDeque<Item>,
    bytes: usize,
    units: usize,
    seek_key: bool,
    on: bool,
    key: bool,
}

enum Item {
    Track(Arc<Track>),
    Packet(InPacket),
}

/// See the module.
#[derive(Default)]
pub struct RoomInput {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl RoomInput {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The format of what follows.
    pub fn track(&self, track: Arc<Track>) {
        let mut w = self.lock();
        // Formats of a source that changes without sending pictures do not pile up.
        if let Some(Item::Track(_)) = w.items.back() {
            w.items.pop_back();
        }
        w.items.push_back(Item::Track(track));
    }

    /// An access unit. Its payload is shared with the programme's queue.
    pub fn packet(&self, packet: &InPacket) {
        let mut w = self.lock();
        if packet.key && !w.on {
            w.drop_units();
        }
        if w.units >= INPUT_UNITS || w.bytes + packet.data.len() > INPUT_BYTES {
            w.drop_units();
            w.seek_key = true;
        }
        w.seek_key &= !packet.key;
        if w.seek_key {
            return;
        }
        w.units += 1;
        w.bytes += packet.data.len();
        w.items.push_back(Item::Packet(packet.clone()));
        let on = w.on;
        drop(w);
        if on {
            self.changed.notify_one();
        }
    }

    /// Whether somebody looks.
    pub fn set_on(&self, on: bool) {
        let mut w = self.lock();
        // Who begins to look has nothing yet.
        w.key |= on && !w.on;
        w.on = on;
        drop(w);
        self.changed.notify_one();
    }

    /// A key frame, soon.
    pub fn key(&self) {
        self.lock().key = true;
        self.changed.notify_one();
    }

    /// Waits until there is something to decode, at most `patience`, or without limit while nobody looks.
    fn wait(&self, patience: Duration, into: &mut VecDeque<Item>) -> bool {
        let mut w = self.lock();
        while !w.on {
            w = self.changed.wait(w).unwrap_or_else(PoisonError::into_inner);
        }
        if w.items.is_empty() && !w.key {
            w = self.changed.wait_timeout(w, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        into.append(&mut w.items);
        (w.bytes, w.units) = (0, 0);
        std::mem::take(&mut w.key)
    }
}

impl Waiting {
    /// Access units go, the newest format stays.
    fn drop_units(&mut self) {
        let newest = self.items.iter().rposition(|i| matches!(i, Item::Track(_)));
        let newest = newest.and_then(|i| self.items.remove(i));
        self.items.clear();
        self.items.extend(newest);
        (self.bytes, self.units) = (0, 0);
    }
}

/// Starts the thread.
///
/// # Errors
/// When there can be no thread.
pub fn start(
    start: &Start,
    room: &RoomSpec,
    input: &Arc<RoomInput>,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, String> {
    let (width, height) = (room.video.width as usize, room.video.height as usize);
    let clock = start.clock();
    let run = Room {
        input: input.clone(),
        shared: shared.clone(),
        stage: shared.stage("room picture"),
        clock,
        grid: start.config.grid,
        spec: room.clone(),
        slate: start.config.slate.clone(),
        fit: Fit::new(width, height),
        decoder: None,
        epoch: None,
        encoder: None,
        last: None,
        card: None,
        newest: clock.now(),
        number: i64::MIN,
        encoded: Ts::ZERO,
        keyed: Ts::ZERO,
        key: false,
    };
    spawn("room", move || run.run())
}

struct Room {
    input: Arc<RoomInput>,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    clock: SystemClock,
    grid: Grid,
    spec: RoomSpec,
    slate: SlateConfig,
    fit: Fit,
    decoder: Option<PictureDecoder>,
    epoch: Option<u32>,
    encoder: Option<PictureEncoder>,
    /// The last picture on the canvas.
    last: Option<Frame>,
    /// The slate, once it was needed.
    card: Option<Frame>,
    /// When the last picture came.
    newest: Ts,
    /// The slot of the last picture that was encoded, and when it was.
    number: i64,
    encoded: Ts,
    /// When the last key frame was made, and whether one is asked for.
    keyed: Ts,
    key: bool,
}

impl Room {
    fn run(mut self) {
        let mut items = VecDeque::new();
        loop {
            let patience = (self.encoded + REPEAT - self.clock.now()).to_std().min(REPEAT.to_std());
            self.key |= self.input.wait(patience, &mut items);
            while let Some(item) = items.pop_front() {
                let more = items.iter().any(|i| matches!(i, Item::Packet(_)));
                match item {
                    Item::Track(track) => self.set_track(&track),
                    Item::Packet(packet) => self.decode(&packet, more),
                }
            }
            self.stand();
        }
    }

    fn set_track(&mut self, track: &Track) {
        let Some(format) = track.video() else { return };
        if self.decoder.as_mut().is_some_and(|d| d.reformat(format)) {
            return;
        }
        // The programme's decoder says why, when there is none.
        self.decoder = self.stage.work(|| PictureDecoder::new(format, DECODER_THREADS)).ok();
    }

    fn decode(&mut self, packet: &InPacket, more: bool) {
        let stage = self.stage.clone();
        let mut pictures = Vec::new();
        stage.work(|| {
            let Some(decoder) = &mut self.decoder else { return };
            if packet.key && self.epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch) {
                // Another run of the input: what the decoder holds back belongs to the run before.
                match decoder.drain() {
                    Ok(rest) => pictures.extend(rest),
                    Err(_) => return self.decoder = None,
                }
            }
            // Corrupt units are counted by the programme's decoder, which gets the same.
            let _ = decoder.push(packet);
            while let Ok(Some(picture)) = decoder.take() {
                pictures.push(picture);
            }
        });
        let now = self.clock.now();
        for picture in pictures {
            self.newest = self.newest.max(picture.pts);
            // What was kept for somebody to look is decoded, and its last picture shown.
            if more && now - picture.pts > TOO_LATE {
                continue;
            }
            let Ok(frame) = stage.work(|| self.fit.apply(&picture.shown)) else { continue };
            self.last = Some(frame.clone());
            let number = self.grid.frame_number(picture.pts + self.grid.frame() / 2);
            self.encode(&frame, number);
        }
    }

    /// What stands where no picture comes.
    fn stand(&mut self) {
        let now = self.clock.now();
        let asked = self.key && now - self.keyed >= KEY_SPACING;
        if !asked && now - self.encoded < REPEAT {
            return;
        }
        let frame = match &self.last {
            Some(last) if now - self.newest <= self.slate.after => last.clone(),
            _ => {
                let (width, height) = (self.spec.video.width as usize, self.spec.video.height as usize);
                let (slate, shared) = (&self.slate, &self.shared);
                let make = || slate::make(slate, width, height, |e| shared.log(true, e));
                self.card.get_or_insert_with(make).clone()
            }
        };
        // Not ahead of the pictures of a source that is a little behind: a key frame takes the next slot.
        let number = match asked && now - self.newest < Dur::from_secs(1) {
            true => self.number.saturating_add(1),
            false => self.grid.frame_number(now),
        };
        self.encode(&frame, number);
    }

    fn encode(&mut self, frame: &Frame, number: i64) {
        if number <= self.number {
            // A source faster than the grid, or one that comes back: its picture has no slot of its own.
            return;
        }
        if self.encoder.is_none() {
            match PictureEncoder::new(&self.spec.video, &self.spec.video.encoder, self.grid) {
                Ok(encoder) => {
                    self.shared.send_room(FromEngine::Track(Arc::new(encoder.track().clone())));
                    self.encoder = Some(encoder);
                    self.key = true;
                }
                Err(e) => super::die(&format!("{}: {e}", self.spec.video.name)),
            }
        }
        let now = self.clock.now();
        let key = now - self.keyed >= KEY_EVERY || (self.key && now - self.keyed >= KEY_SPACING);
        let Some(encoder) = &mut self.encoder else { return };
        let units = match self.stage.work(|| encoder.push(frame, number, key)) {
            Ok(units) => units,
            Err(e) => super::die(&format!("{}: {e}", self.spec.video.name)),
        };
        self.number = number;
        self.encoded = now;
        if key {
            self.key = false;
            self.keyed = now;
        }
        for unit in units {
            self.shared.send_room(FromEngine::Room {
                track: self.spec.video.id,
                pts: self.grid.frame_start(unit.number),
                duration: self.grid.frame(),
                key: unit.key,
                data: unit.data,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::TrackId;
    use bytes::Bytes;

    fn unit(n: i64, key: bool, size: usize) -> InPacket {
        let (track, at, data) = (TrackId::VIDEO, Ts::from_millis(n * 40), Bytes::from(vec![0; size]));
        InPacket { track, epoch: 0, dts: at, pts: at, key, decode_only: false, data }
    }

    fn numbers(items: &VecDeque<Item>) -> Vec<i64> {
        let number = |i: &Item| match i {
            Item::Packet(p) => Some(p.pts.as_millis() / 40),
            Item::Track(_) => None,
        };
        items.iter().filter_map(number).collect()
    }

    #[test]
    fn while_nobody_looks_the_current_gop_is_kept_and_then_everything() {
        let input = RoomInput::default();
        for n in 0..10 {
            input.packet(&unit(n, n % 4 == 0, 1));
        }
        input.set_on(true);
        let mut items = VecDeque::new();
        assert!(input.wait(Duration::ZERO, &mut items), "a key frame for who begins to look");
        assert_eq!(numbers(&items), [8, 9]);
        for n in 10..15 {
            input.packet(&unit(n, n % 4 == 0, 1));
        }
        items.clear();
        assert!(!input.wait(Duration::ZERO, &mut items));
        assert_eq!(numbers(&items), [10, 11, 12, 13, 14]);
        input.key();
        assert!(input.wait(Duration::from_secs(9), &mut items));
    }

    #[test]
    fn a_flood_is_dropped_up_to_a_key_frame() {
        let input = RoomInput::default();
        input.set_on(true);
        for n in 0..INPUT_UNITS as i64 + 5 {
            input.packet(&unit(n, n == 0, 1));
        }
        input.packet(&unit(1000, true, 1));
        input.packet(&unit(1001, false, INPUT_BYTES));
        input.packet(&unit(1002, false, 1));
        input.packet(&unit(1003, true, 1));
        let mut items = VecDeque::new();
        input.wait(Duration::ZERO, &mut items);
        assert_eq!(numbers(&items), [1003]);
    }
}
