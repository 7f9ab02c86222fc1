//! The chunk stream (RTMP 1.0 §5.3): messages cut into chunks that may interleave.
//!
//! **Bounds.** [`MAX_PARTIAL`] messages in progress, [`MAX_BYTES`] of payload in all, [`MAX_CHUNK_STREAMS`] headers. A message's
//! buffer grows with what was received: its announced length alone reserves at most [`FIRST_RESERVE`].

use super::kind;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;

/// Messages in progress at once. Encoders interleave two or three (control, sound, picture).
pub const MAX_PARTIAL: usize = 8;

/// Payload in progress over all messages, and the largest message: a key frame of 100 Mbps video with room.
pub const MAX_BYTES: usize = 8 << 20;

/// Chunk streams whose header is remembered. Encoders use up to ten; the protocol's 65 597 would be 4 MB of headers.
pub const MAX_CHUNK_STREAMS: usize = 64;

/// What a message's announced length may reserve before its bytes have come.
pub const FIRST_RESERVE: usize = 64 << 10;

/// A timestamp field with this value says that 32 bits follow (§5.3.1.3).
const EXTENDED: u32 = 0xff_ffff;

/// Why a chunk stream cannot go on. The place of the next chunk is then unknown, so every one of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A compressed header on a chunk stream without one before.
    #[error("chunk stream {csid} begins with a compressed header (type {format})")]
    NoHeader {
        /// The chunk stream.
        csid: u32,
        /// The chunk's type, 1 to 3.
        format: u8,
    },
    /// A message longer than the reader's limit.
    #[error("message of {length} bytes on chunk stream {csid}; at most {limit} are taken")]
    TooLong {
        /// The chunk stream.
        csid: u32,
        /// The announced length.
        length: u32,
        /// What is taken.
        limit: usize,
    },
    /// More than [`MAX_PARTIAL`] messages in progress.
    #[error("more than {MAX_PARTIAL} messages in progress")]
    TooManyPartial,
    /// More payload in unfinished messages than the reader's limit.
    #[error("more than {limit} bytes in unfinished messages")]
    TooManyBytes {
        /// What is taken.
        limit: usize,
    },
    /// More than [`MAX_CHUNK_STREAMS`] chunk streams.
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams")]
    TooManyStreams,
    /// A chunk size that the specification does not allow, or a control message without its value.
    #[error("Set Chunk Size without a size from 1 on")]
    ChunkSize,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message type, see [`kind`].
    pub kind: u8,
    /// Milliseconds, modulo 2³².
    pub timestamp: u32,
    /// Message stream.
    pub stream: u32,
    /// The payload.
    pub data: Bytes,
}

#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// The timestamp field as a number: absolute after a type 0 chunk, else a difference. A type 3 chunk repeats it.
    field: u32,
    /// Whether the field stood in the 32 extended bits.
    extended: bool,
    length: u32,
    kind: u8,
    stream: u32,
    /// The message in progress; none between two messages.
    partial: Option<BytesMut>,
}

/// Reads messages from chunks.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: u32,
    limit: usize,
    streams: HashMap<u32, ChunkStream>,
    partial: usize,
    bytes: usize,
    /// The chunk whose payload is being read, and how much of it is left.
    current: Option<(u32, usize)>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        ChunkReader::new()
    }
}

impl ChunkReader {
    /// At the start of a connection, after the handshake.
    pub fn new() -> ChunkReader {
        ChunkReader { chunk_size: 128, limit: MAX_BYTES, streams: HashMap::new(), partial: 0, bytes: 0, current: None }
    }

    /// Takes at most so many bytes from now on, per message and in all; never more than [`MAX_BYTES`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_BYTES);
    }

    /// Payload bytes held in unfinished messages.
    pub fn pending(&self) -> usize {
        self.bytes
    }

    /// The next whole message; none when more input is needed. What was used is taken from the front of `input`, and fewer than 18
    /// bytes stay there. Set Chunk Size and Abort act here and are handed out too.
    ///
    /// # Errors
    /// [`Error`]; the reader must not be used after one.
    pub fn next_message(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Error> {
        loop {
            let (csid, left) = match self.current {
                Some(current) => current,
                None => match self.header(input)? {
                    Some(current) => current,
                    None => return Ok(None),
                },
            };
            let take = left.min(input.len());
            self.bytes += take;
            if self.bytes > self.limit {
                return Err(Error::TooManyBytes { limit: self.limit });
            }
            let Some(state) = self.streams.get_mut(&csid) else { return Ok(None) };
            let Some(partial) = state.partial.as_mut() else { return Ok(None) };
            let length = state.length as usize;
            if partial.capacity() - partial.len() < take {
                // Doubles, but never past the announced length: a finished message holds no spare memory.
                let want = length.min((partial.len() + take).max(partial.len() * 2).max(FIRST_RESERVE));
                partial.reserve_exact_to(want);
            }
            partial.extend_from_slice(&input[..take]);
            input.advance(take);
            if take < left {
                self.current = Some((csid, left - take));
                return Ok(None);
            }
            self.current = None;
            if partial.len() < length {
                continue;
            }
            let data = state.partial.take().unwrap_or_default().freeze();
            let message = Message { kind: state.kind, timestamp: state.timestamp, stream: state.stream, data };
            self.partial -= 1;
            self.bytes -= message.data.len();
            self.control(&message)?;
            return Ok(Some(message));
        }
    }

    /// Reads a chunk's header (§5.3.1) when it is there in full: the chunk stream and the chunk's payload length.
    fn header(&mut self, input: &mut BytesMut) -> Result<Option<(u32, usize)>, Error> {
        let Some(&first) = input.first() else { return Ok(None) };
        let format = first >> 6;
        let (csid, basic) = match (first & 0x3f, &input[1..]) {
            (0, [a, ..]) => (64 + u32::from(*a), 2),
            (1, [a, b, ..]) => (64 + u32::from(*a) + 256 * u32::from(*b), 3),
            (0 | 1, _) => return Ok(None),
            (id, _) => (u32::from(id), 1),
        };
        let size = basic + [11, 7, 3, 0][usize::from(format)];
        if input.len() < size {
            return Ok(None);
        }
        let known = self.streams.len();
        let state = match self.streams.entry(csid) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            // A type 1 header on a fresh stream says all but the message stream, and librtmp sends it so: it counts from zero there.
            std::collections::hash_map::Entry::Vacant(e) if format <= 1 => {
                if known >= MAX_CHUNK_STREAMS {
                    return Err(Error::TooManyStreams);
                }
                e.insert(ChunkStream::default())
            }
            std::collections::hash_map::Entry::Vacant(_) => return Err(Error::NoHeader { csid, format }),
        };
        let fields = &input[basic..size];
        let u24 = |b: &[u8]| u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        let extended = if format == 3 { state.extended } else { u24(fields) == EXTENDED };
        let mut used = size;
        let mut field = if format == 3 { state.field } else { u24(fields) };
        if extended && format < 3 {
            let Some(b) = input.get(size..size + 4) else { return Ok(None) };
            field = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
            used += 4;
        } else if extended {
            // Encoders disagree whether a type 3 chunk repeats the extended timestamp. Those that do repeat the field, or put the
            // absolute time there; four bytes of payload that happen to equal it are less likely than either.
            let peek = &input[size..input.len().min(size + 4)];
            let candidates = [state.field.to_be_bytes(), state.timestamp.to_be_bytes()];
            if candidates.iter().any(|c| c == peek) {
                used += 4;
            } else if peek.len() < 4 && candidates.iter().any(|c| c.starts_with(peek)) {
                return Ok(None);
            }
        }
        let begins = format < 3 || state.partial.is_none();
        if begins {
            // A full header inside a message: the peer has given that message up.
            if let Some(old) = state.partial.take() {
                self.partial -= 1;
                self.bytes -= old.len();
            }
            if format <= 1 {
                state.length = u24(&fields[3..]);
                state.kind = fields[6];
            }
            if format == 0 {
                state.stream = u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
            }
            state.field = field;
            state.extended = extended;
            // §5.3.1.2.4: a type 3 chunk that begins a message repeats the field before it, after type 0 as a difference too.
            state.timestamp = if format == 0 { field } else { state.timestamp.wrapping_add(field) };
            if state.length as usize > self.limit {
                return Err(Error::TooLong { csid, length: state.length, limit: self.limit });
            }
            if self.partial >= MAX_PARTIAL {
                return Err(Error::TooManyPartial);
            }
            self.partial += 1;
            state.partial = Some(BytesMut::new());
        }
        input.advance(used);
        let have = state.partial.as_ref().map_or(0, BytesMut::len);
        let left = (state.length as usize - have).min(self.chunk_size as usize);
        self.current = Some((csid, left));
        Ok(Some((csid, left)))
    }

    /// §5.4.1 and §5.4.2.
    fn control(&mut self, message: &Message) -> Result<(), Error> {
        let value = || message.data.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        match message.kind {
            kind::SET_CHUNK_SIZE => {
                // The first bit must be zero; sizes above the largest message mean the same as that.
                let size = value().ok_or(Error::ChunkSize)? & 0x7fff_ffff;
                if size == 0 {
                    return Err(Error::ChunkSize);
                }
                self.chunk_size = size.min(MAX_BYTES as u32);
            }
            kind::ABORT => {
                if let Some(state) = value().and_then(|csid| self.streams.get_mut(&csid))
                    && let Some(old) = state.partial.take()
                {
                    self.partial -= 1;
                    self.bytes -= old.len();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// `Vec::reserve_exact` for a buffer that is not shared.
trait ReserveExact {
    fn reserve_exact_to(&mut self, capacity: usize);
}

impl ReserveExact for BytesMut {
    fn reserve_exact_to(&mut self, capacity: usize) {
        let mut grown = BytesMut::with_capacity(capacity);
        grown.extend_from_slice(self);
        *self = grown;
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
