//! Pull by RTSP and RTSPS: `retina` behind a relay of our own.
//!
//! **Data flow.** server → socket (TLS) → [`relay`] with an [`Inspector`] → loopback → retina → [`Tracks`] → [`Feed`]. Packets come
//! interleaved on the one TCP connection, so that only the address that was checked is ever connected to.
//! **Why a relay.** retina connects by itself and to names, speaks no TLS, drops a redirect's address and bounds neither messages nor
//! access units. The relay connects where the guard says, and holds the server to the inspector's bounds. It costs a copy.
//! **Bound.** The inspector's; two buffers of [`READ_SIZE`]. What is slow to take leaves the bytes in the server's socket. retina's own
//! reconnecting for TEARDOWN is off, for it would go where the server says: closing the connection ends an interleaved session.

use super::super::rtmp::READ_SIZE;
use super::super::{Feed, feed::MAX_AUDIO_TRACKS};
use super::{Attempt, End, Place, Scheme, Source, stopped};
use crate::media::timeline::RawTime;
use crate::media::{AudioCodec, Dur, Reorder, Ts, VideoCodec};
use crate::wire::bitstream::h264::AvcConfig;
use crate::wire::bitstream::hevc::HevcConfig;
use crate::wire::rtmp::client::{FIRST_MEDIA_TIMEOUT, MEDIA_TIMEOUT, SETUP_TIMEOUT};
use crate::wire::rtsp::Inspector;
use bytes::Bytes;
use futures_util::StreamExt;
use retina::client::{Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions, TeardownPolicy};
use retina::codec::{CodecItem, FrameFormat, ParametersRef};
use retina::rtcp::ReceivedCompoundPacket;
use secrecy::ExposeSecret;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

/// Characters of a library's words that are kept: its first line.
const MAX_WORDS: usize = 200;

/// A step between two pictures beyond which their order says nothing about reordering.
const JUMP: Dur = Dur::from_secs(2);

/// Sound and picture that sender reports put closer together than this stay where they are.
const SYNC_LEAST: f64 = 0.02;
/// Reports that differ by more than this are of clocks that have nothing to do with each other.
const SYNC_MOST: f64 = 10.0;

/// Connects, plays and feeds until something ends it.
pub(super) async fn session<P: Place>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    addresses: &[SocketAddr],
) -> Result<Infallible, End> {
    let failed = |e: std::io::Error| End::Failed("connect", format!("{} cannot be reached: {e}", source.authority()));
    let (stream, peer) = attempt.pull.guard.connect(addresses).await.map_err(failed)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let near = listener.local_addr().map_err(failed)?;
    let mut url = source.url.without_credentials();
    let unset = || End::Failed("connect", "the address cannot be used".to_owned());
    url.set_host(Some("127.0.0.1")).map_err(|_| unset())?;
    url.set_port(Some(near.port())).map_err(|()| unset())?;
    let url = match source.scheme {
        // retina takes no other scheme, nor does `url` change one kind for another.
        Scheme::Rtsps => Url::parse(&url.as_str().replacen("rtsps", "rtsp", 1)).map_err(|_| unset())?,
        _ => url,
    };
    let guard = attempt.pull.guard.clone();
    let play = play(attempt, source, url, peer);
    // The relay first: it knows best why nothing comes any more.
    match source.scheme {
        Scheme::Rtsps => {
            let broken = |e: std::io::Error| End::Failed("tls", format!("no TLS with {}: {e}", source.authority()));
            let stream = guard.tls(stream, source.url.host()).await.map_err(broken)?;
            tokio::select! {
                biased;
                end = relay(listener, stream) => Err(end),
                end = play => end,
            }
        }
        _ => tokio::select! {
            biased;
            end = relay(listener, stream) => Err(end),
            end = play => end,
        },
    }
}

/// Passes bytes between retina and the server, as long as the server keeps to its bounds.
async fn relay<S: AsyncRead + AsyncWrite + Unpin>(listener: TcpListener, server: S) -> End {
    let near = match listener.accept().await {
        Ok((near, _)) => near,
        Err(error) => return End::Failed("connect", format!("no relay: {error}")),
    };
    drop(listener);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_near, mut to_near) = near.into_split();
    let down = async {
        let mut inspector = Inspector::new();
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let bytes = match from_server.read(&mut buffer).await {
                Ok(0) => return End::Failed("closed", "the server closed the connection".to_owned()),
                Ok(n) => &buffer[..n],
                Err(error) => return End::Failed("closed", format!("the connection broke: {error}")),
            };
            if let Err(error) = inspector.push(bytes) {
                return End::Failed("protocol", error.to_string());
            }
            if let Some(to) = inspector.redirect() {
                return End::Redirect(to.to_owned());
            }
            if to_near.write_all(bytes).await.is_err() {
                // retina has hung up and says why.
                std::future::pending::<()>().await;
            }
        }
    };
    let up = async {
        let mut buffer = vec![0; SMALL_READ];
        loop {
            match from_near.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    let sent = async {
                        to_server.write_all(&buffer[..n]).await?;
                        to_server.flush().await
                    };
                    if let Err(error) = sent.await {
                        return End::Failed("closed", format!("the connection broke: {error}"));
                    }
                }
                _ => std::future::pending::<()>().await,
            }
        }
    };
    tokio::select! {
        end = down => end,
        end = up => end,
    }
}

/// Requests have some hundreds of bytes.
const SMALL_READ: usize = 4 << 10;

/// What is used of a session, by retina's numbers of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Video(VideoCodec),
    Audio(u16),
}

async fn play<P: Place>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    url: Url,
    peer: SocketAddr,
) -> Result<Infallible, End> {
    let clock = attempt.pull.clock.clone();
    let limit = clock.now() + SETUP_TIMEOUT;
    let (mut session, roles, skipped) = tokio::select! {
        open = open(source, url) => open?,
        () = clock.sleep_until(limit) => {
            return Err(End::Failed("timeout", format!("the server did not answer within {SETUP_TIMEOUT}")));
        }
    };
    let mut tracks = Tracks::new(roles);
    let mut deadline = clock.now() + FIRST_MEDIA_TIMEOUT;
    // Deadlines only move later, so the timer is armed again when it has fired, not at each packet.
    let mut timer = clock.sleep_until(deadline);
    loop {
        let item = tokio::select! {
            item = session.next() => item,
            () = &mut timer => {
                if clock.now() < deadline {
                    timer = clock.sleep_until(deadline);
                    continue;
                }
                // A server that freezes breaks no connection.
                let words = match attempt.received {
                    Some(_) => format!("no sound or picture for {MEDIA_TIMEOUT}"),
                    None => format!("connected, but nothing came for {FIRST_MEDIA_TIMEOUT}"),
                };
                return Err(End::Failed("timeout", words));
            }
            refusal = stopped(attempt.stop()) => return Err(End::Refused(refusal)),
        };
        let now = clock.now();
        let item = match item {
            Some(Ok(item)) => item,
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(End::Failed("ended", "the server ended the stream".to_owned())),
        };
        if let CodecItem::Rtcp(report) = &item {
            tracks.report(report);
            continue;
        }
        let first = attempt.received.is_none();
        let feed = attempt.feed(source, peer)?;
        if first {
            if !skipped.is_empty() {
                feed.warn("tracks", format!("these tracks cannot be used: {}", skipped.join(", ")), now);
            }
            // The watchdog is shorter from now on.
            timer = clock.sleep_until(now + MEDIA_TIMEOUT);
        }
        tracks.item(item, &session, feed, now);
        deadline = now + MEDIA_TIMEOUT;
    }
}

/// Describes, sets up what can be used, and plays; with the names of what cannot.
async fn open(source: &Source, url: Url) -> Result<(Demuxed, Vec<Option<Role>>, Vec<String>), End> {
    let creds = source
        .url
        .credentials()
        .map(|(username, password)| Credentials { username, password: password.expose_secret().to_owned() });
    let options = SessionOptions::default()
        .creds(creds)
        .user_agent(concat!("Boothcast/", env!("CARGO_PKG_VERSION")).to_owned())
        .teardown(TeardownPolicy::Never);
    let mut session = Session::describe(url, options).await.map_err(|e| failed(&e))?;
    let (mut roles, mut skipped): (Vec<Option<Role>>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut picture, mut sounds) = (false, 0);
    for stream in session.streams() {
        let role = match (stream.media(), stream.encoding_name()) {
            ("video", "h264") if !picture => Some(Role::Video(VideoCodec::H264)),
            ("video", "h265") if !picture => Some(Role::Video(VideoCodec::Hevc)),
            ("audio", "mpeg4-generic") if sounds < MAX_AUDIO_TRACKS => Some(Role::Audio(sounds)),
            _ => None,
        };
        match role {
            Some(Role::Video(_)) => picture = true,
            Some(Role::Audio(_)) => sounds += 1,
            // What is not even named right is the server's to show.
            None => skipped.push(format!("{} {}", word(stream.media()), word(stream.encoding_name()))),
        }
        roles.push(role);
    }
    if !picture && sounds == 0 {
        let words =
            format!("the server offers nothing that can be used ({}): set H.264 or HEVC and AAC", skipped.join(", "));
        return Err(End::Failed("unusable", words));
    }
    for index in (0..roles.len()).filter(|i| roles[*i].is_some()) {
        let options = SetupOptions::default().frame_format(FrameFormat::MP4);
        session.setup(index, options).await.map_err(|e| failed(&e))?;
    }
    // Jumps are the timeline's to police: with B-frames retina would take every one for a jump.
    let options = PlayOptions::default()
        .initial_timestamp(retina::client::InitialTimestampPolicy::Permissive)
        .initial_seq(retina::client::InitialSequenceNumberPolicy::Ignore)
        .unknown_rtcp_ssrc(retina::client::UnknownRtcpSsrcPolicy::DropPackets);
    let playing = session.play(options).await.map_err(|e| failed(&e))?;
    Ok((playing.demuxed().map_err(|e| failed(&e))?, roles, skipped))
}

/// What a server calls something, fit to be shown.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(20).collect()
}

/// retina's error in words for people: what follows its first line is for whoever has a capture.
fn failed(error: &retina::Error) -> End {
    match error.status_code() {
        Some(401 | 403) => {
            let words = "the server refuses user and password, or asks for them: rtsp://user:password@host/path";
            End::Failed("refused", words.to_owned())
        }
        Some(404) => End::Failed("refused", "the server has no such stream (404)".to_owned()),
        Some(status) => End::Failed("refused", format!("the server refuses with status {status}")),
        None => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control());
            End::Failed("protocol", line.take(MAX_WORDS).collect())
        }
    }
}

/// What of a session goes where, and when.
struct Tracks {
    roles: Vec<Option<Role>>,
    reorder: Reorder,
    last_picture: Option<i64>,
    configured: Vec<bool>,
    sync: Sync,
}

impl Tracks {
    fn new(roles: Vec<Option<Role>>) -> Tracks {
        let (configured, sync) = (vec![false; roles.len()], Sync::new(roles.len()));
        Tracks { roles, reorder: Reorder::new(0, 1), last_picture: None, configured, sync }
    }

    fn role(&self, stream: usize) -> Option<Role> {
        self.roles.get(stream).copied().flatten()
    }

    fn item(&mut self, item: CodecItem, session: &Demuxed, feed: &mut Feed, now: Ts) {
        match item {
            CodecItem::VideoFrame(frame) => {
                let (index, at) = (frame.stream_id(), frame.timestamp());
                let Some(Role::Video(codec)) = self.role(index) else { return };
                if (frame.has_new_parameters() || !self.configured[index])
                    && let Some(ParametersRef::Video(parameters)) =
                        session.streams().get(index).and_then(|s| s.parameters())
                {
                    let record = Bytes::copy_from_slice(parameters.extra_data());
                    self.announced(codec, &record, at.clock_rate().get());
                    feed.video_config(codec, record, now);
                    self.configured[index] = true;
                }
                if frame.loss() > 0 {
                    feed.warn("rtp loss", "packets are missing: the server drops what it cannot send".into(), now);
                }
                let scale = at.clock_rate().get();
                let pts = at.elapsed().saturating_add(self.sync.correction(index, scale));
                let jump = JUMP.to_scale(scale);
                if self.last_picture.replace(pts).is_some_and(|last| pts.saturating_sub(last).abs() > jump) {
                    self.reorder.restart();
                }
                let raw = RawTime { dts: self.reorder.dts(pts), pts, scale, wrap_bits: 0 };
                let key = frame.is_random_access_point();
                feed.video(codec, raw, Dur::ZERO, key, frame.into_data().into(), now);
            }
            CodecItem::AudioFrame(frame) => {
                let (index, at) = (frame.stream_id(), frame.timestamp());
                let Some(Role::Audio(track)) = self.role(index) else { return };
                if !self.configured[index]
                    && let Some(ParametersRef::Audio(parameters)) =
                        session.streams().get(index).and_then(|s| s.parameters())
                {
                    let config = Bytes::copy_from_slice(parameters.extra_data());
                    feed.audio_config(track, AudioCodec::Aac, config, now);
                    self.configured[index] = true;
                }
                let scale = at.clock_rate().get();
                let time = at.elapsed().saturating_add(self.sync.correction(index, scale));
                let raw = RawTime { dts: time, pts: time, scale, wrap_bits: 0 };
                feed.audio(track, AudioCodec::Aac, raw, Dur::ZERO, Bytes::copy_from_slice(frame.data()), now);
            }
            _ => {}
        }
    }

    /// What parameter sets say about reordering and the duration of a picture.
    fn announced(&mut self, codec: VideoCodec, record: &Bytes, scale: u32) {
        let (depth, rate) = match codec {
            VideoCodec::H264 => match AvcConfig::parse(record).and_then(|c| c.sps()) {
                Ok(sps) => (sps.max_reorder, sps.frame_rate),
                Err(_) => return,
            },
            VideoCodec::Hevc => match HevcConfig::parse(record).and_then(|c| c.sps()) {
                Ok(sps) => (sps.max_reorder, sps.frame_rate),
                Err(_) => return,
            },
            VideoCodec::Av1 => return,
        };
        let (n, d) = rate.unwrap_or((25, 1));
        let step = i64::from(scale).saturating_mul(d.into()) / i64::from(n.max(1));
        // What was found out of the stream itself stays.
        let depth = self.reorder.depth().max(depth.map_or(0, |d| d as usize));
        if !self.configured.iter().zip(&self.roles).any(|(done, role)| *done && matches!(role, Some(Role::Video(_)))) {
            self.reorder = Reorder::new(depth, step);
        } else {
            self.reorder.announce(depth);
        }
    }

    /// A sender report (RFC 3550 §6.4.1) says which instant of the server's wall clock a time of the stream is.
    fn report(&mut self, report: &ReceivedCompoundPacket) {
        let Some(at) = report.rtp_timestamp() else { return };
        let sent = report.pkts().find_map(|p| p.as_sender_report().ok().flatten());
        if let (Some(sent), Some(_)) = (sent, self.role(report.stream_id())) {
            // Seconds in 32.32; half a microsecond is lost.
            let wall = sent.ntp_timestamp().0 as f64 / 4_294_967_296.0;
            self.sync.report(report.stream_id(), wall - at.elapsed_secs());
        }
    }
}

/// What puts the tracks of a server together whose times do not begin at the same instant.
struct Sync {
    /// Wall clock minus the stream's time, by the first report of each.
    offsets: Vec<Option<f64>>,
    /// The stream that the others are held to.
    reference: Option<usize>,
}

impl Sync {
    fn new(streams: usize) -> Sync {
        Sync { offsets: vec![None; streams], reference: None }
    }

    fn report(&mut self, stream: usize, offset: f64) {
        if let Some(known) = self.offsets.get_mut(stream)
            && known.is_none()
            && offset.is_finite()
        {
            *known = Some(offset);
            self.reference.get_or_insert(stream);
        }
    }

    /// What to add to a stream's times, in its own units.
    fn correction(&self, stream: usize, scale: u32) -> i64 {
        let known = |stream: usize| self.offsets.get(stream).copied().flatten();
        let reference = self.reference.and_then(known);
        let difference = known(stream).zip(reference).map_or(0.0, |(own, reference)| own - reference);
        if (SYNC_LEAST..SYNC_MOST).contains(&difference.abs()) { (difference * f64::from(scale)) as i64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_put_tracks_together_that_begin_apart() {
        let mut sync = Sync::new(3);
        assert_eq!(sync.correction(0, 90_000), 0);
        sync.report(0, 1000.0);
        sync.report(1, 1000.5);
        sync.report(2, 9000.0);
        assert_eq!((sync.correction(0, 90_000), sync.correction(1, 48_000)), (0, 24_000));
        assert_eq!((sync.correction(2, 48_000), sync.correction(7, 48_000)), (0, 0), "another clock; no such track");
        // The first report counts: later ones jitter, and the timeline follows drift.
        sync.report(1, 1000.7);
        assert_eq!(sync.correction(1, 48_000), 24_000);
        sync.report(1, f64::NAN);
        assert_eq!(sync.correction(1, 48_000), 24_000);
    }

    #[test]
    fn a_servers_words_are_cut_to_one_short_line() {
        assert_eq!(word("mpeg4\u{7} generic-with-a-very-long-name"), "mpeg4generic-with-a-");
    }
}
