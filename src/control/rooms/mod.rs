//! Booths, the management room and realtime participants: links, WebSockets, WHIP and WHEP, and the running rooms.
//!
//! **Data flow.** A secret link ([`link`]) lets a page in: its WebSocket ([`socket`]) sends commands to the event's
//! [`Hall`], which holds the [`Room`](crate::booth::Room), tells everybody the state, and hands the mix plan to
//! [`RoomMedia`]; its voice and its ears are WHIP and WHEP sessions ([`peers`]) that the hall owns.
//! **Bound.** People, names, chat and rates as in [`crate::booth`]; sessions [`hall::MAX_SESSIONS`]; a socket's queue
//! [`hall::BACKLOG`]; a message [`socket::MAX_MESSAGE`]; an offer [`peers::MAX_SDP`].
//! **A slow socket** whose queue is full is disconnected, and told so.
//! **Locks.** One per event, held for a change and never across an await; [`RoomMedia`]'s calls that do not wait are
//! made under it, so that plans come in order. A voice's own lock is taken without it.

pub(super) mod booths;
mod hall;
pub(super) mod info;
pub(super) mod link;
mod media;
pub(super) mod peers;
pub(super) mod probes;
pub(super) mod protocol;
pub(super) mod socket;
mod view;
mod voice;

pub use media::{Answered, OfferError, Peer, PeerFigures, RoomMedia, RoomSource, Sound, Taken};
pub use voice::VoiceIn;

use crate::booth::BoothSpec;
use crate::control::Notices;
use crate::media::{SharedClock, VoiceId, VoiceReport};
use crate::store::{BoothRow, Event, EventId, LanguageKind, Store, StoreError};
use crate::task::Group;
use hall::Hall;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all events' rooms use.
struct Shared {
    media: Arc<dyn RoomMedia>,
    store: Store,
    notices: Notices,
    clock: SharedClock,
    tasks: Group,
    halls: Mutex<HashMap<EventId, Arc<Hall>>>,
}

/// The rooms of all events. Clones share them.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

impl Rooms {
    pub(super) fn new(
        media: Arc<dyn RoomMedia>,
        store: Store,
        notices: Notices,
        clock: SharedClock,
        tasks: Group,
    ) -> Rooms {
        Rooms(Arc::new(Shared { media, store, notices, clock, tasks, halls: Mutex::default() }))
    }

    /// Opens the rooms of all events that run, at start.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self) -> Result<(), StoreError> {
        for event in self.0.store.running_events().await? {
            self.sync(&Arc::new(event)).await?;
        }
        Ok(())
    }

    /// Brings an event's rooms in step with what is stored: open in preview, started and paused, with its languages
    /// and the booths' settings. To be called in the event's turn.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn sync(&self, event: &Arc<Event>) -> Result<(), StoreError> {
        if !event.status.accepts_ingest() {
            self.close(&event.id, &format!("The event is {}.", event.status));
            return Ok(());
        }
        let specs = specs(event, &self.0.store.booths(&event.id).await?);
        let open = self.lock().get(&event.id).cloned();
        match open {
            Some(hall) => hall.configure(event.clone(), specs),
            None => {
                let hall = Hall::open(self.clone(), event.clone(), specs);
                self.lock().insert(event.id.clone(), hall);
            }
        }
        Ok(())
    }

    /// Closes an event's rooms.
    pub(super) fn close(&self, event: &EventId, why: &str) {
        let hall = self.lock().remove(event);
        if let Some(hall) = hall {
            hall.close("event", why);
        }
    }

    /// A link or token ends: everybody whom it let in is closed, at once.
    pub(super) fn revoke(&self, event: &EventId, link: &str, reason: &'static str) {
        if let Some(hall) = self.hall(event) {
            hall.revoke(link, reason);
        }
    }

    /// Works the mix plan out again: the renditions of the event's languages have changed.
    pub fn replan(&self, event: &EventId) {
        if let Some(hall) = self.hall(event) {
            hall.replan();
        }
    }

    /// How the event's voices arrive and sound, as its engine reports.
    pub fn voices(&self, event: &EventId, reports: &[(VoiceId, VoiceReport)]) {
        if let Some(hall) = self.hall(event) {
            hall.reports(reports);
        }
    }

    /// How loud the floor and the languages' mixes are, dB relative to full scale; as often as the engine likes.
    pub fn levels(&self, event: &EventId, floor_db: f32, languages: &[(String, f32)]) {
        if let Some(hall) = self.hall(event) {
            hall.levels(floor_db, languages);
        }
    }

    pub(super) fn media(&self) -> &dyn RoomMedia {
        &*self.0.media
    }

    fn hall(&self, event: &EventId) -> Option<Arc<Hall>> {
        self.lock().get(event).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Arc<Hall>>> {
        self.0.halls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The booths of an event: one per interpreted language.
fn specs(event: &Event, rows: &[BoothRow]) -> Vec<BoothSpec> {
    let interpreted = event.settings.languages.iter().filter(|l| l.kind == LanguageKind::Interpreted);
    let spec = |language: &str| {
        let row = rows.iter().find(|r| r.language == language);
        let level = row.and_then(|r| r.floor_level_db).unwrap_or(event.settings.floor_level_db());
        BoothSpec {
            language: language.to_owned(),
            second_language: row.and_then(|r| r.second_language.clone()),
            muted: row.is_some_and(|r| r.muted),
            floor_level_db: level as f32,
        }
    };
    interpreted.map(|l| spec(&l.language)).collect()
}
