//! TLS: HTTPS with HTTP/2, a certificate that is replaced while it runs, RTMPS.

use crate::support::api;
use crate::support::daemon::{Daemon, Options};
use crate::support::hls::{Master, Media};
use crate::support::publish::Programme;
use crate::support::{eventually, free_port};
use reqwest::Version;
use reqwest::tls::TlsInfo;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Writes a new certificate for 127.0.0.1 and gives it back as DER.
fn certificate(dir: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    // The key first: whoever reads between the two sees a pair that does not fit, and must keep the old one.
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().to_vec()
}

/// The certificate that a new connection is shown.
async fn shown(url: &str) -> (Vec<u8>, Version) {
    let client = api::builder().tls_info(true).build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let info = answer.extensions().get::<TlsInfo>().and_then(|i| i.peer_certificate()).unwrap().to_vec();
    (info, answer.version())
}

#[tokio::test(flavor = "multi_thread")]
async fn https_and_rtmps_with_a_certificate_that_changes() {
    let card = Programme::card().await;
    let dir = tempfile::tempdir().unwrap();
    let first = certificate(dir.path());
    let (https, rtmps) = (free_port(), free_port());
    let daemon = Daemon::with(Options {
        http: format!("tls_listen = \"127.0.0.1:{https}\""),
        rtmp: format!("tls_listen = \"127.0.0.1:{rtmps}\""),
        sections: format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}",
            dir.path().join("cert.pem"),
            dir.path().join("key.pem")
        ),
        ..Options::default()
    })
    .await;
    let health = format!("https://127.0.0.1:{https}/healthz");
    let (now, version) = shown(&health).await;
    assert_eq!((now == first, version), (true, Version::HTTP_2));

    let api = daemon.api();
    let event = api.event(json!(["360p"])).await;
    event.status("started").await;
    let (_, rest) = event.rtmp_url.strip_prefix("rtmp://").unwrap().split_once('/').unwrap();
    let mut encoder = card.publish(&format!("rtmps://127.0.0.1:{rtmps}/{rest}/{}", event.rtmp_key));
    let playlist = format!("https://127.0.0.1:{https}/live/{}/index.m3u8", event.id);
    let viewer = api.anonymous();
    let master = Master::wait(&viewer, &playlist, Duration::from_secs(20)).await;
    let count = |url: String| {
        let viewer = viewer.clone();
        async move { Media::get(&viewer, &url).await.newest() }
    };
    let before = eventually(Duration::from_secs(15), "a segment", || count(master.video(360))).await;

    let second = certificate(dir.path());
    daemon.signal("HUP");
    eventually(Duration::from_secs(10), "the new certificate", || async {
        (shown(&health).await.0 == second).then_some(())
    })
    .await;
    // A file that is no certificate changes nothing.
    std::fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    daemon.signal("HUP");
    eventually(Duration::from_secs(20), "the log says what is wrong", || async {
        daemon.log().contains("certificate not loaded").then_some(())
    })
    .await;
    assert!(shown(&health).await.0 == second, "the last good certificate stays");

    let after = eventually(Duration::from_secs(15), "more segments", || async {
        count(master.video(360)).await.filter(|n| *n > before)
    })
    .await;
    assert!(after > before && encoder.running(), "the reload dropped nobody: {}", encoder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn self_signed_certificate_is_made_and_kept() {
    let https = free_port();
    let mut daemon = Daemon::with(Options {
        http: format!("tls_listen = \"127.0.0.1:{https}\""),
        sections: "[tls]\nself_signed = true".into(),
        ..Options::default()
    })
    .await;
    let health = format!("https://127.0.0.1:{https}/healthz");
    let (first, _) = shown(&health).await;
    daemon.kill().await;
    daemon.restart().await;
    assert!(shown(&health).await.0 == first, "the certificate that a browser was told to trust stays");
}
