use std::os::unix::ffi::OsStrExt;

use ballast::error::Error;
use ballast::format::tree::NodeKind;
use ballast::id::{BlobKind, BlobRef};
use ballast::op::find::{self, FindOptions, FindReport};
use ballast::progress::Silent;
use ballast::repo::snapshots::Filter;
use support::{Calls, bytes, of};

use super::scene::Scene;

fn looking(patterns: &[&str]) -> FindOptions {
    FindOptions { patterns: patterns.iter().map(|p| (*p).to_owned()).collect(), ..FindOptions::default() }
}

fn find(scene: &Scene, options: &FindOptions) -> FindReport {
    find::run(&scene.repo(), options, &Silent).unwrap()
}

/// Name, and for each version: length, first day, last day, how many; and the day on which it was gone.
fn told(scene: &Scene, report: &FindReport) -> Vec<String> {
    let day = |s: &find::Sighting| (s.time.to_ns() - Scene::day(1)) / 86_400_000_000_000 + 1;
    report
        .paths
        .iter()
        .map(|found| {
            let mut line = scene.name(&found.path).to_owned();
            for v in &found.versions {
                line += &format!(" {}:{}-{}x{}", v.size, day(&v.first), day(&v.last), v.snapshots);
            }
            line + &found.gone.as_ref().map(|gone| format!(" gone:{}", day(gone))).unwrap_or_default()
        })
        .collect()
}

#[test]
fn versions_over_time() {
    let scene = Scene::new();
    scene.put("conf/app.toml", b"one");
    scene.put("conf/other", b"never changes");
    scene.put("big", &bytes(1, 200_000));
    scene.take(1);
    scene.put("conf/app.toml", b"longer");
    scene.put("big", &[bytes(1, 200_000), bytes(2, 1000)].concat());
    scene.take(2);
    // A new time of change is no new version.
    scene.put("conf/app.toml", b"longer");
    std::fs::remove_file(scene.top.join("big")).unwrap();
    scene.take(3);
    scene.put("conf/app.toml", b"one");
    scene.take(5);
    let told = |patterns: &[&str]| told(&scene, &find(&scene, &looking(patterns)));
    assert_eq!(told(&["app.toml"]), ["conf/app.toml 3:1-1x1 6:2-3x2 3:5-5x1"]);
    assert_eq!(told(&["big"]), ["big 200000:1-1x1 201000:2-2x1 gone:3"]);
    assert_eq!(told(&["other"]), ["conf/other 13:1-5x4"]);
    assert_eq!(told(&["conf/"]), ["conf 0:1-5x4"], "of a directory only that it is there");
    assert_eq!(told(&["o*", "!other"]), Vec::<String>::new());
    let whole = scene.top.join("conf/*");
    assert_eq!(told(&[whole.to_str().unwrap()]).len(), 2);
    assert_eq!(told(&["top/*/app.toml"]).len(), 1);
    assert_eq!(told(&["APP.toml"]).len(), 0);
    let both = FindOptions { ignore_case: true, ..looking(&["APP.toml"]) };
    assert_eq!(find(&scene, &both).paths.len(), 1);
}

#[test]
fn only_what_was_asked_for() {
    let scene = Scene::new();
    scene.put("x/x", b"file");
    std::os::unix::fs::symlink("x", scene.top.join("x/xl")).unwrap();
    let first = scene.take(1);
    scene.take(2);
    let other = scene.take_by("there", 3, &of(&scene.top));
    let kinds = |kinds: &[NodeKind]| {
        let options = FindOptions { kinds: kinds.to_vec(), filter: of_host("here"), ..looking(&["x*"]) };
        told(&scene, &find(&scene, &options))
    };
    assert_eq!(kinds(&[NodeKind::File]), ["x/x 4:1-2x2"]);
    assert_eq!(kinds(&[NodeKind::Directory]), ["x 0:1-2x2"]);
    assert_eq!(kinds(&[NodeKind::Symlink]), ["x/xl 0:1-2x2"]);
    assert_eq!(kinds(&[]).len(), 3);
    let all = find(&scene, &looking(&["xl"]));
    let hosts: Vec<&str> = all.paths.iter().map(|f| f.host.as_str()).collect();
    assert_eq!((hosts, all.snapshots), (vec!["here", "there"], 3), "two files, though of one path");
    let chosen = FindOptions { snapshots: vec![other, first, first], ..looking(&["xl"]) };
    assert_eq!(find(&scene, &chosen).snapshots, 2);
    let late = Filter { since_ns: Some(Scene::day(2)), before_ns: Some(Scene::day(3)), ..Filter::default() };
    assert_eq!(find(&scene, &FindOptions { filter: late, ..looking(&["xl"]) }).snapshots, 1);
    for bad in [&[][..], &[""], &["../x"], &["a[z-a]"]] {
        let refused = find::run(&scene.repo(), &looking(bad), &Silent);
        assert!(matches!(refused, Err(Error::Usage(_))), "{bad:?}");
    }
}

fn of_host(host: &str) -> Filter {
    Filter { hosts: vec![host.into()], ..Filter::default() }
}

#[test]
fn gone_is_only_what_a_later_snapshot_would_have() {
    let scene = Scene::new();
    scene.put("a/file", b"1");
    scene.put("b/file", b"2");
    scene.take(1);
    std::fs::remove_file(scene.top.join("a/file")).unwrap();
    scene.take_by("here", 2, &of(scene.top.join("b")));
    scene.take_by("there", 3, &of(&scene.top));
    let report = find(&scene, &FindOptions { filter: of_host("here"), ..looking(&["file"]) });
    assert_eq!(told(&scene, &report), ["a/file 1:1-1x1", "b/file 1:1-2x2"]);
    scene.take_by("here", 4, &of(scene.top.join("a")));
    let report = find(&scene, &FindOptions { filter: of_host("here"), ..looking(&["file"]) });
    assert_eq!(told(&scene, &report), ["a/file 1:1-1x1 gone:4", "b/file 1:1-2x2"]);
}

#[test]
fn names_of_any_bytes() {
    let scene = Scene::new();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\n.bin");
    support::put(scene.top.join(odd), b"1");
    scene.take(1);
    let report = find(&scene, &looking(&["*.bin"]));
    assert!(report.paths[0].path.ends_with(b"/odd\xff\n.bin"));
}

#[test]
fn a_lost_directory_is_told_of_every_snapshot_that_has_it() {
    let scene = Scene::new();
    scene.put("sub/lost", b"1");
    let first = scene.take(1);
    scene.put("top", b"2");
    let second = scene.take(2);
    scene.put("top", b"3");
    let third = scene.take(3);
    let repo = scene.repo();
    scene.lose(&BlobRef::new(BlobKind::Tree, repo.snapshot(first).unwrap().record.root));
    let report = find(&scene, &looking(&["top", "lost"]));
    let unreadable: Vec<_> = report.unreadable.iter().map(|(id, _)| *id).collect();
    assert_eq!(unreadable, [first, second, third]);
    assert_eq!(
        told(&scene, &report),
        ["top 0:2-3x2", "top 1:2-2x1 1:3-3x1"].map(|l| l.replacen("top 0", " 0", 1))
    );
}

#[test]
fn a_stop_is_obeyed() {
    let scene = Scene::new();
    (0..50).for_each(|n| scene.put(&format!("{n}/file"), b"1"));
    scene.take(1);
    let asked = Calls::default();
    find::run(&scene.repo(), &looking(&["file"]), &asked).unwrap();
    assert!(asked.asked() > 50);
    let stopped = find::run(&scene.repo(), &looking(&["file"]), &Calls::stopping_at(20));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
