//! How soon an input that falls silent is left for the other.

use crate::support::cable::{Cable, Plug};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::ffmpeg;
use crate::support::publish::{AAC, H264, Programme};
use crate::table::{Figure, Limit, quantile};
use serde_json::json;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const PULLS: usize = 10;
/// `[programme] loss_timeout_seconds` as it is by itself.
const LOSS_TIMEOUT: f64 = 0.5;
const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds from each pull of main's cable, the loss timeout not counted, to the switch to backup: to its first packet in
/// the programme. Less than nothing where the last packet came before the pull.
async fn pulls() -> Vec<f64> {
    let card = Programme::card_with(&ffmpeg(), (320, 180, 25), 48_000, &[H264, AAC].concat()).await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["240p"])).await;
    event.status("started").await;
    let rtmp = daemon.addresses["rtmp"];
    let cable = Cable::before(rtmp).await;
    let main = event.publish_url().replace(&rtmp.to_string(), &cable.address.to_string());
    let part = |name: &str| event.made["inputs"]["backup"][name].as_str().unwrap();
    let backup = format!("{}/{}", part("rtmp_url"), part("rtmp_key"));
    let _encoder = card.publish_to(&[&main, &backup]);
    event.on_air("main", PATIENCE).await;
    eventually(PATIENCE, "equal inputs", || async {
        (event.inputs().await["alignment"]["matched_by"] == "content").then_some(())
    })
    .await;
    let mut taken = Vec::new();
    for pull in 0..PULLS {
        // At another place of the group of pictures each time.
        tokio::time::sleep(Duration::from_millis(1000 + 90 * pull as u64)).await;
        let pulled = OffsetDateTime::from(SystemTime::now());
        cable.set(Plug::Loose);
        event.on_air("backup", PATIENCE).await;
        let inputs = event.inputs().await;
        let switch = inputs["switches"].as_array().unwrap().last().unwrap();
        assert!(switch["to"] == "backup" && switch["cause"] == "no_media", "{switch:#}");
        assert!(switch["matched_by"] == "content" && switch["gap_seconds"] == 0.0, "{switch:#}");
        let at = OffsetDateTime::parse(switch["at"].as_str().unwrap(), &Rfc3339).unwrap();
        taken.push((at - pulled).as_seconds_f64() - LOSS_TIMEOUT);
        cable.set(Plug::In);
        event.on_air("main", PATIENCE).await;
    }
    taken
}

pub async fn run() -> Vec<Figure> {
    let taken = pulls().await;
    let figure = |what: &str, part, limit| {
        Figure::new(format!("failover: backup after the loss timeout, {what}"), quantile(&taken, part), "s", limit)
    };
    // The product's limits are 20 ms until it is noticed and 100 ms from there to a picture; one figure holds both.
    vec![figure("p50 of ten", 0.5, Limit::None), figure("most of ten", 1.0, Limit::Most(0.02))]
}
