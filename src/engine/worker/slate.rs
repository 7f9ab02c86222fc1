//! The picture that stands where there is no input: the event's image, or a card made here.

use super::av::{Fit, Frame, Shown, decode_still, paint};
use crate::engine::SlateConfig;

/// Glyph columns, five per character from space to `Z`, least significant bit on top: the 5 × 7 dot matrix of
/// character displays.
#[rustfmt::skip]
const FONT: [[u8; 5]; 59] = [
    [0x00,0x00,0x00,0x00,0x00],[0x00,0x00,0x5f,0x00,0x00],[0x00,0x07,0x00,0x07,0x00],[0x14,0x7f,0x14,0x7f,0x14],
    [0x24,0x2a,0x7f,0x2a,0x12],[0x23,0x13,0x08,0x64,0x62],[0x36,0x49,0x56,0x20,0x50],[0x00,0x08,0x07,0x03,0x00],
    [0x00,0x1c,0x22,0x41,0x00],[0x00,0x41,0x22,0x1c,0x00],[0x2a,0x1c,0x7f,0x1c,0x2a],[0x08,0x08,0x3e,0x08,0x08],
    [0x00,0x40,0x30,0x10,0x00],[0x08,0x08,0x08,0x08,0x08],[0x00,0x00,0x60,0x60,0x00],[0x20,0x10,0x08,0x04,0x02],
    [0x3e,0x51,0x49,0x45,0x3e],[0x00,0x42,0x7f,0x40,0x00],[0x72,0x49,0x49,0x49,0x46],[0x21,0x41,0x49,0x4d,0x33],
    [0x18,0x14,0x12,0x7f,0x10],[0x27,0x45,0x45,0x45,0x39],[0x3c,0x4a,0x49,0x49,0x31],[0x41,0x21,0x11,0x09,0x07],
    [0x36,0x49,0x49,0x49,0x36],[0x46,0x49,0x49,0x29,0x1e],[0x00,0x00,0x14,0x00,0x00],[0x00,0x40,0x34,0x00,0x00],
    [0x00,0x08,0x14,0x22,0x41],[0x14,0x14,0x14,0x14,0x14],[0x00,0x41,0x22,0x14,0x08],[0x02,0x01,0x59,0x09,0x06],
    [0x3e,0x41,0x5d,0x59,0x4e],[0x7c,0x12,0x11,0x12,0x7c],[0x7f,0x49,0x49,0x49,0x36],[0x3e,0x41,0x41,0x41,0x22],
    [0x7f,0x41,0x41,0x41,0x3e],[0x7f,0x49,0x49,0x49,0x41],[0x7f,0x09,0x09,0x09,0x01],[0x3e,0x41,0x41,0x51,0x73],
    [0x7f,0x08,0x08,0x08,0x7f],[0x00,0x41,0x7f,0x41,0x00],[0x20,0x40,0x41,0x3f,0x01],[0x7f,0x08,0x14,0x22,0x41],
    [0x7f,0x40,0x40,0x40,0x40],[0x7f,0x02,0x1c,0x02,0x7f],[0x7f,0x04,0x08,0x10,0x7f],[0x3e,0x41,0x41,0x41,0x3e],
    [0x7f,0x09,0x09,0x09,0x06],[0x3e,0x41,0x51,0x21,0x5e],[0x7f,0x09,0x19,0x29,0x46],[0x26,0x49,0x49,0x49,0x32],
    [0x03,0x01,0x7f,0x01,0x03],[0x3f,0x40,0x40,0x40,0x3f],[0x1f,0x20,0x40,0x20,0x1f],[0x3f,0x40,0x38,0x40,0x3f],
    [0x63,0x14,0x08,0x14,0x63],[0x03,0x04,0x78,0x04,0x03],[0x61,0x59,0x49,0x4d,0x43],
];

/// The text's characters as the font has them: capitals, accents taken off.
fn glyph(c: char) -> usize {
    let plain = match c.to_uppercase().next().unwrap_or(c) {
        'À'..='Å' => 'A',
        'Ç' => 'C',
        'È'..='Ë' => 'E',
        'Ì'..='Ï' => 'I',
        'Ñ' => 'N',
        'Ò'..='Ö' | 'Ø' => 'O',
        'Ù'..='Ü' => 'U',
        'Ý' => 'Y',
        '–' | '—' => '-',
        '’' => '\'',
        other => other,
    };
    match u32::from(plain).checked_sub(32) {
        Some(i) if (i as usize) < FONT.len() => i as usize,
        _ => usize::from(b'?' - b' '),
    }
}

/// Words on lines of at most `columns` characters; longer words are cut.
fn wrap(text: &str, columns: usize) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = Vec::new();
    for word in text.split_whitespace() {
        let word: Vec<usize> = word.chars().map(glyph).collect();
        for piece in word.chunks(columns.max(1)) {
            match lines.last_mut() {
                Some(line) if line.len() + 1 + piece.len() <= columns => {
                    line.push(0);
                    line.extend(piece);
                }
                _ => lines.push(piece.to_vec()),
            }
        }
    }
    lines
}

/// BT.709 limited-range Y, Cb, Cr of a colour (ITU-R BT.709-6 §3).
fn ycbcr([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (r, g, b) = (f32::from(r) / 255.0, f32::from(g) / 255.0, f32::from(b) / 255.0);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let scaled = [16.0 + 219.0 * y, 128.0 + 224.0 * (b - y) / 1.8556, 128.0 + 224.0 * (r - y) / 1.5748];
    scaled.map(|v| v.round().clamp(0.0, 255.0) as u8)
}

/// The slate at this size. A file that is not a picture is reported and the card takes its place.
pub fn make(config: &SlateConfig, width: usize, height: usize, complain: impl Fn(String)) -> Frame {
    if let Some(file) = &config.picture {
        match decode_still(file).and_then(|still| Fit::new(width, height).apply(&Shown::square(still))) {
            Ok(frame) => return frame,
            Err(e) => complain(format!("the slate's picture cannot be used: {e}")),
        }
    }
    card(config, width, height)
}

fn card(config: &SlateConfig, width: usize, height: usize) -> Frame {
    let ground = ycbcr(config.colour);
    let ink = if ground[0] < 128 { [235, 128, 128] } else { [16, 128, 128] };
    let dot = (height / 100).max(1);
    let (columns, line_height) = (width * 8 / 10 / (6 * dot), 10 * dot);
    let mut lines = wrap(&config.text, columns);
    lines.truncate(height * 8 / 10 / line_height);
    let top = (height - lines.len() * line_height) / 2;
    paint(width, height, ground, ink, |x, y| {
        let Some(line) = y.checked_sub(top).and_then(|y| lines.get(y / line_height)) else { return false };
        let left = (width - (line.len() * 6 * dot).min(width)) / 2;
        let Some(x) = x.checked_sub(left) else { return false };
        let (column, row) = (x / dot, (y - top) % line_height / dot);
        let Some(&glyph) = line.get(column / 6) else { return false };
        column % 6 < 5 && row < 7 && FONT[glyph][column % 6] >> row & 1 == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luma(frame: &Frame) -> Vec<Vec<u8>> {
        let planes = frame.planes();
        (0..frame.height()).filter_map(|y| planes[0].line(y).map(|l| l[..frame.width()].to_vec())).collect()
    }

    #[test]
    fn the_card_shows_its_text_in_its_colour() {
        let config = SlateConfig { text: "Wir sind gleich zurück".into(), ..SlateConfig::default() };
        let frame = make(&config, 640, 360, |e| panic!("{e}"));
        let picture = luma(&frame);
        let ink = picture.iter().flatten().filter(|&&p| p > 200).count();
        assert!((500..20_000).contains(&ink), "{ink} pixels of text");
        assert_eq!(picture[2][2], ycbcr(config.colour)[0]);
        assert_eq!(ycbcr([255, 255, 255]), [235, 128, 128]);
        assert_eq!(ycbcr([255, 0, 0]), [63, 102, 240]);
    }

    #[test]
    fn long_text_is_wrapped_and_cut_and_strange_text_does_no_harm() {
        for text in ["x".repeat(5000), "word ".repeat(900), "日本語 🎙 \u{0} \u{10ffff}".into(), String::new()] {
            let config = SlateConfig { text, colour: [255; 3], ..SlateConfig::default() };
            for (w, h) in [(1920, 1080), (32, 32), (16, 16)] {
                assert_eq!(make(&config, w, h, |e| panic!("{e}")).width(), w);
            }
        }
    }

    #[test]
    fn a_file_that_is_no_picture_is_reported_and_the_card_stands_in() {
        let complaints = std::cell::Cell::new(0);
        for file in [&b"no picture"[..], b"\x89PNG\r\n\x1a\n garbage", b"\xff\xd8\xff garbage"] {
            let config = SlateConfig { picture: Some(bytes::Bytes::from_static(file)), ..SlateConfig::default() };
            make(&config, 64, 64, |_| complaints.set(complaints.get() + 1));
        }
        assert_eq!(complaints.get(), 3);
    }
}
