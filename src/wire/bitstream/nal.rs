//! Framing of NAL units: start codes (H.264 Annex B) and length prefixes (ISO/IEC 14496-15), and emulation prevention.

use super::{Error, Result};
use bytes::{BufMut, Bytes, BytesMut};

/// NAL units behind big-endian lengths of `length_size` bytes.
///
/// The iterator ends after the first broken unit, which it reports.
pub fn length_prefixed(data: &[u8], length_size: u8) -> impl Iterator<Item = Result<&[u8]>> {
    let size = usize::from(length_size.clamp(1, 4));
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((head, tail)) = rest.split_at_checked(size) else {
            rest = &[];
            return Some(Err(Error::Short { what: "NAL unit length" }));
        };
        let length = head.iter().fold(0usize, |n, &b| (n << 8) | usize::from(b));
        let Some((unit, tail)) = tail.split_at_checked(length) else {
            rest = &[];
            return Some(Err(Error::Short { what: "NAL unit" }));
        };
        rest = tail;
        Some(Ok(unit))
    })
}

/// NAL units between start codes (Annex B.1.1), without trailing zeros. What stands before the first start code is skipped.
pub fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(data).map_or(&data[data.len()..], |(_, after)| &data[after..]);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (unit, next) = match start_code(rest) {
                Some((before, after)) => (&rest[..before], &rest[after..]),
                None => (rest, &rest[rest.len()..]),
            };
            rest = next;
            let end = unit.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
            if end > 0 {
                return Some(&unit[..end]);
            }
        }
        None
    })
}

/// Whether the payload begins with a start code and so is Annex B.
pub fn is_annex_b(data: &[u8]) -> bool {
    data.starts_with(&[0, 0, 1]) || data.starts_with(&[0, 0, 0, 1])
}

/// Where the next `00 00 01` begins and ends.
fn start_code(data: &[u8]) -> Option<(usize, usize)> {
    let mut i = 0;
    while i + 3 <= data.len() {
        match data[i + 2] {
            0 => i += 1,
            1 if data[i] == 0 && data[i + 1] == 0 => return Some((i, i + 3)),
            _ => i += 3,
        }
    }
    None
}

/// NAL units put behind 4-byte lengths.
pub fn to_length_prefixed<'a>(units: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
    let mut out = BytesMut::with_capacity(units.clone().map(|u| u.len() + 4).sum());
    for unit in units {
        out.put_u32(u32::try_from(unit.len()).unwrap_or(u32::MAX));
        out.put_slice(unit);
    }
    out.freeze()
}

/// NAL units put behind 4-byte start codes.
pub fn to_annex_b<'a>(units: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
    let mut out = BytesMut::with_capacity(units.clone().map(|u| u.len() + 4).sum());
    for unit in units {
        out.put_slice(&[0, 0, 0, 1]);
        out.put_slice(unit);
    }
    out.freeze()
}

/// A NAL unit's payload without emulation prevention bytes (H.264 §7.4.1). `data` starts after the NAL unit header.
pub fn rbsp(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &b in data {
        if zeros >= 2 && b == 3 {
            zeros = 0;
            continue;
        }
        zeros = if b == 0 { zeros + 1 } else { 0 };
        out.push(b);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn annex_b_splits_at_both_start_codes_and_trims_zeros() {
        let data = [9, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 2];
        let units: Vec<&[u8]> = annex_b(&data).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 0, 2]]);
        assert_eq!(annex_b(&[1, 2, 3]).count(), 0);
        assert!(is_annex_b(&[0, 0, 1, 5]) && !is_annex_b(&[0, 0, 0, 5]));
    }

    #[test]
    fn a_broken_length_is_reported_once() {
        let found: Vec<_> = length_prefixed(&[0, 1, 7, 0, 9, 1], 2).collect();
        assert_eq!(found, [Ok(&[7u8][..]), Err(Error::Short { what: "NAL unit" })]);
        assert_eq!(length_prefixed(&[0, 0], 4).collect::<Vec<_>>(), [Err(Error::Short { what: "NAL unit length" })]);
    }

    #[test]
    fn emulation_prevention_is_removed() {
        assert_eq!(rbsp(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [1, 0, 0, 1, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn the_framings_hold_the_same_units(units in prop::collection::vec(prop::collection::vec(1u8..=255, 1..40), 0..8)) {
            let refs = units.iter().map(Vec::as_slice);
            let lengths = to_length_prefixed(refs.clone());
            let back: Result<Vec<&[u8]>> = length_prefixed(&lengths, 4).collect();
            prop_assert_eq!(back.unwrap(), refs.clone().collect::<Vec<_>>());
            let starts = to_annex_b(refs.clone());
            prop_assert_eq!(annex_b(&starts).collect::<Vec<_>>(), refs.collect::<Vec<_>>());
        }

        #[test]
        fn garbage_never_panics(data in prop::collection::vec(0u8..4, 0..200), size in any::<u8>()) {
            let _ = length_prefixed(&data, size).count();
            let _ = (annex_b(&data).count(), rbsp(&data));
        }
    }
}
