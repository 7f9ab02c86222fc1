//! A simulated world: our core, peers made of the crate `rtc`'s own peer connection, a seeded lossy link between them.

use crate::media::{AudioCodec, AudioFormat, Dur, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat};
use crate::rtc::core::{Core, Event, Opened, PeerId, Transmit};
use crate::rtc::crypto::Identity;
use crate::rtc::ice::Route;
use crate::rtc::instant::Anchor;
use crate::rtc::{PeerState, PeerStats, Role};
use crate::wire::bitstream::h264::AvcConfig;
use crate::wire::rtp::h264::{AccessUnit, Depacketizer};
use crate::wire::rtp::{Unwrap, UnwrapSequence};
use crate::wire::sdp::Candidate;
use ::rtc::data_channel::RTCDataChannelId;
use ::rtc::ice::network_type::NetworkType;
use ::rtc::interceptor::Registry;
use ::rtc::media_stream::MediaStreamTrack;
use ::rtc::peer_connection::configuration::RTCConfigurationBuilder;
use ::rtc::peer_connection::configuration::interceptor_registry::{configure_nack, register_default_interceptors};
use ::rtc::peer_connection::configuration::media_engine::MediaEngine;
use ::rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use ::rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use ::rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use ::rtc::peer_connection::sdp::RTCSessionDescription;
use ::rtc::peer_connection::state::RTCPeerConnectionState;
use ::rtc::peer_connection::transport::RTCIceCandidateInit;
use ::rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use ::rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use ::rtc::sansio::Protocol;
use ::rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub fn start() -> Ts {
    Ts::from_millis(1_700_000_000_000)
}

pub fn server() -> SocketAddr {
    "203.0.113.7:8189".parse().unwrap()
}

pub fn client_address(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 9], 10_000 + number))
}

/// What the link does to datagrams; TCP only has its delay.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub loss: f64,
    pub duplicate: f64,
    pub corrupt: f64,
    pub delay: Dur,
    pub jitter: Dur,
    pub udp: bool,
}

impl Default for Link {
    fn default() -> Link {
        let delay = Dur::from_millis(20);
        Link { loss: 0.0, duplicate: 0.0, corrupt: 0.0, delay, jitter: Dur::ZERO, udp: true }
    }
}

/// What a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Receives sound and picture.
    Play,
    /// Sends sound.
    Voice,
    /// Sends sound and picture.
    Contribute,
    /// Sends and receives sound.
    Probe,
}

/// A packet that a client got.
#[derive(Clone, Debug)]
pub struct Got {
    pub ssrc: u32,
    pub sequence: i64,
    pub timestamp: i64,
    pub marker: bool,
    pub payload: Bytes,
}

pub struct Client {
    pub pc: RTCPeerConnection,
    pub address: SocketAddr,
    pub server: SocketAddr,
    pub tcp: bool,
    pub connected: bool,
    pub closed: bool,
    pub got: Vec<Got>,
    pub messages: Vec<String>,
    pub sent: BTreeMap<u32, u16>,
    pub id: PeerId,
    pub answer: String,
    /// The picture's payload type, as answered.
    pub h264: u8,
    channel: Option<RTCDataChannelId>,
    open: bool,
    unwraps: BTreeMap<u32, (UnwrapSequence, Unwrap<32>)>,
}

pub const SOUND: u32 = 0x5000;
pub const PICTURE: u32 = 0x6000;

impl Client {
    pub fn new(anchor: Anchor, now: Ts, address: SocketAddr, wish: Wish, tcp: bool) -> Client {
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        // The core's sender reports take the wall clock, which stands still here; a contribution's are made by the
        // test.
        let registry = match wish {
            Wish::Contribute => configure_nack(Registry::new(), &mut media),
            _ => register_default_interceptors(Registry::new(), &mut media).unwrap(),
        };
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(::rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_network_types(vec![if tcp { NetworkType::Tcp4 } else { NetworkType::Udp4 }])
            .build();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(media)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(anchor.instant(now))
            .unwrap();
        let track = |kind: RtpCodecKind, ssrc: u32| {
            let (mime_type, clock_rate, channels) = match kind {
                RtpCodecKind::Audio => ("audio/opus", 48_000, 2),
                _ => ("video/H264", 90_000, 0),
            };
            let fmtp = if kind == RtpCodecKind::Video {
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
            } else {
                "minptime=10;useinbandfec=1"
            };
            let codec = RTCRtpCodec {
                mime_type: mime_type.into(),
                clock_rate,
                channels,
                sdp_fmtp_line: fmtp.into(),
                rtcp_feedback: vec![],
            };
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
                codec,
                ..Default::default()
            };
            MediaStreamTrack::new("cam".into(), format!("{kind}"), format!("{kind}"), kind, vec![encoding])
        };
        match wish {
            Wish::Play => {
                pc.add_transceiver_from_kind(RtpCodecKind::Audio, None).unwrap();
                pc.add_transceiver_from_kind(RtpCodecKind::Video, None).unwrap();
            }
            Wish::Voice | Wish::Probe => drop(pc.add_track(track(RtpCodecKind::Audio, SOUND)).unwrap()),
            Wish::Contribute => {
                pc.add_track(track(RtpCodecKind::Audio, SOUND)).unwrap();
                pc.add_track(track(RtpCodecKind::Video, PICTURE)).unwrap();
            }
        }
        let channel = Some(pc.create_data_channel("ctl", None).unwrap().id());
        Client {
            pc,
            address,
            server: server(),
            tcp,
            connected: false,
            closed: false,
            got: Vec::new(),
            messages: Vec::new(),
            sent: BTreeMap::new(),
            id: 0,
            answer: String::new(),
            h264: 0,
            channel,
            open: false,
            unwraps: BTreeMap::new(),
        }
    }

    pub fn offer(&mut self, anchor: Anchor, now: Ts) -> String {
        let offer = self.pc.create_offer(None).unwrap();
        self.pc.set_local_description(anchor.instant(now), offer).unwrap();
        let SocketAddr::V4(address) = self.address else { unreachable!() };
        let (ip, port) = (address.ip(), address.port());
        let candidate = if self.tcp {
            format!("candidate:1 1 tcp 1518280447 {ip} 9 typ host tcptype active")
        } else {
            format!("candidate:1 1 udp 2130706431 {ip} {port} typ host")
        };
        self.pc.add_local_candidate(RTCIceCandidateInit { candidate, ..Default::default() }).unwrap();
        self.pc.local_description().unwrap().sdp
    }

    pub fn answer(&mut self, anchor: Anchor, now: Ts, answer: &str) {
        answer.clone_into(&mut self.answer);
        let h264 = answer.lines().find(|l| l.ends_with(" H264/90000"));
        self.h264 = h264.and_then(|l| l.trim_start_matches("a=rtpmap:").split(' ').next()?.parse().ok()).unwrap_or(0);
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        self.pc.set_remote_description(anchor.instant(now), answer).unwrap();
    }

    fn protocol(&self) -> TransportProtocol {
        if self.tcp { TransportProtocol::TCP } else { TransportProtocol::UDP }
    }

    pub fn read(&mut self, anchor: Anchor, now: Ts, data: &[u8]) {
        let transport = TransportContext {
            local_addr: self.address,
            peer_addr: self.server,
            transport_protocol: self.protocol(),
            ecn: None,
        };
        let message = TaggedBytesMut { now: anchor.instant(now), transport, message: BytesMut::from(data) };
        let _ = self.pc.handle_read(message);
        self.drain();
    }

    /// What the peer connection has to say.
    pub fn drain(&mut self) {
        while let Some(event) = self.pc.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                    RTCPeerConnectionState::Connected => self.connected = true,
                    RTCPeerConnectionState::Closed | RTCPeerConnectionState::Failed => self.closed = true,
                    _ => {}
                },
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(_)) => self.open = true,
                _ => {}
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.pc.poll_read() {
            match message {
                RTCMessage::RtpPacket(_, packet) => {
                    let header = packet.header;
                    let (sequence, timestamp) = self.unwraps.entry(header.ssrc).or_default();
                    self.got.push(Got {
                        ssrc: header.ssrc,
                        sequence: sequence.unwrap(header.sequence_number.into()),
                        timestamp: timestamp.unwrap(header.timestamp),
                        marker: header.marker,
                        payload: packet.payload,
                    });
                }
                RTCMessage::DataChannelMessage(_, message) => {
                    self.messages.push(String::from_utf8_lossy(&message.data).into_owned());
                }
                _ => {}
            }
        }
    }

    /// Sends a text on the control channel; false where it is not open yet.
    pub fn say(&mut self, anchor: Anchor, now: Ts, text: &str) -> bool {
        let Some(id) = self.channel.filter(|_| self.open) else { return false };
        self.pc.data_channel(id).is_some_and(|mut c| c.send_text(anchor.instant(now), text).is_ok())
    }

    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        anchor: Anchor,
        now: Ts,
        ssrc: u32,
        payload_type: u8,
        timestamp: u32,
        marker: bool,
        payload: Bytes,
    ) {
        let sequence = self.sent.entry(ssrc).or_insert(65_500);
        let header = ::rtc::rtp::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number: *sequence,
            timestamp,
            ssrc,
            ..Default::default()
        };
        *sequence = sequence.wrapping_add(1);
        let message = RTCMessage::RtpPacket(String::new(), ::rtc::rtp::Packet { header, payload });
        self.pc.handle_write(TaggedRTCMessage { now: anchor.instant(now), message }).unwrap();
    }

    /// Says that `now` is `rtp` on a source's clock.
    pub fn sender_report(&mut self, anchor: Anchor, now: Ts, ssrc: u32, rtp: u32) {
        let ntp_time = crate::rtc::outgoing::ntp(now);
        let report = ::rtc::rtcp::sender_report::SenderReport { ssrc, ntp_time, rtp_time: rtp, ..Default::default() };
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(report)]);
        self.pc.handle_write(TaggedRTCMessage { now: anchor.instant(now), message }).unwrap();
    }

    pub fn pli(&mut self, anchor: Anchor, now: Ts, media_ssrc: u32) {
        let pli = ::rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication {
            sender_ssrc: 1,
            media_ssrc,
        };
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(pli)]);
        self.pc.handle_write(TaggedRTCMessage { now: anchor.instant(now), message }).unwrap();
    }

    /// The packets of one source in the order of their numbers, each once.
    pub fn stream(&self, ssrc: u32) -> Vec<Got> {
        let mut by: BTreeMap<i64, Got> = BTreeMap::new();
        for got in self.got.iter().filter(|g| g.ssrc == ssrc) {
            by.entry(got.sequence).or_insert_with(|| got.clone());
        }
        by.into_values().collect()
    }

    /// Whole access units of a picture, and how many were broken.
    pub fn pictures(&self, ssrc: u32) -> (Vec<AccessUnit>, usize) {
        let mut depacketizer = Depacketizer::default();
        let (mut whole, mut broken, mut next) = (Vec::new(), 0, None);
        for packet in self.stream(ssrc) {
            if next.is_some_and(|n| n != packet.sequence) {
                depacketizer.lost();
            }
            next = Some(packet.sequence + 1);
            for unit in depacketizer.push(packet.timestamp, packet.marker, &packet.payload) {
                match unit {
                    Ok(unit) => whole.push(unit),
                    Err(_) => broken += 1,
                }
            }
        }
        (whole, broken)
    }
}

pub struct World {
    pub core: Core,
    pub anchor: Anchor,
    pub now: Ts,
    pub link: Link,
    pub clients: Vec<Client>,
    pub stats: BTreeMap<PeerId, PeerStats>,
    pub ended: BTreeMap<PeerId, &'static str>,
    /// How often a key frame was asked for.
    pub requests: usize,
    pub sent: usize,
    rng: StdRng,
    /// By the time of arrival: to the core or from it, over what.
    flying: BTreeMap<(Ts, u64), (bool, Route, Bytes)>,
    serial: u64,
    /// Addresses that routers gave clients instead of their own.
    nat: BTreeMap<SocketAddr, SocketAddr>,
}

impl World {
    pub fn new(seed: u64, link: Link, most: u32) -> World {
        let now = start();
        let candidates = [false, true].map(|tcp| Candidate { address: server(), tcp }).to_vec();
        World {
            core: Core::new(Identity::new().unwrap(), candidates, most, now),
            anchor: Anchor::new(now),
            now,
            link,
            clients: Vec::new(),
            stats: BTreeMap::new(),
            ended: BTreeMap::new(),
            requests: 0,
            sent: 0,
            rng: StdRng::seed_from_u64(seed),
            flying: BTreeMap::new(),
            serial: 0,
            nat: BTreeMap::new(),
        }
    }

    /// A client offers and is answered.
    pub fn join(&mut self, wish: Wish, role: Role, source: Option<u64>, tcp: bool) -> usize {
        let number = self.clients.len() as u16;
        let mut client = Client::new(self.anchor, self.now, client_address(number), wish, tcp);
        let offer = client.offer(self.anchor, self.now);
        let Opened { id, answer, .. } = self.core.open(&offer, role, source, self.now).unwrap();
        client.answer(self.anchor, self.now, &answer);
        client.id = id;
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn fly(&mut self, up: bool, route: Route, data: Bytes) {
        let Link { loss, duplicate, corrupt, delay, jitter, udp } = self.link;
        let tcp = matches!(route, Route::Tcp(..));
        if !tcp && !udp {
            return;
        }
        let copies = match self.rng.random::<f64>() {
            _ if tcp => 1,
            r if r < loss => 0,
            r if r < loss + duplicate => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let mut data = data.clone();
            if !tcp && self.rng.random::<f64>() < corrupt {
                let mut bytes = data.to_vec();
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << self.rng.random_range(0..8);
                data = bytes.into();
            }
            let late =
                if tcp { Dur::ZERO } else { Dur::from_secs_f64(jitter.as_secs_f64() * self.rng.random::<f64>()) };
            self.serial += 1;
            self.flying.insert((self.now + delay + late, self.serial), (up, route, data));
        }
    }

    /// Everything that is due now.
    pub fn settle(&mut self) {
        while let Some((&key, _)) = self.flying.first_key_value()
            && key.0 <= self.now
        {
            let Some((up, route, data)) = self.flying.remove(&key) else { break };
            if up {
                self.core.input(route, &data, self.now);
            } else if let Some(client) =
                self.clients.iter_mut().find(|c| *self.nat.get(&c.address).unwrap_or(&c.address) == route.address())
            {
                client.read(self.anchor, self.now, &data);
            }
        }
        self.core.timeout(self.now);
        while let Some(Transmit { route, data }) = self.core.poll_transmit() {
            self.sent += 1;
            self.fly(false, route, data);
        }
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Stats(id, stats) => drop(self.stats.insert(id, *stats)),
                Event::Ended(id, end) => drop(self.ended.insert(id, end.as_str())),
            }
        }
        while let Some(request) = self.core.poll_request() {
            request();
            self.requests += 1;
        }
        let mut up = Vec::new();
        for client in &mut self.clients {
            if client.pc.poll_timeout().is_some_and(|t| t <= self.anchor.instant(self.now)) {
                let _ = client.pc.handle_timeout(self.anchor.instant(self.now));
            }
            client.drain();
            while let Some(message) = client.pc.poll_write() {
                let from = *self.nat.get(&client.address).unwrap_or(&client.address);
                let route = if client.tcp { Route::Tcp(7, from) } else { Route::Udp(from) };
                up.push((route, message.message.freeze()));
            }
        }
        up.into_iter().for_each(|(route, data)| self.fly(true, route, data));
    }

    /// Runs on, a millisecond at a time.
    pub fn run(&mut self, length: Dur, mut each: impl FnMut(&mut World)) {
        let end = self.now + length;
        while self.now < end {
            each(self);
            self.settle();
            self.now += Dur::from_millis(1);
        }
    }

    /// A client's router gives it another port: its datagrams come from there, what is sent to the old is lost.
    pub fn rebind(&mut self, from: SocketAddr, to: SocketAddr) {
        let own = self.clients.iter().map(|c| c.address).find(|a| *a == from || self.nat.get(a) == Some(&from));
        if let Some(own) = own {
            self.nat.insert(own, to);
        }
    }

    /// A client restarts ICE by a PATCH.
    pub fn restart_ice(&mut self, client: usize) {
        let (anchor, now) = (self.anchor, self.now);
        let client = &mut self.clients[client];
        client.pc.restart_ice();
        let offer = client.pc.create_offer(None).unwrap();
        client.pc.set_local_description(anchor.instant(now), offer.clone()).unwrap();
        let credentials: Vec<&str> = offer.sdp.lines().filter(|l| l.starts_with("a=ice-")).collect();
        let patched = self.core.patch(client.id, &(credentials.join("\r\n") + "\r\n"), Some("*")).unwrap();
        let crate::rtc::Patched::Restarted { fragment, .. } = patched else { panic!("no restart") };
        // The answer before, with the new credentials.
        let value = |key: &str| fragment.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
        let answer: Vec<String> = client
            .answer
            .lines()
            .map(|l| match l.split_once(':') {
                Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}", value("a=ice-ufrag:")),
                Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}", value("a=ice-pwd:")),
                _ => l.to_owned(),
            })
            .collect();
        let answer = answer.join("\r\n") + "\r\n";
        client.answer(anchor, now, &answer);
    }

    /// Until all clients are connected and the core says so.
    pub fn connect(&mut self, most: Dur) -> bool {
        let end = self.now + most;
        while self.now < end {
            self.settle();
            self.now += Dur::from_millis(1);
            let all = self
                .clients
                .iter()
                .all(|c| c.connected && self.stats.get(&c.id).is_some_and(|s| s.state == PeerState::Connected));
            if all {
                return true;
            }
        }
        false
    }

    pub fn stats(&self, client: usize) -> PeerStats {
        self.stats.get(&self.clients[client].id).copied().unwrap_or_default()
    }
}

pub const VIDEO: TrackId = TrackId(0);
pub const FLOOR: TrackId = TrackId(1);
pub const OTHER: TrackId = TrackId(2);

/// A source of pictures and sound: 25 pictures a second, a key frame every `gop`, sound in two languages.
pub struct Studio {
    pub source: u64,
    pub tracks: [Arc<Track>; 3],
    pub gop: i64,
    /// Bytes of a picture; a key frame has ten times as many.
    pub size: usize,
    pub zero: Ts,
    begun: Ts,
    pictures: i64,
    sounds: i64,
    pub key_next: bool,
}

impl Studio {
    pub fn tracks() -> [Arc<Track>; 3] {
        let pps = Bytes::from_static(b"\x68\xce\x3c\x80");
        let config = AvcConfig::from_sets(vec![crate::wire::rtp::h264::tests::sps()], vec![pps]).unwrap();
        let video = VideoFormat {
            codec: VideoCodec::H264,
            config: config.build(),
            width: 640,
            height: 360,
            frame_rate: None,
            sample_aspect: None,
        };
        let audio = AudioFormat { codec: AudioCodec::Opus, config: Bytes::new(), sample_rate: 48_000, channels: 2 };
        [
            Arc::new(Track { id: VIDEO, media: Media::Video(video) }),
            Arc::new(Track { id: FLOOR, media: Media::Audio(audio.clone()) }),
            Arc::new(Track { id: OTHER, media: Media::Audio(audio) }),
        ]
    }

    pub fn new(world: &mut World, source: u64, zero: Ts) -> Studio {
        let tracks = Studio::tracks();
        let request = Arc::new(|| {});
        world.core.add_source(source, Some(request));
        Studio { source, tracks, gop: 50, size: 4000, zero, begun: world.now, pictures: 0, sounds: 0, key_next: false }
    }

    fn packet(&self, track: usize, pts: Ts, key: bool, data: Bytes, now: Ts) -> Packet {
        let track = self.tracks[track].clone();
        let duration = Dur::from_millis(20);
        Packet { track, epoch: 0, dts: pts, pts, duration, key, decode_only: false, arrival: now, data }
    }

    /// What is due at the world's time goes to the core.
    pub fn play(&mut self, world: &mut World) {
        let due = world.now - self.begun;
        let base = self.zero;
        while Dur::from_millis(self.pictures * 40) <= due {
            let n = self.pictures;
            self.pictures += 1;
            let key = n % self.gop == 0 || std::mem::take(&mut self.key_next);
            let size = if key { self.size * 10 } else { self.size };
            let mut nal = vec![(n % 251) as u8; size];
            nal[0] = if key { 0x65 } else { 0x41 };
            let mut data = (size as u32).to_be_bytes().to_vec();
            data.extend_from_slice(&nal);
            let packet = self.packet(0, base + Dur::from_millis(n * 40), key, data.into(), world.now);
            world.core.media(self.source, &packet, world.now);
        }
        while Dur::from_millis(self.sounds * 20) <= due {
            let n = self.sounds;
            self.sounds += 1;
            for track in [1, 2] {
                let data = Bytes::from(vec![track as u8, (n % 256) as u8, 0, 0, 0]);
                let packet = self.packet(track, base + Dur::from_millis(n * 20), false, data, world.now);
                world.core.media(self.source, &packet, world.now);
            }
        }
    }
}
