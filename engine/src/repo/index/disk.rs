//! The index in sled: a tree of blocks of rows, one row for each copy of a blob ([`blocks`]), and a tree of what
//! frames are decoded against, once for all blobs of a frame: key = pack number and offset of the first of a few
//! frames, value = edges and blobs of each.
//!
//! sled takes 20 to 50 µs for each entry it is given, and reads a page for each it is asked for; a block of 64 rows costs
//! as much as a row would. So rows are gathered, sorted, and merged into their blocks many at a time.
//!
//! sled panics on some damaged files, so every call goes through [`guarded`]; whatever
//! happens there, the caller builds another index from the sealed objects.
//!
//! Memory: sled's cache, and [`MOST_GATHERED`] rows of [`blocks::ROW_LEN`] bytes while it is filled.

mod blocks;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::bytes::{Put, Take};
use crate::format::frame::{Edge, FrameBlob, FrameRecord};
use crate::format::index::IndexedPack;
use crate::id::{BlobId, BlobRef};
use crate::repo::index::inventory::key;
use crate::repo::index::{Lookup, PackNumber, Place};

use blocks::{Row, row_of};

/// sled's own cache.
const CACHE_BYTES: u64 = 24 << 20;
/// Rows gathered before they are merged into their blocks, at least and at most; in between a quarter of what there
/// is, as each merge of many rows touches every block.
const LEAST_GATHERED: usize = 1 << 18;
const MOST_GATHERED: usize = 1 << 20;
/// Bytes of frames that stand together.
const GROUP_BYTES: usize = 4096;
const COUNT_KEY: &[u8] = b"entries";

/// The sled database of one repository.
pub struct DiskIndex {
    db: sled::Db,
    /// Blocks of rows.
    blobs: sled::Tree,
    /// Frames that have edges.
    frames: sled::Tree,
    /// Rows that were taken in: those in sled and those gathered.
    entries: u64,
    /// Rows that are in no block yet.
    gathered: Vec<Row>,
}

/// How long sled's own lock is waited for. Nobody else has it, as this process holds that of the cache; but threads of
/// a sled that was closed may be at their last work: on a busy machine that was seen once in a few dozen runs.
const LOCK_WAITS_MS: [u64; 4] = [1, 5, 20, 100];

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::Internal(format!("index on disk: {error}"))),
        Err(_) => Err(Error::Internal("index on disk: panicked on its own files".into())),
    }
}

impl DiskIndex {
    /// An empty one; whatever is there is removed.
    pub fn create(dir: &Path) -> Result<Self> {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(dir, e)),
            _ => {}
        }
        Self::connect(dir)
    }

    /// The one that is there; it must hold as many entries as the catalogue says.
    pub fn open(dir: &Path, entries: u64) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::Internal("index on disk: is gone".into()));
        }
        let disk = Self::connect(dir)?;
        let counted = guarded(|| disk.db.get(COUNT_KEY))?;
        if counted.as_deref() == Some(&entries.to_le_bytes()[..]) {
            Ok(Self { entries, ..disk })
        } else {
            Err(Error::Internal("index on disk: holds something else than its catalogue says".into()))
        }
    }

    fn connect(dir: &Path) -> Result<Self> {
        guarded(|| {
            let open = || {
                sled::Config::new()
                    .path(dir)
                    .cache_capacity(CACHE_BYTES)
                    .flush_every_ms(None)
                    .mode(sled::Mode::HighThroughput)
                    .open()
            };
            let mut db = open();
            for wait_ms in LOCK_WAITS_MS {
                match &db {
                    Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
                        db = open();
                    }
                    _ => break,
                }
            }
            let db = db?;
            let (blobs, frames) = (db.open_tree("blobs")?, db.open_tree("frames")?);
            Ok(Self { db, blobs, frames, entries: 0, gathered: Vec::new() })
        })
    }
}

fn frame_key(pack: PackNumber, offset: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&pack.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// A frame in a group: its offset, and the length of what follows, which is edges and blobs.
fn put_frame(group: &mut Put, frame: &FrameRecord) {
    let mut put = Put::default();
    put.u8(u8::try_from(frame.edges.len()).unwrap_or(u8::MAX));
    for edge in &frame.edges {
        put.u8(edge.how).u8(edge.kind).bytes(edge.id.as_bytes());
    }
    for blob in &frame.blobs {
        put.u8(blob.kind).u32(blob.len).bytes(blob.id.as_bytes());
    }
    group.u32(frame.offset).u32(u32::try_from(put.0.len()).unwrap_or(u32::MAX)).bytes(&put.0);
}

fn take_frame(group: &[u8], offset: u32) -> Option<(Vec<Edge>, Vec<FrameBlob>)> {
    let mut group = Take(group);
    loop {
        let (at, len) = (group.u32().ok()?, group.u32().ok()?);
        let frame = group.bytes(usize::try_from(len).ok()?).ok()?;
        if at == offset {
            return decode_frame(frame);
        }
    }
}

fn decode_frame(value: &[u8]) -> Option<(Vec<Edge>, Vec<FrameBlob>)> {
    let mut take = Take(value);
    let count = take.u8().ok()?;
    let edge = |take: &mut Take<'_>| {
        Some(Edge { how: take.u8().ok()?, kind: take.u8().ok()?, id: BlobId(take.array().ok()?) })
    };
    let edges = (0..count).map(|_| edge(&mut take)).collect::<Option<_>>()?;
    let mut blobs = Vec::new();
    while !take.0.is_empty() {
        let (kind, len) = (take.u8().ok()?, take.u32().ok()?);
        blobs.push(FrameBlob { kind, len, id: BlobId(take.array().ok()?) });
    }
    Some((edges, blobs))
}

fn broken() -> sled::Error {
    sled::Error::Unsupported("a broken entry".into())
}

impl DiskIndex {
    fn frame(&self, place: &Place) -> sled::Result<(Vec<Edge>, Vec<FrameBlob>)> {
        let group = self.frames.range(..=frame_key(place.pack, place.offset)).next_back().transpose()?;
        group.and_then(|(_, group)| take_frame(&group, place.offset)).ok_or_else(broken)
    }

    /// Frames of a pack that have edges, a few together.
    fn insert_frames(&self, number: PackNumber, pack: &IndexedPack) -> sled::Result<()> {
        let mut frames: Vec<&FrameRecord> = pack.frames.iter().filter(|f| !f.edges.is_empty()).collect();
        frames.sort_by_key(|frame| frame.offset);
        let mut frames = frames.into_iter().peekable();
        while let Some(first) = frames.peek().map(|frame| frame.offset) {
            let mut group = Put::default();
            while let Some(frame) = frames.next_if(|_| group.0.len() < GROUP_BYTES) {
                put_frame(&mut group, frame);
            }
            self.frames.insert(frame_key(number, first), group.0)?;
        }
        Ok(())
    }

    /// Brings the gathered rows into their blocks.
    fn merge(&mut self) -> Result<()> {
        let rows = blocks::in_order(std::mem::take(&mut self.gathered));
        guarded(|| {
            let mut rest = &rows[..];
            while let Some(first) = rest.first() {
                let found = self.blobs.range(..=&first[..blocks::KEY_LEN]).next_back().transpose()?;
                let (key, old) = found.unwrap_or_else(|| (blocks::LOWEST.into(), sled::IVec::default()));
                let above = (Bound::Excluded(key.clone()), Bound::Unbounded);
                let next = self.blobs.range(above).next().transpose()?;
                let own = rest.partition_point(|row| {
                    next.as_ref().is_none_or(|(next, _)| row[..blocks::KEY_LEN] < **next)
                });
                let (rows, further) = rest.split_at(own.max(1));
                rest = further;
                let merged = blocks::merged(&old, rows).ok_or_else(broken)?;
                for (at, block) in blocks::cut(&merged).enumerate() {
                    let key = if at == 0 { &key } else { &block[..blocks::KEY_LEN] };
                    self.blobs.insert(key, block)?;
                }
            }
            Ok(())
        })
    }

    /// Rows of a blob: they may go on in the next block.
    fn rows(&self, key: &[u8]) -> sled::Result<Vec<Place>> {
        let mut places = Vec::new();
        let Some((mut at, mut block)) = self.blobs.range(..=key).next_back().transpose()? else {
            return Ok(places);
        };
        while blocks::find(&block, key, &mut places).ok_or_else(broken)? {
            let Some(next) = self.blobs.range((Bound::Excluded(at), Bound::Unbounded)).next().transpose()?
            else {
                break;
            };
            (at, block) = next;
        }
        Ok(places)
    }
}

impl Lookup for DiskIndex {
    fn places(&mut self, blob: &BlobRef) -> Result<Vec<Place>> {
        if !self.gathered.is_empty() {
            self.merge()?;
        }
        let key = key(blob.kind as u8, &blob.id);
        guarded(|| {
            let mut places = self.rows(&key)?;
            for place in places.iter_mut().filter(|place| place.height > 0) {
                place.edges = self.frame(place)?.0;
            }
            Ok(places)
        })
    }

    fn blobs_at(&mut self, place: &Place) -> Result<Vec<FrameBlob>> {
        guarded(|| self.frame(place)).map(|(_, blobs)| blobs)
    }

    fn insert(&mut self, packs: &[(PackNumber, &IndexedPack)]) -> Result<()> {
        for (number, pack) in packs {
            guarded(|| self.insert_frames(*number, pack))?;
            for frame in &pack.frames {
                let mut blob_offset = 0;
                for blob in &frame.blobs {
                    self.gathered.push(row_of(*number, frame, blob, blob_offset));
                    blob_offset += blob.len;
                }
                self.entries += frame.blobs.len() as u64;
            }
            let quarter = usize::try_from(self.entries / 4).unwrap_or(MOST_GATHERED);
            if self.gathered.len() >= quarter.clamp(LEAST_GATHERED, MOST_GATHERED) {
                self.merge()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.merge()?;
        guarded(|| {
            self.db.insert(COUNT_KEY, &self.entries.to_le_bytes())?;
            self.db.flush().map(drop)
        })
    }
}
