//! One rule, many ways to run it: a byte at a time as `docs/format.md` words it,
//! in one scan, through a moving window, in segments by many threads. All must
//! find the same cuts, on any content.

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;

const SMALL: CutParams = CutParams { version: CUTTER_VERSION, min: 256, avg: 1024, max: 4096 };

fn cutter() -> &'static Cutter {
    static CUTTER: std::sync::OnceLock<Cutter> = std::sync::OnceLock::new();
    CUTTER.get_or_init(|| Cutter::new(b"the cut secret of equality tests", TABLE_VERSION, SMALL).unwrap())
}

fn random(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// `len` bytes of a random pattern that repeats after `period`.
fn periodic(period: usize, len: usize) -> Vec<u8> {
    random(&format!("period {period}"), period).into_iter().cycle().take(len).collect()
}

/// The rule as the format words it.
fn by_the_book(cutter: &Cutter, data: &[u8], rule: Rule) -> Vec<usize> {
    let (params, masks) = (cutter.params(), cutter.params().masks());
    let size = |bytes: u32| usize::try_from(bytes).unwrap();
    let (min, avg, max, grid) = (size(params.min), size(params.avg), size(params.max), size(rule.grid));
    let mut cuts = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let d = &data[at..];
        let n = d.len().min(max);
        let mut raw = n;
        let mut h = 0_u64;
        for (i, byte) in d.iter().enumerate().take(n - n % 2).skip(min) {
            h = h.wrapping_mul(2).wrapping_add(cutter.table().entries()[usize::from(*byte)]);
            if h & (if i < avg { masks.strict } else { masks.loose }) == 0 {
                raw = i;
                break;
            }
        }
        at += if raw == d.len() { raw } else { (raw / grid).max(1) * grid };
        cuts.push(at);
    }
    cuts
}

/// Moves windows of the sizes given, in turn, over `data`, carrying what is left.
fn moving(
    cutter: &Cutter,
    data: &[u8],
    sizes: &[usize],
    rule: Rule,
    cut: impl Fn(&[u8], bool) -> Vec<usize>,
) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut at = 0;
    for size in sizes.iter().cycle() {
        if at == data.len() {
            break;
        }
        let end = data.len().min(at + cutter.lookahead(rule) + size);
        let found = cut(&data[at..end], end == data.len());
        assert!(!found.is_empty(), "a window longer than the lookahead makes progress");
        cuts.extend(found.iter().map(|cut| at + cut));
        at = *cuts.last().unwrap();
    }
    cuts
}

/// All ways agree on `data`; says the cuts.
fn all_ways(cutter: &Cutter, data: &[u8], rule: Rule, sizes: &[usize], segment: usize) -> Vec<usize> {
    let grid = usize::try_from(rule.grid).unwrap();
    let segment = segment.next_multiple_of(grid);
    let once = cutter.cut_window(data, true, rule);
    assert_eq!(once, by_the_book(cutter, data, rule), "by the book");
    assert_eq!(once.last().copied().unwrap_or(0), data.len());
    assert!(once.iter().all(|cut| cut % grid == 0 || *cut == data.len()));
    assert_eq!(once, cutter.cut_segments(data, true, rule, segment).cuts, "segments of {segment}");
    let windows = moving(cutter, data, sizes, rule, |window, last| cutter.cut_window(window, last, rule));
    assert_eq!(once, windows, "windows of {sizes:?}");
    let both = moving(cutter, data, sizes, rule, |window, last| {
        cutter.cut_segments(window, last, rule, segment).cuts
    });
    assert_eq!(once, both, "windows of {sizes:?} in segments of {segment}");
    let regions =
        [Region { start: 0, len: u64::try_from(data.len()).unwrap(), grid: rule.grid, policy: rule.policy }];
    assert_eq!(once, over_regions(cutter, data, &regions[..usize::from(!data.is_empty())], sizes));
    once
}

/// Moves a window over a file of many regions.
fn over_regions(cutter: &Cutter, data: &[u8], regions: &[Region], sizes: &[usize]) -> Vec<usize> {
    let widest = regions.iter().map(|region| cutter.lookahead(region.rule())).max().unwrap_or(0);
    let mut cuts = Vec::new();
    let mut at = 0;
    for size in sizes.iter().cycle() {
        if at == data.len() {
            break;
        }
        let end = data.len().min(at + widest + size);
        let found = cutter.cut_regions(&data[at..end], u64::try_from(at).unwrap(), regions);
        assert!(!found.is_empty());
        cuts.extend(found.iter().map(|cut| at + cut));
        at = *cuts.last().unwrap();
    }
    cuts
}

/// Content of every kind that parallel cutting could stumble on.
fn contents() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for len in [0, 1, 2, 255, 256, 257, 258, 1023, 1024, 1025, 4095, 4096, 4097, 4098, 8193] {
        all.push((format!("{len} random bytes"), random("short", len)));
        all.push((format!("{len} zeros"), vec![0; len]));
    }
    all.push(("random".into(), random("long", 200_001)));
    all.push(("constant".into(), vec![0x41; 150_000]));
    all.push(("constant, odd".into(), vec![0xff; 150_001]));
    for period in
        [2, 3, 7, 8, 64, 100, 255, 256, 257, 512, 1000, 1024, 1025, 3000, 4096, 4097, 10_000, 12_288]
    {
        all.push((format!("period {period}"), periodic(period, 120_000 + period)));
    }
    let mut islands = vec![0; 200_000];
    for (at, len) in [(1, 3), (5000, 700), (33_333, 9000), (90_001, 1), (90_003, 1), (140_000, 5000)] {
        islands[at..at + len].copy_from_slice(&random("island", len));
    }
    all.push(("zeros with islands".into(), islands));
    let mut lake = random("lake", 160_000);
    lake[20_000..120_001].fill(0);
    all.push(("random with a lake of zeros".into(), lake));
    let words = ["weights", "of", "a", "model", "and", "the", "pages", "in", "its", "database\n"];
    let text =
        random("text", 30_000).iter().flat_map(|b| [words[usize::from(b % 10)], " "]).collect::<String>();
    all.push(("text".into(), text.into_bytes()));
    all
}

#[test]
#[allow(clippy::print_stdout)]
fn every_content_every_way() {
    let sizes: [&[usize]; 5] = [&[1], &[997], &[4096, 1, 20_000], &[50_000], &[1 << 20]];
    for (n, (name, data)) in contents().into_iter().enumerate() {
        for (rule, segment) in [
            (Rule::PLAIN, 8192),
            (Rule::PLAIN, 10_007),
            (Rule { grid: 8, policy: Policy::Cdc }, 16_384),
            (Rule { grid: 250, policy: Policy::Cdc }, 9_000),
            (Rule { grid: 1, policy: Policy::Cdc }, 300),
        ] {
            println!("{name}, grid {}, segment {segment}", rule.grid);
            let cuts = all_ways(cutter(), &data, rule, sizes[n % sizes.len()], segment);
            if name.contains("constant") {
                let longest = 4096 - 4096 % usize::try_from(rule.grid).unwrap();
                assert!(
                    cuts.iter().zip(1..).all(|(cut, n)| *cut == data.len().min(n * longest)),
                    "shattered"
                );
            }
        }
    }
}

#[test]
fn the_pool_decides_nothing() {
    for threads in [1, 2, 3, 8] {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (name, data) in contents() {
            for rule in [Rule::PLAIN, Rule { grid: 8, policy: Policy::Cdc }] {
                let found = pool.install(|| cutter().cut_window_parallel(&data, true, rule));
                assert_eq!(found, cutter().cut_window(&data, true, rule), "{name}, {threads} threads");
                let found = pool.install(|| cutter().cut_window_parallel(&data, false, rule));
                assert_eq!(found, cutter().cut_window(&data, false, rule), "{name}, {threads} threads");
            }
        }
    }
}

#[test]
fn at_default_sizes_too() {
    let cutter = Cutter::new(&[9; 32], TABLE_VERSION, CutParams::default()).unwrap();
    let mut data = random("default sizes", (24 << 20) + 7);
    data[5 << 20..(12 << 20) + 3].fill(0);
    let cuts =
        all_ways(&cutter, &data, Rule { grid: 8, policy: Policy::Cdc }, &[1 << 20, 9_000_001], 8 << 20);
    assert!(cuts.len() > 8 && cuts.len() < 40, "{} chunks", cuts.len());
}

#[test]
fn chains_meet_soon() {
    let data = random("waste", 1 << 20);
    let joined = cutter().cut_segments(&data, true, Rule::PLAIN, 64 << 10);
    assert!(joined.walked < data.len() * 5 / 4, "{} bytes walked for {}", joined.walked, data.len());
    // Of one byte value every segment begins on a cut.
    let data = vec![0; 1 << 20];
    let joined = cutter().cut_segments(&data, true, Rule::PLAIN, 64 << 10);
    assert_eq!(joined.walked, data.len());
}

#[test]
fn segments_are_worth_a_thread() {
    let segment = |len, threads, grid| cutter().segment_len(len, threads, Rule { grid, policy: Policy::Cdc });
    assert_eq!(segment(1 << 20, 1, 1), None);
    assert_eq!(segment(16_383, 8, 1), None);
    assert_eq!(segment(16_384, 8, 1), Some(8192));
    assert_eq!(segment(1 << 20, 4, 1), Some(256 << 10));
    assert_eq!(segment(1 << 20, 3, 200).unwrap() % 4000, 0);
    assert_eq!(cutter().segment_len(1 << 20, 4, Rule { grid: 1, policy: Policy::Fixed(8) }), None);
}

#[test]
fn fixed_units_lie_at_fixed_offsets() {
    let data = vec![7; 10_001];
    let rule = Rule { grid: 1000, policy: Policy::Fixed(3000) };
    assert_eq!(cutter().cut_window(&data, true, rule), [3000, 6000, 9000, 10_001]);
    assert_eq!(cutter().cut_window(&data[..9000], false, rule), [3000, 6000]);
    assert_eq!(cutter().cut_window_parallel(&data, true, rule), [3000, 6000, 9000, 10_001]);
    assert_eq!(cutter().next_cut(&data, 10_001, rule), 3000);
    assert_eq!(cutter().next_cut(&data[..5], 5, rule), 5);
}

#[test]
fn nothing_is_cut_from_nothing() {
    assert!(cutter().cut_all(&[]).is_empty());
    assert!(cutter().cut_window(&[], false, Rule::PLAIN).is_empty());
    assert!(cutter().cut_window_parallel(&[], true, Rule::PLAIN).is_empty());
    assert!(cutter().cut_segments(&[], true, Rule::PLAIN, 8192).cuts.is_empty());
    assert!(cutter().cut_regions(&[], 0, &[]).is_empty());
    assert_eq!(cutter().next_cut(&[], 0, Rule::PLAIN), 0);
}

#[test]
fn content_of_unknown_length_is_cut_the_same() {
    // The end comes as a surprise: no window knew that it was the last.
    for len in [4095, 4096, 4097, 8096, 50_000, 50_001] {
        for (data, grid) in [(random("stream", len), 8), (vec![0; len], 250)] {
            let rule = Rule { grid, policy: Policy::Cdc };
            let mut cuts = cutter().cut_window(&data, false, rule);
            let at = cuts.last().copied().unwrap_or(0);
            assert!(data.len() - at <= cutter().lookahead(rule));
            cuts.extend(cutter().cut_window(&data[at..], true, rule).iter().map(|cut| at + cut));
            assert_eq!(cuts, cutter().cut_window(&data, true, rule), "{len} bytes");
        }
    }
}

#[test]
fn an_edit_moves_few_cuts() {
    let data = random("edit", 400_000);
    let mut edited = data.clone();
    edited.splice(100_000..100_000, *b"a few more bytes");
    let chunks = |data: &[u8]| -> std::collections::HashSet<blake3::Hash> {
        let cuts = cutter().cut_all(data);
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        starts.zip(&cuts).map(|(from, to)| blake3::hash(&data[from..*to])).collect()
    };
    let new = chunks(&edited).difference(&chunks(&data)).count();
    assert!(new <= 8, "{new} new chunks");
}

/// `cargo test --release -p ballast-engine figures -- --ignored --nocapture`
#[test]
#[ignore = "measures, asserts nothing"]
#[allow(clippy::print_stdout, clippy::cast_precision_loss)]
fn figures() {
    let data = random("figures", 64 << 20);
    let threads = rayon::current_num_threads();
    for grid in [1, 8] {
        let rule = Rule { grid, policy: Policy::Cdc };
        let cutter = Cutter::new(&[3; 32], TABLE_VERSION, CutParams::default()).unwrap();
        let rate = |run: &dyn Fn() -> Vec<usize>| {
            let once = || {
                let begun = std::time::Instant::now();
                std::hint::black_box(run());
                data.len() as f64 / begun.elapsed().as_secs_f64() / 1e9
            };
            (0..7).map(|_| once()).fold(0.0, f64::max)
        };
        println!("grid {grid}: {} chunks", cutter.cut_window(&data, true, rule).len());
        println!("  sequential {:.2} GB/s", rate(&|| cutter.cut_window(&data, true, rule)));
        println!("  {threads} threads {:.2} GB/s", rate(&|| cutter.cut_window_parallel(&data, true, rule)));
        for threads in [2, 4, 8] {
            let Some(segment) = cutter.segment_len(data.len(), threads, rule) else { continue };
            let twice = |n: usize| {
                let data = random(&n.to_string(), data.len());
                cutter.cut_segments(&data, true, rule, segment).walked - data.len()
            };
            let share = (0..16).map(twice).sum::<usize>() as f64 / (16 * data.len()) as f64;
            println!("  in segments for {threads} threads: {:.1} % of the bytes cut twice", share * 100.0);
        }
    }
}

/// Pieces of content that are hard in different ways, one after the other.
fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u32>(), 0..20_000_usize).prop_map(|(seed, len)| random(&seed.to_string(), len)),
        (any::<u8>(), 0..20_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        (1..5000_usize, 0..30_000_usize).prop_map(|(period, len)| periodic(period, len)),
        proptest::collection::vec(0..4_u8, 0..3000),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A safetensors file of tensors of any length, and small ones among them.
fn any_model() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![0..40_u64, 0..3000_u64, 0..60_000_u64];
    (any_content(), proptest::collection::vec(len, 1..24)).prop_map(|(content, lens)| {
        let (mut entries, mut at) = (Vec::new(), 0);
        for (n, len) in lens.iter().enumerate() {
            let end = at + len;
            entries.push(format!(r#""{n}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{at},{end}]}}"#));
            at = end;
        }
        let json = format!("{{{}}}", entries.join(","));
        let length = u64::try_from(json.len()).unwrap().to_le_bytes();
        let data = content.into_iter().chain(std::iter::repeat(5)).take(usize::try_from(at).unwrap());
        length.into_iter().chain(json.into_bytes()).chain(data).collect()
    })
}

fn any_regions(len: u64) -> impl Strategy<Value = Vec<Region>> {
    let one = (1..30_000_u64, 0..4_u8, 1..=32_u32);
    proptest::collection::vec(one, 1..20).prop_map(move |parts| {
        let mut regions = Vec::new();
        let mut start = 0;
        for (part, policy, grid) in parts.into_iter().cycle() {
            if start == len {
                break;
            }
            let policy = if policy == 0 { Policy::Fixed(grid * 50) } else { Policy::Cdc };
            let part = part.min(len - start);
            regions.push(Region { start, len: part, grid, policy });
            start += part;
        }
        regions
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_content_any_window_any_segment(
        data in any_content(),
        sizes in proptest::collection::vec(1..40_000_usize, 1..4),
        segment in 1..30_000_usize,
        grid in 1..=256_u32,
    ) {
        all_ways(cutter(), &data, Rule { grid, policy: Policy::Cdc }, &sizes, segment);
        all_ways(cutter(), &data, Rule::PLAIN, &sizes, segment);
    }

    #[test]
    fn the_next_cut_depends_on_nothing_behind_the_lookahead(
        data in any_content(),
        grid in 1..=256_u32,
        from in any::<proptest::sample::Index>(),
    ) {
        let rule = Rule { grid, policy: Policy::Cdc };
        let data = if data.is_empty() { &data[..] } else { &data[from.index(data.len())..] };
        let remaining = u64::try_from(data.len()).unwrap();
        let enough = data.len().min(cutter().lookahead(rule));
        let length = cutter().next_cut(data, remaining, rule);
        prop_assert_eq!(length, cutter().next_cut(&data[..enough], remaining, rule));
        prop_assert!(length <= enough && (length > 0 || data.is_empty()));
    }

    #[test]
    fn regions_are_cut_each_for_itself(
        (data, regions) in any_content().prop_flat_map(|data| {
            let len = u64::try_from(data.len()).unwrap();
            (Just(data), any_regions(len))
        }),
        sizes in proptest::collection::vec(1..40_000_usize, 1..4),
    ) {
        check_regions(&regions, u64::try_from(data.len()).unwrap(), &SMALL).unwrap();
        each_for_itself(&data, &regions, &sizes);
    }

    #[test]
    fn tensors_are_cut_each_for_itself(
        data in any_model(),
        sizes in proptest::collection::vec(1..40_000_usize, 1..4),
    ) {
        let len = u64::try_from(data.len()).unwrap();
        let regions = lay_out(&safetensors::Safetensors, &&data[..], len, &SMALL).unwrap();
        prop_assert!(regions.iter().skip(1).all(|region| region.rule() == layout::TENSOR_RULE));
        each_for_itself(&data, &regions, &sizes);
        // A tensor's cuts are its own, wherever it lies.
        let last = regions.last().unwrap();
        let alone = cutter().cut_window(&data[usize::try_from(last.start).unwrap()..], true, last.rule());
        let cuts = cutter().cut_regions(&data, 0, &regions);
        prop_assert!(cuts.ends_with(&alone.iter().map(|cut| cut + data.len() - alone.last().unwrap()).collect::<Vec<_>>()));
    }
}

/// A window moved over all regions, by many threads and by one, finds what is found in each region alone.
fn each_for_itself(data: &[u8], regions: &[Region], sizes: &[usize]) {
    let mut apart = Vec::new();
    for region in regions {
        let place = |offset| usize::try_from(offset).unwrap();
        let (from, to) = (place(region.start), place(region.end()));
        let cuts = cutter().cut_window(&data[from..to], true, region.rule());
        apart.extend(cuts.iter().map(|cut| from + cut));
    }
    assert_eq!(over_regions(cutter(), data, regions, sizes), apart);
    assert_eq!(cutter().cut_regions_alone(data, 0, regions), apart);
}
