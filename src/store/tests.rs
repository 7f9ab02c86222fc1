use super::*;
use crate::media::{InputName, Ts};
use tempfile::TempDir;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00.123 UTC);

async fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path()).await.expect("opens");
    (dir, store)
}

fn named(name: &str) -> Settings {
    Settings { name: name.into(), ..Settings::default() }
}

const SHAPE: OutputShape = OutputShape { frame_rate: 25, width: 1920, height: 1080 };

#[tokio::test]
async fn an_event_is_the_same_after_a_restart() {
    let (dir, store) = open().await;
    let settings = Settings {
        name: "Assemblée".into(),
        scheduled_start: Some(datetime!(2026-03-02 09:30:00.5 +01:00)),
        languages: vec![Language {
            language: "de".into(),
            kind: LanguageKind::Broadcast,
            track: Some(1),
            channels: None,
        }],
        ladder: Ladder::PASSTHROUGH,
        appearance: Appearance {
            service_message: Some(ServiceMessage { text: "Soon".into(), until: Some(NOW) }),
            ..Appearance::default()
        },
        ..Settings::default()
    };
    let (event, keys) = store.create_event(&settings, &InputsSettings::default(), NOW).await.expect("made");
    assert_eq!((event.status, event.revision, event.created_at), (Status::Inactive, 1, NOW));
    assert_eq!(event.settings, settings);
    store.close().await;
    let store = Store::open(dir.path()).await.expect("opens again");
    let again = store.event(&event.id).await.expect("reads").expect("is there");
    assert_eq!(again, event);
    let owner = store.key_owner(keys.backup.expose()).await.expect("reads").expect("known");
    assert_eq!((owner.event.id, owner.input), (event.id, InputName::Backup));
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_in_debug_output() {
    let (dir, store) = open().await;
    let (event, keys) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let (_, token) = store.create_token(Role::Admin, TokenOrigin::Command, NOW).await.expect("made");
    let pull = Secret::new("rtsp://user:passw0rd@camera.example/stream?token=0815");
    let (event, _) =
        store.set_pull(&event.id, InputName::Main, Some(&pull), NOW).await.expect("answers").expect("there");
    let shown = format!("{event:?} {keys:?} {store:?} {token:?}");
    store.close().await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.path()).expect("dir") {
        files.extend(std::fs::read(entry.expect("entry").path()).expect("file"));
    }
    for secret in [&keys.main, &keys.backup, &token, &event.preview_token, &pull] {
        let secret = secret.expose();
        assert!(!shown.contains(secret), "in Debug");
        assert!(!files.windows(secret.len()).any(|w| w == secret.as_bytes()), "on disk");
    }
}

#[tokio::test]
async fn the_status_follows_the_matrix_and_nothing_else() {
    let (_dir, store) = open().await;
    let (event, _) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let at = |s: i64| NOW + time::Duration::seconds(s);
    let refused = store.set_status(&event.id, Status::Paused, at(1)).await.expect("answers");
    assert!(matches!(refused, StatusChange::Refused(e) if e.status == Status::Inactive && e.revision == 1));
    let mut seconds = 1;
    for next in [Status::Preview, Status::Started, Status::Paused, Status::Started, Status::Ended] {
        seconds += 1;
        match store.set_status(&event.id, next, at(seconds)).await.expect("answers") {
            StatusChange::Done(e, _) => assert_eq!((e.status, e.status_changed_at), (next, at(seconds))),
            other => panic!("{next}: {other:?}"),
        }
        assert!(matches!(store.set_status(&event.id, next, at(99)).await.expect("answers"), StatusChange::Same(_)));
    }
    let event = store.event(&event.id).await.expect("reads").expect("there");
    assert_eq!((event.started_at, event.ended_at, event.revision), (Some(at(3)), Some(at(6)), 6));
    let gone = EventId::parse("0000000000000000").expect("form");
    assert!(matches!(store.set_status(&gone, Status::Started, NOW).await.expect("answers"), StatusChange::Missing));
}

#[tokio::test]
async fn of_many_that_start_at_once_one_does() {
    let (dir, store) = open().await;
    let other = Store::open(dir.path()).await.expect("a second process may open it");
    let (event, _) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let tries: Vec<_> = (0..20)
        .map(|i| if i % 2 == 0 { store.clone() } else { other.clone() })
        .map(|store| {
            let id = event.id.clone();
            async move { store.set_status(&id, Status::Started, NOW).await.expect("answers") }
        })
        .collect();
    let results = futures_util::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|r| matches!(r, StatusChange::Done(..))).count(), 1);
    assert_eq!(results.iter().filter(|r| matches!(r, StatusChange::Same(_))).count(), 19);
}

#[tokio::test]
async fn an_edit_is_kept_whole_or_not_at_all() {
    let (_dir, store) = open().await;
    let (event, _) = store.create_event(&named("before"), &InputsSettings::default(), NOW).await.expect("made");
    let refused = store
        .update_event(&event.id, NOW, |_, settings, _| {
            settings.name = "half".into();
            Err("no")
        })
        .await
        .expect("answers");
    assert!(matches!(refused, Change::Refused("no")));
    assert_eq!(store.event(&event.id).await.expect("reads").expect("there"), event);
    let same = store.update_event::<()>(&event.id, NOW, |_, _, _| Ok(())).await.expect("answers");
    assert!(matches!(same, Change::Done(e) if e.revision == 1));
    let changed = store
        .update_event::<()>(&event.id, NOW, |_, settings, inputs| {
            settings.name = "after".into();
            inputs.backup.takeover = true;
            Ok(())
        })
        .await
        .expect("answers");
    let Change::Done(changed) = changed else { panic!("{changed:?}") };
    assert_eq!((changed.settings.name.as_str(), changed.revision), ("after", 2));
    assert_eq!((changed.inputs.main.takeover, changed.inputs.backup.takeover), (false, true));
}

#[tokio::test]
async fn a_rotated_key_ends_the_old_one_and_only_that() {
    let (_dir, store) = open().await;
    let (event, keys) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let later = NOW + time::Duration::hours(1);
    let (event, key) =
        store.rotate_key(&event.id, InputName::Main, later).await.expect("answers").expect("the event is there");
    assert_eq!((event.inputs.main.key_set_at, event.inputs.backup.key_set_at), (later, NOW));
    let owner = async |key: &Secret| store.key_owner(key.expose()).await.expect("reads").map(|o| o.input);
    assert_eq!(owner(&keys.main).await, None);
    assert_eq!(owner(&key).await, Some(InputName::Main));
    assert_eq!(owner(&keys.backup).await, Some(InputName::Backup));
    assert!(store.key_owner("").await.expect("reads").is_none());
}

#[tokio::test]
async fn what_an_input_is_pulled_from_stays_until_it_is_taken_away() {
    let (dir, store) = open().await;
    let (event, _) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let later = NOW + time::Duration::hours(1);
    let (first, second) = (Secret::new("rtmp://a/live/x"), Secret::new("rtsp://u:p@b/cam"));
    let set = async |store: &Store, url: Option<&Secret>| {
        store.set_pull(&event.id, InputName::Backup, url, later).await.expect("answers").expect("there")
    };
    let (made, news) = set(&store, Some(&first)).await;
    assert_eq!((made.revision, news, made.updated_at), (2, true, later));
    assert_eq!((made.inputs.main.pull, made.inputs.backup.pull.map(|p| p.set_at)), (None, Some(later)));
    assert!(!set(&store, Some(&first)).await.1, "the same again");
    assert!(set(&store, Some(&second)).await.1);
    store.close().await;
    let store = Store::open(dir.path()).await.expect("opens again");
    let again = store.event(&event.id).await.expect("reads").expect("is there");
    assert_eq!(again.inputs.backup.pull.map(|p| p.url), Some(second));
    // What was sealed for one input does not open for another.
    sqlx::query("UPDATE pulls SET input = 'main'").execute(&store.pool).await.expect("moved");
    assert!(matches!(store.event(&event.id).await, Err(StoreError::Corrupt { .. })));
    sqlx::query("UPDATE pulls SET input = 'backup'").execute(&store.pool).await.expect("moved back");
    let (after, news) = set(&store, None).await;
    assert_eq!((after.inputs.backup.pull, after.revision, news), (None, 4, true));
    assert!(!set(&store, None).await.1);
    set(&store, Some(&first)).await;
    assert!(matches!(store.delete_event(&event.id, |_| true).await.expect("answers"), Change::Done(_)));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pulls").fetch_one(&store.pool).await.expect("counts");
    assert_eq!(left, 0);
    assert!(store.set_pull(&event.id, InputName::Main, Some(&first), NOW).await.expect("answers").is_none());
}

#[tokio::test]
async fn deleting_takes_everything_along() {
    let (_dir, store) = open().await;
    let (event, keys) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    store.set_output_shape(&event.id, Some(SHAPE), NOW).await.expect("noted");
    let kept = store.delete_event(&event.id, |_| false).await.expect("answers");
    assert!(matches!(kept, Change::Refused(_)));
    assert!(matches!(store.delete_event(&event.id, |_| true).await.expect("answers"), Change::Done(_)));
    assert!(matches!(store.delete_event(&event.id, |_| true).await.expect("answers"), Change::Missing));
    assert!(store.key_owner(keys.main.expose()).await.expect("reads").is_none());
    for table in ["SELECT count(*) FROM inputs", "SELECT count(*) FROM shapes"] {
        assert_eq!(sqlx::query_scalar::<_, i64>(table).fetch_one(&store.pool).await.expect("counts"), 0, "{table}");
    }
    assert!(!store.set_output_shape(&event.id, Some(SHAPE), NOW).await.expect("answers"));
}

#[tokio::test]
async fn a_list_shows_each_event_once_newest_first() {
    let (_dir, store) = open().await;
    for i in 0..7 {
        // Three share a millisecond, so that the id has to tell them apart.
        let at = NOW + time::Duration::milliseconds(if i < 3 { 0 } else { i });
        store.create_event(&named(&i.to_string()), &InputsSettings::default(), at).await.expect("made");
    }
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.events(None, cursor.as_ref(), 2).await.expect("reads");
        names.extend(page.items.iter().map(|e| e.settings.name.clone()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names[..4], ["6", "5", "4", "3"]);
    names.sort();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(store.events(Some(Status::Started), None, 10).await.expect("reads").items.len(), 0);
    assert_eq!(store.events(Some(Status::Inactive), None, 7).await.expect("reads").next, None);
    assert!(store.running_events().await.expect("reads").is_empty());
}

#[tokio::test]
async fn tokens_count_until_they_are_revoked() {
    let (_dir, store) = open().await;
    let (token, secret) = store.create_token(Role::Operator, TokenOrigin::Command, NOW).await.expect("made");
    assert_eq!(store.token(secret.expose()).await.expect("reads"), Some(token.clone()));
    assert_eq!(store.token("bct_wrong").await.expect("reads"), None);
    assert!(store.revoke_token(&token.id, NOW).await.expect("answers"));
    assert!(!store.revoke_token(&token.id, NOW).await.expect("answers"));
    assert_eq!(store.token(secret.expose()).await.expect("reads"), None);
    assert_eq!(store.tokens().await.expect("reads")[0].revoked_at, Some(NOW));
}

#[tokio::test]
async fn the_first_start_makes_one_admin_token() {
    let (_dir, store) = open().await;
    let FirstToken::Made(secret) = store.first_token(None, NOW).await.expect("answers") else { panic!("none made") };
    assert_eq!(store.token(secret.expose()).await.expect("reads").map(|t| t.role), Some(Role::Admin));
    assert!(matches!(store.first_token(None, NOW).await.expect("answers"), FirstToken::Present));
    let role = async |s: &str| store.token(s).await.expect("reads").map(|t| t.role);
    for (set, then) in [("first-of-the-environment", "x"), ("second", "first-of-the-environment")] {
        store.first_token(Some(&Secret::new(set)), NOW).await.expect("answers");
        assert_eq!(role(set).await, Some(Role::Admin));
        assert_eq!(role(then).await, None);
    }
    // Back to the first one.
    store.first_token(Some(&Secret::new("first-of-the-environment")), NOW).await.expect("answers");
    assert_eq!(role("first-of-the-environment").await, Some(Role::Admin));
    assert_eq!(role(secret.expose()).await, Some(Role::Admin), "other tokens are not touched");
}

#[tokio::test]
async fn an_output_shape_is_kept_until_it_is_forgotten() {
    let (dir, store) = open().await;
    let (event, _) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    assert_eq!(store.output_shape(&event.id).await.expect("reads"), None);
    for _ in 0..2 {
        assert!(store.set_output_shape(&event.id, Some(SHAPE), NOW).await.expect("noted"));
    }
    store.close().await;
    let store = Store::open(dir.path()).await.expect("opens");
    assert_eq!(store.output_shape(&event.id).await.expect("reads"), Some(SHAPE));
    assert!(store.set_output_shape(&event.id, None, NOW).await.expect("forgotten"));
    assert_eq!(store.output_shape(&event.id).await.expect("reads"), None);
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_said() {
    let fails = async |dir: &TempDir| Store::open(dir.path()).await.expect_err("fails").to_string();
    // Not a database.
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(dir.path().join(FILE), [b'x'; 4096]).expect("written");
    assert!(fails(&dir).await.contains("is damaged"));
    // Damaged in the middle.
    let (dir, store) = open().await;
    for i in 0..50 {
        store.create_event(&named(&i.to_string().repeat(100)), &InputsSettings::default(), NOW).await.expect("made");
    }
    store.close().await;
    let path = dir.path().join(FILE);
    let mut bytes = std::fs::read(&path).expect("read");
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    std::fs::write(&path, &bytes).expect("written");
    assert!(fails(&dir).await.contains("is damaged"));
    // Another key.
    let (dir, store) = open().await;
    store.close().await;
    std::fs::write(dir.path().join("secret.key"), [7; 32]).expect("written");
    assert!(fails(&dir).await.contains("made with another secret.key"));
    // From the future.
    let (dir, store) = open().await;
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', 0, 1, x'00', 0)")
        .execute(&store.pool)
        .await
        .expect("written");
    store.close().await;
    assert!(fails(&dir).await.contains("newer version"));
    // A file where the directory should be.
    let root = tempfile::tempdir().expect("tempdir");
    let file = root.path().join("file");
    std::fs::write(&file, "").expect("written");
    let shown = Store::open(&file).await.expect_err("fails").to_string();
    assert!(shown.contains("file"), "{shown}");
}

#[tokio::test]
async fn a_locked_database_is_an_error_and_not_a_hang() {
    let (dir, store) = open().await;
    let other = Store::open(dir.path()).await.expect("opens");
    let held = other.write().await.expect("locks");
    let (event, waited) = {
        let started = SystemNow::now();
        (store.create_event(&named("x"), &InputsSettings::default(), NOW).await, started.elapsed())
    };
    let shown = event.expect_err("locked").to_string();
    assert!(shown.contains("locked by another process"), "{shown}");
    assert!(waited >= BUSY_TIMEOUT && waited < BUSY_TIMEOUT * 3, "{waited:?}");
    drop(held);
    assert!(store.create_event(&named("x"), &InputsSettings::default(), NOW).await.is_ok());
    assert!(store.ping().await.is_ok());
}

/// How long something took, by the daemon's own clock.
struct SystemNow(crate::media::SystemClock, Ts);

impl SystemNow {
    fn now() -> SystemNow {
        use crate::media::Clock;
        let clock = crate::media::SystemClock::new();
        SystemNow(clock, clock.now())
    }

    fn elapsed(&self) -> Duration {
        use crate::media::Clock;
        (self.0.now() - self.1).to_std()
    }
}

fn interpreted(language: &str) -> Language {
    Language { language: language.into(), kind: LanguageKind::Interpreted, track: None, channels: None }
}

#[tokio::test]
async fn links_are_found_by_their_secret_shown_again_and_end() {
    let (dir, store) = open().await;
    let settings = Settings { languages: vec![interpreted("de"), interpreted("fr")], ..named("x") };
    let (event, _) = store.create_event(&settings, &InputsSettings::default(), NOW).await.expect("made");
    let made = store.links(&event.id).await.expect("reads");
    assert_eq!(made.iter().map(|l| l.language.as_deref()).collect::<Vec<_>>(), [Some("de"), Some("fr")]);
    let new = NewLink {
        role: LinkRole::Participant,
        language: Some("fr".into()),
        second_language: None,
        video: false,
        expires_at: Some(NOW + time::Duration::HOUR),
    };
    let LinkMade::Done(link) = store.create_link(&event.id, &new, NOW).await.expect("made") else { panic!("refused") };
    // Whoever copies the database cannot open a room, and a key by itself opens nothing either.
    store.close().await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.path()).expect("dir") {
        files.extend(std::fs::read(entry.expect("entry").path()).expect("file"));
    }
    for secret in made.iter().chain([&link]).map(|l| l.secret.expose()) {
        assert_eq!(secret.len(), 32);
        assert!(!files.windows(secret.len()).any(|w| w == secret.as_bytes()), "on disk");
        assert!(!format!("{link:?}{made:?}").contains(secret), "in Debug");
    }
    let store = Store::open(dir.path()).await.expect("opens again");
    assert_eq!(store.link(link.secret.expose()).await.expect("reads"), Some(link.clone()));
    assert_eq!(store.link("wrong").await.expect("reads"), None);
    assert_eq!(store.links(&event.id).await.expect("reads").len(), 3);
    let (other, _) = store.create_event(&named("y"), &InputsSettings::default(), NOW).await.expect("made");
    assert!(store.revoke_link(&other.id, &link.id, NOW).await.expect("answers").is_none(), "another event's");
    assert!(store.revoke_link(&event.id, &link.id, NOW).await.expect("answers").is_some());
    assert!(store.revoke_link(&event.id, &link.id, NOW).await.expect("answers").is_none(), "once");
    let ended = store.link(link.secret.expose()).await.expect("reads").expect("still known");
    assert_eq!(ended.revoked_at, Some(NOW));
    // A revoked booth link stays revoked when the languages are set again; a new language gets one.
    store.revoke_link(&event.id, &made[0].id, NOW).await.expect("revoked");
    let edit = |_: &Event, settings: &mut Settings, _: &mut InputsSettings| {
        settings.languages.push(interpreted("es"));
        Ok::<(), ()>(())
    };
    store.update_event(&event.id, NOW, edit).await.expect("changed");
    let open = store.booth_links(&[&event.id, &other.id], NOW).await.expect("reads");
    assert_eq!(open.iter().map(|l| l.language.as_deref()).collect::<Vec<_>>(), [Some("fr"), Some("es")]);
    let standing = store.test_link(NOW).await.expect("made");
    assert_eq!(store.test_link(NOW).await.expect("the same"), standing);
    // Links go with their event.
    assert!(matches!(store.delete_event(&event.id, |_| true).await.expect("answers"), Change::Done(_)));
    assert_eq!(store.link(made[1].secret.expose()).await.expect("reads"), None);
    assert!(matches!(store.create_link(&event.id, &new, NOW).await.expect("answers"), LinkMade::Missing));
    assert!(store.link(standing.secret.expose()).await.expect("reads").is_some());
}

#[tokio::test]
async fn what_is_set_of_a_booth_stays() {
    let (dir, store) = open().await;
    let (event, _) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    assert_eq!(store.booths(&event.id).await.expect("reads"), []);
    store.set_booth(&event.id, "de", |b| b.muted = true).await.expect("set").expect("there");
    let set = store.set_booth(&event.id, "de", |b| b.floor_level_db = Some(f64::NEG_INFINITY)).await.expect("set");
    store.close().await;
    let store = Store::open(dir.path()).await.expect("opens again");
    let expected =
        BoothRow { language: "de".into(), second_language: None, muted: true, floor_level_db: Some(f64::NEG_INFINITY) };
    assert_eq!((store.booths(&event.id).await.expect("reads"), set), (vec![expected.clone()], Some(expected)));
    let gone = EventId::parse("0000000000000000").expect("form");
    assert_eq!(store.set_booth(&gone, "de", |_| {}).await.expect("answers"), None);
}

#[tokio::test]
async fn connection_tests_are_forgotten_in_time() {
    let (_dir, store) = open().await;
    let new = |name: &str| NewConnectionTest { name: name.into(), loss_up: Some(0.5), ..NewConnectionTest::default() };
    for day in 0..5 {
        store.add_connection_test(new(&day.to_string()), NOW + time::Duration::days(day)).await.expect("kept");
    }
    let (page, more) = store.connection_tests(None, 3).await.expect("reads");
    let names = |page: &[ConnectionTest]| page.iter().map(|t| t.result.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&page), ["4", "3", "2"]);
    let (rest, end) = store.connection_tests(more, 3).await.expect("reads");
    assert_eq!((names(&rest), end), (vec!["1".to_owned(), "0".to_owned()], None));
    assert_eq!(store.sweep_connection_tests(NOW + time::Duration::days(3)).await.expect("swept"), 3);
    let (page, more) = store.connection_tests(None, 3).await.expect("reads");
    assert_eq!((page.len(), more), (2, None));
    assert!(store.delete_connection_test(&page[0].id).await.expect("answers"));
    assert!(!store.delete_connection_test(&page[0].id).await.expect("answers"));
}

#[tokio::test]
async fn passphrases_are_sealed_and_found_with_their_keys() {
    let (dir, store) = open().await;
    let (event, keys) = store.create_event(&named("x"), &InputsSettings::default(), NOW).await.expect("made");
    let secret = "a passphrase of some length";
    let set = |passphrase: Option<&'static str>| {
        move |_: &Event, _: &mut Settings, inputs: &mut InputsSettings| {
            inputs.backup.srt_passphrase = passphrase.map(Secret::new);
            Ok::<(), ()>(())
        }
    };
    let changed = store.update_event(&event.id, NOW, set(Some(secret))).await.expect("answers");
    assert!(matches!(&changed, Change::Done(e) if e.revision == 2 && e.inputs.main.srt_passphrase.is_none()));
    let same = store.update_event(&event.id, NOW, set(Some(secret))).await.expect("answers");
    assert!(matches!(same, Change::Done(e) if e.revision == 2));
    let read = store.event(&event.id).await.expect("reads").expect("there");
    assert_eq!(read.inputs.backup.srt_passphrase, Some(Secret::new(secret)));
    // Who may publish, without asking the store again.
    for scope in [None, Some(&event.id)] {
        let doors = store.publications(scope).await.expect("reads");
        let door = |key: &Secret| {
            let hash = store.key_hash(key.expose());
            doors.iter().find(|(h, _)| *h == hash).map(|(_, p)| p.clone()).expect("there")
        };
        assert_eq!(doors.len(), 2);
        assert_eq!(door(&keys.backup).srt_passphrase, Some(Secret::new(secret)));
        let main = door(&keys.main);
        assert_eq!((main.event, main.status, main.srt_passphrase), (event.id.clone(), Status::Inactive, None));
    }
    // It is not in the files.
    for file in std::fs::read_dir(dir.path()).expect("dir") {
        let bytes = std::fs::read(file.expect("file").path()).expect("reads");
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    let cleared = store.update_event(&event.id, NOW, set(None)).await.expect("answers");
    assert!(matches!(cleared, Change::Done(e) if e.inputs.backup.srt_passphrase.is_none() && e.revision == 3));
}
