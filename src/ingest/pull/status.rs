//! How a pull stands, for the API.

use super::super::health::date;
use crate::media::Ts;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// Where a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    /// On its way to the server, or waiting for its first sound or picture.
    Connecting,
    /// Something comes.
    Receiving,
    /// For the next attempt, or for an encoder to leave the input.
    Waiting,
}

/// A pull as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PullHealth {
    /// Where it is.
    pub state: PullState,
    /// Where from, without credentials and query.
    pub url: String,
    /// Since when it is in this state.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// Attempts that failed since something last came.
    pub failures: u64,
    /// Why the last attempt ended, or none is made, in words.
    pub last_error: Option<String>,
    /// When the next attempt comes.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
}

/// The state of a pull, shared between whoever pulls and whoever asks. Changes say whether there is news.
#[derive(Clone)]
pub struct Status(Arc<Mutex<PullHealth>>);

impl Status {
    /// Not begun yet. `url` is shown as it is.
    pub fn new(url: String, now: Ts) -> Status {
        let health = PullHealth {
            state: PullState::Connecting,
            url,
            since: date(now),
            failures: 0,
            last_error: None,
            next_attempt_at: None,
        };
        Status(Arc::new(Mutex::new(health)))
    }

    /// How it stands.
    pub fn health(&self) -> PullHealth {
        self.lock().clone()
    }

    /// An attempt begins.
    pub fn connecting(&self, now: Ts) -> bool {
        let mut health = self.lock();
        health.next_attempt_at = None;
        health.enter(PullState::Connecting, now)
    }

    /// Something comes. The error before stays told no longer.
    pub fn receiving(&self, now: Ts) -> bool {
        let mut health = self.lock();
        (health.failures, health.last_error, health.next_attempt_at) = (0, None, None);
        health.enter(PullState::Receiving, now)
    }

    /// An attempt failed; the next one comes at `next`.
    pub fn failed(&self, error: String, next: Ts, now: Ts) -> bool {
        self.lock().failures += 1;
        self.waiting(error, next, now)
    }

    /// Nothing is connected to until `next`.
    pub fn waiting(&self, error: String, next: Ts, now: Ts) -> bool {
        let mut health = self.lock();
        let news = health.last_error.as_deref() != Some(error.as_str());
        health.last_error = Some(error);
        health.next_attempt_at = date(next);
        health.enter(PullState::Waiting, now) || news
    }

    /// Held for an assignment or a copy, never across an await.
    fn lock(&self) -> MutexGuard<'_, PullHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PullHealth {
    fn enter(&mut self, state: PullState, now: Ts) -> bool {
        if self.state == state {
            return false;
        }
        (self.state, self.since) = (state, date(now));
        true
    }
}
