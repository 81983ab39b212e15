//! Stored databases: proved to be whole, looked into, asked, and restored over others.
#![allow(
    clippy::disallowed_methods,
    reason = "files that are not a repository's are written as anyone would"
)]

#[path = "verify/hostile.rs"]
mod hostile;
#[path = "verify/inside.rs"]
mod inside;
#[path = "verify/over.rs"]
mod over;
#[path = "verify/proof.rs"]
mod proof;
#[path = "verify/recipe.rs"]
mod recipe;

use std::path::{Path, PathBuf};

use ballast::id::SnapshotId;
use ballast::op::snapshot::SnapshotOptions;
use ballast::source::sqlite::{CopyPlace, SqliteMode, SqliteOptions};
use support::Place;
use support::database::options;

/// The helper process.
const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A directory on a real file system, with `source` and `temp` in it.
fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["source", "temp"] {
        std::fs::create_dir(top.join(name)).unwrap();
    }
    (dir, top)
}

fn take_as(place: &Place, top: &Path, mode: SqliteMode) -> SnapshotId {
    let sqlite = SqliteOptions { mode, ..options(&top.join("temp")) };
    let asked = SnapshotOptions { sqlite, ..support::of(top.join("source")) };
    place.run(&asked).unwrap().snapshot.unwrap()
}

fn take(place: &Place, top: &Path) -> SnapshotId {
    take_as(place, top, SqliteMode::Auto)
}

fn copies(top: &Path) -> CopyPlace {
    CopyPlace::new(top.join("temp"), None)
}

/// A path of the source as it is in a snapshot.
fn inside(top: &Path, name: &str) -> Vec<u8> {
    top.join("source").join(name).into_os_string().into_encoded_bytes()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}
