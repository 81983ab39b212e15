//! An interrupted restore goes on where it was, and trusts nothing for being there.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::Error;
use ballast::op::restore::{self, RestoreOptions};
use ballast::progress::{Progress, Silent};

use crate::build::*;
use crate::compare::same;

/// Asks to stop after so many bytes.
pub struct StopAfter {
    pub bytes: u64,
    pub seen: AtomicU64,
}

impl Progress for StopAfter {
    fn advance(&self, _files: u64, bytes: u64) {
        self.seen.fetch_add(bytes, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.bytes
    }
}

pub fn interrupt(vault: &Vault, options: &RestoreOptions, bytes: u64) {
    let progress = StopAfter { bytes, seen: AtomicU64::new(0) };
    let done = restore::run(&vault.repo, options, &progress);
    assert!(matches!(done, Err(Error::Interrupted)), "{done:?}");
}

pub fn leftovers(target: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(target).unwrap().map(|e| e.unwrap().path());
    paths.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(".ballast")).collect()
}

const MIB: u64 = 1 << 20;

fn specs() -> Vec<Spec> {
    vec![
        file(b"large", &noise(1, 20 << 20)).chunked(1 << 20),
        sparse(
            b"sparse",
            vec![Seg::Data(noise(2, 6 << 20)), Seg::Hole(9 << 20), Seg::Data(noise(3, 3 << 20))],
        )
        .chunked(1 << 20),
    ]
}

#[test]
fn what_was_written_is_taken_over() {
    for threads in [1, 3] {
        let vault = Vault::new();
        let specs = specs();
        let id = vault.snapshot(&specs);
        let (_keep, target) = place();
        let options = RestoreOptions { threads, ..to(id, &target) };
        interrupt(&vault, &options, 12 * MIB);
        assert!(!target.join("large").exists(), "half a file never has its name");
        assert!((1..=threads).contains(&leftovers(&target).len()));
        let report = vault.restore(&options);
        assert!(report.bytes_resumed >= 12 * MIB, "{} bytes resumed", report.bytes_resumed);
        assert_eq!(report.bytes + report.bytes_resumed, 38 * MIB);
        same(&specs, &target);
    }
}

#[test]
fn an_interruption_anywhere_is_survived() {
    let vault = Vault::new();
    let mut specs = specs();
    specs.push(dir(b"dir", (0..50).map(|n| file(format!("{n}").as_bytes(), &noise(n, 70_000))).collect()));
    specs.push(file(b"linked 1", &noise(5, 9 << 20)).hard(1, 2));
    specs.push(file(b"linked 2", &noise(5, 9 << 20)).hard(1, 2));
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    for part in 0..12 {
        interrupt(&vault, &to(id, &target), part * 3 * MIB);
    }
    assert_eq!(vault.restore(&to(id, &target)).problems, []);
    same(&specs, &target);
}

#[test]
fn a_corrupted_leftover_is_not_trusted() {
    let vault = Vault::new();
    let specs = specs();
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    interrupt(&vault, &RestoreOptions { threads: 1, ..to(id, &target) }, 12 * MIB);
    let left = &leftovers(&target)[0];
    let file = fs::File::options().write(true).open(left).unwrap();
    for at in [0, 5 * MIB + 17] {
        file.write_all_at(&[0xa5; 16], at).unwrap();
    }
    file.set_len(30 * MIB).unwrap();
    let report = vault.restore(&to(id, &target));
    assert_eq!(report.bytes_resumed, 10 * MIB, "two chunks were spoilt");
    same(&specs, &target);
}

#[test]
fn rubbish_in_the_holes_of_a_leftover_goes() {
    let vault = Vault::new();
    let specs = vec![specs().remove(1)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    interrupt(&vault, &to(id, &target), 2 * MIB);
    let left = &leftovers(&target)[0];
    let file = fs::File::options().write(true).open(left).unwrap();
    file.write_all_at(&[0xa5; 1 << 20], 8 * MIB).unwrap();
    vault.restore(&to(id, &target));
    same(&specs, &target);
}

#[test]
fn a_leftover_of_another_snapshot_is_only_raw_material() {
    let vault = Vault::new();
    let old = vault.snapshot(&specs());
    let mut bytes = noise(1, 20 << 20);
    bytes.truncate(15 << 20);
    bytes[0] ^= 1;
    let newer = vec![file(b"large", &bytes).chunked(1 << 20)];
    let new = vault.snapshot(&newer);
    let (_keep, target) = place();
    interrupt(&vault, &RestoreOptions { threads: 1, ..to(old, &target) }, 12 * MIB);
    let report = vault.restore(&to(new, &target));
    assert_eq!(report.bytes_resumed, 11 * MIB);
    same(&newer, &target);
}

#[test]
fn what_another_restore_writes_is_left_to_it() {
    let vault = Vault::new();
    let old = vault.snapshot(&specs());
    let newer = vec![file(b"large", &noise(9, 20 << 20)).chunked(1 << 20)];
    let new = vault.snapshot(&newer);
    let (_keep, target) = place();
    interrupt(&vault, &RestoreOptions { threads: 1, ..to(old, &target) }, 12 * MIB);
    let left = &leftovers(&target)[0];
    let before = fs::read(left).unwrap();
    // As the one that is writing it has it.
    let other = fs::File::options().write(true).open(left).unwrap();
    other.lock().unwrap();
    let report = vault.restore(&to(new, &target));
    let told: Vec<_> = report.problems.iter().map(|p| (p.path.as_str(), p.message.as_str())).collect();
    assert_eq!(told, [("/large", "another restore is writing it")]);
    assert!(fs::read(left).unwrap() == before, "nothing was written to it");
    drop(other);
    assert_eq!(vault.restore(&to(new, &target)).problems, []);
    same(&newer, &target);
}

#[test]
fn two_restores_at_once_into_one_target_never_mix() {
    let vault = Vault::new();
    let sets = [1, 2].map(|seed| vec![file(b"large", &noise(seed, 20 << 20)).chunked(1 << 20)]);
    let ids = sets.each_ref().map(|set| vault.snapshot(set));
    for _ in 0..5 {
        let (_keep, target) = place();
        let reports = std::thread::scope(|scope| {
            let both = ids.map(|id| (&vault, to(id, &target))).map(|(vault, options)| {
                scope.spawn(move || restore::run(&vault.repo, &options, &Silent).expect("a problem at most"))
            });
            both.map(|thread| thread.join().unwrap())
        });
        assert!(reports.iter().any(|report| report.problems.is_empty()), "{reports:?}");
        let got = fs::read(target.join("large")).unwrap();
        let whole = [1, 2].iter().any(|seed| got == noise(*seed, 20 << 20));
        assert!(whole, "the file is that of one snapshot");
        assert_eq!(leftovers(&target), Vec::<PathBuf>::new());
    }
}
