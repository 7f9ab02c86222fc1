//! The multivariant playlist: which renditions there are.

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
}

impl Multivariant {
    /// The text. All variants share one group of sound and one of subtitles.
    pub fn write(&self, suffix: &Suffix) -> String {
        let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
        if self.independent {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        for (i, rendition) in self.renditions.iter().enumerate() {
            let same = |other: &Rendition| other.kind == rendition.kind && other.name == rendition.name;
            let taken = self.renditions[..i].iter().any(same);
            self.rendition(rendition, taken, suffix, &mut out);
        }
        let has = |kind| self.renditions.iter().any(|r| r.kind == kind);
        for variant in &self.variants {
            let _ = write!(
                out,
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}",
                variant.bandwidth, variant.average_bandwidth
            );
            describe(variant, &variant.codecs, &mut out);
            if let Some(rate) = variant.frame_rate.filter(|_| variant.resolution.is_some()) {
                let _ = write!(out, ",FRAME-RATE={rate:.3}");
            }
            for kind in [RenditionType::Audio, RenditionType::Subtitles] {
                if has(kind) {
                    let name = if kind == RenditionType::Audio { "AUDIO" } else { "SUBTITLES" };
                    text(&mut out, name, kind.group());
                }
            }
            out.push_str(",CLOSED-CAPTIONS=NONE\n");
            path(&variant.id, &mut out);
            let _ = writeln!(out, "/media.m3u8{}", suffix.as_str());
        }
        for variant in &self.variants {
            let Some((bandwidth, average, codecs)) = &variant.iframes else { continue };
            let _ = write!(out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average}");
            describe(variant, codecs, &mut out);
            out.push_str(",URI=\"");
            path(&variant.id, &mut out);
            let _ = writeln!(out, "/iframes.m3u8{}\"", suffix.as_str());
        }
        out
    }

    fn rendition(&self, rendition: &Rendition, taken: bool, suffix: &Suffix, out: &mut String) {
        let (kind, autoselect) = match rendition.kind {
            RenditionType::Audio => ("AUDIO", true),
            RenditionType::Subtitles => ("SUBTITLES", true),
        };
        let _ = write!(out, "#EXT-X-MEDIA:TYPE={kind}");
        text(out, "GROUP-ID", rendition.kind.group());
        // NAME is unique within a group (§4.4.6.1.1).
        out.push_str(",NAME=");
        if taken {
            quoted(&format!("{} ({})", rendition.name, rendition.id), out);
        } else {
            quoted(&rendition.name, out);
        }
        text(out, "LANGUAGE", &rendition.language);
        let yes = |value: bool| if value { "YES" } else { "NO" };
        let _ = write!(out, ",DEFAULT={},AUTOSELECT={}", yes(rendition.default), yes(autoselect));
        if let Some(channels) = rendition.channels {
            let _ = write!(out, ",CHANNELS=\"{channels}\"");
        }
        stable_id(out, "STABLE-RENDITION-ID", &rendition.id);
        out.push_str(",URI=\"");
        path(&rendition.id, out);
        let _ = writeln!(out, "/media.m3u8{}\"", suffix.as_str());
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
