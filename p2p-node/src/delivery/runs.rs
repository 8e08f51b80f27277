//! Runs of devices' programs, as they tell one another on direct streams. A device whose run is older than one that was seen before, or another one
//! with the same number, has a copy: its profile was cloned, or an older one was put back.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt;
use starling_keys::DeviceId;
use starling_wire::direct::{DirectFrame, Run};

use super::{Delivery, send_frame};
use crate::{
    contacts::Directory,
    turn::{Counters, Fact, Turn},
};

/// Of this device, and the newest of each that we have been connected to since the start.
#[derive(Default)]
pub(super) struct Runs {
    own: Run,
    seen: BTreeMap<DeviceId, Run>,
}

/// Whether there is no telling which of two runs of one profile came after the other, or it was the second one.
fn contradicts(told: &Run, seen: &Run) -> bool {
    told.id != seen.id && told.count <= seen.count
}

impl Runs {
    /// This run.
    pub(super) fn own(&mut self, turn: &mut Turn<'_>) -> Run {
        if self.own.id.is_empty() {
            self.own.id = Bytes::copy_from_slice(&turn.rng().random::<[u8; 16]>());
        }
        self.own.clone()
    }
}

impl Delivery {
    /// This is so-many-eth run with this profile.
    pub fn begin_run(&mut self, counters: &Counters) {
        self.runs.own.count = counters.row.runs;
    }

    /// A device says which run of its profile it is.
    pub fn on_run(&mut self, turn: &mut Turn<'_>, dir: Directory<'_>, device: DeviceId, run: &Run) {
        if run.id.len() != 16 {
            return;
        }
        let seen = self.runs.seen.entry(device).or_insert_with(|| run.clone());
        if !contradicts(run, seen) {
            seen.clone_from(run);
            return;
        }
        let seen = Some(Box::new(seen.clone()));
        send_frame(turn, device, DirectFrame { seen, ..DirectFrame::default() });
        if dir.account.has_other(&device) {
            turn.fact(Fact::OwnDeviceCopied(device));
        }
    }

    /// Whether a run of this profile that somebody has seen is of a copy that went on, or that runs beside this.
    pub fn is_of_copy(&self, seen: &Run) -> bool {
        seen.id.len() == 16 && contradicts(&self.runs.own, seen)
    }
}
