use super::*;
use proptest::prelude::*;

fn targets() -> SourceTargets {
    SourceTargets::for_rate(Some((25, 1)))
}

fn both() -> SourcePackager {
    SourcePackager::new(
        targets(),
        Some((video_spec("source"), Resume::default())),
        vec![(sound_spec("floor", "en", true), TrackId::audio(0), Resume::default())],
    )
}

/// Picture and sound as an encoder interleaves them: by decoding time. `gop` in pictures, `reorder` pictures of delay.
fn programme(start: Ts, seconds: i64, gop: i64, reorder: i64, sample_rate: u32) -> Vec<Packet> {
    let (picture, sound) = (picture(), sound_track(sample_rate));
    let frame = Dur::from_millis(40);
    let aac = Dur::from_scale(1024, sample_rate);
    let mut packets: Vec<Packet> = (0..seconds * 25)
        .map(|n| {
            let key = n % gop == 0;
            // A closed GOP of I B P B P …: the shift alternates around the reorder delay.
            let shift = if reorder == 0 || key { reorder } else { reorder + [1, -1][(n % gop % 2) as usize] };
            let shift = if n % gop == gop - 1 { shift.min(reorder) } else { shift };
            let dts = start + frame * n;
            Packet { dts, ..packet(&picture, dts + frame * shift, Dur::ZERO, key) }
        })
        .collect();
    packets.extend((0..seconds * i64::from(sample_rate) / 1024).map(|k| packet(&sound, start + aac * k, aac, false)));
    packets.sort_by_key(|p| p.dts);
    packets
}

fn run(packager: &mut SourcePackager, packets: &[Packet]) -> [Vec<Output>; 2] {
    let mut all = Vec::new();
    for packet in packets {
        packager.push(packet, &mut all).expect("packaged");
    }
    let mut split = [Vec::new(), Vec::new()];
    all.into_iter().for_each(|(i, o)| split[i].push(o));
    split
}

fn windows(outputs: &[Vec<Output>; 2]) -> [Window; 2] {
    let specs = [video_spec("source"), sound_spec("floor", "en", true)];
    let mut windows = specs.map(|spec| Window::new(spec, Cut::Source(targets()), limits()));
    for (window, outputs) in windows.iter_mut().zip(outputs) {
        outputs.iter().for_each(|o| drop(window.apply(o.clone())));
    }
    windows
}

#[test]
fn segments_end_at_key_frames_and_sound_with_them() {
    for (gop, reorder, rate, want) in [(50, 0, 48_000, 2), (50, 2, 44_100, 2), (75, 2, 48_000, 3), (25, 1, 44_100, 2)] {
        let out = run(&mut both(), &programme(NOW, 20, gop, reorder, rate));
        let first = NOW + Dur::from_millis(40) * reorder;
        let number = first.div_floor(Dur::from_secs(2)) as u64;
        let [video, audio] = [starts(&out[0]), starts(&out[1])];
        for (i, (n, start, discontinuity)) in video.iter().enumerate() {
            assert_eq!((*n, *discontinuity), (number + i as u64, false));
            assert_eq!(*start, first + Dur::from_secs(want) * i as i64, "gop {gop}");
        }
        assert!(video.len() as i64 >= 20 / want - 1);
        let aac = Dur::from_scale(1024, rate);
        for (v, a) in video.iter().zip(&audio) {
            assert_eq!(v.0, a.0);
            assert!((v.1 - a.1).abs() * 2 <= aac, "sound begins {} off", a.1 - v.1);
        }
        assert!(video.len() - audio.len() <= 1);
        // Durations add up: each segment of sound begins where the one before ends.
        for (i, duration) in ends(&out[1]).into_iter().enumerate() {
            assert_eq!(audio[i].1 + duration, audio.get(i + 1).map_or(audio[i].1 + duration, |next| next.1));
        }
        for part in out.iter().flat_map(|o| parts(o)) {
            assert!(part.duration <= targets().part, "{}", part.duration);
        }
        for o in &out {
            // Nothing is lost and nothing doubled; all but a segment's last part are at least 85 % of the target.
            let mut indexes = Vec::new();
            for o in o {
                match o {
                    Output::SegmentStart { .. } => indexes.clear(),
                    Output::Part(part) => {
                        assert_eq!(part.index as usize, indexes.len());
                        if let Some(before) = indexes.last() {
                            assert!(*before >= targets().part.flicks() * 85 / 100, "gop {gop}: {before}");
                        }
                        indexes.push(part.duration.flicks());
                    }
                    _ => {}
                }
            }
        }
        let targets: Vec<_> =
            out[1].iter().filter_map(|o| if let Output::Target(t) = o { Some(*t) } else { None }).collect();
        assert_eq!(targets, [want as u32]);
    }
}

#[test]
fn composition_offsets_are_those_of_the_source() {
    let packets = programme(NOW, 6, 50, 2, 48_000);
    let out = run(&mut both(), &packets);
    let video: Vec<_> = packets.iter().filter(|p| p.track.is_video()).collect();
    let seen: Vec<_> = parts(&out[0]).iter().flat_map(|p| samples(&p.data)).collect();
    assert!(seen.len() > 100);
    for (seen, packet) in seen.iter().zip(&video) {
        assert_eq!(seen.dts, packet.dts.to_scale(90_000) as u64);
        assert_eq!(seen.cts, (packet.pts - packet.dts).to_scale(90_000));
        assert_eq!((seen.sync, &seen.data[..]), (packet.key, &packet.data[..]));
    }
    assert!(seen.iter().any(|s| s.cts != seen[0].cts), "the pattern has B-frames");
}

#[test]
fn a_part_is_out_with_its_last_frame() {
    // Each part's last packet is the one that was pushed when it came out, or the one before for a cut that nothing foretold.
    let mut packager = both();
    let mut late = 0;
    for (i, packet) in programme(NOW, 20, 50, 0, 48_000).into_iter().enumerate() {
        let mut all = Vec::new();
        packager.push(&packet, &mut all).expect("packaged");
        for (rendition, output) in all {
            if let Output::Part(part) = output {
                let end = part.start + part.duration;
                let behind = packet.pts - end;
                // Sound at a cut waits until the picture has decided: one picture.
                late += usize::from(rendition == 0 && i > 300 && behind >= Dur::ZERO);
                assert!(behind <= Dur::from_millis(40), "rendition {rendition} is {behind} late");
            }
        }
    }
    assert_eq!(late, 0, "once the GOP is known no part of the picture waits for the next frame");
}

#[test]
fn a_gop_that_does_not_fit_is_cut_before_any_picture() {
    // A key frame after 2 s, then none for 11 s.
    let mut packets = programme(NOW, 13, 50, 0, 48_000);
    for packet in packets.iter_mut().filter(|p| p.pts > NOW + Dur::from_millis(2100)) {
        packet.key = false;
    }
    let out = run(&mut both(), &packets);
    let windows = windows(&out);
    for window in &windows {
        assert_eq!(window.target_duration(), 2);
        assert!(window.listed().len() >= 4);
        assert!(window.listed().all(|s| s.duration.to_scale(1) <= 2), "TARGETDURATION holds");
    }
    let dependent = parts(&out[0]).iter().filter(|p| p.index == 0 && !p.independent).count();
    assert!(dependent >= 3);
    let text = playlist::media(&windows[0], &[], targets().part, &crate::wire::m3u8::Suffix::none(), false);
    assert!(!text.expect("ready").contains("INDEPENDENT-SEGMENTS"));
}

#[test]
fn long_gops_from_the_start_set_the_target_duration() {
    let out = run(&mut both(), &programme(NOW, 40, 250, 0, 48_000));
    for window in windows(&out) {
        assert_eq!(window.target_duration(), 10);
        assert_eq!(window.listed().map(|s| s.duration.to_scale(1)).collect::<Vec<_>>(), [10, 10, 10]);
    }
}

#[test]
fn a_lost_source_leaves_gaps_and_goes_on() {
    let mut packager = both();
    let mut out = run(&mut packager, &programme(NOW, 10, 50, 0, 48_000));
    let mut again = programme(NOW + Dur::from_millis(17_300), 10, 50, 0, 48_000);
    again.iter_mut().for_each(|p| p.epoch = 1);
    for (out, more) in out.iter_mut().zip(run(&mut packager, &again)) {
        out.extend(more);
    }
    for window in windows(&out) {
        let listed: Vec<_> = window.listed().collect();
        let gaps = listed.iter().filter(|s| s.gap).count();
        assert_eq!(gaps, 4, "7.3 s are four gaps of at most 2 s");
        for pair in listed.windows(2) {
            assert_eq!(pair[1].number, pair[0].number + 1);
            assert!(
                (pair[1].start - pair[0].end()).abs() < Dur::from_millis(22),
                "{} {}",
                pair[1].start,
                pair[0].end()
            );
            assert!(!pair[1].discontinuity);
        }
        assert!(listed.iter().all(|s| s.duration.to_scale(1) <= 2));
    }
    assert_eq!(inits(&out[0]), [0]);
}

#[test]
fn numbers_go_on_after_a_restart() {
    let out = run(&mut both(), &programme(NOW, 10, 75, 0, 48_000));
    let [video, audio] = windows(&out);
    let mut packager = SourcePackager::new(
        targets(),
        Some((video_spec("source"), video.resume())),
        vec![(sound_spec("floor", "en", true), TrackId::audio(0), audio.resume())],
    );
    let more = run(&mut packager, &programme(NOW + Dur::from_secs(20), 10, 75, 0, 48_000));
    for (mut window, more) in [video, audio].into_iter().zip(more) {
        let before = window.resume();
        more.into_iter().for_each(|o| drop(window.apply(o)));
        let listed: Vec<_> = window.listed().collect();
        assert!(listed.windows(2).all(|p| p[1].number == p[0].number + 1 && !p[1].discontinuity));
        assert_eq!(window.target_duration(), 3);
        assert!(window.resume().next_number > before.next_number);
        assert!(listed.iter().all(|s| s.duration.to_scale(1) <= 3));
    }
}

#[test]
fn another_format_is_a_discontinuity_at_the_next_key_frame() {
    let mut packager = both();
    let mut out = run(&mut packager, &programme(NOW, 6, 50, 0, 48_000));
    let mut more = programme(NOW + Dur::from_secs(6), 6, 50, 0, 44_100);
    let other = other_picture();
    for packet in more.iter_mut().filter(|p| p.track.is_video()) {
        packet.track = Arc::clone(&other);
    }
    for (out, more) in out.iter_mut().zip(run(&mut packager, &more)) {
        out.extend(more);
    }
    for o in &out {
        assert_eq!(inits(o), [0, 1]);
        let marks: Vec<_> = starts(o).iter().map(|s| s.2).collect();
        assert_eq!(marks.iter().filter(|&&d| d).count(), 1, "{marks:?}");
    }
    let [video, audio] = windows(&out);
    assert_eq!(video.listed().filter(|s| s.gap).count() + audio.listed().filter(|s| s.gap).count(), 0);
}

#[test]
fn sound_goes_on_without_the_picture() {
    let mut packager = both();
    let mut packets = programme(NOW, 30, 50, 0, 48_000);
    // The camera is lost from 7 s to 21 s.
    packets.retain(|p| !p.track.is_video() || !(7_000..21_000).contains(&(p.pts - NOW).as_millis()));
    let out = run(&mut packager, &packets);
    let [video, audio] = windows(&out);
    assert_eq!(audio.listed().filter(|s| s.gap).count(), 0);
    let sounding: Dur = audio.listed().map(|s| s.duration).fold(Dur::ZERO, |a, b| a + b);
    assert!(sounding >= Dur::from_secs(27), "{sounding}");
    assert!(video.listed().any(|s| s.gap));
    let (v, a) = (video.listed().next_back().expect("listed"), audio.listed().next_back().expect("listed"));
    assert!(v.number.abs_diff(a.number) <= 1);
    let same = audio.listed().find(|s| s.number == v.number).expect("both have it");
    assert!((same.start - v.start).abs() < Dur::from_millis(22), "in step again");
}

#[test]
fn sound_alone_is_cut_by_time() {
    let targets = targets();
    let audio = vec![(sound_spec("floor", "en", true), TrackId::audio(0), Resume::default())];
    let mut packager = SourcePackager::new(targets, None, audio);
    let packets: Vec<_> = programme(NOW, 20, 50, 0, 48_000).into_iter().filter(|p| !p.track.is_video()).collect();
    let [out, _] = run(&mut packager, &packets);
    assert!(starts(&out).len() >= 9);
    assert!(ends(&out).iter().all(|d| (*d - Dur::from_secs(2)).abs() <= Dur::from_millis(22)));
}

#[test]
fn finishing_writes_what_has_been_gathered() {
    let mut packager = both();
    let packets = programme(NOW, 3, 50, 0, 48_000);
    let mut out = run(&mut packager, &packets);
    for (i, o) in packager.finish() {
        out[i].push(o);
    }
    let pictures = packets.iter().filter(|p| p.track.is_video()).count();
    for (o, want) in out.iter().zip([pictures, packets.len() - pictures]) {
        assert_eq!(parts(o).iter().map(|p| samples(&p.data).len()).sum::<usize>(), want);
    }
    let [mut video, _] = windows(&out);
    let open = video.open().expect("a growing segment").number;
    let change = video.end();
    assert_eq!(change.completed, Some(open));
    assert!(video.listed().next_back().is_some_and(|s| s.number == open && !s.gap));
}

proptest! {
    /// Whatever a source does with its clock and its key frames: no panic, times only rise, numbers have no holes.
    #[test]
    fn any_source_keeps_its_windows_in_order(
        steps in prop::collection::vec((0u8..100, -500i64..3000, any::<bool>()), 1..400),
    ) {
        let mut packager = both();
        let (picture, other, sound) = (picture(), other_picture(), sound_track(48_000));
        let (mut clock, mut epoch) = (NOW, 0);
        let mut packets = Vec::new();
        for (kind, jump, key) in steps {
            clock += Dur::from_millis(40);
            if kind > 96 {
                epoch += 1;
                clock += Dur::from_millis(jump);
            } else if kind > 92 {
                clock += Dur::from_millis(jump.max(0));
            }
            let track = if kind > 90 { &other } else { &picture };
            let mut video = packet(track, clock + Dur::from_millis(i64::from(kind) % 3 * 40), Dur::ZERO, key && kind > 60);
            video.dts = clock;
            let mut audio = packet(&sound, clock, Dur::ZERO, false);
            (video.epoch, audio.epoch) = (epoch, epoch);
            if kind % 7 > 0 { packets.push(video); }
            if kind % 11 > 0 { packets.push(audio); }
        }
        let mut out = run(&mut packager, &packets);
        for (i, o) in packager.finish() {
            out[i].push(o);
        }
        for outputs in &out {
            let numbers: Vec<_> = starts(outputs).iter().map(|s| s.0).collect();
            prop_assert!(numbers.windows(2).all(|p| p[1] > p[0]), "{numbers:?}");
        }
        for window in windows(&out) {
            let listed: Vec<_> = window.listed().collect();
            for pair in listed.windows(2) {
                prop_assert_eq!(pair[1].number, pair[0].number + 1);
                // Sound that bridged a hole of the picture leaves no time for the gap.
                prop_assert!(pair[1].start >= pair[0].start);
            }
            for s in &listed {
                prop_assert!(s.duration >= Dur::ZERO, "{} from {} for {}", s.number, s.start - NOW, s.duration);
            }
        }
    }
    /// Whatever a source does with its clock, its key frames, its frame intervals and its composition offsets: no segment
    /// is longer than TARGETDURATION, which does not change (RFC 8216bis §4.4.3.1), and no part than PART-TARGET, but for
    /// a single picture that lasts longer.
    #[test]
    fn target_duration_always_holds(
        fixed in proptest::option::of(2u32..4),
        steps in prop::collection::vec((0u8..100, -500i64..3000, any::<bool>(), 0i64..700), 1..500),
    ) {
        let targets = SourceTargets { target: fixed, ..targets() };
        let sounds = vec![(sound_spec("floor", "en", true), TrackId::audio(0), Resume::default())];
        let mut packager = SourcePackager::new(targets, Some((video_spec("source"), Resume::default())), sounds);
        let (picture, other) = (picture(), other_picture());
        let (sound, other_sound) = (sound_track(48_000), sound_track(44_100));
        let (mut clock, mut sound_clock, mut epoch, mut lost) = (NOW, NOW, 0, [false; 2]);
        let mut packets = Vec::new();
        for (kind, jump, key, composition) in steps {
            match kind {
                99 => (epoch, clock) = (epoch + 1, clock + Dur::from_millis(jump)),
                97..99 => clock += Dur::from_millis(jump.max(0)),
                95..97 => sound_clock = clock + Dur::from_millis(jump),
                93..95 => lost[0] = !lost[0],
                91..93 => lost[1] = !lost[1],
                _ => {}
            }
            // From one picture to the next: as it should be, or not at all.
            clock += Dur::from_millis([40, 40, 40, 20, 200, jump.clamp(1, 900)][usize::from(kind) % 6]);
            let track = if kind > 85 { &other } else { &picture };
            let shift = Dur::from_millis([0, 40, 80, composition][usize::from(kind) % 4]);
            let mut video = packet(track, clock + shift, Dur::from_millis(composition % 50), key && kind > 60);
            (video.dts, video.epoch) = (clock, epoch);
            if !lost[0] && kind % 7 > 0 {
                packets.push(video);
            }
            while sound_clock < clock {
                let track = if kind == 80 { &other_sound } else { &sound };
                sound_clock += Dur::from_scale(1024, 48_000);
                if !lost[1] {
                    packets.push(Packet { epoch, ..packet(track, sound_clock, Dur::ZERO, false) });
                }
            }
        }
        let mut out = run(&mut packager, &packets);
        for (i, o) in packager.finish() {
            out[i].push(o);
        }
        let specs = [video_spec("source"), sound_spec("floor", "en", true)];
        let limits = WindowLimits { dvr: Dur::from_secs(100_000), ..limits() };
        for (spec, outputs) in specs.into_iter().zip(out) {
            let mut window = Window::new(spec, Cut::Source(targets), limits);
            let mut declared = None;
            for output in outputs {
                if let Output::Part(part) = &output {
                    let one = samples(&part.data).len() == 1;
                    prop_assert!(part.duration <= targets.part || one, "a part of {}", part.duration);
                }
                drop(window.apply(output));
                if window.listed().any(|s| !s.gap) {
                    prop_assert_eq!(*declared.get_or_insert(window.target_duration()), window.target_duration());
                }
            }
            window.end();
            for s in window.listed() {
                let seconds = s.duration.to_scale(1);
                let target = i64::from(window.target_duration());
                let name = &window.spec().name;
                prop_assert!(seconds <= target, "{name} {} of {} for {target} s, gap {}", s.number, s.duration, s.gap);
            }
        }
    }
}
