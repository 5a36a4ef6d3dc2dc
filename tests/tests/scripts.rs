//! Every packet script against every target that can be run here, both families of addresses.
//!
//! The kernel and the wire need root, and their time is real, so a script may be run three times there before it counts as failed; it is run
//! against the engine in virtual time once. The wire needs the feature `dpdk` too.

use libtest_mimic::{Arguments, Trial};
use std::{fs, path::Path, process::ExitCode, sync::Arc};
use weirgate_tests::script::{self, Kind};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tcp"))
        .expect("the scripts' folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkt"))
        .collect();
    files.sort();
    let mut trials = Vec::new();
    for (kind, word, attempts) in [(Kind::Kernel, "kernel", 3), (Kind::Engine, "engine", 1), (Kind::Wire, "wire", 3)] {
        let missing = kind.missing();
        if let Some(missing) = &missing {
            eprintln!("scripts against the {word} are skipped: {missing}");
        }
        for path in &files {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(path).expect("a script");
            let script = match script::parse(&text) {
                Ok(script) => Arc::new(script),
                Err(error) => {
                    let error = format!("{error:#}");
                    trials.push(Trial::test(format!("{word}::{name}"), move || Err(error.into())));
                    continue;
                }
            };
            let exception = kind.exception(&script);
            if let Some(exception) = exception.as_ref().filter(|_| kind.suits(&script) && missing.is_none()) {
                eprintln!("{word}::{name} is left out: {exception}");
            }
            let suits = kind.suits(&script) && exception.is_none();
            for family in script.families.clone().into_iter().filter(|_| suits) {
                let script = script.clone();
                let trial = Trial::test(format!("{word}::{name}::{family}"), move || {
                    let mut result = script::play(kind, &script, family);
                    for _ in 1..attempts {
                        result = result.or_else(|_| script::play(kind, &script, family));
                    }
                    result.map(|_| ()).map_err(Into::into)
                });
                trials.push(trial.with_ignored_flag(missing.is_some()));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    script::end();
    conclusion.exit_code()
}
