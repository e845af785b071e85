//! Columns for people: a header, then rows, each column as wide as its widest cell.
//!
//! Pure: text out. A control character in a cell is shown as an escape, so that no name from a
//! broker can drive a terminal.

use std::fmt;

pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// # Panics
    /// If the row has not one cell a column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

/// `text` with control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let header = self.header.iter().map(|cell| cell.to_uppercase()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up_and_control_characters_are_shown() {
        let mut table = Table::new(&["topic", "n"]);
        table.row(vec!["a".to_owned(), "1".to_owned()]);
        table.row(vec!["longer\u{1b}[2J".to_owned(), "22".to_owned()]);
        let expected = ["TOPIC            N", "a                1", "longer\\u{1b}[2J  22", ""];
        assert_eq!(table.to_string(), expected.join("\n"));
    }

    #[test]
    fn no_rows_are_a_header() {
        assert_eq!(Table::new(&["a", "b"]).to_string(), "A  B\n");
    }
}
