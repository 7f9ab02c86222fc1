//! The composition root: the only place that knows every module.
//!
//! **Start order.** State directory and store → TLS → all listeners bound (a port in use ends the start before anything
//! runs) → events that were open are taken up again → listeners serve → ready.
//! **Stop order** (SIGTERM, SIGINT). Not ready → listeners stop admitting → contribution ends → viewers fetch what is
//! listed, at most `[drain] timeout_seconds` → events close → store. A second signal ends at once.
//! **Reload** (SIGHUP). Certificates and the configuration file are read again; a file that does not parse changes
//! nothing. Keys that need a restart are named in the log.

mod doors;
mod event;
mod ladder;
mod pipeline;
mod pulls;
mod registry;
mod rooms;
mod server;
mod shape;
mod sounds;

pub use server::{Reload, RunError, run};
