//! What viewers get when main still comes whole but shows nothing: backup, once.

use crate::support::api::Api;
use crate::support::daemon::{Daemon, Options};
use crate::support::hls::{Master, Media, Recording, record};
use crate::support::publish::{AAC, H264, Programme};
use crate::support::signal::{self, frames, onsets, sound};
use crate::support::{eventually, ffmpeg};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// For how long an input that should feed the programme is waited for.
const ON_AIR: Duration = Duration::from_secs(25);

/// When main's fault begins, s after it was published.
const BEGINS: u32 = 9;
/// How long the programme bears it, s.
const AFTER: f64 = 3.0;
/// What viewers see of it at most besides: the programme's delay, reports, and a busy machine.
const BESIDES: f64 = 3.0;
/// Longer than the test.
const SECONDS: u32 = 75;
const SIZE: (u32, u32, u32) = (426, 240, 25);

/// The test programme, with such a fault from [`BEGINS`] on.
async fn programme(cause: &str) -> Programme {
    let (picture, beeps) = (signal::picture(SIZE.0, SIZE.1, SIZE.2), signal::beeps(48_000));
    let (picture, beeps) = match cause {
        "black" => (format!("{picture},drawbox=w=iw:h=ih:c=black:t=fill:enable='gte(t,{BEGINS})'"), beeps),
        // Not the picture that has the flash of a second.
        "frozen" => (format!("{picture},loop=loop=-1:size=1:start={}", BEGINS * SIZE.2 + 7), beeps),
        "silent" => (picture, format!("{beeps},volume=0:enable='gte(t,{BEGINS})'")),
        _ => (picture, beeps),
    };
    Programme::made(&ffmpeg(), &picture, &beeps, SECONDS, &[H264, AAC].concat()).await
}

fn causes(inputs: &Value) -> Vec<(String, String)> {
    let all = inputs["switches"].as_array().unwrap().iter();
    all.map(|s| (s["to"].as_str().unwrap().to_owned(), s["cause"].as_str().unwrap().to_owned())).collect()
}

/// All of a rendition up to now.
async fn recorded(viewer: &Api, url: &str, dir: &Path) -> Recording {
    let media = Media::get(viewer, url).await;
    let first = media.segments.iter().find(|s| !s.gap).expect("a segment").number;
    let recording = record(viewer, url, first..media.newest().expect("a segment") + 1, dir).await;
    assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{:#?}", recording.segments);
    recording
}

/// How long the longest stretch of pictures was that are alike by `same`, s; and what was shown after it.
fn longest(numbers: &[Option<u32>], same: impl Fn(Option<u32>, Option<u32>) -> bool) -> (f64, Vec<Option<u32>>) {
    let (mut longest, mut begin) = (0..0, 0);
    for i in 1..=numbers.len() {
        if i == numbers.len() || !same(numbers[i - 1], numbers[i]) {
            if i - begin > longest.len() {
                longest = begin..i;
            }
            begin = i;
        }
    }
    (longest.len() as f64 / f64::from(SIZE.2), numbers[longest.end..].to_vec())
}

/// Main's fault begins while it is on air, and backup is good.
async fn leaves_main(daemon: &Daemon, main: &Programme, card: &Programme, cause: &str) {
    let dir = tempfile::tempdir().unwrap();
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let encoder = main.publish(&event.publish_url());
    event.on_air("main", ON_AIR).await;
    let part = |name: &str| event.made["inputs"]["backup"][name].as_str().unwrap();
    let _backup = card.publish(&format!("{}/{}", part("rtmp_url"), part("rtmp_key")));
    // Taken over while it runs.
    let field = format!("{cause}_after_seconds");
    event.change(json!({ field.as_str(): AFTER })).await;
    assert_eq!(event.get().await[field.as_str()], AFTER);
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;

    event.on_air("backup", ON_AIR).await;
    let newest = async || Media::get(&viewer, &master.sound()).await.newest().expect("a segment");
    let taken = newest().await;
    // Main has been clean for longer than it takes to return, and enough of backup can be recorded.
    tokio::time::sleep(Duration::from_secs(5)).await;
    eventually(Duration::from_secs(30), "four more segments", || async { (newest().await >= taken + 4).then_some(()) })
        .await;
    let inputs = event.inputs().await;
    let expected = [("main", "start"), ("backup", cause)].map(|(to, why)| (to.to_owned(), why.to_owned()));
    assert_eq!(causes(&inputs), expected, "{inputs:#}");
    let warnings = inputs["main"]["warnings"].to_string();
    assert!(inputs["main"]["state"] == "live" && warnings.contains("not taken back"), "{inputs:#}");

    if cause == "silent" {
        let heard = sound(&recorded(&viewer, &master.sound(), dir.path()).await.file).await;
        assert_eq!(heard.runs.len(), 1, "the sound has no gap");
        let beeps = onsets(&heard);
        println!("silent: beeps at {beeps:?}");
        let steps: Vec<f64> = beeps.windows(2).map(|w| w[1] - w[0]).collect();
        let at = steps.iter().position(|&s| s > 2.0).expect("a silence");
        // The beeps before and after it are up to a second away from it.
        assert!((AFTER..AFTER + BESIDES + 2.0).contains(&steps[at]), "{steps:?}");
        assert!(at > 0 && steps[at + 1..].len() >= 2, "{steps:?}");
        assert!(steps[at + 1..].iter().all(|s| (s - 1.0).abs() < 0.1), "{steps:?}");
    } else {
        let shown = frames(&recorded(&viewer, &master.video(240), dir.path()).await.file).await;
        let numbers: Vec<Option<u32>> = shown.iter().map(|f| f.number).collect();
        let (seconds, after) = match cause {
            "black" => longest(&numbers, |a, b| a.is_none() && b.is_none()),
            _ => longest(&numbers, |a, b| a.is_some() && a == b),
        };
        println!("{cause}: for {seconds} s, then {after:?}");
        assert!((AFTER..AFTER + BESIDES).contains(&seconds), "{seconds}");
        // Backup's pictures, one after the other but for what a busy machine gives up.
        assert!(after.len() > 50 && after.iter().all(Option::is_some), "{after:?}");
        let steps = after.windows(2).filter(|w| w[1] > w[0]).count();
        assert!(steps * 10 > after.len() * 8, "{after:?}");
    }
    // Published anew it is main again.
    if cause == "black" {
        encoder.kill().await;
        let _encoder = card.publish(&event.publish_url());
        event.on_air("main", ON_AIR).await;
        assert_eq!(causes(&event.inputs().await).last().map(|s| s.1.as_str()), Some("recovered"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_black_frozen_or_silent_is_left_for_backup_and_not_taken_back() {
    let (card, black) = (programme("good").await, programme("black").await);
    let (frozen, silent) = (programme("frozen").await, programme("silent").await);
    // What a busy machine holds up is not lost.
    let sections = "[programme]\nloss_timeout_seconds = 4.0\n".to_owned();
    let daemon = Daemon::with(Options { sections, ..Options::default() }).await;
    // At once: each waits most of the time.
    tokio::join!(
        leaves_main(&daemon, &black, &card, "black"),
        leaves_main(&daemon, &frozen, &card, "frozen"),
        leaves_main(&daemon, &silent, &card, "silent"),
    );
}
