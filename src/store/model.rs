//! What is stored of events: their status and settings, keys, booths, connection tests and output shapes.

use super::origin::OtherOrigin;
use super::secret::Secret;
use crate::media::InputName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use time::OffsetDateTime;

/// Where an event stands (PRODUCT §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing runs; ingest is refused; viewers see the holding page.
    Inactive,
    /// Ingest runs and managers see it; viewers see the holding page.
    Preview,
    /// Live to viewers; recorded.
    Started,
    /// As started for managers; viewers see the paused page.
    Paused,
    /// Over; ingest is refused; viewers see the ended page.
    Ended,
}

impl Status {
    /// All, in the order of an event's life.
    pub const ALL: [Status; 5] = [Status::Inactive, Status::Preview, Status::Started, Status::Paused, Status::Ended];

    /// What may follow. The same status again is no transition and always allowed.
    pub const fn allowed(self) -> &'static [Status] {
        match self {
            Status::Inactive => &[Status::Preview, Status::Started],
            Status::Preview => &[Status::Started, Status::Inactive],
            Status::Started => &[Status::Paused, Status::Ended, Status::Inactive],
            Status::Paused => &[Status::Started, Status::Ended, Status::Inactive],
            Status::Ended => &[Status::Inactive, Status::Preview],
        }
    }

    /// Whether `next` may follow; the same status may.
    pub fn may_become(self, next: Status) -> bool {
        self == next || self.allowed().contains(&next)
    }

    /// Whether contribution is accepted.
    pub const fn accepts_ingest(self) -> bool {
        matches!(self, Status::Preview | Status::Started | Status::Paused)
    }

    /// Whether viewers may fetch media without a preview token.
    pub const fn live_to_viewers(self) -> bool {
        matches!(self, Status::Started)
    }

    /// As in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Inactive => "inactive",
            Status::Preview => "preview",
            Status::Started => "started",
            Status::Paused => "paused",
            Status::Ended => "ended",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event's opaque, URL-safe, server-made id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EventId(pub(super) Box<str>);

impl EventId {
    /// The id that a request names, when it has the form of one.
    pub fn parse(text: &str) -> Option<EventId> {
        super::secret::is_id(text).then(|| EventId(text.into()))
    }

    /// As in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which input feeds the programme, by a manager's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// The failover policy decides.
    #[default]
    Auto,
    /// Main, whatever its state.
    Main,
    /// Backup, whatever its state.
    Backup,
}

impl Selection {
    /// As in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Selection::Auto => "auto",
            Selection::Main => "main",
            Selection::Backup => "backup",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Selection> {
        [Selection::Auto, Selection::Main, Selection::Backup].into_iter().find(|s| s.as_str() == text)
    }
}

/// Where a language's sound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LanguageKind {
    /// From a booth; with nobody on air, the floor.
    Interpreted,
    /// From an audio track of the contribution.
    Broadcast,
}

/// A language that viewers can choose besides the floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// BCP 47 tag, unique in the event.
    pub language: String,
    /// Where its sound comes from.
    pub kind: LanguageKind,
    /// The contribution's audio track, counted from 0. Only and always for `broadcast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<u16>,
    /// Channels of that track, counted from 0, where it carries several languages side by side: one, heard on both sides
    /// (`[0]` is left, `[1]` right), or a left and a right one (`[2, 3]`). Left out: all of the track, as stereo. Only for
    /// `broadcast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 2)]
    pub channels: Option<Vec<u8>>,
}

/// Which renditions of the picture an event has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Ladder {
    /// The source alone, not transcoded.
    Passthrough(Passthrough),
    /// Rungs by name, highest first: `source`, `2160p`, `1440p`, `1080p`, `720p`, `480p`, `360p`, `240p`. Rungs above the
    /// source's height are left out while it runs.
    Rungs(Vec<Rung>),
}

/// The word `passthrough`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Passthrough {
    /// The source alone.
    Passthrough,
}

/// One rendition of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Rung {
    /// The source's own bitstream beside the encoded rungs.
    #[serde(rename = "source")]
    Source,
    /// 2160 lines.
    #[serde(rename = "2160p")]
    P2160,
    /// 1440 lines.
    #[serde(rename = "1440p")]
    P1440,
    /// 1080 lines.
    #[serde(rename = "1080p")]
    P1080,
    /// 720 lines.
    #[serde(rename = "720p")]
    P720,
    /// 480 lines.
    #[serde(rename = "480p")]
    P480,
    /// 360 lines.
    #[serde(rename = "360p")]
    P360,
    /// 240 lines.
    #[serde(rename = "240p")]
    P240,
}

impl Rung {
    /// The rendition's name.
    pub const fn name(self) -> &'static str {
        match self {
            Rung::Source => "source",
            Rung::P2160 => "2160p",
            Rung::P1440 => "1440p",
            Rung::P1080 => "1080p",
            Rung::P720 => "720p",
            Rung::P480 => "480p",
            Rung::P360 => "360p",
            Rung::P240 => "240p",
        }
    }

    /// Lines of the picture; none for the source.
    pub const fn height(self) -> Option<u32> {
        match self {
            Rung::Source => None,
            Rung::P2160 => Some(2160),
            Rung::P1440 => Some(1440),
            Rung::P1080 => Some(1080),
            Rung::P720 => Some(720),
            Rung::P480 => Some(480),
            Rung::P360 => Some(360),
            Rung::P240 => Some(240),
        }
    }
}

impl<'de> Deserialize<'de> for Ladder {
    /// By hand, since serde's own error for untagged enums does not say what is wrong.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Ladder, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Ladder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"passthrough\" or a list of rungs as [\"1080p\", \"720p\"]")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Ladder, E> {
                match word {
                    "passthrough" => Ok(Ladder::PASSTHROUGH),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Ladder, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq)).map(Ladder::Rungs)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Ladder {
    /// The source alone.
    pub const PASSTHROUGH: Ladder = Ladder::Passthrough(Passthrough::Passthrough);

    /// The encoded and source rungs; empty for passthrough.
    pub fn rungs(&self) -> &[Rung] {
        match self {
            Ladder::Passthrough(_) => &[],
            Ladder::Rungs(rungs) => rungs,
        }
    }

    /// Whether it is the source alone.
    pub fn is_passthrough(&self) -> bool {
        matches!(self, Ladder::Passthrough(_))
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Ladder::Rungs(vec![Rung::P1080, Rung::P720, Rung::P480, Rung::P360, Rung::P240])
    }
}

/// Addresses of pictures, `https:` or a path on this server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// For a status without one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub general: Option<String>,
    /// For the player before it plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poster: Option<String>,
    /// While `inactive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive: Option<String>,
    /// While in `preview`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// While `started`, until the picture is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// While `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// When `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Images {
    /// Each with its field's name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("general", &self.general),
            ("poster", &self.poster),
            ("inactive", &self.inactive),
            ("preview", &self.preview),
            ("started", &self.started),
            ("paused", &self.paused),
            ("ended", &self.ended),
        ]
        .into_iter()
        .filter_map(|(name, image)| Some((name, image.as_deref()?)))
    }
}

/// A text over the running player.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceMessage {
    /// Plain text.
    pub text: String,
    /// When it goes by itself; none: when it is taken away.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<OffsetDateTime>,
}

/// How an event looks to viewers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Appearance {
    /// Plain text by status, in place of the page's own words for it.
    pub texts: BTreeMap<Status, String>,
    /// Pictures.
    pub images: Images,
    /// Whether the time until the scheduled start is counted down.
    pub countdown: bool,
    /// Over the running player.
    pub service_message: Option<ServiceMessage>,
}

impl Default for Appearance {
    fn default() -> Self {
        Appearance { texts: BTreeMap::new(), images: Images::default(), countdown: true, service_message: None }
    }
}

/// What an event is, besides its status: all that a manager sets. Stored as one JSON document; a field added later
/// needs a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What people call it.
    pub name: String,
    /// Plain text for people.
    pub description: String,
    /// When it is meant to start.
    #[serde(with = "time::serde::rfc3339::option")]
    pub scheduled_start: Option<OffsetDateTime>,
    /// BCP 47 tag of the floor, or `original` when the floor is mixed.
    pub floor_language: String,
    /// The contribution's audio track that is the floor, counted from 0.
    pub floor_track: u16,
    /// Channels of that track that are the floor, one or two; none: all of it.
    pub floor_channels: Option<Vec<u8>>,
    /// In the order of the menu.
    pub languages: Vec<Language>,
    /// Renditions of the picture.
    pub ladder: Ladder,
    /// Output frames per second; none: the source's, rounded, at first publish.
    pub frame_rate: Option<u32>,
    /// How far back viewers can seek, in seconds; none: as configured.
    pub dvr_window_seconds: Option<f64>,
    /// How long the picture on air may be black before the other input takes its place; zero: for ever; none: as configured.
    pub black_after_seconds: Option<f64>,
    /// The same for a picture that stands still.
    pub frozen_after_seconds: Option<f64>,
    /// The same for a silent floor.
    pub silent_after_seconds: Option<f64>,
    /// Never deleted by retention, nor by hand until this is taken back.
    pub permanent: bool,
    /// How it looks.
    pub appearance: Appearance,
    /// The floor's level under an interpreter, dB, where a booth has none of its own; none: no floor at all.
    pub floor_level_db: Option<f64>,
    /// Realtime participants at once.
    pub participants_limit: u32,
    /// Other daemons that carry the same event, in the order in which players should turn to them.
    pub other_origins: Vec<OtherOrigin>,
}

/// The floor's level under an interpreter unless something else is set, dB.
pub const FLOOR_LEVEL_DB: f64 = -14.0;
/// Realtime participants of an event at once, unless something else is set.
pub const PARTICIPANTS: u32 = 50;

impl Settings {
    /// The floor's level under an interpreter, dB: negative infinity for no floor.
    pub fn floor_level_db(&self) -> f64 {
        self.floor_level_db.unwrap_or(f64::NEG_INFINITY)
    }
}

impl Settings {
    /// Whether all of it is the source's own bitstream: no codec process runs. A booth needs one for its mix, and so do
    /// channels of a track, which have to be decoded to be taken apart.
    pub fn is_copied(&self) -> bool {
        let whole = |l: &Language| l.kind == LanguageKind::Broadcast && l.channels.is_none();
        self.ladder.is_passthrough() && self.floor_channels.is_none() && self.languages.iter().all(whole)
    }
}

/// The floor's tag when several languages are spoken on it.
pub const ORIGINAL: &str = "original";

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: String::new(),
            description: String::new(),
            scheduled_start: None,
            floor_language: ORIGINAL.to_owned(),
            floor_track: 0,
            floor_channels: None,
            languages: Vec::new(),
            ladder: Ladder::default(),
            frame_rate: None,
            dvr_window_seconds: None,
            black_after_seconds: None,
            frozen_after_seconds: None,
            silent_after_seconds: None,
            permanent: false,
            appearance: Appearance::default(),
            floor_level_db: Some(FLOOR_LEVEL_DB),
            participants_limit: PARTICIPANTS,
            other_origins: Vec::new(),
        }
    }
}

/// What is known of an input's key, which itself is stored as a hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// When the present key was made.
    pub key_set_at: OffsetDateTime,
    /// Whether a second publisher takes over from the first instead of being refused.
    pub takeover: bool,
    /// What SRT publishers must know besides the key; none: not encrypted.
    pub srt_passphrase: Option<Secret>,
    /// What it is pulled from; none: an encoder brings it.
    pub pull: Option<PullFrom>,
}

/// What an input is pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFrom {
    /// The address, which may hold credentials.
    pub url: Secret,
    /// When it was set.
    pub set_at: OffsetDateTime,
}

/// Both inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The input that viewers normally see.
    pub main: Input,
    /// The input that takes over.
    pub backup: Input,
}

impl Inputs {
    /// One of them.
    pub fn get(&self, name: InputName) -> &Input {
        match name {
            InputName::Main => &self.main,
            InputName::Backup => &self.backup,
        }
    }
}

/// An event as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Counts every change, so that whoever applies changes can tell old from new.
    pub revision: u64,
    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub status_changed_at: OffsetDateTime,
    /// When it was last started from a status other than paused.
    pub started_at: Option<OffsetDateTime>,
    /// When it last ended.
    pub ended_at: Option<OffsetDateTime>,
    /// A manager's choice of input.
    pub input_selection: Selection,
    /// What managers set.
    pub settings: Settings,
    /// What is known of the keys.
    pub inputs: Inputs,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
    /// The token of `?preview=`, which opens its media before and between being live.
    pub preview_token: Secret,
}

/// The keys of a new event, in clear for the one answer that shows them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Of main.
    pub main: Secret,
    /// Of backup.
    pub backup: Secret,
}

/// What managers have set of a booth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoothRow {
    /// The booth's language.
    pub language: String,
    /// The other language of a bilingual booth.
    pub second_language: Option<String>,
    /// Nobody in it is heard.
    pub muted: bool,
    /// dB; none: the event's; negative infinity: no floor under a voice.
    pub floor_level_db: Option<f64>,
}

/// What a connection test found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewConnectionTest {
    /// The event whose link it was made by.
    pub event: Option<EventId>,
    /// Who made it.
    pub name: String,
    /// Where they can be reached.
    pub email: String,
    /// Where it was made.
    pub place: String,
    /// There and back.
    pub ping_ms: Option<f64>,
    /// Jitter.
    pub jitter_ms: Option<f64>,
    /// Share of packets lost towards the daemon.
    pub loss_up: Option<f64>,
    /// Share of packets lost from it.
    pub loss_down: Option<f64>,
    /// `udp` or `tcp`.
    pub transport: Option<String>,
    /// `good`, `average` or `bad`; none when nothing was measured.
    pub grade: Option<String>,
}

/// A connection test that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionTest {
    /// Names it.
    pub id: String,
    /// When.
    pub at: OffsetDateTime,
    /// What it found.
    pub result: NewConnectionTest,
}

/// What an event's output is modelled on: the source as it was at first publish. It stays through reconnects and
/// restarts, so that renditions and numbering go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputShape {
    /// Output frames per second.
    pub frame_rate: u32,
    /// The source's width in pixels.
    pub width: u32,
    /// The source's height in pixels.
    pub height: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_matrix_is_the_one_of_the_product() {
        use Status::*;
        let allowed = [
            (Inactive, vec![Preview, Started]),
            (Preview, vec![Started, Inactive]),
            (Started, vec![Paused, Ended, Inactive]),
            (Paused, vec![Started, Ended, Inactive]),
            (Ended, vec![Inactive, Preview]),
        ];
        for (from, to) in &allowed {
            for next in Status::ALL {
                assert_eq!(from.may_become(next), next == *from || to.contains(&next), "{from} to {next}");
            }
            assert!(!from.allowed().contains(from), "{from}");
        }
        let table: Vec<(Status, bool, bool)> =
            Status::ALL.into_iter().map(|s| (s, s.accepts_ingest(), s.live_to_viewers())).collect();
        let expected = [
            (Inactive, false, false),
            (Preview, true, false),
            (Started, true, true),
            (Paused, true, false),
            (Ended, false, false),
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn names_are_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_stored(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).ok(), Some(status.as_str().into()));
        }
    }

    #[test]
    fn a_ladder_is_a_word_or_rungs() {
        let read = |text: &str| serde_json::from_str::<Ladder>(text).ok();
        assert_eq!(read("\"passthrough\""), Some(Ladder::PASSTHROUGH));
        assert_eq!(read("[\"source\",\"720p\"]"), Some(Ladder::Rungs(vec![Rung::Source, Rung::P720])));
        assert_eq!(read("\"transcode\""), None);
        assert_eq!(read("[\"721p\"]"), None);
        assert_eq!(serde_json::to_string(&Ladder::PASSTHROUGH).ok().as_deref(), Some("\"passthrough\""));
    }

    #[test]
    fn old_settings_are_read_with_defaults_for_new_fields() {
        assert_eq!(serde_json::from_str::<Settings>("{}").ok(), Some(Settings::default()));
    }
}
