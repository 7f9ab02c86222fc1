//! The realtime mixes: what interpreters, managers and participants hear, without the programme delay.
//!
//! **Data flow.** [`Inbox`] → a decoder and a [`TrackLine`] per contribution track that is carried, a line per voice → a
//! mixer and an Opus encoder per sound that is wanted → the rooms' way out. One thread with a clock of 20 ms: it sleeps to
//! the end of a block, takes what came, mixes, encodes and sends. A thread of its own, and its own decoders, so that the
//! programme's work cannot delay it nor it the programme's. What it decodes twice is small beside that: sound alone.
//!
//! **Delays.** A voice waits in its jitter buffer ([`crate::engine::mix::jitter::Policy::Adaptive`]), the floor as long as
//! its encoder's bursts ask for ([`FloorDelay`]), both 2.7 ms in the limiter and up to 20 ms for the block to be whole.
//! **`pts`** is the block's own time: what is in it is older by these delays.
//!
//! **Bounds.** [`INBOX_ITEMS`]; what is beyond is dropped and counted. Late input is silence. A block that is made after
//! the next one was due counts as late; where the thread is [`GIVE_UP`] behind, blocks are left out, counted.
//!
//! The room's floor carries the source of the first rendition, which is the floor's.

use super::av::SoundDecoder;
use super::opus::{ROOM_FRAME, RoomEncoder};
use super::stage::{CpuTimer, Shared, Stage};
use super::threads::spawn_prompt;
use super::voices::{Voices, language};
use crate::engine::mix::Carrier;
use crate::engine::mix::delay::FloorDelay;
use crate::engine::mix::jitter::Policy;
use crate::engine::mix::language::{LanguageMixer, Level};
use crate::engine::mix::level::{Meter, decibels};
use crate::engine::mix::track::TrackLine;
use crate::engine::protocol::{FromEngine, InPacket, Start, TimedPlan};
use crate::engine::{AudioSpec, Channels, MixCpu, OutputCpu, OutputLevel, RoomSpec, SoundSource};
use crate::media::grid::AUDIO_RATE;
use crate::media::{Clock, Dur, Media, Ramps, SystemClock, Track, TrackId, Ts, VoicePacket};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How long a block is.
const BLOCK: Dur = Dur::from_millis(20);
/// What waits for the next block at most: five seconds of 32 voices.
const INBOX_ITEMS: usize = 8192;
/// Behind by more than this, blocks are left out: what a listener's own buffer does not bear anyway.
const GIVE_UP: Dur = Dur::from_millis(200);
/// Decoded sound that a track keeps: the longest delay of the floor and a burst.
const LINE: Dur = Dur::from_secs(3);
/// Contribution tracks that are decoded; more are ignored.
const MAX_SOURCES: usize = 16;
/// A track without sound for this many blocks (one second) is absent.
const ABSENT: u32 = 50;
/// Blocks per reading of the meters: ten readings a second.
const METER_BLOCKS: i64 = 5;
/// Blocks that a voice is still decoded after it went off air: the fade of its gate.
const AFTER: u32 = 2;

/// What comes to the thread.
pub enum RoomItem {
    /// The format of a contribution track.
    Track(Arc<Track>),
    /// Its access unit, and when it came.
    Packet(InPacket, Ts),
    /// A voice's packet.
    Voice(VoicePacket),
    /// What to mix.
    Plan(TimedPlan),
    /// Other sound renditions.
    Audio(Vec<AudioSpec>),
    /// Which sounds are wanted; none: all.
    Wanted(Option<Vec<TrackId>>),
}

/// What waits for the next block.
#[derive(Default)]
pub struct Inbox {
    items: Mutex<Vec<RoomItem>>,
}

impl Inbox {
    /// Appends; false when a packet was dropped.
    pub fn push(&self, item: RoomItem) -> bool {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let droppable = matches!(item, RoomItem::Packet(..) | RoomItem::Voice(_));
        let room = items.len() < INBOX_ITEMS || !droppable;
        if room {
            items.push(item);
        }
        room
    }

    fn take(&self, into: &mut Vec<RoomItem>) {
        into.append(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Starts the thread.
///
/// # Errors
/// When there can be no thread.
pub fn start(
    start: &Start,
    room: &RoomSpec,
    inbox: &Arc<Inbox>,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, String> {
    let clock = start.clock();
    let mut mixing = Mixing {
        inbox: inbox.clone(),
        shared: shared.clone(),
        stage: shared.stage("realtime sound"),
        clock,
        room: room.clone(),
        floor: start.config.audio.first().map_or(SoundSource::all(0), AudioSpec::sound),
        tracks: BTreeMap::new(),
        sources: BTreeMap::new(),
        voices: Voices::new(Policy::Adaptive, ROOM_FRAME, false, false),
        outputs: Vec::new(),
        wanted: None,
        next: clock.now().div_floor(BLOCK),
        timer: CpuTimer::default(),
        cpu: MixCpu::default(),
    };
    mixing.set_audio(&start.config.audio);
    spawn_prompt("realtime", move || mixing.run())
}

/// A contribution track that is decoded.
struct Decoding {
    track: Arc<Track>,
    decoder: Option<SoundDecoder>,
    epoch: Option<u32>,
}

struct Source {
    line: Option<TrackLine>,
    delay: FloorDelay,
    block: Box<[f32]>,
    silent: u32,
}

impl Source {
    fn new() -> Source {
        let block = vec![0.0; ROOM_FRAME * 2].into();
        Source { line: None, delay: FloorDelay::default(), block, silent: ABSENT }
    }
}

struct Output {
    id: TrackId,
    /// The rendition whose language it is; none for the floor.
    language: Option<TrackId>,
    source: SoundSource,
    carrier: Carrier<SoundSource>,
    mixer: LanguageMixer,
    encoder: Option<RoomEncoder>,
    block: Box<[f32]>,
    meter: Meter,
    floor_db: f32,
    cpu: OutputCpu,
}

struct Mixing {
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    clock: SystemClock,
    room: RoomSpec,
    /// The source of the room's floor.
    floor: SoundSource,
    tracks: BTreeMap<u16, Decoding>,
    /// Every decoded track, and the picks of its channels that are carried.
    sources: BTreeMap<SoundSource, Source>,
    voices: Voices,
    outputs: Vec<Output>,
    wanted: Option<Vec<TrackId>>,
    /// The block to mix next, counted since 1970.
    next: i64,
    timer: CpuTimer,
    cpu: MixCpu,
}

impl Mixing {
    fn run(mut self) {
        let mut items = Vec::new();
        loop {
            let due = Ts::ZERO + BLOCK * (self.next + 1);
            let wait = (due - self.clock.now()).to_std();
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            let late = self.clock.now() - due;
            if late >= BLOCK {
                self.shared.mixes_late.fetch_add(1, Ordering::Relaxed);
            }
            if late > GIVE_UP {
                let left_out = late.flicks() / BLOCK.flicks();
                self.shared.mixes_late.fetch_add(left_out.unsigned_abs(), Ordering::Relaxed);
                self.next += left_out;
            }
            self.timer.lap();
            self.inbox.take(&mut items);
            for item in items.drain(..) {
                self.take(item);
            }
            self.cpu.floor += self.timer.lap();
            self.mix();
            self.next += 1;
        }
    }

    fn is_wanted(&self, id: TrackId) -> bool {
        wants(&self.wanted, id)
    }

    fn set_audio(&mut self, specs: &[AudioSpec]) {
        let floor = (self.room.floor, None, self.floor);
        let languages = specs.iter().filter_map(|s| Some((s.realtime?, s.interpreted.then_some(s.id), s.sound())));
        let wanted: Vec<(TrackId, Option<TrackId>, SoundSource)> = std::iter::once(floor).chain(languages).collect();
        self.outputs.retain(|o| wanted.iter().any(|w| w.0 == o.id));
        self.sources.retain(|source, _| source.channels.is_none() || wanted.iter().any(|w| w.2 == *source));
        for (id, language, source) in wanted {
            match self.outputs.iter_mut().find(|o| o.id == id) {
                Some(output) => (output.language, output.source) = (language, source),
                None => self.outputs.push(Output {
                    id,
                    language,
                    source,
                    carrier: Carrier::default(),
                    mixer: LanguageMixer::default(),
                    encoder: None,
                    block: vec![0.0; ROOM_FRAME * 2].into(),
                    meter: Meter::default(),
                    floor_db: 0.0,
                    cpu: OutputCpu { track: id.0, ..OutputCpu::default() },
                }),
            }
        }
    }

    fn take(&mut self, item: RoomItem) {
        match item {
            RoomItem::Track(track) => self.set_track(track),
            RoomItem::Packet(packet, arrival) => self.packet(&packet, arrival),
            RoomItem::Voice(packet) => self.voices.packet(&packet),
            RoomItem::Plan(plan) => {
                let now = self.clock.now().to_scale(AUDIO_RATE);
                if let Err(e) = self.voices.plan(plan, now) {
                    super::die(&format!("voices: {e}"));
                }
            }
            RoomItem::Audio(specs) => self.set_audio(&specs),
            RoomItem::Wanted(wanted) => {
                self.wanted = wanted;
                for i in 0..self.outputs.len() {
                    if !self.is_wanted(self.outputs[i].id) {
                        // When it is wanted again it begins anew.
                        let output = &mut self.outputs[i];
                        (output.encoder, output.mixer) = (None, LanguageMixer::default());
                    }
                }
            }
        }
    }

    fn set_track(&mut self, track: Arc<Track>) {
        let Some(index) = track.id.audio_index() else { return };
        if self.tracks.len() >= MAX_SOURCES && !self.tracks.contains_key(&index) {
            return;
        }
        let decoder = self.stage.work(|| open(&track));
        match self.tracks.get_mut(&index) {
            Some(known) => (known.decoder, known.track) = (decoder, track),
            None => {
                self.tracks.insert(index, Decoding { track, decoder, epoch: None });
                self.sources.insert(SoundSource::all(index), Source::new());
            }
        }
    }

    fn packet(&mut self, packet: &InPacket, arrival: Ts) {
        let Some(index) = packet.track.audio_index() else { return };
        let floor = index == 0 || index == self.floor.track;
        let wanted = |o: &&Output| (o.source.track == index || floor) && self.is_wanted(o.id);
        let needed = self.outputs.iter().any(|o| wanted(&o));
        // Also what nobody listens to: who begins to finds it there.
        let picks = self.picks(index);
        let Some(known) = self.tracks.get_mut(&index) else { return };
        let Some(decoder) = known.decoder.as_mut().filter(|_| needed && !packet.decode_only) else { return };
        if known.epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch) {
            let of_track = self.sources.iter_mut().filter(|(source, _)| source.track == index);
            of_track.filter_map(|(_, source)| source.line.as_mut()).for_each(TrackLine::splice);
        }
        match self.stage.work(|| decoder.push_picking(packet, &picks)) {
            Ok(sounds) => {
                for sound in sounds {
                    let source = SoundSource { track: index, channels: sound.channels };
                    let source = self.sources.entry(source).or_insert_with(Source::new);
                    let length = Dur::from_scale(sound.stereo.len() as i64 / 2, sound.rate);
                    source.delay.push(arrival - (sound.pts + length));
                    if source.line.as_ref().is_none_or(|l| l.rate() != sound.rate) {
                        source.line = Some(TrackLine::new(sound.rate, LINE));
                    }
                    if let Some(line) = &mut source.line {
                        line.write(sound.pts, &sound.stereo);
                    }
                }
            }
            // Counted by the programme's decoder, which gets the same.
            Err(_) => known.decoder = open(&known.track),
        }
    }

    /// What is carried of a track's channels, each once.
    fn picks(&self, track: u16) -> Vec<Channels> {
        let of_track = self.outputs.iter().filter(|o| o.source.track == track);
        let mut picks: Vec<Channels> = of_track.filter_map(|o| o.source.channels).collect();
        picks.sort_unstable();
        picks.dedup();
        picks
    }

    fn mix(&mut self) {
        let end = Ts::ZERO + BLOCK * (self.next + 1);
        let block = Dur::from_scale(ROOM_FRAME as i64, AUDIO_RATE);
        for source in self.sources.values_mut() {
            let at = end - block - source.delay.step(block);
            let heard = match &mut source.line {
                Some(line) => line.read_into(at, &mut source.block),
                None => false,
            };
            source.silent = if heard { 0 } else { source.silent.saturating_add(1) };
        }
        self.cpu.floor += self.timer.lap();
        self.read_voices();
        self.cpu.voices += self.timer.lap();
        self.mix_outputs();
        if self.next % METER_BLOCKS == 0 {
            self.report();
        }
    }

    fn read_voices(&mut self) {
        let place = self.next * ROOM_FRAME as i64;
        self.voices.end_gone(place);
        self.voices.put_on_air(place, false);
        let heard: Vec<TrackId> =
            self.outputs.iter().filter(|o| self.is_wanted(o.id)).filter_map(|o| o.language).collect();
        let sound = self.shared.sound.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, voice) in &mut self.voices.voices {
            voice.loudness = sound.loudness.get(id).copied().unwrap_or_default();
        }
        drop(sound);
        for voice in self.voices.voices.values_mut() {
            let on = voice.on_air[0].iter().any(|language| heard.contains(language));
            voice.unheard = if on { 0 } else { voice.unheard.saturating_add(1) };
            if voice.unheard <= AFTER {
                self.stage.work(|| voice.line.read(place, &mut voice.block));
                voice.lost = voice.line.lost();
            } else {
                voice.line.pass(place);
                voice.block.fill(0.0);
                voice.lost = true;
            }
            voice.line.take_corrupt();
        }
    }

    fn mix_outputs(&mut self) {
        let sources = &self.sources;
        let present = |source: &SoundSource| sources.get(source).is_some_and(|s| s.silent < ABSENT);
        let floors = self.shared.sound.lock().unwrap_or_else(PoisonError::into_inner).floors.clone();
        let mut outputs = std::mem::take(&mut self.outputs);
        let plan = self.voices.plans.newest();
        for output in outputs.iter_mut().filter(|o| wants(&self.wanted, o.id)) {
            let carried = [output.source, self.floor].into_iter().find(present).unwrap_or(SoundSource::all(0));
            output.carrier.process(carried, |i| sources.get(&i).map(|s| &s.block[..]), &mut output.block);
            let interpreted = output.language;
            if let Some(language) = plan.zip(interpreted).and_then(|(plan, id)| language(plan, id)) {
                output.floor_db = language.floor_level_db;
            }
            let level = Level {
                floor_db: output.floor_db,
                floor_lufs: floors.get(&carried).copied(),
                ramps: plan.map_or_else(Ramps::default, |p| p.plan.ramps),
                limit: interpreted.is_some(),
            };
            output.mixer.forget(|id| self.voices.voices.contains_key(&id));
            let voices = self.voices.voices.iter();
            let voices = voices.filter_map(|(id, voice)| Some(voice.heard(*id, interpreted?)));
            output.mixer.process(&mut output.block, level, voices);
            output.meter.add(&output.block);
            output.cpu.mix += self.timer.lap();
            if output.encoder.is_none() {
                match RoomEncoder::new(output.id, self.room.bitrate) {
                    Ok(encoder) => {
                        self.shared.send_room(FromEngine::Track(Arc::new(encoder.track().clone())));
                        output.encoder = Some(encoder);
                    }
                    Err(e) => super::die(&format!("realtime sound {}: {e}", output.id.0)),
                }
            }
            let Some(encoder) = &mut output.encoder else { continue };
            match self.stage.work(|| encoder.encode(&output.block)) {
                Ok(data) => self.shared.send_room(FromEngine::Room {
                    track: output.id,
                    pts: Ts::ZERO + BLOCK * self.next,
                    duration: BLOCK,
                    key: false,
                    data,
                }),
                Err(e) => super::die(&format!("realtime sound {}: {e}", output.id.0)),
            }
            output.cpu.encode += self.timer.lap();
        }
        self.outputs = outputs;
    }

    fn report(&mut self) {
        let mut levels = Vec::with_capacity(self.outputs.len());
        for output in &mut self.outputs {
            let (peak_db, rms_db) = output.meter.take();
            let (floor_db, limited_db) = (decibels(output.mixer.floor_now()), decibels(output.mixer.take_limited()));
            levels.push(OutputLevel { track: output.id.0, peak_db, rms_db, floor_db, limited_db });
        }
        self.cpu.outputs = self.outputs.iter().map(|o| o.cpu).collect();
        let mut sound = self.shared.sound.lock().unwrap_or_else(PoisonError::into_inner);
        sound.realtime.levels = levels;
        sound.realtime.cpu.clone_from(&self.cpu);
        sound.delays.clear();
        sound.delays.extend(self.voices.voices.iter_mut().map(|(id, voice)| {
            // Keeps the window of what was late to a tenth of a second.
            voice.line.report();
            (*id, voice.line.delay_ms())
        }));
    }
}

fn wants(wanted: &Option<Vec<TrackId>>, id: TrackId) -> bool {
    wanted.as_ref().is_none_or(|w| w.contains(&id))
}

fn open(track: &Track) -> Option<SoundDecoder> {
    let Media::Audio(format) = &track.media else { return None };
    SoundDecoder::new(format).ok()
}
