//! Which files of a snapshot are databases.

use std::vec::IntoIter;

use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::tree::{CAPTURE_SQLITE, Node, NodeKind};
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::reader::Reader;
use crate::source::sqlite::{HEADER_BYTES, is_sqlite_header};

/// Pages, and so databases, are multiples of this: most other files need not be looked into.
const LEAST_PAGE_BYTES: u64 = 512;

/// A database in a snapshot.
pub struct Found {
    /// Its path.
    pub path: Vec<u8>,
    /// Its node.
    pub node: Node,
}

/// Databases at or below `asked`, in the order of their names. A directory that cannot be read is a problem.
///
/// Memory: the nodes of the directories on the way, and those of the databases.
pub fn databases(
    reader: &Reader,
    root: BlobId,
    asked: &[u8],
    progress: &dyn Progress,
    say: &mut dyn FnMut(Problem),
) -> Result<Vec<Found>> {
    let found = lookup::resolve(reader, root, asked, LastLink::Follow)?;
    let Some(tree) = found.tree else {
        let node = found.node.ok_or_else(|| Error::Internal("a path without a node".into()))?;
        return match is_database(reader, &node)? {
            true => Ok(vec![Found { path: found.path, node }]),
            false => Err(Error::Usage(format!("{} is no SQLite database", printable(&found.path)))),
        };
    };
    let mut all = Vec::new();
    let mut levels: Vec<(Vec<u8>, IntoIter<Node>)> = vec![(found.path, reader.tree(tree)?.into_iter())];
    while let Some((directory, nodes)) = levels.last_mut() {
        progress.check()?;
        let Some(node) = nodes.next() else {
            levels.pop();
            continue;
        };
        let path = join(directory, &node.name);
        let outcome = match node.subtree() {
            Some(tree) => {
                progress.current(&printable(&path));
                reader.tree(tree).map(|nodes| levels.push((path.clone(), nodes.into_iter())))
            }
            None => is_database(reader, &node).map(|yes| {
                if yes {
                    all.push(Found { path: path.clone(), node });
                }
            }),
        };
        match outcome {
            Err(error @ (Error::Missing { .. } | Error::Corrupt { .. } | Error::Store(_))) => {
                say(Problem::new(ProblemKind::Damaged, printable(&path), error));
            }
            done => done?,
        }
    }
    Ok(all)
}

/// By the way it was stored, else by its first bytes.
fn is_database(reader: &Reader, node: &Node) -> Result<bool> {
    if node.kind != NodeKind::File {
        return Ok(false);
    }
    if node.capture == CAPTURE_SQLITE {
        return Ok(true);
    }
    let may_be = node.size > 0 && node.size.is_multiple_of(LEAST_PAGE_BYTES);
    Ok(may_be && is_sqlite_header(&reader.first_bytes(&node.content, HEADER_BYTES)?))
}
