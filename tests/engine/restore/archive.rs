//! `dump --archive`: what others read out of it is what the snapshot holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use ballast::error::{Error, ProblemKind};
use ballast::format::record::LostV1;
use ballast::format::tree::{EXT_XATTRS, NodeKind, XattrsV1};
use ballast::format::wire;
use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::dump::{self, ArchiveFormat, ArchiveOptions, ArchiveReport};
use ballast::progress::Silent;
use ballast::store::Store;

use crate::build::*;
use crate::compare::same;
use crate::roundtrip::nasty;

fn written(
    vault: &Vault,
    snapshot: SnapshotId,
    path: &str,
    format: ArchiveFormat,
) -> (Vec<u8>, ArchiveReport) {
    let options = ArchiveOptions { snapshot, path: path.as_bytes().to_vec(), format, salvage: false };
    let mut out = Vec::new();
    let report = dump::archive(&vault.repo, &options, &mut out, &Silent).unwrap();
    (out, report)
}

/// Every path of a tree with what is there, sockets apart.
fn flat<'s>(specs: &'s [Spec], above: &[u8], out: &mut BTreeMap<Vec<u8>, &'s Spec>) {
    for spec in specs.iter().filter(|spec| spec.node.kind != NodeKind::Socket) {
        let path = [above, &spec.node.name[..]].concat();
        flat(&spec.children, &[&path[..], b"/"].concat(), out);
        out.insert(path, spec);
    }
}

fn without_sockets(mut specs: Vec<Spec>) -> Vec<Spec> {
    specs.retain(|spec| spec.node.kind != NodeKind::Socket);
    for spec in &mut specs {
        spec.children = without_sockets(std::mem::take(&mut spec.children));
    }
    specs
}

fn time(spec: &Spec) -> f64 {
    spec.node.mtime.secs as f64 + f64::from(spec.node.mtime.nanos) / 1e9
}

#[test]
fn a_tar_archive_holds_all_of_it() {
    let vault = Vault::new();
    let specs = nasty();
    let id = vault.snapshot(&specs);
    let (bytes, report) = written(&vault, id, "/", ArchiveFormat::Tar);
    assert_eq!(report.problems, []);
    assert!(bytes.len() % 512 == 0 && bytes.ends_with(&[0; 1024]));
    let mut wanted = BTreeMap::new();
    flat(&specs, b"", &mut wanted);
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut archive = tar::Archive::new(Cursor::new(&bytes));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let what = path.escape_ascii().to_string();
        let spec = wanted.remove(&path).unwrap_or_else(|| panic!("{what} is not in the snapshot"));
        let node = &spec.node;
        let mut pax: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            pax.insert(record.key().unwrap().to_owned(), record.value_bytes().to_vec());
        }
        let header = entry.header();
        let stated = pax.get("mtime").map(|t| std::str::from_utf8(t).unwrap().parse::<f64>().unwrap());
        let mtime = stated.unwrap_or(header.mtime().unwrap() as f64);
        assert!((mtime - time(spec)).abs() < 1e-6, "{what}: {mtime}");
        assert_eq!(header.mode().unwrap(), node.mode, "{what}");
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (node.uid.into(), node.gid.into()));
        if let Some(data) = node.extension(EXT_XATTRS) {
            for (name, value) in wire::decode::<XattrsV1>(data).unwrap().pairs {
                let key = format!("SCHILY.xattr.{}", std::str::from_utf8(&name).unwrap());
                assert_eq!(pax.get(&key).map(|v| &v[..]), Some(&value[..]), "{what}");
            }
        }
        let kind = header.entry_type();
        match node.kind {
            NodeKind::Directory => assert!(kind.is_dir()),
            NodeKind::Symlink => {
                assert!(kind.is_symlink());
                assert_eq!(entry.link_name_bytes().as_deref(), node.link_target());
            }
            NodeKind::Fifo => assert!(kind.is_fifo()),
            NodeKind::CharDevice => {
                assert!(kind.is_character_special());
                let device = (header.device_major().unwrap(), header.device_minor().unwrap());
                assert_eq!(device, (Some(1), Some(3)));
            }
            NodeKind::File if node.nlink > 1 && first_names.contains_key(&node.inode) => {
                assert!(kind.is_hard_link(), "{what}");
                assert_eq!(entry.link_name_bytes().as_deref(), Some(&first_names[&node.inode][..]));
            }
            NodeKind::File => {
                assert!(kind.is_file(), "{what}");
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert!(content == spec.bytes(), "{what}");
                first_names.insert(node.inode, path);
            }
            other => panic!("{what} is a {other:?}"),
        }
    }
    assert!(wanted.is_empty(), "{:?} are missing", wanted.keys().collect::<Vec<_>>());
}

fn can_run(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = found.is_ok();
    if !can {
        println!("skipped: no {program} here");
    }
    can
}

/// What `tar` makes of it is the tree, owners, times, attributes and links included.
#[test]
fn tar_restores_it() {
    if !can_run("tar") {
        return;
    }
    let vault = Vault::new();
    let mut specs = without_sockets(nasty());
    // Other programs write a hole as zeros.
    specs
        .iter_mut()
        .for_each(|spec| spec.children.retain(|spec| !spec.segs.iter().any(|s| matches!(s, Seg::Hole(_)))));
    let id = vault.snapshot(&specs);
    let (bytes, _) = written(&vault, id, "/", ArchiveFormat::Tar);
    let (_keep, place) = place();
    let (file, target) = (place.join("all.tar"), place.join("out"));
    fs::write(&file, bytes).unwrap();
    fs::create_dir(&target).unwrap();
    let mut command = Command::new("tar");
    command.args(["-x", "-p", "--xattrs", "--xattrs-include=*", "-f"]).arg(&file).arg("-C").arg(&target);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    same(&specs, &target);
}

#[test]
fn a_part_of_a_snapshot_has_relative_names() {
    let vault = Vault::new();
    let specs = vec![dir(b"a", vec![dir(b"b", vec![file(b"c", b"c")]), link(b"l", b"b")])];
    let id = vault.snapshot(&specs);
    for (path, names) in [
        ("/", &["a/", "a/b/", "a/b/c", "a/l"][..]),
        ("/a", &["b/", "b/c", "l"]),
        ("/a/l", &["c"]),
        ("/a/b/c", &["c"]),
    ] {
        let (bytes, report) = written(&vault, id, path, ArchiveFormat::Tar);
        let mut archive = tar::Archive::new(&bytes[..]);
        let found = archive.entries().unwrap().map(|e| e.unwrap().path_bytes().into_owned());
        assert_eq!(found.collect::<Vec<_>>(), names.iter().map(|n| n.as_bytes()).collect::<Vec<_>>());
        assert_eq!(report.files + report.directories + report.others, names.len() as u64);
        let (bytes, _) = written(&vault, id, path, ArchiveFormat::Zip);
        let found = entries(&bytes).into_iter().map(|e| e.name);
        assert_eq!(found.collect::<Vec<_>>(), names.iter().map(|n| n.as_bytes()).collect::<Vec<_>>());
    }
}

/// An entry of a zip archive, both of its headers compared.
struct Zipped {
    name: Vec<u8>,
    mode: u32,
    utf8: bool,
    content: Vec<u8>,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b))
}

/// Reads an archive as its end says, without any 64-bit field.
fn entries(bytes: &[u8]) -> Vec<Zipped> {
    let end = bytes.len() - 22;
    assert_eq!(number(bytes, end, 4), 0x0605_4b50);
    let (count, len, mut at) =
        (number(bytes, end + 10, 2), number(bytes, end + 12, 4), number(bytes, end + 16, 4) as usize);
    assert_eq!(at + len as usize, end);
    let mut out = Vec::new();
    for _ in 0..count {
        let field = |from, len| number(bytes, at + from, len);
        assert_eq!(field(0, 4), 0x0201_4b50);
        let (flags, crc, size, name_len) = (field(8, 2), field(16, 4), field(24, 4), field(28, 2) as usize);
        let (extra, mode, local) = (field(30, 2) as usize, field(38, 4) >> 16, field(42, 4) as usize);
        let name = bytes[at + 46..][..name_len].to_vec();
        assert_eq!(number(bytes, local, 4), 0x0403_4b50);
        assert_eq!(number(bytes, local + 6, 2), flags);
        let start = local + 30 + name_len + number(bytes, local + 28, 2) as usize;
        assert_eq!(bytes[local + 30..][..name_len], name);
        let content = bytes[start..][..size as usize].to_vec();
        assert_eq!(u64::from(crc32(&content)), crc, "{}", name.escape_ascii());
        let late = flags & 8 != 0;
        let stated = (number(bytes, local + 14, 4), number(bytes, local + 22, 4));
        assert_eq!(stated, if late { (0, 0) } else { (crc, size) });
        if late {
            let after = start + size as usize;
            let stated = (number(bytes, after, 4), number(bytes, after + 4, 4), number(bytes, after + 12, 4));
            assert_eq!(stated, (0x0807_4b50, crc, size));
        }
        out.push(Zipped { name, mode: mode as u32, utf8: flags & (1 << 11) != 0, content });
        at += 46 + name_len + extra;
    }
    assert_eq!(at, end);
    out
}

/// Bit by bit, as the definition has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn a_zip_archive_holds_files_directories_and_links() {
    let vault = Vault::new();
    let specs = nasty();
    let id = vault.snapshot(&specs);
    let (bytes, report) = written(&vault, id, "/", ArchiveFormat::Zip);
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Refused), "{:?}", report.problems);
    let mut wanted = BTreeMap::new();
    flat(&specs, b"", &mut wanted);
    let fits =
        |spec: &Spec| matches!(spec.node.kind, NodeKind::File | NodeKind::Directory | NodeKind::Symlink);
    let before = wanted.len();
    wanted.retain(|_, spec| fits(spec));
    assert_eq!(report.problem_count, (before - wanted.len()) as u64);
    for entry in entries(&bytes) {
        let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
        let spec = wanted.remove(name).unwrap_or_else(|| panic!("{}", name.escape_ascii()));
        let (kind, content) = match spec.node.kind {
            NodeKind::Directory => (0o040_000, Vec::new()),
            NodeKind::Symlink => (0o120_000, spec.node.link_target().unwrap().to_vec()),
            _ => (0o100_000, spec.bytes()),
        };
        assert_eq!(entry.mode, kind | spec.node.mode);
        assert!(entry.content == content, "{}", name.escape_ascii());
        let is_text = std::str::from_utf8(name).is_ok();
        assert_eq!(entry.utf8, is_text && !name.is_ascii());
    }
    assert!(wanted.is_empty(), "{:?} are missing", wanted.keys().collect::<Vec<_>>());
}

const READER: &str = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    for i in z.infolist():
        print(i.file_size, i.external_attr >> 16, i.filename)
";

/// Writes an archive of these and lets Python read it, which says `size mode name` of each.
fn read_by_python(specs: &[Spec], count: u64, expected: &str) {
    if !can_run("python3") {
        return;
    }
    let vault = Vault::new();
    let snapshot = vault.snapshot(specs);
    // Where it does not take memory.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.zip");
    let options =
        ArchiveOptions { snapshot, path: b"/".to_vec(), format: ArchiveFormat::Zip, salvage: false };
    let mut out = fs::File::create(&path).unwrap();
    let report = dump::archive(&vault.repo, &options, &mut out, &Silent).unwrap();
    assert_eq!(report.files + report.directories, count);
    let read = Command::new("python3").args(["-c", READER]).arg(&path).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let said = String::from_utf8(read.stdout).unwrap();
    assert_eq!(said.lines().count() as u64, count);
    assert!(said.lines().any(|line| line == expected), "{}", said.lines().last().unwrap());
}

/// More than 65,534 entries need fields of 64 bits.
#[test]
fn python_reads_a_zip_archive_of_many_entries() {
    let many = (0..66_000).map(|n| file(format!("{n}").as_bytes(), b"")).collect();
    let late = file(b"late", &noise(1, 9 << 20)).chunked(1 << 20);
    let specs = [dir(b"many", many), file("n\u{e4}me".as_bytes(), b"text").mode(0o4755), late];
    read_by_python(&specs, 66_003, "4 35309 n\u{e4}me");
}

/// So do sizes and offsets beyond 4 GiB.
#[test]
#[ignore = "writes 4 GiB"]
fn python_reads_a_zip_archive_of_large_files() {
    let large = |name: &[u8], len| sparse(name, vec![Seg::Hole(len), Seg::Data(b"end".to_vec())]);
    let specs = [large(b"1 large", 9 << 20), large(b"2 larger", 4 << 30), file(b"3 far", b"far")];
    read_by_python(&specs, 3, "4294967299 33188 2 larger");
}

#[test]
fn what_is_lost_is_left_out_and_said() {
    for format in [ArchiveFormat::Tar, ArchiveFormat::Zip] {
        let vault = Vault::new();
        let mut marked = file(b"marked", &noise(1, 100_000));
        marked.node.mark_lost(LostV1 { ranges: vec![(5, 10)], names: 0 });
        let mut specs = vec![marked, file(b"whole", b"whole")];
        specs.push(file(b"small", &noise(2, 200_000)));
        specs.push(file(b"large", &noise(3, 9 << 20)).chunked(1 << 20));
        let id = vault.snapshot(&specs);
        let (bytes, report) = written(&vault, id, "/", format);
        assert_eq!(report.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/marked"]);
        assert_eq!(report.files, 3);
        let whole = bytes.len();
        // Every pack with chunks in turn: what is in the archive is right, all else is named.
        let packs = vault.store.names().into_iter().filter(|n| n.kind == ObjectKind::Pack);
        let (mut lost, mut cut) = (0, 0);
        for pack in packs.collect::<Vec<_>>() {
            for remove in [true, false] {
                let state = vault.store.snapshot_state();
                if remove {
                    vault.store.remove(&pack).unwrap();
                } else {
                    vault.store.tamper(&pack, |bytes| bytes[300] ^= 1);
                }
                for salvage in [false, true] {
                    let options = ArchiveOptions { snapshot: id, path: b"/".to_vec(), format, salvage };
                    let mut out = Vec::new();
                    match dump::archive(&vault.repo, &options, &mut out, &Silent) {
                        Ok(report) => {
                            lost += u64::from(report.problem_count > 1);
                            assert_eq!(report.files, if salvage { 4 } else { 4 - report.problem_count });
                            assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Damaged));
                            assert!(salvage || out.len() <= whole);
                        }
                        // A large file whose damage shows when its header is written; or no tree at all.
                        Err(Error::Missing { .. } | Error::Corrupt { .. }) => {
                            cut += 1;
                            let has_end = match format {
                                ArchiveFormat::Tar => out.len() > 1024 && out.ends_with(&[0; 1024]),
                                ArchiveFormat::Zip => {
                                    out.windows(4).any(|w| w == 0x0605_4b50u32.to_le_bytes())
                                }
                            };
                            assert!(!has_end, "an archive that was cut short has no end");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                vault.store.restore_state(&state);
            }
        }
        assert!(lost > 4 && cut > 0, "{lost} {cut}");
    }
}

#[test]
fn hostile_names_do_not_get_into_an_archive() {
    for name in [&b".."[..], b"a/b", b"../outside", b"/etc"] {
        let vault = Vault::new();
        let id = vault.snapshot(&[dir(b"bad", vec![file(name, b"x")]), file(b"fine", b"fine")]);
        for format in [ArchiveFormat::Tar, ArchiveFormat::Zip] {
            let (bytes, report) = written(&vault, id, "/", format);
            assert_eq!((report.problem_count, report.files), (1, 1));
            assert!(format == ArchiveFormat::Tar || entries(&bytes).len() == 2);
        }
    }
    // What a terminal would act on is data here, and stays what it is.
    let vault = Vault::new();
    let odd = b"\x1b[31m\n";
    let id = vault.snapshot(&[file(odd, b"x")]);
    let (bytes, _) = written(&vault, id, "/", ArchiveFormat::Tar);
    let mut archive = tar::Archive::new(&bytes[..]);
    let path = archive.entries().unwrap().next().unwrap().unwrap().path_bytes().into_owned();
    assert_eq!(OsStr::from_bytes(&path), OsStr::from_bytes(odd));
}
