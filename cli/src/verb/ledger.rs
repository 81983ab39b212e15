//! `ledger`: the history, a line for each entry.

use ballast::format::wire::Stamp;
use ballast::id::SnapshotId;
use ballast::op::ledger::{self, Line, What};

use crate::args::LedgerArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::time;

/// Ids of one entry that are shown; `--json` has them all.
const SHOWN_IDS: usize = 3;

/// Runs it.
pub fn run(args: &LedgerArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let report = ledger::run(&repo, args.last)?;
    connect::notices(p, &repo);
    if p.global.json {
        p.report(&report)?;
    } else if report.entries.is_empty() {
        p.data("no entries: nothing was committed yet");
    } else {
        let mut table = Table::new(&[">No", "Time", "Who", "What"]);
        for line in &report.entries {
            let when = line.writer.as_ref().map(|w| time::local(Stamp::from_ns(w.time_ns), &p.io.zone));
            let who = line.writer.as_ref().map(|w| format!("{}@{}", w.user, w.host));
            let number = line.number.to_string();
            table.row([number, when.unwrap_or_default(), who.unwrap_or_default(), what(line)]);
        }
        table.lines().iter().for_each(|line| p.data(line));
    }
    Ok(Exit::with_problems(report.damaged > 0))
}

fn what(line: &Line) -> String {
    match &line.what {
        What::Commit { snapshot, forgotten: true, .. } => format!("commit {} (forgotten)", snapshot.short()),
        What::Commit { snapshot, details: None, .. } => {
            format!("commit {} (cannot be read)", snapshot.short())
        }
        What::Commit { snapshot, details: Some(d), .. } => {
            let paths: Vec<_> = d.paths.iter().map(|path| name(path)).collect();
            let (files, paths) = (counted(d.files, "file", "files"), paths.join(", "));
            let from = d.original.map(|id| format!(", made from {}", id.short())).unwrap_or_default();
            format!("commit {} {paths} ({files}, {}{from})", snapshot.short(), size(d.total_bytes))
        }
        What::Forget { snapshots, reason } => {
            let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            format!("forget {}{reason}", ids(snapshots))
        }
        What::Condemn { packs, index_objects, dead_snapshots } => {
            let parts: Vec<String> = [
                (*packs, "pack", "packs"),
                (*index_objects, "index object", "index objects"),
                (*dead_snapshots, "uncommitted snapshot", "uncommitted snapshots"),
            ]
            .iter()
            .filter(|(n, ..)| *n > 0)
            .map(|(n, one, many)| counted(*n, one, many))
            .collect();
            format!("condemn {}", if parts.is_empty() { "nothing".into() } else { parts.join(", ") })
        }
        What::Verified { snapshot: Some(snapshot), databases: Some(d), .. } => {
            let below = if &*d.path == b"/" { String::new() } else { format!(":{}", name(&d.path)) };
            let all = counted(d.good + d.bad + d.unknown, "database", "databases");
            let mut line = format!("verified {all} of {}{below}", snapshot.short());
            for (n, word) in [(d.bad, "NOT WHOLE"), (d.unknown, "not verified")] {
                if n > 0 {
                    line.push_str(&format!(", {} {word}", count(n)));
                }
            }
            if let Some(one) = d.failed.first() {
                line.push_str(&format!(": {}: {}", name(&one.path), one.finding));
            }
            line
        }
        What::Verified { good, bad, snapshot, .. } => {
            let of = snapshot.map(|id| format!(", snapshot {}", id.short())).unwrap_or_default();
            let bad = if *bad > 0 { format!(", {} BAD", count(*bad)) } else { String::new() };
            format!("verified {}{bad}{of}", counted(*good, "pack", "packs"))
        }
        What::Raise { incompatible, read_only, compatible } => {
            let sets = [("incompatible", incompatible), ("read-only", read_only), ("compatible", compatible)];
            let sets = sets.iter().filter(|(_, bits)| **bits != 0);
            let sets: Vec<String> = sets.map(|(word, bits)| format!("{word} {bits:#x}")).collect();
            format!("raise features: {}", sets.join(", "))
        }
        What::Unknown { kind } => format!("kind {kind}, of a later version"),
        What::Damaged { reason } => format!("DAMAGED: {reason}"),
    }
}

fn ids(all: &[SnapshotId]) -> String {
    let mut shown: Vec<String> = all.iter().take(SHOWN_IDS).map(SnapshotId::short).collect();
    if all.len() > SHOWN_IDS {
        shown.push(format!("and {} more", count((all.len() - SHOWN_IDS) as u64)));
    }
    shown.join(" ")
}
