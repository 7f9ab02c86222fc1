//! The queues between the worker's threads, each with its bound and what it drops.

use crate::engine::protocol::InPacket;
use crate::media::Track;
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
        if let Item::Packet(packet) = &item {
            while !self.paced && (input.bytes > INPUT_BYTES / 8 || input.packets >= 256) {
                input = self.changed.wait(input).unwrap_or_else(PoisonError::into_inner);
            }
            if input.bytes + packet.data.len() > INPUT_BYTES || input.packets >= INPUT_UNITS {
                input.items.retain(|i| matches!(i, Item::Track(_)));
                input.bytes = 0;
                input.packets = 0;
                input.seek_key = self.video;
                whole = false;
            }
            if input.seek_key && !packet.key {
                return false;
            }
            input.seek_key = false;
            input.bytes += packet.data.len();
            input.packets += 1;
        }
        input.items.push_back(item);
        drop(input);
        self.changed.notify_all();
        whole
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
                if let Item::Packet(packet) = &item {
                    input.bytes -= packet.data.len();
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

    /// Appends and drops a picture when needed; returns how many were dropped. `wait`: waits for room instead.
    ///
    /// # Errors
    /// When the reader is so far behind that it must be taken for hung.
    pub fn push(&self, job: Job<P>, wait: bool) -> Result<u64, Stalled> {
        let mut q = lock(&self.jobs);
        let full = |q: &Jobs<P>| q.pictures >= self.capacity || q.jobs.len() >= MAX_SLOTS / 2;
        while wait && full(&q) && !q.closed {
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

    #[test]
    fn a_slow_encoder_loses_pictures_but_no_slot() {
        let q = SlotQueue::new(3);
        let dropped: u64 = (0..10).map(|slot| q.push(Job { slot, picture: Some(slot) }, false).expect("room")).sum();
        assert_eq!(dropped, 7);
        q.close();
        let jobs: Vec<_> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(jobs.iter().map(|j| j.slot).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(jobs.iter().filter_map(|j| j.picture).collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[test]
    fn an_encoder_that_takes_nothing_is_noticed() {
        let q = SlotQueue::<u8>::new(2);
        let stalled = (0..10_000).any(|slot| q.push(Job { slot, picture: None }, false).is_err());
        assert!(stalled);
    }

    #[test]
    fn a_full_input_is_dropped_up_to_a_key_frame() {
        let q = PacketQueue::new(true, true);
        let packet = |key, size| {
            Item::Packet(InPacket {
                track: TrackId::VIDEO,
                epoch: 0,
                dts: Ts::ZERO,
                pts: Ts::ZERO,
                key,
                decode_only: false,
                data: Bytes::from(vec![0; size]),
            })
        };
        assert!(q.push(packet(true, 10)));
        for _ in 0..8 {
            q.push(packet(false, 8 << 20));
        }
        assert!(!q.push(packet(false, 10)));
        assert!(q.push(packet(true, 77)));
        match q.pop(Some(Duration::ZERO)) {
            Popped::Item(Item::Packet(p)) => assert!(p.key && p.data.len() == 77),
            other => panic!("{other:?}"),
        }
        assert!(matches!(q.pop(Some(Duration::from_millis(1))), Popped::Empty));
        q.end();
        assert!(matches!(q.pop(None), Popped::Ended));
    }
}
