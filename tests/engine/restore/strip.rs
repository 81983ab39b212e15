//! `--strip-components`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ballast::error::Error;
use ballast::op::restore::{self, RestoreOptions};
use ballast::progress::Silent;

use crate::build::*;

/// Paths and contents.
fn contents(target: &Path) -> BTreeMap<String, Option<String>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![target.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let is_dir = path.symlink_metadata().unwrap().is_dir();
            let content = (!is_dir).then(|| fs::read_to_string(&path).unwrap());
            out.insert(path.strip_prefix(target).unwrap().to_str().unwrap().to_owned(), content);
            todo.extend(is_dir.then_some(path));
        }
    }
    out
}

fn expected(list: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    list.iter().map(|(path, content)| ((*path).to_owned(), content.map(str::to_owned))).collect()
}

fn two() -> Vec<Spec> {
    vec![
        dir(b"a", vec![dir(b"x", vec![file(b"1", b"a1"), dir(b"y", vec![file(b"2", b"a2")])])]),
        dir(
            b"b",
            vec![dir(b"x", vec![file(b"3", b"b3"), dir(b"y", vec![file(b"4", b"b4")])]), file(b"z", b"bz")],
        ),
        file(b"top", b"top"),
    ]
}

#[test]
fn directories_of_one_name_become_one() {
    let vault = Vault::new();
    let id = vault.snapshot(&two());
    let merged = [("x", None), ("x/1", Some("a1")), ("x/3", Some("b3")), ("x/y", None)];
    let below = [("x/y/2", Some("a2")), ("x/y/4", Some("b4"))];
    let table: [(usize, Vec<(&str, Option<&str>)>); 4] = [
        (1, [&merged[..], &below, &[("z", Some("bz"))]].concat()),
        (
            2,
            vec![("1", Some("a1")), ("3", Some("b3")), ("y", None), ("y/2", Some("a2")), ("y/4", Some("b4"))],
        ),
        (3, vec![("2", Some("a2")), ("4", Some("b4"))]),
        (4, vec![]),
    ];
    for (strip_components, list) in table {
        for delete in [false, true] {
            let (_keep, target) = place();
            let mut list = list.clone();
            fs::create_dir_all(target.join("x")).unwrap();
            fs::write(target.join("strange"), "s").unwrap();
            fs::write(target.join("x/strange"), "s").unwrap();
            // Of which directory would it be, if there is none?
            if !delete || strip_components == 4 {
                list.extend([("strange", Some("s")), ("x", None), ("x/strange", Some("s"))]);
            }
            let options = RestoreOptions { strip_components, delete, ..to(id, &target) };
            let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
            let report = vault.restore(&options);
            assert_eq!(report.problems, []);
            assert_eq!((dry.files, dry.directories), (report.files, report.directories));
            assert_eq!(contents(&target), expected(&list), "{strip_components} {delete}");
        }
    }
    let (_keep, target) = place();
    let path = Some(b"/b".to_vec());
    vault.restore(&RestoreOptions { strip_components: 1, path, ..to(id, &target) });
    assert_eq!(contents(&target), expected(&[("3", Some("b3")), ("y", None), ("y/4", Some("b4"))]));
}

/// Two paths that would be one: both are named, before anything is written.
#[test]
fn collisions_are_found_before_anything_is_written() {
    let table: [(Vec<Spec>, Vec<Spec>, usize, [&str; 2]); 5] = [
        (vec![file(b"same", b"1")], vec![file(b"same", b"2")], 1, ["/a/same", "/b/same"]),
        (vec![file(b"same", b"1")], vec![dir(b"same", vec![])], 1, ["/a/same", "/b/same"]),
        (
            vec![dir(b"x", vec![dir(b"y", vec![file(b"deep", b"1")])])],
            vec![dir(b"x", vec![dir(b"y", vec![link(b"deep", b"2")])])],
            1,
            ["/a/x/y/deep", "/b/x/y/deep"],
        ),
        (
            vec![dir(b"x", vec![file(b"one", b"1")])],
            vec![dir(b"y", vec![file(b"one", b"2")])],
            2,
            ["/a/x/one", "/b/y/one"],
        ),
        // SQLite would take the one for a part of the other.
        (vec![file(b"db", b"1")], vec![file(b"db-wal", b"2")], 1, ["/a/db", "/b/db-wal"]),
    ];
    for (a, b, strip_components, paths) in table {
        let vault = Vault::new();
        let id = vault.snapshot(&[dir(b"a", a), dir(b"b", b), dir(b"c", vec![file(b"fine", b"fine")])]);
        let (_keep, place) = place();
        let target = place.join("new");
        let options = RestoreOptions { strip_components, ..to(id, &target) };
        let done = restore::run(&vault.repo, &options, &Silent);
        assert!(matches!(&done, Err(Error::Usage(m)) if paths.iter().all(|p| m.contains(p))), "{done:?}");
        assert!(!target.exists());
        // What is not wanted is in nobody's way.
        let exclude = vec![paths[1].to_owned()];
        assert_eq!(vault.restore(&RestoreOptions { exclude, ..options }).problems, []);
    }
}

/// Directories that became one have its name if any of them is wanted, not only the first.
#[test]
fn a_directory_behind_one_that_is_not_wanted_collides_too() {
    let (empty, full) = (|| dir(b"x", vec![]), || dir(b"x", vec![file(b"1", b"1")]));
    for (a, below) in [(empty(), "/c/x"), (full(), "/c/x")] {
        let vault = Vault::new();
        let specs = [("a", a), ("b", file(b"x", b"file")), ("c", empty())];
        let id = vault.snapshot(&specs.map(|(name, spec)| dir(name.as_bytes(), vec![spec])));
        let (_keep, place) = place();
        let target = place.join("new");
        let exclude = vec!["/a/x".to_owned()];
        let options = RestoreOptions { strip_components: 1, exclude, ..to(id, &target) };
        let done = restore::run(&vault.repo, &options, &Silent);
        let named = |m: &str| m.contains(below) && m.contains("/b/x") && !m.contains("/a/x");
        assert!(matches!(&done, Err(Error::Usage(m)) if named(m)), "{done:?}");
        assert!(!target.exists());
    }
}

/// A file of their name that is not wanted does not keep directories apart.
#[test]
fn what_is_not_wanted_keeps_nothing_apart() {
    let vault = Vault::new();
    let one = |text: &str| dir(b"x", vec![file(text.as_bytes(), text.as_bytes())]);
    let specs = [("a", one("1")), ("b", file(b"x", b"file")), ("c", one("2"))];
    let id = vault.snapshot(&specs.map(|(name, spec)| dir(name.as_bytes(), vec![spec])));
    let (_keep, target) = place();
    let exclude = vec!["/b/x".to_owned()];
    vault.restore(&RestoreOptions { strip_components: 1, exclude, ..to(id, &target) });
    assert_eq!(contents(&target), expected(&[("x", None), ("x/1", Some("1")), ("x/2", Some("2"))]));
}

#[test]
fn problems_and_patterns_name_whole_paths() {
    let vault = Vault::new();
    let mut specs = two();
    specs[1].children[0].children[0].node.mark_lost(ballast::format::record::LostV1::all(2));
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let include = vec!["/b/x".to_owned()];
    let report = vault.restore(&RestoreOptions { strip_components: 1, include, ..to(id, &target) });
    assert_eq!(report.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/b/x/3"]);
    assert_eq!(contents(&target), expected(&[("x", None), ("x/y", None), ("x/y/4", Some("b4"))]));
}
