//! Where databases are cut depends on content and config alone.

use ballast::format::content::Entry;
use ballast::op::snapshot::{Parent, SnapshotOptions};
use support::days::Shape;

use crate::scene::Daily;

/// A repository with the same secrets that sees the last day only has the very same content.
#[test]
fn history_leaves_no_trace_in_content() {
    for page in [1024, 4096] {
        let shape = Shape { page, first: 6000, deleted: 200, vacuum: Some(2), ..Shape::default() };
        let mut daily = Daily::new(shape);
        for day in 0..4 {
            daily.go_on();
            let mut fresh = Daily::new(shape);
            fresh.shape.write(&fresh.path, day);
            fresh.take();
            assert!(fresh.all[0].1 == daily.all[day as usize].1, "the same bytes");
            let content = daily.node(day as usize).content;
            assert_eq!(fresh.node(0).content, content, "page {page}, day {day}");
            // Nor does it matter which parent it had, or that it had none.
            let first = daily.all[0].0;
            for parent in [Parent::None, Parent::Given(first)] {
                let options = SnapshotOptions { parent, force: true, ..daily.options() };
                let report = daily.place.run(&options).unwrap();
                let node = crate::scene::node_of(&daily.place, report.snapshot.unwrap(), &daily.path);
                assert_eq!(node.content, content, "page {page}, day {day}, {parent:?}");
            }
        }
    }
}

/// Units begin at multiples of their size, and only the last is shorter.
#[test]
fn units_stand_at_fixed_offsets() {
    let mut daily = Daily::new(Shape { page: 512, ..Shape::default() });
    for day in 0..3 {
        daily.go_on();
        let lens: Vec<u64> = daily.entries(day).iter().map(Entry::content_len).collect();
        assert!(lens[..lens.len() - 1].iter().all(|len| *len == 64 << 10), "{lens:?}");
        assert_eq!(lens.iter().sum::<u64>(), daily.all[day].1.len() as u64);
    }
}
