//! How good a connection is for interpreting.

use crate::media::Dur;

/// The verdict on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Fit for interpreting.
    Good,
    /// May be fit; listen before the event.
    Average,
    /// Use another connection where there is one.
    Bad,
}

impl Grade {
    /// As in messages and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Grade::Good => "good",
            Grade::Average => "average",
            Grade::Bad => "bad",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Grade> {
        [Grade::Good, Grade::Average, Grade::Bad].into_iter().find(|g| g.as_str() == name)
    }
}

/// A round trip above this is not good; alone it makes no connection bad.
pub const GOOD_RTT: Dur = Dur::from_millis(250);
/// Jitter from this on is not good.
pub const GOOD_JITTER: Dur = Dur::from_millis(30);
/// Jitter from this on is bad.
pub const BAD_JITTER: Dur = Dur::from_millis(100);
/// A share of lost packets from this on is bad; any loss is not good.
pub const BAD_LOSS: f64 = 0.15;

/// What is known of a person's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// There and back.
    pub rtt: Option<Dur>,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Option<Dur>,
    /// Share of packets lost towards the daemon, 0 to 1.
    pub loss_up: Option<f64>,
    /// Share of packets lost from it, 0 to 1.
    pub loss_down: Option<f64>,
}

impl Quality {
    /// The verdict; none while nothing is measured.
    pub fn grade(&self) -> Option<Grade> {
        let rtt = self.rtt.map(|t| if t < GOOD_RTT { Grade::Good } else { Grade::Average });
        let jitter = self.jitter.map(|t| match t {
            t if t < GOOD_JITTER => Grade::Good,
            t if t < BAD_JITTER => Grade::Average,
            _ => Grade::Bad,
        });
        let loss = |share: f64| match share {
            s if s <= 0.0 => Grade::Good,
            s if s < BAD_LOSS => Grade::Average,
            // What is no number was not measured well.
            _ => Grade::Bad,
        };
        [rtt, jitter, self.loss_up.map(loss), self.loss_down.map(loss)].into_iter().flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_follow_the_thresholds() {
        let quality = |rtt: i64, jitter: i64, up: f64, down: f64| Quality {
            rtt: Some(Dur::from_millis(rtt)),
            jitter: Some(Dur::from_millis(jitter)),
            loss_up: Some(up),
            loss_down: Some(down),
        };
        let cases = [
            (quality(249, 29, 0.0, 0.0), Grade::Good),
            (quality(250, 29, 0.0, 0.0), Grade::Average),
            (quality(5000, 0, 0.0, 0.0), Grade::Average),
            (quality(20, 30, 0.0, 0.0), Grade::Average),
            (quality(20, 100, 0.0, 0.0), Grade::Bad),
            (quality(20, 5, 0.001, 0.0), Grade::Average),
            (quality(20, 5, 0.0, 0.149), Grade::Average),
            (quality(20, 5, 0.15, 0.0), Grade::Bad),
            (quality(20, 5, 0.0, f64::NAN), Grade::Bad),
        ];
        for (quality, grade) in cases {
            assert_eq!(quality.grade(), Some(grade), "{quality:?}");
        }
        assert_eq!(Quality::default().grade(), None);
        for grade in [Grade::Good, Grade::Average, Grade::Bad] {
            assert_eq!(Grade::from_name(grade.as_str()), Some(grade));
        }
    }
}
