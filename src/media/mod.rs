//! The centre that everything else speaks: time, clocks, tracks, packets and the grid.
//!
//! Depends on nothing but `std` and `bytes` (and, for the system clock, the timer of the runtime).

pub mod clock;
pub mod codec;
pub mod content;
pub mod grid;
pub mod mix;
pub mod opus;
pub mod packet;
pub mod reorder;
pub mod time;
pub mod timeline;
pub mod window;

pub use clock::{Clock, SharedClock, SimClock, SystemClock};
pub use codec::{AudioCodec, AudioFormat, VideoCodec, VideoFormat};
pub use content::{Content, SoundMatch, Stretch};
pub use grid::Grid;
pub use mix::{LanguageMix, MixPlan, Ramps, VoiceId, VoicePacket, VoiceReport};
pub use packet::{InputName, Media, Packet, Track, TrackId};
pub use reorder::Reorder;
pub use time::{Dur, Ts};
pub use timeline::{DropReason, RawTime, Stamp, Timeline, Verdict};
