//! Files left out of snapshots.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::Error;
use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::forget::{self, ForgetOptions};
use ballast::op::rewrite::{self, RewriteOptions, RewriteReport};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use support::{bytes, of, open_at, put, repack_everything};

use crate::scene::{Scene, Tree};

fn options(patterns: &[&str]) -> RewriteOptions {
    RewriteOptions {
        excludes: patterns.iter().map(|p| (*p).to_owned()).collect(),
        forget: true,
        ..RewriteOptions::default()
    }
}

fn rewrite(repo: &Repository, options: &RewriteOptions) -> Result<RewriteReport, Error> {
    rewrite::run(repo, options, &Silent)
}

const PATTERNS: [&str; 2] = ["*.tmp", "cache/"];

fn stripped(tree: &Tree, top: &Path) -> Tree {
    let goes = |p: &Path| p.starts_with(top.join("cache")) || p.ends_with("x.tmp");
    tree.iter().filter(|(p, _)| !goes(p)).map(|(p, s)| (p.clone(), s.clone())).collect()
}

#[test]
fn what_fits_is_left_out_and_the_rest_is_as_it_was() {
    let scene = Scene::new(3);
    let ids = scene.ids();
    let dry = RewriteOptions { dry_run: true, ..options(&PATTERNS) };
    let report = rewrite(&scene.place.open(), &dry).unwrap();
    assert_eq!((report.rewritten.len(), report.rewritten[0].new), (3, None));
    assert_eq!(scene.committed(), ids);
    let d = report.rewritten[0].dropped;
    assert_eq!((d.paths, d.files, d.directories, d.others, d.bytes), (2, 3, 2, 0, 74_500));

    let kept = RewriteOptions { forget: false, ..options(&PATTERNS) };
    let report = rewrite(&scene.place.open(), &kept).unwrap();
    let new: Vec<SnapshotId> = report.rewritten.iter().filter_map(|r| r.new).collect();
    assert_eq!(scene.committed(), [&ids[..], &new[..]].concat(), "both are there");
    let repo = scene.place.open_bare();
    for ((old, seen), new) in scene.all.iter().zip(&new) {
        assert_eq!(scene.held(*old), *seen);
        assert_eq!(scene.held(*new), stripped(seen, &scene.top));
        let (before, after) = (repo.snapshot(*old).unwrap().record, repo.snapshot(*new).unwrap().record);
        assert_eq!(after.original(), Some(*old));
        let counts = after.counts;
        assert_eq!(counts.total_bytes, before.counts.total_bytes - 74_500);
        assert_eq!(counts.files_new + counts.files_changed + counts.files_unchanged, 4);
        assert_eq!((counts.directories, counts.excluded), (before.counts.directories - 2, 2));
        let same = ballast::format::snapshot::SnapshotV1 {
            root: before.root,
            counts: before.counts,
            extensions: before.extensions.clone(),
            ..after
        };
        assert_eq!(same, before, "time, host, user, paths, tags, description are kept");
    }
    // Directories in which nothing fits keep their trees.
    let reader = Reader::open(&repo).unwrap();
    let tree_of = |id: SnapshotId, path: &Path| {
        let root = repo.snapshot(id).unwrap().record.root;
        path.components().skip(1).fold(root, |tree, name| {
            reader.child(tree, name.as_os_str().as_encoded_bytes()).unwrap().unwrap().subtree().unwrap()
        })
    };
    assert_eq!(tree_of(ids[0], &scene.top.join("same")), tree_of(new[0], &scene.top.join("same")));
    assert_ne!(tree_of(ids[0], &scene.top.join("mixed")), tree_of(new[0], &scene.top.join("mixed")));

    // Again: the new ones are found, and only the old ones are forgotten.
    let again = rewrite(&scene.place.open(), &options(&PATTERNS)).unwrap();
    assert!(again.rewritten.iter().all(|r| r.found), "{again:?}");
    assert_eq!((again.forgotten.as_slice(), again.unchanged.as_slice()), (&ids[..], &new[..]));
    assert_eq!(scene.committed(), new);
    assert_eq!(scene.objects(), 3);
    let third = rewrite(&scene.place.open(), &options(&PATTERNS)).unwrap();
    assert_eq!((third.rewritten.len(), third.unchanged.len()), (0, 3));
    assert_eq!(scene.place.store.count_of(ObjectKind::Lease), 0);
}

#[test]
fn what_cannot_be_meant_is_left_as_it_is() {
    let scene = Scene::new(1);
    let repo = scene.place.open_bare();
    assert!(matches!(rewrite(&repo, &options(&[])), Err(Error::Usage(_))));
    assert!(matches!(rewrite(&repo, &options(&["../x"])), Err(Error::Usage(_))));
    let unknown = RewriteOptions { snapshots: vec![SnapshotId([1; 32])], ..options(&["x"]) };
    assert!(matches!(rewrite(&repo, &unknown), Err(Error::NotFound { .. })));
    let report = rewrite(&repo, &options(&["source", "*"])).unwrap();
    assert_eq!(report.failed.len(), 1, "nothing would be left: {report:?}");
    // Patterns do not hold for what is above the arguments.
    let above = scene.top.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let report = rewrite(&repo, &options(&[above, "/tmp", "tmp"])).unwrap();
    assert_eq!((report.unchanged.len(), report.failed.len()), (1, 0));
    assert_eq!(scene.committed(), scene.ids());
}

/// An argument may have been a link: what is above the place it led to is not judged either.
#[test]
fn where_a_link_led_nothing_above_is_left_out() {
    let scene = Scene::new(0);
    let outer = scene.top.parent().unwrap().join("outer");
    put(outer.join("inner/file"), b"kept");
    put(outer.join("inner/x.tmp"), b"left out");
    symlink(outer.join("inner"), scene.top.join("link")).unwrap();
    let id = scene.place.take(scene.top.join("link")).snapshot.unwrap();
    let report = rewrite(&scene.place.open_bare(), &options(&["outer", "*.tmp"])).unwrap();
    assert_eq!((report.rewritten[0].old, report.rewritten[0].dropped.files), (id, 1), "{report:?}");
    let held = support::read_back(&scene.place.open_bare(), report.rewritten[0].new.unwrap()).unwrap();
    assert!(held.contains_key(&outer.join("inner/file")) && !held.contains_key(&outer.join("inner/x.tmp")));
}

#[test]
fn the_store_dies_at_every_change() {
    let scene = Scene::new(2);
    let twice = AtomicU64::new(0);
    let mutations = scene.sweep(
        |repo| rewrite(repo, &options(&PATTERNS)).is_ok(),
        |what, done| {
            let check = |finished: bool| {
                let (repo, committed) = (scene.place.open_bare(), scene.committed());
                for (at, (old, seen)) in scene.all.iter().enumerate() {
                    let mut found = 0;
                    for id in &committed {
                        if id == old {
                            assert_eq!(scene.held(*id), *seen, "{what}");
                            assert!(!finished, "{what}: the {at}th is not forgotten");
                            found += 1;
                        } else if repo.snapshot(*id).unwrap().record.original() == Some(*old) {
                            assert_eq!(scene.held(*id), stripped(seen, &scene.top), "{what}");
                            found += 1;
                        }
                    }
                    assert!(found > 0 && (found == 1 || !finished), "{what}: the {at}th {found} times");
                    twice.fetch_add(u64::from(found > 1), Ordering::SeqCst);
                }
            };
            check(done);
            let report = rewrite(&scene.place.open_bare(), &options(&PATTERNS));
            assert!(report.unwrap().failed.is_empty(), "{what}");
            check(true);
        },
    );
    assert!(mutations > 15, "{mutations}");
    assert!(twice.into_inner() > 0, "some run died between commit and forget");
}

#[test]
fn the_old_one_is_forgotten_in_between() {
    for kind in [ObjectKind::Pack, ObjectKind::Snapshot, ObjectKind::Ledger] {
        let scene = Scene::new(2);
        let ids = scene.ids();
        let (theirs, gone) = (scene.place.clone(), ids[0]);
        let repo = scene.interrupted_at(kind, move || {
            let options = ForgetOptions { ids: vec![gone], ..ForgetOptions::default() };
            forget::run(&theirs.open_bare(), &options, &Silent).unwrap();
        });
        let report = rewrite(&repo, &options(&PATTERNS)).unwrap();
        assert_eq!(report.failed.len(), 1, "{kind:?}: {report:?}");
        assert_eq!(scene.committed(), [report.rewritten[0].new.unwrap()], "{kind:?}");
        assert_eq!(scene.held(scene.committed()[0]), stripped(&scene.all[1].1, &scene.top));
    }
}

/// A prune moves what the new snapshot stands on while it is made.
#[test]
fn a_repacking_in_between() {
    for kind in [ObjectKind::Pack, ObjectKind::Snapshot, ObjectKind::Ledger] {
        let scene = Scene::new(1);
        let theirs = scene.place.clone();
        let repo = scene.interrupted_at(kind, move || repack_everything(&theirs.open_bare()));
        let report = rewrite(&repo, &options(&PATTERNS)).unwrap();
        assert!(report.failed.is_empty(), "{kind:?}: {report:?}");
        assert_eq!(scene.committed(), [report.rewritten[0].new.unwrap()]);
        assert_eq!(scene.held(scene.committed()[0]), stripped(&scene.all[0].1, &scene.top), "{kind:?}");
    }
}

/// What stays must be there: a snapshot that relies on lost data is never committed. What goes may be lost.
#[test]
fn lost_data_is_left_out_but_not_relied_on() {
    let scene = Scene::new(1);
    let before = scene.place.names(ObjectKind::Pack);
    put(scene.top.join("mixed/lost"), &bytes(77, 90_000));
    let repo = scene.place.open_bare();
    let second = snapshot::run(&repo, &of(&scene.top), &Silent).unwrap().snapshot.unwrap();
    let pack = scene
        .place
        .names(ObjectKind::Pack)
        .into_iter()
        .find(|n| !before.contains(n) && scene.place.store.stat(n).unwrap().size_bytes > 80_000);
    scene.place.store.remove(&pack.unwrap()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let open = || {
        let cache_dir = Some(elsewhere.path().to_owned());
        open_at(scene.place.store.clone(), &OpenOptions { cache_dir, ..scene.place.options() }).unwrap()
    };
    let only = |patterns: &[&str]| RewriteOptions { snapshots: vec![second], ..options(patterns) };
    let report = rewrite(&open(), &only(&PATTERNS)).unwrap();
    assert!(report.failed.len() == 1 && report.failed[0].1.contains("chunk"), "{report:?}");
    assert_eq!(scene.committed(), [scene.ids()[0], second]);
    let report = rewrite(&open(), &only(&["lost"])).unwrap();
    assert_eq!(scene.committed(), [scene.ids()[0], report.rewritten[0].new.unwrap()]);
    scene.held(report.rewritten[0].new.unwrap());
    let next = snapshot::run(&open(), &of(&scene.top), &Silent).unwrap();
    assert_eq!(next.problems, []);
    assert!(next.read_bytes >= 90_000);
}

/// Links to a store that counts: nothing is looked at twice for snapshots that are alike.
#[test]
fn alike_snapshots_are_read_once() {
    use ballast::store::call::Method;
    use ballast::store::record::RecordStore;
    let gets = |count: u64| {
        let scene = Scene::new(count);
        let record = Arc::new(RecordStore::new(scene.place.store.clone()));
        let bare = OpenOptions { cache_dir: None, ..scene.place.options() };
        let repo = open_at(record.clone(), &bare).unwrap();
        rewrite(&repo, &options(&["never-there"])).unwrap();
        record.count(Method::GetRange, None)
    };
    let (two, six) = (gets(2), gets(6));
    assert!(six <= two + 4 * 2, "{two} reads for two snapshots, {six} for six");
}
