//! `--delete`: what goes, and above all what stays.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ballast::error::{Error, ProblemKind};
use ballast::format::snapshot::ProblemV1;
use ballast::format::tree::MARK_INCOMPLETE;
use ballast::op::restore::{self, Overwrite, RestoreOptions, RestoreReport};
use ballast::progress::Silent;

use crate::build::*;
use crate::compare::{names, same};

fn tree() -> Vec<Spec> {
    vec![
        dir(b"d", vec![file(b"keep", b"keep"), dir(b"sub", vec![file(b"x", b"x")])]),
        file(b"f", b"f"),
        link(b"l", b"f"),
    ]
}

fn deleting(options: RestoreOptions) -> RestoreOptions {
    RestoreOptions { delete: true, ..options }
}

/// Dry, then in earnest: the same is named, and the first time nothing happens.
fn both(vault: &Vault, options: &RestoreOptions) -> RestoreReport {
    let before = names(&options.target);
    let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
    assert_eq!(names(&options.target), before);
    let report = vault.restore(options);
    let sorted = |r: &RestoreReport| r.deleted.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!((sorted(&dry), dry.deleted_count), (sorted(&report), report.deleted_count));
    assert_eq!(report.deleted.len() as u64, report.deleted_count);
    report
}

/// Puts files, and the directories above them.
fn put(target: &Path, paths: &[&str]) {
    for path in paths {
        let path = target.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "strange").unwrap();
    }
}

#[test]
fn what_the_snapshot_does_not_have_goes() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    let (_keep, place) = place();
    let (target, outside) = (place.join("target"), place.join("outside"));
    put(&outside, &["precious"]);
    put(&target, &["strange", "d/strange", "d/deep/er/still", "d/sub/y", "z/a/b", "z/c"]);
    symlink(&outside, target.join("way out")).unwrap();
    symlink(&outside, target.join("z/way out")).unwrap();
    fs::create_dir_all(target.join("f/in the way")).unwrap();
    put(&target, &["l/in the way", ".ballast-restore.0123456789abcdef0123456789abcdef"]);
    let report = both_but_in_the_way(&vault, &deleting(to(id, &target)));
    assert_eq!(report.problems, []);
    same(&tree(), &target);
    assert_eq!(names(&outside), ["precious".to_owned()].into());
    assert_eq!(vault.restore(&deleting(to(id, &target))).deleted_count, 0);
}

/// What makes way for a file is only counted when it is there.
fn both_but_in_the_way(vault: &Vault, options: &RestoreOptions) -> RestoreReport {
    let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
    let report = vault.restore(options);
    let gone: BTreeSet<_> = report.deleted.iter().collect();
    assert!(dry.deleted.iter().all(|path| gone.contains(path)), "{:?} {:?}", dry.deleted, gone);
    assert_eq!(report.deleted_count, 17, "{:?}", report.deleted);
    report
}

#[test]
fn patterns_say_what_may_go() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    let strange = ["s.tmp", "s.bin", "d/s.tmp", "d/s.bin", "d/new/s.tmp", "d/new/s.bin", "e/s.tmp"];
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["*.tmp"], &["s.bin", "d/s.bin", "d/new/s.bin"]),
        (&[], &["d/"], &["s.tmp", "s.bin", "e", "e/s.tmp"]),
        (&[], &["/d/new"], &["s.tmp", "s.bin", "d/s.tmp", "d/s.bin", "e", "e/s.tmp"]),
        // Directories of the snapshot in which nothing is wanted are not entered.
        (&["*.bin"], &[], &["s.bin"]),
        (&["d/*.tmp", "x"], &[], &["d/s.tmp", "d/new/s.tmp"][..1]),
        (&["/d"], &["*.bin"], &["d/s.tmp", "d/new/s.tmp"]),
        (&["/nothing"], &[], &[]),
    ];
    for (include, exclude, gone) in table {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let (_keep, target) = place();
        put(&target, &strange);
        let before = names(&target);
        let options = deleting(to(id, &target));
        let options = RestoreOptions { include: owned(include), exclude: owned(exclude), ..options };
        let report = both(&vault, &options);
        let gone: BTreeSet<_> = owned(gone).into_iter().collect();
        let now = names(&target);
        let left: BTreeSet<_> = before.difference(&now).cloned().collect();
        assert_eq!(
            (left, report.deleted_count),
            (gone.clone(), gone.len() as u64),
            "+{include:?} -{exclude:?}"
        );
    }
}

/// A directory of which the snapshot may not know all, by any of the ways in which that is recorded.
#[test]
fn nothing_goes_where_the_snapshot_is_not_sure() {
    use ballast::format::record::LostV1;
    let strange = ["d/strange", "d/sub/strange", "strange"];
    type Doubt = fn(&mut Vec<Spec>);
    let doubts: [(&str, Doubt, &[&str]); 4] = [
        ("unreadable", |specs| specs[0].node.marks = MARK_INCOMPLETE, &["d/strange"]),
        (
            "names lost",
            |specs| specs[0].node.mark_lost(LostV1 { ranges: Vec::new(), names: 2 }),
            &["d/strange"],
        ),
        ("a file lost", |specs| specs[0].children[0].node.mark_lost(LostV1::all(4)), &["d/strange"]),
        ("nothing", |_| {}, &[]),
    ];
    for (what, doubt, stay) in doubts {
        let vault = Vault::new();
        let mut specs = tree();
        doubt(&mut specs);
        let id = vault.snapshot(&specs);
        let (_keep, target) = place();
        put(&target, &strange);
        let report = both(&vault, &deleting(to(id, &target)));
        let now = names(&target);
        let left: Vec<_> = strange.into_iter().filter(|path| now.contains(*path)).collect();
        assert_eq!((&left[..], report.deleted_count), (stay, 3 - stay.len() as u64), "{what}");
    }
}

#[test]
fn problems_of_the_snapshot_keep_what_they_are_about() {
    let vault = Vault::new();
    let problem = |path: &[u8], kind| ProblemV1 { path: path.into(), kind: kind as u8, message: "".into() };
    let vanished = vec![problem(b"/d/gone", ProblemKind::Unreadable), problem(b"/x", ProblemKind::Changed)];
    let root = vec![problem(b"/gone", ProblemKind::Vanished)];
    let table = [
        (vanished.clone(), 2, vec!["d/strange"]),
        (vec![problem(b"/d", ProblemKind::Unreadable)], 1, vec!["d/strange", "strange"]),
        (root, 1, vec!["strange"]),
        (vanished, 3, vec!["d/strange", "d/sub/strange", "strange"]),
        (Vec::new(), 0, vec![]),
    ];
    for (problems, count, stay) in table {
        let id = vault.snapshot_with(&tree(), |snapshot| {
            snapshot.problem_count = count;
            snapshot.problems = problems;
        });
        let (_keep, target) = place();
        put(&target, &["d/strange", "d/sub/strange", "strange"]);
        both(&vault, &deleting(to(id, &target)));
        let now = names(&target);
        let left = ["d/strange", "d/sub/strange", "strange"];
        assert_eq!(left.into_iter().filter(|p| now.contains(*p)).collect::<Vec<_>>(), stay);
    }
}

/// What could not be restored keeps its directory as it was.
#[test]
fn nothing_goes_from_a_directory_with_a_problem() {
    let vault = Vault::new();
    let specs = vec![dir(b"d", vec![dir(b"sub", vec![file(b"x", b"x")]), file(b"f", b"f")])];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    put(&target, &["d/strange", "strange"]);
    // A link where a directory must be is refused.
    symlink("/", target.join("d/sub")).unwrap();
    let report = vault.restore(&deleting(to(id, &target)));
    assert_eq!((report.problem_count, report.deleted_count), (1, 1), "{report:?}");
    assert!(names(&target).contains("d/strange") && target.join("d/sub").is_symlink());
}

#[test]
fn logs_of_a_database_that_is_left_alone_stay() {
    let vault = Vault::new();
    let specs = vec![file(b"db", b"in the snapshot"), file(b"gone-wal", b"of nothing")];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let stamp = "before-restore-20260131T235959Z";
    let aside = [format!("db-wal.{stamp}"), format!("other-shm.{stamp}-2")];
    put(&target, &["db", "db-wal", "db-shm", "other", "other-journal", "lone-wal", &aside[0], &aside[1]]);
    let never = RestoreOptions { overwrite: Overwrite::Never, ..deleting(to(id, &target)) };
    both(&vault, &never);
    let left = ["db", "db-shm", "db-wal", "gone-wal", &aside[0], &aside[1]].map(str::to_owned);
    assert_eq!(names(&target), left.into());
}

#[test]
fn the_whole_machine_is_never_meant() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    for target in ["/", "//", "/proc/self/root", "/tmp/.."] {
        for dry_run in [true, false] {
            // Even if it were not refused, nothing would be written.
            let include = vec!["/nothing".to_owned()];
            let options =
                RestoreOptions { dry_run, include, overwrite: Overwrite::Never, ..to(id, Path::new(target)) };
            let done = restore::run(&vault.repo, &deleting(options), &Silent);
            assert!(matches!(done, Err(Error::Usage(_))), "{target}: {done:?}");
        }
    }
}

/// A whole snapshot is restored to a directory that has nothing of it: somebody forgot the path.
#[test]
fn a_directory_of_strangers_is_left_alone() {
    let vault = Vault::new();
    let id = vault.snapshot(&[dir(b"srv", vec![file(b"f", b"f")])]);
    let (_keep, target) = place();
    put(&target, &["models/a", "f"]);
    for dry_run in [true, false] {
        let options = RestoreOptions { dry_run, ..deleting(to(id, &target)) };
        let refused = restore::run(&vault.repo, &options, &Silent);
        assert!(matches!(&refused, Err(Error::Usage(what)) if what.contains("nothing of it")), "{refused:?}");
    }
    assert_eq!(names(&target).len(), 3);
    // With the path it is what was meant; and so it is where the snapshot lay before.
    let named = RestoreOptions { path: Some(b"/srv".to_vec()), ..to(id, &target) };
    assert_eq!(vault.restore(&deleting(named)).deleted_count, 2);
    fs::create_dir(target.join("srv")).unwrap();
    assert_eq!(vault.restore(&deleting(to(id, &target))).deleted_count, 1);
    assert_eq!(names(&target), ["srv", "srv/f"].map(str::to_owned).into());
}

/// A single file stands for no directory.
#[test]
fn beside_a_single_file_all_stays() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    let (_keep, target) = place();
    put(&target, &["strange"]);
    let options = RestoreOptions { path: Some(b"/d/keep".to_vec()), ..deleting(to(id, &target)) };
    assert_eq!(both(&vault, &options).deleted_count, 0);
    assert_eq!(names(&target), ["keep".to_owned(), "strange".to_owned()].into());
}

/// Where something is mounted: below a directory that goes, and in one that stays.
#[test]
#[cfg(target_os = "linux")]
fn nothing_goes_across_a_mount_point() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    let (_keep, place) = place();
    let (target, other) = (place.join("target"), place.join("other"));
    put(&other, &["precious"]);
    put(&target, &["z/m/x", "d/sub/strange", "d/strange"]);
    let mounts = [target.join("z/m"), target.join("d/sub")];
    // The same file system in another place: device numbers do not tell.
    let mount = |at: &Path| {
        let command = std::process::Command::new("mount").arg("--bind").args([&other, at]).output();
        command.is_ok_and(|out| out.status.success())
    };
    if !mounts.iter().all(|at| mount(at)) {
        mounts.iter().for_each(|at| drop(std::process::Command::new("umount").arg(at).output()));
        println!("skipped: nothing can be mounted here");
        return;
    }
    let dry = vault.restore(&RestoreOptions { dry_run: true, ..deleting(to(id, &target)) });
    let report = vault.restore(&deleting(to(id, &target)));
    let seen = names(&other);
    for at in &mounts {
        assert!(std::process::Command::new("umount").arg(at).output().unwrap().status.success());
    }
    assert_eq!(seen, ["precious".to_owned(), "x".to_owned()].into(), "x was restored, nothing was removed");
    assert_eq!(report.problems, []);
    assert_eq!((report.deleted_count, dry.deleted_count), (1, 1), "{:?}", report.deleted);
    assert!(target.join("z/m").is_dir());
}
