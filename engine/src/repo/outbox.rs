//! What a run writes, on its way out: frames → open packs → durable packs → durable index
//! objects (W4). Shared by the workers of a snapshot, a prune or a repair.
//!
//! Memory: at most (open packs 3 + storing threads 2 + one that waits) packs of `data_pack_max_bytes`,
//! and two frames of scratch for each worker.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use crate::codec::Hint;
use crate::error::Result;
use crate::format::frame::FrameBlob;
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::pack::PackKind;
use crate::id::{IndexId, PackId, SessionId};
use crate::repo::Repository;
use crate::repo::frames::{self, SealedFrame};
use crate::repo::packer::Packer;
use crate::repo::packfile::OpenPack;
use crate::repo::upload::{Slot, Uploads};

/// The storing side of one session.
pub struct Outbox {
    repo: Repository,
    session: SessionId,
    packer: Mutex<Packer>,
    packs: Mutex<HashSet<PackId>>,
    uploads: Uploads,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Outbox {
    /// Empty, its threads started.
    pub fn start(repo: &Repository, session: SessionId) -> Self {
        Self {
            repo: repo.clone(),
            session,
            packer: Mutex::new(Packer::new(repo)),
            packs: Mutex::default(),
            uploads: Uploads::start(repo, session),
        }
    }

    /// Encodes, seals and proves a frame, and puts it into a pack. `blobs` lie one after the other
    /// in `plain`.
    pub fn write(&self, kind: PackKind, plain: &[u8], blobs: Vec<FrameBlob>) -> Result<()> {
        self.write_as(kind, plain, blobs, Hint::NONE)
    }

    /// The same where it is known what the plaintext is.
    pub fn write_as(&self, kind: PackKind, plain: &[u8], blobs: Vec<FrameBlob>, hint: Hint) -> Result<()> {
        thread_local! {
            static SEALED: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
        }
        self.uploads.check()?;
        let frame = frames::make(&self.repo, plain, blobs, hint, SEALED.take())?;
        let done = self.push(kind, &frame);
        SEALED.set(frame.bytes);
        done
    }

    /// Puts a frame that is sealed and proven into a pack.
    pub fn push(&self, kind: PackKind, frame: &SealedFrame) -> Result<()> {
        let chance = u64::from_le_bytes(self.repo.surroundings().random()?);
        let full: Vec<_> = {
            let mut packer = self.packer_with_room()?;
            while let Some(buffer) = self.uploads.spare_buffer() {
                packer.give_back(buffer);
            }
            let full = packer.push(kind, frame, chance)?;
            full.into_iter().map(|pack| (pack, self.uploads.slot())).collect()
        };
        full.into_iter().try_for_each(|(pack, slot)| self.close(pack, slot))
    }

    /// Slots are taken under its lock, so nobody fills a pack while another one waits.
    fn packer_with_room(&self) -> Result<MutexGuard<'_, Packer>> {
        loop {
            self.uploads.wait_for_room()?;
            let packer = locked(&self.packer);
            if !self.uploads.is_full() {
                return Ok(packer);
            }
        }
    }

    fn close(&self, pack: OpenPack, slot: Slot) -> Result<()> {
        let closed = pack.close(&self.repo, self.session)?;
        locked(&self.packs).insert(closed.indexed.id);
        self.uploads.push(closed, slot)
    }

    /// Packs that are durable already and only need to be named (adopted ones).
    pub fn list_only(&self, packs: Vec<IndexedPack>) {
        locked(&self.packs).extend(packs.iter().map(|p| p.id));
        self.uploads.list_only(packs);
    }

    /// W4: every frame is durable and its pack named by a durable index object; gives these. More
    /// may be written afterwards.
    pub fn flush(&mut self) -> Result<Vec<(IndexId, IndexObject)>> {
        let rest = locked(&self.packer).drain()?;
        rest.into_iter().try_for_each(|pack| self.close(pack, self.uploads.slot()))?;
        self.uploads.finish()
    }

    /// Packs that were closed or listed here.
    pub fn packs(&self) -> HashSet<PackId> {
        locked(&self.packs).clone()
    }

    /// Bytes of packs and index objects stored.
    pub fn stored_bytes(&self) -> u64 {
        self.uploads.stored_bytes()
    }
}
