//! A process that tests may kill: `worker snapshot REPO CACHE SOURCE` with a cheap key and the
//! clock of the tests, or `worker memory BYTES`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::OpenOptions;
use ballast::store::local::LocalStore;
use support::{identity, of, open_at};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["snapshot", repo, cache, source] => {
            let store = Arc::new(LocalStore::new(repo).unwrap());
            let options = OpenOptions {
                cache_dir: (!cache.is_empty()).then(|| PathBuf::from(cache)),
                identity: identity("here"),
                ..OpenOptions::default()
            };
            let repo = open_at(store, &options).unwrap();
            let report = snapshot::run(&repo, &of(source), &Silent).unwrap();
            assert_eq!(report.problems, []);
            ExitCode::SUCCESS
        }
        ["memory", bytes] => {
            support::memory::snapshot_of_generated_bytes(bytes.parse().unwrap());
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}
