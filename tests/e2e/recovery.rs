//! What viewers notice when a process is killed: as little as can be.

use crate::support::api::Api;
use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, processes, signal};
use crate::support::eventually;
use crate::support::hls::{Master, Media, record};
use crate::support::publish::Programme;
use crate::support::signal::frames;
use crate::support::starved::Starved;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// When each complete segment was first listed.
type Arrivals = Arc<Mutex<Vec<(u64, Instant)>>>;

/// Polls a playlist and notes when segments appear, until it is dropped.
struct Follower {
    arrivals: Arrivals,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    fn start(api: Api, playlist: String) -> Follower {
        let arrivals = Arrivals::default();
        let into = arrivals.clone();
        let task = tokio::spawn(async move {
            loop {
                if let Ok(reply) = api.try_call(reqwest::Method::GET, &playlist, None).await
                    && reply.status == 200
                {
                    let media = Media::parse(&playlist, &reply.text());
                    let mut arrivals = into.lock().unwrap();
                    for segment in media.segments.iter().filter(|s| !s.gap) {
                        if arrivals.last().is_none_or(|(n, _)| *n < segment.number) {
                            arrivals.push((segment.number, Instant::now()));
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Follower { arrivals, task }
    }

    /// Waits until so many more segments have come.
    async fn more(&self, count: usize, limit: Duration) {
        let before = self.arrivals.lock().unwrap().len();
        eventually(limit, &format!("{count} more segments"), || async {
            (self.arrivals.lock().unwrap().len() >= before + count).then_some(())
        })
        .await;
    }

    fn seen(&self) -> Vec<(u64, Instant)> {
        self.arrivals.lock().unwrap().clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Frames of the whole recording that may repeat the one before: a second of them, as much as a kill may cost at most, and
/// what a busy machine drops from its queues before and after.
const MOST_REPEATED: u32 = 25;

const STATS: &str = "window.__boothcast.stats()";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_costs_less_than_a_second() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p", "240p"])).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    let follower = Follower::start(viewer.clone(), master.video(360));
    follower.more(3, Duration::from_secs(15)).await;
    let before = browser.eval(STATS).await;
    let given_up = async || event.inputs().await["output"]["frames_overload"].as_u64().unwrap() as u32;
    let given_up_before = given_up().await;
    let starved = Starved::watch();
    let already = follower.seen().len();

    let engines = daemon.engines();
    assert_eq!(engines.len(), 1, "one codec process for one event");
    let killed = Instant::now();
    signal(engines[0], "KILL");
    follower.more(4, Duration::from_secs(25)).await;
    let starved = starved.end();
    println!("the machine gave no time for {starved:?}");

    let seen = follower.seen();
    for pair in seen.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 1, "numbers without a hole: {seen:?}");
    }
    for pair in seen[already - 1..].windows(2) {
        let wait = pair[1].1 - pair[0].1;
        // A segment lasts 1.92 s.
        assert!(
            wait < Duration::from_millis(2920) + starved,
            "segment {} came {wait:?} after the one before",
            pair[1].0
        );
    }
    let longest_wait = seen.windows(2).map(|w| w[1].1 - w[0].1).max().unwrap_or_default();
    println!("longest wait from segment to segment: {longest_wait:?}");
    let now = daemon.engines();
    assert!(now.len() == 1 && now != engines, "a new codec process: {engines:?} → {now:?}");
    let after = browser.eval(STATS).await;
    let played = after["position"].as_f64().unwrap() - before["position"].as_f64().unwrap();
    let passed = killed.elapsed().as_secs_f64();
    assert!(
        played > passed - 1.0 - starved.as_secs_f64(),
        "the player went on for {played:.1} s of {passed:.1} s: {after:#}"
    );
    if starved < Duration::from_millis(250) {
        assert_eq!(after["stalls"], before["stalls"], "{after:#}");
    }
    assert_eq!(after["reloads"], before["reloads"], "{after:#}");
    let given_up = given_up().await.saturating_sub(given_up_before);

    let dir = tempfile::tempdir().unwrap();
    let numbers = seen[1].0..seen.last().unwrap().0 + 1;
    let recording = record(&viewer, &master.video(360), numbers, dir.path()).await;
    assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{:#?}", recording.segments);
    let frames = frames(&recording.file).await;
    for pair in frames.windows(2) {
        assert!((pair[1].at - pair[0].at - 0.04).abs() < 1e-3, "the timeline has no hole: {pair:?}");
    }
    // The slots that the kill interrupted are made up for from what the daemon has kept, and no stage drops a picture
    // meanwhile, so that hardly any is shown twice. A frame that cannot be read shows nothing new either.
    let (mut newest, mut still, mut longest, mut repeated) = (0, 0, 0, 0);
    for number in frames.iter().map(|f| f.number) {
        still = if number.is_some_and(|n| n > newest) { 0 } else { still + 1 };
        newest = newest.max(number.unwrap_or(0));
        longest = longest.max(still);
        repeated += u32::from(still > 0);
    }
    println!("{repeated} of {} frames repeat the one before, {longest} in a row; {given_up} given up", frames.len());
    assert!(repeated <= MOST_REPEATED + given_up, "{repeated} of {} frames repeat the one before", frames.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_comes_back_where_it_was() {
    let card = Programme::card().await;
    let mut daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let encoder = card.publish(&event.publish_url());
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut browser = Browser::start().await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    let video = master.video(360);
    let before = eventually(Duration::from_secs(20), "four segments", || async {
        let media = Media::get(&viewer, &video).await;
        (media.segments.iter().filter(|s| !s.gap).count() >= 4).then_some(media)
    })
    .await;
    let was = event.get().await;
    let engines = daemon.engines();

    daemon.kill().await;
    drop(encoder);
    eventually(Duration::from_secs(10), "codec processes end with their daemon", || async {
        processes().iter().all(|p| !engines.contains(&p.pid)).then_some(())
    })
    .await;
    daemon.restart().await;

    let is = event.get().await;
    for name in ["id", "name", "status", "ladder", "languages", "floor_language", "created_at"] {
        assert_eq!(is[name], was[name], "{name}");
    }
    // Whatever is listed before the encoder is back must be there.
    let listed = viewer.get(&video).await;
    if listed.status == 200 {
        for segment in Media::parse(&video, &listed.text()).segments.iter().filter(|s| !s.gap) {
            viewer.get(&segment.uri).await.expect(200);
        }
    }
    let (back, starved) = (Instant::now(), Starved::watch());
    let _encoder = card.publish(&event.publish_url());
    let resumed = format!("{STATS}.phase === 'live' && {STATS}.playback === 'playing' && {STATS}.position > from");
    browser.eval(&format!("window.from = {STATS}.buffered_end, true")).await;
    browser.until(Duration::from_secs(30), &resumed).await;
    let took = back.elapsed();
    assert!(
        took < Duration::from_secs(5) + starved.end(),
        "the page plays {took:?} after the encoder was started again"
    );

    let after = eventually(Duration::from_secs(15), "new segments", || async {
        let media = Media::get(&viewer, &video).await;
        (media.newest() > before.newest().map(|n| n + 1)).then_some(media)
    })
    .await;
    for segment in &after.segments {
        if segment.gap {
            continue;
        }
        viewer.get(&segment.uri).await.expect(200);
        if let Some(old) = before.segments.iter().find(|s| s.number == segment.number) {
            assert_eq!((&old.uri, &old.date), (&segment.uri, &segment.date), "a number keeps its segment");
        }
    }
    let (first, last) = (after.segments.first().unwrap().number, after.newest().unwrap());
    assert!(first <= before.newest().unwrap() + 1, "the playlist reaches back to what was: {first}");
    assert_eq!(after.segments.len() as u64, last - first + 1, "what is missing is a gap in the list");
    let reloads = browser.eval("performance.getEntriesByType('navigation').length").await;
    assert_eq!(reloads, 1, "the page was not loaded again");
}
