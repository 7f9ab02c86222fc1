//! Session descriptions (RFC 8866) as WebRTC peers offer them (RFC 9429, RFC 9725), and the answers to them.
//!
//! **Role.** [`Offer::parse`] reads what a peer offers into plain values; `rtc` decides; [`Answer`] writes the decision.
//! Nothing of the offer's text gets into an answer but tokens that were checked here (mids, formats, protocols).
//! **Bound.** [`MAX_SIZE`] bytes, [`MAX_LINES`] lines, [`MAX_MEDIA`] media sections; within them every list is bounded by
//! the size of the text.

mod answer;
mod fragment;
mod offer;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Candidate, Section, SentSource};
pub use fragment::Fragment;
pub use offer::{Codec, Direction, Kind, Media, Offer, Setup};

/// The longest session description that is read: Chrome with every codec stays below 10 KB.
pub const MAX_SIZE: usize = 64 << 10;

/// The most lines of one.
pub const MAX_LINES: usize = 4096;

/// The most media sections of one; a conference of browsers needs a dozen.
pub const MAX_MEDIA: usize = 16;

/// The longest token that is taken over (a mid, a protocol): RFC 8843 puts mids into RTP headers, where 16 fit.
const MAX_TOKEN: usize = 64;

/// Why a session description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_SIZE`], or with too many lines or media sections.
    #[error("the session description is too long: at most {MAX_SIZE} bytes, {MAX_LINES} lines, {MAX_MEDIA} media")]
    TooLong,
    /// A line that is none of RFC 8866.
    #[error("line {line} of the session description cannot be read: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Something that a WebRTC peer must offer is not there.
    #[error("the session description has {0}")]
    Missing(&'static str),
}

/// A token of RFC 8866 §9 of sensible length.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// `ice-char`s (RFC 8839 §5.4) of the permitted length.
fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}
