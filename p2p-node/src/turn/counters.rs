//! Numbers that the engine goes on with after a restart.

use starling_wire::Clock;

use crate::{
    store::{CountersRow, META, Reading},
    turn::{EngineError, Turn},
};

/// The engine's counters and its clock.
pub struct Counters {
    pub row: CountersRow,
    pub clock: Clock,
    /// How long the node did not run before this start.
    pub away_ms: u64,
    /// `row` has changed in this turn.
    pub dirty: bool,
}

impl Counters {
    /// Loads them from the profile. `now` is in milliseconds since 1970.
    pub fn load(read: &impl Reading, now: u64) -> Result<Self, EngineError> {
        let row: CountersRow = read.get(META, b"counters")?.unwrap_or_default();
        let away_ms = if row.last_run_ms == 0 { 0 } else { now.saturating_sub(row.last_run_ms) };
        let row = CountersRow { runs: row.runs + 1, ..row };
        Ok(Self { clock: Clock(row.clock), away_ms, row, dirty: true })
    }

    /// Writes them if they, or (`changed`) something that they belong to, have changed in this turn.
    pub fn save(&mut self, turn: &mut Turn<'_>, changed: bool) -> Result<(), EngineError> {
        let has_events = self.row.last_event != turn.last_event();
        self.row.last_event = turn.last_event();
        if std::mem::take(&mut self.dirty) || has_events || changed || self.row.clock != self.clock.0 {
            self.row.clock = self.clock.0;
            self.row.last_run_ms = turn.wall();
            turn.put(META, b"counters", &self.row)?;
        }
        Ok(())
    }
}
