//! Formats and protocols without IO: bytes in, values out, and back.
//!
//! Depends on `media` alone.

pub mod bitstream;
pub mod language;
pub mod mp4;
