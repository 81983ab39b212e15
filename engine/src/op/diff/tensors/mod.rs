//! `diff --tensors`: what differs between two models, tensor by tensor and layer by layer.
//!
//! Each model that differs is told whole: its tensors, its layers, all of it. What the figures mean stands in
//! `docs/decisions/0022-compare.md`. Chunks that both sides have in the same place of a tensor are known to be
//! equal; the new side's are not read at all, the old side's only where the rest of their tensor changed.
//!
//! Memory: the tensors of one pair of models, some 500 bytes each, and what `compare.rs` and `pairs.rs` say.

mod compare;
mod number;
mod pairs;
mod sums;

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::Serialize;

pub use number::UnitKind;

use super::Side;
use crate::error::{Error, Result, printable};
use crate::format::wire::Bytes;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::layers::{layer_of, natural};
use crate::repo::model::{Model, Tensor};
use crate::repo::reader::Reader;
use compare::Work;
use number::Unit;
use sums::Sums;

/// How a tensor differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not in a bit.
    Identical,
    /// In some.
    Changed,
    /// Its type or its shape is another: there is nothing to compare.
    Reshaped,
    /// Only the new side has it.
    Added,
    /// Only the old side has it.
    Removed,
    /// It could not be read.
    Unreadable,
}

/// What a tensor is on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Form {
    /// Type of its elements, as its file spells it.
    pub dtype: Bytes,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Length.
    pub bytes: u64,
}

/// What the numbers say. `None` where there are none, or where they are no finite number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Share of what was compared that has other bits, 0 to 1.
    pub share: Option<f64>,
    /// The largest |new − old| of an element.
    pub largest: Option<f64>,
    /// |new − old| on average over all elements that were compared, unchanged ones too.
    pub mean: Option<f64>,
    /// √(Σ (new − old)² / Σ old²) over all elements that were compared; of several tensors, over those that changed.
    pub relative: Option<f64>,
    /// Changed elements that are no finite number on either side: in none of the three figures above.
    pub not_finite: u64,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDiff {
    /// As its file spells it.
    pub name: Bytes,
    /// The layer it belongs to.
    pub layer: Bytes,
    /// How it differs.
    pub status: Status,
    /// On the old side.
    pub old: Option<Form>,
    /// On the new side.
    pub new: Option<Form>,
    /// Where only the first dimension differs: how many of its rows both have. The figures are of these.
    pub common_rows: Option<u64>,
    /// What is counted.
    pub unit: UnitKind,
    /// How many were compared.
    pub units: u64,
    /// Of them with other bits.
    pub changed_units: u64,
    /// What the numbers say.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Several tensors: a layer, or all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerDiff {
    /// Its name; of all, empty.
    pub layer: Bytes,
    /// Tensors on either side.
    pub tensors: u64,
    /// Of them so many without a difference.
    pub identical: u64,
    /// With other bits, or with more or fewer rows.
    pub changed: u64,
    /// Of another type or shape.
    pub reshaped: u64,
    /// Only on the new side.
    pub added: u64,
    /// Only on the old side.
    pub removed: u64,
    /// That could not be read.
    pub unreadable: u64,
    /// Length of what was compared.
    pub compared_bytes: u64,
    /// Length of the units with other bits.
    pub changed_bytes: u64,
    /// What the numbers say. The share is of bytes; of one type that is the share of elements.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Two models, or one that only one side has.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDiff {
    /// What it was found by on the old side.
    pub old: Option<Vec<u8>>,
    /// What it was found by on the new side.
    pub new: Option<Vec<u8>>,
    /// Each tensor, by layer, then by name.
    pub tensors: Vec<TensorDiff>,
    /// Each layer; numbers in names go by their value.
    pub layers: Vec<LayerDiff>,
    /// All of it.
    pub all: LayerDiff,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TensorsReport {
    /// Models with a difference, and those that were named.
    pub models: u64,
    /// All of them together.
    pub all: LayerDiff,
    /// What could not be compared, with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// Compares the models that two paths lead to, whatever they are called; where the paths lead to directories, each
/// model that stands in the same place of both and differs, and those that only one of them has. Each is given to
/// `each`, in the order of paths.
///
/// # Errors
/// [`Error::Usage`] where a named file is no model; those of reading, but for what is damaged, which is reported.
pub fn run(
    repo: &Repository,
    old: &Side,
    new: &Side,
    progress: &dyn Progress,
    each: &mut dyn FnMut(&ModelDiff) -> Result<()>,
) -> Result<TensorsReport> {
    let reader = Reader::open(repo)?;
    let place = |side: &Side| -> Result<pairs::Place> {
        let root = repo.snapshot(side.snapshot)?.record.root;
        Ok(pairs::Place { root, path: side.path.clone().unwrap_or_else(|| b"/".to_vec()) })
    };
    let mut report = TensorsReport::default();
    let found = pairs::find(&reader, &place(old)?, &place(new)?, progress, &mut report.unreadable)?;
    let mut all = Group::default();
    for pair in found {
        progress.check()?;
        let sides = pair.models(&reader);
        let (old, new) = match sides {
            Ok(sides) => sides,
            Err(error) => {
                report.unreadable.push((printable(pair.path()), passable(error)?));
                continue;
            }
        };
        match compared(&reader, old.as_ref(), new.as_ref(), progress, &mut report.unreadable, &mut all) {
            Ok(model) => {
                report.models += 1;
                each(&model)?;
            }
            Err(error) => report.unreadable.push((printable(pair.path()), passable(error)?)),
        }
    }
    report.all = all.done(&[]);
    Ok(report)
}

/// What is damaged does not end a run.
fn passable(error: Error) -> Result<String> {
    match error {
        Error::Missing { .. } | Error::Corrupt { .. } | Error::Lost { .. } => Ok(error.to_string()),
        error => Err(error),
    }
}

/// A tensor of either side, or of both.
struct Row<'m> {
    old: Option<&'m Tensor>,
    new: Option<&'m Tensor>,
}

impl Row<'_> {
    fn name(&self) -> &[u8] {
        self.new.or(self.old).map(|tensor| &tensor.name[..]).unwrap_or_default()
    }
}

fn compared(
    reader: &Reader,
    old: Option<&Model>,
    new: Option<&Model>,
    progress: &dyn Progress,
    unreadable: &mut Vec<(String, String)>,
    all: &mut Group,
) -> Result<ModelDiff> {
    let tensors = |model: Option<&'_ Model>| -> usize { model.map_or(0, |model| model.tensors.len()) };
    let mut rows: HashMap<&[u8], Row<'_>> = HashMap::with_capacity(tensors(old).max(tensors(new)));
    for tensor in old.iter().flat_map(|model| &model.tensors) {
        rows.entry(&tensor.name).or_insert(Row { old: Some(tensor), new: None });
    }
    for tensor in new.iter().flat_map(|model| &model.tensors) {
        let row = rows.entry(&tensor.name).or_insert(Row { old: None, new: None });
        row.new.get_or_insert(tensor);
    }
    let mut rows: Vec<Row<'_>> = rows.into_values().collect();
    rows.sort_by(|a, b| in_order(a.name(), b.name()));
    let mut work = Work::new(reader, old, new)?;
    let ranges: Vec<Option<Common>> = rows.iter().map(|row| common(row.old?, row.new?)).collect();
    for (number, (row, range)) in rows.iter().zip(&ranges).enumerate() {
        if let (Some(old), Some(new), Some(range)) = (row.old, row.new, range) {
            work.add(number, old, new, range.bytes, range.unit);
        }
    }
    let mut results = work.run(progress)?;
    let mut out = Vec::with_capacity(rows.len());
    let mut layers: Vec<(Vec<u8>, Group)> = Vec::new();
    let mut whole = Group::default();
    for (number, (row, range)) in rows.iter().zip(ranges).enumerate() {
        let mut result = range.map(|range| (range, results.remove(&number).unwrap_or(Ok(Sums::default()))));
        if let Some((_, Err(reason))) = &mut result {
            let what = new.or(old).map(|model| printable(&model.path)).unwrap_or_default();
            unreadable.push((format!("{what}, {}", printable(row.name())), std::mem::take(reason)));
        }
        let (diff, sums) = tensor_diff(row, result);
        let layer = layer_of(row.name());
        if layers.last().is_none_or(|(name, _)| name != layer) {
            layers.push((layer.to_vec(), Group::default()));
        }
        let of_layer = layers.last_mut().map(|(_, group)| group);
        for group in [&mut whole, all].into_iter().chain(of_layer) {
            group.add(&diff, &sums);
        }
        out.push(diff);
    }
    Ok(ModelDiff {
        old: old.map(|model| model.path.clone()),
        new: new.map(|model| model.path.clone()),
        tensors: out,
        layers: layers.into_iter().map(|(name, group)| group.done(&name)).collect(),
        all: whole.done(&[]),
    })
}

fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    natural(layer_of(a), layer_of(b)).then_with(|| natural(a, b))
}

/// What of two tensors can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Common {
    bytes: u64,
    unit: Unit,
    /// Rows, if one side has more.
    rows: Option<u64>,
}

/// `None` if their type or shape is another. A table may lie about lengths, so these are looked at too.
fn common(old: &Tensor, new: &Tensor) -> Option<Common> {
    if old.dtype != new.dtype || old.shape.len() != new.shape.len() {
        return None;
    }
    let unit = Unit::of(&new.dtype, &new.shape, new.len);
    if old.shape == new.shape {
        return (old.len == new.len).then_some(Common { bytes: new.len, unit, rows: None });
    }
    let ((more, rest), (fewer, other)) = (old.shape.split_first()?, new.shape.split_first()?);
    let row = |tensor: &Tensor, rows: u64| match rows {
        0 => None,
        rows => tensor.len.is_multiple_of(rows).then(|| tensor.len / rows),
    };
    let rows = *more.min(fewer);
    let bytes = match (row(old, *more), row(new, *fewer)) {
        (Some(a), Some(b)) if a == b => a.checked_mul(rows)?,
        // Of nothing at all a row has any length.
        (None, Some(_)) if old.len == 0 => 0,
        (Some(_), None) if new.len == 0 => 0,
        _ => return None,
    };
    let whole = bytes.is_multiple_of(unit.bytes) && unit == Unit::of(&old.dtype, &old.shape, old.len);
    (rest == other && whole).then_some(Common { bytes, unit, rows: Some(rows) })
}

fn tensor_diff(row: &Row<'_>, result: Option<(Common, Result<Sums, String>)>) -> (TensorDiff, Sums) {
    let form = |tensor: &Tensor| Form {
        dtype: Bytes::from(&tensor.dtype[..]),
        shape: tensor.shape.clone(),
        bytes: tensor.len,
    };
    let unit = |tensor: &Tensor| Unit::of(&tensor.dtype, &tensor.shape, tensor.len);
    let mut diff = TensorDiff {
        name: Bytes::from(row.name()),
        layer: Bytes::from(layer_of(row.name())),
        status: match (row.old, row.new) {
            (None, _) => Status::Added,
            (_, None) => Status::Removed,
            _ => Status::Reshaped,
        },
        old: row.old.map(form),
        new: row.new.map(form),
        common_rows: None,
        unit: row.new.or(row.old).map(unit).map_or(UnitKind::Byte, |unit| unit.kind),
        units: 0,
        changed_units: 0,
        figures: Figures::default(),
    };
    let Some((common, result)) = result else { return (diff, Sums::default()) };
    let Ok(sums) = result else {
        diff.status = Status::Unreadable;
        return (diff, Sums::default());
    };
    diff.common_rows = common.rows;
    diff.status = match (sums.changed, common.rows) {
        (0, None) => Status::Identical,
        _ => Status::Changed,
    };
    (diff.units, diff.changed_units) = (sums.units, sums.changed);
    let numbers = common.unit.number.is_some();
    diff.figures = Figures {
        share: share(sums.changed, sums.units),
        largest: sums.largest().filter(|_| numbers && sums.units > 0),
        mean: sums.mean().filter(|_| numbers),
        relative: sums.relative().filter(|_| numbers && sums.units > 0),
        not_finite: sums.not_finite,
    };
    (diff, sums)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What is added up of several tensors.
#[derive(Default)]
struct Group {
    layer: LayerDiff,
    /// Of all tensors of numbers.
    numbers: Sums,
    /// Of those that changed.
    moved: Sums,
}

impl Group {
    fn add(&mut self, diff: &TensorDiff, sums: &Sums) {
        let layer = &mut self.layer;
        layer.tensors += 1;
        *match diff.status {
            Status::Identical => &mut layer.identical,
            Status::Changed => &mut layer.changed,
            Status::Reshaped => &mut layer.reshaped,
            Status::Added => &mut layer.added,
            Status::Removed => &mut layer.removed,
            Status::Unreadable => &mut layer.unreadable,
        } += 1;
        let form = diff.new.as_ref().or(diff.old.as_ref());
        let unit = form.map_or(1, |form| Unit::of(&form.dtype, &form.shape, form.bytes).bytes);
        layer.compared_bytes = layer.compared_bytes.saturating_add(sums.units.saturating_mul(unit));
        layer.changed_bytes = layer.changed_bytes.saturating_add(sums.changed.saturating_mul(unit));
        if diff.figures.largest.is_some() || diff.figures.mean.is_some() {
            self.numbers.add(sums);
            if sums.changed > 0 {
                self.moved.add(sums);
            }
        }
    }

    fn done(self, name: &[u8]) -> LayerDiff {
        let Self { mut layer, numbers, moved } = self;
        let any = numbers.units > 0;
        layer.layer = Bytes::from(name);
        layer.figures = Figures {
            share: share(layer.changed_bytes, layer.compared_bytes),
            largest: numbers.largest().filter(|_| any),
            mean: numbers.mean().filter(|_| any),
            relative: moved.relative().filter(|_| any),
            not_finite: numbers.not_finite,
        };
        layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: &str, shape: &[u64], len: u64) -> Tensor {
        let (name, dtype) = (b"t".to_vec(), dtype.as_bytes().to_vec());
        Tensor { name, dtype, shape: shape.to_vec(), shard: 0, offset: 0, len }
    }

    #[test]
    fn what_can_be_compared() {
        let of = |old: (&str, &[u64], u64), new: (&str, &[u64], u64)| {
            let found = common(&tensor(old.0, old.1, old.2), &tensor(new.0, new.1, new.2));
            found.map(|common| (common.bytes, common.rows))
        };
        for (old, new, found) in [
            (("BF16", &[3, 4][..], 24), ("BF16", &[3, 4][..], 24), Some((24, None))),
            (("BF16", &[3, 4], 24), ("BF16", &[5, 4], 40), Some((24, Some(3)))),
            (("BF16", &[5, 4], 40), ("BF16", &[3, 4], 24), Some((24, Some(3)))),
            (("F32", &[0, 4], 0), ("F32", &[2, 4], 32), Some((0, Some(0)))),
            (("BF16", &[3, 4], 24), ("BF16", &[4, 3], 24), None),
            (("BF16", &[3, 4], 24), ("BF16", &[12], 24), None),
            (("BF16", &[3, 4], 24), ("F16", &[3, 4], 24), None),
            (("BF16", &[], 2), ("BF16", &[1], 2), None),
            // Tables that lie.
            (("BF16", &[3, 4], 24), ("BF16", &[3, 4], 26), None),
            (("BF16", &[3, 4], 24), ("BF16", &[5, 4], 41), None),
            (("BF16", &[3, 4], 48), ("BF16", &[5, 4], 80), Some((48, Some(3)))),
            (("F32", &[0, 4], 8), ("F32", &[2, 4], 32), None),
            (("Q8_0", &[2, 32], 68), ("Q8_0", &[3, 32], 102), Some((68, Some(2)))),
        ] {
            assert_eq!(of(old, new), found, "{old:?} {new:?}");
        }
    }
}
