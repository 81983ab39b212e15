//! The repository as a repair of packs sees it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::Result;
use crate::format::index::IndexedPack;
use crate::id::PackId;
use crate::op::repair::Hand;
use crate::progress::Progress;
use crate::repo::holdings::Holdings;
use crate::repo::index::PackNumber;
use crate::repo::reader::Reader;

/// The repository, bad packs not relied on.
pub struct View {
    /// Everything listed, and what the ends of bad packs say.
    pub holdings: Arc<Holdings>,
    /// Reads by it.
    pub reader: Reader,
    /// Numbers of each bad pack: by the index, by its trailer.
    pub numbers: HashMap<PackId, Vec<PackNumber>>,
}

impl View {
    /// Reads it anew. `trailers` are what the ends of bad packs say.
    pub fn read(
        hand: &mut Hand,
        bad: &BTreeSet<PackId>,
        trailers: &[IndexedPack],
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (standing, mut holdings) = hand.look(progress)?;
        let mut numbers: HashMap<PackId, Vec<PackNumber>> = HashMap::new();
        for pack in bad {
            numbers.entry(*pack).or_default().extend(holdings.number(pack));
        }
        for trailer in trailers.iter().filter(|t| standing.contains(&t.id)) {
            let known = holdings.number(&trailer.id).is_some_and(|n| holdings.indexed(n) == *trailer);
            if !known {
                let number = holdings.describe(trailer, hand.session)?;
                numbers.entry(trailer.id).or_default().push(number);
            }
        }
        for number in numbers.values().flatten() {
            holdings.packs[*number as usize].info.usable = false;
        }
        holdings.inventory.sort();
        let holdings = Arc::new(holdings);
        let reader = Reader::with_places(&hand.repo, holdings.clone());
        Ok(Self { holdings, reader, numbers })
    }
}
