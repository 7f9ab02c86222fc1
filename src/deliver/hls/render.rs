//! Playlists as texts, with and without a place for a token.
//!
//! A text is rendered once for all who ask. For those who come with a token it is rendered once more with [`MARK`]
//! after every URI, and their own token is put in its place: a copy, not a rendering.

use crate::media::Dur;
use crate::package::{Window, playlist};
use crate::wire::m3u8::{Report, Suffix};
use bytes::Bytes;

/// Which playlist of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `media.m3u8`.
    Full,
    /// `media.m3u8` as a delta update.
    Delta,
    /// `iframes.m3u8`.
    IFrames,
}

/// What stands for `?name=token` in a text that is made for tokens.
const MARK: &str = "?preview=";

/// The end of every URI.
pub fn suffix(marked: bool) -> Suffix {
    if marked { Suffix::query("preview", "") } else { Suffix::none() }
}

/// What a playlist says of the other renditions.
pub struct Others {
    /// How far they are.
    pub reports: Vec<Report>,
    /// The largest PART-TARGET of all.
    pub part_target: Dur,
}

/// A playlist of a rendition from segment `from` on; none while there is nothing to list.
pub fn media(window: &Window, kind: Kind, from: u64, marked: bool, others: &Others) -> Option<String> {
    let suffix = suffix(marked);
    match kind {
        Kind::IFrames => playlist::iframes_from(window, from, &suffix),
        Kind::Full | Kind::Delta => {
            let skip = kind == Kind::Delta;
            playlist::media_from(window, from, &others.reports, others.part_target, &suffix, skip)
        }
    }
}

/// A marked text with this token. Name and token are URL-safe (see `address`).
pub fn with_token(text: &Bytes, name: &str, token: &str) -> String {
    // Texts are made by our writers, as strings.
    String::from_utf8_lossy(text).replace(MARK, &format!("?{name}={token}"))
}
