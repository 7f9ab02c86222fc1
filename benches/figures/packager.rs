//! What packaging costs beside the limit: copying the same bytes once into freshly allocated parts.

use crate::table::{Figure, Limit, quantile};
use boothcast::media::{
    AudioCodec, AudioFormat, Dur, Grid, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use boothcast::package::{Cut, Output, Packager, RenditionKind, RenditionSpec, Resume, SourcePackager, SourceTargets};
use boothcast::package::{Window, WindowLimits, playlist};
use boothcast::wire::m3u8::Suffix;
use bytes::Bytes;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// x264 High, 1920×1080, 25 fps.
const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1e, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5,
    0xc0, 0x5a, 0x80, 0x80, 0x80, 0xa0, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x06, 0x41, 0xe3, 0x06, 0x32, 0xc0,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
const KEY_FRAME: usize = 157_000;
/// With the key frame 6 Mbit/s over a segment of 48 pictures.
const OTHER_FRAME: usize = 27_300;
/// A minute of programme.
const SEGMENTS: i64 = 31;
/// Each job is repeated for so long, and the median taken.
const TIME: Duration = Duration::from_millis(1500);

fn video() -> Arc<Track> {
    let config = Bytes::from_static(AVCC);
    let format = VideoFormat {
        codec: VideoCodec::H264,
        config,
        width: 1920,
        height: 1080,
        frame_rate: Some((25, 1)),
        sample_aspect: None,
    };
    Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) })
}

fn audio() -> Arc<Track> {
    let config = Bytes::from_static(&[0x11, 0x90]);
    let format = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 };
    Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(format) })
}

fn packet(track: &Arc<Track>, at: Ts, key: bool, size: usize) -> Packet {
    let (track, data) = (Arc::clone(track), Bytes::from(vec![0x5a; size]));
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

/// Pictures and sound in the order in which they come.
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

/// CPU seconds of this thread.
fn thread_cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// CPU seconds of a run of each job, the median of many in turn. What a job gives is dropped after the clock has stopped.
fn time<const N: usize>(mut jobs: [&mut dyn FnMut() -> Vec<Bytes>; N]) -> [f64; N] {
    let mut taken = [const { Vec::new() }; N];
    let began = Instant::now();
    while began.elapsed() < TIME * N as u32 {
        for (job, taken) in jobs.iter_mut().zip(&mut taken) {
            let before = thread_cpu();
            let made = black_box(job());
            taken.push(thread_cpu() - before);
            drop(made);
        }
    }
    taken.map(|t| quantile(&t, 0.5))
}

/// The bytes of what was made: parts live as long as the job's output.
fn data(output: Output) -> Option<Bytes> {
    match output {
        Output::Part(part) => Some(part.data),
        _ => None,
    }
}

pub fn run() -> Vec<Figure> {
    let grid = Grid::new(25).unwrap();
    let first = grid.frame_number(grid.segment_start(930_000_000));
    let packets = programme(grid, first);
    let pictures: Vec<_> = packets.iter().filter(|p| p.track.is_video()).cloned().collect();
    let small: Vec<_> = pictures.iter().map(|p| Packet { data: Bytes::from_static(&[0; 8]), ..p.clone() }).collect();

    let copy = |packets: &[Packet]| -> Vec<Bytes> {
        let part = |chunk: &[Packet]| {
            let mut out = Vec::with_capacity(chunk.iter().map(|p| p.data.len()).sum());
            chunk.iter().for_each(|p| out.extend_from_slice(&p.data));
            Bytes::from(out)
        };
        packets.chunks(grid.frames_per_part() as usize).map(part).collect()
    };
    let on_grid = |packets: &[Packet]| -> Vec<Bytes> {
        let (mut packager, mut out) = (Packager::new(spec("1080p"), grid, Resume::default()), Vec::new());
        packets.iter().for_each(|packet| packager.push(packet, &mut out).unwrap());
        out.into_iter().filter_map(data).collect()
    };
    let source = |packets: &[Packet]| -> Vec<Bytes> {
        let sound = vec![(sound_spec(), TrackId::audio(0), Resume::default())];
        let targets = SourceTargets::for_rate(Some((25, 1)));
        let mut packager = SourcePackager::new(targets, Some((spec("source"), Resume::default())), sound);
        let mut out = Vec::new();
        packets.iter().for_each(|packet| packager.push(packet, &mut out).unwrap());
        out.into_iter().filter_map(|(_, output)| data(output)).collect()
    };
    let bytes = |made: &[Bytes]| made.iter().map(Bytes::len).sum::<usize>();
    let payload: usize = pictures.iter().map(|p| p.data.len()).sum();
    assert!(bytes(&on_grid(&pictures)) > payload * 9 / 10, "parts hold what came in");

    let [copied, packaged, both, sound] =
        time([&mut || copy(&pictures), &mut || on_grid(&pictures), &mut || source(&packets), &mut || copy(&packets)]);
    let [bookkeeping] = time([&mut || on_grid(&small)]);
    let rate = |packets: &[Packet], seconds: f64| packets.len() as f64 / seconds;
    let [whole, delta] = playlists(grid, first);
    let figure = |name: &str, value, unit| Figure::new(format!("packager: {name}"), value, unit, Limit::None);
    vec![
        figure("grid, 6 Mbps", rate(&pictures, packaged), "packets per CPU s").beside("copy", rate(&pictures, copied)),
        figure("source and sound", rate(&packets, both), "packets per CPU s").beside("copy", rate(&packets, sound)),
        figure("without payload", rate(&small, bookkeeping), "packets per CPU s"),
        figure("playlist of 2 h", whole * 1e6, "CPU us"),
        figure("delta of it", delta * 1e6, "CPU us"),
    ]
}

/// CPU seconds of rendering a playlist with two hours of DVR, whole and as a delta update.
fn playlists(grid: Grid, first: i64) -> [f64; 2] {
    let limits = WindowLimits { live_segments: 8, dvr: Dur::from_secs(7200), disk: true };
    let mut window = Window::new(spec("1080p"), Cut::Grid(grid), limits);
    let mut packager = Packager::new(spec("1080p"), grid, Resume::default());
    let (track, per) = (video(), i64::from(grid.frames_per_segment()));
    for n in first..first + 3760 * per + 20 {
        let mut out: Vec<Output> = Vec::new();
        packager.push(&packet(&track, grid.frame_start(n), n % per == 0, 8), &mut out).unwrap();
        for output in out {
            if let Some(number) = window.apply(output).completed {
                window.stored(number);
            }
        }
    }
    let render = |skip| {
        let text = playlist::media(&window, &[], grid.part_target(), &Suffix::none(), skip);
        vec![Bytes::from(text.expect("a playlist"))]
    };
    time([&mut || render(false), &mut || render(true)])
}
