//! How much lies below a path that is not stored: for telling people, so it is
//! cheap and bounded rather than exact.
//!
//! It does not leave the file system it starts on, opens no file, and counts a
//! file with several names once. A link to a file outside counts as that file:
//! a folder of links into a blob store is as large as the blobs.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most names looked at below one path.
pub const ENTRIES_EACH: u64 = 10_000;

/// A sum that may be a lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Everything but directories.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
    /// Was everything seen? Else the figures are lower bounds.
    pub whole: bool,
}

/// Sum over `path` and what lies below it. Looks at no more than
/// [`ENTRIES_EACH`] names and no more than `budget`, which it lowers.
pub fn measure(path: &Path, budget: &mut u64) -> Measure {
    let mut sum = Measure { files: 0, bytes: 0, whole: true };
    let mut left = ENTRIES_EACH.min(*budget);
    let start = left;
    let mut seen = HashSet::new();
    let mut device = None;
    let mut open: Vec<PathBuf> = Vec::new();
    let mut visit = |path: PathBuf, open: &mut Vec<PathBuf>, sum: &mut Measure| {
        let Ok(meta) = path.symlink_metadata() else {
            sum.whole = false;
            return;
        };
        if meta.is_dir() {
            if *device.get_or_insert(meta.dev()) == meta.dev() {
                open.push(path);
            } else {
                sum.whole = false;
            }
            return;
        }
        sum.files += 1;
        // What a link leads to; one that leads nowhere or to a directory counts as nothing.
        let file = if meta.is_symlink() { path.metadata().ok() } else { Some(meta) };
        if let Some(file) = file.filter(|m| m.is_file())
            && seen.insert((file.dev(), file.ino()))
        {
            sum.bytes = sum.bytes.saturating_add(file.len());
        }
    };
    visit(path.to_owned(), &mut open, &mut sum);
    'all: while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            sum.whole = false;
            continue;
        };
        for entry in entries {
            if left == 0 {
                sum.whole = false;
                break 'all;
            }
            left -= 1;
            match entry {
                Ok(entry) => visit(entry.path(), &mut open, &mut sum),
                Err(_) => sum.whole = false,
            }
        }
    }
    *budget -= start - left;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_to_blobs_count_as_the_blobs_once() {
        let dir = tempfile::tempdir().unwrap();
        let rev = dir.path().join("rev");
        fs::create_dir(&rev).unwrap();
        fs::File::create(dir.path().join("blob")).unwrap().set_len(1000).unwrap();
        std::os::unix::fs::symlink("../blob", rev.join("a")).unwrap();
        std::os::unix::fs::symlink("../blob", rev.join("b")).unwrap();
        std::os::unix::fs::symlink("nowhere", rev.join("c")).unwrap();
        let mut budget = 100;
        assert_eq!(measure(&rev, &mut budget), Measure { files: 3, bytes: 1000, whole: true });
        assert_eq!(budget, 97);
        let mut budget = 2;
        assert!(!measure(&rev, &mut budget).whole);
        assert_eq!(budget, 0);
    }
}
