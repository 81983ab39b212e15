//! `find`: names in all snapshots, version by version.

use ballast::format::tree::NodeKind;
use ballast::format::wire::Bytes;
use ballast::op::find::{self, FindOptions, FindReport, FoundPath, Sighting, Version};
use serde_json::{Value, json};

use crate::args::{FindArgs, FoundKind};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::{time, whom};

/// Runs it.
pub fn run(args: FindArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let filter = whom::several(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let kind = |kind: &FoundKind| match kind {
        FoundKind::File => NodeKind::File,
        FoundKind::Dir => NodeKind::Directory,
        FoundKind::Link => NodeKind::Symlink,
    };
    let options = FindOptions {
        patterns: args.patterns,
        ignore_case: args.ignore_case,
        kinds: args.kinds.iter().map(kind).collect(),
        snapshots: whom::ids(p, &repo, &args.snapshots, &filter)?,
        filter,
    };
    let meter = Meter::start(p);
    let outcome = find::run(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome?;
    for (id, reason) in &report.unreadable {
        p.warn(&format!("snapshot {} cannot be read whole: {reason}", id.short()));
    }
    if p.global.json {
        let value = as_json(&report);
        p.json(&value);
    } else {
        render(&report, p);
    }
    Ok(match (report.paths.is_empty(), report.unreadable.is_empty()) {
        (_, false) => Exit::Problems,
        (true, true) => Exit::Failed,
        (false, true) => Exit::Done,
    })
}

fn render(report: &FindReport, p: &mut Printer<'_>) {
    let hosts: std::collections::BTreeSet<&str> = report.paths.iter().map(|f| f.host.as_str()).collect();
    for found in &report.paths {
        let host = if hosts.len() > 1 { format!("{}: ", name(found.host.as_bytes())) } else { String::new() };
        let line = format!("{host}{}", name(&found.path));
        let line = p.style().bold(&line);
        p.data(&line);
        for line in versions(found, p) {
            p.data(&format!("  {line}"));
        }
    }
    let looked = counted(report.snapshots, "snapshot", "snapshots");
    match report.paths.len() {
        0 => p.note(&format!("nothing fits in {looked}")),
        n => p.say(&format!("\n{} in {looked}", counted(n as u64, "path", "paths"))),
    }
}

fn versions(found: &FoundPath, p: &Printer<'_>) -> Vec<String> {
    let day = |stamp| time::local(stamp, &p.io.zone)[..].chars().take(16).collect::<String>();
    let seen =
        |s: &Sighting| format!("{} {}", s.id.short(), &day(s.time)[..].chars().take(10).collect::<String>());
    let mut table = Table::new(&["Changed", ">Size", "First in", "Last in", ">Snapshots"]);
    for version in &found.versions {
        let what = match version.kind {
            NodeKind::File => size(version.size),
            NodeKind::Directory => "directory".into(),
            NodeKind::Symlink => "link".into(),
            _ => "device".into(),
        };
        let damaged = if version.damaged { " damaged" } else { "" };
        table.row([
            day(version.mtime),
            format!("{what}{damaged}"),
            seen(&version.first),
            seen(&version.last),
            count(version.snapshots),
        ]);
    }
    let mut lines = table.lines();
    if let Some(gone) = &found.gone {
        lines.push(format!("not there any more in {}", seen(gone)));
    }
    lines
}

fn as_json(report: &FindReport) -> Value {
    let seen = |s: &Sighting| json!({ "id": s.id, "time": s.time });
    let version = |v: &Version| {
        json!({
            "kind": v.kind,
            "size": v.size,
            "mtime": v.mtime,
            "first": seen(&v.first),
            "last": seen(&v.last),
            "snapshots": v.snapshots,
            "damaged": v.damaged,
        })
    };
    let path = |found: &FoundPath| {
        json!({
            "host": found.host,
            "path": Bytes::from(&found.path[..]),
            "versions": found.versions.iter().map(version).collect::<Vec<_>>(),
            "gone": found.gone.as_ref().map(seen),
        })
    };
    let unreadable = report.unreadable.iter().map(|(id, reason)| json!({ "id": id, "reason": reason }));
    json!({
        "snapshots": report.snapshots,
        "paths": report.paths.iter().map(path).collect::<Vec<_>>(),
        "unreadable": unreadable.collect::<Vec<_>>(),
    })
}
