//! The reserve: bytes without meaning that `init` sets aside, so that `forget` and `prune` can
//! still write their few entries on a disk that is full.

use crate::repo::Repository;

/// Its size.
pub const RESERVE_BYTES: u64 = 32 << 20;
/// With less room than this it is given up for a while.
const TIGHT_BYTES: u64 = 32 << 20;

/// What was given up; made again in the end, where there is room by then.
#[derive(Debug)]
pub struct Reserve {
    repo: Repository,
    drawn: bool,
}

impl Reserve {
    /// Gives up the reserve if the store is nearly full.
    pub fn draw(repo: &Repository) -> Self {
        let tight = repo.store().free_bytes().is_some_and(|free| free < TIGHT_BYTES);
        let drawn = tight
            && match repo.store().release_reserve() {
                Ok(bytes) => bytes > 0,
                Err(error) => {
                    tracing::warn!(%error, "reserve not given up");
                    false
                }
            };
        Self { repo: repo.clone(), drawn }
    }

    /// Makes it again, if it was given up and there is room.
    pub fn make_again(self) {
        let room = self.repo.store().free_bytes().is_some_and(|free| free >= 2 * RESERVE_BYTES);
        if self.drawn
            && room
            && let Err(error) = self.repo.store().make_reserve(RESERVE_BYTES)
        {
            tracing::warn!(%error, "reserve not made again");
        }
    }
}
