//! `rewrite`: snapshots without some of their files.

use ballast::op::rewrite::{self, Dropped, RewriteOptions, RewriteReport};

use crate::args::RewriteArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{counted, size};
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: RewriteArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let any = [&args.exclude, &args.iexclude].iter().any(|patterns| !patterns.is_empty());
    if !any && args.exclude_file.is_empty() && args.iexclude_file.is_empty() {
        return Err(Failure::usage(
            "nothing says what to leave out",
            "give --exclude PATTERN, with --dry-run first",
        ));
    }
    let filter = whom::filter(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let options = RewriteOptions {
        snapshots: whom::ids(p, &repo, &args.snapshots, &filter)?,
        filter,
        excludes: args.exclude,
        exclude_files: args.exclude_file,
        any_case_excludes: args.iexclude,
        any_case_exclude_files: args.iexclude_file,
        forget: args.forget,
        dry_run: args.dry_run,
    };
    let meter = Meter::start(p);
    let outcome = rewrite::run(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome?;
    for (id, reason) in &report.failed {
        p.warn(&format!("snapshot {} is left as it is: {reason}", id.short()));
    }
    for (id, reason) in &report.left_objects {
        p.warn(&format!("snapshot {} is forgotten, but its object is still there: {reason}", id.short()));
    }
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        for field in ["failed", "left_objects"] {
            value[field] = super::named(&value[field]);
        }
        p.json(&value);
    } else {
        render(&report, p);
    }
    Ok(Exit::with_problems(!report.failed.is_empty() || !report.left_objects.is_empty()))
}

fn render(report: &RewriteReport, p: &mut Printer<'_>) {
    for one in &report.rewritten {
        let without = without(&one.dropped);
        p.say(&match (one.new, one.found) {
            (None, _) => format!("{}: would be without {without}", one.old.short()),
            (Some(new), false) => format!("{} is now {}, without {without}", one.old.short(), new.short()),
            (Some(new), true) => format!("{} was already rewritten as {}", one.old.short(), new.short()),
        });
    }
    if !report.unchanged.is_empty() {
        let same = counted(report.unchanged.len() as u64, "snapshot", "snapshots");
        p.say(&format!("nothing to leave out of {same}"));
    }
    let (made, gone) = (report.rewritten.len() as u64, report.forgotten.len() as u64);
    if report.dry_run && made > 0 {
        p.say("nothing was written");
    } else if gone > 0 {
        p.say(&format!("{} forgotten", counted(gone, "old snapshot", "old snapshots")));
        p.note("the files stay in the repository until a prune");
    } else if made > 0 {
        p.note("the old snapshots are still there, with these files; the same with --forget forgets them");
    }
}

fn without(dropped: &Dropped) -> String {
    let all = [
        (dropped.files, "file", "files"),
        (dropped.directories, "directory", "directories"),
        (dropped.others, "link or other", "links and others"),
        (dropped.unread, "unreadable directory", "unreadable directories"),
    ];
    let parts: Vec<String> =
        all.iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| counted(*n, one, many)).collect();
    format!("{} ({})", parts.join(", "), size(dropped.bytes))
}
