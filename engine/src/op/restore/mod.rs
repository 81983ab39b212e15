//! `restore`: files, directories and whole snapshots, bit for bit.

mod options;

pub use options::{Overwrite, RestoreOptions, RestoreReport};

use crate::error::Result;
use crate::progress::Progress;
use crate::repo::Repository;

/// Restores.
pub fn run(_repo: &Repository, _options: &RestoreOptions, _progress: &dyn Progress) -> Result<RestoreReport> {
    Err(crate::error::Error::Internal("being built".into()))
}
