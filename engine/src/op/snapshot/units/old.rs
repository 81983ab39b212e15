//! The older copy of a database: its units by offset, how high they stand, their bytes, and what content they
//! share with others.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::anchors::{self, Anchors};
use crate::codec::grains::{GRAIN_BYTES, grains_of};
use crate::error::{Error, Result};
use crate::format::content::{Entry, MAX_LIST_DEPTH};
use crate::format::tree::Node;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::progress::Progress;
use crate::repo::loom::Pin;
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::session::Session;

/// Threads that look for anchors.
const MAX_THREADS: usize = 8;

/// A chunk of the older copy.
#[derive(Debug, Clone, Copy)]
pub struct OldUnit {
    pub offset: u64,
    pub len: u32,
    pub id: BlobId,
    /// Number of its first grain, counted through all of them.
    first: u32,
}

impl OldUnit {
    /// As a blob.
    pub fn blob(&self) -> BlobRef {
        BlobRef::new(BlobKind::Chunk, self.id)
    }
}

/// A list that describes a run of the older copy's units.
#[derive(Debug, Clone)]
pub struct OldList {
    pub id: BlobId,
    pub units: Range<usize>,
}

/// See the module's words.
pub struct Old<'a> {
    session: &'a Session,
    reader: &'a Reader,
    progress: &'a dyn Progress,
    units: Vec<OldUnit>,
    lists: Vec<OldList>,
    anchors: OnceLock<Anchors>,
    kept: Mutex<Option<Pin<'a>>>,
    given_up: AtomicBool,
}

impl<'a> Old<'a> {
    /// Of a node; `None` if its content cannot be read, or there is none.
    pub fn of(
        node: &Node,
        session: &'a Session,
        reader: &'a Reader,
        progress: &'a dyn Progress,
    ) -> Option<Self> {
        let mut all = Self {
            session,
            reader,
            progress,
            units: Vec::new(),
            lists: Vec::new(),
            anchors: OnceLock::new(),
            kept: Mutex::default(),
            given_up: AtomicBool::new(false),
        };
        let (mut offset, mut first) = (0, 0);
        all.take_in(&node.content, &mut offset, &mut first, 0)?;
        (!all.units.is_empty()).then_some(all)
    }

    /// `false`, among lists, for one that describes more than chunks.
    fn take_in(
        &mut self,
        entries: &[Entry],
        offset: &mut u64,
        first: &mut u32,
        depth: usize,
    ) -> Option<bool> {
        let mut chunks_only = true;
        for entry in entries {
            match entry {
                Entry::Chunk { id, len } => {
                    self.units.push(OldUnit { offset: *offset, len: *len, id: *id, first: *first });
                    *first = first.checked_add(u32::try_from(grains_of(*len as usize)).ok()?)?;
                    *offset = offset.checked_add(u64::from(*len))?;
                }
                Entry::List { id, .. } if depth < MAX_LIST_DEPTH => {
                    let (list, from) = (self.reader.list(*id).ok()?, self.units.len());
                    if self.take_in(&list.entries, offset, first, depth + 1)? {
                        self.lists.push(OldList { id: *id, units: from..self.units.len() });
                    }
                    chunks_only = false;
                }
                other => {
                    *offset = offset.checked_add(other.content_len())?;
                    chunks_only = false;
                }
            }
        }
        Some(chunks_only)
    }

    /// What it costs to stand on it cannot be paid here: units are stored alone from now on. Said once.
    pub fn give_up(&self, why: &Error) {
        if !self.given_up.swap(true, Ordering::Relaxed) {
            let cost = "what changed in a database is stored alone, not as a difference";
            self.session.repo().notice(format!("{cost}: {why}"));
        }
    }

    /// Was it given up?
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// All of them, by offset.
    pub fn units(&self) -> &[OldUnit] {
        &self.units
    }

    /// The lowest lists, by offset: together they describe all units, unless it has none.
    pub fn lists(&self) -> &[OldList] {
        &self.lists
    }

    /// How high a list stands, and all it describes; `None` if it may not be relied on.
    pub fn list_height(&self, list: &OldList) -> Result<Option<u8>> {
        let mut height = match self.session.height_of(&BlobRef::new(BlobKind::List, list.id))? {
            Some(height) => height,
            None => return Ok(None),
        };
        for at in list.units.clone() {
            match self.height(at)? {
                Some(of_unit) => height = height.max(of_unit),
                None => return Ok(None),
            }
        }
        Ok(Some(height))
    }

    /// The one that begins at `offset`.
    pub fn at(&self, offset: u64) -> Option<usize> {
        self.units.binary_search_by_key(&offset, |unit| unit.offset).ok()
    }

    /// The unit that has a grain, and which of its grains that is.
    pub fn of_grain(&self, grain: u32) -> (usize, u32) {
        let at = self.units.partition_point(|unit| unit.first <= grain).saturating_sub(1);
        (at, grain - self.units[at].first)
    }

    /// How high it stands; `None` if it may not be relied on.
    pub fn height(&self, at: usize) -> Result<Option<u8>> {
        self.session.height_of(&self.units[at].blob())
    }

    /// Its bytes, its id recomputed, from no higher than `height`; `None` if they cannot be had.
    pub fn bytes(&self, at: usize, height: u8) -> Result<Option<BlobBytes>> {
        match self.reader.base_bytes_up_to(&self.units[at].blob(), height) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_ours() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// These will be wanted soon: it is quicker to have them decoded together.
    pub fn prepare(&self, which: impl Iterator<Item = usize>) -> Result<()> {
        let blobs: Vec<BlobRef> = which.map(|at| self.units[at].blob()).collect();
        let kept = self.reader.prepare_all(&blobs, self.progress)?;
        *self.kept.lock().unwrap_or_else(|e| e.into_inner()) = Some(kept);
        Ok(())
    }

    /// What its content is found again by.
    pub fn anchors(&self) -> Result<&Anchors> {
        if let Some(anchors) = self.anchors.get() {
            return Ok(anchors);
        }
        self.prepare(0..self.units.len())?;
        let bytes = self.units.iter().map(|unit| u64::from(unit.len)).sum();
        let (spacing, next, all) = (anchors::spacing_log(bytes), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || -> Result<()> {
            while let Some(unit) = self.units.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Ok(bytes) = self.reader.base_bytes(&unit.blob()) {
                    let mut found = Vec::new();
                    let grain = |at: usize| unit.first + u32::try_from(at / GRAIN_BYTES).unwrap_or(0);
                    anchors::scan(&bytes, spacing, |at, hash| found.push((hash, grain(at))));
                    all.lock().unwrap_or_else(|e| e.into_inner()).extend(found);
                }
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let gone = |_| Err(Error::Internal("a thread that looks for anchors panicked".into()));
            handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).fold(Ok(()), Result::and)
        })?;
        let all = all.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(self.anchors.get_or_init(|| Anchors::new(spacing, all)))
    }
}
