//! What is read once leaves no trace in the system's page cache.
//!
//! A snapshot reads files that others work with. A page that was in memory before is somebody's: it stays. One
//! that came only because it was read here goes again, so that a large model on its way to the
//! repository does not push a serving one out of memory.
//!
//! By windows of [`WINDOW_BYTES`]: before a window is read it is looked at, and the one after it as
//! well, since the system reads ahead; once the reader has moved on, what was not there before is given
//! back. A page that another process maps meanwhile is kept by the system. Where it cannot be told what
//! is in memory (somebody else's file, no such call), all counts as being there. Memory: the ranges of two windows.
//!
//! Cost: three calls for 8 MiB, some hundredth of the time in which they are read from memory.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use memmap2::MmapOptions;

/// Files at least this long are watched.
pub const LEAST_BYTES: u64 = 4 << 20;
/// Looked at and given back at a time; no system reads further ahead.
pub const WINDOW_BYTES: u64 = 8 << 20;

/// A file that is being read from front to back, once.
#[derive(Debug, Default)]
pub struct Passing {
    /// Windows looked at and not done with: what of them was not in memory.
    windows: BTreeMap<u64, Vec<Range<u64>>>,
    /// Windows before this one are done with.
    done: u64,
}

impl Passing {
    /// To be called before bytes of `range` are read.
    pub fn before(&mut self, file: &File, size: u64, range: Range<u64>) {
        let last = range.end.saturating_sub(1).max(range.start) / WINDOW_BYTES;
        for window in (range.start / WINDOW_BYTES).max(self.done)..=last + 1 {
            let start = window * WINDOW_BYTES;
            if start < size {
                let end = (start + WINDOW_BYTES).min(size);
                self.windows.entry(window).or_insert_with(|| absent(file, start..end));
            }
        }
    }

    /// To be called after bytes up to `end` were read: gives back what lies in windows before the one
    /// that was read last.
    pub fn after(&mut self, file: &File, end: u64) {
        let current = end.saturating_sub(1) / WINDOW_BYTES;
        while let Some(entry) = self.windows.first_entry().filter(|entry| *entry.key() < current) {
            self.done = entry.key() + 1;
            give_back(file, entry.remove());
        }
    }

    /// To be called at the end, when nothing of the file is mapped any more.
    pub fn finish(&mut self, file: &File) {
        while let Some((window, ranges)) = self.windows.pop_first() {
            self.done = window + 1;
            give_back(file, ranges);
        }
    }
}

/// Bytes of `range`, which begins at a page, that are not in memory, by whole pages. None where that
/// cannot be told.
#[cfg(target_os = "linux")]
pub fn absent(file: &File, range: Range<u64>) -> Vec<Range<u64>> {
    // SAFETY: asks for a constant.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return Vec::new() };
    let Ok(len) = usize::try_from(range.end - range.start) else { return Vec::new() };
    if len == 0 || page == 0 {
        return Vec::new();
    }
    // SAFETY: nothing is ever read through this mapping: it only tells the system which bytes are meant.
    let Ok(map) = (unsafe { MmapOptions::new().offset(range.start).len(len).map(file) }) else {
        return Vec::new();
    };
    let mut resident = vec![0_u8; len.div_ceil(page)];
    // SAFETY: the mapping has `len` bytes from a page's beginning, and `resident` a byte for each of its pages.
    let told = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), len, resident.as_mut_ptr().cast()) };
    if told != 0 {
        return Vec::new();
    }
    let mut found: Vec<Range<u64>> = Vec::new();
    for (number, _) in resident.iter().enumerate().filter(|(_, state)| **state & 1 == 0) {
        let start = range.start + (number * page) as u64;
        let end = start + page as u64;
        match found.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => found.push(start..end),
        }
    }
    found
}

#[cfg(not(target_os = "linux"))]
pub fn absent(_file: &File, _range: Range<u64>) -> Vec<Range<u64>> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn give_back(file: &File, ranges: Vec<Range<u64>>) {
    for range in ranges {
        let len = std::num::NonZeroU64::new(range.end - range.start);
        // Only advice: what it is worth does not depend on being taken.
        let _ = rustix::fs::fadvise(file, range.start, len, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn give_back(_file: &File, _ranges: Vec<Range<u64>>) {}
