//! From closed packs to durable index objects (W4): packs first, then an index object that
//! names them, a batch at a time, so that a killed run has little left to adopt.
//!
//! Store calls run on plain threads here, never in the CPU pool. The channel has no room: a
//! worker that closed a pack waits until a thread is free, and while one waits the others wait
//! before their next frame ([`Uploads::wait_for_room`]): at most `threads + 1` full packs exist. The
//! first failure stops everything.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::format::frame::FrameRecord;
use crate::format::index::{IndexObject, IndexedPack};
use crate::id::{IndexId, SessionId};
use crate::repo::Repository;
use crate::repo::packfile::ClosedPack;
use crate::store::PutMode;

/// Threads that store, at most.
const MAX_THREADS: usize = 2;
/// Packs named by one index object of a run that goes on.
const PACKS_PER_INDEX: usize = 24;
/// Packs named by one index object at the very most.
const MAX_PACKS_PER_INDEX: usize = 512;
/// An index object takes no further pack once it is this long. A pack of tiny blobs may
/// bring as many bytes of records as it has; readers take up to [`crate::format::MAX_INDEX_BYTES`].
const FULL_INDEX_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    /// Durable, but named by no index object yet.
    unlisted: Vec<IndexedPack>,
    /// Durable index objects of this session.
    listed: Vec<(IndexId, IndexObject)>,
    /// Buffers to be used again.
    buffers: Vec<Vec<u8>>,
    /// Full packs that are being closed, wait, or are being stored.
    full: usize,
    failure: Option<Error>,
    failed: bool,
    stored_bytes: u64,
}

/// What workers and storing threads share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A pack was stored, or will never be.
    moved: Condvar,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A full pack's place among those that are not stored yet.
pub struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.locked().full -= 1;
        self.0.moved.notify_all();
    }
}

/// The storing side of a session.
pub struct Uploads {
    repo: Repository,
    session: SessionId,
    threads: usize,
    team: Mutex<Team>,
    shared: Arc<Shared>,
}

/// The storing threads; none before the first pack and after [`Uploads::finish`].
#[derive(Default)]
struct Team {
    sender: Option<SyncSender<(ClosedPack, Slot)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Team {
    fn stop(&mut self) -> Result<()> {
        self.sender = None;
        let gone = |_| Error::Internal("a storing thread panicked".into());
        self.threads.drain(..).map(|t| t.join().map_err(gone)).fold(Ok(()), Result::and)
    }
}

impl Uploads {
    /// With nothing to do yet.
    pub fn start(repo: &Repository, session: SessionId) -> Self {
        let threads = repo.store().concurrency().clamp(1, MAX_THREADS);
        Self { repo: repo.clone(), session, threads, team: Mutex::default(), shared: Arc::default() }
    }

    fn sender(&self) -> Result<SyncSender<(ClosedPack, Slot)>> {
        let mut team = self.team.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(sender) = &team.sender {
            return Ok(sender.clone());
        }
        let (sender, receiver) = sync_channel(0);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..self.threads {
            let (repo, session) = (self.repo.clone(), self.session);
            let (receiver, shared) = (receiver.clone(), self.shared.clone());
            let thread = std::thread::Builder::new()
                .name("ballast-store".into())
                .spawn(move || serve(&repo, session, &receiver, &shared))
                .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
            team.threads.push(thread);
        }
        team.sender = Some(sender.clone());
        Ok(sender)
    }

    /// Waits while a full pack waits for a thread: whoever goes on then would fill yet another one.
    pub fn wait_for_room(&self) -> Result<()> {
        let mut now = self.shared.locked();
        while now.full > self.threads && !now.failed {
            now = self.shared.moved.wait(now).unwrap_or_else(|e| e.into_inner());
        }
        drop(now);
        self.check()
    }

    /// Does a full pack wait for a thread?
    pub fn is_full(&self) -> bool {
        self.shared.locked().full > self.threads
    }

    /// The place of a pack that is full now.
    pub fn slot(&self) -> Slot {
        self.shared.locked().full += 1;
        Slot(self.shared.clone())
    }

    /// Hands over a closed pack; waits until a thread is free.
    pub fn push(&self, pack: ClosedPack, slot: Slot) -> Result<()> {
        self.check()?;
        let gone = || Error::Internal("the storing threads are gone".into());
        self.sender()?.send((pack, slot)).map_err(|_| self.failure().unwrap_or_else(gone))
    }

    /// Packs that are durable already and only need to be named (adopted ones).
    pub fn list_only(&self, packs: Vec<IndexedPack>) {
        self.shared.locked().unlisted.extend(packs);
    }

    /// A buffer of a pack that was stored.
    pub fn spare_buffer(&self) -> Option<Vec<u8>> {
        self.shared.locked().buffers.pop()
    }

    /// The first failure, given once; afterwards a short word.
    pub fn check(&self) -> Result<()> {
        self.failure().map_or(Ok(()), Err)
    }

    fn failure(&self) -> Option<Error> {
        let mut state = self.shared.locked();
        if !state.failed {
            return None;
        }
        Some(state.failure.take().unwrap_or_else(|| Error::Internal("an earlier store call failed".into())))
    }

    /// Waits for every pack and names the last ones. Gives this session's index objects.
    pub fn finish(&mut self) -> Result<Vec<(IndexId, IndexObject)>> {
        self.team.get_mut().unwrap_or_else(|e| e.into_inner()).stop()?;
        self.check()?;
        while !self.shared.locked().unlisted.is_empty() {
            write_index(&self.repo, self.session, &self.shared, true)?;
        }
        Ok(std::mem::take(&mut self.shared.locked().listed))
    }

    /// Bytes of packs and index objects stored.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.locked().stored_bytes
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        drop(self.team.get_mut().unwrap_or_else(|e| e.into_inner()).stop());
    }
}

type Packs = Mutex<Receiver<(ClosedPack, Slot)>>;

fn serve(repo: &Repository, session: SessionId, receiver: &Packs, shared: &Shared) {
    loop {
        let next = receiver.lock().unwrap_or_else(|e| e.into_inner()).recv();
        let Ok((pack, _slot)) = next else { return };
        if shared.locked().failed {
            continue;
        }
        if let Err(error) = store(repo, session, pack, shared) {
            let mut now = shared.locked();
            now.failed = true;
            now.failure.get_or_insert(error);
        }
    }
}

fn store(repo: &Repository, session: SessionId, pack: ClosedPack, shared: &Shared) -> Result<()> {
    repo.store().put(&pack.indexed.id.into(), &pack.bytes, PutMode::New)?;
    let mut now = shared.locked();
    now.stored_bytes += pack.indexed.size;
    now.unlisted.push(pack.indexed);
    now.buffers.push(pack.bytes);
    drop(now);
    write_index(repo, session, shared, false)
}

/// Names what is durable, once there is enough for an index object, or at once if it is the
/// `last`.
fn write_index(repo: &Repository, session: SessionId, shared: &Shared, last: bool) -> Result<()> {
    let packs = {
        let mut now = shared.locked();
        let (count, full) = enough(&now.unlisted);
        if count == 0 || !(last || full || count >= PACKS_PER_INDEX) {
            return Ok(());
        }
        now.unlisted.drain(..count).collect()
    };
    let object = IndexObject { session, replaces: Vec::new(), packs, extensions: Vec::new() };
    let (id, bytes) = repo.seal_index(&object.encode())?;
    repo.store().put(&id.into(), &bytes, PutMode::New)?;
    let mut now = shared.locked();
    now.stored_bytes += bytes.len() as u64;
    now.listed.push((id, object));
    Ok(())
}

/// How many of the first packs fit into one index object, and whether that is full by them.
fn enough(packs: &[IndexedPack]) -> (usize, bool) {
    let mut bytes = 0;
    for (count, pack) in (1..).zip(packs) {
        bytes += pack.frames.iter().map(FrameRecord::encoded_len).sum::<usize>();
        if bytes >= FULL_INDEX_BYTES || count == MAX_PACKS_PER_INDEX {
            return (count, true);
        }
    }
    (packs.len(), false)
}
