//! A plain reader of HLS playlists, written from RFC 8216bis and not from our writer, and a recorder of renditions.

use super::api::Api;
use super::eventually;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A multivariant playlist.
#[derive(Clone, Debug)]
pub struct Master {
    pub variants: Vec<Variant>,
    /// `EXT-X-MEDIA` of type AUDIO.
    pub audio: Vec<Attributes>,
    pub url: String,
}

/// A variant stream.
#[derive(Clone, Debug)]
pub struct Variant {
    pub attributes: Attributes,
    pub uri: String,
}

/// An attribute list; quotes are taken off.
pub type Attributes = HashMap<String, String>;

/// A media playlist.
#[derive(Clone, Debug, Default)]
pub struct Media {
    pub text: String,
    pub target: f64,
    pub part_target: f64,
    pub segments: Vec<Segment>,
    /// Parts of the segment that is not complete yet.
    pub parts: Vec<Part>,
}

/// A complete segment.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Media sequence number.
    pub number: u64,
    pub uri: String,
    pub duration: f64,
    pub gap: bool,
    pub discontinuity: bool,
    /// `EXT-X-MAP` in force.
    pub init: String,
    /// `EXT-X-PROGRAM-DATE-TIME` of this segment, if it has one.
    pub date: Option<String>,
    pub parts: Vec<Part>,
}

/// A partial segment.
#[derive(Clone, Debug)]
pub struct Part {
    pub uri: String,
    pub duration: f64,
    pub independent: bool,
}

fn attributes(line: &str) -> Attributes {
    let mut found = HashMap::new();
    let mut rest = line.split_once(':').map_or("", |(_, r)| r);
    while let Some((name, value)) = rest.split_once('=') {
        let (value, next) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map_or((quoted, ""), |(v, n)| (v, n)),
            None => value.split_once(',').map_or((value, ""), |(v, _)| (v, &value[v.len()..])),
        };
        found.insert(name.trim_start_matches(',').trim().to_owned(), value.to_owned());
        rest = next;
    }
    found
}

fn join(base: &str, uri: &str) -> String {
    reqwest::Url::parse(base).unwrap().join(uri).unwrap().into()
}

impl Master {
    /// Reads the text of a playlist that came from `url`.
    pub fn parse(url: &str, text: &str) -> Master {
        assert!(text.starts_with("#EXTM3U"), "no playlist at {url}:\n{text}");
        let (mut variants, mut audio, mut pending) = (Vec::new(), Vec::new(), None);
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            if line.starts_with("#EXT-X-STREAM-INF:") {
                pending = Some(attributes(line));
            } else if line.starts_with("#EXT-X-MEDIA:") {
                let a = attributes(line);
                if a.get("TYPE").is_some_and(|t| t == "AUDIO") {
                    audio.push(a);
                }
            } else if !line.starts_with('#')
                && let Some(attributes) = pending.take()
            {
                variants.push(Variant { attributes, uri: join(url, line) });
            }
        }
        Master { variants, audio, url: url.to_owned() }
    }

    /// Waits until the playlist is there and lists variants.
    pub async fn wait(api: &Api, url: &str, limit: Duration) -> Master {
        eventually(limit, &format!("a playlist at {url}"), || async {
            let reply = api.try_call(reqwest::Method::GET, url, None).await.ok()?;
            (reply.status == 200).then(|| Master::parse(url, &reply.text())).filter(|m| !m.variants.is_empty())
        })
        .await
    }

    /// The sizes of the pictures, highest first.
    pub fn resolutions(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.variants.iter().filter_map(|v| v.attributes.get("RESOLUTION").cloned()).collect();
        all.sort_by_key(|r| std::cmp::Reverse(r.split_once('x').and_then(|(_, h)| h.parse::<u32>().ok())));
        all.dedup();
        all
    }

    /// The media playlist of the variant with this height.
    pub fn video(&self, height: u32) -> String {
        let end = format!("x{height}");
        let found = self.variants.iter().find(|v| v.attributes.get("RESOLUTION").is_some_and(|r| r.ends_with(&end)));
        found.unwrap_or_else(|| panic!("no variant of height {height} in {self:#?}")).uri.clone()
    }

    /// The media playlist of the first sound rendition.
    pub fn sound(&self) -> String {
        let uri = self.audio.first().and_then(|a| a.get("URI"));
        join(&self.url, uri.unwrap_or_else(|| panic!("no sound rendition in {self:#?}")))
    }

    /// The media playlist of the sound of a language.
    pub fn language(&self, tag: &str) -> String {
        let found = self.audio.iter().find(|a| a["LANGUAGE"] == tag);
        join(&self.url, &found.unwrap_or_else(|| panic!("no {tag} in {self:#?}"))["URI"])
    }

    /// The languages, in the order of the menu, as `LANGUAGE NAME`.
    pub fn languages(&self) -> Vec<String> {
        self.audio.iter().map(|a| format!("{} {}", a["LANGUAGE"], a["NAME"])).collect()
    }
}

impl Media {
    /// Reads the text of a playlist that came from `url`.
    pub fn parse(url: &str, text: &str) -> Media {
        assert!(text.starts_with("#EXTM3U"), "no playlist at {url}:\n{text}");
        let mut media = Media { text: text.to_owned(), ..Media::default() };
        let (mut number, mut init, mut next) = (0, String::new(), Segment::default());
        for line in text.lines().map(str::trim) {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => media.target = value.parse().unwrap(),
                "#EXT-X-MEDIA-SEQUENCE" => number = value.parse().unwrap(),
                "#EXT-X-PART-INF" => media.part_target = attributes(line)["PART-TARGET"].parse().unwrap(),
                "#EXT-X-MAP" => init = join(url, &attributes(line)["URI"]),
                "#EXT-X-GAP" => next.gap = true,
                "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
                "#EXT-X-PROGRAM-DATE-TIME" => next.date = Some(value.to_owned()),
                "#EXT-X-PART" => {
                    let a = attributes(line);
                    next.parts.push(Part {
                        uri: join(url, &a["URI"]),
                        duration: a["DURATION"].parse().unwrap(),
                        independent: a.get("INDEPENDENT").is_some_and(|i| i == "YES"),
                    });
                }
                "#EXTINF" => next.duration = value.split(',').next().unwrap().parse().unwrap(),
                _ if !line.starts_with('#') && !line.is_empty() => {
                    (next.number, next.uri, next.init) = (number, join(url, line), init.clone());
                    number += 1;
                    media.segments.push(std::mem::take(&mut next));
                }
                _ => {}
            }
        }
        media.parts = next.parts;
        media
    }

    /// Fetches and reads.
    pub async fn get(api: &Api, url: &str) -> Media {
        Media::parse(url, &api.get(url).await.expect(200).text())
    }

    /// The number of the newest complete segment that is no gap.
    pub fn newest(&self) -> Option<u64> {
        self.segments.iter().rev().find(|s| !s.gap).map(|s| s.number)
    }
}

/// Segments of a rendition, in a file that begins with its initialization section.
pub struct Recording {
    pub file: PathBuf,
    pub segments: Vec<Segment>,
    /// Where each segment begins in the file, in bytes.
    pub starts: Vec<u64>,
}

/// Records the segments with these numbers, waiting for those that are still to come.
pub async fn record(api: &Api, url: &str, numbers: std::ops::Range<u64>, dir: &Path) -> Recording {
    let wait = Duration::from_secs(10 + 3 * (numbers.end - numbers.start));
    let media = eventually(wait, &format!("segment {} of {url}", numbers.end - 1), || async {
        let media = Media::get(api, url).await;
        (media.newest() >= Some(numbers.end - 1)).then_some(media)
    })
    .await;
    let segments: Vec<Segment> = media.segments.iter().filter(|s| numbers.contains(&s.number)).cloned().collect();
    let listed: Vec<u64> = segments.iter().map(|s| s.number).collect();
    assert_eq!(listed, numbers.clone().collect::<Vec<_>>(), "what is listed in\n{}", media.text);
    let mut bytes = api.get(&segments[0].init).await.expect(200).body;
    let mut starts = Vec::new();
    for segment in &segments {
        assert_eq!(segment.init, segments[0].init, "one initialization section for all of {numbers:?}");
        starts.push(bytes.len() as u64);
        bytes.extend(api.get(&segment.uri).await.expect(200).body);
    }
    let name: String = url.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let file = dir.join(format!("{}-{}.mp4", &name[name.len().saturating_sub(60)..], numbers.start));
    std::fs::write(&file, bytes).unwrap();
    Recording { file, segments, starts }
}
