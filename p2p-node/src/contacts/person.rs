//! Somebody we know.

use starling_keys::{
    AccountId, DeviceChain, DeviceId, RendezvousAddr,
    chain::{Fork, Relation},
};

use super::seen::Seen;
use crate::{
    api::types::ContactState,
    store::{ContactRow, HeldRow},
};

pub(crate) struct Person {
    pub row: ContactRow,
    pub list: Option<DeviceChain>,
    pub presence: Seen,
    /// The devices by which the index finds them.
    pub indexed: Vec<DeviceId>,
    pub dirty: bool,
}

/// What a device chain of somebody's means, compared with what was known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainNews {
    /// Nothing that was not known.
    Known,
    /// More entries of the same history.
    Extended,
    /// Their devices were replaced altogether, by a recovery or otherwise: somebody else may be there.
    Replaced,
}

/// Why a device chain was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainRefused {
    /// It lacks entries that are known.
    #[error("the device chain was rolled back")]
    Past,
    /// It contradicts what was known for long.
    #[error(transparent)]
    Fork(#[from] Fork),
}

impl Person {
    /// Takes a device chain, whose signatures are right, if it continues what is known of them, or counts before it.
    ///
    /// # Errors
    /// If it is from the past, or contradicts what was held for long.
    pub fn take_chain(&mut self, chain: DeviceChain, now_s: u64) -> Result<ChainNews, ChainRefused> {
        let (news, common, chain) = self.judge(chain, now_s)?;
        let mut held = HeldRow::held(&self.row.held);
        held.note(common, chain.len(), now_s);
        self.row.held = HeldRow::of(&held);
        self.row.device_list = chain.as_bytes().to_vec();
        self.list = Some(chain);
        self.dirty = true;
        Ok(news)
    }

    /// What [`Person::take_chain`] would make of it: the chain that counts then.
    pub fn check_chain(&self, chain: &DeviceChain, now_s: u64) -> Result<DeviceChain, ChainRefused> {
        self.judge(chain.clone(), now_s).map(|(_, _, counts)| counts)
    }

    /// Whether a device is none of the account once a chain of it is known here as well.
    pub fn would_not_have(&self, device: &DeviceId, chain: &DeviceChain, now_s: u64) -> bool {
        let counts = self.check_chain(chain, now_s).ok();
        counts.as_ref().or(self.list.as_ref()).is_some_and(|chain| chain.device(device).is_none())
    }

    /// Whether a device that its account has removed some time ago has written removals into a chain: they do not count.
    pub fn has_late_removals(&self, chain: &DeviceChain, now_s: u64) -> bool {
        let age = HeldRow::held(&self.row.held).age(now_s);
        self.list.as_ref().is_some_and(|known| !known.is_empty() && !known.late_removals(chain, age).is_empty())
    }

    /// Whether their chain has removed a device, and that is known here for some minutes: what the device did before may have come late.
    pub fn has_removed_before(&self, device: &DeviceId, now_s: u64) -> bool {
        let firm = HeldRow::held(&self.row.held).age(now_s).firm;
        self.list.as_ref().is_some_and(|list| list.had_removed(firm, device))
    }

    /// What a chain means, how many entries of it were known, and the chain that counts.
    fn judge(&self, chain: DeviceChain, now_s: u64) -> Result<(ChainNews, u32, DeviceChain), ChainRefused> {
        let Some(known) = &self.list else {
            let length = u32::try_from(self.row.trusted_version).unwrap_or(u32::MAX);
            if self.row.trusted_head.is_empty() {
                return Ok((ChainNews::Extended, 0, chain));
            }
            let same = chain.head_at(length).is_some_and(|head| head.0[..] == self.row.trusted_head);
            return match (same, chain.recovered_since(if same { length } else { 0 })) {
                (true, false) => Ok((ChainNews::Extended, 0, chain)),
                (_, true) => Ok((ChainNews::Replaced, 0, chain)),
                (false, false) => Err(ChainRefused::Past),
            };
        };
        if known.is_empty() {
            let kept = known.devices.iter().any(|d| chain.device(&d.id).is_some());
            return Ok((if kept { ChainNews::Extended } else { ChainNews::Replaced }, 0, chain));
        }
        let relation = known.relation(&chain);
        if relation == Relation::Behind {
            return Err(ChainRefused::Past);
        }
        let counts = known.reconcile(&chain, HeldRow::held(&self.row.held).age(now_s))?;
        let (news, common) = match (relation, counts.head() == known.head()) {
            (_, true) | (Relation::Same, _) => (ChainNews::Known, known.len()),
            (Relation::Rival(at), _) if counts.recovered_since(at) => (ChainNews::Replaced, at),
            (Relation::Rival(_), _) => (ChainNews::Extended, known.kept_in(&counts)),
            _ if counts.recovered_since(known.len()) => (ChainNews::Replaced, known.len()),
            _ => (ChainNews::Extended, known.len()),
        };
        Ok((news, common, counts))
    }

    /// How many entries of their chain are known, and the head after those. Without a chain that is what other devices of ours have known.
    pub fn known_chain(&self) -> (u64, Vec<u8>) {
        match &self.list {
            Some(list) => (u64::from(list.len()), self.head()),
            None => (self.row.trusted_version, self.row.trusted_head.clone()),
        }
    }

    /// Other devices of ours know so much of their chain now, and look for them there: that counts while no chain of theirs is known here. What was
    /// known before may have lost against another entry since, and then no chain that anybody has goes on from it.
    pub fn known_elsewhere(&mut self, homes: Vec<String>, version: u64, head: Vec<u8>) {
        if self.list.is_none() {
            (self.row.homes, self.row.trusted_version, self.row.trusted_head) = (homes, version, head);
            self.dirty = true;
        }
    }

    /// A new contact: only the account is known.
    pub fn new(account: &AccountId, now_ms: u64) -> Self {
        let row = ContactRow { account: account.as_bytes().to_vec(), added_ms: now_ms, ..ContactRow::default() };
        Self { dirty: true, ..Self::stored(row, None) }
    }

    /// Somebody who is in the store.
    pub fn stored(row: ContactRow, list: Option<DeviceChain>) -> Self {
        Self { row, list, presence: Seen::default(), indexed: Vec::new(), dirty: false }
    }

    pub fn state(&self) -> ContactState {
        ContactState::from_stored(self.row.state)
    }

    pub fn name(&self) -> &str {
        if self.row.alias.is_empty() { &self.row.name } else { &self.row.alias }
    }

    /// Where their devices are found.
    pub fn homes(&self) -> Vec<RendezvousAddr> {
        match &self.list {
            Some(list) => list.homes.clone(),
            None => self.row.homes.iter().filter_map(|h| h.parse().ok()).collect(),
        }
    }

    /// Somebody else may be there now. Gives whether that ends a verification.
    pub fn distrust(&mut self) -> bool {
        let ends = self.row.verified && !self.row.key_changed;
        self.row.key_changed |= ends;
        self.dirty |= ends;
        ends
    }

    /// The user trusts their devices as they are known now.
    pub fn trust(&mut self) {
        (self.row.key_changed, self.row.forked) = (false, false);
        self.row.trusted = self.head();
        self.dirty = true;
    }

    /// On another device the user has said to trust the chain with this head. Gives whether that ends an alarm: it does if the chain is the one
    /// that is known here.
    pub fn trusted_elsewhere(&mut self, head: &[u8]) -> bool {
        self.row.trusted = head.to_vec();
        let ends = !head.is_empty() && head == self.head() && (self.row.key_changed || self.row.forked);
        if ends {
            (self.row.key_changed, self.row.forked) = (false, false);
        }
        self.dirty = true;
        ends
    }

    fn head(&self) -> Vec<u8> {
        self.list.as_ref().filter(|list| !list.is_empty()).map(|list| list.head().0.to_vec()).unwrap_or_default()
    }

    /// Whether there is, or will be, a group for the conversation with them.
    pub fn can_have_group(&self) -> bool {
        let has_home = self.list.as_ref().map_or(!self.row.homes.is_empty(), |list| !list.homes.is_empty());
        self.is_linked() && !self.row.key_changed && has_home
    }

    /// Whether messages are exchanged with them.
    pub fn is_linked(&self) -> bool {
        matches!(self.state(), ContactState::Active | ContactState::Outgoing)
    }
}
