//! WebRTC to many: CPU of our side per receiver and second, for 2.5 Mbps of H.264 and Opus.
//!
//! The players are a process of their own (this program again), peer connections of the crate `rtc` with its
//! interceptors: they decrypt everything, acknowledge and report, and decode nothing. All that this process spends
//! counts as ours, the studio that feeds it too.

use crate::ladder::{own_cpu, packets};
use crate::support::signal;
use crate::table::{Figure, Limit};
use crate::voices::Voice;
use ::rtc::ice::network_type::NetworkType;
use ::rtc::interceptor::Registry;
use ::rtc::peer_connection::configuration::RTCConfigurationBuilder;
use ::rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use ::rtc::peer_connection::configuration::media_engine::MediaEngine;
use ::rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use ::rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use ::rtc::peer_connection::sdp::RTCSessionDescription;
use ::rtc::peer_connection::transport::RTCIceCandidateInit;
use ::rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use ::rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use ::rtc::sansio::Protocol;
use ::rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use boothcast::hub;
use boothcast::media::{AudioCodec, AudioFormat, Dur, Media, Packet, SharedClock, SystemClock, Track, TrackId};
use boothcast::rtc::{Config, PeerState, PlaySource, Rtc};
use boothcast::task::Group;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Set in the environment of the process that plays, to how many it plays.
pub const PLAYERS: &str = "BOOTHCAST_BENCH_PLAYERS";
const RECEIVERS: usize = 50;
const MEASURE: Duration = Duration::from_secs(15);
const SOUND: TrackId = TrackId(7);

/// One who plays, on a socket.
struct Player {
    pc: RTCPeerConnection,
    socket: UdpSocket,
    address: SocketAddr,
    server: SocketAddr,
    packets: u64,
}

impl Player {
    fn new() -> (Player, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(::rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_network_types(vec![NetworkType::Udp4])
            .build();
        let now = Instant::now();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(media)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(now)
            .unwrap();
        pc.add_transceiver_from_kind(RtpCodecKind::Audio, None).unwrap();
        pc.add_transceiver_from_kind(RtpCodecKind::Video, None).unwrap();
        let offer = pc.create_offer(None).unwrap();
        pc.set_local_description(now, offer).unwrap();
        let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", address.ip(), address.port());
        pc.add_local_candidate(RTCIceCandidateInit { candidate, ..Default::default() }).unwrap();
        let offer = pc.local_description().unwrap().sdp;
        (Player { pc, socket, address, server: address, packets: 0 }, offer)
    }

    fn answer(&mut self, answer: &str) {
        let line = answer.lines().find(|l| l.starts_with("a=candidate:") && l.contains(" udp ")).expect("a candidate");
        let words: Vec<&str> = line.split(' ').collect();
        self.server = SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap());
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        self.pc.set_remote_description(Instant::now(), answer).unwrap();
    }

    fn step(&mut self) {
        let mut buffer = [0u8; 2048];
        let now = Instant::now();
        while let Ok(count) = self.socket.recv(&mut buffer) {
            let transport = TransportContext {
                local_addr: self.address,
                peer_addr: self.server,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            let _ = self.pc.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(&buffer[..count]) });
            self.drain();
        }
        if self.pc.poll_timeout().is_some_and(|t| t <= now) {
            let _ = self.pc.handle_timeout(now);
        }
        self.drain();
        while let Some(message) = self.pc.poll_write() {
            let _ = self.socket.send_to(&message.message, self.server);
        }
    }

    fn drain(&mut self) {
        while self.pc.poll_event().is_some() {}
        while let Some(TaggedRTCMessage { message, .. }) = self.pc.poll_read() {
            self.packets += u64::from(matches!(message, RTCMessage::RtpPacket(..)));
        }
    }
}

/// The process that plays: offers go out and answers come in as lines of JSON; at any other line it tells what came.
pub fn play(count: usize) {
    let (mut players, offers): (Vec<Player>, Vec<String>) = (0..count).map(|_| Player::new()).unzip();
    let (tx, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|l| tx.send(l)));
    let say = |value: Value| {
        println!("{value}");
        std::io::stdout().flush().unwrap();
    };
    offers.iter().for_each(|offer| say(json!({ "offer": offer })));
    let mut answered = 0;
    loop {
        loop {
            match lines.try_recv() {
                Ok(line) => match serde_json::from_str::<Value>(&line).unwrap()["answer"].as_str() {
                    Some(answer) => {
                        players[answered].answer(answer);
                        answered += 1;
                    }
                    None => say(json!({ "packets": players.iter().map(|p| p.packets).collect::<Vec<_>>() })),
                },
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        players[..answered].iter_mut().for_each(Player::step);
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// The picture again and again, and a voice.
async fn studio(publisher: hub::Publisher, picture: Vec<Packet>, clock: SharedClock) {
    let config = Bytes::new();
    let format = AudioFormat { codec: AudioCodec::Opus, config, sample_rate: 48_000, channels: 2 };
    let sound = Arc::new(Track { id: SOUND, media: Media::Audio(format) });
    let (voice, zero) = (Voice::speaking(0), clock.now());
    let mut pictures = picture.iter().cycle();
    for n in 0i64.. {
        let at = zero + Dur::from_millis(20) * n;
        clock.sleep_until(at).await;
        if n % 2 == 0 {
            let picture = pictures.next().expect("endless");
            publisher.publish(Packet { dts: at, pts: at, arrival: at, ..picture.clone() });
        }
        let (duration, data) = (Dur::from_millis(20), voice.packet(n as usize));
        let (key, decode_only) = (false, false);
        let track = sound.clone();
        publisher.publish(Packet { track, epoch: 0, dts: at, pts: at, duration, key, decode_only, arrival: at, data });
    }
}

async fn footage() -> Vec<Packet> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picture.mp4");
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25", "-vf", "noise=alls=10:allf=t", "-t", "10"];
    let video =
        ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "baseline", "-g", "50"];
    let rate = ["-pix_fmt", "yuv420p", "-b:v", "2450k", "-maxrate", "2500k", "-bufsize", "600k"];
    signal::make(inputs.iter().chain(&video).chain(&rate).copied().chain([file.to_str().unwrap()])).await;
    let packets = packets(&file, 10);
    let rate = packets.iter().map(|p| p.data.len()).sum::<usize>() as f64 * 8.0 / 10.0;
    assert!((2.2e6..2.7e6).contains(&rate), "the picture has {rate:.0} bit/s");
    packets
}

pub async fn run() -> Vec<Figure> {
    let (group, clock): (Group, SharedClock) = (Group::new(), Arc::new(SystemClock::new()));
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), public_ips: vec![], max_sessions: 100 };
    let rtc = Rtc::start(&config, &group, clock.clone()).await.unwrap();
    let (publisher, stream) = hub::stream(hub::Limits::default());
    group.spawn_until_cancelled("studio", studio(publisher, footage().await, clock));
    let mut players = tokio::process::Command::new(std::env::current_exe().unwrap())
        .env(PLAYERS, RECEIVERS.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut to, from) = (players.stdin.take().unwrap(), players.stdout.take().unwrap());
    let mut lines = BufReader::new(from).lines();
    let mut sessions = Vec::new();
    while sessions.len() < RECEIVERS {
        let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().expect("offers")).unwrap();
        let source = PlaySource::new(stream.clone(), Some(TrackId::VIDEO), Some(SOUND));
        let accepted = rtc.play(line["offer"].as_str().unwrap(), source).await.unwrap();
        to.write_all(format!("{}\n", json!({ "answer": accepted.answer })).as_bytes()).await.unwrap();
        sessions.push(accepted.session);
    }
    crate::support::eventually(Duration::from_secs(30), "all play", || async {
        sessions.iter().all(|s| s.stats().borrow().state == PeerState::Connected).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut came = async || {
        to.write_all(b"null\n").await.unwrap();
        let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().expect("figures")).unwrap();
        line["packets"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let sent = || sessions.iter().map(|s| (s.stats().borrow().bytes_out, s.stats().borrow().dropped_out));
    let (before, began, used) = (came().await, Instant::now(), own_cpu());
    let (bytes, dropped) = sent().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
    tokio::time::sleep(MEASURE).await;
    let (used, seconds, after) = (own_cpu() - used, began.elapsed().as_secs_f64(), came().await);
    let (bytes, dropped) =
        sent().fold((0 - bytes as i64, 0 - dropped as i64), |sum, s| (sum.0 + s.0 as i64, sum.1 + s.1 as i64));
    let rate = bytes as f64 * 8.0 / seconds / RECEIVERS as f64;
    assert!(rate > 2.3e6, "each got {rate:.0} bit/s, {dropped} packets were dropped");
    let fewest = after.iter().zip(&before).map(|(a, b)| a - b).min().unwrap() as f64 / seconds;
    assert!(fewest > 250.0, "somebody got {fewest:.0} packets a second");
    group.cancel();
    let receivers = seconds * RECEIVERS as f64;
    vec![Figure::new("fan-out: 50 receivers of 2.5 Mbps", used * 1e3 / receivers, "CPU ms per s", Limit::Most(4.5))]
}
