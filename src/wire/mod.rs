//! wire

pub mod language;
pub mod mp4;
