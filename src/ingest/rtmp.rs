//! RTMP and RTMPS contribution: sockets around [`ServerSession`].
//!
//! **Data flow.** [`serve`] accepts, speaks TLS where it is asked to, and runs one task per connection: read → session → flv → [`Feed`].
//! **Bound.** The listener's limits of connections; per connection [`READ_SIZE`] of unread bytes plus what the chunk reader may hold.
//! A peer that is slow to get on (handshake, publish, media) is disconnected by the session's timeouts, one that does not read by
//! [`WRITE_STALL`]; nobody else notices. A connection that we are slow to read leaves its bytes in its socket.
//! Log lines name event and input, never the key.

use super::{Admission, Feed, Protocol, Refusal, Request, Stop, tags};
use crate::media::{Clock, SharedClock, Ts};
use crate::net::{Listener, Tls, io::Guarded};
use crate::task::Group;
use crate::wire::rtmp::server::{self, Event, Publish, ServerSession};
use bytes::BytesMut;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that one read takes: a tenth of a second at 6 Mbps, so that a busy machine reads in few calls.
pub const READ_SIZE: usize = 64 << 10;

/// Bytes that one read takes before the peer may publish: a handshake is 3 KB, and idle connections must stay cheap.
const SETUP_READ_SIZE: usize = 4 << 10;

/// A peer that does not take our few answers for so long is gone.
pub const WRITE_STALL: Duration = Duration::from_secs(10);

/// A TLS handshake takes two round trips; a peer that needs longer is not one.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Admission`] may take before the peer is told to try again.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

/// After a refusal the peer's bytes are read for so long, so that closing with unread data does not reset the connection before the
/// peer has seen why.
const LINGER: Duration = Duration::from_secs(2);

/// Accepts connections until the group is cancelled; `tls` makes them RTMPS. Every connection is a task of `group`.
pub async fn serve(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    admission: Arc<dyn Admission>,
    clock: SharedClock,
    group: Group,
) {
    loop {
        let admitted = tokio::select! {
            admitted = listener.accept() => admitted,
            () = group.cancelled() => return,
        };
        let peer = admitted.peer;
        let permit = match admitted.permit {
            Ok(permit) => permit,
            Err(refusal) => {
                // Before the handshake the protocol has no words for it: closing is all that can be said.
                tracing::warn!(%peer, reason = refusal.as_str(), "RTMP connection refused");
                continue;
            }
        };
        let stream = Guarded::new(admitted.stream, WRITE_STALL, Some(permit));
        let (admission, clock, token) = (admission.clone(), clock.clone(), group.token());
        let tls = tls.clone();
        group.spawn("rtmp", async move {
            let run = async {
                match tls {
                    None => connection(stream, peer, Protocol::Rtmp, &*admission, &*clock).await,
                    Some(tls) => {
                        let accept = tokio_rustls::TlsAcceptor::from(tls.rtmp()).accept(stream);
                        match tokio::time::timeout(TLS_TIMEOUT, accept).await {
                            Ok(Ok(stream)) => connection(stream, peer, Protocol::Rtmps, &*admission, &*clock).await,
                            Ok(Err(error)) => tracing::info!(%peer, %error, "RTMPS handshake failed"),
                            Err(_) => tracing::info!(%peer, "RTMPS handshake took too long"),
                        }
                    }
                }
            };
            // Shutting down just closes: encoders reconnect after that, while a refusal would make some stop.
            token.run_until_cancelled(Box::pin(run)).await;
        });
    }
}

/// Why a connection ended.
enum End {
    /// The peer closed it.
    Closed,
    /// The socket failed.
    Io(std::io::Error),
    /// The protocol was broken, or nothing came.
    Protocol(server::Error),
    /// The peer was refused, before or while publishing.
    Refused(Refusal),
}

impl From<server::Error> for End {
    fn from(error: server::Error) -> End {
        End::Protocol(error)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        End::Io(error)
    }
}

/// Serves one connection over any stream, from the first byte of the handshake to its end.
pub async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    protocol: Protocol,
    admission: &dyn Admission,
    clock: &dyn Clock,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection {
        stream,
        peer,
        protocol,
        admission,
        clock,
        session: ServerSession::new(clock.now()),
        input: BytesMut::new(),
        publishing: None,
    };
    let end = match connection.run().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    connection.finish(end).await;
}

/// A publisher that was admitted.
struct Publishing {
    feed: Feed,
    stop: Stop,
}

struct Connection<'a, S> {
    stream: S,
    peer: SocketAddr,
    protocol: Protocol,
    admission: &'a dyn Admission,
    clock: &'a dyn Clock,
    session: ServerSession,
    input: BytesMut,
    publishing: Option<Publishing>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        // Deadlines only move later while the timer runs, so it is armed again when it has fired, not at each packet.
        let clock = self.clock;
        let mut timer = clock.sleep_until(self.session.timeout());
        loop {
            self.input.reserve(if self.publishing.is_some() { READ_SIZE } else { SETUP_READ_SIZE });
            let stop = self.publishing.as_ref().map(|p| p.stop.clone());
            let stopped = async {
                match &stop {
                    Some(stop) => stop.stopped().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                read = self.stream.read_buf(&mut self.input) => {
                    let fresh = read?;
                    if fresh == 0 {
                        return Err(End::Closed);
                    }
                    self.received(fresh).await?;
                }
                () = &mut timer => {
                    self.session.tick(clock.now())?;
                    self.flush().await?;
                    timer = clock.sleep_until(self.session.timeout());
                }
                refusal = stopped => {
                    self.session.refuse(code(&refusal), &refusal.to_string())?;
                    return Err(End::Refused(refusal));
                }
            }
        }
    }

    /// Lets the session work on what was read, and sends what it answers.
    async fn received(&mut self, mut fresh: usize) -> Result<(), End> {
        let now = self.clock.now();
        loop {
            let event = self.session.next_event(now, &mut self.input, std::mem::take(&mut fresh));
            match event? {
                None => break,
                Some(Event::Publish(publish)) => self.publish(publish).await?,
                Some(Event::Unpublish) => {
                    self.session.restart_setup(now);
                    self.unpublish("stopped");
                }
                Some(media) => self.media(media, now),
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let out = self.session.take_output();
        if !out.is_empty() {
            self.stream.write_all(&out).await?;
            self.stream.flush().await?;
        }
        if let Some(publishing) = &self.publishing {
            publishing.feed.health().rtt(self.session.rtt());
        }
        Ok(())
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let Publish { key, takeover } = publish;
        let request = Request { protocol: self.protocol, peer: self.peer, key, takeover };
        let answer = tokio::time::timeout(ADMISSION_TIMEOUT, self.admission.admit(request)).await;
        match answer.unwrap_or(Err(Refusal::Unavailable)) {
            Ok(session) => {
                session.health.encoder(self.session.encoder());
                tracing::info!(event = session.event, input = session.input.as_str(), peer = %self.peer,
                    protocol = self.protocol.as_str(), encoder = self.session.encoder(),
                    enhanced = self.session.enhanced(), "publishing");
                let stop = session.stop.clone();
                self.publishing = Some(Publishing { feed: Feed::new(session), stop });
                self.session.accept(self.clock.now())?;
                // The peer waits for this; what it sent ahead can wait.
                self.flush().await
            }
            Err(refusal) => {
                self.session.refuse(code(&refusal), &refusal.to_string())?;
                Err(End::Refused(refusal))
            }
        }
    }

    fn unpublish(&mut self, why: &str) {
        if let Some(publishing) = self.publishing.take() {
            let (event, input) = publishing.feed.name();
            tracing::info!(event, input = input.as_str(), peer = %self.peer, why, "publishing ended");
        }
    }

    fn media(&mut self, event: Event, now: Ts) {
        let Some(Publishing { feed, .. }) = &mut self.publishing else { return };
        match event {
            Event::Audio { timestamp, data } => tags::audio(feed, timestamp, data, now),
            Event::Video { timestamp, data } => tags::video(feed, timestamp, data, now),
            Event::Metadata(value) => tags::metadata(feed, &value),
            Event::Publish(_) | Event::Unpublish => {}
        }
    }

    /// Says what is left to say and closes.
    async fn finish(mut self, end: End) {
        let (reason, level_info) = match &end {
            End::Closed => ("closed".to_owned(), false),
            End::Io(error) => (error.to_string(), false),
            End::Protocol(error) => (error.to_string(), true),
            End::Refused(refusal) => (refusal.to_string(), true),
        };
        self.unpublish(&reason);
        let label = match &end {
            End::Closed | End::Io(_) => "closed",
            End::Protocol(_) => "protocol",
            End::Refused(refusal) => refusal.as_str(),
        };
        metrics::counter!("boothcast_ingest_connections_ended_total",
            "protocol" => self.protocol.as_str(), "reason" => label)
        .increment(1);
        if level_info {
            tracing::warn!(peer = %self.peer, protocol = self.protocol.as_str(), reason, "connection ended by us");
        } else {
            tracing::debug!(peer = %self.peer, protocol = self.protocol.as_str(), reason, "connection ended");
        }
        if matches!(end, End::Closed | End::Io(_)) || self.flush().await.is_err() {
            return;
        }
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut sink = [0; 1024];
        let drain = async { while matches!(self.stream.read(&mut sink).await, Ok(n) if n > 0) {} };
        // Either the peer has closed too, or it has had its time.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

/// The protocol's code for a refusal.
fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::WrongKey | Refusal::Busy | Refusal::Replaced | Refusal::Revoked => "NetStream.Publish.BadName",
        Refusal::Inactive { .. } | Refusal::Unavailable => "NetStream.Publish.Denied",
    }
}

#[cfg(test)]
#[path = "rtmp_tests.rs"]
mod tests;
