//! How soon people hear each other: from the mouth to a participant's ear, from the encoder to an interpreter's ear.
//!
//! Everybody is in Chromium: the microphone knocks at instants that its page notes, the listener's page notes when the
//! sound that it is about to play begins to knock. Capture, both encoders, the network (loopback), the mixer and the
//! browser's jitter buffer are in the figures; a sound card at either end is not.

use crate::source::{self, Tags};
use crate::support::booth::{STATS, booth_url, join, on_air};
use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::hls::Master;
use crate::support::publish::Programme;
use crate::table::{Figure, Limit, quantile};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MEASURE: Duration = Duration::from_secs(15);

/// A microphone that knocks twice a second, into `window.said`; and an ear on whatever a peer connection brings, into
/// `window.heard`. Times are Unix milliseconds.
const PEOPLE: &str = "(() => {
  const now = () => performance.timeOrigin + performance.now();
  window.said = []; window.heard = [];
  navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
    await context.resume();
    const out = context.createMediaStreamDestination(), tone = context.createOscillator(), gain = context.createGain();
    tone.frequency.value = 880; gain.gain.value = 0; tone.connect(gain).connect(out); tone.start();
    let next = context.currentTime + 0.2;
    setInterval(() => {
      while (next < context.currentTime + 0.3) {
        gain.gain.setValueAtTime(0.5, next); gain.gain.setValueAtTime(0, next + 0.04);
        window.said.push(now() + (next - context.currentTime) * 1000);
        next += 0.5;
      }
    }, 100);
    return out.stream.clone();
  };
  const Peer = RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer {
    constructor(...args) {
      super(...args);
      this.addEventListener('track', async ({ track }) => {
        if (track.kind !== 'audio') return;
        const context = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
        await context.resume();
        const ear = context.createScriptProcessor(256, 1, 1);
        let quiet = 0;
        ear.onaudioprocess = ({ inputBuffer }) => {
          const samples = inputBuffer.getChannelData(0);
          const at = now();
          for (let i = 0; i < samples.length; i++) {
            if (Math.abs(samples[i]) > 0.03) {
              if (quiet > 4800) window.heard.push(at - (samples.length - i) / 48);
              quiet = 0;
            } else quiet++;
          }
        };
        context.createMediaStreamSource(new MediaStream([track])).connect(ear).connect(context.destination);
        window.ear = ear;
      });
    }
  };
})()";

fn times(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Milliseconds from each of `said` to the first of `heard` that follows within `most`.
fn pairs(said: &[f64], heard: &[f64], most: f64) -> Vec<f64> {
    let found: Vec<f64> =
        said.iter().filter_map(|s| heard.iter().map(|h| h - s).find(|d| (0.0..most).contains(d))).collect();
    assert!(found.len() >= 10, "{} of {} were heard: {said:?} {heard:?}", found.len(), said.len());
    found
}

async fn mouth() -> Vec<f64> {
    let silence = Programme::tone(1000.0, 0.0).await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    let event = api.event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    let _encoder = silence.publish(&event.publish_url());
    Master::wait(&api.anonymous(), &event.playlist(), Duration::from_secs(20)).await;
    let path = format!("/api/v1/events/{}/links", event.id);
    let link = api.post(&path, json!({"role": "participant", "language": "de"})).await.expect(201).json();
    let mut pages = Browser::start().await;
    pages.run(json!({"do": "before", "code": PEOPLE})).await;
    pages.tab("booth").await;
    join(&mut pages, &booth_url(&event, "de"), "Anna").await;
    on_air(&mut pages, true).await;
    pages.tab("participant").await;
    pages.open(link["url"].as_str().unwrap()).await;
    pages.until(Duration::from_secs(15), &format!("{STATS}.sound === 'connected'")).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let from = pages.eval("performance.timeOrigin + performance.now()").await.as_f64().unwrap();
    tokio::time::sleep(MEASURE).await;
    let heard = times(&pages.eval("window.heard").await);
    pages.tab("booth").await;
    let said: Vec<f64> = times(&pages.eval("window.said").await).into_iter().filter(|s| *s > from).collect();
    pairs(&said, &heard, 480.0)
}

async fn floor() -> Vec<f64> {
    let tags = Arc::new(Tags::read(&source::numbered().await));
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    let event = api.event_with(json!({"ladder": ["360p"], "languages": languages})).await;
    event.status("started").await;
    let (at, unix) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3);
    let publisher = source::paced(tags, &event.publish_url());
    Master::wait(&api.anonymous(), &event.playlist(), Duration::from_secs(20)).await;
    let mut booth = Browser::start().await;
    booth.run(json!({"do": "before", "code": PEOPLE})).await;
    join(&mut booth, &booth_url(&event, "de"), "Anna").await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let from = booth.eval("performance.timeOrigin + performance.now()").await.as_f64().unwrap();
    tokio::time::sleep(MEASURE).await;
    let heard = times(&booth.eval("window.heard").await);
    let sent = publisher.await.unwrap();
    // A beep begins with every 25th picture, which is sent beside its sound.
    let beeps = sent.iter().step_by(25).map(|(sent, _)| unix + (*sent - at).as_secs_f64() * 1e3);
    let beeps: Vec<f64> = beeps.filter(|b| *b > from && *b < from + MEASURE.as_secs_f64() * 1e3 - 900.0).collect();
    pairs(&beeps, &heard, 900.0)
}

pub async fn run() -> Vec<Figure> {
    let (mouth, floor) = (mouth().await, floor().await);
    vec![
        Figure::new("ears: mouth to participant, median", quantile(&mouth, 0.5), "ms", Limit::Most(150.0)),
        Figure::new("ears: mouth to participant, p95", quantile(&mouth, 0.95), "ms", Limit::None),
        Figure::new("ears: encoder to interpreter, median", quantile(&floor, 0.5), "ms", Limit::Most(250.0)),
        Figure::new("ears: encoder to interpreter, p95", quantile(&floor, 0.95), "ms", Limit::None),
    ]
}
