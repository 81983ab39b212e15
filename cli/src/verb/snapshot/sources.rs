//! What a snapshot is made of: paths as they were typed, lists of paths, or a pipe.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ballast::op::snapshot::StreamOptions;

use super::feed;
use crate::args::SnapshotArgs;
use crate::exit::Failure;
use crate::output::name;
use crate::printer::Printer;

/// A list of paths is at most so long.
const LIST_BYTES: u64 = 256 << 20;

/// The paths that were typed and listed; none if a pipe is read.
pub fn paths(args: &SnapshotArgs, p: &mut Printer<'_>) -> Result<Vec<PathBuf>, Failure> {
    if args.is_stream() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    let end = if args.null { 0 } else { b'\n' };
    for list in &args.files_from {
        let bytes = read(list, p)?;
        let names = bytes.split(|byte| *byte == end).filter(|name| !name.is_empty());
        paths.extend(names.map(|name| PathBuf::from(OsStr::from_bytes(name))));
    }
    if paths.is_empty() {
        return Err(Failure::failed("the lists name no path, so there is nothing to store")
            .with_hint("--files-from takes one path a line; with -0, paths that end in NUL"));
    }
    Ok(paths)
}

fn read(list: &Path, p: &mut Printer<'_>) -> Result<Vec<u8>, Failure> {
    let shown =
        if list == Path::new("-") { "standard input".into() } else { name(list.as_os_str().as_bytes()) };
    let mut bytes = Vec::new();
    let read = if list == Path::new("-") {
        p.io.stdin.as_mut().take(LIST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(list).and_then(|file| file.take(LIST_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| Failure::failed(format!("cannot read the list of paths from {shown}: {e}")))?;
    if bytes.len() as u64 > LIST_BYTES {
        let most = LIST_BYTES >> 20;
        return Err(Failure::failed(format!("the list of paths in {shown} is longer than {most} MiB"))
            .with_hint("name the directories above them, and leave out the rest by --exclude"));
    }
    Ok(bytes)
}

/// The pipe that was asked for; a command is started.
pub fn stream(args: &SnapshotArgs, p: &mut Printer<'_>) -> Result<Option<StreamOptions>, Failure> {
    if !args.is_stream() {
        return Ok(None);
    }
    let path = place(&args.stdin_filename)?;
    let tap = if args.stdin { feed::stdin(p)? } else { feed::command(&args.paths, p)? };
    Ok(Some(StreamOptions { path, tap }))
}

/// Where the snapshot has it: below `/`, whatever the working directory.
fn place(given: &OsString) -> Result<PathBuf, Failure> {
    let refuse = |what: &str| {
        let shown = name(given.as_bytes());
        Failure::usage(
            format!("--stdin-filename \"{shown}\" {what}"),
            "give a name, or a path like /dumps/pg.sql",
        )
    };
    let path = Path::new("/").join(given);
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(refuse("leads through \"..\""));
    }
    let path: PathBuf = path.components().collect();
    if path.file_name().is_none() || given.as_bytes().ends_with(b"/") {
        return Err(refuse("names no file"));
    }
    let long = path.components().any(|c| c.as_os_str().len() > 255);
    if long || given.as_bytes().contains(&0) {
        return Err(refuse("is no name that a file can have"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_pipes() {
        let at = |given: &str| place(&given.into()).ok();
        for (given, path) in
            [("stdin", "/stdin"), ("/dumps/pg.sql", "/dumps/pg.sql"), ("a//./b", "/a/b"), ("~x", "/~x")]
        {
            assert_eq!(at(given), Some(PathBuf::from(path)), "{given}");
        }
        let long = "n".repeat(256);
        for bad in ["", "/", ".", "..", "a/../b", "a/", "a\0b", &long] {
            assert_eq!(at(bad), None, "{bad:?}");
        }
    }
}
