//! The pages are built by npm into `web/dist` and embedded. Where that was not done the binary says so instead of serving them.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/dist");
    // rust-embed needs the directory to be there.
    if let Err(error) = std::fs::create_dir_all(Path::new("web/dist")) {
        println!("cargo::warning=web/dist: {error}");
    }
}
