//! From what a protocol delivers to packets: the last step of every ingest.
//!
//! **Data flow.** Configurations and access units of a source, in order of arrival → normalised payloads ([`crate::media::codec`]) →
//! [`Timeline`] → [`crate::hub::Publisher`], with [`super::Health`] looking on.
//! **Bound.** The parameter sets of at most one picture and [`MAX_AUDIO_TRACKS`] sound tracks; packets are passed on at once.
//! Payloads that are right as they came are passed on without a copy.
//!
//! A unit that cannot be used is left out and named in the input's warnings; nothing here ends a session.

use super::health::Health;
use super::{InputName, Session};
use crate::hub::Publisher;
use crate::media::timeline::{Policy, RawTime, Timeline, Verdict};
use crate::media::{AudioCodec, AudioFormat, Dur, Media, Packet, Track, TrackId, Ts, VideoCodec, VideoFormat};
use crate::wire::bitstream::aac::AacConfig;
use crate::wire::bitstream::ac3::{self, Ac3Header};
use crate::wire::bitstream::av1::{self, Av1Config};
use crate::wire::bitstream::h264::{self, AvcConfig};
use crate::wire::bitstream::hevc::{self, HevcConfig};
use crate::wire::bitstream::mp3::Mp3Header;
use crate::wire::bitstream::{Error, nal, opus};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sound tracks of a contribution: more languages than a congress has booths.
pub const MAX_AUDIO_TRACKS: u16 = 32;

/// NAL units of an access unit: level 6.2 admits 600 slices, encoders send up to a hundred. A hostile one is made of empty units.
const MAX_UNITS: usize = 1024;

/// How often the timeline's counters are copied to health.
const STATS_INTERVAL: Dur = Dur::from_secs(1);

/// Parameter sets of a picture track, read.
#[derive(Clone, Debug, PartialEq)]
enum VideoConfig {
    H264(AvcConfig),
    Hevc(HevcConfig),
    Av1(Av1Config),
}

struct VideoTrack {
    config: VideoConfig,
    track: Arc<Track>,
    /// Pictures are left out until one that decoding can begin with.
    seek_key: bool,
}

struct AudioTrack {
    track: Arc<Track>,
    /// Samples of an access unit, where the configuration says.
    samples: u32,
}

/// One source's way into the hub.
pub struct Feed {
    event: String,
    input: InputName,
    publisher: Publisher,
    health: Arc<Health>,
    timeline: Timeline,
    video: Option<VideoTrack>,
    audio: BTreeMap<u16, AudioTrack>,
    /// What the container says of the frame rate.
    frame_rate: Option<(u32, u32)>,
    stats_due: Ts,
    packets: metrics::Counter,
    bytes: metrics::Counter,
}

impl Feed {
    /// For an admitted session.
    pub fn new(session: Session) -> Feed {
        let Session { event, input, publisher, health, stop: _ } = session;
        let labels = [("event", event.clone()), ("input", input.as_str().to_owned())];
        Feed {
            packets: metrics::counter!("boothcast_ingest_packets_total", &labels),
            bytes: metrics::counter!("boothcast_ingest_bytes_total", &labels),
            event,
            input,
            publisher,
            health,
            timeline: Timeline::new(Policy::default()),
            video: None,
            audio: BTreeMap::new(),
            frame_rate: None,
            stats_due: Ts::ZERO,
        }
    }

    /// Where measurements go.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// The event and input that are fed, for logs.
    pub fn name(&self) -> (&str, InputName) {
        (&self.event, self.input)
    }

    /// Frames per second as the container says; used where the bitstream does not.
    pub fn frame_rate(&mut self, fps: f64) {
        self.frame_rate = fraction(fps);
    }

    /// Names a problem in the input's warnings. `topic` keeps one problem to one place.
    pub fn warn(&self, topic: &'static str, text: String, at: Ts) {
        self.health.warn(topic, text, at);
    }

    /// The picture's configuration: `avcC`, `hvcC` or `av1C`. The same again changes nothing; one that cannot be read is left out and
    /// the one before stays.
    pub fn video_config(&mut self, codec: VideoCodec, record: Bytes, at: Ts) {
        let config = match codec {
            VideoCodec::H264 => AvcConfig::parse(&record).map(VideoConfig::H264),
            VideoCodec::Hevc => HevcConfig::parse(&record).map(VideoConfig::Hevc),
            VideoCodec::Av1 => Av1Config::parse(&record).map(VideoConfig::Av1),
        };
        if let Err(error) = config.and_then(|config| self.set_video(config, at)) {
            self.warn("video configuration", format!("the picture's header cannot be read: {error}"), at);
        }
    }

    fn set_video(&mut self, config: VideoConfig, at: Ts) -> Result<(), Error> {
        if self.video.as_ref().is_some_and(|v| v.config == config) {
            return Ok(());
        }
        let (codec, record, (width, height), rate, sample_aspect) = match &config {
            VideoConfig::H264(c) => {
                let sps = c.sps()?;
                self.health.picture(sps.interlaced, sps.chroma_format != 1 || sps.bit_depth_luma != 8);
                (VideoCodec::H264, c.build(), (sps.width, sps.height), sps.frame_rate, sps.sample_aspect)
            }
            VideoConfig::Hevc(c) => {
                let sps = c.sps()?;
                self.health.picture(false, sps.chroma_format != 1);
                (VideoCodec::Hevc, c.build(), (sps.width, sps.height), sps.frame_rate, sps.sample_aspect)
            }
            VideoConfig::Av1(c) => {
                self.health.picture(false, !c.header.subsampling_y);
                (VideoCodec::Av1, c.build(), (c.header.width, c.header.height), c.header.frame_rate, None)
            }
        };
        let frame_rate = rate.or(self.frame_rate);
        // Beyond four to one no broadcast goes; what claims to is a mistake of its encoder.
        let plausible = |h: u16, v: u16| h.max(v) / 4 <= h.min(v) && h.min(v) > 0;
        let sample_aspect = sample_aspect.filter(|&(h, v)| h != v && plausible(h, v));
        let format = VideoFormat { codec, config: record, width, height, frame_rate, sample_aspect };
        // Records that differ only in how NAL lengths are written describe the same track.
        if let Some(video) = &mut self.video
            && video.track.video() == Some(&format)
        {
            video.config = config;
            return Ok(());
        }
        let track = Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) });
        self.health.track(&track, at);
        self.video = Some(VideoTrack { config, track, seek_key: true });
        Ok(())
    }

    /// An access unit of the picture. `key` is the container's word; the bitstream's own counts where it says. `fine` is added to both
    /// times after unwrapping, for containers that have more precision than their clock.
    pub fn video(&mut self, codec: VideoCodec, raw: RawTime, fine: Dur, key: bool, data: Bytes, arrival: Ts) {
        if data.is_empty() {
            return;
        }
        let normalised = match codec {
            VideoCodec::H264 => self.h264(data, key, arrival),
            VideoCodec::Hevc => self.hevc(data, key, arrival),
            VideoCodec::Av1 => self.av1(data, key, arrival),
        };
        let (data, key) = match normalised {
            Ok(Some(unit)) => unit,
            Ok(None) => return,
            Err(error) => {
                self.drop_packet("broken_unit");
                return self.warn("video unit", format!("a picture cannot be read and is left out: {error}"), arrival);
            }
        };
        let Some(video) = &mut self.video else {
            self.drop_packet("no_configuration");
            return self.warn("video configuration", "pictures come without their header".into(), arrival);
        };
        if track_codec(&video.track) != Some(codec) {
            return self.drop_packet("no_configuration");
        }
        if video.seek_key && !key {
            return self.drop_packet("before_key_frame");
        }
        video.seek_key = false;
        let track = video.track.clone();
        self.publish(track, raw, fine, Dur::ZERO, key, data, arrival);
    }

    /// Something of the picture was lost on its way: what comes before the next key frame refers to it and is left out.
    pub fn video_lost(&mut self) {
        if let Some(video) = &mut self.video {
            video.seek_key = true;
        }
        self.drop_packet("lost");
    }

    /// Something of a sound track was lost on its way.
    pub fn audio_lost(&mut self) {
        self.drop_packet("lost");
    }

    /// NAL units without delimiters, filler and parameter sets, behind 4-byte lengths; and whether decoding can begin there. New
    /// parameter sets in the stream become the track's.
    fn h264(&mut self, data: Bytes, flagged: bool, at: Ts) -> Result<Option<(Bytes, bool)>, Error> {
        let size = match self.video.as_ref().map(|v| &v.config) {
            Some(VideoConfig::H264(c)) => c.length_size,
            _ => 4,
        };
        let Units { list, whole } = Units::of(&data, size)?;
        let (mut idr, mut recovery, mut picture) = (false, false, false);
        let (mut sps, mut pps) = (Vec::new(), Vec::new());
        let mut clean = whole;
        for unit in &list {
            match h264::unit_type(unit) {
                1..=4 => picture = true,
                h264::unit::IDR => (idr, picture) = (true, true),
                h264::unit::SEI => recovery |= flagged && h264::is_recovery_point(unit),
                h264::unit::SPS => sps.push(data.slice_ref(unit)),
                h264::unit::PPS => pps.push(data.slice_ref(unit)),
                _ => {}
            }
            clean &= !is_h264_framing(unit);
        }
        if !sps.is_empty() || !pps.is_empty() {
            let known = match self.video.as_ref().map(|v| &v.config) {
                Some(VideoConfig::H264(c)) => Some(c),
                _ => None,
            };
            let news = known.is_none_or(|c| !contains(&c.sps, &sps) || !contains(&c.pps, &pps));
            if news {
                let sps = own(sps).or_else(|| known.map(|c| c.sps.clone())).unwrap_or_default();
                let pps = own(pps).or_else(|| known.map(|c| c.pps.clone())).unwrap_or_default();
                let mut config = AvcConfig::from_sets(sps, pps)?;
                config.length_size = size;
                self.set_video(VideoConfig::H264(config), at)?;
            }
        }
        if !picture {
            return Ok(None);
        }
        // Decoding can also begin at an I picture with a recovery point, where the container says so too (open GOPs).
        let key = idr || recovery;
        if clean {
            return Ok(Some((data, key)));
        }
        let kept = list.iter().copied().filter(|u| !is_h264_framing(u));
        Ok(Some((nal::to_length_prefixed(kept), key)))
    }

    /// As [`Feed::h264`].
    fn hevc(&mut self, data: Bytes, _flagged: bool, at: Ts) -> Result<Option<(Bytes, bool)>, Error> {
        let size = match self.video.as_ref().map(|v| &v.config) {
            Some(VideoConfig::Hevc(c)) => c.length_size,
            _ => 4,
        };
        let Units { list, whole } = Units::of(&data, size)?;
        let (mut key, mut picture, mut clean) = (false, false, whole);
        let mut sets = [Vec::new(), Vec::new(), Vec::new()];
        for unit in &list {
            match hevc::unit_type(unit) {
                Some(t @ 0..=31) => {
                    picture = true;
                    key |= (hevc::unit::IRAP_FIRST..=hevc::unit::IRAP_LAST).contains(&t);
                }
                Some(t @ hevc::unit::VPS..=hevc::unit::PPS) => {
                    sets[usize::from(t - hevc::unit::VPS)].push(data.slice_ref(unit));
                }
                _ => {}
            }
            clean &= !is_hevc_framing(unit);
        }
        if sets.iter().any(|s| !s.is_empty()) {
            let known = match self.video.as_ref().map(|v| &v.config) {
                Some(VideoConfig::Hevc(c)) => Some(c),
                _ => None,
            };
            let [vps, sps, pps] = sets;
            let news =
                known.is_none_or(|c| !contains(&c.vps, &vps) || !contains(&c.sps, &sps) || !contains(&c.pps, &pps));
            if news {
                let vps = own(vps).or_else(|| known.map(|c| c.vps.clone())).unwrap_or_default();
                let sps = own(sps).or_else(|| known.map(|c| c.sps.clone())).unwrap_or_default();
                let pps = own(pps).or_else(|| known.map(|c| c.pps.clone())).unwrap_or_default();
                let mut config = HevcConfig::from_sets(vps, sps, pps)?;
                config.length_size = size;
                self.set_video(VideoConfig::Hevc(config), at)?;
            }
        }
        if !picture {
            return Ok(None);
        }
        if clean {
            return Ok(Some((data, key)));
        }
        let kept = list.iter().copied().filter(|u| !is_hevc_framing(u));
        Ok(Some((nal::to_length_prefixed(kept), key)))
    }

    fn av1(&mut self, data: Bytes, flagged: bool, at: Ts) -> Result<Option<(Bytes, bool)>, Error> {
        let data = av1::strip(data)?;
        if flagged && let Ok(config) = Av1Config::from_obus(&data) {
            self.set_video(VideoConfig::Av1(config), at)?;
        }
        Ok(Some((data, flagged)).filter(|(d, _)| !d.is_empty()))
    }

    /// A sound track's configuration: `AudioSpecificConfig` or `OpusHead`. One that cannot be read is left out and the one before stays.
    pub fn audio_config(&mut self, index: u16, codec: AudioCodec, config: Bytes, at: Ts) {
        let format = match codec {
            AudioCodec::Aac => AacConfig::parse(&config).map(|c| {
                let format = AudioFormat { codec, config, sample_rate: c.sample_rate, channels: c.channels };
                (format, c.samples())
            }),
            AudioCodec::Opus => opus::OpusHead::parse(&config).map(|head| {
                let (config, channels) = (head.build(), head.channels);
                (AudioFormat { codec, config, sample_rate: opus::SAMPLE_RATE, channels }, 0)
            }),
            // Their frames say it themselves.
            AudioCodec::Mp3 | AudioCodec::Ac3 => return,
        };
        match format {
            Ok((format, samples)) => self.set_audio(index, format, samples, at),
            Err(error) => {
                let text = format!("the header of sound track {index} cannot be read: {error}");
                self.warn("audio configuration", text, at);
            }
        }
    }

    fn set_audio(&mut self, index: u16, format: AudioFormat, samples: u32, at: Ts) {
        if let Some(known) = self.audio.get_mut(&index)
            && known.track.audio() == Some(&format)
        {
            known.samples = samples;
            return;
        }
        if index >= MAX_AUDIO_TRACKS {
            let text = format!("sound track {index} is left out; tracks 0 to {} are taken", MAX_AUDIO_TRACKS - 1);
            return self.warn("audio tracks", text, at);
        }
        let track = Arc::new(Track { id: TrackId::audio(index), media: Media::Audio(format) });
        self.health.track(&track, at);
        self.audio.insert(index, AudioTrack { track, samples });
    }

    /// A frame of a sound track.
    pub fn audio(&mut self, index: u16, codec: AudioCodec, raw: RawTime, fine: Dur, data: Bytes, arrival: Ts) {
        if data.is_empty() {
            return;
        }
        let read = self.frame_format(index, codec, &data);
        match read {
            Ok(Some((format, samples))) => self.set_audio(index, format, samples, arrival),
            Ok(None) => {}
            Err(error) => {
                self.drop_packet("broken_unit");
                let text = format!("a frame of sound track {index} cannot be read and is left out: {error}");
                return self.warn("audio unit", text, arrival);
            }
        }
        let Some(audio) = self.audio.get(&index).filter(|a| a.track.audio().is_some_and(|f| f.codec == codec)) else {
            self.drop_packet("no_configuration");
            let text = format!("sound track {index} comes without its header");
            return self.warn("audio configuration", text, arrival);
        };
        let samples = match codec {
            AudioCodec::Opus => crate::media::opus::samples(&data).unwrap_or(0),
            _ => audio.samples,
        };
        let rate = audio.track.audio().map_or(0, |f| f.sample_rate);
        let track = audio.track.clone();
        self.publish(track, raw, fine, Dur::from_scale(samples.into(), rate), false, data, arrival);
    }

    /// The format that a frame itself states, for codecs without a configuration; and for Opus without its header.
    fn frame_format(&self, index: u16, codec: AudioCodec, data: &[u8]) -> Result<Option<(AudioFormat, u32)>, Error> {
        let bare = |sample_rate, channels| AudioFormat { codec, config: Bytes::new(), sample_rate, channels };
        Ok(match codec {
            AudioCodec::Aac => None,
            AudioCodec::Mp3 => {
                let h = Mp3Header::parse(data)?;
                Some((bare(h.sample_rate, h.channels), h.samples))
            }
            AudioCodec::Ac3 => {
                let h = Ac3Header::parse(data)?;
                Some((bare(h.sample_rate, h.channels), ac3::SAMPLES))
            }
            AudioCodec::Opus
                if self.audio.get(&index).is_none_or(|a| a.track.audio().is_none_or(|f| f.codec != codec)) =>
            {
                // The stereo flag of the TOC byte (RFC 6716 §3.1).
                let channels = if data.first().is_some_and(|toc| toc & 4 != 0) { 2 } else { 1 };
                let config = opus::OpusHead::simple(channels, 0).build();
                Some((AudioFormat { codec, config, sample_rate: opus::SAMPLE_RATE, channels }, 0))
            }
            AudioCodec::Opus => None,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn publish(
        &mut self,
        track: Arc<Track>,
        raw: RawTime,
        fine: Dur,
        duration: Dur,
        key: bool,
        data: Bytes,
        arrival: Ts,
    ) {
        let stamp = match self.timeline.stamp(track.id, raw, arrival) {
            Verdict::Accept(stamp) => stamp,
            Verdict::Drop(reason) => return self.drop_packet(reason.as_str()),
        };
        if arrival >= self.stats_due {
            self.stats_due = arrival + STATS_INTERVAL;
            self.health.timeline(self.timeline.stats());
        }
        self.packets.increment(1);
        self.bytes.increment(data.len() as u64);
        let packet = Packet {
            track,
            epoch: stamp.epoch,
            dts: stamp.dts + fine,
            pts: stamp.pts + fine,
            duration,
            key,
            decode_only: false,
            arrival,
            data,
        };
        self.health.packet(&packet);
        self.publisher.publish(packet);
    }

    fn drop_packet(&self, reason: &'static str) {
        metrics::counter!("boothcast_ingest_dropped_packets_total",
            "event" => self.event.clone(), "input" => self.input.as_str(), "reason" => reason)
        .increment(1);
        self.health.dropped();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.health.timeline(self.timeline.stats());
        self.health.ended();
    }
}

fn track_codec(track: &Track) -> Option<VideoCodec> {
    track.video().map(|v| v.codec)
}

/// The NAL units of an access unit.
struct Units<'a> {
    list: Vec<&'a [u8]>,
    /// They stand behind 4-byte lengths already, none of them empty.
    whole: bool,
}

impl<'a> Units<'a> {
    /// Units behind lengths, or behind start codes, which careless encoders send instead.
    fn of(data: &'a [u8], length_size: u8) -> Result<Units<'a>, Error> {
        let lengths: Result<Vec<&[u8]>, Error> = nal::length_prefixed(data, length_size).take(MAX_UNITS + 1).collect();
        match lengths {
            Ok(list) if list.len() > MAX_UNITS => {
                Err(Error::Invalid { what: "number of NAL units", value: list.len() as u64 })
            }
            Ok(mut list) => {
                let all = list.len();
                list.retain(|u| !u.is_empty());
                Ok(Units { whole: length_size == 4 && list.len() == all, list })
            }
            Err(_) if nal::is_annex_b(data) => {
                Ok(Units { list: nal::annex_b(data).take(MAX_UNITS).collect(), whole: false })
            }
            Err(error) => Err(error),
        }
    }
}

/// Units that a packet must not hold.
fn is_h264_framing(unit: &[u8]) -> bool {
    use h264::unit::{AUD, END_OF_SEQUENCE, END_OF_STREAM, FILLER, PPS, SPS, SPS_EXTENSION};
    matches!(
        h264::unit_type(unit),
        0 | SPS | PPS | AUD | END_OF_SEQUENCE | END_OF_STREAM | FILLER | SPS_EXTENSION | 24..=31
    )
}

/// Units that a packet must not hold.
fn is_hevc_framing(unit: &[u8]) -> bool {
    use hevc::unit::{AUD, END_OF_BITSTREAM, END_OF_SEQUENCE, FILLER, PPS, SPS, VPS};
    matches!(
        hevc::unit_type(unit),
        None | Some(VPS | SPS | PPS | AUD | END_OF_SEQUENCE | END_OF_BITSTREAM | FILLER | 48..=63)
    )
}

fn contains(known: &[Bytes], found: &[Bytes]) -> bool {
    found.iter().all(|f| known.contains(f))
}

/// Parameter sets on their own, so that they do not keep a whole access unit in memory; none for an empty list.
fn own(sets: Vec<Bytes>) -> Option<Vec<Bytes>> {
    (!sets.is_empty()).then(|| sets.iter().map(|s| Bytes::copy_from_slice(s)).collect())
}

/// Frames per second as the fraction that is meant.
fn fraction(fps: f64) -> Option<(u32, u32)> {
    if !(1.0..=300.0).contains(&fps) {
        return None;
    }
    let whole = fps.round();
    if (fps - whole).abs() < 0.003 {
        return Some((whole as u32, 1));
    }
    // 23.976, 29.97, 59.94: a whole rate × 1000/1001.
    let base = (fps * 1.001).round();
    if (fps * 1.001 - base).abs() < 0.006 {
        return Some((base as u32 * 1000, 1001));
    }
    Some(((fps * 1000.0).round() as u32, 1000))
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
