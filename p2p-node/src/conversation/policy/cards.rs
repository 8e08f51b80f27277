//! What whoever has a link reads: each link has a log of its own, in which stands what the group is, and the way into its current epoch. Who begins an
//! epoch writes it there, as the way in for new devices (`conversation/door`), and deletes what it has written before.

use bytes::Bytes;
use starling_keys::AccountId;
use starling_wire::{JoinLink, LinkCard, LogVerb, limits::MAX_LARGE, rendezvous::LogRequest};

use crate::{
    conversation::{
        Conversations,
        context::Context,
        door::parts,
        group::{GroupId, LogKeys},
    },
    home::{JoinPending, LogPending, Pending, Refused},
    limits::RETRY_REFUSED_MS,
    store::LinkRow,
    turn::{EngineError, Turn},
};

/// A link's public key.
pub type LinkKey = [u8; 32];

/// The keys of a link's log.
pub(super) fn log_keys(key: &LinkKey) -> Option<LogKeys> {
    LogKeys::of_secret(&JoinLink::log_secret(key))
}

/// Those of its box.
pub(super) fn box_keys(key: &LinkKey) -> Option<LogKeys> {
    LogKeys::of_secret(&JoinLink::box_secret(key))
}

impl Conversations {
    /// Writes what is due for the links into a group, one after the other.
    pub(in crate::conversation) fn write_cards(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get(&id).filter(|entry| !entry.link_work.is_writing()) else { return Ok(()) };
        let row = entry.card_to_write().filter(|_| !entry.has_door_to_write());
        let Some(row) = row.cloned() else { return Ok(()) };
        let Some(home) = self.usable(turn, cx, id) else { return Ok(()) };
        let Ok(key) = LinkKey::try_from(row.key.as_slice()) else { return Ok(()) };
        if row.opens {
            self.open_box(turn, cx, (id, home), &key);
        }
        if !row.due {
            return Ok(());
        }
        let is_large = self.may_have_parts(id);
        let card = self.card(turn, cx, id, &row)?.map(|card| Bytes::from(card.to_bytes()));
        let card = card.filter(|card| card.len() <= MAX_LARGE);
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let keys = log_keys(&key).zip(entry.known_keys()).zip(card);
        let Some(((mut keys, parent), card)) = keys else {
            // A member would not follow who comes.
            entry.card_done(&key, |row| row.due = false);
            return Ok(());
        };
        keys.parent = Some(parent.key);
        let epoch = entry.epoch();
        entry.link_work.begin_card(key);
        let (requests, count) = parts::appends(&keys, &JoinLink::log_secret(&key), &card, is_large);
        let mut requests = requests.into_iter().peekable();
        while let Some(request) = requests.next() {
            let pending = match requests.peek() {
                Some(_) => JoinPending::CardParts(id),
                None => JoinPending::Card(id, epoch, key, count),
            };
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Join(pending));
        }
        Ok(())
    }

    /// The box of a link that our account has made is opened for it, so that what strangers leave there takes no room of the group's logs. Where our
    /// account is not registered the first of them opens it.
    fn open_box(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, home): (GroupId, crate::net::HomeId),
        key: &LinkKey,
    ) {
        if cx.homes.is_registered(&home)
            && let Some(keys) = box_keys(key)
        {
            let pending = LogPending::Join(JoinPending::BoxOpened);
            cx.homes.request_log(turn, home, &keys, LogVerb::Open, LogRequest::default(), pending);
        }
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.card_done(key, |row| row.opens = false);
        }
    }

    /// What is written for a link. None if it is to have the way in, and there is none.
    fn card(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        row: &LinkRow,
    ) -> Result<Option<LinkCard>, EngineError> {
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(None) };
        let Some((chat, policy)) = group.entry.chat().zip(group.policy()) else { return Ok(None) };
        let epoch = group.entry.epoch();
        let links = policy.rules.as_ref().map(|rules| &rules.links[..]).unwrap_or_default();
        let link = links.iter().find(|link| row.key == link.key);
        let door = match link {
            Some(link) if !link.approve => match group.way_in()? {
                Some(door) => Some(door),
                None => return Ok(None),
            },
            _ => None,
        };
        let by = link.and_then(|link| AccountId::from_bytes(&link.by).ok());
        Ok(Some(LinkCard {
            epoch,
            door,
            conversation: chat.0,
            group: id,
            name: policy.name.clone(),
            topic: policy.topic.clone(),
            members: u32::try_from(policy.members.len()).unwrap_or(u32::MAX),
            by: by.map(|by| *by.as_bytes()).unwrap_or_default(),
            by_name: by.map(|by| cx.dir.name_of(&by)).unwrap_or_default(),
            approve: link.is_some_and(|link| link.approve),
            expires: link.map_or(0, |link| link.expires),
            ended: link.is_none(),
        }))
    }

    /// It stands there: what this device has written before is not needed any more.
    pub(super) fn card_written(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch, key): (GroupId, u64, LinkKey),
        (sequence, count): (u64, u64),
    ) {
        let (home, is_large) = (self.groups.home_of(id), self.may_have_parts(id));
        let Some(entry) = self.groups.get_mut(&id) else { return };
        if entry.link_work.end_card() {
            // It lacks parts.
            entry.append.retry_at = entry.append.retry_at.max(turn.now() + RETRY_REFUSED_MS);
            return;
        }
        let is_current = entry.epoch() == epoch;
        let mut before = 0;
        entry.card_done(&key, |row| {
            row.due &= !is_current;
            before = std::mem::replace(&mut row.sequence, sequence);
        });
        entry.row.links.retain(|row| row.due || !row.ended);
        let trim = parts::trim(&JoinLink::log_secret(&key), before, (sequence, count), is_large);
        if let Some(((home, keys), request)) = home.zip(log_keys(&key)).zip(trim) {
            cx.homes.request_log(turn, home, &keys, LogVerb::Trim, request, Pending::Nothing);
        }
    }

    /// A part of it was refused, of which more are on their way.
    pub(super) fn card_refused(&mut self, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.link_work.refuse_part();
        }
    }

    /// It does not, or only later.
    pub(super) fn card_not_written(&mut self, (id, key): (GroupId, LinkKey), refused: Option<&Refused>) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        entry.link_work.end_card();
        match refused {
            Some(refused) if !refused.is_busy() => entry.card_done(&key, |row| row.due = false),
            Some(refused) => entry.append.retry_at = entry.append.retry_at.max(refused.again_at),
            None => {}
        }
    }
}

impl crate::conversation::GroupEntry {
    /// The first of its links for which something is still to be written.
    pub(crate) fn card_to_write(&self) -> Option<&LinkRow> {
        let is_open = !self.row.ours || self.row.log_opened;
        self.row.links.iter().find(|row| row.due || row.opens).filter(|_| is_open && !self.row.dead)
    }

    /// The logs of its links, and their boxes.
    pub(crate) fn link_logs(&self) -> impl Iterator<Item = [u8; 32]> {
        let keys = self.row.links.iter().filter_map(|row| LinkKey::try_from(row.key.as_slice()).ok());
        keys.flat_map(|key| [log_keys(&key), box_keys(&key)]).flatten().map(|keys| keys.address)
    }

    /// Notes what was done for a link.
    fn card_done(&mut self, key: &LinkKey, note: impl FnOnce(&mut LinkRow)) {
        if let Some(row) = self.row.links.iter_mut().find(|row| row.key == *key) {
            note(row);
            self.touch();
        }
    }
}
