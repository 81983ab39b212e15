//! Is what stands in a directory what was described?

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use ballast::format::tree::{EXT_XATTRS, NodeKind, XattrsV1};
use ballast::format::wire;

use crate::build::{Seg, Spec};

/// Panics where it is not. Nothing else may be there.
pub fn same(specs: &[Spec], target: &Path) {
    let mut inodes = BTreeMap::new();
    same_in(specs, target, &mut inodes);
}

fn same_in(specs: &[Spec], target: &Path, inodes: &mut BTreeMap<u64, u64>) {
    let wanted: BTreeSet<_> = specs.iter().map(|s| s.node.name.to_vec()).collect();
    let found: BTreeSet<_> =
        fs::read_dir(target).unwrap().map(|e| e.unwrap().file_name().as_bytes().to_vec()).collect();
    assert_eq!(shown(&found), shown(&wanted), "names in {}", target.display());
    for spec in specs {
        let path = target.join(OsStr::from_bytes(&spec.node.name));
        same_one(spec, &path, inodes);
    }
}

fn shown(names: &BTreeSet<Vec<u8>>) -> Vec<String> {
    names.iter().map(|n| n.escape_ascii().to_string()).collect()
}

fn same_one(spec: &Spec, path: &Path, inodes: &mut BTreeMap<u64, u64>) {
    let node = &spec.node;
    let meta = path.symlink_metadata().unwrap();
    let what = path.display();
    let kind = meta.file_type();
    let right = match node.kind {
        NodeKind::File => kind.is_file(),
        NodeKind::Directory => kind.is_dir(),
        NodeKind::Symlink => kind.is_symlink(),
        NodeKind::Fifo => kind.is_fifo(),
        NodeKind::Socket => kind.is_socket(),
        NodeKind::CharDevice => kind.is_char_device() && meta.rdev() == node.rdev,
        NodeKind::BlockDevice => kind.is_block_device() && meta.rdev() == node.rdev,
    };
    assert!(right, "{what} is {kind:?}, not {:?}", node.kind);
    assert_eq!((meta.uid(), meta.gid()), (node.uid, node.gid), "owner of {what}");
    assert_eq!(
        (meta.mtime(), meta.mtime_nsec()),
        (node.mtime.secs, i64::from(node.mtime.nanos)),
        "time of {what}"
    );
    if node.kind != NodeKind::Symlink {
        assert_eq!(meta.permissions().mode() & 0o7777, node.mode, "mode of {what}");
    }
    if let Some(data) = node.extension(EXT_XATTRS) {
        let attributes: XattrsV1 = wire::decode(data).unwrap();
        for (name, value) in &attributes.pairs {
            let got = xattr::get(path, OsStr::from_bytes(name)).unwrap();
            assert_eq!(got.as_deref(), Some(&value[..]), "attribute of {what}");
        }
    }
    match node.kind {
        NodeKind::Directory => same_in(&spec.children, path, inodes),
        NodeKind::Symlink => {
            assert_eq!(Some(fs::read_link(path).unwrap().as_os_str().as_bytes()), node.link_target());
        }
        NodeKind::File => {
            assert!(fs::read(path).unwrap() == spec.bytes(), "content of {what}");
            let holes = spec.segs.iter().any(|s| matches!(s, Seg::Hole(len) if *len >= 1 << 20));
            if holes {
                assert!(meta.blocks() * 512 + (1 << 20) <= node.size, "{what} has no holes");
            }
            if node.nlink > 1 {
                assert_eq!(*inodes.entry(node.inode).or_insert(meta.ino()), meta.ino(), "{what}");
                assert_eq!(meta.nlink(), node.nlink, "links of {what}");
            }
        }
        _ => {}
    }
}

/// Status-change times of everything below: they tell of any write.
pub fn touched(target: &Path) -> BTreeMap<Vec<u8>, (i64, i64)> {
    let mut out = BTreeMap::new();
    let mut todo = vec![target.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        out.insert(path.as_os_str().as_bytes().to_vec(), (meta.ctime(), meta.ctime_nsec()));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    out
}

/// Names of all that is below a directory.
pub fn names(target: &Path) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut todo = vec![target.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            out.insert(path.strip_prefix(target).unwrap().to_str().unwrap().to_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path);
            }
        }
    }
    out
}
