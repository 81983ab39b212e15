//! The golden repository of databases: units of 64 KiB, changed ones by grains (codec version 2 of delta), in a
//! chain as high as there are days, with a day on which all pages stand elsewhere and lists are bases.
//!
//! Which grains are copied, replaced, inserted and looked for elsewhere is decided here, so that each
//! way of it occurs; stored by the same [`Session`].

use std::collections::{BTreeMap, HashMap};

use ballast::codec::grains::{self, BaseGrains, Draft, GRAIN_BYTES, NEW};
use ballast::format::content::ListV1;
use ballast::format::frame::Edge;
use ballast::id::BlobRef;
use ballast::repo::frames::ByGrains;
use ballast::repo::session::{Against, SourceRef};

use super::*;

/// Snapshots, a day apart.
pub const DAYS: usize = 6;
/// The day on which every page moves.
const VACUUM: usize = 3;
const UNIT_BYTES: usize = 64 << 10;
/// Units of one list.
const LIST_UNITS: usize = 15;

/// A file as the last snapshot has it.
#[derive(Clone, Default)]
struct Image {
    bytes: Vec<u8>,
    units: Vec<BlobId>,
    /// Its lists, the one above them last.
    lists: Vec<BlobId>,
}

impl Image {
    fn unit(&self, at: usize) -> &[u8] {
        self.bytes.chunks(UNIT_BYTES).nth(at).unwrap_or(&[])
    }
}

/// By name.
type Images = BTreeMap<&'static str, Image>;

/// What an edge of a frame stands for.
#[derive(Clone, Copy)]
enum Base {
    Unit(&'static str, usize),
    /// What a list of `chat.db` describes.
    List(usize),
}

/// A frame of changed units of one file.
struct Plan {
    units: Vec<usize>,
    bases: Vec<Base>,
    /// Runs of grains of the bases that are in the prefix, too: first and count.
    far: &'static [(u32, u32)],
}

fn page(text: &str) -> Vec<u8> {
    text.bytes().chain(*b" all work and no play\n").cycle().take(GRAIN_BYTES).collect()
}

/// The first day: pages that look like a database, a few of them noise.
fn first(pages: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..pages)
        .map(|at| match at % 97 {
            13 => noise(seed + at as u64, GRAIN_BYTES),
            _ => page(&format!("{seed} {at:04}")),
        })
        .collect();
    all[0][..16].copy_from_slice(b"SQLite format 3\0");
    all
}

fn touch(pages: &mut [Vec<u8>], which: &[usize], day: usize) {
    for at in which {
        pages[*at][600 + 10 * day] ^= 0x15;
        pages[*at][3000] ^= day as u8;
    }
}

/// 29 units and five pages.
fn chat(day: usize) -> Vec<u8> {
    let mut pages = first(29 * 16 + 5, 100);
    if day >= 1 {
        touch(&mut pages, &[2 * 16, 2 * 16 + 3, 2 * 16 + 4, 5 * 16 + 1, 7 * 16 + 15, 29 * 16 + 2], 1);
        // One comes here from elsewhere, two were never there.
        pages[5 * 16 + 7] = first(29 * 16 + 5, 100)[9 * 16 + 4].clone();
        pages[5 * 16 + 9] = page("never there, and much alike what stands in unit 9");
        pages[5 * 16 + 10] = noise(500, GRAIN_BYTES);
    }
    if day >= 2 {
        touch(&mut pages, &[2 * 16 + 3, 5 * 16 + 10, 5 * 16 + 11, 11 * 16 + 1, 29 * 16 + 4], 2);
        pages[11 * 16 + 2] = [&pages[13][1000..], &pages[5 * 16 + 10][..1000]].concat();
    }
    if day >= VACUUM {
        let count = pages.len();
        pages = (0..count).map(|at| pages[at * 7 % count].clone()).collect();
        touch(&mut pages, &[20, 300, 301, count - 1], 3);
        pages[100] = [&pages[98][50..], &noise(501, 50)].concat();
    }
    if day >= 4 {
        pages.swap(10, 300);
    }
    if day >= 5 {
        touch(&mut pages, &[1, 10, 4 * 16], 5);
    }
    pages.concat()
}

/// Pages of 1 KiB: its last grain is not whole.
fn settings(day: usize) -> Vec<u8> {
    let mut pages = first(16 + 9, 700);
    if day >= 1 {
        touch(&mut pages, &[17], 1);
    }
    let mut bytes = pages.concat();
    bytes.extend_from_slice(&noise(701, 1024));
    if day >= 2 {
        let len = bytes.len();
        bytes[len - 7] ^= 1;
        bytes[20_000] ^= 1;
    }
    if day >= VACUUM {
        bytes.extend_from_slice(&noise(702, 5 * 1024));
    }
    bytes
}

/// How the changed units of a day are stored.
fn plans(name: &'static str, day: usize) -> Vec<Plan> {
    let unit = |at| Base::Unit(name, at);
    let units = |all: &[usize]| all.iter().copied().map(unit).collect::<Vec<_>>();
    let plan = |units: &[usize], bases: Vec<Base>, far| Plan { units: units.to_vec(), bases, far };
    match (name, day) {
        ("chat.db", 1) => vec![plan(&[2, 5, 7, 29], units(&[2, 5, 7, 29, 9]), &[])],
        ("chat.db", 2) => vec![
            plan(&[2, 5], units(&[5, 2]), &[(9, 2)]),
            plan(&[11, 29], units(&[11, 29, 0, 5]), &[(16, 1), (34, 1), (46, 2)]),
        ],
        ("chat.db", VACUUM) => {
            let end = vec![Base::Unit("settings.db", 1), Base::List(1), Base::List(0)];
            let (low, high): (Vec<usize>, Vec<usize>) =
                ((0..LIST_UNITS).collect(), (LIST_UNITS..30).collect());
            vec![plan(&low, vec![Base::List(2)], &[]), plan(&high, end, &[(9, 3), (200, 1)])]
        }
        ("chat.db", 4) => vec![plan(&[0, 18], units(&[0, 18]), &[])],
        ("chat.db", 5) => vec![plan(&[0, 4], units(&[0, 4]), &[(0, 1)])],
        ("settings.db", 1) => vec![plan(&[1], units(&[1]), &[])],
        ("settings.db", 2) => vec![plan(&[0, 1], units(&[1, 0]), &[])],
        ("settings.db", VACUUM) => vec![plan(&[1], units(&[1, 0]), &[(9, 2)])],
        _ => Vec::new(),
    }
}

/// Where each grain of the frame is to come from.
fn draft(plan: &Plan, image: &Image, bases: &[(Base, Vec<&[u8]>)]) -> Draft {
    let (mut known, mut near) = (HashMap::new(), HashMap::new());
    let mut next = 0;
    for (base, blobs) in bases {
        for (number, blob) in blobs.iter().enumerate() {
            if let (Base::Unit(_, at), true) = (base, number == 0) {
                near.insert(*at, (next, *blob));
            }
            for grain in blob.chunks(GRAIN_BYTES) {
                known.entry(grain).or_insert(next);
                next += 1;
            }
        }
    }
    let mut draft = Draft {
        far: plan.far.iter().flat_map(|(first, count)| *first..first + count).collect(),
        ..Draft::default()
    };
    for at in &plan.units {
        for (number, grain) in (0u32..).zip(image.unit(*at).chunks(GRAIN_BYTES)) {
            let there = near.get(at).and_then(|(first, blob): &(u32, &[u8])| {
                blob.chunks(GRAIN_BYTES).nth(number as usize).map(|old| (first + number, old))
            });
            let same = there.filter(|(_, old)| *old == grain).map(|(at, _)| at);
            let source = same.or_else(|| known.get(grain).copied()).unwrap_or(NEW);
            // What resembles nothing in its place stands in nobody's.
            let kin = there.filter(|(_, old)| source == NEW && old.iter().zip(grain).any(|(a, b)| a == b));
            let is_noise =
                kin.is_some_and(|(_, old)| old.iter().zip(grain).filter(|(a, b)| a == b).count() < 300);
            draft.grains.push(source);
            draft.near.push(kin.filter(|_| !is_noise).map_or(NEW, |(at, _)| at));
        }
    }
    draft
}

fn store_frame(session: &Session, plan: &Plan, image: &Image, old: &Images, name: &str) -> Result<()> {
    let mut fresh = Vec::new();
    for at in &plan.units {
        if session.take_chunk(image.units[*at], image.unit(*at).len())? {
            fresh.push(*at);
        }
    }
    assert_eq!(fresh, plan.units, "{name}: each of them changed");
    let (mut edges, mut bases, mut height) = (Vec::new(), Vec::new(), 0);
    let mut reach = |blob: BlobRef| -> Result<()> {
        height = height.max(session.height_of(&blob)?.expect("because it was stored a day before"));
        Ok(())
    };
    for base in &plan.bases {
        match *base {
            Base::Unit(file, at) => {
                let id = old[file].units[at];
                reach(BlobRef::new(BlobKind::Chunk, id))?;
                edges.push(Edge { how: 0, kind: BlobKind::Chunk as u8, id });
                bases.push((*base, vec![old[file].unit(at)]));
            }
            Base::List(number) => {
                let chat = &old["chat.db"];
                let (lists, units) = match number {
                    0 => (&chat.lists[..1], 0..LIST_UNITS),
                    1 => (&chat.lists[1..2], LIST_UNITS..30),
                    _ => (&chat.lists[..], 0..30),
                };
                for list in lists {
                    reach(BlobRef::new(BlobKind::List, *list))?;
                }
                for at in units.clone() {
                    reach(BlobRef::new(BlobKind::Chunk, chat.units[at]))?;
                }
                edges.push(Edge { how: 1, kind: BlobKind::List as u8, id: chat.lists[number] });
                bases.push((*base, units.map(|at| chat.unit(at)).collect()));
            }
        }
    }
    let draft = draft(plan, image, &bases);
    let blobs: Vec<&[u8]> = bases.iter().flat_map(|(_, blobs)| blobs).copied().collect();
    let lens: Vec<u32> = blobs.iter().map(|blob| u32::try_from(blob.len()).unwrap()).collect();
    let all = BaseGrains::new(&blobs);
    let plain: Vec<u8> = plan.units.iter().flat_map(|at| image.unit(*at)).copied().collect();
    let new = plain.chunks(GRAIN_BYTES).zip(&draft.grains).filter(|(_, from)| **from == NEW);
    let new: Vec<u8> = new.flat_map(|(grain, _)| grain).copied().collect();
    let prefix: Vec<u8> = draft.prefix().iter().flat_map(|n| all.get(*n).unwrap()).copied().collect();
    let mut encoded = Vec::new();
    assert!(grains::encode(&draft, &new, &prefix, 12, &mut encoded));
    let ids: Vec<(BlobId, u32)> = plan
        .units
        .iter()
        .map(|at| (image.units[*at], u32::try_from(image.unit(*at).len()).unwrap()))
        .collect();
    let grain = |number| all.get(number);
    let made = ByGrains { encoded: &encoded, edges: &edges, lens: &lens, grain: &grain, height };
    session.store_units_against(&plain, &ids, &made)
}

/// Lists of a file: two of its units, and one of these two; each against what it was.
fn store_lists(session: &Session, reader: &Reader, image: &mut Image, old: &Image) -> Result<Entry> {
    let store = |entries: Vec<Entry>, number: usize| -> Result<Entry> {
        let len = content::total_len(&entries).unwrap();
        let plain = wire::encode(&ListV1 { entries, extensions: Vec::new() });
        let sources = old.lists.get(number).map(|list| {
            let blob = BlobRef::new(BlobKind::List, *list);
            let len = u32::try_from(reader.blob(BlobKind::List, *list)?.len()).unwrap();
            Ok(SourceRef { blobs: vec![blob], offset: 0, len })
        });
        let sources: Vec<SourceRef> = sources.into_iter().collect::<Result<_>>()?;
        let against = Against { sources: &sources, hint: Default::default(), least_gain_percent: 0 };
        Ok(Entry::List { id: session.store_against(BlobKind::List, &plain, &against, reader)?.id, len })
    };
    let chunk =
        |(id, bytes): (&BlobId, &[u8])| Entry::Chunk { id: *id, len: u32::try_from(bytes.len()).unwrap() };
    let chunks: Vec<Entry> = image.units.iter().zip(image.bytes.chunks(UNIT_BYTES)).map(chunk).collect();
    let mut lists = Vec::new();
    for (number, part) in chunks.chunks(LIST_UNITS).enumerate() {
        lists.push(store(part.to_vec(), number)?);
    }
    let above = store(lists.clone(), lists.len())?;
    for list in lists.iter().chain([&above]) {
        let Entry::List { id, .. } = list else { unreachable!("because they were just made") };
        image.lists.push(*id);
    }
    Ok(above)
}

/// A database of a day, beside what it was the day before.
fn database(builder: &Builder<'_>, name: &'static str, day: usize, images: &RefCell<Images>) -> Result<Item> {
    let (session, reader) = (builder.session, &builder.past.as_ref().unwrap().1);
    let bytes = if name == "chat.db" { chat(day) } else { settings(day) };
    let units = bytes.chunks(UNIT_BYTES).map(|unit| session.repo().blob_id(BlobKind::Chunk, unit)).collect();
    let mut image = Image { bytes, units, lists: Vec::new() };
    let before = images.borrow().clone();
    for plan in plans(name, day) {
        store_frame(session, &plan, &image, &before, name)?;
    }
    // Alone, eight to a frame, what no plan took.
    for eight in image.units.iter().zip(image.bytes.chunks(UNIT_BYTES)).collect::<Vec<_>>().chunks(8) {
        let (mut plain, mut ids) = (Vec::new(), Vec::new());
        for (id, unit) in eight {
            if session.take_chunk(**id, unit.len())? {
                assert_eq!(day, 0, "{name}: what changed is planned");
                plain.extend_from_slice(unit);
                ids.push((**id, u32::try_from(unit.len()).unwrap()));
            }
        }
        if !ids.is_empty() {
            session.store_units(&plain, &ids)?;
        }
    }
    let old = before.get(name).cloned().unwrap_or_default();
    let entries = match name {
        "chat.db" => vec![store_lists(session, reader, &mut image, &old)?],
        _ => image
            .units
            .iter()
            .zip(image.bytes.chunks(UNIT_BYTES))
            .map(|(id, unit)| Entry::Chunk { id: *id, len: u32::try_from(unit.len()).unwrap() })
            .collect(),
    };
    let part = Part::Stored(image.bytes.clone(), entries);
    images.borrow_mut().insert(name, image);
    Ok(item(name.as_bytes(), What::File(vec![part])))
}

/// Makes the repository in `dir` and gives the text of `EXPECTED`.
pub fn build(dir: &Path) -> Result<String> {
    let repo = deltas::init(dir, 2028)?;
    assert_eq!(repo.config().sqlite_unit_bytes as usize, UNIT_BYTES);
    repo.add_key(PASSWORDS[1], "second", &kdf::CHEAP)?;
    let mut expected = String::from(HEAD);
    let (mut parent, mut past) = (None, deltas::Past::default());
    let images = RefCell::new(Images::new());
    for day in 0..DAYS {
        let time = 1_710_000_000 + 86_400 * i64::try_from(day).unwrap();
        // The larger one first: on the day of the VACUUM it stands on the other as it was.
        let make = |builder: &Builder<'_>| {
            ["chat.db", "settings.db"].map(|name| database(builder, name, day, &images)).into_iter().collect()
        };
        parent = Some(take(&repo, &mut expected, time, parent, Some(&mut past), make)?);
    }
    Ok(expected)
}
