//! What was read is remembered: what was found bad is stored again by the next snapshot, and what
//! was found good need not be read again soon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ballast::entropy::{Clock, KernelEntropy, Surroundings};
use ballast::error::StoreErrorKind;
use ballast::id::{ObjectKind, ObjectName, PackId};
use ballast::op::check::{CheckOptions, FaultKind, NoteKind, Subset};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::fault::{Effect, Fault, FaultStore};
use support::{Calls, PASSWORD, assert_same, look, of};

use super::scene::*;

/// Packs that the ledger knows to be good.
fn good(scene: &Scene) -> BTreeSet<PackId> {
    let ledger = scene.place.open_bare().ledger(true).unwrap();
    let packs = scene.place.names(ObjectKind::Pack);
    packs.iter().map(|n| n.name.parse().unwrap()).filter(|id| ledger.verified(id).is_some()).collect()
}

/// A data pack with what the newest snapshot has of a file.
fn victim(scene: &Scene) -> ObjectName {
    let repo = scene.place.open_bare();
    let index = ballast::repo::index::Index::open(&repo, &repo.ledger(true).unwrap()).unwrap();
    let largest = index.packs().into_iter().filter(|p| p.pack_kind == 1).max_by_key(|p| p.size);
    largest.unwrap().id.into()
}

#[test]
fn the_next_snapshot_heals_what_was_found_bad() {
    let scene = scene();
    let now = look(&scene.top);
    let victim = victim(&scene);
    scene.place.store.tamper(&victim, |b| {
        let at = b.len() / 3;
        b[at] ^= 1;
    });
    // Without a check nobody knows: the damaged chunk is relied on.
    let before = scene.place.store.snapshot_state();
    let silent = scene.place.take(&scene.top);
    // Directories above the source may have changed.
    assert!(silent.new_bytes < 50_000);
    scene.reset_to(&before);

    let report = run(&scene.place.open(), &data());
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    assert_eq!(report.faults[0].kind, FaultKind::PackDamaged);
    assert_eq!(report.ledger_entries.len(), 1);
    let ledger = scene.place.open().ledger(true).unwrap();
    assert!(ledger.bad().map(|id| ObjectName::from(*id)).eq([victim.clone()]));
    // Remembered: a look at the structure reads what was found bad, and nothing else.
    let again = run(&scene.place.open(), &structure());
    assert_eq!((again.faults[0].kind, again.counts.packs_read), (FaultKind::PackDamaged, 1));
    assert_eq!((again.touches, again.ledger_entries), (report.touches, vec![]));

    let healed = scene.place.take(&scene.top);
    assert!(healed.new_bytes > 50_000);
    assert_same(&scene.place.open_bare(), healed.snapshot.unwrap(), &scene.top, &now);
    let after = run(&scene.place.open(), &data());
    assert_eq!((after.faults.len(), after.touches.files), (1, 0), "bad still, and nobody needs it");
    scene.place.store.remove(&victim).unwrap();
    assert_same(&scene.place.open_bare(), healed.snapshot.unwrap(), &scene.top, &now);
}

#[test]
fn what_a_bad_cable_did_is_forgiven() {
    let scene = scene();
    let store = Arc::new(FaultStore::new(scene.place.store.clone()));
    store.add(Fault::new(Method::GetRange, Effect::FlipBit(90_000)).on(ObjectKind::Pack));
    let report = run_through(&scene.place, store.clone(), &data());
    store.assert_all_hit();
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    assert_eq!(scene.place.open().ledger(true).unwrap().bad().count(), 1);
    // A share that does not hold it reads it all the same.
    let tiny = CheckOptions { subset: Some(Subset::Bytes(1)), ..structure() };
    let after = scene.place.store.snapshot_state();
    for options in [tiny, structure()] {
        scene.place.store.restore_state(&after);
        scene.forget_head();
        let report = run(&scene.place.open(), &options);
        assert_eq!((report.faults.len(), scene.place.open().ledger(true).unwrap().bad().count()), (0, 0));
    }
}

#[test]
fn a_store_that_fails_now_is_no_verdict_on_the_pack() {
    let scene = scene();
    for (kind, remembered) in [(StoreErrorKind::Transient, 0), (StoreErrorKind::Other, 1)] {
        scene.reset();
        let store = Arc::new(FaultStore::new(scene.place.store.clone()));
        store.add(Fault::new(Method::GetRange, Effect::Fail(kind)).on(ObjectKind::Pack));
        let report = run_through(&scene.place, store, &data());
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert_eq!(scene.place.open_bare().ledger(true).unwrap().bad().count(), remembered);
    }
}

struct At(AtomicI64);

impl Clock for At {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

const DAY_NS: i64 = 86_400_000_000_000;

#[test]
fn what_was_read_lately_is_not_read_again() {
    let scene = scene();
    let all = scene.place.names(ObjectKind::Pack).len() as u64;
    let clock = Arc::new(At(AtomicI64::new(support::surroundings().clock.now_ns())));
    let open = || {
        let surroundings = Surroundings { clock: clock.clone(), entropy: Arc::new(KernelEntropy) };
        Repository::open(scene.place.store.clone(), PASSWORD, &scene.place.options(), surroundings).unwrap()
    };
    let old = CheckOptions { max_age_secs: Some(30 * 86_400), ..structure() };
    let read = || run(&open(), &old).counts;
    assert_eq!((read().packs_read, read().packs_read), (all, 0));
    clock.0.fetch_add(29 * DAY_NS, Ordering::SeqCst);
    assert_eq!((read().packs_read, read().packs_left_out), (0, all));
    clock.0.fetch_add(2 * DAY_NS, Ordering::SeqCst);
    assert_eq!(read().packs_read, all);
    assert_eq!(read().packs_read, 0);
}

#[test]
fn seven_shares_cover_everything() {
    let scene = scene();
    let all: BTreeSet<PackId> =
        scene.place.names(ObjectKind::Pack).iter().map(|n| n.name.parse().unwrap()).collect();
    let mut read = 0;
    for number in 1..=7 {
        let share = CheckOptions { subset: Some(Subset::Share { number, of: 7 }), ..structure() };
        let report = run(&scene.place.open(), &share);
        assert_eq!(report.faults, []);
        assert_eq!(report.counts.packs_read + report.counts.packs_left_out, all.len() as u64);
        read += report.counts.packs_read;
    }
    assert_eq!((read, good(&scene)), (all.len() as u64, all));
}

#[test]
fn what_cannot_be_remembered_is_a_note() {
    let scene = scene();
    let store = Arc::new(FaultStore::new(scene.place.store.clone()));
    store.set_read_only(true);
    let report = run_through(&scene.place, store.clone(), &data());
    assert_eq!((report.faults.len(), report.ledger_entries.len()), (0, 0));
    assert_eq!(report.notes.iter().map(|n| n.kind).collect::<Vec<_>>(), [NoteKind::NotRemembered]);
    // Structure alone writes nothing at all.
    let mutations = store.mutations();
    assert_eq!(run_through(&scene.place, store.clone(), &structure()).notes, []);
    assert_eq!(store.mutations(), mutations);
}

#[test]
fn a_number_that_another_run_takes_is_no_hindrance() {
    let scene = Arc::new(scene());
    let store = Arc::new(FaultStore::new(scene.place.store.clone()));
    let repo = scene.place.open_through(store.clone());
    let (busy, times) = (scene.clone(), Arc::new(AtomicU64::new(0)));
    let counted = times.clone();
    store.set_hook(move |call| {
        let is_entry = call.method == Method::Put && call.kind == Some(ObjectKind::Ledger);
        if is_entry && counted.fetch_add(1, Ordering::SeqCst) < 2 {
            snapshot::run(&busy.place.open_bare(), &of(&busy.top), &Silent).unwrap();
        }
    });
    let report = run(&repo, &data());
    assert_eq!(times.load(Ordering::SeqCst), 3);
    assert_eq!(report.faults, []);
    let ledger = scene.place.open_bare().ledger(true).unwrap();
    assert_eq!(report.ledger_entries, [ledger.head()]);
    assert_eq!(good(&scene).len() as u64, report.counts.packs_read);
}

/// What was read before Ctrl-C is remembered.
#[test]
fn an_interrupted_check_keeps_what_it_read() {
    let scene = scene();
    let packs = scene.place.names(ObjectKind::Pack).len();
    let mut partly = 0;
    for n in 1..60 {
        scene.reset();
        let options = CheckOptions { threads: 1, ..data() };
        let outcome = ballast::op::check::run(&scene.place.open_bare(), &options, &Calls::stopping_at(n));
        let kept = good(&scene).len();
        match outcome {
            Err(error) => assert!(matches!(error, ballast::error::Error::Interrupted), "{error}"),
            Ok(_) => assert_eq!(kept, packs),
        }
        partly += usize::from(kept > 0 && kept < packs);
    }
    assert!(partly > 0);
}

/// The store is read once, and only what is asked for.
#[test]
fn each_pack_is_read_once() {
    use ballast::store::record::RecordStore;
    let scene = scene();
    let store = Arc::new(RecordStore::new(scene.place.store.clone()));
    let repo = scene.place.open_through(store.clone());
    store.take();
    run(&repo, &structure());
    assert_eq!(store.count(Method::Put, None), 0);
    let metadata = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    store.take();
    let report = run(&repo, &data());
    let read = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    assert_eq!(read, report.counts.bytes_read + metadata);
    assert_eq!(report.counts.bytes_read, scene.place.store.bytes_of(ObjectKind::Pack));
}
