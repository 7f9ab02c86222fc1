//! Contribution: sockets → `wire` → `media::timeline` → a publisher in the hub.
//!
//! **Role.** Each protocol's module owns its sockets and sessions. A session presents its key to [`Admission`], which the composition
//! root implements, and gets a [`Session`]: where to publish, where to report health, and the handle by which it is stopped. What it
//! receives goes through one [`feed::Feed`], so that every protocol ends in the same packets.
//! What is pulled ([`pull`]) needs no key: it belongs to an input already, and claims its place there once something comes.
//! **Bound.** Nothing is queued between socket and hub: a session that cannot keep up leaves the bytes in its socket.
//! Dropping the session ends its stream in the hub.

pub mod feed;
pub mod health;
pub mod pull;
pub mod rtmp;
pub mod srt;
mod tags;
pub mod whip;

use crate::hub::Publisher;
use crate::media::InputName;
use secrecy::SecretString;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

pub use feed::Feed;
pub use health::{Health, InputHealth};

/// How a contribution comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RTMP over TCP.
    Rtmp,
    /// RTMP over TLS.
    Rtmps,
    /// SRT.
    Srt,
    /// RTSP, pulled.
    Rtsp,
    /// WHIP.
    Whip,
}

impl Protocol {
    /// As in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Rtmp => "rtmp",
            Protocol::Rtmps => "rtmps",
            Protocol::Srt => "srt",
            Protocol::Rtsp => "rtsp",
            Protocol::Whip => "whip",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a peer presents that wants to publish.
#[derive(Debug)]
pub struct Request {
    /// How it comes.
    pub protocol: Protocol,
    /// From where.
    pub peer: SocketAddr,
    /// Its key.
    pub key: SecretString,
    /// It asks to replace the present publisher; whether it may is the event's setting.
    pub takeover: bool,
}

/// Why a peer may not publish, or not any more. The text is for people who set up an encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No input has this key.
    #[error("this stream key is not known; it may have been replaced by a new one")]
    WrongKey,
    /// The event takes no contribution in its status.
    #[error("the event is {status}; set it to preview or started first")]
    Inactive {
        /// The event's status, as in the API.
        status: String,
    },
    /// Somebody publishes on this input.
    #[error("somebody else is publishing with this key; stop that encoder first")]
    Busy,
    /// Another publisher took over.
    #[error("another encoder has taken over this input")]
    Replaced,
    /// The key was revoked, or the event removed, while publishing.
    #[error("this stream key has been revoked")]
    Revoked,
    /// The daemon cannot say now.
    #[error("the server cannot admit anybody now; try again")]
    Unavailable,
}

impl Refusal {
    /// For metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Refusal::WrongKey => "wrong_key",
            Refusal::Inactive { .. } => "inactive",
            Refusal::Busy => "busy",
            Refusal::Replaced => "replaced",
            Refusal::Revoked => "revoked",
            Refusal::Unavailable => "unavailable",
        }
    }
}

/// Stops a session from outside: a takeover, a revoked key, an event that ended. Clones stop the same session.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<Refusal>>,
}

impl Stop {
    /// For a session that runs.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Stops it; the peer is told the reason in its protocol's words. The first reason counts.
    pub fn stop(&self, reason: Refusal) {
        // Set before the token, so that whoever wakes finds it.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes with the reason when it is stopped.
    pub async fn stopped(&self) -> Refusal {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or(Refusal::Unavailable)
    }
}

/// The right to publish on an input. The session's end drops it, and with it the publisher.
pub struct Session {
    /// The event's id, for logs and metrics.
    pub event: String,
    /// Which of its inputs.
    pub input: InputName,
    /// Where packets go.
    pub publisher: Publisher,
    /// Where measurements go.
    pub health: Arc<Health>,
    /// How it is stopped from outside.
    pub stop: Stop,
}

/// A future as an object-safe trait returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who may publish. The composition root implements it.
pub trait Admission: Send + Sync + 'static {
    /// Decides about a request. Called once per publish; a session waits for it without reading on.
    fn admit(&self, request: Request) -> BoxFuture<'_, Result<Session, Refusal>>;
}
