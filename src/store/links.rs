//! Secret links into rooms.

use super::access::{Link, LinkRole, NewLink};
use super::model::{EventId, LanguageKind, Settings};
use super::secret::{Purpose, new_id, new_link_secret};
use super::{Secret, Store, StoreError, from_millis, rounded, to_millis};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use time::OffsetDateTime;

/// Links of one event, those included that have ended: 64 languages with a booth and some participants each.
pub const MAX_LINKS: i64 = 2_000;

/// What became of a request for a link.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart by whoever asked, never kept")]
pub enum LinkMade {
    /// The link with its secret.
    Done(Link),
    /// The event has [`MAX_LINKS`].
    Full,
    /// No such event.
    Missing,
}

/// What is read of a link. A macro, since sqlx takes only literals as statements.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, event, role, language, second_language, video, sealed, created_at, expires_at, revoked_at ",
            "FROM links ",
            $rest
        )
    };
}

impl Store {
    /// Makes a link into an event's room.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_link(
        &self,
        event: &EventId,
        new: &NewLink,
        now: OffsetDateTime,
    ) -> Result<LinkMade, StoreError> {
        let mut tx = self.write().await?;
        let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM events WHERE id = ?")
            .bind(event.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if there.is_none() {
            return Ok(LinkMade::Missing);
        }
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM links WHERE event = ?")
            .bind(event.as_str())
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if count >= MAX_LINKS {
            return Ok(LinkMade::Full);
        }
        let link = self.insert_link(&mut tx, Some(event), new, now).await?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(LinkMade::Done(link))
    }

    /// An event's links, oldest first, those included that have ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn links(&self, event: &EventId) -> Result<Vec<Link>, StoreError> {
        let rows = sqlx::query(select!("WHERE event = ? ORDER BY created_at, rowid"))
            .bind(event.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.link_of(row)).collect()
    }

    /// The interpreters' links of some events that open now, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn booth_links(&self, events: &[&EventId], now: OffsetDateTime) -> Result<Vec<Link>, StoreError> {
        let ids: Vec<&str> = events.iter().map(|e| e.as_str()).collect();
        // Of plain strings: cannot fail, and would give no links if it did.
        let ids = serde_json::to_string(&ids).unwrap_or_default();
        let rows = sqlx::query(select!(
            "WHERE event IN (SELECT value FROM json_each(?)) AND role = 'interpreter' AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > ?) ORDER BY created_at, rowid"
        ))
        .bind(ids)
        .bind(to_millis(now))
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.link_of(row)).collect()
    }

    /// The link with this secret, also one that has ended; none for a wrong secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn link(&self, secret: &str) -> Result<Option<Link>, StoreError> {
        let row = sqlx::query(select!("WHERE hash = ?"))
            .bind(self.link_hash(secret))
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        row.map(|row| self.link_of(&row)).transpose()
    }

    /// Ends a link of an event; none when there is no such link, or it was revoked before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_link(
        &self,
        event: &EventId,
        id: &str,
        now: OffsetDateTime,
    ) -> Result<Option<Link>, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("UPDATE links SET revoked_at = ? WHERE id = ? AND event = ? AND revoked_at IS NULL")
            .bind(to_millis(now))
            .bind(id)
            .bind(event.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let row = sqlx::query(select!("WHERE id = ?")).bind(id).fetch_one(&mut *tx).await;
        let link = self.link_of(&row.map_err(|e| self.fault(e))?)?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(Some(link))
    }

    /// The standing link of the connection test, made when it is first asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn test_link(&self, now: OffsetDateTime) -> Result<Link, StoreError> {
        let mut tx = self.write().await?;
        let row = sqlx::query(select!("WHERE event IS NULL AND role = 'test' AND revoked_at IS NULL LIMIT 1"))
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if let Some(row) = row {
            return self.link_of(&row);
        }
        let new =
            NewLink { role: LinkRole::Test, language: None, second_language: None, video: false, expires_at: None };
        let link = self.insert_link(&mut tx, None, &new, now).await?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(link)
    }

    /// Makes a link for each booth that never had one.
    pub(super) async fn ensure_booth_links(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        event: &EventId,
        settings: &Settings,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let had: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT language FROM links WHERE event = ? AND role = 'interpreter'")
                .bind(event.as_str())
                .fetch_all(&mut **tx)
                .await
                .map_err(|e| self.fault(e))?;
        let interpreted = settings.languages.iter().filter(|l| l.kind == LanguageKind::Interpreted);
        for language in interpreted.filter(|l| !had.contains(&l.language)) {
            let new = NewLink {
                role: LinkRole::Interpreter,
                language: Some(language.language.clone()),
                second_language: None,
                video: true,
                expires_at: None,
            };
            self.insert_link(tx, Some(event), &new, now).await?;
        }
        Ok(())
    }

    fn link_hash(&self, secret: &str) -> Vec<u8> {
        self.vault.hash(Purpose::RoomLink, &[secret.as_bytes()]).to_vec()
    }

    async fn insert_link(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        event: Option<&EventId>,
        new: &NewLink,
        now: OffsetDateTime,
    ) -> Result<Link, StoreError> {
        let (id, secret) = (new_id(), new_link_secret());
        let sealed = self.vault.seal(&id, &secret).ok_or_else(|| self.corrupt("a link's secret cannot be sealed"))?;
        sqlx::query(
            "INSERT INTO links (id, event, role, language, second_language, video, hash, sealed, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(event.map(EventId::as_str))
        .bind(new.role.as_str())
        .bind(&new.language)
        .bind(&new.second_language)
        .bind(new.video)
        .bind(self.link_hash(secret.expose()))
        .bind(sealed)
        .bind(to_millis(now))
        .bind(new.expires_at.map(to_millis))
        .execute(&mut **tx)
        .await
        .map_err(|e| self.fault(e))?;
        Ok(Link {
            id,
            event: event.cloned(),
            role: new.role,
            language: new.language.clone(),
            second_language: new.second_language.clone(),
            video: new.video,
            secret,
            created_at: rounded(now),
            expires_at: new.expires_at.map(rounded),
            revoked_at: None,
        })
    }

    fn link_of(&self, row: &SqliteRow) -> Result<Link, StoreError> {
        let bad = |what: &str| self.corrupt(format!("a link's {what} cannot be read"));
        let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
        let maybe = |column: &str| row.try_get::<Option<String>, _>(column).map_err(|e| self.fault(e));
        let time = |column: &str| -> Result<Option<OffsetDateTime>, StoreError> {
            let ms: Option<i64> = row.try_get(column).map_err(|e| self.fault(e))?;
            ms.map(|ms| from_millis(ms).ok_or_else(|| bad(column))).transpose()
        };
        let id = text("id")?;
        let sealed: Vec<u8> = row.try_get("sealed").map_err(|e| self.fault(e))?;
        let secret: Secret = self.vault.open_sealed(&id, &sealed).ok_or_else(|| bad("secret"))?;
        Ok(Link {
            event: maybe("event")?.map(|e| EventId::parse(&e).ok_or_else(|| bad("event"))).transpose()?,
            role: LinkRole::from_name(&text("role")?).ok_or_else(|| bad("role"))?,
            language: maybe("language")?,
            second_language: maybe("second_language")?,
            video: row.try_get("video").map_err(|e| self.fault(e))?,
            secret,
            created_at: time("created_at")?.ok_or_else(|| bad("created_at"))?,
            expires_at: time("expires_at")?,
            revoked_at: time("revoked_at")?,
            id,
        })
    }
}
