//! One plain function for each parser of repository bytes, and of headers in a source: takes any bytes, never panics, and
//! says whether they were read as something.
//!
//! What reads must also survive being written and read again. The fuzz targets under `fuzz/`
//! and `tests/engine/hostile.rs` both call these; this file needs nothing but the engine.

use ballast::chunk::layout::{self, Format};
use ballast::chunk::safetensors::{Dtype, Header};
use ballast::chunk::{CutParams, check_regions};
use ballast::codec;
use ballast::codec::grains::{self, Draft, GRAIN_BYTES, NEW, Recipe, grains_of};
use ballast::codec::{BlockType, Element};
use ballast::crypto::{aead::SealKey, kdf};
use ballast::error::Malformed;
use ballast::format::bytes::{Put, Take};
use ballast::format::config::ConfigV1;
use ballast::format::content::{self, ListV1};
use ballast::format::delta;
use ballast::format::envelope::{self, Envelope};
use ballast::format::frame::FrameRecord;
use ballast::format::index::IndexObject;
use ballast::format::keyfile::{BodyV1, Clear, LabelV1, unpad_record};
use ballast::format::lease::LeaseV1;
use ballast::format::ledger::{Event, LedgerEntryV1};
use ballast::format::pack::{Footer, Trailer};
use ballast::format::record::{SqliteCaptureV1, SqliteFilesV1, VerifiedV1};
use ballast::format::seams::SeamTableV1;
use ballast::format::snapshot::SnapshotV1;
use ballast::format::tree::{TreeV1, XattrsV1};
use ballast::format::verified::VerifiedDatabasesV1;
use ballast::format::wire::{self, Record, check_extensions};
use ballast::id::{ObjectKind, RepoId};
use ballast::repo::keytext;

/// Takes any bytes; says whether they were read.
pub type Body = fn(&[u8]) -> bool;

/// Every body, by the name of its fuzz target.
pub const BODIES: &[(&str, Body)] = &[
    ("envelope", envelope),
    ("keyfile", keyfile),
    ("keypage", keypage),
    ("config", config),
    ("pack", pack),
    ("frame", frame),
    ("index", index),
    ("tree", tree),
    ("list", list),
    ("seams", seams),
    ("safetensors", safetensors),
    ("torch", torch),
    ("gguf", gguf),
    ("npy", npy),
    ("snapshot", snapshot),
    ("ledger", ledger),
    ("event", event),
    ("lease", lease),
    ("verified", verified),
    ("capture", capture),
    ("xattrs", xattrs),
    ("codec", codec_decode),
    ("delta", delta_decode),
    ("sources", delta_sources),
    ("grains", delta_grains),
];

/// The body of that name.
pub fn body(name: &str) -> Body {
    BODIES.iter().find(|(n, _)| *n == name).map(|(_, body)| *body).expect("because names are written here")
}

/// Reads, and if that succeeds writes and reads again.
fn read<R: Record + PartialEq>(data: &[u8], check: impl Fn(&R) -> Result<(), Malformed>) -> bool {
    let Ok(value) = wire::decode::<R>(data) else { return false };
    let good = check(&value).is_ok();
    assert!(wire::decode::<R>(&wire::encode(&value)).is_ok_and(|again| again == value));
    good
}

fn any<R>(_: &R) -> Result<(), Malformed> {
    Ok(())
}

/// A sealed object of each kind; none opens.
pub fn envelope(data: &[u8]) -> bool {
    let mut good = false;
    for kind in ObjectKind::ALL {
        if let Ok(envelope) = Envelope::decode(data, kind) {
            good = true;
            assert_eq!(envelope.header[..12], envelope.prefix.encode());
            let aad = envelope::aad(&RepoId([0; 32]), envelope.header);
            assert!(SealKey::new(&[7; 32]).open(&envelope.nonce, &aad, envelope.sealed).is_err());
        }
    }
    good
}

/// A key file's clear part, and its two fields.
pub fn keyfile(data: &[u8]) -> bool {
    let field = unpad_record::<LabelV1>(data).is_ok() | unpad_record::<BodyV1>(data).is_ok();
    match Clear::decode(data) {
        Ok(clear) => {
            let again = [&clear.encode(), &data[128..]].concat();
            assert_eq!(Clear::decode(&again).as_ref(), Ok(&clear));
            kdf::check_for_reading(&clear.kdf).is_ok()
        }
        Err(_) => field,
    }
}

/// A page of text.
pub fn keypage(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(file) = keytext::import(text) else { return false };
    assert_eq!(keytext::import(&keytext::export(&file, "place", "label")).as_ref(), Ok(&file));
    true
}

/// A config.
pub fn config(data: &[u8]) -> bool {
    read(data, ConfigV1::check)
}

/// A footer, in a short and in a long pack, or a trailer.
pub fn pack(data: &[u8]) -> bool {
    let footer = [1428, u64::MAX].map(|len| match Footer::decode(data, len) {
        Ok(footer) => {
            assert!(footer.trailer_offset.checked_add(footer.trailer_len).is_some_and(|end| end <= len));
            assert_eq!(Footer::decode(&footer.encode(), len).as_ref(), Ok(&footer));
            true
        }
        Err(_) => false,
    });
    match Trailer::decode(data) {
        Ok(trailer) => {
            assert_eq!(Trailer::decode(&trailer.encode().0).as_ref(), Ok(&trailer));
            true
        }
        Err(_) => footer.contains(&true),
    }
}

/// One frame record and nothing more.
pub fn frame(data: &[u8]) -> bool {
    let mut take = Take(data);
    let Ok(frame) = FrameRecord::decode(&mut take) else { return false };
    let used = data.len() - take.0.len();
    let mut put = Put::default();
    frame.encode(&mut put);
    assert_eq!(put.0, data[..used]);
    assert_eq!(frame.encoded_len(), used);
    take.end().is_ok()
}

/// An index object.
pub fn index(data: &[u8]) -> bool {
    let Ok(index) = IndexObject::decode(data) else { return false };
    assert_eq!(IndexObject::decode(&index.encode()).as_ref(), Ok(&index));
    true
}

/// A tree or a tree part.
pub fn tree(data: &[u8]) -> bool {
    read(data, TreeV1::check)
}

/// A content list.
pub fn list(data: &[u8]) -> bool {
    read(data, |list: &ListV1| {
        check_extensions(&list.extensions, &[], "list")?;
        let ends = content::cut(&list.entries);
        assert_eq!(ends.last().copied().unwrap_or(0), list.entries.len());
        content::total_len(&list.entries).map(drop)
    })
}

/// A seam table.
pub fn seams(data: &[u8]) -> bool {
    read(data, any::<SeamTableV1>)
}

/// A whole safetensors file.
pub fn safetensors(data: &[u8]) -> bool {
    let len = data.len() as u64;
    let Some(header) = Header::parse(data, len) else { return false };
    assert!(check_regions(&header.regions(), len, &CutParams::default()).is_ok());
    let end = header.tensors.iter().fold(header.len, |at, tensor| {
        assert_eq!(tensor.offset, at);
        let dtype = Dtype::from_word(tensor.dtype).unwrap();
        assert_eq!(dtype.bytes_of(&tensor.shape), Some(tensor.len));
        at + tensor.len
    });
    assert_eq!(end, len);
    true
}

/// A whole archive of PyTorch.
pub fn torch(data: &[u8]) -> bool {
    model(data, Format::Torch)
}

/// A whole GGUF file.
pub fn gguf(data: &[u8]) -> bool {
    model(data, Format::Gguf)
}

/// A whole array of NumPy.
pub fn npy(data: &[u8]) -> bool {
    model(data, Format::Npy)
}

/// Regions tile the file, tensors lie in it in order, and of the seam table alone the same regions follow.
fn model(data: &[u8], format: Format) -> bool {
    let (len, params) = (data.len() as u64, CutParams::default());
    let Some(model) = layout::find(data, &data, len, &params) else { return false };
    assert!(check_regions(&model.regions, len, &params).is_ok());
    let mut at = 0;
    for tensor in &model.tensors {
        assert!(tensor.offset >= at && tensor.offset <= len && tensor.len <= len - tensor.offset);
        at = tensor.offset;
        if let Some(dtype) = Dtype::from_word(tensor.dtype) {
            assert_eq!(dtype.bytes_of(&tensor.shape), Some(tensor.len));
        }
    }
    let places = model.tensors.iter().map(|t| (t.offset, t.len, t.dtype.as_bytes()));
    assert_eq!(layout::regions(model.format, places, len), model.regions);
    let old = CutParams { version: 2, ..params };
    assert!(model.format == Format::Safetensors || layout::find(data, &data, len, &old).is_none());
    model.format == format
}

/// A snapshot.
pub fn snapshot(data: &[u8]) -> bool {
    read(data, |s: &SnapshotV1| check_extensions(&s.extensions, &[], "snapshot"))
}

/// A ledger entry with its event.
pub fn ledger(data: &[u8]) -> bool {
    read(data, |entry: &LedgerEntryV1| {
        check_extensions(&entry.extensions, &[], "ledger entry")?;
        Event::decode(entry.kind, &entry.body).map(drop)
    })
}

/// Kind and body of an event.
pub fn event(data: &[u8]) -> bool {
    let Some((kind, body)) = data.split_first() else { return false };
    let Ok(event) = Event::decode(*kind, body) else { return false };
    let (kind, body) = event.encode();
    assert_eq!(Event::decode(kind, &body).as_ref(), Ok(&event));
    true
}

/// A lease.
pub fn lease(data: &[u8]) -> bool {
    read(data, any::<LeaseV1>)
}

/// A verification, and the databases in its extensions.
pub fn verified(data: &[u8]) -> bool {
    let within = |verified: &VerifiedV1| {
        for extension in &verified.extensions {
            let _ = read(&extension.data, any::<VerifiedDatabasesV1>);
        }
        Ok(())
    };
    read(data, within)
}

/// A database's capture: its counters, or its files.
pub fn capture(data: &[u8]) -> bool {
    read(data, any::<SqliteCaptureV1>) | read(data, any::<SqliteFilesV1>)
}

/// Extended attributes.
pub fn xattrs(data: &[u8]) -> bool {
    read(data, any::<XattrsV1>)
}

/// Encoding, codec version, plain length (three bytes), encoded bytes.
pub fn codec_decode(data: &[u8]) -> bool {
    let mut take = Take(data);
    let (Ok(encoding), Ok(version), Ok(low), Ok(high)) = (take.u8(), take.u8(), take.u16(), take.u8()) else {
        return false;
    };
    // What a reader allocates is the plain length it was told by a frame record, at most 16 MiB.
    let mut out = vec![0; usize::from(low) | usize::from(high) << 16];
    if codec::decode(encoding, version, take.0, &[], &mut out).is_err() {
        return false;
    }
    let mut encoded = Vec::new();
    for hint in [codec::Hint::NONE, some_hint(out.len())] {
        let how = codec::encode_as(&out, hint, &mut encoded);
        let stored = if how.encoding as u8 == 0 { &out } else { &encoded };
        assert!(stored.len() <= out.len());
        let mut again = vec![0; out.len()];
        codec::decode(how.encoding as u8, how.codec_version, stored, &[], &mut again)
            .expect("because it was just made");
        assert!(again == out);
    }
    true
}

/// What a tensor might be said to be.
fn some_hint(number: usize) -> codec::Hint {
    let words =
        ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "MXFP4"];
    let block = words.get(number % (words.len() + 2)).and_then(|word| BlockType::of_word(word.as_bytes()));
    codec::Hint { element: block.map_or(Element::Bytes(1 + (number & 3) as u8), Element::Blocks) }
}

/// Plain length (three bytes), number of bases, the length of each (two bytes), the bases, encoded bytes.
pub fn delta_decode(data: &[u8]) -> bool {
    let mut take = Take(data);
    let (Ok(low), Ok(high), Ok(count)) = (take.u16(), take.u8(), take.u8()) else { return false };
    let lens: Vec<u16> = (0..count.min(4)).map_while(|_| take.u16().ok()).collect();
    let bases: Vec<&[u8]> = lens.iter().map_while(|len| take.bytes((*len).into()).ok()).collect();
    if bases.len() != usize::from(count) {
        return false;
    }
    let mut out = vec![0; usize::from(low) | usize::from(high) << 16];
    if codec::decode(3, codec::CODEC_VERSION, take.0, &bases, &mut out).is_err() {
        return false;
    }
    let mut encoded = Vec::new();
    for hint in [codec::Hint::NONE, some_hint(out.len())] {
        let Some((how, used)) = codec::encode_delta(&out, &bases, hint, &mut encoded) else { continue };
        assert!(encoded.len() < out.len());
        let mut again = vec![0; out.len()];
        codec::decode(how.encoding as u8, how.codec_version, &encoded, &bases[..used], &mut again)
            .expect("because it was just made");
        assert!(again == out);
    }
    true
}

/// Plain length (two bytes), number of edges, the length of each one's bytes (two bytes), these bytes, and
/// what a delta frame opens to: its sources and the codec's bytes.
pub fn delta_sources(data: &[u8]) -> bool {
    let mut take = Take(data);
    let (Ok(plain_len), Ok(count)) = (take.u16(), take.u8()) else { return false };
    let lens: Vec<u16> = (0..count).map_while(|_| take.u16().ok()).collect();
    let edges: Vec<&[u8]> = lens.iter().map_while(|len| take.bytes((*len).into()).ok()).collect();
    if edges.len() != usize::from(count) {
        return false;
    }
    let Ok((sources, encoded)) = delta::decode(take.0, &edges) else { return false };
    let named: usize = edges.iter().map(|bytes| bytes.len()).sum();
    assert!(!edges.is_empty() && sources.len() <= delta::MAX_SOURCES);
    assert!(sources.iter().map(|s| s.len()).sum::<usize>() <= named, "each byte is in one source");
    let sources: Vec<&[u8]> = sources.iter().map(AsRef::as_ref).collect();
    let mut out = vec![0; plain_len.into()];
    codec::decode(3, codec::CODEC_VERSION, encoded, &sources, &mut out).is_ok()
}

/// Bytes of a grain that nobody wrote down: half of it the same everywhere.
fn made_up_grain(number: u32) -> &'static [u8] {
    static ALL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let grain = |number: u8| (0..GRAIN_BYTES).map(move |at| if at % 16 < 8 { 7 } else { number });
        (0..=u8::MAX).flat_map(grain).collect()
    });
    &ALL[number as usize % 256 * GRAIN_BYTES..][..GRAIN_BYTES]
}

/// The grain of this number, of bases that are so long.
pub fn made_up(bases: &[u32], number: u32) -> Option<&'static [u8]> {
    let mut first = 0;
    for len in bases {
        let (within, len) = (number as usize - first, *len as usize);
        if within < grains_of(len) {
            return Some(&made_up_grain(number)[..(len - within * GRAIN_BYTES).min(GRAIN_BYTES)]);
        }
        first += grains_of(len);
    }
    None
}

/// Plain length (three bytes), number of bases, the length of each (four bytes), and what a delta by grains opens
/// to. The bases' bytes are made up.
pub fn delta_grains(data: &[u8]) -> bool {
    let mut take = Take(data);
    let (Ok(low), Ok(high), Ok(count)) = (take.u16(), take.u8(), take.u8()) else { return false };
    let bases: Vec<u32> = (0..count).map_while(|_| take.u32().ok()).collect();
    let plain_len = usize::from(low) | usize::from(high) << 16;
    if bases.len() != usize::from(count) {
        return false;
    }
    let Ok(recipe) = Recipe::read(take.0, &bases, plain_len) else { return false };
    let there: usize = bases.iter().map(|len| grains_of(*len as usize)).sum();
    assert_eq!(recipe.grains.len(), grains_of(plain_len));
    assert!(recipe.prefix.len() <= 4096 && recipe.new_bytes <= plain_len);
    let named = recipe.grains.iter().filter(|grain| **grain != NEW).chain(&recipe.prefix);
    named.for_each(|grain| assert!((*grain as usize) < there));
    let mut out = vec![0; plain_len];
    if grains::decode(take.0, &bases, |number| made_up(&bases, number), &mut out).is_err() {
        return false;
    }
    // The same again, what was replaced as if it stood elsewhere.
    let new = out.chunks(GRAIN_BYTES).zip(&recipe.grains).filter(|(_, from)| **from == NEW);
    let new: Vec<u8> = new.flat_map(|(grain, _)| grain).copied().collect();
    assert_eq!(new.len(), recipe.new_bytes);
    let mut far = recipe.prefix.clone();
    far.sort_unstable();
    far.dedup();
    let draft = Draft { near: vec![NEW; recipe.grains.len()], grains: recipe.grains, far };
    let mut prefix = Vec::with_capacity(draft.far.len() * GRAIN_BYTES);
    draft.far.iter().for_each(|number| prefix.extend_from_slice(made_up(&bases, *number).unwrap_or(&[])));
    let (mut encoded, mut again) = (Vec::new(), vec![0; plain_len]);
    assert!(grains::encode(&draft, &new, &prefix, 1, &mut encoded));
    grains::decode(&encoded, &bases, |number| made_up(&bases, number), &mut again)
        .expect("because it was just made");
    assert!(again == out);
    true
}
