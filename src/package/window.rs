//! What one rendition shows of itself: which segments and parts a playlist lists, which bytes are in memory.
//!
//! **Role.** Pure state between a packager and the origin. [`Window::apply`] takes what the packager made and says what
//! follows from it: a segment to store, bytes that left memory, files that may be deleted.
//! **Bound.** Bytes of [`WindowLimits::live_segments`] complete segments and of the one that grows; when the disk does
//! not keep up, twice as many: the oldest is then lost and listed as a gap. Entries without bytes are bounded by the
//! DVR length, three times over (what left the playlist stays to be fetched as long again).
//! **Numbers never go back.** What is missing between two segments is listed as EXT-X-GAP, one entry per number.

use super::{Cut, IFrame, Init, Output, Part, RenditionSpec};
use crate::media::{Dur, Ts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Fewest target durations that a playlist lists while live (RFC 8216bis §6.2.2: at least three; six leave a player
/// that starts three from the end three more behind it).
const LEAST_TARGETS: i64 = 6;
/// Longest hole that is filled with gap entries, in segments. A longer one empties the window instead: entries older
/// than any DVR help nobody, and a timestamp far in the future must not fill the memory.
const MOST_GAPS: u64 = 50_000;

/// How much a window keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Complete segments whose bytes stay in memory.
    pub live_segments: usize,
    /// How far back a playlist reaches. Without a disk no further than `live_segments`.
    pub dvr: Dur,
    /// Whether complete segments are stored, to be served from there when they have left memory.
    pub disk: bool,
}

/// A complete segment or the growing one, as playlists see it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number: EXT-X-MEDIA-SEQUENCE counts the same.
    pub number: u64,
    /// Its start on the event's timeline: EXT-X-PROGRAM-DATE-TIME.
    pub start: Ts,
    /// Its duration; of the growing one the sum of its parts so far.
    pub duration: Dur,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// Its discontinuity sequence number (RFC 8216bis §4.4.3.3).
    pub timeline: u64,
    /// The version of its initialisation segment.
    pub init: u32,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// Where its first key frame stands.
    pub iframe: Option<IFrame>,
    /// EXT-X-GAP: there is nothing to fetch, or not all of it.
    pub gap: bool,
    /// Its parts in order; none when they are not in memory. A place that is left out in [`Part::index`] is a gap.
    pub parts: Vec<Part>,
    stored: bool,
}

impl Segment {
    /// Where it ends.
    pub fn end(&self) -> Ts {
        self.start + self.duration
    }

    /// Whether its bytes are in memory, all of them.
    pub fn in_memory(&self) -> bool {
        !self.parts.is_empty()
    }

    fn hole(number: u64, start: Ts, duration: Dur, timeline: u64, init: u32) -> Segment {
        Segment {
            number,
            start,
            duration,
            discontinuity: false,
            timeline,
            init,
            bytes: 0,
            iframe: None,
            gap: true,
            parts: Vec::new(),
            stored: false,
        }
    }
}

/// A line of a rendition's index on disk. Times are in flicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`Segment::number`].
    pub number: u64,
    /// [`Segment::start`].
    pub start: i64,
    /// [`Segment::duration`].
    pub duration: i64,
    /// [`Segment::discontinuity`].
    pub discontinuity: bool,
    /// [`Segment::timeline`].
    pub timeline: u64,
    /// [`Segment::init`].
    pub init: u32,
    /// [`Segment::bytes`].
    pub bytes: u64,
    /// [`Segment::iframe`], offset and length.
    pub iframe: Option<(u64, u64)>,
    /// [`Segment::gap`].
    pub gap: bool,
    /// TARGETDURATION of the playlist, [`Window::target_duration`].
    pub target: u32,
}

/// What followed from one output of the packager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The playlist reads otherwise than before: wake blocked requests.
    pub listed: bool,
    /// This initialisation segment is new: store it.
    pub init: Option<u32>,
    /// This segment is complete: store it, then call [`Window::stored`].
    pub completed: Option<u64>,
    /// The bytes of these left memory; they are served from disk.
    pub released: Vec<u64>,
    /// These left memory before they were stored: the disk is too slow or full. They are listed as gaps.
    pub lost: Vec<u64>,
    /// No player can ask for these any more: delete them.
    pub expired: Vec<u64>,
    /// Initialisation segments that no segment needs any more: delete them.
    pub expired_inits: Vec<u32>,
}

/// Whether a playlist holds what a blocking request asked for (RFC 8216bis §6.2.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Answer now.
    Ready,
    /// Hold the request.
    Wait,
    /// More than two segments beyond the newest: answer 400.
    TooFar,
}

/// Where a packager goes on after a restart, so that numbers and headers continue.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// The newest header: an equal one keeps its version and needs no discontinuity.
    pub init: Option<Arc<Init>>,
    /// The next version for a header that differs.
    pub next_version: u32,
    /// The number after the newest segment, when there is one.
    pub next_number: Option<u64>,
    /// Where the newest segment ends.
    pub end: Option<Ts>,
    /// TARGETDURATION as it is declared already.
    pub target: Option<u32>,
}

/// One rendition's window. See the module.
#[derive(Debug)]
pub struct Window {
    spec: RenditionSpec,
    cut: Cut,
    limits: WindowLimits,
    inits: BTreeMap<u32, Arc<Init>>,
    init: Option<u32>,
    /// Complete segments, oldest first, numbers without holes.
    segments: VecDeque<Segment>,
    /// How many of `segments` at the front are no longer listed, but still served.
    unlisted: usize,
    open: Option<Segment>,
    /// TARGETDURATION, fixed with the first complete segment of a source.
    target: Option<u32>,
    /// Highest bit rate of a segment so far.
    peak: u64,
    bytes: u64,
    time: Dur,
    ended: bool,
}

/// A duration as TARGETDURATION counts it: whole seconds, to the nearest (RFC 8216bis §4.4.3.1).
pub(crate) fn target_seconds(duration: Dur) -> u32 {
    u32::try_from(duration.to_scale(1)).unwrap_or(1).max(1)
}

impl Window {
    /// An empty window.
    pub fn new(spec: RenditionSpec, cut: Cut, limits: WindowLimits) -> Window {
        let target = match cut {
            Cut::Grid(grid) => Some(target_seconds(grid.segment())),
            Cut::Source(targets) => targets.target,
        };
        Window {
            spec,
            cut,
            limits,
            inits: BTreeMap::new(),
            init: None,
            segments: VecDeque::new(),
            unlisted: 0,
            open: None,
            target,
            peak: 0,
            bytes: 0,
            time: Dur::ZERO,
            ended: false,
        }
    }

    /// A window as it was before a restart, from its index and its stored initialisation segments. The caller has set
    /// `gap` on entries whose file is missing or short. Entries may come in any order; of one number the last counts.
    pub fn restore(
        spec: RenditionSpec,
        cut: Cut,
        limits: WindowLimits,
        inits: impl IntoIterator<Item = Arc<Init>>,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Window {
        let mut window = Window::new(spec, cut, limits);
        for init in inits {
            window.init = window.init.max(Some(init.version));
            window.inits.insert(init.version, init);
        }
        let entries: BTreeMap<u64, Entry> = entries.into_iter().map(|e| (e.number, e)).collect();
        for entry in entries.into_values() {
            let (start, duration) = (Ts::from_flicks(entry.start), Dur::from_flicks(entry.duration));
            if window.segments.back().is_some_and(|s| start < s.end()) || duration <= Dur::ZERO {
                continue;
            }
            window.fill(entry.number, start, &mut Change::default());
            if matches!(cut, Cut::Source(targets) if targets.target.is_none()) && entry.target > 0 {
                window.target = Some(entry.target);
            }
            let gap = entry.gap || !window.inits.contains_key(&entry.init);
            window.complete(Segment {
                number: entry.number,
                start,
                duration,
                discontinuity: entry.discontinuity,
                timeline: entry.timeline,
                init: entry.init,
                bytes: entry.bytes,
                iframe: entry.iframe.map(|(offset, length)| IFrame { offset, length }),
                gap,
                parts: Vec::new(),
                stored: !gap,
            });
        }
        window.relist();
        window
    }

    /// Takes the packager's next output.
    pub fn apply(&mut self, output: Output) -> Change {
        let mut change = Change::default();
        match output {
            Output::Init(init) => {
                self.init = Some(init.version);
                if self.inits.insert(init.version, Arc::clone(&init)).is_none() {
                    change.init = Some(init.version);
                }
            }
            Output::Target(seconds) => {
                self.target.get_or_insert(seconds.max(1));
            }
            Output::SegmentStart { number, start, discontinuity } => {
                // A packager that was replaced leaves its segment open. It is as long as its parts, and a gap.
                self.close(None, None, &mut change);
                if self.segments.back().is_some_and(|s| number <= s.number || start < s.start) {
                    tracing::warn!(rendition = %self.spec.name, number, "segment number goes back: ignored");
                    return change;
                }
                self.fill(number, start, &mut change);
                let timeline = self.segments.back().map_or(0, |s| s.timeline) + u64::from(discontinuity);
                self.open = Some(Segment {
                    discontinuity,
                    gap: false,
                    ..Segment::hole(number, start, Dur::ZERO, timeline, self.init.unwrap_or(0))
                });
            }
            Output::Part(part) => {
                let Some(open) = self.open.as_mut() else { return change };
                open.duration = part.start + part.duration - open.start;
                open.bytes += part.data.len() as u64;
                open.parts.push(part);
                change.listed = self.open().is_some();
            }
            Output::SegmentEnd { duration, iframe } => self.close(Some(duration), iframe, &mut change),
        }
        if !change.expired.is_empty() || change.completed.is_some() {
            self.drop_inits(&mut change);
        }
        change
    }

    /// Ends the growing segment.
    fn close(&mut self, duration: Option<Dur>, iframe: Option<IFrame>, change: &mut Change) {
        let Some(mut segment) = self.open.take() else { return };
        let wanted = match self.cut {
            Cut::Grid(grid) => grid.parts_per_segment() as usize,
            Cut::Source(_) => segment.parts.len(),
        };
        let whole = segment.parts.len() == wanted
            && !segment.parts.is_empty()
            && segment.parts.iter().zip(0..).all(|(part, index)| part.index == index);
        segment.gap = !whole || duration.is_none();
        // A window does not begin with a gap: before its first whole segment there is nothing to keep in step with.
        if segment.gap && self.segments.is_empty() {
            return;
        }
        if let Some(duration) = duration {
            segment.duration = duration;
        } else if let Cut::Grid(grid) = self.cut {
            segment.duration = grid.segment();
        }
        segment.iframe = iframe;
        if segment.gap {
            // Its parts stay listed for those at the live edge. It is not stored, and nobody is sent to the whole.
            tracing::warn!(rendition = %self.spec.name, number = segment.number, "segment is incomplete: listed as a gap");
        } else {
            change.completed = Some(segment.number);
        }
        change.listed = true;
        self.complete(segment);
        self.evict(change);
    }

    /// Takes a complete segment, or a gap, behind all others.
    fn complete(&mut self, segment: Segment) {
        if !segment.gap {
            self.target.get_or_insert_with(|| target_seconds(segment.duration.max(self.cut.segment())));
            self.bytes += segment.bytes;
            self.time += segment.duration;
            self.peak = self.peak.max(bit_rate(segment.bytes, segment.duration));
        }
        self.segments.push_back(segment);
    }

    /// Lists gaps for all numbers between the newest segment and `number`.
    fn fill(&mut self, number: u64, start: Ts, change: &mut Change) {
        let Some(last) = self.segments.back() else { return };
        let (first, from, timeline, init) = (last.number + 1, last.end().min(start), last.timeline, last.init);
        let missing = number.saturating_sub(first);
        if missing > MOST_GAPS {
            change.expired.extend(self.segments.drain(..).filter(|s| !s.gap).map(|s| s.number));
            self.unlisted = 0;
            return;
        }
        change.listed |= missing > 0;
        let hole = start - from;
        let count = i64::try_from(missing).unwrap_or(i64::MAX);
        for i in 0..count {
            // Absolute, so that the last one ends where the next segment begins.
            let (begin, end) = (from + hole * i / count, from + hole * (i + 1) / count);
            // TARGETDURATION holds for gaps too; where numbers do not suffice the date of what follows tells the rest.
            let duration = (end - begin).min(Dur::from_secs(i64::from(self.target_duration())));
            self.segments.push_back(Segment::hole(first + i as u64, begin, duration, timeline, init));
        }
    }

    /// How far back the playlist reaches.
    fn span(&self) -> Dur {
        let least = Dur::from_secs(i64::from(self.target.unwrap_or(1))) * LEAST_TARGETS;
        let memory = self.cut.segment() * i64::try_from(self.limits.live_segments).unwrap_or(i64::MAX);
        let wanted = if self.limits.disk { self.limits.dvr } else { self.limits.dvr.min(memory) };
        wanted.max(least)
    }

    /// Moves what is too old out of the playlist.
    fn relist(&mut self) {
        let Some(newest) = self.segments.back().map(Segment::end) else { return };
        let begin = newest - self.span();
        // What is listed still reaches back as far as it should without the one that leaves.
        while self.segments.get(self.unlisted + 1).is_some_and(|next| next.start <= begin) {
            self.unlisted += 1;
        }
    }

    fn evict(&mut self, change: &mut Change) {
        self.relist();
        let Some(newest) = self.segments.back().map(Segment::end) else { return };
        // RFC 8216bis §6.2.2: what left the playlist stays available for its own duration and that of the longest
        // playlist that named it.
        let span = self.span();
        while self.unlisted > 0
            && let Some(front) = self.segments.front()
            && front.end() + span + span + front.duration < newest
        {
            change.expired.extend((front.stored || front.in_memory()).then_some(front.number));
            self.segments.pop_front();
            self.unlisted -= 1;
        }
        if !self.limits.disk {
            return;
        }
        // §6.2.2 again: a part stays available for three target durations after it left the playlist, where it was
        // for three: never fewer segments in memory than that takes.
        let keep = self.limits.live_segments.max(LEAST_TARGETS as usize + 1);
        let held = self.segments.iter().rev().take_while(|s| s.in_memory() || s.gap).count();
        let oldest = self.segments.len() - held;
        for (i, segment) in self.segments.range_mut(oldest..).take(held.saturating_sub(keep)).enumerate() {
            if segment.stored || segment.gap {
                change.released.extend(segment.stored.then_some(segment.number));
            } else if held - i > 2 * keep {
                segment.gap = true;
                change.lost.push(segment.number);
            } else {
                continue;
            }
            segment.parts = Vec::new();
        }
    }

    fn drop_inits(&mut self, change: &mut Change) {
        let needed = |version: u32| {
            self.init == Some(version) || self.segments.iter().chain(&self.open).any(|segment| segment.init == version)
        };
        change.expired_inits = self.inits.keys().copied().filter(|&v| !needed(v)).collect();
        for version in &change.expired_inits {
            self.inits.remove(version);
        }
    }

    /// The segment is on disk: its bytes may leave memory when their time comes.
    pub fn stored(&mut self, number: u64) {
        if let Some(segment) = self.segment_mut(number) {
            segment.stored = true;
        }
    }

    /// The segment could not be stored, or its file is lost: it becomes a gap when it leaves memory, or now.
    pub fn lost(&mut self, number: u64) {
        if let Some(segment) = self.segment_mut(number) {
            segment.stored = false;
            segment.gap |= segment.parts.is_empty();
        }
    }

    /// The event pauses or ends: EXT-X-ENDLIST. The growing segment ends with the parts it has: it is short, not a gap.
    pub fn end(&mut self) -> Change {
        let mut change = Change { listed: true, ..Change::default() };
        self.ended = true;
        let Some(mut segment) = self.open.take() else { return change };
        if segment.parts.is_empty() || !segment.parts.iter().zip(0..).all(|(part, index)| part.index == index) {
            return change;
        }
        segment.iframe = None;
        change.completed = Some(segment.number);
        self.complete(segment);
        self.evict(&mut change);
        change
    }

    /// The event goes on.
    pub fn reopen(&mut self) {
        self.ended = false;
    }

    /// Whether the playlist carries EXT-X-ENDLIST.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What the rendition declares.
    pub fn spec(&self) -> &RenditionSpec {
        &self.spec
    }

    /// How it is cut.
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// Whether there is anything to list.
    pub fn is_ready(&self) -> bool {
        self.target.is_some() && (self.listed().next().is_some() || self.open().is_some())
    }

    /// EXT-X-TARGETDURATION. It never changes once a playlist can be written.
    pub fn target_duration(&self) -> u32 {
        self.target.unwrap_or_else(|| target_seconds(self.cut.segment()))
    }

    /// The newest header.
    pub fn init(&self) -> Option<&Arc<Init>> {
        self.init.and_then(|version| self.inits.get(&version))
    }

    /// A header by version.
    pub fn init_version(&self, version: u32) -> Option<&Arc<Init>> {
        self.inits.get(&version)
    }

    /// All headers that can still be asked for.
    pub fn inits(&self) -> impl Iterator<Item = &Arc<Init>> {
        self.inits.values()
    }

    /// Complete segments and gaps that the playlist lists, oldest first, numbers without holes.
    pub fn listed(&self) -> impl ExactSizeIterator<Item = &Segment> + DoubleEndedIterator + Clone {
        self.segments.range(self.unlisted.min(self.segments.len())..)
    }

    /// Those of them that are not before `number`.
    pub fn listed_from(&self, number: u64) -> impl ExactSizeIterator<Item = &Segment> + DoubleEndedIterator + Clone {
        let first = self.segments.front().map_or(0, |s| s.number);
        let skipped = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        self.segments.range(skipped.max(self.unlisted).min(self.segments.len())..)
    }

    /// The growing segment, when its parts are listed. A fresh window does not begin in the middle of a segment.
    pub fn open(&self) -> Option<&Segment> {
        let open = self.open.as_ref().filter(|_| self.target.is_some())?;
        let first = open.parts.first()?;
        (first.index == 0 || !self.segments.is_empty()).then_some(open)
    }

    /// A complete segment that can still be asked for, listed or not, by number.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        let at = number.checked_sub(self.segments.front()?.number)?;
        self.segments.get(usize::try_from(at).ok()?)
    }

    fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        let at = number.checked_sub(self.segments.front()?.number)?;
        self.segments.get_mut(usize::try_from(at).ok()?)
    }

    /// A part in memory, of the growing segment too.
    pub fn part(&self, number: u64, index: u32) -> Option<&Part> {
        let segment = match self.open() {
            Some(open) if open.number == number => open,
            _ => self.segment(number)?,
        };
        segment.parts.iter().find(|part| part.index == index)
    }

    /// How much whole programme it has held so far.
    pub fn time(&self) -> Dur {
        self.time
    }

    /// Segment and index of the newest part, for rendition reports. When no part is in memory it is the newest segment
    /// alone.
    pub fn last(&self) -> Option<(u64, Option<u32>)> {
        let with_parts = self.open().into_iter().chain(self.segments.iter().rev()).find(|s| !s.parts.is_empty());
        let segment = with_parts.or_else(|| self.segments.back())?;
        Some((segment.number, segment.parts.last().map(|part| part.index)))
    }

    /// Segment and index of the part that comes next: EXT-X-PRELOAD-HINT. None when ended or before the first.
    pub fn next_part(&self) -> Option<(u64, u32)> {
        if self.ended {
            return None;
        }
        match self.open() {
            Some(open) => Some((open.number, open.parts.last()?.index + 1)),
            None => Some((self.segments.back()?.number + 1, 0)),
        }
    }

    /// Whether a blocking request for segment `msn`, or for part `part` of it, can be answered.
    pub fn reach(&self, msn: u64, part: Option<u32>) -> Reach {
        if self.ended {
            return Reach::Ready;
        }
        // Where the playlist ends: in the growing segment, or before the first part of the next.
        let (newest, newest_part) = match (self.open(), self.segments.back()) {
            (Some(open), _) => (open.number, open.parts.last().map(|part| part.index)),
            (None, Some(last)) => (last.number + 1, None),
            // Nothing is listed yet: hold whoever asks for the beginning.
            (None, None) => return Reach::Wait,
        };
        // "The Media Sequence Number of the last Media Segment in the current Playlist plus two."
        if msn > newest.saturating_add(1) {
            return Reach::TooFar;
        }
        let Some(part) = part else {
            return if msn < newest { Reach::Ready } else { Reach::Wait };
        };
        // The Advance Part Limit, in parts.
        let limit = (3.0 / self.cut.part_target().as_secs_f64().clamp(0.01, 1.0)).ceil() as u32;
        if msn == newest && part > newest_part.unwrap_or(0).saturating_add(limit) {
            return Reach::TooFar;
        }
        // A part beyond the last one of a complete segment means the first of the next.
        let wanted = match self.segment(msn) {
            Some(segment) if segment.parts.last().is_none_or(|last| part > last.index) => (msn + 1, 0),
            _ => (msn, part),
        };
        let there = wanted.0 < newest || (wanted.0 == newest && newest_part.is_some_and(|newest| wanted.1 <= newest));
        if there { Reach::Ready } else { Reach::Wait }
    }

    /// Highest bit rate of a segment so far, or what the spec declares where that is more: BANDWIDTH.
    pub fn peak_bitrate(&self) -> u64 {
        self.peak.max(self.spec.max_bitrate).max(self.spec.bitrate)
    }

    /// Mean bit rate of all segments so far; before the first what the spec aims at: AVERAGE-BANDWIDTH.
    pub fn average_bitrate(&self) -> u64 {
        match bit_rate(self.bytes, self.time) {
            0 => self.spec.bitrate,
            rate => rate,
        }
    }

    /// The line of the index for a complete segment.
    pub fn entry(&self, number: u64) -> Option<Entry> {
        let segment = self.segment(number)?;
        Some(Entry {
            number,
            start: segment.start.flicks(),
            duration: segment.duration.flicks(),
            discontinuity: segment.discontinuity,
            timeline: segment.timeline,
            init: segment.init,
            bytes: segment.bytes,
            iframe: segment.iframe.map(|i| (i.offset, i.length)),
            gap: segment.gap,
            target: self.target_duration(),
        })
    }

    /// Where a new packager goes on.
    pub fn resume(&self) -> Resume {
        let last = self.open.as_ref().or_else(|| self.segments.back());
        Resume {
            init: self.init().cloned(),
            next_version: self.inits.keys().next_back().map_or(0, |v| v + 1),
            next_number: last.map(|s| s.number + 1),
            end: last.map(Segment::end),
            target: self.target.filter(|_| matches!(self.cut, Cut::Source(_))),
        }
    }
}

/// Bits per second, rounded up; 0 for no time.
fn bit_rate(bytes: u64, time: Dur) -> u64 {
    if time <= Dur::ZERO {
        return 0;
    }
    (bytes as f64 * 8.0 / time.as_secs_f64()).ceil() as u64
}
