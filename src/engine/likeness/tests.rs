//! Speech-like sound through two unlike codecs and clocks, and what must not be taken for alike.

use super::*;
use proptest::prelude::*;

const MAIN: InputName = InputName::Main;
const BACKUP: InputName = InputName::Backup;

/// SplitMix64, −1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Words as far as loudness and band go: bursts of low-passed noise of 80 to 300 ms with pauses between them, mono.
fn speech(seed: u64, seconds: f64, rate: u32) -> Vec<f32> {
    // Made of the same words at any rate.
    let mut words = Noise(seed);
    let (mut plan, mut at) = (Vec::new(), 0.0);
    while at < seconds {
        let (length, pause) = (0.19 + 0.11 * f64::from(words.next()), 0.08 + 0.07 * f64::from(words.next()));
        plan.push((at, at + length, 0.15 + 0.1 * words.next(), 300.0 + 200.0 * words.next()));
        at += length + pause;
    }
    let value = |n: usize| {
        let t = n as f64 / f64::from(rate);
        let word = plan.partition_point(|w| w.0 <= t).checked_sub(1).map(|i| plan[i]);
        word.filter(|w| t < w.1).map_or(0.0, |(from, to, loud, hertz)| {
            let swell = ((t - from) / (to - from) * std::f64::consts::PI).sin() as f32;
            let phase = (t - from) * std::f64::consts::TAU;
            let voice = |k: f64| (phase * f64::from(hertz) * k).sin() as f32 / k as f32;
            loud * swell * (voice(0.5) + voice(1.0) + voice(2.7))
        })
    };
    (0..(seconds * f64::from(rate)) as usize).map(value).collect()
}

/// How an input gets the sound.
#[derive(Clone, Copy, Debug)]
struct Way {
    rate: u32,
    gain: f32,
    noise: f32,
    /// Its clock at the sound's beginning, ms.
    clock: i64,
    /// When that arrives, ms.
    arrives: i64,
}

const PLAIN: Way = Way { rate: 48_000, gain: 1.0, noise: 0.0, clock: 0, arrives: 0 };

/// Feeds both sounds in the order of arrival, in blocks of 1024; gives all finds.
fn play(ways: [Way; 2], sounds: [&[f32]; 2]) -> Vec<Dur> {
    let mut likeness = Likeness::default();
    let mut blocks = Vec::new();
    for (input, (way, sound)) in InputName::ALL.into_iter().zip(ways.into_iter().zip(sounds)) {
        for (n, block) in sound.chunks(1024).enumerate() {
            let at = Dur::from_scale(n as i64 * 1024, way.rate);
            blocks.push((Ts::from_millis(way.arrives) + at, input, Ts::from_millis(way.clock) + at, way, block));
        }
    }
    blocks.sort_by_key(|b| b.0);
    let mut noise = Noise(99);
    let mut found = Vec::new();
    for (_, input, pts, way, block) in blocks {
        let stereo: Vec<f32> = block.iter().flat_map(|v| [v * way.gain + way.noise * noise.next(); 2]).collect();
        found.extend(likeness.heard(input, pts, way.rate, &stereo));
    }
    found
}

fn off(found: Dur, ms: i64) -> f64 {
    (found - Dur::from_millis(ms)).as_secs_f64().abs() * 1000.0
}

#[test]
fn the_same_sound_is_found_whatever_its_codec_clock_and_delay() {
    let main = speech(1, 9.0, 48_000);
    for (rate, gain, noise, clock, arrives) in [
        (48_000, 1.0, 0.0, 0, 0),
        (44_100, 0.5, 0.002, 5_000_017, 300),
        (48_000, -0.8, 0.002, -77, -250),
        (32_000, 1.0, 0.004, 1234, 3000),
        (44_100, 1.0, 0.002, 9, -3000),
    ] {
        let backup = speech(1, 9.0, rate);
        let way = Way { rate, gain, noise, clock, arrives };
        let found = play([PLAIN, way], [&main, &backup]);
        assert!(found.len() > 2, "{way:?}: {found:?}");
        assert!(found.iter().all(|&f| off(f, -clock) <= 0.5), "{way:?}: {found:?}");
    }
}

#[test]
fn it_is_found_within_three_seconds_of_both() {
    let sound = speech(5, 3.2, 48_000);
    assert!(!play([PLAIN, Way { arrives: 40, ..PLAIN }], [&sound, &sound]).is_empty());
}

#[test]
fn other_sound_repeated_sound_and_silence_are_not_alike() {
    let seconds = 9.0;
    let speech_of = |seed| speech(seed, seconds, 48_000);
    let tone = |hertz: f64, beat: f64| -> Vec<f32> {
        let sample = |n: usize| {
            let t = n as f64 / 48_000.0;
            if t % 1.0 < beat { 0.3 * (t * hertz * std::f64::consts::TAU).sin() as f32 } else { 0.0 }
        };
        (0..(seconds * 48_000.0) as usize).map(sample).collect()
    };
    let silence = vec![0.0; (seconds * 48_000.0) as usize];
    let way = Way { noise: 0.0005, arrives: 120, ..PLAIN };
    for (what, main, backup) in [
        ("other words", speech_of(1), speech_of(2)),
        ("a tone", tone(440.0, 1.0), tone(440.0, 1.0)),
        ("beeps", tone(1000.0, 0.1), tone(1000.0, 0.1)),
        ("silence", silence.clone(), silence.clone()),
        ("speech and silence", speech_of(1), silence),
    ] {
        assert_eq!(play([Way { noise: 0.0005, ..PLAIN }, way], [&main, &backup]), [], "{what}");
    }
}

#[test]
fn another_clock_is_found_anew_and_holes_do_not_mislead() {
    let sound = speech(3, 12.0, 48_000);
    let mut likeness = Likeness::default();
    let (mut before, mut after) = (0, 0);
    for (n, block) in sound.chunks(1024).enumerate() {
        let at = Ts::from_scale(n as i64 * 1024, 48_000);
        let stereo: Vec<f32> = block.iter().flat_map(|&v| [v; 2]).collect();
        // Backup is published anew after six seconds, and misses blocks now and then.
        let jump = if n >= 281 { Dur::from_secs(1000) } else { Dur::ZERO };
        if n % 37 != 5 {
            let found = likeness.heard(BACKUP, at + jump, 48_000, &stereo);
            assert_eq!(found, None, "looked for with main's sound");
        }
        if let Some(found) = likeness.heard(MAIN, at, 48_000, &stereo) {
            let late = off(found, -1_000_000) < 1.0;
            assert!(late && n > 281 || off(found, 0) < 1.0 && n < 281 + 140, "{n}: {found}");
            *if late { &mut after } else { &mut before } += 1;
        }
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut likeness = Likeness::default();
    let block = vec![0.1; 2 * 65_536];
    for n in 0..200 {
        likeness.heard(BACKUP, Ts::from_scale(n * 65_536, 8000), 8000, &block);
    }
    assert!(likeness.inputs[1].loudness.len() <= KEPT + SLACK, "{}", likeness.inputs[1].loudness.len());
    assert!(likeness.inputs[1].waveform.len() <= (KEPT + SLACK + 1) * HOP);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever times a broken source states.
    #[test]
    fn times_never_panic(times in proptest::collection::vec((any::<i64>(), 8000u32..96_000), 1..40), near: bool) {
        let mut likeness = Likeness::default();
        let block = [0.5; 2048];
        for (n, (time, rate)) in times.into_iter().enumerate() {
            let pts = Ts::from_flicks(if near { time >> 30 } else { time });
            likeness.heard(InputName::ALL[n % 2], pts, rate, &block);
        }
    }
}
