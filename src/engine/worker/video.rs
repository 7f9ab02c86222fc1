//! Pictures: decode just in time, one scaled picture per rung, one encoder thread per rung.
//!
//! **Data flow.** [`PacketQueue`] → decoder thread (which picture fills which slot) → [`SlotQueue`] → scaler thread
//! (cascade from the largest rung down) → a [`SlotQueue`] per rung → encoder threads → the daemon.
//! **Bounds.** Two decoded pictures beside the decoder's own; [`PICTURES`] before each stage. While slots missed by a
//! restart are made up for, stages wait for each other instead of dropping.

use super::av::{Encoded, Fit, Frame, JpegEncoder, Picture, PictureDecoder, PictureEncoder};
use super::queue::{Item, Job, PacketQueue, Popped, SlotQueue};
use super::slate;
use super::stage::{Shared, Stage};
use crate::engine::protocol::{FromEngine, Start};
use crate::engine::schedule::{self, Candidate, Choice, DECODE_LEAD};
use crate::engine::{RungSpec, SlateConfig};
use crate::media::{Clock, Dur, Grid, SystemClock, Track, Ts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Raw pictures before a stage: one in work, one waiting, one for jitter between stages.
pub const PICTURES: usize = 3;
/// Threads of the decoder; slices of one picture, so that no picture is held back.
const DECODER_THREADS: usize = 2;
/// A picture further ahead than this does not stand in for one that is missing at the start.
const AHEAD: Dur = Dur::from_secs(3);
/// Pictures count as coming in for this long after the last one.
const INPUT_LIVE: Dur = Dur::from_secs(1);
/// Output that lags less than this behind its time has caught up.
const CAUGHT_UP: Dur = Dur::from_millis(100);
/// Width of the preview, at most.
const PREVIEW_WIDTH: usize = 480;

/// Starts the threads of the pictures. They end when the input has ended, in unpaced runs.
pub fn start(start: &Start, input: &Arc<PacketQueue>, shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, String> {
    let config = &start.config;
    let grid = config.grid;
    let mut threads = Vec::new();
    if config.video.is_empty() {
        // Sound alone: pictures are taken and forgotten.
        let input = input.clone();
        threads.push(spawn("decode", move || while !matches!(input.pop(None), Popped::Ended) {})?);
        return Ok(threads);
    }
    let mut rungs = config.video.clone();
    rungs.sort_by_key(|r| std::cmp::Reverse(u64::from(r.width) * u64::from(r.height)));
    let (top_width, top_height) = (rungs[0].width as usize, rungs[0].height as usize);
    let to_scaler = Arc::new(SlotQueue::new(PICTURES));
    let first = rungs.iter().map(|r| start.first(r.id)).min().unwrap_or(0);

    let mut ladder = Vec::new();
    for rung in rungs {
        let encoder = open(&rung, grid, shared)?;
        let queue = Arc::new(SlotQueue::new(PICTURES));
        shared.send(FromEngine::Track(Arc::new(encoder.track().clone())));
        let run = Encoding {
            first: start.first(rung.id),
            stage: shared.stage(&format!("encode {}", rung.name)),
            jobs: queue.clone(),
            shared: shared.clone(),
            grid,
            encoder,
            rung: rung.clone(),
        };
        threads.push(spawn("encode", move || run.run())?);
        ladder.push((Fit::new(rung.width as usize, rung.height as usize), queue));
    }
    let preview = if config.preview { Some(preview(shared, &mut threads)?) } else { None };
    let scaling = Scaling {
        jobs: to_scaler.clone(),
        ladder,
        preview,
        preview_every: i64::from(grid.fps()),
        stage: shared.stage("scale"),
        shared: shared.clone(),
        paced: start.paced,
    };
    threads.push(spawn("scale", move || scaling.run())?);

    let decoding = Decoding {
        input: input.clone(),
        out: to_scaler,
        shared: shared.clone(),
        stage: shared.stage("decode"),
        clock: start.clock(),
        grid,
        delay: config.delay,
        slate: config.slate.clone(),
        slate_size: (top_width, top_height),
        paced: start.paced,
        decoder: None,
        epoch: None,
        ready: VecDeque::new(),
        earlier: None,
        later: None,
        first,
        showing_slate: false,
        catching_up: true,
        ended: false,
    };
    threads.push(spawn("decode", move || decoding.run())?);
    Ok(threads)
}

/// A named thread; the name is what the daemon's log shows when it hangs.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|e| format!("thread {name}: {e}"))
}

/// A rung's encoder; a hardware encoder that is not there is replaced by the software one, and said so.
fn open(rung: &RungSpec, grid: Grid, shared: &Shared) -> Result<PictureEncoder, String> {
    match PictureEncoder::new(rung, &rung.encoder, grid) {
        Ok(encoder) => Ok(encoder),
        Err(e) if rung.encoder != "libx264" => {
            shared.log(true, format!("{}: encoder {}: {e}; libx264 takes its place", rung.name, rung.encoder));
            let software = RungSpec { preset: "superfast".to_owned(), ..rung.clone() };
            PictureEncoder::new(&software, "libx264", grid).map_err(|e| format!("{}: {e}", rung.name))
        }
        Err(e) => Err(format!("{}: {e}", rung.name)),
    }
}

// ---- decoding and slots ----

struct Held {
    picture: Picture,
    fresh: bool,
}

struct Decoding {
    input: Arc<PacketQueue>,
    out: Arc<SlotQueue<Frame>>,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    clock: SystemClock,
    grid: Grid,
    delay: Dur,
    slate: SlateConfig,
    slate_size: (usize, usize),
    paced: bool,
    decoder: Option<PictureDecoder>,
    epoch: Option<u32>,
    /// Decoded, not yet looked at: more than one only at the end of a run of the input.
    ready: VecDeque<Picture>,
    earlier: Option<Held>,
    later: Option<Picture>,
    first: i64,
    showing_slate: bool,
    catching_up: bool,
    ended: bool,
}

impl Decoding {
    fn run(mut self) {
        self.input.wait_live();
        let complain = |text| self.shared.log(true, text);
        let slate = slate::make(&self.slate, self.slate_size.0, self.slate_size.1, complain);
        let mut slot = self.first;
        loop {
            let due = schedule::video_due(self.grid, slot, self.delay);
            if self.paced {
                self.sleep_until(due - DECODE_LEAD);
            }
            let at = self.grid.frame_start(slot);
            self.find(at, due);
            if self.ended && self.later.is_none() && self.earlier.as_ref().is_none_or(|e| !e.fresh) {
                break;
            }
            let picture = self.fill(at, &slate);
            if self.catching_up && self.clock.now() - due < CAUGHT_UP {
                self.catching_up = false;
            }
            let wait = !self.paced || self.catching_up;
            match self.out.push(Job { slot, picture }, wait) {
                Ok(dropped) => self.shared.overload.fetch_add(dropped, Ordering::Relaxed),
                Err(stalled) => super::die(&stalled.to_string()),
            };
            slot += 1;
        }
        self.out.close();
    }

    fn sleep_until(&self, at: Ts) {
        let wait = (at - self.clock.now()).to_std();
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// Decodes until the first picture at or after `at` is there, or `due` has come.
    fn find(&mut self, at: Ts, due: Ts) {
        loop {
            match &self.later {
                Some(later) if later.pts >= at => return,
                Some(_) => {
                    let picture = self.later.take();
                    self.set_earlier(picture.map(|picture| Held { picture, fresh: true }));
                }
                None => match self.next_picture(due) {
                    Some(picture) => self.later = Some(picture),
                    None => return,
                },
            }
        }
    }

    fn set_earlier(&mut self, held: Option<Held>) {
        let old = std::mem::replace(&mut self.earlier, held);
        // What a restart decodes to find its place was shown by the process before.
        if old.is_some_and(|o| o.fresh && o.picture.pts >= self.grid.frame_start(self.first)) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next_picture(&mut self, due: Ts) -> Option<Picture> {
        loop {
            if let Some(picture) = self.ready.pop_front() {
                return Some(picture);
            }
            let patience = self.paced.then(|| (due - self.clock.now()).to_std());
            match self.input.pop(patience) {
                Popped::Item(item) => self.take(item),
                Popped::Empty => return None,
                Popped::Ended => {
                    if std::mem::replace(&mut self.ended, true) {
                        return None;
                    }
                    self.drain();
                }
            }
        }
    }

    fn take(&mut self, item: Item) {
        let stage = self.stage.clone();
        match item {
            Item::Track(track) => stage.work(|| self.set_track(&track)),
            Item::Packet(packet) => {
                if packet.key && self.epoch.is_some_and(|e| e != packet.epoch) {
                    // Another run of the input: what the decoder holds back belongs to the run before.
                    stage.work(|| self.drain());
                }
                if packet.key {
                    self.epoch = Some(packet.epoch);
                }
                stage.work(|| {
                    let Some(decoder) = &mut self.decoder else { return };
                    let pushed = decoder.push(&packet);
                    let mut failed = pushed.is_err();
                    loop {
                        match decoder.take() {
                            Ok(Some(picture)) => self.ready.push_back(picture),
                            Ok(None) => break,
                            Err(_) => {
                                failed = true;
                                break;
                            }
                        }
                    }
                    if failed {
                        self.shared.corrupt.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    }

    fn set_track(&mut self, track: &Track) {
        let Some(format) = track.video() else { return };
        if self.decoder.as_mut().is_some_and(|d| d.reformat(format)) {
            return;
        }
        self.drain();
        self.decoder = match PictureDecoder::new(format, DECODER_THREADS) {
            Ok(decoder) => Some(decoder),
            Err(e) => {
                self.shared.log(true, format!("{} cannot be decoded: {e}", format.codec));
                None
            }
        };
    }

    fn drain(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            match decoder.drain() {
                Ok(pictures) => self.ready.extend(pictures),
                Err(e) => {
                    self.shared.log(true, format!("the decoder could not begin anew: {e}"));
                    self.decoder = None;
                }
            }
        }
    }

    /// What the slot at `at` shows; none: the same as the slot before.
    fn fill(&mut self, at: Ts, slate: &Frame) -> Option<Frame> {
        let candidate = self.earlier.as_ref().map(|h| Candidate { pts: h.picture.pts, fresh: h.fresh });
        let take_later = match &self.later {
            // Before anything was shown the first picture stands in for those before it, rather than the slate.
            Some(later) if candidate.is_none() => {
                later.pts - at <= if self.showing_slate { self.grid.frame() / 2 } else { AHEAD }
            }
            Some(later) => schedule::choose(self.grid.frame(), at, candidate, later.pts) == Choice::Later,
            None => false,
        };
        if take_later {
            let picture = self.later.take();
            self.set_earlier(picture.map(|picture| Held { picture, fresh: true }));
        }
        let age = self.earlier.as_ref().map(|h| at - h.picture.pts);
        self.shared.video_input.store(age.is_some_and(|a| a < INPUT_LIVE), Ordering::Relaxed);
        let first_shown = |h: &mut Held| std::mem::take(&mut h.fresh).then(|| h.picture.frame.clone());
        let fresh = self.earlier.as_mut().and_then(first_shown);
        if fresh.is_some() {
            self.show_slate(false);
            return fresh;
        }
        if age.is_none_or(|a| a > self.slate.after) {
            let shown = self.showing_slate;
            self.show_slate(true);
            return (!shown).then(|| slate.clone());
        }
        self.shared.repeated.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn show_slate(&mut self, on: bool) {
        self.showing_slate = on;
        self.shared.slate.store(on, Ordering::Relaxed);
    }
}

// ---- scaling ----

struct Scaling {
    jobs: Arc<SlotQueue<Frame>>,
    ladder: Vec<(Fit, Arc<SlotQueue<Frame>>)>,
    preview: Option<SyncSender<Frame>>,
    preview_every: i64,
    stage: Arc<Stage>,
    shared: Arc<Shared>,
    paced: bool,
}

impl Scaling {
    fn run(mut self) {
        let mut smallest = None;
        while let Some(job) = self.jobs.pop() {
            let mut source = job.picture;
            for (fit, queue) in &mut self.ladder {
                let scaled = source.as_ref().map(|frame| self.stage.work(|| fit.apply(frame)));
                source = match scaled.transpose() {
                    Ok(frame) => frame,
                    Err(e) => {
                        // An exotic pixel format: the picture before stays.
                        self.shared.log(true, e.to_string());
                        None
                    }
                };
                match queue.push(Job { slot: job.slot, picture: source.clone() }, !self.paced) {
                    Ok(dropped) => self.shared.overload.fetch_add(dropped, Ordering::Relaxed),
                    Err(stalled) => super::die(&stalled.to_string()),
                };
            }
            smallest = source.or(smallest);
            if let (Some(preview), Some(frame)) = (&self.preview, &smallest)
                && job.slot % self.preview_every == 0
                && let Err(TrySendError::Disconnected(_)) = preview.try_send(frame.clone())
            {
                self.preview = None;
            }
        }
        for (_, queue) in &self.ladder {
            queue.close();
        }
    }
}

/// The thread that makes previews; a picture that comes while it works is left out.
fn preview(shared: &Arc<Shared>, threads: &mut Vec<JoinHandle<()>>) -> Result<SyncSender<Frame>, String> {
    let (tx, rx) = sync_channel::<Frame>(1);
    let (shared, stage) = (shared.clone(), shared.stage("preview"));
    let run = move || {
        let mut encoder: Option<JpegEncoder> = None;
        for frame in rx {
            let jpeg = stage.work(|| {
                if encoder.is_none() {
                    let width = frame.width().min(PREVIEW_WIDTH);
                    let height = frame.height() * width / frame.width() / 2 * 2;
                    encoder = Some(JpegEncoder::new(width, height.max(16))?);
                }
                match &mut encoder {
                    Some(encoder) => encoder.encode(&frame),
                    None => Ok(bytes::Bytes::new()),
                }
            });
            match jpeg {
                Ok(jpeg) => shared.send(FromEngine::Preview(jpeg)),
                Err(e) => {
                    shared.log(true, format!("no preview: {e}"));
                    return;
                }
            }
        }
    };
    threads.push(spawn("preview", run)?);
    Ok(tx)
}

// ---- encoding ----

struct Encoding {
    first: i64,
    stage: Arc<Stage>,
    jobs: Arc<SlotQueue<Frame>>,
    shared: Arc<Shared>,
    grid: Grid,
    encoder: PictureEncoder,
    rung: RungSpec,
}

impl Encoding {
    fn run(mut self) {
        let per_segment = i64::from(self.grid.frames_per_segment());
        let mut last: Option<Frame> = None;
        let mut begun = false;
        while let Some(job) = self.jobs.pop() {
            if job.picture.is_some() {
                last = job.picture;
            }
            // The first slot always brings a picture, the slate at least.
            let Some(frame) = &last else { continue };
            if job.slot < self.first {
                continue;
            }
            let key = !std::mem::replace(&mut begun, true) || job.slot % per_segment == 0;
            let encoded = self.stage.work(|| self.encoder.push(frame, job.slot, key));
            match encoded {
                Ok(units) => self.send(units),
                Err(e) => super::die(&format!("{}: {e}", self.rung.name)),
            }
        }
        let rest = self.encoder.finish();
        self.send(rest);
    }

    fn send(&self, units: Vec<Encoded>) {
        for u in units {
            self.shared.send(FromEngine::Packet { track: self.rung.id, number: u.number, key: u.key, data: u.data });
        }
    }
}
