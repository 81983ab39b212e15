//! Which files cannot be read, found naively: by reading all.

use std::collections::BTreeSet;

use ballast::error::Error;
use ballast::format::content::Entry;
use ballast::format::tree::NodeKind;
use ballast::id::{BlobId, BlobKind, SnapshotId};
use ballast::repo::OpenOptions;
use ballast::repo::reader::Reader;

use crate::place::Place;

/// What cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Each once, in whatever snapshot; directories end in a slash.
    pub paths: BTreeSet<Vec<u8>>,
    /// Snapshots of which not even the root can be read.
    pub whole: BTreeSet<SnapshotId>,
    /// Snapshots that miss anything, those among them.
    pub snapshots: BTreeSet<SnapshotId>,
}

/// Reads every file of these snapshots.
pub fn unreadable(place: &Place, snapshots: &[SnapshotId]) -> Unreadable {
    let bare = OpenOptions { cache_dir: None, ..place.options() };
    let repo = place.open_with(&bare);
    let reader = Reader::open(&repo).unwrap();
    let mut all = Unreadable::default();
    for id in snapshots {
        let found = match repo.snapshot(*id) {
            Err(_) => None,
            Ok(snapshot) => below(&reader, BlobKind::Tree, snapshot.record.root, b"/").ok(),
        };
        match found {
            None => all.whole.insert(*id) | all.snapshots.insert(*id),
            Some(paths) if !paths.is_empty() => {
                all.paths.extend(paths);
                all.snapshots.insert(*id)
            }
            Some(_) => false,
        };
    }
    all
}

fn below(reader: &Reader, kind: BlobKind, id: BlobId, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let tree = reader.tree_blob(kind, id)?;
    let mut lost = Vec::new();
    for part in &tree.parts {
        match below(reader, BlobKind::TreePart, part.id, path) {
            Ok(more) => lost.extend(more),
            Err(_) => lost.push(path.to_vec()),
        }
    }
    for node in &tree.nodes {
        let at = [path, &node.name].concat();
        if let Some(tree) = node.subtree() {
            let at = [&at[..], b"/"].concat();
            match below(reader, BlobKind::Tree, tree, &at) {
                Ok(more) => lost.extend(more),
                Err(_) => lost.push(at),
            }
        } else if node.kind == NodeKind::File {
            let read = || -> Result<(), Error> {
                if let Some(seams) = node.seams {
                    reader.blob(BlobKind::Seams, seams)?;
                }
                for entry in reader.expand(&node.content) {
                    if let Entry::Chunk { id, len } = entry? {
                        reader.chunk(id, len)?;
                    }
                }
                Ok(())
            };
            if read().is_err() {
                lost.push(at);
            }
        }
    }
    Ok(lost)
}
