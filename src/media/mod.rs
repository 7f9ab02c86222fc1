//! The centre that everything else speaks: time, clocks, tracks, packets and the grid.
//!
//! Depends on nothing but `std` and `bytes` (and, for the system clock, the timer of the runtime).

pub mod clock;
pub mod codec;
pub mod grid;
pub mod packet;
pub mod time;
pub mod timeline;
pub mod window;

pub use clock::{Clock, SharedClock, SimClock, SystemClock};
pub use codec::{AudioCodec, AudioFormat, VideoCodec, VideoFormat};
pub use grid::Grid;
pub use packet::{InputName, Media, Packet, Track, TrackId};
pub use time::{Dur, Ts};
pub use timeline::{DropReason, RawTime, Stamp, Timeline, Verdict};
