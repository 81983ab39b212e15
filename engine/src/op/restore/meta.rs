//! Owner, attributes, mode and times, in the only order that keeps them: giving a file away
//! takes its set-id bits and capabilities, attributes of a user need write permission, an ACL
//! moves the mode, and everything moves ctime.
//!
//! Without root the owner stays who restores. A set-id bit is then left out too where it would
//! speak for another user or group than the one recorded.
//!
//! Of what was there before only what differs is set, and of what is new and known to be ours not the owner.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
    utimensat,
};
use rustix::io::Errno;

use super::door;
use super::run::Run;
use crate::error::ProblemKind;
use crate::format::tree::{EXT_XATTRS, Node, NodeKind, XattrsV1};
use crate::format::wire;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// What is known of a file or directory before its metadata are set.
#[derive(Clone, Copy)]
pub enum Before<'s> {
    /// It was there.
    There(&'s Stat),
    /// It is new; its group may be its directory's.
    New,
    /// It is new, and belongs to the user and group of this process.
    Ours,
}

impl<'s> Before<'s> {
    fn stat(self) -> Option<&'s Stat> {
        match self {
            Self::There(stat) => Some(stat),
            Self::New | Self::Ours => None,
        }
    }
}

/// Sets all of it on a file or directory that is open.
pub fn apply(run: &Run<'_>, file: &File, node: &Node, before: Before<'_>, path: &[u8]) {
    let was = before.stat();
    let given = owner(run, node, before, path, |uid, gid| fchown(file, Some(uid), Some(gid)));
    each_xattr(run, node, path, |name, value| {
        use xattr::FileExt;
        if was.is_some() && file.get_xattr(name).ok().flatten().as_deref() == Some(value) {
            return Ok(());
        }
        file.set_xattr(name, value)
    });
    let mode = mode_for(node, &given);
    if given.changed || was.is_none_or(|s| s.st_mode & 0o7777 != mode) {
        let done = fchmod(file, Mode::from_raw_mode(mode));
        said(run, path, "cannot set the mode", done);
    }
    if was.is_none_or(|s| !same_mtime(s, node)) {
        said(run, path, "cannot set the time", futimens(file, &times(node)));
    }
}

/// The same for what cannot be opened: links, pipes, sockets, devices, by a handle of it.
pub fn apply_unopened(run: &Run<'_>, handle: &File, node: &Node, was: Option<&Stat>, path: &[u8]) {
    let given = owner(run, node, was.map_or(Before::New, Before::There), path, |uid, gid| {
        chownat(handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
    });
    let by_path = door::proc_path(handle);
    each_xattr(run, node, path, |name, value| xattr::set_deref(&by_path, name, value));
    let mode = mode_for(node, &given);
    if node.kind != NodeKind::Symlink && (given.changed || was.is_none_or(|s| s.st_mode & 0o7777 != mode)) {
        said(run, path, "cannot set the mode", rustix::fs::chmod(&by_path, Mode::from_raw_mode(mode)));
    }
    if was.is_none_or(|s| !same_mtime(s, node)) {
        let done = utimensat(handle, "", &times(node), AtFlags::EMPTY_PATH);
        said(run, path, "cannot set the time", done);
    }
}

/// Is there nothing to set but perhaps attributes?
pub fn is_right(run: &Run<'_>, stat: &Stat, node: &Node) -> bool {
    let owned = !run.is_root() || (stat.st_uid == node.uid && stat.st_gid == node.gid);
    owned
        && same_mtime(stat, node)
        && (node.kind == NodeKind::Symlink || stat.st_mode & 0o7777 == node.mode & 0o7777)
}

/// What became of the owner.
struct Given {
    changed: bool,
    user_right: bool,
    group_right: bool,
}

fn owner(
    run: &Run<'_>,
    node: &Node,
    was: Before<'_>,
    path: &[u8],
    give: impl FnOnce(Uid, Gid) -> Result<(), Errno>,
) -> Given {
    let (uid, gid) = was.stat().map_or(run.me, |s| (s.st_uid, s.st_gid));
    let before = Given { changed: false, user_right: uid == node.uid, group_right: gid == node.gid };
    if !run.is_root() {
        if !(before.user_right && before.group_right) {
            run.skip_owner();
        }
        return before;
    }
    if !matches!(was, Before::New) && before.user_right && before.group_right {
        return before;
    }
    if node.uid == u32::MAX || node.gid == u32::MAX {
        run.repeated(ProblemKind::Metadata, path, "cannot set the owner: no such number".to_owned());
        return before;
    }
    match give(Uid::from_raw(node.uid), Gid::from_raw(node.gid)) {
        Ok(()) => Given { changed: true, user_right: true, group_right: true },
        Err(e) => {
            run.repeated(ProblemKind::Metadata, path, format!("cannot set the owner: {e}"));
            before
        }
    }
}

fn mode_for(node: &Node, given: &Given) -> u32 {
    let lost = if given.user_right { 0 } else { SET_UID } | if given.group_right { 0 } else { SET_GID };
    node.mode & 0o7777 & !lost
}

fn each_xattr(run: &Run<'_>, node: &Node, path: &[u8], set: impl Fn(&OsStr, &[u8]) -> std::io::Result<()>) {
    let Some(data) = node.extension(EXT_XATTRS) else { return };
    let attributes: XattrsV1 = match wire::decode(data) {
        Ok(attributes) => attributes,
        Err(e) => return run.problem(ProblemKind::Metadata, path, e),
    };
    for (name, value) in &attributes.pairs {
        if let Err(e) = set(OsStr::from_bytes(name), value) {
            let name = name.escape_ascii();
            let message = format!("cannot set the extended attribute {name}: {e}");
            run.repeated(ProblemKind::Metadata, path, message);
        }
    }
}

fn said(run: &Run<'_>, path: &[u8], what: &str, done: Result<(), Errno>) {
    if let Err(e) = done {
        run.repeated(ProblemKind::Metadata, path, format!("{what}: {e}"));
    }
}

/// Is what stands there older than the node?
pub fn is_older(stands: &Stat, node: &Node) -> bool {
    let there = (i128::from(stands.st_mtime), i128::from(stands.st_mtime_nsec));
    there < (i128::from(node.mtime.secs), i128::from(node.mtime.nanos))
}

/// Were they last written to at the same time?
pub fn same_mtime(stat: &Stat, node: &Node) -> bool {
    // Of one width here and another there: compared in the widest.
    i128::from(stat.st_mtime) == i128::from(node.mtime.secs)
        && i128::from(stat.st_mtime_nsec) == i128::from(node.mtime.nanos)
}

fn times(node: &Node) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: node.mtime.secs, tv_nsec: node.mtime.nanos.into() },
    }
}
