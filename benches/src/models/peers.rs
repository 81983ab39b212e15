//! What zstd alone makes of the same files.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::vault::Files;

/// Every file through `zstd -3` alone.
pub fn zstd(work: &Path, files: &Files) -> Option<u64> {
    let mut sum = 0;
    for (_, bytes) in files {
        let path = work.join("plain");
        fs::File::create(&path).and_then(|mut f| std::io::Write::write_all(&mut f, bytes)).ok()?;
        let out = Command::new("zstd").args(["-q", "-3", "-c"]).arg(&path).output().ok()?;
        sum += out.stdout.len() as u64;
    }
    Some(sum)
}
