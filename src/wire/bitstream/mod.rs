//! Codec headers: what a decoder configuration says, how access units are framed, and the codecs string of it.
//!
//! **Role.** Every ingest reads these headers to describe its tracks; the packager reads them to write sample entries
//! and playlists. Pure functions over slices: nothing is kept, and what is allocated is bounded by the input's own size.
//! All input is untrusted: every read is checked, every count from the wire is compared with what its syntax allows.

pub mod aac;
pub mod ac3;
pub mod av1;
pub mod bits;
pub mod codecs;
pub mod h264;
pub mod hevc;
pub mod mp3;
pub mod nal;
pub mod opus;

pub use bits::BitReader;
pub use codecs::codecs;

/// Why a header could not be read. `what` names the syntax element, so that a capture can be searched for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside the element.
    #[error("{what} ends early")]
    Short {
        /// The structure or element.
        what: &'static str,
    },
    /// The element has a value that its specification does not allow, or that no sane stream has.
    #[error("{what} cannot be {value}")]
    Invalid {
        /// The structure or element.
        what: &'static str,
        /// The value found.
        value: u64,
    },
}

/// The result of reading a header.
pub type Result<T> = std::result::Result<T, Error>;

/// Pictures larger than this on a side are refused: 16384 is the largest that any level of H.264, HEVC or AV1 in use admits,
/// and a hostile header must not make a decoder reserve gigabytes.
pub const MAX_DIMENSION: u32 = 16_384;

/// Frame rates outside 1…300 are noise in a header, not rates.
const MAX_FRAME_RATE: u64 = 300;

/// `scale / ticks` frames per second in lowest terms, or none where a header holds nonsense.
pub(crate) fn frame_rate(scale: u64, ticks: u64) -> Option<(u32, u32)> {
    if ticks == 0 || scale < ticks || scale / ticks > MAX_FRAME_RATE {
        return None;
    }
    let (mut a, mut b) = (scale, ticks);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some((u32::try_from(scale / a).ok()?, u32::try_from(ticks / a).ok()?))
}

pub(crate) fn dimensions(width: u32, height: u32) -> Result<(u32, u32)> {
    for (what, side) in [("picture width", width), ("picture height", height)] {
        if side == 0 || side > MAX_DIMENSION {
            return Err(Error::Invalid { what, value: side.into() });
        }
    }
    Ok((width, height))
}

#[cfg(test)]
pub(crate) mod fixtures;
