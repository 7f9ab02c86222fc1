//! What processes use, and nginx as a peer.

use crate::support::daemon::processes;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of `stat` per second: part of the kernel's interface, whatever its own clock.
const USER_HZ: f64 = 100.0;

/// CPU seconds, user and system, that a process and its descendants have used so far.
pub fn cpu(pid: u32) -> f64 {
    family(pid).iter().map(|&pid| own_cpu(pid)).sum()
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let all = processes();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.pid));
        next += 1;
    }
    family
}

/// proc(5): utime and stime are the 14th and 15th field of `stat`, in ticks.
fn own_cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let rest = &stat[stat.rfind(')').expect("a name") + 2..];
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().expect("a number")).sum();
    ticks as f64 / USER_HZ
}

/// A running nginx; ends when dropped.
pub struct Nginx {
    child: Child,
    /// The port that its configuration was given.
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx with the top level of a configuration that `config` writes, given a free port and a directory.
    pub fn start(config: impl FnOnce(u16, &Path) -> String) -> Nginx {
        let dir = tempfile::Builder::new().prefix("boothcast-nginx-").tempdir().expect("a directory");
        let port = free_port();
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let text = format!("{user}daemon off;\npid nginx.pid;\nerror_log error.log;\n{}", config(port, dir.path()));
        let file: PathBuf = dir.path().join("nginx.conf");
        std::fs::write(&file, text).expect("written");
        let child = Command::new("/usr/sbin/nginx")
            .args(["-p".as_ref(), dir.path().as_os_str(), "-c".as_ref(), file.as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts: run scripts/setup bench");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(5), "nginx does not listen:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Nginx { child, port, _dir: dir }
    }

    /// Its master process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A master that is killed leaves its workers; told to terminate it ends them. It may have ended by itself.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
