//! Formats and protocols without IO: bytes in, values out, and back. Depends on `media` alone.

pub mod amf0;
pub mod bitstream;
pub mod flv;
pub mod language;
pub mod m3u8;
pub mod mp4;
pub mod mpd;
pub mod mpegts;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod stun;
