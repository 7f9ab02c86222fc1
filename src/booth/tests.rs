use super::*;
use crate::media::{Dur, TrackId, Ts, VoiceId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LANGUAGES: [&str; 4] = ["de", "fr", "es", "it"];

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_772_000_000_000 + ms)
}

fn spec(language: &str, second: Option<&str>) -> BoothSpec {
    BoothSpec {
        language: language.to_owned(),
        second_language: second.map(str::to_owned),
        muted: false,
        floor_level_db: -14.0,
    }
}

fn four() -> Room {
    Room::new(LANGUAGES.iter().map(|l| spec(l, None)).collect())
}

fn output(language: &str) -> Option<TrackId> {
    LANGUAGES.iter().position(|l| *l == language).map(|i| TrackId(10 + i as u16))
}

fn relay(language: &str) -> Source {
    Source::Relay(language.to_owned())
}

/// An interpreter who is there with a voice that flows.
fn interpreter(room: &mut Room, booth: &str) -> (PersonId, VoiceId) {
    let link = format!("link {booth}");
    let join = Join {
        seat: Seat::Interpreter(booth.to_owned()),
        name: "Ana".into(),
        link: link.clone(),
        resume: format!("resume {}", room.people().count()),
    };
    let (person, _) = room.join(join, at(0)).expect("let in");
    let voice = room.new_voice();
    room.voice_opened(voice, &link, Some(person)).expect("connected");
    room.voice_flowing(voice, true);
    (person, voice)
}

fn manager(room: &mut Room) -> PersonId {
    let join = Join { seat: Seat::Manager, name: "Max".into(), link: "m".into(), resume: "rm".into() };
    room.join(join, at(0)).expect("let in").0
}

fn mixed(room: &Room, language: &str) -> Vec<VoiceId> {
    let plan = room.plan(output);
    plan.languages.into_iter().find(|m| Some(m.output) == output(language)).expect("a mix").on_air
}

#[test]
fn a_new_interpreter_is_off_air_and_heard_only_with_everything_in_place() {
    let mut room = four();
    let (ana, voice) = interpreter(&mut room, "de");
    assert!(mixed(&room, "de").is_empty());
    assert_eq!(room.plan(output).voices, [voice], "metered before it is on air");
    room.apply(ana, Command::OnAir(true), at(1)).expect("allowed");
    assert_eq!(mixed(&room, "de"), [voice]);
    for (off, on) in [(Command::Cough(true), Command::Cough(false)), (Command::OnAir(false), Command::OnAir(true))] {
        room.apply(ana, off, at(2)).expect("allowed");
        assert!(mixed(&room, "de").is_empty());
        room.apply(ana, on, at(3)).expect("allowed");
        assert_eq!(mixed(&room, "de"), [voice]);
    }
    let muted = BoothSpec { muted: true, ..spec("de", None) };
    room.configure(std::iter::once(muted).chain(LANGUAGES[1..].iter().map(|l| spec(l, None))).collect());
    assert!(mixed(&room, "de").is_empty());
    room.configure(LANGUAGES.iter().map(|l| spec(l, None)).collect());
    assert!(room.voice_flowing(voice, false) && !room.voice_flowing(voice, false));
    assert!(mixed(&room, "de").is_empty());
    room.voice_flowing(voice, true);
    room.voice_closed(voice);
    assert!(mixed(&room, "de").is_empty() && room.plan(output).voices.is_empty());
}

#[test]
fn a_lost_page_is_off_air_at_once_and_comes_back_as_it_was() {
    let mut room = four();
    let (ana, voice) = interpreter(&mut room, "de");
    room.apply(ana, Command::OnAir(true), at(0)).expect("allowed");
    room.apply(ana, Command::Listen(relay("fr")), at(0)).expect("allowed");
    room.apply(ana, Command::Cough(true), at(0)).expect("allowed");
    let old = room.person(ana).expect("there").connection();
    room.leave(ana, old, at(1000));
    assert!(mixed(&room, "de").is_empty());
    assert!(room.plan(output).voices.is_empty());
    assert!(room.resume("resume 0", "another link", "Ana").is_none());
    assert!(room.resume("guessed", "link de", "Ana").is_none());
    let (again, effects) = room.resume("resume 0", "link de", "Ana").expect("known");
    assert_eq!((again, effects), (ana, Vec::new()));
    assert_eq!(mixed(&room, "de"), [voice], "on air as before, and nobody coughs for ten seconds");
    assert_eq!(room.person(ana).expect("there").listen, relay("fr"));
    // The old connection's end comes late.
    room.leave(ana, old, at(2000));
    assert_eq!(mixed(&room, "de"), [voice]);
    let now = room.person(ana).expect("there").connection();
    room.leave(ana, now, at(3000));
    assert_eq!(room.tick(at(3000) + GRACE - Dur::from_millis(1)), (false, Vec::new()));
    let (changed, effects) = room.tick(at(3000) + GRACE);
    assert!(changed);
    assert_eq!(effects, [Effect::CloseVoice(voice), Effect::Removed(ana)]);
    assert!(room.resume("resume 0", "link de", "Ana").is_none());
}

#[test]
fn who_would_hear_themselves_is_refused_or_put_back_on_the_floor() {
    let mut room = four();
    let (de, _) = interpreter(&mut room, "de");
    let (fr, _) = interpreter(&mut room, "fr");
    let (es, _) = interpreter(&mut room, "es");
    for (person, source) in [(de, Source::Floor), (fr, relay("de")), (es, relay("fr"))] {
        room.apply(person, Command::Listen(source), at(0)).expect("allowed");
        room.apply(person, Command::OnAir(true), at(0)).expect("never refused");
    }
    // de → fr → es: de may hear neither.
    for heard in ["de", "fr", "es"] {
        let refused = room.apply(de, Command::Listen(relay(heard)), at(0)).expect_err("a circle");
        assert!(matches!(refused, Refusal::Loop(_)), "{refused:?}");
    }
    let refused: Vec<bool> = room.relays(de).iter().map(|r| r.refused.is_some()).collect();
    assert_eq!(refused, [false, true, true, true, false]);
    assert_eq!(
        ["de", "fr", "es", "it"].map(|l| room.quality(l)),
        [RelayQuality::Direct, RelayQuality::Relay, RelayQuality::Relay, RelayQuality::Floor]
    );
    // Off air it harms nobody; going on air again puts the mover back.
    room.apply(de, Command::OnAir(false), at(0)).expect("allowed");
    assert_eq!(room.quality("fr"), RelayQuality::Direct, "what it hears is the floor now");
    room.apply(de, Command::Listen(relay("es")), at(0)).expect("off air");
    let effects = room.apply(de, Command::OnAir(true), at(0)).expect("never refused");
    assert!(effects.contains(&Effect::Listen(de, Source::Floor)), "{effects:?}");
    assert!(effects.iter().any(|e| matches!(e, Effect::Tell(who, _) if *who == de)), "{effects:?}");
    assert!(room.person(de).expect("there").on_air);
}

#[test]
fn a_change_of_language_that_closes_a_circle_puts_the_mover_back() {
    let mut specs: Vec<BoothSpec> = LANGUAGES.iter().map(|l| spec(l, None)).collect();
    specs[0].second_language = Some("es".into());
    let mut room = Room::new(specs.clone());
    let (de, voice) = interpreter(&mut room, "de");
    let (fr, _) = interpreter(&mut room, "fr");
    room.apply(fr, Command::Listen(relay("es")), at(0)).expect("allowed");
    room.apply(fr, Command::OnAir(true), at(0)).expect("allowed");
    room.apply(de, Command::Listen(relay("fr")), at(0)).expect("allowed");
    room.apply(de, Command::OnAir(true), at(0)).expect("allowed");
    let refused = room.apply(de, Command::Outgoing("it".into()), at(0)).expect_err("not this booth's");
    assert_eq!(refused, Refusal::Outgoing("de and es".into()));
    let effects = room.apply(de, Command::Outgoing("es".into()), at(0)).expect("allowed");
    assert!(effects.contains(&Effect::Listen(de, Source::Floor)));
    assert_eq!((mixed(&room, "es"), mixed(&room, "de")), (vec![voice], vec![]));
    // The second language is taken away while it is spoken into.
    specs[0].second_language = None;
    let effects = room.configure(specs);
    assert!(effects.iter().any(|e| matches!(e, Effect::Tell(who, _) if *who == de)));
    assert_eq!((mixed(&room, "es"), mixed(&room, "de")), (vec![], vec![voice]));
}

#[test]
fn the_microphone_is_handed_over_both_ways() {
    let mut room = four();
    let (ana, a) = interpreter(&mut room, "de");
    let (ben, b) = interpreter(&mut room, "de");
    let act = |room: &mut Room, who, action| room.apply(who, Command::Handover(action), at(0));
    room.apply(ana, Command::OnAir(true), at(0)).expect("allowed");
    assert!(act(&mut room, ben, HandoverAction::Offer).is_err(), "off air");
    assert!(act(&mut room, ben, HandoverAction::Take).is_err(), "nothing is open");
    act(&mut room, ana, HandoverAction::Offer).expect("allowed");
    assert!(act(&mut room, ana, HandoverAction::Take).is_err(), "one's own");
    let effects = act(&mut room, ben, HandoverAction::Decline).expect("allowed");
    assert!(matches!(effects.as_slice(), [Effect::Tell(who, _)] if *who == ana));
    act(&mut room, ana, HandoverAction::Offer).expect("allowed");
    act(&mut room, ben, HandoverAction::Take).expect("allowed");
    assert_eq!(mixed(&room, "de"), [b]);
    // Ask, and be given.
    act(&mut room, ana, HandoverAction::Ask).expect("allowed");
    assert_eq!(
        room.booth("de").and_then(|b| b.handover.as_ref()).map(|h| (h.kind, h.from)),
        Some((HandoverKind::Ask, ana))
    );
    act(&mut room, ben, HandoverAction::Take).expect("allowed");
    assert_eq!(mixed(&room, "de"), [a]);
    assert!(room.booth("de").is_some_and(|b| b.handover.is_none()));
    // Ask, and be answered with an offer.
    act(&mut room, ben, HandoverAction::Ask).expect("allowed");
    act(&mut room, ana, HandoverAction::Offer).expect("allowed");
    assert_eq!(mixed(&room, "de"), [b]);
    // Going on air needs nobody's leave; two are open then, and the offer of one who goes off air is void.
    act(&mut room, ben, HandoverAction::Offer).expect("allowed");
    room.apply(ana, Command::OnAir(true), at(0)).expect("never refused");
    assert_eq!(room.open("de").count(), 2);
    room.apply(ben, Command::OnAir(false), at(0)).expect("allowed");
    assert!(room.booth("de").is_some_and(|b| b.handover.is_none()));
}

#[test]
fn what_a_role_may_not_do_is_refused() {
    let mut room = four();
    let (ana, _) = interpreter(&mut room, "de");
    let max = manager(&mut room);
    for command in [Command::OnAir(true), Command::Outgoing("de".into()), Command::SlowDown, Command::CallManager(true)]
    {
        assert!(matches!(room.apply(max, command, at(0)), Err(Refusal::Role(..))));
    }
    let mute = |booth: &str, level| Command::Manage { booth: booth.into(), muted: Some(true), floor_level_db: level };
    assert!(matches!(room.apply(ana, mute("de", None), at(0)), Err(Refusal::Role(..))));
    assert!(matches!(room.apply(max, mute("xx", None), at(0)), Err(Refusal::NoBooth(_))));
    for level in [0.1, f32::NAN, f32::INFINITY] {
        assert_eq!(room.apply(max, mute("de", Some(level)), at(0)), Err(Refusal::Level));
    }
    let set = room.apply(max, mute("de", Some(-120.0)), at(0)).expect("allowed");
    let none = Some(f32::NEG_INFINITY);
    assert_eq!(set, [Effect::Set { booth: "de".into(), muted: Some(true), floor_level_db: none }]);
    room.apply(ana, Command::CallManager(true), at(0)).expect("allowed");
    room.apply(max, Command::AnswerCall(ana), at(0)).expect("allowed");
    assert!(!room.person(ana).expect("there").calling);
}

#[test]
fn slow_down_stands_for_ten_seconds_and_is_told_once() {
    let mut room = four();
    let (ana, _) = interpreter(&mut room, "de");
    let told = room.apply(ana, Command::SlowDown, at(0)).expect("allowed");
    assert_eq!(told, [Effect::SlowDown { from: ana, booth: "de".into() }]);
    assert!(room.apply(ana, Command::SlowDown, at(5_000)).expect("allowed").is_empty());
    assert!(!room.tick(at(14_999)).0);
    assert!(room.tick(at(15_000)).0);
    assert!(room.booth("de").is_some_and(|b| b.slow_down_until.is_none()));
}

#[test]
fn chat_reaches_those_it_is_for() {
    let mut room = four();
    let (ana, _) = interpreter(&mut room, "de");
    let (ben, _) = interpreter(&mut room, "de");
    let (eva, _) = interpreter(&mut room, "fr");
    let max = manager(&mut room);
    let mut send = |from, to, booth: Option<&str>, text: &str, ms| room.chat(from, to, booth, text, at(ms));
    let who = |chat: Result<Chat, Refusal>| chat.expect("sent").recipients;
    assert_eq!(who(send(ana, ChatTo::Booth, None, "x", 0)), [ana, ben]);
    assert_eq!(who(send(ana, ChatTo::Booth, Some("fr"), "x", 0)), [ana, eva]);
    assert_eq!(who(send(ana, ChatTo::Managers, None, "x", 0)), [ana, max]);
    assert_eq!(who(send(ana, ChatTo::All, None, "x", 0)), [ana, ben, eva, max]);
    assert_eq!(who(send(max, ChatTo::Booth, Some("fr"), "x", 0)), [eva, max]);
    assert!(matches!(send(max, ChatTo::Booth, None, "x", 0), Err(Refusal::NoBooth(_))));
    for wrong in ["", "  \n", &"x".repeat(MAX_CHAT + 1), "a\u{7}b"] {
        assert_eq!(send(eva, ChatTo::All, None, wrong, 0), Err(Refusal::Text));
    }
    assert_eq!(
        send(eva, ChatTo::All, None, &" ü".repeat(MAX_CHAT / 2), 0).map(|c| c.text.chars().count()),
        Ok(MAX_CHAT - 1)
    );
    let sent = (0..20).filter(|_| send(eva, ChatTo::All, None, "x", 0).is_ok()).count();
    assert!(sent < 10, "{sent}");
    assert!(send(eva, ChatTo::All, None, "x", 60_000).is_ok());
}

#[test]
fn a_full_booth_takes_nobody_unless_somebody_is_gone() {
    let mut room = four();
    let people: Vec<PersonId> = (0..MAX_PER_BOOTH).map(|_| interpreter(&mut room, "de").0).collect();
    let join = |seat: Seat, name: &str| Join { seat, name: name.into(), link: "l".into(), resume: "r".into() };
    let more = join(Seat::Interpreter("de".into()), "Ina");
    assert_eq!(room.join(more.clone(), at(0)).err(), Some(Refusal::Full(MAX_PER_BOOTH)));
    let gone = people[3];
    let connection = room.person(gone).expect("there").connection();
    room.leave(gone, connection, at(5));
    let (_, effects) = room.join(more, at(6)).expect("room is made");
    assert!(effects.contains(&Effect::Removed(gone)));
    for wrong in ["", " ", "a\nb", &"x".repeat(MAX_NAME + 1)] {
        assert_eq!(room.join(join(Seat::Manager, wrong), at(0)).err(), Some(Refusal::Name));
    }
    assert!(matches!(room.join(join(Seat::Interpreter("xx".into()), "A"), at(0)), Err(Refusal::NoBooth(_))));
}

#[test]
fn a_voice_finds_its_person_in_any_order() {
    let mut room = four();
    let early = room.new_voice();
    room.voice_opened(early, "link de", None).expect("waits");
    room.voice_flowing(early, true);
    assert!(room.plan(output).voices.is_empty(), "nobody's");
    let join = |n: u32| Join {
        seat: Seat::Interpreter("de".into()),
        name: "Ana".into(),
        link: "link de".into(),
        resume: n.to_string(),
    };
    let (ana, _) = room.join(join(1), at(0)).expect("in");
    assert_eq!(room.person(ana).and_then(|p| p.voice), Some(early));
    // A new session of the one who is there takes the place of the old.
    let again = room.new_voice();
    assert_eq!(room.voice_opened(again, "link de", None), Ok(vec![Effect::CloseVoice(early)]));
    let (ben, _) = room.join(join(2), at(0)).expect("in");
    let second = room.new_voice();
    assert_eq!(room.voice_opened(second, "link de", None), Ok(vec![]));
    assert_eq!(room.person(ben).and_then(|p| p.voice), Some(second));
    let other = room.new_voice();
    assert_eq!(room.voice_opened(other, "link fr", Some(ana)), Err(Refusal::Unknown), "another booth's link");
    for _ in 0..MAX_PENDING_VOICES {
        let voice = room.new_voice();
        room.voice_opened(voice, "link es", None).expect("waits");
    }
    let voice = room.new_voice();
    assert_eq!(room.voice_opened(voice, "link es", None), Err(Refusal::Voices));
    // A late end of the old session takes nothing away.
    room.voice_closed(early);
    assert_eq!(room.person(ana).and_then(|p| p.voice), Some(again));
}

#[test]
fn a_revoked_link_takes_its_people_and_voices_along() {
    let mut room = four();
    let (ana, a) = interpreter(&mut room, "de");
    let (eva, e) = interpreter(&mut room, "fr");
    for who in [ana, eva] {
        room.apply(who, Command::OnAir(true), at(0)).expect("allowed");
    }
    room.apply(eva, Command::Listen(relay("de")), at(0)).expect("allowed");
    let effects = room.revoke("link de");
    assert_eq!(effects, [Effect::CloseVoice(a), Effect::Removed(ana)]);
    assert_eq!((mixed(&room, "de"), mixed(&room, "fr")), (vec![], vec![e]));
    // A booth that is gone: its people too, and whoever listened to it hears the floor.
    let (it, _) = interpreter(&mut room, "it");
    room.apply(it, Command::Listen(relay("fr")), at(0)).expect("allowed");
    let effects = room.configure(vec![spec("de", None), spec("it", None)]);
    assert!(effects.contains(&Effect::Removed(eva)) && effects.contains(&Effect::Listen(it, Source::Floor)));
}

/// Something that happens, of persons and voices by number.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, bool),
    Leave(usize),
    Resume(usize),
    Voice(usize),
    Flow(usize, bool),
    Close(usize),
    Apply(usize, Act),
    Configure(Vec<(usize, Option<usize>, bool)>),
    Revoke(usize),
    Time(i64),
}

#[derive(Clone, Debug)]
enum Act {
    OnAir(bool),
    Cough(bool),
    Listen(usize),
    Outgoing(usize),
    Handover(u8),
    SlowDown,
    Call(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let act = prop_oneof![
        4 => any::<bool>().prop_map(Act::OnAir),
        1 => any::<bool>().prop_map(Act::Cough),
        4 => (0..6usize).prop_map(Act::Listen),
        3 => (0..5usize).prop_map(Act::Outgoing),
        2 => (0..4u8).prop_map(Act::Handover),
        1 => Just(Act::SlowDown),
        1 => any::<bool>().prop_map(Act::Call),
    ];
    let booths = prop::collection::vec((0..4usize, prop::option::of(0..5usize), any::<bool>()), 0..5);
    let step = prop_oneof![
        3 => (0..5usize, any::<bool>()).prop_map(|(l, m)| Step::Join(l, m)),
        1 => (0..20usize).prop_map(Step::Leave),
        1 => (0..20usize).prop_map(Step::Resume),
        3 => (0..20usize).prop_map(Step::Voice),
        3 => (0..20usize, any::<bool>()).prop_map(|(v, f)| Step::Flow(v, f)),
        1 => (0..20usize).prop_map(Step::Close),
        12 => (0..20usize, act).prop_map(|(p, a)| Step::Apply(p, a)),
        1 => booths.prop_map(Step::Configure),
        1 => (0..4usize).prop_map(Step::Revoke),
        2 => (0..70_000i64).prop_map(Step::Time),
    ];
    prop::collection::vec(step, 1..120)
}

fn language(i: usize) -> String {
    LANGUAGES.get(i).copied().unwrap_or("xx").to_owned()
}

/// Who is heard, what they hear and make.
fn heard(room: &Room) -> Vec<(PersonId, Source, String)> {
    let all = room.people().filter(|p| room.heard(p));
    all.map(|p| (p.id, p.listen.clone(), p.outgoing.clone().expect("speaks"))).collect()
}

/// What stands in a language's mix, from whom to whom, without the module's own search.
fn hears_themselves(heard: &[(PersonId, Source, String)], me: &(PersonId, Source, String)) -> bool {
    // Everything that reaches `me`, by languages, until nothing is added.
    let mut reach: BTreeSet<String> = me.1.language().map(str::to_owned).into_iter().collect();
    loop {
        let before = reach.len();
        for (_, source, outgoing) in heard {
            if let (true, Some(from)) = (reach.contains(outgoing), source.language()) {
                reach.insert(from.to_owned());
            }
        }
        if reach.len() == before {
            return reach.contains(&me.2);
        }
    }
}

fn check(room: &Room) -> Result<(), TestCaseError> {
    let everybody = heard(room);
    for me in &everybody {
        prop_assert!(!hears_themselves(&everybody, me), "{me:?} hears themselves in {everybody:?}");
    }
    let plan = room.plan(output);
    let mut mixed = BTreeMap::new();
    for (mix, booth) in plan.languages.iter().zip(room.booths()) {
        prop_assert_eq!(Some(mix.output), output(&booth.spec.language));
        prop_assert!(mix.floor_level_db <= 0.0);
        for voice in &mix.on_air {
            prop_assert!(mixed.insert(*voice, booth.spec.language.clone()).is_none(), "in two mixes");
        }
    }
    for person in room.people() {
        let booth = person.booth().and_then(|b| room.booth(b));
        let muted = booth.is_none_or(|b| b.spec.muted);
        let should = person.on_air && person.present() && !person.cough && !muted && room.connected(person);
        let is = person.voice.and_then(|v| mixed.get(&v));
        prop_assert_eq!(is, person.outgoing.as_ref().filter(|_| should), "{:?}", person);
        if let (Some(booth), Some(outgoing)) = (booth, &person.outgoing) {
            prop_assert!(booth.speaks(Some(outgoing)), "{:?}", person);
        }
        prop_assert!(person.seat == Seat::Manager || booth.is_some());
        prop_assert!(person.listen.language().is_none_or(|l| room.booth(l).is_some()));
        prop_assert_eq!(person.voice.map(|v| room.speaker(v).map(|p| p.id)), person.voice.map(|_| Some(person.id)));
    }
    for voice in mixed.keys() {
        prop_assert!(plan.voices.contains(voice), "mixed without being decoded");
    }
    for booth in room.booths() {
        let here = room.people().filter(|p| p.booth() == Some(&booth.spec.language)).count();
        prop_assert!(here <= MAX_PER_BOOTH);
        if let Some(open) = &booth.handover {
            let from = room.person(open.from).expect("there");
            prop_assert!(from.present() && from.on_air == (open.kind == HandoverKind::Offer));
            prop_assert_eq!(from.booth(), Some(booth.spec.language.as_str()));
        }
    }
    prop_assert!(room.people().filter(|p| p.seat == Seat::Manager).count() <= MAX_MANAGERS);
    Ok(())
}

fn act(room: &mut Room, person: PersonId, act: &Act, now: Ts) -> Result<Vec<Effect>, Refusal> {
    let command = match act {
        Act::OnAir(value) => Command::OnAir(*value),
        Act::Cough(value) => Command::Cough(*value),
        Act::Listen(5) => Command::Listen(Source::Floor),
        Act::Listen(i) => Command::Listen(Source::Relay(language(*i))),
        Act::Outgoing(i) => Command::Outgoing(language(*i)),
        Act::Handover(0) => Command::Handover(HandoverAction::Offer),
        Act::Handover(1) => Command::Handover(HandoverAction::Ask),
        Act::Handover(2) => Command::Handover(HandoverAction::Take),
        Act::Handover(_) => Command::Handover(HandoverAction::Decline),
        Act::SlowDown => Command::SlowDown,
        Act::Call(value) => Command::CallManager(*value),
    };
    room.apply(person, command, now)
}

/// The mixes of the languages that a booth does not speak into.
fn others(room: &Room, booth: Option<&str>) -> Vec<(TrackId, Vec<VoiceId>)> {
    let speaks = |language: &str| booth.and_then(|b| room.booth(b)).is_some_and(|b| b.speaks(Some(language)));
    let plan = room.plan(output);
    let mixes = plan.languages.into_iter().zip(room.booths());
    mixes.filter(|(_, b)| !speaks(&b.spec.language)).map(|(mix, _)| (mix.output, mix.on_air)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_hears_themselves_and_the_mix_is_right(steps in steps()) {
        let mut room = Room::new(LANGUAGES.iter().map(|l| spec(l, None)).collect());
        room.configure(vec![spec("de", Some("fr")), spec("fr", None), spec("es", Some("de")), spec("it", Some("es"))]);
        let mut now = at(0);
        let mut people: Vec<PersonId> = Vec::new();
        let mut voices: Vec<VoiceId> = Vec::new();
        for step in steps {
            match step {
                Step::Join(4, true) => {
                    let link = "managers".to_owned();
                    let join = Join { seat: Seat::Manager, name: "M".into(), link, resume: format!("r{}", people.len()) };
                    people.extend(room.join(join, now).map(|(id, _)| id));
                }
                Step::Join(l, _) => {
                    let (seat, link) = (Seat::Interpreter(language(l)), format!("link {l}"));
                    let join = Join { seat, name: "I".into(), link, resume: format!("r{}", people.len()) };
                    people.extend(room.join(join, now).map(|(id, _)| id));
                }
                Step::Leave(p) => if let Some(&id) = people.get(p) {
                    let connection = room.person(id).map_or(0, Person::connection);
                    room.leave(id, connection, now);
                },
                Step::Resume(p) => if let Some(&id) = people.get(p) {
                    let link = room.person(id).map(|x| x.link.clone()).unwrap_or_default();
                    let back = room.resume(&format!("r{p}"), &link, "Again");
                    prop_assert!(back.is_none_or(|(who, _)| who == id));
                },
                Step::Voice(p) => {
                    let id = people.get(p).copied();
                    let link = id.and_then(|id| room.person(id)).map_or("link 0".into(), |x| x.link.clone());
                    let voice = room.new_voice();
                    if room.voice_opened(voice, &link, id).is_ok() {
                        voices.push(voice);
                    }
                }
                Step::Flow(v, flows) => if let Some(&voice) = voices.get(v) { room.voice_flowing(voice, flows); },
                Step::Close(v) => if let Some(&voice) = voices.get(v) { room.voice_closed(voice); },
                Step::Apply(p, what) => if let Some(&id) = people.get(p) {
                    let booth = room.person(id).and_then(Person::booth).map(str::to_owned);
                    let before = others(&room, booth.as_deref());
                    let (was, plan) = (room.person(id).map(|x| x.on_air), room.plan(output));
                    let done = act(&mut room, id, &what, now);
                    prop_assert_eq!(others(&room, booth.as_deref()), before, "{:?} changed another language", what);
                    if done.is_err() {
                        prop_assert_eq!(room.plan(output), plan, "refused, and changed all the same");
                    }
                    let here = room.person(id).is_some_and(Person::present);
                    let speaks = booth.is_some() && was.is_some() && here;
                    if let (Act::OnAir(false), true) = (&what, speaks) {
                        prop_assert!(done.is_ok() && room.person(id).is_some_and(|x| !x.on_air));
                    }
                    if let (Act::OnAir(true), true) = (&what, speaks) {
                        prop_assert!(done.is_ok() || done == Err(Refusal::Often), "{:?}", done);
                    }
                },
                Step::Configure(booths) => {
                    let mut seen = BTreeSet::new();
                    let kept = booths.into_iter().filter(|(l, ..)| seen.insert(*l));
                    let specs = kept.map(|(l, second, muted)| BoothSpec {
                        second_language: second.map(language),
                        muted,
                        ..spec(LANGUAGES[l], None)
                    });
                    room.configure(specs.collect());
                }
                Step::Revoke(l) => {
                    let link = format!("link {l}");
                    room.revoke(&link);
                    let gone = room.people().all(|p| p.link != link);
                    prop_assert!(gone);
                }
                Step::Time(ms) => {
                    now += Dur::from_millis(ms);
                    room.tick(now);
                    prop_assert!(room.people().all(|p| p.left_at.is_none_or(|left| now - left < GRACE)));
                }
            }
            check(&room)?;
        }
    }

    #[test]
    fn names_of_people_are_read_strictly(text in "\\PC{0,12}") {
        if let Some(id) = PersonId::parse(&text) {
            prop_assert_eq!(id.to_string().trim_start_matches('p').parse::<u32>().ok(), text[1..].parse().ok());
        }
    }
}
