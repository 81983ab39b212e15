//! The directory of a zip archive, which stands at the end of the file, and where the entries are that it
//! names.
//!
//! ```text
//! header | bytes | what was not known before (descriptor) | header | … | directory | end
//! ```
//! A header's length is known only by looking at it, and with it the place of the bytes. Here they are counted from
//! behind: where the next header begins, less the descriptor. So an archive of a hundred
//! thousand entries costs one look at its end, not one at each. Archives that leave room between
//! entries are none that PyTorch writes.

use crate::chunk::layout::MAX_TENSORS;
use crate::chunk::region::ReadAt;

/// First bytes of an archive, and of each entry.
pub const MAGIC: &[u8] = b"PK\x03\x04";
/// Longest directory.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;
/// Most entries: a storage for each tensor, and some words about them.
const MAX_ENTRIES: usize = MAX_TENSORS + 1024;

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: u64 = 20;
const END64: &[u8] = b"PK\x06\x06";
const END64_BYTES: u64 = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const HEADER_BYTES: u64 = 30;
/// The extra field that holds what 32 bits do not.
const WIDE: u16 = 1;
/// Flag: length and checksum stand behind the bytes.
const DESCRIBED: u16 = 1 << 3;
/// Flags of a name in UTF-8, and of that.
const KNOWN_FLAGS: u16 = DESCRIBED | 1 << 11;
const DESCRIPTOR_BYTES: u64 = 16;
const WIDE_DESCRIPTOR_BYTES: u64 = 24;
/// What 32 bits do not hold stands elsewhere.
const NARROW_MOST: u64 = 0xffff_ffff;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'d> {
    /// With its folders.
    pub name: &'d str,
    /// First of its bytes in the file.
    pub offset: u64,
    /// So many.
    pub len: u64,
    /// They stand there as they are, neither compressed nor encrypted.
    pub plain: bool,
}

/// A directory as it stands in the file.
#[derive(Debug)]
pub struct Directory {
    bytes: Vec<u8>,
    /// Where it begins.
    at: u64,
    entries: usize,
}

/// The directory of a file of `size` bytes.
pub fn directory(content: &dyn ReadAt, size: u64) -> Option<Directory> {
    let end_at = size.checked_sub(END_BYTES)?;
    let end = read(content, end_at, END_BYTES)?;
    // A comment behind it is nothing that PyTorch writes.
    if !end.starts_with(END) || u16_at(&end, 4)? != u16_at(&end, 6)? || u16_at(&end, 20)? != 0 {
        return None;
    }
    let (mut entries, mut len, mut at) =
        (u64::from(u16_at(&end, 10)?), u64::from(u32_at(&end, 12)?), u64::from(u32_at(&end, 16)?));
    let mut ends_at = end_at;
    if let Some(locator_at) = end_at.checked_sub(LOCATOR_BYTES)
        && let Some(locator) = read(content, locator_at, LOCATOR_BYTES)
        && locator.starts_with(LOCATOR)
    {
        ends_at = u64_at(&locator, 8)?;
        let wide = read(content, ends_at, END64_BYTES)?;
        if !wide.starts_with(END64) || ends_at.checked_add(END64_BYTES)? != locator_at {
            return None;
        }
        (entries, len, at) = (u64_at(&wide, 32)?, u64_at(&wide, 40)?, u64_at(&wide, 48)?);
    }
    let fits = at.checked_add(len)? == ends_at && len <= MAX_DIRECTORY_BYTES;
    if !fits || entries == 0 || entries > MAX_ENTRIES as u64 {
        return None;
    }
    Some(Directory { bytes: read(content, at, len)?, at, entries: usize::try_from(entries).ok()? })
}

/// Its entries by their place in the file.
pub fn entries(directory: &Directory) -> Option<Vec<Entry<'_>>> {
    let Directory { bytes, at, entries } = directory;
    let mut found: Vec<Raw<'_>> = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (entry, after) = raw(rest)?;
        if found.len() == *entries {
            return None;
        }
        found.push(entry);
        rest = after;
    }
    if found.len() != *entries {
        return None;
    }
    found.sort_unstable_by_key(|entry| entry.header_at);
    let nexts = found.iter().skip(1).map(|entry| entry.header_at).chain([*at]);
    found.iter().zip(nexts).map(|(entry, next)| entry.placed(next)).collect()
}

/// As the directory has it.
struct Raw<'d> {
    name: &'d str,
    header_at: u64,
    len: u64,
    stored: u64,
    method: u16,
    flags: u16,
}

impl<'d> Raw<'d> {
    fn placed(&self, next: u64) -> Option<Entry<'d>> {
        let wide = self.len >= NARROW_MOST || self.header_at >= NARROW_MOST;
        let descriptor = match (self.flags & DESCRIBED != 0, wide) {
            (false, _) => 0,
            (true, false) => DESCRIPTOR_BYTES,
            (true, true) => WIDE_DESCRIPTOR_BYTES,
        };
        let offset = next.checked_sub(descriptor)?.checked_sub(self.stored)?;
        let least = self.header_at.checked_add(HEADER_BYTES)?.checked_add(self.name.len() as u64)?;
        let plain = self.method == 0 && self.len == self.stored && self.flags & !KNOWN_FLAGS == 0;
        (offset >= least).then_some(Entry { name: self.name, offset, len: self.len, plain })
    }
}

fn raw(bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(ENTRY_BYTES)?;
    if !fixed.starts_with(ENTRY) {
        return None;
    }
    let (name, rest) = rest.split_at_checked(u16_at(fixed, 28)?.into())?;
    let (extra, rest) = rest.split_at_checked(u16_at(fixed, 30)?.into())?;
    let (_comment, rest) = rest.split_at_checked(u16_at(fixed, 32)?.into())?;
    let mut wide = extra_of(extra, WIDE).unwrap_or_default();
    let mut widened = |narrow: u32| -> Option<u64> {
        if u64::from(narrow) != NARROW_MOST {
            return Some(narrow.into());
        }
        let (number, after) = wide.split_first_chunk()?;
        wide = after;
        Some(u64::from_le_bytes(*number))
    };
    let len = widened(u32_at(fixed, 24)?)?;
    let stored = widened(u32_at(fixed, 20)?)?;
    let header_at = widened(u32_at(fixed, 42)?)?;
    let (flags, method) = (u16_at(fixed, 8)?, u16_at(fixed, 10)?);
    let name = std::str::from_utf8(name).ok()?;
    Some((Raw { name, header_at, len, stored, method, flags }, rest))
}

/// The data of an extra field.
fn extra_of(mut extra: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (tag, len) = (u16_at(extra, 0)?, u16_at(extra, 2)?);
        let (data, rest) = extra.get(4..)?.split_at_checked(len.into())?;
        if tag == wanted {
            return Some(data);
        }
        extra = rest;
    }
}

/// So many bytes of the file, if it has them. The caller bounds `len`.
pub fn read(content: &dyn ReadAt, at: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    content.read_exact_at(at, &mut bytes).ok()?.then_some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
