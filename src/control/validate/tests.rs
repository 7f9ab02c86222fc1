use super::*;
use serde_json::{Value, json};

fn create(body: Value) -> Result<Settings, Value> {
    let edit: EventEdit = serde_json::from_value(body).expect("right types");
    edit.create().map(|(settings, _)| settings).map_err(|p| serde_json::to_value(p).expect("JSON"))
}

fn faults(body: Value) -> Vec<String> {
    let problem = create(body).expect_err("is wrong");
    assert_eq!(problem["status"], 422);
    let errors = problem["errors"].as_array().expect("list");
    errors.iter().map(|e| format!("{}: {}", e["field"].as_str().unwrap(), e["message"].as_str().unwrap())).collect()
}

#[test]
fn tags_are_checked_and_brought_to_their_usual_case() {
    let cases = [
        ("en", "en"),
        ("EN-us", "en-US"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sl-ROZAJ-biske", "sl-rozaj-biske"),
        ("de-CH-1996", "de-CH-1996"),
        ("zh-yue-HK", "zh-yue-HK"),
        ("gsg", "gsg"),
        ("en-US-u-ca-gregory", "en-US-u-ca-gregory"),
        ("de-x-simple", "de-x-simple"),
    ];
    for (text, expected) in cases {
        assert_eq!(tag(text).as_deref(), Ok(expected));
    }
    let wrong = [
        "",
        "e",
        "floor",
        "source",
        "original",
        "english",
        "en_US",
        "en-",
        "-en",
        "en--US",
        "en-U",
        "en-US-u",
        "en-u-x",
        "en-toolongsubtag",
        "e1",
        "en-US-Latn",
        "ünd",
        "en US",
        "../x",
        &"en-".repeat(20),
    ];
    for text in wrong {
        assert!(tag(text).is_err(), "{text}");
    }
}

#[test]
fn a_new_event_needs_a_name_and_has_defaults() {
    assert_eq!(faults(json!({})), ["name: is missing; say what people call it"]);
    assert_eq!(faults(json!({"name": "  "})), ["name: is empty"]);
    assert_eq!(faults(json!({"name": "a\u{7}b"})), ["name: has control characters"]);
    assert_eq!(faults(json!({"name": "é".repeat(201)})), ["name: has 201 characters; 200 are the most"]);
    assert_eq!(create(json!({"name": "x"})), Ok(Settings { name: "x".into(), ..Settings::default() }));
}

#[test]
fn languages_are_checked_against_each_other_and_the_floor() {
    let languages = json!([
        {"language": "de", "kind": "broadcast"},
        {"language": "FR", "kind": "interpreted"},
        {"language": "pt-br", "kind": "broadcast", "track": 0},
        {"language": "nl", "kind": "broadcast"},
    ]);
    let made = create(json!({"name": "x", "floor_language": "EN", "languages": languages})).expect("right");
    let shown: Vec<(&str, Option<u16>)> = made.languages.iter().map(|l| (l.language.as_str(), l.track)).collect();
    assert_eq!(shown, [("de", Some(1)), ("fr", None), ("pt-BR", Some(0)), ("nl", Some(2))]);
    let wrong = json!([
        {"language": "de", "kind": "interpreted", "track": 1},
        {"language": "DE", "kind": "interpreted"},
        {"language": "en", "kind": "broadcast", "track": 32},
        {"language": "xyzzy", "kind": "broadcast", "track": 3},
        {"language": "fr", "kind": "broadcast", "track": 3},
    ]);
    assert_eq!(
        faults(json!({"name": "x", "floor_language": "en", "languages": wrong})),
        [
            "languages[0].track: is for broadcast languages; a booth has none",
            "languages[1].language: de is there twice",
            "languages[2].track: is 32; there are tracks 0 to 31",
            "languages[3].language: `xyzzy` is no BCP 47 tag as `en`, `pt-BR` or `zh-Hant`",
            "languages[4].track: 3 is another language's already",
            "languages[2].language: en is the floor's language already",
        ]
    );
    let many: Vec<Value> = (0..65).map(|_| json!({"language": "de", "kind": "interpreted"})).collect();
    assert_eq!(faults(json!({"name": "x", "languages": many})), ["languages: has 65 languages; 64 are the most"]);
}

#[test]
fn languages_may_share_a_track_by_its_channels() {
    let broadcast =
        |language: &str, channels: Value| json!({"language": language, "kind": "broadcast", "channels": channels});
    let made = create(json!({"name": "x", "floor_track": 2, "floor_channels": [0], "languages": [
        broadcast("de", json!([1])), broadcast("fr", json!([2, 3])), {"language": "nl", "kind": "broadcast"},
    ]}))
    .expect("right");
    let tracks: Vec<Option<u16>> = made.languages.iter().map(|l| l.track).collect();
    assert_eq!(tracks, [Some(2), Some(2), Some(3)]);
    let passthrough = Settings { ladder: Ladder::PASSTHROUGH, ..made.clone() };
    assert!(!passthrough.is_copied());
    let whole = Settings { languages: Vec::new(), floor_channels: None, ..passthrough };
    assert!(whole.is_copied());
    let wrong = json!([
        broadcast("de", json!([0, 1])),
        broadcast("fr", json!([1])),
        broadcast("it", json!([])),
        broadcast("es", json!([3, 3])),
        broadcast("pl", json!([8])),
        broadcast("sv", json!([4, 5, 6])),
        {"language": "fi", "kind": "interpreted", "channels": [0]},
        {"language": "nl", "kind": "broadcast", "track": 0},
    ]);
    let found = faults(json!({"name": "x", "floor_channels": [9], "languages": wrong}));
    for (fault, field) in found.iter().zip([
        "floor_channels: has 9",
        "languages[1].track: 0 is another",
        "languages[2].channels: is empty",
        "languages[3].channels: has channel 3 twice",
        "languages[4].channels: has 8",
        "languages[5].channels: has 3",
        "languages[6].channels: are for broadcast",
        "languages[7].track: 0 is another",
    ]) {
        assert!(fault.starts_with(field), "{fault} is not {field}: {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn ladders_pictures_and_numbers_are_checked() {
    let one = |field: &str, value: Value| {
        let mut body = json!({"name": "x"});
        body[field] = value;
        create(body).err().map(|p| p["errors"][0]["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(one("ladder", json!("passthrough")), None);
    assert_eq!(one("ladder", json!(["source", "1080p", "240p"])), None);
    for wrong in
        [json!([]), json!(["source"]), json!(["720p", "720p"]), json!(["720p", "1080p"]), json!(["720p", "source"])]
    {
        assert!(one("ladder", wrong.clone()).is_some(), "{wrong}");
    }
    for (rate, right) in [(25, true), (60, true), (29, false), (0, false)] {
        assert_eq!(one("frame_rate", json!(rate)).is_none(), right, "{rate}");
    }
    for (window, right) in [(0.0, true), (86_400.0, true), (-1.0, false), (86_401.0, false)] {
        assert_eq!(one("dvr_window_seconds", json!(window)).is_none(), right, "{window}");
    }
    for field in ["black_after_seconds", "frozen_after_seconds", "silent_after_seconds"] {
        let seconds = [(0.0, true), (1.0, true), (600.0, true), (0.5, false), (-1.0, false), (601.0, false)];
        for (after, right) in seconds {
            assert_eq!(one(field, json!(after)).is_none(), right, "{field} {after}");
        }
        assert_eq!(one(field, Value::Null), None);
    }
    let image = |url: &str| one("appearance", json!({"images": {"general": url}})).is_none();
    assert!(image("https://a.example/x.png?y=1") && image("/x.png"));
    for wrong in ["http://a/x.png", "javascript:alert(1)", "data:image/png,x", "//a/x", "https://", "", "/a b", "/\"x"]
    {
        assert!(!image(wrong), "{wrong}");
    }
}

#[test]
fn triggers_need_what_they_look_at_to_be_decoded() {
    let refused = |body: Value| match create(body) {
        Ok(_) => Vec::new(),
        Err(problem) => {
            let errors = problem["errors"].as_array().expect("errors").iter();
            errors.map(|e| e["field"].as_str().expect("text").to_owned()).collect()
        }
    };
    let all = json!({"name": "x", "black_after_seconds": 5, "frozen_after_seconds": 60, "silent_after_seconds": 10});
    assert_eq!(refused(all.clone()), Vec::<String>::new());
    let with = |field: &str, value: Value| {
        let mut body = all.clone();
        body["ladder"] = json!("passthrough");
        body[field] = value;
        refused(body)
    };
    let none = with("languages", json!([]));
    assert_eq!(none, ["black_after_seconds", "frozen_after_seconds", "silent_after_seconds"]);
    // A booth's mix needs the sound, and the picture stays as it is.
    let booth = json!([{"language": "de", "kind": "interpreted"}]);
    assert_eq!(with("languages", booth), ["black_after_seconds", "frozen_after_seconds"]);
    assert_eq!(with("floor_channels", json!([0])), ["black_after_seconds", "frozen_after_seconds"]);
    let off = json!({"name": "x", "ladder": "passthrough", "black_after_seconds": 0, "silent_after_seconds": null});
    assert_eq!(refused(off), Vec::<String>::new());
}

#[test]
fn times_are_kept_in_utc() {
    let made = create(json!({"name": "x", "scheduled_start": "2026-03-01T12:00:00.123456+02:00"})).expect("right");
    assert_eq!(made.scheduled_start, Some(time::macros::datetime!(2026-03-01 10:00:00.123 UTC)));
    for wrong in ["tomorrow", "2026-03-01", "2026-03-01T12:00:00", "2026-02-30T12:00:00Z", ""] {
        let edit = serde_json::from_value::<EventEdit>(json!({"scheduled_start": wrong}));
        assert!(edit.is_err(), "{wrong}");
    }
}

#[test]
fn null_takes_away_only_what_can_be_missing() {
    let read = |body: Value| serde_json::from_value::<EventEdit>(body);
    assert_eq!(read(json!({"frame_rate": null})).expect("right").frame_rate, Some(None));
    assert_eq!(read(json!({})).expect("right").frame_rate, None);
    for field in [
        "name",
        "description",
        "languages",
        "ladder",
        "permanent",
        "appearance",
        "inputs",
        "floor_track",
        "other_origins",
    ] {
        assert!(read(json!({field: null})).is_err(), "{field}");
    }
}
