//! Every kind of damage to every kind of object, looked for in three ways.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ballast::id::{ObjectKind, ObjectName, SnapshotId};
use ballast::op::check::{self, CheckReport, FaultKind, Method, NoteKind, Repair};
use ballast::progress::Silent;

use super::scene::*;

/// Must a check of this method find it?
fn must_be_found(kind: ObjectKind, action: Action, method: Method, is_last: bool) -> bool {
    let keyed = method != Method::Names;
    match kind {
        // A copy of it is in each key file, another key is whole, and a lease only delays.
        ObjectKind::Key => !keyed && action == Action::Swap,
        ObjectKind::Lease => false,
        ObjectKind::Config => keyed || matches!(action, Action::Delete | Action::Empty | Action::Flip(0)),
        ObjectKind::Pack => match method {
            Method::Structure => action.changes_length(),
            Method::Data => true,
            Method::Names => action != Action::Delete,
        },
        ObjectKind::Index | ObjectKind::Snapshot => keyed || action != Action::Delete,
        ObjectKind::Ledger => {
            let torn = matches!(action, Action::Empty | Action::Flip(0));
            keyed || torn || (action == Action::Delete && !is_last)
        }
    }
}

fn repairs_of(kind: ObjectKind, action: Action) -> &'static [Repair] {
    match kind {
        ObjectKind::Config => &[Repair::Config],
        ObjectKind::Pack if action == Action::Delete => &[Repair::Index, Repair::Snapshots],
        ObjectKind::Pack => &[Repair::Packs, Repair::Snapshots],
        ObjectKind::Index => &[Repair::Index],
        ObjectKind::Snapshot => &[Repair::Snapshots],
        ObjectKind::Ledger | ObjectKind::Key | ObjectKind::Lease => &[],
    }
}

#[test]
fn what_matters_is_found_and_what_it_touches_is_named() {
    let scene = scene();
    let (place, store) = (&scene.place, &scene.place.store);
    let committed = place.open().ledger(true).unwrap().committed();
    let mut cases = 0;
    for kind in ObjectKind::ALL {
        let names = place.names(kind);
        assert!(!names.is_empty(), "{kind:?}");
        for name in &names {
            for action in ACTIONS {
                scene.reset();
                let hit = scene.damage(action, name);
                if hit.is_empty() {
                    continue;
                }
                let damaged = store.snapshot_state();
                let is_last = kind == ObjectKind::Ledger
                    && names.iter().all(|n| n.name.len() < name.name.len() || n.name <= name.name);
                for method in [Method::Structure, Method::Data, Method::Names] {
                    scene.reset_to(&damaged);
                    let what = format!("{action:?} on {name}, {method:?}");
                    let report = catch_unwind(AssertUnwindSafe(|| match method {
                        Method::Names => Some(check::scrub(store.as_ref(), &structure(), &Silent).unwrap()),
                        Method::Data => scene.open().map(|repo| run(&repo, &data())),
                        Method::Structure => scene.open().map(|repo| run(&repo, &structure())),
                    }))
                    .unwrap_or_else(|_| panic!("{what}: panicked"));
                    let Some(report) = report else {
                        assert!(kind == ObjectKind::Key && action == Action::Swap, "{what}: not opened");
                        continue;
                    };
                    cases += 1;
                    if must_be_found(kind, action, method, is_last) {
                        assert!(!report.faults.is_empty(), "{what}: not found");
                    }
                    judge(&report, kind, action, &hit, &what);
                    let reads_it = method == Method::Data
                        || (method == Method::Structure
                            && action.changes_length()
                            && kind == ObjectKind::Pack);
                    let counts = matches!(kind, ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot);
                    if reads_it && counts {
                        scene.reset_to(&damaged);
                        compare(&report, &unreadable(place, &committed), &what);
                    }
                }
            }
        }
    }
    assert!(cases > 300, "{cases}");
}

fn judge(report: &CheckReport, kind: ObjectKind, action: Action, hit: &[ObjectName], what: &str) {
    for fault in &report.faults {
        let about_it = match fault.kind {
            FaultKind::Unindexed | FaultKind::Missing => kind == ObjectKind::Index,
            FaultKind::Ledger => kind == ObjectKind::Ledger,
            FaultKind::Keys => kind == ObjectKind::Key,
            _ => fault.objects.iter().all(|o| hit.iter().any(|h| h.to_string() == *o)),
        };
        assert!(about_it, "{what}: {fault:?}");
        for repair in &fault.repair {
            let right = repairs_of(kind, action).contains(repair);
            assert!(right, "{what}: {fault:?}");
        }
        let words = &fault.reason;
        assert!(!words.is_empty() && !words.contains("internal"), "{what}: {fault:?}");
    }
    let spare = report.notes.iter().filter(|n| n.kind == NoteKind::SpareKey).count();
    if kind == ObjectKind::Key && !matches!(action, Action::Delete | Action::Swap) {
        assert_eq!((spare, report.faults.len()), (1, 0), "{what}");
    }
    if kind == ObjectKind::Lease {
        assert_eq!((&report.faults[..], &report.notes[..]), (&[][..], &[][..]), "{what}");
    }
}

/// The files that are named are those that a naive walk cannot read.
fn compare(report: &CheckReport, naive: &Unreadable, what: &str) {
    let whole: BTreeSet<SnapshotId> = report.touches.whole_snapshots.iter().copied().collect();
    assert_eq!(whole, naive.whole, "{what}");
    assert_eq!(report.touches.snapshots, naive.snapshots.len() as u64, "{what}: {naive:?}");
    assert_eq!(report.touches.files, naive.paths.len() as u64, "{what}: {naive:?}");
    for fault in &report.faults {
        for touched in &fault.touches.first {
            assert!(naive.paths.contains(&touched.path[..]), "{what}: {touched:?} can be read");
            assert!(naive.snapshots.contains(&touched.snapshot), "{what}: {touched:?}");
        }
        let shown = fault.touches.first.len() as u64;
        assert_eq!(shown, fault.touches.files.min(10), "{what}");
    }
    let named: BTreeSet<_> =
        report.faults.iter().flat_map(|f| &f.touches.first).map(|t| t.path.to_vec()).collect();
    if naive.paths.len() < 10 {
        assert_eq!(named, naive.paths, "{what}");
    }
}

#[test]
fn nothing_is_reported_where_nothing_is_wrong() {
    let scene = scene();
    for options in [structure(), data()] {
        let report = run(&scene.place.open(), &options);
        assert_eq!((&report.faults[..], &report.notes[..]), (&[][..], &[][..]));
        assert_eq!((report.attempts, report.counts.snapshots, report.counts.keys), (1, 3, 2));
        assert_eq!(report.counts.blobs, report.counts.needed_blobs);
        let packs = scene.place.names(ObjectKind::Pack).len() as u64;
        assert_eq!(report.counts.packs, packs);
        assert_eq!(report.counts.packs_read, if options.read_data { packs } else { 0 });
    }
    let report = check::scrub(scene.place.store.as_ref(), &structure(), &Silent).unwrap();
    assert_eq!((&report.faults[..], &report.notes[..]), (&[][..], &[][..]));
    assert!(report.counts.bytes_read > 900_000);
}

/// Alike in all but the object: one fault.
#[test]
fn identical_faults_are_gathered() {
    let scene = scene();
    let packs = scene.place.names(ObjectKind::Pack);
    packs.iter().for_each(|name| assert_eq!(scene.damage(Action::Delete, name).len(), 1));
    let report = run(&scene.place.open(), &structure());
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    let fault = &report.faults[0];
    assert_eq!((fault.kind, fault.objects.len()), (FaultKind::PackGone, packs.len()));
    assert_eq!(fault.packs.len(), packs.len());
    assert_eq!((fault.touches.whole_snapshots.len(), fault.touches.snapshots), (3, 3));
    assert_eq!(fault.lost_blobs, 3, "nobody knows what was below the roots");
}
