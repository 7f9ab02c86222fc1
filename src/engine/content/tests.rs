//! Pictures as encoders leave them, in small.

use super::*;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Numbers that look random.
struct Random(u64);

impl Random {
    /// Within `-by..=by`, more often near 0.
    fn noise(&mut self, by: i32) -> i32 {
        let mut one = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as i32 % (by + 1)
        };
        one() - one()
    }
}

fn samples(pixel: impl Fn(usize, usize) -> i32) -> Samples {
    let lines: Vec<Vec<u8>> =
        (0..HEIGHT).map(|y| (0..WIDTH).map(|x| pixel(x, y).clamp(0, 255) as u8).collect()).collect();
    let mut samples = Samples::default();
    let luma = Luma { width: WIDTH, height: HEIGHT, beyond: None, full: false };
    assert!(samples.take(luma, |y| lines.get(y).map(Vec::as_slice)));
    samples
}

/// A picture with edges, flat parts and shades.
fn scene(x: usize, y: usize) -> i32 {
    60 + (x / 4) as i32 % 100 + if (x / 40 + y / 30).is_multiple_of(2) { 60 } else { 0 }
}

/// A scene whose every pixel differs by noise, of which `by` is the most; the same for the same `seed`.
fn noisy(seed: u64, by: i32, base: impl Fn(usize, usize) -> i32) -> Samples {
    let random = std::cell::RefCell::new(Random(seed * 7919 + 1));
    samples(|x, y| base(x, y) + random.borrow_mut().noise(by))
}

/// 25 pictures a second; the stretches after the last one, in ms.
fn watch(pictures: impl IntoIterator<Item = Samples>) -> (Option<i64>, Option<i64>) {
    let mut watch = PictureWatch::default();
    let mut last = (None, None);
    for (n, picture) in pictures.into_iter().enumerate() {
        last = watch.picture(Ts::from_millis(10_000 + 40 * n as i64), &picture);
    }
    let millis = |s: Option<Stretch>| s.map(|s| s.after(s.from).as_millis());
    (millis(last.0), millis(last.1))
}

#[test]
fn black_is_dark_everywhere_and_has_no_lamp() {
    let black = |luma: i32| samples(move |_, _| luma).is_black();
    assert!(black(0) && black(16) && black(22) && !black(24) && !black(128));
    assert!(noisy(1, 5, |_, _| 17).is_black(), "noise");
    // Of two lines of credits the grid sees some; a dim stage is above black on average.
    let credits = |x: usize, y: usize| if (80..92).contains(&y) && (100..220).contains(&x) { 200 } else { 16 };
    assert!(!samples(credits).is_black());
    assert!(!samples(|_, y| if y > 90 { 45 } else { 16 }).is_black());
}

#[test]
fn black_of_ten_bits_and_of_the_full_range_is_black() {
    let take = |luma: Luma, line: Vec<u8>| {
        let mut samples = Samples::default();
        assert!(samples.take(luma, |_| Some(&line)));
        (samples.is_black(), samples.brightest)
    };
    let small = Luma { width: 16, height: 16, beyond: None, full: false };
    let ten = |value: u16| value.to_le_bytes().repeat(16);
    assert_eq!(take(Luma { beyond: Some(2), ..small }, ten(64)), (true, 16));
    assert_eq!(take(Luma { beyond: Some(2), ..small }, ten(940)), (false, 235));
    assert_eq!(take(Luma { full: true, ..small }, vec![0; 16]), (true, 16));
    assert_eq!(take(Luma { full: true, ..small }, vec![255; 16]), (false, 235));
    assert_eq!(take(Luma { full: true, ..small }, vec![16; 16]), (false, 29), "a dark grey of the full range");
    // Lines may be padded, never short.
    assert_eq!(take(small, vec![16; 64]), (true, 16));
    let mut samples = Samples::default();
    assert!(!samples.take(small, |_| Some(&[16; 15])) && !samples.take(small, |_| None));
    assert!(!samples.take(Luma { width: 4, ..small }, |_| Some(&[16; 64])));
}

#[test]
fn a_fade_is_black_from_when_it_is_dark_and_not_frozen_while_it_fades() {
    // Four seconds to black, then two of it.
    let at = |n: usize| samples(move |x, y| 16 + (scene(x, y) - 16) * (100 - n.min(100)) as i32 / 100);
    let (black, frozen) = watch((0..150).map(at));
    let black = black.expect("black");
    assert!((1960..2400).contains(&black), "{black}");
    let (black, frozen_fading) = watch((0..90).map(at));
    assert_eq!(black, None);
    // The picture changes by a little at a time; against the first of a run that shows.
    assert!(frozen_fading.is_some_and(|ms| ms < 1000), "{frozen_fading:?}");
    assert!(frozen.is_some_and(|ms| (1300..2200).contains(&ms)), "{frozen:?}");
}

#[test]
fn a_card_is_frozen_in_spite_of_coding_and_from_its_first_picture_on() {
    // Each key frame, every two seconds, is coded a little otherwise, and a few pictures after it mend that.
    let card = |n: usize| noisy((n / 50 * 8 + (n % 50).min(6)) as u64, 9, scene);
    assert_eq!(watch((0..500).map(card)), (None, Some(499 * 40)));
    // After pictures that moved, too, but for the second that it takes to be sure.
    let moving = (0..50).map(|n| samples(move |x, y| scene(x + 9 * n, y)));
    let (_, frozen) = watch(moving.chain((0..250).map(card)));
    assert!(frozen.is_some_and(|ms| (8_500..=10_000).contains(&ms)), "{frozen:?}");
}

#[test]
fn a_still_scene_of_a_camera_is_not_frozen() {
    // What a coder leaves of a sensor's noise differs in every picture, though by little.
    let (_, frozen) = watch((0..250).map(|n| noisy(n, 3, scene)));
    assert!(frozen.is_some_and(|ms| ms <= 40), "{frozen:?}");
}

#[test]
fn what_moves_in_a_small_part_or_slowly_is_not_frozen() {
    let speaker = |n: i64| {
        let head = 150 + (n % 40 - 20).unsigned_abs() as usize;
        samples(move |x, y| if (head..head + 25).contains(&x) && (60..100).contains(&y) { 200 } else { 90 })
    };
    let (_, frozen) = watch((0..250).map(speaker));
    assert!(frozen.is_some_and(|ms| ms < 1000), "{frozen:?}");
    let pan = |n: usize| samples(move |x, y| scene(x + n / 8, y));
    let (_, frozen) = watch((0..500).map(pan));
    assert!(frozen.is_some_and(|ms| ms < 4000), "{frozen:?}");
}

#[test]
fn what_lies_before_a_loss_does_not_count() {
    let (mut watch, card) = (PictureWatch::default(), samples(|_, _| 16));
    for ms in (0..5000).step_by(40) {
        watch.picture(Ts::from_millis(ms), &card);
    }
    let (black, frozen) = watch.picture(Ts::from_millis(9000), &card);
    let now = Some(Stretch { from: Ts::from_millis(9000), until: Ts::from_millis(9000) });
    assert_eq!((black, frozen), (now, now));
}

#[test]
fn silence_lasts_until_something_is_heard() {
    let mut watch = SoundWatch::default();
    let mut level = |ms: i64, db: f32| {
        let silent = watch.level(Ts::from_millis(ms), Ts::from_millis(ms + 100), db);
        silent.map(|s| s.after(s.from).as_millis())
    };
    assert_eq!(level(0, -23.0), None);
    assert_eq!(level(100, -61.0), Some(100));
    assert_eq!(level(200, -120.0), Some(200));
    assert_eq!(level(300, -58.0), None, "an open microphone");
    assert_eq!(level(400, -90.0), Some(100));
}
