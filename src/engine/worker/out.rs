//! The way out of what the rooms get, beside all other output.
//!
//! **Bound.** [`MOST`] messages; the oldest packet goes, counted. Formats stay. Who writes never waits.

use crate::engine::protocol::FromEngine;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

/// Half a second of 17 sounds and a picture.
const MOST: usize = 512;

/// See the module.
#[derive(Default)]
pub struct RoomQueue {
    messages: Mutex<VecDeque<FromEngine>>,
    changed: Condvar,
}

impl RoomQueue {
    /// Appends; returns how many packets had to go for it.
    pub fn push(&self, message: FromEngine) -> u64 {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(message);
        let mut dropped = 0;
        if messages.len() > MOST
            && let Some(oldest) = messages.iter().position(|m| matches!(m, FromEngine::Room { .. }))
        {
            messages.remove(oldest);
            dropped = 1;
        }
        drop(messages);
        self.changed.notify_one();
        dropped
    }

    /// All that waits; waits for something.
    pub fn take(&self, into: &mut Vec<FromEngine>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        while messages.is_empty() {
            messages = self.changed.wait(messages).unwrap_or_else(PoisonError::into_inner);
        }
        into.extend(messages.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioCodec, AudioFormat, Dur, Media, Track, TrackId, Ts};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn the_oldest_packets_go_and_formats_stay() {
        let queue = RoomQueue::default();
        let config = Bytes::new();
        let media = Media::Audio(AudioFormat { codec: AudioCodec::Opus, config, sample_rate: 48_000, channels: 2 });
        queue.push(FromEngine::Track(Arc::new(Track { id: TrackId(1), media })));
        let packet = |n: usize| FromEngine::Room {
            track: TrackId(1),
            pts: Ts::from_millis(n as i64),
            duration: Dur::ZERO,
            key: false,
            data: Bytes::new(),
        };
        let dropped: u64 = (0..MOST + 10).map(|n| queue.push(packet(n))).sum();
        assert_eq!(dropped, 11);
        let mut got = Vec::new();
        queue.take(&mut got);
        assert!(got.len() == MOST && matches!(got[0], FromEngine::Track(_)));
        assert!(matches!(&got[1], FromEngine::Room { pts, .. } if pts.as_millis() == 11));
    }
}
