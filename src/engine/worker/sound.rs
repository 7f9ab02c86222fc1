//! Sound: one thread that decodes, aligns, mixes and encodes.
//!
//! **Data flow.** [`PacketQueue`] → decoder and [`TrackLine`] per contribution track → [`Mixer`] → one AAC encoder per
//! rendition → the daemon. Decoded sound is small and waits in the lines ([`LINE`]); a frame that is not there when its
//! time has come is silence.

use super::av::{SoundDecoder, SoundEncoder};
use super::queue::{Item, PacketQueue, Popped};
use super::stage::{Shared, Stage};
use super::video::spawn;
use crate::engine::Level;
use crate::engine::mix::level::Meter;
use crate::engine::mix::track::TrackLine;
use crate::engine::mix::{Block, MixPlan, Mixer, SILENCE};
use crate::engine::protocol::{FromEngine, Start};
use crate::engine::schedule::{self, AAC_LOOKAHEAD};
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{Clock, Dur, Media, SystemClock, Track, Ts};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// Decoded sound that a track keeps beyond the programme delay: what a restart makes up for, and jitter.
const LINE: Dur = Dur::from_secs(12);
/// Contribution tracks that are decoded; more are ignored.
const MAX_SOURCES: usize = 16;
/// Blocks that an encoder is fed before its first output counts, so that it continues the one before a restart: its
/// look-ahead and one of overlap.
const PRIME: i64 = AAC_LOOKAHEAD + 1;
/// A track without sound for this many blocks (one second) is absent.
const ABSENT: u32 = 47;
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
    let mut outputs = Vec::new();
    for spec in &config.audio {
        let encoder = SoundEncoder::new(spec.id, spec.bitrate, next).map_err(|e| format!("{}: {e}", spec.name))?;
        shared.send(FromEngine::Track(Arc::new(encoder.track().clone())));
        outputs.push(Output { encoder, first: start.first(spec.id), name: spec.name.clone() });
    }
    let mixing = Mixing {
        input: input.clone(),
        shared: shared.clone(),
        stage: shared.stage("sound"),
        clock: start.clock(),
        delay: config.delay,
        paced: start.paced,
        wanted: config.audio.iter().map(|a| a.source).collect(),
        sources: BTreeMap::new(),
        outputs,
        mixer: Mixer::default(),
        next,
        metered: 0,
        ended: false,
    };
    Ok(vec![spawn("sound", move || mixing.run())?])
}

struct Source {
    track: Arc<Track>,
    decoder: Option<SoundDecoder>,
    line: Option<TrackLine>,
    meter: Meter,
    block: Box<Block>,
    epoch: Option<u32>,
    /// Blocks since sound was last there.
    silent: u32,
}

struct Output {
    encoder: SoundEncoder,
    first: i64,
    name: String,
}

struct Mixing {
    input: Arc<PacketQueue>,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    clock: SystemClock,
    delay: Dur,
    paced: bool,
    wanted: Vec<u16>,
    sources: BTreeMap<u16, Source>,
    outputs: Vec<Output>,
    mixer: Mixer,
    /// The AAC frame to mix next.
    next: i64,
    metered: u32,
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

    fn at(&self) -> Ts {
        Ts::ZERO + AAC_FRAME_DUR * self.next
    }

    /// Whether every track has the sound of the next frame (unpaced runs).
    fn ready(&self) -> bool {
        !self.sources.is_empty() && self.sources.values().all(|s| s.line.as_ref().is_some_and(|l| l.covers(self.at())))
    }

    /// Whether any track has sound at or after the next frame, counting what the encoders still hold.
    fn sounding(&self) -> bool {
        let held = AAC_FRAME_DUR * AAC_LOOKAHEAD;
        self.sources.values().any(|s| s.line.as_ref().and_then(TrackLine::until).is_some_and(|u| u + held > self.at()))
    }

    fn take(&mut self, item: Item) {
        let stage = self.stage.clone();
        match item {
            Item::Track(track) => {
                let Some(index) = track.id.audio_index() else { return };
                if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&index) {
                    return;
                }
                let decoder = stage.work(|| open(&track, &self.shared));
                match self.sources.get_mut(&index) {
                    Some(source) => {
                        source.decoder = decoder;
                        source.track = track;
                    }
                    None => {
                        let (meter, block) = (Meter::default(), Box::new(SILENCE));
                        let source = Source { track, decoder, line: None, meter, block, epoch: None, silent: ABSENT };
                        self.sources.insert(index, source);
                    }
                }
            }
            Item::Packet(packet) => {
                let source = packet.track.audio_index().and_then(|i| self.sources.get_mut(&i));
                let Some(source) = source else { return };
                let Some(decoder) = &mut source.decoder else { return };
                if source.epoch.replace(packet.epoch).is_some_and(|e| e != packet.epoch)
                    && let Some(line) = &mut source.line
                {
                    line.splice();
                }
                match stage.work(|| decoder.push(&packet)) {
                    Ok(sounds) if !packet.decode_only => {
                        for sound in sounds {
                            let line = source.line.take().filter(|l| l.rate() == sound.rate);
                            let capacity = LINE + self.delay;
                            let line = line.unwrap_or_else(|| TrackLine::new(sound.rate, capacity));
                            source.line.insert(line).write(sound.pts, &sound.stereo);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => {
                        self.shared.corrupt.fetch_add(1, Ordering::Relaxed);
                        source.decoder = open(&source.track, &self.shared);
                    }
                }
            }
        }
    }

    fn mix(&mut self) {
        let at = self.at();
        for source in self.sources.values_mut() {
            let heard = match &mut source.line {
                Some(line) => line.read(at, &mut source.block),
                None => false,
            };
            source.silent = if heard { 0 } else { source.silent.saturating_add(1) };
            source.meter.add(&source.block[..]);
        }
        let sources = &self.sources;
        let present = |index: u16| sources.get(&index).is_some_and(|s| s.silent < ABSENT);
        self.shared.audio_input.store(present(0), Ordering::Relaxed);
        let plan = MixPlan::tracks(&self.wanted, present);
        let blocks = self.mixer.process(&plan, |index| sources.get(&index).map(|s| &*s.block));
        for (output, block) in self.outputs.iter_mut().zip(&blocks) {
            match self.stage.work(|| output.encoder.push(block)) {
                Ok(units) => {
                    let id = output.encoder.track().id;
                    for u in units.into_iter().filter(|u| u.number >= output.first) {
                        self.shared.send(FromEngine::Packet { track: id, number: u.number, key: false, data: u.data });
                    }
                }
                Err(e) => super::die(&format!("{}: {e}", output.name)),
            }
        }
        self.next += 1;
        self.metered += 1;
        if self.metered >= METER_BLOCKS {
            self.metered = 0;
            let read = |(&track, source): (&u16, &mut Source)| {
                let (peak_db, rms_db) = source.meter.take();
                Level { track, peak_db, rms_db }
            };
            let levels = self.sources.iter_mut().map(read).collect();
            *self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
        }
    }
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
