use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use ballast::error::Error;
use ballast::id::{BlobKind, BlobRef, SnapshotId};
use ballast::op::diff::{self, Change, DiffOptions, DiffReport, Side};
use ballast::progress::Silent;
use support::bytes;

use super::scene::Scene;

fn between(old: SnapshotId, new: SnapshotId) -> DiffOptions {
    let side = |snapshot| Side { snapshot, path: None };
    DiffOptions { old: side(old), new: side(new), metadata: false }
}

fn run(scene: &Scene, options: &DiffOptions) -> (BTreeMap<String, (Change, u64, u64)>, DiffReport) {
    let mut seen = BTreeMap::new();
    let report = diff::run(&scene.repo(), options, &Silent, &mut |c| {
        assert_eq!(
            (c.old.is_some(), c.new.is_some()),
            (c.change != Change::Added, c.change != Change::Removed)
        );
        let before = seen.insert(scene.name(c.path).to_owned(), (c.change, c.new_bytes, c.gone_bytes));
        assert!(before.is_none());
        Ok(())
    })
    .unwrap();
    (seen, report)
}

#[test]
fn each_kind_of_change() {
    let scene = Scene::new();
    for name in
        ["same", "mode", "touched", "content", "gone", "dir-gone/a/file", "becomes-link", "becomes-dir"]
    {
        scene.put(name, name.as_bytes());
    }
    let old = scene.take(1);
    std::fs::set_permissions(scene.top.join("mode"), std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.put("touched", b"touched");
    scene.put("content", b"another");
    std::fs::remove_file(scene.top.join("gone")).unwrap();
    std::fs::remove_dir_all(scene.top.join("dir-gone")).unwrap();
    scene.put("dir-new/b/file", b"12345");
    std::fs::remove_file(scene.top.join("becomes-link")).unwrap();
    std::os::unix::fs::symlink("same", scene.top.join("becomes-link")).unwrap();
    std::fs::remove_file(scene.top.join("becomes-dir")).unwrap();
    scene.put("becomes-dir/inside", b"1");
    let new = scene.take(2);
    let (seen, report) = run(&scene, &between(old, new));
    let of = |change| seen.iter().filter(|(_, c)| c.0 == change).map(|(n, _)| n.as_str()).collect::<Vec<_>>();
    assert_eq!(of(Change::Added), ["becomes-dir/inside", "dir-new", "dir-new/b", "dir-new/b/file"]);
    assert_eq!(of(Change::Removed), ["dir-gone", "dir-gone/a", "dir-gone/a/file", "gone"]);
    assert_eq!(of(Change::Content), ["content"]);
    assert_eq!(of(Change::Kind), ["becomes-dir", "becomes-link"]);
    assert_eq!(of(Change::Metadata), Vec::<&str>::new());
    assert_eq!((report.added.files, report.added.directories, report.added.bytes), (2, 2, 6));
    assert_eq!((report.removed.files, report.removed.directories), (2, 2));
    assert_eq!((report.changed.files, report.changed.directories, report.changed.others), (1, 1, 1));
    // The other way round.
    let (back, reverse) = run(&scene, &between(new, old));
    assert_eq!(back.len(), seen.len());
    assert_eq!((reverse.added, reverse.removed), (report.removed, report.added));
    let (seen, _) = run(&scene, &DiffOptions { metadata: true, ..between(old, new) });
    let mut metadata: Vec<_> =
        seen.iter().filter(|(_, c)| c.0 == Change::Metadata).map(|(n, _)| n.as_str()).collect();
    metadata.retain(|name| !name.is_empty());
    assert_eq!(metadata, ["mode", "touched"]);
    let (nothing, report) = run(&scene, &DiffOptions { metadata: true, ..between(new, new) });
    assert!(nothing.is_empty() && report.is_equal());
}

#[test]
fn how_much_of_a_file_is_new() {
    let scene = Scene::new();
    let (head, tail) = (bytes(1, 300_000), bytes(2, 50_000));
    scene.put("grows", &head);
    scene.put("shrinks", &[&head[..], &tail].concat());
    let old = scene.take(1);
    scene.put("grows", &[&head[..], &tail].concat());
    scene.put("shrinks", &head);
    let new = scene.take(2);
    let (seen, report) = run(&scene, &between(old, new));
    // To the chunk: those of up to 16 KiB at the edge change as well.
    let about = |bytes: u64, exact: u64| (exact..exact + (16 << 10)).contains(&bytes);
    let (change, more, less) = seen["grows"];
    assert!(change == Change::Content && about(more, 50_000) && less < 16 << 10, "{more} {less}");
    let (_, more, less) = seen["shrinks"];
    assert!(about(less, 50_000) && more < 16 << 10, "{more} {less}");
    assert!(report.changed_new_bytes >= 50_000 && report.changed_gone_bytes >= 50_000);
}

#[test]
fn parts_of_snapshots() {
    let scene = Scene::new();
    scene.put("a/one", b"1");
    scene.put("b/one", b"1");
    scene.put("b/two", b"2");
    let first = scene.take(1);
    scene.put("a/one", b"11");
    let second = scene.take(2);
    let side = |snapshot, name: &str| Side { snapshot, path: Some(scene.path(name)) };
    let options = DiffOptions { old: side(first, "a"), new: side(first, "b"), metadata: false };
    let (seen, _) = run(&scene, &options);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["b/two"], "named as on the new side");
    let options = DiffOptions { old: side(first, "b"), new: side(second, "b"), metadata: true };
    assert!(run(&scene, &options).1.is_equal());
    let options = DiffOptions { old: side(first, "a/one"), new: side(second, "a/one"), metadata: false };
    assert_eq!(run(&scene, &options).0["a/one"].0, Change::Content);
    let options = DiffOptions { old: side(first, "a/one"), new: side(second, "b"), metadata: false };
    let (seen, _) = run(&scene, &options);
    assert_eq!(seen["b"].0, Change::Kind);
    assert_eq!(seen.len(), 3, "and what is in it");
    let missing = DiffOptions { old: side(first, "none"), new: side(second, "b"), metadata: false };
    let refused = diff::run(&scene.repo(), &missing, &Silent, &mut |_| Ok(()));
    assert!(matches!(refused, Err(Error::NotFound { .. })));
}

#[test]
fn a_lost_directory_is_named_not_called_removed() {
    let scene = Scene::new();
    scene.put("sub/lost", b"1");
    scene.put("same/file", b"1");
    let first = scene.take(1);
    scene.put("sub/lost", b"2");
    scene.put("top", b"2");
    let second = scene.take(2);
    let root = scene.repo().snapshot(second).unwrap().record.root;
    scene.put("top", b"3");
    let third = scene.take(3);
    scene.lose(&BlobRef::new(BlobKind::Tree, root));
    let (seen, report) = run(&scene, &between(first, third));
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["top"]);
    assert_eq!(report.unreadable.len(), 1);
    assert!(report.unreadable[0].0.ends_with("/sub"));
}
