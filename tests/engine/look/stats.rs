use ballast::id::{BlobKind, BlobRef, SnapshotId};
use ballast::op::forget::{self, ForgetOptions};
use ballast::op::prune::{self, MaxUnused, PruneOptions};
use ballast::op::rewrite::{self, RewriteOptions};
use ballast::op::stats::{self, RepositoryStats, Takes};
use ballast::progress::Silent;
use support::weeks::{self, Weeks};
use support::{bytes, days};

use super::scene::Scene;

fn whole(scene: &Scene) -> RepositoryStats {
    let report = stats::repository(&scene.repo(), &Silent).unwrap();
    assert!(report.unreadable.is_empty(), "{:?}", report.unreadable);
    report
}

fn of(scene: &Scene, ids: &[SnapshotId]) -> (Vec<Takes>, u64) {
    let report = stats::snapshots(&scene.repo(), ids, &Silent).unwrap();
    assert!(report.unreadable.is_empty());
    (report.rows.iter().map(|(_, takes)| *takes).collect(), report.together_bytes)
}

/// A file that all snapshots have, one that changes, and one of each day alone.
fn scene() -> (Scene, Vec<SnapshotId>) {
    let scene = Scene::new();
    scene.put("models/base", &bytes(1, 300_000));
    let mut ids = Vec::new();
    for day in 1..=4u8 {
        scene.put("models/tune", &bytes(100 + u64::from(day), 40_000 * usize::from(day)));
        scene.put("log", &[day; 100].repeat(usize::from(day)));
        ids.push(scene.take(day.into()));
    }
    (scene, ids)
}

#[test]
fn what_is_said_to_come_free_does() {
    let (scene, ids) = scene();
    let before = whole(&scene);
    assert_eq!((before.snapshots, before.files), (4, 12));
    assert_eq!(before.logical_bytes, 4 * 300_000 + 10 * 40_000 + 10 * 100);
    assert!((700_000..702_000).contains(&before.unique_bytes), "{}", before.unique_bytes);
    let by_encoding: u64 = before.encodings.iter().map(|e| e.stored_bytes).sum();
    assert!(by_encoding.abs_diff(before.stored_bytes) < 8);
    assert!(before.stored_bytes + before.unused_bytes == before.packs_bytes);
    let (each, together) = of(&scene, &[ids[1], ids[2]]);
    assert!(each.iter().all(|t| t.frees_bytes > 80_000 && t.stored_bytes > 380_000), "{each:?}");
    assert!(together >= each[0].frees_bytes + each[1].frees_bytes);
    let (all, everything) = of(&scene, &ids);
    assert_eq!(all.len(), 4);
    assert!(everything.abs_diff(before.stored_bytes) <= 8, "{everything} {}", before.stored_bytes);
    forget_one(&scene, ids[1]);
    let after = whole(&scene).stored_bytes;
    assert!(before.stored_bytes.abs_diff(after + each[0].frees_bytes) <= 8, "exact, in blobs");
    forget_one(&scene, ids[2]);
    let after = whole(&scene).stored_bytes;
    assert!(before.stored_bytes.abs_diff(after + together) <= 8, "exact, in blobs");
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    prune::run(&scene.repo(), &options, &Silent).unwrap();
    let pruned = whole(&scene);
    let freed = before.packs_bytes - pruned.packs_bytes;
    assert!(freed * 10 > together * 9 && freed * 9 < together * 10 + 200_000, "{freed} of {together}");
}

fn forget_one(scene: &Scene, id: SnapshotId) {
    forget::run(&scene.repo(), &ForgetOptions { ids: vec![id], ..ForgetOptions::default() }, &Silent)
        .unwrap();
}

/// Chains of tensors and of pages: whatever is forgotten, exactly what was said comes free.
#[test]
fn what_others_are_decoded_against_does_not_come_free() {
    for write in [weeks::write, days::write] {
        let weeks = Weeks::take_of(5, write);
        let repo = || weeks.place.open_bare();
        let stored = || stats::repository(&repo(), &Silent).unwrap();
        let frees = |ids: &[SnapshotId]| {
            let report = stats::snapshots(&repo(), ids, &Silent).unwrap();
            assert!(report.unreadable.is_empty());
            (
                report.rows.iter().map(|(_, takes)| takes.frees_bytes).collect::<Vec<_>>(),
                report.together_bytes,
            )
        };
        let mut left: Vec<SnapshotId> = weeks.all.iter().map(|(id, _)| *id).collect();
        let before = stored();
        assert!(before.encodings.iter().any(|e| e.encoding == "delta"), "{before:?}");
        assert_eq!(frees(&left).1.abs_diff(before.stored_bytes) / 8, 0);
        let mut bases = before.bases_bytes;
        // The first, one in the middle, the last.
        for at in [0, 1, 2] {
            let id = left.remove(at);
            let (said, before) = (frees(&[id]).0[0], stored().stored_bytes);
            forget::run(&repo(), &ForgetOptions { ids: vec![id], ..ForgetOptions::default() }, &Silent)
                .unwrap();
            let after = stored();
            assert!(before.abs_diff(after.stored_bytes + said) <= 8, "{before} {said} {after:?}");
            bases = bases.max(after.bases_bytes);
        }
        assert!(bases > 10_000, "something was kept only as a base: {bases}");
    }
}

#[test]
fn directories() {
    let (scene, ids) = scene();
    let at = |name: &str| stats::directory(&scene.repo(), ids[3], &scene.path(name), &Silent).unwrap();
    let top = at("");
    let names: Vec<&[u8]> = top.rows.iter().map(|(name, ..)| &name[..]).collect();
    assert_eq!(names, [&b"log"[..], b"models"]);
    let (log, models) = (top.rows[0].2, top.rows[1].2);
    assert_eq!((log.files, log.logical_bytes, models.files), (1, 400, 2));
    assert_eq!((top.all.files, top.all.logical_bytes), (3, 300_000 + 160_000 + 400));
    assert_eq!(models.unique_bytes, 460_000);
    // All days' tunes, though the last snapshot has one of them; and the base.
    assert!((700_000..720_000).contains(&models.frees_bytes), "{models:?}");
    assert!(log.frees_bytes < 10_000);
    let inside = at("models");
    let sum: u64 = inside.rows.iter().map(|(.., takes)| takes.frees_bytes).sum();
    assert!(sum <= models.frees_bytes && sum + 4000 > models.frees_bytes, "but for the trees");
    let (_, _, tune) = &inside.rows[1];
    let alone = at("models/tune");
    assert_eq!((alone.rows.len(), alone.rows[0].2), (1, *tune));
    let before = whole(&scene).stored_bytes;
    let pattern = scene.top.join("models/tune").to_str().unwrap().to_owned();
    let options = RewriteOptions { excludes: vec![pattern], forget: true, ..RewriteOptions::default() };
    rewrite::run(&scene.repo(), &options, &Silent).unwrap();
    let freed = before - whole(&scene).stored_bytes;
    // New trees are written, old ones go.
    assert!(freed.abs_diff(tune.frees_bytes) < 4000, "{freed} {}", tune.frees_bytes);
}

#[test]
fn content_that_is_elsewhere_too_frees_nothing() {
    let scene = Scene::new();
    let content = bytes(7, 100_000);
    scene.put("a/file", &content);
    scene.put("b/file", &content);
    scene.put("b/own", &bytes(8, 50_000));
    let id = scene.take(1);
    let report = stats::directory(&scene.repo(), id, &scene.path(""), &Silent).unwrap();
    let [(_, _, a), (_, _, b)] = report.rows.as_slice() else { panic!() };
    assert!(a.frees_bytes < 2000 && a.unique_bytes == 100_000 && a.stored_bytes >= 100_000);
    assert!((50_000..52_000).contains(&b.frees_bytes));
    assert_eq!(report.all.unique_bytes, 150_000);
    assert!(report.all.frees_bytes > 150_000);
}

#[test]
fn what_is_lost_is_named_and_does_not_count() {
    let (scene, ids) = scene();
    let root = scene.repo().snapshot(ids[2]).unwrap().record.root;
    scene.lose(&BlobRef::new(BlobKind::Tree, root));
    let report = stats::repository(&scene.repo(), &Silent).unwrap();
    assert!(report.unreadable.iter().any(|(what, _)| what.contains("tree")), "{:?}", report.unreadable);
    assert_eq!(report.snapshots, 4);
    let rows = stats::snapshots(&scene.repo(), &ids, &Silent).unwrap();
    assert!(rows.rows[2].1.stored_bytes < rows.rows[1].1.stored_bytes && !rows.unreadable.is_empty());
    let elsewhere = stats::directory(&scene.repo(), ids[0], &scene.path(""), &Silent).unwrap();
    assert!(elsewhere.rows.len() == 2 && !elsewhere.unreadable.is_empty());
}

#[test]
fn an_empty_repository() {
    let scene = Scene::new();
    let report = whole(&scene);
    assert_eq!((report.snapshots, report.stored_bytes, report.oldest_ns), (0, 0, None));
    let (rows, together) = of(&scene, &[]);
    assert!(rows.is_empty() && together == 0);
}
