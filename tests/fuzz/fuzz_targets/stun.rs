//! STUN messages, as they arrive at the port from anybody.
#![no_main]

use boothcast::wire::stun::{Request, is_stun, success, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(request) = Request::parse(data) {
        assert!(is_stun(data));
        let _ = (request.local_fragment(), request.remote_fragment());
        assert!(!request.verify(|_| None));
        let _ = request.verify(|_| Some([0; 20]));
    }
    let _ = (success(data), verify(data, |_| Some([0; 20])));
});
