//! The daemon under test: the binary itself, with free ports, in a directory of its own.

use super::api::Api;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// Lines of a process's output that are kept to be shown when a test fails.
const KEPT_LINES: usize = 400;

/// The last lines that a process wrote.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    /// Collects what `from` says until it ends.
    pub fn read(from: impl AsyncRead + Unpin + Send + 'static) -> Lines {
        let lines = Lines::default();
        let into = lines.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::new(from).split(b'\n');
            while let Ok(Some(line)) = reader.next_segment().await {
                let mut kept = into.0.lock().unwrap();
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
        lines
    }

    /// All that is kept.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// The first kept line that `pick` takes.
    pub fn find<T>(&self, pick: impl FnMut(&String) -> Option<T>) -> Option<T> {
        self.0.lock().unwrap().iter().find_map(pick)
    }
}

/// What a test sets beyond free ports and a state directory, as lines of the configuration file.
#[derive(Clone, Default)]
pub struct Options {
    /// Lines of `[http]`.
    pub http: String,
    /// Lines of `[rtmp]`.
    pub rtmp: String,
    /// Lines of `[webrtc]`; with a line that sets `listen`, that one holds.
    pub webrtc: String,
    /// Whole other sections.
    pub sections: String,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
}

/// A running daemon; killed when dropped, and its log shown if the test is failing.
pub struct Daemon {
    dir: TempDir,
    options: Options,
    child: Child,
    log: Lines,
    /// The addresses of the `listening` line, by name.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// The administrator's token.
    pub token: String,
}

impl Daemon {
    /// Starts with what every test needs.
    pub async fn start() -> Daemon {
        Daemon::with(Options::default()).await
    }

    /// Starts with more.
    pub async fn with(options: Options) -> Daemon {
        let dir = tempfile::Builder::new().prefix("boothcast-").tempdir().unwrap();
        let token = "e2e-0123456789abcdef0123456789abcdef".to_owned();
        let (child, log, addresses) = launch(&dir, &options, &BTreeMap::new(), &token).await;
        Daemon { dir, options, child, log, addresses, token }
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts again on the same state and ports.
    pub async fn restart(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "stop it first");
        (self.child, self.log, self.addresses) = launch(&self.dir, &self.options, &self.addresses, &self.token).await;
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self, limit: Duration) -> std::process::ExitStatus {
        tokio::time::timeout(limit, self.child.wait()).await.expect("the daemon ends in time").unwrap()
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    /// Its codec processes.
    pub fn engines(&self) -> Vec<u32> {
        let parent = self.pid();
        processes().into_iter().filter(|p| p.parent == parent && p.command.contains("engine")).map(|p| p.pid).collect()
    }

    /// What it wrote to standard error since it was started.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("boothcast.toml")
    }

    /// `http://127.0.0.1:PORT`.
    pub fn http(&self) -> String {
        format!("http://{}", self.addresses["http"])
    }

    /// The control API as administrator.
    pub fn api(&self) -> Api {
        Api::new(&self.http(), Some(&self.token))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}\n---", self.log());
        }
    }
}

async fn launch(
    dir: &TempDir,
    options: &Options,
    fixed: &BTreeMap<String, SocketAddr>,
    token: &str,
) -> (Child, Lines, BTreeMap<String, SocketAddr>) {
    let at = |name: &str| fixed.get(name).map_or("127.0.0.1:0".to_owned(), ToString::to_string);
    let config = dir.path().join("boothcast.toml");
    let webrtc = match options.webrtc.contains("listen") {
        true => options.webrtc.clone(),
        false => format!("listen = {:?}\n{}", at("webrtc"), options.webrtc),
    };
    let text = format!(
        "[store]\ndir = {:?}\n[http]\nlisten = {:?}\n{}\n[rtmp]\nlisten = {:?}\n{}\n[srt]\nlisten = {:?}\n\
         [webrtc]\n{}\n[metrics]\nlisten = {:?}\n{}\n",
        dir.path().join("state"),
        at("http"),
        options.http,
        at("rtmp"),
        options.rtmp,
        at("srt"),
        webrtc,
        at("metrics"),
        options.sections,
    );
    std::fs::write(&config, text).unwrap();
    let mut child = boothcast()
        .args(["serve", "--config"])
        .arg(&config)
        .env("BOOTHCAST_ADMIN_TOKEN", token)
        .envs(options.env.clone())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the daemon starts");
    let log = Lines::read(child.stderr.take().unwrap());
    let began = Instant::now();
    let addresses = loop {
        if let Some(found) = log.find(|l| listening(l)) {
            break found;
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the daemon ended with {status} before it listened:\n{}", log.text());
        }
        assert!(began.elapsed() < Duration::from_secs(15), "no `listening` line within 15 s:\n{}", log.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    (child, log, addresses)
}

/// The binary, to be given arguments.
pub fn boothcast() -> Command {
    Command::new(env!("CARGO_BIN_EXE_boothcast"))
}

/// `listening http=127.0.0.1:PORT rtmp=… metrics=…`
fn listening(line: &str) -> Option<BTreeMap<String, SocketAddr>> {
    let rest = line.strip_prefix("listening ")?;
    Some(
        rest.split_whitespace()
            .filter_map(|p| p.split_once('='))
            .filter_map(|(n, a)| Some((n.to_owned(), a.parse().ok()?)))
            .collect(),
    )
}

/// A process of this machine.
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// All processes.
pub fn processes() -> Vec<Process> {
    let read = |pid: u32| -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let mut fields = stat[stat.rfind(')')? + 2..].split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        (state != "Z").then_some(Process { pid, parent, command })
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// Sends a signal by name to a process.
pub fn signal(pid: u32, name: &str) {
    let done = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(done.success(), "kill -{name} {pid}");
}

/// Resident megabytes (10⁶ bytes) of a process.
pub fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0 / 1e6
}
