//! Damage to every pack of a repository full of differences: what is lost is what was in the damaged
//! frames and what stands on it, no more; a check says exactly that; and what has its bytes elsewhere
//! comes back, with all that stands on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ballast::error::Error;
use ballast::format::index::IndexedPack;
use ballast::id::{BlobKind, BlobRef, ObjectName, SnapshotId};
use ballast::op::check::{self, CheckOptions};
use ballast::op::prune;
use ballast::op::repair::index::{self, IndexOptions};
use ballast::op::repair::packs::{self, PacksOptions};
use ballast::op::repair::snapshots::{self, SnapshotsOptions};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::repo::reader::Reader;
use ballast::store::Store;
use ballast::store::memory::MemoryState;
use support::days;
use support::unreadable::unreadable;
use support::weeks::{self, Weeks, assert_full_of_differences};
use support::{assert_same, look, of, read_back};

use crate::deaths::{all, assert_sound};
use crate::grains::assert_full_of_grains;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Delete,
    Truncate,
    /// A bit of the frame with the greatest, or the least, height.
    Flip(bool),
    Swap,
}

const ACTIONS: [Action; 5] =
    [Action::Delete, Action::Truncate, Action::Flip(false), Action::Flip(true), Action::Swap];

struct Scene {
    weeks: Weeks,
    packs: BTreeMap<ObjectName, IndexedPack>,
    state: MemoryState,
    archive: PathBuf,
}

fn scene() -> Scene {
    let weeks = Weeks::take(4);
    assert_full_of_differences(&weeks.place.open_bare(), 3);
    of_weeks(weeks)
}

fn scene_of_days() -> Scene {
    let weeks = Weeks::take_of(4, days::write);
    assert_full_of_grains(&weeks.place.open_bare(), 3);
    of_weeks(weeks)
}

fn of_weeks(weeks: Weeks) -> Scene {
    let repo = weeks.place.open_bare();
    let (packs, state, archive) = (weeks::packs(&repo), weeks.place.store.snapshot_state(), weeks.archive());
    Scene { weeks, packs, state, archive }
}

type Frames = BTreeSet<(ObjectName, u32)>;

impl Scene {
    /// Does it; gives the frames that are spoilt by it.
    fn damage(&self, action: Action, name: &ObjectName) -> Frames {
        let store = &self.weeks.place.store;
        let frames = |name: &ObjectName, spoilt: &dyn Fn(u32, u32) -> bool| -> Frames {
            let all = self.packs[name].frames.iter();
            let hit = all.filter(|f| spoilt(f.offset, f.offset + f.stored_len));
            hit.map(|f| (name.clone(), f.offset)).collect()
        };
        match action {
            Action::Delete => {
                store.remove(name).unwrap();
                frames(name, &|_, _| true)
            }
            Action::Truncate => {
                let len = u32::try_from(self.packs[name].size * 2 / 3).unwrap();
                assert!(store.tamper(name, |b| b.truncate(len as usize)));
                frames(name, &|_, end| end > len)
            }
            Action::Flip(high) => {
                let all = self.packs[name].frames.iter();
                let frame = if high { all.max_by_key(|f| f.height) } else { all.min_by_key(|f| f.height) };
                let frame = frame.unwrap();
                let at = frame.offset + frame.stored_len / 2;
                assert!(store.tamper(name, |b| b[at as usize] ^= 0x10));
                frames(name, &|start, end| (start..end).contains(&at))
            }
            Action::Swap => {
                let other = self.packs.keys().find(|n| *n != name).unwrap();
                assert!(store.swap(name, other));
                &frames(name, &|_, _| true) | &frames(other, &|_, _| true)
            }
        }
    }

    /// Every blob of which the only copy is in such a frame, or stands on one that is lost.
    fn lost(&self, spoilt: &Frames) -> BTreeSet<BlobRef> {
        let mut frames: Vec<_> =
            self.packs.iter().flat_map(|(name, pack)| pack.frames.iter().map(move |f| (name, f))).collect();
        frames.sort_by_key(|(_, frame)| frame.height);
        let (mut had, mut all) = (BTreeSet::new(), BTreeSet::new());
        for (name, frame) in frames {
            let blobs = frame.blobs.iter().map(|b| (BlobKind::from_byte(b.kind).unwrap(), b.id));
            let blobs: Vec<BlobRef> = blobs.map(|(kind, id)| BlobRef::new(kind, id)).collect();
            all.extend(blobs.iter().copied());
            let base =
                |e: &ballast::format::frame::Edge| BlobRef::new(BlobKind::from_byte(e.kind).unwrap(), e.id);
            if !spoilt.contains(&(name.clone(), frame.offset))
                && frame.edges.iter().all(|edge| had.contains(&base(edge)))
            {
                had.extend(blobs);
            }
        }
        &all - &had
    }

    /// Calls `each` with every action on every pack, the damage done; of what the damage spoilt.
    fn for_all(&self, actions: &[Action], mut each: impl FnMut(&str, Action, &Frames)) {
        for name in self.packs.keys() {
            for action in actions {
                self.weeks.place.store.restore_state(&self.state);
                let spoilt = self.damage(*action, name);
                each(&format!("{action:?} on {name}"), *action, &spoilt);
            }
        }
    }

    /// Weeks that count and read back as they were.
    fn whole(&self) -> BTreeSet<SnapshotId> {
        let repo = self.weeks.place.open_bare();
        let committed = repo.ledger(false).map(|l| l.committed()).unwrap_or_default();
        let is_whole = |(id, seen): &&(SnapshotId, BTreeMap<PathBuf, support::Seen>)| {
            committed.contains(id)
                && read_back(&repo, *id)
                    .is_ok_and(|got| seen.iter().all(|(path, seen)| got.get(path) == Some(seen)))
        };
        self.weeks.all.iter().filter(is_whole).map(|(id, _)| *id).collect()
    }
}

#[test]
fn what_stands_on_the_damage_is_lost_and_found_and_nothing_else() {
    let (cases, beyond) = lost_and_found(&scene());
    assert!(cases > 30 && beyond > 100, "{cases} cases, {beyond} lost by their bases");
}

#[test]
fn units_that_stand_on_the_damage_are_lost_and_found_and_nothing_else() {
    let (cases, beyond) = lost_and_found(&scene_of_days());
    assert!(cases > 30 && beyond > 100, "{cases} cases, {beyond} lost by their bases");
}

fn lost_and_found(scene: &Scene) -> (usize, usize) {
    let place = &scene.weeks.place;
    let snapshots: Vec<SnapshotId> = scene.weeks.all.iter().map(|(id, _)| *id).collect();
    let everything: BTreeSet<BlobRef> = {
        let nothing_had = scene
            .packs
            .keys()
            .flat_map(|name| scene.packs[name].frames.iter().map(|f| (name.clone(), f.offset)));
        scene.lost(&nothing_had.collect())
    };
    let (mut beyond, mut cases) = (0, 0);
    scene.for_all(&ACTIONS, |what, _, spoilt| {
        let lost = scene.lost(spoilt);
        let direct = scene.packs.iter().flat_map(|(name, pack)| {
            pack.frames.iter().filter(move |f| spoilt.contains(&(name.clone(), f.offset)))
        });
        beyond += lost.len() - direct.map(|f| f.blobs.len()).sum::<usize>().min(lost.len());
        let repo = place.open_bare();
        let reader = Reader::open(&repo).unwrap();
        for blob in &everything {
            match reader.blob(blob.kind, blob.id) {
                Ok(bytes) => {
                    assert!(!lost.contains(blob), "{what}: {blob} is not there");
                    assert_eq!(repo.blob_id(blob.kind, &bytes), blob.id);
                }
                Err(error) => {
                    assert!(lost.contains(blob), "{what}: {blob} is there: {error}");
                    assert!(matches!(error, Error::Corrupt { .. } | Error::Missing { .. } | Error::Store(_)));
                }
            }
        }
        let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
        let before = place.store.snapshot_state();
        let report = check::run(&repo, &options, &Silent).unwrap();
        place.store.restore_state(&before);
        assert!(!report.faults.is_empty(), "{what}: not found");
        let naive = unreadable(place, &snapshots);
        assert_eq!(
            report.touches.whole_snapshots.iter().copied().collect::<BTreeSet<_>>(),
            naive.whole,
            "{what}"
        );
        assert_eq!(report.touches.snapshots, naive.snapshots.len() as u64, "{what}: {naive:?}");
        assert_eq!(report.touches.files, naive.paths.len() as u64, "{what}: {naive:?}");
        if naive.whole.is_empty() && lost.iter().all(|blob| blob.kind == BlobKind::Chunk) {
            let counted: u64 = report.faults.iter().map(|f| f.lost_blobs).sum();
            assert_eq!(counted, lost.len() as u64, "{what}: what stands on it counts");
        }
        cases += 1;
    });
    (cases, beyond)
}

type Operation = fn(&Repository, &Scene) -> Result<(), Error>;

const OPERATIONS: [(&str, Operation); 5] = [
    ("snapshot", |repo, scene| snapshot::run(repo, &of(&scene.weeks.top), &Silent).map(drop)),
    ("prune", |repo, _| prune::run(repo, &all(), &Silent).map(drop)),
    ("repair index --all", |repo, _| {
        index::run(repo, &IndexOptions { all: true, dry_run: false }, &Silent).map(drop)
    }),
    ("repair packs", |repo, _| {
        packs::run(repo, &PacksOptions { read_data: true, ..PacksOptions::default() }, &Silent).map(drop)
    }),
    ("repair snapshots", |repo, _| snapshots::run(repo, &SnapshotsOptions::default(), &Silent).map(drop)),
];

/// Each operation on a third of the cases: the packs are alike.
#[test]
fn no_operation_harms_what_does_not_stand_on_the_damage() {
    no_operation_harms(&scene());
}

#[test]
fn no_operation_harms_units_that_do_not_stand_on_the_damage() {
    no_operation_harms(&scene_of_days());
}

fn no_operation_harms(scene: &Scene) {
    let (mut turn, mut refused) = (0, 0);
    scene.for_all(&ACTIONS[..4], |what, _, _| {
        let damaged = scene.weeks.place.store.snapshot_state();
        let whole = scene.whole();
        for (at, (operation, run)) in OPERATIONS.into_iter().enumerate() {
            if (at + turn) % 3 != 0 {
                continue;
            }
            scene.weeks.place.store.restore_state(&damaged);
            let what = format!("{what}, then {operation}");
            let result = run(&scene.weeks.place.open_bare(), scene);
            let after = scene.whole();
            assert!(whole.is_subset(&after), "{what}: {result:?}");
            refused += usize::from(result.is_err());
        }
        turn += 1;
    });
    assert!(refused > 3, "{refused}");
}

/// With the bytes of all weeks at hand every chunk comes back, roots first, and what stands on them;
/// directories and lists are made again by the next snapshot.
#[test]
fn what_has_its_bytes_elsewhere_comes_back() {
    healed_from_elsewhere(&scene());
}

#[test]
fn units_that_have_their_bytes_elsewhere_come_back() {
    healed_from_elsewhere(&scene_of_days());
}

fn healed_from_elsewhere(scene: &Scene) {
    let place = &scene.weeks.place;
    scene.for_all(&ACTIONS[..3], |what, _, spoilt| {
        let chunks_only = scene.lost(spoilt).iter().all(|blob| blob.kind == BlobKind::Chunk);
        let before = scene.whole();
        let repo = place.open_bare();
        index::run(&repo, &IndexOptions { all: true, dry_run: false }, &Silent).unwrap();
        let options =
            PacksOptions { read_data: true, from: vec![scene.archive.clone()], ..PacksOptions::default() };
        packs::run(&repo, &options, &Silent).unwrap();
        let healed = scene.whole();
        assert!(before.is_subset(&healed), "{what}");
        if chunks_only {
            assert_eq!(healed.len(), 4, "{what}: every chunk can be had");
        }
        let report = snapshot::run(&place.open_bare(), &of(&scene.weeks.top), &Silent).unwrap();
        assert_same(&place.open_bare(), report.snapshot.unwrap(), &scene.weeks.top, &look(&scene.weeks.top));
        packs::run(&place.open_bare(), &PacksOptions::default(), &Silent).unwrap();
        let options = SnapshotsOptions { forget_unreadable: true, ..SnapshotsOptions::default() };
        snapshots::run(&place.open_bare(), &options, &Silent).unwrap();
        place.let_leases_lapse();
        prune::run(&place.open_bare(), &all(), &Silent).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_sound(place, what);
        assert!(healed.is_subset(&scene.whole()), "{what}: pruned");
    });
}
