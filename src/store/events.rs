//! Events.

use super::model::{Event, EventId, Input, Inputs, Keys, PullFrom, Selection, Settings, Status};
use super::secret::{Purpose, new_id, new_nonce, new_stream_key};
use super::{Secret, Store, StoreError, from_millis, rounded, to_millis};
use crate::media::InputName;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use time::OffsetDateTime;

/// Reads events with both their inputs, one row each. A macro, since sqlx takes only literals as statements.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.revision, e.status, e.status_changed_at, e.started_at, e.ended_at, e.input_selection, ",
            "e.preview_nonce, e.settings, e.created_at, e.updated_at, m.key_set_at AS main_set, ",
            "m.takeover AS main_takeover, m.srt_passphrase AS main_srt, b.key_set_at AS backup_set, ",
            "b.takeover AS backup_takeover, b.srt_passphrase AS backup_srt, ",
            "mp.sealed AS main_pull, mp.set_at AS main_pull_set, bp.sealed AS backup_pull, bp.set_at AS backup_pull_set ",
            "FROM events e JOIN inputs m ON m.event = e.id AND m.input = 'main' ",
            "JOIN inputs b ON b.event = e.id AND b.input = 'backup' ",
            "LEFT JOIN pulls mp ON mp.event = e.id AND mp.input = 'main' ",
            "LEFT JOIN pulls bp ON bp.event = e.id AND bp.input = 'backup' ",
            $rest
        )
    };
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Creation of the last event shown, in Unix milliseconds.
    pub created_at: i64,
    /// Its id.
    pub id: String,
}

/// One page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events.
    pub items: Vec<Event>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<Cursor>,
}

/// What became of a request to change the status.
#[derive(Clone, Debug)]
pub enum StatusChange {
    /// Changed; the former status beside it.
    Done(Event, Status),
    /// It has that status already.
    Same(Event),
    /// Not from the status that it has.
    Refused(Event),
    /// No such event.
    Missing,
}

/// What became of a request to change an event.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart by whoever asked, never kept")]
pub enum Change<E> {
    /// Changed, or the same already.
    Done(Event),
    /// The caller's check said no.
    Refused(E),
    /// No such event.
    Missing,
}

/// Whose key a publisher has shown.
#[derive(Clone, Debug)]
pub struct KeyOwner {
    /// The event.
    pub event: Event,
    /// Which of its inputs.
    pub input: InputName,
}

impl Store {
    /// Makes an event, `inactive`, with its keys, which are not to be had again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_event(
        &self,
        settings: &Settings,
        inputs: &InputsSettings,
        now: OffsetDateTime,
    ) -> Result<(Event, Keys), StoreError> {
        let id = new_id();
        let at = to_millis(now);
        let keys = Keys { main: new_stream_key(), backup: new_stream_key() };
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO events (id, revision, name, status, status_changed_at, input_selection, preview_nonce, settings, \
             created_at, updated_at) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&settings.name)
        .bind(Status::Inactive.as_str())
        .bind(at)
        .bind(Selection::Auto.as_str())
        .bind(&new_nonce()[..])
        .bind(self.encode(settings)?)
        .bind(at)
        .bind(at)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.fault(e))?;
        let inputs = [(InputName::Main, &keys.main, &inputs.main), (InputName::Backup, &keys.backup, &inputs.backup)];
        for (input, key, set) in inputs {
            sqlx::query(
                "INSERT INTO inputs (event, input, key_hash, key_set_at, takeover, srt_passphrase) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&id)
            .bind(input.as_str())
            .bind(&self.key_hash(key.expose()).0[..])
            .bind(at)
            .bind(set.takeover)
            .bind(self.sealed_passphrase(&id, input, set.srt_passphrase.as_ref())?)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        }
        let event = self.read_event(&mut tx, &id).await?;
        if let Some(event) = &event {
            self.ensure_booth_links(&mut tx, &event.id, settings, now).await?;
        }
        tx.commit().await.map_err(|e| self.fault(e))?;
        // Read back within the transaction that wrote it.
        let event = event.ok_or_else(|| self.corrupt("an event vanished as it was made"))?;
        Ok((event, keys))
    }

    /// One event.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let row = sqlx::query(select!("WHERE e.id = ?")).bind(id.as_str()).fetch_optional(&self.pool).await;
        row.map_err(|e| self.fault(e))?.map(|row| self.event_of(&row)).transpose()
    }

    /// Up to `limit` events after `cursor`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(
        &self,
        status: Option<Status>,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let start = Cursor { created_at: i64::MAX, id: String::new() };
        let cursor = cursor.unwrap_or(&start);
        let rows = sqlx::query(select!(
            "WHERE (e.created_at, e.id) < (?, ?) AND (? IS NULL OR e.status = ?) ORDER BY e.created_at DESC, e.id DESC LIMIT ?"
        ))
        .bind(cursor.created_at)
        .bind(&cursor.id)
        .bind(status.map(Status::as_str))
        .bind(status.map(Status::as_str))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        let mut items = rows.iter().map(|row| self.event_of(row)).collect::<Result<Vec<Event>, StoreError>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|e| Cursor { created_at: to_millis(e.created_at), id: e.id.as_str().to_owned() });
        Ok(Page { items, next })
    }

    /// Events that accept contribution, to take up after a restart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn running_events(&self) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(select!("WHERE e.status IN ('preview', 'started', 'paused') ORDER BY e.created_at"))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.event_of(row)).collect()
    }

    /// Changes the status where the matrix allows it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_status(
        &self,
        id: &EventId,
        next: Status,
        now: OffsetDateTime,
    ) -> Result<StatusChange, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = self.read_event(&mut tx, id.as_str()).await? else { return Ok(StatusChange::Missing) };
        if before.status == next {
            return Ok(StatusChange::Same(before));
        }
        if !before.status.may_become(next) {
            return Ok(StatusChange::Refused(before));
        }
        let at = to_millis(now);
        let started = (next == Status::Started && before.status != Status::Paused).then_some(at);
        let ended = (next == Status::Ended).then_some(at);
        sqlx::query(
            "UPDATE events SET status = ?, status_changed_at = ?, started_at = coalesce(?, started_at), \
             ended_at = coalesce(?, ended_at), revision = revision + 1, updated_at = ? WHERE id = ?",
        )
        .bind(next.as_str())
        .bind(at)
        .bind(started)
        .bind(ended)
        .bind(at)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.fault(e))?;
        let after = self.finish(tx, id).await?;
        Ok(StatusChange::Done(after, before.status))
    }

    /// Changes settings: `edit` gets the present ones and changes them, or says why not. Nothing is written when nothing changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_event<E>(
        &self,
        id: &EventId,
        now: OffsetDateTime,
        edit: impl FnOnce(&Event, &mut Settings, &mut InputsSettings) -> Result<(), E> + Send,
    ) -> Result<Change<E>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = self.read_event(&mut tx, id.as_str()).await? else { return Ok(Change::Missing) };
        let mut settings = before.settings.clone();
        let mut inputs = InputsSettings::of(&before.inputs);
        if let Err(refusal) = edit(&before, &mut settings, &mut inputs) {
            return Ok(Change::Refused(refusal));
        }
        if settings == before.settings && inputs == InputsSettings::of(&before.inputs) {
            return Ok(Change::Done(before));
        }
        sqlx::query("UPDATE events SET name = ?, settings = ?, revision = revision + 1, updated_at = ? WHERE id = ?")
            .bind(&settings.name)
            .bind(self.encode(&settings)?)
            .bind(to_millis(now))
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        for (input, set) in [(InputName::Main, &inputs.main), (InputName::Backup, &inputs.backup)] {
            sqlx::query("UPDATE inputs SET takeover = ?, srt_passphrase = ? WHERE event = ? AND input = ?")
                .bind(set.takeover)
                .bind(self.sealed_passphrase(id.as_str(), input, set.srt_passphrase.as_ref())?)
                .bind(id.as_str())
                .bind(input.as_str())
                .execute(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
        }
        self.ensure_booth_links(&mut tx, id, &settings, now).await?;
        Ok(Change::Done(self.finish(tx, id).await?))
    }

    /// Notes a manager's choice of input, where `allowed` of the event says so; else gives the event back as refused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn select_input(
        &self,
        id: &EventId,
        selection: Selection,
        now: OffsetDateTime,
        allowed: impl FnOnce(&Event) -> bool + Send,
    ) -> Result<Change<Event>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = self.read_event(&mut tx, id.as_str()).await? else { return Ok(Change::Missing) };
        if !allowed(&before) {
            return Ok(Change::Refused(before));
        }
        if before.input_selection == selection {
            return Ok(Change::Done(before));
        }
        sqlx::query("UPDATE events SET input_selection = ?, revision = revision + 1, updated_at = ? WHERE id = ?")
            .bind(selection.as_str())
            .bind(to_millis(now))
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        Ok(Change::Done(self.finish(tx, id).await?))
    }

    /// Deletes an event with its keys and all else that is stored of it, where `allowed` of the event says so; else gives it back as refused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_event(
        &self,
        id: &EventId,
        allowed: impl FnOnce(&Event) -> bool + Send,
    ) -> Result<Change<Event>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = self.read_event(&mut tx, id.as_str()).await? else { return Ok(Change::Missing) };
        if !allowed(&before) {
            return Ok(Change::Refused(before));
        }
        sqlx::query("DELETE FROM events WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(Change::Done(before))
    }

    /// A new key for an input. The old one ends with this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_key(
        &self,
        id: &EventId,
        input: InputName,
        now: OffsetDateTime,
    ) -> Result<Option<(Event, Secret)>, StoreError> {
        let key = new_stream_key();
        let mut tx = self.write().await?;
        let changed = sqlx::query("UPDATE inputs SET key_hash = ?, key_set_at = ? WHERE event = ? AND input = ?")
            .bind(&self.key_hash(key.expose()).0[..])
            .bind(to_millis(now))
            .bind(id.as_str())
            .bind(input.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if changed.rows_affected() == 0 {
            return Ok(None);
        }
        self.revise(&mut tx, id, now).await?;
        Ok(Some((self.finish(tx, id).await?, key)))
    }

    /// Counts a change of an event.
    async fn revise(
        &self,
        tx: &mut sqlx::SqliteConnection,
        id: &EventId,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE events SET revision = revision + 1, updated_at = ? WHERE id = ?")
            .bind(to_millis(now))
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        Ok(())
    }

    /// Sets what an input is pulled from, or that it is not. The same address again changes nothing; none for no such event.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_pull(
        &self,
        id: &EventId,
        input: InputName,
        url: Option<&Secret>,
        now: OffsetDateTime,
    ) -> Result<Option<(Event, bool)>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = self.read_event(&mut tx, id.as_str()).await? else { return Ok(None) };
        if before.inputs.get(input).pull.as_ref().map(|p| &p.url) == url {
            return Ok(Some((before, false)));
        }
        let done = match url {
            Some(url) => {
                let sealed = self.vault.seal(&pull_row(id, input), url);
                let sealed = sealed.ok_or_else(|| self.corrupt("a pull address cannot be sealed"))?;
                sqlx::query("INSERT OR REPLACE INTO pulls (event, input, sealed, set_at) VALUES (?, ?, ?, ?)")
                    .bind(id.as_str())
                    .bind(input.as_str())
                    .bind(sealed)
                    .bind(to_millis(now))
                    .execute(&mut *tx)
                    .await
            }
            None => {
                sqlx::query("DELETE FROM pulls WHERE event = ? AND input = ?")
                    .bind(id.as_str())
                    .bind(input.as_str())
                    .execute(&mut *tx)
                    .await
            }
        };
        done.map_err(|e| self.fault(e))?;
        self.revise(&mut tx, id, now).await?;
        Ok(Some((self.finish(tx, id).await?, true)))
    }

    /// Whose stream key this is; none for a wrong or revoked one. What the event's status admits is the caller's to ask.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_owner(&self, key: &str) -> Result<Option<KeyOwner>, StoreError> {
        let mut tx = self.pool.begin().await.map_err(|e| self.fault(e))?;
        let row = sqlx::query("SELECT event, input FROM inputs WHERE key_hash = ?")
            .bind(&self.key_hash(key).0[..])
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        let Some(row) = row else { return Ok(None) };
        let (id, input): (String, String) =
            (row.try_get("event").map_err(|e| self.fault(e))?, row.try_get("input").map_err(|e| self.fault(e))?);
        let input = InputName::ALL.into_iter().find(|i| i.as_str() == input);
        let event = self.read_event(&mut tx, &id).await?;
        Ok(event.zip(input).map(|(event, input)| KeyOwner { event, input }))
    }

    /// The hash that a stream key is known by.
    pub fn key_hash(&self, key: &str) -> KeyHash {
        KeyHash(self.vault.hash(Purpose::StreamKey, &[key.as_bytes()]))
    }

    /// Who may publish where, of one event or of all: for those who must decide without waiting for the store.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn publications(&self, event: Option<&EventId>) -> Result<Vec<(KeyHash, Publication)>, StoreError> {
        let rows = sqlx::query(
            "SELECT e.id, e.status, i.input, i.key_hash, i.takeover, i.srt_passphrase FROM inputs i \
             JOIN events e ON e.id = i.event WHERE ? IS NULL OR e.id = ?",
        )
        .bind(event.map(EventId::as_str))
        .bind(event.map(EventId::as_str))
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.publication_of(row)).collect()
    }

    fn publication_of(&self, row: &SqliteRow) -> Result<(KeyHash, Publication), StoreError> {
        let bad = |what: &str| self.corrupt(format!("an input's {what} cannot be read"));
        let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
        let event = EventId::parse(&text("id")?).ok_or_else(|| bad("event"))?;
        let name = text("input")?;
        let input = InputName::ALL.into_iter().find(|i| i.as_str() == name).ok_or_else(|| bad("name"))?;
        let hash: Vec<u8> = row.try_get("key_hash").map_err(|e| self.fault(e))?;
        let publication = Publication {
            status: Status::from_stored(&text("status")?).ok_or_else(|| bad("status"))?,
            takeover: row.try_get("takeover").map_err(|e| self.fault(e))?,
            srt_passphrase: self.passphrase_of(row, "srt_passphrase", event.as_str(), input)?,
            event,
            input,
        };
        Ok((KeyHash(hash.try_into().map_err(|_| bad("key"))?), publication))
    }

    /// Sealed for the input that it belongs to; none for none.
    fn sealed_passphrase(
        &self,
        event: &str,
        input: InputName,
        passphrase: Option<&Secret>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let seal = |secret| self.vault.seal(&passphrase_row(event, input), secret);
        passphrase.map(|secret| seal(secret).ok_or_else(|| self.corrupt("a passphrase cannot be sealed"))).transpose()
    }

    fn passphrase_of(
        &self,
        row: &SqliteRow,
        column: &str,
        event: &str,
        input: InputName,
    ) -> Result<Option<Secret>, StoreError> {
        let sealed: Option<Vec<u8>> = row.try_get(column).map_err(|e| self.fault(e))?;
        let open = |sealed: Vec<u8>| self.vault.open_sealed(&passphrase_row(event, input), &sealed);
        sealed.map(|s| open(s).ok_or_else(|| self.corrupt("an SRT passphrase cannot be read"))).transpose()
    }

    fn encode(&self, settings: &Settings) -> Result<String, StoreError> {
        // Of plain fields and string keys: cannot fail, and if it did, nothing is written.
        serde_json::to_string(settings).map_err(|e| self.corrupt(e.to_string()))
    }

    async fn read_event(&self, tx: &mut Transaction<'_, Sqlite>, id: &str) -> Result<Option<Event>, StoreError> {
        let row = sqlx::query(select!("WHERE e.id = ?")).bind(id).fetch_optional(&mut **tx).await;
        row.map_err(|e| self.fault(e))?.map(|row| self.event_of(&row)).transpose()
    }

    /// Reads the event as it is after a change, and commits.
    async fn finish(&self, mut tx: Transaction<'_, Sqlite>, id: &EventId) -> Result<Event, StoreError> {
        let event = self.read_event(&mut tx, id.as_str()).await?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        event.ok_or_else(|| self.corrupt("an event vanished as it was changed"))
    }

    fn event_of(&self, row: &SqliteRow) -> Result<Event, StoreError> {
        let bad = |what: &str| self.corrupt(format!("an event's {what} cannot be read"));
        let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
        let time = |column: &str| -> Result<OffsetDateTime, StoreError> {
            let ms: i64 = row.try_get(column).map_err(|e| self.fault(e))?;
            from_millis(ms).ok_or_else(|| bad(column))
        };
        let maybe_time = |column: &str| -> Result<Option<OffsetDateTime>, StoreError> {
            let ms: Option<i64> = row.try_get(column).map_err(|e| self.fault(e))?;
            ms.map(|ms| from_millis(ms).ok_or_else(|| bad(column))).transpose()
        };
        let takeover = |column: &str| row.try_get::<bool, _>(column).map_err(|e| self.fault(e));
        let id = EventId::parse(&text("id")?).ok_or_else(|| bad("id"))?;
        let pull = |column: &str, set: &str, input: InputName| -> Result<Option<PullFrom>, StoreError> {
            let sealed: Option<Vec<u8>> = row.try_get(column).map_err(|e| self.fault(e))?;
            let Some(sealed) = sealed else { return Ok(None) };
            let url = self.vault.open_sealed(&pull_row(&id, input), &sealed).ok_or_else(|| bad("pull address"))?;
            Ok(Some(PullFrom { url, set_at: maybe_time(set)?.ok_or_else(|| bad("pull time"))? }))
        };
        let nonce: Vec<u8> = row.try_get("preview_nonce").map_err(|e| self.fault(e))?;
        let revision: i64 = row.try_get("revision").map_err(|e| self.fault(e))?;
        let mut settings: Settings =
            serde_json::from_str(&text("settings")?).map_err(|e| bad(&format!("settings ({e})")))?;
        settings.scheduled_start = settings.scheduled_start.map(rounded);
        Ok(Event {
            revision: u64::try_from(revision).map_err(|_| bad("revision"))?,
            status: Status::from_stored(&text("status")?).ok_or_else(|| bad("status"))?,
            status_changed_at: time("status_changed_at")?,
            started_at: maybe_time("started_at")?,
            ended_at: maybe_time("ended_at")?,
            input_selection: Selection::from_stored(&text("input_selection")?).ok_or_else(|| bad("input selection"))?,
            settings,
            inputs: Inputs {
                main: Input {
                    key_set_at: time("main_set")?,
                    takeover: takeover("main_takeover")?,
                    pull: pull("main_pull", "main_pull_set", InputName::Main)?,
                    srt_passphrase: self.passphrase_of(row, "main_srt", id.as_str(), InputName::Main)?,
                },
                backup: Input {
                    key_set_at: time("backup_set")?,
                    takeover: takeover("backup_takeover")?,
                    pull: pull("backup_pull", "backup_pull_set", InputName::Backup)?,
                    srt_passphrase: self.passphrase_of(row, "backup_srt", id.as_str(), InputName::Backup)?,
                },
            },
            created_at: time("created_at")?,
            updated_at: time("updated_at")?,
            preview_token: self.vault.preview_token(id.as_str(), &nonce),
            id,
        })
    }
}

/// What a sealed address is tied to: one of another input or event does not open.
fn pull_row(event: &EventId, input: InputName) -> String {
    format!("pull/{event}/{}", input.as_str())
}

/// What a passphrase is sealed to: its input.
fn passphrase_row(event: &str, input: InputName) -> String {
    format!("{event}/{}", input.as_str())
}

/// What managers set of an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputSettings {
    /// Whether a second publisher takes over from the first.
    pub takeover: bool,
    /// What SRT publishers must know besides the key.
    pub srt_passphrase: Option<Secret>,
}

/// What managers set of both inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputsSettings {
    /// Main.
    pub main: InputSettings,
    /// Backup.
    pub backup: InputSettings,
}

impl InputsSettings {
    /// As an event has them.
    pub fn of(inputs: &Inputs) -> InputsSettings {
        let one =
            |input: &Input| InputSettings { takeover: input.takeover, srt_passphrase: input.srt_passphrase.clone() };
        InputsSettings { main: one(&inputs.main), backup: one(&inputs.backup) }
    }
}

/// The keyed hash of a stream key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// Where a stream key publishes, and on what terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// The event.
    pub event: EventId,
    /// Which of its inputs.
    pub input: InputName,
    /// Where the event stands.
    pub status: Status,
    /// Whether a second publisher takes over from the first.
    pub takeover: bool,
    /// What SRT publishers must know besides the key.
    pub srt_passphrase: Option<Secret>,
}
