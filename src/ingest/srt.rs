//! SRT contribution: a transport stream for an event's input.
//!
//! **Data flow.** During a caller's handshake [`Door`] asks [`Screen`] about its stream key, which answers from memory; who gets in is
//! admitted like everybody else, and its bytes go through [`Demux`] to the [`Feed`].
//! **Bound.** What [`crate::srt`] and [`crate::wire::mpegts`] hold for a connection. A caller that sends nothing is disconnected after
//! [`MEDIA_TIMEOUT`].
//! Log lines name event and input, never the stream id or key; refusals are logged at most [`LOG_BURST`] in [`LOG_WINDOW`].

use super::health::SrtHealth;
use super::{Admission, Feed, Protocol, Refusal, Request, Session};
use crate::media::timeline::RawTime;
use crate::media::{Dur, InputName, SharedClock, Ts};
use crate::srt::stream_id::{self, Mode};
use crate::srt::{Caller, Gate, Link, Listener, Reject, Stats, StreamId};
use crate::task::Group;
use crate::wire::mpegts::{Demux, Event};
use secrecy::SecretString;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A publisher that sends nothing for so long is disconnected, so that another can take its place.
pub const MEDIA_TIMEOUT: Dur = Dur::from_secs(15);

/// How often measurements are taken over.
pub(super) const STATS_INTERVAL: Dur = Dur::from_secs(1);

/// How long [`Admission`] may take before the caller is disconnected.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines about refused callers within [`LOG_WINDOW`]; all of them are counted.
pub const LOG_BURST: u32 = 20;

/// See [`LOG_BURST`].
pub const LOG_WINDOW: Dur = Dur::from_secs(10);

/// Who may publish, as far as it can be said without waiting. The composition root implements it.
pub trait Screen: Send + Sync + 'static {
    /// The passphrase that whoever has this key must know, if one is set; or why it may not publish now.
    ///
    /// # Errors
    /// The reason.
    fn screen(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal>;
}

/// The gate of the listener.
pub struct Door {
    screen: Arc<dyn Screen>,
    clock: SharedClock,
    /// Held for a look.
    lines: Mutex<Lines>,
}

/// How many lines were written since when.
#[derive(Default)]
struct Lines {
    since: Ts,
    written: u32,
    left_out: u64,
}

impl Door {
    /// A gate that asks `screen`.
    pub fn new(screen: Arc<dyn Screen>, clock: SharedClock) -> Arc<Door> {
        Arc::new(Door { screen, clock, lines: Mutex::default() })
    }

    /// Counts a refusal, and writes a line if there is room for one.
    fn refused(&self, peer: SocketAddr, label: &'static str, reason: &str) {
        metrics::counter!("boothcast_ingest_connections_ended_total",
            "protocol" => Protocol::Srt.as_str(), "reason" => label)
        .increment(1);
        let now = self.clock.now();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if now - lines.since >= LOG_WINDOW {
            if lines.left_out > 0 {
                tracing::warn!(callers = lines.left_out, "more SRT callers were refused than there are lines about");
            }
            *lines = Lines { since: now, written: 0, left_out: 0 };
        }
        if lines.written < LOG_BURST {
            lines.written += 1;
            tracing::warn!(%peer, protocol = "srt", reason, "caller refused");
        } else {
            lines.left_out += 1;
        }
    }
}

impl Gate for Door {
    fn admit(&self, caller: Caller<'_>) -> Result<Option<SecretString>, Reject> {
        let id = StreamId::parse(caller.stream_id).map_err(|error| {
            self.refused(caller.peer, "bad_stream_id", &error.to_string());
            match error {
                stream_id::Error::Mode => Reject::BadMode,
                stream_id::Error::Type => Reject::Media,
                _ => Reject::BadRequest,
            }
        })?;
        if id.mode != Mode::Publish {
            self.refused(caller.peer, "bad_mode", "this server gives no streams by SRT: set m=publish to send one");
            return Err(Reject::BadMode);
        }
        self.screen.screen(&id.key).map_err(|refusal| {
            self.refused(caller.peer, refusal.as_str(), &refusal.to_string());
            reject(&refusal)
        })
    }

    fn failed(&self, peer: SocketAddr, needed: bool) {
        let reason = if needed {
            "its passphrase is wrong, or it has none"
        } else {
            "it has a passphrase, and the event has none"
        };
        self.refused(peer, "passphrase", reason);
    }
}

/// The access control code for a refusal.
fn reject(refusal: &Refusal) -> Reject {
    match refusal {
        Refusal::WrongKey | Refusal::Revoked => Reject::Unauthorized,
        Refusal::Inactive { .. } => Reject::Forbidden,
        Refusal::Busy | Refusal::Replaced => Reject::Conflict,
        Refusal::Unavailable => Reject::Unavailable,
    }
}

/// Takes callers until the group is cancelled. Every connection is a task of `group`.
pub async fn serve(mut listener: Listener, admission: Arc<dyn Admission>, clock: SharedClock, group: Group) {
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = group.cancelled() => return,
        };
        let Some(connection) = connection else { return };
        let (admission, clock, token) = (admission.clone(), clock.clone(), group.token());
        group.spawn("srt", async move {
            token.run_until_cancelled(Box::pin(publish(Box::new(connection), &*admission, &clock))).await;
        });
    }
}

/// Why a publisher's connection ended.
enum Ending {
    /// By its peer, or the network.
    Closed,
    /// Nothing came.
    Silent,
    /// From outside.
    Stopped(Refusal),
}

impl Ending {
    fn label(&self) -> &'static str {
        match self {
            Ending::Closed => "closed",
            Ending::Silent => "protocol",
            Ending::Stopped(refusal) => refusal.as_str(),
        }
    }
}

/// Serves a caller that the listener let in, to its end.
pub async fn publish(mut link: Box<dyn Link>, admission: &dyn Admission, clock: &SharedClock) {
    let peer = link.peer();
    let ended = |label: &'static str| {
        metrics::counter!("boothcast_ingest_connections_ended_total",
            "protocol" => Protocol::Srt.as_str(), "reason" => label)
        .increment(1);
    };
    // Read before, by the gate.
    let Ok(StreamId { key, takeover, .. }) = StreamId::parse(link.stream_id()) else { return ended("bad_stream_id") };
    let request = Request { protocol: Protocol::Srt, peer, key, takeover };
    let answer = tokio::time::timeout(ADMISSION_TIMEOUT, admission.admit(request)).await;
    let session = match answer.unwrap_or(Err(Refusal::Unavailable)) {
        Ok(session) => session,
        Err(refusal) => {
            // Since its handshake something has changed, or two came at once.
            tracing::warn!(%peer, protocol = "srt", reason = %refusal, "connection ended by us");
            return ended(refusal.as_str());
        }
    };
    let (event, input) = (session.event.clone(), session.input);
    let encrypted = link.stats().encrypted;
    tracing::info!(event, input = input.as_str(), %peer, protocol = "srt", encrypted, "publishing");
    let ending = receive(&mut *link, session, clock).await;
    ended(ending.label());
    let why = match &ending {
        Ending::Closed => link.end().map_or_else(|| "closed".to_owned(), |end| end.to_string()),
        Ending::Silent => format!("nothing came for {MEDIA_TIMEOUT}"),
        Ending::Stopped(refusal) => refusal.to_string(),
    };
    tracing::info!(event, input = input.as_str(), %peer, why, "publishing ended");
}

async fn receive(link: &mut dyn Link, session: Session, clock: &SharedClock) -> Ending {
    let stop = session.stop.clone();
    let mut meters = Meters::new(&session.event, session.input);
    let mut feed = Feed::new(session);
    let mut demux = Demux::new();
    let mut last = clock.now();
    let mut timer = clock.sleep_until(last + STATS_INTERVAL);
    loop {
        tokio::select! {
            batch = link.receive() => {
                let now = clock.now();
                let Some(batch) = batch else {
                    demux.finish(&mut |event| deliver(&mut feed, event, now));
                    meters.update(&feed, &link.stats(), now);
                    return Ending::Closed;
                };
                last = now;
                demux.push(&batch, &mut |event| deliver(&mut feed, event, now));
            }
            () = &mut timer => {
                let now = clock.now();
                meters.update(&feed, &link.stats(), now);
                if now - last >= MEDIA_TIMEOUT {
                    return Ending::Silent;
                }
                timer = clock.sleep_until(now + STATS_INTERVAL);
            }
            refusal = stop.stopped() => return Ending::Stopped(refusal),
        }
    }
}

/// Hands on what a transport stream held.
pub fn deliver(feed: &mut Feed, event: Event, now: Ts) {
    match event {
        Event::Tracks(tracks) => {
            let named = tracks.into_iter().filter_map(|t| Some((t.track, t.language?)));
            feed.health().languages(named.collect());
        }
        Event::AudioConfig { track, codec, config } => feed.audio_config(track, codec, config, now),
        Event::Video { codec, dts, pts, random_access, data } => {
            feed.video(codec, RawTime::mpegts(dts, pts), Dur::ZERO, random_access, data, now);
        }
        Event::Audio { track, codec, pts, data } => {
            feed.audio(track, codec, RawTime::mpegts(pts, pts), Dur::ZERO, data, now);
        }
        Event::Lost { video: true } => feed.video_lost(),
        Event::Lost { video: false } => feed.audio_lost(),
        Event::Problem { topic, text } => feed.warn(topic, text, now),
    }
}

/// A connection's measurements on their way to health and Prometheus.
pub(super) struct Meters {
    before: Stats,
    packets: metrics::Counter,
    lost: metrics::Counter,
    retransmitted: metrics::Counter,
    dropped: metrics::Counter,
    rtt: metrics::Gauge,
    latency: metrics::Gauge,
}

impl Meters {
    pub fn new(event: &str, input: InputName) -> Meters {
        let labels = [("event", event.to_owned()), ("input", input.as_str().to_owned())];
        Meters {
            before: Stats::default(),
            packets: metrics::counter!("boothcast_srt_packets_total", &labels),
            lost: metrics::counter!("boothcast_srt_lost_packets_total", &labels),
            retransmitted: metrics::counter!("boothcast_srt_retransmitted_packets_total", &labels),
            dropped: metrics::counter!("boothcast_srt_dropped_packets_total", &labels),
            rtt: metrics::gauge!("boothcast_srt_rtt_seconds", &labels),
            latency: metrics::gauge!("boothcast_srt_latency_seconds", &labels),
        }
    }

    pub fn update(&mut self, feed: &Feed, stats: &Stats, now: Ts) {
        let before = std::mem::replace(&mut self.before, *stats);
        self.packets.increment(stats.received.saturating_sub(before.received));
        self.lost.increment(stats.lost.saturating_sub(before.lost));
        self.retransmitted.increment(stats.retransmitted.saturating_sub(before.retransmitted));
        self.dropped.increment(stats.dropped.saturating_sub(before.dropped));
        self.rtt.set(stats.rtt.as_secs_f64());
        self.latency.set(stats.latency.as_secs_f64());
        // What was missing at first and what arrived make up what was sent, but for what never came at all.
        let sent = stats.received + stats.dropped;
        let loss = if sent > 0 { (stats.lost as f64 / sent as f64).min(1.0) } else { 0.0 };
        let health = SrtHealth {
            latency_seconds: stats.latency.as_secs_f64(),
            buffered_seconds: stats.buffered.as_secs_f64(),
            encrypted: stats.encrypted,
            packets: stats.received,
            lost: stats.lost,
            retransmitted: stats.retransmitted,
            dropped: stats.dropped,
            loss: (loss * 1e5).round() / 1e5,
            receive_bitrate: stats.receive_rate,
        };
        feed.health().srt(stats.rtt, health, now);
        if stats.overrun > before.overrun {
            feed.warn(
                "overrun",
                "this machine is too busy to take all that comes: give it more processor time".into(),
                now,
            );
        }
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.rtt.set(0.0);
        self.latency.set(0.0);
    }
}

#[cfg(test)]
#[path = "srt_tests.rs"]
mod tests;
