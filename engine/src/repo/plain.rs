//! The plaintext of a frame, in a buffer that goes back to a small pool: a restore would
//! otherwise take and clear fresh memory for every chunk.

use std::ops::Deref;
use std::sync::Mutex;

/// Buffers kept at most, and their bytes together.
const KEPT: usize = 8;
const KEPT_BYTES: usize = 6 << 20;
/// Smaller ones are the allocator's business.
const WORTH_KEEPING: usize = 128 << 10;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes that are overwritten whole before anyone reads them.
#[derive(Debug)]
pub struct Plain {
    buffer: Vec<u8>,
    len: usize,
}

impl Plain {
    /// With room for `len` bytes, whose content is whatever was there.
    pub fn with_room(len: usize) -> Self {
        let mut buffer = Vec::new();
        if len >= WORTH_KEEPING {
            let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
            // The tightest fit; else any, to be grown.
            let fit = (0..pool.len()).filter(|i| pool[*i].len() >= len).min_by_key(|i| pool[*i].len());
            if let Some(at) = fit.or(pool.len().checked_sub(1)) {
                buffer = pool.swap_remove(at);
            }
        }
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        Self { buffer, len }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl From<Vec<u8>> for Plain {
    fn from(buffer: Vec<u8>) -> Self {
        Self { len: buffer.len(), buffer }
    }
}

impl Deref for Plain {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.buffer.len() < WORTH_KEEPING {
            return;
        }
        let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
        let kept: usize = pool.iter().map(Vec::len).sum();
        if pool.len() < KEPT && kept + self.buffer.len() <= KEPT_BYTES {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}
