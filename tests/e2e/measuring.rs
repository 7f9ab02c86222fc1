//! The instruments themselves: each reads a known file right, and reads a spoiled one as spoiled.

use crate::support::browser::Browser;
use crate::support::signal::{self, Sound, flashes, frames, make, offsets, onsets, sound, tone};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Eight seconds, small and hard on the codec as a low rung is.
async fn programme(to: &Path, extra: &[&str]) {
    let (picture, beeps) = (signal::picture(640, 360, 25), signal::beeps(48_000));
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &beeps, "-t", "8"];
    let encode = ["-c:v", "libx264", "-preset", "superfast", "-b:v", "250k", "-g", "48", "-c:a", "aac", "-b:a", "96k"];
    make(inputs.iter().chain(extra).chain(&encode).map(|s| (*s).into()).chain([to.as_os_str().to_owned()])).await;
}

#[tokio::test]
async fn reads_every_frame_number_after_scaling_and_compression() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("small.mp4");
    programme(&file, &["-vf", "scale=426:240"]).await;
    let frames = frames(&file).await;
    let numbers: Vec<_> = frames.iter().map(|f| f.number).collect();
    assert_eq!(numbers, (0..200).map(Some).collect::<Vec<_>>());
    assert!(frames.iter().enumerate().all(|(n, f)| (f.at - n as f64 / 25.0).abs() < 1e-3), "{frames:?}");
}

#[tokio::test]
async fn sees_lost_repeated_and_blended_frames() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lost.mp4");
    programme(&file, &["-vf", "select='not(between(n,50,52))'", "-vsync", "vfr"]).await;
    let numbers: Vec<_> = frames(&file).await.iter().map(|f| f.number).collect();
    assert_eq!(numbers[48..52], [Some(48), Some(49), Some(53), Some(54)]);

    programme(&file, &["-vf", "minterpolate=fps=50:mi_mode=blend"]).await;
    let frames = frames(&file).await;
    let unread = frames.iter().filter(|f| f.number.is_none()).count();
    assert!(unread > frames.len() / 3, "a blend of two frames is no frame: {unread} of {}", frames.len());
}

#[tokio::test]
async fn measures_the_offset_of_sound_and_picture() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("av.mp4");
    for (filter, expected) in [("anull", 0.0), ("adelay=60:all=1", 0.060), ("atrim=start=0.04,asetpts=N/SR/TB", -0.040)]
    {
        programme(&file, &["-af", filter]).await;
        let (frames, sound) = (frames(&file).await, sound(&file).await);
        let found = offsets(&flashes(&frames), &onsets(&sound));
        assert!(found.len() >= 6, "{filter}: a flash and a beep each second, found {found:?}");
        for offset in found {
            assert!((offset - expected).abs() < 0.003, "{filter}: {offset} where {expected} was made");
        }
    }
}

#[tokio::test]
async fn a_gap_in_the_sound_starts_a_new_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gap.mkv");
    let graph = "sine=frequency=440:sample_rate=48000:duration=4,aselect='not(between(t,1,1.5))'";
    make(
        ["-f", "lavfi", "-i", graph, "-c:a", "pcm_s16le"]
            .map(Into::into)
            .into_iter()
            .chain([file.clone().into_os_string()]),
    )
    .await;
    let runs = sound(&file).await.runs;
    assert_eq!(runs.len(), 2, "one gap");
    let (start, gap) = (&runs[0], runs[1].0 - (runs[0].0 + runs[0].1.len() as f64 / 48_000.0));
    assert!(start.0.abs() < 0.01 && (gap - 0.5).abs() < 0.05, "{gap}");
}

#[tokio::test]
async fn a_browser_shows_and_sounds_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("film.mp4");
    programme(&file, &["-movflags", "+faststart"]).await;
    let mut browser = Browser::start().await;
    // No server is there: the driver answers for it.
    browser.serve("http://127.0.0.1:9/film.mp4", "video/mp4", &file).await;
    let video = "<!doctype html><body>still<video src=/film.mp4 autoplay loop></video>";
    browser.serve_text("http://127.0.0.1:9/", "text/html", video).await;
    browser.open("http://127.0.0.1:9/").await;
    browser.until_playing(Duration::from_secs(10)).await;
    browser.run(json!({"do": "sound"})).await;
    browser.until(Duration::from_secs(5), "window.loudness() > 0.2").await;
    let before = browser.playback().await.unwrap();
    assert_eq!((before.height, before.paused), (360, false));
    browser.eval("document.querySelector('video').pause()").await;
    let paused = browser.playback().await.unwrap();
    // What was being decoded meanwhile is counted a moment later.
    let mut seen = paused.clone();
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = std::mem::replace(&mut seen, browser.playback().await.unwrap());
        assert_eq!(seen.at, paused.at, "a video that stands still is seen to stand still");
        if seen == before {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it decodes on: {paused:?} → {seen:?}");
    }
    assert!(paused.paused && browser.text().await.contains("still"));
}

#[test]
fn tells_tones_apart_and_their_level() {
    let rate = 48_000;
    let samples: Vec<f32> =
        (0..4800).map(|n| 0.25 * (2.0 * std::f32::consts::PI * 1000.0 * n as f32 / rate as f32).sin()).collect();
    assert!((tone(&samples, rate, 1000.0) - 0.25).abs() < 0.01);
    assert!(tone(&samples, rate, 440.0) < 0.005);
    let silence = Sound { rate, runs: vec![(0.0, vec![0.0; 48_000])] };
    assert!(std::panic::catch_unwind(|| onsets(&silence)).is_err(), "silence is no measurement");
}
