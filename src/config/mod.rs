//! The configuration file: plain types, a pure [`parse`], and what may be reloaded.
//!
//! **Data flow.** TOML text and `BOOTHCAST_SECTION__KEY` variables → [`Config`]. Nothing here touches a file, a socket
//! or the environment: the caller hands both in. Every key is optional; `conf/boothcast.toml` documents each with its
//! default, and a test holds that file to these types.
//!
//! **Reload.** Each section says whether SIGHUP applies it to the running daemon. [`Config::needs_restart`] names the
//! changed keys that wait for a restart.

mod keys;
mod parse;
#[cfg(test)]
mod tests;

pub use keys::{KeyPath, keys};
pub use parse::{ConfigError, Position, is_pathway, parse};

use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// State on disk.
    pub store: Store,
    /// Pages, API and media over HTTP.
    pub http: Http,
    /// Certificates of every TLS listener.
    pub tls: Tls,
    /// RTMP contribution.
    pub rtmp: Rtmp,
    /// SRT contribution.
    pub srt: Srt,
    /// WebRTC: booths, WHIP and WHEP.
    pub webrtc: WebRtc,
    /// Prometheus.
    pub metrics: Metrics,
    /// Logging.
    pub log: Log,
    /// Connections that the daemon itself opens.
    pub outgoing: Outgoing,
    /// Codec processes.
    pub engine: Engine,
    /// Programme timing and failover.
    pub programme: Programme,
    /// Packaging and the origin.
    pub hls: Hls,
    /// This origin among others.
    pub origin: Origin,
    /// How long personal data is kept.
    pub retention: Retention,
    /// Stopping.
    pub drain: Drain,
}

/// `[store]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The state directory: database, secret key, media on disk. Made when it is missing, with access for its owner alone.
    pub dir: PathBuf,
}

/// `[http]`. `cors` and `public_url` are reloaded; the rest needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Plain HTTP. Port 0 means any free port.
    pub listen: SocketAddr,
    /// HTTPS with the certificate of `[tls]`; none: no such listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_listen: Option<SocketAddr>,
    /// How the world reaches this daemon (`https://live.example.org`), for links in answers; none: as the request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Origins that may read media and public state from their pages; `"*"` means any.
    pub cors: Vec<String>,
    /// Addresses of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Open connections, plain and TLS together; more are told so and closed.
    pub max_connections: u32,
    /// The same for one client: an IPv4 address or an IPv6 /64. 0 means no limit, for a listener behind a proxy.
    pub max_connections_per_address: u32,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    pub head_timeout_seconds: f64,
    /// How long an answer may make no progress before its client is disconnected.
    pub stall_timeout_seconds: f64,
}

/// `[tls]`. Reloaded, and the files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain, the server's own first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Make a certificate for this machine and keep it in the state directory. For trying out: browsers warn of it.
    pub self_signed: bool,
}

/// `[rtmp]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtmp {
    /// RTMP. Port 0 means any free port.
    pub listen: SocketAddr,
    /// RTMPS with the certificate of `[tls]`; none: no such listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_listen: Option<SocketAddr>,
    /// Open connections, plain and TLS together; more are closed at once.
    pub max_connections: u32,
    /// The same for one client: an IPv4 address or an IPv6 /64. 0 means no limit.
    pub max_connections_per_address: u32,
}

/// `[srt]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Srt {
    /// SRT (UDP). Port 0 means any free port.
    pub listen: SocketAddr,
    /// How long packets are held back at least, for lost ones to come again. An encoder that asks for more gets it.
    pub latency_seconds: f64,
}

/// `[webrtc]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// One UDP port for all peers, and TCP on the same number. Port 0 means any free port.
    pub listen: SocketAddr,
    /// Addresses at which browsers reach this port, where they differ from the machine's own (NAT).
    pub public_ips: Vec<IpAddr>,
    /// Booths, viewers, contributors and connection tests at a time; more are told to come later.
    pub max_sessions: u32,
}

/// `[metrics]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Prometheus text at `/metrics`. Unauthenticated: keep it on an address that only the monitoring reaches.
    pub listen: SocketAddr,
}

/// `[log]`. `level` is reloaded; `format` needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or a list of directives such as `info,boothcast::ingest=debug`.
    pub level: String,
}

/// How log lines are written, always to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[outgoing]`. Reloaded: holds for connections opened from then on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outgoing {
    /// Whether targets, webhooks, pulls and uploads may go to loopback, private and link-local addresses.
    pub allow_private: bool,
}

/// `[engine]`. Reloaded: holds for engines started from then on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// The H.264 encoder.
    pub encoder: Encoder,
    /// The x264 preset of every rung.
    pub preset: Preset,
    /// Presets of single rungs that differ from `preset`, by rendition name (`1080p = "veryfast"`).
    pub presets: BTreeMap<String, Preset>,
    /// Address space of one event's codec process, in megabytes; at the limit it is restarted. Most of it is stacks and
    /// arenas that are never touched: a 2160p ladder resides in under a quarter of the default.
    pub memory_limit_mb: u32,
}

/// H.264 encoders by libavcodec's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Software.
    #[default]
    Libx264,
    /// NVIDIA.
    H264Nvenc,
    /// Intel Quick Sync.
    H264Qsv,
    /// VA-API.
    H264Vaapi,
}

impl Encoder {
    /// As libavcodec names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoder::Libx264 => "libx264",
            Encoder::H264Nvenc => "h264_nvenc",
            Encoder::H264Qsv => "h264_qsv",
            Encoder::H264Vaapi => "h264_vaapi",
        }
    }
}

/// x264 presets, fastest first. `superfast` has all of `veryfast`'s quality but 0.1 dB at half its cost; slower ones are
/// for machines with cores to spare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// 4 dB below `superfast`.
    Ultrafast,
    /// The default.
    #[default]
    Superfast,
    /// Twice the cost of `superfast`.
    Veryfast,
    /// Slower.
    Faster,
    /// Slower still.
    Fast,
    /// The slowest that is of use live.
    Medium,
}

impl Preset {
    /// As x264 names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::Ultrafast => "ultrafast",
            Preset::Superfast => "superfast",
            Preset::Veryfast => "veryfast",
            Preset::Faster => "faster",
            Preset::Fast => "fast",
            Preset::Medium => "medium",
        }
    }
}

/// How long what is on air may be black, frozen or silent: cuts through black are shorter than a second, and who would wait
/// for more than ten minutes looks himself.
pub const TRIGGER_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=600.0;

/// `[programme]`. Reloaded: holds for events that leave `inactive` or `ended` from then on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Programme {
    /// How far the programme runs behind the newest input, in seconds: it pays for a switch without a lost frame, for
    /// network-compensated voices and for jitter.
    pub delay_seconds: f64,
    /// Without video for this long an input counts as lost.
    pub loss_timeout_seconds: f64,
    /// How long main must have been clean before the programme returns to it.
    pub recover_after_seconds: f64,
    /// Where an event does not say, how long the picture of what is on air may be black before the other input takes its
    /// place; 0: for ever.
    pub black_after_seconds: f64,
    /// The same for a picture that stands still.
    pub frozen_after_seconds: f64,
    /// The same for a silent floor.
    pub silent_after_seconds: f64,
    /// When the programme returns to main.
    pub recover: Recover,
}

/// When the programme returns to main after a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recover {
    /// By itself, once main was clean for `recover_after_seconds`.
    #[default]
    Auto,
    /// When a manager switches.
    Manual,
    /// When backup is lost.
    Sticky,
}

/// `[hls]`. Reloaded: holds for events that leave `inactive` or `ended` from then on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hls {
    /// How far back viewers can seek where an event does not say, in seconds. What does not fit in `memory_segments` is on disk.
    pub dvr_window_seconds: f64,
    /// Segments of each rendition that stay in memory.
    pub memory_segments: u32,
}

/// `[origin]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// What players call this daemon where an event has other origins beside it (PATHWAY-ID, RFC 8216bis §4.4.6.2). The
    /// daemons of one event have different ones.
    pub pathway: String,
}

/// `[retention]`. Reloaded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days for which results of connection tests are kept.
    pub connection_tests_days: u32,
}

/// `[drain]`. Reloaded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long SIGTERM waits for viewers to fetch what is listed before the daemon ends, in seconds.
    pub timeout_seconds: f64,
}

/// All IPv4 addresses of this machine, at `port`.
const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), port)
}

impl Default for Store {
    fn default() -> Self {
        Store { dir: PathBuf::from("/var/lib/boothcast") }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: any(8080),
            tls_listen: None,
            public_url: None,
            cors: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
            max_connections: 20_000,
            max_connections_per_address: 1_000,
            head_timeout_seconds: 20.0,
            stall_timeout_seconds: 30.0,
        }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Rtmp { listen: any(1935), tls_listen: None, max_connections: 1_000, max_connections_per_address: 100 }
    }
}

impl Default for Srt {
    fn default() -> Self {
        Srt { listen: any(9000), latency_seconds: 0.12 }
    }
}

impl Default for WebRtc {
    fn default() -> Self {
        WebRtc { listen: any(8189), public_ips: Vec::new(), max_sessions: 1_000 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { listen: SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 9091) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            encoder: Encoder::default(),
            preset: Preset::default(),
            presets: BTreeMap::new(),
            memory_limit_mb: 4_096,
        }
    }
}

impl Default for Programme {
    fn default() -> Self {
        Programme {
            delay_seconds: 0.75,
            loss_timeout_seconds: 0.5,
            recover_after_seconds: 3.0,
            black_after_seconds: 0.0,
            frozen_after_seconds: 0.0,
            silent_after_seconds: 0.0,
            recover: Recover::default(),
        }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Hls { dvr_window_seconds: 1_800.0, memory_segments: 8 }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Origin { pathway: "a".to_owned() }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention { connection_tests_days: 90 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Drain { timeout_seconds: 10.0 }
    }
}

/// Keys that SIGHUP does not apply, as `section` or `section.key`.
const RESTART: [&str; 14] = [
    "store",
    "http.listen",
    "http.tls_listen",
    "http.trusted_proxies",
    "http.max_connections",
    "http.max_connections_per_address",
    "http.head_timeout_seconds",
    "http.stall_timeout_seconds",
    "rtmp",
    "srt",
    "webrtc",
    "metrics",
    "origin",
    "log.format",
];

impl Config {
    /// The keys, as `section.key`, that differ in `new` and take effect only after a restart.
    pub fn needs_restart(&self, new: &Config) -> Vec<KeyPath> {
        let (old, new) = (keys::values(self), keys::values(new));
        keys()
            .into_iter()
            .filter(|k| RESTART.contains(&k.section) || RESTART.contains(&k.to_string().as_str()))
            .filter(|k| old.get(k) != new.get(k))
            .collect()
    }
}
