//! A snapshot of more distinct bytes than any disk of a test machine holds, and how much
//! memory it took.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::crypto::kdf;
use ballast::op::snapshot;
use ballast::progress::Progress;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::memory::MemoryStore;

use crate::place::{PASSWORD, of, surroundings};

/// Length of one file. There are as many as it takes, but only a few at a time hold their bytes.
const FILE_BYTES: u64 = 512 << 20;

/// Largest resident set of this process so far, in bytes.
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// When a file's turn comes the next one is filled, and one that was read long ago is emptied: so
/// one session reads any number of distinct bytes from a small disk.
struct Rolling<'a> {
    dir: &'a Path,
    files: u64,
    met: AtomicU64,
}

impl Rolling<'_> {
    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:06}"))
    }
}

impl Progress for Rolling<'_> {
    fn found(&self, _files: u64, _bytes: u64) {
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        if number + 1 < self.files {
            fill(&self.path(number + 1), number + 1, FILE_BYTES);
        }
        if let Some(old) = number.checked_sub(3) {
            std::fs::File::create(self.path(old)).unwrap();
        }
    }
}

/// Fills the file at `path` with bytes of `seed`, a megabyte at a time.
fn fill(path: &Path, seed: u64, len: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut stream = hasher.finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let n = left.min(1 << 20) as usize;
        stream.fill(&mut buffer[..n]);
        file.write_all(&buffer[..n]).unwrap();
        left -= n as u64;
    }
}

/// Snapshots `total` distinct bytes in one session into a repository that forgets the bytes of
/// packs, and prints the peak.
#[allow(clippy::print_stdout, reason = "the parent process reads it")]
pub fn snapshot_of_generated_bytes(total: u64) {
    ballast::source::install_sigbus_guard().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let store = Arc::new(MemoryStore::discarding_packs());
    let init = InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() };
    let repo = Repository::init(store, PASSWORD, &init, &OpenOptions::default(), surroundings()).unwrap();
    let progress = Rolling { dir: &top, files: total.div_ceil(FILE_BYTES), met: AtomicU64::new(0) };
    (0..progress.files).for_each(|n| drop(std::fs::File::create(progress.path(n)).unwrap()));
    fill(&progress.path(0), 0, FILE_BYTES);
    let report = snapshot::run(&repo, &of(&top), &progress).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.read_bytes, progress.files * FILE_BYTES);
    assert!(report.new_bytes >= report.read_bytes, "all of it is distinct");
    println!("{}", peak_bytes());
}
