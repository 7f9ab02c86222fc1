//! MPEG-4 AAC: the `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1).

use super::{BitReader, Error, Result};
use bytes::Bytes;

const WHAT: &str = "AudioSpecificConfig";

/// Table 1.18.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Audio object types (table 1.17).
pub mod object {
    /// AAC Low Complexity.
    pub const LC: u8 = 2;
    /// Spectral band replication (HE-AAC).
    pub const SBR: u8 = 5;
    /// Error resilient bit-sliced coding, whose header has an extra channel field.
    pub const ER_BSAC: u8 = 22;
    /// Parametric stereo (HE-AAC v2).
    pub const PS: u8 = 29;
}

/// What an `AudioSpecificConfig` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Object type of the core coder, 2 for AAC-LC and for the core of HE-AAC.
    pub object_type: u8,
    /// Samples per second of the core coder.
    pub core_rate: u32,
    /// Samples per second that a decoder gives.
    pub sample_rate: u32,
    /// Channels that a decoder gives.
    pub channels: u8,
    /// Spectral band replication is signalled explicitly.
    pub sbr: bool,
    /// Parametric stereo is signalled explicitly.
    pub ps: bool,
    /// Samples of an access unit in the core coder: 1024 or 960.
    pub frame_length: u32,
}

impl AacConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When it ends early or names no rate or channels that a stream can have.
    pub fn parse(data: &[u8]) -> Result<AacConfig> {
        let r = &mut BitReader::new(data, WHAT);
        let mut object_type = object_type(r)?;
        let core_rate = rate(r)?;
        let configuration = r.u8(4)?;
        let (mut sbr, mut ps, mut sample_rate) = (false, false, core_rate);
        if matches!(object_type, object::SBR | object::PS) {
            sbr = true;
            ps = object_type == object::PS;
            sample_rate = rate(r)?;
            object_type = self::object_type(r)?;
            if object_type == object::ER_BSAC {
                r.skip(4)?;
            }
        }
        let mut frame_length = 1024;
        let mut channels = channels(configuration);
        if matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            // GASpecificConfig (§4.4.1).
            if r.flag()? {
                frame_length = 960;
            }
            if r.flag()? {
                r.skip(14)?;
            }
            r.skip(1)?;
            if configuration == 0 {
                channels = program_channels(r)?;
            }
            // Backward compatible signalling (§1.6.6.2): hidden behind what old decoders read.
            let extended = !sbr && object_type == object::LC && r.remaining() >= 16 && r.bits(11)? == 0x2b7;
            if extended && self::object_type(r)? == object::SBR && r.flag()? {
                sbr = true;
                sample_rate = rate(r)?;
                if r.remaining() >= 12 && r.bits(11)? == 0x548 {
                    ps = r.flag()?;
                }
            }
        }
        if ps && channels == 1 {
            channels = 2;
        }
        for (what, value) in [("AAC sample rate", core_rate), ("AAC output sample rate", sample_rate)] {
            if !(7_000..=192_000).contains(&value) {
                return Err(Error::Invalid { what, value: value.into() });
            }
        }
        if channels == 0 || channels > 8 {
            return Err(Error::Invalid { what: "AAC channels", value: channels.into() });
        }
        if sample_rate < core_rate || sample_rate > core_rate * 2 {
            return Err(Error::Invalid { what: "AAC output sample rate", value: sample_rate.into() });
        }
        Ok(AacConfig { object_type, core_rate, sample_rate, channels, sbr, ps, frame_length })
    }

    /// Output samples per channel in one access unit.
    pub fn samples(&self) -> u32 {
        (u64::from(self.frame_length) * u64::from(self.sample_rate) / u64::from(self.core_rate.max(1))) as u32
    }

    /// The object type as codecs strings name it: 2 for LC, 5 for HE, 29 for HE v2.
    pub fn signalled_object_type(&self) -> u8 {
        match (self.sbr, self.ps) {
            (_, true) => object::PS,
            (true, _) => object::SBR,
            _ => self.object_type,
        }
    }

    /// The configuration of AAC-LC at one of the rates of table 1.18 in 1 to 8 channels.
    ///
    /// # Errors
    /// For a rate that the table does not hold, or channels without a configuration.
    pub fn lc(sample_rate: u32, channels: u8) -> Result<Bytes> {
        let index = RATES.iter().position(|&r| r == sample_rate);
        let Some(index) = index else {
            return Err(Error::Invalid { what: "AAC sample rate", value: sample_rate.into() });
        };
        let configuration = match channels {
            1..=6 => u16::from(channels),
            7 => 11,
            8 => 7,
            _ => return Err(Error::Invalid { what: "AAC channels", value: channels.into() }),
        };
        let bits = (u16::from(object::LC) << 11) | ((index as u16) << 7) | (configuration << 3);
        Ok(Bytes::copy_from_slice(&bits.to_be_bytes()))
    }
}

fn object_type(r: &mut BitReader<'_>) -> Result<u8> {
    match r.u8(5)? {
        31 => Ok(32 + r.u8(6)?),
        t => Ok(t),
    }
}

fn rate(r: &mut BitReader<'_>) -> Result<u32> {
    match r.u8(4)? {
        15 => r.u32(24),
        i => RATES
            .get(usize::from(i))
            .copied()
            .ok_or(Error::Invalid { what: "AAC sampling frequency index", value: i.into() }),
    }
}

/// Table 1.19; 0 where the stream says it itself.
fn channels(configuration: u8) -> u8 {
    match configuration {
        1..=6 => configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        _ => 0,
    }
}

/// Channels of a `program_config_element` (§4.4.1.1).
fn program_channels(r: &mut BitReader<'_>) -> Result<u8> {
    r.skip(10)?;
    let counts = [r.u8(4)?, r.u8(4)?, r.u8(4)?];
    let (lfe, data, coupling) = (r.u8(2)?, r.u8(3)?, r.u8(4)?);
    for bits in [4, 4, 3] {
        if r.flag()? {
            r.skip(bits)?;
        }
    }
    let mut channels = lfe;
    for count in counts {
        for _ in 0..count {
            channels += if r.flag()? { 2 } else { 1 };
            r.skip(4)?;
        }
    }
    r.skip(4 * usize::from(lfe) + 4 * usize::from(data) + 5 * usize::from(coupling))?;
    r.skip((8 - r.position() % 8) % 8)?;
    let comment = usize::from(r.u8(8)?);
    r.skip(8 * comment)?;
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lc_at_its_rates() {
        let c = AacConfig::parse(&[0x11, 0x90]).unwrap();
        assert_eq!((c.object_type, c.sample_rate, c.channels, c.samples()), (2, 48_000, 2, 1024));
        assert_eq!(AacConfig::parse(&[0x12, 0x10]).unwrap().sample_rate, 44_100);
        assert_eq!(AacConfig::parse(&[0x11, 0xb0]).unwrap().channels, 6);
        assert_eq!(AacConfig::parse(&[0x11, 0x94]).unwrap().frame_length, 960);
        assert_eq!(AacConfig::lc(48_000, 2).unwrap()[..], [0x11, 0x90]);
        assert!(AacConfig::lc(47_000, 2).is_err() && AacConfig::lc(48_000, 9).is_err());
    }

    #[test]
    fn he_is_read_in_both_explicit_forms() {
        // Hierarchical: object type 5 first, core 24 kHz, output 48 kHz.
        let c = AacConfig::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((c.object_type, c.core_rate, c.sample_rate, c.channels, c.sbr), (2, 24_000, 48_000, 2, true));
        assert_eq!((c.samples(), c.signalled_object_type()), (2048, 5));
        // Backward compatible: LC 22.05 kHz mono, then the sync extension with 44.1 kHz and parametric stereo.
        let c = AacConfig::parse(&[0x13, 0x88, 0x56, 0xe5, 0xa5, 0x48, 0x80]).unwrap();
        assert_eq!((c.core_rate, c.sample_rate, c.channels, c.ps), (22_050, 44_100, 2, true));
        assert_eq!(c.signalled_object_type(), 29);
    }

    #[test]
    fn an_escaped_rate_and_a_program_config_element() {
        // Rate index 15 with 44 100 in 24 bits, mono.
        let bits: u64 = (2 << 59) | (15 << 55) | (44_100 << 31) | (1 << 27);
        let c = AacConfig::parse(&bits.to_be_bytes()).unwrap();
        assert_eq!((c.sample_rate, c.channels), (44_100, 1));
        // Channel configuration 0 with one front pair and one LFE.
        // 00010 0011 0000 0 0 0 | tag 0000 00 0011 | 0001 0000 0000 01 000 0000 | 000 | 1 0000 | 0000
        let digits = "0001000110000000000000001100010000000001000000000010000000000000000000000000";
        let data: Vec<u8> = digits
            .as_bytes()
            .chunks(8)
            .map(|c| c.iter().fold(0u8, |n, &b| (n << 1) | (b - b'0')) << (8 - c.len()))
            .collect();
        assert_eq!(AacConfig::parse(&data).unwrap().channels, 3);
    }

    #[test]
    fn nonsense_is_refused() {
        for data in [&[][..], &[0x11], &[0x17, 0x10], &[0x11, 0x80, 0, 0, 0, 0, 0, 0], &[0xff; 4]] {
            assert!(AacConfig::parse(data).is_err(), "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_what_passes_is_sane(data in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(c) = AacConfig::parse(&data) {
                prop_assert!((1..=8).contains(&c.channels) && c.sample_rate >= 7_000);
                prop_assert!((960..=2048).contains(&c.samples()), "{}", c.samples());
            }
        }
    }
}
