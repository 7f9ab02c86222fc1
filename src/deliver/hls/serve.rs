//! Answering requests under `/live/`.
//!
//! **Data flow.** Path and query → the event → the right and the gate → the rendition → an answer. Everything that is
//! there is answered without waiting; a request that must wait holds a receiver of the rendition's changes, no lock.
//! **Bound.** [`super::OriginOptions::max_held`] held requests, each at most three target durations.

use super::Shared;
use super::access::{Asking, Gate, Verdict};
use super::address::{self, Item, Query, Resource};
use super::answer::{self, Refused, Text};
use super::event::{Event, View};
use super::render::{self, Kind};
use super::rendition::{Found, Media, Playlist, Rendition, Wanted};
use crate::media::Dur;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response};
use bytes::Bytes;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// How long the index waits for renditions that have not begun: a player that loads it early would not see them.
const INDEX_PATIENCE: Dur = Dur::from_secs(3);
/// A playlist that nobody waited for: long enough for a cache to answer a crowd once, short enough to learn of a pause.
const SHORT: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Answers that a token opened are not for others.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// Segments that a token opened may be kept by its holder.
const PRIVATE_MEDIA: HeaderValue = HeaderValue::from_static("private, max-age=60");
/// How much of a file is read at a time: what one slow reader of the DVR costs in memory.
const READ: usize = 256 << 10;

/// A request as the origin sees it.
struct Ask<'a> {
    shared: &'a Arc<Shared>,
    event: Arc<Event>,
    query: Query<'a>,
    headers: &'a HeaderMap,
    /// Sees everything in any state.
    all: bool,
    /// The token goes into every URI, and nothing is for shared caches.
    carry: bool,
}

/// Answers a request.
pub async fn answer(shared: Arc<Shared>, parts: Parts, peer: Option<SocketAddr>) -> Response<Body> {
    let head = parts.method == Method::HEAD;
    let mut response = match parts.method {
        Method::GET | Method::HEAD => {
            match respond(&shared, parts.uri.path(), parts.uri.query(), &parts.headers, peer).await {
                Ok((response, bytes)) => {
                    if let Some(counter) = bytes.1.filter(|_| !head) {
                        counter.increment(bytes.0);
                    }
                    response
                }
                Err(refused) => {
                    metrics::counter!("boothcast_hls_refused_total", "reason" => refused.reason()).increment(1);
                    refused.answer()
                }
            }
        }
        Method::OPTIONS => answer::preflight(),
        _ => Refused::Method.answer(),
    };
    if head {
        *response.body_mut() = Body::empty();
    }
    shared.options.cors.apply(answer::origin(&parts.headers), response.headers_mut());
    response
}

type Answered = (Response<Body>, (u64, Option<metrics::Counter>));

async fn respond(
    shared: &Arc<Shared>,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<Answered, Refused> {
    let (id, resource) = address::parse(path).ok_or(Refused::NotFound)?;
    let event = shared.event(id).ok_or(Refused::NotFound)?;
    // A bad query of someone without right must not tell that the event is there.
    let parsed = address::query(query);
    let token = parsed.as_ref().ok().and_then(|q| q.token).map(|(_, token)| token);
    let verdict = shared.access.check(&Asking { event: id, token, peer: peer.map(|p| p.ip()), headers });
    let gate = event.gate();
    let visible = verdict == Verdict::Preview || gate.serves_any(shared.clock.now());
    match verdict {
        _ if !visible => return Err(Refused::NotFound),
        Verdict::Denied => return Err(Refused::Forbidden),
        Verdict::Preview | Verdict::Viewer | Verdict::TokenViewer => {}
    }
    let query = parsed.map_err(|e| {
        Refused::BadRequest(match e {
            address::BadQuery::NotANumber => "_HLS_msn and _HLS_part take a decimal number.",
            address::BadQuery::PartWithoutSegment => "_HLS_part needs _HLS_msn.",
            address::BadQuery::Token => "The token in this address is not one.",
        })
    })?;
    let all = verdict == Verdict::Preview;
    let carry = query.token.is_some() && verdict != Verdict::Viewer;
    let ask = Ask { shared, event, query, headers, all, carry };
    match resource {
        Resource::Index => ask.index().await,
        Resource::Manifest => ask.manifest().await,
        Resource::Steering => ask.steering(),
        Resource::Rendition(name, item) => {
            let rendition = ask.event.rendition(name).ok_or(Refused::NotFound)?;
            match item {
                Item::Media => ask.playlist(&rendition, if ask.query.skip { Kind::Delta } else { Kind::Full }).await,
                Item::IFrames if rendition.video => ask.playlist(&rendition, Kind::IFrames).await,
                Item::IFrames => Err(Refused::NotFound),
                Item::Init(version) => ask.init(&rendition, version),
                Item::Segment(number) => ask.segment(&rendition, number).await,
                Item::Part(number, index) => ask.part(&rendition, number, index).await,
            }
        }
    }
}

impl Ask<'_> {
    /// What playlists show now; 404 where that is nothing.
    fn view(&self) -> Result<View, Refused> {
        let since = match (self.all, self.event.gate().since()) {
            (true, _) => None,
            (false, Some(since)) => Some(since),
            (false, None) => return Err(Refused::NotFound),
        };
        Ok(View { since, marked: self.carry })
    }

    /// The gate that media has to pass; none for those who see everything.
    fn gate(&self) -> Option<Gate> {
        (!self.all).then(|| self.event.gate())
    }

    async fn index(&self) -> Result<Answered, Refused> {
        self.view()?;
        if !self.event.declares_all() {
            let changes = self.event.declared.subscribe();
            let ready = || {
                self.view()?;
                Ok(self.event.declares_all().then_some(()))
            };
            match self.hold(changes, |_| false, INDEX_PATIENCE, ready).await {
                // What there is, then: a rendition whose source is late must not keep the others from anyone.
                Err(Refused::TimedOut) => {}
                other => other?,
            }
        }
        let text = self.event.index(self.carry).ok_or(Refused::TimedOut)?;
        Ok(self.text(&text, answer::M3U8, SHORT, None))
    }

    async fn manifest(&self) -> Result<Answered, Refused> {
        let now = self.shared.clock.now();
        let text = self.event.manifest(self.view()?, now).ok_or(Refused::TimedOut)?;
        Ok(self.text(&text, answer::MPD, SHORT, None))
    }

    /// The steering manifest: for those who are told of other origins.
    fn steering(&self) -> Result<Answered, Refused> {
        self.view()?;
        let text = self.event.steering().filter(|_| !self.carry).ok_or(Refused::NotFound)?;
        Ok(self.text(&Arc::new(Text::new(text)), answer::JSON, SHORT, None))
    }

    async fn playlist(&self, rendition: &Arc<Rendition>, kind: Kind) -> Result<Answered, Refused> {
        let at = self.query.msn.map(|msn| (msn, self.query.part));
        if kind != Kind::IFrames {
            rendition.watched(at);
        }
        rendition.counters.playlists.increment(1);
        let look = || {
            let view = self.view()?;
            let wanted = Wanted { kind, at, since: view.since, marked: view.marked };
            match rendition.playlist(&wanted, || self.event.others(rendition)) {
                Playlist::Ready(text, edge) => Ok(Some((text, edge))),
                Playlist::Wait => Ok(None),
                Playlist::TooFar => {
                    Err(Refused::BadRequest("_HLS_msn and _HLS_part lie too far beyond the end of the playlist."))
                }
            }
        };
        let (text, edge) = match look()? {
            Some(ready) => ready,
            None => self.hold(rendition.subscribe(), |p| p.gone, rendition.patience(), look).await?,
        };
        let cache = if edge { rendition.cache.edge.clone() } else { SHORT };
        Ok(self.text(&text, answer::M3U8, cache, Some(rendition)))
    }

    fn text(&self, text: &Arc<Text>, kind: HeaderValue, cache: HeaderValue, from: Option<&Rendition>) -> Answered {
        let gzip = answer::takes_gzip(self.headers);
        let (response, bytes) = match self.query.token.filter(|_| self.carry) {
            None => answer::text(text, kind, cache, gzip),
            Some((name, token)) => {
                let own = Text::new(render::with_token(text.plain(), name, token));
                answer::text(&own, kind, PRIVATE, gzip)
            }
        };
        (response, (bytes, from.map(|r| r.counters.bytes.clone())))
    }

    fn init(&self, rendition: &Rendition, version: u32) -> Result<Answered, Refused> {
        let init = rendition.init(version).ok_or(Refused::NotFound)?;
        rendition.counters.segments.increment(1);
        let total = init.data.len() as u64;
        let found = Found::one(init.data.clone());
        let range = answer::range(self.headers, total)?;
        Ok(self.media(rendition, found.cut(range.clone()).into_body(), &rendition.cache.media, total, range))
    }

    async fn part(&self, rendition: &Arc<Rendition>, number: u64, index: u32) -> Result<Answered, Refused> {
        let look = || match rendition.part(number, index, self.gate().as_ref(), self.shared.clock.now()) {
            Media::Memory(found) => Ok(Some(found)),
            Media::Wait => Ok(None),
            Media::Disk(..) | Media::None => Err(Refused::NotFound),
        };
        let found = match look()? {
            Some(found) => found,
            None => self.hold(rendition.subscribe(), |p| p.gone, rendition.patience(), look).await?,
        };
        rendition.counters.parts.increment(1);
        let total = found.total;
        let range = answer::range(self.headers, total)?;
        Ok(self.media(rendition, found.cut(range.clone()).into_body(), &rendition.cache.part, total, range))
    }

    async fn segment(&self, rendition: &Arc<Rendition>, number: u64) -> Result<Answered, Refused> {
        let now = self.shared.clock.now();
        let (body, total, range) = match rendition.segment(number, self.gate().as_ref(), now) {
            Media::Memory(found) => {
                let (total, range) = (found.total, answer::range(self.headers, found.total)?);
                (found.cut(range.clone()).into_body(), total, range)
            }
            Media::Disk(path, total) => {
                let range = answer::range(self.headers, total)?;
                match open(path.clone(), total).await {
                    Ok(file) => (self.file(file, range.clone().unwrap_or(0..total)), total, range),
                    Err(error) => return Err(self.unreadable(rendition, number, &path, &error)),
                }
            }
            Media::Wait | Media::None => return Err(Refused::NotFound),
        };
        rendition.counters.segments.increment(1);
        Ok(self.media(rendition, body, &rendition.cache.media, total, range))
    }

    /// A file that should be there is not, or cannot be read now.
    fn unreadable(&self, rendition: &Rendition, number: u64, path: &Path, error: &io::Error) -> Refused {
        metrics::counter!("boothcast_dvr_read_errors_total").increment(1);
        let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
        // It may have expired between the look and the opening: then nothing is wrong.
        if missing && matches!(rendition.segment(number, None, self.shared.clock.now()), Media::Disk(..)) {
            tracing::error!(file = %path.display(), %error, "DVR segment is lost: listed as a gap");
            rendition.lost(number);
        }
        if missing { Refused::NotFound } else { Refused::Unavailable }
    }

    fn media(
        &self,
        rendition: &Rendition,
        body: Body,
        cache: &HeaderValue,
        total: u64,
        range: Option<Range<u64>>,
    ) -> Answered {
        let kind = if rendition.video { answer::VIDEO_MP4 } else { answer::AUDIO_MP4 };
        let cache = if self.carry || self.all { PRIVATE_MEDIA } else { cache.clone() };
        let (response, bytes) = answer::media(body, kind, cache, total, range.as_ref());
        (response, (bytes, Some(rendition.counters.bytes.clone())))
    }

    /// A file's range as a body, read as fast as the client takes it.
    fn file(&self, file: File, range: Range<u64>) -> Body {
        let shared = self.shared.clone();
        let state = (Arc::new(file), range, shared);
        Body::from_stream(futures_util::stream::try_unfold(state, |(file, range, shared)| async move {
            if range.start >= range.end {
                return Ok::<_, io::Error>(None);
            }
            let chunk = {
                let _turn = shared.reads.acquire().await.map_err(io::Error::other)?;
                read(file.clone(), range.start, READ.min((range.end - range.start) as usize)).await?
            };
            let rest = range.start + chunk.len() as u64..range.end;
            Ok(Some((chunk, (file, rest, shared))))
        }))
    }

    /// Waits until `look` gives something, for at most `patience`. `gone` tells from a change that it never will. A daemon
    /// that stops ends the wait as the patience does.
    async fn hold<P, T, L>(
        &self,
        mut changes: watch::Receiver<P>,
        gone: impl Fn(&P) -> bool,
        patience: Dur,
        look: L,
    ) -> Result<T, Refused>
    where
        L: Fn() -> Result<Option<T>, Refused>,
    {
        let _held = Held::new(&self.shared.held, self.shared.options.max_held).ok_or(Refused::TimedOut)?;
        let until = self.shared.clock.now() + patience;
        let waiting = async {
            loop {
                if gone(&changes.borrow_and_update()) {
                    return Err(Refused::NotFound);
                }
                if let Some(found) = look()? {
                    return Ok(found);
                }
                if changes.changed().await.is_err() {
                    return Err(Refused::NotFound);
                }
            }
        };
        tokio::select! {
            biased;
            // First, since a daemon that stops also takes its events away, and what they answer would be final.
            () = self.shared.stopping.cancelled() => Err(Refused::TimedOut),
            result = waiting => result,
            () = self.shared.clock.sleep_until(until) => Err(Refused::TimedOut),
        }
    }
}

/// One held request.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize, most: usize) -> Option<Held<'a>> {
        if count.fetch_add(1, Ordering::Relaxed) >= most {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Held(count))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a segment's file and checks that it is whole.
async fn open(path: PathBuf, total: u64) -> io::Result<File> {
    blocking(move || {
        let file = File::open(path)?;
        if file.metadata()?.len() == total { Ok(file) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    })
    .await
}

async fn read(file: Arc<File>, at: u64, length: usize) -> io::Result<Bytes> {
    blocking(move || {
        let mut chunk = vec![0; length];
        file.read_exact_at(&mut chunk, at)?;
        Ok(Bytes::from(chunk))
    })
    .await
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = io::Result<T>> {
    let task = tokio::task::spawn_blocking(work);
    async move { task.await.unwrap_or_else(|error| Err(io::Error::other(error))) }
}
