//! Packagers and windows together, on synthetic packets and on what ffmpeg encodes.

mod ffmpeg;
mod grid;
mod playlists;
mod source;
mod window;

use super::*;
use crate::media::{AudioCodec, AudioFormat, Media, Packet, TrackId, VideoCodec, VideoFormat};
use crate::wire::bitstream::fixtures::{AVCC_1080P25, AVCC_INTERLACED_444, hex};

/// Somewhere in 2026, on no grid.
pub(super) const NOW: Ts = Ts::from_flicks(1_786_000_000 * crate::media::time::FLICKS_PER_SECOND + 123_456);

pub(super) fn video_track(config: &str, rate: Option<(u32, u32)>) -> Arc<Track> {
    let format = VideoFormat {
        codec: VideoCodec::H264,
        config: hex(config),
        width: 1920,
        height: 1080,
        frame_rate: rate,
        sample_aspect: None,
    };
    Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) })
}

pub(super) fn picture() -> Arc<Track> {
    video_track(AVCC_1080P25, Some((25, 1)))
}

pub(super) fn other_picture() -> Arc<Track> {
    video_track(AVCC_INTERLACED_444, Some((25, 1)))
}

pub(super) fn sound_track(sample_rate: u32) -> Arc<Track> {
    // AAC-LC, stereo: 48 kHz or 44.1 kHz.
    let config = if sample_rate == 48_000 { "1190" } else { "1210" };
    let format = AudioFormat { codec: AudioCodec::Aac, config: hex(config), sample_rate, channels: 2 };
    Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(format) })
}

pub(super) fn packet(track: &Arc<Track>, pts: Ts, duration: Dur, key: bool) -> Packet {
    let data = pts.flicks().to_be_bytes().to_vec().into();
    let track = Arc::clone(track);
    Packet { track, epoch: 0, dts: pts, pts, duration, key, decode_only: false, arrival: pts, data }
}

pub(super) fn video_spec(name: &str) -> RenditionSpec {
    RenditionSpec {
        name: name.into(),
        kind: RenditionKind::Video { frame_rate: 25.0, source: name == "source" },
        bitrate: 3_000_000,
        max_bitrate: 4_500_000,
    }
}

pub(super) fn sound_spec(name: &str, language: &str, default: bool) -> RenditionSpec {
    RenditionSpec {
        name: name.into(),
        kind: RenditionKind::Audio { language: language.into(), label: String::new(), default },
        bitrate: 128_000,
        max_bitrate: 140_000,
    }
}

pub(super) fn grid25() -> Grid {
    Grid::new(25).expect("25 fps has a grid")
}

pub(super) fn limits() -> WindowLimits {
    WindowLimits { live_segments: 8, dvr: Dur::from_secs(60), disk: true }
}

/// Picture packets of the grid's slots, a key frame at each segment and at the first.
pub(super) fn slots(
    track: &Arc<Track>,
    grid: Grid,
    slots: std::ops::Range<i64>,
) -> impl Iterator<Item = Packet> + use<> {
    let (track, first) = (Arc::clone(track), slots.start);
    slots.map(move |n| {
        let key = n == first || n % i64::from(grid.frames_per_segment()) == 0;
        packet(&track, grid.frame_start(n), grid.frame(), key)
    })
}

/// What a packager makes of packets; it must not fail.
pub(super) fn package(packager: &mut Packager, packets: impl IntoIterator<Item = Packet>) -> Vec<Output> {
    let mut out = Vec::new();
    for packet in packets {
        packager.push(&packet, &mut out).expect("the format can be packaged");
    }
    out
}

pub(super) fn parts(outputs: &[Output]) -> Vec<&Part> {
    outputs.iter().filter_map(|o| if let Output::Part(part) = o { Some(part) } else { None }).collect()
}

/// Numbers, starts, discontinuities of the segments begun.
pub(super) fn starts(outputs: &[Output]) -> Vec<(u64, Ts, bool)> {
    let of = |o: &Output| match o {
        Output::SegmentStart { number, start, discontinuity } => Some((*number, *start, *discontinuity)),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

pub(super) fn ends(outputs: &[Output]) -> Vec<Dur> {
    let of = |o: &Output| if let Output::SegmentEnd { duration, .. } = o { Some(*duration) } else { None };
    outputs.iter().filter_map(of).collect()
}

pub(super) fn inits(outputs: &[Output]) -> Vec<u32> {
    let of = |o: &Output| if let Output::Init(init) = o { Some(init.version) } else { None };
    outputs.iter().filter_map(of).collect()
}

/// A sample as a foreign parser sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub dts: u64,
    pub cts: i64,
    pub duration: u32,
    pub sync: bool,
    pub data: Vec<u8>,
}

/// All samples of concatenated chunks, by `mp4-atom`.
pub(super) fn samples(data: &[u8]) -> Vec<Seen> {
    use mp4_atom::{Any, DecodeMaybe};
    let mut cursor = std::io::Cursor::new(data);
    let mut out = Vec::new();
    let mut moof_at = 0;
    let mut run = None;
    loop {
        let at = cursor.position() as usize;
        let Some(atom) = Any::decode_maybe(&mut cursor).expect("well-formed box") else { return out };
        match atom {
            Any::Moof(moof) => (moof_at, run) = (at, Some(moof)),
            Any::Mdat(_) => {
                let moof = run.take().expect("mdat after its moof");
                let traf = &moof.traf[0];
                let mut dts = traf.tfdt.as_ref().expect("tfdt").base_media_decode_time;
                let mut from = moof_at + traf.trun[0].data_offset.expect("data offset") as usize;
                for entry in traf.trun[0].samples.iter() {
                    let duration = entry.duration.or(traf.tfhd.default_sample_duration).expect("duration");
                    let size = entry.size.or(traf.tfhd.default_sample_size).expect("size") as usize;
                    let sync = entry.flags.or(traf.tfhd.default_sample_flags).expect("flags") & 0x1_0000 == 0;
                    let cts = entry.cts.unwrap_or(0);
                    out.push(Seen { dts, cts, duration, sync, data: data[from..from + size].to_vec() });
                    dts += u64::from(duration);
                    from += size;
                }
            }
            _ => {}
        }
    }
}
