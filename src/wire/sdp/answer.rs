//! Writing an answer.

use super::is_token;
use super::offer::{Codec, Direction, Media};
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};

/// A source that we send in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentSource {
    /// RTP synchronisation source.
    pub ssrc: u32,
    /// That of its retransmissions, where they are negotiated.
    pub rtx: Option<u32>,
    /// The media stream's id: picture and sound of one stream are played in sync.
    pub stream: String,
    /// The track's id.
    pub track: String,
    /// Canonical name (RFC 3550 §6.5.1).
    pub cname: String,
}

/// How one offered media section is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// With port 0.
    Rejected,
    /// RTP.
    Rtp {
        /// From our side.
        direction: Direction,
        /// `(payload type, encoding as in rtpmap, fmtp, feedback)`.
        codecs: Vec<(u8, String, String, Vec<&'static str>)>,
        /// What we send.
        source: Option<SentSource>,
    },
    /// Data channels.
    Data {
        /// The largest message that is taken.
        max_message: u32,
    },
}

/// A place where the peer reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub address: SocketAddr,
    /// ICE-TCP, passive (RFC 6544), instead of UDP.
    pub tcp: bool,
}

/// An answer; see [`Answer::write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Number of the session, random.
    pub session: u64,
    /// Our ICE user fragment.
    pub ufrag: String,
    /// Our ICE password.
    pub pwd: String,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Whether we open the DTLS handshake.
    pub active: bool,
    /// Where we are reached.
    pub candidates: Vec<Candidate>,
    /// One per offered section, in the offer's order.
    pub sections: Vec<Section>,
}

impl Candidate {
    /// The `candidate` attribute without `a=` (RFC 8839 §5.1, RFC 6544 §4.5).
    fn write(&self, out: &mut String, index: usize) {
        let family = if self.address.is_ipv6() { 10 } else { 0 };
        // RFC 8445 §5.1.2.1: type preference of a host, local preference, component; RFC 6544 §4.2: TCP below UDP.
        let local = 65_535 - (index as u32 * 16).min(60_000) - family;
        let (protocol, kind, preference) =
            if self.tcp { ("tcp", " tcptype passive", 90u32) } else { ("udp", "", 126u32) };
        let priority = (preference << 24) + (local << 8) + 255;
        let foundation = index + 1;
        let (ip, port) = (self.address.ip(), self.address.port());
        // Writing to a String cannot fail.
        let _ = write!(out, "candidate:{foundation} 1 {protocol} {priority} {ip} {port} typ host{kind}");
    }
}

impl Answer {
    /// The answer to `offered` sections, as many as [`Answer::sections`].
    pub fn write(&self, offered: &[Media]) -> String {
        let mut out = String::with_capacity(2048);
        let sections = || offered.iter().zip(&self.sections);
        let _ = write!(out, "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", self.session >> 1);
        let bundled: Vec<&str> =
            sections().filter(|(_, s)| !matches!(s, Section::Rejected)).filter_map(|(m, _)| m.mid.as_deref()).collect();
        if !bundled.is_empty() {
            let _ = write!(out, "a=group:BUNDLE {}\r\n", bundled.join(" "));
        }
        out.push_str("a=ice-lite\r\na=msid-semantic: WMS *\r\n");
        for (media, section) in sections() {
            self.section(&mut out, media, section);
        }
        out
    }

    fn section(&self, out: &mut String, media: &Media, section: &Section) {
        let (name, protocol) = (&media.name, &media.protocol);
        let default = self.candidates.iter().find(|c| !c.tcp);
        let (ip, port) = default.map_or((IpAddr::from([0, 0, 0, 0]), 9), |c| (c.address.ip(), c.address.port()));
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        let formats = match section {
            Section::Rejected => {
                let format = media.formats.first().map_or("0", String::as_str);
                let _ = write!(out, "m={name} 0 {protocol} {format}\r\nc=IN IP4 0.0.0.0\r\n");
                if let Some(mid) = &media.mid {
                    let _ = write!(out, "a=mid:{mid}\r\n");
                }
                out.push_str("a=inactive\r\n");
                // Some peers look their format up even where it is rejected.
                if let Some(codec) = media.codecs.first().filter(|c| is_token(&c.name)) {
                    let Codec { payload, name, rate, channels, .. } = codec;
                    let channels = if *channels > 1 { format!("/{channels}") } else { String::new() };
                    let _ = write!(out, "a=rtpmap:{payload} {name}/{rate}{channels}\r\n");
                }
                return;
            }
            Section::Rtp { codecs, .. } => codecs.iter().map(|c| c.0.to_string()).collect::<Vec<_>>().join(" "),
            Section::Data { .. } => "webrtc-datachannel".to_owned(),
        };
        let _ = write!(out, "m={name} {port} {protocol} {formats}\r\nc=IN {family} {ip}\r\n");
        if let Some(mid) = &media.mid {
            let _ = write!(out, "a=mid:{mid}\r\n");
        }
        let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", self.ufrag, self.pwd);
        let digest: Vec<String> = self.fingerprint.iter().map(|b| format!("{b:02X}")).collect();
        let _ = write!(out, "a=fingerprint:sha-256 {}\r\n", digest.join(":"));
        let _ = write!(out, "a=setup:{}\r\n", if self.active { "active" } else { "passive" });
        match section {
            Section::Rejected => {}
            Section::Data { max_message } => {
                let _ = write!(out, "a=sctp-port:5000\r\na=max-message-size:{max_message}\r\n");
            }
            Section::Rtp { direction, codecs, source } => {
                out.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
                out.push_str(match direction {
                    Direction::SendRecv => "a=sendrecv\r\n",
                    Direction::SendOnly => "a=sendonly\r\n",
                    Direction::RecvOnly => "a=recvonly\r\n",
                    Direction::Inactive => "a=inactive\r\n",
                });
                for (payload, map, fmtp, feedback) in codecs {
                    let _ = write!(out, "a=rtpmap:{payload} {map}\r\n");
                    if !fmtp.is_empty() {
                        let _ = write!(out, "a=fmtp:{payload} {fmtp}\r\n");
                    }
                    for f in feedback {
                        let _ = write!(out, "a=rtcp-fb:{payload} {f}\r\n");
                    }
                }
                if let Some(source) = source {
                    source.write(out);
                }
            }
        }
        for (index, candidate) in self.candidates.iter().enumerate() {
            out.push_str("a=");
            candidate.write(out, index);
            out.push_str("\r\n");
        }
        out.push_str("a=end-of-candidates\r\n");
    }

    /// The body of the answer to an ICE restart (RFC 9725 §4.3.3, RFC 8840).
    pub fn write_fragment(&self, mid: Option<&str>) -> String {
        let mut out = String::with_capacity(512);
        let _ = write!(out, "a=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", self.ufrag, self.pwd);
        out.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        if let Some(mid) = mid {
            let _ = write!(out, "a=mid:{mid}\r\n");
        }
        for (index, candidate) in self.candidates.iter().enumerate() {
            out.push_str("a=");
            candidate.write(&mut out, index);
            out.push_str("\r\n");
        }
        out.push_str("a=end-of-candidates\r\n");
        out
    }
}

impl SentSource {
    fn write(&self, out: &mut String) {
        let SentSource { ssrc, rtx, stream, track, cname } = self;
        let _ = write!(out, "a=msid:{stream} {track}\r\n");
        if let Some(rtx) = rtx {
            let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
        }
        for ssrc in [Some(ssrc), rtx.as_ref()].into_iter().flatten() {
            let _ = write!(out, "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:{stream} {track}\r\n");
        }
    }
}
