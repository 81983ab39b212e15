//! `repair`: index, packs, snapshots, config.

mod words;

use ballast::error::Error;
use ballast::id::{ObjectKind, PackId, SnapshotId};
use ballast::op::repair::config;
use ballast::op::repair::index::{self, IndexOptions};
use ballast::op::repair::packs::{self, PacksOptions};
use ballast::op::repair::snapshots::{self, SnapshotsOptions};
use ballast::repo::Repository;
use serde::Serialize;

use crate::args::{RepairCommand, RepairConfigArgs, RepairIndexArgs, RepairPacksArgs, RepairSnapshotsArgs};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(command: &RepairCommand, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    match command {
        RepairCommand::Index(args) => index(args, p),
        RepairCommand::Packs(args) => packs(args, p),
        RepairCommand::Snapshots(args) => snapshots(args, p),
        RepairCommand::Config(args) => config(args, p),
    }
}

/// Runs `work` with a bar, then tells its report.
fn tell<R: Serialize>(
    p: &mut Printer<'_>,
    repo: &Repository,
    work: impl FnOnce(&Meter) -> Result<R, Error>,
    lines: impl FnOnce(&R) -> Vec<String>,
) -> Result<R, Failure> {
    let meter = Meter::start(p);
    let result = work(&meter);
    meter.end(0, &[]);
    connect::notices(p, repo);
    let report = result?;
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        for field in ["damaged", "damaged_keys", "failed", "unreadable"] {
            if value.get(field).is_some() {
                value[field] = super::named(&value[field]);
            }
        }
        p.json(&value);
    } else {
        lines(&report).iter().for_each(|line| p.data(line));
    }
    Ok(report)
}

fn index(args: &RepairIndexArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let options = IndexOptions { all: args.all, dry_run: args.dry_run };
    let repo = connect::open(p)?;
    let report = tell(p, &repo, |meter| index::run(&repo, &options, meter), words::index)?;
    Ok(Exit::with_problems(report.needs_packs()))
}

fn packs(args: &RepairPacksArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let from = args.from.iter().map(|path| whom::absolute(p.io, path)).collect::<Result<_, _>>()?;
    let repo = connect::open(p)?;
    let packs = args.packs.iter().map(|word| pack(&repo, word)).collect::<Result<_, _>>()?;
    let options = PacksOptions { packs, read_data: args.read_data, from, dry_run: args.dry_run };
    let report = tell(p, &repo, |meter| packs::run(&repo, &options, meter), words::packs)?;
    for problem in &report.problems {
        p.warn(&problem.to_string());
    }
    Ok(Exit::with_problems(report.is_short()))
}

fn snapshots(args: &RepairSnapshotsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let chosen = args.snapshots.iter().map(|word| snapshot(&repo, word)).collect::<Result<_, _>>()?;
    let options = SnapshotsOptions {
        snapshots: chosen,
        forget_unreadable: args.forget_unreadable,
        dry_run: args.dry_run,
    };
    let report = tell(p, &repo, |meter| snapshots::run(&repo, &options, meter), words::snapshots)?;
    let left = report.unreadable.iter().any(|(id, _)| !report.forgotten.contains(id));
    Ok(Exit::with_problems(left || !report.failed.is_empty()))
}

fn config(args: &RepairConfigArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let report = tell(p, &repo, |_| config::run(&repo, args.dry_run), words::config)?;
    Ok(Exit::with_problems(!report.damaged_keys.is_empty()))
}

/// The pack whose id begins with `word`. One that is gone can only be named whole.
fn pack(repo: &Repository, word: &str) -> Result<PackId, Failure> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let names = repo.store().list(ObjectKind::Pack)?;
    let fits: Vec<&String> = names.iter().filter(|name| word.len() >= 4 && name.starts_with(word)).collect();
    match fits.as_slice() {
        [one] => one.parse().map_err(|_| Failure::failed(format!("{one} is no id of a pack"))),
        [] => Err(Failure::failed(format!("no pack begins with \"{word}\""))
            .with_hint("give four digits or more of an id, as `ballast check` shows it")),
        _ => Err(Failure::usage(format!("{word} fits {} packs", fits.len()), "give more digits of the id")),
    }
}

/// The committed snapshot whose id begins with `word`; it need not be readable.
fn snapshot(repo: &Repository, word: &str) -> Result<SnapshotId, Failure> {
    Ok(repo.find_committed(&repo.ledger(false)?, word)?)
}
