//! The one unit that flows through Boothcast: an access unit of one track.

use super::codec::{AudioFormat, VideoFormat};
use super::time::{Dur, Ts};
use bytes::Bytes;
use std::sync::Arc;

/// A track's number within its stream: 0 is the picture, 1… the sound tracks of a contribution in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u16);

impl TrackId {
    /// The picture of a contribution.
    pub const VIDEO: TrackId = TrackId(0);

    /// The `index`th sound track of a contribution, counted from 0 as in the API's `track`.
    pub const fn audio(index: u16) -> TrackId {
        TrackId(index.saturating_add(1))
    }

    /// The sound track's number counted from 0; none for the picture.
    pub const fn audio_index(self) -> Option<u16> {
        self.0.checked_sub(1)
    }
}

/// What kind of media a track holds, with its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A picture track.
    Video(VideoFormat),
    /// A sound track.
    Audio(AudioFormat),
}

/// A track's description. Packets share it by `Arc`: a changed format is a new `Track`, so a reader sees a
/// change of parameter sets or resolution by a pointer compare, and a late reader has the format at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its number in the stream.
    pub id: TrackId,
    /// Kind and format.
    pub media: Media,
}

impl Track {
    /// The picture's format.
    pub fn video(&self) -> Option<&VideoFormat> {
        match &self.media {
            Media::Video(v) => Some(v),
            Media::Audio(_) => None,
        }
    }

    /// The sound's format.
    pub fn audio(&self) -> Option<&AudioFormat> {
        match &self.media {
            Media::Audio(a) => Some(a),
            Media::Video(_) => None,
        }
    }

    /// Whether this is a picture track.
    pub fn is_video(&self) -> bool {
        matches!(self.media, Media::Video(_))
    }
}

/// One access unit.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its track.
    pub track: Arc<Track>,
    /// Which run of an input fed it: a new publisher, a switch or a policed jump begins a new epoch.
    pub epoch: u32,
    /// Decoding time.
    pub dts: Ts,
    /// Presentation time; never before `dts`, unless it is only decoded.
    pub pts: Ts,
    /// How long it is shown or sounds; zero when not known.
    pub duration: Dur,
    /// A picture that decoding can begin with. Never set on sound.
    pub key: bool,
    /// Decode, but do not show: it leads up to a splice.
    pub decode_only: bool,
    /// When it reached the daemon, on the daemon's clock.
    pub arrival: Ts,
    /// The payload, in the form that `VideoFormat` and `AudioFormat` state.
    pub data: Bytes,
}

impl Packet {
    /// What it costs to keep, bookkeeping included.
    pub fn cost(&self) -> usize {
        self.data.len() + std::mem::size_of::<Packet>()
    }
}

/// Which of an event's two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputName {
    /// The input that viewers normally see.
    Main,
    /// The input that takes over when main is lost.
    Backup,
}

impl InputName {
    /// Both, main first.
    pub const ALL: [InputName; 2] = [InputName::Main, InputName::Backup];

    /// Its place in [`InputName::ALL`], for what is kept of each.
    pub const fn index(self) -> usize {
        match self {
            InputName::Main => 0,
            InputName::Backup => 1,
        }
    }

    /// As in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            InputName::Main => "main",
            InputName::Backup => "backup",
        }
    }
}
