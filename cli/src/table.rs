//! Tables whose columns stay aligned with names of any script.

use crate::output::safe;

/// No column is filled up beyond this: names may be megabytes.
const MAX_COLUMNS: usize = 200;

/// How many columns of a terminal `text` takes: marks that combine take none, East
/// Asian wide characters and emoji two. Near enough for a table.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
        0xe31 | 0xe34..=0xe3a | 0xe47..=0xe4e | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff => 0,
        0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0x1f3fb..=0x1f3ff | 0xe0100..=0xe01ef => 0,
        0x1100..=0x115f | 0x231a..=0x231b | 0x2329..=0x232a | 0x23e9..=0x23ec => 2,
        0x2e80..=0x303e | 0x3041..=0x33ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa000..=0xa4cf => 2,
        0xa960..=0xa97f | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 => 2,
        0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1f9ff => 2,
        0x1fa70..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `text` filled with spaces to `columns`; never cut.
pub fn pad(text: &str, columns: usize, right: bool) -> String {
    let fill = " ".repeat(columns.saturating_sub(width(text)));
    if right { format!("{fill}{text}") } else { format!("{text}{fill}") }
}

/// Rows of cells under headings.
pub struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With headings; one that begins with `>` stands over a column that is set to the right.
    pub fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|h| h.starts_with('>')).collect();
        let first = headings.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
        Self { right, rows: vec![first] }
    }

    /// One more row; cells are made safe here.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.right.len());
        self.rows.push(cells.iter().map(|c| safe(c)).collect());
    }

    /// Its lines, headings first. Columns without any content are left out.
    pub fn lines(&self) -> Vec<String> {
        let columns: Vec<(usize, usize)> = (0..self.right.len())
            .filter(|c| self.rows[1..].iter().any(|row| !row[*c].is_empty()))
            .map(|c| (c, self.rows.iter().map(|row| width(&row[c])).max().unwrap_or(0).min(MAX_COLUMNS)))
            .collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<_> =
                columns.iter().map(|(c, columns)| pad(&row[*c], *columns, self.right[*c])).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_aligned_with_wide_names() {
        let mut table = Table::new(&["Host", ">Size", "Tags", "Path"]);
        table.row(["日本".into(), "1 B".into(), String::new(), "/a".into()]);
        table.row(["e\u{301}te\u{301}\x1b[0m".into(), "10 GiB".into(), String::new(), "/b".into()]);
        assert_eq!(
            table.lines(),
            ["Host          Size  Path", "日本           1 B  /a", "e\u{301}te\u{301}\\x1b[0m  10 GiB  /b",]
        );
    }

    #[test]
    fn widths() {
        for (text, columns) in [("abc", 3), ("größe", 5), ("日本語", 6), ("e\u{301}", 1), ("📦", 2), ("", 0)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(pad("語", 4, true), "  語");
        assert_eq!(pad("too long", 4, false), "too long");
    }
}
