use super::*;
use crate::media::grid::AAC_FRAME_DUR;

fn fill(window: &mut Window, packager: &mut Packager, grid: Grid, range: std::ops::Range<i64>) -> Vec<Change> {
    let out = package(packager, slots(&picture(), grid, range));
    out.into_iter().map(|o| window.apply(o)).collect()
}

fn fresh() -> (Window, Packager, Grid, i64) {
    let grid = grid25();
    let first = grid.frame_number(grid.segment_start(grid.segment_number(NOW)));
    let window = Window::new(video_spec("720p"), Cut::Grid(grid), limits());
    (window, Packager::new(video_spec("720p"), grid, Resume::default()), grid, first)
}

#[test]
fn memory_and_disk_are_bounded() {
    let (mut window, mut packager, grid, first) = fresh();
    let (mut stored, mut deleted) = (Vec::new(), Vec::new());
    for i in 0..200i64 {
        for change in fill(&mut window, &mut packager, grid, first + i * 48..first + (i + 1) * 48) {
            if let Some(number) = change.completed {
                stored.push(number);
                window.stored(number);
            }
            deleted.extend(change.expired);
            assert!(change.lost.is_empty());
            let in_memory = window.listed().filter(|s| s.in_memory()).count();
            assert!(in_memory <= 8, "{in_memory}");
        }
    }
    assert_eq!(stored.len(), 200);
    // 60 s of 1.92 s segments are listed, and as long again can be fetched.
    let listed = window.listed().len();
    assert!((32..=33).contains(&listed), "{listed}");
    let kept = stored.len() - deleted.len();
    assert!((2 * listed..=2 * listed + 2).contains(&kept), "{kept}");
    assert_eq!(deleted, stored[..deleted.len()]);
    assert!(window.segment(*stored.get(deleted.len()).expect("kept")).is_some());
}

#[test]
fn a_disk_that_does_not_keep_up_costs_the_oldest() {
    let (mut window, mut packager, grid, first) = fresh();
    let changes = fill(&mut window, &mut packager, grid, first..first + 30 * 48);
    let lost: Vec<_> = changes.iter().flat_map(|c| c.lost.clone()).collect();
    assert_eq!(lost.len(), 30 - 16);
    assert!(window.listed().take(14).all(|s| s.gap && !s.in_memory()));
    assert!(window.listed().skip(14).all(|s| !s.gap && s.in_memory()));
}

#[test]
fn without_a_disk_the_window_is_what_memory_holds() {
    let grid = grid25();
    let (_, mut packager, _, first) = fresh();
    let limits = WindowLimits { live_segments: 10, dvr: Dur::from_secs(7200), disk: false };
    let mut window = Window::new(video_spec("720p"), Cut::Grid(grid), limits);
    fill(&mut window, &mut packager, grid, first..first + 100 * 48);
    assert!((10..=11).contains(&window.listed().len()), "{}", window.listed().len());
    assert!(window.listed().all(|s| s.in_memory() && !s.gap));
}

#[test]
fn a_restart_continues_from_the_index() {
    let (mut window, mut packager, grid, first) = fresh();
    fill(&mut window, &mut packager, grid, first..first + 10 * 48);
    let entries: Vec<Entry> = window.listed().filter_map(|s| window.entry(s.number)).collect();
    let json = serde_json::to_string(&entries).expect("entries serialise");
    let mut entries: Vec<Entry> = serde_json::from_str(&json).expect("and come back");
    entries[3].gap = true;
    entries.reverse();
    let inits: Vec<_> =
        window.inits().map(|i| Arc::new(Init::restore(i.version, i.data.clone()).expect("ours"))).collect();
    let mut restored = Window::restore(video_spec("720p"), Cut::Grid(grid), limits(), inits, entries);
    assert_eq!(restored.listed().len(), 10);
    assert_eq!(restored.listed().filter(|s| s.gap).count(), 1);
    assert_eq!(restored.resume().next_number, window.resume().next_number);
    // Two segments are missing, and one begins late.
    let mut packager = Packager::new(video_spec("720p"), grid, restored.resume());
    let changes = fill(&mut restored, &mut packager, grid, first + 12 * 48 + 20..first + 15 * 48);
    assert!(changes.iter().all(|c| c.init.is_none()), "the header is known");
    let listed: Vec<_> = restored.listed().map(|s| s.gap).collect();
    assert_eq!(listed[10..], [true, true, true, false, false]);
    assert!(restored.listed().all(|s| !s.discontinuity && s.init == 0));
    assert!(restored.listed().collect::<Vec<_>>().windows(2).all(|p| p[1].start == p[0].end()));
}

#[test]
fn a_hole_of_years_empties_the_window() {
    let (mut window, mut packager, grid, first) = fresh();
    fill(&mut window, &mut packager, grid, first..first + 3 * 48);
    let later = first + 48 * 1_000_000;
    let changes = fill(&mut window, &mut packager, grid, later..later + 48);
    assert_eq!(changes.iter().map(|c| c.expired.len()).sum::<usize>(), 3);
    assert_eq!(window.listed().len(), 1);
}

#[test]
fn blocking_requests_wait_for_what_they_name() {
    let (mut window, mut packager, grid, first) = fresh();
    assert_eq!(window.reach(0, None), Reach::Wait);
    fill(&mut window, &mut packager, grid, first..first + 48 + 16);
    let n = grid.segment_number(NOW);
    assert_eq!(window.last(), Some((n + 1, Some(1))));
    assert_eq!(window.next_part(), Some((n + 1, 2)));
    for (msn, part, want) in [
        (n, None, Reach::Ready),
        (n - 5, None, Reach::Ready),
        (n + 1, None, Reach::Wait),
        (n + 2, None, Reach::Wait),
        (n + 3, None, Reach::TooFar),
        (n + 1, Some(1), Reach::Ready),
        (n + 1, Some(2), Reach::Wait),
        (n + 1, Some(200), Reach::TooFar),
        // Beyond the last part of a complete segment: the first of the next.
        (n, Some(6), Reach::Ready),
        (n, Some(5), Reach::Ready),
        (n + 2, Some(0), Reach::Wait),
    ] {
        assert_eq!(window.reach(msn, part), want, "{} {part:?}", msn - n);
    }
    fill(&mut window, &mut packager, grid, first + 64..first + 96);
    assert_eq!((window.next_part(), window.last()), (Some((n + 2, 0)), Some((n + 1, Some(5)))));
    assert_eq!(window.reach(n + 1, Some(6)), Reach::Wait);
    window.end();
    assert_eq!((window.reach(n + 9, Some(9)), window.next_part()), (Reach::Ready, None));
}

#[test]
fn parts_can_be_fetched_while_they_are_listed_and_after() {
    let (mut window, mut packager, grid, first) = fresh();
    for change in fill(&mut window, &mut packager, grid, first..first + 20 * 48 + 8) {
        if let Some(number) = change.completed {
            window.stored(number);
        }
    }
    let n = grid.segment_number(NOW);
    assert!(window.part(n + 20, 0).is_some());
    // Three target durations while listed, three more after that.
    for back in 1..=6 {
        let segment = window.segment(n + 20 - back).expect("listed");
        assert_eq!(segment.parts.len(), 6, "{back}");
        let joined: Vec<u8> = segment.parts.iter().flat_map(|p| p.data.to_vec()).collect();
        assert_eq!(joined.len() as u64, segment.bytes);
        assert_eq!(samples(&joined).len(), 48);
        let iframe = segment.iframe.expect("a key frame");
        let range = &joined[iframe.offset as usize..(iframe.offset + iframe.length) as usize];
        assert_eq!(&range[4..8], b"moof");
        assert_eq!(&range[range.len() - 8..], segment.start.flicks().to_be_bytes());
    }
    assert!(window.part(n + 2, 0).is_none());
}

#[test]
fn sound_has_no_key_frames_to_list() {
    let grid = grid25();
    let track = sound_track(48_000);
    let first = grid.aac_number(grid.segment_start(grid.segment_number(NOW)));
    let mut packager = Packager::new(sound_spec("de", "de", true), grid, Resume::default());
    let mut window = Window::new(sound_spec("de", "de", true), Cut::Grid(grid), limits());
    let packets = (first..first + 180).map(|n| packet(&track, grid.aac_start(n), AAC_FRAME_DUR, false));
    package(&mut packager, packets).into_iter().for_each(|o| drop(window.apply(o)));
    assert!(window.listed().all(|s| s.iframe.is_none()));
    assert!(playlist::iframes(&window, &crate::wire::m3u8::Suffix::none()).is_none());
}
