//! Delivery: what was packaged goes to those who want it.

pub mod hls;
pub mod webrtc;
