//! The rules of RFC 8216bis (draft-pantos-hls-rfc8216bis-22) and of Apple's HLS Authoring Specification that a program can
//! check on the text of playlists, rule by rule. Plain text in, violations out: for playlists that a test wrote and for
//! those of a live server alike.

mod pathways;

use std::collections::BTreeMap;
use std::fmt;

/// A rule: where it stands, and what it says.
pub struct Rule {
    pub id: &'static str,
    pub says: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $says:literal;)*) => {
        $(pub const $name: Rule = Rule { id: $id, says: $says };)*
        /// All rules that are checked.
        pub const CHECKED: &[Rule] = &[$(Rule { id: $id, says: $says }),*];
    };
}

rules! {
    UTF8 = "RFC 4.1", "no byte order mark, no control characters but CR and LF";
    EXTM3U = "RFC 4.4.1.1", "EXTM3U MUST be the first line";
    ONE_VERSION = "RFC 4.4.1.2", "MUST NOT contain more than one EXT-X-VERSION";
    VERSION = "RFC 8", "EXT-X-VERSION MUST be high enough for the tags used";
    ONCE = "RFC 4.4.2, 4.4.3", "there MUST NOT be more than one playlist tag of each type";
    KINDS = "RFC 4.4.4, 4.4.6", "media tags MUST NOT appear in a multivariant playlist, nor the reverse";
    ATTRIBUTES = "RFC 4.2", "attribute lists parse, and no attribute stands twice";
    TARGET = "RFC 4.4.3.1", "TARGETDURATION is REQUIRED, at least 1, and each EXTINF rounded MUST NOT exceed it";
    SEQUENCE_FIRST = "RFC 4.4.3.2, 4.4.3.3", "sequence tags MUST appear before the first segment";
    DISCONTINUITY_SEQUENCE = "Apple 8.17", "a live playlist with discontinuities MUST have EXT-X-DISCONTINUITY-SEQUENCE";
    INF = "RFC 4.4.4.1", "each segment MUST have an EXTINF";
    PART_INF = "RFC 4.4.3.7", "EXT-X-PART-INF is REQUIRED with parts";
    HOLD_BACK = "RFC 4.4.3.8", "HOLD-BACK MUST be at least three times the target duration";
    PART_HOLD_BACK = "RFC 4.4.3.8", "PART-HOLD-BACK is REQUIRED with EXT-X-PART-INF, MUST be at least twice, SHOULD be three times PART-TARGET";
    SKIP_BOUNDARY = "RFC 4.4.3.8", "CAN-SKIP-UNTIL MUST be at least six times the target duration";
    PART_LENGTH = "RFC 4.4.4.9", "a part MUST NOT be longer than PART-TARGET, nor shorter than 85 % of it but for its exceptions";
    PART_ORDER = "RFC 4.4.4.9", "DISCONTINUITY, MAP and PROGRAM-DATE-TIME MUST appear before the segment's first part";
    PART_SUM = "RFC 3.2", "a segment and its parts MUST contain the same samples: durations add up";
    PARTS_RECENT = "RFC 6.2.2", "parts SHOULD be removed when they are more than three target durations from the end";
    HINT = "RFC 4.4.5.3, 6.2.6", "one PRELOAD-HINT of a type, none with EXT-X-ENDLIST, and not of what is listed";
    REPORT = "RFC 4.4.5.4", "a RENDITION-REPORT has a relative URI, LAST-MSN and LAST-PART";
    REPORTS_ALL = "RFC B.1", "each media playlist MUST report every other rendition";
    SKIP = "RFC 4.4.5.2", "EXT-X-SKIP MUST NOT appear more than once and asks for version 9";
    MAP = "RFC 4.4.4.5, Apple 8.20", "EXT-X-MAP MUST be there for fragmented MP4";
    DATE = "Apple 8.4, RFC 6.2.1", "live playlists MUST have EXT-X-PROGRAM-DATE-TIME, and dates MUST follow durations";
    SIX = "Apple 8.11", "a live playlist MUST contain at least six segments (once the event is that old)";
    IFRAMES_VERSION = "RFC 4.4.3.6, 4.4.4.2", "EXT-X-I-FRAMES-ONLY and EXT-X-BYTERANGE ask for version 4, a range has an offset where it does not follow the one before";
    IFRAMES_PARTS = "RFC 4.4.4.9", "an I-frame playlist SHOULD NOT use parts";
    ENDLIST = "RFC 6.2.1", "after EXT-X-ENDLIST nothing changes any more";
    ONLY_APPEND = "RFC 6.2.1", "a reload only appends at the end and removes at the beginning, and counts what it removed";
    TARGET_STAYS = "RFC 6.2.1", "TARGETDURATION MUST NOT change";
    LEAST_LEFT = "RFC 6.2.2", "a segment MUST NOT be removed when less than three target durations would remain";
    DELTA = "RFC 6.2.5.1", "a delta update replaces older segments by EXT-X-SKIP and changes nothing else";
    STREAM_INF = "RFC 4.4.6.2", "EXT-X-STREAM-INF MUST have BANDWIDTH and a URI line";
    CODECS = "Apple 9.1, RFC 4.4.6.2", "every variant MUST have CODECS";
    RESOLUTION = "Apple 9.2, 9.3", "every variant with pictures, and every I-frame variant, MUST have RESOLUTION";
    AVERAGE = "Apple 9.14", "AVERAGE-BANDWIDTH MUST be there, and not above BANDWIDTH";
    FRAME_RATE = "Apple 9.15, RFC 4.4.6.2", "FRAME-RATE MUST be there with pictures, to three decimals";
    VIDEO_RANGE = "Apple 9.16", "VIDEO-RANGE MUST be there unless all is SDR; one of SDR, HLG, PQ";
    CAPTIONS = "RFC 4.4.6.2", "CLOSED-CAPTIONS=NONE MUST be on all variants or none";
    TRICK_PLAY = "Apple 6.1", "I-frame playlists MUST be provided";
    CELLULAR = "Apple 9.21", "a variant of at most 192 kbit/s MUST be there (sound alone serves)";
    MEDIA = "RFC 4.4.6.1", "EXT-X-MEDIA MUST have TYPE, GROUP-ID and NAME; DEFAULT=YES asks for AUTOSELECT=YES";
    LANGUAGE = "Apple 8.10", "EXT-X-MEDIA MUST have LANGUAGE";
    CHANNELS = "RFC 4.4.6.1, Apple", "audio EXT-X-MEDIA SHOULD have CHANNELS";
    GROUPS = "RFC 4.4.6.1.1", "names in a group MUST differ, one DEFAULT at most; a group that is named MUST exist";
    STABLE = "RFC 4.4.6.1, 4.4.6.2", "stable ids MUST consist of a-z A-Z 0-9 + / = . - _";
    STEERING = "RFC 4.4.6.6", "EXT-X-CONTENT-STEERING at most once, with a SERVER-URI and the PATHWAY-ID of a pathway that is there";
    PATHWAYS = "RFC 4.4.6.2, 7.1", "each pathway SHOULD have every variant and every rendition, with groups of its own";
    SAME_TARGET = "RFC 6.2.4, Apple 8.2", "all media playlists MUST have the same target duration";
    SAME_TIME = "RFC 6.2.4", "renditions MUST have matching timestamps: their dates overlap";
    PEAK = "RFC 4.4.6.2.1", "BANDWIDTH MUST be at least the peak bit rate of every combination";
}

/// What is recommended and not done, and why.
pub const LEFT: &[(&str, &str, &str)] = &[
    (
        "Apple 7.5",
        "target durations SHOULD be 6 seconds",
        "2 s segments let players without low-latency support follow a meeting at 6 s, and switch renditions sooner; requests are cheap here",
    ),
    (
        "RFC 4.4.2.1",
        "EXT-X-INDEPENDENT-SEGMENTS SHOULD NOT stand in media playlists when it stands in the multivariant one",
        "a media playlist is played alone by some players and by tools, and must not lose the statement; the values agree",
    ),
    (
        "Apple 7.4 for sources",
        "every segment starts with an IDR",
        "a source is not re-encoded: when its key frames are further apart than its target duration, a segment begins between them; then no playlist claims independence",
    ),
    (
        "Apple 6.2",
        "I-frame renditions SHOULD have one picture per second",
        "key frames of the ladder serve as they are (one per segment): a rendition of its own would cost an encoder per event",
    ),
    (
        "RFC 6.2.5.2",
        "I-frame playlists SHOULD support blocking reload",
        "their only reader is the scrubbing bar, which does not follow the live edge",
    ),
    (
        "RFC B.1",
        "rendition reports of I-frame playlists SHOULD be provided",
        "as above; each would cost every reload some sixty bytes per rung",
    ),
    (
        "RFC 6.2.1 / Apple 8.6",
        "static playlists carry EXT-X-PLAYLIST-TYPE:VOD",
        "an event that ended keeps its sliding window: it is not a recording, and the type of a playlist must not change",
    ),
    ("Apple 9.10", "at least two variants at the highest resolution", "the ladder is the event's own choice"),
    ("Apple 8.12", "the live window SHOULD be 15 minutes or more", "the DVR window is the event's own choice"),
    ("RFC 4.1", "text SHOULD be normalised to NFC", "names are shown as the manager typed them; browsers send NFC"),
    ("RFC 4.4.4.8", "EXT-X-BITRATE", "optional; players measure"),
];

/// A rule that a playlist breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub says: &'static str,
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.rule, self.says, self.found)
    }
}

type Found = Vec<Violation>;

fn breaks(out: &mut Found, rule: &Rule, found: impl Into<String>) {
    out.push(Violation { rule: rule.id, says: rule.says, found: found.into() });
}

fn demand(out: &mut Found, rule: &Rule, holds: bool, found: impl Into<String>) {
    if !holds {
        breaks(out, rule, found);
    }
}

/// Attributes of a tag, quotes removed.
pub type Attributes = BTreeMap<String, String>;

/// Parses an attribute list (RFC 4.2); an error says where it ends.
pub fn attributes(list: &str) -> Result<Attributes, String> {
    let mut out = Attributes::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(|| format!("no value at {rest:?}"))?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-') {
            return Err(format!("name {name:?}"));
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            let (value, after) = quoted.split_once('"').ok_or("open quote")?;
            (value, after)
        } else {
            after.split_at(after.find(',').unwrap_or(after.len()))
        };
        if out.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{name} twice"));
        }
        rest = match after.strip_prefix(',') {
            Some("") => return Err("comma at the end".into()),
            Some(more) => more,
            None if after.is_empty() => "",
            None => return Err(format!("{after:?} after {name}")),
        };
    }
    Ok(out)
}

/// A part as listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    pub uri: String,
    pub duration: f64,
    pub independent: bool,
    pub gap: bool,
}

/// A segment as listed; the last one of a playlist may have no URI yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    pub number: u64,
    pub uri: String,
    pub duration: f64,
    /// Seconds since 1970.
    pub date: Option<f64>,
    pub map: Option<String>,
    pub discontinuity: bool,
    pub gap: bool,
    pub range: Option<String>,
    pub parts: Vec<Part>,
}

/// A media playlist as read.
#[derive(Clone, Debug, Default)]
pub struct Media {
    pub target: f64,
    pub version: u32,
    pub sequence: u64,
    pub discontinuities: u64,
    pub part_target: Option<f64>,
    pub control: Attributes,
    pub segments: Vec<Segment>,
    /// The segment that grows: parts without a URI line yet.
    pub open: Option<Segment>,
    pub skipped: Option<u64>,
    pub hints: Vec<Attributes>,
    pub reports: Vec<Attributes>,
    pub ended: bool,
    pub independent: bool,
    pub iframes: bool,
}

/// Seconds since 1970 of `YYYY-MM-DDThh:mm:ss.sssZ`.
pub fn date(text: &str) -> Option<f64> {
    let text = text.strip_suffix('Z')?;
    let (day, time) = text.split_once('T')?;
    let mut day = day.splitn(3, '-').map(|n| n.parse::<i64>().ok());
    let (y, m, d) = (day.next()??, day.next()??, day.next()??);
    let (years, months) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + d - 1 - 719_468;
    let mut time = time.splitn(3, ':').map(|n| n.parse::<f64>().ok());
    let (h, min, s) = (time.next()??, time.next()??, time.next()??);
    Some(days as f64 * 86_400.0 + h * 3600.0 + min * 60.0 + s)
}

const MULTIVARIANT_TAGS: &[&str] =
    &["EXT-X-MEDIA", "EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-DATA", "EXT-X-CONTENT-STEERING"];
const PLAYLIST_TAGS: &[&str] = &[
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-I-FRAMES-ONLY",
    "EXT-X-PART-INF",
    "EXT-X-SERVER-CONTROL",
];
const SEGMENT_TAGS: &[&str] = &[
    "EXTINF",
    "EXT-X-BYTERANGE",
    "EXT-X-DISCONTINUITY",
    "EXT-X-MAP",
    "EXT-X-PROGRAM-DATE-TIME",
    "EXT-X-GAP",
    "EXT-X-PART",
    "EXT-X-SKIP",
    "EXT-X-PRELOAD-HINT",
    "EXT-X-RENDITION-REPORT",
];

fn tag(line: &str) -> Option<(&str, &str)> {
    let tag = line.strip_prefix('#').filter(|t| t.starts_with("EXT"))?;
    Some(tag.split_once(':').unwrap_or((tag, "")))
}

fn basics(text: &str, out: &mut Found) {
    demand(out, &EXTM3U, text.starts_with("#EXTM3U\n"), text.lines().next().unwrap_or("").to_owned());
    let bad = text.chars().find(|c| (c.is_control() && !"\r\n".contains(*c)) || *c == '\u{feff}');
    demand(out, &UTF8, bad.is_none(), format!("{bad:?}"));
    let count = |name: &str| text.lines().filter_map(tag).filter(|(t, _)| *t == name).count();
    demand(out, &ONE_VERSION, count("EXT-X-VERSION") <= 1, "several");
    for name in PLAYLIST_TAGS.iter().chain(&["EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-START"]) {
        demand(out, &ONCE, count(name) <= 1, *name);
    }
    demand(out, &SKIP, count("EXT-X-SKIP") <= 1, "several");
}

/// Reads a media playlist and checks all that can be seen in it alone.
pub fn media(text: &str) -> (Media, Vec<Violation>) {
    let mut out = Found::new();
    let mut media = Media { version: 1, ..Media::default() };
    basics(text, &mut out);
    let mut segment = Segment::default();
    let (mut inf, mut began, mut map) = (None, false, None);
    let (mut least_version, mut number_known) = (1, 0);
    for line in text.lines().skip(1).filter(|l| !l.is_empty()) {
        let Some((name, value)) = tag(line) else {
            if line.starts_with('#') {
                continue;
            }
            let Some(duration) = inf.take() else {
                breaks(&mut out, &INF, line);
                continue;
            };
            segment.uri = line.to_owned();
            segment.duration = duration;
            segment.map.clone_from(&map);
            segment.number = media.sequence + media.skipped.unwrap_or(0) + number_known;
            number_known += 1;
            media.segments.push(std::mem::take(&mut segment));
            began = true;
            continue;
        };
        if MULTIVARIANT_TAGS.contains(&name) {
            breaks(&mut out, &KINDS, line);
        }
        let list = match name {
            "EXT-X-SERVER-CONTROL"
            | "EXT-X-PART-INF"
            | "EXT-X-MAP"
            | "EXT-X-PART"
            | "EXT-X-SKIP"
            | "EXT-X-PRELOAD-HINT"
            | "EXT-X-RENDITION-REPORT" => attributes(value).unwrap_or_else(|e| {
                breaks(&mut out, &ATTRIBUTES, format!("{e} in {line}"));
                Attributes::new()
            }),
            _ => Attributes::new(),
        };
        let number = |key: &str| list.get(key).and_then(|v| v.parse::<f64>().ok());
        match name {
            "EXT-X-VERSION" => media.version = value.parse().unwrap_or(0),
            "EXT-X-TARGETDURATION" => media.target = value.parse::<u32>().unwrap_or(0).into(),
            "EXT-X-MEDIA-SEQUENCE" | "EXT-X-DISCONTINUITY-SEQUENCE" => {
                demand(&mut out, &SEQUENCE_FIRST, !began && segment == Segment::default(), line);
                let value = value.parse().unwrap_or(u64::MAX);
                if name == "EXT-X-MEDIA-SEQUENCE" { media.sequence = value } else { media.discontinuities = value }
            }
            "EXT-X-ENDLIST" => media.ended = true,
            "EXT-X-INDEPENDENT-SEGMENTS" => media.independent = true,
            "EXT-X-I-FRAMES-ONLY" => {
                media.iframes = true;
                least_version = least_version.max(4);
            }
            "EXT-X-PART-INF" => media.part_target = number("PART-TARGET"),
            "EXT-X-SERVER-CONTROL" => media.control = list,
            "EXT-X-SKIP" => {
                media.skipped = number("SKIPPED-SEGMENTS").map(|n| n as u64);
                demand(&mut out, &SKIP, media.skipped.is_some_and(|n| n > 0) && !began, line);
                least_version = least_version.max(9);
            }
            "EXT-X-DISCONTINUITY" | "EXT-X-MAP" | "EXT-X-PROGRAM-DATE-TIME" => {
                demand(&mut out, &PART_ORDER, segment.parts.is_empty(), line);
                match name {
                    "EXT-X-DISCONTINUITY" => segment.discontinuity = true,
                    "EXT-X-MAP" => {
                        map = list.get("URI").cloned();
                        demand(&mut out, &MAP, map.is_some(), line);
                        least_version = least_version.max(6);
                    }
                    _ => {
                        segment.date = date(value);
                        demand(&mut out, &DATE, segment.date.is_some(), line);
                    }
                }
            }
            "EXT-X-GAP" => segment.gap = true,
            "EXT-X-BYTERANGE" => {
                segment.range = Some(value.to_owned());
                least_version = least_version.max(4);
            }
            "EXTINF" => {
                inf = value.split(',').next().and_then(|v| v.parse::<f64>().ok());
                demand(&mut out, &INF, inf.is_some() && value.contains(','), line);
                if value.contains('.') {
                    least_version = least_version.max(3);
                }
            }
            "EXT-X-PART" => {
                let part = Part {
                    uri: list.get("URI").cloned().unwrap_or_default(),
                    duration: number("DURATION").unwrap_or(-1.0),
                    independent: list.get("INDEPENDENT").is_some_and(|v| v == "YES"),
                    gap: list.get("GAP").is_some_and(|v| v == "YES"),
                };
                demand(&mut out, &PART_LENGTH, !part.uri.is_empty() && part.duration >= 0.0, line);
                segment.parts.push(part);
            }
            "EXT-X-PRELOAD-HINT" => media.hints.push(list),
            "EXT-X-RENDITION-REPORT" => media.reports.push(list),
            _ => {}
        }
    }
    if !segment.parts.is_empty() {
        segment.map = map;
        segment.number = media.sequence + media.skipped.unwrap_or(0) + number_known;
        segment.duration = segment.parts.iter().map(|p| p.duration).sum();
        media.open = Some(segment);
    }
    demand(&mut out, &VERSION, media.version >= least_version, format!("{} < {least_version}", media.version));
    check_media(&media, text, &mut out);
    (media, out)
}

/// Rounding of durations to the microsecond, over the parts of a segment.
const EPSILON: f64 = 0.000_02;

fn check_media(media: &Media, text: &str, out: &mut Found) {
    demand(out, &TARGET, media.target >= 1.0, format!("{}", media.target));
    for segment in &media.segments {
        demand(
            out,
            &TARGET,
            segment.duration.round() <= media.target,
            format!("{} of {}", segment.duration, segment.uri),
        );
        demand(out, &MAP, segment.map.is_some(), segment.uri.clone());
    }
    let all: Vec<&Segment> = media.segments.iter().chain(&media.open).collect();
    let marked = text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:");
    demand(out, &DISCONTINUITY_SEQUENCE, marked || !all.iter().any(|s| s.discontinuity), "missing");
    for segment in &all {
        demand(out, &DATE, segment.date.is_some(), format!("segment {}", segment.number));
    }
    for pair in all.windows(2) {
        if let (Some(a), Some(b)) = (pair[0].date, pair[1].date) {
            // Sound ends at its own frames, dates count in microseconds: half a frame and rounding.
            let off = (b - a - pair[0].duration).abs();
            demand(
                out,
                &DATE,
                off < 0.035 || pair[1].discontinuity,
                format!("{off:.4} s off before {}", pair[1].number),
            );
        }
    }
    let control = |key: &str| media.control.get(key).and_then(|v| v.parse::<f64>().ok());
    let below = |key: &str, least: f64| control(key).is_some_and(|v| v + EPSILON < least);
    demand(out, &HOLD_BACK, !below("HOLD-BACK", 3.0 * media.target), format!("{:?}", media.control));
    demand(out, &SKIP_BOUNDARY, !below("CAN-SKIP-UNTIL", 6.0 * media.target), format!("{:?}", media.control));
    if let Some(target) = media.part_target {
        let enough = control("PART-HOLD-BACK").is_some_and(|v| v + EPSILON >= 3.0 * target);
        demand(out, &PART_HOLD_BACK, enough, format!("{:?}", media.control));
    }
    check_parts(media, &all, out);
    demand(
        out,
        &HINT,
        media.hints.len() <= 1 && (!media.ended || media.hints.is_empty()),
        format!("{:?}", media.hints),
    );
    for hint in &media.hints {
        let uri = hint.get("URI").map(String::as_str).unwrap_or("");
        let listed = all.iter().any(|s| s.uri == uri || s.parts.iter().any(|p| p.uri == uri));
        demand(out, &HINT, !listed && hint.get("TYPE").is_some_and(|t| t == "PART" || t == "MAP"), uri);
    }
    for report in &media.reports {
        let uri = report.get("URI").map(String::as_str).unwrap_or("/");
        let relative = !uri.starts_with('/') && !uri.contains("://");
        let whole =
            report.contains_key("LAST-MSN") && (media.part_target.is_none() || report.contains_key("LAST-PART"));
        demand(out, &REPORT, relative && whole, format!("{report:?}"));
    }
    if media.iframes {
        demand(out, &IFRAMES_PARTS, media.part_target.is_none() && all.iter().all(|s| s.parts.is_empty()), "has parts");
        for segment in media.segments.iter().filter(|s| !s.gap) {
            let whole = segment.range.as_ref().is_some_and(|r| r.contains('@'));
            demand(out, &IFRAMES_VERSION, whole, format!("{:?}", segment.range));
        }
    }
}

fn check_parts(media: &Media, all: &[&Segment], out: &mut Found) {
    let Some(target) = media.part_target else {
        demand(out, &PART_INF, all.iter().all(|s| s.parts.is_empty()), "parts without it");
        return;
    };
    let end: f64 = all.iter().map(|s| s.duration).sum();
    let mut at = 0.0;
    for segment in all {
        at += segment.duration;
        let open = media.open.as_ref().is_some_and(|o| o.number == segment.number);
        for (i, part) in segment.parts.iter().enumerate() {
            demand(
                out,
                &PART_LENGTH,
                part.duration <= target + EPSILON,
                format!("{} > {target}: {}", part.duration, part.uri),
            );
            let next = segment.parts.get(i + 1);
            let excused = part.independent || part.gap || next.map_or(!open, |next| next.gap);
            // The last part of the growing segment may turn out to be its final one.
            let excused = excused || (open && next.is_none());
            let least = 0.85 * target - EPSILON;
            demand(
                out,
                &PART_LENGTH,
                excused || part.duration >= least,
                format!("{} of {target}: {}", part.duration, part.uri),
            );
        }
        if !segment.parts.is_empty() {
            demand(out, &PARTS_RECENT, end - at < 3.0 * media.target + EPSILON, format!("segment {}", segment.number));
            let sum: f64 = segment.parts.iter().map(|p| p.duration).sum();
            let holes = segment.gap || segment.parts.iter().any(|p| p.gap);
            let off = (sum - segment.duration).abs();
            // A source's segment lasts until the next one begins: some frames of jitter.
            demand(
                out,
                &PART_SUM,
                holes || off < 0.05,
                format!("{sum} for {} of {}", segment.duration, segment.number),
            );
        }
    }
}

/// Two successive loads of one media playlist, whole ones.
pub fn reload(before: &Media, after: &Media) -> Vec<Violation> {
    let mut out = Found::new();
    demand(&mut out, &TARGET_STAYS, before.target == after.target, format!("{} then {}", before.target, after.target));
    demand(
        &mut out,
        &ONLY_APPEND,
        after.sequence >= before.sequence,
        format!("{} then {}", before.sequence, after.sequence),
    );
    if before.ended {
        demand(&mut out, &ENDLIST, after.ended && before.segments == after.segments, "changed after its end");
    }
    for old in &before.segments {
        match after.segments.iter().find(|s| s.number == old.number) {
            Some(new) => {
                let same = old.uri == new.uri
                    && old.duration == new.duration
                    && old.date == new.date
                    && old.discontinuity == new.discontinuity
                    && (old.gap == new.gap || new.gap);
                demand(&mut out, &ONLY_APPEND, same, format!("{old:?} became {new:?}"));
            }
            None => {
                demand(&mut out, &ONLY_APPEND, old.number < after.sequence, format!("segment {} is gone", old.number))
            }
        }
    }
    if after.sequence > before.sequence {
        let left: f64 = after.segments.iter().map(|s| s.duration).sum();
        demand(&mut out, &LEAST_LEFT, left >= 3.0 * after.target - EPSILON, format!("{left} s remain"));
        let removed = before.segments.iter().filter(|s| s.number < after.sequence && s.discontinuity).count() as u64;
        // A discontinuity counts as removed with the segment it stands before.
        let counted = after.discontinuities >= before.discontinuities
            && after.discontinuities - before.discontinuities <= removed;
        let whole = after.sequence <= before.sequence + before.segments.len() as u64;
        let counted = counted && (!whole || after.discontinuities - before.discontinuities == removed);
        demand(
            &mut out,
            &ONLY_APPEND,
            counted || !whole,
            format!("{removed} discontinuities removed, counted otherwise"),
        );
    }
    if let (Some(old), Some(new)) = (
        &before.open,
        after.segments.iter().chain(&after.open).find(|s| before.open.as_ref().is_some_and(|o| o.number == s.number)),
    ) {
        let kept = new.parts.is_empty() || new.parts.starts_with(&old.parts);
        demand(&mut out, &ONLY_APPEND, kept, format!("parts of {} changed", old.number));
    }
    out
}

/// A live playlist of an event that has run for long enough.
pub fn settled(media: &Media) -> Vec<Violation> {
    let mut out = Found::new();
    let count = media.segments.len() as u64 + media.skipped.unwrap_or(0);
    demand(&mut out, &SIX, count >= 6, format!("{count}"));
    out
}

/// A whole playlist and a delta update of the same instant.
pub fn delta(whole: &Media, delta: &Media) -> Vec<Violation> {
    let mut out = Found::new();
    let Some(skipped) = delta.skipped else {
        demand(&mut out, &DELTA, whole.segments == delta.segments, "nothing skipped, but segments differ");
        return out;
    };
    let boundary: f64 = whole.control.get("CAN-SKIP-UNTIL").and_then(|v| v.parse().ok()).unwrap_or(f64::MAX);
    let skipped = skipped as usize;
    demand(&mut out, &DELTA, delta.sequence == whole.sequence, "MEDIA-SEQUENCE differs");
    demand(&mut out, &DELTA, delta.discontinuities == whole.discontinuities, "DISCONTINUITY-SEQUENCE differs");
    demand(&mut out, &DELTA, whole.segments.get(skipped..) == Some(&delta.segments[..]), "the rest differs");
    demand(&mut out, &DELTA, whole.open == delta.open && whole.hints == delta.hints, "the live edge differs");
    let kept: f64 = delta.segments.iter().map(|s| s.duration).sum();
    demand(&mut out, &DELTA, kept + EPSILON >= boundary, format!("only {kept} s kept"));
    out
}

/// A variant as listed.
#[derive(Clone, Debug)]
pub struct Variant {
    pub attributes: Attributes,
    pub uri: String,
    pub iframes: bool,
}

/// A multivariant playlist as read.
#[derive(Clone, Debug, Default)]
pub struct Multivariant {
    pub variants: Vec<Variant>,
    pub renditions: Vec<Attributes>,
    pub independent: bool,
    pub steering: Vec<Attributes>,
}

impl Multivariant {
    /// URIs of all media playlists that are not for I-frames alone, each once.
    pub fn uris(&self) -> Vec<String> {
        let of_variants = self.variants.iter().filter(|v| !v.iframes).map(|v| v.uri.clone());
        let mut uris: Vec<_> =
            of_variants.chain(self.renditions.iter().filter_map(|r| r.get("URI").cloned())).collect();
        uris.sort();
        uris.dedup();
        uris
    }
}

/// Reads a multivariant playlist and checks all that can be seen in it alone.
pub fn multivariant(text: &str) -> (Multivariant, Vec<Violation>) {
    let mut out = Found::new();
    let mut playlist = Multivariant::default();
    basics(text, &mut out);
    let mut pending: Option<Attributes> = None;
    for line in text.lines().skip(1).filter(|l| !l.is_empty()) {
        let Some((name, value)) = tag(line) else {
            match pending.take() {
                Some(attributes) => {
                    playlist.variants.push(Variant { attributes, uri: line.to_owned(), iframes: false });
                }
                None => breaks(&mut out, &STREAM_INF, line),
            }
            continue;
        };
        demand(&mut out, &KINDS, !PLAYLIST_TAGS.contains(&name) && !SEGMENT_TAGS.contains(&name), line);
        demand(&mut out, &STREAM_INF, pending.is_none(), format!("{line} where a URI should be"));
        if !MULTIVARIANT_TAGS.contains(&name) {
            playlist.independent |= name == "EXT-X-INDEPENDENT-SEGMENTS";
            continue;
        }
        let list = attributes(value).unwrap_or_else(|e| {
            breaks(&mut out, &ATTRIBUTES, format!("{e} in {line}"));
            Attributes::new()
        });
        match name {
            "EXT-X-MEDIA" => playlist.renditions.push(list),
            "EXT-X-STREAM-INF" => pending = Some(list),
            "EXT-X-CONTENT-STEERING" => playlist.steering.push(list),
            "EXT-X-I-FRAME-STREAM-INF" => {
                let uri = list.get("URI").cloned().unwrap_or_default();
                demand(&mut out, &STREAM_INF, !uri.is_empty(), line);
                playlist.variants.push(Variant { attributes: list, uri, iframes: true });
            }
            _ => {}
        }
    }
    check_variants(&playlist, &mut out);
    check_renditions(&playlist, &mut out);
    pathways::check(&playlist, &mut out);
    (playlist, out)
}

fn is_picture(codec: &str) -> bool {
    ["avc1", "hvc1", "hev1", "av01"].iter().any(|c| codec.starts_with(c))
}

fn check_variants(playlist: &Multivariant, out: &mut Found) {
    let mut captions = Vec::new();
    for variant in &playlist.variants {
        let get = |key: &str| variant.attributes.get(key).map(String::as_str);
        let number = |key: &str| get(key).and_then(|v| v.parse::<u64>().ok());
        let show = || format!("{} {:?}", variant.uri, variant.attributes);
        demand(out, &STREAM_INF, number("BANDWIDTH").is_some_and(|b| b > 0), show());
        let codecs = get("CODECS").unwrap_or("");
        demand(out, &CODECS, !codecs.is_empty(), show());
        let picture = variant.iframes || codecs.split(',').any(is_picture);
        if picture {
            let size =
                get("RESOLUTION").and_then(|r| r.split_once('x')).map(|(w, h)| (w.parse::<u32>(), h.parse::<u32>()));
            demand(out, &RESOLUTION, matches!(size, Some((Ok(1..), Ok(1..)))), show());
            demand(out, &VIDEO_RANGE, matches!(get("VIDEO-RANGE"), None | Some("SDR" | "HLG" | "PQ")), show());
        }
        let average = number("AVERAGE-BANDWIDTH");
        demand(out, &AVERAGE, average.is_some() && average <= number("BANDWIDTH"), show());
        for key in ["STABLE-VARIANT-ID", "STABLE-RENDITION-ID"] {
            demand(out, &STABLE, get(key).is_none_or(is_stable), show());
        }
        if variant.iframes {
            continue;
        }
        if picture {
            let rate = get("FRAME-RATE").unwrap_or("");
            let three = rate.split_once('.').is_some_and(|(_, d)| d.len() == 3) && rate.parse::<f64>().is_ok();
            demand(out, &FRAME_RATE, three, show());
        }
        captions.push(get("CLOSED-CAPTIONS") == Some("NONE"));
        for (key, kind) in [("AUDIO", "AUDIO"), ("SUBTITLES", "SUBTITLES"), ("VIDEO", "VIDEO")] {
            let Some(group) = get(key) else { continue };
            let of_group = |r: &&Attributes| {
                r.get("TYPE").is_some_and(|t| t == kind) && r.get("GROUP-ID").is_some_and(|g| g == group)
            };
            demand(out, &GROUPS, playlist.renditions.iter().any(|r| of_group(&r)), show());
        }
    }
    demand(out, &CAPTIONS, captions.iter().all(|&c| c) || !captions.contains(&true), "on some only");
    let pictures = || playlist.variants.iter().filter(|v| !v.iframes && v.attributes.contains_key("RESOLUTION"));
    let iframes = playlist.variants.iter().any(|v| v.iframes);
    demand(out, &TRICK_PLAY, iframes || pictures().next().is_none(), "no EXT-X-I-FRAME-STREAM-INF");
    let lowest = playlist
        .variants
        .iter()
        .filter(|v| !v.iframes)
        .filter_map(|v| v.attributes.get("BANDWIDTH")?.parse().ok())
        .min();
    let has_sound = playlist.renditions.iter().any(|r| r.get("TYPE").is_some_and(|t| t == "AUDIO"));
    demand(out, &CELLULAR, !has_sound || lowest.is_some_and(|b: u64| b <= 192_000), format!("{lowest:?}"));
    let range = |v: &Variant| v.attributes.get("VIDEO-RANGE").cloned();
    let hdr = pictures().any(|v| range(v).is_some_and(|r| r != "SDR"));
    demand(out, &VIDEO_RANGE, !hdr || pictures().all(|v| range(v).is_some()), "missing beside HDR");
}

fn is_stable(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=.-_".contains(&b))
}

fn check_renditions(playlist: &Multivariant, out: &mut Found) {
    let mut groups: BTreeMap<(String, String), Vec<&Attributes>> = BTreeMap::new();
    for rendition in &playlist.renditions {
        let get = |key: &str| rendition.get(key).cloned().unwrap_or_default();
        let whole = !get("TYPE").is_empty() && !get("GROUP-ID").is_empty() && !get("NAME").is_empty();
        demand(out, &MEDIA, whole, format!("{rendition:?}"));
        demand(out, &MEDIA, get("DEFAULT") != "YES" || get("AUTOSELECT") == "YES", format!("{rendition:?}"));
        demand(out, &LANGUAGE, !get("LANGUAGE").is_empty(), format!("{rendition:?}"));
        demand(out, &CHANNELS, get("TYPE") != "AUDIO" || !get("CHANNELS").is_empty(), format!("{rendition:?}"));
        demand(
            out,
            &STABLE,
            rendition.get("STABLE-RENDITION-ID").is_none_or(|id| is_stable(id)),
            format!("{rendition:?}"),
        );
        groups.entry((get("TYPE"), get("GROUP-ID"))).or_default().push(rendition);
    }
    for (group, members) in groups {
        let mut names: Vec<_> = members.iter().filter_map(|m| m.get("NAME")).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        demand(out, &GROUPS, names.len() == count, format!("names of {group:?}"));
        let defaults = members.iter().filter(|m| m.get("DEFAULT").is_some_and(|d| d == "YES")).count();
        demand(out, &GROUPS, defaults <= 1, format!("{defaults} defaults in {group:?}"));
    }
}

/// A presentation: the multivariant playlist with its media playlists by URI, loaded at about the same time.
pub fn presentation(multivariant: &Multivariant, media: &BTreeMap<String, Media>) -> Vec<Violation> {
    let mut out = Found::new();
    let targets: Vec<_> = media.iter().map(|(uri, m)| (uri, m.target)).collect();
    demand(&mut out, &SAME_TARGET, targets.windows(2).all(|p| p[0].1 == p[1].1), format!("{targets:?}"));
    let edges: Vec<_> =
        media.values().filter_map(|m| Some((m.segments.first()?.date?, m.segments.last()?.date?))).collect();
    let latest_first = edges.iter().map(|e| e.0).fold(f64::MIN, f64::max);
    let earliest_last = edges.iter().map(|e| e.1).fold(f64::MAX, f64::min);
    demand(&mut out, &SAME_TIME, edges.is_empty() || latest_first <= earliest_last + 4.0, format!("{edges:?}"));
    let live = media.iter().filter(|(_, m)| !m.ended && m.part_target.is_some());
    for (uri, playlist) in live {
        let own = uri.split('?').next().unwrap_or(uri);
        let missing = multivariant.uris().into_iter().filter(|other| {
            let other = other.split('?').next().unwrap_or(other);
            let reports =
                |r: &Attributes| r.get("URI").is_some_and(|u| u.split('?').next().is_some_and(|u| u.ends_with(other)));
            other != own && !playlist.reports.iter().any(reports)
        });
        let missing: Vec<_> = missing.collect();
        demand(&mut out, &REPORTS_ALL, missing.is_empty(), format!("{uri} lacks {missing:?}"));
    }
    out
}

/// BANDWIDTH against measured sizes: bytes by segment URI for each media playlist. The peak of a rendition is that of its
/// busiest run of segments that lasts between 0.5 and 1.5 target durations (RFC 4.4.6.2).
pub fn bandwidth(
    multivariant: &Multivariant,
    media: &BTreeMap<String, (Media, BTreeMap<String, u64>)>,
) -> Vec<Violation> {
    let mut out = Found::new();
    let peak = |uri: &String| -> f64 {
        let Some((playlist, sizes)) = media.get(uri) else { return 0.0 };
        let mut peak: f64 = 0.0;
        for from in 0..playlist.segments.len() {
            let (mut bytes, mut time) = (0u64, 0.0);
            for segment in &playlist.segments[from..] {
                bytes += sizes.get(&segment.uri).copied().unwrap_or(0);
                time += segment.duration;
                if time > 1.5 * playlist.target {
                    break;
                }
                if time >= 0.5 * playlist.target {
                    peak = peak.max(bytes as f64 * 8.0 / time);
                }
            }
        }
        peak
    };
    let sound = multivariant.renditions.iter().filter_map(|r| r.get("URI")).map(&peak).fold(0.0, f64::max);
    for variant in multivariant.variants.iter().filter(|v| !v.iframes) {
        let declared = variant.attributes.get("BANDWIDTH").and_then(|b| b.parse::<f64>().ok()).unwrap_or(0.0);
        let alone = multivariant.renditions.iter().any(|r| r.get("URI") == Some(&variant.uri));
        let needed = if alone { sound } else { peak(&variant.uri) + sound };
        demand(&mut out, &PEAK, needed <= declared, format!("{} declares {declared}, needs {needed:.0}", variant.uri));
    }
    out
}
