//! Chunks of small files lie side by side in shared frames, in the order in which a walk meets the files. So the next one
//! is looked for behind the last one before the index is asked, which takes longer than to hash it.
//!
//! Nothing rests on the guess: bytes with the right id are the right bytes, wherever they stand.

use super::Reader;
use super::shelf::BlobBytes;
use crate::error::Result;
use crate::id::{BlobId, BlobKind};

/// Frames of more plaintext are not held on to: those that are shared have far less.
const HELD_BYTES: usize = 1 << 20;

/// Where the last chunk was found, in a frame that has others. Holds on to that frame, of at most 1 MiB.
#[derive(Debug, Default)]
pub struct Trail(Option<BlobBytes>);

impl Trail {
    /// As many bytes as follow the last chunk in its frame, if there are so many.
    fn next(&self, len: u32) -> Option<BlobBytes> {
        let last = self.0.as_ref()?;
        let end = last.end.checked_add(len as usize).filter(|end| *end <= last.frame.plain.len())?;
        Some(BlobBytes { frame: last.frame.clone(), start: last.end, end })
    }

    fn lead_on(&mut self, from: &BlobBytes) {
        let frame = from.frame.plain.len();
        self.0 = (from.end < frame && frame <= HELD_BYTES).then(|| from.clone());
    }
}

impl Reader {
    /// As [`Reader::chunk`], by one who reads neighbours one after the other and keeps `trail` between them.
    pub fn chunk_along(&self, id: BlobId, len: u32, trail: &mut Trail) -> Result<BlobBytes> {
        let next = trail.next(len).filter(|next| self.repo.blob_id(BlobKind::Chunk, next) == id);
        let bytes = match next {
            Some(bytes) => bytes,
            None => self.chunk(id, len)?,
        };
        trail.lead_on(&bytes);
        Ok(bytes)
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::crypto::kdf;
    use crate::entropy::Surroundings;
    use crate::id::BlobRef;
    use crate::progress::Silent;
    use crate::repo::index::{Index, PackInfo, PackNumber, Place, Places};
    use crate::repo::session::Session;
    use crate::repo::{InitOptions, OpenOptions, Repository};
    use crate::store::memory::MemoryStore;

    struct Counted(Index, AtomicUsize);

    impl Places for Counted {
        fn places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.places(blob)
        }

        fn pack(&self, number: PackNumber) -> Option<PackInfo> {
            self.0.pack(number)
        }
    }

    #[test]
    fn neighbours_are_found_without_the_index_and_others_with_it() {
        let init = InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() };
        let (store, open) = (Arc::new(MemoryStore::new()), OpenOptions::default());
        let repo = Repository::init(store, b"p", &init, &open, Surroundings::system()).unwrap();
        // The third is the second again and a byte more: a guess that fits in its first bytes only.
        let mut texts: Vec<Vec<u8>> = (0u8..20).map(|n| vec![n; 3000 + usize::from(n)]).collect();
        texts[2] = [&texts[1][..], b"x"].concat();
        let mut session = Session::begin(&repo, "test", false, &Silent).unwrap();
        let mut near = session.neighbours();
        let ids: Vec<BlobId> = texts.iter().map(|text| near.store(text).unwrap().id).collect();
        near.finish().unwrap();
        session.flush().unwrap();
        let index = Index::open(&repo, &repo.ledger(false).unwrap()).unwrap();
        let places = Arc::new(Counted(index, AtomicUsize::new(0)));
        let reader = Reader::with_places(&repo, places.clone());
        let asked = |order: &[usize]| {
            let mut trail = Trail::default();
            let before = places.1.load(Ordering::Relaxed);
            for at in order {
                let len = u32::try_from(texts[*at].len()).unwrap();
                assert_eq!(*reader.chunk_along(ids[*at], len, &mut trail).unwrap(), texts[*at][..]);
            }
            places.1.load(Ordering::Relaxed) - before
        };
        let all: Vec<usize> = (0..texts.len()).collect();
        assert_eq!(asked(&all), 1, "only the first is looked up");
        let back: Vec<usize> = all.iter().rev().copied().collect();
        assert_eq!(asked(&back), back.len());
        assert_eq!(asked(&[4, 5, 5, 6, 19, 0, 1, 3]), 5);
        let (mut trail, len) = (Trail::default(), u32::try_from(texts[7].len()).unwrap());
        reader.chunk_along(ids[6], len - 1, &mut trail).unwrap();
        for wrong in [len - 1, len + 1, u32::MAX] {
            assert!(reader.chunk_along(ids[7], wrong, &mut trail).is_err(), "{wrong}");
        }
        assert!(reader.chunk_along(BlobId([7; 32]), len, &mut trail).is_err(), "right length, wrong id");
    }
}
