//! What an RTSP server sends, as it passes: the same however it is cut.
#![no_main]

use boothcast::wire::rtsp::{Error, Inspector};
use libfuzzer_sys::fuzz_target;

fn inspect(data: &[u8], step: usize) -> (Result<(), Error>, Option<String>) {
    let mut inspector = Inspector::new();
    let result = data.chunks(step).try_for_each(|piece| inspector.push(piece));
    (result, inspector.redirect().map(str::to_owned))
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(inspect(data, data.len().max(1)), inspect(data, 3));
});
