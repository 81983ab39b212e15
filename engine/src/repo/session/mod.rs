//! One run that writes (design §3a, the writer's side).
//!
//! ```text
//! W1 lease, ledger   W2 index equal to the repository   W3 adopt finished packs of dead sessions
//! W4 packs → index objects → local index   W5 read new ledger entries   W6 snapshot, commit
//! ```
//! Memory: that of the [`Outbox`], and the ids that this run claimed (some 60 bytes each).
//!
//! A session that is dropped leaves garbage, never damage: what it stored is adopted by the
//! next one.

mod adopt;
mod against;
mod commit;
mod neighbours;
mod units;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::codec::Hint;
use crate::error::{Error, Result};
use crate::format::MAX_FRAME_PLAIN_BYTES;
use crate::format::frame::FrameBlob;
use crate::format::index::IndexObject;
use crate::format::pack::PackKind;
use crate::id::{BlobId, BlobKind, BlobRef, IndexId, SessionId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::frames::{self};
use crate::repo::gather::Gathering;
use crate::repo::index::{Index, PackNumber};
use crate::repo::lease::Lease;
use crate::repo::ledger::Ledger;
use crate::repo::outbox::Outbox;
use crate::repo::reader::Reader;

pub use against::{Against, SourceRef};
pub use neighbours::Neighbours;

const CLAIM_SHARDS: usize = 64;
/// What a session wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Blobs that were new to the repository.
    pub new_blobs: u64,
    /// Their plaintext.
    pub new_bytes: u64,
    /// Packs, index objects and the snapshot.
    pub stored_bytes: u64,
    /// Finished packs of earlier runs that were taken over.
    pub adopted_packs: u64,
    /// Plaintext in them.
    pub adopted_bytes: u64,
    /// How often what a prune condemned meanwhile was looked for, and copied.
    pub rescues: u64,
}

/// A stored, or already known, blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: BlobId,
    /// Was it new to the repository?
    pub new: bool,
    /// So many sources of those offered it was stored as the difference to.
    pub sources: usize,
}

/// One run that writes.
pub struct Session {
    repo: Repository,
    id: SessionId,
    index: Arc<Index>,
    ledger: Ledger,
    /// `None` in a dry run: nothing is written at all.
    lease: Option<Lease>,
    outbox: Option<Outbox>,
    claims: Vec<Mutex<HashSet<BlobRef>>>,
    /// Reads by this session's index.
    own_reader: OnceLock<Reader>,
    /// Set once a blob that the index has could not be read.
    wary: AtomicBool,
    relied: Mutex<HashSet<PackNumber>>,
    shared_data: Mutex<Gathering>,
    shared_metadata: Mutex<Gathering>,
    new_blobs: AtomicU64,
    new_bytes: AtomicU64,
    extra_bytes: AtomicU64,
    adopted: (u64, u64),
    rescues: u32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Session {
    /// W1 to W3. With `dry` nothing is written; the session only finds out what would be.
    pub fn begin(repo: &Repository, operation: &str, dry: bool, progress: &dyn Progress) -> Result<Self> {
        let id = SessionId(repo.surroundings().random()?);
        let mut lease = if dry { None } else { Some(Lease::take(repo, id, operation)?) };
        let ledger = repo.ledger(true)?;
        if let Some(lease) = &mut lease {
            lease.begin(ledger.head())?;
        }
        let index = Arc::new(Index::open(repo, &ledger)?);
        let outbox = if dry { None } else { Some(Outbox::start(repo, id)) };
        let mut session = Self {
            repo: repo.clone(),
            id,
            index,
            ledger,
            lease,
            outbox,
            claims: (0..CLAIM_SHARDS).map(|_| Mutex::default()).collect(),
            own_reader: OnceLock::new(),
            wary: AtomicBool::new(false),
            relied: Mutex::default(),
            shared_data: Mutex::default(),
            shared_metadata: Mutex::default(),
            new_blobs: AtomicU64::new(0),
            new_bytes: AtomicU64::new(0),
            extra_bytes: AtomicU64::new(0),
            adopted: (0, 0),
            rescues: 0,
        };
        session.adopt(progress)?;
        Ok(session)
    }

    /// The repository.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// The ledger as it was when the session began.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    fn shard(&self, blob: &BlobRef) -> &Mutex<HashSet<BlobRef>> {
        &self.claims[usize::from(blob.id.0[31]) % CLAIM_SHARDS]
    }

    /// Is the blob in the repository, in a usable pack or in this run's hands? It may be relied
    /// on from now on. Does not claim it.
    pub fn is_known(&self, blob: &BlobRef) -> Result<bool> {
        if locked(self.shard(blob)).contains(blob) {
            return Ok(true);
        }
        match self.index.rely_on(blob, self.own_reader())? {
            Some(_) if !self.readable(blob)? => Ok(false),
            Some(on) => {
                locked(&self.relied).extend(on.packs);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Takes a blob for known without a look-up: one of a parent snapshot that the index vouches
    /// for ([`Index::vouches_for`]).
    pub fn trust(&self, blob: BlobRef) {
        locked(self.shard(&blob)).insert(blob);
    }

    /// A directory or list that the index has could not be read. From now on each of them is read
    /// before it is relied on; what cannot be read is stored again. Else a snapshot would be made
    /// that is as unreadable as its parent.
    pub fn be_wary(&self) {
        self.wary.store(true, Ordering::Relaxed);
    }

    fn own_reader(&self) -> &Reader {
        self.own_reader.get_or_init(|| Reader::with_index(&self.repo, self.index.clone()))
    }

    /// The height of the copy of a blob that may be relied on, if there is one.
    pub fn height_of(&self, blob: &BlobRef) -> Result<Option<u8>> {
        self.index.height_of(blob, self.own_reader())
    }

    fn readable(&self, blob: &BlobRef) -> Result<bool> {
        let wary = self.wary.load(Ordering::Relaxed) && blob.kind.is_metadata();
        match wary.then(|| self.own_reader().blob(blob.kind, blob.id)) {
            None | Some(Ok(_)) => Ok(true),
            Some(Err(Error::Missing { .. })) => Ok(false),
            Some(Err(error)) => Err(error),
        }
    }

    /// Claims a blob: `true` for exactly one caller, who must store it. Others may refer to it
    /// at once, since the snapshot is written only after every pack.
    fn claim(&self, blob: &BlobRef) -> Result<bool> {
        if self.is_known(blob)? {
            return Ok(false);
        }
        Ok(locked(self.shard(blob)).insert(*blob))
    }

    /// Stores a blob unless it is known. Small ones are gathered into shared frames.
    pub fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Stored> {
        self.store_typed(kind, plain, Hint::NONE)
    }

    /// The same where it is known what its elements are.
    pub fn store_typed(&self, kind: BlobKind, plain: &[u8], hint: Hint) -> Result<Stored> {
        let id = self.repo.blob_id(kind, plain);
        self.store_as(kind, id, plain, hint, None)
    }

    /// A gatherer for a run of neighbours, whose small blobs share frames in their order.
    pub fn neighbours(&self) -> Neighbours<'_> {
        Neighbours::of(self)
    }

    /// Stores a blob whose id was computed of these bytes; `near` gathers small ones.
    pub(in crate::repo) fn store_as(
        &self,
        kind: BlobKind,
        id: BlobId,
        plain: &[u8],
        hint: Hint,
        near: Option<&mut Gathering>,
    ) -> Result<Stored> {
        if plain.len() > MAX_FRAME_PLAIN_BYTES as usize {
            return Err(Error::Internal(format!("a {} of {} bytes", kind.word(), plain.len())));
        }
        if !self.claim(&BlobRef::new(kind, id))? {
            return Ok(Stored { id, new: false, sources: 0 });
        }
        self.new_blobs.fetch_add(1, Ordering::Relaxed);
        self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        self.put_alone(kind, id, plain, hint, near)?;
        Ok(Stored { id, new: true, sources: 0 })
    }

    /// Stores a blob that was claimed. Those that share frames are of many types.
    fn put_alone(
        &self,
        kind: BlobKind,
        id: BlobId,
        plain: &[u8],
        hint: Hint,
        near: Option<&mut Gathering>,
    ) -> Result<()> {
        let len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a blob over 4 GiB".into()))?;
        let blob = FrameBlob { kind: kind as u8, len, id };
        let pack_kind = if kind.is_metadata() { PackKind::Metadata } else { PackKind::Data };
        if len >= self.repo.config().small_blob_bytes {
            self.write_frame_as(pack_kind, plain, vec![blob], hint)?;
        } else if let Some(near) = near {
            if let Some(full) = self.gather(near, plain, blob) {
                self.write_frame(pack_kind, &full.plain, full.blobs)?;
            }
        } else {
            let shared = if kind.is_metadata() { &self.shared_metadata } else { &self.shared_data };
            let full = self.gather(&mut locked(shared), plain, blob);
            if let Some(full) = full {
                self.write_frame(pack_kind, &full.plain, full.blobs)?;
            }
        }
        Ok(())
    }

    fn gather(&self, gathering: &mut Gathering, plain: &[u8], blob: FrameBlob) -> Option<Gathering> {
        gathering.add(self.repo.config().frame_target_bytes, plain, blob)
    }

    fn write_frame(&self, kind: PackKind, plain: &[u8], blobs: Vec<FrameBlob>) -> Result<()> {
        self.write_frame_as(kind, plain, blobs, Hint::NONE)
    }

    fn write_frame_as(&self, kind: PackKind, plain: &[u8], blobs: Vec<FrameBlob>, hint: Hint) -> Result<()> {
        match &self.outbox {
            Some(outbox) => outbox.write_as(kind, plain, blobs, hint),
            None => {
                let frame = frames::make(&self.repo, plain, blobs, hint, Vec::new())?;
                self.extra_bytes.fetch_add(u64::from(frame.record.stored_len), Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// W4: everything that was given is durable and named by durable index objects.
    pub fn flush(&mut self) -> Result<Vec<(IndexId, IndexObject)>> {
        for (kind, shared) in
            [(PackKind::Data, &self.shared_data), (PackKind::Metadata, &self.shared_metadata)]
        {
            let last = std::mem::take(&mut *locked(shared));
            if !last.blobs.is_empty() {
                self.write_frame(kind, &last.plain, last.blobs)?;
            }
        }
        self.outbox.as_mut().map_or(Ok(Vec::new()), Outbox::flush)
    }

    /// What was written so far.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            new_blobs: self.new_blobs.load(Ordering::Relaxed),
            new_bytes: self.new_bytes.load(Ordering::Relaxed),
            stored_bytes: self.outbox.as_ref().map_or(0, Outbox::stored_bytes)
                + self.extra_bytes.load(Ordering::Relaxed),
            adopted_packs: self.adopted.0,
            adopted_bytes: self.adopted.1,
            rescues: self.rescues.into(),
        }
    }
}
