//! `repair`: what can be read is kept, what is lost is marked and never made up, and a run that is
//! killed anywhere leaves nothing worse.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::error::Error;
use ballast::format::pack::PackKind;
use ballast::format::tree::NodeKind;
use ballast::id::{ObjectKind, ObjectName, PackId, SnapshotId};
use ballast::op::prune::{self, PruneOptions};
use ballast::op::repair::config;
use ballast::op::repair::index::{self, IndexOptions, IndexReport};
use ballast::op::repair::packs::{self, Fate, PacksOptions, PacksReport};
use ballast::op::repair::snapshots::{self, SnapshotsOptions, SnapshotsReport};
use ballast::op::restore::{self, RestoreOptions};
use ballast::op::{dump, snapshot};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, Repository};
use ballast::store::Store;
use ballast::store::fault::{Death, FaultStore};
use ballast::store::memory::MemoryState;
use support::{
    Place, Seen, assert_died_or_done, assert_same, bytes, look, of, put, read_back, tiny, walk_back,
};

type Tree = BTreeMap<PathBuf, Seen>;

/// Two snapshots of a few directories, in many packs.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Arc<Place>,
    all: Vec<(SnapshotId, Tree)>,
    state: MemoryState,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    // Several frames in a pack, so that one can lose some of them.
    let init = InitOptions { data_pack_min_bytes: 600 << 10, data_pack_max_bytes: 1 << 20, ..tiny() };
    let place = Arc::new(Place::new(&init));
    let mut all = Vec::new();
    for turn in 0..2u64 {
        for i in 0..12u64 {
            put(
                top.join(format!("d{}/f{turn}-{i}", i % 3)),
                &bytes(turn * 100 + i, 30_000 + i as usize * 500),
            );
        }
        put(top.join(format!("large{turn}")), &bytes(900 + turn, 900_000));
        put(
            top.join(format!("small{turn}")),
            b"a few words, kept in the node or in a small chunk, whichever it is",
        );
        let id = place.take(&top).snapshot.unwrap();
        all.push((id, look(&top)));
    }
    let state = place.store.snapshot_state();
    Scene { _dir: dir, top, place, all, state }
}

impl Scene {
    fn reset(&self, state: &MemoryState) {
        self.place.store.restore_state(state);
        fs::remove_dir_all(self.place.cache.path()).unwrap();
        fs::create_dir(self.place.cache.path()).unwrap();
    }

    /// Those of most frames first: which packs there are, and what is in them, is left to chance.
    fn packs(&self, kind: PackKind) -> Vec<PackId> {
        let repo = self.place.open_bare();
        let objects = self.place.names(ObjectKind::Index);
        let objects = objects.iter().map(|name| repo.index_object(name.name.parse().unwrap()).unwrap());
        let mut packs: Vec<_> = objects.flat_map(|object| object.packs).collect();
        packs.retain(|pack| pack.pack_kind == kind as u8);
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.frames.len()));
        packs.iter().map(|pack| pack.id).collect()
    }

    fn committed(&self) -> Vec<SnapshotId> {
        self.place.open_bare().ledger(true).unwrap().committed()
    }

    fn assert_whole(&self, what: &str) {
        let committed = self.committed();
        for (id, seen) in &self.all {
            assert!(committed.contains(id), "{what}: {id} is not committed");
            let got = read_back(&self.place.open_bare(), *id);
            drop(got.unwrap_or_else(|error| panic!("{what}: {error}")));
            assert_same(&self.place.open_bare(), *id, &self.top, seen);
        }
    }

    fn index(&self) -> IndexReport {
        index::run(&self.place.open(), &IndexOptions::default(), &Silent).unwrap()
    }

    fn repair(&self, options: &PacksOptions) -> PacksReport {
        packs::run(&self.place.open(), options, &Silent).unwrap()
    }

    fn mark(&self) -> SnapshotsReport {
        snapshots::run(&self.place.open(), &SnapshotsOptions::default(), &Silent).unwrap()
    }

    fn prune(&self) {
        self.place.let_leases_lapse();
        prune::run(&self.place.open(), &PruneOptions::default(), &Silent).unwrap();
    }

    fn flip(&self, pack: PackId, permille: usize) {
        assert!(self.place.store.tamper(&pack.into(), |bytes| {
            let at = bytes.len() * permille / 1000;
            bytes[at] ^= 4;
        }));
    }
}

fn names(scene: &Scene, kind: ObjectKind) -> Vec<ObjectName> {
    scene.place.names(kind)
}

#[test]
fn a_lost_index_is_made_again_from_packs() {
    let scene = scene();
    let objects = names(&scene, ObjectKind::Index);
    for way in 0..4 {
        scene.reset(&scene.state);
        for (at, name) in objects.iter().enumerate() {
            match way {
                0 => scene.place.store.remove(name).unwrap(),
                1 => drop(scene.place.store.tamper(name, |b| b.truncate(b.len() / 2))),
                2 if at == 0 => drop(scene.place.store.tamper(name, |b| b[50] ^= 1)),
                2 => {}
                _ if at == 0 => drop(scene.place.store.swap(name, &objects[1])),
                _ => {}
            }
        }
        assert!(read_back(&scene.place.open_bare(), scene.all[1].0).is_err());
        let dry = IndexOptions { dry_run: true, ..IndexOptions::default() };
        let before = scene.place.store.names();
        let planned = index::run(&scene.place.open_bare(), &dry, &Silent).unwrap();
        assert_eq!(scene.place.store.names(), before, "a dry run changes nothing");
        let report = scene.index();
        assert_eq!(report.listed, planned.listed);
        assert!(!report.listed.is_empty() && !report.needs_packs());
        assert_eq!(report.deleted_indexes, report.replaced.len() as u64);
        scene.assert_whole("index");
        let again = scene.index();
        assert!(again.listed.is_empty() && again.replaced.is_empty(), "{again:?}");
        scene.prune();
        scene.assert_whole("pruned");
        assert!(scene.place.take(&scene.top).new_bytes < 1000);
    }
}

/// A pack that is gone leaves the index; nothing else does.
#[test]
fn packs_that_are_gone_leave_the_index() {
    let scene = scene();
    let gone = scene.packs(PackKind::Data)[0];
    scene.place.store.remove(&gone.into()).unwrap();
    let before = scene.packs(PackKind::Data).len();
    let report = scene.index();
    assert_eq!(report.gone, [gone]);
    assert!(report.new_indexes == 1 && report.deleted_indexes == 1, "{report:?}");
    assert_eq!(scene.packs(PackKind::Data).len(), before - 1);
    let again = scene.index();
    assert!(again.gone.is_empty() && again.replaced.is_empty());
}

/// Somebody else is at work: what is replaced is condemned, and stays for now.
#[test]
fn index_objects_stay_while_others_are_at_work() {
    let scene = scene();
    let name = names(&scene, ObjectKind::Index)[0].clone();
    scene.place.store.tamper(&name, |b| b[60] ^= 1);
    let repo = scene.place.open_bare();
    let other = ballast::repo::session::Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let report = scene.index();
    assert_eq!((report.replaced.len(), report.deleted_indexes), (1, 0));
    drop(other);
    scene.assert_whole("beside another");
    scene.prune();
    assert!(!names(&scene, ObjectKind::Index).contains(&name));
    scene.assert_whole("after");
}

/// A pack that lost its end, one that is cut off, one with bytes behind, one with another's bytes:
/// every frame that is left is saved.
#[test]
fn what_can_be_read_of_a_bad_pack_is_saved() {
    let scene = scene();
    let data = scene.packs(PackKind::Data);
    let victim = data[0];
    let name: ObjectName = victim.into();
    let ways: [(&str, &dyn Fn()); 4] = [
        ("end", &|| scene.flip(victim, 999)),
        ("cut", &|| assert!(scene.place.store.tamper(&name, |b| b.truncate(b.len() - 40)))),
        ("long", &|| assert!(scene.place.store.tamper(&name, |b| b.extend([7; 100])))),
        ("swapped", &|| assert!(scene.place.store.swap(&name, &data[1].into()))),
    ];
    for (what, damage) in ways {
        scene.reset(&scene.state);
        damage();
        let options = PacksOptions { read_data: true, ..PacksOptions::default() };
        let report = scene.repair(&options);
        let fates: Vec<Fate> = report.packs.iter().map(|p| p.fate).collect();
        assert!(!fates.is_empty() && fates.iter().all(|f| *f == Fate::Condemned), "{what}: {report:?}");
        assert!(report.lost.is_empty(), "{what}: {report:?}");
        scene.assert_whole(what);
        scene.prune();
        assert!(!names(&scene, ObjectKind::Pack).contains(&name), "{what}");
        scene.assert_whole(what);
        assert!(scene.place.take(&scene.top).new_bytes < 1000, "{what}");
    }
}

#[test]
fn sizes_alone_tell_a_pack_that_was_cut_off() {
    let scene = scene();
    let victim = scene.packs(PackKind::Data)[0];
    scene.place.store.tamper(&victim.into(), |b| b.truncate(b.len() / 2));
    let report = scene.repair(&PacksOptions::default());
    assert_eq!(report.packs.len(), 1);
    assert!(report.packs[0].fate == Fate::Stays && report.packs[0].saved_blobs > 0, "{report:?}");
    assert!(report.lost["chunk"] > 0 && !report.snapshots.is_empty() && report.snapshots[0].files > 0);
    // The ledger says so now; a second run saves nothing twice.
    let again = scene.repair(&PacksOptions::default());
    assert_eq!(again.packs[0].saved_blobs, 0, "{again:?}");
    assert_eq!(again.lost, report.lost);
    // The next snapshot stores again what it finds, and then nothing is lost any more.
    let next = scene.place.take(&scene.top);
    assert!(next.new_bytes > 0);
    let healed = scene.repair(&PacksOptions::default());
    assert!(healed.lost.is_empty() && healed.packs[0].fate == Fate::Condemned, "{healed:?}");
    scene.assert_whole("healed by a snapshot");
    scene.prune();
    scene.assert_whole("pruned");
}

#[test]
fn what_is_lost_is_taken_from_files_on_disk() {
    let scene = scene();
    for victim in scene.packs(PackKind::Data) {
        for delete in [true, false] {
            scene.reset(&scene.state);
            match delete {
                true => scene.place.store.remove(&victim.into()).unwrap(),
                false => drop(scene.place.store.tamper(&victim.into(), |b| b.fill(0x55))),
            }
            let options = PacksOptions { from: vec![scene.top.clone()], ..PacksOptions::default() };
            let read = PacksOptions { read_data: true, ..options.clone() };
            let dry = PacksOptions { dry_run: true, ..read.clone() };
            let before = scene.place.store.names();
            let planned = packs::run(&scene.place.open_bare(), &dry, &Silent).unwrap();
            assert_eq!(scene.place.store.names(), before, "a dry run changes nothing");
            let report = scene.repair(&read);
            assert!(report.healed_chunks > 0 && report.lost.is_empty(), "{report:?}");
            assert_eq!(report.healed_chunks, planned.healed_chunks);
            scene.assert_whole("healed");
            scene.index();
            scene.prune();
            scene.assert_whole("pruned");
        }
    }
}

/// A pack that the ledger calls bad, and that is found whole, is trusted again.
#[test]
fn a_pack_that_is_whole_after_all_is_trusted_again() {
    let scene = scene();
    let victim = scene.packs(PackKind::Data)[0];
    let good = scene.place.store.get(&victim.into(), 1 << 30).unwrap();
    scene.flip(victim, 300);
    let report = scene.repair(&PacksOptions { packs: vec![victim], ..PacksOptions::default() });
    assert!(report.packs[0].fate == Fate::Stays && report.packs[0].lost_frames == 1, "{report:?}");
    assert!(scene.place.open_bare().ledger(true).unwrap().is_bad(&victim));
    // The disk was taken to somebody who could read it.
    scene.place.store.plant(&victim.into(), good);
    let report = scene.repair(&PacksOptions::default());
    assert!(report.packs[0].fate == Fate::Whole && report.lost.is_empty(), "{report:?}");
    assert!(!scene.place.open_bare().ledger(true).unwrap().is_bad(&victim));
    scene.assert_whole("trusted again");
}

fn restored(
    repo: &Repository,
    id: SnapshotId,
    top: &Path,
    salvage: bool,
) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let options = RestoreOptions {
        path: Some(top.to_str().unwrap().as_bytes().to_vec()),
        salvage,
        threads: 1,
        ..RestoreOptions::new(id, dir.path().to_owned())
    };
    let dry = restore::run(repo, &RestoreOptions { dry_run: true, ..options.clone() }, &Silent).unwrap();
    let report = restore::run(repo, &options, &Silent).unwrap();
    let problems = |r: restore::RestoreReport| -> Vec<String> {
        r.problems.iter().filter(|p| p.message.contains("lost")).map(|p| p.path.clone()).collect()
    };
    let (dry, real) = (problems(dry), problems(report));
    assert_eq!(dry, real);
    (dir, real)
}

/// Files that lost a part are marked; every other byte is where it was.
#[test]
fn what_is_lost_for_good_is_marked_and_never_made_up() {
    let scene = scene();
    let victims = scene.packs(PackKind::Data);
    for victim in &victims {
        scene.place.store.tamper(&(*victim).into(), |b| b.truncate(b.len() * 2 / 3));
    }
    scene.repair(&PacksOptions::default());
    let before: Vec<_> =
        scene.all.iter().map(|(id, _)| scene.place.open_bare().snapshot(*id).unwrap().record).collect();
    let dry = SnapshotsOptions { dry_run: true, ..SnapshotsOptions::default() };
    let names = scene.place.store.names();
    let planned = snapshots::run(&scene.place.open_bare(), &dry, &Silent).unwrap();
    assert_eq!(scene.place.store.names(), names, "a dry run changes nothing");
    let report = scene.mark();
    assert_eq!(report.repaired.len(), 2);
    assert_eq!(report.forgotten, scene.all.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let repo = scene.place.open_bare();
    for (one, planned) in report.repaired.iter().zip(&planned.repaired) {
        assert_eq!(one.losses, planned.losses);
        let at = scene.all.iter().position(|(id, _)| *id == one.old).unwrap();
        let (old, seen) = (&before[at], &scene.all[at].1);
        let id = one.new.unwrap();
        let new = repo.snapshot(id).unwrap().record;
        assert_eq!(
            (&new.time, &new.host, &new.paths, &new.tags),
            (&old.time, &old.host, &old.paths, &old.tags)
        );
        assert_eq!(new.original(), Some(one.old));
        assert!(new.partial && new.problem_count == one.losses.files);
        let reader = Reader::open(&repo).unwrap();
        let mut marked = BTreeMap::new();
        walk_back(&reader, new.root, Path::new("/"), &mut |path, node| {
            if let Some(lost) = node.lost() {
                assert!(node.kind == NodeKind::File && lost.bytes() > 0);
                marked.insert(path, (node.clone(), lost));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(marked.len() as u64, one.losses.files);
        assert_eq!(marked.values().map(|(_, l)| l.bytes()).sum::<u64>(), one.losses.lost_bytes);
        // Restored, all but those are as they were.
        let (dir, problems) = restored(&repo, id, &scene.top, false);
        assert_eq!(problems.len(), marked.len());
        for (path, seen) in seen.iter().filter(|(_, s)| s.kind == "file") {
            let below = dir.path().join(path.strip_prefix(&scene.top).unwrap());
            match marked.get(path) {
                Some(_) => assert!(!below.exists(), "{}", path.display()),
                None => assert_eq!(look(&below)[&below].content, seen.content, "{}", path.display()),
            }
        }
        let (dir, problems) = restored(&repo, id, &scene.top, true);
        assert_eq!(problems.len(), marked.len());
        for (path, (node, lost)) in &marked {
            let below = dir.path().join(path.strip_prefix(&scene.top).unwrap());
            assert!(!below.exists());
            let mut name = below.into_os_string();
            name.push(restore::DAMAGED);
            let got = fs::read(name).unwrap();
            let mut expected = fs::read(path).unwrap();
            for (offset, len) in &lost.ranges {
                expected[*offset as usize..(*offset + *len) as usize].fill(0);
            }
            assert!(got == expected, "{}: every other byte is where it was", path.display());
            assert_eq!(node.size, expected.len() as u64);
            let path = path.to_str().unwrap().as_bytes();
            let mut out = Vec::new();
            let error = dump::run(&repo, id, path, &mut out, &Silent).unwrap_err();
            assert!(matches!(error, Error::Lost { .. }) && out.is_empty(), "{error}");
            dump::salvage(&repo, id, path, &mut out, &Silent).unwrap();
            assert!(out == expected);
        }
    }
    // Nothing is lost any more; a second run finds nothing to do; prune goes through.
    let again = scene.mark();
    assert!(again.repaired.is_empty() && again.unreadable.is_empty(), "{again:?}");
    scene.prune();
    // The next snapshot reads marked files again, however unchanged they are.
    let next = scene.place.take(&scene.top);
    let last = &report.repaired.iter().find(|r| r.old == scene.all[1].0).unwrap().losses;
    assert_eq!(next.files_changed, last.files, "{next:?}");
    assert_same(&scene.place.open_bare(), next.snapshot.unwrap(), &scene.top, &look(&scene.top));
}

/// Directories whose names are lost stay, marked; of a large one only the part that is lost goes.
#[test]
fn lost_directories_are_marked() {
    let scene = scene();
    for i in 0..2500u64 {
        put(scene.top.join(format!("many/f{i:05}")), &bytes(5000 + i, 100));
    }
    let id = scene.place.take(&scene.top).snapshot.unwrap();
    let state = scene.place.store.snapshot_state();
    let repo = scene.place.open_bare();
    let reader = Reader::open(&repo).unwrap();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut found = Vec::new();
    walk_back(&reader, root, Path::new("/"), &mut |path, node| {
        if path == scene.top.join("many") || path == scene.top.join("d1") {
            let (nodes, parts) = reader.tree_with_parts(node.subtree().unwrap()).unwrap();
            found.push((path, node.subtree().unwrap(), nodes, parts));
        }
        Ok(())
    })
    .unwrap();
    drop(reader);
    for (path, tree, nodes, parts) in &found {
        scene.reset(&state);
        // A large one, which shares its frame with nothing.
        let repo = scene.place.open_bare();
        let reader = Reader::open(&repo).unwrap();
        let len = |part: &ballast::id::BlobId| {
            reader.tree_blob(ballast::id::BlobKind::TreePart, *part).unwrap().nodes.len()
        };
        let blob = match parts.iter().max_by_key(|part| len(part)) {
            Some(part) => ballast::id::BlobRef::new(ballast::id::BlobKind::TreePart, *part),
            None => ballast::id::BlobRef::new(ballast::id::BlobKind::Tree, *tree),
        };
        spoil(&scene, &blob);
        let read = scene.repair(&PacksOptions { read_data: true, ..PacksOptions::default() });
        assert!(!read.lost.is_empty() && read.snapshots.iter().any(|s| s.directories > 0), "{read:?}");
        // The top of an older snapshot may stand in the same frame.
        let options = SnapshotsOptions { forget_unreadable: true, ..SnapshotsOptions::default() };
        let report = snapshots::run(&scene.place.open(), &options, &Silent).unwrap();
        let new = report.repaired.iter().find(|r| r.old == id).unwrap().new.unwrap();
        let repo = scene.place.open_bare();
        let reader = Reader::open(&repo).unwrap();
        let below = scene.place.open_bare().snapshot(new).unwrap().record.root;
        let mut seen = false;
        walk_back(&reader, below, Path::new("/"), &mut |at, node| {
            if at == *path {
                seen = true;
                let left = reader.tree(node.subtree().unwrap()).unwrap();
                let lost = node.lost().unwrap();
                assert!(lost.ranges.is_empty());
                if parts.is_empty() {
                    assert_eq!((left.len(), lost.names), (0, 0));
                } else {
                    assert_eq!(left.len() as u64 + lost.names, nodes.len() as u64);
                    assert!(!left.is_empty());
                }
            }
            Ok(())
        })
        .unwrap();
        assert!(seen);
        let (_dir, problems) = restored(&repo, new, &scene.top, false);
        assert!(problems.iter().any(|p| Path::new(p) == path), "{problems:?}");
        scene.prune();
        let next = scene.place.take(&scene.top);
        assert_same(&scene.place.open_bare(), next.snapshot.unwrap(), &scene.top, &look(&scene.top));
    }
}

/// Flips a bit in every frame that holds the blob.
fn spoil(scene: &Scene, blob: &ballast::id::BlobRef) {
    use ballast::repo::index::Places;
    let _ = |p: &dyn Places| p.pack(0);
    let reader = Reader::open(&scene.place.open_bare()).unwrap();
    let index = reader.places();
    for place in index.places(blob).unwrap() {
        let name: ObjectName = index.pack(place.pack).unwrap().id.into();
        scene.place.store.tamper(&name, |b| b[place.offset as usize + 30] ^= 1);
    }
}

/// What is only out of the index, or in a bad pack, is not lost: `repair snapshots` refuses.
#[test]
fn nothing_is_marked_that_can_still_be_saved() {
    let scene = scene();
    scene.place.store.remove(&names(&scene, ObjectKind::Index)[0]).unwrap();
    let refused = snapshots::run(&scene.place.open_bare(), &SnapshotsOptions::default(), &Silent);
    assert!(
        matches!(&refused, Err(Error::NotWhole { what }) if what.contains("repair index")),
        "{refused:?}"
    );
    scene.index();
    // Marked bad by hand, and whole: its blobs can be read, but may not be relied on.
    let victim = scene.packs(PackKind::Data)[0];
    let mut ledger = scene.place.open_bare().ledger(true).unwrap();
    let event = ballast::format::ledger::Event::Verified(ballast::format::record::VerifiedV1 {
        method: 2,
        began: Default::default(),
        snapshot: None,
        good: Vec::new(),
        bad: vec![victim],
        extensions: Vec::new(),
    });
    ledger.append(&scene.place.open_bare(), ballast::id::SessionId([3; 16]), &event).unwrap();
    let refused = snapshots::run(&scene.place.open_bare(), &SnapshotsOptions::default(), &Silent);
    assert!(
        matches!(&refused, Err(Error::NotWhole { what }) if what.contains("repair packs")),
        "{refused:?}"
    );
    scene.repair(&PacksOptions::default());
    assert!(scene.mark().repaired.is_empty());
    scene.assert_whole("nothing was marked");
}

#[test]
fn unreadable_snapshots_are_forgotten_only_when_asked() {
    let scene = scene();
    let (first, second) = (scene.all[0].0, scene.all[1].0);
    scene.place.store.tamper(&first.into(), |b| b[70] ^= 1);
    let report = scene.mark();
    assert_eq!(report.unreadable.len(), 1);
    assert!(report.forgotten.is_empty() && scene.committed() == [first, second]);
    let options = SnapshotsOptions { forget_unreadable: true, ..SnapshotsOptions::default() };
    let report = snapshots::run(&scene.place.open(), &options, &Silent).unwrap();
    assert_eq!(report.forgotten, [first]);
    assert_eq!(scene.committed(), [second]);
    scene.prune();
    assert_same(&scene.place.open_bare(), second, &scene.top, &scene.all[1].1);
}

#[test]
fn a_lost_config_comes_back_and_a_good_one_is_left_alone() {
    let scene = scene();
    let name = ObjectName::config();
    let good = scene.place.store.get(&name, 1 << 20).unwrap();
    let report = config::run(&scene.place.open_bare(), false).unwrap();
    assert!(report.damage.is_none() && !report.written);
    assert_eq!(scene.place.store.get(&name, 1 << 20).unwrap(), good);
    for way in 0..3 {
        scene.reset(&scene.state);
        match way {
            0 => scene.place.store.remove(&name).unwrap(),
            1 => drop(scene.place.store.tamper(&name, |b| b[90] ^= 1)),
            _ => drop(scene.place.store.tamper(&name, Vec::clear)),
        }
        let dry = config::run(&scene.place.open_bare(), true).unwrap();
        assert!(dry.damage.is_some() && !dry.written);
        let report = config::run(&scene.place.open_bare(), false).unwrap();
        assert!(report.written);
        let repo = scene.place.open_bare();
        assert!(repo.take_notices().is_empty() && repo.config_object().is_ok());
        scene.assert_whole("config");
        assert_eq!(scene.place.store.count_of(ObjectKind::Lease), 0);
    }
}

/// Runs one repair through a store that dies at every change, before, torn and after. Nothing is worse
/// then, and the next run succeeds.
fn sweep(
    scene: &Scene,
    state: &MemoryState,
    run: &dyn Fn(&Repository) -> Result<(), Error>,
    after: &dyn Fn(&str),
) {
    scene.reset(state);
    let total = {
        let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
        run(&scene.place.open_through(fault.clone())).unwrap();
        fault.mutations()
    };
    after("undisturbed");
    assert!(total > 3, "{total} changes");
    for n in 1..=total {
        for death in [Death::Before, Death::Torn, Death::After] {
            scene.reset(state);
            let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
            let repo = scene.place.open_through(fault.clone());
            fault.die_at(n, death);
            let result = run(&repo);
            assert_died_or_done(&fault, &result);
            drop(repo);
            let what = format!("{death:?} at {n} of {total}: {:?}", result.err().map(|e| e.to_string()));
            // Names of ledger entries are given at once or not at all, whatever the store.
            if death == Death::Torn
                && scene.place.open_bare().ledger(false).is_ok_and(|ledger| !ledger.damage().is_empty())
            {
                continue;
            }
            scene.place.let_leases_lapse();
            run(&scene.place.open_bare()).unwrap_or_else(|e| panic!("{what}: the next run fails: {e}"));
            after(&what);
            scene.prune();
            after(&what);
        }
    }
}

#[test]
fn the_store_dies_at_every_change_of_a_repair_of_the_index() {
    let scene = scene();
    let objects = names(&scene, ObjectKind::Index);
    scene.place.store.remove(&objects[0]).unwrap();
    scene.place.store.tamper(objects.last().unwrap(), |b| b[44] ^= 1);
    let state = scene.place.store.snapshot_state();
    let run = |repo: &Repository| index::run(repo, &IndexOptions::default(), &Silent).map(drop);
    sweep(&scene, &state, &run, &|what| scene.assert_whole(what));
}

#[test]
fn the_store_dies_at_every_change_of_a_repair_of_packs() {
    let scene = scene();
    let victims = scene.packs(PackKind::Data);
    scene.place.store.tamper(&victims[0].into(), |b| b.truncate(b.len() * 2 / 3));
    scene.place.store.tamper(&victims[1].into(), |b| b.extend([1, 2, 3]));
    let state = scene.place.store.snapshot_state();
    let options = PacksOptions { from: vec![scene.top.clone()], ..PacksOptions::default() };
    let run = |repo: &Repository| packs::run(repo, &options, &Silent).map(drop);
    sweep(&scene, &state, &run, &|what| scene.assert_whole(what));
}

#[test]
fn the_store_dies_at_every_change_of_a_repair_of_snapshots() {
    let scene = scene();
    for victim in scene.packs(PackKind::Data) {
        scene.place.store.tamper(&victim.into(), |b| b.truncate(b.len() * 2 / 3));
    }
    scene.repair(&PacksOptions::default());
    let state = scene.place.store.snapshot_state();
    let run = |repo: &Repository| snapshots::run(repo, &SnapshotsOptions::default(), &Silent).map(drop);
    let after = |what: &str| {
        let repo = scene.place.open_bare();
        let committed = scene.committed();
        // One successor each, whenever it was killed.
        assert_eq!(committed.len(), 2, "{what}");
        for (old, seen) in &scene.all {
            let new =
                committed.iter().find(|id| repo.snapshot(**id).unwrap().record.original() == Some(*old));
            let got = read_back(&repo, *new.unwrap_or_else(|| panic!("{what}"))).unwrap();
            assert!(seen.keys().all(|path| got.contains_key(path)), "{what}");
        }
    };
    sweep(&scene, &state, &run, &after);
}

#[test]
fn the_store_dies_at_every_change_of_a_repair_of_the_config() {
    let scene = scene();
    scene.place.store.tamper(&ObjectName::config(), |b| b[80] ^= 1);
    let state = scene.place.store.snapshot_state();
    let run = |repo: &Repository| config::run(repo, false).map(drop);
    scene.reset(&state);
    for n in 1..=2 {
        for death in [Death::Before, Death::Torn, Death::After] {
            scene.reset(&state);
            let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
            let repo = scene.place.open_through(fault.clone());
            fault.die_at(n, death);
            drop(run(&repo));
            drop(repo);
            scene.assert_whole("killed");
            run(&scene.place.open_bare()).unwrap();
            assert!(scene.place.open_bare().config_object().is_ok());
            scene.assert_whole("config");
        }
    }
}

/// A snapshot is committed, and another repair condemns, between the look and the entry.
#[test]
fn entries_of_others_in_between_begin_it_anew() {
    use ballast::store::call::Method;
    use std::sync::atomic::{AtomicBool, Ordering};
    let scene = scene();
    let victim = scene.packs(PackKind::Data)[0];
    scene.place.store.tamper(&victim.into(), |b| b.extend([1]));
    let state = scene.place.store.snapshot_state();
    for other in ["snapshot", "repair"] {
        scene.reset(&state);
        let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
        let (place, top, hit) = (scene.place.clone(), scene.top.clone(), Arc::new(AtomicBool::new(false)));
        let said = hit.clone();
        fault.set_hook(move |call| {
            if call.method == Method::Put
                && call.kind == Some(ObjectKind::Ledger)
                && !said.swap(true, Ordering::SeqCst)
            {
                match other {
                    "snapshot" => drop(snapshot::run(&place.open_bare(), &of(&top), &Silent).unwrap()),
                    _ => drop(packs::run(&place.open_bare(), &PacksOptions::default(), &Silent).unwrap()),
                }
            }
        });
        let repo = scene.place.open_through(fault);
        let report = packs::run(&repo, &PacksOptions::default(), &Silent).unwrap();
        assert!(hit.load(Ordering::SeqCst) && report.lost.is_empty());
        scene.assert_whole(other);
        scene.prune();
        scene.assert_whole(other);
        assert!(!names(&scene, ObjectKind::Pack).contains(&victim.into()));
    }
}

/// A pack that was put and indexed after the names in `data/` were listed stands all the same.
#[test]
fn a_pack_put_meanwhile_is_not_called_gone() {
    use ballast::store::call::Method;
    use std::sync::atomic::{AtomicBool, Ordering};
    let scene = scene();
    let name = names(&scene, ObjectKind::Index)[0].clone();
    scene.place.store.tamper(&name, |b| b[60] ^= 1);
    put(scene.top.join("meanwhile"), &bytes(4000, 300_000));
    let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
    let (place, top, hit) = (scene.place.clone(), scene.top.clone(), AtomicBool::new(false));
    fault.set_hook(move |call| {
        let listing = call.method == Method::List && call.kind == Some(ObjectKind::Index);
        if listing && !hit.swap(true, Ordering::SeqCst) {
            drop(snapshot::run(&place.open_bare(), &of(&top), &Silent).unwrap());
        }
    });
    let report = index::run(&scene.place.open_through(fault), &IndexOptions::default(), &Silent).unwrap();
    assert!(report.gone.is_empty() && report.replaced == [name.name.parse().unwrap()], "{report:?}");
    let last = *scene.committed().last().unwrap();
    assert_same(&scene.place.open_bare(), last, &scene.top, &look(&scene.top));
}
