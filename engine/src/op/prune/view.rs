//! The repository as one prune sees it (P1, P2, and the mark of P3).
//!
//! Read in this order: names in `data/`, leases, the ledger to its head, snapshots, index
//! objects. A pack that is listed late is not seen, so not touched; one whose session has ended
//! meanwhile counts as live; an index object that vanishes takes packs out of sight only if the
//! ledger moved.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::lease::LeaseV1;
use crate::id::{BlobId, IndexId, ObjectKind, PackId, SessionId, SnapshotId};
use crate::op::prune::plan;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::lease::live_sessions;
use crate::repo::ledger::Ledger;
use crate::repo::packfile;
use crate::repo::reach::{Reach, Settled};
use crate::repo::reader::Reader;

/// A pack that no index object names and that is not condemned.
#[derive(Debug, Clone, Copy)]
pub struct Unlisted {
    /// Which.
    pub id: PackId,
    /// Its size.
    pub size: u64,
    /// Its session may still be at work.
    pub live: bool,
}

/// See the module's words.
pub struct View {
    /// Names in `data/`.
    pub standing: HashSet<PackId>,
    /// Other sessions that may be at work, and their leases where they could be read.
    pub live: Vec<(SessionId, Option<LeaseV1>)>,
    /// Up to its head.
    pub ledger: Ledger,
    /// How many snapshots count.
    pub snapshots: usize,
    /// Snapshot objects that were never committed and whose session cannot be at work.
    pub dead_snapshots: Vec<SnapshotId>,
    /// Index objects that cannot be read, and that nothing needs.
    pub dead_indexes: Vec<IndexId>,
    /// Everything listed.
    pub holdings: Arc<Holdings>,
    /// Reads by it.
    pub reader: Reader,
    /// Which copies count.
    pub settled: Settled,
    /// The same with every base, where some are to go.
    pub chained: Option<Settled>,
    /// Frames whose blobs are to be stored alone.
    pub unchained: HashSet<FrameNumber>,
    /// Packs that nobody names.
    pub unlisted: Vec<Unlisted>,
}

/// What came of reading.
pub enum Seen {
    /// Others changed the repository meanwhile in a way that makes it incomplete: read again.
    Moved,
    /// Every committed snapshot is whole.
    Whole(Box<View>),
}

impl View {
    /// P1, P2 and the mark of P3. Damage is an error: prune touches nothing then.
    pub fn read(repo: &Repository, own: Option<SessionId>, progress: &dyn Progress) -> Result<Seen> {
        progress.phase("reading", None, None);
        let standing: HashSet<PackId> = index::list_ids(repo, ObjectKind::Pack)?.into_iter().collect();
        let live = live_sessions(repo, own)?;
        let ledger = repo.whole_ledger(true)?;
        let moved = |ledger: &Ledger| -> Result<bool> { Ok(!ledger.clone().refresh(repo)?.is_empty()) };
        let listed: Vec<SnapshotId> = index::list_ids(repo, ObjectKind::Snapshot)?.into_iter().collect();
        let committed = ledger.committed();
        let roots = match roots(repo, &committed) {
            Err(_) if moved(&ledger)? => return Ok(Seen::Moved),
            roots => roots?,
        };
        let holdings = Arc::new(Holdings::read(repo, &ledger, &standing, progress)?);
        if let Some((pack, object)) = holdings.disputed.first() {
            let (pack, object) = (pack.short(), object.short());
            return Err(not_whole(format!("index object {object} and another differ about pack {pack}")));
        }
        let reader = Reader::with_places(repo, holdings.clone());
        progress.phase("marking what is needed", None, None);
        let (settled, chained, unchained, gaps) = {
            let reach = Reach::new(&holdings, &reader);
            reach.walk(&roots, progress)?;
            let better = preference(&holdings, &reach, &live);
            let first = reach.settle(better.as_ref(), &HashSet::new());
            let unchained = plan::unchain(&holdings, &first);
            let (settled, chained) = match unchained.is_empty() {
                true => (first, None),
                false => (reach.settle(better.as_ref(), &unchained), Some(first)),
            };
            (settled, chained, unchained, reach.gaps())
        };
        if let Some(gap) = gaps.first() {
            if moved(&ledger)? {
                return Ok(Seen::Moved);
            }
            let count = gaps.len();
            return Err(not_whole(format!(
                "{} is needed, and {}; {count} such in all",
                gap.blob, gap.reason
            )));
        }
        let live_ids: HashSet<SessionId> = live.iter().map(|(session, _)| *session).collect();
        let unlisted = holdings.unlisted.iter().filter_map(|id| unlisted(repo, *id, &live_ids).transpose());
        let unlisted = unlisted.collect::<Result<_>>()?;
        let known: HashSet<SnapshotId> = committed.iter().copied().collect();
        // Whose they are cannot be seen: while anybody is at work they may be his, about to be committed.
        let dead_snapshots = match live.is_empty() {
            true => listed
                .into_iter()
                .filter(|id| {
                    !known.contains(id) && !ledger.is_forgotten(id) && !ledger.is_condemned_snapshot(id)
                })
                .collect(),
            false => Vec::new(),
        };
        // Every snapshot is whole without them. But a session at work may yet need its own.
        let dead_indexes = match live.is_empty() {
            true => holdings.damaged.iter().map(|(id, _)| *id).collect(),
            false => Vec::new(),
        };
        let snapshots = committed.len();
        Ok(Seen::Whole(Box::new(Self {
            standing,
            live,
            ledger,
            snapshots,
            dead_snapshots,
            dead_indexes,
            holdings,
            reader,
            settled,
            chained,
            unchained,
            unlisted,
        })))
    }

    /// Nothing is to be stored alone after all: then all bases count. `false` if nothing was to be.
    pub fn keep_chains(&mut self) -> bool {
        self.unchained.clear();
        self.chained.take().map(|chained| self.settled = chained).is_some()
    }

    /// Is one of the sessions that wrote or named the pack perhaps at work, or one that began since?
    pub fn is_live(&self, pack: u32) -> bool {
        is_live(&self.holdings, pack, &self.live)
    }
}

fn is_live(holdings: &Holdings, pack: u32, live: &[(SessionId, Option<LeaseV1>)]) -> bool {
    let held = &holdings.packs[pack as usize];
    held.late || held.sessions.iter().any(|s| live.iter().any(|(session, _)| session == s))
}

/// Nothing is changed where a snapshot is not whole: what is thought dead may be what heals it.
pub fn not_whole(what: String) -> Error {
    Error::NotWhole { what }
}

/// Trees of committed snapshots.
pub fn roots(repo: &Repository, committed: &[SnapshotId]) -> Result<Vec<BlobId>> {
    let root = |id: &SnapshotId| match repo.snapshot(*id) {
        Ok(snapshot) => Ok(snapshot.record.root),
        Err(Error::Store(e)) if e.is_transient() => Err(Error::Store(e)),
        Err(error) => Err(not_whole(format!("snapshot {} cannot be read: {error}", id.short()))),
    };
    committed.iter().map(root).collect()
}

/// Which of several copies of the same height is kept: in a pack that stays whatever is decided,
/// else in the pack of which most is needed anyway.
fn preference<'h>(
    holdings: &'h Holdings,
    reach: &Reach<'_>,
    live: &[(SessionId, Option<LeaseV1>)],
) -> Box<dyn Fn(CopyNumber) -> (bool, Reverse<u64>, u32) + 'h> {
    let inventory = &holdings.inventory;
    let frame_of =
        move |copy: CopyNumber| &inventory.frames()[inventory.blobs()[copy as usize].frame as usize];
    let mut needed = vec![0u64; holdings.packs.len()];
    for copies in inventory.distinct().filter(|copies| reach.is_needed(copies[0])) {
        if let [copy] = copies {
            needed[frame_of(*copy).pack as usize] += u64::from(inventory.blobs()[*copy as usize].len);
        }
    }
    let live: Vec<bool> =
        (0..).take(holdings.packs.len()).map(|pack| is_live(holdings, pack, live)).collect();
    Box::new(move |copy| {
        let pack = frame_of(copy).pack;
        (!live[pack as usize], Reverse(needed[pack as usize]), pack)
    })
}

/// `None`: it is gone. One whose trailer cannot be read may be anybody's.
fn unlisted(repo: &Repository, id: PackId, live: &HashSet<SessionId>) -> Result<Option<Unlisted>> {
    let size = match repo.store().stat(&id.into()) {
        Ok(stat) => stat.size_bytes,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let live = match packfile::read_trailer(repo, id) {
        Ok((session, _)) => live.contains(&session),
        Err(Error::Store(e)) if e.is_transient() => return Err(e.into()),
        Err(_) => !live.is_empty(),
    };
    Ok(Some(Unlisted { id, size, live }))
}
