//! AV1: open bitstream units, the sequence header (AV1 specification §5.3, §5.5) and the `AV1CodecConfigurationRecord`
//! (AV1 Codec ISO Media File Format Binding §2.3.3).

use super::{BitReader, Error, Result, dimensions, frame_rate};
use bytes::{BufMut, Bytes, BytesMut};

/// OBU types (§6.2.2) that the server looks at.
pub mod unit {
    /// Sequence header.
    pub const SEQUENCE_HEADER: u8 = 1;
    /// Temporal delimiter.
    pub const TEMPORAL_DELIMITER: u8 = 2;
    /// Padding.
    pub const PADDING: u8 = 15;
}

/// One open bitstream unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// Header, size field and payload.
    pub whole: &'a [u8],
    /// The payload alone.
    pub payload: &'a [u8],
}

/// The OBUs of a low-overhead bitstream (§5.2). The iterator ends after the first broken one, which it reports.
pub fn obus(data: &[u8]) -> impl Iterator<Item = Result<Obu<'_>>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = next_obu(rest);
        rest = found.map_or(&[], |(_, tail)| tail);
        Some(found.map(|(obu, _)| obu))
    })
}

fn next_obu(data: &[u8]) -> Result<(Obu<'_>, &[u8])> {
    const SHORT: Error = Error::Short { what: "OBU" };
    let header = *data.first().ok_or(SHORT)?;
    if header & 0x80 != 0 {
        return Err(Error::Invalid { what: "OBU forbidden bit", value: 1 });
    }
    let mut start = if header & 4 != 0 { 2 } else { 1 };
    let mut size = data.len().checked_sub(start).ok_or(SHORT)?;
    if header & 2 != 0 {
        // leb128 (§4.10.5): at most eight bytes, and no more than 32 bits.
        let mut value = 0u64;
        for i in 0..8 {
            let byte = *data.get(start).ok_or(SHORT)?;
            start += 1;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                break;
            }
        }
        size = usize::try_from(value).map_err(|_| SHORT)?;
    }
    let end = start.checked_add(size).filter(|&e| e <= data.len()).ok_or(SHORT)?;
    let obu = Obu { kind: (header >> 3) & 15, whole: &data[..end], payload: &data[start..end] };
    Ok((obu, &data[end..]))
}

/// What a sequence header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point.
    pub level: u8,
    /// High instead of Main tier.
    pub high_tier: bool,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// No chroma.
    pub monochrome: bool,
    /// Chroma is subsampled in x.
    pub subsampling_x: bool,
    /// Chroma is subsampled in y.
    pub subsampling_y: bool,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
    /// Frames per second, where all pictures are equally far apart.
    pub frame_rate: Option<(u32, u32)>,
}

impl SequenceHeader {
    /// From the payload of a sequence header OBU (§5.5.1).
    ///
    /// # Errors
    /// When it ends early or holds a reserved profile.
    pub fn parse(payload: &[u8]) -> Result<SequenceHeader> {
        let r = &mut BitReader::new(payload, "AV1 sequence header");
        let profile = r.u8(3)?;
        if profile > 2 {
            return Err(Error::Invalid { what: "seq_profile", value: profile.into() });
        }
        r.flag()?;
        let reduced = r.flag()?;
        let (mut level, mut high_tier, mut rate) = (0, false, None);
        if reduced {
            level = r.u8(5)?;
        } else {
            let (mut decoder_model, mut delay_bits) = (false, 0);
            if r.flag()? {
                let (ticks, scale) = (r.bits(32)?, r.bits(32)?);
                if r.flag()? {
                    let per_picture = u64::from(uvlc(r)?) + 1;
                    rate = ticks.checked_mul(per_picture).and_then(|t| frame_rate(scale, t));
                }
                decoder_model = r.flag()?;
                if decoder_model {
                    delay_bits = usize::from(r.u8(5)?) + 1;
                    r.skip(32 + 5 + 5)?;
                }
            }
            let display_delay = r.flag()?;
            for i in 0..=r.u8(5)? {
                r.skip(12)?;
                let this_level = r.u8(5)?;
                let this_tier = this_level > 7 && r.flag()?;
                if decoder_model && r.flag()? {
                    r.skip(2 * delay_bits + 1)?;
                }
                if display_delay && r.flag()? {
                    r.skip(4)?;
                }
                if i == 0 {
                    (level, high_tier) = (this_level, this_tier);
                }
            }
        }
        let (width_bits, height_bits) = (r.u32(4)? + 1, r.u32(4)? + 1);
        let (width, height) = dimensions(r.u32(width_bits)? + 1, r.u32(height_bits)? + 1)?;
        if !reduced && r.flag()? {
            r.skip(7)?;
        }
        r.skip(3)?;
        if !reduced {
            r.skip(4)?;
            let order_hint = r.flag()?;
            if order_hint {
                r.skip(2)?;
            }
            let screen_content = if r.flag()? { 2 } else { r.u8(1)? };
            if screen_content > 0 && !r.flag()? {
                r.skip(1)?;
            }
            if order_hint {
                r.skip(3)?;
            }
        }
        r.skip(3)?;
        let mut header = SequenceHeader {
            profile,
            level,
            high_tier,
            bit_depth: 8,
            monochrome: false,
            subsampling_x: true,
            subsampling_y: true,
            width,
            height,
            frame_rate: rate,
        };
        header.colour(r)?;
        Ok(header)
    }

    /// §5.5.2, as far as the subsampling.
    fn colour(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        let high = r.flag()?;
        self.bit_depth = match (self.profile, high) {
            (2, true) if r.flag()? => 12,
            (_, true) => 10,
            _ => 8,
        };
        self.monochrome = self.profile != 1 && r.flag()?;
        let description = if r.flag()? { Some((r.u8(8)?, r.u8(8)?, r.u8(8)?)) } else { None };
        if self.monochrome {
            return r.skip(1);
        }
        // sRGB with the identity matrix is 4:4:4 without a bit for it.
        if description == Some((1, 13, 0)) {
            (self.subsampling_x, self.subsampling_y) = (false, false);
            return Ok(());
        }
        r.skip(1)?;
        (self.subsampling_x, self.subsampling_y) = match (self.profile, self.bit_depth) {
            (0, _) => (true, true),
            (1, _) => (false, false),
            (_, 12) => {
                let x = r.flag()?;
                (x, x && r.flag()?)
            }
            _ => (true, false),
        };
        Ok(())
    }
}

/// §4.10.3.
fn uvlc(r: &mut BitReader<'_>) -> Result<u32> {
    let mut zeros = 0;
    while !r.flag()? {
        zeros += 1;
        if zeros >= 32 {
            return Ok(u32::MAX);
        }
    }
    Ok((r.u32(zeros)?).saturating_add((1u32 << zeros) - 1))
}

/// The configuration record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1Config {
    /// What the sequence header in the record says.
    pub header: SequenceHeader,
    /// The sequence header OBU, with its header and size.
    pub sequence: Bytes,
}

impl Av1Config {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is no record of version 1 or holds no sequence header.
    pub fn parse(record: &Bytes) -> Result<Av1Config> {
        let [marker, _, _, _, ..] = record[..] else {
            return Err(Error::Short { what: "AV1CodecConfigurationRecord" });
        };
        if marker != 0x81 {
            return Err(Error::Invalid { what: "AV1CodecConfigurationRecord marker", value: marker.into() });
        }
        Av1Config::from_obus(&record.slice(4..))
    }

    /// From OBUs that hold a sequence header, such as a key frame's.
    ///
    /// # Errors
    /// When there is none among them.
    pub fn from_obus(data: &Bytes) -> Result<Av1Config> {
        for obu in obus(data) {
            let obu = obu?;
            if obu.kind == unit::SEQUENCE_HEADER {
                let header = SequenceHeader::parse(obu.payload)?;
                // A record's OBUs must have a size field (§2.3.4).
                let mut sequence = BytesMut::with_capacity(obu.payload.len() + 9);
                sequence.put_u8((unit::SEQUENCE_HEADER << 3) | 2);
                let mut size = obu.payload.len();
                while size > 0x7f {
                    sequence.put_u8(size as u8 | 0x80);
                    size >>= 7;
                }
                sequence.put_u8(size as u8);
                sequence.put_slice(obu.payload);
                return Ok(Av1Config { header, sequence: sequence.freeze() });
            }
        }
        Err(Error::Short { what: "AV1 sequence header" })
    }

    /// The record.
    pub fn build(&self) -> Bytes {
        let h = &self.header;
        let mut out = BytesMut::with_capacity(4 + self.sequence.len());
        out.put_u8(0x81);
        out.put_u8((h.profile << 5) | h.level);
        out.put_u8(
            (u8::from(h.high_tier) << 7)
                | (u8::from(h.bit_depth > 8) << 6)
                | (u8::from(h.bit_depth == 12) << 5)
                | (u8::from(h.monochrome) << 4)
                | (u8::from(h.subsampling_x) << 3)
                | (u8::from(h.subsampling_y) << 2),
        );
        out.put_u8(0);
        out.put_slice(&self.sequence);
        out.freeze()
    }
}

/// A temporal unit without its temporal delimiters and padding, which samples must not hold (§2.4). Nothing is copied when none stand
/// in it.
///
/// # Errors
/// When an OBU is broken.
pub fn strip(data: Bytes) -> Result<Bytes> {
    let (mut dropped, mut lead, mut kept) = (0, 0, false);
    for obu in obus(&data) {
        let obu = obu?;
        if matches!(obu.kind, unit::TEMPORAL_DELIMITER | unit::PADDING) {
            dropped += obu.whole.len();
            if !kept {
                lead = dropped;
            }
        } else {
            kept = true;
        }
    }
    if dropped == lead {
        return Ok(data.slice(lead..));
    }
    let mut out = BytesMut::with_capacity(data.len() - dropped);
    for obu in obus(&data) {
        let obu = obu?;
        if !matches!(obu.kind, unit::TEMPORAL_DELIMITER | unit::PADDING) {
            out.put_slice(obu.whole);
        }
    }
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{AV1C_480P, AV1C_720P_10BIT, hex};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_of_two_encoders() {
        let config = Av1Config::parse(&hex(AV1C_720P_10BIT)).unwrap();
        let h = &config.header;
        assert_eq!((h.width, h.height, h.bit_depth, h.level, h.profile), (1280, 720, 10, 5, 0));
        assert_eq!(config.build(), hex(AV1C_720P_10BIT));
        let config = Av1Config::parse(&hex(AV1C_480P)).unwrap();
        assert_eq!((config.header.width, config.header.height, config.header.bit_depth), (854, 480, 8));
        assert_eq!(config.build(), hex(AV1C_480P));
        for n in 0..hex(AV1C_480P).len() - 1 {
            assert!(Av1Config::parse(&hex(AV1C_480P).slice(..n)).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn delimiters_leave_and_the_rest_is_not_copied() {
        let unit = Bytes::from_static(&[0x12, 0, 0x32, 2, 7, 8]);
        let kept = strip(unit.clone()).unwrap();
        assert_eq!(kept[..], [0x32, 2, 7, 8]);
        assert_eq!(kept.as_ptr(), unit[2..].as_ptr());
        let two = Bytes::from_static(&[0x12, 0, 0x32, 1, 7, 0x12, 0, 0x32, 1, 8]);
        assert_eq!(strip(two).unwrap()[..], [0x32, 1, 7, 0x32, 1, 8]);
        assert!(strip(Bytes::from_static(&[0x32, 9, 7])).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = SequenceHeader::parse(&data);
            let data = Bytes::from(data);
            let _ = (strip(data.clone()), Av1Config::from_obus(&data));
            let _ = Av1Config::parse(&data).map(|c| c.build());
        }
    }
}
