//! What rules leave out of a real directory.

use std::path::PathBuf;

use ballast::error::Error;
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use support::{Place, bytes, of, put};

use super::{nodes, run, temp};

#[test]
fn tags_sizes_and_patterns_that_do_not_mind_case() {
    let (_dir, top) = temp();
    for (path, len) in [
        ("keep/a", 100),
        ("keep/B.TMP", 100),
        ("keep/large", 5001),
        ("keep/limit", 5000),
        ("tagged/.nobackup", 0),
        ("tagged/deep/x", 100),
        ("signed/TAG", 100),
        ("signed/x", 70),
        ("unsigned/TAG", 100),
        ("unsigned/x", 70),
    ] {
        put(top.join(path), &bytes(1, len));
    }
    put(top.join("signed/TAG"), b"leave out: yes");
    std::fs::create_dir(top.join("by-directory")).unwrap();
    put(top.join("by-directory/.nobackup/x"), b"x");
    put(top.join("by-directory/y"), b"y");
    let options = SnapshotOptions {
        exclude_if_present: vec![".nobackup".into(), "TAG:leave out".into()],
        exclude_larger_than: Some(5000),
        any_case_excludes: vec!["*.tmp".into()],
        ..of(&top)
    };
    let place = Place::default();
    let report = run(&place, &options);
    let found = nodes(&place.open(), report.snapshot.unwrap());
    let files: Vec<PathBuf> = found
        .iter()
        .filter(|(_, node)| node.kind == ballast::format::tree::NodeKind::File)
        .map(|(path, _)| path.strip_prefix(&top).unwrap().to_owned())
        .collect();
    let expected = [
        "by-directory/.nobackup/x",
        "keep/a",
        "keep/limit",
        "signed/TAG",
        "tagged/.nobackup",
        "unsigned/TAG",
        "unsigned/x",
    ];
    assert_eq!(files, expected.map(PathBuf::from));
    assert!(found.contains_key(&top.join("tagged")) && !found.contains_key(&top.join("tagged/deep")));
    assert_eq!((report.excluded, report.excluded_bytes), (5, 100 + 5001 + 100 + 70 + 1));
    let bad = SnapshotOptions { exclude_if_present: vec!["a/b".into()], ..of(&top) };
    assert!(matches!(snapshot::run(&place.open(), &bad, &Silent), Err(Error::Usage(_))));
}

#[test]
fn of_many_paths_one_must_be_there() {
    let (_dir, top) = temp();
    put(top.join("f"), &bytes(1, 100));
    let place = Place::default();
    let of_all = |paths: &[&str]| SnapshotOptions {
        paths: paths.iter().map(|path| top.join(path)).collect(),
        ..of(&top)
    };
    let error = snapshot::run(&place.open(), &of_all(&["none", "gone"]), &Silent).unwrap_err();
    assert!(matches!(&error, Error::NothingThere { more: 1, .. }), "{error}");
    assert!(error.to_string().contains("none: is not there (and 1 more)"), "{error}");
    assert_eq!(place.open().ledger(true).unwrap().committed(), []);
    assert_eq!(run(&place, &of_all(&["none", "f"])).problem_count, 1);
}
