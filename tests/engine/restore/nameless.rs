//! A short file in a directory that the restore made itself is written before it has any name: what comes
//! under its name meanwhile, and a system that gives it none, change nothing about the outcome.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ballast::op::restore::{self, Overwrite, REFUSES_LINKS, RestoreOptions};
use ballast::progress::{Progress, Silent};

use crate::build::*;
use crate::compare::same;
use crate::resume::leftovers;

/// Puts a file of theirs under a name when the first bytes were written, and sees what else is there.
struct Meddler {
    dir: PathBuf,
    name: &'static str,
    done: AtomicBool,
    temporary: AtomicU64,
}

impl Meddler {
    fn new(dir: &Path, name: &'static str) -> Self {
        let (done, temporary) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { dir: dir.to_owned(), name, done, temporary }
    }
}

impl Progress for Meddler {
    fn advance(&self, _files: u64, bytes: u64) {
        if bytes > 0 && !self.done.swap(true, Ordering::SeqCst) {
            self.temporary.store(leftovers(&self.dir).len() as u64, Ordering::SeqCst);
            fs::write(self.dir.join(self.name), "theirs").unwrap();
        }
    }
}

fn specs() -> Vec<Spec> {
    vec![dir(b"d", vec![file(b"f", b"what was stored").mode(0o640), file(b"g", b"")])]
}

#[test]
fn what_comes_under_its_name_meanwhile_is_replaced_or_left() {
    for (overwrite, wanted) in [(Overwrite::Always, &b"what was stored"[..]), (Overwrite::Never, b"theirs")] {
        let vault = Vault::new();
        let id = vault.snapshot(&specs());
        let (_keep, target) = place();
        let below = target.join("d");
        let meddler = Meddler::new(&below, "f");
        let options = RestoreOptions { overwrite, threads: 1, ..to(id, &target) };
        let report = restore::run(&vault.repo, &options, &meddler).unwrap();
        assert!(meddler.done.load(Ordering::SeqCst));
        assert_eq!(report.problems, []);
        assert_eq!(fs::read(below.join("f")).unwrap(), wanted, "{overwrite:?}");
        assert!(leftovers(&below).is_empty());
        if overwrite == Overwrite::Always {
            same(&specs(), &target);
        }
    }
}

/// Without the right to name them, files have temporary names from the first, but for the first of each thread.
#[test]
fn a_system_that_gives_no_names_afterwards() {
    let vault = Vault::new();
    let files = |n: u64| (0..n).map(|i| file(format!("f{i}").as_bytes(), &noise(i, 3000 + 97 * i as usize)));
    let specs = vec![dir(b"d", files(40).collect()), dir(b"e", files(3).collect())];
    let id = vault.snapshot(&specs);
    for refuses in [true, false] {
        let (_keep, target) = place();
        REFUSES_LINKS.store(refuses, Ordering::SeqCst);
        let report = restore::run(&vault.repo, &to(id, &target), &Silent);
        REFUSES_LINKS.store(false, Ordering::SeqCst);
        assert_eq!(report.unwrap().problems, []);
        same(&specs, &target);
        for below in ["d", "e"] {
            assert!(leftovers(&target.join(below)).is_empty());
        }
    }
}

/// Where something may have been before, an interrupted run may have left a beginning: there all have names.
#[test]
fn in_a_directory_that_was_there_it_has_a_name() {
    let vault = Vault::new();
    let id = vault.snapshot(&specs());
    let (_keep, target) = place();
    let below = target.join("d");
    fs::create_dir(&below).unwrap();
    let meddler = Meddler::new(&below, "other");
    restore::run(&vault.repo, &RestoreOptions { threads: 1, ..to(id, &target) }, &meddler).unwrap();
    assert_eq!(meddler.temporary.load(Ordering::SeqCst), 1);
    assert_eq!(fs::read(below.join("f")).unwrap(), b"what was stored");
}
