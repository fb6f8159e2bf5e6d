//! Columns for people, and what keeps strangers' text from steering a terminal.

use std::fmt::{Display, Write as _};

use unicode_width::UnicodeWidthStr as _;

const GAP: &str = "  ";

/// Text from a server or a user, fit for one line of a terminal: whatever could move the cursor, change colours or
/// reverse the reading direction becomes a visible mark.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if steers(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Whether a terminal obeys the character rather than showing it.
pub(super) fn steers(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, or a dash where there is none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { plain(text) }
}

/// Text that grows line by line.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn add(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        writeln!(self.0, "{line}").unwrap_or_default();
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A name and what it stands for on each line; the names are ours, the values must be neutralized already.
pub(super) fn facts<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<(&str, String)> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or_default();
    let mut lines = Lines::default();
    for (name, value) in &pairs {
        lines.add(format_args!("{}{GAP}{value}", padded(name, width)));
    }
    lines.finish()
}

/// Rows under headings. Cells are neutralized here, so no caller can forget it.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    marked: Vec<bool>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let heading = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Self { rows: vec![heading], marked: vec![false] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.marked_row(false, cells);
    }

    /// A row with a `*` before it.
    pub(super) fn marked_row(&mut self, marked: bool, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
        self.marked.push(marked);
    }

    /// Aligned, each line ended.
    pub(super) fn render(&self) -> String {
        let widths = self.widths();
        let any_mark = self.marked.contains(&true);
        let mut out = String::new();
        for (cells, marked) in self.rows.iter().zip(&self.marked) {
            let mut line = match (any_mark, marked) {
                (false, _) => String::new(),
                (true, false) => "  ".to_owned(),
                (true, true) => "* ".to_owned(),
            };
            for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                if index > 0 {
                    line.push_str(GAP);
                }
                line.push_str(&padded(cell, *width));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for cells in &self.rows {
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }
}

/// The text, followed by spaces up to a width on screen.
pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_also_under_wide_letters() {
        let mut table = Table::new(&["NAME", "ROLE"]);
        table.row(["홍길동".to_owned(), "clerk".to_owned()]);
        table.row(["bo".to_owned(), "-".to_owned()]);
        assert_eq!(table.render(), "NAME    ROLE\n홍길동  clerk\nbo      -\n");
    }

    #[test]
    fn a_marked_row_indents_all() {
        let mut table = Table::new(&["ID"]);
        table.row(["a".to_owned()]);
        table.marked_row(true, ["b".to_owned()]);
        assert_eq!(table.render(), "  ID\n  a\n* b\n");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let mut table = Table::new(&["ID"]);
        table.row(["a\u{1b}[31m\nb\u{9b}2J\u{202e}".to_owned()]);
        assert_eq!(table.render(), "ID\na\u{fffd}[31m\u{fffd}b\u{fffd}2J\u{fffd}\n");
    }
}
