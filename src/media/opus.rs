//! What an Opus packet says of itself (RFC 6716 §3): how long it sounds, and whether it carries the one before once more.
//!
//! Here because both sides of the layers read it: who takes packets off the wire, and the engine that decodes them.

/// Samples per channel at 48 kHz in a packet (RFC 6716 §3.1, §3.2): none for an empty one or one longer than the 120 ms that
/// are allowed.
pub fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        // SILK 10, 20, 40, 60 ms; hybrid 10, 20 ms; CELT 2.5, 5, 10, 20 ms.
        c @ 0..=11 => [480, 960, 1920, 2880][usize::from(c & 3)],
        c @ 12..=15 => [480, 960][usize::from(c & 1)],
        c => [120, 240, 480, 960][usize::from(c & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|&n| n > 0 && n <= 5760)
}

/// Whether an Opus packet carries the one before it once more, at a lower rate: the LBRR flag of its first SILK frame (RFC
/// 6716 §4.2.4), of either channel. What CELT alone has coded carries none.
pub fn recovers(data: &[u8]) -> bool {
    let Some(&toc) = data.first() else { return false };
    // How many SILK frames the first Opus frame is made of: one VAD flag each stands before the LBRR flag.
    let frames = match toc >> 3 {
        config @ 0..12 => [1, 1, 2, 3][usize::from(config & 3)],
        12..16 => 1,
        _ => return false,
    };
    let Some(&flags) = first_frame(data).and_then(|at| data.get(at)) else { return false };
    let flag = |at: u32| flags >> at & 1 == 1;
    let stereo = toc & 4 != 0;
    flag(7 - frames) || (stereo && flag(6 - 2 * frames))
}

/// Where the first frame of an Opus packet begins (RFC 6716 §3.2).
fn first_frame(data: &[u8]) -> Option<usize> {
    let length = |at: usize| Some(if *data.get(at)? < 252 { 1 } else { 2 });
    match data.first()? & 3 {
        0 | 1 => Some(1),
        2 => Some(1 + length(1)?),
        _ => {
            let head = data.get(1)?;
            let mut at = 2;
            if head & 0x40 != 0 {
                at += data.get(at..)?.iter().take_while(|&&padding| padding == 255).count() + 1;
            }
            if head & 0x80 != 0 {
                for _ in 1..head & 0x3f {
                    at += length(at)?;
                }
            }
            Some(at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_opus_packets() {
        let toc = |config: u8, code: u8| config << 3 | code;
        for (packet, samples) in [
            (&[toc(31, 0)][..], Some(960)),
            (&[toc(16, 0)], Some(120)),
            (&[toc(1, 1)], Some(1920)),
            (&[toc(3, 2)], Some(5760)),
            (&[toc(13, 0)], Some(960)),
            (&[toc(31, 3), 6], Some(5760)),
            (&[toc(31, 3), 7], None),
            (&[toc(31, 3), 0], None),
            (&[toc(31, 3)], None),
            (&[], None),
        ] {
            assert_eq!(super::samples(packet), samples, "{packet:?}");
        }
    }

    #[test]
    fn what_a_packet_carries_of_the_one_before() {
        // SILK of 10, 20, 40, 60 ms: after one, one, two, three flags of voice.
        for (config, lbrr) in [(8, 0x40), (9, 0x40), (10, 0x20), (11, 0x10), (13, 0x40)] {
            assert!(recovers(&[config << 3, lbrr]) && !recovers(&[config << 3, !lbrr]), "{config}");
        }
        // The second channel's, after the first one's.
        assert!(recovers(&[9 << 3 | 4, 0x10]) && !recovers(&[9 << 3, 0x10]));
        // CELT, and nothing.
        assert!(!recovers(&[31 << 3, 0xff]) && !recovers(&[9 << 3]) && !recovers(&[]));
        // Two frames with a length; three with padding and lengths of one and two bytes.
        assert!(recovers(&[9 << 3 | 2, 1, 0x40, 0]) && !recovers(&[9 << 3 | 2, 0x40, 0, 0]));
        assert!(recovers(&[9 << 3 | 3, 0xc3, 255, 1, 1, 252, 0, 0x40]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(data in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (samples(&data), recovers(&data));
        }
    }
}
