//! `stats --models`: what each version of a model cost, as a table and as a picture.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use ballast::error::Error;
use ballast::op::stats::models::{self, Lineage, ModelsReport, Version};
use ballast::repo::Repository;
use ballast::repo::layers::Part;
use ballast::repo::snapshots::Filter;
use serde_json::json;

use crate::args::StatsArgs;
use crate::bar::Meter;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, size};
use crate::printer::{Printer, Style};
use crate::svg::{self, Bar, Chart, Picture};
use crate::table::Table;
use crate::{connect, hint, time, whom};

/// Bars beyond which snapshots without a change are left out of a picture.
const MANY_BARS: usize = 40;

/// Runs it. `words` are snapshots, with the paths in them.
pub fn run(
    args: &StatsArgs,
    repo: &Repository,
    words: &[(String, Option<Vec<u8>>)],
    filter: &Filter,
    p: &mut Printer<'_>,
) -> Result<Exit, Failure> {
    let to_stdout = args.svg.as_deref() == Some(Path::new("-"));
    if to_stdout && p.global.json {
        return Err(Failure::usage(
            "standard output cannot be a picture and JSON",
            "give --svg a file, or leave out --json",
        ));
    }
    let latest = [("latest".to_owned(), None)];
    let words = if words.is_empty() { &latest } else { words };
    let of = words.iter().map(|(word, path)| Ok((whom::find(p, repo, word, filter)?.id, path.clone())));
    let of = of.collect::<Result<Vec<_>, Failure>>()?;
    let meter = Meter::start(p);
    let outcome = models::models(repo, &of, filter, &meter);
    meter.end(0, &[]);
    connect::notices(p, repo);
    let report = outcome?;
    for (what, reason) in &report.unreadable {
        p.warn(&format!("{what} does not count: {reason}"));
    }
    if let Some(path) = &args.svg {
        let text = svg::draw(&picture(&report, p));
        if to_stdout {
            text.lines().for_each(|line| p.data(line));
        } else {
            let path = whom::absolute(p.io, path)?;
            replace(&path, &text).map_err(|error| {
                let cure = hint::of_system(&error).unwrap_or("give a file where you may write one");
                Failure::from(Error::io(&path, error)).with_hint(cure)
            })?;
        }
    }
    if p.global.json {
        let unreadable =
            report.unreadable.iter().map(|(what, reason)| json!({ "what": what, "reason": reason }));
        p.json(&json!({
            "snapshots": report.snapshots,
            "models": report.models,
            "unreadable": unreadable.collect::<Vec<_>>(),
        }));
    } else if !to_stdout {
        lines(&report, p).iter().for_each(|line| p.data(line));
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty()))
}

/// Whole or not at all, under its name; a pipe or a device is written into.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    // The file behind a link, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Models with several versions, and those with one.
fn sorted(report: &ModelsReport) -> (Vec<&Lineage>, Vec<&Lineage>) {
    report.models.iter().partition(|model| model.versions.iter().filter(|v| v.changed).count() > 1)
}

fn lines(report: &ModelsReport, p: &Printer<'_>) -> Vec<String> {
    let (several, single) = sorted(report);
    let style = p.style();
    let mut out = Vec::new();
    for model in &several {
        out.push(style.bold(&name(&model.path)));
        out.extend(table_of(model, p));
        out.push(total(std::iter::once(*model), style));
        out.push(String::new());
    }
    if !single.is_empty() {
        let mut table = table("Model");
        for model in &single {
            if let Some(version) = model.versions.iter().find(|version| version.changed) {
                table.row(cells(version, p, name(&model.path)));
            }
        }
        out.extend(table.lines());
        if single.len() > 1 {
            out.push(total(single.iter().copied(), style));
        }
        out.push(String::new());
    }
    if report.models.len() > single.len().max(1) {
        out.push(format!("all models: {}", total(report.models.iter(), style)));
    } else {
        out.pop();
    }
    if report.models.is_empty() {
        out.push("there is no model".into());
    }
    out
}

fn table(last: &str) -> Table {
    Table::new(&[
        "Time",
        ">Size",
        ">Stored",
        ">Share",
        ">Embeddings",
        ">Attention",
        ">MLP",
        ">Norms",
        ">Head",
        ">Other",
        last,
    ])
}

fn cells(version: &Version, p: &Printer<'_>, last: String) -> [String; 11] {
    let part = |part: Part| version.parts.get(&part).copied().map(size).unwrap_or_default();
    let [embeddings, attention, mlp, norms, head, other] = Part::ALL.map(part);
    [
        time::local(version.time, &p.io.zone),
        size(version.bytes),
        size(version.stored_bytes),
        share(version.stored_bytes, version.bytes),
        embeddings,
        attention,
        mlp,
        norms,
        head,
        other,
        last,
    ]
}

fn table_of(model: &Lineage, p: &Printer<'_>) -> Vec<String> {
    let mut table = table("Remark");
    for run in model.versions.chunk_by(|a, b| !a.changed && !b.changed) {
        let Some(last) = run.last() else { continue };
        let remark = match (run.len(), last.changed) {
            (_, true) => String::new(),
            (1, _) => "unchanged".into(),
            (n, _) => format!("unchanged in {} snapshots", count(n as u64)),
        };
        table.row(cells(last, p, remark));
    }
    table.lines()
}

fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        whole => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

fn total<'m>(models: impl Iterator<Item = &'m Lineage>, style: Style) -> String {
    let versions: Vec<&Version> = models.flat_map(|m| &m.versions).filter(|v| v.changed).collect();
    let sum = |of: fn(&Version) -> u64| versions.iter().fold(0, |sum: u64, v| sum.saturating_add(of(v)));
    let (whole, stored) = (sum(|v| v.bytes), sum(|v| v.stored_bytes));
    let versions = counted(versions.len() as u64, "version", "versions");
    let part = match share(stored, whole) {
        part if part.is_empty() => part,
        part => format!(" ({part})"),
    };
    style.bold(&format!("{versions}, {} stored in {}{part}", size(whole), size(stored)))
}

/// What is drawn.
fn picture(report: &ModelsReport, p: &Printer<'_>) -> Picture {
    let (several, single) = sorted(report);
    let day =
        |version: &Version| -> String { time::local(version.time, &p.io.zone).chars().take(10).collect() };
    let bar = |version: &Version, label: String, of: &str| Bar {
        label,
        title: format!(
            "{of}{}: {} stored of {} ({})",
            time::local(version.time, &p.io.zone),
            size(version.stored_bytes),
            size(version.bytes),
            share(version.stored_bytes, version.bytes)
        ),
        parts: Part::ALL.iter().map(|part| version.parts.get(part).copied().unwrap_or(0)).collect(),
        whole: version.bytes,
    };
    let mut charts: Vec<Chart> = Vec::new();
    for model in several {
        let all = model.versions.len() <= MANY_BARS;
        let versions = model.versions.iter().filter(|version| all || version.changed);
        let bars = versions.map(|version| bar(version, day(version), "")).collect();
        charts.push(Chart { title: name(&model.path), bars });
    }
    if !single.is_empty() {
        let firsts = single.iter().filter_map(|m| m.versions.first().map(|version| (m, version)));
        let bars: Vec<Bar> = firsts
            .map(|(model, version)| bar(version, day(version), &format!("{}, ", name(&model.path))))
            .collect();
        let title = match single[..] {
            [one] => name(&one.path),
            _ => counted(single.len() as u64, "model of one version", "models of one version each"),
        };
        charts.push(Chart { title, bars });
    }
    let subtitle = format!(
        "{} in {}: what each version brought that no earlier one had",
        counted(report.models.len() as u64, "model", "models"),
        counted(report.snapshots, "snapshot", "snapshots")
    );
    Picture {
        title: "What models cost, version by version".into(),
        subtitle,
        axis: "stored".into(),
        legend: Part::ALL.iter().map(|part| part.word().to_owned()).collect(),
        whole: "size of the files".into(),
        charts,
    }
}
