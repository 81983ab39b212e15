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

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::codec::Hint;
use crate::error::{Error, Result};
use crate::format::MAX_FRAME_PLAIN_BYTES;
use crate::format::frame::{Edge, FrameBlob};
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::ledger::{CommitV1, Event};
use crate::format::pack::PackKind;
use crate::format::snapshot::SnapshotV1;
use crate::id::{BlobId, BlobKind, BlobRef, IndexId, ObjectKind, ObjectName, PackId, SessionId, SnapshotId};
use crate::progress::{Progress, Silent};
use crate::repo::Repository;
use crate::repo::copier::{Copier, Nearby};
use crate::repo::frames::{self, Source};
use crate::repo::gather::Gathering;
use crate::repo::holdings::Holdings;
use crate::repo::index::{self, Index, PackNumber, Places};
use crate::repo::lease::{Lease, live_sessions};
use crate::repo::ledger::{Append, Entry, Ledger};
use crate::repo::outbox::Outbox;
use crate::repo::packfile;
use crate::repo::reach::Reach;
use crate::repo::reader::{BlobBytes, Reader};
use crate::store::PutMode;

const CLAIM_SHARDS: usize = 64;
/// So often a commit copies what others condemned meanwhile.
const RESCUES: u32 = 3;

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

/// What a blob may be stored as the difference to: a stretch of the bytes of known blobs, one after
/// the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRef {
    /// The blobs.
    pub blobs: Vec<BlobRef>,
    /// Where the stretch begins in their bytes.
    pub offset: u32,
    /// Its length.
    pub len: u32,
}

/// How a blob may be stored as a difference.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// To these, likeliest first.
    pub sources: &'a [SourceRef],
    /// What its elements are.
    pub hint: Hint,
    /// Only if at least so much is saved against storing it alone.
    pub least_gain_percent: u8,
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
    /// Set once a blob that the index has could not be read.
    wary: OnceLock<Reader>,
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
            wary: OnceLock::new(),
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

    /// W3: packs that stand, are named by no index object and not condemned, of sessions that
    /// are dead. They are finished (a pack gets its name only when it is durable), so a run
    /// that was killed goes on where it was.
    fn adopt(&mut self, progress: &dyn Progress) -> Result<()> {
        let orphans = self.index.orphans(&self.ledger);
        if orphans.is_empty() {
            return Ok(());
        }
        let live: HashSet<SessionId> =
            live_sessions(&self.repo, Some(self.id))?.into_iter().map(|(session, _)| session).collect();
        let mut adopted = Vec::new();
        for id in orphans {
            progress.check()?;
            match packfile::read_trailer(&self.repo, id) {
                Ok((session, _)) if live.contains(&session) => {}
                Ok((_, pack)) => match self.packs_of_bases(&pack)? {
                    Some(bases) => {
                        locked(&self.relied).extend(bases);
                        adopted.push(pack);
                    }
                    // What it is the difference to went since: it can never be read.
                    None => tracing::info!(pack = %id, "unlisted pack passed over: its bases are gone"),
                },
                Err(Error::Store(e)) if e.is_not_found() => {}
                // A note, not an error: nothing can need a pack that no index ever named.
                Err(error) => tracing::info!(%error, "unlisted pack passed over"),
            }
        }
        let bytes = adopted.iter().flat_map(|p| &p.frames).map(|f| u64::from(f.plain_len)).sum();
        self.adopted = (adopted.len() as u64, bytes);
        for pack in &adopted {
            for blob in pack.frames.iter().flat_map(|f| &f.blobs) {
                if let Some(kind) = BlobKind::from_byte(blob.kind) {
                    let blob = BlobRef::new(kind, blob.id);
                    locked(self.shard(&blob)).insert(blob);
                }
            }
        }
        if let Some(outbox) = &self.outbox {
            outbox.list_only(adopted);
        }
        Ok(())
    }

    /// Packs by which all bases of a pack's frames can be had.
    fn packs_of_bases(&self, pack: &IndexedPack) -> Result<Option<Vec<PackNumber>>> {
        let mut all = Vec::new();
        for frame in pack.frames.iter().filter(|frame| !frame.edges.is_empty()) {
            let Some(bases) = self.index.packs_of_bases(frame)? else { return Ok(None) };
            all.extend(bases);
        }
        Ok(Some(all))
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
        match self.index.usable_packs(blob)? {
            Some(_) if !self.readable(blob)? => Ok(false),
            Some(packs) => {
                locked(&self.relied).extend(packs);
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
        self.wary.get_or_init(|| Reader::with_index(&self.repo, self.index.clone()));
    }

    fn readable(&self, blob: &BlobRef) -> Result<bool> {
        match self.wary.get().filter(|_| blob.kind.is_metadata()).map(|r| r.blob(blob.kind, blob.id)) {
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
        let id = self.repo.blob_id(kind, plain);
        self.store_as(kind, id, plain, None)
    }

    /// A gatherer for a run of neighbours, whose small blobs share frames in their order.
    pub fn neighbours(&self) -> Neighbours<'_> {
        Neighbours { session: self, gathering: Gathering::default() }
    }

    fn store_as(
        &self,
        kind: BlobKind,
        id: BlobId,
        plain: &[u8],
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
        self.put_alone(kind, id, plain, near)?;
        Ok(Stored { id, new: true, sources: 0 })
    }

    /// Stores a blob that was claimed.
    fn put_alone(
        &self,
        kind: BlobKind,
        id: BlobId,
        plain: &[u8],
        near: Option<&mut Gathering>,
    ) -> Result<()> {
        let len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a blob over 4 GiB".into()))?;
        let blob = FrameBlob { kind: kind as u8, len, id };
        let pack_kind = if kind.is_metadata() { PackKind::Metadata } else { PackKind::Data };
        if len >= self.repo.config().small_blob_bytes {
            self.write_frame(pack_kind, plain, vec![blob])?;
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

    /// Stores a blob as the difference to other blobs where that is shorter than alone. `reader` must read by this session's index. Bases come only from packs that were
    /// durable before this run, and a blob that the index knows already is stored alone (design
    /// §3.2); a source that cannot be had is left out.
    pub fn store_against(
        &self,
        kind: BlobKind,
        plain: &[u8],
        against: &Against<'_>,
        reader: &Reader,
    ) -> Result<Stored> {
        let id = self.repo.blob_id(kind, plain);
        let blob = BlobRef::new(kind, id);
        if self.is_known(&blob)? {
            return Ok(Stored { id, new: false, sources: 0 });
        }
        let mut had = Vec::new();
        if self.index.places(&blob)?.is_empty() {
            for source in against.sources {
                had.extend(self.had(source, reader)?);
            }
        }
        if had.is_empty() {
            return self.store_as(kind, id, plain, None);
        }
        if !self.claim(&blob)? {
            return Ok(Stored { id, new: false, sources: 0 });
        }
        self.new_blobs.fetch_add(1, Ordering::Relaxed);
        self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        let sources: Vec<Source<'_>> = had
            .iter()
            .map(|(source, bytes, height)| Source {
                blobs: source
                    .blobs
                    .iter()
                    .zip(bytes)
                    .map(|(b, bytes)| (Edge { how: 0, kind: b.kind as u8, id: b.id }, &**bytes))
                    .collect(),
                offset: source.offset,
                len: source.len,
                height: *height,
            })
            .collect();
        let len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a blob over 4 GiB".into()))?;
        let blobs = vec![FrameBlob { kind: kind as u8, len, id }];
        let pack_kind = if kind.is_metadata() { PackKind::Metadata } else { PackKind::Data };
        let (hint, gain) = (against.hint, against.least_gain_percent);
        let (frame, used) = frames::make_against(&self.repo, plain, blobs, &sources, hint, gain)?;
        if used == 0 && len < self.repo.config().small_blob_bytes {
            // Small ones that stand alone share frames.
            self.put_alone(kind, id, plain, None)?;
            return Ok(Stored { id, new: true, sources: 0 });
        }
        match &self.outbox {
            Some(outbox) => outbox.push(pack_kind, &frame)?,
            None => {
                self.extra_bytes.fetch_add(u64::from(frame.record.stored_len), Ordering::Relaxed);
            }
        }
        Ok(Stored { id, new: true, sources: used })
    }

    /// The greatest of the least heights of a source's blobs; `None` if one of them is not known.
    pub fn height(&self, source: &SourceRef) -> Result<Option<u8>> {
        let mut height = 0;
        for blob in &source.blobs {
            match self.index.least_height(blob)? {
                Some(least) => height = height.max(least),
                None => return Ok(None),
            }
        }
        Ok(Some(height))
    }

    /// A source with its bytes and its height; `None` if it cannot be relied on or read.
    fn had<'s>(
        &self,
        source: &'s SourceRef,
        reader: &Reader,
    ) -> Result<Option<(&'s SourceRef, Vec<BlobBytes>, u8)>> {
        let (mut bytes, mut packs, mut height) = (Vec::new(), Vec::new(), 0);
        for blob in &source.blobs {
            let (Some(relied), Some(least)) =
                (self.index.usable_packs(blob)?, self.index.least_height(blob)?)
            else {
                return Ok(None);
            };
            let Ok(read) = reader.base_bytes(blob) else { return Ok(None) };
            bytes.push(read);
            packs.extend(relied);
            height = height.max(least);
        }
        locked(&self.relied).extend(packs);
        Ok(Some((source, bytes, height)))
    }

    fn gather(&self, gathering: &mut Gathering, plain: &[u8], blob: FrameBlob) -> Option<Gathering> {
        gathering.add(self.repo.config().frame_target_bytes, plain, blob)
    }

    fn write_frame(&self, kind: PackKind, plain: &[u8], blobs: Vec<FrameBlob>) -> Result<()> {
        match &self.outbox {
            Some(outbox) => outbox.write(kind, plain, blobs),
            None => {
                let frame = frames::make(&self.repo, plain, blobs, Vec::new())?;
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

    /// Does an entry take away what this run relied on? What was taken over from a parent is safe while
    /// that is not forgotten: the prune had marked it. Once rescued, it relies on packs that were not
    /// noted one by one.
    fn overtaken(&self, new: &[Entry]) -> Option<String> {
        let rescued = self.rescues > 0;
        let relied: HashSet<PackId> = {
            let own = self.outbox.as_ref().map(Outbox::packs).unwrap_or_default();
            let relied = locked(&self.relied);
            relied.iter().filter_map(|n| self.index.pack(*n)).map(|p| p.id).chain(own).collect()
        };
        new.iter().find_map(|entry| match &entry.event {
            Event::Condemn(condemned) => condemned
                .packs
                .iter()
                .find(|pack| rescued || relied.contains(pack))
                .map(|pack| format!("pack {}, ledger entry {}", pack.short(), entry.record.number)),
            _ => None,
        })
    }

    /// W5: whatever the tree `root` needs and that is in no pack outside of D any more is copied from
    /// the condemned pack, if that still stands. [`Error::Overtaken`] if it does not: then the
    /// source must be read again. Everything of this run must be durable and listed.
    fn rescue(&mut self, root: BlobId, what: String) -> Result<()> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        tracing::info!(%what, "overtaken by a prune; copying what it condemned");
        let standing: HashSet<PackId> = index::list_ids(&self.repo, ObjectKind::Pack)?.into_iter().collect();
        let holdings = Arc::new(Holdings::read(&self.repo, &self.ledger, &standing, &Silent)?);
        let reader = Reader::with_places(&self.repo, holdings.clone());
        // What is copied may be the base of something else, or have been: until nothing is amiss.
        let reach = Reach::new(&holdings, &reader);
        reach.walk(&[root], &Silent)?;
        reach.settle(|copy| copy, &HashSet::new());
        {
            let copier = Copier::new(&holdings, &reader, outbox);
            let mut near = Nearby::default();
            for gap in reach.gaps() {
                copier.blob(gap.blob, &mut near).map_err(|error| match error {
                    Error::Missing { .. } | Error::Corrupt { .. } => Error::Overtaken { what: what.clone() },
                    other => other,
                })?;
            }
            copier.finish(near)?;
        }
        outbox.flush().map(drop)
    }

    /// W5 and W6: puts the snapshot and commits it. `parent` is the snapshot whose ids were taken
    /// over without a look-up, if any. The session must have been flushed.
    pub fn commit(
        &mut self,
        snapshot: &SnapshotV1,
        parent: Option<SnapshotId>,
        flushed: Vec<(IndexId, IndexObject)>,
    ) -> Result<SnapshotId> {
        let turn = |session: &mut Self| -> Result<usize> {
            let new = session.ledger.refresh(&session.repo)?;
            // What was made from it must not outlive it: who made it decides what to do.
            if let Some(parent) = parent.filter(|parent| session.ledger.is_forgotten(parent)) {
                let what = format!("snapshot {}, forgotten meanwhile", parent.short());
                return Err(Error::Overtaken { what });
            }
            if let Some(what) = session.overtaken(&new) {
                if session.rescues == RESCUES {
                    return Err(Error::Overtaken { what });
                }
                session.rescues += 1;
                session.rescue(snapshot.root, what)?;
            }
            Ok(new.len())
        };
        let mut put: Option<SnapshotId> = None;
        let id = loop {
            // A rescue takes time, in which more may have happened.
            while turn(self)? > 0 {}
            // A prune that held this session for dead may have condemned the object, and will delete
            // it: the same record under another name takes its place.
            let id = match put.filter(|id| !self.ledger.is_condemned_snapshot(id)) {
                Some(id) => id,
                None => {
                    let (id, bytes) = self.repo.seal_snapshot(snapshot)?;
                    self.repo.store().put(&id.into(), &bytes, PutMode::New)?;
                    self.extra_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    *put.insert(id)
                }
            };
            let event = Event::Commit(CommitV1 { snapshot: id });
            if self.ledger.append(&self.repo, self.id, &event)? == Append::Done {
                break id;
            }
            if turn(self)? == 0 {
                let taken = ObjectName::ledger(self.ledger.head() + 1);
                return Err(Error::corrupt(taken, "its name is taken, but it cannot be found"));
            }
        };
        // Committed. What follows is only this machine's own memory of it.
        let vouched = (self.rescues == 0).then_some(id);
        if let Err(error) = self.index.absorb(flushed, vouched) {
            tracing::warn!(%error, "local index not brought up to date");
        }
        self.lease = None;
        Ok(id)
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

/// Neighbours in a directory, whose small chunks share frames in their order.
pub struct Neighbours<'s> {
    session: &'s Session,
    gathering: Gathering,
}

impl Neighbours<'_> {
    /// Stores a chunk unless it is known.
    pub fn store(&mut self, plain: &[u8]) -> Result<Stored> {
        let id = self.session.repo.blob_id(BlobKind::Chunk, plain);
        self.session.store_as(BlobKind::Chunk, id, plain, Some(&mut self.gathering))
    }

    /// Writes what is left: a frame of its own if it is a good half of one, else into the
    /// session's shared frame.
    pub fn finish(mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.gathering);
        if rest.plain.len() >= self.session.repo.config().frame_target_bytes as usize / 2 {
            return self.session.write_frame(PackKind::Data, &rest.plain, rest.blobs);
        }
        let mut at = 0;
        for blob in rest.blobs {
            let plain = &rest.plain[at..at + blob.len as usize];
            at += blob.len as usize;
            let full = self.session.gather(&mut locked(&self.session.shared_data), plain, blob);
            if let Some(full) = full {
                self.session.write_frame(PackKind::Data, &full.plain, full.blobs)?;
            }
        }
        Ok(())
    }
}
