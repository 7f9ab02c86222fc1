//! What an RTSP server sends (RFC 2326 §10.12, RFC 7826 §14): messages and interleaved packets on one connection.
//!
//! [`Inspector`] looks on as the bytes pass to whoever reads them in full. It holds the server to bounds that the reader does not
//! have, and tells a redirect's address.
//! **Bound.** [`MAX_HEAD`] bytes of a message's head are kept, nothing else.

use bytes::Buf;
use std::collections::BTreeMap;

/// Bytes of a message's first line and headers: real ones have some hundreds.
pub const MAX_HEAD: usize = 16 << 10;

/// Bytes of a message's body: a session description of many tracks has some kilobytes.
pub const MAX_BODY: usize = 256 << 10;

/// Bytes of one channel under one RTP timestamp, which a reader puts together to an access unit: as RTMP's largest message.
pub const MAX_UNIT: usize = 8 << 20;

/// Interleaved channels that are told apart: two for each of more tracks than a contribution has.
const MAX_CHANNELS: usize = 128;

/// What of an interleaved packet is looked at: its RTP header up to the timestamp (RFC 3550 §5.1).
const RTP_HEAD: usize = 8;

/// How a server breaks the protocol, or a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither a message nor an interleaved packet.
    #[error("the server does not speak RTSP")]
    NotRtsp,
    /// A head longer than [`MAX_HEAD`].
    #[error("the server sends a message head of more than {MAX_HEAD} bytes")]
    Head,
    /// A body longer than [`MAX_BODY`], or of no length that can be read.
    #[error("the server sends a message of more than {MAX_BODY} bytes, or of no length")]
    Body,
    /// A picture longer than [`MAX_UNIT`].
    #[error("the server sends a picture of more than {MAX_UNIT} bytes")]
    Unit,
    /// More than [`MAX_CHANNELS`] channels.
    #[error("the server sends on more than {MAX_CHANNELS} channels")]
    Channels,
}

#[derive(Debug)]
enum State {
    /// Between two.
    Start,
    /// `$`, channel, length (two bytes), and the packet's first bytes.
    Packet { head: [u8; 4 + RTP_HEAD], got: usize },
    /// The rest of a packet.
    PacketRest { left: usize },
    /// A message's first line and headers, in [`Inspector::head`].
    Head,
    /// The rest of a message's body.
    Body { left: usize },
}

/// Bytes under the timestamp that a channel is at.
#[derive(Debug, Default)]
struct Unit {
    timestamp: [u8; 4],
    bytes: usize,
}

/// Looks at a server's bytes as they pass.
#[derive(Debug)]
pub struct Inspector {
    state: State,
    head: Vec<u8>,
    units: BTreeMap<u8, Unit>,
    redirect: Option<String>,
}

impl Default for Inspector {
    fn default() -> Self {
        Inspector::new()
    }
}

impl Inspector {
    /// At the start of a connection.
    pub fn new() -> Inspector {
        Inspector { state: State::Start, head: Vec::new(), units: BTreeMap::new(), redirect: None }
    }

    /// The address that the server names instead of its own (RFC 2326 §11.3), once it did.
    pub fn redirect(&self) -> Option<&str> {
        self.redirect.as_deref()
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// [`Error`]: they must not be passed on, nor any after them.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(&first) = bytes.first() {
            match &mut self.state {
                State::Start => match first {
                    b'$' => self.state = State::Packet { head: [0; 4 + RTP_HEAD], got: 0 },
                    // Empty lines between messages are harmless and seen.
                    b'\r' | b'\n' => bytes.advance(1),
                    b'A'..=b'Z' | b'a'..=b'z' => {
                        self.head.clear();
                        self.state = State::Head;
                    }
                    _ => return Err(Error::NotRtsp),
                },
                State::Packet { head, got } => {
                    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                    let want = if *got < 4 { 4 } else { 4 + length.min(RTP_HEAD) };
                    let take = (want - *got).min(bytes.len());
                    head[*got..*got + take].copy_from_slice(&bytes[..take]);
                    *got += take;
                    bytes.advance(take);
                    let (head, got) = (*head, *got);
                    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                    if got >= 4 && got == 4 + length.min(RTP_HEAD) {
                        self.packet(&head, length)?;
                        self.state = State::PacketRest { left: length - length.min(RTP_HEAD) };
                    }
                }
                State::PacketRest { left } | State::Body { left } => {
                    let take = (*left).min(bytes.len());
                    *left -= take;
                    bytes.advance(take);
                }
                State::Head => {
                    self.head.push(first);
                    bytes.advance(1);
                    if self.head.ends_with(b"\r\n\r\n") || self.head.ends_with(b"\n\n") {
                        self.state = State::Body { left: self.message()? };
                    } else if self.head.len() >= MAX_HEAD {
                        return Err(Error::Head);
                    }
                }
            }
            if let State::PacketRest { left: 0 } | State::Body { left: 0 } = self.state {
                self.state = State::Start;
            }
        }
        Ok(())
    }

    fn packet(&mut self, head: &[u8; 4 + RTP_HEAD], length: usize) -> Result<(), Error> {
        let [_, channel, _, _, _, marked, _, _, a, b, c, d] = *head;
        if self.units.len() >= MAX_CHANNELS && !self.units.contains_key(&channel) {
            return Err(Error::Channels);
        }
        let unit = self.units.entry(channel).or_default();
        if unit.timestamp != [a, b, c, d] {
            *unit = Unit { timestamp: [a, b, c, d], bytes: 0 };
        }
        unit.bytes += length;
        if unit.bytes > MAX_UNIT {
            return Err(Error::Unit);
        }
        if marked & 0x80 != 0 {
            unit.bytes = 0;
        }
        Ok(())
    }

    /// The body's length of the message whose head is complete.
    fn message(&mut self) -> Result<usize, Error> {
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("RTSP/")).and_then(|l| l.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
        let (mut length, mut location) = (0, None);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok().filter(|n| *n <= MAX_BODY).ok_or(Error::Body)?;
            } else if name.eq_ignore_ascii_case("location") {
                location = Some(value.to_owned());
            }
        }
        if status.is_some_and(|s| s.len() == 3 && s.starts_with('3')) {
            self.redirect = location.or(self.redirect.take());
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(channel: u8, marker: bool, timestamp: u32, length: usize) -> Vec<u8> {
        let mut data = vec![b'$', channel];
        data.extend((length as u16).to_be_bytes());
        let mut rtp = vec![0x80, 96 | u8::from(marker) << 7, 0, 1];
        rtp.extend(timestamp.to_be_bytes());
        rtp.resize(length.max(8), 0);
        data.extend(&rtp[..length]);
        data
    }

    /// However the bytes are cut.
    fn inspect(data: &[u8], step: usize) -> (Result<(), Error>, Option<String>) {
        let mut inspector = Inspector::new();
        let result = data.chunks(step).try_for_each(|piece| inspector.push(piece));
        (result, inspector.redirect().map(str::to_owned))
    }

    #[test]
    fn messages_and_packets_pass() {
        let mut data = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\n$$$$$".to_vec();
        data.extend(packet(0, true, 1, 1400));
        data.extend(packet(1, false, 2, 3));
        data.extend(packet(2, false, 2, 0));
        data.extend(b"\r\nOPTIONS * RTSP/1.0\nCSeq: 2\n\nRTSP/1.0 200 OK\r\n\r\n");
        for step in [1, 3, 7, data.len()] {
            assert_eq!(inspect(&data, step), (Ok(()), None), "{step}");
        }
    }

    #[test]
    fn a_redirect_is_told() {
        let data = b"RTSP/1.0 302 Moved Temporarily\r\nCSeq: 1\r\nlocation:  rtsp://other.example/a \r\n\r\n";
        assert_eq!(inspect(data, 5), (Ok(()), Some("rtsp://other.example/a".to_owned())));
        let data = b"RTSP/1.0 200 OK\r\nLocation: rtsp://other.example/a\r\n\r\n";
        assert_eq!(inspect(data, 5), (Ok(()), None));
    }

    #[test]
    fn what_has_no_bound_does_not_pass() {
        assert_eq!(inspect(b"\x16\x03\x01", 10).0, Err(Error::NotRtsp));
        let endless = [b"RTSP/1.0 200 OK\r\nX: ".to_vec(), vec![b'a'; MAX_HEAD]].concat();
        assert_eq!(inspect(&endless, 1000).0, Err(Error::Head));
        for length in ["262145", "-1", "99999999999999999999", "x"] {
            let data = format!("RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(inspect(data.as_bytes(), 100).0, Err(Error::Body), "{length}");
        }
        let unit = |marker, timestamp: fn(usize) -> u32| -> Vec<u8> {
            (0..MAX_UNIT / 60_000 + 1).flat_map(|i| packet(0, marker, timestamp(i), 60_000)).collect()
        };
        assert_eq!(inspect(&unit(false, |_| 1), 100_000).0, Err(Error::Unit));
        assert_eq!(inspect(&unit(true, |_| 1), 100_000).0, Ok(()));
        assert_eq!(inspect(&unit(false, |i| i as u32), 100_000).0, Ok(()));
        let channels: Vec<u8> = (0..=MAX_CHANNELS).flat_map(|c| packet(c as u8, true, 1, 20)).collect();
        assert_eq!(inspect(&channels, 1000).0, Err(Error::Channels));
    }

    proptest! {
        #[test]
        fn the_cut_makes_no_difference(
            data in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'$'), Just(0), Just(b'\n')], 0..600), step in 1usize..50,
        ) {
            prop_assert_eq!(inspect(&data, step), inspect(&data, data.len().max(1)));
        }
    }
}
