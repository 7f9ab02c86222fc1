//! What managers send about an event, and whether it can be.

use super::problem::{FieldError, Problem};
use crate::media::{InputName, grid::FRAME_RATES};
use crate::store::{
    Event, Images, Ladder, Language, LanguageKind, ORIGINAL, Rung, ServiceMessage, Settings, Status, Takeover,
};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::ToSchema;

/// Characters of a name: fits a menu and a file list.
const MAX_NAME: usize = 200;
/// Characters of a description.
const MAX_DESCRIPTION: usize = 5_000;
/// Characters of a text over or in place of the picture; the pages show no more.
const MAX_TEXT: usize = 2_000;
/// Bytes of an address.
const MAX_URL: usize = 2_000;
/// Languages besides the floor: the European Parliament has 24; each costs an encoder.
const MAX_LANGUAGES: usize = 64;
/// Audio tracks of a contribution, counted from 0.
const MAX_TRACK: u16 = 31;
/// 24 h: the longest that an event is recorded, too.
const MAX_DVR_SECONDS: f64 = 86_400.0;

/// A point in time: RFC 3339, kept in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub(super) struct Timestamp(pub OffsetDateTime);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = OffsetDateTime::parse(&text, &Rfc3339).ok().and_then(|t| t.checked_to_offset(UtcOffset::UTC));
        let rounded = read.and_then(|t| t.replace_millisecond(t.millisecond()).ok());
        rounded.map(Timestamp).ok_or_else(|| serde::de::Error::custom("is no RFC 3339 time as 2026-03-01T12:00:00Z"))
    }
}

/// A field that may be left out, but not null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A field that may be left out, and null to take the value away.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// What to set of an event. What is left out stays as it is; null takes a value away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventEdit {
    /// What people call it, 1 to 200 characters. Needed for a new event.
    #[serde(default, deserialize_with = "present")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// Plain text for people.
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 5000)]
    pub description: Option<String>,
    /// When it is meant to start.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_start: Option<Option<Timestamp>>,
    /// BCP 47 tag of the floor, or `original` when the floor is mixed.
    #[serde(default, deserialize_with = "present")]
    #[schema(default = "original")]
    pub floor_language: Option<String>,
    /// The contribution's audio track that is the floor, counted from 0.
    #[serde(default, deserialize_with = "present")]
    #[schema(default = 0, maximum = 31)]
    pub floor_track: Option<u16>,
    /// Languages besides the floor, in the order of the menu. `track` of a broadcast language that has none is the next
    /// one after the floor and those before it.
    #[serde(default, deserialize_with = "present")]
    #[schema(max_items = 64)]
    pub languages: Option<Vec<Language>>,
    /// Renditions of the picture. Fixed while the event runs.
    #[serde(default, deserialize_with = "present")]
    pub ladder: Option<Ladder>,
    /// Output frames per second: 24, 25, 30, 50 or 60; null: the source's at first publish. Fixed while the event runs.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>)]
    pub frame_rate: Option<Option<u32>>,
    /// How far back viewers can seek, in seconds; null: as configured.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 86400)]
    pub dvr_window_seconds: Option<Option<f64>>,
    /// Never deleted by retention, nor by hand until this is taken back.
    #[serde(default, deserialize_with = "present")]
    pub permanent: Option<bool>,
    /// How it looks to viewers.
    #[serde(default, deserialize_with = "present")]
    pub appearance: Option<AppearanceEdit>,
    /// How its inputs behave.
    #[serde(default, deserialize_with = "present")]
    pub inputs: Option<InputsEdit>,
}

/// What to set of an event's appearance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppearanceEdit {
    /// Plain text by status, in place of the page's own words for it. Replaces all texts.
    #[serde(default, deserialize_with = "present")]
    pub texts: Option<BTreeMap<Status, String>>,
    /// Addresses of pictures: `https:`, or a path on this server. Replaces all pictures.
    #[serde(default, deserialize_with = "present")]
    pub images: Option<Images>,
    /// Whether the time until `scheduled_start` is counted down.
    #[serde(default, deserialize_with = "present")]
    #[schema(default = true)]
    pub countdown: Option<bool>,
    /// A text over the running player; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ServiceMessage>)]
    pub service_message: Option<Option<ServiceMessageEdit>>,
}

/// A text over the running player.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceMessageEdit {
    text: String,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// What to set of an event's inputs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InputsEdit {
    /// The input that viewers normally see.
    #[serde(default, deserialize_with = "present")]
    pub main: Option<InputEdit>,
    /// The input that takes over.
    #[serde(default, deserialize_with = "present")]
    pub backup: Option<InputEdit>,
}

/// What to set of an input.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InputEdit {
    /// Whether a second publisher takes over from the first instead of being refused.
    #[serde(default, deserialize_with = "present")]
    pub takeover: Option<bool>,
}

/// Notes what is wrong, by field.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    fn text(&mut self, field: &str, text: &str, min: usize, max: usize) {
        let length = text.chars().count();
        if length > max {
            self.add(field, format!("has {length} characters; {max} are the most"));
        } else if text.trim().len() < min {
            self.add(field, "is empty");
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            self.add(field, "has control characters");
        }
    }
}

impl EventEdit {
    /// The settings of a new event.
    pub fn create(self) -> Result<(Settings, Takeover), Problem> {
        let mut settings = Settings::default();
        let mut takeover = Takeover::default();
        if self.name.is_none() {
            let missing = FieldError { field: "name".into(), message: "is missing; say what people call it".into() };
            return Err(Problem::invalid(vec![missing]));
        }
        self.set(&mut settings, &mut takeover)?;
        Ok((settings, takeover))
    }

    /// Changes an event's settings.
    pub fn apply(self, event: &Event, settings: &mut Settings, takeover: &mut Takeover) -> Result<(), Problem> {
        self.set(settings, takeover)?;
        if event.status.accepts_ingest() {
            let fixed = [
                ("ladder", settings.ladder != event.settings.ladder),
                ("frame_rate", settings.frame_rate != event.settings.frame_rate),
            ];
            if let Some((field, _)) = fixed.into_iter().find(|(_, changed)| *changed) {
                let detail =
                    format!("{field} cannot be changed while the event is {}; set it to inactive first.", event.status);
                return Err(Problem::conflict("event-runs", "The event runs", detail).with("field", field));
            }
        }
        Ok(())
    }

    fn set(self, settings: &mut Settings, takeover: &mut Takeover) -> Result<(), Problem> {
        let mut faults = Faults::default();
        if let Some(name) = self.name {
            faults.text("name", &name, 1, MAX_NAME);
            settings.name = name;
        }
        if let Some(description) = self.description {
            faults.text("description", &description, 0, MAX_DESCRIPTION);
            settings.description = description;
        }
        if let Some(at) = self.scheduled_start {
            settings.scheduled_start = at.map(|t| t.0);
        }
        if let Some(track) = self.floor_track {
            if track > MAX_TRACK {
                faults.add("floor_track", format!("is {track}; a contribution has tracks 0 to {MAX_TRACK}"));
            }
            settings.floor_track = track;
        }
        if let Some(tag) = self.floor_language {
            match floor_tag(&tag) {
                Ok(tag) => settings.floor_language = tag,
                Err(message) => faults.add("floor_language", message),
            }
        }
        if let Some(languages) = self.languages {
            settings.languages = checked_languages(languages, settings.floor_track, &mut faults);
        }
        // Also when only one of the two was sent.
        let floor = &settings.floor_language;
        if let Some(i) = settings.languages.iter().position(|l| l.language == *floor) {
            faults.add(format!("languages[{i}].language"), format!("{floor} is the floor's language already"));
        }
        if let Some(ladder) = self.ladder {
            check_ladder(&ladder, &mut faults);
            settings.ladder = ladder;
        }
        if let Some(rate) = self.frame_rate {
            if rate.is_some_and(|r| !FRAME_RATES.contains(&r)) {
                faults.add("frame_rate", "is none of 24, 25, 30, 50, 60");
            }
            settings.frame_rate = rate;
        }
        if let Some(window) = self.dvr_window_seconds {
            if window.is_some_and(|w| !(0.0..=MAX_DVR_SECONDS).contains(&w)) {
                faults.add("dvr_window_seconds", format!("is not within 0 to {MAX_DVR_SECONDS}"));
            }
            settings.dvr_window_seconds = window;
        }
        if let Some(permanent) = self.permanent {
            settings.permanent = permanent;
        }
        if let Some(appearance) = self.appearance {
            appearance.set(settings, &mut faults);
        }
        if let Some(inputs) = self.inputs {
            for (name, edit) in [(InputName::Main, inputs.main), (InputName::Backup, inputs.backup)] {
                if let Some(value) = edit.and_then(|e| e.takeover) {
                    match name {
                        InputName::Main => takeover.main = value,
                        InputName::Backup => takeover.backup = value,
                    }
                }
            }
        }
        if faults.0.is_empty() { Ok(()) } else { Err(Problem::invalid(faults.0)) }
    }
}

impl AppearanceEdit {
    fn set(self, settings: &mut Settings, faults: &mut Faults) {
        let appearance = &mut settings.appearance;
        if let Some(texts) = self.texts {
            for (status, text) in &texts {
                faults.text(&format!("appearance.texts.{status}"), text, 0, MAX_TEXT);
            }
            appearance.texts = texts;
        }
        if let Some(images) = self.images {
            for (name, url) in images.iter() {
                if let Err(message) = check_image(url) {
                    faults.add(format!("appearance.images.{name}"), message);
                }
            }
            appearance.images = images;
        }
        if let Some(countdown) = self.countdown {
            appearance.countdown = countdown;
        }
        if let Some(message) = self.service_message {
            if let Some(message) = &message {
                faults.text("appearance.service_message.text", &message.text, 1, MAX_TEXT);
            }
            appearance.service_message = message.map(|m| ServiceMessage { text: m.text, until: m.until.map(|t| t.0) });
        }
    }
}

fn check_ladder(ladder: &Ladder, faults: &mut Faults) {
    let Ladder::Rungs(rungs) = ladder else { return };
    if rungs.is_empty() {
        faults.add("ladder", "has no rung; \"passthrough\" is the source alone");
    } else if rungs == &[Rung::Source] {
        faults.add("ladder", "has no rung besides the source; \"passthrough\" is the source alone");
    } else if rungs.iter().collect::<BTreeSet<_>>().len() != rungs.len() {
        faults.add("ladder", "has a rung twice");
    } else if !rungs.is_sorted() {
        faults.add("ladder", "is not in order: the source first, then the highest rung first");
    }
}

fn checked_languages(languages: Vec<Language>, floor_track: u16, faults: &mut Faults) -> Vec<Language> {
    if languages.len() > MAX_LANGUAGES {
        faults.add("languages", format!("has {} languages; {MAX_LANGUAGES} are the most", languages.len()));
        return Vec::new();
    }
    let mut checked: Vec<Language> = Vec::with_capacity(languages.len());
    for (i, mut language) in languages.into_iter().enumerate() {
        match tag(&language.language) {
            Ok(tag) => language.language = tag,
            Err(message) => faults.add(format!("languages[{i}].language"), message),
        }
        if checked.iter().any(|l| l.language == language.language) {
            faults.add(format!("languages[{i}].language"), format!("{} is there twice", language.language));
        }
        let taken = |track: u16| checked.iter().any(|l| l.track == Some(track));
        match (language.kind, language.track) {
            (LanguageKind::Interpreted, Some(_)) => {
                faults.add(format!("languages[{i}].track"), "is for broadcast languages; a booth has none");
            }
            (LanguageKind::Broadcast, Some(track)) if track > MAX_TRACK => {
                faults.add(format!("languages[{i}].track"), format!("is {track}; there are tracks 0 to {MAX_TRACK}"));
            }
            (LanguageKind::Broadcast, Some(track)) if taken(track) => {
                faults.add(format!("languages[{i}].track"), format!("{track} is another language's already"));
            }
            (LanguageKind::Broadcast, None) => {
                language.track = (0..=MAX_TRACK).find(|&t| t > floor_track && !taken(t));
                if language.track.is_none() {
                    faults.add(format!("languages[{i}].track"), "is missing, and no track is left to assume");
                }
            }
            _ => {}
        }
        checked.push(language);
    }
    checked
}

fn floor_tag(text: &str) -> Result<String, String> {
    if text == ORIGINAL { Ok(text.to_owned()) } else { tag(text).map_err(|m| format!("{m}, or `{ORIGINAL}`")) }
}

/// A language tag in its usual case (RFC 5646 §2.1, §2.1.1): language, script, region, variants, extensions and private use.
/// Only two- and three-letter languages: those are all there are, and so no tag is also a rendition's name.
fn tag(text: &str) -> Result<String, String> {
    /// RFC 5646 §4.4.1: what a buffer for tags should hold.
    const MAX_TAG: usize = 35;
    let wrong =
        || format!("`{}` is no BCP 47 tag as `en`, `pt-BR` or `zh-Hant`", text.chars().take(40).collect::<String>());
    if text.len() > MAX_TAG {
        return Err(wrong());
    }
    let mut parts = text.split('-');
    let alpha = |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic());
    let alnum = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let language = parts.next().filter(|l| matches!(l.len(), 2 | 3) && alpha(l)).ok_or_else(wrong)?;
    let mut tag = language.to_ascii_lowercase();
    // Which kinds may still follow: extended language, script, region, variant, singleton.
    let mut stage = 0;
    let mut after_singleton = false;
    let mut needs_more = false;
    for part in parts {
        if !alnum(part) || part.len() > 8 {
            return Err(wrong());
        }
        tag.push('-');
        if after_singleton {
            let singleton = part.len() == 1;
            if singleton && needs_more {
                return Err(wrong());
            }
            needs_more = singleton;
            tag.push_str(&part.to_ascii_lowercase());
            continue;
        }
        match part.len() {
            3 if alpha(part) && stage == 0 => tag.push_str(&part.to_ascii_lowercase()),
            4 if alpha(part) && stage <= 1 => {
                stage = 2;
                tag.push_str(&part[..1].to_ascii_uppercase());
                tag.push_str(&part[1..].to_ascii_lowercase());
            }
            2 if alpha(part) && stage <= 2 => {
                stage = 3;
                tag.push_str(&part.to_ascii_uppercase());
            }
            3 if part.bytes().all(|b| b.is_ascii_digit()) && stage <= 2 => {
                stage = 3;
                tag.push_str(part);
            }
            5..=8 => {
                stage = 4;
                tag.push_str(&part.to_ascii_lowercase());
            }
            4 if part.as_bytes()[0].is_ascii_digit() => {
                stage = 4;
                tag.push_str(&part.to_ascii_lowercase());
            }
            1 => {
                after_singleton = true;
                needs_more = true;
                tag.push_str(&part.to_ascii_lowercase());
            }
            _ => return Err(wrong()),
        }
    }
    if needs_more { Err(wrong()) } else { Ok(tag) }
}

/// The pages fetch it: nothing but `https:` and our own paths, which their content security policy admits.
fn check_image(url: &str) -> Result<(), String> {
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`'));
    if url.len() > MAX_URL {
        Err(format!("has {} bytes; {MAX_URL} are the most", url.len()))
    } else if !plain {
        Err("has characters that must be percent-encoded in an address".to_owned())
    } else if (url.starts_with('/') && !url.starts_with("//"))
        || url.strip_prefix("https://").is_some_and(|r| !r.is_empty())
    {
        Ok(())
    } else {
        Err("is neither https:// nor a path on this server that begins with one /".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn create(body: Value) -> Result<Settings, Value> {
        let edit: EventEdit = serde_json::from_value(body).expect("right types");
        edit.create().map(|(settings, _)| settings).map_err(|p| serde_json::to_value(p).expect("JSON"))
    }

    fn faults(body: Value) -> Vec<String> {
        let problem = create(body).expect_err("is wrong");
        assert_eq!(problem["status"], 422);
        let errors = problem["errors"].as_array().expect("list");
        errors.iter().map(|e| format!("{}: {}", e["field"].as_str().unwrap(), e["message"].as_str().unwrap())).collect()
    }

    #[test]
    fn tags_are_checked_and_brought_to_their_usual_case() {
        let cases = [
            ("en", "en"),
            ("EN-us", "en-US"),
            ("ZH-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("sl-ROZAJ-biske", "sl-rozaj-biske"),
            ("de-CH-1996", "de-CH-1996"),
            ("zh-yue-HK", "zh-yue-HK"),
            ("gsg", "gsg"),
            ("en-US-u-ca-gregory", "en-US-u-ca-gregory"),
            ("de-x-simple", "de-x-simple"),
        ];
        for (text, expected) in cases {
            assert_eq!(tag(text).as_deref(), Ok(expected));
        }
        let wrong = [
            "",
            "e",
            "floor",
            "source",
            "original",
            "english",
            "en_US",
            "en-",
            "-en",
            "en--US",
            "en-U",
            "en-US-u",
            "en-u-x",
            "en-toolongsubtag",
            "e1",
            "en-US-Latn",
            "ünd",
            "en US",
            "../x",
            &"en-".repeat(20),
        ];
        for text in wrong {
            assert!(tag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_event_needs_a_name_and_has_defaults() {
        assert_eq!(faults(json!({})), ["name: is missing; say what people call it"]);
        assert_eq!(faults(json!({"name": "  "})), ["name: is empty"]);
        assert_eq!(faults(json!({"name": "a\u{7}b"})), ["name: has control characters"]);
        assert_eq!(faults(json!({"name": "é".repeat(201)})), ["name: has 201 characters; 200 are the most"]);
        assert_eq!(create(json!({"name": "x"})), Ok(Settings { name: "x".into(), ..Settings::default() }));
    }

    #[test]
    fn languages_are_checked_against_each_other_and_the_floor() {
        let languages = json!([
            {"language": "de", "kind": "broadcast"},
            {"language": "FR", "kind": "interpreted"},
            {"language": "pt-br", "kind": "broadcast", "track": 0},
            {"language": "nl", "kind": "broadcast"},
        ]);
        let made = create(json!({"name": "x", "floor_language": "EN", "languages": languages})).expect("right");
        let shown: Vec<(&str, Option<u16>)> = made.languages.iter().map(|l| (l.language.as_str(), l.track)).collect();
        assert_eq!(shown, [("de", Some(1)), ("fr", None), ("pt-BR", Some(0)), ("nl", Some(2))]);
        let wrong = json!([
            {"language": "de", "kind": "interpreted", "track": 1},
            {"language": "DE", "kind": "interpreted"},
            {"language": "en", "kind": "broadcast", "track": 32},
            {"language": "xyzzy", "kind": "broadcast", "track": 3},
            {"language": "fr", "kind": "broadcast", "track": 3},
        ]);
        assert_eq!(
            faults(json!({"name": "x", "floor_language": "en", "languages": wrong})),
            [
                "languages[0].track: is for broadcast languages; a booth has none",
                "languages[1].language: de is there twice",
                "languages[2].track: is 32; there are tracks 0 to 31",
                "languages[3].language: `xyzzy` is no BCP 47 tag as `en`, `pt-BR` or `zh-Hant`",
                "languages[4].track: 3 is another language's already",
                "languages[2].language: en is the floor's language already",
            ]
        );
        let many: Vec<Value> = (0..65).map(|_| json!({"language": "de", "kind": "interpreted"})).collect();
        assert_eq!(faults(json!({"name": "x", "languages": many})), ["languages: has 65 languages; 64 are the most"]);
    }

    #[test]
    fn ladders_pictures_and_numbers_are_checked() {
        let one = |field: &str, value: Value| {
            let mut body = json!({"name": "x"});
            body[field] = value;
            create(body).err().map(|p| p["errors"][0]["message"].as_str().unwrap().to_owned())
        };
        assert_eq!(one("ladder", json!("passthrough")), None);
        assert_eq!(one("ladder", json!(["source", "1080p", "240p"])), None);
        for wrong in
            [json!([]), json!(["source"]), json!(["720p", "720p"]), json!(["720p", "1080p"]), json!(["720p", "source"])]
        {
            assert!(one("ladder", wrong.clone()).is_some(), "{wrong}");
        }
        for (rate, right) in [(25, true), (60, true), (29, false), (0, false)] {
            assert_eq!(one("frame_rate", json!(rate)).is_none(), right, "{rate}");
        }
        for (window, right) in [(0.0, true), (86_400.0, true), (-1.0, false), (86_401.0, false)] {
            assert_eq!(one("dvr_window_seconds", json!(window)).is_none(), right, "{window}");
        }
        let image = |url: &str| one("appearance", json!({"images": {"general": url}})).is_none();
        assert!(image("https://a.example/x.png?y=1") && image("/x.png"));
        for wrong in
            ["http://a/x.png", "javascript:alert(1)", "data:image/png,x", "//a/x", "https://", "", "/a b", "/\"x"]
        {
            assert!(!image(wrong), "{wrong}");
        }
    }

    #[test]
    fn times_are_kept_in_utc() {
        let made = create(json!({"name": "x", "scheduled_start": "2026-03-01T12:00:00.123456+02:00"})).expect("right");
        assert_eq!(made.scheduled_start, Some(time::macros::datetime!(2026-03-01 10:00:00.123 UTC)));
        for wrong in ["tomorrow", "2026-03-01", "2026-03-01T12:00:00", "2026-02-30T12:00:00Z", ""] {
            let edit = serde_json::from_value::<EventEdit>(json!({"scheduled_start": wrong}));
            assert!(edit.is_err(), "{wrong}");
        }
    }

    #[test]
    fn null_takes_away_only_what_can_be_missing() {
        let read = |body: Value| serde_json::from_value::<EventEdit>(body);
        assert_eq!(read(json!({"frame_rate": null})).expect("right").frame_rate, Some(None));
        assert_eq!(read(json!({})).expect("right").frame_rate, None);
        for field in ["name", "description", "languages", "ladder", "permanent", "appearance", "inputs", "floor_track"]
        {
            assert!(read(json!({field: null})).is_err(), "{field}");
        }
    }
}
