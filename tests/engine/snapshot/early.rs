//! A walk that begins while the repository is being opened.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ballast::error::ProblemKind;
use ballast::format::wire::Stamp;
use ballast::op::snapshot::{Early, SnapshotOptions, SnapshotReport, run_begun};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::source::At;
use ballast::store::Store;
use ballast::store::local::LocalStore;
use support::{Place, assert_same, bytes, look, of, put, read_back, surroundings, tiny};

use super::{nodes, run, temp};

/// Begins, waits until all is walked that will be, does `meanwhile`, and takes the snapshot; its time is that of the
/// walk, so that was used.
fn early(
    repo: impl FnOnce() -> Repository,
    options: &SnapshotOptions,
    own: Option<&Path>,
    meanwhile: impl FnOnce(),
) -> SnapshotReport {
    let mut early = Early::new(options).unwrap();
    let clock = surroundings().clock;
    let before = clock.now_ns();
    early.begin(options, own.map(Path::to_owned), clock.clone());
    let begun = clock.now_ns();
    early.wait();
    meanwhile();
    let repo = repo();
    let report = run_begun(&repo, options, early, &Silent).unwrap();
    let time = repo.snapshot(report.snapshot.unwrap()).unwrap().record.time;
    assert!((Stamp::from_ns(before)..=Stamp::from_ns(begun)).contains(&time), "{before} {time:?} {begun}");
    report
}

#[test]
fn it_finds_what_any_walk_finds() {
    let (_dir, top) = temp();
    for n in 0..200 {
        put(top.join(format!("{}/{}/{n}", n % 3, n % 40)), &bytes(n, 900 + n as usize * 13));
    }
    std::os::unix::fs::symlink("0", top.join("link")).unwrap();
    put(top.join("a.tmp"), b"left out");
    put(top.join("second/x"), &bytes(7, 5000));
    let options = SnapshotOptions {
        paths: ["0", "1", "2", "link", "second"].map(|name| top.join(name)).to_vec(),
        excludes: vec!["*.tmp".into(), "13".into()],
        ..of(&top)
    };
    for paths in [vec![top.clone()], options.paths.clone()] {
        let options = SnapshotOptions { paths, ..options.clone() };
        let place = Place::default();
        let seen = early(|| place.open(), &options, None, || {});
        let other = run(&place, &options);
        assert_eq!(other.files_unchanged, seen.files_new);
        let counts =
            |r: &SnapshotReport| (r.excluded, r.excluded_bytes, r.directories, r.others, r.total_bytes);
        assert_eq!(counts(&seen), counts(&other));
        assert_eq!((seen.problems, other.problems), (vec![], vec![]));
        let repo = place.open_bare();
        let names = |r: Option<_>| nodes(&repo, r.unwrap()).into_keys().collect::<Vec<_>>();
        assert_eq!(names(seen.snapshot), names(other.snapshot));
    }
}

#[test]
fn the_cache_is_left_out_though_it_was_walked() {
    let (_dir, top) = temp();
    put(top.join("data"), &bytes(1, 100_000));
    put(top.join("caches/other/x"), &bytes(2, 1000));
    let store = Arc::new(LocalStore::new(top.join("repo")).unwrap());
    let options = OpenOptions { cache_dir: Some(top.join("caches")), ..OpenOptions::default() };
    let repo = Repository::init(store.clone(), b"p", &tiny(), &options, surroundings()).unwrap();
    let cache = repo.cache().unwrap().path().to_owned();
    put(cache.join("a/b/c"), b"walked, and not wanted");
    let own = store.local_path();
    for _ in 0..3 {
        let report = early(|| reopened(&store, &options), &of(&top), own.as_deref(), || {});
        assert_eq!((report.problems.len(), report.excluded), (0, 2), "{:?}", report.problems);
        let found = read_back(&repo, report.snapshot.unwrap()).unwrap();
        assert!(found.contains_key(&top.join("caches/other/x")) && found.contains_key(&top.join("data")));
        assert!(!found.keys().any(|p| p.starts_with(top.join("repo")) || p.starts_with(&cache)));
    }
    for root in ["a", "a/b/c"] {
        let inside = of(cache.join(root));
        let mut begun = Early::new(&inside).unwrap();
        begun.begin(&inside, own.clone(), surroundings().clock);
        let report = run_begun(&repo, &inside, begun, &Silent).unwrap();
        assert_eq!((report.excluded, report.total_bytes), (1, 0), "a root inside of it");
    }
}

fn reopened(store: &Arc<LocalStore>, options: &OpenOptions) -> Repository {
    Repository::open(store.clone(), b"p", options, surroundings()).unwrap()
}

#[test]
fn what_changes_after_the_walk_is_stored_as_it_is_read() {
    let (_dir, top) = temp();
    for name in ["grown", "far", "gone", "replaced", "same"] {
        put(top.join(name), &bytes(1, 5000));
    }
    let place = Place::default();
    let change = || {
        put(top.join("grown"), &bytes(2, 9000));
        put(top.join("far"), &bytes(3, 20_000_000));
        // Compared below; where the file system has no attributes, there are none to compare.
        let _ = xattr::set(top.join("same"), "user.later", b"seen");
        fs::remove_file(top.join("gone")).unwrap();
        put(top.join("new"), &bytes(4, 7000));
        fs::rename(top.join("new"), top.join("replaced")).unwrap();
    };
    let report = early(|| place.open(), &of(&top), None, change);
    let kinds: Vec<_> = report.problems.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [ProblemKind::Vanished]);
    let repo = place.open_bare();
    let node = &nodes(&repo, report.snapshot.unwrap())[&top.join("grown")];
    let stat = At::of_path(&top.join("grown")).unwrap().stat().unwrap();
    assert_eq!((node.size, node.mtime, node.ctime), (9000, stat.mtime, stat.ctime));
    let found = read_back(&repo, report.snapshot.unwrap()).unwrap();
    let now = look(&top);
    for name in ["grown", "far", "replaced", "same"].map(|name| top.join(name)) {
        assert_eq!(found[&name], now[&name], "{}", name.display());
    }
    // And the next run finds nothing to read.
    let seen = look(&top);
    let next = run(&place, &of(&top));
    assert_same(&place.open_bare(), next.snapshot.unwrap(), &top, &seen);
}
