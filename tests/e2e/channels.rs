//! Languages that stand side by side in the channels of one audio track.

use crate::support::daemon::Daemon;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{H264, Programme};
use crate::support::signal::{make, sound, tone};
use crate::support::{eventually, ffmpeg};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Amplitude of each channel's tone.
const AMPLITUDE: f64 = 0.25;

/// A small picture with a tone of its own in each channel.
async fn programme(tones: &[u32], layout: &str) -> Programme {
    let waves: Vec<String> = tones.iter().map(|hz| format!("{AMPLITUDE}*sin(2*PI*{hz}*t)")).collect();
    let graph = format!("aevalsrc='{}':s=48000:c={layout}", waves.join("|"));
    let encode = [H264, &["-c:a", "aac", "-b:a", "256k"]].concat();
    Programme::new(&ffmpeg(), (320, 180, 25), &graph, &encode).await
}

/// Amplitudes of the tones on one side of a recording.
async fn heard(file: &Path, side: usize, tones: &[u32]) -> Vec<f64> {
    let mono = file.with_extension(format!("{side}.wav"));
    let pan = format!("pan=mono|c0=c{side}");
    make([file.to_str().unwrap(), mono.to_str().unwrap()].iter().enumerate().flat_map(|(i, name)| match i {
        0 => vec!["-i".to_owned(), (*name).to_owned(), "-af".to_owned(), pan.clone()],
        _ => vec![(*name).to_owned()],
    }))
    .await;
    let sound = sound(&mono).await;
    let (_, run) = sound.runs.iter().max_by_key(|(_, run)| run.len()).expect("sound");
    // Not what the encoder primes with; and quarters of a second, in which each tone has a whole number of waves, and which a
    // clock that is being corrected does not blur.
    let rate = sound.rate as usize;
    let steady = run.get(rate / 4..rate / 4 + 2 * rate).expect("more than two seconds");
    let parts = || steady.chunks_exact(rate / 4);
    let mean = |hz: f64| parts().map(|part| tone(part, sound.rate, hz)).sum::<f64>() / parts().count() as f64;
    tones.iter().map(|&hz| mean(f64::from(hz))).collect()
}

/// Publishes tones, one in each channel, and expects of each rendition the tone (its index) on the left and on the right.
async fn told_apart(tones: &[u32], layout: &str, settings: Value, expected: &[(&str, [usize; 2])]) -> Value {
    let programme = programme(tones, layout).await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event_with(settings).await;
    event.status("started").await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(30)).await;
    let dir = tempfile::tempdir().unwrap();
    for (language, sides) in expected {
        let playlist = master.language(language);
        let newest = eventually(Duration::from_secs(30), "three segments", || async {
            let media = Media::get(&viewer, &playlist).await;
            (media.segments.iter().filter(|s| !s.gap).count() >= 3).then(|| media.newest().unwrap())
        })
        .await;
        let recording = record(&viewer, &playlist, newest - 1..newest + 1, dir.path()).await;
        for (side, wanted) in sides.iter().enumerate() {
            let found = heard(&recording.file, side, tones).await;
            println!("{language}, side {side}: {found:.3?}");
            for (i, amplitude) in found.iter().enumerate() {
                if i == *wanted {
                    let level = 20.0 * (amplitude / AMPLITUDE).log10();
                    assert!(level.abs() < 0.5, "{language} has {} Hz at {level:.2} dB", tones[i]);
                } else {
                    assert!(*amplitude < AMPLITUDE / 300.0, "{language} has {} Hz at {amplitude}", tones[i]);
                }
            }
        }
    }
    event.inputs().await["main"]["warnings"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn left_and_right_are_languages_of_their_own() {
    let broadcast =
        |language: &str, channels: Value| json!({"language": language, "kind": "broadcast", "channels": channels});
    let settings = json!({"ladder": ["240p"], "floor_channels": [0], "languages": [
        broadcast("de", json!([1])), broadcast("fr", json!([2])),
    ]});
    // French asks for a channel that is not there: it carries the floor, and the input says so.
    let expected = [("en", [0, 0]), ("de", [1, 1]), ("fr", [0, 0])];
    let warnings = told_apart(&[440, 660], "stereo", settings, &expected).await;
    let said =
        warnings.as_array().unwrap().iter().filter_map(Value::as_str).any(|w| w.starts_with("fr is channel 2 of"));
    assert!(said, "{warnings:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_channels_are_languages_in_stereo_also_where_the_picture_is_passed_through() {
    let settings = json!({"ladder": "passthrough", "floor_channels": [0, 1], "languages": [
        {"language": "de", "kind": "broadcast", "channels": [2, 3]},
    ]});
    let expected = [("en", [0, 1]), ("de", [2, 3])];
    let warnings = told_apart(&[440, 660, 880, 1320], "4.0", settings, &expected).await;
    let words: Vec<&str> = warnings.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(!words.iter().any(|w| w.contains("channel")), "{warnings:#}");
}
