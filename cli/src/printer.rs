//! One place decides what is said, where and how: data and results on standard
//! output, all else on standard error; quiet, JSON, colour.
//!
//! With `--json` every line on either stream is one object with a `message_type`, and the last
//! one on standard output is `summary` or `error` (`docs/json.md`).

use std::io::Write;

use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::gentle::Limits;
use crate::hint;
use crate::io::{ErrOut, Io, Out};
use crate::json;
use crate::output::safe;
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

/// What is said on standard error: `word: message`, or a line of JSON.
#[derive(Clone)]
pub struct Voice {
    err: ErrOut,
    style: Style,
    /// Every line is one object.
    pub json: bool,
}

impl Voice {
    /// One that speaks to programs.
    #[cfg(test)]
    pub fn programs(err: ErrOut) -> Self {
        Self { err, style: Style::default(), json: true }
    }

    /// `word: message`. The words are `error`, `warning`, `problem`, `note`.
    pub fn tell(&self, word: &str, message: &str) {
        if self.json {
            let mut object = Map::new();
            object.insert("message".into(), message.into());
            self.object(word, object);
        } else {
            self.err.line(&format!("{} {}", self.style.word(word), safe(message)));
        }
    }

    /// One object, whose `message_type` is `word`.
    pub fn object(&self, word: &str, object: Map<String, Value>) {
        self.err.line(&json::line(word, object.into()));
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
    /// The final object of `--json` is out.
    json_done: bool,
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

    /// What speaks on standard error.
    pub fn voice(&self) -> Voice {
        Voice { err: self.io.err.clone(), style: self.err_style(), json: self.global.json }
    }

    /// Something to know, on standard error; not with `--quiet`.
    pub fn note(&self, message: &str) {
        if !self.global.quiet {
            self.voice().tell("note", message);
        }
    }

    /// Something to mind, on standard error, always.
    pub fn warn(&self, message: &str) {
        self.voice().tell("warning", message);
    }

    /// The final object of `--json`, a `summary`. Moments and names become what `docs/json.md` says.
    pub fn json(&mut self, value: &Value) {
        self.json_done = true;
        let line = json::line("summary", value.clone());
        if self.json_to_err { self.io.err.line(&line) } else { self.data(&line) }
    }

    /// The same of a verb's report.
    pub fn report(&mut self, report: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(report).map_err(|e| Failure::failed(e.to_string()))?;
        self.json(&value);
        Ok(())
    }

    /// Tells how it ended and gives the exit code.
    pub fn finish(mut self, outcome: Result<Exit, Failure>) -> Exit {
        let exit = match outcome {
            // Whoever read this had enough.
            Err(_) if self.io.out.broken => return Exit::Done,
            Err(mut failure) => {
                // Whichever hand wrote there.
                if let Some(reason) =
                    self.io.out.failure.as_ref().filter(|why| failure.message.ends_with(*why))
                {
                    failure = unwritten(reason);
                }
                let told = |place: &&String| failure.of_store && !failure.message.contains(*place);
                if let Some(place) = self.place.as_ref().filter(told) {
                    failure.message = format!("{place}: {}", failure.message);
                }
                self.fail(&failure)
            }
            Ok(exit) => exit,
        };
        drop(self.io.out.flush());
        match self.io.out.failure.take() {
            Some(error) if exit == Exit::Done => {
                self.json_done = true;
                self.fail(&unwritten(&error))
            }
            _ => exit,
        }
    }

    fn fail(&mut self, failure: &Failure) -> Exit {
        let out = (!self.json_done && !self.json_to_err).then_some(&mut self.io.out);
        if self.global.json {
            json_error(out, &self.io.err, failure);
            return failure.exit;
        }
        drop(self.io.out.flush());
        self.voice().tell("error", &failure.message);
        if let Some(hint) = &failure.hint {
            let columns = if self.io.terminals.stderr { 72 } else { usize::MAX };
            let lines = wrap(&safe(hint), columns);
            self.io.err.line(&format!("{} {}", self.err_style().word("hint"), lines.join("\n      ")));
        }
        failure.exit
    }
}

/// An error on both streams: who reads only one of them learns of it.
fn json_error(out: Option<&mut Out>, err: &ErrOut, failure: &Failure) {
    let mut object = Map::new();
    object.insert("message".into(), failure.message.as_str().into());
    object.insert("hint".into(), failure.hint.as_deref().into());
    object.insert("exit_code".into(), failure.exit.code().into());
    let line = json::line("error", object.into());
    if let Some(out) = out {
        // A failure is kept by `Out`, and there is another one to tell.
        drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    }
    err.line(&line);
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
        json_error(Some(&mut io.out), &io.err, &Failure::usage(words.join(" "), "see `ballast --help`"));
        return Exit::Usage;
    }
    io.err.raw(&text);
    Exit::Usage
}

/// Standard output refused what it was given.
fn unwritten(reason: &str) -> Failure {
    Failure::failed(format!("cannot write to standard output: {reason}")).with_hint(hint::OUTPUT)
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
