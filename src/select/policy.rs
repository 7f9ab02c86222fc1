//! Which input viewers should see: a pure state machine on an injected clock.
//!
//! It is told what arrives and asked, after that and at [`Failover::deadline`], whether the choice changes. It does not
//! know of packets, streams or timelines: the caller carries a decision out when the chosen input can be entered, and
//! says so with [`Failover::entered`].
//!
//! **Content.** An input that comes whole may still be black, frozen or silent. Of what is on air that is measured where it
//! is decoded, some time after it was sent, so each measurement carries the times that it is about, and counts from where
//! the input came on air ([`Failover::measured`]). An input that is so for as long as [`Triggers`] say is not trusted any
//! more and left for one that is. Off air nobody can see whether it is good again, so this holds until its publisher comes
//! anew, a person chooses the input, or it has to go on air because the other one is lost, and then it is measured afresh.
//! So two inputs that show the same cost one switch.

use crate::media::{Content, Dur, InputName, Stretch, Ts};

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
    /// What of its content an input is left for.
    pub triggers: Triggers,
}

/// How long the content of what is on air may be so before the input is left for the other one; none: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// The picture is black.
    pub black_after: Option<Dur>,
    /// The picture stands still.
    pub frozen_after: Option<Dur>,
    /// The floor is silent.
    pub silent_after: Option<Dur>,
}

impl Triggers {
    /// What is wrong with content that counts from `start` on.
    fn fault(&self, content: &Content, start: Ts) -> Option<Cause> {
        let all = [
            (Cause::Black, content.black, self.black_after),
            (Cause::Frozen, content.frozen, self.frozen_after),
            (Cause::Silent, content.silent, self.silent_after),
        ];
        let due = |&(_, stretch, after): &(_, Option<Stretch>, _)| {
            stretch.zip(after).is_some_and(|(stretch, after)| stretch.after(start) >= after)
        };
        all.into_iter().find(due).map(|(cause, ..)| cause)
    }

    /// Whether this cause is looked for.
    fn has(&self, cause: Cause) -> bool {
        match cause {
            Cause::Black => self.black_after.is_some(),
            Cause::Frozen => self.frozen_after.is_some(),
            Cause::Silent => self.silent_after.is_some(),
            _ => false,
        }
    }
}

impl Default for FailoverConfig {
    fn default() -> Self {
        FailoverConfig {
            mode: Mode::Auto,
            loss_timeout: Dur::from_millis(500),
            recover_after: Dur::from_secs(3),
            triggers: Triggers::default(),
        }
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
    /// The picture was black for as long as the trigger says.
    Black,
    /// The picture stood still.
    Frozen,
    /// The floor was silent.
    Silent,
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
            Cause::Black => "black",
            Cause::Frozen => "frozen",
            Cause::Silent => "silent",
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
    /// What is wrong with its content: of what is on air as measured now, else as it was when it went off air.
    fault: Option<Cause>,
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
    /// From where on, on the event timeline, the programme is what is on air.
    from: Ts,
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
            from: Ts::ZERO,
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

    /// What is wrong with an input's content, and so why it is not taken back by itself.
    pub fn fault(&self, input: InputName) -> Option<Cause> {
        self.inputs[input.index()].fault
    }

    /// Other triggers: what is not looked for any more is forgiven.
    pub fn set_triggers(&mut self, triggers: Triggers) {
        self.config.triggers = triggers;
        for health in &mut self.inputs {
            health.fault = health.fault.filter(|&cause| triggers.has(cause));
        }
    }

    /// What was measured of the programme. What of it lies before the input on air came there is about another one.
    pub fn measured(&mut self, content: &Content) {
        if let Some(input) = self.on_air {
            self.inputs[input.index()].fault = self.config.triggers.fault(content, self.from);
        }
    }

    /// A person chooses: an input, or, with none, the configured automation.
    pub fn choose(&mut self, input: Option<InputName>) {
        if let Some(input) = input {
            self.inputs[input.index()].fault = None;
        }
        self.mode = input.map_or(self.config.mode, Mode::Manual);
        self.by_hand = true;
    }

    /// A publisher has come, perhaps in place of another.
    pub fn attached(&mut self, input: InputName) {
        self.inputs[input.index()] = Health { attached: true, ..Health::default() };
    }

    /// The publisher is gone.
    pub fn detached(&mut self, input: InputName) {
        self.inputs[input.index()] = Health::default();
    }

    /// The input's time has jumped, or packets are missing: nothing of it can be shown before its next key frame, and it
    /// counts as clean anew.
    pub fn broken(&mut self, input: InputName, now: Ts) {
        self.now = self.now.max(now);
        let health = &mut self.inputs[input.index()];
        health.key = false;
        health.clean_since = None;
    }

    /// A packet has arrived.
    pub fn heard(&mut self, input: InputName, what: Heard, now: Ts) {
        self.now = self.now.max(now);
        let now = self.now;
        let was = self.quality(input, now);
        let health = &mut self.inputs[input.index()];
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
            self.inputs[input.index()].clean_since = None;
        }
        if self.quality(input, now) == Quality::Full {
            self.inputs[input.index()].clean_since.get_or_insert(now);
        }
    }

    /// The caller has carried the decision out: what is on the event timeline at `from` and later is this input.
    pub fn entered(&mut self, input: InputName, from: Ts) {
        self.on_air = Some(input);
        self.from = from;
        self.inputs[input.index()].fault = None;
        self.started = true;
    }

    /// Nobody feeds the programme.
    pub fn left(&mut self) {
        self.on_air = None;
    }

    /// Whether an input may be entered with sound, for want of pictures.
    pub fn sound_only(&self, input: InputName, now: Ts) -> bool {
        let health = &self.inputs[input.index()];
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
            (Some(old), _) => self.loss(old, now).or(self.fault(old)).unwrap_or(Cause::Recovered),
            (None, None) => return None,
        };
        self.target = wanted;
        Some(Decision { to: wanted, cause })
    }

    /// When the choice may change although nothing arrives.
    pub fn deadline(&self) -> Option<Ts> {
        let loss = |input: InputName| {
            let health = &self.inputs[input.index()];
            let fresh = [health.picture, health.sound].into_iter().flatten();
            fresh.map(|at| at + self.config.loss_timeout).filter(|&at| at > self.now).min()
        };
        let recovery = |input: InputName| {
            let since = self.inputs[input.index()].clean_since?;
            Some(since + self.config.recover_after).filter(|&at| at > self.now)
        };
        let audio_only = |input: InputName| {
            let health = &self.inputs[input.index()];
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
        let trusted = |input| self.fault(input).is_none();
        let rank = |input| (quality(input), trusted(input));
        let best = || {
            let backup = rank(InputName::Backup) > rank(InputName::Main);
            able(if backup { InputName::Backup } else { InputName::Main })
        };
        let Some(current) = self.target else {
            return best();
        };
        let other = other(current);
        // What is on air and good again before the other one could be entered has never been left. (In automatic mode
        // backup on air is good while main is waited for: that is a return, not a loss.)
        let returning = self.mode == Mode::Auto && current == InputName::Main;
        if self.on_air == Some(other) && rank(other) == (Quality::Full, true) && !returning {
            return Some(other);
        }
        // Where nothing is on air, main goes first: nobody would see a switch.
        if self.on_air.is_none()
            && quality(InputName::Main) == Quality::Full
            && rank(InputName::Main) >= rank(InputName::Backup)
        {
            return Some(InputName::Main);
        }
        let back = self.mode == Mode::Auto && current == InputName::Backup && self.recovered(InputName::Main, now);
        match (quality(current), quality(other)) {
            (Quality::Full, Quality::Full) if trusted(other) && (back || !trusted(current)) => Some(other),
            (Quality::Full, _) => Some(current),
            (Quality::Sound, Quality::Full) => Some(other),
            (Quality::Sound, _) => Some(current),
            (Quality::Gone, _) => able(other),
        }
    }

    fn recovered(&self, input: InputName, now: Ts) -> bool {
        self.quality(input, now) == Quality::Full
            && self.inputs[input.index()].clean_since.is_some_and(|since| now - since >= self.config.recover_after)
    }

    fn fresh(&self, at: Option<Ts>, now: Ts) -> bool {
        at.is_some_and(|at| now - at < self.config.loss_timeout)
    }

    fn quality(&self, input: InputName, now: Ts) -> Quality {
        let health = &self.inputs[input.index()];
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
        let health = &self.inputs[input.index()];
        match self.quality(input, now) {
            Quality::Full => None,
            _ if !health.attached => Some(Cause::Disconnected),
            // The last sound of an input that fell silent is a little newer than its last picture.
            _ if health.sound.is_some_and(|at| now - at < self.config.loss_timeout / 2) => Some(Cause::NoVideo),
            _ => Some(Cause::NoMedia),
        }
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
mod tests;
