//! Another host, as a network namespace with a cable to this one. Needs the rights of root, as its tests say.

use std::process::Stdio;
use tokio::process::Command;

/// A host at [`Host::THERE`]; this machine is at [`Host::HERE`] for it. It goes with the test.
pub struct Host {
    name: String,
    cable: String,
}

fn run(program: &str, args: &[&str], input: &str) {
    use std::io::Write;
    let mut child = std::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {} (this test needs root): {said}", args.join(" "));
}

impl Host {
    /// This machine's address on the cable.
    pub const HERE: &str = "10.213.77.1";
    /// The host's.
    pub const THERE: &str = "10.213.77.2";

    /// Sets it up.
    pub fn new() -> Host {
        let id = std::process::id();
        let host = Host { name: format!("boothcast-{id}"), cable: format!("bc{id}") };
        let (name, cable, far) = (host.name.as_str(), host.cable.as_str(), "eth0");
        run("ip", &["netns", "add", name], "");
        run("ip", &["link", "add", cable, "type", "veth", "peer", "name", far, "netns", name], "");
        run("ip", &["addr", "add", &format!("{}/30", Host::HERE), "dev", cable], "");
        run("ip", &["link", "set", cable, "up"], "");
        run("ip", &["-n", name, "addr", "add", &format!("{}/30", Host::THERE), "dev", far], "");
        run("ip", &["-n", name, "link", "set", far, "up"], "");
        run("ip", &["-n", name, "link", "set", "lo", "up"], "");
        host
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// A firewall there that lets no UDP out to this machine, or lets it again.
    pub fn block_udp(&self, blocked: bool) {
        let rule = if blocked { format!("ip daddr {} meta l4proto udp drop\n", Host::HERE) } else { String::new() };
        let rules = format!(
            "table inet boothcast\ndelete table inet boothcast\ntable inet boothcast {{\n chain out {{\n  type filter hook \
             output priority 0\n  {rule} }}\n}}\n"
        );
        run("ip", &["netns", "exec", &self.name, "nft", "-f", "-"], &rules);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed half-way has less to take down.
        for args in [&["link", "del", self.cable.as_str()][..], &["netns", "del", self.name.as_str()][..]] {
            let _ = std::process::Command::new("ip").args(args).stderr(Stdio::null()).status();
        }
    }
}
