//! Entries of our device chain that contacts know and we do not: our home is asked, and if it lacks them, too, the user is warned.

use starling_keys::{
    AccountId, DeviceChain, DeviceId,
    chain::{ChangeKind, Relation, Signer},
};
use starling_wire::{Devices, rendezvous::RequestBody};

use super::AccountDevices;
use crate::{
    account::{devices::ShownChain, pending::AccountPending},
    api::types::{DurableEventKind, HiddenChange},
    net::HomeId,
    turn::{EngineError, Turn},
};

impl AccountDevices<'_> {
    /// A chain of our own account in a conversation: entries that are not known here are asked of our home.
    pub(crate) fn on_own_chain_shown(&mut self, turn: &mut Turn<'_>, by: AccountId, devices: &Devices) {
        let Some(chain) = self.cx.directory().read_chain(&devices.list).filter(|chain| self.cx.account.is_newer(chain))
        else {
            return;
        };
        if self.cx.account.list().is_none_or(|list| list.is_empty()) {
            return;
        }
        if self.cx.account.own_devices.take_shown(ShownChain { by, chain, labels: devices.labels.clone() }) {
            self.ask_for_own_chain(turn);
        }
    }

    /// Asks a home for our chain, if something is to be compared with it.
    pub(crate) fn ask_for_own_chain(&mut self, turn: &mut Turn<'_>) {
        if !self.cx.account.own_devices.has_shown() {
            return;
        }
        let registered = |home: &HomeId| self.cx.homes.servers.get(home).is_some_and(|h| h.registered);
        let home = self.cx.account.identity.homes.iter().map(|home| home.peer).find(registered);
        if let Some(home) = home {
            let account = bytes::Bytes::copy_from_slice(self.cx.account.id().as_bytes());
            self.cx.homes.request(turn, home, RequestBody::LookUp(account), AccountPending::OwnList);
        }
    }

    /// A home has shown our chain, and it was taken: what contacts know beyond that was hidden from it. The user is warned, and sees it in the
    /// list of devices, where it can be removed for everybody.
    pub(crate) fn compare_shown(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for ShownChain { by, chain, labels } in self.cx.account.own_devices.shown() {
            let Some(own) = self.cx.account.list().filter(|_| self.cx.account.is_newer(&chain)).cloned() else {
                continue;
            };
            tracing::warn!("a contact knows entries of our device chain that our home does not have");
            let age = self.cx.account.identity.held().age(turn.agreed_ms() / 1000);
            let is_late = !own.late_removals(&chain, age).is_empty();
            // Of what a removed device has done the user is warned otherwise.
            for hidden in hidden(&own, &chain).into_iter().filter(|_| !is_late) {
                let label = labels.iter().find(|l| l.device[..] == hidden.device.as_bytes()[..]);
                let name = label.map(|l| l.name.clone()).unwrap_or_default();
                let hidden = HiddenChange { name, ..hidden };
                turn.account_event(DurableEventKind::DeviceHidden, by, &hidden.to_string())?;
            }
            let account = self.cx.account.id();
            if !self.on_own_list(turn, chain)? {
                return Ok(());
            }
            self.cx.take_labels(turn, account, &labels)?;
            self.cx.account.publish_at_homes(turn, self.cx.homes);
        }
        Ok(())
    }
}

/// What a chain of ours does to devices after what is known.
fn hidden(own: &DeviceChain, shown: &DeviceChain) -> Vec<HiddenChange> {
    let common = own.common(shown);
    let word = |kind| match kind {
        ChangeKind::Joined => "joined",
        ChangeKind::Left => "left",
        ChangeKind::Recovered => "recovered",
    };
    let rival = matches!(own.relation(shown), Relation::Rival(_));
    let of_change = |change: starling_keys::chain::Change| HiddenChange {
        change: if rival && change.kind != ChangeKind::Recovered { "forked" } else { word(change.kind) }.into(),
        device: change.device,
        by: change.by,
        name: String::new(),
    };
    let mut hidden: Vec<HiddenChange> = shown.changes_after(common).into_iter().map(of_change).collect();
    if hidden.is_empty() {
        // Rights or homes: who has signed that is what the user has to know.
        let signer = shown.entries().last().map(|entry| entry.signer);
        let device: Option<DeviceId> = if let Some(Signer::Device(device)) = signer { Some(device) } else { None };
        let change = if rival { "forked" } else { "changed" }.to_owned();
        hidden.extend(device.map(|device| HiddenChange { change, device, by: Some(device), name: String::new() }));
    }
    hidden
}
