//! What a track is made of: codec, format and its out-of-band configuration.

use bytes::Bytes;
use std::fmt;

/// Video codecs that an input may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264. `config` is an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1).
    H264,
    /// ITU-T H.265. `config` is an `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1).
    Hevc,
    /// AV1. `config` is an `AV1CodecConfigurationRecord` (AV1 in ISOBMFF §2.3.3).
    Av1,
}

/// Audio codecs that an input may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// MPEG-4 AAC, LC or HE. `config` is the `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1); packets are raw access units.
    Aac,
    /// Opus (RFC 6716). `config` is an `OpusHead` (RFC 7845 §5.1).
    Opus,
    /// MPEG-1/2 layer III; `config` is empty, each packet is one frame with its header.
    Mp3,
    /// AC-3 (ETSI TS 102 366); `config` is empty, each packet is one syncframe.
    Ac3,
}

/// A video track's format. Packets hold one access unit; H.264 and HEVC as NAL units with a 4-byte length
/// before each, without access unit delimiters and parameter sets (those stand in `config`); AV1 as
/// low-overhead OBUs without temporal delimiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFormat {
    /// The codec.
    pub codec: VideoCodec,
    /// The decoder configuration record of the codec.
    pub config: Bytes,
    /// Coded width after cropping, in pixels.
    pub width: u32,
    /// Coded height after cropping, in pixels.
    pub height: u32,
    /// Frames per second as a fraction, when the bitstream or its container says.
    pub frame_rate: Option<(u32, u32)>,
    /// How wide a sample is shown to how high, when the bitstream says and they differ: anamorphic pictures, such as
    /// 720×576 at 64:45. See [`VideoFormat::shown`].
    pub sample_aspect: Option<(u16, u16)>,
}

/// Rates above this are time bases that encoders write into the place of the rate.
const MOST_FPS: f64 = 121.0;

impl VideoFormat {
    /// [`VideoFormat::frame_rate`] where it can be one.
    pub fn rate(&self) -> Option<(u32, u32)> {
        self.frame_rate.filter(|&(n, d)| d > 0 && (1.0..MOST_FPS).contains(&(f64::from(n) / f64::from(d))))
    }

    /// Width and height in square pixels, the height as it is coded.
    pub fn shown(&self) -> (u32, u32) {
        let wide = self.sample_aspect.map_or(1.0, |(h, v)| f64::from(h) / f64::from(v.max(1)));
        ((f64::from(self.width) * wide).round() as u32, self.height)
    }
}

/// An audio track's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// The codec.
    pub codec: AudioCodec,
    /// The decoder configuration of the codec.
    pub config: Bytes,
    /// Output samples per second (for HE-AAC after spectral band replication).
    pub sample_rate: u32,
    /// Channels, 1 to 8.
    pub channels: u8,
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VideoCodec::H264 => "h264",
            VideoCodec::Hevc => "hevc",
            VideoCodec::Av1 => "av1",
        })
    }
}
impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "opus",
            AudioCodec::Mp3 => "mp3",
            AudioCodec::Ac3 => "ac3",
        })
    }
}
