//! Which pages differ between an earlier state and a copy of the present one.
//!
//! Chunks of the same id at the same offset are equal; only what else there was is read. Memory: one chunk, 32 bytes for each
//! chunk, and a bit for each page.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use super::earlier::Before;
use super::{Fetched, Since};
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repo::reader::Reader;
use crate::source::sqlite::{HEADER_BYTES, Header, PageSet};

/// Zeros of a hole that are compared at once.
const STEP_BYTES: u64 = 1 << 20;

/// What changed, and the pages: changed and added ones.
pub fn since(
    reader: &Reader,
    before: &Before,
    now: &Fetched,
    page_size: u32,
    progress: &dyn Progress,
) -> Result<(Since, PageSet)> {
    let (pieces, old_len) = reader.pieces(&before.node.content)?;
    let (page, new_len) = (u64::from(page_size).max(1), now.copy.bytes());
    let mut since = Since {
        snapshot: before.snapshot.id,
        time_ns: before.snapshot.record.time.to_ns(),
        changed_pages: 0,
        added_pages: 0,
        removed_pages: 0,
        changed_bytes: 0,
        other_pages: None,
        page_size_was: None,
    };
    let first = reader.first_bytes(&before.node.content, HEADER_BYTES)?;
    let was = Header::parse(&first).map(|header| header.page_size);
    if was != Some(page_size) {
        // 0: it was no database.
        since.page_size_was = Some(was.unwrap_or(0));
        since.changed_bytes = new_len;
        return Ok((since, PageSet::default()));
    }
    let same: HashMap<u64, BlobId> =
        now.pieces.iter().filter_map(|p| Some((p.offset, chunk(&p.entry)?))).collect();
    let differs = |p: &&crate::repo::trees::Piece| match chunk(&p.entry) {
        Some(id) => same.get(&p.offset) != Some(&id),
        None => true,
    };
    let to_compare: Vec<_> = pieces.iter().filter(differs).collect();
    progress.phase("comparing", None, Some(to_compare.iter().map(|p| p.entry.content_len()).sum()));
    let mut pages = PageSet::default();
    let mut compare = |old: &[u8], offset: u64| compare(now, page, new_len, old, offset, &mut pages);
    for piece in to_compare {
        progress.check()?;
        match &piece.entry {
            Entry::Chunk { id, len } => compare(reader.chunk(*id, *len)?.as_ref(), piece.offset)?,
            Entry::Inline { bytes } => compare(bytes, piece.offset)?,
            hole => {
                let zeros = vec![0; usize::try_from(STEP_BYTES).unwrap_or(0)];
                let end = (piece.offset + hole.content_len()).min(new_len);
                let mut at = piece.offset;
                while at < end {
                    progress.check()?;
                    let step = STEP_BYTES.min(end - at);
                    compare(&zeros[..usize::try_from(step).unwrap_or(0)], at)?;
                    at += step;
                }
            }
        }
        progress.advance(0, piece.entry.content_len());
    }
    let (old_pages, new_pages) = (old_len.div_ceil(page), new_len.div_ceil(page));
    // A page that was there in part is a changed one.
    since.changed_pages = pages.len();
    since.added_pages = new_pages.saturating_sub(old_pages);
    since.removed_pages = old_pages.saturating_sub(new_pages);
    (old_pages + 1..=new_pages).for_each(|number| pages.insert(number));
    since.changed_bytes = pages.len().saturating_mul(page);
    Ok((since, pages))
}

fn chunk(entry: &Entry) -> Option<BlobId> {
    match entry {
        Entry::Chunk { id, .. } => Some(*id),
        _ => None,
    }
}

/// Notes the pages in which `old`, which stood at `offset`, differs from the copy.
fn compare(
    now: &Fetched,
    page: u64,
    new_len: u64,
    old: &[u8],
    offset: u64,
    pages: &mut PageSet,
) -> Result<()> {
    let left = usize::try_from(new_len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let old = &old[..old.len().min(left)];
    let mut new = vec![0; old.len()];
    now.file.read_exact_at(&mut new, offset).map_err(|e| Error::io("temporary file", e))?;
    let mut at = 0;
    while at < old.len() {
        let place = offset + at as u64;
        let end = old.len().min(at + usize::try_from(page - place % page).unwrap_or(1));
        if old[at..end] != new[at..end] {
            pages.insert(place / page + 1);
        }
        at = end;
    }
    Ok(())
}
