//! `diff`: what differs between two snapshots, line by line as it is found.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use ballast::error::Error;
use ballast::format::tree::{Node, NodeKind};
use ballast::format::wire::Bytes;
use ballast::op::diff::{self, Change, Changed, DiffOptions, DiffReport, Side, Tally};
use serde_json::{Value, json as object};

use crate::args::DiffArgs;
use crate::bar::Meter;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::output::{counted, name, size};
use crate::printer::Printer;
use crate::{connect, whom};

/// Runs it.
pub fn run(args: &DiffArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (old, mut old_path) = whom::snapshot_and_path(&args.old)?;
    let (new, mut new_path) = whom::snapshot_and_path(&args.new)?;
    if let Some(path) = &args.path {
        if old_path.is_some() || new_path.is_some() {
            return Err(Failure::usage(
                "a path is given twice",
                "give it after the colons, or once after both snapshots",
            ));
        }
        let joined = [&b"latest:"[..], path.as_bytes()].concat();
        let (_, path) = whom::snapshot_and_path(OsStr::from_bytes(&joined))?;
        (old_path, new_path) = (path.clone(), path);
    }
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let side = |word: &str, path, p: &Printer<'_>| -> Result<Side, Failure> {
        Ok(Side { snapshot: whom::find(p, &repo, word, &filter)?.id, path })
    };
    let (old, new) = (side(&old, old_path, p)?, side(&new, new_path, p)?);
    if args.tensors {
        return super::diff_tensors::run(args, &repo, &old, &new, p);
    }
    let options = DiffOptions { old, new, metadata: args.metadata };
    let (as_json, style) = (p.global.json, p.style());
    let meter = Meter::start(p);
    let out = &mut p.io.out;
    let outcome = diff::run(&repo, &options, &meter, &mut |changed| {
        let written = if as_json {
            writeln!(out, "{}", json::line("change", record(changed)))
        } else {
            writeln!(out, "{}", line(changed))
        };
        written.map_err(unwritten)
    });
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome?;
    for (path, reason) in &report.unreadable {
        p.warn(&format!("{path} cannot be compared: {reason}"));
    }
    if as_json {
        let value = summary_json(&report, &options)?;
        p.json(&value);
    } else {
        for line in summary(&report) {
            p.say(&style.bold(&line));
        }
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty()))
}

/// What became of standard output.
pub fn unwritten(error: io::Error) -> Error {
    Error::io("standard output", error)
}

fn line(changed: &Changed<'_>) -> String {
    let letter = match changed.change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Content => 'M',
        Change::Kind => 'T',
        Change::Metadata => 'U',
    };
    let node = changed.new.or(changed.old);
    let slash = if node.is_some_and(|n| n.kind == NodeKind::Directory) { "/" } else { "" };
    let of = |node: Option<&Node>| node.filter(|n| n.kind == NodeKind::File).map(|n| size(n.size));
    let remark = match changed.change {
        Change::Added => of(changed.new),
        Change::Removed => of(changed.old),
        Change::Content => of(changed.new).map(|size_now| match changed.new_bytes {
            0 => size_now,
            bytes if changed.new.is_some_and(|n| n.size == bytes) => format!("{size_now}, all new"),
            bytes => format!("{size_now}, {} of it new", size(bytes)),
        }),
        Change::Kind | Change::Metadata => None,
    };
    let remark = remark.map(|text| format!("  ({text})")).unwrap_or_default();
    format!("{letter}  {}{slash}{remark}", name(changed.path).trim_end_matches('/'))
}

fn tally(tally: &Tally) -> Option<String> {
    let mut parts = Vec::new();
    if tally.files > 0 {
        parts.push(format!("{} ({})", counted(tally.files, "file", "files"), size(tally.bytes)));
    }
    if tally.directories > 0 {
        parts.push(counted(tally.directories, "directory", "directories"));
    }
    if tally.others > 0 {
        parts.push(counted(tally.others, "link or device", "links and devices"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn summary(r: &DiffReport) -> Vec<String> {
    if r.is_equal() {
        return vec!["nothing differs".into()];
    }
    let mut out = Vec::new();
    let mut say = |label: &str, text: Option<String>| {
        out.extend(text.map(|text| format!("{label:<9} {text}")));
    };
    say("added", tally(&r.added));
    say("removed", tally(&r.removed));
    let new = format!(", {} of it new", size(r.changed_new_bytes));
    say("changed", tally(&r.changed).map(|text| text + if r.changed_new_bytes > 0 { &new } else { "" }));
    say("metadata", tally(&r.metadata));
    out
}

fn record(changed: &Changed<'_>) -> Value {
    let side = |node: &Node| {
        object!({
            "kind": node.kind,
            "size": node.size,
            "mtime": node.mtime,
            "mode": format!("{:04o}", node.mode),
            "uid": node.uid,
            "gid": node.gid,
        })
    };
    let mut record = object!({
        "change": changed.change,
        "path": Bytes::from(changed.path),
        "old": changed.old.map(side),
        "new": changed.new.map(side),
    });
    if changed.change == Change::Content {
        record["new_bytes"] = changed.new_bytes.into();
        record["gone_bytes"] = changed.gone_bytes.into();
    }
    record
}

fn summary_json(report: &DiffReport, options: &DiffOptions) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(report).map_err(|e| Failure::failed(e.to_string()))?;
    let unreadable =
        report.unreadable.iter().map(|(path, reason)| object!({ "path": path, "reason": reason }));
    value["unreadable"] = unreadable.collect();
    value["old"] = object!(options.old.snapshot);
    value["new"] = object!(options.new.snapshot);
    Ok(value)
}
