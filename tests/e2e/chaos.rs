//! What viewers and an interpreter get while both inputs fail in every way, again and again and at once, in an order that a
//! seed makes.
//!
//! A minute of it with every run of the tests; for longer, or another order:
//! `BOOTHCAST_CHAOS_SECONDS=600 BOOTHCAST_CHAOS_SEED=7 cargo nextest run --test e2e -E 'test(chaos::)' --no-capture`.

use crate::support::api::{Api, Event};
use crate::support::booth::{STATS, booth_url, hearing, join, levels, on_air, sine_wav};
use crate::support::browser::Browser;
use crate::support::cable::{Cable, Plug};
use crate::support::daemon::{Daemon, resident};
use crate::support::hls::{Master, Media, record};
use crate::support::lossy::{Dice, Link, Lossy};
use crate::support::number;
use crate::support::publish::{Programme, Publisher};
use crate::support::signal::{flashes, frames, offsets, onsets, sound};
use crate::support::starved::Starved;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The interpreter's tone.
const VOICE: f64 = 440.0;

/// How an input fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The encoder is killed; another comes, by either protocol.
    Kill,
    /// The network is gone for some seconds.
    Cut,
    /// Nothing moves for a while, and connections stay.
    Stall,
    /// Gone and back several times a second.
    Flap,
    /// Datagrams are lost, and overtake each other (RTMP: they stall for moments).
    Loss,
}

const FAULTS: [Fault; 5] = [Fault::Kill, Fault::Cut, Fault::Stall, Fault::Flap, Fault::Loss];

/// The ways of one input's encoder to the daemon.
struct Ways {
    rtmp: (String, Cable),
    srt: (String, Lossy),
}

impl Ways {
    async fn of(daemon: &Daemon, event: &Event, input: &str) -> Ways {
        let addresses = &event.made["inputs"][input];
        let text = |name: &str| addresses[name].as_str().unwrap().to_owned();
        let cable = Cable::before(daemon.addresses["rtmp"]).await;
        let network = Lossy::before(daemon.addresses["srt"], Link::default()).await;
        let through = |url: String, name: &str, way: std::net::SocketAddr| {
            let there = daemon.addresses[name].to_string();
            assert!(url.contains(&there), "{url} is at {there}");
            url.replace(&there, &way.to_string())
        };
        let rtmp = through(format!("{}/{}", text("rtmp_url"), text("rtmp_key")), "rtmp", cable.address);
        let srt = through(text("srt_url"), "srt", network.address);
        Ways { rtmp: (rtmp, cable), srt: (srt, network) }
    }

    fn encoder(&self, programme: &Programme, by_srt: bool) -> Publisher {
        let output = if by_srt { ["-f", "mpegts", &self.srt.0] } else { ["-f", "flv", &self.rtmp.0] };
        programme.send_forever(&output)
    }

    fn set(&self, plug: Plug, link: Link) {
        self.rtmp.1.set(plug);
        self.srt.1.set(link);
    }

    fn fine(&self) {
        self.set(Plug::In, Link::default());
    }
}

/// Feeds one input until the end: an encoder that is started again when it ended, and its faults. Gives how many there were
/// of each.
async fn feed(
    name: &'static str,
    ways: Ways,
    programme: Arc<Programme>,
    dice: Dice,
    faults: std::ops::Range<Instant>,
    over: Arc<AtomicBool>,
) -> BTreeMap<String, usize> {
    let between = |from: f64, to: f64| Duration::from_secs_f64(from + dice.roll() * (to - from));
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_srt = name == "backup";
    let mut encoder = ways.encoder(&programme, by_srt);
    let mut next = faults.start + between(0.0, 3.0);
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !encoder.running() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            by_srt = dice.roll() < 0.5;
            encoder = ways.encoder(&programme, by_srt);
        }
        if Instant::now() < next || Instant::now() > faults.end {
            continue;
        }
        let fault = FAULTS[(dice.roll() * FAULTS.len() as f64) as usize];
        *made.entry(format!("{fault:?}")).or_default() += 1;
        println!(
            "{:7.2} {name} by {}: {fault:?}",
            faults.start.elapsed().as_secs_f64(),
            if by_srt { "SRT" } else { "RTMP" }
        );
        let down = Link { down: true, ..Link::default() };
        match fault {
            Fault::Kill => {
                encoder.kill().await;
                tokio::time::sleep(between(0.2, 5.0)).await;
                by_srt = dice.roll() < 0.5;
                encoder = ways.encoder(&programme, by_srt);
            }
            Fault::Cut => {
                ways.set(Plug::Out, down);
                tokio::time::sleep(between(0.5, 7.0)).await;
            }
            Fault::Stall => {
                ways.set(Plug::Loose, down);
                tokio::time::sleep(between(0.2, 3.0)).await;
            }
            Fault::Flap => {
                for _ in 0..4 {
                    ways.set(Plug::Loose, down);
                    tokio::time::sleep(between(0.1, 0.6)).await;
                    ways.fine();
                    tokio::time::sleep(between(0.1, 0.6)).await;
                }
            }
            Fault::Loss => {
                let bad = Link {
                    loss: 0.02 + 0.2 * dice.roll(),
                    delay: Duration::from_millis(25),
                    jitter: Duration::from_millis(40),
                    down: false,
                };
                for _ in 0..10 {
                    ways.set(Plug::Loose, bad);
                    tokio::time::sleep(between(0.0, 0.2)).await;
                    ways.set(Plug::In, bad);
                    tokio::time::sleep(between(0.1, 0.4)).await;
                }
            }
        }
        ways.fine();
        next = Instant::now() + between(1.0, 9.0);
    }
    made
}

/// What was on air, looked at ten times a second, and every switch.
#[derive(Default)]
struct Watched {
    /// Seconds with this on air.
    on_air: BTreeMap<String, f64>,
    switches: BTreeMap<String, Value>,
}

async fn watch(event: Event, over: Arc<AtomicBool>) -> Watched {
    let mut watched = Watched::default();
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let inputs = event.inputs().await;
        let active = inputs["active"].as_str().unwrap_or("none").to_owned();
        *watched.on_air.entry(active).or_default() += last.elapsed().as_secs_f64();
        last = Instant::now();
        for switch in inputs["switches"].as_array().unwrap() {
            watched.switches.insert(switch["at"].to_string(), switch.clone());
        }
    }
    watched
}

/// How late the newest part of a rendition was listed at most, seconds, compared to the least.
async fn lateness(viewer: Api, url: String, over: Arc<AtomicBool>) -> f64 {
    let began = Instant::now();
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let media = Media::get(&viewer, &url).await;
        let Some(last) = media.segments.last() else { continue };
        let listed = media.parts.iter().map(|p| p.duration).sum::<f64>();
        let late = began.elapsed().as_secs_f64() - (last.number + 1) as f64 * last.duration - listed;
        least = least.min(late);
        most = most.max(late);
    }
    most - least
}

#[tokio::test(flavor = "multi_thread")]
async fn both_inputs_fail_in_every_way_and_the_programme_goes_on() {
    let length = Duration::from_secs(number("BOOTHCAST_CHAOS_SECONDS", 60));
    let seed = number("BOOTHCAST_CHAOS_SEED", 1);
    let programme = Arc::new(Programme::small_card().await);
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    let event = daemon.api().event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    let over = Arc::new(AtomicBool::new(false));
    // The programme, the player and the booth begin with both inputs there.
    let begins = Instant::now() + Duration::from_secs(25);
    let ends = begins + length;
    let mut feeds = tokio::task::JoinSet::new();
    for (i, input) in ["main", "backup"].into_iter().enumerate() {
        let ways = Ways::of(&daemon, &event, input).await;
        let dice = Dice::new(seed.wrapping_mul(2) + i as u64);
        feeds.spawn(feed(input, ways, programme.clone(), dice, begins..ends, over.clone()));
    }
    let viewer = daemon.api().anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let mut player = Browser::start().await;
    player.open(&event.watch()).await;
    player.until_playing(Duration::from_secs(20)).await;
    let mut booth = Browser::start().await;
    hearing(&mut booth, "speech('/voice.wav')").await;
    booth.serve("**/voice.wav", "audio/wav", &sine_wav(dir.path(), VOICE, 0.3).await).await;
    join(&mut booth, &booth_url(&event, "de"), "Anna").await;
    on_air(&mut booth, true).await;
    tokio::time::sleep(begins.saturating_duration_since(Instant::now())).await;

    let first = Media::get(&viewer, &master.video(180)).await.newest().expect("a segment") + 1;
    let engines = daemon.engines();
    let played = player.eval("window.__boothcast.stats()").await;
    let spoken = booth.eval(STATS).await;
    let before = resident(daemon.pid()) + resident(engines[0]);
    let starved = Starved::watch();
    let watching = tokio::spawn(watch(event.clone(), over.clone()));
    let mut late = Vec::new();
    for url in [master.video(180), master.sound(), master.language("de")] {
        late.push(tokio::spawn(lateness(viewer.clone(), url, over.clone())));
    }
    tokio::time::sleep(ends.saturating_duration_since(Instant::now())).await;
    event.on_air("main", Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    over.store(true, Ordering::Relaxed);
    let starved = starved.end();
    let after = resident(daemon.pid()) + resident(engines[0]);
    // A voice that pauses for half a second is not heard meanwhile.
    booth.until(Duration::from_secs(20), &format!("{STATS}.on_air && {STATS}.heard")).await;
    let (stats, room) = (player.eval("window.__boothcast.stats()").await, booth.eval(STATS).await);
    let last = Media::get(&viewer, &master.video(180)).await.newest().expect("a segment");
    let watched = watching.await.unwrap();
    let overload = event.inputs().await["output"]["frames_overload"].as_u64().unwrap();

    // What was done, and how the daemon took it.
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(made) = feeds.join_next().await {
        for (fault, n) in made.unwrap() {
            *faults.entry(fault).or_default() += n;
        }
    }
    let mut latest: f64 = 0.0;
    for late in late {
        latest = latest.max(late.await.unwrap());
    }
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    let mut longest: f64 = 0.0;
    for switch in watched.switches.values() {
        *causes.entry(format!("{} to {}", switch["cause"], switch["to"]).replace('"', "")).or_default() += 1;
        if !switch["to"].is_null() && switch["to"] != "slate" && switch["from"] != "slate" {
            longest = longest.max(switch["gap_seconds"].as_f64().unwrap_or(0.0));
        }
    }
    println!("seed {seed}, {} s: faults {faults:?}", length.as_secs());
    println!("on air, s: {:.1?}; switches {causes:?}; longest gap between inputs {longest:.2} s", watched.on_air);
    println!("parts came at most {latest:.2} s later than the earliest; the machine gave no time for {starved:.2?}");
    println!("memory {before:.0} MB, then {after:.0} MB; {overload} pictures given up by a busy machine");
    assert!(faults.values().sum::<usize>() >= length.as_secs() as usize / 10, "{faults:?}");
    assert_eq!(daemon.engines(), engines, "the engine ran through");
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "the log has nothing of it");
    assert!(after < before + 64.0, "memory grew from {before:.0} MB to {after:.0} MB");

    println!(
        "player: {} stalls, {} s; booth: {} and {} sessions",
        stats["stalls"], stats["stalled_seconds"], room["voice_sessions"], room["sound_sessions"]
    );

    // The picture: one timeline without a hole, readable wherever the slate did not stand.
    let recording = record(&viewer, &master.video(180), first..last, dir.path()).await;
    assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{:#?}", recording.segments);
    let pictures = frames(&recording.file).await;
    for pair in pictures.windows(2) {
        assert!((pair[1].at - pair[0].at - 0.04).abs() < 1e-3, "the timeline has no hole: {pair:?}");
    }
    let slate = pictures.iter().filter(|p| p.number.is_none()).count() as f64 * 0.04;
    let stood = watched.on_air.get("slate").copied().unwrap_or(0.0);
    println!("{:.1} s of pictures, {slate:.1} s of the slate", pictures.len() as f64 * 0.04);
    assert!(slate <= stood + 1.0, "{slate:.1} s cannot be read, the slate stood for {stood:.1} s");

    // The sound: no hole either, beeps with their flashes, and the voice over all of it.
    let mut heard = Vec::new();
    for url in [master.language("en"), master.language("de")] {
        let recording = record(&viewer, &url, first..last, dir.path()).await;
        assert!(recording.segments.iter().all(|s| !s.gap && !s.discontinuity), "{:#?}", recording.segments);
        heard.push(sound(&recording.file).await);
        assert_eq!(heard[heard.len() - 1].runs.len(), 1, "the sound has no gap");
    }
    let apart = offsets(&flashes(&pictures), &onsets(&heard[0]));
    let most = apart.iter().fold(0.0f64, |most, o| most.max(o.abs()));
    let voice = levels(&heard[1], VOICE, 0.5);
    let away: Vec<f64> = voice.iter().filter(|(_, db)| *db <= -40.0).map(|(at, _)| at - voice[0].0).collect();
    println!(
        "{} flashes with their beeps, at most {:.0} ms apart; of {} half seconds of the voice these are without: {away:.1?}",
        apart.len(),
        most * 1e3,
        voice.len()
    );
    assert!(apart.len() * 3 >= length.as_secs() as usize, "{apart:?}");
    // A picture, and what an onset is found to. Where two inputs that show different things meet, the last flash of one may
    // find a beep of the other: once. Sound that is off its picture is so at the next flash too.
    let off = |o: &f64| o.abs() > 0.045;
    let alone = apart.iter().filter(|o| off(o)).count();
    assert!(!apart.windows(2).any(|pair| pair.iter().all(off)), "{apart:.3?}");
    assert!(alone <= 1 + watched.switches.len() / 10, "{alone} flashes: {apart:.3?}");

    // The player and the booth.
    assert!(stats["phase"] == "live" && stats["reloads"] == played["reloads"], "{stats:#}");
    assert_eq!(room["voice_sessions"], spoken["voice_sessions"], "{room:#}");
    assert_eq!(room["sound_sessions"], spoken["sound_sessions"], "{room:#}");
    // What a machine that is busy with other things does to them is not this test's.
    if overload == 0 && starved < Duration::from_millis(250) {
        // A part, and what a look at the playlist takes.
        assert!(latest < 0.8, "a part came {latest:.2} s late");
        assert_eq!(stats["stalls"], played["stalls"], "{stats:#}");
        assert!(away.len() * 20 <= voice.len(), "the voice is away at {away:.1?}");
    }
}
