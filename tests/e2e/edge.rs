//! The nginx edge that ships in `conf/`: one request per object reaches the origin, and live playback works through it.

use crate::support::api::Api;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::hls::{Master, Media};
use crate::support::publish::{Programme, Publisher};
use crate::support::root;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Starts nginx with the shipped file, its addresses replaced by those of this test.
fn nginx(dir: &Path, origin: &str, port: u16) -> Publisher {
    let shipped = std::fs::read_to_string(root().join("conf/nginx-edge.conf")).unwrap();
    let edge = shipped
        .replace("127.0.0.1:8080", origin)
        .replace("listen 8081", &format!("listen 127.0.0.1:{port}"))
        .replace("/var/cache/nginx/boothcast", &dir.join("cache").display().to_string());
    assert!(edge.contains(origin) && edge.contains(&port.to_string()), "the shipped file has other addresses");
    let dir = dir.display();
    let all = format!(
        "daemon off; pid {dir}/pid; error_log stderr warn; worker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n{edge}\n}}\n"
    );
    let file = format!("{dir}/nginx.conf");
    std::fs::write(&file, all).unwrap();
    // In the foreground with one worker, which ends when its master is gone.
    Publisher::spawn(Path::new("/usr/sbin/nginx"), &["-c", &file, "-e", "stderr", "-g", "master_process off;"])
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_caches_segments_and_passes_blocking_reloads() {
    let card = Programme::card().await;
    let daemon = Daemon::start().await;
    let event = daemon.api().event(json!(["360p"])).await;
    event.status("started").await;
    let _encoder = card.publish(&event.publish_url());
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut edge = nginx(dir.path(), &daemon.addresses["http"].to_string(), port);
    let viewer = Api::new(&format!("http://127.0.0.1:{port}"), None);
    let playlist = format!("http://127.0.0.1:{port}/live/{}/index.m3u8", event.id);
    let master = Master::wait(&viewer, &playlist, Duration::from_secs(25)).await;
    let video = master.video(360);
    assert!(video.starts_with(&format!("http://127.0.0.1:{port}/")), "playlists name no other server: {video}");
    let media = eventually(Duration::from_secs(15), "two segments", || async {
        let media = Media::get(&viewer, &video).await;
        (media.segments.iter().filter(|s| !s.gap).count() >= 2).then_some(media)
    })
    .await;

    let segment = media.segments.iter().rfind(|s| !s.gap).unwrap();
    let first = viewer.get(&segment.uri).await.expect(200);
    let again = viewer.get(&segment.uri).await.expect(200);
    assert_eq!(again.header("x-cache"), "HIT", "a segment is fetched from the origin once");
    assert_eq!(first.body, again.body);

    // Two viewers wait for the same part: both get it when it is there, and not before. At the beginning of a segment that is
    // a second or more.
    let at_origin = Api::new(&daemon.http(), None);
    let own = video.replace(&format!("http://127.0.0.1:{port}"), &daemon.http());
    let next = eventually(Duration::from_secs(15), "the beginning of a segment", || async {
        let media = Media::get(&at_origin, &own).await;
        (media.parts.len() <= 3).then(|| media.newest().unwrap() + 2)
    })
    .await;
    let blocking = format!("{video}?_HLS_msn={next}&_HLS_part=0");
    let asked = Instant::now();
    let (one, other) = tokio::join!(viewer.get(&blocking), viewer.get(&blocking));
    let waited = asked.elapsed();
    assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
    assert!(one.text().contains(&format!("{next}.0.m4s")), "{}", one.text());
    assert!(waited > Duration::from_millis(300) && waited < Duration::from_secs(8), "held for {waited:?}");
    let states = [one.header("x-cache"), other.header("x-cache")];
    assert!(states.contains(&"HIT"), "one of the two was answered from the other's: {states:?}");

    // What is no viewer's business does not pass.
    viewer.get("/api/v1/events").await.expect(404);
    viewer.get(&format!("/api/v1/events/{}/state", event.id)).await.expect(200);
    viewer.get(&format!("/watch/{}", event.id)).await.expect(200);
    event.status("paused").await;
    eventually(Duration::from_secs(4), "the pause reaches viewers behind the edge", || async {
        (viewer.get(&playlist).await.status == 404).then_some(())
    })
    .await;
    assert!(edge.running(), "{}", edge.log());
}
