//! A check beside other runs: what they do meanwhile is no damage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ballast::id::{ObjectKind, ObjectName};
use ballast::op::check::NoteKind;
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::store::call::Method;
use ballast::store::fault::FaultStore;
use ballast::store::{PutMode, Store};
use support::{bytes, of, put, repack_everything};

use super::scene::*;

/// At each call of a check in turn, something else happens from beginning to end. Not while a tree
/// is read: that is the CPU pool's, which the other run needs itself.
fn at_every_call(data_too: bool, meanwhile: impl Fn(&Scene) + Send + Sync + 'static) {
    let scene = Arc::new(scene());
    let meanwhile = Arc::new(meanwhile);
    let options = if data_too { data() } else { structure() };
    let mut call = 1;
    loop {
        scene.reset();
        let store = Arc::new(FaultStore::new(scene.place.store.clone()));
        let (seen, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let repo = scene.place.open_through(store.clone());
        {
            let (scene, meanwhile) = (scene.clone(), meanwhile.clone());
            let (seen, done) = (seen.clone(), done.clone());
            let packs = scene.place.names(ObjectKind::Pack).len();
            let whole_packs = AtomicUsize::new(if data_too { packs } else { 0 });
            store.set_hook(move |call_now| {
                let less = |left: usize| left.checked_sub(1);
                let of_walk = call_now.method == Method::GetRange
                    && whole_packs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err();
                if !of_walk && seen.fetch_add(1, Ordering::SeqCst) + 1 == call {
                    meanwhile(&scene);
                    done.store(true, Ordering::SeqCst);
                }
            });
        }
        let report = run(&repo, &options);
        assert_eq!(report.faults, [], "call {call}: {:?}", report.notes);
        if !done.load(Ordering::SeqCst) {
            break;
        }
        call += 1 + call / 12;
    }
    assert!(call > 20, "{call}");
}

#[test]
fn a_prune_that_moves_and_deletes_everything() {
    for data_too in [false, true] {
        at_every_call(data_too, |scene| repack_everything(&scene.place.open_bare()));
    }
}

#[test]
fn a_snapshot_that_is_made_and_one_that_is_forgotten() {
    at_every_call(false, |scene| {
        put(scene.top.join("new"), &bytes(77, 50_000));
        snapshot::run(&scene.place.open_bare(), &of(&scene.top), &Silent).unwrap();
    });
    at_every_call(false, |scene| {
        use ballast::format::ledger::{Event, ForgetV1};
        let repo = scene.place.open_bare();
        let mut ledger = repo.ledger(true).unwrap();
        let id = ledger.committed()[0];
        let forget = Event::Forget(ForgetV1 { snapshots: vec![id], reason: "a test".into() });
        ledger.append(&repo, ballast::id::SessionId([1; 16]), &forget).unwrap();
        scene.place.store.remove(&id.into()).unwrap();
    });
}

/// At each put of a snapshot a whole check: unlisted packs and objects that are not committed yet
/// are notes at most.
#[test]
fn during_a_snapshot() {
    let scene = Arc::new(scene());
    let store = Arc::new(FaultStore::new(scene.place.store.clone()));
    let repo = scene.place.open_through(store.clone());
    put(scene.top.join("new/file"), &bytes(78, 900_000));
    let checks = Arc::new(AtomicU64::new(0));
    {
        let (scene, checks) = (scene.clone(), checks.clone());
        store.set_hook(move |call| {
            if call.method.is_mutating() {
                // One that wrote an entry whenever an entry is to be written would go on for ever.
                let options = if call.kind == Some(ObjectKind::Ledger) { structure() } else { data() };
                let report = run(&scene.place.open_bare(), &options);
                assert_eq!(report.faults, []);
                checks.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    // The check's own entry takes the number that the snapshot wants: it reads on.
    snapshot::run(&repo, &of(&scene.top), &Silent).unwrap();
    assert!(checks.load(Ordering::SeqCst) > 6);
}

#[test]
fn condemned_packs_and_leftovers_are_notes() {
    let scene = scene();
    let old: Vec<(ObjectName, Vec<u8>)> = scene
        .place
        .names(ObjectKind::Pack)
        .into_iter()
        .map(|name| (name.clone(), scene.place.store.get(&name, 1 << 30).unwrap()))
        .collect();
    repack_everything(&scene.place.open_bare());
    old.iter().for_each(|(name, bytes)| scene.place.store.put(name, bytes, PutMode::New).unwrap());
    let report = run(&scene.place.open_bare(), &data());
    assert_eq!(report.faults, []);
    let kinds: Vec<_> = report.notes.iter().map(|n| (n.kind, n.count, n.bytes)).collect();
    let bytes = old.iter().map(|(_, b)| b.len() as u64).sum();
    assert_eq!(kinds, [(NoteKind::CondemnedPacks, old.len() as u64, bytes)]);
    assert_eq!(report.counts.packs_read, report.counts.packs, "what is to be deleted is not read");
}

/// A fault that stays is reported, however much others write.
#[test]
fn damage_is_reported_though_the_head_moves_all_the_time() {
    let scene = Arc::new(scene());
    let victim = scene.place.names(ObjectKind::Pack)[0].clone();
    scene.place.store.remove(&victim).unwrap();
    let store = Arc::new(FaultStore::new(scene.place.store.clone()));
    let repo = scene.place.open_through(store.clone());
    let busy = scene.clone();
    store.set_hook(move |call| {
        if call.method == Method::List && call.kind == Some(ObjectKind::Index) {
            use ballast::format::ledger::{Event, ForgetV1};
            let repo = busy.place.open_bare();
            let mut ledger = repo.ledger(true).unwrap();
            let event = Event::Forget(ForgetV1 { snapshots: Vec::new(), reason: "busy".into() });
            ledger.append(&repo, ballast::id::SessionId([1; 16]), &event).unwrap();
        }
    });
    let report = run(&repo, &structure());
    assert_eq!(report.attempts, 4);
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    assert!(report.notes.iter().any(|n| n.kind == NoteKind::Moving));
    assert!(report.faults[0].touches.files + report.faults[0].touches.whole_snapshots.len() as u64 > 0);
}
