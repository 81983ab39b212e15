//! `restore`: files, directories and whole snapshots.

use ballast::op::restore::{self, Overwrite, RestoreOptions, RestoreReport};

use crate::args::{OverwriteArg, RestoreArgs};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, duration, name, rate, size};
use crate::printer::{Printer, Style};
use crate::whom;

/// Runs it.
pub fn run(args: RestoreArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let filter = whom::look(p.io, &args.filter)?;
    let target = whom::absolute(p.io, &args.target)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let options = RestoreOptions {
        snapshot,
        // The contents of `/` are everything.
        path: path.filter(|path| path != b"/"),
        target,
        include: args.include,
        exclude: args.exclude,
        overwrite: match args.overwrite {
            OverwriteArg::Always => Overwrite::Always,
            OverwriteArg::IfChanged => Overwrite::IfChanged,
            OverwriteArg::IfNewer => Overwrite::IfNewer,
            OverwriteArg::Never => Overwrite::Never,
        },
        in_place: args.in_place,
        delete: args.delete,
        strip_components: args.strip_components,
        dry_run: args.dry_run,
        salvage: args.salvage,
        threads: args.threads,
        limit: p.limits.write.clone(),
    };
    let meter = Meter::start(p);
    let outcome = restore::run(&repo, &options, &meter);
    let seen = outcome.as_ref().ok();
    meter.end(seen.map_or(0, |r| r.problem_count), seen.map_or(&[], |r| &r.problems));
    connect::notices(p, &repo);
    let report = outcome?;
    if p.global.json {
        p.report(&report)?;
    } else {
        let target = name(options.target.as_os_str().as_encoded_bytes());
        for line in summary(&report, &snapshot.short(), &target, p.style()) {
            p.say(&line);
        }
    }
    Ok(Exit::with_problems(report.problem_count > 0))
}

fn summary(r: &RestoreReport, snapshot: &str, target: &str, style: Style) -> Vec<String> {
    let took = duration(r.seconds);
    let mut out = vec![match r.dry_run {
        true => format!("{}, nothing was written: {snapshot} to {target}", style.bold("dry run")),
        false => format!("{} to {target} in {took}", style.bold(&format!("snapshot {snapshot} restored"))),
    }];
    let mut say = |label: &str, text: String| out.push(format!("  {label:<11} {text}"));
    let mut made = counted(r.files, "file", "files");
    if r.directories > 0 {
        made.push_str(&format!(", {}", counted(r.directories, "directory", "directories")));
    }
    if r.others > 0 {
        made.push_str(&format!(", {}", counted(r.others, "link or device", "links and devices")));
    }
    say(if r.dry_run { "would write" } else { "written" }, made);
    let speed = match rate(r.bytes, r.seconds) {
        Some(rate) if !r.dry_run => format!(", every byte verified ({rate})"),
        _ => String::new(),
    };
    say("size", format!("{}{speed}", size(r.bytes)));
    if r.bytes_reused > 0 {
        say("reused", format!("{} of files that were there, verified", size(r.bytes_reused)));
    }
    if r.bytes_resumed > 0 {
        say("taken over", format!("{} of a restore that was cut short", size(r.bytes_resumed)));
    }
    if r.files_skipped > 0 {
        say("left alone", format!("{} that were there already", counted(r.files_skipped, "file", "files")));
    }
    if r.deleted_count > 0 {
        let names = counted(r.deleted_count, "name", "names");
        let dry = if r.dry_run { ", named above" } else { "" };
        let label = if r.dry_run { "would go" } else { "removed" };
        say(label, format!("{names} that the snapshot does not have{dry}"));
    }
    if r.moved_aside_count > 0 {
        let files = counted(r.moved_aside_count, "file", "files");
        say("moved aside", format!("{files} of databases that were replaced, named above"));
    }
    if r.ownership_skipped {
        say("owners", "not set: only root can".into());
    }
    if r.problem_count > 0 {
        say("problems", format!("{}, named above on standard error: exit code 3", count(r.problem_count)));
    }
    out
}
