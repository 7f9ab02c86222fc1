//! The queues between the worker's threads, each with its bound and what it drops.

use crate::engine::AudioSpec;
use crate::engine::protocol::{InPacket, TimedPlan};
use crate::media::{Track, TrackId, Ts, VoicePacket};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Encoded input that waits for its slot, in bytes: ten seconds of 50 Mbps, more than any programme delay.
const INPUT_BYTES: usize = 64 << 20;
/// Access units that wait at most: a minute of 60 fps, against floods of tiny ones.
const INPUT_UNITS: usize = 4096;
/// Slots that wait before an encoder; one that is so far behind hangs, and the process is replaced.
const MAX_SLOTS: usize = 600;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked ends the process, so what it left does not matter.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits to be decoded.
#[derive(Clone, Debug)]
pub enum Item {
    /// The format of what follows on its track.
    Track(Arc<Track>),
    /// An access unit.
    Packet(InPacket),
    /// A voice's packet.
    Voice(VoicePacket),
    /// What to mix.
    Plan(TimedPlan),
    /// Other sound renditions, and where new ones begin.
    Audio(Vec<AudioSpec>, Vec<(TrackId, i64)>),
}

impl Item {
    /// The payload of what may be dropped.
    fn payload(&self) -> Option<usize> {
        match self {
            Item::Packet(packet) => Some(packet.data.len()),
            Item::Voice(packet) => Some(packet.data.len()),
            Item::Track(_) | Item::Plan(_) | Item::Audio(..) => None,
        }
    }
}

/// What a reader finds.
#[derive(Debug)]
pub enum Popped {
    /// The next item.
    Item(Item),
    /// Nothing came in time.
    Empty,
    /// Nothing will come.
    Ended,
}

#[derive(Default)]
struct Input {
    items: VecDeque<Item>,
    bytes: usize,
    packets: usize,
    /// What was kept for a restart is complete.
    live: bool,
    ended: bool,
    seek_key: bool,
    /// The newest run of pictures, and where it begins to be shown.
    run: Option<(u32, Ts)>,
}

/// Encoded input. When it is full a paced reader has stopped reading: all is dropped up to the next key frame. An unpaced
/// writer waits instead.
pub struct PacketQueue {
    input: Mutex<Input>,
    changed: Condvar,
    paced: bool,
    /// Whether only pictures can be decoded from a key frame on.
    video: bool,
}

impl PacketQueue {
    /// An empty queue.
    pub fn new(paced: bool, video: bool) -> PacketQueue {
        PacketQueue { input: Mutex::new(Input::default()), changed: Condvar::new(), paced, video }
    }

    /// Appends; false when access units were dropped for it.
    pub fn push(&self, item: Item) -> bool {
        let mut input = lock(&self.input);
        let mut whole = true;
        if let Some(size) = item.payload() {
            while !self.paced && (input.bytes > INPUT_BYTES / 8 || input.packets >= 256) {
                input = self.changed.wait(input).unwrap_or_else(PoisonError::into_inner);
            }
            if input.bytes + size > INPUT_BYTES || input.packets >= INPUT_UNITS {
                input.items.retain(|i| i.payload().is_none());
                input.bytes = 0;
                input.packets = 0;
                input.seek_key = self.video;
                whole = false;
            }
            if input.seek_key && !matches!(&item, Item::Packet(p) if p.key) {
                return false;
            }
            input.seek_key = false;
            input.bytes += size;
            input.packets += 1;
        }
        if let Item::Packet(packet) = &item
            && packet.track == TrackId::VIDEO
            && !packet.decode_only
        {
            input.run = match input.run {
                Some((epoch, from)) if epoch == packet.epoch => Some((epoch, from.min(packet.pts))),
                _ => Some((packet.epoch, packet.pts)),
            };
        }
        input.items.push_back(item);
        drop(input);
        self.changed.notify_all();
        whole
    }

    /// The reader is too far behind: what waits before the newest key frame goes, or, where none waits, all up to the next
    /// one. Formats stay. Returns how many access units went.
    pub fn skip_to_key(&self) -> usize {
        let mut input = lock(&self.input);
        let newest = input.items.iter().rposition(|i| matches!(i, Item::Packet(p) if p.key));
        let from = newest.unwrap_or(input.items.len());
        let before = input.packets;
        for (place, item) in std::mem::take(&mut input.items).into_iter().enumerate() {
            match &item {
                Item::Packet(packet) if place < from => {
                    input.bytes -= packet.data.len();
                    input.packets -= 1;
                }
                _ => input.items.push_back(item),
            }
        }
        input.seek_key = newest.is_none() && self.video;
        before - input.packets
    }

    /// The newest run of pictures that came in, by its epoch, and the first instant that it shows.
    pub fn newest_run(&self) -> Option<(u32, Ts)> {
        lock(&self.input).run
    }

    /// Output may begin.
    pub fn set_live(&self) {
        lock(&self.input).live = true;
        self.changed.notify_all();
    }

    /// Nothing more will come.
    pub fn end(&self) {
        let mut input = lock(&self.input);
        input.ended = true;
        input.live = true;
        drop(input);
        self.changed.notify_all();
    }

    /// Waits until [`PacketQueue::set_live`].
    pub fn wait_live(&self) {
        let mut input = lock(&self.input);
        while !input.live {
            input = self.changed.wait(input).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item; waits for one at most `patience`, without limit when none.
    pub fn pop(&self, patience: Option<Duration>) -> Popped {
        let mut input = lock(&self.input);
        loop {
            if let Some(item) = input.items.pop_front() {
                if let Some(size) = item.payload() {
                    input.bytes -= size;
                    input.packets -= 1;
                }
                drop(input);
                if !self.paced {
                    self.changed.notify_all();
                }
                return Popped::Item(item);
            }
            if input.ended {
                return Popped::Ended;
            }
            match patience {
                None => input = self.changed.wait(input).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Popped::Empty,
                Some(limit) => {
                    let (guard, timeout) =
                        self.changed.wait_timeout(input, limit).unwrap_or_else(PoisonError::into_inner);
                    input = guard;
                    // A spurious wake-up ends the wait early; the caller looks at the clock anyway.
                    if input.items.is_empty() && !input.ended {
                        let _ = timeout;
                        return Popped::Empty;
                    }
                }
            }
        }
    }
}

/// A slot to encode.
#[derive(Clone)]
pub struct Job<P> {
    /// Its number on the frame grid.
    pub slot: i64,
    /// What it shows; none: the same as the slot before.
    pub picture: Option<P>,
    /// Nothing on its way may be dropped: stages wait for each other (unpaced runs, and what a restart makes up for).
    pub wait: bool,
}

struct Jobs<P> {
    jobs: VecDeque<Job<P>>,
    pictures: usize,
    closed: bool,
}

/// Slots on their way to an encoder: every slot stays, at most `capacity` raw pictures do. When there is one too many,
/// the oldest waiting picture goes and its slot repeats the one before.
pub struct SlotQueue<P> {
    jobs: Mutex<Jobs<P>>,
    changed: Condvar,
    capacity: usize,
}

impl<P> SlotQueue<P> {
    /// For at most `capacity` pictures.
    pub fn new(capacity: usize) -> SlotQueue<P> {
        let jobs = Jobs { jobs: VecDeque::new(), pictures: 0, closed: false };
        SlotQueue { jobs: Mutex::new(jobs), changed: Condvar::new(), capacity }
    }

    /// Appends and drops a picture when needed; returns how many were dropped. Waits for room instead when the slot says so.
    ///
    /// # Errors
    /// When the reader is so far behind that it must be taken for hung.
    pub fn push(&self, job: Job<P>) -> Result<u64, Stalled> {
        let mut q = lock(&self.jobs);
        let full = |q: &Jobs<P>| q.pictures >= self.capacity || q.jobs.len() >= MAX_SLOTS / 2;
        while job.wait && full(&q) && !q.closed {
            q = self.changed.wait(q).unwrap_or_else(PoisonError::into_inner);
        }
        if q.jobs.len() >= MAX_SLOTS {
            return Err(Stalled);
        }
        let mut dropped = 0;
        q.pictures += usize::from(job.picture.is_some());
        q.jobs.push_back(job);
        while q.pictures > self.capacity {
            if let Some(old) = q.jobs.iter_mut().find(|j| j.picture.is_some()) {
                old.picture = None;
            }
            q.pictures -= 1;
            dropped += 1;
        }
        drop(q);
        self.changed.notify_all();
        Ok(dropped)
    }

    /// The next slot; none when closed and empty.
    pub fn pop(&self) -> Option<Job<P>> {
        let mut q = lock(&self.jobs);
        loop {
            if let Some(job) = q.jobs.pop_front() {
                q.pictures -= usize::from(job.picture.is_some());
                drop(q);
                self.changed.notify_all();
                return Some(job);
            }
            if q.closed {
                return None;
            }
            q = self.changed.wait(q).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more slots will come.
    pub fn close(&self) {
        lock(&self.jobs).closed = true;
        self.changed.notify_all();
    }
}

/// An encoder is ten seconds behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an encoder stopped taking pictures")]
pub struct Stalled;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{TrackId, Ts};
    use bytes::Bytes;

    fn unit(n: i64, key: bool, size: usize) -> Item {
        let (track, at, data) = (TrackId::VIDEO, Ts::from_millis(n * 40), Bytes::from(vec![0; size]));
        Item::Packet(InPacket { track, epoch: 0, dts: at, pts: at, key, decode_only: false, data })
    }

    fn numbers(queue: &PacketQueue) -> Vec<i64> {
        let next = || match queue.pop(Some(Duration::ZERO)) {
            Popped::Item(Item::Packet(p)) => Some(p.pts.as_millis() / 40),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_reader_that_is_far_behind_goes_on_at_the_newest_key_frame() {
        let queue = PacketQueue::new(true, true);
        for n in 0..10 {
            assert!(queue.push(unit(n, n % 4 == 0, 1)));
        }
        assert_eq!(queue.skip_to_key(), 8);
        assert_eq!(numbers(&queue), [8, 9]);
        assert!(queue.push(unit(10, false, 1)));
        assert_eq!(queue.skip_to_key(), 1, "no key frame waits");
        assert!(!queue.push(unit(11, false, 1)));
        assert!(queue.push(unit(12, true, 1)));
        assert_eq!(numbers(&queue), [12]);
    }

    #[test]
    fn a_slow_encoder_loses_pictures_but_no_slot() {
        let q = SlotQueue::new(3);
        let dropped: u64 =
            (0..10).map(|slot| q.push(Job { slot, picture: Some(slot), wait: false }).expect("room")).sum();
        assert_eq!(dropped, 7);
        q.close();
        let jobs: Vec<_> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(jobs.iter().map(|j| j.slot).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(jobs.iter().filter_map(|j| j.picture).collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[test]
    fn what_is_made_up_for_loses_no_picture() {
        let q = Arc::new(SlotQueue::new(3));
        let reader = std::thread::spawn({
            let q = q.clone();
            move || std::iter::from_fn(|| q.pop()).map(|j| j.picture).collect::<Vec<_>>()
        });
        let dropped: u64 =
            (0..100).map(|slot| q.push(Job { slot, picture: Some(slot), wait: true }).expect("room")).sum();
        q.close();
        assert_eq!(dropped, 0);
        assert_eq!(reader.join().expect("no panic"), (0..100).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn an_encoder_that_takes_nothing_is_noticed() {
        let q = SlotQueue::<u8>::new(2);
        let stalled = (0..10_000).any(|slot| q.push(Job { slot, picture: None, wait: false }).is_err());
        assert!(stalled);
    }

    #[test]
    fn a_full_input_is_dropped_up_to_a_key_frame() {
        let q = PacketQueue::new(true, true);
        assert!(q.push(unit(0, true, 10)));
        for n in 1..9 {
            q.push(unit(n, false, 8 << 20));
        }
        assert!(!q.push(unit(9, false, 10)));
        assert!(q.push(unit(10, true, 77)));
        match q.pop(Some(Duration::ZERO)) {
            Popped::Item(Item::Packet(p)) => assert!(p.key && p.data.len() == 77),
            other => panic!("{other:?}"),
        }
        assert!(matches!(q.pop(Some(Duration::from_millis(1))), Popped::Empty));
        q.end();
        assert!(matches!(q.pop(None), Popped::Ended));
    }
}
