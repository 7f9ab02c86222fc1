use super::*;
use crate::hub;
use crate::media::{SharedClock, SystemClock};
use crate::rtc::tests::live::{LiveClient, broadcast};
use crate::rtc::tests::sim::{FLOOR, OTHER, VIDEO, Wish};
use crate::rtc::{Config, PeerState};
use crate::task::Group;
use axum::body::Body;
use axum::http::{Method, Request, header};
use http_body_util::BodyExt;
use std::sync::Mutex;
use std::time::Duration;
use tower::ServiceExt;

/// Lets everybody with the token see `ev` in two languages.
struct Door {
    stream: hub::Stream,
    sessions: Arc<Mutex<Vec<Arc<Session>>>>,
    kept: Arc<()>,
}

impl Viewing for Door {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Granted, Denied>> {
        Box::pin(async move {
            if asking.event != "ev" {
                return Err(Denied::NoEvent);
            }
            if asking.token != Some("secret") {
                return Err(Denied::Forbidden);
            }
            let audio = match asking.language {
                None | Some("en") => FLOOR,
                Some("de") => OTHER,
                Some(_) => return Err(Denied::NoLanguage),
            };
            let sessions = self.sessions.clone();
            Ok(Granted {
                source: PlaySource::new(self.stream.clone(), Some(VIDEO), Some(audio)),
                opened: Some(Box::new(move |session| sessions.lock().unwrap().push(session))),
                keep: Some(Box::new(self.kept.clone())),
            })
        })
    }
}

async fn post(router: &Router, path: &str, body: String) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, http::SDP);
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

async fn watch(tcp: bool) {
    let (group, clock): (Group, SharedClock) = (Group::new(), Arc::new(SystemClock::new()));
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), public_ips: vec![], max_sessions: 10 };
    let rtc = Rtc::start(&config, &group, clock.clone()).await.unwrap();
    let (publisher, stream) = hub::stream(hub::Limits::default());
    broadcast(&group, publisher, clock.clone());
    let (sessions, kept) = (Arc::new(Mutex::new(vec![])), Arc::new(()));
    let door = Door { stream, sessions: sessions.clone(), kept: kept.clone() };
    let router = Whep::new(rtc, Arc::new(door)).router();

    let mut client = LiveClient::new(clock.clone(), Wish::Play, tcp);
    let offer = client.offer();
    for (path, status) in [
        ("/whep/other?token=secret", StatusCode::NOT_FOUND),
        ("/whep/ev", StatusCode::FORBIDDEN),
        ("/whep/ev?token=secret&language=xx", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(post(&router, path, offer.clone()).await.0, status, "{path}");
    }
    let (status, headers, answer) = post(&router, "/whep/ev?token=secret&language=de", offer).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(headers[header::LOCATION].to_str().unwrap().starts_with("/whep/ev/"));
    client.answer(&answer);
    assert!(client.connect().await, "no connection");
    client.run(Duration::from_secs(3)).await;
    let (pictures, sounds) = client.received();
    assert!(pictures > 25 && sounds.len() > 70, "{pictures} pictures, {} sounds", sounds.len());
    assert!(sounds.iter().all(|s| s[0] == 2), "the language that was asked for");
    let session = sessions.lock().unwrap()[0].clone();
    let stats = *session.stats().borrow();
    assert_eq!((stats.state, stats.transport), (PeerState::Connected, Some(if tcp { "tcp" } else { "udp" })));
    assert!(stats.rtt.is_some() && stats.packets_out > 100);
    assert_eq!(Arc::strong_count(&kept), 3);
    // As when a link is revoked.
    session.close();
    tokio::time::timeout(Duration::from_secs(5), session.ended()).await.unwrap();
    assert!(clock.now() > crate::media::Ts::ZERO);
    assert!(group.close(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_with_the_right_sees_the_event_in_its_language() {
    watch(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_it_over_tcp() {
    watch(true).await;
}
