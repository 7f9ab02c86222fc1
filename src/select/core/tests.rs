use super::*;
use crate::media::Stretch;
use crate::select::FailoverConfig;
use crate::select::testing::{Encoder, Random, made_at, ms, start};
use std::collections::HashMap;

const MAIN: InputName = InputName::Main;
const BACKUP: InputName = InputName::Backup;

/// What is attached to an input.
#[derive(Clone)]
struct Line {
    encoder: Encoder,
    since: i64,
    epoch: u32,
    /// Nothing passes; what was sent meanwhile comes at the end (TCP).
    stalled: bool,
    held: Vec<Packet>,
    /// The picture is missing.
    no_video: bool,
}

/// A core with two lines, on simulated time.
struct Bench {
    core: Core,
    now: i64,
    lines: [Option<Line>; 2],
    sent: Vec<Packet>,
    switches: Vec<Switch>,
    random: Random,
    /// How long after its capture a packet may arrive.
    oldest: Dur,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let core = Core::new(config, start());
        Bench {
            core,
            now: 0,
            lines: [None, None],
            sent: Vec::new(),
            switches: Vec::new(),
            random: Random(1),
            oldest: ms(3000),
        }
    }

    fn at(&self) -> Ts {
        start() + ms(self.now)
    }

    fn with(&mut self, act: impl FnOnce(&mut Core, Ts, &mut Output)) {
        let mut out = Output::default();
        act(&mut self.core, start() + ms(self.now), &mut out);
        self.sent.append(&mut out.packets);
        self.switches.append(&mut out.switches);
    }

    fn attach(&mut self, name: InputName, encoder: Encoder) {
        let line = Line { encoder, since: self.now, epoch: 0, stalled: false, held: Vec::new(), no_video: false };
        self.lines[name.index()] = Some(line);
        self.with(|core, now, out| core.attach(name, now, out));
    }

    fn detach(&mut self, name: InputName) {
        self.lines[name.index()] = None;
        self.with(|core, now, out| core.detach(name, now, out));
    }

    fn line(&mut self, name: InputName) -> &mut Line {
        self.lines[name.index()].as_mut().expect("attached")
    }

    fn choose(&mut self, choice: Option<InputName>) {
        self.with(|core, now, out| core.choose(choice, now, out));
    }

    /// The encoder's time jumps.
    fn jump(&mut self, name: InputName, to: i64) {
        let now = self.now;
        let line = self.line(name);
        line.encoder.base = to - (now - line.since);
        line.epoch += 1;
    }

    fn run(&mut self, millis: i64) {
        for _ in 0..millis / 20 {
            let (from, to) = (self.now, self.now + 20);
            let mut packets: Vec<(InputName, Packet)> = Vec::new();
            for name in InputName::ALL {
                let Some(line) = &mut self.lines[name.index()] else { continue };
                let mut fresh = line.encoder.packets(line.since, from, to, line.epoch, &mut self.random);
                fresh.retain(|p| !(line.no_video && p.track.is_video()));
                line.held.append(&mut fresh);
                if line.stalled {
                    continue;
                }
                // In order, and not before now: what was held comes at once.
                let mut earliest = start() + ms(from);
                let due = line.held.iter().take_while(|p| p.arrival < start() + ms(to)).count();
                for mut packet in line.held.drain(..due) {
                    earliest = earliest.max(packet.arrival);
                    packet.arrival = earliest;
                    packets.push((name, packet));
                }
            }
            packets.sort_by_key(|(_, p)| p.arrival);
            for (name, packet) in packets {
                while let Some(at) = self.core.deadline().filter(|&at| at < packet.arrival) {
                    self.with(|core, _, out| core.tick(at, out));
                }
                self.with(|core, _, out| core.packet(name, &packet, out));
            }
            self.now = to;
            self.with(|core, now, out| core.tick(now, out));
            self.check_deadline();
        }
    }

    fn check_deadline(&self) {
        if let Some(at) = self.core.deadline() {
            assert!(at > self.at(), "a deadline in the past would spin");
        }
    }

    /// What must hold whatever happens.
    fn check(&self) {
        let mut last: HashMap<TrackId, &Packet> = HashMap::new();
        let mut epoch: Option<(u32, Ts)> = None;
        for p in &self.sent {
            if epoch.is_none_or(|(e, _)| e != p.epoch) {
                if let Some((before, _)) = epoch {
                    assert_eq!(p.epoch, before + 1);
                }
                let of_it = || self.sent.iter().filter(|q| q.epoch == p.epoch && q.track.is_video());
                assert!(p.key || of_it().next().is_none(), "epoch {} does not begin with a key frame", p.epoch);
                let shown = of_it().filter(|q| !q.decode_only).map(|q| q.pts).min();
                epoch = Some((p.epoch, shown.unwrap_or(p.pts)));
            }
            let begin = epoch.expect("set above").1;
            if !p.decode_only {
                assert!(p.pts >= p.dts);
                let early = if p.track.is_video() { Dur::ZERO } else { ms(520) };
                assert!(p.pts >= begin - early, "{:?} {} before the splice", p.track.id, begin - p.pts);
            }
            if let Some(before) = last.insert(p.track.id, p) {
                assert!(p.dts > before.dts, "{:?}: {} after {}", p.track.id, p.dts, before.dts);
            }
            // On the event timeline: when it was captured, and that is now or a moment ago.
            let age = p.arrival - p.dts;
            // The clock is the pictures', and steps back what is more than a second early; a burst of sound may come ahead of
            // pictures that are held up.
            let early = age < -ms(1000) && !p.decode_only && p.track.is_video();
            assert!(!early && age <= self.oldest, "{:?} arrived {age} after capture", p.track.id);
        }
        // Nothing is shown twice, and nothing sounds twice.
        let shown = self.shown();
        for pair in shown.windows(2) {
            let apart = pair[1].pts - pair[0].pts;
            assert!(apart >= ms(18), "two pictures {apart} apart at {}", pair[0].pts - start());
        }
        let mut sound: Vec<&Packet> = self.sent.iter().filter(|p| !p.track.is_video() && !p.decode_only).collect();
        sound.sort_by_key(|p| p.pts);
        for pair in sound.windows(2) {
            let apart = pair[1].pts - pair[0].pts;
            assert!(apart >= ms(9), "two sounds {apart} apart at {}", pair[0].pts - start());
        }
        for pair in self.switches.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
            assert_ne!(pair[1].to, pair[1].from);
        }
    }

    /// The pictures as the engine shows them, in that order: of a run that broke off, none from where the next one begins.
    fn shown(&self) -> Vec<&Packet> {
        let pictures = || self.sent.iter().filter(|p| p.track.is_video() && !p.decode_only);
        let mut begins: HashMap<u32, Ts> = HashMap::new();
        for p in pictures() {
            let begin = begins.entry(p.epoch).or_insert(p.pts);
            *begin = p.pts.min(*begin);
        }
        let replaced = |p: &Packet| begins.iter().any(|(&e, &from)| e > p.epoch && p.pts >= from - ms(20));
        let mut shown: Vec<&Packet> = pictures().filter(|p| !replaced(p)).collect();
        shown.sort_by_key(|p| p.pts);
        shown
    }

    fn causes(&self) -> Vec<(Option<InputName>, Cause)> {
        self.switches.iter().map(|s| (s.to, s.cause)).collect()
    }

    /// The longest time without a new picture on the event timeline, between `from` and `to` ms.
    fn longest_hole(&self, from: i64, to: i64) -> Dur {
        let pts: Vec<Ts> = self.shown().iter().map(|p| p.pts).collect();
        let within = pts.into_iter().filter(|&t| t >= start() + ms(from) && t <= start() + ms(to)).collect::<Vec<_>>();
        within.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(Dur::MAX)
    }
}

fn bench() -> Bench {
    Bench::new(Config::default())
}

#[test]
fn an_input_goes_on_air_with_its_first_key_frame_and_picture_and_sound_keep_their_distance() {
    let mut b = bench();
    b.attach(MAIN, Encoder { base: 77_000, ..Encoder::new() });
    b.run(5000);
    b.check();
    assert_eq!(b.causes(), [(Some(MAIN), Cause::Start)]);
    let first = &b.sent[0];
    // Once its clock has settled: with the first key frame, at the time that it arrived.
    assert!(first.key);
    assert_eq!((first.dts, first.pts), (start(), start() + ms(40)));
    for p in &b.sent {
        let source = if p.track.is_video() { p.dts - start() } else { p.pts - start() };
        assert_eq!(source.flicks() % ms(20).flicks(), 0);
    }
    let pictures = b.sent.iter().filter(|p| p.track.is_video()).count();
    assert_eq!(pictures, 125);
    assert_eq!(b.core.state().active, Some(MAIN));
}

#[test]
fn loss_of_main_by_disconnect_and_by_time() {
    for silent in [false, true] {
        let mut b = bench();
        b.attach(MAIN, Encoder::new());
        b.run(200);
        b.attach(BACKUP, Encoder { base: 9_000_000, ..Encoder::new() });
        b.run(5320);
        if silent {
            b.line(MAIN).stalled = true;
        } else {
            b.detach(MAIN);
        }
        b.run(3000);
        b.check();
        let cause = if silent { Cause::NoMedia } else { Cause::Disconnected };
        assert_eq!(b.causes(), [(Some(MAIN), Cause::Start), (Some(BACKUP), cause)]);
        // What backup has sent since is decoded, and shown from where main broke off: within a picture.
        // That also holds for those that are shown before the newest of them and have not come yet.
        let gap = b.switches[1].gap.expect("programme was there before");
        assert_eq!((gap, b.longest_hole(1000, 8300)), (Dur::ZERO, ms(40)));
        assert_eq!(b.core.state().active, Some(BACKUP));
    }
}

#[test]
fn black_is_left_without_a_hole_and_what_the_engine_still_shows_of_it_condemns_nobody() {
    let triggers = Triggers { black_after: Some(ms(2000)), ..Triggers::default() };
    let failover = FailoverConfig { triggers, ..FailoverConfig::default() };
    let mut b = Bench::new(Config { failover, ..Config::default() });
    b.attach(MAIN, Encoder::new());
    b.attach(BACKUP, Encoder { base: 5_000_000, ..Encoder::new() });
    b.run(5000);
    // From here on main is black; the engine decodes what was sent 750 ms ago.
    let (from, delay) = (b.at(), ms(750));
    let told = |b: &mut Bench, until: Ts| {
        let black = Some(Stretch { from, until });
        b.with(|core, now, out| core.measured(&Content { black, ..Content::default() }, now, out));
    };
    while b.core.state().active == Some(MAIN) && b.now < 10_000 {
        b.run(20);
        if b.at() - delay > from {
            let until = b.at() - delay;
            told(&mut b, until);
        }
    }
    assert!((7750..7900).contains(&b.now), "{}", b.now);
    assert_eq!(b.core.state().faults, [Some(Cause::Black), None]);
    // Its last black pictures are decoded after the switch, and then reported for a while yet.
    let shown = b.sent.iter().rfind(|p| p.track.is_video() && p.arrival < b.at() - ms(20)).expect("sent").pts;
    for _ in 0..60 {
        b.run(100);
        let until = shown.min(b.at() - delay);
        told(&mut b, until);
        assert_eq!(b.core.state().faults, [Some(Cause::Black), None]);
    }
    // Nor is main taken back where backup is black as well, as is now seen.
    for _ in 0..60 {
        b.run(100);
        let until = b.at() - delay;
        told(&mut b, until);
    }
    assert_eq!(b.core.state().faults, [Some(Cause::Black); 2]);
    b.check();
    assert_eq!(b.causes(), [(Some(MAIN), Cause::Start), (Some(BACKUP), Cause::Black)]);
    assert_eq!(b.longest_hole(1000, b.now - 500), ms(40));
}

#[test]
fn main_returns_after_it_was_clean_for_long_enough_without_a_hole() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.attach(BACKUP, Encoder { base: 5_000_000, ..Encoder::new() });
    b.run(3000);
    b.detach(MAIN);
    b.run(3000);
    let back = b.now;
    b.attach(MAIN, Encoder { base: 123, ..Encoder::new() });
    b.run(2900);
    assert_eq!(b.core.state().active, Some(BACKUP));
    b.run(4000);
    b.check();
    let causes = [(Some(MAIN), Cause::Start), (Some(BACKUP), Cause::Disconnected), (Some(MAIN), Cause::Recovered)];
    assert_eq!(b.causes(), causes);
    assert!(b.switches[2].at >= start() + ms(back + 3000));
    assert!(b.longest_hole(back, b.now - 500) <= ms(120), "{}", b.longest_hole(back, b.now - 500));
}

#[test]
fn sticky_stays_and_a_hand_moves_it() {
    let mut config = Config::default();
    config.failover.mode = crate::select::Mode::Sticky;
    let mut b = Bench::new(config);
    b.attach(MAIN, Encoder::new());
    b.attach(BACKUP, Encoder::new());
    b.run(3000);
    b.detach(MAIN);
    b.run(2000);
    b.attach(MAIN, Encoder::new());
    b.run(10_000);
    assert_eq!(b.core.state().active, Some(BACKUP));
    b.choose(Some(MAIN));
    b.run(2000);
    assert_eq!(b.core.state().active, Some(MAIN));
    // Chosen by hand: the slate rather than the other input.
    b.line(MAIN).stalled = true;
    b.run(2000);
    assert_eq!(b.core.state().active, None);
    b.choose(None);
    b.run(2000);
    assert_eq!(b.core.state().active, Some(BACKUP));
    b.check();
    let causes: Vec<Cause> = b.causes().into_iter().map(|c| c.1).collect();
    assert_eq!(causes, [Cause::Start, Cause::Disconnected, Cause::Manual, Cause::NoMedia, Cause::Manual]);
}

#[test]
fn a_stall_shorter_than_the_timeout_changes_nothing() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.attach(BACKUP, Encoder::new());
    b.run(3000);
    b.line(MAIN).stalled = true;
    b.run(440);
    b.line(MAIN).stalled = false;
    b.run(3000);
    b.check();
    assert_eq!(b.switches.len(), 1);
    assert_eq!(b.longest_hole(0, 6000), ms(40));
    assert!(b.sent.iter().all(|p| p.epoch == 0));
}

#[test]
fn a_lonely_input_that_stalls_goes_on_where_it_was() {
    let mut b = bench();
    b.attach(MAIN, Encoder { gop: 250, ..Encoder::new() });
    b.run(3000);
    b.line(MAIN).stalled = true;
    b.run(900);
    assert_eq!(b.core.state().active, None);
    b.line(MAIN).stalled = false;
    b.run(2000);
    b.check();
    let causes = [(Some(MAIN), Cause::Start), (None, Cause::NoMedia), (Some(MAIN), Cause::Returned)];
    assert_eq!(b.causes(), causes);
    // No key frame was needed, and no picture was lost.
    assert_eq!((b.switches[2].epoch, b.switches[2].gap), (None, Some(Dur::ZERO)));
    assert_eq!(b.longest_hole(0, 5000), ms(40));
    assert!(b.sent.iter().all(|p| p.epoch == 0));
}

#[test]
fn main_that_is_back_before_backup_could_be_entered_is_never_left() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    // Its key frame is too old to begin with, and its next one is far.
    b.attach(BACKUP, Encoder { gop: 250, ..Encoder::new() });
    b.run(5000);
    b.line(MAIN).stalled = true;
    b.run(800);
    assert_eq!(b.core.state().pending, Some(BACKUP));
    b.line(MAIN).stalled = false;
    b.run(10_000);
    b.check();
    assert_eq!(b.switches.len(), 1);
    assert_eq!(b.longest_hole(0, 15_000), ms(40));
}

#[test]
fn a_restarted_encoder_goes_on_after_the_old_timeline() {
    let mut b = bench();
    b.attach(MAIN, Encoder { base: 60_000, ..Encoder::new() });
    b.run(5000);
    b.detach(MAIN);
    b.run(100);
    b.attach(MAIN, Encoder { base: 0, ..Encoder::new() });
    b.run(5000);
    b.check();
    assert_eq!(b.core.state().active, Some(MAIN));
    let second: Vec<&Packet> = b.sent.iter().filter(|p| p.epoch == 1).collect();
    assert!(second[0].key && second[0].dts - start() >= ms(5000));
    assert!(b.longest_hole(0, 10_000) <= ms(500));
}

#[test]
fn a_jump_of_the_source_is_a_new_epoch_of_the_same_input() {
    for to in [0, 90_000_000] {
        let mut b = bench();
        b.attach(MAIN, Encoder { base: 60_000, ..Encoder::new() });
        b.run(5000);
        b.jump(MAIN, to);
        b.run(5000);
        b.check();
        assert_eq!(b.switches.len(), 1, "{:?}", b.causes());
        assert_eq!(b.sent.iter().map(|p| p.epoch).max(), Some(1));
        assert!(b.longest_hole(0, 9500) <= ms(300), "{}", b.longest_hole(0, 9500));
    }
}

#[test]
fn a_missing_picture_switches_only_where_there_is_a_better_input() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.run(3000);
    b.line(MAIN).no_video = true;
    b.run(5000);
    // Nothing better: its sound goes on.
    assert_eq!(b.core.state().active, Some(MAIN));
    assert!(b.sent.last().is_some_and(|p| !p.track.is_video() && start() + ms(8000) - p.pts <= ms(40)));
    b.attach(BACKUP, Encoder::new());
    b.run(2000);
    b.check();
    assert_eq!(b.causes(), [(Some(MAIN), Cause::Start), (Some(BACKUP), Cause::NoVideo)]);
}

#[test]
fn a_contribution_without_pictures_is_a_programme_too() {
    let mut b = bench();
    b.attach(MAIN, Encoder::sound_only());
    b.attach(BACKUP, Encoder { base: 3000, ..Encoder::sound_only() });
    b.run(6000);
    assert_eq!(b.core.state().active, Some(MAIN));
    b.line(MAIN).stalled = true;
    b.run(2000);
    b.check();
    assert_eq!(b.causes(), [(Some(MAIN), Cause::Start), (Some(BACKUP), Cause::NoMedia)]);
    // Backup's sound since the loss was held: nothing is missing but a frame at the seam.
    assert!(b.switches[1].gap.is_some_and(|gap| gap <= ms(40)), "{:?}", b.switches[1].gap);
}

#[test]
fn a_picture_that_comes_late_joins_the_sound() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.line(MAIN).no_video = true;
    b.run(5000);
    assert_eq!(b.core.state().active, Some(MAIN));
    b.line(MAIN).no_video = false;
    b.run(3000);
    b.check();
    assert_eq!(b.switches.len(), 1);
    assert!(b.sent.iter().any(|p| p.epoch == 1 && p.key));
    assert!(b.sent.iter().filter(|p| p.track.is_video()).all(|p| p.epoch == 1));
}

#[test]
fn an_input_that_is_always_behind_is_entered_in_the_end() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.attach(BACKUP, Encoder::new());
    b.run(2000);
    b.choose(Some(BACKUP));
    // Its key frames come 600 ms after what is on air shows the same instant.
    for _ in 0..20 {
        b.line(BACKUP).stalled = true;
        b.run(640);
        b.line(BACKUP).stalled = false;
        b.run(360);
    }
    b.check();
    assert_eq!(b.core.state().active, Some(BACKUP));
}

#[test]
fn missed_packets_wait_for_a_key_frame() {
    let mut b = bench();
    b.attach(MAIN, Encoder::new());
    b.run(3200);
    b.with(|core, now, out| core.lagged(MAIN, now, out));
    b.run(3000);
    b.check();
    assert_eq!(b.switches.len(), 1);
    let second = b.sent.iter().find(|p| p.epoch == 1).expect("a new epoch");
    assert_eq!((second.dts - start()).as_millis(), 4000);
}

/// Both inputs from one encoder: what is shown and heard has no picture and no sound missing, and none twice.
fn whole(b: &Bench, from: i64) {
    b.check();
    for video in [true, false] {
        let mut all: Vec<&Packet> = b.sent.iter().filter(|p| p.track.is_video() == video && !p.decode_only).collect();
        if video {
            all = b.shown();
        }
        all.sort_by_key(|p| p.pts);
        // Pictures in the order of showing; the encoder's reordering gives when each was made.
        let shown_at = |p: &Packet| if video { made_at(p) + (p.pts - p.dts).as_millis() } else { made_at(p) };
        let step = if video { 40 } else { 20 };
        let made: Vec<i64> = all.iter().map(|p| shown_at(p)).filter(|&at| at >= from && at <= b.now - 300).collect();
        let bad: Vec<_> = made.windows(2).filter(|w| (w[1] - w[0] - step).abs() > 1).collect();
        assert!(bad.is_empty(), "video {video}: {bad:?}");
    }
}

#[test]
fn equal_inputs_are_switched_without_a_picture_or_sound_lost_or_repeated() {
    for seed in 0..60i64 {
        let silent = seed % 2 == 0;
        // The networks differ by some; where main broke off differs too, within GOPs short and long.
        let (delay, gop) = ([0, 5, 30, 110, 240, -60, -240][seed as usize % 7], [25, 50, 250][seed as usize % 3]);
        let mut b = Bench::new(Config { wait: ms(500), ..Config::default() });
        let encoder = |base: i64, delay: i64| Encoder { base, delay, gop, content: 7, ..Encoder::new() };
        b.attach(MAIN, encoder(60_000, (-delay).max(0)));
        b.attach(BACKUP, encoder(9_123_456, delay.max(0)));
        b.run(5000 + 20 * (seed * 7 % 51));
        let since = b.line(MAIN).since;
        if silent {
            b.line(MAIN).stalled = true;
        } else {
            b.detach(MAIN);
        }
        b.run(4000);
        assert_eq!(b.core.state().active, Some(BACKUP), "{seed}");
        // The same encoder reaches main again.
        if silent {
            let line = b.line(MAIN);
            line.stalled = false;
            line.held.clear();
        } else {
            b.attach(MAIN, encoder(777, (-delay).max(0)));
            b.line(MAIN).since = since;
        }
        b.run(9000);
        assert_eq!(b.core.state().active, Some(MAIN), "{seed}: {:?}", b.causes());
        println!(
            "{seed}: {delay} ms, GOP {gop}: {:?}",
            b.switches.iter().map(|s| (s.basis, s.gap)).collect::<Vec<_>>()
        );
        // Main that comes later than backup goes on air after it.
        assert!(b.switches.len() == 3 + usize::from(b.switches[0].to == Some(BACKUP)), "{seed}: {:?}", b.causes());
        assert!(b.switches[1..].iter().all(|s| s.basis == Basis::Content), "{seed}: {:?}", b.switches);
        assert!(b.switches[1..].iter().all(|s| s.gap == Some(Dur::ZERO)), "{seed}: {:?}", b.switches);
        whole(&b, 1000);
    }
}

#[test]
fn inputs_that_only_sound_alike_are_switched_within_a_picture() {
    for seed in 0..30i64 {
        // The networks differ by some, and what is measured is a little wrong.
        let (delay, gop) = ([0, 30, 110, 240, -60, -240][seed as usize % 6], [25, 50][seed as usize % 2]);
        let wrong = [0, 3, -3][seed as usize % 3];
        let mut b = Bench::new(Config { wait: ms(500), ..Config::default() });
        let main = |base| Encoder { base, delay: (-delay).max(0), gop, content: 7, ..Encoder::new() };
        let backup = Encoder { base: 9_123_456, delay: delay.max(0), gop, content: 8, ..Encoder::new() };
        let heard = |b: &mut Bench, base: i64| {
            let epochs = InputName::ALL.map(|i| b.core.aligner.epoch(i));
            let apart = ms(base - 9_123_456 + wrong);
            b.with(|core, at, _| core.alike(SoundMatch { apart, at, epochs }));
        };
        b.attach(MAIN, main(60_000));
        b.attach(BACKUP, backup);
        b.run(4000);
        heard(&mut b, 60_000);
        b.run(1000 + 20 * (seed * 7 % 51));
        let since = b.line(MAIN).since;
        b.detach(MAIN);
        b.run(4000);
        assert_eq!(b.core.state().active, Some(BACKUP), "{seed}");
        b.attach(MAIN, main(777));
        b.line(MAIN).since = since;
        b.run(2600);
        heard(&mut b, 777);
        b.run(6400);
        b.check();
        assert_eq!(b.core.state().active, Some(MAIN), "{seed}: {:?}", b.causes());
        let last = &b.switches[b.switches.len() - 2..];
        assert!(last.iter().all(|s| s.basis == Basis::Sound && s.gap <= Some(ms(40))), "{seed}: {last:?}");
        let mut shown = b.shown();
        shown.sort_by_key(|p| p.pts);
        let made = shown.iter().map(|p| made_at(p) + (p.pts - p.dts).as_millis());
        let made: Vec<i64> = made.filter(|&at| at >= 4500 && at <= b.now - 300).collect();
        // A clock that is set right meanwhile moves pictures by some ms.
        let off: Vec<_> = made.windows(2).map(|w| w[1] - w[0] - 40).filter(|step| step.abs() > 4).collect();
        assert!(off.len() <= 2 && off.iter().all(|step| step.abs() <= 44), "{seed}: {off:?}");
    }
}

#[test]
fn an_equal_backup_that_lags_far_behind_is_entered_by_arrival() {
    let mut b = Bench::new(Config { wait: ms(500), ..Config::default() });
    b.oldest = ms(9500);
    b.attach(MAIN, Encoder { content: 7, ..Encoder::new() });
    b.attach(BACKUP, Encoder { content: 7, delay: 8000, ..Encoder::new() });
    b.run(15_000);
    b.detach(MAIN);
    b.run(3000);
    b.check();
    assert_eq!(b.core.state().active, Some(BACKUP));
    assert_eq!(b.switches[1].basis, Basis::Arrival);
    // Eight seconds come once more; nothing is missing, and nobody waits for them.
    assert!(b.longest_hole(1000, 17_500) <= ms(120), "{}", b.longest_hole(1000, 17_500));
}

/// Seeded faults of every kind, for a while; the guarantees hold and switches do not exceed their causes. In four parts,
/// which run side by side.
#[test]
fn no_schedule_of_faults_breaks_the_programme_first_500() {
    schedules(0..500);
}

#[test]
fn no_schedule_of_faults_breaks_the_programme_second_500() {
    schedules(500..1000);
}

#[test]
fn no_schedule_of_faults_breaks_the_programme_third_500() {
    schedules(1000..1500);
}

#[test]
fn no_schedule_of_faults_breaks_the_programme_fourth_500() {
    schedules(1500..2000);
}

fn schedules(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut r = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
        let mut config = Config::default();
        if seed % 3 == 1 {
            config.failover.mode = crate::select::Mode::Sticky;
        }
        if seed % 5 == 2 {
            config.clock = crate::select::ClockConfig::passthrough();
        }
        let mut b = Bench::new(config);
        b.random = Random(seed);
        // Lines stall for as long as they like here, and then deliver everything.
        b.oldest = ms(200_000);
        let mut faults = 0usize;
        for _ in 0..25 {
            let name = if r.below(2) == 0 { MAIN } else { BACKUP };
            let gop = [12, 25, 50, 100][r.below(4) as usize];
            let encoder = Encoder {
                // Encoders that are set alike and see the same are equal.
                content: if seed % 4 == 3 { gop as u64 } else { 0 },
                delay: [0, 0, 40, 300][r.below(4) as usize],
                gop,
                base: r.below(1_000_000),
                jitter: [0, 20, 150][r.below(3) as usize],
                ..if r.below(8) == 0 { Encoder::sound_only() } else { Encoder::new() }
            };
            let attached = b.lines[name.index()].is_some();
            match r.below(8) {
                0 | 1 => b.attach(name, encoder),
                2 if attached => b.detach(name),
                3 if attached => b.line(name).stalled ^= true,
                4 if attached => b.line(name).no_video ^= true,
                5 if attached => b.jump(name, r.below(10_000_000)),
                6 => b.choose([None, Some(MAIN), Some(BACKUP)][r.below(3) as usize]),
                7 if attached => b.with(|core, now, out| core.lagged(name, now, out)),
                _ => {}
            }
            faults += 1;
            b.run(r.below(4000) / 20 * 20);
            b.check();
        }
        // A fault may cost a switch away, one back, and the slate in between.
        assert!(b.switches.len() <= 3 * faults, "seed {seed}: {} switches", b.switches.len());
        // When the faults are over, the programme is back.
        b.lines.iter_mut().flatten().for_each(|l| (l.stalled, l.no_video) = (false, false));
        b.choose(None);
        b.attach(MAIN, Encoder::new());
        b.run(12_000);
        b.check();
        assert!(b.core.state().active.is_some(), "seed {seed}: nothing is on air");
        let last = b.sent.last().map(|p| p.pts);
        assert!(last.is_some_and(|t| b.at() - t <= ms(400)), "seed {seed}: {last:?}");
    }
}
