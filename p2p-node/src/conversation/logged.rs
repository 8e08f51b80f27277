//! Entries of ours that rendezvous servers keep, until everybody has them and they are deleted there.
//!
//! A row for each append is durable in the turn of the server's answer, with all that deleting its entries takes: the log's secret and its home,
//! whatever becomes of the group. What can be deleted follows from these rows and the outbox, so nothing is lost with a connection or process.

use std::collections::BTreeMap;

use starling_keys::RendezvousAddr;
use starling_wire::{LogVerb, rendezvous::LogRequest};

use super::{
    Chats, Conversations, Groups,
    limits::{MAX_REPLACED_RECEIPTS, OUTBOX_LIFE_MS, TRIM_ROWS},
};
use crate::{
    api::types::ChatId,
    conversation::group::{GroupId, LogKeys, log_address},
    home::{Appended, Homes, LogPending, LogPlace, LoggedKey, Pending, Trimming},
    net::HomeId,
    store::{LOGGED, LoggedEntry, LoggedKind, LoggedRow, Reading, prefix},
    turn::{EngineError, Turn},
};

const KEY_FIRST: std::ops::Range<usize> = 16..24;
const KEY_ADDRESS: std::ops::Range<usize> = 24..56;

/// The rows in memory, in the order in which they are trimmed.
#[derive(Default)]
pub struct LoggedEntries(BTreeMap<LoggedKey, Logged>);

impl LoggedEntries {
    /// Loads them from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let rows = read.range::<LoggedRow>(LOGGED, prefix(b""), usize::MAX, false)?;
        Ok(Self(rows.into_iter().map(|(key, row)| (key, Logged::stored(row))).collect()))
    }
}

/// A row in memory.
struct Logged {
    row: LoggedRow,
    /// The server was asked to delete entries of it.
    under_way: bool,
}

impl Logged {
    fn stored(row: LoggedRow) -> Self {
        Self { row, under_way: false }
    }

    fn home(&self) -> Option<HomeId> {
        self.row.home.parse::<RendezvousAddr>().ok().map(|h| h.peer)
    }
}

impl Conversations {
    /// An entry of ours was read in a log. The answer to its append may have been lost, and it was appended again: this one is kept until
    /// everybody has what we have written so far.
    pub(crate) fn found_own(
        &mut self,
        turn: &mut Turn<'_>,
        place: &LogPlace,
        sequence: u64,
    ) -> Result<(), EngineError> {
        let is_it = |e: &LoggedEntry| e.sequence == sequence;
        let known = self
            .logged
            .keys_where(place.chat, |key, l| key[KEY_ADDRESS] == place.address && l.row.entries.iter().any(is_it));
        if !known.is_empty() {
            return Ok(());
        }
        let last = self.chats.get(&place.chat).map_or(0, |c| c.row.last_sequence);
        self.logged.put_logged(turn, place, LoggedKind::Found, 0, vec![LoggedEntry { sequence, last }])
    }

    /// Entries of a row that nobody waits for, where everybody has our events up to `done`.
    fn needless(&self, homes: &mut Homes, logged: &Logged, done: u64) -> Vec<u64> {
        let due = |e: &&LoggedEntry| match logged.row.kind() {
            LoggedKind::Events => e.last <= done,
            // It may be what an append has brought whose answer is under way.
            LoggedKind::Found => e.last <= done && !self.appends_to(homes, &logged.row),
            LoggedKind::Receipt => false,
            LoggedKind::Needless => true,
        };
        logged.row.entries.iter().filter(due).map(|e| e.sequence).collect()
    }

    fn appends_to(&self, homes: &mut Homes, row: &LoggedRow) -> bool {
        let to_group =
            |p: &Pending| matches!(p, Pending::Log(LogPending::Append(a)) if a.place.group[..] == row.group[..]);
        homes.servers.values().any(|h| h.pending.values().any(to_group))
    }

    /// Asks for the deletion of what everybody has of a conversation.
    pub(crate) fn trim_chat(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, chat: ChatId) {
        let done = self.chats.had_by_all(chat);
        let mut due: BTreeMap<(HomeId, Vec<u8>), Trimming> = BTreeMap::new();
        for (key, logged) in self.logged.0.range(prefix(&chat.0)) {
            if key[KEY_FIRST] > done.to_be_bytes()[..] {
                break;
            }
            let Some(home) = logged.home().filter(|_| !logged.under_way) else { continue };
            let sequences = self.needless(homes, logged, done);
            if !sequences.is_empty() && homes.is_up(&home) {
                due.entry((home, key[KEY_ADDRESS].to_vec())).or_default().push((key.clone(), sequences));
            }
        }
        for ((home, _), trimming) in due {
            for part in trimming.chunks(TRIM_ROWS) {
                self.logged.trim(turn, homes, home, part.to_vec());
            }
        }
    }

    /// What could not be deleted at a home is deleted now that it is there. Logs forget by themselves what is older than a message's life.
    pub(crate) fn trims_up(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) -> Result<(), EngineError> {
        let before = turn.wall().min(turn.agreed_ms()).saturating_sub(OUTBOX_LIFE_MS);
        let of_home = self.logged.0.iter().filter(|(_, l)| l.home() == Some(home));
        let (mut old, mut chats) = (Vec::new(), Vec::new());
        for (key, logged) in of_home {
            if logged.row.at_ms < before {
                old.push(key.clone());
            }
            chats.extend(key[..16].try_into().ok().map(ChatId));
        }
        for key in old {
            self.logged.forget_logged(turn, &key)?;
        }
        chats.dedup();
        for chat in chats {
            self.trim_chat(turn, homes, chat);
        }
        Ok(())
    }

    /// Homes with entries that can be deleted: a connection is needed though no conversation may be there any more.
    pub(crate) fn homes_to_trim(&self, homes: &mut Homes) -> Vec<RendezvousAddr> {
        let chat = |key: &LoggedKey| key[..16].try_into().ok().map(ChatId);
        let due = |(key, l): &(&LoggedKey, &Logged)| {
            chat(key).is_some_and(|chat| !self.needless(homes, l, self.chats.had_by_all(chat)).is_empty())
        };
        let mut homes: Vec<&str> = self.logged.0.iter().filter(due).map(|(_, l)| l.row.home.as_str()).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.into_iter().filter_map(|h| h.parse().ok()).collect()
    }
}

impl Groups {
    /// The log of a group's epoch.
    pub(crate) fn log_place(&self, group: GroupId, epoch: u64) -> Option<LogPlace> {
        let entry = self.entries.get(&group)?;
        let log = entry.logs.iter().find(|l| l.epoch == epoch)?;
        Some(LogPlace {
            chat: ChatId(entry.row.chat.as_slice().try_into().ok()?),
            group,
            home: entry.row.home.clone(),
            secret: log.secret.clone(),
            address: log_address(log)?,
        })
    }
}

impl LoggedEntries {
    fn put_logged(
        &mut self,
        turn: &mut Turn<'_>,
        place: &LogPlace,
        kind: LoggedKind,
        first: u64,
        entries: Vec<LoggedEntry>,
    ) -> Result<(), EngineError> {
        let Some(sequence) = entries.first().map(|e| e.sequence) else { return Ok(()) };
        let key = [&place.chat.0[..], &first.to_be_bytes(), &place.address, &sequence.to_be_bytes()].concat();
        let row = LoggedRow {
            home: place.home.clone(),
            group: place.group.to_vec(),
            secret: place.secret.clone(),
            kind: kind.into(),
            entries,
            at_ms: turn.wall(),
        };
        turn.put(LOGGED, &key, &row)?;
        self.0.insert(key, Logged::stored(row));
        Ok(())
    }

    fn forget_logged(&mut self, turn: &mut Turn<'_>, key: &LoggedKey) -> Result<(), EngineError> {
        self.0.remove(key);
        Ok(turn.delete(LOGGED, key)?)
    }

    fn keys_where(&self, chat: ChatId, which: impl Fn(&LoggedKey, &Logged) -> bool) -> Vec<LoggedKey> {
        let rows = self.0.range(prefix(&chat.0));
        rows.filter(|(key, logged)| which(key, logged)).map(|(key, _)| key.clone()).collect()
    }

    /// A log has taken entries of ours, the last of them as number `last`.
    pub(crate) fn note_appended(
        &mut self,
        turn: &mut Turn<'_>,
        appended: &Appended,
        last: u64,
    ) -> Result<(), EngineError> {
        let place = &appended.place;
        let count = appended.items.len().max(1) as u64;
        let first = last.saturating_add(1).saturating_sub(count);
        // Read in the log before this answer came.
        let found = self.keys_where(place.chat, |key, l| {
            let within = |e: &LoggedEntry| (first..=last).contains(&e.sequence);
            l.row.kind() == LoggedKind::Found && key[KEY_ADDRESS] == place.address && l.row.entries.iter().all(within)
        });
        for key in found.iter().chain(appended.replaced.iter().map(|(key, _)| key)) {
            self.forget_logged(turn, key)?;
        }
        if let Some((start, _)) = appended.items.first() {
            let items = appended.items.iter().map(|(_, last)| *last);
            let entries = items.zip(first..).map(|(last, sequence)| LoggedEntry { sequence, last }).collect();
            return self.put_logged(turn, place, LoggedKind::Events, *start, entries);
        }
        for key in self.keys_where(place.chat, |_, l| l.row.kind() == LoggedKind::Receipt) {
            if let Some(logged) = self.0.get_mut(&key) {
                logged.row.kind = LoggedKind::Needless.into();
                turn.put(LOGGED, &key, &logged.row)?;
            }
        }
        self.put_logged(turn, place, LoggedKind::Receipt, 0, vec![LoggedEntry { sequence: last, last: 0 }])
    }

    /// An entry was read that nobody else is to read.
    pub(crate) fn found_needless(
        &mut self,
        turn: &mut Turn<'_>,
        place: &LogPlace,
        sequence: u64,
    ) -> Result<(), EngineError> {
        self.put_logged(turn, place, LoggedKind::Needless, 0, vec![LoggedEntry { sequence, last: 0 }])
    }

    /// The receipts of ours in a log, which the next one in it replaces.
    pub(crate) fn replaced_receipts(&self, place: &LogPlace) -> Trimming {
        let replaced = self.keys_where(place.chat, |key, l| {
            key[KEY_ADDRESS] == place.address && l.row.kind() == LoggedKind::Receipt && !l.under_way
        });
        let sequences = |key: LoggedKey| {
            let entries = self.0.get(&key).map(|l| l.row.entries.iter().map(|e| e.sequence).collect());
            (key, entries.unwrap_or_default())
        };
        replaced.into_iter().take(MAX_REPLACED_RECEIPTS).map(sequences).collect()
    }

    /// The server has deleted entries, or does not know their log.
    pub(crate) fn trimmed(&mut self, turn: &mut Turn<'_>, trimming: Trimming) -> Result<(), EngineError> {
        for (key, sequences) in trimming {
            let Some(logged) = self.0.get_mut(&key) else { continue };
            logged.under_way = false;
            logged.row.entries.retain(|e| !sequences.contains(&e.sequence));
            if logged.row.entries.is_empty() {
                self.forget_logged(turn, &key)?;
            } else {
                turn.put(LOGGED, &key, &logged.row)?;
            }
        }
        Ok(())
    }

    /// The server has not answered, or cannot delete them now.
    pub(crate) fn not_trimmed(&mut self, trimming: &Trimming) {
        for (key, _) in trimming {
            if let Some(logged) = self.0.get_mut(key) {
                logged.under_way = false;
            }
        }
    }

    /// Asks a home to delete entries of one log.
    fn trim(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId, part: Trimming) {
        let secret = part.first().and_then(|(key, _)| self.0.get(key)).map(|l| l.row.secret.clone());
        let Some(keys) = secret.and_then(|secret| LogKeys::of_secret(&secret)) else {
            return;
        };
        for (key, _) in &part {
            if let Some(logged) = self.0.get_mut(key) {
                logged.under_way = true;
            }
        }
        let sequences = part.iter().flat_map(|(_, sequences)| sequences).copied().collect();
        let request = LogRequest { sequences, ..LogRequest::default() };
        homes.request_log(turn, home, &keys, LogVerb::Trim, request, LogPending::Trim(part));
    }
}

impl Chats {
    /// Everybody has our events of a conversation up to this one.
    fn had_by_all(&self, chat: ChatId) -> u64 {
        self.states.get(&chat).and_then(|c| c.outbox.front()).map_or(u64::MAX, |i| i.first - 1)
    }
}
