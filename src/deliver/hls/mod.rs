//! The HTTP origin for HLS (low-latency and plain) and DASH, with DVR.
//!
//! **Role.** Takes what packagers make ([`Sink::apply`]) and serves it under `/live/{event}/…` ([`Origin::answer`]).
//! **Data flow.** `package::Output` → the rendition's `package::Window` → playlists rendered once per change and shared,
//! segments and parts as the bytes the packager made, older segments from disk (`disk`).
//! **Who gets what when** is in `access`: nothing but a 404 before the event is opened, what was made since then while
//! it is open, and for one hold-back time after it closed the segments and parts (not the playlists) that were public.
//! **Bound.** In memory: the newest segments ([`OriginOptions::live_segments`], twice as many when the disk does not keep
//! up); on disk: the DVR window. Held requests: [`OriginOptions::max_held`].
//! **Other origins.** Daemons that the same encoder feeds and that are set alike make playlists that can be exchanged: names,
//! groups, target durations, segment numbers, boundaries and PROGRAM-DATE-TIME follow from the event's settings and its grid
//! alone, which counts Unix time. [`EventStream::set_other_origins`] lists all of them on each, for Content Steering
//! ([`EventStream::set_well`] puts this one first or last) and as redundant streams. What stays different: each daemon places
//! the programme by when it arrives, so that contents of one instant are as far apart as its ways and the clocks are, and
//! encodes it by itself, so that no byte is the same; headers and DISCONTINUITY-SEQUENCE count each daemon's own changes of
//! format; `source` renditions are cut and counted on from the first key frame that came; a frame rate or size of the
//! source that was not the same at first publish makes another ladder; voices are heard where their booth is.
//! **A slow reader** costs its own connection and a reference to shared bytes, or one buffer when it reads from disk.
//! **A slow or full disk** delays nobody: what leaves memory unstored is a gap, and [`EventStream::storage`] tells.

mod access;
pub mod address;
mod answer;
mod disk;
mod event;
mod render;
mod rendition;
mod serve;
#[cfg(test)]
mod tests;

pub use access::{Access, Asking, Verdict, Viewing};
pub use answer::Cors;
pub use event::{EventStats, EventStream, StorageAlarm};
pub use rendition::Sink;

use crate::media::{Dur, SharedClock};
use crate::task::Group;
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;
use event::Event;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Where the paths begin that the origin answers.
pub const PREFIX: &str = "/live/";
/// How often viewers are estimated.
const ESTIMATE: Dur = Dur::from_secs(10);
/// How long the last segments of an event may take to reach the disk when it is closed.
const CLOSE_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Reads from disk at a time: more do not make a disk faster, and each holds a thread.
const READS: usize = 32;

/// The origin's settings.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// The folder for DVR segments, the daemon's own; none for memory only.
    pub dir: Option<PathBuf>,
    /// Which pages may read what is served.
    pub cors: Cors,
    /// Complete segments per rendition that stay in memory.
    pub live_segments: usize,
    /// Requests held at a time, in all events.
    pub max_held: usize,
}

impl Default for OriginOptions {
    /// Ten segments are 19 s: all that a player near live asks for. 50 000 held requests are some 20 000 players.
    fn default() -> Self {
        OriginOptions { dir: None, cors: Cors::Any, live_segments: 10, max_held: 50_000 }
    }
}

/// An event's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// How far viewers can go back. Zero: nothing is kept on disk.
    pub dvr: Dur,
    /// How long after its end on the timeline a segment is complete: the programme delay and what encoding takes. DASH
    /// players compute from it when a segment is there.
    pub delay: Dur,
}

/// Why something cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not letters, digits, `-` and `_`, 1 to 64 of them.
    #[error("\"{0}\" cannot stand in an address: use 1 to 64 letters, digits, - and _")]
    Name(String),
    /// There already.
    #[error("\"{0}\" is there already")]
    Exists(String),
}

/// What requests, events and tasks share.
struct Shared {
    options: OriginOptions,
    access: Arc<dyn Access>,
    clock: SharedClock,
    medium: Arc<dyn disk::Medium>,
    events: ArcSwap<HashMap<Box<str>, Arc<Event>>>,
    held: AtomicUsize,
    reads: Semaphore,
    /// Cancelled when the daemon stops: nothing new will come, so nothing is waited for.
    stopping: CancellationToken,
}

impl Shared {
    fn event(&self, id: &str) -> Option<Arc<Event>> {
        self.events.load().get(id).cloned()
    }

    fn remove(&self, event: &Arc<Event>) {
        self.events.rcu(|all| {
            let mut all = HashMap::clone(all);
            if all.get(&event.id).is_some_and(|e| Arc::ptr_eq(e, event)) {
                all.remove(&event.id);
            }
            all
        });
    }
}

/// The origin: the registry of events on air, and what serves them.
pub struct Origin {
    shared: Arc<Shared>,
    group: Group,
}

impl Origin {
    /// An origin without events. `access` decides on rights; tasks run in `group`.
    pub fn new(options: OriginOptions, access: Arc<dyn Access>, clock: SharedClock, group: &Group) -> Origin {
        Origin::with_medium(options, access, clock, group, Arc::new(disk::System))
    }

    fn with_medium(
        options: OriginOptions,
        access: Arc<dyn Access>,
        clock: SharedClock,
        group: &Group,
        medium: Arc<dyn disk::Medium>,
    ) -> Origin {
        let shared = Arc::new(Shared {
            options,
            access,
            clock,
            medium,
            events: ArcSwap::default(),
            held: AtomicUsize::new(0),
            reads: Semaphore::new(READS),
            stopping: CancellationToken::new(),
        });
        let origin = Origin { shared, group: group.child() };
        origin.estimate_viewers();
        origin
    }

    fn estimate_viewers(&self) {
        let shared = self.shared.clone();
        self.group.spawn_until_cancelled("viewer estimate", async move {
            let mut last = shared.clock.now();
            loop {
                shared.clock.sleep_until(last + ESTIMATE).await;
                let now = shared.clock.now();
                for event in shared.events.load().values() {
                    event.estimate(now - last);
                }
                metrics::gauge!("boothcast_hls_held_requests").set(shared.held.load(Ordering::Relaxed) as f64);
                last = now;
            }
        });
    }

    /// The daemon stops. Requests that wait for new media are told to come again (503 with Retry-After), now and from now
    /// on: a 404 would make a player give the stream up. What is there is served as before.
    pub fn drain(&self) {
        self.shared.stopping.cancel();
    }

    /// Answers a request under [`PREFIX`].
    pub fn answer(
        &self,
        request: Parts,
        peer: Option<SocketAddr>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        serve::answer(self.shared.clone(), request, peer)
    }

    /// Puts an event on the origin, closed to the public. With a DVR, renditions that are added bring back what the
    /// disk holds of them.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn event(&self, id: &str, options: EventOptions) -> Result<EventStream, OriginError> {
        if !address::is_name(id) {
            return Err(OriginError::Name(id.to_owned()));
        }
        let stream = EventStream::new(self.shared.clone(), id, options, &self.group);
        let mut taken = false;
        self.shared.events.rcu(|all| {
            taken = all.contains_key(id);
            let mut all = HashMap::clone(all);
            all.entry(id.into()).or_insert_with(|| stream.event().clone());
            all
        });
        if taken { Err(OriginError::Exists(id.to_owned())) } else { Ok(stream) }
    }

    /// Deletes what is on disk of an event that is not on the origin: it was reset or deleted.
    pub async fn purge(&self, id: &str) {
        if address::is_name(id)
            && self.shared.event(id).is_none()
            && let Some(dir) = &self.shared.options.dir
        {
            delete(dir.join(id)).await;
        }
    }

    /// Deletes what is on disk of all other events: at start, for what was deleted while the daemon was down.
    pub async fn retain(&self, ids: &[String]) {
        let Some(dir) = self.shared.options.dir.clone() else { return };
        let list = tokio::task::spawn_blocking(move || -> Vec<PathBuf> {
            std::fs::read_dir(dir).map(|d| d.filter_map(|e| Some(e.ok()?.path())).collect()).unwrap_or_default()
        });
        for path in list.await.unwrap_or_default() {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if address::is_name(name) && !ids.iter().any(|id| id == name) && self.shared.event(name).is_none() {
                delete(path).await;
            }
        }
    }
}

/// Deletes a folder of ours with all that is in it.
async fn delete(path: PathBuf) {
    let result = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::error!(folder = %path.display(), %error, "DVR not deleted");
        }
        _ => {}
    });
    if let Err(error) = result.await {
        tracing::error!(%error, "deleting a DVR failed");
    }
}
