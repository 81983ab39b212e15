//! Several hosts and one repository, and a prune that condemns what a day was to stand on.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ballast::id::ObjectKind;
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::OpenOptions;
use ballast::store::call::Method;
use ballast::store::fault::FaultStore;
use support::days::{Shape, changed_bytes, grain_frames};
use support::{Place, identity, repack_everything};

use crate::scene::{Daily, used};

/// Another host, with a database and a cache of its own, on the repository of `place`.
fn host(place: &Place, shape: Shape) -> Daily {
    let mut daily = Daily::new(shape);
    let place = Place { store: place.store.clone(), cache: tempfile::tempdir().unwrap() };
    daily.place = Arc::new(place);
    daily
}

/// A day of a host that says its name.
fn day(daily: &mut Daily, name: &str) -> u64 {
    daily.shape.write(&daily.path, daily.all.len() as u64);
    let before = used(&daily.place);
    let open = OpenOptions { identity: identity(name), ..daily.place.options() };
    let repo = daily.place.open_with(&open);
    let report = snapshot::run(&repo, &daily.options(), &Silent).unwrap();
    daily.all.push((report.snapshot.unwrap(), fs::read(&daily.path).unwrap()));
    used(&daily.place) - before
}

#[test]
fn two_hosts_store_their_days_in_turn() {
    let shape = Shape { first: 3000, edited: 20, ..Shape::default() };
    let mut one = Daily::new(shape);
    let mut other = host(&one.place, Shape { page: 1024, edited: 21, ..shape });
    for turn in 0..6 {
        for (daily, name) in [(&mut one, "one"), (&mut other, "other")] {
            let cost = day(daily, name);
            if turn > 0 {
                let changed = changed_bytes(&daily.all[turn - 1].1, &daily.all[turn].1);
                assert!(cost * 100 < changed * 35, "{name}, day {turn}: {cost} for {changed}");
            }
        }
    }
    one.assert_back(0..6);
    other.assert_back(0..6);
    one.forget_but(&[3, 5]);
    one.prune(&support::world::all());
    one.assert_back([3, 5]);
    other.assert_back(0..6);
    other.forget_but(&[5]);
    other.prune(&support::world::all());
    one.assert_back([3, 5]);
    other.assert_back([5]);
    one.assert_sound();
}

/// The same database on both: what one has stored the other finds.
#[test]
fn the_same_days_cost_once() {
    let shape = Shape { first: 2000, ..Shape::default() };
    let mut one = Daily::new(shape);
    let mut other = host(&one.place, shape);
    for turn in 0..4 {
        day(&mut one, "one");
        let again = day(&mut other, "other");
        assert!(again < 8 << 10, "day {turn}: {again}");
        assert_eq!(one.entries(turn), other.entries(turn));
    }
    one.forget_but(&[]);
    one.prune(&support::world::all());
    other.assert_back(0..4);
    other.assert_sound();
}

/// At the `nth` changing call of the next day `act` happens; gives whether it did.
fn disturbed(daily: &mut Daily, nth: u64, act: &Arc<dyn Fn() + Send + Sync>) -> bool {
    let fault = Arc::new(FaultStore::new(daily.place.store.clone()));
    let (seen, done) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let (said, act) = (done.clone(), act.clone());
    fault.set_hook(move |call| {
        // Leases come and go beside the run's own calls.
        let counts = call.method == Method::Put && call.kind != Some(ObjectKind::Lease);
        if counts && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            act();
            said.store(true, Ordering::SeqCst);
        }
    });
    let repo = daily.place.open_through(fault.clone());
    let options: SnapshotOptions = daily.options();
    let report = snapshot::run(&repo, &options, &Silent).unwrap_or_else(|e| panic!("at {nth}: {e}"));
    assert_eq!(report.problems, []);
    daily.all.push((report.snapshot.unwrap(), fs::read(&daily.path).unwrap()));
    done.load(Ordering::SeqCst)
}

/// At every call of a day another run condemns what the day stands on: bases are there all the same, or the
/// day is stored anew.
#[test]
fn bases_that_are_condemned_meanwhile() {
    let shape = Shape { first: 1500, edited: 30, ..Shape::default() };
    for manner in ["forgotten and pruned", "repacked and deleted"] {
        let mut times = 0;
        for nth in 1.. {
            let mut daily = Daily::new(shape);
            (0..3).for_each(|_| drop(daily.go_on()));
            daily.shape.write(&daily.path, 3);
            let theirs = daily.place.clone();
            let older: Vec<_> = daily.all.iter().map(|(id, _)| *id).collect();
            let act: Arc<dyn Fn() + Send + Sync> = match manner {
                "forgotten and pruned" => Arc::new(move || {
                    theirs.let_leases_lapse();
                    let options =
                        ballast::op::forget::ForgetOptions { ids: older.clone(), ..Default::default() };
                    ballast::op::forget::run(&theirs.open_bare(), &options, &Silent).unwrap();
                    ballast::op::prune::run(&theirs.open_bare(), &support::world::all(), &Silent).unwrap();
                }),
                _ => Arc::new(move || repack_everything(&theirs.open_bare())),
            };
            let happened = disturbed(&mut daily, nth, &act);
            if !happened {
                break;
            }
            times += 1;
            daily.assert_back([3]);
            if manner == "repacked and deleted" {
                daily.assert_back(0..3);
            }
            daily.assert_sound();
            daily.prune(&support::world::all());
            daily.assert_back([3]);
            daily.assert_sound();
            daily.go_on();
            daily.assert_back([3, 4]);
        }
        assert!(times >= 4, "{manner}: {times}");
    }
}
