//! MPEG-1/2/2.5 audio layer III: the frame header (ISO/IEC 11172-3 §2.4.1.3, ISO/IEC 13818-3 §2.4.1.3).

use super::{Error, Result};

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mp3Header {
    /// Samples per second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Kilobits per second; 0 for the free format.
    pub kbps: u32,
    /// Samples per channel in the frame.
    pub samples: u32,
}

impl Mp3Header {
    /// Reads the header at the start of a frame.
    ///
    /// # Errors
    /// When the data is short, does not begin with the sync word, or is no layer III.
    pub fn parse(data: &[u8]) -> Result<Mp3Header> {
        let Some(head) = data.first_chunk::<4>() else { return Err(Error::Short { what: "MP3 frame header" }) };
        let h = u32::from_be_bytes(*head);
        let invalid = |what, value: u32| Err(Error::Invalid { what, value: value.into() });
        if h >> 21 != 0x7ff {
            return invalid("MP3 sync word", h >> 21);
        }
        let (version, layer) = ((h >> 19) & 3, (h >> 17) & 3);
        if layer != 1 {
            return invalid("MPEG audio layer", layer);
        }
        let (rate, low) = match version {
            3 => ([44_100, 48_000, 32_000], false),
            2 => ([22_050, 24_000, 16_000], true),
            0 => ([11_025, 12_000, 8_000], true),
            _ => return invalid("MPEG audio version", version),
        };
        let Some(&sample_rate) = rate.get(((h >> 10) & 3) as usize) else {
            return invalid("MP3 sampling frequency", 3);
        };
        let index = ((h >> 12) & 15) as usize;
        const FULL: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const LOW: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let Some(&kbps) = (if low { LOW } else { FULL }).get(index) else {
            return invalid("MP3 bit rate", 15);
        };
        let channels = if (h >> 6) & 3 == 3 { 1 } else { 2 };
        Ok(Mp3Header { sample_rate, channels, kbps, samples: if low { 576 } else { 1152 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_of_both_versions() {
        let h = Mp3Header::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        assert_eq!(h, Mp3Header { sample_rate: 44_100, channels: 2, kbps: 128, samples: 1152 });
        let h = Mp3Header::parse(&[0xff, 0xf3, 0x84, 0xc4]).unwrap();
        assert_eq!(h, Mp3Header { sample_rate: 24_000, channels: 1, kbps: 64, samples: 576 });
        for bad in
            [&[0xff, 0xfb, 0x90][..], &[0xff, 0xfd, 0x90, 0x64], &[0x7f, 0xfb, 0x90, 0x64], &[0xff, 0xfb, 0xf0, 0x64]]
        {
            assert!(Mp3Header::parse(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..8)) {
            let _ = Mp3Header::parse(&data);
        }
    }
}
