//! What moved: which older units, and which of their grains, share content with what is new; and whether there are so
//! many of them that a frame stands on lists.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::bases::{Bases, Stash};
use super::group::Compared;
use super::old::{Old, OldList};
use crate::codec::grains::{Draft, GRAIN_BYTES, MAX_PREFIX_GRAINS};
use crate::error::Result;
use crate::format::MAX_FRAME_EDGES;

/// Anchors that a unit must share with what is new to become one more base: an edge costs 68 bytes.
const LEAST_SHARED: u64 = 2;
/// Anchors that a grain must share: less is chance, more often than not, and a prefix is read at every restore.
const LEAST_OF_GRAIN: u64 = 2;
/// Bytes that an edge takes, in trailer and index,
const EDGE_COSTS: u64 = 68;
/// bytes that content takes which shares an anchor with an older unit and is coded without it,
const ANCHOR_COSTS: u64 = 50;
/// and what must be saved before a frame stands on lists.
const LISTS_COST: u64 = 4 << 10;
/// Lists that one frame stands on: each is some ten megabytes.
const MAX_LISTS: usize = 24;
/// By older unit: how many anchors what is new shares with it, and with which of its grains how many.
pub type Shared = HashMap<usize, (u64, Vec<(u32, u64)>)>;

/// What `new` shares with the older copy.
pub fn shared(old: &Old<'_>, new: &[u8]) -> Result<Shared> {
    let mut grains: HashMap<u32, u64> = HashMap::new();
    old.anchors()?.shared(new, |grain| *grains.entry(grain).or_default() += 1);
    let mut shared = Shared::new();
    for (grain, count) in grains {
        let (unit, within) = old.of_grain(grain);
        let (sum, grains) = shared.entry(unit).or_default();
        *sum += count;
        grains.push((within, count));
    }
    Ok(shared)
}

/// Lists to stand on, by number: none unless all was moved about, and edges to units would cost much or
/// reach little. A frame on lists is higher than all they describe.
pub fn lists_for(old: &Old<'_>, compared: &[Compared], shared: &Shared) -> Vec<usize> {
    let near: HashSet<usize> = compared.iter().filter_map(|c| c.near.as_ref().map(|(at, _)| *at)).collect();
    let grains = compared.iter().map(|c| c.same.len()).sum::<usize>();
    let same = compared.iter().flat_map(|c| &c.same).filter(|same| **same).count();
    if near.len() * 2 < compared.len() || same * 10 > grains {
        return Vec::new();
    }
    let mut others: Vec<u64> =
        shared.iter().filter(|(at, _)| !near.contains(at)).map(|(_, (sum, _))| *sum).collect();
    others.sort_unstable_by_key(|sum| Reverse(*sum));
    let edges = others.len().min(MAX_FRAME_EDGES.saturating_sub(near.len()));
    let beyond: u64 = others[edges..].iter().sum();
    if beyond * ANCHOR_COSTS + edges as u64 * EDGE_COSTS < LISTS_COST {
        return Vec::new();
    }
    let of_list = |list: &OldList| -> u64 {
        list.units.clone().filter_map(|at| shared.get(&at)).map(|(sum, _)| sum).sum()
    };
    let mut ranked: Vec<(u64, usize)> =
        old.lists().iter().map(of_list).zip(0..).filter(|(sum, _)| *sum > 0).collect();
    ranked.sort_unstable_by_key(|(sum, number)| (Reverse(*sum), *number));
    ranked.truncate(MAX_LISTS);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, number)| number).collect();
    chosen.sort_unstable();
    chosen
}

/// Grains that share content with what is new, of the units that share most, as many as the prefix has room
/// for. Ascending; their bytes go into `stash`.
pub fn far(
    bases: &mut Bases<'_, '_>,
    up_to: u8,
    shared: &Shared,
    draft: &Draft,
    moved: bool,
    stash: &mut Stash,
) -> Result<Vec<u32>> {
    let prefix: HashSet<u32> = draft.prefix().into_iter().collect();
    let left = MAX_PREFIX_GRAINS.saturating_sub(prefix.len());
    // Those that are bases already cost nothing more. On lists all are, and the prefix is what is short.
    let most = |grains: &[(u32, u64)]| grains.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut ranked: Vec<_> = shared.iter().map(|(unit, (sum, grains))| (*unit, *sum, &grains[..])).collect();
    ranked.sort_by_key(|(unit, sum, _)| (!bases.first.contains_key(unit), Reverse(*sum), *unit));
    let least = match moved {
        true => {
            let mut counts: Vec<u64> =
                ranked.iter().flat_map(|(.., grains)| grains.iter()).map(|(_, count)| *count).collect();
            counts.sort_unstable_by_key(|count| Reverse(*count));
            counts.get(left).map_or(0, |count| count + 1)
        }
        false => LEAST_OF_GRAIN,
    };
    let mut far = Vec::new();
    for (unit, sum, grains) in ranked {
        if sum < LEAST_SHARED && !bases.first.contains_key(&unit) || most(grains) < least {
            continue;
        }
        let old = bases.old;
        let Some(height) = old.height(unit)? else { continue };
        let Some(first) = bases.unit(unit, up_to)? else { continue };
        let Some(bytes) = old.bytes(unit, height)? else { continue };
        for (within, _) in grains.iter().filter(|(_, count)| *count >= least) {
            let from = *within as usize * GRAIN_BYTES;
            let grain = bytes.get(from..(from + GRAIN_BYTES).min(bytes.len())).unwrap_or(&[]);
            if far.len() < left && !grain.is_empty() && !prefix.contains(&(first + within)) {
                stash.put(first + within, grain);
                far.push(first + within);
            }
        }
        if far.len() == left {
            break;
        }
    }
    far.sort_unstable();
    Ok(far)
}
