//! Decoding and encoding sound.

use super::encode::Encoded;
use super::{AvError, corrupt, failed, flicks};
use crate::engine::mix::downmix::{Channels, LAYOUTS, Matrix, by_count};
use crate::engine::mix::{BLOCK, Block};
use crate::engine::protocol::InPacket;
use crate::media::grid::{AAC_FRAME, AUDIO_RATE};
use crate::media::{AudioCodec, AudioFormat, Dur, Media, Track, TrackId, Ts};
use ac_ffmpeg::codec::audio::{self, AudioDecoder, AudioEncoder, AudioFrameMut, ChannelLayout};
use ac_ffmpeg::codec::{Decoder, Encoder};
use ac_ffmpeg::packet::PacketMut;
use ac_ffmpeg::time::{TimeBase, Timestamp};
use bytes::Bytes;
use std::str::FromStr;

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
    /// Which of the track's channels it is; none: all of them, mixed down.
    pub channels: Option<Channels>,
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
        self.push_picking(packet, &[])
    }

    /// As [`SoundDecoder::push`], with each of `picks` beside the whole where the track has those channels.
    ///
    /// # Errors
    /// As [`SoundDecoder::push`].
    pub fn push_picking(&mut self, packet: &InPacket, picks: &[Channels]) -> Result<Vec<Sound>, AvError> {
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
            out.push(Sound { pts, rate, channels: None, stereo });
            for &picked in picks.iter().filter(|p| p.within(channels)) {
                let mut stereo = Vec::new();
                picked.pick(samples, sample, &mut stereo);
                out.push(Sound { pts, rate, channels: Some(picked), stereo });
            }
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
            // Less than half of the CPU of the default (`twoloop`), and closer to the source at 128 kbps: segmental SNR of a
            // film 31.7 dB against 27.0, of speech 37.7 against 28.6.
            .set_option("aac_coder", "fast")
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
