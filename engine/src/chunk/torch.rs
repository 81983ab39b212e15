//! Archives of PyTorch (`.pt`, `.pth`, `.bin`, TorchScript): where their tensors are (`docs/format.md`, "Regions of
//! models").
//!
//! ```text
//! NAME/data.pkl | NAME/data/0 | NAME/data/1 | … | NAME/version | directory
//! ```
//! A zip whose entries stand there as they are. The directory says where the storages are, `data/0` and
//! so on; the pickle, which tensors lie in them and what they are called. Where the pickle cannot be
//! followed, the storages still are known, each as numbers without a type.
//!
//! The directory stands at the end of the file: it is read before the file is cut. A file that changes in
//! between may be laid out wrongly, which costs deduplication and nothing else; its node says that it
//! changed.
//!
//! Time is linear in directory and pickle, but for sorting. Memory: both, 16 MiB each at most (a pickle among
//! the leading bytes is not copied), what [`pickle`] takes, and 200 bytes and its name for each
//! tensor; 2 MiB for a thousand tensors, 130 MiB for the worst that can be made up.

mod pickle;
mod zip;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

pub use zip::MAGIC;

use super::layout::{MAX_HEADER_BYTES, Tensor};
use super::region::ReadAt;
use zip::Entry;

/// Shorter tensors make no region: two seams take some 220 bytes in lists and records, and what lies between
/// storages is a hundred bytes itself.
pub const LEAST_BYTES: u64 = 512;

/// The tensors of a file of `size` bytes that begins with `first`, all of it or its leading bytes; and of each storage
/// that they do not tile exactly, the storage.
pub fn tensors(first: &[u8], content: &dyn ReadAt, size: u64) -> Option<Vec<Tensor>> {
    let directory = zip::directory(content, size)?;
    let entries = zip::entries(&directory)?;
    let archive = Archive { first, content, entries };
    let folder = archive.entries.iter().find_map(|e| {
        let folder = e.name.strip_suffix("/data.pkl")?;
        (!folder.contains('/')).then_some(folder)
    })?;
    let order = archive.named(folder, "byteorder").map(|entry| archive.bytes(entry));
    if order.is_some_and(|order| order.as_deref() != Some(b"little")) {
        return None;
    }
    let pickle = archive.bytes(archive.named(folder, "data.pkl")?);
    let found = pickle.as_deref().and_then(pickle::find).unwrap_or_default();
    placed(&storages(&archive.entries, folder)?, found)
}

/// Entries, and what they hold.
struct Archive<'a> {
    first: &'a [u8],
    content: &'a dyn ReadAt,
    entries: Vec<Entry<'a>>,
}

impl Archive<'_> {
    fn named(&self, folder: &str, name: &str) -> Option<&Entry<'_>> {
        let is_it = |e: &&Entry<'_>| {
            e.name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) == Some(name)
        };
        self.entries.iter().find(is_it)
    }

    /// The bytes of an entry that is not too long.
    fn bytes(&self, entry: &Entry<'_>) -> Option<std::borrow::Cow<'_, [u8]>> {
        if !entry.plain || entry.len > MAX_HEADER_BYTES as u64 {
            return None;
        }
        let at_hand = || {
            let from = usize::try_from(entry.offset).ok()?;
            self.first.get(from..)?.get(..usize::try_from(entry.len).ok()?)
        };
        match at_hand() {
            Some(bytes) => Some(bytes.into()),
            None => zip::read(self.content, entry.offset, entry.len).map(Into::into),
        }
    }
}

/// A storage: what it is called beside the pickle, and its bytes.
struct Storage<'a> {
    name: &'a str,
    place: Range<u64>,
}

/// All storages by their offset. They do not overlap: an entry ends before the next one's header.
fn storages<'a>(entries: &[Entry<'a>], folder: &str) -> Option<Vec<Storage<'a>>> {
    let mut names = HashSet::new();
    let mut storages = Vec::new();
    for entry in entries.iter().filter(|entry| entry.plain) {
        let name = entry.name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|n| n.starts_with(DATA) || n.starts_with("constants/")) else {
            continue;
        };
        if !names.insert(name) {
            return None;
        }
        storages.push(Storage { name, place: entry.offset..entry.offset.checked_add(entry.len)? });
    }
    Some(storages)
}

/// Folder of the storages that a pickle knows.
const DATA: &str = "data/";

/// Tensors where they lie in the file.
fn placed(storages: &[Storage<'_>], found: pickle::Found<'_>) -> Option<Vec<Tensor>> {
    let numbers: HashMap<&str, usize> = storages.iter().enumerate().map(|(n, s)| (s.name, n)).collect();
    let mut inside: Vec<Vec<Tensor>> = Vec::new();
    inside.resize_with(storages.len(), Vec::new);
    let mut kinds = vec![None; storages.len()];
    let mut taken = HashSet::new();
    // The pickle and the directory must mean the same storage.
    let number_of = |storage: &pickle::Storage<'_>| {
        let number = *numbers.get(&*format!("{DATA}{}", storage.key))?;
        let bytes = match storage.kind {
            Some(kind) => kind.bytes_of(&[storage.count])?,
            None => storage.count,
        };
        (bytes == storages[number].place.end - storages[number].place.start).then_some(number)
    };
    for storage in &found.storages {
        if let Some(number) = number_of(storage) {
            kinds[number] = storage.kind;
        }
    }
    for tensor in found.tensors {
        let Some(number) = number_of(&tensor.storage) else { continue };
        let place = &storages[number].place;
        let within = tensor.dtype.bytes_of(&[tensor.offset]).zip(tensor.dtype.bytes_of(&tensor.shape));
        let Some((from, len)) = within else { continue };
        let (Some(offset), dtype) = (place.start.checked_add(from), tensor.dtype.word()) else { continue };
        if offset.checked_add(len).is_some_and(|end| end <= place.end) {
            taken.insert(tensor.name.clone());
            inside[number].push(Tensor { name: tensor.name, dtype, shape: tensor.shape, offset, len });
        }
    }
    let mut all = Vec::new();
    for ((storage, tensors), kind) in storages.iter().zip(inside).zip(kinds) {
        let len = storage.place.end - storage.place.start;
        // No name stands for two tensors; one that is called as the storage is has the better right.
        if len > 0 && !is_tiled(&storage.place, &tensors) && !taken.contains(storage.name) {
            let width = kind.map_or(1, |kind| kind.bits() / 8);
            all.push(Tensor {
                name: storage.name.to_owned(),
                dtype: kind.map_or("", |kind| kind.word()),
                shape: vec![len / width.max(1)],
                offset: storage.place.start,
                len,
            });
        }
        all.extend(tensors);
    }
    Some(all)
}

/// Do the tensors fill the storage, each where the one before ends, or one of them all of it? Several may be
/// the same bytes.
fn is_tiled(storage: &Range<u64>, tensors: &[Tensor]) -> bool {
    let mut places: Vec<Range<u64>> =
        tensors.iter().filter(|t| t.len > 0).map(|t| t.offset..t.offset + t.len).collect();
    if places.contains(storage) {
        return true;
    }
    places.sort_unstable_by_key(|place| (place.start, place.end));
    places.dedup();
    let joined = places.windows(2).all(|pair| pair[0].end == pair[1].start);
    let (first, last) = (places.first().map(|p| p.start), places.last().map(|p| p.end));
    joined && first == Some(storage.start) && last == Some(storage.end)
}
