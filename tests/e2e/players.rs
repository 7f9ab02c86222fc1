//! Foreign readers of our playlists: quick-m3u8, ffprobe, dash.js.

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::hls::{Master, Media};
use crate::support::publish::Programme;
use crate::support::root;
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::{HlsLine, Reader};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Reads every line; fails on one that the crate does not know or finds wrong.
fn accepted(url: &str, text: &str) {
    let mut reader = Reader::from_str(text, ParsingOptionsBuilder::new().with_parsing_for_all_tags().build());
    let mut tags = 0;
    loop {
        match reader.read_line() {
            Ok(None) => break,
            Ok(Some(HlsLine::KnownTag(_))) => tags += 1,
            Ok(Some(HlsLine::UnknownTag(tag))) => panic!("{url}: unknown tag {tag:?} in\n{text}"),
            Ok(Some(_)) => {}
            Err(error) => panic!("{url}: {error:?} in\n{text}"),
        }
    }
    assert!(tags > 3, "{url}:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_readers_accept_the_playlists() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p", "240p"])).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let video = master.video(360);
    eventually(Duration::from_secs(20), "three segments", || async {
        (Media::get(&viewer, &video).await.segments.iter().filter(|s| !s.gap).count() >= 3).then_some(())
    })
    .await;

    let text = viewer.get(&event.playlist()).await.expect(200).text();
    accepted(&event.playlist(), &text);
    let videos: Vec<String> = [360, 240].iter().map(|height| master.video(*height)).collect();
    for playlist in videos.iter().cloned().chain([master.sound()]) {
        let media = Media::get(&viewer, &playlist).await;
        accepted(&playlist, &media.text);
        let wanted = format!("{playlist}?_HLS_msn={}&_HLS_part=1", media.newest().unwrap() + 1);
        let blocked = viewer.get(&wanted).await.expect(200).text();
        accepted(&wanted, &blocked);
        let reloaded = Media::parse(&wanted, &blocked);
        assert!(reloaded.text.contains("#EXT-X-PRELOAD-HINT") && reloaded.newest() >= media.newest(), "{blocked}");
        for part in reloaded.segments.iter().flat_map(|s| &s.parts).chain(&reloaded.parts) {
            assert!(part.duration <= reloaded.part_target + 1e-3, "{part:?} of at most {}", reloaded.part_target);
        }
        for segment in reloaded.segments.iter().filter(|s| !s.parts.is_empty()) {
            let parts: f64 = segment.parts.iter().map(|p| p.duration).sum();
            assert!((parts - segment.duration).abs() < 1e-3, "the parts make up the segment: {segment:?}");
            assert!(segment.parts[0].independent, "a segment can be begun with: {segment:?}");
            assert!(segment.duration <= reloaded.target + 0.5, "{segment:?}");
        }
        let iframes = playlist.replace("media.m3u8", "iframes.m3u8");
        if videos.contains(&playlist) {
            accepted(&iframes, &viewer.get(&iframes).await.expect(200).text());
        }
    }

    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-show_programs", "-show_streams", "-of", "json", &event.playlist()])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let complaints = String::from_utf8_lossy(&probe.stderr);
    assert!(probe.status.success() && complaints.trim().is_empty(), "ffprobe: {complaints}");
    let found: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let heights: Vec<i64> =
        found["streams"].as_array().unwrap().iter().filter_map(|s| s["height"].as_i64().filter(|h| *h > 0)).collect();
    assert!(heights.contains(&360) && heights.contains(&240), "{found:#}");
    assert!(found["streams"].as_array().unwrap().iter().any(|s| s["codec_name"] == "aac"), "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dash_js_plays_the_manifest() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p", "240p"])).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let manifest = format!("/live/{}/manifest.mpd", event.id);
    eventually(Duration::from_secs(20), "a manifest", || async {
        (api.anonymous().get(&manifest).await.status == 200).then_some(())
    })
    .await;
    // On a page of the same origin, so that nothing but the manifest and the segments is under test.
    let mut browser = Browser::start().await;
    let page = format!("{}/dash-test.html", daemon.http());
    let library = root().join("tests/e2e/browser/node_modules/dashjs/dist/modern/umd/dash.all.min.js");
    assert!(library.exists(), "{} is missing: run scripts/setup test", library.display());
    browser.serve(&format!("{}/dash.js", daemon.http()), "text/javascript", &library).await;
    let html = format!(
        "<!doctype html><video muted></video><script src=/dash.js></script><script>\
         window.errors = []; const p = dashjs.MediaPlayer().create(); p.on('error', e => errors.push(e.error));\
         p.initialize(document.querySelector('video'), '{manifest}', true);</script>"
    );
    browser.serve_text(&page, "text/html", &html).await;
    browser.open(&page).await;
    browser.until_playing(Duration::from_secs(15)).await;
    // A machine that has just started a browser, an encoder and a ladder may stall the first seconds.
    let began = Instant::now();
    loop {
        let before = browser.playback().await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let after = browser.playback().await.unwrap();
        let heard = after.sound_bytes > before.sound_bytes;
        if after.at - before.at > 3.0 && after.frames > before.frames + 60 && heard {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "dash.js plays on: {before:?} → {after:?}");
    }
    assert_eq!(browser.eval("errors").await, json!([]));
}

/// What lies behind is flushed now and then, which may fall between a part's loading and its appending. Here it does in every segment.
#[tokio::test(flavor = "multi_thread")]
async fn a_player_goes_on_while_what_lies_behind_it_is_flushed() {
    let card = Programme::small_card().await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let _master = Master::wait(&daemon.api().anonymous(), &event.playlist(), Duration::from_secs(20)).await;
    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    // A machine that gets no time may stall any player: what counts is whether it plays on while this is done.
    let flush = "(() => { const { hls } = window.__boothcast; window.flushed = 0; \
                 hls.on('hlsFragLoaded', (_, { frag, part }) => { \
                   if (part?.index !== 2) return; \
                   window.flushed += 1; \
                   hls.trigger('hlsBufferFlushed', { type: frag.type === 'audio' ? 'audio' : 'video' }); \
                 }); \
                 const seen = []; setInterval(() => { \
                   const { stalls, stalled_seconds, position } = window.__boothcast.stats(); \
                   const after = { stalls, stalled_seconds, position, flushed: window.flushed, now: performance.now() / 1000 }; \
                   seen.push(after); \
                   const before = seen.findLast((s) => after.now - s.now >= 6); if (!before || window.steady) return; \
                   const grown = (name) => after[name] - before[name]; \
                   if (grown('flushed') >= 5 && !grown('stalls') && grown('position') > 5.5) window.steady = { before, after }; \
                 }, 100); return true })()";
    assert_eq!(browser.eval(flush).await, true);
    browser.until(Duration::from_secs(40), "window.steady").await;
    println!("{}", browser.eval("window.steady").await);
}
