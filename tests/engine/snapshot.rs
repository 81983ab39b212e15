//! Snapshots of real directories, read back and compared; what a second one costs; and what
//! is said of a source that misbehaves.

#[path = "snapshot/early.rs"]
mod early;
#[path = "snapshot/hosts.rs"]
mod hosts;
#[path = "snapshot/left_out.rs"]
mod left_out;
#[path = "snapshot/streams.rs"]
mod streams;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use ballast::chunk::CutParams;
use ballast::crypto::kdf;
use ballast::error::{Error, ProblemKind};
use ballast::format::content::Entry;
use ballast::format::tree::{MARK_CHANGED, MARK_INCOMPLETE, MARK_RECHECK, Node};
use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::snapshot::{self, Parent, SnapshotOptions, SnapshotReport};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, Repository};
use ballast::store::call::Method;
use ballast::store::local::LocalStore;
use ballast::store::record::RecordStore;
use support::{Calls, Place, assert_same, bytes, look, of, put, read_back, surroundings, tiny, walk_back};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn run(place: &Place, options: &SnapshotOptions) -> SnapshotReport {
    snapshot::run(&place.open(), options, &Silent).unwrap()
}

fn kinds(report: &SnapshotReport) -> Vec<ProblemKind> {
    report.problems.iter().map(|p| p.kind).collect()
}

fn set_mtime(path: &Path, secs: u64) {
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(secs));
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// Nodes of a snapshot by path.
fn nodes(repo: &Repository, id: SnapshotId) -> BTreeMap<PathBuf, Node> {
    let reader = Reader::open(repo).unwrap();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut all = BTreeMap::new();
    walk_back(&reader, root, Path::new("/"), &mut |path, node| {
        all.insert(path, node.clone());
        Ok(())
    })
    .unwrap();
    all
}

/// Takes a snapshot without problems and compares it with the source.
fn whole(place: &Place, top: &Path) -> SnapshotReport {
    let expected = look(top);
    let report = place.take(top);
    assert_eq!(report.problems, [], "{}", top.display());
    assert_same(&place.open(), report.snapshot.unwrap(), top, &expected);
    report
}

fn nasty(top: &Path) {
    for name in [&b"a space"[..], b"-rf", b"new\nline", b"\xff\xfe", b"\xc3\xa9", b".hidden", b"'\"`$", b"~"]
    {
        put(top.join(OsStr::from_bytes(name)), name);
    }
    put(top.join("n".repeat(255)), b"long name");
    for len in 0..=41 {
        put(top.join(format!("inline/{len}")), &bytes(len as u64, len));
    }
    for (i, len) in [65_535, 65_536, 65_537, (4 << 20) - 1, 4 << 20, (4 << 20) + 1].into_iter().enumerate() {
        put(top.join(format!("edges/{len}")), &bytes(100 + i as u64, len));
    }
    put(top.join("zeros"), &vec![0; 300_000]);
    put(top.join("large zeros"), &vec![0; 9 << 20]);
    fs::create_dir(top.join("empty")).unwrap();
    fs::create_dir_all(top.join("d/".repeat(150))).unwrap();
    put(top.join("d/".repeat(150)).join("deep"), b"down here");
    fs::hard_link(top.join("zeros"), top.join("hard")).unwrap();
    symlink("zeros", top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    symlink("link", top.join("chain")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        top.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(top.join("sock")));
    fs::set_permissions(top.join("zeros"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(top.join("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    drop(xattr::set(top.join("zeros"), "user.note", b"\x00attribute"));
    set_mtime(&top.join("zeros"), 12);
}

#[test]
fn a_nasty_tree_comes_back() {
    let (_dir, top) = temp();
    nasty(&top);
    for options in [tiny(), InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() }] {
        let place = Place::new(&options);
        let first = whole(&place, &top);
        assert!(first.files_new > 50 && first.files_unchanged == 0);
        let second = whole(&place, &top);
        assert_eq!((second.files_new, second.files_changed, second.read_bytes), (0, 0, 0));
        // But for `/`, above the source: other tests touch what lies there.
        assert!(second.new_bytes < 1000, "{} bytes are new", second.new_bytes);
    }
}

fn depth(reader: &Reader, entries: &[Entry]) -> usize {
    let below = |e: &Entry| match e {
        Entry::List { id, .. } => 1 + depth(reader, &reader.list(*id).unwrap().entries),
        _ => 0,
    };
    entries.iter().map(below).max().unwrap_or(0)
}

#[test]
fn a_file_of_many_windows_and_nested_lists() {
    let (_dir, top) = temp();
    let mut content = bytes(7, 37 << 20);
    put(top.join("large"), &content);
    let cut = CutParams { min: 512, avg: 1 << 10, max: 4 << 10, ..CutParams::default() };
    let place = Place::new(&InitOptions { cut, ..tiny() });
    let first = whole(&place, &top);
    assert_eq!(first.read_bytes, 37 << 20);
    let repo = place.open();
    let all = nodes(&repo, first.snapshot.unwrap());
    assert!(depth(&Reader::open(&repo).unwrap(), &all[&top.join("large")].content) >= 2);
    // One byte in the middle, one byte more near the front, as in life.
    content[20 << 20] ^= 1;
    content.insert(1 << 20, 9);
    put(top.join("large"), &content);
    let second = whole(&place, &top);
    assert!(second.new_bytes < 200_000, "{} bytes are new", second.new_bytes);
}

/// What the parent has is a short cut, never a reason: after every kind of change the content list
/// is the one that the same bytes get without a parent.
#[test]
fn cuts_do_not_depend_on_history() {
    let (_dir, top) = temp();
    let name = top.join("large");
    let place = Place::default();
    // More than a window, of which what did not change is never part.
    let content = bytes(21, 27 << 20);
    put(&name, &content);
    whole(&place, &top);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = content.clone();
        change(&mut copy);
        copy
    };
    let cases = [
        ("touched", content.clone()),
        ("one byte", changed(&|c| c[9 << 20] ^= 1)),
        ("a byte behind the first window", changed(&|c| c[22 << 20] ^= 1)),
        (
            "a byte here and there",
            changed(&|c| [9 << 20, 19 << 20, 25 << 20].into_iter().for_each(|at| c[at] ^= 1)),
        ),
        ("first byte", changed(&|c| c[0] ^= 1)),
        ("inserted", changed(&|c| c.insert(5 << 20, 7))),
        ("removed", changed(&|c| drop(c.drain(1000..300_000)))),
        ("as it was", content.clone()),
        ("grown", changed(&|c| c.extend_from_slice(&bytes(22, 6 << 20)))),
        ("grown by a run", changed(&|c| c.extend_from_slice(&vec![0; 5 << 20]))),
        ("as it was again", content.clone()),
        ("cut short", changed(&|c| c.truncate(7 << 20))),
        ("grown back", content.clone()),
    ];
    for (what, now) in cases {
        put(&name, &now);
        set_mtime(&name, 1_000_000 + now.len() as u64);
        let with = whole(&place, &top);
        assert!(with.parent.is_some() && with.read_bytes == now.len() as u64, "{what}");
        let bare = Place { store: place.store.clone(), cache: tempfile::tempdir().unwrap() };
        let alone = run(&bare, &SnapshotOptions { parent: Parent::None, ..of(&top) });
        let repo = bare.open();
        let content_of = |id| nodes(&repo, id)[&name].content.clone();
        assert!(content_of(with.snapshot.unwrap()) == content_of(alone.snapshot.unwrap()), "{what}");
    }
}

/// Where one reads at a time, workers wait for their turn: who has it must not wait for workers.
#[test]
fn one_reader_at_a_time_is_never_waited_for_in_a_circle() {
    let (_dir, top) = temp();
    let (small, large) = (bytes(32, 3000), bytes(31, 30 << 20));
    let fill = move |top: &Path| {
        (0..600).for_each(|n| put(top.join(format!("a/{n}")), &small));
        put(top.join("b/large"), &large);
    };
    fill(&top);
    let place = Place::default();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..3 {
            fill(&top);
            let report = run(&place, &SnapshotOptions { readers: 1, threads: 2, force: true, ..of(&top) });
            tell.send(report.read_bytes).unwrap();
        }
    });
    for _ in 0..3 {
        let read = told.recv_timeout(std::time::Duration::from_secs(300));
        assert_eq!(read, Ok((30 << 20) + 600 * 3000), "it ends");
    }
}

#[test]
fn holes_are_kept_as_holes() {
    let (_dir, top) = temp();
    for (name, size) in [("small", 2 << 20), ("large", 40 << 20)] {
        let file = File::create(top.join(name)).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(&bytes(size, 100_000), size / 2).unwrap();
        file.write_all_at(b"the end", size - 7).unwrap();
    }
    File::create(top.join("nothing")).unwrap().set_len(8 << 20).unwrap();
    let place = Place::default();
    let report = whole(&place, &top);
    let repo = place.open();
    let holes = |name: &str| -> u64 {
        let node = nodes(&repo, report.snapshot.unwrap())[&top.join(name)].clone();
        let reader = Reader::open(&repo).unwrap();
        let entries = reader.expand(&node.content).map(Result::unwrap);
        entries.filter(|e| matches!(e, Entry::Hole { .. })).map(|e| e.content_len()).sum()
    };
    let sparse = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(top.join("nothing")).unwrap().blocks() == 0
    };
    if sparse {
        assert_eq!(holes("nothing"), 8 << 20);
        assert!(holes("small") > 1 << 20 && holes("large") > 38 << 20);
        assert!(report.read_bytes < 2 << 20, "{} bytes read", report.read_bytes);
    }
}

#[test]
fn a_directory_of_thousands_is_cut_into_parts() {
    let (_dir, top) = temp();
    for i in 0..5000u64 {
        put(top.join(format!("model-{i:05}.bin")), &bytes(i, 50));
    }
    let place = Place::default();
    let first = whole(&place, &top);
    assert_eq!(first.files_new, 5000);
    put(top.join("model-00000.bin"), b"changed");
    let second = whole(&place, &top);
    assert_eq!((second.files_changed, second.files_unchanged), (1, 4999));
    let whole_tree = first.new_bytes - 5000 * 50;
    assert!(second.new_bytes < whole_tree / 2, "one part, not all: {} of {whole_tree}", second.new_bytes);
}

#[test]
fn one_file_of_two_thousand_costs_little() {
    let (_dir, top) = temp();
    for i in 0..2000u64 {
        put(top.join(format!("{}/{}/file{i}.txt", i % 10, i % 50)), &bytes(i, 3000));
    }
    let place = Place::new(&InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() });
    whole(&place, &top);
    put(top.join("3/13/file13.txt"), &bytes(99_999, 3100));
    let before: u64 = place.store.totals().values().map(|(_, bytes)| bytes).sum();
    let report = whole(&place, &top);
    let after: u64 = place.store.totals().values().map(|(_, bytes)| bytes).sum();
    assert!(after - before < 50_000, "{} bytes", after - before);
    assert_eq!((report.files_changed, report.read_bytes), (1, 3100));
    assert!(report.stored_bytes <= after - before, "what is reported is what was stored");
    assert!(after - before - report.stored_bytes < 1000, "all but the ledger entry");
}

#[test]
fn why_files_are_read_again() {
    let (_dir, top) = temp();
    for name in ["same", "touched", "longer", "replaced", "chmod"] {
        put(top.join(name), &bytes(1, 5000));
        set_mtime(&top.join(name), 1_000_000);
    }
    let place = Place::default();
    place.take(&top);
    set_mtime(&top.join("touched"), 1_000_001);
    put(top.join("longer"), &bytes(1, 5001));
    set_mtime(&top.join("longer"), 1_000_000);
    put(top.join("new"), &bytes(2, 5000));
    set_mtime(&top.join("new"), 1_000_000);
    fs::rename(top.join("new"), top.join("replaced")).unwrap();
    fs::set_permissions(top.join("chmod"), fs::Permissions::from_mode(0o600)).unwrap();

    let look_at = |options: SnapshotOptions| {
        let dry = SnapshotOptions { dry_run: true, ..options };
        let report = run(&place, &dry);
        (report.files_unchanged, report.read_again.clone())
    };
    let (unchanged, why) = look_at(of(&top));
    assert_eq!(unchanged, 1, "{why:?}");
    let expected = [
        ("change time differs", 1),
        ("inode differs", 1),
        ("modification time differs", 1),
        ("size differs", 1),
    ];
    assert_eq!(why, expected.map(|(w, n)| (w.to_owned(), n)).into());
    let (unchanged, why) = look_at(SnapshotOptions { ignore_inode: true, ignore_ctime: true, ..of(&top) });
    assert_eq!(unchanged, 3, "a lie that was asked for: {why:?}");
    let (unchanged, why) = look_at(SnapshotOptions { force: true, ..of(&top) });
    assert_eq!((unchanged, why), (0, [("reading was forced".to_owned(), 5)].into()));
    whole(&place, &top);
}

#[test]
fn a_young_file_is_read_again() {
    let (_dir, top) = temp();
    put(top.join("young"), &bytes(1, 5000));
    let place = Place::default();
    let now = ballast::entropy::Surroundings::system();
    let open =
        || Repository::open(place.store.clone(), b"a password", &place.options(), now.clone()).unwrap();
    let first = snapshot::run(&open(), &of(&top), &Silent).unwrap();
    let marks = nodes(&open(), first.snapshot.unwrap())[&top.join("young")].marks;
    assert_eq!(marks & MARK_RECHECK, MARK_RECHECK);
    let second = snapshot::run(&open(), &of(&top), &Silent).unwrap();
    assert_eq!((second.read_bytes, second.files_changed), (5000, 1));
    assert!(second.new_bytes < 1000, "{}", second.new_bytes);
}

#[test]
fn parents_are_found_by_host_and_paths() {
    let (_dir, top) = temp();
    put(top.join("a/f"), &bytes(1, 50_000));
    put(top.join("b/f"), &bytes(2, 50_000));
    let place = Place::default();
    let a = run(&place, &of(top.join("a")));
    let b = run(&place, &of(top.join("b")));
    assert_eq!((a.parent, b.parent), (None, None));
    assert_eq!(run(&place, &of(top.join("a"))).parent, a.snapshot, "not b, though newer");
    let elsewhere = SnapshotOptions { host: Some("elsewhere".into()), ..of(top.join("b")) };
    let other = run(&place, &elsewhere);
    assert_eq!(other.parent, b.snapshot, "the same paths of another host");
    assert_eq!(run(&place, &of(top.join("b"))).parent, b.snapshot, "the own host first");
    let given = SnapshotOptions { parent: Parent::Given(b.snapshot.unwrap()), ..of(&top) };
    let report = run(&place, &given);
    assert_eq!((report.parent, report.files_unchanged, report.files_new), (b.snapshot, 1, 1));

    fs::rename(top.join("a"), top.join("moved")).unwrap();
    let moved = run(&place, &of(top.join("moved")));
    assert_eq!((moved.parent, moved.files_new), (None, 1));
    assert!(moved.new_bytes < 1000, "read again, but nothing of it is new: {}", moved.new_bytes);
}

#[test]
fn shards_renamed_cost_next_to_nothing() {
    let (_dir, top) = temp();
    for i in 1..=4u64 {
        put(top.join(format!("model-{i:05}-of-00004.safetensors")), &bytes(i, 5 << 20));
    }
    let place = Place::new(&InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() });
    whole(&place, &top);
    for i in 1..=4 {
        let from = top.join(format!("model-{i:05}-of-00004.safetensors"));
        fs::rename(from, top.join(format!("shard-{i}.safetensors"))).unwrap();
    }
    let report = whole(&place, &top);
    assert!(report.stored_bytes < 20_000, "{} bytes", report.stored_bytes);
}

#[test]
fn equal_content_is_stored_once() {
    let (_dir, top) = temp();
    for name in ["a", "b", "c/a", "c/z"] {
        put(top.join(name), &bytes(3, 30_000));
        put(top.join(format!("{name}-large")), &bytes(4, 6 << 20));
    }
    let place = Place::new(&InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() });
    let report = whole(&place, &top);
    assert_eq!(report.read_bytes, 4 * (30_000 + (6 << 20)));
    assert!(report.new_bytes < 30_000 + (6 << 20) + 5000, "{}", report.new_bytes);
    assert!(place.store.bytes_of(ObjectKind::Pack) < 7 << 20);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_a_problem() {
    let (_dir, top) = temp();
    let large = top.join("large");
    let changes: [(&str, fn(&Path)); 5] = [
        ("grown", |p| File::options().write(true).open(p).unwrap().write_all_at(b"x", 40 << 20).unwrap()),
        ("cut", |p| File::options().write(true).open(p).unwrap().set_len(20 << 20).unwrap()),
        ("emptied", |p| File::options().write(true).open(p).unwrap().set_len(0).unwrap()),
        ("rewritten", |p| File::options().write(true).open(p).unwrap().write_all_at(b"other", 5).unwrap()),
        ("touched", |p| set_mtime(p, 77)),
    ];
    for (what, change) in changes {
        put(&large, &bytes(5, 40 << 20));
        put(top.join("other"), b"a file that behaves and must be stored whole whatever else happens");
        let expected = look(&top.join("other"));
        let done = AtomicBool::new(false);
        let path = large.clone();
        let progress = Calls::with_hook(move |call, n| {
            if call == "advance" && n > 1 << 20 && !done.swap(true, Ordering::SeqCst) {
                change(&path);
            }
        });
        let place = Place::new(&InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() });
        let report = snapshot::run(&place.open(), &of(&top), &progress).unwrap();
        assert_eq!(kinds(&report), [ProblemKind::Changed], "{what}: {:?}", report.problems);
        assert!(report.problems[0].path.ends_with("large"));
        let repo = place.open();
        let id = report.snapshot.unwrap();
        let record = repo.snapshot(id).unwrap().record;
        assert!(record.partial && record.problem_count == 1 && record.problems.len() == 1);
        let node = &nodes(&repo, id)[&large];
        assert_ne!(node.marks & (MARK_CHANGED | MARK_INCOMPLETE), 0, "{what}");
        assert_ne!(node.marks & MARK_RECHECK, 0, "{what}: read again next time");
        // Every blob is what its id says, whatever the file did.
        let found = read_back(&repo, id).unwrap();
        assert_eq!(found[&top.join("other")], expected[&top.join("other")]);
        let next = run(&place, &of(&top));
        assert_eq!((next.problem_count, next.files_unchanged), (0, 1), "{what}");
        assert_same(&place.open(), next.snapshot.unwrap(), &top, &look(&top));
    }
}

#[test]
fn a_small_file_that_goes_or_is_replaced_before_it_is_read() {
    let (_dir, top) = temp();
    let cases = [
        ("vanish", Some(ProblemKind::Vanished)),
        ("replace", None),
        ("replace by a link", Some(ProblemKind::Changed)),
        ("replace by a directory", Some(ProblemKind::Changed)),
    ];
    for (what, kind) in cases {
        drop(fs::remove_file(top.join("small")));
        put(top.join("small"), &bytes(6, 12_345));
        put(top.join("stays"), &bytes(8, 100));
        let path = top.join("small");
        let progress = Calls::with_hook(move |call, n| {
            if call == "found" && n == 12_345 {
                fs::remove_file(&path).unwrap();
                match what {
                    "replace" => {
                        // Made before the other's inode number is free again.
                        put(path.with_extension("a"), b"");
                        put(path.with_extension("b"), b"another");
                        fs::rename(path.with_extension("b"), &path).unwrap();
                        fs::remove_file(path.with_extension("a")).unwrap();
                    }
                    "replace by a link" => symlink("stays", &path).unwrap(),
                    "replace by a directory" => fs::create_dir(&path).unwrap(),
                    _ => {}
                }
            }
        });
        let place = Place::default();
        let report = snapshot::run(&place.open(), &of(&top), &progress).unwrap();
        assert_eq!(kinds(&report), Vec::from_iter(kind), "{what}: {:?}", report.problems);
        let found = read_back(&place.open(), report.snapshot.unwrap()).unwrap();
        assert!(found.contains_key(&top.join("stays")));
        match kind {
            Some(_) => assert!(!found.contains_key(&top.join("small")), "no name without its content"),
            // What many programs do to save: the file that is there now, all of it, is stored.
            None => assert_eq!(found[&top.join("small")], look(&top)[&top.join("small")]),
        }
    }
}

#[test]
fn what_is_missing_or_unreadable_is_a_problem() {
    let (_dir, top) = temp();
    put(top.join("ok"), b"some bytes that are more than forty one of them");
    let place = Place::default();
    let options =
        SnapshotOptions { paths: vec![top.clone(), top.join("none"), "/no/such/path".into()], ..of(&top) };
    let report = run(&place, &options);
    assert_eq!(kinds(&report), [ProblemKind::Missing; 2]);
    assert!(place.open().snapshot(report.snapshot.unwrap()).unwrap().record.partial);
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(top.join("ok"), fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(kinds(&place.take(&top)), [ProblemKind::Unreadable, ProblemKind::Empty]);
    }
    let nothing = SnapshotOptions { paths: Vec::new(), ..of(&top) };
    assert!(matches!(snapshot::run(&place.open(), &nothing, &Silent), Err(Error::Usage(_))));
    let bad = SnapshotOptions { excludes: vec!["[z-a]".into()], ..of(&top) };
    assert!(matches!(snapshot::run(&place.open(), &bad, &Silent), Err(Error::Usage(_))));
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0, "no lease stays behind");
}

/// The first hundred problems are kept; that something is missing is known whichever they are.
#[test]
fn a_gap_behind_a_hundred_other_problems_is_still_a_gap() {
    let (_dir, top) = temp();
    for i in 0..120 {
        put(top.join(format!("a{i:03}.db")), b"SQLite format 3\0 and more than forty bytes of it, so");
        put(top.join(format!("a{i:03}.db-wal")), b"frames");
    }
    put(top.join("z"), &bytes(1, 33_333));
    let path = top.join("z");
    let progress = Calls::with_hook(move |call, n| {
        if call == "found" && n == 33_333 {
            fs::remove_file(&path).unwrap();
        }
    });
    let place = Place::default();
    let report = snapshot::run(&place.open(), &of(&top), &progress).unwrap();
    assert_eq!(report.problem_count, 121);
    assert_eq!(report.problems.len(), 100);
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::LiveDatabase));
    assert!(place.open().snapshot(report.snapshot.unwrap()).unwrap().record.partial);
}

#[test]
fn what_is_left_out_is_counted_and_sized() {
    let (_dir, top) = temp();
    put(top.join("keep"), &bytes(1, 1000));
    put(top.join("a.tmp"), &bytes(2, 2000));
    put(top.join("cache/x"), &bytes(3, 3000));
    put(top.join("cache/y"), &bytes(4, 4000));
    put(top.join(".gitignore"), b"keep\n");
    let place = Place::default();
    let options = SnapshotOptions { excludes: vec!["*.tmp".into(), "cache/".into()], ..of(&top) };
    let report = run(&place, &options);
    assert_eq!((report.excluded, report.excluded_bytes, report.problem_count), (2, 9000, 0));
    let found = read_back(&place.open(), report.snapshot.unwrap()).unwrap();
    let below: Vec<_> = found.keys().filter_map(|p| p.strip_prefix(&top).ok()).collect();
    assert_eq!(below, [Path::new(""), Path::new(".gitignore"), Path::new("keep")]);
    // Taken in later, they are there.
    whole(&place, &top);
}

#[test]
fn the_repository_leaves_itself_out() {
    let (_dir, top) = temp();
    put(top.join("data"), &bytes(1, 100_000));
    let store = Arc::new(LocalStore::new(top.join("repo")).unwrap());
    let options = ballast::repo::OpenOptions {
        cache_dir: Some(top.join("caches")),
        ..ballast::repo::OpenOptions::default()
    };
    let repo = Repository::init(store, b"p", &tiny(), &options, surroundings()).unwrap();
    for _ in 0..3 {
        let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
        assert_eq!(report.problems, []);
        assert_eq!(
            report.total_bytes - 100_000,
            fs::metadata(top.join("caches/CACHEDIR.TAG")).unwrap().len()
        );
        let found = read_back(&repo, report.snapshot.unwrap()).unwrap();
        assert!(!found.keys().any(|p| p.starts_with(top.join("repo"))));
        assert!(!found.keys().any(|p| p.starts_with(repo.cache().unwrap().path())));
    }
}

/// A hub cache as `huggingface_hub` lays it out.
fn hub(top: &Path) -> PathBuf {
    let model = top.join("models--x--y");
    put(model.join("blobs/aaaa"), &bytes(1, 500_000));
    put(model.join("blobs/bbbb"), &bytes(2, 700));
    put(model.join("refs/main"), b"rev1");
    let rev = model.join("snapshots/rev1");
    fs::create_dir_all(rev.join("sub")).unwrap();
    symlink("../../blobs/aaaa", rev.join("model.safetensors")).unwrap();
    symlink("../../../blobs/bbbb", rev.join("sub/config.json")).unwrap();
    rev
}

#[test]
fn a_hugging_face_revision_is_never_silently_empty() {
    let (_dir, top) = temp();
    let rev = hub(&top);
    let place = Place::default();
    let report = run(&place, &of(&rev));
    assert_eq!(report.total_bytes, 0);
    let met = kinds(&report);
    assert!(met.contains(&ProblemKind::OutsideLink) && met.contains(&ProblemKind::Empty), "{met:?}");
    assert_eq!((report.outside_links, report.outside_bytes), (2, 500_700));

    let following = SnapshotOptions { follow_outside: true, ..of(&rev) };
    let blobs = top.join("models--x--y/blobs");
    for turn in 0..2 {
        let report = run(&place, &following);
        assert_eq!(report.problems, []);
        assert_eq!(report.total_bytes, 500_700);
        assert_eq!(report.files_unchanged, 2 * turn, "also what lies outside is taken over");
        let repo = place.open();
        assert_same(&repo, report.snapshot.unwrap(), &rev, &look(&rev));
        let found = read_back(&repo, report.snapshot.unwrap()).unwrap();
        for (path, seen) in look(&blobs).into_iter().filter(|(p, _)| *p != blobs) {
            assert_eq!(found[&path], seen);
        }
    }
    // The whole model needs no asking.
    let report = whole(&place, &top.join("models--x--y"));
    assert_eq!(report.outside_links, 0);

    symlink(&rev, top.join("current")).unwrap();
    let report = run(&place, &SnapshotOptions { follow_outside: true, ..of(top.join("current")) });
    assert_eq!((report.problem_count, report.total_bytes), (0, 500_700));
    let found = read_back(&place.open(), report.snapshot.unwrap()).unwrap();
    assert_eq!(found[&top.join("current")].kind, "link");
    assert!(found.contains_key(&rev.join("model.safetensors")));
}

#[test]
fn an_ollama_store_comes_back() {
    let (_dir, top) = temp();
    for i in 0..3u64 {
        put(top.join(format!("blobs/sha256-{i:064x}")), &bytes(i, 300_000));
    }
    put(top.join("manifests/registry.ollama.ai/library/x/latest"), br#"{"layers":[]}"#);
    let place = Place::default();
    whole(&place, &top);
    assert_eq!(whole(&place, &top).read_bytes, 0);
}

#[test]
fn a_live_database_is_said_to_be_one() {
    let (_dir, top) = temp();
    let mut database = b"SQLite format 3\0".to_vec();
    database.extend(bytes(1, 50_000));
    put(top.join("chat.db"), &database);
    put(top.join("chat.db-wal"), &bytes(2, 5000));
    let place = Place::default();
    for turn in ["read", "taken over"] {
        let report = place.take(&top);
        assert_eq!(kinds(&report), [ProblemKind::LiveDatabase], "{turn}");
        assert!(report.problems[0].message.contains(".backup"), "{}", report.problems[0]);
        assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
    }
    // None at all, once nothing speaks for one: its bytes, and a problem when they are read.
    fs::remove_file(top.join("chat.db-wal")).unwrap();
    assert_eq!(kinds(&place.take(&top)), [ProblemKind::LiveDatabase]);
    whole(&place, &top);
}

#[test]
fn a_dry_run_writes_nothing() {
    let (_dir, top) = temp();
    put(top.join("a"), &bytes(1, 5 << 20));
    put(top.join("b"), &bytes(2, 5000));
    let place = Place::default();
    let record = Arc::new(RecordStore::new(place.store.clone()));
    let dry = SnapshotOptions { dry_run: true, ..of(&top) };
    let report = snapshot::run(&place.open_through(record.clone()), &dry, &Silent).unwrap();
    assert_eq!((record.count(Method::Put, None), record.count(Method::Remove, None)), (0, 0));
    assert!(report.snapshot.is_none() && report.dry_run && report.new_bytes > 5 << 20);
    let real = whole(&place, &top);
    assert_eq!((real.new_bytes, real.files_new), (report.new_bytes, report.files_new));
    let off = real.stored_bytes.abs_diff(report.stored_bytes);
    assert!(off < real.stored_bytes / 10, "foretold {}, stored {}", report.stored_bytes, real.stored_bytes);
}

/// A queued file keeps its directory open: thousands of directories must not use up what a process
/// may have open.
#[test]
fn many_directories_and_few_descriptors() {
    let (dir, top) = temp();
    for i in 0..3000u64 {
        put(top.join(format!("{}/{i}/file", i % 7)), &bytes(i, 100));
    }
    let store = Arc::new(LocalStore::new(dir.path().join("repo")).unwrap());
    let options = ballast::repo::OpenOptions::default();
    Repository::init(store.clone(), support::PASSWORD, &tiny(), &options, surroundings()).unwrap();
    let worker = env!("CARGO_BIN_EXE_worker");
    let status = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 1024 && exec \"$@\"", "sh", worker, "snapshot"])
        .arg(dir.path().join("repo"))
        .arg("")
        .arg(&top)
        .status()
        .unwrap();
    assert!(status.success());
    let repo = support::open_at(store, &options).unwrap();
    let id = repo.ledger(true).unwrap().committed()[0];
    assert_same(&repo, id, &top, &look(&top));
}

#[test]
fn several_roots_and_roots_inside_roots() {
    let (_dir, top) = temp();
    put(top.join("a/x/f"), &bytes(1, 10_000));
    put(top.join("b/f"), &bytes(2, 10_000));
    put(top.join("single"), &bytes(3, 10_000));
    let place = Place::default();
    let paths = vec!["a/x".into(), "a".into(), "./b/../b".into(), "single".into(), "a".into()];
    let options = SnapshotOptions { paths, cwd: top.clone(), ..of(&top) };
    for turn in 0..2 {
        let report = run(&place, &options);
        assert_eq!((report.problem_count, report.total_bytes), (0, 30_000));
        assert_eq!(report.files_unchanged, 3 * turn);
        let repo = place.open();
        for root in ["a", "b", "single"] {
            assert_same(&repo, report.snapshot.unwrap(), &top.join(root), &look(&top.join(root)));
        }
    }
}
