//! Fan-out of one stream of packets: a shared ring with a cursor per reader.
//!
//! **Role.** Between a producer (an input, the programme, a rendition) and any number of readers.
//! **Bound.** Bytes and seconds ([`Limits`]); the oldest packets leave first.
//! **A slow reader** never delays the writer: it gets a typed [`Lag`] with what it missed and resumes at a key frame.
//! Dropping the [`Publisher`] ends the stream; readers drain what is left and then see the end.

use crate::media::{Dur, Packet, Ts};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How much a ring keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, bookkeeping included.
    pub bytes: usize,
    /// Media time between the oldest and the newest packet.
    pub time: Dur,
}

impl Default for Limits {
    /// 64 MB and 10 s: the current GOP of a 40 Mbps source with a key frame every 10 s.
    fn default() -> Self {
        Limits { bytes: 64 << 20, time: Dur::from_secs(10) }
    }
}

/// What a slow reader missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Packets that left the ring unread, or are skipped to reach its newest key frame. Where the ring holds none, more
    /// are skipped until one comes; [`Subscriber::missed`] counts those too.
    pub packets: u64,
}

/// What a ring holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets in the ring.
    pub packets: usize,
    /// Bytes in the ring, bookkeeping included.
    pub bytes: usize,
    /// Packets published since the stream began.
    pub published: u64,
    /// Packets that have left the ring, read or not.
    pub evicted: u64,
}

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The reader was too slow; the next packet is a key frame, or the live edge where the stream has no pictures.
    #[error("reader lagged by {} packets", .0.packets)]
    Lagged(Lag),
    /// The publisher is gone and everything was read.
    #[error("stream ended")]
    Ended,
}

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next packet.
    Live,
    /// With the newest key frame in the ring; where there is none, with the next packet.
    KeyFrame,
}

struct Ring {
    limits: Limits,
    packets: VecDeque<Packet>,
    /// Sequence number of the front packet.
    first: u64,
    bytes: usize,
    /// Sequence number of the newest key frame, when one is in the ring.
    key: Option<u64>,
    /// Pictures in the ring: a stream that has lost its pictures must not be waited on for a key frame.
    pictures: usize,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    fn push(&mut self, packet: Packet) {
        self.pictures += usize::from(packet.track.is_video());
        self.bytes += packet.cost();
        if packet.key {
            self.key = Some(self.end());
        }
        let newest = packet.dts;
        self.packets.push_back(packet);
        // The newest packet always stays, so that one larger than the bound still reaches readers that keep up.
        while self.packets.len() > 1 && (self.bytes > self.limits.bytes || self.oldest(newest) > self.limits.time) {
            if let Some(old) = self.packets.pop_front() {
                self.bytes -= old.cost();
                self.pictures -= usize::from(old.track.is_video());
                self.first += 1;
            }
            self.key = self.key.filter(|&k| k >= self.first);
        }
    }

    /// How far the oldest packet is from the newest; a step back of the timeline counts like one ahead, or else
    /// what lies before it would stay.
    fn oldest(&self, newest: Ts) -> Dur {
        self.packets.front().map_or(Dur::ZERO, |p| (newest - p.dts).abs())
    }

    fn get(&self, sequence: u64) -> Option<&Packet> {
        self.packets.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    fn stats(&self) -> Stats {
        Stats { packets: self.packets.len(), bytes: self.bytes, published: self.end(), evicted: self.first }
    }

    /// Where a reader goes on that lost its place: the newest key frame, or the live edge.
    fn resume(&self) -> u64 {
        self.key.unwrap_or(self.end())
    }
}

struct Shared {
    ring: Mutex<Ring>,
    /// The ring's end, to wake readers; closed when the publisher is gone.
    end: watch::Receiver<u64>,
}

impl Shared {
    /// The lock is held for a push or a clone of one packet and never across an await. A writer that panicked inside
    /// left a ring that is at worst short, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side. Dropping it ends the stream.
pub struct Publisher {
    shared: Arc<Shared>,
    end: watch::Sender<u64>,
}

/// A stream to subscribe to.
#[derive(Clone)]
pub struct Stream {
    shared: Arc<Shared>,
}

/// A reader with its own cursor.
pub struct Subscriber {
    shared: Arc<Shared>,
    end: watch::Receiver<u64>,
    next: u64,
    seek_key: bool,
    missed: u64,
}

/// A new stream.
pub fn stream(limits: Limits) -> (Publisher, Stream) {
    let (tx, rx) = watch::channel(0);
    let ring = Ring { limits, packets: VecDeque::new(), first: 0, bytes: 0, key: None, pictures: 0 };
    let shared = Arc::new(Shared { ring: Mutex::new(ring), end: rx });
    (Publisher { shared: shared.clone(), end: tx }, Stream { shared })
}

impl Publisher {
    /// Appends a packet; never waits.
    pub fn publish(&self, packet: Packet) {
        let end = {
            let mut ring = self.shared.lock();
            ring.push(packet);
            ring.end()
        };
        self.end.send_replace(end);
    }

    /// What the ring holds now.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats()
    }
}

impl Stream {
    /// A new reader.
    pub fn subscribe(&self, start: Start) -> Subscriber {
        let ring = self.shared.lock();
        let next = match start {
            Start::Live => ring.end(),
            Start::KeyFrame => ring.resume(),
        };
        Subscriber { shared: self.shared.clone(), end: self.shared.end.clone(), next, seek_key: false, missed: 0 }
    }

    /// The packets since the newest key frame, for a decoder that must start at once; empty without one.
    pub fn current_gop(&self) -> Vec<Packet> {
        let ring = self.shared.lock();
        match ring.key {
            Some(key) => (key..ring.end()).filter_map(|n| ring.get(n).cloned()).collect(),
            None => Vec::new(),
        }
    }

    /// What the ring holds now.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats()
    }

    /// Whether both are the same stream.
    pub fn is(&self, other: &Stream) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether the publisher is gone.
    pub fn ended(&self) -> bool {
        self.shared.end.has_changed().is_err()
    }
}

impl Subscriber {
    /// The next packet, if one is there.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] once per lag; [`RecvError::Ended`] when the publisher is gone and all was read.
    pub fn try_recv(&mut self) -> Result<Option<Packet>, RecvError> {
        // Asked before the ring is looked at: what was published before the end is still delivered.
        let ended = self.end.has_changed().is_err();
        let ring = self.shared.lock();
        if self.next < ring.first {
            let resume = ring.resume();
            let packets = resume - self.next;
            self.next = resume;
            self.missed += packets;
            self.seek_key = ring.pictures > 0 && ring.key.is_none();
            return Err(RecvError::Lagged(Lag { packets }));
        }
        while let Some(packet) = ring.get(self.next) {
            self.next += 1;
            // When the last picture has left the ring, nothing is gained by waiting for a key frame.
            if self.seek_key && !packet.key && ring.pictures > 0 {
                self.missed += 1;
                continue;
            }
            self.seek_key = false;
            return Ok(Some(packet.clone()));
        }
        if ended { Err(RecvError::Ended) } else { Ok(None) }
    }

    /// Packets that this reader did not get since it subscribed.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Waits for the next packet. Cancel safe.
    ///
    /// # Errors
    /// As [`Subscriber::try_recv`].
    pub async fn recv(&mut self) -> Result<Packet, RecvError> {
        loop {
            self.end.mark_unchanged();
            if let Some(packet) = self.try_recv()? {
                return Ok(packet);
            }
            if self.end.changed().await.is_err()
                && let Some(packet) = self.try_recv()?
            {
                return Ok(packet);
            }
        }
    }
}

#[cfg(test)]
mod tests;
