//! Whether the programme is black, frozen or silent: measures what was decoded. Pure, and without allocation.
//!
//! A picture is looked at where a coarse grid of small patches lies ([`Samples`]): a patch's mean hides most of what coding
//! and a sensor's noise do to a pixel.
//!
//! **Black** is dark on average without a single bright sample. **Frozen** is a run of pictures that all look like its
//! first one, so that a slow pan or fade is movement although one picture hardly differs from the next; and of which few
//! differ from the one before at all. That tells a camera before an empty stage, whose noise stirs nearly every picture,
//! from a picture that stands still, which an encoder stirs after its key frames. **Silent** is a floor below
//! [`SILENCE_DB`].
//! A title card is frozen and a pause is silent: how long that is borne is the failover's matter.

use crate::media::{Dur, Stretch, Ts};

/// Patches across.
pub const COLUMNS: usize = 32;
/// Patches down.
pub const ROWS: usize = 18;
const PATCHES: usize = COLUMNS * ROWS;
/// Pixels of a patch across and down; a picture has at least these.
const PATCH: (usize, usize) = (8, 4);
const PIXELS: u32 = (PATCH.0 * PATCH.1) as u32;

/// Luma of black, of 8 bits in video range.
const BLACK: u32 = 16;
/// The mean luma of a black picture is at most so far above black: what analogue inputs and noise lift it by.
const BLACK_MEAN: u32 = 6;
/// No sample of a black picture is brighter than this: a lamp, a star or a line of credits is.
const BLACK_BRIGHTEST: u8 = 48;
/// Mean difference of two patches, in luma, from which on two pictures are not the same. A low bitrate's key frame moves
/// them by 1.8.
const OTHER_MEAN: f32 = 2.5;
/// The same for the patch that differs most; that key frame moves one by 15.
const OTHER_MOST: f32 = 20.0;
/// Mean difference from the picture before, in luma, from which on a picture is stirred. Where nothing moves half of the
/// pictures are below 0.025 even at a low bitrate; where a camera's noise is left they are above 0.17.
const STIRRED_MEAN: f32 = 0.07;
/// So many more stirred than still pictures of late are those of something live. A key frame stirs itself and the few
/// after it.
const RESTLESS: u32 = 12;
/// The most that [`RESTLESS`] counts up to: a second after a live picture froze it counts as frozen.
const MOST_RESTLESS: u32 = 24;
/// Pictures further apart than this are not successive: between them the input was lost.
const APART: Dur = Dur::from_secs(2);

/// A floor whose RMS is at most this, dB relative to full scale, is silent: below the noise of any open microphone.
pub const SILENCE_DB: f32 = -60.0;

/// A picture's luma as a decoder gives it.
#[derive(Clone, Copy, Debug)]
pub struct Luma {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Bits per sample beyond 8, which then are two bytes each, little endian; none: one byte each.
    pub beyond: Option<u32>,
    /// Whether black is 0 and white 255 rather than 16 and 235.
    pub full: bool,
}

/// What is kept of a picture: sums over patches, 8 bits a pixel in video range.
#[derive(Clone, Debug)]
pub struct Samples {
    patches: [u16; PATCHES],
    brightest: u8,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { patches: [0; PATCHES], brightest: 0 }
    }
}

impl Samples {
    /// Looks at a picture whose lines `line` gives. False when it is too small or a line is missing.
    pub fn take<'a>(&mut self, luma: Luma, line: impl Fn(usize) -> Option<&'a [u8]>) -> bool {
        let Luma { width, height, beyond, full } = luma;
        if width < PATCH.0 || height < PATCH.1 {
            return false;
        }
        let bytes = if beyond.is_some() { 2 } else { 1 };
        // The middle of each cell of the grid.
        let place = |i: usize, of: usize, size: usize, patch: usize| {
            ((2 * i + 1) * size / (2 * of)).saturating_sub(patch / 2).min(size - patch)
        };
        self.brightest = 0;
        for row in 0..ROWS {
            let top = place(row, ROWS, height, PATCH.1);
            let sums = &mut self.patches[row * COLUMNS..][..COLUMNS];
            sums.fill(0);
            for y in top..top + PATCH.1 {
                let Some(line) = line(y).filter(|line| line.len() >= width * bytes) else { return false };
                for (column, sum) in sums.iter_mut().enumerate() {
                    let left = place(column, COLUMNS, width, PATCH.0);
                    for pixel in line[left * bytes..(left + PATCH.0) * bytes].chunks_exact(bytes) {
                        let value = match (beyond, pixel) {
                            (Some(beyond), &[low, high]) => {
                                (u32::from(u16::from_le_bytes([low, high])) >> beyond).min(255)
                            }
                            _ => u32::from(pixel[0]),
                        };
                        let value = if full { BLACK + value * 219 / 255 } else { value };
                        // 32 pixels of at most 255.
                        *sum += value as u16;
                        self.brightest = self.brightest.max(value as u8);
                    }
                }
            }
        }
        true
    }

    fn is_black(&self) -> bool {
        let sum: u32 = self.patches.iter().map(|&p| u32::from(p)).sum();
        self.brightest <= BLACK_BRIGHTEST && sum <= (BLACK + BLACK_MEAN) * PIXELS * PATCHES as u32
    }

    /// Mean and largest difference of the patches' means.
    fn differences(&self, other: &Samples) -> (f32, f32) {
        let (mut sum, mut most) = (0u32, 0u32);
        for (a, b) in self.patches.iter().zip(&other.patches) {
            let difference = u32::from(a.abs_diff(*b));
            sum += difference;
            most = most.max(difference);
        }
        (sum as f32 / (PIXELS * PATCHES as u32) as f32, most as f32 / PIXELS as f32)
    }
}

/// Follows the pictures that are shown, in order.
#[derive(Debug, Default)]
pub struct PictureWatch {
    black: Option<Stretch>,
    frozen: Option<Stretch>,
    /// The first picture of the run that may be frozen, and the one before.
    first: Samples,
    before: Samples,
    at: Option<Ts>,
    restless: u32,
}

impl PictureWatch {
    /// The next picture, shown at `at`. Gives back since when it is black and since when it is frozen.
    pub fn picture(&mut self, at: Ts, picture: &Samples) -> (Option<Stretch>, Option<Stretch>) {
        if self.at.replace(at).is_none_or(|before| at - before > APART || at < before) {
            (self.black, self.frozen, self.restless) = (None, None, 0);
            self.before.clone_from(picture);
        }
        match picture.is_black() {
            true => Stretch::extend(&mut self.black, at, at),
            false => self.black = None,
        }
        let stirred = picture.differences(&self.before).0 >= STIRRED_MEAN;
        self.restless = if stirred { (self.restless + 1).min(MOST_RESTLESS) } else { self.restless.saturating_sub(1) };
        let (mean, most) = picture.differences(&self.first);
        if mean >= OTHER_MEAN || most >= OTHER_MOST || self.restless >= RESTLESS {
            self.frozen = None;
        }
        if self.frozen.is_none() {
            self.first.clone_from(picture);
        }
        self.before.clone_from(picture);
        Stretch::extend(&mut self.frozen, at, at);
        (self.black, self.frozen)
    }
}

/// Follows the floor's loudness.
#[derive(Debug, Default)]
pub struct SoundWatch {
    silent: Option<Stretch>,
}

impl SoundWatch {
    /// The loudness between two instants; what did not come is silence too, since that is what one hears. Gives back since
    /// when it is silent.
    pub fn level(&mut self, from: Ts, until: Ts, rms_db: f32) -> Option<Stretch> {
        match rms_db <= SILENCE_DB {
            true => Stretch::extend(&mut self.silent, from, until),
            false => self.silent = None,
        }
        self.silent
    }
}

#[cfg(test)]
mod tests;
