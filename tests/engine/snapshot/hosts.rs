//! Two machines, each with a cache of its own, on one repository on a mounted disk; and one whose name is another
//! at each run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::op::snapshot::{self, SnapshotOptions, SnapshotReport};
use ballast::op::{check, prune};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use support::world::{all, forget};
use support::{PASSWORD, assert_same, bytes, identity, look, of, open_at, put, surroundings, tiny};

use super::temp;

struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        Repository::init(disk.store(), PASSWORD, &tiny(), &disk.options("maker"), surroundings()).unwrap();
        disk
    }

    fn store(&self) -> Arc<LocalStore> {
        Arc::new(LocalStore::new(self.dir.path().join("repo")).unwrap())
    }

    fn options(&self, host: &str) -> OpenOptions {
        OpenOptions {
            cache_dir: Some(self.dir.path().join(format!("cache of {host}"))),
            accept_older: false,
            identity: identity(host),
        }
    }

    fn open(&self, host: &str) -> Repository {
        open_at(self.store(), &self.options(host)).unwrap()
    }

    fn take(&self, host: &str, options: &SnapshotOptions) -> SnapshotReport {
        snapshot::run(&self.open(host), options, &Silent).unwrap()
    }
}

fn fill(top: &Path, seed: u64) {
    (0..6).for_each(|n| put(top.join(format!("d{}/f{n}", n % 2)), &bytes(seed + n, 40_000)));
}

#[test]
fn each_has_its_own_parent_and_what_one_stored_costs_the_other_nothing() {
    let (_dir, top) = temp();
    fill(&top, 1);
    let disk = Disk::new();
    let a1 = disk.take("a", &of(&top));
    let b1 = disk.take("b", &of(&top));
    let a2 = disk.take("a", &of(&top));
    let b2 = disk.take("b", &of(&top));
    assert_eq!((a2.parent, b2.parent), (a1.snapshot, b1.snapshot), "its own, though the other's is newer");
    assert_eq!((a2.parent_host, b2.parent_host), (None, None));
    // The directory for temporary files lies above: what others do there is its business.
    assert!(b1.new_bytes < 1000, "what a has stored is found by its content: {}", b1.new_bytes);
    assert_eq!((a2.files_unchanged, b2.files_unchanged), (6, 6));
}

#[test]
fn a_name_that_is_new_at_each_run_finds_a_parent_and_trusts_only_what_is_surely_the_same() {
    let (_dir, top) = temp();
    fill(&top, 1);
    let disk = Disk::new();
    let first = disk.take("4f1c", &of(&top));
    let second = disk.take("9a0e", &of(&top));
    assert_eq!((second.parent, second.parent_host.as_deref()), (first.snapshot, Some("4f1c")));
    let born = std::fs::metadata(top.join("d0/f0")).unwrap().created().is_ok();
    assert_eq!(second.files_unchanged, if born { 6 } else { 0 }, "{:?}", second.read_again);
    // Put anew with the same times: the same to whoever ignores inodes, but not to another host.
    let path = top.join("d0/f0");
    let old = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::remove_file(&path).unwrap();
    put(&path, &bytes(99, 40_000));
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let careless = SnapshotOptions { ignore_inode: true, ignore_ctime: true, ..of(&top) };
    let expected = look(&top);
    let third = disk.take("77aa", &careless);
    assert_eq!(third.files_changed, if born { 1 } else { 6 }, "{:?}", third.read_again);
    assert_same(&disk.open("77aa"), third.snapshot.unwrap(), &top, &expected);
    let given = SnapshotOptions { host: Some("4f1c".into()), ..of(&top) };
    assert_eq!(disk.take("beef", &given).parent, first.snapshot, "a host that was named is this host");
}

#[test]
fn both_write_at_once_and_one_prunes_and_each_cache_catches_up() {
    let (_dir, top) = temp();
    let disk = Disk::new();
    let trees: Vec<PathBuf> = ["a", "b"].map(|name| top.join(name)).to_vec();
    for round in 0..4 {
        // Half of it is the same on both.
        for (n, tree) in trees.iter().enumerate() {
            fill(tree, 100 * round);
            (0..4).for_each(|f| put(tree.join(format!("own{f}")), &bytes(round * 10 + n as u64, 70_000)));
        }
        let reports: Vec<SnapshotReport> = std::thread::scope(|scope| {
            let disk = &disk;
            let runs: Vec<_> = ["a", "b"]
                .into_iter()
                .zip(&trees)
                .map(|(host, tree)| scope.spawn(move || disk.take(host, &of(tree))))
                .collect();
            if round > 0 {
                // A third, who deletes what the first round left.
                let repo = disk.open("c");
                forget(&repo, 2).unwrap();
                prune::run(&repo, &all(), &Silent).unwrap();
            }
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        for ((host, tree), report) in ["a", "b"].into_iter().zip(&trees).zip(reports) {
            assert_eq!(report.problems, []);
            for reader in [host, "c"] {
                let counts = disk.open(reader).ledger(true).unwrap();
                if counts.committed().contains(&report.snapshot.unwrap()) {
                    assert_same(&disk.open(reader), report.snapshot.unwrap(), tree, &look(tree));
                }
            }
        }
    }
    let options = check::CheckOptions { read_data: true, ..check::CheckOptions::default() };
    assert_eq!(check::run(&disk.open("b"), &options, &Silent).unwrap().faults, []);
}
