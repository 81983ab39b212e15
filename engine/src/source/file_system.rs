//! The kind of file system that something open lies on, as far as it decides how it is read.

use std::os::fd::AsFd;

/// See the module's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// No medium, only memory and swap.
    Memory,
    /// A server's, or another program's: mapped pages can be lost with it, or be stale, and locks may be nobody else's.
    Remote,
    /// Its holes are not to be believed: it has called data that was not written out yet a hole (OpenZFS issue 15526).
    Zfs,
    /// Any other.
    Local,
    /// It cannot be told.
    Unknown,
}

impl FileSystem {
    /// Of what is open as `handle`. Asked of each large file: cheaper than to remember it by device.
    #[cfg(target_os = "linux")]
    #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast, reason = "32 bits on some machines")]
    pub(crate) fn of(handle: impl AsFd) -> Self {
        rustix::fs::fstatfs(handle).map_or(Self::Unknown, |found| Self::named(found.f_type as u32))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_handle: impl AsFd) -> Self {
        Self::Unknown
    }

    /// By Linux's magic number.
    #[cfg(target_os = "linux")]
    fn named(magic: u32) -> Self {
        match magic {
            0x0102_1994   // tmpfs
            | 0x8584_58f6 // ramfs
            => Self::Memory,
            0x2fc1_2fc1 => Self::Zfs,
            0x6969        // NFS
            | 0x517b      // SMB
            | 0xfe53_4d42 // SMB 2
            | 0xff53_4d42 // CIFS
            | 0x6573_5546 // FUSE, virtiofs
            | 0x0102_1997 // 9p
            | 0x00c3_6400 // Ceph
            | 0x5346_414f // AFS
            | 0x6b41_4653 // kAFS
            | 0x7375_7245 // Coda
            | 0x7461_636f // OCFS2
            | 0x0116_1970 // GFS2
            | 0x0bd0_0bd0 // Lustre
            | 0x786f_4256 // VirtualBox shared folders
            | 0xbacb_acbc // VMware shared folders
            => Self::Remote,
            _ => Self::Local,
        }
    }

    /// Is it this machine's own: do mapped pages only fail where a file is cut short, do locks hold for all who use it?
    pub(super) fn is_local(self) -> bool {
        matches!(self, Self::Memory | Self::Zfs | Self::Local)
    }

    /// Is a mapping safe, and cheaper than copying? Not in memory, where files are single pages (decision 27).
    pub(super) fn is_mapped_well(self) -> bool {
        self.is_local() && self != Self::Memory
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_as_it_bears() {
        let kinds = [0x0102_1994, 0x6969, 0x2fc1_2fc1, 0xef53].map(FileSystem::named);
        assert_eq!(kinds, [FileSystem::Memory, FileSystem::Remote, FileSystem::Zfs, FileSystem::Local]);
        assert_eq!(kinds.map(FileSystem::is_local), [true, false, true, true]);
        assert_eq!(kinds.map(FileSystem::is_mapped_well), [false, false, true, true]);
        assert!(!FileSystem::Unknown.is_local() && !FileSystem::Unknown.is_mapped_well());
    }

    #[test]
    fn what_is_open_is_asked() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(FileSystem::of(&proc), FileSystem::Local);
    }
}
