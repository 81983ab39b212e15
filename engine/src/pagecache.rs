//! What is read once leaves no trace in the system's page cache.
//!
//! A snapshot reads files that others work with. A page that was in memory before is somebody's: it stays. One
//! that came only because it was read here goes again, so that a large model on its way to the
//! repository does not push a serving one out of memory.
//!
//! By windows of [`WINDOW_BYTES`]: before a window is read it is looked at, and those after it as
//! well, since the system reads ahead; once the reader has moved on, what was not there before is given
//! back. What is read out of turn ([`Passing::aside`]) is looked at and given back by itself. A page that another process maps meanwhile is kept by the system. Where it cannot be told what
//! is in memory (somebody else's file, no such call), all counts as being there. Memory: the ranges of
//! a few windows.
//!
//! Cost: one call for 8 MiB that are in memory, four for others, some hundredth of the time in which they are read from memory.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use memmap2::MmapOptions;

/// Files at least this long are watched.
pub const LEAST_BYTES: u64 = 4 << 20;
/// Looked at and given back at a time.
pub const WINDOW_BYTES: u64 = 8 << 20;
/// Windows looked at beyond the one at hand. A system that was told that a file is read in sequence reads up to
/// twice the device's `read_ahead_kb` ahead, and begins anew before it is there; 8 MiB is a large one.
const AHEAD: u64 = 6;

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
        for window in (range.start / WINDOW_BYTES).max(self.done)..=last + AHEAD {
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

    /// Reads bytes of `range` out of turn, by `read` and not through a mapping: the pass goes on as if nothing had been read.
    pub fn aside<T>(file: &File, size: u64, range: Range<u64>, read: impl FnOnce() -> T) -> T {
        let mut looked = Self::default();
        looked.before(file, size, range);
        let made = read();
        looked.finish(file);
        made
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
    let Some(page) = page_bytes() else { return Vec::new() };
    let Ok(len) = usize::try_from(range.end - range.start) else { return Vec::new() };
    if len == 0 || resident(file, &range) == Some(len.div_ceil(page) as u64) {
        return Vec::new();
    }
    absent_by_pages(file, &range, len, page)
}

/// As [`absent`], of `len` bytes, page by page of so many.
#[cfg(target_os = "linux")]
fn absent_by_pages(file: &File, range: &Range<u64>, len: usize, page: usize) -> Vec<Range<u64>> {
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

#[cfg(target_os = "linux")]
fn page_bytes() -> Option<usize> {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| *page > 0)
}

/// How many pages of `range` are in memory, by `cachestat` (Linux 6.5): a count only, but told folio by folio, without
/// a mapping, in less than half of `mincore`'s time. Pages that are still being read in count, too. `None` where the system does not tell.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn resident(file: &File, range: &Range<u64>) -> Option<u64> {
    use std::os::fd::AsRawFd;
    /// The same number wherever calls are numbered alike, as on these two.
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Stretch {
        offset: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Counts {
        cached: u64,
        dirty: u64,
        written_back: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let stretch = Stretch { offset: range.start, len: range.end - range.start };
    let mut counts = Counts::default();
    // SAFETY: both structures are laid out as the system has them and outlive the call, which reads the first and
    // writes the second. A system without the call answers ENOSYS.
    let told = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const stretch,
            &raw mut counts,
            libc::c_uint::default(),
        )
    };
    (told == 0).then_some(counts.cached)
}

#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn resident(_file: &File, _range: &Range<u64>) -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
pub fn absent(_file: &File, _range: Range<u64>) -> Vec<Range<u64>> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn give_back(file: &File, ranges: impl IntoIterator<Item = Range<u64>>) {
    for range in ranges {
        let len = std::num::NonZeroU64::new(range.end - range.start);
        // Only advice: what it is worth does not depend on being taken.
        let _ = rustix::fs::fadvise(file, range.start, len, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn give_back(_file: &File, _ranges: impl IntoIterator<Item = Range<u64>>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    /// A file of which nothing is in memory; `None` where the file system keeps it there (tmpfs).
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn cold(len: u64) -> Option<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let piece: Vec<u8> = (0..MIB).map(|i| (i % 251) as u8).collect();
        (0..len.div_ceil(MIB)).for_each(|_| file.write_all(&piece).unwrap());
        file.as_file().set_len(len).unwrap();
        file.as_file().sync_all().unwrap();
        // To the end, whatever that is: a page that was written is part of a folio that may reach far behind it.
        let _ = rustix::fs::fadvise(file.as_file(), 0, None, rustix::fs::Advice::DontNeed);
        let gone = bytes(&by_pages(file.as_file(), 0..len));
        if gone == 0 {
            eprintln!("skipped: this file system keeps its files in memory");
        }
        (gone > 0).then_some(file)
    }

    fn by_pages(file: &File, range: Range<u64>) -> Vec<Range<u64>> {
        let len = usize::try_from(range.end - range.start).unwrap();
        absent_by_pages(file, &range, len, page_bytes().unwrap())
    }

    fn bytes(ranges: &[Range<u64>]) -> u64 {
        ranges.iter().map(|range| range.end - range.start).sum()
    }

    fn read(file: &File, range: Range<u64>) {
        let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap()];
        file.read_exact_at(&mut buffer, range.start).unwrap();
    }

    /// Reads all of it in steps that fit no window.
    fn pass(file: &File, len: u64) {
        let mut passing = Passing::default();
        let mut at = 0;
        while at < len {
            let end = (at + 5 * MIB + 17).min(len);
            passing.before(file, len, at..end);
            read(file, at..end);
            passing.after(file, end);
            at = end;
        }
        passing.finish(file);
    }

    /// The same, with looks ahead and back on the way.
    fn pass_with_looks(file: &File, len: u64) {
        let mut passing = Passing::default();
        let step = 5 * MIB + 17;
        for (number, at) in (0..len).step_by(usize::try_from(step).unwrap()).enumerate() {
            let end = (at + step).min(len);
            passing.before(file, len, at..end);
            read(file, at..end);
            passing.after(file, end);
            let eighths = (1..8).map(|n| len / 8 * n).filter(|_| number < 2);
            for from in eighths {
                let piece = from..from + 48 * 1024;
                Passing::aside(file, len, piece.clone(), || read(file, piece));
            }
        }
        passing.finish(file);
    }

    #[test]
    fn what_is_read_out_of_turn_is_not_there_afterwards_and_hides_nothing() {
        let len = 90 * MIB + 5000;
        one_of_ten(len, |file| {
            pass_with_looks(file, len);
            same("bytes left in memory", len.saturating_sub(bytes(&absent(file, 0..len))), 0)
        });
    }

    #[test]
    fn what_is_read_out_of_turn_and_was_in_memory_stays() {
        let len = 24 * MIB;
        one_of_ten(len, |file| {
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
            read(file, 9 * MIB..10 * MIB);
            let before = absent(file, 0..len);
            Passing::aside(file, len, 8 * MIB..12 * MIB, || read(file, 8 * MIB..12 * MIB));
            same("what is not in memory", absent(file, 0..len), before)
        });
    }

    /// The system takes pages away, and holds some to do so, whenever it likes, under the test's eyes too: what is
    /// seen has to be right in one of ten passes. A fault of ours is there in each.
    fn one_of_ten(len: u64, seen_right: impl Fn(&File) -> Result<(), String>) {
        let mut found = Vec::new();
        while found.len() < 10 {
            let Some(file) = cold(len) else { return };
            match seen_right(file.as_file()) {
                Ok(()) => return,
                Err(wrong) => found.push(wrong),
            }
        }
        panic!("never right: {found:#?}");
    }

    fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, right: T) -> Result<(), String> {
        if seen == right { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {right:?}")) }
    }

    #[test]
    fn what_was_not_in_memory_is_not_there_afterwards() {
        let len = 41 * MIB + 5000;
        one_of_ten(len, |file| {
            pass(file, len);
            same("bytes left in memory", len.saturating_sub(bytes(&absent(file, 0..len))), 0)?;
            // The same without: else nothing was shown.
            read(file, 0..len);
            same("bytes not read into memory", bytes(&absent(file, 0..len)), 0)
        });
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn what_is_resident_is_counted_as_what_is_absent() {
        let len = 5 * MIB + 5000;
        one_of_ten(len, |file| {
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
            let Some(none) = resident(file, &(0..len)) else {
                eprintln!("skipped: this system has no cachestat");
                return Ok(());
            };
            same("nothing", none, 0)?;
            read(file, MIB..2 * MIB);
            let page = page_bytes().unwrap() as u64;
            for range in [0..len, MIB..2 * MIB, 0..MIB, MIB..len] {
                let pages = (range.end - range.start).div_ceil(page);
                let there = pages - bytes(&by_pages(file, range.clone())) / page;
                same(&format!("{range:?}"), resident(file, &range), Some(there))?;
            }
            read(file, 0..len);
            same("all", resident(file, &(0..len)), Some(len.div_ceil(page)))
        });
    }

    #[test]
    fn what_was_in_memory_stays() {
        let len = 24 * MIB;
        one_of_ten(len, |file| {
            // Random, so that little is read ahead.
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
            let used = [0..MIB, 9 * MIB..10 * MIB, 23 * MIB..len];
            used.iter().for_each(|range| read(file, range.clone()));
            let before = absent(file, 0..len);
            pass(file, len);
            for range in &used {
                same(&format!("{range:?} was in use"), absent(file, range.clone()), Vec::new())?;
            }
            same("what is not in memory", absent(file, 0..len), before)
        });
    }
}
