//! Codecs strings (RFC 6381 §3.3 and the bindings of each codec): the one place that writes them.

use super::{Result, aac::AacConfig, av1::Av1Config, h264::AvcConfig, hevc::HevcConfig};
use crate::media::{AudioCodec, Media, VideoCodec};

/// The codecs string of a track, as CODECS in a playlist, `codecs` in a manifest and MSE want it. Video names the sample entry with
/// parameter sets out of band (`avc1`, `hvc1`, `av01`), which is what the packager writes.
///
/// # Errors
/// When the track's configuration cannot be read.
pub fn codecs(media: &Media) -> Result<String> {
    match media {
        Media::Video(v) => match v.codec {
            VideoCodec::H264 => Ok(avc(&AvcConfig::parse(&v.config)?)),
            VideoCodec::Hevc => Ok(hevc(&HevcConfig::parse(&v.config)?)),
            VideoCodec::Av1 => Ok(av1(&Av1Config::parse(&v.config)?)),
        },
        Media::Audio(a) => match a.codec {
            AudioCodec::Aac => Ok(aac(&AacConfig::parse(&a.config)?)),
            // The object type of layer III in MPEG-4 (ISO/IEC 14496-3 table 1.17).
            AudioCodec::Mp3 => Ok("mp4a.40.34".into()),
            AudioCodec::Opus => Ok("Opus".into()),
            AudioCodec::Ac3 => Ok("ac-3".into()),
        },
    }
}

/// `avc1.PPCCLL` (ISO/IEC 14496-15 annex E.3).
pub fn avc(config: &AvcConfig) -> String {
    format!("avc1.{:02x}{:02x}{:02x}", config.profile, config.compatibility, config.level)
}

/// `hvc1.…` (ISO/IEC 14496-15 annex E.3): profile, reversed compatibility flags, tier and level, constraint bytes without
/// trailing zeros.
pub fn hevc(config: &HevcConfig) -> String {
    let p = &config.profile;
    let space = ["", "A", "B", "C"][usize::from(p.space & 3)];
    let tier = if p.high_tier { 'H' } else { 'L' };
    let mut out = format!("hvc1.{space}{}.{:x}.{tier}{}", p.profile, p.compatibility.reverse_bits(), p.level);
    let used = p.constraints.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
    for byte in &p.constraints[..used] {
        out.push_str(&format!(".{byte:x}"));
    }
    out
}

/// `av01.P.LLT.DD` (AV1 Codec ISO Media File Format Binding §5), in its short form.
pub fn av1(config: &Av1Config) -> String {
    let h = &config.header;
    let tier = if h.high_tier { 'H' } else { 'M' };
    format!("av01.{}.{:02}{tier}.{:02}", h.profile, h.level, h.bit_depth)
}

/// `mp4a.40.x`.
pub fn aac(config: &AacConfig) -> String {
    format!("mp4a.40.{}", config.signalled_object_type())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::media::{AudioFormat, VideoFormat};
    use bytes::Bytes;

    #[test]
    fn the_strings_of_real_configurations() {
        let video = |codec, config: &str| {
            codecs(&Media::Video(VideoFormat {
                codec,
                config: hex(config),
                width: 0,
                height: 0,
                frame_rate: None,
                sample_aspect: None,
            }))
        };
        assert_eq!(video(VideoCodec::H264, AVCC_1080P25).unwrap(), "avc1.640028");
        assert_eq!(video(VideoCodec::Hevc, HVCC_1080P50_MAIN10).unwrap(), "hvc1.2.4.L123.90");
        assert_eq!(video(VideoCodec::Hevc, HVCC_480P24_SCALING).unwrap(), "hvc1.1.6.L90.90");
        assert_eq!(video(VideoCodec::Av1, AV1C_720P_10BIT).unwrap(), "av01.0.05M.10");
        assert!(video(VideoCodec::Av1, AVCC_1080P25).is_err());
        let audio = |codec, config: &'static [u8]| {
            let config = Bytes::from_static(config);
            codecs(&Media::Audio(AudioFormat { codec, config, sample_rate: 48_000, channels: 2 })).unwrap()
        };
        assert_eq!(audio(AudioCodec::Aac, &[0x11, 0x90]), "mp4a.40.2");
        assert_eq!(audio(AudioCodec::Aac, &[0x2b, 0x11, 0x88, 0x00]), "mp4a.40.5");
        assert_eq!(audio(AudioCodec::Opus, &[]), "Opus");
    }
}
