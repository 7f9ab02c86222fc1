//! Schedules of what inputs deliver and show, and what is chosen of them.

use super::*;
use proptest::prelude::*;

const MAIN: InputName = InputName::Main;
const BACKUP: InputName = InputName::Backup;

/// How long each trigger waits.
const AFTER: Dur = Dur::from_secs(2);

fn ms(ms: i64) -> Dur {
    Dur::from_millis(ms)
}

/// How much later than it was sent the programme is decoded, ms.
const DELAY: i64 = 750;

/// A step of the programme: who was on air, whether pictures came, and whether it was black, frozen, silent.
type Step = (Ts, Option<InputName>, bool, [bool; 3]);

/// A failover whose caller enters every choice at once, on a clock of 20 ms, and an engine that measures what is on air.
struct Rig {
    failover: Failover,
    now: Ts,
    /// What each input delivers: pictures, sound.
    delivers: [(bool, bool); 2],
    heard: [Ts; 2],
    decisions: Vec<(i64, Option<InputName>, Cause)>,
    enter: bool,
    /// What each input shows: black, frozen, silent.
    shows: [[bool; 3]; 2],
    log: Vec<Step>,
    /// How much of it the engine has decoded.
    decoded: usize,
    content: Content,
    /// When the engine last told.
    told: Ts,
}

impl Rig {
    fn new(mode: Mode) -> Rig {
        let failover = Failover::new(FailoverConfig { mode, ..FailoverConfig::default() });
        Rig {
            failover,
            now: Ts::ZERO,
            delivers: [(false, false); 2],
            heard: [Ts::ZERO; 2],
            decisions: Vec::new(),
            enter: true,
            shows: [[false; 3]; 2],
            log: Vec::new(),
            decoded: 0,
            content: Content::default(),
            told: Ts::ZERO,
        }
    }

    /// Each trigger goes off after [`AFTER`].
    fn with_triggers(mode: Mode) -> Rig {
        let mut rig = Rig::new(mode);
        let after = Some(AFTER);
        rig.failover.set_triggers(Triggers { black_after: after, frozen_after: after, silent_after: after });
        rig
    }

    /// The engine decodes what was sent [`DELAY`] ago, and tells ten times a second.
    fn measure(&mut self) {
        let on_air = self.failover.on_air;
        let (pictures, sound) = on_air.map_or((false, false), |i| self.delivers[i.index()]);
        let [black, frozen, silent] = on_air.map_or([false; 3], |i| self.shows[i.index()]);
        // Sound that does not come is silent.
        self.log.push((self.now, on_air, pictures, [black, frozen, silent || !sound]));
        let due = |step: &&Step| step.0 + ms(DELAY) <= self.now;
        while let Some(&(at, _, pictures, [black, frozen, silent])) = self.log.get(self.decoded).filter(due) {
            self.decoded += 1;
            let kinds = [
                (pictures, black, &mut self.content.black),
                (pictures, frozen, &mut self.content.frozen),
                (true, silent, &mut self.content.silent),
            ];
            for (_, is, stretch) in kinds.into_iter().filter(|k| k.0) {
                if is { Stretch::extend(stretch, at, at) } else { *stretch = None }
            }
        }
        if self.now - self.told >= ms(100) {
            self.told = self.now;
            self.failover.measured(&self.content);
        }
    }

    fn attach(&mut self, input: InputName, pictures: bool, sound: bool) {
        self.failover.attached(input);
        self.delivers[input.index()] = (pictures, sound);
    }

    fn poll(&mut self) {
        while let Some(d) = self.failover.poll(self.now) {
            self.decisions.push((self.now.as_millis(), d.to, d.cause));
            match d.to {
                Some(input) if self.enter => self.failover.entered(input, self.now),
                Some(_) => {}
                None => self.failover.left(),
            }
        }
    }

    fn run(&mut self, millis: i64) {
        for _ in 0..millis / 20 {
            for input in InputName::ALL {
                let (pictures, sound) = self.delivers[input.index()];
                if pictures || sound {
                    self.heard[input.index()] = self.now;
                }
                let key = self.now.as_millis() % 1000 == 0;
                if pictures {
                    self.failover.heard(input, if key { Heard::Key } else { Heard::Picture }, self.now);
                }
                if sound {
                    self.failover.heard(input, Heard::Sound, self.now);
                }
            }
            self.measure();
            self.poll();
            self.now += Dur::from_millis(20);
            self.poll();
        }
    }
}

#[test]
fn loss_is_seen_after_the_timeout_and_main_taken_back_after_it_was_clean() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, true, true);
    r.attach(BACKUP, true, true);
    r.run(5000);
    r.delivers[0] = (false, false);
    r.run(2000);
    r.delivers[0] = (true, true);
    r.run(5000);
    let expected =
        [(0, Some(MAIN), Cause::Start), (5480, Some(BACKUP), Cause::NoMedia), (10_000, Some(MAIN), Cause::Recovered)];
    assert_eq!(r.decisions, expected);
}

#[test]
fn an_input_that_comes_and_goes_costs_one_switch() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, true, true);
    r.attach(BACKUP, true, true);
    r.run(2000);
    for _ in 0..20 {
        r.delivers[0] = (false, false);
        r.run(1000);
        r.delivers[0] = (true, true);
        r.run(2500);
    }
    assert_eq!(r.decisions.len(), 2, "{:?}", r.decisions);
    r.run(3000);
    assert_eq!(r.decisions.last().map(|d| d.1), Some(Some(MAIN)));
}

#[test]
fn sound_keeps_an_input_on_air_only_while_there_is_nothing_better() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, true, true);
    r.run(2000);
    r.delivers[0] = (false, true);
    r.run(5000);
    assert_eq!(r.failover.target(), Some(MAIN));
    r.attach(BACKUP, true, true);
    r.run(2000);
    assert_eq!(r.decisions.last().map(|d| (d.1, d.2)), Some((Some(BACKUP), Cause::NoVideo)));
}

#[test]
fn sound_alone_is_a_whole_input_once_that_is_certain() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, false, true);
    r.run(1900);
    assert_eq!(r.decisions, []);
    r.run(200);
    assert_eq!(r.decisions, [(2000, Some(MAIN), Cause::Start)]);
    r.delivers[0] = (false, false);
    r.run(1000);
    assert_eq!(r.decisions.last().map(|d| (d.1, d.2)), Some((None, Cause::NoMedia)));
}

#[test]
fn pictures_before_a_key_frame_are_none() {
    let mut r = Rig::new(Mode::Auto);
    r.now = Ts::from_millis(20);
    r.attach(MAIN, true, true);
    r.run(900);
    assert_eq!(r.decisions, []);
    r.run(200);
    assert_eq!(r.decisions, [(1000, Some(MAIN), Cause::Start)]);
    // A break: after the timeout without a key frame it is lost to those who watch.
    r.attach(BACKUP, true, true);
    r.run(1000);
    r.failover.broken(MAIN, r.now);
    r.run(600);
    assert_eq!(r.decisions.last().map(|d| d.1), Some(Some(BACKUP)));
}

#[test]
fn a_choice_by_hand_is_final_until_it_is_given_back() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, true, true);
    r.attach(BACKUP, true, true);
    r.run(1000);
    r.failover.choose(Some(BACKUP));
    r.run(10_000);
    r.failover.detached(BACKUP);
    r.delivers[1] = (false, false);
    r.run(1000);
    r.failover.choose(None);
    r.run(1000);
    let causes: Vec<_> = r.decisions.iter().map(|d| (d.1, d.2)).collect();
    let expected = [
        (Some(MAIN), Cause::Start),
        (Some(BACKUP), Cause::Manual),
        (None, Cause::Disconnected),
        (Some(MAIN), Cause::Manual),
    ];
    assert_eq!(causes, expected);
}

#[test]
fn a_choice_that_could_not_be_entered_is_taken_back() {
    let mut r = Rig::new(Mode::Auto);
    r.attach(MAIN, true, true);
    r.attach(BACKUP, true, true);
    r.run(2000);
    r.enter = false;
    r.delivers[0] = (false, false);
    r.run(800);
    assert_eq!(r.failover.target(), Some(BACKUP));
    r.delivers[0] = (true, true);
    r.run(100);
    assert_eq!(r.failover.target(), Some(MAIN));
}

proptest! {
    /// Any schedule: the deadline is never in the past, nothing changes between deadlines without being told, and what
    /// is chosen delivers.
    #[test]
    fn choices_are_of_inputs_that_deliver(
        sticky in any::<bool>(),
        steps in prop::collection::vec((0usize..2, 0u8..7, 0i64..3000), 1..60)
    ) {
        let mut r = Rig::new(if sticky { Mode::Sticky } else { Mode::Auto });
        for (input, what, wait) in steps {
            let name = InputName::ALL[input];
            match what {
                0 | 1 => r.attach(name, true, true),
                2 => r.attach(name, false, true),
                3 => {
                    r.failover.detached(name);
                    r.delivers[input] = (false, false);
                }
                4 => r.delivers[input] = (false, false),
                5 => r.failover.broken(name, r.now),
                _ => r.failover.choose([None, Some(MAIN), Some(BACKUP)][wait as usize % 3]),
            }
            r.poll();
            if let Some(at) = r.failover.deadline() {
                prop_assert!(at > r.now);
                let mut later = r.failover.clone();
                prop_assert_eq!(later.poll(at - Dur::from_flicks(1)), None);
            }
            let before = r.decisions.len();
            r.run(wait);
            for (at, to, _) in &r.decisions[before..] {
                if let Some(to) = to {
                    prop_assert!(at - r.heard[to.index()].as_millis() < 500, "{:?} is silent", to);
                }
            }
            if let (Some(target), true) = (r.failover.target(), wait > 1000) {
                prop_assert!(r.delivers[target.index()] != (false, false), "{:?} is silent", target);
            }
            let ends = r.decisions.windows(2).all(|w| w[0].1 != w[1].1);
            prop_assert!(ends, "{:?}", r.decisions);
        }
    }
}

/// Both inputs deliver all that there is, and main is on air.
fn both(mode: Mode) -> Rig {
    let mut r = Rig::with_triggers(mode);
    r.attach(MAIN, true, true);
    r.attach(BACKUP, true, true);
    r.run(4000);
    assert_eq!(r.decisions, [(0, Some(MAIN), Cause::Start)]);
    r
}

const CONTENT: [Cause; 3] = [Cause::Black, Cause::Frozen, Cause::Silent];

#[test]
fn what_is_black_frozen_or_silent_for_long_enough_is_left_once_and_for_good() {
    for mode in [Mode::Auto, Mode::Sticky] {
        for (kind, cause) in CONTENT.into_iter().enumerate() {
            let mut r = both(mode);
            r.shows[0][kind] = true;
            r.run(1900);
            r.shows[0][kind] = false;
            r.run(2000);
            assert_eq!(r.decisions.len(), 1, "a moment of it is none: {:?}", r.decisions);
            let begun = r.now.as_millis();
            r.shows[0][kind] = true;
            r.run(4000);
            let &(at, to, why) = r.decisions.last().expect("some");
            assert_eq!((to, why), (Some(BACKUP), cause));
            assert!((2000 + DELAY..2000 + DELAY + 140).contains(&(at - begun)), "{}", at - begun);
            // Nobody sees that it is good again.
            r.shows[0][kind] = false;
            r.run(20_000);
            assert_eq!(r.decisions.len(), 2, "{:?}", r.decisions);
            assert_eq!(r.failover.fault(MAIN), Some(cause));
        }
    }
}

#[test]
fn triggers_are_off_unless_set_and_what_is_not_looked_for_any_more_is_forgiven() {
    let mut r = both(Mode::Auto);
    r.failover.set_triggers(Triggers::default());
    r.shows[0] = [true; 3];
    r.run(20_000);
    assert_eq!(r.decisions.len(), 1, "{:?}", r.decisions);
    r.failover.set_triggers(Triggers { silent_after: Some(AFTER), ..Triggers::default() });
    r.run(1000);
    assert_eq!(r.decisions.last().map(|d| d.2), Some(Cause::Silent));
    r.run(10_000);
    assert_eq!(r.decisions.len(), 2);
    r.failover.set_triggers(Triggers { black_after: Some(AFTER), ..Triggers::default() });
    r.run(200);
    assert_eq!(r.decisions.last().map(|d| (d.1, d.2)), Some((Some(MAIN), Cause::Recovered)));
}

#[test]
fn two_inputs_that_show_the_same_cost_one_switch() {
    for shows in [[true, false, false], [true, true, true]] {
        let mut r = both(Mode::Auto);
        r.shows = [shows; 2];
        r.run(60_000);
        assert_eq!(r.decisions.len(), 2, "{:?}", r.decisions);
        assert_eq!(r.failover.target(), Some(BACKUP));
    }
}

/// Main was black, so backup is on air; main is good again.
fn left() -> Rig {
    let mut r = both(Mode::Auto);
    r.shows[0][0] = true;
    r.run(5000);
    assert_eq!(last(&r), Some((Some(BACKUP), Cause::Black)));
    r.shows[0][0] = false;
    r
}

fn last(r: &Rig) -> Option<(Option<InputName>, Cause)> {
    r.decisions.last().map(|d| (d.1, d.2))
}

#[test]
fn what_was_left_comes_back_with_a_new_publisher() {
    let mut r = left();
    r.failover.detached(MAIN);
    r.attach(MAIN, true, true);
    r.run(5000);
    assert_eq!(last(&r), Some((Some(MAIN), Cause::Recovered)));
}

#[test]
fn what_was_left_comes_back_by_hand_and_stays_when_it_is_good() {
    let mut r = left();
    r.failover.choose(Some(MAIN));
    r.run(1000);
    assert_eq!(last(&r), Some((Some(MAIN), Cause::Manual)));
    r.failover.choose(None);
    r.run(10_000);
    assert_eq!(r.failover.target(), Some(MAIN));
}

#[test]
fn what_was_left_is_better_than_the_slate_and_looked_at_anew() {
    let mut r = left();
    r.shows[0][0] = true;
    r.failover.detached(BACKUP);
    r.delivers[1] = (false, false);
    r.run(10_000);
    assert_eq!(last(&r), Some((Some(MAIN), Cause::Disconnected)));
    r.attach(BACKUP, true, true);
    r.run(5000);
    assert_eq!(last(&r), Some((Some(BACKUP), Cause::Black)));
    assert_eq!(r.decisions.len(), 4, "{:?}", r.decisions);
}

#[test]
fn nothing_is_left_for_what_is_not_wholly_there_nor_against_a_persons_choice() {
    let mut r = Rig::with_triggers(Mode::Auto);
    r.attach(MAIN, true, true);
    r.run(1000);
    r.shows[0][1] = true;
    r.attach(BACKUP, false, true);
    r.run(1500);
    r.delivers[1] = (false, false);
    r.run(5000);
    assert_eq!(r.decisions.len(), 1, "{:?}", r.decisions);
    r.failover.choose(Some(MAIN));
    r.attach(BACKUP, true, true);
    r.run(10_000);
    assert_eq!(r.decisions.len(), 1, "{:?}", r.decisions);
    // Given back to the automation while it is still frozen.
    r.failover.choose(None);
    r.run(200);
    assert_eq!(r.decisions.last().map(|d| d.1), Some(Some(BACKUP)));
}

#[test]
fn what_is_good_again_before_the_other_one_could_be_entered_is_never_left() {
    let mut r = both(Mode::Auto);
    r.enter = false;
    r.shows[0][0] = true;
    r.run(4000);
    assert_eq!((r.failover.target(), r.failover.on_air), (Some(BACKUP), Some(MAIN)));
    r.shows[0][0] = false;
    r.run(1000);
    assert_eq!((r.failover.target(), r.failover.fault(MAIN)), (Some(MAIN), None));
}

#[test]
fn a_report_of_the_input_before_condemns_nobody() {
    let mut r = both(Mode::Sticky);
    r.shows[0][0] = true;
    let begun = r.now;
    r.run(2500);
    // By hand, shortly before the trigger: the engine, which is behind, is still at main's pictures.
    r.failover.choose(Some(BACKUP));
    r.poll();
    r.failover.choose(None);
    let black = Some(Stretch { from: begun, until: r.now });
    for _ in 0..50 {
        r.failover.measured(&Content { black, ..Content::default() });
        r.poll();
        assert_eq!((r.failover.target(), r.failover.fault(BACKUP)), (Some(BACKUP), None));
        r.run(100);
    }
}

/// Whether what the engine had measured by `at` was this input alone, and so, for as long as the trigger says; but for the
/// time between two reports and between two pictures.
fn was_so(r: &Rig, input: InputName, kind: usize, at: i64) -> bool {
    let (from, until) = (Ts::from_millis(at - DELAY) - AFTER + ms(20), Ts::from_millis(at - DELAY - 120));
    let within = r.log.iter().filter(|p| (from..=until).contains(&p.0));
    within.clone().count() > 80
        && within.into_iter().all(|&(_, on_air, pictures, so)| {
            // Pictures that did not come say nothing.
            on_air == Some(input) && (so[kind] || (kind < 2 && !pictures))
        })
}

proptest! {
    /// Any schedule of losses, content and choices: an input is left for its content only when that was measured on it for
    /// as long as the trigger says, never by hand, never for one that was itself left so; and nothing but a person, a new
    /// publisher or the other one's loss brings it back.
    #[test]
    fn content_costs_one_switch(
        sticky in any::<bool>(),
        steps in prop::collection::vec((0usize..2, 0u8..9, 0i64..4000), 1..60)
    ) {
        let mut r = Rig::with_triggers(if sticky { Mode::Sticky } else { Mode::Auto });
        r.attach(MAIN, true, true);
        r.attach(BACKUP, true, true);
        // Whether each input was left for its content.
        let mut left = [false; 2];
        for (input, what, wait) in steps {
            let name = InputName::ALL[input];
            let kind = wait as usize % 3;
            match what {
                0 => {
                    r.attach(name, true, true);
                    left[input] = false;
                }
                1 => {
                    r.failover.detached(name);
                    r.delivers[input] = (false, false);
                    left[input] = false;
                }
                2 => r.delivers[input] = (false, false),
                3 => r.delivers[input] = (true, true),
                4 => {
                    let chosen = [None, Some(MAIN), Some(BACKUP)][kind];
                    r.failover.choose(chosen);
                    if let Some(chosen) = chosen {
                        left[chosen.index()] = false;
                    }
                }
                _ => r.shows[input][kind] = !r.shows[input][kind],
            }
            let (mut from, before) = (r.failover.target(), r.decisions.len());
            r.run(wait);
            for &(at, to, cause) in &r.decisions[before..] {
                if let (Some(kind), Some(old)) = (CONTENT.iter().position(|&c| c == cause), from) {
                    prop_assert!(!matches!(r.failover.mode(), Mode::Manual(_)));
                    prop_assert!(was_so(&r, old, kind, at), "{:?} is not {:?} at {}", old, cause, at);
                    prop_assert!(to.is_some_and(|to| !left[to.index()]), "{:?}", r.decisions);
                    left[old.index()] = true;
                }
                if let Some(to) = to {
                    let back = cause == Cause::Recovered && left[to.index()];
                    prop_assert!(!back, "{:?} is taken back: {:?}", to, r.decisions);
                    left[to.index()] = false;
                }
                from = to;
            }
            prop_assert!(r.decisions.windows(2).all(|w| w[0].1 != w[1].1), "{:?}", r.decisions);
        }
    }
}
