//! Since when is a tensor as it is? Back from one snapshot, one after the other, until no tensor is left that was the same.
//!
//! Counted are the snapshots of the same host that would have had the path, oldest to newest by their time. A tensor is the
//! same in two of them if the model at that path has one of that name, type and shape, and the same chunks in the
//! same places of it: equal bytes are cut alike wherever they lie in a file that is cut at its tensors. Where it is not, a
//! change beside it may count for its own, to a chunk's length. The same bytes under another name or path are another tensor.
//!
//! A tree that was looked into is not looked into again, a file with the same content list is not taken apart again.

use std::collections::HashMap;
use std::sync::Arc;

use super::Sighting;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::ledger::Ledger;
use crate::repo::model::{Model, Tensor};
use crate::repo::reader::Reader;
use crate::repo::snapshots::{Filter, Snapshot};
use crate::repo::weights::Weights;

/// The snapshots that count, from the one that was asked for backwards.
pub struct Row {
    pub snapshots: Vec<Snapshot>,
    path: Vec<u8>,
    /// Of those before; they break no row as long as nobody knows what they are of.
    unreadable: Vec<(SnapshotId, String)>,
}

/// What came of it.
pub struct Found {
    /// For each tensor that was asked for.
    pub since: Vec<Sighting>,
    pub looked: u64,
    pub unreadable: Vec<(SnapshotId, String)>,
}

impl Row {
    pub fn of(repo: &Repository, ledger: &Ledger, from: &Snapshot, path: &[u8]) -> Result<Self> {
        let filter = Filter { hosts: vec![from.record.host.0.clone()], ..Filter::default() };
        let (mut all, unreadable) = repo.snapshots(ledger, &filter)?;
        let here = all.iter().position(|snapshot| snapshot.id == from.id).unwrap_or(all.len());
        all.truncate(here);
        all.retain(|snapshot| snapshot.covers(path));
        all.push(from.clone());
        all.reverse();
        let unreadable = unreadable.into_iter().map(|(id, error)| (id, error.to_string())).collect();
        Ok(Self { snapshots: all, path: path.to_vec(), unreadable })
    }

    /// Goes back for these tensors of `weights`, which is the model in the first snapshot.
    pub fn look(
        self,
        reader: &Arc<Reader>,
        weights: &Weights,
        chosen: &[usize],
        progress: &dyn Progress,
    ) -> Result<Found> {
        let mut snapshots = self.snapshots.iter();
        let first = snapshots.next().ok_or_else(|| Error::Internal("a row of no snapshots".into()))?;
        let mut found =
            Found { since: vec![sighting(first); chosen.len()], looked: 1, unreadable: self.unreadable };
        let mut prints: Vec<Option<Option<[u8; 32]>>> = vec![None; chosen.len()];
        let mut alive: Vec<usize> = (0..chosen.len()).collect();
        let (mut root, mut later) = (first.record.root, Weights::of(reader, weights.model().clone()));
        for snapshot in snapshots {
            progress.check()?;
            if alive.is_empty() {
                break;
            }
            found.looked += 1;
            progress.advance(1, 0);
            if snapshot.record.root != root {
                let model = match Model::find(reader, snapshot.record.root, &self.path) {
                    Ok(model) => model,
                    Err(Error::NotFound { .. } | Error::Usage(_)) => break,
                    Err(error @ (Error::Corrupt { .. } | Error::Missing { .. })) => {
                        found.unreadable.push((snapshot.id, error.to_string()));
                        break;
                    }
                    Err(error) => return Err(error),
                };
                let earlier = Weights::of(reader, model);
                let pair = Pair::new(&earlier, &later);
                let mut left = Vec::with_capacity(alive.len());
                for at in alive {
                    let now = &weights.model().tensors[chosen[at]];
                    let same = match pair.at_once(now) {
                        Some(same) => same,
                        None => {
                            let print = match prints[at] {
                                Some(print) => print,
                                None => *prints[at].insert(print(weights, now)?),
                            };
                            print.is_some() && pair.print(now)? == print
                        }
                    };
                    left.extend(same.then_some(at));
                }
                alive = left;
                drop(pair);
                (root, later) = (snapshot.record.root, earlier);
            }
            alive.iter().for_each(|at| found.since[*at] = sighting(snapshot));
        }
        Ok(found)
    }
}

fn sighting(snapshot: &Snapshot) -> Sighting {
    Sighting { id: snapshot.id, time: snapshot.record.time }
}

/// A model in a snapshot and in the next one that counts; of tensors of one name the first.
struct Pair<'w> {
    earlier: &'w Weights,
    later: &'w Weights,
    earlier_by_name: HashMap<&'w [u8], &'w Tensor>,
    later_by_name: HashMap<&'w [u8], &'w Tensor>,
}

fn by_name(model: &Model) -> HashMap<&[u8], &Tensor> {
    model.tensors.iter().rev().map(|tensor| (&tensor.name[..], tensor)).collect()
}

impl<'w> Pair<'w> {
    fn new(earlier: &'w Weights, later: &'w Weights) -> Self {
        let (earlier_by_name, later_by_name) = (by_name(earlier.model()), by_name(later.model()));
        Self { earlier, later, earlier_by_name, later_by_name }
    }

    /// Is it the same, as far as that can be told by content lists? The later one is known to be the same as `now`.
    fn at_once(&self, now: &Tensor) -> Option<bool> {
        let Some(then) = self.earlier_by_name.get(&now.name[..]) else { return Some(false) };
        if (&then.dtype, &then.shape, then.len) != (&now.dtype, &now.shape, now.len) {
            return Some(false);
        }
        let next = self.later_by_name.get(&now.name[..])?;
        let content =
            |weights: &'w Weights, tensor: &Tensor| &weights.model().shards[tensor.shard].node.content;
        let same = next.offset == then.offset && content(self.later, next) == content(self.earlier, then);
        same.then_some(true)
    }

    /// As [`print`]; nothing, too, of what an older snapshot has lost the list of: the row ends there.
    fn print(&self, now: &Tensor) -> Result<Option<[u8; 32]>> {
        let Some(then) = self.earlier_by_name.get(&now.name[..]) else { return Ok(None) };
        match print(self.earlier, then) {
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => Ok(None),
            print => print,
        }
    }
}

/// Equal where the bytes are; nothing of what is lost or reaches beyond its file.
fn print(weights: &Weights, tensor: &Tensor) -> Result<Option<[u8; 32]>> {
    let mut hasher = blake3::Hasher::new();
    let file = weights.file(tensor.shard)?;
    let pieces = match file.touched(tensor.offset, tensor.len) {
        Ok(pieces) => pieces,
        Err(Error::Lost { .. } | Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    for piece in pieces {
        let from = tensor.offset.saturating_sub(piece.offset);
        let to = (tensor.offset + tensor.len - piece.offset).min(piece.entry.content_len());
        match &piece.entry {
            Entry::Chunk { id, .. } => {
                hasher.update(b"c").update(id.as_bytes());
                hasher.update(&from.to_le_bytes()).update(&to.to_le_bytes());
            }
            Entry::Inline { bytes } => {
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(usize::MAX);
                hasher.update(b"i").update(&(to - from).to_le_bytes()).update(&bytes[range]);
            }
            _ => drop(hasher.update(b"h").update(&(to - from).to_le_bytes())),
        }
    }
    Ok(Some(hasher.finalize().into()))
}
