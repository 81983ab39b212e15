//! `check`: exit codes, one JSON object, words a person can act on.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::support::{Command, bare, quick};

/// A repository with one snapshot of one file, and its packs, the largest first.
fn vault(dir: &Path) -> (PathBuf, Vec<PathBuf>) {
    let (repo, source) = (dir.join("vault"), dir.join("source"));
    std::fs::create_dir(&source).unwrap();
    let noise: Vec<u8> =
        (0..40_000u64).flat_map(|i| (i * i).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    std::fs::File::create(source.join("a\u{1b}[2Jmodel")).unwrap().write_all(&noise).unwrap();
    drop(quick(&repo, "p"));
    let made = Command::at(&repo, "p").run(&["snapshot", source.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    let mut packs = Vec::new();
    for shard in std::fs::read_dir(repo.join("data")).unwrap() {
        packs.extend(std::fs::read_dir(shard.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    packs.sort_by_key(|p| std::cmp::Reverse(p.metadata().unwrap().len()));
    (repo, packs)
}

#[test]
fn a_sound_repository_is_0_and_one_line_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, packs) = vault(dir.path());
    for args in [&["check"][..], &["check", "--read-data"], &["check", "--without-key"]] {
        let outcome = Command::at(&repo, "p").run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.err);
        assert!(outcome.out.ends_with("no damage found\n"), "{}", outcome.out);
        assert_eq!(Command::at(&repo, "p").run(&[args, &["-q"]].concat()).out, "", "{args:?}");
        let json = Command::at(&repo, "p").run(&[args, &["--json"]].concat()).json();
        assert_eq!((&json["damaged"], json["faults"].as_array().unwrap().len()), (&false.into(), 0));
        assert_eq!(json["counts"]["packs"], packs.len());
    }
    // Nobody is asked for a password where none is needed.
    let keyless = bare(&["-r", repo.to_str().unwrap(), "check", "--without-key"]);
    assert_eq!(keyless.code, 0, "{}", keyless.err);
    let none = bare(&["-r", "/nonexistent/vault", "check", "--without-key"]);
    assert_eq!(none.code, 10, "{}", none.err);
    for args in
        [&["--read-data-subset", "8/7"][..], &["--max-age", "soon"], &["--without-key", "--read-data"]]
    {
        let outcome = Command::at(&repo, "p").run(&[&["check"], args].concat());
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{args:?}: {}", outcome.err);
    }
}

#[test]
fn damage_is_1_and_says_which_files_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, packs) = vault(dir.path());
    let mut bytes = std::fs::read(&packs[0]).unwrap();
    bytes[50_000] ^= 1;
    std::fs::remove_file(&packs[0]).unwrap();
    std::fs::File::create(&packs[0]).unwrap().write_all(&bytes).unwrap();
    let id = packs[0].file_name().unwrap().to_str().unwrap();

    assert_eq!(Command::at(&repo, "p").run(&["check"]).code, 0, "structure does not read data");
    let outcome = Command::at(&repo, "p").run(&["check", "--read-data"]);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    let out = &outcome.out;
    for words in [
        &format!("fault: data/{}: its bytes do not match its name", &id[..8]),
        "touches 1 file in 1 snapshot:",
        "a\\x1b[2Jmodel",
        &format!("ballast repair packs {}", &id[..8]),
        "\n1 fault; 1 file in 1 snapshot is touched\n",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains(id), "{out}");
    assert!(out.lines().filter(|l| !l.contains("model")).all(|l| l.len() <= 80), "{out}");
    let quiet = Command::at(&repo, "p").run(&["check", "-q"]);
    assert!(
        quiet.out.starts_with("fault: ") && quiet.code == 1,
        "what was found bad is known: {}",
        quiet.out
    );

    let json = Command::at(&repo, "p").run(&["check", "--json"]).json();
    let fault = &json["faults"][0];
    assert_eq!(
        (&fault["kind"], &fault["objects"][0]),
        (&"pack_damaged".into(), &format!("data/{id}").into())
    );
    assert_eq!(fault["repair"][0], format!("ballast repair packs {}", &id[..8]));
    assert_eq!(fault["touches"]["files"], 1);

    let names = Command::at(&repo, "p").run(&["check", "--without-key"]);
    assert!(names.code == 1 && names.out.contains("do not match its name"), "{}", names.out);
    assert!(!names.out.contains("no file is touched"), "nobody knows: {}", names.out);
}
