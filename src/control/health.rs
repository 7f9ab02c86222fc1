//! Whether the daemon is alive and ready, and Prometheus.

use super::api::Api;
use super::live::Check;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the daemon is up, and what of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `unavailable`.
    status: &'static str,
    /// What was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    checks: Vec<Check>,
}

/// Answers as long as the daemon runs.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()),
    responses((status = 200, description = "It runs", body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", checks: Vec::new() })
}

/// Tells whether every listener is up, the store answers and the daemon is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()),
    responses((status = 200, description = "Ready", body = Health), (status = 503, description = "Not ready", body = Health)))]
pub(super) async fn readyz(State(api): State<Api>) -> impl IntoResponse {
    let mut checks = api.live().readiness();
    checks.push(Check { name: "store".to_owned(), ok: api.store().ping().await.is_ok() });
    if checks.iter().all(|c| c.ok) {
        (StatusCode::OK, Json(Health { status: "ok", checks }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable", checks }))
    }
}

/// The router of the metrics listener: `/metrics` alone.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    let render = move || {
        let text = handle.render();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(render))
}
