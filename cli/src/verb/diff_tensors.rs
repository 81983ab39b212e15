//! `diff --tensors`: what differs between models, by layer or by tensor.

use std::io::Write;

use ballast::error::Result as Done;
use ballast::format::wire::Bytes;
use ballast::op::diff::Side;
use ballast::op::diff::tensors::{self, LayerDiff, ModelDiff, Status, TensorDiff, TensorsReport, UnitKind};
use ballast::repo::Repository;
use serde_json::{Map, Value, json};

use super::diff::unwritten;
use crate::args::DiffArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::io::Out;
use crate::json;
use crate::output::{count, counted, name, size};
use crate::printer::{Printer, Style};
use crate::table::Table;

/// Runs it.
pub fn run(
    args: &DiffArgs,
    repo: &Repository,
    old: &Side,
    new: &Side,
    p: &mut Printer<'_>,
) -> Result<Exit, Failure> {
    let (as_json, style, each) = (p.global.json, p.style(), args.each);
    let meter = Meter::start(p);
    let out = &mut p.io.out;
    let outcome = tensors::run(repo, old, new, &meter, &mut |model| match as_json {
        true => lines_of_json(model, out),
        false => {
            tables(model, each, style).iter().try_for_each(|line| writeln!(out, "{line}").map_err(unwritten))
        }
    });
    meter.end(0, &[]);
    connect::notices(p, repo);
    let report = outcome?;
    for (path, reason) in &report.unreadable {
        p.warn(&format!("{path} cannot be compared: {reason}"));
    }
    if as_json {
        let unreadable =
            report.unreadable.iter().map(|(path, reason)| json!({ "path": path, "reason": reason }));
        p.json(&json!({
            "old": old.snapshot,
            "new": new.snapshot,
            "models": report.models,
            "total": total(&report.all),
            "unreadable": unreadable.collect::<Vec<_>>(),
        }));
    } else {
        for line in summary(&report) {
            p.say(&style.bold(&line));
        }
    }
    Ok(Exit::with_problems(!report.unreadable.is_empty()))
}

fn path_of(model: &ModelDiff) -> &[u8] {
    model.new.as_deref().or(model.old.as_deref()).unwrap_or_default()
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Figures of several tensors, without whose they are.
fn total(layer: &LayerDiff) -> Value {
    let mut total = object(layer);
    total.remove("layer");
    total.into()
}

fn lines_of_json(model: &ModelDiff, out: &mut Out) -> Done<()> {
    let mut line = |word, value| writeln!(out, "{}", json::line(word, value)).map_err(unwritten);
    let path = Bytes::from(path_of(model));
    for tensor in &model.tensors {
        let mut tensor = object(tensor);
        tensor.insert("model".into(), json!(path));
        line("tensor", tensor.into())?;
    }
    for layer in &model.layers {
        line("layer", json!({ "model": path, "layer": layer.layer, "total": total(layer) }))?;
    }
    let side = |side: &Option<Vec<u8>>| side.as_deref().map(Bytes::from);
    line("model", json!({ "old": side(&model.old), "new": side(&model.new), "total": total(&model.all) }))
}

fn tables(model: &ModelDiff, each: bool, style: Style) -> Vec<String> {
    let bytes = model.tensors.iter().filter_map(|t| t.new.as_ref().or(t.old.as_ref()));
    let bytes = bytes.fold(0, |sum: u64, form| sum.saturating_add(form.bytes));
    let all = format!("({}, {})", counted(model.all.tensors, "tensor", "tensors"), size(bytes));
    let head = match (&model.old, &model.new) {
        (Some(old), Some(new)) if old == new => name(new),
        (Some(old), Some(new)) => format!("{} → {}", name(old), name(new)),
        (None, Some(new)) => return vec![format!("+  {}  {all}", name(new)), String::new()],
        (Some(old), None) => return vec![format!("-  {}  {all}", name(old)), String::new()],
        (None, None) => return Vec::new(),
    };
    let mut lines = vec![style.bold(&head)];
    lines.extend(if each { by_tensor(&model.tensors) } else { by_layer(&model.layers, &model.all) });
    lines.push(String::new());
    lines
}

fn by_layer(layers: &[LayerDiff], all: &LayerDiff) -> Vec<String> {
    let mut table = Table::new(&[
        "Layer",
        ">Tensors",
        ">Same",
        ">Changed",
        ">Other form",
        ">Added",
        ">Removed",
        ">Unread",
        ">Share",
        ">Largest",
        ">Mean",
        ">Relative",
        ">Not finite",
    ]);
    let some = |n: u64| if n == 0 { String::new() } else { count(n) };
    let mut row = |shown: String, layer: &LayerDiff| {
        let f = &layer.figures;
        table.row([
            shown,
            count(layer.tensors),
            some(layer.identical),
            some(layer.changed),
            some(layer.reshaped),
            some(layer.added),
            some(layer.removed),
            some(layer.unreadable),
            percent(f.share),
            real(f.largest),
            real(f.mean),
            percent(f.relative),
            some(f.not_finite),
        ]);
    };
    for layer in layers {
        row(name(&layer.layer), layer);
    }
    if layers.len() > 1 {
        row("all".into(), all);
    }
    table.lines()
}

fn by_tensor(tensors: &[TensorDiff]) -> Vec<String> {
    let mut table =
        Table::new(&["", "Type", "Shape", ">Share", ">Largest", ">Mean", ">Relative", "Tensor", "Remark"]);
    for tensor in tensors {
        let letter = match tensor.status {
            Status::Identical => "=",
            Status::Changed => "M",
            Status::Reshaped => "T",
            Status::Added => "+",
            Status::Removed => "-",
            Status::Unreadable => "!",
        };
        let form = tensor.new.as_ref().or(tensor.old.as_ref());
        let f = &tensor.figures;
        table.row([
            letter.to_owned(),
            form.map(|form| name(&form.dtype)).unwrap_or_default(),
            form.map(|form| shape(&form.shape)).unwrap_or_default(),
            percent(f.share),
            real(f.largest),
            real(f.mean),
            percent(f.relative),
            name(&tensor.name),
            remark(tensor),
        ]);
    }
    let mut lines = table.lines();
    // A list needs no heading of nothing.
    if tensors.is_empty() {
        lines.clear();
    }
    lines
}

/// `[30522, 384]`, at most so long that a table stays one.
fn shape(dimensions: &[u64]) -> String {
    let shown: Vec<String> = dimensions.iter().take(8).map(u64::to_string).collect();
    let more = if dimensions.len() > 8 { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}

fn remark(tensor: &TensorDiff) -> String {
    let mut parts = Vec::new();
    match (tensor.status, &tensor.old, &tensor.new, tensor.common_rows) {
        (Status::Reshaped, Some(old), Some(_), _) => {
            parts.push(format!("was {} {}", name(&old.dtype), shape(&old.shape)));
        }
        (Status::Changed, Some(old), Some(_), Some(rows)) => {
            let before = old.shape.first().copied().unwrap_or(0);
            parts.push(format!("had {}; {} compared", counted(before, "row", "rows"), count(rows)));
        }
        (Status::Unreadable, ..) => parts.push("cannot be read".into()),
        _ => {}
    }
    let words = match tensor.unit {
        UnitKind::Element => None,
        UnitKind::Block => Some(("block", "blocks")),
        UnitKind::Byte => Some(("byte", "bytes")),
    };
    if let Some((one, many)) = words.filter(|_| tensor.status == Status::Changed) {
        let changed = count(tensor.changed_units);
        parts.push(format!("{changed} of {}", counted(tensor.units, one, many)));
    }
    if tensor.figures.not_finite > 0 {
        parts.push(format!("{} not finite", count(tensor.figures.not_finite)));
    }
    parts.join("; ")
}

/// `12.34 %`; never 0 or 100 for what is only nearly that.
fn percent(share: Option<f64>) -> String {
    match share {
        None => String::new(),
        Some(0.0) => "0 %".into(),
        Some(1.0) => "100 %".into(),
        Some(share) if share < 0.0001 => "< 0.01 %".into(),
        Some(share) if share < 1.0 => format!("{:.2} %", (share * 100.0).min(99.99)),
        Some(share) if share < 1000.0 => format!("{:.0} %", share * 100.0),
        Some(share) => format!("{share:.1e}x"),
    }
}

fn real(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(0.0) => "0".into(),
        Some(value) => format!("{value:.2e}"),
    }
}

fn summary(report: &TensorsReport) -> Vec<String> {
    let all = &report.all;
    if report.models == 0 {
        let nothing =
            if report.unreadable.is_empty() { "no model differs" } else { "no model could be compared" };
        return vec![nothing.into()];
    }
    let mut parts = Vec::new();
    for (n, word) in [
        (all.identical, "identical"),
        (all.changed, "changed"),
        (all.reshaped, "of another type or shape"),
        (all.added, "added"),
        (all.removed, "removed"),
        (all.unreadable, "unreadable"),
    ] {
        if n > 0 {
            parts.push(format!("{} {word}", count(n)));
        }
    }
    let of = if report.models > 1 {
        format!(" of {}", counted(report.models, "model", "models"))
    } else {
        String::new()
    };
    let mut lines = vec![format!("{}{of}: {}", counted(all.tensors, "tensor", "tensors"), parts.join(", "))];
    if all.changed_bytes > 0 {
        let mut line = format!("{} of elements changed", percent(all.figures.share));
        for (word, value) in [
            ("largest", real(all.figures.largest)),
            ("mean", real(all.figures.mean)),
            ("relative", percent(all.figures.relative)),
        ] {
            if !value.is_empty() {
                line.push_str(&format!(", {word} {value}"));
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_rounded_to_nothing_or_all() {
        for (share, text) in [
            (0.0, "0 %"),
            (1e-9, "< 0.01 %"),
            (0.0001, "0.01 %"),
            (0.1234, "12.34 %"),
            (0.999_999, "99.99 %"),
            (1.0, "100 %"),
            (1.5, "150 %"),
            (12_345.0, "1.2e4x"),
        ] {
            assert_eq!(percent(Some(share)), text);
        }
        assert_eq!(
            (percent(None), real(None), real(Some(0.00123))),
            (String::new(), String::new(), "1.23e-3".into())
        );
    }
}
