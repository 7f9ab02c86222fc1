//! What managers set of booths, and results of connection tests.

use super::model::{BoothRow, ConnectionTest, EventId, NewConnectionTest};
use super::secret::new_id;
use super::{Store, StoreError, from_millis, rounded, to_millis};
use sqlx::Row;
use time::OffsetDateTime;

impl Store {
    /// What is set of an event's booths.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn booths(&self, event: &EventId) -> Result<Vec<BoothRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT language, second_language, muted, floor_level_db FROM booths WHERE event = ? ORDER BY language",
        )
        .bind(event.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(BoothRow {
                language: row.try_get("language").map_err(|e| self.fault(e))?,
                second_language: row.try_get("second_language").map_err(|e| self.fault(e))?,
                muted: row.try_get("muted").map_err(|e| self.fault(e))?,
                floor_level_db: row.try_get("floor_level_db").map_err(|e| self.fault(e))?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Changes what is set of a booth: `edit` gets the present settings. None when the event is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_booth(
        &self,
        event: &EventId,
        language: &str,
        edit: impl FnOnce(&mut BoothRow) + Send,
    ) -> Result<Option<BoothRow>, StoreError> {
        let mut tx = self.write().await?;
        let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM events WHERE id = ?")
            .bind(event.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        if there.is_none() {
            return Ok(None);
        }
        let row =
            sqlx::query("SELECT second_language, muted, floor_level_db FROM booths WHERE event = ? AND language = ?")
                .bind(event.as_str())
                .bind(language)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
        let mut booth = BoothRow { language: language.to_owned(), ..BoothRow::default() };
        if let Some(row) = row {
            booth.second_language = row.try_get("second_language").map_err(|e| self.fault(e))?;
            booth.muted = row.try_get("muted").map_err(|e| self.fault(e))?;
            booth.floor_level_db = row.try_get("floor_level_db").map_err(|e| self.fault(e))?;
        }
        edit(&mut booth);
        sqlx::query(
            "INSERT INTO booths (event, language, second_language, muted, floor_level_db) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (event, language) DO UPDATE SET second_language = excluded.second_language, \
             muted = excluded.muted, floor_level_db = excluded.floor_level_db",
        )
        .bind(event.as_str())
        .bind(language)
        .bind(&booth.second_language)
        .bind(booth.muted)
        .bind(booth.floor_level_db)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.fault(e))?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(Some(booth))
    }

    /// Keeps the result of a connection test.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_connection_test(
        &self,
        new: NewConnectionTest,
        now: OffsetDateTime,
    ) -> Result<ConnectionTest, StoreError> {
        let test = ConnectionTest { id: new_id(), at: rounded(now), result: new };
        let result = &test.result;
        sqlx::query(
            "INSERT INTO connection_tests (id, event, at, name, email, place, ping_ms, jitter_ms, loss_up, loss_down, \
             transport, grade) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&test.id)
        .bind(result.event.as_ref().map(EventId::as_str))
        .bind(to_millis(now))
        .bind(&result.name)
        .bind(&result.email)
        .bind(&result.place)
        .bind(result.ping_ms)
        .bind(result.jitter_ms)
        .bind(result.loss_up)
        .bind(result.loss_down)
        .bind(&result.transport)
        .bind(&result.grade)
        .execute(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        Ok(test)
    }

    /// Up to `limit` results, newest first, from after the place `cursor` in that order; and the cursor of those that
    /// follow, if there are more. The order is the one in which they were kept: many can be of one millisecond.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn connection_tests(
        &self,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<ConnectionTest>, Option<i64>), StoreError> {
        let mut rows = sqlx::query(
            "SELECT rowid, id, event, at, name, email, place, ping_ms, jitter_ms, loss_up, loss_down, transport, grade \
             FROM connection_tests WHERE rowid < ? ORDER BY rowid DESC LIMIT ?",
        )
        .bind(cursor.unwrap_or(i64::MAX))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| row.try_get("rowid").map_err(|e| self.fault(e))).transpose()?;
        let bad = |what: &str| self.corrupt(format!("a connection test's {what} cannot be read"));
        let mut tests = Vec::with_capacity(rows.len());
        for row in &rows {
            let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
            let maybe = |column: &str| row.try_get::<Option<String>, _>(column).map_err(|e| self.fault(e));
            let number = |column: &str| row.try_get::<Option<f64>, _>(column).map_err(|e| self.fault(e));
            let at: i64 = row.try_get("at").map_err(|e| self.fault(e))?;
            let event = maybe("event")?.map(|e| EventId::parse(&e).ok_or_else(|| bad("event"))).transpose()?;
            let result = NewConnectionTest {
                event,
                name: text("name")?,
                email: text("email")?,
                place: text("place")?,
                ping_ms: number("ping_ms")?,
                jitter_ms: number("jitter_ms")?,
                loss_up: number("loss_up")?,
                loss_down: number("loss_down")?,
                transport: maybe("transport")?,
                grade: maybe("grade")?,
            };
            tests.push(ConnectionTest { id: text("id")?, at: from_millis(at).ok_or_else(|| bad("time"))?, result });
        }
        Ok((tests, next))
    }

    /// Deletes a result; false when there is none with that id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_connection_test(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM connection_tests WHERE id = ?").bind(id).execute(&self.pool).await;
        Ok(done.map_err(|e| self.fault(e))?.rows_affected() > 0)
    }

    /// Deletes the results from before `limit`, and gives their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_connection_tests(&self, limit: OffsetDateTime) -> Result<u64, StoreError> {
        let done =
            sqlx::query("DELETE FROM connection_tests WHERE at < ?").bind(to_millis(limit)).execute(&self.pool).await;
        Ok(done.map_err(|e| self.fault(e))?.rows_affected())
    }
}
