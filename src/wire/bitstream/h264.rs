//! H.264 (ITU-T H.264): sequence parameter sets and the `AVCDecoderConfigurationRecord`.

use super::{BitReader, Error, Result, dimensions, frame_rate, nal};
use bytes::{BufMut, Bytes, BytesMut};

/// NAL unit types (H.264 table 7-1) that the server looks at.
pub mod unit {
    /// Coded slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
    /// End of sequence.
    pub const END_OF_SEQUENCE: u8 = 10;
    /// End of stream.
    pub const END_OF_STREAM: u8 = 11;
    /// Filler data.
    pub const FILLER: u8 = 12;
    /// Sequence parameter set extension (auxiliary pictures).
    pub const SPS_EXTENSION: u8 = 13;
}

/// The type of a NAL unit; 0 (unspecified) for an empty one.
pub fn unit_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |b| b & 0x1f)
}

/// Colour description (H.264 table E-3 to E-5; the numbers are those of ISO/IEC 23091-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics: 16 is PQ, 18 is HLG.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Full instead of limited range.
    pub full_range: bool,
}

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags and two reserved bits, as they stand after the profile.
    pub constraints: u8,
    /// `level_idc`.
    pub level: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample.
    pub bit_depth_chroma: u8,
    /// Width after cropping, in pixels.
    pub width: u32,
    /// Height after cropping, in pixels.
    pub height: u32,
    /// Whether pictures may be fields or macroblock-adaptive.
    pub interlaced: bool,
    /// Frames per second from the VUI timing.
    pub frame_rate: Option<(u32, u32)>,
    /// Sample aspect ratio from the VUI.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colour description from the VUI.
    pub colour: Option<Colour>,
    /// `max_num_reorder_frames` from the VUI: 0 means no B-frames.
    pub max_reorder: Option<u32>,
}

/// The profiles whose SPS and configuration record carry chroma format and bit depths (H.264 §7.3.2.1.1).
fn has_chroma_info(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

impl Sps {
    /// From a NAL unit with its header byte.
    ///
    /// # Errors
    /// When it ends early or holds values that H.264 §7.4.2.1.1 does not allow.
    pub fn parse(nal: &[u8]) -> Result<Sps> {
        if unit_type(nal) != unit::SPS {
            return Err(Error::Invalid { what: "SPS NAL unit type", value: unit_type(nal).into() });
        }
        let data = nal::rbsp(&nal[1..]);
        let r = &mut BitReader::new(&data, "H.264 SPS");
        let (profile, constraints, level) = (r.u8(8)?, r.u8(8)?, r.u8(8)?);
        r.ue_max(31, "seq_parameter_set_id")?;
        let (mut chroma_format, mut separate, mut luma, mut chroma) = (1, false, 8, 8);
        if has_chroma_info(profile) {
            chroma_format = r.ue_max(3, "chroma_format_idc")?;
            if chroma_format == 3 {
                separate = r.flag()?;
            }
            luma = 8 + r.ue_max(6, "bit_depth_luma")?;
            chroma = 8 + r.ue_max(6, "bit_depth_chroma")?;
            r.flag()?;
            if r.flag()? {
                for i in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if r.flag()? {
                        skip_scaling_list(r, if i < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        r.ue_max(12, "log2_max_frame_num")?;
        match r.ue_max(2, "pic_order_cnt_type")? {
            0 => {
                r.ue_max(12, "log2_max_pic_order_cnt_lsb")?;
            }
            1 => {
                r.flag()?;
                r.se()?;
                r.se()?;
                for _ in 0..r.ue_max(255, "num_ref_frames_in_pic_order_cnt_cycle")? {
                    r.se()?;
                }
            }
            _ => {}
        }
        r.ue()?;
        r.flag()?;
        let width = macroblocks(r.ue()?)?;
        let map_units = macroblocks(r.ue()?)?;
        let frame_only = r.flag()?;
        let height = if frame_only { map_units } else { map_units * 2 };
        if !frame_only {
            r.flag()?;
        }
        r.flag()?;
        let crop = if r.flag()? { [r.ue()?, r.ue()?, r.ue()?, r.ue()?] } else { [0; 4] };
        // Table 6-1 and equations 7-19 to 7-22: cropping counts chroma samples, and pairs of lines in field coding.
        let (sub_width, sub_height) = match (chroma_format, separate) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let unit_y = sub_height * if frame_only { 1 } else { 2 };
        let cropped = |size: u32, a: u32, b: u32, unit: u32| {
            a.checked_add(b).and_then(|n| n.checked_mul(unit)).and_then(|n| size.checked_sub(n)).unwrap_or(0)
        };
        let (width, height) =
            dimensions(cropped(width, crop[0], crop[1], sub_width), cropped(height, crop[2], crop[3], unit_y))?;
        let mut sps = Sps {
            profile,
            constraints,
            level,
            chroma_format: chroma_format as u8,
            bit_depth_luma: luma as u8,
            bit_depth_chroma: chroma as u8,
            width,
            height,
            interlaced: !frame_only,
            frame_rate: None,
            sample_aspect: None,
            colour: None,
            max_reorder: None,
        };
        // A broken VUI costs its hints and not the stream: encoders that get it wrong exist, and decoders ignore it.
        if r.flag()? {
            let _ = sps.vui(r);
        }
        Ok(sps)
    }

    /// Annex E.1.1.
    fn vui(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        if r.flag()? {
            self.sample_aspect = sample_aspect(r)?;
        }
        if r.flag()? {
            r.flag()?;
        }
        if r.flag()? {
            r.skip(3)?;
            let full_range = r.flag()?;
            if r.flag()? {
                self.colour = Some(Colour { primaries: r.u8(8)?, transfer: r.u8(8)?, matrix: r.u8(8)?, full_range });
            }
        }
        if r.flag()? {
            r.ue()?;
            r.ue()?;
        }
        if r.flag()? {
            let (ticks, scale) = (r.bits(32)?, r.bits(32)?);
            r.flag()?;
            // A tick is a field (E.2.1).
            self.frame_rate = frame_rate(scale, ticks * 2);
        }
        let nal_hrd = r.flag()?;
        if nal_hrd {
            skip_hrd(r)?;
        }
        let vcl_hrd = r.flag()?;
        if vcl_hrd {
            skip_hrd(r)?;
        }
        if nal_hrd || vcl_hrd {
            r.flag()?;
        }
        r.flag()?;
        if r.flag()? {
            r.flag()?;
            for _ in 0..4 {
                r.ue()?;
            }
            self.max_reorder = Some(r.ue_max(16, "max_num_reorder_frames")?);
        }
        Ok(())
    }
}

/// Pixels of `minus1 + 1` macroblocks.
fn macroblocks(minus1: u32) -> Result<u32> {
    minus1
        .checked_add(1)
        .and_then(|n| n.checked_mul(16))
        .filter(|&n| n <= super::MAX_DIMENSION + 16)
        .ok_or(Error::Invalid { what: "picture size in macroblocks", value: minus1.into() })
}

/// Table E-1, shared with HEVC.
pub(super) fn sample_aspect(r: &mut BitReader<'_>) -> Result<Option<(u16, u16)>> {
    const TABLE: [(u16, u16); 17] = [
        (0, 0),
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    let ratio = match r.u8(8)? {
        255 => (r.u32(16)? as u16, r.u32(16)? as u16),
        i => TABLE.get(usize::from(i)).copied().unwrap_or((0, 0)),
    };
    Ok(Some(ratio).filter(|&(w, h)| w != 0 && h != 0))
}

fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Result<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + r.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn skip_hrd(r: &mut BitReader<'_>) -> Result<()> {
    let count = r.ue_max(31, "cpb_cnt")?;
    r.skip(8)?;
    for _ in 0..=count {
        r.ue()?;
        r.ue()?;
        r.flag()?;
    }
    r.skip(20)
}

/// The decoder configuration record (ISO/IEC 14496-15 §5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// `AVCProfileIndication`.
    pub profile: u8,
    /// `profile_compatibility`.
    pub compatibility: u8,
    /// `AVCLevelIndication`.
    pub level: u8,
    /// Bytes of a NAL unit's length, 1, 2 or 4.
    pub length_size: u8,
    /// Sequence parameter sets with their NAL header.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets with their NAL header.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads a record. What follows the parameter sets (chroma format, depths) is told by the SPS as well and is not kept.
    ///
    /// # Errors
    /// When it ends early, has no parameter set or an impossible length size.
    pub fn parse(record: &Bytes) -> Result<AvcConfig> {
        const WHAT: &str = "AVCDecoderConfigurationRecord";
        let [version, profile, compatibility, level, size, ..] = record[..] else {
            return Err(Error::Short { what: WHAT });
        };
        // Version 0 comes from encoders that do not fill the field; the layout is the same.
        if version > 1 {
            return Err(Error::Invalid { what: "configurationVersion", value: version.into() });
        }
        let length_size = (size & 3) + 1;
        if length_size == 3 {
            return Err(Error::Invalid { what: "NAL unit length size", value: 3 });
        }
        let mut at = 5;
        let mut sets = |mask: u8| -> Result<Vec<Bytes>> {
            let count = record.get(at).ok_or(Error::Short { what: WHAT })? & mask;
            at += 1;
            (0..count)
                .map(|_| {
                    let length = match record.get(at..at + 2) {
                        Some(b) => usize::from(u16::from_be_bytes([b[0], b[1]])),
                        None => return Err(Error::Short { what: WHAT }),
                    };
                    at += 2;
                    if record.len() - at < length {
                        return Err(Error::Short { what: WHAT });
                    }
                    at += length;
                    Ok(record.slice(at - length..at))
                })
                .filter(|set| !matches!(set, Ok(b) if b.is_empty()))
                .collect()
        };
        let (sps, pps) = (sets(0x1f)?, sets(0xff)?);
        if sps.is_empty() || pps.is_empty() {
            return Err(Error::Invalid { what: "parameter sets in AVCDecoderConfigurationRecord", value: 0 });
        }
        Ok(AvcConfig { profile, compatibility, level, length_size, sps, pps })
    }

    /// From parameter sets found in the stream; the record that it builds has 4-byte lengths.
    ///
    /// # Errors
    /// When there are none, or more or longer ones than the record's fields hold.
    pub fn from_sets(sps: Vec<Bytes>, pps: Vec<Bytes>) -> Result<AvcConfig> {
        if sps.is_empty() || sps.len() > 31 {
            return Err(Error::Invalid { what: "number of SPS", value: sps.len() as u64 });
        }
        if pps.is_empty() || pps.len() > 255 {
            return Err(Error::Invalid { what: "number of PPS", value: pps.len() as u64 });
        }
        if let Some(long) = sps.iter().chain(&pps).find(|s| s.len() > usize::from(u16::MAX)) {
            return Err(Error::Invalid { what: "parameter set size", value: long.len() as u64 });
        }
        let [_, profile, compatibility, level, ..] = sps[0][..] else {
            return Err(Error::Short { what: "H.264 SPS" });
        };
        Ok(AvcConfig { profile, compatibility, level, length_size: 4, sps, pps })
    }

    /// The first sequence parameter set, read.
    ///
    /// # Errors
    /// As [`Sps::parse`].
    pub fn sps(&self) -> Result<Sps> {
        Sps::parse(self.sps.first().ok_or(Error::Short { what: "H.264 SPS" })?)
    }

    /// The record with 4-byte NAL lengths, whatever it was read with.
    pub fn build(&self) -> Bytes {
        let sets: usize = self.sps.iter().chain(&self.pps).map(|s| s.len() + 2).sum();
        let mut out = BytesMut::with_capacity(11 + sets);
        out.put_slice(&[1, self.profile, self.compatibility, self.level, 0xff]);
        for (mask, list) in [(0xe0, &self.sps), (0, &self.pps)] {
            out.put_u8(mask | list.len() as u8);
            for set in list {
                out.put_u16(set.len() as u16);
                out.put_slice(set);
            }
        }
        if has_chroma_info(self.profile)
            && let Ok(sps) = self.sps()
        {
            out.put_u8(0xfc | sps.chroma_format);
            out.put_u8(0xf8 | (sps.bit_depth_luma - 8));
            out.put_u8(0xf8 | (sps.bit_depth_chroma - 8));
            out.put_u8(0);
        }
        out.freeze()
    }
}

/// Whether an SEI NAL unit holds a recovery point (Annex D.1.8) from which every picture is right at once.
pub fn is_recovery_point(nal: &[u8]) -> bool {
    if unit_type(nal) != unit::SEI {
        return false;
    }
    let data = nal::rbsp(&nal[1..]);
    let mut rest = &data[..];
    // The RBSP ends with a byte of trailing bits.
    while rest.len() > 2 {
        let (mut kind, mut size) = (0usize, 0usize);
        for value in [&mut kind, &mut size] {
            while let [byte, tail @ ..] = rest {
                rest = tail;
                *value += usize::from(*byte);
                if *byte != 0xff {
                    break;
                }
            }
        }
        let Some((payload, tail)) = rest.split_at_checked(size) else { return false };
        if kind == 6 {
            return BitReader::new(payload, "recovery point").ue() == Ok(0);
        }
        rest = tail;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{AVCC_1080P25, AVCC_INTERLACED_444, hex};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_1080p_sps_is_cropped_and_has_its_timing() {
        let config = AvcConfig::parse(&hex(AVCC_1080P25)).unwrap();
        assert_eq!((config.profile, config.compatibility, config.level, config.length_size), (100, 0, 40, 4));
        let sps = config.sps().unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
        assert_eq!(sps.frame_rate, Some((25, 1)));
        assert_eq!(sps.sample_aspect, Some((1, 1)));
        assert_eq!(sps.colour, Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false }));
        assert_eq!((sps.max_reorder, sps.interlaced, sps.chroma_format), (Some(2), false, 1));
        assert_eq!(config.build(), hex(AVCC_1080P25));
    }

    #[test]
    fn field_coding_and_full_chroma_change_the_cropping() {
        let config = AvcConfig::parse(&hex(AVCC_INTERLACED_444)).unwrap();
        let sps = config.sps().unwrap();
        assert_eq!((sps.profile, sps.width, sps.height), (244, 640, 360));
        assert!(sps.interlaced);
        assert_eq!((sps.chroma_format, sps.frame_rate), (3, Some((30_000, 1001))));
        assert_eq!(config.build(), hex(AVCC_INTERLACED_444));
    }

    #[test]
    fn a_record_can_be_made_from_sets_in_the_stream() {
        let config = AvcConfig::parse(&hex(AVCC_1080P25)).unwrap();
        let made = AvcConfig::from_sets(config.sps.clone(), config.pps.clone()).unwrap();
        assert_eq!(made.build(), hex(AVCC_1080P25));
        assert!(AvcConfig::from_sets(vec![], config.pps.clone()).is_err());
        assert!(AvcConfig::from_sets(vec![Bytes::from_static(&[0x67])], config.pps).is_err());
    }

    #[test]
    fn cut_records_are_errors() {
        let whole = hex(AVCC_1080P25);
        // The last four bytes (chroma format, depths, no extension) may be missing.
        for n in 0..whole.len() - 4 {
            assert!(AvcConfig::parse(&whole.slice(..n)).is_err(), "{n} bytes");
        }
        assert!(AvcConfig::parse(&whole.slice(..whole.len() - 4)).is_ok());
    }

    #[test]
    fn only_a_recovery_point_of_zero_frames_counts() {
        assert!(is_recovery_point(&[6, 6, 1, 0xc4, 0x80]));
        assert!(!is_recovery_point(&[6, 6, 1, 0x44, 0x80]));
        assert!(is_recovery_point(&[6, 5, 2, 9, 9, 6, 1, 0xc4, 0x80]));
        assert!(!is_recovery_point(&[6, 5, 200, 9, 9, 6, 1, 0xc4, 0x80]));
        assert!(!is_recovery_point(&[6, 0xff, 0xff]));
        assert!(!is_recovery_point(&[]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = AvcConfig::parse(&Bytes::from(data.clone())).map(|c| (c.sps(), c.build()));
            let _ = Sps::parse(&data);
            let _ = Sps::parse(&[&[0x67, 100, 0, 40], &data[..]].concat());
            let _ = is_recovery_point(&[&[6], &data[..]].concat());
        }

        #[test]
        fn a_damaged_sps_never_panics_nor_has_an_impossible_size(at in 0usize..40, flip in 1u8..=255) {
            let mut nal = AvcConfig::parse(&hex(AVCC_1080P25)).unwrap().sps[0].to_vec();
            let at = at % nal.len();
            nal[at] ^= flip;
            if let Ok(sps) = Sps::parse(&nal) {
                prop_assert!(sps.width > 0 && sps.width <= super::super::MAX_DIMENSION);
                prop_assert!(sps.height > 0 && sps.height <= super::super::MAX_DIMENSION);
            }
        }
    }
}
