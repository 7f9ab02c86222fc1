//! End-to-end tests: the real daemon, real encoders, real players, all on loopback.
//!
//! `support` starts and measures, the other modules hold the tests, one per thing that a user would notice. Each test
//! has a daemon of its own with free ports and a state directory of its own. Nothing here is skipped when a tool is
//! missing: `scripts/setup test` installs all of them, and a test whose tool is not there fails and says so.
#![allow(clippy::disallowed_methods, clippy::large_futures, clippy::panic, clippy::unwrap_used)]

mod aligned;
mod bad_input;
mod booths;
mod channels;
mod chaos;
mod edge;
mod failover;
mod foreign;
mod languages;
mod measuring;
mod operation;
mod origins;
mod players;
mod publishers;
mod pull;
mod recovery;
mod rooms;
mod srt;
mod status;
mod support;
mod tls;
mod triggers;
mod watch;
mod webhooks;
