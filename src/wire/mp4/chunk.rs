//! `moof` and `mdat`, written by hand: sizes are known before the first byte, so there is one allocation and each
//! payload byte is copied once.

use bytes::{BufMut, Bytes};

/// `sample_flags` of a picture that decoding can begin with, and of sound: depends on nothing (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_flags` of other pictures: depends on others, is not a sync sample.
const NON_SYNC: u32 = 0x0101_0000;

const TFHD_DEFAULT_DURATION: u32 = 0x08;
const TFHD_DEFAULT_FLAGS: u32 = 0x20;
const TFHD_BASE_IS_MOOF: u32 = 0x02_0000;
const TRUN_DATA_OFFSET: u32 = 0x01;
const TRUN_FIRST_FLAGS: u32 = 0x04;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_OFFSET: u32 = 0x800;

/// One sample of a chunk. Times are in the track's timescale.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The access unit.
    pub data: Bytes,
    /// How long it lasts in decoding order.
    pub duration: u32,
    /// Presentation time minus decoding time.
    pub composition: i32,
    /// Whether decoding can begin with it.
    pub sync: bool,
}

/// A written chunk.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// `styp` where asked for, `moof`, `mdat`.
    pub data: Bytes,
    /// Where `moof` begins.
    pub moof: usize,
    /// Where the first sample ends.
    pub first_end: usize,
}

/// Which per-sample fields a run needs.
struct Layout {
    tfhd: u32,
    trun: u32,
}

impl Layout {
    fn of(samples: &[Sample]) -> Layout {
        let (mut tfhd, mut trun) = (TFHD_BASE_IS_MOOF | TFHD_DEFAULT_FLAGS, TRUN_DATA_OFFSET | TRUN_SIZE);
        let first = samples.first();
        if samples.iter().all(|s| Some(s.duration) == first.map(|f| f.duration)) {
            tfhd |= TFHD_DEFAULT_DURATION;
        } else {
            trun |= TRUN_DURATION;
        }
        // The default is what all samples but the first are.
        let rest = samples.get(1).or(first).is_some_and(|s| s.sync);
        if !samples.iter().skip(1).all(|s| s.sync == rest) {
            trun |= TRUN_FLAGS;
        } else if first.is_some_and(|s| s.sync != rest) {
            trun |= TRUN_FIRST_FLAGS;
        }
        if samples.iter().any(|s| s.composition != 0) {
            trun |= TRUN_OFFSET;
        }
        Layout { tfhd, trun }
    }

    fn tfhd_size(&self) -> usize {
        16 + 4 * (self.tfhd & (TFHD_DEFAULT_DURATION | TFHD_DEFAULT_FLAGS)).count_ones() as usize
    }

    fn trun_size(&self, samples: usize) -> usize {
        let head = 4 * (self.trun & (TRUN_DATA_OFFSET | TRUN_FIRST_FLAGS)).count_ones() as usize;
        let each = 4 * (self.trun & (TRUN_DURATION | TRUN_SIZE | TRUN_FLAGS | TRUN_OFFSET)).count_ones() as usize;
        16 + head + each * samples
    }
}

fn flags(sync: bool) -> u32 {
    if sync { SYNC } else { NON_SYNC }
}

/// Header of a box. Chunks are far below 4 GiB: a part holds at most a few seconds of packets that ingest bounds to
/// some megabytes each.
fn head(out: &mut Vec<u8>, size: usize, kind: &[u8; 4]) {
    out.put_u32(size as u32);
    out.put_slice(kind);
}

fn full(out: &mut Vec<u8>, size: usize, kind: &[u8; 4], version: u8, flags: u32) {
    head(out, size, kind);
    out.put_u32(u32::from(version) << 24 | flags);
}

/// One CMAF chunk of track 1. `sequence` counts the track's fragments, `decode_time` is the first sample's decoding
/// time; with `segment_start` a `styp` stands before it.
pub fn chunk(sequence: u32, decode_time: u64, segment_start: bool, samples: &[Sample]) -> Chunk {
    const STYP: usize = 8 + 8 + 8;
    const MFHD: usize = 16;
    const TFDT: usize = 20;
    let layout = Layout::of(samples);
    let (tfhd, trun) = (layout.tfhd_size(), layout.trun_size(samples.len()));
    let traf = 8 + tfhd + TFDT + trun;
    let moof = 8 + MFHD + traf;
    let payload: usize = samples.iter().map(|s| s.data.len()).sum();
    let before = if segment_start { STYP } else { 0 };
    let mut out = Vec::with_capacity(before + moof + 8 + payload);

    if segment_start {
        head(&mut out, STYP, b"styp");
        out.put_slice(b"msdh");
        out.put_u32(0);
        out.put_slice(b"msdhcmfs");
    }
    head(&mut out, moof, b"moof");
    full(&mut out, MFHD, b"mfhd", 0, 0);
    out.put_u32(sequence);
    head(&mut out, traf, b"traf");
    full(&mut out, tfhd, b"tfhd", 0, layout.tfhd);
    out.put_u32(1);
    if layout.tfhd & TFHD_DEFAULT_DURATION != 0 {
        out.put_u32(samples.first().map_or(0, |s| s.duration));
    }
    out.put_u32(flags(samples.get(1).or(samples.first()).is_some_and(|s| s.sync)));
    full(&mut out, TFDT, b"tfdt", 1, 0);
    out.put_u64(decode_time);
    // Version 1: composition offsets are signed.
    full(&mut out, trun, b"trun", 1, layout.trun);
    out.put_u32(samples.len() as u32);
    out.put_u32((moof + 8) as u32);
    if layout.trun & TRUN_FIRST_FLAGS != 0 {
        out.put_u32(flags(samples.first().is_some_and(|s| s.sync)));
    }
    for sample in samples {
        if layout.trun & TRUN_DURATION != 0 {
            out.put_u32(sample.duration);
        }
        out.put_u32(sample.data.len() as u32);
        if layout.trun & TRUN_FLAGS != 0 {
            out.put_u32(flags(sample.sync));
        }
        if layout.trun & TRUN_OFFSET != 0 {
            out.put_i32(sample.composition);
        }
    }
    head(&mut out, 8 + payload, b"mdat");
    for sample in samples {
        out.put_slice(&sample.data);
    }
    let first_end = before + moof + 8 + samples.first().map_or(0, |s| s.data.len());
    Chunk { data: Bytes::from(out), moof: before, first_end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Any, DecodeMaybe, Moof};
    use proptest::prelude::*;

    fn atoms(data: &[u8]) -> Vec<Any> {
        let mut cursor = std::io::Cursor::new(data);
        std::iter::from_fn(|| Any::decode_maybe(&mut cursor).expect("well-formed box")).collect()
    }

    fn moof(data: &[u8]) -> Moof {
        atoms(data).into_iter().find_map(|a| if let Any::Moof(m) = a { Some(m) } else { None }).expect("a moof")
    }

    fn sample() -> impl Strategy<Value = Sample> {
        (prop::collection::vec(any::<u8>(), 0..40), 0u32..5000, -3000i32..3000, any::<bool>())
            .prop_map(|(data, duration, composition, sync)| Sample { data: data.into(), duration, composition, sync })
    }

    proptest! {
        #[test]
        fn a_foreign_parser_reads_back_what_was_written(
            samples in prop::collection::vec(sample(), 1..20),
            uniform in any::<bool>(),
            sequence in any::<u32>(),
            time in any::<u64>(),
            start in any::<bool>(),
        ) {
            let mut samples = samples;
            if uniform {
                for (i, s) in samples.iter_mut().enumerate() {
                    (s.duration, s.composition, s.sync) = (3600, 0, i == 0);
                }
            }
            let chunk = chunk(sequence, time, start, &samples);
            let atoms = atoms(&chunk.data);
            prop_assert_eq!(atoms.len(), if start { 3 } else { 2 });
            let moof = moof(&chunk.data);
            prop_assert_eq!(moof.mfhd.sequence_number, sequence);
            let traf = &moof.traf[0];
            prop_assert_eq!(traf.tfdt.as_ref().map(|t| t.base_media_decode_time), Some(time));
            prop_assert!(traf.tfhd.default_base_is_moof);
            let run = &traf.trun[0];
            prop_assert_eq!(run.samples.len(), samples.len());
            let mut at = chunk.moof + run.data_offset.expect("data offset") as usize;
            for (entry, sample) in run.samples.iter().zip(&samples) {
                prop_assert_eq!(entry.duration.or(traf.tfhd.default_sample_duration), Some(sample.duration));
                prop_assert_eq!(entry.cts.unwrap_or(0), i64::from(sample.composition));
                prop_assert_eq!(entry.flags.or(traf.tfhd.default_sample_flags), Some(flags(sample.sync)));
                let size = entry.size.expect("size") as usize;
                prop_assert_eq!(&chunk.data[at..at + size], &sample.data[..]);
                at += size;
            }
            prop_assert_eq!(at, chunk.data.len());
            let first = chunk.moof + run.data_offset.expect("data offset") as usize + samples[0].data.len();
            prop_assert_eq!(chunk.first_end, first);
        }
    }

    #[test]
    fn a_usual_group_of_pictures_costs_four_bytes_per_frame() {
        let one = |sync| Sample { data: Bytes::from_static(b"x"), duration: 3600, composition: 0, sync };
        let size = |n: usize| {
            let samples: Vec<_> = (0..n).map(|i| one(i == 0)).collect();
            chunk(1, 0, false, &samples).data.len()
        };
        assert_eq!(size(9) - size(8), 4 + 1);
    }
}
