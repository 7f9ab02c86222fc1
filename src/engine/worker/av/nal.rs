//! Forms of access units: length-prefixed NAL units and configuration records as in `media::codec`, and Annex B as libav
//! takes it.

use super::{AvError, corrupt};
use bytes::Bytes;

/// Rewrites NAL units with 4-byte lengths as Annex B after `out`'s content.
pub(super) fn to_annexb(data: &[u8], out: &mut Vec<u8>) -> Result<(), AvError> {
    let mut rest = data;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("truncated NAL length"))?;
        let n = u32::from_be_bytes(*length) as usize;
        let nal = tail.get(..n).ok_or_else(|| corrupt("NAL length beyond the access unit"))?;
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
        rest = &tail[n..];
    }
    Ok(())
}

/// Reads `count` NAL units with 2-byte lengths and appends them as Annex B.
fn parameter_sets<'a>(mut rest: &'a [u8], count: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let n = usize::from(u16::from_be_bytes(*length));
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(tail.get(..n)?);
        rest = &tail[n..];
    }
    Some(rest)
}

/// The parameter sets of an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1) as Annex B.
pub(super) fn avcc_to_annexb(config: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(config.len() + 16);
    let rest = parameter_sets(config.get(6..)?, usize::from(config[5] & 31), &mut out)?;
    let (&count, rest) = rest.split_first()?;
    parameter_sets(rest, usize::from(count), &mut out)?;
    Some(out)
}

/// The parameter sets of an `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1) as Annex B.
pub(super) fn hvcc_to_annexb(config: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(config.len() + 32);
    let arrays = *config.get(22)?;
    let mut rest = config.get(23..)?;
    for _ in 0..arrays {
        let count = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
        rest = parameter_sets(rest.get(3..)?, usize::from(count), &mut out)?;
    }
    Some(out)
}

/// The NAL units of an Annex B byte stream (ITU-T H.264 annex B).
fn nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let current = rest?;
        let end = find_start_code(current).unwrap_or(current.len());
        rest = after_start_code(&current[end..]);
        let nal = &current[..end];
        // Zeros before the next start code belong to it.
        let used = nal.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
        Some(&nal[..used])
    })
    .filter(|nal| !nal.is_empty())
}

fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|w| w == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    find_start_code(data).map(|i| &data[i + 3..])
}

/// An encoder's access unit with 4-byte lengths; parameter sets, delimiters and SEI (x264's settings) left out.
pub(super) fn to_lengths(annexb: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(annexb.len() + 16);
    for nal in nals(annexb) {
        if !matches!(nal[0] & 31, 6..=9) {
            out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            out.extend_from_slice(nal);
        }
    }
    out.into()
}

/// An `AVCDecoderConfigurationRecord` from an encoder's Annex B parameter sets.
pub(super) fn avcc(annexb: &[u8]) -> Option<Bytes> {
    let sps = nals(annexb).find(|n| n[0] & 31 == 7).filter(|n| n.len() >= 4)?;
    let pps = nals(annexb).find(|n| n[0] & 31 == 8)?;
    let mut out = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    out.extend_from_slice(&u16::try_from(sps.len()).ok()?.to_be_bytes());
    out.extend_from_slice(sps);
    out.push(1);
    out.extend_from_slice(&u16::try_from(pps.len()).ok()?.to_be_bytes());
    out.extend_from_slice(pps);
    if matches!(sps[1], 100 | 110 | 122 | 144) {
        // 4:2:0, 8 bits: the only format that is encoded here.
        out.extend_from_slice(&[0xfd, 0xf8, 0xf8, 0]);
    }
    Some(out.into())
}
