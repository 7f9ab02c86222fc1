//! Codecs in a child process, and the daemon's side of it.
//!
//! **Role.** The programme (one contribution, already on the event's timeline) becomes the ladder and the sound
//! renditions: constant frame rate, closed GOPs on the grid, AAC on its own grid. All codec code runs in a child
//! process (`boothcast engine`, this same binary), so a bitstream that crashes or hangs a codec costs one event under a
//! second and nobody else anything.
//!
//! **Data flow.** `hub::Stream` → [`supervisor`] → socket pair → [`worker`] → socket pair → [`supervisor`] → bounded
//! channel of [`Output`]. Voices and plans ([`Engine::voice`], [`Engine::set_plan`]) go the same way; what rooms see and
//! hear comes back on a socket of its own into [`Engine::room`]. Only encoded data crosses ([`protocol`]). Inside the
//! worker encoded packets wait, not raw pictures: a picture is decoded just before its slot is due.
//!
//! **Time.** Output frame `n` (counted since 1970) starts at `n / fps` of the event's timeline and leaves at that instant
//! of the system clock plus the programme delay. Which input picture fills a slot, and how fast sound is read, follows
//! the packets' timestamps ([`schedule`], [`mix`]); the timestamps themselves are never changed.
//!
//! **Bounds, and a slow reader.** Packets to the child: [`history::HISTORY_BYTES`]; a reader that lags skips to a key
//! frame. Raw pictures before an encoder: [`worker::PICTURES`]; when an encoder cannot keep up, the oldest waiting picture
//! becomes a repeat of the one before it, and far behind it goes on at the next segment. Encoded output: back-pressure up
//! to the encoder. Voices: [`VOICE_PACKETS`], drop-oldest; inputs' sounds to compare: [`SOUND_PACKETS`], likewise. Rooms: drop-oldest in the child and in the hub, never
//! back-pressure.

pub mod content;
pub mod history;
pub mod likeness;
pub mod mix;
pub mod protocol;
mod rooms;
pub mod schedule;
pub mod supervisor;
pub mod worker;

pub use mix::downmix::Channels;

use crate::hub;
use crate::media::{
    Content, Dur, Grid, InputName, MixPlan, Packet, SharedClock, SoundMatch, TrackId, Ts, VoiceId, VoicePacket,
    VoiceReport,
};
use crate::task::Group;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, watch};

/// Voice packets that wait for the child: half a second of 32 voices.
pub const VOICE_PACKETS: usize = 1024;

/// Packets of the inputs' sounds that wait for the child to compare them: five seconds of two.
pub const SOUND_PACKETS: usize = 512;

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
    /// What the rooms see and hear without the programme delay; none: no realtime output at all.
    pub room: Option<RoomSpec>,
    /// Whether voices come out clean as well, see [`Output::Stem`].
    pub stems: bool,
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
    /// Which sound track of the contribution it carries, from 0. While that track is absent it carries what the first
    /// rendition does, the floor; while that is absent too, all of track 0.
    pub source: u16,
    /// Which of the track's channels, as they are; none: all of them, mixed down to stereo. A track that does not have them is
    /// absent for it.
    pub channels: Option<Channels>,
    /// Bits per second. Of a rendition that is already made it stays until the child is replaced.
    pub bitrate: u32,
    /// Whether the [`MixPlan`] may put voices over it. It then goes through a limiter, which leaves alone what is below
    /// its ceiling: with nobody on air the rendition is its source at 0 dB.
    pub interpreted: bool,
    /// The id of its realtime mix in [`Engine::room`]; none: it has none.
    pub realtime: Option<TrackId>,
}

impl AudioSpec {
    /// A rendition that carries a track of the contribution and nothing else.
    pub fn new(id: TrackId, name: &str, source: u16, bitrate: u32) -> AudioSpec {
        AudioSpec { id, name: name.to_owned(), source, channels: None, bitrate, interpreted: false, realtime: None }
    }

    /// What it carries.
    pub fn sound(&self) -> SoundSource {
        SoundSource { track: self.source, channels: self.channels }
    }
}

/// A sound of the contribution: a track, or some of its channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SoundSource {
    /// The track, from 0.
    pub track: u16,
    /// Its channels; none: all of them, mixed down to stereo.
    pub channels: Option<Channels>,
}

impl SoundSource {
    /// All of a track.
    pub const fn all(track: u16) -> SoundSource {
        SoundSource { track, channels: None }
    }
}

/// What the rooms see and hear without the programme delay, by [`Engine::room`].
#[derive(Clone, Debug, PartialEq)]
pub struct RoomSpec {
    /// The picture. It is made only while [`Engine::set_room_video`] says so.
    pub video: RungSpec,
    /// The id of the floor's sound: Opus, stereo, 20 ms.
    pub floor: TrackId,
    /// Bits per second of each realtime sound.
    pub bitrate: u32,
}

impl RoomSpec {
    /// 640×360 at 700 kbps as Constrained Baseline (`42e01f` to browsers), sound at 64 kbps.
    pub fn new(video: TrackId, floor: TrackId) -> RoomSpec {
        let mut rung = RungSpec::new(video, "room", 640, 360, 700_000);
        rung.profile = Some("baseline".to_owned());
        RoomSpec { video: rung, floor, bitrate: 64_000 }
    }
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
    /// One Opus packet of a clean stem, where [`EngineConfig::stems`] asks for them: as the voice sent it, at its place in
    /// the programme. What was lost on the way is a gap in `pts`. The track's id is 0.
    Stem {
        /// Whose.
        voice: VoiceId,
        /// The packet.
        packet: Packet,
    },
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

/// What leaves a mix, over the last tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct OutputLevel {
    /// The output's track id.
    pub track: u16,
    /// Highest sample, dB relative to full scale; −120 for silence.
    pub peak_db: f32,
    /// Root mean square, dB relative to full scale; −120 for silence.
    pub rms_db: f32,
    /// How far the floor is ducked now, dB, at most 0; −120 for silence.
    pub floor_db: f32,
    /// The most that the limiter took away, dB, at most 0.
    pub limited_db: f32,
}

/// CPU time of the sound, seconds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct MixCpu {
    /// Decoding and resampling the contribution's sound, for the programme and for the rooms.
    pub floor: f64,
    /// Decoding and metering voices, likewise.
    pub voices: f64,
    /// Each output, programme and realtime.
    pub outputs: Vec<OutputCpu>,
}

/// CPU time of one output, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct OutputCpu {
    /// The output's track id.
    pub track: u16,
    /// Ducking, mixing, limiting.
    pub mix: f64,
    /// AAC or Opus.
    pub encode: f64,
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
    /// Since when the programme is black, frozen or silent.
    #[serde(flatten)]
    pub content: Content,
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
    /// The connected voices.
    pub voices: Vec<(VoiceId, VoiceReport)>,
    /// What leaves each mix.
    pub outputs: Vec<OutputLevel>,
    /// CPU time of the sound since the child began.
    pub mix_cpu: MixCpu,
    /// Mixes that were made too late: a programme block after its time, a realtime block after the next one was due.
    pub mixes_late: u64,
    /// Packets for rooms that the child dropped because the daemon was slow to take them.
    pub room_dropped: u64,
    /// How the sounds given to [`Engine::sound`] belong together, as measured last; none while that is not known.
    #[serde(skip)]
    pub sound_match: Option<SoundMatch>,
    /// Packets of them that were not compared because the child was busy.
    #[serde(skip)]
    pub sounds_dropped: u64,
}

/// A running engine. Dropping it stops the child.
pub struct Engine {
    status: watch::Receiver<Status>,
    preview: watch::Receiver<Option<Preview>>,
    room: Option<RoomSpec>,
    rooms: rooms::RoomStreams,
    wishes: watch::Sender<Wishes>,
    voices: broadcast::Sender<VoicePacket>,
    sounds: broadcast::Sender<(InputName, Packet)>,
    clock: SharedClock,
    group: Group,
}

/// What the daemon wants of the child besides what it was started with; kept for the next child.
#[derive(Clone, Debug)]
struct Wishes {
    plan: Arc<protocol::TimedPlan>,
    audio: Arc<Vec<AudioSpec>>,
    rooms: protocol::Rooms,
    /// How many key frames were asked for.
    key_frames: u64,
}

impl Wishes {
    fn new(audio: Vec<AudioSpec>, now: Ts) -> Wishes {
        let plan = Arc::new(protocol::TimedPlan { at: now, ..Default::default() });
        Wishes { plan, audio: Arc::new(audio), rooms: protocol::Rooms::default(), key_frames: 0 }
    }
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
        let room = config.room.clone();
        let rooms = rooms::RoomStreams::default();
        rooms.set(room.as_ref(), &config.audio);
        let (voices, voices_rx) = broadcast::channel(VOICE_PACKETS);
        let (sounds, sounds_rx) = broadcast::channel(SOUND_PACKETS);
        let (wishes, wishes_rx) = watch::channel(Wishes::new(config.audio.clone(), clock.now()));
        let links = supervisor::Links {
            out,
            rooms: rooms.clone(),
            status: status_tx,
            preview: preview_tx,
            wishes: wishes_rx,
            voices: voices_rx,
            sounds: sounds_rx,
        };
        let run = supervisor::Supervisor::new(config, programme, links, clock.clone());
        let token = group.token();
        group.spawn("engine", run.run(token));
        Engine { status, preview, room, rooms, wishes, voices, sounds, clock, group }
    }

    /// What a room sees and hears: the picture of [`RoomSpec`] and one sound, which is the floor's ([`RoomSpec::floor`]) or
    /// a language's ([`AudioSpec::realtime`]); none for any other id. Packets come as soon as they are made, beside
    /// [`Output`] and never held back by it. The picture is H.264 with `avcC`; sound is Opus, 48 kHz stereo, 20 ms a packet,
    /// whose `pts` rise by 20 ms. `pts` is on the event's timeline. The stream ends with its language.
    pub fn room(&self, sound: TrackId) -> Option<hub::Stream> {
        self.rooms.get(sound)
    }

    /// A voice's packet. Never waits: when the engine is behind by [`VOICE_PACKETS`], the oldest go and are counted
    /// (`boothcast_engine_voice_lost_packets_total`). One that is too long for Opus is dropped.
    pub fn voice(&self, packet: VoicePacket) {
        if packet.data.len() <= protocol::MAX_VOICE {
            // Without a receiver the engine has stopped.
            let _ = self.voices.send(packet);
        }
    }

    /// A packet of an input's sound as it came, on the source's clock, to find out how the inputs belong together
    /// ([`Status::sound_match`]); another `epoch` is another run of that clock. Never waits: when the engine is behind by
    /// [`SOUND_PACKETS`], the oldest go and are counted (`boothcast_engine_sounds_lost_packets_total`).
    pub fn sound(&self, input: InputName, packet: Packet) {
        // Without a receiver the engine has stopped.
        let _ = self.sounds.send((input, packet));
    }

    /// Replaces the mix plan; what it changes takes effect for what is spoken from now on. Kept, and sent again after a
    /// restart of the child. Beyond [`protocol::MAX_TRACKS`] languages or voices the rest is left out.
    pub fn set_plan(&self, plan: MixPlan) {
        let plan = Arc::new(protocol::TimedPlan { at: self.clock.now(), plan });
        self.wishes.send_modify(|w| w.plan = plan);
    }

    /// Replaces the sound renditions. Those that stay are not disturbed; one that is new begins at a segment's start; one
    /// that is left out ends. Kept like the plan.
    pub fn set_audio(&self, audio: Vec<AudioSpec>) {
        self.rooms.set(self.room.as_ref(), &audio);
        let audio = Arc::new(audio);
        self.wishes.send_modify(|w| w.audio = audio);
    }

    /// Which realtime sounds to make, by their track ids, the room's floor among them: an encoder runs only for what
    /// somebody hears. Until this is called, all are made. Kept like the plan.
    pub fn set_realtime(&self, wanted: Vec<TrackId>) {
        self.wishes.send_modify(|w| w.rooms.realtime = Some(wanted));
    }

    /// Whether the rooms' picture is wanted. Kept like the plan.
    pub fn set_room_video(&self, on: bool) {
        self.wishes.send_modify(|w| w.rooms.video = on);
    }

    /// Makes the rooms' picture begin a GOP now; more than a few a second are taken together.
    pub fn key_frame(&self) {
        self.wishes.send_modify(|w| w.key_frames += 1);
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
