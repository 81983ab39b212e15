//! Cut points that must never move (`docs/format.md`, "Cutting"), and cutting of
//! real model files.
//!
//! `tests/golden/vectors/cuts.txt` states secret, sizes, content and cuts; `models.txt` headers of
//! safetensors files, and the regions and cuts of those files; `formats.txt` the same of the other formats.
//! `BALLAST_REGENERATE=1 cargo test -p ballast-tests --test cutting` writes it
//! anew: a change there means that every repository loses its deduplication
//! against older snapshots.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ballast::chunk::layout;
use ballast::chunk::safetensors::Safetensors;
use ballast::chunk::{CutParams, Cutter, Opaque, Policy, Rule, TABLE_VERSION, lay_out};
use ballast::id::to_hex;
use support::formats::{self, Pickle, View};
use support::models::Tensor;

const DEFAULT: CutParams = CutParams { version: 1, min: 256 << 10, avg: 1 << 20, max: 4 << 20 };
const MIDDLE: CutParams = CutParams { version: 1, min: 16 << 10, avg: 48 << 10, max: 192 << 10 };
const SMALL: CutParams = CutParams { version: 1, min: 256, avg: 1024, max: 4096 };
const BY_EIGHT: Rule = Rule { grid: 8, policy: Policy::Cdc };

const SECRETS: [[u8; 32]; 2] = [[0; 32], *b"ballast golden vectors: a secret"];

/// A part of a content, as the file states it and as bytes.
enum Part {
    /// BLAKE3 in extended output mode, without a key, of these words.
    Xof(&'static str, usize),
    /// One byte value.
    Fill(u8, usize),
}

impl Part {
    fn stated(&self) -> String {
        match self {
            Self::Xof(seed, len) => format!("data blake3-xof {len} {seed}"),
            Self::Fill(byte, len) => format!("data fill {len} {byte:02x}"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Xof(seed, len) => {
                let mut bytes = vec![0; len];
                blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
                bytes
            }
            Self::Fill(byte, len) => vec![byte; len],
        }
    }
}

fn cases() -> Vec<(&'static str, [u8; 32], CutParams, Rule, Vec<Part>)> {
    use Part::{Fill, Xof};
    let [zero, words] = SECRETS;
    vec![
        ("default sizes", zero, DEFAULT, Rule::PLAIN, vec![Xof("cuts 1", (20 << 20) + 5)]),
        ("another secret", words, DEFAULT, Rule::PLAIN, vec![Xof("cuts 1", (20 << 20) + 5)]),
        ("on a grid of 8", words, DEFAULT, BY_EIGHT, vec![Xof("cuts 1", (20 << 20) + 5)]),
        (
            "zeros within",
            words,
            DEFAULT,
            Rule::PLAIN,
            vec![Xof("cuts 2", 1_500_001), Fill(0, 9 << 20), Xof("cuts 3", 3 << 20)],
        ),
        ("an average that is no power of two", words, MIDDLE, Rule::PLAIN, vec![Xof("cuts 4", 1_000_003)]),
        ("small sizes", zero, SMALL, Rule::PLAIN, vec![Xof("cuts 5", 50_001)]),
        ("small sizes, another secret", words, SMALL, Rule::PLAIN, vec![Xof("cuts 5", 50_001)]),
        ("small sizes on a grid of 8", words, SMALL, BY_EIGHT, vec![Xof("cuts 5", 50_001)]),
        ("one value only", words, SMALL, BY_EIGHT, vec![Fill(0x20, 9001)]),
        ("shorter than min", words, SMALL, Rule::PLAIN, vec![Xof("cuts 6", 256)]),
        ("one byte", words, SMALL, Rule::PLAIN, vec![Fill(0, 1)]),
        (
            "fixed units",
            words,
            SMALL,
            Rule { grid: 4096, policy: Policy::Fixed(65_536) },
            vec![Xof("cuts 7", 200_000)],
        ),
    ]
}

fn render() -> String {
    let mut out = String::from(
        "# Cut points, see docs/format.md, \"Cutting\". A case ends with an empty line.\n\
         # data: parts, one after the other; blake3-xof is unkeyed BLAKE3 of the words, extended to so many bytes.\n\
         # table-blake3: over the 256 entries as little endian u64. cuts: ends of chunks.\n\n",
    );
    for (name, secret, params, rule, parts) in cases() {
        let cutter = Cutter::new(&secret, TABLE_VERSION, params).unwrap();
        let gear = cutter.table().entries();
        let table: Vec<u8> = gear.iter().flat_map(|number| number.to_le_bytes()).collect();
        let data: Vec<u8> = parts.iter().flat_map(Part::bytes).collect();
        let cuts = cutter.cut_window(&data, true, rule);
        assert_eq!(cuts, cutter.cut_window_parallel(&data, true, rule), "{name}");
        let numbers =
            |numbers: &[u64]| numbers.iter().map(|n| format!("{n:016x}")).collect::<Vec<_>>().join(" ");
        let policy = match rule.policy {
            Policy::Cdc => "cdc".to_owned(),
            Policy::Fixed(unit) => format!("fixed {unit}"),
        };
        let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(out, "{key} {value}").unwrap();
        line("case", &name);
        line("secret", &to_hex(&secret));
        line("cutter-version", &params.version);
        line("table-version", &TABLE_VERSION);
        line("sizes", &format!("{} {} {}", params.min, params.avg, params.max));
        line("counter", &cutter.table().counter());
        line("table-first", &numbers(&gear[..4]));
        line("table-last", &numbers(&gear[252..]));
        line("table-blake3", &blake3::hash(&table));
        for part in &parts {
            out.push_str(&part.stated());
            out.push('\n');
        }
        let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(out, "{key} {value}").unwrap();
        line("data-blake3", &blake3::hash(&data));
        line("policy", &policy);
        line("grid", &rule.grid);
        line("cuts", &cuts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        out.push('\n');
    }
    out
}

/// Headers, and how many bytes follow: some that are taken, some that are not.
const HEADERS: [(&str, &str, usize); 7] = [
    (
        "three tensors and metadata",
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[5000,3],"data_offsets":[0,30000]},"b.bias":{"dtype":"F32","shape":[7],"data_offsets":[30000,30028]},"c":{"dtype":"F16","shape":[1,9001],"data_offsets":[30028,48030]}}     "#,
        48_030,
    ),
    (
        "another order, empty tensors, escapes, odd lengths",
        r#"{"z\u0041\"":{"shape":[],"dtype":"I64","data_offsets":[4099,4107]},"none":{"dtype":"F64","shape":[0,9],"data_offsets":[4099,4099]},"a":{"dtype":"U8","shape":[4099],"data_offsets":[0,4099]},"four":{"dtype":"F4","shape":[6],"data_offsets":[4107,4110]}}"#,
        4110,
    ),
    (
        "a header of several chunks",
        r#"{"a":{"dtype":"U8","shape":[6000],"data_offsets":[0,6000]},"__metadata__":{"0":"PADDED"}}"#,
        6000,
    ),
    ("opaque: a hole", r#"{"a":{"dtype":"U8","shape":[5000],"data_offsets":[1,5001]}}"#, 5001),
    ("opaque: a type of a later day", r#"{"a":{"dtype":"F2","shape":[5000],"data_offsets":[0,1250]}}"#, 1250),
    ("opaque: not to the end", r#"{"a":{"dtype":"U8","shape":[5000],"data_offsets":[0,5000]}}"#, 5001),
    ("opaque: no tensors", r#"{"__metadata__":{"a":"b"}}"#, 0),
];

fn render_models() -> String {
    let params = CutParams { version: 2, ..SMALL };
    let cutter = Cutter::new(&SECRETS[1], TABLE_VERSION, params).unwrap();
    let mut out = format!(
        "# Regions and cuts of safetensors files, see docs/format.md, \"Cutting\". A case ends with an empty line.\n\
         # The file: length of the JSON as u64, the JSON with 10000 x for PADDED, data as in cuts.txt.\n\
         # regions: start, length, grid. cuts: ends of chunks.\n\
         secret {}\ncutter-version 2\ntable-version {TABLE_VERSION}\nsizes {} {} {}\n\n",
        to_hex(&SECRETS[1]),
        params.min,
        params.avg,
        params.max,
    );
    for (name, json, data) in HEADERS {
        let data = Part::Xof("a model", data);
        let text = json.replace("PADDED", &"x".repeat(10_000));
        let content = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data.bytes()].concat();
        let len = content.len() as u64;
        let regions = lay_out(&Safetensors, &&content[..], len, &params).unwrap();
        assert_eq!(name.starts_with("opaque"), regions == Opaque::layout(len), "{name}");
        let cuts = cutter.cut_regions(&content, 0, &regions);
        assert_eq!(cuts, cutter.cut_regions_alone(&content, 0, &regions), "{name}");
        let shown: Vec<String> =
            regions.iter().map(|r| format!("{} {} {}", r.start, r.len, r.grid)).collect();
        let cuts: Vec<String> = cuts.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "case {name}\njson {json}\n{}\nfile-blake3 {}\nregions {}\ncuts {}\n",
            data.stated(),
            blake3::hash(&content),
            shown.join(", "),
            cuts.join(" ")
        )
        .unwrap();
    }
    out
}

/// A tensor of these elements, the bytes of which are told by its name.
fn part(name: &'static str, dtype: &'static str, shape: &[u64], len: usize) -> (Tensor, Part) {
    let data = Part::Xof(name, len);
    (Tensor { name: name.into(), dtype, shape: shape.to_vec(), data: data.bytes() }, data)
}

/// Files of the formats that version 3 sees, and the parts in them that are not stated byte by byte.
fn format_cases() -> Vec<(&'static str, Vec<u8>, Vec<Part>)> {
    let split = |all: Vec<(Tensor, Part)>| -> (Vec<Tensor>, Vec<Part>) { all.into_iter().unzip() };
    let (plain, plain_parts) = split(vec![
        part("a.weight", "BF16", &[60, 100], 12_000),
        part("a.bias", "BF16", &[255], 510),
        part("b", "F32", &[128], 512),
    ]);
    let views: Vec<View> = [("x", 0, 1000), ("y", 1000, 2000), ("x.again", 0, 1000), ("outside", 2000, 1001)]
        .map(|(name, offset, len)| View {
            name: name.into(),
            dtype: "F32",
            shape: vec![len],
            key: "7".into(),
            elements: 3000,
            offset,
            stride: None,
        })
        .into();
    let shared = Part::Xof("a shared storage", 12_000);
    let lone = Part::Xof("a storage without a name", 3000);
    let entries = [("data/7".to_owned(), &shared.bytes()[..]), ("data/8".to_owned(), &lone.bytes())];
    let archive = formats::archive("m", &Pickle::new().tensors(&views).finish(), &entries);
    let (blocks, blocks_parts) = split(vec![
        part("plain", "F32", &[30, 100], 12_000),
        part("q8", "Q8_0", &[25, 320], 8500),
        part("q6", "Q6_K", &[6, 1024], 5040),
        part("of a later day", "?", &[9], 999),
        part("last", "F16", &[300], 600),
    ]);
    let array = Part::Xof("an array", 12_000);
    let torn = formats::torch(&plain[1..]);
    vec![
        ("a torch archive", formats::torch(&plain), plain_parts),
        ("a torch archive of shared storages", archive, vec![shared, lone]),
        ("gguf", formats::gguf(&blocks, "a model"), blocks_parts),
        ("npy", formats::npy("<f4", &[30, 100], &array.bytes()), vec![array]),
        ("opaque: an archive without its end", torn[..torn.len() - 1].to_vec(), Vec::new()),
    ]
}

/// A file in lines: what is stated byte by byte, and the parts.
fn stated(content: &[u8], parts: &[Part]) -> String {
    let mut out = String::new();
    let mut rest = content;
    for part in parts {
        let bytes = part.bytes();
        let at = rest.windows(bytes.len()).position(|window| window == bytes).unwrap();
        writeln!(out, "data hex {}\n{}", to_hex(&rest[..at]), part.stated()).unwrap();
        rest = &rest[at + bytes.len()..];
    }
    if !rest.is_empty() {
        writeln!(out, "data hex {}", to_hex(rest)).unwrap();
    }
    out
}

fn render_formats() -> String {
    let params = CutParams { version: 3, ..SMALL };
    let cutter = Cutter::new(&SECRETS[1], TABLE_VERSION, params).unwrap();
    let mut out = format!(
        "# Regions and cuts of model files that are not safetensors, see docs/format.md, \"Cutting\". A case ends with\n\
         # an empty line. data: parts, one after the other, as in cuts.txt. seams: name, type, shape, offset, length.\n\
         # regions: start, length, grid. cuts: ends of chunks.\n\
         secret {}\ncutter-version 3\ntable-version {TABLE_VERSION}\nsizes {} {} {}\n\n",
        to_hex(&SECRETS[1]),
        params.min,
        params.avg,
        params.max,
    );
    for (name, content, parts) in format_cases() {
        let len = content.len() as u64;
        let found = layout::find(&content, &&content[..], len, &params);
        assert_eq!(found.is_none(), name.starts_with("opaque"), "{name}");
        assert_eq!(layout::find(&content, &&content[..], len, &CutParams { version: 2, ..params }), None);
        let (seams, regions) =
            found.map_or_else(|| (Vec::new(), Opaque::layout(len)), |model| (model.tensors, model.regions));
        let cuts = cutter.cut_regions(&content, 0, &regions);
        assert_eq!(cuts, cutter.cut_regions_alone(&content, 0, &regions), "{name}");
        write!(out, "case {name}\n{}file-blake3 {}\n", stated(&content, &parts), blake3::hash(&content))
            .unwrap();
        for t in seams {
            let dtype = if t.dtype.is_empty() { "-" } else { t.dtype };
            writeln!(out, "seam {} {dtype} {:?} {} {}", t.name, t.shape, t.offset, t.len).unwrap();
        }
        let shown: Vec<String> =
            regions.iter().map(|r| format!("{} {} {}", r.start, r.len, r.grid)).collect();
        let cuts: Vec<String> = cuts.iter().map(ToString::to_string).collect();
        writeln!(out, "regions {}\ncuts {}\n", shown.join(", "), cuts.join(" ")).unwrap();
    }
    out
}

#[test]
fn other_formats_are_laid_out_as_ever() {
    hold("formats.txt", &render_formats());
}

#[test]
fn cut_points_stay_where_they_are() {
    hold("cuts.txt", &render());
}

#[test]
fn models_are_laid_out_as_ever() {
    hold("models.txt", &render_models());
}

/// What is found now must be what a file says.
fn hold(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/vectors").join(name);
    if std::env::var_os("BALLAST_REGENERATE").is_some() {
        File::create(&path).unwrap().write_all(now.as_bytes()).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    for (golden, now) in golden.lines().zip(now.lines()) {
        assert_eq!(golden, now);
    }
    assert_eq!(golden.len(), now.len());
}

/// `data/minilm-weeks` in `BALLAST_TEST_DATA`, or in a `shared/data` beside the repository.
fn real_files() -> Vec<PathBuf> {
    let given = std::env::var_os("BALLAST_TEST_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared/data"));
    let Some(folder) =
        given.into_iter().chain(beside).map(|dir| dir.join("minilm-weeks")).find(|dir| dir.is_dir())
    else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect();
    files.sort();
    files
}

#[test]
#[allow(clippy::print_stderr)]
fn real_models_are_cut_alike_in_every_way() {
    let files = real_files();
    if files.is_empty() {
        eprintln!("skipped: no real model files here");
    }
    let cutters =
        [DEFAULT, MIDDLE, SMALL].map(|params| Cutter::new(&SECRETS[1], TABLE_VERSION, params).unwrap());
    for path in files {
        let data = fs::read(&path).unwrap();
        let len = u64::try_from(data.len()).unwrap();
        for cutter in &cutters {
            for rule in [Rule::PLAIN, BY_EIGHT] {
                let once = cutter.cut_window(&data, true, rule);
                assert_eq!(once, cutter.cut_window_parallel(&data, true, rule));
                let mut regions = Opaque::layout(len);
                regions[0].grid = rule.grid;
                for step in [50_000, 6 << 20] {
                    let mut cuts = Vec::new();
                    let mut at = 0;
                    while at < data.len() {
                        let end = data.len().min(at + cutter.lookahead(rule) + step);
                        let found = cutter.cut_regions(&data[at..end], u64::try_from(at).unwrap(), &regions);
                        cuts.extend(found.iter().map(|cut| at + cut));
                        at = *cuts.last().unwrap();
                    }
                    assert_eq!(once, cuts, "{} by windows of {step} more", path.display());
                }
            }
        }
    }
}
