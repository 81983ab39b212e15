//! `dump`, `ls`, paths with links, and repositories that cannot be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::entropy::Surroundings;
use ballast::error::{Error, StoreError, StoreErrorKind};
use ballast::format::tree::NodeKind;
use ballast::id::{ObjectKind, ObjectName, SnapshotId};
use ballast::op::{dump, ls, restore};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::memory::MemoryStore;
use ballast::store::{ObjectStat, PutMode, Store, StoreResult};

use crate::build::*;
use crate::compare::same;

fn hub() -> Vec<Spec> {
    let snapshots = dir(b"snapshots", vec![dir(b"rev1", vec![link(b"model.bin", b"../../blobs/abc")])]);
    let blobs = dir(b"blobs", vec![file(b"abc", &noise(1, 3 << 20)).chunked(1 << 18)]);
    let many = (0..6000).map(|n| file(format!("n{n:05}").as_bytes(), format!("{n}").as_bytes())).collect();
    vec![
        dir(
            b"models",
            vec![snapshots, blobs, link(b"current", b"/models/snapshots/rev1"), link(b"self", b"self")],
        ),
        dir(b"many", many),
        link(b"broken", b"models/none"),
        link(b"nothing", b""),
        other(b"pipe", NodeKind::Fifo),
        sparse(b"holes", vec![Seg::Hole(300_000), Seg::Data(noise(2, 100)), Seg::Hole(5)]),
        file(b"empty", b""),
        file(b"lists", &noise(3, 300_000)).chunked(500),
    ]
}

fn dumped(repo: &Repository, id: SnapshotId, path: &str) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let len = dump::run(repo, id, path.as_bytes(), &mut out, &Silent)?;
    assert_eq!(len, out.len() as u64);
    Ok(out)
}

#[test]
fn dump_gives_the_file_and_follows_links() {
    let vault = Vault::new();
    let id = vault.snapshot(&hub());
    let get = |path: &str| dumped(&vault.repo, id, path).unwrap();
    let model = noise(1, 3 << 20);
    for path in [
        "/models/blobs/abc",
        "/models/snapshots/rev1/model.bin",
        "/models/current/model.bin",
        "/models/current/../../blobs/abc",
        "//models/./current/model.bin",
        "/../models/blobs/abc",
    ] {
        assert!(get(path) == model, "{path}");
    }
    assert!(get("/holes") == hub()[5].bytes());
    assert!(get("/lists") == noise(3, 300_000));
    assert_eq!(get("/empty"), b"");
    assert_eq!(get("/many/n04321"), b"4321");
}

#[test]
fn dump_refuses_what_has_no_content() {
    let vault = Vault::new();
    let id = vault.snapshot(&hub());
    let fails = |path: &str| dumped(&vault.repo, id, path).unwrap_err();
    for path in ["/", "/models", "/models/current", "/pipe"] {
        assert!(matches!(fails(path), Error::Usage(_)), "{path}");
    }
    for (path, word) in [
        ("/none", "/none"),
        ("/broken", "where the link /broken leads"),
        ("/models/self", "circle"),
        ("/nothing", "leads nowhere"),
        ("/empty/below", "/empty is no directory"),
        ("/many/n99999", "/many/n99999"),
        ("/many/a", "/many/a"),
    ] {
        let error = fails(path);
        assert!(matches!(error, Error::NotFound { .. }), "{path}: {error}");
        assert!(error.to_string().contains(word), "{path}: {error}");
    }
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let vault = Vault::new();
    let mut specs = vec![file(b"l00", b"end")];
    specs.extend((1..=41).map(|n| link(format!("l{n:02}").as_bytes(), format!("l{:02}", n - 1).as_bytes())));
    let id = vault.snapshot(&specs);
    assert_eq!(dumped(&vault.repo, id, "/l40").unwrap(), b"end");
    assert!(matches!(dumped(&vault.repo, id, "/l41"), Err(Error::NotFound { .. })));
}

#[test]
fn a_broken_pipe_is_the_callers_business() {
    struct Closed(usize);
    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let vault = Vault::new();
    let id = vault.snapshot(&hub());
    let done = dump::run(&vault.repo, id, b"/models/blobs/abc", &mut Closed(2), &Silent);
    assert!(matches!(done, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe));
}

fn listed(repo: &Repository, id: SnapshotId, path: Option<&str>, recursive: bool) -> Vec<String> {
    let mut out = Vec::new();
    ls::run(repo, id, path.map(str::as_bytes), recursive, &mut |l| {
        assert!(l.path.ends_with(&l.node.name));
        out.push(String::from_utf8(l.path.to_vec()).unwrap());
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn ls_gives_names_in_order() {
    let vault = Vault::new();
    let id = vault.snapshot(&hub());
    let list = |path, recursive| listed(&vault.repo, id, path, recursive);
    let top = ["/broken", "/empty", "/holes", "/lists", "/many", "/models", "/nothing", "/pipe"];
    assert_eq!(list(None, false), top);
    assert_eq!(list(Some("/"), false), top);
    let models = [
        "/models/blobs",
        "/models/blobs/abc",
        "/models/current",
        "/models/self",
        "/models/snapshots",
        "/models/snapshots/rev1",
        "/models/snapshots/rev1/model.bin",
    ];
    assert_eq!(list(Some("/models"), true), models);
    assert_eq!(list(Some("/models/current"), true), ["/models/snapshots/rev1/model.bin"]);
    assert_eq!(list(Some("/models/current/model.bin"), true), ["/models/snapshots/rev1/model.bin"]);
    assert_eq!(list(Some("/broken"), false), ["/broken"]);
    assert_eq!(list(Some("/empty"), false), ["/empty"]);
    assert_eq!(list(None, true).len(), 8 + 6000 + 7);
    let missing = ls::run(&vault.repo, id, Some(b"/none"), false, &mut |_| Ok(()));
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

/// Refuses every write, and counts reads of a part.
struct ReadOnly(Arc<MemoryStore>, AtomicU64);

fn denied(name: &ObjectName) -> StoreError {
    StoreError::new(StoreErrorKind::Denied, "write", name, "read-only")
}

impl Store for ReadOnly {
    fn location(&self) -> String {
        self.0.location()
    }
    fn prepare(&self) -> StoreResult<()> {
        Err(denied(&ObjectName::config()))
    }
    fn put(&self, name: &ObjectName, _bytes: &[u8], _mode: PutMode) -> StoreResult<()> {
        Err(denied(name))
    }
    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.0.get(name, limit_bytes)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get_range(name, offset, len)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.0.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.0.list(kind)
    }
    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        Err(denied(name))
    }
}

#[test]
fn a_repository_that_cannot_be_written_is_read() {
    let vault = Vault::new();
    let mut specs = hub();
    specs.retain(|s| s.node.name[..] != b"nothing"[..]);
    let id = vault.snapshot(&specs);
    let cache = tempfile::tempdir().unwrap();
    for cache_dir in [None, Some(cache.path().to_owned()), Some("/proc/none".into())] {
        let store = Arc::new(ReadOnly(vault.store.clone(), AtomicU64::new(0)));
        let open = OpenOptions { cache_dir, ..OpenOptions::default() };
        let repo = Repository::open(store, b"word", &open, Surroundings::system()).unwrap();
        let (_keep, target) = place();
        assert_eq!(restore::run(&repo, &to(id, &target), &Silent).unwrap().problem_count, 0);
        same(&specs, &target);
        assert!(dumped(&repo, id, "/models/current/model.bin").unwrap() == noise(1, 3 << 20));
        assert_eq!(listed(&repo, id, None, false).len(), 7);
    }
}

#[test]
fn a_frame_shared_by_many_files_is_read_once() {
    let vault = Vault::new();
    let id = vault.snapshot(&[dir(
        b"d",
        (0..3000).map(|n| file(format!("{n:04}").as_bytes(), &noise(n, 1000))).collect(),
    )]);
    let reads = [1, 8].map(|threads| {
        let store = Arc::new(ReadOnly(vault.store.clone(), AtomicU64::new(0)));
        let open = OpenOptions::default();
        let repo = Repository::open(store.clone(), b"word", &open, Surroundings::system()).unwrap();
        let (_keep, target) = place();
        let options = restore::RestoreOptions { threads, ..to(id, &target) };
        assert_eq!(restore::run(&repo, &options, &Silent).unwrap().files, 3000);
        store.1.load(Ordering::Relaxed)
    });
    assert_eq!(reads[0], reads[1], "whatever the number of threads");
    assert!(reads[0] < 40, "{} reads", reads[0]);
}
