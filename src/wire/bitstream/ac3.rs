//! AC-3: the syncframe's header (ETSI TS 102 366 §4.3).

use super::{BitReader, Error, Result};

/// Samples per channel in a syncframe: six blocks of 256.
pub const SAMPLES: u32 = 1536;

/// A syncframe's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ac3Header {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels with the low frequency one, 1 to 6.
    pub channels: u8,
}

impl Ac3Header {
    /// Reads the header at the start of a syncframe.
    ///
    /// # Errors
    /// When the data is short, does not begin with the sync word, or is Enhanced AC-3.
    pub fn parse(data: &[u8]) -> Result<Ac3Header> {
        let r = &mut BitReader::new(data, "AC-3 syncframe");
        let sync = r.bits(16)?;
        if sync != 0x0b77 {
            return Err(Error::Invalid { what: "AC-3 sync word", value: sync });
        }
        r.skip(16)?;
        let code = r.u8(2)?;
        let sample_rate = match code {
            0 => 48_000,
            1 => 44_100,
            2 => 32_000,
            _ => return Err(Error::Invalid { what: "AC-3 sample rate code", value: code.into() }),
        };
        r.skip(6)?;
        let bsid = r.u8(5)?;
        if bsid > 8 {
            return Err(Error::Invalid { what: "AC-3 bit stream identification", value: bsid.into() });
        }
        r.skip(3)?;
        let mode = r.u8(3)?;
        if mode & 1 == 1 && mode != 1 {
            r.skip(2)?;
        }
        if mode & 4 != 0 {
            r.skip(2)?;
        }
        if mode == 2 {
            r.skip(2)?;
        }
        let channels = [2, 1, 2, 3, 3, 4, 4, 5][usize::from(mode)] + u8::from(r.flag()?);
        Ok(Ac3Header { sample_rate, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn surround_and_stereo() {
        // ffmpeg 5.1, 48 kHz: 5.1 at 448 kbps; stereo at 192 kbps.
        assert_eq!(
            Ac3Header::parse(&[0x0b, 0x77, 0x28, 0x19, 0x1e, 0x40, 0xeb, 0xf8]),
            Ok(Ac3Header { sample_rate: 48_000, channels: 6 })
        );
        assert_eq!(
            Ac3Header::parse(&[0x0b, 0x77, 0x50, 0x52, 0x14, 0x40, 0x43, 0xe1]),
            Ok(Ac3Header { sample_rate: 48_000, channels: 2 })
        );
        assert!(Ac3Header::parse(&[0x0b, 0x77, 0, 0, 0x1e, 0x80, 0xe1, 0]).is_err());
        assert!(Ac3Header::parse(&[0x0b, 0x77, 0]).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = Ac3Header::parse(&data);
            let _ = Ac3Header::parse(&[&[0x0b, 0x77][..], &data].concat());
        }
    }
}
