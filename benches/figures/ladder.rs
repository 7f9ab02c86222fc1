//! CPU of the engine's ladder beside the ffmpeg command making the same of the same footage.
//!
//! Both decode the demo footage, make the frame rate constant, scale bicubically from rung to rung (1080, 720, 480, 360
//! lines), encode each on one thread with libx264 `superfast` and `zerolatency` at the same bitrates and with the same
//! GOP, and the floor in stereo AAC at 128 kbit/s.

use crate::support::root;
use crate::table::{Figure, Limit};
use ac_ffmpeg::format::{demuxer::Demuxer, io::IO};
use boothcast::engine::protocol::FromEngine;
use boothcast::engine::worker::{av, transcode};
use boothcast::engine::{AudioSpec, EngineConfig, Limits, RungSpec, SlateConfig};
use boothcast::media::{
    AudioCodec, AudioFormat, Dur, Grid, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use bytes::Bytes;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const RUNGS: [(&str, u32, u32, u32); 4] = [
    ("1080p", 1920, 1080, 5_000_000),
    ("720p", 1280, 720, 2_800_000),
    ("480p", 854, 480, 1_400_000),
    ("360p", 640, 360, 700_000),
];
const FPS: u32 = 24;
const SECONDS: i64 = 10;
const ROUNDS: usize = 3;

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// The packets of a file's picture and sound until `seconds`, from its first key frame on.
pub fn packets(file: &Path, seconds: i64) -> Vec<Packet> {
    let io = IO::from_seekable_read_stream(std::fs::File::open(file).expect("run scripts/setup bench"));
    let mut demuxer = Demuxer::builder().build(io).unwrap().find_stream_info(None).map_err(|(_, e)| e).unwrap();
    let streams: Vec<Option<Arc<Track>>> = demuxer
        .streams()
        .iter()
        .map(|stream| {
            let parameters = stream.codec_parameters();
            if let Some(v) = parameters.as_video_codec_parameters() {
                let config = Bytes::copy_from_slice(v.extradata()?);
                let (width, height) = (v.width() as u32, v.height() as u32);
                let format = VideoFormat {
                    codec: VideoCodec::H264,
                    config,
                    width,
                    height,
                    frame_rate: None,
                    sample_aspect: None,
                };
                return Some(Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) }));
            }
            let a = parameters.as_audio_codec_parameters()?;
            let config = Bytes::copy_from_slice(a.extradata()?);
            let channels = a.channel_layout().channels() as u8;
            let format = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: a.sample_rate(), channels };
            Some(Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(format) }))
        })
        .collect();
    let start = Ts::ZERO + Dur::from_secs(1);
    let mut out = Vec::new();
    while let Some(packet) = demuxer.take().unwrap() {
        let Some(track) = streams[packet.stream_index()].clone() else { continue };
        let time = |t: ac_ffmpeg::time::Timestamp| {
            start + Dur::from_scale(t.timestamp() * i64::from(t.time_base().num()), t.time_base().den() as u32)
        };
        let (pts, dts) = (time(packet.pts()), time(packet.dts()));
        if pts < start + Dur::from_secs(seconds) {
            let (key, data) = (packet.is_key() && track.is_video(), Bytes::copy_from_slice(packet.data()));
            let duration = Dur::ZERO;
            out.push(Packet { track, epoch: 0, dts, pts, duration, key, decode_only: false, arrival: dts, data });
        }
    }
    out.sort_by_key(|p| p.dts);
    // The picture comes first, so that output begins with it.
    let first = out.iter().position(|p| p.key).expect("a key frame");
    out.drain(..first);
    out
}

/// CPU seconds and pictures of the first rung.
fn ours(packets: Vec<Packet>) -> (f64, usize) {
    let config = EngineConfig {
        event: "bench".into(),
        grid: Grid::new(FPS).unwrap(),
        clock_anchor: Dur::ZERO,
        delay: Dur::ZERO,
        video: RUNGS.iter().zip(0..).map(|(r, i)| RungSpec::new(TrackId(i), r.0, r.1, r.2, r.3)).collect(),
        audio: vec![AudioSpec::new(TrackId(10), "floor", 0, 128_000)],
        room: None,
        stems: false,
        slate: SlateConfig::default(),
        limits: Limits::default(),
        preview: false,
        program: None,
    };
    let mut pictures = 0;
    let before = own_cpu();
    transcode(config, packets, |message| {
        pictures += usize::from(matches!(message, FromEngine::Packet { track: TrackId(0), .. }));
    })
    .unwrap();
    (own_cpu() - before, pictures)
}

/// CPU seconds and pictures of the first rung.
fn ffmpeg(file: &Path) -> (f64, usize) {
    let scale = |i: usize| format!("scale={}:{}:flags=bicubic,format=yuv420p", RUNGS[i].1, RUNGS[i].2);
    let filter = format!(
        "[0:v]fps={FPS},split[v0][a];[a]{},split[v1][b];[b]{},split[v2][c];[c]{}[v3]",
        scale(1),
        scale(2),
        scale(3)
    );
    let gop = Grid::new(FPS).unwrap().frames_per_segment().to_string();
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-benchmark", "-progress", "-", "-y", "-t", &SECONDS.to_string(), "-i"]);
    command.arg(file).args(["-filter_complex", &filter]);
    for (i, (_, _, height, bitrate)) in RUNGS.iter().enumerate() {
        let profile = if *height >= 720 { "high" } else { "main" };
        command.args(["-map", &format!("[v{i}]"), "-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency"]);
        command.args([
            "-profile:v",
            profile,
            "-b:v",
            &bitrate.to_string(),
            "-maxrate",
            &(bitrate / 10 * 11).to_string(),
        ]);
        command.args(["-bufsize", &bitrate.to_string(), "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"]);
        command.args(["-bf", "0", "-threads", "1", "-f", "null", "-"]);
    }
    command.args(["-map", "0:a:0", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-f", "null", "-"]);
    let out = command.output().expect("ffmpeg is installed");
    let (log, progress) = (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    assert!(out.status.success(), "{log}");
    let used = log.lines().find(|l| l.starts_with("bench: utime=")).expect("ffmpeg says what it used");
    let value = |name: &str| -> f64 {
        let (_, rest) = used.split_once(name).unwrap();
        rest.split('s').next().unwrap().parse().unwrap()
    };
    let pictures = progress.lines().filter_map(|l| l.strip_prefix("frame=")).next_back().expect("progress");
    (value("utime=") + value("stime="), pictures.trim().parse().unwrap())
}

pub fn run() -> Vec<Figure> {
    av::set_log(|_| {});
    let file = root().join("target/demo/footage.mp4");
    let input = packets(&file, SECONDS);
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let ((engine, made), (peer, expected)) = (ours(input.clone()), ffmpeg(&file));
            assert!(made.abs_diff(expected) <= 1, "the same output: {made} pictures, ffmpeg {expected}");
            (engine / SECONDS as f64, peer / SECONDS as f64)
        })
        .collect();
    // The median round by its ratio.
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (engine, peer) = rounds[ROUNDS / 2];
    vec![
        Figure::new("ladder: 1080p to 360p and sound", engine, "CPU s per s", Limit::RatioMost(1.0))
            .beside("ffmpeg", peer),
    ]
}
