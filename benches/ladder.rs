//! CPU of the ladder against the ffmpeg command making the same output, in one run:
//! `cargo bench --bench ladder [FILE.mp4 [SECONDS]]`; by default 10 s of the demo footage that `scripts/setup` fetches.
//!
//! Both decode the file, scale bicubically to 1080, 720, 480 and 360 lines, encode with libx264 `superfast` and
//! `zerolatency` at the same bitrates and GOP, and the floor in AAC at 128 kbit/s. ffmpeg is measured twice: with each
//! rung scaled from the source, as command lines commonly have it, and cascaded as we do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ac_ffmpeg::format::{demuxer::Demuxer, io::IO};
use boothcast::engine::protocol::FromEngine;
use boothcast::engine::worker::{av, transcode};
use boothcast::engine::{AudioSpec, EngineConfig, Limits, RungSpec, SlateConfig};
use boothcast::media::{
    AudioCodec, AudioFormat, Dur, Grid, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use bytes::Bytes;
use std::process::Command;
use std::sync::Arc;

const RUNGS: [(u32, u32, u32); 4] =
    [(1920, 1080, 5_000_000), (1280, 720, 2_800_000), (854, 480, 1_400_000), (640, 360, 800_000)];

fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn packets(file: &str, seconds: i64) -> Vec<Packet> {
    let io = IO::from_seekable_read_stream(std::fs::File::open(file).expect("run scripts/setup, or name a file"));
    let mut demuxer = Demuxer::builder().build(io).unwrap().find_stream_info(None).map_err(|(_, e)| e).unwrap();
    let streams: Vec<Option<Arc<Track>>> = demuxer
        .streams()
        .iter()
        .map(|s| {
            let p = s.codec_parameters();
            if let Some(v) = p.as_video_codec_parameters() {
                let config = Bytes::copy_from_slice(v.extradata()?);
                let (width, height) = (v.width() as u32, v.height() as u32);
                let format = VideoFormat { codec: VideoCodec::H264, config, width, height, frame_rate: None };
                return Some(Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) }));
            }
            let a = p.as_audio_codec_parameters()?;
            let config = Bytes::copy_from_slice(a.extradata()?);
            let format = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: a.sample_rate(), channels: 6 };
            Some(Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(format) }))
        })
        .collect();
    let mut out = Vec::new();
    while let Some(p) = demuxer.take().unwrap() {
        let Some(track) = streams[p.stream_index()].clone() else { continue };
        let time = |t: ac_ffmpeg::time::Timestamp| {
            Ts::ZERO
                + Dur::from_secs(1)
                + Dur::from_scale(t.timestamp() * i64::from(t.time_base().num()), t.time_base().den() as u32)
        };
        let (pts, dts) = (time(p.pts()), time(p.dts()));
        if pts < Ts::ZERO + Dur::from_secs(1 + seconds) {
            let (key, data) = (p.is_key() && track.is_video(), Bytes::copy_from_slice(p.data()));
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

fn ours(packets: Vec<Packet>) -> (f64, usize) {
    let names = ["1080p", "720p", "480p", "360p"];
    let config = EngineConfig {
        event: "bench".into(),
        grid: Grid::new(24).unwrap(),
        clock_anchor: Dur::ZERO,
        delay: Dur::ZERO,
        video: RUNGS
            .iter()
            .zip(0..)
            .map(|(r, i)| RungSpec::new(TrackId(i), names[i as usize], r.0, r.1, r.2))
            .collect(),
        audio: vec![AudioSpec { id: TrackId(10), name: "floor".into(), source: 0, bitrate: 128_000 }],
        slate: SlateConfig::default(),
        limits: Limits::default(),
        preview: false,
        program: None,
    };
    let mut frames = 0;
    let before = cpu();
    transcode(config, packets, |m| {
        if let FromEngine::Packet { track: TrackId(0), .. } = m {
            frames += 1;
        }
    })
    .unwrap();
    (cpu() - before, frames)
}

fn ffmpeg(file: &str, seconds: i64, cascade: bool) -> f64 {
    let scale = |i: usize| format!("scale={}:{}:flags=bicubic,format=yuv420p", RUNGS[i].0, RUNGS[i].1);
    let filter = if cascade {
        format!("[0:v]split[v0][a];[a]{},split[v1][b];[b]{},split[v2][c];[c]{}[v3]", scale(1), scale(2), scale(3))
    } else {
        format!("[0:v]split=4[v0][a][b][c];[a]{}[v1];[b]{}[v2];[c]{}[v3]", scale(1), scale(2), scale(3))
    };
    let mut c = Command::new("ffmpeg");
    c.args(["-hide_banner", "-nostats", "-benchmark", "-y", "-t", &seconds.to_string(), "-i", file]);
    c.args(["-filter_complex", &filter]);
    for (i, (_, height, bitrate)) in RUNGS.iter().enumerate() {
        let profile = if *height >= 720 { "high" } else { "main" };
        c.args(["-map", &format!("[v{i}]"), "-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency"]);
        c.args(["-profile:v", profile, "-b:v", &bitrate.to_string(), "-maxrate", &(bitrate * 11 / 10).to_string()]);
        c.args(["-bufsize", &bitrate.to_string(), "-g", "64", "-keyint_min", "64", "-sc_threshold", "0"]);
        c.args(["-bf", "0", "-threads", "1", "-f", "null", "-"]);
    }
    c.args(["-map", "0:a:0", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-f", "null", "-"]);
    let out = c.output().expect("ffmpeg is installed");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    let line = text.lines().find(|l| l.starts_with("bench: utime=")).expect("ffmpeg says what it used");
    let value = |name: &str| -> f64 {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split('s').next().unwrap().parse().unwrap()
    };
    value("utime=") + value("stime=")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let file = args.first().map_or("target/demo/footage.mp4", String::as_str);
    let seconds: i64 = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(10);
    av::set_log(|_| {});
    let input = packets(file, seconds);
    let mut table = Vec::new();
    for _ in 0..3 {
        let (engine, frames) = ours(input.clone());
        table.push((engine, ffmpeg(file, seconds, false), ffmpeg(file, seconds, true), frames));
    }
    table.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (engine, split, cascade, frames) = table[1];
    println!("ladder 1080/720/480/360 + AAC of {seconds} s, {frames} frames; CPU seconds, median of 3 by ratio");
    println!("| boothcast | ffmpeg, each from the source | ffmpeg, cascaded | ratio | ratio to cascaded |");
    println!("|---|---|---|---|---|");
    println!("| {engine:.2} | {split:.2} | {cascade:.2} | {:.2} | {:.2} |", engine / split, engine / cascade);
}
