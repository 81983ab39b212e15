//! What is lost, and which files of which snapshots it hits.
//!
//! A tree is looked into once, however many snapshots share it, to learn whether anything below it is
//! lost; only where something is do paths come into it.
//!
//! Memory: 33 bytes a tree and list that snapshots have; the way down to the present directory; the
//! first [`FIRST`] paths of each snapshot that is hit.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::error::{Error, Result, printable};
use crate::format::record::LostV1;
use crate::format::tree::{Node, NodeKind};
use crate::id::{BlobId, BlobRef, SnapshotId};
use crate::op::repair::is_damage;
use crate::op::repair::judge::Judge;
use crate::op::repair::look::Looker;
use crate::progress::Progress;
use crate::repo::lookup::join;

/// Paths that are named one by one.
pub const FIRST: usize = 100;

/// A path that is hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Printable.
    pub path: String,
    /// As it is.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// How long the file is.
    pub size: u64,
    /// How much of it is lost.
    pub lost_bytes: u64,
    /// A directory: names in it are lost.
    pub directory: bool,
}

/// What one snapshot loses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotLosses {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its top directory is lost, and so is everything.
    pub whole: bool,
    /// Files that lost a part.
    pub files: u64,
    /// Directories that lost names.
    pub directories: u64,
    /// Bytes of files.
    pub lost_bytes: u64,
    /// The first paths.
    pub first: Vec<Touched>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Losses {
    /// Blobs that snapshots need and that cannot be read.
    pub lost: HashSet<BlobRef>,
    /// Those that can be read from packs only that may not be relied on.
    pub frail: HashSet<BlobRef>,
    /// Snapshots that are hit.
    pub snapshots: Vec<SnapshotLosses>,
    /// Those of which it cannot be told, with the reason.
    pub failed: Vec<(SnapshotId, String)>,
}

/// Finds what is lost of these snapshots.
pub fn find<'a>(
    judge: &'a Judge<'a>,
    roots: &[(SnapshotId, BlobId)],
    progress: &'a dyn Progress,
) -> Result<(Losses, Looker<'a>)> {
    let mut looker =
        Looker { judge, progress, lost: HashSet::new(), frail: HashSet::new(), hit: HashMap::new() };
    let mut losses = Losses::default();
    progress.phase("looking for what is lost", Some(roots.len() as u64), None);
    for (id, root) in roots {
        match looker.snapshot(*id, *root) {
            Ok(None) => {}
            Ok(Some(hit)) => losses.snapshots.push(hit),
            Err(error @ Error::Corrupt { .. }) => losses.failed.push((*id, error.to_string())),
            Err(error) => return Err(error),
        }
        progress.advance(1, 0);
    }
    losses.lost = looker.lost.clone();
    losses.frail = looker.frail.clone();
    Ok((losses, looker))
}

impl Looker<'_> {
    fn snapshot(&mut self, id: SnapshotId, root: BlobId) -> Result<Option<SnapshotLosses>> {
        let mut hit = SnapshotLosses {
            snapshot: id,
            whole: false,
            files: 0,
            directories: 0,
            lost_bytes: 0,
            first: Vec::new(),
        };
        if !self.is_hit(root)? {
            return Ok(None);
        }
        let Some(top) = self.dir(root)? else { return Ok(Some(SnapshotLosses { whole: true, ..hit })) };
        if top.names_lost > 0 {
            hit.directory(b"/");
        }
        let mut levels = vec![(b"/".to_vec(), top.nodes.into_iter())];
        while let Some((above, nodes)) = levels.last_mut() {
            let Some(node) = nodes.next() else {
                levels.pop();
                continue;
            };
            let path = join(above, &node.name);
            match node.subtree() {
                Some(tree) if self.is_hit(tree)? => match self.dir(tree)? {
                    None => hit.directory(&path),
                    Some(dir) => {
                        if dir.names_lost > 0 {
                            hit.directory(&path);
                        }
                        levels.push((path, dir.nodes.into_iter()));
                    }
                },
                None if self.is_content_hit(&node.content, 0)? => {
                    let (_, lost) = self.salvage(&node.content)?;
                    hit.file(&path, &node, &lost);
                }
                _ => {}
            }
        }
        Ok(Some(hit))
    }
}

impl SnapshotLosses {
    fn directory(&mut self, path: &[u8]) {
        self.directories += 1;
        self.note(path, 0, 0, true);
    }

    fn file(&mut self, path: &[u8], node: &Node, lost: &LostV1) {
        debug_assert!(node.kind == NodeKind::File);
        self.files += 1;
        self.lost_bytes = self.lost_bytes.saturating_add(lost.bytes());
        self.note(path, node.size, lost.bytes(), false);
    }

    fn note(&mut self, path: &[u8], size: u64, lost_bytes: u64, directory: bool) {
        if self.first.len() < FIRST {
            let raw = path.to_vec();
            self.first.push(Touched { path: printable(path), raw, size, lost_bytes, directory });
        }
    }
}

/// Roots of snapshots, and those that cannot be read.
pub fn roots(
    repo: &crate::repo::Repository,
    ids: &[SnapshotId],
) -> Result<(Vec<(SnapshotId, BlobId)>, Vec<(SnapshotId, String)>)> {
    let (mut roots, mut unreadable) = (Vec::new(), Vec::new());
    for id in ids {
        match repo.snapshot(*id) {
            Ok(snapshot) => roots.push((*id, snapshot.record.root)),
            Err(error) if is_damage(&error) => unreadable.push((*id, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok((roots, unreadable))
}
