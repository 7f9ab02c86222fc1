//! Boothcast: a live media server for multilingual events. This is the architecture document.
//!
//! # The line
//!
//! ```text
//!  encoder ──▶ ingest ──▶ select ──▶ engine ──▶ package ──▶ deliver ──▶ viewer
//!               (rtmp)    (failover,  (decode,   (CMAF parts  (hls, dash)
//!                          clock)      encode)    segments)
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
//! | [`net`] | listening, TLS, serving HTTP |
//! | [`ingest`] | contribution: sockets → `wire` → `media::timeline` → hub |
//! | [`select`] | one programme from two inputs, on the event's timeline |
//! | [`engine`] | the codec process and its client |
//! | [`package`] | packets → parts → segments → windows; pure |
//! | [`deliver`] | the origin for HLS and DASH |
//! | [`store`] | events, keys, tokens |
//! | [`control`] | API, pages, event streams, metrics |
//! | [`task`] | the one spawn, cancel and backoff |
//!
//! Which module may use which is checked by `tests/layering.rs`; what must not be used at all (`Instant::now`, unbounded
//! channels, a bare `tokio::spawn`) by `clippy.toml`.
//!
//! # Time
//!
//! Raw clocks become [`media::Ts`] once, in `ingest`: unwrapped, jumps and gaps policed. `select` carries the chosen input
//! onto the event's timeline, which is Unix time: an instant of the programme is when it arrived. The mapping follows
//! the source's clock by a slope of at most 500 ppm, so that the programme stays on the system's disciplined clock; the
//! engine realises it by showing the picture nearest to each output slot and by resampling the sound. Nothing else
//! changes a timestamp. Segment number = ⌊timeline ÷ segment⌋ since 1970, so that a daemon that restarts numbers on.
//!
//! # Bounds
//!
//! | edge | bound | when the reader is slow |
//! |---|---|---|
//! | hub | bytes and seconds | the writer never waits; the reader gets a typed lag and resumes at a key frame |
//! | programme → engine | 10 s, 64 MB in the daemon | skips to a key frame |
//! | raw picture → encoder | a few pictures | the oldest becomes a repeat of the one before; the timeline has no hole |
//! | engine → package | a bounded channel | the engine waits |
//! | package → disk | segment numbers, not bytes | what leaves memory unstored becomes EXT-X-GAP; live goes on |
//! | event streams | 64 messages | the slow reader is disconnected |
//!
//! # Decisions that differ from the first design
//!
//! - The resampler of the engine is our own windowed-sinc interpolator ([`engine::mix`]): its read position must follow
//!   the packets' timestamps to the sample, which a ratio-driven resampler does not offer.
//! - The supervisor keeps its own ten seconds of the programme instead of the hub's current GOP: with a programme delay
//!   the slots to make again after a crash may lie in the GOP before the newest.
//! - What an output is modelled on (frame rate and size at first publish) is stored instead of a clock anchor: the
//!   timeline is Unix time, so a restarted daemon needs nothing else to agree with itself.
//! - Pages are TSX, checked by the compiler, instead of htm, since there is a build step anyway.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod app;
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
pub mod select;
pub mod store;
pub mod task;
pub mod wire;
