//! A whole session after a plain handshake; every publish is accepted or refused by the first byte.
#![no_main]

use boothcast::media::Ts;
use boothcast::wire::rtmp::server::{Event, MAX_OUTPUT, ServerSession};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let mut session = ServerSession::new(Ts::ZERO);
    let mut input = BytesMut::from(&[3u8][..]);
    input.resize(1 + 2 * 1536, 0);
    input.extend_from_slice(data);
    let mut fresh = input.len();
    while let Ok(Some(event)) = session.next_event(Ts::ZERO, &mut input, std::mem::take(&mut fresh)) {
        if let Event::Publish(_) = event {
            let _ = if choice % 2 == 0 {
                session.accept(Ts::ZERO)
            } else {
                session.refuse("NetStream.Publish.BadName", "no")
            };
        }
        // The handshake's answer and one answer past the limit.
        assert!(session.take_output().len() <= MAX_OUTPUT + 8192);
    }
});
