//! The other formats: a tensor is cut alike in all of them, found by the bytes alone, and what is odd costs
//! nothing but its names.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::chunk::layout;
use ballast::chunk::{Ahead, CutParams};
use ballast::format::seams::{LAYOUT_GGUF, LAYOUT_NPY, LAYOUT_SAFETENSORS, LAYOUT_TORCH};
use ballast::format::tree::MARK_INCOMPLETE;
use ballast::id::{BlobId, BlobKind};
use ballast::op::snapshot::{self, Parent, SnapshotOptions};
use ballast::progress::Progress;
use ballast::repo::InitOptions;
use ballast::repo::reader::Reader;
use proptest::prelude::*;
use support::formats::{Pickle, View, archive, gguf, gguf_of, npy, pairs, torch, view, zip};
use support::models::{Tensor, file, tensor, transformer};
use support::{Calls, Place, bytes, of, put, tiny};

use super::super::{chunks, middle, model, node, nodes, set_mtime, table, temp, whole};

/// A model of six megabytes: too large to be read whole, and small enough to be stored often.
fn lean() -> Vec<Tensor> {
    transformer(1, 2, 256, 9000)
}

/// Blocks of a quantised type.
fn blocks(name: &str, dtype: &'static str, elements: u64, block: usize, rows: u64) -> Tensor {
    let data = bytes(rows, usize::try_from(rows).unwrap() * 4 * block);
    Tensor { name: name.into(), dtype, shape: vec![rows, 4 * elements], data }
}

/// The chunks of a tensor, by their ids.
fn ids(place: &Place, node: &ballast::format::tree::Node, name: &str) -> Vec<BlobId> {
    let table = table(place, node).unwrap();
    let seam = table.seams.iter().find(|seam| *seam.name == *name.as_bytes()).unwrap();
    let within = |at: &u64| (seam.offset..seam.offset + seam.len).contains(at);
    chunks(place, node).into_iter().filter(|(at, _)| within(at)).map(|(_, id)| id).collect()
}

#[test]
fn a_tensor_is_cut_alike_in_every_format() {
    let (_dir, top) = temp();
    let all = lean();
    let small = [tensor("a", 1, &[100, 70]), tensor("b.c", 2, &[300]), tensor("none", 3, &[0, 5])];
    // Names that say nothing, or something else.
    put(top.join("blobs/sha256-1"), &file(&all, ""));
    put(top.join("blobs/sha256-2"), &torch(&all));
    put(top.join("blobs/sha256-3.npy"), &gguf(&all, "a model"));
    put(top.join("small.safetensors"), &file(&small, ""));
    put(top.join("small.bin"), &torch(&small));
    put(top.join("small.gguf"), &gguf(&small, ""));
    put(top.join("array.npy"), &npy("<u2", &[100, 70], &small[0].data));
    for options in [middle(), tiny(), InitOptions { cut: CutParams::default(), ..tiny() }] {
        let place = Place::new(&options);
        let report = whole(&place, &top);
        let found = |name: &str| node(&place, &report, &top.join(name));
        for (tensors, first, others) in [
            (&all[..], "blobs/sha256-1", ["blobs/sha256-2", "blobs/sha256-3.npy"]),
            (&small[..], "small.safetensors", ["small.bin", "small.gguf"]),
        ] {
            let first = found(first);
            assert_eq!(table(&place, &first).unwrap().layout, LAYOUT_SAFETENSORS);
            for (name, layout) in others.into_iter().zip([LAYOUT_TORCH, LAYOUT_GGUF]) {
                let node = found(name);
                let table = table(&place, &node).unwrap();
                assert_eq!((table.layout, table.seams.len()), (layout, tensors.len()), "{name}");
                for t in tensors {
                    let seam = table.seams.iter().find(|seam| *seam.name == *t.name.as_bytes()).unwrap();
                    assert_eq!((&*seam.dtype, &seam.shape), (&b"BF16"[..], &t.shape), "{name}, {}", t.name);
                    if layout == LAYOUT_GGUF || t.data.len() >= 512 {
                        let same = ids(&place, &node, &t.name) == ids(&place, &first, &t.name);
                        assert!(same, "{name}, {}", t.name);
                    }
                }
            }
        }
        let array = found("array.npy");
        let seam = &table(&place, &array).unwrap();
        assert_eq!((seam.layout, &seam.seams[0].shape[..]), (LAYOUT_NPY, &[100, 70][..]));
        assert_eq!(ids(&place, &array, "array"), ids(&place, &found("small.bin"), "a"));
    }
}

#[test]
fn one_model_in_another_format_costs_nothing_new() {
    let all = lean();
    let mut turned = all.clone();
    turned.reverse();
    let total: usize = all.iter().map(|t| t.data.len()).sum();
    let forms = [file(&all, ""), torch(&all), gguf(&all, "a"), gguf(&turned, "another"), torch(&turned)];
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    for (n, content) in forms.iter().enumerate() {
        put(top.join(n.to_string()), content);
        let report = whole(&place, &top);
        let share = report.new_bytes as f64 / total as f64;
        assert!(n == 0 || share <= 0.002, "{n}: {share}");
    }
}

/// What a model that was stored as safetensors becomes in a week, is the difference to it in an archive, too.
#[test]
fn bases_are_found_across_formats() {
    let spread = |mut tensors: Vec<Tensor>, step: u8| {
        for data in tensors.iter_mut().map(|t| &mut t.data) {
            for element in data.chunks_exact_mut(2) {
                element[1] = (element[1] & 0x80) | 0x3c | (element[1] & 0x01);
                element[0] = element[0].saturating_add(element[0] % 3 * step);
            }
        }
        tensors
    };
    let (old, new) = (spread(lean(), 0), spread(lean(), 1));
    let last = new.last().unwrap().clone();
    let cases = [
        ("in an archive", torch(&new)),
        ("in a GGUF file", gguf(&new, "")),
        ("in an array", npy("<u2", &last.shape, &last.data)),
    ];
    let mut shares = Vec::new();
    for (what, content) in cases {
        let (_dir, top) = temp();
        let place = Place::new(&middle());
        put(top.join("old/model.safetensors"), &file(&old, ""));
        whole(&place, &top.join("old"));
        put(top.join("new/model"), &content);
        let report = whole(&place, &top.join("new"));
        shares.push((what, report.stored_bytes as f64 / content.len() as f64));
    }
    assert!(shares[0].1 < 0.5 && shares[1].1 < 0.5 && shares[2].1 > 0.5, "{shares:?}");
    // Under two names, of which the older version does not have the one that comes first.
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    put(top.join("m"), &torch(&old));
    whole(&place, &top);
    let mut views: Vec<_> = (0..).zip(&new).map(|(n, t): (u64, _)| view(t, &n.to_string())).collect();
    views.push(View { name: "a.copy".into(), ..views[0].clone() });
    let storages: Vec<(String, &[u8])> =
        (0..).zip(&new).map(|(n, t): (u64, _)| (format!("data/{n}"), &t.data[..])).collect();
    let pickle = Pickle::new().tensors(&views).finish();
    put(top.join("m"), &archive("archive", &pickle, &storages));
    let report = whole(&place, &top);
    let seams = table(&place, &node(&place, &report, &top.join("m"))).unwrap().seams;
    assert_eq!(seams.len(), new.len() + 1);
    let share = report.stored_bytes as f64 / report.total_bytes as f64;
    assert!(share < 0.5, "{share}");
}

#[test]
fn older_versions_of_the_cutter_see_them_as_bytes() {
    let (_dir, top) = temp();
    put(top.join("torch"), &torch(&lean()));
    put(top.join("gguf"), &gguf(&lean(), ""));
    put(top.join("npy"), &npy("<f4", &[2000], &bytes(1, 8000)));
    for (version, sees) in [(1, false), (2, false), (3, true)] {
        let cut = CutParams { version, ..middle().cut };
        let place = Place::new(&InitOptions { cut, ..middle() });
        let report = whole(&place, &top);
        for name in ["torch", "gguf", "npy"] {
            assert_eq!(node(&place, &report, &top.join(name)).seams.is_some(), sees, "{version}, {name}");
        }
        assert_eq!(whole(&place, &top).files_unchanged, 3);
    }
    assert_eq!(CutParams::default().version, 3, "what new repositories get");
}

#[test]
fn blocks_of_quantised_tensors_stay_whole() {
    let (_dir, top) = temp();
    let tensors = [
        blocks("q8", "Q8_0", 32, 34, 8000),
        blocks("q4", "Q4_K", 256, 144, 2001),
        blocks("q6", "Q6_K", 256, 210, 1501),
        blocks("mx", "MXFP4", 32, 17, 9001),
        // A type of a later day: it reaches to the next.
        Tensor { name: "later".into(), dtype: "?", shape: vec![7], data: bytes(9, 640_000) },
        tensor("plain", 5, &[300_001]),
    ];
    let aligned = [("general.alignment".to_owned(), 4, vec![64, 0, 0, 0])];
    put(top.join("three"), &gguf(&tensors, ""));
    put(top.join("two"), &gguf_of(2, &[&pairs("")[..], &aligned].concat(), &tensors));
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let [three, two] = ["three", "two"].map(|name| node(&place, &report, &top.join(name)));
    let table = table(&place, &three).unwrap();
    for (t, block) in tensors.iter().zip([34, 144, 210, 17, 8, 8]) {
        let seam = table.seams.iter().find(|seam| *seam.name == *t.name.as_bytes()).unwrap();
        assert_eq!(&*seam.dtype, if t.dtype == "?" { b"" } else { t.dtype.as_bytes() });
        assert!(t.dtype == "?" || seam.len == t.data.len() as u64);
        let starts: Vec<u64> = chunks(&place, &three)
            .into_iter()
            .filter_map(|(at, _)| at.checked_sub(seam.offset).filter(|at| *at < seam.len))
            .collect();
        assert!(starts.len() > 3 && starts.iter().all(|at| at % block == 0), "{}: {starts:?}", t.name);
        assert_eq!(ids(&place, &three, &t.name), ids(&place, &two, &t.name), "{}", t.name);
    }
}

/// As `cuts_of_a_model_do_not_depend_on_history`, for formats whose regions are made of seams that lie apart or
/// in one another, and of odd grids.
#[test]
fn cuts_of_other_formats_do_not_depend_on_history() {
    let (_dir, top) = temp();
    let name = top.join("m");
    let q = |rows| blocks("q", "Q8_0", 32, 34, rows);
    let plain = |rows: u64| Tensor { data: bytes(7, 500 * rows as usize), ..tensor("p", 7, &[rows, 250]) };
    let sized = |p, rows| gguf(&[plain(p), q(rows), tensor("end", 3, &[9])], "");
    let packed = |p: u64| torch(&[plain(p), tensor("b", 4, &[600_000]), tensor("end", 3, &[9])]);
    // The same bytes, a seam in another place.
    let all = bytes(8, 6_000_000);
    let split = |at: usize| {
        let of = |name: &str, data: &[u8]| {
            let (dtype, shape, data) = ("U8", vec![data.len() as u64], data.to_vec());
            Tensor { name: name.into(), dtype, shape, data }
        };
        gguf(&[of("a", &all[..at]), of("b", &all[at..])], "")
    };
    let shared = |at: u64| {
        let of = |name: &str, offset, len| View {
            name: name.into(),
            dtype: "U8",
            shape: vec![len],
            key: "0".into(),
            elements: 6_000_000,
            offset,
            stride: None,
        };
        let pickle = Pickle::new().tensors(&[of("a", 0, at), of("b", at, 6_000_000 - at)]).finish();
        archive("m", &pickle, &[("data/0".to_owned(), &all[..])])
    };
    let mut torn = packed(7000);
    torn.truncate(torn.len() - 5);
    let mut unnamed = packed(7000);
    let at = unnamed.windows(8).position(|w| w == b"_rebuild").unwrap();
    unnamed[at] = b'!';
    let cases = [
        ("gguf", sized(7000, 20_000)),
        ("gguf, other sizes", sized(7004, 19_000)),
        (
            "gguf, another type",
            gguf(&[plain(7000), Tensor { dtype: "U8", shape: vec![20_000 * 4 * 34], ..q(20_000) }], ""),
        ),
        ("gguf, a seam", split(3_000_000)),
        ("gguf, a later seam", split(3_100_000)),
        ("torch, a seam", shared(3_000_000)),
        ("torch, a later seam", shared(3_100_000)),
        ("torch", packed(7000)),
        ("torch, other sizes", packed(7016)),
        ("torch, without an end", torn),
        ("torch, without names", unnamed),
        ("safetensors", file(&[plain(7000), tensor("b", 4, &[600_000])], "")),
    ];
    let place = Place::new(&middle());
    let mut time = 1_000_000;
    // There and back: each follows the one before it, and the one behind.
    for (what, content) in cases.iter().chain(cases.iter().rev()) {
        put(&name, content);
        time += 2;
        set_mtime(&name, time);
        let with = whole(&place, &top);
        let bare = Place { store: place.store.clone(), cache: tempfile::tempdir().unwrap() };
        let alone = bare.run(&SnapshotOptions { parent: Parent::None, ..of(&top) }).unwrap();
        let [with, alone] = [with, alone].map(|r| node(&bare, &r, &name));
        assert!(with.content == alone.content && with.seams == alone.seams, "{what}");
        assert_eq!(with.seams.is_none(), what.ends_with("an end"), "{what}");
    }
}

/// Files that are nearly right.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let tensors = [tensor("a", 1, &[1000, 300]), tensor("b", 2, &[7]), tensor("c", 3, &[1_300_000])];
    let (packed, front) = (torch(&tensors), gguf(&tensors, ""));
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, content: Vec<u8>| all.push((what.to_owned(), content));
    let over = |content: &[u8], at: usize, with: &[u8]| {
        let mut out = content.to_vec();
        out[at..at + with.len()].copy_from_slice(with);
        out
    };
    // GGUF: magic, version, counts; then the pairs.
    add("gguf of a later version", over(&front, 4, &[4]));
    add("gguf of the other byte order", over(&front, 4, &[0, 0, 0, 3]));
    for (what, at) in [("tensors", 8), ("pairs", 16), ("key", 24)] {
        add(&format!("gguf, {what} beyond counting"), over(&front, at, &[0xff; 8]));
        add(&format!("gguf, 2^60 {what}"), over(&front, at, &(1_u64 << 60).to_le_bytes()));
    }
    let nested = |depth: usize, count: u64| {
        let inner = [&9_u32.to_le_bytes()[..], &count.to_le_bytes()].concat();
        gguf_of(3, &[("x".into(), 9, inner.repeat(depth))], &tensors)
    };
    add("gguf, arrays of 2^60 arrays", nested(1, 1 << 60));
    add("gguf, arrays in arrays", nested(500_000, 1));
    for alignment in [0_u32, 3, 1 << 31] {
        let key = "general.alignment";
        let content = gguf_of(3, &[(key.into(), 4, vec![32, 0, 0, 0])], &tensors);
        let at = 24 + 8 + key.len() + 4;
        add(&format!("gguf aligned to {alignment}"), over(&content, at, &alignment.to_le_bytes()));
    }
    let twice = [tensors[0].clone(), tensors[0].clone()];
    add("gguf, a name twice", gguf(&twice, ""));
    let uneven = Tensor { name: "q".into(), dtype: "Q8_0", shape: vec![3, 33], data: bytes(1, 600_000) };
    add("gguf, rows of no whole blocks", gguf(&[uneven], ""));
    add("gguf cut short", front[..front.len() - 1].to_vec());
    add(
        "gguf, five dimensions",
        gguf(&[Tensor { shape: vec![1, 1, 1, 1000, 300], ..tensors[0].clone() }], ""),
    );
    add("gguf, no tensors", gguf(&[], "").into_iter().chain(bytes(3, 600_000)).collect());
    add("gguf, a front beyond the limit", {
        let long = [&(17_u64 << 20).to_le_bytes()[..], &vec![b'x'; 17 << 20]].concat();
        gguf_of(3, &[("x".into(), 8, long)], &tensors)
    });
    // An archive: the end, and the directory before it.
    let end = packed.len() - 22;
    let directory = u32::from_le_bytes(packed[end + 16..end + 20].try_into().unwrap()) as usize;
    add("torch, more behind the end", [&packed[..], b"x"].concat());
    add("torch, cut short", packed[..packed.len() - 1].to_vec());
    add("torch, a directory beyond the file", over(&packed, end + 16, &[0xff; 4]));
    add("torch, a directory that is longer", over(&packed, end + 12, &[0xff; 4]));
    add("torch, no entries", over(&packed, end + 10, &[0, 0]));
    add("torch, no directory", over(&packed, directory, b"XX"));
    add("torch, an entry beyond the file", over(&packed, directory + 20, &[0xfe; 8]));
    add("torch, an entry of 2^63", over(&packed, directory + 20, &[0xff; 8]));
    add("torch, an entry over others", over(&packed, directory + 42, &[0xf0, 0xff, 0, 0]));
    add("torch, a name that is long", over(&packed, directory + 28, &[0xff, 0xff]));
    add("torch of the other byte order", {
        let at = packed.windows(6).position(|w| w == b"little").unwrap();
        over(&packed, at, b"bigger")
    });
    add("a zip of something else", zip(&[("a/text".into(), &bytes(4, 600_000))]));
    // An array.
    let array = npy("<u2", &[1000, 300], &tensors[0].data);
    add("npy, longer", [&array[..], b"x"].concat());
    add("npy, of objects", npy("|O", &[1000, 300], &tensors[0].data));
    add("npy, of the other byte order", npy(">u2", &[1000, 300], &tensors[0].data));
    add("npy, 2^64 elements", npy("<u2", &[1 << 32, 1 << 32], &tensors[0].data));
    all
}

#[test]
fn hostile_models_are_bytes_like_any_other() {
    let (_dir, top) = temp();
    let all = hostile();
    let total: usize = all.iter().map(|(_, content)| content.len()).sum();
    for (name, content) in &all {
        put(top.join(name), content);
    }
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    assert!(report.stored_bytes < total as u64 * 101 / 100, "never larger than raw");
    let found = nodes(&place.open(), report.snapshot.unwrap());
    for (name, _) in &all {
        assert_eq!(found[&top.join(name)].seams, None, "{name}");
    }
}

/// Regions cost records: a file that has little else is stored as bytes are.
#[test]
fn many_tiny_tensors_cost_no_more_than_their_bytes() {
    let tensors = |count: u64, len: u64| -> Vec<Tensor> {
        (0..count).map(|n| tensor(format!("{n:x}"), n, &[len])).collect()
    };
    let packed = [("general.alignment".to_owned(), 4, vec![1, 0, 0, 0])];
    let files = [
        ("torch", torch(&tensors(3000, 256))),
        ("gguf", gguf_of(3, &packed, &tensors(20_000, 1))),
        ("gguf of more", gguf_of(3, &packed, &tensors(4000, 300))),
    ];
    for (what, content) in files {
        let (_dir, top) = temp();
        put(top.join("m"), &content);
        let place = Place::new(&middle());
        let report = whole(&place, &top);
        assert!(node(&place, &report, &top.join("m")).seams.is_some(), "{what}");
        let (stored, size) = (report.stored_bytes, content.len() as u64);
        assert!(stored < size + 10_000, "{what}: {stored} of {size}");
    }
}

/// The directory names places beyond those that are stored: seams that are wrong cost nothing but themselves.
#[test]
fn an_archive_that_lies_comes_back() {
    let (_dir, top) = temp();
    let tensors: Vec<Tensor> = (0..40).map(|n| tensor(format!("t{n}"), n, &[40, 1000])).collect();
    let good = torch(&tensors);
    let end = good.len() - 22;
    let directory = u32::from_le_bytes(good[end + 16..end + 20].try_into().unwrap()) as usize;
    let mut lies = good.clone();
    // The second storage is said to begin earlier and be longer.
    let at = good[directory..].windows(14).position(|w| w == b"archive/data/1").unwrap() + directory - 46;
    for field in [20, 24] {
        let len = u32::from_le_bytes(lies[at + field..at + field + 4].try_into().unwrap()) - 4000;
        lies[at + field..at + field + 4].copy_from_slice(&len.to_le_bytes());
    }
    put(top.join("good"), &good);
    put(top.join("lies"), &lies);
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let [good, lies] = ["good", "lies"].map(|name| node(&place, &report, &top.join(name)));
    assert_eq!(table(&place, &good).unwrap().seams.len(), 40);
    let seams = table(&place, &lies).unwrap().seams;
    assert!(seams.iter().any(|seam| *seam.name == *b"data/1"), "its tensor is not that storage's");
    assert!(!seams.iter().any(|seam| *seam.name == *b"t1"));
}

fn mutated(original: &[u8], edits: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut out = original.to_vec();
    for (at, byte) in edits {
        let at = at.index(out.len());
        out[at] = *byte;
    }
    out
}

/// Where 32 bits do not hold a length or a place, and descriptors are longer: by the directory alone, as nothing in
/// between is looked at.
#[test]
fn an_archive_beyond_4_gib() {
    let long = 5_000_000_000_u64;
    let view = |name: &str, key: &str, dtype, elements| View {
        name: name.into(),
        dtype,
        shape: vec![elements],
        key: key.into(),
        elements,
        offset: 0,
        stride: None,
    };
    let pickle = Pickle::new().tensors(&[view("a", "0", "U8", long), view("b", "1", "F32", 1000)]).finish();
    let mut first = zip(&[("m/data.pkl".into(), &pickle)]);
    let directory = |archive: &[u8]| {
        let end = archive.len() - 22;
        u32::from_le_bytes(archive[end + 16..end + 20].try_into().unwrap()) as usize
    };
    let mut tail = first.split_off(directory(&first));
    tail.truncate(tail.len() - 22);
    let header = [first.len() as u64, 0];
    let begin = (header[0] + 64).next_multiple_of(64);
    let header = [header[0], begin + long + 24];
    let second = (header[1] + 64).next_multiple_of(64);
    let at = second + 4000 + 24;
    for (name, len, extra, header) in [
        ("m/data/0", u32::MAX, [long.to_le_bytes(), long.to_le_bytes()].concat(), header[0] as u32),
        ("m/data/1", 4000, header[1].to_le_bytes().to_vec(), u32::MAX),
    ] {
        let (len, extra_len) = (len.to_le_bytes(), (extra.len() as u16).to_le_bytes());
        let lens = [&(name.len() as u16).to_le_bytes()[..], &(extra.len() as u16 + 4).to_le_bytes()].concat();
        tail.extend([&b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0"[..], &len, &len, &lens].concat());
        tail.extend(
            [&[0; 10][..], &header.to_le_bytes(), name.as_bytes(), &[1, 0], &extra_len, &extra].concat(),
        );
    }
    let len = tail.len() as u64;
    let three = 3_u64.to_le_bytes();
    tail.extend([&b"PK\x06\x06\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], &three, &three].concat());
    tail.extend([len.to_le_bytes(), at.to_le_bytes()].concat());
    tail.extend([&b"PK\x06\x07\0\0\0\0"[..], &(at + len).to_le_bytes(), &[1, 0, 0, 0]].concat());
    tail.extend(
        [&b"PK\x05\x06\0\0\0\0\x03\0\x03\0"[..], &(len as u32).to_le_bytes(), &[0xff; 4], &[0, 0]].concat(),
    );
    let size = at + tail.len() as u64;
    let rest = |offset: u64, out: &mut [u8]| {
        let from = usize::try_from(offset.checked_sub(at).expect("nothing before it is asked for")).unwrap();
        let got = out.len().min(tail.len() - from);
        out[..got].copy_from_slice(&tail[from..][..got]);
        got
    };
    let content = Ahead { first: &first, rest: &rest };
    let model = layout::find(&first, &content, size, &CutParams::default()).unwrap();
    let places: Vec<_> = model.tensors.iter().map(|t| (&*t.name, t.offset, t.len)).collect();
    assert_eq!(places, [("a", begin, long), ("b", second, 4000)]);
    assert_eq!(layout::find(&first, &content, size - 1, &CutParams::default()), None);
}

/// The directory was read ahead; by the time the end is stored it is another.
#[test]
fn an_archive_that_changes_while_it_is_read() {
    let (_dir, top) = temp();
    let name = top.join("m");
    let mut content = torch(&model());
    assert!(content.len() > 20 << 20, "more than a window");
    put(&name, &content);
    let place = Place::new(&middle());
    let (path, end) = (name.clone(), content.len() - 3000);
    content[end..].fill(b'!');
    let bad = content[end..].to_vec();
    let once = std::sync::Once::new();
    let calls = Calls::with_hook(move |what, _| {
        if what == "advance" {
            once.call_once(|| {
                File::options().write(true).open(&path).unwrap().write_all_at(&bad, end as u64).unwrap();
            });
        }
    });
    let report = snapshot::run(&place.open(), &of(&top), &calls).unwrap();
    assert_eq!(report.problems.len(), 1, "it is said that it changed");
    let node = node(&place, &report, &name);
    assert!(node.seams.is_some());
    let reader = Reader::open(&place.open()).unwrap();
    let stored = chunks(&place, &node);
    let stored: Vec<u8> =
        stored.iter().flat_map(|(_, id)| reader.blob(BlobKind::Chunk, *id).unwrap().to_vec()).collect();
    assert!(stored == content, "what was read is what is stored");
    // The next run sees no archive, and cuts as a first one would.
    set_mtime(&name, 1_000_000);
    let with = whole(&place, &top);
    let bare = Place { store: place.store.clone(), cache: tempfile::tempdir().unwrap() };
    let alone = bare.run(&SnapshotOptions { parent: Parent::None, ..of(&top) }).unwrap();
    let [with, alone] = [with, alone].map(|r| super::super::node(&bare, &r, &name));
    assert!(with.seams.is_none() && with.content == alone.content);
}

/// Cuts a file short when it is asked for the `at`-th time whether to stop.
struct Shortening {
    file: File,
    asked: AtomicU64,
    at: u64,
}

impl Progress for Shortening {
    fn stop_requested(&self) -> bool {
        if self.asked.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.file.set_len(SHORT_BYTES).unwrap();
        }
        false
    }
}

/// More than the first window, less than what tells how a model of this format is laid out.
const SHORT_BYTES: u64 = 6 << 20;

/// Where no longer window can be read, what the first one held is stored.
#[test]
fn a_model_that_cannot_be_read_beyond_its_first_window() {
    let (_dir, top) = temp();
    let name = top.join("m");
    let content = gguf(&model(), "");
    assert!(content.len() > 20 << 20, "more than any window");
    let (mut torn, mut whole) = (0, 0);
    for at in 1.. {
        put(&name, &content);
        let place = Place::new(&middle());
        let file = File::options().write(true).open(&name).unwrap();
        let shortening = Shortening { file, at, asked: AtomicU64::default() };
        let options = SnapshotOptions { threads: 2, ..of(&top) };
        let report = snapshot::run(&place.open(), &options, &shortening).unwrap();
        let node = node(&place, &report, &name);
        let reader = Reader::open(&place.open()).unwrap();
        let stored = chunks(&place, &node);
        let stored: Vec<u8> =
            stored.iter().flat_map(|(_, id)| reader.blob(BlobKind::Chunk, *id).unwrap().to_vec()).collect();
        assert!(content.starts_with(&stored), "{at}");
        assert!(
            stored.len() >= 4 << 20 && [SHORT_BYTES, content.len() as u64].contains(&node.size),
            "{at}: {} bytes",
            stored.len()
        );
        let is_torn = node.marks & MARK_INCOMPLETE != 0;
        assert_eq!(is_torn, (stored.len() as u64) < node.size, "{at}");
        torn += u64::from(is_torn);
        whole += u64::from(stored.len() == content.len());
        if shortening.asked.load(Ordering::SeqCst) < at {
            break;
        }
    }
    assert!(torn > 0 && whole > 0, "{torn} torn, {whole} whole");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Regions tile whatever is found, and follow from the seams alone; see `support::fuzz`.
    #[test]
    fn any_model_is_laid_out_whole(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        lens in prop::collection::vec(0..3000_u64, 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let tensors: Vec<Tensor> =
            (0..).zip(&lens).map(|(n, len): (u64, _)| tensor(n.to_string(), n, &[*len])).collect();
        let array = npy("<u2", &tensors[0].shape, &tensors[0].data);
        let kinds = [("torch", torch(&tensors)), ("gguf", gguf(&tensors, "x")), ("npy", array)];
        for (name, content) in kinds {
            let body = support::fuzz::body(name);
            prop_assert!(body(&content), "{}", name);
            let bad = mutated(&content, &edits);
            body(&bad);
            body(&bad[..cut.index(bad.len())]);
        }
    }
}
