//! `snapshots`: which there are, by host and paths.

use std::collections::BTreeMap;

use ballast::format::wire::{Bytes, Stamp};
use ballast::op::forget::GroupBy;
use ballast::op::list::{self, SnapshotInfo};
use jiff::tz::TimeZone;

use super::forget::group_by;
use crate::args::SnapshotsArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::{time, whom};

/// Runs it.
pub fn run(args: &SnapshotsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let filter = whom::several(p.io, &args.filter)?;
    let by = group_by(&args.group_by)?;
    let repo = connect::open(p)?;
    let chosen = whom::ids(p, &repo, &args.snapshots, &filter)?;
    let mut report = list::run(&repo, &filter)?;
    connect::notices(p, &repo);
    if !chosen.is_empty() {
        report.snapshots.retain(|s| chosen.contains(&s.id));
        report.unreadable.retain(|(id, _)| chosen.contains(id));
    }
    if let Some(latest) = args.latest {
        report.snapshots = newest(report.snapshots, latest, by);
    }
    for (id, reason) in &report.unreadable {
        p.warn(&format!("snapshot {} cannot be read: {reason}", id.short()));
    }
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        value["unreadable"] = super::named(&value["unreadable"]);
        p.json(&value);
    } else {
        for line in lines(&report.snapshots, by, p) {
            p.data(&line);
        }
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty()))
}

/// What the members of a group share.
type Group = (Option<String>, Option<Vec<Bytes>>, Option<Vec<String>>);

fn group_of(snapshot: &SnapshotInfo, by: GroupBy) -> Group {
    fn sorted<T: Ord + Clone>(words: &[T]) -> Vec<T> {
        let mut words = words.to_vec();
        words.sort();
        words
    }
    (
        by.host.then(|| snapshot.host.clone()),
        by.paths.then(|| sorted(&snapshot.paths)),
        by.tags.then(|| sorted(&snapshot.tags)),
    )
}

/// The newest `n` of each group; they come oldest first.
fn newest(snapshots: Vec<SnapshotInfo>, n: usize, by: GroupBy) -> Vec<SnapshotInfo> {
    let mut left: BTreeMap<Group, usize> = BTreeMap::new();
    let mut kept: Vec<_> = snapshots
        .into_iter()
        .rev()
        .filter(|snapshot| {
            let taken = left.entry(group_of(snapshot, by)).or_default();
            *taken += 1;
            *taken <= n
        })
        .collect();
    kept.reverse();
    kept
}

fn title((host, paths, tags): &Group) -> String {
    let names = |all: &[String]| all.iter().map(|n| name(n.as_bytes())).collect::<Vec<_>>().join(", ");
    let shown = |all: &[Bytes]| all.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ");
    let mut parts: Vec<String> = host.iter().map(|host| name(host.as_bytes())).collect();
    parts.extend(paths.as_deref().map(shown));
    parts.extend(tags.as_deref().map(|tags| match tags {
        [] => "no tags".into(),
        tags => format!("tagged {}", names(tags)),
    }));
    parts.join(": ")
}

fn lines(snapshots: &[SnapshotInfo], by: GroupBy, p: &Printer<'_>) -> Vec<String> {
    if snapshots.is_empty() {
        return vec!["no snapshots".into()];
    }
    let mut groups: BTreeMap<Group, Vec<&SnapshotInfo>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry(group_of(snapshot, by)).or_default().push(snapshot);
    }
    let mut out = Vec::new();
    for (group, members) in &groups {
        let title = title(group);
        let indent = if title.is_empty() { "" } else { "  " };
        out.extend((!title.is_empty()).then(|| p.style().bold(&title)));
        out.extend(table(members, by, &p.io.zone).lines().into_iter().map(|line| format!("{indent}{line}")));
        out.push(String::new());
    }
    out.push(counted(snapshots.len() as u64, "snapshot", "snapshots"));
    out
}

/// Without what stands above it.
fn table(members: &[&SnapshotInfo], by: GroupBy, zone: &TimeZone) -> Table {
    let mut table =
        Table::new(&["ID", "Time", "Host", ">Files", ">Size", ">Added", "Tags", "Paths", "Remarks"]);
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
            if by.host { String::new() } else { s.host.clone() },
            count(s.files),
            size(s.total_bytes),
            size(s.stored_bytes),
            if by.tags { String::new() } else { s.tags.join(",") },
            if by.paths {
                String::new()
            } else {
                s.paths.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ")
            },
            remarks.join("; "),
        ]);
    }
    table
}
