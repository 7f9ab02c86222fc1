//! Two daemons, fed alike: what they publish can be exchanged, and a player goes on from one when the other dies.

use crate::support::api::{Api, Event};
use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, Options};
use crate::support::hls::{Master, Media, record};
use crate::support::publish::{Programme, Publisher};
use crate::support::signal::frames;
use crate::support::{eventually, ffmpeg};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::process::Command;

#[path = "../support/hls_rules.rs"]
#[allow(dead_code)]
mod rules;

const STATS: &str = "window.__boothcast.stats()";

/// How far apart the same programme may lie on the two timelines, in frames: each daemon places what arrives by when it
/// arrives, and a busy machine delivers to one of them later.
const FRAMES_APART: i64 = 5;

/// A daemon with an event that is started.
struct Origin {
    daemon: Daemon,
    event: Event,
    viewer: Api,
}

/// Two daemons with the same event, each told of the other.
async fn pair() -> [Origin; 2] {
    let mut origins = Vec::new();
    for pathway in ["a", "b"] {
        let sections = format!("[origin]\npathway = {pathway:?}");
        let daemon = Daemon::with(Options { sections, ..Options::default() }).await;
        let event = daemon.api().event(json!(["240p"])).await;
        event.status("started").await;
        let viewer = daemon.api().anonymous();
        origins.push(Origin { daemon, event, viewer });
    }
    let [a, b]: [Origin; 2] = origins.try_into().ok().unwrap();
    for (one, other, pathway) in [(&a, &b, "b"), (&b, &a, "a")] {
        one.event.change(json!({"other_origins": [{"pathway": pathway, "hls_url": other.event.playlist()}]})).await;
    }
    [a, b]
}

/// The multivariant playlist with its own pathway's media playlists keeps all rules.
async fn keeps_the_rules(origin: &Origin, own: &str) {
    let url = origin.event.playlist();
    let text = origin.viewer.get(&url).await.expect(200).text();
    let (multivariant, mut broken) = rules::multivariant(&text);
    assert_eq!(multivariant.pathways().first().map(String::as_str), Some(own), "{text}");
    assert_eq!(multivariant.pathways().len(), 2, "{text}");
    let own = multivariant.of_pathway(own);
    let mut playlists = BTreeMap::new();
    for uri in own.uris() {
        let text = origin.viewer.get(&url.replace("index.m3u8", &uri)).await.expect(200).text();
        let (media, found) = rules::media(&text);
        broken.extend(found);
        playlists.insert(uri, media);
    }
    broken.extend(rules::presentation(&own, &playlists));
    assert!(broken.is_empty(), "{broken:#?}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_goes_on_from_the_other_origin_when_its_own_dies() {
    let card = Programme::card().await;
    let [mut a, b] = pair().await;
    let _encoder = card.publish_to(&[&a.event.publish_url(), &b.event.publish_url()]);
    let limit = Duration::from_secs(30);
    let (first, second) = (
        Master::wait(&a.viewer, &a.event.playlist(), limit).await,
        Master::wait(&b.viewer, &b.event.playlist(), limit).await,
    );

    let mut browser = Browser::start().await;
    browser.open(&a.event.watch()).await;
    browser.until_playing(limit).await;

    // Numbers and boundaries are equal, in pictures and sound.
    for (one, other) in [(first.video(240), second.video(240)), (first.sound(), second.sound())] {
        let same = eventually(limit, "four segments that both have", || async {
            let (one, other) = (Media::get(&a.viewer, &one).await, Media::get(&b.viewer, &other).await);
            let whole = |m: &Media| m.segments.iter().filter(|s| !s.gap).cloned().collect::<Vec<_>>();
            let (one, other) = (whole(&one), whole(&other));
            let pairs: Vec<_> = one
                .into_iter()
                .filter_map(|s| Some((other.iter().find(|o| o.number == s.number)?.clone(), s)))
                .collect();
            (pairs.len() >= 4).then_some(pairs)
        })
        .await;
        for (one, other) in same {
            let said = |s: &crate::support::hls::Segment| (s.duration, s.date.clone(), s.discontinuity);
            assert_eq!(said(&one), said(&other), "segment {}", one.number);
            assert!(one.date.is_some(), "{one:?}");
        }
    }
    keeps_the_rules(&a, "a").await;
    keeps_the_rules(&b, "b").await;

    // What is in them is the same too, as far as it arrived alike.
    let newest = Media::get(&b.viewer, &second.video(240)).await.newest().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = Vec::new();
    for (origin, url) in [(&a, first.video(240)), (&b, second.video(240))] {
        let recording = record(&origin.viewer, &url, newest..newest + 1, dir.path()).await;
        numbers.push(frames(&recording.file).await.iter().map(|f| f.number.map(i64::from)).collect::<Vec<_>>());
    }
    let apart: Vec<i64> =
        numbers[0].iter().zip(&numbers[1]).filter_map(|(one, other)| Some(((*one)? - (*other)?).abs())).collect();
    println!("pictures of segment {newest} are {apart:?} frames apart");
    assert!(apart.len() > 40 && apart.iter().all(|&n| n <= FRAMES_APART), "{numbers:?}");

    // A player that knows nothing of steering has redundant streams.
    let played = Command::new(ffmpeg())
        .args(["-hide_banner", "-nostdin", "-v", "error", "-i", &a.event.playlist(), "-t", "1", "-f", "null", "-"])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));

    let before = browser.eval(&format!("(window.marker = 1, {STATS})")).await;
    assert_eq!((&before["pathway"], &before["reloads"]), (&json!("a"), &json!(0)), "{before:#}");
    a.daemon.kill().await;
    let position = before["position"].as_f64().unwrap();
    browser
        .until(
            Duration::from_secs(20),
            &format!(
                "{STATS}.pathway === 'b' && {STATS}.position > {} && {STATS}.playback === 'playing'",
                position + 6.0
            ),
        )
        .await;
    let after = browser.eval(STATS).await;
    println!(
        "stood still for {} s, {} s behind live before and {} s after",
        after["stalled_seconds"].as_f64().unwrap() - before["stalled_seconds"].as_f64().unwrap(),
        before["live_latency"],
        after["live_latency"],
    );
    assert_eq!(browser.eval("window.marker").await, 1, "the page was not loaded again");
    assert_eq!(after["reloads"], 0, "nor was the stream: {after:#}");
    let behind = |stats: &serde_json::Value| stats["live_latency"].as_f64().unwrap();
    assert!(behind(&after) - behind(&before) < 6.0, "{before:#}\n{after:#}");

    // From now on it is the other that says how the event stands.
    browser.until(Duration::from_secs(15), &format!("{STATS}.connection === 'online'")).await;
    b.event.status("paused").await;
    browser.until(Duration::from_secs(20), &format!("{STATS}.phase === 'paused'")).await;
    assert_eq!(browser.eval("window.marker").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn players_are_sent_to_the_other_origin_while_one_shows_its_slate() {
    let card = Programme::card().await;
    let [a, b] = pair().await;
    let encoder: Publisher = card.publish(&a.event.publish_url());
    let _other = card.publish(&b.event.publish_url());
    let limit = Duration::from_secs(30);
    Master::wait(&a.viewer, &a.event.playlist(), limit).await;
    Master::wait(&b.viewer, &b.event.playlist(), limit).await;
    let mut browser = Browser::start().await;
    browser.open(&a.event.watch()).await;
    browser.until_playing(limit).await;
    assert_eq!(browser.eval(STATS).await["pathway"], "a");
    encoder.kill().await;
    browser.until(limit, &format!("{STATS}.pathway === 'b' && {STATS}.playback === 'playing'")).await;
    let position = browser.eval(STATS).await["position"].as_f64().unwrap();
    browser.until(limit, &format!("{STATS}.position > {}", position + 3.0)).await;
    let after = browser.eval(STATS).await;
    assert_eq!((&after["reloads"], &after["connection"]), (&json!(0), &json!("online")), "{after:#}");
    // What a manager's token opens is one server's alone.
    let preview = a.viewer.get(&a.event.preview_url).await.expect(200).text();
    assert!(!preview.contains("PATHWAY") && !preview.contains(&b.event.id), "{preview}");
}
