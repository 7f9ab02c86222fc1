//! Interpreters in their booths, and what viewers hear of them.

use crate::support::api::{Api, Event};
use crate::support::booth::{STATS, booth_url, convert, hearing, join, levels, median, on_air, sine_wav, speech_wav};
use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, Options};
use crate::support::eventually;
use crate::support::hls::{Master, Media, record};
use crate::support::host::Host;
use crate::support::lossy::{Link, Lossy};
use crate::support::publish::Programme;
use crate::support::signal::{Sound, onsets_of, sound};
use serde_json::{Value, json};
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

/// The floor's and the interpreter's tone.
const FLOOR: f64 = 1000.0;
const VOICE: f64 = 440.0;
/// Nothing, for all that AAC adds: dB relative to full scale.
const NOTHING: f64 = -60.0;

async fn event(api: &Api, languages: &[&str]) -> Event {
    let languages: Vec<_> = languages.iter().map(|l| json!({"language": l, "kind": "interpreted"})).collect();
    let event = api.event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    event
}

/// The number of the segment that is complete next.
async fn next(api: &Api, url: &str) -> u64 {
    Media::get(api, url).await.newest().map_or(0, |n| n + 1)
}

/// The sound of these segments of a language.
async fn heard(api: &Api, master: &Master, tag: &str, numbers: std::ops::Range<u64>, dir: &Path) -> Sound {
    let recording = record(api, &master.language(tag), numbers, dir).await;
    assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{tag} is whole");
    let sound = sound(&recording.file).await;
    assert_eq!(sound.runs.len(), 1, "the sound of {tag} has no gap");
    sound
}

/// The largest step from one sample to the next in a second, by its start.
fn largest_step(sound: &Sound) -> f64 {
    let (_, run) = &sound.runs[0];
    run.windows(2).map(|w| f64::from((w[1] - w[0]).abs())).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_is_heard_over_the_ducked_floor_and_nowhere_else() {
    let amplitude = 0.2;
    let programme = Programme::tone(FLOOR, amplitude).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = event(&daemon.api(), &["de", "fr"]).await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut booth = Browser::speaking(&sine_wav(dir.path(), VOICE, 0.3).await).await;
    join(&mut booth, &booth_url(&event, "de"), "Anna").await;

    let first = next(&viewer, &master.language("de")).await;
    let began = Instant::now();
    on_air(&mut booth, true).await;
    booth.screenshot("booth-on-air").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    on_air(&mut booth, false).await;
    let most = began.elapsed().as_secs_f64() + 0.5;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let last = next(&viewer, &master.language("de")).await + 1;
    let de = heard(&viewer, &master, "de", first..last, dir.path()).await;

    // On air long enough for loudness to be matched, the voice stands over the floor at the level set.
    let (floor, voice) = (levels(&de, FLOOR, 0.1), levels(&de, VOICE, 0.1));
    let spoken: Vec<f64> = voice.iter().filter(|(_, db)| *db > -40.0).map(|(at, _)| *at).collect();
    let (from, until) = (spoken[0], spoken[spoken.len() - 1]);
    println!("spoken from {from:.1} to {until:.1}, {} of {}", spoken.len(), voice.len());
    assert!((9.5..most).contains(&(until - from)), "on air from {from} to {until}");
    let within = |values: &[(f64, f64)], a: f64, b: f64| -> Vec<f64> {
        values.iter().filter(|(at, _)| (a..b).contains(at)).map(|(_, db)| *db).collect()
    };
    let under = median(within(&floor, from + 5.0, until - 0.5));
    let over = median(within(&voice, from + 5.0, until - 0.5));
    println!("on air: floor {under:.2} dB, voice {over:.2} dB");
    assert!((over - under - 14.0).abs() <= 1.0, "the voice stands {:.2} dB over the floor", over - under);

    // Off air the floor is back where it was, along the ramp: hold 400 ms, release 600 ms.
    let full = 20.0 * f64::log10(amplitude);
    let before = median(within(&floor, from - 1.0, from - 0.2));
    let after = median(within(&floor, until + 1.5, until + 3.5));
    assert!(
        (before - full).abs() < 0.3 && (after - full).abs() < 0.3,
        "{full:.2}: before {before:.2}, after {after:.2}"
    );
    let fine = levels(&de, FLOOR, 0.02);
    let rising: Vec<(f64, f64)> =
        fine.iter().copied().filter(|(at, db)| *at > until + 0.1 && (under + 1.0..full - 1.0).contains(db)).collect();
    let (begin, end) = (rising[0].0, rising[rising.len() - 1].0);
    println!("the floor rises from {:.0} ms to {:.0} ms after the voice", (begin - until) * 1e3, (end - until) * 1e3);
    assert!((0.3..0.75).contains(&(end - begin)), "the ramp takes {:.0} ms", (end - begin) * 1e3);
    assert!(rising.windows(2).all(|w| w[1].1 > w[0].1 - 0.3), "it only rises: {rising:?}");
    // No click: no step beyond what both tones make at their loudest.
    let own = |hertz: f64, db: f64| 10f64.powf(db / 20.0) * 2.0 * std::f64::consts::PI * hertz / 48_000.0;
    let most = own(FLOOR, full) + own(VOICE, over);
    assert!(largest_step(&de) < most * 1.25, "a step of {:.4}, of {most:.4}", largest_step(&de));

    // Nobody else heard any of it.
    for tag in ["en", "fr"] {
        let other = heard(&viewer, &master, tag, first..last, dir.path()).await;
        let loudest = levels(&other, VOICE, 0.5).iter().map(|(_, db)| *db).fold(f64::MIN, f64::max);
        assert!(loudest <= NOTHING, "{tag} has {loudest:.1} dB of the voice");
        let floor = levels(&other, FLOOR, 0.1);
        // But for the first of them: a decoder that begins there has no packet before it to overlap with.
        let off: Vec<&(f64, f64)> = floor.iter().skip(1).filter(|(_, db)| (db - full).abs() >= 0.5).collect();
        assert!(off.is_empty(), "the floor of {tag} is not steady ({full:.2} dB): {off:?}");
    }
}

/// A page's buffers stand still within this, ms.
const STEADY: f64 = 20.0;
/// How late a browser shows a picture at most, and with it whoever answers: one refresh, ms.
const REFRESH: f64 = 17.0;
/// However they move, a voice is never placed further off than this, ms.
const MOST_OFF: f64 = 240.0;

/// How far the age of what a page plays, told once a second, was of late from its mean over some seconds, ms: the daemon
/// goes by that mean.
fn owed(playouts: &Value) -> f64 {
    let playouts: Vec<f64> = playouts.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let mut mean = playouts[0];
    let off = playouts.iter().map(|told| {
        mean += (told - mean) / 8.0;
        (told - mean).abs()
    });
    off.skip(playouts.len().saturating_sub(12)).fold(0.0, f64::max)
}

/// By how much more than 50 ms the page says that its programme is older than its picture, ms: it goes by sound and picture,
/// half way between them as long as they are no further apart than 100 ms, and the flash is seen.
fn apart(playouts: &Value, ages: &Value) -> f64 {
    let newest = |values: &Value| {
        let values: Vec<f64> = values.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        median(values[values.len().saturating_sub(8)..].to_vec())
    };
    (newest(playouts) - newest(ages) - 50.0).max(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_is_placed_where_its_speaker_saw_the_programme() {
    let card = Programme::small_card().await;
    const REACTION: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let sections = "[programme]\ndelay_seconds = 1.0".to_owned();
    let daemon = Daemon::with(Options { sections, ..Options::default() }).await;
    let event = event(&daemon.api(), &["de"]).await;
    // Three round trips with all their tries take longer than the card.
    let _encoder = card.send_forever(&["-f", "flv", &event.publish_url()]);
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let network = Lossy::before(daemon.addresses["webrtc"], Link::default()).await;
    let mut booth = Browser::start().await;
    booth.run(json!({"do": "size", "width": 480, "height": 600, "dark": false})).await;
    hearing(&mut booth, &format!("reflex({REACTION}, {VOICE})")).await;
    let (from, to) = (daemon.addresses["webrtc"].port(), network.address.port());
    booth.run(json!({"do": "behind", "from": from, "to": to})).await;
    for round_trip in [0, 100, 250] {
        network.set(Link { delay: Duration::from_millis(round_trip / 2), ..Link::default() });
        join(&mut booth, &booth_url(&event, "de"), "Anna").await;
        on_air(&mut booth, true).await;
        // The daemon needs some seconds to know the network.
        tokio::time::sleep(Duration::from_secs(8)).await;
        // Judged is what was placed while the page's buffers stood still. Where other work takes the machine away from the
        // browser again and again they never do: then it is what was placed while they moved least, and bounds are as much
        // wider as they moved.
        let mut placed: Vec<(f64, Vec<f64>)> = Vec::new();
        while placed.len() < 3 && placed.last().is_none_or(|(moved, _)| *moved > STEADY) {
            let first = next(&viewer, &master.language("de")).await + 1;
            let de = heard(&viewer, &master, "de", first..first + 4, dir.path()).await;
            let (playouts, ages) = (booth.eval("window.playouts").await, booth.eval("window.ages").await);
            let (owed, apart) = (owed(&playouts), apart(&playouts, &ages));
            let (flashes, beeps) = (onsets_of(&de, FLOOR), onsets_of(&de, VOICE));
            let late: Vec<f64> = flashes
                .iter()
                .filter_map(|f| beeps.iter().map(|b| b - f).find(|d| (0.0..0.95).contains(d)))
                .map(|d| d * 1e3 - f64::from(REACTION))
                .collect();
            println!(
                "round trip {round_trip} ms: {late:.0?} ms beyond the reaction; {owed:.0} ms owed, {apart:.0} apart"
            );
            placed.push((owed + apart, late));
        }
        // A browser that gets no time for seconds answers nothing, which says nothing of where answers are placed.
        let answered = placed.into_iter().filter(|(_, late)| !late.is_empty());
        let (moved, late) = answered.min_by(|a, b| a.0.total_cmp(&b.0)).expect("answers to flashes");
        // A busy browser misses a flash now and then.
        let (least, most) = if moved <= STEADY { (4, 40.0) } else { (1, (40.0 + 2.0 * moved).min(MOST_OFF)) };
        assert!(late.len() >= least, "{} beeps: {:#}", late.len(), booth.eval(STATS).await);
        let middle = median(late.clone());
        let off: Vec<&f64> = late.iter().filter(|late| late.abs() > most + REFRESH).collect();
        assert!(
            middle.abs() <= most && off.is_empty(),
            "with {round_trip} ms round trip beyond {most:.0} ms: {off:.0?}"
        );
        on_air(&mut booth, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tab_gives_the_floor_back() {
    let programme = Programme::tone(FLOOR, 0.2).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = event(&daemon.api(), &["de"]).await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut booth = Browser::speaking(&sine_wav(dir.path(), VOICE, 0.3).await).await;
    join(&mut booth, &booth_url(&event, "de"), "Anna").await;
    let first = next(&viewer, &master.language("de")).await;
    on_air(&mut booth, true).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // No goodbye: the whole browser dies.
    booth.kill().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let last = next(&viewer, &master.language("de")).await + 1;
    let de = heard(&viewer, &master, "de", first..last, dir.path()).await;
    let voice = levels(&de, VOICE, 0.05);
    let until = voice.iter().filter(|(_, db)| *db > -40.0).map(|(at, _)| *at).next_back().expect("a voice");
    let floor = levels(&de, FLOOR, 0.05);
    let full = 20.0 * 0.2f64.log10();
    let back = floor.iter().find(|(at, db)| *at > until && (db - full).abs() < 0.5).expect("the floor comes back").0;
    println!("the floor is back {:.0} ms after the last of the voice", (back - until) * 1e3);
    assert!(back - until <= 1.0, "{:.0} ms", (back - until) * 1e3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booth_whose_network_was_gone_comes_back_by_itself() {
    let programme = Programme::tone(FLOOR, 0.2).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = event(&daemon.api(), &["de", "fr"]).await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let network = Lossy::before(daemon.addresses["webrtc"], Link::default()).await;
    let mut booth = Browser::speaking(&sine_wav(dir.path(), VOICE, 0.3).await).await;
    let (from, to) = (daemon.addresses["webrtc"].port(), network.address.port());
    booth.run(json!({"do": "behind", "from": from, "to": to})).await;
    join(&mut booth, &booth_url(&event, "de"), "Anna").await;
    on_air(&mut booth, true).await;
    booth.until(Duration::from_secs(5), &format!("{STATS}.heard")).await;
    let you = booth.eval(&format!("{STATS}.you")).await;

    network.set(Link { down: true, ..Link::default() });
    booth.run(json!({"do": "offline", "value": true})).await;
    booth.until(Duration::from_secs(20), &format!("{STATS}.socket !== 'open' || {STATS}.voice !== 'connected'")).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    booth.screenshot("booth-reconnecting").await;
    network.set(Link::default());
    booth.run(json!({"do": "offline", "value": false})).await;
    let began = Instant::now();
    let all = format!("{STATS}.socket === 'open' && {STATS}.voice === 'connected' && {STATS}.on_air && {STATS}.heard");
    booth.until(Duration::from_secs(30), &all).await;
    println!("back after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(booth.eval(&format!("{STATS}.you")).await, you, "the same person");
    // The old session may have come back for a moment before the new one took its place.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let first = next(&viewer, &master.language("de")).await + 1;
    let de = heard(&viewer, &master, "de", first..first + 2, dir.path()).await;
    let voice = median(levels(&de, VOICE, 0.1).into_iter().map(|(_, db)| db).collect());
    assert!(voice > -40.0, "viewers hear the voice again: {voice:.1} dB, {:#}", booth.eval(STATS).await);
}

/// As in the field: the page by HTTPS from another host, the media on the one UDP port; and where a firewall drops UDP, on
/// the TCP port with the same number.
#[tokio::test(flavor = "multi_thread")]
async fn a_booth_on_another_host_works_by_https_and_without_udp_by_tcp() {
    let programme = Programme::tone(FLOOR, 0.2).await;
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new();
    let https = crate::support::free_port();
    let daemon = Daemon::with(Options {
        http: format!("tls_listen = \"0.0.0.0:{https}\""),
        webrtc: format!("listen = \"0.0.0.0:0\"\npublic_ips = [\"{}\"]", Host::HERE),
        sections: "[tls]\nself_signed = true".into(),
        ..Options::default()
    })
    .await;
    let event = event(&daemon.api(), &["de"]).await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let (_, path) = booth_url(&event, "de").split_once("/booth/").map(|(_, s)| ((), s.to_owned())).unwrap();
    let url = format!("https://{}:{https}/booth/{path}", Host::HERE);
    let wav = sine_wav(dir.path(), VOICE, 0.3).await;
    for transport in ["udp", "tcp"] {
        host.block_udp(transport == "tcp");
        let mut booth = Browser::on(&host, &wav).await;
        join(&mut booth, &url, "Anna").await;
        on_air(&mut booth, true).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let booths = daemon.api().get(&format!("/api/v1/events/{}/booths", event.id)).await.expect(200).json();
        let text = booths.to_string();
        assert!(text.contains(&format!("\"transport\":\"{transport}\"")), "{booths:#}");
        let first = next(&viewer, &master.language("de")).await + 1;
        let de = heard(&viewer, &master, "de", first..first + 2, dir.path()).await;
        let voice = median(levels(&de, VOICE, 0.1).into_iter().map(|(_, db)| db).collect());
        assert!(voice > -40.0, "by {transport} the voice is heard: {voice:.1} dB");
        booth.kill().await;
    }
}

/// What the audience understands of a voice over a network that loses packets, with and without forward error correction;
/// and that the realtime mix waits longer while packets jitter, and no longer than it must after.
async fn lossy(loss: f64, least: f64) {
    let programme = Programme::tone(FLOOR, 0.0).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let event = event(&daemon.api(), &["de"]).await;
    // Silence, so that all that is heard is the voice.
    let _encoder = programme.publish(&event.publish_url());
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let target = daemon.addresses["webrtc"];
    let network = Lossy::before(target, Link::default()).await;
    let speech = speech_wav(dir.path()).await;
    let spoken = dir.path().join("spoken.wav");
    convert(&speech, &spoken, 16_000).await;
    let ms = Duration::from_millis;
    let api = daemon.api();
    let voice = async || voice_of(&api.get(&format!("/api/v1/events/{}/booths", event.id)).await.expect(200).json());
    let mut understood = Vec::new();
    for fec in [true, false] {
        let mut booth = Browser::start().await;
        let ports = json!({"do": "behind", "from": target.port(), "to": network.address.port(), "fec": fec});
        booth.run(ports).await;
        hearing(&mut booth, "speech('/speech.wav')").await;
        booth.serve("**/speech.wav", "audio/wav", &speech).await;
        network.set(Link { delay: ms(20), ..Link::default() });
        join(&mut booth, &booth_url(&event, "de"), "Anna").await;
        on_air(&mut booth, true).await;
        network.set(Link { loss, delay: ms(20), jitter: ms(60), ..Link::default() });
        // The encoder hears of the loss from reports, and then adds what recovers it.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let first = next(&viewer, &master.language("de")).await + 1;
        let mut reports = Vec::new();
        let url = master.language("de");
        let mut recording = pin!(record(&viewer, &url, first..first + 5, dir.path()));
        let recording = loop {
            tokio::select! {
                recording = &mut recording => break recording,
                () = tokio::time::sleep(ms(500)) => reports.push(voice().await),
            }
        };
        let mean = |key: &str| reports.iter().filter_map(|r| r[key].as_f64()).sum::<f64>() / reports.len() as f64;
        let (lost, delay) = (mean("loss"), mean("delay_ms"));
        let (concealed, recovered) = (mean("concealed"), mean("recovered"));
        let heard = dir.path().join("heard.wav");
        convert(&recording.file, &heard, 16_000).await;
        let stoi = intelligibility(&spoken, &heard);
        println!(
            "{:.0} % lost, FEC {fec}: intelligibility {stoi:.3}, {:.1} % lost as told, {:.1} % recovered, {:.1} % \
             concealed, realtime buffer {delay:.0} ms",
            loss * 1e2,
            lost * 1e2,
            recovered * 1e2,
            concealed * 1e2,
        );
        assert!((loss / 3.0..loss * 3.0).contains(&lost), "{loss} is lost, {lost} is told");
        // As long as packets jitter, and on a busy machine so do those who handle them.
        assert!((40.0..600.0).contains(&delay), "the buffer holds {delay} ms");
        assert!(stoi > least, "intelligibility is {stoi:.3}");
        understood.push(stoi);
        let shares = if fec { 0.3..=1.0 } else { 0.0..=0.0 };
        let share = recovered / (recovered + concealed);
        assert!(shares.contains(&share), "of what is lost {share:.2} is recovered, FEC {fec}");
        if fec {
            network.set(Link { delay: ms(20), ..Link::default() });
            let began = Instant::now();
            let calm = eventually(Duration::from_secs(60), "a shorter buffer on a calm network", async || {
                voice().await["delay_ms"].as_f64().filter(|d| *d < delay - 5.0)
            });
            println!("calm: {:.0} ms after {:.1} s", calm.await, began.elapsed().as_secs_f64());
        }
        booth.kill().await;
    }
    assert!(understood[0] > understood[1] - 0.05, "error correction does not make it worse: {understood:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_percent_of_loss_are_recovered_and_concealed() {
    lossy(0.05, 0.8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_percent_of_loss_are_recovered_and_concealed() {
    lossy(0.1, 0.7).await;
}

/// Short-time objective intelligibility, 0 to 1.
fn intelligibility(spoken: &Path, heard: &Path) -> f64 {
    let root = crate::support::root();
    let mut python = std::process::Command::new(root.join("target/tools/bin/python"));
    let out = python.arg(root.join("tests/e2e/peers/stoi.py")).args([spoken, heard]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().parse().unwrap()
}

/// The report on the one voice in a booth.
fn voice_of(booths: &Value) -> Value {
    let people = booths["items"].as_array().into_iter().flatten().flat_map(|b| b["people"].as_array().cloned());
    let mut voices = people.flatten().map(|p| p["voice"].clone()).filter(|v| !v.is_null());
    voices.next().unwrap_or_else(|| panic!("no voice in {booths:#}"))
}
