//! Pull contribution: the daemon fetches an input's stream from a server, as a publisher of that input like any other.
//!
//! **Data flow.** One [`run`] per input with an address → [`Guard`] → the protocol's module → [`Feed`]. The place on the input is
//! claimed ([`Place::claim`]) when the first sound or picture comes, so that a server without a stream keeps nobody out.
//! **Reconnecting.** Whatever ends a connection, the next attempt comes by itself: after [`FIRST_WAIT`], doubling up to
//! [`LONGEST_WAIT`], shortened at random; a stream that has run for [`STEADY`] begins again at the first. While an encoder
//! publishes on the input, nothing is connected to. Every attempt resolves and checks the address anew, every redirect too.
//! **Bound.** One connection per input, nothing queued; each protocol states its own. Dropping the future ends the connection
//! and the stream in the hub.
//! Logs name event, input and the server's host and port: a path may be a stream key. Words of the server are shown without
//! the address' credentials and query.

mod rtmp;
mod rtsp;
mod srt;
mod status;

pub use status::{PullHealth, PullState, Status};

use super::{Feed, Protocol, Refusal, Session, Stop};
use crate::media::{Dur, InputName, SharedClock, Ts};
use crate::net::{Guard, GuardError, OutgoingUrl, UrlError};
use crate::srt::Srt;
use crate::task::Backoff;
use futures_util::FutureExt;
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

/// The wait after the first failure: an encoder that restarts is back within a second.
pub const FIRST_WAIT: Dur = Dur::from_millis(500);

/// The longest wait: a server that was down for hours is back on air that fast.
pub const LONGEST_WAIT: Dur = Dur::from_secs(15);

/// A stream that ran for so long was no accident: after it, waits begin anew.
pub const STEADY: Dur = Dur::from_secs(10);

/// How often an input that an encoder publishes on is looked at again.
const TAKEN_POLL: Dur = Dur::from_secs(1);

/// Redirects that are followed in one attempt: a balancer and what it balances.
const MAX_REDIRECTS: usize = 4;

/// What an input is pulled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Rtmp,
    Rtmps,
    Rtsp,
    Rtsps,
    Srt,
}

impl Scheme {
    const fn protocol(self) -> Protocol {
        match self {
            Scheme::Rtmp => Protocol::Rtmp,
            Scheme::Rtmps => Protocol::Rtmps,
            Scheme::Rtsp | Scheme::Rtsps => Protocol::Rtsp,
            Scheme::Srt => Protocol::Srt,
        }
    }

    const fn port(self) -> u16 {
        match self {
            Scheme::Rtmp => 1935,
            Scheme::Rtmps => 443,
            Scheme::Rtsp => 554,
            Scheme::Rtsps => 322,
            // It has none of its own: ours.
            Scheme::Srt => 9000,
        }
    }
}

/// Why an address cannot be pulled from, in words that follow the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not an address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A scheme that is not pulled by.
    #[error("begins with {0}://, which cannot be pulled; rtmp://, rtmps://, rtsp://, rtsps:// and srt:// can")]
    Scheme(String),
    /// An RTMP address without application or name.
    #[error("names no stream: rtmp://host/application/name")]
    NoName,
    /// An RTMP address with user and password, for which the protocol has no place.
    #[error(
        "holds user and password, for which RTMP has no place; servers take them in the query: rtmp://host/application/name?user=…"
    )]
    Credentials,
    /// An SRT address that asks for what cannot be.
    #[error("{0}")]
    Srt(&'static str),
    /// Not public, or not to be found.
    #[error(transparent)]
    Guard(#[from] GuardError),
}

/// An address that can be pulled from. Printing it shows neither credentials nor query.
#[derive(Clone)]
pub struct Source {
    url: OutgoingUrl,
    scheme: Scheme,
}

impl Source {
    /// Reads an address.
    ///
    /// # Errors
    /// [`SourceError`], but for what only resolving it can tell.
    pub fn parse(text: &str) -> Result<Source, SourceError> {
        let url = OutgoingUrl::parse(text)?;
        let scheme = match url.scheme() {
            "rtmp" => Scheme::Rtmp,
            "rtmps" => Scheme::Rtmps,
            "rtsp" => Scheme::Rtsp,
            "rtsps" => Scheme::Rtsps,
            "srt" => Scheme::Srt,
            other => return Err(SourceError::Scheme(other.to_owned())),
        };
        let source = Source { url, scheme };
        if matches!(scheme, Scheme::Rtmp | Scheme::Rtmps) {
            rtmp::play(&source).ok_or(SourceError::NoName)?;
            if source.url.credentials().is_some() {
                return Err(SourceError::Credentials);
            }
        }
        if scheme == Scheme::Srt {
            srt::options(&source)?;
        }
        Ok(source)
    }

    /// Whether it may be connected to now.
    ///
    /// # Errors
    /// [`SourceError::Guard`].
    pub async fn check(&self, guard: &Guard) -> Result<(), SourceError> {
        guard.resolve(self.url.host(), self.port()).await?;
        Ok(())
    }

    /// How it comes.
    pub fn protocol(&self) -> Protocol {
        self.scheme.protocol()
    }

    /// All of the address.
    pub fn expose(&self) -> &str {
        self.url.expose()
    }

    fn port(&self) -> u16 {
        self.url.port_or(self.scheme.port())
    }

    fn authority(&self) -> String {
        self.url.authority(self.scheme.port())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// The input that is pulled for. The composition root implements it.
pub trait Place: Send + Sync + 'static {
    /// Whether somebody publishes there.
    fn taken(&self) -> bool;

    /// Takes the place, as an encoder does that was admitted; never another's.
    ///
    /// # Errors
    /// [`Refusal::Busy`], or why nobody may publish now.
    fn claim(&self, protocol: Protocol, peer: SocketAddr) -> Result<Session, Refusal>;

    /// The state has changed.
    fn changed(&self, health: &PullHealth);
}

/// What a pull works with.
pub struct Pull<P> {
    /// Where from.
    pub source: Source,
    /// What for.
    pub place: P,
    /// What may be connected to.
    pub guard: Guard,
    /// What SRT servers are called by.
    pub srt: Srt,
    /// The daemon's clock.
    pub clock: SharedClock,
    /// Where its state is told.
    pub status: Status,
    /// The event's id, for logs and metrics.
    pub event: String,
    /// The event's input.
    pub input: InputName,
}

/// Why an attempt ended.
enum End {
    /// It failed: a word for metrics, and words for people.
    Failed(&'static str, String),
    /// The server names another address.
    Redirect(String),
    /// The place was refused or taken away.
    Refused(Refusal),
}

impl From<GuardError> for End {
    fn from(error: GuardError) -> End {
        let label = match error {
            GuardError::Private { .. } => "forbidden",
            GuardError::Resolve { .. } => "resolve",
        };
        End::Failed(label, error.to_string())
    }
}

/// Pulls until it is dropped.
pub async fn run<P: Place>(pull: Pull<P>) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let Pull { source, place, clock, status, .. } = &pull;
        if place.taken() {
            let next = clock.now() + TAKEN_POLL;
            if status.waiting("somebody else publishes on this input".to_owned(), next, clock.now()) {
                place.changed(&status.health());
            }
            clock.sleep_until(next).await;
            continue;
        }
        if status.connecting(clock.now()) {
            place.changed(&status.health());
        }
        let mut attempt = Attempt::new(&pull);
        // What a server sends goes through libraries of others: whatever one of them cannot take ends the attempt alone.
        let end = match AssertUnwindSafe(attempt.run()).catch_unwind().await {
            Ok(Err(end)) => end,
            Ok(Ok(never)) => match never {},
            Err(_) => {
                metrics::counter!("boothcast_task_panics_total", "task" => "pull").increment(1);
                End::Failed("panic", "what the server sent could not be read".to_owned())
            }
        };
        let now = clock.now();
        if attempt.received.is_some_and(|since| now - since >= STEADY) {
            backoff.reset();
        }
        let received = attempt.received.is_some();
        drop(attempt);
        let (label, words) = match end {
            End::Failed(label, words) => (label, source.url.scrub(&words)),
            End::Redirect(_) => ("redirects", format!("the server redirects more than {MAX_REDIRECTS} times")),
            End::Refused(refusal) => (refusal.as_str(), refusal.to_string()),
        };
        let next = now + backoff.step(rand::random());
        let (event, input) = (pull.event.as_str(), pull.input.as_str());
        metrics::counter!("boothcast_pull_attempts_total", "event" => event.to_owned(), "input" => input,
            "protocol" => source.protocol().as_str(), "received" => if received { "yes" } else { "no" }, "end" => label)
        .increment(1);
        tracing::warn!(
            event,
            input,
            protocol = source.protocol().as_str(),
            server = source.authority(),
            reason = words,
            wait_ms = (next - now).as_millis(),
            "pull ended, tried again"
        );
        if status.failed(words, next, now) {
            place.changed(&status.health());
        }
        clock.sleep_until(next).await;
    }
}

/// One attempt: from resolving to the end of the stream.
struct Attempt<'a, P> {
    pull: &'a Pull<P>,
    /// Since when something is received.
    received: Option<Ts>,
    /// The place, once it is claimed.
    session: Option<(Feed, Stop)>,
}

impl<'a, P: Place> Attempt<'a, P> {
    fn new(pull: &'a Pull<P>) -> Attempt<'a, P> {
        Attempt { pull, received: None, session: None }
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        let mut source = self.pull.source.clone();
        for _ in 0..=MAX_REDIRECTS {
            let addresses = self.pull.guard.resolve(source.url.host(), source.port()).await?;
            let end = match source.scheme {
                Scheme::Rtmp | Scheme::Rtmps => Box::pin(rtmp::session(self, &source, &addresses)).await,
                Scheme::Rtsp | Scheme::Rtsps => Box::pin(rtsp::session(self, &source, &addresses)).await,
                Scheme::Srt => Box::pin(srt::session(self, &source, &addresses)).await,
            };
            let Err(End::Redirect(to)) = end else { return end };
            let wrong = |error: SourceError| {
                End::Failed("redirect", format!("the server redirects to an address that {error}"))
            };
            source = Source::parse(&to).map_err(wrong)?;
            tracing::info!(
                event = self.pull.event,
                input = self.pull.input.as_str(),
                to = source.authority(),
                "pull redirected"
            );
        }
        Err(End::Redirect(String::new()))
    }

    fn now(&self) -> Ts {
        self.pull.clock.now()
    }

    /// The way into the hub; claims the place when it is first asked for.
    fn feed(&mut self, source: &Source, peer: SocketAddr) -> Result<&mut Feed, End> {
        if self.session.is_none() {
            let session = self.pull.place.claim(source.protocol(), peer).map_err(End::Refused)?;
            let now = self.now();
            tracing::info!(event = session.event, input = session.input.as_str(), %peer,
                protocol = source.protocol().as_str(), "pulling");
            let stop = session.stop.clone();
            self.session = Some((Feed::new(session), stop));
            self.received = Some(now);
            if self.pull.status.receiving(now) {
                self.pull.place.changed(&self.pull.status.health());
            }
        }
        match &mut self.session {
            Some((feed, _)) => Ok(feed),
            // Was set above.
            None => Err(End::Refused(Refusal::Unavailable)),
        }
    }

    /// What stops it from outside; pending as long as nothing is claimed.
    fn stop(&self) -> Option<Stop> {
        self.session.as_ref().map(|(_, stop)| stop.clone())
    }
}

/// Completes when the session is stopped from outside.
async fn stopped(stop: Option<Stop>) -> Refusal {
    match stop {
        Some(stop) => stop.stopped().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
