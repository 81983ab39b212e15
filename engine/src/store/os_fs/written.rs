//! A new file of this machine, and how large ones get past the page cache.
//!
//! A pack is written once, flushed at once and not read again for weeks. Through the page cache it costs a copy, as many
//! pages, and what they held; so from [`LEAST_BYTES`] on it goes to the disk from the writer's memory (`O_DIRECT`), where
//! the file system says how (`statx`, Linux 6.1; not said: tmpfs, FUSE, most network ones). Decision 31.
//!
//! Invariant: what is written directly begins and ends at multiples of [`Direct::step`]. Any doubt ends it: the rest goes
//! through the page cache, and the bytes are the same either way.

use std::fs::File;
use std::io::{self, Write};

use super::flush;
use crate::store::fs::NewFile;

/// What is shorter stays in memory, where the next of frequent snapshots finds its bases.
const LEAST_BYTES: usize = 8 << 20;

/// As much is brought to a fitting address at a time: it stays in the cache of the core that copies.
const PIECE_BYTES: usize = 1 << 20;

/// A new file, open for writing.
pub(super) struct Written {
    file: File,
    direct: Option<Direct>,
    begun: bool,
}

impl Written {
    pub(super) fn new(file: File) -> Self {
        Self { file, direct: None, begun: false }
    }

    /// Whatever comes from here on goes through the page cache.
    fn end_direct(&mut self) -> io::Result<()> {
        match self.direct.take() {
            Some(_) => set_direct(&self.file, false),
            None => Ok(()),
        }
    }
}

impl NewFile for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.begun && bytes.len() >= LEAST_BYTES {
            self.direct = Direct::begin(&self.file);
        }
        self.begun = true;
        if let Some(direct) = &mut self.direct
            && bytes.len() >= direct.step
        {
            match direct.write(&mut self.file, bytes) {
                Ok(n) if n > 0 && n % direct.step == 0 => return Ok(n),
                Ok(n) => {
                    self.end_direct()?;
                    return Ok(n);
                }
                // Not in this way after all: nothing of it was written.
                Err(error) if is_misfit(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.end_direct()?;
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        flush(&self.file)
    }
}

/// How a file system wants to be written to directly.
struct Direct {
    /// Addresses in memory are multiples of it.
    address: usize,
    /// Offsets and lengths are multiples of it: of a page at least, for the page in which direct and other bytes met would
    /// have to be read first.
    step: usize,
    room: Vec<u8>,
}

impl Direct {
    #[cfg(target_os = "linux")]
    fn begin(file: &File) -> Option<Self> {
        use rustix::fs::{AtFlags, StatxFlags};
        let known = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
        let told = known.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let (address, offset) = (known.stx_dio_mem_align as usize, known.stx_dio_offset_align as usize);
        let sound = |align: usize| align.is_power_of_two() && align <= PIECE_BYTES / 4;
        if !told || !sound(address) || !sound(offset) {
            return None;
        }
        set_direct(file, true).ok()?;
        Some(Self { address, step: offset.max(4096), room: Vec::new() })
    }

    #[cfg(not(target_os = "linux"))]
    fn begin(_file: &File) -> Option<Self> {
        None
    }

    /// Some of `bytes`, which are a step long at least.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        if bytes.as_ptr().addr().is_multiple_of(self.address) {
            return file.write(&bytes[..bytes.len() / self.step * self.step]);
        }
        let len = bytes.len().min(PIECE_BYTES) / self.step * self.step;
        self.room.resize(PIECE_BYTES + self.address, 0);
        let at = self.room.as_ptr().addr().next_multiple_of(self.address) - self.room.as_ptr().addr();
        let fitting = &mut self.room[at..at + len];
        fitting.copy_from_slice(&bytes[..len]);
        file.write(fitting)
    }
}

fn is_misfit(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [libc::EINVAL, libc::EOPNOTSUPP].contains(&code))
}

#[cfg(target_os = "linux")]
fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_file: &File, _direct: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    use std::os::unix::fs::FileExt;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
    }

    fn put(file: &mut Written, mut rest: &[u8]) {
        while !rest.is_empty() {
            let n = file.write(rest).unwrap();
            rest = &rest[n..];
        }
        file.sync().unwrap();
    }

    fn back(file: &File) -> Vec<u8> {
        set_direct(file, false).unwrap();
        let mut out = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut out, 0).unwrap();
        out
    }

    #[test]
    fn any_length_at_any_address_comes_back() {
        let all = bytes(LEAST_BYTES + (3 << 20));
        for from in [0, 1, 16, 511, 4096] {
            for len in [0, 1, 511, 512, 4095, 4096, PIECE_BYTES - 1, 2 * PIECE_BYTES + 4097] {
                let part = &all[from..from + LEAST_BYTES + len];
                let mut file = Written::new(tempfile::tempfile().unwrap());
                put(&mut file, part);
                assert!(back(&file.file) == part, "from {from}, {len} more");
            }
        }
        let mut file = Written::new(tempfile::tempfile().unwrap());
        for (number, part) in all.chunks(LEAST_BYTES + 4096 + 7).enumerate() {
            put(&mut file, part);
            assert!(number == 0 || file.direct.is_none(), "what follows a part that ended anywhere");
        }
        assert!(back(&file.file) == all, "in parts");
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn large_files_leave_no_pages_and_short_ones_stay() {
        let all = bytes(2 * LEAST_BYTES);
        let absent = |len: usize| {
            let mut file = Written::new(tempfile::tempfile().unwrap());
            put(&mut file, &all[..len]);
            let of = crate::pagecache::absent(&file.file, 0..len as u64);
            of.iter().map(|range| range.end - range.start).sum::<u64>()
        };
        assert_eq!(absent(LEAST_BYTES - 1), 0);
        if Direct::begin(&tempfile::tempfile().unwrap()).is_none() {
            eprintln!("skipped: this file system does not say how to write past the page cache");
            return;
        }
        assert_eq!(absent(all.len()), all.len() as u64);
    }

    #[test]
    fn a_file_system_that_does_not_take_what_it_says_costs_nothing() {
        let all = bytes(LEAST_BYTES + 100);
        for (address, step) in [(1, 4096), (512, 513)] {
            let mut file = Written::new(tempfile::tempfile().unwrap());
            if Direct::begin(&file.file).is_some() {
                file.direct = Some(Direct { address, step, room: Vec::new() });
            }
            file.begun = true;
            put(&mut file, &all[1..]);
            assert!(file.direct.is_none());
            assert!(back(&file.file) == all[1..], "by {address} and {step}");
        }
    }
}
