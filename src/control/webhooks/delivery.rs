//! Brings notices to webhooks.
//!
//! **Data flow.** [`Notices::subscribe_all`] → a queue per webhook → its task: sign, POST, again after a wait, in order.
//! **Bound.** [`MAX_WEBHOOKS`](crate::store::MAX_WEBHOOKS) of them, [`QUEUE`] notices each: the oldest are dropped and
//! counted, so that who comes back hears what is newest. A webhook that is slow or gone delays no other.

use crate::control::api::wall;
use crate::control::notices::{Heard, Notice, Notices};
use crate::media::{Dur, SharedClock};
use crate::net::{Guard, OutgoingUrl, post};
use crate::store::{EventId, Store, StoreError, WEBHOOK_SECRET, Webhook};
use crate::task::Group;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::hmac;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

/// Notices that wait for one webhook.
const QUEUE: usize = 256;

/// Waits between the attempts to deliver a notice, in seconds; each is shortened at random by up to a fifth.
const WAITS: [i64; 5] = [1, 5, 30, 120, 600];

/// How a webhook fares.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Figures {
    pub delivered: u64,
    pub failed_attempts: u64,
    pub given_up: u64,
    pub dropped: u64,
    pub waiting: usize,
    pub last_delivered_at: Option<OffsetDateTime>,
    pub last_given_up_at: Option<OffsetDateTime>,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<OffsetDateTime>,
}

/// A notice on its way.
#[derive(Clone, Debug)]
struct Delivery {
    id: String,
    body: Bytes,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Delivery>,
    figures: Figures,
}

/// A webhook at work.
struct Hook {
    webhook: Webhook,
    url: OutgoingUrl,
    key: hmac::Key,
    /// Held for a push, a pop or some numbers, never across an await.
    state: Mutex<State>,
    wake: Notify,
    group: Group,
}

impl Hook {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, event: &EventId, notice: &Notice) -> bool {
        self.webhook.event.as_ref().is_none_or(|e| e == event)
            && (self.webhook.types.is_empty() || self.webhook.types.iter().any(|t| t == notice.kind()))
    }

    fn push(&self, delivery: Delivery) {
        let mut state = self.lock();
        if state.waiting.len() >= QUEUE {
            state.waiting.pop_front();
            state.figures.dropped += 1;
            count("dropped");
        }
        state.waiting.push_back(delivery);
        drop(state);
        self.wake.notify_one();
    }

    /// The headers of an attempt made now (Standard Webhooks).
    fn headers(&self, delivery: &Delivery, now: OffsetDateTime) -> HeaderMap {
        let timestamp = now.unix_timestamp().to_string();
        let mut signed = hmac::Context::with_key(&self.key);
        for part in [delivery.id.as_bytes(), b".", timestamp.as_bytes(), b".", &delivery.body] {
            signed.update(part);
        }
        let signature = format!("v1,{}", STANDARD.encode(signed.sign()));
        let text = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::USER_AGENT, HeaderValue::from_static(concat!("boothcast/", env!("CARGO_PKG_VERSION")))),
            (HeaderName::from_static("webhook-id"), text(&delivery.id)),
            (HeaderName::from_static("webhook-timestamp"), text(&timestamp)),
            (HeaderName::from_static("webhook-signature"), text(&signature)),
        ])
    }

    /// Delivers what waits, one after the other, for ever.
    async fn run(self: Arc<Self>, guard: Guard, clock: SharedClock) {
        loop {
            let next = self.lock().waiting.pop_front();
            match next {
                Some(delivery) => self.deliver(&delivery, &guard, &clock).await,
                None => self.wake.notified().await,
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery, guard: &Guard, clock: &SharedClock) {
        let mut waits = WAITS.iter();
        loop {
            let headers = self.headers(delivery, wall(clock.now()));
            let (error, last) = match post(guard, &self.url, headers, delivery.body.clone()).await {
                Ok(status) if status.is_success() => {
                    let mut state = self.lock();
                    state.figures.delivered += 1;
                    state.figures.last_delivered_at = Some(wall(clock.now()));
                    (state.figures.last_error, state.figures.next_attempt_at) = (None, None);
                    return count("delivered");
                }
                Ok(status) => (format!("the server answers {}", status.as_u16()), status == StatusCode::GONE),
                Err(error) => (format!("the server {error}"), false),
            };
            let now = clock.now();
            let wait = waits.next().filter(|_| !last);
            let wait = wait.map(|&s| Dur::from_secs_f64(s as f64 * (1.0 - rand::random::<f64>() / 5.0)));
            let until = wait.map(|wait| now + wait);
            {
                let mut state = self.lock();
                state.figures.failed_attempts += 1;
                state.figures.next_attempt_at = until.map(wall);
                if until.is_none() {
                    state.figures.given_up += 1;
                    state.figures.last_given_up_at = Some(wall(now));
                }
                state.figures.last_error = Some(error.clone());
            }
            count("failed");
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => {
                    // The path may be what opens the server.
                    tracing::warn!(webhook = self.webhook.id, host = %self.url.host(), error, "notice given up");
                    return count("given_up");
                }
            }
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("boothcast_webhook_notices_total", "result" => result).increment(1);
}

struct Inner {
    hooks: Mutex<HashMap<String, Arc<Hook>>>,
    guard: Guard,
    clock: SharedClock,
    tasks: Group,
}

/// All webhooks at work. Clones share them.
#[derive(Clone)]
pub(in crate::control) struct Webhooks(Arc<Inner>);

impl Webhooks {
    /// None yet; listens from now on.
    pub fn new(guard: Guard, notices: &Notices, clock: SharedClock, tasks: &Group) -> Webhooks {
        let webhooks = Webhooks(Arc::new(Inner { hooks: Mutex::default(), guard, clock, tasks: tasks.child() }));
        let (mut heard, weak) = (notices.subscribe_all(), Arc::downgrade(&webhooks.0));
        webhooks.0.tasks.spawn_until_cancelled("webhooks", async move {
            loop {
                let received = heard.recv().await;
                let Some(inner) = weak.upgrade() else { return };
                match received {
                    Ok(heard) => Webhooks(inner).tell(&heard),
                    Err(RecvError::Lagged(notices)) => {
                        tracing::warn!(notices, "webhooks were not told");
                        metrics::counter!("boothcast_webhooks_lagged_notices_total").increment(notices);
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        webhooks
    }

    /// What may be connected to.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Takes up what the store has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume(&self, store: &Store) -> Result<(), StoreError> {
        store.webhooks().await?.iter().for_each(|webhook| self.add(webhook));
        Ok(())
    }

    /// Sends notices to one from now on.
    pub fn add(&self, webhook: &Webhook) {
        let secret = webhook.secret.expose();
        let key = STANDARD.decode(secret.strip_prefix(WEBHOOK_SECRET).unwrap_or(secret));
        let (Ok(url), Ok(key)) = (OutgoingUrl::parse(webhook.url.expose()), key) else {
            // It was read when it was made; a version that cannot read it any more says so.
            return tracing::error!(webhook = webhook.id, "not told: its address or secret cannot be read");
        };
        let hook = Arc::new(Hook {
            webhook: webhook.clone(),
            url,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            state: Mutex::default(),
            wake: Notify::new(),
            group: self.0.tasks.child(),
        });
        let run = hook.clone().run(self.0.guard.clone(), self.0.clock.clone());
        hook.group.spawn_until_cancelled("webhook", run);
        let before = self.lock().insert(webhook.id.clone(), hook);
        before.iter().for_each(|hook| hook.group.cancel());
    }

    /// Sends it nothing any more.
    pub fn remove(&self, id: &str) {
        let hook = self.lock().remove(id);
        hook.iter().for_each(|hook| hook.group.cancel());
    }

    /// An event is deleted, and with it what was told of it alone.
    pub fn forget(&self, event: &EventId) {
        self.lock().retain(|_, hook| {
            let of_it = hook.webhook.event.as_ref() == Some(event);
            if of_it {
                hook.group.cancel();
            }
            !of_it
        });
    }

    /// How one fares.
    pub fn figures(&self, id: &str) -> Figures {
        let hook = self.lock().get(id).cloned();
        hook.map_or_else(Figures::default, |hook| {
            let state = hook.lock();
            Figures { waiting: state.waiting.len(), ..state.figures.clone() }
        })
    }

    fn tell(&self, (event, notice): &Heard) {
        let hooks = self.lock();
        let mut wanting = hooks.values().filter(|hook| hook.wants(event, notice)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        // A notice is an object that was serialised here.
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(notice.json()) else { return };
        fields.insert("event".to_owned(), event.as_str().into());
        let delivery = Delivery {
            id: format!("msg_{:032x}", rand::random::<u128>()),
            body: Value::Object(fields).to_string().into(),
        };
        wanting.for_each(|hook| hook.push(delivery.clone()));
    }

    /// Held for a look-up, an assignment or pushes, never across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Hook>>> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
