//! `dump`: one file to standard output. With `--json` the report goes to standard error.

use ballast::format::wire::Bytes;
use ballast::op::dump;
use serde_json::json;

use crate::args::DumpArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::name;
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: &DumpArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let Some(path) = path else {
        return Err(Failure::usage("no file was named", format!("write {word}:/path/of/the/file")));
    };
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let meter = Meter::start(p);
    let dump = if args.salvage { dump::salvage } else { dump::run };
    let outcome = dump(&repo, snapshot, &path, &mut p.io.out, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let bytes = outcome?;
    tracing::info!(path = name(&path), bytes, "dumped");
    if p.global.json {
        p.json(&json!({ "snapshot": snapshot, "path": Bytes(path), "bytes": bytes }));
    }
    Ok(Exit::Done)
}
