//! The API's description, `/api/v1/openapi.json`.
//!
//! Operations are described where their handlers are. The roles come from the router's own table, so that they cannot be
//! described otherwise than they are.

use super::api::{Access, table};
use super::problem::{FieldError, Problem};
use super::validate::{AppearanceEdit, EventEdit, InputEdit, InputsEdit};
use super::{events, health, inputs, live, state, stream, view};
use crate::store::{
    Appearance, Images, Ladder, Language, LanguageKind, Passthrough, Rung, Selection, ServiceMessage, Status,
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
        inputs::show, inputs::select, inputs::rotate_key, inputs::preview,
        stream::staff, state::serve,
        health::healthz, health::readyz, serve,
    ),
    components(schemas(
        Problem, FieldError, NewEvent, EventEdit, AppearanceEdit, InputsEdit, InputEdit, view::EventView, view::InputsView,
        view::InputView, view::EventList, events::StatusEdit, inputs::ActiveEdit, Inputs, InputHealth, VideoHealth,
        AudioHealth, TimelineHealth, Switch, state::StateView, Status, Language, LanguageKind, Ladder, Passthrough, Rung, Appearance, Images,
        ServiceMessage, Selection, health::Health, live::Check,
    )),
    tags(
        (name = "events", description = "Events and their status"),
        (name = "inputs", description = "Contribution"),
        (name = "viewers", description = "What viewers' pages ask for"),
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
    /// How the codec process is; null without one.
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
    /// Why.
    cause: String,
    /// How long nothing new came, as measured.
    gap_seconds: Option<f64>,
}

/// An input's health.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes, is never made")]
pub(super) struct InputHealth {
    /// `offline` (nobody publishes), `connected` (nothing has come yet), `live` or `stalled` (packets have stopped).
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
    /// What the source's clock did since the publisher came.
    timeline: Option<TimelineHealth>,
    /// What is wrong with it and what to do, in words.
    warnings: Vec<String>,
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
    /// Samples per second.
    sample_rate: u32,
    /// Channels.
    channels: u8,
    /// Measured bits per second.
    bitrate: u64,
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

/// The answer when all streams are taken.
pub(super) struct Full;

impl IntoResponses for Full {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[("503", "Too many streams are open")])
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
        assert_eq!(shown(value), fields("InputHealth"));
    }
}
