//! `tensors`: what a model in a snapshot is made of.

use std::cmp::Reverse;

use ballast::format::wire::Bytes;
use ballast::id::SnapshotId;
use ballast::op::tensors::{self, TensorRow, TensorsOptions, TensorsReport};
use serde_json::{Value, json};

use crate::args::{TensorSort, TensorsArgs};
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::output::{counted, name, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::{time, whom};

/// Runs it.
pub fn run(args: TensorsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let path = path.ok_or_else(|| whom::no_model(&word))?;
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let options = TensorsOptions { snapshot, path, patterns: args.patterns };
    let meter = Meter::start(p);
    let outcome = tensors::run(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let mut report = outcome?;
    for (id, reason) in &report.unreadable {
        p.warn(&format!("snapshot {} cannot be read: {reason}; Since is told without it", id.short()));
    }
    match args.sort {
        None => {}
        Some(TensorSort::Name) => report.rows.sort_by(|a, b| a.tensor.name.cmp(&b.tensor.name)),
        Some(TensorSort::Size) => report.rows.sort_by_key(|row| Reverse(row.tensor.len)),
        Some(TensorSort::Stored) => report.rows.sort_by_key(|row| Reverse(row.stored_bytes)),
        Some(TensorSort::Since) => report.rows.sort_by_key(|row| Reverse(row.since.time)),
    }
    if p.global.json {
        for row in &report.rows {
            let line = json::line("entry", entry(&report, row));
            p.data(&line);
        }
        let value = summary(&report, snapshot);
        p.json(&value);
    } else {
        render(&report, snapshot, args.sort.is_none(), p);
    }
    let damaged = !report.unreadable.is_empty() || report.rows.iter().any(|row| row.damaged);
    Ok(Exit::with_problems(damaged))
}

fn render(report: &TensorsReport, snapshot: SnapshotId, by_file: bool, p: &mut Printer<'_>) {
    let mut table = Table::new(&["Name", "Type", "Shape", ">Size", ">Stored", "Since"]);
    for row in &report.rows {
        let tensor = &row.tensor;
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        let day: String = time::local(row.since.time, &p.io.zone).chars().take(10).collect();
        table.row([
            name(&tensor.name),
            name(&tensor.dtype),
            format!("[{}]", shape.join(", ")),
            size(tensor.len),
            if row.damaged { "damaged".to_owned() } else { size(row.stored_bytes) },
            match row.since.id == snapshot {
                true => "this snapshot".to_owned(),
                false => format!("{} {day}", row.since.id.short()),
            },
        ]);
    }
    let mut lines = table.lines().into_iter();
    if let Some(heading) = lines.next() {
        p.data(&heading);
    }
    let mut file = None;
    for (line, row) in lines.zip(&report.rows) {
        if by_file && report.model.shards.len() > 1 && file != Some(row.tensor.shard) {
            file = Some(row.tensor.shard);
            let path = p.style().bold(&name(&report.model.shards[row.tensor.shard].path));
            p.data(&path);
        }
        p.data(&line);
    }
    let all = report.model.tensors.len();
    let of = if all == report.rows.len() { String::new() } else { format!(" of {all}") };
    p.say(&format!(
        "\n{}{of} in {}: {}, stored as {}; {} looked into",
        counted(report.rows.len() as u64, "tensor", "tensors"),
        counted(report.model.shards.len() as u64, "file", "files"),
        size(report.total_bytes),
        size(report.stored_bytes),
        counted(report.snapshots, "snapshot", "snapshots"),
    ));
}

fn entry(report: &TensorsReport, row: &TensorRow) -> Value {
    let tensor = &row.tensor;
    json!({
        "name": Bytes::from(&tensor.name[..]),
        "dtype": Bytes::from(&tensor.dtype[..]),
        "shape": tensor.shape,
        "path": Bytes::from(&report.model.shards[tensor.shard].path[..]),
        "offset": tensor.offset,
        "size": tensor.len,
        "stored_bytes": row.stored_bytes,
        "damaged": row.damaged,
        "since": { "id": row.since.id, "time": row.since.time },
    })
}

fn summary(report: &TensorsReport, snapshot: SnapshotId) -> Value {
    let unreadable = report.unreadable.iter().map(|(id, reason)| json!({ "id": id, "reason": reason }));
    json!({
        "snapshot": snapshot,
        "path": Bytes::from(&report.model.path[..]),
        "files": report.model.shards.len(),
        "entries": report.rows.len(),
        "tensors": report.model.tensors.len(),
        "total_bytes": report.total_bytes,
        "stored_bytes": report.stored_bytes,
        "snapshots": report.snapshots,
        "unreadable": unreadable.collect::<Vec<_>>(),
    })
}
