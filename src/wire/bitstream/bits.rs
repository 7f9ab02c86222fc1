//! Reading single bits, most significant first, with the Exp-Golomb codes of H.264 §9.1.

use super::{Error, Result};

/// A cursor over bits. Reads past the end are errors that carry the structure's name.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    what: &'static str,
}

impl<'a> BitReader<'a> {
    /// At the first bit of `data`, which is (part of) a `what`.
    pub fn new(data: &'a [u8], what: &'static str) -> BitReader<'a> {
        BitReader { data, position: 0, what }
    }

    /// Bits left.
    pub fn remaining(&self) -> usize {
        self.data.len() * 8 - self.position
    }

    /// Bits read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bits (at most 64) as a number.
    pub fn bits(&mut self, count: u32) -> Result<u64> {
        let count = count.min(64) as usize;
        if self.remaining() < count {
            return Err(Error::Short { what: self.what });
        }
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let offset = self.position % 8;
            let take = left.min(8 - offset);
            let byte = u64::from(self.data[self.position / 8]);
            value = (value << take) | ((byte >> (8 - offset - take)) & ((1 << take) - 1));
            self.position += take;
            left -= take;
        }
        Ok(value)
    }

    /// Up to 32 bits.
    pub fn u32(&mut self, count: u32) -> Result<u32> {
        Ok(self.bits(count.min(32))? as u32)
    }

    /// Up to 8 bits.
    pub fn u8(&mut self, count: u32) -> Result<u8> {
        Ok(self.bits(count.min(8))? as u8)
    }

    /// One bit.
    pub fn flag(&mut self) -> Result<bool> {
        Ok(self.bits(1)? == 1)
    }

    /// Steps over `count` bits.
    pub fn skip(&mut self, count: usize) -> Result<()> {
        if self.remaining() < count {
            return Err(Error::Short { what: self.what });
        }
        self.position += count;
        Ok(())
    }

    /// `ue(v)`.
    pub fn ue(&mut self) -> Result<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 32 {
                return Err(Error::Invalid { what: self.what, value: zeros });
            }
        }
        let rest = self.bits(zeros as u32)?;
        u32::try_from((1u64 << zeros) - 1 + rest).map_err(|_| Error::Invalid { what: self.what, value: u64::MAX })
    }

    /// `ue(v)` that must not pass `most`.
    pub fn ue_max(&mut self, most: u32, what: &'static str) -> Result<u32> {
        let value = self.ue()?;
        if value > most { Err(Error::Invalid { what, value: value.into() }) } else { Ok(value) }
    }

    /// `se(v)`.
    pub fn se(&mut self) -> Result<i64> {
        let k = i64::from(self.ue()?);
        Ok(if k % 2 == 1 { (k + 1) / 2 } else { -(k / 2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cross_bytes_and_end_with_an_error() {
        let mut r = BitReader::new(&[0b1010_1100, 0b0101_0011], "test");
        assert_eq!(r.bits(3), Ok(0b101));
        assert_eq!(r.bits(9), Ok(0b0_1100_0101));
        assert_eq!(r.remaining(), 4);
        assert_eq!(r.bits(5), Err(Error::Short { what: "test" }));
        assert_eq!(r.bits(4), Ok(3));
        assert_eq!(r.flag(), Err(Error::Short { what: "test" }));
    }

    #[test]
    fn exp_golomb_codes_follow_the_table_of_h264() {
        // 1 010 011 00100 00101: 0 1 2 3 4, and as se(v): 0 1 -1 2 -2.
        let data = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut r = BitReader::new(&data, "test");
        let unsigned: Vec<u32> = (0..5).map(|_| r.ue().unwrap()).collect();
        assert_eq!(unsigned, [0, 1, 2, 3, 4]);
        let mut r = BitReader::new(&data, "test");
        let signed: Vec<i64> = (0..5).map(|_| r.se().unwrap()).collect();
        assert_eq!(signed, [0, 1, -1, 2, -2]);
        assert!(BitReader::new(&[0; 12], "test").ue().is_err());
        assert!(BitReader::new(&[0xff; 8], "test").bits(64).is_ok());
    }
}
