//! The chunk reader: bounded memory, and the same messages however the bytes are cut.
#![no_main]

use boothcast::wire::rtmp::chunk::{ChunkReader, Error, MAX_BYTES, Message};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fn read(data: &[u8], step: usize) -> (Vec<Message>, Option<Error>) {
    let mut reader = ChunkReader::new();
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    for piece in data.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match reader.next_message(&mut input) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(input.len() < 18 && reader.pending() <= MAX_BYTES);
    }
    (found, None)
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(read(data, data.len().max(1)), read(data, 7));
});
