//! The viewer page in Chromium, from the holding page to the ended page.

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::publish::Programme;
use crate::support::starved::Starved;
use serde_json::json;
use std::time::Duration;

const STATS: &str = "window.__boothcast.stats()";

/// The player's phase is this one.
fn phase(name: &str) -> String {
    format!("{STATS}.phase === '{name}'")
}

/// Notes what the player holds when it hears of a new status, and how far it plays. The page of that status takes the
/// video away, so both are noted in the page, as they happen.
async fn note_playing_out(browser: &mut Browser) {
    browser
        .eval(
            "(() => { const { core, video, stats } = window.__boothcast; \
             const out = window.out = { before: stats(), came: null, last: 0 }; \
             core.store.subscribe((now, before) => { \
               if (now.event.status !== before.event.status) out.came ??= { ...stats(), phases: [] }; \
               if (now.phase !== before.phase) out.came?.phases.push(now.phase); }); \
             const noting = setInterval(() => { out.last = Math.max(out.last, video.currentTime); \
               if (core.store.value.phase === out.came?.status) clearInterval(noting); }, 20); return true; })()",
        )
        .await;
}

/// Waits for a page after a pause or an end, and checks that the player had shown all it held, and nothing else, by then.
async fn plays_out(browser: &mut Browser, to: &str) {
    browser.until(Duration::from_secs(20), &phase(to)).await;
    let out = browser.eval("({ ...window.out, after: window.__boothcast.stats() })").await;
    let (held, last) = (out["came"]["buffered_end"].as_f64().unwrap(), out["last"].as_f64().unwrap());
    assert!(last > held - 0.2, "played up to {last} of {held}: {out:#}");
    // Near live there may be next to nothing left to play; then the page shows at once.
    let phases = &out["came"]["phases"];
    let left = held - out["came"]["position"].as_f64().unwrap();
    assert!(*phases == json!(["draining", to]) || (left < 0.3 && *phases == json!([to])), "{left} s left: {phases}");
    // The playlists went before the word of it came, or just after: nobody was told of trouble.
    assert_eq!(out["after"]["alarms"], out["before"]["alarms"], "{out:#}");
    assert_eq!(out["after"]["reloads"], out["before"]["reloads"], "{out:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_event_from_holding_to_ended() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["360p", "240p"])).await;
    let mut browser = Browser::start().await;

    browser.open(&event.watch()).await;
    browser.until(Duration::from_secs(10), &phase("holding")).await;
    assert!(browser.text().await.contains("The event has not started yet"));
    browser.screenshot("watch-holding").await;

    event.status("preview").await;
    let _encoder = card.publish(&event.publish_url());
    crate::support::hls::Master::wait(&daemon.api(), &event.preview_url, Duration::from_secs(20)).await;
    assert_eq!(browser.eval(STATS).await["phase"], "holding", "viewers wait during the preview");

    let starved = Starved::watch();
    event.status("started").await;
    let told = browser.until(Duration::from_secs(15), &format!("{STATS}.status === 'started'")).await;
    assert!(told < Duration::from_secs(1) + starved.end(), "the page learned of the start after {told:?}");
    browser.until_playing(Duration::from_secs(20)).await;

    // Pictures advance at their rate, and there is sound.
    browser.run(json!({"do": "sound"})).await;
    // Loud once a second: each time it gets loud is a beep.
    browser
        .eval(
            "(() => { window.beeps = 0; let loud = true; setInterval(() => { const now = window.loudness() > 0.2; \
             if (now && !loud) window.beeps += 1; loud = now; }, 50); return true; })()",
        )
        .await;
    // A machine that has just started a browser, an encoder and a ladder may stall the first seconds.
    browser
        .eval(
            "(() => { const seen = []; setInterval(() => { \
             const after = { ...window.__boothcast.stats(), beeps: window.beeps, now: performance.now() / 1000 }; \
             seen.push(after); \
             const before = seen.findLast((s) => after.now - s.now >= 4); if (!before || window.steady) return; \
             const grown = (name) => after[name] - before[name], passed = grown('now'); \
             if (Math.abs(grown('position') / passed - 1) < 0.1 && Math.abs(grown('decoded_frames') / passed / 25 - 1) < 0.15 \
               && !grown('stalls')) window.steady = { before, after }; }, 100); return true; })()",
        )
        .await;
    browser.until(Duration::from_secs(30), "window.steady").await;
    let steady = browser.eval("window.steady").await;
    let (before, after) = (&steady["before"], &steady["after"]);
    let beeps = after["beeps"].as_f64().unwrap() - before["beeps"].as_f64().unwrap();
    assert!(beeps >= 3.0, "{beeps} beeps were heard in four seconds: {steady:#}");
    assert_eq!(after["muted"], false);
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

    note_playing_out(&mut browser).await;
    event.status("paused").await;
    browser.until(Duration::from_secs(10), &format!("{STATS}.status === 'paused'")).await;
    plays_out(&mut browser, "paused").await;
    browser.screenshot("watch-paused").await;

    event.status("started").await;
    browser
        .until(Duration::from_secs(30), &format!("{STATS}.phase === 'live' && {STATS}.playback === 'playing'"))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    note_playing_out(&mut browser).await;
    event.status("ended").await;
    browser.until(Duration::from_secs(10), &format!("{STATS}.status === 'ended'")).await;
    plays_out(&mut browser, "ended").await;
    assert!(browser.text().await.contains("The event has ended"));
    browser.screenshot("watch-ended").await;
    let fatal = browser.eval(&format!("{STATS}.errors.filter(e => e.fatal)")).await;
    assert_eq!(fatal, json!([]));
    assert_eq!(browser.eval(&format!("{STATS}.alarms")).await, 0);
}
