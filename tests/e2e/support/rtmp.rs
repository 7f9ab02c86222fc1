//! The least of an RTMP client: it asks to publish and reports the status that it is told.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of C1, S1, C2 and S2.
const HANDSHAKE: usize = 1536;
/// Bytes of payload of a chunk that this client sends.
pub const CHUNK: usize = 65_536;

/// What became of an attempt to publish.
#[derive(Debug)]
pub struct Attempt {
    /// All that was said after the handshake, with everything that is no ASCII left out.
    pub said: String,
    /// Whether the connection was closed.
    pub closed: bool,
}

impl Attempt {
    /// Whether it was refused as the protocol has it: `onStatus` of level `error` with one of the two codes, then the
    /// end of the connection.
    pub fn refused(&self) -> bool {
        let code = ["NetStream.Publish.BadName", "NetStream.Publish.Denied"].iter().any(|c| self.said.contains(c));
        self.closed && code && self.said.contains("onStatus") && self.said.contains("error")
    }
}

fn string(out: &mut Vec<u8>, s: &str) {
    out.push(0x02);
    out.extend((s.len() as u16).to_be_bytes());
    out.extend(s.as_bytes());
}

fn number(out: &mut Vec<u8>, n: f64) {
    out.push(0x00);
    out.extend(n.to_be_bytes());
}

/// One AMF0 command in one chunk of format 0.
fn command(stream: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let mut out = vec![0x03, 0, 0, 0, length[1], length[2], length[3], 20];
    out.extend(stream.to_le_bytes());
    out.extend(body);
    out
}

/// Connects and asks to publish `key` in `app`; what is said to that is still to be read.
pub async fn open(at: SocketAddr, app: &str, key: &str) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.unwrap();
    let mut hello = vec![3];
    hello.extend([0; 8]);
    hello.extend((0..HANDSHAKE - 8).map(|i| i as u8));
    socket.write_all(&hello).await.unwrap();
    let mut answer = vec![0; 1 + 2 * HANDSHAKE];
    socket.read_exact(&mut answer).await.unwrap();
    socket.write_all(&answer[1..1 + HANDSHAKE]).await.unwrap();

    // Set Chunk Size to [`CHUNK`], so that every command is one chunk.
    let mut out = vec![0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
    out.extend((CHUNK as u32).to_be_bytes());
    let mut connect = Vec::new();
    string(&mut connect, "connect");
    number(&mut connect, 1.0);
    connect.push(0x03);
    for (name, value) in [("app", app), ("type", "nonprivate"), ("tcUrl", &format!("rtmp://{at}/{app}"))] {
        connect.extend((name.len() as u16).to_be_bytes());
        connect.extend(name.as_bytes());
        string(&mut connect, value);
    }
    connect.extend([0, 0, 9]);
    out.extend(command(0, &connect));
    let mut create = Vec::new();
    string(&mut create, "createStream");
    number(&mut create, 2.0);
    create.push(0x05);
    out.extend(command(0, &create));
    let mut publish = Vec::new();
    string(&mut publish, "publish");
    number(&mut publish, 3.0);
    publish.push(0x05);
    string(&mut publish, key);
    string(&mut publish, "live");
    out.extend(command(1, &publish));
    socket.write_all(&out).await.unwrap();
    socket
}

/// Publishes `key` in `app` and listens for up to three seconds.
pub async fn publish(at: SocketAddr, app: &str, key: &str) -> Attempt {
    let mut socket = open(at, app, key).await;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let limit = tokio::time::Instant::now() + Duration::from_secs(3);
    let closed = loop {
        match tokio::time::timeout_at(limit, socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(n)) => said.extend(&buffer[..n]),
            Err(_) => break false,
        }
    };
    // Chunk headers inside a message are one byte above 0x7f, so that leaving these out joins the text again.
    said.retain(|b| (0x20..0x7f).contains(b));
    Attempt { said: String::from_utf8_lossy(&said).into_owned(), closed }
}
