//! From the glass of the camera to the glass of the viewer: a clock burned into the picture, read in Chromium.
//!
//! The strip of [`crate::support::signal`] carries the milliseconds at which a picture was drawn; ffmpeg encodes it
//! live; the page plays the ladder; a callback for each picture that is shown reads the strip and the browser's clock.

use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, Options};
use crate::support::ffmpeg;
use crate::support::publish::Publisher;
use crate::support::signal;
use crate::table::{Figure, Limit, quantile};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The player has come to its distance from live.
const SETTLE: Duration = Duration::from_secs(20);
const MEASURE: Duration = Duration::from_secs(20);

/// A graph for lavfi: 720p25 with the milliseconds since `base` (Unix milliseconds), modulo 2^20, in the strip.
fn clock(base: u128) -> String {
    format!(
        "testsrc2=s=1280x720:r=25,realtime,settb=1/1000,setpts='floor(RTCTIME/1000)-{base}',split[bg][c];\
         [c]scale=20:2,format=gray,geq=lum='16+219*abs(mod(floor(floor(T*1000+0.5)/pow(2\\,X))\\,2)-Y)',\
         scale=1280:120:flags=neighbor,format=yuv420p[strip];\
         [bg][strip]overlay=0:0:shortest=1,settb=1/25,setpts=N,format=yuv420p"
    )
}

/// Reads the strip of four pictures a second into `window.glass`, in milliseconds since they were drawn.
fn reader(base: u128) -> String {
    format!(
        "(() => {{
  const v = document.querySelector('video'), c = document.createElement('canvas'); c.width = 160; c.height = 90;
  const g = c.getContext('2d', {{ willReadFrequently: true }}); let last = 0; window.glass = []; window.unread = 0;
  const look = (now, frame) => {{
    v.requestVideoFrameCallback(look);
    if (now - last < 250) return;
    last = now; g.drawImage(v, 0, 0, 160, 90);
    const d = g.getImageData(0, 0, 160, 15).data; let n = 0;
    for (let cell = 0; cell < 20; cell++) {{
      const mean = (from, to) => {{ let s = 0; for (let y = from; y < to; y++) for (let x = 2; x < 6; x++) \
s += d[(y * 160 + cell * 8 + x) * 4]; return s / ((to - from) * 4); }};
      const contrast = mean(2, 6) - mean(9, 13);
      if (Math.abs(contrast) < 60) {{ window.unread++; return; }}
      if (contrast > 0) n += 2 ** cell;
    }}
    const shown = performance.timeOrigin + frame.expectedDisplayTime - {base};
    window.glass.push((((shown - n) % 1048576) + 1048576) % 1048576);
  }};
  v.requestVideoFrameCallback(look); return true; }})()"
    )
}

async fn measure(sections: &str) -> Vec<f64> {
    let daemon = Daemon::with(Options { sections: sections.to_owned(), ..Options::default() }).await;
    let event = daemon.api().event(json!(["720p", "360p"])).await;
    event.status("started").await;
    let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let (picture, beeps) = (clock(base), signal::beeps(48_000));
    let inputs = ["-f", "lavfi", "-i", &picture, "-re", "-f", "lavfi", "-i", &beeps];
    let video = ["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-g", "50", "-b:v", "3M"];
    let audio = ["-c:a", "aac", "-b:a", "128k", "-f", "flv"];
    let url = event.publish_url();
    let args = [&["-hide_banner", "-nostdin", "-v", "warning"], &inputs[..], &video, &audio, &[&url]].concat();
    let mut encoder = Publisher::spawn(&ffmpeg(), &args);
    let mut browser = Browser::start().await;
    crate::support::hls::Master::wait(&daemon.api(), &event.playlist(), Duration::from_secs(20)).await;
    browser.open(&event.watch()).await;
    browser.until_playing(Duration::from_secs(20)).await;
    tokio::time::sleep(SETTLE).await;
    browser.eval(&reader(base)).await;
    tokio::time::sleep(MEASURE).await;
    let seen = browser.eval("({ glass: window.glass, unread: window.unread })").await;
    assert!(encoder.running(), "{}", encoder.log());
    let values: Vec<f64> = seen["glass"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() / 1000.0).collect();
    assert!(values.len() > 40, "too few pictures could be read: {seen}");
    values
}

pub async fn run() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (name, sections, most) in
        [("default programme delay", "", 2.5), ("no programme delay", "[programme]\ndelay_seconds = 0.0", 1.8)]
    {
        let values = measure(sections).await;
        let figure = |what: &str, part, limit| {
            Figure::new(format!("glass to glass: {name}, {what}"), quantile(&values, part), "s", limit)
        };
        figures.push(figure("p50", 0.5, Limit::Most(most)));
        figures.push(figure("p95", 0.95, Limit::None));
    }
    figures
}
