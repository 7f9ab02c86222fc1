//! From an event's programme to its renditions on the origin.
//!
//! ```text
//!             ┌─▶ engine ─▶ packager per rendition ─▶ sink        (ladder)
//! programme ──┤
//!             └─▶ [programme delay] ─▶ source packager ─▶ sinks   (`source` rung; passthrough, without the delay)
//! ```
//!
//! **Bound.** The engine's output is a bounded channel with back-pressure; the source packager reads the programme's
//! ring by its own cursor and goes on at a key frame when it lags.

use super::event::{Running, to_wall};
use super::ladder::{self, Rung};
use super::registry::Shared;
use super::shape::{Measure, Shape};
use crate::deliver::hls::{OriginError, Sink};
use crate::engine::{AudioSpec, Engine, EngineConfig, Limits, Output as Encoded, RungSpec, SlateConfig};
use crate::hub::{RecvError, Start, Stream};
use crate::media::{Dur, Grid, Media, Packet, TrackId, Ts};
use crate::package::{Cut, Output, Packager, RenditionKind, RenditionSpec, Resume, SourcePackager, SourceTargets};
use crate::store::{Event, LanguageKind, ORIGINAL, OutputShape, StoreError};
use crate::wire::language;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Encoded access units between engine and packagers: a second of a whole ladder with a dozen languages. When the
/// packagers are behind by more, the engine waits.
const OUTPUT_QUEUE: usize = 1024;
/// Output ids of pictures start here, those of sound above them; they only have to differ.
const FIRST_PICTURE: u16 = 100;
const FIRST_SOUND: u16 = 200;
/// Bits per second of a sound rendition (stereo AAC-LC at 48 kHz).
const SOUND_BITRATE: u32 = 128_000;
/// How much programme tells which tracks a source has.
const TRACKS_WITHIN: Dur = Dur::from_secs(1);
/// Name of the rendition that is the source's own picture.
const SOURCE: &str = "source";
/// Name of the floor's rendition.
const FLOOR: &str = "floor";

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error("the programme ended")]
    Ended,
}

/// Makes the event's output until it is cancelled.
pub(super) async fn run(shared: &Arc<Shared>, running: &Arc<Running>, event: &Event) -> Result<(), PipelineError> {
    let programme = running.selector.programme();
    if event.settings.ladder.is_passthrough() {
        return passthrough(running, event, &programme).await;
    }
    let shape = match shared.store.output_shape(&event.id).await? {
        Some(stored) => Shape {
            width: stored.width,
            height: stored.height,
            // Only rates with a grid are stored.
            grid: Grid::for_source(stored.frame_rate, 1),
        },
        None => {
            let mut shape = measure(&programme).await?;
            if let Some(grid) = event.settings.frame_rate.and_then(Grid::new) {
                shape.grid = grid;
            }
            let stored = OutputShape { frame_rate: shape.grid.fps(), width: shape.width, height: shape.height };
            shared.store.set_output_shape(&event.id, Some(stored), to_wall(shared.clock.now())).await?;
            shape
        }
    };
    transcode(shared, running, event, shape, &programme).await
}

async fn measure(programme: &Stream) -> Result<Shape, PipelineError> {
    let mut measure = Measure::default();
    let mut reader = programme.subscribe(Start::KeyFrame);
    loop {
        match reader.recv().await {
            Ok(packet) => {
                if let Some(shape) = measure.push(&packet) {
                    return Ok(shape);
                }
            }
            Err(RecvError::Lagged(_)) => measure = Measure::default(),
            Err(RecvError::Ended) => return Err(PipelineError::Ended),
        }
    }
}

/// The sound renditions of an event: the floor, then the languages in their order, with the contribution's track.
fn sounds(event: &Event) -> Vec<(RenditionSpec, u16)> {
    let floor = &event.settings.floor_language;
    let label = if floor == ORIGINAL { "Original".to_owned() } else { language::autonym(floor).into_owned() };
    let spec = |name: &str, language: &str, label: String, default| RenditionSpec {
        name: name.to_owned(),
        kind: RenditionKind::Audio { language: language.to_owned(), label, default },
        bitrate: u64::from(SOUND_BITRATE),
        max_bitrate: u64::from(SOUND_BITRATE) * 11 / 10,
    };
    let mut all = vec![(spec(FLOOR, floor, label, true), event.settings.floor_track)];
    for wanted in &event.settings.languages {
        // With nobody on air an interpreted language is the floor at full level.
        let track = match wanted.kind {
            LanguageKind::Broadcast => wanted.track.unwrap_or(event.settings.floor_track),
            LanguageKind::Interpreted => event.settings.floor_track,
        };
        let label = language::autonym(&wanted.language).into_owned();
        all.push((spec(&wanted.language.to_lowercase(), &wanted.language, label, false), track));
    }
    all
}

fn picture(name: &str, bitrate: u64, frame_rate: f64, source: bool) -> RenditionSpec {
    RenditionSpec {
        name: name.to_owned(),
        kind: RenditionKind::Video { frame_rate, source },
        bitrate,
        // x264's VBV: 1.1 × over a long time, and a buffer of one second that a segment may empty in part.
        max_bitrate: bitrate * 13 / 10,
    }
}

async fn transcode(
    shared: &Arc<Shared>,
    running: &Arc<Running>,
    event: &Event,
    shape: Shape,
    programme: &Stream,
) -> Result<(), PipelineError> {
    let config = shared.config.load_full();
    let grid = shape.grid;
    let names: Vec<&str> = event.settings.ladder.rungs().iter().map(|r| r.name()).collect();
    let rungs = ladder::rungs(&names, shape.width, shape.height, grid.fps());
    let mut packagers: HashMap<TrackId, (Packager, Sink)> = HashMap::new();
    let delay = Dur::from_secs_f64(config.programme.delay_seconds);

    if names.contains(&SOURCE) {
        let targets = SourceTargets::for_rate(Some((grid.fps(), 1))).beside(grid);
        let spec = picture(SOURCE, 0, f64::from(grid.fps()), true);
        let (sink, resume) = running.origin.add(spec.clone(), Cut::Source(targets)).await?;
        let packager = SourcePackager::new(targets, Some((spec, resume)), Vec::new());
        let (programme, clock) = (programme.clone(), shared.clock.clone());
        running.group.spawn_until_cancelled("source rendition", async move {
            let wait = |packet: Ts| {
                let clock = clock.clone();
                async move { clock.sleep_until(packet + delay).await }
            };
            copy(&programme, packager, vec![vec![sink]], wait).await;
        });
    }

    let preset = |rung: &Rung| config.engine.presets.get(&rung.name).unwrap_or(&config.engine.preset).as_str();
    let mut video = Vec::new();
    for (id, rung) in (FIRST_PICTURE..).map(TrackId).zip(&rungs) {
        let spec = picture(&rung.name, rung.bitrate, f64::from(grid.fps()), false);
        let (sink, resume) = running.origin.add(spec.clone(), Cut::Grid(grid)).await?;
        packagers.insert(id, (Packager::new(spec, grid, resume), sink));
        video.push(RungSpec {
            preset: preset(rung).to_owned(),
            encoder: config.engine.encoder.as_str().to_owned(),
            // Rungs are at most tens of megabits.
            ..RungSpec::new(id, &rung.name, rung.width, rung.height, u32::try_from(rung.bitrate).unwrap_or(u32::MAX))
        });
    }
    let mut audio = Vec::new();
    for (id, (spec, source)) in (FIRST_SOUND..).map(TrackId).zip(sounds(event)) {
        let (sink, resume) = running.origin.add(spec.clone(), Cut::Grid(grid)).await?;
        audio.push(AudioSpec { id, name: spec.name.clone(), source, bitrate: SOUND_BITRATE });
        packagers.insert(id, (Packager::new(spec, grid, resume), sink));
    }
    let engine = EngineConfig {
        event: event.id.to_string(),
        grid,
        clock_anchor: shared.system.anchor(),
        delay,
        video,
        audio,
        slate: SlateConfig { text: event.settings.name.clone(), ..SlateConfig::default() },
        limits: Limits { memory: u64::from(config.engine.memory_limit_mb) << 20, ..Limits::default() },
        preview: true,
        program: None,
    };
    let (tx, rx) = mpsc::channel(OUTPUT_QUEUE);
    let engine = Engine::start(engine, programme.clone(), tx, shared.clock.clone(), &running.group);
    running.engine.store(Some(Arc::new(engine)));
    package(rx, packagers).await;
    Ok(())
}

/// The engine's output into the origin, until the engine ends.
async fn package(mut encoded: mpsc::Receiver<Encoded>, mut packagers: HashMap<TrackId, (Packager, Sink)>) {
    let mut made = Vec::new();
    while let Some(Encoded::Packet(packet)) = encoded.recv().await {
        let Some((packager, sink)) = packagers.get_mut(&packet.track.id) else { continue };
        if let Err(error) = packager.push(&packet, &mut made) {
            tracing::error!(rendition = sink.spec().name, %error, "what the engine made cannot be packaged");
        }
        made.drain(..).for_each(|output| sink.apply(output));
    }
}

/// The source itself, its sound copied, without an engine.
async fn passthrough(running: &Arc<Running>, event: &Event, programme: &Stream) -> Result<(), PipelineError> {
    let found = tracks(programme).await?;
    let rate = found.iter().find_map(|p| p.track.video().and_then(|v| v.frame_rate));
    let targets = SourceTargets::for_rate(rate);
    let fps = rate.map_or(25.0, |(n, d)| f64::from(n) / f64::from(d.max(1)));
    let mut sinks: Vec<Vec<Sink>> = Vec::new();
    let mut video = None;
    if found.iter().any(|p| p.track.is_video()) {
        let spec = picture(SOURCE, 0, fps, true);
        let (sink, resume) = running.origin.add(spec.clone(), Cut::Source(targets)).await?;
        sinks.push(vec![sink]);
        video = Some((spec, resume));
    }
    let mut audio: Vec<(RenditionSpec, TrackId, Resume)> = Vec::new();
    let mut lanes: Vec<Vec<Sink>> = Vec::new();
    for (spec, track) in sounds(event) {
        // A language whose track is absent carries the floor, as from the engine.
        let has = |track| found.iter().any(|p| p.track.id == TrackId::audio(track));
        let id = TrackId::audio(if has(track) { track } else { 0 });
        if !has(0) && !has(track) {
            continue;
        }
        let (sink, resume) = running.origin.add(spec.clone(), Cut::Source(targets)).await?;
        // Languages with the same track share what is packaged of it.
        match audio.iter().position(|(_, other, _)| *other == id) {
            Some(lane) => lanes[lane].push(sink),
            None => {
                audio.push((spec, id, resume));
                lanes.push(vec![sink]);
            }
        }
    }
    sinks.extend(lanes);
    let packager = SourcePackager::new(targets, video, audio);
    copy(programme, packager, sinks, |_| std::future::ready(())).await;
    Ok(())
}

/// One packet of each track that a programme begins with.
async fn tracks(programme: &Stream) -> Result<Vec<Packet>, PipelineError> {
    let mut found: Vec<Packet> = Vec::new();
    let mut reader = programme.subscribe(Start::KeyFrame);
    loop {
        match reader.recv().await {
            Ok(packet) => {
                let first = found.first().map_or(packet.dts, |p| p.dts);
                if packet.dts - first > TRACKS_WITHIN {
                    return Ok(found);
                }
                if !found.iter().any(|p| p.track.id == packet.track.id) {
                    found.push(packet);
                }
            }
            Err(RecvError::Lagged(_)) => found.clear(),
            Err(RecvError::Ended) => return Err(PipelineError::Ended),
        }
    }
}

/// Packages the programme as it is; `wait` holds a packet, by its decoding time, until it is due.
async fn copy<F: Future<Output = ()>>(
    programme: &Stream,
    mut packager: SourcePackager,
    sinks: Vec<Vec<Sink>>,
    wait: impl Fn(Ts) -> F,
) {
    let mut reader = programme.subscribe(Start::KeyFrame);
    let mut made: Vec<(usize, Output)> = Vec::new();
    loop {
        match reader.recv().await {
            Ok(packet) => {
                wait(packet.dts).await;
                if let Err(error) = packager.push(&packet, &mut made) {
                    let kind = match &packet.track.media {
                        Media::Video(v) => v.codec.to_string(),
                        Media::Audio(a) => a.codec.to_string(),
                    };
                    tracing::warn!(codec = kind, %error, "a source track cannot be passed through");
                }
            }
            Err(RecvError::Lagged(lag)) => {
                tracing::warn!(packets = lag.packets, "the source packager lagged and goes on at a key frame");
                metrics::counter!("boothcast_source_lag_packets_total").increment(lag.packets);
            }
            Err(RecvError::Ended) => return,
        }
        for (lane, output) in made.drain(..) {
            let Some((last, others)) = sinks.get(lane).and_then(|s| s.split_last()) else { continue };
            others.iter().for_each(|sink| sink.apply(output.clone()));
            last.apply(output);
        }
    }
}
