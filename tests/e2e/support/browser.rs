//! Chromium with one page, driven through `browser/drive.mjs`.

use super::daemon::Lines;
use super::root;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines as LineReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The longest that one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page. It closes when its standard input does, so also when the test dies.
pub struct Browser {
    child: Child,
    stdin: ChildStdin,
    answers: LineReader<BufReader<ChildStdout>>,
    log: Lines,
}

/// How the page's video stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    pub at: f64,
    pub frames: u64,
    pub sound_bytes: u64,
    pub height: u64,
    pub paused: bool,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Browser {
        Browser::launch(Command::new("node"), None).await
    }

    /// Starts one on a host of its own.
    pub async fn on(host: &super::host::Host, wav: &Path) -> Browser {
        Browser::launch(host.command("node"), Some(wav)).await
    }

    /// Starts one whose microphones play a WAV file, again and again.
    pub async fn speaking(wav: &Path) -> Browser {
        Browser::launch(Command::new("node"), Some(wav)).await
    }

    async fn launch(mut node: Command, wav: Option<&Path>) -> Browser {
        let mut child = node
            .arg(root().join("tests/e2e/browser/drive.mjs"))
            .args(wav)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(false)
            .spawn()
            .expect("node starts");
        let log = Lines::read(child.stderr.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut browser = Browser { child, stdin, answers, log };
        browser.answer("start").await;
        browser
    }

    async fn answer(&mut self, command: &str) -> Value {
        let line = tokio::time::timeout(COMMAND_LIMIT, self.answers.next_line()).await;
        let Ok(Ok(Some(line))) = line else { panic!("browser, {command}: {line:?}\n{}", self.log.text()) };
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["ok"] == true, "browser, {command}: {}", answer["error"]);
        answer["value"].clone()
    }

    /// Runs a command of `drive.mjs`.
    pub async fn run(&mut self, command: Value) -> Value {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        self.answer(&command.to_string()).await
    }

    /// Goes on in this tab, which is opened if it is not there. The first one is `main`.
    pub async fn tab(&mut self, name: &str) {
        self.run(json!({"do": "tab", "name": name})).await;
    }

    /// Clicks on the first element that matches.
    pub async fn click(&mut self, selector: &str) {
        self.run(json!({"do": "click", "selector": selector})).await;
    }

    /// Types into a field.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.run(json!({"do": "fill", "selector": selector, "text": text})).await;
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) {
        self.run(json!({"do": "goto", "url": url})).await;
    }

    /// Ends the browser at once, as when the machine loses power.
    pub async fn kill(&mut self) {
        let pid = self.child.id().expect("the browser runs");
        let mut group = vec![pid];
        // The driver, and every process that it or its children started.
        let all = super::daemon::processes();
        while let Some(more) = all.iter().find(|p| group.contains(&p.parent) && !group.contains(&p.pid)) {
            group.push(more.pid);
        }
        // One that has ended by itself meanwhile is as dead as the others.
        let pids = group.iter().map(u32::to_string);
        let _ = std::process::Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status().unwrap();
    }

    /// The value of a JavaScript expression in the page.
    pub async fn eval(&mut self, code: &str) -> Value {
        self.run(json!({"do": "eval", "code": code})).await
    }

    /// Writes a screenshot under `target/screenshots/`, for people to look at.
    pub async fn screenshot(&mut self, name: &str) {
        let dir = root().join("target/screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        self.run(json!({"do": "screenshot", "path": dir.join(name).with_extension("png")})).await;
    }

    /// Answers an address of the page's origin with a file.
    pub async fn serve(&mut self, url: &str, kind: &str, file: &Path) {
        self.run(json!({"do": "serve", "url": url, "type": kind, "file": file})).await;
    }

    /// Answers an address of the page's origin with a text.
    pub async fn serve_text(&mut self, url: &str, kind: &str, body: &str) {
        self.run(json!({"do": "serve", "url": url, "type": kind, "body": body})).await;
    }

    /// The text that the page shows.
    pub async fn text(&mut self) -> String {
        self.eval("document.body.innerText").await.as_str().unwrap_or("").to_owned()
    }

    /// Where the first video of the page is; `None` while there is none.
    pub async fn playback(&mut self) -> Option<Playback> {
        let v = self
            .eval(
                "(() => { const v = document.querySelector('video'); return v && { at: v.currentTime, \
                 frames: v.getVideoPlaybackQuality().totalVideoFrames, sound: v.webkitAudioDecodedByteCount, \
                 height: v.videoHeight, paused: v.paused }; })()",
            )
            .await;
        Some(Playback {
            at: v.get("at")?.as_f64()?,
            frames: v["frames"].as_u64()?,
            sound_bytes: v["sound"].as_u64()?,
            height: v["height"].as_u64()?,
            paused: v["paused"].as_bool()?,
        })
    }

    /// Waits until `code` is true in the page and says how long it took.
    pub async fn until(&mut self, limit: Duration, code: &str) -> Duration {
        let began = Instant::now();
        loop {
            if self.eval(&format!("Boolean({code})")).await == true {
                return began.elapsed();
            }
            if began.elapsed() > limit {
                let (text, errors) = (self.text().await, self.run(json!({"do": "log"})).await);
                let stats = self.eval("window.__boothcast?.stats() ?? null").await;
                panic!("not within {limit:?} in the page: {code}\nit shows: {text}\nerrors: {errors:#}\n{stats:#}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the video plays: pictures and sound are decoded and time advances.
    pub async fn until_playing(&mut self, limit: Duration) -> Duration {
        self.until(
            limit,
            "(() => { const v = document.querySelector('video'); return v && !v.paused && v.currentTime > 0 && \
             v.getVideoPlaybackQuality().totalVideoFrames > 10 && v.webkitAudioDecodedByteCount > 0; })()",
        )
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- browser\n{}\n---", self.log.text());
        }
    }
}
