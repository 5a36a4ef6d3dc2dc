//! Generators for the benchmarks; `./scripts/bench` runs them.

mod echo;
mod exchange;
mod figures;
mod offloads;
mod tcp;
mod tls;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures Weirgate.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send 64-byte echo requests as fast as they come back; prints packets per second.
    Echo(echo::Options),
    /// Send packets whose checksums the device or the program has made.
    Offloads(offloads::Options),
    /// Turn measured packet rates into figures.
    Figures(figures::Options),
    /// The TCP engine beside smoltcp and Linux: cost of an exchange, memory, loss, floods.
    Tcp(tcp::Options),
    /// The HTTP gateway alone: cost of a request and its answer through both legs, memory.
    Exchange(exchange::Options),
    /// TLS alone: handshakes and records beside the ciphers that they are made of, memory.
    Tls(tls::Options),
}

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Echo(options) => echo::run(&options),
        Command::Offloads(options) => offloads::run(&options),
        Command::Figures(options) => figures::run(&options),
        Command::Tcp(options) => tcp::run(&options),
        Command::Exchange(options) => exchange::run(&options),
        Command::Tls(options) => tls::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weirgate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
