//! What is measured against: each unit of 1 MiB with the same place of the day before as a prefix, by zstd 3.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

/// Bytes of a unit.
const UNIT_BYTES: usize = 1 << 20;

/// Bytes that `new` takes when `old` is there: nothing for a unit that is equal, else one zstd frame.
/// Without `old`, every unit alone.
pub fn same_offset(old: Option<&Path>, new: &Path) -> io::Result<u64> {
    let old = old.map(File::open).transpose()?;
    let new = File::open(new)?;
    let size = new.metadata()?.len();
    let (mut before, mut now) = (Vec::new(), Vec::new());
    let mut out = vec![0; compress_bound(UNIT_BYTES)];
    let (mut sum, mut at) = (0, 0);
    while at < size {
        read(&new, at, &mut now)?;
        before.clear();
        if let Some(old) = &old {
            read(old, at, &mut before)?;
        }
        if before != now {
            sum += compressed(&now, &before, &mut out)? as u64;
        }
        at += UNIT_BYTES as u64;
    }
    Ok(sum)
}

/// One unit; less where the file ends.
fn read(file: &File, at: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.resize(UNIT_BYTES, 0);
    let mut done = 0;
    while done < UNIT_BYTES {
        match file.read_at(&mut into[done..], at + done as u64)? {
            0 => break,
            got => done += got,
        }
    }
    into.truncate(done);
    Ok(())
}

/// Window and table cover prefix and unit together.
fn compressed(unit: &[u8], prefix: &[u8], out: &mut [u8]) -> io::Result<usize> {
    let failed = |code| io::Error::other(zstd::zstd_safe::get_error_name(code));
    let mut ctx = CCtx::create();
    for parameter in [CParameter::CompressionLevel(3), CParameter::WindowLog(21), CParameter::HashLog(20)] {
        ctx.set_parameter(parameter).map_err(failed)?;
    }
    ctx.ref_prefix(prefix).map_err(failed)?;
    ctx.compress2(out, unit).map_err(failed)
}
