//! Renditions on the event's grid: everything that the engine makes.
//!
//! **Cut.** Frame number → segment and part, by [`Grid`] alone, so that two packagers that never met cut alike. A part is
//! out with the packet that completes it, and so is the segment with its last part.
//! **What is missing.** The timeline goes on, numbers stay right: parts whose frames never came are left out (their
//! index too), and the window lists them, and the segment, as gaps. A picture before a hole is shown until its part
//! ends. After a hole pictures begin again with a key frame.
//! **Beginning in the middle of a segment** is such a hole. [`super::Window`] shows nothing before its first whole
//! segment.
//! **A new format** takes effect where a segment begins: there it is a new header with a discontinuity. In the middle
//! of a segment its packets are left out until the next one begins; the engine changes formats at segment starts.
//! A header that reads like the one before, as after a restart of the engine, changes nothing.

use super::track::{Format, PackageError, TrackWriter};
use super::{Output, RenditionKind, RenditionSpec, Resume};
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{Dur, Grid, Packet, Ts};

/// One rendition on the grid. See the module.
#[derive(Debug)]
pub struct Packager {
    grid: Grid,
    writer: TrackWriter,
    /// Slot of the packet that comes next when none is missing.
    next: Option<i64>,
    /// Segment and part that grow.
    at: Option<(u64, u32)>,
    discontinuity: bool,
    need_key: bool,
    video: bool,
}

impl Packager {
    /// A packager that begins, or goes on after `resume`.
    pub fn new(spec: RenditionSpec, grid: Grid, resume: Resume) -> Packager {
        let video = matches!(spec.kind, RenditionKind::Video { .. });
        let writer = TrackWriter::new(spec, &resume);
        Packager { grid, writer, next: None, at: None, discontinuity: false, need_key: true, video }
    }

    /// Takes the next packet; adds to `out` what it completes. A packet of a slot that has passed is left out.
    ///
    /// # Errors
    /// When the packet's format cannot be packaged: once, then its packets are left out until it changes. What is in
    /// `out` is valid nevertheless.
    pub fn push(&mut self, packet: &Packet, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let video = self.video;
        // The nearest slot: exact for the engine's packets, and it forgives a flick.
        let slot = if video {
            self.grid.frame_number(packet.pts + self.grid.frame() / 2)
        } else {
            self.grid.aac_number(packet.pts + AAC_FRAME_DUR / 2)
        };
        if packet.decode_only
            || packet.track.is_video() != video
            || slot < 0
            || self.next.is_some_and(|next| slot < next)
        {
            return Ok(());
        }
        let (segment, part) = self.place(video, slot);
        if self.next.is_some_and(|next| slot > next) {
            self.need_key = true;
        }
        if self.writer.is_new(&packet.track) {
            let begins = self.at.is_none_or(|(open, _)| open != segment);
            if !begins {
                return Ok(());
            }
            self.leave(video, slot, out);
            self.next = None;
            self.need_key = true;
            if self.writer.format(&packet.track, out)? == Format::Changed {
                self.discontinuity = true;
            }
        }
        if !self.writer.usable() || (video && self.need_key && !packet.key) {
            return Ok(());
        }
        self.need_key = false;
        if self.at != Some((segment, part)) {
            self.leave(video, slot, out);
        }
        if self.at.is_none_or(|(open, _)| open != segment) {
            let start = self.grid.segment_start(segment);
            self.writer.start(segment, start, std::mem::take(&mut self.discontinuity), out);
        }
        self.at = Some((segment, part));
        // Within a part the picture before a hole is shown until the next.
        self.writer.extend_to(self.time(video, slot));
        let packet = Packet { dts: self.time(video, slot), pts: self.time(video, slot), ..packet.clone() };
        self.writer.push(&packet, if video { self.grid.frame() } else { AAC_FRAME_DUR });
        self.next = Some(slot + 1);
        let (next_segment, next_part) = self.place(video, slot + 1);
        if (next_segment, next_part) != (segment, part) {
            let place = (self.part_start(segment, part), self.part_start(segment, part + 1));
            self.writer.flush(part, Some(place), out);
            if next_segment != segment {
                self.writer.end(self.grid.segment(), out);
                self.at = None;
            }
        }
        Ok(())
    }

    /// The programme ends: what has been gathered becomes a last, short part.
    pub fn finish(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        if let (Some((segment, part)), Some(end)) = (self.at.take(), self.writer.pending_end()) {
            let start = self.part_start(segment, part);
            self.writer.flush(part, Some((start, end)), &mut out);
        }
        out
    }

    fn place(&self, video: bool, slot: i64) -> (u64, u32) {
        if video { self.grid.video_part(slot) } else { self.grid.aac_part(slot) }
    }

    fn time(&self, video: bool, slot: i64) -> Ts {
        if video { self.grid.frame_start(slot) } else { self.grid.aac_start(slot) }
    }

    /// Where a part begins on the grid.
    fn part_start(&self, segment: u64, part: u32) -> Ts {
        let start = self.grid.segment_start(segment);
        if self.video {
            start + self.grid.part() * i64::from(part)
        } else {
            start + AAC_FRAME_DUR * i64::from(self.grid.aac_part_start(part))
        }
    }

    /// Leaves the part that grows for one further on, and its segment when that is another too.
    fn leave(&mut self, video: bool, slot: i64, out: &mut Vec<Output>) {
        let Some((segment, part)) = self.at else { return };
        if self.writer.pending_duration() > Dur::ZERO {
            let last = self.next.unwrap_or(slot) - 1;
            let end = (last + 1..=slot).find(|&s| self.place(video, s) != (segment, part)).unwrap_or(slot);
            if video {
                self.writer.extend_to(self.time(video, end));
            }
            let place = (self.part_start(segment, part), self.part_start(segment, part + 1));
            self.writer.flush(part, Some(place), out);
        }
        if self.place(video, slot).0 != segment {
            self.writer.end(self.grid.segment(), out);
            self.at = None;
        }
    }
}
