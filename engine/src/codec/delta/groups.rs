//! Which numbers are of like size, told by what a decoder knows too: the exponent of the base, in
//! whose last places a step is counted, and how far the neighbours moved.
//!
//! An optimiser's steps are alike within a row, while weights spread over many powers of two: the
//! step's size less the weight's exponent is the expected length of a difference. The mean step of a
//! block is stored, in half powers of two, one byte a block.

use super::words::Number;

/// Keys of expected length, in half bits. Key 0: nothing in the block differs.
pub const KEYS: usize = 96;
/// A level less twice an exponent and this is a key.
const LEVEL_BIAS: i32 = 48;
/// Levels are steps' half powers of two from this on, with exponents counted as in f32.
const LEVEL_OF_ONE: i32 = 2 * 127 + 64;
const MOST_LEVEL: i32 = 1023;
/// A smaller group costs more for its table of codes than it saves.
const MIN_GROUP: u32 = 1 << 10;

/// Levels of blocks of `1 << block_log` numbers: `scales` (replaced) gets a byte for each, 0 where
/// nothing differs, else the level less the returned origin, plus one.
pub fn scales<N: Number>(
    numbers: &[N],
    exponents: &[u8],
    block_log: u8,
    outlier: u32,
    scales: &mut Vec<u8>,
) -> u16 {
    let size = 1 << block_log;
    let levels = || {
        numbers
            .chunks(size)
            .zip(exponents.chunks(size))
            .map(|(numbers, exponents)| level(numbers, exponents, outlier))
    };
    let levels: Vec<Option<i32>> = levels().collect();
    let origin = levels.iter().flatten().min().copied().unwrap_or(0);
    scales.clear();
    scales.extend(levels.iter().map(|l| l.map_or(0, |l| (l - origin).min(254) as u8 + 1)));
    origin as u16
}

/// The mean step of a block; `None` if nothing differs. Only the encoder computes with floats, and
/// what it finds is stored: any result is as right as another.
fn level<N: Number>(numbers: &[N], exponents: &[u8], outlier: u32) -> Option<i32> {
    let mut any = N::default();
    let mut sums = [0f32; 16];
    let (numbers16, rest) = numbers.as_chunks::<16>();
    let (exponents16, rest_exponents) = exponents.as_chunks::<16>();
    let outlier = N::narrow(outlier);
    let step = |number: N, exponent: u8| {
        // A changed sign says nothing of the step.
        let number = if number < outlier { number } else { N::default() };
        number.half() * f32::from_bits(u32::from(exponent.min(254)) << 23)
    };
    for (numbers, exponents) in numbers16.iter().zip(exponents16) {
        for ((sum, number), exponent) in sums.iter_mut().zip(numbers).zip(exponents) {
            *sum += step(*number, *exponent);
            any = any | *number;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for (number, exponent) in rest.iter().zip(rest_exponents) {
        sum += step(*number, *exponent);
        any = any | *number;
    }
    if any == N::default() {
        return None;
    }
    let mean = sum / numbers.len() as f32;
    Some((((2.0 * mean.log2()).round() as i32).saturating_add(LEVEL_OF_ONE)).clamp(0, MOST_LEVEL))
}

/// Exponents (replaced) become keys.
pub fn keys(scales: &[u8], origin: u16, block_log: u8, exponents: &mut [u8]) {
    for (block, scale) in exponents.chunks_mut(1 << block_log).zip(scales) {
        if *scale == 0 {
            block.fill(0);
            continue;
        }
        let level = (i32::from(origin) + i32::from(*scale) - 1 - LEVEL_BIAS) as i16;
        for key in block {
            *key = (level - 2 * i16::from(*key)).clamp(1, KEYS as i16 - 1) as u8;
        }
    }
}

/// Parts of a segment that are ordered side by side: one number after the other would wait for the
/// place of the one before.
const PARTS: usize = 4;

/// How often each key occurs, in each part.
pub struct Counts([[u32; 256]; PARTS]);

impl Counts {
    /// Of these keys.
    pub fn of(keys: &[u8]) -> Self {
        let mut tables = [[0u32; 256]; PARTS];
        let ([a, b, c, d], rest) = parts(keys);
        let [ta, tb, tc, td] = &mut tables;
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            ta[usize::from(*a)] += 1;
            tb[usize::from(*b)] += 1;
            tc[usize::from(*c)] += 1;
            td[usize::from(*d)] += 1;
        }
        for key in rest {
            td[usize::from(*key)] += 1;
        }
        Self(tables)
    }

    /// How often each occurs.
    pub fn total(&self) -> [u32; KEYS] {
        std::array::from_fn(|key| self.0.iter().map(|table| table[key]).sum())
    }
}

/// Four stretches of equal length, and the few that follow the last.
fn parts<T>(all: &[T]) -> ([&[T]; PARTS], &[T]) {
    let quarter = all.len() / PARTS;
    let (a, rest) = all.split_at(quarter);
    let (b, rest) = rest.split_at(quarter);
    let (c, rest) = rest.split_at(quarter);
    let (d, rest) = rest.split_at(quarter);
    ([a, b, c, d], rest)
}

/// Keys put together to groups: the first key of each but the first group, rising.
pub fn divide(counts: &[u32; KEYS], bounds: &mut Vec<u8>) {
    bounds.clear();
    let mut total = 0;
    let mut left: u32 = counts.iter().sum();
    for (key, count) in counts.iter().enumerate() {
        // Blocks in which nothing differs stay by themselves: they cost nothing.
        let alone = key == 1 && counts[0] > 0;
        if total > 0 && (alone || (total >= MIN_GROUP && left >= MIN_GROUP)) {
            bounds.push(key as u8);
            total = 0;
        }
        total += count;
        left -= count;
    }
}

/// Where the groups stand once numbers are ordered by them.
pub struct Places {
    /// Group of each key.
    of_key: [u8; 256],
    /// Begin of each group, and the end of the last.
    starts: [u32; KEYS + 1],
    groups: usize,
    /// Where each part's share of each group begins.
    cursors: [[u32; 128]; PARTS],
}

impl Places {
    /// `None` unless the bounds rise.
    pub fn new(counts: &Counts, bounds: &[u8]) -> Option<Self> {
        let rising = bounds.windows(2).all(|w| w[0] < w[1]);
        let within = bounds.iter().all(|b| (1..KEYS).contains(&usize::from(*b)));
        if !rising || !within {
            return None;
        }
        let mut places = Self {
            of_key: [0; 256],
            starts: [0; KEYS + 1],
            groups: bounds.len() + 1,
            cursors: [[0; 128]; PARTS],
        };
        let mut of_part = [[0u32; KEYS]; PARTS];
        let mut group = 0;
        for key in 0..KEYS {
            if bounds.get(group).is_some_and(|b| usize::from(*b) == key) {
                group += 1;
                places.starts[group + 1] = places.starts[group];
            }
            places.of_key[key] = group as u8;
            for (part, table) in of_part.iter_mut().zip(&counts.0) {
                part[group] += table[key];
                places.starts[group + 1] += table[key];
            }
        }
        for group in 0..places.groups {
            let mut next = places.starts[group];
            for (cursors, part) in places.cursors.iter_mut().zip(&of_part) {
                cursors[group] = next;
                next += part[group];
            }
        }
        Some(places)
    }

    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.starts[..=self.groups].windows(2).map(|w| w[0] as usize..w[1] as usize)
    }

    /// Orders numbers by group, stably. As many keys as were counted, and as many numbers.
    pub fn scatter<N: Number>(&self, keys: &[u8], numbers: &[N], ordered: &mut [N]) {
        let mut next = self.cursors;
        let ([ka, kb, kc, kd], keys) = parts(keys);
        let ([na, nb, nc, nd], numbers) = parts(numbers);
        let [a, b, c, d] = &mut next;
        let all = ka.iter().zip(kb).zip(kc).zip(kd).zip(na.iter().zip(nb).zip(nc).zip(nd));
        for ((((ka, kb), kc), kd), (((na, nb), nc), nd)) in all {
            ordered[self.place(*ka, a)] = *na;
            ordered[self.place(*kb, b)] = *nb;
            ordered[self.place(*kc, c)] = *nc;
            ordered[self.place(*kd, d)] = *nd;
        }
        for (key, number) in keys.iter().zip(numbers) {
            ordered[self.place(*key, d)] = *number;
        }
    }

    /// Reverse of [`Places::scatter`], handed out in stretches with their first index: each once, in any
    /// order.
    pub fn gather<N: Number>(&self, keys: &[u8], ordered: &[N], mut take: impl FnMut(usize, &[N])) {
        const STRETCH: usize = 1 << 10;
        let mut buffers = [[N::default(); STRETCH]; PARTS];
        let mut next = self.cursors;
        let quarter = keys.len() / PARTS;
        let ([ka, kb, kc, kd], rest) = parts(keys);
        for start in (0..quarter).step_by(STRETCH) {
            let len = STRETCH.min(quarter - start);
            let [a, b, c, d] = &mut next;
            let [oa, ob, oc, od] = &mut buffers;
            let [ka, kb, kc, kd] = [ka, kb, kc, kd].map(|keys| &keys[start..][..len]);
            let outs = oa.iter_mut().zip(ob).zip(oc).zip(od);
            for ((((oa, ob), oc), od), (((ka, kb), kc), kd)) in outs.zip(ka.iter().zip(kb).zip(kc).zip(kd)) {
                *oa = ordered[self.place(*ka, a)];
                *ob = ordered[self.place(*kb, b)];
                *oc = ordered[self.place(*kc, c)];
                *od = ordered[self.place(*kd, d)];
            }
            for (part, buffer) in buffers.iter().enumerate() {
                take(part * quarter + start, &buffer[..len]);
            }
        }
        for (i, key) in rest.iter().enumerate() {
            let number = ordered[self.place(*key, &mut next[PARTS - 1])];
            take(PARTS * quarter + i, &[number]);
        }
    }

    /// The next place of a key's group.
    #[inline]
    fn place(&self, key: u8, next: &mut [u32; 128]) -> usize {
        let at = &mut next[usize::from(self.of_key[usize::from(key)] & 127)];
        let place = *at;
        *at += 1;
        place as usize
    }
}
