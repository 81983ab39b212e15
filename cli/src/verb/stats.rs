//! `stats`: what things take, and what would come free without them.

use ballast::format::tree::NodeKind;
use ballast::format::wire::{Bytes, Stamp};
use ballast::op::list;
use ballast::op::stats::{self, RepositoryStats, Takes};
use ballast::repo::Repository;
use serde_json::{Map, Value, json};

use crate::args::StatsArgs;
use crate::bar::Meter;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::{Printer, Style};
use crate::table::Table;
use crate::{connect, time, whom};

/// What is asked about.
enum Of {
    Repository,
    Snapshots(Vec<ballast::id::SnapshotId>),
    Directory(ballast::id::SnapshotId, Vec<u8>),
}

type Unreadable = Vec<(String, String)>;

/// Runs it.
pub fn run(args: &StatsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let filter = whom::several(p.io, &args.filter)?;
    let words = args.of.iter().map(|given| whom::snapshot_and_path(given));
    let words: Vec<_> = words.collect::<Result<_, Failure>>()?;
    if !args.models && words.len() > 1 && words.iter().any(|(_, path)| path.is_some()) {
        return Err(Failure::usage(
            "a path goes with one snapshot only",
            "give either snapshots, or one SNAPSHOT:PATH",
        ));
    }
    let repo = connect::open(p)?;
    if args.models {
        return super::stats_models::run(args, &repo, &words, &filter, p);
    }
    let of = match words.as_slice() {
        [] if args.snapshots => {
            Of::Snapshots(list::run(&repo, &filter)?.snapshots.iter().map(|s| s.id).collect())
        }
        [] => Of::Repository,
        [(word, Some(path))] => Of::Directory(whom::find(p, &repo, word, &filter)?.id, path.clone()),
        all => {
            let ids = all.iter().map(|(word, _)| Ok(whom::find(p, &repo, word, &filter)?.id));
            Of::Snapshots(ids.collect::<Result<_, Failure>>()?)
        }
    };
    let meter = Meter::start(p);
    let outcome = ask(&repo, &of, &meter, p);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let (lines, value, unreadable) = outcome?;
    for (what, reason) in &unreadable {
        p.warn(&format!("{what} does not count: {reason}"));
    }
    if p.global.json {
        p.json(&value);
    } else {
        lines.iter().for_each(|line| p.data(line));
    }
    Ok(Exit::with_problems(!unreadable.is_empty()))
}

fn ask(
    repo: &Repository,
    of: &Of,
    meter: &Meter,
    p: &Printer<'_>,
) -> Result<(Vec<String>, Value, Unreadable), Failure> {
    let mut value = Map::new();
    let (lines, unreadable) = match of {
        Of::Repository => {
            let report = stats::repository(repo, meter)?;
            let whole = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
            value.insert("repository".into(), json!(repo.config().repo_id));
            value.extend(whole.as_object().cloned().unwrap_or_default());
            let short = repo.config().repo_id.short();
            (whole_lines(&report, &short, p.style(), p), report.unreadable)
        }
        Of::Snapshots(ids) => {
            let report = stats::snapshots(repo, ids, meter)?;
            let mut table = Table::new(&["ID", "Time", ">Files", ">Size", ">Unique", ">Stored", ">Frees"]);
            let mut rows = Vec::new();
            for (snapshot, takes) in &report.rows {
                let id = snapshot.id.short();
                let [files, rest @ ..] = cells(takes);
                let [logical, unique, stored, frees] = rest;
                let when = time::local(snapshot.record.time, &p.io.zone);
                table.row([id, when, files, logical, unique, stored, frees]);
                let mut row = takes_json(takes)?;
                row.insert("id".into(), json!(snapshot.id));
                row.insert("time".into(), json!(snapshot.record.time));
                rows.push(Value::Object(row));
            }
            value.insert("snapshots".into(), rows.into());
            value.insert("together_frees_bytes".into(), report.together_bytes.into());
            let mut lines = table.lines();
            if report.rows.len() > 1 {
                let together = size(report.together_bytes);
                lines.push(format!("forgetting all of these would free about {together}"));
            }
            (lines, report.unreadable)
        }
        Of::Directory(id, path) => {
            let mut report = stats::directory(repo, *id, path, meter)?;
            report.rows.sort_by(|a, b| b.2.stored_bytes.cmp(&a.2.stored_bytes).then_with(|| a.0.cmp(&b.0)));
            let mut table = Table::new(&[">Files", ">Size", ">Unique", ">Stored", ">Frees", "Name"]);
            let mut rows = Vec::new();
            let mut line = |takes: &Takes, shown: String| {
                let [files, logical, unique, stored, frees] = cells(takes);
                table.row([files, logical, unique, stored, frees, shown]);
            };
            for (entry, kind, takes) in &report.rows {
                let slash = if *kind == NodeKind::Directory { "/" } else { "" };
                line(takes, format!("{}{slash}", name(entry)));
                let mut row = takes_json(takes)?;
                row.insert("name".into(), json!(Bytes::from(&entry[..])));
                row.insert("kind".into(), json!(kind));
                rows.push(Value::Object(row));
            }
            if report.rows.len() != 1 {
                line(&report.all, format!("all of {}", name(&report.path)));
            }
            value.insert("snapshot".into(), json!(id));
            value.insert("path".into(), json!(Bytes::from(&report.path[..])));
            value.insert("entries".into(), rows.into());
            value.insert("all".into(), takes_json(&report.all)?.into());
            (table.lines(), report.unreadable)
        }
    };
    let named = unreadable.iter().map(|(what, reason)| json!({ "what": what, "reason": reason }));
    value.insert("unreadable".into(), named.collect());
    Ok((lines, Value::Object(value), unreadable))
}

fn cells(takes: &Takes) -> [String; 5] {
    let bytes = [takes.logical_bytes, takes.unique_bytes, takes.stored_bytes, takes.frees_bytes].map(size);
    let [logical, unique, stored, frees] = bytes;
    [count(takes.files), logical, unique, stored, frees]
}

fn takes_json(takes: &Takes) -> Result<Map<String, Value>, Failure> {
    let value = serde_json::to_value(takes).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(value.as_object().cloned().unwrap_or_default())
}

/// `28.9x less`, where there is something to say.
fn less(before: u64, after: u64) -> Option<String> {
    let times = before as f64 / after.max(1) as f64;
    (after > 0 && times >= 1.05).then(|| format!("{times:.1}x less"))
}

fn whole_lines(r: &RepositoryStats, id: &str, style: Style, p: &Printer<'_>) -> Vec<String> {
    let mut out = vec![style.bold(&format!("repository {id}"))];
    let mut say = |label: &str, text: String| out.push(format!("  {label:<10} {text}"));
    let day = |ns: Option<i64>| {
        let text = ns.map(|ns| time::local(Stamp::from_ns(ns), &p.io.zone)).unwrap_or_default();
        text.chars().take(10).collect::<String>()
    };
    let mut snapshots = count(r.snapshots);
    if r.snapshots > 0 {
        let hosts = match r.hosts.as_slice() {
            [one] => name(one.as_bytes()),
            many => counted(many.len() as u64, "host", "hosts"),
        };
        snapshots.push_str(&format!(" of {hosts}, {} to {}", day(r.oldest_ns), day(r.newest_ns)));
    }
    say("snapshots", snapshots);
    say("files", format!("{} in all snapshots together: {}", count(r.files), size(r.logical_bytes)));
    let with =
        |text: String, less: Option<String>| less.map_or(text.clone(), |less| format!("{text} ({less})"));
    say(
        "unique",
        with(
            format!("{} of content, each piece once", size(r.unique_bytes)),
            less(r.logical_bytes, r.unique_bytes),
        ),
    );
    let stored = format!("{} in {}", size(r.stored_bytes), counted(r.packs, "pack", "packs"));
    say("stored", with(stored, less(r.unique_bytes, r.stored_bytes)));
    for e in &r.encodings {
        let plain = size(e.plain_bytes);
        say("", format!("{:<6} {:>10}  of {plain:>10}", e.encoding, size(e.stored_bytes)));
    }
    if r.bases_bytes > 0 {
        say("", format!("{} of it only as what differences are decoded against", size(r.bases_bytes)));
    }
    let prune =
        if r.unused_bytes * 20 > r.packs_bytes { ": `ballast prune` gives back what it can" } else { "" };
    say("unused", format!("{} that no snapshot needs{prune}", size(r.unused_bytes)));
    out
}
