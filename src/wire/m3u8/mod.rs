//! Playlists of HTTP Live Streaming (RFC 8216bis, draft-pantos-hls-rfc8216bis), written by hand.
//!
//! **Role.** Values in, text out; what to list is the caller's. Every URI carries the caller's [`Suffix`], every string
//! from outside is made fit for an attribute, and tags stand in the order that the specification asks for.

mod media;
mod multivariant;
mod steering;

pub use media::{Header, IFrames, MediaPlaylist, PartLine, Report, SegmentLine};
pub use multivariant::{Multivariant, Rendition, RenditionType, Variant};
pub use steering::{Pathway, Steering};

use crate::media::{Dur, Ts};
use std::fmt::Write;

/// The version that playlists declare: EXT-X-SKIP asks for 9 (RFC 8216bis §8), nothing else for more.
pub const VERSION: u32 = 9;

/// What every child URI ends with: nothing, or a query with a viewing token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffix(String);

impl Suffix {
    /// No query.
    pub fn none() -> Suffix {
        Suffix::default()
    }

    /// `?key=value`, percent-encoded.
    pub fn query(key: &str, value: &str) -> Suffix {
        let mut out = String::from("?");
        encode(key, &mut out);
        out.push('=');
        encode(value, &mut out);
        Suffix(out)
    }

    /// As appended to a URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A rendition's name as a path segment.
fn path(name: &str, out: &mut String) {
    encode(name, out);
}

/// The text of a quoted-string: no quotes, no line feeds (§4.2), no control characters (§4.1), which become spaces.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push('\''),
            '\u{feff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A quoted-string attribute.
fn text(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, ",{name}=");
    quoted(value, out);
}

/// Seconds as decimal-floating-point, to the microsecond, without needless zeros. Rounded to nearest: a duration that is
/// declared and the target that bounds it round alike.
fn seconds(duration: Dur, out: &mut String) {
    let micros = duration.to_scale(1_000_000).max(0);
    let _ = write!(out, "{}", micros / 1_000_000);
    let mut fraction = micros % 1_000_000;
    if fraction > 0 {
        let mut digits = 6;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        let _ = write!(out, ".{fraction:0digits$}");
    }
}

/// An ISO 8601 date in UTC with milliseconds, with microseconds where milliseconds would not be exact.
pub fn date_time(at: Ts) -> String {
    let mut out = String::with_capacity(28);
    date(at, &mut out);
    out
}

fn date(at: Ts, out: &mut String) {
    let micros = at.to_scale(1_000_000);
    let (days, in_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    // Civil date from days since 1970-01-01, in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (second, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
    let _ =
        write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    if fraction % 1000 == 0 {
        let _ = write!(out, ".{:03}Z", fraction / 1000);
    } else {
        let _ = write!(out, ".{fraction:06}Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_over_centuries() {
        for (micros, want) in [
            (0i64, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_786_000_000_123_000, "2026-08-06T07:06:40.123Z"),
            (1_786_000_000_123_456, "2026-08-06T07:06:40.123456Z"),
            (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
            (-1_000, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(date_time(Ts::from_scale(micros, 1_000_000)), want);
        }
        // Against an independent calendar, a day in each month of 130 years.
        for month in 0..1560i64 {
            let seconds = month * 2_629_800;
            let theirs = time::OffsetDateTime::from_unix_timestamp(seconds).expect("in range");
            let ours = date_time(Ts::from_scale(seconds, 1));
            assert_eq!(ours[..10], theirs.date().to_string(), "{seconds}");
        }
    }

    #[test]
    fn seconds_are_short_and_exact() {
        let text = |d: Dur| {
            let mut out = String::new();
            seconds(d, &mut out);
            out
        };
        assert_eq!(text(Dur::from_millis(1920)), "1.92");
        assert_eq!(text(Dur::from_secs(2)), "2");
        assert_eq!(text(Dur::from_scale(16, 30)), "0.533333");
        assert_eq!(text(Dur::from_scale(1, 1_000_000)), "0.000001");
        assert_eq!(text(-Dur::from_secs(1)), "0");
    }

    #[test]
    fn hostile_strings_stay_inside_their_attribute() {
        let mut out = String::new();
        text(&mut out, "NAME", "a\",URI=\"http://evil\r\n#EXTINF\u{85}\u{feff}b");
        assert_eq!(out, ",NAME=\"a',URI='http://evil  #EXTINF b\"");
        assert_eq!(Suffix::query("preview", "a&b\"=\n/").as_str(), "?preview=a%26b%22%3D%0A%2F");
    }
}
