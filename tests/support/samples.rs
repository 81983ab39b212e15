//! Fixed values of every record of format v1, with everything in them set: what the vectors
//! under `tests/golden/vectors` state and what hostile input is made from.

use crate::{formats, models};
use ballast::crypto::hash::IdKeys;
use ballast::crypto::keys::{Keyring, Purpose};
use ballast::entropy::{Surroundings, seeded};
use ballast::format::bytes::Put;
use ballast::format::config::{ConfigV1, Features, PADDING_PADME, STORE_ATOMIC_CREATE};
use ballast::format::content::{Entry, ListV1};
use ballast::format::envelope::{self, Prefix};
use ballast::format::frame::{self, Edge, Encoding, FrameBlob, FrameRecord, SEAL_OVERHEAD};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::format::keyfile::{BodyV1, KdfParams, LabelV1, RIGHTS_FULL};
use ballast::format::lease::LeaseV1;
use ballast::format::ledger::{CommitV1, CondemnV1, Event, ForgetV1, LedgerEntryV1, RaiseV1};
use ballast::format::pack::{Footer, PackKind, Trailer, footer_aad, trailer_aad};
use ballast::format::record::{LookV1, LostV1, METHOD_DATA, SqliteCaptureV1, SqliteFilesV1, VerifiedV1};
use ballast::format::seams::{LAYOUT_SAFETENSORS, Seam, SeamTableV1};
use ballast::format::snapshot::{CountsV1, ProblemV1, SnapshotV1};
use ballast::format::tree::{
    CAPTURE_SQLITE, EXT_FOLLOWED, EXT_SQLITE, EXT_XATTRS, MARK_CHANGED, MARK_INCOMPLETE, MARK_RECHECK, Node,
    NodeKind, PartRef, TreeV1, XattrsV1,
};
use ballast::format::verified::{
    DATABASE_BAD, DATABASE_GOOD, DATABASE_UNKNOWN, VerifiedDatabaseV1, VerifiedDatabasesV1,
};
use ballast::format::wire::{self, Bytes, Extension, Stamp};
use ballast::id::{BlobId, BlobKind, IndexId, ObjectKind, PackId, RepoId, SessionId, SnapshotId};

/// The password of samples and of the golden repository.
pub const PASSWORD: &[u8] = b"correct horse battery staple";
/// The cheapest key derivation there is; never made outside of tests.
pub const KDF: KdfParams = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };

/// `N` bytes counting up from `first`: easily found again in a dump.
pub fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first.wrapping_add(u8::try_from(i & 0xff).unwrap()))
}

/// A blob id that shows what it is for.
pub fn blob(first: u8) -> BlobId {
    BlobId(counting(first))
}

/// Id of the sample repository.
pub fn repo_id() -> RepoId {
    RepoId(counting(0x10))
}

/// The sample session.
pub fn session() -> SessionId {
    SessionId(counting(0xd0))
}

/// Clock and randomness of the samples.
pub fn surroundings() -> Surroundings {
    seeded::surroundings(1)
}

/// Master secrets: two epochs.
pub fn secrets() -> Vec<(u16, [u8; 32])> {
    vec![(1, counting(0x40)), (300, counting(0x60))]
}

/// Sealing keys of [`secrets`].
pub fn keyring() -> Keyring {
    Keyring::derive(&secrets()).unwrap()
}

/// Id keys of [`config`].
pub fn id_keys() -> IdKeys {
    IdKeys::derive(&config().id_secret)
}

fn stamp(secs: i64, nanos: u32) -> Stamp {
    Stamp { secs, nanos }
}

/// Two extensions, neither critical.
pub fn extensions() -> Vec<Extension> {
    vec![
        Extension { tag: 7, critical: false, data: b"later"[..].into() },
        Extension { tag: 1000, critical: false, data: Bytes::default() },
    ]
}

/// A config.
pub fn config() -> ConfigV1 {
    ConfigV1 {
        repo_id: repo_id(),
        created: stamp(1_700_000_000, 123_456_789),
        features: Features { incompatible: 0, read_only: 0, compatible: 1 << 40 },
        cutter_version: 1,
        table_version: 1,
        chunk_min_bytes: 256 << 10,
        chunk_avg_bytes: 1 << 20,
        chunk_max_bytes: 4 << 20,
        sqlite_unit_bytes: 1 << 20,
        small_blob_bytes: 64 << 10,
        frame_target_bytes: 256 << 10,
        data_pack_min_bytes: 8 << 20,
        data_pack_max_bytes: 16 << 20,
        metadata_pack_max_bytes: 8 << 20,
        padding: PADDING_PADME,
        store_mode: STORE_ATOMIC_CREATE,
        cut_secret: counting(0x80),
        id_secret: counting(0xa0),
        extensions: extensions(),
    }
}

/// A key's label.
pub fn label() -> LabelV1 {
    LabelV1 { label: "Lärche".into(), created: stamp(1_700_000_001, 0), host: "laptop".into() }
}

/// A key file's body.
pub fn body() -> BodyV1 {
    BodyV1 {
        rights: RIGHTS_FULL,
        secrets: secrets(),
        config: Bytes(wire::encode(&config())),
        extensions: extensions(),
    }
}

/// A frame that stands alone.
pub fn plain_frame() -> FrameRecord {
    FrameRecord {
        offset: 12,
        stored_len: 300 + SEAL_OVERHEAD,
        plain_len: 1000,
        encoding: Encoding::Zstd as u8,
        codec_version: 1,
        height: 0,
        flags: 0,
        edges: Vec::new(),
        blobs: vec![
            FrameBlob { kind: BlobKind::Chunk as u8, len: 400, id: blob(0x01) },
            FrameBlob { kind: BlobKind::Chunk as u8, len: 600, id: blob(0x02) },
        ],
    }
}

/// A frame with bases, and a blob of a kind that is not known.
pub fn delta_frame() -> FrameRecord {
    FrameRecord {
        offset: 352,
        stored_len: 100 + SEAL_OVERHEAD,
        plain_len: 70_000,
        encoding: Encoding::Delta as u8,
        codec_version: 1,
        height: 3,
        flags: 0,
        edges: vec![
            Edge { how: 0, kind: BlobKind::Chunk as u8, id: blob(0x03) },
            Edge { how: 1, kind: BlobKind::List as u8, id: blob(0x04) },
        ],
        blobs: vec![FrameBlob { kind: 200, len: 70_000, id: blob(0x05) }],
    }
}

/// A trailer of the two frames.
pub fn trailer() -> Trailer {
    Trailer {
        session: session(),
        pack_kind: PackKind::Data as u8,
        flags: 0,
        region_len: 492,
        region_hash: counting(0xe0),
        frames: vec![plain_frame(), delta_frame()],
        extensions: extensions(),
    }
}

/// A footer.
pub fn footer() -> Footer {
    Footer { trailer_offset: 492, trailer_len: 800 }
}

/// Length of a pack that [`footer`] fits.
pub const FOOTER_PACK_LEN: u64 = 492 + 800 + 136;

/// An index object.
pub fn index() -> IndexObject {
    IndexObject {
        session: session(),
        replaces: vec![IndexId(counting(0x21)), IndexId(counting(0x22))],
        packs: vec![
            IndexedPack {
                id: PackId(counting(0x31)),
                size: FOOTER_PACK_LEN,
                pack_kind: PackKind::Data as u8,
                flags: 0,
                epoch: 300,
                frames: vec![plain_frame(), delta_frame()],
            },
            IndexedPack {
                id: PackId(counting(0x32)),
                size: 1 << 20,
                pack_kind: PackKind::Metadata as u8,
                flags: 0,
                epoch: 1,
                frames: Vec::new(),
            },
        ],
        extensions: extensions(),
    }
}

/// A content list with each kind of entry a list may hold.
pub fn list() -> ListV1 {
    ListV1 {
        entries: vec![
            Entry::Chunk { id: blob(0x01), len: 250 },
            Entry::Chunk { id: blob(0x02), len: 1 << 20 },
            Entry::List { id: blob(0x03), len: 1 << 40 },
            Entry::Hole { len: 65_536 },
        ],
        extensions: extensions(),
    }
}

/// What a database's capture counted.
pub fn capture() -> SqliteCaptureV1 {
    SqliteCaptureV1 {
        page_size: 4096,
        pages: 51_200,
        change_counter: 77,
        schema_cookie: 12,
        application_id: 0x1234_5678,
        user_version: 9,
        wal_bytes: 4_152,
        wal_mtime: stamp(1_700_000_010, 5),
        schema_hash: counting(0x90),
    }
}

/// What its files were.
pub fn capture_files() -> SqliteFilesV1 {
    let (mtime, ctime) = (stamp(1_700_000_010, 5), stamp(1_700_000_011, 6));
    SqliteFilesV1 {
        main_bytes: 51_199 * 4096,
        wal: Some(LookV1 { size: 4_152, mtime, ctime, inode: 123_456_789_013 }),
        journal: None,
    }
}

/// Extended attributes.
pub fn xattrs() -> XattrsV1 {
    XattrsV1 {
        pairs: vec![
            (b"user.a"[..].into(), b"\0\xff"[..].into()),
            (b"user.comment"[..].into(), b"hello"[..].into()),
        ],
    }
}

/// What the repository lost of a file.
pub fn lost_of_file() -> LostV1 {
    LostV1 { ranges: vec![(4096, 1 << 20), (5 << 30, 77)], names: 0 }
}

/// What it lost of a directory.
pub fn lost_of_directory() -> LostV1 {
    LostV1 { ranges: Vec::new(), names: 1500 }
}

/// A file's node with every field set.
pub fn full_node() -> Node {
    Node {
        name: b"model\xff.safetensors"[..].into(),
        kind: NodeKind::File,
        mode: 0o4755,
        uid: 1000,
        gid: 100_000,
        user: b"ada"[..].into(),
        group: b"users"[..].into(),
        size: 1_048_826,
        mtime: stamp(-1, 999_999_999),
        ctime: stamp(1_700_000_002, 2),
        btime: Some(stamp(1_600_000_000, 0)),
        inode: 123_456_789_012,
        device: 2049,
        nlink: 2,
        rdev: 7,
        attr_flags: 0x10,
        marks: MARK_RECHECK | MARK_CHANGED | MARK_INCOMPLETE,
        capture: CAPTURE_SQLITE,
        seams: Some(blob(0x71)),
        content: vec![
            Entry::Chunk { id: blob(0x01), len: 250 },
            Entry::Hole { len: 1_048_570 },
            Entry::Inline { bytes: b"end\0.."[..].into() },
        ],
        extensions: vec![
            Extension { tag: EXT_XATTRS, critical: false, data: wire::encode(&xattrs()).into() },
            Extension { tag: EXT_SQLITE, critical: false, data: wire::encode(&capture()).into() },
            Extension { tag: EXT_FOLLOWED, critical: false, data: b"/models/rev-2"[..].into() },
            Extension { tag: 1000, critical: false, data: b"later"[..].into() },
        ],
    }
}

/// A node of which little is known.
pub fn node(name: &[u8], kind: NodeKind, content: Vec<Entry>) -> Node {
    Node { mode: 0o755, nlink: 1, content, ..Node::blank(name, kind) }
}

/// A directory with a node of each type.
pub fn tree() -> TreeV1 {
    let target = Entry::Inline { bytes: b"../a"[..].into() };
    let mut tree = TreeV1::of_nodes(vec![
        node(b"a-directory", NodeKind::Directory, vec![Entry::Tree { id: blob(0x51) }]),
        node(b"b-link", NodeKind::Symlink, vec![target]),
        node(b"c-pipe", NodeKind::Fifo, Vec::new()),
        node(b"d-socket", NodeKind::Socket, Vec::new()),
        Node { rdev: 0x501, ..node(b"e-terminal", NodeKind::CharDevice, Vec::new()) },
        Node { rdev: 0x801, ..node(b"f-disk", NodeKind::BlockDevice, Vec::new()) },
        node(b"g-empty", NodeKind::File, Vec::new()),
        full_node(),
    ]);
    tree.extensions = extensions();
    tree
}

/// A directory cut in parts.
pub fn parted_tree() -> TreeV1 {
    TreeV1 {
        nodes: Vec::new(),
        parts: vec![
            PartRef { id: blob(0x61), first: b"a"[..].into(), count: 300 },
            PartRef { id: blob(0x62), first: b"m\xff"[..].into(), count: 4096 },
        ],
        extensions: extensions(),
    }
}

/// One part of a directory.
pub fn tree_part() -> TreeV1 {
    TreeV1::of_nodes(vec![
        node(b"m\xff", NodeKind::File, vec![Entry::Inline { bytes: b"m"[..].into() }]),
        node(b"n", NodeKind::File, vec![Entry::Chunk { id: blob(0x06), len: 41 }]),
    ])
}

/// A safetensors file.
pub fn model() -> Vec<u8> {
    let plain = |name: &str, dtype, shape: &[u64], len| models::Tensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data: vec![3; len],
    };
    models::file(
        &[plain("a\"\u{e9}", "F32", &[2, 3], 24), plain("", "F4", &[6], 3), plain("b", "I64", &[0], 0)],
        "",
    )
}

/// An archive of PyTorch: a tensor alone, two that share a storage, one whose elements stand in another order.
pub fn archive() -> Vec<u8> {
    let view = |name: &str, key: &str, offset, shape: &[u64], stride: Option<&[u64]>| formats::View {
        name: name.into(),
        dtype: "F32",
        shape: shape.to_vec(),
        key: key.into(),
        elements: 6,
        offset,
        stride: stride.map(<[u64]>::to_vec),
    };
    let views = [
        view("a", "0", 0, &[2, 3], None),
        view("b.x", "1", 0, &[2], None),
        view("b.y", "1", 2, &[4], None),
        view("c", "2", 0, &[2, 3], Some(&[1, 2])),
    ];
    let storages = ["data/0", "data/1", "data/2"].map(|name| (name.to_owned(), &[3; 24][..]));
    formats::archive("m", &formats::Pickle::new().tensors(&views).finish(), &storages)
}

/// A GGUF file.
pub fn gguf() -> Vec<u8> {
    let tensor = |name: &str, dtype, shape: &[u64], len| models::Tensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data: vec![3; len],
    };
    let tensors = [tensor("a", "F32", &[2, 3], 24), tensor("b", "Q8_0", &[1, 32], 34)];
    formats::gguf(&tensors, "a model")
}

/// A seam table.
pub fn seams() -> SeamTableV1 {
    let seam = |name: &str, dtype: &str, shape: &[u64], offset, len| Seam {
        name: name.as_bytes().into(),
        dtype: dtype.as_bytes().into(),
        shape: shape.to_vec(),
        offset,
        len,
    };
    SeamTableV1 {
        layout: LAYOUT_SAFETENSORS,
        seams: vec![
            seam("embeddings.weight", "BF16", &[30_522, 384], 4096, 23_440_896),
            seam("scale", "F32", &[], 23_444_992, 4),
        ],
        extensions: extensions(),
    }
}

/// A snapshot.
pub fn snapshot() -> SnapshotV1 {
    SnapshotV1 {
        time: stamp(1_700_000_100, 500_000_000),
        utc_offset_secs: -5400,
        host: "laptop".into(),
        user: "ada".into(),
        paths: vec![b"/home/ada"[..].into(), b"/srv/\xff"[..].into()],
        tags: vec!["models".into(), "weekly".into()],
        description: "before the upgrade".into(),
        parent: Some(SnapshotId(counting(0x41))),
        program: "ballast 0.1.0".into(),
        partial: true,
        root: blob(0x42),
        counts: CountsV1 {
            files_new: 1,
            files_changed: 250,
            files_unchanged: 251,
            directories: 65_535,
            others: 65_536,
            total_bytes: u64::from(u32::MAX),
            read_bytes: 1 << 32,
            new_bytes: u64::MAX,
            stored_bytes: 8,
            excluded: 9,
            excluded_bytes: 10,
        },
        problem_count: 101,
        problems: vec![ProblemV1 {
            path: b"/home/ada/\xfe"[..].into(),
            kind: 1,
            message: "permission denied".into(),
        }],
        extensions: extensions(),
    }
}

/// A verification.
pub fn verified() -> VerifiedV1 {
    VerifiedV1 {
        method: METHOD_DATA,
        began: stamp(1_700_000_200, 0),
        snapshot: Some(SnapshotId(counting(0x41))),
        good: vec![PackId(counting(0x31)), PackId(counting(0x32))],
        bad: vec![PackId(counting(0x33))],
        extensions: extensions(),
    }
}

/// Databases of a verification: one of each verdict.
pub fn verified_databases() -> VerifiedDatabasesV1 {
    let one = |path: &[u8], verdict, finding: &str| VerifiedDatabaseV1 {
        path: path.into(),
        verdict,
        finding: finding.into(),
    };
    VerifiedDatabasesV1 {
        path: b"/srv"[..].into(),
        good: 300,
        bad: 1,
        unknown: 1,
        databases: vec![
            one(b"/srv/\xfe.db", DATABASE_BAD, "row 7 missing from index chat_user"),
            one(b"/srv/own.db", DATABASE_UNKNOWN, "no such collation sequence: theirs"),
            one(b"/srv/chat.db", DATABASE_GOOD, ""),
        ],
    }
}

/// Each kind of event, one of a kind that is not known among them.
pub fn events() -> Vec<(&'static str, Event)> {
    let snapshots = vec![SnapshotId(counting(0x41)), SnapshotId(counting(0x43))];
    vec![
        ("commit", Event::Commit(CommitV1 { snapshot: snapshots[0] })),
        ("forget", Event::Forget(ForgetV1 { snapshots: snapshots.clone(), reason: "keep-weekly 4".into() })),
        (
            "condemn",
            Event::Condemn(CondemnV1 {
                packs: vec![PackId(counting(0x31))],
                indexes: vec![IndexId(counting(0x21)), IndexId(counting(0x22))],
                snapshots: vec![snapshots[1]],
            }),
        ),
        ("verified", Event::Verified(verified())),
        (
            "raise",
            Event::Raise(RaiseV1 {
                features: Features { incompatible: 1 << 63, read_only: 3, compatible: 1 },
            }),
        ),
        ("unknown, to be passed over", Event::Unknown(255)),
    ]
}

/// A ledger entry with this event.
pub fn ledger_entry(number: u64, event: &Event) -> LedgerEntryV1 {
    let (kind, body) = event.encode();
    LedgerEntryV1 {
        number,
        previous: if number == 1 { [0; 32] } else { counting(0xb0) },
        session: session(),
        time: stamp(1_700_000_300, 1),
        host: "laptop".into(),
        user: "ada".into(),
        program: "ballast 0.1.0".into(),
        kind,
        body,
        extensions: extensions(),
    }
}

/// A lease.
pub fn lease() -> LeaseV1 {
    LeaseV1 {
        session: session(),
        start: 41,
        beat: 300,
        time: stamp(1_700_000_400, 0),
        host: "laptop".into(),
        user: "ada".into(),
        place: "5f0c 4026531836".into(),
        pid: 70_000,
        pid_start: 123_456,
        operation: "snapshot".into(),
        program: "ballast 0.1.0".into(),
        extensions: extensions(),
    }
}

/// A sealed object under a fixed nonce: associated data, and the object's bytes.
pub fn seal(kind: ObjectKind, purpose: Purpose, name: Option<&str>, plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let nonce = counting(0xc0);
    let keyring = keyring();
    let header = envelope::header(&Prefix::new(kind, keyring.current_epoch()), &nonce);
    let aad = match name {
        None => envelope::aad(&repo_id(), &header),
        Some(name) => envelope::aad_named(&repo_id(), &header, name),
    };
    let sealed = keyring.current(purpose).seal(&nonce, &aad, plain);
    (aad, [&header[..], &sealed].concat())
}

/// A whole pack, put together step by step.
#[derive(Debug)]
pub struct SamplePack {
    /// Plaintext of each frame, and the frame as it stands in the pack.
    pub frames: Vec<(Vec<u8>, Vec<u8>)>,
    /// Associated data of each frame.
    pub frame_aads: Vec<Vec<u8>>,
    /// Its trailer.
    pub trailer: Trailer,
    /// The trailer's plaintext, padding and all.
    pub trailer_plain: Vec<u8>,
    /// Its footer.
    pub footer: Footer,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// A tiny pack of two raw frames, one chunk and two; padded by Padmé.
pub fn pack() -> SamplePack {
    let (keyring, ids) = (keyring(), id_keys());
    let epoch = keyring.current_epoch();
    let suite = envelope::SUITE_XCHACHA_BLAKE3;
    let mut bytes = Prefix::new(ObjectKind::Pack, epoch).encode().to_vec();
    let (mut records, mut frames, mut frame_aads) = (Vec::new(), Vec::new(), Vec::new());
    let plains: [&[&[u8]]; 2] = [&[b"the only chunk of its frame"], &[b"one of two;", b"two of two."]];
    for (number, blobs) in (0u8..).zip(plains) {
        let plain = blobs.concat();
        let plain_len = u32::try_from(plain.len()).unwrap();
        let aad = frame::aad(&repo_id(), suite, epoch, Encoding::Raw as u8, 1, plain_len, &[]);
        let nonce: [u8; 24] = counting(number * 0x20);
        let stored = [&nonce[..], &keyring.current(Purpose::Frame).seal(&nonce, &aad, &plain)].concat();
        records.push(FrameRecord {
            offset: u32::try_from(bytes.len()).unwrap(),
            stored_len: u32::try_from(stored.len()).unwrap(),
            plain_len,
            encoding: Encoding::Raw as u8,
            codec_version: 1,
            height: 0,
            flags: 0,
            edges: Vec::new(),
            blobs: blobs
                .iter()
                .map(|b| FrameBlob {
                    kind: BlobKind::Chunk as u8,
                    len: u32::try_from(b.len()).unwrap(),
                    id: ids.id(BlobKind::Chunk, b),
                })
                .collect(),
        });
        bytes.extend_from_slice(&stored);
        frames.push((plain, stored));
        frame_aads.push(aad);
    }
    let trailer = Trailer {
        session: session(),
        pack_kind: PackKind::Data as u8,
        flags: 0,
        region_len: bytes.len() as u64,
        region_hash: *blake3::hash(&bytes).as_bytes(),
        frames: records,
        extensions: Vec::new(),
    };
    let Put(mut trailer_plain) = trailer.encode();
    let tail = 2 * (24 + 16) + 96;
    let unpadded = (bytes.len() + trailer_plain.len() + tail) as u64;
    let padding = usize::try_from(ballast::format::padme::padded_len(unpadded) - unpadded).unwrap();
    trailer_plain.resize(trailer_plain.len() + padding, 0);
    let footer =
        Footer { trailer_offset: bytes.len() as u64, trailer_len: (trailer_plain.len() + 24 + 16) as u64 };
    let key = keyring.current(Purpose::Trailer);
    for (first, aad, plain) in [
        (0x80, trailer_aad(&repo_id(), suite, epoch), &trailer_plain[..]),
        (0xa0, footer_aad(&repo_id(), suite, epoch), &footer.encode()),
    ] {
        let nonce: [u8; 24] = counting(first);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&key.seal(&nonce, &aad, plain));
    }
    SamplePack { frames, frame_aads, trailer, trailer_plain, footer, bytes }
}
