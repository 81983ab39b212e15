//! Several hosts and one repository, and a prune that condemns what a day was to stand on.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ballast::id::ObjectKind;
use ballast::op::forget::{self, ForgetOptions};
use ballast::op::prune;
use ballast::op::snapshot::{self, SnapshotOptions};

use ballast::progress::Silent;
use ballast::repo::OpenOptions;
use ballast::source::sqlite::SqliteMode;
use ballast::store::call::Method;
use ballast::store::fault::FaultStore;
use support::days::{Shape, changed_bytes};
use support::{Place, bytes, identity, open_at, repack_everything};

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

/// At the `nth` changing call of the next day `act` happens; gives whether it did. Without a cache nothing of the
/// parent is taken over without a look-up.
fn disturbed(daily: &mut Daily, cached: bool, nth: u64, act: &Arc<dyn Fn() + Send + Sync>) -> bool {
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
    let mut open = daily.place.options();
    open.cache_dir = open.cache_dir.filter(|_| cached);
    let repo = open_at(fault.clone(), &open).unwrap();
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
    let manners = ["forgotten and pruned", "repacked and deleted"];
    for (manner, cached) in manners.into_iter().flat_map(|manner| [(manner, true), (manner, false)]) {
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
                    let options = ForgetOptions { ids: older.clone(), ..Default::default() };
                    forget::run(&theirs.open_bare(), &options, &Silent).unwrap();
                    prune::run(&theirs.open_bare(), &support::world::all(), &Silent).unwrap();
                }),
                _ => Arc::new(move || repack_everything(&theirs.open_bare())),
            };
            let happened = disturbed(&mut daily, cached, nth, &act);
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

/// Every unit changes, so that a day relies on nothing but bases, and these are condemned while it is stored.
#[test]
fn bases_that_are_all_a_day_relies_on() {
    let mut times = 0;
    for nth in 1.. {
        let mut daily = Daily::new(Shape { first: 1500, ..Shape::default() });
        daily.mode = SqliteMode::Off;
        daily.shape.write(&daily.path, 0);
        let file = fs::OpenOptions::new().write(true).open(&daily.path).unwrap();
        let units = file.metadata().unwrap().len().div_ceil(64 << 10);
        let edit = |day: u64| {
            let change = |unit: u64| file.write_all_at(&bytes(day, 100), unit * (64 << 10) + 500).unwrap();
            (0..units).for_each(change);
        };
        daily.take();
        edit(1);
        daily.take();
        edit(2);
        let (theirs, older) = (daily.place.clone(), [daily.all[0].0, daily.all[1].0]);
        let act: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            theirs.let_leases_lapse();
            let options = ForgetOptions { ids: older.to_vec(), ..Default::default() };
            forget::run(&theirs.open_bare(), &options, &Silent).unwrap();
            prune::run(&theirs.open_bare(), &support::world::all(), &Silent).unwrap();
        });
        if !disturbed(&mut daily, false, nth, &act) {
            break;
        }
        times += 1;
        daily.assert_back([2]);
        daily.assert_sound();
        daily.prune(&support::world::all());
        edit(3);
        daily.take();
        daily.assert_back([2, 3]);
        daily.assert_sound();
    }
    assert!(times >= 4, "{times}");
}
