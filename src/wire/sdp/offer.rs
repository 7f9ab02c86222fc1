//! Reading an offer.

use super::{Error, MAX_LINES, MAX_MEDIA, MAX_SIZE, is_ice, is_token};

/// What a media section carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sound.
    Audio,
    /// A picture.
    Video,
    /// Data channels over SCTP over DTLS (RFC 8841).
    Data,
    /// Anything else; it is rejected in the answer.
    Other,
}

/// Which way the offerer wants media to flow, from its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It sends and receives; also when it does not say.
    SendRecv,
    /// It sends.
    SendOnly,
    /// It receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the offerer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the offerer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// Who opens the DTLS handshake (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The offerer does.
    Active,
    /// The answerer does.
    Passive,
    /// The answerer chooses.
    ActPass,
}

/// A codec that the offerer can use, in its order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// RTP payload type.
    pub payload: u8,
    /// The encoding's name in lower case: `opus`, `h264`, `rtx`.
    pub name: String,
    /// RTP clock rate.
    pub rate: u32,
    /// Channels; 1 where it does not say.
    pub channels: u8,
    /// Format parameters, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Codec {
    /// A format parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The payload type that this one retransmits (RFC 4588 §8.6).
    pub fn apt(&self) -> Option<u8> {
        (self.name == "rtx").then(|| self.parameter("apt")?.parse().ok()).flatten()
    }
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: Kind,
    /// The media name and protocol as offered, for a rejection.
    pub name: String,
    /// `UDP/TLS/RTP/SAVPF`, `UDP/DTLS/SCTP`.
    pub protocol: String,
    /// The format tokens as offered.
    pub formats: Vec<String>,
    /// Its identification (RFC 9143); none where the offerer gives none.
    pub mid: Option<String>,
    /// Offered with port 0 and not bundled: rejected by the offerer itself.
    pub rejected: bool,
    /// Which way.
    pub direction: Direction,
    /// RTCP on the same flow (RFC 5761).
    pub rtcp_mux: bool,
    /// Codecs in order of preference.
    pub codecs: Vec<Codec>,
    /// The SCTP port of data channels.
    pub sctp_port: u16,
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<[u8; 32]>,
    setup: Option<Setup>,
}

/// An offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The offerer's ICE user fragment.
    pub ufrag: String,
    /// The offerer's ICE password.
    pub pwd: String,
    /// SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    /// Who opens the DTLS handshake.
    pub setup: Setup,
    /// Media sections in their order.
    pub media: Vec<Media>,
    /// Identifications of the first bundle group (RFC 9143), in its order.
    pub bundle: Vec<String>,
}

#[derive(Default)]
struct Level {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<[u8; 32]>,
    setup: Option<Setup>,
    direction: Option<Direction>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// What is wrong with it, for the person who made it.
    pub fn parse(text: &str) -> Result<Offer, Error> {
        if text.len() > MAX_SIZE {
            return Err(Error::TooLong);
        }
        let mut session = Level::default();
        let mut media: Vec<Media> = Vec::new();
        let mut bundle = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if index >= MAX_LINES {
                return Err(Error::TooLong);
            }
            let fail = |what| Error::Line { line: index + 1, what };
            let line = line.trim_end();
            let Some((key, value)) = line.split_once('=') else {
                if line.is_empty() {
                    continue;
                }
                return Err(fail("no `=`"));
            };
            match (key, media.last_mut()) {
                ("v", None) if index == 0 && value == "0" => {}
                _ if index == 0 => return Err(fail("the first line must be `v=0`")),
                ("m", _) => {
                    if media.len() >= MAX_MEDIA {
                        return Err(Error::TooLong);
                    }
                    media.push(Media::parse(value, session.direction).map_err(fail)?);
                }
                ("a", Some(media)) => media.attribute(value).map_err(fail)?,
                ("a", None) => session.attribute(value, &mut bundle).map_err(fail)?,
                _ if key.len() != 1 => return Err(fail("no type of line")),
                _ => {}
            }
        }
        Offer::assemble(session, media, bundle)
    }

    fn assemble(session: Level, media: Vec<Media>, bundle: Vec<String>) -> Result<Offer, Error> {
        // The transport's parameters stand in the section that the bundle is tagged by, or at the session's level.
        let tagged = bundle.first().and_then(|mid| media.iter().find(|m| m.mid.as_ref() == Some(mid)));
        let main = tagged.or_else(|| media.iter().find(|m| !m.rejected)).ok_or(Error::Missing("no media"))?;
        let ufrag = main.ufrag.clone().or(session.ufrag).ok_or(Error::Missing("no ICE user fragment"))?;
        let pwd = main.pwd.clone().or(session.pwd).ok_or(Error::Missing("no ICE password"))?;
        let fingerprint =
            main.fingerprint.or(session.fingerprint).ok_or(Error::Missing("no SHA-256 certificate fingerprint"))?;
        let setup = main.setup.or(session.setup).unwrap_or(Setup::ActPass);
        Ok(Offer { ufrag, pwd, fingerprint, setup, media, bundle })
    }
}

impl Level {
    fn attribute(&mut self, value: &str, bundle: &mut Vec<String>) -> Result<(), &'static str> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "group" if bundle.is_empty() => {
                let mut words = value.split(' ').filter(|w| !w.is_empty());
                if words.next().is_some_and(|w| w.eq_ignore_ascii_case("BUNDLE")) {
                    bundle.extend(words.filter(|w| is_token(w)).take(MAX_MEDIA).map(str::to_owned));
                }
            }
            "ice-ufrag" => self.ufrag = Some(ice(value, 4)?),
            "ice-pwd" => self.pwd = Some(ice(value, 22)?),
            "fingerprint" => self.fingerprint = self.fingerprint.or(fingerprint(value)?),
            "setup" => self.setup = Some(setup(value)?),
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => self.direction = direction(name),
            _ => {}
        }
        Ok(())
    }
}

impl Media {
    fn parse(value: &str, direction: Option<Direction>) -> Result<Media, &'static str> {
        let mut words = value.split(' ').filter(|w| !w.is_empty());
        let (Some(name), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err("a media line needs a name, a port and a protocol");
        };
        if !is_token(name) || !is_token(protocol) {
            return Err("a media line's name or protocol is no token");
        }
        let port: u16 = port.split('/').next().unwrap_or("").parse().map_err(|_| "no port")?;
        let formats: Vec<String> = words.filter(|w| is_token(w)).map(str::to_owned).collect();
        if formats.is_empty() {
            return Err("a media line without formats");
        }
        let rtp = matches!(protocol, "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "TCP/TLS/RTP/SAVPF");
        let kind = match name {
            "audio" if rtp => Kind::Audio,
            "video" if rtp => Kind::Video,
            "application" if protocol.ends_with("DTLS/SCTP") && formats[0] == "webrtc-datachannel" => Kind::Data,
            _ => Kind::Other,
        };
        let codecs = if rtp {
            let payloads = formats.iter().filter_map(|f| f.parse::<u8>().ok().filter(|p| *p < 128));
            payloads
                .map(|payload| Codec { payload, name: String::new(), rate: 0, channels: 1, parameters: Vec::new() })
                .collect()
        } else {
            Vec::new()
        };
        Ok(Media {
            kind,
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            formats,
            mid: None,
            rejected: port == 0,
            direction: direction.unwrap_or(Direction::SendRecv),
            rtcp_mux: false,
            codecs,
            sctp_port: 5000,
            ufrag: None,
            pwd: None,
            fingerprint: None,
            setup: None,
        })
    }

    fn attribute(&mut self, value: &str) -> Result<(), &'static str> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "mid" if is_token(value) => self.mid = Some(value.to_owned()),
            "mid" => return Err("a mid that is no token"),
            // RFC 9143 §6: offered with port 0, to be used only within the bundle.
            "bundle-only" => self.rejected = false,
            "rtcp-mux" => self.rtcp_mux = true,
            "sctp-port" => self.sctp_port = value.trim().parse().map_err(|_| "no SCTP port")?,
            "ice-ufrag" => self.ufrag = Some(ice(value, 4)?),
            "ice-pwd" => self.pwd = Some(ice(value, 22)?),
            "fingerprint" => self.fingerprint = self.fingerprint.or(fingerprint(value)?),
            "setup" => self.setup = Some(setup(value)?),
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                self.direction = direction(name).unwrap_or(self.direction);
            }
            "rtpmap" => {
                let Some((codec, value)) = self.of_format(value) else { return Ok(()) };
                let mut parts = value.trim().split('/');
                codec.name = parts.next().unwrap_or("").to_ascii_lowercase();
                codec.rate = parts.next().unwrap_or("0").parse().map_err(|_| "no clock rate")?;
                codec.channels = parts.next().map_or(Ok(1), str::parse).map_err(|_| "no number of channels")?;
            }
            "fmtp" => {
                let Some((codec, value)) = self.of_format(value) else { return Ok(()) };
                codec.parameters = value
                    .split(';')
                    .filter(|p| !p.trim().is_empty())
                    .map(|p| {
                        let (name, value) = p.split_once('=').unwrap_or((p, ""));
                        (name.trim().to_ascii_lowercase(), value.trim().to_owned())
                    })
                    .collect();
            }
            _ => {}
        }
        Ok(())
    }

    /// The codec that `PT rest` is about; none for payload types that the media line does not name.
    fn of_format<'a>(&mut self, value: &'a str) -> Option<(&mut Codec, &'a str)> {
        let (payload, rest) = value.split_once(' ')?;
        let payload: u8 = payload.parse().ok()?;
        self.codecs.iter_mut().find(|c| c.payload == payload).map(|c| (c, rest))
    }
}

fn direction(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn ice(value: &str, least: usize) -> Result<String, &'static str> {
    let value = value.trim();
    if is_ice(value, least) { Ok(value.to_owned()) } else { Err("ICE credentials of the wrong form") }
}

fn setup(value: &str) -> Result<Setup, &'static str> {
    match value.trim() {
        "active" => Ok(Setup::Active),
        "passive" => Ok(Setup::Passive),
        "actpass" => Ok(Setup::ActPass),
        _ => Err("no DTLS role"),
    }
}

/// A SHA-256 fingerprint (RFC 8122 §5); none for another hash, of which a peer may give several.
fn fingerprint(value: &str) -> Result<Option<[u8; 32]>, &'static str> {
    let (hash, value) = value.trim().split_once(' ').ok_or("a fingerprint without a hash")?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Ok(None);
    }
    let mut digest = [0u8; 32];
    let mut bytes = value.trim().split(':');
    for place in &mut digest {
        let byte = bytes.next().filter(|b| b.len() == 2).ok_or("a fingerprint that is too short")?;
        *place = u8::from_str_radix(byte, 16).map_err(|_| "a fingerprint that is not hexadecimal")?;
    }
    if bytes.next().is_some() { Err("a fingerprint that is too long") } else { Ok(Some(digest)) }
}
