//! All calls into libav: decoders, scaler, encoders. Nothing else in the crate names `ac_ffmpeg`.
//!
//! Payloads come and go in the forms of `media::codec`; libav sees Annex B with parameter sets in band, so that a source
//! that changes them needs no new decoder. Everything here may be fed garbage and says [`AvError`] instead of panicking,
//! except where ac-ffmpeg itself panics when memory is out: the process then ends and is replaced.

mod decode;
mod encode;
mod luma;
mod nal;
mod scale;
mod sound;

pub use decode::{Picture, PictureDecoder, decode_still};
pub use encode::{Encoded, JpegEncoder, PictureEncoder};
pub use luma::sample;
pub use scale::{Aspect, Fit, SQUARE, Shown, paint};
pub use sound::{Sound, SoundDecoder, SoundEncoder};

use crate::media::time::FLICKS_PER_SECOND;
use ac_ffmpeg::codec::video::VideoFrame;
use ac_ffmpeg::time::TimeBase;

/// Raw pixels, shared by reference.
pub type Frame = VideoFrame;

/// The time base of packets and decoded frames: flicks.
fn flicks() -> TimeBase {
    TimeBase::new(1, FLICKS_PER_SECOND as i32)
}

/// What went wrong in a codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AvError {
    /// This access unit is not decodable.
    #[error("corrupt access unit: {0}")]
    Corrupt(String),
    /// The codec could not be opened or failed beyond repair.
    #[error("codec failed: {0}")]
    Codec(String),
}

fn corrupt(e: impl ToString) -> AvError {
    AvError::Corrupt(e.to_string())
}

fn failed(e: impl ToString) -> AvError {
    AvError::Codec(e.to_string())
}

/// Passes libav's messages of level error and worse to `sink`.
pub fn set_log(sink: impl Fn(&str) + Send + Sync + 'static) {
    /// libav's AV_LOG_ERROR.
    const ERROR: i32 = 16;
    ac_ffmpeg::set_log_callback(move |level, text| {
        if level <= ERROR && !text.trim().is_empty() {
            sink(text.trim());
        }
    });
}
