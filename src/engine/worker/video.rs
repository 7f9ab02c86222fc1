//! Pictures: decode just in time, one scaled picture per rung, one encoder thread per rung.
//!
//! **Data flow.** [`PacketQueue`] → decoder thread (which picture fills which slot) → [`SlotQueue`] → scaler thread
//! (cascade from the largest rung down) → a [`SlotQueue`] per rung → encoder threads → the daemon.
//! **Bounds.** Two decoded pictures beside the decoder's own; [`PICTURES`] before each stage.
//! **When the machine is too slow** stages wait for each other until output is [`LATE`] behind its time, which players
//! bear; from there on pictures that an encoder has no time for become repeats, a decoder that is [`SKIP_AFTER`] behind
//! goes on at the newest key frame, and an encoder that is [`GIVE_UP_AFTER`] behind at the next segment. While slots
//! missed by a restart are made up for, only the last of these holds.

use super::av::{Encoded, Fit, Frame, JpegEncoder, Picture, PictureDecoder, PictureEncoder, Shown, sample};
use super::queue::{Item, Job, PacketQueue, Popped, SlotQueue};
use super::slate;
use super::stage::{Shared, Stage};
use super::threads::spawn;
use crate::engine::content::{PictureWatch, Samples};
use crate::engine::protocol::{FromEngine, Start};
use crate::engine::schedule::{self, Cadence, Candidate, Choice, DECODE_LEAD};
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
/// Output may lag by this much before pictures are given up: a busy moment of the machine, within the hold-back of players.
const LATE: Dur = Dur::from_secs(1);
/// A decoder that lags by more than this will not catch up by decoding.
const SKIP_AFTER: Dur = Dur::from_secs(2);
/// Beyond what a restart makes up for ([`schedule::CATCH_UP`]) and the time that it takes, nothing is made up for.
const GIVE_UP_AFTER: Dur = Dur::from_secs(5);
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
            clock: start.clock(),
            grid,
            delay: config.delay,
            paced: start.paced,
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
        cadence: Cadence::default(),
        first,
        showing_slate: false,
        watch: PictureWatch::default(),
        samples: Samples::default(),
        catching_up: true,
        ended: false,
    };
    threads.push(spawn("decode", move || decoding.run())?);
    Ok(threads)
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

/// A picture and the run of the input that it belongs to.
struct Decoded {
    picture: Picture,
    epoch: Option<u32>,
}

struct Held {
    picture: Picture,
    fresh: bool,
}

struct Decoding {
    input: Arc<PacketQueue>,
    out: Arc<SlotQueue<Shown>>,
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
    ready: VecDeque<Decoded>,
    earlier: Option<Held>,
    later: Option<Decoded>,
    cadence: Cadence,
    first: i64,
    showing_slate: bool,
    watch: PictureWatch,
    /// Of the picture that is looked at.
    samples: Samples,
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
            self.keep_up(due);
            self.find(at, due);
            if self.ended && self.later.is_none() && self.earlier.as_ref().is_none_or(|e| !e.fresh) {
                break;
            }
            let picture = self.fill(at, &slate);
            let lag = self.clock.now() - due;
            if !(CAUGHT_UP..GIVE_UP_AFTER).contains(&lag) {
                self.catching_up = false;
            }
            let wait = !self.paced || self.catching_up || lag < LATE;
            match self.out.push(Job { slot, picture, wait }) {
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

    /// Gives up what is too late to be decoded.
    fn keep_up(&mut self, due: Ts) {
        if !self.paced || self.catching_up || self.clock.now() - due <= SKIP_AFTER {
            return;
        }
        let skipped = self.input.skip_to_key();
        if skipped > 0 {
            self.shared.overload.fetch_add(skipped as u64, Ordering::Relaxed);
            let stage = self.stage.clone();
            stage.work(|| self.drain());
            self.ready.clear();
            self.later = None;
        }
    }

    /// Decodes until the first picture at or after `at` is there, or `due` has come.
    fn find(&mut self, at: Ts, due: Ts) {
        loop {
            match &self.later {
                Some(later) if self.is_replaced(later) => self.later = None,
                Some(later) if later.picture.pts >= at => return,
                Some(_) => {
                    let later = self.later.take();
                    self.set_earlier(later.map(|later| Held { picture: later.picture, fresh: true }));
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

    /// Whether a newer run shows this instant: one that broke off may have had pictures after those that it owed.
    fn is_replaced(&self, decoded: &Decoded) -> bool {
        let newest = self.input.newest_run();
        newest.is_some_and(|(run, from)| {
            decoded.epoch.is_some_and(|epoch| epoch != run) && decoded.picture.pts >= from - self.grid.frame() / 2
        })
    }

    fn next_picture(&mut self, due: Ts) -> Option<Decoded> {
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
            Item::Voice(_) | Item::Plan(_) | Item::Audio(..) => {}
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
                            Ok(Some(picture)) => self.ready.push_back(Decoded { picture, epoch: self.epoch }),
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
                Ok(pictures) => {
                    self.ready.extend(pictures.into_iter().map(|picture| Decoded { picture, epoch: self.epoch }));
                }
                Err(e) => {
                    self.shared.log(true, format!("the decoder could not begin anew: {e}"));
                    self.decoder = None;
                }
            }
        }
    }

    /// What the slot at `at` shows; none: the same as the slot before.
    fn fill(&mut self, at: Ts, slate: &Frame) -> Option<Shown> {
        let candidate = self.earlier.as_ref().map(|h| Candidate { pts: h.picture.pts, fresh: h.fresh });
        let take_later = match &self.later {
            // Before anything was shown the first picture stands in for those before it, rather than the slate.
            Some(later) if candidate.is_none() => {
                later.picture.pts - at <= if self.showing_slate { self.grid.frame() / 2 } else { AHEAD }
            }
            Some(later) => self.cadence.choose(self.grid.frame(), at, candidate, later.picture.pts) == Choice::Later,
            None => false,
        };
        if take_later {
            let later = self.later.take();
            self.set_earlier(later.map(|later| Held { picture: later.picture, fresh: true }));
        }
        let age = self.earlier.as_ref().map(|h| at - h.picture.pts);
        self.shared.video_input.store(age.is_some_and(|a| a < INPUT_LIVE), Ordering::Relaxed);
        let first_shown = |h: &mut Held| std::mem::take(&mut h.fresh).then(|| h.picture.clone());
        if let Some(picture) = self.earlier.as_mut().and_then(first_shown) {
            self.look(&picture);
            self.show_slate(false);
            return Some(picture.shown);
        }
        if age.is_none_or(|a| a > self.slate.after) {
            let shown = self.showing_slate;
            self.show_slate(true);
            return (!shown).then(|| Shown::square(slate.clone()));
        }
        self.shared.repeated.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Notes whether a picture is black, or the same as those before it.
    fn look(&mut self, picture: &Picture) {
        if sample(&picture.shown.frame, &mut self.samples) {
            let (black, frozen) = self.watch.picture(picture.pts, &self.samples);
            self.shared.set_content(|content| (content.black, content.frozen) = (black, frozen));
        }
    }

    fn show_slate(&mut self, on: bool) {
        self.showing_slate = on;
        self.shared.slate.store(on, Ordering::Relaxed);
    }
}

// ---- scaling ----

struct Scaling {
    jobs: Arc<SlotQueue<Shown>>,
    ladder: Vec<(Fit, Arc<SlotQueue<Frame>>)>,
    preview: Option<SyncSender<Frame>>,
    preview_every: i64,
    stage: Arc<Stage>,
    shared: Arc<Shared>,
}

impl Scaling {
    fn run(mut self) {
        let mut smallest = None;
        while let Some(job) = self.jobs.pop() {
            let mut source = job.picture;
            for (fit, queue) in &mut self.ladder {
                let scaled = source.as_ref().map(|shown| self.stage.work(|| fit.apply(shown)));
                let scaled = match scaled.transpose() {
                    Ok(frame) => frame,
                    Err(e) => {
                        // An exotic pixel format: the picture before stays.
                        self.shared.log(true, e.to_string());
                        None
                    }
                };
                source = scaled.clone().map(Shown::square);
                match queue.push(Job { slot: job.slot, picture: scaled, wait: job.wait }) {
                    Ok(dropped) => self.shared.overload.fetch_add(dropped, Ordering::Relaxed),
                    Err(stalled) => super::die(&stalled.to_string()),
                };
            }
            smallest = source.map(|s| s.frame).or(smallest);
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
    clock: SystemClock,
    grid: Grid,
    delay: Dur,
    paced: bool,
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
            if self.paced {
                self.first =
                    self.first.max(schedule::skip(self.grid, job.slot, self.clock.now(), self.delay, GIVE_UP_AFTER));
            }
            if job.slot < self.first {
                self.shared.overload.fetch_add(u64::from(begun), Ordering::Relaxed);
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
