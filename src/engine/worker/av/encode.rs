//! Encoding pictures.

use super::nal::{avcc, to_lengths};
use super::{AvError, failed};
use crate::engine::RungSpec;
use crate::media::{Grid, Media, Track, VideoCodec, VideoFormat};
use ac_ffmpeg::codec::Encoder;
use ac_ffmpeg::codec::video::frame::PictureType;
use ac_ffmpeg::codec::video::scaler::Algorithm;
use ac_ffmpeg::codec::video::{self, VideoEncoder, VideoFrame, VideoFrameScaler};
use ac_ffmpeg::time::{TimeBase, Timestamp};
use bytes::Bytes;

/// An encoded picture.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its place: what was given to [`PictureEncoder::push`], or the AAC frame.
    pub number: i64,
    /// Whether decoding can begin with it.
    pub key: bool,
    /// Length-prefixed NAL units, or a raw AAC access unit.
    pub data: Bytes,
}

/// One rung's encoder.
pub struct PictureEncoder {
    encoder: VideoEncoder,
    convert: Option<(video::PixelFormat, Option<VideoFrameScaler>)>,
    base: TimeBase,
    first: Option<i64>,
    track: Track,
}

fn open_picture_encoder(rung: &RungSpec, name: &str, grid: Grid) -> Result<VideoEncoder, AvError> {
    let bitrate = u64::from(rung.bitrate);
    let gop = grid.frames_per_segment();
    let profile = rung.profile.as_deref().unwrap_or(if rung.height >= 720 { "high" } else { "main" });
    let format = if name.ends_with("_qsv") { "nv12" } else { "yuv420p" };
    let mut builder = VideoEncoder::builder(name)
        .map_err(failed)?
        .pixel_format(video::frame::get_pixel_format(format))
        .width(rung.width as usize)
        .height(rung.height as usize)
        // The frame rate, level and rate control are taken from this: frames are numbered, not timed.
        .time_base(TimeBase::new(1, grid.fps() as i32))
        .bit_rate(bitrate)
        .set_option("maxrate", bitrate * 11 / 10)
        .set_option("bufsize", bitrate)
        .set_option("profile", profile)
        .set_option("g", gop)
        .set_option("bf", 0)
        .set_option("flags", "+global_header+cgop")
        .set_option("color_primaries", "bt709")
        .set_option("color_trc", "bt709")
        .set_option("colorspace", "bt709");
    if !rung.preset.is_empty() {
        builder = builder.set_option("preset", &rung.preset);
    }
    if name == "libx264" {
        builder = builder
            .set_option("tune", "zerolatency")
            .set_option("keyint_min", gop)
            .set_option("sc_threshold", 0)
            .set_option("forced-idr", 1)
            .set_option("threads", 1);
    } else {
        builder = builder.set_option("forced_idr", 1).set_option("forced-idr", 1).set_option("delay", 0);
    }
    builder.build().map_err(failed)
}

impl PictureEncoder {
    /// Opens a rung's encoder. `frames` of its output are numbered as given.
    ///
    /// # Errors
    /// [`AvError::Codec`] when this libav or this machine has no such encoder, or it refuses the settings.
    pub fn new(rung: &RungSpec, name: &str, grid: Grid) -> Result<PictureEncoder, AvError> {
        // ac-ffmpeg panics on a NUL in an option.
        let texts = [name, &rung.preset, rung.profile.as_deref().unwrap_or("")];
        if texts.iter().any(|t| t.contains('\0')) || rung.width < 16 || rung.height < 16 {
            return Err(failed("settings out of range"));
        }
        let encoder = open_picture_encoder(rung, name, grid)?;
        let parameters = encoder.codec_parameters();
        let config = parameters.extradata().and_then(avcc).ok_or_else(|| failed("no parameter sets"))?;
        let media = Media::Video(VideoFormat {
            codec: VideoCodec::H264,
            config,
            width: rung.width,
            height: rung.height,
            frame_rate: Some((grid.fps(), 1)),
            sample_aspect: None,
        });
        let convert = name.ends_with("_qsv").then(|| (video::frame::get_pixel_format("nv12"), None));
        let base = TimeBase::new(1, grid.fps() as i32);
        Ok(PictureEncoder { encoder, convert, base, first: None, track: Track { id: rung.id, media } })
    }

    /// The format of the output.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Encodes `picture` as number `number`, which is greater than all before; a key frame when `key`.
    ///
    /// # Errors
    /// [`AvError::Codec`]: the encoder is of no more use.
    pub fn push(&mut self, picture: &VideoFrame, number: i64, key: bool) -> Result<Vec<Encoded>, AvError> {
        let first = *self.first.get_or_insert(number);
        let mut frame = match &mut self.convert {
            None => picture.clone(),
            Some((format, scaler)) => {
                if scaler.is_none() {
                    let built = VideoFrameScaler::builder()
                        .source_pixel_format(picture.pixel_format())
                        .source_width(picture.width())
                        .source_height(picture.height())
                        .target_pixel_format(*format)
                        .target_width(picture.width())
                        .target_height(picture.height())
                        .build()
                        .map_err(failed)?;
                    *scaler = Some(built);
                }
                scaler.as_mut().ok_or_else(|| failed("no scaler"))?.scale(picture).map_err(failed)?
            }
        };
        if key {
            // Pictures come with no type; only this one pays for the copy that setting it takes.
            frame = frame.into_mut().with_picture_type(PictureType::I).freeze();
        }
        let frame = frame.with_time_base(self.base).with_pts(Timestamp::new(number - first, self.base));
        self.encoder.try_push(frame).map_err(failed)?;
        self.take(first)
    }

    /// What the encoder still holds, at the end of a run.
    pub fn finish(&mut self) -> Vec<Encoded> {
        match (self.first, self.encoder.try_flush()) {
            (Some(first), Ok(())) => self.take(first).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn take(&mut self, first: i64) -> Result<Vec<Encoded>, AvError> {
        let mut out = Vec::with_capacity(1);
        while let Some(packet) = self.encoder.take().map_err(failed)? {
            let number = first + packet.pts().with_time_base(self.base).timestamp();
            out.push(Encoded { number, key: packet.is_key(), data: to_lengths(packet.data()) });
        }
        Ok(out)
    }
}

/// Makes small JPEG files.
pub struct JpegEncoder {
    encoder: VideoEncoder,
    scaler: Option<VideoFrameScaler>,
    width: usize,
    height: usize,
    count: i64,
}

impl JpegEncoder {
    /// Of this size.
    ///
    /// # Errors
    /// [`AvError::Codec`] when libav has no JPEG encoder.
    pub fn new(width: usize, height: usize) -> Result<JpegEncoder, AvError> {
        let encoder = VideoEncoder::builder("mjpeg")
            .map_err(failed)?
            .pixel_format(video::frame::get_pixel_format("yuvj420p"))
            .width(width)
            .height(height)
            .time_base(TimeBase::new(1, 1))
            .bit_rate(400_000)
            .set_option("qmin", 3)
            .set_option("qmax", 8)
            .build()
            .map_err(failed)?;
        Ok(JpegEncoder { encoder, scaler: None, width, height, count: 0 })
    }

    /// The picture as a JPEG file.
    ///
    /// # Errors
    /// [`AvError::Codec`].
    pub fn encode(&mut self, picture: &VideoFrame) -> Result<Bytes, AvError> {
        if self.scaler.is_none() {
            let scaler = VideoFrameScaler::builder()
                .source_pixel_format(picture.pixel_format())
                .source_width(picture.width())
                .source_height(picture.height())
                .target_pixel_format(video::frame::get_pixel_format("yuvj420p"))
                .target_width(self.width)
                .target_height(self.height)
                .algorithm(Algorithm::Bicubic)
                .build()
                .map_err(failed)?;
            self.scaler = Some(scaler);
        }
        let scaler = self.scaler.as_mut().ok_or_else(|| failed("no scaler"))?;
        let base = TimeBase::new(1, 1);
        let frame = scaler.scale(picture).map_err(failed)?;
        let frame = frame.with_time_base(base).with_pts(Timestamp::new(self.count, base));
        self.count += 1;
        self.encoder.try_push(frame).map_err(failed)?;
        let packet = self.encoder.take().map_err(failed)?.ok_or_else(|| failed("no JPEG"))?;
        Ok(Bytes::copy_from_slice(packet.data()))
    }
}
