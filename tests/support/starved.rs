//! How long the machine gave a test no time, for bounds on what the daemon takes: a busy machine is not its fault.
#![allow(clippy::disallowed_methods, reason = "real time is what is measured")]

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What each thread sleeps between two looks at the clock.
const STEP: Duration = Duration::from_millis(20);

/// For how long this machine gave a thread of this process no time at most, while this runs: what others than the
/// daemon took. Threads that sleep measure it, one kept on each CPU: a single one, which may go where there is time,
/// would not see that another CPU was taken away.
pub struct Starved {
    over: Arc<AtomicBool>,
    /// The longest time of all threads, nanoseconds.
    most: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Starved {
    /// Begins to measure.
    pub fn watch() -> Starved {
        let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let measure = |cpu: CpuSet| {
            let (over, most) = (over.clone(), most.clone());
            std::thread::spawn(move || {
                // Where that is not allowed it goes where it likes.
                let _ = sched_setaffinity(None, &cpu);
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    std::thread::sleep(STEP);
                    let late = began.elapsed().saturating_sub(STEP);
                    most.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
                }
            })
        };
        let threads = cpus().into_iter().map(measure).collect();
        Starved { over, most, threads }
    }

    /// The longest time that has passed until now; one that lasts is not in it yet.
    pub fn so_far(&self) -> Duration {
        Duration::from_nanos(self.most.load(Ordering::Relaxed))
    }

    /// The longest time until now.
    pub fn end(mut self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.so_far()
    }
}

/// The CPUs that this process may use, each by itself; where they are not known, one set that nothing can be kept on.
fn cpus() -> Vec<CpuSet> {
    let Ok(all) = sched_getaffinity(None) else { return vec![CpuSet::new()] };
    let only = |cpu: usize| {
        let mut set = CpuSet::new();
        set.set(cpu);
        set
    };
    (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).map(only).collect()
}
