//! `tensors`: what a model in a snapshot is made of, tensor by tensor.
//!
//! What a tensor takes in packs is its share of the frames of its chunks, each as it would be read; what those are decoded
//! against is not counted: it is another version's. A chunk that several tensors have counts in full for each, and once
//! in the sum.
//!
//! Memory: some 300 bytes and its name for each tensor, 64 bytes for each chunk of the model's files.

mod since;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::wire::Stamp;
use crate::id::{BlobId, BlobKind, BlobRef, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::index::Places;
use crate::repo::model::{Model, Tensor};
use crate::repo::reader::Reader;
use crate::repo::weights::Weights;
use crate::source::choose;

/// What to list.
#[derive(Debug, Clone)]
pub struct TensorsOptions {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Absolute path inside it, of a model: see [`Model::find`].
    pub path: Vec<u8>,
    /// Only tensors whose names fit ([`choose`]); none = all.
    pub patterns: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Its id.
    pub id: SnapshotId,
    /// Its time.
    pub time: Stamp,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRow {
    /// What and where it is.
    pub tensor: Tensor,
    /// Its share of what is stored; of one that is damaged, what is there.
    pub stored_bytes: u64,
    /// Part of it is lost, or stands in no pack that is there.
    pub damaged: bool,
    /// The oldest snapshot in an unbroken row back from this one that has it as it is.
    pub since: Sighting,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct TensorsReport {
    /// The model; its `tensors` are all, chosen or not.
    pub model: Model,
    /// Those that fit, by file, then by offset.
    pub rows: Vec<TensorRow>,
    /// Length of these together.
    pub total_bytes: u64,
    /// Stored of these together, each chunk once.
    pub stored_bytes: u64,
    /// Snapshots that were looked into, this one included.
    pub snapshots: u64,
    /// Older snapshots that could not be read, or whose model could not: `since` is told without them.
    pub unreadable: Vec<(SnapshotId, String)>,
}

/// Lists.
///
/// # Errors
/// [`Error::Usage`] where there is no model; [`Error::NotFound`] if a pattern fits nothing; those of reading.
pub fn run(repo: &Repository, options: &TensorsOptions, progress: &dyn Progress) -> Result<TensorsReport> {
    let snapshot = repo.snapshot(options.snapshot)?;
    let ledger = repo.ledger(false)?;
    let reader = Arc::new(Reader::open_at(repo, &ledger)?);
    let weights = Weights::find(&reader, snapshot.record.root, &options.path)?;
    let names: Vec<&[u8]> = weights.model().tensors.iter().map(|tensor| &tensor.name[..]).collect();
    let chosen = choose(&names, &options.patterns, &weights.model().path)?;
    let row = since::Row::of(repo, &ledger, &snapshot, &options.path)?;
    progress.phase("looking into snapshots", Some(row.snapshots.len() as u64), None);
    progress.unit("snapshots");
    let found = row.look(&reader, &weights, &chosen, progress)?;
    let mut share = Share { places: reader.places(), first: HashMap::new(), sum: 0 };
    let mut rows = Vec::with_capacity(chosen.len());
    for (number, since) in chosen.into_iter().zip(found.since) {
        progress.check()?;
        let tensor = weights.model().tensors[number].clone();
        let (stored_bytes, damaged) = share.of(&weights, &tensor)?;
        rows.push(TensorRow { tensor, stored_bytes, damaged, since });
    }
    Ok(TensorsReport {
        total_bytes: rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.tensor.len)),
        stored_bytes: whole(share.sum),
        rows,
        snapshots: found.looked,
        unreadable: found.unreadable,
        model: weights.model().clone(),
    })
}

/// Counts what chunks take.
struct Share {
    places: Arc<dyn Places>,
    /// Where each chunk was met first: file and offset.
    first: HashMap<BlobId, (usize, u64)>,
    /// In 2^-20 bytes, each chunk where it was met first.
    sum: u128,
}

fn whole(stored: u128) -> u64 {
    u64::try_from((stored + (1 << 19)) >> 20).unwrap_or(u64::MAX)
}

impl Share {
    /// What a tensor takes, and whether any of it is not there.
    fn of(&mut self, weights: &Weights, tensor: &Tensor) -> Result<(u64, bool)> {
        let pieces = match weights.file(tensor.shard)?.touched(tensor.offset, tensor.len) {
            Ok(pieces) => pieces,
            Err(Error::Lost { .. } | Error::Corrupt { .. }) => return Ok((0, true)),
            Err(error) => return Err(error),
        };
        let (mut stored, mut damaged) = (0u128, false);
        for piece in pieces {
            let Entry::Chunk { id, len } = &piece.entry else { continue };
            let from = tensor.offset.max(piece.offset);
            let to = (tensor.offset + tensor.len).min(piece.offset + u64::from(*len));
            let Some(place) = self.places.places(&BlobRef::new(BlobKind::Chunk, *id))?.into_iter().next()
            else {
                damaged = true;
                continue;
            };
            let part = u128::from((to - from).min(u64::from(place.plain_len)));
            let part = (u128::from(place.stored_len) << 20) * part / u128::from(place.plain_len.max(1));
            stored += part;
            if *self.first.entry(*id).or_insert((tensor.shard, piece.offset)) == (tensor.shard, piece.offset)
            {
                self.sum += part;
            }
        }
        Ok((whole(stored), damaged))
    }
}
