//! What viewers notice when main is lost and comes back: nothing, where backup carries the same.

use crate::support::api::{Api, Event};
use crate::support::browser::Browser;
use crate::support::cable::{Cable, Plug};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::ffmpeg;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{AAC, Programme, Publisher};
use crate::support::signal::{Frame, frames, onsets, sound};
use crate::support::starved::Starved;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// For how long an input that should feed the programme is waited for.
const ON_AIR: Duration = Duration::from_secs(30);

/// A machine that gives some process no time for as long as this takes more from viewers than a switch does.
const CALM: Duration = Duration::from_millis(250);

const STATS: &str = "window.__boothcast.stats()";

/// As OBS encodes: a key frame every two seconds, two B-frames.
const H264: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1200k", "-g", "50", "-bf", "2", "-pix_fmt", "yuv420p"];

const ZERO_LATENCY: &[&str] = &["-tune", "zerolatency"];
/// Another coding of the same sound. (Quiet units of another bitrate alone are equal now and then.)
const OTHER_AAC: &[&str] = &["-c:a", "aac", "-b:a", "96k", "-ac", "2", "-ar", "44100"];

async fn card(encode: &[&str]) -> Programme {
    Programme::card_with(&ffmpeg(), (640, 360, 25), 48_000, &[encode, AAC].concat()).await
}

/// The card's picture with a tone whose level is thrown anew seven times a second: no moment of it is like another.
async fn restless(encode: &[&str]) -> Programme {
    let sound = "aevalsrc='st(0,if(mod(n,7200),ld(0),random(1)));0.5*ld(0)*sin(2*PI*440*t)':s=48000";
    Programme::new(&ffmpeg(), (640, 360, 25), sound, encode).await
}

/// Waits until it is known by what the inputs belong together.
async fn matched_by(event: &Event, basis: &str) {
    eventually(Duration::from_secs(20), &format!("inputs matched by {basis}"), || async {
        (event.inputs().await["alignment"]["matched_by"] == basis).then_some(())
    })
    .await;
}

fn backup_url(event: &Event) -> String {
    let part = |name: &str| event.made["inputs"]["backup"][name].as_str().unwrap();
    format!("{}/{}", part("rtmp_url"), part("rtmp_key"))
}

/// What viewers got of a rung's pictures: repeated and left out.
#[derive(Debug, Default)]
struct Pictures {
    repeated: Vec<(f64, u32)>,
    left_out: Vec<(f64, i64)>,
}

fn pictures(frames: &[Frame]) -> Pictures {
    let mut found = Pictures::default();
    for pair in frames.windows(2) {
        assert!((pair[1].at - pair[0].at - 0.04).abs() < 1e-3, "the timeline has no hole: {pair:?}");
        let (Some(before), Some(after)) = (pair[0].number, pair[1].number) else {
            panic!("a picture that cannot be read: {pair:?}");
        };
        match i64::from(after) - i64::from(before) {
            1 => {}
            0 => found.repeated.push((pair[1].at, after)),
            step => found.left_out.push((pair[1].at, step - 1)),
        }
    }
    found
}

/// The segments of a rung from `first` on, decoded; two more than there are now.
async fn seen(viewer: &Api, master: &Master, first: u64, dir: &Path) -> Vec<Frame> {
    let newest = Media::get(viewer, &master.video(240)).await.newest().expect("a segment");
    let recording = record(viewer, &master.video(240), first..newest + 2, dir).await;
    assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{:#?}", recording.segments);
    frames(&recording.file).await
}

fn switches(inputs: &Value) -> Vec<(String, String, String, f64)> {
    let text = |v: &Value| v.as_str().unwrap_or("none").to_owned();
    let all = inputs["switches"].as_array().unwrap().iter();
    all.map(|s| (text(&s["to"]), text(&s["cause"]), text(&s["matched_by"]), s["gap_seconds"].as_f64().unwrap_or(-1.0)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_inputs_are_switched_without_a_picture_lost_or_shown_twice() {
    let card = card(H264).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let cable = Cable::before(daemon.addresses["rtmp"]).await;
    let backup = backup_url(&event);
    let main = event.publish_url().replace(&daemon.addresses["rtmp"].to_string(), &cable.address.to_string());
    // One encoder, two destinations; it comes back to the one that it lost by itself.
    let _encoder = card.publish_to(&[&main, &backup]);
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    event.on_air("main", ON_AIR).await;
    matched_by(&event, "content").await;
    let first = Media::get(&viewer, &master.video(240)).await.newest().expect("a segment") + 1;
    let before = browser.eval(STATS).await;
    let already = switches(&event.inputs().await).len();
    let starved = Starved::watch();

    for plug in [Plug::Out, Plug::Loose] {
        cable.set(plug);
        event.on_air("backup", ON_AIR).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        cable.set(Plug::In);
        event.on_air("main", ON_AIR).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    let inputs = event.inputs().await;
    let made = &switches(&inputs)[already..];
    let starved = starved.end();
    println!("switches {made:?}, alignment {}; the machine gave no time for {starved:?}", inputs["alignment"]);
    let overload = inputs["output"]["frames_overload"].as_u64().unwrap();
    let after = browser.eval(STATS).await;
    // A machine that gives nobody time for half a second takes both inputs away, and the player's parts.
    if starved < CALM {
        let causes: Vec<&str> = made.iter().map(|s| s.1.as_str()).collect();
        assert_eq!(causes, ["disconnected", "recovered", "no_media", "recovered"], "{made:?}");
        assert!(made.iter().all(|s| s.2 == "content" && s.3 == 0.0), "{made:?}");
        assert_eq!(after["stalls"], before["stalls"], "{after:#}");
    }
    assert_eq!(after["reloads"], before["reloads"], "{after:#}");
    let frames = seen(&viewer, &master, first, dir.path()).await;
    let pictures = pictures(&frames);
    println!("{} pictures: {pictures:?}, {overload} given up by a busy machine", frames.len());
    if overload == 0 && starved < CALM {
        assert!(pictures.repeated.is_empty() && pictures.left_out.is_empty(), "{pictures:?}");
    }
    // Nor is there a hole in the sound, or a beep at another place than each second.
    let last = Media::get(&viewer, &master.sound()).await.newest().expect("a segment");
    let heard = sound(&record(&viewer, &master.sound(), first..last + 1, dir.path()).await.file).await;
    assert_eq!(heard.runs.len(), 1, "the sound has no gap");
    let beeps = onsets(&heard);
    assert!(beeps.windows(2).all(|w| (w[1] - w[0] - 1.0).abs() < 0.003), "{beeps:?}");
}

/// The pictures differ and the sound is equal, as where one device feeds two encoders its sound coded.
#[tokio::test(flavor = "multi_thread")]
async fn another_encoder_with_equal_sound_takes_over_within_a_picture() {
    let same = restless(&[H264, AAC].concat()).await;
    let other = restless(&[ZERO_LATENCY, H264, AAC].concat()).await;
    takes_over(&same, &other, "content").await.within(1);
}

/// No byte is equal, but what the two decode to sounds alike.
#[tokio::test(flavor = "multi_thread")]
async fn another_encoder_of_the_same_sound_takes_over_within_a_picture() {
    let same = restless(&[H264, AAC].concat()).await;
    let other = restless(&[ZERO_LATENCY, H264, OTHER_AAC].concat()).await;
    takes_over(&same, &other, "sound").await.within(1);
}

/// Nothing is equal, and beeps sound alike every second: the programme goes on where it broke off on the timeline, and its
/// content by what both arrive apart. Both are started by hand, within a second.
#[tokio::test(flavor = "multi_thread")]
async fn another_encoder_takes_over_by_arrival() {
    let same = card(H264).await;
    let encode = [ZERO_LATENCY, H264, OTHER_AAC].concat();
    let other = Programme::card_with(&ffmpeg(), (640, 360, 25), 48_000, &encode).await;
    takes_over(&same, &other, "arrival").await.within(25);
}

/// What a takeover did to the pictures.
struct Taken {
    pictures: Pictures,
    /// How many a busy machine gave up.
    overload: usize,
}

impl Taken {
    /// At most two are shown twice, and at most so many are left out.
    fn within(&self, left_out: usize) {
        let Taken { pictures, overload } = self;
        assert!(pictures.repeated.len() <= left_out.min(2) + overload, "{pictures:?}");
        let most = left_out + overload;
        assert!(pictures.left_out.iter().all(|(_, n)| n.unsigned_abs() as usize <= most), "{pictures:?}");
    }
}

/// Kills main while another encoder feeds backup, once it is known by what they belong together.
async fn takes_over(same: &Programme, other: &Programme, basis: &str) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let main: Publisher = same.publish(&event.publish_url());
    let _backup = other.publish(&backup_url(&event));
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    event.on_air("main", ON_AIR).await;
    let first = Media::get(&viewer, &master.video(240)).await.newest().expect("a segment") + 1;
    let before = browser.eval(STATS).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    match basis {
        "arrival" => assert_eq!(event.inputs().await["alignment"], Value::Null),
        _ => matched_by(&event, basis).await,
    }
    let already = switches(&event.inputs().await).len();
    let starved = Starved::watch();

    main.kill().await;
    event.on_air("backup", ON_AIR).await;
    tokio::time::sleep(Duration::from_secs(4)).await;

    let inputs = event.inputs().await;
    let made = &switches(&inputs)[already..];
    let after = browser.eval(STATS).await;
    let starved = starved.end();
    if starved < CALM {
        assert_eq!(after["stalls"], before["stalls"], "{after:#}");
    }
    assert_eq!(after["reloads"], before["reloads"], "{after:#}");
    let frames = seen(&viewer, &master, first, dir.path()).await;
    let pictures = pictures(&frames);
    println!("{made:?}; {} pictures: {pictures:?}; the machine gave no time for {starved:?}", frames.len());
    let (_, _, by, gap) = made.iter().find(|s| s.0 == "backup").expect("a switch");
    assert!(by == basis && *gap <= 0.04, "{made:?}");
    Taken { pictures, overload: inputs["output"]["frames_overload"].as_u64().unwrap() as usize }
}
