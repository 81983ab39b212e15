//! What reading costs: each frame is fetched a bounded number of times, however long the chain and whichever
//! way it is read.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use ballast::format::content::Entry;
use ballast::id::{BlobId, BlobKind};
use ballast::op::check::{self, CheckOptions};
use ballast::op::{dump, prune, restore, snapshot};
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::repo::reader::Reader;
use ballast::source::sqlite::SqliteMode;
use support::bytes;
use support::days::Shape;

use crate::fetches::fetches;
use crate::scene::{Daily, to};

fn chunk(entry: &Entry) -> BlobId {
    match entry {
        Entry::Chunk { id, .. } => *id,
        other => panic!("{other:?}"),
    }
}

/// No frame of units is fetched more than `most` times.
fn within(daily: &Daily, what: &str, most: u64, run: &dyn Fn(&Repository)) {
    let all = fetches(&daily.place, run);
    let units = all.iter().filter(|(f, _)| f.blobs[0].kind == BlobKind::Chunk as u8);
    let fetched: Vec<_> = units.filter(|(_, times)| *times > 0).collect();
    let worst = fetched.iter().max_by_key(|(_, times)| *times).unwrap();
    assert!(fetched.len() > 20, "{what}: {} frames", fetched.len());
    assert!(worst.1 <= most, "{what}: {} times {:?}", worst.1, worst.0);
}

#[test]
fn a_long_chain_is_read_once() {
    let mut daily = Daily::new(Shape { first: 6000, daily: 10, edited: 40, deleted: 2, ..Shape::default() });
    for _ in 0..30 {
        daily.go_on();
    }
    let newest: Vec<BlobId> = daily.entries(29).iter().map(chunk).collect();
    let (id, expected) = daily.all[29].clone();
    let path = daily.path.as_os_str().as_bytes();
    within(&daily, "dump", 2, &|repo| {
        let mut out = Vec::new();
        dump::run(repo, id, path, &mut out, &Silent).unwrap();
        assert!(out == expected);
    });
    within(&daily, "restore", 2, &|repo| {
        let target = tempfile::tempdir().unwrap();
        restore::run(repo, &to(id, path, target.path()), &Silent).unwrap();
    });
    within(&daily, "check", 3, &|repo| {
        let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
        assert!(check::run(repo, &options, &Silent).unwrap().is_sound());
    });
    within(&daily, "chunk after chunk", 2, &|repo| {
        let reader = Reader::open(repo).unwrap();
        newest.iter().for_each(|id| drop(reader.blob(BlobKind::Chunk, *id).unwrap()));
    });
    within(&daily, "chunk after chunk, from the end", 2, &|repo| {
        let reader = Reader::open(repo).unwrap();
        newest.iter().rev().for_each(|id| drop(reader.blob(BlobKind::Chunk, *id).unwrap()));
    });
    let every: Vec<Vec<BlobId>> = (0..30).map(|day| daily.entries(day).iter().map(chunk).collect()).collect();
    within(&daily, "every day, chunk after chunk", 2, &|repo| {
        let reader = Reader::open(repo).unwrap();
        every.iter().flatten().for_each(|id| drop(reader.blob(BlobKind::Chunk, *id).unwrap()));
    });
    daily.forget_but(&[15, 29]);
    daily.place.let_leases_lapse();
    within(&daily, "prune", 3, &|repo| drop(prune::run(repo, &support::world::all(), &Silent).unwrap()));
    daily.assert_back([15, 29]);
}

/// A day reads each frame that it stands on once for what it compares and once for what it writes.
#[test]
fn a_day_reads_what_it_stands_on() {
    let mut daily = Daily::new(Shape { first: 6000, daily: 10, edited: 40, deleted: 2, ..Shape::default() });
    for _ in 0..25 {
        daily.go_on();
    }
    daily.shape.write(&daily.path, 25);
    let options = daily.options();
    within(&daily, "a day", 3, &|repo| drop(snapshot::run(repo, &options, &Silent).unwrap()));
}

/// Each day changes a unit of its own, so that the newest stands on as many frames, which all stand on the same first
/// one.
#[test]
fn what_many_frames_stand_on_is_read_once() {
    let mut daily = Daily::new(Shape { first: 3500, ..Shape::default() });
    daily.mode = SqliteMode::Off;
    daily.shape.write(&daily.path, 0);
    daily.take();
    let file = fs::OpenOptions::new().write(true).open(&daily.path).unwrap();
    for unit in 0..28 {
        file.write_all_at(&bytes(unit, 200), unit * (64 << 10) + 9000).unwrap();
        daily.take();
    }
    let newest: Vec<BlobId> = daily.entries(28).iter().map(chunk).collect();
    within(&daily, "chunk after chunk of many frames", 2, &|repo| {
        let reader = Reader::open(repo).unwrap();
        newest.iter().for_each(|id| drop(reader.blob(BlobKind::Chunk, *id).unwrap()));
    });
    within(&daily, "check of many frames", 3, &|repo| {
        let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
        assert!(check::run(repo, &options, &Silent).unwrap().is_sound());
    });
}
