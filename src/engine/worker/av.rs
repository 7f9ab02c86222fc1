//! All calls into libav: decoders, scaler, encoders. Nothing else in the crate names `ac_ffmpeg`.
//!
//! Payloads come and go in the forms of `media::codec`; libav sees Annex B with parameter sets in band, so that a source
//! that changes them needs no new decoder. Everything here may be fed garbage and says [`AvError`] instead of panicking,
//! except where ac-ffmpeg itself panics when memory is out: the process then ends and is replaced.

use crate::engine::RungSpec;
use crate::engine::mix::downmix::{LAYOUTS, Matrix, by_count};
use crate::engine::mix::{BLOCK, Block};
use crate::engine::protocol::InPacket;
use crate::media::grid::{AAC_FRAME, AUDIO_RATE};
use crate::media::time::FLICKS_PER_SECOND;
use crate::media::{AudioCodec, AudioFormat, Dur, Grid, Media, Track, TrackId, Ts, VideoCodec, VideoFormat};
use ac_ffmpeg::codec::audio::{self, AudioDecoder, AudioEncoder, AudioFrameMut, ChannelLayout};
use ac_ffmpeg::codec::video::frame::PictureType;
use ac_ffmpeg::codec::video::scaler::Algorithm;
use ac_ffmpeg::codec::video::{self, VideoDecoder, VideoEncoder, VideoFrame, VideoFrameMut, VideoFrameScaler};
use ac_ffmpeg::codec::{Decoder, Encoder};
use ac_ffmpeg::packet::PacketMut;
use ac_ffmpeg::time::{TimeBase, Timestamp};
use bytes::Bytes;
use std::str::FromStr;

/// Pixels that a decoder may allocate per picture: 4096 × 2304.
const MAX_PIXELS: u64 = 4096 * 2304;
/// Refusals in a row after which a decoder is taken to be beyond repair and replaced.
const MAX_ERRORS: u32 = 8;
/// Pictures whose `decode_only` mark is remembered; a decoder holds back at most 16.
const MAX_HIDDEN: usize = 512;

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

// ---- bitstream forms ----

/// Rewrites NAL units with 4-byte lengths as Annex B after `out`'s content.
fn to_annexb(data: &[u8], out: &mut Vec<u8>) -> Result<(), AvError> {
    let mut rest = data;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("truncated NAL length"))?;
        let n = u32::from_be_bytes(*length) as usize;
        let nal = tail.get(..n).ok_or_else(|| corrupt("NAL length beyond the access unit"))?;
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
        rest = &tail[n..];
    }
    Ok(())
}

/// Reads `count` NAL units with 2-byte lengths and appends them as Annex B.
fn parameter_sets<'a>(mut rest: &'a [u8], count: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let n = usize::from(u16::from_be_bytes(*length));
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(tail.get(..n)?);
        rest = &tail[n..];
    }
    Some(rest)
}

/// The parameter sets of an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1) as Annex B.
fn avcc_to_annexb(config: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(config.len() + 16);
    let rest = parameter_sets(config.get(6..)?, usize::from(config[5] & 31), &mut out)?;
    let (&count, rest) = rest.split_first()?;
    parameter_sets(rest, usize::from(count), &mut out)?;
    Some(out)
}

/// The parameter sets of an `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1) as Annex B.
fn hvcc_to_annexb(config: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(config.len() + 32);
    let arrays = *config.get(22)?;
    let mut rest = config.get(23..)?;
    for _ in 0..arrays {
        let count = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
        rest = parameter_sets(rest.get(3..)?, usize::from(count), &mut out)?;
    }
    Some(out)
}

/// The NAL units of an Annex B byte stream (ITU-T H.264 annex B).
fn nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let current = rest?;
        let end = find_start_code(current).unwrap_or(current.len());
        rest = after_start_code(&current[end..]);
        let nal = &current[..end];
        // Zeros before the next start code belong to it.
        let used = nal.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
        Some(&nal[..used])
    })
    .filter(|nal| !nal.is_empty())
}

fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|w| w == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    find_start_code(data).map(|i| &data[i + 3..])
}

/// An encoder's access unit with 4-byte lengths; parameter sets, delimiters and SEI (x264's settings) left out.
fn to_lengths(annexb: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(annexb.len() + 16);
    for nal in nals(annexb) {
        if !matches!(nal[0] & 31, 6..=9) {
            out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            out.extend_from_slice(nal);
        }
    }
    out.into()
}

/// An `AVCDecoderConfigurationRecord` from an encoder's Annex B parameter sets.
fn avcc(annexb: &[u8]) -> Option<Bytes> {
    let sps = nals(annexb).find(|n| n[0] & 31 == 7).filter(|n| n.len() >= 4)?;
    let pps = nals(annexb).find(|n| n[0] & 31 == 8)?;
    let mut out = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    out.extend_from_slice(&u16::try_from(sps.len()).ok()?.to_be_bytes());
    out.extend_from_slice(sps);
    out.push(1);
    out.extend_from_slice(&u16::try_from(pps.len()).ok()?.to_be_bytes());
    out.extend_from_slice(pps);
    if matches!(sps[1], 100 | 110 | 122 | 144) {
        // 4:2:0, 8 bits: the only format that is encoded here.
        out.extend_from_slice(&[0xfd, 0xf8, 0xf8, 0]);
    }
    Some(out.into())
}

// ---- decoding pictures ----

/// A decoded picture.
#[derive(Clone)]
pub struct Picture {
    /// The pixels.
    pub frame: VideoFrame,
    /// When it should be shown.
    pub pts: Ts,
}

/// Decodes one run of a picture track.
pub struct PictureDecoder {
    decoder: VideoDecoder,
    format: VideoFormat,
    threads: usize,
    /// Parameter sets to put before the next key frame, Annex B.
    headers: Vec<u8>,
    errors: u32,
    /// Nothing is decodable before a key frame.
    seek_key: bool,
    hidden: Vec<i64>,
}

fn open_picture_decoder(format: &VideoFormat, threads: usize) -> Result<VideoDecoder, AvError> {
    let names: &[&str] = match format.codec {
        VideoCodec::H264 => &["h264"],
        VideoCodec::Hevc => &["hevc"],
        VideoCodec::Av1 => &["libdav1d", "libaom-av1"],
    };
    let open = |name: &&str| {
        let mut builder = VideoDecoder::builder(name)?
            .time_base(flicks())
            .set_option("threads", threads)
            .set_option("max_pixels", MAX_PIXELS);
        if format.codec == VideoCodec::Av1 {
            builder = builder.set_option("max_frame_delay", 1).extradata(Some(&format.config));
        } else {
            // Frame threads would each hold a picture back.
            builder = builder.set_option("thread_type", "slice");
        }
        builder.build()
    };
    let mut error = failed("no decoder");
    for name in names {
        match open(name) {
            Ok(decoder) => return Ok(decoder),
            Err(e) => error = failed(format!("{name}: {e}")),
        }
    }
    Err(error)
}

impl PictureDecoder {
    /// Opens libav's decoder.
    ///
    /// # Errors
    /// [`AvError::Codec`] when this libav has no decoder for the codec.
    pub fn new(format: &VideoFormat, threads: usize) -> Result<PictureDecoder, AvError> {
        let decoder = open_picture_decoder(format, threads)?;
        let mut this = PictureDecoder {
            decoder,
            format: format.clone(),
            threads,
            headers: Vec::new(),
            errors: 0,
            seek_key: true,
            hidden: Vec::new(),
        };
        this.set_headers();
        Ok(this)
    }

    fn set_headers(&mut self) {
        let config = &self.format.config;
        self.headers = match self.format.codec {
            VideoCodec::H264 => avcc_to_annexb(config).unwrap_or_default(),
            VideoCodec::Hevc => hvcc_to_annexb(config).unwrap_or_default(),
            VideoCodec::Av1 => Vec::new(),
        };
    }

    /// Takes changed parameter sets of the same codec; they apply from the next key frame on. False when a new decoder is
    /// needed.
    pub fn reformat(&mut self, format: &VideoFormat) -> bool {
        if format.codec != self.format.codec || format.codec == VideoCodec::Av1 {
            return false;
        }
        self.format = format.clone();
        self.set_headers();
        true
    }

    /// Decodes one access unit; [`PictureDecoder::take`] then gives what is ready.
    ///
    /// # Errors
    /// [`AvError::Corrupt`] for this access unit; after several in a row the decoder is replaced and waits for a key
    /// frame. [`AvError::Codec`] when it cannot be replaced.
    pub fn push(&mut self, packet: &InPacket) -> Result<(), AvError> {
        if self.seek_key && !packet.key {
            return Ok(());
        }
        let result = self.decode(packet);
        match &result {
            Ok(()) => {
                self.seek_key = false;
                self.errors = 0;
            }
            Err(_) => {
                self.errors += 1;
                if self.errors >= MAX_ERRORS {
                    self.reset()?;
                }
            }
        }
        result
    }

    fn decode(&mut self, packet: &InPacket) -> Result<(), AvError> {
        let unit = if self.format.codec == VideoCodec::Av1 {
            packet.data.to_vec()
        } else {
            let mut unit = Vec::with_capacity(packet.data.len() + self.headers.len() + 32);
            if packet.key {
                unit.extend_from_slice(&self.headers);
            }
            to_annexb(&packet.data, &mut unit)?;
            unit
        };
        if unit.is_empty() {
            // libav takes an empty packet for the end of the stream and ignores all that follows.
            return Err(corrupt("empty access unit"));
        }
        if packet.decode_only {
            if self.hidden.len() >= MAX_HIDDEN {
                self.hidden.remove(0);
            }
            self.hidden.push(packet.pts.flicks());
        }
        let input = PacketMut::from(unit)
            .with_time_base(flicks())
            .with_raw_pts(packet.pts.flicks())
            .with_raw_dts(packet.dts.flicks())
            .with_key_flag(packet.key)
            .freeze();
        self.decoder.try_push(input).map_err(corrupt)
    }

    /// The next decoded picture that is to be shown.
    ///
    /// # Errors
    /// [`AvError::Corrupt`] when decoding failed late.
    pub fn take(&mut self) -> Result<Option<Picture>, AvError> {
        while let Some(frame) = self.decoder.take().map_err(corrupt)? {
            let pts = frame.best_effort_timestamp();
            let (w, h) = (frame.width() as u64, frame.height() as u64);
            if pts.is_null() || w < 16 || h < 16 || w * h > MAX_PIXELS {
                continue;
            }
            let pts = pts.timestamp();
            if let Some(i) = self.hidden.iter().position(|&p| p == pts) {
                self.hidden.swap_remove(i);
                continue;
            }
            return Ok(Some(Picture { frame, pts: Ts::from_flicks(pts) }));
        }
        Ok(None)
    }

    /// Gives out what the decoder holds back and begins anew: a run of the input has ended.
    ///
    /// # Errors
    /// [`AvError::Codec`] when no new decoder can be opened.
    pub fn drain(&mut self) -> Result<Vec<Picture>, AvError> {
        let mut out = Vec::new();
        if self.decoder.try_flush().is_ok() {
            while let Ok(Some(picture)) = self.take() {
                out.push(picture);
            }
        }
        self.reset()?;
        Ok(out)
    }

    fn reset(&mut self) -> Result<(), AvError> {
        self.decoder = open_picture_decoder(&self.format, self.threads)?;
        self.errors = 0;
        self.seek_key = true;
        self.hidden.clear();
        Ok(())
    }
}

/// Decodes a PNG or JPEG file.
///
/// # Errors
/// [`AvError::Corrupt`] for anything else.
pub fn decode_still(file: &[u8]) -> Result<VideoFrame, AvError> {
    let name = match file {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, ..] => "mjpeg",
        _ => return Err(corrupt("neither PNG nor JPEG")),
    };
    let mut decoder =
        VideoDecoder::builder(name).map_err(failed)?.set_option("max_pixels", MAX_PIXELS).build().map_err(failed)?;
    // Not empty: it has a signature.
    decoder.try_push(PacketMut::from(file).freeze()).map_err(corrupt)?;
    decoder.try_flush().map_err(corrupt)?;
    decoder.take().map_err(corrupt)?.ok_or_else(|| corrupt("no picture in the file"))
}

// ---- scaling ----

/// The pixel format of everything after the scaler.
fn yuv420p() -> video::PixelFormat {
    video::frame::get_pixel_format("yuv420p")
}

/// Scales pictures of any size and format onto one canvas without distorting them; what is left over is black.
pub struct Fit {
    width: usize,
    height: usize,
    scaler: Option<(SourceKey, (usize, usize), VideoFrameScaler)>,
}

type SourceKey = (usize, usize, video::PixelFormat);

/// The size of a `w`×`h` picture on a `cw`×`ch` canvas, even; bars of less than 1 % are not drawn.
fn fitted(w: usize, h: usize, cw: usize, ch: usize) -> (usize, usize) {
    let even = |v: f64| ((v / 2.0).round() as usize * 2).max(2);
    let scale = (cw as f64 / w as f64).min(ch as f64 / h as f64);
    let (fw, fh) = (even(w as f64 * scale).min(cw), even(h as f64 * scale).min(ch));
    let snap = |fit: usize, canvas: usize| if (canvas - fit) * 100 < canvas { canvas } else { fit };
    (snap(fw, cw), snap(fh, ch))
}

impl Fit {
    /// Onto a canvas of this size, both even.
    pub fn new(width: usize, height: usize) -> Fit {
        Fit { width, height, scaler: None }
    }

    /// The picture on the canvas, in `yuv420p`, free of the decoder's picture type.
    ///
    /// # Errors
    /// [`AvError::Codec`] when libav cannot scale from this format.
    pub fn apply(&mut self, source: &VideoFrame) -> Result<VideoFrame, AvError> {
        let key = (source.width(), source.height(), source.pixel_format());
        if key == (self.width, self.height, yuv420p()) {
            // The decoder's picture type would force the encoder's: it is overwritten, at the price of a copy.
            return Ok(source.clone().into_mut().with_picture_type(PictureType::None).freeze());
        }
        if self.scaler.as_ref().is_none_or(|(k, ..)| *k != key) {
            let inner = fitted(key.0, key.1, self.width, self.height);
            let scaler = VideoFrameScaler::builder()
                .source_pixel_format(key.2)
                .source_width(key.0)
                .source_height(key.1)
                .target_pixel_format(yuv420p())
                .target_width(inner.0)
                .target_height(inner.1)
                .algorithm(Algorithm::Bicubic)
                .build()
                .map_err(failed)?;
            self.scaler = Some((key, inner, scaler));
        }
        let Some((_, inner, scaler)) = &mut self.scaler else { return Err(failed("no scaler")) };
        let scaled = scaler.scale(source).map_err(failed)?;
        if *inner == (self.width, self.height) {
            return Ok(scaled);
        }
        let mut canvas = VideoFrameMut::black(yuv420p(), self.width, self.height);
        let (left, top) = ((self.width - inner.0) / 4 * 2, (self.height - inner.1) / 4 * 2);
        let from = scaled.planes();
        let mut to = canvas.planes_mut();
        for plane in 0..3 {
            let half = usize::from(plane > 0);
            let (w, h, x, y) = (inner.0 >> half, inner.1 >> half, left >> half, top >> half);
            for line in 0..h {
                if let (Some(src), Some(dst)) = (from[plane].line(line), to[plane].line_mut(y + line))
                    && let (Some(src), Some(dst)) = (src.get(..w), dst.get_mut(x..x + w))
                {
                    dst.copy_from_slice(src);
                }
            }
        }
        Ok(canvas.freeze())
    }
}

/// A picture of one colour with `ink` where `inked(x, y)`; colours are Y, Cb, Cr.
pub fn paint(
    width: usize,
    height: usize,
    ground: [u8; 3],
    ink: [u8; 3],
    inked: impl Fn(usize, usize) -> bool,
) -> VideoFrame {
    let mut frame = VideoFrameMut::black(yuv420p(), width, height);
    let mut planes = frame.planes_mut();
    for plane in 0..3 {
        let step = if plane == 0 { 1 } else { 2 };
        for y in 0..height / step {
            let Some(line) = planes[plane].line_mut(y) else { continue };
            for (x, pixel) in line.iter_mut().enumerate().take(width / step) {
                *pixel = if inked(x * step, y * step) { ink[plane] } else { ground[plane] };
            }
        }
    }
    frame.freeze()
}

// ---- encoding pictures ----

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

// ---- sound ----

/// Decodes one sound track to stereo.
pub struct SoundDecoder {
    decoder: AudioDecoder,
    matrix: Option<(usize, &'static str, Matrix)>,
}

/// A decoded block of interleaved stereo.
#[derive(Clone, Debug)]
pub struct Sound {
    /// When its first sample sounds.
    pub pts: Ts,
    /// Samples per second.
    pub rate: u32,
    /// Interleaved stereo.
    pub stereo: Vec<f32>,
}

impl SoundDecoder {
    /// Opens libav's decoder.
    ///
    /// # Errors
    /// [`AvError::Codec`] when there is none, or it refuses the configuration.
    pub fn new(format: &AudioFormat) -> Result<SoundDecoder, AvError> {
        // Each of these puts out planar floats.
        let name = match format.codec {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "opus",
            AudioCodec::Mp3 => "mp3float",
            AudioCodec::Ac3 => "ac3",
        };
        let extradata = (!format.config.is_empty()).then_some(&format.config);
        let decoder = AudioDecoder::builder(name)
            .map_err(failed)?
            .time_base(flicks())
            .extradata(extradata)
            .build()
            .map_err(failed)?;
        Ok(SoundDecoder { decoder, matrix: None })
    }

    /// Decodes one access unit. What garbage yields (rate 0, 42 channels, NaN) is refused or silenced here.
    ///
    /// # Errors
    /// [`AvError::Corrupt`] for this access unit.
    pub fn push(&mut self, packet: &InPacket) -> Result<Vec<Sound>, AvError> {
        if packet.data.is_empty() {
            // As with pictures, libav would take it for the end.
            return Err(corrupt("empty access unit"));
        }
        let input = PacketMut::from(&packet.data[..])
            .with_time_base(flicks())
            .with_raw_pts(packet.pts.flicks())
            .with_raw_dts(packet.dts.flicks())
            .freeze();
        self.decoder.try_push(input).map_err(corrupt)?;
        let mut out: Vec<Sound> = Vec::with_capacity(1);
        let mut next = packet.pts;
        while let Some(frame) = self.decoder.take().map_err(corrupt)? {
            let (rate, samples) = (frame.sample_rate(), frame.samples());
            let channels = frame.channel_layout().channels() as usize;
            if !(8_000..=96_000).contains(&rate) || !(1..=8).contains(&channels) || !(1..=65_536).contains(&samples) {
                return Err(corrupt(format!("{samples} samples of {channels} channels at {rate} Hz")));
            }
            if frame.sample_format().name() != "fltp" {
                return Err(corrupt("sample format"));
            }
            let planes = frame.planes();
            if planes.len() < channels || planes.iter().any(|p| p.data().len() < samples * 4) {
                return Err(corrupt("short plane"));
            }
            let pts = frame.pts();
            let pts = if pts.is_null() { next } else { Ts::from_flicks(pts.timestamp()) };
            next = pts + Dur::from_scale(samples as i64, rate);
            let mut stereo = Vec::new();
            let matrix = matrix(&mut self.matrix, channels, frame.channel_layout());
            let data: Vec<&[u8]> = planes.iter().take(channels).map(|p| p.data()).collect();
            let sample = |c: usize, i: usize| {
                data[c][i * 4..].first_chunk::<4>().map_or(0.0, |bytes| f32::from_ne_bytes(*bytes))
            };
            matrix.mix(samples, sample, &mut stereo);
            out.push(Sound { pts, rate, stereo });
        }
        Ok(out)
    }
}

/// The weights for a layout; looked up when it changes.
fn matrix<'a>(
    cache: &'a mut Option<(usize, &'static str, Matrix)>,
    channels: usize,
    layout: &audio::ChannelLayoutRef,
) -> &'a Matrix {
    let is = |name: &str| ChannelLayout::from_str(name).is_ok_and(|l| *layout == *l);
    let same = cache.as_ref().is_some_and(|(n, name, _)| *n == channels && (name.is_empty() || is(name)));
    if !same {
        let known = LAYOUTS.iter().filter(|l| l.1.len() == channels).find(|l| is(l.0));
        let (name, speakers) = known.map_or(("", by_count(channels)), |l| (l.0, l.1));
        *cache = None;
        return &cache.insert((channels, name, Matrix::new(speakers))).2;
    }
    &cache.get_or_insert_with(|| (channels, "", Matrix::new(by_count(channels)))).2
}

/// One sound rendition's encoder: stereo AAC-LC at 48 kHz.
pub struct SoundEncoder {
    encoder: AudioEncoder,
    layout: ChannelLayout,
    format: audio::SampleFormat,
    /// Number of the first block pushed.
    first: i64,
    pushed: i64,
    track: Track,
}

impl SoundEncoder {
    /// An encoder whose first block will be AAC frame `first`.
    ///
    /// # Errors
    /// [`AvError::Codec`].
    pub fn new(id: TrackId, bitrate: u32, first: i64) -> Result<SoundEncoder, AvError> {
        let stereo = || ChannelLayout::from_channels(2).ok_or_else(|| failed("no stereo"));
        let format = audio::frame::get_sample_format("fltp");
        let encoder = AudioEncoder::builder("aac")
            .map_err(failed)?
            .bit_rate(u64::from(bitrate))
            .sample_rate(AUDIO_RATE)
            .sample_format(format)
            .channel_layout(stereo()?)
            .time_base(TimeBase::new(1, AUDIO_RATE as i32))
            .set_option("flags", "+global_header")
            .build()
            .map_err(failed)?;
        let parameters = encoder.codec_parameters();
        let config = parameters.extradata().ok_or_else(|| failed("no AudioSpecificConfig"))?;
        let media = Media::Audio(AudioFormat {
            codec: AudioCodec::Aac,
            config: Bytes::copy_from_slice(config),
            sample_rate: AUDIO_RATE,
            channels: 2,
        });
        let track = Track { id, media };
        Ok(SoundEncoder { encoder, layout: stereo()?, format, first, pushed: 0, track })
    }

    /// The format of the output.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Encodes the next block. What comes out lies [`crate::engine::schedule::AAC_LOOKAHEAD`] blocks back; a packet's
    /// number is that of the block that a decoder makes of it, which is where the encoder's priming has gone.
    ///
    /// # Errors
    /// [`AvError::Codec`]: the encoder is of no more use.
    pub fn push(&mut self, block: &Block) -> Result<Vec<Encoded>, AvError> {
        let base = TimeBase::new(1, AUDIO_RATE as i32);
        let mut frame = AudioFrameMut::silence(&self.layout, self.format, AUDIO_RATE, BLOCK);
        for (channel, plane) in frame.planes_mut().iter_mut().enumerate().take(2) {
            let samples = block.iter().skip(channel).step_by(2);
            for (to, sample) in plane.data_mut().chunks_exact_mut(4).zip(samples) {
                to.copy_from_slice(&sample.to_ne_bytes());
            }
        }
        let pts = Timestamp::new(self.pushed * i64::from(AAC_FRAME), base);
        self.pushed += 1;
        self.encoder.try_push(frame.with_time_base(base).with_pts(pts).freeze()).map_err(failed)?;
        let mut out = Vec::with_capacity(1);
        while let Some(packet) = self.encoder.take().map_err(failed)? {
            let at = packet.pts().with_time_base(base).timestamp();
            let number = self.first + at.div_euclid(i64::from(AAC_FRAME));
            out.push(Encoded { number, key: false, data: Bytes::copy_from_slice(packet.data()) });
        }
        Ok(out)
    }
}
