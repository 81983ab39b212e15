//! Everything a command touches outside of the engine, passed in: streams,
//! environment, terminals, the person at the keyboard.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ballast::entropy::Surroundings;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

/// Variables of the environment. One that is set to nothing counts as not set.
#[derive(Debug, Clone, Default)]
pub struct Env(HashMap<OsString, OsString>);

impl Env {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(OsString::from(name).as_os_str()).filter(|v| !v.is_empty()).cloned()
    }

    /// The value of `name`, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|v| v.to_string_lossy().into_owned())
    }

    /// Is it set, be it to nothing?
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(OsString::from(name).as_os_str())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// Asks for a password without showing it.
pub trait Prompt {
    /// Shows `text`, reads a line.
    fn ask(&mut self, text: &str) -> io::Result<Zeroizing<String>>;
}

struct Terminal;

impl Prompt for Terminal {
    fn ask(&mut self, text: &str) -> io::Result<Zeroizing<String>> {
        rpassword::prompt_password(text).map(Zeroizing::new)
    }
}

/// Standard output. Remembers that its reader has gone: that is no failure
/// (`ballast ls latest | head`).
pub struct Out {
    inner: Box<dyn Write + Send>,
    /// Nobody reads any more.
    pub broken: bool,
    /// Any other failure, the first of them.
    pub failure: Option<String>,
}

impl Out {
    /// Over any writer.
    pub fn new(inner: impl Write + Send + 'static) -> Self {
        Self { inner: Box::new(inner), broken: false, failure: None }
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.broken = true,
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                self.failure.get_or_insert_with(|| e.to_string());
            }
            _ => {}
        }
        result
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.watch(result)
    }
}

/// Standard error, shared with threads that report progress. It cannot fail: where
/// would one say so?
#[derive(Clone)]
pub struct ErrOut(Arc<Mutex<dyn Write + Send>>);

impl ErrOut {
    /// Over any writer.
    pub fn new(inner: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Writes `text` and a line end in one go.
    pub fn line(&self, text: &str) {
        self.raw(&format!("{text}\n"));
    }

    /// Writes `text` as it is.
    pub fn raw(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(|e| e.into_inner());
        drop(inner.write_all(text.as_bytes()).and_then(|()| inner.flush()));
    }
}

/// Which streams are terminals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminals {
    /// Standard input: somebody can be asked.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error: progress is drawn.
    pub stderr: bool,
}

/// All of it.
pub struct Io {
    /// Standard output.
    pub out: Out,
    /// Standard error.
    pub err: ErrOut,
    /// Standard input.
    pub stdin: Box<dyn Read + Send>,
    /// The person.
    pub prompt: Box<dyn Prompt>,
    /// What is a terminal.
    pub terminals: Terminals,
    /// Environment.
    pub env: Env,
    /// Where relative paths begin; `None` if that directory has gone.
    pub cwd: Option<PathBuf>,
    /// Local time zone.
    pub zone: TimeZone,
    /// Clock and randomness.
    pub surroundings: Surroundings,
    /// Set when the user asks to stop.
    pub stop: Arc<AtomicBool>,
    /// May signals be caught and logs started? True once in a process.
    pub owns_process: bool,
}

impl Io {
    /// This process's own.
    pub fn system() -> Self {
        Self {
            out: Out::new(BufWriter::with_capacity(64 << 10, io::stdout())),
            err: ErrOut::new(io::stderr()),
            stdin: Box::new(io::stdin()),
            prompt: Box::new(Terminal),
            terminals: Terminals {
                stdin: io::stdin().is_terminal(),
                stdout: io::stdout().is_terminal(),
                stderr: io::stderr().is_terminal(),
            },
            env: std::env::vars_os().collect(),
            cwd: std::env::current_dir().ok(),
            zone: TimeZone::system(),
            surroundings: Surroundings::system(),
            stop: Arc::default(),
            owns_process: true,
        }
    }
}

/// A time zone that is the same everywhere.
pub fn utc() -> TimeZone {
    TimeZone::UTC
}
