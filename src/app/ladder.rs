//! From a source and an event's ladder to the rungs that the engine makes. Pure.

/// A rung by name: its short side in pixels and its bits per second at up to 30 frames per second.
/// The short side, so that a portrait source gets the same names as a landscape one.
const RUNGS: [(&str, u32, u64); 7] = [
    ("2160p", 2160, 14_000_000),
    ("1440p", 1440, 8_500_000),
    ("1080p", 1080, 5_000_000),
    ("720p", 720, 2_800_000),
    ("480p", 480, 1_400_000),
    ("360p", 360, 700_000),
    ("240p", 240, 350_000),
];

/// One rung to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Its name in URLs and menus.
    pub name: String,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Bits per second.
    pub bitrate: u64,
}

fn even(x: f64) -> u32 {
    ((x / 2.0).round() as u32 * 2).max(2)
}

/// The rungs of `names` for a source, largest first, each once and none above the source. A source below every named
/// rung gets one rung of its own size. More than 30 frames per second cost half as much again, as is usual for
/// broadcast ladders: twice the pictures, each closer to the last.
pub fn rungs(names: &[&str], width: u32, height: u32, fps: u32) -> Vec<Rung> {
    let (width, height) = (width.max(2), height.max(2));
    let short = width.min(height);
    let rate = |bitrate: u64| if fps > 30 { bitrate * 3 / 2 } else { bitrate };
    let sized = |name: &str, side: u32, bitrate: u64| {
        let factor = f64::from(side) / f64::from(short);
        Rung {
            name: name.to_owned(),
            width: even(f64::from(width) * factor),
            height: even(f64::from(height) * factor),
            bitrate: rate(bitrate),
        }
    };
    // A source cropped by a few lines (1072, 718) still counts as its rung, at its own size.
    let fits = |side: u32| u64::from(side) * 98 <= u64::from(short) * 100;
    let made: Vec<Rung> = RUNGS
        .iter()
        .filter(|(name, side, _)| fits(*side) && names.contains(name))
        .map(|&(name, side, bitrate)| sized(name, side.min(short), bitrate))
        .collect();
    if !made.is_empty() || !names.iter().any(|&n| n != "source") {
        return made;
    }
    let smallest = RUNGS[RUNGS.len() - 1];
    let pixels = f64::from(width) * f64::from(height) / (426.0 * 240.0);
    let bitrate = ((smallest.2 as f64 * pixels) as u64).clamp(100_000, smallest.2);
    let side = even(f64::from(short));
    vec![sized(&format!("{side}p"), side, bitrate)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 5] = ["1080p", "720p", "480p", "360p", "240p"];

    #[test]
    fn nothing_is_made_above_the_source() {
        let made = rungs(&ALL, 1280, 720, 25);
        let sizes: Vec<_> = made.iter().map(|r| (r.name.as_str(), r.width, r.height)).collect();
        assert_eq!(sizes, [("720p", 1280, 720), ("480p", 854, 480), ("360p", 640, 360), ("240p", 426, 240)]);
    }

    #[test]
    fn aspect_is_kept_and_sizes_are_even() {
        for (w, h) in [(1920, 1080), (1080, 1920), (720, 576), (1998, 1080), (853, 479), (1920, 800)] {
            for r in rungs(&ALL, w, h, 50) {
                assert_eq!((r.width % 2, r.height % 2), (0, 0), "{r:?}");
                let off = f64::from(r.width) / f64::from(r.height) / (f64::from(w) / f64::from(h));
                assert!((off - 1.0).abs() < 0.01, "{w}x{h}: {r:?}");
                assert!(r.width <= w + 1 && r.height <= h + 1, "{w}x{h}: {r:?}");
            }
        }
        assert_eq!(rungs(&["720p"], 1080, 1920, 25)[0].width, 720);
    }

    #[test]
    fn a_tiny_source_gets_one_rung_of_its_own() {
        let made = rungs(&ALL, 160, 120, 25);
        assert_eq!(made.len(), 1);
        assert_eq!((made[0].name.as_str(), made[0].width, made[0].height), ("120p", 160, 120));
        assert!(rungs(&["source"], 1920, 1080, 25).is_empty());
    }

    #[test]
    fn order_and_repeats_in_the_request_do_not_matter() {
        let made = rungs(&["360p", "720p", "360p"], 1920, 1080, 60);
        assert_eq!(made.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["720p", "360p"]);
        assert_eq!(made[0].bitrate, 4_200_000);
    }
}
