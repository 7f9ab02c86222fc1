//! From the last byte of a part's last picture to the playlist that lists the part, by blocking reload.
//!
//! Which picture ends a part is read from the media itself: passed through, a part ends with the very bytes that were
//! sent; from the ladder, the pictures are decoded and their burned-in numbers read.

use crate::source::{self, TAIL, Tags};
use crate::support::api::{Api, Event};
use crate::support::daemon::{Daemon, Options};
use crate::support::hls::{Master, Media, Part, record};
use crate::support::signal;
use crate::table::{Figure, Limit, quantile};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long parts are watched.
const MEASURE: Duration = Duration::from_secs(20);

/// A part, where it lies and when a reload first listed it.
struct Listed {
    segment: u64,
    index: usize,
    part: Part,
    at: Instant,
}

/// Follows a playlist by blocking reloads, part by part.
async fn follow(api: &Api, url: &str) -> Vec<Listed> {
    let mut media = Media::get(api, url).await;
    let mut listed = Vec::new();
    let began = Instant::now();
    let next = |media: &Media| (media.segments.last().expect("segments").number + 1, media.parts.len());
    while began.elapsed() < MEASURE {
        let (segment, index) = next(&media);
        let text = api.get(&format!("{url}?_HLS_msn={segment}&_HLS_part={index}")).await.expect(200).text();
        let at = Instant::now();
        media = Media::parse(url, &text);
        let parts = match media.segments.iter().find(|s| s.number == segment) {
            Some(complete) => &complete.parts,
            None => &media.parts,
        };
        // The request for a part after a segment's last one is answered by the next segment's first.
        let (segment, index, part) = match parts.get(index) {
            Some(part) => (segment, index, part),
            None => (segment + 1, 0, &media.parts[0]),
        };
        listed.push(Listed { segment, index, part: part.clone(), at });
    }
    listed
}

/// Milliseconds from the newest of `sent` that is not after `at`.
fn since(sent: &[Instant], at: Instant) -> Option<f64> {
    let newest = sent.iter().filter(|&&s| s <= at).max()?;
    Some((at - *newest).as_secs_f64() * 1e3)
}

async fn started(daemon: &Daemon, ladder: serde_json::Value) -> Event {
    let event = daemon.api().event(ladder).await;
    event.status("started").await;
    event
}

/// Waits for whole segments of the picture with this height.
async fn begun(api: &Api, event: &Event, height: u32) -> String {
    let master = Master::wait(api, &event.playlist(), Duration::from_secs(20)).await;
    let url = master.video(height);
    crate::support::eventually(Duration::from_secs(20), "a segment and a part", || async {
        let media = Media::get(api, &url).await;
        (media.newest().is_some() && !media.parts.is_empty()).then_some(())
    })
    .await;
    url
}

async fn passthrough() -> Vec<f64> {
    let tags = Arc::new(Tags::read(&source::six().await));
    let daemon = Daemon::start().await;
    let event = started(&daemon, json!("passthrough")).await;
    let publisher = source::paced(tags.clone(), &event.publish_url());
    let api = daemon.api().anonymous();
    let url = begun(&api, &event, 1080).await;
    let listed = follow(&api, &url).await;
    let mut tails = Vec::new();
    for listed in &listed {
        let body = api.get(&listed.part.uri).await.expect(200).body;
        let tail: [u8; TAIL] = *body.last_chunk().expect("a part is longer");
        tails.push((tail, listed.at));
    }
    let sent = publisher.await.unwrap();
    let mut by_tail: HashMap<[u8; TAIL], Vec<Instant>> = HashMap::new();
    for (at, index) in sent {
        by_tail.entry(tags.tags[index].tail()).or_default().push(at);
    }
    let found = |(tail, at): &([u8; TAIL], Instant)| {
        let sent = by_tail.get(tail).unwrap_or_else(|| panic!("a part ends with what was not sent"));
        since(sent, *at).expect("a part comes after its pictures")
    };
    tails.iter().map(found).collect()
}

async fn ladder() -> Vec<f64> {
    let tags = Arc::new(Tags::read(&source::numbered().await));
    let sections = "[programme]\ndelay_seconds = 0.0".to_owned();
    let daemon = Daemon::with(Options { sections, ..Options::default() }).await;
    let event = started(&daemon, json!(["720p", "480p", "360p"])).await;
    let publisher = source::paced(tags.clone(), &event.publish_url());
    let api = daemon.api().anonymous();
    let url = begun(&api, &event, 720).await;
    let listed = follow(&api, &url).await;
    let (first, last) = (listed[0].segment + 1, listed[listed.len() - 1].segment);
    let dir = tempfile::tempdir().unwrap();
    let recording = record(&api, &url, first..last, dir.path()).await;
    let frames = signal::frames(&recording.file).await;
    let mut numbers: HashMap<(u64, usize), u32> = HashMap::new();
    let mut next = 0;
    for segment in &recording.segments {
        // All segments of a grid are alike; the pictures are shared out by the parts' durations.
        let per = frames.len() / recording.segments.len();
        let mut end = 0.0;
        let whole: f64 = listed.iter().filter(|l| l.segment == segment.number).map(|l| l.part.duration).sum();
        for part in listed.iter().filter(|l| l.segment == segment.number) {
            end += part.part.duration;
            let at = next + (per as f64 * end / whole).round() as usize - 1;
            numbers.insert((segment.number, part.index), frames[at].number.expect("a number can be read"));
        }
        next += per;
    }
    let sent = publisher.await.unwrap();
    let measured: Vec<f64> = listed
        .iter()
        .filter_map(|l| {
            let number = *numbers.get(&(l.segment, l.index))?;
            since(&[sent.get(number as usize)?.0], l.at)
        })
        .collect();
    assert!(measured.len() > 20, "too few parts: {} of {}", measured.len(), listed.len());
    measured
}

pub async fn run() -> Vec<Figure> {
    let (copied, encoded) = (passthrough().await, ladder().await);
    let figure = |name: &str, values: &[f64], part, limit| {
        Figure::new(format!("latency: part listed, {name}"), quantile(values, part), "ms", limit)
    };
    vec![
        figure("passthrough, median", &copied, 0.5, Limit::Most(10.0)),
        figure("passthrough, most", &copied, 1.0, Limit::Most(10.0)),
        figure("ladder, median", &encoded, 0.5, Limit::Most(150.0)),
        figure("ladder, most", &encoded, 1.0, Limit::Most(150.0)),
    ]
}
