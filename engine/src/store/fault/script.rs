//! What a [`FaultStore`](super::FaultStore) was told, and the decision for each call.

use crate::error::{StoreError, StoreErrorKind};
use crate::id::ObjectKind;
use crate::store::StoreResult;
use crate::store::call::{Call, Method};

/// What happens instead of, or to, a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is done, and the call fails so.
    Fail(StoreErrorKind),
    /// It is done, and the call fails so all the same: a lost answer.
    LostAnswer(StoreErrorKind),
    /// Of a `put`, half of the bytes get the final name; the call fails so, or claims success.
    Torn(Option<StoreErrorKind>),
    /// Nothing is done, and the call claims success.
    Lost,
    /// One bit of what is read is wrong; counted from the first, modulo the length.
    FlipBit(usize),
    /// Of what is read or listed only so much arrives.
    Short(usize),
}

/// How far the call came at which a store died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It did nothing.
    Before,
    /// Half of the bytes got the final name: power loss on a store without atomicity.
    Torn,
    /// It was done; only nobody heard of it.
    After,
}

/// An effect on chosen calls: the `first`-th and the `times - 1` after it, of one
/// method, on one kind or on any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    method: Method,
    kind: Option<ObjectKind>,
    first: u64,
    times: u64,
    effect: Effect,
}

impl Fault {
    /// `effect` on the next call of `method`.
    pub fn new(method: Method, effect: Effect) -> Self {
        Self { method, kind: None, first: 1, times: 1, effect }
    }

    /// Only on objects of `kind`.
    pub fn on(self, kind: ObjectKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// From the `n`-th matching call on; the next is 1.
    pub fn nth(self, n: u64) -> Self {
        Self { first: n, ..self }
    }

    /// So many matching calls in a row.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// On every matching call from the first on.
    pub fn for_ever(self) -> Self {
        self.times(u64::MAX)
    }
}

#[derive(Debug)]
struct Scripted {
    fault: Fault,
    seen: u64,
    hits: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    script: Vec<Scripted>,
    pub(super) dies_at: Option<(u64, Death)>,
    pub(super) dead: bool,
    pub(super) mutations: u64,
    pub(super) quota_bytes: Option<u64>,
    pub(super) written_bytes: u64,
    pub(super) read_only: bool,
}

impl State {
    pub(super) fn add(&mut self, fault: Fault) {
        self.script.push(Scripted { fault, seen: 0, hits: 0 });
    }

    pub(super) fn missed(&self) -> Vec<String> {
        let never = self.script.iter().filter(|scripted| scripted.hits == 0);
        let mut missed: Vec<String> = never.map(|scripted| format!("{:?}", scripted.fault)).collect();
        if let (Some(death), false) = (self.dies_at, self.dead) {
            missed.push(format!("death {death:?} after {} changing calls", self.mutations));
        }
        missed
    }

    /// Death comes before scripted faults, and these before quota and permission.
    pub(super) fn decide(&mut self, call: &Call, put_bytes: u64) -> StoreResult<Option<Effect>> {
        let refuse = |kind, reason| Err(StoreError::new(kind, call.method.verb(), call.object(), reason));
        if self.dead {
            return refuse(StoreErrorKind::Other, "the store is dead");
        }
        if call.method.is_mutating() {
            self.mutations += 1;
            if let Some((at, death)) = self.dies_at
                && self.mutations >= at
            {
                self.dead = true;
                return Ok(Some(match death {
                    Death::Before => Effect::Fail(StoreErrorKind::Other),
                    Death::Torn => Effect::Torn(Some(StoreErrorKind::Other)),
                    Death::After => Effect::LostAnswer(StoreErrorKind::Other),
                }));
            }
        }
        let mut effect = None;
        for scripted in &mut self.script {
            let fault = scripted.fault;
            if fault.method != call.method || (fault.kind.is_some() && fault.kind != call.kind) {
                continue;
            }
            scripted.seen += 1;
            let hit = scripted.seen >= fault.first && scripted.seen - fault.first < fault.times;
            if hit && effect.is_none() {
                scripted.hits += 1;
                effect = Some(fault.effect);
            }
        }
        if effect.is_some() {
            return Ok(effect);
        }
        if self.read_only && (call.method.is_mutating() || call.method == Method::Prepare) {
            return refuse(StoreErrorKind::Denied, "the store is read-only");
        }
        if self.quota_bytes.is_some_and(|quota| self.written_bytes.saturating_add(put_bytes) > quota) {
            return refuse(StoreErrorKind::Full, "the quota is reached");
        }
        self.written_bytes = self.written_bytes.saturating_add(put_bytes);
        Ok(None)
    }
}
