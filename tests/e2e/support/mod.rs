//! What the tests stand on: processes, generated programmes with known content, and measurement of what came out.
//!
//! The helpers panic with what they saw; a test fails with the daemon's log beside it.

pub mod api;
pub mod booth;
pub mod browser;
pub mod cable;
pub mod daemon;
pub mod hls;
pub mod host;
pub mod lossy;
pub mod publish;
pub mod rtmp;
pub mod signal;
pub mod sse;

#[path = "../../support/starved.rs"]
pub mod starved;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The root of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The ffmpeg of the system (Debian 12: 5.1).
pub fn ffmpeg() -> PathBuf {
    PathBuf::from("ffmpeg")
}

/// The newer ffmpeg that `scripts/setup test` installs, which speaks Enhanced RTMP.
pub fn ffmpeg_new() -> PathBuf {
    let path = root().join("target/tools/bin/ffmpeg-new");
    assert!(path.exists(), "{} is missing: run scripts/setup test", path.display());
    path
}

/// Polls every 50 ms until `look` gives a value; panics with `what` after `limit`.
pub async fn eventually<T, F, Fut>(limit: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A number from the environment, for tests that can do more than they do every time.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => otherwise,
    }
}
