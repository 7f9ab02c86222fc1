//! Low latency: blocking reload, hints, delta updates; what playlists say.

use super::*;
use std::io::Read;

#[tokio::test]
async fn a_blocking_reload_is_held_until_its_part_is_there() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let (number, _) = bed.next;
    let next = bed.hold(&format!("720p/media.m3u8?_HLS_msn={number}&_HLS_part=0"));
    let second = bed.hold(&format!("720p/media.m3u8?_HLS_msn={number}&_HLS_part=1"));
    let complete = bed.hold(&format!("720p/media.m3u8?_HLS_msn={number}"));
    let hint = bed.hold(&format!("720p/{number}.0.m4s"));
    bed.clock.run(Dur::from_millis(10)).await;
    assert!(!next.is_finished() && !second.is_finished() && !complete.is_finished() && !hint.is_finished());
    bed.feed(1);
    let next = next.await.expect("answered");
    assert_eq!(next.status, StatusCode::OK);
    assert!(next.text().contains(&format!("\"{number}.0.m4s\"")), "{}", next.text());
    assert!(next.text().contains(&format!("URI=\"{number}.1.m4s\"")), "the next one is hinted at: {}", next.text());
    assert_eq!(next.header("cache-control"), "public, max-age=12");
    let hint = hint.await.expect("answered");
    assert_eq!((hint.status, &hint.body), (StatusCode::OK, &payload(number, 0)));
    bed.clock.run(Dur::ZERO).await;
    assert!(!second.is_finished() && !complete.is_finished());
    bed.feed(5);
    assert_eq!(second.await.expect("answered").status, StatusCode::OK);
    assert_eq!(complete.await.expect("answered").numbers().last(), Some(&number));
    // What is there is answered at once, and its URL means nothing for long.
    let old = bed.get(&format!("720p/media.m3u8?_HLS_msn={}", number - 2)).await;
    assert_eq!(old.header("cache-control"), "public, max-age=1");
}

#[tokio::test]
async fn waiting_has_bounds() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let (number, _) = bed.next;
    for query in [
        format!("_HLS_msn={}", number + 2),
        format!("_HLS_msn={}&_HLS_part=0", u64::MAX),
        "_HLS_part=1".to_owned(),
        "_HLS_msn=x".to_owned(),
    ] {
        let answer = bed.get(&format!("720p/media.m3u8?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.text().contains("_HLS_"), "{}", answer.text());
    }
    assert_eq!(bed.get(&format!("720p/{}.0.m4s", number + 1)).await.status, StatusCode::NOT_FOUND, "no hint");
    let held = [
        bed.hold(&format!("720p/media.m3u8?_HLS_msn={number}&_HLS_part=0")),
        bed.hold(&format!("720p/{number}.0.m4s")),
    ];
    bed.clock.run(Dur::from_millis(5990)).await;
    assert!(held.iter().all(|h| !h.is_finished()));
    bed.clock.run(Dur::from_millis(20)).await;
    for held in held {
        let answer = held.await.expect("answered");
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::SERVICE_UNAVAILABLE, "no-store"));
    }
    assert_eq!(bed.origin.shared.held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_daemon_that_stops_tells_held_requests_to_come_again() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let (number, _) = bed.next;
    let paths = [format!("720p/media.m3u8?_HLS_msn={number}&_HLS_part=0"), format!("720p/{number}.0.m4s")];
    let held = paths.each_ref().map(|path| bed.hold(path));
    bed.clock.run(Dur::from_millis(1)).await;
    assert!(held.iter().all(|h| !h.is_finished()));
    bed.origin.drain();
    let late = paths.each_ref().map(|path| bed.hold(path));
    // No time passes: nobody waits any longer.
    for held in held.into_iter().chain(late) {
        let answer = held.await.expect("answered");
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    }
    assert_eq!(bed.get("720p/media.m3u8").await.status, StatusCode::OK, "what is there is served");
    // Even when the event is taken down in the same moment, and only then is it gone.
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let held = bed.hold(&paths[0]);
    bed.clock.run(Dur::from_millis(1)).await;
    bed.origin.drain();
    drop(bed.event.take());
    assert_eq!(held.await.expect("answered").status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bed.get("720p/media.m3u8").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_thousand_held_requests_share_one_playlist() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let path = format!("720p/media.m3u8?_HLS_msn={}&_HLS_part=0", bed.next.0);
    let held: Vec<_> = (0..1000).map(|_| bed.hold(&path)).collect();
    bed.clock.run(Dur::from_millis(1)).await;
    assert_eq!(bed.origin.shared.held.load(Ordering::Relaxed), 1000);
    bed.feed(1);
    let mut bodies = Vec::new();
    for held in held {
        bodies.push(held.await.expect("answered").body);
    }
    assert!(bodies.windows(2).all(|w| w[0].as_ptr() == w[1].as_ptr()), "rendered once");
}

#[tokio::test]
async fn a_delta_update_leaves_out_what_the_player_has() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut bed = Bed::on(Dur::from_secs(300), Some(dir.path()), Arc::new(disk::System)).await;
    bed.open();
    for _ in 0..100 {
        bed.segments(1);
        bed.stored().await;
    }
    let full = bed.get("720p/media.m3u8").await;
    let delta = bed.get("720p/media.m3u8?_HLS_skip=YES").await;
    let skipped: usize = delta
        .text()
        .lines()
        .find_map(|l| l.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="))
        .and_then(|n| n.parse().ok())
        .expect("a skip tag");
    assert_eq!(skipped + delta.numbers().len(), full.numbers().len());
    assert_eq!(delta.numbers(), full.numbers()[skipped..]);
    assert!(delta.body.len() * 2 < full.body.len(), "{} {}", delta.body.len(), full.body.len());
}

#[tokio::test]
async fn playlists_are_what_the_parser_takes_for_them() {
    use quick_m3u8::tag::{KnownTag, hls};
    use quick_m3u8::{HlsLine, Reader, config::ParsingOptionsBuilder};
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.add(video("360p")).await;
    bed.add(sound("de", false)).await;
    bed.open();
    bed.segments(6);
    bed.feed(2);
    let options = || ParsingOptionsBuilder::new().with_parsing_for_all_tags().build();
    for path in ["index.m3u8", "720p/media.m3u8", "720p/media.m3u8?_HLS_skip=YES", "720p/iframes.m3u8", "de/media.m3u8"]
    {
        let answer = bed.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), "application/vnd.apple.mpegurl");
        let mut reader = Reader::from_str(answer.text(), options());
        let (mut parts, mut reports, mut streams, mut sounds) = (0, 0, 0, 0);
        while let Some(line) = reader.read_line().unwrap_or_else(|e| panic!("{path}: {e:?}\n{}", answer.text())) {
            match line {
                HlsLine::UnknownTag(tag) => panic!("{path}: {tag:?}"),
                HlsLine::KnownTag(KnownTag::Hls(tag)) => match tag {
                    hls::Tag::Part(_) => parts += 1,
                    hls::Tag::RenditionReport(_) => reports += 1,
                    hls::Tag::StreamInf(_) => streams += 1,
                    hls::Tag::Media(_) => sounds += 1,
                    _ => {}
                },
                _ => {}
            }
        }
        match path {
            // Two pictures, and sound alone.
            "index.m3u8" => assert_eq!((streams, sounds), (3, 2)),
            "720p/iframes.m3u8" => assert_eq!(parts, 0),
            _ => assert!(parts >= 2 && reports == 3, "{path}: {parts} {reports}"),
        }
    }
    // A language that is taken away leaves the index; players that have it keep it.
    bed.event().list_sounds(&["floor"]);
    assert!(!bed.get("index.m3u8").await.text().contains("de/media.m3u8"));
    assert_eq!(bed.get("de/media.m3u8").await.status, StatusCode::OK);
    // It may come back, and the order is the one that was asked for.
    bed.event().list_sounds(&["de", "floor"]);
    let index = bed.get("index.m3u8").await.text().to_owned();
    assert!(index.find("URI=\"de/media.m3u8") < index.find("URI=\"floor/media.m3u8"), "{index}");
    let waiting = bed.hold(&format!("de/media.m3u8?_HLS_msn={}&_HLS_part=5", bed.next.0));
    bed.clock.run(Dur::ZERO).await;
    bed.event().remove("de").await;
    assert_eq!(waiting.await.expect("answered").status, StatusCode::NOT_FOUND);
    assert_eq!(bed.get("de/media.m3u8").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_index_waits_for_renditions_that_have_not_begun_but_not_for_ever() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.segments(1);
    let (late, _) = bed.event().add(video("360p"), Cut::Grid(grid())).await.expect("free name");
    bed.open();
    let waiting = bed.hold("index.m3u8");
    bed.clock.run(Dur::from_secs(2)).await;
    assert!(!waiting.is_finished());
    late.apply(Output::Init(header(true)));
    bed.sinks.push(late);
    bed.segments(1);
    assert!(waiting.await.expect("answered").text().contains("360p/media.m3u8"));
    let (_never, _) = bed.event().add(video("240p"), Cut::Grid(grid())).await.expect("free name");
    let waiting = bed.hold("index.m3u8");
    bed.clock.run(Dur::from_secs(4)).await;
    let answer = waiting.await.expect("answered");
    assert!(answer.text().contains("360p/media.m3u8") && !answer.text().contains("240p"), "{}", answer.text());
}

#[tokio::test]
async fn what_joins_is_named_when_it_reaches_back_to_where_players_are() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.open();
    bed.segments(2);
    let mut named = bed.event().named();
    let (late, _) = bed.event().join(sound("fr", false), Cut::Grid(grid())).await.expect("free name");
    bed.event().list_sounds(&["floor", "de", "fr"]);
    late.apply(Output::Init(header(false)));
    bed.sinks.push(late);
    named.mark_unchanged();
    // Three times 2 s are not yet in three segments of 1.92 s.
    for _ in 0..3 {
        bed.segments(1);
        assert!(!bed.get("index.m3u8").await.text().contains("fr/media.m3u8"));
        assert!(!named.has_changed().expect("open"));
    }
    bed.segments(1);
    assert!(named.has_changed().expect("open"));
    assert!(bed.get("index.m3u8").await.text().contains("fr/media.m3u8"));
}

#[tokio::test]
async fn gzip_head_and_ranges() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(6);
    let path = "/live/ev1/720p/media.m3u8";
    let plain = bed.ask(Method::GET, path, &[]).await;
    let packed = bed.ask(Method::GET, path, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "accept-encoding"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, plain.text());
    let path = format!("/live/ev1/720p/{}.m4s", FIRST + 2);
    let segment = bed.ask(Method::GET, &path, &[("accept-encoding", "gzip")]).await;
    assert_eq!((&segment.body, segment.header("content-encoding")), (&whole(FIRST + 2), ""));
    assert_eq!(segment.header("content-type"), "video/mp4");
    assert_eq!(segment.header("accept-ranges"), "bytes");
    assert_eq!(segment.header("cache-control"), "public, max-age=60, immutable");
    assert_eq!(segment.header("access-control-allow-origin"), "*");
    let total = segment.body.len();
    let head = bed.ask(Method::HEAD, &path, &[]).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), total.to_string());
    // Across the border of two parts.
    let from = payload(FIRST + 2, 0).len() - 5;
    let range = bed.ask(Method::GET, &path, &[("range", &format!("bytes={from}-{}", from + 9))]).await;
    assert_eq!(range.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(range.body, segment.body[from..from + 10]);
    assert_eq!(range.header("content-range"), format!("bytes {from}-{}/{total}", from + 9));
    let beyond = bed.ask(Method::GET, &path, &[("range", &format!("bytes={total}-"))]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, &*format!("bytes */{total}"))
    );
    assert_eq!(bed.get("floor/init-0.mp4").await.header("content-type"), "audio/mp4");
    assert_eq!(bed.ask(Method::POST, &path, &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let preflight = bed.ask(Method::OPTIONS, &path, &[("origin", "https://a.example")]).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (StatusCode::NO_CONTENT, "range"));
}

#[tokio::test]
async fn viewers_are_estimated_from_the_rate_of_requests() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    bed.clock.run(Dur::from_secs(11)).await;
    for _ in 0..5 {
        for _ in 0..6 {
            bed.feed(1);
            for path in ["720p", "floor"] {
                // Three at low latency.
                let (number, part) = bed.next;
                let (number, part) = if part == 0 { (number - 1, 5) } else { (number, part - 1) };
                for _ in 0..3 {
                    bed.get(&format!("{path}/media.m3u8?_HLS_msn={number}&_HLS_part={part}")).await;
                }
            }
        }
        // And one that is not.
        bed.get("720p/media.m3u8").await;
    }
    bed.clock.run(Dur::from_secs(10)).await;
    let stats = bed.event().stats();
    // 9.6 s of programme were asked for, within an interval of ten to twenty seconds.
    assert!((1.9..=4.1).contains(&stats.viewers), "{stats:?}");
}
