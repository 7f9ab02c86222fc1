//! The command line. `serve` is the daemon; everything else does one thing and ends, also while the daemon runs.
//!
//! What a command is asked for goes to standard output; what went wrong goes to standard error, with exit code 1.

use boothcast::app;
use boothcast::config::{Config, parse};
use boothcast::store::{Role, Store, TokenOrigin};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;

/// Read when no `--config` is given and it is there.
const DEFAULT_CONFIG: &str = "/etc/boothcast/boothcast.toml";
/// The environment variable that sets the admin's token.
const ADMIN_TOKEN: &str = "BOOTHCAST_ADMIN_TOKEN";
/// Bytes of a configuration file: the documented one has 6 KB.
const MAX_CONFIG: u64 = 1 << 20;

/// Live media server for multilingual events.
#[derive(Parser)]
#[command(name = "boothcast", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon in the foreground. SIGTERM drains and ends it; SIGHUP reads the configuration again.
    Serve {
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Tells what is wrong with a configuration file, with its line, or exits with 0.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// API tokens.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Subcommand)]
enum Token {
    /// Makes a token and prints it, this once. It counts at once, also for a daemon that runs.
    Create {
        /// admin, manager, operator or read-only.
        #[arg(long, value_parser = role)]
        role: Role,
        /// The daemon's configuration file, which names the state directory.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Lists the tokens' ids and roles.
    List {
        /// The daemon's configuration file, which names the state directory.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Ends a token at once.
    Revoke {
        /// The token's id, as `token list` shows it.
        id: String,
        /// The daemon's configuration file, which names the state directory.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Role::ALL.iter().rev().map(|r| r.as_str()).collect();
        format!("roles are {}", names.join(", "))
    })
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config } => serve(config),
        Command::CheckConfig { file } => load(Some(&file)).map(|_| ()),
        Command::Token(command) => token(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // With nowhere to write to, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "boothcast: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the daemon.
fn serve(file: Option<PathBuf>) -> Result<(), String> {
    let config = load(file.as_deref())?;
    let level = boothcast::log::init(&config.log).map_err(|error| error.to_string())?;
    let admin_token = std::env::var(ADMIN_TOKEN).ok();
    let reload: app::Reload = Box::new(move || {
        let config = load(file.as_deref())?;
        level.set(&config.log.level).map_err(|error| error.to_string())?;
        Ok(config)
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(app::run(config, admin_token, reload)).map_err(|error| error.to_string())
}

/// Reads a configuration file and the environment; without a file, [`DEFAULT_CONFIG`] where it is there.
fn load(file: Option<&Path>) -> Result<Config, String> {
    let file = file.or_else(|| Some(Path::new(DEFAULT_CONFIG)).filter(|f| f.exists()));
    let text = match file {
        None => String::new(),
        Some(file) => {
            let fail = |error: std::io::Error| format!("{}: {error}", file.display());
            if std::fs::metadata(file).map_err(fail)?.len() > MAX_CONFIG {
                return Err(format!("{}: is larger than {MAX_CONFIG} bytes; this is no configuration", file.display()));
            }
            std::fs::read_to_string(file).map_err(fail)?
        }
    };
    // Variables that are not Unicode are nobody's keys.
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    parse(&text, variables).map_err(|error| match (file, error.position) {
        (Some(file), Some(_)) => format!("{}: {error}", file.display()),
        _ => error.to_string(),
    })
}

fn token(command: Token) -> Result<(), String> {
    let config = match &command {
        Token::Create { config, .. } | Token::List { config } | Token::Revoke { config, .. } => config.as_deref(),
    };
    let config = load(config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let store = Store::open(&config.store.dir).await.map_err(|error| error.to_string())?;
        let done = work(&store, command).await;
        store.close().await;
        done
    })
}

async fn work(store: &Store, command: Token) -> Result<(), String> {
    let fail = |error: boothcast::store::StoreError| error.to_string();
    let now = OffsetDateTime::now_utc();
    let mut out = std::io::stdout();
    let text = match command {
        Token::Create { role, .. } => {
            let (token, secret) = store.create_token(role, TokenOrigin::Command, now).await.map_err(fail)?;
            format!("token {} ({role}), shown this once: {}\n", token.id, secret.expose())
        }
        Token::List { .. } => {
            let tokens = store.tokens().await.map_err(fail)?;
            let line = |token: &boothcast::store::Token| {
                let ended = token.revoked_at.map_or_else(String::new, |at| format!(", revoked {at}"));
                format!(
                    "{}  {:<9}  {}, made {}{ended}\n",
                    token.id,
                    token.role,
                    token.origin.as_str(),
                    token.created_at
                )
            };
            tokens.iter().map(line).collect()
        }
        Token::Revoke { id, .. } => {
            if !store.revoke_token(&id, now).await.map_err(fail)? {
                return Err(format!("there is no valid token with the id {id}; `token list` shows them"));
            }
            format!("token {id} revoked\n")
        }
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
