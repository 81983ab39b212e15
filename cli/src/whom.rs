//! Who we are, and which snapshot and path are meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ballast::error::Error;
use ballast::id::SnapshotId;
use ballast::repo::Identity;
use ballast::repo::Repository;
use ballast::repo::snapshots::{Filter, Snapshot};

use crate::args::FilterArgs;
use crate::exit::Failure;
use crate::io::Io;
use crate::output::name;

/// Host and user, as they are recorded. `BALLAST_HOST` is for containers, whose host name
/// is a new one each time.
pub fn identity(io: &Io) -> Identity {
    let node = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let number = || match rustix::process::geteuid() {
        uid if uid.is_root() => "root".to_owned(),
        uid => uid.as_raw().to_string(),
    };
    let user = io.env.text("USER").or_else(|| io.env.text("LOGNAME"));
    Identity { host: io.env.text("BALLAST_HOST").unwrap_or_else(node), user: user.unwrap_or_else(number) }
}

/// `path` from where relative paths begin, without `.` and doubled slashes. `..` stays: what it
/// means depends on links.
pub fn absolute(io: &Io, path: &Path) -> Result<PathBuf, Failure> {
    if path.is_absolute() {
        return Ok(tidy(path));
    }
    match &io.cwd {
        Some(cwd) => Ok(tidy(&cwd.join(path))),
        None => Err(Failure::usage(
            format!("{} is relative to a directory that has gone", name(path.as_os_str().as_bytes())),
            "give an absolute path, or change to a directory that exists",
        )),
    }
}

fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|c| *c != Component::CurDir).collect()
}

/// The engine's filter.
pub fn filter(io: &Io, args: &FilterArgs) -> Result<Filter, Failure> {
    let paths = args.paths.iter().map(|path| Ok(absolute(io, path)?.into_os_string().into_encoded_bytes()));
    Ok(Filter {
        hosts: args.hosts.clone(),
        tags: args.tags.iter().filter(|t| !t.is_empty()).cloned().collect(),
        paths: paths.collect::<Result<_, Failure>>()?,
    })
}

/// `SNAPSHOT[:PATH]` in its two halves. A path begins with `/`, has no slash at its end, and is
/// `None` if none was given.
pub fn snapshot_and_path(given: &OsStr) -> Result<(String, Option<Vec<u8>>), Failure> {
    let bytes = given.as_bytes();
    let (word, path) = match bytes.iter().position(|b| *b == b':') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let looks_like_one = |w: &[u8]| w == b"latest" || w.iter().all(u8::is_ascii_hexdigit);
    if word.is_empty() || !looks_like_one(word) {
        return Err(Failure::usage(
            format!("\"{}\" cannot name a snapshot", name(word)),
            "give `latest` or the beginning of an id, as `ballast snapshots` shows it; \
             then, if you like, a colon and a path",
        ));
    }
    let word = String::from_utf8_lossy(word).to_ascii_lowercase();
    match path {
        None => Ok((word, None)),
        Some(path) if path.starts_with(b"/") => {
            let tidied = tidy(Path::new(OsStr::from_bytes(path)));
            if tidied.components().any(|c| c == Component::ParentDir) {
                return Err(Failure::usage(
                    format!("{} leads through \"..\"", name(path)),
                    "give the path as it is in the snapshot",
                ));
            }
            Ok((word, Some(tidied.into_os_string().into_encoded_bytes())))
        }
        Some(path) => Err(Failure::usage(
            format!("\"{}\" is no path inside a snapshot: those begin with /", name(path)),
            format!("write {word}:/{}; `ballast ls {word}` shows what there is", name(path)),
        )),
    }
}

/// The snapshot that `word` means.
pub fn find(repo: &Repository, word: &str, filter: &Filter) -> Result<Snapshot, Failure> {
    let ledger = repo.ledger(false)?;
    match repo.find_snapshot(&ledger, word, filter) {
        Err(Error::NotFound { .. }) if ledger.committed().is_empty() => {
            Err(Failure::failed("there is no snapshot in this repository yet")
                .with_hint("`ballast snapshot PATH` takes one"))
        }
        Err(Error::NotFound { .. }) if word == "latest" && is_everything(filter) => {
            Err(Failure::failed("no snapshot of this repository can be read")
                .with_hint("`ballast check` says why, and what repairs it"))
        }
        Err(Error::NotFound { .. }) if word == "latest" => {
            Err(Failure::failed("no snapshot fits this host, these tags and these paths")
                .with_hint("`ballast snapshots` lists what there is"))
        }
        found => Ok(found?),
    }
}

fn is_everything(filter: &Filter) -> bool {
    filter.hosts.is_empty() && filter.tags.is_empty() && filter.paths.is_empty()
}

/// The ids that `words` mean. But for `latest` the snapshots need not be readable.
pub fn ids(repo: &Repository, words: &[String], filter: &Filter) -> Result<Vec<SnapshotId>, Failure> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let ledger = repo.ledger(false)?;
    let one = |word: &String| match snapshot_and_path(word.as_ref())? {
        (word, None) if word == "latest" => Ok(find(repo, &word, filter)?.id),
        (word, None) => Ok(repo.find_committed(&ledger, &word)?),
        (word, Some(_)) => Err(Failure::usage(
            format!("a path after {word}: has no meaning here"),
            "name whole snapshots, as `ballast snapshots` shows them",
        )),
    };
    words.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_and_paths() {
        let ok = |given: &str| {
            let (word, path) = snapshot_and_path(OsStr::new(given)).ok()?;
            Some((word, path.map(|p| String::from_utf8(p).unwrap())))
        };
        for (given, word, path) in [
            ("latest", "latest", None),
            ("4F1C", "4f1c", None),
            ("latest:/", "latest", Some("/")),
            ("latest:/srv//models/./x/", "latest", Some("/srv/models/x")),
            ("4f1c:/a:b", "4f1c", Some("/a:b")),
        ] {
            assert_eq!(ok(given), Some((word.to_owned(), path.map(str::to_owned))), "{given}");
        }
        for given in ["", ":/x", "newest", "latest:x", "latest:", "latest:/a/../b", "/srv"] {
            assert_eq!(ok(given), None, "{given}");
        }
    }
}
