//! How much the server may store, and whether its disk has room: beyond either it refuses to store more, and goes on with everything else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Once full, there is room again below this part of the bound, so that it does not flicker: 31/32.
const LOW_WATER: u64 = 32;

/// Whether there is room.
pub struct Space {
    /// Most bytes of everything.
    most: AtomicU64,
    /// Everything has reached that, and is not much below it since.
    full: AtomicBool,
    /// The disk has less than its reserve.
    disk_full: AtomicBool,
}

impl Space {
    /// For so many bytes.
    pub fn new(most: u64) -> Self {
        Self { most: AtomicU64::new(most), full: AtomicBool::new(false), disk_full: AtomicBool::new(false) }
    }

    /// The bound is another now.
    pub fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Whether something new may be stored, after which there are so many bytes.
    pub fn has_room(&self, all: u64) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let bound = if self.full.load(Ordering::Relaxed) { most - most / LOW_WATER } else { most };
        let full = all > bound;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(most, "full: nothing more is stored until entries are fetched, deleted or expire");
            } else {
                tracing::info!("there is room again");
            }
        }
        !full && !self.disk_full.load(Ordering::Relaxed)
    }

    /// Notes what the disk has left, and its reserve, in bytes.
    pub fn note_disk(&self, free: u64, reserve: u64) {
        let full = free < reserve;
        if self.disk_full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!(free, reserve, "the disk is full: nothing more is stored until there is room");
            } else {
                tracing::info!(free, "the disk has room again");
            }
        }
    }

    /// Whether nothing new is stored now.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.disk_full.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_full_has_room_again_a_little_below() {
        let space = Space::new(3_200);
        assert!(space.has_room(3_200) && !space.is_full());
        assert!(!space.has_room(3_201) && space.is_full());
        assert!(!space.has_room(3_150));
        assert!(space.has_room(3_100) && space.has_room(3_200));
    }

    #[test]
    fn a_full_disk_is_full_whatever_is_stored() {
        let space = Space::new(1_000);
        space.note_disk(9, 10);
        assert!(!space.has_room(1) && space.is_full());
        space.note_disk(10, 10);
        assert!(space.has_room(1) && !space.is_full());
    }
}
