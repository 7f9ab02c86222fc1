//! The rooms together: two booths, the management room and participants, each seen on the others' pages.

use crate::support::api::{Api, Event};
use crate::support::booth::{STATS, booth_url, join, on_air, sine_wav};
use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::lossy::{Link, Lossy};
use crate::support::publish::{Programme, Publisher};
use serde_json::{Value, json};
use std::time::Duration;

/// What reaches beyond the right edge of the page.
const BEYOND: &str = "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > \
    document.documentElement.clientWidth + 0.5 && !e.closest('.visually-hidden')).map(e => e.className || e.tagName)";

/// Long, for many pages at once on a small machine that others share.
const SOON: Duration = Duration::from_secs(30);

async fn link(api: &Api, event: &Event, what: Value) -> Value {
    api.post(&format!("/api/v1/events/{}/links", event.id), what).await.expect(201).json()
}

fn url(link: &Value) -> &str {
    link["url"].as_str().unwrap()
}

fn expires(after: Duration) -> String {
    let at = time::OffsetDateTime::now_utc() + after;
    at.format(&time::format_description::well_known::Rfc3339).unwrap()
}

/// Waits until this page's stats fulfil `what`, in which `s` stands for them.
async fn shows(browser: &mut Browser, tab: &str, what: &str) {
    browser.tab(tab).await;
    browser.until(SOON, &format!("(s => {what})({STATS})")).await;
}

async fn press(browser: &mut Browser, tab: &str, key: &str) {
    browser.tab(tab).await;
    // Out of any field: letters are shortcuts only there.
    browser.eval("document.activeElement?.blur()").await;
    browser.run(json!({"do": "press", "key": key})).await;
}

async fn say(browser: &mut Browser, tab: &str, thread: &str, text: &str) {
    browser.tab(tab).await;
    browser.click(&format!("[data-thread='{thread}']")).await;
    browser.fill(".chat-field", text).await;
    browser.run(json!({"do": "press", "key": "Enter"})).await;
}

/// An event with two booths, and the pages of these people in tabs: `(tab, URL, name)`.
struct Rooms {
    daemon: Daemon,
    event: Event,
    pages: Browser,
    _encoder: Publisher,
    _dir: tempfile::TempDir,
}

impl Rooms {
    async fn open() -> Rooms {
        let programme = Programme::tone(1000.0, 0.2).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start().await;
        let api = daemon.api();
        let languages = json!([{"language": "de", "kind": "interpreted"}, {"language": "fr", "kind": "interpreted"}]);
        let event = api.event_with(json!({"ladder": ["240p"], "languages": languages})).await;
        event.status("preview").await;
        let encoder = programme.publish(&event.publish_url());
        let mut pages = Browser::speaking(&sine_wav(dir.path(), 440.0, 0.3).await).await;
        pages.run(json!({"do": "frugal"})).await;
        Rooms { daemon, event, pages, _encoder: encoder, _dir: dir }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn booths_and_the_management_room_see_each_other() {
    let Rooms { daemon, event, mut pages, _encoder, _dir } = Rooms::open().await;
    let api = daemon.api();
    let booths = format!("/api/v1/events/{}/booths", event.id);
    api.patch(&format!("{booths}/fr"), json!({"second_language": "de"})).await.expect(200);
    let manager = link(&api, &event, json!({"role": "manager"})).await;
    pages.tab("manager").await;
    pages.open(url(&manager)).await;
    pages.until(SOON, "document.querySelector('input[name=name]')").await;
    pages.fill("input[name=name]", "Mira").await;
    pages.click("button[type=submit]").await;
    pages.until(Duration::from_secs(30), &format!("{STATS}.socket === 'open' && {STATS}.frames_decoded > 5")).await;
    for (tab, booth, name) in [("anna", "de", "Anna"), ("carla", "fr", "Carla")] {
        pages.tab(tab).await;
        join(&mut pages, &booth_url(&event, booth), name).await;
    }
    for tab in ["manager", "anna", "carla"] {
        shows(&mut pages, tab, "['Mira', 'Anna', 'Carla'].every(n => s.people.includes(n))").await;
    }

    // On air, each is a lamp on the others' pages.
    pages.tab("anna").await;
    on_air(&mut pages, true).await;
    pages.tab("carla").await;
    on_air(&mut pages, true).await;
    for tab in ["manager", "anna"] {
        shows(&mut pages, tab, "s.on_air_booths.join() === 'de,fr'").await;
    }
    pages.tab("manager").await;
    pages.screenshot("manage").await;

    // Relay: Carla hears Anna's booth; then Anna cannot hear hers, and is told why.
    press(&mut pages, "carla", "r").await;
    shows(&mut pages, "carla", "s.listen === 'de'").await;
    pages.tab("anna").await;
    pages.until(SOON, "document.querySelector('#source-fr')?.closest('[aria-disabled=true]')").await;
    pages.screenshot("booth-relay-refused").await;

    // A bilingual booth speaks the other language; Carla would hear herself, so she is back on the floor.
    press(&mut pages, "carla", "x").await;
    shows(&mut pages, "carla", "s.outgoing === 'de' && s.listen === 'floor'").await;
    shows(&mut pages, "manager", "s.on_air_booths.join() === 'de'").await;
    pages.tab("carla").await;
    pages.screenshot("booth-bilingual").await;
    press(&mut pages, "carla", "x").await;
    shows(&mut pages, "manager", "s.on_air_booths.join() === 'de,fr'").await;

    // Cough, while it is held.
    pages.tab("anna").await;
    pages.eval("document.activeElement?.blur()").await;
    pages.run(json!({"do": "hold", "key": "c"})).await;
    shows(&mut pages, "anna", "s.air === 'cough' && !s.heard").await;
    shows(&mut pages, "manager", "s.on_air_booths.join() === 'fr'").await;
    pages.tab("anna").await;
    pages.run(json!({"do": "release", "key": "c"})).await;
    shows(&mut pages, "manager", "s.on_air_booths.join() === 'de,fr'").await;

    // The manager mutes the booth, and lets it speak again.
    pages.tab("manager").await;
    pages.click("[data-booth='de'] .card-controls button:last-child").await;
    shows(&mut pages, "anna", "s.air === 'muted' && !s.heard").await;
    pages.screenshot("booth-muted").await;
    shows(&mut pages, "manager", "s.on_air_booths.join() === 'fr'").await;
    pages.tab("manager").await;
    pages.click("[data-booth='de'] .card-controls button:last-child").await;
    shows(&mut pages, "anna", "s.air === 'on' && s.heard").await;
    // A voice that pauses for half a second is not on air meanwhile.
    eventually(SOON, "the booth on air and not muted", || async {
        let listed = api.get(&booths).await.expect(200).json();
        let de = listed["items"].as_array().unwrap().iter().find(|b| b["language"] == "de").unwrap().clone();
        (de["on_air"] == true && de["muted"] == false).then_some(())
    })
    .await;

    // Chat reaches whom it is for.
    say(&mut pages, "anna", "booth", "for the booth").await;
    say(&mut pages, "anna", "managers", "for managers").await;
    say(&mut pages, "manager", "all", "for all").await;
    shows(&mut pages, "carla", "s.chat_texts.includes('for all') && !s.chat_texts.includes('for the booth')").await;
    shows(&mut pages, "manager", "s.chat_texts.includes('for managers')").await;

    // Slow down and a call are seen by the manager, who answers.
    press(&mut pages, "carla", "s").await;
    pages.tab("manager").await;
    pages.until(SOON, "document.body.innerText.toLowerCase().includes('slow')").await;
    press(&mut pages, "carla", "g").await;
    shows(&mut pages, "manager", "s.calling.includes('Carla')").await;
    pages.screenshot("manage-call").await;
    pages.click(".notice .button-primary").await;
    shows(&mut pages, "manager", "s.calling.length === 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interpreters_of_a_booth_take_turns_until_their_links_end() {
    let Rooms { daemon, event, mut pages, _encoder, _dir } = Rooms::open().await;
    let api = daemon.api();
    let spare = link(&api, &event, json!({"role": "interpreter", "language": "de"})).await;
    for (tab, url, name) in [("anna", booth_url(&event, "de"), "Anna"), ("ben", url(&spare).to_owned(), "Ben")] {
        pages.tab(tab).await;
        join(&mut pages, &url, name).await;
    }
    for tab in ["anna", "ben"] {
        shows(&mut pages, tab, "['Anna', 'Ben'].every(n => s.people.includes(n))").await;
    }
    pages.tab("anna").await;
    on_air(&mut pages, true).await;

    // Ben asks for the microphone, Anna gives it; then he offers it back and she takes it.
    press(&mut pages, "ben", "h").await;
    shows(&mut pages, "anna", "s.handover?.kind === 'ask'").await;
    pages.screenshot("booth-handover").await;
    press(&mut pages, "anna", "t").await;
    shows(&mut pages, "ben", "s.on_air && s.heard").await;
    shows(&mut pages, "anna", "!s.on_air").await;
    press(&mut pages, "ben", "h").await;
    shows(&mut pages, "anna", "s.handover?.kind === 'offer'").await;
    press(&mut pages, "anna", "t").await;
    shows(&mut pages, "anna", "s.on_air && s.heard").await;
    shows(&mut pages, "ben", "!s.on_air").await;

    // What is written to the booth is read by both.
    say(&mut pages, "anna", "booth", "for the booth").await;
    shows(&mut pages, "ben", "s.chat_texts.includes('for the booth')").await;

    // Phone, and dark.
    pages.tab("anna").await;
    pages.run(json!({"do": "size", "width": 390, "height": 844, "dark": true})).await;
    pages.screenshot("booth-phone-dark").await;
    pages.run(json!({"do": "size", "width": 360, "height": 780, "dark": true})).await;
    let beyond = pages.eval(BEYOND).await;
    assert_eq!(beyond, json!([]), "nothing reaches beyond a small phone's width");
    pages.run(json!({"do": "size", "width": 1280, "height": 800, "dark": false})).await;

    // A revoked link ends what it let in, at once; the others stay.
    pages.tab("ben").await;
    pages.eval(&format!("void setInterval(() => {{ if ({STATS}.closed) window.closedAt ??= Date.now() }}, 20)")).await;
    let path = format!("/api/v1/events/{}/links/{}", event.id, spare["id"].as_str().unwrap());
    let now = pages.eval("Date.now()").await.as_f64().unwrap();
    api.call(reqwest::Method::DELETE, &path, None).await.expect(204);
    shows(&mut pages, "ben", "s.closed === 'revoked'").await;
    pages.until(SOON, "window.closedAt").await;
    let after = pages.eval("closedAt").await.as_f64().unwrap() - now;
    println!("the page knew of the revocation after {after:.0} ms");
    assert!(after < 5000.0, "revoked after {after:.0} ms");
    pages.screenshot("booth-revoked").await;
    shows(&mut pages, "anna", "s.on_air && s.heard && !s.people.includes('Ben')").await;
    pages.tab("ben").await;

    let refused = api.anonymous().get(&format!("{}/info", url(&spare))).await;
    assert!([403, 404, 410].contains(&refused.status.as_u16()), "{}", refused.status);

    // One that runs out does so by itself.
    let brief = json!({"role": "interpreter", "language": "fr", "expires_at": expires(Duration::from_secs(60))});
    let brief = link(&api, &event, brief).await;
    pages.tab("dora").await;
    join(&mut pages, url(&brief), "Dora").await;
    pages.until(Duration::from_secs(75), &format!("{STATS}.closed === 'expired'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_hear_their_language_without_delay() {
    let programme = Programme::tone(1000.0, 0.2).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let languages = json!([{"language": "de", "kind": "interpreted"}]);
    let event = api.event_with(json!({"ladder": ["240p"], "languages": languages})).await;
    event.status("started").await;
    let _encoder = programme.publish(&event.publish_url());
    let video = link(&api, &event, json!({"role": "participant", "language": "de", "video": true})).await;
    let sound = link(&api, &event, json!({"role": "participant", "language": "de", "video": false})).await;
    let mut pages = Browser::speaking(&sine_wav(dir.path(), 440.0, 0.3).await).await;
    pages.tab("anna").await;
    join(&mut pages, &booth_url(&event, "de"), "Anna").await;
    for (tab, link) in [("video", &video), ("sound", &sound)] {
        pages.tab(tab).await;
        pages.open(url(link)).await;
        pages.until(SOON, &format!("{STATS}.sound === 'connected'")).await;
    }
    // How much energy came in two seconds.
    async fn energy(pages: &mut Browser, tab: &str) -> f64 {
        pages.tab(tab).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let before = pages.eval(&format!("{STATS}.audio_energy")).await.as_f64().unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        pages.eval(&format!("{STATS}.audio_energy")).await.as_f64().unwrap() - before
    }
    // Nobody on air: with the picture the floor is heard, without it nothing.
    shows(&mut pages, "video", "s.frames_decoded > 10 && s.width > 0").await;
    let floor = energy(&mut pages, "video").await;
    let nothing = energy(&mut pages, "sound").await;
    assert!(floor > 1e-3 && nothing < floor / 1e4, "floor {floor}, audio only {nothing}");
    pages.screenshot("participant-sound").await;
    pages.tab("anna").await;
    on_air(&mut pages, true).await;
    let voice = energy(&mut pages, "sound").await;
    assert!(voice > 1e-3, "the voice is heard: {voice}");
    pages.tab("video").await;
    pages.screenshot("participant-video").await;
    pages.tab("anna").await;
    on_air(&mut pages, false).await;
    // What a browser has in its buffers it still plays.
    let mut nothing = energy(&mut pages, "sound").await;
    for _ in 0..4 {
        if nothing >= voice / 1e3 {
            nothing = energy(&mut pages, "sound").await;
        }
    }
    assert!(nothing < voice / 1e3, "off air audio only is silent again: {nothing} after {voice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_test_grades_by_its_thresholds() {
    let daemon = Daemon::start().await;
    let api = daemon.api();
    let event = api.event_with(json!({"languages": [{"language": "de", "kind": "interpreted"}]})).await;
    event.status("preview").await;
    let target = daemon.addresses["webrtc"];
    let network = Lossy::before(target, Link::default()).await;
    let test = booth_url(&event, "de").replace("/booth/", "/test/");
    let mut page = Browser::start().await;
    page.run(json!({"do": "behind", "from": target.port(), "to": network.address.port()})).await;
    let ms = Duration::from_millis;
    for (link, grade) in [
        (Link::default(), "good"),
        (Link { loss: 0.05, delay: ms(40), jitter: ms(30), ..Link::default() }, "average"),
        (Link { loss: 0.25, delay: ms(60), jitter: ms(60), ..Link::default() }, "bad"),
    ] {
        network.set(Link::default());
        page.open(&test).await;
        page.until(SOON, "document.querySelector('input[name=name]')").await;
        page.fill("input[name=name]", "Anna").await;
        page.fill("input[name=email]", "anna@example.org").await;
        page.fill("input[name=place]", "Ghent").await;
        page.click("button[type=submit]").await;
        page.until(Duration::from_secs(15), &format!("{STATS}.stage === 'running'")).await;
        network.set(link);
        page.until(Duration::from_secs(50), &format!("{STATS}.stage === 'done'")).await;
        let stats = page.eval(STATS).await;
        page.screenshot(&format!("test-{grade}")).await;
        assert_eq!(stats["grade"], grade, "{link:?}: {stats:#}");
        assert_eq!(stats["saved"], true, "{stats:#}");
    }
    let results = api.get("/api/v1/connection-tests").await.expect(200).json();
    let grades: Vec<&str> = results["items"].as_array().unwrap().iter().map(|r| r["grade"].as_str().unwrap()).collect();
    assert_eq!(grades, ["bad", "average", "good"], "newest first: {results:#}");
    assert_eq!(results["items"][0]["place"], "Ghent");
}
