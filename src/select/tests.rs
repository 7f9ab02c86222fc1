//! Where a flash and a beep of one instant come out, through the selector and the engine's own choice of pictures and
//! reading of sound, on simulated time.

use super::core::{Core, Output};
use super::testing::{Encoder, Random, ms, start};
use super::{ClockConfig, Config};
use crate::engine::mix::track::TrackLine;
use crate::engine::mix::{BLOCK, Block, SILENCE};
use crate::engine::schedule::{Cadence, Candidate, Choice, MIN_VIDEO_DELAY};
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{AudioFormat, Dur, Grid, InputName, Media, Packet, Track, Ts, VideoFormat};
use bytes::Bytes;
use std::sync::Arc;

/// Samples per second of the simulated sound: little, so that an hour of it is quickly made.
const RATE: u32 = 2_000;
/// Samples of a packet of sound: 20 ms.
const SAMPLES: i64 = 40;
/// Blocks that are read before a click: the first one fades in. That reading without a break follows the timestamps is
/// shown beside [`TrackLine`].
const LEAD_IN: i64 = 2;

/// A source and the output that is made of it.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Pictures per second of the source, as a fraction.
    rate: (u32, u32),
    /// Frames per second of the output; known to the selector from the start, or found by what the source states.
    fps: u32,
    told: bool,
    /// How fast the source's clock is, in ppm.
    ppm: f64,
    seconds: i64,
    /// Timestamps are rounded to milliseconds, as in FLV.
    rounded: bool,
    jitter: i64,
}

/// What came out, in ms: how much later a beep comes than the flash of the same instant.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    low: f64,
    high: f64,
    /// The part of all pictures that is within 5 ms.
    near: f64,
    /// The worst distance of a beep from where the timeline has it.
    sound: f64,
    /// Slots that showed the picture before once more, and pictures that no slot showed.
    repeated: i64,
    dropped: i64,
}

/// The pictures' half of the engine: slots filled as `engine::worker::video` does.
struct Slots {
    grid: Grid,
    cadence: Cadence,
    earlier: Option<(Ts, bool)>,
    next: Option<i64>,
    repeated: i64,
    dropped: i64,
}

impl Slots {
    /// Shows all slots before `later`, a decoded picture; calls `shown` with each picture's pts and the first slot that
    /// shows it.
    fn picture(&mut self, later: Ts, mut shown: impl FnMut(Ts, Ts)) {
        let frame = self.grid.frame();
        let mut n = self.next.unwrap_or_else(|| self.grid.frame_number(later));
        loop {
            let slot = self.grid.frame_start(n);
            if later < slot {
                self.dropped += i64::from(self.earlier.is_some_and(|e| e.1));
                self.earlier = Some((later, true));
                break;
            }
            let candidate = self.earlier.map(|(pts, fresh)| Candidate { pts, fresh });
            n += 1;
            if self.cadence.choose(frame, slot, candidate, later) == Choice::Later {
                self.dropped += i64::from(self.earlier.is_some_and(|e| e.1));
                shown(later, slot);
                self.earlier = Some((later, false));
                break;
            }
            if let Some((pts, fresh)) = &mut self.earlier {
                if std::mem::take(fresh) {
                    shown(*pts, slot);
                } else {
                    self.repeated += 1;
                }
            }
        }
        self.next = Some(n);
    }
}

/// The sound's half: a line that is read around the clicks.
struct Sound {
    line: TrackLine,
    /// The AAC frame to read next, and up to which one.
    read: Option<(i64, i64)>,
    /// Of the click that is looked for: when it is on the timeline.
    wanted: Ts,
    loudest: (f32, Ts),
}

impl Sound {
    fn look_for(&mut self, at: Ts, grid: Grid) {
        let block = grid.aac_number(at);
        self.read = Some((block - LEAD_IN, block + 3));
        self.wanted = at;
        self.loudest = (0.0, Ts::ZERO);
    }

    /// Reads what is there; the click's distance from where it should be, once it has been heard.
    fn advance(&mut self, grid: Grid) -> Option<Dur> {
        let (mut next, until) = self.read?;
        let mut block: Block = SILENCE;
        // At so low a rate the reader's window is wider than what the line calls covered.
        while next < until && self.line.covers(grid.aac_start(next) + ms(20)) {
            self.line.read(grid.aac_start(next), &mut block);
            for i in 0..BLOCK {
                if block[2 * i].abs() > self.loudest.0 {
                    let at = grid.aac_start(next) + AAC_FRAME_DUR * i as i64 / BLOCK as i64;
                    self.loudest = (block[2 * i].abs(), at);
                }
            }
            next += 1;
        }
        self.read = (next < until).then_some((next, until));
        if self.read.is_some() {
            return None;
        }
        assert!(self.loudest.0 > 0.3, "the click at {} is heard: {}", self.wanted, self.loudest.0);
        Some(self.loudest.1 - self.wanted)
    }
}

fn tracks(rate: (u32, u32)) -> (Arc<Track>, Arc<Track>) {
    let encoder = Encoder::new();
    let (video, audio) = (encoder.video.expect("has one"), encoder.audio.expect("has one"));
    let format = VideoFormat { frame_rate: Some(rate), ..video.video().expect("is one").clone() };
    let video = Track { id: video.id, media: Media::Video(format) };
    let format = AudioFormat { sample_rate: RATE, ..audio.audio().expect("is one").clone() };
    (Arc::new(video), Arc::new(Track { id: audio.id, media: Media::Audio(format) }))
}

/// Plays the source through the selector into the engine's halves. The picture's error is taken for every picture, the
/// sound's at a click every ten seconds, and each second while a picture is far from its slot.
fn play(case: Case) -> Measured {
    let grid = Grid::new(case.fps).expect("a rate with a grid");
    let (video, audio) = tracks(case.rate);
    let mut core = Core::new(Config { clock: ClockConfig::default(), ..Config::default() }, start());
    let mut out = Output::default();
    core.attach(InputName::Main, start(), &mut out);
    if case.told {
        core.set_frame(grid.frame());
    }
    let mut random = Random(case.fps.into());
    let mut slots = Slots { grid, cadence: Cadence::default(), earlier: None, next: None, repeated: 0, dropped: 0 };
    let line = TrackLine::new(RATE, Dur::from_secs(3));
    let mut sound = Sound { line, read: None, wanted: Ts::ZERO, loudest: (0.0, Ts::ZERO) };
    let mut measured = Measured { low: f64::MAX, high: f64::MIN, ..Measured::default() };
    let (mut pictures, mut near, mut clicks) = (0u32, 0u32, 0u32);
    let mut error = 0.0;
    let mut sound_error = 0.0;
    let mut last_arrival = start();
    let (mut frame, mut block) = (0i64, 0i64);
    let (n, d) = case.rate;
    // Exact source time of the next picture and the next sound; a click lies at each whole second of it.
    let picture_at = |frame: i64| Dur::from_scale(frame * i64::from(d), n);
    let sound_at = |block: i64| Dur::from_scale(block * SAMPLES, RATE);
    let stamp = |at: Dur| if case.rounded { Ts::from_millis(at.as_millis()) } else { Ts::ZERO + at };
    while picture_at(frame) < Dur::from_secs(case.seconds) {
        let (is_video, at) = match picture_at(frame) <= sound_at(block) {
            true => (true, picture_at(frame)),
            false => (false, sound_at(block)),
        };
        let captured = start() + Dur::from_secs_f64(at.as_secs_f64() / (1.0 + case.ppm * 1e-6));
        let arrival = last_arrival.max(captured + ms(random.below(case.jitter + 1)));
        last_arrival = arrival;
        // Sound carries the number of its packet, from which its samples are made.
        let data = Bytes::copy_from_slice(&block.to_be_bytes());
        let key = is_video && frame % i64::from(n.div_ceil(d)) == 0;
        let packet = Packet {
            track: if is_video { video.clone() } else { audio.clone() },
            epoch: 0,
            dts: stamp(at),
            pts: stamp(at),
            duration: Dur::ZERO,
            key,
            decode_only: false,
            arrival,
            data,
        };
        match is_video {
            true => frame += 1,
            false => block += 1,
        }
        core.packet(InputName::Main, &packet, &mut out);
        for packet in out.packets.drain(..) {
            assert!(packet.arrival - packet.pts <= MIN_VIDEO_DELAY, "{} late", packet.arrival - packet.pts);
            if packet.track.is_video() {
                slots.picture(packet.pts, |pts, slot| {
                    error = (pts - slot).as_secs_f64() * 1000.0;
                    pictures += 1;
                    near += u32::from(error.abs() <= 5.0);
                    let off = error + sound_error;
                    (measured.low, measured.high) = (measured.low.min(off), measured.high.max(off));
                });
                continue;
            }
            let number = i64::from_be_bytes(packet.data[..].try_into().expect("eight bytes"));
            let mut pcm = vec![0.0f32; 2 * SAMPLES as usize];
            let second = (number * SAMPLES + SAMPLES - 1).div_euclid(i64::from(RATE));
            let within = second * i64::from(RATE) - number * SAMPLES;
            if within >= 0 {
                pcm[2 * within as usize] = 1.0;
                pcm[2 * within as usize + 1] = 1.0;
            }
            sound.line.write(packet.pts, &pcm);
            // Far ahead enough for the lead-in to be read still.
            if within >= 0 && sound.read.is_none() && second > 2 && (second % 10 == 0 || error.abs() > 15.0) {
                // Where the timeline has the click by the packet's exact time; its rounding is the source's.
                let exact = Ts::ZERO + sound_at(number);
                let place = packet.pts + (exact - stamp(sound_at(number))) + Dur::from_scale(within, RATE);
                sound.look_for(place, grid);
            }
            if let Some(off) = sound.advance(grid) {
                clicks += 1;
                sound_error = off.as_secs_f64() * 1000.0;
                measured.sound = measured.sound.max(sound_error.abs());
            }
        }
    }
    assert!(i64::from(clicks) >= case.seconds / 10 - 2, "{clicks} clicks were heard");
    measured.near = f64::from(near) / f64::from(pictures);
    (measured.repeated, measured.dropped) = (slots.repeated, slots.dropped);
    println!("{case:?}: {measured:.3?}");
    measured
}

fn an_hour(fps: u32, ppm: f64) {
    let case = Case { rate: (fps, 1), fps, told: fps == 25, ppm, seconds: 3600, rounded: true, jitter: 20 };
    let m = play(case);
    // Half a frame; where milliseconds round, that of a picture and of the one that changed the cadence; and for sound
    // 0.25 ms, by which the reader lags for a moment where a correction begins.
    let bound = 500.0 / f64::from(fps) + if fps == 25 { 0.0 } else { 0.67 };
    assert!(m.sound <= 0.25, "{case:?}: {m:?}");
    assert!(m.low >= -bound - 0.25 && m.high <= bound + 0.25, "{case:?}: {m:?}");
    assert!(m.low >= -20.05 && m.high <= 20.05, "{case:?}: {m:?}");
    assert!(m.near >= 0.80, "{case:?}: {m:?}");
    // An hour of 100 ppm is nine frames of 25 fps and eleven of 30: no flicker at the border.
    let (expected, other) = if ppm < 0.0 { (m.repeated, m.dropped) } else { (m.dropped, m.repeated) };
    assert!((7..=12).contains(&expected) && other <= 1, "{case:?}: {m:?}");
}

#[test]
fn an_hour_of_25_fps_with_a_fast_clock_keeps_flash_and_beep_together() {
    an_hour(25, 100.0);
}

#[test]
fn an_hour_of_25_fps_with_a_slow_clock_keeps_flash_and_beep_together() {
    an_hour(25, -100.0);
}

#[test]
fn an_hour_of_30_fps_with_a_fast_clock_keeps_flash_and_beep_together() {
    an_hour(30, 100.0);
}

#[test]
fn an_hour_of_30_fps_with_a_slow_clock_keeps_flash_and_beep_together() {
    an_hour(30, -100.0);
}

#[test]
fn every_rate_of_the_field_is_together_at_once_and_stays_so() {
    let ntsc = [(24_000, 1001, 24), (30_000, 1001, 30), (60_000, 1001, 60)];
    let whole = [(24, 1, 24), (25, 1, 25), (30, 1, 30), (50, 1, 50), (60, 1, 60)];
    for (n, d, fps) in ntsc.into_iter().chain(whole) {
        assert_eq!(Grid::for_source(n, d).fps(), fps);
        let case = Case { rate: (n, d), fps, told: false, ppm: 0.0, seconds: 100, rounded: true, jitter: 0 };
        let m = play(case);
        let half = 500.0 / f64::from(fps);
        if d == 1 {
            // On its slot from the first picture on: what is left is the rounding of timestamps.
            assert!(m.low >= -1.1 && m.high <= 1.1 && m.near == 1.0, "{case:?}: {m:?}");
            assert!(m.repeated + m.dropped <= 1, "{case:?}: {m:?}");
        } else {
            assert!(m.low >= -half - 0.8 && m.high <= half + 0.8, "{case:?}: {m:?}");
            // One picture in a thousand is shown twice.
            let expected = 100 * i64::from(fps) / 1001;
            assert!((m.repeated - expected).abs() <= 1 && m.dropped == 0, "{case:?}: {m:?}");
        }
    }
}

#[test]
fn another_output_rate_than_the_sources_stays_within_half_an_output_frame() {
    for (rate, fps) in [((50, 1), 25), ((25, 1), 50), ((60, 1), 30), ((24, 1), 25), ((60, 1), 50)] {
        let case = Case { rate, fps, told: true, ppm: 0.0, seconds: 60, rounded: true, jitter: 0 };
        let m = play(case);
        let half = 500.0 / f64::from(fps);
        assert!(m.low >= -half - 0.8 && m.high <= half + 0.8, "{case:?}: {m:?}");
        if rate.0 == 2 * fps {
            // Two pictures per slot, a quarter of the slot to each side: every other one is shown, without flicker.
            assert!(
                (m.dropped - 60 * i64::from(fps)).abs() <= 2 * i64::from(fps) && m.repeated <= 1,
                "{case:?}: {m:?}"
            );
        }
    }
}
