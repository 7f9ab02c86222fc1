//! WebRTC: the peers of booths, viewers and contributors on one UDP port, and on TCP of the same number.
//!
//! **Role.** [`Rtc`] answers offers and hands out a [`Session`] each: it plays a hub's stream ([`Rtc::play`]), takes a
//! voice ([`Rtc::voice`]), a contribution ([`Rtc::contribute`]) or tests a connection ([`Rtc::probe`]). HTTP stands in
//! [`http`]; who may do what is decided by whoever mounts it.
//!
//! **Data flow.** Datagrams → [`driver`] → [`core`] (demultiplexed by address, new addresses by their STUN user fragment)
//! → one [`peer`]: `ice` → `secure` (DTLS, SRTP) → RTP to a sink, RTCP to figures, data to `channel`. The other way a
//! hub's packets are packetized once per stream and sealed per peer. Of the crate `rtc` we use the DTLS, SRTP and SCTP
//! cores; ICE-lite, RTCP and session descriptions are our own ([`crate::wire`]). Everything below the driver is without
//! IO: bytes and the time go in, bytes and the next deadline come out.
//!
//! **Bounds.** [`Config::max_sessions`] sessions, of which [`MAX_HALF_OPEN`] may be unconnected, each for
//! [`CONNECT_TIMEOUT`]; [`core::MAX_ROUTES`] addresses a peer; a connected peer that is silent for [`SILENCE_TIMEOUT`] is
//! closed. Commands wait in a bounded channel.
//! **A slow peer** has a queue of its own ([`play::MAX_QUEUED_TIME`], [`play::MAX_QUEUED_BYTES`]): sound drops its oldest
//! packet, the picture is skipped to the next key frame, which is asked for. What is dropped is counted in [`PeerStats`].

mod channel;
mod contribute;
pub mod core;
mod crypto;
mod driver;
pub mod http;
mod ice;
mod instant;
mod negotiate;
mod outgoing;
pub mod peer;
pub mod play;
mod secure;
mod session;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;

pub use ice::Route;
pub use session::{Accepted, Rtc, Session};

use crate::hub;
use crate::media::{Dur, TrackId, Ts};
use bytes::Bytes;
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A session that has not connected by then is closed: ICE and DTLS take a second, with packet loss a few.
pub const CONNECT_TIMEOUT: Dur = Dur::from_secs(15);

/// A connected peer that was not heard for so long is gone (RFC 7675 §5.1).
pub const SILENCE_TIMEOUT: Dur = Dur::from_secs(30);

/// Sessions that were answered and have not connected yet. Each holds some kilobytes for [`CONNECT_TIMEOUT`].
pub const MAX_HALF_OPEN: usize = 500;

/// Where peers are served, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The UDP address; TCP takes the same number. Port 0 means any that is free for both.
    pub listen: SocketAddr,
    /// Addresses that peers are told; empty: the one listened on, or those of the machine's interfaces.
    pub public_ips: Vec<IpAddr>,
    /// Sessions at a time; more are told to come later.
    pub max_sessions: u32,
}

/// Why an offer or a request about a session is refused. The text is for the person at the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcError {
    /// The session description cannot be read.
    #[error(transparent)]
    Description(#[from] crate::wire::sdp::Error),
    /// Nothing in it can be used.
    #[error("nothing of the offer can be used: {0}")]
    NotAcceptable(&'static str),
    /// As many sessions as may be.
    #[error("the server has as many sessions as it may have; try again later")]
    Full,
    /// The session is over.
    #[error("the session is over")]
    Gone,
    /// The request is about an ICE session that is not the present one.
    #[error("the request is about an ICE session that has been replaced")]
    Outdated,
    /// The crypto library failed, or the driver has ended.
    #[error("the server cannot take sessions now: {0}")]
    Unavailable(String),
}

/// Asks the maker of a picture for a key frame; must not block. Called at most every
/// [`core::KEY_FRAME_INTERVAL`] per source.
pub type KeyFrameRequest = Arc<dyn Fn() + Send + Sync>;

/// What a player gets: tracks of a stream in the hub.
#[derive(Clone)]
pub struct PlaySource {
    /// The stream.
    pub stream: hub::Stream,
    /// Its picture, H.264; none: sound alone.
    pub video: Option<TrackId>,
    /// Its sound, Opus at 48 kHz; none: no sound.
    pub audio: Option<TrackId>,
    /// Who makes key frames; none where nobody can be asked.
    pub on_key_frame: Option<KeyFrameRequest>,
}

impl PlaySource {
    /// Tracks of `stream`.
    pub fn new(stream: hub::Stream, video: Option<TrackId>, audio: Option<TrackId>) -> PlaySource {
        PlaySource { stream, video, audio, on_key_frame: None }
    }

    /// With somebody to ask for key frames.
    #[must_use]
    pub fn on_key_frame(mut self, request: KeyFrameRequest) -> PlaySource {
        self.on_key_frame = Some(request);
        self
    }
}

impl fmt::Debug for PlaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaySource").field("video", &self.video).field("audio", &self.audio).finish_non_exhaustive()
    }
}

/// Takes a voice's packets. Called on the driver's task: it must not block.
pub trait VoiceSink: Send + Sync {
    /// One Opus packet: sequence number and timestamp (48 kHz) unwrapped, when it came, and what. Packets may come late
    /// or not at all, but none twice.
    fn packet(&self, sequence: i64, rtp: i64, arrival: Ts, data: Bytes);
}

/// Takes a contribution. Called on the driver's task: it must not block.
pub trait MediaSink: Send {
    /// An access unit of H.264, its NAL units behind 4-byte lengths, parameter sets among them. `at` is when it is shown
    /// on the sender's clock, which all of its tracks share.
    fn video(&mut self, at: Ts, key: bool, data: Bytes, arrival: Ts);
    /// Parameter sets that came with the offer.
    fn video_sets(&mut self, sets: Vec<Bytes>, arrival: Ts);
    /// An Opus packet.
    fn audio(&mut self, at: Ts, data: Bytes, arrival: Ts);
    /// Once a second: how the session does.
    fn stats(&mut self, stats: &PeerStats, now: Ts);
}

/// What a session is for, with what it takes or gives.
pub enum Role {
    /// Plays a source.
    Play(PlaySource),
    /// Takes a voice.
    Voice(Arc<dyn VoiceSink>),
    /// Takes a contribution.
    Contribute(Box<dyn MediaSink>),
    /// Tests the connection.
    Probe,
}

/// What of an offer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// We send.
    Play {
        /// A picture is there.
        video: bool,
        /// Sound is there.
        audio: bool,
    },
    /// We receive sound.
    Voice,
    /// We receive picture and sound.
    Contribute,
    /// Both ways, sound alone.
    Probe,
}

/// The outcome of a PATCH (RFC 9725 §4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were taken note of: 204.
    Trickled,
    /// ICE began anew: 200 with the fragment.
    Restarted {
        /// The body of the answer.
        fragment: String,
        /// The new ICE session's entity tag, without quotes.
        etag: String,
    },
}

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Answered; the peer has not connected yet.
    #[default]
    Connecting,
    /// Media can flow.
    Connected,
    /// Over.
    Closed,
}

/// A session's figures, published once a second and at each change of state. *Up* is from the peer to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PeerStats {
    /// How far it is.
    pub state: PeerState,
    /// `udp` or `tcp`; none until connected.
    pub transport: Option<&'static str>,
    /// The peer's address; none until connected.
    pub peer: Option<SocketAddr>,
    /// Round trip, smoothed.
    #[serde(serialize_with = "millis")]
    pub rtt: Option<Dur>,
    /// Interarrival jitter of what the peer sends (RFC 3550 §6.4.1): of sound where there is some. Serialised in ms.
    #[serde(serialize_with = "millis")]
    pub jitter: Option<Dur>,
    /// The same as the peer measures it of what we send.
    #[serde(serialize_with = "millis")]
    pub jitter_down: Option<Dur>,
    /// Share of the peer's packets lost in the last seconds, 0 to 1.
    pub loss_up: Option<f64>,
    /// Share of our packets that the peer says it lost, by its newest reports, 0 to 1.
    pub loss_down: Option<f64>,
    /// RTP packets received.
    pub packets_in: u64,
    /// Their payload.
    pub bytes_in: u64,
    /// RTP packets that were expected and never came, since the start.
    pub lost_in: u64,
    /// RTP packets sent, retransmissions too.
    pub packets_out: u64,
    /// Their payload.
    pub bytes_out: u64,
    /// RTP packets' worth of media that a slow peer did not get.
    pub dropped_out: u64,
    /// Packets that the peer asked for again.
    pub nacks: u64,
    /// Of those, packets sent again.
    pub resent: u64,
    /// Key frames that the peer asked for.
    pub plis: u64,
}

fn millis<S: serde::Serializer>(value: &Option<Dur>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|d| d.as_secs_f64() * 1000.0).serialize(serializer)
}
