//! The golden repository of differences: tensors of every kind of element against one base and
//! against two, text by a prefix, directories and lists, in chains of three.
//!
//! Cut as a snapshot cuts (cutter version 2), and stored by the same [`Session`], from values that stand
//! here.

use std::collections::BTreeMap;

use ballast::chunk::layout;
use ballast::chunk::safetensors::Header;
use ballast::codec::{Element, Hint};
use ballast::id::BlobRef;
use ballast::repo::renew::{OldLists, OldTree};
use ballast::repo::session::{Against, SourceRef};

use super::*;
use crate::models::{Tensor, file as safetensors_file};

/// Snapshots of everything, a week apart.
pub const WEEKS: u64 = 4;

/// What the snapshots before hold.
#[derive(Default)]
pub(super) struct Past {
    /// Trees by path.
    trees: BTreeMap<Vec<u8>, BlobId>,
    /// Contents by path, newest first.
    contents: BTreeMap<Vec<u8>, Vec<Vec<Entry>>>,
}

impl Past {
    /// A file of a week: each chunk against the same stretch of the two versions before.
    pub(super) fn content(
        &mut self,
        builder: &Builder<'_>,
        reader: &Reader,
        path: &[u8],
        bytes: &[u8],
    ) -> Result<Vec<Entry>> {
        let size = bytes.len() as u64;
        let layout = layout::find(bytes, &bytes, size, builder.cutter.params());
        let ends = match &layout {
            Some(model) => builder.cutter.cut_regions_alone(bytes, 0, &model.regions),
            None => builder.cutter.cut_all(bytes),
        };
        let element = layout.map_or(Element::Unknown, |model| element(&model));
        let older = self.contents.entry(path.to_vec()).or_default();
        let (mut entries, mut start) = (Vec::new(), 0);
        for end in ends {
            let piece = &bytes[start..end];
            let sources: Vec<SourceRef> =
                older.iter().take(2).filter_map(|old| stretch(old, start, piece.len())).collect();
            let against = Against { sources: &sources, hint: Hint { element }, least_gain_percent: 0 };
            let stored = builder.session.store_against(BlobKind::Chunk, piece, &against, reader)?;
            entries.push(Entry::Chunk { id: stored.id, len: u32::try_from(piece.len()).unwrap() });
            start = end;
        }
        if older.first() != Some(&entries) {
            older.insert(0, entries.clone());
        }
        builder.session.renew_content(entries, &OldLists::default(), reader)
    }

    /// A file of many chunks that are given: its lists against the lists it had.
    pub(super) fn pieces(
        &mut self,
        builder: &Builder<'_>,
        reader: &Reader,
        path: &[u8],
        pieces: &[Vec<u8>],
    ) -> Result<Vec<Entry>> {
        let chunk = |piece: &Vec<u8>| -> Result<Entry> {
            let id = builder.session.store(BlobKind::Chunk, piece)?.id;
            Ok(Entry::Chunk { id, len: u32::try_from(piece.len()).unwrap() })
        };
        let entries = pieces.iter().map(chunk).collect::<Result<Vec<_>>>()?;
        let older = self.contents.entry(path.to_vec()).or_default();
        let old = older.first().map(|content| OldLists::of(content, reader)).unwrap_or_default();
        let content = builder.session.renew_content(entries, &old, reader)?;
        older.insert(0, content.clone());
        Ok(content)
    }

    /// A directory against what it was.
    pub(super) fn tree(
        &mut self,
        builder: &Builder<'_>,
        reader: &Reader,
        path: &[u8],
        nodes: Vec<Node>,
    ) -> Result<BlobId> {
        let old = OldTree::of(self.trees.get(path).copied());
        let id = builder.session.renew_tree(nodes, &old, reader)?;
        self.trees.insert(path.to_vec(), id);
        Ok(id)
    }
}

/// The chunks that cover a stretch of an old content.
fn stretch(old: &[Entry], offset: usize, len: usize) -> Option<SourceRef> {
    let (mut at, mut first, mut blobs) = (0, None, Vec::new());
    for entry in old {
        let Entry::Chunk { id, len: own } = entry else { return None };
        let end = at + *own as usize;
        if end > offset && at < offset + len {
            first.get_or_insert(at);
            blobs.push(BlobRef::new(BlobKind::Chunk, *id));
        }
        at = end;
    }
    let (from, len) = (offset - first?, len.min(at - offset));
    Some(SourceRef { blobs, offset: u32::try_from(from).unwrap(), len: u32::try_from(len).unwrap() })
}

fn element(model: &layout::Model) -> Element {
    match model.tensors[0].dtype {
        "BF16" => Element::Bf16,
        "F16" => Element::F16,
        "F32" => Element::F32,
        "I16" => Element::Bytes(2),
        _ => Element::Bytes(4),
    }
}

/// A model of one tensor.
fn tensor(name: &[u8], dtype: &'static str, width: usize, data: Vec<u8>) -> Item {
    let shape = vec![(data.len() / width) as u64];
    let bytes = safetensors_file(&[Tensor { name: "weight".into(), dtype, shape, data }], "golden");
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    let seams = header.tensors.into_iter().map(|t| Seam {
        name: t.name.into_bytes().into(),
        dtype: t.dtype.as_bytes().into(),
        shape: t.shape,
        offset: t.offset,
        len: t.len,
    });
    let seams = SeamTableV1 { layout: LAYOUT_SAFETENSORS, seams: seams.collect(), extensions: Vec::new() };
    Item { seams: Some(seams), ..item(name, What::File(vec![Part::Weekly(bytes)])) }
}

fn words2(seed: u64, count: usize, make: impl Fn(u16) -> u16) -> Vec<u16> {
    noise(seed, 2 * count).as_chunks().0.iter().map(|c| make(u16::from_le_bytes(*c))).collect()
}

fn words4(seed: u64, count: usize, make: impl Fn(u32) -> u32) -> Vec<u32> {
    noise(seed, 4 * count).as_chunks().0.iter().map(|c| make(u32::from_le_bytes(*c))).collect()
}

/// Every word moves by up to `most` either way each week, but for blocks that are frozen and a few that
/// are anything: NaN, infinities, −0 among them.
fn moved2(mut words: Vec<u16>, seed: u64, week: u64, most: u16) -> Vec<u8> {
    let odd = [0x7f80, 0xff80, 0x7fc1, 0x8000, 0, 1, 0xffff];
    for step in 1..=week {
        let noise = noise(seed + step, words.len());
        for (i, (word, noise)) in words.iter_mut().zip(noise).enumerate() {
            if i / 256 % 5 == 4 {
                continue;
            }
            let by = u16::from(noise) % (2 * most + 1);
            *word = word.wrapping_add(by).wrapping_sub(most);
            if i % 997 == step as usize {
                *word = odd[i % odd.len()];
            }
        }
    }
    words.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// Every word goes on by about its own step each week.
fn drifted4(words: &[u32], seed: u64, week: u64, bits: u32) -> Vec<u8> {
    let steps = words4(seed, words.len(), |w| w >> (32 - bits));
    let wobble = noise(seed + 10 + week, words.len());
    let word = |i: usize| {
        let drift = steps[i].wrapping_mul(u32::try_from(week).unwrap());
        words[i].wrapping_add(drift).wrapping_add(u32::from(wobble[i] & 3))
    };
    (0..words.len()).flat_map(|i| word(i).to_le_bytes()).collect()
}

fn text(week: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (line, word) in noise(40, 900).into_iter().enumerate() {
        let week = (0..=week).rev().find(|w| line as u64 % 211 == *w && *w > 0).unwrap_or(0);
        writeln!(WriteBytes(&mut out), "line {line}, word {word}, week {week}").unwrap();
    }
    out
}

struct WriteBytes<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for WriteBytes<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What lies in `/srv/golden` in a week.
fn items(week: u64) -> Vec<Item> {
    let bf16 = words2(20, 9_000, |w| (w & 0x81ff) | 0x3c00);
    let f16 = words2(21, 2500, |w| (w & 0x87ff) | 0x2800);
    let i16 = words2(22, 2500, |w| w & 0x3fff);
    let f32 = words4(23, 4500, |w| (w & 0x80ff_ffff) | 0x3c00_0000);
    let i32 = words4(24, 2500, |w| w & 0x00ff_ffff);
    // No header, and the first number begins at the second byte.
    let bare = [vec![7], drifted4(&words4(25, 2500, |w| (w & 0x80ff_ffff) | 0x3c00_0000), 70, week, 11)];
    // Rows come on top: at the end nothing covers them.
    let mut grown = moved2(words2(26, 2500, |w| (w & 0x81ff) | 0x3c00), 80, week, 2);
    grown.extend(noise(90, 500 * usize::try_from(week).unwrap()));
    let many = (0..50u64).map(|i| {
        let turn = if (1..=week).contains(&i) { week } else { 0 };
        file(format!("a file with a name {i:02}").as_bytes(), format!("{i} as of week {turn}"))
    });
    let pieces = (0..100u64).map(|i| noise(if (1..=week).contains(&i) { 900 + i } else { 700 + i }, 50));
    let weekly = |name: &[u8], bytes: Vec<u8>| item(name, What::File(vec![Part::Weekly(bytes)]));
    vec![
        tensor(b"bf16.safetensors", "BF16", 2, moved2(bf16, 30, week, 2)),
        tensor(b"f16.safetensors", "F16", 2, moved2(f16, 40, week, 6)),
        tensor(b"f32.safetensors", "F32", 4, drifted4(&f32, 50, week, 12)),
        tensor(b"grown.safetensors", "BF16", 2, grown),
        tensor(b"i16.safetensors", "I16", 2, moved2(i16, 60, week, 1)),
        tensor(b"i32.safetensors", "I32", 4, drifted4(&i32, 65, week, 9)),
        item(b"long", What::File(vec![Part::Pieces(pieces.collect())])),
        item(b"many", What::Directory(many.collect())),
        weekly(b"numbers.bin", bare.concat()),
        weekly(b"text", text(week)),
    ]
}

/// An empty repository, whose chunks are long enough that snapshots store them as differences.
pub fn init(dir: &Path, seed: u64) -> Result<Repository> {
    let store: Arc<dyn Store> = Arc::new(Serial(LocalStore::new(dir)?));
    let options = InitOptions {
        kdf: kdf::CHEAP,
        label: "first".into(),
        cut: CutParams { version: 2, min: 8 << 10, avg: 16 << 10, max: 32 << 10 },
        data_pack_min_bytes: 16 << 10,
        data_pack_max_bytes: 48 << 10,
        reserve_bytes: 0,
    };
    Repository::init(store, PASSWORDS[0], &options, &open_options(), seeded::surroundings(seed))
}

/// Makes the repository in `dir` and gives the text of `EXPECTED`.
pub fn build(dir: &Path) -> Result<String> {
    let repo = init(dir, 2027)?;
    repo.add_key(PASSWORDS[1], "second", &kdf::CHEAP)?;
    let mut expected = String::from(HEAD);
    let (mut parent, mut past) = (None, Past::default());
    // By itself, so that its numbers have a frame of their own.
    let first = |_: &Builder<'_>| Ok(items(0).into_iter().take(1).collect());
    parent = Some(take(&repo, &mut expected, 1_699_900_000, parent, Some(&mut past), first)?);
    for week in 0..WEEKS {
        let time = 1_700_000_000 + 604_800 * i64::try_from(week).unwrap();
        parent = Some(take(&repo, &mut expected, time, parent, Some(&mut past), |_| Ok(items(week)))?);
    }
    Ok(expected)
}
