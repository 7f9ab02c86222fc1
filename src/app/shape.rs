//! What an event's output is modelled on: the source as it first arrived. Pure.
//!
//! Frame rate and ladder are fixed when an event is first published to, so that renditions, numbering and recordings
//! go on unchanged through reconnects, a backup of another size, and restarts.

use crate::media::{Dur, Grid, Media, Packet, Ts};

/// Pictures that are timed where the bitstream does not state a rate.
const TIMED_PICTURES: usize = 24;
/// How long sound alone is waited on for a picture, before the event is taken for sound only.
const SOUND_ONLY_AFTER: Dur = Dur::from_secs(3);

/// The measured source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pixels; of the slate for sound only.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Output frame rate and cuts.
    pub grid: Grid,
}

impl Shape {
    /// For a source without pictures, whose viewers see the slate.
    pub fn sound_only() -> Shape {
        Shape { width: 1280, height: 720, grid: Grid::for_source(25, 1) }
    }
}

/// Watches the first packets of a programme until its shape is known.
#[derive(Debug, Default)]
pub struct Measure {
    size: Option<(u32, u32)>,
    stated: Option<(u32, u32)>,
    times: Vec<Ts>,
    sound_since: Option<Ts>,
}

impl Measure {
    /// Takes the next packet; the shape, once it is known.
    pub fn push(&mut self, packet: &Packet) -> Option<Shape> {
        match &packet.track.media {
            Media::Video(video) => {
                self.size = Some(video.shown());
                self.stated = video.rate();
                self.times.push(packet.pts);
            }
            Media::Audio(_) if self.size.is_none() => {
                let since = *self.sound_since.get_or_insert(packet.dts);
                if packet.dts - since > SOUND_ONLY_AFTER {
                    return Some(Shape::sound_only());
                }
            }
            Media::Audio(_) => {}
        }
        let (width, height) = self.size?;
        let (numerator, denominator) = match self.stated {
            Some(rate) => rate,
            None if self.times.len() >= TIMED_PICTURES => (self.measured()?, 1000),
            None => return None,
        };
        Some(Shape { width, height, grid: Grid::for_source(numerator, denominator) })
    }

    /// Frames per 1000 s: the pictures from first to last by presentation time, with those at the end left out that
    /// later ones may still come between.
    fn measured(&self) -> Option<u32> {
        let mut times = self.times.clone();
        times.sort();
        times.dedup();
        times.truncate(times.len().saturating_sub(4));
        let span = *times.last()? - *times.first()?;
        let frames = times.len().checked_sub(1)? as f64;
        (span > Dur::ZERO).then(|| (frames * 1000.0 / span.as_secs_f64()).round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioCodec, AudioFormat, Track, TrackId, VideoCodec, VideoFormat};
    use bytes::Bytes;
    use std::sync::Arc;

    fn packet(media: Media, pts: Ts) -> Packet {
        let id = if matches!(media, Media::Video(_)) { TrackId::VIDEO } else { TrackId::audio(0) };
        Packet {
            track: Arc::new(Track { id, media }),
            epoch: 0,
            dts: pts,
            pts,
            duration: Dur::ZERO,
            key: false,
            decode_only: false,
            arrival: pts,
            data: Bytes::new(),
        }
    }

    fn video(frame_rate: Option<(u32, u32)>) -> Media {
        let format = VideoFormat {
            codec: VideoCodec::H264,
            config: Bytes::new(),
            width: 1920,
            height: 1080,
            frame_rate,
            sample_aspect: None,
        };
        Media::Video(format)
    }

    #[test]
    fn a_stated_rate_is_taken_at_once() {
        let shape = Measure::default().push(&packet(video(Some((30000, 1001))), Ts::ZERO));
        assert_eq!(shape.map(|s| (s.width, s.height, s.grid.fps())), Some((1920, 1080, 30)));
    }

    #[test]
    fn an_absurd_or_missing_rate_is_measured_whatever_the_order() {
        for (stated, fps) in [(None, 25), (Some((90_000, 1)), 50), (Some((1, 0)), 24)] {
            let mut measure = Measure::default();
            let mut shape = None;
            for n in 0..40i64 {
                // Decoding order of I P B B.
                let shown = [0, 3, 1, 2][(n % 4) as usize] + n / 4 * 4;
                shape = shape.or(measure.push(&packet(video(stated), Ts::from_scale(shown, fps))));
            }
            assert_eq!(shape.map(|s| s.grid.fps()), Some(fps));
        }
    }

    #[test]
    fn sound_alone_waits_for_a_picture_for_a_while() {
        let sound = |ms| {
            let format = AudioFormat { codec: AudioCodec::Aac, config: Bytes::new(), sample_rate: 48_000, channels: 2 };
            packet(Media::Audio(format), Ts::from_millis(ms))
        };
        let mut measure = Measure::default();
        assert_eq!(measure.push(&sound(0)), None);
        assert_eq!(measure.push(&sound(2900)), None);
        assert_eq!(measure.push(&sound(3100)), Some(Shape::sound_only()));
    }
}
