//! Decoder configurations as ffmpeg 5.1 writes them, for tests.

use bytes::Bytes;

/// Bytes from hexadecimal digits.
pub fn hex(digits: &str) -> Bytes {
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

/// x264 High, 1920×1080 (coded 1088 high), 25 fps, BT.709, two reorder frames.
pub const AVCC_1080P25: &str =
    "01640028ffe1001e67640028acd940780227e5c05a808080a0000003002000000641e30632c001000668ebe3cb22c0fdf8f800";
/// x264 High 4:4:4 Predictive, 640×360 in field coding, 30000/1001 fps.
pub const AVCC_INTERLACED_444: &str =
    "01f4001effe1001967f4001e919b28140c7e37011000003e90000ea601f142996001000668fba3c44844fff8f800";
/// x265 Main 10, 1920×1080, 50 fps.
pub const HVCC_1080P50_MAIN10: &str = "0102200000009000000000007bf000fcfdfafa00000f03a00001001840010c01ffff02200000030090000003000003007b959809\
    a10001002c42010102200000030090000003000003007ba003c08010e4d96566924caf0168080000030008000003019040a20001\
    00074401c172b46240";
/// x265 Main with scaling lists, 854×480 (coded 856 wide), 24 fps.
pub const HVCC_480P24_SCALING: &str = "0101600000009000000000005af000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003005a959809\
    a10001002a42010101600000030090000003000003005aa006b201e1d796566924e5780b4040000003004000000602a200010007\
    4401c172b46240";
/// SVT-AV1 Main, 1280×720, 10 bits.
pub const AV1C_720P_10BIT: &str = "81054c000a0b0000002d4cffb3c02f8404";
/// libaom Main, 854×480, 8 bits.
pub const AV1C_480P: &str = "81040c000a0b00000024c6abdf36be4010";
