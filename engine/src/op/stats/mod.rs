//! `stats`: what a repository, its snapshots and the directories in them take, and what would come free without them.
//!
//! | word | meaning |
//! |---|---|
//! | logical | the length of all files, as `ls -l` shows it |
//! | unique | plaintext of the chunks they are made of, each once |
//! | stored | what these chunks, their trees and lists, and all they are decoded against take in packs; a blob of a frame counts its share |
//! | frees | what nothing else needs: so much comes free when it is forgotten (a snapshot) or left out of all snapshots (a path), and pruned |
//!
//! What would come free is exact in blobs; `prune` gives back about that, as it moves whole frames.

pub mod models;
mod owners;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result, printable};
use crate::format::frame::Encoding;
use crate::format::tree::{Node, NodeKind};
use crate::id::{BlobId, BlobKind, BlobRef, ObjectKind, PackId, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::snapshots::{Filter, Snapshot};
use owners::{Owners, Sum, blobs_of};

/// What a part takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Takes {
    /// Files.
    pub files: u64,
    /// Length of all files.
    pub logical_bytes: u64,
    /// Plaintext of their chunks, each once.
    pub unique_bytes: u64,
    /// What these take in packs, with all that they are decoded against.
    pub stored_bytes: u64,
    /// What nothing else needs, in packs.
    pub frees_bytes: u64,
}

/// How the content that is needed is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Encoded {
    /// `raw`, `zstd`, `planes`, `delta`.
    pub encoding: &'static str,
    /// Plaintext.
    pub plain_bytes: u64,
    /// In packs.
    pub stored_bytes: u64,
}

/// The whole repository.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepositoryStats {
    /// Snapshots that count and can be read.
    pub snapshots: u64,
    /// Hosts they are of.
    pub hosts: Vec<String>,
    /// Time of the oldest, nanoseconds since 1970.
    pub oldest_ns: Option<i64>,
    /// Time of the newest.
    pub newest_ns: Option<i64>,
    /// Files in all snapshots, each as often as it is in one.
    pub files: u64,
    /// Their length.
    pub logical_bytes: u64,
    /// Plaintext of all chunks that snapshots need, each once.
    pub unique_bytes: u64,
    /// What snapshots need in packs.
    pub stored_bytes: u64,
    /// Of it: only as what other chunks are decoded against.
    pub bases_bytes: u64,
    /// What snapshots need, by encoding.
    pub encodings: Vec<Encoded>,
    /// Packs that stand.
    pub packs: u64,
    /// Their length.
    pub packs_bytes: u64,
    /// In packs, and needed by nothing: dead, condemned, and what surrounds frames.
    pub unused_bytes: u64,
    /// Index objects.
    pub index_objects: u64,
    /// What could not be read, with the reason: it does not count.
    pub unreadable: Vec<(String, String)>,
}

/// Some snapshots.
#[derive(Debug, Clone, Default)]
pub struct SnapshotsStats {
    /// Each of them.
    pub rows: Vec<(Snapshot, Takes)>,
    /// What would come free without all of them.
    pub together_bytes: u64,
    /// What could not be read, with the reason: it does not count.
    pub unreadable: Vec<(String, String)>,
}

/// What is directly in a directory.
#[derive(Debug, Clone, Default)]
pub struct DirectoryStats {
    /// Where the path led.
    pub path: Vec<u8>,
    /// Each entry: its name, what it is.
    pub rows: Vec<(Vec<u8>, NodeKind, Takes)>,
    /// All of it.
    pub all: Takes,
    /// What could not be read, with the reason: it does not count.
    pub unreadable: Vec<(String, String)>,
}

/// Everything there is, at one moment.
struct View {
    snapshots: Vec<Snapshot>,
    unreadable: Vec<(String, String)>,
    holdings: Arc<Holdings>,
    reader: Reader,
}

impl View {
    fn read(repo: &Repository, progress: &dyn Progress) -> Result<Self> {
        let standing: HashSet<PackId> = index::list_ids(repo, ObjectKind::Pack)?.into_iter().collect();
        let ledger = repo.ledger(false)?;
        let (snapshots, unreadable) = repo.snapshots(&ledger, &Filter::default())?;
        let mut unreadable: Vec<_> = unreadable
            .into_iter()
            .map(|(id, e)| (format!("snapshot {}", id.short()), e.to_string()))
            .collect();
        let holdings = Arc::new(Holdings::read(repo, &ledger, &standing, progress)?);
        let damaged =
            holdings.damaged.iter().map(|(id, e)| (format!("index object {}", id.short()), e.to_string()));
        unreadable.extend(damaged);
        let reader = Reader::with_places(repo, holdings.clone());
        progress.phase("finding what is needed", None, None);
        progress.unit("trees and lists");
        Ok(Self { snapshots, unreadable, holdings, reader })
    }
}

fn root_of(snapshot: &Snapshot) -> BlobRef {
    BlobRef::new(BlobKind::Tree, snapshot.record.root)
}

/// Of the whole repository.
pub fn repository(repo: &Repository, progress: &dyn Progress) -> Result<RepositoryStats> {
    let View { snapshots, unreadable, holdings, reader } = View::read(repo, progress)?;
    let mut owners = Owners::shared(&holdings, &reader);
    let sum = owners.take(0, snapshots.iter().map(root_of).collect(), progress)?;
    let mut hosts: Vec<String> = snapshots.iter().map(|s| s.record.host.0.clone()).collect();
    hosts.sort();
    hosts.dedup();
    let standing = holdings.packs.iter().filter(|pack| pack.info.standing);
    let packs_bytes = standing.clone().map(|pack| pack.info.size).sum::<u64>();
    let mut report = RepositoryStats {
        snapshots: snapshots.len() as u64,
        hosts,
        oldest_ns: snapshots.first().map(|s| s.record.time.to_ns()),
        newest_ns: snapshots.last().map(|s| s.record.time.to_ns()),
        unique_bytes: sum.unique_bytes,
        stored_bytes: sum.stored_bytes(),
        bases_bytes: owners.bases().stored_bytes(),
        packs: standing.count() as u64,
        packs_bytes,
        unused_bytes: packs_bytes.saturating_sub(sum.stored_bytes()),
        index_objects: holdings.objects.len() as u64,
        ..RepositoryStats::default()
    };
    for snapshot in &snapshots {
        let counts = &snapshot.record.counts;
        report.files = report.files.saturating_add(counts.files());
        report.logical_bytes = report.logical_bytes.saturating_add(counts.total_bytes);
    }
    let mut encodings: BTreeMap<u8, Sum> = BTreeMap::new();
    owners.each_kept(|_, frame, len| encodings.entry(frame.encoding).or_default().add(frame, len));
    report.encodings = encodings
        .into_iter()
        .map(|(tag, sum)| Encoded {
            encoding: match Encoding::from_byte(tag) {
                Some(Encoding::Raw) => "raw",
                Some(Encoding::Zstd) => "zstd",
                Some(Encoding::Planes) => "planes",
                Some(Encoding::Delta) => "delta",
                None => "unknown",
            },
            plain_bytes: sum.plain_bytes,
            stored_bytes: sum.stored_bytes(),
        })
        .collect();
    report.unreadable = unreadable.into_iter().chain(owners.unreadable()).collect();
    Ok(report)
}

/// Of these snapshots, which must be committed. Each tree of each of them is read.
pub fn snapshots(repo: &Repository, ids: &[SnapshotId], progress: &dyn Progress) -> Result<SnapshotsStats> {
    let View { snapshots, unreadable, holdings, reader } = View::read(repo, progress)?;
    let (wanted, others): (Vec<Snapshot>, Vec<Snapshot>) =
        snapshots.into_iter().partition(|s| ids.contains(&s.id));
    if let Some(lost) = ids.iter().find(|id| !wanted.iter().any(|s| s.id == **id)) {
        repo.snapshot(*lost)?;
        return Err(Error::NotFound { what: format!("snapshot {}", lost.short()) });
    }
    let mut owners = Owners::shared(&holdings, &reader);
    owners.take_others(others.iter().map(root_of).collect(), progress)?;
    let mut alone = Owners::single(&holdings, &reader);
    let mut rows = Vec::with_capacity(wanted.len());
    for (row, snapshot) in (0..).zip(wanted) {
        owners.take(row, vec![root_of(&snapshot)], progress)?;
        let sum = alone.take(row, vec![root_of(&snapshot)], progress)?;
        let counts = &snapshot.record.counts;
        let takes = Takes {
            files: counts.files(),
            logical_bytes: counts.total_bytes,
            unique_bytes: sum.unique_bytes,
            stored_bytes: sum.stored_bytes(),
            frees_bytes: 0,
        };
        rows.push((snapshot, takes));
    }
    let (frees, together) = owners.by_row(rows.len());
    for ((_, takes), sum) in rows.iter_mut().zip(frees) {
        takes.frees_bytes = sum.stored_bytes();
    }
    let together_bytes = together.stored_bytes();
    let unreadable = unreadable.into_iter().chain(owners.unreadable()).collect();
    Ok(SnapshotsStats { rows, together_bytes, unreadable })
}

/// Of what is directly in the directory `path` of a snapshot; of a file, of it alone. What would come free counts all
/// snapshots that have the same path.
pub fn directory(
    repo: &Repository,
    id: SnapshotId,
    path: &[u8],
    progress: &dyn Progress,
) -> Result<DirectoryStats> {
    let View { snapshots, unreadable, holdings, reader } = View::read(repo, progress)?;
    let root = repo.snapshot(id)?.record.root;
    let mut found = lookup::resolve(&reader, root, path, LastLink::Follow)?;
    // A file's row stands in the directory that has it.
    let only = match (&found.node, found.tree) {
        (Some(node), None) => Some(node.name.to_vec()),
        _ => None,
    };
    let mut names: Vec<Vec<u8>> =
        found.path.split(|b| *b == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect();
    if only.is_some() {
        names.pop();
        let above = [&b"/"[..], &names.join(&b'/')].concat();
        found.tree = lookup::resolve(&reader, root, &above, LastLink::Keep)?.tree;
    }
    let Some(tree) = found.tree else { return Err(Error::NotFound { what: printable(path) }) };
    let mut nodes = reader.tree(tree)?;
    nodes.retain(|node| only.as_ref().is_none_or(|only| node.name[..] == only[..]));
    let mut owners = Owners::shared(&holdings, &reader);
    let row_of = |name: &[u8]| nodes.binary_search_by(|node| node.name[..].cmp(name)).ok();
    // The same tree at the same place says nothing new.
    let mut seen = HashSet::new();
    for snapshot in &snapshots {
        progress.check()?;
        let mut here = Some(snapshot.record.root);
        for depth in 0..=names.len() {
            let Some(tree) = here.take().filter(|tree| seen.insert((*tree, depth))) else { break };
            let Ok((inside, parts)) = reader.tree_with_parts(tree) else {
                // What it has is not known: it is told, and counts for nobody.
                owners.take_others(vec![BlobRef::new(BlobKind::Tree, tree)], progress)?;
                break;
            };
            let parts = parts.into_iter().map(|part| BlobRef::new(BlobKind::TreePart, part));
            owners.keep_for_others(parts.chain([BlobRef::new(BlobKind::Tree, tree)]).collect());
            for node in inside {
                let on_the_way = names.get(depth).is_some_and(|name| node.name[..] == name[..]);
                let row = if depth == names.len() { row_of(&node.name) } else { None };
                match (node.subtree(), row) {
                    (Some(below), _) if on_the_way => here = Some(below),
                    (_, Some(row)) => drop(owners.take(row as u32, blobs_of(&node), progress)?),
                    (_, None) => owners.take_others(blobs_of(&node), progress)?,
                }
            }
        }
    }
    let mut alone = Owners::single(&holdings, &reader);
    let mut report = DirectoryStats { path: found.path.clone(), ..DirectoryStats::default() };
    let (frees, together) = owners.by_row(nodes.len());
    for ((row, node), freed) in (0..).zip(&nodes).zip(frees) {
        let sum = alone.take(row, blobs_of(node), progress)?;
        let (files, logical_bytes) = count(&reader, node, progress)?;
        let takes = Takes {
            files,
            logical_bytes,
            unique_bytes: sum.unique_bytes,
            stored_bytes: sum.stored_bytes(),
            frees_bytes: freed.stored_bytes(),
        };
        report.all.files += files;
        report.all.logical_bytes = report.all.logical_bytes.saturating_add(logical_bytes);
        report.rows.push((node.name.to_vec(), node.kind, takes));
    }
    let sum = alone.take(nodes.len() as u32, nodes.iter().flat_map(blobs_of).collect(), progress)?;
    report.all.unique_bytes = sum.unique_bytes;
    report.all.stored_bytes = sum.stored_bytes();
    report.all.frees_bytes = together.stored_bytes();
    report.unreadable = unreadable.into_iter().chain(owners.unreadable()).collect();
    Ok(report)
}

/// Files below a node and their length; what cannot be read counts nothing.
fn count(reader: &Reader, node: &Node, progress: &dyn Progress) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0u64);
    let mut trees: Vec<BlobId> = Vec::new();
    let mut one = |node: &Node, trees: &mut Vec<BlobId>| {
        if node.kind == NodeKind::File {
            files += 1;
            bytes = bytes.saturating_add(node.size);
        }
        trees.extend(node.subtree());
    };
    one(node, &mut trees);
    while let Some(tree) = trees.pop() {
        progress.check()?;
        match reader.tree(tree) {
            Ok(nodes) => nodes.iter().for_each(|node| one(node, &mut trees)),
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((files, bytes))
}
