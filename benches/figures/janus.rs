//! Janus with its AudioBridge as Debian packages it, driven over its HTTP API; its participants speak plain RTP.

use crate::mixing::{WATCH, rtp};
use crate::process;
use crate::voices::Voice;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Participants of the bench of costs.
const PARTICIPANTS: u32 = 8;
const ROOM: u64 = 1234;

struct Janus {
    child: Child,
    api: String,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// One who takes part, with the socket of its RTP.
struct Participant {
    socket: Arc<UdpSocket>,
    ssrc: u32,
}

impl Janus {
    async fn start() -> Janus {
        let dir = tempfile::Builder::new().prefix("boothcast-janus-").tempdir().unwrap();
        let port = crate::support::free_port();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let plugins = Command::new("sh")
            .args(["-c", "dirname \"$(dpkg -L janus | grep -m1 plugins/libjanus_audiobridge)\""])
            .output()
            .unwrap();
        let plugins = PathBuf::from(String::from_utf8_lossy(&plugins.stdout).trim());
        assert!(plugins.is_dir(), "Janus is not installed: run scripts/setup bench");
        let transports = plugins.with_file_name("transports");
        write(
            "janus.jcfg",
            format!(
                "general: {{ plugins_folder = \"{}\" transports_folder = \"{}\" debug_level = 3 }}\n\
             plugins: {{ disable = \"{}\" }}\ntransports: {{ disable = \"libjanus_websockets.so,libjanus_rabbitmq.so,\
             libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so\" }}\n",
                plugins.display(),
                transports.display(),
                "libjanus_echotest.so,libjanus_streaming.so,libjanus_videocall.so,libjanus_sip.so,libjanus_nosip.so,\
             libjanus_recordplay.so,libjanus_textroom.so,libjanus_videoroom.so,libjanus_voicemail.so,libjanus_lua.so,\
             libjanus_duktape.so",
            ),
        );
        write(
            "janus.transport.http.jcfg",
            format!(
                "general: {{ json = \"plain\" base_path = \"/janus\" http = true port = {port} ip = \"127.0.0.1\" https = false }}\n\
             admin: {{ admin_http = false }}\n"
            ),
        );
        write(
            "janus.plugin.audiobridge.jcfg",
            format!(
                "general: {{ local_ip = \"127.0.0.1\" }}\nroom-{ROOM}: {{ description = \"bench\" sampling_rate = 48000 record = false allow_rtp_participants = true }}\n"
            ),
        );
        let child = Command::new("janus")
            .args(["--configs-folder", dir.path().to_str().unwrap(), "--disable-colors"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Janus starts: run scripts/setup bench");
        let janus = Janus {
            child,
            api: format!("http://127.0.0.1:{port}/janus"),
            client: crate::support::api::client(),
            _dir: dir,
        };
        crate::support::eventually(Duration::from_secs(10), "Janus answers", || async {
            janus.client.get(format!("{}/info", janus.api)).send().await.ok().map(drop)
        })
        .await;
        janus
    }

    async fn say(&self, path: &str, mut message: Value) -> Value {
        message["transaction"] = "bench".into();
        let answer = self.client.post(format!("{}{path}", self.api)).json(&message).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Lets somebody in.
    async fn join(&self, ssrc: u32) -> Participant {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let session = self.say("", json!({"janus": "create"})).await["data"]["id"].as_u64().unwrap();
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.audiobridge"});
        let handle = self.say(&format!("/{session}"), attach).await["data"]["id"].as_u64().unwrap();
        let port = socket.local_addr().unwrap().port();
        let body = json!({"request": "join", "room": ROOM, "display": ssrc.to_string(), "muted": false,
            "rtp": {"ip": "127.0.0.1", "port": port, "payload_type": 111}});
        self.say(&format!("/{session}/{handle}"), json!({"janus": "message", "body": body})).await;
        // Events come by long polling.
        let joined = loop {
            let event: Value =
                self.client.get(format!("{}/{session}?maxev=1", self.api)).send().await.unwrap().json().await.unwrap();
            let data = event["plugindata"]["data"].clone();
            assert!(data["error"].is_null(), "{data}");
            if data["audiobridge"] == "joined" && data["rtp"].is_object() {
                break data;
            }
        };
        let to = joined["rtp"]["port"].as_u64().unwrap() as u16;
        socket.connect(("127.0.0.1", to)).await.unwrap();
        // A session ends when nobody asks for its events.
        let (client, url) = (self.client.clone(), format!("{}/{session}?maxev=10", self.api));
        tokio::spawn(async move { while client.get(&url).send().await.is_ok_and(|a| a.status().is_success()) {} });
        Participant { socket, ssrc }
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks until `end`.
async fn speak(participant: &Participant, voice: Voice, end: Arc<AtomicBool>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for n in 0.. {
        tick.tick().await;
        if end.load(Ordering::Relaxed) {
            break;
        }
        let _ = participant.socket.send(&rtp(n, participant.ssrc, &voice.packet(n))).await;
    }
}

/// CPU per second of each of those who speak.
pub async fn participant() -> f64 {
    let janus = Janus::start().await;
    let end = Arc::new(AtomicBool::new(false));
    let mut speakers = Vec::new();
    for number in 0..PARTICIPANTS {
        let participant = janus.join(number + 1).await;
        let (voice, end) = (Voice::speaking(number), end.clone());
        speakers.push(tokio::spawn(async move { speak(&participant, voice, end).await }));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (began, before) = (Instant::now(), process::cpu(janus.child.id()));
    tokio::time::sleep(WATCH).await;
    let used = (process::cpu(janus.child.id()) - before) / began.elapsed().as_secs_f64();
    end.store(true, Ordering::Relaxed);
    for speaker in speakers {
        speaker.await.unwrap();
    }
    used / f64::from(PARTICIPANTS)
}
