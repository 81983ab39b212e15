//! What was stored comes back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ballast::error::ProblemKind;
use ballast::format::content::{INLINE_ENTRIES, LIST_MIN};
use ballast::format::tree::{MARK_CHANGED, MARK_INCOMPLETE, NodeKind};

use crate::build::*;
use crate::compare::{same, touched};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everything that names, contents and metadata can be.
pub fn nasty() -> Vec<Spec> {
    let mut odd = vec![
        file(b"new\nline", b"short"),
        file(b"-rf", b""),
        file(b"\xff\xfe not utf-8", &noise(1, 100)),
        file(&[b'n'; 255], &noise(2, 70_000)),
        file(b".ballast-restore.0123456789abcdef", b"left in the source"),
        file(b" ", b"blank"),
        dir(b"empty", Vec::new()),
        dir(&[b'd'; 255], vec![file(b"x", b"y")]),
    ];
    odd.extend((0..300).map(|n| file(format!("many-{n:03}").as_bytes(), &noise(n, n as usize * 11))));
    let big = noise(7, 20 << 20);
    let lists = noise(8, 100 * (LIST_MIN + 3 * INLINE_ENTRIES) * 64);
    let contents = vec![
        file(b"empty", b""),
        file(b"inline", b"forty bytes at most"),
        file(b"one chunk", &noise(3, 90_000)),
        file(b"big", &big).chunked(1 << 20),
        file(b"nested lists", &lists).chunked(100),
        file(b"same chunk", &[7; 3 << 20]).chunked(1 << 16),
        file(b"zeros", &[0; 9 << 20]).chunked(1 << 20),
        sparse(b"hole first", vec![Seg::Hole(5 << 20), Seg::Data(noise(4, 1000))]),
        sparse(
            b"hole middle",
            vec![Seg::Data(noise(5, 1 << 20)), Seg::Hole(9 << 20), Seg::Data(noise(6, 7))],
        ),
        sparse(b"hole last", vec![Seg::Data(noise(5, 100)), Seg::Hole(3 << 20)]),
        sparse(b"only hole", vec![Seg::Hole(12 << 20)]),
        sparse(b"odd holes", vec![Seg::Hole(1), Seg::Data(noise(9, 50)), Seg::Hole(4097)]),
    ];
    let metadata = vec![
        file(b"0000", b"closed").mode(0),
        file(b"4755", b"set uid").mode(0o4755),
        file(b"2711", &noise(10, 50)).mode(0o2711),
        dir(b"closed dir", vec![file(b"inside", b"x").mode(0o400)]).mode(0),
        dir(b"sticky", Vec::new()).mode(0o1777),
        dir(b"set gid", vec![file(b"in it", b"x")]).mode(0o2755),
        file(b"before 1970", b"x").mtime(-123_456, 999_999_999),
        file(b"epoch", b"x").mtime(0, 0),
        file(b"far", b"x").mtime(4_000_000_000, 1),
        dir(b"old dir", vec![file(b"in it", b"x")]).mtime(-1, 1),
        link(b"old link", b"x").mtime(5, 5),
        file(b"attribute", b"x").xattr("user.ballast", b"\0value").mode(0o400),
        dir(b"attribute dir", vec![file(b"in it", b"x")]).xattr("user.ballast", b"v"),
    ];
    let mut kinds = vec![
        link(b"dangling", b"no/where"),
        link(b"absolute", b"/etc/passwd"),
        link(b"up", b"../../../../.."),
        link(b"long", &[b'l'; 3000]),
        other(b"pipe", NodeKind::Fifo),
        other(b"socket", NodeKind::Socket),
        file(b"hard 1", &noise(11, 5000)).hard(77, 3),
        file(b"hard 2", &noise(11, 5000)).hard(77, 3),
        file(b"hard big 1", &noise(12, 9 << 20)).hard(78, 2),
    ];
    let elsewhere = dir(
        b"links",
        vec![
            file(b"hard 3", &noise(11, 5000)).hard(77, 3),
            file(b"hard big 2", &noise(12, 9 << 20)).hard(78, 2),
        ],
    )
    .mode(0o500);
    if is_root() {
        kinds.push(other(b"null", NodeKind::CharDevice));
        kinds.last_mut().unwrap().node.rdev = rustix::fs::makedev(1, 3);
        kinds.push(file(b"given", b"x").owner(12345, 54321).mode(0o6755));
        kinds.push(link(b"given link", b"x").owner(12345, 54321));
        kinds.push(dir(b"given dir", vec![other(b"p", NodeKind::Fifo).owner(1, 2)]).owner(12345, 54321));
    }
    let mut deep = dir(b"bottom", vec![file(b"x", b"deep")]);
    for _ in 0..100 {
        deep = dir(b"d", vec![deep]);
    }
    vec![
        dir(b"odd", odd),
        dir(b"contents", contents),
        dir(b"metadata", metadata),
        dir(b"kinds", kinds),
        elsewhere,
        deep,
    ]
}

#[test]
fn a_nasty_tree_comes_back_with_any_number_of_threads() {
    let vault = Vault::new();
    let specs = nasty();
    let id = vault.snapshot(&specs);
    for threads in [1, 2, 5] {
        let (_keep, target) = place();
        let report = vault.restore(&ballast::op::restore::RestoreOptions { threads, ..to(id, &target) });
        assert_eq!(report.problems, []);
        assert_eq!((report.files_skipped, report.bytes_resumed), (0, 0));
        same(&specs, &target);
    }
}

#[test]
fn over_an_identical_tree_nothing_is_written() {
    let vault = Vault::new();
    let specs = nasty();
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let first = vault.restore(&to(id, &target));
    let before = touched(&target);
    let again = vault.restore(&to(id, &target));
    assert_eq!(again.problems, []);
    assert_eq!((again.files, again.bytes, again.others), (0, 0, 0));
    assert_eq!(again.files_skipped, first.files + first.others);
    assert_eq!(touched(&target), before);
}

#[test]
fn size_and_time_prove_nothing() {
    let vault = Vault::new();
    let specs = vec![file(b"small", &noise(1, 5000)), file(b"large", &noise(2, 9 << 20)).chunked(1 << 20)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    vault.restore(&to(id, &target));
    for name in ["small", "large"] {
        let path = target.join(name);
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        fs::File::options().append(true).open(&path).unwrap().set_modified(times).unwrap();
    }
    let report = vault.restore(&to(id, &target));
    assert_eq!((report.files, report.files_skipped), (2, 0));
    same(&specs, &target);
}

#[test]
fn right_content_with_wrong_metadata_is_only_touched_up() {
    let vault = Vault::new();
    let specs = vec![file(b"f", &noise(1, 5000)).mode(0o640).mtime(7, 7), link(b"l", b"t").mtime(8, 8)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    fs::write(target.join("f"), noise(1, 5000)).unwrap();
    std::os::unix::fs::symlink("t", target.join("l")).unwrap();
    let inode = fs::metadata(target.join("f")).unwrap().ino();
    let report = vault.restore(&to(id, &target));
    assert_eq!((report.files, report.files_skipped, report.bytes), (0, 2, 0));
    assert_eq!(fs::metadata(target.join("f")).unwrap().ino(), inode);
    same(&specs, &target);
}

#[test]
fn what_was_marked_is_restored_and_said() {
    let vault = Vault::new();
    let mut torn = file(b"torn", b"half");
    torn.node.marks = MARK_CHANGED;
    let mut part = file(b"part", &noise(1, 9 << 20));
    part.node.marks = MARK_INCOMPLETE;
    let specs = vec![torn, part];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    let report = vault.restore(&to(id, &target));
    let mut said: Vec<_> = report.problems.iter().map(|p| (p.path.as_str(), p.kind)).collect();
    said.sort_by_key(|(path, _)| *path);
    assert_eq!(said, [("/part", ProblemKind::Unreadable), ("/torn", ProblemKind::Changed)]);
    same(&specs, &target);
}

#[test]
fn a_new_target_is_private_and_an_old_one_is_left_alone() {
    let vault = Vault::new();
    let id = vault.snapshot(&[file(b"f", b"x")]);
    let (_keep, place) = place();
    let target = place.join("not/yet");
    vault.restore(&to(id, &target));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o751)).unwrap();
    vault.restore(&to(id, &target));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o751);
}

#[test]
fn names_of_one_file_that_changed_between_are_two_files() {
    let vault = Vault::new();
    let specs = vec![file(b"a", b"one").hard(5, 2), file(b"b", b"two").hard(5, 2)];
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    assert_eq!(vault.restore(&to(id, &target)).problems, []);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"one");
    assert_eq!(fs::read(target.join("b")).unwrap(), b"two");
}

/// What is made in a directory that gives its own group away is given back to the one recorded.
#[test]
fn groups_are_the_recorded_ones_below_a_directory_that_gives_its_own() {
    if !is_root() {
        return;
    }
    let vault = Vault::new();
    let below = dir(b"below", vec![file(b"x", b"x"), file(b"given", b"x").owner(12, 34)]);
    let specs = vec![dir(b"d", vec![file(b"f", b"x"), below, dir(b"empty", Vec::new())]), file(b"top", b"x")];
    let id = vault.snapshot(&specs);
    for (group, mode) in [(4321, 0o2755), (0, 0o755)] {
        let (_keep, target) = place();
        std::os::unix::fs::chown(&target, None, Some(group)).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        let report = vault.restore(&to(id, &target));
        assert_eq!(report.problems, []);
        let owner = |name: &str| fs::metadata(target.join(name)).map(|m| (m.uid(), m.gid())).unwrap();
        for name in ["top", "d", "d/f", "d/empty", "d/below", "d/below/x"] {
            assert_eq!(owner(name), (0, 0), "{name}");
        }
        assert_eq!(owner("d/below/given"), (12, 34));
    }
}

/// Run again by the test below, as somebody.
#[test]
#[ignore = "runs as another user, from the test below"]
fn as_somebody() {
    let Some(place) = std::env::var_os("BALLAST_TEST_PLACE") else { return };
    assert!(!is_root());
    let target = std::path::PathBuf::from(place).join("out");
    let vault = Vault::new();
    let mut null = other(b"null", NodeKind::CharDevice);
    null.node.rdev = rustix::fs::makedev(1, 3);
    let specs = vec![
        dir(b"closed", vec![file(b"f", b"x").mode(0)]).mode(0),
        file(b"rooted", b"x").owner(0, 0).mode(0o6755),
        file(b"mine", b"x").mode(0o4755),
        link(b"l", b"x").owner(0, 0),
        null,
    ];
    let id = vault.snapshot(&specs);
    for _ in 0..2 {
        let report = vault.restore(&to(id, &target));
        assert!(report.ownership_skipped);
        let said: Vec<_> = report.problems.iter().map(|p| (p.path.as_str(), p.kind)).collect();
        assert_eq!(said, [("/null", ProblemKind::Refused)]);
        let mode = |n: &str| fs::metadata(target.join(n)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("closed"), mode("rooted"), mode("mine")), (0, 0o755, 0o4755));
    }
}

#[test]
fn without_root_owners_are_skipped_and_said_once() {
    if !is_root() {
        return;
    }
    let (_keep, place) = place();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let copy = place.join("test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    std::os::unix::process::CommandExt::uid(&mut command, 65534).env("BALLAST_TEST_PLACE", &place);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    let out = command.args(["--exact", "roundtrip::as_somebody", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
}
