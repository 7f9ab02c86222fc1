//! API tokens.

use super::access::{Role, Token, TokenOrigin};
use super::secret::{Purpose, new_api_token, new_id};
use super::{Secret, Store, StoreError, from_millis, to_millis};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use time::OffsetDateTime;

/// What the first start did about the admin token.
#[derive(Clone, Debug)]
pub enum FirstToken {
    /// There was no token: this one was made, and is to be shown once.
    Made(Secret),
    /// The environment's token is the admin's.
    FromEnvironment,
    /// There are tokens already.
    Present,
}

impl Store {
    /// Makes a token with `role` and gives it in clear, once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_token(
        &self,
        role: Role,
        origin: TokenOrigin,
        now: OffsetDateTime,
    ) -> Result<(Token, Secret), StoreError> {
        let secret = new_api_token();
        let mut tx = self.write().await?;
        let token = self.insert_token(&mut tx, &secret, role, origin, now).await?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok((token, secret))
    }

    /// Sees to it that somebody can log in. With `environment` that is the admin token, and replaces the one that the
    /// environment gave before; without it, and without any token, one is made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_token(
        &self,
        environment: Option<&Secret>,
        now: OffsetDateTime,
    ) -> Result<FirstToken, StoreError> {
        let mut tx = self.write().await?;
        let done = if let Some(secret) = environment {
            let hash = self.token_hash(secret.expose());
            // An equal token made by other means stays what it is, revocation included.
            let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM tokens WHERE hash = ?")
                .bind(&hash)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
            sqlx::query("UPDATE tokens SET revoked_at = ? WHERE origin = ? AND hash <> ? AND revoked_at IS NULL")
                .bind(to_millis(now))
                .bind(TokenOrigin::Environment.as_str())
                .bind(&hash)
                .execute(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
            if known.is_none() {
                self.insert_token(&mut tx, secret, Role::Admin, TokenOrigin::Environment, now).await?;
            } else {
                // The same variable again after another one: it counts again.
                sqlx::query("UPDATE tokens SET revoked_at = NULL WHERE origin = ? AND hash = ?")
                    .bind(TokenOrigin::Environment.as_str())
                    .bind(&hash)
                    .execute(&mut *tx)
                    .await
                    .map_err(|e| self.fault(e))?;
            }
            FirstToken::FromEnvironment
        } else {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tokens")
                .fetch_one(&mut *tx)
                .await
                .map_err(|e| self.fault(e))?;
            if count > 0 {
                FirstToken::Present
            } else {
                let secret = new_api_token();
                self.insert_token(&mut tx, &secret, Role::Admin, TokenOrigin::FirstStart, now).await?;
                FirstToken::Made(secret)
            }
        };
        tx.commit().await.map_err(|e| self.fault(e))?;
        Ok(done)
    }

    /// The token that a request shows; none for a wrong or revoked one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&self, secret: &str) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query(
            "SELECT id, role, origin, created_at, revoked_at FROM tokens WHERE hash = ? AND revoked_at IS NULL",
        )
        .bind(self.token_hash(secret))
        .fetch_optional(&self.pool)
        .await
        .map_err(|e| self.fault(e))?;
        row.map(|row| self.token_of(&row)).transpose()
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query("SELECT id, role, origin, created_at, revoked_at FROM tokens ORDER BY created_at, id")
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        rows.iter().map(|row| self.token_of(row)).collect()
    }

    /// Ends a token; false when there is none with that id, or it has ended already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_token(&self, id: &str, now: OffsetDateTime) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(to_millis(now))
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(|e| self.fault(e))?;
        Ok(done.rows_affected() > 0)
    }

    fn token_hash(&self, secret: &str) -> Vec<u8> {
        self.vault.hash(Purpose::ApiToken, &[secret.as_bytes()]).to_vec()
    }

    async fn insert_token(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        secret: &Secret,
        role: Role,
        origin: TokenOrigin,
        now: OffsetDateTime,
    ) -> Result<Token, StoreError> {
        let id = new_id();
        sqlx::query("INSERT INTO tokens (id, hash, role, origin, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(&id)
            .bind(self.token_hash(secret.expose()))
            .bind(role.as_str())
            .bind(origin.as_str())
            .bind(to_millis(now))
            .execute(&mut **tx)
            .await
            .map_err(|e| self.fault(e))?;
        Ok(Token { id, role, origin, created_at: super::rounded(now), revoked_at: None })
    }

    fn token_of(&self, row: &SqliteRow) -> Result<Token, StoreError> {
        let bad = |what: &str| self.corrupt(format!("a token's {what} cannot be read"));
        let text = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.fault(e));
        let created_at: i64 = row.try_get("created_at").map_err(|e| self.fault(e))?;
        let revoked_at: Option<i64> = row.try_get("revoked_at").map_err(|e| self.fault(e))?;
        Ok(Token {
            id: text("id")?,
            role: Role::from_name(&text("role")?).ok_or_else(|| bad("role"))?,
            origin: TokenOrigin::from_stored(&text("origin")?).ok_or_else(|| bad("origin"))?,
            created_at: from_millis(created_at).ok_or_else(|| bad("created_at"))?,
            revoked_at: revoked_at.map(|ms| from_millis(ms).ok_or_else(|| bad("revoked_at"))).transpose()?,
        })
    }
}
