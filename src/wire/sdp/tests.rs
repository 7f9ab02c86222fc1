use super::*;
use proptest::prelude::*;

/// As Chrome offers for WHEP: one bundle, a receiver for sound and picture, a data channel.
pub(crate) const CHROME: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
a=group:BUNDLE 0 1 2\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:F7gI\r\n\
a=ice-pwd:x9cml/YzichV2+XlhiMu8g+6\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\n\
a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:102 H264/90000\r\n\
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:103 rtx/90000\r\n\
a=fmtp:103 apt=102\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n";

#[test]
fn an_offer_of_chrome_is_read() {
    let offer = Offer::parse(CHROME).unwrap();
    assert_eq!((offer.ufrag.as_str(), offer.pwd.as_str()), ("F7gI", "x9cml/YzichV2+XlhiMu8g+6"));
    assert_eq!((offer.fingerprint[0], offer.fingerprint[31], offer.setup), (0xd2, 0x0f, Setup::ActPass));
    assert_eq!(offer.bundle, ["0", "1", "2"]);
    let kinds: Vec<Kind> = offer.media.iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [Kind::Audio, Kind::Video, Kind::Data]);
    let opus = &offer.media[0].codecs[0];
    assert_eq!(
        (opus.name.as_str(), opus.rate, opus.channels, opus.parameter("useinbandfec")),
        ("opus", 48_000, 2, Some("1"))
    );
    let video = &offer.media[1];
    assert!(video.rtcp_mux && video.direction == Direction::RecvOnly && !video.rejected);
    assert_eq!(video.codecs[3].apt(), Some(102));
    assert_eq!(video.codecs[2].parameter("profile-level-id"), Some("42e01f"));
}

#[test]
fn odd_offers_are_refused_in_words() {
    let parse = |from: &str, to: &str| Offer::parse(&CHROME.replace(from, to)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(parse("v=0", "v=1"), "line 1 of the session description cannot be read: the first line must be `v=0`");
    assert!(parse("a=ice-ufrag:F7gI\r\n", "").contains("no ICE user fragment"));
    assert!(parse("a=ice-pwd:x9cml", "a=ice-pwd:<").contains("line 12"));
    assert!(parse("sha-256", "sha-1").contains("no SHA-256 certificate fingerprint"));
    assert!(parse("CE:E6:0F", "CE:E6").contains("too short"));
    assert!(parse("CE:E6:0F", "CE:E6:0F:00").contains("too long"));
    assert!(parse("CE:E6:0F", "CE:E6:XX").contains("hexadecimal"));
    assert!(parse("setup:actpass", "setup:holdconn").contains("DTLS role"));
    assert!(Offer::parse("").is_err() && Offer::parse("v=0\r\n").is_err());
    let sections = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(MAX_MEDIA);
    assert_eq!(Offer::parse(&format!("{CHROME}{sections}")), Err(Error::TooLong));
    assert_eq!(Offer::parse(&format!("{CHROME}{}", "a=x\r\n".repeat(MAX_LINES))), Err(Error::TooLong));
    assert_eq!(Offer::parse(&"v=0\n".repeat(MAX_SIZE)), Err(Error::TooLong));
}

#[test]
fn an_answer_has_what_peers_look_for() {
    let offer = Offer::parse(CHROME).unwrap();
    let source =
        SentSource { ssrc: 1, rtx: Some(2), stream: "floor".into(), track: "video".into(), cname: "boothcast".into() };
    let answer = Answer {
        session: 7,
        ufrag: "abcd".into(),
        pwd: "p".repeat(22),
        fingerprint: [0xab; 32],
        active: false,
        candidates: vec![
            Candidate { address: "203.0.113.7:8189".parse().unwrap(), tcp: false },
            Candidate { address: "203.0.113.7:8189".parse().unwrap(), tcp: true },
        ],
        sections: vec![
            Section::Rejected,
            Section::Rtp {
                direction: Direction::SendOnly,
                codecs: vec![(102, "H264/90000".into(), "packetization-mode=1".into(), vec!["nack", "nack pli"])],
                source: Some(source),
            },
            Section::Data { max_message: 65_536 },
        ],
    };
    let text = answer.write(&offer.media);
    let sections: Vec<&str> = text.split("m=").collect();
    assert!(sections[0].contains("a=group:BUNDLE 1 2\r\n") && sections[0].contains("a=ice-lite\r\n"));
    let rejected = sections[1];
    assert_eq!(
        rejected,
        "audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\na=rtpmap:111 opus/48000/2\r\n"
    );
    for line in [
        "video 8189 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 203.0.113.7\r\na=mid:1\r\n",
        "a=setup:passive\r\n",
        "a=sendonly\r\n",
        "a=fmtp:102 packetization-mode=1\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n",
        "a=ssrc-group:FID 1 2\r\n",
        "a=candidate:1 1 udp 2130706431 203.0.113.7 8189 typ host\r\n",
        "a=candidate:2 1 tcp 1526722559 203.0.113.7 8189 typ host tcptype passive\r\n",
        "a=end-of-candidates\r\n",
    ] {
        assert!(sections[2].contains(line), "{line} in {}", sections[2]);
    }
    assert!(sections[3].contains("a=sctp-port:5000\r\na=max-message-size:65536\r\n"));
    // A peer's parser reads it.
    ::rtc::peer_connection::sdp::RTCSessionDescription::answer(text).unwrap();
    assert!(Fragment::parse(&answer.write_fragment(Some("0"))).unwrap().candidates == 2);
}

#[test]
fn fragments_are_read() {
    let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(text).unwrap();
    assert_eq!((fragment.ufrag.as_deref(), fragment.candidates), (Some("EsAw"), 1));
    assert!(Fragment::parse("a=ice-ufrag:a b c\r\n").is_err() && Fragment::parse("candidate").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,400}") {
        let _ = (Offer::parse(&text), Fragment::parse(&text));
    }

    #[test]
    fn a_changed_offer_is_read_or_refused(at: prop::sample::Index, by in "\\PC{0,3}", length in 0usize..40) {
        let start = at.index(CHROME.len());
        let end = (start + length).min(CHROME.len());
        if CHROME.is_char_boundary(start) && CHROME.is_char_boundary(end) {
            let _ = Offer::parse(&[&CHROME[..start], &by, &CHROME[end..]].concat());
        }
    }
}
