//! Who may publish, in memory: for those who must answer without waiting for the store.

use crate::store::{EventId, KeyHash, Publication, Store, StoreError};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// All inputs by the hash of their key. Readers never wait; a change makes a new table.
pub(super) struct Doors {
    store: Store,
    table: ArcSwap<HashMap<KeyHash, Arc<Publication>>>,
    /// Changes come one after the other, so that what was read later is also written later.
    turn: Mutex<()>,
}

impl Doors {
    /// All that the store has.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn open(store: Store) -> Result<Doors, StoreError> {
        let all = store.publications(None).await?;
        let table = all.into_iter().map(|(hash, publication)| (hash, Arc::new(publication))).collect();
        Ok(Doors { store, table: ArcSwap::from_pointee(table), turn: Mutex::new(()) })
    }

    /// Where a key publishes; none for a wrong one.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Publication>> {
        self.table.load().get(&self.store.key_hash(key)).cloned()
    }

    /// Reads an event again after a change. Where that fails its keys open nothing until the next change.
    pub(super) async fn refresh(&self, event: &EventId) {
        let _turn = self.turn.lock().await;
        let fresh = self.store.publications(Some(event)).await.unwrap_or_else(|error| {
            tracing::error!(%event, %error, "the event's keys cannot be read; nobody can publish to it by SRT");
            Vec::new()
        });
        let mut table = HashMap::clone(&self.table.load());
        table.retain(|_, publication| publication.event != *event);
        table.extend(fresh.into_iter().map(|(hash, publication)| (hash, Arc::new(publication))));
        self.table.store(Arc::new(table));
    }
}
