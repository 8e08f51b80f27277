//! Snapshots of the account that this device cannot read: its own, which it writes next, takes their place at the home. So a copy is kept in the profile
//! and tried again: what kept it from being read may be gone later, as when the home did not know the writer yet.

use starling_wire::rendezvous::Snapshot;

use super::{AccountDevices, limits::MAX_UNREADABLE_SNAPSHOTS};
use crate::{
    store::{META, Reading, UnreadableSnapshot, UnreadableSnapshotsRow},
    turn::{EngineError, Turn},
};

/// The key of the row.
const KEPT: &[u8] = b"unreadable_snapshots";

impl AccountDevices<'_> {
    /// Takes what can be read now of the snapshots that could not be.
    pub(super) fn read_kept_snapshots(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(kept) = turn.get::<UnreadableSnapshotsRow>(META, KEPT)? else { return Ok(()) };
        let count = kept.snapshots.len();
        let mut left = Vec::new();
        for snapshot in kept.snapshots {
            match self.cx.account.open_snapshot(self.cx.mls, &snapshot.sealed) {
                Some(row) => self.take_snapshot(turn, row, false)?,
                None => left.push(snapshot),
            }
        }
        if left.len() < count {
            tracing::info!("a snapshot of the account that could not be read was taken");
            turn.put(META, KEPT, &UnreadableSnapshotsRow { snapshots: left })?;
            // For the other devices, and those that come later.
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
        Ok(())
    }

    /// Keeps a snapshot that cannot be read. Of many the first stay: what a lying home gives out replaces none.
    pub(super) fn keep_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        home: &str,
        snapshot: &Snapshot,
    ) -> Result<(), EngineError> {
        let mut kept: UnreadableSnapshotsRow = turn.get(META, KEPT)?.unwrap_or_default();
        let is_known = kept.snapshots.iter().any(|known| known.sealed[..] == snapshot.sealed[..]);
        if is_known || kept.snapshots.len() >= MAX_UNREADABLE_SNAPSHOTS {
            return Ok(());
        }
        kept.snapshots.push(UnreadableSnapshot {
            home: home.to_owned(),
            version: snapshot.version,
            sealed: snapshot.sealed.to_vec(),
            at_ms: turn.wall(),
        });
        Ok(turn.put(META, KEPT, &kept)?)
    }
}
