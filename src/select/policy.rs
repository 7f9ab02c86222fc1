//! Which input viewers should see: a pure state machine on an injected clock.
//!
//! It is told what arrives and asked, after that and at [`Failover::deadline`], whether the choice changes. It does not
//! know of packets, streams or timelines: the caller carries a decision out when the chosen input can be entered, and
//! says so with [`Failover::entered`].

use crate::media::{Dur, InputName, Ts};

/// Sound that comes for so long without a picture is a contribution without pictures. Encoders send the first picture
/// within a GOP of the first sound, and those with longer GOPs send it at once.
pub const AUDIO_ONLY_AFTER: Dur = Dur::from_secs(2);

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Main whenever it is good, backup while it is not.
    #[default]
    Auto,
    /// Whatever is on air stays until it is lost.
    Sticky,
    /// This input, or the slate: a person has chosen, and nothing else goes on air until a person says so.
    Manual(InputName),
}

/// Limits of the failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverConfig {
    /// What holds when nobody has chosen an input by hand: [`Mode::Auto`] or [`Mode::Sticky`].
    pub mode: Mode,
    /// How long an input may be without a picture (without sound, where it has no pictures).
    pub loss_timeout: Dur,
    /// How long main must have been clean before it is taken back.
    pub recover_after: Dur,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        FailoverConfig { mode: Mode::Auto, loss_timeout: Dur::from_millis(500), recover_after: Dur::from_secs(3) }
    }
}

/// Why the programme changed its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The first input of the event.
    Start,
    /// The input's publisher is gone.
    Disconnected,
    /// No picture for the loss timeout, though sound still comes.
    NoVideo,
    /// Nothing for the loss timeout.
    NoMedia,
    /// An input is back after there was none.
    Returned,
    /// Main has been clean for long enough.
    Recovered,
    /// A person chose.
    Manual,
}

impl Cause {
    /// As in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Start => "start",
            Cause::Disconnected => "disconnected",
            Cause::NoVideo => "no_video",
            Cause::NoMedia => "no_media",
            Cause::Returned => "returned",
            Cause::Recovered => "recovered",
            Cause::Manual => "manual",
        }
    }
}

/// What a packet tells about its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A picture that decoding can begin with.
    Key,
    /// Another picture.
    Picture,
    /// Sound.
    Sound,
}

/// A changed choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which input is to feed the programme; none: nobody can.
    pub to: Option<InputName>,
    /// Why.
    pub cause: Cause,
}

/// How good an input is now. The order is that of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    /// Nothing comes, or nothing that one could begin with.
    Gone,
    /// Sound comes, but the picture that it had is missing.
    Sound,
    /// All that it has comes.
    Full,
}

/// What is known of an input since its publisher attached.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    attached: bool,
    /// The first packet of any kind.
    first: Option<Ts>,
    /// The last picture of any kind.
    seen: Option<Ts>,
    /// The last picture that can be decoded: a key frame, or one after it without a break.
    picture: Option<Ts>,
    sound: Option<Ts>,
    /// Whether a key frame has come since the last break.
    key: bool,
    /// Since when it has been good without a break.
    clean_since: Option<Ts>,
}

/// The state machine. See the module's text.
#[derive(Clone, Debug)]
pub struct Failover {
    config: FailoverConfig,
    mode: Mode,
    inputs: [Health; 2],
    /// What was decided last.
    target: Option<InputName>,
    /// What feeds the programme, as the caller says.
    on_air: Option<InputName>,
    started: bool,
    /// A person has just chosen, so that is the cause of what follows from it.
    by_hand: bool,
    /// The latest time that was seen: what comes with an earlier one counts as of now.
    now: Ts,
}

impl Failover {
    /// Nothing is attached.
    pub fn new(config: FailoverConfig) -> Failover {
        Failover {
            config,
            mode: config.mode,
            inputs: [Health::default(); 2],
            target: None,
            on_air: None,
            started: false,
            by_hand: false,
            now: Ts::ZERO,
        }
    }

    /// Who decides.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What was decided last.
    pub fn target(&self) -> Option<InputName> {
        self.target
    }

    /// The latest time that it was told.
    pub fn now(&self) -> Ts {
        self.now
    }

    /// A person chooses: an input, or, with none, the configured automation.
    pub fn choose(&mut self, input: Option<InputName>) {
        self.mode = input.map_or(self.config.mode, Mode::Manual);
        self.by_hand = true;
    }

    /// A publisher has come, perhaps in place of another.
    pub fn attached(&mut self, input: InputName) {
        self.inputs[index(input)] = Health { attached: true, ..Health::default() };
    }

    /// The publisher is gone.
    pub fn detached(&mut self, input: InputName) {
        self.inputs[index(input)] = Health::default();
    }

    /// The input's time has jumped, or packets are missing: nothing of it can be shown before its next key frame, and it
    /// counts as clean anew.
    pub fn broken(&mut self, input: InputName, now: Ts) {
        self.now = self.now.max(now);
        let health = &mut self.inputs[index(input)];
        health.key = false;
        health.clean_since = None;
    }

    /// A packet has arrived.
    pub fn heard(&mut self, input: InputName, what: Heard, now: Ts) {
        self.now = self.now.max(now);
        let now = self.now;
        let was = self.quality(input, now);
        let health = &mut self.inputs[index(input)];
        health.first.get_or_insert(now);
        match what {
            Heard::Sound => health.sound = Some(now),
            Heard::Picture | Heard::Key => {
                health.seen = Some(now);
                health.key |= what == Heard::Key;
                if health.key {
                    health.picture = Some(now);
                }
            }
        }
        if was < Quality::Full {
            self.inputs[index(input)].clean_since = None;
        }
        if self.quality(input, now) == Quality::Full {
            self.inputs[index(input)].clean_since.get_or_insert(now);
        }
    }

    /// The caller has carried the decision out; none: nobody feeds the programme.
    pub fn entered(&mut self, input: Option<InputName>) {
        self.on_air = input;
        self.started |= input.is_some();
    }

    /// Whether an input may be entered with sound, for want of pictures.
    pub fn sound_only(&self, input: InputName, now: Ts) -> bool {
        let health = &self.inputs[index(input)];
        let since = health.seen.or(health.first);
        health.sound.is_some() && since.is_some_and(|since| now.max(self.now) - since >= AUDIO_ONLY_AFTER)
    }

    /// Whether the choice changes at `now`.
    pub fn poll(&mut self, now: Ts) -> Option<Decision> {
        self.now = self.now.max(now);
        let now = self.now;
        let wanted = self.wanted(now);
        let by_hand = std::mem::take(&mut self.by_hand);
        if wanted == self.target {
            return None;
        }
        let cause = match (self.target, wanted) {
            _ if by_hand => Cause::Manual,
            (None, Some(_)) if !self.started => Cause::Start,
            (None, Some(_)) => Cause::Returned,
            (Some(old), _) => match self.loss(old, now) {
                Some(cause) => cause,
                None => Cause::Recovered,
            },
            (None, None) => return None,
        };
        self.target = wanted;
        Some(Decision { to: wanted, cause })
    }

    /// When the choice may change although nothing arrives.
    pub fn deadline(&self) -> Option<Ts> {
        let loss = |input: InputName| {
            let health = &self.inputs[index(input)];
            let fresh = [health.picture, health.sound].into_iter().flatten();
            fresh.map(|at| at + self.config.loss_timeout).filter(|&at| at > self.now).min()
        };
        let recovery = |input: InputName| {
            let since = self.inputs[index(input)].clean_since?;
            Some(since + self.config.recover_after).filter(|&at| at > self.now)
        };
        let audio_only = |input: InputName| {
            let health = &self.inputs[index(input)];
            let since = health.seen.or(health.first)?;
            Some(since + AUDIO_ONLY_AFTER).filter(|&at| at > self.now)
        };
        InputName::ALL.into_iter().flat_map(|i| [loss(i), recovery(i), audio_only(i)]).flatten().min()
    }

    fn wanted(&self, now: Ts) -> Option<InputName> {
        let quality = |input| self.quality(input, now);
        let able = |input| (quality(input) > Quality::Gone).then_some(input);
        if let Mode::Manual(input) = self.mode {
            return able(input);
        }
        let best = || {
            let backup = quality(InputName::Backup) > quality(InputName::Main);
            able(if backup { InputName::Backup } else { InputName::Main })
        };
        let Some(current) = self.target else {
            return best();
        };
        let other = other(current);
        // What is on air and good again before the other one could be entered has never been left. (In automatic mode
        // backup on air is good while main is waited for: that is a return, not a loss.)
        let returning = self.mode == Mode::Auto && current == InputName::Main;
        if self.on_air == Some(other) && quality(other) == Quality::Full && !returning {
            return Some(other);
        }
        // Where nothing is on air, main goes first: nobody would see a switch.
        if self.on_air.is_none() && quality(InputName::Main) == Quality::Full {
            return Some(InputName::Main);
        }
        let back = self.mode == Mode::Auto && current == InputName::Backup && self.recovered(InputName::Main, now);
        match (quality(current), quality(other)) {
            (Quality::Full, Quality::Full) if back => Some(other),
            (Quality::Full, _) => Some(current),
            (Quality::Sound, Quality::Full) => Some(other),
            (Quality::Sound, _) => Some(current),
            (Quality::Gone, _) => able(other),
        }
    }

    fn recovered(&self, input: InputName, now: Ts) -> bool {
        self.quality(input, now) == Quality::Full
            && self.inputs[index(input)].clean_since.is_some_and(|since| now - since >= self.config.recover_after)
    }

    fn fresh(&self, at: Option<Ts>, now: Ts) -> bool {
        at.is_some_and(|at| now - at < self.config.loss_timeout)
    }

    fn quality(&self, input: InputName, now: Ts) -> Quality {
        let health = &self.inputs[index(input)];
        if !health.attached {
            return Quality::Gone;
        }
        let sound = self.fresh(health.sound, now);
        if health.seen.is_none() {
            // Never a picture: once that is certain, its sound is all that it has.
            return if sound && self.sound_only(input, now) { Quality::Full } else { Quality::Gone };
        }
        if self.fresh(health.picture, now) {
            return Quality::Full;
        }
        let on_air = self.on_air == Some(input);
        if sound && (on_air || self.sound_only(input, now)) { Quality::Sound } else { Quality::Gone }
    }

    /// Why an input is not good; none when it is.
    fn loss(&self, input: InputName, now: Ts) -> Option<Cause> {
        let health = &self.inputs[index(input)];
        match self.quality(input, now) {
            Quality::Full => None,
            _ if !health.attached => Some(Cause::Disconnected),
            // The last sound of an input that fell silent is a little newer than its last picture.
            _ if health.sound.is_some_and(|at| now - at < self.config.loss_timeout / 2) => Some(Cause::NoVideo),
            _ => Some(Cause::NoMedia),
        }
    }
}

const fn index(input: InputName) -> usize {
    match input {
        InputName::Main => 0,
        InputName::Backup => 1,
    }
}

/// The other input.
pub const fn other(input: InputName) -> InputName {
    match input {
        InputName::Main => InputName::Backup,
        InputName::Backup => InputName::Main,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAIN: InputName = InputName::Main;
    const BACKUP: InputName = InputName::Backup;

    /// A failover whose caller enters every choice at once, on a clock of 20 ms.
    struct Rig {
        failover: Failover,
        now: Ts,
        /// What each input delivers: pictures, sound.
        delivers: [(bool, bool); 2],
        heard: [Ts; 2],
        decisions: Vec<(i64, Option<InputName>, Cause)>,
        enter: bool,
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
            }
        }

        fn attach(&mut self, input: InputName, pictures: bool, sound: bool) {
            self.failover.attached(input);
            self.delivers[index(input)] = (pictures, sound);
        }

        fn poll(&mut self) {
            while let Some(d) = self.failover.poll(self.now) {
                self.decisions.push((self.now.as_millis(), d.to, d.cause));
                if self.enter || d.to.is_none() {
                    self.failover.entered(d.to);
                }
            }
        }

        fn run(&mut self, millis: i64) {
            for _ in 0..millis / 20 {
                for input in InputName::ALL {
                    let (pictures, sound) = self.delivers[index(input)];
                    if pictures || sound {
                        self.heard[index(input)] = self.now;
                    }
                    let key = self.now.as_millis() % 1000 == 0;
                    if pictures {
                        self.failover.heard(input, if key { Heard::Key } else { Heard::Picture }, self.now);
                    }
                    if sound {
                        self.failover.heard(input, Heard::Sound, self.now);
                    }
                }
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
        let expected = [
            (0, Some(MAIN), Cause::Start),
            (5480, Some(BACKUP), Cause::NoMedia),
            (10_000, Some(MAIN), Cause::Recovered),
        ];
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
                        prop_assert!(at - r.heard[index(*to)].as_millis() < 500, "{:?} is silent", to);
                    }
                }
                if let (Some(target), true) = (r.failover.target(), wait > 1000) {
                    prop_assert!(r.delivers[index(target)] != (false, false), "{:?} is silent", target);
                }
                let ends = r.decisions.windows(2).all(|w| w[0].1 != w[1].1);
                prop_assert!(ends, "{:?}", r.decisions);
            }
        }
    }
}
