//! How a file is laid out for cutting: regions, and who finds them.
//!
//! A plug-in ([`Seams`]) only says where content of its kind has seams, and what
//! rule holds between two of them. It may be wrong about the content without any
//! harm but worse deduplication; it may not leave a byte out, and
//! [`check_regions`] sees to that. Part of `docs/format.md`, "Cutting", for what
//! a region means to the cuts.

use super::params::{CutParams, MAX_CHUNK_LIMIT};
use crate::error::{Malformed, Result};

/// How a region is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// By content.
    Cdc,
    /// Every so many bytes from the region's start.
    Fixed(u32),
}

/// Policy and grid together: what the cutter needs to know of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Cuts lie at multiples of so many bytes from the region's start, but for
    /// the cut at its end.
    pub grid: u32,
    /// How it is cut.
    pub policy: Policy,
}

impl Rule {
    /// By content, at any byte.
    pub const PLAIN: Self = Self { grid: 1, policy: Policy::Cdc };
}

/// A stretch of a file that no chunk reaches out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Offset in the file, in bytes.
    pub start: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// See [`Rule::grid`]: 8 for a tensor, the page size for a database, else 1.
    pub grid: u32,
    /// How it is cut.
    pub policy: Policy,
}

impl Region {
    /// Policy and grid.
    pub fn rule(&self) -> Rule {
        Rule { grid: self.grid, policy: self.policy }
    }

    /// Offset of the first byte after it.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Content that can be looked into at any offset.
pub trait ReadAt {
    /// Reads into `buf` from `offset` on, and says how many bytes; fewer than
    /// `buf` holds only where the content ends.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Fills `buf`; `false` when the content ends before that.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        Ok(self.read_at(offset, buf)? == buf.len())
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// Content of which the leading bytes are at hand: those are read from there, whatever the rest says by now.
pub struct Ahead<'a> {
    /// Leading bytes.
    pub first: &'a [u8],
    /// Reads the rest: fills what it is given from an offset on, and says how far. What cannot be
    /// read is not there.
    pub rest: &'a dyn Fn(u64, &mut [u8]) -> usize,
}

impl ReadAt for Ahead<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let known = self.first.read_at(offset, buf)?;
        let rest = &mut buf[known..];
        Ok(if rest.is_empty() { known } else { known + (self.rest)(offset + known as u64, rest) })
    }
}

/// Finds the seams of one kind of content.
pub trait Seams: Send + Sync {
    /// The regions of `data`, which is `len` bytes long, in ascending order and
    /// without a gap. Content that is not what it seems is laid out as
    /// [`Opaque`] does; an error is only ever one of reading.
    fn regions(&self, data: &dyn ReadAt, len: u64) -> Result<Vec<Region>>;
}

/// Content of which nothing is known: one region, cut by content at any byte.
#[derive(Debug, Default, Clone, Copy)]
pub struct Opaque;

impl Opaque {
    /// The layout; none for empty content.
    pub fn layout(len: u64) -> Vec<Region> {
        let Rule { grid, policy } = Rule::PLAIN;
        if len == 0 { Vec::new() } else { vec![Region { start: 0, len, grid, policy }] }
    }
}

impl Seams for Opaque {
    fn regions(&self, _data: &dyn ReadAt, len: u64) -> Result<Vec<Region>> {
        Ok(Self::layout(len))
    }
}

/// Do `regions` tile `0..len` exactly, each with a rule the cutter can follow?
pub fn check_regions(regions: &[Region], len: u64, params: &CutParams) -> Result<(), Malformed> {
    let mut covered = 0_u64;
    for region in regions {
        let refuse = |why: &str| Err(Malformed::new(format!("region at {}: {why}", region.start)));
        if region.start != covered {
            return refuse("does not start where the one before ends");
        }
        if region.len == 0 || region.len > len - covered {
            return refuse("is empty or longer than the file");
        }
        if region.grid == 0 || region.grid > params.min {
            return refuse("its grid is 0 or wider than the least chunk");
        }
        if let Policy::Fixed(unit) = region.policy
            && (unit == 0 || unit > MAX_CHUNK_LIMIT || unit % region.grid != 0)
        {
            return refuse("its unit is 0, too large, or not on its grid");
        }
        covered += region.len;
    }
    if covered != len {
        return Err(Malformed::new(format!("regions end at {covered}, the file at {len}")));
    }
    Ok(())
}

/// Regions of a stretch of a file that lies between holes, by their offset in the file.
pub fn regions_within(regions: &[Region], offset: u64, len: u64) -> Vec<Region> {
    let end = offset.saturating_add(len);
    let first = regions.partition_point(|region| region.end() <= offset);
    let inside = regions[first..].iter().take_while(|region| region.start < end);
    inside
        .map(|region| {
            let start = region.start.max(offset);
            Region { start, len: region.end().min(end) - start, ..*region }
        })
        .collect()
}

/// What `seams` says of `data`, or the opaque layout if that cannot be used: a
/// plug-in at fault costs deduplication, never a file.
pub fn lay_out(seams: &dyn Seams, data: &dyn ReadAt, len: u64, params: &CutParams) -> Result<Vec<Region>> {
    let regions = seams.regions(data, len)?;
    Ok(if check_regions(&regions, len, params).is_ok() { regions } else { Opaque::layout(len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, len: u64) -> Region {
        Region { start, len, grid: 1, policy: Policy::Cdc }
    }

    fn check(regions: &[Region], len: u64) -> bool {
        check_regions(regions, len, &CutParams::default()).is_ok()
    }

    #[test]
    fn regions_tile_the_file() {
        assert!(check(&[], 0));
        assert!(check(&[region(0, 9)], 9));
        assert!(check(&[region(0, 4), region(4, 5)], 9));
        assert!(!check(&[], 1));
        assert!(!check(&[region(0, 9)], 10));
        assert!(!check(&[region(0, 9)], 8));
        assert!(!check(&[region(1, 8)], 9));
        assert!(!check(&[region(0, 4), region(5, 4)], 9), "gap");
        assert!(!check(&[region(0, 4), region(3, 6)], 9), "overlap");
        assert!(!check(&[region(0, 4), region(4, 0), region(4, 5)], 9), "empty");
        assert!(!check(&[region(0, 4), region(4, u64::MAX)], 9));
    }

    #[test]
    fn rules_can_be_followed() {
        let with = |grid, policy| check(&[Region { grid, policy, ..region(0, 9) }], 9);
        assert!(with(4096, Policy::Cdc));
        assert!(with(4096, Policy::Fixed(1 << 20)));
        assert!(!with(0, Policy::Cdc));
        assert!(!with(CutParams::default().min + 1, Policy::Cdc));
        assert!(!with(1, Policy::Fixed(0)));
        assert!(!with(4096, Policy::Fixed(6000)));
        assert!(!with(1, Policy::Fixed(u32::MAX)));
    }

    struct Liar;

    impl Seams for Liar {
        fn regions(&self, data: &dyn ReadAt, len: u64) -> Result<Vec<Region>> {
            let mut first = [0; 1];
            let lies = data.read_exact_at(0, &mut first)? && first[0] == b'!';
            Ok(vec![region(0, if lies { len + 1 } else { len })])
        }
    }

    #[test]
    fn a_layout_that_does_not_tile_falls_back() {
        let params = CutParams::default();
        for data in [&b"!234"[..], b"1234"] {
            assert_eq!(lay_out(&Liar, &data, 4, &params).unwrap(), vec![region(0, 4)]);
        }
        assert_eq!(lay_out(&Opaque, &&b""[..], 0, &params).unwrap(), vec![]);
    }

    #[test]
    fn what_is_at_hand_is_not_read_again() {
        let rest = |offset: u64, out: &mut [u8]| (&b"ABCDEF"[..]).read_at(offset, out).unwrap();
        let ahead = Ahead { first: b"abc", rest: &rest };
        let read = |offset, len| {
            let mut out = vec![0; len];
            let got = ahead.read_at(offset, &mut out).unwrap();
            out.truncate(got);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [read(0, 3), read(1, 4), read(3, 9), read(6, 1), read(2, 0)],
            ["abc", "bcDE", "DEF", "", ""]
        );
    }

    #[test]
    fn slices_are_read_to_their_end() {
        let data = &b"abcdef"[..];
        let mut buf = [0; 4];
        assert_eq!(data.read_at(1, &mut buf).unwrap(), 4);
        assert_eq!(&buf, b"bcde");
        assert_eq!(data.read_at(4, &mut buf).unwrap(), 2);
        assert_eq!(data.read_at(u64::MAX, &mut buf).unwrap(), 0);
        assert!(!data.read_exact_at(4, &mut buf).unwrap());
    }
}
