//! What happens in events, told to whoever listens: streams of server-sent events now, webhooks from the same source.
//!
//! **Data flow.** `control` (status, settings) and `app` (inputs, switches, …) → [`Notices::publish`] → a ring per event and
//! audience → [`Notices::subscribe`].
//! **Bound.** [`BACKLOG`] notices per ring, each serialised once and shared.
//! **A slow reader** misses nothing silently: it is told that it lagged, and disconnected.

use crate::store::{EventId, Status};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;

/// Notices that a listener may be behind: some seconds of the busiest event. One that is further behind would rather
/// have the present state, and gets it by connecting again.
pub const BACKLOG: usize = 64;

/// Notices of all events that who listens to all of them may be behind.
pub const BACKLOG_OF_ALL: usize = 1024;

/// The kinds that there are.
pub const KINDS: [&str; 7] = ["status", "state", "event", "input", "switch", "booth", "languages"];

/// Who may hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Viewers' pages and everyone below.
    Public,
    /// Whoever may read the event by the API.
    Staff,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Notice {
    kind: &'static str,
    audience: Audience,
    json: Bytes,
    frame: Bytes,
}

impl Notice {
    /// `{type, at, …fields}`; a field named `type` or `at` is replaced.
    pub fn new(kind: &'static str, audience: Audience, at: OffsetDateTime, mut fields: Map<String, Value>) -> Notice {
        debug_assert!(cfg!(test) || KINDS.contains(&kind), "{kind} is not listed");
        fields.insert("type".into(), kind.into());
        fields.insert("at".into(), rfc3339(at).into());
        let json = Value::Object(fields).to_string();
        let frame = format!("data: {json}\n\n").into();
        Notice { kind, audience, json: json.into(), frame }
    }

    /// `{type: "status", at, status}`.
    pub fn status(at: OffsetDateTime, status: Status) -> Notice {
        let fields = Map::from_iter([("status".to_owned(), status.as_str().into())]);
        Notice::new("status", Audience::Public, at, fields)
    }

    /// `{type: "languages", at}`: the playlist's tracks changed, players load them again.
    pub fn languages(at: OffsetDateTime) -> Notice {
        Notice::new("languages", Audience::Public, at, Map::new())
    }

    /// The `type`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Who may hear it.
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// As JSON text.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// As a message of a server-sent event stream. JSON has no line break, so one `data:` line holds it.
    pub(super) fn frame(&self) -> &Bytes {
        &self.frame
    }
}

/// RFC 3339 in UTC with milliseconds, as everywhere in the API.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let ms = at.millisecond();
    let at = at.to_offset(time::UtcOffset::UTC).replace_millisecond(ms).unwrap_or(at);
    // Fails for years beyond 9999 alone, which no clock shows.
    at.format(&Rfc3339).unwrap_or_default()
}

struct Channel {
    public: broadcast::Sender<Arc<Notice>>,
    staff: broadcast::Sender<Arc<Notice>>,
}

impl Channel {
    fn new() -> Channel {
        Channel { public: broadcast::Sender::new(BACKLOG), staff: broadcast::Sender::new(BACKLOG) }
    }

    fn deserted(&self) -> bool {
        self.public.receiver_count() == 0 && self.staff.receiver_count() == 0
    }
}

/// A notice and the event that it is of.
pub type Heard = (EventId, Arc<Notice>);

/// All events' rings. Clones share them.
#[derive(Clone)]
pub struct Notices {
    /// Events with a listener. The lock is held for a map access and a push, never across an await.
    channels: Arc<Mutex<HashMap<EventId, Channel>>>,
    /// What staff may hear of all events.
    all: broadcast::Sender<Heard>,
}

impl Default for Notices {
    fn default() -> Notices {
        Notices { channels: Arc::default(), all: broadcast::Sender::new(BACKLOG_OF_ALL) }
    }
}

impl Notices {
    /// No listener yet.
    pub fn new() -> Notices {
        Notices::default()
    }

    /// Listens to all events, as staff. A listener that is [`BACKLOG_OF_ALL`] notices behind is told that it lagged.
    pub fn subscribe_all(&self) -> broadcast::Receiver<Heard> {
        self.all.subscribe()
    }

    /// Tells whoever listens; never waits.
    pub fn publish(&self, event: &EventId, notice: Notice) {
        let notice = Arc::new(notice);
        // An error means that nobody listens.
        let _ = self.all.send((event.clone(), notice.clone()));
        let mut channels = self.lock();
        let Some(channel) = channels.get(event) else { return };
        if channel.deserted() {
            channels.remove(event);
            return;
        }
        // An error means that nobody of this audience listens.
        if notice.audience == Audience::Public {
            let _ = channel.public.send(notice.clone());
        }
        let _ = channel.staff.send(notice);
    }

    /// Listens to an event. The receiver ends when the event is deleted.
    pub fn subscribe(&self, event: &EventId, audience: Audience) -> broadcast::Receiver<Arc<Notice>> {
        let mut channels = self.lock();
        let channel = channels.entry(event.clone()).or_insert_with(Channel::new);
        match audience {
            Audience::Public => channel.public.subscribe(),
            Audience::Staff => channel.staff.subscribe(),
        }
    }

    /// Ends all streams of an event that is deleted.
    pub fn close(&self, event: &EventId) {
        self.lock().remove(event);
    }

    /// Forgets the rings that nobody listens to.
    pub(super) fn sweep(&self) {
        self.lock().retain(|_, channel| !channel.deserted());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00.1234 +01:00);

    fn id() -> EventId {
        EventId::parse("0123456789abcdef").expect("form")
    }

    #[test]
    fn a_notice_is_one_line_of_json_with_type_and_time() {
        let notice = Notice::status(NOW, Status::Paused);
        let text = "data: {\"at\":\"2026-03-01T11:00:00.123Z\",\"status\":\"paused\",\"type\":\"status\"}\n\n";
        assert_eq!(notice.frame(), text);
        let fields = Map::from_iter([("text".to_owned(), "a\nb\r\n\u{2028}data: x".into())]);
        let notice = Notice::new("x", Audience::Staff, NOW, fields);
        assert_eq!(notice.frame().iter().filter(|b| matches!(b, b'\n' | b'\r')).count(), 2);
    }

    #[tokio::test]
    async fn the_public_hears_what_is_public_and_staff_hears_all() {
        let notices = Notices::new();
        let (mut public, mut staff) =
            (notices.subscribe(&id(), Audience::Public), notices.subscribe(&id(), Audience::Staff));
        notices.publish(&id(), Notice::new("input", Audience::Staff, NOW, Map::new()));
        notices.publish(&id(), Notice::status(NOW, Status::Started));
        assert_eq!(public.recv().await.expect("told").kind(), "status");
        assert_eq!(staff.recv().await.expect("told").kind(), "input");
        assert_eq!(staff.recv().await.expect("told").kind(), "status");
        notices.close(&id());
        assert!(matches!(public.recv().await, Err(RecvError::Closed)));
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_that_it_lagged_and_delays_nobody() {
        let notices = Notices::new();
        let (mut slow, mut fast) =
            (notices.subscribe(&id(), Audience::Public), notices.subscribe(&id(), Audience::Public));
        for _ in 0..=BACKLOG {
            notices.publish(&id(), Notice::languages(NOW));
            assert!(fast.try_recv().is_ok());
        }
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(1))));
    }

    #[tokio::test]
    async fn events_without_listeners_take_no_room() {
        let notices = Notices::new();
        drop(notices.subscribe(&id(), Audience::Public));
        notices.publish(&id(), Notice::languages(NOW));
        assert!(notices.lock().is_empty());
        drop(notices.subscribe(&id(), Audience::Public));
        notices.sweep();
        assert!(notices.lock().is_empty());
    }
}
