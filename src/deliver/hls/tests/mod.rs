//! The origin as players, caches and the disk meet it.

mod gate;
mod http;
mod live;
mod origins;
mod storage;

use super::*;
use crate::media::{AudioCodec, AudioFormat};
use crate::media::{Clock, Grid, Media, SimClock, Track, TrackId, Ts, VideoCodec, VideoFormat};
use crate::net::http::Direct;
use crate::package::{Cut, IFrame, Init, Output, Part, RenditionKind, RenditionSpec};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use std::path::Path;

/// A segment's number some time in 2026, and the grid.
const FIRST: u64 = 930_000_000;

fn grid() -> Grid {
    Grid::new(25).expect("listed rate")
}

fn start_of(number: u64) -> Ts {
    grid().segment_start(number)
}

/// Where requests come from.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
/// The token that managers have in these tests.
const TOKEN: &str = "manager-token";
/// A viewer's token.
const TICKET: &str = "viewer-ticket";

fn access() -> Arc<dyn Access> {
    Arc::new(|asking: &Asking<'_>| match asking.token {
        Some(TOKEN) => Verdict::Preview,
        Some(TICKET) => Verdict::TokenViewer,
        Some("none") => Verdict::Denied,
        _ => Verdict::Viewer,
    })
}

fn video(name: &str) -> RenditionSpec {
    let kind = RenditionKind::Video { frame_rate: 25.0, source: false };
    RenditionSpec { name: name.into(), kind, bitrate: 2_500_000, max_bitrate: 2_750_000 }
}

fn sound(language: &str, default: bool) -> RenditionSpec {
    let kind = RenditionKind::Audio { language: language.into(), label: language.to_uppercase(), default };
    RenditionSpec { name: language.into(), kind, bitrate: 128_000, max_bitrate: 140_000 }
}

fn header(video: bool) -> Arc<Init> {
    let (id, media, codecs) = if video {
        let config = Bytes::from_static(b"\x01\x64\x00\x1f");
        let codec = VideoCodec::H264;
        let format =
            VideoFormat { codec, config, width: 1280, height: 720, frame_rate: Some((25, 1)), sample_aspect: None };
        (TrackId::VIDEO, Media::Video(format), "avc1.64001f")
    } else {
        let config = Bytes::from_static(b"\x11\x90");
        let format = AudioFormat { codec: AudioCodec::Aac, config, sample_rate: 48_000, channels: 2 };
        (TrackId::audio(0), Media::Audio(format), "mp4a.40.2")
    };
    let track = Arc::new(Track { id, media });
    Arc::new(Init { version: 0, track, codecs: codecs.into(), data: Bytes::from_static(b"ftyp and moov") })
}

/// What a part holds in these tests, so that a body says which it is.
fn payload(number: u64, index: u32) -> Bytes {
    Bytes::from(format!("[{number}.{index}]").repeat(50))
}

fn whole(number: u64) -> Bytes {
    (0..grid().parts_per_segment()).map(|i| payload(number, i)).collect::<Vec<_>>().concat().into()
}

/// An event at the origin, fed by hand on simulated time.
struct Bed {
    clock: SimClock,
    group: Group,
    origin: Origin,
    direct: Direct,
    event: Option<EventStream>,
    sinks: Vec<Sink>,
    /// The next segment and part that [`Bed::feed`] makes.
    next: (u64, u32),
}

impl Bed {
    /// Memory only.
    async fn new(dvr: Dur) -> Bed {
        Bed::on(dvr, None, Arc::new(disk::System)).await
    }

    async fn on(dvr: Dur, dir: Option<&Path>, medium: Arc<dyn disk::Medium>) -> Bed {
        let clock = SimClock::new(start_of(FIRST));
        let group = Group::new();
        let options = OriginOptions { dir: dir.map(Path::to_owned), ..OriginOptions::default() };
        let origin = Origin::with_medium(options, access(), Arc::new(clock.clone()), &group, medium);
        let event = origin.event("ev1", EventOptions { dvr, delay: Dur::ZERO }).expect("free id");
        let mut bed = Bed {
            clock,
            group,
            direct: direct(&origin),
            origin,
            event: Some(event),
            sinks: Vec::new(),
            next: (FIRST, 0),
        };
        bed.add(video("720p")).await;
        bed.add(sound("floor", true)).await;
        bed
    }

    async fn add(&mut self, spec: RenditionSpec) -> crate::package::Resume {
        let picture = matches!(spec.kind, RenditionKind::Video { .. });
        let (sink, resume) = self.event().add(spec, Cut::Grid(grid())).await.expect("free name");
        sink.apply(Output::Init(header(picture)));
        self.sinks.push(sink);
        resume
    }

    fn event(&self) -> &EventStream {
        self.event.as_ref().expect("open")
    }

    /// `parts` more parts of every rendition; the clock follows the programme.
    fn feed(&mut self, parts: u32) {
        for _ in 0..parts {
            let (number, index) = self.next;
            let start = start_of(number) + grid().part() * i64::from(index);
            let end = start + grid().part();
            let now = self.clock.now();
            self.clock.advance(end - now);
            let last = index + 1 == grid().parts_per_segment();
            for sink in &self.sinks {
                if index == 0 {
                    sink.apply(Output::SegmentStart { number, start, discontinuity: false });
                }
                let data = payload(number, index);
                sink.apply(Output::Part(Part { index, start, duration: grid().part(), independent: index == 0, data }));
                if last {
                    let iframe = Some(IFrame { offset: 10, length: 100 });
                    sink.apply(Output::SegmentEnd { duration: grid().segment(), iframe });
                }
            }
            self.next = if last { (number + 1, 0) } else { (number, index + 1) };
        }
    }

    fn segments(&mut self, count: u32) {
        self.feed(count * grid().parts_per_segment());
    }

    fn open(&self) {
        self.event().set_viewing(Viewing::Open { since: self.clock.now() });
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.direct, method, path.to_owned(), headers).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, &format!("/live/ev1/{path}"), &[]).await
    }

    /// A request that is left waiting.
    fn hold(&self, path: &str) -> tokio::task::JoinHandle<Answer> {
        let (direct, path) = (self.direct.clone(), format!("/live/ev1/{path}"));
        held(async move { ask(&direct, Method::GET, path, &[]).await })
    }

    /// Waits until the writer has nothing to do.
    async fn stored(&self) {
        for _ in 0..4000 {
            if self.event().event().is_written() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the writer does not finish");
    }
}

#[allow(clippy::disallowed_methods)]
fn held<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("text"))
    }

    /// Every URI that a playlist names: lines and attributes.
    fn uris(&self) -> Vec<String> {
        let mut uris = Vec::new();
        for line in self.text().lines() {
            if let Some(rest) = line.split_once("URI=\"").map(|(_, rest)| rest) {
                uris.push(rest.split('"').next().unwrap_or_default().to_owned());
            } else if !line.starts_with('#') && !line.is_empty() {
                uris.push(line.to_owned());
            }
        }
        uris
    }

    /// The numbers of whole segments that a media playlist names, gaps left out.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut gap = false;
        for line in self.text().lines() {
            gap |= line == "#EXT-X-GAP";
            if !line.starts_with('#') && !line.is_empty() {
                let name = line.split('?').next().unwrap_or_default();
                let number = name.strip_suffix(".m4s").and_then(|n| n.parse().ok()).expect("a segment's address");
                if !std::mem::take(&mut gap) {
                    numbers.push(number);
                }
            }
        }
        numbers
    }
}

/// The origin as the daemon puts it into its HTTP server.
fn direct(origin: &Origin) -> Direct {
    let shared = origin.shared.clone();
    Arc::new(move |request, peer| {
        let answer = serve::answer(shared.clone(), request, Some(peer));
        Box::pin(async move { Ok(answer.await) })
    })
}

async fn ask(direct: &Direct, method: Method, path: String, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (request, ()) = request.body(()).expect("request").into_parts();
    let response = direct(request, PEER).await.expect("never fails");
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.expect("body");
    Answer { status: parts.status, headers: parts.headers, body }
}
