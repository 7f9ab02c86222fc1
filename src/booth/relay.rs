//! Relay: hearing what another booth makes, without ever hearing oneself.
//!
//! Who is on air carries what they hear into the language they speak into. As a graph of languages with an edge per
//! person on air, from the one heard to the one spoken into, this has no circle, so nobody hears, directly or through
//! others, what they make themselves.

use super::person::Source;
use std::collections::BTreeSet;

/// How far something is from what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelayQuality {
    /// Nobody is on air: it is the floor.
    Floor,
    /// Interpreted from the floor.
    Direct,
    /// Interpreted from what is itself interpreted.
    Relay,
}

impl RelayQuality {
    /// As in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            RelayQuality::Floor => "floor",
            RelayQuality::Direct => "direct",
            RelayQuality::Relay => "relay",
        }
    }
}

/// Something that can be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// What.
    pub source: Source,
    /// How far it is from what was said.
    pub quality: RelayQuality,
    /// Why it cannot be chosen now.
    pub refused: Option<&'static str>,
}

/// Whether something spoken into `from` is heard in `to` along these edges.
pub(super) fn reaches<'a>(edges: &[(&'a Source, &'a str)], from: &'a str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(language) = open.pop() {
        if language == to {
            return true;
        }
        if seen.insert(language) {
            open.extend(edges.iter().filter(|(heard, _)| heard.language() == Some(language)).map(|(_, into)| *into));
        }
    }
    false
}

/// Whether somebody who speaks into `outgoing` would hear themselves in `source`, others being as in `edges`.
pub(super) fn hears_itself<'a>(edges: &[(&'a Source, &'a str)], outgoing: &'a str, source: &Source) -> bool {
    source.language().is_some_and(|heard| reaches(edges, outgoing, heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_round_is_found_however_long() {
        let relay = |language: &str| Source::Relay(language.to_owned());
        let (floor, de, fr, es) = (Source::Floor, relay("de"), relay("fr"), relay("es"));
        let edges = [(&floor, "de"), (&de, "fr"), (&fr, "es"), (&es, "it")];
        assert!(hears_itself(&edges, "de", &relay("it")));
        assert!(hears_itself(&edges, "de", &relay("de")));
        assert!(!hears_itself(&edges, "it", &relay("de")));
        assert!(!hears_itself(&edges, "de", &Source::Floor));
        // A circle among others, were there one, ends the search all the same.
        assert!(!hears_itself(&[(&de, "fr"), (&fr, "de")], "de", &relay("it")));
    }
}
