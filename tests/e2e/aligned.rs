//! One grid: every rendition, video and sound, cuts at the same instants, and sound stays with the picture.

use crate::support::api::Api;
use crate::support::daemon::Daemon;
use crate::support::hls::{Master, Media, Recording, record};
use crate::support::publish::{AAC, H264, Programme};
use crate::support::signal::{flashes, frames, offsets, onsets, sound};
use crate::support::{eventually, ffmpeg};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// How far sound may be from its picture, in seconds: half a frame of 25 fps, on the way of a correction of the source's
/// clock. At rest pictures fall on slots and what is left is what this test's instruments cannot tell apart, a millisecond.
const AV_BOUND: f64 = 0.020;

/// A packet as ffprobe sees it.
struct Packet {
    position: u64,
    /// Decode time in seconds.
    dts: f64,
    key: bool,
}

async fn packets(file: &Path) -> Vec<Packet> {
    let args = ["-v", "error", "-show_entries", "packet=dts,pos,flags:stream=time_base", "-of", "json"];
    let out = Command::new("ffprobe").args(args).arg(file).kill_on_drop(true).output().await.unwrap();
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (n, d) = found["streams"][0]["time_base"].as_str().unwrap().split_once('/').unwrap();
    let base = n.parse::<f64>().unwrap() / d.parse::<f64>().unwrap();
    found["packets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| Packet {
            position: p["pos"].as_str().unwrap().parse().unwrap(),
            dts: p["dts"].as_f64().unwrap() * base,
            key: p["flags"].as_str().unwrap().starts_with('K'),
        })
        .collect()
}

/// When each segment of a recording begins; for video, that it begins with a key frame.
async fn cuts(recording: &Recording, video: bool) -> Vec<f64> {
    let packets = packets(&recording.file).await;
    let mut cuts = Vec::new();
    for start in &recording.starts {
        let first = packets.iter().find(|p| p.position >= *start).expect("every segment holds packets");
        assert!(!video || first.key, "the segment at {} begins with a key frame", first.dts);
        cuts.push(first.dts);
    }
    cuts
}

/// The number after the newest segment, once there is one.
async fn next_number(api: &Api, playlist: &str) -> u64 {
    eventually(Duration::from_secs(20), "a first segment", || async { Media::get(api, playlist).await.newest() }).await
        + 1
}

/// Publishes the test programme at `rate` frames per second, of those with segments of 1.92 s, and looks at what comes out.
async fn aligned(rate: u32, heights: &[u32]) {
    let programme = Programme::card_with(&ffmpeg(), (640, 360, rate), 48_000, &[H264, AAC].concat()).await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let names: Vec<String> = heights.iter().map(|h| format!("{h}p")).collect();
    let event = api.event(json!(names)).await;
    event.status("started").await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;

    let first = next_number(&viewer, &master.video(heights[0])).await;
    let numbers = first..first + 5;
    let dir = tempfile::tempdir().unwrap();
    let heard = record(&viewer, &master.sound(), numbers.clone(), dir.path()).await;
    let sound = sound(&heard.file).await;
    assert_eq!(sound.runs.len(), 1, "the sound has no gap");
    let beeps = onsets(&sound);
    let sound_cuts = cuts(&heard, false).await;
    for &height in heights {
        let seen = record(&viewer, &master.video(height), numbers.clone(), dir.path()).await;
        for (segment, other) in seen.segments.iter().zip(&heard.segments) {
            assert!((segment.duration - 1.92).abs() < 1e-3, "{segment:?}");
            assert_eq!((segment.number, segment.discontinuity), (other.number, false));
        }
        for ((cut, sound_cut), number) in cuts(&seen, true).await.into_iter().zip(&sound_cuts).zip(numbers.clone()) {
            assert!((cut - sound_cut).abs() < 1e-4, "segment {number} of {height}p: video {cut}, sound {sound_cut}");
            assert!((cut - number as f64 * 1.92).abs() < 1e-3, "segment {number} begins at {cut} on the timeline");
        }
        let frames = frames(&seen.file).await;
        for pair in frames.windows(2) {
            let apart = pair[1].at - pair[0].at;
            assert!((apart - 1.0 / f64::from(rate)).abs() < 1e-3, "frames are evenly spaced: {pair:?}");
        }
        let found = offsets(&flashes(&frames), &beeps);
        assert!(found.len() >= 8, "a flash and a beep each second at {height}p: {found:?}");
        let (low, high) = found.iter().fold((f64::MAX, f64::MIN), |(l, h), &o| (l.min(o), h.max(o)));
        println!(
            "{height}p: the beep comes {:.2} to {:.2} ms after the flash, of {}",
            low * 1e3,
            high * 1e3,
            found.len()
        );
        for offset in found {
            assert!(offset.abs() <= AV_BOUND, "at {height}p the beep comes {:.1} ms after the flash", offset * 1e3);
        }
        let numbered: Vec<u32> = frames.iter().filter_map(|f| f.number).collect();
        assert_eq!(numbered.len(), frames.len(), "every frame number can be read at {height}p");
        let steps = numbered.windows(2).filter(|w| w[1] == w[0] + 1).count();
        assert!(steps + 3 >= frames.len(), "of {} frames {steps} follow the one before", frames.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renditions_cut_together_and_sound_stays_with_the_picture() {
    aligned(25, &[360, 240]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_frames_per_second_stay_fifty_with_the_sound_beside_them() {
    aligned(50, &[240]).await;
}
