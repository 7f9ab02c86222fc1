//! Decoding pictures.

use super::nal::{avcc_to_annexb, hvcc_to_annexb, to_annexb};
use super::{Aspect, AvError, SQUARE, Shown, corrupt, failed, flicks};
use crate::engine::protocol::InPacket;
use crate::media::{Ts, VideoCodec, VideoFormat};
use ac_ffmpeg::codec::Decoder;
use ac_ffmpeg::codec::video::{VideoDecoder, VideoFrame};
use ac_ffmpeg::packet::PacketMut;

/// Pixels that a decoder may allocate per picture: 4096 × 2304.
const MAX_PIXELS: u64 = 4096 * 2304;
/// Refusals in a row after which a decoder is taken to be beyond repair and replaced.
const MAX_ERRORS: u32 = 8;
/// Pictures whose `decode_only` mark is remembered; a decoder holds back at most 16.
const MAX_HIDDEN: usize = 512;

/// A decoded picture.
#[derive(Clone)]
pub struct Picture {
    /// The pixels, and how they are shown.
    pub shown: Shown,
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
    aspect: Aspect,
    /// From which picture on another aspect holds: that of the first key frame with changed parameter sets.
    next_aspect: Option<(Option<Ts>, Aspect)>,
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
            aspect: format.sample_aspect.unwrap_or(SQUARE),
            next_aspect: None,
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
        self.next_aspect = Some((None, format.sample_aspect.unwrap_or(SQUARE)));
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
        if packet.key
            && let Some((from @ None, _)) = &mut self.next_aspect
        {
            *from = Some(packet.pts);
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
            let pts = Ts::from_flicks(pts);
            if let Some((Some(from), aspect)) = self.next_aspect
                && pts >= from
            {
                (self.aspect, self.next_aspect) = (aspect, None);
            }
            return Ok(Some(Picture { shown: Shown { frame, aspect: self.aspect }, pts }));
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
