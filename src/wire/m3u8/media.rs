//! Media playlists: segments and parts of one rendition.

use super::{Suffix, VERSION, date, path, seconds};
use crate::media::{Dur, Ts};
use std::fmt::Write;

/// What stands before the first segment.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// EXT-X-TARGETDURATION.
    pub target_duration: u32,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment, skipped or not.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub discontinuity_sequence: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS: each segment begins with a picture that decoding can begin with.
    pub independent: bool,
    /// PART-TARGET and PART-HOLD-BACK; none in a playlist without parts.
    pub parts: Option<(Dur, Dur)>,
    /// CAN-BLOCK-RELOAD.
    pub can_block: bool,
    /// CAN-SKIP-UNTIL.
    pub can_skip_until: Option<Dur>,
}

/// A segment, complete or growing.
#[derive(Clone, Copy, Debug)]
pub struct SegmentLine {
    /// Its number, which names its file.
    pub number: u64,
    /// EXT-X-PROGRAM-DATE-TIME.
    pub start: Ts,
    /// EXTINF.
    pub duration: Dur,
    /// EXT-X-DISCONTINUITY before it.
    pub discontinuity: bool,
    /// EXT-X-GAP.
    pub gap: bool,
    /// The version of its initialisation segment.
    pub init: u32,
}

/// A part.
#[derive(Clone, Copy, Debug)]
pub struct PartLine {
    /// Its index in the segment, which names its file.
    pub index: u32,
    /// DURATION.
    pub duration: Dur,
    /// INDEPENDENT=YES.
    pub independent: bool,
    /// GAP=YES.
    pub gap: bool,
}

/// The state of another rendition, for EXT-X-RENDITION-REPORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub rendition: String,
    /// LAST-MSN.
    pub segment: u64,
    /// LAST-PART.
    pub part: Option<u32>,
}

/// A media playlist in the making. Call [`Self::segment`], then its parts, then [`Self::end_segment`] unless it grows.
#[derive(Debug)]
pub struct MediaPlaylist<'a> {
    out: String,
    suffix: &'a Suffix,
    init: Option<u32>,
}

fn head(out: &mut String, target_duration: u32) {
    let _ = write!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target_duration}\n");
}

fn sequences(out: &mut String, media: u64, discontinuity: u64) {
    let _ = write!(out, "#EXT-X-MEDIA-SEQUENCE:{media}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}\n");
}

fn map(out: &mut String, version: u32, suffix: &Suffix) {
    let _ = writeln!(out, "#EXT-X-MAP:URI=\"init-{version}.mp4{}\"", suffix.as_str());
}

fn date_tag(out: &mut String, at: Ts) {
    out.push_str("#EXT-X-PROGRAM-DATE-TIME:");
    date(at, out);
    out.push('\n');
}

fn inf(out: &mut String, duration: Dur) {
    out.push_str("#EXTINF:");
    seconds(duration, out);
    out.push_str(",\n");
}

impl<'a> MediaPlaylist<'a> {
    /// Writes the header. `capacity` is how many segments follow, for one allocation.
    pub fn new(header: &Header, suffix: &'a Suffix, capacity: usize) -> MediaPlaylist<'a> {
        // Four lines per segment, of which the date and the URI are the longest.
        let mut out = String::with_capacity(2048 + capacity * (100 + suffix.as_str().len()));
        head(&mut out, header.target_duration);
        if header.independent {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        out.push_str("#EXT-X-SERVER-CONTROL:");
        if header.can_block {
            out.push_str("CAN-BLOCK-RELOAD=YES,");
        }
        if let Some((_, hold_back)) = header.parts {
            out.push_str("PART-HOLD-BACK=");
            seconds(hold_back, &mut out);
            out.push(',');
        }
        // Three target durations, the least that is allowed (§4.4.3.8).
        let _ = write!(out, "HOLD-BACK={}", 3 * u64::from(header.target_duration));
        if let Some(boundary) = header.can_skip_until {
            out.push_str(",CAN-SKIP-UNTIL=");
            seconds(boundary, &mut out);
        }
        out.push('\n');
        if let Some((target, _)) = header.parts {
            out.push_str("#EXT-X-PART-INF:PART-TARGET=");
            seconds(target, &mut out);
            out.push('\n');
        }
        sequences(&mut out, header.media_sequence, header.discontinuity_sequence);
        MediaPlaylist { out, suffix, init: None }
    }

    /// EXT-X-SKIP in place of the first `count` segments.
    pub fn skip(&mut self, count: usize) {
        let _ = writeln!(self.out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={count}");
    }

    /// The tags before a segment's parts.
    pub fn segment(&mut self, segment: &SegmentLine) {
        if segment.discontinuity {
            self.out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if self.init != Some(segment.init) {
            self.init = Some(segment.init);
            map(&mut self.out, segment.init, self.suffix);
        }
        date_tag(&mut self.out, segment.start);
    }

    /// A part of the segment named last.
    pub fn part(&mut self, number: u64, part: &PartLine) {
        self.out.push_str("#EXT-X-PART:DURATION=");
        seconds(part.duration, &mut self.out);
        let _ = write!(self.out, ",URI=\"{number}.{}.m4s{}\"", part.index, self.suffix.as_str());
        if part.gap {
            self.out.push_str(",GAP=YES");
        } else if part.independent {
            self.out.push_str(",INDEPENDENT=YES");
        }
        self.out.push('\n');
    }

    /// The lines that end a complete segment.
    pub fn end_segment(&mut self, segment: &SegmentLine) {
        if segment.gap {
            self.out.push_str("#EXT-X-GAP\n");
        }
        inf(&mut self.out, segment.duration);
        let _ = writeln!(self.out, "{}.m4s{}", segment.number, self.suffix.as_str());
    }

    /// EXT-X-PRELOAD-HINT of the part that comes next.
    pub fn hint(&mut self, number: u64, part: u32) {
        let _ = writeln!(self.out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{number}.{part}.m4s{}\"", self.suffix.as_str());
    }

    /// EXT-X-RENDITION-REPORT.
    pub fn report(&mut self, report: &Report) {
        self.out.push_str("#EXT-X-RENDITION-REPORT:URI=\"../");
        path(&report.rendition, &mut self.out);
        let _ = write!(self.out, "/media.m3u8{}\",LAST-MSN={}", self.suffix.as_str(), report.segment);
        if let Some(part) = report.part {
            let _ = write!(self.out, ",LAST-PART={part}");
        }
        self.out.push('\n');
    }

    /// The text; with EXT-X-ENDLIST when nothing follows any more.
    pub fn finish(mut self, ended: bool) -> String {
        if ended {
            self.out.push_str("#EXT-X-ENDLIST\n");
        }
        self.out
    }
}

/// A playlist of key frames alone, as byte ranges of the segments (EXT-X-I-FRAMES-ONLY, §4.4.3.6).
#[derive(Debug)]
pub struct IFrames<'a> {
    out: String,
    suffix: &'a Suffix,
    init: Option<u32>,
}

impl<'a> IFrames<'a> {
    /// Writes the header.
    pub fn new(target_duration: u32, media_sequence: u64, discontinuity_sequence: u64, suffix: &'a Suffix) -> Self {
        let mut out = String::new();
        head(&mut out, target_duration);
        out.push_str("#EXT-X-I-FRAMES-ONLY\n");
        sequences(&mut out, media_sequence, discontinuity_sequence);
        IFrames { out, suffix, init: None }
    }

    /// A segment's key frame: `range` is its length and offset. Without one it is a gap.
    pub fn frame(&mut self, segment: &SegmentLine, range: Option<(u64, u64)>) {
        if segment.discontinuity {
            self.out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if self.init != Some(segment.init) {
            self.init = Some(segment.init);
            map(&mut self.out, segment.init, self.suffix);
        }
        date_tag(&mut self.out, segment.start);
        if segment.gap || range.is_none() {
            self.out.push_str("#EXT-X-GAP\n");
        }
        inf(&mut self.out, segment.duration);
        if let Some((length, offset)) = range.filter(|_| !segment.gap) {
            let _ = writeln!(self.out, "#EXT-X-BYTERANGE:{length}@{offset}");
        }
        let _ = writeln!(self.out, "{}.m4s{}", segment.number, self.suffix.as_str());
    }

    /// The text.
    pub fn finish(mut self, ended: bool) -> String {
        if ended {
            self.out.push_str("#EXT-X-ENDLIST\n");
        }
        self.out
    }
}
