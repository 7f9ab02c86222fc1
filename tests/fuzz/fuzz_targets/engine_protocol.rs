//! Whatever message is read between the daemon and the engine process is written and read again the same.
#![no_main]

use boothcast::engine::protocol::{Frame, FromEngine, ToEngine};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fn body(frame: &Frame) -> Bytes {
    [&frame.head[4..], &frame.tail[..]].concat().into()
}

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    if let Ok(read) = FromEngine::decode(message.clone()) {
        let written = body(&read.encode());
        let again = FromEngine::decode(written.clone()).expect("what was written is readable");
        assert_eq!(body(&again.encode()), written);
    }
    if let Ok(read) = ToEngine::decode(message) {
        let written = body(&read.encode());
        let again = ToEngine::decode(written.clone()).expect("what was written is readable");
        assert_eq!(body(&again.encode()), written);
    }
});
