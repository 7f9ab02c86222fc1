//! Where events' timelines stand.

use super::model::{EventId, Timeline};
use super::{Store, StoreError, to_millis};
use crate::media::Ts;
use sqlx::Row;
use time::OffsetDateTime;

impl Store {
    /// An event's timeline; the default where none was noted yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn timeline(&self, id: &EventId) -> Result<Timeline, StoreError> {
        let row = sqlx::query("SELECT frame_rate, epoch, source, timeline, renditions FROM timelines WHERE event = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        let Some(row) = row else { return Ok(Timeline::default()) };
        let renditions: String = row.try_get("renditions").map_err(|e| self.fault(e))?;
        let source: Option<i64> = row.try_get("source").map_err(|e| self.fault(e))?;
        let timeline: Option<i64> = row.try_get("timeline").map_err(|e| self.fault(e))?;
        Ok(Timeline {
            frame_rate: row.try_get("frame_rate").map_err(|e| self.fault(e))?,
            epoch: row.try_get("epoch").map_err(|e| self.fault(e))?,
            anchor: source.zip(timeline).map(|(s, t)| (Ts::from_flicks(s), Ts::from_flicks(t))),
            renditions: serde_json::from_str(&renditions)
                .map_err(|e| self.corrupt(format!("a timeline's renditions cannot be read ({e})")))?,
        })
    }

    /// Notes an event's timeline; false when the event is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_timeline(
        &self,
        id: &EventId,
        timeline: &Timeline,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let renditions = serde_json::to_string(&timeline.renditions).map_err(|e| self.corrupt(e.to_string()))?;
        let done = sqlx::query(
            "INSERT INTO timelines (event, frame_rate, epoch, source, timeline, renditions, updated_at) \
             SELECT id, ?, ?, ?, ?, ?, ? FROM events WHERE id = ? \
             ON CONFLICT (event) DO UPDATE SET frame_rate = excluded.frame_rate, epoch = excluded.epoch, \
             source = excluded.source, timeline = excluded.timeline, renditions = excluded.renditions, \
             updated_at = excluded.updated_at",
        )
        .bind(timeline.frame_rate)
        .bind(timeline.epoch)
        .bind(timeline.anchor.map(|(source, _)| source.flicks()))
        .bind(timeline.anchor.map(|(_, at)| at.flicks()))
        .bind(renditions)
        .bind(to_millis(now))
        .bind(id.as_str())
        .execute(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        Ok(done.rows_affected() > 0)
    }
}
