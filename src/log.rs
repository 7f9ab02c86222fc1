//! Log lines: text or JSON on standard error, with a level that a reload can change.
//!
//! What is logged holds no secret: secrets are [`crate::store::Secret`] or `secrecy` types, which show nothing, and requests are
//! logged by their route's pattern, never by path or query.

use crate::config::{Log, LogFormat};
use std::io;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Why logging could not begin or change.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no filter.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was set up before in this process.
    #[error("logging is set up already")]
    Twice,
}

/// Changes the level of a running daemon.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes over `level` of a new configuration.
    ///
    /// # Errors
    /// When it is no filter; the old level stays.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        // Fails only when the subscriber is gone, with the process.
        self.0.reload(filter).map_err(|_| LogError::Twice)
    }
}

/// What libraries say at a lower level than they mean it: every browser offers DTLS extensions that this one does not know, and
/// a broken transport stream has a line for each of its packets. And what they must not say: retina's lines show whole
/// addresses, with their queries, and headers.
const QUIET: &[&str] = &["rtc_dtls=error", "mpeg2ts_reader=error", "retina=off"];

/// The filter of a configured level.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let filter = EnvFilter::try_new(level)?;
    // A level that names the library holds.
    let wanted = QUIET.iter().filter(|q| q.split('=').next().is_some_and(|name| !level.contains(name)));
    Ok(wanted.filter_map(|q| q.parse().ok()).fold(filter, EnvFilter::add_directive))
}

/// Begins logging, panics included. Once per process.
///
/// # Errors
/// When the level is no filter, or logging was set up before.
pub fn init(config: &Log) -> Result<Level, LogError> {
    let (filter, level) = reload::Layer::new(filter(&config.level)?);
    let lines = match config.format {
        LogFormat::Text => {
            fmt::layer().with_writer(io::stderr).with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("unknown");
        tracing::error!(place, reason, "panic");
    }));
    Ok(Level(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_begins_once_and_its_level_can_change() {
        assert!(matches!(init(&Log { level: "info,,=".into(), ..Log::default() }), Err(LogError::Level(_))));
        let level = init(&Log { format: LogFormat::Json, ..Log::default() }).expect("begins");
        assert!(tracing::enabled!(tracing::Level::INFO) && !tracing::enabled!(tracing::Level::DEBUG));
        level.set("debug").expect("is a filter");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(level.set("info,,=").is_err());
        assert!(tracing::enabled!(tracing::Level::DEBUG), "the old one stays");
        assert!(matches!(init(&Log::default()), Err(LogError::Twice)));
        drop(std::panic::take_hook());
    }

    #[test]
    fn libraries_that_show_secrets_are_silent_at_every_level() {
        for level in ["info", "debug", "trace", "info,boothcast::ingest=debug"] {
            let filter = filter(level).expect("is a filter").to_string();
            assert!(filter.contains("retina=off"), "{filter}");
        }
    }
}
