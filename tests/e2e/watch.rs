//! The viewer page in Chromium, from the holding page to the ended page.

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::publish::Publisher;
use serde_json::json;
use std::time::Duration;

const STATS: &str = "window.__boothcast.stats()";

/// The player's phase is this one.
fn phase(name: &str) -> String {
    format!("{STATS}.phase === '{name}'")
}

/// Waits until the player holds enough for its playing out to be seen: so near to live, that comes and goes with each part.
async fn holds(browser: &mut Browser) {
    let held = format!("(() => {{ const s = {STATS}; return s.buffered_end - s.position > 0.7; }})()");
    browser.until(Duration::from_secs(10), &held).await;
}

/// Waits for a page after a pause or an end, and checks that the player had shown all it held by then.
async fn plays_out(browser: &mut Browser, to: &str) {
    let held = browser.eval(STATS).await;
    let (position, end) = (held["position"].as_f64().unwrap(), held["buffered_end"].as_f64().unwrap());
    assert!(end > position && held["phase"] == "draining", "the player goes on with what it holds: {held:#}");
    // The page of the new status takes the video away, so its place is noted as long as it is there.
    browser
        .eval(&format!(
            "window.last = 0; window.noting = setInterval(() => {{ const s = {STATS}; \
             if (s.phase === 'draining') window.last = Math.max(window.last, s.position); }}, 20); true"
        ))
        .await;
    browser.until(Duration::from_secs(20), &phase(to)).await;
    let last = browser.eval("clearInterval(window.noting), window.last").await.as_f64().unwrap();
    assert!(last > end - 0.2, "played up to {last} of {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_event_from_holding_to_ended() {
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["360p", "240p"])).await;
    let mut browser = Browser::start().await;

    browser.open(&event.watch()).await;
    browser.until(Duration::from_secs(10), &phase("holding")).await;
    assert!(browser.text().await.contains("The event has not started yet"));
    browser.screenshot("watch-holding").await;

    event.status("preview").await;
    let _encoder = Publisher::card(&event.publish_url());
    crate::support::hls::Master::wait(&daemon.api(), &event.preview_url, Duration::from_secs(20)).await;
    assert_eq!(browser.eval(STATS).await["phase"], "holding", "viewers wait during the preview");

    event.status("started").await;
    let told = browser.until(Duration::from_secs(5), &format!("{STATS}.status === 'started'")).await;
    assert!(told < Duration::from_secs(1), "the page learned of the start after {told:?}");
    browser.until_playing(Duration::from_secs(20)).await;

    // Pictures advance at their rate, and there is sound.
    browser.run(json!({"do": "sound"})).await;
    let before = browser.eval(STATS).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = browser.eval(STATS).await;
    let grown = |name: &str| after[name].as_f64().unwrap() - before[name].as_f64().unwrap();
    assert!((3.0..5.5).contains(&grown("position")), "{before:#} → {after:#}");
    assert!((75.0..140.0).contains(&grown("decoded_frames")), "{before:#} → {after:#}");
    // Between the beeps there is silence, which codes to next to nothing.
    assert!(grown("audio_bytes") > 2_000.0, "{before:#} → {after:#}");
    assert_eq!(after["muted"], false);
    browser.until(Duration::from_secs(5), "window.loudness() > 0.2").await;
    assert!(after["latency"].as_f64().unwrap() < 6.0, "{after:#}");

    // The quality menu lists the ladder.
    browser.run(json!({"do": "click", "selector": "[aria-label^='Quality']"})).await;
    let items =
        browser.eval("[...document.querySelectorAll('[role=menuitemradio]')].map(e => e.textContent.trim())").await;
    let items: Vec<String> = serde_json::from_value(items).unwrap();
    assert_eq!(items.len(), 3, "{items:?}");
    assert!(items[0].starts_with("Auto") && items[1].contains("360p") && items[2].contains("240p"), "{items:?}");
    browser.screenshot("watch-live-quality").await;
    browser.run(json!({"do": "press", "key": "Escape"})).await;

    holds(&mut browser).await;
    event.status("paused").await;
    browser.until(Duration::from_secs(2), &format!("{STATS}.status === 'paused'")).await;
    plays_out(&mut browser, "paused").await;
    browser.screenshot("watch-paused").await;

    event.status("started").await;
    browser
        .until(Duration::from_secs(15), &format!("{STATS}.phase === 'live' && {STATS}.playback === 'playing'"))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    holds(&mut browser).await;
    event.status("ended").await;
    browser.until(Duration::from_secs(2), &format!("{STATS}.status === 'ended'")).await;
    plays_out(&mut browser, "ended").await;
    assert!(browser.text().await.contains("The event has ended"));
    browser.screenshot("watch-ended").await;
    let fatal = browser.eval(&format!("{STATS}.errors.filter(e => e.fatal)")).await;
    assert_eq!(fatal, json!([]));
}
