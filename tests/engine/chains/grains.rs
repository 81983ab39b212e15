//! Days of a database: what the scenes of weeks do not have.

use std::fs;

use ballast::format::ledger::{Event, ForgetV1};
use ballast::id::{BlobKind, SessionId};
use ballast::op::prune;
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::store::Store;
use support::days::{self, grain_frames};
use support::weeks::Weeks;
use support::{assert_same, look};

use crate::deaths::{all, assert_sound, sweep};

/// Units in chains as high as so many days make them.
pub fn assert_full_of_grains(repo: &Repository, highest: u8) {
    let frames = grain_frames(repo);
    for height in 1..=highest {
        let found = frames.iter().find(|f| f.height == height && f.blobs[0].kind == BlobKind::Chunk as u8);
        let found = found.unwrap_or_else(|| panic!("no frame by grains of height {height}"));
        assert!(found.blobs.len() > 1 && !found.edges.is_empty(), "{found:?}");
    }
}

/// Forgets these weeks, and removes them.
pub fn forget(weeks: &Weeks, which: &[usize]) {
    let place = &weeks.place;
    let gone: Vec<_> = which.iter().map(|week| weeks.all[*week].0).collect();
    let mut ledger = place.open_bare().ledger(true).unwrap();
    let event = Event::Forget(ForgetV1 { snapshots: gone.clone(), reason: "test".into() });
    ledger.append(&place.open_bare(), SessionId([7; 16]), &event).unwrap();
    gone.iter().for_each(|id| place.store.remove(&(*id).into()).unwrap());
}

#[test]
fn death_while_prune_copies_units() {
    let weeks = Weeks::take_of(5, days::write);
    let place = &weeks.place;
    assert_full_of_grains(&place.open_bare(), 4);
    forget(&weeks, &[0, 2, 3]);
    let run = |repo: &Repository| {
        let report = prune::run(repo, &all(), &Silent)?;
        assert!(report.repacked_packs > 1 && report.plan.base_blobs > 1, "{report:?}");
        Ok(())
    };
    let after = |what: &str| {
        let kept = || [1..2, 4..5].into_iter().for_each(|weeks_kept| weeks.assert_whole(weeks_kept));
        kept();
        let report = prune::run(&place.open_bare(), &all(), &Silent)
            .unwrap_or_else(|error| panic!("{what}: the next prune fails: {error}"));
        assert_eq!(report.waiting_packs, 0, "{what}");
        kept();
        assert_sound(place, what);
    };
    let changes = sweep(place, &run, &after);
    assert!(changes > 6, "{changes}");
    assert!(grain_frames(&place.open_bare()).iter().any(|f| f.height > 1), "prune undid the chains");
    // And chains go on from what was copied.
    days::write(&weeks.top, 5);
    let report = place.take(&weeks.top);
    assert_same(&place.open_bare(), report.snapshot.unwrap(), &weeks.top, &look(&weeks.top));
    assert!(report.stored_bytes < fs::metadata(weeks.top.join("chat.db")).unwrap().len() / 6);
}
