//! Encoders of many makes: whatever publishes, the same ladder comes out.

use crate::support::daemon::Daemon;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{AAC, H264, Programme, Publisher};
use crate::support::signal::{frames, sound};
use crate::support::{eventually, ffmpeg, ffmpeg_new};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Starts an event, lets `publish` feed its address, and checks the ladder that comes out; `card` says whether the
/// source is the test programme, whose frames must then arrive one by one.
async fn ends_as_the_ladder(codec: &str, card: bool, publish: impl FnOnce(&str) -> Publisher) {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p", "240p"])).await;
    event.status("started").await;
    let encoder = publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(25)).await;
    assert_eq!(master.resolutions(), ["640x360", "426x240"], "{}", encoder.log());
    for variant in master.variants.iter().filter(|v| v.attributes.contains_key("RESOLUTION")) {
        let codecs = &variant.attributes["CODECS"];
        assert!(codecs.contains("avc1.") && codecs.contains("mp4a.40.2"), "{codecs}");
    }
    event.on_air("main", Duration::from_secs(20)).await;
    let inputs = event.inputs().await;
    assert!(inputs["main"]["video"]["codec"].as_str().is_some_and(|c| c.to_lowercase().contains(codec)), "{inputs:#}");
    assert_eq!((&inputs["main"]["video"]["width"], &inputs["main"]["video"]["height"]), (&json!(640), &json!(360)));

    let dir = tempfile::tempdir().unwrap();
    let newest = eventually(Duration::from_secs(15), "a first segment", || async {
        Media::get(&viewer, &master.video(240)).await.newest()
    })
    .await;
    let numbers = newest + 1..newest + 3;
    for height in [360, 240] {
        let recording = record(&viewer, &master.video(height), numbers.clone(), dir.path()).await;
        let frames = frames(&recording.file).await;
        assert_eq!(frames.len(), 96, "two segments of 48 frames at {height}");
        if card {
            let steps =
                frames.windows(2).filter(|w| w[0].number.is_some() && w[1].number == w[0].number.map(|n| n + 1));
            let steps = steps.count();
            assert!(steps >= 93, "{steps} of 95 steps are from one frame to the next: {frames:?}");
        }
    }
    let recording = record(&viewer, &master.sound(), numbers, dir.path()).await;
    let sound = sound(&recording.file).await;
    let samples: usize = sound.runs.iter().map(|(_, r)| r.len()).sum();
    assert_eq!((sound.rate, sound.runs.len(), samples), (48_000, 1, 180 * 1024));
    let loudest = sound.runs[0].1.iter().fold(0.0f32, |m, s| m.max(s.abs()));
    assert!(loudest > 0.2, "the sound is there: {loudest}");
}

const CARD: (u32, u32, u32) = (640, 360, 25);

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_with_b_frames_and_surround_sound() {
    let encode =
        ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-bf", "3", "-b:v", "1200k", "-g", "50"];
    let encode = [&encode[..], &["-c:a", "aac", "-ac", "6", "-b:a", "256k"]].concat();
    let programme = Programme::card_with(&ffmpeg(), CARD, 48_000, &encode).await;
    ends_as_the_ladder("264", true, |url| programme.publish(url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_ffmpeg_with_another_sample_rate() {
    let encode = [H264, AAC].concat();
    let programme = Programme::card_with(&ffmpeg_new(), CARD, 44_100, &encode).await;
    ends_as_the_ladder("264", true, |url| programme.publish(url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_ffmpeg_with_hevc_by_enhanced_rtmp() {
    let hevc =
        ["-c:v", "libx265", "-preset", "ultrafast", "-b:v", "1200k", "-g", "25", "-x265-params", "log-level=error"];
    let encode = [&hevc[..], AAC].concat();
    let programme = Programme::card_with(&ffmpeg_new(), CARD, 48_000, &encode).await;
    ends_as_the_ladder("hevc", true, |url| programme.publish(url)).await;
}

/// Samples that are wider than high, as in PAL and HDV: what is shown counts, not what is coded.
#[tokio::test(flavor = "multi_thread")]
async fn an_anamorphic_source_keeps_its_shape() {
    let encode = [H264, AAC, &["-aspect", "16:9"]].concat();
    let programme = Programme::card_with(&ffmpeg(), (480, 360, 25), 48_000, &encode).await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let encoder = programme.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(25)).await;
    assert_eq!(master.resolutions(), ["640x360"], "{}", encoder.log());
    let newest = eventually(Duration::from_secs(15), "a first segment", || async {
        Media::get(&viewer, &master.video(360)).await.newest()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recording = record(&viewer, &master.video(360), newest + 1..newest + 2, dir.path()).await;
    let frames = frames(&recording.file).await;
    // Between bars the number would stand elsewhere.
    assert!(frames.len() == 48 && frames.iter().all(|f| f.number.is_some()), "the card fills the picture: {frames:?}");
}

fn gstreamer(sink: &str) -> Publisher {
    let pipeline = format!(
        "videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=25/1 ! x264enc tune=zerolatency \
         speed-preset=ultrafast key-int-max=25 bitrate=1200 ! video/x-h264,profile=main ! h264parse ! flvmux \
         streamable=true name=mux ! {sink} audiotestsrc is-live=true freq=440 ! audioconvert ! \
         audio/x-raw,rate=48000,channels=2 ! voaacenc bitrate=128000 ! aacparse ! mux."
    );
    let args: Vec<&str> = ["-e", "-q"].into_iter().chain(pipeline.split_whitespace()).collect();
    Publisher::spawn(Path::new("gst-launch-1.0"), &args)
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_rtmp2sink() {
    ends_as_the_ladder("264", false, |url| gstreamer(&format!("rtmp2sink location={url}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_rtmpsink() {
    ends_as_the_ladder("264", false, |url| gstreamer(&format!("rtmpsink location={url}"))).await;
}
