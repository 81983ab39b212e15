//! `prune`: the plan, then what was done.

use ballast::op::prune::{self, PlanFigures, PruneOptions, PruneReport};
use ballast::repo::Repository;

use crate::args::PruneArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{counted, size};
use crate::printer::Printer;
use crate::table::Table;

/// Runs it.
pub fn run(args: &PruneArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let options = PruneOptions {
        dry_run: args.dry_run,
        max_unused: args.max_unused,
        max_repack_bytes: args.max_repack_size,
    };
    let repo = connect::open(p)?;
    let report = do_it(&repo, &options, p)?;
    if p.global.json {
        p.report(&report)?;
    } else {
        render(&report, p);
    }
    Ok(Exit::Done)
}

/// Prunes, with a bar.
pub fn do_it(repo: &Repository, options: &PruneOptions, p: &mut Printer<'_>) -> Result<PruneReport, Failure> {
    let meter = Meter::start(p);
    let result = prune::run(repo, options, &meter);
    meter.end(0, &[]);
    connect::notices(p, repo);
    Ok(result?)
}

/// For people: the plan, then what was done.
pub fn render(report: &PruneReport, p: &mut Printer<'_>) {
    let lines = plan(&report.plan).lines().into_iter().chain(outcome(report));
    // A dry run was asked for what it says; a nightly job has nothing to mail.
    lines.for_each(|line| if report.dry_run { p.data(&line) } else { p.say(&line) });
}

fn plan(figures: &PlanFigures) -> Table {
    let f = figures;
    let mut table = Table::new(&["", ">Packs", ">Size"]);
    let mut row = |what: &str, packs: Option<u64>, bytes: u64| {
        table.row([what.to_owned(), packs.map(|n| n.to_string()).unwrap_or_default(), size(bytes)]);
    };
    row("stored", Some(f.packs), f.bytes);
    row("  needed by snapshots", None, f.used_bytes);
    if f.base_blobs > 0 {
        row("    of it only as bases of others", None, f.base_bytes);
    }
    row("  not needed", None, f.unused_bytes);
    if f.duplicate_bytes > 0 {
        row("    of it further copies", None, f.duplicate_bytes);
    }
    if f.live_packs > 0 {
        row("of runs under way, left alone", Some(f.live_packs), f.live_bytes);
    }
    if f.dead_packs > 0 {
        row("to go: nothing in them is needed", Some(f.dead_packs), f.dead_bytes);
    }
    if f.unlisted_packs > 0 {
        row("to go: of runs that never finished", Some(f.unlisted_packs), f.unlisted_bytes);
    }
    if f.repack_packs > 0 {
        row("to be copied in part, then to go", Some(f.repack_packs), f.repack_bytes);
    }
    if f.waiting_packs > 0 {
        row("condemned by earlier runs", Some(f.waiting_packs), f.waiting_bytes);
    }
    row("freed in the end, about", None, f.freed_bytes);
    row("left though not needed, about", None, f.left_unused_bytes);
    table
}

fn outcome(report: &PruneReport) -> Vec<String> {
    let mut lines = vec![String::new()];
    let waiting = || {
        let who = report.waiting_for.iter().map(|w| match (w.operation.as_str(), w.host.as_str()) {
            ("", _) => format!("session {}", w.session),
            (operation, host) => format!("the {operation} on {host}"),
        });
        who.collect::<Vec<_>>().join(", ")
    };
    if report.dry_run {
        lines.push("dry run: nothing was changed".into());
        if !report.waiting_for.is_empty() {
            lines.push(format!("what goes would wait for {}", waiting()));
        }
        return lines;
    }
    if report.condemned_packs + report.deleted_packs + report.deleted_indexes + report.repacked_packs == 0 {
        lines.push("nothing to do".into());
    }
    if report.repacked_packs > 0 {
        let packs = counted(report.repacked_packs, "pack", "packs");
        lines.push(format!("copied the living part of {packs}: {} written", size(report.new_bytes)));
    }
    if report.deleted_packs > 0 {
        let packs = counted(report.deleted_packs, "pack", "packs");
        lines.push(format!("deleted {packs}, {}", size(report.deleted_bytes)));
    }
    if report.waiting_packs > 0 {
        let packs = counted(report.waiting_packs, "pack", "packs");
        let bytes = size(report.waiting_bytes);
        lines.push(format!("{packs}, {bytes}, will go with the next prune after {} ended", waiting()));
    }
    if report.plan.short_of_room && report.waiting_packs > 0 {
        lines.push("there was too little room to copy the rest: prune again then".into());
    }
    lines
}
