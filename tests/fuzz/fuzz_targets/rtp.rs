//! RTP headers, H.264 payloads, RTCP: what is put together can be taken apart, and nothing is held that may not be.
#![no_main]

use boothcast::media::Ts;
use boothcast::wire::bitstream::nal;
use boothcast::wire::rtp::h264::{Depacketizer, MAX_UNIT};
use boothcast::wire::rtp::receive::Reception;
use boothcast::wire::rtp::{Header, is_rtcp, rtcp, rtx};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut depacketizer = Depacketizer::default();
    let mut reception = Reception::new(90_000);
    let mut rest = data;
    // Packets of the lengths that the input says.
    while let Some((length, after)) = rest.split_first() {
        let (packet, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        if is_rtcp(packet) {
            let _ = rtcp::parse(packet);
            continue;
        }
        let Some((header, range)) = Header::parse(packet) else { continue };
        let payload = &packet[range];
        let _ = rtx::parse(payload);
        let arrival = Ts::from_millis(i64::from(header.timestamp));
        let place = reception.packet(header.sequence, header.timestamp, payload.len(), arrival);
        if place.skipped > 0 {
            depacketizer.lost();
        }
        for unit in depacketizer.push(place.timestamp, header.marker, payload).flatten() {
            assert!(unit.data.len() <= MAX_UNIT);
            assert!(nal::length_prefixed(&unit.data, 4).all(|n| n.is_ok()));
        }
        let figures = reception.report();
        assert!((-0x80_0000..=0x7f_ffff).contains(&figures.lost));
    }
    let _ = rtcp::parse(data);
});
