//! Real processes on a repository in a directory: stopped and continued, held for dead, killed. What
//! was committed stays whole, and the next run succeeds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ballast::id::SnapshotId;
use ballast::op::{prune, snapshot};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use rustix::process::{Pid, Signal, kill_process};
use support::days::{Shape, grain_frames};
use support::world::{all, fast_temp, forget};
use support::{PASSWORD, Seen, assert_same, bytes, identity, look, of, open_at, put, surroundings, tiny};

struct Scene {
    _dir: tempfile::TempDir,
    repo: PathBuf,
    cache: PathBuf,
    source: PathBuf,
    known: BTreeMap<SnapshotId, BTreeMap<PathBuf, Seen>>,
    usual: Duration,
}

impl Scene {
    fn new() -> Self {
        let dir = fast_temp();
        let top = dir.path().canonicalize().unwrap();
        let (repo, cache, source) = (top.join("repo"), top.join("cache"), top.join("source"));
        for n in 0..8u64 {
            put(source.join(format!("d{}/f{n}", n % 3)), &bytes(n, 90_000));
        }
        let store = Arc::new(LocalStore::new(&repo).unwrap());
        let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
        Repository::init(store, PASSWORD, &tiny(), &options, surroundings()).unwrap();
        let mut scene =
            Self { _dir: dir, repo, cache, source, known: BTreeMap::new(), usual: Duration::ZERO };
        let began = Instant::now();
        assert!(scene.spawn("snapshot").wait().unwrap().success());
        scene.usual = began.elapsed().max(Duration::from_millis(20));
        scene.learn();
        scene
    }

    fn live(&self, day: u64) {
        let shape = Shape { first: 900, daily: 30, edited: 8, deleted: 4, ..Shape::default() };
        shape.write(&self.source.join("chat.db"), day);
    }

    fn spawn(&self, verb: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg(verb).args([&self.repo, &self.cache]).stderr(Stdio::piped());
        match verb {
            "snapshot" => drop(command.arg(&self.source)),
            "forget" => drop(command.arg("0")),
            _ => {}
        }
        command.spawn().unwrap()
    }

    fn open(&self) -> Repository {
        let options = OpenOptions { identity: identity("there"), ..OpenOptions::default() };
        open_at(Arc::new(LocalStore::new(&self.repo).unwrap()), &options).unwrap()
    }

    /// Changes a third of the source, and a database as a day does.
    fn edit(&self, round: u64) {
        self.live(round);
        for n in 0..3 {
            let path = self.source.join(format!("d{n}/f{}", (round + n) % 8));
            drop(fs::remove_file(&path));
            put(path, &bytes(100 + round * 3 + n, 60_000 + (round as usize % 5) * 9000));
        }
    }

    /// A snapshot that counts and was not known is one of the source as it is now.
    fn learn(&mut self) {
        let ledger = self.open().ledger(true).unwrap();
        for id in ledger.committed() {
            self.known.entry(id).or_insert_with(|| look(&self.source));
        }
        self.known.retain(|id, _| !ledger.is_forgotten(id));
        let committed = ledger.committed();
        assert!(self.known.keys().all(|id| committed.contains(id)), "what was committed counts");
    }

    fn assert_whole(&self) {
        for (id, seen) in &self.known {
            assert_same(&self.open(), *id, &self.source, seen);
        }
    }

    fn leases(&self) -> Vec<PathBuf> {
        fs::read_dir(self.repo.join("locks")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Every lease looks as if nobody had written it for two days.
    fn lapse(&self) -> usize {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let leases = self.leases();
        leases.iter().for_each(|lease| set_back(lease, long_ago));
        leases.len()
    }

    fn moment(&self, round: u64) -> Duration {
        self.usual.mul_f64(f64::from(bytes(round, 1)[0]) / 220.0)
    }
}

fn set_back(lease: &Path, time: SystemTime) {
    if let Ok(file) = fs::File::options().write(true).open(lease) {
        file.set_modified(time).unwrap();
    }
}

/// Its words, and whether it succeeded. A panic is none of the ways to end.
fn ended(child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("panicked"), "{words}");
    (output.status.success(), words)
}

fn kills(rounds: u64) {
    let mut scene = Scene::new();
    let (mut killed, mut of_prune) = (0, 0);
    for round in 0..rounds {
        scene.edit(round);
        let verb = ["snapshot", "prune", "snapshot", "forget", "prune"][round as usize % 5];
        let mut child = scene.spawn(verb);
        std::thread::sleep(scene.moment(round));
        child.kill().unwrap();
        let (finished, _) = ended(child);
        killed += u64::from(!finished);
        of_prune += u64::from(!finished && verb == "prune");
        scene.learn();
        scene.assert_whole();
        if round % 3 == 2 {
            let report = snapshot::run(&scene.open(), &of(&scene.source), &Silent).unwrap();
            assert_eq!(report.problems, []);
            scene.learn();
            assert!(scene.known.contains_key(&report.snapshot.unwrap()));
        }
        if scene.known.len() > 4 {
            forget(&scene.open(), 0).unwrap();
            scene.learn();
        }
        if round % 5 == 4 {
            let report = prune::run(&scene.open(), &all(), &Silent).unwrap();
            assert_eq!(report.waiting_packs, 0, "{report:?}");
            scene.assert_whole();
        }
    }
    assert!(!grain_frames(&scene.open()).is_empty(), "days of the database stand on one another");
    // How many were killed in time is for the machine to say.
    assert!(killed > rounds / 4 && of_prune > 0, "{killed} of {rounds} killed, {of_prune} prunes");
}

fn stops(rounds: u64) {
    let mut scene = Scene::new();
    let (mut stopped, mut failed) = (0, 0);
    for round in 0..rounds {
        scene.edit(50 + round);
        forget(&scene.open(), 0).unwrap();
        scene.learn();
        let child = scene.spawn("snapshot");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        std::thread::sleep(scene.moment(round));
        kill_process(pid, Signal::STOP).unwrap();
        scene.learn();
        stopped += u64::from(scene.lapse() > 0);
        prune::run(&scene.open(), &all(), &Silent).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
        let (done, words) = ended(child);
        assert!(done || words.contains("relied on"), "{words}");
        failed += u64::from(!done);
        scene.learn();
        scene.assert_whole();
        if done {
            let newest = *scene.open().ledger(true).unwrap().committed().last().unwrap();
            assert_same(&scene.open(), newest, &scene.source, &look(&scene.source));
        } else {
            assert!(scene.spawn("snapshot").wait().unwrap().success());
            scene.learn();
        }
        scene.lapse();
        prune::run(&scene.open(), &all(), &Silent).unwrap();
        scene.assert_whole();
    }
    assert!(stopped > 0, "{stopped} of {rounds} stopped with a lease, {failed} gave up");
}

#[test]
fn killed_at_any_moment() {
    kills(20);
}

#[test]
fn stopped_and_held_for_dead() {
    stops(8);
}

#[test]
#[ignore = "minutes"]
fn killed_hundreds_of_times() {
    kills(200);
}

#[test]
#[ignore = "minutes"]
fn stopped_and_held_for_dead_many_times() {
    stops(80);
}
