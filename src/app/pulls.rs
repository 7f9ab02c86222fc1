//! What an event's inputs are pulled by: one task per input with an address, as long as the event takes contribution.

use super::event::{Newcomer, Running, to_wall};
use super::registry::Shared;
use crate::control::Notice;
use crate::control::notices::{Audience, rfc3339};
use crate::ingest::pull::{self, Place, Pull, PullHealth, PullState, Source};
use crate::ingest::{Protocol, Refusal, Session};
use crate::media::InputName;
use crate::store::Event;
use serde_json::Map;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A pull that runs.
pub(super) struct Pulling {
    stop: CancellationToken,
    done: JoinHandle<()>,
    protocol: Protocol,
    status: pull::Status,
}

/// An input of a running event, as whoever pulls sees it. It does not keep the event running.
struct Input {
    running: Weak<Running>,
    shared: Arc<Shared>,
    input: InputName,
    protocol: Protocol,
}

impl Place for Input {
    fn taken(&self) -> bool {
        self.running.upgrade().is_some_and(|running| running.is_taken(self.input))
    }

    fn claim(&self, protocol: Protocol, peer: SocketAddr) -> Result<Session, Refusal> {
        let running = self.running.upgrade().ok_or(Refusal::Unavailable)?;
        running.admit(&self.shared, self.input, &Newcomer { protocol, peer, takeover: false, pulled: true })
    }

    fn changed(&self, health: &PullHealth) {
        // Who publishes is told where it is admitted.
        let state = match health.state {
            PullState::Connecting => "connecting",
            PullState::Waiting => "waiting",
            PullState::Receiving => return,
        };
        let Some(running) = self.running.upgrade() else { return };
        let fields = Map::from_iter([
            ("input".to_owned(), self.input.as_str().into()),
            ("state".to_owned(), state.into()),
            ("protocol".to_owned(), self.protocol.as_str().into()),
            ("error".to_owned(), health.last_error.clone().into()),
            ("next_attempt_at".to_owned(), health.next_attempt_at.map(rfc3339).into()),
        ]);
        let at = to_wall(self.shared.clock.now());
        self.shared.notices.publish(&running.id, Notice::new("input", Audience::Staff, at, fields));
    }
}

impl Running {
    /// Begins to pull an input where the event says so. What pulled it before must have ended.
    pub(super) fn start_pull(self: &Arc<Running>, shared: &Arc<Shared>, event: &Event, input: InputName) {
        let Some(from) = &event.inputs.get(input).pull else { return };
        let source = match Source::parse(from.url.expose()) {
            Ok(source) => source,
            // It was read when it was set; a version that cannot read it any more says so.
            Err(error) => {
                return tracing::error!(event = %self.id, input = input.as_str(), %error, "not pulled");
            }
        };
        let (protocol, stop) = (source.protocol(), CancellationToken::new());
        let status = pull::Status::new(source.to_string(), shared.clock.now());
        let place = Input { running: Arc::downgrade(self), shared: shared.clone(), input, protocol };
        let pull = Pull {
            source,
            place,
            guard: shared.guard.clone(),
            srt: shared.srt.clone(),
            clock: shared.clock.clone(),
            status: status.clone(),
            event: self.id.to_string(),
            input,
        };
        let until = stop.clone();
        let done = self.group.spawn_until_cancelled("pull", async move {
            until.run_until_cancelled(Box::pin(pull::run(pull))).await;
        });
        self.lock_pulls()[input.index()] = Some(Pulling { stop, done, protocol, status });
    }

    /// Ends pulling an input; when this is done, nothing of it comes any more.
    pub(super) async fn end_pull(&self, input: InputName) {
        let pulling = self.lock_pulls()[input.index()].take();
        if let Some(pulling) = pulling {
            pulling.stop.cancel();
            // A task that panicked has been logged.
            let _ = pulling.done.await;
        }
    }

    /// How an input is pulled; none where it is not.
    pub(super) fn pull_health(&self, input: InputName) -> Option<(Protocol, PullHealth)> {
        self.lock_pulls()[input.index()].as_ref().map(|p| (p.protocol, p.status.health()))
    }

    /// Held for a look-up or an assignment, never across an await.
    fn lock_pulls(&self) -> MutexGuard<'_, [Option<Pulling>; 2]> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
