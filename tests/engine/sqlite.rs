//! Databases that others write to: every image is whole and one committed state, what belongs to the
//! source stays as it was to the last bit, and what cannot be captured is said and stored as asked.

#[path = "sqlite/captures.rs"]
mod captures;
#[path = "sqlite/readonly.rs"]
mod readonly;
#[path = "sqlite/refusals.rs"]
mod refusals;
#[path = "sqlite/service.rs"]
mod service;
#[path = "sqlite/snapshots.rs"]
mod snapshots;
#[path = "sqlite/untouched.rs"]
mod untouched;

/// The helper process.
const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// More than is captured into memory.
const LARGE: usize = 10 << 20;

/// A directory on a real file system: locks, times and shared memory are what they are there.
fn temp() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    std::fs::create_dir(top.join("source")).unwrap();
    std::fs::create_dir(top.join("temp")).unwrap();
    (dir, top)
}
