//! The pages, built by npm from `web/` and embedded into the binary.
//!
//! A page is the same for every event; what it shows comes from `/api/v1/events/{id}/state` and the media. Names of assets hold a hash of
//! their content, so they are cached for good; pages and `player.js` are asked for again each time and mostly
//! answered with 304.
//! **Bound.** Each asset is compressed once and kept, [`MAX_COMPRESSED`] of them.

use super::api::Api;
use super::extract::EventPath;
use super::origins;
use super::problem::Problem;
use super::rooms::link::{BoothLink, ParticipantLink, TestLink};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::{EmbeddedFile, RustEmbed};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Bundle;

/// Compressed files that are kept: more than the bundle has. Only a development build, which reads files anew, can come near.
const MAX_COMPRESSED: usize = 512;
/// Files below this are sent as they are: the header would be larger than what is saved.
const MIN_COMPRESSED: usize = 1_000;

/// Pages that nobody may frame: theirs are the keyboard and the mouse.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data: blob:; \
font-src 'self'; connect-src 'self' https:; media-src 'self' https: blob: data:; worker-src 'self' blob:; manifest-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
/// The player, which is there to be framed.
const EMBED_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data: blob:; \
font-src 'self'; connect-src 'self' https:; media-src 'self' https: blob: data:; worker-src 'self' blob:; \
base-uri 'none'; form-action 'none'; frame-ancestors *";

/// Rooms: as pages, and nobody may frame them at all. WebSockets of this server are `'self'` (CSP 3 §6.7.2.8), which older
/// browsers do not know.
const ROOM_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
font-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: data:; worker-src 'self' blob:; manifest-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What rooms may use: sound in and out, and a screen that stays on.
const ROOM_PERMISSIONS: &str =
    "microphone=(self), speaker-selection=(self), autoplay=(self), screen-wake-lock=(self), camera=(), geolocation=()";
/// What the other rooms may use.
const LISTENER_PERMISSIONS: &str =
    "microphone=(), speaker-selection=(self), autoplay=(self), screen-wake-lock=(self), camera=(), geolocation=()";

/// Compressed files by the hash of their content.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<[u8; 32], Bytes>>);

impl Cache {
    /// The file compressed, from here or made now: some 20 ms for the largest one, once.
    fn gzip(&self, hash: [u8; 32], plain: &[u8]) -> Option<Bytes> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().get(&hash) {
            return Some(found.clone());
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::best());
        encoder.write_all(plain).ok()?;
        let made = Bytes::from(encoder.finish().ok()?);
        let mut cache = kept();
        if cache.len() < MAX_COMPRESSED {
            cache.insert(hash, made.clone());
        }
        Some(made)
    }
}

/// `/`: what this server is, and where to go.
pub(super) async fn index(State(api): State<Api>, headers: HeaderMap) -> Response {
    page(&api, "index.html", PAGE_POLICY, StatusCode::OK, &headers)
}

/// `/watch/{id}`: the viewer page.
pub(super) async fn watch(
    State(api): State<Api>,
    id: Result<EventPath, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    event_page(&api, "watch.html", PAGE_POLICY, id, &headers).await
}

/// `/embed/{id}`: the player for an iframe.
pub(super) async fn embed(
    State(api): State<Api>,
    id: Result<EventPath, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    event_page(&api, "embed.html", EMBED_POLICY, id, &headers).await
}

/// `/booth/{secret}`: the interpreters' page.
pub(super) async fn booth(State(api): State<Api>, link: Result<BoothLink, Problem>, headers: HeaderMap) -> Response {
    room(&api, "booth.html", ROOM_PERMISSIONS, link.and_then(|l| l.0.check()).err(), &headers)
}

/// `/participant/{secret}`: the page of realtime participants.
pub(super) async fn participant(
    State(api): State<Api>,
    link: Result<ParticipantLink, Problem>,
    headers: HeaderMap,
) -> Response {
    room(&api, "participant.html", LISTENER_PERMISSIONS, link.and_then(|l| l.0.check()).err(), &headers)
}

/// `/test/{secret}`: the connection test.
pub(super) async fn test(State(api): State<Api>, link: Result<TestLink, Problem>, headers: HeaderMap) -> Response {
    room(&api, "test.html", ROOM_PERMISSIONS, link.and_then(|l| l.0.check()).err(), &headers)
}

/// `/manage/{id}`: the management room. Without a link the page asks for an API token.
pub(super) async fn manage(
    State(api): State<Api>,
    id: Result<EventPath, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let known = match id {
        Ok(EventPath(id)) => api.store().event(&id).await?.is_some(),
        Err(_) => false,
    };
    let refusal = (!known).then(super::extract::no_event);
    Ok(room(&api, "manage.html", LISTENER_PERMISSIONS, refusal, &headers))
}

/// A room's page. It tells people itself why a link does not open; the status tells everyone else. Its address is a secret:
/// it goes to nobody as referrer, and the page into no cache.
fn room(api: &Api, file: &str, permissions: &'static str, refusal: Option<Problem>, headers: &HeaderMap) -> Response {
    let status = refusal.as_ref().map_or(StatusCode::OK, Problem::status);
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return refusal.unwrap_or_else(Problem::internal).into_response();
    }
    let mut response = page(api, file, ROOM_POLICY, status, headers);
    let answer = response.headers_mut();
    answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.remove(header::ETAG);
    answer.insert(header::HeaderName::from_static("permissions-policy"), HeaderValue::from_static(permissions));
    answer.insert(header::HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    response
}

/// The page itself tells viewers that an event does not exist; the status tells everyone else.
async fn event_page(
    api: &Api,
    file: &str,
    policy: &'static str,
    id: Result<EventPath, Problem>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let event = match id {
        Ok(EventPath(id)) => api.store().event(&id).await?,
        Err(_) => None,
    };
    let status = if event.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = page(api, file, policy, status, headers);
    // Other origins of the event are fetched from: those over HTTPS by the policy as it is, others by their names.
    let hosts = event.iter().flat_map(|e| origins::plain_hosts(&e.settings.other_origins));
    let hosts = hosts.fold(String::new(), |all, host| all + " " + host);
    if !hosts.is_empty() && response.headers().contains_key(header::CONTENT_SECURITY_POLICY) {
        let policy = ["connect-src", "media-src"].iter().fold(policy.to_owned(), |policy, directive| {
            policy.replace(&format!("{directive} 'self' https:"), &format!("{directive} 'self' https:{hosts}"))
        });
        let policy = HeaderValue::from_str(&policy).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

fn page(api: &Api, file: &str, policy: &'static str, status: StatusCode, headers: &HeaderMap) -> Response {
    let Some(found) = Bundle::get(file) else {
        let detail = "This binary was built without its pages; build web/ with npm and then the binary. The API works.";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-pages", "Built without pages", detail)
            .into_response();
    };
    let mut response = send(api, file, found, "no-cache", headers);
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    response
}

/// `/assets/…`: what pages are made of.
pub(super) async fn asset(
    State(api): State<Api>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The build is flat. A build for development reads from the disk, where anything else could lead out of it.
    if path.contains(['/', '\\']) {
        return Err(Problem::not_found("such file"));
    }
    let path = format!("assets/{path}");
    let file = Bundle::get(&path).ok_or_else(|| Problem::not_found("such file"))?;
    Ok(send(&api, &path, file, "public, max-age=31536000, immutable", &headers))
}

/// `/player.js`: the JavaScript API, for pages anywhere.
pub(super) async fn player(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let file = Bundle::get("player.js").ok_or_else(|| Problem::not_found("such file"))?;
    let mut response = send(&api, "player.js", file, "public, no-cache", &headers);
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let policy = header::HeaderName::from_static("cross-origin-resource-policy");
    answer.insert(policy, HeaderValue::from_static("cross-origin"));
    Ok(response)
}

fn send(api: &Api, path: &str, file: EmbeddedFile, cache: &'static str, headers: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let plain = match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let text = kind.type_() == mime_guess::mime::TEXT
        || matches!(kind.subtype().as_str(), "javascript" | "json" | "svg" | "wasm");
    let compressible = text && plain.len() >= MIN_COMPRESSED;
    let compressed = if compressible && takes_gzip(headers) { api.pages().gzip(hash, &plain) } else { None };
    // Two forms of a file are two representations (RFC 9110 §8.8.3.3).
    let tag: String = hash[..12].iter().map(|b| format!("{b:02x}")).collect();
    let tag = if compressed.is_some() { format!("\"{tag}-gz\"") } else { format!("\"{tag}\"") };
    let known =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let unchanged = known.map(str::trim).any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag);
    let encoded = compressed.is_some();
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(compressed.unwrap_or(plain)))
    };
    let answer = response.headers_mut();
    if !unchanged {
        let kind = if text { format!("{kind}; charset=utf-8") } else { kind.to_string() };
        answer.extend(HeaderValue::try_from(kind).map(|k| (header::CONTENT_TYPE, k)));
        if encoded {
            answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    answer.extend(HeaderValue::try_from(tag).map(|t| (header::ETAG, t)));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if compressible {
        answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Whether the client takes gzip (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let refused = parts.any(|p| p.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0));
        (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("*"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("") && !takes("identity, gzip; q=0.0"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_file_is_compressed_once() {
        let cache = Cache::default();
        let plain = b"boothcast ".repeat(1000);
        let first = cache.gzip([1; 32], &plain).expect("compressed");
        assert!(first.len() < plain.len() / 10);
        let again = cache.gzip([1; 32], b"not looked at").expect("kept");
        assert_eq!(first.as_ptr(), again.as_ptr());
        let mut read = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&first[..]), &mut read).expect("decompresses");
        assert_eq!(read, plain);
    }
}
