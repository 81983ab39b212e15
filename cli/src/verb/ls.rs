//! `ls`: what is in a snapshot, line by line as it is read.

use std::io::{self, Write};

use ballast::error::Error;
use ballast::format::tree::{
    CAPTURE_PLAIN, CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, MARK_CHANGED, MARK_INCOMPLETE, Node, NodeKind,
};
use ballast::op::ls::{self, Listed};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::put_bytes;
use crate::args::LsArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{mode, name, safe_json, size};
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
    let mut first = true;
    let mut begun = Ok(());
    if as_json {
        p.json_done = true;
        begun = write!(out, "{{\"snapshot\":\"{snapshot}\",\"entries\":[");
    }
    let outcome = ls::run(&repo, snapshot, path.as_deref(), recursive, &mut |entry| {
        let written = if as_json {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            write!(out, "{comma}\n{}", safe_json(&record(entry).to_string()))
        } else if args.long {
            writeln!(out, "{}", long(entry, &zone))
        } else {
            writeln!(out, "{}", name(entry.path))
        };
        written.map_err(unwritten)
    });
    // Also what failed half-way ends as one whole object.
    let outcome = outcome.and_then(|()| begun.map_err(unwritten)).map_err(Failure::from);
    if as_json {
        let mut tail = Map::new();
        if let Err(failure) = &outcome {
            tail = crate::printer::error_json(failure);
        }
        let tail: String =
            tail.iter().map(|(k, v)| format!(",\"{k}\":{}", safe_json(&v.to_string()))).collect();
        drop(writeln!(p.io.out, "]{tail}}}"));
    }
    connect::notices(p, &repo);
    outcome.map(|()| Exit::Done)
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
    let mut object = Map::new();
    put_bytes(&mut object, "path", entry.path);
    let rest = json!({
        "kind": node.kind,
        "mode": format!("{:04o}", node.mode),
        "uid": node.uid,
        "gid": node.gid,
        "user": String::from_utf8_lossy(&node.user),
        "group": String::from_utf8_lossy(&node.group),
        "size": node.size,
        "mtime": time::exact(node.mtime),
        "ctime": time::exact(node.ctime),
        "inode": node.inode,
        "links": node.nlink,
        "capture": capture_word(node),
        "changed": node.marks & MARK_CHANGED != 0,
        "incomplete": node.marks & MARK_INCOMPLETE != 0,
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    if let Some(lost) = node.lost() {
        let ranges: Vec<_> =
            lost.ranges.iter().map(|(at, len)| json!({ "offset": at, "len": len })).collect();
        object.insert("lost".into(), json!({ "bytes": lost.bytes(), "ranges": ranges, "names": lost.names }));
    }
    if let Some(target) = node.link_target() {
        put_bytes(&mut object, "target", target);
    }
    Value::Object(object)
}
