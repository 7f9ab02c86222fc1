//! What the programme shows and sounds that may be a fault of its source.

use super::time::{Dur, Ts};

/// An unbroken stretch of the event's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first instant.
    pub from: Ts,
    /// The last instant that was measured.
    pub until: Ts,
}

impl Stretch {
    /// How much of it lies after `start`; not positive where nothing does.
    pub fn after(self, start: Ts) -> Dur {
        self.until - self.from.max(start)
    }

    /// Goes on until `until`, or begins at `from` where there was none.
    pub fn extend(this: &mut Option<Stretch>, from: Ts, until: Ts) {
        match this {
            Some(stretch) => stretch.until = until,
            None => *this = Some(Stretch { from, until }),
        }
    }
}

/// Where the sounds of both inputs of an event are alike: they carry the same programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundMatch {
    /// Main's clock less backup's at the same sound.
    pub apart: Dur,
    /// When that was measured, on the daemon's clock.
    pub at: Ts,
    /// Which run of each input's clock it was measured of, as [`super::Packet::epoch`] said.
    pub epochs: [u32; 2],
}

/// What has been so, without a break, up to what was measured last; none: what was measured last was not so. Only what a
/// source sent counts: a picture that is repeated because none came is not frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The picture is black.
    pub black: Option<Stretch>,
    /// The picture does not change.
    pub frozen: Option<Stretch>,
    /// The floor is silent.
    pub silent: Option<Stretch>,
}

/// For how long it has been so, in seconds.
impl serde::Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let seconds = |s: Option<Stretch>| s.map_or(0.0, |s| (s.after(s.from).as_secs_f64() * 1000.0).round() / 1000.0);
        let mut out = serializer.serialize_struct("Content", 3)?;
        out.serialize_field("black_seconds", &seconds(self.black))?;
        out.serialize_field("frozen_seconds", &seconds(self.frozen))?;
        out.serialize_field("silent_seconds", &seconds(self.silent))?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_counts_from_when_the_input_came_on_air() {
        let ms = Ts::from_millis;
        let mut black = None;
        Stretch::extend(&mut black, ms(1000), ms(1000));
        Stretch::extend(&mut black, ms(1040), ms(4000));
        let black = black.expect("begun");
        assert_eq!(black, Stretch { from: ms(1000), until: ms(4000) });
        assert_eq!(black.after(Ts::ZERO).as_millis(), 3000);
        assert_eq!(black.after(ms(3500)).as_millis(), 500);
        assert!(black.after(ms(4500)) < Dur::ZERO);
    }

    #[test]
    fn it_is_shown_in_seconds() {
        let black = Some(Stretch { from: Ts::from_millis(1000), until: Ts::from_millis(2500) });
        let shown = serde_json::to_value(Content { black, ..Content::default() }).expect("numbers");
        assert_eq!(shown, serde_json::json!({"black_seconds": 1.5, "frozen_seconds": 0.0, "silent_seconds": 0.0}));
    }
}
