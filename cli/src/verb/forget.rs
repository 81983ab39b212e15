//! `forget`: the plan as a table, with the reason for each snapshot that is kept.

use ballast::format::wire::{Bytes, Stamp};
use ballast::op::forget::{self, ForgetOptions, ForgetReport, Group, GroupBy, GroupKey, Planned};
use ballast::op::prune::PruneOptions;
use serde_json::{Value, json};

use crate::args::ForgetArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name};
use crate::printer::Printer;
use crate::table::Table;
use crate::verb::prune;
use crate::{time, whom};

/// Runs it.
pub fn run(args: &ForgetArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let options = ForgetOptions {
        policy: args.keep.policy(),
        filter: whom::filter(p.io, &args.filter)?,
        group_by: group_by(&args.group_by)?,
        allow_empty: args.allow_empty,
        dry_run: args.dry_run,
        ids: Vec::new(),
    };
    let keeps = !options.policy.is_empty() || !args.keep.keep_id.is_empty();
    refuse_what_cannot_be_meant(args, keeps)?;
    let repo = connect::open(p)?;
    let mut options = options;
    options.ids = whom::ids(p, &repo, &args.snapshots, &options.filter)?;
    options.policy.ids = whom::ids(p, &repo, &args.keep.keep_id, &options.filter)?;
    let meter = Meter::start(p);
    let outcome = forget::run(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome.map_err(|error| {
        let refused = error.to_string().starts_with("this would forget");
        let failure = Failure::from(error);
        if refused {
            failure.with_hint("nothing was forgotten; keep more, or say --allow-empty if you mean it")
        } else {
            failure
        }
    })?;
    for (id, reason) in &report.unreadable {
        p.warn(&format!("snapshot {} cannot be read and is left as it is: {reason}", id.short()));
    }
    for (id, reason) in &report.left_objects {
        p.warn(&format!("snapshot {} is forgotten, but its object is still there: {reason}", id.short()));
    }
    if !p.global.json {
        render(&report, args, p);
    }
    // A prune that has nothing to do is quick, and takes along what earlier runs left.
    let pruned = (args.prune && !report.dry_run).then(|| prune::do_it(&repo, &PruneOptions::default(), p));
    let pruned = pruned.transpose()?;
    if p.global.json {
        let mut value = as_json(&report)?;
        if let Some(pruned) = &pruned {
            value["prune"] = serde_json::to_value(pruned).map_err(|e| Failure::failed(e.to_string()))?;
        }
        p.json(&value);
    } else if let Some(pruned) = &pruned {
        prune::render(pruned, p);
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty() || !report.left_objects.is_empty()))
}

fn refuse_what_cannot_be_meant(args: &ForgetArgs, keeps: bool) -> Result<(), Failure> {
    match (args.snapshots.is_empty(), keeps) {
        (true, false) => Err(Failure::usage(
            "nothing says which snapshots to keep",
            "say what to keep, for example --keep-daily 7 --keep-weekly 5, or name the snapshots to forget; \
             with --dry-run nothing is written",
        )),
        (false, true) => Err(Failure::usage(
            "snapshots were named, and a policy was given too",
            "name snapshots to forget just these, or give --keep options, not both; \
             --keep-id keeps a snapshot whatever the policy says",
        )),
        _ => Ok(()),
    }
}

pub fn group_by(text: &str) -> Result<GroupBy, Failure> {
    let mut by = GroupBy { host: false, paths: false, tags: false };
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "host" | "hosts" => by.host = true,
            "path" | "paths" => by.paths = true,
            "tag" | "tags" => by.tags = true,
            _ => {
                let shown = name(word.as_bytes());
                return Err(Failure::usage(
                    format!("snapshots cannot be grouped by \"{shown}\""),
                    "give any of host, paths, tags, separated by commas; or '' for one group",
                ));
            }
        }
    }
    Ok(by)
}

fn render(report: &ForgetReport, args: &ForgetArgs, p: &mut Printer<'_>) {
    for group in &report.groups {
        if let Some(title) = title(&group.key) {
            p.say(&p.style().bold(&title));
        }
        let lines = table(group, p).lines();
        lines.iter().for_each(|line| p.say(&format!("  {line}")));
        p.say("");
    }
    let gone = report.forgotten.len() as u64;
    let kept = format!("{} kept", count(report.kept));
    let snapshots = counted(gone, "snapshot", "snapshots");
    match (report.dry_run, gone) {
        (true, 0) => p.say(&format!("nothing would be forgotten, {kept}")),
        (true, _) => p.say(&format!("{snapshots} would be forgotten, {kept}; nothing was written")),
        (false, 0) => p.say(&format!("nothing to forget, {kept}")),
        (false, _) => {
            p.say(&format!("{snapshots} forgotten, {kept}"));
            if !args.prune {
                p.note("their data stays until `ballast prune` finds that no snapshot needs it");
            }
        }
    }
}

fn title(key: &GroupKey) -> Option<String> {
    let shown = |all: &[String]| all.iter().map(|t| name(t.as_bytes())).collect::<Vec<_>>().join(", ");
    let paths = |all: &[Bytes]| all.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ");
    let parts = [
        key.host.as_ref().map(|host| name(host.as_bytes())),
        key.paths.as_ref().map(|all| paths(all)),
        key.tags.as_ref().map(|tags| match tags.is_empty() {
            true => "no tags".to_owned(),
            false => format!("tags {}", shown(tags)),
        }),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

fn table(group: &Group, p: &Printer<'_>) -> Table {
    let key = &group.key;
    let mut table = Table::new(&["ID", "Time", "Host", "Paths", "Tags", "Plan"]);
    for s in &group.snapshots {
        let unless = |known: bool, text: String| if known { String::new() } else { text };
        let time = s.time_ns.map(|ns| time::local(Stamp::from_ns(ns), &p.io.zone));
        table.row([
            s.id.short(),
            time.unwrap_or_else(|| "cannot be read".into()),
            unless(key.host.is_some(), s.host.clone().unwrap_or_default()),
            unless(key.paths.is_some(), s.paths.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ")),
            unless(key.tags.is_some(), s.tags.join(",")),
            plan(s),
        ]);
    }
    table
}

fn plan(planned: &Planned) -> String {
    let reasons: Vec<String> = planned.reasons.iter().map(ToString::to_string).collect();
    if reasons.is_empty() { "forget".into() } else { format!("keep: {}", reasons.join(", ")) }
}

fn as_json(report: &ForgetReport) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(report).map_err(|e| Failure::failed(e.to_string()))?;
    for (shown, group) in value["groups"].as_array_mut().into_iter().flatten().zip(&report.groups) {
        let rows = shown["snapshots"].as_array_mut().into_iter().flatten();
        for (row, planned) in rows.zip(&group.snapshots) {
            row["keep"] = json!(planned.is_kept());
        }
    }
    for field in ["unreadable", "left_objects"] {
        value[field] = super::named(&value[field]);
    }
    Ok(value)
}
