//! STUN (RFC 8489) as an ICE-lite agent needs it (RFC 8445 §7.3): binding requests in, responses out.
//!
//! The keyed hash is the caller's: nothing here holds a key or a crypto library.

use core::net::{IpAddr, SocketAddr};

/// Fixed in every message (RFC 8489 §5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

const HEADER: usize = 20;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// What the checksum is combined with (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Whether a datagram on a WebRTC flow is STUN (RFC 7983 §7).
pub fn is_stun(data: &[u8]) -> bool {
    data.len() >= HEADER && data[0] < 4 && data[4..8] == COOKIE
}

/// A binding request, as far as an ICE-lite agent looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    data: &'a [u8],
    /// To be repeated in the response.
    pub transaction: [u8; 12],
    /// `receiver's fragment:sender's fragment`.
    pub username: &'a str,
    /// The sender nominates this pair.
    pub use_candidate: bool,
    /// The sender believes to be controlled, which beside a lite agent it cannot be.
    pub controlled: bool,
    /// Where the integrity attribute begins.
    integrity: usize,
}

impl<'a> Request<'a> {
    /// Reads a request; none for anything else, also for a request without username and integrity, which an ICE agent
    /// never sends. A fingerprint that is there must be right.
    pub fn parse(data: &'a [u8]) -> Option<Request<'a>> {
        let header = data.get(..HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[..2] != [0x00, 0x01] || header[4..8] != COOKIE || HEADER + length != data.len() {
            return None;
        }
        let mut request = Request {
            data,
            transaction: header[8..20].try_into().ok()?,
            username: "",
            use_candidate: false,
            controlled: false,
            integrity: 0,
        };
        let mut at = HEADER;
        while at < data.len() {
            let (kind, value) = attribute(data, at)?;
            match kind {
                FINGERPRINT => {
                    let crc = u32::from_be_bytes(value.try_into().ok()?);
                    // Computed with the length up to and including itself; it is the last one.
                    if at + 8 != data.len() || crc != crc32(&data[..at]) ^ FINGERPRINT_XOR {
                        return None;
                    }
                }
                // What follows the integrity is not protected by it (RFC 8489 §14.5).
                _ if request.integrity != 0 => {}
                USERNAME => request.username = core::str::from_utf8(value).ok()?,
                USE_CANDIDATE => request.use_candidate = true,
                ICE_CONTROLLED => request.controlled = true,
                MESSAGE_INTEGRITY if value.len() == 20 => request.integrity = at,
                _ => {}
            }
            at += 4 + value.len().next_multiple_of(4);
        }
        (request.integrity != 0 && !request.username.is_empty()).then_some(request)
    }

    /// The receiver's user fragment: whom the request is for.
    pub fn local_fragment(&self) -> &'a str {
        self.username.split(':').next().unwrap_or("")
    }

    /// The sender's user fragment.
    pub fn remote_fragment(&self) -> &'a str {
        self.username.split_once(':').map_or("", |(_, r)| r)
    }

    /// Whether the integrity is right; `hmac` is HMAC-SHA-1 under the receiver's password (RFC 8489 §14.5).
    pub fn verify(&self, hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>) -> bool {
        integrity_holds(self.data, self.integrity, hmac)
    }
}

/// The transaction of a success response; none for anything else. See [`verify`].
pub fn success(data: &[u8]) -> Option<[u8; 12]> {
    let header = data.get(..HEADER)?;
    let whole = HEADER + usize::from(u16::from_be_bytes([header[2], header[3]])) == data.len();
    (header[..2] == [0x01, 0x01] && header[4..8] == COOKIE && whole).then(|| header[8..20].try_into().ok())?
}

/// Whether a response's integrity is right; `hmac` is HMAC-SHA-1 under the responder's password.
pub fn verify(data: &[u8], hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>) -> bool {
    let mut at = HEADER;
    while let Some((kind, value)) = attribute(data, at) {
        if kind == MESSAGE_INTEGRITY && value.len() == 20 {
            return integrity_holds(data, at, hmac);
        }
        at += 4 + value.len().next_multiple_of(4);
    }
    false
}

/// The length in the header counts up to and including the integrity at `at` (RFC 8489 §14.5).
fn integrity_holds(data: &[u8], at: usize, hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>) -> bool {
    use subtle::ConstantTimeEq;
    let Ok(length) = u16::try_from(at + 24 - HEADER) else { return false };
    let expected = hmac(&[&data[..2], &length.to_be_bytes(), &data[4..at]]);
    expected.is_some_and(|e| e.ct_eq(&data[at + 4..at + 24]).into())
}

/// A binding request of a controlled agent, without nomination.
pub fn request(
    transaction: [u8; 12],
    username: &str,
    hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>,
) -> Option<Vec<u8>> {
    /// RFC 8445 §5.1.2.1: what a peer-reflexive candidate of ours would have.
    const PRIORITY: u32 = (110 << 24) + (65_535 << 8) + 255;
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(&[0x00, 0x01, 0, 0]);
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(&transaction);
    push(&mut out, USERNAME, &[username.as_bytes()]);
    push(&mut out, 0x0024, &[&PRIORITY.to_be_bytes()]);
    push(&mut out, ICE_CONTROLLED, &[&transaction[..8]]);
    seal(out, hmac)
}

/// The attribute at `at`: its type and its value.
fn attribute(data: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let head = data.get(at..at + 4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = data.get(at + 4..at + 4 + length)?;
    // The padding must be there too.
    data.get(..at + 4 + length.next_multiple_of(4))?;
    Some((u16::from_be_bytes([head[0], head[1]]), value))
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Success, with the address that the request came from.
    Success(SocketAddr),
    /// An error (RFC 8489 §14.8): 487 is a role conflict.
    Error(u16),
}

impl Response {
    /// The message; none where there is no hash.
    pub fn write(&self, transaction: [u8; 12], hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(match self {
            Response::Success(_) => &[0x01, 0x01, 0, 0],
            Response::Error(_) => &[0x01, 0x11, 0, 0],
        });
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(&transaction);
        match self {
            Response::Success(from) => xor_mapped(&mut out, *from, &transaction),
            Response::Error(code) => {
                let reason = if *code == 487 { "Role Conflict" } else { "Bad Request" };
                push(&mut out, ERROR_CODE, &[&[0, 0, (code / 100) as u8, (code % 100) as u8], reason.as_bytes()]);
            }
        }
        seal(out, hmac)
    }
}

/// Ends a message with its integrity and fingerprint.
fn seal(mut out: Vec<u8>, hmac: impl FnOnce(&[&[u8]]) -> Option<[u8; 20]>) -> Option<Vec<u8>> {
    set_length(&mut out, 24);
    let digest = hmac(&[&out])?;
    push(&mut out, MESSAGE_INTEGRITY, &[&digest]);
    set_length(&mut out, 8);
    let crc = crc32(&out) ^ FINGERPRINT_XOR;
    push(&mut out, FINGERPRINT, &[&crc.to_be_bytes()]);
    Some(out)
}

/// Writes the length of what is there and of `more` bytes to come.
fn set_length(out: &mut [u8], more: usize) {
    let length = (out.len() - HEADER + more) as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
}

fn push(out: &mut Vec<u8>, kind: u16, value: &[&[u8]]) {
    let length: usize = value.iter().map(|v| v.len()).sum();
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(length as u16).to_be_bytes());
    value.iter().for_each(|v| out.extend_from_slice(v));
    out.resize(out.len().next_multiple_of(4), 0);
}

/// RFC 8489 §14.2.
fn xor_mapped(out: &mut Vec<u8>, from: SocketAddr, transaction: &[u8; 12]) {
    let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let key: Vec<u8> = COOKIE.iter().chain(transaction).copied().collect();
    let mut octets = match from.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.iter_mut().zip(&key).for_each(|(o, k)| *o ^= k);
    let family = if from.is_ipv4() { 1 } else { 2 };
    push(out, XOR_MAPPED_ADDRESS, &[&[0, family], &port.to_be_bytes(), &octets]);
}

/// CRC-32 as in ITU-T V.42, a table made at compile time.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut c = i as u32;
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
                bit += 1;
            }
            table[i] = c;
            i += 1;
        }
        table
    };
    !data.iter().fold(!0u32, |crc, b| TABLE[((crc ^ u32::from(*b)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 §2.1: a request with username `evtj:h6vY`, under the password `VOkJxbRl1RmTxUk/WvJxBt`.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\
\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    fn hmac(key: &str) -> impl FnOnce(&[&[u8]]) -> Option<[u8; 20]> {
        let key = key.to_owned();
        move |parts| {
            let mut out = [0; 20];
            let provider = ::rtc::crypto::default_provider().unwrap();
            let algorithm = ::rtc::crypto::HmacAlgorithm::Sha1;
            provider.crypto().new_hmac(algorithm, key.as_bytes()).unwrap().sign(parts, &mut out).unwrap();
            Some(out)
        }
    }

    #[test]
    fn the_sample_of_rfc_5769_is_read_and_its_integrity_holds() {
        let request = Request::parse(SAMPLE).unwrap();
        assert_eq!((request.local_fragment(), request.remote_fragment()), ("evtj", "h6vY"));
        assert!(request.controlled && !request.use_candidate);
        assert!(request.verify(hmac("VOkJxbRl1RmTxUk/WvJxBt")));
        assert!(!request.verify(hmac("VOkJxbRl1RmTxUk/WvJxBu")));
    }

    #[test]
    fn responses_are_those_of_rfc_5769() {
        // §2.2: the same transaction, answered to 192.0.2.1:32853; the sample has a SOFTWARE attribute besides.
        let transaction = SAMPLE[8..20].try_into().unwrap();
        let from: SocketAddr = "192.0.2.1:32853".parse().unwrap();
        let out = Response::Success(from).write(transaction, hmac("VOkJxbRl1RmTxUk/WvJxBt")).unwrap();
        assert_eq!(out[20..32], *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        assert_eq!(out.len(), 20 + 12 + 24 + 8);
        assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])), out.len() - 20);
        let mut message = ::rtc::stun::message::Message { raw: out.clone(), ..Default::default() };
        message.decode().unwrap();
        ::rtc::stun::fingerprint::FINGERPRINT.check(&message).unwrap();
        let provider = ::rtc::crypto::default_provider().unwrap();
        let key = b"VOkJxbRl1RmTxUk/WvJxBt";
        ::rtc::stun::integrity::MessageIntegrity::check(&mut message, key, provider.crypto()).unwrap();
        assert_eq!(success(&out), Some(transaction));
        assert!(verify(&out, hmac("VOkJxbRl1RmTxUk/WvJxBt")) && !verify(&out, hmac("x")));
        let conflict = Response::Error(487).write(transaction, hmac("x")).unwrap();
        assert_eq!(conflict[20..28], *b"\x00\x09\x00\x11\x00\x00\x04\x57");
    }

    #[test]
    fn own_requests_are_read() {
        let out = request([3; 12], "peer:mine", hmac("secret")).unwrap();
        let read = Request::parse(&out).unwrap();
        assert_eq!((read.local_fragment(), read.remote_fragment(), read.controlled), ("peer", "mine", true));
        assert!(read.verify(hmac("secret")) && !read.verify(hmac("other")));
    }

    #[test]
    fn a_changed_bit_is_seen() {
        // But for the type of the fingerprint: without one the integrity says the same.
        let kind = SAMPLE.len() - 8..SAMPLE.len() - 6;
        for bit in (0..SAMPLE.len() * 8).filter(|bit| !kind.contains(&(bit / 8))) {
            let mut data = SAMPLE.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            let good = Request::parse(&data).is_some_and(|r| r.verify(hmac("VOkJxbRl1RmTxUk/WvJxBt")));
            // The padding of the username, by which nothing is meant, is covered all the same.
            assert!(!good, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut data = vec![0, 1, (tail.len() >> 8) as u8, tail.len() as u8];
            data.extend_from_slice(&COOKIE);
            data.extend_from_slice(&[7; 12]);
            data.extend_from_slice(&tail);
            if let Some(request) = Request::parse(&data) {
                let _ = (request.local_fragment(), request.remote_fragment(), request.verify(|_| Some([0; 20])));
            }
            let _ = (Request::parse(&tail), is_stun(&tail));
        }
    }
}
