//! Death at every change while differences are written, while prune copies bases and what stands on
//! them, and while repair puts lost bases back.
//!
//! How many packs a run makes, and so how many changes, is not the same each time: a run that came to
//! its end before the death it was promised says that all changes were seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ballast::error::Error;
use ballast::id::ObjectName;
use ballast::op::check::{self, CheckOptions};
use ballast::op::prune::{self, MaxUnused, PruneOptions};
use ballast::op::repair::packs::{self, PacksOptions};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::store::fault::{Death, FaultStore};
use ballast::store::memory::MemoryState;
use support::days;
use support::weeks::{self, Weeks, assert_full_of_differences};
use support::{Place, assert_same, look, of};

use crate::grains::{assert_full_of_grains, forget};

pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A check that reads everything finds nothing that matters. A store may have been left with objects
/// that lost their end and that nobody needs.
pub fn assert_sound(place: &Place, what: &str) {
    let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
    let report = check::run(&place.open_bare(), &options, &Silent).unwrap();
    let matters = |f: &&check::Fault| f.lost_blobs > 0 || f.touches.snapshots > 0;
    assert_eq!(report.faults.iter().filter(matters).count(), 0, "{what}: {:?}", report.faults);
}

pub fn all() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

/// Lets `run` die before every change, and at or after every other, and calls `after` with what is
/// left. Gives the number of changes.
pub fn sweep(place: &Place, run: &dyn Fn(&Repository) -> Result<(), Error>, after: &dyn Fn(&str)) -> u64 {
    let state: MemoryState = place.store.snapshot_state();
    let saved = tempfile::tempdir().unwrap();
    copy_dir(place.cache.path(), saved.path());
    for n in 1.. {
        let mut died = false;
        for death in [Death::Before, if n % 2 == 1 { Death::Torn } else { Death::After }] {
            place.store.restore_state(&state);
            fs::remove_dir_all(place.cache.path()).unwrap();
            copy_dir(saved.path(), place.cache.path());
            let fault = Arc::new(FaultStore::new(place.store.clone()));
            let repo = place.open_through(fault.clone());
            fault.die_at(n, death);
            let result = run(&repo);
            drop(repo);
            if !fault.is_dead() {
                result.unwrap();
                continue;
            }
            died = true;
            let what = format!("{death:?} at {n}: {:?}", result.err().map(|e| e.to_string()));
            // Names of ledger entries are given at once or not at all, whatever the store.
            let torn = || place.open_bare().ledger(false).is_ok_and(|ledger| !ledger.damage().is_empty());
            if death == Death::Torn && torn() {
                continue;
            }
            place.let_leases_lapse();
            after(&what);
        }
        if !died {
            return n - 1;
        }
    }
    unreachable!("because some run comes to its end")
}

#[test]
fn while_a_week_is_stored_as_differences() {
    let weeks = Weeks::take(3);
    weeks::write(&weeks.top, 3);
    stored(&weeks);
    assert_full_of_differences(&weeks.place.open_bare(), 3);
}

#[test]
fn while_a_day_of_a_database_is_stored() {
    let weeks = Weeks::take_of(3, days::write);
    days::write(&weeks.top, 3);
    stored(&weeks);
    assert_full_of_grains(&weeks.place.open_bare(), 3);
}

/// Three weeks are stored, and the fourth stands there.
fn stored(weeks: &Weeks) {
    let Weeks { top, place, .. } = weeks;
    let now = look(top);
    let run = |repo: &Repository| snapshot::run(repo, &of(top), &Silent).map(drop);
    let after = |what: &str| {
        weeks.assert_whole(0..3);
        let report = snapshot::run(&place.open_bare(), &of(top), &Silent)
            .unwrap_or_else(|error| panic!("{what}: the next run fails: {error}"));
        assert_same(&place.open_bare(), report.snapshot.unwrap(), top, &now);
        assert_sound(place, what);
    };
    let changes = sweep(place, &run, &after);
    assert!(changes > 7, "{changes}");
    // The last run was not disturbed.
    weeks.assert_whole(0..3);
}

#[test]
fn while_prune_copies_bases_and_what_stands_on_them() {
    let weeks = Weeks::take(4);
    let place = &weeks.place;
    assert_full_of_differences(&place.open_bare(), 3);
    forget(&weeks, &[0, 2]);
    let run = |repo: &Repository| {
        let report = prune::run(repo, &all(), &Silent)?;
        assert!(report.repacked_packs > 3 && report.plan.base_blobs > 5, "{report:?}");
        Ok(())
    };
    let after = |what: &str| {
        let kept = || {
            weeks.assert_whole(1..2);
            weeks.assert_whole(3..4);
        };
        kept();
        let report = prune::run(&place.open_bare(), &all(), &Silent)
            .unwrap_or_else(|error| panic!("{what}: the next prune fails: {error}"));
        assert_eq!(report.waiting_packs, 0, "{what}");
        kept();
        assert_sound(place, what);
    };
    let changes = sweep(place, &run, &after);
    assert!(changes > 10, "{changes}");
    let left = weeks::differences(&place.open_bare(), support::PASSWORD);
    assert!(left.iter().any(|(_, _, height)| *height == 3), "prune undid the chains: {left:?}");
    // And chains go on from what was copied.
    weeks::write(&weeks.top, 4);
    let report = place.take(&weeks.top);
    assert_same(&place.open_bare(), report.snapshot.unwrap(), &weeks.top, &look(&weeks.top));
    assert!(report.stored_bytes < 300_000, "{}", report.stored_bytes);
}

#[test]
fn while_repair_puts_lost_bases_back() {
    let weeks = Weeks::take(4);
    let place = &weeks.place;
    let from = vec![weeks.archive()];
    // One frame of a pack of roots, and the end of one with what stands on them.
    let packs = weeks::packs(&place.open_bare());
    let with = |height: u8| -> ObjectName {
        let has = |frames: &[ballast::format::frame::FrameRecord]| {
            frames.iter().filter(|f| f.blobs[0].kind == 0 && f.height == height).count()
        };
        packs.iter().max_by_key(|(_, pack)| has(&pack.frames)).unwrap().0.clone()
    };
    let (roots, above) = (with(0), with(1));
    assert_ne!(roots, above);
    assert!(place.store.tamper(&roots, |b| {
        let at = b.len() / 2;
        b[at] ^= 1;
    }));
    assert!(place.store.tamper(&above, |b| b.truncate(b.len() / 2)));
    let options = PacksOptions { read_data: true, from, ..PacksOptions::default() };
    let run = |repo: &Repository| packs::run(repo, &options, &Silent).map(drop);
    let after = |what: &str| {
        run(&place.open_bare()).unwrap_or_else(|error| panic!("{what}: the next repair fails: {error}"));
        weeks.assert_whole(0..4);
        prune::run(&place.open_bare(), &all(), &Silent)
            .unwrap_or_else(|error| panic!("{what}: the prune afterwards fails: {error}"));
        assert_sound(place, what);
        weeks.assert_whole(0..4);
    };
    let changes = sweep(place, &run, &after);
    assert!(changes > 4, "{changes}");
}
