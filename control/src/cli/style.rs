//! Colours, where somebody sees them.

use std::io::IsTerminal;

/// What a piece of text is, for the eye. Nothing is said by colour alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Well, or new.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong, or gone.
    Bad,
    /// Beside the point.
    Faint,
}

/// Whether tones become colours.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Style {
    pub(super) coloured: bool,
}

impl Style {
    /// Coloured on a terminal that can, unless `NO_COLOR` is there (https://no-color.org: and not empty).
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: stream.is_terminal() && !is_set("NO_COLOR") && !dumb }
    }

    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        if self.coloured && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_colours() {
        assert_eq!(Style { coloured: true }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Style { coloured: true }.paint(Tone::Plain, "x"), "x");
        assert_eq!(Style { coloured: false }.paint(Tone::Bad, "x"), "x");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!Style::of(&file).coloured, "/dev/null is no terminal");
    }
}
