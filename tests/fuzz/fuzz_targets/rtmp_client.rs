//! A server's bytes after a plain handshake: the client's session ends, waits or hands out media, within its bounds. By the first
//! byte the set-up is answered first, so that what follows is met while playing.
#![no_main]

use boothcast::media::Ts;
use boothcast::wire::rtmp::client::{ClientSession, Play};
use boothcast::wire::rtmp::server::MAX_OUTPUT;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// `_result` of a transaction in one chunk; with a stream's number.
fn result(transaction: f64) -> Vec<u8> {
    let mut body = vec![2, 0, 7];
    body.extend(b"_result");
    body.push(0);
    body.extend(transaction.to_be_bytes());
    body.push(5);
    body.push(0);
    body.extend(1f64.to_be_bytes());
    let mut out = vec![3, 0, 0, 0, 0, 0, body.len() as u8, 20, 0, 0, 0, 0];
    out.extend(body);
    out
}

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let Some(play) = Play::of("rtmp", "host:1935", "/live/stream", None) else { return };
    let Ok(mut session) = ClientSession::new(play, Ts::ZERO) else { return };
    let mut input = BytesMut::from(&[3u8][..]);
    input.resize(1 + 2 * 1536, 0);
    if choice % 2 == 0 {
        input.extend_from_slice(&result(1.0));
        input.extend_from_slice(&result(2.0));
    }
    input.extend_from_slice(data);
    let mut fresh = input.len();
    while let Ok(Some(_)) = session.next_event(Ts::ZERO, &mut input, std::mem::take(&mut fresh)) {
        // The handshake's answer and one answer past the limit.
        assert!(session.take_output().len() <= MAX_OUTPUT + 8192);
    }
});
