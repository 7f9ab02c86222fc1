//! What the tests stand on: processes, generated programmes with known content, and measurement of what came out.
//!
//! The helpers panic with what they saw; a test fails with the daemon's log beside it.

pub mod signal;

use std::path::PathBuf;

/// The ffmpeg of the system (Debian 12: 5.1).
pub fn ffmpeg() -> PathBuf {
    PathBuf::from("ffmpeg")
}
