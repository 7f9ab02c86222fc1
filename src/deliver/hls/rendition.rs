//! One rendition at the origin: its window, its playlists as last rendered, and those who wait for more.
//!
//! **Data flow.** The packager's task calls [`Sink::apply`]; requests read under the same short lock. A playlist is
//! rendered by the first who asks after a change and shared by all others until the next one.
//! **Bound.** The window's own; texts of one generation; what is to be stored is listed by number, not held.
//! **Slow readers** hold a reference to bytes, never the lock. A slow disk never delays the packager: segments that
//! leave memory before they are stored become gaps.

use super::access::Gate;
use super::answer::{Pieces, Text, cut};
use super::disk::Folder;
use super::render::{self, Kind, Others};
use crate::media::{Dur, Ts};
use crate::package::{Cut, Entry, Init, Output, Reach, RenditionKind, RenditionSpec, Resume, Segment, Window};
use axum::http::HeaderValue;
use bytes::Bytes;
use metrics::Counter;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// How far a rendition has come, for those who wait and for rendition reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Counts changes of the playlist.
    pub generation: u64,
    /// [`Window::last`].
    pub last: Option<(u64, Option<u32>)>,
    /// The rendition or its event is removed.
    pub gone: bool,
}

/// What a request wants of a media playlist.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which playlist.
    pub kind: Kind,
    /// The block-until directives.
    pub at: Option<(u64, Option<u32>)>,
    /// What begins before this is not shown; none for everything.
    pub since: Option<Ts>,
    /// With [`render::MARK`] after each URI, to put a token there.
    pub marked: bool,
}

/// What became of asking for a playlist.
pub enum Playlist {
    /// The playlist; whether it was asked for at the live edge, so that its URL is worth caching.
    Ready(Arc<Text>, bool),
    /// Not yet.
    Wait,
    /// Beyond what may be waited for.
    TooFar,
}

/// What became of asking for media.
pub enum Media {
    /// In memory.
    Memory(Found),
    /// In the file of this segment; its length.
    Disk(PathBuf, u64),
    /// The part that the playlist hints at: not yet.
    Wait,
    /// Not there, or not for this client.
    None,
}

/// Bytes that make a resource together.
pub struct Found {
    pieces: Vec<Bytes>,
    /// Their length.
    pub total: u64,
}

impl Found {
    fn new(pieces: impl Iterator<Item = Bytes>) -> Found {
        let pieces: Vec<Bytes> = pieces.collect();
        let total = pieces.iter().map(|p| p.len() as u64).sum();
        Found { pieces, total }
    }

    /// A resource that is in one piece.
    pub fn one(data: Bytes) -> Found {
        Found { total: data.len() as u64, pieces: vec![data] }
    }

    /// A range of them, or all.
    pub fn cut(self, range: Option<Range<u64>>) -> Pieces {
        let range = range.unwrap_or(0..self.total);
        cut(self.pieces, range)
    }
}

/// What is to be done on the disk. Numbers only: the bytes stay the window's, so a slow disk pins no memory.
#[derive(Default)]
struct Pending {
    inits: VecDeque<u32>,
    segments: VecDeque<u64>,
    expired: Vec<u64>,
    expired_inits: Vec<u32>,
}

struct State {
    window: Window,
    generation: u64,
    /// Rendered in this generation: at most one per [`Key`].
    texts: Vec<(Key, Arc<Text>)>,
    /// The first segment of what is public since the first, once there is one.
    public: Option<(Ts, u64)>,
    pending: Pending,
    memory: u64,
    /// There was something to list, and a complete segment: the index says so from then on.
    begun: (bool, bool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    kind: Kind,
    from: u64,
    marked: bool,
}

/// Values of Cache-Control for a rendition.
pub struct CacheControl {
    /// A playlist that was waited for at the live edge: its URL never means another.
    pub edge: HeaderValue,
    /// Segments and headers: they never change.
    pub media: HeaderValue,
    /// Parts: they never change and are soon not asked for any more.
    pub part: HeaderValue,
}

/// Counters, registered once.
pub struct Counters {
    /// Requests for playlists, headers, segments, parts.
    pub playlists: Counter,
    /// Requests for segments and headers.
    pub segments: Counter,
    /// Requests for parts.
    pub parts: Counter,
    /// Bytes of answers, as begun.
    pub bytes: Counter,
}

/// A rendition. See the module.
pub struct Rendition {
    /// Its name in URLs.
    pub name: Box<str>,
    /// Whether it is a picture.
    pub video: bool,
    /// What caches are told.
    pub cache: CacheControl,
    /// What is counted.
    pub counters: Counters,
    cut: Cut,
    state: Mutex<State>,
    changed: watch::Sender<Progress>,
    /// Wakes the event's writer, and its folder; none when memory is all there is. The folder's lock is held over disk
    /// IO and taken on blocking threads only, never together with the state's.
    disk: Option<(Arc<Notify>, Mutex<Folder>)>,
    folder: PathBuf,
    /// The index of the event must be rendered anew: a header or a peak changed.
    declared: Arc<Declared>,
    /// It came while others were on, and does not reach back yet as far as those who watch them are behind.
    joining: AtomicBool,
    /// The peak bit rate that the index was told.
    peak: AtomicU64,
    /// Milliseconds of programme that requests covered since the last [`Rendition::take_watched`].
    watched: AtomicU64,
}

/// Told when what the multivariant playlist says may have changed.
pub struct Declared {
    generation: watch::Sender<u64>,
    /// Counts changes of which renditions are named.
    named: watch::Sender<u64>,
}

impl Declared {
    /// At generation 0.
    pub fn new() -> Declared {
        Declared { generation: watch::Sender::new(0), named: watch::Sender::new(0) }
    }

    /// Something changed: the index is rendered anew and those who wait look again.
    pub fn touch(&self) {
        self.generation.send_modify(|g| *g += 1);
    }

    /// Other renditions are named than before.
    pub fn touch_named(&self) {
        self.touch();
        self.named.send_modify(|n| *n += 1);
    }

    /// The generation.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// To wait for a change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// To wait for a change of what is named.
    pub fn subscribe_named(&self) -> watch::Receiver<u64> {
        self.named.subscribe()
    }
}

/// Where a rendition's folder is and who writes to it.
pub struct Disk {
    /// Wakes the writer.
    pub work: Arc<Notify>,
    /// The open folder.
    pub folder: Folder,
}

impl Rendition {
    /// A rendition with what `window` was restored from, and whether it joins others that are on.
    pub fn new(
        event: &str,
        window: Window,
        joining: bool,
        dvr: Dur,
        folder: PathBuf,
        disk: Option<Disk>,
        declared: Arc<Declared>,
    ) -> Rendition {
        let spec = window.spec();
        let name = spec.name.clone();
        let video = matches!(spec.kind, RenditionKind::Video { .. });
        let cut = window.cut();
        let reload = (cut.segment() * 6).to_scale(1).max(1);
        let age = |seconds: i64, more: &str| {
            let value = format!("public, max-age={seconds}{more}");
            HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("no-store"))
        };
        let cache = CacheControl {
            edge: age(reload, ""),
            media: age(dvr.to_scale(1).max(reload), ", immutable"),
            part: age(reload, ", immutable"),
        };
        let count = |kind: &'static str| metrics::counter!("boothcast_hls_requests_total", "event" => event.to_owned(), "rendition" => name.clone(), "kind" => kind);
        let bytes = metrics::counter!("boothcast_hls_sent_bytes_total", "event" => event.to_owned(), "rendition" => name.clone());
        let counters =
            Counters { playlists: count("playlist"), segments: count("segment"), parts: count("part"), bytes };
        let progress = Progress { generation: 0, last: window.last(), gone: false };
        let peak = AtomicU64::new(window.peak_bitrate());
        let state = State {
            window,
            generation: 0,
            texts: Vec::new(),
            public: None,
            pending: Pending::default(),
            memory: 0,
            begun: (false, false),
        };
        Rendition {
            name: name.into(),
            video,
            cache,
            counters,
            cut,
            state: Mutex::new(state),
            changed: watch::Sender::new(progress),
            disk: disk.map(|d| (d.work, Mutex::new(d.folder))),
            folder,
            declared,
            joining: AtomicBool::new(joining),
            peak,
            watched: AtomicU64::new(0),
        }
    }

    /// Held for map accesses, a change of the window or the rendering of a playlist; never across an await. A holder
    /// that panicked left a window that is at worst short.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To wait for changes.
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.changed.subscribe()
    }

    /// Those who wait look again: the event's gate moved.
    pub fn wake(&self) {
        self.changed.send_modify(|_| {});
    }

    /// Those who wait are told that there is nothing to wait for.
    pub fn end(&self) {
        self.changed.send_modify(|p| p.gone = true);
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        *self.changed.borrow()
    }

    /// PART-TARGET.
    pub fn part_target(&self) -> Dur {
        self.cut.part_target()
    }

    /// How long a request is held at most: three target durations (RFC 8216bis §6.2.5.2).
    pub fn patience(&self) -> Dur {
        hold_back(&self.lock().window)
    }

    /// Whether it may be named: a player that turns to it finds sound where it plays.
    pub fn joined(&self) -> bool {
        !self.joining.load(Ordering::Relaxed)
    }

    /// Where a packager goes on.
    pub fn resume(&self) -> Resume {
        self.lock().window.resume()
    }

    fn apply(&self, output: Output) {
        let header = matches!(output, Output::Init(_));
        let complete = matches!(output, Output::SegmentEnd { .. });
        let mut state = self.lock();
        if let Output::Part(part) = &output {
            state.memory += part.data.len() as u64;
        }
        let change = state.window.apply(output);
        if !(change.released.is_empty() && change.lost.is_empty() && change.expired.is_empty()) {
            state.memory = memory(&state.window);
        }
        if !change.lost.is_empty() {
            metrics::counter!("boothcast_dvr_segments_lost_total").increment(change.lost.len() as u64);
        }
        let work =
            self.disk.is_some() && (change.init.is_some() || change.completed.is_some() || !change.expired.is_empty());
        if work {
            let pending = &mut state.pending;
            pending.inits.extend(change.init);
            pending.segments.extend(change.completed);
            pending.expired.extend(change.expired);
            pending.expired_inits.extend(change.expired_inits);
        }
        if change.listed {
            state.generation += 1;
            state.texts.clear();
        }
        let progress = Progress { generation: state.generation, last: state.window.last(), gone: false };
        let peak = if complete { state.window.peak_bitrate() } else { 0 };
        let begun = (state.window.is_ready(), state.begun.1 || complete);
        let news = header || begun != state.begun;
        state.begun = begun;
        let joined = complete && state.window.time() >= hold_back(&state.window);
        drop(state);
        if joined && self.joining.swap(false, Ordering::Relaxed) {
            self.declared.touch_named();
        }
        if change.listed {
            self.changed.send_modify(|p| *p = Progress { gone: p.gone, ..progress });
        }
        if peak > self.peak.fetch_max(peak, Ordering::Relaxed) || news {
            self.declared.touch();
        }
        if work && let Some((writer, _)) = &self.disk {
            writer.notify_one();
        }
    }

    /// A media playlist, when it holds what was asked for. `others` is called when one has to be rendered.
    pub fn playlist(&self, wanted: &Wanted, others: impl FnOnce() -> Others) -> Playlist {
        let mut state = self.lock();
        if !state.window.is_ready() {
            return Playlist::Wait;
        }
        let Some(from) = state.first_shown(wanted.since) else { return Playlist::Wait };
        let edge = match wanted.at {
            None => false,
            Some((msn, part)) => match state.window.reach(msn, part) {
                Reach::Wait => return Playlist::Wait,
                Reach::TooFar => return Playlist::TooFar,
                Reach::Ready => state.window.last().is_some_and(|(last, _)| msn + 1 >= last),
            },
        };
        let key = Key { kind: wanted.kind, from, marked: wanted.marked };
        if let Some((_, text)) = state.texts.iter().find(|(k, _)| *k == key) {
            return Playlist::Ready(text.clone(), edge);
        }
        let Some(text) = render::media(&state.window, key.kind, from, key.marked, &others()) else {
            return Playlist::Wait;
        };
        let text = Arc::new(Text::new(text));
        state.texts.push((key, text.clone()));
        Playlist::Ready(text, edge)
    }

    /// A part for someone who sees what `gate` shows, or everything.
    pub fn part(&self, number: u64, index: u32, gate: Option<&Gate>, now: Ts) -> Media {
        let state = self.lock();
        match state.window.part(number, index) {
            Some(part) if gate.is_none_or(|g| g.serves(part.start, part.start + part.duration, now)) => {
                Media::Memory(Found::one(part.data.clone()))
            }
            Some(_) => Media::None,
            None if state.window.next_part() == Some((number, index)) && gate.is_none_or(|g| g.since().is_some()) => {
                Media::Wait
            }
            None => Media::None,
        }
    }

    /// A complete segment for someone who sees what `gate` shows, or everything.
    pub fn segment(&self, number: u64, gate: Option<&Gate>, now: Ts) -> Media {
        let state = self.lock();
        match state.window.segment(number) {
            Some(segment) if segment.gap || gate.is_some_and(|g| !g.serves(segment.start, segment.end(), now)) => {
                Media::None
            }
            Some(segment) if segment.in_memory() => {
                Media::Memory(Found::new(segment.parts.iter().map(|p| p.data.clone())))
            }
            Some(segment) if self.disk.is_some() => {
                Media::Disk(super::disk::segment_path(&self.folder, number), segment.bytes)
            }
            _ => Media::None,
        }
    }

    /// A header.
    pub fn init(&self, version: u32) -> Option<Arc<Init>> {
        self.lock().window.init_version(version).cloned()
    }

    /// The file of a segment cannot be read: it is a gap from now on.
    pub fn lost(&self, number: u64) {
        let mut state = self.lock();
        state.window.lost(number);
        state.generation += 1;
        state.texts.clear();
        let generation = state.generation;
        drop(state);
        self.changed.send_modify(|p| p.generation = generation);
    }

    /// Whether the index can say what it must of it.
    pub fn declares(&self) -> bool {
        let state = self.lock();
        state.window.is_ready() && state.window.init().is_some() && state.window.peak_bitrate() > 0
    }

    /// Bytes of media in memory.
    pub fn memory(&self) -> u64 {
        self.lock().memory
    }

    /// Someone asked for a playlist with these directives: a player does so once per part, or once per segment.
    pub fn watched(&self, at: Option<(u64, Option<u32>)>) {
        let covered = match at {
            Some((_, Some(_))) => self.cut.part_target(),
            _ => self.cut.segment(),
        };
        self.watched.fetch_add(covered.as_millis().max(0) as u64, Ordering::Relaxed);
    }

    /// Milliseconds of programme that were asked for since the last call. Divided by the time that passed, that is how
    /// many watch.
    pub fn take_watched(&self) -> u64 {
        self.watched.swap(0, Ordering::Relaxed)
    }

    /// Whether nothing is left to be done on the disk.
    #[cfg(test)]
    pub fn is_written(&self) -> bool {
        let state = self.lock();
        let p = &state.pending;
        p.inits.is_empty() && p.segments.is_empty() && p.expired.is_empty() && p.expired_inits.is_empty()
    }

    /// Does what is to be done on the disk; says by how many bytes the disk's use grew. Blocking.
    ///
    /// # Errors
    /// The first failure. What failed is tried again with the next call, as long as it is in memory.
    pub fn write(&self) -> std::io::Result<i64> {
        let Some((_, folder)) = &self.disk else { return Ok(0) };
        let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grown = 0i64;
        // What is deleted makes room for what is written.
        let (expired, expired_inits) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.pending.expired), std::mem::take(&mut state.pending.expired_inits))
        };
        if !(expired.is_empty() && expired_inits.is_empty()) {
            grown -= folder.remove(&expired, &expired_inits) as i64;
        }
        loop {
            let init = self.lock().next_init();
            let Some(init) = init else { break };
            folder.store_init(&init)?;
            self.lock().pending.inits.pop_front();
        }
        loop {
            let next = self.lock().next_segment();
            let Some((entry, pieces)) = next else { break };
            folder.store(entry, &pieces)?;
            grown += entry.bytes as i64;
            let mut state = self.lock();
            state.pending.segments.retain(|&n| n != entry.number);
            state.window.stored(entry.number);
        }
        Ok(grown)
    }
}

/// Looks at the windows of several renditions at once. Their locks are taken in the order given, which is always that
/// in which they were added.
pub fn with_windows<'a, T>(
    renditions: impl Iterator<Item = &'a Arc<Rendition>>,
    look: impl FnOnce(&[&Window]) -> T,
) -> T {
    let states: Vec<MutexGuard<'a, State>> = renditions.map(|r| r.lock()).collect();
    let windows: Vec<&Window> = states.iter().map(|s| &s.window).collect();
    look(&windows)
}

/// How far behind live a player is that follows HOLD-BACK: three target durations (RFC 8216bis §4.4.3.8).
fn hold_back(window: &Window) -> Dur {
    Dur::from_secs(i64::from(window.target_duration())) * 3
}

/// Bytes of the segments that are in memory: the newest ones.
fn memory(window: &Window) -> u64 {
    let open = window.open().map_or(0, |s| s.bytes);
    let complete = window.listed().rev().take_while(|s| s.in_memory() || s.gap);
    open + complete.filter(|s| s.in_memory()).map(|s| s.bytes).sum::<u64>()
}

impl State {
    /// The first header that is to be stored and still there.
    fn next_init(&mut self) -> Option<Arc<Init>> {
        while let Some(&version) = self.pending.inits.front() {
            match self.window.init_version(version) {
                Some(init) => return Some(init.clone()),
                None => self.pending.inits.pop_front(),
            };
        }
        None
    }

    /// The first segment that is to be stored and still in memory.
    fn next_segment(&mut self) -> Option<(Entry, Vec<Bytes>)> {
        while let Some(&number) = self.pending.segments.front() {
            let segment = self.window.segment(number).filter(|s| s.in_memory() && !s.gap);
            if let (Some(segment), Some(entry)) = (segment, self.window.entry(number)) {
                return Some((entry, segment.parts.iter().map(|p| p.data.clone()).collect()));
            }
            self.pending.segments.pop_front();
        }
        None
    }

    /// The number of the first segment of the view that begins at `since`: a whole one that begins no earlier. None
    /// while there is no such segment.
    fn first_shown(&mut self, since: Option<Ts>) -> Option<u64> {
        let first = self.window.listed().next()?.number;
        let Some(since) = since else { return Some(first) };
        if let Some((known, number)) = self.public
            && known == since
        {
            return Some(number.max(first));
        }
        let shown = |s: &&Segment| s.start >= since;
        let number = self.window.listed().rev().take_while(shown).filter(|s| !s.gap).last()?.number;
        self.public = Some((since, number));
        Some(number)
    }
}

/// Where a packager puts what it makes. Dropping it leaves what is there.
pub struct Sink {
    rendition: Arc<Rendition>,
}

impl Sink {
    pub(super) fn new(rendition: Arc<Rendition>) -> Sink {
        Sink { rendition }
    }

    /// Takes the packager's next output, wakes who waits for it and never blocks on IO. An error of the disk shows in
    /// [`super::EventStream::storage`], not here: live goes on.
    pub fn apply(&self, output: Output) {
        self.rendition.apply(output);
    }

    /// Where a packager that takes over goes on.
    pub fn resume(&self) -> Resume {
        self.rendition.resume()
    }

    /// What the rendition is.
    pub fn spec(&self) -> RenditionSpec {
        self.rendition.lock().window.spec().clone()
    }
}
