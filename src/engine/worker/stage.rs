//! What the worker's threads share: the ways out, counters, what the mixes know of each other, and who is busy since when.

use super::out::RoomQueue;
use crate::engine::mix::loudness::Measured;
use crate::engine::protocol::{FromEngine, Report};
use crate::engine::{Level, MixCpu, OutputLevel, SoundSource};
use crate::media::{Clock, Content, Dur, SoundMatch, SystemClock, Ts, VoiceId, VoiceReport};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

/// A thread that calls into codecs. While it does, its start time is set, so that a hang is seen from outside.
#[derive(Debug)]
pub struct Stage {
    name: String,
    clock: SystemClock,
    /// Flicks; 0 while idle.
    since: AtomicI64,
    /// The process's CPU time when the call began, flicks.
    cpu: AtomicI64,
}

/// CPU time of all threads of this process.
fn cpu_time() -> Dur {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Dur::from_secs(t.tv_sec) + Dur::from_scale(t.tv_nsec, 1_000_000_000)
}

/// How long a call counts as running. On a busy machine an honest call takes long because it seldom runs, so wall time
/// alone would kill the innocent: what counts is the CPU time that went by, or, for a call that waits for ever and uses
/// none, a quarter of the wall time.
fn counted(wall: Dur, cpu: Dur) -> Dur {
    wall.min(cpu).max(wall / 4)
}

impl Stage {
    /// Runs a codec call.
    pub fn work<T>(&self, call: impl FnOnce() -> T) -> T {
        self.cpu.store(cpu_time().flicks(), Ordering::Relaxed);
        self.since.store(self.clock.now().flicks(), Ordering::Relaxed);
        let result = call();
        self.since.store(0, Ordering::Relaxed);
        result
    }
}

/// CPU time of the calling thread.
fn thread_time() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Splits a thread's CPU time among what it does.
#[derive(Debug, Default)]
pub struct CpuTimer {
    last: f64,
}

impl CpuTimer {
    /// Seconds of this thread's CPU time since the last call.
    pub fn lap(&mut self) -> f64 {
        let now = thread_time();
        now - std::mem::replace(&mut self.last, now)
    }
}

/// What one of the two mixes reports.
#[derive(Debug, Default)]
pub struct MixState {
    /// What leaves.
    pub levels: Vec<OutputLevel>,
    /// What it costs.
    pub cpu: MixCpu,
}

/// What the mixes report and know of each other.
#[derive(Debug, Default)]
pub struct SoundState {
    /// The programme mix.
    pub programme: MixState,
    /// The realtime mix.
    pub realtime: MixState,
    /// Voices over the last second.
    pub voices: Vec<(VoiceId, VoiceReport)>,
    /// What waits in the realtime mix, ms.
    pub delays: BTreeMap<VoiceId, f32>,
    /// Loudness of voices, measured by the programme mix for both.
    pub loudness: BTreeMap<VoiceId, Measured>,
    /// Loudness of the contribution's tracks, likewise.
    pub floors: BTreeMap<SoundSource, f32>,
}

/// See the module.
pub struct Shared {
    out: SyncSender<FromEngine>,
    /// The way out of what the rooms get.
    pub room: RoomQueue,
    /// Held to copy a few numbers, never while working.
    pub sound: Mutex<SoundState>,
    /// See [`Report`].
    pub mixes_late: AtomicU64,
    /// See [`Report`].
    pub room_dropped: AtomicU64,
    clock: SystemClock,
    stages: Mutex<Vec<Arc<Stage>>>,
    /// Loudness of the contribution's tracks, as last measured.
    pub levels: Mutex<Vec<Level>>,
    /// See [`Report`].
    pub video_input: AtomicBool,
    /// See [`Report`].
    pub audio_input: AtomicBool,
    /// See [`Report`].
    pub slate: AtomicBool,
    /// See [`Report`]; held to set or copy it.
    content: Mutex<Content>,
    /// See [`Report`]; held to set or copy it.
    sound_match: Mutex<Option<SoundMatch>>,
    /// See [`Report`].
    pub sounds_dropped: AtomicU64,
    /// See [`Report`].
    pub repeated: AtomicU64,
    /// See [`Report`].
    pub dropped: AtomicU64,
    /// See [`Report`].
    pub overload: AtomicU64,
    /// See [`Report`].
    pub corrupt: AtomicU64,
}

impl Shared {
    /// Sends by `out`, which is bounded: a full channel holds the sender back.
    pub fn new(out: SyncSender<FromEngine>, clock: SystemClock) -> Shared {
        Shared {
            out,
            room: RoomQueue::default(),
            sound: Mutex::default(),
            mixes_late: AtomicU64::default(),
            room_dropped: AtomicU64::default(),
            clock,
            stages: Mutex::default(),
            levels: Mutex::default(),
            video_input: AtomicBool::default(),
            audio_input: AtomicBool::default(),
            slate: AtomicBool::default(),
            content: Mutex::default(),
            sound_match: Mutex::default(),
            sounds_dropped: AtomicU64::default(),
            repeated: AtomicU64::default(),
            dropped: AtomicU64::default(),
            overload: AtomicU64::default(),
            corrupt: AtomicU64::default(),
        }
    }

    /// The daemon's clock.
    pub fn clock(&self) -> SystemClock {
        self.clock
    }

    /// A new stage.
    pub fn stage(&self, name: &str) -> Arc<Stage> {
        let stage = Arc::new(Stage {
            name: name.to_owned(),
            clock: self.clock,
            since: AtomicI64::new(0),
            cpu: AtomicI64::new(0),
        });
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(stage.clone());
        stage
    }

    /// Notes what was measured of the programme's content.
    pub fn set_content(&self, set: impl FnOnce(&mut Content)) {
        set(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes how the inputs' sounds belong together.
    pub fn set_sound_match(&self, found: SoundMatch) {
        *self.sound_match.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// To the daemon; waits while it takes nothing. When it is gone the process is about to end.
    pub fn send(&self, message: FromEngine) {
        let _ = self.out.send(message);
    }

    /// To the rooms; never waits.
    pub fn send_room(&self, message: FromEngine) {
        self.room_dropped.fetch_add(self.room.push(message), Ordering::Relaxed);
    }

    /// To the daemon if there is room.
    pub fn try_send(&self, message: FromEngine) {
        let _ = self.out.try_send(message);
    }

    /// A line for the daemon's log; lost when the daemon takes nothing.
    pub fn log(&self, warn: bool, text: String) {
        self.try_send(FromEngine::Log { warn, text });
    }

    /// How things are now.
    pub fn report(&self) -> Report {
        let (now, cpu) = (self.clock.now(), cpu_time());
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = stages
            .iter()
            .filter_map(|s| match s.since.load(Ordering::Relaxed) {
                0 => None,
                since => {
                    let used = cpu - Dur::from_flicks(s.cpu.load(Ordering::Relaxed));
                    Some((counted(now - Ts::from_flicks(since), used), &s.name))
                }
            })
            .max_by_key(|b| b.0);
        let (busy, name) = busy.map_or((Dur::ZERO, ""), |(d, n)| (d, n));
        let sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        let (programme, realtime) = (&sound.programme, &sound.realtime);
        let delay_ms = |id: &VoiceId| sound.delays.get(id).copied().unwrap_or(0.0);
        Report {
            voices: sound.voices.iter().map(|(id, v)| (*id, VoiceReport { delay_ms: delay_ms(id), ..*v })).collect(),
            outputs: programme.levels.iter().chain(&realtime.levels).copied().collect(),
            mix_cpu: MixCpu {
                floor: programme.cpu.floor + realtime.cpu.floor,
                voices: programme.cpu.voices + realtime.cpu.voices,
                outputs: programme.cpu.outputs.iter().chain(&realtime.cpu.outputs).copied().collect(),
            },
            mixes_late: self.mixes_late.load(Ordering::Relaxed),
            room_dropped: self.room_dropped.load(Ordering::Relaxed),
            busy_ms: busy.as_millis().clamp(0, i64::from(u32::MAX)) as u32,
            busy_stage: name.to_owned(),
            video_input: self.video_input.load(Ordering::Relaxed),
            audio_input: self.audio_input.load(Ordering::Relaxed),
            slate: self.slate.load(Ordering::Relaxed),
            content: *self.content.lock().unwrap_or_else(PoisonError::into_inner),
            sound_match: *self.sound_match.lock().unwrap_or_else(PoisonError::into_inner),
            sounds_dropped: self.sounds_dropped.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            overload: self.overload.load(Ordering::Relaxed),
            corrupt: self.corrupt.load(Ordering::Relaxed),
            levels: self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinning_or_a_stuck_call_counts_and_a_starved_one_does_not() {
        let ms = Dur::from_millis;
        assert_eq!(counted(ms(800), ms(1500)), ms(800));
        assert_eq!(counted(ms(2000), ms(300)), ms(500));
        assert_eq!(counted(ms(4000), ms(0)), ms(1000));
    }

    #[test]
    fn a_call_in_progress_is_reported_and_a_finished_one_is_not() {
        let (tx, _rx) = std::sync::mpsc::sync_channel(1);
        let shared = Shared::new(tx, SystemClock::new());
        let stage = shared.stage("decode");
        stage.work(|| {
            std::thread::sleep(std::time::Duration::from_millis(60));
            let report = shared.report();
            assert!(report.busy_ms >= 14 && report.busy_stage == "decode", "{report:?}");
        });
        assert_eq!(shared.report().busy_ms, 0);
    }
}
