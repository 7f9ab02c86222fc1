//! What interpreting costs, and how long the realtime mix takes, by the engine with its real child process.
//!
//! The costs are CPU time as the child measures it, by what it was spent on; the voices speak all the time. Beside us
//! stands Janus' AudioBridge, which decodes, mixes and encodes for each of its participants: that is compared with
//! decoding a voice, its language's realtime mix, and its Opus encoder. What a language makes besides (loudness, the
//! programme mix, AAC) is in the language's figure.

use crate::janus;
use crate::ladder::packets;
use crate::support::signal;
use crate::table::{Figure, Limit, quantile};
use crate::voices::{Ear, Voice};
use boothcast::engine::{
    AudioSpec, Engine, EngineConfig, Limits, Output, RoomSpec, RungSpec, SlateConfig, State, Status,
};
use boothcast::hub;
use boothcast::media::{
    Clock, Dur, Grid, LanguageMix, MixPlan, Packet, SystemClock, TrackId, Ts, VoiceId, VoicePacket,
};
use boothcast::task::Group;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const LANGUAGES: u16 = 16;
const INTERPRETERS: u32 = 32;
const FLOOR: u16 = 10;
const FIRST_LANGUAGE: u16 = 100;
const FIRST_REALTIME: u16 = 200;
const ROOM_FLOOR: u16 = 30;
const ROOM_PICTURE: u16 = 40;
const MEASURE: Duration = Duration::from_secs(20);

/// The footage again and again on the event's timeline.
async fn loops(publisher: hub::Publisher, footage: Vec<Packet>, clock: SystemClock, begin: Ts) {
    let first = footage[0].dts;
    let length = footage.iter().map(|p| p.dts).max().unwrap() - first + Dur::from_millis(40);
    for round in 0.. {
        for packet in &footage {
            let by = begin - first + length * round;
            let (pts, dts) = (packet.pts + by, packet.dts + by);
            tokio::time::sleep((dts - clock.now()).to_std()).await;
            publisher.publish(Packet { pts, dts, arrival: clock.now(), ..packet.clone() });
        }
    }
}

/// Everybody speaks, a packet every 20 ms; `said` is told when each was sent.
async fn speak(engine: Arc<Engine>, voices: Vec<Voice>, clock: SystemClock, mut said: impl FnMut(usize, Instant)) {
    let begin = clock.now();
    for n in 0.. {
        tokio::time::sleep((begin + Dur::from_millis(20) * n - clock.now()).to_std()).await;
        let (now, lead) = (clock.now(), Dur::from_millis(100));
        for (voice, id) in voices.iter().zip(1..) {
            let data = voice.packet(n as usize);
            engine.voice(VoicePacket { voice: VoiceId(id), sequence: n, rtp: n * 960, arrival: now, lead, data });
        }
        said(n as usize, Instant::now());
    }
}

struct Studio {
    engine: Arc<Engine>,
    clock: SystemClock,
    group: Group,
}

impl Studio {
    async fn start(languages: u16, footage: Vec<Packet>, video: RungSpec) -> Studio {
        let clock = SystemClock::new();
        let language = |n: u16| AudioSpec {
            interpreted: true,
            realtime: Some(TrackId(FIRST_REALTIME + n)),
            ..AudioSpec::new(TrackId(FIRST_LANGUAGE + n), &format!("l{n}"), 0, 128_000)
        };
        let mut audio = vec![AudioSpec::new(TrackId(FLOOR), "floor", 0, 128_000)];
        audio.extend((0..languages).map(language));
        let config = EngineConfig {
            event: "bench".into(),
            grid: Grid::new(25).unwrap(),
            clock_anchor: clock.anchor(),
            delay: Dur::from_secs(1),
            video: vec![video],
            audio,
            room: Some(RoomSpec::new(TrackId(ROOM_PICTURE), TrackId(ROOM_FLOOR))),
            stems: false,
            slate: SlateConfig::default(),
            limits: Limits::default(),
            preview: false,
            program: Some(env!("CARGO_BIN_EXE_boothcast").into()),
        };
        let (publisher, stream) = hub::stream(hub::Limits::default());
        let (tx, mut out) = mpsc::channel::<Output>(256);
        let group = Group::new();
        let engine = Arc::new(Engine::start(config, stream, tx, Arc::new(clock), &group));
        group.spawn("output", async move { while out.recv().await.is_some() {} });
        let grid = Grid::new(25).unwrap();
        let begin = grid.frame_start(grid.frame_number(clock.now()) + 5);
        group.spawn_until_cancelled("footage", loops(publisher, footage, clock, begin));
        let studio = Studio { engine, clock, group };
        crate::support::eventually(Duration::from_secs(10), "the engine runs", || async {
            (studio.status().state == State::Running).then_some(())
        })
        .await;
        studio
    }

    fn status(&self) -> Status {
        self.engine.status().borrow().clone()
    }

    /// The voices are in the languages one after the other; the first of each is on air.
    fn plan(&self, languages: u16, voices: u32) {
        let mix = |n: u16| LanguageMix {
            output: TrackId(FIRST_LANGUAGE + n),
            on_air: vec![VoiceId(u32::from(n) + 1)],
            floor_level_db: -14.0,
        };
        let voices = (1..=voices).map(VoiceId).collect();
        self.engine.set_plan(MixPlan { languages: (0..languages).map(mix).collect(), voices, ..MixPlan::default() });
    }

    async fn end(self) {
        drop(self.engine);
        assert!(self.group.close(Duration::from_secs(3)).await, "the engine's tasks end");
    }
}

/// CPU time of the engine's child and its seconds on what, over some time.
struct Cost {
    child: f64,
    voices: f64,
    programme: (f64, f64),
    realtime: (f64, f64),
    late: u64,
    restarts: u64,
}

/// Everything per second: of the engine as it is, with everybody speaking.
async fn cost(languages: u16, interpreters: u32, footage: &[Packet], video: RungSpec) -> Cost {
    let studio = Studio::start(languages, footage.to_vec(), video).await;
    studio.plan(languages, interpreters);
    let voices = (0..interpreters).map(Voice::speaking).collect();
    let (engine, clock) = (studio.engine.clone(), studio.clock);
    studio.group.spawn_until_cancelled("voices", speak(engine, voices, clock, |_, _| {}));
    // The rooms are listened to, or their picture would not be made.
    studio.engine.set_room_video(true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pid = studio.status().pid.expect("a child");
    let (began, before, used) = (Instant::now(), studio.status(), crate::process::cpu(pid));
    tokio::time::sleep(MEASURE).await;
    let (after, used) = (studio.status(), crate::process::cpu(pid) - used);
    let seconds = began.elapsed().as_secs_f64();
    let part = |from: u16, count: u16| {
        let sum = |status: &Status| {
            let outputs = status.mix_cpu.outputs.iter().filter(|o| (from..from + count).contains(&o.track));
            outputs.fold((0.0, 0.0), |(mix, encode), o| (mix + o.mix, encode + o.encode))
        };
        let (a, b) = (sum(&after), sum(&before));
        ((a.0 - b.0) / seconds, (a.1 - b.1) / seconds)
    };
    let cost = Cost {
        child: used / seconds,
        voices: (after.mix_cpu.voices - before.mix_cpu.voices) / seconds,
        programme: part(FIRST_LANGUAGE, languages),
        realtime: part(FIRST_REALTIME, languages),
        late: after.mixes_late - before.mixes_late,
        restarts: after.restarts,
    };
    studio.end().await;
    cost
}

/// Milliseconds from a voice's packet, in which a knock begins, to the room's packet in which it begins.
async fn delays(footage: &[Packet]) -> Vec<f64> {
    let studio = Studio::start(1, footage.to_vec(), small()).await;
    studio.engine.set_plan(MixPlan {
        languages: vec![LanguageMix {
            output: TrackId(FIRST_LANGUAGE),
            on_air: vec![VoiceId(1)],
            floor_level_db: f32::NEG_INFINITY,
        }],
        voices: vec![VoiceId(1)],
        ..MixPlan::default()
    });
    let (tx, mut sent) = mpsc::unbounded_channel();
    let said = move |n: usize, at: Instant| {
        if Voice::knocks(n) {
            let _ = tx.send(at);
        }
    };
    let (engine, clock) = (studio.engine.clone(), studio.clock);
    let mut room = studio.engine.room(TrackId(FIRST_REALTIME)).expect("a stream").subscribe(hub::Start::Live);
    studio.group.spawn_until_cancelled("voice", speak(engine, vec![Voice::knocking()], clock, said));
    let (began, mut ear, mut heard) = (Instant::now(), Ear::new(), Vec::new());
    while began.elapsed() < MEASURE {
        let packet = room.recv().await.expect("the room goes on");
        if packet.track.id == TrackId(FIRST_REALTIME) && ear.hears(&packet.data) {
            heard.push(Instant::now());
        }
    }
    let mut knocks = Vec::new();
    while let Ok(at) = sent.try_recv() {
        knocks.push(at);
    }
    studio.end().await;
    pairs(&knocks, &heard)
}

/// Milliseconds from each knock to when it was heard; the first seconds, in which buffers settle, do not count.
fn pairs(knocks: &[Instant], heard: &[Instant]) -> Vec<f64> {
    let settled = knocks[0] + Duration::from_secs(5);
    let found: Vec<f64> = knocks
        .iter()
        .filter(|k| **k > settled)
        .filter_map(|k| heard.iter().find(|h| *h > k).map(|h| (*h - *k).as_secs_f64() * 1e3))
        .filter(|ms| *ms < 450.0)
        .collect();
    assert!(found.len() >= 15, "{} of {} knocks were heard", found.len(), knocks.len());
    found
}

fn small() -> RungSpec {
    RungSpec::new(TrackId(0), "180p", 320, 180, 300_000)
}

/// Ten seconds of a moving picture with sound, as an encoder sends it.
async fn footage(size: &str, bitrate: &str) -> Vec<Packet> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("footage.mp4");
    let picture = format!("testsrc2=size={size}:rate=25");
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", bitrate, "-g", "25", "-bf", "2", "-pix_fmt"];
    let sound = ["yuv420p", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-t", "10"];
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "anoisesrc=amplitude=0.05:colour=pink"];
    let out = file.to_str().unwrap().to_owned();
    signal::make(inputs.iter().chain(&encode).chain(&sound).copied().chain([out.as_str()])).await;
    packets(&file, 10)
}

pub async fn run() -> Vec<Figure> {
    let (little, large) = (footage("320x180", "400k").await, footage("1280x720", "3M").await);
    let one = cost(8, 8, &little, small()).await;
    let each = |value: f64| value / 8.0;
    let language = each(one.voices + one.programme.0 + one.programme.1 + one.realtime.0 + one.realtime.1);
    let participant = each(one.voices / 2.0 + one.realtime.0 + one.realtime.1);
    let full = RungSpec::new(TrackId(0), "720p", 1280, 720, 2_800_000);
    let many = cost(LANGUAGES, INTERPRETERS, &large, full).await;
    assert_eq!((one.restarts, many.restarts), (0, 0), "the engine went on");
    let ours = delays(&little).await;
    let theirs = janus::participant().await;
    let told = |name: &str, value: f64| Figure::new(format!("mixing: {name}"), value, "core", Limit::None);
    vec![
        Figure::new("mixing: a language, all of it", language, "core", Limit::Most(0.05)),
        told("  decoding and metering its voice, twice", each(one.voices)),
        told("  programme mix, loudness, limiter", each(one.programme.0)),
        told("  AAC", each(one.programme.1)),
        told("  realtime mix", each(one.realtime.0)),
        told("  Opus", each(one.realtime.1)),
        Figure::new("mixing: a speaking participant", participant, "core", Limit::RatioMost(1.0))
            .beside("Janus AudioBridge", theirs),
        Figure::new("mixing: packet in to packet out, median", quantile(&ours, 0.5), "ms", Limit::Most(60.0)),
        Figure::new("mixing: 16 languages, 32 voices, 720p: late", many.late as f64, "blocks", Limit::Most(0.0)),
        told("  the engine with all of it", many.child),
    ]
}

/// Told of a packet by its bytes: what a bench sends to a peer as RTP (RFC 3550 §5.1), payload type 111.
pub fn rtp(sequence: usize, ssrc: u32, payload: &Bytes) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend((sequence as u16).to_be_bytes());
    packet.extend(((sequence * 960) as u32).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// How long a bench of a peer watches.
pub const WATCH: Duration = MEASURE;
