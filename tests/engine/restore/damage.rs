//! A lost or damaged blob costs the files that need it, and says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ballast::error::{Error, ProblemKind};
use ballast::id::{ObjectKind, ObjectName};
use ballast::op::{dump, restore};
use ballast::progress::Silent;
use ballast::store::Store;

use crate::build::*;

fn files() -> Vec<Spec> {
    let mut specs: Vec<_> =
        (0..40).map(|n| file(format!("f{n:02}").as_bytes(), &noise(n, 150_000))).collect();
    specs.extend((40..44).map(|n| file(format!("f{n}").as_bytes(), &noise(n, 9 << 20)).chunked(1 << 20)));
    specs.push(file(b"inline", b"needs no pack"));
    specs
}

/// Packs that hold chunks, so that all trees stay readable.
fn data_packs(vault: &Vault) -> Vec<ObjectName> {
    let packs: Vec<_> = vault.store.names().into_iter().filter(|n| n.kind == ObjectKind::Pack).collect();
    let is_data = |name: &&ObjectName| {
        let trial = vault.store.snapshot_state();
        vault.store.remove(name).unwrap();
        let ledger = vault.repo.ledger(false).unwrap();
        let (snapshots, _) = vault.repo.snapshots(&ledger, &Default::default()).unwrap();
        let readable = snapshots
            .iter()
            .all(|s| ballast::op::ls::run(&vault.repo, s.id, None, true, &mut |_| Ok(())).is_ok());
        vault.store.restore_state(&trial);
        readable
    };
    packs.iter().filter(is_data).cloned().collect()
}

/// Every file is either right or named by a Problem and not there; no temporary file is left.
fn check(specs: &[Spec], target: &Path, report: &restore::RestoreReport) {
    let named: BTreeSet<_> = report.problems.iter().map(|p| p.path.clone()).collect();
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Damaged), "{:?}", report.problems);
    assert_eq!(named.len() as u64, report.problem_count);
    let mut there = 0;
    for spec in specs {
        let name = std::str::from_utf8(&spec.node.name).unwrap();
        let path = target.join(name);
        if named.contains(&format!("/{name}")) {
            assert!(!path.exists(), "{name} is damaged and there");
        } else {
            assert!(fs::read(&path).unwrap() == spec.bytes(), "{name}");
            there += 1;
        }
    }
    assert_eq!(fs::read_dir(target).unwrap().count(), there);
    assert!(there > 0 && there < specs.len(), "{there} of {}", specs.len());
}

#[test]
fn a_lost_pack_costs_its_files() {
    let vault = Vault::new();
    let specs = files();
    let id = vault.snapshot(&specs);
    let packs = data_packs(&vault);
    assert!(packs.len() > 4);
    vault.store.remove(&packs[1]).unwrap();
    let (_keep, target) = place();
    let report = vault.restore(&to(id, &target));
    check(&specs, &target, &report);
}

#[test]
fn a_flipped_bit_costs_its_files() {
    let vault = Vault::new();
    let specs = files();
    let id = vault.snapshot(&specs);
    for pack in data_packs(&vault).iter().take(3) {
        let whole = vault.store.snapshot_state();
        assert!(vault.store.tamper(pack, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }));
        let (_keep, target) = place();
        let report = vault.restore(&to(id, &target));
        check(&specs, &target, &report);
        let lost = report.problems[0].path.as_bytes();
        let mut out = Vec::new();
        let dumped = dump::run(&vault.repo, id, lost, &mut out, &Silent);
        assert!(matches!(dumped, Err(Error::Missing { .. })));
        let whole_file = specs.iter().find(|s| s.node.name[..] == lost[1..]).unwrap().bytes();
        assert!(whole_file.starts_with(&out), "only what was verified left");
        vault.store.restore_state(&whole);
    }
}

#[test]
fn what_is_there_is_not_lost_to_damage() {
    let vault = Vault::new();
    let specs = files();
    let id = vault.snapshot(&specs);
    let (_keep, target) = place();
    vault.restore(&to(id, &target));
    let old = noise(99, 150_000);
    fs::write(target.join("f00"), &old).unwrap();
    for pack in data_packs(&vault) {
        vault.store.remove(&pack).unwrap();
    }
    let report = vault.restore(&to(id, &target));
    assert_eq!(report.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/f00"]);
    assert_eq!(report.files_skipped as usize, specs.len() - 1, "the others are right as they are");
    assert_eq!(fs::read(target.join("f00")).unwrap(), old, "a damaged file replaces nothing");
}

#[test]
fn a_lost_tree_costs_its_directory() {
    let vault = Vault::new();
    let id = vault.snapshot_by(|session| {
        use ballast::format::content::Entry;
        let mut lost = dir(b"lost", Vec::new()).node;
        lost.content = vec![Entry::Tree { id: ballast::id::BlobId([7; 32]) }];
        let mut fine = file(b"small", b"").node;
        fine.content = vec![Entry::Inline { bytes: b"fine"[..].into() }];
        session.store_tree(vec![lost, fine]).unwrap()
    });
    let (_keep, target) = place();
    let report = vault.restore(&to(id, &target));
    assert_eq!(
        report.problems.iter().map(|p| (p.path.as_str(), p.kind)).collect::<Vec<_>>(),
        [("/lost", ProblemKind::Damaged)]
    );
    assert_eq!(fs::read(target.join("small")).unwrap(), b"fine");
    let dry = restore::RestoreOptions { dry_run: true, ..to(id, &target) };
    assert_eq!(vault.restore(&dry).problem_count, 1);
}

#[test]
fn content_that_does_not_fit_together_is_damage() {
    use ballast::format::content::Entry;
    use ballast::id::BlobKind;
    let vault = Vault::new();
    let id = vault.snapshot_by(|session| {
        let chunk = session.store(BlobKind::Chunk, &noise(1, 1000)).unwrap().id;
        let hole = |len| Entry::Hole { len };
        let contents: [(&str, Vec<Entry>); 5] = [
            ("chunk of another length", vec![Entry::Chunk { id: chunk, len: 999 }]),
            ("huge chunk", vec![Entry::Chunk { id: chunk, len: u32::MAX }]),
            ("longer than any file", vec![hole(i64::MAX as u64), hole(1)]),
            ("no list", vec![Entry::List { id: chunk, len: 5 }]),
            ("right", vec![Entry::Chunk { id: chunk, len: 1000 }]),
        ];
        let node = |(name, content): (&str, Vec<Entry>)| {
            let mut node = file(name.as_bytes(), b"").node;
            node.content = content;
            node
        };
        let mut nodes: Vec<_> = contents.into_iter().map(node).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        session.store_tree(nodes).unwrap()
    });
    let (_keep, target) = place();
    let report = vault.restore(&to(id, &target));
    assert_eq!((report.problem_count, report.files), (4, 1));
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Damaged), "{:?}", report.problems);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    assert!(fs::read(target.join("right")).unwrap() == noise(1, 1000));
}
