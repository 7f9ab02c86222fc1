//! The configuration file and language tags: what is refused says where and why.
#![no_main]

use boothcast::config;
use boothcast::wire::language;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = config::parse(text, std::iter::empty::<(String, String)>()) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(tag) = language::canonical(text) {
        assert_eq!(language::canonical(&tag).ok().as_deref(), Some(tag.as_str()));
        assert!(!language::autonym(&tag).is_empty() && language::iso639_2(&tag).len() == 3);
    }
});
