//! No room for temporary files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use support::days::{Shape, grain_frames};
use support::weeks::init;
use support::{PASSWORD, assert_same, identity, look, open_at, surroundings};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn options() -> OpenOptions {
        OpenOptions { identity: identity("here"), ..OpenOptions::default() }
    }

    fn open(&self) -> Repository {
        open_at(Arc::new(LocalStore::new(self.at("repo")).unwrap()), &Self::options()).unwrap()
    }

    fn day(&self, day: u64) {
        std::fs::create_dir_all(self.at("source")).unwrap();
        Shape { daily: 300, edited: 100, ..Shape::default() }.write(&self.at("source/chat.db"), day);
    }

    /// A process with little memory for what it weaves.
    fn work(&self, temp: &Path, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.env("TMPDIR", temp).env("WORKER_SPOOL_BYTES", "65536").args(words).output().unwrap()
    }

    fn snapshot(&self, temp: &Path) -> Output {
        let paths = [self.at("repo"), self.at("cache"), self.at("source")];
        let [repo, cache, source] = paths.each_ref().map(|path| path.to_str().unwrap());
        self.work(temp, &["snapshot", repo, cache, source])
    }
}

#[test]
fn a_snapshot_costs_more_and_a_restore_says_why() {
    let scene = Scene { dir: tempfile::tempdir().unwrap() };
    let store = Arc::new(LocalStore::new(scene.at("repo")).unwrap());
    Repository::init(store, PASSWORD, &init(), &Scene::options(), surroundings()).unwrap();
    let (room, none) = (scene.at(""), scene.at("nowhere"));
    let mut states = Vec::new();
    let mut differences = Vec::new();
    for (day, temp) in [(0, &room), (1, &room), (2, &none), (3, &room)] {
        scene.day(day);
        let output = scene.snapshot(temp);
        assert!(output.status.success(), "day {day}: {}", String::from_utf8_lossy(&output.stderr));
        states.push(look(&scene.at("source")));
        differences.push(grain_frames(&scene.open()).len());
    }
    assert!(differences[0] == 0 && differences[1] > 0, "{differences:?}");
    assert_eq!(differences[1], differences[2], "what changed is stored alone");
    assert!(differences[3] > differences[2], "{differences:?}");
    let repo = scene.open();
    let ids = repo.ledger(true).unwrap().committed();
    for (id, state) in ids.iter().zip(&states) {
        assert_same(&repo, *id, &scene.at("source"), state);
    }
    let (from, to) = (scene.at("repo"), scene.at("back"));
    let (id, path) = (ids[1].to_hex(), scene.at("source"));
    let [from, path, to] = [from, path, to].map(|path| path.to_str().unwrap().to_owned());
    let restore = |temp: &Path| scene.work(temp, &["restore", &from, &id, &path, &to, "1000000"]);
    let output = restore(&none);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("temporary files in"), "{words}");
    assert!(words.contains("nowhere"), "{words}");
    assert!(restore(&room).status.success());
    assert!(std::fs::read(scene.at("back/chat.db")).unwrap().len() > 1 << 20);
}
