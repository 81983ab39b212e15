//! Extended attributes, POSIX ACLs (`system.posix_acl_*`) among them, of a name
//! that is not followed if it is a link.
//!
//! A file system that has none is no problem; one that has them and does not
//! give them is.
//!
//! That there are none is asked of the directory's handle (`listxattrat`, Linux 6.13); older systems know paths only, and to
//! walk one through `/proc` takes most of the time that a look at an unchanged file takes.

use std::io;
use std::os::unix::ffi::OsStrExt;

use super::at::{At, shown};
use crate::error::{Problem, ProblemKind};
use crate::format::tree::{EXT_XATTRS, XattrsV1};
use crate::format::wire::{Bytes, Extension, Record, encode};

/// Room left in the record for lengths and its own head.
const SLACK_BYTES: usize = 64 << 10;

/// The extension that holds all attributes of `at`, if it has any.
pub(super) fn read(at: &At, problems: &mut Vec<Problem>) -> Option<Extension> {
    if !xattr::SUPPORTED_PLATFORM {
        return None;
    }
    let mut fail = |what: &str, error: &io::Error| {
        problems.push(Problem::new(
            ProblemKind::Metadata,
            shown(at.path()),
            format!("cannot read {what}: {error}"),
        ));
    };
    if has_none(at) {
        return None;
    }
    let path = at.handle_path();
    let names = match xattr::list(&path) {
        Ok(names) => names,
        Err(e) if is_none(&e) => return None,
        Err(e) => {
            fail("extended attributes", &e);
            return None;
        }
    };
    let mut pairs: Vec<(Bytes, Bytes)> = Vec::new();
    let mut total_bytes = SLACK_BYTES;
    for name in names {
        let label = || format!("extended attribute {}", name.as_bytes().escape_ascii());
        match xattr::get(&path, &name) {
            Ok(Some(value)) => {
                total_bytes += name.len() + value.len() + 16;
                if total_bytes > XattrsV1::LIMIT_BYTES {
                    fail(&label(), &io::Error::other("more of them than can be stored"));
                    break;
                }
                pairs.push((name.as_bytes().into(), value.into()));
            }
            Ok(None) => {}
            Err(e) if is_none(&e) => {}
            Err(e) => fail(&label(), &e),
        }
    }
    if pairs.is_empty() {
        return None;
    }
    pairs.sort();
    Some(Extension { tag: EXT_XATTRS, critical: false, data: encode(&XattrsV1 { pairs }).into() })
}

/// Is it certain that there are none? So it is with most files, and one call says it.
#[cfg(target_os = "linux")]
fn has_none(at: &At) -> bool {
    use rustix::io::Errno;
    if let Some(length) = super::listxattrat::length_by_handle(at) {
        return length == 0;
    }
    matches!(rustix::fs::llistxattr_query(at.handle_path()), Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOENT))
}

/// The usual way finds out.
#[cfg(not(target_os = "linux"))]
fn has_none(_at: &At) -> bool {
    false
}

/// Does the error only say that there are none, or that the file is gone (which others report)?
pub(super) fn is_none(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || [libc::ENOTSUP, libc::EOPNOTSUPP, libc::ENOSYS].map(Some).contains(&error.raw_os_error())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::listxattrat::length_by_handle;
    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn by_handle_and_by_path_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| At::of_path(&dir.path().join(name)).unwrap();
        std::fs::File::create(dir.path().join("none")).unwrap();
        std::fs::File::create(dir.path().join("one")).unwrap();
        std::os::unix::fs::symlink("one", dir.path().join("link")).unwrap();
        if xattr::set(dir.path().join("one"), "user.a", b"1").is_err() {
            eprintln!("skipped: no extended attributes here");
            return;
        }
        if length_by_handle(&at("none")).is_none() {
            eprintln!("skipped: this system has no listxattrat");
            return;
        }
        for name in ["none", "one", "link"] {
            let by_path = rustix::fs::llistxattr_query(at(name).handle_path()).unwrap();
            assert_eq!(length_by_handle(&at(name)), Some(by_path), "{name}");
        }
        assert!(!has_none(&at("one")));
        // Labels of a security module count as well.
        let first = length_by_handle(&at("none"));
        assert_eq!(length_by_handle(&at("missing")), Some(0), "others say that it is gone");
        assert_eq!(length_by_handle(&at("none")), first, "an error is no reason never to ask again");
    }
}
