//! A source that changes while it is read: bytes flip under the mapping throughout a snapshot, the
//! file is cut short and grows again. Every blob that was stored decodes to its id, the file is marked
//! as not to be trusted, and the next snapshot of a source that rests is right.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ballast::chunk::CutParams;
use ballast::format::tree::{MARK_CHANGED, MARK_RECHECK, Node};
use ballast::id::{BlobKind, BlobRef, ObjectKind, PackId, SnapshotId};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::InitOptions;
use ballast::repo::holdings::Holdings;
use ballast::repo::index;
use ballast::repo::reader::Reader;
use support::world::fast_temp;
use support::{Place, assert_same, bytes, look, of, put, tiny, walk_back};

/// More than is read whole; on a medium it goes through the mapping.
const LEN: u64 = 12 << 20;

/// Every copy of every blob that any index object names, read from its own frame.
fn every_blob_is_what_its_id_says(place: &Place) -> usize {
    let repo = place.open_bare();
    let ledger = repo.ledger(true).unwrap();
    let standing: HashSet<PackId> = index::list_ids(&repo, ObjectKind::Pack).unwrap().into_iter().collect();
    let holdings = Arc::new(Holdings::read(&repo, &ledger, &standing, &Silent).unwrap());
    let reader = Reader::with_places(&repo, holdings.clone());
    let mut blobs = 0;
    for copies in holdings.inventory.distinct() {
        assert_eq!(copies.len(), 1, "nothing is stored twice, so what is read is this copy");
        let row = &holdings.inventory.blobs()[copies[0] as usize];
        let blob = BlobRef::new(BlobKind::from_byte(row.kind).unwrap(), row.id);
        let plain = reader.blob(blob.kind, blob.id).unwrap_or_else(|e| panic!("{blob}: {e}"));
        assert_eq!(repo.blob_id(blob.kind, &plain), blob.id);
        blobs += 1;
    }
    blobs
}

fn node_of(place: &Place, id: SnapshotId, path: &Path) -> Node {
    let repo = place.open_bare();
    let reader = Reader::open(&repo).unwrap();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut found = None;
    let visit = &mut |at: std::path::PathBuf, node: &Node| {
        if at == path {
            found = Some(node.clone());
        }
        Ok(())
    };
    walk_back(&reader, root, Path::new("/"), visit).unwrap();
    found.expect("because the file was there throughout")
}

/// On a medium, where files are mapped (unless the temporary directory is one in memory), and in memory, where they are read.
fn while_changing(change: impl Fn(&File, u64) + Send + Sync + Copy + 'static) {
    ballast::source::install_sigbus_guard().unwrap();
    while_changing_in(&tempfile::tempdir().unwrap(), change);
    while_changing_in(&fast_temp(), change);
}

fn while_changing_in(dir: &tempfile::TempDir, change: impl Fn(&File, u64) + Send + Sync + 'static) {
    let top = dir.path().canonicalize().unwrap();
    let path = top.join("model");
    put(&path, &bytes(1, LEN as usize));
    put(top.join("quiet"), &bytes(2, 50_000));
    let cut = CutParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10, ..CutParams::default() };
    let place = Place::new(&InitOptions { cut, data_pack_max_bytes: 2 << 20, ..tiny() });
    let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let changer = {
        let file = File::options().write(true).open(&path).unwrap();
        let (stop, changes) = (stop.clone(), changes.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                change(&file, changes.fetch_add(1, Ordering::SeqCst));
            }
        })
    };
    // Whether a change falls into the moments in which the file is read is left to chance.
    let (mut rounds, mut marked) = (0, 0);
    while rounds < 3 || (marked == 0 && rounds < 60) {
        rounds += 1;
        let report = snapshot::run(&place.open(), &of(&top), &Silent).unwrap();
        let node = node_of(&place, report.snapshot.unwrap(), &path);
        let is_marked = node.marks & (MARK_RECHECK | MARK_CHANGED) != 0;
        assert!(is_marked || report.problem_count == 0, "{:?}", report.problems);
        marked += report.problem_count;
        every_blob_is_what_its_id_says(&place);
    }
    assert!(marked > 0, "a file that changes under the reader is a problem");
    stop.store(true, Ordering::SeqCst);
    changer.join().unwrap();
    let report = place.take(&top);
    assert_eq!(report.problems, []);
    assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &look(&top));
    assert!(every_blob_is_what_its_id_says(&place) > 3);
}

#[test]
fn bytes_flip_under_the_mapping() {
    while_changing(|file, n| {
        let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LEN;
        file.write_at(&n.to_le_bytes()[..1], at).unwrap();
    });
}

#[test]
fn the_file_is_cut_short_under_the_mapping() {
    while_changing(|file, n| {
        let short = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LEN;
        file.set_len(short).unwrap();
        file.set_len(LEN).unwrap();
        file.write_at(&bytes(n % 50, 9000), short.min(LEN - 9000)).unwrap();
    });
}
