//! An index, or whoever holds the storage, takes two units for each other: neither is given out for the other.

use std::sync::Arc;

use ballast::error::{Error, Result};
use ballast::format::frame::FrameBlob;
use ballast::id::{BlobKind, BlobRef};
use ballast::progress::Silent;
use ballast::repo::index::{Index, PackInfo, PackNumber, Place, Places};
use ballast::repo::reader::Reader;
use support::days::{Shape, grain_frames};
use support::weeks::packs;

use crate::scene::Daily;

struct Swapped {
    inner: Arc<dyn Places>,
    pair: [BlobRef; 2],
}

impl Places for Swapped {
    fn places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let [one, other] = &self.pair;
        self.inner.places(if blob == one {
            other
        } else if blob == other {
            one
        } else {
            blob
        })
    }

    fn pack(&self, number: PackNumber) -> Option<PackInfo> {
        self.inner.pack(number)
    }

    fn blobs_at(&self, place: &Place) -> Result<Vec<FrameBlob>> {
        self.inner.blobs_at(place)
    }
}

#[test]
fn two_units_of_one_length() {
    let mut daily = Daily::new(Shape { first: 1200, ..Shape::default() });
    (0..4).for_each(|_| drop(daily.go_on()));
    let repo = daily.place.open_bare();
    let index = || -> Arc<dyn Places> { Arc::new(Index::open(&repo, &repo.ledger(true).unwrap()).unwrap()) };
    // Of one frame, and of two that stand on nothing.
    let blob = |b: &FrameBlob| BlobRef::new(BlobKind::from_byte(b.kind).unwrap(), b.id);
    let same = |all: &[FrameBlob]| {
        let second = all.iter().skip(1).find(|b| b.len == all[0].len && b.kind == all[0].kind)?;
        Some([blob(&all[0]), blob(second)])
    };
    let mut pairs: Vec<[BlobRef; 2]> = grain_frames(&repo).iter().filter_map(|f| same(&f.blobs)).collect();
    let together = pairs.len();
    let frames = packs(&repo).into_values().flat_map(|pack| pack.frames).filter(|f| f.edges.is_empty());
    let mut units: Vec<FrameBlob> = frames.flat_map(|f| f.blobs).collect();
    units.retain(|b| b.kind == BlobKind::Chunk as u8);
    units.sort_by_key(|b| b.len);
    pairs.extend(units.chunks(2).filter_map(same));
    assert!(together > 1 && pairs.len() > together, "{together} {}", pairs.len());
    for pair in pairs {
        let honest = Reader::with_places(&repo, index());
        let right = pair.map(|blob| honest.blob(blob.kind, blob.id).unwrap().to_vec());
        assert!(right[0] != right[1]);
        for prepared in [false, true] {
            let reader = Reader::with_places(&repo, Arc::new(Swapped { inner: index(), pair }));
            let _kept = prepared.then(|| reader.prepare_all(&pair, &Silent).unwrap());
            for blob in &pair {
                let read = reader.blob(blob.kind, blob.id);
                assert!(matches!(read, Err(Error::Missing { .. } | Error::Corrupt { .. })), "{prepared}");
            }
        }
    }
}
