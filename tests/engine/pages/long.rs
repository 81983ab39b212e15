//! Long chains of short days: heights stay bounded, units begin anew, and the newest day stands without the
//! others.

use std::collections::BTreeMap;

use ballast::format::content::Entry;
use ballast::id::{BlobId, ObjectKind};
use ballast::op::prune::PruneOptions;
use support::days::{Shape, changed_bytes};
use support::weeks::packs;

use crate::scene::Daily;

/// A few pages a day.
const TINY: Shape =
    Shape { page: 4096, first: 1000, daily: 3, edited: 1, deleted: 1, vacuum: None, tables: 1 };

/// The least height at which each blob stands.
fn heights(daily: &Daily) -> BTreeMap<BlobId, u8> {
    let mut all = BTreeMap::new();
    for frame in packs(&daily.place.open_bare()).into_values().flat_map(|pack| pack.frames) {
        for blob in &frame.blobs {
            let height = all.entry(blob.id).or_insert(u8::MAX);
            *height = frame.height.min(*height);
        }
    }
    all
}

fn ids(daily: &Daily, day: usize) -> Vec<BlobId> {
    let id = |entry: &Entry| match entry {
        Entry::Chunk { id, .. } => *id,
        other => panic!("{other:?}"),
    };
    daily.entries(day).iter().map(id).collect()
}

#[test]
fn sixty_days_of_a_few_pages() {
    let mut daily = Daily::new(TINY);
    daily.go_on();
    let (mut cost, mut changed) = (0, 0);
    for day in 1..60 {
        cost += daily.cost_of_a_day();
        changed += changed_bytes(&daily.all[day - 1].1, &daily.all[day].1);
    }
    assert!(cost * 3 < changed, "{cost} for {changed}");
    let heights = heights(&daily);
    let days: Vec<Vec<BlobId>> = (0..60).map(|day| ids(&daily, day)).collect();
    // A unit that stood above 32 and begins anew.
    let mut restarts = 0;
    let mut highest = Vec::new();
    for pair in days.windows(2) {
        for (old, new) in pair[0].iter().zip(&pair[1]) {
            restarts += usize::from(heights[old] >= 32 && heights[new] == 0);
        }
        highest.push(pair[1].iter().map(|id| heights[id]).max().unwrap());
    }
    assert!(restarts > 0, "{restarts}");
    assert!(highest.iter().all(|height| *height <= 201));
    assert!(highest.windows(2).all(|h| h[1] <= h[0] + 1), "a day is one step: {highest:?}");
    daily.assert_back([0, 31, 33, 59]);
    daily.assert_sound();
    daily.forget_but(&[59]);
    daily.assert_sound();
    let packed = |daily: &Daily| daily.place.store.bytes_of(ObjectKind::Pack);
    let before = packed(&daily);
    let first = daily.prune(&PruneOptions::default());
    assert!(packed(&daily) <= before, "prune made {} of {before}: {:?}", packed(&daily), first.plan);
    daily.prune(&PruneOptions::default());
    daily.assert_back([59]);
    daily.assert_sound();
    daily.prune(&support::world::all());
    daily.prune(&support::world::all());
    let after = packed(&daily);
    let mut fresh = Daily::new(TINY);
    fresh.shape.write(&fresh.path, 59);
    fresh.take();
    assert!(after * 10 < packed(&fresh) * 12, "{after}, where the day alone takes {}", packed(&fresh));
    daily.assert_back([59]);
    daily.assert_sound();
    // And the next day stands on what is left.
    let cost = daily.cost_of_a_day();
    let changed = changed_bytes(&daily.all[59].1, &daily.all[60].1);
    assert!(cost < changed, "{cost} for {changed}");
    daily.assert_back([59, 60]);
}
