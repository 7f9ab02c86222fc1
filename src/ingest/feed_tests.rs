use super::*;

#[test]
fn frame_rates_are_what_is_meant() {
    assert_eq!(fraction(25.0), Some((25, 1)));
    assert_eq!(fraction(29.97), Some((30_000, 1001)));
    assert_eq!(fraction(23.976), Some((24_000, 1001)));
    assert_eq!(fraction(59.94), Some((60_000, 1001)));
    assert_eq!(fraction(12.5), Some((12_500, 1000)));
    assert_eq!(fraction(f64::NAN), None);
}
