//! Scaling and drawing pictures.

use super::{AvError, failed};
use ac_ffmpeg::codec::video::frame::PictureType;
use ac_ffmpeg::codec::video::scaler::Algorithm;
use ac_ffmpeg::codec::video::{self, VideoFrame, VideoFrameMut, VideoFrameScaler};

/// The pixel format of everything after the scaler.
fn yuv420p() -> video::PixelFormat {
    video::frame::get_pixel_format("yuv420p")
}

/// How wide a sample is shown to how high.
pub type Aspect = (u16, u16);

/// The usual sample.
pub const SQUARE: Aspect = (1, 1);

/// Pixels, and how they are shown.
#[derive(Clone)]
pub struct Shown {
    /// The pixels.
    pub frame: VideoFrame,
    /// The shape of a sample.
    pub aspect: Aspect,
}

impl Shown {
    /// A picture of square samples.
    pub fn square(frame: VideoFrame) -> Shown {
        Shown { frame, aspect: SQUARE }
    }
}

/// Scales pictures of any size and format onto one canvas without distorting them; what is left over is black.
pub struct Fit {
    width: usize,
    height: usize,
    scaler: Option<(SourceKey, (usize, usize), VideoFrameScaler)>,
}

type SourceKey = (usize, usize, video::PixelFormat, Aspect);

/// The size of a `w`×`h` picture on a `cw`×`ch` canvas, even; bars of less than 1 % are not drawn.
fn fitted(w: usize, h: usize, aspect: Aspect, cw: usize, ch: usize) -> (usize, usize) {
    let even = |v: f64| ((v / 2.0).round() as usize * 2).max(2);
    let w = w as f64 * f64::from(aspect.0) / f64::from(aspect.1.max(1));
    let scale = (cw as f64 / w).min(ch as f64 / h as f64);
    let (fw, fh) = (even(w * scale).min(cw), even(h as f64 * scale).min(ch));
    let snap = |fit: usize, canvas: usize| if (canvas - fit) * 100 < canvas { canvas } else { fit };
    (snap(fw, cw), snap(fh, ch))
}

impl Fit {
    /// Onto a canvas of this size, both even.
    pub fn new(width: usize, height: usize) -> Fit {
        Fit { width, height, scaler: None }
    }

    /// The picture on the canvas, in `yuv420p`, free of the decoder's picture type.
    ///
    /// # Errors
    /// [`AvError::Codec`] when libav cannot scale from this format.
    pub fn apply(&mut self, shown: &Shown) -> Result<VideoFrame, AvError> {
        let source = &shown.frame;
        let key = (source.width(), source.height(), source.pixel_format(), shown.aspect);
        if key == (self.width, self.height, yuv420p(), SQUARE) {
            // The decoder's picture type would force the encoder's: it is overwritten, at the price of a copy.
            return Ok(source.clone().into_mut().with_picture_type(PictureType::None).freeze());
        }
        if self.scaler.as_ref().is_none_or(|(k, ..)| *k != key) {
            let inner = fitted(key.0, key.1, key.3, self.width, self.height);
            let scaler = VideoFrameScaler::builder()
                .source_pixel_format(key.2)
                .source_width(key.0)
                .source_height(key.1)
                .target_pixel_format(yuv420p())
                .target_width(inner.0)
                .target_height(inner.1)
                .algorithm(Algorithm::Bicubic)
                .build()
                .map_err(failed)?;
            self.scaler = Some((key, inner, scaler));
        }
        let Some((_, inner, scaler)) = &mut self.scaler else { return Err(failed("no scaler")) };
        let scaled = scaler.scale(source).map_err(failed)?;
        if *inner == (self.width, self.height) {
            return Ok(scaled);
        }
        let mut canvas = VideoFrameMut::black(yuv420p(), self.width, self.height);
        let (left, top) = ((self.width - inner.0) / 4 * 2, (self.height - inner.1) / 4 * 2);
        let from = scaled.planes();
        let mut to = canvas.planes_mut();
        for plane in 0..3 {
            let half = usize::from(plane > 0);
            let (w, h, x, y) = (inner.0 >> half, inner.1 >> half, left >> half, top >> half);
            for line in 0..h {
                if let (Some(src), Some(dst)) = (from[plane].line(line), to[plane].line_mut(y + line))
                    && let (Some(src), Some(dst)) = (src.get(..w), dst.get_mut(x..x + w))
                {
                    dst.copy_from_slice(src);
                }
            }
        }
        Ok(canvas.freeze())
    }
}

/// A picture of one colour with `ink` where `inked(x, y)`; colours are Y, Cb, Cr.
pub fn paint(
    width: usize,
    height: usize,
    ground: [u8; 3],
    ink: [u8; 3],
    inked: impl Fn(usize, usize) -> bool,
) -> VideoFrame {
    let mut frame = VideoFrameMut::black(yuv420p(), width, height);
    let mut planes = frame.planes_mut();
    for plane in 0..3 {
        let step = if plane == 0 { 1 } else { 2 };
        for y in 0..height / step {
            let Some(line) = planes[plane].line_mut(y) else { continue };
            for (x, pixel) in line.iter_mut().enumerate().take(width / step) {
                *pixel = if inked(x * step, y * step) { ink[plane] } else { ground[plane] };
            }
        }
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape_on_the_canvas() {
        assert_eq!(fitted(1920, 1080, SQUARE, 1280, 720), (1280, 720));
        assert_eq!(fitted(1920, 1088, SQUARE, 1280, 720), (1280, 720), "bars of less than 1 % are not drawn");
        assert_eq!(fitted(1440, 1080, SQUARE, 1280, 720), (960, 720), "4:3 gets bars at its sides");
        assert_eq!(fitted(1440, 1080, (4, 3), 1280, 720), (1280, 720), "HDV is 16:9");
        assert_eq!(fitted(720, 576, (64, 45), 1024, 576), (1024, 576), "as is wide PAL");
        assert_eq!(fitted(720, 576, (16, 15), 768, 576), (768, 576));
        assert_eq!(fitted(16, 16, (1, 0), 64, 64), (64, 64));
    }
}
