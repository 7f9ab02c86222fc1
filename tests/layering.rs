//! The layers of the crate: which top-level module may name which, and which modules do no IO.
//!
//! Reads the sources as text, so that a forbidden edge fails even behind a `cfg`. Code after `#[cfg(test)]` and files
//! named `tests.rs` or in a folder `tests` are free: a test may build its world from any layer.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may use besides itself. The composition root (`app`, `main`, `lib`) may use everything and
/// nothing but `main` uses it.
const LAYERS: &[(&str, &[&str])] = &[
    ("media", &[]),
    ("task", &["media"]),
    ("config", &[]),
    ("log", &["config"]),
    ("store", &["media"]),
    ("hub", &["media"]),
    ("wire", &["media"]),
    ("net", &["media", "task"]),
    ("booth", &["media"]),
    ("package", &["media", "wire"]),
    ("srt", &["media", "task"]),
    ("rtc", &["media", "hub", "wire", "task"]),
    ("captions", &["media", "wire", "task"]),
    ("select", &["media", "hub", "task"]),
    ("engine", &["media", "hub", "task"]),
    ("ingest", &["media", "hub", "net", "rtc", "srt", "task", "wire"]),
    ("deliver", &["media", "hub", "package", "rtc", "srt", "task", "wire"]),
    ("control", &["booth", "config", "media", "net", "store", "task"]),
];

/// Modules whose code is a function of its arguments: no sockets, files, threads or runtime. Their files that wrap a
/// system facility for everybody else are named beside them.
const PURE: &[(&str, &[&str])] =
    &[("media", &["clock.rs"]), ("wire", &[]), ("package", &[]), ("booth", &[]), ("config", &[])];

const IMPURE: &[&str] = &["tokio::", "std::fs", "std::net", "std::thread", "std::process", "std::env"];

/// The part of a source file that the rules hold for: no comments, and nothing from the first test module on.
fn code(text: &str) -> String {
    text.lines()
        .take_while(|l| l.trim() != "#[cfg(test)]")
        .map(|l| l.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The top-level modules that this code names: `crate::x`, `crate::{x, y::z}`.
fn named(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let ident = |s: &str| s.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(ident(&std::mem::take(&mut item)));
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            found.push(ident(&item));
        } else {
            found.push(ident(rest));
        }
    }
    found.retain(|f| !f.is_empty());
    found
}

fn forbidden_edges(module: &str, allowed: &[&str], text: &str) -> Vec<String> {
    let known = |m: &str| LAYERS.iter().any(|(l, _)| *l == m) || m == "app" || m == "main";
    named(&code(text)).into_iter().filter(|m| known(m) && m != module && !allowed.contains(&m.as_str())).collect()
}

fn sources(module: &str) -> Vec<PathBuf> {
    fn walk(at: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                into.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let file = src.join(format!("{module}.rs"));
    if file.is_file() {
        files.push(file);
    }
    if src.join(module).is_dir() {
        walk(&src.join(module), &mut files);
    }
    files
}

#[test]
fn modules_use_only_the_layers_below() {
    let mut bad = Vec::new();
    for (module, allowed) in LAYERS {
        for file in sources(module) {
            for edge in forbidden_edges(module, allowed, &fs::read_to_string(&file).unwrap()) {
                bad.push(format!("{}: `{module}` may not use `{edge}`", file.display()));
            }
        }
    }
    assert!(bad.is_empty(), "forbidden edges between layers:\n{}", bad.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|l| l.trim().strip_prefix("pub mod ").or_else(|| l.trim().strip_prefix("mod ")))
        .map(|l| l.trim_end_matches(';'))
        .collect();
    assert!(modules.len() > 5, "src/lib.rs lists no modules: {modules:?}");
    for m in modules {
        assert!(m == "app" || LAYERS.iter().any(|(l, _)| *l == m), "`{m}` has no row in the table of layers");
    }
}

#[test]
fn pure_modules_do_no_io() {
    let mut bad = Vec::new();
    for (module, except) in PURE {
        for file in sources(module).iter().filter(|f| !except.iter().any(|e| f.ends_with(e))) {
            let code = code(&fs::read_to_string(file).unwrap());
            bad.extend(IMPURE.iter().filter(|w| code.contains(*w)).map(|w| format!("{}: {w}", file.display())));
        }
    }
    assert!(bad.is_empty(), "IO in modules that are pure:\n{}", bad.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let modules = LAYERS.iter().map(|(m, _)| *m).chain(["app", "cli", "lib", "main"]);
    let with = |word: &str| -> Vec<String> {
        let all = modules.clone().flat_map(sources);
        let found = all.filter(|f| code(&fs::read_to_string(f).unwrap()).contains(word));
        found.map(|f| f.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()).collect()
    };
    assert_eq!(with("unsafe {"), ["src/srt/ffi.rs"]);
    assert_eq!(with("allow(unsafe_code"), ["src/srt/mod.rs"]);
}

#[test]
fn the_check_sees_edges() {
    assert_eq!(
        named("use crate::{media::{Dur, Ts}, hub};\nlet x = crate::task::Group::new();"),
        ["media", "hub", "task"]
    );
    assert_eq!(forbidden_edges("wire", &["media"], "use crate::control::Api;"), ["control"]);
    assert_eq!(forbidden_edges("ingest", &["media"], "use crate::{ingest::x, control};"), ["control"]);
    let text = "//! see crate::control\nuse crate::media::Ts;\n#[cfg(test)]\nmod t { use crate::control; }";
    assert!(forbidden_edges("wire", &["media"], text).is_empty());
}
