//! Codecs in a child process, and the daemon's side of it.
//!
//! **Role.** The programme (one contribution, already on the event's timeline) becomes the ladder and the sound
//! renditions: constant frame rate, closed GOPs on the grid, AAC on its own grid. All codec code runs in a child
//! process (`boothcast engine`, this same binary), so a bitstream that crashes or hangs a codec costs one event under a
//! second and nobody else anything.
//!
//! **Data flow.** `hub::Stream` → [`supervisor`] → socket pair → [`worker`] → socket pair → [`supervisor`] → bounded
//! channel of [`Output`]. Only encoded data crosses ([`protocol`]). Inside the worker encoded packets wait, not raw
//! pictures: a picture is decoded just before its slot is due.
//!
//! **Time.** Output frame `n` (counted since 1970) starts at `n / fps` of the event's timeline and leaves at that instant
//! of the system clock plus the programme delay. Which input picture fills a slot, and how fast sound is read, follows
//! the packets' timestamps ([`schedule`], [`mix`]); the timestamps themselves are never changed.
//!
//! **Bounds, and a slow reader.** Packets to the child: [`history::HISTORY_BYTES`]; a reader that lags skips to a key
//! frame. Raw pictures before an encoder: [`worker::PICTURES`]; when an encoder cannot keep up, the oldest waiting picture
//! becomes a repeat of the one before it, so the timeline has no hole. Encoded output: back-pressure up to the encoder.

pub mod history;
pub mod mix;
pub mod protocol;
pub mod schedule;
pub mod supervisor;
pub mod worker;

use crate::hub;
use crate::media::{Dur, Grid, Packet, SharedClock, TrackId, Ts};
use crate::task::Group;
use bytes::Bytes;
use std::path::PathBuf;
use tokio::sync::{mpsc, watch};

/// What one event's engine makes.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// The event's id, for logs and metrics.
    pub event: String,
    /// Frame rate and cuts.
    pub grid: Grid,
    /// [`crate::media::SystemClock::anchor`] of the daemon's clock, so that the child reads the same time.
    pub clock_anchor: Dur,
    /// The programme delay: how long after its instant a slot leaves. Raised to [`schedule::MIN_VIDEO_DELAY`].
    pub delay: Dur,
    /// Picture rungs.
    pub video: Vec<RungSpec>,
    /// Sound renditions.
    pub audio: Vec<AudioSpec>,
    /// What is shown when there is no input.
    pub slate: SlateConfig,
    /// What the child may use.
    pub limits: Limits,
    /// Whether a small JPEG per second is made for managers.
    pub preview: bool,
    /// The program to start with the argument `engine`; this program when none.
    pub program: Option<PathBuf>,
}

/// One picture rung.
#[derive(Clone, Debug, PartialEq)]
pub struct RungSpec {
    /// The id its output carries.
    pub id: TrackId,
    /// The rendition's name, as in its URL: `720p`.
    pub name: String,
    /// Pixels, even, at most [`protocol::MAX_DIMENSION`].
    pub width: u32,
    /// Pixels, even, at most [`protocol::MAX_DIMENSION`].
    pub height: u32,
    /// Bits per second on average.
    pub bitrate: u32,
    /// H.264 profile; none: High from 720 lines up, Main below.
    pub profile: Option<String>,
    /// The encoder's speed preset.
    pub preset: String,
    /// libav's encoder name: `libx264`, `h264_nvenc`, `h264_qsv`, `h264_vaapi`.
    pub encoder: String,
}

impl RungSpec {
    /// A rung of the software encoder with DESIGN's preset.
    pub fn new(id: TrackId, name: &str, width: u32, height: u32, bitrate: u32) -> RungSpec {
        RungSpec {
            id,
            name: name.to_owned(),
            width,
            height,
            bitrate,
            profile: None,
            preset: "superfast".to_owned(),
            encoder: "libx264".to_owned(),
        }
    }
}

/// One sound rendition: stereo AAC-LC at 48 kHz.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioSpec {
    /// The id its output carries.
    pub id: TrackId,
    /// The rendition's name, as in its URL.
    pub name: String,
    /// Which sound track of the contribution it carries, from 0. While that track is absent it carries track 0, the floor.
    pub source: u16,
    /// Bits per second.
    pub bitrate: u32,
}

/// What is shown when there is no input, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct SlateConfig {
    /// Background of the generated card, red, green, blue.
    pub colour: [u8; 3],
    /// Text of the generated card; letters, digits and common marks of ASCII are drawn.
    pub text: String,
    /// A PNG or JPEG file shown instead of the card; at most [`protocol::MAX_SLATE`] bytes.
    pub picture: Option<Bytes>,
    /// How long the last picture is held before the slate comes.
    pub after: Dur,
}

impl Default for SlateConfig {
    fn default() -> Self {
        SlateConfig { colour: [24, 28, 36], text: String::new(), picture: None, after: Dur::from_secs(5) }
    }
}

/// What the child may use, and when it counts as hung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    /// One codec call that takes longer than this (of CPU time; four times this of wall time) means a hang: the child
    /// is killed.
    pub hang: Dur,
}

impl Default for Limits {
    /// 4 GB of address space, most of it stacks and arenas that are never touched: a 2160p ladder resides in under 1 GB.
    /// 700 ms: ten times the slowest honest call, and with the restart still under a second.
    fn default() -> Self {
        Limits { memory: 4 << 30, hang: Dur::from_millis(700) }
    }
}

/// What the engine makes, in each track's order.
#[derive(Clone, Debug)]
pub enum Output {
    /// An access unit. `pts == dts ==` its slot's start on the event's timeline; its track carries the format (`avcC` or
    /// `AudioSpecificConfig`), and a changed format is a new `Arc`.
    Packet(Packet),
}

/// Where the engine is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The child is being started.
    #[default]
    Starting,
    /// The child runs.
    Running,
    /// The child died or was killed; the next one is on its way.
    Restarting,
    /// Stopped by its owner.
    Stopped,
}

/// The loudness of one contribution sound track over the last tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Level {
    /// The track, from 0.
    pub track: u16,
    /// Highest sample, dB relative to full scale; −120 for silence.
    pub peak_db: f32,
    /// Root mean square, dB relative to full scale; −120 for silence.
    pub rms_db: f32,
}

/// How the engine is. Counters run over restarts of the child.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Status {
    /// Where it is in its life.
    pub state: State,
    /// The child's process id while there is one.
    pub pid: Option<u32>,
    /// How often the child was replaced.
    pub restarts: u64,
    /// Loudness of the contribution's sound tracks.
    pub levels: Vec<Level>,
    /// Whether fresh pictures come in.
    pub video_input: bool,
    /// Whether sound comes in on the floor track.
    pub audio_input: bool,
    /// Whether the slate is on.
    pub slate: bool,
    /// Frames per second that leave the slowest rung.
    pub output_fps: f64,
    /// Slots filled with the picture before, because no new one was there.
    pub frames_repeated: u64,
    /// Input pictures that no slot showed.
    pub frames_dropped: u64,
    /// Pictures that an encoder was too slow for.
    pub frames_overload: u64,
    /// Access units that a decoder refused.
    pub corrupt: u64,
    /// What went wrong last, in words.
    pub last_error: Option<String>,
}

/// A running engine. Dropping it stops the child.
pub struct Engine {
    status: watch::Receiver<Status>,
    preview: watch::Receiver<Option<Preview>>,
    group: Group,
}

/// A small picture of the programme.
#[derive(Clone, Debug)]
pub struct Preview {
    /// A JPEG file.
    pub jpeg: Bytes,
    /// When it was made, on the daemon's clock.
    pub at: Ts,
}

impl Engine {
    /// Starts the child and keeps it running until [`Engine::stop`]. `programme` is on the event's timeline; encoded
    /// access units go to `out`, which holds the engine back when it is full.
    pub fn start(
        config: EngineConfig,
        programme: hub::Stream,
        out: mpsc::Sender<Output>,
        clock: SharedClock,
        group: &Group,
    ) -> Engine {
        let group = group.child();
        let (status_tx, status) = watch::channel(Status::default());
        let (preview_tx, preview) = watch::channel(None);
        let run = supervisor::Supervisor::new(config, programme, out, clock, status_tx, preview_tx);
        let token = group.token();
        group.spawn("engine", run.run(token));
        Engine { status, preview, group }
    }

    /// Its state, to read or to wait for changes; refreshed ten times a second.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The latest preview picture, one per second.
    pub fn preview(&self) -> Option<Preview> {
        self.preview.borrow().clone()
    }

    /// Kills the child and waits until it is gone.
    pub async fn stop(self) {
        self.group.close(supervisor::STOP_LIMIT).await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.group.cancel();
    }
}
