//! All events that run, and what they share. Implements what `control` and `ingest` ask for.

use super::doors::Doors;
use super::event::{Newcomer, Running, to_wall};
use super::rooms::Media;
use crate::config::Config;
use crate::control::{Check, Job, Live, Notices};
use crate::deliver::hls::{Access, Asking, Origin, Verdict};
use crate::ingest::pull::Source;
use crate::ingest::srt::Screen;
use crate::ingest::{Admission, BoxFuture, Refusal, Request, Session};
use crate::media::{InputName, SharedClock, SystemClock};
use crate::net::Guard;
use crate::srt::Srt;
use crate::store::{Event, EventId, Secret, Status, Store};
use crate::task::Group;
use arc_swap::ArcSwap;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Preview tokens of the events on the origin.
#[derive(Default)]
pub(super) struct Previews(RwLock<HashMap<EventId, Secret>>);

impl Previews {
    fn set(&self, id: &EventId, token: Option<Secret>) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match token {
            Some(token) => tokens.insert(id.clone(), token),
            None => tokens.remove(id),
        };
    }
}

impl Access for Previews {
    fn check(&self, asking: &Asking<'_>) -> Verdict {
        let Some(token) = asking.token else { return Verdict::Viewer };
        let Some(id) = EventId::parse(asking.event) else { return Verdict::Denied };
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match tokens.get(&id) {
            Some(right) if right.matches(token) => Verdict::Preview,
            _ => Verdict::Denied,
        }
    }
}

/// What all running events use.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) origin: Origin,
    pub(super) previews: Arc<Previews>,
    pub(super) notices: Notices,
    pub(super) clock: SharedClock,
    /// The same clock by its own type, for the engine's anchor.
    pub(super) system: SystemClock,
    pub(super) config: ArcSwap<Config>,
    /// What players call this daemon among others; of the configuration at start.
    pub(super) pathway: String,
    /// What may be connected to.
    pub(super) guard: Guard,
    /// What SRT servers are called by.
    pub(super) srt: Srt,
    pub(super) group: Group,
    /// What the rooms see and hear.
    pub(super) rooms: Arc<Media>,
    /// Who may publish.
    pub(super) doors: Doors,
}

/// An event that has ended but is still on the origin for those behind live.
struct Ending {
    now: CancellationToken,
    done: JoinHandle<()>,
}

enum Entry {
    Running(Arc<Running>),
    Ending(Ending),
}

/// The registry.
pub(super) struct Registry {
    pub(super) shared: Arc<Shared>,
    /// Held for a look-up or an assignment, never across an await. Changes of one event come one after the other.
    entries: Mutex<HashMap<EventId, Entry>>,
    /// Names of the listeners that serve.
    listeners: Mutex<Vec<Check>>,
    draining: AtomicBool,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Registry> {
        let (entries, listeners) = (Mutex::default(), Mutex::default());
        Arc::new(Registry { shared, entries, listeners, draining: AtomicBool::new(false) })
    }

    /// Takes up what ran before the daemon was stopped or killed; gives back how many events that are.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn resume(&self) -> Result<usize, crate::store::StoreError> {
        let events = self.shared.store.running_events().await?;
        let ids: Vec<String> = events.iter().map(|e| e.id.to_string()).collect();
        self.shared.origin.retain(&ids).await;
        for event in events {
            self.start(&Arc::new(event));
        }
        Ok(ids.len())
    }

    /// Names the listeners that serve now.
    pub(super) fn set_listeners(&self, names: &[&str]) {
        let checks = names.iter().map(|name| Check { name: (*name).to_owned(), ok: true }).collect();
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = checks;
    }

    /// From now on not ready, nobody may begin to publish, and no viewer is kept waiting for what will not come.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.shared.origin.drain();
    }

    /// Ends what is pulled, for good.
    pub(super) async fn end_pulls(&self) {
        let running: Vec<Arc<Running>> = self
            .lock()
            .values()
            .filter_map(|entry| match entry {
                Entry::Running(running) => Some(running.clone()),
                Entry::Ending(_) => None,
            })
            .collect();
        for running in running {
            for input in InputName::ALL {
                running.end_pull(input).await;
            }
        }
    }

    /// Ends everything that runs; statuses stay as they are for the next start.
    pub(super) async fn close(&self) {
        let entries = std::mem::take(&mut *self.lock());
        for entry in entries.into_values() {
            match entry {
                Entry::Running(running) => {
                    running.finish(&Refusal::Unavailable).await;
                    leave(running).await;
                }
                Entry::Ending(ending) => ending.finish().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the public may watch, as it changes; none where nothing runs.
    pub(super) fn open_to_viewers(&self, id: &EventId) -> Option<watch::Receiver<bool>> {
        Some(self.running(id)?.open.subscribe())
    }

    fn running(&self, id: &EventId) -> Option<Arc<Running>> {
        match self.lock().get(id) {
            Some(Entry::Running(running)) => Some(running.clone()),
            _ => None,
        }
    }

    fn start(&self, event: &Arc<Event>) {
        self.shared.previews.set(&event.id, Some(event.preview_token.clone()));
        match Running::start(&self.shared, event) {
            Ok(running) => {
                self.lock().insert(event.id.clone(), Entry::Running(running));
            }
            Err(error) => tracing::error!(event = %event.id, %error, "the event cannot be put on the origin"),
        }
    }

    /// A first start, as against one that goes on after the daemon was down: nothing of an earlier run is left.
    async fn start_anew(&self, event: &Arc<Event>) {
        let ending = self.lock().remove(&event.id);
        if let Some(Entry::Ending(ending)) = ending {
            ending.finish().await;
        }
        self.shared.origin.purge(event.id.as_str()).await;
        let now = to_wall(self.shared.clock.now());
        if let Err(error) = self.shared.store.set_output_shape(&event.id, None, now).await {
            tracing::error!(event = %event.id, %error, "the shape of an earlier run is not forgotten");
        }
        self.start(event);
    }

    /// Ends what runs. Viewers behind live get the rest for one hold-back time.
    async fn stop(&self, event: &Arc<Event>, running: Arc<Running>) {
        running.show(event);
        self.shared.previews.set(&event.id, None);
        let reason = Refusal::Inactive { status: event.status.to_string() };
        self.shared.rooms.close(&event.id);
        running.finish(&reason).await;
        let (now, shared, id) = (CancellationToken::new(), self.shared.clone(), event.id.clone());
        let (wait, hold_back) = (now.clone(), running.origin.hold_back());
        let done = self.shared.group.spawn("event end", async move {
            let rest = shared.clock.sleep_until(shared.clock.now() + hold_back);
            tokio::select! {
                () = rest => {}
                () = wait.cancelled() => {}
                // The daemon stops: what is on disk is deleted at its next start.
                () = shared.group.cancelled() => {}
            }
            leave(running).await;
            shared.origin.purge(id.as_str()).await;
        });
        self.lock().insert(event.id.clone(), Entry::Ending(Ending { now, done }));
    }
}

impl Ending {
    /// Without waiting for those behind live.
    async fn finish(self) {
        self.now.cancel();
        // A task that panicked has been logged.
        let _ = self.done.await;
    }
}

/// Takes an event off the origin, once nobody else holds it.
async fn leave(running: Arc<Running>) {
    match Arc::try_unwrap(running) {
        Ok(running) => running.origin.close().await,
        // A request that is looking at it lets go in a moment, and the event leaves with it.
        Err(running) => drop(running),
    }
}

impl Live for Registry {
    fn event_created(&self, event: Arc<Event>) -> Job<'_, ()> {
        Box::pin(async move { self.shared.doors.refresh(&event.id).await })
    }

    fn status_changed(&self, event: Arc<Event>, from: Status) -> Job<'_, ()> {
        Box::pin(async move {
            tracing::info!(event = %event.id, %from, to = %event.status, "status changed");
            match (self.running(&event.id), event.status.accepts_ingest()) {
                (Some(running), true) => running.show(&event),
                (Some(running), false) => self.stop(&event, running).await,
                (None, true) => self.start_anew(&event).await,
                (None, false) => {}
            }
            self.shared.doors.refresh(&event.id).await;
        })
    }

    fn event_changed(&self, event: Arc<Event>) -> Job<'_, ()> {
        // Languages, other origins and triggers are taken over while live. Ladder, frame rate, DVR and the floor's own
        // language hold from the next time the event is opened; pages read the rest from the store.
        Box::pin(async move {
            if let Some(running) = self.running(&event.id) {
                running.set(&event);
                running.list_origins(&self.shared, &event);
            }
            self.shared.doors.refresh(&event.id).await;
        })
    }

    fn event_deleted(&self, event: Arc<Event>) -> Job<'_, ()> {
        Box::pin(async move {
            self.shared.doors.refresh(&event.id).await;
            if let Some(running) = self.running(&event.id) {
                self.stop(&event, running).await;
            }
            let entry = self.lock().remove(&event.id);
            if let Some(Entry::Ending(ending)) = entry {
                ending.finish().await;
            }
            self.shared.origin.purge(event.id.as_str()).await;
        })
    }

    fn key_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()> {
        Box::pin(async move {
            self.shared.doors.refresh(&event.id).await;
            if let Some(running) = self.running(&event.id) {
                running.revoke_key(input);
            }
        })
    }

    fn check_pull<'a>(&'a self, url: &'a str) -> Job<'a, Result<(), String>> {
        Box::pin(async move {
            let source = Source::parse(url).map_err(|e| e.to_string())?;
            source.check(&self.shared.guard).await.map_err(|e| e.to_string())
        })
    }

    fn pull_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()> {
        Box::pin(async move {
            if let Some(running) = self.running(&event.id) {
                running.end_pull(input).await;
                if !self.draining.load(Ordering::Relaxed) {
                    running.start_pull(&self.shared, &event, input);
                }
            }
        })
    }

    fn input_selected(&self, event: Arc<Event>) -> Job<'_, ()> {
        Box::pin(async move {
            if let Some(running) = self.running(&event.id) {
                running.select(&event);
            }
        })
    }

    fn inputs(&self, event: &EventId) -> Option<serde_json::Value> {
        Some(self.running(event)?.inputs_json(self.shared.clock.now()))
    }

    fn preview(&self, event: &EventId) -> Job<'_, Option<Bytes>> {
        let preview = self.running(event).and_then(|running| running.preview());
        Box::pin(async move { preview.map(|p| p.jpeg) })
    }

    fn readiness(&self) -> Vec<Check> {
        let mut checks = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checks.push(Check { name: "drain".to_owned(), ok: !self.draining.load(Ordering::Relaxed) });
        checks
    }
}

impl Admission for Registry {
    fn admit(&self, request: Request) -> BoxFuture<'_, Result<Session, Refusal>> {
        Box::pin(async move {
            if self.draining.load(Ordering::Relaxed) {
                return Err(Refusal::Unavailable);
            }
            let owner = match self.shared.store.key_owner(request.key.expose_secret()).await {
                Ok(Some(owner)) => owner,
                Ok(None) => return Err(Refusal::WrongKey),
                Err(error) => {
                    tracing::error!(%error, "a stream key cannot be looked up");
                    return Err(Refusal::Unavailable);
                }
            };
            if !owner.event.status.accepts_ingest() {
                return Err(Refusal::Inactive { status: owner.event.status.to_string() });
            }
            // The status is stored before it is applied: between the two an encoder may try again.
            let running = self.running(&owner.event.id).ok_or(Refusal::Unavailable)?;
            let takeover = owner.event.inputs.get(owner.input).takeover;
            let newcomer = Newcomer { protocol: request.protocol, peer: request.peer, takeover, pulled: false };
            running.admit(&self.shared, owner.input, &newcomer)
        })
    }
}

impl Screen for Registry {
    fn screen(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Unavailable);
        }
        let door = self.shared.doors.find(key.expose_secret()).ok_or(Refusal::WrongKey)?;
        if !door.status.accepts_ingest() {
            return Err(Refusal::Inactive { status: door.status.to_string() });
        }
        // The status is stored before it is applied: between the two an encoder may try again.
        let running = self.running(&door.event).ok_or(Refusal::Unavailable)?;
        if !door.takeover && running.is_taken(door.input) {
            return Err(Refusal::Busy);
        }
        Ok(door.srt_passphrase.as_ref().map(|secret| SecretString::from(secret.expose())))
    }
}
