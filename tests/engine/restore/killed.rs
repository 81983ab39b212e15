//! A restoring process that is killed: the next run fetches little of what was there already.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::restore::{self, RestoreOptions, RestoreReport};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast::store::record::RecordStore;
use support::{PASSWORD, bytes, identity, look, of, open_at, put, surroundings, tiny};

const MIB: u64 = 1 << 20;

struct Scene {
    _keep: tempfile::TempDir,
    repo: PathBuf,
    source: PathBuf,
    target: PathBuf,
    id: SnapshotId,
}

impl Scene {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let (keep, top) = crate::build::place();
        let (repo, source, target) = (top.join("repo"), top.join("source"), top.join("target"));
        files.iter().for_each(|(name, content)| put(source.join(name), content));
        let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
        let store = Arc::new(LocalStore::new(&repo).unwrap());
        let opened = Repository::init(store, PASSWORD, &tiny(), &options, surroundings()).unwrap();
        let id = snapshot::run(&opened, &of(&source), &Silent).unwrap().snapshot.unwrap();
        Self { _keep: keep, repo, source, target, id }
    }

    /// By a process that is killed when it says something for the `number`-th time.
    fn kill(&self, number: u64, how: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg("restore").arg(&self.repo).arg(self.id.to_string());
        command.args([&self.source, &self.target]).arg(number.to_string()).args(how);
        let ended = command.status().unwrap();
        assert_eq!(ended.signal(), Some(9), "{ended:?}");
    }

    /// To the end; with the bytes of packs that were read.
    fn go_on(&self, in_place: bool) -> (RestoreReport, u64) {
        let store = Arc::new(RecordStore::new(Arc::new(LocalStore::new(&self.repo).unwrap())));
        let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
        let repo = open_at(store.clone(), &options).unwrap();
        let path = Some(self.source.as_os_str().as_encoded_bytes().to_vec());
        let options = RestoreOptions { path, in_place, ..RestoreOptions::new(self.id, self.target.clone()) };
        let report = restore::run(&repo, &options, &Silent).unwrap();
        assert_eq!(report.problems, []);
        let read =
            store.calls().iter().filter(|c| c.call.kind == Some(ObjectKind::Pack)).map(|c| c.bytes).sum();
        self.compare();
        (report, read)
    }

    fn compare(&self) {
        let relative = |top: &Path| {
            let seen = look(top).into_iter().filter(|(path, _)| path != top);
            let content = |(path, seen): (PathBuf, support::Seen)| {
                (path.strip_prefix(top).unwrap().to_owned(), (seen.kind, seen.content, seen.mtime, seen.mode))
            };
            seen.map(content).collect::<Vec<_>>()
        };
        assert_eq!(relative(&self.source), relative(&self.target));
    }
}

/// Chunks are some 4 KiB here, and each is a step.
#[test]
fn of_one_huge_file_only_the_rest_is_fetched() {
    let scene = Scene::new(&[("huge", bytes(1, 24 << 20))]);
    scene.kill(3500, &[]);
    assert!(!scene.target.join("huge").exists(), "half a file never has its name");
    scene.kill(1000, &[]);
    let (report, read) = scene.go_on(false);
    assert!(report.bytes_resumed > 12 * MIB, "{report:?}");
    assert_eq!(report.bytes + report.bytes_resumed, 24 * MIB);
    assert!(read < report.bytes * 2 + 4 * MIB, "{read} bytes read for {}", report.bytes);
}

#[test]
fn of_many_files_only_the_rest_is_fetched() {
    let files: Vec<_> = (0..300).map(|n| (format!("d{}/f{n:03}", n / 100), bytes(n, 60_000))).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (&name[..], content.clone())).collect();
    let scene = Scene::new(&files);
    scene.kill(3000, &[]);
    let (report, read) = scene.go_on(false);
    assert!(report.files_skipped > 150, "{report:?}");
    assert_eq!(report.files_skipped + report.files, 300);
    assert!(read < report.bytes * 2 + 4 * MIB, "{read} bytes read for {}", report.bytes);
}

#[test]
fn in_place_too() {
    let scene = Scene::new(&[("huge", bytes(1, 24 << 20)), ("small", bytes(2, 100_000))]);
    let mut old = bytes(1, 26 << 20);
    old[..20 << 20].reverse();
    put(scene.target.join("huge"), &old);
    scene.kill(3500, &["in-place"]);
    assert_eq!(std::fs::metadata(scene.target.join("huge")).unwrap().len(), 24 * MIB);
    scene.kill(1500, &["in-place"]);
    let (report, read) = scene.go_on(true);
    assert!(report.bytes_reused > 16 * MIB, "{report:?}");
    assert!(read < report.bytes * 2 + 4 * MIB, "{read} bytes read for {}", report.bytes);
    let names = std::fs::read_dir(&scene.target).unwrap().count();
    assert_eq!(names, 2, "no temporary file was ever needed");
}
