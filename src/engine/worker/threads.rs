//! The threads of the engine, and which of them go first.

use std::thread::JoinHandle;

/// Nice value of the threads that sound waits for.
const SOUND_NICE: i32 = -10;

/// Lets this thread go before those that make pictures: they have the programme delay to catch up in, the realtime mix has
/// 20 ms. A user without the right to (`LimitNICE=` of the unit) goes without.
pub fn hurry() -> Result<(), String> {
    rustix::process::setpriority_process(None, SOUND_NICE).map_err(|e| format!("priority of sound: {e}"))
}

/// A named thread that [`hurry`]s if it may.
pub fn spawn_prompt(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    spawn(name, move || {
        let _ = hurry();
        run();
    })
}

/// A named thread; the name is what the daemon's log shows when it hangs.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|e| format!("thread {name}: {e}"))
}
