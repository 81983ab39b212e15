//! Full and failing disks: by quota at every budget, on a real small file system where one can be
//! mounted, and by calls that fail. Earlier snapshots stay whole, the word is right, and what can be
//! made room for goes on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ballast::error::{Error, Result, StoreErrorKind};
use ballast::id::ObjectKind;
use ballast::op::restore::{self, RestoreOptions};
use ballast::op::{prune, snapshot};
use ballast::progress::Silent;
use ballast::repo::reserve::{RESERVE_BYTES, Reserve};
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::call::Method;
use ballast::store::fault::{Effect, Fault, FaultStore};
use ballast::store::local::LocalStore;
use ballast::store::simfs::SimFs;
use ballast::store::{PutMode, Store};
use support::world::{Job, Verb, World, all, fast_temp, forget, on_own_threads};
use support::{PASSWORD, assert_same, bytes, identity, look, of, open_at, put, surroundings, tiny};

fn is(error: &Error, kind: StoreErrorKind) -> bool {
    matches!(error, Error::Store(error) if error.kind == kind)
}

/// Two snapshots of each host, one forgotten, and a source that has changed since.
fn world() -> Arc<World> {
    let world = World::new(0, false, Arc::default());
    for file in 0..6 {
        world.edit(usize::from(file) % 2, file, Some(file));
    }
    for verb in [Verb::Snapshot, Verb::Chain(5), Verb::Snapshot, Verb::Forget(0)] {
        world.edit(0, 1, Some(9));
        world.run(&Job::plain(0, verb));
    }
    world.edit(0, 2, Some(11));
    world
}

const VERBS: [Verb; 4] = [Verb::Snapshot, Verb::Chain(9), Verb::Forget(0), Verb::Prune];

/// Runs a verb with a fault; what stands stays whole, and without it the verb succeeds.
fn with_fault(world: &Arc<World>, verb: Verb, set: impl Fn(&FaultStore)) -> Result<()> {
    let saved = world.save();
    let fault = Arc::new(FaultStore::new(world.store.clone()));
    set(&fault);
    let done = on_own_threads(|| world.act(0, verb, &fault, fault.clone()));
    world.verify("with a fault");
    world.lapse();
    world.run(&Job::plain(0, verb));
    world.assert_tight("after a fault");
    world.reset(&saved);
    done
}

#[test]
fn full_at_every_budget() {
    let world = world();
    for verb in VERBS {
        let (mut full, mut done) = (0, 0);
        for budget in (0..40).map(|step| step * 2500) {
            match with_fault(&world, verb, |fault| fault.set_quota(Some(budget))) {
                Ok(()) => done += 1,
                Err(error) if is(&error, StoreErrorKind::Full) => full += 1,
                Err(error) => panic!("{verb:?} with {budget} bytes: {error}"),
            }
        }
        assert!(full > 0 && done > 0, "{verb:?}: {full} full, {done} done");
    }
}

#[test]
fn read_only_and_failing_calls() {
    let world = world();
    for verb in VERBS {
        let error = with_fault(&world, verb, |fault| fault.set_read_only(true)).unwrap_err();
        assert!(is(&error, StoreErrorKind::Denied), "{verb:?}: {error}");
        let mut hit = 0;
        for kind in
            [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Ledger, ObjectKind::Lease]
        {
            for method in
                [Method::Put, Method::Get, Method::GetRange, Method::List, Method::Stat, Method::Remove]
            {
                for nth in [1, 2] {
                    let fault = Fault::new(method, Effect::Fail(StoreErrorKind::Other)).on(kind).nth(nth);
                    // Some failures are made good for by another way to the same end.
                    hit += u64::from(with_fault(&world, verb, |store| store.add(fault)).is_err());
                }
            }
        }
        assert!(hit >= 4, "{verb:?}: {hit} failures ended it");
    }
}

#[test]
fn a_disk_that_is_full_and_writes_in_pieces() {
    let dir = fast_temp();
    let top = dir.path().canonicalize().unwrap();
    put(top.join("a"), &bytes(1, 90_000));
    let fs = SimFs::new();
    let open = |fs: &SimFs| {
        let store = Arc::new(LocalStore::with_fs(Arc::new(fs.clone()), "/srv/repo").unwrap());
        open_at(store, &OpenOptions::default()).unwrap()
    };
    let store = Arc::new(LocalStore::with_fs(Arc::new(fs.clone()), "/srv/repo").unwrap());
    let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
    Repository::init(store, PASSWORD, &tiny(), &options, surroundings()).unwrap();
    let first = snapshot::run(&open(&fs), &of(&top), &Silent).unwrap().snapshot.unwrap();
    let seen = look(&top);
    put(top.join("b"), &bytes(2, 200_000));
    let mut full = 0;
    for room in (0..12).map(|step| step * 30_000) {
        let fs = fs.fork();
        fs.work_in_pieces(3000);
        let repo = open(&fs);
        // Some of it is taken by what stands.
        fs.set_capacity(Some(120_000 + room));
        match snapshot::run(&repo, &of(&top), &Silent) {
            Ok(report) => assert_same(&repo, report.snapshot.unwrap(), &top, &look(&top)),
            Err(error) => {
                assert!(is(&error, StoreErrorKind::Full), "{error}");
                full += 1;
            }
        }
        let found = support::read_back(&repo, first).unwrap();
        assert_eq!(found[&top.join("a")], seen[&top.join("a")]);
        fs.set_capacity(None);
        snapshot::run(&repo, &of(&top), &Silent).unwrap();
    }
    assert!(full > 0);
}

/// A file system of its own in memory; `None` where nobody may mount one.
struct Mounted(PathBuf, tempfile::TempDir);

impl Mounted {
    fn new(megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at);
        let output = mount.output().ok()?;
        output.status.success().then_some(Self(at, dir))
    }

    fn path(&self) -> &Path {
        assert!(self.1.path().exists());
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[allow(clippy::print_stderr, reason = "a test that did nothing says so")]
fn skipped() {
    eprintln!("skipped: no file system can be mounted here");
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

#[test]
fn prune_works_on_a_full_disk_by_the_reserve() {
    let Some(disk) = Mounted::new(64) else { return skipped() };
    let source = fast_temp();
    let top = source.path().canonicalize().unwrap();
    let place = disk.path().join("repo");
    let open = || {
        let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
        open_at(Arc::new(LocalStore::new(&place).unwrap()), &options).unwrap()
    };
    let init = InitOptions { reserve_bytes: RESERVE_BYTES, ..tiny() };
    let store = Arc::new(LocalStore::new(&place).unwrap());
    Repository::init(store, PASSWORD, &init, &OpenOptions::default(), surroundings()).unwrap();
    put(top.join("old"), &bytes(1, 8 << 20));
    let old = snapshot::run(&open(), &of(&top), &Silent).unwrap().snapshot.unwrap();
    std::fs::remove_file(top.join("old")).unwrap();
    put(top.join("new"), &bytes(2, 2 << 20));
    let new = snapshot::run(&open(), &of(&top), &Silent).unwrap().snapshot.unwrap();
    let seen = look(&top);
    fill(&disk.path().join("filler"));
    put(top.join("more"), &bytes(3, 1 << 20));
    let error = snapshot::run(&open(), &of(&top), &Silent).unwrap_err();
    assert!(is(&error, StoreErrorKind::Full), "{error}");
    for id in [old, new] {
        support::read_back(&open(), id).unwrap();
    }
    // Forgetting draws the reserve for its entry, prune for its own.
    let error = forget(&open(), 0).unwrap_err();
    assert!(is(&error, StoreErrorKind::Full), "{error}");
    let repo = open();
    let reserve = Reserve::draw(&repo);
    forget(&repo, 0).unwrap();
    reserve.make_again();
    fill(&disk.path().join("filler2"));
    // Whether the reserve was made again is for the room to say; one that was is drawn anew.
    let report = match prune::run(&open(), &all(), &Silent) {
        Err(error) if is(&error, StoreErrorKind::Full) => {
            std::fs::remove_file(disk.path().join("filler2")).unwrap();
            prune::run(&open(), &all(), &Silent).unwrap()
        }
        done => done.unwrap(),
    };
    assert!(report.deleted_bytes > 7 << 20, "{report:?}");
    assert_same(
        &open(),
        new,
        &top.join("new"),
        &seen.into_iter().filter(|(p, _)| p.ends_with("new")).collect(),
    );
    snapshot::run(&open(), &of(&top), &Silent).unwrap();
}

#[test]
fn prune_alone_draws_the_reserve() {
    let Some(disk) = Mounted::new(56) else { return skipped() };
    let source = fast_temp();
    let top = source.path().canonicalize().unwrap();
    let place = disk.path().join("repo");
    let open = || open_at(Arc::new(LocalStore::new(&place).unwrap()), &OpenOptions::default()).unwrap();
    let init = InitOptions { reserve_bytes: RESERVE_BYTES, ..tiny() };
    let store = Arc::new(LocalStore::new(&place).unwrap());
    Repository::init(store, PASSWORD, &init, &OpenOptions::default(), surroundings()).unwrap();
    put(top.join("old"), &bytes(1, 8 << 20));
    snapshot::run(&open(), &of(&top), &Silent).unwrap();
    forget(&open(), 0).unwrap();
    fill(&disk.path().join("filler"));
    let lease = ballast::id::SessionId([1; 16]);
    let store = LocalStore::new(&place).unwrap();
    let error = store.put(&lease.into(), &[0; 9000], PutMode::Replace).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full, "not a byte is left");
    let report = prune::run(&open(), &all(), &Silent).unwrap();
    assert!(report.deleted_bytes > 7 << 20, "{report:?}");
}

/// Neither a full cache nor a full target harms anything else.
#[test]
fn a_full_cache_and_a_full_target() {
    let Some(disk) = Mounted::new(3) else { return skipped() };
    let source = fast_temp();
    let top = source.path().canonicalize().unwrap();
    put(top.join("file"), &bytes(1, 6 << 20));
    fill(&disk.path().join("filler"));
    let place = support::Place::default();
    let cached = OpenOptions { cache_dir: Some(disk.path().join("cache")), ..OpenOptions::default() };
    let report = snapshot::run(&place.open_with(&cached), &of(&top), &Silent).unwrap();
    let id = report.snapshot.unwrap();
    assert_same(&place.open_bare(), id, &top, &look(&top));
    prune::run(&place.open_with(&cached), &all(), &Silent).unwrap();
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    let options = RestoreOptions { threads: 1, ..RestoreOptions::new(id, disk.path().join("target")) };
    let words = match restore::run(&place.open_bare(), &options, &Silent) {
        Ok(report) => report.problems.iter().map(|problem| problem.message.clone()).collect(),
        Err(error) => error.to_string(),
    };
    assert!(words.contains("No space") || words.contains("full"), "{words:?}");
    let left = options.target.join(top.join("file").strip_prefix("/").unwrap());
    assert!(!left.exists(), "half a file is not given its name");
    assert_same(&place.open_bare(), id, &top, &look(&top));
}
