//! What becomes of files that are there, and what they give to the restored ones.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ballast::format::tree::CAPTURE_SQLITE;
use ballast::id::ObjectKind;
use ballast::op::restore::{self, Overwrite, RestoreOptions};
use ballast::progress::{Progress, Silent};
use ballast::store::Store;

use crate::build::*;
use crate::compare::{same, touched};
use crate::resume::interrupt;

const MIB: u64 = 1 << 20;
/// Of every file made by [`file`].
const TIME: i64 = 1_600_000_000;

fn set_time(path: &Path, secs: i64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(secs.unsigned_abs(), nanos);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn with(overwrite: Overwrite, options: RestoreOptions) -> RestoreOptions {
    RestoreOptions { overwrite, ..options }
}

#[test]
fn if_changed_believes_size_and_time() {
    let vault = Vault::new();
    let mut database = file(b"captured", b"captured").mode(0o640);
    database.node.capture = CAPTURE_SQLITE;
    let specs = vec![
        file(b"same", b"as it was").mode(0o640),
        file(b"time", b"as it was"),
        file(b"nanos", b"as it was"),
        file(b"size", b"as it was"),
        file(b"large", &noise(1, 9 << 20)),
        database,
        link(b"link", b"there"),
    ];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let put = |name: &str, content: &[u8], nanos| {
        fs::write(target.join(name), content).unwrap();
        set_time(&target.join(name), TIME, nanos);
    };
    put("same", b"tampered!", 123_456_789);
    put("time", b"tampered!", 123_456_789);
    set_time(&target.join("time"), TIME - 1, 123_456_789);
    put("nanos", b"tampered!", 123_456_788);
    put("size", b"tampered", 123_456_789);
    put("large", &noise(2, 9 << 20), 123_456_789);
    put("captured", b"tampered", 123_456_789);
    symlink("elsewhere", target.join("link")).unwrap();
    let options = with(Overwrite::IfChanged, to(id, &target));
    let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
    let report = vault.restore(&options);
    assert_eq!((report.files, report.files_skipped, report.others), (4, 2, 1), "{report:?}");
    assert_eq!((dry.files, dry.files_skipped, dry.others), (4, 2, 1), "{dry:?}");
    assert_eq!(fs::read(target.join("same")).unwrap(), b"tampered!");
    assert!(fs::read(target.join("large")).unwrap() == noise(2, 9 << 20));
    assert_eq!(fs::metadata(target.join("same")).unwrap().permissions().mode() & 0o7777, 0o640);
    for name in ["time", "nanos", "size"] {
        assert_eq!(fs::read(target.join(name)).unwrap(), b"as it was", "{name}");
    }
    assert_eq!(fs::read(target.join("captured")).unwrap(), b"captured", "its time says nothing");
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("there"));
    // And what it trusts it does not even open.
    let before = touched(&target);
    let fetched = vault.store.names().into_iter().filter(|n| n.kind == ObjectKind::Pack).count();
    assert!(fetched > 0);
    assert_eq!(vault.restore(&options).files, 0);
    assert_eq!(touched(&target), before);
}

/// Changing the mode of one name would change another's: the file is replaced, and gives its chunks.
#[test]
fn if_changed_does_not_reach_through_hard_links() {
    let vault = Vault::new();
    let id = vault.snapshot(&[file(b"f", &noise(1, 300_000)).mode(0o600)]);
    let (_keep, place) = place();
    let (target, outside) = (place.join("target"), place.join("outside"));
    fs::create_dir(&target).unwrap();
    fs::write(&outside, noise(1, 300_000)).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o644)).unwrap();
    set_time(&outside, TIME, 123_456_789);
    fs::hard_link(&outside, target.join("f")).unwrap();
    let report = vault.restore(&with(Overwrite::IfChanged, to(id, &target)));
    assert_eq!((report.files, report.bytes, report.bytes_reused), (1, 0, 300_000));
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(target.join("f")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn if_newer_compares_times() {
    let vault = Vault::new();
    let specs = ["older", "equal", "newer", "none"].map(|name| file(name.as_bytes(), b"snapshot"));
    let mut specs = specs.to_vec();
    specs.extend([link(b"old link", b"there"), link(b"new link", b"there")]);
    specs.push(file(b"pair 1", b"pair").hard(9, 2));
    specs.push(file(b"pair 2", b"pair").hard(9, 2));
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    for (name, secs, nanos) in [
        ("older", TIME, 123_456_788),
        ("equal", TIME, 123_456_789),
        ("newer", TIME, 123_456_790),
        ("pair 2", TIME + 1, 0),
    ] {
        fs::write(target.join(name), "mine").unwrap();
        set_time(&target.join(name), secs, nanos);
    }
    for (name, secs) in [("old link", TIME - 5), ("new link", TIME + 5)] {
        symlink("mine", target.join(name)).unwrap();
        let time = rustix::fs::Timespec { tv_sec: secs, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, target.join(name), &times, flags).unwrap();
    }
    let options = with(Overwrite::IfNewer, to(id, &target));
    let dry = vault.restore(&RestoreOptions { dry_run: true, ..options.clone() });
    let report = vault.restore(&options);
    assert_eq!(report.problems, []);
    let read = |name: &str| fs::read(target.join(name)).unwrap();
    assert_eq!((read("older"), read("none")), (b"snapshot".to_vec(), b"snapshot".to_vec()));
    assert_eq!((read("equal"), read("newer")), (b"mine".to_vec(), b"mine".to_vec()));
    assert_eq!((read("pair 1"), read("pair 2")), (b"pair".to_vec(), b"mine".to_vec()));
    assert_eq!(fs::read_link(target.join("old link")).unwrap(), Path::new("there"));
    assert_eq!(fs::read_link(target.join("new link")).unwrap(), Path::new("mine"));
    assert_eq!((report.files, report.others, report.files_skipped), (3, 1, 4));
    assert_eq!((dry.files, dry.others, dry.files_skipped), (3, 1, 4));
}

/// Two files of many chunks, one large enough for several workers; with what is to be fetched of each.
fn old_and_new() -> Vec<(Spec, Vec<u8>, u64)> {
    let chunk = 64 << 10;
    let change = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let small = noise(1, 640 << 10);
    let large = noise(2, 12 << 20);
    let grown = [&noise(3, 640 << 10)[..], b"and more"].concat();
    let shrunk = noise(4, 500_000)[..450_000].to_vec();
    let holes = vec![Seg::Data(noise(5, 128 << 10)), Seg::Hole(3 << 20), Seg::Data(noise(6, 64 << 10))];
    let holes = sparse(b"holes", holes).chunked(chunk);
    let mut filled = holes.bytes();
    filled[1 << 20..][..5000].fill(7);
    vec![
        (file(b"small", &small).chunked(chunk), change(small.clone(), 70_000), 64 << 10),
        (file(b"large", &large).chunked(1 << 20), change(large.clone(), 5 << 20), MIB),
        (file(b"grown", &noise(3, 640 << 10)).chunked(chunk), grown, 0),
        (file(b"shrunk", &noise(4, 500_000)).chunked(chunk), shrunk, 500_000 - 6 * 65_536),
        (holes, filled, 0),
    ]
}

fn lay(target: &Path, files: &[(Spec, Vec<u8>, u64)]) {
    for (spec, old, _) in files {
        fs::write(target.join(std::str::from_utf8(&spec.node.name).unwrap()), old).unwrap();
    }
}

fn read_bytes(vault: &Vault, options: &RestoreOptions) -> (restore::RestoreReport, u64) {
    use ballast::entropy::Surroundings;
    use ballast::repo::{OpenOptions, Repository};
    use ballast::store::record::RecordStore;
    let store = std::sync::Arc::new(RecordStore::new(vault.store.clone()));
    let repo =
        Repository::open(store.clone(), b"word", &OpenOptions::default(), Surroundings::system()).unwrap();
    store.take();
    let report = restore::run(&repo, options, &Silent).unwrap();
    let read = store.calls().iter().filter(|c| c.call.kind == Some(ObjectKind::Pack)).map(|c| c.bytes).sum();
    (report, read)
}

#[test]
fn chunks_come_from_the_file_that_is_there() {
    for in_place in [false, true] {
        for threads in [1, 3] {
            let vault = Vault::new();
            let files = old_and_new();
            let specs: Vec<_> = files.iter().map(|(spec, ..)| spec.clone()).collect();
            let id = vault.snapshot(&specs);
            let (_keep, target) = place();
            lay(&target, &files);
            let inodes = |target: &Path| -> Vec<u64> {
                let name = |spec: &Spec| PathBuf::from(std::str::from_utf8(&spec.node.name).unwrap());
                specs.iter().map(|s| fs::metadata(target.join(name(s))).unwrap().ino()).collect()
            };
            let before = inodes(&target);
            let options = RestoreOptions { in_place, threads, ..to(id, &target) };
            let (report, read) = read_bytes(&vault, &options);
            assert_eq!(report.problems, []);
            let fetched: u64 = files.iter().map(|(.., fetched)| fetched).sum();
            let all: u64 = specs.iter().map(|s| s.node.size).sum();
            assert_eq!(report.bytes_reused, all - fetched - 3 * MIB, "{in_place} {threads}");
            // A hole that was filled is written, though not fetched.
            assert_eq!(report.bytes, fetched + 3 * MIB);
            assert!(read < fetched * 2 + (600 << 10), "{read} bytes read for {fetched}");
            same(&specs, &target);
            let kept = before == inodes(&target);
            assert_eq!(kept, in_place, "a file keeps its inode only if it is written in place");
            assert_eq!(read_bytes(&vault, &options).0.files, 0, "nothing is left to do");
        }
    }
}

/// Whatever it is asked, it writes to a file that it was told of.
struct Meddler {
    at: u64,
    asked: AtomicU64,
    path: PathBuf,
}

impl Progress for Meddler {
    fn stop_requested(&self) -> bool {
        if self.asked.fetch_add(1, Ordering::SeqCst) == self.at {
            let file = File::options().write(true).open(&self.path).unwrap();
            file.write_all_at(&[0xa5; 600_000], 17).unwrap();
        }
        false
    }
}

/// Somebody writes to the old file at any moment: what was copied from it is looked at where it came to lie.
#[test]
fn a_file_that_changes_while_it_gives_is_not_believed() {
    let vault = Vault::new();
    let mut bytes = noise(1, 640 << 10);
    let specs = vec![file(b"f", &bytes).chunked(64 << 10)];
    let id = vault.snapshot(&specs);
    bytes[3] ^= 1;
    let mut meddled = 0;
    for in_place in [false, true] {
        for at in 0..40 {
            let (_keep, target) = place();
            let path = target.join("f");
            fs::write(&path, &bytes).unwrap();
            let meddler = Meddler { at, asked: AtomicU64::new(0), path: path.clone() };
            let options = RestoreOptions { in_place, threads: 1, ..to(id, &target) };
            let report = restore::run(&vault.repo, &options, &meddler).unwrap();
            if !in_place {
                assert_eq!(report.problems, [], "{at}");
                same(&specs, &target);
                meddled += u64::from(report.bytes > 64 << 10);
            } else if report.problem_count == 0 {
                // Read again, so it was right then.
                assert!(report.files == 1 || at > meddler.asked.load(Ordering::SeqCst));
            } else {
                assert!(report.problems[0].message.contains("it is not whole"), "{:?}", report.problems);
                assert_eq!(vault.restore(&options).problem_count, 0);
                same(&specs, &target);
                meddled += 1;
            }
        }
    }
    assert!(meddled > 20, "{meddled}");
}

#[test]
fn what_the_repository_lost_is_taken_from_the_file_that_is_there() {
    let vault = Vault::new();
    let bytes = noise(1, 2 << 20);
    let specs = vec![file(b"f", &bytes).chunked(64 << 10)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    fs::write(target.join("f"), [&bytes[..], b"more"].concat()).unwrap();
    for pack in vault.store.names().into_iter().filter(|n| n.kind == ObjectKind::Pack) {
        let state = vault.store.snapshot_state();
        vault.store.remove(&pack).unwrap();
        let listed = ballast::op::ls::run(&vault.repo, id, None, true, &mut |_| Ok(())).is_ok();
        if !listed {
            vault.store.restore_state(&state);
        }
    }
    let report = vault.restore(&to(id, &target));
    assert_eq!((report.problem_count, report.bytes, report.bytes_reused), (0, 0, 2 << 20));
    same(&specs, &target);
    // In place nothing is touched that could not be made whole.
    let mut old = bytes.clone();
    old[100] ^= 1;
    fs::write(target.join("f"), &old).unwrap();
    let report = vault.restore(&RestoreOptions { in_place: true, ..to(id, &target) });
    assert_eq!(report.problem_count, 1);
    assert!(report.problems[0].message.contains("left as it"), "{:?}", report.problems);
    assert!(fs::read(target.join("f")).unwrap() == old);
}

#[test]
fn in_place_is_not_through_links_and_not_for_others_to_read() {
    let vault = Vault::new();
    let specs = vec![
        file(b"hard", &noise(1, 300_000)).mode(0o644),
        file(b"soft", &noise(1, 300_000)).mode(0o644),
        file(b"pipe", b"content").mode(0o644),
        file(b"secret", &noise(2, 300_000)).mode(0o600),
        file(b"pair 1", &noise(3, 300_000)).hard(5, 2),
        file(b"pair 2", &noise(3, 300_000)).hard(5, 2),
    ];
    let id = vault.snapshot(&specs);
    let (_keep, place) = place();
    let (target, outside) = (place.join("target"), place.join("outside"));
    fs::create_dir(&target).unwrap();
    fs::write(&outside, "precious").unwrap();
    fs::hard_link(&outside, target.join("hard")).unwrap();
    symlink(&outside, target.join("soft")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, target.join("pipe"), kind, mode, 0).unwrap();
    fs::write(target.join("secret"), "for all to read").unwrap();
    fs::set_permissions(target.join("secret"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(target.join("pair 1"), "was another").unwrap();
    fs::write(target.join("pair 2"), "than this").unwrap();
    struct Watch(PathBuf, AtomicU64);
    impl Progress for Watch {
        fn stop_requested(&self) -> bool {
            let meta = fs::metadata(&self.0).unwrap();
            if meta.size() == 300_000 {
                assert_eq!(meta.permissions().mode() & 0o077, 0, "others could read what is secret");
                self.1.fetch_add(1, Ordering::Relaxed);
            }
            false
        }
    }
    let watch = Watch(target.join("secret"), AtomicU64::new(0));
    let options = RestoreOptions { in_place: true, threads: 1, ..to(id, &target) };
    let report = restore::run(&vault.repo, &options, &watch).unwrap();
    assert_eq!(report.problems, []);
    assert!(watch.1.into_inner() > 0);
    same(&specs, &target);
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert_eq!(fs::metadata(&outside).unwrap().nlink(), 1);
}

#[test]
fn in_place_goes_on_where_it_was() {
    let vault = Vault::new();
    let specs = vec![file(b"large", &noise(1, 20 << 20)).chunked(1 << 20)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    fs::write(target.join("large"), noise(2, 25 << 20)).unwrap();
    let options = RestoreOptions { in_place: true, threads: 1, ..to(id, &target) };
    interrupt(&vault, &options, 12 * MIB);
    assert_eq!(fs::metadata(target.join("large")).unwrap().len(), 20 * MIB);
    let (report, read) = read_bytes(&vault, &options);
    assert_eq!((report.bytes_reused, report.bytes), (12 * MIB, 8 * MIB));
    assert!(read < 10 * MIB, "{read}");
    same(&specs, &target);
}
