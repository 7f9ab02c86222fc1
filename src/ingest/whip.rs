//! WHIP contribution (RFC 9725): browsers, OBS and other WebRTC encoders, as main or backup of an event.
//!
//! **Data flow.** `POST /whip/{key}` with an offer → [`Admission`] → [`Rtc::contribute`] → [`Feed`]. The session's own resource is
//! `/whip/{key}/{session}`, for PATCH and DELETE.
//! **Bound.** The driver's; a contribution that cannot be read holds at most what [`crate::rtc`] holds for it.
//! Log lines name event and input, never the key.

use super::{Admission, Feed, Protocol, Refusal, Request};
use crate::media::timeline::RawTime;
use crate::media::{AudioCodec, Dur, SharedClock, Ts, VideoCodec};
use crate::rtc::http::{self, MAX_BODY, Sessions};
use crate::rtc::{MediaSink, PeerStats, Rtc};
use crate::task::Group;
use crate::wire::bitstream::h264::AvcConfig;
use crate::wire::bitstream::opus::OpusHead;
use crate::wire::sdp::Offer;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{options, post};
use axum::{Extension, Router};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long [`Admission`] may take before the peer is told to try again.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

/// RTP's clocks of picture and sound.
const VIDEO_RATE: u32 = 90_000;
const AUDIO_RATE: u32 = 48_000;

/// What the routes need.
#[derive(Clone)]
pub struct Whip {
    /// The driver.
    pub rtc: Rtc,
    /// Who may publish.
    pub admission: Arc<dyn Admission>,
    /// The daemon's clock.
    pub clock: SharedClock,
    /// Owns the tasks that watch sessions.
    pub group: Group,
    sessions: Sessions,
}

impl Whip {
    /// Publishing through `rtc` for those whom `admission` admits.
    pub fn new(rtc: Rtc, admission: Arc<dyn Admission>, clock: SharedClock, group: Group) -> Whip {
        Whip { rtc, admission, clock, group, sessions: Sessions::new() }
    }

    /// `/whip/{key}` and the sessions below it.
    pub fn router(self) -> Router {
        Router::new()
            .route(
                "/whip/{key}",
                post(publish).options(preflight).fallback(|| async { http::not_allowed("POST, OPTIONS") }),
            )
            .route(
                "/whip/{key}/{session}",
                options(preflight)
                    .patch(patch)
                    .delete(delete)
                    .fallback(|| async { http::not_allowed("PATCH, DELETE, OPTIONS") }),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }
}

async fn preflight() -> Response {
    http::options()
}

async fn publish(
    State(whip): State<Whip>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = match http::offer(&headers, &body) {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    // Before anybody is admitted, for an admission may take the place of another encoder.
    if let Err(error) = Offer::parse(text) {
        return http::refusal(&error.into());
    }
    let peer = peer.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |Extension(ConnectInfo(peer))| peer);
    let takeover =
        query.is_some_and(|q| q.split('&').any(|p| matches!(p, "takeover" | "takeover=1" | "takeover=true")));
    let resource = format!("/whip/{key}");
    let request = Request { protocol: Protocol::Whip, peer, key: key.into(), takeover };
    let answer = tokio::time::timeout(ADMISSION_TIMEOUT, whip.admission.admit(request)).await;
    let session = match answer.unwrap_or(Err(Refusal::Unavailable)) {
        Ok(session) => session,
        Err(refusal) => return refused(&refusal),
    };
    let stop = session.stop.clone();
    session.health.encoder(headers.get("user-agent").and_then(|v| v.to_str().ok()));
    let (event, input) = (session.event.clone(), session.input);
    let sink = Box::new(FeedSink::new(Feed::new(session), whip.clock.now()));
    let accepted = match whip.rtc.contribute(text, sink).await {
        Ok(accepted) => accepted,
        Err(error) => return http::refusal(&error),
    };
    let (response, session) = whip.sessions.created(&resource, accepted, None);
    tracing::info!(event, input = input.as_str(), %peer, protocol = "whip", "publishing");
    whip.group.spawn_until_cancelled("whip", async move {
        let why = tokio::select! {
            refusal = stop.stopped() => {
                session.close();
                refusal.to_string()
            }
            () = session.ended() => "closed".to_owned(),
        };
        tracing::info!(event, input = input.as_str(), %peer, why, "publishing ended");
    });
    response
}

async fn patch(
    State(whip): State<Whip>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    whip.sessions.patch(&session, &headers, &body).await
}

async fn delete(State(whip): State<Whip>, Path((_, session)): Path<(String, String)>) -> Response {
    whip.sessions.delete(&session)
}

/// A refusal in HTTP's words.
fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::WrongKey => StatusCode::NOT_FOUND,
        Refusal::Inactive { .. } | Refusal::Busy | Refusal::Replaced => StatusCode::CONFLICT,
        Refusal::Revoked => StatusCode::FORBIDDEN,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    http::problem(status, &refusal.to_string())
}

/// A contribution's way into the hub.
struct FeedSink {
    feed: Feed,
    /// The newest picture's time: pictures that go back in time are reordered, which RTP cannot say.
    newest: Option<Ts>,
}

impl FeedSink {
    fn new(mut feed: Feed, now: Ts) -> FeedSink {
        // Opus over RTP is always decoded as stereo (RFC 7587 §4.1); what a packet holds may change.
        feed.audio_config(0, AudioCodec::Opus, OpusHead::simple(2, 0).build(), now);
        FeedSink { feed, newest: None }
    }
}

fn raw(at: Ts, rate: u32) -> RawTime {
    let time = at.to_scale(rate);
    RawTime { dts: time, pts: time, scale: rate, wrap_bits: 0 }
}

impl MediaSink for FeedSink {
    fn video(&mut self, at: Ts, key: bool, data: Bytes, arrival: Ts) {
        if self.newest.is_some_and(|newest| at < newest) {
            self.feed.warn("b-frames", "pictures come out of order: turn B-frames off for WHIP".into(), arrival);
        }
        self.newest = self.newest.max(Some(at));
        self.feed.video(VideoCodec::H264, raw(at, VIDEO_RATE), Dur::ZERO, key, data, arrival);
    }

    fn video_sets(&mut self, sets: Vec<Bytes>, arrival: Ts) {
        let of = |kind: u8| sets.iter().filter(|s| s.first().is_some_and(|b| b & 0x1f == kind)).cloned().collect();
        // Parameter sets in band replace these; what cannot be read is not needed.
        if let Ok(config) = AvcConfig::from_sets(of(7), of(8)) {
            self.feed.video_config(VideoCodec::H264, config.build(), arrival);
        }
    }

    fn audio(&mut self, at: Ts, data: Bytes, arrival: Ts) {
        self.feed.audio(0, AudioCodec::Opus, raw(at, AUDIO_RATE), Dur::ZERO, data, arrival);
    }

    fn stats(&mut self, stats: &PeerStats, _now: Ts) {
        self.feed.health().rtt(stats.rtt);
    }
}

#[cfg(test)]
#[path = "whip_tests.rs"]
mod tests;
