//! From the tree that a pickle stands for to tensors with names.

use std::collections::HashSet;

use super::machine::{Machine, Raw, Value};
use super::{MAX_DEPTH, MAX_NAMES_BYTES, Storage, Tensor};
use crate::chunk::layout::MAX_TENSORS;

/// What a pickle says of tensors.
#[derive(Debug, Default)]
pub struct Found<'p> {
    /// All storages that it names, each as often as it does.
    pub storages: Vec<Storage<'p>>,
    /// The tensors that have a name and whose elements stand one after the other, in the order of the
    /// pickle; of several with one name the first.
    pub tensors: Vec<Tensor<'p>>,
}

/// What is found in a pickle. `None`: it cannot be followed, or there is too much.
pub fn find(pickle: &[u8]) -> Option<Found<'_>> {
    let (root, machine) = Machine::run(pickle)?;
    let mut walk = Walk {
        seen: vec![false; machine.containers.len()],
        machine: &machine,
        names: HashSet::new(),
        room: MAX_NAMES_BYTES,
        found: Vec::new(),
    };
    walk.container(root, "", 0)?;
    let tensors = walk.found;
    Some(Found { storages: machine.storages, tensors })
}

struct Walk<'m, 'p> {
    machine: &'m Machine<'p>,
    /// Containers that were walked through: what has several names bears the first.
    seen: Vec<bool>,
    names: HashSet<String>,
    room: usize,
    found: Vec<Tensor<'p>>,
}

impl<'p> Walk<'_, 'p> {
    /// As deep as [`MAX_DEPTH`]; what lies deeper has no name.
    fn container(&mut self, value: Value, path: &str, depth: usize) -> Option<()> {
        let Value::Container(number) = value else { return Some(()) };
        if depth > MAX_DEPTH || std::mem::replace(self.seen.get_mut(number as usize)?, true) {
            return Some(());
        }
        let machine = self.machine;
        for (key, value) in machine.containers.get(number as usize)? {
            if !matches!(value, Value::Container(_) | Value::Tensor(_)) {
                continue;
            }
            let name = self.name(path, *key);
            // What is no name was looked at, too.
            let looked_at = || if let Value::Text(text) = *key { machine.text_of(text).len() } else { 0 };
            self.room = self.room.checked_sub(name.as_ref().map_or_else(looked_at, String::len))?;
            let Some(name) = name else { continue };
            match value {
                Value::Tensor(raw) => self.tensor(*machine.tensors.get(*raw as usize)?, name)?,
                inner => self.container(*inner, &name, depth + 1)?,
            }
        }
        Some(())
    }

    fn name(&self, path: &str, key: Value) -> Option<String> {
        let key = match key {
            // The state of an object: its members are the object's.
            Value::Mark => return Some(path.to_owned()),
            Value::Text(text) => std::str::from_utf8(self.machine.text_of(text)).ok()?.to_owned(),
            Value::Int(number) => number.to_string(),
            _ => return None,
        };
        Some(if path.is_empty() { key } else { format!("{path}.{key}") })
    }

    fn tensor(&mut self, raw: Raw, name: String) -> Option<()> {
        if self.names.contains(&name) {
            return Some(());
        }
        let Some(shape) = self.machine.shape(&raw) else { return Some(()) };
        if self.found.len() == MAX_TENSORS {
            return None;
        }
        self.names.insert(name.clone());
        let storage = *self.machine.storages.get(raw.storage as usize)?;
        self.found.push(Tensor { name, storage, dtype: raw.dtype, offset: raw.offset, shape });
        Some(())
    }
}
