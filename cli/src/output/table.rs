//! Tables: columns with two spaces between them, as kubectl's users expect.

use std::io::IsTerminal;

/// No column is cut shorter than this to fit a terminal.
const COLUMN_MIN: usize = 12;

/// A table under construction.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// True if there is nothing under the headings.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The table for stdout: cut to a terminal's width, whole where a program reads it.
    pub(crate) fn to_text(&self) -> String {
        let width = std::io::stdout()
            .is_terminal()
            .then(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
            .flatten();
        self.to_width(width)
    }

    /// The table in at most so many columns of text.
    pub(crate) fn to_width(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                let cell = shorten(cell, width);
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The width of each column: that of its widest cell, then the widest give way until all fit.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns)
            .map(|n| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(n))
                    .map(|c| c.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let Some(limit) = limit else { return widths };
        let gaps = 2 * columns.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// The text, or its beginning and an ellipsis.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The first of a list and how many more there are.
pub(crate) fn abbreviate<T: ToString>(list: &[T], shown_max: usize) -> String {
    if list.is_empty() {
        return "-".to_owned();
    }
    let mut text =
        list.iter().take(shown_max).map(ToString::to_string).collect::<Vec<_>>().join(",");
    if list.len() > shown_max {
        text.push_str(&format!(" +{}", list.len() - shown_max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_give_way() {
        let mut table = Table::new(&["NAME", "ADDRESSES"]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), "10.0.0.1".to_owned()]);
        table.row(["long-name".to_owned(), "x".repeat(40)]);
        assert_eq!(
            table.to_width(None),
            format!("NAME       ADDRESSES\na          10.0.0.1\nlong-name  {}\n", "x".repeat(40))
        );
        let narrow = table.to_width(Some(30));
        assert!(narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
        assert!(narrow.contains('…'));
    }

    #[test]
    fn long_lists_say_how_long_they_are() {
        assert_eq!(abbreviate::<String>(&[], 2), "-");
        assert_eq!(abbreviate(&["a", "b"], 2), "a,b");
        assert_eq!(abbreviate(&["a", "b", "c", "d"], 2), "a,b +2");
    }
}
