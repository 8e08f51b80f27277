//! What the account stores at its homes: logs of conversations, which it may list and delete. Others can fill them: whoever has the key of a
//! conversation's log.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use starling_wire::rendezvous::RequestBody;

use super::Account;
use crate::{
    account::pending::AccountPending,
    api::{
        Reply,
        error::{NodeError, NotFound, Unreachable},
        types::{ChatId, Storage, StoredLogs},
    },
    home::Homes,
    net::HomeId,
    turn::Turn,
};

/// A log at a home.
pub struct StoredLog {
    pub home: HomeId,
    pub address: [u8; 32],
    /// The first log of its conversation.
    pub root: [u8; 32],
    pub entries: u64,
    pub bytes: u64,
    /// The conversation in which this device needs it.
    pub needed: Option<(ChatId, String)>,
}

/// A question of the user that waits for homes.
pub struct StorageQuery {
    /// Answers that are still to come.
    waiting: usize,
    /// A home has answered.
    answered: bool,
    /// What is to be deleted: the id of a conversation's logs.
    delete: Option<String>,
    logs: Vec<StoredLog>,
    deleted: u64,
    reply: Reply<Storage>,
}

/// As users see it.
fn id_of(root: &[u8; 32]) -> String {
    BASE32_NOPAD.encode(&root[..10]).to_lowercase()
}

impl Account {
    /// Asks the homes what they store for the account, and deletes what it does not need of a conversation.
    pub(crate) fn ask_storage(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        delete: Option<String>,
        reply: Reply<Storage>,
    ) {
        let ours: Vec<HomeId> = homes
            .servers
            .iter()
            .filter(|(_, h)| h.own && h.registered && h.hello.is_some())
            .map(|(id, _)| *id)
            .collect();
        if ours.is_empty() {
            return turn.reply(reply, Err(Unreachable::Home.into()));
        }
        let id = turn.fresh_id();
        let (waiting, logs) = (ours.len(), Vec::new());
        self.storage.insert(id, StorageQuery { waiting, answered: false, delete, logs, deleted: 0, reply });
        for home in ours {
            homes.request(turn, home, RequestBody::ListLogs(Bytes::new()), AccountPending::Logs(id));
        }
    }

    /// Some logs of a home; gives how many of all homes are known.
    pub(crate) fn add_stored(&mut self, id: u64, logs: Vec<StoredLog>) -> usize {
        let Some(query) = self.storage.get_mut(&id) else { return 0 };
        query.answered = true;
        query.logs.extend(logs);
        query.logs.len()
    }

    /// An answer has come, or none will come. After the last list the logs that are to go are deleted, and after those the user is answered.
    pub(crate) fn storage_step(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, id: u64) {
        let Some(query) = self.storage.get_mut(&id) else { return };
        query.waiting = query.waiting.saturating_sub(1);
        if query.waiting > 0 {
            return;
        }
        if let Some(wanted) = query.delete.take() {
            let chosen = query.logs.iter().filter(|log| id_of(&log.root) == wanted);
            let found = chosen.clone().count() > 0;
            let unused: Vec<(HomeId, [u8; 32])> =
                chosen.filter(|log| log.needed.is_none()).map(|log| (log.home, log.address)).collect();
            if query.answered && !found {
                return self.storage_answered(turn, homes, id, Err(NotFound::StoredLogs.into()));
            }
            query.waiting = unused.len();
            for (home, address) in &unused {
                let ask = RequestBody::DeleteLog(Bytes::copy_from_slice(address));
                homes.request(turn, *home, ask, AccountPending::DeleteLog(id, *address));
            }
            if !unused.is_empty() {
                return;
            }
        }
        let answered = query.answered;
        self.storage_answered(turn, homes, id, if answered { Ok(()) } else { Err(Unreachable::Home.into()) });
    }

    /// A home has deleted a log.
    pub(crate) fn log_deleted(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, id: u64, address: [u8; 32]) {
        if let Some(query) = self.storage.get_mut(&id) {
            query.logs.retain(|log| log.address != address);
            query.deleted += 1;
        }
        self.storage_step(turn, homes, id);
    }

    fn storage_answered(&mut self, turn: &mut Turn<'_>, homes: &Homes, id: u64, result: Result<(), NodeError>) {
        let Some(query) = self.storage.remove(&id) else { return };
        let storage = Storage { conversations: together(homes, query.logs), deleted: query.deleted };
        turn.reply(query.reply, result.map(|()| storage));
    }
}

/// The logs of each conversation at each home, taken together.
fn together(homes: &Homes, logs: Vec<StoredLog>) -> Vec<StoredLogs> {
    let mut found: BTreeMap<(HomeId, [u8; 32]), StoredLogs> = BTreeMap::new();
    for log in logs {
        let sum = found.entry((log.home, log.root)).or_insert_with(|| {
            let address = homes.servers.get(&log.home).and_then(|home| home.addresses.first());
            StoredLogs {
                id: id_of(&log.root),
                home: address.map(ToString::to_string).unwrap_or_default(),
                chat: None,
                logs: 0,
                unused: 0,
                entries: 0,
                bytes: 0,
            }
        });
        sum.logs += 1;
        sum.unused += u64::from(log.needed.is_none());
        sum.entries = sum.entries.saturating_add(log.entries);
        sum.bytes = sum.bytes.saturating_add(log.bytes);
        sum.chat = sum.chat.take().or(log.needed);
    }
    let mut all: Vec<StoredLogs> = found.into_values().collect();
    all.sort_by_key(|logs| std::cmp::Reverse(logs.bytes));
    all
}
