//! The control daemon.

use clap::Parser;
use std::process::ExitCode;
use weirgate_control::daemon::{self, options::Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weirgate-control: it cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(daemon::run(options));
    // What a disk does not finish is of no use any more.
    runtime.shutdown_background();
    code
}
