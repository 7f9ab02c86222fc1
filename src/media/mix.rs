//! Voices and mixes: what a booth decides and the engine carries out.

use super::packet::TrackId;
use super::time::{Dur, Ts};
use bytes::Bytes;

/// One interpreter's session of sending; a new session is a new voice. Unique within an event, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct VoiceId(pub u32);

/// One Opus packet of a voice, as it came over the network: possibly late, out of order, twice or never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicePacket {
    /// Whose.
    pub voice: VoiceId,
    /// RTP sequence number, unwrapped from a start the receiver chose.
    pub sequence: i64,
    /// RTP timestamp in samples of 48 kHz, unwrapped like the sequence number.
    pub rtp: i64,
    /// When it reached the daemon, on the daemon's clock.
    pub arrival: Ts,
    /// How long before `arrival` the speaker heard what is spoken here: both ways through the network, the browser's
    /// buffers, capture. The programme mix places the voice at `arrival` minus this, as far as its delay allows.
    pub lead: Dur,
    /// One Opus packet (RFC 6716), at most 1275 bytes a frame.
    pub data: Bytes,
}

/// Everything the engine has to mix. A plan replaces the one before; what it changes is reached along ramps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixPlan {
    /// One per interpreted language.
    pub languages: Vec<LanguageMix>,
    /// Voices that are connected, on air or not: they are decoded and metered, and their stems run.
    pub voices: Vec<VoiceId>,
    /// Attack, hold and release of the ducking.
    pub ramps: Ramps,
}

/// The mix of one interpreted language.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageMix {
    /// The sound rendition of the programme mix. The language carries the contribution's floor track of that rendition.
    pub output: TrackId,
    /// The voices on air; none: the floor at full level.
    pub on_air: Vec<VoiceId>,
    /// The floor's level under a voice, dB, at most 0; negative infinity: no floor.
    pub floor_level_db: f32,
}

/// How the floor goes down under a voice and comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramps {
    /// Down to the floor level.
    pub attack: Dur,
    /// Stays down after the voice ends.
    pub hold: Dur,
    /// Back to full level.
    pub release: Dur,
}

impl Default for Ramps {
    fn default() -> Self {
        Ramps { attack: Dur::from_millis(50), hold: Dur::from_millis(400), release: Dur::from_millis(600) }
    }
}

/// How one voice arrives and sounds, over the last second.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct VoiceReport {
    /// Root mean square of the decoded voice, dB relative to full scale; −120 for silence.
    pub level_db: f32,
    /// Its highest sample, likewise.
    pub peak_db: f32,
    /// Interarrival jitter (RFC 3550 §6.4.1), ms.
    pub jitter_ms: f32,
    /// Share of packets that never came or came too late, 0 to 1.
    pub loss: f32,
    /// Share of the sound that was lost and is guessed, 0 to 1.
    pub concealed: f32,
    /// Share of the sound that was lost and came again with the packet after it (in-band FEC, RFC 6716 §2.1.7), 0 to 1.
    pub recovered: f32,
    /// The realtime mix's jitter buffer, ms.
    pub delay_ms: f32,
}
