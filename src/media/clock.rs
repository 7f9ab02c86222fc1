//! The daemon's clock: Unix time that never steps.

use super::time::{Dur, Ts};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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

/// A clock that stands still until it is told to move: for tests of everything that decides by time. Clones are the
/// same clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    state: Arc<Mutex<SimState>>,
}

#[derive(Debug, Default)]
struct SimState {
    now: Ts,
    /// By deadline, then by the order in which they were first polled.
    sleepers: BTreeMap<(Ts, u64), Waker>,
    serial: u64,
}

impl SimClock {
    /// Standing at `now`.
    pub fn new(now: Ts) -> SimClock {
        SimClock { state: Arc::new(Mutex::new(SimState { now, ..SimState::default() })) }
    }

    fn lock(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next deadline that somebody sleeps for.
    pub fn next_deadline(&self) -> Option<Ts> {
        self.lock().sleepers.keys().next().map(|&(at, _)| at)
    }

    /// Moves on by `by` and wakes whom it concerns, in the order of their deadlines. For code that polls by itself;
    /// in an async test [`SimClock::run`] lets each sleeper act at its own time.
    pub fn advance(&self, by: Dur) {
        let target = self.now() + by.max(Dur::ZERO);
        while self.step(target) {}
    }

    /// Moves on by `by`, stopping at each deadline on the way and giving the woken tasks their turn there. For
    /// tokio's current-thread runtime, where the order is then always the same.
    pub async fn run(&self, by: Dur) {
        let target = self.now() + by.max(Dur::ZERO);
        settle().await;
        while self.step(target) {
            settle().await;
        }
    }

    /// Moves to the next deadline, or to `target` when there is none before it; false when it has arrived there.
    fn step(&self, target: Ts) -> bool {
        let (due, more) = {
            let mut state = self.lock();
            let next = state.sleepers.keys().next().map(|&(at, _)| at).filter(|&at| at <= target);
            state.now = state.now.max(next.unwrap_or(target));
            let after = (state.now + Dur::from_flicks(1), 0);
            let later = state.sleepers.split_off(&after);
            (std::mem::replace(&mut state.sleepers, later), next.is_some())
        };
        // Outside the lock: a waker may poll at once and ask the clock.
        due.into_values().for_each(Waker::wake);
        more
    }
}

/// Gives every ready task of a current-thread runtime its turn, and those that they wake in a chain.
async fn settle() {
    /// The longest chain of tasks that wake each other in our tests, with room.
    const TURNS: usize = 32;
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Ts {
        self.lock().now
    }

    fn sleep_until(&self, at: Ts) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(SimSleep { clock: self, at, key: None })
    }
}

struct SimSleep<'a> {
    clock: &'a SimClock,
    at: Ts,
    key: Option<(Ts, u64)>,
}

impl Future for SimSleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            state.serial += 1;
            (self.at, state.serial)
        });
        state.sleepers.insert(key, cx.waker().clone());
        drop(state);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for SimSleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.lock().sleepers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_unix_time_and_shares_its_anchor() {
        let clock = SystemClock::new();
        let wall = read(rustix::time::ClockId::Realtime);
        assert!((clock.now() - wall).abs() < Dur::from_secs(1));
        let other = SystemClock::with_anchor(clock.anchor());
        let (a, b, c) = (clock.now(), other.now(), clock.now());
        assert!(a <= b && b <= c);
    }

    #[tokio::test]
    async fn sleepers_wake_in_order_each_at_its_time() {
        let clock = SimClock::new(Ts::from_millis(1000));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let group = crate::task::Group::new();
        for ms in [300, 100, 200, 100] {
            let (clock, woken) = (clock.clone(), woken.clone());
            group.spawn_until_cancelled("sleeper", async move {
                clock.sleep_until(Ts::from_millis(1000 + ms)).await;
                woken.lock().expect("no panic").push((ms, clock.now().as_millis()));
                // A sleeper that sleeps again, within the same run.
                clock.sleep_until(clock.now() + Dur::from_millis(50)).await;
                woken.lock().expect("no panic").push((ms + 50, clock.now().as_millis()));
            });
        }
        clock.run(Dur::from_millis(220)).await;
        let expected = vec![(100, 1100), (100, 1100), (150, 1150), (150, 1150), (200, 1200)];
        assert_eq!(*woken.lock().expect("no panic"), expected);
        assert_eq!(clock.now().as_millis(), 1220);
        assert_eq!(clock.next_deadline(), Some(Ts::from_millis(1250)));
        clock.run(Dur::from_secs(1)).await;
        assert_eq!(woken.lock().expect("no panic").len(), 8);
        assert_eq!(clock.next_deadline(), None);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let clock = SimClock::default();
        let mut sleep = clock.sleep_until(Ts::from_millis(10));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(clock.next_deadline(), Some(Ts::from_millis(10)));
        clock.advance(Dur::from_millis(10));
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        let mut other = clock.sleep_until(Ts::from_millis(20));
        assert!(other.as_mut().poll(&mut cx).is_pending());
        drop(other);
        assert_eq!(clock.next_deadline(), None);
    }
}
