//! Boothcast: a live media server for multilingual events.
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
