//! P4: the living parts of packs that will go, in new packs; and what stays of replaced index
//! objects, in new ones. All of it is durable before anything is condemned.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::error::Result;
use crate::format::frame::FrameRecord;
use crate::format::index::{IndexObject, IndexedPack};
use crate::id::{IndexId, SessionId};
use crate::op::prune::plan::{Fate, Plan};
use crate::op::prune::view::View;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::copier::{Copier, Nearby};
use crate::repo::index::PackNumber;
use crate::repo::index::inventory::CopyNumber;
use crate::repo::outbox::Outbox;
use crate::store::PutMode;

/// An index object takes no further pack once its records are this long, or at so many packs.
const FULL_INDEX_BYTES: usize = 4 << 20;
const FULL_INDEX_PACKS: usize = 512;

/// What was written.
#[derive(Debug, Default, Clone, Copy)]
pub struct Written {
    /// Packs of which something was copied.
    pub packs: u64,
    /// New packs and index objects.
    pub bytes: u64,
}

/// Copies what the plan says. Anything that cannot be read ends it: nothing was condemned yet.
pub fn copy(
    repo: &Repository,
    session: SessionId,
    view: &View,
    plan: &Plan,
    progress: &dyn Progress,
) -> Result<Written> {
    let holdings = &view.holdings;
    let inventory = &holdings.inventory;
    let packs: Vec<PackNumber> =
        (0..).zip(&plan.fates).filter(|(_, fate)| **fate == Fate::Repack).map(|(n, _)| n).collect();
    if packs.is_empty() && plan.unchained.is_empty() {
        return Ok(Written::default());
    }
    let bytes: u64 = packs.iter().map(|n| holdings.packs[*n as usize].info.size).sum();
    progress.phase("repacking", Some(packs.len() as u64), Some(bytes));
    let mut outbox = Outbox::start(repo, session);
    let counts = |copy: CopyNumber| {
        let row = &inventory.blobs()[copy as usize];
        let first = inventory.copies(row.kind, &row.id)[0];
        view.settled.chosen(first) == Some(copy)
    };
    let alone: HashSet<_> = view.unchained.iter().copied().collect();
    {
        let copier = Copier::new(holdings, &view.reader, &outbox);
        packs.par_iter().try_for_each(|pack| -> Result<()> {
            let mut near = Nearby::default();
            for frame in holdings.frame_numbers(*pack) {
                progress.check()?;
                copier.frame(frame, alone.contains(&frame), counts, &mut near)?;
            }
            progress.advance(1, holdings.packs[*pack as usize].info.size);
            copier.finish(near)
        })?;
        let repacked: HashSet<PackNumber> = packs.iter().copied().collect();
        let others =
            plan.unchained.par_iter().filter(|f| !repacked.contains(&inventory.frames()[**f as usize].pack));
        others.try_for_each(|frame| -> Result<()> {
            let mut near = Nearby::default();
            progress.check()?;
            copier.frame(*frame, true, counts, &mut near)?;
            copier.finish(near)
        })?;
    }
    outbox.flush()?;
    Ok(Written { packs: packs.len() as u64, bytes: outbox.stored_bytes() })
}

/// Lists anew the packs that stay and are named only by objects that go. Gives the bytes written.
pub fn list(repo: &Repository, session: SessionId, view: &View, plan: &Plan) -> Result<u64> {
    let mut replaces = plan.replaced.clone();
    let mut bytes = 0;
    let (mut batch, mut len) = (Vec::new(), 0);
    for number in &plan.relisted {
        let pack = view.holdings.indexed(*number);
        len += pack.frames.iter().map(FrameRecord::encoded_len).sum::<usize>();
        batch.push(pack);
        if len >= FULL_INDEX_BYTES || batch.len() >= FULL_INDEX_PACKS {
            bytes += put(repo, session, std::mem::take(&mut batch), std::mem::take(&mut replaces))?;
            len = 0;
        }
    }
    if !batch.is_empty() {
        bytes += put(repo, session, batch, replaces)?;
    }
    Ok(bytes)
}

/// Lists some packs: those that are spared after all.
pub fn list_again(repo: &Repository, session: SessionId, packs: Vec<IndexedPack>) -> Result<u64> {
    packs.chunks(FULL_INDEX_PACKS).map(|part| put(repo, session, part.to_vec(), Vec::new())).sum()
}

fn put(
    repo: &Repository,
    session: SessionId,
    packs: Vec<IndexedPack>,
    replaces: Vec<IndexId>,
) -> Result<u64> {
    let object = IndexObject { session, replaces, packs, extensions: Vec::new() };
    let (id, bytes) = repo.seal_index(&object.encode())?;
    repo.store().put(&id.into(), &bytes, PutMode::New)?;
    Ok(bytes.len() as u64)
}
