//! A world of one's own for each command.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ballast::crypto::kdf;
use ballast::entropy::Surroundings;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast_cli::io::{Env, ErrOut, Io, Out, Prompt, Terminals};
use serde_json::Value;
use zeroize::Zeroizing;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Answers(Arc<Mutex<VecDeque<String>>>, Shared);

impl Prompt for Answers {
    fn ask(&mut self, text: &str) -> io::Result<Zeroizing<String>> {
        writeln!(self.1, "{text}")?;
        let answer = self.0.lock().unwrap().pop_front();
        answer.map(Zeroizing::new).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// How to run a command.
#[derive(Default)]
pub struct Command<'a> {
    pub env: Vec<(&'a str, String)>,
    pub answers: Vec<&'a str>,
    pub stdin: &'a [u8],
    /// Standard output is a terminal.
    pub screen: bool,
}

/// How it went.
pub struct Outcome {
    pub code: u8,
    pub out: String,
    pub err: String,
    pub unasked: usize,
}

impl Outcome {
    /// Standard output as the one JSON object it must be.
    pub fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "stdout {:?}, stderr {:?}", self.out, self.err);
        lines.remove(0)
    }

    /// Standard output as objects, one a line; the last one says how it ended.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = objects(&self.out);
        let (last, before) = lines.split_last().unwrap_or_else(|| panic!("stderr {:?}", self.err));
        let end = |line: &Value| line["message_type"] == "summary" || line["message_type"] == "error";
        assert!(end(last) && !before.iter().any(end), "{}", self.out);
        lines
    }

    /// Standard error as objects, one a line.
    pub fn err_lines(&self) -> Vec<Value> {
        objects(&self.err)
    }
}

fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?} in {text:?}"));
        assert!(value["message_type"].is_string(), "{line}");
        value
    };
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(object).collect()
}

impl<'a> Command<'a> {
    /// In a repository, with a password in the environment.
    pub fn at(repo: &Path, password: &str) -> Self {
        let env = vec![
            ("BALLAST_REPOSITORY", repo.to_str().unwrap().to_owned()),
            ("BALLAST_PASSWORD", password.to_owned()),
        ];
        Self { env, ..Self::default() }
    }

    pub fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    pub fn on_screen(mut self) -> Self {
        self.screen = true;
        self.with("NO_COLOR", "1")
    }

    pub fn run<A: AsRef<OsStr>>(self, args: &[A]) -> Outcome {
        let (out, err) = (Shared::default(), Shared::default());
        let answers =
            Arc::new(Mutex::new(self.answers.iter().map(|a| (*a).to_owned()).collect::<VecDeque<_>>()));
        let mut io = Io {
            out: Out::new(out.clone()),
            err: ErrOut::new(err.clone()),
            stdin: Box::new(Cursor::new(self.stdin.to_vec())),
            prompt: Box::new(Answers(answers.clone(), err.clone())),
            terminals: Terminals {
                stdin: !self.answers.is_empty(),
                stdout: self.screen,
                ..Terminals::default()
            },
            env: self.env.into_iter().collect::<Env>(),
            cwd: Some(std::env::temp_dir()),
            zone: ballast_cli::io::utc(),
            surroundings: Surroundings::system(),
            stop: Arc::default(),
            owns_process: false,
        };
        let args = args.iter().map(|arg| arg.as_ref().to_owned());
        let code = ballast_cli::run(std::iter::once("ballast".into()).chain(args), &mut io);
        let unasked = answers.lock().unwrap().len();
        Outcome { code, out: out.text(), err: err.text(), unasked }
    }
}

/// Without a repository and without a password.
pub fn bare(args: &[&str]) -> Outcome {
    Command::default().run(args)
}

/// A new repository whose password is quickly tried: for tests of many commands.
pub fn quick(place: &Path, password: &str) -> Repository {
    let store = Arc::new(LocalStore::new(place).unwrap());
    let options = InitOptions { kdf: kdf::CHEAP, label: "first".into(), ..InitOptions::default() };
    let open = OpenOptions { cache_dir: None, ..OpenOptions::default() };
    Repository::init(store, password.as_bytes(), &options, &open, Surroundings::system()).unwrap()
}

/// A safetensors file of vectors of bytes: name, length, content.
pub fn safetensors(tensors: &[(String, usize, Vec<u8>)]) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, len, content) in tensors {
        let begin = data.len();
        data.extend_from_slice(content);
        let place = serde_json::json!({ "dtype": "U8", "shape": [len], "data_offsets": [begin, data.len()] });
        map.insert(name.clone(), place);
    }
    let mut header = Value::Object(map).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}
