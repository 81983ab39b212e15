//! Who we are, and which snapshot and path are meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ballast::error::Error;
use ballast::id::SnapshotId;
use ballast::repo::Identity;
use ballast::repo::Repository;
use ballast::repo::snapshots::{Filter, Snapshot};

use crate::args::{FilterArgs, LookArgs, SeveralArgs};
use crate::exit::Failure;
use crate::io::Io;
use crate::output::name;
use crate::printer::Printer;
use crate::time;

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
        ..Filter::default()
    })
}

/// The same, at that time.
pub fn look(io: &Io, args: &LookArgs) -> Result<Filter, Failure> {
    let before_ns = args.before.as_deref().map(|text| moment(io, text)).transpose()?;
    Ok(Filter { before_ns, ..filter(io, &args.filter)? })
}

/// The same, in a stretch of time.
pub fn several(io: &Io, args: &SeveralArgs) -> Result<Filter, Failure> {
    let since_ns = args.since.as_deref().map(|text| moment(io, text)).transpose()?;
    Ok(Filter { since_ns, ..look(io, &args.look)? })
}

/// Nanoseconds since 1970 of a moment, or of so long ago.
fn moment(io: &Io, text: &str) -> Result<i64, Failure> {
    time::point(text, &io.zone, io.surroundings.clock.now_ns()).ok_or_else(|| {
        Failure::usage(
            format!("\"{}\" is no time", name(text.as_bytes())),
            "write it as 2025-04-05, \"2025-04-05 10:00\", 2025-04-05T10:00:00Z, or as so long ago: 7d, 12h, 1y6m",
        )
    })
}

/// What names a snapshot.
enum Word {
    /// The newest, or the one so many before it.
    Latest(usize),
    /// The newest at that time; not yet understood.
    At(String),
    /// The beginning of an id.
    Id(String),
}

impl Word {
    fn parse(word: &str) -> Option<Self> {
        if let Some(time) = word.strip_prefix('@') {
            return (!time.is_empty()).then(|| Self::At(time.to_owned()));
        }
        if let Some(rest) = word.strip_prefix("latest") {
            let back = if rest.is_empty() { Some(0) } else { rest.strip_prefix('~')?.parse().ok() };
            return back.map(Self::Latest);
        }
        let hex = !word.is_empty() && word.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Self::Id(word.to_ascii_lowercase()))
    }
}

/// A model was needed, and only a snapshot was given.
pub fn no_model(word: &str) -> Failure {
    let hint = format!("write {word}:/path/of/the/model; `ballast find '*.safetensors'` finds some");
    Failure::usage("no model was named", hint)
}

/// `SNAPSHOT[:PATH]` in its two halves. A path begins with `/`, has no slash at its end, and is
/// `None` if none was given.
pub fn snapshot_and_path(given: &OsStr) -> Result<(String, Option<Vec<u8>>), Failure> {
    let bytes = given.as_bytes();
    // A time has colons of its own.
    let colon = match bytes.starts_with(b"@") {
        true => bytes.windows(2).position(|pair| pair == b":/"),
        false => bytes.iter().position(|b| *b == b':'),
    };
    let (word, path) = match colon {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let Some(word) = std::str::from_utf8(word).ok().filter(|word| Word::parse(word).is_some()) else {
        return Err(Failure::usage(
            format!("\"{}\" cannot name a snapshot", name(word)),
            "give `latest`, `latest~1`, a time as @2025-04-05 or @7d, or the beginning of an id, as \
             `ballast snapshots` shows it; then, if you like, a colon and a path",
        ));
    };
    let word = word.to_owned();
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
pub fn find(p: &Printer<'_>, repo: &Repository, word: &str, filter: &Filter) -> Result<Snapshot, Failure> {
    let ledger = repo.ledger(false)?;
    let mut filter = filter.clone();
    let found = match Word::parse(word) {
        Some(Word::Id(id)) => repo.find_snapshot(&ledger, &id, &filter),
        Some(Word::At(time)) => {
            let end = moment(p.io, &time)?.saturating_add(1);
            filter.before_ns = Some(filter.before_ns.map_or(end, |before| before.min(end)));
            repo.newest_snapshot(&ledger, &filter, 0)
        }
        Some(Word::Latest(back)) => repo.newest_snapshot(&ledger, &filter, back),
        None => Err(Error::NotFound { what: format!("snapshot {word}") }),
    };
    match found {
        Err(Error::NotFound { .. }) if ledger.committed().is_empty() => {
            Err(Failure::failed("there is no snapshot in this repository yet")
                .with_hint("`ballast snapshot PATH` takes one"))
        }
        Err(Error::NotFound { .. }) if word == "latest" && is_everything(&filter) => {
            Err(Failure::failed("no snapshot of this repository can be read")
                .with_hint("`ballast check` says why, and what repairs it"))
        }
        Err(Error::NotFound { .. }) if !word.bytes().all(|b| b.is_ascii_hexdigit()) => {
            let words = match filter.before_ns.is_some() || filter.since_ns.is_some() || word != "latest" {
                true => "no snapshot is so old, or fits this host, these tags and these paths",
                false => "no snapshot fits this host, these tags and these paths",
            };
            Err(Failure::failed(words).with_hint("`ballast snapshots` lists what there is"))
        }
        found => Ok(found?),
    }
}

fn is_everything(filter: &Filter) -> bool {
    let times = filter.before_ns.is_some() || filter.since_ns.is_some();
    !times && filter.hosts.is_empty() && filter.tags.is_empty() && filter.paths.is_empty()
}

/// The ids that `words` mean. What is named by its id need not be readable.
pub fn ids(
    p: &Printer<'_>,
    repo: &Repository,
    words: &[String],
    filter: &Filter,
) -> Result<Vec<SnapshotId>, Failure> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let ledger = repo.ledger(false)?;
    let one = |word: &String| match snapshot_and_path(word.as_ref())? {
        (word, None) => match Word::parse(&word) {
            Some(Word::Id(id)) => Ok(repo.find_committed(&ledger, &id)?),
            _ => Ok(find(p, repo, &word, filter)?.id),
        },
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
            ("4F1C", "4F1C", None),
            ("latest~2:/x", "latest~2", Some("/x")),
            ("@7d", "@7d", None),
            ("@2025-04-05 10:00:/x:/y", "@2025-04-05 10:00", Some("/x:/y")),
            ("latest:/", "latest", Some("/")),
            ("latest:/srv//models/./x/", "latest", Some("/srv/models/x")),
            ("4f1c:/a:b", "4f1c", Some("/a:b")),
        ] {
            assert_eq!(ok(given), Some((word.to_owned(), path.map(str::to_owned))), "{given}");
        }
        for given in [
            "",
            "@",
            "latest~",
            "latest~x",
            "latestX",
            ":/x",
            "newest",
            "latest:x",
            "latest:",
            "latest:/a/../b",
            "/srv",
        ] {
            assert_eq!(ok(given), None, "{given}");
        }
    }
}
