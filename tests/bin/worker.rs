//! A process that tests may stop and kill: `worker snapshot REPO CACHE SOURCE`,
//! `worker prune REPO CACHE` and `worker forget REPO CACHE NUMBER` with a cheap key and the clock of
//! the tests, or `worker memory BYTES`. A run that fails says why and ends with 1; a panic is none
//! of the ways in which it may end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ballast::error::Result;
use ballast::op::{prune, snapshot};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use support::{identity, of, open_at, world};

fn open(repo: &str, cache: &str) -> Result<Repository> {
    let options = OpenOptions {
        cache_dir: (!cache.is_empty()).then(|| PathBuf::from(cache)),
        identity: identity("here"),
        ..OpenOptions::default()
    };
    open_at(Arc::new(LocalStore::new(repo)?), &options)
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["snapshot", repo, cache, source] => {
            let report = snapshot::run(&open(repo, cache)?, &of(source), &Silent)?;
            assert_eq!(report.problems, []);
        }
        ["prune", repo, cache] => drop(prune::run(&open(repo, cache)?, &world::all(), &Silent)?),
        ["forget", repo, cache, number] => {
            let number = number.parse().expect("because tests give numbers");
            world::forget(&open(repo, cache)?, number)?;
        }
        ["memory", bytes] => support::memory::snapshot_of_generated_bytes(bytes.parse().unwrap()),
        _ => return Err(ballast::error::Error::Usage("no such work".into())),
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the parent process reads it")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
