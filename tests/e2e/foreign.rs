//! WebRTC peers of other makes: what they publish arrives, what they play is right.

use crate::support::booth::{levels, median};
use crate::support::daemon::{Daemon, Lines};
use crate::support::hls::{Master, Media, record};
use crate::support::publish::Programme;
use crate::support::signal::sound;
use crate::support::{eventually, root};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A peer's process; it leaves when its standard input closes.
struct Peer {
    _child: Child,
    said: Lines,
    log: Lines,
}

impl Peer {
    fn start(script: &str, args: &[&str]) -> Peer {
        // aiortc lives with the other test tools, gstreamer's binding is Debian's.
        let python =
            if script.starts_with("gst") { "/usr/bin/python3".into() } else { root().join("target/tools/bin/python") };
        let mut child = Command::new(python)
            .arg(root().join("tests/e2e/peers").join(script))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (said, log) = (Lines::read(child.stdout.take().unwrap()), Lines::read(child.stderr.take().unwrap()));
        Peer { _child: child, said, log }
    }

    /// Waits until it says something that fits.
    async fn says(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let heard = || async { self.said.find(|line| serde_json::from_str::<Value>(line).ok().filter(|v| fits(v))) };
        tokio::time::timeout(Duration::from_secs(25), async {
            loop {
                if let Some(found) = heard().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{what} was not said:\n{}\n{}", self.said.text(), self.log.text()))
    }
}

/// Plays an event by WHEP and contributes to another by WHIP.
async fn plays_and_publishes(script: &str) {
    let programme = Programme::tone(1000.0, 0.2).await;
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    let event = api.event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    let _encoder = programme.publish(&event.publish_url());
    let viewer = api.anonymous();
    Master::wait(&viewer, &event.playlist(), Duration::from_secs(20)).await;
    let whep = format!("{}/whep/{}", daemon.http(), event.id);
    let player = Peer::start(script, &["whep", &whep]);
    player.says("the floor's tone", |v| v["hertz"].as_f64().is_some_and(|h| (h - 1000.0).abs() < 15.0)).await;
    let seen = player.says("its pictures", |v| v["frames"].as_u64() >= Some(50)).await;
    assert_eq!((&seen["width"], &seen["height"]), (&json!(320), &json!(180)), "{seen}");

    let booth = crate::support::booth::booth_url(&event, "de");
    let voice = Peer::start(script, &["whip", &format!("{booth}/whip"), "--tone", "440"]);
    voice.says("that it is connected", |v| v["state"] == "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aiortc() {
    plays_and_publishes("aiortc_peer.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer() {
    plays_and_publishes("gst_peer.py").await;
}

/// A browser or OBS as the event's encoder.
#[tokio::test(flavor = "multi_thread")]
async fn a_contribution_by_whip_becomes_the_ladder() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event_with(json!({"ladder": ["240p"]})).await;
    event.status("started").await;
    let whip = event.made["inputs"]["main"]["whip_url"].as_str().expect("a WHIP address").to_owned();
    let peer = Peer::start("aiortc_peer.py", &["whip", &whip, "--tone", "440", "--video"]);
    peer.says("that it is connected", |v| v["state"] == "connected").await;
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &event.playlist(), Duration::from_secs(30)).await;
    assert_eq!(master.resolutions(), ["426x240"]);
    let newest = eventually(Duration::from_secs(15), "a segment", || async {
        Media::get(&viewer, &master.sound()).await.newest()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let heard = sound(&record(&viewer, &master.sound(), newest + 1..newest + 3, dir.path()).await.file).await;
    // A peer in Python on a busy machine is late now and then.
    let level = median(levels(&heard, 440.0, 0.05).into_iter().map(|(_, db)| db).collect());
    assert!((level + 6.02).abs() < 0.5, "the tone is heard as it was sent: {level:.2} dB");
    event.on_air("main", Duration::from_secs(20)).await;
    assert_eq!(event.inputs().await["main"]["protocol"], "whip");
}
