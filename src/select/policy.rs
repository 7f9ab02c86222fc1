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
            _ if health.seen.is_some() && self.fresh(health.sound, now) => Some(Cause::NoVideo),
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
