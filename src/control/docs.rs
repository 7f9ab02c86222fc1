//! `/api/docs`: the API's description for people, drawn by a small script from `/api/v1/openapi.json`. Nothing comes from
//! elsewhere, so it works without the internet and under a strict content security policy.

use super::problem::Problem;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("docs/docs.html")).into_response()
}

/// Its script and its style.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match name.as_str() {
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("docs/docs.js")),
        "docs.css" => ("text/css; charset=utf-8", include_str!("docs/docs.css")),
        _ => return Err(Problem::not_found("such file")),
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response())
}
