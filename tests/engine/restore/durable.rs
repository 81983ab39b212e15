//! What bears its name and its time is on the disk, and what ends a restore leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballast::error::{Error, ProblemKind};
use ballast::op::restore::{self, FLUSHED_DEVICES, Overwrite, REFUSES_FLUSHES_OF, RestoreOptions};
use ballast::progress::{Progress, Silent};

use crate::build::*;
use crate::compare::same;
use crate::resume::leftovers;

/// No other test has a file of this length.
const LEN: usize = (9 << 20) + 77;

/// A disk that takes no byte of the new file: the old one stays, and nothing looks like what it is not.
#[test]
fn a_file_takes_its_name_and_time_when_it_is_on_the_disk() {
    let content = noise(1, LEN);
    let hole = vec![Seg::Data(noise(2, LEN - (2 << 20))), Seg::Hole(2 << 20)];
    let two = vec![file(b"whole", &content).chunked(1 << 20), sparse(b"sparse", hole).chunked(1 << 20)];
    let vault = Vault::new();
    let id = vault.snapshot(&two);
    for in_place in [false, true] {
        let (_keep, target) = place();
        for name in ["whole", "sparse"] {
            fs::write(target.join(name), vec![7; LEN]).unwrap();
        }
        let options = RestoreOptions { in_place, overwrite: Overwrite::IfChanged, ..to(id, &target) };
        REFUSES_FLUSHES_OF.store(LEN as u64, Ordering::SeqCst);
        let report = restore::run(&vault.repo, &options, &Silent).unwrap();
        REFUSES_FLUSHES_OF.store(u64::MAX, Ordering::SeqCst);
        assert_eq!((report.problem_count, report.files), (2, 0));
        for problem in &report.problems {
            assert_eq!(problem.kind, ProblemKind::Refused);
            assert!(problem.message.contains("cannot write the file"), "{}", problem.message);
            assert_eq!(problem.message.contains("in place and not whole"), in_place, "{}", problem.message);
        }
        assert!(leftovers(&target).is_empty());
        for spec in &two {
            let path = target.join(std::str::from_utf8(&spec.node.name).unwrap());
            assert!(in_place || fs::read(&path).unwrap() == vec![7; LEN], "the old one stays");
            let mtime = fs::metadata(&path).unwrap().mtime();
            assert_ne!(mtime, spec.node.mtime.secs, "nobody takes it for the file");
        }
        let report = restore::run(&vault.repo, &options, &Silent).unwrap();
        // What was written in place before was read again, and is right.
        assert_eq!((report.problem_count, report.files_skipped), (0, if in_place { 2 } else { 0 }));
        same(&two, &target);
    }
}

#[test]
fn every_file_system_that_was_written_to_is_flushed() {
    let vault = Vault::new();
    let specs = vec![dir(b"other", vec![dir(b"deep", vec![file(b"f", b"content")])]), file(b"g", b"content")];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let other = target.join("other");
    fs::create_dir(&other).unwrap();
    let mount = |command: &str, words: &[&str]| {
        let done = Command::new(command).args(words).arg(&other).output();
        done.is_ok_and(|output| output.status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
        return println!("skipped: nothing can be mounted here");
    }
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let wanted = BTreeSet::from([device(&target), device(&other)]);
    let report = restore::run(&vault.repo, &to(id, &target), &Silent);
    let was = fs::read(other.join("deep/f"));
    let flushed: BTreeSet<u64> = FLUSHED_DEVICES.lock().unwrap().iter().copied().collect();
    assert!(mount("umount", &[]), "nobody has anything of it open");
    assert_eq!((report.unwrap().problem_count, was.unwrap()), (0, b"content".to_vec()));
    assert_eq!(wanted.len(), 2);
    assert!(wanted.is_subset(&flushed), "{wanted:?} of {flushed:?}");
}

/// Panics while one file is written by a team, and another file, of another thread, is half written.
#[derive(Default)]
struct Panicking {
    begun: AtomicBool,
    fallen: AtomicBool,
}

/// The chunks of the file of a team; those of the other are longer.
const TEAM_CHUNK: usize = 1 << 20;

impl Progress for Panicking {
    fn advance(&self, _files: u64, bytes: u64) {
        let await_that = |what: &AtomicBool| {
            while !what.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        if bytes == TEAM_CHUNK as u64 {
            await_that(&self.begun);
            assert!(self.fallen.swap(true, Ordering::SeqCst), "on purpose");
        } else if bytes > 0 {
            self.begun.store(true, Ordering::SeqCst);
            await_that(&self.fallen);
            // The run is over in less.
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Nobody waits for one that panicked for ever, and what other threads were writing gives its room back.
#[test]
fn a_failure_elsewhere_leaves_no_half_files() {
    let vault = Vault::new();
    let alone = file(b"alone", &noise(1, 7 << 20)).chunked(TEAM_CHUNK + 1);
    let together = file(b"together", &noise(2, 20 << 20)).chunked(TEAM_CHUNK);
    let id = vault.snapshot(&[alone, together]);
    for threads in [2, 4] {
        let (_keep, target) = place();
        let options = RestoreOptions { threads, ..to(id, &target) };
        let done = restore::run(&vault.repo, &options, &Panicking::default());
        assert!(matches!(done, Err(Error::Internal(_))), "{done:?}");
        assert!(leftovers(&target).is_empty(), "{:?}", leftovers(&target));
    }
}
