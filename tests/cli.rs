//! The command line, as its user runs it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boothcast"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn config(dir: &Path, text: &str) -> String {
    let file = dir.join("boothcast.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_config_exits_with_0_or_says_where_the_mistake_is() {
    let dir = tempfile::tempdir().unwrap();
    let right = config(dir.path(), "[http]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(run(&["check-config", &right], &[]), (0, String::new(), String::new()));
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/boothcast.toml");
    assert_eq!(run(&["check-config", documented], &[]).0, 0);

    let wrong = config(dir.path(), "[http]\n\nlisen = \"127.0.0.1:0\"\n");
    let (code, out, err) = run(&["check-config", &wrong], &[]);
    let said = format!("boothcast: {wrong}: line 3, column 1: unknown key `lisen` in [http]; did you mean `listen`?\n");
    assert_eq!((code, out.as_str(), err), (1, "", said));
    let (code, _, err) = run(&["check-config", documented], &[("BOOTHCAST_HTTP__LISTEN", "nowhere")]);
    assert!(code == 1 && err.contains("BOOTHCAST_HTTP__LISTEN"), "{err}");
    let (code, _, err) = run(&["check-config", "/nonexistent/x.toml"], &[]);
    assert!(code == 1 && err.contains("/nonexistent/x.toml"), "{err}");
}

#[test]
fn a_token_is_made_listed_and_revoked_and_its_secret_is_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = config(dir.path(), &format!("[store]\ndir = {:?}\n", state.to_str().unwrap()));
    let (code, out, err) = run(&["token", "create", "--role", "read-only", "--config", &file], &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    let secret = out.split_whitespace().last().unwrap();
    assert!(secret.starts_with("bct_") && secret.len() == 44, "{out}");
    // By variable instead of by file.
    let (code, out, _) =
        run(&["token", "create", "--role", "admin"], &[("BOOTHCAST_STORE__DIR", state.to_str().unwrap())]);
    assert_eq!(code, 0, "{out}");

    let (_, list, _) = run(&["token", "list", "--config", &file], &[]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("read-only") && lines[1].contains("admin"), "{list}");
    assert!(!list.contains(secret), "a secret is shown once");
    let id = lines[0].split_whitespace().next().unwrap();
    assert_eq!(run(&["token", "revoke", id, "--config", &file], &[]).0, 0);
    let (code, _, err) = run(&["token", "revoke", id, "--config", &file], &[]);
    assert!(code == 1 && err.contains("no valid token"), "{err}");
    assert!(run(&["token", "list", "--config", &file], &[]).1.lines().next().unwrap().contains("revoked"));
}

#[test]
fn many_tokens_at_once_are_all_made() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let made: Vec<String> = std::thread::scope(|scope| {
        let start =
            || run(&["token", "create", "--role", "admin"], &[("BOOTHCAST_STORE__DIR", state.to_str().unwrap())]);
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .map(|(code, out, err)| (code == 0, out, err))
            .map(|(ok, out, err)| {
                assert!(ok, "{err}");
                out
            })
            .collect()
    });
    let list = run(&["token", "list"], &[("BOOTHCAST_STORE__DIR", state.to_str().unwrap())]).1;
    assert_eq!((made.len(), list.lines().count()), (6, 6));
}

#[test]
fn wrong_arguments_are_told() {
    let (code, _, err) = run(&["token", "create", "--role", "king"], &[]);
    assert!(code == 2 && err.contains("roles are admin, manager, operator, read-only"), "{err}");
    assert_eq!(run(&["token", "create"], &[]).0, 2);
    assert_eq!(run(&["nonsense"], &[]).0, 2);
    assert!(run(&["--version"], &[]).1.starts_with("boothcast "));
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "[store]\ndir = \"/proc/nowhere\"\n");
    let (code, _, err) = run(&["token", "create", "--role", "admin", "--config", &file], &[]);
    assert!(code == 1 && err.contains("/proc/nowhere"), "{err}");
}
