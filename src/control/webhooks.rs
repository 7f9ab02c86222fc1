//! `/api/v1/webhooks`: who is told of what happens in events.

mod delivery;

pub(super) use delivery::Webhooks;

use super::api::Api;
use super::auth::Principal;
use super::extract::{JsonBody, no_event};
use super::notices::KINDS;
use super::openapi;
use super::problem::Problem;
use crate::net::{GuardError, OutgoingUrl};
use crate::store::{EventId, MAX_WEBHOOKS, NewWebhook, Secret, Webhook, WebhookMade};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use delivery::Figures;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// A webhook.
#[derive(Serialize, ToSchema)]
#[schema(title = "Webhook")]
pub(super) struct WebhookView {
    /// Names it, to delete it; no secret.
    id: String,
    /// The server that it leads to. The rest of the address is shown to nobody: it may be what opens that server.
    url: String,
    /// The event whose notices it gets; null: all events'.
    event: Option<String>,
    /// The types of the notices that it gets; empty: all.
    types: Vec<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// Notices that were taken, since the server was started; so are all counts.
    delivered: u64,
    /// Attempts that failed; most were made up for.
    failed_attempts: u64,
    /// Notices that were given up after the last attempt.
    given_up: u64,
    /// Notices that were left out because too many waited.
    dropped: u64,
    /// Notices that wait.
    waiting: usize,
    /// When the last one was taken.
    #[serde(with = "time::serde::rfc3339::option")]
    last_delivered_at: Option<OffsetDateTime>,
    /// When the last one was given up.
    #[serde(with = "time::serde::rfc3339::option")]
    last_given_up_at: Option<OffsetDateTime>,
    /// Why the last attempt failed; null when it did not.
    last_error: Option<String>,
    /// When the next attempt is made; null where none waits.
    #[serde(with = "time::serde::rfc3339::option")]
    next_attempt_at: Option<OffsetDateTime>,
}

impl WebhookView {
    fn new(webhook: &Webhook, figures: Figures) -> WebhookView {
        let url = OutgoingUrl::parse(webhook.url.expose()).ok();
        WebhookView {
            id: webhook.id.clone(),
            url: url.map_or_else(String::new, |url| format!("{}://{}", url.scheme(), url.authority(port_of(&url)))),
            event: webhook.event.as_ref().map(|e| e.as_str().to_owned()),
            types: webhook.types.clone(),
            created_at: webhook.created_at,
            delivered: figures.delivered,
            failed_attempts: figures.failed_attempts,
            given_up: figures.given_up,
            dropped: figures.dropped,
            waiting: figures.waiting,
            last_delivered_at: figures.last_delivered_at,
            last_given_up_at: figures.last_given_up_at,
            last_error: figures.last_error,
            next_attempt_at: figures.next_attempt_at,
        }
    }
}

/// A webhook that was made, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(title = "NewWebhook")]
pub(super) struct NewWebhookView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// What its notices are signed with. Shown this once.
    secret: String,
}

/// All webhooks.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookList {
    /// The webhooks, oldest first.
    items: Vec<WebhookView>,
    /// Always null: all are on one page.
    next: Option<String>,
}

/// A webhook that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookEdit {
    /// Where notices are sent: `https://…` or `http://…`, on a public address unless `[outgoing] allow_private` is set.
    url: String,
    /// The event whose notices it gets; left out or null: all events'.
    #[serde(default)]
    event: Option<String>,
    /// The types of the notices that it gets: `status`, `state`, `event`, `input`, `switch`, `booth`, `languages`; left out or
    /// empty: all.
    #[serde(default)]
    types: Vec<String>,
}

fn port_of(url: &OutgoingUrl) -> u16 {
    url.port_or(if url.scheme() == "https" { 443 } else { 80 })
}

impl WebhookEdit {
    async fn check(self, api: &Api) -> Result<NewWebhook, Problem> {
        let url = OutgoingUrl::parse(&self.url).map_err(|error| Problem::field("url", error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Problem::field("url", "begins neither with https:// nor with http://"));
        }
        // A name that nobody knows now may be known when there is something to tell.
        if let Err(error @ GuardError::Private { .. }) = api.webhooks().guard().resolve(url.host(), port_of(&url)).await
        {
            return Err(Problem::field("url", error.to_string()));
        }
        let mut types = self.types;
        for (i, kind) in types.iter().enumerate() {
            if !KINDS.contains(&kind.as_str()) {
                return Err(Problem::field(format!("types[{i}]"), format!("is none of {}", KINDS.join(", "))));
            }
        }
        types.sort_unstable();
        types.dedup();
        let event = match self.event {
            Some(id) => {
                Some(EventId::parse(&id).ok_or_else(|| Problem::field("event", "is no id of an event that there is"))?)
            }
            None => None,
        };
        Ok(NewWebhook { event, types, url: Secret::new(self.url) })
    }
}

/// Lists the webhooks and how they fare.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "All webhooks", body = WebhookList), openapi::Refused))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<WebhookList>, Problem> {
    let webhooks = api.store().webhooks().await?;
    let items = webhooks.iter().map(|w| WebhookView::new(w, api.webhooks().figures(&w.id))).collect();
    Ok(Json(WebhookList { items, next: None }))
}

/// Makes a webhook: each notice of the event streams is sent to its address by POST, as JSON with the `event` that it is of.
///
/// Notices are signed as [Standard Webhooks](https://www.standardwebhooks.com/) says: `webhook-id` names the notice,
/// `webhook-timestamp` is the time of the attempt in Unix seconds, `webhook-signature` is `v1,` and the base64 of the
/// HMAC-SHA256 over `{id}.{timestamp}.{body}`, its key being what the secret's base64 behind `whsec_` stands for. An answer of
/// 2xx takes the notice; after another one, or none within 15 s, it is sent again after 1 s, 5 s, 30 s, 2 min and 10 min, and
/// then given up. 410 gives it up at once. Notices keep their order; when 256 wait, the oldest is left out. What waits is lost
/// when the server ends.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = WebhookEdit,
    responses((status = 201, description = "The webhook with its secret", body = NewWebhookView),
        (status = 409, description = "There are too many webhooks", body = Problem, content_type = "application/problem+json"),
        openapi::Refused, openapi::NotFound, openapi::BadBody))]
pub(super) async fn create(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(edit): JsonBody<WebhookEdit>,
) -> Result<Response, Problem> {
    let new = edit.check(&api).await?;
    let webhook = match api.store().create_webhook(new, api.now()).await? {
        WebhookMade::Done(webhook) => webhook,
        WebhookMade::Full => {
            let detail = format!("There are {MAX_WEBHOOKS} webhooks; delete one first.");
            return Err(Problem::conflict("too-many-webhooks", "Too many webhooks", detail));
        }
        WebhookMade::Missing => return Err(no_event()),
    };
    api.webhooks().add(&webhook);
    tracing::info!(token = principal.token.id, webhook = webhook.id, "webhook made");
    let view = NewWebhookView {
        webhook: WebhookView::new(&webhook, Figures::default()),
        secret: webhook.secret.expose().to_owned(),
    };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    // The secret is for who asked, and for nobody's cache.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The webhook of a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct WebhookPath {
    /// The webhook's id.
    webhook: String,
}

/// Deletes a webhook; what waits for it is not sent any more.
#[utoipa::path(delete, path = "/api/v1/webhooks/{webhook}", tag = "webhooks", params(WebhookPath),
    responses((status = 204, description = "It is gone"),
        (status = 404, description = "No such webhook", body = Problem, content_type = "application/problem+json"),
        openapi::Refused))]
pub(super) async fn remove(
    State(api): State<Api>,
    principal: Principal,
    Path(path): Path<WebhookPath>,
) -> Result<StatusCode, Problem> {
    if !api.store().delete_webhook(&path.webhook).await? {
        return Err(Problem::not_found("webhook with this id"));
    }
    api.webhooks().remove(&path.webhook);
    tracing::info!(token = principal.token.id, webhook = path.webhook, "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}
