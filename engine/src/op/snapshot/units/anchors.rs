//! Where content of an older copy stands, found again wherever it moved to: by places that content itself
//! marks (a rolling hash whose top bits are zeros), one in some hundred bytes.
//!
//! VACUUM, page moves and rows that grow shift content inside of pages and to other pages: no page is what it
//! was, and yet nearly all was there before. Rows of a page that was rewritten keep their anchors.
//!
//! Memory: eight bytes for each anchor, at most [`MAX_ANCHORS`]; an older copy of more than 1 GiB has fewer
//! a byte. It is made anew in each run that has a use for it: some seconds for each 10 GB.

/// Bytes that an anchor is made of.
const WINDOW: usize = 64;
/// One place in so many bytes, as a power of two, where there is room.
const LEAST_SPACING_LOG: u32 = 8;
/// Anchors kept.
const MAX_ANCHORS: u64 = 4 << 20;

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut at = 0;
    while at < 256 {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = x ^ (x >> 31);
        at += 1;
    }
    table
}

static GEAR: [u64; 256] = gear();

/// Calls `found` with the offset (of the last byte) and the hash of each anchor.
pub fn scan(bytes: &[u8], spacing_log: u32, mut found: impl FnMut(usize, u32)) {
    let top = 64 - spacing_log;
    let (mut hash, mut next) = (0u64, WINDOW - 1);
    for (at, byte) in bytes.iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        // Of a run of one byte every place would be one.
        if hash >> top == 0 && at >= next {
            next = at + WINDOW;
            // The bits below those that chose it, which depend on fewer bytes the lower they are.
            found(at, (hash >> (32 - spacing_log)) as u32);
        }
    }
}

/// How far apart anchors are to be in an older copy of so many bytes, as a power of two.
pub fn spacing_log(bytes: u64) -> u32 {
    let wanted = bytes / MAX_ANCHORS;
    LEAST_SPACING_LOG.max(wanted.max(1).next_power_of_two().trailing_zeros()).min(24)
}

/// Anchors by hash, each with the number of a grain.
#[derive(Debug, Default)]
pub struct Anchors {
    spacing_log: u32,
    sorted: Vec<(u32, u32)>,
}

impl Anchors {
    /// Of these, in any order. Of equal ones the first grain is kept: what occurs everywhere is worth
    /// nothing twice.
    pub fn new(spacing_log: u32, mut all: Vec<(u32, u32)>) -> Self {
        all.sort_unstable();
        all.dedup_by_key(|(hash, _)| *hash);
        all.truncate(usize::try_from(2 * MAX_ANCHORS).unwrap_or(usize::MAX));
        Self { spacing_log, sorted: all }
    }

    /// The grains with which `bytes` share anchors: each as often as it does.
    pub fn shared(&self, bytes: &[u8], mut with: impl FnMut(u32)) {
        scan(bytes, self.spacing_log, |_, hash| {
            let at = self.sorted.partition_point(|(other, _)| *other < hash);
            if let Some((_, grain)) = self.sorted.get(at).filter(|(other, _)| *other == hash) {
                with(*grain);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn what_moved_is_found_again() {
        let old = noise(1, 1 << 20);
        let mut all = Vec::new();
        scan(&old, 8, |at, hash| all.push((hash, (at / 4096) as u32)));
        assert!((3000..5400).contains(&all.len()), "{}", all.len());
        let anchors = Anchors::new(8, all);
        let shared = |bytes: &[u8]| {
            let mut grains = Vec::new();
            anchors.shared(bytes, |grain| grains.push(grain));
            grains
        };
        let moved = shared(&[&noise(2, 777)[..], &old[300_001..320_000]].concat());
        assert!(moved.len() > 50 && moved.iter().all(|g| (73..=78).contains(g)), "{moved:?}");
        assert!(shared(&noise(3, 1 << 18)).len() < 3);
        assert!(shared(&[0; 9000]).is_empty() && shared(&[]).is_empty());
    }

    #[test]
    fn large_copies_have_anchors_further_apart() {
        assert_eq!((spacing_log(0), spacing_log(1 << 30)), (8, 8));
        assert_eq!((spacing_log(10 << 30), spacing_log(u64::MAX)), (12, 24));
    }
}
