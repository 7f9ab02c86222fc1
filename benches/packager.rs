//! What packaging costs: packets per second and bytes moved, beside the limit of copying the same bytes once.
//!
//! `cargo bench --bench packager`. `copy` is the floor: the payload into freshly allocated parts, nothing else.

use boothcast::media::{
    AudioCodec, AudioFormat, Dur, Grid, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use boothcast::package::{
    Cut, Output, Packager, RenditionKind, RenditionSpec, Resume, SourcePackager, SourceTargets, Window, WindowLimits,
    playlist,
};
use boothcast::wire::m3u8::Suffix;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

/// x264 High, 1920×1080, 25 fps.
const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1e, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5,
    0xc0, 0x5a, 0x80, 0x80, 0x80, 0xa0, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x06, 0x41, 0xe3, 0x06, 0x32, 0xc0,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
const KEY_FRAME: usize = 157_000;
/// With the key frame 6 Mbit/s over a segment of 48 pictures.
const OTHER_FRAME: usize = 27_300;
const SEGMENTS: i64 = 4;

fn video() -> Arc<Track> {
    let config = Bytes::from_static(AVCC);
    let format = VideoFormat { codec: VideoCodec::H264, config, width: 1920, height: 1080, frame_rate: Some((25, 1)) };
    Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) })
}

fn audio() -> Arc<Track> {
    let config = Bytes::from_static(&[0x11, 0x90]);
    let format = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 };
    Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(format) })
}

fn packet(track: &Arc<Track>, at: Ts, key: bool, size: usize) -> Packet {
    let track = Arc::clone(track);
    let data = Bytes::from(vec![0x5a; size]);
    Packet { track, epoch: 0, dts: at, pts: at, duration: Dur::ZERO, key, decode_only: false, arrival: at, data }
}

fn spec(name: &str) -> RenditionSpec {
    let kind = RenditionKind::Video { frame_rate: 25.0, source: false };
    RenditionSpec { name: name.into(), kind, bitrate: 6_000_000, max_bitrate: 9_000_000 }
}

fn sound_spec() -> RenditionSpec {
    let kind = RenditionKind::Audio { language: "de".into(), label: String::new(), default: true };
    RenditionSpec { name: "de".into(), kind, bitrate: 128_000, max_bitrate: 140_000 }
}

fn programme(grid: Grid, first: i64) -> Vec<Packet> {
    let (video, audio) = (video(), audio());
    let frames = SEGMENTS * i64::from(grid.frames_per_segment());
    let mut packets: Vec<_> = (first..first + frames)
        .map(|n| {
            let key = n % i64::from(grid.frames_per_segment()) == 0;
            packet(&video, grid.frame_start(n), key, if key { KEY_FRAME } else { OTHER_FRAME })
        })
        .collect();
    let sound = grid.aac_number(grid.frame_start(first));
    let count = SEGMENTS * i64::from(grid.aac_frames_per_segment());
    packets.extend((sound..sound + count).map(|k| packet(&audio, grid.aac_start(k), false, 341)));
    packets.sort_by_key(|p| p.dts);
    packets
}

fn bench(c: &mut Criterion) {
    let grid = Grid::new(25).unwrap_or_else(|| Grid::for_source(25, 1));
    let first = grid.frame_number(grid.segment_start(930_000_000));
    let packets = programme(grid, first);
    let pictures: Vec<_> = packets.iter().filter(|p| p.track.is_video()).cloned().collect();
    let bytes = |packets: &[Packet]| packets.iter().map(|p| p.data.len() as u64).sum::<u64>();

    let mut group = c.benchmark_group("packager");
    group.throughput(Throughput::Bytes(bytes(&pictures)));
    group.bench_function("copy", |b| {
        b.iter_with_large_drop(|| {
            let part = |chunk: &[Packet]| {
                let mut out = Vec::with_capacity(chunk.iter().map(|p| p.data.len()).sum());
                chunk.iter().for_each(|p| out.extend_from_slice(&p.data));
                Bytes::from(out)
            };
            pictures.chunks(grid.frames_per_part() as usize).map(part).collect::<Vec<_>>()
        });
    });
    group.bench_function("grid", |b| {
        b.iter_batched_ref(
            || Packager::new(spec("1080p"), grid, Resume::default()),
            |packager| {
                let mut out = Vec::new();
                for packet in &pictures {
                    let _ = black_box(packager.push(packet, &mut out));
                }
                out
            },
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Bytes(bytes(&packets)));
    group.bench_function("source", |b| {
        let targets = SourceTargets::for_rate(Some((25, 1)));
        b.iter_batched_ref(
            || {
                let sound = vec![(sound_spec(), TrackId::audio(0), Resume::default())];
                SourcePackager::new(targets, Some((spec("source"), Resume::default())), sound)
            },
            |packager| {
                let mut out = Vec::new();
                for packet in &packets {
                    let _ = black_box(packager.push(packet, &mut out));
                }
                out
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();

    // Bookkeeping without payload: packets per second.
    let small: Vec<_> = pictures.iter().map(|p| Packet { data: Bytes::from_static(&[0; 8]), ..p.clone() }).collect();
    let mut group = c.benchmark_group("packets");
    group.throughput(Throughput::Elements(small.len() as u64));
    group.bench_function("grid", |b| {
        b.iter_batched_ref(
            || Packager::new(spec("1080p"), grid, Resume::default()),
            |packager| {
                let mut out = Vec::new();
                for packet in &small {
                    let _ = black_box(packager.push(packet, &mut out));
                }
                out
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();

    // A playlist with two hours of DVR, whole and as a delta update.
    let limits = WindowLimits { live_segments: 8, dvr: Dur::from_secs(7200), disk: true };
    let mut window = Window::new(spec("1080p"), Cut::Grid(grid), limits);
    let mut packager = Packager::new(spec("1080p"), grid, Resume::default());
    let track = video();
    let per = i64::from(grid.frames_per_segment());
    for n in first..first + 3760 * per + 20 {
        let mut out: Vec<Output> = Vec::new();
        let _ = packager.push(&packet(&track, grid.frame_start(n), n % per == 0, 8), &mut out);
        for output in out {
            if let Some(number) = window.apply(output).completed {
                window.stored(number);
            }
        }
    }
    let mut group = c.benchmark_group("playlist");
    for (name, skip) in [("dvr_2h", false), ("delta", true)] {
        group.bench_function(name, |b| {
            b.iter(|| playlist::media(&window, &[], grid.part_target(), &Suffix::none(), skip));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
