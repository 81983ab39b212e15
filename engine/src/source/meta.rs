//! From a look at a file to its node, all but the content of files and
//! directories (design §8, "Node").

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use super::at::{At, shown};
use super::stat::Stat;
use super::xattrs;
use crate::error::{Problem, ProblemKind};
use crate::format::content::Entry;
use crate::format::tree::{MARK_RECHECK, Node, NodeKind};
use crate::format::wire::{Bytes, Stamp};

/// A file touched this shortly before it was looked at may be touched again
/// within the same tick of its file system's clock, unseen (FAT ticks in 2 s).
pub const YOUNG_NS: i64 = 2_000_000_000;

/// Names of users and groups, asked of the system once each.
#[derive(Debug, Default)]
pub struct Names {
    /// A handful, asked for with each file.
    known: Mutex<BTreeMap<(Owner, u32), Bytes>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    User,
    Group,
}

impl Names {
    /// None known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Name of a user; empty if there is none.
    pub fn user(&self, uid: u32) -> Bytes {
        self.get(Owner::User, uid, || uzers::get_user_by_uid(uid).map(|u| u.name().as_bytes().into()))
    }

    /// Name of a group; empty if there is none.
    pub fn group(&self, gid: u32) -> Bytes {
        self.get(Owner::Group, gid, || uzers::get_group_by_gid(gid).map(|g| g.name().as_bytes().into()))
    }

    fn get(&self, owner: Owner, number: u32, ask: impl FnOnce() -> Option<Bytes>) -> Bytes {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.entry((owner, number)).or_insert_with(|| ask().unwrap_or_default()).clone()
    }
}

/// Node of what lies at `at`, as `stat` saw it. A link has its target as
/// content; files and directories have none yet, the rest never has. Only
/// files and links have a size. Never fails: what could not be read is among
/// the problems.
pub fn node_of(at: &At, stat: &Stat, names: &Names) -> (Node, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut node = Node::blank(at.name(), stat.kind);
    node.extensions = xattrs::read(at, &mut problems).into_iter().collect();
    restat(&mut node, stat, names);
    if stat.kind == NodeKind::Symlink {
        match rustix::fs::readlinkat(at.dir(), at.entry(), Vec::new()) {
            Ok(target) => {
                node.size = target.as_bytes().len() as u64;
                node.content = vec![Entry::Inline { bytes: target.into_bytes().into() }];
            }
            Err(e) => {
                let kind = if e == rustix::io::Errno::NOENT || e == rustix::io::Errno::INVAL {
                    ProblemKind::Vanished
                } else {
                    ProblemKind::Unreadable
                };
                problems.push(Problem::new(kind, shown(at.path()), format!("cannot read the link: {e}")));
            }
        }
    }
    (node, problems)
}

/// Takes over what a newer look at the same file saw: all but name, content,
/// extensions and marks.
pub fn restat(node: &mut Node, stat: &Stat, names: &Names) {
    node.kind = stat.kind;
    node.mode = stat.mode;
    node.uid = stat.uid;
    node.gid = stat.gid;
    node.user = names.user(stat.uid);
    node.group = names.group(stat.gid);
    node.size = if matches!(stat.kind, NodeKind::File | NodeKind::Symlink) { stat.size } else { 0 };
    node.mtime = stat.mtime;
    node.ctime = stat.ctime;
    node.btime = stat.btime;
    node.inode = stat.inode;
    node.device = stat.device;
    node.nlink = stat.nlink;
    node.rdev = stat.rdev;
    node.attr_flags = stat.attr_flags;
}

/// [`MARK_RECHECK`] if the file was touched less than [`YOUNG_NS`] before
/// `looked_ns`, the moment before `stat` was taken, or seemingly after it.
pub fn marks_for(stat: &Stat, looked_ns: i64) -> u8 {
    let young = |t: Stamp| t.to_ns() >= looked_ns.saturating_sub(YOUNG_NS);
    if young(stat.mtime) || young(stat.ctime) { MARK_RECHECK } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tree::{EXT_XATTRS, XattrsV1};
    use crate::format::wire::decode;

    fn node(path: &std::path::Path) -> (Node, Vec<Problem>) {
        let at = At::of_path(path).unwrap();
        let stat = at.stat().unwrap();
        node_of(&at, &stat, &Names::new())
    }

    #[test]
    fn young_files_are_marked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = At::of_path(file.path()).unwrap().stat().unwrap();
        let touched_ns = stat.ctime.to_ns().max(stat.mtime.to_ns());
        assert_eq!(marks_for(&stat, touched_ns + YOUNG_NS), MARK_RECHECK);
        assert_eq!(marks_for(&stat, touched_ns + YOUNG_NS + 1), 0);
        assert_eq!(marks_for(&stat, touched_ns - YOUNG_NS), MARK_RECHECK, "from the future");
        let old_content = Stat { mtime: Stamp { secs: 0, nanos: 0 }, ..stat };
        assert_eq!(marks_for(&old_content, touched_ns), MARK_RECHECK, "ctime alone counts");
        let old_metadata = Stat { ctime: Stamp { secs: 0, nanos: 0 }, ..stat };
        assert_eq!(marks_for(&old_metadata, touched_ns), MARK_RECHECK, "mtime alone counts");
    }

    #[test]
    fn attributes_are_sorted_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        std::fs::File::create(&file).unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        if xattr::set(&file, "user.b", b"2").and_then(|()| xattr::set(&file, "user.a", b"\0")).is_err() {
            eprintln_skip("extended attributes");
            return;
        }
        let (of_file, problems) = node(&file);
        assert!(problems.is_empty(), "{problems:?}");
        let found: XattrsV1 = decode(of_file.extension(EXT_XATTRS).unwrap()).unwrap();
        let user: Vec<_> = found.pairs.iter().filter(|(n, _)| n.starts_with(b"user.")).collect();
        assert_eq!(user.len(), 2);
        assert_eq!((&*user[0].0, &*user[0].1), (&b"user.a"[..], &b"\0"[..]));
        assert!(user[0].0 < user[1].0);
        let (of_link, _) = node(&link);
        let followed = of_link.extension(EXT_XATTRS).is_some_and(|e| e.windows(6).any(|w| w == b"user.a"));
        assert!(!followed);
        assert_eq!(of_link.link_target(), Some(&b"f"[..]));
        assert_eq!(of_link.size, 1);
    }

    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn eprintln_skip(what: &str) {
        eprintln!("skipped: no {what} here");
    }

    #[test]
    fn owners_have_names_where_known() {
        let names = Names::new();
        assert_eq!(&*names.user(0), b"root");
        assert_eq!(&*names.user(3_999_999_999), b"");
        assert_eq!(&*names.group(3_999_999_999), b"");
    }
}
