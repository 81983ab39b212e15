//! Whatever a tree is made of comes back; and over whatever stood in the target, options do what a model says that
//! was written from their descriptions alone ([`crate::properties::model`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ballast::op::restore::{self, RestoreOptions};
use ballast::op::snapshot;
use ballast::progress::Silent;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Place, Seen, bytes, look, of};

#[path = "properties/model.rs"]
mod model;

/// One name and what is to be behind it.
#[derive(Debug, Clone)]
struct Thing {
    name: Vec<u8>,
    what: What,
    mode: u32,
    time: (i64, u32),
    xattr: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum What {
    /// Stretches of data (a seed and a length) and holes.
    File(Vec<(bool, u64, usize)>),
    Link(Vec<u8>),
    Pipe,
    /// Another name of the file that was made that many files before, if there was one.
    Again(usize),
    Dir(Vec<Thing>),
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let odd = [
        &b"new\nline"[..],
        b"\xff\xfe\x80",
        b"-rf",
        b" ",
        b"\x1b[2J",
        b".ballast-restore.x",
        b"a\\b",
        b"caf\xc3\xa9",
    ];
    let odd = proptest::sample::select(odd.to_vec()).prop_map(<[u8]>::to_vec);
    let long = any::<u8>().prop_map(|b| vec![if b == 0 || b == b'/' { b'x' } else { b }; 255]);
    let any = vec(any::<u8>().prop_filter("no name has these", |b| *b != 0 && *b != b'/'), 1..20);
    prop_oneof![3 => any, 2 => odd, 1 => long].prop_filter("no names", |name| name != b"." && name != b"..")
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let seg = (any::<bool>(), any::<u64>(), prop_oneof![4 => 0..9000usize, 1 => 60_000..300_000usize]);
    let leaf = prop_oneof![
        6 => vec(seg, 0..4).prop_map(What::File),
        1 => vec(1..255u8, 1..300).prop_map(What::Link),
        1 => Just(What::Pipe),
        2 => (1..4usize).prop_map(What::Again),
    ];
    let time = prop_oneof![Just(-1), Just(0), -4_000_000_000..8_000_000_000i64];
    let data = proptest::option::of(vec(any::<u8>(), 0..40));
    let rest = (names(), 0..0o10000u32, time, 0..1_000_000_000u32, data).boxed();
    let thing = move |what: BoxedStrategy<What>| {
        (what, rest.clone()).prop_map(|(what, (name, mode, secs, nanos, xattr))| Thing {
            name,
            what,
            mode,
            time: (secs, nanos),
            xattr,
        })
    };
    let one = leaf.boxed().prop_recursive(3, 40, 8, {
        let thing = thing.clone();
        move |inner| vec(thing(inner), 0..8).prop_map(What::Dir).boxed()
    });
    vec(thing(one.boxed()), 0..12)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes them. Whoever is not root must be able to read what he stores.
fn make(dir: &Path, things: &[Thing], files: &mut Vec<PathBuf>) {
    for thing in things {
        let path = dir.join(OsStr::from_bytes(&thing.name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match &thing.what {
            What::File(segs) => {
                let file = File::create(&path).unwrap();
                let mut at = 0;
                for (is_data, seed, len) in segs {
                    if *is_data {
                        file.write_all_at(&bytes(*seed, *len), at).unwrap();
                    }
                    at += *len as u64;
                    file.set_len(at).unwrap();
                }
                files.push(path.clone());
            }
            What::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            What::Pipe => {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
            What::Again(back) => match files.len().checked_sub(*back) {
                Some(at) => fs::hard_link(&files[at], &path).unwrap(),
                None => continue,
            },
            What::Dir(below) => {
                fs::create_dir(&path).unwrap();
                make(&path, below, files);
            }
        }
        let (is_link, is_again) = (matches!(thing.what, What::Link(_)), matches!(thing.what, What::Again(_)));
        if let (Some(value), What::File(_) | What::Dir(_)) = (&thing.xattr, &thing.what) {
            // Not every file system has them.
            drop(xattr::set(&path, "user.ballast", value));
        }
        if !is_link && !is_again {
            let own = if is_root() { 0 } else { 0o700 };
            fs::set_permissions(&path, fs::Permissions::from_mode(thing.mode | own)).unwrap();
        }
        let time = rustix::fs::Timespec { tv_sec: thing.time.0, tv_nsec: thing.time.1.into() };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).unwrap();
    }
}

/// All below `top`, by relative paths; a file with several names by the first of them.
fn seen(top: &Path) -> BTreeMap<PathBuf, (Seen, PathBuf)> {
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let below = look(top).into_iter().filter(|(path, _)| path != top);
    below
        .map(|(path, mut seen)| {
            let path = path.strip_prefix(top).unwrap().to_owned();
            let name = first.entry(seen.inode).or_insert_with(|| path.clone()).clone();
            seen.inode = 0;
            if seen.kind == "directory" {
                seen.nlink = 0; // Some file systems count what is below.
            }
            (path, (seen, name))
        })
        .collect()
}

#[test]
fn any_tree_comes_back() {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let all = std::cell::Cell::new(0);
    runner
        .run(&(things(), 1..4usize), |(things, threads)| {
            let (_keep, top) = crate::build::place();
            let (source, target) = (top.join("source"), top.join("target"));
            fs::create_dir(&source).unwrap();
            make(&source, &things, &mut Vec::new());
            let place = Place::default();
            let repo = place.open();
            let report = snapshot::run(&repo, &of(&source), &Silent).unwrap();
            let id = report.snapshot.unwrap();
            let path = Some(source.as_os_str().as_bytes().to_vec());
            let options = RestoreOptions { path, threads, ..RestoreOptions::new(id, target.clone()) };
            let expected = seen(&source);
            let report = restore::run(&repo, &options, &Silent).unwrap();
            prop_assert_eq!(report.problems, []);
            prop_assert_eq!(&seen(&target), &expected);
            // And over itself, in any way, it stays what it is.
            for overwrite in [restore::Overwrite::Always, restore::Overwrite::IfChanged] {
                let again = RestoreOptions { overwrite, delete: true, in_place: true, ..options.clone() };
                let report = restore::run(&repo, &again, &Silent).unwrap();
                prop_assert_eq!((report.files, report.others, report.deleted_count), (0, 0, 0));
                prop_assert_eq!(&seen(&target), &expected);
            }
            all.set(all.get() + expected.len());
            // So that all of it can be removed.
            for path in look(&top).into_keys().filter(|path| path.is_dir() && !path.is_symlink()) {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
            }
            Ok(())
        })
        .unwrap();
    assert!(all.get() > 100, "{} names in all", all.get());
}
