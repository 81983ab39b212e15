//! Weekly versions of models: what a week costs, wherever the file lies, how high chains grow, and
//! that every week comes back byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ballast::chunk::CutParams;
use ballast::codec::{BlockType, Element, Hint};
use ballast::crypto::kdf;
use ballast::format::content::Entry;
use ballast::format::ledger::{Event, ForgetV1};
use ballast::id::{BlobKind, BlobRef, SessionId, SnapshotId};
use ballast::op::prune::{self, MaxUnused, PruneOptions};
use ballast::op::snapshot::{Named, SnapshotOptions, SnapshotReport};
use ballast::progress::Silent;
use ballast::repo::InitOptions;
use ballast::repo::ledger::Append;
use ballast::repo::reader::Reader;
use ballast::repo::session::{Against, Session};
use support::models::{Tensor, file, header, transformer};
use support::{Place, Seen, assert_same, bytes, look, of, put, tiny, walk_back};

/// Chunks of 64 KiB on average, for models of a few megabytes.
fn middle() -> InitOptions {
    let cut = CutParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10, ..CutParams::default() };
    InitOptions { cut, ..tiny() }
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("models");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

/// A model whose numbers are spread as weights are: signs and low bits at random, few exponents.
fn model(seed: u64) -> Vec<Tensor> {
    sized(seed, (2, 2000))
}

/// The same with so many layers and words.
fn sized(seed: u64, (layers, words): (u64, u64)) -> Vec<Tensor> {
    let mut tensors = transformer(seed, layers, 256, words);
    for data in tensors.iter_mut().map(|t| &mut t.data) {
        for element in data.chunks_exact_mut(2) {
            element[1] = (element[1] & 0x80) | 0x3c | (element[1] & 0x01);
        }
    }
    tensors
}

/// A week of training: every number moves a little.
fn trained(tensors: &[Tensor], week: u64) -> Vec<Tensor> {
    let mut out = tensors.to_vec();
    for (n, tensor) in (0..).zip(&mut out) {
        let noise = bytes(week * 1000 + n, tensor.data.len() / 2);
        for (element, noise) in tensor.data.chunks_exact_mut(2).zip(noise) {
            let step = u16::from(noise % 5).wrapping_sub(2);
            let value = u16::from_le_bytes([element[0], element[1]]).wrapping_add(step);
            element.copy_from_slice(&value.to_le_bytes());
        }
    }
    out
}

fn len(tensors: &[Tensor]) -> u64 {
    tensors.iter().map(|t| t.data.len() as u64).sum()
}

fn taken(place: &Place, options: &SnapshotOptions, top: &Path) -> (SnapshotReport, BTreeMap<PathBuf, Seen>) {
    let report = place.run(options).unwrap();
    assert_eq!(report.problems, []);
    let seen = look(top);
    assert_same(&place.open_bare(), report.snapshot.unwrap(), top, &seen);
    (report, seen)
}

/// The heights of the chunks of one file in a snapshot.
fn heights(place: &Place, id: SnapshotId, path: &Path) -> Vec<u8> {
    let repo = place.open_bare();
    let reader = Reader::open(&repo).unwrap();
    let mut heights = Vec::new();
    walk_back(&reader, repo.snapshot(id).unwrap().record.root, Path::new("/"), &mut |at, node| {
        if at == path {
            for piece in reader.pieces(&node.content)?.0 {
                if let Entry::Chunk { id, len } = piece.entry {
                    let places = reader.places().places(&BlobRef::new(BlobKind::Chunk, id))?;
                    // Small ones share frames, alone.
                    if len >= 64 << 10 {
                        heights.push(places[0].height);
                    }
                }
            }
        }
        Ok(())
    })
    .unwrap();
    assert!(heights.len() > 5, "{}", path.display());
    heights
}

fn forget(place: &Place, ids: &[SnapshotId]) {
    let repo = place.open_bare();
    let mut ledger = repo.ledger(true).unwrap();
    let event = Event::Forget(ForgetV1 { snapshots: ids.to_vec(), reason: "test".into() });
    assert_eq!(ledger.append(&repo, SessionId([7; 16]), &event).unwrap(), Append::Done);
    ids.iter().for_each(|id| ballast::store::Store::remove(&*place.store, &(*id).into()).unwrap());
}

#[test]
fn a_week_costs_what_changed_and_chains_stay_short() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let path = top.join("model.safetensors");
    let mut weeks = model(1);
    let (mut all, mut shares) = (Vec::new(), Vec::new());
    let total = len(&weeks);
    for week in 0..9u64 {
        put(&path, &file(&weeks, "weekly"));
        let (report, seen) = taken(&place, &of(&top), &top);
        let id = report.snapshot.unwrap();
        let heights = heights(&place, id, &path);
        let most = heights.iter().copied().max().unwrap();
        assert!(most <= 3, "week {week}: {heights:?}");
        let share = report.stored_bytes as f64 / total as f64;
        // Where a chain ends, a chunk stands alone again, or against a root that is far away.
        assert!(share < 0.8 && (week > 0 || most == 0), "week {week}: {share}");
        assert!(share < 0.4 || !(1..=3).contains(&week), "week {week}: {share}");
        shares.push(share);
        all.push((id, seen));
        weeks = trained(&weeks, week + 1);
    }
    let mean = shares[1..].iter().sum::<f64>() / (shares.len() - 1) as f64;
    assert!(mean < 0.45, "{shares:?}");
    for (id, seen) in &all {
        assert_same(&place.open_bare(), *id, &top, seen);
    }
    // Bases outlive the snapshots they came with.
    let gone: Vec<SnapshotId> = [0, 1, 2, 5, 6].map(|week: usize| all[week].0).into();
    forget(&place, &gone);
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    for _ in 0..2 {
        prune::run(&place.open(), &options, &Silent).unwrap();
        for (id, seen) in all.iter().filter(|(id, _)| !gone.contains(id)) {
            assert_same(&place.open_bare(), *id, &top, seen);
        }
    }
    put(&path, &file(&weeks, "weekly"));
    taken(&place, &of(&top), &top);
}

/// The same model in a folder of another name, in two files, and with a grown vocabulary.
#[test]
fn kin_is_found_wherever_the_file_lies() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let first = model(2);
    let total = len(&first);
    put(top.join("checkpoint-1000/model.safetensors"), &file(&first, ""));
    taken(&place, &of(&top), &top);

    let second = trained(&first, 1);
    fs::remove_dir_all(top.join("checkpoint-1000")).unwrap();
    put(top.join("checkpoint-2000/model.safetensors"), &file(&second, ""));
    let (report, _) = taken(&place, &of(&top), &top);
    let share = report.stored_bytes as f64 / total as f64;
    assert!(share < 0.4, "another folder: {share}");

    let third = trained(&second, 2);
    fs::remove_dir_all(top.join("checkpoint-2000")).unwrap();
    let (a, b) = third.split_at(third.len() / 2);
    put(top.join("sharded/model-00001-of-00002.safetensors"), &file(b, ""));
    put(top.join("sharded/model-00002-of-00002.safetensors"), &file(a, ""));
    let (report, _) = taken(&place, &of(&top), &top);
    let share = report.stored_bytes as f64 / total as f64;
    assert!(share < 0.4, "in two files: {share}");

    // Another snapshot set altogether, with eight rows more.
    let mut fourth = trained(&third, 3);
    let width = fourth[0].shape[1];
    fourth[0].shape[0] += 8;
    fourth[0].data.extend(bytes(99, usize::try_from(8 * width * 2).unwrap()));
    let elsewhere = top.parent().unwrap().join("elsewhere");
    put(elsewhere.join("m.safetensors"), &file(&fourth, ""));
    let (report, _) = taken(&place, &of(&elsewhere), &elsewhere);
    assert_eq!(report.parent, None);
    let share = report.stored_bytes as f64 / total as f64;
    assert!(share < 0.4, "elsewhere, grown: {share}");
}

/// Two fine-tunes of one base side by side: the nearer one serves. And one can be named.
#[test]
fn of_several_candidates_the_nearest_serves() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let (cats, dogs) = (model(3), model(4));
    let total = len(&cats);
    put(top.join("cats.safetensors"), &file(&cats, ""));
    put(top.join("dogs.safetensors"), &file(&dogs, ""));
    let first = taken(&place, &of(&top), &top).0.snapshot.unwrap();
    for (name, old, week) in [("x", &dogs, 1), ("y", &cats, 2)] {
        put(top.join(name).join("model.safetensors"), &file(&trained(old, week), ""));
        let (report, _) = taken(&place, &of(&top), &top);
        let share = report.stored_bytes as f64 / total as f64;
        assert!(share < 0.4, "{name}: {share}");
    }
    for (base, cheap) in [("/cats.safetensors", true), ("/dogs.safetensors", false)] {
        let place = Place::new(&middle());
        let first = {
            fs::remove_dir_all(&top).unwrap();
            put(top.join("cats.safetensors"), &file(&cats, ""));
            put(top.join("dogs.safetensors"), &file(&dogs, ""));
            taken(&place, &of(&top), &top).0.snapshot.unwrap()
        };
        put(top.join("z.safetensors"), &file(&trained(&cats, 7), ""));
        let path = [top.to_str().unwrap(), base].concat().into_bytes();
        let options = SnapshotOptions { base: Some(Named { snapshot: first, path }), ..of(&top) };
        let (report, _) = taken(&place, &options, &top);
        let share = report.stored_bytes as f64 / total as f64;
        assert_eq!(share < 0.4, cheap, "{base}: {share}");
    }
    let _ = first;
}

/// Two fine-tunes of one base, their vocabularies frozen: the first megabytes tell them not apart, nor do
/// names, types and shapes. Each week comes under a new name.
#[test]
fn of_two_fine_tunes_the_nearer_serves() {
    of_two_fine_tunes((2, 2000), 1..3);
}

/// The same where what is frozen fills the first windows.
#[test]
fn fine_tunes_are_told_apart_behind_the_first_windows() {
    of_two_fine_tunes((20, 33_000), 1..2);
}

fn of_two_fine_tunes(size: (u64, u64), weeks: std::ops::Range<u64>) {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let base = sized(11, size);
    let total = len(&base);
    let frozen = |week: u64, from: &[Tensor]| {
        let mut new = trained(from, week);
        new[0] = base[0].clone();
        new
    };
    // Far enough apart that a difference to the other one is no use.
    let part = |seed: u64| {
        let mut tune = sized(seed, size);
        tune[0] = base[0].clone();
        tune
    };
    let mut tunes = [part(12), part(13)];
    let thawed = total - base[0].data.len() as u64;
    for (name, tune) in ["a", "b"].iter().zip(&tunes) {
        put(top.join(name).join("model.safetensors"), &file(tune, ""));
    }
    taken(&place, &of(&top), &top);
    for week in weeks {
        for n in [1, 0] {
            tunes[n] = frozen(week * 10 + n as u64, &tunes[n]);
            put(top.join(format!("{week}-{n}")).join("model.safetensors"), &file(&tunes[n], ""));
            let (report, _) = taken(&place, &of(&top), &top);
            let share = report.stored_bytes as f64 / thawed as f64;
            assert!(share < 0.45, "week {week} of {n}: {share}");
        }
    }
}

/// A folder of many adapters, all of one make and more than are compared, under other names a week
/// later: each finds its own older self.
#[test]
fn many_adapters_are_told_apart_by_their_names() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let adapter = |n: u64| model(100 + n).into_iter().skip(1).take(4).collect::<Vec<Tensor>>();
    let mut adapters: Vec<Vec<Tensor>> = (0..24).map(adapter).collect();
    let total: u64 = adapters.iter().map(|a| len(a)).sum();
    let write = |run: &str, adapters: &[Vec<Tensor>]| {
        for (n, adapter) in adapters.iter().enumerate() {
            put(top.join(run).join(format!("task-{n}/adapter.safetensors")), &file(adapter, ""));
        }
    };
    write("run-1", &adapters);
    taken(&place, &of(&top), &top);
    fs::remove_dir_all(top.join("run-1")).unwrap();
    for (n, adapter) in (0..).zip(&mut adapters) {
        *adapter = trained(adapter, 50 + n);
    }
    write("run-2", &adapters);
    let (report, _) = taken(&place, &of(&top), &top);
    let share = report.stored_bytes as f64 / total as f64;
    assert!(share < 0.45, "{share}");
}

/// Whatever the numbers are, and however the tensors are shaped.
#[test]
fn odd_values_and_shapes_come_back() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let two: Vec<u8> = (0..=u16::MAX).cycle().take(400_000).flat_map(u16::to_le_bytes).collect();
    let odd = [0x7f80_0000u32, 0xff80_0001, 0x8000_0000, 1, 0xffff_ffff, 0x7fc0_1234, 0x807f_ffff, 0];
    let four: Vec<u8> = (0..200_000usize).flat_map(|n| odd[(n * n / 3) % 8].to_le_bytes()).collect();
    let one = |name: &str, dtype, shape: &[u64], data: &[u8]| Tensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data: data.to_vec(),
    };
    let mut tensors = vec![
        one("all of bf16", "BF16", &[4, 100_000], &two),
        one("none", "F32", &[0, 5], &[]),
        one("all of f16", "F16", &[400_000], &two),
        one("of no size", "BF16", &[3, 0, 7], &[]),
        one("odd f32", "F32", &[200_000], &four),
        one("a number", "F16", &[], &two[..2]),
        one("an odd length", "U8", &[300_001], &two[..300_001]),
        one("eight bytes each", "F64", &[20_000], &two[..160_000]),
        one("tied", "BF16", &[4, 100_000], &two),
        one("none at the end", "I64", &[0], &[]),
    ];
    let path = top.join("m.safetensors");
    let mut all = Vec::new();
    for week in 0..5u16 {
        put(&path, &file(&tensors, ""));
        let (report, seen) = taken(&place, &of(&top), &top);
        all.push((report.snapshot.unwrap(), seen));
        let share = report.stored_bytes as f64 / report.total_bytes as f64;
        assert!(week == 0 || share < 0.3, "week {week}: {share}");
        for tensor in &mut tensors {
            for element in tensor.data.chunks_exact_mut(2).step_by(1 + usize::from(week)) {
                let value = u16::from_le_bytes([element[0], element[1]]).wrapping_add(1 + week);
                element.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    // The header lies from now on, one way and another: bytes like any other, against what they were.
    let good = file(&tensors, "");
    for (from, to) in [("[0,800000]", "[0,800002]"), ("[0,800000]", "[8,800000]"), ("[0,5]", "[1,5]")] {
        let text = std::str::from_utf8(&header(&tensors, "")[8..]).unwrap().to_owned();
        let at = 8 + text.find(from).unwrap_or_else(|| panic!("{from} is not there"));
        let mut lying = good.clone();
        lying[at..at + to.len()].copy_from_slice(to.as_bytes());
        put(&path, &lying);
        let (report, seen) = taken(&place, &of(&top), &top);
        all.push((report.snapshot.unwrap(), seen));
    }
    for (id, seen) in &all {
        assert_same(&place.open_bare(), *id, &top, seen);
    }
}

/// Files of which nothing is known: the same stretch of the same path.
#[test]
fn any_large_file_is_stored_against_its_older_self() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let mut image = bytes(5, 6 << 20);
    put(top.join("disk.img"), &image);
    taken(&place, &of(&top), &top);
    // One byte in every 20,000: no chunk stays what it was.
    for at in (0..image.len()).step_by(20_000) {
        image[at] ^= 1;
    }
    put(top.join("disk.img"), &image);
    let (report, _) = taken(&place, &of(&top), &top);
    let share = report.stored_bytes as f64 / image.len() as f64;
    assert!(share < 0.05, "{share}");
    // Something else altogether under that name: never larger than alone.
    let other = bytes(6, 6 << 20);
    put(top.join("disk.img"), &other);
    let (report, _) = taken(&place, &of(&top), &top);
    assert!(report.stored_bytes < other.len() as u64 * 102 / 100);
}

/// Numbers of eight bits that cluster around zero.
fn numbers(seed: u64, len: usize) -> Vec<u8> {
    bytes(seed, len * 4)
        .chunks_exact(4)
        .map(|c| c.iter().map(|b| b & 63).sum::<u8>().wrapping_sub(126))
        .collect()
}

/// A fifth of the numbers moves by one in a week: zstd with the week before as prefix finds few repetitions
/// in that. So many numbers that what chance does to the cuts, and with them to the padding, is a four hundredth
/// of the first share at most.
#[test]
fn quantised_weeks_are_stored_by_their_numbers() {
    const ROWS: usize = 4000;
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let path = top.join("model.safetensors");
    let mut weeks = vec![Tensor {
        name: "quantised".into(),
        dtype: "I8",
        shape: vec![ROWS as u64, 1500],
        data: numbers(1, ROWS * 1500),
    }];
    let mut all = Vec::new();
    for (week, most) in [(0u64, 0.93), (1, 0.2), (2, 0.2)] {
        put(&path, &file(&weeks, "quantised"));
        let (report, seen) = taken(&place, &of(&top), &top);
        let share = report.stored_bytes as f64 / len(&weeks) as f64;
        assert!(share < most, "week {week}: {share}");
        all.push((report.snapshot.unwrap(), seen));
        for (number, noise) in weeks[0].data.iter_mut().zip(bytes(week + 9, ROWS * 1500)) {
            *number = number.wrapping_add(match noise {
                0..25 => 1,
                25..50 => 255,
                _ => 0,
            });
        }
    }
    for (id, seen) in &all {
        assert_same(&place.open_bare(), *id, &top, seen);
    }
}

/// Alone too, and against others.
#[test]
fn what_a_chunk_is_reaches_the_coder() {
    let place = Place::new(&middle());
    let repo = place.open();
    let mut session = Session::begin(&repo, "test", false, &Silent).unwrap();
    let blocks: Vec<u8> =
        numbers(2, 320_000).chunks(32).flat_map(|n| [&[n[0], 0x2a][..], n].concat()).collect();
    let hint = Hint { element: Element::Blocks(BlockType::Q8_0) };
    let stored = session.store_typed(BlobKind::Chunk, &blocks, hint).unwrap();
    assert!(stored.new);
    let reader = Reader::with_index(&repo, session.index().clone());
    let against = Against { sources: &[], hint, least_gain_percent: 0 };
    let tail = &blocks[34 * 4000..];
    session.store_against(BlobKind::Chunk, tail, &against, &reader).unwrap();
    let mut near = session.neighbours();
    near.store_typed(&blocks[..34 * 6000], hint).unwrap();
    near.finish().unwrap();
    session.store(BlobKind::Chunk, &blocks[..34 * 7000]).unwrap();
    let flushed = session.flush().unwrap();
    let packs = flushed.iter().flat_map(|(_, object)| &object.packs);
    let mut found: Vec<(u32, u8, u8)> =
        packs.flat_map(|p| &p.frames).map(|f| (f.plain_len, f.encoding, f.codec_version)).collect();
    found.sort_unstable();
    let known = |blocks: u32| (34 * blocks, 2, 2);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!([found[0], found[1], found[3]], [known(6000), known(6000), known(10_000)]);
    assert_ne!(found[2].2, 2, "without a word it is not known");
}

/// The figures of the real weeks, each against the one before, in place.
#[test]
#[allow(clippy::print_stdout, reason = "why it is skipped, and the figures")]
fn real_fine_tune_weeks() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/minilm-weeks");
    if !data.join("week0.safetensors").exists() {
        println!("skipped: no real weeks beside the project");
        return;
    }
    for (prefix, limits) in [("week", &[0.672, 0.205, 0.172, 0.172][..]), ("f32-week", &[0.85, 0.605, 0.585])]
    {
        let (_dir, top) = temp();
        let place = Place::new(&InitOptions { kdf: kdf::CHEAP, reserve_bytes: 0, ..InitOptions::default() });
        let path = top.join("model.safetensors");
        let mut all = Vec::new();
        for (week, limit) in limits.iter().enumerate() {
            fs::copy(data.join(format!("{prefix}{week}.safetensors")), &path).unwrap();
            let size = fs::metadata(&path).unwrap().len();
            let (report, seen) = taken(&place, &of(&top), &top);
            let share = report.stored_bytes as f64 / size as f64;
            println!("{prefix}{week}: {share:.4} of {size} bytes stored, asked {limit}");
            // Padding of a run's last packs is counted here: a few per cent of a small file.
            assert!(share < limit * 1.06, "{prefix}{week}: {share}");
            all.push((report.snapshot.unwrap(), seen));
        }
        for (id, seen) in &all {
            assert_same(&place.open_bare(), *id, &top, seen);
        }
    }
}
