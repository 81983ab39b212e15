//! `dump`: one file, tensors of a model, or a directory as an archive, to a stream; every blob verified before it leaves.

mod archive;
mod stream;
mod tar;
mod tensors;
mod zip;

use std::io::Write;

pub use archive::{ArchiveFormat, ArchiveOptions, ArchiveReport, archive};
pub use tensors::{TensorFormat, TensorOptions, TensorReport, tensors};

use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::tree::{MARK_CHANGED, MARK_INCOMPLETE, Node, NodeKind};
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;

/// Writes the file at `path` (absolute, inside the snapshot; links inside it are followed) to
/// `out`. Gives its length. What `out` refuses is [`Error::Io`] with the kind it gave; a file of which
/// part is lost is [`Error::Lost`].
pub fn run(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    dump(repo, snapshot, path, false, out, progress)
}

/// The same; where part of the file is lost, zeros are written for it, and a Problem says how much.
pub fn salvage(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    dump(repo, snapshot, path, true, out, progress)
}

fn dump(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    salvage: bool,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    let root = repo.snapshot(snapshot)?.record.root;
    let reader = Reader::open(repo)?;
    let found = lookup::resolve(&reader, root, path, LastLink::Follow)?;
    let refuse = |what: &str| Err(Error::Usage(format!("{} is {what}", printable(&found.path))));
    let Some(node) = found.node.filter(|n| n.kind != NodeKind::Directory) else {
        return refuse("a directory");
    };
    if node.kind != NodeKind::File {
        return refuse("no file: it has no content");
    }
    if let Some(lost) = node.lost() {
        let (path, lost_bytes) = (printable(&found.path), lost.bytes());
        let error = Error::Lost { path: path.clone(), lost_bytes, size_bytes: node.size };
        if !salvage {
            return Err(error);
        }
        let message = format!("{lost_bytes} of its {} bytes are lost: zeros stand in their place", node.size);
        progress.problem(&Problem::new(ProblemKind::Damaged, path, message));
    }
    say_marks(&node, &mut |kind, message| {
        progress.problem(&Problem::new(kind, printable(&found.path), message));
    });
    let (pieces, len) = reader.pieces(&node.content)?;
    progress.phase("dumping", Some(1), Some(len));
    let _kept = reader.prepare_pieces(&pieces, progress)?;
    stream::stream(&reader, &pieces, out, progress, &mut |_, error| Err(error))?;
    out.flush().map_err(refused)?;
    progress.advance(1, 0);
    Ok(len)
}

/// What the snapshot could not have whole.
fn say_marks(node: &Node, say: &mut dyn FnMut(ProblemKind, &str)) {
    if node.marks & MARK_INCOMPLETE != 0 {
        say(ProblemKind::Unreadable, "given as recorded: part of it could not be read for the snapshot");
    }
    if node.marks & MARK_CHANGED != 0 {
        say(ProblemKind::Changed, "given as recorded: it changed while it was read for the snapshot");
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::io("output", error)
}
