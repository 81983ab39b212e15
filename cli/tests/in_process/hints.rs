//! Whatever goes wrong: object and cause in one line, then what to do.

use std::fs;
use std::path::Path;

use crate::support::{Command, Outcome, quick};

/// Two lines, and nothing that a log would not keep.
fn assert_ends_in_what_to_do(what: &str, outcome: &Outcome, message: &str, cure: &str) {
    let text = &outcome.err;
    let error = text.lines().find_map(|line| line.strip_prefix("error: ")).expect(text);
    let hint = text.lines().find_map(|line| line.strip_prefix("hint: ")).expect(text);
    assert!(error.contains(message), "{what}: {text}");
    assert!(hint.contains(cure), "{what}: {text}");
    assert!(text.trim_end().ends_with(hint), "{what}: the hint is the end: {text}");
}

#[test]
fn what_the_repository_or_the_system_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("vault");
    drop(quick(&place, "p"));
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("source")).unwrap();
    fs::File::create(path("file")).unwrap();
    let run = |args: &[&str]| Command::at(&place, "p").run(args);
    let none = run(&["ls"]);
    assert_ends_in_what_to_do("ls", &none, "no snapshot in this repository yet", "`ballast snapshot PATH`");
    for seed in 0..17 {
        std::io::Write::write_all(&mut fs::File::create(path("source/day")).unwrap(), &[seed; 40]).unwrap();
        assert_eq!(run(&["snapshot", "-q", &path("source")]).code, 0);
    }
    let first_digits: Vec<String> =
        names(&place.join("snapshots")).iter().map(|id| id[..1].to_owned()).collect();
    let twice = first_digits.iter().find(|d| first_digits.iter().filter(|e| e == d).count() > 1).unwrap();
    let (day, source) = (format!("latest:{}", path("source/day")), format!("latest:{}", path("source")));
    let (file, nowhere) = (path("file"), path("nowhere"));

    for (args, code, message, cure) in [
        (&["ls", "ffffffff"][..], 1, "snapshot ffffffff was not found", "`ballast snapshots`"),
        (&["ls", twice], 1, "is ambiguous: ", "more digits"),
        (&["cat", "snapshot", twice], 1, "is ambiguous: ", "more digits"),
        (
            &["ls", "latest:/nowhere"],
            1,
            "path /nowhere in the snapshot was not found",
            "`ballast ls SNAPSHOT`",
        ),
        (&["ls", "--host", "nobody"], 1, "no snapshot fits", "`ballast snapshots`"),
        (&["dump", &source], 2, "is a directory", "`ballast restore"),
        (&["sqlite", &day], 2, "is no SQLite database", "`ballast verify"),
        (&["verify", &day], 2, "is no SQLite database", "`ballast verify"),
        (&["restore", "latest", "-t", &file], 1, "Not a directory", "a directory is needed"),
        (&["restore", "latest", "-t", "/proc/nowhere"], 1, "/proc/nowhere: ", "spelled right"),
        (
            &["snapshot", "--exclude-file", &nowhere, &source[7..]],
            1,
            "nowhere: No such file",
            "spelled right",
        ),
        (&["snapshot", "--exclude", "[z-a]", &source[7..]], 2, "pattern", "quote them"),
        (&["key", "import", &nowhere], 1, "nowhere: No such file", "spelled right"),
        (&["key", "import", &file], 1, "no page", "compare"),
        (&["key", "remove", "ffff"], 1, "key ffff was not found", "`ballast key list`"),
        (&["unlock", "ffff"], 1, "lease ffff was not found", "`ballast lock list`"),
        (&["repair", "packs", "ffff0000"], 1, "no pack begins with", "four digits"),
        (&["man", &file], 1, "file: ", "directory"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.err);
        assert_ends_in_what_to_do(&format!("{args:?}"), &outcome, message, cure);
    }
    let no_file = Command::default().run(&["-r", place.to_str().unwrap(), "-p", &nowhere, "snapshots"]);
    assert_ends_in_what_to_do("-p", &no_file, "nowhere: No such file", "spelled right");

    // Damage: every snapshot, then every key.
    for name in names(&place.join("snapshots")) {
        fs::remove_file(place.join("snapshots").join(name)).unwrap();
    }
    let lost = run(&["ls"]);
    assert_ends_in_what_to_do(
        "snapshots",
        &lost,
        "no snapshot of this repository can be read",
        "`ballast check`",
    );
    for name in names(&place.join("keys")) {
        fs::remove_file(place.join("keys").join(name)).unwrap();
    }
    let lost = run(&["ls"]);
    assert_ends_in_what_to_do("keys", &lost, "keys/ is damaged: no key file is left", "key import PAGE");
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
