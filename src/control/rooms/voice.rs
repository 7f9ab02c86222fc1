//! A voice on its way in: from the peer's packets to what the engine gets.
//!
//! **Data flow.** [`VoiceIn::packet`] (the peer's task) → lead → [`RoomMedia::packet`]. Beside it, when the last
//! packet came is noted for whoever asks ([`VoiceIn::last`]), and a voice that comes to life says so at once.

use super::hall::Hall;
use crate::booth::lead::Stamper;
use crate::media::{Dur, Ts, VoiceId, VoicePacket};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

/// Bytes of an Opus packet that can be: three frames of the largest size would be more than any datagram.
const MAX_PACKET: usize = 1_500;

/// Takes the packets of one voice. Never blocks: the lock is this voice's own, held for some arithmetic.
pub struct VoiceIn {
    voice: VoiceId,
    hall: Weak<Hall>,
    stamper: Mutex<Stamper>,
    last: AtomicI64,
    flowing: AtomicBool,
    /// The lead of the newest packet, in flicks, for metrics.
    lead: AtomicI64,
}

impl VoiceIn {
    pub(super) fn new(voice: VoiceId, hall: Weak<Hall>) -> VoiceIn {
        VoiceIn {
            voice,
            hall,
            stamper: Mutex::new(Stamper::new()),
            last: AtomicI64::new(i64::MIN),
            flowing: AtomicBool::new(false),
            lead: AtomicI64::new(0),
        }
    }

    /// Whose packets these are.
    pub fn voice(&self) -> VoiceId {
        self.voice
    }

    /// A packet: unwrapped sequence number and RTP timestamp (48 kHz), when it came, one Opus packet.
    pub fn packet(&self, sequence: i64, rtp: i64, arrival: Ts, data: Bytes) {
        if data.is_empty() || data.len() > MAX_PACKET {
            metrics::counter!("boothcast_booth_voice_refused_packets_total").increment(1);
            return;
        }
        let Some(hall) = self.hall.upgrade() else { return };
        let lead = self.stamper.lock().unwrap_or_else(PoisonError::into_inner).stamp(rtp, arrival);
        self.lead.store(lead.flicks(), Ordering::Relaxed);
        self.last.fetch_max(arrival.flicks(), Ordering::Relaxed);
        hall.media().packet(hall.id(), VoicePacket { voice: self.voice, sequence, rtp, arrival, lead, data });
        if !self.flowing.swap(true, Ordering::Relaxed) {
            hall.voice_flows(self.voice);
        }
    }

    /// When the newest packet came; none before the first.
    pub(super) fn last(&self) -> Option<Ts> {
        Some(self.last.load(Ordering::Relaxed)).filter(|&at| at != i64::MIN).map(Ts::from_flicks)
    }

    /// The packets have stopped: the next one says so again.
    pub(super) fn stalled(&self) {
        self.flowing.store(false, Ordering::Relaxed);
    }

    /// The newest lead.
    pub(super) fn lead(&self) -> Dur {
        Dur::from_flicks(self.lead.load(Ordering::Relaxed))
    }

    /// A round trip of the voice's connection.
    pub(super) fn rtt(&self, rtt: Dur) {
        self.stamper.lock().unwrap_or_else(PoisonError::into_inner).lead.rtt(rtt);
    }

    /// How old sound is when the speaker's page plays it, ms.
    pub(super) fn playout(&self, ms: f64) {
        self.stamper.lock().unwrap_or_else(PoisonError::into_inner).lead.playout(ms);
    }
}
