//! Encoders that publish, as processes that end with the test.

use super::daemon::Lines;
use super::{ffmpeg, root, signal};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
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

/// Longer than any test may run.
const PROGRAMME_SECONDS: u32 = 130;

/// The test programme of [`signal`] as some encoders make it, made once and kept. Make it before the event that it is
/// for: then what is published, and when, does not depend on how fast the machine encodes.
pub struct Programme {
    program: PathBuf,
    file: PathBuf,
}

impl Programme {
    /// By ffmpeg, 640×360 at 25 fps.
    pub async fn card() -> Programme {
        Programme::card_with(&ffmpeg(), (640, 360, 25), 48_000, &[H264, AAC].concat()).await
    }

    /// The same, but so small that a browser on a busy machine keeps up with it.
    pub async fn small_card() -> Programme {
        Programme::card_with(&ffmpeg(), (320, 180, 25), 48_000, &[H264, AAC].concat()).await
    }

    /// The same with another ffmpeg, size, rates or encoders.
    pub async fn card_with(
        program: &Path,
        (width, height, rate): (u32, u32, u32),
        sample_rate: u32,
        encode: &[&str],
    ) -> Programme {
        Programme::new(program, (width, height, rate), &signal::beeps(sample_rate), encode).await
    }

    /// A small picture, for browsers that decode it in many tabs, with a steady tone instead of beeps: `amplitude` of full
    /// scale.
    pub async fn tone(hertz: f64, amplitude: f64) -> Programme {
        let wave = format!("{amplitude}*sin(2*PI*{hertz}*t)");
        let sound = format!("aevalsrc='{wave}|{wave}':s=48000");
        Programme::new(&ffmpeg(), (320, 180, 25), &sound, &[H264, AAC].concat()).await
    }

    /// The test programme's picture with the sound of a lavfi graph.
    pub async fn new(
        program: &Path,
        (width, height, rate): (u32, u32, u32),
        sound: &str,
        encode: &[&str],
    ) -> Programme {
        Programme::made(program, &signal::picture(width, height, rate), sound, PROGRAMME_SECONDS, encode).await
    }

    /// The picture and the sound of these lavfi graphs, for so many seconds.
    pub async fn made(program: &Path, picture: &str, sound: &str, seconds: u32, encode: &[&str]) -> Programme {
        let seconds = seconds.to_string();
        let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", &seconds];
        let args = [&["-hide_banner", "-nostdin", "-v", "warning", "-y"], &inputs[..], encode, &["-f", "mp4"]].concat();
        let mut name = Sha256::new();
        name.update(program.as_os_str().as_encoded_bytes());
        args.iter().for_each(|a| name.update([a.as_bytes(), &[0]].concat()));
        let name: String = name.finalize().iter().take(12).map(|b| format!("{b:02x}")).collect();
        let dir = root().join("target/programmes");
        std::fs::create_dir_all(&dir).unwrap();
        let (file, part) = (dir.join(&name).with_extension("mp4"), dir.join(format!("{name}.{}", std::process::id())));
        if !file.exists() {
            let mut encoder = Command::new(program);
            let made = encoder.args(&args).arg(&part).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
            assert!(made.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&made.stderr));
            std::fs::rename(&part, &file).unwrap();
        }
        Programme { program: program.to_owned(), file }
    }

    /// The file that holds it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Publishes it by RTMP, from its beginning and in real time.
    pub fn publish(&self, url: &str) -> Publisher {
        self.send(&["-f", "flv", url])
    }

    /// Sends it as [`Programme::send`] does, again and again without a break.
    pub fn send_forever(&self, output: &[&str]) -> Publisher {
        self.spawn(&["-stream_loop", "-1"], output)
    }

    /// Sends it with all its tracks, from its beginning and in real time, in the format and to where `output` says.
    pub fn send(&self, output: &[&str]) -> Publisher {
        self.spawn(&[], output)
    }

    fn spawn(&self, input: &[&str], output: &[&str]) -> Publisher {
        let file = self.file.to_str().expect("a path that is text");
        let all = ["-hide_banner", "-nostdin", "-v", "warning", "-re"];
        let copied = ["-i", file, "-map", "0", "-c", "copy"];
        Publisher::spawn(&self.program, &[&all, input, &copied, output].concat())
    }

    /// Publishes it by RTMP to several servers from one encoder, which comes back by itself to one that it lost; what becomes
    /// of one of them does not touch the others.
    pub fn publish_to(&self, urls: &[&str]) -> Publisher {
        let again = "attempt_recovery=1:recover_any_error=1:recovery_wait_time=1:drop_pkts_on_overflow=1:\
                     restart_with_keyframe=1:queue_size=300";
        let outputs: Vec<String> = urls.iter().map(|url| format!("[f=flv:onfail=ignore]{url}")).collect();
        let outputs = outputs.join("|");
        // The tags of FLV: a tee does not know that MP4's are none of its outputs'.
        let tee = ["-tag:v", "7", "-tag:a", "10", "-f", "tee", "-use_fifo", "1", "-fifo_options", again, &outputs];
        self.spawn(&[], &tee)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.name, self.log());
        }
    }
}
