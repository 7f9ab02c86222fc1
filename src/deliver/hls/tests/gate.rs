//! Who gets what when.

use super::*;

/// Everything that can be guessed of an event that is fed.
fn guesses() -> Vec<String> {
    let mut all: Vec<String> =
        ["index.m3u8", "manifest.mpd", "steering.json", "720p/media.m3u8", "720p/iframes.m3u8", "720p/init-0.mp4"]
            .map(String::from)
            .to_vec();
    for n in FIRST..FIRST + 8 {
        all.push(format!("720p/{n}.m4s"));
        all.extend((0..6).map(|i| format!("floor/{n}.{i}.m4s")));
        all.push(format!("720p/media.m3u8?_HLS_msn={n}&_HLS_part=0"));
    }
    all
}

async fn all_are_404(bed: &Bed, why: &str) {
    for path in guesses() {
        let answer = bed.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{why}: {path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{why}: {path}");
    }
}

#[tokio::test]
async fn before_the_start_there_is_nothing_for_any_guess_and_the_token_shows_all() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.segments(6);
    all_are_404(&bed, "in preview").await;
    for path in ["720p/media.m3u8?preview=wrong", "720p/media.m3u8?preview=none", "720p/media.m3u8?preview=%22"] {
        assert_eq!(bed.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in [
        "/live/ev1/../ev1/index.m3u8",
        "/live/ev2/index.m3u8",
        "/live/ev1/720p/../../../etc/passwd",
        "/live/ev1/720p/..%2f..%2fetc%2fpasswd",
        "/live/ev1/..%2f..%2f/media.m3u8",
        "/live/",
        "/live/ev1",
    ] {
        assert_eq!(bed.ask(Method::GET, path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    // The manager follows every URI, and each carries the token.
    let index = bed.get(&format!("index.m3u8?preview={TOKEN}")).await;
    assert_eq!((index.status, index.header("cache-control")), (StatusCode::OK, "private, no-cache"));
    let mut followed = 0;
    for uri in index.uris() {
        let playlist = bed.get(&uri).await;
        assert_eq!(playlist.status, StatusCode::OK, "{uri}");
        let (base, _) = uri.split_once('/').expect("in a rendition's folder");
        for child in playlist.uris().into_iter().filter(|u| !u.starts_with("../")) {
            assert!(child.ends_with(&format!("?preview={TOKEN}")), "{child}");
            let hinted = playlist.text().lines().any(|l| l.contains("PRELOAD-HINT") && l.contains(&child));
            if !hinted {
                let answer = bed.get(&format!("{base}/{child}")).await;
                assert_eq!(answer.status, StatusCode::OK, "{child}");
                assert!(answer.header("cache-control").starts_with("private"), "{child}");
                followed += 1;
            }
        }
    }
    assert!(followed > 20, "{followed}");
    let manifest = bed.get(&format!("manifest.mpd?preview={TOKEN}")).await;
    assert_eq!(manifest.status, StatusCode::OK);
    assert_eq!(manifest.text().matches(&format!(".m4s?preview={TOKEN}\"")).count(), 2, "{}", manifest.text());
}

#[tokio::test]
async fn what_was_said_in_preview_is_on_no_public_playlist() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.segments(5);
    bed.feed(2);
    bed.open();
    let (number, _) = bed.next;
    bed.feed(4);
    bed.segments(3);
    let playlist = bed.get("720p/media.m3u8").await;
    assert_eq!(playlist.numbers(), [number + 1, number + 2, number + 3]);
    assert!(playlist.text().contains(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", number + 1)), "{}", playlist.text());
    for n in FIRST..=number {
        assert_eq!(bed.get(&format!("720p/{n}.m4s")).await.status, StatusCode::NOT_FOUND, "{n}");
        assert_eq!(bed.get(&format!("720p/{n}.1.m4s")).await.status, StatusCode::NOT_FOUND, "{n}");
    }
    assert_eq!(bed.get(&format!("720p/{}.m4s", number + 1)).await.body, whole(number + 1));
    let all = bed.get(&format!("720p/media.m3u8?preview={TOKEN}")).await;
    assert_eq!(all.numbers()[0], FIRST, "managers see it");
    let manifest = bed.get("manifest.mpd").await;
    let first = format!("startNumber=\"{}\"", number + 1);
    assert_eq!(manifest.text().matches(&first).count(), 2, "{}", manifest.text());
    assert!(manifest.text().contains("timeShiftBufferDepth=\"PT5.760000S\""), "{}", manifest.text());
}

#[tokio::test]
async fn a_player_that_comes_at_once_waits_for_the_first_public_segment() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.segments(5);
    bed.open();
    assert_eq!(bed.get("index.m3u8").await.status, StatusCode::OK);
    let waiting = bed.hold("720p/media.m3u8");
    bed.clock.run(Dur::from_millis(10)).await;
    bed.feed(5);
    bed.clock.run(Dur::ZERO).await;
    assert!(!waiting.is_finished());
    bed.feed(1);
    let answer = waiting.await.expect("answered");
    assert_eq!((answer.status, answer.numbers()), (StatusCode::OK, vec![FIRST + 5]));
}

#[tokio::test]
async fn a_pause_answers_held_requests_at_once_and_serves_the_rest_for_one_hold_back_time() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(6);
    bed.feed(2);
    let (number, part) = bed.next;
    let blocked = bed.hold(&format!("720p/media.m3u8?_HLS_msn={number}&_HLS_part={part}"));
    let hinted = bed.hold(&format!("720p/{number}.{part}.m4s"));
    bed.clock.run(Dur::from_millis(50)).await;
    assert!(!blocked.is_finished() && !hinted.is_finished());
    bed.event().set_viewing(Viewing::HoldBack);
    assert_eq!(blocked.await.expect("answered").status, StatusCode::NOT_FOUND);
    assert_eq!(hinted.await.expect("answered").status, StatusCode::NOT_FOUND);
    for path in ["index.m3u8", "manifest.mpd", "720p/media.m3u8", "720p/iframes.m3u8"] {
        assert_eq!(bed.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    bed.feed(8);
    let public = [format!("720p/{}.m4s", FIRST + 3), format!("floor/{number}.1.m4s"), "720p/init-0.mp4".into()];
    for path in &public {
        assert_eq!(bed.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in
        [format!("720p/{number}.m4s"), format!("720p/{number}.{part}.m4s"), format!("720p/{}.0.m4s", number + 1)]
    {
        assert_eq!(bed.get(&path).await.status, StatusCode::NOT_FOUND, "made in the pause: {path}");
    }
    // Managers go on.
    assert_eq!(bed.get(&format!("720p/{}.0.m4s?preview={TOKEN}", number + 1)).await.status, StatusCode::OK);
    let hold_back = bed.event().hold_back();
    assert_eq!(hold_back, Dur::from_secs(6));
    bed.clock.advance(hold_back);
    for path in &public {
        assert_eq!(bed.get(path).await.status, StatusCode::NOT_FOUND, "the time is over: {path}");
    }
    // Resumed: the pause is not shown. The clock has run ahead of the programme by the hold-back time.
    bed.open();
    let (first, _) = bed.next;
    bed.segments(8);
    let numbers = bed.get("720p/media.m3u8").await.numbers();
    assert!(numbers[0] > first && numbers.len() >= 2, "{numbers:?} from {first}");
}

#[tokio::test]
async fn rights_are_asked_for_and_viewers_tokens_are_passed_on() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.open();
    bed.segments(4);
    assert_eq!(bed.get("index.m3u8?token=none").await.status, StatusCode::FORBIDDEN);
    assert_eq!(bed.get(&format!("720p/{}.m4s?token=none", FIRST + 2)).await.status, StatusCode::FORBIDDEN);
    let index = bed.get(&format!("index.m3u8?token={TICKET}")).await;
    assert!(index.uris().iter().all(|u| u.ends_with(&format!("?token={TICKET}"))), "{}", index.text());
    // A token that is not needed is not repeated.
    assert!(!bed.get("index.m3u8?preview=whatever").await.text().contains("whatever"));
    assert_eq!(bed.get("index.m3u8?preview=%3Cscript%3E").await.status, StatusCode::BAD_REQUEST);
    drop(bed.event.take());
    assert_eq!(bed.get("index.m3u8").await.status, StatusCode::NOT_FOUND, "the event is off the origin");
    assert_eq!(bed.get(&format!("index.m3u8?preview={TOKEN}")).await.status, StatusCode::NOT_FOUND);
}
