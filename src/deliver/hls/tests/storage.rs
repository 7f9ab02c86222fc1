//! DVR on disk: restart, eviction, a disk that is full or damaged.

use super::disk::tests::Fillable;
use super::*;
use crate::media::Clock as _;

const DVR: Dur = Dur::from_secs(120);

async fn bed(dir: &Path) -> Bed {
    Bed::on(DVR, Some(dir), Arc::new(disk::System)).await
}

/// Feeds segments and lets the writer follow, as it does in real time.
async fn run(bed: &mut Bed, segments: u32) {
    for _ in 0..segments {
        bed.segments(1);
        bed.stored().await;
    }
}

/// Every segment that a playlist lists answers with its bytes.
async fn all_answer(bed: &Bed, path: &str) -> Vec<u64> {
    let numbers = bed.get(&format!("{path}/media.m3u8")).await.numbers();
    for number in &numbers {
        let answer = bed.get(&format!("{path}/{number}.m4s")).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &whole(*number)), "{path}/{number}");
    }
    numbers
}

#[tokio::test]
async fn old_segments_are_served_from_disk_with_ranges_and_expire() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut bed = bed(dir.path()).await;
    bed.open();
    run(&mut bed, 40).await;
    let numbers = all_answer(&bed, "720p").await;
    assert_eq!(numbers.len(), 40);
    let path = format!("/live/ev1/720p/{FIRST}.m4s");
    let range = bed.ask(Method::GET, &path, &[("range", "bytes=10-29")]).await;
    assert_eq!((range.status, &range.body[..]), (StatusCode::PARTIAL_CONTENT, &whole(FIRST)[10..30]));
    let stats = bed.event().stats();
    let segment = whole(FIRST).len() as u64;
    assert!(stats.memory_bytes <= 2 * 13 * segment, "{stats:?}");
    assert_eq!(stats.disk_bytes, 2 * 40 * segment);
    // Much later the first ones are gone from the playlist, then from the disk.
    run(&mut bed, 300).await;
    let numbers = all_answer(&bed, "720p").await;
    assert!((62..=65).contains(&numbers.len()), "{}", numbers.len());
    assert_eq!(bed.get(&format!("720p/{FIRST}.m4s")).await.status, StatusCode::NOT_FOUND);
    let files = std::fs::read_dir(dir.path().join("ev1/720p")).expect("folder").count();
    assert!(files < 200, "{files} files");
    assert!(bed.event().stats().disk_bytes < 2 * 200 * segment);
}

#[tokio::test]
async fn after_a_kill_the_window_is_there_and_numbers_go_on() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut first = bed(dir.path()).await;
    let since = first.clock.now();
    first.open();
    run(&mut first, 20).await;
    // A segment whose file is short, as after a power cut.
    std::fs::write(dir.path().join(format!("ev1/720p/{}.m4s", FIRST + 7)), b"short").expect("write");
    first.feed(3);
    let killed_at = first.next.0;
    let clock = first.clock.clone();
    // Not closed: a killed daemon does not say goodbye. The new one reads what is there now.

    let mut second = Bed::on(DVR, Some(dir.path()), Arc::new(disk::System)).await;
    second.clock.advance(clock.now() - second.clock.now() + Dur::from_secs(3));
    second.event().set_viewing(Viewing::Open { since });
    let resume = second.sinks[0].resume();
    assert_eq!(resume.next_number, Some(killed_at));
    assert_eq!(resume.init.map(|i| i.codecs.clone()), Some("avc1.64001f".into()));
    // Before the ingest is back everything that was complete is there, but the damaged one.
    let index = second.get("index.m3u8").await;
    assert_eq!(
        (index.status, index.text().contains("RESOLUTION=1280x720")),
        (StatusCode::OK, true),
        "{}",
        index.text()
    );
    let numbers = all_answer(&second, "720p").await;
    assert_eq!(numbers.len(), 19);
    assert!(!numbers.contains(&(FIRST + 7)));
    let blocked = second.hold(&format!("720p/media.m3u8?_HLS_msn={killed_at}&_HLS_part=3"));
    // The ingest is back two segments later.
    second.next = (killed_at + 2, 0);
    run(&mut second, 2).await;
    let answer = blocked.await.expect("answered");
    assert_eq!(answer.status, StatusCode::OK);
    let playlist = second.get("720p/media.m3u8").await;
    assert!(playlist.text().contains(&format!("#EXT-X-MEDIA-SEQUENCE:{FIRST}\n")), "{}", playlist.text());
    assert_eq!(playlist.text().matches("#EXT-X-GAP").count(), 3, "the damaged one and the two that were missed");
    assert_eq!(all_answer(&second, "720p").await.last(), Some(&(killed_at + 3)));
    assert_eq!(all_answer(&second, "floor").await.len(), 22);
}

#[tokio::test]
async fn a_full_disk_costs_old_segments_and_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    let medium = Arc::new(Fillable::default());
    let mut bed = Bed::on(DVR, Some(dir.path()), medium.clone()).await;
    bed.open();
    run(&mut bed, 20).await;
    let mut alarm = bed.event().storage();
    assert_eq!(*alarm.borrow_and_update(), None);
    medium.full.store(true, Ordering::SeqCst);
    for _ in 0..40 {
        bed.segments(1);
        tokio::task::yield_now().await;
        // Live goes on.
        let (number, _) = bed.next;
        assert_eq!(bed.get(&format!("720p/{}.m4s", number - 1)).await.status, StatusCode::OK);
    }
    tokio::time::timeout(std::time::Duration::from_secs(5), alarm.changed()).await.expect("alarm").expect("event");
    let told = alarm.borrow_and_update().clone().expect("an alarm");
    assert!(told.error.contains("ev1/720p"), "{told:?}");
    let numbers = all_answer(&bed, "720p").await;
    assert!(numbers.contains(&(FIRST + 5)), "what was stored stays");
    assert!(!numbers.contains(&(FIRST + 25)), "what could not be stored is a gap: {numbers:?}");
    assert!(bed.event().stats().memory_bytes < 2 * 24 * whole(FIRST).len() as u64, "memory stays bounded");
    // There is room again: what is still in memory is stored, and the alarm ends.
    medium.full.store(false, Ordering::SeqCst);
    run(&mut bed, 2).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), alarm.changed()).await.expect("all clear").expect("event");
    assert_eq!(*alarm.borrow(), None);
    run(&mut bed, 20).await;
    let numbers = all_answer(&bed, "720p").await;
    assert!(numbers.contains(&(FIRST + 58)), "{numbers:?}");
}

#[tokio::test]
async fn a_file_that_disappears_becomes_a_gap() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut bed = bed(dir.path()).await;
    bed.open();
    run(&mut bed, 30).await;
    std::fs::remove_file(dir.path().join(format!("ev1/720p/{}.m4s", FIRST + 3))).expect("remove");
    assert_eq!(bed.get(&format!("720p/{}.m4s", FIRST + 3)).await.status, StatusCode::NOT_FOUND);
    assert!(!all_answer(&bed, "720p").await.contains(&(FIRST + 3)));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_leaves_the_event_in_memory() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(dir.path().join("ev1"), b"a file in the way").expect("write");
    let mut bed = bed(dir.path()).await;
    bed.open();
    bed.segments(10);
    assert!(bed.event().storage().borrow().is_some());
    assert!(all_answer(&bed, "720p").await.len() >= 9);
}

#[tokio::test]
async fn closing_writes_what_is_complete_and_purging_leaves_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut bed = bed(dir.path()).await;
    bed.open();
    bed.segments(5);
    bed.event.take().expect("open").close().await;
    let folder = dir.path().join("ev1/720p");
    assert!(disk::segment_path(&folder, FIRST + 4).exists());
    std::fs::create_dir(dir.path().join("old")).expect("folder");
    bed.origin.retain(&["ev1".into()]).await;
    assert!(folder.exists() && !dir.path().join("old").exists());
    bed.origin.purge("../ev1").await;
    assert!(folder.exists());
    bed.origin.purge("ev1").await;
    assert!(!dir.path().join("ev1").exists());
    assert!(dir.path().exists());
}
