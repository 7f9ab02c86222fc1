//! Transport streams, cut at any place: times stay within their clock, and the cuts change nothing.
#![no_main]

use boothcast::wire::mpegts::{Demux, Event, MAX_SOUND_STREAMS};
use libfuzzer_sys::fuzz_target;

fn read(data: &[u8], step: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut demux = Demux::new();
    for chunk in data.chunks(step) {
        demux.push(chunk, &mut |event| events.push(event));
    }
    demux.finish(&mut |event| events.push(event));
    events
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    let events = read(data, usize::from(*step) + 1);
    for event in &events {
        match event {
            Event::Video { dts, pts, .. } => assert!(*dts < 1 << 33 && *pts < 1 << 33),
            Event::Audio { track, pts, .. } => assert!(*pts < 1 << 33 && usize::from(*track) < MAX_SOUND_STREAMS),
            Event::Tracks(tracks) => assert!(tracks.len() <= MAX_SOUND_STREAMS),
            _ => {}
        }
    }
    // Where packets stand one behind the other, it does not matter how they came.
    if data.chunks_exact(188).all(|p| p[0] == 0x47) && data.len() % 188 == 0 {
        assert_eq!(read(data, data.len().max(1)), events);
    }
});
