//! Any channel layout to stereo, normalised so that no input can clip; or some of its channels, as they are.
//!
//! Coefficients of ITU-R BS.775-3 table 2: centre and surrounds at −3 dB, no LFE; a mono centre stays at full level in
//! both channels. Each row is scaled so that its coefficients sum to at most 1.

/// Where a channel is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Front left.
    Left,
    /// Front right.
    Right,
    /// Front centre.
    Centre,
    /// Low frequency effects; left out.
    Lfe,
    /// Side or back, left.
    SurroundLeft,
    /// Side or back, right.
    SurroundRight,
    /// Back centre.
    Back,
}

use Speaker::{Back, Centre, Left, Lfe, Right, SurroundLeft, SurroundRight};

const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// libav's names of the layouts that its decoders of AAC, Opus, MP3 and AC-3 produce, with their channels in order.
pub const LAYOUTS: [(&str, &[Speaker]); 18] = [
    ("mono", &[Centre]),
    ("stereo", &[Left, Right]),
    ("2.1", &[Left, Right, Lfe]),
    ("3.0", &[Left, Right, Centre]),
    ("3.0(back)", &[Left, Right, Back]),
    ("3.1", &[Left, Right, Centre, Lfe]),
    ("4.0", &[Left, Right, Centre, Back]),
    ("quad", &[Left, Right, SurroundLeft, SurroundRight]),
    ("quad(side)", &[Left, Right, SurroundLeft, SurroundRight]),
    ("4.1", &[Left, Right, Centre, Lfe, Back]),
    ("5.0", &[Left, Right, Centre, SurroundLeft, SurroundRight]),
    ("5.0(side)", &[Left, Right, Centre, SurroundLeft, SurroundRight]),
    ("5.1", &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight]),
    ("5.1(side)", &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight]),
    ("6.1", &[Left, Right, Centre, Lfe, Back, SurroundLeft, SurroundRight]),
    ("7.0", &[Left, Right, Centre, SurroundLeft, SurroundRight, SurroundLeft, SurroundRight]),
    ("7.1", &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight, SurroundLeft, SurroundRight]),
    ("7.1(wide)", &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight, Left, Right]),
];

/// What to take for a number of channels whose layout has no name here.
pub fn by_count(channels: usize) -> &'static [Speaker] {
    let name = match channels {
        1 => "mono",
        2 => "stereo",
        3 => "3.0",
        4 => "quad",
        5 => "5.0",
        6 => "5.1",
        7 => "6.1",
        _ => "7.1",
    };
    LAYOUTS.iter().find(|l| l.0 == name).map_or(&[], |l| l.1)
}

/// The weights of a layout's channels in left and right.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: Vec<[f32; 2]>,
}

impl Matrix {
    /// For channels in this order.
    pub fn new(speakers: &[Speaker]) -> Matrix {
        let mut rows: Vec<[f32; 2]> = speakers
            .iter()
            .map(|s| match s {
                Left => [1.0, 0.0],
                Right => [0.0, 1.0],
                Centre if speakers.len() == 1 => [1.0, 1.0],
                Centre => [SQRT_HALF, SQRT_HALF],
                Lfe => [0.0, 0.0],
                SurroundLeft => [SQRT_HALF, 0.0],
                SurroundRight => [0.0, SQRT_HALF],
                Back => [0.5, 0.5],
            })
            .collect();
        let sum = |side: usize| rows.iter().map(|r| r[side]).sum::<f32>();
        let most = sum(0).max(sum(1)).max(1.0);
        rows.iter_mut().for_each(|r| *r = [r[0] / most, r[1] / most]);
        Matrix { rows }
    }

    /// Channels it takes.
    pub fn channels(&self) -> usize {
        self.rows.len()
    }

    /// Adds `samples` frames as interleaved stereo to `out`; `sample(channel, i)` reads the input. What is not a number
    /// is silence, and what garbage made huge is bounded.
    pub fn mix(&self, samples: usize, sample: impl Fn(usize, usize) -> f32, out: &mut Vec<f32>) {
        out.reserve(samples * 2);
        for i in 0..samples {
            let (mut l, mut r) = (0.0f32, 0.0f32);
            for (c, row) in self.rows.iter().enumerate() {
                let s = sane(sample(c, i));
                l += s * row[0];
                r += s * row[1];
            }
            out.push(l);
            out.push(r);
        }
    }
}

/// One or two channels of a track, as they are: the separate sounds of a track that carries several languages side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channels {
    /// What is heard on the left, counted from 0 in the decoder's order ([`LAYOUTS`]).
    pub left: u8,
    /// What is heard on the right; the same for mono.
    pub right: u8,
}

impl Channels {
    /// One channel, heard at full level on both sides.
    pub const fn mono(channel: u8) -> Channels {
        Channels { left: channel, right: channel }
    }

    /// One channel or two, as a list names them; none for any other number.
    pub fn of(list: &[u8]) -> Option<Channels> {
        match *list {
            [channel] => Some(Channels::mono(channel)),
            [left, right] => Some(Channels { left, right }),
            _ => None,
        }
    }

    /// Whether a track of so many channels has them.
    pub fn within(self, channels: usize) -> bool {
        usize::from(self.left.max(self.right)) < channels
    }

    /// Adds `samples` frames as interleaved stereo to `out`, as [`Matrix::mix`] does.
    pub fn pick(self, samples: usize, sample: impl Fn(usize, usize) -> f32, out: &mut Vec<f32>) {
        out.reserve(samples * 2);
        for i in 0..samples {
            out.push(sane(sample(usize::from(self.left), i)));
            out.push(sane(sample(usize::from(self.right), i)));
        }
    }
}

/// What is not a number is silence, and what garbage made huge is bounded.
fn sane(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.5, 1.5) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_layout_clips_and_each_side_stays_on_its_side() {
        for (name, speakers) in LAYOUTS {
            let m = Matrix::new(speakers);
            let mut out = Vec::new();
            m.mix(1, |_, _| 1.0, &mut out);
            assert!(out.iter().all(|&s| s <= 1.0 + 1e-6), "{name}: {out:?}");
            let left = speakers.iter().position(|&s| s == Left);
            if let Some(left) = left {
                out.clear();
                m.mix(1, |c, _| if c == left { 1.0 } else { 0.0 }, &mut out);
                assert!(out[0] > 0.2 && out[1] == 0.0, "{name}: {out:?}");
            }
        }
        let mono = Matrix::new(by_count(1));
        let mut out = Vec::new();
        mono.mix(2, |_, i| i as f32 / 2.0, &mut out);
        assert_eq!(out, [0.0, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn dialogue_of_5_1_is_heard_equally_on_both_sides_and_lfe_is_left_out() {
        let m = Matrix::new(by_count(6));
        let mut out = Vec::new();
        m.mix(1, |c, _| if c == 2 { 1.0 } else { 0.0 }, &mut out);
        m.mix(1, |c, _| if c == 3 { 1.0 } else { 0.0 }, &mut out);
        assert!(out[0] == out[1] && (out[0] - 0.2929).abs() < 0.001, "{out:?}");
        assert_eq!(&out[2..], [0.0, 0.0]);
    }

    #[test]
    fn channels_are_picked_as_they_are() {
        let tracks = [0.25, -0.5, 0.75, f32::NAN];
        let picked = |channels: Channels| {
            let mut out = Vec::new();
            channels.pick(1, |c, _| tracks[c], &mut out);
            out
        };
        assert_eq!(picked(Channels::mono(0)), [0.25, 0.25]);
        assert_eq!(picked(Channels::mono(1)), [-0.5, -0.5]);
        assert_eq!(picked(Channels { left: 2, right: 3 }), [0.75, 0.0]);
        assert_eq!(Channels::of(&[1]), Some(Channels::mono(1)));
        assert_eq!(Channels::of(&[2, 3]), Some(Channels { left: 2, right: 3 }));
        assert_eq!((Channels::of(&[]), Channels::of(&[0, 1, 2])), (None, None));
        assert!(
            Channels::mono(1).within(2) && !Channels::mono(1).within(1) && !Channels { left: 0, right: 3 }.within(3)
        );
    }

    #[test]
    fn garbage_becomes_silence_or_bounded() {
        let mut out = Vec::new();
        let input = [f32::NAN, f32::INFINITY, 1e30, -1e30];
        Matrix::new(by_count(1)).mix(4, |_, i| input[i], &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 1.5, 1.5, -1.5, -1.5]);
    }
}
