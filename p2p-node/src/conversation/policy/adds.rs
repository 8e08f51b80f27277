//! Adding those who have accepted an invitation: who is asked for that collects what comes for a moment, and adds who waits by a commit, or by several
//! one after the other: one turn prepares one at most, so that anything else has its turn between two. Nothing of it is stored but that commit with its
//! welcomes: who was not added in time enters by the door.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt;
use starling_keys::{AccountId, DeviceId, MAX_DEVICES};
use starling_wire::{direct::DirectFrame, inbox::GroupAcceptance};

use super::{
    Policies, PolicyEntry,
    limits::{ADD_BYTES, ADD_BYTES_SMALL, ASKED_TO_ADD, adds_at_once},
    waiting::Waiting,
    welcomes::{keep_waiting, refuse_to_add},
};
use crate::{
    api::{
        error::{NodeError, NotFound},
        problem::ItemRefused,
        types::ChatId,
    },
    contacts::Directory,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        door::limits::{ADDED_SPREAD_MS, ADDED_WITHIN_MS},
        group::GroupId,
        group_state::OpenGroup,
    },
    mls::{GroupError, device_added_by},
    net::NetCommand,
    store::{IntentKind, IntentRow, StandingRow},
    turn::{Effect, EngineError, Turn},
};

impl OpenGroup<'_> {
    /// Prepares a commit that adds the devices of these key packages, and gives its size. The welcomes are stored with it.
    fn prepare_adds(&mut self, now_ms: u64, packages: &[Bytes]) -> Result<usize, GroupError> {
        let current = self.state.live.value()?;
        let (made, welcomes) = match self.state.live.prepare_adds(packages, now_ms, self.seen()) {
            Ok((commit, after, welcomes)) => (Ok((commit, after)), welcomes),
            Err(error) => (Err(error), Vec::new()),
        };
        let size = self.keep_pending(current, made)?;
        if let Some(pending) = &mut self.state.pending {
            pending.welcomes = welcomes;
        }
        Ok(size)
    }

    /// Prepares a commit of at most so many bytes that adds these devices. Gives whether there is one. It is tried once, as that takes as long as a
    /// commit.
    fn try_adds(&mut self, now_ms: u64, batch: &[(DeviceId, Bytes)], most: usize) -> bool {
        let packages: Vec<Bytes> = batch.iter().map(|(_, package)| package.clone()).collect();
        match self.prepare_adds(now_ms, &packages) {
            Ok(size) if size <= most => return true,
            Ok(size) => {
                if batch.len() == 1 {
                    tracing::error!(size, "a commit that adds a device is too large");
                }
                self.forget_pending();
            }
            Err(error) => tracing::warn!(%error, devices = batch.len(), "devices cannot be added"),
        }
        false
    }
}

impl PolicyEntry {
    /// Whether our account adds others to the group.
    fn may_add(&self, own: &AccountId) -> bool {
        let policy = self.policy.as_ref().filter(|policy| policy.rules.is_some());
        self.standing() == StandingRow::Member
            && policy.is_some_and(|policy| {
                let invite = policy.permissions().invite;
                policy.role(own.as_bytes()).is_some_and(|role| role <= invite)
            })
    }
}

impl Policies {
    /// Whether this device waits to be added to a group by an account, which has invited us.
    pub(in crate::conversation) fn may_be_added_by(&self, chat: &ChatId, account: &AccountId) -> bool {
        let awaits = |entry: &PolicyEntry| entry.standing() == StandingRow::Entering || entry.leaves_when_entered();
        self.of.get(chat).is_some_and(|entry| awaits(entry) && entry.is_offered_by(account))
    }
}

impl Conversations {
    /// Nobody else comes in whom our user has invited: who is not let in yet is not, and who has not come is not awaited any more.
    pub(super) fn stop_inviting(&mut self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        let group = self.active_group(dir, chat).and_then(|id| self.groups.get(&id));
        let here: BTreeSet<AccountId> = group.iter().flat_map(|group| &group.members).map(|m| m.account).collect();
        let own = dir.account.id();
        let entry = self.policies.of.get_mut(&chat).ok_or(NotFound::Group)?;
        let is_wanted = |intent: &IntentRow| intent.kind() == IntentKind::Invite;
        let had = entry.row.intents.iter().any(is_wanted);
        entry.row.intents.retain(|intent| !is_wanted(intent));
        entry.dirty |= had;
        let of_ours = entry.policy.iter().flat_map(|policy| &policy.members).filter(|m| m.by == *own.as_bytes());
        let accounts = of_ours.filter_map(|member| AccountId::from_stored(&member.account).ok());
        let absent: Vec<AccountId> = accounts.filter(|account| *account != own && !here.contains(account)).collect();
        for account in &absent {
            entry.waiting.forget(account);
        }
        let withdraws =
            |account: &AccountId| IntentRow { absent: true, ..IntentRow::about(IntentKind::Remove, account) };
        let intents = absent.iter().map(withdraws).collect();
        self.want(dir, chat, intents)?;
        self.tell_again(chat, &absent);
        Ok(())
    }

    /// Who has come in meanwhile is not removed as somebody who has not.
    pub(super) fn keep_who_came(&mut self, chat: ChatId, id: GroupId) {
        let is_needless = |intent: &IntentRow, group: &GroupEntry| {
            let account = intent.account().filter(|_| intent.absent);
            account.is_some_and(|account| group.members.iter().any(|member| member.account == account))
        };
        let Some(group) = self.groups.get(&id) else { return };
        let has_some = |entry: &PolicyEntry| entry.row.intents.iter().any(|intent| is_needless(intent, group));
        if !self.policies.of.get(&chat).is_some_and(has_some) {
            return;
        }
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.intents.retain(|intent| !is_needless(intent, group));
            entry.dirty = true;
        }
    }

    /// Asks whoever has invited our account into a group to add this device, if one of their devices is there to do that. Gives whether it is: then
    /// the group is not entered by its door for some seconds.
    pub(super) fn ask_to_be_added(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
    ) -> Result<bool, EngineError> {
        let offer = self.policies.of.get(&chat).and_then(|entry| entry.row.offer.as_ref());
        let Some(offer) = offer.filter(|offer| offer.link.is_empty()) else { return Ok(false) };
        let (Some(id), Ok(by)) = (offer.group_id(), AccountId::from_bytes(&offer.by)) else { return Ok(false) };
        let Some(list) = cx.dir.person(&by).filter(|by| by.is_linked()).and_then(|by| by.list.as_ref()) else {
            return Ok(false);
        };
        let is_there = |device: &DeviceId| cx.links.is_connected(device) && !cx.links.is_silent(device);
        let devices = list.devices.iter().map(|device| device.id).filter(is_there);
        let devices: Vec<DeviceId> = devices.take(ASKED_TO_ADD).collect();
        if devices.is_empty() || !list.homes.iter().any(|home| cx.homes.is_up(&home.peer)) {
            return Ok(false);
        }
        let package = Bytes::from(cx.mls.package_for(&id, turn.agreed_ms())?);
        for (place, device) in (0..).zip(devices) {
            let acceptance = GroupAcceptance {
                conversation: Bytes::copy_from_slice(&chat.0),
                group: Bytes::copy_from_slice(&id),
                package: package.clone(),
                place,
            };
            let frame = DirectFrame { acceptance: Some(Box::new(acceptance)), ..DirectFrame::default() };
            turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
        }
        let spread = turn.rng().random_range(0..=ADDED_SPREAD_MS);
        self.entering.hold(chat, turn.now() + ADDED_WITHIN_MS + spread);
        Ok(true)
    }

    /// A device of an account that was invited waits to be added to a group. If this device does not do that it says so.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn on_acceptance(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        member: (AccountId, DeviceId),
        acceptance: &GroupAcceptance,
    ) -> Result<(), ItemRefused> {
        let taken = self.take_acceptance(turn, cx, member, acceptance);
        if taken.is_err() {
            refuse_to_add(turn, member.1, (&acceptance.conversation[..], &acceptance.group[..]));
        }
        taken
    }

    fn take_acceptance(
        &mut self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        (account, device): (AccountId, DeviceId),
        acceptance: &GroupAcceptance,
    ) -> Result<(), ItemRefused> {
        let chat = acceptance.conversation[..].try_into().map(ChatId).map_err(|_| ItemRefused::NoAcceptance)?;
        let id: GroupId = acceptance.group[..].try_into().map_err(|_| ItemRefused::NoAcceptance)?;
        let is_active = self.active_group(cx.dir, chat) == Some(id);
        let group = self.groups.get(&id).filter(|_| is_active).ok_or(ItemRefused::NoAcceptance)?;
        let own = cx.dir.account.id();
        let here: BTreeSet<AccountId> = group.members.iter().map(|member| member.account).collect();
        let is_there = group.has_member(&device);
        let entry = self.policies.of.get_mut(&chat).filter(|entry| entry.may_add(&own));
        let entry = entry.ok_or(ItemRefused::NoAcceptance)?;
        let agreed = device_added_by(&acceptance.package, &id);
        let is_theirs = agreed.is_some_and(|agreed| (agreed.account(), agreed.device()) == (account, device));
        let is_invited = entry.policy.as_ref().is_some_and(|policy| policy.role(account.as_bytes()).is_some());
        if !is_theirs || !is_invited || is_there || !entry.waiting.takes(&account, &device) {
            return Err(ItemRefused::NoAcceptance);
        }
        let waiting: BTreeSet<AccountId> = entry.waiting.devices.values().map(|(of, _)| *of).collect();
        let has_answered = |other: AccountId| other == account || here.contains(&other) || waiting.contains(&other);
        let members = entry.policy.iter().flat_map(|policy| &policy.members);
        let last = members.filter_map(|member| AccountId::from_stored(&member.account).ok()).all(has_answered);
        let turns = u64::from(acceptance.place).min(MAX_DEVICES as u64);
        entry.waiting.take(turn.now(), (account, device), acceptance.package.clone(), (last, turns));
        self.groups.touch(id);
        Ok(())
    }

    /// Prepares a commit that adds those who wait, if it is time. Gives whether there is one.
    pub(super) fn add_waiting(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
    ) -> Result<bool, EngineError> {
        let is_due = |entry: &PolicyEntry| entry.waiting.due().is_some_and(|at| at <= turn.now());
        // Those who were added last find the tree before others are: of many doors at once few would be read before they are deleted.
        let waits = self.groups.get(&id).is_none_or(|group| group.writing_door);
        if waits || !self.policies.of.get(&chat).is_some_and(is_due) {
            return Ok(false);
        }
        let members = self.groups.get(&id).into_iter().flat_map(|group| &group.members);
        let here: BTreeSet<DeviceId> = members.map(|member| member.device).collect();
        let own = cx.dir.account.id();
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(false) };
        let may_add = entry.may_add(&own);
        let Some(policy) = entry.policy.as_ref().filter(|_| may_add) else {
            entry.waiting = Waiting::default();
            return Ok(false);
        };
        entry.waiting.settle(turn.now(), policy, &here);
        if !is_due(&*entry) {
            return Ok(false);
        }
        let (most, bytes) = (policy.largest_commit(), if policy.large { ADD_BYTES } else { ADD_BYTES_SMALL });
        let batch = entry.waiting.batch((adds_at_once(here.len()), bytes));
        if batch.is_empty() {
            return Ok(false);
        }
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(false) };
        if !group.state.live.takes_adds() {
            // Somebody is there who would not follow.
            let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(false) };
            for device in std::mem::take(&mut entry.waiting).devices.into_keys() {
                refuse_to_add(turn, device, (&chat.0[..], &id[..]));
            }
            return Ok(false);
        }
        let is_prepared = group.try_adds(turn.agreed_ms(), &batch, most);
        group.entry.append.committing |= is_prepared;
        self.tell_who_waits(turn, (chat, id), &batch, is_prepared);
        Ok(is_prepared)
    }

    /// A commit that adds some of those who wait is prepared, or cannot be.
    fn tell_who_waits(
        &mut self,
        turn: &mut Turn<'_>,
        (chat, id): (ChatId, GroupId),
        batch: &[(DeviceId, Bytes)],
        is_prepared: bool,
    ) {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        if !is_prepared {
            if let Some(device) = entry.waiting.try_fewer(turn.now(), batch) {
                refuse_to_add(turn, device, (&chat.0[..], &id[..]));
            }
        } else if entry.waiting.added(turn.now(), batch.len()) {
            keep_waiting(turn, entry.waiting.devices.keys(), (&chat.0[..], &id[..]));
        }
    }
}
