//! Booths as their interpreters use them, and instruments for what viewers then hear.

use super::api::Event;
use super::browser::Browser;
use super::signal::{Sound, make, tone};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a room page says of itself.
pub const STATS: &str = "window.__boothcast.stats()";

/// The booth's address as the event's first answer has it.
pub fn booth_url(event: &Event, language: &str) -> String {
    let booths = event.made["booths"].as_array().unwrap_or_else(|| panic!("no booths in {:#}", event.made));
    let booth = booths.iter().find(|b| b["language"] == language);
    booth.unwrap_or_else(|| panic!("no booth {language} in {booths:#?}"))["url"].as_str().unwrap().to_owned()
}

/// A WAV file with a sine that lasts longer than a test.
pub async fn sine_wav(dir: &Path, hertz: f64, amplitude: f64) -> PathBuf {
    let file = dir.join(format!("sine-{hertz}.wav"));
    let wave = format!("aevalsrc='{amplitude}*sin(2*PI*{hertz}*t)':s=48000:d=150");
    make([
        "-f".into(),
        "lavfi".into(),
        "-i".into(),
        wave.into(),
        "-c:a".into(),
        "pcm_s16le".into(),
        file.clone().into_os_string(),
    ])
    .await;
    file
}

/// A WAV file of a synthetic voice that reads a text, about 15 s, at 48 kHz.
pub async fn speech_wav(dir: &Path) -> PathBuf {
    const TEXT: &str = "The committee met on Tuesday to discuss the new rules for fisheries in the northern sea. Several members \
        asked for more time, others wanted a decision before the summer. In the end, the chair proposed to vote on each \
        article, and to publish the results on the following morning.";
    let (raw, file) = (dir.join("espeak.wav"), dir.join("speech.wav"));
    let spoken =
        std::process::Command::new("espeak-ng").arg("-w").arg(&raw).args(["-s", "165", TEXT]).status().unwrap();
    assert!(spoken.success());
    convert(&raw, &file, 48_000).await;
    file
}

/// A sound file as mono WAV at another rate.
pub async fn convert(from: &Path, to: &Path, rate: u32) {
    let rate = rate.to_string();
    let out = ["-ac", "1", "-ar", &rate, "-c:a", "pcm_s16le"].map(Into::into);
    make(["-i".into(), from.into()].into_iter().chain(out).chain([to.to_owned().into_os_string()])).await;
}

/// Gives the pages opened from now on the microphone of `microphone.js`: one that no busy machine slows, which hears what
/// `code` says.
pub async fn hearing(browser: &mut Browser, code: &str) {
    let microphone = include_str!("../browser/microphone.js");
    browser.run(json!({"do": "before", "code": format!("{microphone}\n{code};")})).await;
}

/// Opens a booth in the tab in front and joins it by name; returns when the voice is connected and the floor's picture runs.
pub async fn join(browser: &mut Browser, url: &str, name: &str) {
    browser.open(url).await;
    browser.until(Duration::from_secs(40), "document.querySelector('input[name=name]')").await;
    browser.fill("input[name=name]", name).await;
    browser.click("button[type=submit]").await;
    browser
        .until(Duration::from_secs(60), &format!("{STATS}.voice === 'connected' && {STATS}.frames_decoded > 5"))
        .await;
}

/// Turns the on-air switch; returns when the daemon has it.
pub async fn on_air(browser: &mut Browser, on: bool) {
    if browser.eval(&format!("{STATS}.switched_on")).await != on {
        browser.click(".air-switch").await;
    }
    browser.until(Duration::from_secs(30), &format!("{STATS}.on_air === {on}")).await;
}

/// The level of a tone, dB relative to a sine of full scale, in each window of this many seconds: `(start, dB)`.
pub fn levels(sound: &Sound, hertz: f64, window: f64) -> Vec<(f64, f64)> {
    let size = (window * f64::from(sound.rate)).round() as usize;
    let mut found = Vec::new();
    for (start, run) in &sound.runs {
        for (i, samples) in run.chunks_exact(size).enumerate() {
            let level = 20.0 * tone(samples, sound.rate, hertz).max(1e-9).log10();
            found.push((start + i as f64 * window, level));
        }
    }
    found
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "nothing to take the median of");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
