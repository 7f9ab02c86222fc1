//! All calls into libopus. Nothing else in the crate names `opus`, but for tests.

use crate::engine::mix::voice::Decode;
use crate::media::grid::AUDIO_RATE;
use crate::media::{AudioCodec, AudioFormat, Media, Track, TrackId};
use bytes::Bytes;
use opus::{Application, Bitrate, Channels, Decoder, Encoder};

/// Samples per channel of a packet for rooms: 20 ms.
pub const ROOM_FRAME: usize = 960;
/// The longest packet that is made: 20 ms at 510 kbps, and what fits a datagram.
const MOST_PACKET: usize = 1275;
/// Of 10: measured, half of the CPU of the default, and no difference that is heard at 64 kbps.
const COMPLEXITY: i32 = 5;

/// Decodes one voice.
pub struct VoiceDecoder(Decoder);

impl VoiceDecoder {
    /// One channel at 48 kHz; two are mixed down.
    ///
    /// # Errors
    /// libopus' words.
    pub fn new() -> Result<VoiceDecoder, String> {
        Decoder::new(AUDIO_RATE, Channels::Mono).map(VoiceDecoder).map_err(|e| e.to_string())
    }
}

impl Decode for VoiceDecoder {
    fn decode(&mut self, packet: &[u8], recover: bool, out: &mut [f32]) -> Option<usize> {
        self.0.decode_float(packet, out, recover).ok()
    }
}

/// Encodes one realtime mix.
pub struct RoomEncoder {
    encoder: Encoder,
    track: Track,
    buffer: Box<[u8; MOST_PACKET]>,
}

impl RoomEncoder {
    /// Stereo at 48 kHz.
    ///
    /// # Errors
    /// libopus' words.
    pub fn new(id: TrackId, bitrate: u32) -> Result<RoomEncoder, String> {
        let open = || -> opus::Result<(Encoder, i32)> {
            let mut encoder = Encoder::new(AUDIO_RATE, Channels::Stereo, Application::Audio)?;
            encoder.set_bitrate(Bitrate::Bits(bitrate.clamp(6_000, 510_000) as i32))?;
            encoder.set_complexity(COMPLEXITY)?;
            let skip = encoder.get_lookahead()?;
            Ok((encoder, skip))
        };
        let (encoder, skip) = open().map_err(|e| e.to_string())?;
        // RFC 7845 §5.1: version 1, two channels, pre-skip, 48 kHz, no gain, mapping family 0.
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend((skip.clamp(0, 0xffff) as u16).to_le_bytes());
        head.extend(AUDIO_RATE.to_le_bytes());
        head.extend([0, 0, 0]);
        let format = AudioFormat { codec: AudioCodec::Opus, config: head.into(), sample_rate: AUDIO_RATE, channels: 2 };
        let track = Track { id, media: Media::Audio(format) };
        Ok(RoomEncoder { encoder, track, buffer: Box::new([0; MOST_PACKET]) })
    }

    /// The format of the output.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Encodes [`ROOM_FRAME`] samples of interleaved stereo.
    ///
    /// # Errors
    /// libopus' words: the encoder is of no more use.
    pub fn encode(&mut self, stereo: &[f32]) -> Result<Bytes, String> {
        let n = self.encoder.encode_float(stereo, &mut self.buffer[..]).map_err(|e| e.to_string())?;
        Ok(Bytes::copy_from_slice(&self.buffer[..n]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::opus::recovers;

    /// Packets of something like a voice, from an encoder that is told of loss.
    fn packets(fec: bool) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(AUDIO_RATE, Channels::Mono, Application::Voip).unwrap();
        encoder.set_inband_fec(fec).unwrap();
        encoder.set_packet_loss_perc(10).unwrap();
        encoder.set_bitrate(Bitrate::Bits(32_000)).unwrap();
        let voice =
            |n: usize| (1..20).map(|k| (n as f32 * 130.0 * k as f32 * 1.309e-4).sin() / k as f32).sum::<f32>() * 0.2;
        let samples: Vec<f32> = (0..50 * ROOM_FRAME).map(voice).collect();
        samples.chunks(ROOM_FRAME).map(|block| encoder.encode_vec_float(block, MOST_PACKET).unwrap()).collect()
    }

    #[test]
    fn the_encoders_error_correction_is_seen() {
        let (with, without) = (packets(true), packets(false));
        let recovering = with.iter().filter(|p| recovers(p)).count();
        // Not what it takes for silence, and not each that follows a quiet one.
        assert!(recovering > 20, "{recovering} of {}", with.len());
        assert_eq!(without.iter().filter(|p| recovers(p)).count(), 0);
    }
}
