//! What is asked for, and what is left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ballast::error::Error;
use ballast::op::restore::{self, Overwrite, RestoreOptions};
use ballast::progress::Silent;

use crate::build::*;
use crate::compare::{names, same};

fn tree() -> Vec<Spec> {
    vec![
        dir(
            b"home",
            vec![
                dir(
                    b"user",
                    vec![
                        file(b"notes.txt", b"notes"),
                        file(b"model.bin", &noise(1, 50_000)),
                        dir(b"cache", vec![file(b"c.bin", b"c"), file(b"keep.txt", b"k")]),
                    ],
                ),
                link(b"current", b"user/cache"),
                link(b"abs", b"/home/user/notes.txt"),
            ],
        ),
        file(b"top.txt", b"top"),
    ]
}

/// Every path below, relative.
fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn include_and_exclude() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    // Patterns, then every path that must be there, and no other.
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (
            &["*.txt"],
            &[],
            &[
                "home",
                "home/user",
                "home/user/cache",
                "home/user/cache/keep.txt",
                "home/user/notes.txt",
                "top.txt",
            ],
        ),
        (&["/top.txt"], &[], &["top.txt"]),
        (&["/notes.txt"], &[], &[]),
        (&["cache"], &["*.bin"], &["home", "home/user", "home/user/cache", "home/user/cache/keep.txt"]),
        (&["user/*.bin"], &[], &["home", "home/user", "home/user/model.bin"]),
        (&[], &["user/"], &["home", "home/abs", "home/current", "top.txt"]),
        (&["/home", "!user"], &[], &["home", "home/abs", "home/current"]),
        (&["*.txt", "!keep.txt"], &["/home/user/notes.txt"], &["top.txt"]),
    ];
    for (include, exclude, expected) in table {
        let (_keep, target) = place();
        let options = RestoreOptions { include: owned(include), exclude: owned(exclude), ..to(id, &target) };
        let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
        assert_eq!(names(&target), BTreeSet::new(), "a dry run writes nothing");
        let report = vault.restore(&options);
        assert_eq!(names(&target), owned(expected).into_iter().collect(), "+{include:?} -{exclude:?}");
        let counts = |r: &restore::RestoreReport| (r.files, r.directories, r.others, r.bytes);
        assert_eq!(counts(&dry), counts(&report));
        assert!(dry.dry_run && !report.dry_run);
    }
}

#[test]
fn a_part_of_a_snapshot() {
    let vault = Vault::new();
    let id = vault.snapshot(&tree());
    let table: &[(&str, &[&str])] = &[
        ("/home/user/cache", &["c.bin", "keep.txt"]),
        ("/home/current/", &["c.bin", "keep.txt"]),
        ("/home/user/../current/keep.txt", &["keep.txt"]),
        ("/home/user/notes.txt", &["notes.txt"]),
        ("/home/abs", &["abs"]),
    ];
    for (path, expected) in table {
        let (_keep, target) = place();
        let options = RestoreOptions { path: Some(path.as_bytes().to_vec()), ..to(id, &target) };
        assert_eq!(vault.restore(&options).problems, []);
        assert_eq!(names(&target), owned(expected).into_iter().collect(), "{path}");
    }
    let (_keep, target) = place();
    let abs = RestoreOptions { path: Some(b"/home/abs".to_vec()), ..to(id, &target) };
    vault.restore(&abs);
    assert_eq!(fs::read(target.join("abs")).unwrap(), b"notes");
    let missing = RestoreOptions { path: Some(b"/home/nobody".to_vec()), ..to(id, &target.join("new")) };
    assert!(matches!(restore::run(&vault.repo, &missing, &Silent), Err(Error::NotFound { .. })));
    let bad = RestoreOptions { include: owned(&["../x"]), ..to(id, &target.join("new")) };
    assert!(matches!(restore::run(&vault.repo, &bad, &Silent), Err(Error::Usage(_))));
    assert!(!target.join("new").exists());
}

#[test]
fn never_leaves_everything_that_is_there() {
    let vault = Vault::new();
    let specs = tree();
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    fs::create_dir_all(target.join("home/user")).unwrap();
    fs::write(target.join("home/user/notes.txt"), "mine").unwrap();
    std::os::unix::fs::symlink("/mine", target.join("home/abs")).unwrap();
    std::os::unix::fs::symlink("/mine", target.join("top.txt")).unwrap();
    let never = RestoreOptions { overwrite: Overwrite::Never, ..to(id, &target) };
    let report = vault.restore(&never);
    assert_eq!((report.files_skipped, report.problem_count), (3, 0));
    assert_eq!(fs::read(target.join("home/user/notes.txt")).unwrap(), b"mine");
    assert_eq!(fs::read_link(target.join("home/abs")).unwrap(), Path::new("/mine"));
    assert_eq!(fs::read_link(target.join("top.txt")).unwrap(), Path::new("/mine"));
    assert_eq!(fs::read(target.join("home/user/model.bin")).unwrap(), noise(1, 50_000));
    vault.restore(&to(id, &target));
    same(&specs, &target);
}

#[test]
fn files_make_way_for_directories_but_not_the_other_way_round() {
    let vault = Vault::new();
    let specs = vec![dir(b"d", vec![file(b"x", b"x")]), file(b"f", b"f"), link(b"l", b"x")];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    fs::write(target.join("d"), "a file").unwrap();
    for name in ["f", "l"] {
        fs::create_dir_all(target.join(name)).unwrap();
        fs::write(target.join(name).join("precious"), "x").unwrap();
    }
    let never = RestoreOptions { overwrite: Overwrite::Never, ..to(id, &target) };
    let report = vault.restore(&never);
    assert_eq!(report.problem_count, 1, "the file where a directory must be");
    let report = vault.restore(&to(id, &target));
    let mut said: Vec<_> = report.problems.iter().map(|p| p.path.as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, ["/f", "/l"]);
    assert_eq!(
        names(&target),
        owned(&["d", "d/x", "f", "f/precious", "l", "l/precious"]).into_iter().collect()
    );
}
