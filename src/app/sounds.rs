//! The sound renditions of a running event: what each carries, and which of them the playlist names. Pure.
//!
//! Languages come and go while viewers listen. A rendition that was once named stays for those who play it: a language
//! that is taken away carries the floor until the event ends, and one that comes back goes on where it was.

use crate::engine::{AudioSpec, Channels, SoundSource};
use crate::media::TrackId;
use crate::package::{RenditionKind, RenditionSpec};
use crate::store::{LanguageKind, ORIGINAL, Settings};
use crate::wire::language;

/// Output ids of sound renditions start here; of their realtime mixes there. They only have to differ from each other's
/// and from the pictures'.
const FIRST_SOUND: u16 = 200;
const FIRST_REALTIME: u16 = 20_000;
/// Bits per second of a sound rendition (stereo AAC-LC at 48 kHz).
pub(super) const SOUND_BITRATE: u32 = 128_000;
/// Renditions that an event keeps, those of languages taken away included. Beyond it the oldest of these goes, and players
/// that still have it lose it.
const MOST_KEPT: usize = 96;
/// Name of the floor's rendition.
pub(super) const FLOOR: &str = "floor";

/// One sound rendition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sound {
    /// The id of its programme mix.
    pub id: TrackId,
    /// The id of its realtime mix in the rooms.
    pub realtime: TrackId,
    /// Its BCP 47 tag.
    pub language: String,
    /// How the origin lists it.
    pub spec: RenditionSpec,
    /// What it carries of the contribution, or what lies under its voices.
    pub source: SoundSource,
    /// Whether it has a booth.
    pub interpreted: bool,
    /// Whether the playlist names it.
    pub listed: bool,
}

/// All sound renditions of an event, the floor first.
#[derive(Debug)]
pub(super) struct Sounds {
    all: Vec<Sound>,
    next: u16,
}

/// What a change of settings asks of the origin.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// New renditions.
    pub added: Vec<Sound>,
    /// Names of those that go for good.
    pub dropped: Vec<String>,
}

impl Sounds {
    /// The floor, then the languages in their order.
    pub(super) fn new(settings: &Settings) -> Sounds {
        let mut sounds = Sounds { all: Vec::new(), next: 0 };
        let floor = &settings.floor_language;
        let label = if floor == ORIGINAL { "Original".to_owned() } else { language::autonym(floor).into_owned() };
        sounds.add(FLOOR, floor, label, source(settings.floor_track, &settings.floor_channels), false);
        sounds.update(settings);
        sounds
    }

    fn add(&mut self, name: &str, language: &str, label: String, source: SoundSource, interpreted: bool) {
        let spec = RenditionSpec {
            name: name.to_owned(),
            kind: RenditionKind::Audio { language: language.to_owned(), label, default: name == FLOOR },
            bitrate: u64::from(SOUND_BITRATE),
            max_bitrate: u64::from(SOUND_BITRATE) * 11 / 10,
        };
        let language = language.to_owned();
        let (id, realtime) = (TrackId(FIRST_SOUND + self.next), TrackId(FIRST_REALTIME + self.next));
        // Thousands of languages in one event; wrapping would only be a fault after all the others are gone.
        self.next = (self.next + 1) % (FIRST_REALTIME - FIRST_SOUND);
        self.all.push(Sound { id, realtime, language, spec, source, interpreted, listed: true });
    }

    /// Takes over the languages of changed settings. The floor's language and track stay until the event is opened again.
    pub(super) fn update(&mut self, settings: &Settings) -> Changes {
        let known = self.all.len();
        let floor = self.all[0].source;
        for sound in &mut self.all[1..] {
            (sound.listed, sound.interpreted, sound.source) = (false, false, floor);
        }
        for wanted in &settings.languages {
            let name = wanted.language.to_lowercase();
            let (source, interpreted) = match wanted.kind {
                LanguageKind::Broadcast => (wanted.track.map_or(floor, |track| source(track, &wanted.channels)), false),
                LanguageKind::Interpreted => (floor, true),
            };
            match self.all.iter_mut().find(|s| s.spec.name == name) {
                Some(sound) => (sound.listed, sound.interpreted, sound.source) = (true, interpreted, source),
                None => {
                    let label = language::autonym(&wanted.language).into_owned();
                    self.add(&name, &wanted.language, label, source, interpreted);
                }
            }
        }
        let mut changes = Changes { added: self.all[known..].to_vec(), dropped: Vec::new() };
        while self.all.len() > MOST_KEPT
            && let Some(oldest) = self.all.iter().position(|s| !s.listed)
        {
            changes.dropped.push(self.all.remove(oldest).spec.name);
        }
        let place = |s: &Sound| settings.languages.iter().position(|l| l.language.to_lowercase() == s.spec.name);
        self.all[1..].sort_by_key(|s| place(s).unwrap_or(usize::MAX));
        changes
    }

    /// Every rendition.
    pub(super) fn all(&self) -> &[Sound] {
        &self.all
    }

    /// The floor's rendition.
    pub(super) fn floor(&self) -> &Sound {
        &self.all[0]
    }

    /// Names of those that the playlist names, in its order.
    pub(super) fn listed(&self) -> Vec<&str> {
        self.all.iter().filter(|s| s.listed).map(|s| s.spec.name.as_str()).collect()
    }

    /// What the engine makes of them. The floor's realtime sound is the room's own.
    pub(super) fn audio(&self) -> Vec<AudioSpec> {
        let audio = |s: &Sound| AudioSpec {
            interpreted: s.interpreted,
            realtime: (s.listed && s.spec.name != FLOOR).then_some(s.realtime),
            channels: s.source.channels,
            ..AudioSpec::new(s.id, &s.spec.name, s.source.track, SOUND_BITRATE)
        };
        self.all.iter().map(audio).collect()
    }
}

fn source(track: u16, channels: &Option<Vec<u8>>) -> SoundSource {
    SoundSource { track, channels: channels.as_deref().and_then(Channels::of) }
}

/// What an input that has these audio tracks (number, channels) lacks of what the settings ask for, in words.
pub(super) fn lacking(settings: &Settings, tracks: &[(u16, u8)]) -> Vec<String> {
    let floor = std::iter::once(("the floor", settings.floor_track, &settings.floor_channels));
    let languages = settings.languages.iter().filter(|l| l.kind == LanguageKind::Broadcast);
    let languages = languages.filter_map(|l| Some((l.language.as_str(), l.track?, &l.channels)));
    let lacks = |(name, track, wanted): (&str, u16, &Option<Vec<u8>>)| {
        let instead = if name == "the floor" { "all of the first track is heard" } else { "it carries the floor" };
        let Some(&(_, channels)) = tracks.iter().find(|t| t.0 == track) else {
            return Some(format!("{name} is audio track {track}, which is not there: {instead}"));
        };
        let missing = wanted.as_ref()?.iter().find(|c| **c >= channels)?;
        Some(format!("{name} is channel {missing} of audio track {track}, which has {channels}: {instead}"))
    };
    floor.chain(languages).filter_map(lacks).collect()
}

/// The rendition of a language that is listed, or of the floor by its name.
pub(super) fn of<'a>(sounds: &'a [Sound], language: &str) -> Option<&'a Sound> {
    sounds.iter().find(|s| s.listed && s.spec.name.eq_ignore_ascii_case(language))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Language;

    fn settings(languages: &[(&str, Option<u16>)]) -> Settings {
        let language = |&(tag, track): &(&str, Option<u16>)| Language {
            language: tag.to_owned(),
            kind: if track.is_some() { LanguageKind::Broadcast } else { LanguageKind::Interpreted },
            track,
            channels: None,
        };
        Settings { languages: languages.iter().map(language).collect(), ..Settings::default() }
    }

    #[test]
    fn a_language_taken_away_carries_the_floor_and_may_come_back() {
        let mut sounds = Sounds::new(&settings(&[("de", None), ("pt-BR", Some(2))]));
        assert_eq!(sounds.listed(), ["floor", "de", "pt-br"]);
        let de = of(sounds.all(), "de").cloned().expect("listed");
        assert!(de.interpreted);

        let changes = sounds.update(&settings(&[("pt-BR", Some(2)), ("fr", None)]));
        assert_eq!(changes.added.iter().map(|s| s.spec.name.as_str()).collect::<Vec<_>>(), ["fr"]);
        assert_eq!(sounds.listed(), ["floor", "pt-br", "fr"]);
        assert_eq!(of(sounds.all(), "de"), None);
        let kept = sounds.audio().into_iter().find(|a| a.id == de.id).expect("kept");
        assert_eq!((kept.sound(), kept.interpreted, kept.realtime), (SoundSource::all(0), false, None));

        assert_eq!(sounds.update(&settings(&[("de", None), ("fr", None)])), Changes::default());
        assert_eq!(sounds.listed(), ["floor", "de", "fr"]);
        assert_eq!(of(sounds.all(), "de"), Some(&de));
    }

    #[test]
    fn languages_may_be_channels_of_one_track_and_what_an_input_lacks_is_named() {
        let mut set = settings(&[("de", Some(0)), ("fr", Some(0)), ("nl", Some(1))]);
        set.languages[0].channels = Some(vec![1]);
        set.languages[1].channels = Some(vec![2, 3]);
        set.floor_channels = Some(vec![0]);
        let audio = Sounds::new(&set).audio();
        let sounds: Vec<SoundSource> = audio.iter().map(AudioSpec::sound).collect();
        let of = |left, right| SoundSource { track: 0, channels: Some(Channels { left, right }) };
        assert_eq!(sounds, [of(0, 0), of(1, 1), of(2, 3), SoundSource::all(1)]);

        assert_eq!(lacking(&set, &[(0, 4), (1, 2)]), [""; 0]);
        assert_eq!(
            lacking(&set, &[(0, 2)]),
            [
                "fr is channel 2 of audio track 0, which has 2: it carries the floor",
                "nl is audio track 1, which is not there: it carries the floor",
            ]
        );
        assert_eq!(
            lacking(&set, &[])[0],
            "the floor is audio track 0, which is not there: all of the first track is heard"
        );
    }

    #[test]
    fn what_an_event_keeps_is_bounded_and_ids_never_clash() {
        let mut sounds = Sounds::new(&settings(&[]));
        let tag = |n: u32| format!("{}{}", char::from(b'a' + (n / 26) as u8), char::from(b'a' + (n % 26) as u8));
        let mut dropped = 0;
        for n in 0..300 {
            dropped += sounds.update(&settings(&[(&tag(n), None)])).dropped.len();
            let mut ids: Vec<TrackId> = sounds.all().iter().flat_map(|s| [s.id, s.realtime]).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), sounds.all().len() * 2);
            assert!(sounds.all().len() <= MOST_KEPT && sounds.listed() == ["floor", &tag(n)]);
        }
        assert_eq!(dropped, 301 - MOST_KEPT);
    }
}
