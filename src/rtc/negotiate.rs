//! What of an offer is accepted: one sound section, one picture section, one of data channels, all on one flow.

use super::crypto::{random, token};
use super::{Accept, RtcError};
use crate::wire::sdp::{Codec, Direction, Kind, Media, Offer, Section, SentSource, Setup};
use base64::Engine;
use bytes::Bytes;

/// Format parameters of the picture that rooms get. The rendition is High profile without reordering; every browser
/// decodes that, and none offers it by name, so it is labelled constrained baseline 3.1.
const H264_LABEL: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// Sound of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Payload type of Opus.
    pub payload: u8,
    /// What we send with; none where we only receive.
    pub send: Option<u32>,
    /// Whether the peer sends.
    pub receive: bool,
}

/// Picture of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Payload type of H.264.
    pub payload: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// What we send with, and the source of its retransmissions; none where we only receive.
    pub send: Option<(u32, u32)>,
    /// Whether the peer sends.
    pub receive: bool,
    /// Parameter sets that the offer gave (RFC 6184 §8.1); peers that are browsers send them in band.
    pub sets: Vec<Bytes>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Sound.
    pub sound: Option<Sound>,
    /// Picture.
    pub picture: Option<Picture>,
    /// Data channels.
    pub data: bool,
    /// We open the DTLS handshake.
    pub active: bool,
    /// Identification of the first accepted section.
    pub mid: Option<String>,
    /// The answer's sections.
    pub sections: Vec<Section>,
    /// Canonical name of what we send.
    pub cname: String,
}

/// Decides what of `offer` is taken.
///
/// # Errors
/// [`RtcError::NotAcceptable`] where nothing that `accept` is about is offered in a form that we can use; it says why.
pub fn negotiate(offer: &Offer, accept: Accept) -> Result<Plan, RtcError> {
    let mut plan = Plan {
        sound: None,
        picture: None,
        data: false,
        active: offer.setup == Setup::Passive,
        mid: None,
        sections: Vec::with_capacity(offer.media.len()),
        cname: token(12),
    };
    let mut why = "it offers neither sound nor picture that can be used";
    for (index, media) in offer.media.iter().enumerate() {
        let bundled = match &media.mid {
            Some(mid) if !offer.bundle.is_empty() => offer.bundle.contains(mid),
            // Without bundling there is one flow: the first section's.
            _ => plan.sections.iter().all(|s| matches!(s, Section::Rejected)) && index == 0 || offer.media.len() == 1,
        };
        let rtp = matches!(media.kind, Kind::Audio | Kind::Video);
        let section = if media.rejected || !bundled {
            Section::Rejected
        } else if rtp && !media.rtcp_mux {
            why = "RTCP must be multiplexed (rtcp-mux)";
            Section::Rejected
        } else {
            match media.kind {
                Kind::Audio if plan.sound.is_none() => plan.sound(media, accept, &mut why),
                Kind::Video if plan.picture.is_none() => plan.picture(media, accept, &mut why),
                Kind::Data if !plan.data => {
                    plan.data = true;
                    Section::Data { max_message: super::channel::MAX_MESSAGE }
                }
                _ => Section::Rejected,
            }
        };
        if plan.mid.is_none() && !matches!(section, Section::Rejected) {
            plan.mid.clone_from(&media.mid);
        }
        plan.sections.push(section);
    }
    let enough = match accept {
        Accept::Probe => plan.sound.is_some() || plan.data,
        _ => plan.sound.is_some() || plan.picture.is_some(),
    };
    if enough { Ok(plan) } else { Err(RtcError::NotAcceptable(why)) }
}

/// Which way media flows, from our side; none where the offerer does not want what we would.
fn direction(offered: Direction, accept: Accept) -> Option<Direction> {
    match accept {
        Accept::Play { .. } => offered.receives().then_some(Direction::SendOnly),
        Accept::Voice | Accept::Contribute => offered.sends().then_some(Direction::RecvOnly),
        Accept::Probe => match offered {
            Direction::SendRecv => Some(Direction::SendRecv),
            Direction::SendOnly => Some(Direction::RecvOnly),
            Direction::RecvOnly => Some(Direction::SendOnly),
            Direction::Inactive => None,
        },
    }
}

impl Plan {
    fn source(&self, ssrc: u32, rtx: Option<u32>, track: &str) -> SentSource {
        let track = format!("{track}-{ssrc}");
        SentSource { ssrc, rtx, stream: "boothcast".into(), track, cname: self.cname.clone() }
    }

    fn sound(&mut self, media: &Media, accept: Accept, why: &mut &'static str) -> Section {
        let wanted = !matches!(accept, Accept::Play { audio: false, .. });
        let opus = media.codecs.iter().find(|c| c.name == "opus" && c.rate == 48_000);
        if opus.is_none() {
            *why = "sound must be offered as Opus at 48 kHz";
        }
        let (Some(opus), Some(way), true) = (opus, direction(media.direction, accept), wanted) else {
            return Section::Rejected;
        };
        let sends = matches!(way, Direction::SendOnly | Direction::SendRecv);
        let receive = way != Direction::SendOnly;
        let send = sends.then(random);
        self.sound = Some(Sound { payload: opus.payload, send, receive });
        let mut fmtp = "minptime=10;useinbandfec=1".to_owned();
        if opus.parameter("stereo") == Some("1") {
            fmtp.push_str(";stereo=1");
        }
        if sends && matches!(accept, Accept::Play { .. }) {
            fmtp.push_str(";sprop-stereo=1");
        }
        Section::Rtp {
            direction: way,
            codecs: vec![(opus.payload, "opus/48000/2".into(), fmtp, vec![])],
            source: send.map(|ssrc| self.source(ssrc, None, "sound")),
        }
    }

    fn picture(&mut self, media: &Media, accept: Accept, why: &mut &'static str) -> Section {
        let wanted = matches!(accept, Accept::Play { video: true, .. } | Accept::Contribute);
        let playing = matches!(accept, Accept::Play { .. });
        let codec = choose_h264(&media.codecs, playing);
        if codec.is_none() && wanted {
            *why = "the picture must be offered as H.264 with packetization-mode=1";
        }
        let (Some(codec), Some(way), true) = (codec, direction(media.direction, accept), wanted) else {
            return Section::Rejected;
        };
        let rtx = media.codecs.iter().find(|c| c.apt() == Some(codec.payload)).map(|c| c.payload);
        let sends = matches!(way, Direction::SendOnly | Direction::SendRecv);
        let send = sends.then(|| (random(), random()));
        let sets = codec.parameter("sprop-parameter-sets").map(sets).unwrap_or_default();
        self.picture = Some(Picture { payload: codec.payload, rtx, send, receive: way != Direction::SendOnly, sets });
        let fmtp = match codec.parameter("profile-level-id") {
            // The receiver's own words, so that it finds the codec that it offered.
            Some(id) if id.len() == 6 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
                format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}")
            }
            _ => H264_LABEL.to_owned(),
        };
        let feedback = vec!["nack", "nack pli", "ccm fir"];
        let mut codecs = vec![(codec.payload, "H264/90000".to_owned(), fmtp, feedback)];
        if let Some(rtx) = rtx {
            codecs.push((rtx, "rtx/90000".to_owned(), format!("apt={}", codec.payload), vec![]));
        }
        let source = send.map(|(ssrc, repair)| self.source(ssrc, rtx.map(|_| repair), "picture"));
        Section::Rtp { direction: way, codecs, source }
    }
}

/// For players constrained baseline first, then whatever they decode, in their order; from encoders what they prefer.
fn choose_h264(codecs: &[Codec], playing: bool) -> Option<&Codec> {
    let mode = |c: &&Codec| c.name == "h264" && c.rate == 90_000 && c.parameter("packetization-mode") == Some("1");
    let profile = |c: &&Codec, start: &str| {
        let id = c.parameter("profile-level-id").unwrap_or("42e01f");
        id.get(..start.len()).is_some_and(|p| p.eq_ignore_ascii_case(start))
    };
    if playing {
        for start in ["42e0", "42"] {
            if let Some(found) = codecs.iter().find(|c| mode(c) && profile(c, start)) {
                return Some(found);
            }
        }
    }
    codecs.iter().find(mode)
}

/// `sprop-parameter-sets`: NAL units in base64, separated by commas.
fn sets(value: &str) -> Vec<Bytes> {
    /// A sequence and a picture parameter set, with room for a second of each.
    const MOST: usize = 4;
    let decode = |s: &str| base64::engine::general_purpose::STANDARD.decode(s).ok();
    value.split(',').filter_map(decode).filter(|s| !s.is_empty()).map(Bytes::from).take(MOST).collect()
}
