//! Formats and protocols without IO: bytes in, values out, and back. Depends on `media` alone.

pub mod bitstream;
