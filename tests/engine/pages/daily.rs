//! What a day costs.

use std::fs;

use ballast::format::content::Entry;
use ballast::id::BlobKind;
use ballast::source::sqlite::SqliteMode;
use support::days::{Shape, changed_bytes, grain_frames};

use crate::scene::{Daily, used};

#[test]
fn a_day_costs_a_part_of_the_pages_that_changed() {
    let mut daily = Daily::new(Shape { first: 4000, daily: 80, edited: 30, ..Shape::default() });
    daily.go_on();
    for day in 1..6 {
        let cost = daily.cost_of_a_day();
        let changed = changed_bytes(&daily.all[day - 1].1, &daily.all[day].1);
        assert!(changed > 200_000, "{changed}: a day changes something");
        assert!(cost * 100 < changed * 18, "day {day}: {cost} bytes for {changed} of changed pages");
    }
    let frames = grain_frames(&daily.place.open_bare());
    assert_eq!(frames.iter().map(|f| f.height).max(), Some(5), "each day stands on the one before");
    daily.assert_back(0..6);
    daily.assert_sound();
}

/// Another inode, another time, the same pages.
#[test]
fn what_was_only_touched_costs_next_to_nothing() {
    let mut daily = Daily::new(Shape::default());
    daily.go_on();
    daily.go_on();
    let before = used(&daily.place);
    let copy = daily.path.with_extension("copy");
    fs::copy(&daily.path, &copy).unwrap();
    fs::rename(&copy, &daily.path).unwrap();
    let report = daily.take();
    assert_eq!((report.files_changed, report.read_bytes), (1, daily.all[1].1.len() as u64));
    let cost = used(&daily.place) - before;
    assert!(cost < 6 << 10, "{cost}");
    assert_eq!(daily.entries(1), daily.entries(2));
    daily.assert_back(0..3);
}

/// Everything moves: frames stand on lists.
#[test]
fn a_vacuum_costs_a_part_of_a_fresh_copy() {
    let shape = Shape {
        first: 22_000,
        daily: 300,
        edited: 200,
        deleted: 800,
        vacuum: Some(3),
        tables: 2,
        ..Shape::default()
    };
    let mut daily = Daily::new(shape);
    let first = daily.cost_of_a_day();
    for _ in 1..3 {
        daily.go_on();
    }
    let on_lists = |daily: &Daily| {
        let frames = grain_frames(&daily.place.open_bare());
        frames.into_iter().filter(|f| f.edges.iter().any(|e| e.how == 1)).collect::<Vec<_>>()
    };
    assert_eq!(on_lists(&daily), [], "a common day needs none");
    let cost = daily.cost_of_a_day();
    let (old, new) = (&daily.all[2].1, &daily.all[3].1);
    let changed = changed_bytes(old, new);
    assert!(changed * 10 > new.len() as u64 * 7, "{changed} of {}: it moved about everything", new.len());
    assert!(cost * 100 < first * 20, "{cost} of {first}");
    let frames = on_lists(&daily);
    assert!(!frames.is_empty());
    for frame in frames {
        assert_eq!(frame.codec_version, 2);
        assert!(frame.edges.iter().filter(|e| e.how == 1).all(|e| e.kind == BlobKind::List as u8));
        assert!(frame.height > 2, "above all that its lists describe");
    }
    // And life goes on from there.
    let cost = daily.cost_of_a_day();
    let changed = changed_bytes(&daily.all[3].1, &daily.all[4].1);
    assert!(cost * 100 < changed * 35, "{cost} for {changed}");
    daily.assert_back(0..5);
    daily.forget_but(&[4]);
    daily.prune(&support::world::all());
    daily.assert_back([4]);
    daily.assert_sound();
}

/// The same bytes are the same chunks whichever way they are read.
#[test]
fn captured_or_not_the_chunks_are_the_same() {
    let chunks = |mode| {
        let mut daily = Daily::new(Shape { first: 1500, ..Shape::default() });
        daily.mode = mode;
        daily.go_on();
        let captured = daily.node(0).capture;
        daily.go_on();
        daily.assert_back(0..2);
        (captured, [daily.entries(0), daily.entries(1)])
    };
    let (captured, plain) = (chunks(SqliteMode::Require), chunks(SqliteMode::Off));
    assert_ne!(captured.0, plain.0, "they were read in different ways");
    assert_eq!(captured.1, plain.1);
    let lens = plain.1[0].iter().map(Entry::content_len).collect::<Vec<_>>();
    assert!(lens.len() > 8 && lens[..lens.len() - 1].iter().all(|len| *len == 64 << 10), "{lens:?}");
}
