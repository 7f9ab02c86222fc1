//! What is fed: the streams, made once, and a publisher that knows when it sent what.

use crate::support::publish::Publisher;
use crate::support::{ffmpeg, root, rtmp, signal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Bits per second of the stream that most figures are for.
const BITRATE: f64 = 6e6;

/// A file under `target/bench/`, made by `args` of ffmpeg when it is not there.
async fn made(name: &str, args: &[&str]) -> PathBuf {
    let dir = root().join("target/bench");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join(name);
    if !file.exists() {
        let new = dir.join(format!("new-{name}"));
        signal::make(args.iter().map(|a| (*a).into()).chain([new.clone().into_os_string()])).await;
        std::fs::rename(&new, &file).unwrap();
    }
    file
}

/// The demo footage as an event's encoder sends it: 1080p25, a key frame every 2 s, 6 Mbps with its sound.
pub async fn six() -> PathBuf {
    let footage = root().join("target/demo/footage.mp4");
    // Grain, so that the rate is that of the encoder at every moment: the film alone begins far below it.
    let video = [
        "-vf",
        "noise=alls=12:allf=t",
        "-r",
        "25",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "0",
        "-g",
        "50",
        "-sc_threshold",
        "0",
    ];
    let rate = ["-b:v", "5870k", "-maxrate", "6200k", "-bufsize", "6200k"];
    let audio = ["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-f", "flv"];
    let file = made("six.flv", &[&["-i", footage.to_str().unwrap()], &video[..], &rate, &audio].concat()).await;
    let tags = Tags::read(&file);
    let rate = tags.bytes() as f64 * 8.0 / tags.length.as_secs_f64();
    assert!((rate / BITRATE - 1.0).abs() < 0.03, "{} has {rate:.0} bit/s", file.display());
    file
}

/// Forty seconds of the numbered programme of [`signal`], 720p25, a key frame every second.
pub async fn numbered() -> PathBuf {
    let (picture, beeps) = (signal::picture(1280, 720, 25), signal::beeps(48_000));
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &beeps, "-t", "40"];
    let video = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25", "-b:v", "3M", "-pix_fmt", "yuv420p"];
    let audio = ["-c:a", "aac", "-b:a", "128k", "-f", "flv"];
    made("numbered.flv", &[&inputs[..], &video, &audio].concat()).await
}

/// ffmpeg sending a file in a loop, in real time, as it is.
pub fn looped(file: &Path, url: &str) -> Publisher {
    let args = ["-hide_banner", "-nostdin", "-v", "warning", "-re", "-stream_loop", "-1", "-i"];
    Publisher::spawn(&ffmpeg(), &[&args[..], &[file.to_str().unwrap(), "-c", "copy", "-f", "flv", url]].concat())
}

/// A tag of an FLV file (Adobe FLV 10.1, annex E.4.1).
pub struct Tag {
    kind: u8,
    at: Duration,
    body: Vec<u8>,
}

impl Tag {
    /// Whether it holds a picture, and not only a header.
    pub fn is_frame(&self) -> bool {
        self.kind == 9 && self.body.get(1) == Some(&1)
    }

    /// Its last bytes, which tell it from all others of its file.
    pub fn tail(&self) -> [u8; TAIL] {
        *self.body.last_chunk().expect("a picture is longer")
    }
}

/// Bytes at the end of a picture that tell it from the others.
pub const TAIL: usize = 48;

/// An FLV file, read whole.
pub struct Tags {
    pub tags: Vec<Tag>,
    /// From its first tag to its end.
    pub length: Duration,
}

impl Tags {
    pub fn read(file: &Path) -> Tags {
        let bytes = std::fs::read(file).unwrap();
        let u24 = |at: usize| u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]);
        let mut tags = Vec::new();
        // Nine bytes of header and the size of the tag before the first.
        let mut at = 13;
        while at + 11 <= bytes.len() {
            let size = u24(at + 1) as usize;
            let ms = u24(at + 4) | u32::from(bytes[at + 7]) << 24;
            let body = bytes[at + 11..at + 11 + size].to_vec();
            tags.push(Tag { kind: bytes[at], at: Duration::from_millis(ms.into()), body });
            at += 11 + size + 4;
        }
        let frames: Vec<&Tag> = tags.iter().filter(|t| t.is_frame()).collect();
        let (first, last) = (frames[0].at, frames[frames.len() - 1].at);
        let length = (last - first) * frames.len() as u32 / (frames.len() as u32 - 1);
        Tags { tags, length }
    }

    fn bytes(&self) -> usize {
        self.tags.iter().filter(|t| t.kind != 18).map(|t| t.body.len()).sum()
    }
}

/// Publishes a file once, in real time. Each picture is written with one call; gives the instant after that call and
/// the index of its tag, in order.
pub fn paced(tags: std::sync::Arc<Tags>, url: &str) -> JoinHandle<Vec<(Instant, usize)>> {
    let rest = url.strip_prefix("rtmp://").expect("an RTMP address");
    let (host, path) = rest.split_once('/').expect("a path");
    let (app, key) = path.rsplit_once('/').expect("a key");
    let (at, app, key) = (host.replace("localhost", "127.0.0.1").parse().unwrap(), app.to_owned(), key.to_owned());
    tokio::spawn(async move {
        let socket = rtmp::open(at, &app, &key).await;
        socket.set_nodelay(true).unwrap();
        let (mut answers, mut socket) = socket.into_split();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while answers.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        });
        // Admitted or not is seen by what comes out.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let mut sent = Vec::new();
        for (index, tag) in tags.tags.iter().enumerate().filter(|(_, t)| t.kind != 18) {
            let message = message(tag);
            tokio::time::sleep_until((began + tag.at).into()).await;
            socket.write_all(&message).await.expect("the daemon takes what is published");
            if tag.is_frame() {
                sent.push((Instant::now(), index));
            }
        }
        drop(socket);
        reader.abort();
        sent
    })
}

/// RTMP 1.0 §5.3.1: one message on chunk stream 4, message stream 1.
fn message(tag: &Tag) -> Vec<u8> {
    let (length, ms) = ((tag.body.len() as u32).to_be_bytes(), (tag.at.as_millis() as u32).to_be_bytes());
    let mut out = vec![4, ms[1], ms[2], ms[3], length[1], length[2], length[3], tag.kind, 1, 0, 0, 0];
    for (n, chunk) in tag.body.chunks(rtmp::CHUNK).enumerate() {
        if n > 0 {
            out.push(0xc4);
        }
        out.extend(chunk);
    }
    out
}
