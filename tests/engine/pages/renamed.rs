//! A copy that has a new name every day, beside another database.

use std::fs;

use support::days::{Shape, changed_bytes};

use crate::scene::Daily;

/// A database of the same make and another one, which stay as they are.
fn beside(daily: &Daily) {
    let folder = daily.path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    Shape { first: 3000, tables: 2, ..Shape::default() }.write(&folder.join("chat_other.db"), 0);
    Shape { first: 900, daily: 7, edited: 0, ..Shape::default() }
        .write(&folder.join("chat_of_another.db"), 0);
}

fn new_name(daily: &mut Daily, day: usize) {
    let named = daily.path.with_file_name(format!("chat_{:08}.db", 20_250_405 + day));
    if daily.path.exists() {
        fs::rename(&daily.path, &named).unwrap();
    }
    daily.path = named;
}

#[test]
fn a_new_name_each_day_costs_no_more() {
    let mut daily = Daily::new(Shape { first: 4000, daily: 80, edited: 30, ..Shape::default() });
    beside(&daily);
    for day in 0..4 {
        new_name(&mut daily, day);
        let cost = daily.cost_of_a_day();
        if day > 0 {
            let changed = changed_bytes(&daily.all[day - 1].1, &daily.all[day].1);
            assert!(cost * 100 < changed * 20, "day {day}: {cost} bytes for {changed} of changed pages");
        }
    }
    daily.assert_sound();
}

#[test]
fn a_vacuum_under_a_new_name_costs_a_part_of_a_fresh_copy() {
    let shape =
        Shape { first: 9000, daily: 100, edited: 80, deleted: 300, vacuum: Some(2), ..Shape::default() };
    let mut daily = Daily::new(shape);
    beside(&daily);
    let mut costs = Vec::new();
    for day in 0..3 {
        new_name(&mut daily, day);
        costs.push(daily.cost_of_a_day());
    }
    let (old, new) = (&daily.all[1].1, &daily.all[2].1);
    let changed = changed_bytes(old, new);
    assert!(changed * 10 > new.len() as u64 * 5, "{changed} of {}: it moved about", new.len());
    assert!(costs[2] * 100 < costs[0] * 25, "{costs:?}");
    daily.assert_sound();
}
