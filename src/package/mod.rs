//! From packets to parts, segments and windows. Pure: no IO, no clock.
//!
//! **Data flow.** `Packet`s of one rendition → [`Part`]s → [`Segment`]s. Timestamps are the event's timeline (Unix
//! time in flicks) and go into `tfdt` as they are.

pub mod manifest;
mod packager;
pub mod playlist;
mod source;
mod track;
pub mod window;

pub use packager::Packager;
pub use source::SourcePackager;
pub use track::PackageError;
pub use window::{Change, Entry, Reach, Resume, Segment, Window, WindowLimits};

use crate::media::{Dur, Grid, Track, Ts};
use bytes::Bytes;
use std::sync::Arc;

/// How a rendition is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// On the event's grid, as everything that the engine makes.
    Grid(Grid),
    /// At the source's own key frames.
    Source(SourceTargets),
}

impl Cut {
    /// What a segment lasts: exactly on the grid; at least, up to the next key frame, for a source.
    pub fn segment(&self) -> Dur {
        match self {
            Cut::Grid(grid) => grid.segment(),
            Cut::Source(targets) => targets.segment,
        }
    }

    /// PART-TARGET: no part is longer.
    pub fn part_target(&self) -> Dur {
        match self {
            Cut::Grid(grid) => grid.part_target(),
            Cut::Source(targets) => targets.part,
        }
    }
}

/// Targets for a rendition that is cut where its source allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTargets {
    /// A segment ends at the first key frame at or beyond this.
    pub segment: Dur,
    /// No part is longer; parts hold whole frames.
    pub part: Dur,
    /// TARGETDURATION in seconds where it is fixed beforehand: beside a ladder, since all playlists of an event must
    /// declare the same (RFC 8216bis §6.2.4). None: the first segment sets it.
    pub target: Option<u32>,
}

impl SourceTargets {
    /// Frame rate that is assumed while a source has not told its own.
    const DEFAULT_RATE: (u32, u32) = (25, 1);

    /// For a source of that frame rate: segments of 2 s, parts of the whole number of frames nearest to ⅓ s, with a
    /// quarter of a frame more for sources whose clock counts in milliseconds (RTMP).
    pub fn for_rate(rate: Option<(u32, u32)>) -> SourceTargets {
        let (n, d) = rate.filter(|&(n, d)| n > 0 && d > 0).unwrap_or(Self::DEFAULT_RATE);
        // Beyond these it is no frame rate but a broken header.
        let fps = (f64::from(n) / f64::from(d)).clamp(1.0, 240.0);
        let frames = (fps / 3.0).round().max(1.0);
        SourceTargets { segment: Dur::from_secs(2), part: Dur::from_secs_f64((frames + 0.25) / fps), target: None }
    }

    /// For the source beside a ladder on `grid`.
    pub fn beside(self, grid: Grid) -> SourceTargets {
        SourceTargets { target: Some(window::target_seconds(grid.segment())), ..self }
    }
}

/// What a rendition is in the multivariant playlist.
#[derive(Clone, Debug, PartialEq)]
pub enum RenditionKind {
    /// A picture rung.
    Video {
        /// Frames per second, for FRAME-RATE.
        frame_rate: f64,
        /// Whether it is the source's own bitstream, cut at its own key frames.
        source: bool,
    },
    /// A sound track.
    Audio {
        /// BCP 47 tag, or `original` for a mixed floor.
        language: String,
        /// What a menu shows, in the language itself.
        label: String,
        /// Whether a player that has no preference takes it.
        default: bool,
    },
}

/// One rendition's place in the event: what it is called and what it declares.
#[derive(Clone, Debug, PartialEq)]
pub struct RenditionSpec {
    /// URL-safe name, unique in the event, as in `/live/{event}/{name}/…`: `1080p`, `source`, `floor`, `de`.
    pub name: String,
    /// What it is.
    pub kind: RenditionKind,
    /// Bits per second that it aims at; 0 when not known (source).
    pub bitrate: u64,
    /// Peak bits per second that its rate control admits over a segment; 0 when not known.
    pub max_bitrate: u64,
}

/// A rendition's header: an initialisation segment and what playlists say of it. A changed format is a new one.
#[derive(Clone, Debug)]
pub struct Init {
    /// Distinguishes the initialisation segments of a rendition, in `init-{version}.mp4`.
    pub version: u32,
    /// The track's format.
    pub track: Arc<Track>,
    /// The RFC 6381 codecs string, as in CODECS.
    pub codecs: String,
    /// `ftyp` and `moov`.
    pub data: Bytes,
}

impl Init {
    /// A stored initialisation segment, after a restart.
    ///
    /// # Errors
    /// When the bytes are none that this packager wrote.
    pub fn restore(version: u32, data: Bytes) -> Result<Init, PackageError> {
        let rendition = || format!("init-{version}.mp4");
        let track = crate::wire::mp4::read_init(&data)
            .map_err(|source| PackageError::Init { rendition: rendition(), source })?;
        let codecs = crate::wire::bitstream::codecs(&track.media)
            .map_err(|source| PackageError::Codecs { rendition: rendition(), source })?;
        Ok(Init { version, track: Arc::new(track), codecs, data })
    }
}

/// A CMAF chunk: one `moof` and `mdat` (with `styp` before it where it begins a segment).
#[derive(Clone, Debug)]
pub struct Part {
    /// Its place in the segment, from 0. On the grid it is the part's place there, so a number is left out where
    /// frames are missing.
    pub index: u32,
    /// Presentation time of its first sample, on the event's timeline.
    pub start: Ts,
    /// The sum of its samples' durations.
    pub duration: Dur,
    /// Whether it begins with a picture that decoding can begin with (always so for sound).
    pub independent: bool,
    /// The bytes as served.
    pub data: Bytes,
}

/// What a packager produces, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// A new header: the first one, or a changed format. What follows refers to it.
    Init(Arc<Init>),
    /// TARGETDURATION of a source rendition, in seconds, before its first [`Output::SegmentEnd`]. The grid needs none.
    Target(u32),
    /// A segment begins. `discontinuity` when its format or timeline does not continue the one before.
    SegmentStart {
        /// Its number: floor(timeline ÷ segment) since 1970; for a source rendition counted on from its first.
        number: u64,
        /// Its start on the event's timeline.
        start: Ts,
        /// EXT-X-DISCONTINUITY stands before it.
        discontinuity: bool,
    },
    /// A part of the segment begun last.
    Part(Part),
    /// The segment begun last is complete.
    SegmentEnd {
        /// Its duration; what is missing in it included.
        duration: Dur,
        /// Size and offset within the segment of its first key frame with its header, for I-frame playlists; video only.
        iframe: Option<IFrame>,
    },
}

/// Where a segment's key frame stands, for EXT-X-I-FRAMES-ONLY with EXT-X-BYTERANGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IFrame {
    /// Bytes from the segment's start.
    pub offset: u64,
    /// Bytes that hold the `moof` and the key frame's sample.
    pub length: u64,
}

#[cfg(test)]
mod tests;
