//! A verb as a test runs it: arguments in, exit code and both streams out.

mod asked;
pub(super) mod daemon;
mod end_to_end;
pub(super) mod golden;
pub(super) mod values;

use super::{
    Options,
    console::{Console, Exit},
};
use clap::Parser;
use std::path::PathBuf;

/// Runs the command line, without a terminal.
pub(super) fn run(arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let options = match Options::try_parse_from(std::iter::once(&"weirgate").chain(arguments)) {
        Ok(options) => options,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return (exit, String::new(), error.to_string());
        }
    };
    let mut console = Console::plain(&mut out, &mut err);
    let outcome = options.command.run(&mut console);
    let exit = console.end(outcome);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// A folder of a test's own, gone when the test ends.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weirgate-cli-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub(super) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
    /// Writes a file, and the folders to it.
    pub(super) fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    /// Makes a link, and the folders to it.
    pub(super) fn link(&self, link: &str, target: &str) {
        let path = self.0.join(link.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file of a test's own.
pub(super) struct TempFile {
    folder: TempDir,
    path: String,
}

impl TempFile {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let folder = TempDir::new("file");
        folder.write(name, text);
        let path = format!("{}/{name}", folder.path());
        Self { folder, path }
    }
    pub(super) fn path(&self) -> &str {
        debug_assert!(self.path.starts_with(self.folder.path()));
        &self.path
    }
}

#[test]
fn the_definitions_are_sound() {
    use clap::CommandFactory;
    Options::command().debug_assert();
}

#[test]
fn every_verb_says_what_it_does_with_an_example() {
    use clap::CommandFactory;
    fn look(command: &clap::Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} says nothing");
        let is_group = command.get_subcommands().next().is_some();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(is_group || command.is_hide_set() || help.contains("weirgate"), "{name} has no example");
        command.get_subcommands().filter(|verb| verb.get_name() != "help").for_each(look);
    }
    Options::command().get_subcommands().for_each(look);
}

#[test]
fn wrong_usage_ends_with_2() {
    for wrong in [&["nonsense"][..], &["validate"], &["validate", "-o", "xml", "x"], &["explain", "GET"]] {
        assert_eq!(run(wrong).0, Exit::Usage, "{wrong:?}");
    }
    assert_eq!(run(&["--help"]).0, Exit::Done);
}
