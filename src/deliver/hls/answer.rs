//! Answers: headers, ranges, compression and bodies that share the origin's bytes.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, ORIGIN, RANGE, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::io::Write;
use std::ops::Range;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

/// `application/vnd.apple.mpegurl` (RFC 8216 §4).
pub const M3U8: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
/// `application/dash+xml` (ISO/IEC 23009-1 annex C).
pub const MPD: HeaderValue = HeaderValue::from_static("application/dash+xml");
/// `application/json`, of the steering manifest (RFC 8216bis §7.2).
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Segments and headers with a picture.
pub const VIDEO_MP4: HeaderValue = HeaderValue::from_static("video/mp4");
/// Segments and headers of sound.
pub const AUDIO_MP4: HeaderValue = HeaderValue::from_static("audio/mp4");

/// Texts shorter than this are sent as they are: the packet is not worth the player's work.
const LEAST_GZIP: usize = 512;

/// A playlist or manifest as it reads now: rendered once, compressed once, shared by all who ask.
#[derive(Debug)]
pub struct Text {
    plain: Bytes,
    gzip: OnceLock<Option<Bytes>>,
}

impl Text {
    /// From what a writer wrote.
    pub fn new(text: String) -> Text {
        Text { plain: Bytes::from(text), gzip: OnceLock::new() }
    }

    /// The text itself.
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// Compressed, where that makes it shorter.
    pub fn gzip(&self) -> Option<&Bytes> {
        self.gzip
            .get_or_init(|| {
                let mut encoder = flate2::write::GzEncoder::new(
                    Vec::with_capacity(self.plain.len() / 4 + 64),
                    flate2::Compression::new(GZIP_LEVEL),
                );
                // Writing to memory does not fail.
                encoder.write_all(&self.plain).ok()?;
                encoder.finish().ok().map(Bytes::from).filter(|z| z.len() < self.plain.len())
            })
            .as_ref()
            .filter(|_| self.plain.len() >= LEAST_GZIP)
    }
}

/// Playlists repeat themselves so much that more than this gains 2 % for three times the work.
const GZIP_LEVEL: u32 = 4;

/// Headers of an answer, so that the map is not made anew while they are set.
const HEADERS: usize = 8;

/// Whether the client takes gzip (RFC 9110 §12.5.3).
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
            matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
        })
    })
}

/// Which pages of other sites may read what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// All of them.
    Any,
    /// These origins (`https://example.org`), exactly.
    List(Vec<HeaderValue>),
}

impl Cors {
    /// From configured origins; `*` among them is all.
    ///
    /// # Errors
    /// The entry that is not an origin.
    pub fn new<S: AsRef<str>>(origins: &[S]) -> Result<Cors, String> {
        if origins.iter().any(|o| o.as_ref() == "*") {
            return Ok(Cors::Any);
        }
        let parse = |origin: &S| {
            let origin = origin.as_ref().trim_end_matches('/');
            let known = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            match known {
                Some(host) if !host.is_empty() && !host.contains('/') => {
                    HeaderValue::from_str(origin).map_err(|_| origin.to_owned())
                }
                _ => Err(origin.to_owned()),
            }
        };
        origins.iter().map(parse).collect::<Result<_, _>>().map(Cors::List)
    }

    /// Marks an answer to a request with `headers`.
    pub fn apply(&self, request: Option<&HeaderValue>, answer: &mut HeaderMap) {
        match self {
            Cors::Any => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Cors::List(origins) => {
                answer.append(VARY, HeaderValue::from_static("origin"));
                let Some(origin) = request.filter(|o| origins.contains(o)) else { return };
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("content-length, content-range, date"));
    }
}

/// The `Origin` of a request.
pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(ORIGIN)
}

/// The answer to a CORS preflight.
pub fn preflight() -> Response<Body> {
    let mut answer = empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("range"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    answer
}

/// Why a request is not answered with what it asked for. None of these is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing there, or nothing there for this client now: the two are not told apart.
    NotFound,
    /// Seen by others, but not by this client.
    Forbidden,
    /// A directive cannot be honoured; the text says which.
    BadRequest(&'static str),
    /// Held as long as a request is held.
    TimedOut,
    /// The disk did not give what it should hold.
    Unavailable,
    /// Not GET, HEAD or OPTIONS.
    Method,
    /// The range lies beyond the end; with the length of the whole.
    Range(u64),
}

impl Refused {
    /// For metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Refused::NotFound => "not_found",
            Refused::Forbidden => "forbidden",
            Refused::BadRequest(_) => "bad_request",
            Refused::TimedOut => "timeout",
            Refused::Unavailable => "unavailable",
            Refused::Method => "method",
            Refused::Range(_) => "range",
        }
    }

    /// The answer, an RFC 9457 problem.
    pub fn answer(self) -> Response<Body> {
        let (status, title, detail) = match self {
            Refused::NotFound => (404, "Not Found", "There is nothing at this address now."),
            Refused::Forbidden => (403, "Forbidden", "This address needs a valid viewing link."),
            Refused::BadRequest(detail) => (400, "Bad Request", detail),
            Refused::TimedOut => (503, "Service Unavailable", "The stream did not advance in time. Try again."),
            Refused::Unavailable => (503, "Service Unavailable", "The media could not be read. Try again."),
            Refused::Method => (405, "Method Not Allowed", "Use GET or HEAD."),
            Refused::Range(_) => (416, "Range Not Satisfiable", "The range lies beyond the end."),
        };
        let body = format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#);
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Refused::TimedOut | Refused::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Refused::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            }
            Refused::Range(total) => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{total}")) {
                    headers.insert(CONTENT_RANGE, value);
                }
            }
            _ => {}
        }
        answer
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// A text, compressed where the client takes it.
pub fn text(text: &Text, kind: HeaderValue, cache: HeaderValue, gzip: bool) -> (Response<Body>, u64) {
    let packed = if gzip { text.gzip() } else { None };
    let bytes = packed.unwrap_or(text.plain());
    let mut answer = Response::new(Body::from(bytes.clone()));
    let headers = answer.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if packed.is_some() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    (answer, bytes.len() as u64)
}

/// The bytes asked for out of `total`: a single range of RFC 9110 §14.1.2. None for the whole, also where the header
/// is not understood, asks for several ranges, or depends on a validator (`If-Range`), which these answers don't have.
///
/// # Errors
/// [`Refused::Range`].
pub fn range(headers: &HeaderMap, total: u64) -> Result<Option<Range<u64>>, Refused> {
    let Some(value) = headers.get(RANGE).and_then(|v| v.to_str().ok()) else { return Ok(None) };
    if headers.contains_key(IF_RANGE) {
        return Ok(None);
    }
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else {
        return Ok(None);
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(total),
        (Ok(first), Err(_)) if last.is_empty() => first..total,
        (Err(_), Ok(suffix)) if first.is_empty() => total.saturating_sub(suffix)..total,
        _ => return Ok(None),
    };
    if range.start >= range.end { Err(Refused::Range(total)) } else { Ok(Some(range)) }
}

/// The head of an answer with media, whole or a range of it.
pub fn media(
    body: Body,
    kind: HeaderValue,
    cache: HeaderValue,
    total: u64,
    range: Option<&Range<u64>>,
) -> (Response<Body>, u64) {
    let length = range.map_or(total, |r| r.end - r.start);
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{total}", range.start, range.end - 1);
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(CONTENT_RANGE, value);
        }
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    (answer, length)
}

/// `range` of the bytes that `pieces` make together, without copying any.
pub fn cut(pieces: impl IntoIterator<Item = Bytes>, range: Range<u64>) -> Pieces {
    let mut at = 0u64;
    let mut kept = Vec::new();
    for piece in pieces {
        let end = at + piece.len() as u64;
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            // Both are within the piece, whose length is a usize.
            kept.push(piece.slice((from - at) as usize..(to - at) as usize));
        }
        at = end;
    }
    let left = kept.iter().map(|p| p.len() as u64).sum();
    Pieces { pieces: kept.into_iter(), left }
}

/// A body of several pieces whose length is known. hyper writes them with one system call.
pub struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl Pieces {
    /// As a body; a single piece takes the shortest way.
    pub fn into_body(mut self) -> Body {
        match self.pieces.len() {
            0 => Body::empty(),
            1 => self.pieces.next().map_or_else(Body::empty, Body::from),
            _ => Body::new(self),
        }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, |p| p.len() as u64);
        Poll::Ready(piece.map(|p| Ok(Frame::data(p))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).expect("value"))].into_iter().collect()
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-9", Ok(Some(0..10))),
            ("bytes=90-200", Ok(Some(90..100))),
            ("bytes=99-", Ok(Some(99..100))),
            ("bytes=-10", Ok(Some(90..100))),
            ("bytes=-1000", Ok(Some(0..100))),
            ("bytes=100-", Err(Refused::Range(100))),
            ("bytes=-0", Err(Refused::Range(100))),
            ("bytes=9-8", Ok(None)),
            ("bytes=0-1,5-6", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("lines=0-1", Ok(None)),
            ("bytes=0-18446744073709551615", Ok(Some(0..100))),
        ] {
            assert_eq!(range(&headers(RANGE, text), 100), expected, "{text}");
        }
        let mut both = headers(RANGE, "bytes=0-9");
        both.insert(IF_RANGE, HeaderValue::from_static("\"x\""));
        assert_eq!(range(&both, 100), Ok(None));
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it_and_only_where_it_is_shorter() {
        for (value, takes) in
            [("gzip", true), ("br, gzip;q=0.5", true), ("*", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, value)), takes, "{value}");
        }
        let long = Text::new("#EXTINF:1.92,\n931000000.m4s\n".repeat(100));
        let packed = long.gzip().expect("long enough");
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).expect("gzip");
        assert_eq!(unpacked.as_bytes(), long.plain());
        assert!(Text::new("short".into()).gzip().is_none());
    }

    #[test]
    fn origins_are_checked() {
        assert_eq!(Cors::new(&["https://a.example", "*"]), Ok(Cors::Any));
        assert_eq!(Cors::new(&["a.example"]), Err("a.example".into()));
        assert_eq!(Cors::new(&["https://a.example/page"]), Err("https://a.example/page".into()));
        let cors = Cors::new(&["https://a.example/"]).expect("origin");
        let ask = |origin: &'static str| {
            let mut answer = HeaderMap::new();
            cors.apply(Some(&HeaderValue::from_static(origin)), &mut answer);
            assert_eq!(answer[VARY], "origin");
            answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(ask("https://a.example"), Some(HeaderValue::from_static("https://a.example")));
        assert_eq!(ask("https://b.example"), None);
    }

    proptest! {
        #[test]
        fn a_cut_is_what_the_joined_bytes_would_give(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            a in 0u64..100, b in 0u64..100,
        ) {
            let joined: Vec<u8> = pieces.concat();
            let range = a.min(b).min(joined.len() as u64)..a.max(b).min(joined.len() as u64);
            let cut = cut(pieces.into_iter().map(Bytes::from), range.clone());
            prop_assert_eq!(cut.left, range.end - range.start);
            let got: Vec<u8> = cut.pieces.flatten().collect();
            prop_assert_eq!(&got[..], &joined[range.start as usize..range.end as usize]);
        }
    }
}
