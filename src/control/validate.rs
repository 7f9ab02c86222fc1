//! What managers send about an event, and whether it can be.

use super::origins;
use super::problem::{FieldError, Problem};
use crate::config::TRIGGER_SECONDS;
use crate::media::{InputName, grid::FRAME_RATES};
use crate::store::{
    Event, Images, InputsSettings, Ladder, Language, LanguageKind, ORIGINAL, OtherOrigin, Rung, Secret, ServiceMessage,
    Settings, Status,
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
/// Channels of an audio track that is decoded, counted from 0.
const MAX_CHANNEL: u8 = 7;
/// 24 h: the longest that an event is recorded, too.
const MAX_DVR_SECONDS: f64 = 86_400.0;

/// The least floor level that is not none at all, dB.
pub(super) const MIN_FLOOR_DB: f64 = -60.0;
/// Realtime participants of an event: each is a WebRTC peer of this machine.
const MAX_PARTICIPANTS: u32 = 500;

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
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A field that may be left out, and null to take the value away.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
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
    /// Channels of that track that are the floor, where it carries languages side by side: one, heard on both sides, or a
    /// left and a right one; null: all of the track. Counted from 0 in the order of the sound's layout (left, right, centre,
    /// low frequencies, surrounds). In a passthrough event the picture stays copied; its sound then comes from a codec
    /// process, as with booths. Takes effect when the event is opened the next time.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<u8>>, min_items = 1, max_items = 2)]
    pub floor_channels: Option<Option<Vec<u8>>>,
    /// Languages besides the floor, in the order of the menu. `track` of a broadcast language that has none is the next
    /// one after the floor and those before it, or the floor's own when it has `channels`. A language whose track or channels
    /// are not there carries the floor, and the input's warnings say so. Channels ask for a codec process in a passthrough
    /// event too, as booths do.
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
    /// How long the picture of the input on air may be black, 1 to 600 seconds, before the other input takes its place, if
    /// that one is whole; 0: for ever; null: as configured, which is for ever unless the daemon is set otherwise. The input
    /// that was left is not taken back before it is published anew or chosen by hand, or the other one is lost. Takes effect
    /// at once. Needs renditions besides the source: a `passthrough` picture is not decoded.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 600)]
    pub black_after_seconds: Option<Option<f64>>,
    /// The same for a picture that stands still. A title card does, so wait for longer than one is shown.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 600)]
    pub frozen_after_seconds: Option<Option<f64>>,
    /// The same for a floor that is silent, or missing beside its picture. In a `passthrough` event it needs a booth or
    /// channels of a track, since else no sound is decoded.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 600)]
    pub silent_after_seconds: Option<Option<f64>>,
    /// Never deleted by retention, nor by hand until this is taken back.
    #[serde(default, deserialize_with = "present")]
    pub permanent: Option<bool>,
    /// How it looks to viewers.
    #[serde(default, deserialize_with = "present")]
    pub appearance: Option<AppearanceEdit>,
    /// How its inputs behave.
    #[serde(default, deserialize_with = "present")]
    pub inputs: Option<InputsEdit>,
    /// The floor's level under an interpreter, dB, -60 to 0, where a booth has none of its own; null: no floor.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, default = -14.0, minimum = -60, maximum = 0)]
    pub floor_level_db: Option<Option<f64>>,
    /// Realtime participants at once, 0 to 500.
    #[serde(default, deserialize_with = "present")]
    #[schema(default = 50, maximum = 500)]
    pub participants_limit: Option<u32>,
    /// Other daemons that carry the same event, fed by the same encoder and set alike, in the order in which players should
    /// turn to them; replaces all. The multivariant playlist lists every rendition on each of them as well, this server
    /// first, for HLS Content Steering and for players that know redundant streams alone; what `preview_url` opens lists
    /// this server only. `source` renditions follow their encoder's key frames and are not cut alike on two servers. Set
    /// `frame_rate` where the first publishers of the servers may differ. Interpreters are heard on the server that their
    /// booth is on; on another the language carries the floor.
    #[serde(default, deserialize_with = "present")]
    #[schema(max_items = 4)]
    pub other_origins: Option<Vec<OtherOrigin>>,
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
    /// What SRT publishers must know besides the key, 10 to 79 characters of ASCII; null: none. Holds from the next connection.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, min_length = 10, max_length = 79)]
    pub srt_passphrase: Option<Option<Passphrase>>,
}

/// A passphrase in a request, which no log line shows.
#[derive(Debug)]
pub(super) struct Passphrase(Secret);

impl<'de> Deserialize<'de> for Passphrase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Passphrase, D::Error> {
        String::deserialize(deserializer).map(|text| Passphrase(Secret::new(text)))
    }
}

/// As libsrt takes them (`SRTO_PASSPHRASE`), of characters that every encoder can be given.
fn check_passphrase(text: &str) -> Result<(), String> {
    if text.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
        return Err("has characters other than printable ASCII".to_owned());
    }
    if (10..=79).contains(&text.len()) { Ok(()) } else { Err(format!("has {} characters; write 10 to 79", text.len())) }
}

/// Notes what is wrong, by field.
#[derive(Default)]
pub(super) struct Faults(pub Vec<FieldError>);

impl Faults {
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
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
    pub fn create(self) -> Result<(Settings, InputsSettings), Problem> {
        let mut settings = Settings::default();
        let mut inputs = InputsSettings::default();
        if self.name.is_none() {
            let missing = FieldError { field: "name".into(), message: "is missing; say what people call it".into() };
            return Err(Problem::invalid(vec![missing]));
        }
        self.set(&mut settings, &mut inputs)?;
        Ok((settings, inputs))
    }

    /// Changes an event's settings.
    pub fn apply(self, event: &Event, settings: &mut Settings, inputs: &mut InputsSettings) -> Result<(), Problem> {
        self.set(settings, inputs)?;
        if event.status.accepts_ingest() {
            let fixed = [
                ("ladder", settings.ladder != event.settings.ladder),
                ("frame_rate", settings.frame_rate != event.settings.frame_rate),
                // What is copied is packaged without an engine, which takes a moment to change.
                ("languages", event.settings.is_copied() && settings.languages != event.settings.languages),
            ];
            if let Some((field, _)) = fixed.into_iter().find(|(_, changed)| *changed) {
                let detail =
                    format!("{field} cannot be changed while the event is {}; set it to inactive first.", event.status);
                return Err(Problem::conflict("event-runs", "The event runs", detail).with("field", field));
            }
        }
        Ok(())
    }

    fn set(self, settings: &mut Settings, inputs: &mut InputsSettings) -> Result<(), Problem> {
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
        if let Some(channels) = self.floor_channels {
            if let Some(Err(message)) = channels.as_deref().map(check_channels) {
                faults.add("floor_channels", message);
            }
            settings.floor_channels = channels;
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
        for (field, edit, set) in [
            ("black_after_seconds", self.black_after_seconds, &mut settings.black_after_seconds),
            ("frozen_after_seconds", self.frozen_after_seconds, &mut settings.frozen_after_seconds),
            ("silent_after_seconds", self.silent_after_seconds, &mut settings.silent_after_seconds),
        ] {
            let Some(after) = edit else { continue };
            if after.is_some_and(|s| s != 0.0 && !TRIGGER_SECONDS.contains(&s)) {
                let (least, most) = (TRIGGER_SECONDS.start(), TRIGGER_SECONDS.end());
                faults.add(field, format!("is not within {least} to {most}; 0 is never"));
            }
            *set = after;
        }
        // Also when only the ladder or the languages were sent.
        let undecoded = [
            ("black_after_seconds", settings.black_after_seconds, settings.ladder.is_passthrough(), "picture"),
            ("frozen_after_seconds", settings.frozen_after_seconds, settings.ladder.is_passthrough(), "picture"),
            ("silent_after_seconds", settings.silent_after_seconds, settings.is_copied(), "sound"),
        ];
        for (field, after, copied, what) in undecoded {
            if copied && after.is_some_and(|s| s > 0.0) {
                let message =
                    format!("cannot work: the {what} of this passthrough event is not decoded; write 0 or null");
                faults.add(field, message);
            }
        }
        if let Some(level) = self.floor_level_db {
            if level.is_some_and(|db| !(MIN_FLOOR_DB..=0.0).contains(&db)) {
                faults.add("floor_level_db", format!("is not within {MIN_FLOOR_DB} and 0; null is no floor"));
            }
            settings.floor_level_db = level;
        }
        if let Some(limit) = self.participants_limit {
            if limit > MAX_PARTICIPANTS {
                faults.add("participants_limit", format!("is {limit}; {MAX_PARTICIPANTS} are the most"));
            }
            settings.participants_limit = limit;
        }
        if let Some(others) = self.other_origins {
            origins::check(&others, &mut faults);
            settings.other_origins = others;
        }
        if let Some(permanent) = self.permanent {
            settings.permanent = permanent;
        }
        if let Some(appearance) = self.appearance {
            appearance.set(settings, &mut faults);
        }
        if let Some(edits) = self.inputs {
            let both = [
                (InputName::Main, edits.main, &mut inputs.main),
                (InputName::Backup, edits.backup, &mut inputs.backup),
            ];
            for (name, edit, set) in both {
                let Some(edit) = edit else { continue };
                if let Some(value) = edit.takeover {
                    set.takeover = value;
                }
                if let Some(passphrase) = edit.srt_passphrase {
                    if let Some(Err(message)) = passphrase.as_ref().map(|p| check_passphrase(p.0.expose())) {
                        faults.add(format!("inputs.{}.srt_passphrase", name.as_str()), message);
                    }
                    set.srt_passphrase = passphrase.map(|p| p.0);
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
        if let Some(channels) = &language.channels {
            if language.kind == LanguageKind::Interpreted {
                faults.add(format!("languages[{i}].channels"), "are for broadcast languages; a booth has none");
            } else if let Err(message) = check_channels(channels) {
                faults.add(format!("languages[{i}].channels"), message);
            }
            if language.kind == LanguageKind::Broadcast {
                language.track = language.track.or(Some(floor_track));
            }
        }
        let of_track = |track: u16| checked.iter().filter(move |l| l.track == Some(track));
        let taken = |track: u16| of_track(track).next().is_some();
        // Another language may have other channels of the same track.
        let own = language.channels.clone();
        let shared = |track: u16| {
            let apart = |l: &Language| match (&own, &l.channels) {
                (Some(own), Some(other)) => !own.iter().any(|c| other.contains(c)),
                _ => false,
            };
            of_track(track).all(apart)
        };
        match (language.kind, language.track) {
            (LanguageKind::Interpreted, Some(_)) => {
                faults.add(format!("languages[{i}].track"), "is for broadcast languages; a booth has none");
            }
            (LanguageKind::Broadcast, Some(track)) if track > MAX_TRACK => {
                faults.add(format!("languages[{i}].track"), format!("is {track}; there are tracks 0 to {MAX_TRACK}"));
            }
            (LanguageKind::Broadcast, Some(track)) if !shared(track) => {
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

/// One channel, or two different ones.
fn check_channels(channels: &[u8]) -> Result<(), String> {
    match *channels {
        [] => Err("is empty; leave it out for all of the track".to_owned()),
        [a, b] if a == b => Err(format!("has channel {a} twice; [{a}] alone is heard on both sides")),
        [_] | [_, _] => match channels.iter().find(|c| **c > MAX_CHANNEL) {
            Some(channel) => Err(format!("has {channel}; there are channels 0 to {MAX_CHANNEL}")),
            None => Ok(()),
        },
        _ => Err(format!("has {}; one or two can be heard", channels.len())),
    }
}

fn floor_tag(text: &str) -> Result<String, String> {
    if text == ORIGINAL { Ok(text.to_owned()) } else { tag(text).map_err(|m| format!("{m}, or `{ORIGINAL}`")) }
}

/// A language tag in its usual case (RFC 5646 §2.1, §2.1.1): language, script, region, variants, extensions and private use.
/// Only two- and three-letter languages: those are all there are, and so no tag is also a rendition's name.
pub(super) fn tag(text: &str) -> Result<String, String> {
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
mod tests;
