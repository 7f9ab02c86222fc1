//! What events' outputs are modelled on.

use super::model::{EventId, OutputShape};
use super::{Store, StoreError, to_millis};
use sqlx::Row;
use time::OffsetDateTime;

impl Store {
    /// What an event's output was modelled on at first publish; none before it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn output_shape(&self, id: &EventId) -> Result<Option<OutputShape>, StoreError> {
        let row = sqlx::query("SELECT frame_rate, width, height FROM shapes WHERE event = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(OutputShape {
            frame_rate: row.try_get("frame_rate").map_err(|e| self.fault(e))?,
            width: row.try_get("width").map_err(|e| self.fault(e))?,
            height: row.try_get("height").map_err(|e| self.fault(e))?,
        }))
    }

    /// Notes what an event's output is modelled on, or with none forgets it; false when the event is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_output_shape(
        &self,
        id: &EventId,
        shape: Option<OutputShape>,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = match shape {
            Some(shape) => {
                sqlx::query(
                    "INSERT INTO shapes (event, frame_rate, width, height, measured_at) \
                     SELECT id, ?, ?, ?, ? FROM events WHERE id = ? \
                     ON CONFLICT (event) DO UPDATE SET frame_rate = excluded.frame_rate, width = excluded.width, \
                     height = excluded.height, measured_at = excluded.measured_at",
                )
                .bind(shape.frame_rate)
                .bind(shape.width)
                .bind(shape.height)
                .bind(to_millis(now))
                .bind(id.as_str())
                .execute(&self.pool)
                .await
            }
            None => sqlx::query("DELETE FROM shapes WHERE event = ?").bind(id.as_str()).execute(&self.pool).await,
        };
        Ok(done.map_err(|e| self.fault(e))?.rows_affected() > 0)
    }
}
