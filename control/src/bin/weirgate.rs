//! The command line; see [`weirgate_control::cli`].

fn main() -> std::process::ExitCode {
    weirgate_control::cli::main()
}
