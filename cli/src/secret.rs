//! Passwords: from a file, a command, the environment, or the person at the
//! terminal. Never from an argument, which every user of the machine can read.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::{Zeroize, Zeroizing};

use crate::exit::Failure;
use crate::hint;
use crate::io::Io;

/// Longer than any password; a model file given by mistake is not read whole.
const MAX_BYTES: u64 = 64 << 10;

/// How often a person may try.
pub const TRIES: usize = 3;

/// Bytes that are wiped when dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// Where a password came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A command.
    Command,
    /// A variable of the environment.
    Variable(&'static str),
    /// The person.
    Prompt,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Command => f.write_str("the password command"),
            Self::Variable(name) => f.write_str(name),
            Self::Prompt => f.write_str("the prompt"),
        }
    }
}

/// The options and variables of one password.
#[derive(Debug, Clone, Copy)]
pub struct Ways<'a> {
    /// `--password-file`.
    pub file: Option<&'a Path>,
    /// `--password-command`.
    pub command: Option<&'a str>,
    /// Its variable, and those of file and command.
    pub variables: [&'static str; 3],
}

/// Variables of the repository's password.
pub const VARIABLES: [&str; 3] = ["BALLAST_PASSWORD", "BALLAST_PASSWORD_FILE", "BALLAST_PASSWORD_COMMAND"];
/// Variables of a password to be set.
pub const NEW_VARIABLES: [&str; 3] =
    ["BALLAST_NEW_PASSWORD", "BALLAST_NEW_PASSWORD_FILE", "BALLAST_NEW_PASSWORD_COMMAND"];

/// The password, if it can be had without asking. Options go before variables.
pub fn given(ways: Ways<'_>, io: &Io) -> Result<Option<(Password, Source)>, Failure> {
    if let Some(path) = ways.file {
        return from_file(path).map(Some);
    }
    if let Some(command) = ways.command {
        return from_command(command.into()).map(Some);
    }
    let [word, file, command] = ways.variables;
    let set: Vec<_> = ways.variables.into_iter().filter(|v| io.env.get(v).is_some()).collect();
    if let [one, other, ..] = set[..] {
        return Err(Failure::usage(format!("both {one} and {other} are set"), "unset all but one of them"));
    }
    if let Some(path) = io.env.get(file) {
        return from_file(Path::new(&path)).map(Some);
    }
    if let Some(command) = io.env.get(command) {
        return from_command(command).map(Some);
    }
    match io.env.get(word) {
        Some(value) => Ok(Some((Zeroizing::new(value.into_vec()), Source::Variable(word)))),
        None if io.env.is_set(word) => Err(empty(&Source::Variable(word))),
        None => Ok(None),
    }
}

fn from_file(path: &Path) -> Result<(Password, Source), Failure> {
    let source = Source::File(path.to_owned());
    let read = File::open(path).and_then(bounded);
    let bytes = read.map_err(|e| {
        let cure = hint::of_system(&e).unwrap_or(hint::NO_PASSWORD);
        Failure::usage(format!("cannot read the password from {}: {e}", path.display()), cure)
    })?;
    whole(bytes, source)
}

fn from_command(command: OsString) -> Result<(Password, Source), Failure> {
    let failed = |what: String| {
        Failure::usage(format!("the password command {what}"), "run it by hand and see what it prints")
    };
    let child = Command::new("/bin/sh").arg("-c").arg(command).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| failed(format!("cannot be run: {e}")))?;
    let stdout = child.stdout.take().map(bounded).transpose();
    let status = child.wait().map_err(|e| failed(format!("was lost: {e}")))?;
    let bytes = stdout.map_err(|e| failed(format!("cannot be read: {e}")))?.unwrap_or_default();
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    whole(bytes, Source::Command)
}

fn bounded(reader: impl Read) -> std::io::Result<Password> {
    // Of its full size from the start, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn whole(mut bytes: Password, source: Source) -> Result<(Password, Source), Failure> {
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{source} holds more than {MAX_BYTES} bytes: that is no password");
        return Err(Failure::usage(message, hint::NO_PASSWORD));
    }
    strip_line_end(&mut bytes);
    if bytes.is_empty() { Err(empty(&source)) } else { Ok((bytes, source)) }
}

fn strip_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

fn empty(source: &Source) -> Failure {
    Failure::usage(format!("the password from {source} is empty"), hint::NO_PASSWORD)
}

/// Asks once.
pub fn ask(io: &mut Io, text: &str) -> Result<Password, Failure> {
    if !io.terminals.stdin {
        return Err(Failure::usage(
            "no password was given, and there is no terminal to ask for one",
            hint::NO_PASSWORD,
        ));
    }
    let mut line = io
        .prompt
        .ask(text)
        .map_err(|e| Failure::usage(format!("cannot ask for a password: {e}"), hint::NO_PASSWORD))?;
    let password = Zeroizing::new(line.as_bytes().to_vec());
    line.zeroize();
    Ok(password)
}

/// Asks for a new password until it was typed twice alike.
pub fn ask_twice(io: &mut Io, text: &str) -> Result<Password, Failure> {
    for _ in 0..TRIES {
        let first = ask(io, text)?;
        if first.is_empty() {
            io.err.line("An empty password protects nothing; try again.");
            continue;
        }
        if *ask(io, "Once more: ")? == *first {
            return Ok(first);
        }
        io.err.line("They differ; try again.");
    }
    Err(Failure::usage("no password was typed twice alike", hint::NO_PASSWORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_stripped() {
        for (text, password) in
            [("a\n", "a"), ("a", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("\n", "")]
        {
            let mut bytes = text.as_bytes().to_vec();
            strip_line_end(&mut bytes);
            assert_eq!(bytes, password.as_bytes());
        }
    }

    #[test]
    fn a_command_is_run_by_the_shell() {
        let (password, source) = from_command("printf 'a b\\nc' | head -1".into()).unwrap();
        assert_eq!((&password[..], source), (&b"a b"[..], Source::Command));
        assert!(from_command("echo x; exit 3".into()).unwrap_err().message.contains("exit status: 3"));
        assert!(from_command("true".into()).unwrap_err().message.contains("empty"));
        assert!(from_command("yes".into()).is_err(), "an endless one ends");
    }
}
