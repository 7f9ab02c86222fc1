//! Events as the API shows them.

use super::links::Base;
use super::rooms::booths::BoothLinkView;
use crate::media::InputName;
use crate::net::OutgoingUrl;
use crate::store::{
    Appearance, Event, Input, Keys, Ladder, Language, OtherOrigin, PullFrom, Role, Secret, Selection, Status,
};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// An event.
#[derive(Serialize, ToSchema)]
#[schema(title = "Event")]
pub(super) struct EventView {
    /// Opaque and URL-safe.
    id: String,
    /// Counts every change.
    revision: u64,
    /// What people call it.
    name: String,
    /// Plain text for people.
    description: String,
    /// Where it stands.
    status: Status,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    status_changed_at: OffsetDateTime,
    /// When it is meant to start.
    #[serde(with = "time::serde::rfc3339::option")]
    scheduled_start: Option<OffsetDateTime>,
    /// When it was last started from a status other than paused.
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    /// When it last ended.
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    /// BCP 47 tag of the floor, or `original` when it is mixed.
    floor_language: String,
    /// The contribution's audio track that is the floor.
    floor_track: u16,
    /// Channels of that track that are the floor; null: all of it.
    floor_channels: Option<Vec<u8>>,
    /// Languages besides the floor, in the order of the menu.
    languages: Vec<Language>,
    /// Renditions of the picture.
    ladder: Ladder,
    /// Output frames per second; null: the source's at first publish.
    frame_rate: Option<u32>,
    /// How far back viewers can seek; null: as configured.
    dvr_window_seconds: Option<f64>,
    /// How long the picture on air may be black before the other input takes its place; 0: for ever; null: as configured.
    black_after_seconds: Option<f64>,
    /// The same for a picture that stands still.
    frozen_after_seconds: Option<f64>,
    /// The same for a silent floor.
    silent_after_seconds: Option<f64>,
    /// Kept by retention and from being deleted.
    permanent: bool,
    /// How it looks to viewers.
    appearance: Appearance,
    /// A manager's choice of input.
    input_selection: Selection,
    /// Where encoders publish.
    inputs: InputsView,
    /// Its booths: one per interpreted language.
    booths: Vec<BoothLinkView>,
    /// The floor's level under an interpreter, dB, where a booth has none of its own; null: no floor.
    floor_level_db: Option<f64>,
    /// Realtime participants at once.
    participants_limit: u32,
    /// Other daemons that carry the same event.
    other_origins: Vec<OtherOrigin>,
    /// The multivariant playlist; 404 unless the event is started.
    hls_url: String,
    /// The DASH manifest; 404 unless the event is started.
    dash_url: String,
    /// The viewer page.
    watch_url: String,
    /// The player for an iframe.
    embed_url: String,
    /// The multivariant playlist in `preview`, `started` and `paused`. Only for operators and above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    preview_url: Option<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

/// Where encoders publish.
#[derive(Serialize, ToSchema)]
pub(super) struct InputsView {
    /// The input that viewers normally see.
    main: InputView,
    /// The input that takes over.
    backup: InputView,
}

/// Where an encoder publishes. `rtmp_url` + `/` + `rtmp_key` is what ffmpeg takes.
#[derive(Serialize, ToSchema)]
pub(super) struct InputView {
    /// Server address for RTMP; missing without that listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rtmp_url: Option<String>,
    /// The same over TLS; missing without that listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rtmps_url: Option<String>,
    /// The stream key: only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rtmp_key: Option<String>,
    /// Where an encoder publishes by SRT. The stream id, which is the key, is in it only in the answer that made it; the
    /// passphrase only for operators and above. Missing without that listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    srt_url: Option<String>,
    /// Whether SRT publishers need a passphrase.
    srt_encrypted: bool,
    /// Where a browser or OBS publishes by WHIP: only in the answer that made the key, which is part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    whip_url: Option<String>,
    /// When the key was made.
    #[serde(with = "time::serde::rfc3339")]
    key_set_at: OffsetDateTime,
    /// Whether a second publisher takes over from the first instead of being refused.
    takeover: bool,
    /// What it is pulled from; null: an encoder brings it.
    pull: Option<PullView>,
}

/// What an input is pulled from.
#[derive(Serialize, ToSchema)]
pub(super) struct PullView {
    /// The address, with `***` for credentials and query.
    url: String,
    /// When it was set.
    #[serde(with = "time::serde::rfc3339")]
    set_at: OffsetDateTime,
}

impl PullView {
    fn new(pull: &PullFrom) -> PullView {
        // What this version cannot read any more is not shown at all.
        let url = OutgoingUrl::parse(pull.url.expose()).map_or_else(|_| "***".to_owned(), |url| url.to_string());
        PullView { url, set_at: pull.set_at }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct EventList {
    /// The events, newest first.
    pub items: Vec<EventView>,
    /// The `cursor` of the next page; null when this is the last.
    pub next: Option<String>,
}

impl InputView {
    /// An input as it is reached by `base`, for someone with `role`, with its key in clear where it was just made.
    pub fn new(input: &Input, base: &Base, role: Role, key: Option<&Secret>) -> InputView {
        let passphrase = input.srt_passphrase.as_ref().filter(|_| role >= Role::Operator);
        InputView {
            srt_url: base.srt(key.map(Secret::expose), passphrase.map(Secret::expose)),
            srt_encrypted: input.srt_passphrase.is_some(),
            rtmp_url: base.rtmp(),
            rtmps_url: base.rtmps(),
            rtmp_key: key.map(|k| k.expose().to_owned()),
            whip_url: key.map(|k| base.url(&format!("/whip/{}", k.expose()))),
            key_set_at: input.key_set_at,
            takeover: input.takeover,
            pull: input.pull.as_ref().map(PullView::new),
        }
    }
}

impl EventView {
    /// An event for someone with `role`, with its keys in clear where they were just made.
    pub fn new(event: &Event, booths: Vec<BoothLinkView>, base: &Base, role: Role, keys: Option<&Keys>) -> EventView {
        let settings = event.settings.clone();
        let id = event.id.as_str();
        let hls = base.url(&format!("/live/{id}/index.m3u8"));
        let preview = format!("{hls}?preview={}", event.preview_token.expose());
        let input = |name: InputName| {
            let key = keys.map(|k| match name {
                InputName::Main => &k.main,
                InputName::Backup => &k.backup,
            });
            InputView::new(event.inputs.get(name), base, role, key)
        };
        EventView {
            revision: event.revision,
            name: settings.name,
            description: settings.description,
            status: event.status,
            status_changed_at: event.status_changed_at,
            scheduled_start: settings.scheduled_start,
            started_at: event.started_at,
            ended_at: event.ended_at,
            floor_language: settings.floor_language,
            floor_track: settings.floor_track,
            floor_channels: settings.floor_channels,
            languages: settings.languages,
            ladder: settings.ladder,
            frame_rate: settings.frame_rate,
            dvr_window_seconds: settings.dvr_window_seconds,
            black_after_seconds: settings.black_after_seconds,
            frozen_after_seconds: settings.frozen_after_seconds,
            silent_after_seconds: settings.silent_after_seconds,
            permanent: settings.permanent,
            appearance: settings.appearance,
            input_selection: event.input_selection,
            inputs: InputsView { main: input(InputName::Main), backup: input(InputName::Backup) },
            booths,
            floor_level_db: settings.floor_level_db,
            participants_limit: settings.participants_limit,
            other_origins: settings.other_origins,
            dash_url: base.url(&format!("/live/{id}/manifest.mpd")),
            watch_url: base.url(&format!("/watch/{id}")),
            embed_url: base.url(&format!("/embed/{id}")),
            preview_url: (role >= Role::Operator).then_some(preview),
            hls_url: hls,
            created_at: event.created_at,
            updated_at: event.updated_at,
            id: id.to_owned(),
        }
    }
}
