//! RTMP (Adobe's Real Time Messaging Protocol 1.0) and Enhanced RTMP (Veovera, v1 and v2), without IO.
//!
//! **Data flow.** Bytes of a connection → [`handshake`](rml_rtmp::handshake) → [`chunk::ChunkReader`] (messages) →
//! [`server::ServerSession`] or [`client::ClientSession`] (events and bytes to send). The tags that audio and video messages hold are read by [`super::flv`].
//! **Bounds.** Eight messages in progress and 8 MB per connection (128 KB before it may publish or plays), grown with what was received; commands of at most 64 KB. Nothing is
//! queued: the owner takes one event at a time, and while it does not, the peer's bytes stay in the socket.

pub mod chunk;
pub mod client;
mod peer;
pub mod server;

/// Message types (RTMP 1.0 §5.4 and §7.1).
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control Message.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 (in practice a zero byte and AMF0).
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3 (in practice a zero byte and AMF0).
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// Command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate.
    pub const AGGREGATE: u8 = 22;
}
