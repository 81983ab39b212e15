//! Where a file has data and where holes.
//!
//! Asked only of files that take less space than they are long. The answer
//! tiles `0..size`. In doubt everything is data: a hole said to be data costs a
//! read of zeros, data said to be a hole would be lost.

use std::os::fd::AsFd;

use super::file_system::FileSystem;
use super::stat::Stat;

/// A smaller hole is read as zeros: it saves less than its entry and the cuts around it cost.
pub const HOLE_MIN_BYTES: u64 = 64 << 10;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// To be read.
    Data {
        /// Its first byte.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// Zeros that take no space.
    Hole {
        /// Its first byte.
        offset: u64,
        /// Its length.
        len: u64,
    },
}

impl Segment {
    /// Its first byte.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Data { offset, .. } | Self::Hole { offset, .. } => *offset,
        }
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data { len, .. } | Self::Hole { len, .. } => *len,
        }
    }

    /// Never: there are no empty segments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Segments of an open file of which `stat` was taken; none if it is empty.
pub(super) fn segments(file: impl AsFd, stat: &Stat) -> Vec<Segment> {
    let size = stat.size;
    if stat.allocated_bytes < size && FileSystem::of(file.as_fd()) != FileSystem::Zfs {
        tile(size, |offset| next_data(file.as_fd(), offset))
    } else {
        tile(size, |_| Some((0, size)))
    }
}

/// Makes tiles of what `next` says: the first stretch of data that ends behind an
/// offset, or `None` if there is none before `size`.
fn tile(size: u64, mut next: impl FnMut(u64) -> Option<(u64, u64)>) -> Vec<Segment> {
    let mut out = Vec::new();
    // Data found and not given out yet, as holes behind it may be too small to count.
    let (mut start, mut end) = (0, 0);
    while end < size {
        let (from, to) = next(end).unwrap_or((size, size));
        let (from, to) = (from.clamp(end, size), to.clamp(end, size));
        if from - end >= HOLE_MIN_BYTES {
            if end > start {
                out.push(Segment::Data { offset: start, len: end - start });
            }
            out.push(Segment::Hole { offset: end, len: from - end });
            start = from;
        }
        // No progress would mean that the file system contradicts itself.
        end = if to > end { to } else { size };
    }
    if end > start {
        out.push(Segment::Data { offset: start, len: end - start });
    }
    out
}

#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd", target_os = "dragonfly"))]
fn next_data(file: impl AsFd, offset: u64) -> Option<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    match seek(&file, SeekFrom::Data(offset)) {
        Ok(from) => Some((from, seek(&file, SeekFrom::Hole(from)).unwrap_or(u64::MAX))),
        Err(Errno::NXIO) => None,
        Err(_) => Some((offset, u64::MAX)),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd", target_os = "dragonfly")))]
fn next_data(_file: impl AsFd, offset: u64) -> Option<(u64, u64)> {
    Some((offset, u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const K64: u64 = HOLE_MIN_BYTES;

    fn tiles(size: u64, data: &[(u64, u64)]) -> Vec<Segment> {
        let out = tile(size, |offset| data.iter().copied().find(|(_, to)| *to > offset));
        let mut at = 0;
        for s in &out {
            assert_eq!(s.offset(), at);
            assert!(!s.is_empty());
            at += s.len();
        }
        assert_eq!(at, size);
        out
    }

    #[test]
    fn tiles_cover_all() {
        use Segment::{Data, Hole};
        assert_eq!(tiles(0, &[]), []);
        assert_eq!(tiles(9 * K64, &[]), [Hole { offset: 0, len: 9 * K64 }]);
        assert_eq!(tiles(10, &[]), [Data { offset: 0, len: 10 }], "too small to be a hole");
        assert_eq!(tiles(K64, &[(0, u64::MAX)]), [Data { offset: 0, len: K64 }]);
        assert_eq!(
            tiles(5 * K64 + 1, &[(K64, 2 * K64), (2 * K64 + 10, 3 * K64), (5 * K64, 6 * K64)]),
            [
                Hole { offset: 0, len: K64 },
                Data { offset: K64, len: 2 * K64 },
                Hole { offset: 3 * K64, len: 2 * K64 },
                Data { offset: 5 * K64, len: 1 },
            ]
        );
    }

    #[test]
    fn a_sparse_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&[7; 4096], 1 << 20).unwrap();
        let stat = Stat::of(&file).unwrap();
        let found = segments(&file, &stat);
        assert_eq!(found.iter().map(Segment::len).sum::<u64>(), 4 << 20);
        if stat.allocated_bytes >= stat.size {
            return; // this file system keeps no holes
        }
        let data = found.iter().find(|s| matches!(s, Segment::Data { .. })).unwrap();
        assert!(data.offset() <= 1 << 20 && data.offset() + data.len() >= (1 << 20) + 4096);
        assert!(found.iter().any(|s| matches!(s, Segment::Hole { .. })));
    }
}
