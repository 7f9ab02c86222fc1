//! The rooms as pages see them: over sockets and HTTP, with a double of the media side.

mod links;
mod people;
mod sessions;

use super::*;
use crate::media::{Clock, Dur, MixPlan, Ts, VoiceId, VoicePacket, VoiceReport};
use crate::media::{SystemClock as Wall, TrackId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the double's peers have in common with the test.
#[derive(Default)]
struct PeerState {
    closed: AtomicBool,
    gone: tokio::sync::Notify,
    clock: Wall,
    /// By `clock`, when it was set to what.
    sources: Mutex<Vec<(Ts, RoomSource)>>,
    figures: Mutex<PeerFigures>,
}

struct DoublePeer(Arc<PeerState>);

impl Drop for DoublePeer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Peer for DoublePeer {
    fn etag(&self) -> String {
        "one".into()
    }
    fn patch(&self, fragment: String, etag: Option<String>) -> Job<'static, Result<Taken, OfferError>> {
        let outdated = etag.is_some_and(|e| e != "*" && e != "one");
        let taken = match fragment.as_str() {
            _ if outdated => Err(OfferError::Outdated("another session".into())),
            text if text.starts_with("a=ice-ufrag") => {
                Ok(Taken::Restarted { fragment: "a=ice-ufrag:new".into(), etag: "two".into() })
            }
            text if text.starts_with("a=") => Ok(Taken::Trickled),
            _ => Err(OfferError::Offer("no fragment".into())),
        };
        Box::pin(async move { taken })
    }
    fn set_source(&self, _: &EventId, source: &RoomSource) {
        let now = self.0.clock.now();
        self.0.sources.lock().unwrap().push((now, source.clone()));
    }
    fn figures(&self) -> PeerFigures {
        *self.0.figures.lock().unwrap()
    }
    fn ended(&self) -> Job<'static, ()> {
        let state = self.0.clone();
        Box::pin(async move { state.gone.notified().await })
    }
    fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }
}

/// Stands in for `rtc` and the engines.
#[derive(Default)]
pub(super) struct Media {
    plans: Mutex<Vec<MixPlan>>,
    packets: Mutex<Vec<VoicePacket>>,
    voices: Mutex<Vec<(Arc<VoiceIn>, Arc<PeerState>)>>,
    players: Mutex<Vec<(RoomSource, Arc<PeerState>)>>,
    probes: Mutex<Vec<Arc<PeerState>>>,
}

fn answered(offer: &str) -> Result<(Answered, Arc<PeerState>), OfferError> {
    if !offer.starts_with("v=0") {
        return Err(OfferError::Offer("The offer is no SDP.".into()));
    }
    let state = Arc::new(PeerState::default());
    Ok((Answered { answer: "v=0 answer".into(), peer: Box::new(DoublePeer(state.clone())) }, state))
}

impl RoomMedia for Media {
    fn output(&self, _: &EventId, language: &str) -> Option<TrackId> {
        ["de", "fr", "es"].iter().position(|l| *l == language).map(|i| TrackId(i as u16))
    }
    fn name(&self, language: &str) -> String {
        format!("name of {language}")
    }
    fn set_plan(&self, _: &EventId, plan: MixPlan) {
        self.plans.lock().unwrap().push(plan);
    }
    fn packet(&self, _: &EventId, packet: VoicePacket) {
        self.packets.lock().unwrap().push(packet);
    }
    fn voice(&self, _: &EventId, offer: String, sink: Arc<VoiceIn>) -> Job<'_, Result<Answered, OfferError>> {
        Box::pin(async move {
            let (answered, state) = answered(&offer)?;
            self.voices.lock().unwrap().push((sink, state));
            Ok(answered)
        })
    }
    fn play(&self, _: &EventId, offer: String, source: RoomSource) -> Job<'_, Result<Answered, OfferError>> {
        Box::pin(async move {
            let (answered, state) = answered(&offer)?;
            self.players.lock().unwrap().push((source, state));
            Ok(answered)
        })
    }
    fn probe(&self, offer: String) -> Job<'_, Result<Answered, OfferError>> {
        Box::pin(async move {
            let (answered, state) = answered(&offer)?;
            self.probes.lock().unwrap().push(state);
            Ok(answered)
        })
    }
}

impl Media {
    /// On air in each language now.
    fn on_air(&self) -> Vec<Vec<VoiceId>> {
        let plans = self.plans.lock().unwrap();
        plans.last().map_or_else(Vec::new, |p| p.languages.iter().map(|l| l.on_air.clone()).collect())
    }

    /// A packet of the newest voice, as `rtc` would bring it.
    fn speak(&self) -> VoiceId {
        let voices = self.voices.lock().unwrap();
        let (sink, _) = voices.last().expect("a voice");
        let now = Wall::new().now();
        sink.packet(1, now.to_scale(48_000), now, Bytes::from_static(b"opus"));
        sink.voice()
    }
}

/// More than anything that a page waits for takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A page's WebSocket (RFC 6455), as little of it as the tests need.
struct Page {
    stream: TcpStream,
    /// The newest state that came while something else was waited for.
    state: Value,
}

impl Page {
    async fn open(address: std::net::SocketAddr, path: &str) -> Page {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: live.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("answered"));
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Page { stream, state: Value::Null }
    }

    async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    async fn send_text(&mut self, text: &str) {
        let length = text.len();
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(0x80 | length as u8),
            _ => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.bytes());
        self.stream.write_all(&frame).await.expect("sent");
    }

    /// The next message; none when the socket is closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => usize::from(self.stream.read_u16().await.ok()?),
                127 => self.stream.read_u64().await.ok()? as usize,
                short => usize::from(short),
            };
            let mut data = vec![0; length];
            self.stream.read_exact(&mut data).await.ok()?;
            match first & 0xf {
                1 => return Some(serde_json::from_slice(&data).expect("JSON")),
                8 => return None,
                _ => {}
            }
        }
    }

    /// The next message of a type.
    async fn until(&mut self, kind: &str) -> Value {
        let found = async {
            loop {
                let message = self.next().await.unwrap_or_else(|| panic!("closed before `{kind}`"));
                if message["type"] == "state" {
                    self.state = message.clone();
                }
                if message["type"] == kind {
                    return message;
                }
            }
        };
        tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("no `{kind}`"))
    }

    /// Waits for a state that is as wanted.
    async fn state(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            while !wanted(&self.state) {
                let message = self.next().await.expect("open");
                if message["type"] == "state" {
                    self.state = message;
                }
            }
        };
        let in_time = tokio::time::timeout(SOON, found).await.is_ok();
        assert!(in_time, "not as wanted: {}", self.state);
        self.state.clone()
    }

    /// Waits for `closed`, and gives its reason.
    async fn closed(&mut self) -> String {
        self.until("closed").await["reason"].as_str().expect("reason").to_owned()
    }
}

fn person<'a>(state: &'a Value, id: &str) -> &'a Value {
    let people = state["people"].as_array();
    people.and_then(|p| p.iter().find(|p| p["id"] == id)).unwrap_or(&Value::Null)
}

/// An open event with two booths, served.
struct Open {
    w: World,
    id: String,
    event: Value,
    address: std::net::SocketAddr,
}

async fn open() -> Open {
    open_with(json!({})).await
}

async fn open_with(more: Value) -> Open {
    let w = world().await;
    let mut body = json!({"name": "x", "languages": [
        {"language": "de", "kind": "interpreted"}, {"language": "fr", "kind": "interpreted"},
        {"language": "es", "kind": "broadcast"}]});
    body.as_object_mut().expect("object").extend(more.as_object().cloned().expect("object"));
    let event = w.event(body).await;
    let id = id_of(&event).to_owned();
    assert_eq!(w.set_status(&id, "preview").await.status, 200);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("address");
    let router = w.router.clone();
    w.tasks.spawn_until_cancelled("test server", async move {
        axum::serve(listener, router).await.expect("serves");
    });
    Open { w, id, event, address }
}

impl Open {
    /// The path of a booth's page.
    fn booth(&self, language: &str) -> String {
        let booths = self.event["booths"].as_array().expect("booths");
        let booth = booths.iter().find(|b| b["language"] == language).expect("booth");
        path_of(&booth["url"])
    }

    async fn link(&self, body: Value) -> Value {
        let answer = self.w.call("POST", &format!("/api/v1/events/{}/links", self.id), Some(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// An interpreter who has said hello; their id beside.
    async fn interpreter(&self, language: &str, name: &str) -> (Page, String) {
        let (page, welcome) = self.hello(&format!("{}/ws", self.booth(language)), json!({"name": name})).await;
        (page, welcome["you"].as_str().expect("you").to_owned())
    }

    async fn hello(&self, path: &str, fields: Value) -> (Page, Value) {
        let mut page = Page::open(self.address, path).await;
        let mut hello = json!({"type": "hello"});
        hello.as_object_mut().expect("object").extend(fields.as_object().cloned().expect("object"));
        page.send(hello).await;
        let welcome = page.until("welcome").await;
        (page, welcome)
    }

    async fn manager(&self) -> Page {
        let token = self.w.token(Role::Operator);
        self.hello(&format!("/manage/{}/ws?token={token}", self.id), json!({"name": "Max"})).await.0
    }

    async fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        let request = Request::builder().method("POST").uri(path).header("content-type", kind);
        self.w.ask(request.body(Body::from(body.to_owned())).expect("request")).await
    }

    async fn offer(&self, path: &str) -> Answer {
        self.post(path, "application/sdp", "v=0 offer").await
    }
}

/// What follows the host.
fn path_of(url: &Value) -> String {
    let url = url.as_str().expect("an address");
    url.strip_prefix("http://live.example:8080").expect("ours").to_owned()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..250 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}
