//! Paths and queries of viewers: what is accepted has one spelling and nothing in it that could leave its place.
#![no_main]

use boothcast::deliver::hls::address::{self, Item, MAX_TOKEN, Resource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    if let Some((event, resource)) = address::parse(path) {
        assert!(address::is_name(event));
        let rest = match resource {
            Resource::Index => "index.m3u8".to_owned(),
            Resource::Manifest => "manifest.mpd".to_owned(),
            Resource::Steering => "steering.json".to_owned(),
            Resource::Rendition(name, item) => {
                assert!(address::is_name(name));
                let file = match item {
                    Item::Media => "media.m3u8".to_owned(),
                    Item::IFrames => "iframes.m3u8".to_owned(),
                    Item::Init(version) => format!("init-{version}.mp4"),
                    Item::Segment(number) => format!("{number}.m4s"),
                    Item::Part(number, part) => format!("{number}.{part}.m4s"),
                };
                format!("{name}/{file}")
            }
        };
        assert_eq!(format!("/live/{event}/{rest}"), path);
    }
    if let Ok(query) = address::query(query) {
        assert!(query.part.is_none() || query.msn.is_some());
        if let Some((_, token)) = query.token {
            assert!(token.len() <= MAX_TOKEN && !token.contains(['"', '\n', '&', '/', '<']));
        }
    }
});
