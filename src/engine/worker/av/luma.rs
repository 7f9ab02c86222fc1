//! The luma of decoded pictures.

use crate::engine::content::{Luma, Samples};
use ac_ffmpeg::codec::video::VideoFrame;

/// How the first plane of a pixel format holds luma: bits per sample beyond 8, and whether black is 0; none where that is
/// not known (RGB).
fn layout(format: &str) -> Option<(Option<u32>, bool)> {
    let (name, beyond) = match format {
        f if f.ends_with("10le") => (f.strip_suffix("10le")?, Some(2)),
        f if f.ends_with("12le") => (f.strip_suffix("12le")?, Some(4)),
        f => (f, None),
    };
    let planar = ["yuv420p", "yuv422p", "yuv440p", "yuv444p", "nv12", "gray"].contains(&name);
    let full = ["yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"].contains(&name);
    (planar || full).then_some((beyond, full))
}

/// Looks at a decoded picture; false where its luma is not at hand.
pub fn sample(frame: &VideoFrame, into: &mut Samples) -> bool {
    let Some((beyond, full)) = layout(frame.pixel_format().name()) else { return false };
    let luma = Luma { width: frame.width(), height: frame.height(), beyond, full };
    let planes = frame.planes();
    into.take(luma, |y| planes[0].line(y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::content::PictureWatch;
    use crate::engine::worker::av::paint;
    use crate::media::Ts;

    #[test]
    fn formats_of_decoders_are_known() {
        assert_eq!(layout("yuv420p"), Some((None, false)));
        assert_eq!(layout("yuvj422p"), Some((None, true)));
        assert_eq!(layout("yuv420p10le"), Some((Some(2), false)));
        assert_eq!(layout("yuv444p12le"), Some((Some(4), false)));
        assert_eq!(layout("gray10le"), Some((Some(2), false)));
        for other in ["gbrp", "gbrp10le", "rgb24", "yuv420p10be", "yuyv422", ""] {
            assert_eq!(layout(other), None, "{other}");
        }
    }

    #[test]
    fn a_picture_of_libav_is_read_where_it_is() {
        let (mut samples, mut watch) = (Samples::default(), PictureWatch::default());
        let mut black = |luma: u8, lit: bool| {
            let frame = paint(640, 360, [luma, 128, 128], [235, 128, 128], |x, y| lit && x > 600 && y > 340);
            assert!(sample(&frame, &mut samples));
            watch.picture(Ts::ZERO, &samples).0.is_some()
        };
        assert!(black(16, false));
        assert!(!black(16, true), "a light in the last corner");
        assert!(!black(60, false));
    }
}
