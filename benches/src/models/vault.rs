//! A repository of its own for each case: what every run adds to it, and that everything comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::crypto::kdf;
use ballast::entropy::Surroundings;
use ballast::error::Result;
use ballast::id::SnapshotId;
use ballast::op::restore::{self, RestoreOptions};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast_benches::stored::{Packs, bytes_below};

/// Files of one run: path below the source directory, content.
pub type Files = Vec<(String, Vec<u8>)>;

/// What one run added.
#[derive(Debug, Clone, Copy)]
pub struct Added {
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Bytes in the repository, all of it, but for padding.
    pub stored_bytes: u64,
    /// Padding of the packs of this run.
    pub padding_bytes: u64,
}

/// A repository and the directory it takes snapshots of.
pub struct Vault {
    repo: Repository,
    place: PathBuf,
    source: PathBuf,
    target: PathBuf,
    packs: Packs,
    taken: Vec<(SnapshotId, BTreeMap<String, blake3::Hash>)>,
}

impl Vault {
    /// A new one in an empty directory, with everything as `ballast init` sets it but for a cheap
    /// key and no reserve.
    pub fn new(work: &Path) -> Result<Self> {
        let place = work.join("repository");
        let store = LocalStore::new(&place)?;
        let init = InitOptions { kdf: kdf::CHEAP, reserve_bytes: 0, ..InitOptions::default() };
        let open = OpenOptions { cache_dir: Some(work.join("cache")), ..OpenOptions::default() };
        let repo = Repository::init(Arc::new(store), b"bench", &init, &open, Surroundings::system())?;
        let (source, target) = (work.join("source"), work.join("target"));
        Ok(Self { repo, place, source, target, packs: Packs::default(), taken: Vec::new() })
    }

    /// The directory that snapshots are taken of.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Takes a snapshot of these files and nothing else.
    pub fn take(&mut self, files: &Files) -> Result<Added> {
        let before = bytes_below(&self.place);
        replace(&self.source, files);
        let options = SnapshotOptions { paths: vec![self.source.clone()], ..SnapshotOptions::default() };
        let report = snapshot::run(&self.repo, &options, &Silent)?;
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let snapshot = report.snapshot.expect("because it is no dry run");
        let hashes = files.iter().map(|(name, bytes)| (name.clone(), blake3::hash(bytes))).collect();
        self.taken.push((snapshot, hashes));
        let padding_bytes = self.packs.read_new(&self.repo)?.padding_bytes;
        Ok(Added {
            file_bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            stored_bytes: bytes_below(&self.place) - before - padding_bytes,
            padding_bytes,
        })
    }

    /// Restores every snapshot and compares every file.
    pub fn verify(&self) -> Result<()> {
        for (snapshot, hashes) in &self.taken {
            let _ = fs::remove_dir_all(&self.target);
            let options = RestoreOptions {
                path: Some(self.source.as_os_str().as_encoded_bytes().to_vec()),
                ..RestoreOptions::new(*snapshot, self.target.clone())
            };
            restore::run(&self.repo, &options, &Silent)?;
            for (name, hash) in hashes {
                let back = fs::read(self.target.join(name)).expect("because it was restored");
                assert_eq!(blake3::hash(&back), *hash, "{name} of {}", snapshot.short());
            }
        }
        Ok(())
    }
}

/// A directory with these files and nothing else.
fn replace(dir: &Path, files: &Files) {
    let _ = fs::remove_dir_all(dir);
    for (name, bytes) in files {
        let path = dir.join(name);
        let made = fs::create_dir_all(path.parent().unwrap_or(dir));
        made.and_then(|()| fs::File::create(&path))
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
