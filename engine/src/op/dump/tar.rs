//! Entries of a tar archive: POSIX headers, and a PAX header before each that does not say all.
//!
//! PAX values are UTF-8 by definition; bytes that are none are announced by `hdrcharset=BINARY`. What the header of
//! the crate cannot hold (negative times, long names, large numbers) is cut there and whole in the PAX records,
//! which win.

use std::collections::HashMap;
use std::io::Write;

use tar::{EntryType, Header};

use super::archive::{Format, Named};
use super::refused;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};

const BLOCK_BYTES: usize = 512;
/// Greatest user, group or device number of seven octal digits.
const MAX_NUMBER: u64 = 0o777_7777;
/// Longest content of eleven octal digits.
const MAX_SIZE: u64 = 0o777_7777_7777;

/// One of several names of a file.
struct First {
    name: Vec<u8>,
    content: Vec<Entry>,
    left: u64,
}

/// See the module's words.
#[derive(Default)]
pub struct Tar {
    /// By device and inode.
    linked: HashMap<(u64, u64), First>,
}

impl Format for Tar {
    fn refuses(&self, kind: NodeKind) -> Option<&'static str> {
        (kind == NodeKind::Socket).then_some("a tar archive cannot hold a socket: left out")
    }

    fn longest_name(&self) -> usize {
        usize::MAX
    }

    fn plain(&mut self, out: &mut dyn Write, named: &Named<'_>) -> Result<()> {
        header(out, named, 0, None)
    }

    fn linked(&mut self, out: &mut dyn Write, named: &Named<'_>) -> Result<bool> {
        let node = named.node;
        let key = (node.device, node.inode);
        let Some(first) = self.linked.get_mut(&key).filter(|first| first.content == node.content) else {
            return Ok(false);
        };
        header(out, named, 0, Some(&first.name))?;
        first.left -= 1;
        if first.left == 0 {
            self.linked.remove(&key);
        }
        Ok(true)
    }

    fn small(&mut self, out: &mut dyn Write, named: &Named<'_>, content: &[u8]) -> Result<()> {
        self.large(out, named, content.len() as u64, &mut |out| out.write_all(content).map_err(refused))
    }

    fn large(
        &mut self,
        out: &mut dyn Write,
        named: &Named<'_>,
        len: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        header(out, named, len, None)?;
        write(out)?;
        pad(out, len)?;
        self.remember(named.node, named.name);
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        out.write_all(&[0; 2 * BLOCK_BYTES]).map_err(refused)
    }
}

impl Tar {
    /// It is in the archive: its other names become links to it.
    fn remember(&mut self, node: &Node, name: &[u8]) {
        if node.nlink > 1 {
            let first = First { name: name.to_vec(), content: node.content.clone(), left: node.nlink - 1 };
            self.linked.entry((node.device, node.inode)).or_insert(first);
        }
    }
}

fn pad(out: &mut dyn Write, len: u64) -> Result<()> {
    let over = (len % BLOCK_BYTES as u64) as usize;
    let missing = if over == 0 { 0 } else { BLOCK_BYTES - over };
    out.write_all(&[0; BLOCK_BYTES][..missing]).map_err(refused)
}

/// The headers of one entry; `link`: the name that it is another name of.
fn header(out: &mut dyn Write, named: &Named<'_>, len: u64, link: Option<&[u8]>) -> Result<()> {
    let node = named.node;
    let is_dir = node.kind == NodeKind::Directory;
    let name = [named.name, if is_dir { b"/" } else { &b""[..] }].concat();
    let target = match node.kind {
        NodeKind::Symlink => node.link_target(),
        _ => link,
    };
    let mut header = Header::new_ustar();
    header.set_entry_type(match (node.kind, link) {
        (_, Some(_)) => EntryType::Link,
        (NodeKind::Directory, _) => EntryType::Directory,
        (NodeKind::Symlink, _) => EntryType::Symlink,
        (NodeKind::Fifo, _) => EntryType::Fifo,
        (NodeKind::CharDevice, _) => EntryType::Char,
        (NodeKind::BlockDevice, _) => EntryType::Block,
        _ => EntryType::Regular,
    });
    header.set_mode(node.mode & 0o7777);
    let mut pax = Pax::default();
    let (uid, gid) = (u64::from(node.uid), u64::from(node.gid));
    header.set_uid(uid.min(MAX_NUMBER));
    header.set_gid(gid.min(MAX_NUMBER));
    header.set_size(len.min(MAX_SIZE));
    header.set_mtime(u64::try_from(node.mtime.secs).unwrap_or(0).min(MAX_SIZE));
    for (key, number) in [("uid", uid), ("gid", gid)] {
        pax.when(number > MAX_NUMBER, key, number.to_string().as_bytes());
    }
    pax.when(len > MAX_SIZE, "size", len.to_string().as_bytes());
    let odd_time = node.mtime.nanos != 0 || !(0..=MAX_SIZE as i64).contains(&node.mtime.secs);
    pax.when(odd_time, "mtime", time(node.mtime.secs, node.mtime.nanos).as_bytes());
    if let Some(fields) = header.as_ustar_mut() {
        pax.text("path", &name, &mut fields.name);
        if let Some(target) = target {
            let mut whole = [0; 100];
            pax.text("linkpath", target, &mut whole);
            fields.linkname = whole;
        }
        pax.text("uname", &node.user, &mut fields.uname);
        pax.text("gname", &node.group, &mut fields.gname);
    }
    if matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
        let (major, minor) = (rustix::fs::major(node.rdev), rustix::fs::minor(node.rdev));
        let set = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
        set.map_err(|e| Error::Internal(format!("a device number: {e}")))?;
    }
    for (key, value) in &named.xattrs.pairs {
        pax.xattr(key, value);
    }
    pax.write(out)?;
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(refused)
}

/// Seconds as a decimal number; before 1970 both parts count backwards.
fn time(secs: i64, nanos: u32) -> String {
    match (secs, nanos) {
        (secs, 0) => secs.to_string(),
        (0.., nanos) => format!("{secs}.{nanos:09}"),
        (secs, nanos) => format!("-{}.{:09}", (secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
    }
}

/// The records of one PAX header.
#[derive(Default)]
struct Pax {
    records: Vec<u8>,
    binary: bool,
}

impl Pax {
    fn when(&mut self, needed: bool, key: &str, value: &[u8]) {
        if needed {
            self.records.extend(record(key.as_bytes(), value));
        }
    }

    /// Into the header as far as it fits, else here as well.
    fn text(&mut self, key: &str, value: &[u8], field: &mut [u8]) {
        let fits = value.len().min(field.len());
        field[..fits].copy_from_slice(&value[..fits]);
        let is_text = std::str::from_utf8(value).is_ok();
        self.binary |= !is_text;
        self.when(value.len() > field.len() || !value.is_ascii(), key, value);
    }

    /// As `tar --xattrs` writes and reads them. A name with `=` cannot be told from its value.
    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        if !name.contains(&b'=') {
            self.records.extend(record(&[b"SCHILY.xattr.", name].concat(), value));
        }
    }

    fn write(self, out: &mut dyn Write) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let charset = if self.binary { record(b"hdrcharset", b"BINARY") } else { Vec::new() };
        let records = [charset, self.records].concat();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        if let Some(fields) = header.as_ustar_mut() {
            fields.name[..9].copy_from_slice(b"PaxHeader");
        }
        header.set_cksum();
        out.write_all(header.as_bytes()).map_err(refused)?;
        out.write_all(&records).map_err(refused)?;
        pad(out, records.len() as u64)
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        assert_eq!(record(b"path", b"abc"), b"12 path=abc\n");
        for len in [0, 1, 80, 89, 90, 91, 980, 989, 990, 9979, 9990] {
            let made = record(b"k", &vec![b'v'; len]);
            assert_eq!(std::str::from_utf8(&made).unwrap().split(' ').next(), Some(&*made.len().to_string()));
        }
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(time(5, 0), "5");
        assert_eq!(time(5, 20), "5.000000020");
        assert_eq!(time(-1, 500_000_000), "-0.500000000");
        assert_eq!(time(-2, 250_000_000), "-1.750000000");
        assert_eq!(time(i64::MIN, 1), "-9223372036854775807.999999999");
    }
}
