//! Shell completion and manual pages, both made from the same definitions as the arguments.

use super::{
    Options, Outcome,
    console::{Console, Exit, Failure},
};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Print a shell's completion script
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate completion bash > /etc/bash_completion.d/weirgate
  weirgate completion zsh > \"${fpath[1]}/_weirgate\"
  weirgate completion fish > ~/.config/fish/completions/weirgate.fish")]
pub(super) struct Completion {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"], value_name = "SHELL")]
    shell: String,
}

/// Write a manual page for each verb
#[derive(Args)]
#[command(hide = true)]
pub(super) struct Man {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Completion {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let shell = match self.shell.as_str() {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            _ => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Options::command(), "weirgate", &mut script);
        console.print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

impl Man {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let mut command = Options::command().disable_help_subcommand(true);
        command.build();
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| write(&self.folder, "weirgate", command));
        let pages = written.map_err(|error| {
            Failure::findings(format!("manual pages cannot be written to {}: {error}", self.folder.display()))
        })?;
        console.line(format_args!("{pages} manual pages in {}", self.folder.display()))?;
        Ok(Exit::Done)
    }
}

/// The page of a command and of those below it; how many there are.
fn write(folder: &Path, name: &str, command: Command) -> std::io::Result<usize> {
    let below: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    let command = command.display_name(name.to_owned());
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    below.into_iter().try_fold(1, |pages, verb| {
        let name = format!("{name}-{}", verb.get_name());
        Ok(pages + write(folder, &name, verb)?)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{TempDir, run},
        *,
    };

    #[test]
    fn every_verb_has_a_page_with_its_example() {
        let folder = TempDir::new("man");
        let (exit, out, err) = run(&["man", folder.path()]);
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        let verbs = Options::command();
        let verbs: Vec<_> = verbs.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
        assert!(out.starts_with(char::is_numeric));
        for verb in &verbs {
            let page = Path::new(folder.path()).join(format!("weirgate-{}.1", verb.get_name()));
            let page = std::fs::read_to_string(page).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{}", verb.get_name());
            let has_verbs = verb.get_subcommands().next().is_some();
            assert!(has_verbs || page.contains("weirgate"), "{}", verb.get_name());
        }
    }

    #[test]
    fn completion_knows_the_verbs() {
        for shell in ["bash", "zsh", "fish"] {
            let (exit, out, _) = run(&["completion", shell]);
            assert_eq!(exit, Exit::Done);
            assert!(out.contains("validate") && out.contains("explain"), "{shell}");
        }
        assert_eq!(run(&["completion", "csh"]).0, Exit::Usage);
    }
}
