//! `repair index`: makes index objects say what packs really hold.
//!
//! Packs speak for themselves: each has at its end what an index object would say of it. What is
//! unlisted, disputed or (with `all`) differs is listed anew from there; index objects that are
//! damaged, wrong, or name packs that are gone are replaced and then condemned. New ones are durable
//! before that, so that no pack is out of the index for a moment.
//!
//! A pack that stands stays listed, needed or not: that is prune's to judge.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::MAX_PACK_BYTES;
use crate::format::frame::FrameRecord;
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::ledger::{CondemnV1, Event};
use crate::id::{IndexId, PackId, SessionId};
use crate::op::repair::{ATTEMPTS, Hand, is_damage, too_busy};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index::catalogue;
use crate::repo::lease::live_sessions;
use crate::repo::ledger::Append;
use crate::repo::packfile;
use crate::store::PutMode;

/// An index object takes no further pack once its records are this long, or at so many packs.
const FULL_INDEX_BYTES: usize = 4 << 20;
const FULL_INDEX_PACKS: usize = 512;

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// Ask every pack, not only those that nobody names or that are disputed.
    pub all: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// What was found and done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IndexReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Packs whose end was read.
    pub read_packs: u64,
    /// Packs that no readable index object named, listed now.
    pub listed: Vec<PackId>,
    /// Packs of which index objects said something else than they do.
    pub corrected: Vec<PackId>,
    /// Packs that index objects named and that are gone.
    pub gone: Vec<PackId>,
    /// Index objects that are damaged, with the reason.
    pub damaged: Vec<(IndexId, String)>,
    /// Index objects that are replaced.
    pub replaced: Vec<IndexId>,
    /// Of these deleted already; the rest goes with the next prune.
    pub deleted_indexes: u64,
    /// New index objects.
    pub new_indexes: u64,
    /// Packs that cannot say what they hold, with the reason. `true`: an index object does.
    pub unreadable: Vec<(PackId, String, bool)>,
    /// Packs whose bytes are not those of their name.
    pub bad: Vec<PackId>,
    /// Packs of runs that are under way, left to them.
    pub live: u64,
}

impl IndexReport {
    /// Is there something left that `repair packs` should look at?
    pub fn needs_packs(&self) -> bool {
        !self.unreadable.is_empty() || !self.bad.is_empty()
    }
}

/// Repairs the index.
pub fn run(repo: &Repository, options: &IndexOptions, progress: &dyn Progress) -> Result<IndexReport> {
    let mut hand = Hand::begin(repo, options.dry_run)?;
    for _ in 0..ATTEMPTS {
        let plan = Plan::make(&mut hand, options, progress)?;
        let mut report = plan.report;
        if options.dry_run || (plan.packs.is_empty() && report.replaced.is_empty()) {
            return Ok(report);
        }
        progress.phase("writing the index", None, None);
        let written = list(repo, hand.session, plan.packs, &report.replaced)?;
        report.new_indexes = written;
        if !report.corrected.is_empty() {
            // It has what index objects said before, and would go on having it.
            repo.cache().map(catalogue::forget);
        }
        if report.replaced.is_empty() {
            return Ok(report);
        }
        let event = Event::Condemn(CondemnV1 {
            packs: Vec::new(),
            indexes: report.replaced.clone(),
            snapshots: Vec::new(),
        });
        if hand.append(&event)? == Append::Taken {
            continue;
        }
        // P6 where nobody else is at work: no lease began before that entry, and no packs go with it.
        if live_sessions(repo, hand.own())?.is_empty() {
            for id in &report.replaced {
                repo.store().remove(&(*id).into())?;
                report.deleted_indexes += 1;
            }
        }
        return Ok(report);
    }
    Err(too_busy())
}

struct Plan {
    report: IndexReport,
    /// To be listed.
    packs: Vec<IndexedPack>,
}

impl Plan {
    fn make(hand: &mut Hand, options: &IndexOptions, progress: &dyn Progress) -> Result<Self> {
        let (standing, holdings) = hand.look(progress)?;
        let live: HashSet<SessionId> =
            live_sessions(&hand.repo, hand.own())?.into_iter().map(|(session, _)| session).collect();
        let mut report = IndexReport { dry_run: options.dry_run, ..IndexReport::default() };
        for (id, error) in &holdings.damaged {
            report.damaged.push((*id, error.to_string()));
        }
        let stands = |id: &PackId| standing.contains(id) && !hand.ledger.is_condemned(id);
        let disputed: BTreeSet<PackId> = holdings.disputed.iter().map(|(pack, _)| *pack).collect();
        let mut asked: BTreeSet<PackId> = holdings.unlisted.iter().copied().collect();
        asked.extend(disputed.iter().filter(|id| stands(id)));
        if options.all {
            asked.extend(holdings.packs.iter().map(|pack| pack.info.id).filter(|id| stands(id)));
        }
        progress.phase("reading the ends of packs", Some(asked.len() as u64), None);
        let mut packs: BTreeMap<PackId, IndexedPack> = BTreeMap::new();
        for id in asked {
            progress.check()?;
            progress.advance(1, 0);
            report.read_packs += 1;
            let described = holdings.number(&id).map(|number| holdings.indexed(number));
            match packfile::read_trailer(&hand.repo, id) {
                // Its run will list it. But where index objects are damaged, it may have.
                Ok((session, _))
                    if described.is_none() && live.contains(&session) && holdings.damaged.is_empty() =>
                {
                    report.live += 1;
                }
                Ok((_, own)) if described.is_none() => {
                    report.listed.push(id);
                    packs.insert(id, own);
                }
                Ok((_, own)) if described.as_ref() == Some(&own) && !disputed.contains(&id) => {}
                Ok((_, own)) => {
                    // An end can only be believed against an index object where it is of this pack.
                    if is_itself(hand, id)? {
                        report.corrected.push(id);
                        packs.insert(id, own);
                    } else {
                        report.bad.push(id);
                    }
                }
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error) if is_damage(&error) => {
                    report.unreadable.push((id, error.to_string(), described.is_some()));
                }
                Err(error) => return Err(error),
            }
        }
        let replaced = replaced(&holdings, &packs, &mut report);
        relist(&holdings, &replaced, &mut packs);
        report.replaced = replaced.into_iter().collect();
        Ok(Self { report, packs: packs.into_values().collect() })
    }
}

/// Index objects that must go: those that are damaged, say what is not so, or name what is gone. One
/// that the store cannot give may be whole; while it may be the only one to know a pack, it stays.
fn replaced(
    holdings: &Holdings,
    right: &BTreeMap<PackId, IndexedPack>,
    report: &mut IndexReport,
) -> BTreeSet<IndexId> {
    let damaged = holdings.damaged.iter().filter(|(_, error)| matches!(error, Error::Corrupt { .. }));
    let mut replaced: BTreeSet<IndexId> = damaged.map(|(id, _)| *id).collect();
    let mut gone = BTreeSet::new();
    for object in &holdings.objects {
        for number in &object.packs {
            let pack = &holdings.packs[*number as usize].info;
            // What was put since the listing stands, too.
            if !pack.standing {
                gone.insert(pack.id);
                replaced.insert(object.id);
            } else if right.get(&pack.id).is_some_and(|own| holdings.indexed(*number) != *own) {
                replaced.insert(object.id);
            }
        }
    }
    // Of two that differ only the first is in the holdings; the other one is named here.
    let second = holdings.disputed.iter().filter(|(pack, _)| right.contains_key(pack));
    replaced.extend(second.map(|(_, object)| *object));
    report.gone = gone.into_iter().collect();
    replaced
}

/// Packs that stand and would be named by nobody any more are listed as they were.
fn relist(holdings: &Holdings, replaced: &BTreeSet<IndexId>, packs: &mut BTreeMap<PackId, IndexedPack>) {
    let (go, stay): (Vec<_>, Vec<_>) = holdings.objects.iter().partition(|o| replaced.contains(&o.id));
    let named: HashSet<u32> = stay.iter().flat_map(|object| object.packs.iter().copied()).collect();
    for number in go.iter().flat_map(|object| object.packs.iter()).filter(|n| !named.contains(n)) {
        let pack = &holdings.packs[*number as usize];
        if pack.info.standing && !pack.condemned {
            packs.entry(pack.info.id).or_insert_with(|| holdings.indexed(*number));
        }
    }
}

fn is_itself(hand: &Hand, id: PackId) -> Result<bool> {
    match hand.repo.store().get(&id.into(), MAX_PACK_BYTES) {
        Ok(bytes) => Ok(*blake3::hash(&bytes).as_bytes() == id.0),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// Writes index objects for these packs; the first says what all of them replace.
fn list(repo: &Repository, session: SessionId, packs: Vec<IndexedPack>, replaced: &[IndexId]) -> Result<u64> {
    let mut replaces = replaced.to_vec();
    let (mut written, mut batch, mut len) = (0, Vec::new(), 0);
    let mut put = |packs: Vec<IndexedPack>| -> Result<()> {
        let replaces = std::mem::take(&mut replaces);
        let object = IndexObject { session, replaces, packs, extensions: Vec::new() };
        let (id, bytes) = repo.seal_index(&object.encode())?;
        repo.store().put(&id.into(), &bytes, PutMode::New)?;
        written += 1;
        Ok(())
    };
    for pack in packs {
        len += pack.frames.iter().map(FrameRecord::encoded_len).sum::<usize>();
        batch.push(pack);
        if len >= FULL_INDEX_BYTES || batch.len() >= FULL_INDEX_PACKS {
            put(std::mem::take(&mut batch))?;
            len = 0;
        }
    }
    if !batch.is_empty() {
        put(batch)?;
    }
    Ok(written)
}

/// Packs that stand, that no index object names, and whose end says that they hold one of these:
/// then nothing is lost yet.
pub(super) fn unlisted_with(
    repo: &Repository,
    holdings: &Holdings,
    is_lost: impl Fn(u8, &crate::id::BlobId) -> bool,
) -> Result<Option<PackId>> {
    for id in &holdings.unlisted {
        match packfile::read_trailer(repo, *id) {
            Ok((_, pack)) => {
                if pack.frames.iter().flat_map(|f| &f.blobs).any(|blob| is_lost(blob.kind, &blob.id)) {
                    return Ok(Some(*id));
                }
            }
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
