//! For programs: a file or a model of a snapshot, to be read where it is, without restoring it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io::Read;
//! use std::sync::Arc;
//!
//! use ballast::entropy::Surroundings;
//! use ballast::op::open;
//! use ballast::repo::snapshots::Filter;
//! use ballast::repo::{OpenOptions, Repository};
//! use ballast::store::local::LocalStore;
//!
//! let store = Arc::new(LocalStore::new("/mnt/backup/vault")?);
//! let repo = Repository::open(store, b"password", &OpenOptions::default(), Surroundings::system())?;
//! let snapshot = repo.newest_snapshot(&repo.ledger(false)?, &Filter::default(), 0)?.id;
//!
//! let mut config = String::new();
//! open::file(&repo, snapshot, b"/srv/models/llama/config.json")?.read_to_string(&mut config)?;
//!
//! let weights = open::model(&repo, snapshot, b"/srv/models/llama")?;
//! let embedding = weights.bytes(b"model.embed_tokens.weight")?;
//! # Ok(())
//! # }
//! ```
//!
//! `engine/examples/load_model.rs` is a whole program.

use std::sync::Arc;

use crate::error::{Error, Result, printable};
use crate::id::SnapshotId;
use crate::repo::Repository;
use crate::repo::file::SnapshotFile;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::weights::Weights;

/// The file at `path` (absolute, inside the snapshot; links inside it are followed).
///
/// Each call opens the index anew: for many files of one snapshot, open a [`Reader`] once and use
/// [`lookup::resolve`] and [`SnapshotFile::open`].
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Usage`] if it is no file; those of reading.
pub fn file(repo: &Repository, snapshot: SnapshotId, path: &[u8]) -> Result<SnapshotFile> {
    let root = repo.snapshot(snapshot)?.record.root;
    let reader = Arc::new(Reader::open(repo)?);
    let found = lookup::resolve(&reader, root, path, LastLink::Follow)?;
    match found.node {
        Some(node) => SnapshotFile::open(&reader, &found.path, &node),
        None => Err(Error::Usage(format!("{} is a directory", printable(&found.path)))),
    }
}

/// The model at `path`: a file of tensors, an index of shards, or a directory that holds one of these.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Usage`] where there is no model; those of reading.
pub fn model(repo: &Repository, snapshot: SnapshotId, path: &[u8]) -> Result<Weights> {
    let root = repo.snapshot(snapshot)?.record.root;
    Weights::find(&Arc::new(Reader::open(repo)?), root, path)
}
