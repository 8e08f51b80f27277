//! What is known of conversations whose group this device enters: which are under way, which wait, and through which door.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::RngExt;
use starling_keys::{AccountId, DeviceId, RendezvousAddr};
use starling_wire::Door;

use super::{
    limits::{
        DOOR_AGAIN_MS, DOOR_TIMEOUT_MS, LOOKS_AS_OFTEN, MAX_DOOR_BYTES, MAX_DOOR_SPREAD_MS, MAX_DOORS_TRIED,
        MAX_LOOK_BACKOFF, MAX_LOST_EPOCHS, NEXT_DOOR_MS, NEXT_DOOR_WAITS, SHOW_ENTERED_MS,
    },
    parts::ReadParts,
};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, group::GroupId},
    mls::policy::Denied,
    net::HomeId,
    store::{OfferRow, OfferedDoor},
    turn::Turn,
};

/// Conversations whose group this device enters.
#[derive(Default)]
pub struct Entering {
    /// Those that it has begun with.
    pub(super) attempts: BTreeMap<ChatId, Attempt>,
    /// Those that wait for their turn, in their order, with the server that is asked for the contact's devices before.
    pub(super) waiting: BTreeMap<(u32, ChatId), HomeId>,
    /// Groups that members were asked to add this device to: until when they are not entered, in steady time.
    pub(super) held: BTreeMap<ChatId, u64>,
    /// Devices of ours that have entered a group, until that is shown.
    pub(super) entered: BTreeSet<DeviceId>,
    /// When it is shown, in steady time: not for each group alone.
    pub(super) shown_at: u64,
}

/// What is under way for one of them.
#[derive(Default)]
pub(super) struct Attempt {
    /// Another group is made after this, in steady time.
    pub(super) gives_up_at: u64,
    /// The door is looked at once more.
    pub(super) again_at: Option<u64>,
    /// The server with a request that is not answered yet.
    pub(super) asks: Option<HomeId>,
    pub(super) log: DoorLog,
    pub(super) race: Race,
    /// So many parts of our commit are in the log.
    pub(super) sent: usize,
    /// The accounts that the group has, as the newest way in says that could be tried.
    pub(super) there: BTreeSet<[u8; 32]>,
    /// Other ways that accounts have told before that was known.
    pub(super) told: Vec<(AccountId, OfferRow)>,
    /// Why a link does not lead in, as the newest way says.
    pub(super) denied: Option<Denied>,
    /// The account is in the group that a link leads into, and comes in by its door.
    pub(super) already_in: bool,
    /// So many times nothing has led into a group of many.
    pub(super) failures: u32,
    pub(super) adding: Adding,
}

/// What was read in the log of a door.
#[derive(Default)]
pub(super) struct DoorLog {
    /// Its address.
    address: [u8; 32],
    /// It was read up to this number.
    upto: u64,
    pub(super) pages: u32,
    /// The doors, by their epochs and their numbers in the log.
    pub(super) found: BTreeMap<(u64, u64), Door>,
    /// Parts of doors.
    pub(super) parts: ReadParts,
    /// The epoch of the newest card of a link that was read, and whether it says that the link has ended.
    pub(super) card: Option<(u64, bool)>,
}

/// What others who enter, or whose commits come first, do to an attempt.
#[derive(Default)]
pub(super) struct Race {
    /// Epochs whose way in led nowhere.
    pub(super) tried: BTreeSet<u64>,
    /// So many ways in were tried since others came first.
    pub(super) tries: usize,
    /// So many times others came first.
    lost: u32,
    /// The epoch and number of the way in that is tried.
    trying: (u64, u64),
    /// The same of the newest one behind which another's commit was found; its number is 0 as long as that is not known.
    behind: Option<(u64, u64)>,
    /// Somebody else's commit came before ours: the way into the next epoch may not be written yet.
    pub(super) outrun: bool,
    /// So many times nothing new was found behind it since.
    looks: u32,
}

/// This device is to be added to a group by a member.
#[derive(Default)]
pub(super) struct Adding {
    /// Nothing is asked before this, in steady time.
    pub(super) until: u64,
    /// So many times it was told to go on waiting for that.
    pub(super) waits: u32,
    /// It was added.
    pub(super) added: Option<AddedTo>,
}

/// An epoch with which this device was added to a group.
pub(super) struct AddedTo {
    pub(super) epoch: u64,
    /// An `MLSMessage`, without the tree.
    pub(super) welcome: Bytes,
    /// The secret of the log of the epoch before, and up to where it is not for this device.
    pub(super) log: (Bytes, u64),
    /// The tree is looked for until then, in steady time.
    pub(super) until: u64,
}

impl DoorLog {
    /// Begins to read a log, or goes on after what was read of it: a door of a large group has a megabyte, and of those who come at once all but one look
    /// again. Gives the number after which it is read.
    pub(super) fn begin(&mut self, log: [u8; 32]) -> u64 {
        if self.address != log {
            (self.address, self.upto) = (log, 0);
            (self.found, self.parts) = (BTreeMap::new(), ReadParts::default());
        }
        self.pages = 0;
        self.upto
    }

    /// The log was read up to this number.
    pub(super) fn note_read(&mut self, upto: u64) {
        self.upto = self.upto.max(upto);
    }
}

impl Race {
    /// Somebody else has ended an epoch: the next is entered. In a race that many run each tries as often as it takes.
    fn note_lost(&mut self, epoch: u64, is_group: bool) {
        self.note_behind(epoch);
        self.outrun = true;
        if is_group {
            (self.tries, self.lost) = (0, self.lost.saturating_add(1));
        }
    }

    /// A way in is tried once.
    pub(super) fn note_tried(&mut self, epoch: u64) {
        self.tried.insert(epoch);
        while self.tried.len() > MAX_LOST_EPOCHS {
            self.tried.pop_first();
        }
    }

    /// Somebody else's commit stands behind the door of this epoch.
    fn note_behind(&mut self, epoch: u64) {
        self.note_tried(epoch);
        if self.behind.is_none_or(|(known, _)| known < epoch) {
            let (tried, at) = self.trying;
            self.behind = Some((epoch, if tried == epoch { at } else { 0 }));
        }
    }

    /// Among how many milliseconds one is chosen after which a device looks again into a group of many.
    fn spread_ms(&self) -> u64 {
        let doublings = self.lost.saturating_sub(1).min(u64::BITS / 2);
        (DOOR_AGAIN_MS << doublings).min(MAX_DOOR_SPREAD_MS)
    }

    /// After how many milliseconds the door is looked at once more, which are `first` at the beginning: the longer there is nothing new, the more.
    pub(super) fn look_after(&mut self, first: u64) -> u64 {
        let after = first << (self.looks / LOOKS_AS_OFTEN).min(MAX_LOOK_BACKOFF);
        self.looks = self.looks.saturating_add(1);
        after
    }
}

impl Attempt {
    /// The next one to be tried, the newest first. What was written before one behind which another's commit stands, and is of an earlier epoch, leads
    /// nowhere: the log of that epoch may be deleted, and whoever appends there begins it anew, where nobody else is.
    pub(super) fn next_door(&mut self) -> Option<Door> {
        while let Some(((epoch, sequence), door)) = self.log.found.pop_last() {
            if self.race.behind.is_none_or(|(newer, at)| epoch > newer || sequence > at) {
                self.race.trying = (epoch, sequence);
                return Some(door);
            }
        }
        None
    }

    /// Notes a door that was read; those of the earliest epochs give way.
    pub(super) fn note_found(&mut self, sequence: u64, door: Door) {
        if let Some((epoch, at)) = &mut self.race.behind
            && *epoch == door.epoch
            && *at == 0
        {
            // It was tried before this program was started. The first counts: who writes it once more keeps nobody from those after that.
            *at = sequence;
        }
        if self.race.tried.contains(&door.epoch) {
            return;
        }
        self.log.found.insert((door.epoch, sequence), door);
        let bytes = |found: &BTreeMap<_, Door>| found.values().map(|door| door.info.len()).sum::<usize>();
        while self.log.found.len() > MAX_DOORS_TRIED || bytes(&self.log.found) > MAX_DOOR_BYTES {
            self.log.found.pop_first();
        }
    }
}

impl Entering {
    /// Conversations that wait for their turn, in their order, each with its place and the server that is asked first.
    pub fn waiting(&self) -> impl Iterator<Item = ((u32, ChatId), HomeId)> {
        self.waiting.iter().map(|(place, home)| (*place, *home))
    }

    /// Members were asked to add this device to a group: it is not entered before this time, in steady time.
    pub fn hold(&mut self, chat: ChatId, until: u64) {
        self.held.insert(chat, until);
    }

    /// It is the turn of one of them.
    pub fn take_turn(&mut self, place: &(u32, ChatId)) {
        self.waiting.remove(place);
    }

    /// A device of ours has entered a group.
    pub fn note_entered(&mut self, device: DeviceId) {
        self.entered.insert(device);
    }

    /// Devices of ours that have entered groups, if it is time to show that.
    pub fn take_entered(&mut self, now: u64) -> BTreeSet<DeviceId> {
        if self.entered.is_empty() || self.shown_at > now {
            return BTreeSet::new();
        }
        self.shown_at = now + SHOW_ENTERED_MS;
        std::mem::take(&mut self.entered)
    }

    /// The servers that are asked something now, once for each conversation.
    pub fn asked(&self) -> impl Iterator<Item = HomeId> {
        self.attempts.values().filter_map(|attempt| attempt.asks)
    }

    /// Whether the group that is entered has this account, as far as its door has shown that; none if it has shown nothing yet.
    pub fn is_there(&self, chat: &ChatId, account: &AccountId) -> Option<bool> {
        let there = &self.attempts.get(chat)?.there;
        (!there.is_empty()).then(|| there.contains(account.as_bytes()))
    }

    /// An account has told another way, and is not known to be in the group yet.
    pub fn note_told(&mut self, chat: &ChatId, from: AccountId, way: OfferRow) {
        if let Some(attempt) = self.attempts.get_mut(chat) {
            attempt.told.retain(|(account, _)| *account != from);
            attempt.told.push((from, way));
            attempt.told.drain(..attempt.told.len().saturating_sub(MAX_DOORS_TRIED));
        }
    }

    /// When `Conversations::enter_on_time` has something to do, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        let attempts = self.attempts.values().map(|a| a.again_at.unwrap_or(u64::MAX).min(a.gives_up_at));
        attempts.chain((!self.entered.is_empty()).then_some(self.shown_at)).min()
    }
}

impl Conversations {
    /// Others came first from an epoch: the next is entered.
    pub(super) fn outrun(&mut self, turn: &mut Turn<'_>, chat: ChatId, epoch: u64) {
        if let Some(state) = self.chats.get_mut(&chat)
            && let Some(door) = &mut state.row.door
        {
            door.entering = None;
            state.dirty = true;
        }
        let is_group = self.chats.is_group_chat(chat);
        let by_link =
            self.chats.get(&chat).and_then(|state| state.row.door.as_ref()).is_some_and(|d| !d.link.is_empty());
        if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
            attempt.race.note_lost(epoch, is_group);
        }
        let again_at = turn.now() + self.again_after_ms(turn, chat);
        if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
            // Who was added meanwhile only needs the tree.
            attempt.again_at = Some(if attempt.adding.added.is_some() { turn.now() } else { again_at });
            attempt.race.looks = 0;
            if is_group {
                attempt.gives_up_at = again_at + DOOR_TIMEOUT_MS;
            }
            if is_group && !by_link && attempt.failures < NEXT_DOOR_WAITS {
                attempt.gives_up_at = attempt.gives_up_at.max(turn.now() + NEXT_DOOR_MS);
            }
        }
    }

    /// After how many milliseconds a device that has lost a race looks at the door again; many may come into a group at once, each after another time.
    pub(super) fn again_after_ms(&self, turn: &mut Turn<'_>, chat: ChatId) -> u64 {
        let attempt = self.entering.attempts.get(&chat).filter(|_| self.chats.is_group_chat(chat));
        let spread = attempt.map_or(0, |attempt| turn.rng().random_range(0..=attempt.race.spread_ms()));
        DOOR_AGAIN_MS + spread
    }
}

impl OfferedDoor {
    /// As the account's snapshot has it.
    pub(super) fn read(bytes: &[u8], home: String) -> Option<Self> {
        let (group, secret) = bytes.split_at_checked(16).filter(|(_, secret)| secret.len() == 32)?;
        Some(Self { group: group.to_vec(), secret: secret.to_vec(), home, ..Self::default() })
    }

    /// One that was given up: others may have followed us through it all the same.
    pub(super) fn given_up(&self) -> Self {
        Self { group: self.group.clone(), ..Self::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.secret.is_empty()
    }

    pub(super) fn address(&self) -> Option<RendezvousAddr> {
        self.home.parse().ok().filter(|_| self.is_open())
    }

    pub(super) fn id(&self) -> Option<GroupId> {
        self.group.as_slice().try_into().ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::conversation::door::limits::{DOOR_AGAIN_MS, NEXT_DOOR_MS};

    fn door(epoch: u64, len: usize) -> Door {
        Door { epoch, secret: [1; 32], info: vec![epoch as u8; len].into() }
    }

    #[test]
    fn a_log_that_is_looked_at_again_is_read_from_where_it_was_read_up_to() {
        let mut attempt = Attempt::default();
        assert_eq!(attempt.log.begin([1; 32]), 0);
        attempt.note_found(7, door(3, 10));
        attempt.log.note_read(7);
        attempt.log.note_read(5);
        assert_eq!((attempt.log.begin([1; 32]), attempt.log.found.len()), (7, 1));
        // Somebody was removed, and there is another door.
        assert_eq!((attempt.log.begin([2; 32]), attempt.log.found.len()), (0, 0));
    }

    #[test]
    fn doors_before_one_that_is_not_of_now_are_not_tried() {
        let epoch = |door: Option<Door>| door.map(|door| door.epoch);
        let mut attempt = Attempt::default();
        attempt.note_found(1, door(8, 10));
        attempt.note_found(2, door(16, 10));
        assert_eq!(epoch(attempt.next_door()), Some(16));
        attempt.race.note_behind(16);
        assert_eq!(epoch(attempt.next_door()), None);
        attempt.note_found(3, door(24, 10));
        assert_eq!(epoch(attempt.next_door()), Some(24));
        // A false one keeps nobody from those that are written after it.
        attempt.note_found(4, door(1_000, 10));
        attempt.note_found(5, door(32, 10));
        assert_eq!(epoch(attempt.next_door()), Some(1_000));
        attempt.race.note_behind(1_000);
        assert_eq!(epoch(attempt.next_door()), Some(32));
        // One that was tried before a start.
        let mut attempt = Attempt::default();
        attempt.race.note_behind(16);
        attempt.note_found(1, door(8, 10));
        attempt.note_found(2, door(16, 10));
        attempt.note_found(3, door(12, 10));
        assert_eq!([(); 2].map(|()| epoch(attempt.next_door())), [Some(12), None]);
    }

    #[test]
    fn a_door_that_is_long_in_coming_is_looked_for_more_and_more_seldom() {
        let (mut attempt, mut at, mut looks, mut longest) = (Attempt::default(), 0, 0, 0);
        while at < NEXT_DOOR_MS {
            let after = attempt.race.look_after(2 * DOOR_AGAIN_MS);
            (at, looks, longest) = (at + after, looks + 1, longest.max(after));
        }
        assert!(looks < 50, "{looks} times");
        // Often enough to find one that is good for ten seconds.
        assert!(longest <= 4_000);
    }

    #[test]
    fn what_is_kept_of_doors_is_bounded() {
        let mut attempt = Attempt::default();
        for epoch in 0..20 {
            attempt.note_found(epoch, door(epoch, MAX_DOOR_BYTES / 4));
        }
        assert_eq!(attempt.log.found.keys().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [16, 17, 18, 19]);
        attempt.race.tried.insert(7);
        attempt.note_found(21, door(7, 1));
        assert!(attempt.log.found.keys().all(|(epoch, _)| *epoch != 7));
    }

    #[test]
    fn who_loses_a_race_again_and_again_waits_longer_and_goes_on() {
        let mut attempt = Attempt { race: Race { tries: 3, ..Race::default() }, ..Attempt::default() };
        let mut spreads = Vec::new();
        for epoch in 0..1_000 {
            attempt.race.note_lost(epoch, true);
            spreads.push(attempt.race.spread_ms());
        }
        assert_eq!(spreads[..4], [1, 2, 4, 8].map(|times| times * DOOR_AGAIN_MS));
        assert!(spreads.iter().all(|spread| *spread <= MAX_DOOR_SPREAD_MS) && spreads[999] == MAX_DOOR_SPREAD_MS);
        assert_eq!((attempt.race.tries, attempt.race.tried.len()), (0, MAX_LOST_EPOCHS));
        attempt.note_found(1, door(999, 1));
        assert!(attempt.log.found.is_empty());
    }
}
