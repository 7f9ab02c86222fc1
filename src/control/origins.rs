//! The other daemons that carry an event: what may be set of them, and what the pages may fetch because of it.

use super::problem::Problem;
use super::validate::Faults;
use crate::config::is_pathway;
use crate::store::{OtherOrigin, Settings};

/// Other origins of an event. Each stands in the multivariant playlist with every rendition.
const MAX_ORIGINS: usize = 4;
/// Bytes of an address.
const MAX_URL: usize = 2_000;

/// What is wrong with a list of other origins, whatever this one is called.
pub(super) fn check(origins: &[OtherOrigin], faults: &mut Faults) {
    if origins.len() > MAX_ORIGINS {
        faults.add("other_origins", format!("has {}; {MAX_ORIGINS} are the most", origins.len()));
        return;
    }
    for (i, origin) in origins.iter().enumerate() {
        let pathway = &origin.pathway;
        if !is_pathway(pathway) {
            let field = format!("other_origins[{i}].pathway");
            faults.add(field, "is not 1 to 32 of the characters a-z A-Z 0-9 . - _");
        } else if origins[..i].iter().any(|o| o.pathway == *pathway) {
            faults.add(format!("other_origins[{i}].pathway"), format!("{pathway} is there twice"));
        }
        if let Err(message) = check_url(&origin.hls_url) {
            faults.add(format!("other_origins[{i}].hls_url"), message);
        }
    }
}

/// Whether an other origin has this daemon's own name.
///
/// # Errors
/// 422 with the field.
pub(super) fn check_own(settings: &Settings, own: &str) -> Result<(), Problem> {
    match settings.other_origins.iter().position(|o| o.pathway == own) {
        None => Ok(()),
        Some(i) => {
            let message =
                format!("{own} is this server's own; give each daemon another [origin] pathway in its configuration");
            Err(Problem::field(format!("other_origins[{i}].pathway"), message))
        }
    }
}

/// An address that others are made from by replacing its last part: no query, nothing that ends an attribute of a playlist
/// or a directive of a policy.
fn check_url(url: &str) -> Result<(), String> {
    let refused = |b: u8| !b.is_ascii_graphic() || br#""'<>\^`{|}?#@;,"#.contains(&b);
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if url.len() > MAX_URL {
        return Err(format!("has {} bytes; {MAX_URL} are the most", url.len()));
    }
    if url.bytes().any(refused) {
        return Err("has a query, or characters that must be percent-encoded in an address".to_owned());
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest.and_then(|rest| rest.split_once('/')) {
        Some((at, path)) if !at.is_empty() && at.chars().all(host) && format!("/{path}").ends_with("/index.m3u8") => {
            Ok(())
        }
        _ => Err("is no `hls_url` of another server as `https://b.example.org/live/ID/index.m3u8`".to_owned()),
    }
}

/// The origins (`http://host:port`) that pages must be allowed to fetch from besides all of `https:`.
pub(super) fn plain_hosts(origins: &[OtherOrigin]) -> Vec<&str> {
    let host = |o: &'_ OtherOrigin| {
        let rest = o.hls_url.strip_prefix("http://")?;
        Some("http://".len() + rest.find('/')?)
    };
    let mut hosts: Vec<&str> = origins.iter().filter_map(|o| o.hls_url.get(..host(o)?)).collect();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(pathway: &str, url: &str) -> OtherOrigin {
        OtherOrigin { pathway: pathway.to_owned(), hls_url: url.to_owned() }
    }

    const URL: &str = "https://b.example/live/ID/index.m3u8";

    fn faults(origins: &[OtherOrigin]) -> usize {
        let mut faults = Faults::default();
        check(origins, &mut faults);
        faults.0.len()
    }

    #[test]
    fn origins_have_names_of_their_own_and_addresses_of_playlists() {
        let right = [origin("b", URL), origin("site-2.x", "http://[::1]:8080/prefix/live/ID/index.m3u8")];
        assert_eq!(faults(&right), 0);
        assert_eq!(plain_hosts(&right), ["http://[::1]:8080"]);
        for pathway in ["", "a b", "a\"b", "ä", &"x".repeat(33)] {
            assert_eq!(faults(&[origin(pathway, URL)]), 1, "{pathway}");
        }
        for url in [
            "",
            "index.m3u8",
            "/live/ID/index.m3u8",
            "ftp://b/live/ID/index.m3u8",
            "https:///index.m3u8",
            "https://u:p@b/live/ID/index.m3u8",
            "https://b/live/ID/index.m3u8?token=x",
            "https://b/live/ID/index.m3u8#x",
            "https://b/live/ID/manifest.mpd",
            "https://b/xindex.m3u8",
            "https://b/a\",URI=\"x/index.m3u8",
            "https://b /index.m3u8",
            "https://b;script-src/index.m3u8",
        ] {
            assert_eq!(faults(&[origin("b", url)]), 1, "{url}");
        }
        assert_eq!(faults(&[origin("b", URL), origin("b", URL)]), 1, "twice");
        assert_eq!(faults(&vec![origin("b", URL); 5]), 1, "too many");
        let settings = Settings { other_origins: vec![origin("b", URL)], ..Settings::default() };
        assert!(check_own(&settings, "a").is_ok() && check_own(&settings, "b").is_err());
    }

    proptest! {
        #[test]
        fn no_address_that_is_taken_leaves_its_attribute_or_directive(url in "https?://[ -~é\n]{0,30}/index.m3u8") {
            if check_url(&url).is_ok() {
                prop_assert!(!url.contains(['"', ' ', ';', ',', '\n', '?']), "{url}");
            }
            let _ = plain_hosts(&[origin("b", &url)]);
        }
    }
}
