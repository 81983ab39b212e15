//! This machine's own notes about a repository: a directory for each repository *and*
//! place, so that two copies of one repository never share what was learnt of one.
//!
//! ```text
//! <cache dir>/<16 digits of repository id>-<16 digits of BLAKE3 of location>/
//!   lock        held by the process that uses index/
//!   index/      sled: blob id → place
//!   catalogue   what index/ holds; its presence means that index/ was closed cleanly
//!   head        last ledger entry seen here
//!   ledger      entries that were read here, if there are many
//!   key         the key file that opened last
//! ```
//! All of it can be deleted at any time. Nothing here is ever the only copy, and every
//! failure here is a notice in the log, never the end of a run.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::format::bytes::{Put, Take};
use crate::id::{KeyId, RepoId, to_hex};
use crate::repo::ledger::Ledger;

/// The cache of one repository at one place.
#[derive(Debug, Clone)]
pub struct CacheDir {
    dir: PathBuf,
}

/// How long a lock is waited for: a process that is just being started has what its parent held, for a moment.
const LOCK_WAITS_MS: [u64; 3] = [1, 5, 20];

/// Held while this process may write `index/` and `catalogue`.
#[derive(Debug)]
pub struct CacheLock(#[allow(dead_code, reason = "dropping it releases the lock")] File);

impl CacheDir {
    /// Under `base`; nothing is created yet.
    pub fn new(base: &Path, repo: &RepoId, location: &str) -> Self {
        let place = blake3::hash(location.as_bytes());
        Self { dir: base.join(format!("{}-{}", to_hex(&repo.0[..8]), to_hex(&place.as_bytes()[..8]))) }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where sled lives.
    pub fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    fn create(&self) -> std::io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir)?;
        let tag = self.dir.with_file_name("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# Ballast's cache; safe to delete.\n";
            write_private(&tag, text.as_bytes())?;
        }
        Ok(())
    }

    /// The lock on `index/` and `catalogue`, or `None` where another process has it or
    /// the directory cannot be written.
    pub fn lock(&self) -> Option<CacheLock> {
        let open = || -> std::io::Result<File> {
            self.create()?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(self.dir.join("lock"))?;
            for wait_ms in LOCK_WAITS_MS {
                match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                    Err(rustix::io::Errno::WOULDBLOCK) => {
                        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
                    }
                    locked => return Ok(locked.map(|()| file)?),
                }
            }
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        };
        match open() {
            Ok(file) => Some(CacheLock(file)),
            Err(error) => {
                tracing::info!(dir = %self.dir.display(), %error, "cache not usable, doing without");
                None
            }
        }
    }

    /// Reads a small file of at most `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        read_limited(&self.dir.join(name), limit)
    }

    /// Replaces a small file, atomically; failure is logged.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let write = || -> std::io::Result<()> {
            self.create()?;
            // Two threads may write the same file at a time.
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let temp = self.dir.join(format!(".{name}.{}-{count}.tmp", std::process::id()));
            write_private(&temp, bytes)?;
            fs::rename(&temp, self.dir.join(name)).inspect_err(|_| drop(fs::remove_file(&temp)))
        };
        if let Err(error) = write() {
            tracing::info!(name, %error, "cache file not written");
        }
    }

    /// Removes a file; `false` if it may still be there.
    pub fn remove(&self, name: &str) -> bool {
        match fs::remove_file(self.dir.join(name)) {
            Ok(()) => File::open(&self.dir).and_then(|d| d.sync_all()).is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Notes the key file that opened.
    pub fn remember_key(&self, key: KeyId) {
        if self.read("key", 64).as_deref() != Some(key.to_hex().as_bytes()) {
            self.write("key", key.to_hex().as_bytes());
        }
    }

    /// Is `ledger` at least as long as what was seen here, and the same history?
    pub fn compare_head(&self, ledger: &Ledger) -> Result<()> {
        let Some((number, hash)) = self.read("head", 40).and_then(|bytes| {
            let mut take = Take(&bytes);
            Some((take.u64().ok()?, take.array::<32>().ok()?))
        }) else {
            return Ok(());
        };
        match ledger.hashes_at(number).map(|mut hashes| hashes.any(|h| *h == hash)) {
            None => Err(Error::RolledBack { remembered: number, found: ledger.head() }),
            Some(true) => Ok(()),
            Some(false) => Err(Error::HistoryReplaced { number }),
        }
    }

    /// Notes the last entry of `ledger`.
    pub fn remember_head(&self, ledger: &Ledger) {
        if let Some(hash) = ledger.hashes_at(ledger.head()).and_then(|mut h| h.next().copied()) {
            let mut put = Put::default();
            put.u64(ledger.head()).bytes(&hash);
            if self.read("head", 40).as_deref() != Some(&put.0[..]) {
                self.write("head", &put.0);
            }
        }
    }
}

/// The key that opened last, found before the repository is open.
pub fn remembered_key(base: &Path, repo: &RepoId, location: &str) -> Option<KeyId> {
    let bytes = CacheDir::new(base, repo, location).read("key", 64)?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}

fn read_limited(path: &Path, limit: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    drop(fs::remove_file(path));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
