//! HEVC (ITU-T H.265): sequence parameter sets and the `HEVCDecoderConfigurationRecord`.

use super::h264::{Colour, sample_aspect};
use super::{BitReader, Error, Result, dimensions, frame_rate, nal};
use bytes::{BufMut, Bytes, BytesMut};

/// NAL unit types (H.265 table 7-1) that the server looks at.
pub mod unit {
    /// The first type of an intra random access point picture.
    pub const IRAP_FIRST: u8 = 16;
    /// The last one, reserved types included.
    pub const IRAP_LAST: u8 = 23;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const AUD: u8 = 35;
    /// End of sequence.
    pub const END_OF_SEQUENCE: u8 = 36;
    /// End of bitstream.
    pub const END_OF_BITSTREAM: u8 = 37;
    /// Filler data.
    pub const FILLER: u8 = 38;
}

/// The type of a NAL unit; none for one shorter than its header.
pub fn unit_type(nal: &[u8]) -> Option<u8> {
    (nal.len() >= 2).then(|| (nal[0] >> 1) & 0x3f)
}

/// `profile_tier_level` (§7.3.3) of the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `general_profile_space`.
    pub space: u8,
    /// High instead of Main tier.
    pub high_tier: bool,
    /// `general_profile_idc`.
    pub profile: u8,
    /// `general_profile_compatibility_flag`s, the first in the most significant bit.
    pub compatibility: u32,
    /// The 48 bits from `general_progressive_source_flag` on.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
}

impl Profile {
    fn parse(r: &mut BitReader<'_>) -> Result<Profile> {
        let (space, high_tier, profile) = (r.u8(2)?, r.flag()?, r.u8(5)?);
        let compatibility = r.u32(32)?;
        let bits = r.bits(48)?.to_be_bytes();
        let constraints = [bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]];
        Ok(Profile { space, high_tier, profile, compatibility, constraints, level: r.u8(8)? })
    }
}

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Profile, tier and level.
    pub profile: Profile,
    /// Temporal layers, 1 to 7.
    pub temporal_layers: u8,
    /// Whether temporal layers nest.
    pub temporal_nesting: bool,
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
    /// Frames per second from the VUI timing.
    pub frame_rate: Option<(u32, u32)>,
    /// Sample aspect ratio from the VUI.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colour description from the VUI.
    pub colour: Option<Colour>,
    /// `sps_max_num_reorder_pics` of the highest layer: 0 means no reordering.
    pub max_reorder: Option<u32>,
}

impl Sps {
    /// From a NAL unit with its two header bytes.
    ///
    /// # Errors
    /// When it ends early or holds values that H.265 §7.4.3.2.1 does not allow.
    pub fn parse(nal: &[u8]) -> Result<Sps> {
        if unit_type(nal) != Some(unit::SPS) {
            return Err(Error::Invalid { what: "HEVC SPS NAL unit type", value: unit_type(nal).unwrap_or(0).into() });
        }
        let data = nal::rbsp(&nal[2..]);
        let r = &mut BitReader::new(&data, "HEVC SPS");
        r.skip(4)?;
        let (sub_layers, temporal_nesting) = (r.u8(3)?, r.flag()?);
        if sub_layers > 6 {
            return Err(Error::Invalid { what: "sps_max_sub_layers", value: sub_layers.into() });
        }
        let profile = Profile::parse(r)?;
        skip_sub_layers(r, sub_layers)?;
        r.ue_max(15, "sps_seq_parameter_set_id")?;
        let chroma_format = r.ue_max(3, "chroma_format_idc")?;
        let separate = chroma_format == 3 && r.flag()?;
        let (width, height) = (r.ue()?, r.ue()?);
        let window = if r.flag()? { [r.ue()?, r.ue()?, r.ue()?, r.ue()?] } else { [0; 4] };
        let (sub_width, sub_height) = match (chroma_format, separate) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let cropped = |size: u32, a: u32, b: u32, unit: u32| {
            a.checked_add(b).and_then(|n| n.checked_mul(unit)).and_then(|n| size.checked_sub(n)).unwrap_or(0)
        };
        let (width, height) = dimensions(
            cropped(width, window[0], window[1], sub_width),
            cropped(height, window[2], window[3], sub_height),
        )?;
        let bit_depth_luma = 8 + r.ue_max(8, "bit_depth_luma")? as u8;
        let bit_depth_chroma = 8 + r.ue_max(8, "bit_depth_chroma")? as u8;
        let mut sps = Sps {
            profile,
            temporal_layers: sub_layers + 1,
            temporal_nesting,
            chroma_format: chroma_format as u8,
            bit_depth_luma,
            bit_depth_chroma,
            width,
            height,
            frame_rate: None,
            sample_aspect: None,
            colour: None,
            max_reorder: None,
        };
        // The rest holds hints only: where it is broken they are left out.
        let _ = sps.up_to_vui(r, sub_layers);
        Ok(sps)
    }

    /// From `log2_max_pic_order_cnt_lsb_minus4` to the VUI's timing.
    fn up_to_vui(&mut self, r: &mut BitReader<'_>, sub_layers: u8) -> Result<()> {
        let order_bits = 4 + r.ue_max(12, "log2_max_pic_order_cnt_lsb")?;
        let rounds = if r.flag()? { sub_layers + 1 } else { 1 };
        for _ in 0..rounds {
            r.ue()?;
            self.max_reorder = Some(r.ue()?.min(16));
            r.ue()?;
        }
        for _ in 0..6 {
            r.ue()?;
        }
        if r.flag()? && r.flag()? {
            skip_scaling_lists(r)?;
        }
        r.skip(2)?;
        if r.flag()? {
            r.skip(8)?;
            r.ue()?;
            r.ue()?;
            r.skip(1)?;
        }
        let sets = r.ue_max(64, "num_short_term_ref_pic_sets")?;
        let mut pictures = 0;
        for i in 0..sets {
            pictures = reference_picture_set(r, i, pictures)?;
        }
        if r.flag()? {
            for _ in 0..r.ue_max(32, "num_long_term_ref_pics_sps")? {
                r.skip(order_bits as usize + 1)?;
            }
        }
        r.skip(2)?;
        if !r.flag()? {
            return Ok(());
        }
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
        r.skip(3)?;
        if r.flag()? {
            for _ in 0..4 {
                r.ue()?;
            }
        }
        if r.flag()? {
            let (ticks, scale) = (r.bits(32)?, r.bits(32)?);
            self.frame_rate = frame_rate(scale, ticks);
        }
        Ok(())
    }
}

fn skip_sub_layers(r: &mut BitReader<'_>, sub_layers: u8) -> Result<()> {
    let mut present = [(false, false); 8];
    for p in present.iter_mut().take(sub_layers.into()) {
        *p = (r.flag()?, r.flag()?);
    }
    if sub_layers > 0 {
        r.skip(2 * (8 - usize::from(sub_layers)))?;
    }
    for (profile, level) in present {
        r.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Ok(())
}

/// §7.3.4.
fn skip_scaling_lists(r: &mut BitReader<'_>) -> Result<()> {
    for size in 0..4u32 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !r.flag()? {
                r.ue()?;
                continue;
            }
            if size > 1 {
                r.se()?;
            }
            for _ in 0..64.min(1u32 << (4 + (size << 1))) {
                r.se()?;
            }
        }
    }
    Ok(())
}

/// §7.3.7. `before` is the number of pictures of the set before; returns this set's.
fn reference_picture_set(r: &mut BitReader<'_>, index: u32, before: u32) -> Result<u32> {
    if index != 0 && r.flag()? {
        r.flag()?;
        r.ue()?;
        let mut count = 0;
        for _ in 0..=before {
            let used = r.flag()?;
            if used || r.flag()? {
                count += 1;
            }
        }
        return Ok(count);
    }
    let count = r.ue_max(16, "num_negative_pics")? + r.ue_max(16, "num_positive_pics")?;
    for _ in 0..count {
        r.ue()?;
        r.flag()?;
    }
    Ok(count)
}

/// Parameter sets of one kind: picture parameter sets have 64 ids (§7.4.3.3.1), the others 16.
const MAX_SETS: usize = 64;

/// The decoder configuration record (ISO/IEC 14496-15 §8.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HevcConfig {
    /// Profile, tier and level.
    pub profile: Profile,
    /// The bytes from `min_spatial_segmentation_idc` to the one with `lengthSizeMinusOne`.
    middle: [u8; 9],
    /// Bytes of a NAL unit's length, 1, 2 or 4.
    pub length_size: u8,
    /// Video parameter sets with their NAL header.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets with their NAL header.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets with their NAL header.
    pub pps: Vec<Bytes>,
}

impl HevcConfig {
    /// Reads a record. SEI messages in it are not kept.
    ///
    /// # Errors
    /// When it ends early, has no parameter sets or an impossible length size.
    pub fn parse(record: &Bytes) -> Result<HevcConfig> {
        const WHAT: &str = "HEVCDecoderConfigurationRecord";
        let Some((head, _)) = record.split_first_chunk::<23>() else { return Err(Error::Short { what: WHAT }) };
        if head[0] > 1 {
            return Err(Error::Invalid { what: "configurationVersion", value: head[0].into() });
        }
        let profile = Profile::parse(&mut BitReader::new(&head[1..13], WHAT))?;
        let mut middle = [0; 9];
        middle.copy_from_slice(&head[13..22]);
        let length_size = (middle[8] & 3) + 1;
        if length_size == 3 {
            return Err(Error::Invalid { what: "NAL unit length size", value: 3 });
        }
        let mut config = HevcConfig { profile, middle, length_size, vps: vec![], sps: vec![], pps: vec![] };
        let mut at = 23;
        let read_u16 = |at: usize| match record.get(at..at + 2) {
            Some(b) => Ok(usize::from(u16::from_be_bytes([b[0], b[1]]))),
            None => Err(Error::Short { what: WHAT }),
        };
        for _ in 0..head[22] {
            let kind = record.get(at).ok_or(Error::Short { what: WHAT })? & 0x3f;
            let count = read_u16(at + 1)?;
            at += 3;
            for _ in 0..count {
                let length = read_u16(at)?;
                at += 2;
                if record.len() - at < length {
                    return Err(Error::Short { what: WHAT });
                }
                at += length;
                if let Some(list) = config.list(kind)
                    && length > 2
                {
                    if list.len() >= MAX_SETS {
                        return Err(Error::Invalid { what: "number of parameter sets", value: count as u64 });
                    }
                    list.push(record.slice(at - length..at));
                }
            }
        }
        if config.sps.is_empty() || config.pps.is_empty() {
            return Err(Error::Invalid { what: "parameter sets in HEVCDecoderConfigurationRecord", value: 0 });
        }
        Ok(config)
    }

    /// From parameter sets found in the stream; the record that it builds has 4-byte lengths.
    ///
    /// # Errors
    /// When there is none, one is longer than the record's field holds, or the first SPS cannot be read.
    pub fn from_sets(vps: Vec<Bytes>, sps: Vec<Bytes>, pps: Vec<Bytes>) -> Result<HevcConfig> {
        if pps.is_empty() {
            return Err(Error::Invalid { what: "number of PPS", value: 0 });
        }
        for list in [&vps, &sps, &pps] {
            if list.len() > MAX_SETS {
                return Err(Error::Invalid { what: "number of parameter sets", value: list.len() as u64 });
            }
            if let Some(long) = list.iter().find(|s| s.len() > usize::from(u16::MAX)) {
                return Err(Error::Invalid { what: "parameter set size", value: long.len() as u64 });
            }
        }
        let first = Sps::parse(sps.first().ok_or(Error::Short { what: "HEVC SPS" })?)?;
        let layers = (first.temporal_layers << 3) | (u8::from(first.temporal_nesting) << 2) | 3;
        let middle = [
            0xf0,
            0,
            0xfc,
            0xfc | first.chroma_format,
            0xf8 | (first.bit_depth_luma - 8).min(7),
            0xf8 | (first.bit_depth_chroma - 8).min(7),
            0,
            0,
            layers,
        ];
        Ok(HevcConfig { profile: first.profile, middle, length_size: 4, vps, sps, pps })
    }

    fn list(&mut self, kind: u8) -> Option<&mut Vec<Bytes>> {
        match kind {
            unit::VPS => Some(&mut self.vps),
            unit::SPS => Some(&mut self.sps),
            unit::PPS => Some(&mut self.pps),
            _ => None,
        }
    }

    /// The first sequence parameter set, read.
    ///
    /// # Errors
    /// As [`Sps::parse`].
    pub fn sps(&self) -> Result<Sps> {
        Sps::parse(self.sps.first().ok_or(Error::Short { what: "HEVC SPS" })?)
    }

    /// The record with 4-byte NAL lengths, whatever it was read with. All parameter sets stand in it (`hvc1`).
    pub fn build(&self) -> Bytes {
        let lists = [(unit::VPS, &self.vps), (unit::SPS, &self.sps), (unit::PPS, &self.pps)];
        let mut out = BytesMut::with_capacity(64 + lists.iter().flat_map(|l| l.1).map(|s| s.len() + 5).sum::<usize>());
        let p = &self.profile;
        out.put_u8(1);
        out.put_u8((p.space << 6) | (u8::from(p.high_tier) << 5) | p.profile);
        out.put_u32(p.compatibility);
        out.put_slice(&p.constraints);
        out.put_u8(p.level);
        out.put_slice(&self.middle[..8]);
        out.put_u8(self.middle[8] | 3);
        out.put_u8(lists.iter().filter(|l| !l.1.is_empty()).count() as u8);
        for (kind, list) in lists.into_iter().filter(|l| !l.1.is_empty()) {
            out.put_u8(0x80 | kind);
            out.put_u16(list.len() as u16);
            for set in list {
                out.put_u16(set.len() as u16);
                out.put_slice(set);
            }
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{HVCC_480P24_SCALING, HVCC_1080P50_MAIN10, hex};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_main10_sps_has_its_size_depth_and_timing() {
        let config = HevcConfig::parse(&hex(HVCC_1080P50_MAIN10)).unwrap();
        let sps = config.sps().unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
        assert_eq!((sps.bit_depth_luma, sps.bit_depth_chroma, sps.chroma_format), (10, 10, 1));
        assert_eq!(sps.frame_rate, Some((50, 1)));
        assert_eq!((sps.profile.profile, sps.profile.level, sps.profile.high_tier), (2, 123, false));
        assert_eq!(sps.profile, config.profile);
    }

    #[test]
    fn scaling_lists_and_a_conformance_window_are_read_through() {
        let config = HevcConfig::parse(&hex(HVCC_480P24_SCALING)).unwrap();
        let sps = config.sps().unwrap();
        assert_eq!((sps.width, sps.height), (854, 480));
        assert_eq!(sps.frame_rate, Some((24, 1)));
    }

    #[test]
    fn a_record_survives_building() {
        for fixture in [HVCC_1080P50_MAIN10, HVCC_480P24_SCALING] {
            let config = HevcConfig::parse(&hex(fixture)).unwrap();
            let built = HevcConfig::parse(&config.build()).unwrap();
            assert_eq!(built, config);
            let made = HevcConfig::from_sets(config.vps.clone(), config.sps.clone(), config.pps.clone()).unwrap();
            assert_eq!(made.profile, config.profile);
            assert_eq!(HevcConfig::parse(&made.build()).unwrap(), made);
        }
    }

    #[test]
    fn a_record_of_countless_sets_is_refused() {
        let whole = hex(HVCC_480P24_SCALING);
        let mut record = whole[..22].to_vec();
        record.extend([1, 0x80 | unit::PPS, 0xff, 0xff]);
        record.extend([0, 3, 0x44, 1, 9].repeat(0xffff));
        assert!(HevcConfig::parse(&record.into()).is_err());
    }

    #[test]
    fn cut_records_are_errors() {
        let whole = hex(HVCC_1080P50_MAIN10);
        for n in 0..whole.len() {
            assert!(HevcConfig::parse(&whole.slice(..n)).is_err(), "{n} bytes");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..160)) {
            let _ = HevcConfig::parse(&Bytes::from(data.clone())).map(|c| (c.sps(), c.build()));
            let _ = Sps::parse(&[&[0x42, 1], &data[..]].concat());
        }

        #[test]
        fn a_damaged_record_never_panics(at in 0usize..200, flip in 1u8..=255) {
            let mut data = hex(HVCC_480P24_SCALING).to_vec();
            let at = at % data.len();
            data[at] ^= flip;
            if let Ok(config) = HevcConfig::parse(&Bytes::from(data)) {
                let _ = (config.sps(), config.build());
            }
        }
    }
}
