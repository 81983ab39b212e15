//! `dump`: one file, tensors, or a directory as an archive, to standard output. With `--json` the report goes to standard
//! error.

use ballast::format::wire::Bytes;
use ballast::id::SnapshotId;
use ballast::op::dump::{self, ArchiveFormat, ArchiveOptions, TensorFormat, TensorOptions};
use ballast::repo::Repository;
use serde_json::json;

use crate::args::{ArchiveArg, DumpArgs, TensorsAsArg};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::name;
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: &DumpArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let path = match (path, args.archive) {
        (Some(path), _) => path,
        (None, Some(_)) => b"/".to_vec(),
        (None, None) if !args.tensors.is_empty() => return Err(whom::no_model(&word)),
        (None, None) => {
            let hint = format!("write {word}:/path/of/the/file, or --archive tar for everything");
            return Err(Failure::usage("no file was named", hint));
        }
    };
    if args.archive.is_some() && p.io.terminals.stdout {
        return Err(Failure::usage(
            "an archive is nothing for a terminal",
            "write it to a file: `... > out.tar`",
        ));
    }
    if !args.tensors.is_empty() && p.io.terminals.stdout {
        return Err(Failure::usage(
            "a tensor is nothing for a terminal",
            "write it to a file: `... > tensor.raw`; `ballast tensors` shows what there is",
        ));
    }
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    match args.archive {
        Some(kind) => archive(args, p, &repo, snapshot, path, kind),
        None if !args.tensors.is_empty() => tensors(args, p, &repo, snapshot, path),
        None => file(args, p, &repo, snapshot, &path),
    }
}

fn file(
    args: &DumpArgs,
    p: &mut Printer<'_>,
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
) -> Result<Exit, Failure> {
    let meter = Meter::start(p);
    let dump = if args.salvage { dump::salvage } else { dump::run };
    let outcome = dump(repo, snapshot, path, &mut p.io.out, &meter);
    meter.end(0, &[]);
    connect::notices(p, repo);
    let bytes = outcome?;
    tracing::info!(path = name(path), bytes, "dumped");
    if p.global.json {
        p.json(&json!({ "snapshot": snapshot, "path": Bytes(path.to_vec()), "bytes": bytes }));
    }
    Ok(Exit::Done)
}

fn tensors(
    args: &DumpArgs,
    p: &mut Printer<'_>,
    repo: &Repository,
    snapshot: SnapshotId,
    path: Vec<u8>,
) -> Result<Exit, Failure> {
    let format = match args.tensors_as {
        None => TensorFormat::Raw,
        Some(TensorsAsArg::Safetensors) => TensorFormat::Safetensors,
    };
    let options = TensorOptions { snapshot, path, tensors: args.tensors.clone(), format };
    let meter = Meter::start(p);
    let outcome = dump::tensors(repo, &options, &mut p.io.out, &meter);
    meter.end(0, &[]);
    connect::notices(p, repo);
    let report = outcome?;
    tracing::info!(path = name(&options.path), tensors = report.tensors, bytes = report.bytes, "dumped");
    if p.global.json {
        p.json(&json!({
            "snapshot": snapshot,
            "path": Bytes(options.path),
            "bytes": report.bytes,
            "tensors": report.tensors,
        }));
    }
    Ok(Exit::Done)
}

fn archive(
    args: &DumpArgs,
    p: &mut Printer<'_>,
    repo: &Repository,
    snapshot: SnapshotId,
    path: Vec<u8>,
    kind: ArchiveArg,
) -> Result<Exit, Failure> {
    let format = match kind {
        ArchiveArg::Tar => ArchiveFormat::Tar,
        ArchiveArg::Zip => ArchiveFormat::Zip,
    };
    let options = ArchiveOptions { snapshot, path, format, salvage: args.salvage };
    let meter = Meter::start(p);
    let outcome = dump::archive(repo, &options, &mut p.io.out, &meter);
    let seen = outcome.as_ref().ok();
    meter.end(seen.map_or(0, |r| r.problem_count), seen.map_or(&[], |r| &r.problems));
    connect::notices(p, repo);
    let report = outcome?;
    tracing::info!(path = name(&options.path), files = report.files, bytes = report.bytes, "archived");
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        value["snapshot"] = json!(snapshot);
        value["path"] = json!(Bytes(options.path.clone()));
        value["archive"] = json!(format);
        p.json(&value);
    }
    Ok(Exit::with_problems(report.problem_count > 0))
}
