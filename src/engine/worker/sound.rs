//! Sound of the programme: one thread that decodes, aligns, mixes and encodes.
//!
//! **Data flow.** [`PacketQueue`] → decoder per contribution track and [`TrackLine`] for it and for each pick of its
//! channels, decoder and line per voice
//! ([`super::voices`]) → [`Carrier`] and [`LanguageMixer`] per rendition → an AAC encoder each → the daemon. Decoded sound
//! is small and waits in the lines ([`LINE`]); a frame that is not there when its time has come is silence. Where the
//! sample rate changes a new line begins, and the old one is read to its end.
//!
//! **Voices** sound at their arrival less their lead, as far as the programme delay allows: a frame is mixed some time
//! after its instant ([`schedule::audio_due`]), and [`RESERVE`] of that is kept for packets that are late.
//!
//! Mixers look ahead, so sources are read that much ahead: what leaves is at its place.

use super::av::{SoundDecoder, SoundEncoder};
use super::queue::{Item, PacketQueue, Popped};
use super::stage::{CpuTimer, Shared, Stage};
use super::threads::spawn_prompt;
use super::voices::{Voices, language};
use crate::engine::content::SoundWatch;
use crate::engine::mix::jitter::Policy;
use crate::engine::mix::language::{LanguageMixer, Level as MixLevel};
use crate::engine::mix::level::{self, Meter, decibels};
use crate::engine::mix::limiter::LOOK_AHEAD;
use crate::engine::mix::loudness::Loudness;
use crate::engine::mix::track::TrackLine;
use crate::engine::mix::{BLOCK, Block, Carrier, SILENCE};
use crate::engine::protocol::{FromEngine, Start};
use crate::engine::schedule::{self, AAC_LOOKAHEAD};
use crate::engine::{AudioSpec, Channels, Level, MixCpu, OutputCpu, OutputLevel, SoundSource};
use crate::media::grid::{AAC_FRAME_DUR, AUDIO_RATE};
use crate::media::{Clock, Dur, Media, Ramps, SystemClock, Track, TrackId, Ts, VoicePacket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// How much later than its place a voice's packet may come and still be heard.
const RESERVE: Dur = Dur::from_millis(200);
/// The floor level where a plan says nothing of a language that a voice is still heard in.
const FLOOR_DB: f32 = -14.0;
/// Blocks per report on voices: a second, in whole readings of the meters.
const VOICE_BLOCKS: u32 = 9 * METER_BLOCKS;
/// Decoded sound that a track keeps beyond the programme delay: what a restart makes up for, and jitter.
const LINE: Dur = Dur::from_secs(12);
/// Lines of one track that are read at once: a rate that changes more often than this within [`LINE`] loses the oldest.
const MAX_LINES: usize = 4;
/// Contribution tracks that are decoded; more are ignored.
const MAX_SOURCES: usize = 16;
/// Blocks that an encoder is fed before its first output counts, so that it continues the one before a restart: its
/// look-ahead and one of overlap.
const PRIME: i64 = AAC_LOOKAHEAD + 1;
/// A track without sound for this many blocks (one second) is absent.
const ABSENT: u32 = 47;
/// The furthest ahead that an added rendition may begin, AAC frames: a segment and a half.
const FURTHEST: i64 = 200;
/// Blocks per reading of the meters: ten readings a second.
const METER_BLOCKS: u32 = 5;

/// Starts the thread of the sound.
pub fn start(start: &Start, input: &Arc<PacketQueue>, shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, String> {
    let config = &start.config;
    let first = config.audio.iter().map(|a| start.first(a.id)).min().unwrap_or_else(|| {
        // No rendition: levels are still measured.
        config.grid.aac_number(start.clock().now() - config.delay)
    });
    let next = first - PRIME;
    let wait = schedule::audio_due(next, config.delay) - (Ts::ZERO + AAC_FRAME_DUR * next);
    let policy = Policy::Placed { budget: (wait - AAC_FRAME_DUR - RESERVE).to_scale(AUDIO_RATE) };
    let mut mixing = Mixing {
        input: input.clone(),
        shared: shared.clone(),
        stage: shared.stage("sound"),
        clock: start.clock(),
        delay: config.delay,
        paced: start.paced,
        floor: config.audio.first().map_or(SoundSource::all(0), AudioSpec::sound),
        tracks: BTreeMap::new(),
        sources: BTreeMap::new(),
        voices: Voices::new(policy, BLOCK, true, config.stems),
        outputs: Vec::new(),
        next,
        blocks: 0,
        watch: SoundWatch::default(),
        timer: CpuTimer::default(),
        cpu: MixCpu::default(),
        catching_up: true,
        ended: false,
    };
    for spec in &config.audio {
        let output = mixing.output(spec.clone(), start.first(spec.id), next)?;
        mixing.outputs.push(output);
    }
    Ok(vec![spawn_prompt("sound", move || mixing.run())?])
}

/// A contribution track that is decoded.
struct Decoding {
    track: Arc<Track>,
    decoder: Option<SoundDecoder>,
    epoch: Option<u32>,
}

struct Source {
    /// By sample rate, oldest first; the last one is written.
    lines: VecDeque<TrackLine>,
    meter: Meter,
    /// Where an interpreted rendition carries it.
    loudness: Option<Loudness>,
    block: Box<Block>,
    /// Blocks since sound was last there.
    silent: u32,
}

impl Source {
    fn new() -> Source {
        let (meter, block) = (Meter::default(), Box::new(SILENCE));
        Source { lines: VecDeque::new(), meter, loudness: None, block, silent: ABSENT }
    }

    /// Reads the block at `at`; whether any sound was in it.
    fn read(&mut self, at: Ts) -> bool {
        let mut heard = false;
        *self.block = SILENCE;
        let mut one: Block = SILENCE;
        for line in &mut self.lines {
            heard |= line.read(at, &mut one);
            self.block.iter_mut().zip(&one).for_each(|(sum, sample)| *sum += sample);
        }
        // The block after the last one fades.
        while self.lines.len() > 1
            && self.lines.front().and_then(TrackLine::until).is_none_or(|until| until + AAC_FRAME_DUR <= at)
        {
            self.lines.pop_front();
        }
        heard
    }

    fn write(&mut self, rate: u32, capacity: Dur, pts: Ts, stereo: &[f32]) {
        if self.lines.back().is_none_or(|line| line.rate() != rate) {
            self.lines.push_back(TrackLine::new(rate, capacity));
            if self.lines.len() > MAX_LINES {
                self.lines.pop_front();
            }
        }
        if let Some(line) = self.lines.back_mut() {
            line.write(pts, stereo);
        }
    }
}

struct Output {
    spec: AudioSpec,
    /// Opened when its time has come.
    encoder: Option<SoundEncoder>,
    /// Its first access unit.
    first: i64,
    carrier: Carrier<SoundSource>,
    mixer: LanguageMixer,
    block: Box<Block>,
    floor_db: f32,
    meter: Meter,
    cpu: OutputCpu,
}

struct Mixing {
    input: Arc<PacketQueue>,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    clock: SystemClock,
    delay: Dur,
    paced: bool,
    /// What a rendition carries whose own source is absent.
    floor: SoundSource,
    tracks: BTreeMap<u16, Decoding>,
    /// Every decoded track, and the picks of its channels that renditions carry.
    sources: BTreeMap<SoundSource, Source>,
    voices: Voices,
    outputs: Vec<Output>,
    /// The AAC frame to mix next.
    next: i64,
    /// Frames mixed.
    blocks: u32,
    /// Whether the floor is silent.
    watch: SoundWatch,
    timer: CpuTimer,
    cpu: MixCpu,
    catching_up: bool,
    ended: bool,
}

impl Mixing {
    fn run(mut self) {
        self.input.wait_live();
        loop {
            let due = schedule::audio_due(self.next, self.delay);
            // All that is there is decoded first: it may belong to the frame that is due.
            let patience = match self.paced {
                true => Some((due - self.clock.now()).to_std()),
                false if self.ready() => Some(std::time::Duration::ZERO),
                false => None,
            };
            match self.input.pop(patience) {
                Popped::Item(item) => {
                    self.take(item);
                    continue;
                }
                Popped::Empty => {}
                Popped::Ended => self.ended = true,
            }
            if self.ended && !self.sounding() {
                break;
            }
            if self.ended || !self.paced || self.clock.now() >= due {
                self.mix();
            }
        }
    }

    /// An output whose first access unit is `first`; its encoder opens at once where `first` is near.
    fn output(&self, spec: AudioSpec, first: i64, next: i64) -> Result<Output, String> {
        let cpu = OutputCpu { track: spec.id.0, ..OutputCpu::default() };
        let (carrier, mixer) = (Carrier::default(), LanguageMixer::default());
        let (block, floor_db, meter) = (Box::new(SILENCE), FLOOR_DB, Meter::default());
        let first = first.max(next + PRIME);
        let mut output = Output { spec, encoder: None, first, carrier, mixer, block, floor_db, meter, cpu };
        self.open(&mut output, next)?;
        Ok(output)
    }

    /// Opens an output's encoder when `next` is the first frame that it needs.
    fn open(&self, output: &mut Output, next: i64) -> Result<(), String> {
        if output.encoder.is_none() && next >= output.first - PRIME {
            let spec = &output.spec;
            let encoder = SoundEncoder::new(spec.id, spec.bitrate, next).map_err(|e| format!("{}: {e}", spec.name))?;
            self.shared.send(FromEngine::Track(Arc::new(encoder.track().clone())));
            output.first = output.first.max(next + PRIME);
            output.encoder = Some(encoder);
        }
        Ok(())
    }

    /// Other renditions: those that stay go on undisturbed.
    fn set_audio(&mut self, specs: Vec<AudioSpec>, first: &[(TrackId, i64)]) -> Result<(), String> {
        self.outputs.retain(|o| specs.iter().any(|s| s.id == o.spec.id));
        self.floor = specs.first().map_or(SoundSource::all(0), AudioSpec::sound);
        // What is picked anew begins with the next access unit.
        self.sources.retain(|source, _| source.channels.is_none() || specs.iter().any(|s| s.sound() == *source));
        for spec in specs {
            match self.outputs.iter_mut().find(|o| o.spec.id == spec.id) {
                Some(output) => output.spec = spec,
                None => {
                    let first = first.iter().find(|f| f.0 == spec.id).map_or(0, |f| f.1);
                    // Not further ahead than a daemon asks for: a segment and a margin.
                    let first = first.min(self.next + PRIME + FURTHEST);
                    let output = self.output(spec, first, self.next)?;
                    self.outputs.push(output);
                }
            }
        }
        Ok(())
    }

    fn at(&self) -> Ts {
        Ts::ZERO + AAC_FRAME_DUR * self.next
    }

    /// Whether every track has the sound of the next frame (unpaced runs).
    fn ready(&self) -> bool {
        !self.sources.is_empty() && self.sources.values().all(|s| s.lines.back().is_some_and(|l| l.covers(self.at())))
    }

    /// Whether any track has sound at or after the next frame, counting what the encoders still hold.
    fn sounding(&self) -> bool {
        let held = AAC_FRAME_DUR * AAC_LOOKAHEAD;
        self.sources.values().any(|s| s.lines.back().and_then(TrackLine::until).is_some_and(|u| u + held > self.at()))
    }

    fn take(&mut self, item: Item) {
        let stage = self.stage.clone();
        match item {
            Item::Track(track) => {
                let Some(index) = track.id.audio_index() else { return };
                if self.tracks.len() >= MAX_SOURCES && !self.tracks.contains_key(&index) {
                    return;
                }
                // Another input in the same format goes on where the one before broke off.
                if self.tracks.get(&index).is_some_and(|t| *t.track == *track && t.decoder.is_some()) {
                    return;
                }
                let decoder = stage.work(|| open(&track, &self.shared));
                match self.tracks.get_mut(&index) {
                    Some(known) => (known.decoder, known.track) = (decoder, track),
                    None => {
                        self.tracks.insert(index, Decoding { track, decoder, epoch: None });
                        self.sources.insert(SoundSource::all(index), Source::new());
                    }
                }
            }
            Item::Voice(packet) => self.voice(&packet),
            Item::Plan(plan) => {
                let now = self.clock.now().to_scale(AUDIO_RATE);
                if let Err(e) = self.voices.plan(plan, now) {
                    super::die(&format!("voices: {e}"));
                }
            }
            Item::Audio(specs, first) => {
                if let Err(e) = self.set_audio(specs, &first) {
                    super::die(&e);
                }
            }
            Item::Packet(packet) => {
                let Some(index) = packet.track.audio_index() else { return };
                let Some(known) = self.tracks.get_mut(&index) else { return };
                let Some(decoder) = &mut known.decoder else { return };
                if known.epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch) {
                    let of_track = self.sources.iter_mut().filter(|(source, _)| source.track == index);
                    of_track.filter_map(|(_, source)| source.lines.back_mut()).for_each(TrackLine::splice);
                }
                let picks = picks(self.outputs.iter().map(|o| &o.spec), index);
                match stage.work(|| decoder.push_picking(&packet, &picks)) {
                    Ok(sounds) if !packet.decode_only => {
                        for sound in sounds {
                            let source = SoundSource { track: index, channels: sound.channels };
                            let source = self.sources.entry(source).or_insert_with(Source::new);
                            source.write(sound.rate, LINE + self.delay, sound.pts, &sound.stereo);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => {
                        self.shared.corrupt.fetch_add(1, Ordering::Relaxed);
                        known.decoder = open(&known.track, &self.shared);
                    }
                }
            }
        }
    }

    fn voice(&mut self, packet: &VoicePacket) {
        self.voices.packet(packet);
    }

    fn mix(&mut self) {
        self.cpu.floor += self.timer.lap();
        self.keep_time();
        // Mixers give out what came in earlier.
        let at = self.at() + Dur::from_scale(LOOK_AHEAD as i64, AUDIO_RATE);
        let place = schedule::aac_samples(self.next) + LOOK_AHEAD as i64;
        for (id, source) in &mut self.sources {
            let heard = source.read(at);
            source.silent = if heard { 0 } else { source.silent.saturating_add(1) };
            source.meter.add(&source.block[..]);
            // A rendition whose source is absent carries the floor.
            let floor = *id == self.floor || *id == SoundSource::all(0);
            let carried = |o: &Output| o.spec.interpreted && (o.spec.sound() == *id || floor);
            if self.outputs.iter().any(carried) {
                source.loudness.get_or_insert_with(|| Loudness::new(true)).add(&source.block[..]);
            }
        }
        self.cpu.floor += self.timer.lap();
        self.read_voices(place);
        self.cpu.voices += self.timer.lap();
        self.mix_outputs(place);
        self.next += 1;
        self.blocks = self.blocks.wrapping_add(1);
        if self.blocks.is_multiple_of(METER_BLOCKS) {
            self.report(at + AAC_FRAME_DUR);
        }
        self.timer.lap();
    }

    /// Counts what is mixed too late, unless a restart is being made up for.
    fn keep_time(&mut self) {
        let late = self.clock.now() - schedule::audio_due(self.next, self.delay);
        if late < AAC_FRAME_DUR {
            self.catching_up = false;
        } else if self.paced && !self.catching_up {
            self.shared.mixes_late.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read_voices(&mut self, place: i64) {
        let stage = &self.stage;
        self.voices.end_gone(self.clock.now().to_scale(AUDIO_RATE));
        self.voices.put_on_air(place, true);
        for (&id, voice) in &mut self.voices.voices {
            stage.work(|| voice.line.read(place, &mut voice.block));
            voice.lost = voice.line.lost();
            if let Some(meter) = &mut voice.meter {
                meter.add(&voice.block);
                voice.loudness = (&*meter).into();
            }
            for stem in voice.line.stems() {
                self.shared.send(FromEngine::Stem {
                    voice: id,
                    pts: Ts::from_scale(stem.at, AUDIO_RATE),
                    duration: Dur::from_scale(stem.samples, AUDIO_RATE),
                    data: stem.data,
                });
            }
            self.shared.corrupt.fetch_add(voice.line.take_corrupt(), Ordering::Relaxed);
        }
        self.voices.plans.forget_before(place - i64::from(AUDIO_RATE));
    }

    fn mix_outputs(&mut self, place: i64) {
        let sources = &self.sources;
        let present = |source: &SoundSource| sources.get(source).is_some_and(|s| s.silent < ABSENT);
        let all = SoundSource::all(0);
        self.shared.audio_input.store(present(&all), Ordering::Relaxed);
        let mut outputs = std::mem::take(&mut self.outputs);
        // The plan for what arrives now, for levels and ramps.
        let plan = self.voices.plans.at(place.max(self.clock.now().to_scale(AUDIO_RATE)));
        for output in &mut outputs {
            let spec = &output.spec;
            let carried = [spec.sound(), self.floor].into_iter().find(present).unwrap_or(all);
            output.carrier.process(carried, |i| sources.get(&i).map(|s| &s.block[..]), &mut output.block[..]);
            if let Some(language) = plan.and_then(|p| language(p, spec.id)) {
                output.floor_db = language.floor_level_db;
            }
            let level = MixLevel {
                floor_db: output.floor_db,
                floor_lufs: sources.get(&carried).and_then(|s| s.loudness.as_ref()?.value()),
                ramps: plan.map_or_else(Ramps::default, |p| p.plan.ramps),
                limit: spec.interpreted,
            };
            let voices = self.voices.voices.iter().filter(|_| spec.interpreted);
            output.mixer.forget(|id| self.voices.voices.contains_key(&id));
            output.mixer.process(&mut output.block[..], level, voices.map(|(id, v)| v.heard(*id, spec.id)));
            output.meter.add(&output.block[..]);
            output.cpu.mix += self.timer.lap();
            if let Err(e) = self.open(output, self.next) {
                super::die(&e);
            }
            let Some(encoder) = &mut output.encoder else { continue };
            match self.stage.work(|| encoder.push(&output.block)) {
                Ok(units) => {
                    let id = encoder.track().id;
                    for u in units.into_iter().filter(|u| u.number >= output.first) {
                        self.shared.send(FromEngine::Packet { track: id, number: u.number, key: false, data: u.data });
                    }
                }
                Err(e) => super::die(&format!("{}: {e}", output.spec.name)),
            }
            output.cpu.encode += self.timer.lap();
        }
        self.outputs = outputs;
    }

    /// Reads the meters; they have heard what sounds before `until`.
    fn report(&mut self, until: Ts) {
        let heard = [self.floor, SoundSource::all(0)];
        let floor = heard.into_iter().find(|s| self.sources.get(s).is_some_and(|s| s.silent < ABSENT));
        let mut floor_db = level::FLOOR_DB;
        let read = |(source, state): (&SoundSource, &mut Source)| {
            let (peak_db, rms_db) = state.meter.take();
            if floor == Some(*source) {
                floor_db = rms_db;
            }
            source.channels.is_none().then_some(Level { track: source.track, peak_db, rms_db })
        };
        let levels = self.sources.iter_mut().filter_map(read).collect();
        *self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
        let silent = self.watch.level(until - AAC_FRAME_DUR * i64::from(METER_BLOCKS), until, floor_db);
        self.shared.set_content(|content| content.silent = silent);
        let read = |output: &mut Output| {
            let (peak_db, rms_db) = output.meter.take();
            let (floor_db, limited_db) = (output.mixer.floor_now(), output.mixer.take_limited());
            let (floor_db, limited_db) = (decibels(floor_db), decibels(limited_db));
            OutputLevel { track: output.spec.id.0, peak_db, rms_db, floor_db, limited_db }
        };
        let mut sound = self.shared.sound.lock().unwrap_or_else(PoisonError::into_inner);
        sound.programme.levels = self.outputs.iter_mut().map(read).collect();
        self.cpu.outputs = self.outputs.iter().map(|o| o.cpu).collect();
        sound.programme.cpu.clone_from(&self.cpu);
        sound.loudness.clear();
        sound.loudness.extend(self.voices.voices.iter().map(|(id, v)| (*id, v.loudness)));
        sound.floors.clear();
        sound.floors.extend(self.sources.iter().filter_map(|(i, s)| Some((*i, s.loudness.as_ref()?.value()?))));
        if self.blocks.is_multiple_of(VOICE_BLOCKS) {
            sound.voices = self.voices.voices.iter_mut().map(|(id, v)| (*id, v.line.report())).collect();
        }
    }
}

/// What renditions carry of a track's channels, each once.
fn picks<'a>(specs: impl Iterator<Item = &'a AudioSpec>, track: u16) -> Vec<Channels> {
    let mut picks: Vec<Channels> = specs.filter(|s| s.source == track).filter_map(|s| s.channels).collect();
    picks.sort_unstable();
    picks.dedup();
    picks
}

fn open(track: &Track, shared: &Shared) -> Option<SoundDecoder> {
    let Media::Audio(format) = &track.media else { return None };
    match SoundDecoder::new(format) {
        Ok(decoder) => Some(decoder),
        Err(e) => {
            shared.log(true, format!("sound track {}: {} cannot be decoded: {e}", track.id.0, format.codec));
            None
        }
    }
}
