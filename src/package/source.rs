//! Renditions that are the source's own bitstream: the picture decides the cuts, its sound follows.
//!
//! **Cut.** A segment ends at the first key frame at or beyond the target. What decides is the picture's presentation
//! time; each sound track ends its segment at the nearest of its own frames. All tracks share the numbers: the first is
//! floor(start ÷ target) since 1970, from there they count on.
//! **Long GOPs.** TARGETDURATION must hold for every segment and must not change (RFC 8216bis §4.4.3.1), so the first
//! segment, up to [`LONGEST_FIRST`], sets it for good. A later GOP that would not fit is cut before any picture; the part
//! that follows does not carry INDEPENDENT=YES, and for that reason no playlist of a source declares
//! EXT-X-INDEPENDENT-SEGMENTS.
//! **Parts** hold whole frames and are never longer than their target, but for a single picture that is shown for longer.
//! A part is out with the packet that fills it: the duration of its last frame is the packet's own, else the track's
//! frame rate, else the last interval. The frame before an expected cut (a GOP as long as the last one) closes its part
//! too, so that nothing waits for the key frame.
//! **Sound** waits for the picture only where a cut may come: beyond the target, until a picture that is decoded later
//! has arrived. Bound: [`VIDEO_LOST`] of sound; then the picture counts as lost and sound cuts by itself, until a key
//! frame returns.
//! **What is missing** becomes numbers without segments, which the window lists as gaps; timestamps go on. A new format
//! is a new header with a discontinuity, and so is a new epoch that begins before the old one ended.

use super::track::{Format, PackageError, TrackWriter};
use super::window::target_seconds;
use super::{Output, RenditionSpec, Resume, SourceTargets};
use crate::media::{AudioCodec, AudioFormat, Dur, Packet, Track, TrackId, Ts};
use crate::wire::bitstream;
use std::collections::VecDeque;

/// Longest first segment. A key frame every 10 s is what encoders make when nobody set the interval (250 frames).
pub const LONGEST_FIRST: Dur = Dur::from_secs(10);
/// Sound that is this far ahead of the picture goes on without it. Encoders interleave within some hundred milliseconds;
/// two seconds are a lost camera, and below the buffer of a player.
pub const VIDEO_LOST: Dur = Dur::from_secs(2);
/// Frame interval when nothing tells one.
const DEFAULT_INTERVAL: Dur = Dur::from_millis(40);
/// Longest frame interval that is believed; a longer one is a hole.
const LONGEST_INTERVAL: Dur = Dur::from_secs(1);
/// A hole below this fraction of a segment is jitter, or some lost frames: it belongs to the segment before it.
const JITTER: i64 = 4;
/// The longest frame of sound in use (HE-AAC at 32 kHz), until a track has told its own.
const LONGEST_FRAME: Dur = Dur::from_millis(64);
/// Cuts that are kept for tracks that are behind. Far more than [`VIDEO_LOST`] can hold, even at one per frame.
const MAX_CUTS: usize = 128;
/// Numbers in a hole that sound fills; holes that sound bridges are bounded by [`VIDEO_LOST`], so there are few.
const MAX_SPARE: i64 = 64;
/// Packets of sound that wait: [`VIDEO_LOST`] of the shortest frames (2.5 ms, Opus). More cannot be honest.
const MAX_WAITING: usize = 800;

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    number: u64,
    start: Ts,
    /// Where the hole before it began, when numbers were left out for one.
    hole: Option<Ts>,
}

/// Segment numbers and their starts, as the picture (or, without one, the sound) decided them.
#[derive(Debug)]
struct Cuts {
    target: Dur,
    known: VecDeque<Cut>,
    resume_number: Option<u64>,
    resume_end: Option<Ts>,
}

impl Cuts {
    /// A segment begins at `start`. `hole` is where the one before it ends when something is missing in between.
    fn add(&mut self, start: Ts, hole: Option<Ts>) -> Cut {
        let (next, hole) = match self.known.back() {
            Some(last) => (Some(last.number + 1), hole),
            None => (self.resume_number, self.resume_end.filter(|&end| start - end >= self.target / JITTER)),
        };
        let number = match next {
            Some(next) => next + hole.map_or(0, |hole| missing(start - hole, self.target)),
            None => u64::try_from(start.div_floor(self.target)).unwrap_or(0),
        };
        let cut = Cut { number, start, hole };
        self.known.push_back(cut);
        if self.known.len() > MAX_CUTS {
            self.known.pop_front();
        }
        cut
    }

    fn last(&self) -> Option<Cut> {
        self.known.back().copied()
    }

    /// The segment that sound at `at` belongs to. Where the picture left numbers out for a hole, sound that went on fills
    /// them, as long as the gaps that the picture has there.
    fn place(&self, at: Ts) -> Option<Cut> {
        let index = self.known.iter().rposition(|cut| cut.start <= at)?;
        let cut = *self.known.get(index)?;
        let Some((next, hole)) = self.known.get(index + 1).and_then(|next| Some((next, next.hole?))) else {
            return Some(cut);
        };
        let spare = i64::try_from(next.number.saturating_sub(cut.number + 1)).unwrap_or(0);
        if spare == 0 || at < hole || next.start <= hole {
            return Some(cut);
        }
        let long = next.start - hole;
        // The last boundary that is not after `at`, by the same division as the window's.
        let within = (0..spare.min(MAX_SPARE)).rev().find(|&i| hole + long * i / spare <= at).unwrap_or(0);
        Some(Cut { number: cut.number + 1 + within as u64, start: hole + long * within / spare, hole: None })
    }

    /// The newest cut at or before `at`.
    fn at(&self, at: Ts) -> Option<Cut> {
        self.known.iter().rev().find(|cut| cut.start <= at).copied()
    }
}

/// How many segments of at most `target` a hole takes.
fn missing(hole: Dur, target: Dur) -> u64 {
    if target <= Dur::ZERO || hole <= Dur::ZERO {
        return 0;
    }
    let (whole, rest) = (hole.flicks() / target.flicks(), hole.flicks() % target.flicks());
    u64::try_from(whole).unwrap_or(0) + u64::from(rest > 0)
}

#[derive(Debug)]
struct VideoSegment {
    start: Ts,
    /// Presentation minus decoding time of its first picture.
    shift: Dur,
    part: u32,
}

#[derive(Debug)]
struct VideoLane {
    writer: TrackWriter,
    segment: Option<VideoSegment>,
    /// Number of the newest segment.
    number: Option<u64>,
    epoch: Option<u32>,
    /// Decoding time of the last picture, and how long it lasts.
    last: Option<(Ts, Dur)>,
    need_key: bool,
    discontinuity: bool,
    /// Pictures since the last key frame, and how many the GOP before had.
    pictures: u32,
    gop: Option<u32>,
}

impl VideoLane {
    fn interval(&self, packet: &Packet) -> Dur {
        let sane = |d: &Dur| *d > Dur::ZERO && *d <= LONGEST_INTERVAL;
        let rate = packet.track.video().and_then(|v| v.frame_rate).filter(|&(n, _)| n > 0);
        let delta = self.last.map(|(dts, _)| packet.dts - dts);
        Some(packet.duration)
            .filter(sane)
            .or_else(|| rate.map(|(n, d)| Dur::from_scale(i64::from(d), n)).filter(sane))
            .or_else(|| delta.filter(sane))
            .or_else(|| self.last.map(|(_, duration)| duration))
            .unwrap_or(DEFAULT_INTERVAL)
    }

    /// Writes the part that grows.
    fn flush(&mut self, out: &mut Vec<Output>) {
        if let Some(segment) = self.segment.as_mut().filter(|_| self.writer.pending_end().is_some()) {
            self.writer.flush(segment.part, None, out);
            segment.part += 1;
        }
    }

    /// Where the open segment ends when nothing more comes.
    fn end(&self) -> Option<Ts> {
        let (segment, (dts, duration)) = (self.segment.as_ref()?, self.last?);
        Some(dts + duration + segment.shift)
    }
}

#[derive(Debug)]
struct AudioSegment {
    number: u64,
    start: Ts,
    part: u32,
}

#[derive(Debug)]
struct AudioLane {
    id: TrackId,
    writer: TrackWriter,
    waiting: VecDeque<Packet>,
    segment: Option<AudioSegment>,
    /// Newest segment that ended; its frames are left out when they come late.
    ended: Option<u64>,
    /// Where the last frame ends.
    end: Option<Ts>,
    /// How long a frame lasts.
    frame: Dur,
    discontinuity: bool,
}

impl AudioLane {
    fn flush(&mut self, out: &mut Vec<Output>) {
        if let Some(segment) = self.segment.as_mut().filter(|_| self.writer.pending_end().is_some()) {
            self.writer.flush(segment.part, None, out);
            segment.part += 1;
        }
    }

    /// Ends the open segment, for one that begins at `cut`.
    fn close(&mut self, cut: Option<Cut>, target: Dur, longest: Dur, out: &mut Vec<Output>) {
        self.flush(out);
        let Some(segment) = self.segment.take() else { return };
        let end = self.end.unwrap_or(segment.start);
        // A few frames that are missing before the cut belong to the segment; a real hole does not.
        let near = |&c: &Ts| c > end + self.frame && c - end < target / JITTER && c - segment.start <= longest;
        let nominal = cut.map(|c| c.start).filter(near);
        self.writer.end(nominal.unwrap_or(end) - segment.start, out);
        self.ended = Some(segment.number);
    }
}

/// The source renditions of one event: its picture, its sound tracks, or both. See the module.
#[derive(Debug)]
pub struct SourcePackager {
    targets: SourceTargets,
    cuts: Cuts,
    video: Option<VideoLane>,
    audio: Vec<AudioLane>,
    /// TARGETDURATION, once the first segment has set it.
    target: Option<u32>,
    /// The picture is lost, or there is none: sound cuts by itself.
    led_by_sound: bool,
}

impl SourcePackager {
    /// A packager for the picture (`TrackId::VIDEO`), sound tracks by their ids, or both. Outputs name the rendition by
    /// its index: the picture first when there is one, then the sound tracks in the order given.
    pub fn new(
        targets: SourceTargets,
        video: Option<(RenditionSpec, Resume)>,
        audio: Vec<(RenditionSpec, TrackId, Resume)>,
    ) -> SourcePackager {
        let resumes = || video.iter().map(|(_, r)| r).chain(audio.iter().map(|(_, _, r)| r));
        let cuts = Cuts {
            target: targets.segment,
            known: VecDeque::new(),
            resume_number: resumes().filter_map(|r| r.next_number).max(),
            resume_end: resumes().filter_map(|r| r.end).max(),
        };
        let target = targets.target.or(resumes().filter_map(|r| r.target).max());
        let lane = |(spec, id, resume): (RenditionSpec, TrackId, Resume)| AudioLane {
            id,
            writer: TrackWriter::new(spec, &resume),
            waiting: VecDeque::new(),
            segment: None,
            ended: None,
            end: None,
            frame: LONGEST_FRAME,
            discontinuity: false,
        };
        let led_by_sound = video.is_none();
        let video = video.map(|(spec, resume)| VideoLane {
            writer: TrackWriter::new(spec, &resume),
            segment: None,
            number: None,
            epoch: None,
            last: None,
            need_key: true,
            discontinuity: false,
            pictures: 0,
            gop: None,
        });
        let audio = audio.into_iter().map(lane).collect();
        SourcePackager { targets, cuts, video, audio, target, led_by_sound }
    }

    /// Takes the next packet of any track; adds to `out` what it completes, each with its rendition's index. Packets of
    /// tracks that are not packaged are left out.
    ///
    /// # Errors
    /// When a track's format cannot be packaged: once per format; its packets are left out until it changes. What is in
    /// `out` is valid nevertheless.
    pub fn push(&mut self, packet: &Packet, out: &mut Vec<(usize, Output)>) -> Result<(), PackageError> {
        if packet.decode_only {
            return Ok(());
        }
        let result = if packet.track.is_video() {
            let mut made = Vec::new();
            let result = self.push_video(packet, &mut made);
            self.add(0, made, out);
            result
        } else if let Some(lane) = self.audio.iter_mut().find(|lane| lane.id == packet.track.id) {
            lane.waiting.push_back(packet.clone());
            Ok(())
        } else {
            Ok(())
        };
        let drained = self.drain(out);
        result.and(drained)
    }

    /// The programme ends: what has been gathered becomes last, short parts.
    pub fn finish(&mut self) -> Vec<(usize, Output)> {
        let mut out = Vec::new();
        self.led_by_sound = true;
        // What cannot be packaged has been reported when it came.
        let _ = self.drain(&mut out);
        let mut own = Vec::new();
        if let Some(video) = &mut self.video {
            video.flush(&mut own);
            out.extend(own.drain(..).map(|o| (0, o)));
        }
        let first = usize::from(self.video.is_some());
        for (i, lane) in self.audio.iter_mut().enumerate() {
            lane.flush(&mut own);
            out.extend(own.drain(..).map(|o| (first + i, o)));
        }
        out
    }

    /// Longest segment that still keeps to TARGETDURATION, with room for the rounding of sound to its frames.
    fn longest(&self) -> Dur {
        self.target.map_or(LONGEST_FIRST, |secs| Dur::from_secs(i64::from(secs)) + Dur::from_millis(400))
    }

    /// The first segment that ends sets TARGETDURATION for all renditions; what is open meanwhile must fit too.
    fn set_target(&mut self, duration: Dur, out: &mut Vec<(usize, Output)>) {
        if self.target.is_none() {
            let video = self.video.as_ref().and_then(|v| Some(v.end()? - v.segment.as_ref()?.start));
            let sound = self.audio.iter().filter_map(|a| Some(a.end? - a.segment.as_ref()?.start));
            let open = sound.chain(video).max().unwrap_or(Dur::ZERO);
            let target = target_seconds(duration.max(open).max(self.targets.segment));
            self.target = Some(target);
            let renditions = usize::from(self.video.is_some()) + self.audio.len();
            out.extend((0..renditions).map(|i| (i, Output::Target(target))));
        }
    }

    /// Adds what a rendition made; the first segment that ends sets TARGETDURATION, which comes before it.
    fn add(&mut self, rendition: usize, made: Vec<Output>, all: &mut Vec<(usize, Output)>) {
        let ended = made.iter().filter_map(|o| match o {
            Output::SegmentEnd { duration, .. } => Some(*duration),
            _ => None,
        });
        if let Some(duration) = ended.max() {
            self.set_target(duration, all);
        }
        all.extend(made.into_iter().map(|o| (rendition, o)));
    }

    fn push_video(&mut self, packet: &Packet, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let (longest, target, part_target) = (self.longest(), self.targets.segment, self.targets.part);
        let Some(video) = &mut self.video else { return Ok(()) };
        let changed = video.writer.is_new(&packet.track);
        let new_epoch = video.epoch.is_some_and(|epoch| epoch != packet.epoch);
        video.need_key |= changed || new_epoch;
        let back = video.last.is_some_and(|(dts, _)| packet.dts <= dts);
        let begins_later = video.segment.as_ref().is_none_or(|segment| packet.pts > segment.start);
        if (video.need_key && !packet.key) || (back && !(new_epoch && begins_later)) {
            return Ok(());
        }
        let interval = video.interval(packet);
        // Where it is in the segment: its time, or the place that decoding order gives it where that is later.
        let reaches = |s: &VideoSegment| packet.pts.max(packet.dts + s.shift) - s.start;
        let fits = video.segment.as_ref().is_none_or(|s| packet.dts + s.shift - s.start <= longest);
        if let Some((dts, duration)) = &mut video.last
            && !back
            && fits
            && packet.dts - *dts <= LONGEST_INTERVAL
        {
            // The last picture's duration is no estimate any more.
            *duration = packet.dts - *dts;
            // A picture that lasts longer than it was thought to does not make the part before it too long.
            if video.writer.pending_duration_until(packet.dts) > part_target
                && let Some(segment) = video.segment.as_mut()
                && video.writer.flush_but_last(segment.part, out)
            {
                segment.part += 1;
            }
            video.writer.extend_to(packet.dts);
        }
        let age = video.segment.as_ref().map(|segment| packet.pts - segment.start);
        let overdue = video.segment.as_ref().is_some_and(|segment| reaches(segment) + interval > longest);
        let due = age.is_none_or(|age| changed || new_epoch || (packet.key && age + interval / 2 >= target) || overdue);
        if due {
            let end = video.end();
            video.flush(out);
            // A cut that sound made while the picture was lost stands.
            let last = self.cuts.last();
            let own = video.number;
            let cut = if last.is_none_or(|last| last.start < packet.pts) {
                // What does not fit into the segment before it is a hole, however short.
                let missed = |&end: &Ts| packet.pts - end >= target / JITTER || age.is_some_and(|age| age > longest);
                let hole = end.filter(|_| own == last.map(|l| l.number)).filter(missed);
                Some(self.cuts.add(packet.pts, hole))
            } else {
                self.cuts.at(packet.pts).filter(|cut| own.is_none_or(|own| cut.number > own))
            };
            if let (Some(segment), Some(end)) = (video.segment.take(), end) {
                // Small holes belong to the segment before them: durations add up to what the clock says.
                let to_next = packet.pts - segment.start;
                let near = to_next > Dur::ZERO && packet.pts - end < target / JITTER;
                let fits = !back && near && to_next <= longest.max(end - segment.start);
                let duration = if fits { to_next } else { end - segment.start };
                video.writer.end(duration, out);
            }
            let Some(cut) = cut else {
                video.need_key = true;
                return Ok(());
            };
            video.discontinuity |= back;
            if changed {
                video.discontinuity |= video.writer.format(&packet.track, out)? == Format::Changed;
            }
            if !video.writer.usable() {
                return Ok(());
            }
            // A cut that sound made may lie so far back that what begins here would not fit.
            let start = if packet.pts + interval - cut.start <= longest { cut.start } else { packet.pts };
            video.writer.start(cut.number, start, std::mem::take(&mut video.discontinuity), out);
            let shift = packet.pts - packet.dts;
            video.number = Some(cut.number);
            video.segment = Some(VideoSegment { start, shift, part: 0 });
        }
        let Some(video) = &mut self.video else { return Ok(()) };
        if packet.key {
            video.gop = (!video.need_key && video.pictures > 0).then_some(video.pictures);
            video.pictures = 0;
        }
        video.pictures += 1;
        video.need_key = false;
        video.epoch = Some(packet.epoch);
        self.led_by_sound = false;
        // With the hole before it, where one is.
        if video.writer.pending_duration_until(packet.dts + interval) > part_target {
            video.flush(out);
        }
        video.writer.push(packet, interval);
        video.last = Some((packet.dts, interval));
        // Full, or the last picture before the cut that the GOP's length lets expect.
        let full = video.writer.pending_duration() + interval > part_target;
        let end = video.end();
        let age = video.segment.as_ref().zip(end).map(|(segment, end)| end - segment.start);
        let last = video.gop == Some(video.pictures) && age.is_some_and(|age| age + interval / 2 >= target);
        if full || last {
            video.flush(out);
        }
        Ok(())
    }

    /// Writes all sound whose place is certain.
    fn drain(&mut self, all: &mut Vec<(usize, Output)>) -> Result<(), PackageError> {
        let first = usize::from(self.video.is_some());
        let mut result = Ok(());
        for i in 0..self.audio.len() {
            let mut out = Vec::new();
            while let Some(packet) = self.next_sound(i) {
                let limits = Limits { targets: self.targets, longest: self.longest(), leads: self.led_by_sound };
                let lane = &mut self.audio[i];
                let one = sound(lane, &packet, &mut self.cuts, &limits, &mut out);
                if result.is_ok() {
                    result = one;
                }
            }
            let longest = self.longest();
            let lane = &mut self.audio[i];
            // A cut that the last frame reaches ends the segment now: its last part does not wait for the next frame.
            if let (Some(segment), Some(end)) = (&lane.segment, lane.end)
                && lane.waiting.is_empty()
                && let Some(cut) = self.cuts.place(end + lane.frame / 2).filter(|cut| cut.number > segment.number)
            {
                lane.close(Some(cut), self.targets.segment, longest, &mut out);
            }
            self.add(first + i, out, all);
        }
        result
    }

    /// The next frame of a sound track, when no later picture can put a cut before it.
    fn next_sound(&mut self, lane: usize) -> Option<Packet> {
        let target = self.targets.segment;
        let lane = &mut self.audio[lane];
        let (front, back) = (lane.waiting.front()?, lane.waiting.back()?);
        if back.pts - front.pts > VIDEO_LOST || lane.waiting.len() > MAX_WAITING {
            self.led_by_sound = true;
        }
        let last = self.video.as_ref().and_then(|v| v.last);
        let interval = last.map_or(Dur::ZERO, |(_, interval)| interval);
        // No key frame cuts before the target, and none that is still to come is shown before it is decoded.
        let certain = self.cuts.last().map(|cut| cut.start + target - interval / 2).max(last.map(|(dts, _)| dts));
        if self.led_by_sound || certain.is_some_and(|certain| front.pts + lane.frame / 2 < certain) {
            return lane.waiting.pop_front();
        }
        None
    }
}

/// How long a frame of sound lasts: what its codec says, else what the packet says.
fn frame_duration(track: &Track, packet: &Packet) -> Dur {
    let Some(AudioFormat { codec, config, sample_rate, .. }) = track.audio() else { return packet.duration };
    let samples = match codec {
        AudioCodec::Aac => bitstream::aac::AacConfig::parse(config).ok().map(|c| c.samples()),
        AudioCodec::Opus => {
            return crate::media::opus::samples(&packet.data)
                .map_or(packet.duration, |s| Dur::from_scale(i64::from(s), 48_000));
        }
        AudioCodec::Mp3 => bitstream::mp3::Mp3Header::parse(&packet.data).ok().map(|h| h.samples),
        AudioCodec::Ac3 => None,
    };
    samples.map_or(packet.duration, |s| Dur::from_scale(i64::from(s), *sample_rate))
}

/// What binds a segment of sound.
struct Limits {
    targets: SourceTargets,
    /// See [`SourcePackager::longest`].
    longest: Dur,
    /// No picture decides the cuts.
    leads: bool,
}

/// Puts a frame of sound into its segment.
fn sound(
    lane: &mut AudioLane,
    packet: &Packet,
    cuts: &mut Cuts,
    limits: &Limits,
    out: &mut Vec<Output>,
) -> Result<(), PackageError> {
    let Limits { targets, longest, leads } = *limits;
    let duration = frame_duration(&packet.track, packet);
    lane.frame = duration;
    // A frame that another epoch has covered already.
    if lane.end.is_some_and(|end| packet.pts + duration / 2 < end) {
        return Ok(());
    }
    let middle = packet.pts + duration / 2;
    if leads && cuts.last().is_none_or(|cut| middle >= cut.start + targets.segment) {
        cuts.add(packet.pts, lane.end.filter(|&end| packet.pts - end >= targets.segment / JITTER));
    }
    let Some(cut) = cuts.place(middle).filter(|cut| lane.ended.is_none_or(|ended| cut.number > ended)) else {
        return Ok(());
    };
    let before = lane.end;
    let open = lane.segment.as_ref().filter(|segment| cut.number <= segment.number);
    let begins = open.is_none();
    // Sound that was away while cuts went by may come back too late for the segment that it left: it waits for the next.
    if open.is_some_and(|segment| packet.pts + duration - segment.start > longest + LONGEST_FRAME) {
        return Ok(());
    }
    if begins {
        lane.close(Some(cut), targets.segment, longest, out);
    }
    if lane.writer.is_new(&packet.track) {
        if !begins {
            return Ok(());
        }
        lane.discontinuity |= lane.writer.format(&packet.track, out)? == Format::Changed;
    }
    if !lane.writer.usable() {
        return Ok(());
    }
    if begins {
        // What is missing at its begin counts, but for what the segment before it covers.
        let nominal = before.map_or(cut.start, |end| end.max(cut.start));
        let fits = packet.pts + duration - nominal <= longest;
        let start = if packet.pts - nominal > duration && fits { nominal } else { packet.pts };
        lane.segment = Some(AudioSegment { number: cut.number, start, part: 0 });
        lane.writer.start(cut.number, start, std::mem::take(&mut lane.discontinuity), out);
    }
    // Within a part frames follow each other without a seam: the source's clock may count in milliseconds only.
    let seam = lane.writer.pending_end().filter(|&end| (packet.pts - end).abs() > duration / 2).is_some();
    if seam || lane.writer.pending_duration() + duration > targets.part {
        lane.flush(out);
    }
    let at = lane.writer.pending_end().unwrap_or(packet.pts);
    lane.writer.push(&Packet { dts: at, pts: at, ..packet.clone() }, duration);
    lane.end = Some(at + duration);
    if lane.writer.pending_duration() + duration > targets.part {
        lane.flush(out);
    }
    Ok(())
}
