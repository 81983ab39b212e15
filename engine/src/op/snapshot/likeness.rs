//! The older copy of a database, whatever it is called now (`db_20250405.sqlite3` yesterday,
//! `db_20250406.sqlite3` today): what the parent has in its place; where that is nothing, or something else, the
//! database of recent snapshots that has most units in common with it.
//!
//! After a VACUUM under a new name no unit is what it was: then one with the very schema serves.

use std::cmp::Reverse;
use std::sync::Arc;

use super::ancestry::{Ancestry, alike};
use super::units::Old;
use crate::format::record::SqliteCaptureV1;
use crate::format::tree::{EXT_SQLITE, Node, NodeKind};
use crate::format::wire;
use crate::id::BlobId;
use crate::progress::Progress;

/// Databases whose units are compared.
const MAX_COMPARED: usize = 8;

/// What a capture noted of a database.
fn record(node: &Node) -> Option<SqliteCaptureV1> {
    let noted = node.extensions.iter().find(|extension| extension.tag == EXT_SQLITE)?;
    wire::decode(&noted.data).ok()
}

/// Are these of one make?
fn same_schema(a: Option<&SqliteCaptureV1>, b: Option<&SqliteCaptureV1>) -> bool {
    let known = |r: Option<&SqliteCaptureV1>| r.map(|r| r.schema_hash).filter(|hash| *hash != [0; 32]);
    known(a).is_some() && known(a) == known(b)
}

impl<'a> Ancestry<'a> {
    /// Of the database at `path`; `before` is what the parent has in its place, `node` what is known of it
    /// now, `ids` are its first units, of `unit` bytes each.
    pub fn database(
        &'a self,
        path: &[u8],
        before: Option<&Node>,
        node: &Node,
        ids: &[BlobId],
        unit: u64,
        progress: &'a dyn Progress,
    ) -> Option<Arc<Old<'a>>> {
        let old = |node: &Node| Old::of(node, self.session(), self.reader(), progress).map(Arc::new);
        if let Some(named) = self.named_for(path) {
            return named.and_then(|node| old(&node));
        }
        let common = |old: &Old<'_>| {
            let at = |n: usize| old.at(n as u64 * unit).map(|at| old.units()[at].id);
            ids.iter().enumerate().filter(|(n, id)| at(*n) == Some(**id)).count()
        };
        let new = record(node);
        let own = before
            .filter(|before| before.kind == NodeKind::File)
            .and_then(|before| Some((same_schema(record(before).as_ref(), new.as_ref()), old(before)?)));
        if let Some((same, own)) = &own
            && (*same || common(own) > 0)
        {
            return Some(own.clone());
        }
        let mut ranked: Vec<(bool, Reverse<usize>, Reverse<u64>, &Node)> = self
            .databases()
            .iter()
            .map(|(at, other)| {
                let same = same_schema(record(other).as_ref(), new.as_ref());
                (same, Reverse(alike(path, at)), Reverse(other.size.abs_diff(node.size)), other)
            })
            .collect();
        // Among equals those of newer snapshots stand first.
        ranked.sort_by_key(|(same, alike, near, _)| (Reverse(*same), *alike, Reverse(*near)));
        let likely = ranked.into_iter().take(MAX_COMPARED).filter_map(|(same, .., node)| {
            let old = old(node)?;
            Some((common(&old), same, old))
        });
        let mut best: Option<(usize, bool, Arc<Old<'a>>)> = None;
        for (common, same, old) in likely.filter(|(common, same, _)| *common > 0 || *same) {
            if best.as_ref().is_none_or(|(most, ..)| common > *most) {
                best = Some((common, same, old));
            }
        }
        best.map(|(.., old)| old).or(own.map(|(_, own)| own))
    }
}
