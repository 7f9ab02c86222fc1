//! CMAF: initialisation segments and chunks (ISO/IEC 14496-12, ISO/IEC 23000-19).
//!
//! **Role.** Bytes from formats and samples; no state. [`init`] makes what EXT-X-MAP names, [`chunk`] makes what a part
//! holds. One track per file, always track 1. Times are the event's timeline in the track's [`timescale`].

mod chunk;
mod init;

pub use chunk::{Chunk, Sample, chunk};
pub use init::{InitError, init, read_init};

use crate::media::{Media, Track};

/// Ticks per second of video tracks: 24, 25, 30, 50, 60 frames per second and their halves are whole in it.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Ticks per second of a track: 90 000 for pictures, the sample rate for sound (Opus: always 48 000).
pub fn timescale(track: &Track) -> u32 {
    match &track.media {
        Media::Video(_) => VIDEO_TIMESCALE,
        Media::Audio(format) if format.codec == crate::media::AudioCodec::Opus => 48_000,
        Media::Audio(format) => format.sample_rate.max(1),
    }
}
