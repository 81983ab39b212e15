//! Large blocks of memory in large pages.
//!
//! Packs, windows, databases' spools and the memory of a key derivation are a few blocks of megabytes each, gone through from
//! end to end again and again: in pages of 4 KiB that is a fault for each the first time and a miss of the address
//! cache for each every time. Where the system gives large pages to those who ask (Linux: `transparent_hugepage` is `madvise` or
//! `always`), such a block asks; where it does not, all is as it was.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// Shorter blocks do not ask: large pages have 2 MiB, and of this one at least lies whole in the block.
const LEAST_BYTES: usize = 4 << 20;

/// The system's allocator; what it gives of [`LEAST_BYTES`] and more may be in large pages.
pub struct LargePages;

// SAFETY: every block comes from `System`, with the layout that was asked for, and goes back to it; between that, only
// advice is given about it, which changes no byte.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller promised.
        let block = unsafe { System.alloc(layout) };
        ask(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller promised.
        let block = unsafe { System.alloc_zeroed(layout) };
        ask(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: what the caller promised; `block` came from `System`.
        let block = unsafe { System.realloc(block, layout, size) };
        ask(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: what the caller promised; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Asks for large pages. Refused, nothing is different.
fn ask(block: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    if size >= LEAST_BYTES && !block.is_null() {
        // All of the block's pages: a mapping of which only a part was advised falls apart, and could not be grown in its place.
        // SAFETY: asks for a number; the advice is about pages of this process, from the beginning of one, and large or not
        // they hold the same bytes, those of neighbours on the first and the last too.
        unsafe {
            let page_bytes = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(1).max(1);
            let before = block.addr() % page_bytes;
            libc::madvise(block.sub(before).cast(), before + size, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (block, size);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the system notes of the mapping that a block lies in.
    #[cfg(target_os = "linux")]
    fn flags(block: *const u8) -> String {
        let (mut holds, maps) = (false, std::fs::read_to_string("/proc/self/smaps").unwrap());
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                holds = (from..to).contains(&block.addr());
            } else if let (true, Some(flags)) = (holds, line.strip_prefix("VmFlags:")) {
                return flags.to_owned();
            }
        }
        panic!("a block that lies nowhere");
    }

    #[test]
    fn a_large_block_asks_and_keeps_what_is_in_it() {
        let before = Layout::from_size_align(LEAST_BYTES - 1, 1).unwrap();
        let after = Layout::from_size_align(3 * LEAST_BYTES, 1).unwrap();
        // SAFETY: layouts are not empty; each block is used within its length and given back with its layout.
        unsafe {
            let block = LargePages.alloc_zeroed(before);
            assert!((0..before.size()).step_by(999).all(|at| *block.add(at) == 0));
            (0..before.size()).for_each(|at| *block.add(at) = at as u8);
            let block = LargePages.realloc(block, before, after.size());
            assert!((0..before.size()).all(|at| *block.add(at) == at as u8));
            block.add(before.size()).write_bytes(1, after.size() - before.size());
            #[cfg(target_os = "linux")]
            {
                // Where the system has large pages at all.
                let known = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
                assert!(!known || flags(block.add(LEAST_BYTES)).contains(" hg"), "{}", flags(block));
            }
            LargePages.dealloc(block, after);
        }
    }
}
