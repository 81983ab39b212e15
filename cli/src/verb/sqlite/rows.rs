//! Rows as they come: a table on a terminal, lines with tabs in a pipe, or JSON. What the database
//! holds never reaches a terminal as it is.

use std::io::{self, Write};

use ballast::error::{Error, Result as EngineResult};
use ballast::format::wire::Bytes;
use ballast::id::to_hex;
use ballast::op::sqlite::{self, SqliteOptions};
use ballast::repo::Repository;
use ballast::source::sqlite::{Cell, Rows};
use serde_json::{Value, json as object};

use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::io::Out;
use crate::json;
use crate::output::name;
use crate::printer::Printer;
use crate::table::{pad, width};

/// Rows by which the widths of a table's columns are chosen.
const LOOKED_AT: usize = 200;
/// Columns of a terminal for one value, at most.
const WIDEST: usize = 60;
/// Bytes of a value that are looked at for a table.
const CUT_BYTES: usize = 4 * WIDEST;

/// Asks, and prints.
pub fn ask(
    repo: &Repository,
    options: &SqliteOptions,
    statement: &str,
    p: &mut Printer<'_>,
) -> Result<Exit, Failure> {
    let shape = match (p.global.json, p.io.terminals.stdout) {
        (true, _) => Shape::Json,
        (false, true) => Shape::Table { waiting: Vec::new(), widths: Vec::new() },
        (false, false) => Shape::Lines,
    };
    let meter = Meter::start(p);
    let mut printed = Printed { out: &mut p.io.out, meter: &meter, shape, rows: 0 };
    let outcome = sqlite::query(repo, options, statement, &mut printed, &meter);
    let rows = printed.rows;
    let outcome = match outcome {
        Ok(_) => printed.end().map_err(Failure::from),
        Err(error) => Err(error.into()),
    };
    meter.end(0, &[]);
    connect::notices(p, repo);
    outcome?;
    if p.global.json {
        let path = Bytes(options.path.clone());
        p.json(&object!({ "snapshot": options.snapshot, "path": path, "rows": rows }));
    }
    Ok(Exit::Done)
}

enum Shape {
    Json,
    Lines,
    /// Rows wait until the widths are known.
    Table {
        waiting: Vec<Vec<(String, bool)>>,
        widths: Vec<usize>,
    },
}

struct Printed<'a> {
    out: &'a mut Out,
    meter: &'a Meter,
    shape: Shape,
    rows: u64,
}

fn unwritten(error: io::Error) -> Error {
    Error::io("standard output", error)
}

impl Rows<Error> for Printed<'_> {
    fn columns(&mut self, names: &[&str]) -> EngineResult<()> {
        self.meter.hide();
        match &mut self.shape {
            Shape::Json => {
                let line = json::line("columns", object!({ "names": names }));
                writeln!(self.out, "{line}").map_err(unwritten)
            }
            Shape::Lines => {
                let names: Vec<_> = names.iter().map(|n| name(n.as_bytes())).collect();
                writeln!(self.out, "{}", names.join("\t")).map_err(unwritten)
            }
            Shape::Table { waiting, .. } => {
                waiting.push(names.iter().map(|n| (cut(&name(n.as_bytes())), false)).collect());
                Ok(())
            }
        }
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> EngineResult<()> {
        self.rows += 1;
        match &mut self.shape {
            Shape::Json => {
                let values: Value = cells.iter().map(as_json).collect();
                let line = json::line("row", object!({ "values": values }));
                writeln!(self.out, "{line}").map_err(unwritten)
            }
            Shape::Lines => {
                let row: Vec<_> = cells.iter().map(as_text).collect();
                writeln!(self.out, "{}", row.join("\t")).map_err(unwritten)
            }
            Shape::Table { waiting, widths } => {
                let row: Vec<_> = cells.iter().map(|cell| (short(cell), is_number(cell))).collect();
                if !widths.is_empty() {
                    return print_row(self.out, &row, widths);
                }
                waiting.push(row);
                if waiting.len() > LOOKED_AT {
                    *widths = print_waiting(self.out, waiting)?;
                }
                Ok(())
            }
        }
    }
}

impl Printed<'_> {
    fn end(self) -> EngineResult<()> {
        match self.shape {
            Shape::Table { mut waiting, widths } if widths.is_empty() => {
                print_waiting(self.out, &mut waiting).map(drop)
            }
            _ => Ok(()),
        }
    }
}

fn print_waiting(out: &mut Out, waiting: &mut Vec<Vec<(String, bool)>>) -> EngineResult<Vec<usize>> {
    let columns = waiting.first().map_or(0, Vec::len);
    let widest = |at: usize| waiting.iter().filter_map(|row| row.get(at)).map(|(t, _)| width(t)).max();
    let widths: Vec<usize> = (0..columns).map(|at| widest(at).unwrap_or(0)).collect();
    for (number, row) in waiting.drain(..).enumerate() {
        print_row(out, &row, &widths)?;
        if number == 0 {
            let lines: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(out, "{}", lines.join("  ")).map_err(unwritten)?;
        }
    }
    Ok(widths)
}

fn print_row(out: &mut Out, row: &[(String, bool)], widths: &[usize]) -> EngineResult<()> {
    let cells: Vec<_> =
        row.iter().zip(widths).map(|((text, right), width)| pad(text, *width, *right)).collect();
    writeln!(out, "{}", cells.join("  ").trim_end()).map_err(unwritten)
}

fn is_number(cell: &Cell<'_>) -> bool {
    matches!(cell, Cell::Integer(_) | Cell::Real(_))
}

/// In a pipe: unambiguous, on one line, without a tab.
fn as_text(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "\\N".into(),
        Cell::Integer(n) => n.to_string(),
        Cell::Real(n) => real(*n),
        Cell::Text(text) => name(text),
        Cell::Blob(bytes) => format!("x'{}'", to_hex(bytes)),
    }
}

/// On a terminal: the beginning.
fn short(cell: &Cell<'_>) -> String {
    let head = |bytes: &[u8]| bytes[..bytes.len().min(CUT_BYTES)].to_vec();
    match cell {
        Cell::Null => "NULL".into(),
        // A character cut in two would be shown as its bytes: they are beyond the cut.
        Cell::Text(text) => cut(&name(&head(text))),
        Cell::Blob(bytes) => cut(&as_text(&Cell::Blob(&head(bytes)))),
        number => as_text(number),
    }
}

/// At most [`WIDEST`] columns of it.
fn cut(text: &str) -> String {
    if width(text) <= WIDEST {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if width(&out) >= WIDEST {
            out.pop();
            break;
        }
    }
    out + "…"
}

/// So that it can be told from an integer.
fn real(n: f64) -> String {
    format!("{n:?}")
}

fn as_json(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(n) => (*n).into(),
        Cell::Real(n) if n.is_finite() => (*n).into(),
        Cell::Real(n) => object!({ "real": n.to_string() }),
        Cell::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => text.into(),
            Err(_) => object!({ "text": String::from_utf8_lossy(text), "hex": to_hex(text) }),
        },
        Cell::Blob(bytes) => object!({ "hex": to_hex(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let cells = [
            Cell::Null,
            Cell::Integer(-7),
            Cell::Real(1.0),
            Cell::Text(b"\\N\t\n\x1b[31m\xff"),
            Cell::Blob(b"\0\xff"),
        ];
        let texts: Vec<_> = cells.iter().map(as_text).collect();
        assert_eq!(texts, ["\\N", "-7", "1.0", "\\\\N\\t\\n\\x1b[31m\\xff", "x'00ff'"]);
        let json: Value = cells.iter().map(as_json).collect();
        assert_eq!(json[0], Value::Null);
        assert_eq!(json[3]["hex"], "5c4e090a1b5b33316dff");
        assert_eq!(json[4], object!({ "hex": "00ff" }));
    }

    #[test]
    fn a_terminal_gets_the_beginning() {
        let long = "語".repeat(1000);
        let shown = short(&Cell::Text(long.as_bytes()));
        assert!(shown.ends_with('…') && width(&shown) <= WIDEST && !shown.contains('\\'), "{shown}");
        assert_eq!(short(&Cell::Text(b"\x1b]0;evil\x07")), "\\x1b]0;evil\\x07");
    }
}
