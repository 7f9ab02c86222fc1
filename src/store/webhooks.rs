//! Webhooks: who is told of what happens in events.

use super::model::EventId;
use super::secret::{new_id, new_webhook_secret};
use super::{Secret, Store, StoreError, from_millis, rounded, to_millis};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

/// Webhooks of one server: each has a queue and a connection of its own.
pub const MAX_WEBHOOKS: i64 = 64;

/// A webhook that is to be made.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Of which event; none: of all.
    pub event: Option<EventId>,
    /// Of which kinds of notice; empty: of all.
    pub types: Vec<String>,
    /// Where notices are sent. It may hold secrets anywhere.
    pub url: Secret,
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Names it; no secret.
    pub id: String,
    /// As in [`NewWebhook`].
    pub event: Option<EventId>,
    /// As in [`NewWebhook`].
    pub types: Vec<String>,
    /// As in [`NewWebhook`].
    pub url: Secret,
    /// What notices are signed with: `whsec_` and 32 bytes in base64.
    pub secret: Secret,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// What became of a request for a webhook.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart by whoever asked, never kept")]
pub enum WebhookMade {
    /// The webhook.
    Done(Webhook),
    /// There are [`MAX_WEBHOOKS`].
    Full,
    /// No such event.
    Missing,
}

impl Store {
    /// Makes a webhook with a new secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_webhook(&self, new: NewWebhook, now: OffsetDateTime) -> Result<WebhookMade, StoreError> {
        let mut tx = self.write().await?;
        if let Some(event) = &new.event {
            let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM events WHERE id = ?")
                .bind(event.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
            if there.is_none() {
                return Ok(WebhookMade::Missing);
            }
        }
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM webhooks").fetch_one(&mut *tx).await.map_err(|e| self.fault(e))?;
        if count >= MAX_WEBHOOKS {
            return Ok(WebhookMade::Full);
        }
        let NewWebhook { event, types, url } = new;
        let (id, secret) = (new_id(), new_webhook_secret());
        let both = Secret::new(format!("{}\n{}", secret.expose(), url.expose()));
        let sealed = self.vault.seal(&id, &both).ok_or_else(|| self.corrupt("a webhook cannot be sealed"))?;
        sqlx::query("INSERT INTO webhooks (id, event, types, sealed, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(&id)
            .bind(event.as_ref().map(EventId::as_str))
            // Of plain strings: cannot fail, and would mean all kinds if it did.
            .bind(serde_json::to_string(&types).unwrap_or_else(|_| "[]".to_owned()))
            .bind(sealed)
            .bind(to_millis(now))
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(WebhookMade::Done(Webhook { id, event, types, url, secret, created_at: rounded(now) }))
    }

    /// All webhooks, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let rows = sqlx::query("SELECT id, event, types, sealed, created_at FROM webhooks ORDER BY created_at, rowid")
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.webhook_of(row)).collect()
    }

    /// Deletes a webhook; false when there is none with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_webhook(&self, id: &str) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM webhooks WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(done.rows_affected() > 0)
    }

    fn webhook_of(&self, row: &SqliteRow) -> Result<Webhook, StoreError> {
        let bad = |what: &str| self.corrupt(format!("a webhook's {what} cannot be read"));
        let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
        let id = text("id")?;
        let event: Option<String> = row.try_get("event").map_err(|e| self.fault(e))?;
        let sealed: Vec<u8> = row.try_get("sealed").map_err(|e| self.fault(e))?;
        let both = self.vault.open_sealed(&id, &sealed).ok_or_else(|| bad("secret"))?;
        let (secret, url) = both.expose().split_once('\n').ok_or_else(|| bad("secret"))?;
        Ok(Webhook {
            event: event.map(|e| EventId::parse(&e).ok_or_else(|| bad("event"))).transpose()?,
            types: serde_json::from_str(&text("types")?).map_err(|_| bad("types"))?,
            url: Secret::new(url),
            secret: Secret::new(secret),
            created_at: from_millis(row.try_get("created_at").map_err(|e| self.fault(e))?)
                .ok_or_else(|| bad("created_at"))?,
            id,
        })
    }
}
