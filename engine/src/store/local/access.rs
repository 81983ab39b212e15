//! Who may use what is written: owner and group of the repository directory
//! (so that a run as root leaves nothing its owner cannot use), modes 0700 and
//! 0600, and the group's bits where that directory was made for a group.

use std::io;

use super::LocalStore;
use crate::store::fs::{Access, FileStat};

const SET_GID: u32 = 0o2000;

/// What new things in a repository get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inherited {
    group_bits: u32,
    owner: (u32, u32),
}

impl Inherited {
    /// From the repository directory. Its group counts when it may read there;
    /// but a directory open to everyone is what `mkdir` gives under an ordinary
    /// umask and says nothing of a group, unless its set-group-id bit does.
    pub(super) fn from_root(root: FileStat) -> Self {
        let shared = root.mode & 0o040 != 0 && (root.mode & 0o007 == 0 || root.mode & SET_GID != 0);
        Self { group_bits: if shared { root.mode & 0o070 } else { 0 }, owner: (root.uid, root.gid) }
    }

    pub(super) fn for_directory(self) -> Access {
        Access { mode: 0o700 | self.group_bits, owner: Some(self.owner) }
    }

    pub(super) fn for_file(self) -> Access {
        Access { mode: 0o600 | (self.group_bits & 0o060), owner: Some(self.owner) }
    }
}

impl LocalStore {
    /// Looked up for each object: it also finds out that the repository is gone.
    pub(super) fn access(&self) -> io::Result<Inherited> {
        self.fs.stat(&self.root).map(Inherited::from_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::FileKind;

    #[test]
    fn group_bits_follow_a_directory_made_for_a_group() {
        let modes = |mode| {
            let root =
                FileStat { kind: FileKind::Directory, size_bytes: 0, modified_ns: 0, mode, uid: 1, gid: 2 };
            let inherited = Inherited::from_root(root);
            assert_eq!(inherited.for_file().owner, Some((1, 2)));
            (inherited.for_directory().mode, inherited.for_file().mode)
        };
        assert_eq!(modes(0o700), (0o700, 0o600));
        assert_eq!(modes(0o750), (0o750, 0o640));
        assert_eq!(modes(0o770), (0o770, 0o660));
        assert_eq!(modes(0o2775), (0o770, 0o660));
        assert_eq!(modes(0o755), (0o700, 0o600));
        assert_eq!(modes(0o710), (0o700, 0o600));
    }
}
