//! The stack machine: opcodes in, a tree of containers out, and in it the tensors.

use super::{Global, MAX_KEY_BYTES, MAX_VALUES, Storage};
use crate::chunk::layout::MAX_DIMENSIONS;
use crate::chunk::safetensors::Dtype;

/// A value on the stack, in the memo or in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Where a list of arguments begins.
    Mark,
    /// A whole number; larger ones have no meaning.
    Int(i64),
    /// Bytes of the pickle.
    Text(Span),
    /// Something with a name.
    Global(Global),
    /// Items in [`Machine::items`].
    Tuple(Span),
    /// A dictionary, a list, an object.
    Container(u32),
    /// One of [`Machine::storages`].
    Storage(u32),
    /// One of [`Machine::tensors`].
    Tensor(u32),
    /// Without a meaning here.
    Other,
}

/// A stretch of the pickle or of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    at: u32,
    len: u32,
}

/// A tensor, before it has a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    pub(super) storage: u32,
    pub(super) dtype: Dtype,
    pub(super) offset: u64,
    size: Span,
    stride: Span,
}

/// What a call gives, if it has a meaning.
enum Made {
    Value(Value),
    Tensor(Raw),
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Machine<'p> {
    pickle: &'p [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Value>,
    items: Vec<Value>,
    /// Members by their keys; items of a list by their number.
    pub(super) containers: Vec<Vec<(Value, Value)>>,
    members: usize,
    pub(super) storages: Vec<Storage<'p>>,
    pub(super) tensors: Vec<Raw>,
}

impl<'p> Machine<'p> {
    /// Follows a pickle to its end: what it stands for, and the machine, in which it lies.
    pub(super) fn run(pickle: &'p [u8]) -> Option<(Value, Self)> {
        u32::try_from(pickle.len()).ok()?;
        let mut machine = Self { pickle, ..Self::default() };
        loop {
            let op = machine.bytes(1)?[0];
            if op == b'.' {
                let root = machine.pop()?;
                return Some((root, machine));
            }
            machine.step(op)?;
            if machine.values() > MAX_VALUES {
                return None;
            }
        }
    }

    /// Each as many as take about 16 bytes.
    fn values(&self) -> usize {
        let flat = self.stack.len() + self.marks.len() + self.memo.len() + self.items.len();
        flat + 2 * (self.containers.len() + self.members + self.storages.len()) + 3 * self.tensors.len()
    }

    fn step(&mut self, op: u8) -> Option<()> {
        match op {
            0x80 => return self.bytes(1).filter(|version| version[0] <= 5).map(drop),
            0x95 => return self.bytes(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.stack.push(Value::Mark);
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.push(*self.stack.last()?)?,
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
            b'K' => self.number(1)?,
            b'M' => self.number(2)?,
            b'J' => {
                let number = i32::from_le_bytes(self.bytes(4)?.try_into().ok()?);
                self.stack.push(Value::Int(number.into()));
            }
            0x8a => {
                let len = self.length(1)?;
                let bytes = self.bytes(len)?;
                self.stack.push(long(bytes));
            }
            0x8b => {
                let len = self.length(4)?;
                let bytes = self.bytes(len)?;
                self.stack.push(long(bytes));
            }
            b'G' => {
                self.bytes(8)?;
                self.stack.push(Value::Other);
            }
            b'U' | b'C' | 0x8c => self.text(1)?,
            b'X' | b'B' | b'T' => self.text(4)?,
            0x8d | 0x8e => self.text(8)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::of(module, name)));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (name, module) else { return None };
                self.stack.push(Value::Global(Global::of(self.text_of(module), self.text_of(name))));
            }
            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            0x94 => self.memo.push(*self.top()?),
            b'h' => self.get(1)?,
            b'j' => self.get(4)?,
            b')' => self.tuple_of(self.stack.len())?,
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub((op - 0x84).into())?;
                self.tuple_of(from)?;
            }
            b't' => {
                let from = self.pop_mark()?;
                self.tuple_of(from)?;
            }
            b'}' | b']' => self.container()?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.add([key, value].into_iter())?;
            }
            b'u' => {
                let members = self.pop_to_mark()?;
                self.add(members.into_iter())?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append([item].into_iter())?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items.into_iter())?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.stack.push(storage);
            }
            b'R' => {
                let (args, function) = (self.pop()?, self.pop()?);
                let Value::Tuple(args) = args else { return None };
                self.call(function, args)?;
            }
            0x81 => {
                let (_args, _class) = (self.pop()?, self.pop()?);
                self.container()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn bytes(&mut self, len: usize) -> Option<&'p [u8]> {
        let bytes = self.pickle.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(bytes)
    }

    /// A length of so many bytes.
    fn length(&mut self, width: usize) -> Option<usize> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.bytes(width)?);
        usize::try_from(u64::from_le_bytes(number)).ok()
    }

    fn number(&mut self, width: usize) -> Option<()> {
        let number = i64::try_from(self.length(width)?).ok()?;
        self.stack.push(Value::Int(number));
        Some(())
    }

    fn line(&mut self) -> Option<&'p [u8]> {
        // Names of Python are short; a search for the end of a longer one is cut off.
        let rest = self.pickle.get(self.at..)?;
        let len = rest.iter().take(1024).position(|byte| *byte == b'\n')?;
        self.at += len + 1;
        Some(&rest[..len])
    }

    fn text(&mut self, width: usize) -> Option<()> {
        let len = self.length(width)?;
        let span = Span { at: u32::try_from(self.at).ok()?, len: u32::try_from(len).ok()? };
        self.bytes(len)?;
        self.stack.push(Value::Text(span));
        Some(())
    }

    /// Text of the pickle, or nothing where a number lies.
    pub(super) fn text_of(&self, Span { at, len }: Span) -> &'p [u8] {
        self.pickle.get(at as usize..).and_then(|rest| rest.get(..len as usize)).unwrap_or_default()
    }

    fn items_of(&self, Span { at, len }: Span) -> &[Value] {
        self.items.get(at as usize..).and_then(|rest| rest.get(..len as usize)).unwrap_or_default()
    }

    fn push(&mut self, value: Value) -> Option<()> {
        (value != Value::Mark).then(|| self.stack.push(value))
    }

    fn top(&self) -> Option<&Value> {
        self.stack.last().filter(|value| **value != Value::Mark)
    }

    fn pop(&mut self) -> Option<Value> {
        self.stack.pop().filter(|value| *value != Value::Mark)
    }

    /// Takes the last mark away; where what follows it begins on the stack.
    fn pop_mark(&mut self) -> Option<usize> {
        let at = self.marks.pop()?;
        self.stack.remove(at);
        Some(at)
    }

    fn pop_to_mark(&mut self) -> Option<Vec<Value>> {
        let at = self.marks.pop()?;
        let values = self.stack.split_off(at + 1);
        self.stack.truncate(at);
        Some(values)
    }

    /// A memo's numbers are given one after the other.
    fn put(&mut self, width: usize) -> Option<()> {
        let number = self.length(width)?;
        let value = *self.top()?;
        if number == self.memo.len() {
            self.memo.push(value);
        } else {
            *self.memo.get_mut(number)? = value;
        }
        Some(())
    }

    fn get(&mut self, width: usize) -> Option<()> {
        let number = self.length(width)?;
        self.push(*self.memo.get(number)?)
    }

    /// What stands on the stack from `from` on becomes a tuple.
    fn tuple_of(&mut self, from: usize) -> Option<()> {
        if self.marks.last().is_some_and(|mark| *mark >= from) {
            return None;
        }
        let at = u32::try_from(self.items.len()).ok()?;
        let len = u32::try_from(self.stack.len() - from).ok()?;
        self.items.extend(self.stack.drain(from..));
        self.stack.push(Value::Tuple(Span { at, len }));
        Some(())
    }

    fn container(&mut self) -> Option<()> {
        let number = u32::try_from(self.containers.len()).ok()?;
        self.containers.push(Vec::new());
        self.stack.push(Value::Container(number));
        Some(())
    }

    /// Keys and values in turn, into what is on top. Nothing else has members.
    fn add(&mut self, mut members: impl ExactSizeIterator<Item = Value>) -> Option<()> {
        if !members.len().is_multiple_of(2) {
            return None;
        }
        if let Value::Container(into) = *self.top()? {
            let into = self.containers.get_mut(into as usize)?;
            self.members += members.len() / 2;
            while let (Some(key), Some(value)) = (members.next(), members.next()) {
                into.push((key, value));
            }
        }
        Some(())
    }

    fn append(&mut self, items: impl ExactSizeIterator<Item = Value>) -> Option<()> {
        if let Value::Container(into) = *self.top()? {
            let into = self.containers.get_mut(into as usize)?;
            self.members += items.len();
            for item in items {
                into.push((Value::Int(i64::try_from(into.len()).ok()?), item));
            }
        }
        Some(())
    }

    /// The state of an object: its members, if it has none yet. That of a dictionary is about its members.
    fn build(&mut self, state: Value) -> Option<()> {
        if let (Value::Container(into), Value::Container(state)) = (*self.top()?, state)
            && into != state
            && self.containers.get(into as usize)?.is_empty()
        {
            // Shared with whoever else names the state; it is walked through once.
            self.members += 1;
            self.containers.get_mut(into as usize)?.push((Value::Mark, Value::Container(state)));
        }
        Some(())
    }

    /// A persistent id; without a meaning if it is not that of a storage.
    fn storage(&mut self, id: Value) -> Option<Value> {
        let Value::Tuple(id) = id else { return Some(Value::Other) };
        let &[
            Value::Text(word),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            _,
            Value::Int(count),
            ..,
        ] = self.items_of(id)
        else {
            return Some(Value::Other);
        };
        // A longer one would be looked at again for every tensor that names it.
        if self.text_of(key).len() > MAX_KEY_BYTES {
            return Some(Value::Other);
        }
        let key = std::str::from_utf8(self.text_of(key));
        let (b"storage", Ok(key), Ok(count)) = (self.text_of(word), key, u64::try_from(count)) else {
            return Some(Value::Other);
        };
        let number = u32::try_from(self.storages.len()).ok()?;
        self.storages.push(Storage { key, kind, count });
        Some(Value::Storage(number))
    }

    fn call(&mut self, function: Value, args: Span) -> Option<()> {
        let Value::Global(mut function) = function else { return self.container() };
        let mut args = args;
        if function == Global::Call {
            let [Value::Global(called), _, Value::Tuple(of), ..] = *self.items_of(args) else {
                return self.container();
            };
            (function, args) = (called, of);
        }
        let items = self.items_of(args);
        let made = match function {
            Global::First => items.first().copied().map(Made::Value),
            Global::Tensor => self.tensor(items, None),
            Global::TypedTensor => match items.get(6) {
                Some(Value::Global(Global::Dtype(dtype))) => self.tensor(items, Some(*dtype)),
                _ => None,
            },
            _ => None,
        };
        match made {
            Some(Made::Value(value)) => self.push(value),
            Some(Made::Tensor(raw)) => {
                let number = u32::try_from(self.tensors.len()).ok()?;
                self.tensors.push(raw);
                self.push(Value::Tensor(number))
            }
            None => self.container(),
        }
    }

    /// A tensor by its storage, offset, size and stride, if they are that.
    fn tensor(&self, items: &[Value], dtype: Option<Dtype>) -> Option<Made> {
        let &[Value::Storage(storage), Value::Int(offset), Value::Tuple(size), Value::Tuple(stride), ..] =
            items
        else {
            return None;
        };
        let dtype = dtype.or(self.storages.get(storage as usize)?.kind)?;
        let offset = u64::try_from(offset).ok()?;
        Some(Made::Tensor(Raw { storage, dtype, offset, size, stride }))
    }

    /// Numbers of a tuple; `None` if there is anything else in it.
    fn numbers(&self, of: Span) -> Option<Vec<u64>> {
        let number = |value: &Value| match value {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        self.items_of(of).iter().map(number).collect()
    }

    /// Dimensions of a tensor whose elements stand one after the other, outermost first; `None` of any other.
    pub(super) fn shape(&self, raw: &Raw) -> Option<Vec<u64>> {
        if [raw.size, raw.stride].iter().any(|of| self.items_of(*of).len() > MAX_DIMENSIONS) {
            return None;
        }
        let (shape, strides) = (self.numbers(raw.size)?, self.numbers(raw.stride)?);
        let mut step = Some(1_u64);
        let mut usual = shape.len() == strides.len();
        if !shape.contains(&0) {
            for (n, stride) in shape.iter().zip(&strides).rev() {
                usual &= *n == 1 || step == Some(*stride);
                step = step.and_then(|step| step.checked_mul(*n));
            }
        }
        usual.then_some(shape)
    }
}

/// A number of any length, if it is not larger than any size.
fn long(bytes: &[u8]) -> Value {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut number = [if negative { 0xff } else { 0 }; 8];
    match number.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(number))
        }
        None => Value::Other,
    }
}
