//! Languages come and go while viewers watch.

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::Programme;
use crate::support::signal::{onsets, sound};
use serde_json::json;
use std::time::Duration;

const STATS: &str = "window.__boothcast.stats()";

#[tokio::test(flavor = "multi_thread")]
async fn languages_are_added_and_taken_away_without_disturbing_anyone() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let interpreted = |tag: &str| json!({"language": tag, "kind": "interpreted"});
    let event = api.event_with(json!({"ladder": ["240p"], "languages": [interpreted("de")]})).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    assert_eq!(master.languages(), ["en English", "de Deutsch"]);

    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    let tracks = |n: usize| format!("{STATS}.audio_tracks.length === {n}");
    browser.until(Duration::from_secs(30), &tracks(2)).await;
    let (floor, de) = (master.sound(), master.language("de"));
    let first = Media::get(&viewer, &floor).await.newest().expect("a segment") + 1;

    let before = browser.eval(STATS).await;
    let changed_at = browser.eval("new Date().toISOString()").await;
    event.change(json!({"languages": [interpreted("fr"), interpreted("de"), interpreted("ja")]})).await;
    // Named as soon as a player that turns to them finds sound where it plays.
    browser.until(Duration::from_secs(40), &tracks(4)).await;
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(5)).await;
    assert_eq!(master.languages(), ["en English", "fr Français", "de Deutsch", "ja 日本語"]);
    // Chosen, the new one plays.
    browser.eval("window.__boothcast.core.setLanguage('fr')").await;
    browser
        .until(Duration::from_secs(30), &format!("{STATS}.audio_tracks[{STATS}.audio_track].language === 'fr'"))
        .await;
    let turned = browser.eval(STATS).await;
    let sound_goes_on = format!("{STATS}.audio_bytes > {} + 5000", turned["audio_bytes"]);
    browser.until(Duration::from_secs(30), &sound_goes_on).await;

    // Taken away, it carries the floor until the event ends; who plays it notices nothing.
    let fr = master.language("fr");
    event.change(json!({"languages": [interpreted("de")]})).await;
    let listed = eventually(Duration::from_secs(5), "two languages", || async {
        let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(5)).await;
        (master.audio.len() == 2).then_some(master)
    });
    assert_eq!(listed.await.languages(), ["en English", "de Deutsch"]);
    browser.until(Duration::from_secs(30), &tracks(2)).await;
    let at = browser.playback().await.expect("a video").at;
    browser.until(Duration::from_secs(30), &format!("document.querySelector('video').currentTime > {at} + 4")).await;
    let dir = tempfile::tempdir().unwrap();
    let newest = Media::get(&viewer, &fr).await.newest().expect("a segment");
    let kept = sound(&record(&viewer, &fr, newest + 1..newest + 3, dir.path()).await.file).await;
    assert!(onsets(&kept).len() >= 3, "the floor's beeps are heard: {:?}", onsets(&kept));

    // The others never had a gap.
    for (name, url) in [("floor", floor), ("de", de)] {
        let all = record(&viewer, &url, first..newest + 3, dir.path()).await;
        assert!(all.segments.iter().all(|s| !s.gap && !s.discontinuity), "{name}");
        let heard = sound(&all.file).await;
        assert_eq!(heard.runs.len(), 1, "{name} has no gap");
        let beeps = onsets(&heard);
        let steady = beeps.windows(2).all(|w| (w[1] - w[0] - 1.0).abs() < 0.003);
        assert!(steady && beeps.len() as f64 >= (newest + 2 - first) as f64 * 1.92 - 1.0, "{name}: {beeps:?}");
    }
    let after = browser.eval(STATS).await;
    // Only to play what it had not loaded.
    assert!(after["reloads"].as_u64() <= before["reloads"].as_u64().map(|n| n + 2), "{after:#}");
    // A busy machine stalls; nobody finds a hole where they are. (hls.js also calls it one where it seeks from an empty
    // player's 0 to the first fragment of a live playlist: before anything changed.)
    let errors = after["errors"].as_array().expect("a list").iter().filter(|e| e["at"].as_str() > changed_at.as_str());
    let hole = |e: &serde_json::Value| e["detail"].as_str().is_some_and(|d| d.contains("SeekOverHole"));
    assert!(!errors.into_iter().any(|e| e["fatal"] == true || hole(e)), "{after:#}");
}
