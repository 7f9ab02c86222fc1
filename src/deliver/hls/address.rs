//! What a request under `/live/` asks for: pure parsing of path and query.
//!
//! Names are checked against a strict alphabet before anything is looked up, and numbers must be written in the one
//! way that playlists write them, so that no spelling of a path reaches a file or splits a cache.

/// Longest event id or rendition name. Ids have 22 characters, the longest language tags about 35.
pub const MAX_NAME: usize = 64;
/// Longest token in a query: a signed URL's.
pub const MAX_TOKEN: usize = 512;

/// Name of the steering manifest.
pub const STEERING: &str = "steering.json";

/// Whether `name` may be an event id or a rendition name: letters, digits, `-` and `_`.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A resource of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `index.m3u8`, the multivariant playlist.
    Index,
    /// `manifest.mpd`.
    Manifest,
    /// `steering.json`, the steering manifest.
    Steering,
    /// Something of a rendition.
    Rendition(&'a str, Item),
}

/// A resource of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// `media.m3u8`.
    Media,
    /// `iframes.m3u8`.
    IFrames,
    /// `init-{version}.mp4`.
    Init(u32),
    /// `{segment}.m4s`.
    Segment(u64),
    /// `{segment}.{part}.m4s`.
    Part(u64, u32),
}

/// A decimal number without sign or leading zeros.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let canonical = text == "0" || (!text.starts_with('0') && !text.is_empty());
    if canonical && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Event and resource of a path that begins with `/live/`.
pub fn parse(path: &str) -> Option<(&str, Resource<'_>)> {
    let (event, rest) = path.strip_prefix("/live/")?.split_once('/')?;
    if !is_name(event) {
        return None;
    }
    let resource = match rest {
        "index.m3u8" => Resource::Index,
        "manifest.mpd" => Resource::Manifest,
        STEERING => Resource::Steering,
        rest => {
            let (rendition, file) = rest.split_once('/')?;
            if !is_name(rendition) {
                return None;
            }
            Resource::Rendition(rendition, item(file)?)
        }
    };
    Some((event, resource))
}

fn item(file: &str) -> Option<Item> {
    if let Some(stem) = file.strip_suffix(".m4s") {
        return match stem.split_once('.') {
            None => number(stem).map(Item::Segment),
            Some((segment, part)) => Some(Item::Part(number(segment)?, number(part)?)),
        };
    }
    match file {
        "media.m3u8" => Some(Item::Media),
        "iframes.m3u8" => Some(Item::IFrames),
        file => number(file.strip_prefix("init-")?.strip_suffix(".mp4")?).map(Item::Init),
    }
}

/// The delivery directives of a request (RFC 8216bis §6.2.5) and its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// `_HLS_msn`.
    pub msn: Option<u64>,
    /// `_HLS_part`.
    pub part: Option<u32>,
    /// `_HLS_skip` is `YES` or `v2`.
    pub skip: bool,
    /// `preview` or `token`: the name that was used, and the token.
    pub token: Option<(&'static str, &'a str)>,
}

/// A query that cannot be honoured: answer 400 with this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A directive is not a number.
    #[error("_HLS_msn and _HLS_part take a decimal number")]
    NotANumber,
    /// RFC 8216bis §6.2.5.2: a part alone says nothing.
    #[error("_HLS_part needs _HLS_msn")]
    PartWithoutSegment,
    /// A token is too long, or holds what must not be written into a playlist.
    #[error("a token has at most 512 characters out of A-Z a-z 0-9 . _ ~ -")]
    Token,
}

/// Reads the query. `_HLS_push`, `_HLS_report` and whatever else is there is ignored.
///
/// # Errors
/// [`BadQuery`].
pub fn query(text: Option<&str>) -> Result<Query<'_>, BadQuery> {
    let mut query = Query::default();
    for pair in text.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "_HLS_msn" => query.msn = Some(value.parse().map_err(|_| BadQuery::NotANumber)?),
            "_HLS_part" => query.part = Some(value.parse().map_err(|_| BadQuery::NotANumber)?),
            "_HLS_skip" => query.skip = matches!(value, "YES" | "v2"),
            "preview" => query.token = Some(("preview", token(value)?)),
            "token" => query.token = Some(("token", token(value)?)),
            _ => {}
        }
    }
    if query.part.is_some() && query.msn.is_none() {
        return Err(BadQuery::PartWithoutSegment);
    }
    Ok(query)
}

fn token(value: &str) -> Result<&str, BadQuery> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    if value.len() <= MAX_TOKEN && value.bytes().all(plain) { Ok(value) } else { Err(BadQuery::Token) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_addresses_of_the_api_are_known() {
        let of = |item| Some(("ev1", Resource::Rendition("1080p", item)));
        for (path, expected) in [
            ("/live/ev1/index.m3u8", Some(("ev1", Resource::Index))),
            ("/live/ev1/manifest.mpd", Some(("ev1", Resource::Manifest))),
            ("/live/ev1/steering.json", Some(("ev1", Resource::Steering))),
            ("/live/ev1/1080p/media.m3u8", of(Item::Media)),
            ("/live/ev1/1080p/iframes.m3u8", of(Item::IFrames)),
            ("/live/ev1/1080p/init-0.mp4", of(Item::Init(0))),
            ("/live/ev1/1080p/931000000.m4s", of(Item::Segment(931_000_000))),
            ("/live/ev1/1080p/931000000.5.m4s", of(Item::Part(931_000_000, 5))),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn no_other_spelling_is() {
        for path in [
            "/live/ev1",
            "/live/ev1/",
            "/live//index.m3u8",
            "/live/ev1/index.m3u8/",
            "/live/ev1//media.m3u8",
            "/live/ev1/../ev2/index.m3u8",
            "/live/../etc/passwd",
            "/live/ev1/1080p/../source/media.m3u8",
            "/live/ev1/%2e%2e/media.m3u8",
            "/live/ev1/1080p/..%2f..%2fstate.m4s",
            "/live/ev1/1080p/+1.m4s",
            "/live/ev1/1080p/-1.m4s",
            "/live/ev1/1080p/01.m4s",
            "/live/ev1/1080p/1.m4s.m4s",
            "/live/ev1/1080p/1..m4s",
            "/live/ev1/1080p/1.2.3.m4s",
            "/live/ev1/1080p/99999999999999999999999.m4s",
            "/live/ev1/1080p/init-.mp4",
            "/live/ev1/1080p/init-00.mp4",
            "/live/ev1/1080p/index.jsonl",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn directives_are_read_and_bad_ones_named() {
        let q = query(Some("_HLS_msn=12&_HLS_part=3&_HLS_skip=YES&_HLS_push=1&preview=a.B_c~1-")).expect("good");
        assert_eq!(q, Query { msn: Some(12), part: Some(3), skip: true, token: Some(("preview", "a.B_c~1-")) });
        assert_eq!(query(None), Ok(Query::default()));
        assert_eq!(query(Some("_HLS_skip=NO")), Ok(Query::default()));
        assert_eq!(query(Some("_HLS_part=1")), Err(BadQuery::PartWithoutSegment));
        assert_eq!(query(Some("_HLS_msn=-1")), Err(BadQuery::NotANumber));
        assert_eq!(query(Some("_HLS_msn=99999999999999999999")), Err(BadQuery::NotANumber));
        for bad in ["\"", "%0a", "a\nb", "a b", &"x".repeat(513)] {
            assert_eq!(query(Some(&format!("preview={bad}"))), Err(BadQuery::Token), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_has_safe_names(path in "/live/[a-z./%0-9-]{0,40}", text in ".{0,80}") {
            if let Some((event, resource)) = parse(&path) {
                prop_assert!(is_name(event));
                if let Resource::Rendition(name, _) = resource {
                    prop_assert!(is_name(name));
                }
            }
            let _ = query(Some(&text));
        }
    }
}
