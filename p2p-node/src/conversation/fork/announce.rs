//! Whoever goes on from another commit says so in the log that is left: others may read there and be connected with nobody who knows.

use starling_wire::{
    LogContent, LogVerb, SealedBeacon,
    rendezvous::{LogRequest, Refusal},
};

use super::BeaconKey;
use crate::{
    conversation::{
        Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId, LogKeys},
    },
    home::{LogPending, Refused},
    limits::RETRY_REFUSED_MS,
    store::LogRow,
    turn::{EngineError, Turn},
};

impl GroupEntry {
    /// The log of an epoch in which others may be is to say what we have followed from another epoch.
    pub(super) fn announce_in(&mut self, epoch: u64, log: &LogRow) {
        if let Some(mark) = self.parent_mut(epoch) {
            mark.announce_in.clone_from(&log.secret);
            self.touch();
        }
    }

    /// Whether a log is still to say what we have followed.
    pub fn announces(&self) -> bool {
        self.row.parents.iter().any(|mark| !mark.announce_in.is_empty())
    }

    fn announced(&mut self, epoch: u64) {
        self.forks.announcing = false;
        if let Some(mark) = self.parent_mut(epoch) {
            mark.announce_in.clear();
            self.touch();
        }
    }
}

impl Conversations {
    /// Says in one log what we have followed, if that is still to be said.
    pub(in crate::conversation) fn announce_fork(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        if !self.groups.get(&id).is_some_and(|entry| entry.announces() && !entry.forks.announcing) {
            return Ok(());
        }
        let Some(home) = self.usable(turn, cx, id) else { return Ok(()) };
        let most = self.told_commits(id);
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let Some(mark) = entry.row.parents.iter().find(|mark| !mark.announce_in.is_empty()) else { return Ok(()) };
        let told = entry.followed_from(turn, mark.epoch, most)?;
        let (epoch, parent) = (mark.epoch, LogKeys::of_secret(&mark.secret));
        let keys = LogKeys::of_secret(&mark.announce_in).zip(BeaconKey::new(&id, epoch, &mark.secret));
        let Some((told, (mut keys, BeaconKey { key, place }))) = told.zip(keys) else {
            entry.announced(epoch);
            return Ok(());
        };
        let sealed = key.seal(&place, &told.to_bytes()).into();
        let content = LogContent::Beacon(SealedBeacon { epoch, sealed, ..SealedBeacon::default() });
        // Its log may not be there yet.
        keys.parent = parent.map(|parent| parent.key);
        let request = LogRequest { entries: vec![keys.seal_entry(&content.to_bytes())], ..LogRequest::default() };
        entry.forks.announcing = true;
        cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Announce(id, epoch));
        Ok(())
    }
}

impl Groups {
    /// A log says now what we have followed.
    pub(in crate::conversation) fn on_announced(&mut self, id: GroupId, epoch: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.announced(epoch);
        }
    }

    /// A log does not say it, or only later.
    pub(in crate::conversation) fn not_announced(
        &mut self,
        turn: &Turn<'_>,
        (id, epoch): (GroupId, u64),
        refused: Option<&Refused>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.forks.announcing = false;
        match refused {
            Some(refused) if !refused.is_busy() || refused.reason == Refusal::Full => entry.announced(epoch),
            _ => entry.append.retry_at = entry.append.retry_at.max(turn.now() + RETRY_REFUSED_MS),
        }
    }
}
