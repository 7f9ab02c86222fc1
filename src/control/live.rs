//! What the control side asks of the running side. `app` implements it; tests bring a double.

use crate::media::InputName;
use crate::store::{Event, EventId, Status};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Work in progress, boxed so that the trait can be an object.
pub type Job<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One of the things that must be up for the daemon to be ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Check {
    /// Which: a listener (`http`, `rtmp`), `store`, `drain`.
    pub name: String,
    /// Whether it is up.
    pub ok: bool,
}

/// The running side of events.
///
/// Changes are stored before they come here and cannot be refused: what cannot be applied at once is retried by whoever
/// runs it, and shown in the event's health. Calls about one event never overlap and come in the order of
/// [`Event::revision`]; calls about different events may overlap. When a call is done the change holds: after
/// `status_changed` to `paused` no viewer without a preview token can begin to fetch media.
pub trait Live: Send + Sync + 'static {
    /// The event was made, `inactive`.
    fn event_created(&self, event: Arc<Event>) -> Job<'_, ()>;

    /// The event has another status; `from` is the former one.
    fn status_changed(&self, event: Arc<Event>, from: Status) -> Job<'_, ()>;

    /// The event's settings were changed.
    fn event_changed(&self, event: Arc<Event>) -> Job<'_, ()>;

    /// The event is gone: end what runs and remove its media from the disk.
    fn event_deleted(&self, event: Arc<Event>) -> Job<'_, ()>;

    /// An input has a new key: a publisher with the old one ends.
    fn key_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()>;

    /// Whether `url` can be pulled from: else what is wrong with it, in words that follow the field's name.
    fn check_pull<'a>(&'a self, url: &'a str) -> Job<'a, Result<(), String>>;

    /// What an input is pulled from has changed.
    fn pull_changed(&self, event: Arc<Event>, input: InputName) -> Job<'_, ()>;

    /// A manager chose an input: [`Event::input_selection`].
    fn input_selected(&self, event: Arc<Event>) -> Job<'_, ()>;

    /// The inputs as they are, `{active, main: {state, …}, backup: {state, …}}`; none where nothing runs.
    fn inputs(&self, event: &EventId) -> Option<serde_json::Value>;

    /// The programme's present picture as JPEG, at most a second old; none where there is no picture.
    fn preview(&self, event: &EventId) -> Job<'_, Option<Bytes>>;

    /// What must be up for the daemon to be ready, the store aside.
    fn readiness(&self) -> Vec<Check>;
}
