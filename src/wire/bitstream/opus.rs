//! Opus: the `OpusHead` identification header (RFC 7845 §5.1). What a packet says of itself is in [`crate::media::opus`].

use super::{Error, Result};
use bytes::{BufMut, Bytes, BytesMut};

const MAGIC: &[u8] = b"OpusHead";

/// Opus always decodes at this rate.
pub const SAMPLE_RATE: u32 = 48_000;

/// An identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusHead {
    /// Channels, 1 to 8.
    pub channels: u8,
    /// Samples at 48 kHz to discard at the start.
    pub pre_skip: u16,
    /// The rate of the encoder's input; information only.
    pub input_rate: u32,
    /// Gain in 1/256 dB.
    pub gain: i16,
    /// Mapping family 0 (mono, stereo), 1 (surround in Vorbis order) or other.
    pub family: u8,
    /// Stream count, coupled count and channel mapping; empty in family 0.
    pub mapping: Bytes,
}

impl OpusHead {
    /// Reads a header, with or without its magic signature (some containers leave that out).
    ///
    /// # Errors
    /// When it ends early or has no channels that a stream can have.
    pub fn parse(data: &[u8]) -> Result<OpusHead> {
        const WHAT: &str = "OpusHead";
        let data = data.strip_prefix(MAGIC).unwrap_or(data);
        let Some((h, rest)) = data.split_first_chunk::<11>() else { return Err(Error::Short { what: WHAT }) };
        if h[0] > 15 {
            return Err(Error::Invalid { what: "OpusHead version", value: h[0].into() });
        }
        let (channels, family) = (h[1], h[10]);
        if channels == 0 || channels > 8 || (family == 0 && channels > 2) {
            return Err(Error::Invalid { what: "Opus channels", value: channels.into() });
        }
        let mapping = match family {
            0 => Bytes::new(),
            _ => match rest.get(..2 + usize::from(channels)) {
                Some(m) if m[0] > 0 && m[1] <= m[0] && u16::from(m[0]) + u16::from(m[1]) <= 255 => {
                    Bytes::copy_from_slice(m)
                }
                Some(m) => return Err(Error::Invalid { what: "Opus stream count", value: m[0].into() }),
                None => return Err(Error::Short { what: WHAT }),
            },
        };
        Ok(OpusHead {
            channels,
            pre_skip: u16::from_le_bytes([h[2], h[3]]),
            input_rate: u32::from_le_bytes([h[4], h[5], h[6], h[7]]),
            gain: i16::from_le_bytes([h[8], h[9]]),
            family,
            mapping,
        })
    }

    /// A header of family 0.
    pub fn simple(channels: u8, pre_skip: u16) -> OpusHead {
        let channels = channels.clamp(1, 2);
        OpusHead { channels, pre_skip, input_rate: SAMPLE_RATE, gain: 0, family: 0, mapping: Bytes::new() }
    }

    /// The header with its magic signature.
    pub fn build(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(19 + self.mapping.len());
        out.put_slice(MAGIC);
        out.put_slice(&[1, self.channels]);
        out.put_u16_le(self.pre_skip);
        out.put_u32_le(self.input_rate);
        out.put_i16_le(self.gain);
        out.put_u8(self.family);
        out.put_slice(&self.mapping);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_survives_with_and_without_magic() {
        let head = OpusHead::simple(2, 312);
        let built = head.build();
        assert_eq!(built.len(), 19);
        assert_eq!(OpusHead::parse(&built).unwrap(), head);
        assert_eq!(OpusHead::parse(&built[8..]).unwrap(), head);
        assert!(OpusHead::parse(&built[..18]).is_err());
        let surround =
            OpusHead { channels: 6, family: 1, mapping: Bytes::from_static(&[4, 2, 0, 4, 1, 2, 3, 5]), ..head };
        assert_eq!(OpusHead::parse(&surround.build()).unwrap(), surround);
        assert!(OpusHead::parse(&surround.build()[..22]).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = OpusHead::parse(&data).map(|h| h.build());
        }
    }
}
