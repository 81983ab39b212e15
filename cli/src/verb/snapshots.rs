//! `snapshots`: which there are, by host and paths.

use std::collections::BTreeMap;

use ballast::format::wire::{Bytes, Stamp};
use ballast::op::list::{self, SnapshotInfo};
use jiff::tz::TimeZone;

use crate::args::SnapshotsArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::{time, whom};

/// Runs it.
pub fn run(args: &SnapshotsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let filter = whom::filter(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let mut report = list::run(&repo, &filter)?;
    connect::notices(p, &repo);
    if let Some(latest) = args.latest {
        report.snapshots = newest(report.snapshots, latest);
    }
    for (id, reason) in &report.unreadable {
        p.warn(&format!("snapshot {} cannot be read: {reason}", id.short()));
    }
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        value["unreadable"] = super::named(&value["unreadable"]);
        p.json(&value);
    } else {
        for line in lines(&report.snapshots, p) {
            p.data(&line);
        }
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty()))
}

type Group = (String, Vec<Bytes>);

fn group_of(snapshot: &SnapshotInfo) -> Group {
    (snapshot.host.clone(), snapshot.paths.clone())
}

/// The newest `n` of each group; they come oldest first.
fn newest(snapshots: Vec<SnapshotInfo>, n: usize) -> Vec<SnapshotInfo> {
    let mut left: BTreeMap<Group, usize> = BTreeMap::new();
    let mut kept: Vec<_> = snapshots
        .into_iter()
        .rev()
        .filter(|snapshot| {
            let taken = left.entry(group_of(snapshot)).or_default();
            *taken += 1;
            *taken <= n
        })
        .collect();
    kept.reverse();
    kept
}

fn lines(snapshots: &[SnapshotInfo], p: &Printer<'_>) -> Vec<String> {
    if snapshots.is_empty() {
        return vec!["no snapshots".into()];
    }
    let mut groups: BTreeMap<Group, Vec<&SnapshotInfo>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry(group_of(snapshot)).or_default().push(snapshot);
    }
    let mut out = Vec::new();
    for ((host, paths), members) in &groups {
        let paths: Vec<_> = paths.iter().map(|path| name(path)).collect();
        out.push(p.style().bold(&format!("{}: {}", name(host.as_bytes()), paths.join(", "))));
        out.extend(table(members, &p.io.zone).lines().into_iter().map(|line| format!("  {line}")));
        out.push(String::new());
    }
    out.push(counted(snapshots.len() as u64, "snapshot", "snapshots"));
    out
}

fn table(members: &[&SnapshotInfo], zone: &TimeZone) -> Table {
    let mut table = Table::new(&["ID", "Time", ">Files", ">Size", ">Added", "Tags", "Remarks"]);
    for s in members {
        let mut remarks = Vec::new();
        if s.problem_count > 0 {
            remarks.push(counted(s.problem_count, "problem", "problems"));
        } else if s.partial {
            remarks.push("not whole".into());
        }
        if !s.description.is_empty() {
            remarks.push(s.description.clone());
        }
        table.row([
            s.id.short(),
            time::local(Stamp::from_ns(s.time_ns), zone),
            count(s.files),
            size(s.total_bytes),
            size(s.stored_bytes),
            s.tags.join(","),
            remarks.join("; "),
        ]);
    }
    table
}
