//! The status matrix: what encoders, viewers and managers get in each status of an event.

use crate::support::api::{Api, Event};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::hls::{Master, Media};
use crate::support::publish::Programme;
use crate::support::rtmp;
use crate::support::sse::Events;
use crate::support::starved::Starved;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const STATUSES: [&str; 5] = ["inactive", "preview", "started", "paused", "ended"];

fn allowed(from: &str) -> &'static [&'static str] {
    match from {
        "inactive" => &["preview", "started"],
        "preview" => &["started", "inactive"],
        "started" => &["paused", "ended", "inactive"],
        "paused" => &["started", "ended", "inactive"],
        "ended" => &["inactive", "preview"],
        other => panic!("{other}"),
    }
}

/// A new event in a status.
async fn event_in(api: &Api, status: &str) -> Event {
    let event = api.event(json!(["360p"])).await;
    let way: &[&str] = match status {
        "inactive" => &[],
        "preview" => &["preview"],
        "started" => &["started"],
        "paused" => &["started", "paused"],
        "ended" => &["started", "ended"],
        other => panic!("{other}"),
    };
    for step in way {
        event.status(step).await;
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_allowed_changes_of_status_are_made() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    for from in STATUSES {
        for to in STATUSES {
            let event = event_in(&api, from).await;
            let reply = event.try_status(to).await;
            if to == from || allowed(from).contains(&to) {
                let now = reply.expect(200).json();
                assert_eq!(now["status"], to, "{from} → {to}");
            } else {
                let problem = reply.expect(409);
                assert!(problem.header("content-type").starts_with("application/problem+json"));
                let mut told: Vec<String> = serde_json::from_value(problem.json()["allowed"].clone()).unwrap();
                let mut right: Vec<String> = allowed(from).iter().map(|s| (*s).to_owned()).collect();
                told.sort();
                right.sort();
                assert_eq!(told, right, "{from} → {to} is refused with what is allowed");
                assert_eq!(event.get().await["status"], from, "and changes nothing");
            }
        }
    }
    let event = event_in(&api, "inactive").await;
    event.try_status("live").await.expect(422);
    for path in ["", "/inputs", "/status"] {
        let path = format!("/api/v1/events/{}{path}", event.id);
        let method = if path.ends_with("status") { Method::PUT } else { Method::GET };
        api.anonymous().call(method, &path, Some(json!({"status": "started"}))).await.expect(401);
    }
    assert_eq!(event.get().await["status"], "inactive", "nobody without a token changed it");
}

/// Addresses that a viewer could make up, around the number that a segment of now would have.
fn guesses(event: &Event, daemon: &Daemon) -> Vec<String> {
    let base = format!("{}/live/{}", daemon.http(), event.id);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let mut all = vec![format!("{base}/index.m3u8"), format!("{base}/manifest.mpd")];
    for rendition in ["360p", "source", "floor"] {
        for file in ["media.m3u8", "iframes.m3u8", "init-0.mp4", "init-1.mp4"] {
            all.push(format!("{base}/{rendition}/{file}"));
        }
        let number = (now / 1.92) as u64;
        for n in number - 4..number + 2 {
            all.push(format!("{base}/{rendition}/{n}.m4s"));
            all.extend((0..6).map(|part| format!("{base}/{rendition}/{n}.{part}.m4s")));
        }
    }
    all
}

async fn all_refused(api: &Api, urls: &[String], when: &str) {
    for url in urls {
        let reply = api.anonymous().get(url).await;
        assert_eq!(reply.status, 404, "{when}: {url}");
    }
}

/// Everything that the playlists of an event name now, with whatever token they carry.
async fn named(api: &Api, url: &str) -> Vec<String> {
    let master = Master::wait(api, url, Duration::from_secs(20)).await;
    let mut all = vec![url.to_owned()];
    for playlist in master.variants.iter().map(|v| v.uri.clone()).chain([master.sound()]) {
        let media = eventually(Duration::from_secs(15), "a complete segment", || async {
            let media = Media::get(api, &playlist).await;
            media.newest().is_some().then_some(media)
        })
        .await;
        all.push(playlist);
        for segment in media.segments.iter().filter(|s| !s.gap) {
            all.extend([segment.init.clone(), segment.uri.clone()]);
            all.extend(segment.parts.iter().map(|p| p.uri.clone()));
        }
        all.extend(media.parts.iter().map(|p| p.uri.clone()));
    }
    all.sort();
    all.dedup();
    all
}

fn without_query(urls: &[String]) -> Vec<String> {
    urls.iter().map(|u| u.split('?').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_get_what_the_status_gives_and_nothing_by_guessing() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let viewer = api.anonymous();
    let event = api.event(json!(["360p"])).await;
    let ingest = daemon.addresses["rtmp"];
    let app = event.rtmp_url.rsplit('/').next().unwrap().to_owned();

    // inactive
    let attempt = rtmp::publish(ingest, &app, &event.rtmp_key).await;
    assert!(attempt.refused(), "inactive: {attempt:?}");
    all_refused(&api, &guesses(&event, &daemon), "inactive").await;
    viewer.get(&event.watch()).await.expect(200);

    // preview: managers see it, viewers cannot reach one byte of it, although they know every name
    event.status("preview").await;
    let attempt = rtmp::publish(ingest, &app, "not-the-key").await;
    assert!(attempt.refused(), "wrong key: {attempt:?}");
    let mut encoder = card.publish(&event.publish_url());
    let names = named(&api.anonymous(), &event.preview_url).await;
    assert!(names.len() > 10, "{names:#?}");
    for url in &names {
        viewer.get(url).await.expect(200);
    }
    all_refused(&api, &without_query(&names), "preview, without the token").await;
    all_refused(
        &api,
        &names.iter().map(|u| format!("{}?preview=guessed", u.split('?').next().unwrap())).collect::<Vec<_>>(),
        "preview, wrong token",
    )
    .await;
    all_refused(&api, &guesses(&event, &daemon), "preview").await;
    let second = rtmp::publish(ingest, &app, &event.rtmp_key).await;
    assert!(second.refused(), "a second publisher: {second:?}");
    assert!(encoder.running(), "the first one goes on: {}", encoder.log());

    // started: players learn of it within a second
    let state = format!("/api/v1/events/{}/state", event.id);
    let mut told = Events::new(viewer.stream(&state, "text/event-stream").await);
    let (asked, starved) = (Instant::now(), Starved::watch());
    event.status("started").await;
    let heard = told.status(Duration::from_secs(15), "started").await;
    assert!(heard - asked < Duration::from_secs(1) + starved.end(), "{:?}", heard - asked);
    assert_eq!(viewer.get(&state).await.expect(200).json()["status"], "started");
    let names = named(&viewer, &event.playlist()).await;
    for url in &names {
        viewer.get(url).await.expect(200);
    }

    // paused: a reload that waits is answered at once, then nothing is left
    let media_url = Master::wait(&viewer, &event.playlist(), Duration::from_secs(5)).await.video(360);
    let before = Media::get(&viewer, &media_url).await.newest().unwrap();
    let held = {
        let (viewer, url) = (viewer.clone(), format!("{media_url}?_HLS_msn={}", before + 2));
        tokio::spawn(async move { (viewer.get(&url).await, Instant::now()) })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (asked, starved) = (Instant::now(), Starved::watch());
    event.status("paused").await;
    let heard = told.status(Duration::from_secs(15), "paused").await;
    let (reply, answered) = held.await.unwrap();
    let soon = Duration::from_secs(1) + starved.end();
    assert!(heard - asked < soon, "{:?}", heard - asked);
    if answered > asked {
        assert_eq!(reply.status, 404, "a held reload");
        assert!(answered - asked < soon, "answered {:?} after the pause", answered - asked);
    }
    viewer.get(&event.playlist()).await.expect(404);
    api.get(&event.preview_url).await.expect(200);
    eventually(Duration::from_secs(15), "the rest is withdrawn after the hold-back time", || async {
        let mut left = 0;
        for url in names.iter().chain([&media_url]) {
            left += u32::from(viewer.get(url).await.status == 200);
        }
        (left == 0).then_some(())
    })
    .await;
    all_refused(&api, &guesses(&event, &daemon), "paused").await;

    // started again: numbers go on
    event.status("started").await;
    let after = eventually(Duration::from_secs(10), "segments after the pause", || async {
        let media = viewer.get(&media_url).await;
        (media.status == 200).then(|| Media::parse(&media_url, &media.text())).and_then(|m| m.newest())
    })
    .await;
    assert!(after > before, "{after} after {before}");

    // ended: the encoder is sent away and refused from then on
    event.status("ended").await;
    encoder.ended(Duration::from_secs(10)).await;
    let attempt = rtmp::publish(ingest, &app, &event.rtmp_key).await;
    assert!(attempt.refused(), "ended: {attempt:?}");
    viewer.get(&event.playlist()).await.expect(404);
    eventually(Duration::from_secs(15), "no preview is left of an ended event", || async {
        viewer.get(&event.preview_url).await.status.is_client_error().then_some(())
    })
    .await;
    assert!(!daemon.log().contains(&event.rtmp_key), "a key in the log");
    eventually(Duration::from_secs(10), "no codec process is left", || async {
        daemon.engines().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_ends_the_old_one() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    let app = event.rtmp_url.rsplit('/').next().unwrap().to_owned();
    event.status("preview").await;
    let shown = event.get().await;
    assert!(!shown.to_string().contains(&event.rtmp_key), "a key is shown once: {shown:#}");
    let made = api.post(&format!("/api/v1/events/{}/inputs/main/key", event.id), json!({})).await.expect(201).json();
    let new = made["rtmp_key"].as_str().unwrap();
    assert_ne!(new, event.rtmp_key);
    let old = rtmp::publish(daemon.addresses["rtmp"], &app, &event.rtmp_key).await;
    assert!(old.refused(), "{old:?}");
    let accepted = rtmp::publish(daemon.addresses["rtmp"], &app, new).await;
    assert!(accepted.said.contains("NetStream.Publish.Start"), "{accepted:?}");
}
