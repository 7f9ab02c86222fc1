use super::*;
use crate::media::grid::{AAC_FRAME_DUR, FRAME_RATES};
use proptest::prelude::*;

fn first_slot(grid: Grid) -> i64 {
    grid.frame_number(grid.segment_start(grid.segment_number(NOW)))
}

#[test]
fn parts_and_segments_are_exact_at_every_rate() {
    for fps in FRAME_RATES {
        let grid = Grid::new(fps).expect("listed");
        let (first, per) = (first_slot(grid), i64::from(grid.frames_per_segment()));
        let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
        let out = package(&mut packager, slots(&picture(), grid, first..first + 3 * per));
        let number = grid.segment_number(NOW);
        let want: Vec<_> = (number..number + 3).map(|n| (n, grid.segment_start(n), false)).collect();
        assert_eq!(starts(&out), want, "{fps}");
        assert_eq!(ends(&out), vec![grid.segment(); 3]);
        let parts = parts(&out);
        assert_eq!(parts.len(), 3 * grid.parts_per_segment() as usize);
        for (i, part) in parts.iter().enumerate() {
            assert_eq!(part.index, i as u32 % grid.parts_per_segment());
            assert_eq!((part.duration, part.independent), (grid.part(), part.index == 0));
            assert_eq!(part.start, grid.frame_start(first) + grid.part() * i as i64);
            let samples = samples(&part.data);
            assert_eq!(samples.len(), grid.frames_per_part() as usize);
            assert_eq!(samples[0].dts, part.start.to_scale(90_000) as u64, "tfdt is the event's timeline");
            assert!(samples.iter().all(|s| s.duration == 90_000 / fps && s.cts == 0));
        }
    }
}

#[test]
fn sound_cuts_where_the_picture_does() {
    for fps in FRAME_RATES {
        let grid = Grid::new(fps).expect("listed");
        let start = grid.segment_start(grid.segment_number(NOW));
        let first = grid.aac_number(start);
        let per = i64::from(grid.aac_frames_per_segment());
        let track = sound_track(48_000);
        let mut packager = Packager::new(sound_spec("de", "de", true), grid, Resume::default());
        let packets = (first..first + 2 * per).map(|n| packet(&track, grid.aac_start(n), AAC_FRAME_DUR, false));
        let out = package(&mut packager, packets);
        let number = grid.segment_number(NOW);
        assert_eq!(starts(&out), vec![(number, start, false), (number + 1, start + grid.segment(), false)]);
        assert_eq!(ends(&out), vec![grid.segment(); 2]);
        for part in parts(&out) {
            assert!(part.independent && part.duration <= grid.part_target());
            let off = part.start - (start + grid.part() * i64::from(part.index));
            let off = off.flicks().rem_euclid(grid.segment().flicks());
            let off = off.min(grid.segment().flicks() - off);
            assert!(off * 2 <= AAC_FRAME_DUR.flicks(), "{fps}: part {} is {off} flicks off", part.index);
            let samples = samples(&part.data);
            assert_eq!(samples[0].dts, part.start.to_scale(48_000) as u64);
            assert!(samples.iter().all(|s| s.duration == 1024 && s.sync));
        }
    }
}

#[test]
fn a_part_is_out_with_the_packet_that_completes_it() {
    let grid = grid25();
    let first = first_slot(grid);
    let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
    for (i, packet) in slots(&picture(), grid, first..first + 48).enumerate() {
        let mut out = Vec::new();
        packager.push(&packet, &mut out).expect("packaged");
        assert_eq!(parts(&out).len(), usize::from((i + 1) % 8 == 0), "after picture {i}");
        assert_eq!(ends(&out).len(), usize::from(i == 47));
    }
}

#[test]
fn a_hole_leaves_numbers_and_indexes_right() {
    let grid = grid25();
    let first = first_slot(grid);
    let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
    // Pictures 0…19, then the engine restarts, and goes on with a key frame at 60 + 3.
    let mut out = package(&mut packager, slots(&picture(), grid, first..first + 20));
    out.extend(package(&mut packager, slots(&picture(), grid, first + 63..first + 144)));
    let number = grid.segment_number(NOW);
    assert_eq!(starts(&out).iter().map(|s| s.0 - number).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(starts(&out).iter().all(|s| !s.2), "the format is the same: no discontinuity");
    assert_eq!(inits(&out), [0, 0], "the header is the same");
    let of = |n: usize| {
        let mut segments: Vec<Vec<u32>> = Vec::new();
        for o in &out {
            match o {
                Output::SegmentStart { .. } => segments.push(Vec::new()),
                Output::Part(part) => segments.last_mut().expect("in a segment").push(part.index),
                _ => {}
            }
        }
        segments[n].clone()
    };
    assert_eq!((of(0), of(1), of(2)), (vec![0, 1, 2], vec![1, 2, 3, 4, 5], vec![0, 1, 2, 3, 4, 5]));
    // Pictures 16…19 and then the last one until its part ends.
    let third = samples(&parts(&out)[2].data);
    assert_eq!(third.iter().map(|s| s.duration / 3600).collect::<Vec<_>>(), [1, 1, 1, 5]);
    // The first part after the hole begins late, with a key frame.
    let late = parts(&out)[3];
    assert!(late.independent);
    assert_eq!(late.start, grid.frame_start(first + 63));

    let mut window = Window::new(video_spec("720p"), Cut::Grid(grid), limits());
    out.into_iter().for_each(|o| drop(window.apply(o)));
    let gaps: Vec<_> = window.listed().map(|s| (s.number - number, s.gap)).collect();
    assert_eq!(gaps, [(2, false)], "a window does not begin with incomplete segments");
}

#[test]
fn after_lost_pictures_only_a_key_frame_goes_on() {
    let grid = grid25();
    let first = first_slot(grid);
    let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
    let packets = slots(&picture(), grid, first..first + 96).enumerate().filter(|(i, _)| *i != 10).map(|(_, p)| p);
    let out = package(&mut packager, packets);
    let all: Vec<_> = parts(&out).iter().flat_map(|p| samples(&p.data)).collect();
    // Pictures 0…9, then from the next key frame.
    assert_eq!(all.len(), 10 + 48);
    assert!(all[10].sync);
    // Repeated and late slots are left out.
    let before = parts(&out).len();
    let again = package(&mut packager, slots(&picture(), grid, first..first + 40));
    assert_eq!((before, again.len()), (2 + 6, 0));
}

#[test]
fn a_changed_format_is_a_new_header_with_a_discontinuity() {
    let grid = grid25();
    let first = first_slot(grid);
    let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
    let mut out = package(&mut packager, slots(&picture(), grid, first..first + 48));
    out.extend(package(&mut packager, slots(&other_picture(), grid, first + 48..first + 96)));
    assert_eq!(inits(&out), [0, 1]);
    assert_eq!(starts(&out).iter().map(|s| s.2).collect::<Vec<_>>(), [false, true]);
    // An equal track under another pointer changes nothing, in the middle of a segment too.
    let more = package(&mut packager, slots(&other_picture(), grid, first + 96..first + 100));
    let more2 = package(&mut packager, slots(&other_picture(), grid, first + 100..first + 144));
    assert_eq!((inits(&more).len(), inits(&more2).len()), (0, 0));
    assert_eq!(ends(&more2).len(), 1);
    // A restarted packager knows the header again.
    let mut window = Window::new(video_spec("720p"), Cut::Grid(grid), limits());
    out.into_iter().chain(more).chain(more2).for_each(|o| drop(window.apply(o)));
    let mut restarted = Packager::new(video_spec("720p"), grid, window.resume());
    let out = package(&mut restarted, slots(&other_picture(), grid, first + 192..first + 240));
    assert_eq!((inits(&out), starts(&out)[0].2), (vec![1], false));
    let out = package(&mut restarted, slots(&picture(), grid, first + 240..first + 288));
    assert_eq!((inits(&out), starts(&out)[0].2), (vec![2], true));
}

#[test]
fn a_format_that_cannot_be_packaged_is_reported_once() {
    let grid = grid25();
    let first = first_slot(grid);
    let broken = video_track("01", None);
    let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
    let mut errors = 0;
    let mut out = Vec::new();
    for packet in slots(&broken, grid, first..first + 10) {
        errors += usize::from(packager.push(&packet, &mut out).is_err());
    }
    assert_eq!((errors, parts(&out).len()), (1, 0));
    out.extend(package(&mut packager, slots(&picture(), grid, first + 48..first + 96)));
    assert_eq!(ends(&out).len(), 1);
}

proptest! {
    /// Whatever is lost, doubled or late: nothing is shown at a wrong time, and numbers only rise.
    #[test]
    fn any_loss_keeps_times_true(
        fps in prop::sample::select(&FRAME_RATES[..]),
        keep in prop::collection::vec(0u8..10, 1..400),
        late in any::<bool>(),
    ) {
        let grid = Grid::new(fps).expect("listed");
        let first = first_slot(grid) + 5;
        let mut packager = Packager::new(video_spec("720p"), grid, Resume::default());
        let mut window = Window::new(video_spec("720p"), Cut::Grid(grid), limits());
        let mut out = Vec::new();
        for (i, &k) in keep.iter().enumerate() {
            let n = first + i as i64 - if late && k == 9 { 3 } else { 0 };
            if k > 0 {
                let key = k > 4 || n % i64::from(grid.frames_per_segment()) == 0;
                packager.push(&packet(&picture(), grid.frame_start(n), grid.frame(), key), &mut out).expect("packaged");
            }
        }
        let mut last = 0;
        for part in parts(&out) {
            prop_assert!(part.duration <= grid.part_target() && part.duration > Dur::ZERO);
            for sample in samples(&part.data) {
                // The payload is the time that the picture was made for.
                let made = Ts::from_flicks(i64::from_be_bytes(sample.data.clone().try_into().expect("8 bytes")));
                prop_assert_eq!(sample.dts, made.to_scale(90_000) as u64);
                prop_assert!(sample.dts >= last, "overlap");
                last = sample.dts + u64::from(sample.duration);
            }
        }
        for o in out {
            window.apply(o);
        }
        let listed: Vec<_> = window.listed().collect();
        for pair in listed.windows(2) {
            prop_assert_eq!(pair[1].number, pair[0].number + 1);
            prop_assert_eq!(pair[1].start, pair[0].end());
        }
        for segment in listed.iter().filter(|s| !s.gap) {
            prop_assert_eq!(segment.parts.len(), grid.parts_per_segment() as usize);
            prop_assert_eq!(segment.bytes, segment.parts.iter().map(|p| p.data.len() as u64).sum::<u64>());
        }
    }
}
