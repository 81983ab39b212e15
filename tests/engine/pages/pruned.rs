//! What prune makes of frames of many units: they are copied as they are, or taken apart.

use std::fs;
use std::os::unix::fs::FileExt;

use ballast::format::frame::FrameRecord;
use ballast::id::BlobId;
use ballast::source::sqlite::SqliteMode;
use support::bytes;
use support::days::{Shape, grain_frames};
use support::weeks::packs;

use crate::scene::Daily;

fn frames(daily: &Daily) -> Vec<FrameRecord> {
    packs(&daily.place.open_bare()).into_values().flat_map(|pack| pack.frames).collect()
}

/// Blobs, each with the least height it stands at.
fn least_heights(frames: &[FrameRecord]) -> std::collections::BTreeMap<BlobId, u8> {
    let mut all = std::collections::BTreeMap::new();
    for frame in frames {
        for blob in &frame.blobs {
            let least = all.entry(blob.id).or_insert(frame.height);
            *least = frame.height.min(*least);
        }
    }
    all
}

/// Two days of three are forgotten, and prune runs every fourth day.
#[test]
fn frames_are_copied_as_they_are() {
    let mut daily = Daily::new(Shape { first: 2500, daily: 30, edited: 40, deleted: 1, ..Shape::default() });
    let mut kept: Vec<usize> = Vec::new();
    let mut copied = 0;
    for day in 0..16 {
        daily.go_on();
        kept.push(day);
        if day % 4 == 3 {
            kept.retain(|old| old % 3 == 0 || *old == day);
            let before = frames(&daily);
            daily.forget_but(&kept);
            let report = daily.prune(&support::world::all());
            assert!(report.condemned_packs > 0, "{report:?}");
            let after = grain_frames(&daily.place.open_bare());
            let moved = |f: &&FrameRecord| {
                let same = |g: &FrameRecord| g.blobs == f.blobs && g.edges == f.edges && g.height == f.height;
                after.iter().any(|g| same(g) && g.offset != f.offset)
            };
            copied += before.iter().filter(moved).count();
            let (before, after) = (least_heights(&before), least_heights(&frames(&daily)));
            assert!(after.iter().all(|(id, height)| *height <= before[id]), "no least height rises");
            daily.assert_back(kept.iter().copied());
            daily.assert_sound();
        }
    }
    assert!(copied > 3, "{copied}");
}

/// More than half of a frame's units have no use any more: the others get frames of their own, those of which they are
/// differences are given up.
#[test]
fn frames_are_taken_apart() {
    for by_grains in [true, false] {
        let mut daily = Daily::new(Shape { first: 3500, ..Shape::default() });
        daily.mode = SqliteMode::Off;
        daily.shape.write(&daily.path, 0);
        daily.take();
        let units = fs::metadata(&daily.path).unwrap().len() / (64 << 10);
        let file = fs::OpenOptions::new().write(true).open(&daily.path).unwrap();
        if by_grains {
            let page = |unit: u64| file.write_all_at(&bytes(unit, 3000), unit * (64 << 10) + 9000).unwrap();
            (1..units).for_each(page);
            daily.take();
        }
        // Then most units become something else.
        let before = frames(&daily);
        for unit in (1..units).filter(|unit| unit % 4 != 0) {
            file.write_all_at(&bytes(1000 + unit, 64 << 10), unit * (64 << 10)).unwrap();
        }
        daily.take();
        let many: Vec<FrameRecord> = before.into_iter().filter(|f| f.blobs.len() > 10).collect();
        assert!(many.iter().any(|f| f.edges.is_empty() != by_grains), "{many:?}");
        let newest = daily.all.len() - 1;
        daily.assert_back(0..=newest);
        daily.forget_but(&[newest]);
        daily.prune(&support::world::all());
        let left = frames(&daily);
        let alone = |f: &FrameRecord| f.height == 0 && f.blobs.len() == 1;
        let apart = |f: &&FrameRecord| alone(f) && many.iter().any(|g| g.blobs.contains(&f.blobs[0]));
        let count = left.iter().filter(apart).count() as u64;
        assert!(count + 2 > units / 4, "{count} of {units} units");
        let kept: Vec<BlobId> = left.iter().flat_map(|f| &f.blobs).map(|b| b.id).collect();
        let gone = many.iter().flat_map(|f| &f.blobs).filter(|blob| !kept.contains(&blob.id)).count() as u64;
        assert!(gone > units / 2, "{gone} of {units} units");
        daily.assert_back([newest]);
        daily.assert_sound();
        file.write_all_at(&bytes(5000, 9000), 300_000).unwrap();
        daily.take();
        daily.assert_back([newest, newest + 1]);
        daily.assert_sound();
    }
}
