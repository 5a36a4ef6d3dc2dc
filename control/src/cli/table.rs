//! Tables as kubectl prints them: heads in capitals, two spaces between columns, nothing at the end of a line.

use super::{
    console::Console,
    style::{Style, Tone},
};
use std::io;

/// Rows below heads.
pub(super) struct Table {
    heads: Vec<&'static str>,
    /// Whether a column's values end at the same place, as numbers should.
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

/// A value.
#[derive(Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
    /// Well or not.
    pub(super) fn judged(well: bool, text: impl Into<String>) -> Self {
        Self::new(if well { Tone::Good } else { Tone::Bad }, text)
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::new(Tone::Plain, value.to_string())
    }
}

/// Between columns.
const GAP: usize = 2;
/// A column that is cut keeps so many characters.
const KEPT: usize = 12;

impl Table {
    /// Heads; those that begin with `>` are of columns whose values are aligned to the right.
    pub(super) fn new(heads: &[&'static str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        Self { heads: heads.iter().map(|head| head.trim_start_matches('>')).collect(), right, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        assert_eq!(cells.len(), self.heads.len(), "a cell for each head");
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text that fits the width, if there is one.
    pub(super) fn text(&self, style: Style, width: Option<usize>) -> String {
        let paint = |line: Vec<(Tone, String)>| {
            let line: String = line.iter().map(|(tone, text)| style.paint(*tone, text)).collect();
            line.trim_end().to_owned() + "\n"
        };
        self.lines(width).into_iter().map(paint).collect()
    }

    /// Heads and rows as pieces of text that fit the width, if there is one.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<Vec<(Tone, String)>> {
        let widths = self.widths(width);
        let heads: Vec<Cell> = self.heads.iter().map(|&head| Cell::new(Tone::Strong, head)).collect();
        std::iter::once(&heads).chain(&self.rows).map(|cells| self.line(cells, &widths)).collect()
    }

    /// Prints it, or the sentence if it has no rows.
    pub(super) fn print(&self, console: &mut Console<'_>, none: &str) -> io::Result<()> {
        if self.is_empty() {
            return console.line(none);
        }
        let text = self.text(console.style, console.width);
        console.print(&text)
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let widest = |at: usize| self.rows.iter().map(|row| row[at].text.chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> =
            self.heads.iter().enumerate().map(|(at, head)| widest(at).max(head.chars().count())).collect();
        let Some(width) = width else { return widths };
        let all = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        // The widest gives way, one character at a time; numbers are never cut.
        while all(&widths) > width {
            let cuttable = widths.iter_mut().zip(&self.right).filter(|(w, right)| !**right && **w > KEPT);
            let Some((widest, _)) = cuttable.max_by_key(|(w, _)| **w) else { break };
            *widest -= 1;
        }
        widths
    }

    fn line(&self, cells: &[Cell], widths: &[usize]) -> Vec<(Tone, String)> {
        let mut line = Vec::new();
        for (number, ((cell, &width), &right)) in cells.iter().zip(widths).zip(&self.right).enumerate() {
            let text = cut(&cell.text, width);
            let blank = width - text.chars().count();
            let gap = if number > 0 { GAP } else { 0 };
            let (before, after) = if right { (gap + blank, 0) } else { (gap, blank) };
            line.extend([(Tone::Plain, " ".repeat(before)), (cell.tone, text), (Tone::Plain, " ".repeat(after))]);
        }
        line
    }
}

/// At most so many characters; what is cut ends with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A list of names and values, aligned, as `kubectl describe` prints them.
pub(super) fn pairs(style: Style, indent: usize, pairs: &[(&str, String)]) -> String {
    let widest = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let line = |(name, value): &(&str, String)| {
        let name = format!("{:<widest$}", format!("{name}:"));
        let line = format!("{:indent$}{}  {value}", "", style.paint(Tone::Strong, &name));
        line.trim_end().to_owned() + "\n"
    };
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", ">RPS", "REASON"]);
        table.row(["a".into(), 5.into(), Cell::judged(true, "answered")]);
        table.row(["backend-with-a-long-name".into(), 12_345.into(), Cell::judged(false, "connection refused")]);
        table
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let wanted = "\
NAME                        RPS  REASON
a                             5  answered
backend-with-a-long-name  12345  connection refused
";
        assert_eq!(table().text(Style::default(), None), wanted);
    }

    #[test]
    fn a_narrow_terminal_cuts_words_and_no_numbers() {
        let text = table().text(Style::default(), Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("12345") && text.contains('…'), "{text}");
        let narrow = table().text(Style::default(), Some(3));
        assert!(narrow.contains("12345"), "it stops somewhere: {narrow}");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = table().text(Style { coloured: true }, Some(40));
        let mut plain = coloured;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"] {
            plain = plain.replace(code, "");
        }
        let trimmed: String = plain.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        assert_eq!(trimmed, table().text(Style::default(), Some(40)));
    }
}
