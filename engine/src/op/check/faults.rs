//! Findings on their way: one for each kind and object, the blobs that are lost by it, and those that
//! are alike gathered into one.

use std::collections::{BTreeMap, HashMap};

use crate::id::{BlobRef, ObjectName, PackId, SnapshotId};
use crate::op::check::report::{Fault, FaultKind, Repair, Touches};

/// Number of a fault in [`Findings`].
pub type FaultNumber = u32;

/// Several things may be wrong with one object: the first is said, the others are counted.
#[derive(Debug, Default)]
struct Reasons {
    first: String,
    more: u64,
}

/// All faults of one look.
#[derive(Debug, Default)]
pub struct Findings {
    faults: Vec<Fault>,
    reasons: Vec<Reasons>,
    by_object: HashMap<(FaultKind, String), FaultNumber>,
    by_pack: HashMap<PackId, FaultNumber>,
    /// By a lost blob: whose fault it is.
    pub lost: HashMap<BlobRef, Vec<FaultNumber>>,
}

impl Findings {
    /// None?
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// A fault of an object, or one more reason for it.
    pub fn add(
        &mut self,
        kind: FaultKind,
        object: impl ToString,
        reason: impl Into<String>,
        repair: Option<Repair>,
    ) -> FaultNumber {
        let (object, reason) = (object.to_string(), reason.into());
        if let Some(number) = self.by_object.get(&(kind, object.clone())) {
            let reasons = &mut self.reasons[*number as usize];
            if !reason.is_empty() && reasons.first != reason {
                reasons.more += 1;
            }
            return *number;
        }
        let number = FaultNumber::try_from(self.faults.len()).unwrap_or(FaultNumber::MAX);
        self.by_object.insert((kind, object.clone()), number);
        self.faults.push(Fault {
            kind,
            objects: vec![object],
            reason: String::new(),
            lost_blobs: 0,
            touches: Touches::default(),
            repair: repair.into_iter().collect(),
            packs: Vec::new(),
        });
        self.reasons.push(Reasons { first: reason, more: 0 });
        number
    }

    /// A fault of a pack. There is one for each pack, and another where the index is wrong about it.
    pub fn add_pack(
        &mut self,
        kind: FaultKind,
        pack: PackId,
        reason: impl Into<String>,
        repair: Repair,
    ) -> FaultNumber {
        let kind = match (kind, self.by_pack.get(&pack)) {
            (FaultKind::IndexWrong, _) | (_, None) => kind,
            (_, Some(number)) => self.faults[*number as usize].kind,
        };
        let number = self.add(kind, ObjectName::from(pack), reason, Some(repair));
        self.faults[number as usize].packs = vec![pack];
        self.by_pack.entry(pack).or_insert(number);
        number
    }

    /// What is wrong with a pack, if anything is.
    pub fn of_pack(&self, pack: &PackId) -> Option<FaultNumber> {
        self.by_pack.get(pack).copied()
    }

    /// Nothing of the snapshot can be read by it.
    pub fn takes_snapshot(&mut self, number: FaultNumber, snapshot: SnapshotId) {
        self.faults[number as usize].touches.whole_snapshots.push(snapshot);
    }

    /// A blob that snapshots need is lost by it.
    pub fn loses(&mut self, number: FaultNumber, blob: BlobRef) {
        let numbers = self.lost.entry(blob).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
            self.faults[number as usize].lost_blobs += 1;
        }
    }

    /// Makes one of those that are alike in all but the object. Numbers change.
    pub fn gather(&mut self) {
        self.by_object.clear();
        self.by_pack.clear();
        let mut alike: BTreeMap<(FaultKind, Vec<Repair>, String), FaultNumber> = BTreeMap::new();
        let mut new_numbers = Vec::with_capacity(self.faults.len());
        let mut gathered: Vec<Fault> = Vec::new();
        for (mut fault, reasons) in std::mem::take(&mut self.faults).into_iter().zip(self.reasons.drain(..)) {
            fault.reason = match reasons.more {
                0 => reasons.first,
                1 => format!("{}; one more thing is wrong with it", reasons.first),
                more => format!("{}; {more} more things are wrong with it", reasons.first),
            };
            let next = FaultNumber::try_from(gathered.len()).unwrap_or(FaultNumber::MAX);
            let number =
                *alike.entry((fault.kind, fault.repair.clone(), fault.reason.clone())).or_insert(next);
            new_numbers.push(number);
            if number == next {
                gathered.push(fault);
            } else {
                let all = &mut gathered[number as usize];
                all.objects.append(&mut fault.objects);
                all.packs.append(&mut fault.packs);
                all.touches.whole_snapshots.append(&mut fault.touches.whole_snapshots);
            }
        }
        for numbers in self.lost.values_mut() {
            numbers.iter_mut().for_each(|n| *n = new_numbers[*n as usize]);
            numbers.sort_unstable();
            numbers.dedup();
        }
        // A blob whose copies are in two of them counts once.
        gathered.iter_mut().for_each(|f| f.lost_blobs = 0);
        for number in self.lost.values().flatten() {
            gathered[*number as usize].lost_blobs += 1;
        }
        for fault in gathered.iter_mut().filter(|f| f.lost_blobs > 0 && f.kind != FaultKind::Unindexed) {
            // What only it held is held by nothing: unless its files are snapshotted again, snapshots
            // must do without.
            if !fault.repair.contains(&Repair::Snapshots) {
                fault.repair.push(Repair::Snapshots);
            }
        }
        self.faults = gathered;
    }

    /// To be filled in.
    pub fn touches_of(&mut self, number: FaultNumber) -> &mut Touches {
        &mut self.faults[number as usize].touches
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Heaviest first. Those that were not gathered keep their reasons.
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults;
        for (fault, reasons) in faults.iter_mut().zip(self.reasons) {
            fault.reason = reasons.first;
        }
        let weight = |f: &Fault| (f.touches.whole_snapshots.len(), f.touches.files, f.lost_blobs);
        faults.sort_by(|a, b| {
            weight(b).cmp(&weight(a)).then_with(|| (a.kind, &a.objects).cmp(&(b.kind, &b.objects)))
        });
        faults
    }
}
