//! Formats and protocols without IO: bytes in, values out, and back.
//!
//! Depends on `media` alone.

pub mod bitstream;
pub mod language;
pub mod m3u8;
pub mod mp4;
