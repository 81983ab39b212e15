//! One place decides what is said, where and how: data and results on standard
//! output, all else on standard error; quiet, JSON, colour.

use std::io::Write;

use clap::error::ErrorKind;
use serde_json::{Map, Value};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::gentle::Limits;
use crate::io::{ErrOut, Io};
use crate::output::{safe, safe_json};
use crate::table::width;

/// Colours of words; none unless a terminal reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style(bool);

impl Style {
    fn new(io: &Io, terminal: bool) -> Self {
        let dumb = io.env.text("TERM").is_some_and(|t| t == "dumb");
        Self(terminal && !dumb && io.env.get("NO_COLOR").is_none())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A word that opens a line: `error`, `fault`, `warning`, `problem`, `note`, `hint`.
    pub fn word(self, word: &str) -> String {
        let code = match word {
            "error" | "fault" => "1;31",
            "warning" | "problem" => "1;33",
            "hint" => "36",
            _ => "1",
        };
        self.paint(code, &format!("{word}:"))
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// What every verb gets: the world, the global options, and ways to speak.
pub struct Printer<'a> {
    /// The world.
    pub io: &'a mut Io,
    /// Options of all verbs.
    pub global: Global,
    /// Where the repository is, once that is known.
    pub place: Option<String>,
    /// How fast to go.
    pub limits: Limits,
    style: Style,
    json_to_err: bool,
    /// The final object of `--json` is out, or on its way piece by piece.
    pub json_done: bool,
}

impl<'a> Printer<'a> {
    /// `json_to_err`: standard output is a file's content, so the report goes elsewhere.
    pub fn new(io: &'a mut Io, global: Global, json_to_err: bool) -> Self {
        let style = Style::new(io, io.terminals.stdout);
        let limits = Limits::new(&global, io);
        Self { io, global, place: None, limits, style, json_to_err, json_done: false }
    }

    /// Colours of standard output.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Colours of standard error.
    pub fn err_style(&self) -> Style {
        Style::new(self.io, self.io.terminals.stderr)
    }

    /// A line of what was asked for. It holds nothing unsafe: [`crate::output`] made it.
    pub fn data(&mut self, line: &str) {
        // A failure is kept by `Out` and told at the end.
        drop(writeln!(self.io.out, "{line}"));
    }

    /// A line of a summary: not with `--quiet` or `--json`.
    pub fn say(&mut self, line: &str) {
        if !self.global.quiet && !self.global.json {
            self.data(line);
        }
    }

    /// Something to know, on standard error; not with `--quiet`.
    pub fn note(&self, message: &str) {
        if !self.global.quiet {
            tell(&self.io.err, self.err_style(), "note", message);
        }
    }

    /// Something to mind, on standard error, always.
    pub fn warn(&self, message: &str) {
        tell(&self.io.err, self.err_style(), "warning", message);
    }

    /// The final object of `--json`.
    pub fn json(&mut self, value: &Value) {
        let text = safe_json(&value.to_string());
        self.json_done = true;
        if self.json_to_err { self.io.err.line(&text) } else { self.data(&text) }
    }

    /// Tells how it ended and gives the exit code.
    pub fn finish(mut self, outcome: Result<Exit, Failure>) -> Exit {
        let exit = match outcome {
            // Whoever read this had enough.
            Err(_) if self.io.out.broken => return Exit::Done,
            Err(mut failure) => {
                if let Some(place) = self.place.as_ref().filter(|_| failure.of_store) {
                    failure.message = format!("{place}: {}", failure.message);
                }
                self.fail(&failure)
            }
            Ok(exit) => exit,
        };
        drop(self.io.out.flush());
        match self.io.out.failure.take() {
            Some(error) if exit == Exit::Done => {
                let failure = Failure::failed(format!("cannot write to standard output: {error}"));
                tell(&self.io.err, self.err_style(), "error", &failure.message);
                failure.exit
            }
            _ => exit,
        }
    }

    fn fail(&mut self, failure: &Failure) -> Exit {
        if self.global.json && !self.json_done {
            self.json(&Value::Object(error_json(failure)));
        }
        if !(self.global.json && self.json_to_err) {
            drop(self.io.out.flush());
            let style = self.err_style();
            tell(&self.io.err, style, "error", &failure.message);
            if let Some(hint) = &failure.hint {
                let columns = if self.io.terminals.stderr { 72 } else { usize::MAX };
                let lines = wrap(&safe(hint), columns);
                self.io.err.line(&format!("{} {}", style.word("hint"), lines.join("\n      ")));
            }
        }
        failure.exit
    }
}

/// `word: message` on standard error.
pub fn tell(err: &ErrOut, style: Style, word: &str, message: &str) {
    err.line(&format!("{} {}", style.word(word), safe(message)));
}

/// Breaks `text` between words, so that lines have at most `columns` where words allow it.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What `--json` says of an error.
pub fn error_json(failure: &Failure) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("error".into(), failure.message.as_str().into());
    object.insert("hint".into(), failure.hint.as_deref().into());
    object.insert("exit_code".into(), failure.exit.code().into());
    object
}

/// Help, version, or a command line that cannot be meant.
pub fn refuse_arguments(io: &mut Io, error: &clap::Error, json: bool) -> Exit {
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let terminal = if wanted { io.terminals.stdout } else { io.terminals.stderr };
    let rendered = error.render();
    let text = if Style::new(io, terminal).0 { rendered.ansi().to_string() } else { rendered.to_string() };
    if wanted {
        drop(io.out.write_all(text.as_bytes()).and_then(|()| io.out.flush()));
        return Exit::Done;
    }
    if json {
        let plain = rendered.to_string();
        let first = plain.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let words: Vec<_> = first.split_whitespace().collect();
        let value = Value::Object(error_json(&Failure::usage(words.join(" "), "see `ballast --help`")));
        drop(writeln!(io.out, "{}", safe_json(&value.to_string())).and_then(|()| io.out.flush()));
    }
    io.err.raw(&text);
    Exit::Usage
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_kept_whole() {
        assert_eq!(super::wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(super::wrap("one extraordinary", 5), ["one", "extraordinary"]);
        assert_eq!(super::wrap("one two", usize::MAX), ["one two"]);
    }
}
