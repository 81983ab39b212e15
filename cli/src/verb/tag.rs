//! `tag`: other tags for snapshots.

use ballast::op::tag::{self, Change, TagOptions, TagReport};

use crate::args::{self, TagArgs, TagCommand};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{counted, safe};
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(command: &TagCommand, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (change, args): (Change, &TagArgs) = match command {
        TagCommand::Add(args) => (Change::Add, args),
        TagCommand::Remove(args) => (Change::Remove, args),
        TagCommand::Set(args) => (Change::Set, args),
    };
    let tags = args::tags(&args.tags);
    if tags.is_empty() && change != Change::Set {
        return Err(Failure::usage("no tag was named", "`ballast tag set '' SNAPSHOT` takes all tags away"));
    }
    let filter = whom::filter(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let options = TagOptions { snapshots: whom::ids(p, &repo, &args.snapshots, &filter)?, change, tags };
    let meter = Meter::start(p);
    let outcome = tag::run(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome?;
    for id in &report.vanished {
        p.warn(&format!("snapshot {} was forgotten by another run meanwhile", id.short()));
    }
    for (id, reason) in &report.left_objects {
        p.warn(&format!("snapshot {} is forgotten, but its object is still there: {reason}", id.short()));
    }
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        value["left_objects"] = super::named(&value["left_objects"]);
        p.json(&value);
    } else {
        render(&report, p);
    }
    Ok(Exit::with_problems(!report.vanished.is_empty() || !report.left_objects.is_empty()))
}

fn render(report: &TagReport, p: &mut Printer<'_>) {
    for tagged in &report.changed {
        let tags = if tagged.tags.is_empty() { "no tags".into() } else { safe(&tagged.tags.join(",")) };
        p.say(&format!("{} is now {}: {tags}", tagged.old.short(), tagged.new.short()));
    }
    let same = report.unchanged.iter().filter(|id| report.changed.iter().all(|t| t.new != **id)).count();
    if same > 0 {
        p.say(&format!("{} had these tags already", counted(same as u64, "snapshot", "snapshots")));
    }
}
