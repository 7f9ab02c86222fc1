//! What the rooms ask of the media side. `app` implements it over `rtc` and the engines; tests bring a double.

use super::voice::VoiceIn;
use crate::control::Job;
use crate::media::{Dur, MixPlan, TrackId, VoicePacket};
use crate::store::EventId;
use std::sync::Arc;

/// What a page in the rooms is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoomSource {
    /// Its sound.
    pub sound: Sound,
    /// Whether the rooms' picture goes with it.
    pub video: bool,
}

/// Sound without the programme delay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sound {
    /// The contribution's floor.
    Floor,
    /// The realtime mix of an interpreted language.
    Mix(String),
    /// Nothing: an audio-only participant while nobody is on air.
    Silence,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The offer is no SDP, or not one of what is asked for here. The text says what to change.
    #[error("{0}")]
    Offer(String),
    /// No room for one more peer.
    #[error("{0}")]
    Full(String),
    /// What is asked for does not run now.
    #[error("{0}")]
    Unavailable(String),
    /// The request is about an ICE session that is not the present one.
    #[error("{0}")]
    Outdated(String),
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Candidates were taken note of.
    Trickled,
    /// ICE begins anew.
    Restarted {
        /// What goes back.
        fragment: String,
        /// The new ICE session's entity tag, without quotes.
        etag: String,
    },
}

/// An accepted offer.
pub struct Answered {
    /// The SDP answer.
    pub answer: String,
    /// The session. Dropping it closes the peer.
    pub peer: Box<dyn Peer>,
}

/// How a peer's connection is, as the daemon measures it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeerFigures {
    /// Whether media can flow.
    pub connected: bool,
    /// `udp` or `tcp`.
    pub transport: Option<&'static str>,
    /// There and back.
    pub rtt: Option<Dur>,
    /// Jitter of what comes in.
    pub jitter: Option<Dur>,
    /// Share of packets lost towards the daemon, 0 to 1.
    pub loss_up: Option<f64>,
    /// Share of packets lost from it, as the peer reports, 0 to 1.
    pub loss_down: Option<f64>,
}

/// A WebRTC peer's session.
pub trait Peer: Send + Sync + 'static {
    /// The entity tag of the present ICE session, without quotes (RFC 9725 §4.3.1).
    fn etag(&self) -> String;

    /// A trickled candidate or a restart (RFC 8840); `etag` is what the request is conditional on, without quotes.
    ///
    /// # Errors
    /// When the fragment is none, or not one for this session.
    fn patch(&self, fragment: String, etag: Option<String>) -> Job<'static, Result<Taken, OfferError>>;

    /// Sends another source from now on. Never waits.
    fn set_source(&self, event: &EventId, source: &RoomSource);

    /// The newest figures. Never waits.
    fn figures(&self) -> PeerFigures;

    /// Ends when the peer has gone or was closed.
    fn ended(&self) -> Job<'static, ()>;

    /// Closes it. Never waits.
    fn close(&self);
}

/// The media side of the rooms. Only those calls that give a [`Job`] may wait; the others are made under a lock.
pub trait RoomMedia: Send + Sync + 'static {
    /// The sound rendition of a language; none while it has none.
    fn output(&self, event: &EventId, language: &str) -> Option<TrackId>;

    /// What a language calls itself: `Deutsch`.
    fn name(&self, language: &str) -> String;

    /// What the event's engine is to mix from now on. Kept until the next one and given to every engine of the event,
    /// also one that starts later.
    fn set_plan(&self, event: &EventId, plan: MixPlan);

    /// A voice's packet, for the event's engine.
    fn packet(&self, event: &EventId, packet: VoicePacket);

    /// Answers a voice's offer (WHIP, Opus). Its packets go to `sink` until the session ends.
    fn voice(&self, event: &EventId, offer: String, sink: Arc<VoiceIn>) -> Job<'_, Result<Answered, OfferError>>;

    /// Answers an offer to receive (WHEP).
    fn play(&self, event: &EventId, offer: String, source: RoomSource) -> Job<'_, Result<Answered, OfferError>>;

    /// Answers a connection test's offer: echoes its data channel, receives its sound and sends some.
    fn probe(&self, offer: String) -> Job<'_, Result<Answered, OfferError>>;
}
