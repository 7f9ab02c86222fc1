//! What both sides of a connection do alike: messages to send, acknowledgements, aggregates, AMF bodies.

use super::chunk::Message;
use super::kind;
use crate::wire::amf0::{self, Value};
use bytes::{Buf, Bytes, BytesMut};
use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

/// The window announced to the peer and asked of it: what Adobe's servers and most others use.
pub(super) const WINDOW: u32 = 2_500_000;

/// The smallest acknowledgement window that is honoured: acknowledging every few bytes would be work for the peer's pleasure.
const MIN_WINDOW: u32 = 16 << 10;

/// `FourCcInfoMask` of Enhanced RTMP v2: CanDecode and CanForward.
const FOUR_CC_MASK: f64 = 5.0;
const VIDEO_FOUR_CC: [&str; 3] = ["avc1", "hvc1", "av01"];
const AUDIO_FOUR_CC: [&str; 4] = ["mp4a", "Opus", ".mp3", "ac-3"];
/// `CapsExMask` of Enhanced RTMP v2: Multitrack, ModEx, TimestampNanoOffset.
const CAPS_EX: f64 = 14.0;

/// An answer could not be written; the peer made its parameters impossible.
pub(super) struct Unwritable;

/// Messages on their way to the peer.
pub(super) struct Sender {
    serializer: ChunkSerializer,
    out: Vec<u8>,
}

impl Sender {
    pub(super) fn new() -> Sender {
        Sender { serializer: ChunkSerializer::new(), out: Vec::new() }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// What must be sent now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Bytes that are no message: the handshake's.
    pub(super) fn raw(&mut self, bytes: Vec<u8>) {
        self.out.extend(bytes);
    }

    /// One message.
    pub(super) fn send(&mut self, kind: u8, stream: u32, data: Bytes) -> Result<(), Unwritable> {
        let message =
            MessagePayload { timestamp: RtmpTimestamp::new(0), type_id: kind, message_stream_id: stream, data };
        let packet = self.serializer.serialize(&message, false, false).map_err(|_| Unwritable)?;
        self.out.extend(packet.bytes);
        Ok(())
    }

    /// Announces and uses a chunk size.
    pub(super) fn chunk_size(&mut self, size: u32) -> Result<(), Unwritable> {
        let packet = self.serializer.set_max_chunk_size(size, RtmpTimestamp::new(0)).map_err(|_| Unwritable)?;
        self.out.extend(packet.bytes);
        Ok(())
    }

    /// A command in AMF0 (§7.2).
    pub(super) fn command<const N: usize>(
        &mut self,
        stream: u32,
        name: &str,
        transaction: f64,
        arguments: [Value; N],
    ) -> Result<(), Unwritable> {
        let mut body = BytesMut::with_capacity(256);
        amf0::write(&mut body, &Value::string(name));
        amf0::write(&mut body, &Value::Number(transaction));
        arguments.iter().for_each(|a| amf0::write(&mut body, a));
        self.send(kind::COMMAND_AMF0, stream, body.freeze())
    }

    /// The same four bytes back to a Ping Request (§7.1.7); whether it was one.
    pub(super) fn pong(&mut self, data: &[u8]) -> Result<bool, Unwritable> {
        let [0, 6, value @ ..] = data else { return Ok(false) };
        let Some(value) = value.first_chunk::<4>() else { return Ok(false) };
        self.send(kind::USER_CONTROL, 0, [&[0, 7][..], value].concat().into())?;
        Ok(true)
    }
}

/// Counts what came, and when the peer wants to be told (§5.4.3).
pub(super) struct Received {
    pub(super) bytes: u64,
    acknowledged: u64,
    window: u32,
}

impl Received {
    pub(super) fn new() -> Received {
        Received { bytes: 0, acknowledged: 0, window: WINDOW }
    }

    /// Counts `fresh` bytes.
    pub(super) fn add(&mut self, fresh: usize) {
        self.bytes += fresh as u64;
    }

    /// Acknowledges what is due.
    pub(super) fn acknowledge(&mut self, sender: &mut Sender) -> Result<(), Unwritable> {
        if self.bytes - self.acknowledged < u64::from(self.window) {
            return Ok(());
        }
        self.acknowledged = self.bytes;
        // The sequence number wraps.
        sender.send(kind::ACKNOWLEDGEMENT, 0, Bytes::copy_from_slice(&(self.bytes as u32).to_be_bytes()))
    }

    /// The peer's Window Acknowledgement Size (§5.4.4).
    pub(super) fn set_window(&mut self, data: &[u8]) {
        if let Some(b) = data.first_chunk::<4>() {
            self.window = u32::from_be_bytes(*b).max(MIN_WINDOW);
        }
    }
}

/// The rest of an aggregate message (§7.1.6) and what to add to its tags' timestamps.
pub(super) struct Aggregate {
    data: Bytes,
    offset: Option<u32>,
    timestamp: u32,
}

impl Aggregate {
    pub(super) fn new(data: Bytes, timestamp: u32) -> Aggregate {
        Aggregate { data, offset: None, timestamp }
    }

    /// The next of its tags, which are FLV's with their back pointers; none when there is no whole one left.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        let data = &mut self.data;
        let tag = *data.first_chunk::<11>()?;
        let length = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        if data.len() - 11 < length {
            return None;
        }
        data.advance(11);
        let body = data.split_to(length);
        data.advance(data.len().min(4));
        let time = u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]);
        // The message's timestamp stands for its first tag's.
        let offset = *self.offset.get_or_insert(self.timestamp.wrapping_sub(time));
        Some(Message { kind: tag[0] & 0x1f, timestamp: time.wrapping_add(offset), stream: 0, data: body })
    }
}

/// `{level, code, description}`.
pub(super) fn status(level: &str, code: &str, description: &str) -> Value {
    Value::object([
        ("level", Value::string(level)),
        ("code", Value::string(code)),
        ("description", Value::string(description)),
    ])
}

/// What Enhanced RTMP v2 has each side say of itself in `connect` and its answer.
pub(super) fn capabilities() -> [(String, Value); 4] {
    let map =
        |codes: &[&str]| Value::Object(codes.iter().map(|c| ((*c).to_owned(), Value::Number(FOUR_CC_MASK))).collect());
    let list = VIDEO_FOUR_CC.iter().chain(&AUDIO_FOUR_CC).map(|c| Value::string(*c)).collect();
    [
        ("fourCcList".to_owned(), Value::StrictArray(list)),
        ("videoFourCcInfoMap".to_owned(), map(&VIDEO_FOUR_CC)),
        ("audioFourCcInfoMap".to_owned(), map(&AUDIO_FOUR_CC)),
        ("capsEx".to_owned(), Value::Number(CAPS_EX)),
    ]
}

/// An AMF3 message of an encoder is AMF0 behind a zero byte; some leave even that out.
pub(super) fn amf_body(kind: u8, data: &[u8]) -> &[u8] {
    match data {
        [0, rest @ ..] if matches!(kind, kind::COMMAND_AMF3 | kind::DATA_AMF3) => rest,
        _ => data,
    }
}

/// `onMetaData`, alone or behind `@setDataFrame`.
pub(super) fn metadata(body: &[u8]) -> Option<Value> {
    let values = amf0::Reader::new(body).rest();
    let named = |v: &Value| v.as_str() == Some("onMetaData");
    let at = values.iter().take(2).position(named)?;
    values.into_iter().skip(at + 1).find(|v| !v.members().is_empty())
}
