use super::*;

const FILE: &str = include_str!("../../conf/boothcast.toml");

fn none() -> [(String, String); 0] {
    []
}

fn env(name: &str, value: &str) -> [(String, String); 1] {
    [(name.to_owned(), value.to_owned())]
}

fn fails(text: &str) -> String {
    parse(text, none()).expect_err(text).to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("", none()), Ok(Config::default()));
}

#[test]
fn a_mistake_is_shown_with_its_place_and_a_suggestion() {
    let cases = [
        (
            "[http]\nlisten = \"127.0.0.1:0\"\n  lisen = 1\n",
            "line 3, column 3: unknown key `lisen` in [http]; did you mean `listen`?",
        ),
        ("\n[htp]\n", "line 2, column 2: unknown section [htp]; did you mean [http]?"),
        (
            "[http]\ndvr_window_seconds = 5",
            "line 2, column 1: unknown key `dvr_window_seconds` in [http]; did you mean `dvr_window_seconds` in [hls]?",
        ),
        ("listen = \"x\"", "line 1, column 1: unknown key `listen`; did you mean `listen` in [http]?"),
        ("rtmp = 5", "line 1, column 1: `rtmp` is a section: write [rtmp] and its keys below it"),
        (
            "[programme]\n# ö\ndelay_seconds = 99.0",
            "line 3, column 1: programme.delay_seconds is 99; write 0 to 20 seconds",
        ),
        (
            "[tls]\nkey = \"k.pem\"",
            "line 2, column 1: tls.key stands without `certificate`; a certificate and its key go together",
        ),
        (
            "[http]\ncors = [\"example.org\"]",
            "line 2, column 1: http.cors does not begin with https:// or http://: `example.org`; write origins as `https://example.org`, or \"*\"",
        ),
        (
            "[http]\nlisten = \"127.0.0.1:1935\"",
            "line 1, column 2: rtmp.listen is taken by http.listen (127.0.0.1:1935); give each listener a port of its own",
        ),
    ];
    for (text, message) in cases {
        let shown = fails(text);
        // The last case concerns a key that is not in the file: what is in the file may stand anywhere.
        assert_eq!(shown.replace("line 1, column 2: rtmp", "rtmp"), message.replace("line 1, column 2: rtmp", "rtmp"));
    }
    for (text, part) in [
        ("[http\n", "line 1"),
        ("[http]\nlisten = 8080", "line 2, column 10"),
        ("[http]\nlisten = \"8080\"", "line 2, column 10"),
        ("[http]\ntls_listen = \"127.0.0.1:0\"", "needs a certificate"),
        ("[log]\nlevel = \"info,,=\"", "log.level is no filter"),
        ("[engine]\nencoder = \"x265\"", "libx264"),
        ("[engine.presets]\n1080p = \"placebo\"", "superfast"),
        ("[programme]\ndelay_seconds = nan", "programme.delay_seconds is NaN"),
        ("[http]\nlisten = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"", "line 3"),
    ] {
        let shown = fails(text);
        assert!(shown.contains(part), "{text:?} gave {shown:?}");
    }
}

#[test]
fn variables_go_over_the_file() {
    let text = "[http]\nlisten = \"127.0.0.1:1\"\n[tls]\nself_signed = false";
    let listen = |vars: &[(String, String)]| parse(text, vars.to_vec()).map(|c| c.http.listen.port());
    assert_eq!(listen(&[]), Ok(1));
    assert_eq!(listen(&env("BOOTHCAST_HTTP__LISTEN", "127.0.0.1:2")), Ok(2));
    let with = |name, value| parse(text, env(name, value)).expect(name);
    assert!(with("BOOTHCAST_TLS__SELF_SIGNED", "true").tls.self_signed);
    assert_eq!(with("BOOTHCAST_PROGRAMME__DELAY_SECONDS", "0").programme.delay_seconds, 0.0);
    assert_eq!(with("BOOTHCAST_HTTP__CORS", "[\"https://a.example\"]").http.cors, ["https://a.example"]);
    // Text that looks like a number stays text where text is asked for.
    assert_eq!(with("BOOTHCAST_STORE__DIR", "1234").store.dir, std::path::Path::new("1234"));
    assert_eq!(with("BOOTHCAST_ADMIN_TOKEN", "not a key of the file"), parse(text, none()).expect("text"));
    assert_eq!(with("PATH", "/bin"), parse(text, none()).expect("text"));
}

#[test]
fn a_wrong_variable_is_named_and_its_value_is_not_needed_to_find_it() {
    let fails = |name, value| parse("", env(name, value)).expect_err(name).to_string();
    assert_eq!(
        fails("BOOTHCAST_HTTP__LISEN", "x"),
        "variable BOOTHCAST_HTTP__LISEN: unknown key `lisen` in [http]; did you mean `listen`?"
    );
    assert_eq!(
        fails("BOOTHCAST_RTPM__LISTEN", "x"),
        "variable BOOTHCAST_RTPM__LISTEN: unknown section [rtpm]; did you mean [rtmp]?"
    );
    assert!(fails("BOOTHCAST_HTTP__LISTEN", "8080").starts_with("variable BOOTHCAST_HTTP__LISTEN: "));
    assert!(fails("BOOTHCAST_DRAIN__TIMEOUT_SECONDS", "soon").starts_with("variable BOOTHCAST_DRAIN__TIMEOUT_SECONDS"));
}

#[test]
fn the_file_documents_every_key_with_its_true_default() {
    assert_eq!(parse(FILE, none()), Ok(Config::default()), "what stands uncommented is the default");
    let mut seen = std::collections::BTreeMap::<KeyPath, bool>::new();
    let mut section = "";
    for line in FILE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        }
        let commented = line.strip_prefix("# ");
        let Some((key, _)) = commented.unwrap_or(line).split_once(" = ") else { continue };
        if let Some(path) = keys().into_iter().find(|k| k.section == section && k.key == key) {
            seen.insert(path, commented.is_none());
        }
    }
    let defaults = keys::values(&Config::default());
    for key in keys() {
        let live = seen.get(&key).unwrap_or_else(|| panic!("{key} is not in conf/boothcast.toml"));
        assert_eq!(*live, defaults.contains_key(&key), "{key}: a key with a default stands uncommented");
    }
}

#[test]
fn the_examples_in_the_file_are_valid_too() {
    // Each commented example alone, since some exclude each other.
    let mut section = "";
    let mut examples = 0;
    for line in FILE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        }
        let Some(example) =
            line.strip_prefix("# ").filter(|l| l.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')))
        else {
            continue;
        };
        examples += 1;
        let extra = match example.split(' ').next() {
            Some("tls_listen") => "[tls]\nself_signed = true\n",
            Some("certificate") => "key = \"k.pem\"\n",
            Some("key") => "certificate = \"c.pem\"\n",
            _ => "",
        };
        let text = format!("[{section}]\n{example}\n{extra}");
        assert!(parse(&text, none()).is_ok(), "{text}: {:?}", parse(&text, none()));
    }
    assert!(examples >= 5, "{examples}");
}

#[test]
fn what_outside_checks_set_is_enough() {
    let text = r#"
        [store]
        dir = "/tmp/x"
        [http]
        listen = "127.0.0.1:0"
        tls_listen = "127.0.0.1:0"
        [tls]
        self_signed = true
        [rtmp]
        listen = "127.0.0.1:0"
        tls_listen = "[::1]:0"
        [srt]
        listen = "127.0.0.1:0"
        [webrtc]
        listen = "127.0.0.1:0"
        public_ips = ["127.0.0.1"]
        [metrics]
        listen = "127.0.0.1:0"
        [outgoing]
        allow_private = true
    "#;
    assert!(parse(text, none()).is_ok(), "{:?}", parse(text, none()));
}

#[test]
fn a_reload_names_what_waits_for_a_restart() {
    let old = Config::default();
    let mut new = old.clone();
    new.log.level = "debug".into();
    new.http.cors.clear();
    new.drain.timeout_seconds = 1.0;
    assert_eq!(old.needs_restart(&new), []);
    new.http.listen = any(1);
    new.http.tls_listen = Some(any(2));
    new.store.dir = "elsewhere".into();
    let names: Vec<String> = old.needs_restart(&new).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["store.dir", "http.listen", "http.tls_listen"]);
    for entry in RESTART {
        let known = keys().iter().any(|k| k.section == entry || k.to_string() == entry);
        assert!(known, "{entry} is not a key");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\[[a-z]{0,6}\\]\n|[a-z_]{1,24} = ([0-9\"\\[\\]x.]{0,6}|\"[^\"]{0,8}\")\n|\\PC{0,10}){0,8}") {
        let _ = parse(&text, none());
    }
}
