//! Boothcast: a live media server for multilingual events. This is the architecture document.
//!
//! # The line
//!
//! ```text
//!  encoder ──▶ ingest ──▶ select ──▶ engine ──▶ package ──▶ deliver ──▶ viewer
//!           (rtmp, srt,   (failover,  (decode,   (CMAF parts  (hls, dash,
//!            whip, pull)   clock)      mix,       segments)    whep)
//!  interpreter ──▶ rtc ──▶ booth ────▶ encode)
//! ```
//!
//! One direction, one unit ([`media::Packet`]), one clock (the event's timeline), one owner ([`app`]). A new protocol adds
//! one module to `ingest` or `deliver` and touches no other.
//!
//! # What each module is
//!
//! | module | holds |
//! |---|---|
//! | [`app`] | the only composition root: start and stop order, the registry of running events, their pipelines |
//! | [`config`] | plain types of the configuration file, a pure `parse`, what may be reloaded |
//! | [`media`] | time in flicks, the grid, clocks, the policy for source clocks, tracks and packets |
//! | [`hub`] | fan-out of a stream: a bounded ring, a cursor per reader, lag as a typed error |
//! | [`wire`] | formats and protocols without IO |
//! | [`net`] | listening, TLS, serving HTTP, the guard of what the daemon itself connects to, and the one HTTP client |
//! | [`srt`] | libsrt's sockets, behind a trait |
//! | [`rtc`] | WebRTC peers on one port: booths, viewers, contributors |
//! | [`ingest`] | contribution: sockets → `wire` → `media::timeline` → hub |
//! | [`select`] | one programme from two inputs, on the event's timeline |
//! | [`engine`] | the codec process and its client |
//! | [`package`] | packets → parts → segments → windows; pure |
//! | [`deliver`] | the origin for HLS and DASH, WHEP |
//! | [`booth`] | who is in the rooms, on air, heard; relays without loops; pure |
//! | [`store`] | events, keys, pulls, tokens, links, booths, connection tests, webhooks |
//! | [`control`] | API, pages, event streams, webhooks, rooms, metrics |
//! | [`task`] | the one spawn, cancel and backoff |
//!
//! Unsafe code stands in one file, `srt/ffi.rs`. Which module may use which is checked by `tests/layering.rs`; what must not be used at all (`Instant::now`, unbounded
//! channels, a bare `tokio::spawn`) by `clippy.toml`.
//!
//! # Time
//!
//! Raw clocks become [`media::Ts`] once, in `ingest`: unwrapped, jumps and gaps policed. `select` carries the chosen input
//! onto the event's timeline, which is Unix time: an instant of the programme is when it arrived, within 30 ms. The
//! mapping puts the source's pictures on the output's slots and rests there, without resampling the sound, until the
//! source's clock has drifted away from the system's disciplined clock by three quarters of a frame; then it moves by one
//! frame at 500 ppm ([`select::clockmap`]). The engine realises it by showing in each slot the picture that is due
//! ([`engine::schedule::Cadence`]) and by reading the sound at its place, so that picture and sound of one instant are
//! together to a millisecond, and within half an output frame while a correction lasts or the source's frame rate differs
//! from the output's (20 ms at 25 fps, 21 ms at 24). Nothing else changes a timestamp. Segment number = ⌊timeline ÷ segment⌋ since 1970, so that a daemon that restarts numbers on.
//!
//! # Bounds
//!
//! | edge | bound | when the reader is slow |
//! |---|---|---|
//! | SRT socket → session | 8 MB a connection | what arrives is left out, counted |
//! | hub | bytes and seconds | the writer never waits; the reader gets a typed lag and resumes at a key frame |
//! | programme → engine | 10 s, 64 MB in the daemon | skips to a key frame |
//! | raw picture → encoder | a few pictures | stages wait for 1 s; then the oldest becomes a repeat; 5 s behind, a segment is left out |
//! | engine → package | a bounded channel | the engine waits |
//! | voice → engine | 1024 packets | the oldest go, counted |
//! | inputs' sound → engine, to compare them | 512 packets, 192 in the child | what is too much goes, counted |
//! | notice → webhook | 256 each | the oldest go, counted |
//! | engine → rooms | 512 packets in the child, 3 s in the hub | the oldest go; a reader gets a typed lag |
//! | mixer | real time | late input is silence |
//! | package → disk | segment numbers, not bytes | what leaves memory unstored becomes EXT-X-GAP; live goes on |
//! | WebRTC out | 700 ms, 4 MB a peer | sound drops its oldest packet, the picture skips to a key frame and asks for one |
//! | pull → hub | nothing is queued: one connection an input | the bytes stay in the server's socket |
//! | event streams | 64 messages | the slow reader is disconnected |
//! | rooms' WebSockets | 128 messages | the slow page is disconnected and told so |
//!
//! # Decisions that differ from the first design
//!
//! - The resampler of the engine is our own windowed-sinc interpolator ([`engine::mix`]): its read position must follow
//!   the packets' timestamps to the sample, which a ratio-driven resampler does not offer.
//! - The supervisor keeps its own ten seconds of the programme instead of the hub's current GOP: with a programme delay
//!   the slots to make again after a crash may lie in the GOP before the newest.
//! - What an output is modelled on (frame rate and size at first publish) is stored instead of a clock anchor: the
//!   timeline is Unix time, so a restarted daemon needs nothing else to agree with itself.
//! - Of the crate `rtc` only the DTLS, SRTP and SCTP cores are used: ICE-lite, RTP, RTCP and session descriptions are our
//!   own, so that a peer may change its address, odd SDP meets our parser, and what a stream's players share is packetized
//!   once ([`rtc`]).
//! - The rooms' picture has a decoder of its own while somebody watches: the ladder decodes a picture just before its slot
//!   is due, which the failover's wait and the overload's rules rest on ([`engine::worker`]).
//! - RTSP is read by `retina` behind a relay of our own: it connects by itself and to names, and bounds neither messages
//!   nor pictures ([`ingest::pull`]).
//! - Pages are TSX, checked by the compiler, instead of htm, since there is a build step anyway.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod app;
pub mod booth;
pub mod config;
pub mod control;
pub mod deliver;
pub mod engine;
pub mod hub;
pub mod ingest;
pub mod log;
pub mod media;
pub mod net;
pub mod package;
pub mod rtc;
pub mod select;
pub mod srt;
pub mod store;
pub mod task;
pub mod wire;
