//! The index in sled: key = blob kind, id, pack number; value = the place. What a frame is decoded against
//! stands beside it, once for all its blobs: key = pack number, offset; value = edges and blobs.
//!
//! sled panics on some damaged files, so every call goes through [`guarded`]; whatever
//! happens there, the caller builds another index from the sealed objects. Several copies
//! of one blob have keys side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::bytes::{Put, Take};
use crate::format::frame::{BLOB_LEN, EDGE_LEN, Edge, FrameBlob, FrameRecord};
use crate::format::index::IndexedPack;
use crate::id::{BlobId, BlobRef};
use crate::repo::index::inventory::key;
use crate::repo::index::{Lookup, PackNumber, Place};

/// sled's own cache.
const CACHE_BYTES: u64 = 24 << 20;
/// Entries of one batch.
const BATCH: usize = 8192;
const COUNT_KEY: &[u8] = b"entries";

/// The sled database of one repository.
pub struct DiskIndex {
    db: sled::Db,
    blobs: sled::Tree,
    /// Frames that have edges.
    frames: sled::Tree,
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
            Ok(disk)
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
            Ok(Self { db, blobs, frames })
        })
    }
}

fn encode_place(place: &Place) -> Vec<u8> {
    let mut put = Put::with_capacity(24);
    put.u32(place.offset).u32(place.stored_len).u32(place.plain_len);
    put.u8(place.encoding).u8(place.codec_version).u8(place.height);
    put.u32(place.blob_offset).u32(place.blob_len);
    put.0
}

fn decode_place(key: &[u8], value: &[u8]) -> Option<Place> {
    let pack = PackNumber::from_be_bytes(key.get(33..)?.try_into().ok()?);
    let mut take = Take(value);
    Some(Place {
        pack,
        offset: take.u32().ok()?,
        stored_len: take.u32().ok()?,
        plain_len: take.u32().ok()?,
        encoding: take.u8().ok()?,
        codec_version: take.u8().ok()?,
        height: take.u8().ok()?,
        blob_offset: take.u32().ok()?,
        blob_len: take.u32().ok()?,
        edges: Vec::new(),
    })
    .filter(|_| take.0.is_empty())
}

fn frame_key(pack: PackNumber, offset: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&pack.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn encode_frame(frame: &FrameRecord) -> Vec<u8> {
    let mut put = Put::with_capacity(1 + frame.edges.len() * EDGE_LEN + frame.blobs.len() * BLOB_LEN);
    put.u8(u8::try_from(frame.edges.len()).unwrap_or(u8::MAX));
    for edge in &frame.edges {
        put.u8(edge.how).u8(edge.kind).bytes(edge.id.as_bytes());
    }
    for blob in &frame.blobs {
        put.u8(blob.kind).u32(blob.len).bytes(blob.id.as_bytes());
    }
    put.0
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
        let value = self.frames.get(frame_key(place.pack, place.offset))?;
        value.and_then(|value| decode_frame(&value)).ok_or_else(broken)
    }

    fn apply(&self, tree: &sled::Tree, mut rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        rows.sort_unstable();
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut batch = sled::Batch::default();
            rows.by_ref().take(BATCH).for_each(|(key, value)| batch.insert(key, value));
            guarded(|| tree.apply_batch(batch))?;
        }
        Ok(())
    }
}

impl Lookup for DiskIndex {
    fn places(&mut self, blob: &BlobRef) -> Result<Vec<Place>> {
        let key = key(blob.kind as u8, &blob.id);
        guarded(|| {
            self.blobs
                .scan_prefix(key)
                .map(|pair| {
                    let (key, value) = pair?;
                    let mut place = decode_place(&key, &value).ok_or_else(broken)?;
                    if place.height > 0 {
                        place.edges = self.frame(&place)?.0;
                    }
                    Ok(place)
                })
                .collect()
        })
    }

    fn blobs_at(&mut self, place: &Place) -> Result<Vec<FrameBlob>> {
        guarded(|| self.frame(place)).map(|(_, blobs)| blobs)
    }

    fn insert(&mut self, packs: &[(PackNumber, &IndexedPack)]) -> Result<()> {
        let (mut rows, mut frames) = (Vec::new(), Vec::new());
        for (pack, frame) in packs.iter().flat_map(|(n, pack)| pack.frames.iter().map(move |f| (*n, f))) {
            if !frame.edges.is_empty() {
                frames.push((frame_key(pack, frame.offset).to_vec(), encode_frame(frame)));
            }
            let mut blob_offset = 0;
            for blob in &frame.blobs {
                let mut row_key = key(blob.kind, &blob.id).to_vec();
                row_key.extend_from_slice(&pack.to_be_bytes());
                let place = Place {
                    pack,
                    offset: frame.offset,
                    stored_len: frame.stored_len,
                    plain_len: frame.plain_len,
                    encoding: frame.encoding,
                    codec_version: frame.codec_version,
                    height: frame.height,
                    blob_offset,
                    blob_len: blob.len,
                    edges: Vec::new(),
                };
                rows.push((row_key, encode_place(&place)));
                blob_offset += blob.len;
            }
        }
        let count = rows.len() as u64;
        self.apply(&self.frames, frames)?;
        self.apply(&self.blobs, rows)?;
        guarded(|| {
            let before =
                self.db.get(COUNT_KEY)?.and_then(|v| Some(u64::from_le_bytes(v.as_ref().try_into().ok()?)));
            self.db.insert(COUNT_KEY, &(before.unwrap_or(0) + count).to_le_bytes()).map(drop)
        })
    }

    fn flush(&mut self) -> Result<()> {
        guarded(|| self.db.flush()).map(drop)
    }
}
