//! The multivariant playlist: which renditions there are.

use super::steering::Steering;
use super::{Suffix, VERSION, path, quoted, text};
use std::fmt::Write;

/// What a rendition in a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenditionType {
    /// TYPE=AUDIO.
    Audio,
    /// TYPE=SUBTITLES.
    Subtitles,
}

impl RenditionType {
    const fn group(self) -> &'static str {
        match self {
            RenditionType::Audio => "audio",
            RenditionType::Subtitles => "subtitles",
        }
    }
}

/// EXT-X-MEDIA.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// TYPE and group.
    pub kind: RenditionType,
    /// The rendition's name in URLs, which is its STABLE-RENDITION-ID too.
    pub id: String,
    /// NAME, for menus; unique in the group (the writer adds the id where it is not).
    pub name: String,
    /// LANGUAGE, a BCP 47 tag.
    pub language: String,
    /// DEFAULT=YES: one of a group at most.
    pub default: bool,
    /// CHANNELS, for sound.
    pub channels: Option<u8>,
}

/// EXT-X-STREAM-INF, and EXT-X-I-FRAME-STREAM-INF where there are key frames.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The rendition's name in URLs, which is its STABLE-VARIANT-ID too.
    pub id: String,
    /// BANDWIDTH, all renditions that play together included.
    pub bandwidth: u64,
    /// AVERAGE-BANDWIDTH.
    pub average_bandwidth: u64,
    /// CODECS, the sound's included.
    pub codecs: String,
    /// Width and height; none for sound alone.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// VIDEO-RANGE.
    pub range: &'static str,
    /// BANDWIDTH, AVERAGE-BANDWIDTH and CODECS of its key frames alone.
    pub iframes: Option<(u64, u64, String)>,
}

/// A multivariant playlist.
#[derive(Clone, Debug, Default)]
pub struct Multivariant {
    /// Sound and subtitles.
    pub renditions: Vec<Rendition>,
    /// Variants, in the order in which a player that knows nothing of the network should see them.
    pub variants: Vec<Variant>,
    /// EXT-X-INDEPENDENT-SEGMENTS holds for every playlist.
    pub independent: bool,
    /// Where else the same is to be had; none: here alone.
    pub steering: Option<Steering>,
}

/// Where a pathway's playlists are.
struct Place<'a> {
    /// Its PATHWAY-ID; none where there is one pathway, which then needs no name.
    pathway: Option<&'a str>,
    /// What stands before a rendition's name: nothing, or an absolute address that ends in `/`.
    base: &'a str,
    /// What ends every URI.
    suffix: &'a str,
}

impl Place<'_> {
    /// GROUP-ID: each pathway has groups of its own, since their URIs differ.
    fn group(&self, kind: RenditionType) -> String {
        match self.pathway {
            Some(pathway) => format!("{}-{pathway}", kind.group()),
            None => kind.group().to_owned(),
        }
    }

    fn uri(&self, id: &str, file: &str, out: &mut String) {
        out.push_str(self.base);
        path(id, out);
        let _ = write!(out, "/{file}{}", self.suffix);
    }
}

impl Multivariant {
    /// The text. All variants of a pathway share one group of sound and one of subtitles. The own pathway comes first, so
    /// that a player that knows nothing of steering begins with it and has the others as redundant streams; `suffix` is
    /// for it alone, since a token means nothing elsewhere and must not go there.
    pub fn write(&self, suffix: &Suffix) -> String {
        let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
        if self.independent {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let own = self.steering.as_ref().map(|s| s.own.as_str());
        let mut places = vec![Place { pathway: own, base: "", suffix: suffix.as_str() }];
        if let Some(steering) = &self.steering {
            steering.tag(suffix, &mut out);
            let others = steering.others.iter();
            places.extend(others.map(|p| Place { pathway: Some(&p.id), base: &p.base, suffix: "" }));
        }
        for place in &places {
            for (i, rendition) in self.renditions.iter().enumerate() {
                let same = |other: &Rendition| other.kind == rendition.kind && other.name == rendition.name;
                let taken = self.renditions[..i].iter().any(same);
                rendition.write(taken, place, &mut out);
            }
        }
        for place in &places {
            self.variants(place, &mut out);
        }
        for place in &places {
            self.iframes(place, &mut out);
        }
        out
    }

    fn variants(&self, place: &Place, out: &mut String) {
        let has = |kind| self.renditions.iter().any(|r| r.kind == kind);
        for variant in &self.variants {
            let _ = write!(
                out,
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}",
                variant.bandwidth, variant.average_bandwidth
            );
            describe(variant, &variant.codecs, out);
            if let Some(rate) = variant.frame_rate.filter(|_| variant.resolution.is_some()) {
                let _ = write!(out, ",FRAME-RATE={rate:.3}");
            }
            for kind in [RenditionType::Audio, RenditionType::Subtitles] {
                if has(kind) {
                    let name = if kind == RenditionType::Audio { "AUDIO" } else { "SUBTITLES" };
                    text(out, name, &place.group(kind));
                }
            }
            out.push_str(",CLOSED-CAPTIONS=NONE");
            pathway(place, out);
            out.push('\n');
            place.uri(&variant.id, "media.m3u8", out);
            out.push('\n');
        }
    }

    fn iframes(&self, place: &Place, out: &mut String) {
        for variant in &self.variants {
            let Some((bandwidth, average, codecs)) = &variant.iframes else { continue };
            let _ = write!(out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average}");
            describe(variant, codecs, out);
            pathway(place, out);
            out.push_str(",URI=\"");
            place.uri(&variant.id, "iframes.m3u8", out);
            out.push_str("\"\n");
        }
    }
}

impl Rendition {
    fn write(&self, taken: bool, place: &Place, out: &mut String) {
        let (kind, autoselect) = match self.kind {
            RenditionType::Audio => ("AUDIO", true),
            RenditionType::Subtitles => ("SUBTITLES", true),
        };
        let _ = write!(out, "#EXT-X-MEDIA:TYPE={kind}");
        text(out, "GROUP-ID", &place.group(self.kind));
        // NAME is unique within a group (§4.4.6.1.1).
        out.push_str(",NAME=");
        if taken {
            quoted(&format!("{} ({})", self.name, self.id), out);
        } else {
            quoted(&self.name, out);
        }
        text(out, "LANGUAGE", &self.language);
        let yes = |value: bool| if value { "YES" } else { "NO" };
        let _ = write!(out, ",DEFAULT={},AUTOSELECT={}", yes(self.default), yes(autoselect));
        if let Some(channels) = self.channels {
            let _ = write!(out, ",CHANNELS=\"{channels}\"");
        }
        stable_id(out, "STABLE-RENDITION-ID", &self.id);
        out.push_str(",URI=\"");
        place.uri(&self.id, "media.m3u8", out);
        out.push_str("\"\n");
    }
}

fn pathway(place: &Place, out: &mut String) {
    if let Some(id) = place.pathway {
        text(out, "PATHWAY-ID", id);
    }
}

fn describe(variant: &Variant, codecs: &str, out: &mut String) {
    text(out, "CODECS", codecs);
    if let Some((width, height)) = variant.resolution {
        let _ = write!(out, ",RESOLUTION={width}x{height},VIDEO-RANGE={}", variant.range);
    }
    stable_id(out, "STABLE-VARIANT-ID", &variant.id);
}

/// The characters that stable ids may have (§4.4.6.1, §4.4.6.2); others are left out.
fn stable_id(out: &mut String, name: &str, id: &str) {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || "+/=.-_".contains(*c)).collect();
    if !id.is_empty() {
        text(out, name, &id);
    }
}
