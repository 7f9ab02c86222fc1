//! The command line.

use crate::app;
use crate::config::{self, Config, LogFormat};
use crate::media::{Clock, SystemClock};
use crate::store::{Role, Secret, Store, TokenOrigin};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Largest configuration file that is read: one with every key is a hundredth of it.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The environment variable that sets the admin token.
const ADMIN_TOKEN: &str = "BOOTHCAST_ADMIN_TOKEN";

/// Live media server for multilingual events.
#[derive(Debug, Parser)]
#[command(name = "boothcast", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon in the foreground. SIGTERM drains and ends it, SIGHUP reads the configuration again.
    Serve {
        /// The configuration file; without one, the defaults hold.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Checks a configuration file: exit code 0, or the error with its line.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Makes an API token and prints it once, as the last word. Works while the daemon runs.
    Create {
        /// What it may do: admin, manager, operator or read-only.
        #[arg(long, value_parser = role)]
        role: Role,
        /// The daemon's configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|r| r.as_str()).collect();
        format!("no such role; it is one of {}", known.join(", "))
    })
}

/// Reads a configuration with the environment's overlay; the message of a failure names the file.
fn load(path: Option<&Path>) -> Result<Config, String> {
    let text = match path {
        None => String::new(),
        Some(path) => {
            let fail = |error: std::io::Error| format!("{}: {error}", path.display());
            let size = std::fs::metadata(path).map_err(fail)?.len();
            if size > MAX_CONFIG_BYTES {
                return Err(format!("{}: larger than {MAX_CONFIG_BYTES} bytes", path.display()));
            }
            std::fs::read_to_string(path).map_err(fail)?
        }
    };
    // Names and values that are not UTF-8 are none of ours.
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    config::parse(&text, environment).map_err(|error| match path {
        Some(path) => format!("{}: {error}", path.display()),
        None => error.to_string(),
    })
}

fn now() -> OffsetDateTime {
    let nanos = i128::from(SystemClock::new().now().to_scale(1_000_000)) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Sets up logging to standard error; gives what changes the level later.
fn log(config: &Config) -> Result<impl Fn(&str) + Send + Sync + 'static, String> {
    let filter = EnvFilter::try_new(&config.log.level).map_err(|e| format!("[log] level: {e}"))?;
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let done = match config.log.format {
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).try_init(),
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()
        }
    };
    done.map_err(|e| e.to_string())?;
    Ok(move |level: &str| match EnvFilter::try_new(level) {
        Ok(filter) => {
            // Fails only when the subscriber is gone, at the very end.
            let _ = handle.reload(filter);
        }
        Err(error) => tracing::error!(%error, "[log] level not changed"),
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))
}

fn serve(path: Option<PathBuf>) -> Result<(), String> {
    let config = load(path.as_deref())?;
    let set_level = log(&config)?;
    let token = std::env::var(ADMIN_TOKEN).ok().filter(|t| !t.is_empty()).map(Secret::new);
    let reload: app::Reload = Box::new(move || {
        let config = load(path.as_deref())?;
        set_level(&config.log.level);
        Ok(config)
    });
    runtime()?.block_on(app::run(config, token, reload)).map_err(|e| e.to_string())
}

fn create_token(role: Role, path: Option<&Path>) -> Result<(), String> {
    let config = load(path)?;
    runtime()?.block_on(async {
        let store = Store::open(&config.store.dir).await.map_err(|e| e.to_string())?;
        let made = store.create_token(role, TokenOrigin::Command, now()).await.map_err(|e| e.to_string());
        store.close().await;
        let (_, secret) = made?;
        println!("{role} token (shown once): {}", secret.expose());
        Ok(())
    })
}

/// Runs the command line's command; errors go to standard error.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { config } => serve(config),
        Command::CheckConfig { file } => load(Some(&file)).map(|_| println!("{}: ok", file.display())),
        Command::Token { command: TokenCommand::Create { role, config } } => create_token(role, config.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boothcast: {error}");
            ExitCode::FAILURE
        }
    }
}
