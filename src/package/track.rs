//! What all packagers share: samples of one track become parts of the segment that is open.

use super::{IFrame, Init, Output, Part, RenditionKind, RenditionSpec, Resume};
use crate::media::{Dur, Packet, Track, Ts};
use crate::wire::bitstream;
use crate::wire::mp4::{self, InitError, Sample};
use bytes::Bytes;
use std::sync::Arc;

/// Why a rendition cannot be packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The track's format has no initialisation segment.
    #[error("{rendition}: {source}")]
    Init {
        /// The rendition.
        rendition: String,
        /// Why.
        source: InitError,
    },
    /// The track's format has no codecs string.
    #[error("{rendition}: {source}")]
    Codecs {
        /// The rendition.
        rendition: String,
        /// Why.
        source: bitstream::Error,
    },
}

/// What a new format means for the rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The same header as before, or the first.
    Same,
    /// Another header: what follows is discontinuous.
    Changed,
}

/// A sample that waits for its part to be complete.
#[derive(Clone, Debug)]
struct Pending {
    dts: Ts,
    pts: Ts,
    duration: Dur,
    key: bool,
    data: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Presentation minus decoding time of its first sample.
    shift: Option<Dur>,
    bytes: u64,
    iframe: Option<IFrame>,
}

/// Writes one track: headers, parts and the marks around segments. It decides nothing about cuts.
#[derive(Debug)]
pub(super) struct TrackWriter {
    spec: RenditionSpec,
    /// The track whose format was looked at last, usable or not.
    seen: Option<Arc<Track>>,
    init: Option<Arc<Init>>,
    next_version: u32,
    timescale: u32,
    video: bool,
    sequence: u32,
    pending: Vec<Pending>,
    open: Option<Open>,
}

impl TrackWriter {
    pub(super) fn new(spec: RenditionSpec, resume: &Resume) -> TrackWriter {
        TrackWriter {
            spec,
            seen: None,
            init: resume.init.clone(),
            next_version: resume.next_version,
            timescale: 1,
            video: false,
            sequence: 0,
            pending: Vec::new(),
            open: None,
        }
    }

    /// Whether the packet's track is another one than the last that [`Self::format`] looked at.
    pub(super) fn is_new(&self, track: &Arc<Track>) -> bool {
        self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, track) && **seen != **track)
    }

    /// Whether the track last looked at can be packaged.
    pub(super) fn usable(&self) -> bool {
        self.timescale > 1
    }

    /// Takes a new track: writes its header, or finds that it reads like the one before. No segment may be open.
    pub(super) fn format(&mut self, track: &Arc<Track>, out: &mut Vec<Output>) -> Result<Format, PackageError> {
        self.seen = Some(Arc::clone(track));
        self.timescale = 1;
        let rendition = || self.spec.name.clone();
        let language = match &self.spec.kind {
            RenditionKind::Audio { language, .. } => language.as_str(),
            RenditionKind::Video { .. } => "",
        };
        let data = mp4::init(track, language, self.spec.bitrate)
            .map_err(|source| PackageError::Init { rendition: rendition(), source })?;
        let codecs = bitstream::codecs(&track.media)
            .map_err(|source| PackageError::Codecs { rendition: rendition(), source })?;
        self.timescale = mp4::timescale(track);
        self.video = track.is_video();
        let known = self.init.as_ref().filter(|init| init.data == data);
        let (version, format) = match (known, &self.init) {
            (Some(same), _) => (same.version, Format::Same),
            (None, Some(_)) => (self.next_version, Format::Changed),
            (None, None) => (self.next_version, Format::Same),
        };
        self.next_version = self.next_version.max(version.saturating_add(1));
        let init = Arc::new(Init { version, track: Arc::clone(track), codecs, data: data.into() });
        self.init = Some(Arc::clone(&init));
        out.push(Output::Init(init));
        Ok(format)
    }

    pub(super) fn start(&mut self, number: u64, start: Ts, discontinuity: bool, out: &mut Vec<Output>) {
        self.open = Some(Open { shift: None, bytes: 0, iframe: None });
        out.push(Output::SegmentStart { number, start, discontinuity });
    }

    /// Adds a sample to the part that grows. Its duration may be an estimate until the next one comes.
    pub(super) fn push(&mut self, packet: &Packet, duration: Dur) {
        if let Some(open) = &mut self.open {
            open.shift.get_or_insert(packet.pts - packet.dts);
        }
        let key = packet.key || !self.video;
        let data = packet.data.clone();
        self.pending.push(Pending { dts: packet.dts, pts: packet.pts, duration, key, data });
    }

    /// Decoding time at which the part that grows ends.
    pub(super) fn pending_end(&self) -> Option<Ts> {
        self.pending.last().map(|s| s.dts + s.duration)
    }

    /// Sum of the durations in the part that grows.
    pub(super) fn pending_duration(&self) -> Dur {
        match (self.pending.first(), self.pending_end()) {
            (Some(first), Some(end)) => end - first.dts,
            _ => Dur::ZERO,
        }
    }

    /// The same if its last sample lasted until `end`, in decoding time.
    pub(super) fn pending_duration_until(&self, end: Ts) -> Dur {
        self.pending.first().map_or(Dur::ZERO, |first| end - first.dts)
    }

    /// Writes all but the last sample of the part that grows; false when there are none.
    pub(super) fn flush_but_last(&mut self, index: u32, out: &mut Vec<Output>) -> bool {
        let Some(last) = self.pending.pop() else { return false };
        let others = !self.pending.is_empty();
        if others {
            self.extend_to(last.dts);
            self.flush(index, None, out);
        }
        self.pending.push(last);
        others
    }

    /// The last sample of the part that grows lasts until `end`, in decoding time.
    pub(super) fn extend_to(&mut self, end: Ts) {
        if let Some(last) = self.pending.last_mut().filter(|last| end > last.dts) {
            last.duration = end - last.dts;
        }
    }

    /// Writes the part that grows. `place` is where the part begins and ends when samples may be missing: what is missing
    /// counts as part of its duration.
    pub(super) fn flush(&mut self, index: u32, place: Option<(Ts, Ts)>, out: &mut Vec<Output>) {
        let end = self.pending_end();
        let (Some(open), Some(first), Some(end)) = (self.open.as_mut(), self.pending.first(), end) else {
            self.pending.clear();
            return;
        };
        // Every value is rescaled from the timeline itself: roundings never add up.
        let scale = |t: Ts| t.to_scale(self.timescale);
        let independent = first.key;
        let shift = open.shift.unwrap_or(Dur::ZERO);
        let (start, end) = place.unwrap_or((first.dts + shift, end + shift));
        let duration = end - start;
        let base = u64::try_from(scale(first.dts)).unwrap_or(0);
        let mut samples = Vec::with_capacity(self.pending.len());
        for (i, sample) in self.pending.iter().enumerate() {
            let next = self.pending.get(i + 1).map_or(sample.dts + sample.duration, |next| next.dts);
            samples.push(Sample {
                data: sample.data.clone(),
                duration: u32::try_from(scale(next) - scale(sample.dts)).unwrap_or(0),
                composition: i32::try_from(scale(sample.pts) - scale(sample.dts)).unwrap_or(0),
                sync: sample.key,
            });
        }
        self.sequence = self.sequence.wrapping_add(1);
        let chunk = mp4::chunk(self.sequence, base, open.bytes == 0, &samples);
        if self.video && independent && open.iframe.is_none() {
            let offset = open.bytes + chunk.moof as u64;
            open.iframe = Some(IFrame { offset, length: (chunk.first_end - chunk.moof) as u64 });
        }
        open.bytes += chunk.data.len() as u64;
        out.push(Output::Part(Part { index, start, duration, independent, data: chunk.data }));
        self.pending.clear();
    }

    /// Ends the open segment. Its last part has been written.
    pub(super) fn end(&mut self, duration: Dur, out: &mut Vec<Output>) {
        if let Some(open) = self.open.take() {
            out.push(Output::SegmentEnd { duration, iframe: open.iframe });
        }
    }
}
