//! An input's health: what comes in, how well, and what to do about it, in words.
//!
//! **Role.** The session reports each packet ([`Health::packet`]); the API, the console and failover read [`Health::snapshot`].
//! **Bound.** Fixed counters per track and one text per topic of warning. A packet costs a short lock and some additions; rates are
//! worked out once per [`WINDOW`], words when somebody asks.

use super::Protocol;
use super::feed::MAX_AUDIO_TRACKS;
use super::pull::{PullHealth, PullState};
use crate::media::timeline::Stats;
use crate::media::{Dur, Media, Packet, Track, TrackId, Ts};
use crate::wire::bitstream::codecs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// Rates are measured over so much time.
pub const WINDOW: Dur = Dur::from_secs(2);

/// Without a packet for so long an input is stalled: some frames at the lowest rates, well below the failover's patience.
pub const STALLED_AFTER: Dur = Dur::from_secs(2);

/// Failover and start-up hold within a second or two only when key frames come that often.
pub const LONGEST_GOP: Dur = Dur::from_secs(2);

/// A lost packet is noticed, asked for and sent again within two round trips; twice that lets one try fail.
const LATENCY_ROUND_TRIPS: f64 = 4.0;

/// A track that has not come for so long is missing, not late.
const MISSING_AFTER: Dur = Dur::from_secs(3);

/// A warning about a packet stays for so long after it last applied.
const WARNING_STAYS: Dur = Dur::from_secs(60);

/// Crystals are within 100 ppm; more is a software clock gone wrong.
const DRIFT_WARNING_PPM: f64 = 300.0;

/// Sound and picture that arrive farther apart than this cost delay or arrive too late for the programme.
const SKEW_WARNING: Dur = Dur::from_millis(500);

/// Whether and how an input comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputState {
    /// Nobody publishes.
    Offline,
    /// A publisher is there, but nothing has come yet.
    Connected,
    /// Packets come.
    Live,
    /// A publisher is there, but packets have stopped.
    Stalled,
    /// Nobody publishes; it is being pulled, and nothing has come yet.
    Connecting,
    /// Nobody publishes; it is pulled again in a moment.
    Waiting,
}

/// The picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VideoHealth {
    /// `h264`, `hevc`, `av1`.
    pub codec: String,
    /// The RFC 6381 codecs string, which names profile and level.
    pub codecs: Option<String>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Measured pictures per second of the source's clock.
    pub fps: Option<f64>,
    /// What the bitstream or its container says.
    pub nominal_fps: Option<f64>,
    /// Measured bits per second.
    pub bitrate: u64,
    /// From one key frame to the next.
    pub gop_seconds: Option<f64>,
    /// Whether pictures are reordered.
    pub b_frames: bool,
}

/// A sound track.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AudioHealth {
    /// Counted from 0.
    pub track: u16,
    /// `aac`, `opus`, `mp3`, `ac3`.
    pub codec: String,
    /// The RFC 6381 codecs string.
    pub codecs: Option<String>,
    /// ISO 639 code of its language, where the contribution says.
    pub language: Option<String>,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Measured bits per second.
    pub bitrate: u64,
}

/// What SRT measures of a contribution, since the publisher came.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SrtHealth {
    /// How long packets are held back for lost ones to come again: the larger of what both sides ask for.
    pub latency_seconds: f64,
    /// How much of that is filled.
    pub buffered_seconds: f64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Packets that came, each counted once.
    pub packets: u64,
    /// Packets that were missing when the next one came; most of them came later.
    pub lost: u64,
    /// Packets that came again.
    pub retransmitted: u64,
    /// Packets that did not come within the latency, and are missing.
    pub dropped: u64,
    /// Share of the packets that were lost on their way, 0 to 1.
    pub loss: f64,
    /// Bits per second of late, retransmissions included.
    pub receive_bitrate: u64,
}

/// What the source's clock did since the publisher came.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimelineHealth {
    /// Jumps of the clock.
    pub jumps: u64,
    /// Holes.
    pub gaps: u64,
    /// Packets whose time was moved to keep order.
    pub clamped: u64,
    /// Packets left out: broken, out of order, before the first key frame.
    pub dropped: u64,
    /// How fast the source's clock runs against ours: positive when it is slow.
    pub drift_ppm: Option<f64>,
}

/// An input as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputHealth {
    /// Whether it comes in.
    pub state: InputState,
    /// How.
    pub protocol: Option<Protocol>,
    /// From where.
    pub peer: Option<String>,
    /// What the encoder calls itself.
    pub encoder: Option<String>,
    /// Since when the publisher is connected.
    #[serde(with = "time::serde::rfc3339::option")]
    pub connected_since: Option<OffsetDateTime>,
    /// The picture; none without one.
    pub video: Option<VideoHealth>,
    /// The sound tracks.
    pub audio: Vec<AudioHealth>,
    /// Measured bits per second of all tracks.
    pub bitrate: u64,
    /// Bytes received in all tracks.
    pub bytes: u64,
    /// How much later sound arrives than the picture of the same moment.
    pub av_skew_seconds: Option<f64>,
    /// Round trip, where the protocol measures it.
    pub rtt_seconds: Option<f64>,
    /// What SRT measures; none for other protocols.
    pub srt: Option<SrtHealth>,
    /// The source's clock.
    pub timeline: TimelineHealth,
    /// What it is pulled from, where it is.
    pub pull: Option<PullHealth>,
    /// What to do, in words.
    pub warnings: Vec<String>,
}

impl InputHealth {
    /// An input that nobody publishes on.
    pub fn offline() -> InputHealth {
        InputHealth {
            state: InputState::Offline,
            protocol: None,
            peer: None,
            encoder: None,
            connected_since: None,
            video: None,
            audio: Vec::new(),
            bitrate: 0,
            bytes: 0,
            av_skew_seconds: None,
            rtt_seconds: None,
            srt: None,
            timeline: TimelineHealth::default(),
            pull: None,
            warnings: Vec::new(),
        }
    }

    /// The same of an input that is pulled.
    pub fn pulled(mut self, protocol: Protocol, pull: PullHealth) -> InputHealth {
        if self.state == InputState::Offline {
            self.state = match pull.state {
                PullState::Connecting | PullState::Receiving => InputState::Connecting,
                PullState::Waiting => InputState::Waiting,
            };
            self.protocol = Some(protocol);
        }
        if let Some(error) = pull.last_error.as_ref().filter(|_| pull.state != PullState::Receiving) {
            self.warnings.push(format!("pull: {error}"));
        }
        self.pull = Some(pull);
        self
    }
}

/// Bytes and packets since `start`, and the rates of the window before.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    start: Option<(Ts, Ts)>,
    bytes: u64,
    packets: u32,
    bitrate: Option<u64>,
    per_second: Option<f64>,
}

impl Rate {
    fn add(&mut self, bytes: usize, dts: Ts, arrival: Ts) {
        let (start_dts, start_arrival) = *self.start.get_or_insert((dts, arrival));
        let (span, elapsed) = (dts - start_dts, arrival - start_arrival);
        if elapsed >= WINDOW && self.packets > 1 {
            self.bitrate = Some((self.bytes as f64 * 8.0 / elapsed.as_secs_f64()) as u64);
            if span > Dur::ZERO {
                self.per_second = Some(f64::from(self.packets) / span.as_secs_f64());
            }
            *self = Rate { start: Some((dts, arrival)), bytes: 0, packets: 0, ..*self };
        }
        self.bytes += bytes as u64;
        self.packets += 1;
    }

    /// A clock that jumped says nothing about the rate over the jump.
    fn restart(&mut self) {
        *self = Rate { start: None, bytes: 0, packets: 0, ..*self };
    }

    fn bitrate(&self, now: Ts) -> u64 {
        let Some((_, start)) = self.start else { return self.bitrate.unwrap_or(0) };
        // Before the first window is over, what there is; in a stall, what the stall makes of it.
        let elapsed = now - start;
        match self.bitrate {
            Some(rate) if elapsed < WINDOW * 2 => rate,
            _ if elapsed >= Dur::from_millis(500) => (self.bytes as f64 * 8.0 / elapsed.as_secs_f64()) as u64,
            rate => rate.unwrap_or(0),
        }
    }
}

struct TrackHealth {
    track: Arc<Track>,
    codecs: Option<String>,
    rate: Rate,
    bytes: u64,
    epoch: u32,
    last: Option<Ts>,
}

#[derive(Default)]
struct Picture {
    interlaced: bool,
    unusual: bool,
    reordered: bool,
    last_key: Option<Ts>,
    last_dts: Ts,
    gop: Option<Dur>,
}

struct State {
    encoder: Option<String>,
    tracks: BTreeMap<TrackId, TrackHealth>,
    picture: Picture,
    last: Option<Ts>,
    dropped: u64,
    rtt: Option<Dur>,
    srt: Option<SrtHealth>,
    /// When SRT last lost a packet for good.
    srt_dropped: Option<Ts>,
    languages: BTreeMap<u16, String>,
    stats: Stats,
    /// When the jump count last rose.
    jumped: Option<Ts>,
    warnings: BTreeMap<&'static str, (Ts, String)>,
    ended: bool,
}

/// The health of one publisher's session.
pub struct Health {
    protocol: Protocol,
    peer: SocketAddr,
    connected: Ts,
    state: Mutex<State>,
}

impl Health {
    /// For a publisher that is admitted at `now`.
    pub fn new(protocol: Protocol, peer: SocketAddr, now: Ts) -> Health {
        let state = State {
            encoder: None,
            tracks: BTreeMap::new(),
            picture: Picture::default(),
            last: None,
            dropped: 0,
            rtt: None,
            srt: None,
            srt_dropped: None,
            languages: BTreeMap::new(),
            stats: Stats::default(),
            jumped: None,
            warnings: BTreeMap::new(),
            ended: false,
        };
        Health { protocol, peer, connected: now, state: Mutex::new(state) }
    }

    /// Held for additions and for making a snapshot, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the encoder calls itself.
    pub fn encoder(&self, name: Option<&str>) {
        if let Some(name) = name {
            self.lock().encoder = Some(name.to_owned());
        }
    }

    /// The round trip, where the protocol measures it.
    pub fn rtt(&self, rtt: Option<Dur>) {
        self.lock().rtt = rtt;
    }

    /// What SRT has measured, with the round trip.
    pub fn srt(&self, rtt: Dur, srt: SrtHealth, at: Ts) {
        let mut state = self.lock();
        state.rtt = Some(rtt);
        if state.srt.as_ref().map_or(0, |s| s.dropped) < srt.dropped {
            state.srt_dropped = Some(at);
        }
        state.srt = Some(srt);
    }

    /// The languages of the sound tracks, as far as the contribution names them.
    pub fn languages(&self, languages: BTreeMap<u16, String>) {
        self.lock().languages = languages;
    }

    /// A new or changed track.
    pub fn track(&self, track: &Arc<Track>, _at: Ts) {
        let codecs = codecs(&track.media).ok();
        let mut state = self.lock();
        let epoch = state.tracks.get(&track.id).map_or(0, |t| t.epoch);
        let bytes = state.tracks.get(&track.id).map_or(0, |t| t.bytes);
        let health = TrackHealth { track: track.clone(), codecs, rate: Rate::default(), bytes, epoch, last: None };
        state.tracks.insert(track.id, health);
    }

    /// What the picture's parameter sets say: coded in fields; not 8 bits of 4:2:0, which browsers do not play.
    pub fn picture(&self, interlaced: bool, unusual: bool) {
        let mut state = self.lock();
        state.picture.interlaced = interlaced;
        state.picture.unusual = unusual;
    }

    /// A packet that is published.
    pub fn packet(&self, packet: &Packet) {
        let mut state = self.lock();
        let state = &mut *state;
        state.last = Some(packet.arrival);
        let Some(health) = state.tracks.get_mut(&packet.track.id) else { return };
        if health.epoch != packet.epoch {
            health.epoch = packet.epoch;
            health.rate.restart();
            if packet.track.is_video() {
                state.picture.last_key = None;
            }
        }
        health.last = Some(packet.arrival);
        health.bytes += packet.data.len() as u64;
        health.rate.add(packet.data.len(), packet.dts, packet.arrival);
        if packet.track.is_video() {
            let picture = &mut state.picture;
            picture.last_dts = packet.dts;
            picture.reordered |= packet.pts > packet.dts;
            if packet.key {
                if let Some(last) = picture.last_key {
                    picture.gop = Some(packet.dts - last);
                }
                picture.last_key = Some(packet.dts);
            }
        }
    }

    /// A packet that was left out.
    pub fn dropped(&self) {
        self.lock().dropped += 1;
    }

    /// The timeline's counters.
    pub fn timeline(&self, stats: Stats) {
        let mut state = self.lock();
        if stats.jumps > state.stats.jumps {
            state.jumped = state.last;
        }
        state.stats = stats;
    }

    /// A problem, in words. `topic` keeps one problem to one place.
    pub fn warn(&self, topic: &'static str, text: String, at: Ts) {
        self.lock().warnings.insert(topic, (at, text));
    }

    /// The publisher is gone.
    pub fn ended(&self) {
        self.lock().ended = true;
    }

    /// How it is now.
    pub fn snapshot(&self, now: Ts) -> InputHealth {
        let state = self.lock();
        if state.ended {
            return InputHealth::offline();
        }
        let input_state = match state.last {
            None => InputState::Connected,
            Some(last) if now - last > STALLED_AFTER => InputState::Stalled,
            Some(_) => InputState::Live,
        };
        let mut video = None;
        let mut audio = Vec::new();
        let (mut bitrate, mut bytes) = (0, 0);
        for (id, t) in &state.tracks {
            let rate = t.rate.bitrate(now);
            bitrate += rate;
            bytes += t.bytes;
            match &t.track.media {
                Media::Video(v) => {
                    let gop = gop(&state.picture);
                    video = Some(VideoHealth {
                        codec: v.codec.to_string(),
                        codecs: t.codecs.clone(),
                        width: v.width,
                        height: v.height,
                        fps: t.rate.per_second.map(|n| round(n, 2)),
                        nominal_fps: v.frame_rate.map(|(n, d)| round(f64::from(n) / f64::from(d.max(1)), 3)),
                        bitrate: rate,
                        gop_seconds: gop.map(|g| round(g.as_secs_f64(), 2)),
                        b_frames: state.picture.reordered,
                    });
                }
                Media::Audio(a) => audio.push(AudioHealth {
                    track: id.audio_index().unwrap_or(0).min(MAX_AUDIO_TRACKS),
                    codec: a.codec.to_string(),
                    codecs: t.codecs.clone(),
                    language: id.audio_index().and_then(|i| state.languages.get(&i).cloned()),
                    sample_rate: a.sample_rate,
                    channels: a.channels,
                    bitrate: rate,
                }),
            }
        }
        let skew = skew(&state.stats);
        let mut health = InputHealth {
            state: input_state,
            protocol: Some(self.protocol),
            peer: Some(self.peer.to_string()),
            encoder: state.encoder.clone(),
            connected_since: date(self.connected),
            video,
            audio,
            bitrate,
            bytes,
            av_skew_seconds: skew.map(|s| round(s.as_secs_f64(), 3)),
            // To the microsecond, as SRT measures it: within a machine it is a few tens of them.
            rtt_seconds: state.rtt.map(|r| round(r.as_secs_f64(), 6)),
            srt: state.srt.clone(),
            timeline: TimelineHealth {
                jumps: state.stats.jumps,
                gaps: state.stats.gaps,
                clamped: state.stats.clamped,
                dropped: state.dropped,
                drift_ppm: drift(&state.stats).map(|d| round(d, 1)),
            },
            pull: None,
            warnings: Vec::new(),
        };
        health.warnings = self.warnings(&state, &health, now);
        health
    }

    fn warnings(&self, state: &State, health: &InputHealth, now: Ts) -> Vec<String> {
        let mut out = Vec::new();
        if health.state == InputState::Stalled {
            let since = state.last.map_or(0.0, |l| (now - l).as_secs_f64());
            out.push(format!("nothing has come for {since:.0} s: check the encoder and its network"));
        } else if now - self.connected > MISSING_AFTER {
            let missing = |video: bool| {
                let last = state.tracks.values().filter(|t| t.track.is_video() == video).filter_map(|t| t.last).max();
                last.is_none_or(|l| now - l > MISSING_AFTER)
            };
            if missing(true) {
                out.push("no picture: send video too, or expect the slate".into());
            }
            if missing(false) {
                out.push("no sound: add an audio source in the encoder".into());
            }
        }
        if let Some(video) = &health.video {
            if let Some(gop) = video.gop_seconds.filter(|g| *g > LONGEST_GOP.as_secs_f64() * 1.05) {
                out.push(format!("keyframe every {} s: set {} s", short(gop), LONGEST_GOP.as_secs_f64()));
            }
            if let (Some(fps), Some(nominal)) = (video.fps, video.nominal_fps)
                && (fps - nominal).abs() > nominal * 0.1
            {
                let (fps, nominal) = (short(fps), short(nominal));
                out.push(format!(
                    "{fps} fps arrive where {nominal} are announced: lower the encoder's load or its rate"
                ));
            }
            if state.picture.interlaced {
                out.push("interlaced picture: set the encoder to progressive".into());
            }
            if state.picture.unusual {
                out.push(
                    "browsers do not play this colour format as it is: set 8 bit 4:2:0, or do not offer the source"
                        .into(),
                );
            }
        }
        if let Some(skew) = skew(&state.stats).filter(|s| s.abs() > SKEW_WARNING) {
            let (late, early) = if skew > Dur::ZERO { ("sound", "picture") } else { ("picture", "sound") };
            out.push(format!("{late} arrives {:.1} s after the {early} that it belongs to", skew.abs().as_secs_f64()));
        }
        if let Some(drift) = health.timeline.drift_ppm.filter(|d| d.abs() > DRIFT_WARNING_PPM) {
            let way = if drift > 0.0 { "slow" } else { "fast" };
            out.push(format!("the encoder's clock runs {:.0} ppm too {way}", drift.abs()));
        }
        if let (Some(srt), Some(rtt)) = (&state.srt, state.rtt) {
            let (latency, rtt) = (srt.latency_seconds * 1000.0, rtt.as_secs_f64() * 1000.0);
            if rtt > 0.0 && latency < LATENCY_ROUND_TRIPS * rtt {
                // To the next 10 ms, so that the advice does not change with every measurement.
                let enough = (LATENCY_ROUND_TRIPS * rtt / 10.0).ceil() * 10.0;
                out.push(format!(
                    "latency {latency:.0} ms is less than {LATENCY_ROUND_TRIPS:.0} × RTT ({rtt:.0} ms): set latency to {enough:.0} ms in the encoder"
                ));
            }
            if let Some(at) = state.srt_dropped
                && now - at < WARNING_STAYS
            {
                out.push(format!(
                    "{} packets did not come in time and are missing: set a longer latency than {latency:.0} ms, or a lower bitrate",
                    srt.dropped
                ));
            }
        }
        if let Some(at) = state.jumped
            && now - at < WARNING_STAYS
        {
            out.push(format!("the encoder's clock has jumped {} times", state.stats.jumps));
        }
        let recent = state.warnings.values().filter(|(at, _)| now - *at < WARNING_STAYS);
        out.extend(recent.map(|(_, text)| text.clone()));
        out
    }
}

/// The last whole distance of key frames, or the present one when it is longer already.
fn gop(picture: &Picture) -> Option<Dur> {
    let open = picture.last_key.map(|key| picture.last_dts - key);
    match (picture.gop, open) {
        (Some(gop), Some(open)) => Some(gop.max(open)),
        (None, Some(open)) if open > LONGEST_GOP => Some(open),
        (gop, _) => gop,
    }
}

fn skew(stats: &Stats) -> Option<Dur> {
    let behind = |video: bool| {
        let tracks = stats.tracks.iter().filter(|t| (t.track == TrackId::VIDEO) == video);
        tracks.map(|t| t.behind).max()
    };
    Some(behind(false)? - behind(true)?)
}

fn drift(stats: &Stats) -> Option<f64> {
    let video = stats.tracks.iter().find(|t| t.track == TrackId::VIDEO);
    video.or(stats.tracks.first()).and_then(|t| t.drift_ppm)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    // Adding zero turns a negative zero into one that reads like a number.
    (value * scale).round() / scale + 0.0
}

/// A number for a sentence: at most one digit after the point.
fn short(value: f64) -> String {
    let rounded = round(value, 1);
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.1}") }
}

/// A point of the daemon's clock, which is Unix time, in milliseconds.
pub(super) fn date(ts: Ts) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ts.as_millis()) * 1_000_000).ok()
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
