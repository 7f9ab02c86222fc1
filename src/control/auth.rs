//! Who may do what.
//!
//! Every route of [`super::api`]'s table names the least role that it needs, and nothing reaches a handler past
//! [`require`]. A token is looked up in the store with each request, so that one made or revoked by the command line
//! counts at once. Requests that fail to show one are limited per client; those that show one never are, so that a
//! stranger behind the same address locks nobody out.

use super::api::Api;
use super::links;
use super::problem::Problem;
use crate::net::peer_group;
use crate::store::{FirstToken, Role, Secret, Store, StoreError, Token};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use time::OffsetDateTime;

/// Failures that a client may make at once: a console with a stale token has some requests under way.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Failures that it may make in a second after that.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("not zero");
/// Clients remembered. When more than that fail within 20 s, those beyond are refused until the others are forgotten.
const MAX_CLIENTS: usize = 65_536;
/// The longest token: what the environment may set, with room to spare.
const MAX_TOKEN: usize = 512;

/// The shortest token that the environment may set. Those made here have 44 characters.
const MIN_TOKEN: usize = 8;

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// The environment's token cannot be one. Its value is not shown.
    #[error(
        "BOOTHCAST_ADMIN_TOKEN has {0} characters or a blank; write {MIN_TOKEN} to {MAX_TOKEN} characters without blanks"
    )]
    Unusable(usize),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Sees to it at start that an admin can get in: with the token that `BOOTHCAST_ADMIN_TOKEN` sets, else, where no token
/// exists yet, with a new one, which is returned to be printed this once.
///
/// # Errors
/// When the environment's token cannot be one, or the store fails.
pub async fn admin_token(
    store: &Store,
    environment: Option<String>,
    now: OffsetDateTime,
) -> Result<Option<Secret>, AdminTokenError> {
    let environment = environment.filter(|text| !text.is_empty());
    if let Some(text) = &environment
        && (!(MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(AdminTokenError::Unusable(text.chars().count()));
    }
    match store.first_token(environment.map(Secret::new).as_ref(), now).await? {
        FirstToken::Made(secret) => Ok(Some(secret)),
        FirstToken::FromEnvironment | FirstToken::Present => Ok(None),
    }
}

/// Who a request comes from, once [`require`] has let it through.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    /// The token that it showed.
    pub token: Token,
}

impl Principal {
    /// Whether it has `role` or one above it.
    pub fn may(&self, role: Role) -> bool {
        self.token.role >= role
    }
}

impl FromRequestParts<Api> for Principal {
    type Rejection = Problem;

    /// Fails, with an error that is ours, on a route whose table entry asks for no role.
    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Principal, Problem> {
        parts.extensions.get::<Principal>().cloned().ok_or_else(Problem::internal)
    }
}

/// Counts failures per client: an IPv4 address or an IPv6 /64.
pub(super) struct Failures {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Failures {
    pub fn new() -> Failures {
        Failures {
            limiter: RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST)),
            clock: DefaultClock::default(),
        }
    }

    /// Notes a failure; seconds to wait when there were too many.
    fn note(&self, client: IpAddr) -> Result<(), u64> {
        if self.limiter.len() >= MAX_CLIENTS {
            self.limiter.retain_recent();
            if self.limiter.len() >= MAX_CLIENTS {
                return Err(u64::from(BURST.get()));
            }
        }
        self.limiter
            .check_key(&peer_group(client))
            .map_err(|until| until.wait_time_from(self.clock.now()).as_secs().saturating_add(1))
    }

    /// Forgets clients that have been good since.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
    }
}

/// Lets a request pass whose token has `role` or one above it.
pub(super) async fn require(State((api, role)): State<(Api, Role)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let token = match bearer(&parts.headers) {
        Some(secret) => match api.store().token(secret).await {
            Ok(token) => token,
            Err(error) => return Problem::from(error).into_response(),
        },
        None => None,
    };
    let Some(token) = token else { return refused(&api, &parts).into_response() };
    let principal = Principal { token };
    if !principal.may(role) {
        let detail = format!("This needs a token with the role {role} or above; yours is {}.", principal.token.role);
        return Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail).into_response();
    }
    parts.extensions.insert(principal);
    next.run(Request::from_parts(parts, body)).await
}

/// Counts somebody who did not show what was needed.
///
/// # Errors
/// 429 when there were too many of them from the same client.
pub(super) fn note_failure(api: &Api, parts: &Parts, needed: &str) -> Result<(), Problem> {
    metrics::counter!("boothcast_authentication_failures_total").increment(1);
    // Without a connection (a test) all are one client.
    let peer = links::peer(parts).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |p| p.ip());
    let client = links::client(peer, &parts.headers, &api.public().trusted_proxies);
    api.failures().note(client).map_err(|seconds| {
        let detail = format!("Too many requests without {needed} from your address; wait {seconds} s.");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", "Too many requests", detail)
            .header(header::RETRY_AFTER, HeaderValue::from(seconds))
    })
}

fn refused(api: &Api, parts: &Parts) -> Problem {
    if let Err(problem) = note_failure(api, parts, "a valid token") {
        return problem;
    }
    let shown = parts.headers.contains_key(header::AUTHORIZATION);
    let (detail, challenge) = if shown {
        ("The token is unknown or revoked.", r#"Bearer realm="boothcast", error="invalid_token""#)
    } else {
        (
            "Send a token as `Authorization: Bearer TOKEN`; `boothcast token create` makes one.",
            r#"Bearer realm="boothcast""#,
        )
    };
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not logged in", detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_TOKEN).contains(&token.len())).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_strictly() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("header"));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(read(&["bearer  abc "]).as_deref(), Some("abc"));
        for wrong in [&["Basic abc"][..], &["Bearer "], &["Bearer"], &["abc"], &[""], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(read(&[&format!("Bearer {}", "x".repeat(MAX_TOKEN + 1))]), None);
    }

    #[tokio::test]
    async fn the_environments_token_is_checked_and_never_shown() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).await.expect("opens");
        let now = OffsetDateTime::UNIX_EPOCH;
        for wrong in ["short", "has a blank in it", "ünicode-token", &"x".repeat(MAX_TOKEN + 1)] {
            let error = admin_token(&store, Some(wrong.into()), now).await.expect_err("refused").to_string();
            assert!(error.contains("BOOTHCAST_ADMIN_TOKEN") && !error.contains(wrong), "{error}");
        }
        assert!(store.tokens().await.expect("reads").is_empty());
        let made =
            admin_token(&store, Some(String::new()), now).await.expect("answers").expect("as if it were not set");
        assert_eq!(store.token(made.expose()).await.expect("reads").map(|t| t.role), Some(Role::Admin));
        assert!(admin_token(&store, None, now).await.expect("answers").is_none());
        assert!(admin_token(&store, Some("good-enough".into()), now).await.expect("answers").is_none());
        assert!(store.token("good-enough").await.expect("reads").is_some());
    }

    #[test]
    fn failures_are_limited_per_client() {
        let failures = Failures::new();
        let ip = |s: &str| s.parse::<IpAddr>().expect("address");
        for i in 0..BURST.get() {
            assert!(failures.note(ip("2001:db8::1")).is_ok(), "{i}");
        }
        assert!(matches!(failures.note(ip("2001:db8::2")), Err(1..=2)), "the same /64");
        assert!(failures.note(ip("2001:db8:0:1::1")).is_ok(), "another /64");
        assert!(failures.note(ip("192.0.2.1")).is_ok());
    }
}
