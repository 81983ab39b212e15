//! What the system knows of a file without opening it, and whether that is
//! still what a node says (design §3.8).
//!
//! The device number takes no part in the comparison: it changes from mount to
//! mount and from boot to boot, while the inode stays.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};

use crate::format::tree::{MARK_CHANGED, MARK_INCOMPLETE, MARK_RECHECK, Node, NodeKind};
use crate::format::wire::Stamp;

/// One look at a file, a link not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: NodeKind,
    /// Permissions, set-id, set-gid, sticky: twelve bits.
    pub mode: u32,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Length; of a link, that of its target's text.
    pub size: u64,
    /// Space it takes; less than `size` where it has holes.
    pub allocated_bytes: u64,
    /// Change of content.
    pub mtime: Stamp,
    /// Change of metadata.
    pub ctime: Stamp,
    /// Birth, where the system knows it.
    pub btime: Option<Stamp>,
    /// Inode number.
    pub inode: u64,
    /// Device it lies on.
    pub device: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Device it stands for.
    pub rdev: u64,
    /// Attribute flags that `statx` tells (immutable, append-only, no dump, compressed), else 0.
    pub attr_flags: u32,
}

impl Stat {
    /// Of `name` in the directory `dir`; a link is not followed.
    pub fn at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        look(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Of an open file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        return look(file.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH);
        #[cfg(not(target_os = "linux"))]
        Ok(from_stat(&rustix::fs::fstat(file)?))
    }

    /// Device and inode: what makes two paths the same file while both are mounted.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Is it a directory?
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Is it a regular file?
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }
}

#[cfg(target_os = "linux")]
fn look(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
    use rustix::fs::StatxFlags;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, mask) {
        Ok(found) => Ok(from_statx(&found)),
        Err(rustix::io::Errno::NOSYS) => Ok(from_stat(&rustix::fs::statat(dir, name, flags)?)),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn look(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
    Ok(from_stat(&rustix::fs::statat(dir, name, flags)?))
}

#[cfg(target_os = "linux")]
fn from_statx(s: &rustix::fs::Statx) -> Stat {
    use rustix::fs::{StatxAttributes as A, StatxFlags, makedev};
    let stamp = |t: rustix::fs::StatxTimestamp| Stamp { secs: t.tv_sec, nanos: t.tv_nsec };
    // These four have the same bits here and in FS_IOC_SETFLAGS.
    let kept = A::COMPRESSED | A::IMMUTABLE | A::APPEND | A::NODUMP;
    let flags = s.stx_attributes & s.stx_attributes_mask & kept;
    Stat {
        kind: kind_of(FileType::from_raw_mode(s.stx_mode.into())),
        mode: u32::from(s.stx_mode) & 0o7777,
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        allocated_bytes: s.stx_blocks.saturating_mul(512),
        mtime: stamp(s.stx_mtime),
        ctime: stamp(s.stx_ctime),
        btime: (s.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| stamp(s.stx_btime)),
        inode: s.stx_ino,
        device: makedev(s.stx_dev_major, s.stx_dev_minor),
        nlink: s.stx_nlink.into(),
        rdev: makedev(s.stx_rdev_major, s.stx_rdev_minor),
        attr_flags: u32::try_from(flags.bits()).unwrap_or(0),
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between systems")]
fn from_stat(s: &rustix::fs::Stat) -> Stat {
    let stamp = |secs: i64, nanos: u64| Stamp { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
    Stat {
        kind: kind_of(FileType::from_raw_mode(s.st_mode)),
        mode: s.st_mode as u32 & 0o7777,
        uid: s.st_uid,
        gid: s.st_gid,
        size: s.st_size as u64,
        allocated_bytes: (s.st_blocks as u64).saturating_mul(512),
        mtime: stamp(s.st_mtime as i64, s.st_mtime_nsec as u64),
        ctime: stamp(s.st_ctime as i64, s.st_ctime_nsec as u64),
        btime: None,
        inode: s.st_ino as u64,
        device: s.st_dev as u64,
        nlink: s.st_nlink as u64,
        rdev: s.st_rdev as u64,
        attr_flags: 0,
    }
}

fn kind_of(kind: FileType) -> NodeKind {
    match kind {
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::RegularFile | FileType::Unknown => NodeKind::File,
    }
}

/// What does not count as a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangePolicy {
    /// Inode numbers are not kept by this file system.
    pub ignore_inode: bool,
    /// Times of metadata change for reasons that do not matter here.
    pub ignore_ctime: bool,
    /// The parent snapshot is of another host: it may be of other files. Where inode and times agree by
    /// accident, the time of birth does not, and none of them is told in whole seconds only.
    pub other_host: bool,
}

/// Why a file must be read again though the parent snapshot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It was something else.
    Kind,
    /// Its length differs.
    Size,
    /// Its content was touched.
    Mtime,
    /// Its metadata was touched.
    Ctime,
    /// Another file has its name.
    Inode,
    /// Another host has a file there, and it cannot be told that it is this one.
    Host,
    /// The parent snapshot could not be sure of it: it was young or changing then.
    Recheck,
    /// The parent snapshot has not all of it.
    Incomplete,
}

impl Reason {
    /// Every reason, in the order in which they are looked for.
    pub const ALL: [Self; 8] = [
        Self::Kind,
        Self::Recheck,
        Self::Incomplete,
        Self::Size,
        Self::Mtime,
        Self::Inode,
        Self::Ctime,
        Self::Host,
    ];

    /// In a few words, to stand after a count of files.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kind => "type differs",
            Self::Size => "size differs",
            Self::Mtime => "modification time differs",
            Self::Ctime => "change time differs",
            Self::Inode => "inode differs",
            Self::Host => "known from another host only",
            Self::Recheck => "was written just before or during the last snapshot",
            Self::Incomplete => "was not stored whole last time",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// May the content of `node` be taken for what `stat` saw? Otherwise the first reason against it.
pub fn unchanged(node: &Node, stat: &Stat, policy: &ChangePolicy) -> Result<(), Reason> {
    let holds = |reason| match reason {
        Reason::Kind => node.kind == stat.kind,
        Reason::Recheck => node.marks & (MARK_RECHECK | MARK_CHANGED) == 0,
        Reason::Incomplete => node.marks & MARK_INCOMPLETE == 0,
        Reason::Size => node.size == stat.size,
        Reason::Mtime => node.mtime == stat.mtime,
        Reason::Inode => policy.ignore_inode || node.inode == stat.inode,
        Reason::Ctime => policy.ignore_ctime || node.ctime == stat.ctime,
        Reason::Host => !policy.other_host || is_the_same(node, stat),
    };
    Reason::ALL.into_iter().find(|r| !holds(*r)).map_or(Ok(()), Err)
}

/// Surely the same file, whoever looked at it: also its inode was made at the same moment, and the file
/// system tells moments finer than seconds.
fn is_the_same(node: &Node, stat: &Stat) -> bool {
    let fine = |stamp: Stamp| stamp.nanos != 0;
    let born = stat.btime.is_some_and(|born| fine(born) && node.btime == Some(born));
    born && fine(stat.ctime) && node.ctime == stat.ctime && node.inode == stat.inode
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::at::At;
    use crate::source::meta::{Names, node_of};

    #[test]
    fn each_reason_is_found_and_each_excuse_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::File::create(&path).unwrap();
        let at = At::of_path(&path).unwrap();
        let stat = at.stat().unwrap();
        let (node, _) = node_of(&at, &stat, &Names::new());
        let strict = ChangePolicy::default();
        assert_eq!(unchanged(&node, &stat, &strict), Ok(()));

        let other = Stamp { secs: 1, nanos: 0 };
        let later = |f: &dyn Fn(&mut Stat)| {
            let mut s = stat;
            f(&mut s);
            s
        };
        let cases: [(Stat, Reason); 5] = [
            (later(&|s| s.kind = NodeKind::Fifo), Reason::Kind),
            (later(&|s| s.size = 9), Reason::Size),
            (later(&|s| s.mtime = other), Reason::Mtime),
            (later(&|s| s.ctime = other), Reason::Ctime),
            (later(&|s| s.inode += 1), Reason::Inode),
        ];
        let lenient = ChangePolicy { ignore_inode: true, ignore_ctime: true, other_host: false };
        for (changed, reason) in cases {
            assert_eq!(unchanged(&node, &changed, &strict), Err(reason));
            let excused = matches!(reason, Reason::Ctime | Reason::Inode);
            assert_eq!(unchanged(&node, &changed, &lenient).is_ok(), excused, "{reason}");
        }
        assert_eq!(unchanged(&node, &later(&|s| s.device += 1), &strict), Ok(()), "a new mount is no change");

        for (mark, reason) in [
            (MARK_RECHECK, Reason::Recheck),
            (MARK_CHANGED, Reason::Recheck),
            (MARK_INCOMPLETE, Reason::Incomplete),
        ] {
            let marked = Node { marks: mark, ..node.clone() };
            assert_eq!(unchanged(&marked, &stat, &lenient), Err(reason));
        }
    }

    #[test]
    fn a_file_of_another_host_must_be_born_at_the_same_moment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at = At::of_path(file.path()).unwrap();
        let (mut stat, mut node) = (at.stat().unwrap(), Node::blank(b"f", NodeKind::File));
        let fine = Stamp { secs: 5, nanos: 7 };
        (stat.btime, stat.ctime) = (Some(fine), fine);
        crate::source::restat(&mut node, &stat, &Names::new());
        for ignored in [false, true] {
            let policy = ChangePolicy { ignore_inode: ignored, ignore_ctime: ignored, other_host: true };
            assert_eq!(unchanged(&node, &stat, &policy), Ok(()));
            let coarse = Stamp { secs: 5, nanos: 0 };
            let cases: [(&str, &dyn Fn(&mut Stat, &mut Node)); 5] = [
                ("born later", &|s, _| s.btime = Some(Stamp { nanos: 8, ..fine })),
                ("not known", &|s, n| (s.btime, n.btime) = (None, None)),
                ("by seconds", &|s, n| (s.btime, n.btime) = (Some(coarse), Some(coarse))),
                ("ctime by seconds", &|s, n| (s.ctime, n.ctime) = (coarse, coarse)),
                ("another inode", &|s, _| s.inode += 1),
            ];
            for (what, change) in cases {
                let (mut stat, mut node) = (stat, node.clone());
                change(&mut stat, &mut node);
                assert!(unchanged(&node, &stat, &policy).is_err(), "{what}");
            }
        }
    }

    #[test]
    fn open_and_by_name_agree() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let by_name = At::of_path(file.path()).unwrap().stat().unwrap();
        assert_eq!(Stat::of(file.as_file()).unwrap(), by_name);
        assert!(by_name.is_file() && !by_name.is_dir());
        let plain = from_stat(&rustix::fs::fstat(file.as_file()).unwrap());
        assert_eq!(Stat { btime: None, attr_flags: 0, ..by_name }, plain, "with and without statx");
    }
}
