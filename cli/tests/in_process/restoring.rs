//! `restore` over what is there, and `dump` of directories.

#![allow(
    clippy::disallowed_methods,
    reason = "files that are not a repository's are written as anyone would"
)]

use std::fs;
use std::path::PathBuf;

use crate::support::Command;

struct World {
    _dir: tempfile::TempDir,
    repo: PathBuf,
    source: PathBuf,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let (repo, source) = (top.join("repo"), top.join("source"));
    for name in ["a/same", "b/same", "b/other"] {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), name).unwrap();
    }
    let world = World { _dir: dir, repo, source };
    let made = world.run(&["snapshot", "--init", world.source.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    world
}

impl World {
    fn run(&self, args: &[&str]) -> crate::support::Outcome {
        Command::at(&self.repo, "word").run(args)
    }

    fn stored(&self, below: &str) -> String {
        format!("latest:{}{below}", self.source.to_str().unwrap())
    }
}

#[test]
fn a_directory_is_dumped_as_an_archive_and_only_so() {
    let world = world();
    let plain = world.run(&["dump", &world.stored("")]);
    assert_eq!(plain.code, 2);
    assert!(plain.err.contains("is a directory") && plain.err.contains("--archive tar"), "{}", plain.err);
    let none = world.run(&["dump", "latest"]);
    assert!(none.code == 2 && none.err.contains("--archive"), "{}", none.err);
    let screen = Command::at(&world.repo, "word").on_screen().run(&["dump", "latest", "--archive", "tar"]);
    assert!(screen.code == 2 && screen.out.is_empty(), "{}", screen.err);
    // All of it is text here, so that it can be looked at.
    let done = world.run(&["dump", &world.stored(""), "--archive", "tar", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("ustar\0") && done.out.contains("b/other"));
    let report: serde_json::Value = serde_json::from_str(done.err.lines().last().unwrap()).unwrap();
    assert_eq!((report["files"].as_u64(), report["directories"].as_u64()), (Some(3), Some(2)));
    assert_eq!(report["archive"], "tar");
}

#[test]
fn what_would_be_removed_is_named_and_nothing_by_accident() {
    let world = world();
    fs::write(world.source.join("a/str\x1bange"), "x").unwrap();
    fs::write(world.source.join("b/other"), "changed").unwrap();
    let target = world.source.to_str().unwrap();
    let words = ["restore", &world.stored(""), "-t", target, "--delete"];
    let dry = world.run(&[&words[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.err.contains("would remove") && dry.err.contains("a/str"), "{}", dry.err);
    assert!(!dry.err.contains('\x1b') && dry.out.contains("1 name that"), "{}", dry.out);
    let done = world.run(&[&words[..], &["--in-place", "--json"]].concat()).json();
    assert_eq!((done["deleted_count"].as_u64(), done["files"].as_u64()), (Some(1), Some(1)));
    assert!(!world.source.join("a/str\x1bange").exists());
    assert_eq!(fs::read(world.source.join("b/other")).unwrap(), b"b/other");
    let all = world.run(&["restore", "latest", "-t", "/", "--delete", "--dry-run"]);
    assert!(all.code == 2 && all.err.contains("name the directory in the snapshot"), "{}", all.err);
}

#[test]
fn names_that_would_meet_are_said() {
    let world = world();
    let target = world.repo.with_file_name("target");
    let words = ["restore", &world.stored(""), "-t", target.to_str().unwrap(), "--strip-components", "1"];
    let met = world.run(&words);
    assert!(met.code == 2 && met.err.contains("/a/same") && met.err.contains("/b/same"), "{}", met.err);
    assert!(!target.exists());
    let one = world.run(&[&words[..], &["--exclude", "a/", "--overwrite", "if-newer"]].concat());
    assert_eq!(one.code, 0, "{}", one.err);
    assert_eq!(fs::read(target.join("same")).unwrap(), b"b/same");
}
