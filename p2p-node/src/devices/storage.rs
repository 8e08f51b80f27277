//! What homes say that they store for the account.

use std::collections::BTreeMap;

use starling_wire::rendezvous::{Logs, RequestBody};

use super::{AccountDevices, limits::MAX_STORED_LOGS};
use crate::{
    account::storage::StoredLog, api::types::ChatId, conversation::group::LogKeys, home::AccountPending, net::HomeId,
    turn::Turn,
};

impl AccountDevices<'_> {
    /// A page of the logs at a home.
    pub(super) fn on_stored_logs(&mut self, turn: &mut Turn<'_>, home: HomeId, id: u64, page: &Logs) {
        let needed = self.needed_logs();
        let key = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
        let logs = page.logs.iter().filter_map(|log| {
            let address = key(&log.address)?;
            let needed = needed.get(&address).map(|chat| (*chat, self.name_of(*chat)));
            Some(StoredLog { home, address, root: key(&log.root)?, entries: log.entries, bytes: log.cost, needed })
        });
        let logs: Vec<StoredLog> = logs.collect();
        let known = self.cx.account.add_stored(id, logs);
        let last = page.logs.last().filter(|_| page.more && known < MAX_STORED_LOGS);
        match last.map(|log| log.address.clone()) {
            Some(last) => self.cx.homes.request(turn, home, RequestBody::ListLogs(last), AccountPending::Logs(id)),
            None => self.cx.account.storage_step(turn, self.cx.homes, id),
        }
    }

    /// The logs, doors, links and their boxes that conversations need here, and those.
    fn needed_logs(&self) -> BTreeMap<[u8; 32], ChatId> {
        let mut needed = BTreeMap::new();
        for group in self.cx.conversations.groups.values().filter(|group| !group.row.dead) {
            let Some(chat) = group.chat() else { continue };
            let door = group.row.door.as_ref().and_then(|door| LogKeys::of_secret(&door.secret));
            let logs = group.logs.iter().filter_map(LogKeys::of).chain(door).map(|keys| keys.address);
            needed.extend(logs.chain(group.link_logs()).map(|address| (address, chat)));
        }
        needed
    }

    fn name_of(&self, chat: ChatId) -> String {
        let state = self.cx.conversations.chats.get(&chat);
        state.map(|state| self.cx.conversations.name_of(self.cx.directory(), state)).unwrap_or_default()
    }
}
