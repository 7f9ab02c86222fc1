//! Events, keys, tokens, links into rooms, booths, connection tests, webhooks and output shapes, in SQLite.
//!
//! **Role.** The one truth that survives a restart; everything in memory can be rebuilt from here and the wire.
//! **Data flow.** `control` and `app` call [`Store`]; nothing is cached, so a token made by the command line while the
//! daemon runs counts at once. Times are handed in: nothing here asks a clock.
//! **Bound.** [`CONNECTIONS`]; a caller waits for one at most [`ACQUIRE_TIMEOUT`], and a locked database
//! [`BUSY_TIMEOUT`], and then gets [`StoreError::Busy`].
//! **Concurrency.** Write-ahead log, `synchronous = FULL`: what was answered survives a power cut. A change reads, decides and
//! writes in one immediate transaction, so two that meet are done one after the other.

pub mod access;
mod booths;
mod events;
mod links;
pub mod model;
mod origin;
mod secret;
mod shapes;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;

pub use access::*;
pub use events::{Change, Cursor, InputSettings, InputsSettings, KeyHash, KeyOwner, Page, Publication, StatusChange};
pub use links::{LinkMade, MAX_LINKS};
pub use model::*;
pub use origin::OtherOrigin;
pub use secret::{Secret, VaultError, WEBHOOK_SECRET, new_resume_token};
pub use tokens::FirstToken;
pub use webhooks::{MAX_WEBHOOKS, NewWebhook, Webhook, WebhookMade};

use secret::{Purpose, Vault};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

/// Open connections: SQLite writes one at a time, and reads are short.
const CONNECTIONS: u32 = 4;
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long opening waits for another process that opens, which may have to migrate a large database.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);
/// The database in the state directory.
const FILE: &str = "boothcast.db";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/store/migrations");

/// What can go wrong. None of the texts holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory or the server's key.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// Someone else holds the database.
    #[error("the database {} is locked by another process; end that one, or try again", .0.display())]
    Busy(PathBuf),
    /// The file is no database, or a damaged one.
    #[error("the database {} is damaged ({detail}); restore it from a backup, or move it away to begin anew", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// A newer version of this program made it.
    #[error("the database {} was made by a newer version ({detail}); install that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What the migration said.
        detail: String,
    },
    /// The key file belongs to another database.
    #[error("the database {} was made with another secret.key; restore the two together", .0.display())]
    WrongKey(PathBuf),
    /// No space, no permission, a broken disk.
    #[error("the database {}: {detail}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
}

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    vault: Arc<Vault>,
    path: Arc<Path>,
}

impl Store {
    /// Opens the store in the state directory `dir`; makes both when they are missing.
    ///
    /// # Errors
    /// When the directory cannot be used, the database is locked, damaged, newer than this program, or was made with
    /// another key.
    pub async fn open(dir: &Path) -> Result<Store, StoreError> {
        secret::make_dir(dir)?;
        let path: Arc<Path> = dir.join(FILE).into();
        let _turn = opening(dir, &path).await?;
        // The file is made here, before SQLite would make it readable to the group.
        let made = {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path)
        };
        made.map_err(|error| VaultError::Io { path: path.to_path_buf(), error })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("trusted_schema", "OFF");
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|e| fault(&path, e))?;
        let checked: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&pool).await.map_err(|e| fault(&path, e))?;
        if checked != "ok" {
            return Err(StoreError::Corrupt { path: path.to_path_buf(), detail: checked });
        }
        MIGRATIONS.run(&pool).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::VersionMissing(_) | sqlx::migrate::MigrateError::VersionMismatch(_) => {
                StoreError::Newer { path: path.to_path_buf(), detail: e.to_string() }
            }
            sqlx::migrate::MigrateError::Execute(e) | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => {
                fault(&path, e)
            }
            e => StoreError::Io { path: path.to_path_buf(), detail: e.to_string() },
        })?;
        let vault = Arc::new(Vault::open(dir)?);
        let store = Store { pool, vault, path };
        store.check_key().await?;
        Ok(store)
    }

    /// Whether the key file is the one that the database was made with.
    async fn check_key(&self) -> Result<(), StoreError> {
        let check = self.vault.hash(Purpose::Check, &[]);
        let mut tx = self.write().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ('key check', ?) ON CONFLICT DO NOTHING")
            .bind(&check[..])
            .execute(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        let stored: Vec<u8> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'key check'")
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.fault(e))?;
        tx.commit().await.map_err(|e| self.fault(e))?;
        if bool::from(stored.ct_eq(&check)) { Ok(()) } else { Err(StoreError::WrongKey(self.path.to_path_buf())) }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(&self.pool).await.map(drop).map_err(|e| self.fault(e))
    }

    /// Writes what is in the log back into the database and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that may write. It takes the write lock at once, so that what it reads still holds when it writes.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|e| self.fault(e))
    }

    fn fault(&self, error: sqlx::Error) -> StoreError {
        fault(&self.path, error)
    }

    /// A row that this program cannot have written.
    fn corrupt(&self, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: self.path.to_path_buf(), detail: detail.into() }
    }
}

/// Makes processes open the store one after the other: neither the switch to the write-ahead log nor a migration waits for
/// another one that does the same. The lock goes with the file, also when the process is killed.
async fn opening(dir: &Path, database: &Path) -> Result<std::fs::File, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join("opening.lock");
    let io = |error| VaultError::Io { path: path.clone(), error };
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(io)?;
    const STEP: Duration = Duration::from_millis(20);
    for _ in 0..OPENING_TIMEOUT.as_millis() / STEP.as_millis() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(STEP).await,
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error).into()),
        }
    }
    Err(StoreError::Busy(database.to_path_buf()))
}

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>): the low byte is the primary one.
fn fault(path: &Path, error: sqlx::Error) -> StoreError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const CORRUPT: i32 = 11;
    const NOTADB: i32 = 26;
    let path = path.to_path_buf();
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return StoreError::Busy(path);
    }
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
    match code.map(|c| c & 0xff) {
        Some(BUSY | LOCKED) => StoreError::Busy(path),
        Some(CORRUPT | NOTADB) => StoreError::Corrupt { path, detail: error.to_string() },
        _ => StoreError::Io { path, detail: error.to_string() },
    }
}

/// Unix milliseconds, as stored.
fn to_millis(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}

fn from_millis(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

/// `at` without what the store does not keep.
fn rounded(at: OffsetDateTime) -> OffsetDateTime {
    from_millis(to_millis(at)).unwrap_or(at)
}
