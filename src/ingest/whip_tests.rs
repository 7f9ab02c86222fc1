use super::super::{BoxFuture, Health, InputHealth, Session, Stop};
use super::*;
use crate::hub::{self, RecvError, Start, Subscriber};
use crate::media::{Clock, InputName, SystemClock, TrackId};
use crate::rtc::Config;
use crate::rtc::tests::live::{LiveClient, OFFER_TIMEOUT};
use crate::rtc::tests::sim::Wish;
use axum::body::Body;
use axum::http::{Method, Request as HttpRequest, header};
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use std::sync::Mutex;
use tower::ServiceExt;

/// Admits `key` once; a second is told that it is taken.
#[derive(Default)]
struct Door {
    given: Mutex<Option<(Subscriber, Arc<Health>, Stop)>>,
}

impl Admission for Door {
    fn admit(&self, request: Request) -> BoxFuture<'_, Result<Session, Refusal>> {
        Box::pin(async move {
            if request.key.expose_secret() != "key" {
                return Err(Refusal::WrongKey);
            }
            let mut given = self.given.lock().unwrap();
            if given.is_some() && !request.takeover {
                return Err(Refusal::Busy);
            }
            let (publisher, stream) = hub::stream(hub::Limits::default());
            let health = Arc::new(Health::new(request.protocol, request.peer, SystemClock::new().now()));
            let stop = Stop::new();
            *given = Some((stream.subscribe(Start::Live), health.clone(), stop.clone()));
            Ok(Session { event: "ev".into(), input: InputName::Main, publisher, health, stop })
        })
    }
}

async fn start() -> (Router, Arc<Door>, Group, SharedClock) {
    let (group, clock): (Group, SharedClock) = (Group::new(), Arc::new(SystemClock::new()));
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), public_ips: vec![], max_sessions: 10 };
    let rtc = Rtc::start(&config, &group, clock.clone()).await.unwrap();
    let door = Arc::new(Door::default());
    let whip = Whip::new(rtc, door.clone(), clock.clone(), group.clone());
    (whip.router(), door, group, clock)
}

async fn ask(router: &Router, method: Method, path: &str, kind: &str, body: String) -> (StatusCode, HeaderMap, String) {
    let request = HttpRequest::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contribution_is_published_until_it_is_deleted() {
    let (router, door, group, clock) = start().await;
    let mut client = LiveClient::new(clock, Wish::Contribute, false);
    let offer = client.offer();
    let (status, headers, answer) = ask(&router, Method::POST, "/whip/key", http::SDP, offer.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let location = headers[header::LOCATION].to_str().unwrap().to_owned();
    assert!(location.starts_with("/whip/key/") && headers[header::ETAG].to_str().unwrap().starts_with('"'));
    assert_eq!(headers["accept-patch"], http::FRAGMENT);
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let (second, ..) = ask(&router, Method::POST, "/whip/key", http::SDP, offer).await;
    assert_eq!(second, StatusCode::CONFLICT);
    client.answer(&answer);
    assert!(client.connect().await, "no connection");
    client.film(Duration::from_secs(2)).await;
    let (mut reader, health, _) = door.given.lock().unwrap().take().unwrap();
    let mut tracks = std::collections::BTreeMap::<TrackId, u32>::new();
    while let Ok(Some(packet)) = reader.try_recv() {
        *tracks.entry(packet.track.id).or_default() += 1;
    }
    assert!(tracks[&TrackId::VIDEO] >= 25 && tracks[&TrackId::audio(0)] >= 50, "{tracks:?}");
    let shown: InputHealth = health.snapshot(SystemClock::new().now());
    assert_eq!((shown.protocol, shown.video.map(|v| v.width)), (Some(Protocol::Whip), Some(1920)));
    // Told once a second, and perhaps not yet measured the first time.
    let rtt = || health.snapshot(SystemClock::new().now()).rtt_seconds;
    let measured = async {
        while rtt().is_none() {
            client.run(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(OFFER_TIMEOUT, measured).await.is_ok(), "no round trip was measured");
    assert!(rtt().is_some_and(|rtt| rtt < 1.0), "{:?}", rtt());
    let (status, ..) = ask(&router, Method::DELETE, &location, "", String::new()).await;
    assert_eq!(status, StatusCode::OK);
    let end = tokio::time::timeout(OFFER_TIMEOUT, async {
        loop {
            if let Err(RecvError::Ended) = reader.recv().await {
                return;
            }
        }
    });
    assert!(end.await.is_ok(), "the stream in the hub has not ended");
    let (again, ..) = ask(&router, Method::DELETE, &location, "", String::new()).await;
    assert_eq!(again, StatusCode::NOT_FOUND);
    assert!(group.close(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_contribution_ends() {
    let (router, door, group, clock) = start().await;
    let mut client = LiveClient::new(clock, Wish::Contribute, false);
    let (status, _, answer) = ask(&router, Method::POST, "/whip/key", http::SDP, client.offer()).await;
    assert_eq!(status, StatusCode::CREATED);
    client.answer(&answer);
    assert!(client.connect().await);
    let (mut reader, _, stop) = door.given.lock().unwrap().take().unwrap();
    stop.stop(Refusal::Revoked);
    let end = tokio::time::timeout(OFFER_TIMEOUT, async { while reader.recv().await.is_ok() {} });
    assert!(end.await.is_ok());
    assert!(group.close(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_by_its_status() {
    let (router, _, group, clock) = start().await;
    let offer = LiveClient::new(clock, Wish::Contribute, false).offer();
    let post = |path: &'static str, kind: &'static str, body: String| {
        let router = router.clone();
        async move { ask(&router, Method::POST, path, kind, body).await }
    };
    assert_eq!(post("/whip/other", http::SDP, offer.clone()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post("/whip/key", "text/plain", offer.clone()).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(post("/whip/key", http::SDP, "rubbish".into()).await.0, StatusCode::BAD_REQUEST);
    let long = format!("{offer}{}", "a=x\r\n".repeat(20_000));
    assert_eq!(post("/whip/key", http::SDP, long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let receives = offer.replace("a=sendrecv", "a=recvonly").replace("a=sendonly", "a=recvonly");
    assert_eq!(post("/whip/key?takeover=1", http::SDP, receives).await.0, StatusCode::NOT_ACCEPTABLE);
    let (status, headers, _) = ask(&router, Method::GET, "/whip/key", "", String::new()).await;
    assert_eq!((status, &headers[header::ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &"POST, OPTIONS".parse().unwrap()));
    let (status, headers, _) = ask(&router, Method::OPTIONS, "/whip/key", "", String::new()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(headers[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PATCH"));
    let (status, ..) = ask(&router, Method::PATCH, "/whip/key/none", http::FRAGMENT, "a=x\r\n".into()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(group.close(Duration::from_secs(5)).await);
}
