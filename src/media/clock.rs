//! The daemon's clock: Unix time that never steps.

use super::time::{Dur, Ts};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Where "now" comes from. Everything that decides by time takes one of these, so that tests run on simulated time.
pub trait Clock: Send + Sync + 'static {
    /// Unix time, monotonic: disciplined by the system (slewed), never stepped.
    fn now(&self) -> Ts;
    /// Completes when `now()` has reached `at`.
    fn sleep_until(&self, at: Ts) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A clock to share.
pub type SharedClock = Arc<dyn Clock>;

/// The system's monotonic clock, anchored to Unix time once. NTP slews it but a step of the wall clock does not
/// reach it, so the programme neither jumps nor repeats. Parent and engine share the anchor and so agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemClock {
    anchor: Dur,
}

fn read(id: rustix::time::ClockId) -> Ts {
    let t = rustix::time::clock_gettime(id);
    Ts::ZERO + Dur::from_secs(t.tv_sec) + Dur::from_scale(t.tv_nsec, 1_000_000_000)
}

impl SystemClock {
    /// Anchored to the wall clock as it is now.
    pub fn new() -> SystemClock {
        let wall = read(rustix::time::ClockId::Realtime);
        SystemClock { anchor: wall - read(rustix::time::ClockId::Monotonic) }
    }

    /// With another process's anchor.
    pub fn with_anchor(anchor: Dur) -> SystemClock {
        SystemClock { anchor }
    }

    /// Unix time minus monotonic time, for [`SystemClock::with_anchor`].
    pub fn anchor(&self) -> Dur {
        self.anchor
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Ts {
        read(rustix::time::ClockId::Monotonic) + self.anchor
    }

    fn sleep_until(&self, at: Ts) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep((at - self.now()).to_std()))
    }
}
