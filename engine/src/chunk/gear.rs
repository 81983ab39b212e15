//! The Gear table: 256 secret numbers, one for each value a byte can have
//! (`docs/format.md`, "Cutting").
//!
//! Who knows the table can tell from the lengths of chunks which public model
//! they are. So it is derived from the repository's cut secret, whole: to XOR
//! one number into a public table, as the fastcdc crate's own seed does, leaves
//! the differences of its entries public.
//!
//! ```text
//! material(counter) = BLAKE3 derive_key, context "ballast v1 gear table", over
//!                     cut secret (32 bytes) ‖ table version (u16) ‖ counter (u32)
//! gear[i]           = bytes 8·i … 8·i + 7 of its extended output, i = 0 … 255
//! ```
//!
//! All numbers little endian. The counter starts at 0 and goes up by one past
//! every table in which a run of one byte value would shatter.
//!
//! **When a run shatters.** A scan begins `min` bytes into a chunk with hash 0,
//! so after *n* bytes *b* its hash is gear\[b\] · (2ⁿ − 1) mod 2⁶⁴, and from
//! *n* = 64 on it stays at −gear\[b\]. In a run, every chunk sees the same, so if
//! one of these values passes the test for a cut, the whole run is cut into
//! chunks of little more than `min` (or exactly `avg`) bytes instead of `max`.
//! A table is skipped when, for any *b*,
//!
//! * (gear\[b\] · (2ⁿ − 1)) & mask_s = 0 for an *n* of 1 … 64, or
//! * (−gear\[b\]) & mask_l = 0.
//!
//! The scan takes two bytes a step and tests the first of them with hash and
//! mask both shifted left by one. No mask has bit 63, so that test is the same,
//! and the one condition holds for both positions. At the default sizes one
//! table in 150 is skipped, nearly always for an *n* below 48, hence the first
//! line; at avg = 1 KiB hundreds are.

use std::fmt;

use super::params::{CutParams, Masks};
use crate::error::Malformed;

/// Version of the derivation, kept in config.
pub const TABLE_VERSION: u16 = 1;

/// Separates this use of BLAKE3 from every other.
const CONTEXT: &str = "ballast v1 gear table";

/// Entries, one for each value of a byte.
const ENTRIES: usize = 256;

/// At the smallest sizes one table in some 700 passes; to find none among so
/// many does not happen.
const COUNTER_LIMIT: u32 = 1 << 16;

/// The secret numbers behind cuts by content. Printing one shows nothing.
#[derive(Clone)]
pub struct GearTable {
    gear: [u64; ENTRIES],
    /// The same, shifted left by one.
    gear_ls: [u64; ENTRIES],
    counter: u32,
}

impl GearTable {
    /// The table of this secret for these sizes.
    pub fn derive(cut_secret: &[u8; 32], table_version: u16, params: &CutParams) -> Result<Self, Malformed> {
        params.validate()?;
        if table_version != TABLE_VERSION {
            return Err(Malformed::new(format!("gear table version {table_version} is not known")));
        }
        let masks = params.masks();
        (0..COUNTER_LIMIT)
            .map(|counter| (counter, candidate(cut_secret, table_version, counter)))
            .find(|(_, gear)| !gear.iter().any(|&number| shatters(number, masks)))
            .map(|(counter, gear)| Self { gear, gear_ls: gear.map(|number| number << 1), counter })
            .ok_or_else(|| Malformed::new("no gear table leaves runs of one byte whole at these sizes"))
    }

    /// The entries.
    pub fn entries(&self) -> &[u64; 256] {
        &self.gear
    }

    /// The entries, shifted left by one.
    pub(super) fn entries_ls(&self) -> &[u64; 256] {
        &self.gear_ls
    }

    /// How many tables were skipped before this one.
    pub fn counter(&self) -> u32 {
        self.counter
    }
}

impl fmt::Debug for GearTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GearTable(secret)")
    }
}

/// The table of one value of the counter.
fn candidate(cut_secret: &[u8; 32], table_version: u16, counter: u32) -> [u64; ENTRIES] {
    let mut material = [0; ENTRIES * 8];
    blake3::Hasher::new_derive_key(CONTEXT)
        .update(cut_secret)
        .update(&table_version.to_le_bytes())
        .update(&counter.to_le_bytes())
        .finalize_xof()
        .fill(&mut material);
    let mut gear = [0; ENTRIES];
    for (number, bytes) in gear.iter_mut().zip(material.as_chunks().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    gear
}

/// Would a run of the byte with this number be cut before `max`?
fn shatters(number: u64, masks: Masks) -> bool {
    let mut hash = 0_u64;
    for _ in 0..u64::BITS {
        hash = (hash << 1).wrapping_add(number);
        if hash & masks.strict == 0 {
            return true;
        }
    }
    hash & masks.loose == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{CUTTER_VERSION, Cutter, Rule};

    const SMALL: CutParams = CutParams { version: CUTTER_VERSION, min: 256, avg: 1024, max: 4096 };

    #[test]
    fn a_run_of_any_byte_is_cut_at_max_only() {
        for secret in 0..8 {
            let cutter = Cutter::new(&[secret; 32], TABLE_VERSION, SMALL).unwrap();
            for byte in 0..=255 {
                assert_eq!(cutter.next_cut(&[byte; 4096], u64::MAX, Rule::PLAIN), 4096, "{byte}");
            }
        }
    }

    #[test]
    fn at_default_sizes_too() {
        let params = CutParams::default();
        let cutter = Cutter::new(&[1; 32], TABLE_VERSION, params).unwrap();
        let longest = usize::try_from(params.max).unwrap();
        let mut run = vec![0; longest + 1];
        for byte in [0, 1, 0x20, 0x7f, 0xff] {
            run.fill(byte);
            assert_eq!(cutter.next_cut(&run, u64::MAX, Rule::PLAIN), longest);
        }
    }

    #[test]
    fn numbers_that_shatter_are_seen() {
        let masks = CutParams::default().masks();
        // −number has no bit of either mask.
        assert!(shatters(0, masks));
        assert!(shatters(1_u64.wrapping_neg(), masks));
        assert!(shatters((!masks.strict).wrapping_neg(), masks));
        // Only the loose test passes, and only once the hash stands still.
        let loose_only = (masks.strict & !masks.loose).wrapping_neg();
        assert_eq!(loose_only.wrapping_neg() & masks.loose, 0);
        assert!(shatters(loose_only, masks));
        // The first byte after `min` passes the strict test.
        assert!(shatters(!masks.strict, masks));
    }

    #[test]
    fn secret_and_sizes_decide_the_table() {
        let table = |secret: u8| GearTable::derive(&[secret; 32], TABLE_VERSION, &SMALL).unwrap();
        assert_eq!(table(7).entries(), table(7).entries());
        assert_ne!(table(7).entries(), table(8).entries());
        assert!(table(7).counter() > 0, "at these sizes some tables are skipped");
        let counter = table(7).counter();
        assert_eq!(table(7).entries(), &candidate(&[7; 32], TABLE_VERSION, counter));
        assert!(GearTable::derive(&[7; 32], 2, &SMALL).is_err());
        assert!(GearTable::derive(&[7; 32], TABLE_VERSION, &CutParams { min: 3, ..SMALL }).is_err());
        assert_eq!(format!("{:?}", table(7)), "GearTable(secret)");
    }
}
