//! The one place that starts tasks, cancels them and backs off.
//!
//! A [`Group`] owns what it started: closing is cancel, then join, so nothing outlives its owner and no lock is held
//! while something closes. A task that panics is logged with its name and ends alone.

use crate::media::Dur;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Tasks with one owner. Clones share the tasks; a [`Group::child`] is cancelled with its parent but can close alone.
#[derive(Clone, Default)]
pub struct Group {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Group {
    /// An empty group.
    pub fn new() -> Group {
        Group::default()
    }

    /// A group that is cancelled with this one and joined on its own.
    pub fn child(&self) -> Group {
        Group { token: self.token.child_token(), tracker: TaskTracker::new() }
    }

    /// Starts a task that watches [`Group::cancelled`] itself, to finish what it has begun.
    #[allow(clippy::disallowed_methods)]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Without a parent: a task outlives whatever request or connection started it.
        let inner = tokio::spawn(future.instrument(tracing::info_span!(parent: None, "task", name)));
        self.tracker.spawn(async move {
            if let Err(error) = inner.await
                && error.is_panic()
            {
                tracing::error!(task = name, "task panicked");
                metrics::counter!("boothcast_task_panics_total", "task" => name).increment(1);
            }
        })
    }

    /// Starts a task that is dropped at its next await when the group is cancelled.
    pub fn spawn_until_cancelled<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        self.spawn(name, async move {
            token.run_until_cancelled(future).await;
        })
    }

    /// The token, to select on.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Completes when the group is cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Tells all tasks to end; does not wait.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Cancels and joins; gives up after `limit` and says whether all had ended.
    pub async fn close(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

/// Waits that double from `first` to `most`, each shortened at random by up to half so that many clients spread out.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Dur,
    most: Dur,
    next: Dur,
}

impl Backoff {
    /// From `first`, doubling up to `most`.
    pub fn new(first: Dur, most: Dur) -> Backoff {
        Backoff { first, most, next: first }
    }

    /// The next wait; `random` is in 0..1.
    pub fn step(&mut self, random: f64) -> Dur {
        let wait = Dur::from_secs_f64(self.next.as_secs_f64() * (1.0 - random.clamp(0.0, 1.0) / 2.0));
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// After a success: begin again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_and_starts_again() {
        let mut b = Backoff::new(Dur::from_millis(100), Dur::from_secs(1));
        let waits: Vec<i64> = (0..6).map(|_| b.step(0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(b.step(1.0).as_millis(), 500);
        b.reset();
        assert_eq!(b.step(0.0).as_millis(), 100);
    }

    #[tokio::test]
    async fn closing_cancels_and_joins() {
        let group = Group::new();
        let child = group.child();
        child.spawn_until_cancelled("sleeper", std::future::pending());
        group.spawn("panics", async { panic!("expected by the test") });
        group.cancel();
        assert!(child.close(Duration::from_secs(1)).await);
        assert!(group.close(Duration::from_secs(1)).await);
    }
}
