//! Entries of a zip archive: stored, not compressed; sizes of 64 bits where they are needed (APPNOTE 6.3.10).
//!
//! Small files are in memory, so their headers say all. Of large ones checksum and sizes follow the content. Names
//! are raw bytes; those that are UTF-8 are marked so. Times are those of the `UT` field, to the second; the DOS fields,
//! which know no zone, are in UTC.

use std::io::Write;

use super::archive::{Format, Named};
use super::refused;
use crate::error::{Error, Result};
use crate::format::tree::NodeKind;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// Checksum and sizes follow the content.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;
/// Sizes and offsets from here on stand in a field of their own.
const LARGE: u64 = u32::MAX as u64;
/// Version 4.5 of the format; the upper byte: attributes are those of Unix.
const VERSION: u16 = 45;
const MADE_BY: u16 = (3 << 8) | VERSION;

/// See the module's words.
#[derive(Default)]
pub struct Zip {
    offset: u64,
    entries: u64,
    central: Vec<u8>,
}

/// What an entry's headers say.
struct Facts {
    crc: u32,
    len: u64,
    /// They come after the content.
    late: bool,
}

impl Format for Zip {
    fn refuses(&self, kind: NodeKind) -> Option<&'static str> {
        match kind {
            NodeKind::File | NodeKind::Directory | NodeKind::Symlink => None,
            NodeKind::Fifo => Some("a zip archive cannot hold a pipe: left out"),
            NodeKind::Socket => Some("a zip archive cannot hold a socket: left out"),
            NodeKind::CharDevice | NodeKind::BlockDevice => {
                Some("a zip archive cannot hold a device: left out")
            }
        }
    }

    fn longest_name(&self) -> usize {
        usize::from(u16::MAX)
    }

    fn plain(&mut self, out: &mut dyn Write, named: &Named<'_>) -> Result<()> {
        self.small(out, named, named.node.link_target().unwrap_or_default())
    }

    fn linked(&mut self, _out: &mut dyn Write, _named: &Named<'_>) -> Result<bool> {
        Ok(false)
    }

    fn small(&mut self, out: &mut dyn Write, named: &Named<'_>, content: &[u8]) -> Result<()> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(content);
        let facts = Facts { crc: crc.finalize(), len: content.len() as u64, late: false };
        let offset = self.local(out, named, &facts)?;
        self.put(out, content)?;
        self.remember(named, &facts, offset);
        Ok(())
    }

    fn large(
        &mut self,
        out: &mut dyn Write,
        named: &Named<'_>,
        len: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let offset = self.local(out, named, &Facts { crc: 0, len, late: true })?;
        let mut summing = Summing { out, crc: crc32fast::Hasher::new(), len: 0 };
        write(&mut summing)?;
        let (crc, written) = (summing.crc.finalize(), summing.len);
        if written != len {
            return Err(Error::Internal(format!("a file of {len} bytes gave {written}")));
        }
        self.offset += len;
        let mut descriptor = Fields::default();
        descriptor.u32(DESCRIPTOR).u32(crc);
        match len >= LARGE {
            true => descriptor.u64(len).u64(len),
            false => descriptor.u32(len as u32).u32(len as u32),
        };
        self.put(out, &descriptor.0)?;
        self.remember(named, &Facts { crc, len, late: true }, offset);
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        let (start, len, entries) = (self.offset, self.central.len() as u64, self.entries);
        let central = std::mem::take(&mut self.central);
        self.put(out, &central)?;
        let mut end = Fields::default();
        if start >= LARGE || len >= LARGE || entries >= u64::from(u16::MAX) {
            let at = self.offset;
            end.u32(END_64).u64(44).u16(MADE_BY).u16(VERSION).u32(0).u32(0);
            end.u64(entries).u64(entries).u64(len).u64(start);
            end.u32(LOCATOR_64).u32(0).u64(at).u32(1);
        }
        let count = u16::try_from(entries).unwrap_or(u16::MAX);
        end.u32(END).u16(0).u16(0).u16(count).u16(count).short(len).short(start).u16(0);
        self.put(out, &end.0)
    }
}

/// Counts and sums what passes.
struct Summing<'o> {
    out: &'o mut dyn Write,
    crc: crc32fast::Hasher,
    len: u64,
}

impl Write for Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Zip {
    fn put(&mut self, out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        out.write_all(bytes).map_err(refused)
    }

    fn local(&mut self, out: &mut dyn Write, named: &Named<'_>, facts: &Facts) -> Result<u64> {
        let offset = self.offset;
        let name = full_name(named);
        let mut extra = Fields::default();
        if facts.len >= LARGE {
            let len = if facts.late { 0 } else { facts.len };
            extra.u16(1).u16(16).u64(len).u64(len);
        }
        extra.unix(named);
        let len = if facts.late && facts.len < LARGE { 0 } else { facts.len };
        let mut header = Fields::default();
        header.u32(LOCAL).u16(VERSION).common(named, &name, facts).short(len).short(len);
        header.u16(name.len() as u16).u16(extra.0.len() as u16);
        self.put(out, &[header.0, name, extra.0].concat())?;
        Ok(offset)
    }

    fn remember(&mut self, named: &Named<'_>, facts: &Facts, offset: u64) {
        let name = full_name(named);
        let (is_long, is_far) = (facts.len >= LARGE, offset >= LARGE);
        let mut extra = Fields::default();
        if is_long || is_far {
            extra.u16(1).u16(if is_long { 16 } else { 0 } + if is_far { 8 } else { 0 });
            if is_long {
                extra.u64(facts.len).u64(facts.len);
            }
            if is_far {
                extra.u64(offset);
            }
        }
        extra.unix(named);
        let node = named.node;
        let (kind, dos) = match node.kind {
            NodeKind::Directory => (0o040_000, 0x10),
            NodeKind::Symlink => (0o120_000, 0),
            _ => (0o100_000, 0),
        };
        let mut header = Fields(std::mem::take(&mut self.central));
        header.u32(CENTRAL).u16(MADE_BY).u16(VERSION).common(named, &name, facts);
        header.short(facts.len).short(facts.len).u16(name.len() as u16).u16(extra.0.len() as u16);
        header.u16(0).u16(0).u16(0).u32(((kind | (node.mode & 0o7777)) << 16) | dos).short(offset);
        header.0.extend_from_slice(&name);
        header.0.extend_from_slice(&extra.0);
        self.central = header.0;
        self.entries += 1;
    }
}

/// A directory's ends with a slash: one byte, for which [`Format::longest_name`] leaves room.
fn full_name(named: &Named<'_>) -> Vec<u8> {
    let slash = if named.node.kind == NodeKind::Directory { &b"/"[..] } else { b"" };
    [named.name, slash].concat()
}

/// Numbers, the lowest byte first.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, n: u16) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn u32(&mut self, n: u32) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn u64(&mut self, n: u64) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    /// 32 bits, or all of them set: it stands elsewhere.
    fn short(&mut self, n: u64) -> &mut Self {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// What both headers of an entry say in the same way: flags, method, time, checksum.
    fn common(&mut self, named: &Named<'_>, name: &[u8], facts: &Facts) -> &mut Self {
        let utf8 = if !name.is_ascii() && std::str::from_utf8(name).is_ok() { FLAG_UTF8 } else { 0 };
        let late = if facts.late { FLAG_DESCRIPTOR } else { 0 };
        let (time, date) = dos_time(named.node.mtime.secs);
        self.u16(utf8 | late).u16(0).u16(time).u16(date).u32(facts.crc)
    }

    /// Time and owner.
    fn unix(&mut self, named: &Named<'_>) {
        let node = named.node;
        if let Ok(secs) = i32::try_from(node.mtime.secs) {
            self.u16(0x5455).u16(5).0.push(1);
            self.0.extend_from_slice(&secs.to_le_bytes());
        }
        self.u16(0x7875).u16(11).0.extend_from_slice(&[1, 4]);
        self.u32(node.uid).0.push(4);
        self.u32(node.gid);
    }
}

/// Time and date from 1980 to 2107, to two seconds; what is outside is the nearest of them.
fn dos_time(secs: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let secs = secs.clamp(FIRST, LAST);
    let (mut days, of_day) = ((secs - FIRST) / 86_400, secs % 86_400);
    let mut year = 1980;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let time = ((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | (of_day % 60 / 2);
    let date = ((year - 1980) << 9) | (month << 5) | (days + 1);
    (time as u16, date as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times_are_right_and_never_out_of_bounds() {
        assert_eq!(dos_time(315_532_800), (0, 33));
        // 2024-02-29 23:59:58
        assert_eq!(dos_time(1_709_251_198), ((23 << 11) | (59 << 5) | 29, (44 << 9) | (2 << 5) | 29));
        assert_eq!(dos_time(i64::MIN), (0, 33));
        assert_eq!(dos_time(i64::MAX), ((23 << 11) | (59 << 5) | 29, (127 << 9) | (12 << 5) | 31));
    }
}
