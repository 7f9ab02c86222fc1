//! A live manifest of MPEG-DASH (ISO/IEC 23009-1), CMAF profile, written by hand.
//!
//! **Role.** Values in, XML out. Renditions of the grid are addressed by `$Number$` and a duration, which is exact since
//! a segment's number is floor(timeline ÷ segment); those of a source by a `SegmentTimeline`.
//! **Clock.** The media timeline is Unix time, so `availabilityStartTime` is 1970 plus the delay after which a segment
//! that has passed on the timeline can be fetched. Clients take the time from the manifest's own `UTCTiming`.
//! **Not declared:** `availabilityTimeOffset` and a low-latency `ServiceDescription`. Segments are served when they are
//! complete, not while they grow, so neither would be true.

use crate::media::{Dur, Ts};
use crate::wire::m3u8::{Suffix, date_time};
use std::fmt::Write;

/// A manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// When it was written: `publishTime`, and the clock that clients set themselves by.
    pub now: Ts,
    /// How long after its end on the timeline a segment can be fetched.
    pub delay: Dur,
    /// Where the period begins on the timeline; everything listed lies after it.
    pub period: Ts,
    /// How far back can be fetched.
    pub depth: Dur,
    /// The longest segment.
    pub longest: Dur,
    /// Pictures: one set that players switch within.
    pub video: Vec<Representation>,
    /// Sound: one set for each.
    pub audio: Vec<Sound>,
}

/// A sound track with its language.
#[derive(Clone, Debug)]
pub struct Sound {
    /// BCP 47.
    pub language: String,
    /// What a menu shows.
    pub label: String,
    /// Whether a player without preference takes it.
    pub main: bool,
    /// The stream itself.
    pub stream: Representation,
}

/// A rendition.
#[derive(Clone, Debug)]
pub struct Representation {
    /// Its name in URLs.
    pub id: String,
    /// RFC 6381.
    pub codecs: String,
    /// Bits per second.
    pub bandwidth: u64,
    /// Width, height and frame rate as a fraction of a picture; none for sound.
    pub picture: Option<(u32, u32, (u32, u32))>,
    /// Samples per second and channels of sound.
    pub sound: Option<(u32, u8)>,
    /// The version of its initialisation segment.
    pub init: u32,
    /// Ticks per second of its track.
    pub timescale: u32,
    /// Which segments there are.
    pub segments: Segments,
}

/// How segments are addressed.
#[derive(Clone, Debug)]
pub enum Segments {
    /// Number n begins at n × duration since 1970; the first of the period is `first`.
    Grid {
        /// How long each lasts.
        duration: Dur,
        /// The number of the first one of the period.
        first: u64,
    },
    /// Each for itself, numbers counted on from `first`.
    Timeline {
        /// The number of the first one listed.
        first: u64,
        /// Start and duration.
        segments: Vec<(Ts, Dur)>,
    },
}

/// XML attribute and text content: markup escaped, control characters, which XML 1.0 has no place for, left out.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
}

fn attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"");
    escape(value, out);
    out.push('"');
}

/// An `xs:duration` in seconds, to the microsecond.
fn period(duration: Dur) -> String {
    let micros = duration.to_scale(1_000_000).max(0);
    format!("PT{}.{:06}S", micros / 1_000_000, micros % 1_000_000)
}

impl Manifest {
    /// The text. The suffix reaches every URL.
    pub fn write(&self, suffix: &Suffix) -> String {
        let mut out = String::with_capacity(8192);
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
             profiles=\"urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019\" type=\"dynamic\" \
             availabilityStartTime=\"{}\" publishTime=\"{}\" minimumUpdatePeriod=\"{}\" minBufferTime=\"{}\" \
             timeShiftBufferDepth=\"{}\" maxSegmentDuration=\"{}\" suggestedPresentationDelay=\"{}\">\n",
            date_time(Ts::ZERO + self.delay),
            date_time(self.now),
            period(self.longest),
            period(self.longest),
            period(self.depth),
            period(self.longest),
            // As HOLD-BACK of the playlists: three segments.
            period(self.longest * 3),
        );
        let _ =
            writeln!(out, "<Period id=\"p{}\" start=\"{}\">", self.period.as_millis(), period(self.period - Ts::ZERO));
        if !self.video.is_empty() {
            out.push_str(
                "<AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" \
                 startWithSAP=\"1\">\n",
            );
            self.video.iter().for_each(|video| self.representation(video, suffix, &mut out));
            out.push_str("</AdaptationSet>\n");
        }
        for (i, sound) in self.audio.iter().enumerate() {
            let _ = write!(
                out,
                "<AdaptationSet id=\"{}\" contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" \
                 startWithSAP=\"1\"",
                i + 1
            );
            attribute(&mut out, "lang", &sound.language);
            out.push_str(">\n<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"");
            out.push_str(if sound.main { "main" } else { "dub" });
            out.push_str("\"/>\n<Label>");
            escape(&sound.label, &mut out);
            out.push_str("</Label>\n");
            self.representation(&sound.stream, suffix, &mut out);
            out.push_str("</AdaptationSet>\n");
        }
        let _ = writeln!(
            out,
            "</Period>\n<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>\n</MPD>",
            date_time(self.now)
        );
        out
    }

    fn representation(&self, stream: &Representation, suffix: &Suffix, out: &mut String) {
        out.push_str("<Representation");
        attribute(out, "id", &stream.id);
        attribute(out, "codecs", &stream.codecs);
        let _ = write!(out, " bandwidth=\"{}\"", stream.bandwidth.max(1));
        if let Some((width, height, (n, d))) = stream.picture {
            let _ = write!(out, " width=\"{width}\" height=\"{height}\" frameRate=\"{n}");
            if d != 1 {
                let _ = write!(out, "/{d}");
            }
            out.push('"');
        }
        if let Some((rate, channels)) = stream.sound {
            let _ = write!(
                out,
                " audioSamplingRate=\"{rate}\">\n<AudioChannelConfiguration \
                 schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{channels}\"/>\n"
            );
        } else {
            out.push_str(">\n");
        }
        let _ = write!(
            out,
            "<SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{}\" initialization=\"$RepresentationID$/init-{}.mp4",
            stream.timescale,
            self.period.to_scale(stream.timescale).max(0),
            stream.init
        );
        escape(suffix.as_str(), out);
        out.push_str("\" media=\"$RepresentationID$/$Number$.m4s");
        escape(suffix.as_str(), out);
        match &stream.segments {
            Segments::Grid { duration, first } => {
                let duration = duration.to_scale(stream.timescale);
                let _ = writeln!(out, "\" startNumber=\"{first}\" duration=\"{duration}\"/>");
            }
            Segments::Timeline { first, segments } => {
                let _ = writeln!(out, "\" startNumber=\"{first}\">\n<SegmentTimeline>");
                timeline(segments, stream.timescale, out);
                out.push_str("</SegmentTimeline>\n</SegmentTemplate>\n");
            }
        }
        out.push_str("</Representation>\n");
    }
}

/// `S` elements: times rescaled from the timeline itself, equal neighbours as repetitions.
fn timeline(segments: &[(Ts, Dur)], timescale: u32, out: &mut String) {
    let ticks = |at: Ts| at.to_scale(timescale);
    let mut at = None;
    let mut i = 0;
    while let Some(&(start, duration)) = segments.get(i) {
        let length = |i: usize| segments.get(i).map(|&(s, d)| (ticks(s), ticks(s + d) - ticks(s)));
        let (begin, ticks_long) = (ticks(start), ticks(start + duration) - ticks(start));
        let mut repeat = 0;
        while length(i + 1 + repeat) == Some((begin + ticks_long * (repeat as i64 + 1), ticks_long)) {
            repeat += 1;
        }
        out.push_str("<S");
        if at != Some(begin) {
            let _ = write!(out, " t=\"{begin}\"");
        }
        let _ = write!(out, " d=\"{ticks_long}\"");
        if repeat > 0 {
            let _ = write!(out, " r=\"{repeat}\"");
        }
        out.push_str("/>\n");
        at = Some(begin + ticks_long * (repeat as i64 + 1));
        i += 1 + repeat;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_segments_are_one_element() {
        let two = Dur::from_secs(2);
        let start = Ts::from_millis(10_000);
        let segments: Vec<_> = (0..5)
            .map(|i| (start + two * i, two))
            .chain([(start + two * 5, Dur::from_secs(3)), (start + Dur::from_secs(14), two)])
            .collect();
        let mut out = String::new();
        timeline(&segments, 1000, &mut out);
        assert_eq!(out, "<S t=\"10000\" d=\"2000\" r=\"4\"/>\n<S d=\"3000\"/>\n<S t=\"24000\" d=\"2000\"/>\n");
    }

    #[test]
    fn markup_cannot_be_injected() {
        let mut out = String::new();
        attribute(&mut out, "lang", "de\" onload='x'><script>&\u{0}");
        assert_eq!(out, " lang=\"de&quot; onload=&apos;x&apos;&gt;&lt;script&gt;&amp;\"");
    }
}
