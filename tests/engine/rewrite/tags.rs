//! Tags.

use std::sync::Arc;

use ballast::error::Error;
use ballast::format::ledger::{CondemnV1, Event};
use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::forget::{self, ForgetOptions};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::op::tag::{self, Change, TagOptions, TagReport};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use support::{assert_same, bytes, look, of, open_at, put};

use crate::scene::{DAY_NS, Scene, append};

fn tag(repo: &Repository, change: Change, tags: &[&str], ids: &[SnapshotId]) -> Result<TagReport, Error> {
    let tags = tags.iter().map(|t| (*t).to_owned()).collect();
    tag::run(repo, &TagOptions { snapshots: ids.to_vec(), change, tags }, &Silent)
}

fn tags_of(repo: &Repository, id: SnapshotId) -> Vec<String> {
    repo.snapshot(id).unwrap().record.tags.iter().map(|t| t.0.clone()).collect()
}

#[test]
fn tags_change_and_nothing_else() {
    let scene = Scene::new(3);
    let ids = scene.ids();
    let repo = scene.place.open();
    let report = tag(&repo, Change::Add, &["keep", "weekly"], &ids[1..]).unwrap();
    let new: Vec<SnapshotId> = report.changed.iter().map(|t| t.new).collect();
    assert_eq!(report.changed.iter().map(|t| t.old).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(scene.committed(), [ids[0], new[0], new[1]]);
    assert_eq!(scene.objects(), 3, "the old objects are gone");
    for ((old, seen), new) in scene.all[1..].iter().zip(&new) {
        assert_eq!(tags_of(&repo, *new), ["keep", "weekly"]);
        let record = repo.snapshot(*new).unwrap().record;
        assert_eq!(record.original(), Some(*old));
        assert_eq!(record.description.0, "as it was");
        assert_same(&scene.place.open_bare(), *new, &scene.top, seen);
    }
    assert_eq!(scene.place.store.count_of(ObjectKind::Lease), 0);

    let entries = scene.place.open_bare().ledger(true).unwrap().head();
    let same = tag(&repo, Change::Add, &["keep"], &new).unwrap();
    assert_eq!((same.changed.len(), same.unchanged.as_slice()), (0, &new[..]));
    assert_eq!(scene.place.open_bare().ledger(true).unwrap().head(), entries, "nothing to write");

    let removed = tag(&repo, Change::Remove, &["weekly", "none"], &new[..1]).unwrap().changed[0].new;
    assert_eq!(tags_of(&repo, removed), ["keep"]);
    let original = repo.snapshot(removed).unwrap().record.original();
    assert_eq!(original, Some(ids[1]), "the first one of all");
    let set = tag(&repo, Change::Set, &["b", "a", "b"], &[removed]).unwrap().changed[0].new;
    assert_eq!(tags_of(&repo, set), ["a", "b"]);
    let bare = tag(&repo, Change::Set, &[], &[set]).unwrap().changed[0].new;
    assert!(tags_of(&repo, bare).is_empty());
    assert!(matches!(tag(&repo, Change::Add, &["x"], &[ids[1]]), Err(Error::NotFound { .. })));
    assert!(matches!(tag(&repo, Change::Add, &[], &[bare]), Err(Error::Usage(_))));
    assert_eq!(scene.committed(), [ids[0], new[1], bare]);
}

#[test]
fn the_store_dies_at_every_change() {
    let scene = Scene::new(3);
    let ids = scene.ids();
    let mut half_way = 0;
    let half_way = std::cell::RefCell::new(&mut half_way);
    let mutations = scene.sweep(
        |repo| tag(repo, Change::Add, &["keep"], &ids[..2]).is_ok(),
        |what, done| {
            let check = |finished: bool| {
                let committed = scene.committed();
                for (at, (old, seen)) in scene.all.iter().enumerate() {
                    let repo = scene.place.open_bare();
                    let alike: Vec<SnapshotId> = committed
                        .iter()
                        .copied()
                        .filter(|id| id == old || repo.snapshot(*id).unwrap().record.original() == Some(*old))
                        .collect();
                    assert!(!alike.is_empty(), "{what}: the {at}th is lost");
                    alike.iter().for_each(|id| assert_same(&repo, *id, &scene.top, seen));
                    if finished {
                        assert_eq!(alike.len(), 1, "{what}: the {at}th is there twice");
                        let keep = tags_of(&repo, alike[0]).contains(&"keep".to_owned());
                        assert_eq!(keep, at < 2, "{what}");
                    }
                    **half_way.borrow_mut() += usize::from(alike.len() > 1);
                }
            };
            check(done);
            // As one does: whatever of them is there gets the tag.
            let repo = scene.place.open_bare();
            let again: Vec<SnapshotId> = scene.committed().into_iter().filter(|id| *id != ids[2]).collect();
            tag(&repo, Change::Add, &["keep"], &again).unwrap_or_else(|e| panic!("{what}: {e}"));
            check(true);
        },
    );
    assert!(mutations >= 10, "{mutations}");
    assert!(*half_way.into_inner() > 0, "some run died between the two entries");
}

/// The new one of a killed run is found by what it says, also when only that one is named.
#[test]
fn a_rerun_only_forgets() {
    let scene = Scene::new(1);
    let old = scene.ids()[0];
    let theirs = scene.place.clone();
    let state = std::sync::Mutex::new(None);
    let state = Arc::new(state);
    let kept = state.clone();
    let fault = Arc::new(ballast::store::fault::FaultStore::new(scene.place.store.clone()));
    let entries = std::sync::atomic::AtomicU64::new(0);
    fault.set_hook(move |call| {
        let put = call.method == ballast::store::call::Method::Put && call.kind == Some(ObjectKind::Ledger);
        if put && entries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            *kept.lock().unwrap() = Some(theirs.store.snapshot_state());
        }
    });
    let bare = OpenOptions { cache_dir: None, ..scene.place.options() };
    let made = tag(&open_at(fault, &bare).unwrap(), Change::Add, &["x"], &[old]).unwrap().changed[0].new;
    let between = state.lock().unwrap().take().unwrap();
    for named in [vec![old], vec![made], vec![old, made]] {
        scene.place.store.restore_state(&between);
        scene.place.let_leases_lapse();
        assert_eq!(scene.committed(), [old, made]);
        tag(&scene.place.open_bare(), Change::Add, &["x"], &named).unwrap();
        assert_eq!(scene.committed(), [made], "{named:?}");
    }
}

#[test]
fn another_commit_takes_the_number() {
    let scene = Scene::new(2);
    let old = scene.ids()[0];
    let (theirs, top) = (scene.place.clone(), scene.top.clone());
    let repo = scene.interrupted_at(ObjectKind::Ledger, move || {
        snapshot::run(&theirs.open_bare(), &of(&top), &Silent).unwrap();
    });
    let report = tag(&repo, Change::Add, &["x"], &[old]).unwrap();
    let committed = scene.committed();
    assert_eq!((committed.len(), committed[0], committed[2]), (3, scene.ids()[1], report.changed[0].new));
    assert_eq!(scene.held(committed[2]), scene.all[0].1);
}

/// What was forgotten must not come back under another name: its data may be condemned already.
#[test]
fn the_old_one_is_forgotten_in_between() {
    for kind in [ObjectKind::Snapshot, ObjectKind::Ledger] {
        let scene = Scene::new(2);
        let ids = scene.ids();
        let (theirs, gone) = (scene.place.clone(), ids[0]);
        let repo = scene.interrupted_at(kind, move || {
            let options = ForgetOptions { ids: vec![gone], ..ForgetOptions::default() };
            forget::run(&theirs.open_bare(), &options, &Silent).unwrap();
        });
        let report = tag(&repo, Change::Add, &["x"], &ids).unwrap();
        assert_eq!(report.vanished, [ids[0]], "{kind:?}");
        assert_eq!(scene.committed(), [report.changed[0].new]);
        assert_eq!(report.changed[0].old, ids[1]);
    }
}

/// A prune that held this run for dead condemns the object it has put: another one is made.
#[test]
fn the_new_one_is_condemned_before_its_commit() {
    let scene = Scene::new(1);
    let old = scene.ids()[0];
    let theirs = scene.place.clone();
    let repo = scene.interrupted_at(ObjectKind::Ledger, move || {
        let names = theirs.names(ObjectKind::Snapshot);
        let dead: Vec<SnapshotId> =
            names.iter().map(|n| n.name.parse().unwrap()).filter(|id| *id != old).collect();
        assert_eq!(dead.len(), 1);
        let condemn = CondemnV1 { packs: vec![], indexes: vec![], snapshots: dead.clone() };
        append(&theirs.open_bare(), &Event::Condemn(condemn));
        theirs.store.remove(&dead[0].into()).unwrap();
    });
    let report = tag(&repo, Change::Add, &["x"], &[old]).unwrap();
    assert_eq!(scene.committed(), [report.changed[0].new]);
    assert_eq!(scene.held(report.changed[0].new), scene.all[0].1);
}

/// An old snapshot with a new tag is the last one committed, but no newer for it.
#[test]
fn a_tag_does_not_change_who_is_parent() {
    let scene = Scene::new(2);
    let ids = scene.ids();
    tag(&scene.place.open(), Change::Add, &["x"], &ids[..1]).unwrap();
    let next = scene.place.take(&scene.top);
    assert_eq!((next.parent, next.read_bytes), (Some(ids[1]), 0));
    // The newest one with a tag takes over, and its ids need no look-up: this machine vouches for it.
    let newest = tag(&scene.place.open(), Change::Add, &["x"], &[next.snapshot.unwrap()]).unwrap();
    let repo = scene.place.open();
    let index = ballast::repo::index::Index::open(&repo, &repo.ledger(true).unwrap()).unwrap();
    let tagged = repo.snapshot(newest.changed[0].new).unwrap();
    assert!(index.vouches_for(&tagged.record.root));
    drop(index);
    let last = scene.place.take(&scene.top);
    assert_eq!((last.parent, last.read_bytes), (Some(newest.changed[0].new), 0));
}

/// A machine that has never seen a snapshot whole does not vouch for it because it changed its tags.
#[test]
fn a_tag_is_no_warrant() {
    let scene = Scene::new(1);
    put(scene.top.join("lost"), &bytes(77, 90_000));
    let before = scene.place.names(ObjectKind::Pack);
    let options = SnapshotOptions { time_ns: Some(DAY_NS), ..of(&scene.top) };
    let id = snapshot::run(&scene.place.open_bare(), &options, &Silent).unwrap().snapshot.unwrap();
    let pack = scene
        .place
        .names(ObjectKind::Pack)
        .into_iter()
        .find(|n| !before.contains(n) && scene.place.store.stat(n).unwrap().size_bytes > 80_000);
    scene.place.store.remove(&pack.unwrap()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let options = OpenOptions { cache_dir: Some(elsewhere.path().into()), ..scene.place.options() };
    let open = || open_at(scene.place.store.clone(), &options).unwrap();
    tag(&open(), Change::Add, &["x"], &[id]).unwrap();
    let next = snapshot::run(&open(), &of(&scene.top), &Silent).unwrap();
    assert!(next.read_bytes >= 90_000, "what was lost is read again: {next:?}");
    assert_same(&scene.place.open_bare(), next.snapshot.unwrap(), &scene.top, &look(&scene.top));
}
