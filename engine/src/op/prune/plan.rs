//! What becomes of each pack. Pure: a function of a [`View`] and the options.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::format::pack::PackKind;
use crate::id::{IndexId, PackId};
use crate::op::prune::options::{PlanFigures, PruneOptions};
use crate::op::prune::view::View;
use crate::repo::holdings::{HeldObject, Holdings};
use crate::repo::index::PackNumber;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::reach::Settled;

/// Index objects shorter than this are small: many of them are merged.
const SMALL_INDEX_BYTES: u64 = 1 << 20;
/// So many small ones may stay.
const SMALL_INDEXES: usize = 16;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It is of a run that is under way: left alone.
    Live,
    /// Its living part is copied, then it goes.
    Repack,
    /// Nothing in it is needed: it goes.
    Dead,
    /// Condemned before, or gone already: no index object needs to name it.
    Gone,
}

/// See the module's words.
#[derive(Debug)]
pub struct Plan {
    /// By pack number.
    pub fates: Vec<Fate>,
    /// Packs that nobody names, to be condemned.
    pub unlisted: Vec<PackId>,
    /// Frames of packs that stay, whose blobs are stored alone.
    pub unchained: Vec<FrameNumber>,
    /// Index objects to be replaced.
    pub replaced: Vec<IndexId>,
    /// Packs that stay, and that no index object names that stays.
    pub relisted: Vec<PackNumber>,
    /// Too little room: only dead packs go now; then it is to be planned again.
    pub short_of_room: bool,
    share: Share,
    options: PruneOptions,
}

/// Of each pack, in stored bytes.
#[derive(Debug, Default)]
struct Share {
    /// What snapshots need.
    used: Vec<u64>,
    /// What copying the living part would leave behind: frames of which nothing, or less than half,
    /// is needed. The others are copied as they are, so of them nothing is won.
    won: Vec<u64>,
}

/// The share of a frame's stored bytes that so much of its plaintext takes.
fn share(stored_len: u32, plain_len: u32, part: u64) -> u64 {
    u64::from(stored_len) * part.min(u64::from(plain_len)) / u64::from(plain_len.max(1))
}

fn shares(holdings: &Holdings, settled: &Settled, unchained: &HashSet<FrameNumber>) -> Share {
    let inventory = &holdings.inventory;
    let mut needed = vec![0u64; inventory.frames().len()];
    for copy in settled.copies() {
        let blob = &inventory.blobs()[copy as usize];
        // An empty blob must be found too.
        needed[blob.frame as usize] += u64::from(blob.len.max(1));
    }
    let packs = holdings.packs.len();
    let mut all = Share { used: vec![0; packs], won: vec![0; packs] };
    for ((number, frame), needed) in (0..).zip(inventory.frames()).zip(needed) {
        let (pack, whole) = (frame.pack as usize, u64::from(frame.stored_len));
        if needed == 0 || unchained.contains(&number) {
            all.won[pack] += whole;
            continue;
        }
        let part = share(frame.stored_len, frame.plain_len, needed).max(1);
        all.used[pack] += part;
        if needed * 2 < u64::from(frame.plain_len) {
            all.won[pack] += whole.saturating_sub(part);
        }
    }
    all
}

/// Frames whose blobs should be stored alone: what is kept only as their bases, and as the bases of
/// those, costs more than the differences save. What a blob takes alone is reckoned from the
/// bases at the bottom, which are alone.
pub fn unchain(holdings: &Holdings, settled: &Settled) -> HashSet<FrameNumber> {
    let inventory = &holdings.inventory;
    let frame_of = |copy: CopyNumber| inventory.blobs()[copy as usize].frame;
    // Plaintext that is a base only, and that snapshots need, by frame: one of many blobs has both.
    let (mut bases, mut wanted) = (HashMap::<FrameNumber, u64>::new(), HashMap::<FrameNumber, u64>::new());
    let only_bases: HashSet<CopyNumber> = settled.bases.iter().copied().collect();
    for copy in settled.copies() {
        let part = if only_bases.contains(&copy) { &mut bases } else { &mut wanted };
        *part.entry(frame_of(copy)).or_default() += u64::from(inventory.blobs()[copy as usize].len);
    }
    let mut unchained = HashSet::new();
    let mut seen = HashSet::new();
    // By base frame: the frames that need it.
    let mut above: HashMap<FrameNumber, Vec<FrameNumber>> = HashMap::new();
    let mut below: HashMap<FrameNumber, Vec<FrameNumber>> = HashMap::new();
    for (base, dependants) in &settled.dependants {
        for dependant in dependants {
            above.entry(frame_of(*base)).or_default().push(frame_of(*dependant));
            below.entry(frame_of(*dependant)).or_default().push(frame_of(*base));
        }
    }
    for start in bases.keys() {
        if !seen.insert(*start) {
            continue;
        }
        // One group: frames with bases that hang together, and the frames with needed blobs right above them.
        let (mut group, mut needed, mut todo) = (Vec::new(), HashSet::new(), vec![*start]);
        while let Some(frame) = todo.pop() {
            group.push(frame);
            let near = above.get(&frame).into_iter().chain(below.get(&frame)).flatten();
            for other in near {
                if bases.contains_key(other) && seen.insert(*other) {
                    todo.push(*other);
                }
                if wanted.contains_key(other) && above.get(&frame).is_some_and(|above| above.contains(other))
                {
                    needed.insert(*other);
                }
            }
        }
        let row = |number: &FrameNumber| &inventory.frames()[*number as usize];
        let part = |f: &FrameNumber, of: &HashMap<FrameNumber, u64>| {
            share(row(f).stored_len, row(f).plain_len, of.get(f).copied().unwrap_or(0))
        };
        let kept: u64 = group.iter().map(|f| part(f, &bases)).sum();
        let (mut stored, mut plain) = (0u64, 0u64);
        for frame in group.iter().map(row).filter(|f| f.height == 0) {
            stored += u64::from(frame.stored_len);
            plain += u64::from(frame.plain_len);
        }
        if plain == 0 {
            (stored, plain) = (1, 1);
        }
        let alone = |f: &FrameNumber| wanted.get(f).copied().unwrap_or(0) * stored / plain;
        let saved: u64 = needed.iter().map(|f| alone(f).saturating_sub(part(f, &wanted))).sum();
        if kept > saved {
            unchained.extend(needed);
        }
    }
    unchained
}

impl Plan {
    /// Decides. `room` is how much may be written.
    pub fn make(view: &View, options: &PruneOptions, room: Option<u64>) -> Self {
        let holdings = &view.holdings;
        let share = shares(holdings, &view.settled, &view.unchained);
        let mut fates: Vec<Fate> = (0..)
            .zip(&holdings.packs)
            .map(|(number, pack)| match () {
                () if pack.condemned || !pack.info.standing => Fate::Gone,
                () if view.is_live(number) => Fate::Live,
                () if share.used[number as usize] == 0 => Fate::Dead,
                () => Fate::Keep,
            })
            .collect();
        let unlisted = view.unlisted.iter().filter(|pack| !pack.live).map(|pack| pack.id).collect();
        let mut plan = Self {
            fates: Vec::new(),
            unlisted,
            unchained: Vec::new(),
            replaced: Vec::new(),
            relisted: Vec::new(),
            short_of_room: false,
            share,
            options: options.clone(),
        };
        let chosen = plan.choose(view, &fates);
        let copied: u64 = chosen.iter().map(|number| plan.copied(view, *number)).sum();
        let chained: u64 = view
            .unchained
            .iter()
            .map(|f| u64::from(holdings.inventory.frames()[*f as usize].plain_len))
            .sum();
        if room.is_none_or(|room| copied + chained <= room) {
            chosen.iter().for_each(|number| fates[*number as usize] = Fate::Repack);
            plan.unchained = view.unchained.iter().copied().collect();
            plan.unchained.sort_unstable();
        } else {
            plan.short_of_room = true;
            let mut room = room.unwrap_or(0);
            // What can go at once makes room for the rest; where there is nothing such, as much is
            // copied as fits.
            if !fates.contains(&Fate::Dead) && plan.unlisted.is_empty() {
                for number in chosen {
                    let Some(left) = room.checked_sub(plan.copied(view, number)) else { break };
                    room = left;
                    fates[number as usize] = Fate::Repack;
                }
            }
        }
        plan.fates = fates;
        plan.replaced = plan.replaced(view);
        plan.relisted = plan.relisted(view);
        plan
    }

    /// Packs to be repacked: many small ones, once together they make a whole one; then those of
    /// which least is needed, until no more is unused than may be.
    fn choose(&self, view: &View, fates: &[Fate]) -> Vec<PackNumber> {
        let packs = &view.holdings.packs;
        let kept = |number: &PackNumber| fates[*number as usize] == Fate::Keep;
        let size = |number: PackNumber| packs[number as usize].info.size;
        let won = |number: PackNumber| self.share.won[number as usize];
        let all = || (0..).take(packs.len()).filter(kept);
        let mut chosen: Vec<PackNumber> = Vec::new();
        let config = view.reader.repo().config();
        for (kind, most) in [
            (PackKind::Data, u64::from(config.data_pack_max_bytes)),
            (PackKind::Metadata, u64::from(config.metadata_pack_max_bytes)),
        ] {
            let small =
                all().filter(|n| packs[*n as usize].info.pack_kind == kind as u8 && size(*n) < most / 4);
            let small: Vec<_> = small.collect();
            if small.iter().map(|n| self.share.used[*n as usize]).sum::<u64>() >= most {
                chosen.extend(small);
            }
        }
        let mut taken: HashSet<PackNumber> = chosen.iter().copied().collect();
        let limit = self.options.max_unused.bytes(self.share.used.iter().sum());
        let mut rest: Vec<PackNumber> = all().filter(|n| !taken.contains(n) && won(*n) > 0).collect();
        let mut left: u64 = rest.iter().map(|n| won(*n)).sum();
        // Most won for each byte that must be copied first.
        let gain =
            |n: &PackNumber| u128::from(won(*n)) * (1 << 32) / u128::from(self.copied(view, *n).max(1));
        rest.sort_by_key(|n| (Reverse(gain(n)), *n));
        for number in rest {
            if left <= limit {
                break;
            }
            left -= won(number);
            taken.insert(number);
            chosen.push(number);
        }
        let mut budget = self.options.max_repack_bytes.unwrap_or(u64::MAX);
        chosen.retain(|number| budget.checked_sub(size(*number)).map(|left| budget = left).is_some());
        chosen
    }

    /// What repacking a pack writes.
    fn copied(&self, view: &View, number: PackNumber) -> u64 {
        let frames = view.holdings.frame_numbers(number);
        let rows = &view.holdings.inventory.frames()[frames.start as usize..frames.end as usize];
        let frames: u64 = rows.iter().map(|f| u64::from(f.stored_len)).sum();
        frames.saturating_sub(self.share.won[number as usize])
    }

    /// Index objects that name a pack that goes or is gone, and small ones once there are many.
    fn replaced(&self, view: &View) -> Vec<IndexId> {
        let objects = &view.holdings.objects;
        let foreign = |session| view.live.iter().any(|(live, _)| *live == session);
        let free: Vec<_> = objects.iter().filter(|o| !foreign(o.session) && !o.condemned).collect();
        let small = |o: &&&HeldObject| o.records_bytes < SMALL_INDEX_BYTES;
        let merge = free.iter().filter(small).count() > SMALL_INDEXES;
        let stays = |n: &PackNumber| matches!(self.fates[*n as usize], Fate::Keep | Fate::Live);
        free.iter()
            .filter(|o| !o.packs.iter().all(stays) || o.packs.is_empty() || (merge && small(o)))
            .map(|o| o.id)
            .chain(view.dead_indexes.iter().copied())
            .collect()
    }

    fn relisted(&self, view: &View) -> Vec<PackNumber> {
        let replaced: HashSet<&IndexId> = self.replaced.iter().collect();
        let stays = |object: &&HeldObject| !object.condemned && !replaced.contains(&object.id);
        let objects = view.holdings.objects.iter().filter(stays);
        let named: HashSet<PackNumber> = objects.flat_map(|object| object.packs.iter().copied()).collect();
        (0..)
            .zip(&self.fates)
            .filter(|(number, fate)| matches!(fate, Fate::Keep | Fate::Live) && !named.contains(number))
            .map(|(number, _)| number)
            .collect()
    }

    /// Packs that go, in order of their names.
    pub fn victims(&self, holdings: &Holdings) -> Vec<PackId> {
        let goes = |fate: &Fate| matches!(fate, Fate::Dead | Fate::Repack);
        let named =
            self.fates.iter().zip(&holdings.packs).filter(|(fate, _)| goes(fate)).map(|(_, p)| p.info.id);
        let mut all: Vec<_> = named.chain(self.unlisted.iter().copied()).collect();
        all.sort();
        all
    }

    /// Is there nothing to write?
    pub fn is_empty(&self, view: &View) -> bool {
        self.victims(&view.holdings).is_empty()
            && self.unchained.is_empty()
            && self.replaced.is_empty()
            && self.relisted.is_empty()
            && view.dead_snapshots.is_empty()
    }

    /// In figures.
    pub fn figures(&self, view: &View) -> PlanFigures {
        let holdings = &view.holdings;
        let inventory = &holdings.inventory;
        let mut out = PlanFigures {
            snapshots: view.snapshots as u64,
            needed_blobs: view.settled.copies().count() as u64,
            unlisted_packs: self.unlisted.len() as u64,
            unlisted_bytes: view.unlisted.iter().filter(|p| !p.live).map(|p| p.size).sum(),
            base_blobs: view.settled.bases.len() as u64,
            unchained_blobs: self.unchained.len() as u64,
            replaced_indexes: self.replaced.len() as u64,
            dead_snapshots: view.dead_snapshots.len() as u64,
            short_of_room: self.short_of_room,
            ..PlanFigures::default()
        };
        for (number, (pack, fate)) in (0..).zip(holdings.packs.iter().zip(&self.fates)) {
            let (size, used) = (pack.info.size, self.share.used[number as usize]);
            if *fate != Fate::Gone {
                out.packs += 1;
                out.bytes += size;
                out.used_bytes += used;
                out.unused_bytes += size.saturating_sub(used);
            }
            match fate {
                Fate::Keep => out.left_unused_bytes += size.saturating_sub(used),
                Fate::Live => {
                    out.live_packs += 1;
                    out.live_bytes += size;
                }
                Fate::Repack => {
                    out.repack_packs += 1;
                    out.repack_bytes += size;
                    out.copied_bytes += self.copied(view, number);
                }
                Fate::Dead => {
                    out.dead_packs += 1;
                    out.dead_bytes += size;
                }
                Fate::Gone if pack.info.standing => out.waiting_bytes += size,
                Fate::Gone => {}
            }
        }
        out.waiting_packs = view.standing.iter().filter(|pack| view.ledger.is_condemned(pack)).count() as u64;
        for live in view.unlisted.iter().filter(|pack| pack.live) {
            out.live_packs += 1;
            out.live_bytes += live.size;
        }
        out.freed_bytes =
            out.dead_bytes + out.unlisted_bytes + out.repack_bytes.saturating_sub(out.copied_bytes);
        for copy in &view.settled.bases {
            let blob = &inventory.blobs()[*copy as usize];
            let frame = &inventory.frames()[blob.frame as usize];
            out.base_bytes += share(frame.stored_len, frame.plain_len, blob.len.into());
        }
        for copies in inventory.distinct() {
            for copy in
                copies.iter().filter(|copy| view.settled.chosen(copies[0]).is_some_and(|c| c != **copy))
            {
                let blob = &inventory.blobs()[*copy as usize];
                let frame = &inventory.frames()[blob.frame as usize];
                if holdings.packs[frame.pack as usize].info.usable {
                    out.duplicate_bytes += share(frame.stored_len, frame.plain_len, blob.len.into());
                }
            }
        }
        out
    }
}
