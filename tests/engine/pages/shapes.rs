//! Databases of every page size, short and long ones, with holes, and ones whose older copy was cut in another way.

use std::fs;
use std::os::unix::fs::FileExt;

use ballast::chunk::Cutter;
use ballast::format::content::Entry;
use ballast::id::{BlobId, BlobKind, SnapshotId};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::source::sqlite::SqliteMode;
use support::days::{Shape, changed_bytes, grain_frames};
use support::{Place, bytes};

use crate::scene::{Daily, used};

#[test]
fn every_page_size() {
    let mut odd = 0;
    for page in [512, 1024, 4096, 65_536] {
        let mut daily = Daily::new(Shape { page, first: 3000, edited: 30, daily: 60, ..Shape::default() });
        daily.go_on();
        for day in 1..4 {
            let cost = daily.cost_of_a_day();
            let changed = changed_bytes(&daily.all[day - 1].1, &daily.all[day].1);
            assert!(cost * 100 < changed * 40, "page {page}, day {day}: {cost} of {changed}");
            odd += usize::from(!daily.all[day].1.len().is_multiple_of(4096));
        }
        daily.assert_back(0..4);
        daily.assert_sound();
    }
    assert!(odd > 2, "{odd}: some end within a grain");
}

/// Below 512 KiB a database is cut like any other file, and then no more.
#[test]
fn one_that_outgrows_small_files() {
    let mut daily = Daily::new(Shape { first: 500, daily: 90, ..Shape::default() });
    let mut paged = Vec::new();
    for day in 0..6 {
        daily.go_on();
        let size = daily.all[day].1.len() as u64;
        let entries = daily.entries(day);
        let all_but_last = &entries[..entries.len() - 1];
        paged.push(all_but_last.iter().all(|e| e.content_len() == 64 << 10));
        assert_eq!(paged[day], size >= 512 << 10, "day {day}: {size} bytes");
    }
    assert!(!paged[0] && paged[5], "{paged:?}");
    daily.assert_back(0..6);
    daily.assert_sound();
}

/// The length is what it is: at the bound and beside it.
#[test]
fn half_a_megabyte_to_the_byte() {
    for len in [(512 << 10) - 1, 512 << 10, (512 << 10) + 1] {
        let mut daily = Daily::new(Shape { first: 1000, ..Shape::default() });
        daily.mode = SqliteMode::Off;
        daily.shape.write(&daily.path, 0);
        let file = fs::OpenOptions::new().write(true).open(&daily.path).unwrap();
        for day in 0..3 {
            file.write_all_at(&bytes(day, 5000), 100_000).unwrap();
            file.set_len(len).unwrap();
            daily.take();
        }
        let first = daily.entries(0)[0].content_len();
        assert_eq!(first == 64 << 10, len >= 512 << 10, "{len}: {first}");
        assert_eq!(grain_frames(&daily.place.open_bare()).is_empty(), len < 512 << 10);
        daily.assert_back(0..3);
        daily.assert_sound();
    }
}

/// Not captured, with holes that begin and end inside of units and inside of pages.
#[test]
fn holes_stay_holes() {
    let mut daily = Daily::new(Shape { first: 3000, ..Shape::default() });
    daily.mode = SqliteMode::Off;
    daily.shape.write(&daily.path, 0);
    let whole = fs::read(&daily.path).unwrap();
    fs::remove_file(&daily.path).unwrap();
    let file = fs::OpenOptions::new().create_new(true).write(true).open(&daily.path).unwrap();
    let stretches: [(u64, usize); 4] =
        [(0, 300 << 10), (500 << 10, 4 << 10), (900 << 10, 212 << 10), (3 << 20, 5000)];
    for (at, len) in stretches {
        let from = usize::try_from(at).unwrap() % (whole.len() / 2);
        file.write_all_at(&whole[from..from + len], at).unwrap();
    }
    file.set_len((4 << 20) + 777).unwrap();
    daily.take();
    for day in 1..5u64 {
        file.write_all_at(&bytes(day, 6000), (40 << 10) + day * 70_000).unwrap();
        file.write_all_at(&bytes(10 + day, 3000), (3 << 20) + day * 900).unwrap();
        // What was a hole is one no more.
        file.write_all_at(&bytes(20 + day, 4096), (2 << 20) + day * (128 << 10)).unwrap();
        let before = used(&daily.place);
        daily.take();
        assert!(used(&daily.place) - before < 64 << 10);
    }
    let holes = |day| daily.entries(day).iter().filter(|e| matches!(e, Entry::Hole { .. })).count();
    assert!(holes(0) >= 3 && holes(4) > holes(0), "{} {}", holes(0), holes(4));
    assert!(!grain_frames(&daily.place.open_bare()).is_empty());
    daily.assert_back(0..5);
    daily.assert_sound();
}

/// Stores the only file of a snapshot in another repository, cut as files are that are no databases.
fn cut_as_any_file(from: &Place, id: SnapshotId, to: &Place, content: &[u8]) {
    let (old, repo) = (from.open_bare(), to.open());
    let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let config = repo.config();
    let cutter = Cutter::new(&config.cut_secret, config.table_version, repo.cut_params()).unwrap();
    let mut entries = Vec::new();
    let mut start = 0;
    for end in cutter.cut_all(content) {
        let stored = session.store(BlobKind::Chunk, &content[start..end]).unwrap();
        entries.push(Entry::Chunk { id: stored.id, len: u32::try_from(end - start).unwrap() });
        start = end;
    }
    assert!(entries.iter().filter(|e| e.content_len() != 64 << 10).count() > 3);
    let content = session.store_content(entries).unwrap();
    let reader = Reader::open(&old).unwrap();
    let mut record = old.snapshot(id).unwrap().record;
    record.root = tree(&session, &reader, record.root, &content);
    let flushed = session.flush().unwrap();
    session.commit(&record, None, flushed).unwrap();
}

fn tree(session: &Session, reader: &Reader, id: BlobId, content: &[Entry]) -> BlobId {
    let mut nodes = reader.tree(id).unwrap();
    for node in &mut nodes {
        match node.subtree() {
            Some(below) => node.content = vec![Entry::Tree { id: tree(session, reader, below, content) }],
            None => node.content = content.to_vec(),
        }
    }
    session.store_tree(nodes).unwrap()
}

#[test]
fn an_older_copy_that_was_cut_in_another_way() {
    let shape = Shape { first: 6000, edited: 20, ..Shape::default() };
    let mut model = Daily::new(shape);
    model.go_on();
    let mut daily = Daily::new(shape);
    let fresh = daily.cost_of_a_day();
    // The same file, and so the same node, in a repository that knows no units.
    daily.place = crate::scene::place(&support::weeks::init());
    daily.all.clear();
    let old = fs::read(&daily.path).unwrap();
    model.path = daily.path.clone();
    model.take();
    cut_as_any_file(&model.place, model.all[1].0, &daily.place, &old);
    let parent = *daily.place.open_bare().ledger(true).unwrap().committed().last().unwrap();
    daily.all.push((parent, old));
    let cost = daily.cost_of_a_day();
    assert!(cost * 100 < fresh * 60, "{cost} after a copy in other chunks, {fresh} without any");
    let cost = daily.cost_of_a_day();
    let changed = changed_bytes(&daily.all[1].1, &daily.all[2].1);
    assert!(cost * 100 < changed * 35, "{cost} for {changed}");
    assert!(daily.entries(2)[..40].iter().all(|e| e.content_len() == 64 << 10));
    daily.assert_back(0..3);
    daily.assert_sound();
    daily.forget_but(&[2]);
    daily.prune(&support::world::all());
    daily.assert_back([2]);
    daily.assert_sound();
}
