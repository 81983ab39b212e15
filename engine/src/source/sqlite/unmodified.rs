//! Is a database what the parent snapshot captured? Its main file alone cannot tell: with a
//! write-ahead log, commits leave it as it is for a long time.

use super::beside::Beside;
use super::options::SqliteMode;
use crate::format::record::{LookV1, SqliteFilesV1};
use crate::format::tree::{CAPTURE_PLAIN, CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, EXT_SQLITE_FILES, Node};
use crate::format::wire::decode;
use crate::source::at::At;
use crate::source::stat::{ChangePolicy, Stat, unchanged};

/// Words for a change beside the main file.
pub const JOURNAL_DIFFERS: &str = "the log or journal beside the database differs";
/// Words for a database whose bytes were stored as they were.
const WAS_LIVE: &str = "the database was in use and could not be captured last time";
/// Words for an image that is no longer asked for.
const WAS_IMAGE: &str = "an image was stored last time, now its bytes are asked for";
/// Pages, and so databases, are multiples of this.
const LEAST_PAGE_BYTES: u64 = 512;

/// Why a file must be read again, in a few words, though the parent has `node` in its place.
pub fn reason_to_read(
    node: &Node,
    at: &At,
    stat: &Stat,
    policy: &ChangePolicy,
    mode: SqliteMode,
) -> Option<&'static str> {
    if node.capture != CAPTURE_SQLITE {
        let plain = unchanged(node, stat, policy).err().map(|reason| reason.words());
        return plain.or_else(|| match (mode, node.capture) {
            (SqliteMode::Off, _) => None,
            (_, CAPTURE_PLAIN_LIVE) => Some(WAS_LIVE),
            // It may be a database that had no log then. Few other files have such a length.
            (_, CAPTURE_PLAIN) if stat.size.is_multiple_of(LEAST_PAGE_BYTES) && stat.size > 0 => {
                (Beside::of(at).wal_bytes() > 0 || moved(at, stat)).then_some(JOURNAL_DIFFERS)
            }
            _ => None,
        });
    }
    if mode == SqliteMode::Off {
        return Some(WAS_IMAGE);
    }
    let files = node.extension(EXT_SQLITE_FILES).and_then(|data| decode::<SqliteFilesV1>(data).ok());
    let Some(files) = files else { return Some(JOURNAL_DIFFERS) };
    // The node's size is the image's: equal if the main file has its old length, else not.
    let size = if stat.size == files.main_bytes { node.size } else { !node.size };
    if let Err(reason) = unchanged(node, &Stat { size, ..*stat }, policy) {
        return Some(reason.words());
    }
    let beside = Beside::of(at);
    let same = |then: Option<LookV1>, now: Option<Stat>| match (then, now) {
        (None, None) => true,
        (Some(then), Some(now)) => {
            then.size == now.size
                && then.mtime == now.mtime
                && (policy.ignore_ctime && !policy.other_host || then.ctime == now.ctime)
                && (policy.ignore_inode && !policy.other_host || then.inode == now.inode)
        }
        _ => false,
    };
    let same = same(files.wal, beside.wal) && same(files.journal, beside.journal);
    (!same || moved(at, stat)).then_some(JOURNAL_DIFFERS)
}

/// Is the main file another than at the look before that beside it? A log that was folded into it in between is
/// gone, and what it held shows in the main file only.
fn moved(at: &At, looked: &Stat) -> bool {
    at.stat().map_or(true, |now| {
        (now.identity(), now.size, now.mtime, now.ctime)
            != (looked.identity(), looked.size, looked.mtime, looked.ctime)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::meta::{Names, node_of};

    #[test]
    fn a_file_that_changed_since_it_was_looked_at_is_read_where_it_may_be_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("db");
        let write = |bytes: &[u8]| std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        write(&[1; 1024]);
        let at = At::of_path(&path).unwrap();
        let looked = at.stat().unwrap();
        let (node, _) = node_of(&at, &looked, &Names::new());
        let reason = || reason_to_read(&node, &at, &looked, &ChangePolicy::default(), SqliteMode::default());
        assert_eq!(reason(), None);
        // What a checkpoint leaves: the log is gone, and what it held is in the file.
        write(&[2; 2048]);
        assert_eq!(reason(), Some(JOURNAL_DIFFERS));
    }
}
