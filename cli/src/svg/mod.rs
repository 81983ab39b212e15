//! Pictures as SVG: one file that needs nothing else, no script, no font, no link.
//!
//! Colours follow the reader's choice of light or dark. Text may be hostile: it is escaped here, once.

mod bars;
mod scale;

use std::fmt::Write;

pub use bars::{Bar, Chart, Picture, draw};

use crate::output::safe;

/// Text between tags, or in an attribute, that shows itself and nothing else.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in safe(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No document may hold these two, nor write them as a number.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most so many characters of it; its end tells more than its beginning.
fn shorten(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count + 1 - most).collect();
    format!("…{end}")
}

/// A length or a place in the picture: a tenth is enough.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// What is drawn on.
struct Canvas {
    text: String,
}

impl Canvas {
    fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4], title: Option<&str>) {
        let (x, y, width, height) = (at(x), at(y), at(width), at(height));
        _ = write!(self.text, r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}""#);
        self.text.push_str(&match title {
            Some(title) => format!("><title>{}</title></rect>\n", escape(title)),
            None => "/>\n".to_owned(),
        });
    }

    fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        let (x1, y1, x2, y2) = (at(x1), at(y1), at(x2), at(y2));
        _ = writeln!(self.text, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
    }

    /// `class` says how it stands at (x, y): `start`, `middle`, `end`, and its size.
    fn words(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let (x, y) = (at(x), at(y));
        _ = writeln!(self.text, r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escape(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text() {
        for (text, shown) in [
            ("a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c&#39;"),
            ("]]></text><script>", "]]&gt;&lt;/text&gt;&lt;script&gt;"),
            ("\u{0}\u{8}\u{1b}[2J\u{202e}", "\\x00\\x08\\x1b[2J\\u{202e}"),
            ("größe 日本", "größe 日本"),
            ("\u{ffff}\u{fffe}", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn ends_of_long_names_are_kept() {
        assert_eq!(shorten("/models/größe", 5), "…röße");
        assert_eq!(shorten("größe", 5), "größe");
    }

    #[test]
    fn places_are_short() {
        assert_eq!([at(12.0), at(12.04), at(-0.26), at(1e6)], ["12", "12", "-0.3", "1000000"]);
    }
}
