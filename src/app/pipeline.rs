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

use super::event::{Air, Running, to_wall};
use super::ladder::{self, Rung};
use super::registry::Shared;
use super::shape::{Measure, Shape};
use super::sounds::{Sound, Sounds};
use crate::control::Notice;
use crate::deliver::hls::{OriginError, Sink};
use crate::engine::{Engine, EngineConfig, Limits, Output as Encoded, RoomSpec, RungSpec, SlateConfig};
use crate::hub::{RecvError, Start, Stream};
use crate::media::{Dur, Grid, Media, Packet, TrackId, Ts};
use crate::package::{Cut, Output, Packager, RenditionKind, RenditionSpec, Resume, SourcePackager, SourceTargets};
use crate::store::{Event, OutputShape, Settings, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, watch};

/// Encoded access units between engine and packagers: a second of a whole ladder with a dozen languages. When the
/// packagers are behind by more, the engine waits.
const OUTPUT_QUEUE: usize = 1024;
/// Output ids of pictures start here; they only have to differ from those of the sound ([`super::sounds`]).
const FIRST_PICTURE: u16 = 100;
/// The rooms' picture, likewise.
pub(super) const ROOM_PICTURE: TrackId = TrackId(90);
/// How much programme tells which tracks a source has.
const TRACKS_WITHIN: Dur = Dur::from_secs(1);
/// Name of the rendition that is the source's own picture.
const SOURCE: &str = "source";

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
    if event.settings.is_copied() {
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
            let wanted = event.settings.frame_rate.and_then(Grid::new);
            if let Some(grid) = wanted {
                running.selector.set_frame(grid.frame());
            }
            let mut shape = measure(&programme).await?;
            shape.grid = wanted.unwrap_or(shape.grid);
            let stored = OutputShape { frame_rate: shape.grid.fps(), width: shape.width, height: shape.height };
            shared.store.set_output_shape(&event.id, Some(stored), to_wall(shared.clock.now())).await?;
            shape
        }
    };
    running.selector.set_frame(shape.grid.frame());
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
    let mut names: Vec<&str> = event.settings.ladder.rungs().iter().map(|r| r.name()).collect();
    if event.settings.ladder.is_passthrough() {
        // Passed through as it is, but its booths need an engine.
        names.push(SOURCE);
    }
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
    let mut changes = running.settings.subscribe();
    let sounds = Sounds::new(&changes.borrow_and_update());
    for sound in sounds.all() {
        let (sink, resume) = running.origin.add(sound.spec.clone(), Cut::Grid(grid)).await?;
        packagers.insert(sound.id, (Packager::new(sound.spec.clone(), grid, resume), sink));
    }
    let engine = EngineConfig {
        event: event.id.to_string(),
        grid,
        clock_anchor: shared.system.anchor(),
        delay,
        video,
        audio: sounds.audio(),
        room: Some(room(shape, sounds.floor())),
        stems: false,
        slate: SlateConfig { text: event.settings.name.clone(), ..SlateConfig::default() },
        limits: Limits { memory: u64::from(config.engine.memory_limit_mb) << 20, ..Limits::default() },
        preview: true,
        program: None,
    };
    let (tx, rx) = mpsc::channel(OUTPUT_QUEUE);
    let engine = Arc::new(Engine::start(engine, programme.clone(), tx, shared.clock.clone(), &running.group));
    running.air.send_replace(Some(Air { engine: engine.clone(), sounds: sounds.all().into() }));
    let (mut status, selector) = (engine.status(), running.selector.clone());
    running.group.spawn_until_cancelled("content", async move {
        // A status changes with everything that it tells; most of the time this is nothing new.
        let (mut told, mut told_alike) = (None, None);
        while status.changed().await.is_ok() {
            let (content, alike) = {
                let status = status.borrow_and_update();
                (status.content, status.sound_match)
            };
            if told.replace(content) != Some(content) {
                selector.measured(content);
            }
            if let Some(found) = alike
                && told_alike.replace(found) != Some(found)
            {
                selector.alike(found);
            }
        }
    });
    let (mut heard, comparer) = (running.selector.sounds(), engine.clone());
    running.group.spawn_until_cancelled("inputs' sounds", async move {
        loop {
            match heard.recv().await {
                Ok((input, packet)) => comparer.sound(input, packet),
                // A hole in what is compared.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    let mut ladder = Ladder { shared, running, grid, engine, packagers, sounds };
    ladder.run(rx, changes).await
}

/// What the rooms of an output of this shape see: 360 lines, or less where the source has less.
fn room(shape: Shape, floor: &Sound) -> RoomSpec {
    let spec = RoomSpec::new(ROOM_PICTURE, floor.realtime);
    match ladder::rungs(&["360p"], shape.width, shape.height, shape.grid.fps()).first() {
        Some(rung) => {
            let video = RungSpec { width: rung.width, height: rung.height, ..spec.video };
            RoomSpec { video, ..spec }
        }
        None => spec,
    }
}

/// What the engine makes, on its way to the origin.
struct Ladder<'a> {
    shared: &'a Shared,
    running: &'a Running,
    grid: Grid,
    engine: Arc<Engine>,
    packagers: HashMap<TrackId, (Packager, Sink)>,
    sounds: Sounds,
}

impl Ladder<'_> {
    /// Until the engine ends. Changed languages are taken over between two packets.
    async fn run(
        &mut self,
        mut encoded: mpsc::Receiver<Encoded>,
        mut changes: watch::Receiver<Settings>,
    ) -> Result<(), PipelineError> {
        let mut made = Vec::new();
        let mut named = self.running.origin.named();
        loop {
            let packet = tokio::select! {
                output = encoded.recv() => match output {
                    Some(Encoded::Packet(packet)) => packet,
                    // For the recorder.
                    Some(Encoded::Stem { .. }) => continue,
                    None => return Ok(()),
                },
                Ok(()) = changes.changed() => {
                    let settings = changes.borrow_and_update().clone();
                    self.change(&settings).await?;
                    continue;
                }
                // When players can have what changed, which is after it was changed.
                Ok(()) = named.changed() => {
                    let now = to_wall(self.shared.clock.now());
                    self.shared.notices.publish(&self.running.id, Notice::languages(now));
                    continue;
                }
            };
            let Some((packager, sink)) = self.packagers.get_mut(&packet.track.id) else { continue };
            if let Err(error) = packager.push(&packet, &mut made) {
                tracing::error!(rendition = sink.spec().name, %error, "what the engine made cannot be packaged");
            }
            made.drain(..).for_each(|output| sink.apply(output));
        }
    }

    /// Adds and takes away languages while live.
    async fn change(&mut self, settings: &Settings) -> Result<(), PipelineError> {
        let before = self.sounds.audio();
        let changes = self.sounds.update(settings);
        if self.sounds.audio() == before {
            return Ok(());
        }
        for sound in &changes.added {
            let (sink, resume) = self.running.origin.join(sound.spec.clone(), Cut::Grid(self.grid)).await?;
            self.packagers.insert(sound.id, (Packager::new(sound.spec.clone(), self.grid, resume), sink));
        }
        self.engine.set_audio(self.sounds.audio());
        let air = Air { engine: self.engine.clone(), sounds: self.sounds.all().into() };
        self.running.air.send_replace(Some(air));
        self.running.origin.list_sounds(&self.sounds.listed());
        for name in &changes.dropped {
            self.packagers.retain(|_, (_, sink)| sink.spec().name != *name);
            self.running.origin.remove(name).await;
        }
        let languages = self.sounds.listed().join(" ");
        tracing::info!(event = %self.running.id, languages, "languages changed");
        Ok(())
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
    for Sound { spec, source, .. } in Sounds::new(&event.settings).all().iter().cloned() {
        // Channels would have asked for an engine.
        let track = source.track;
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
