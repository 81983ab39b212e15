//! The bytes of every record and object of format v1 (`docs/format.md`), frozen under
//! `tests/golden/vectors`, one file a kind.
//!
//! Each is held both ways: what the code writes is what stands there, and what stands there
//! reads as the same value. `BALLAST_REGENERATE=1 cargo test -p ballast-tests --test vectors`
//! writes them anew: a difference there means another format.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ballast::codec;
use ballast::codec::grains::{self, BaseGrains, Draft, GRAIN_BYTES, NEW, Recipe, grains_of};
use ballast::crypto::kdf;
use ballast::crypto::keys::Purpose;
use ballast::error::Malformed;
use ballast::format::bytes::{Put, Take};
use ballast::format::config::ConfigV1;
use ballast::format::content::{self, Entry};
use ballast::format::envelope::Envelope;
use ballast::format::frame::FrameRecord;
use ballast::format::index::IndexObject;
use ballast::format::keyfile::{Clear, pad_record};
use ballast::format::ledger::{Event, LedgerEntryV1};
use ballast::format::pack::{Footer, Trailer};
use ballast::format::padme;
use ballast::format::tree::{self, NodeKind};
use ballast::format::wire::{self, Record};
use ballast::id::{BlobId, BlobKind, ObjectKind, from_hex, to_hex};
use ballast::repo::{keys, keytext};
use support::samples;

/// One file of vectors: `key value` lines, cases apart by empty lines.
struct Vectors {
    name: &'static str,
    text: String,
}

impl Vectors {
    fn new(name: &'static str, section: &str) -> Self {
        Self { name, text: format!("# {name}, format v1; see docs/format.md, \"{section}\".\n") }
    }

    fn case(&mut self, case: &str) -> &mut Self {
        self.text.push_str(&format!("\ncase {case}\n"));
        self
    }

    fn line(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text.push_str(&format!("{key} {value}\n"));
        self
    }

    fn hex(&mut self, key: &str, bytes: &[u8]) -> &mut Self {
        self.line(key, to_hex(bytes))
    }

    /// A record: its value as JSON, its bytes.
    fn record<R: Record + PartialEq>(&mut self, case: &str, value: &R) -> &mut Self {
        let bytes = wire::encode(value);
        let back: R = wire::decode(&bytes).unwrap();
        assert!(back == *value, "{case} does not come back");
        let json = serde_json::to_string(value).unwrap();
        self.case(case).line("value", json).hex("bytes", &bytes)
    }

    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/vectors").join(format!("{}.txt", self.name))
    }

    /// Compares with the frozen file, or writes it. Gives the frozen bytes of every case.
    fn settle(&self) -> Frozen {
        if std::env::var_os("BALLAST_REGENERATE").is_some() {
            File::create(self.path()).unwrap().write_all(self.text.as_bytes()).unwrap();
        }
        let golden = fs::read_to_string(self.path()).unwrap();
        for (number, (golden, now)) in golden.lines().zip(self.text.lines()).enumerate() {
            assert_eq!(golden, now, "{}, line {}", self.name, number + 1);
        }
        assert_eq!(golden.len(), self.text.len(), "{}", self.name);
        Frozen::read(&golden)
    }
}

/// `case` → `key` → value.
struct Frozen(BTreeMap<String, BTreeMap<String, String>>);

impl Frozen {
    fn read(text: &str) -> Self {
        let mut out: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut case = String::new();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            if key == "case" {
                value.clone_into(&mut case);
            }
            out.entry(case.clone()).or_default().insert(key.to_owned(), value.to_owned());
        }
        Self(out)
    }

    fn bytes(&self, case: &str, key: &str) -> Vec<u8> {
        let hex = &self.0[case][key];
        hex.as_bytes()
            .chunks(2)
            .map(|pair| from_hex::<1>(std::str::from_utf8(pair).unwrap()).unwrap()[0])
            .collect()
    }

    fn holds<T: PartialEq + Debug>(
        &self,
        case: &str,
        value: &T,
        decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) {
        assert_eq!(decode(&self.bytes(case, "bytes")).as_ref(), Ok(value), "{case}");
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn envelope() {
    let mut v = Vectors::new("envelope", "Envelope");
    let plain = b"plaintext of an object";
    for (case, kind, purpose, name) in [
        ("index object, named by its bytes", ObjectKind::Index, Purpose::Index, None),
        ("ledger entry, its name chosen", ObjectKind::Ledger, Purpose::Ledger, Some("42")),
    ] {
        let (aad, bytes) = samples::seal(kind, purpose, name, plain);
        v.case(case).line("object-kind", kind as u8).line("name", name.unwrap_or("-"));
        v.hex("repository-id", samples::repo_id().as_bytes());
        v.line("epoch", 300).hex("master-secret", &samples::secrets()[1].1);
        v.hex("associated-data", &aad).hex("plaintext", plain).hex("bytes", &bytes);
        v.line("blake3", blake3::hash(&bytes));
    }
    let frozen = v.settle();
    let bytes = frozen.bytes("ledger entry, its name chosen", "bytes");
    let envelope = Envelope::decode(&bytes, ObjectKind::Ledger).unwrap();
    assert_eq!((envelope.prefix.epoch, envelope.prefix.suite), (300, 1));
    assert_eq!(envelope.nonce, samples::counting(0xc0));
    let aad = ballast::format::envelope::aad_named(&samples::repo_id(), envelope.header, "42");
    let keyring = samples::keyring();
    let key = keyring.key(Purpose::Ledger, 300).unwrap();
    assert_eq!(key.open(&envelope.nonce, &aad, envelope.sealed).unwrap(), plain);
    let other = ballast::format::envelope::aad_named(&samples::repo_id(), envelope.header, "43");
    assert!(key.open(&envelope.nonce, &other, envelope.sealed).is_err());
}

#[test]
fn keys_and_blob_ids() {
    let mut v = Vectors::new("keys", "Keys");
    let secret = samples::secrets()[0].1;
    v.case("sealing keys").hex("master-secret", &secret);
    for purpose in ["frame", "trailer", "index", "snapshot", "ledger", "lease", "config", "label"] {
        v.hex(purpose, &blake3::derive_key(&format!("ballast v1 seal {purpose}"), &secret));
    }
    let config = samples::config();
    v.case("id keys").hex("id-secret", &config.id_secret);
    for kind in BlobKind::ALL {
        let context = format!("ballast v1 id {}", kind as u8);
        v.hex(&(kind as u8).to_string(), &blake3::derive_key(&context, &config.id_secret));
    }
    let frozen = v.settle();
    // The keyring uses these very keys: what they seal, it opens.
    for (word, purpose) in [("frame", Purpose::Frame), ("label", Purpose::Label), ("lease", Purpose::Lease)] {
        let key: [u8; 32] = frozen.bytes("sealing keys", word).try_into().unwrap();
        let sealed = ballast::crypto::aead::SealKey::new(&key).seal(&[0; 24], b"", b"x");
        let keyring = samples::keyring();
        assert_eq!(keyring.key(purpose, 1).unwrap().open(&[0; 24], b"", &sealed).unwrap(), b"x");
    }

    let mut v = Vectors::new("blob-ids", "Blobs");
    let ids = samples::id_keys();
    for (case, plain) in [("empty", &b""[..]), ("short", b"plaintext of a blob")] {
        v.case(case).hex("id-secret", &config.id_secret).hex("plaintext", plain);
        for kind in BlobKind::ALL {
            v.line(&kind.word().replace(' ', "-"), ids.id(kind, plain));
        }
    }
    v.settle();
}

#[test]
fn key_file_and_key_page() {
    let (config, label, body) = (samples::config(), samples::label(), samples::body());
    let mut made_body = body.clone();
    made_body.extensions = Vec::new();
    let keyring = samples::keyring();
    let (id, file) = keys::make(
        &keyring,
        &config,
        label.clone(),
        samples::PASSWORD,
        &samples::KDF,
        &samples::surroundings(),
    )
    .unwrap();
    let clear = Clear::decode(&file).unwrap();
    assert_eq!(clear.encode(), file[..128]);
    let derived = kdf::derive(samples::PASSWORD, &clear.salt, &clear.kdf).unwrap();

    let mut v = Vectors::new("key-file", "Key file");
    v.record("label", &label).record("body", &body);
    v.case("key file").line("password", String::from_utf8_lossy(samples::PASSWORD));
    v.line("argon2-memory-kib", clear.kdf.memory_kib).line("argon2-passes", clear.kdf.passes);
    v.line("argon2-lanes", clear.kdf.lanes).hex("salt", &clear.salt);
    v.hex("wrapping-key", &derived.wrapping).hex("commitment", &derived.commitment);
    v.hex("label-plaintext", &pad_record(&label, 240).unwrap());
    v.hex("body-plaintext", &pad_record(&made_body, 1088).unwrap());
    v.hex("bytes", &file).line("name", id);
    let frozen = v.settle();
    let file = frozen.bytes("key file", "bytes");
    let (opened, copy) = keys::try_open(&file, samples::PASSWORD).unwrap().unwrap();
    assert!(opened.secrets() == samples::secrets() && copy == config);
    assert!(keys::try_open(&file, b"another").unwrap().is_none());

    let mut v = Vectors::new("key-page", "Key page");
    let page = keytext::export(&file, "/srv/vault", "Lärche");
    v.case("the key file of key-file.txt");
    for (number, line) in page.lines().enumerate() {
        v.line(&format!("line-{:02}", number + 1), line);
    }
    let frozen = v.settle();
    let page: Vec<&str> = frozen.0["the key file of key-file.txt"]
        .iter()
        .filter(|(key, _)| key.starts_with("line-"))
        .map(|(_, line)| line.as_str())
        .collect();
    assert_eq!(keytext::import(&page.join("\n")).unwrap(), file);
}

#[test]
fn config() {
    let mut v = Vectors::new("config", "Config");
    v.record("every field set", &samples::config());
    let frozen = v.settle();
    frozen.holds("every field set", &samples::config(), |b| {
        wire::decode::<ConfigV1>(b).and_then(|c| c.check().map(|()| c))
    });
}

fn encoded_frame(frame: &FrameRecord) -> Vec<u8> {
    let mut put = Put::default();
    frame.encode(&mut put);
    put.0
}

fn describe_frame(v: &mut Vectors, frame: &FrameRecord) {
    v.line("offset", frame.offset).line("stored-length", frame.stored_len);
    v.line("plain-length", frame.plain_len).line("encoding", frame.encoding);
    v.line("codec-version", frame.codec_version).line("height", frame.height);
    for (number, edge) in frame.edges.iter().enumerate() {
        v.line(&format!("edge-{number}"), format!("how {} kind {} id {}", edge.how, edge.kind, edge.id));
    }
    for (number, blob) in frame.blobs.iter().enumerate() {
        v.line(&format!("blob-{number}"), format!("kind {} length {} id {}", blob.kind, blob.len, blob.id));
    }
}

#[test]
fn frame_records() {
    let cases = [("alone", samples::plain_frame()), ("with bases", samples::delta_frame())];
    let mut v = Vectors::new("frame", "Frame record");
    for (case, frame) in &cases {
        v.case(case);
        describe_frame(&mut v, frame);
        v.hex("bytes", &encoded_frame(frame));
        let aad = ballast::format::frame::aad(
            &samples::repo_id(),
            1,
            300,
            frame.encoding,
            frame.codec_version,
            frame.plain_len,
            &frame.edges,
        );
        v.hex("associated-data-under-epoch-300", &aad);
    }
    let frozen = v.settle();
    for (case, frame) in &cases {
        frozen.holds(case, frame, |bytes| {
            let mut take = Take(bytes);
            let frame = FrameRecord::decode(&mut take)?;
            take.end().map(|()| frame)
        });
    }
}

/// A zstd frame as this program wrote it once; another version of zstd may write another.
const ZSTD: (&[u8], &str) = (
    b"to be or not to be, that is to be or not to be: to be or not to be, or not",
    "28b52ffd204a5d0100f8746f206265206f72206e6f74202c20746861742069733a2c206f72206e6f7404100497c81f2073c0f505",
);

const DELTA_BASE: &[u8] = b"what stood there before stands there still";
const DELTA_PLAIN: &[u8] = b"what stood there before stands there still, and more";
const DELTA_PREFIX: &str = "0128b52ffd2034850000502c20616e64206d6f726501001ba480";

#[test]
fn encodings() {
    let mut v = Vectors::new("encodings", "Encodings");
    v.case("raw").line("encoding", 0).line("codec-version", 1).hex("plaintext", b"raw").hex("bytes", b"raw");
    v.case("zstd; other bytes may decode to the same").line("encoding", 1).line("codec-version", 1);
    v.hex("plaintext", ZSTD.0).line("bytes", ZSTD.1);
    // 1.0 and -0.5 as bf16, between a byte before and a byte after.
    v.case("planes of two bytes, rotated, lead 1, raw").line("encoding", 2).line("codec-version", 1);
    v.line("plaintext", "aa803f00bf55");
    v.line("bytes", "020101".to_owned() + "0002000000" + "0002000000" + "aa" + "0001" + "7f7e" + "55");
    // Three planes of zeros and the text above as the fourth, coded.
    let zeros = "00".repeat(ZSTD.0.len());
    v.case("planes of four bytes, the highest coded").line("encoding", 2).line("codec-version", 1);
    v.hex("plaintext", &ZSTD.0.iter().flat_map(|b| [0, 0, 0, *b]).collect::<Vec<u8>>());
    let raw = "004a000000";
    v.line("bytes", format!("040000{raw}{raw}{raw}0134000000{zeros}{zeros}{zeros}{}", ZSTD.1));
    // Text after a text, as zstd made it once.
    v.case("delta by prefix; other bytes may decode to the same")
        .line("encoding", 3)
        .line("codec-version", 1);
    v.hex("base-0", DELTA_BASE).hex("plaintext", DELTA_PLAIN).line("bytes", DELTA_PREFIX);
    // Two numbers of two bytes against two others, +1 and -1, and a byte after them.
    let escapes = "00000000";
    v.case("delta of bf16 numbers against one base").line("encoding", 3).line("codec-version", 1);
    v.line("base-0", "803f00bf").line("plaintext", "813fffbe77");
    let symbols = "00020000000201".to_owned();
    v.line(
        "bytes",
        "0200000008".to_owned() + "00" + "3e01" + "00" + "000100000001" + "00" + &symbols + escapes + "0077",
    );
    // The step from 1 to 5 is expected again by half, 7, and found to be 8; low bits apart.
    v.case("delta of four-byte integers against two bases, lead 1")
        .line("encoding", 3)
        .line("codec-version", 1);
    v.line("base-0", "aa05000000").line("base-1", "bb01000000").line("plaintext", "cc08000000");
    let group = "00".to_owned() + "000100000002" + escapes;
    v.line("bytes", "0304010208".to_owned() + "cc" + "00" + "3e01" + "00" + "000100000001" + &group);
    // Two blocks of three bytes: the first of each alone; the others ordered by it, the greatest taken
    // out, their lowest bits apart; a byte after them.
    v.case("planes by fields: ordered, a peak, lowest bits apart")
        .line("encoding", 2)
        .line("codec-version", 2);
    v.line("plaintext", "057f0a020304ee");
    let header = "030002".to_owned() + "000101000080" + "0e0201010080" + "7f81" + "0100000100";
    let peaks = "0002000000007f";
    let groups = "0104000000".to_owned() + "00020000000102" + "000100000005" + "01";
    v.line("bytes", header + "00020000000502" + peaks + &groups + "ee");
    // Of two bytes the low halves make one symbol, the high ones another.
    v.case("planes by fields: symbols of two parts").line("encoding", 2).line("codec-version", 2);
    v.line("plaintext", "1234");
    let parts = "000040".to_owned() + "010040" + "000044" + "010044";
    v.line("bytes", "020001".to_owned() + "010102" + &parts + "00020000004231");
    // Numbers of four bits, +1 and -3, and a byte after them.
    v.case("delta of fields against one base").line("encoding", 3).line("codec-version", 1);
    v.line("base-0", "1234").line("plaintext", "130477");
    let symbols = "000400000002000005".to_owned();
    v.line("bytes", "04020001000202000040000044".to_owned() + "00" + &symbols + escapes + "0077");
    let frozen = v.settle();
    for (case, bases) in [
        ("delta by prefix; other bytes may decode to the same", 1),
        ("delta of bf16 numbers against one base", 1),
        ("delta of four-byte integers against two bases, lead 1", 2),
        ("delta of fields against one base", 1),
    ] {
        let plain = frozen.bytes(case, "plaintext");
        let bases: Vec<Vec<u8>> = (0..bases).map(|i| frozen.bytes(case, &format!("base-{i}"))).collect();
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let mut out = vec![0; plain.len()];
        codec::decode(3, 1, &frozen.bytes(case, "bytes"), &bases, &mut out).unwrap();
        assert_eq!(out, plain, "{case}");
    }
    for (encoding, version, case) in [
        (0, 1, "raw"),
        (2, 2, "planes by fields: ordered, a peak, lowest bits apart"),
        (2, 2, "planes by fields: symbols of two parts"),
        (1, 1, "zstd; other bytes may decode to the same"),
        (2, 1, "planes of two bytes, rotated, lead 1, raw"),
        (2, 1, "planes of four bytes, the highest coded"),
    ] {
        let plain = frozen.bytes(case, "plaintext");
        let mut out = vec![0; plain.len()];
        codec::decode(encoding, version, &frozen.bytes(case, "bytes"), &[], &mut out).unwrap();
        assert_eq!(out, plain);
    }
}

/// Bytes of runs: `61*4096` is 4096 times 61.
fn runs(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b).map(|run| format!("{:02x}*{}", run[0], run.len()));
    runs.collect::<Vec<_>>().join(" ")
}

fn of_runs(text: &str) -> Vec<u8> {
    let run = |run: &str| {
        let (byte, count) = run.split_once('*').unwrap();
        vec![u8::from_str_radix(byte, 16).unwrap(); count.parse().unwrap()]
    };
    text.split(' ').flat_map(run).collect()
}

/// Grains of one byte each; where there are two, the first stands in the middle.
fn grain(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![bytes[0]; len];
    bytes.get(1).inspect(|b| out[len / 2] = **b);
    out
}

/// What the frames below were made to, once; another version of zstd may write another stream, or pack a recipe
/// otherwise.
const GRAINS_STREAM: &str = "28b52ffd601e1fed00004063216366216665210600326501f2dd1ffcc83ff8d9fee06ffcf33b21";
const GRAINS_PACKED: &str = "501428b52ffd20505d000028000423042f010038eab4";

#[test]
fn deltas_by_grains() {
    let mut v = Vectors::new("grains", "Delta by grains");
    let whole = GRAIN_BYTES;
    let zero: Vec<u8> =
        [grain(b"a", whole), grain(b"b", whole), grain(b"c", whole), grain(b"d", whole), grain(b"e", 20)]
            .concat();
    let one: Vec<u8> = [grain(b"f", whole), grain(b"g", whole)].concat();
    let bases = [&zero[..], &one[..]];
    let lens = bases.map(|base| u32::try_from(base.len()).unwrap());
    let all = BaseGrains::new(&bases);
    let bytes =
        |numbers: &[u32]| numbers.iter().flat_map(|n| all.get(*n).unwrap()).copied().collect::<Vec<u8>>();
    let plain: Vec<u8> = [
        grain(b"a", whole),
        grain(b"b", whole),
        grain(b"c!", whole),
        grain(b"g", whole),
        grain(b"f!", whole),
        grain(b"d", whole),
        grain(b"e!", 30),
    ]
    .concat();
    let draft = Draft {
        grains: vec![0, 1, NEW, 6, NEW, 3, NEW],
        near: vec![NEW, NEW, 2, NEW, NEW, NEW, 4],
        far: vec![1, 5, 6],
    };
    let text = |grains: &[u32]| {
        grains
            .iter()
            .map(|n| if *n == NEW { "new".into() } else { n.to_string() })
            .collect::<Vec<String>>()
            .join(" ")
    };
    let new: Vec<u8> = [2, 4, 6].iter().flat_map(|n| plain.chunks(whole).nth(*n).unwrap()).copied().collect();
    let mut made = Vec::new();
    assert!(grains::encode(&draft, &new, &bytes(&draft.prefix()), 12, &mut made));
    let recipe_len = usize::from(made[0]);
    let head = to_hex(&made[..2 + recipe_len]);
    v.case("copy, replace, insert, seek; other bytes of the stream may decode to the same");
    v.line("encoding", 3).line("codec-version", 2);
    v.line("base-0", runs(&zero)).line("base-1", runs(&one)).line("plaintext", runs(&plain));
    v.line("grains", text(&draft.grains)).line("prefix", text(&draft.prefix()));
    v.hex("recipe", &made[2..2 + recipe_len]).line("bytes", head + GRAINS_STREAM);

    let every = |count: u32| (0..count).map(|at| if at % 2 == 0 { at } else { 0 }).collect::<Vec<u32>>();
    let copies = Draft { grains: every(7), near: vec![NEW; 7], far: Vec::new() };
    // One of another length than the grain it would become.
    let copies =
        Draft { grains: copies.grains.iter().map(|n| if *n == 4 { 5 } else { *n }).collect(), ..copies };
    let mut alone = Vec::new();
    assert!(grains::encode(&copies, &[], &[], 12, &mut alone));
    v.case("nothing but copies").line("encoding", 3).line("codec-version", 2);
    v.line("base-0", runs(&zero)).line("base-1", runs(&one)).line("plaintext", runs(&bytes(&copies.grains)));
    v.line("grains", text(&copies.grains)).line("prefix", "").hex("recipe", &alone[2..]).hex("bytes", &alone);

    let long = vec![0; 40 * whole];
    let mut packed = Vec::new();
    let back = Draft {
        grains: (0..40).map(|at| if at % 2 == 0 { 0 } else { 5 }).collect(),
        near: vec![NEW; 40],
        far: Vec::new(),
    };
    assert!(grains::encode(&back, &[], &[], 12, &mut packed));
    v.case("a packed recipe; other bytes may unpack to the same")
        .line("encoding", 3)
        .line("codec-version", 2);
    v.line("base-0", runs(&long)).line("plaintext", runs(&long)).line("grains", text(&back.grains));
    v.line("prefix", "").line("bytes", GRAINS_PACKED);

    let frozen = v.settle();
    assert_eq!(frozen.0.len(), 3);
    for (case, lines) in &frozen.0 {
        let bases: Vec<Vec<u8>> =
            lines.iter().filter(|(key, _)| key.starts_with("base-")).map(|(_, runs)| of_runs(runs)).collect();
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let (plain, encoded) = (of_runs(&lines["plaintext"]), frozen.bytes(case, "bytes"));
        let lens: Vec<u32> = bases.iter().map(|base| base.len() as u32).collect();
        let recipe = Recipe::read(&encoded, &lens, plain.len()).unwrap();
        assert_eq!(
            (text(&recipe.grains), text(&recipe.prefix)),
            (lines["grains"].clone(), lines["prefix"].clone())
        );
        assert_eq!(recipe.grains.len(), grains_of(plain.len()));
        let mut out = vec![0; plain.len()];
        codec::decode(3, 2, &encoded, &bases, &mut out).unwrap();
        assert!(out == plain, "{case}");
    }
    assert_eq!(lens, [4 * 4096 + 20, 2 * 4096]);
}

#[test]
fn pack() {
    let pack = samples::pack();
    let mut v = Vectors::new("pack", "Pack");
    v.case("two raw frames").hex("repository-id", samples::repo_id().as_bytes());
    v.line("epoch", 300).hex("master-secret", &samples::secrets()[1].1);
    v.hex("id-secret", &samples::config().id_secret);
    for (number, ((plain, stored), aad)) in pack.frames.iter().zip(&pack.frame_aads).enumerate() {
        v.hex(&format!("frame-{number}-plaintext"), plain);
        v.hex(&format!("frame-{number}-associated-data"), aad);
        v.hex(&format!("frame-{number}-stored"), stored);
    }
    v.hex("trailer-associated-data", &ballast::format::pack::trailer_aad(&samples::repo_id(), 1, 300));
    v.hex("trailer-plaintext", &pack.trailer_plain);
    v.hex("footer-associated-data", &ballast::format::pack::footer_aad(&samples::repo_id(), 1, 300));
    v.hex("footer-plaintext", &pack.footer.encode());
    v.hex("bytes", &pack.bytes).line("length", pack.bytes.len()).line("name", blake3::hash(&pack.bytes));
    v.case("trailer with everything set").hex("bytes", &samples::trailer().encode().0);
    v.case("footer of a pack of 1428 bytes").hex("bytes", &samples::footer().encode());
    let frozen = v.settle();
    frozen.holds("trailer with everything set", &samples::trailer(), Trailer::decode);
    frozen.holds("footer of a pack of 1428 bytes", &samples::footer(), |b| {
        Footer::decode(b, samples::FOOTER_PACK_LEN)
    });
    assert_eq!(Trailer::decode(&frozen.bytes("two raw frames", "trailer-plaintext")).unwrap(), pack.trailer);
    let bytes = frozen.bytes("two raw frames", "bytes");
    let footer = Footer::decode(&pack.footer.encode(), bytes.len() as u64).unwrap();
    assert_eq!(footer, pack.footer);
    assert_eq!(padme::padded_len(bytes.len() as u64), bytes.len() as u64);
}

#[test]
fn index() {
    let mut v = Vectors::new("index", "Index object");
    let index = samples::index();
    v.case("everything set").line("session", index.session);
    for (number, id) in index.replaces.iter().enumerate() {
        v.line(&format!("replaces-{number}"), id);
    }
    for (number, pack) in index.packs.iter().enumerate() {
        let (size, kind, epoch, count) = (pack.size, pack.pack_kind, pack.epoch, pack.frames.len());
        v.line(
            &format!("pack-{number}"),
            format!("{} size {size} kind {kind} epoch {epoch} frames {count} (see frame.txt)", pack.id),
        );
    }
    v.line("extensions", json(&index.extensions)).hex("bytes", &index.encode());
    v.settle().holds("everything set", &index, IndexObject::decode);
}

#[test]
fn content_lists() {
    let mut v = Vectors::new("list", "Content");
    v.record("each kind of entry", &samples::list());
    // Where a list of such entries is cut: entry i is a chunk whose id is BLAKE3 of i as u64.
    let entry = |i: u64| Entry::Chunk { id: BlobId(*blake3::hash(&i.to_le_bytes()).as_bytes()), len: 1 };
    let entries: Vec<Entry> = (0..5000).map(entry).collect();
    let same = vec![entry(1); 2500];
    v.case("cuts of 5000 chunks, id i = BLAKE3 of i as u64").line("ends", json(&content::cut(&entries)));
    v.case("cuts of 2500 times chunk 1 of these").line("ends", json(&content::cut(&same)));
    v.settle().holds("each kind of entry", &samples::list(), |b| {
        let list = wire::decode::<content::ListV1>(b)?;
        content::total_len(&list.entries).map(|_| list)
    });
}

#[test]
fn trees() {
    let cases = [
        ("a node of each type, one with everything set", samples::tree()),
        ("directory cut in parts", samples::parted_tree()),
        ("tree part", samples::tree_part()),
    ];
    let mut v = Vectors::new("tree", "Tree");
    for (case, tree) in &cases {
        v.record(case, tree);
    }
    let nodes: Vec<_> =
        (0..6000).map(|i| samples::node(format!("{i:05}").as_bytes(), NodeKind::File, vec![])).collect();
    v.case("cuts of 6000 nodes named 00000 to 05999").line("ends", json(&tree::cut(&nodes)));
    let frozen = v.settle();
    for (case, tree) in &cases {
        frozen.holds(case, tree, |b| wire::decode::<tree::TreeV1>(b).and_then(|t| t.check().map(|()| t)));
    }
}

#[test]
fn small_records() {
    let mut v = Vectors::new("records", "Small records");
    v.record("verification", &samples::verified());
    v.record("capture of a database", &samples::capture());
    v.record("extended attributes", &samples::xattrs());
    v.record("mark of loss, of a file", &samples::lost_of_file());
    v.record("mark of loss, of a directory", &samples::lost_of_directory());
    v.record("files of a captured database", &samples::capture_files());
    v.record("verified databases", &samples::verified_databases());
    let frozen = v.settle();
    frozen.holds("verification", &samples::verified(), wire::decode);
    frozen.holds("capture of a database", &samples::capture(), wire::decode);
    frozen.holds("extended attributes", &samples::xattrs(), wire::decode);
    frozen.holds("mark of loss, of a file", &samples::lost_of_file(), wire::decode);
    frozen.holds("mark of loss, of a directory", &samples::lost_of_directory(), wire::decode);
    frozen.holds("files of a captured database", &samples::capture_files(), wire::decode);
    frozen.holds("verified databases", &samples::verified_databases(), wire::decode);

    let mut v = Vectors::new("seams", "Seam table");
    v.record("two tensors", &samples::seams());
    v.settle().holds("two tensors", &samples::seams(), wire::decode);

    let mut v = Vectors::new("snapshot", "Snapshot");
    v.record("every field set", &samples::snapshot());
    v.settle().holds("every field set", &samples::snapshot(), wire::decode);

    let mut v = Vectors::new("lease", "Lease");
    v.record("every field set", &samples::lease());
    v.settle().holds("every field set", &samples::lease(), wire::decode);
}

#[test]
fn ledger() {
    let mut v = Vectors::new("ledger", "Ledger");
    let cases: Vec<_> = (1..)
        .zip(samples::events())
        .map(|(number, (case, event))| (case, samples::ledger_entry(number, &event), event))
        .collect();
    for (case, entry, event) in &cases {
        v.record(case, entry);
        let body = match event {
            Event::Commit(b) => json(b),
            Event::Forget(b) => json(b),
            Event::Condemn(b) => json(b),
            Event::Verified(b) => json(b),
            Event::Raise(b) => json(b),
            Event::Unknown(_) => "-".into(),
        };
        v.line("event", body).hex("event-bytes", &entry.body);
    }
    // A whole sealed entry, taken apart in docs/format.md.
    let (_, first, _) = &cases[0];
    let mut first = first.clone();
    first.extensions = Vec::new();
    let plain = wire::encode(&first);
    let (aad, bytes) = samples::seal(ObjectKind::Ledger, Purpose::Ledger, Some("1"), &plain);
    v.case("sealed").hex("plaintext", &plain).hex("associated-data", &aad).hex("bytes", &bytes);
    v.line("blake3", blake3::hash(&bytes));
    let frozen = v.settle();
    for (case, entry, event) in &cases {
        frozen.holds(case, entry, wire::decode::<LedgerEntryV1>);
        assert_eq!(Event::decode(entry.kind, &entry.body).as_ref(), Ok(event));
    }
}

#[test]
fn padme() {
    let mut v = Vectors::new("padme", "Padding");
    v.case("length and padded length");
    for len in [0, 1, 2, 7, 8, 9, 15, 16, 17, 100, 1000, 1025, 4097, 65_537, 1_000_000, 8_388_609, 16_777_217]
    {
        v.line(&len.to_string(), padme::padded_len(len));
    }
    v.line(&((1u64 << 30) - 1).to_string(), padme::padded_len((1 << 30) - 1));
    v.settle();
}

/// The dumps in `docs/format.md`, "An object taken apart", are these very bytes.
#[test]
fn the_page_shows_these_bytes() {
    let mut first = samples::ledger_entry(1, &samples::events()[0].1);
    first.extensions = Vec::new();
    let plain = wire::encode(&first);
    let (_, sealed) = samples::seal(ObjectKind::Ledger, Purpose::Ledger, Some("1"), &plain);
    let pack = samples::pack();
    let shown = [sealed, plain, pack.bytes, pack.footer.encode().to_vec(), pack.trailer_plain];
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|s| s.starts_with("An object taken apart")).unwrap();
    let dumps: Vec<&str> = section.split("\n```\n").skip(1).step_by(2).collect();
    assert_eq!(dumps.len(), shown.len());
    for (dump, bytes) in dumps.iter().zip(shown) {
        let rows = dump.lines().map(str::trim_start).filter(|row| *row != "…");
        for row in rows {
            let (offset, rest) = row.split_once("  ").unwrap();
            let offset: usize = offset.parse().unwrap();
            let hex = rest.split("  ").next().unwrap().trim_end().replace(' ', "");
            assert_eq!(to_hex(&bytes[offset..offset + hex.len() / 2]), hex, "{row}");
        }
    }
}
