//! A client on real sockets, for tests of the shell and of HTTP.

use super::sim::{Client, Studio, Wish};
use crate::hub::Publisher;
use crate::media::{Dur, SharedClock, Ts};
use crate::rtc::instant::Anchor;
use crate::rtc::tcp::{next_frame, push_frame};
use crate::task::Group;
use crate::wire::rtp::h264::packetize;
use ::rtc::sansio::Protocol;
use bytes::{Bytes, BytesMut};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// More than anything takes on a busy machine.
pub const OFFER_TIMEOUT: Duration = Duration::from_secs(20);

enum Wire {
    Udp(UdpSocket),
    Tcp(Option<TcpStream>, BytesMut),
}

/// A peer connection of the crate `rtc` on a socket.
pub struct LiveClient {
    pub client: Client,
    anchor: Anchor,
    clock: SharedClock,
    wire: Wire,
}

impl LiveClient {
    pub fn new(clock: SharedClock, wish: Wish, tcp: bool) -> LiveClient {
        let now = clock.now();
        let anchor = Anchor::new(now);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let wire = if tcp { Wire::Tcp(None, BytesMut::new()) } else { Wire::Udp(socket) };
        LiveClient { client: Client::new(anchor, now, address, wish, tcp), anchor, clock, wire }
    }

    pub fn offer(&mut self) -> String {
        self.client.offer(self.anchor, self.clock.now())
    }

    pub fn answer(&mut self, answer: &str) {
        let line = answer.lines().find(|l| l.starts_with("a=candidate:")).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        self.client.server = SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap());
        self.client.answer(self.anchor, self.clock.now(), answer);
        if let Wire::Tcp(stream, _) = &mut self.wire {
            let made = TcpStream::connect(self.client.server).unwrap();
            self.client.address = made.local_addr().unwrap();
            made.set_nonblocking(true).unwrap();
            *stream = Some(made);
        }
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let mut buffer = [0u8; 2048];
        let mut came: Vec<Bytes> = Vec::new();
        match &mut self.wire {
            Wire::Udp(socket) => {
                while let Ok((n, _)) = socket.recv_from(&mut buffer) {
                    came.push(Bytes::copy_from_slice(&buffer[..n]));
                }
            }
            Wire::Tcp(stream, read) => {
                while let Some(n) = stream.as_mut().and_then(|s| s.read(&mut buffer).ok()).filter(|n| *n > 0) {
                    read.extend_from_slice(&buffer[..n]);
                }
                while let Ok(Some(frame)) = next_frame(read) {
                    came.push(frame);
                }
            }
        }
        came.iter().for_each(|data| self.client.read(self.anchor, now, data));
        if self.client.pc.poll_timeout().is_some_and(|t| t <= self.anchor.instant(now)) {
            let _ = self.client.pc.handle_timeout(self.anchor.instant(now));
        }
        self.client.drain();
        while let Some(message) = self.client.pc.poll_write() {
            match &mut self.wire {
                Wire::Udp(socket) => drop(socket.send_to(&message.message, self.client.server)),
                Wire::Tcp(Some(stream), _) => {
                    let mut frame = BytesMut::new();
                    push_frame(&mut frame, &message.message);
                    stream.write_all(&frame).unwrap();
                }
                Wire::Tcp(None, _) => {}
            }
        }
    }

    /// Until it is connected.
    pub async fn connect(&mut self) -> bool {
        let end = self.clock.now() + Dur::from_std(OFFER_TIMEOUT);
        while self.clock.now() < end && !self.client.connected {
            self.step();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.client.connected
    }

    pub async fn run(&mut self, length: Duration) {
        let end = self.clock.now() + Dur::from_std(length);
        while self.clock.now() < end {
            self.step();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Pictures and sound for so long.
    pub async fn film(&mut self, length: Duration) {
        let zero = self.clock.now();
        let sets = [crate::wire::rtp::h264::tests::sps(), Bytes::from_static(b"\x68\xce\x3c\x80")];
        let (mut pictures, mut sounds) = (0, 0);
        loop {
            let now = self.clock.now();
            if now - zero >= Dur::from_std(length) {
                return;
            }
            while zero + Dur::from_millis(pictures * 40) <= now {
                let key = pictures % 25 == 0;
                let mut nal = vec![7u8; 3000];
                nal[0] = if key { 0x65 } else { 0x41 };
                let unit = Bytes::from([&3000u32.to_be_bytes()[..], &nal].concat());
                let payloads = packetize(&unit, if key { &sets } else { &[] }, 1180);
                let last = payloads.len() - 1;
                for (n, payload) in payloads.into_iter().enumerate() {
                    let (kind, time) = (self.client.h264, (pictures * 3600) as u32);
                    self.client.send(self.anchor, now, super::sim::PICTURE, kind, time, n == last, payload);
                }
                pictures += 1;
            }
            while zero + Dur::from_millis(sounds * 20) <= now {
                let data = Bytes::from_static(&[0xfc, 1, 2, 3, 4]);
                let time = (sounds * 960) as u32;
                self.client.send(self.anchor, now, super::sim::SOUND, 111, time, false, data);
                sounds += 1;
            }
            self.step();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whole pictures, and packets of sound.
    pub fn received(&self) -> (usize, Vec<Bytes>) {
        let picture = self.client.got.iter().find(|g| g.payload.len() > 100).map_or(0, |g| g.ssrc);
        let sound = self.client.got.iter().filter(|g| g.ssrc != picture).map(|g| g.payload.clone());
        (self.client.pictures(picture).0.len(), sound.collect())
    }
}

/// Pictures and two languages to a hub, in real time, a key frame every second.
pub fn broadcast(group: &Group, publisher: Publisher, clock: SharedClock) {
    let tracks = Studio::tracks();
    group.spawn_until_cancelled("studio", async move {
        let zero = clock.now();
        let mut n = 0i64;
        loop {
            let at = zero + Dur::from_millis(n * 20);
            clock.sleep_until(at).await;
            let send = |track: usize, key: bool, data: Bytes| publisher.publish(packet(&tracks, track, at, key, data));
            if n % 2 == 0 {
                let key = n % 50 == 0;
                let mut nal = vec![5u8; 3000];
                nal[0] = if key { 0x65 } else { 0x41 };
                send(0, key, [&3000u32.to_be_bytes()[..], &nal].concat().into());
            }
            for track in [1u8, 2] {
                send(track.into(), false, Bytes::from(vec![track, 0, 0, 0, 0]));
            }
            n += 1;
        }
    });
}

fn packet(
    tracks: &[std::sync::Arc<crate::media::Track>; 3],
    track: usize,
    pts: Ts,
    key: bool,
    data: Bytes,
) -> crate::media::Packet {
    crate::media::Packet {
        track: tracks[track].clone(),
        epoch: 0,
        dts: pts,
        pts,
        duration: Dur::from_millis(20),
        key,
        decode_only: false,
        arrival: pts,
        data,
    }
}
