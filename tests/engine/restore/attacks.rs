//! Whatever was planted in the target, and whatever a tree says: nothing outside is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ballast::error::ProblemKind;
use ballast::format::tree::NodeKind;
use ballast::op::restore;
use ballast::progress::Silent;

use crate::build::*;
use crate::compare::same;

/// A target, and a directory outside of it that must stay as it is.
struct Field {
    _keep: tempfile::TempDir,
    target: PathBuf,
    outside: PathBuf,
}

impl Field {
    fn new() -> Self {
        let (keep, place) = place();
        let (target, outside) = (place.join("target"), place.join("outside"));
        fs::create_dir(&target).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "precious").unwrap();
        fs::set_permissions(outside.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { _keep: keep, target, outside }
    }

    fn check_outside(&self) {
        assert_eq!(fs::read_dir(&self.outside).unwrap().count(), 1, "something was put outside");
        assert_eq!(fs::read(self.outside.join("victim")).unwrap(), b"precious");
        let meta = fs::metadata(self.outside.join("victim")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw());
        assert!(meta.mtime() > 1_700_000_000, "its time was set");
    }
}

/// The temporary name of a file, as found where a restore was stopped: the form is fixed.
fn temp_of(name: &[u8]) -> String {
    format!(".ballast-restore.{}", &blake3::hash(name).to_hex()[..32])
}

#[test]
fn a_link_where_a_directory_must_be_is_not_followed() {
    let vault = Vault::new();
    let id = vault.snapshot(&[
        dir(b"d", vec![file(b"victim", b"changed"), dir(b"sub", vec![file(b"x", b"x")])]).mode(0o711),
        file(b"f", b"fine"),
    ]);
    let field = Field::new();
    symlink(&field.outside, field.target.join("d")).unwrap();
    let report = vault.restore(&to(id, &field.target));
    let said: Vec<_> = report.problems.iter().map(|p| (p.path.as_str(), p.kind)).collect();
    assert_eq!(said, [("/d", ProblemKind::Refused)]);
    assert_eq!(fs::read(field.target.join("f")).unwrap(), b"fine");
    assert!(field.target.join("d").is_symlink());
    field.check_outside();
    // The target itself is the user's word.
    let through = field.target.join("through");
    let real = field.target.join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, &through).unwrap();
    assert_eq!(vault.restore(&to(id, &through)).problem_count, 0);
    assert!(real.join("d/sub/x").exists());
}

#[test]
fn a_link_where_a_file_must_be_is_replaced_not_written_through() {
    let vault = Vault::new();
    let specs = vec![
        file(b"small", b"precious"),
        file(b"large", &noise(1, 9 << 20)),
        other(b"pipe", NodeKind::Fifo),
        link(b"link", b"elsewhere"),
        file(b"linked 1", b"x").hard(3, 2),
        file(b"linked 2", b"x").hard(3, 2),
    ];
    let id = vault.snapshot(&specs);
    let field = Field::new();
    for spec in &specs {
        let name = std::str::from_utf8(&spec.node.name).unwrap();
        symlink(field.outside.join("victim"), field.target.join(name)).unwrap();
    }
    assert_eq!(vault.restore(&to(id, &field.target)).problems, []);
    same(&specs, &field.target);
    field.check_outside();
}

#[test]
fn a_hard_link_to_another_file_is_replaced_even_if_its_content_is_right() {
    let vault = Vault::new();
    let specs = vec![file(b"f", b"precious").mode(0o644)];
    let id = vault.snapshot(&specs);
    let field = Field::new();
    fs::hard_link(field.outside.join("victim"), field.target.join("f")).unwrap();
    assert_eq!(vault.restore(&to(id, &field.target)).files, 1);
    same(&specs, &field.target);
    field.check_outside();
}

#[test]
fn whatever_was_planted_under_a_temporary_name_is_not_used() {
    type Plant = fn(&Path, &Field);
    let plants: [(&str, Plant); 6] = [
        ("link to a file", |at, field| symlink(field.outside.join("victim"), at).unwrap()),
        ("dangling link", |at, field| symlink(field.outside.join("new"), at).unwrap()),
        ("hard link", |at, field| fs::hard_link(field.outside.join("victim"), at).unwrap()),
        ("pipe", |at, _| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("empty directory", |at, _| fs::create_dir(at).unwrap()),
        ("file that others may write", |at, _| {
            fs::write(at, "x").unwrap();
            fs::set_permissions(at, fs::Permissions::from_mode(0o666)).unwrap();
        }),
    ];
    let vault = Vault::new();
    let specs = vec![
        file(b"large", &noise(1, 9 << 20)).chunked(1 << 20),
        link(b"link", b"t"),
        file(b"small", b"small"),
    ];
    let id = vault.snapshot(&specs);
    for (what, plant) in plants {
        let field = Field::new();
        // Something stands under the link's name, so that it needs its temporary one.
        fs::write(field.target.join("link"), "old").unwrap();
        for spec in &specs {
            plant(&field.target.join(temp_of(&spec.node.name)), &field);
        }
        assert_eq!(vault.restore(&to(id, &field.target)).problems, [], "{what}");
        same(&specs, &field.target);
        field.check_outside();
    }
    let field = Field::new();
    let full = field.target.join(temp_of(b"small"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "x").unwrap();
    let report = vault.restore(&to(id, &field.target));
    assert_eq!(report.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/small"]);
    assert!(full.join("mine").exists() && !field.target.join("small").exists());
}

#[test]
fn a_snapshot_of_an_interrupted_restore_does_not_write_over_itself() {
    let vault = Vault::new();
    let specs = vec![
        file(temp_of(b"large").as_bytes(), &noise(1, 100)).mode(0o600),
        file(temp_of(b"small").as_bytes(), b"left over").mode(0o600),
        file(b"large", &noise(2, 9 << 20)),
        file(b"small", b"small"),
    ];
    let id = vault.snapshot(&specs);
    let field = Field::new();
    for _ in 0..2 {
        assert_eq!(vault.restore(&to(id, &field.target)).problems, []);
        same(&specs, &field.target);
    }
}

#[test]
fn a_temporary_name_that_changes_hands_meanwhile_is_not_written_through() {
    let vault = Vault::new();
    let id = vault.snapshot(&[file(b"f", b"changed!")]);
    let field = Field::new();
    let temp = field.target.join(temp_of(b"f"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let aside = field.target.join("aside");
            while !over.load(Ordering::Relaxed) {
                fs::write(&aside, "x").unwrap();
                fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
                fs::rename(&aside, &temp).unwrap();
                symlink(field.outside.join("victim"), &aside).unwrap();
                fs::rename(&aside, &temp).unwrap();
            }
        });
        for _ in 0..2000 {
            fs::remove_file(field.target.join("f")).ok();
            // It may fail, since its file is taken away under its hands; it may not do harm.
            restore::run(&vault.repo, &to(id, &field.target), &Silent).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    field.check_outside();
}

#[test]
fn a_directory_swapped_for_a_link_meanwhile_leads_nowhere() {
    let vault = Vault::new();
    let files = (0..200).map(|n| file(format!("f{n}").as_bytes(), &noise(n, 300))).collect();
    let id = vault.snapshot(&[dir(b"d", vec![dir(b"e", files)])]);
    let field = Field::new();
    fs::create_dir_all(field.target.join("d/e")).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (d, aside) = (field.target.join("d"), field.target.join("aside"));
            while !over.load(Ordering::Relaxed) {
                fs::rename(&d, &aside).ok();
                symlink(&field.outside, &d).ok();
                std::thread::yield_now();
                fs::remove_file(&d).ok();
                fs::rename(&aside, &d).ok();
            }
        });
        for _ in 0..30 {
            restore::run(&vault.repo, &to(id, &field.target), &Silent).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    field.check_outside();
}

#[test]
fn hostile_names_are_refused() {
    for name in [&b".."[..], b".", b"", b"a/b", b"../outside/new", b"/etc", b"a\0b"] {
        let vault = Vault::new();
        let bad = dir(b"bad", vec![file(name, b"x"), file(b"good", b"x")]);
        let id = vault.snapshot(&[bad, file(b"fine", b"fine")]);
        let field = Field::new();
        let report = vault.restore(&to(id, &field.target));
        assert_eq!(report.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/bad"]);
        assert_eq!(fs::read(field.target.join("fine")).unwrap(), b"fine");
        assert_eq!(fs::read_dir(field.target.join("bad")).unwrap().count(), 0);
        field.check_outside();
        let vault = Vault::new();
        let id = vault.snapshot(&[dir(name, vec![file(b"x", b"x")])]);
        assert!(restore::run(&vault.repo, &to(id, &field.target), &Silent).is_err(), "at the top");
        field.check_outside();
    }
}

#[test]
fn names_no_file_system_takes_cost_only_themselves() {
    let vault = Vault::new();
    let id = vault.snapshot(&[
        file(&[b'f'; 256], b"x"),
        dir(&[b'd'; 300], vec![file(b"x", b"x")]),
        link(&[b'l'; 256], b"x"),
        file(b"fine", b"fine"),
    ]);
    let field = Field::new();
    let report = vault.restore(&to(id, &field.target));
    assert_eq!(report.problem_count, 3);
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Refused));
    assert_eq!(fs::read_dir(&field.target).unwrap().count(), 1);
}
