//! What comes of the child for rooms, on a socket of its own.

use super::{MOST_SKIPPED, SessionError, receive};
use crate::engine::protocol::{FromEngine, MAX_TRACKS};
use crate::engine::rooms::RoomStreams;
use crate::media::{Packet, SharedClock, Track};
use std::sync::Arc;
use tokio::io::{AsyncRead, BufReader};

/// What becomes of the child's room packets.
pub(super) struct RoomCollector {
    pub clock: SharedClock,
    pub rooms: RoomStreams,
    /// The last format of each track; the same after a restart is the same track.
    pub tracks: Vec<Arc<Track>>,
}

impl RoomCollector {
    /// Passes room packets on until the socket closes or the child breaks the rules.
    pub async fn collect(&mut self, read: impl AsyncRead + Unpin) -> SessionError {
        let mut read = BufReader::with_capacity(64 << 10, read);
        loop {
            let taken = match receive(&mut read).await {
                Ok(message) => self.take(message),
                Err(e) => Err(e),
            };
            if let Err(e) = taken {
                return e;
            }
        }
    }

    fn take(&mut self, message: FromEngine) -> Result<(), SessionError> {
        match message {
            FromEngine::Track(track) => {
                match self.tracks.iter().position(|t| t.id == track.id) {
                    Some(i) if *self.tracks[i] == *track => {}
                    Some(i) => self.tracks[i] = track,
                    None if self.tracks.len() < MAX_TRACKS => self.tracks.push(track),
                    None => return Err(SessionError::Protocol("too many room tracks".to_owned())),
                }
                Ok(())
            }
            FromEngine::Room { track, pts, duration, key, data } => {
                let Some(known) = self.tracks.iter().find(|t| t.id == track) else {
                    return Err(SessionError::Protocol(format!("room track {}: no format", track.0)));
                };
                let (key, arrival) = (key && known.is_video(), self.clock.now());
                if (pts - arrival).abs() > MOST_SKIPPED || data.is_empty() {
                    return Err(SessionError::Protocol(format!("room track {}: packet of {pts}", track.0)));
                }
                let track = known.clone();
                let decode_only = false;
                self.rooms.publish(&Packet {
                    track,
                    epoch: 0,
                    dts: pts,
                    pts,
                    duration,
                    key,
                    decode_only,
                    arrival,
                    data,
                });
                Ok(())
            }
            _ => Err(SessionError::Protocol("not a room's message".to_owned())),
        }
    }
}
