//! Pull by RTMP and RTMPS: a socket around [`ClientSession`].
//!
//! **Bound.** [`super::super::rtmp::READ_SIZE`] of unread bytes beside what the chunk reader may hold; a server that does not
//! take our few messages is left by [`WRITE_STALL`].

use super::super::rtmp::{READ_SIZE, WRITE_STALL};
use super::super::tags;
use super::{Attempt, End, Place, Scheme, Source, stopped};
use crate::net::io::Guarded;
use crate::wire::rtmp::client::{ClientSession, Error, Event, Play};
use bytes::BytesMut;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What to play from an address; none without application and name.
pub(super) fn play(source: &Source) -> Option<Play> {
    Play::of(source.url.scheme(), &source.authority(), source.url.path(), source.url.query())
}

/// Connects, plays and feeds until something ends it.
pub(super) async fn session<P: Place>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    addresses: &[SocketAddr],
) -> Result<Infallible, End> {
    let refused = |e: std::io::Error| End::Failed("connect", format!("{} cannot be reached: {e}", source.authority()));
    let (stream, peer) = attempt.pull.guard.connect(addresses).await.map_err(refused)?;
    match source.scheme {
        Scheme::Rtmps => {
            let broken = |e: std::io::Error| End::Failed("tls", format!("no TLS with {}: {e}", source.authority()));
            let stream = attempt.pull.guard.tls(stream, source.url.host()).await.map_err(broken)?;
            exchange(attempt, source, peer, Guarded::new(stream, WRITE_STALL, None)).await
        }
        _ => exchange(attempt, source, peer, Guarded::new(stream, WRITE_STALL, None)).await,
    }
}

async fn exchange<P: Place, S: AsyncRead + AsyncWrite + Unpin>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    peer: SocketAddr,
    mut stream: S,
) -> Result<Infallible, End> {
    let play = play(source).ok_or_else(|| End::Failed("redirect", "the address names no stream".to_owned()))?;
    let clock = attempt.pull.clock.clone();
    let mut session = ClientSession::new(play, clock.now()).map_err(end)?;
    let mut input = BytesMut::new();
    // Servers send it ahead of a stream, also of one that does not come.
    let mut metadata = None;
    // Deadlines only move later while the timer runs, so it is armed again when it has fired, not at each packet.
    let mut timer = clock.sleep_until(session.timeout());
    loop {
        let out = session.take_output();
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
        }
        input.reserve(READ_SIZE);
        let mut fresh = tokio::select! {
            read = stream.read_buf(&mut input) => match read.map_err(lost)? {
                0 => return Err(End::Failed("closed", "the server closed the connection".to_owned())),
                fresh => fresh,
            },
            () = &mut timer => {
                session.tick(clock.now()).map_err(end)?;
                timer = clock.sleep_until(session.timeout());
                continue;
            }
            refusal = stopped(attempt.stop()) => return Err(End::Refused(refusal)),
        };
        let now = clock.now();
        while let Some(event) = session.next_event(now, &mut input, std::mem::take(&mut fresh)).map_err(end)? {
            match event {
                Event::Playing => {
                    tracing::debug!(event = attempt.pull.event, input = attempt.pull.input.as_str(), "server plays");
                }
                Event::Metadata(value) => metadata = Some(value),
                Event::Audio { timestamp, data } => {
                    let feed = attempt.feed(source, peer)?;
                    metadata.take().iter().for_each(|value| tags::metadata(feed, value));
                    tags::audio(feed, timestamp, data, now);
                }
                Event::Video { timestamp, data } => {
                    let feed = attempt.feed(source, peer)?;
                    metadata.take().iter().for_each(|value| tags::metadata(feed, value));
                    tags::video(feed, timestamp, data, now);
                }
            }
        }
    }
}

fn lost(error: std::io::Error) -> End {
    End::Failed("closed", format!("the connection broke: {error}"))
}

fn end(error: Error) -> End {
    let label = match &error {
        Error::Redirect(to) => return End::Redirect(to.clone()),
        Error::Refused(_) => "refused",
        Error::SetupTimeout | Error::NoMedia | Error::Stalled => "timeout",
        Error::Ended => "ended",
        Error::Handshake | Error::Chunk(_) | Error::Flood | Error::Unwritable => "protocol",
    };
    End::Failed(label, error.to_string())
}
