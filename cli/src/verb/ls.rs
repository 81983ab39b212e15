//! `ls`: what is in a snapshot, line by line as it is read.

use std::io::{self, Write};

use ballast::error::Error;
use ballast::format::tree::{
    CAPTURE_PLAIN, CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, MARK_CHANGED, MARK_INCOMPLETE, Node, NodeKind,
};
use ballast::format::wire::Bytes;
use ballast::op::ls::{self, Listed};
use jiff::tz::TimeZone;
use serde_json::{Value, json as object};

use crate::args::LsArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::output::{mode, name, size};
use crate::printer::Printer;
use crate::table::pad;
use crate::{time, whom};

/// Runs it.
pub fn run(args: &LsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let recursive = args.recursive || path.is_none();
    let path = path.filter(|path| path != b"/");
    let zone = p.io.zone.clone();
    let as_json = p.global.json;
    let out = &mut p.io.out;
    let mut entries = 0u64;
    let outcome = ls::run(&repo, snapshot, path.as_deref(), recursive, &mut |entry| {
        let written = if as_json {
            entries += 1;
            writeln!(out, "{}", json::line("entry", record(entry)))
        } else if args.long {
            writeln!(out, "{}", long(entry, &zone))
        } else {
            writeln!(out, "{}", name(entry.path))
        };
        written.map_err(unwritten)
    });
    connect::notices(p, &repo);
    outcome?;
    if as_json {
        p.json(&object!({ "snapshot": snapshot, "entries": entries }));
    }
    Ok(Exit::Done)
}

fn unwritten(error: io::Error) -> Error {
    Error::io("standard output", error)
}

pub fn kind_letter(kind: NodeKind) -> char {
    match kind {
        NodeKind::File => '-',
        NodeKind::Directory => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharDevice => 'c',
        NodeKind::BlockDevice => 'b',
    }
}

/// Like `ls -l`. What is not whole says so at its end.
fn long(entry: &Listed<'_>, zone: &TimeZone) -> String {
    let node = entry.node;
    let who = |text: &[u8], id: u32| if text.is_empty() { id.to_string() } else { name(text) };
    let what = match node.kind {
        NodeKind::File => size(node.size),
        _ => String::new(),
    };
    let mut line = format!(
        "{} {} {} {} {} {}",
        mode(kind_letter(node.kind), node.mode),
        pad(&who(&node.user, node.uid), 8, false),
        pad(&who(&node.group, node.gid), 8, false),
        pad(&what, 10, true),
        time::local(node.mtime, zone),
        name(entry.path),
    );
    if let Some(target) = node.link_target() {
        line.push_str(&format!(" -> {}", name(target)));
    }
    if let Some(lost) = node.lost() {
        line.push_str(&match node.kind {
            NodeKind::Directory => "  (damaged: names in it are lost)".to_owned(),
            _ => format!("  (damaged: {} of it lost)", size(lost.bytes())),
        });
    } else if node.marks & MARK_INCOMPLETE != 0 {
        line.push_str("  (not whole: part of it could not be read)");
    } else if node.marks & MARK_CHANGED != 0 {
        line.push_str("  (changed while it was read)");
    } else if let Some(words) = capture(node) {
        line.push_str(&format!("  ({words})"));
    }
    line
}

/// How a database was stored, in words for people; nothing for any other file.
fn capture(node: &Node) -> Option<&'static str> {
    match node.capture {
        CAPTURE_SQLITE => Some("a consistent image of an SQLite database"),
        CAPTURE_PLAIN_LIVE => Some("plain bytes of an SQLite database in use"),
        _ => None,
    }
}

/// The same for programs.
fn capture_word(node: &Node) -> Value {
    match node.capture {
        CAPTURE_PLAIN => "plain".into(),
        CAPTURE_PLAIN_LIVE => "plain_live".into(),
        CAPTURE_SQLITE => "sqlite".into(),
        other => other.into(),
    }
}

fn record(entry: &Listed<'_>) -> Value {
    let node: &Node = entry.node;
    let mut record = object!({
        "path": Bytes::from(entry.path),
        "kind": node.kind,
        "mode": format!("{:04o}", node.mode),
        "uid": node.uid,
        "gid": node.gid,
        "user": node.user,
        "group": node.group,
        "size": node.size,
        "mtime": node.mtime,
        "ctime": node.ctime,
        "inode": node.inode,
        "links": node.nlink,
        "capture": capture_word(node),
        "changed": node.marks & MARK_CHANGED != 0,
        "incomplete": node.marks & MARK_INCOMPLETE != 0,
    });
    if let Some(lost) = node.lost() {
        let ranges: Vec<_> =
            lost.ranges.iter().map(|(at, len)| object!({ "offset": at, "bytes": len })).collect();
        record["lost"] = object!({ "bytes": lost.bytes(), "ranges": ranges, "names": lost.names });
    }
    if let Some(target) = node.link_target() {
        record["target"] = object!(Bytes::from(target));
    }
    record
}
