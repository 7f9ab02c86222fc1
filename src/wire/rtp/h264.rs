//! H.264 over RTP (RFC 6184), packetization mode 1: single NAL units, STAP-A, FU-A.

use crate::wire::bitstream::h264::{unit, unit_type};
use crate::wire::bitstream::nal;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of payload of a packet that we send: with RTP, SRTP, UDP and IPv6 headers it stays below 1280 bytes, the least
/// that IPv6 carries.
pub const MAX_PAYLOAD: usize = 1180;

/// The largest access unit that is put together: a key frame at 40 Mbps with a second's worth of bits.
pub const MAX_UNIT: usize = 5 << 20;

/// NAL units of an access unit: level 6.2 admits 600 slices.
const MAX_NALS: usize = 1024;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The payloads of one access unit, in order; the last one gets the marker. `unit` has its NAL units behind 4-byte
/// lengths; `sets` (sequence and picture parameter sets) go before them in one STAP-A. Delimiters and filler are left
/// out; a broken unit ends at the break.
pub fn packetize(unit: &Bytes, sets: &[Bytes], most: usize) -> Vec<Bytes> {
    let most = most.max(16);
    let mut out = Vec::with_capacity(unit.len() / most + 2);
    let together = 1 + sets.iter().map(|s| s.len() + 2).sum::<usize>();
    if sets.len() > 1 && together <= most {
        out.push(stap_a(sets, together));
    } else {
        sets.iter().for_each(|s| single(&mut out, s, most));
    }
    for nal in nal::length_prefixed(unit, 4).map_while(Result::ok).take(MAX_NALS) {
        if !matches!(unit_type(nal), 0 | unit::AUD | unit::FILLER | unit::END_OF_SEQUENCE | unit::END_OF_STREAM | 24..)
        {
            single(&mut out, &unit.slice_ref(nal), most);
        }
    }
    out
}

/// RFC 6184 §5.7.1.
fn stap_a(units: &[Bytes], size: usize) -> Bytes {
    let mut packet = BytesMut::with_capacity(size);
    // The highest importance of those within.
    let importance = units.iter().filter_map(|u| u.first()).map(|b| b & 0x60).max().unwrap_or(0);
    packet.put_u8(importance | STAP_A);
    for unit in units {
        packet.put_u16(unit.len() as u16);
        packet.put_slice(unit);
    }
    packet.freeze()
}

/// As it is where it fits (RFC 6184 §5.6), else in fragments (§5.8).
fn single(out: &mut Vec<Bytes>, nal: &Bytes, most: usize) {
    if nal.len() <= most {
        if !nal.is_empty() {
            out.push(nal.clone());
        }
        return;
    }
    let (indicator, kind) = ((nal[0] & 0xe0) | FU_A, nal[0] & 0x1f);
    let body = &nal[1..];
    let count = body.len().div_ceil(most - 2);
    // Even fragments: the last is not a stub.
    let size = body.len().div_ceil(count);
    for (n, part) in body.chunks(size).enumerate() {
        let mut packet = BytesMut::with_capacity(part.len() + 2);
        packet.put_u8(indicator);
        packet.put_u8(kind | if n == 0 { 0x80 } else { 0 } | if (n + 1) * size >= body.len() { 0x40 } else { 0 });
        packet.put_slice(part);
        out.push(packet.freeze());
    }
}

/// An access unit that was put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// RTP timestamp, unwrapped.
    pub timestamp: i64,
    /// NAL units behind 4-byte lengths, parameter sets among them.
    pub data: Bytes,
    /// It holds an IDR picture.
    pub key: bool,
}

/// Puts access units together from packets in order. Bounded by [`MAX_UNIT`].
#[derive(Debug, Default)]
pub struct Depacketizer {
    timestamp: Option<i64>,
    unit: BytesMut,
    nals: usize,
    key: bool,
    /// Where the NAL unit that is being put together from fragments begins in `unit`.
    fragment: Option<usize>,
    /// Something of the present unit is missing or broken.
    broken: bool,
    /// Packets are missing before the next one.
    lost: bool,
}

/// What a packet ended.
pub type Ended = core::iter::Flatten<core::array::IntoIter<Option<Result<AccessUnit, Broken>>, 2>>;

/// Whether a payload is, or begins with, a sequence parameter set.
fn begins_with_set(payload: &[u8]) -> bool {
    match unit_type(payload) {
        unit::SPS => true,
        STAP_A => payload.get(3).is_some_and(|first| first & 0x1f == unit::SPS),
        _ => false,
    }
}

impl Depacketizer {
    /// Packets were lost before the next one. What is under way is broken, and so is what the next packet belongs to,
    /// unless that begins with a sequence parameter set: then nothing before it matters.
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// Takes a packet's payload; gives the access units that end with it: at most the one before, where its marker was
    /// lost, and its own. One of which something was lost, or that cannot be read, is [`Broken`]: a picture is missing,
    /// so that those that refer to it are wrong.
    pub fn push(&mut self, timestamp: i64, marker: bool, payload: &[u8]) -> Ended {
        let mut before = None;
        let lost = std::mem::take(&mut self.lost);
        if self.timestamp.is_some_and(|t| t != timestamp) {
            self.broken |= lost;
            before = self.take();
        }
        if lost && !(self.timestamp.is_none() && begins_with_set(payload)) {
            self.broken = true;
        }
        self.timestamp = Some(timestamp);
        if self.broken || self.payload(payload).is_none() {
            self.broken = true;
            self.abandon_fragment();
        }
        let ended = if marker { self.take() } else { None };
        [before, ended].into_iter().flatten()
    }

    fn take(&mut self) -> Option<Result<AccessUnit, Broken>> {
        self.broken |= self.fragment.is_some();
        self.abandon_fragment();
        let data = self.unit.split().freeze();
        let key = std::mem::take(&mut self.key);
        self.nals = 0;
        let timestamp = self.timestamp.take()?;
        if std::mem::take(&mut self.broken) {
            return Some(Err(Broken));
        }
        (!data.is_empty()).then_some(Ok(AccessUnit { timestamp, data, key }))
    }

    fn abandon_fragment(&mut self) {
        if let Some(start) = self.fragment.take() {
            self.unit.truncate(start);
        }
    }

    fn payload(&mut self, payload: &[u8]) -> Option<()> {
        let first = *payload.first()?;
        let kind = first & 0x1f;
        if kind != FU_A && self.fragment.is_some() {
            return None;
        }
        match kind {
            1..=23 => self.nal(payload),
            STAP_A => {
                let mut rest = &payload[1..];
                while let Some((length, after)) = rest.split_first_chunk::<2>() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    self.nal(after.get(..length)?)?;
                    rest = &after[length..];
                }
                rest.is_empty().then_some(())
            }
            FU_A => {
                let header = *payload.get(1)?;
                let body = payload.get(2..)?;
                if header & 0x80 != 0 {
                    // A second start without an end between.
                    if self.fragment.is_some() {
                        return None;
                    }
                    self.room(body.len() + 5)?;
                    self.fragment = Some(self.unit.len());
                    self.unit.put_u32(0);
                    self.unit.put_u8((first & 0xe0) | (header & 0x1f));
                }
                let start = self.fragment?;
                self.room(body.len())?;
                self.unit.put_slice(body);
                if header & 0x40 != 0 {
                    let length = (self.unit.len() - start - 4) as u32;
                    self.unit[start..start + 4].copy_from_slice(&length.to_be_bytes());
                    self.fragment = None;
                    self.count(header & 0x1f)?;
                }
                Some(())
            }
            // Interleaved modes are not negotiated.
            _ => None,
        }
    }

    fn nal(&mut self, nal: &[u8]) -> Option<()> {
        let kind = nal.first()? & 0x1f;
        self.room(nal.len() + 4)?;
        self.unit.put_u32(nal.len() as u32);
        self.unit.put_slice(nal);
        self.count(kind)
    }

    fn room(&self, more: usize) -> Option<()> {
        (self.unit.len() + more <= MAX_UNIT).then_some(())
    }

    fn count(&mut self, kind: u8) -> Option<()> {
        self.key |= kind == unit::IDR;
        self.nals += 1;
        (self.nals <= MAX_NALS).then_some(())
    }
}

/// An access unit was lost or could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sequence parameter set that is read.
    pub(crate) fn sps() -> Bytes {
        use crate::wire::bitstream::{fixtures, h264::AvcConfig};
        AvcConfig::parse(&fixtures::hex(fixtures::AVCC_1080P25)).unwrap().sps[0].clone()
    }

    fn units() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let unit = (
            prop_oneof![Just(0x65u8), Just(0x41), Just(0x06), Just(0x61)],
            prop::collection::vec(any::<u8>(), 0..6000),
        );
        prop::collection::vec(unit.prop_map(|(h, b)| [vec![h], b].concat()), 1..6)
    }

    fn prefixed(units: &[Vec<u8>]) -> Bytes {
        nal::to_length_prefixed(units.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn what_is_packetized_is_put_together_again(units in units(), most in 100usize..1300, timestamp: i32) {
            let unit = prefixed(&units);
            let sets = [Bytes::from_static(b"\x67\x42\xe0\x1f"), Bytes::from_static(b"\x68\xce")];
            let packets = packetize(&unit, &sets, most);
            prop_assert!(packets.iter().all(|p| p.len() <= most));
            let mut depacketizer = Depacketizer::default();
            let last = packets.len() - 1;
            for (n, packet) in packets.iter().enumerate() {
                let done: Vec<_> = depacketizer.push(timestamp.into(), n == last, packet).collect();
                let mut expected = vec![sets[0].to_vec(), sets[1].to_vec()];
                expected.extend(units.clone());
                let key = units.iter().any(|u| u[0] == 0x65);
                let whole = AccessUnit { timestamp: timestamp.into(), data: prefixed(&expected), key };
                prop_assert_eq!(done, if n == last { vec![Ok(whole)] } else { vec![] });
            }
        }

        #[test]
        fn a_lost_packet_breaks_its_unit_alone(units in units(), drop: prop::sample::Index) {
            let unit = prefixed(&units);
            let packets = packetize(&unit, &[], 200);
            let gone = drop.index(packets.len());
            let mut depacketizer = Depacketizer::default();
            let mut ended = Vec::new();
            let sets = packetize(&Bytes::new(), &[Bytes::from_static(b"\x67\x42"), Bytes::from_static(b"\x68\xce")], 200);
            for timestamp in [0, 3000, 6000] {
                let packets = if timestamp == 3000 { [&sets[..], &packets].concat() } else { packets.clone() };
                for (n, packet) in packets.iter().enumerate() {
                    if timestamp == 0 && n == gone {
                        depacketizer.lost();
                        continue;
                    }
                    ended.extend(depacketizer.push(timestamp, n + 1 == packets.len(), packet));
                }
            }
            let key = units.iter().any(|u| u[0] == 0x65);
            prop_assert_eq!(ended.pop(), Some(Ok(AccessUnit { timestamp: 6000, data: unit, key })));
            prop_assert!(matches!(ended.pop(), Some(Ok(AccessUnit { timestamp: 3000, .. }))), "parameter sets come first");
            // Where all of the first unit was one packet, nothing of it is left to be broken.
            prop_assert_eq!(ended, if packets.len() == 1 { vec![] } else { vec![Err(Broken)] });
        }

        #[test]
        fn any_payload_is_read_or_broken(payloads in prop::collection::vec((any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..60)) {
            let mut depacketizer = Depacketizer::default();
            for (timestamp, marker, payload) in payloads {
                for unit in depacketizer.push((timestamp % 4).into(), marker, &payload).flatten() {
                    prop_assert!(nal::length_prefixed(&unit.data, 4).all(|n| n.is_ok()));
                }
            }
        }
    }
}
