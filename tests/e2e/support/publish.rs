//! Encoders that publish, as processes that end with the test.

use super::daemon::Lines;
use super::{ffmpeg, signal};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// A running encoder; killed when dropped, and its log shown if the test is failing.
pub struct Publisher {
    child: Child,
    log: Lines,
    name: String,
}

/// How the test programme is encoded for publishing: H.264 with a key frame every second.
pub const H264: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1200k", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p"];
/// AAC as encoders send it.
pub const AAC: &[&str] = &["-c:a", "aac", "-b:a", "128k", "-ac", "2"];

impl Publisher {
    /// Starts any program.
    pub fn spawn(program: &Path, args: &[&str]) -> Publisher {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let log = Lines::read(child.stderr.take().unwrap());
        Publisher { child, log, name: program.display().to_string() }
    }

    /// Publishes the test programme of [`signal`] with ffmpeg, 640×360 at 25 fps.
    pub fn card(url: &str) -> Publisher {
        Publisher::card_with(&ffmpeg(), (640, 360, 25), 48_000, &[H264, AAC].concat(), url)
    }

    /// The same with another ffmpeg, size, rates or encoders.
    pub fn card_with(
        program: &Path,
        (width, height, rate): (u32, u32, u32),
        sample_rate: u32,
        encode: &[&str],
        url: &str,
    ) -> Publisher {
        let (picture, beeps) = (signal::picture(width, height, rate), signal::beeps(sample_rate));
        let inputs = ["-re", "-f", "lavfi", "-i", &picture, "-re", "-f", "lavfi", "-i", &beeps];
        let args = [&["-hide_banner", "-nostdin", "-v", "warning"], &inputs[..], encode, &["-f", "flv", url]].concat();
        Publisher::spawn(program, &args)
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{} goes on after {limit:?}:\n{}", self.name, self.log()),
        }
    }

    /// Ends it, as an encoder whose cable is pulled.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.name, self.log());
        }
    }
}
