//! RTP and RTCP (RFC 3550) as the WebRTC peers use them, and the payload formats of H.264 and Opus.
//!
//! - [`Header`]: an RTP packet's header, read and written.
//! - [`Unwrap`]: sequence numbers and timestamps that wrap, as ever rising numbers.
//! - [`receive`]: what a receiver reports: loss, jitter.
//! - [`rtcp`]: reports and feedback.
//! - [`h264`]: RFC 6184, packetization mode 1.
//! - [`rtx`]: RFC 4588.

pub mod h264;
pub mod receive;
pub mod rtcp;

use core::ops::Range;

/// The fixed part of a header.
pub const HEADER: usize = 12;

/// An RTP packet's header (RFC 3550 §5.1), without contributing sources and extensions: we send none and use none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Ends an access unit, or begins a talk spurt.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload: u8,
    /// Sequence number.
    pub sequence: u16,
    /// In the payload type's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Reads a packet's header and says where its payload lies, padding left off; none where the lengths contradict
    /// each other.
    pub fn parse(packet: &[u8]) -> Option<(Header, Range<usize>)> {
        let fixed = packet.get(..HEADER)?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let mut start = HEADER + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let head = packet.get(start..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*packet.last()?);
            end = end.checked_sub(padding.max(1))?;
        }
        if start > end {
            return None;
        }
        let header = Header {
            marker: fixed[1] & 0x80 != 0,
            payload: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(4),
            ssrc: word(8),
        };
        Some((header, start..end))
    }

    /// Writes it.
    pub fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = 0x80;
        out[1] = (u8::from(self.marker) << 7) | (self.payload & 0x7f);
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out
    }
}

/// Whether a packet on a multiplexed flow is RTCP, not RTP (RFC 5761 §4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|t| (192..=223).contains(t))
}

/// Turns numbers of `BITS` bits that wrap into numbers that do not: each is taken to be the nearest to the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwrap<const BITS: u32> {
    newest: Option<i64>,
}

/// Of RTP sequence numbers.
pub type UnwrapSequence = Unwrap<16>;

/// Of RTP timestamps.
pub type UnwrapTimestamp = Unwrap<32>;

impl<const BITS: u32> Unwrap<BITS> {
    /// The number meant by `raw`. The first is itself; late ones may be smaller than those before, down to negative.
    pub fn unwrap(&mut self, raw: u32) -> i64 {
        let raw = i64::from(raw);
        let Some(newest) = self.newest else {
            self.newest = Some(raw);
            return raw;
        };
        let span = 1i64 << BITS;
        let step = (raw - newest).rem_euclid(span);
        let step = if step >= span / 2 { step - span } else { step };
        let value = newest + step;
        self.newest = Some(newest.max(value));
        value
    }
}

/// Retransmissions on a stream of their own (RFC 4588).
pub mod rtx {
    /// The original sequence number and where the original payload begins; none for an empty packet, which probes.
    pub fn parse(payload: &[u8]) -> Option<(u16, &[u8])> {
        let (sequence, rest) = payload.split_first_chunk::<2>()?;
        (!rest.is_empty()).then(|| (u16::from_be_bytes(*sequence), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extensions_sources_and_padding_are_left_off() {
        let header = Header { marker: true, payload: 111, sequence: 65_535, timestamp: 7, ssrc: 9 };
        let mut packet = header.write().to_vec();
        packet[0] |= 0x10 | 0x20 | 2;
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        packet.extend_from_slice(b"opus\0\0\x03");
        let (read, payload) = Header::parse(&packet).unwrap();
        assert_eq!((read, &packet[payload]), (header, &b"opus"[..]));
        let last = packet.len() - 1;
        packet[last] = 200;
        assert_eq!(Header::parse(&packet), None, "more padding than packet");
    }

    #[test]
    fn reports_are_told_from_media() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x81, 206]));
        assert!(!is_rtcp(&[0x80, 111]) && !is_rtcp(&[0x80, 111 | 0x80]) && !is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn headers_come_back(marker: bool, payload in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
                             body in prop::collection::vec(any::<u8>(), 0..20)) {
            let header = Header { marker, payload, sequence, timestamp, ssrc };
            let packet = [&header.write()[..], &body].concat();
            let (read, range) = Header::parse(&packet).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(&packet[range], &body[..]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some((_, range)) = Header::parse(&packet) {
                prop_assert!(range.start <= range.end && range.end <= packet.len());
            }
        }

        #[test]
        fn what_wraps_is_unwrapped(start: u32, steps in prop::collection::vec(-3000i64..3000, 1..200)) {
            let mut unwrap = UnwrapSequence::default();
            let mut at = i64::from(start as u16);
            let mut newest = at;
            prop_assert_eq!(unwrap.unwrap(at as u32), at);
            for step in steps {
                at = newest + step;
                newest = newest.max(at);
                prop_assert_eq!(unwrap.unwrap(u32::from(at.rem_euclid(65_536) as u16)), at);
            }
        }
    }
}
