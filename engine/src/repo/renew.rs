//! New versions of directories and content lists, stored as the difference to the old ones: a
//! changed name in a large directory, or a changed stretch of a huge file, then costs some hundred
//! bytes. Where they are cut never depends on it.

use std::cell::OnceCell;

use crate::codec::Hint;
use crate::error::Result;
use crate::format::content::Entry;
use crate::format::tree::Node;
use crate::format::wire::Bytes;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::reader::Reader;
use crate::repo::session::{Against, Session, SourceRef};

/// Shorter ones share frames with their neighbours, which costs less than a frame of their own.
const LEAST_BYTES: usize = 2 << 10;
/// A difference is built upon at most so many others: each is one more small frame to be read.
const MAX_HEIGHT: u8 = 4;
/// A frame of its own, and one more to be read, must be worth it.
const LEAST_GAIN_PERCENT: u8 = 40;

/// The old version of a directory. Nothing of it is read for one that is not cut and did not change.
#[derive(Debug, Default)]
pub struct OldTree {
    tree: Option<BlobId>,
    /// First name and id of its parts, if it is cut.
    parts: OnceCell<Vec<(Bytes, BlobId)>>,
}

impl OldTree {
    /// None that can be read is as good as none.
    pub fn of(id: Option<BlobId>) -> Self {
        Self { tree: id, parts: OnceCell::new() }
    }

    /// What stands where a stretch that begins with `first` stands now; of the tree itself if `None`.
    fn near(&self, first: Option<&Bytes>, reader: &Reader) -> Option<BlobRef> {
        let tree = self.tree?;
        let whole = BlobRef::new(BlobKind::Tree, tree);
        let Some(first) = first else { return Some(whole) };
        let parts = self.parts.get_or_init(|| {
            let parts = reader.tree_blob(BlobKind::Tree, tree).map(|tree| tree.parts).unwrap_or_default();
            parts.into_iter().map(|part| (part.first, part.id)).collect()
        });
        let after = parts.partition_point(|(name, _)| name <= first);
        let part = parts.get(after.saturating_sub(1)).map(|(_, id)| BlobRef::new(BlobKind::TreePart, *id));
        // A directory that was not cut yet.
        Some(part.unwrap_or(whole))
    }
}

/// The lists of an old version of a file: for each level from the bottom, offset and id.
#[derive(Debug, Default)]
pub struct OldLists(Vec<Vec<(u64, BlobId)>>);

impl OldLists {
    /// Lists that cannot be read are left out.
    pub fn of(content: &[Entry], reader: &Reader) -> Self {
        let mut all = Self::default();
        all.take_in(content, 0, reader, 0);
        all.0.iter_mut().for_each(|level| level.sort_unstable());
        all
    }

    /// Gives how many levels of lists stand below these entries.
    fn take_in(&mut self, entries: &[Entry], mut offset: u64, reader: &Reader, depth: usize) -> usize {
        let mut below = 0;
        for entry in entries {
            if let Entry::List { id, .. } = entry
                && depth < crate::format::content::MAX_LIST_DEPTH
                && let Ok(list) = reader.list(*id)
            {
                let level = self.take_in(&list.entries, offset, reader, depth + 1);
                if self.0.len() <= level {
                    self.0.resize(level + 1, Vec::new());
                }
                self.0[level].push((offset, *id));
                below = below.max(level + 1);
            }
            offset = offset.saturating_add(entry.content_len());
        }
        below
    }

    fn near(&self, level: usize, offset: u64) -> Option<BlobRef> {
        let lists = self.0.get(level)?;
        let after = lists.partition_point(|(at, _)| *at <= offset);
        lists.get(after.saturating_sub(1)).map(|(_, id)| BlobRef::new(BlobKind::List, *id))
    }
}

impl Session {
    /// As [`Session::store_tree`], against what the directory was before.
    pub fn renew_tree(&self, nodes: Vec<Node>, old: &OldTree, reader: &Reader) -> Result<BlobId> {
        self.store_tree_with(nodes, &mut |kind, plain, first| {
            self.renew(kind, plain, old.near(first, reader), reader)
        })
    }

    /// As [`Session::store_content`], against what the file was before.
    pub fn renew_content(&self, entries: Vec<Entry>, old: &OldLists, reader: &Reader) -> Result<Vec<Entry>> {
        self.store_content_with(entries, &mut |plain, level, offset| {
            self.renew(BlobKind::List, plain, old.near(level, offset), reader)
        })
    }

    fn renew(&self, kind: BlobKind, plain: &[u8], old: Option<BlobRef>, reader: &Reader) -> Result<BlobId> {
        let id = self.repo().blob_id(kind, plain);
        if let Some(old) = old.filter(|_| plain.len() >= LEAST_BYTES)
            // What did not change, most of the time, needs no look at what it was.
            && old.id != id
            && let Ok(bytes) = reader.base_bytes(&old)
            && let Ok(len) = u32::try_from(bytes.len())
        {
            let source = SourceRef { blobs: vec![old], offset: 0, len };
            if self.height(&source)?.is_some_and(|height| height < MAX_HEIGHT) {
                let sources = &[source];
                let against = Against { sources, hint: Hint::NONE, least_gain_percent: LEAST_GAIN_PERCENT };
                return self.store_against(kind, plain, &against, reader).map(|stored| stored.id);
            }
        }
        self.store_as(kind, id, plain, Hint::NONE, None).map(|stored| stored.id)
    }
}
