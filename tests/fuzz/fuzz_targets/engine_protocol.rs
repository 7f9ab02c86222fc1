//! Messages of a codec process that has been taken over, and of the daemon: what decodes is written again as it was.
#![no_main]

use boothcast::engine::protocol::{Frame, FromEngine, ToEngine, check_length};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// The message without its length, which counts what follows it.
fn body(frame: &Frame) -> Bytes {
    let bytes = [&frame.head[..], &frame.tail[..]].concat();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap_or_default());
    assert_eq!(check_length(length), Ok(bytes.len() - 4));
    Bytes::from(bytes).slice(4..)
}

fuzz_target!(|data: &[u8]| {
    let data = Bytes::copy_from_slice(data);
    if let Ok(message) = FromEngine::decode(data.clone()) {
        let again = body(&message.encode());
        assert_eq!(FromEngine::decode(again.clone()).map(|m| body(&m.encode())), Ok(again));
    }
    if let Ok(message) = ToEngine::decode(data) {
        let again = body(&message.encode());
        assert_eq!(ToEngine::decode(again.clone()).map(|m| body(&m.encode())), Ok(again));
    }
});
