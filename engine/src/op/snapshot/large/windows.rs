//! Buffers that large files are read into: as many as there are bound the memory of a snapshot.

use std::sync::{Arc, Condvar, Mutex};

/// Windows at a time.
pub const AT_A_TIME: usize = 3;

/// Room that a buffer has from the first, mostly enough for ever: what is not touched costs nothing, and one that grows
/// step by step is moved.
const ROOM_BYTES: usize = 8 << 20;

/// Buffers that windows are read into; taking one waits until one is free.
pub struct Windows {
    free: Mutex<(Vec<Vec<u8>>, usize)>,
    freed: Condvar,
}

/// A window; its buffer goes back when the last chunk of it is done.
pub struct Window {
    pub bytes: Vec<u8>,
    home: Arc<Windows>,
}

impl Windows {
    /// None in use.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { free: Mutex::new((Vec::new(), AT_A_TIME)), freed: Condvar::new() })
    }

    /// One of them, with whatever was in it.
    pub fn take(self: &Arc<Self>) -> Window {
        let mut state = self.free.lock().unwrap_or_else(|e| e.into_inner());
        while state.1 == 0 {
            state = self.freed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.1 -= 1;
        Window { bytes: state.0.pop().unwrap_or_default(), home: self.clone() }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut state = self.home.free.lock().unwrap_or_else(|e| e.into_inner());
        state.0.push(std::mem::take(&mut self.bytes));
        state.1 += 1;
        self.home.freed.notify_one();
    }
}

impl Window {
    /// Room for `len` bytes, without clearing what will be overwritten.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; len.max(ROOM_BYTES)];
        } else if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[..len]
    }
}
