//! Our side against the crate `rtc`'s peer connection: over a simulated link, and on real sockets.

pub mod live;
mod play;
mod receive;
mod sessions;
pub mod sim;
