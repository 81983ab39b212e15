//! Databases: units of whole pages at fixed offsets, each found again or stored beside other changed ones
//! (design §4 and §5, `docs/decisions/0013-pages.md`).
//!
//! Pages change all over a database that is in use, so large chunks all change every day. A unit is small
//! enough that most do not; changed ones are coded many to a frame, as the difference to the units in
//! their place and to whatever else shares content with them ([`group`]).
//!
//! Chains: a frame is higher than all it stands on, so units of like heights share frames, and a frame takes
//! what moved from no higher than its class. From [`OLD_HEIGHT`] on one changed unit in
//! [`RESTART_ONE_IN`], by its id, is stored alone, and begins anew; no day has many of them, not even one on which
//! everything was moved about. Days of a few units make one frame of all, which grows by one a day and begins anew as a
//! whole at [`MAX_HEIGHT`]: it is small.
//!
//! Memory: the units of one frame for each class of heights, and for each frame being made (at most
//! [`AT_ONCE`]) its units, what they stand on, and what zstd needs for them.

mod anchors;
mod bases;
pub mod group;
mod moved;
mod old;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

use crate::codec::grains::GRAIN_BYTES;
use crate::error::Result;
use crate::id::BlobId;
use crate::repo::session::Session;
use group::{Group, Unit};
pub use old::Old;

/// Plaintext of a frame of changed units, unless it is one.
const GROUP_BYTES: usize = 6 << 20;
/// Plaintext of a frame of units that stand alone.
const ALONE_BYTES: usize = 2 << 20;
/// What zstd is to do for changed grains: there are few of them,
const LEVEL: i32 = 12;
/// but not where all was moved about.
const LEVEL_MOVED: i32 = 7;
/// Heights that share frames.
const CLASS: u8 = 16;
/// Smaller groups join the next class rather than make a frame of their own.
const FEW_BYTES: usize = 1 << 20;
/// From this height on units begin anew,
const OLD_HEIGHT: u8 = 32;
/// one in so many of those that changed;
const RESTART_ONE_IN: u8 = 16;
/// at most one of so many that the older copy has;
const RESTARTS_ONE_OF: usize = 96;
/// and all at this one.
const MAX_HEIGHT: u8 = 200;
/// What was never there may stand on something as high as this.
const FRESH_HEIGHT: u8 = 31;
/// With fewer changed units looking for what moved is not worth reading all of the older copy.
const WORTH_SEARCHING: usize = 24;
/// Frames made at a time.
pub const AT_ONCE: usize = 2;

/// Changed units, gathered for frames.
pub struct Gatherer<'a> {
    session: &'a Session,
    old: Option<Arc<Old<'a>>>,
    /// By class of heights.
    classes: BTreeMap<u8, Vec<Unit>>,
    alone: Vec<Unit>,
    seen: usize,
    restarts: usize,
    /// A unit that ends within a grain stands last in its frame, so only one does.
    has_short: bool,
}

impl<'a> Gatherer<'a> {
    /// For a file whose older copy is `old`.
    pub fn new(session: &'a Session, old: Option<Arc<Old<'a>>>) -> Self {
        Self {
            session,
            old,
            classes: BTreeMap::new(),
            alone: Vec::new(),
            seen: 0,
            restarts: 0,
            has_short: false,
        }
    }

    /// The older copy.
    pub fn old(&self) -> Option<&Arc<Old<'a>>> {
        self.old.as_ref()
    }

    /// Takes a unit that must be stored; gives a group that is full.
    pub fn add(&mut self, part: usize, id: BlobId, bytes: Vec<u8>, offset: u64) -> Result<Option<Group>> {
        self.seen += 1;
        let mut unit = Unit { part, id, bytes, near: None };
        let class = self.class(&mut unit, offset)?;
        let Some(class) = class else {
            let full = bytes_of(&self.alone) + unit.bytes.len() > ALONE_BYTES;
            let group = full.then(|| alone(std::mem::take(&mut self.alone)));
            self.alone.push(unit);
            return Ok(group.filter(|group| !group.units.is_empty()));
        };
        let units = self.classes.entry(class).or_default();
        let full = bytes_of(units) + unit.bytes.len() > GROUP_BYTES && !units.is_empty();
        let before = if full { std::mem::take(units) } else { Vec::new() };
        units.push(unit);
        Ok(full.then(|| self.group(class, before)))
    }

    /// The class of heights in which a unit is stored; `None` for alone.
    fn class(&mut self, unit: &mut Unit, offset: u64) -> Result<Option<u8>> {
        let Some(old) = &self.old else { return Ok(None) };
        if !unit.bytes.len().is_multiple_of(GRAIN_BYTES) && std::mem::replace(&mut self.has_short, true) {
            return Ok(None);
        }
        if !self.session.may_stand_on_others(unit.id)? {
            return Ok(None);
        }
        let Some(at) = old.at(offset) else { return Ok(Some(FRESH_HEIGHT / CLASS)) };
        let Some(height) = old.height(at)? else { return Ok(Some(FRESH_HEIGHT / CLASS)) };
        let begins_anew = height >= OLD_HEIGHT
            && unit.id.as_bytes()[0].is_multiple_of(RESTART_ONE_IN)
            && self.restarts * RESTARTS_ONE_OF < old.units().len();
        if height >= MAX_HEIGHT || begins_anew {
            self.restarts += 1;
            return Ok(None);
        }
        unit.near = Some(at);
        Ok(Some(height / CLASS))
    }

    fn group(&self, class: u8, units: Vec<Unit>) -> Group {
        let up_to = class * CLASS + (CLASS - 1);
        Group::new(units, Some(up_to), self.seen >= WORTH_SEARCHING)
    }

    /// What is left.
    pub fn finish(mut self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut few: Option<Group> = None;
        for (class, units) in std::mem::take(&mut self.classes) {
            let mut group = self.group(class, units);
            match few.take() {
                Some(lower) if bytes_of(&lower.units) + bytes_of(&group.units) > GROUP_BYTES => {
                    groups.push(lower)
                }
                Some(lower) => group.units.extend(lower.units),
                None => {}
            }
            match bytes_of(&group.units) < FEW_BYTES {
                true => few = Some(group),
                false => groups.push(group),
            }
        }
        if let Some(few) = few {
            match groups.last_mut() {
                // They are of a higher class, or it would have taken them in.
                Some(last) if bytes_of(&last.units) + bytes_of(&few.units) <= GROUP_BYTES => {
                    last.up_to = few.up_to;
                    last.units.extend(few.units);
                }
                _ => groups.push(few),
            }
        }
        if !self.alone.is_empty() {
            groups.push(alone(std::mem::take(&mut self.alone)));
        }
        groups.retain(|group| !group.units.is_empty());
        groups
    }
}

fn alone(units: Vec<Unit>) -> Group {
    Group::new(units, None, false)
}

fn bytes_of(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.bytes.len()).sum()
}

/// Lets so many at a time.
pub struct Turnstile {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Leave to go on; given back when it is dropped.
pub struct Pass(Arc<Turnstile>);

impl Turnstile {
    /// For [`AT_ONCE`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(AT_ONCE), freed: Condvar::new() })
    }

    /// Waits for its turn.
    pub fn pass(self: &Arc<Self>) -> Pass {
        let mut free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(|e| e.into_inner());
        }
        *free -= 1;
        Pass(self.clone())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(|e| e.into_inner()) += 1;
        self.0.freed.notify_one();
    }
}
