//! Decoded frames: kept for a while, and shared by who reads blobs of them.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::id::{BlobRef, PackId};
use crate::repo::plain::Plain;

/// A frame's plaintext, which nobody changes any more.
#[derive(Debug)]
pub struct Frame {
    pub plain: Plain,
    /// What it was found to hold from its first byte to its last: a base is wanted by several chunks
    /// that follow one another, and its id is recomputed for the first.
    pub holds: OnceLock<BlobRef>,
}

impl From<Plain> for Frame {
    fn from(plain: Plain) -> Self {
        Self { plain, holds: OnceLock::new() }
    }
}

/// The bytes of a blob: a stretch of a frame's plaintext.
#[derive(Debug, Clone)]
pub struct BlobBytes {
    pub(super) frame: Arc<Frame>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl AsRef<[u8]> for BlobBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for BlobBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.frame.plain[self.start..self.end]
    }
}

/// Pack, offset and height. The height belongs to it: where a repository lies, or is described twice
/// while it is repaired, one place may be said to hold frames of several heights; each is then only
/// waited for from above.
pub type FrameKey = (PackId, u32, u8);

/// A frame that some thread is decoding; `None` once that failed.
pub type InFlight = Arc<OnceLock<Option<Arc<Frame>>>>;

/// Frames by use, oldest out first, and those on their way.
pub struct FrameCache {
    limit_bytes: usize,
    pub in_flight: HashMap<FrameKey, InFlight>,
    frames: HashMap<FrameKey, Arc<Frame>>,
    order: VecDeque<FrameKey>,
    bytes: usize,
}

impl FrameCache {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            in_flight: HashMap::new(),
            frames: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    pub fn get(&self, key: &FrameKey) -> Option<Arc<Frame>> {
        self.frames.get(key).cloned()
    }

    pub fn put(&mut self, key: FrameKey, frame: Arc<Frame>) {
        if frame.plain.len() > self.limit_bytes / 4 || self.frames.contains_key(&key) {
            return;
        }
        self.bytes += frame.plain.len();
        self.frames.insert(key, frame);
        self.order.push_back(key);
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.frames.remove(&oldest).map_or(0, |f| f.plain.len());
        }
    }
}
