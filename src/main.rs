//! The program. `boothcast engine` is the codec process that the daemon starts for itself.

mod cli;

fn main() -> std::process::ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "engine") {
        return std::process::ExitCode::from(boothcast::engine::worker::main().clamp(0, 255) as u8);
    }
    cli::main()
}
