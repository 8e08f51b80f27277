//! The history of the account on a new device: copied from another one, page by page, when the users of both have agreed.
//!
//! The device that lacks it asks for each page, and keeps where it is in the transaction that has the page's messages: either side may be gone at any
//! time, and nothing is kept by the one that is asked but its permission. What a page says counts as that device's word (`events::copied`).

pub mod commands;
mod exchange;
mod exchange_groups;
mod groups;
mod limits;
pub mod receive;
pub mod source;

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::DeviceId;
use starling_wire::history::{HistoryMessage, HistoryRequest, HistoryStep, Nothing};

pub use exchange::HistoryExchange;

use self::limits::{HISTORY_GRANT_MS, HISTORY_TOLD_EVERY_MS, MAX_HISTORY_GRANTS};
use crate::{
    api::types::{CopyPhase, HistoryCopy, HistoryState, TransientEvent},
    store::{HistoryCopyRow, HistoryGrantRow, HistoryGrantsRow, META, Reading},
    turn::{EngineError, Turn},
};

/// What is copied to and from this device.
#[derive(Default)]
pub struct History {
    /// What this device copies, or has copied last.
    copy: HistoryCopyRow,
    /// Who may copy from it.
    grants: HistoryGrantsRow,
    copy_dirty: bool,
    grants_dirty: bool,
    /// Permissions that other devices have given, and that nobody has asked for here.
    offers: BTreeMap<DeviceId, u64>,
    /// Devices that wish to copy from this one.
    wishes: BTreeSet<DeviceId>,
    /// Devices that were given a page in this turn.
    pub served: BTreeSet<DeviceId>,
    /// Those that were given one of a group.
    served_groups: BTreeSet<DeviceId>,
    /// What this device lacks of groups that others of the account were in before.
    groups: groups::GroupWants,
    /// When the next page is asked for, or asked for again, in steady time.
    due: Option<u64>,
    /// Since when the source is not connected, in steady time.
    apart_since: Option<u64>,
    /// Whether nothing more was to come each time that changes were asked for since the last page.
    settled: Option<bool>,
    /// The account's snapshot was read since the program began: this device knows what conversations there are.
    knows_chats: bool,
    /// How often changes were asked for in vain.
    idle: u32,
    /// When progress was told last, in steady time.
    told_at: u64,
}

impl History {
    /// Loads it from the profile. What was interrupted goes on once the other device is connected, or by way of the home after a while.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let copy: HistoryCopyRow = read.get(META, b"history_copy")?.unwrap_or_default();
        let grants = read.get(META, b"history_grants")?.unwrap_or_default();
        let due = CopyPhase::from_stored(copy.phase).is_open().then_some(0);
        Ok(Self { copy, grants, due, groups: groups::GroupWants::load(read)?, ..Self::default() })
    }

    /// When [`History::take_due`] has something, or a group is asked for.
    pub fn next_due(&self) -> Option<u64> {
        self.due.into_iter().chain(self.groups.next_due()).min()
    }

    /// Whether it is time to ask.
    pub fn take_due(&mut self, now: u64) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Asks (again) at a steady time.
    pub fn ask_at(&mut self, at: u64) {
        self.due = Some(at);
    }

    /// Since when the source is not connected, in steady time; that it is not is noted now.
    pub fn apart_since(&mut self, now: u64) -> u64 {
        *self.apart_since.get_or_insert(now)
    }

    /// The source is connected.
    pub fn together(&mut self) {
        self.apart_since = None;
    }

    /// The account's snapshot was read.
    pub fn note_snapshot(&mut self) {
        self.knows_chats = true;
    }

    /// Whether nothing more is to come but what is asked for now, or has come. The page that comes may answer what was asked before.
    fn note_settled(&mut self, is_settled: bool) {
        self.settled = Some(is_settled && self.settled.unwrap_or(true));
    }

    pub fn phase(&self) -> CopyPhase {
        CopyPhase::from_stored(self.copy.phase)
    }

    /// The device that this one copies from.
    pub fn source(&self) -> Option<DeviceId> {
        DeviceId::from_bytes(&self.copy.source).ok().filter(|_| self.phase() != CopyPhase::None)
    }

    /// The number of the permission under which this device copies from another one now; 0 without one.
    fn permission_of(&self, source: &DeviceId) -> u64 {
        if self.source() == Some(*source) && self.phase().is_open() { self.copy.grant } else { 0 }
    }

    /// What is to be said to the source now.
    pub fn next_step(&self) -> Option<HistoryMessage> {
        let step = match self.phase() {
            CopyPhase::Wished => HistoryStep::Wish(Nothing {}),
            CopyPhase::Copying | CopyPhase::Following => HistoryStep::Request(self.request()),
            CopyPhase::None | CopyPhase::Done | CopyPhase::Refused => return None,
        };
        Some(HistoryMessage { grant: self.copy.grant, step: Some(step) })
    }

    /// The page that is wanted next.
    pub fn request(&self) -> HistoryRequest {
        match self.phase() {
            CopyPhase::Following => HistoryRequest { since: Some(self.copy.changes), ..HistoryRequest::default() },
            _ => HistoryRequest { before: self.copy.before.clone().into(), since: None },
        }
    }

    /// The user wants the history of a device: begins if that has given permission. Gives whether it has.
    pub fn wish(&mut self, turn: &mut Turn<'_>, source: DeviceId) -> bool {
        let grant = self.offers.remove(&source);
        let phase = if grant.is_some() { CopyPhase::Copying } else { CopyPhase::Wished };
        self.copy = HistoryCopyRow {
            source: source.as_bytes().to_vec(),
            grant: grant.unwrap_or_default(),
            ..HistoryCopyRow::default()
        };
        self.set_phase(turn, phase);
        self.due = Some(turn.now());
        grant.is_some()
    }

    /// Another device gives permission. Nobody has to have asked for it: then it is kept until somebody does. Gives whether it was used up.
    pub fn on_offer(&mut self, turn: &mut Turn<'_>, from: DeviceId, grant: u64) -> bool {
        if self.source() == Some(from) && self.phase() == CopyPhase::Wished {
            self.copy.grant = grant;
            self.set_phase(turn, CopyPhase::Copying);
            self.due = Some(turn.now());
        } else if self.copy.expected_from == from.as_bytes() && self.phase() == CopyPhase::None {
            self.offers.insert(from, grant);
            self.wish(turn, from);
        } else if self.copy.grant != grant && self.offers.insert(from, grant) != Some(grant) {
            turn.transient_event(TransientEvent::HistoryOffered(from));
        }
        self.copy.grant == grant && !self.phase().is_open()
    }

    /// Another device wishes to copy from this one. Gives the permission that it has.
    pub fn on_wish(&mut self, turn: &mut Turn<'_>, from: DeviceId) -> Option<u64> {
        let granted = self.grant_of(turn, &from);
        if granted.is_none() && self.wishes.insert(from) {
            turn.transient_event(TransientEvent::HistoryWished(from));
        }
        granted
    }

    /// Gives a device permission; the number of it.
    pub fn give(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> u64 {
        use rand::RngExt;
        self.wishes.remove(&device);
        if let Some(grant) = self.grant_of(turn, &device) {
            return grant;
        }
        let grant = turn.rng().random::<u64>().max(1);
        let row =
            HistoryGrantRow { device: device.as_bytes().to_vec(), grant, at_ms: turn.agreed_ms(), complete: false };
        self.grants.grants.retain(|other| other.device != row.device);
        self.grants.grants.push(row);
        let surplus = self.grants.grants.len().saturating_sub(MAX_HISTORY_GRANTS);
        self.grants.grants.drain(..surplus);
        self.grants_dirty = true;
        grant
    }

    /// The permission that a device has.
    pub fn grant_of(&self, turn: &Turn<'_>, device: &DeviceId) -> Option<u64> {
        let now = turn.agreed_ms();
        let of_it = self.grants.grants.iter().find(|g| g.device == device.as_bytes());
        of_it.filter(|g| now.saturating_sub(g.at_ms) < HISTORY_GRANT_MS).map(|g| g.grant)
    }

    /// The number of the permission that a device has; 0 without one.
    #[cfg(test)]
    pub fn number_for(&self, device: &DeviceId) -> u64 {
        self.grants.grants.iter().find(|g| g.device == device.as_bytes()).map_or(0, |g| g.grant)
    }

    /// Takes permissions back.
    pub fn revoke(&mut self, revoked: impl Fn(&DeviceId) -> bool) {
        let before = self.grants.grants.len();
        self.grants.grants.retain(|g| DeviceId::from_bytes(&g.device).is_ok_and(|device| !revoked(&device)));
        self.grants_dirty |= self.grants.grants.len() != before;
        self.wishes.retain(|device| !revoked(device));
        self.offers.retain(|device, _| !revoked(device));
    }

    /// A device has everything that was there.
    pub fn note_complete(&mut self, device: &DeviceId) {
        let of_it = self.grants.grants.iter_mut().filter(|g| g.device == device.as_bytes() && !g.complete);
        for grant in of_it {
            grant.complete = true;
            self.grants_dirty = true;
        }
    }

    /// Those that have permission, and not everything yet.
    fn granted(&self) -> Vec<DeviceId> {
        let open = self.grants.grants.iter().filter(|g| !g.complete);
        open.filter_map(|g| DeviceId::from_bytes(&g.device).ok()).collect()
    }

    /// The copying ends, or goes on in another way; those who look are told.
    pub fn set_phase(&mut self, turn: &mut Turn<'_>, phase: CopyPhase) {
        self.copy.phase = phase.stored();
        self.copy_dirty = true;
        if !phase.is_open() {
            self.due = None;
        }
        self.tell(turn);
    }

    /// Tells how far it is, if that was not done just now.
    fn tell_progress(&mut self, turn: &mut Turn<'_>) {
        if turn.now() >= self.told_at + HISTORY_TOLD_EVERY_MS {
            self.tell(turn);
        }
    }

    fn tell(&mut self, turn: &mut Turn<'_>) {
        self.told_at = turn.now();
        if let Some(copy) = self.copy() {
            turn.transient_event(TransientEvent::HistoryCopy(copy));
        }
    }

    /// What is copied to this device, or was.
    fn copy(&self) -> Option<HistoryCopy> {
        let row = &self.copy;
        Some(HistoryCopy {
            source: DeviceId::from_bytes(&row.source).ok()?,
            phase: self.phase(),
            total: row.total,
            walked: row.walked,
            copied: row.copied,
            started_ms: row.started_ms,
            complete_ms: row.complete_ms,
        })
    }

    /// Everything that a user can know of it.
    pub fn state(&self) -> HistoryState {
        HistoryState {
            copy: self.copy(),
            granted: self.granted(),
            wishes: self.wishes.iter().copied().collect(),
            offers: self.offers.keys().copied().collect(),
        }
    }

    /// Writes what has changed.
    pub fn save(&mut self, turn: &Turn<'_>) -> Result<(), EngineError> {
        if std::mem::take(&mut self.copy_dirty) {
            turn.put(META, b"history_copy", &self.copy)?;
        }
        if std::mem::take(&mut self.grants_dirty) {
            turn.put(META, b"history_grants", &self.grants)?;
        }
        self.groups.save(turn)
    }
}
