//! Errors as `application/problem+json` (RFC 9457).

use crate::store::StoreError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// What was wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Its path: `languages[1].track`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The error of a request.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(title = "Problem", description = "An error as RFC 9457 has it.")]
pub struct Problem {
    /// Names the kind of problem: `urn:boothcast:problem:…`.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What was wrong and what to do.
    detail: String,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// What else the kind tells, as `allowed` of a refused status.
    #[serde(flatten)]
    #[schema(ignore)]
    more: Map<String, Value>,
    #[serde(skip)]
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
}

fn as_urn<S: serde::Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:boothcast:problem:{kind}"))
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem { kind, title, status, detail: detail.into(), errors: Vec::new(), more: Map::new(), header: None }
    }

    /// 404: no such thing.
    pub fn not_found(what: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", format!("There is no {what}."))
    }

    /// 422: fields at fault.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are wrong; each is listed in errors.", many.len()),
        };
        let problem =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", "Fields of the request are wrong", detail);
        Problem { errors, ..problem }
    }

    /// 422: one field at fault.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 409: not as things stand.
    pub fn conflict(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// 500: our fault. The log has the rest.
    pub fn internal() -> Problem {
        let detail = "The server failed; its log says why, under the request id of this answer.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the one header that goes with it.
    pub fn header(self, name: header::HeaderName, value: HeaderValue) -> Problem {
        Problem { header: Some(Box::new((name, value))), ..self }
    }

    /// What was wrong and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, header) = (self.status, self.header.clone());
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().extend(header.map(|h| *h));
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        tracing::error!(%error, "the store failed");
        metrics::counter!("boothcast_store_errors_total").increment(1);
        match error {
            StoreError::Busy(_) => {
                let detail = "The database is busy. Nothing was changed; try again.";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-busy", "The database is busy", detail)
                    .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
            }
            _ => Problem::internal(),
        }
    }
}
