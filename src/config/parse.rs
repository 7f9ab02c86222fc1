//! Text and variables to [`Config`], or an error that says where and what to do.

use super::keys::{keys_of, sections};
use super::{Config, KeyPath, TRIGGER_SECONDS, keys};
use core::net::SocketAddr;
use serde::Deserialize;
use std::fmt;
use toml::de::DeTable;

/// Variables that begin so and name a section and a key (`BOOTHCAST_HTTP__LISTEN`) override the file.
const PREFIX: &str = "BOOTHCAST_";

/// A place in the file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where in the file; none when a variable or the configuration as a whole is at fault.
    pub position: Option<Position>,
    /// What is wrong, naming the key.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(p) = self.position {
            write!(f, "line {}, column {}: ", p.line, p.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

/// Reads the file's `text`, lays the variables over it and checks the result.
///
/// `env` is the whole environment: variables without the prefix `BOOTHCAST_` or without a double underscore after it
/// (`BOOTHCAST_ADMIN_TOKEN`) are passed over. A value is read as TOML where it is TOML (`true`, `0.5`, `["*"]`), else as
/// the plain text that it is.
///
/// # Errors
/// The first mistake: not TOML, an unknown section or key, a wrong type, a value out of its range, or keys that
/// contradict each other.
pub fn parse<I>(text: &str, env: I) -> Result<Config, ConfigError>
where
    I: IntoIterator<Item = (String, String)>,
{
    let root = DeTable::parse(text).map_err(|e| from_toml(text, &e))?;
    unknown_keys(text, root.get_ref())?;
    let mut config: Config = toml::from_str(text).map_err(|e| from_toml(text, &e))?;
    let mut overlay: Vec<(String, String)> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    overlay.sort();
    for (name, value) in &overlay {
        apply_variable(&mut config, name, value)?;
    }
    check(&config).map_err(|fault| {
        let position = fault
            .keys
            .iter()
            .find_map(|key| position_of(text, root.get_ref(), key.section, key.key))
            .or_else(|| fault.keys.first().and_then(|key| section_position(text, root.get_ref(), key.section)));
        ConfigError { position, message: fault.message, suggestion: fault.suggestion }
    })?;
    Ok(config)
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn from_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let message = error.message().lines().next().unwrap_or("not valid TOML").to_owned();
    ConfigError { position: error.span().map(|s| position(text, s.start)), message, suggestion: None }
}

fn position_of(text: &str, root: &DeTable<'_>, section: &str, key: &str) -> Option<Position> {
    let table = root.get(section)?.get_ref().as_table()?;
    let (name, _) = table.get_key_value(key)?;
    Some(position(text, name.span().start))
}

fn section_position(text: &str, root: &DeTable<'_>, section: &str) -> Option<Position> {
    root.get_key_value(section).map(|(name, _)| position(text, name.span().start))
}

fn unknown_keys(text: &str, root: &DeTable<'_>) -> Result<(), ConfigError> {
    // In the file's order, so that the first mistake is the one shown.
    let mut faults: Vec<(usize, String, Option<String>)> = Vec::new();
    for (name, value) in root.iter() {
        let section: &str = name.get_ref();
        if !sections().contains(&section) {
            let at = name.span().start;
            match value.get_ref().as_table() {
                Some(_) => faults.push((at, format!("unknown section [{section}]"), suggest_section(section))),
                None => faults.push((at, format!("unknown key `{section}`"), suggest_key("", section))),
            }
            continue;
        }
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("`{section}` is a section: write [{section}] and its keys below it");
            faults.push((name.span().start, what, None));
            continue;
        };
        for (key, _) in table.iter() {
            let key_name: &str = key.get_ref();
            if !keys_of(section).contains(&key_name) {
                let what = format!("unknown key `{key_name}` in [{section}]");
                faults.push((key.span().start, what, suggest_key(section, key_name)));
            }
        }
    }
    match faults.into_iter().min_by_key(|(at, ..)| *at) {
        Some((at, message, suggestion)) => Err(ConfigError { position: Some(position(text, at)), message, suggestion }),
        None => Ok(()),
    }
}

fn suggest_section(name: &str) -> Option<String> {
    match nearest(name, sections().iter().copied()) {
        Some(best) => Some(format!("did you mean [{best}]?")),
        None => Some(format!("sections are {}", sections().join(", "))),
    }
}

/// The nearest key of the same section, else where a key of that name lives, else what the section has.
fn suggest_key(section: &str, name: &str) -> Option<String> {
    if let Some(best) = nearest(name, keys_of(section).iter().copied()) {
        return Some(format!("did you mean `{best}`?"));
    }
    if let Some(home) = keys().into_iter().find(|k| k.key == name) {
        return Some(format!("did you mean `{name}` in [{}]?", home.section));
    }
    let known = keys_of(section);
    (!known.is_empty()).then(|| format!("[{section}] has {}", known.join(", ")))
}

/// The candidate at the smallest edit distance, when it is near enough to be a slip of the hand.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    candidates
        .map(|c| (distance(&name, c), c))
        .filter(|(d, c)| *d <= (c.len() / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment). Keys in a
/// file can be of any length: what is longer than any key is at once "far".
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > b.len() {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

fn apply_variable(config: &mut Config, name: &str, value: &str) -> Result<(), ConfigError> {
    let fail = |message: String, suggestion: Option<String>| ConfigError { position: None, message, suggestion };
    let Some((section, key)) = name[PREFIX.len()..].split_once("__") else { return Ok(()) };
    let (section, key) = (section.to_lowercase(), key.to_lowercase());
    if !sections().contains(&section.as_str()) {
        return Err(fail(format!("variable {name}: unknown section [{section}]"), suggest_section(&section)));
    }
    if !keys_of(&section).contains(&key.as_str()) {
        let what = format!("variable {name}: unknown key `{key}` in [{section}]");
        return Err(fail(what, suggest_key(&section, &key)));
    }
    // Every field is a string, number, list or table with string keys: all of TOML's own.
    let mut table = toml::Table::try_from(&*config).map_err(|e| fail(format!("variable {name}: {e}"), None))?;
    let mut attempt = |value: toml::Value| -> Result<Config, toml::de::Error> {
        if let Some(section) = table.entry(section.as_str()).or_insert_with(|| toml::Table::new().into()).as_table_mut()
        {
            section.insert(key.clone(), value);
        }
        Config::deserialize(toml::Value::Table(table.clone()))
    };
    // The plain text is tried first: a key that takes text takes any. What then fails is no text but TOML.
    let as_text = attempt(toml::Value::String(value.to_owned()));
    let as_toml = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
    *config = match (as_text, as_toml) {
        (Ok(config), _) => config,
        (Err(_), Some(parsed)) => attempt(parsed)
            .map_err(|e| fail(format!("variable {name}: {}", e.message().lines().next().unwrap_or_default()), None))?,
        (Err(e), None) => {
            return Err(fail(format!("variable {name}: {}", e.message().lines().next().unwrap_or_default()), None));
        }
    };
    Ok(())
}

/// A value that has the right type and is wrong all the same.
struct Fault {
    keys: Vec<KeyPath>,
    message: String,
    suggestion: Option<String>,
}

/// Ranges and contradictions.
fn check(config: &Config) -> Result<(), Fault> {
    let Config {
        store,
        http,
        tls,
        rtmp,
        engine,
        programme,
        hls,
        origin,
        retention,
        drain,
        log,
        srt,
        webrtc,
        metrics,
        outgoing: _,
    } = config;
    if store.dir.as_os_str().is_empty() {
        return Err(fault("store", "dir", "is empty", "name the state directory"));
    }
    let seconds = [
        ("http", "head_timeout_seconds", http.head_timeout_seconds, 0.1, 600.0),
        ("http", "stall_timeout_seconds", http.stall_timeout_seconds, 1.0, 600.0),
        // Below 20 ms libsrt's own clock is too coarse; it holds 8192 packets, which is 8 s at 11 Mbps.
        ("srt", "latency_seconds", srt.latency_seconds, 0.02, 8.0),
        // The engine works on whole GOPs of up to 2 s; ten of them in memory are the most that failover can use.
        ("programme", "delay_seconds", programme.delay_seconds, 0.0, 20.0),
        ("programme", "loss_timeout_seconds", programme.loss_timeout_seconds, 0.1, 60.0),
        ("programme", "recover_after_seconds", programme.recover_after_seconds, 0.0, 3_600.0),
        // 24 h: the longest that an event is recorded, too.
        ("hls", "dvr_window_seconds", hls.dvr_window_seconds, 0.0, 86_400.0),
        ("drain", "timeout_seconds", drain.timeout_seconds, 0.0, 3_600.0),
    ];
    for (section, key, value, min, max) in seconds {
        if !(min..=max).contains(&value) {
            return Err(fault(section, key, &format!("is {value}"), &format!("write {min} to {max} seconds")));
        }
    }
    let triggers = [
        ("black_after_seconds", programme.black_after_seconds),
        ("frozen_after_seconds", programme.frozen_after_seconds),
        ("silent_after_seconds", programme.silent_after_seconds),
    ];
    for (key, value) in triggers {
        if value != 0.0 && !TRIGGER_SECONDS.contains(&value) {
            let (least, most) = (TRIGGER_SECONDS.start(), TRIGGER_SECONDS.end());
            let help = format!("write {least} to {most} seconds, or 0 for never");
            return Err(fault("programme", key, &format!("is {value}"), &help));
        }
    }
    let counts = [
        ("http", "max_connections", http.max_connections, 1, 1_000_000),
        ("http", "max_connections_per_address", http.max_connections_per_address, 0, 1_000_000),
        ("rtmp", "max_connections", rtmp.max_connections, 1, 100_000),
        ("rtmp", "max_connections_per_address", rtmp.max_connections_per_address, 0, 100_000),
        ("webrtc", "max_sessions", webrtc.max_sessions, 1, 100_000),
        ("engine", "memory_limit_mb", engine.memory_limit_mb, 128, 1 << 20),
        ("retention", "connection_tests_days", retention.connection_tests_days, 1, 3_650),
        // Six segments are what a player holds back at most; 4096 of a 6 Mbps rendition are 6 GB.
        ("hls", "memory_segments", hls.memory_segments, 6, 4_096),
    ];
    for (section, key, value, min, max) in counts {
        if !(min..=max).contains(&value) {
            return Err(fault(section, key, &format!("is {value}"), &format!("write {min} to {max}")));
        }
    }
    if !is_pathway(&origin.pathway) {
        let help = "write 1 to 32 of the characters a-z A-Z 0-9 . - _";
        return Err(fault("origin", "pathway", &format!("is `{}`", origin.pathway), help));
    }
    if let Some(url) = &http.public_url {
        check_origin(url).map_err(|why| {
            fault("http", "public_url", &format!("{why}: `{url}`"), "write it as `https://live.example.org`")
        })?;
    }
    for origin in http.cors.iter().filter(|o| *o != "*") {
        check_origin(origin).map_err(|why| {
            fault("http", "cors", &format!("{why}: `{origin}`"), "write origins as `https://example.org`, or \"*\"")
        })?;
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let (have, need) = if tls.certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
        return Err(fault("tls", have, &format!("stands without `{need}`"), "a certificate and its key go together"));
    }
    if tls.self_signed && tls.certificate.is_some() {
        return Err(fault("tls", "self_signed", "contradicts `certificate`", "leave one of them out"));
    }
    let tls_listeners = [("http", http.tls_listen), ("rtmp", rtmp.tls_listen)];
    if let Some((section, _)) = tls_listeners.into_iter().find(|(_, l)| l.is_some())
        && tls.certificate.is_none()
        && !tls.self_signed
    {
        let help = "set `certificate` and `key` in [tls], or `self_signed = true`";
        return Err(fault(section, "tls_listen", "needs a certificate", help));
    }
    if let Err(why) = tracing_subscriber::EnvFilter::try_new(&log.level) {
        let help = "write error, warn, info, debug, trace, off, or directives as `info,boothcast::ingest=debug`";
        return Err(fault("log", "level", &format!("is no filter ({why})"), help));
    }
    let tcp = [
        ("http", "listen", Some(http.listen)),
        ("http", "tls_listen", http.tls_listen),
        ("rtmp", "listen", Some(rtmp.listen)),
        ("rtmp", "tls_listen", rtmp.tls_listen),
        ("metrics", "listen", Some(metrics.listen)),
        ("webrtc", "listen", Some(webrtc.listen)),
    ];
    let udp = [("srt", "listen", Some(srt.listen)), ("webrtc", "listen", Some(webrtc.listen))];
    distinct(&tcp)?;
    distinct(&udp)
}

/// Two listeners of one transport cannot have the same port on the same address.
fn distinct(listeners: &[(&'static str, &'static str, Option<SocketAddr>)]) -> Result<(), Fault> {
    for (i, (section, key, address)) in listeners.iter().enumerate() {
        let Some(address) = address.filter(|a| a.port() != 0) else { continue };
        for (other_section, other_key, other) in &listeners[..i] {
            let Some(other) = other.filter(|o| o.port() == address.port()) else { continue };
            if other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified() {
                let what = format!("is taken by {other_section}.{other_key} ({other})");
                return Err(fault(section, key, &what, "give each listener a port of its own"));
            }
        }
    }
    Ok(())
}

/// Whether a text can be a PATHWAY-ID (RFC 8216bis §4.4.6.2), and is short enough to stand in every line of a playlist.
pub fn is_pathway(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}

/// `scheme://host[:port]` and nothing after it.
fn check_origin(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("does not begin with https:// or http://")?;
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match () {
        () if rest.is_empty() => Err("has no host"),
        () if rest.contains(['/', '?', '#']) => Err("has a path"),
        () if !rest.chars().all(host) => Err("has a character that no host name has"),
        () => Ok(()),
    }
}

fn fault(section: &'static str, key: &'static str, what: &str, suggestion: &str) -> Fault {
    Fault {
        keys: vec![KeyPath { section, key }],
        message: format!("{section}.{key} {what}"),
        suggestion: Some(suggestion.to_owned()),
    }
}
