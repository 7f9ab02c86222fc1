//! Data channels of one peer (RFC 8831, RFC 8832), without IO: SCTP over its DTLS, channels that the peer opens.
//!
//! **Bound.** One association, [`MAX_CHANNELS`] channels, messages of [`MAX_MESSAGE`] bytes. What a peer asks to send back
//! while more than [`MAX_UNSENT`] bytes wait is left out.

use super::instant::Anchor;
use crate::media::Ts;
use ::rtc::sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event as SctpEvent, Payload,
    PayloadProtocolIdentifier as Protocol, ServerConfig, StreamEvent, TransportConfig,
};
use ::rtc::shared::{TransportContext, TransportProtocol};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest message of a channel; pings and chat are short.
pub const MAX_MESSAGE: u32 = 16 << 10;

/// Channels that a peer may open: `ctl` and some that it made by mistake.
pub const MAX_CHANNELS: usize = 8;

/// Bytes that wait to be sent on a channel.
const MAX_UNSENT: usize = 64 << 10;

/// The longest name of a channel that is kept.
const MAX_LABEL: usize = 64;

/// RFC 8832 §5.1, §5.2.
const OPEN: u8 = 0x03;
const ACK: u8 = 0x02;

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// On which stream.
    pub stream: u16,
    /// The channel's name.
    pub label: String,
    /// It is text, not binary.
    pub text: bool,
    /// What.
    pub data: Bytes,
}

/// The association and its channels.
pub struct Channels {
    endpoint: Endpoint,
    anchor: Anchor,
    association: Option<(AssociationHandle, Association)>,
    labels: BTreeMap<u16, String>,
}

impl Channels {
    /// A side that waits for the peer's association; see [`Channels::connect`].
    pub fn new(anchor: Anchor) -> Channels {
        let server = ServerConfig::new(transport());
        let local = TransportContext::default().local_addr;
        let config = Arc::new(EndpointConfig::default());
        Channels {
            endpoint: Endpoint::new(local, TransportProtocol::UDP, config, Some(Arc::new(server))),
            anchor,
            association: None,
            labels: BTreeMap::new(),
        }
    }

    /// Opens the association, where we are the DTLS client.
    pub fn connect(&mut self, now: Ts) {
        let remote = TransportContext::default().peer_addr;
        if let Ok(made) = self.endpoint.connect(self.anchor.instant(now), ClientConfig::new(transport()), remote) {
            self.association = Some(made);
        }
    }

    /// Takes what came through DTLS; gives whole messages.
    pub fn read(&mut self, now: Ts, data: Bytes) -> Vec<Message> {
        let remote = TransportContext::default().peer_addr;
        let Some((handle, event)) = self.endpoint.handle(self.anchor.instant(now), remote, None, data) else {
            return Vec::new();
        };
        match event {
            DatagramEvent::NewAssociation(association) if self.association.is_none() => {
                self.association = Some((handle, association));
            }
            DatagramEvent::AssociationEvent(event) => {
                if let Some((known, association)) = &mut self.association
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
        self.pump(now)
    }

    fn pump(&mut self, now: Ts) -> Vec<Message> {
        let mut messages = Vec::new();
        let Some((handle, association)) = &mut self.association else { return messages };
        let mut acknowledge = Vec::new();
        while let Some(event) = association.poll() {
            let SctpEvent::Stream(StreamEvent::Readable { id }) = event else { continue };
            let Ok(mut stream) = association.stream(id) else { continue };
            while let Ok(Some(chunks)) = stream.read_sctp() {
                let Ok(payload) = chunks.to_payload(MAX_MESSAGE as usize) else { continue };
                let payload = payload.freeze();
                match chunks.ppi {
                    Protocol::Dcep => {
                        if let Some(label) = opened(&payload)
                            && (self.labels.len() < MAX_CHANNELS || self.labels.contains_key(&id))
                        {
                            self.labels.insert(id, label);
                            acknowledge.push(id);
                        }
                    }
                    kind @ (Protocol::String | Protocol::Binary) => {
                        let Some(label) = self.labels.get(&id).cloned() else { continue };
                        let text = kind == Protocol::String;
                        messages.push(Message { stream: id, label, text, data: payload });
                    }
                    _ => {}
                }
            }
        }
        for id in acknowledge {
            if let Ok(mut stream) = association.stream(id) {
                let instant = self.anchor.instant(now);
                let _ = stream.write_chunk_with_ppi(instant, &Bytes::from_static(&[ACK]), Protocol::Dcep);
            }
        }
        let mut drained = None;
        while let Some(event) = association.poll_endpoint_event() {
            drained = Some((*handle, event));
        }
        if let Some((handle, event)) = drained {
            self.endpoint.handle_event(handle, event);
            self.association = None;
            self.labels.clear();
        }
        messages
    }

    /// Sends a message on a channel; left out where the peer takes nothing.
    pub fn send(&mut self, now: Ts, stream: u16, text: bool, data: &Bytes) {
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(stream) else { return };
        if stream.buffered_amount().is_ok_and(|n| n + data.len() <= MAX_UNSENT) && !data.is_empty() {
            let kind = if text { Protocol::String } else { Protocol::Binary };
            let _ = stream.write_chunk_with_ppi(self.anchor.instant(now), data, kind);
        }
    }

    /// The stream of the channel with this name.
    pub fn find(&self, label: &str) -> Option<u16> {
        self.labels.iter().find(|(_, l)| *l == label).map(|(id, _)| *id)
    }

    /// The next packets for DTLS.
    pub fn poll_transmit(&mut self, now: Ts) -> Option<Vec<Bytes>> {
        let (_, association) = self.association.as_mut()?;
        match association.poll_transmit(self.anchor.instant(now))?.message {
            Payload::RawEncode(packets) => Some(packets),
            _ => None,
        }
    }

    /// When [`Channels::timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Ts> {
        self.association.as_ref()?.1.poll_timeout().map(|at| self.anchor.ts(at))
    }

    /// Repeats what was lost.
    pub fn timeout(&mut self, now: Ts) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(self.anchor.instant(now));
            self.pump(now);
        }
    }
}

fn transport() -> TransportConfig {
    TransportConfig::default().with_max_message_size(MAX_MESSAGE).with_max_receive_buffer_size(4 * MAX_MESSAGE)
}

/// The name of the channel that a message opens.
fn opened(payload: &[u8]) -> Option<String> {
    let head: &[u8; 12] = payload.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    if head[0] != OPEN || length > MAX_LABEL {
        return None;
    }
    String::from_utf8(payload.get(12..12 + length)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_read() {
        let open = b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00ctl";
        assert_eq!(opened(open).as_deref(), Some("ctl"));
        assert_eq!(opened(&open[..14]), None);
        assert_eq!(opened(b"\x02"), None);
        assert_eq!(opened(b"\x03\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00ctl"), None);
    }
}
