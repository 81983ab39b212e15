//! Reading an open file whole, in part, or against bytes at hand, through short
//! reads and interruptions. Memory is taken only for bytes the file says it has,
//! and never beyond what the caller allows.

use std::io;

use crate::store::fs::OpenFile;

/// Steps in which a file is compared.
const COMPARE_BYTES: usize = 1 << 20;

/// The whole file, to the end that is found; `None` when it is longer than
/// `limit_bytes`. A file that grows or shrinks meanwhile is no object of ours:
/// whoever asked will find its bytes wrong.
pub(super) fn whole(file: &dyn OpenFile, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let size = file.size_bytes();
    if size > limit_bytes {
        return Ok(None);
    }
    let mut bytes = zeroed(size)?;
    let filled = fill(file, &mut bytes, 0)?;
    if filled < bytes.len() {
        bytes.truncate(filled);
        return Ok(Some(bytes));
    }
    let mut more = [0; 4096];
    loop {
        let n = read(file, &mut more, bytes.len() as u64)?;
        if n == 0 {
            return Ok(Some(bytes));
        }
        if (bytes.len() + n) as u64 > limit_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&more[..n]);
    }
}

/// Exactly `len` bytes from `offset`; `None` when the file ends before.
pub(super) fn range(file: &dyn OpenFile, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(end) = u64::try_from(len).ok().and_then(|len| offset.checked_add(len)) else { return Ok(None) };
    if end > file.size_bytes() {
        return Ok(None);
    }
    let mut bytes = zeroed(end - offset)?;
    let filled = fill(file, &mut bytes, offset)?;
    Ok((filled == len).then_some(bytes))
}

/// Fills `out` from `offset`; `false` when the file ends before.
pub(super) fn range_into(file: &dyn OpenFile, offset: u64, out: &mut [u8]) -> io::Result<bool> {
    let end = u64::try_from(out.len()).ok().and_then(|len| offset.checked_add(len));
    Ok(end.is_some_and(|end| end <= file.size_bytes()) && fill(file, out, offset)? == out.len())
}

/// Does the file hold these bytes and no more?
pub(super) fn equals(file: &dyn OpenFile, bytes: &[u8]) -> io::Result<bool> {
    if file.size_bytes() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; COMPARE_BYTES.min(bytes.len())];
    let mut offset = 0;
    for expected in bytes.chunks(COMPARE_BYTES) {
        let found = &mut buffer[..expected.len()];
        if fill(file, found, offset)? != expected.len() || found != expected {
            return Ok(false);
        }
        offset += expected.len() as u64;
    }
    Ok(true)
}

fn zeroed(len: u64) -> io::Result<Vec<u8>> {
    let too_much = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(too_much)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Reads until `out` is full or the file ends; says how far it came.
fn fill(file: &dyn OpenFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match read(file, &mut out[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn read(file: &dyn OpenFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(out, offset) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose length was one when it was opened and is another when read.
    struct Changing {
        said: u64,
        bytes: Vec<u8>,
    }

    impl OpenFile for Changing {
        fn size_bytes(&self) -> u64 {
            self.said
        }

        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.bytes.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(out.len()).min(1000);
            out[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn changing(said: u64, is: usize) -> Changing {
        Changing { said, bytes: (0..is).map(|i| i as u8).collect() }
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_read_to_its_end_within_the_limit() {
        for (said, is) in [(0, 0), (0, 9000), (5000, 5000), (5000, 100), (5000, 0), (5000, 9001)] {
            let file = changing(said, is);
            assert_eq!(whole(&file, 10_000).unwrap().unwrap(), file.bytes);
        }
        assert!(whole(&changing(5000, 9000), 8999).unwrap().is_none());
        assert!(whole(&changing(u64::MAX, 0), u64::MAX - 1).unwrap().is_none());
        assert!(whole(&changing(u64::MAX, 0), u64::MAX).is_err(), "no such memory, and no abort");
    }

    #[test]
    fn a_range_is_whole_or_not_at_all() {
        assert_eq!(range(&changing(5000, 5000), 4990, 10).unwrap().unwrap().len(), 10);
        assert!(range(&changing(5000, 4000), 3990, 20).unwrap().is_none());
        assert!(range(&changing(5000, 5000), u64::MAX, 2).unwrap().is_none());
    }

    #[test]
    fn equal_means_every_byte_and_no_more() {
        let file = changing(3 << 20, 3 << 20);
        let mut bytes = file.bytes.clone();
        assert!(equals(&file, &bytes).unwrap());
        bytes[(2 << 20) + 5] ^= 1;
        assert!(!equals(&file, &bytes).unwrap());
        assert!(!equals(&file, &bytes[..3]).unwrap());
        assert!(equals(&changing(0, 0), b"").unwrap());
    }
}
