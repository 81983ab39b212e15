//! P4 and P5: copy, list, then write the entry that condemns. The entry's number is the point in
//! the order of events: a snapshot that was committed before it keeps what it needs, one that is
//! committed after it has read it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::index::IndexedPack;
use crate::format::ledger::{CondemnV1, Event};
use crate::id::{IndexId, ObjectKind, PackId, SessionId, SnapshotId};
use crate::op::prune::plan::Plan;
use crate::op::prune::repack;
use crate::op::prune::view::{self, View};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index;
use crate::repo::ledger::Ledger;
use crate::repo::reach::Reach;
use crate::repo::reader::Reader;

/// Names in one entry: far below what an entry may hold.
const NAMES_PER_ENTRY: usize = 400_000;

/// What came of it.
pub enum Condemned {
    /// Another prune condemned first: all must be looked at anew.
    Overtaken,
    /// It stands in the ledger.
    Done(Box<Done>),
}

/// What was condemned.
pub struct Done {
    /// Up to the entry.
    pub ledger: Ledger,
    /// Packs whose living part was copied.
    pub repacked_packs: u64,
    /// New packs and index objects.
    pub new_bytes: u64,
    /// Packs condemned.
    pub condemned_packs: u64,
    /// There was too little room for all: once these are gone, more can be done.
    pub more: bool,
}

/// What is to be condemned, still.
struct Doomed {
    packs: Vec<PackId>,
    indexes: Vec<IndexId>,
    snapshots: Vec<SnapshotId>,
}

impl Doomed {
    fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.indexes.is_empty() && self.snapshots.is_empty()
    }

    /// The next entry's. Replaced index objects come last: their packs are known until then.
    fn next(&self) -> CondemnV1 {
        let packs = self.packs.len().min(NAMES_PER_ENTRY);
        let indexes =
            if packs == self.packs.len() { self.indexes.len().min(NAMES_PER_ENTRY - packs) } else { 0 };
        let snapshots = if indexes == self.indexes.len() {
            self.snapshots.len().min(NAMES_PER_ENTRY - packs - indexes)
        } else {
            0
        };
        CondemnV1 {
            packs: self.packs[..packs].to_vec(),
            indexes: self.indexes[..indexes].to_vec(),
            snapshots: self.snapshots[..snapshots].to_vec(),
        }
    }

    fn written(&mut self, entry: &CondemnV1) {
        self.packs.drain(..entry.packs.len());
        self.indexes.drain(..entry.indexes.len());
        self.snapshots.drain(..entry.snapshots.len());
    }
}

/// P4 and P5.
pub fn run(
    repo: &Repository,
    session: SessionId,
    mut view: View,
    plan: &Plan,
    progress: &dyn Progress,
) -> Result<Condemned> {
    let copied = match repack::copy(repo, session, &view, plan, progress) {
        // Held for dead, it may find that another prune deleted what it was about to copy.
        Err(Error::Missing { .. } | Error::Corrupt { .. }) if condemned_since(repo, &view.ledger)? => {
            return Ok(Condemned::Overtaken);
        }
        copied => copied?,
    };
    let mut new_bytes = copied.bytes + repack::list(repo, session, &view, plan)?;
    let mut doomed = Doomed {
        packs: plan.victims(&view.holdings),
        indexes: plan.replaced.clone(),
        snapshots: std::mem::take(&mut view.dead_snapshots),
    };
    progress.phase("condemning", None, None);
    let mut ledger = view.ledger.clone();
    let mut condemned_packs = 0;
    // Snapshots committed meanwhile that are not looked at yet.
    let mut committed: Vec<SnapshotId> = Vec::new();
    while !doomed.is_empty() {
        progress.check()?;
        let entry = doomed.next();
        let new = ledger.append_or_read(repo, session, &Event::Condemn(entry.clone()))?;
        if new.is_empty() {
            condemned_packs += entry.packs.len() as u64;
            doomed.written(&entry);
            continue;
        }
        for entry in &new {
            match &entry.event {
                Event::Commit(commit) => committed.push(commit.snapshot),
                // What it condemned may be what this run copied to; what it found bad, what it kept.
                Event::Condemn(_) | Event::Verified(_) => return Ok(Condemned::Overtaken),
                Event::Forget(_) | Event::Raise(_) | Event::Unknown(_) => {}
            }
        }
        committed.retain(|id| !ledger.is_forgotten(id));
        let spared = match spare(repo, &ledger, &committed, &doomed.packs, progress) {
            // Forgotten while it was looked at: the next number is taken too.
            Err(Error::NotWhole { .. }) if !ledger.clone().refresh(repo)?.is_empty() => continue,
            spared => spared?,
        };
        new_bytes += repack::list_again(repo, session, spared.clone())?;
        let spared: HashSet<PackId> = spared.iter().map(|pack| pack.id).collect();
        doomed.packs.retain(|pack| !spared.contains(pack));
        doomed.snapshots.retain(|snapshot| !committed.contains(snapshot));
        committed.clear();
    }
    let done = Done {
        ledger,
        repacked_packs: copied.packs,
        new_bytes,
        condemned_packs,
        more: plan.short_of_room && condemned_packs > 0,
    };
    Ok(Condemned::Done(Box::new(done)))
}

fn condemned_since(repo: &Repository, ledger: &Ledger) -> Result<bool> {
    let new = ledger.clone().refresh(repo)?;
    Ok(new.iter().any(|entry| matches!(entry.event, Event::Condemn(_))))
}

/// Which of `victims` the snapshots `committed` meanwhile need, as they stand in the index.
pub fn spare(
    repo: &Repository,
    ledger: &Ledger,
    committed: &[SnapshotId],
    victims: &[PackId],
    progress: &dyn Progress,
) -> Result<Vec<IndexedPack>> {
    if committed.is_empty() || victims.is_empty() {
        return Ok(Vec::new());
    }
    let standing: HashSet<PackId> = index::list_ids(repo, ObjectKind::Pack)?.into_iter().collect();
    let roots = view::roots(repo, committed)?;
    // By name: others list and replace meanwhile, and a number is that of one reading only.
    let mut spared: BTreeMap<PackId, IndexedPack> = BTreeMap::new();
    loop {
        let mut holdings = Holdings::read(repo, ledger, &standing, progress)?;
        let doomed: HashSet<u32> = victims
            .iter()
            .filter(|id| !spared.contains_key(*id))
            .filter_map(|id| holdings.number(id))
            .collect();
        for number in &doomed {
            holdings.packs[*number as usize].info.usable = false;
        }
        let holdings = Arc::new(holdings);
        let reader = Reader::with_places(repo, holdings.clone());
        let reach = Reach::new(&holdings, &reader);
        reach.walk(&roots, progress)?;
        reach.settle(|copy| copy, &HashSet::new());
        let before = spared.len();
        for gap in reach.gaps() {
            let inventory = &holdings.inventory;
            let packs = inventory
                .copies(gap.blob.kind as u8, &gap.blob.id)
                .iter()
                .map(|copy| inventory.frames()[inventory.blobs()[*copy as usize].frame as usize].pack);
            let saving: Vec<u32> = packs.filter(|pack| doomed.contains(pack)).collect();
            if saving.is_empty() {
                let what = format!("{} is needed by a new snapshot, and {}", gap.blob, gap.reason);
                return Err(view::not_whole(what));
            }
            let named = saving.into_iter().map(|number| holdings.indexed(number));
            spared.extend(named.map(|pack| (pack.id, pack)));
        }
        // What is spared may have bases in what is not.
        if spared.len() == before {
            return Ok(spared.into_values().collect());
        }
    }
}
