//! Groups as users see them.

use std::collections::BTreeMap;

use starling_keys::AccountId;
use starling_wire::{Availability, Role};

use super::PolicyEntry;
use crate::{
    api::types::{Arriving, ChatId, Group, GroupAccount, Standing},
    contacts::Directory,
    conversation::{Conversations, GroupEntry},
    store::IntentKind,
};

/// Whether a link leads nowhere yet: what stands in its log is still to be written.
fn has_new_link(group: &GroupEntry) -> bool {
    group.row.links.iter().any(|link| link.due && link.sequence == 0 && !link.ended)
}

/// What a role is called.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Reader => "reader",
    }
}

/// How far those are who were invited, in a group in which so many accounts have devices.
fn arriving(entry: &PolicyEntry, here: usize) -> Arriving {
    let count = |accounts: usize| u32::try_from(accounts).unwrap_or(u32::MAX);
    let members = entry.policy.as_ref().map_or(0, |policy| policy.members.len());
    let noted = entry.row.intents.iter().filter(|intent| intent.kind() == IntentKind::Invite).count();
    Arriving {
        noted: count(noted),
        invited: count(members.saturating_sub(here)),
        accepted: count(entry.waiting.accounts()),
        here: count(here),
    }
}

impl Conversations {
    /// The groups that we are or were in, and invitations into others: by name.
    /// Who is there in them is as of this time, in steady time.
    pub(crate) fn group_list(&self, dir: Directory<'_>, now: u64) -> Vec<Group> {
        let mut groups: Vec<Group> =
            self.policies.of.iter().map(|(chat, entry)| self.shown_group(dir, now, *chat, entry)).collect();
        groups.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        groups
    }

    fn shown_group(&self, dir: Directory<'_>, now: u64, id: ChatId, entry: &PolicyEntry) -> Group {
        let own = dir.account.id();
        let group = self.active_group(dir, id).and_then(|id| self.groups.get(&id));
        let mut devices: BTreeMap<AccountId, u32> = BTreeMap::new();
        for member in group.into_iter().flat_map(|group| &group.members) {
            *devices.entry(member.account).or_default() += 1;
        }
        let account = |member: &starling_wire::PolicyMember| {
            let account = AccountId::from_bytes(&member.account).ok()?;
            let devices = devices.get(&account).copied().unwrap_or_default();
            let (name, own) = (dir.name_of(&account), account == own);
            let online = !own && self.is_there(dir, now, id, &account);
            Some(GroupAccount { account, name, role: member.role, own, devices, online })
        };
        let policy = entry.policy.as_ref();
        let offer = entry.row.offer.as_ref();
        let own_entry = policy.and_then(|policy| policy.members.iter().find(|m| m.account == *own.as_bytes()));
        let let_in_by = own_entry.and_then(|member| AccountId::from_bytes(&member.by).ok());
        Group {
            id,
            name: self.policies.name(&id).unwrap_or_default().to_owned(),
            topic: policy.map(|policy| policy.topic.clone()).unwrap_or_default(),
            standing: Standing::from_stored(u32::try_from(i32::from(entry.standing())).unwrap_or_default()),
            invited_by: offer.and_then(|offer| AccountId::from_bytes(&offer.by).ok()),
            let_in_by: let_in_by.filter(|by| *by != own),
            members: policy.iter().flat_map(|policy| &policy.members).filter_map(account).collect(),
            rules: policy.and_then(|policy| policy.rules.clone()),
            arriving: arriving(entry, devices.len()),
            changing: !entry.row.intents.is_empty() || group.is_some_and(has_new_link),
            problem: self.chats.get(&id).and_then(|state| self.problem_of(dir, state)),
            outdated: self.old_programs(dir, id),
            needs_update: self.needs_update(id),
        }
    }

    /// Whether a member of a group is there now. Nothing is sent for that: contacts show it where they want to, and of others there is what they have
    /// written or typed there lately.
    fn is_there(&self, dir: Directory<'_>, now: u64, chat: ChatId, account: &AccountId) -> bool {
        match dir.person(account).filter(|person| person.is_linked()) {
            Some(contact) => contact.presence.availability == Some(Availability::Online),
            None => self.is_active(now, chat, account),
        }
    }
}
