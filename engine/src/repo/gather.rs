//! Small blobs gathered for one shared frame, in the order they come.

use crate::format::MAX_FRAME_BLOBS;
use crate::format::frame::FrameBlob;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Gathering {
    /// Their plaintext, one after the other.
    pub plain: Vec<u8>,
    /// What they are.
    pub blobs: Vec<FrameBlob>,
}

impl Gathering {
    /// Adds a blob; gives what was gathered before if there is no room for it in `target_bytes`.
    pub fn add(&mut self, target_bytes: u32, plain: &[u8], blob: FrameBlob) -> Option<Self> {
        let long = self.plain.len() + plain.len() > target_bytes as usize;
        let full = !self.blobs.is_empty() && (long || self.blobs.len() == MAX_FRAME_BLOBS);
        let out = full.then(|| std::mem::take(self));
        if self.plain.capacity() == 0 {
            // Else it would be copied each time it grows.
            self.plain.reserve(plain.len().max(target_bytes as usize));
        }
        self.plain.extend_from_slice(plain);
        self.blobs.push(blob);
        out
    }

    /// Nothing gathered?
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }
}
