//! The project's figures of speed and size, as one table: ours, the peer's in the same run, their ratio, the limit.
//!
//! `scripts/bench` installs what is needed and runs this; its help says what can be chosen. Limits are those of the
//! product: a figure that misses its limit makes the exit code 1, a bench that cannot run panics.
#![allow(clippy::disallowed_methods, clippy::large_futures, clippy::panic, clippy::unwrap_used)]

mod ears;
mod failover;
mod fanout;
mod glass;
mod ingest;
mod janus;
mod ladder;
mod latency;
mod memory;
mod mixing;
mod packager;
mod process;
mod serving;
mod source;
mod srt;
#[allow(dead_code)]
#[path = "../../tests/e2e/support/mod.rs"]
mod support;
mod table;
mod voices;

use std::process::ExitCode;
use table::Figure;

/// All benches, in the order in which they run.
const ALL: [&str; 12] = [
    "packager", "ladder", "mixing", "fanout", "ears", "ingest", "srt", "failover", "serving", "latency", "glass",
    "memory",
];

fn run(name: &str, minutes: f64) -> Vec<Figure> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match name {
        "packager" => packager::run(),
        "ladder" => ladder::run(),
        "mixing" => runtime().block_on(mixing::run()),
        "fanout" => runtime().block_on(fanout::run()),
        "ears" => runtime().block_on(ears::run()),
        "ingest" => runtime().block_on(ingest::run()),
        "srt" => runtime().block_on(srt::run()),
        "failover" => runtime().block_on(failover::run()),
        "serving" => runtime().block_on(serving::run()),
        "latency" => runtime().block_on(latency::run()),
        "glass" => runtime().block_on(glass::run()),
        "memory" => runtime().block_on(memory::run(minutes)),
        other => unreachable!("{other} was checked"),
    }
}

fn main() -> ExitCode {
    if let Some(count) = std::env::var(fanout::PLAYERS).ok().and_then(|n| n.parse().ok()) {
        fanout::play(count);
        return ExitCode::SUCCESS;
    }
    let (mut names, mut minutes) = (Vec::new(), 3.0);
    // Cargo adds `--bench`.
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--minutes" => match args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0.0) {
                Some(n) => minutes = n,
                None => {
                    eprintln!("--minutes takes a number above 0");
                    return ExitCode::from(2);
                }
            },
            name if ALL.contains(&name) => names.push(arg),
            other => {
                eprintln!("there is no bench {other}; there are: {}", ALL.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    let chosen = ALL.iter().filter(|name| names.is_empty() || names.iter().any(|n| n == *name));
    let mut figures = Vec::new();
    for name in chosen {
        eprintln!("bench {name}");
        let made = run(name, minutes);
        // As they come: a later bench may not get to its end.
        eprint!("{}", table::table(&made));
        figures.extend(made);
    }
    print!("{}", table::table(&figures));
    if figures.iter().all(Figure::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
