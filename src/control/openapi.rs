//! The API's description, `/api/v1/openapi.json`.
//!
//! Operations are described where their handlers are. The roles come from the router's own table, so that they cannot be
//! described otherwise than they are.

use super::api::{Access, table};
use super::problem::{FieldError, Problem};
use super::rooms::protocol::{PersonState, QualityState};
use super::rooms::{booths, info, peers, probes, socket};
use super::validate::{AppearanceEdit, EventEdit, InputEdit, InputsEdit};
use super::{events, health, inputs, live, state, stream, view, webhooks};
use crate::store::{
    Appearance, Images, Ladder, Language, LanguageKind, LinkRole, OtherOrigin, Passthrough, Rung, Selection,
    ServiceMessage, Status,
};
use axum::Json;
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, PartialSchema, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Boothcast",
        description = "Control of live events.\n\nTimes are RFC 3339 in UTC, durations seconds in fields that end in \
`_seconds`, languages BCP 47 tags, ids opaque. Unknown fields in a request are refused. Errors are RFC 9457 \
`application/problem+json`. Every answer has a request id in `X-Request-Id`, under which the log tells more.\n\n\
Roles, each with what those before it may do: `read-only` looks at events, `operator` runs them, `manager` makes and \
changes them, `admin` may everything.\n\nMedia stands under `/live/{id}/`: `index.m3u8` (HLS, low latency) and `manifest.mpd` (DASH), \
404 unless the event is started, but for an event's `preview_url`.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        events::list, events::create, events::show, events::edit, events::remove, events::set_status,
        inputs::show, inputs::select, inputs::rotate_key, inputs::set_pull, inputs::remove_pull, inputs::preview,
        stream::staff, state::serve,
        health::healthz, health::readyz, serve,
        booths::list_links, booths::create_link, booths::revoke_link, booths::list_booths, booths::edit_booth,
        webhooks::list, webhooks::create, webhooks::remove,
        probes::list, probes::remove, probes::probe, probes::end_probe, probes::result,
        info::booth, info::manage, info::participant, info::test, socket::booth, socket::manage,
        peers::voice, peers::patch_voice, peers::end_voice, peers::ears, peers::patch_ears, peers::end_ears,
        peers::monitor, peers::patch_monitor, peers::end_monitor,
        peers::participate, peers::patch_participant, peers::end_participant,
    ),
    components(schemas(
        Problem, FieldError, NewEvent, EventEdit, AppearanceEdit, InputsEdit, InputEdit, view::EventView, view::InputsView,
        view::InputView, view::PullView, view::EventList, events::StatusEdit, inputs::ActiveEdit, inputs::PullEdit, Inputs, InputHealth, PullHealth, VideoHealth,
        AudioHealth, SrtHealth, TimelineHealth, Switch, Alignment, state::StateView, Status, Language, LanguageKind, Ladder, Passthrough, Rung, OtherOrigin, Appearance, Images,
        ServiceMessage, Selection, health::Health, live::Check,
        booths::LinkView, booths::LinkList, booths::LinkEdit, booths::BoothLinkView, booths::BoothView, booths::BoothList,
        booths::BoothEdit, booths::Interpreter, booths::VoiceView, PersonState, QualityState, LinkRole, probes::ResultEdit, probes::TestView, probes::TestList,
        webhooks::WebhookEdit, webhooks::WebhookView, webhooks::NewWebhookView, webhooks::WebhookList,
        info::RoomEvent, info::RoomBooth, info::BoothInfo, info::ParticipantInfo, info::ManageInfo, info::TestInfo,
    )),
    tags(
        (name = "events", description = "Events and their status"),
        (name = "inputs", description = "Contribution"),
        (name = "viewers", description = "What viewers' pages ask for"),
        (name = "rooms", description = "Booths, the management room, realtime participants, the connection test"),
        (name = "webhooks", description = "Notices sent to other servers"),
        (name = "operation", description = "Running the daemon"),
    ),
    security(("token" = [])),
    modifiers(&Finish),
)]
struct Description;

/// What the derived description lacks.
struct Finish;

impl Modify for Finish {
    fn modify(&self, document: &mut Document) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API token; `boothcast token create --role ROLE` makes one."))
            .build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token));
        for route in table() {
            let Access::Role(role) = route.access else { continue };
            let Some(operation) =
                document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.method))
            else {
                continue;
            };
            let text = operation.description.take().unwrap_or_default();
            operation.description = Some(format!("{text}\n\nNeeds the role `{role}` or above.").trim().to_owned());
            let extensions = ExtensionsBuilder::new().add("x-role", role.as_str()).build();
            operation.extensions.get_or_insert_default().merge(extensions);
        }
    }
}

/// The operation of a method.
pub(super) fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
        "get" => item.get.as_mut(),
        "put" => item.put.as_mut(),
        "post" => item.post.as_mut(),
        "patch" => item.patch.as_mut(),
        "delete" => item.delete.as_mut(),
        _ => None,
    }
}

/// The document. Made once.
pub(super) fn document() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(Description::openapi);
    &DOCUMENT
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation", security(()),
    responses((status = 200, description = "An OpenAPI document", body = Object)))]
pub(super) async fn serve() -> impl IntoResponse {
    Json(document())
}

/// An event that is to be made: as for a change, with the name.
pub(super) struct NewEvent;

impl ToSchema for NewEvent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        EventEdit::schemas(schemas);
    }
}

impl PartialSchema for NewEvent {
    fn schema() -> RefOr<Schema> {
        match EventEdit::schema() {
            RefOr::T(Schema::Object(mut object)) => {
                object.required = vec!["name".to_owned()];
                object.description = Some("A new event. All but the name has a default.".to_owned());
                RefOr::T(Schema::Object(object))
            }
            other => other,
        }
    }
}

/// `{id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct Id {
    /// The event.
    id: String,
}

/// `{input}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct Input {
    /// `main` or `backup`.
    #[param(pattern = "^(main|backup)$")]
    input: String,
}

/// `{secret}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct SecretOf {
    /// The secret of a link, which is all that is needed.
    secret: String,
}

/// `{session}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct SessionOf {
    /// The session.
    session: String,
}

/// `{link}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct LinkId {
    /// The link's id.
    link: String,
}

/// `{language}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct LanguageOf {
    /// The booth's language.
    language: String,
}

/// `{test}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct TestOf {
    /// The result.
    test: String,
}

/// What lets into the management room, besides the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct ManageBy {
    /// The secret of a manager's link to this event.
    link: Option<String>,
    /// An API token with the role `operator` or above, for WebSockets of pages, which cannot send a header.
    token: Option<String>,
}

/// Both inputs as they are. What is not known is left out.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct Inputs {
    /// What feeds the programme: `main`, `backup` or `slate`.
    #[schema(pattern = "^(main|backup|slate)$")]
    active: String,
    /// A manager's choice.
    selected: Selection,
    /// Since when it feeds the programme, RFC 3339.
    active_since: Option<String>,
    /// The input that a switch waits for.
    pending: Option<String>,
    /// `auto`, `sticky`, or the input that was chosen by hand.
    mode: Option<String>,
    /// The newest switches.
    switches: Option<Vec<Switch>>,
    /// How the inputs belong together; null where they are not known to carry the same programme.
    alignment: Option<Alignment>,
    /// How the codec process is, and for how long the programme has been black, frozen and silent (`black_seconds`, …); null
    /// without one.
    output: Option<serde_json::Value>,
    /// The input that viewers normally see.
    main: InputHealth,
    /// The input that takes over.
    backup: InputHealth,
}

/// A change of what feeds the programme.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct Switch {
    /// When, RFC 3339.
    at: String,
    /// What fed it before: `main`, `backup` or `slate`.
    from: String,
    /// What feeds it since.
    to: String,
    /// Why: `start`, `disconnected`, `no_video`, `no_media`, `black`, `frozen`, `silent`, `returned` (there was none),
    /// `recovered` (main is good again) or `manual`.
    cause: String,
    /// How much of the programme is missing, as measured on its timeline.
    gap_seconds: Option<f64>,
    /// How it was known which instant of the new input follows: `content` (the inputs are equal), `sound` (they sound
    /// alike) or `arrival`; null for the slate.
    #[schema(pattern = "^(content|sound|arrival)$")]
    matched_by: Option<String>,
}

/// Two inputs that carry the same programme.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct Alignment {
    /// As of a switch: `content` or `sound`.
    matched_by: String,
    /// How much later backup brings the same instant; negative where main is later.
    backup_behind_seconds: f64,
}

/// An input's health.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct InputHealth {
    /// `offline` (nobody publishes), `connected` (nothing has come yet), `live` or `stalled` (packets have stopped); of an
    /// input that is pulled also `connecting` and `waiting` (for the next attempt).
    state: String,
    /// `rtmp`, `rtmps`, …
    protocol: Option<String>,
    /// Where it comes from.
    peer: Option<String>,
    /// What the encoder calls itself.
    encoder: Option<String>,
    /// Since when the publisher is connected, RFC 3339.
    connected_since: Option<String>,
    /// The picture.
    video: Option<VideoHealth>,
    /// The sound tracks.
    audio: Vec<AudioHealth>,
    /// Measured bits per second of all tracks.
    bitrate: u64,
    /// Bytes received in all tracks.
    bytes: u64,
    /// How much later sound arrives than the picture of the same moment.
    av_skew_seconds: Option<f64>,
    /// Round trip, where the protocol measures it.
    rtt_seconds: Option<f64>,
    /// What SRT measures; null for other protocols.
    srt: Option<SrtHealth>,
    /// What the source's clock did since the publisher came.
    timeline: Option<TimelineHealth>,
    /// How it is pulled; null where it is not.
    pull: Option<PullHealth>,
    /// What is wrong with it and what to do, in words.
    warnings: Vec<String>,
}

/// How an input is pulled.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct PullHealth {
    /// `connecting` (nothing has come yet), `receiving`, or `waiting` for the next attempt or for an encoder to leave.
    state: String,
    /// Where from, with `***` for credentials and query.
    url: String,
    /// Since when it is in this state, RFC 3339.
    since: Option<String>,
    /// Attempts that failed since something last came.
    failures: u64,
    /// Why the last attempt ended, or none is made, in words.
    last_error: Option<String>,
    /// When the next attempt comes, RFC 3339.
    next_attempt_at: Option<String>,
}

/// The picture of an input.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct VideoHealth {
    /// `h264`, `hevc`, `av1`.
    codec: String,
    /// The RFC 6381 codecs string, which names profile and level.
    codecs: Option<String>,
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
    /// Measured pictures per second.
    fps: Option<f64>,
    /// What the bitstream or its container says.
    nominal_fps: Option<f64>,
    /// Measured bits per second.
    bitrate: u64,
    /// From one key frame to the next.
    gop_seconds: Option<f64>,
    /// Whether pictures are reordered.
    b_frames: bool,
}

/// A sound track of an input.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct AudioHealth {
    /// Counted from 0.
    track: u16,
    /// `aac`, `opus`, `mp3`, `ac3`.
    codec: String,
    /// The RFC 6381 codecs string.
    codecs: Option<String>,
    /// ISO 639 code of its language, where the contribution says.
    language: Option<String>,
    /// Samples per second.
    sample_rate: u32,
    /// Channels.
    channels: u8,
    /// Measured bits per second.
    bitrate: u64,
}

/// What SRT measures of a contribution, since the publisher came.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct SrtHealth {
    /// How long packets are held back for lost ones to come again: the larger of what both sides ask for.
    latency_seconds: f64,
    /// How much of that is filled.
    buffered_seconds: f64,
    /// Whether it is encrypted.
    encrypted: bool,
    /// Packets that came, each counted once.
    packets: u64,
    /// Packets that were missing when the next one came; most of them came later.
    lost: u64,
    /// Packets that came again.
    retransmitted: u64,
    /// Packets that did not come within the latency, and are missing.
    dropped: u64,
    /// Share of the packets that were lost on their way, 0 to 1.
    loss: f64,
    /// Bits per second of late, retransmissions included.
    receive_bitrate: u64,
}

/// What the source's clock did since the publisher came.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct TimelineHealth {
    /// Jumps of the clock.
    jumps: u64,
    /// Holes.
    gaps: u64,
    /// Packets whose time was moved to keep order.
    clamped: u64,
    /// Packets left out: broken, out of order, before the first key frame.
    dropped: u64,
    /// How fast the source's clock runs against ours: positive when it is slow.
    drift_ppm: Option<f64>,
}

fn problem(description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    RefOr::T(ResponseBuilder::new().description(description).content("application/problem+json", content).build())
}

fn problems(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    list.iter().map(|(status, description)| ((*status).to_owned(), problem(description))).collect()
}

/// Answers to those who may not.
pub(super) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("401", "No token, or one that is unknown or revoked"),
            ("403", "The token's role does not allow it"),
            ("429", "Too many requests without a valid token; Retry-After says how long to wait"),
        ])
    }
}

/// The answer for an event that does not exist.
pub(super) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[("404", "No such event")])
    }
}

/// The answer to wrong parameters.
pub(super) struct Invalid;

impl IntoResponses for Invalid {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[("422", "A parameter is wrong; `errors` says which and how")])
    }
}

/// Answers to wrong bodies.
pub(super) struct BadBody;

impl IntoResponses for BadBody {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("400", "The body is no JSON"),
            ("408", "The body came too slowly"),
            ("413", "The body is too large"),
            ("415", "The body is not declared as JSON"),
            ("422", "Fields are wrong or unknown; `errors` says which and how"),
        ])
    }
}

/// Answers to those whose link does not open.
pub(super) struct LinkRefused;

impl IntoResponses for LinkRefused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("401", "No link or token where one is needed"),
            ("403", "The link was revoked, or the token's role does not allow it"),
            ("404", "No such link, event or session"),
            ("410", "The link has run out"),
            ("429", "Too many requests without a valid link; Retry-After says how long to wait"),
        ])
    }
}

/// The answer of rooms that are closed, or have nobody of that name.
pub(super) struct RoomClosed;

impl IntoResponses for RoomClosed {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[("409", "The rooms are closed, or nobody of that name is there by this link")])
    }
}

/// The answer when all streams are taken.
pub(super) struct Full;

impl IntoResponses for Full {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[("503", "Too many streams or sessions are open; Retry-After says when to try again")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The health that `ingest` reports is passed through as it is; this holds its description to it.
    #[test]
    fn the_described_health_is_the_one_that_ingest_reports() {
        let description = serde_json::to_value(document()).expect("JSON");
        let fields = |schema: &str| -> Vec<String> {
            let properties = &description["components"]["schemas"][schema]["properties"];
            properties.as_object().expect("properties").keys().cloned().collect()
        };
        let shown = |value: Value| -> Vec<String> { value.as_object().expect("object").keys().cloned().collect() };
        let health = crate::ingest::InputHealth::offline();
        let value = serde_json::to_value(&health).expect("JSON");
        assert_eq!(shown(value["timeline"].clone()), fields("TimelineHealth"));
        let srt = serde_json::to_value(crate::ingest::health::SrtHealth::default()).expect("JSON");
        assert_eq!(shown(srt), fields("SrtHealth"));
        assert_eq!(shown(value), fields("InputHealth"));
        let pull = crate::ingest::pull::Status::new(String::new(), crate::media::Ts::ZERO).health();
        assert_eq!(shown(serde_json::to_value(&pull).expect("JSON")), fields("PullHealth"));
    }
}
