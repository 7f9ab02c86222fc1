use super::*;
use crate::select::testing::{Encoder, Random, ms, start};
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
        self.lines[index(name)] = Some(line);
        self.with(|core, now, out| core.attach(name, now, out));
    }

    fn detach(&mut self, name: InputName) {
        self.lines[index(name)] = None;
        self.with(|core, now, out| core.detach(name, now, out));
    }

    fn line(&mut self, name: InputName) -> &mut Line {
        self.lines[index(name)].as_mut().expect("attached")
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
                let Some(line) = &mut self.lines[index(name)] else { continue };
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
        let mut shown: Option<Ts> = None;
        let mut epoch: Option<(u32, Ts)> = None;
        for p in &self.sent {
            assert!(p.pts >= p.dts);
            if epoch.is_none_or(|(e, _)| e != p.epoch) {
                if let Some((before, _)) = epoch {
                    assert_eq!(p.epoch, before + 1);
                }
                let has_picture = self.sent.iter().any(|q| q.epoch == p.epoch && q.track.is_video());
                assert!(p.key || !has_picture, "epoch {} does not begin with a key frame", p.epoch);
                if let (true, Some(shown)) = (p.track.is_video(), shown) {
                    assert!(p.pts >= shown, "epoch {} begins {} before the end of the last", p.epoch, shown - p.pts);
                }
                epoch = Some((p.epoch, p.pts));
            }
            let begin = epoch.expect("set above").1;
            assert!(p.pts >= begin, "{:?} before the splice", p.track.id);
            if let Some(before) = last.insert(p.track.id, p) {
                assert!(p.dts > before.dts, "{:?}: {} after {}", p.track.id, p.dts, before.dts);
            }
            if p.track.is_video() {
                shown = shown.max(Some(p.pts + p.duration));
            }
            // On the event timeline: when it was captured, and that is now or a moment ago.
            let age = p.arrival - p.dts;
            assert!(age >= -ms(1000) && age <= self.oldest, "{:?} arrived {age} after capture", p.track.id);
        }
        for pair in self.switches.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
            assert_ne!(pair[1].to, pair[1].from);
        }
    }

    fn causes(&self) -> Vec<(Option<InputName>, Cause)> {
        self.switches.iter().map(|s| (s.to, s.cause)).collect()
    }

    /// The longest time without a new picture on the event timeline, between `from` and `to` ms.
    fn longest_hole(&self, from: i64, to: i64) -> Dur {
        let mut pts: Vec<Ts> = self.sent.iter().filter(|p| p.track.is_video()).map(|p| p.pts).collect();
        pts.sort();
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
        // The next key frame of backup comes within its GOP of a second after the loss was seen.
        let gap = b.switches[1].gap.expect("programme was there before");
        assert!(gap > Dur::ZERO && gap <= ms(1000 + if silent { 540 } else { 40 }), "{gap}");
        assert!((b.longest_hole(1000, 8300) - gap).abs() <= ms(80));
        assert_eq!(b.core.state().active, Some(BACKUP));
    }
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
    b.attach(BACKUP, Encoder { gop: 100, ..Encoder::new() });
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

/// Seeded faults of every kind, for a while; the guarantees hold and switches do not exceed their causes.
#[test]
fn no_schedule_of_faults_breaks_the_programme() {
    for seed in 0..300u64 {
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
            let encoder = Encoder {
                gop: [12, 25, 50, 100][r.below(4) as usize],
                base: r.below(1_000_000),
                jitter: [0, 20, 150][r.below(3) as usize],
                ..if r.below(8) == 0 { Encoder::sound_only() } else { Encoder::new() }
            };
            let attached = b.lines[index(name)].is_some();
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
