//! The index: where each blob stands. Local and rebuildable, never the only copy.
//!
//! The truth is in the sealed index objects; this is a copy of them, made equal to the
//! repository at every open. It lives in sled ([`disk`]) with a [`catalogue`] beside it, or,
//! where another process has that or no cache is to be had, in memory ([`inventory`]). It
//! holds only what was read back from durable index objects; a run's own entries stay with
//! the run until then (invariant W4).
//!
//! sled is opened at the first look-up, not before: `snapshots` never touches it, and a run whose
//! parent is vouched for only to find the parent's trees.

pub mod batch;
pub mod catalogue;
pub mod disk;
pub mod inventory;
mod rely;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, RwLock};

use crate::error::{Error, Result};
use crate::format::frame::{Edge, FrameBlob};
use crate::format::index::{IndexObject, IndexedPack};
use crate::id::{BlobId, BlobRef, IndexId, ObjectKind, PackId};
use crate::repo::Repository;
use crate::repo::cache::CacheLock;
use crate::repo::ledger::Ledger;

use catalogue::Catalogue;
use disk::DiskIndex;
use inventory::Inventory;

/// Number of a pack inside one index; never on the wire.
pub type PackNumber = u32;

/// Where one copy of a blob stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which pack.
    pub pack: PackNumber,
    /// Frame: offset in the pack.
    pub offset: u32,
    /// Frame: nonce, ciphertext and tag.
    pub stored_len: u32,
    /// Frame: plaintext.
    pub plain_len: u32,
    /// Frame: encoding tag.
    pub encoding: u8,
    /// Frame: codec version.
    pub codec_version: u8,
    /// Frame: height.
    pub height: u8,
    /// Blob: offset in the frame's plaintext.
    pub blob_offset: u32,
    /// Blob: length.
    pub blob_len: u32,
    /// Frame: bases.
    pub edges: Vec<Edge>,
}

/// A pack as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// Its name.
    pub id: PackId,
    /// Its size.
    pub size: u64,
    /// Key epoch of its frames.
    pub epoch: u16,
    /// Data or metadata.
    pub pack_kind: u8,
    /// Named by a listed index object, listed in `data/`, not condemned and not found bad.
    pub usable: bool,
    /// Listed in `data/`.
    pub standing: bool,
}

/// Where blobs can be read from: what a [`Reader`](crate::repo::reader::Reader) needs to know.
pub trait Places: Send + Sync {
    /// Places of a blob that may be tried, the best first: usable packs before others that still
    /// stand, least height first.
    fn places(&self, blob: &BlobRef) -> Result<Vec<Place>>;
    /// What is known of a pack.
    fn pack(&self, number: PackNumber) -> Option<PackInfo>;
    /// All blobs of the frame at a place, if that spares looking them up one by one.
    fn blobs_at(&self, _place: &Place) -> Result<Vec<FrameBlob>> {
        Ok(Vec::new())
    }
}

/// The order of [`Places::places`].
pub fn best_first(places: &mut Vec<Place>, pack: impl Fn(PackNumber) -> Option<PackInfo>) {
    places.retain(|p| pack(p.pack).is_some_and(|i| i.standing));
    places.sort_by_key(|p| (pack(p.pack).is_none_or(|i| !i.usable), p.height, p.pack));
}

/// Finds the places of a blob. What stands behind it may fail at any time; the [`Index`]
/// then builds another one from the sealed index objects.
pub trait Lookup: Send {
    /// Every place known, in no order.
    fn places(&mut self, blob: &BlobRef) -> Result<Vec<Place>>;
    /// The blobs of the frame at a place, which has edges.
    fn blobs_at(&mut self, place: &Place) -> Result<Vec<FrameBlob>>;
    /// Takes in packs under their numbers.
    fn insert(&mut self, packs: &[(PackNumber, &IndexedPack)]) -> Result<()>;
    /// Makes durable what was taken in.
    fn flush(&mut self) -> Result<()>;
}

/// What answers look-ups at the moment.
enum Backend {
    /// sled, not opened yet.
    Closed,
    Disk(DiskIndex),
    Memory(Inventory),
}

/// The index of an opened repository.
pub struct Index {
    repo: Repository,
    catalogue: RwLock<Catalogue>,
    packs: RwLock<Vec<PackInfo>>,
    standing: HashSet<PackId>,
    backend: Mutex<Backend>,
    /// What was found out of frames with bases; void once a pack comes or goes.
    search: Mutex<rely::Search>,
    /// Stands last, as it is dropped last: nobody may open sled before it was closed here.
    lock: Option<CacheLock>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Makes the local index equal to the repository (W2): new index objects are read, vanished
    /// ones dropped, and each pack gets its usable bit from this run's own listing of
    /// `data/` and from what the ledger condemned.
    pub fn open(repo: &Repository, ledger: &Ledger) -> Result<Self> {
        let objects = list_ids::<IndexId>(repo, ObjectKind::Index)?;
        let lock = repo.cache().and_then(|cache| cache.lock());
        let cache = repo.cache().filter(|_| lock.is_some());
        // The catalogue is read while packs are listed.
        let (standing, catalogue) = std::thread::scope(|scope| {
            let load = || cache.and_then(Catalogue::load);
            let loading = std::thread::Builder::new().spawn_scoped(scope, load);
            let listed = repo.store().list(ObjectKind::Pack);
            let loaded = loading.map_or_else(|_| load(), |loading| loading.join().ok().flatten());
            (listed, loaded)
        });
        let standing: HashSet<PackId> = standing?.iter().filter_map(|name| name.parse().ok()).collect();
        let mut catalogue = catalogue.and_then(|mut c| (!c.is_mostly_dead(&objects, &standing)).then_some(c));
        let backend = match (cache, &catalogue) {
            (None, _) => Backend::Memory(Inventory::default()),
            (Some(_), Some(_)) => Backend::Closed,
            (Some(cache), None) => match DiskIndex::create(&cache.index_dir()) {
                Ok(disk) => Backend::Disk(disk),
                Err(error) => {
                    tracing::info!(%error, "no index on disk, using memory");
                    Backend::Memory(Inventory::default())
                }
            },
        };
        let lock = lock.filter(|_| !matches!(backend, Backend::Memory(_)));
        let mut catalogue = catalogue.take().unwrap_or_default();
        catalogue.drop_vanished(&objects);
        let new: Vec<IndexId> = objects.iter().filter(|id| !catalogue.knows(id)).copied().collect();
        let index = Self {
            repo: repo.clone(),
            catalogue: RwLock::new(catalogue),
            packs: RwLock::default(),
            standing,
            backend: Mutex::new(backend),
            search: Mutex::default(),
            lock,
        };
        if !new.is_empty() {
            tracing::debug!(objects = new.len(), "reading index objects");
            for batch in new.chunks(32) {
                index.take_in(read_objects(repo, batch)?)?;
            }
            index.save();
        }
        index.judge(ledger);
        Ok(index)
    }

    /// Takes in index objects that are durable.
    fn take_in(&self, objects: Vec<(IndexId, IndexObject)>) -> Result<()> {
        let mut backend = self.backend();
        let marked = self.unclean(&backend);
        let mut catalogue = self.catalogue.write().unwrap_or_else(|e| e.into_inner());
        if !marked {
            // Rows that a crash leaves in sled beside an old catalogue could be taken for those of
            // other packs.
            let mut memory = Inventory::default();
            rebuild(&self.repo, &mut catalogue, &mut memory)?;
            *backend = Backend::Memory(memory);
        }
        for (id, object) in objects {
            // Opened first: should it be built anew, it must not take this object for known.
            let taken = self.opened(&mut backend, &mut catalogue).and_then(|lookup| {
                let fresh = catalogue.register(id, &object);
                lookup.insert(&fresh)
            });
            if let Err(error) = taken {
                tracing::warn!(%error, "index on disk failed, using memory");
                let mut memory = Inventory::default();
                rebuild(&self.repo, &mut catalogue, &mut memory)?;
                memory.insert(&catalogue.register(id, &object))?;
                *backend = Backend::Memory(memory);
            }
        }
        // From here on the file is [`Index::save`]'s to write.
        catalogue.take_released();
        Ok(())
    }

    /// Sets the usable bits by what the ledger says now, and counts a new generation if one was
    /// lost.
    pub fn judge(&self, ledger: &Ledger) {
        let mut catalogue = self.catalogue.write().unwrap_or_else(|e| e.into_inner());
        let mut packs = self.packs.write().unwrap_or_else(|e| e.into_inner());
        *packs = catalogue.judge(&self.standing, |pack| ledger.is_condemned(pack) || ledger.is_bad(pack));
        drop((catalogue, packs));
        self.forget_search();
    }

    fn forget_search(&self) {
        *self.search.lock().unwrap_or_else(|e| e.into_inner()) = rely::Search::default();
    }

    /// Takes in this run's own index objects, once they are durable (W4), and vouches for the tree of
    /// its snapshot: everything below was usable now.
    pub fn absorb(&self, objects: Vec<(IndexId, IndexObject)>, root: Option<BlobId>) -> Result<()> {
        if objects.is_empty() && root.is_none_or(|root| self.vouches_for(&root)) {
            return Ok(());
        }
        let own: Vec<PackId> = objects.iter().flat_map(|(_, o)| o.packs.iter().map(|p| p.id)).collect();
        self.take_in(objects)?;
        {
            let mut catalogue = self.catalogue.write().unwrap_or_else(|e| e.into_inner());
            let mut packs = self.packs.write().unwrap_or_else(|e| e.into_inner());
            catalogue.mark_usable(&own, &mut packs);
            if let Some(root) = root {
                catalogue.vouch(root);
            }
        }
        self.forget_search();
        self.save();
        Ok(())
    }

    /// Was every blob of a snapshot with this tree usable when it was made here, and has no pack been
    /// lost since? Then its ids need no look-up.
    pub fn vouches_for(&self, root: &BlobId) -> bool {
        self.catalogue.read().unwrap_or_else(|e| e.into_inner()).vouches_for(root)
    }

    /// Does any index object name this blob, whatever became of the pack?
    pub fn names(&self, blob: &BlobRef) -> Result<bool> {
        Ok(!self.is_empty() && !self.look_up(blob)?.is_empty())
    }

    /// Are there no packs at all?
    pub fn is_empty(&self) -> bool {
        self.packs.read().unwrap_or_else(|e| e.into_inner()).is_empty()
    }

    /// Every pack known.
    pub fn packs(&self) -> Vec<PackInfo> {
        self.packs.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Packs that were listed in `data/`, are named by no index object and not condemned.
    pub fn orphans(&self, ledger: &Ledger) -> Vec<PackId> {
        let named = self.catalogue.read().unwrap_or_else(|e| e.into_inner()).named();
        let unnamed = |id: &&PackId| !named.contains(*id) && !ledger.is_condemned(id);
        self.standing.iter().filter(unnamed).copied().collect()
    }

    fn look_up(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let mut backend = self.backend();
        // Its turn comes after the backend's, so this lock waits for nobody who looks something up.
        let mut catalogue = self.catalogue.write().unwrap_or_else(|e| e.into_inner());
        match self.opened(&mut backend, &mut catalogue).and_then(|lookup| lookup.places(blob)) {
            Ok(places) => {
                // Built anew and flushed, nothing taken in since: its count is that of the file again.
                if let (true, Some(cache), Backend::Disk(_)) =
                    (catalogue.take_released(), self.repo.cache(), &*backend)
                {
                    catalogue.store(cache);
                }
                Ok(places)
            }
            Err(error) => {
                tracing::warn!(%error, "index on disk failed, using memory");
                self.unclean(&backend);
                let mut memory = Inventory::default();
                rebuild(&self.repo, &mut catalogue, &mut memory)?;
                let places = memory.places(blob);
                *backend = Backend::Memory(memory);
                places
            }
        }
    }

    fn backend(&self) -> MutexGuard<'_, Backend> {
        self.backend.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What answers, opening sled if it is due.
    fn opened<'b>(&self, backend: &'b mut Backend, catalogue: &mut Catalogue) -> Result<&'b mut dyn Lookup> {
        if let (Backend::Closed, Some(cache)) = (&*backend, self.repo.cache()) {
            match DiskIndex::open(&cache.index_dir(), catalogue.entry_count()) {
                Ok(disk) => *backend = Backend::Disk(disk),
                Err(error) => {
                    tracing::info!(%error, "index on disk not usable, building it anew");
                    let mut disk = DiskIndex::create(&cache.index_dir())?;
                    rebuild(&self.repo, catalogue, &mut disk)?;
                    *backend = Backend::Disk(disk);
                }
            }
        }
        match backend {
            Backend::Disk(disk) => Ok(disk),
            Backend::Memory(memory) => Ok(memory),
            Backend::Closed => Err(Error::Internal("an index without a cache".into())),
        }
    }

    /// Before sled changes: without its catalogue it will be built anew. `false` if that could not
    /// be made sure.
    fn unclean(&self, backend: &Backend) -> bool {
        match (&self.lock, self.repo.cache()) {
            (Some(_), Some(cache)) if !matches!(backend, Backend::Memory(_)) => {
                let removed = cache.remove(catalogue::FILE);
                if !removed {
                    tracing::warn!("cannot mark the index as open, using memory");
                }
                removed
            }
            _ => true,
        }
    }

    /// Flushes sled and writes the catalogue: from here on a kill costs nothing.
    fn save(&self) {
        let (Some(_), Some(cache)) = (&self.lock, self.repo.cache()) else { return };
        let mut backend = self.backend();
        let flushed = match &mut *backend {
            Backend::Disk(disk) => disk.flush(),
            Backend::Closed => Ok(()),
            Backend::Memory(_) => return,
        };
        match flushed {
            Ok(()) => self.catalogue.read().unwrap_or_else(|e| e.into_inner()).store(cache),
            Err(error) => tracing::warn!(%error, "index on disk not flushed; it will be built anew"),
        }
    }
}

impl Places for Index {
    fn places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let mut places = self.look_up(blob)?;
        let packs = self.packs.read().unwrap_or_else(|e| e.into_inner());
        best_first(&mut places, |number| packs.get(number as usize).copied());
        Ok(places)
    }

    fn pack(&self, number: PackNumber) -> Option<PackInfo> {
        self.packs.read().unwrap_or_else(|e| e.into_inner()).get(number as usize).copied()
    }

    fn blobs_at(&self, place: &Place) -> Result<Vec<FrameBlob>> {
        let mut backend = self.backend();
        let blobs = match &mut *backend {
            Backend::Disk(disk) => disk.blobs_at(place),
            Backend::Memory(memory) => memory.blobs_at(place),
            Backend::Closed => Ok(Vec::new()),
        };
        // It only spares look-ups, and these find out what is wrong with a file.
        Ok(blobs.unwrap_or_default())
    }
}

/// Ids of the objects of a kind, sorted.
pub fn list_ids<I: std::str::FromStr + Ord>(repo: &Repository, kind: ObjectKind) -> Result<BTreeSet<I>> {
    Ok(repo.store().list(kind)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// One that is damaged or was removed meanwhile is passed over with a notice: what only it names is
/// then simply not known.
fn read_objects(repo: &Repository, ids: &[IndexId]) -> Result<Vec<(IndexId, IndexObject)>> {
    let mut objects = Vec::new();
    for (id, read) in batch::read(repo, ids)? {
        match read {
            Ok(object) => objects.push((id, object)),
            Err(error @ Error::Corrupt { .. }) => repo.notice(format!("{error}; it was passed over")),
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}

/// Fills the empty `lookup` from the sealed objects that `catalogue` knows, under its numbers.
/// An object that cannot be read any more is not known any more.
fn rebuild(repo: &Repository, catalogue: &mut Catalogue, lookup: &mut dyn Lookup) -> Result<()> {
    catalogue.release();
    let ids: Vec<_> = catalogue.object_ids().collect();
    for batch in ids.chunks(32) {
        let mut lost: HashSet<IndexId> = batch.iter().copied().collect();
        for (id, object) in read_objects(repo, batch)? {
            lost.remove(&id);
            lookup.insert(&catalogue.register(id, &object))?;
        }
        lost.iter().for_each(|id| catalogue.drop_object(id));
    }
    lookup.flush()
}
